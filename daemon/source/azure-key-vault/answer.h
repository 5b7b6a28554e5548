/* SPDX-License-Identifier: Apache-2.0 */
/* What a vault and an authority answer, from the bytes of a body: pure, and all of it untrusted. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "base/secret.h"
#include "core/algorithm.h"

#define TOKEN_MAX (12 * 1024)

/* Of a version that was made here, could not be published, and was disabled: destroy.c. */
#define TAG_NAME       "certbroker"
#define TAG_TAKEN_BACK "taken-back"

/* Of certificate and key; an absent time is 0. */
typedef struct Attributes {
        bool disabled;
        uint64_t not_before_sec, expires_sec, created_sec;
} Attributes;

typedef struct CertificateAnswer {
        char *id, *kid, *sid; /* kid, sid: NULL where absent */
        Bytes leaf;           /* DER */
        Attributes attributes;
        bool exportable, has_exportable;
        bool taken_back; /* its tag says so */
} CertificateAnswer;

typedef struct KeyAnswer {
        char *kid;
        Bytes spki; /* empty: of a kind that is none of ours */
        KeyType type;
        bool hsm, may_sign, has_operations;
        Attributes attributes;
} KeyAnswer;

typedef struct SecretAnswer {
        Secret *value; /* the bundle: PKCS#12 decoded, or PEM */
} SecretAnswer;

typedef struct OperationAnswer {
        Bytes request; /* PKCS#10, DER; empty: not there yet */
        char *status, *details;
} OperationAnswer;

/* The codes, outer and innermost; "" where there is none, or no JSON. */
typedef struct ErrorAnswer {
        char code[64], inner[64];
        char message[200]; /* printable */
} ErrorAnswer;

typedef struct TokenAnswer {
        Secret *token;
        uint64_t life_sec;
        uint64_t refresh_sec;      /* 0: no hint */
        uint64_t retry_after_usec; /* where there is no token: not to be asked before; 0: nothing said */
} TokenAnswer;

/* As n octets, big-endian, with as many leading zeros as that takes. false: it has more. */
bool number_fit(const Bytes *number, size_t n, uint8_t *ret_number);

void certificate_answer_deinit(CertificateAnswer *answer);
int certificate_answer_parse(const void *body, size_t n, CertificateAnswer *ret_answer,
                             Failure *failure);
void key_answer_deinit(KeyAnswer *answer);
int key_answer_parse(const void *body, size_t n, KeyAnswer *ret_answer, Failure *failure);
void secret_answer_deinit(SecretAnswer *answer);
int secret_answer_parse(const void *body, size_t n, SecretAnswer *ret_answer, Failure *failure);
/* signature: as the vault has it, r||s for EC. kid: owned, NULL where absent. */
int signature_answer_parse(const void *body, size_t n, Bytes *ret_signature, char **ret_kid,
                           Failure *failure);
void operation_answer_deinit(OperationAnswer *answer);
int operation_answer_parse(const void *body, size_t n, OperationAnswer *ret_answer,
                           Failure *failure);
/* The ids of the versions that are enabled, and the next page: NULL: none. */
int versions_answer_parse(const void *body, size_t n, char ***ids, char **ret_next,
                          Failure *failure);
void error_answer_parse(const void *body, size_t n, ErrorAnswer *ret_answer);

void token_answer_deinit(TokenAnswer *answer);
/* resource: the token must be for it, where that can be read; tenant NULL: any. */
int token_answer_parse(const void *body, size_t n, const char *resource, const char *tenant,
                       TokenAnswer *ret_answer, Failure *failure);
