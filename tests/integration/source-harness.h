/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A certbroker-source on a SoftHSM token of its own, spoken to over the wire. Every helper fails the test by itself;
 * waits have bounds and no fixed sleeps.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "wire/message.h"

#define PIN          "1234"
#define SECONDS      ((uint64_t)1000000)
#define SETTINGS_MAX 16

typedef struct Fixture {
        char base[48], directory[64]; /* beside it in base: the state directory */
        char pin_file[128];
        char rules[128];
        char log[128];
        char module[256];
        const char *label; /* of the token */
        char *settings[SETTINGS_MAX];
        size_t n_settings;

        pid_t pid;
        int fd;
        uint64_t last_id;
        SourceState state;
        char state_text[512];
        unsigned n_events;
} Fixture;

/* Fails the test. cmocka's own word for it is taken by base/failure.h. */
#define broken(...)                                                                                \
        do {                                                                                       \
                print_error(__VA_ARGS__);                                                          \
                print_error("\n");                                                                 \
                _fail(__FILE__, __LINE__);                                                         \
        } while (0)

/* A token "unit", its PIN file, settings for it; the process is not started yet. */
int fixture_setup(void **state);
int fixture_setup_faults(void **state); /* the module is p11fault around SoftHSM */
int fixture_teardown(void **state);

void setting(Fixture *fixture, const char *key, const char *value); /* replaces; NULL: none */
void add_token(Fixture *fixture, const char *label);
void add_key_for_each_use(Fixture *fixture, const char *label); /* that wants the PIN each time */
void write_text(const char *path, const char *text, mode_t mode);
void rules_set(Fixture *fixture, const char *text);
unsigned log_count(Fixture *fixture, const char *line_start);
void log_clear(Fixture *fixture);
/* Runs a program to its end; its output, owned. The status must be 0. */
char *run(const char *const *argv);
unsigned token_objects(Fixture *fixture); /* all on the token, as pkcs11-tool sees them */
const char *softhsm_module(void);
const char *data_path(Fixture *fixture, const char *name, char ret_path[160]);

void source_start(Fixture *fixture);
void source_start_until(Fixture *fixture, SourceState state);
int source_stop(Fixture *fixture); /* closes the socket; the exit status, or -signal */
void wait_state(Fixture *fixture, SourceState state, unsigned seconds);

uint64_t send_request(Fixture *fixture, WireRequest *request); /* the id; timeout 10 s where 0 */
/* Any reply; events are noted on the way. false: none in time, or the end. */
bool next_reply(Fixture *fixture, unsigned msec, WireReply *ret_reply);
/* Request and its reply; deinits the request. */
void call(Fixture *fixture, WireRequest *request, WireReply *ret_reply);
void expect_status(const WireReply *reply, int status);

/* Bundles: made once, kept. PEM: key, leaf, intermediate, root. */
typedef enum BundleKind {
        BUNDLE_RSA_2048,
        BUNDLE_RSA_3072,
        BUNDLE_RSA_4096,
        BUNDLE_P256,
        BUNDLE_P384,
        BUNDLE_P521,
        BUNDLE_ED25519,
        _BUNDLE_N
} BundleKind;

const char *bundle_pem(BundleKind kind);
/* Another leaf for the bundle's key: DER. */
void bundle_renewed(BundleKind kind, Bytes *ret_leaf);
int bundles_setup(void **state);

int memory_fd(const char *text);
void import_bundle(Fixture *fixture, const char *id, BundleKind kind, WireReply *ret_reply);
void sign(Fixture *fixture, const char *key_uri, Algorithm algorithm, WireReply *ret_reply);
/* Signs and verifies with the public key. */
void sign_ok(Fixture *fixture, const WireReply *key, Algorithm algorithm);
uint64_t send_sign(Fixture *fixture, const char *key_uri, Algorithm algorithm,
                   uint64_t timeout_usec);
void expect_signature(const WireReply *key, Algorithm algorithm, const WireReply *reply);
/* Ready, with a P-256 key "orders"; the module's log begins then. */
void start_with_key(Fixture *fixture, WireReply *ret_key);
void expect_sign(Fixture *fixture, const WireReply *key, int status); /* with that */
void lookup(Fixture *fixture, const char *uri, WireReply *ret_reply);
void simple_call(Fixture *fixture, WireOperation operation, const char *key_uri, int fd,
                 WireReply *ret_reply);
