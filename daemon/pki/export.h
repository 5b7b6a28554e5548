/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a private key with its chain to a file for somebody else: PKCS#12 or PEM. Used by a source's process
 * alone. What comes in and goes out is in locked memory.
 */
#pragma once

#include "base/bytes.h"
#include "base/failure.h"
#include "base/secret.h"

#define PKI_EXPORT_PASSPHRASE_MAX 1024
#define PKI_EXPORT_ITERATIONS     300000 /* of PBKDF2 with HMAC-SHA-256 */

typedef enum ExportFormat {
        EXPORT_NONE,
        EXPORT_PKCS12, /* PBES2 with AES-256-CBC, MAC with SHA-256 */
        EXPORT_PEM,    /* PKCS#8, encrypted as above if there is a passphrase; then the chain */
        _EXPORT_FORMAT_N
} ExportFormat;

typedef struct PkiExport {
        ExportFormat format;
        Secret *pkcs8;          /* PrivateKeyInfo, DER */
        const BytesList *chain; /* leaf first */
        Secret *passphrase; /* empty: none for PEM; PKCS#12 is then encrypted with an empty one */
        const char *name;   /* what PKCS#12 calls the key; NULL: nothing */
} PkiExport;

ExportFormat export_format_from_name(const char *name); /* "pkcs12", "pem"; else EXPORT_NONE */

/* CB_INVALID_ARGUMENT: longer than PKI_EXPORT_PASSPHRASE_MAX, or no UTF-8 text that others could type. */
int pki_export_check_passphrase(Secret *passphrase, Failure *failure);

/* CB_KEY_MISMATCH: the leaf is of another key; CB_BAD_BUNDLE: a key or certificate that is none. */
int pki_export(const PkiExport *job, Secret **ret_file, Failure *failure);

/*
 * What a token made of a key by C_WrapKey under an AES-256 key: RFC 5649, or RFC 3394 over PKCS#7 padding, which
 * some vendors mean by CKM_AES_KEY_WRAP_PAD. Both hold an integrity check. CB_BAD_BUNDLE: neither.
 */
#define PKI_WRAPPING_KEY_LENGTH 32
int pki_key_unwrap(Secret *wrapping_key, const Bytes *wrapped, Secret **ret_key);
