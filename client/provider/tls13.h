/* SPDX-License-Identifier: Apache-2.0 */
/* What a TLS 1.3 CertificateVerify is made of (RFC 8446, 4.4.3). */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct Tls13Verify {
        const char *role;    /* "client" or "server" */
        const uint8_t *hash; /* of the transcript: within the message */
        size_t n_hash;
} Tls13Verify;

/* 1 where the message is the content of a CertificateVerify, and nothing else; else 0. */
int tls13_recognise(const uint8_t *message, size_t n_message, Tls13Verify *ret_verify);
