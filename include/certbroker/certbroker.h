/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcertbroker: certificates, signatures and backends from certbrokerd, for gateways and tools.
 *
 * DRAFT of the part that the provider builds on; the rest is to be added.
 *
 * All functions return 0, a negative errno, or an enum cb_status (<certbroker/status.h>); where a
 * cb_error is given it holds the sentence for a person. Thread-safe: a cb_client may be used by any number of
 * threads at once; no lock is held while waiting for an answer. After fork() the same cb_client may be used in
 * the child: it makes connections of its own, and what the parent had is closed there without a byte sent on it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <certbroker/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CB_API __attribute__((__visibility__("default")))

typedef struct cb_client cb_client;

typedef struct cb_error {
        int status;
        char text[512];
} cb_error;

/* bus: "system", "session", an address, or NULL for $CERTBROKER_BUS, else "system". Connects to nothing yet. */
CB_API int cb_client_new(const char *bus, cb_client **ret_client);
CB_API cb_client *cb_client_free(cb_client *client); /* NULL is fine; returns NULL */
/* How long to wait for a connection (default 250 ms) and for an answer (default 25 s). 0 keeps the present one. */
CB_API void cb_client_set_timeouts(cb_client *client, uint64_t connect_usec, uint64_t call_usec);

typedef struct cb_bytes {
        uint8_t *data;
        size_t n;
} cb_bytes;

/* What GetCredential answers, or the properties of a certificate in the same form. */
typedef struct cb_credential {
        char *id;
        uint64_t generation;
        cb_bytes *chain; /* DER, leaf first */
        size_t n_chain;
        char *key; /* certbroker: URI pinned to the generation */
        char **algorithms; /* NULL-terminated */
        uint64_t not_after;
        char *thumbprint; /* SHA-1, upper-case hex */
        bool stale;
        /* of a backend; NULL and false for a certificate */
        char *url;
        bool validate_chain, validate_name;
        char **server_names, **server_thumbprints;
        char *ca_file;
} cb_credential;

CB_API int cb_get_credential(cb_client *client, const char *backend, cb_credential **ret_credential, cb_error *error);
/* selector: an id or a thumbprint, as GetCertificate takes it. Needs only `read`. */
CB_API int cb_get_certificate(cb_client *client, const char *selector, cb_credential **ret_credential, cb_error *error);
CB_API cb_credential *cb_credential_free(cb_credential *credential);

/*
 * A signature. generation 0: the current one. input: a digest, or for ed25519 the message. signature: room for
 * *n_signature bytes, set to what was written; -ENOBUFS where it does not fit.
 */
CB_API int cb_sign(cb_client *client, const char *id, uint64_t generation, const char *algorithm,
                   const void *input, size_t n_input, void *signature, size_t *n_signature, cb_error *error);

#ifdef __cplusplus
}
#endif
