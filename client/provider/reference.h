/* SPDX-License-Identifier: Apache-2.0 */
/* The key file's content: a key's URI, pinned to a generation, and its public half. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uri.h"

#define REFERENCE_LABEL     "CERTBROKER KEY REFERENCE"
#define REFERENCE_STRUCTURE "CertbrokerKeyReference"
/* What a file may have at most; an RSA key of 16,384 bits takes 2.2 KB. */
#define REFERENCE_MAX 65536
/* As many bytes from the beginning as reference_begins() and reference_may_begin() need. */
#define REFERENCE_HEAD  48
#define REFERENCE_FIRST 5

typedef struct Reference {
        Uri uri;
        uint8_t *spki; /* SubjectPublicKeyInfo in DER */
        size_t n_spki;
} Reference;

/*
 * Whether its first bytes rule out that it is one: told from so few that nothing secret is among them,
 * whatever key it is.
 */
bool reference_may_begin(const uint8_t *der, size_t n_der);
/* Whether this is the beginning of a key reference, and not of some other DER. */
bool reference_begins(const uint8_t *der, size_t n_der);
/* 0; -EBADMSG: not well formed; -EINVAL: a URI that names no certificate's generation; -ENOMEM. */
int reference_parse(const uint8_t *der, size_t n_der, Reference *ret_reference);
void reference_deinit(Reference *reference);
