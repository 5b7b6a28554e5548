/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of test-provider share. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct evp_pkey_st;
struct ossl_lib_ctx_st;
struct ossl_param_st;
struct x509_st;

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define NOBODY   "unix:path=/nonexistent/bus"

#define MUST(condition)                                                                            \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        print_errors_and_fail(#condition);                                         \
        } while (0)

typedef struct TestKey {
        const char *name, *type, *group;
        int base_id, bits, size;
} TestKey;

#define N_KEYS    6
#define N_MESSAGE 47

/* The fake broker's keys, and what the tests sign. */
extern const TestKey keys[N_KEYS];
extern const uint8_t message[N_MESSAGE];

void print_errors_and_fail(const char *what);
const char *file(const char *name, const char *suffix);
struct evp_pkey_st *load_in(struct ossl_lib_ctx_st *libctx, const char *path);
struct evp_pkey_st *load(const char *name);
struct x509_st *load_certificate(const char *name);
struct evp_pkey_st *load_public(const char *name);
const char *provider_of(const struct evp_pkey_st *key);
int is_right(const char *name, const char *digest, const struct ossl_param_st *params,
             const uint8_t *given, size_t n_given);
int sign_with(struct evp_pkey_st *key, const char *digest, const struct ossl_param_st *params,
              uint8_t *out, size_t *n);
int signs(struct evp_pkey_st *key, const char *name, const char *digest);
unsigned count_descriptors(void);
uint64_t now_msec(void);
void assert_no_errors(void);
int child_status(pid_t child);

void load_needs_no_broker(void **state);
void parameters_are_answered_locally(void **state);
void certificate_matches_its_key(void **state);
void private_half_is_refused(void **state);
void copies_sign_like_the_first(void **state);
void files_may_hold_more(void **state);
void broken_files_are_refused(void **state);
void der_is_read_too(void **state);
void messages_are_signed(void **state);
void messages_come_in_parts(void **state);
void size_is_told_locally(void **state);
void pss_takes_numbers_and_words(void **state);
void other_pss_is_refused(void **state);
void pss_by_controls(void **state);
void digests_are_signed(void **state);
void a_digest_info_is_signed(void **state);
void other_digests_are_refused(void **state);
void the_handle_verifies(void **state);
void nobody_there_fails_fast(void **state);
void workers_sign_with_the_masters_key(void **state);
void workers_exit_cleanly(void **state);
void threads_share_a_key(void **state);
void forks_while_threads_sign(void **state);
void the_programs_descriptors_are_left_alone(void **state);
void contexts_come_and_go(void **state);
void other_keys_are_left_alone(void **state);
void order_of_providers_does_not_matter(void **state);
void threads_begin_at_once(void **state);
void store_gives_what_is_expected(void **state);
void store_key_signs(void **state);
void store_refuses_bad_uris(void **state);
void tls_with_keys_on_both_sides(void **state);
