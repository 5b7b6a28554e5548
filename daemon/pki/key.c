/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's keys as our types. Invariant: two equal public keys of a type of ours have the same
 * SubjectPublicKeyInfo bytes here, however a certificate or a bundle wrote them.
 */
#include "pki/key.h"

#include <certbroker/status.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#define SPKI_MAX 2048 /* RSA 4096 takes 550 bytes */

typedef struct KeyRow {
        const char *name;  /* of OpenSSL's key manager */
        const char *group; /* EC: the curve */
        int bits;          /* 0: any */
        KeyType type;
} KeyRow;

static const KeyRow key_rows[] = {
        { "RSA", NULL, 2048, KEY_TYPE_RSA_2048 },   { "RSA", NULL, 3072, KEY_TYPE_RSA_3072 },
        { "RSA", NULL, 4096, KEY_TYPE_RSA_4096 },   { "EC", "prime256v1", 0, KEY_TYPE_EC_P256 },
        { "EC", "secp384r1", 0, KEY_TYPE_EC_P384 }, { "EC", "secp521r1", 0, KEY_TYPE_EC_P521 },
        { "ED25519", NULL, 0, KEY_TYPE_ED25519 },
};

static bool group_is_explicit(const EVP_PKEY *key)
{
        int is_explicit = 0;

        return EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                                      &is_explicit) &&
               is_explicit;
}

KeyType key_type_of(const EVP_PKEY *key)
{
        char group[64] = "";

        if (EVP_PKEY_is_a(key, "EC") &&
            (group_is_explicit(key) || !EVP_PKEY_get_group_name(key, group, sizeof(group), NULL)))
                return KEY_TYPE_NONE;
        for (size_t i = 0; i < ELEMENTSOF(key_rows); i++) {
                const KeyRow *row = &key_rows[i];

                if (EVP_PKEY_is_a(key, row->name) &&
                    (row->bits == 0 || row->bits == EVP_PKEY_get_bits(key)) &&
                    (!row->group || strcmp(row->group, group) == 0))
                        return row->type;
        }
        return KEY_TYPE_NONE;
}

int key_spki(EVP_PKEY *key, Bytes *ret_spki)
{
        unsigned char *der = NULL;
        int n, r;

        if (EVP_PKEY_is_a(key, "EC") &&
            !EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                            OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED))
                return CB_FAILED;
        n = i2d_PUBKEY(key, &der);
        if (n <= 0)
                return CB_FAILED;
        r = bytes_set(ret_spki, der, (size_t)n);
        OPENSSL_free(der);
        return r;
}

EVP_PKEY *key_from_spki(const Bytes *spki)
{
        const unsigned char *p = spki->data;
        EVP_PKEY *key;

        if (spki->n == 0 || spki->n > SPKI_MAX)
                return NULL;
        key = d2i_PUBKEY_ex(NULL, &p, (long)spki->n, pki_context(), NULL);
        if (key && p == spki->data + spki->n)
                return key;
        EVP_PKEY_free(key);
        return NULL;
}

void key_freep(EVP_PKEY **place)
{
        EVP_PKEY_free(*place);
}
