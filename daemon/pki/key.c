/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL's keys as our types. Invariant: two equal public keys of a type of ours have the same
 * SubjectPublicKeyInfo bytes here, however a certificate or a bundle wrote them.
 */
#include "pki/key.h"

#include <certbroker/status.h>
#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include <openssl/x509.h>
#include <stdio.h>
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

void key_describe(const EVP_PKEY *key, char ret_text[KEY_DESCRIPTION_MAX])
{
        char group[64] = "an unnamed curve";

        if (EVP_PKEY_is_a(key, "RSA")) {
                snprintf(ret_text, KEY_DESCRIPTION_MAX, "RSA with %d bits", EVP_PKEY_get_bits(key));
        } else if (EVP_PKEY_is_a(key, "EC")) {
                (void)EVP_PKEY_get_group_name(key, group, sizeof(group), NULL);
                snprintf(ret_text, KEY_DESCRIPTION_MAX, "EC on %s%s", group,
                         group_is_explicit(key) ? " with its parameters written out" : "");
        } else {
                snprintf(ret_text, KEY_DESCRIPTION_MAX, "%s",
                         EVP_PKEY_get0_type_name(key) ?: "of an unknown type");
        }
        ERR_clear_error();
}

void key_kind_describe(const ASN1_OBJECT *kind, char ret_text[KEY_DESCRIPTION_MAX])
{
        int nid = OBJ_obj2nid(kind);

        if (nid != NID_undef)
                snprintf(ret_text, KEY_DESCRIPTION_MAX, "%s", OBJ_nid2sn(nid));
        else if (OBJ_obj2txt(ret_text, KEY_DESCRIPTION_MAX, kind, 1) <= 0)
                snprintf(ret_text, KEY_DESCRIPTION_MAX, "of an unknown type");
}

int fail_key_type(const EVP_PKEY *key, const X509_PUBKEY *encoded, const char *what,
                  Failure *failure)
{
        char text[KEY_DESCRIPTION_MAX] = "of an unknown type";
        ASN1_OBJECT *kind = NULL;

        if (key)
                key_describe(key, text);
        else if (X509_PUBKEY_get0_param(&kind, NULL, NULL, NULL, encoded) == 1)
                key_kind_describe(kind, text);
        return fail(failure, CB_NOT_SUPPORTED, "%s is %s, which is not supported: use %s", what,
                    text, PKI_KEY_TYPES);
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

static void bn_freep(BIGNUM **place)
{
        BN_free(*place);
}

static void bld_freep(OSSL_PARAM_BLD **place)
{
        OSSL_PARAM_BLD_free(*place);
}

static void params_freep(OSSL_PARAM **place)
{
        OSSL_PARAM_free(*place);
}

static void ctx_freep(EVP_PKEY_CTX **place)
{
        EVP_PKEY_CTX_free(*place);
}

static EVP_PKEY *key_from_params(const char *name, OSSL_PARAM *params)
{
        CLEANUP(ctx_freep)
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(pki_context(), name, NULL);
        EVP_PKEY *key = NULL;

        if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
            EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
                return NULL;
        return key;
}

/*
 * SubjectPublicKeyInfo up to the point: the whole of it but the point is the same for each curve.
 */
static const struct {
        const char *name, *group;
        size_t n_head, n_point;
        uint8_t head[27];
} point_heads[] = {
        { "EC", "prime256v1", 26, 65, { 0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                        0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00 } },
        { "EC", "secp384r1", 23, 97, { 0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86,
                                       0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
                                       0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00 } },
        { "EC", "secp521r1", 25, 133, { 0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86,
                                        0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81,
                                        0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00 } },
        { "ED25519",
          NULL,
          12,
          32,
          { 0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00 } },
};

static EVP_PKEY *key_from_point(const Bytes *spki)
{
        for (size_t i = 0; i < ELEMENTSOF(point_heads); i++) {
                size_t n_head = point_heads[i].n_head, n_point = point_heads[i].n_point, n = 0;
                char group[32];
                OSSL_PARAM params[3];

                if (spki->n != n_head + n_point ||
                    memcmp(spki->data, point_heads[i].head, n_head) != 0)
                        continue;
                if (point_heads[i].group) {
                        strcpy(group, point_heads[i].group);
                        params[n++] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
                                                                       group, 0);
                }
                params[n++] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
                                                                spki->data + n_head, n_point);
                params[n] = OSSL_PARAM_construct_end();
                return key_from_params(point_heads[i].name, params);
        }
        return NULL;
}

/* The content of the element at *p, past which *p then is, or into which, for a constructed one. */
static bool take(const uint8_t **p, const uint8_t *end, int tag, const uint8_t **ret_content,
                 size_t *ret_n)
{
        const uint8_t *at = *p;
        int found, class;
        long n;
        int flags = ASN1_get_object(&at, &n, &found, &class, end - at);

        if (flags & 0x80 || flags & 1 || found != tag || class != V_ASN1_UNIVERSAL)
                return false;
        *ret_content = at;
        *ret_n = (size_t)n;
        *p = flags & V_ASN1_CONSTRUCTED ? at : at + n;
        return true;
}

/* A number above zero: its first bit is the sign. */
static BIGNUM *take_number(const uint8_t **p, const uint8_t *end)
{
        const uint8_t *content;
        size_t n;

        if (!take(p, end, V_ASN1_INTEGER, &content, &n) || n == 0 || content[0] & 0x80)
                return NULL;
        return BN_bin2bn(content, (int)n, NULL);
}

/* rsaEncryption, NULL */
static const uint8_t rsa_algorithm[] = { 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                         0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00 };

static EVP_PKEY *key_from_rsa(const Bytes *spki)
{
        CLEANUP(bn_freep) BIGNUM *modulus = NULL;
        CLEANUP(bn_freep) BIGNUM *exponent = NULL;
        CLEANUP(bld_freep) OSSL_PARAM_BLD *bld = NULL;
        CLEANUP(params_freep) OSSL_PARAM *params = NULL;
        const uint8_t *p = spki->data, *end = p + spki->n, *content;
        size_t n;

        if (!take(&p, end, V_ASN1_SEQUENCE, &content, &n) || content + n != end ||
            (size_t)(end - p) <= sizeof(rsa_algorithm) ||
            memcmp(p, rsa_algorithm, sizeof(rsa_algorithm)) != 0)
                return NULL;
        p += sizeof(rsa_algorithm);
        if (!take(&p, end, V_ASN1_BIT_STRING, &content, &n) || p != end || n == 0 || content[0])
                return NULL;
        p = content + 1;
        if (!take(&p, end, V_ASN1_SEQUENCE, &content, &n) || content + n != end)
                return NULL;
        modulus = take_number(&p, end);
        exponent = modulus ? take_number(&p, end) : NULL;
        bld = OSSL_PARAM_BLD_new();
        if (!exponent || p != end || !bld ||
            !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, modulus) ||
            !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, exponent))
                return NULL;
        params = OSSL_PARAM_BLD_to_param(bld);
        return params ? key_from_params("RSA", params) : NULL;
}

/*
 * libcrypto's own way takes as long as four verifications: it is for keys written in some other
 * form.
 */
static EVP_PKEY *key_from_any(const Bytes *spki)
{
        const unsigned char *p = spki->data;
        EVP_PKEY *key = d2i_PUBKEY_ex(NULL, &p, (long)spki->n, pki_context(), NULL);

        if (key && p == spki->data + spki->n)
                return key;
        EVP_PKEY_free(key);
        return NULL;
}

EVP_PKEY *key_from_spki(const Bytes *spki)
{
        EVP_PKEY *key;

        if (spki->n == 0 || spki->n > SPKI_MAX)
                return NULL;
        key = key_from_point(spki);
        if (!key)
                key = key_from_rsa(spki);
        if (!key)
                key = key_from_any(spki);
        ERR_clear_error();
        return key;
}

void key_freep(EVP_PKEY **place)
{
        EVP_PKEY_free(*place);
}
