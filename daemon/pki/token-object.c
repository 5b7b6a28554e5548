/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and certificates to and from the parts that a token's objects hold. Invariant: a private part is
 * only ever in a Secret, or in a BIGNUM that is wiped. What a token says is checked by libcrypto before
 * it is taken for a key.
 *
 * Specifications: RFC 5480 (EC), RFC 8410 (Ed25519), PKCS#11 v2.40 2.3 and v3.0 2.3 (attributes).
 */
#include "pki/token-object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

#include "pki/context.h"
#include "pki/key.h"
#include "pki/signature.h"

#define PUBLIC_PART_MAX 8192

static void key_context_freep(EVP_PKEY_CTX **place)
{
        EVP_PKEY_CTX_free(*place);
}

static void number_freep(BIGNUM **place)
{
        BN_clear_free(*place);
}

static void x509_freep(X509 **place)
{
        X509_free(*place);
}

/* Curves */

typedef struct Curve {
        KeyType type;
        const char *group; /* OpenSSL's name; NULL: Edwards */
        size_t n_params;
        uint8_t params[16];
} Curve;

/* The first of a type is the one that is written; the others are read. */
static const Curve curves[] = {
        { KEY_TYPE_EC_P256, "P-256", 10, { 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7 } },
        { KEY_TYPE_EC_P384, "P-384", 7, { 0x06, 5, 0x2b, 0x81, 0x04, 0, 0x22 } },
        { KEY_TYPE_EC_P521, "P-521", 7, { 0x06, 5, 0x2b, 0x81, 0x04, 0, 0x23 } },
        { KEY_TYPE_ED25519, NULL, 14,
          "\x13\x0c"
          "edwards25519" },
        { KEY_TYPE_ED25519, NULL, 5, { 0x06, 3, 0x2b, 0x65, 0x70 } },
};

static const Curve *curve_of_type(KeyType type)
{
        for (size_t i = 0; i < ELEMENTSOF(curves); i++)
                if (curves[i].type == type)
                        return &curves[i];
        return NULL;
}

KeyType pki_curve_type(const Bytes *params)
{
        for (size_t i = 0; i < ELEMENTSOF(curves); i++)
                if (params->n == curves[i].n_params &&
                    memcmp(params->data, curves[i].params, params->n) == 0)
                        return curves[i].type;
        return KEY_TYPE_NONE;
}

KeyType pki_modulus_type(const Bytes *modulus)
{
        const uint8_t *first = modulus->data;
        size_t n = modulus->n;
        unsigned bits;

        while (n > 0 && *first == 0) {
                first++;
                n--;
        }
        if (n == 0 || n > PUBLIC_PART_MAX)
                return KEY_TYPE_NONE;
        bits = (unsigned)n * 8;
        for (unsigned mask = 0x80; !(*first & mask); mask >>= 1)
                bits--;
        for (KeyType type = KEY_TYPE_NONE + 1; type < _KEY_TYPE_N; type++)
                if (key_type_row(type)->family == KEY_RSA && key_type_row(type)->bits == bits)
                        return type;
        return KEY_TYPE_NONE;
}

int pki_point_wrap(const Bytes *point, Bytes *ret_der)
{
        CLEANUP(bytes_deinit) Bytes der = { 0 };
        size_t n_head = point->n < 0x80 ? 2 : 3;

        if (point->n == 0 || point->n > 0xff)
                return -EINVAL;
        der.data = malloc(n_head + point->n);
        if (!der.data)
                return -ENOMEM;
        der.n = n_head + point->n;
        der.data[0] = 0x04;
        der.data[1] = n_head == 2 ? (uint8_t)point->n : 0x81;
        if (n_head == 3)
                der.data[2] = (uint8_t)point->n;
        memcpy(der.data + n_head, point->data, point->n);
        *ret_der = der;
        der = (Bytes){ 0 };
        return 0;
}

/*
 * A point as a token has it: raw, or in an OCTET STRING. Raw EC points begin with 0x04 too, so the
 * curve's own length decides.
 */
static int point_unwrap(const Bytes *point, size_t n_raw, const uint8_t **ret_raw)
{
        size_t n_head = n_raw < 0x80 ? 2 : 3;

        if (point->n == n_raw) {
                *ret_raw = point->data;
                return 0;
        }
        if (point->n != n_raw + n_head || point->data[0] != 0x04 ||
            point->data[n_head - 1] != n_raw || (n_head == 3 && point->data[1] != 0x81))
                return CB_BAD_BUNDLE;
        *ret_raw = point->data + n_head;
        return 0;
}

static size_t point_length(KeyType type)
{
        if (type == KEY_TYPE_ED25519)
                return 32;
        return 1 + 2 * (((size_t)key_type_row(type)->bits + 7) / 8);
}

/* Public halves */

void pki_public_parts_deinit(PkiPublicParts *parts)
{
        bytes_deinit(&parts->modulus);
        bytes_deinit(&parts->exponent);
        bytes_deinit(&parts->params);
        bytes_deinit(&parts->point);
        parts->type = KEY_TYPE_NONE;
}

static int number_to_bytes(const BIGNUM *number, Bytes *bytes)
{
        uint8_t buffer[PUBLIC_PART_MAX];

        if (BN_num_bytes(number) > (int)sizeof(buffer))
                return -EINVAL;
        return bytes_set(bytes, buffer, (size_t)BN_bn2bin(number, buffer));
}

static int key_number(const EVP_PKEY *key, const char *name, BIGNUM **ret_number)
{
        return EVP_PKEY_get_bn_param(key, name, ret_number) == 1 ? 0 : -EINVAL;
}

static int rsa_public_parts(const EVP_PKEY *key, PkiPublicParts *parts)
{
        CLEANUP(number_freep) BIGNUM *n = NULL;
        CLEANUP(number_freep) BIGNUM *e = NULL;
        int r;

        r = key_number(key, OSSL_PKEY_PARAM_RSA_N, &n);
        if (r == 0)
                r = key_number(key, OSSL_PKEY_PARAM_RSA_E, &e);
        if (r == 0)
                r = number_to_bytes(n, &parts->modulus);
        if (r == 0)
                r = number_to_bytes(e, &parts->exponent);
        return r;
}

static int curve_public_parts(const EVP_PKEY *key, PkiPublicParts *parts)
{
        const Curve *curve = curve_of_type(parts->type);
        uint8_t point[256];
        size_t n = 0;
        int r;

        if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point),
                                            &n) != 1 ||
            n != point_length(parts->type))
                return -EINVAL;
        r = bytes_set(&parts->point, point, n);
        return r == 0 ? bytes_set(&parts->params, curve->params, curve->n_params) : r;
}

static int read_public_parts(const Bytes *spki, PkiPublicParts *ret_parts, Failure *failure)
{
        CLEANUP(pki_public_parts_deinit) PkiPublicParts parts = { 0 };
        CLEANUP(key_freep) EVP_PKEY *key = NULL;
        int r;

        r = pki_key_type(spki, &parts.type, failure);
        if (r != 0)
                return r;
        key = key_from_spki(spki);
        if (!key)
                return fail(failure, CB_BAD_BUNDLE, "the public key does not parse");
        r = key_type_row(parts.type)->family == KEY_RSA ? rsa_public_parts(key, &parts)
                                                        : curve_public_parts(key, &parts);
        if (r < 0)
                return r;
        *ret_parts = parts;
        parts = (PkiPublicParts){ 0 };
        return 0;
}

int pki_public_parts(const Bytes *spki, PkiPublicParts *ret_parts, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = read_public_parts(spki, ret_parts, failure);

        return pki_memory_outcome(n_before, r, failure);
}

static int key_from_params(const char *kind, OSSL_PARAM *params, EVP_PKEY **ret_key)
{
        CLEANUP(key_context_freep)
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(pki_context(), kind, NULL);

        if (!context || EVP_PKEY_fromdata_init(context) != 1)
                return -ENOMEM;
        if (EVP_PKEY_fromdata(context, ret_key, EVP_PKEY_PUBLIC_KEY, params) != 1) {
                ERR_clear_error();
                return CB_BAD_BUNDLE;
        }
        return 0;
}

static int rsa_from_parts(const PkiPublicParts *parts, EVP_PKEY **ret_key)
{
        CLEANUP(number_freep) BIGNUM *n = NULL;
        CLEANUP(number_freep) BIGNUM *e = NULL;
        OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
        OSSL_PARAM *params = NULL;
        int r = -ENOMEM;

        n = BN_bin2bn(parts->modulus.data, (int)parts->modulus.n, NULL);
        e = BN_bin2bn(parts->exponent.data, (int)parts->exponent.n, NULL);
        if (build && n && e && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
            OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
                params = OSSL_PARAM_BLD_to_param(build);
        if (params)
                r = BN_is_zero(e) ? CB_BAD_BUNDLE : key_from_params("RSA", params, ret_key);
        OSSL_PARAM_free(params);
        OSSL_PARAM_BLD_free(build);
        return r;
}

static int curve_from_parts(const PkiPublicParts *parts, KeyType type, EVP_PKEY **ret_key)
{
        const Curve *curve = curve_of_type(type);
        char group[16];
        uint8_t point[256];
        const uint8_t *raw;
        size_t n = point_length(type);
        OSSL_PARAM params[3];
        int r;

        r = point_unwrap(&parts->point, n, &raw);
        if (r != 0)
                return r;
        if (!curve->group) {
                *ret_key = EVP_PKEY_new_raw_public_key_ex(pki_context(), "ED25519", NULL, raw, n);
                return *ret_key ? 0 : CB_BAD_BUNDLE;
        }
        memcpy(point, raw, n);
        memcpy(group, curve->group, strlen(curve->group) + 1);
        params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
        params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, n);
        params[2] = OSSL_PARAM_construct_end();
        return key_from_params("EC", params, ret_key);
}

static int make_public_key(const PkiPublicParts *parts, Bytes *ret_spki, Failure *failure)
{
        CLEANUP(key_freep) EVP_PKEY *key = NULL;
        KeyType type;
        int r;

        type = parts->modulus.n > 0 ? pki_modulus_type(&parts->modulus)
                                    : pki_curve_type(&parts->params);
        if (type == KEY_TYPE_NONE)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the key is neither RSA of 2048, 3072 or 4096 bits, nor on P-256, "
                            "P-384 or P-521, nor Ed25519");
        if (parts->modulus.n > PUBLIC_PART_MAX || parts->exponent.n > PUBLIC_PART_MAX)
                return fail(failure, CB_BAD_BUNDLE, "the public key is too large");
        r = key_type_row(type)->family == KEY_RSA ? rsa_from_parts(parts, &key)
                                                  : curve_from_parts(parts, type, &key);
        if (r == CB_BAD_BUNDLE)
                return fail(failure, r, "the public key's parts make no valid %s key",
                            key_type_name(type));
        return r == 0 ? key_spki(key, ret_spki) : r;
}

int pki_public_key_from_parts(const PkiPublicParts *parts, Bytes *ret_spki, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = make_public_key(parts, ret_spki, failure);

        return pki_memory_outcome(n_before, r, failure);
}

/* Private halves */

void pki_private_parts_deinit(PkiPrivateParts *parts)
{
        secret_free(parts->store);
        *parts = (PkiPrivateParts){ 0 };
}

static int store_number(Secret *store, const BIGNUM *number, size_t n, PkiPart *ret_part)
{
        size_t used = secret_length(store);

        if (n == 0)
                n = (size_t)BN_num_bytes(number);
        if (n > secret_room(store) - used ||
            BN_bn2binpad(number, secret_data(store) + used, (int)n) < 0)
                return -EINVAL;
        *ret_part = (PkiPart){ secret_data(store) + used, n };
        secret_set_length(store, used + n);
        return 0;
}

static int store_key_number(const EVP_PKEY *key, const char *name, size_t n, PkiPrivateParts *parts,
                            PkiPart *ret_part)
{
        CLEANUP(number_freep) BIGNUM *number = BN_secure_new();
        int r;

        if (!number)
                return -ENOMEM;
        r = key_number(key, name, &number);
        return r == 0 ? store_number(parts->store, number, n, ret_part) : r;
}

static int rsa_private_parts(const EVP_PKEY *key, PkiPrivateParts *parts, Failure *failure)
{
        const struct {
                const char *name;
                PkiPart *part;
        } rows[] = { { OSSL_PKEY_PARAM_RSA_D, &parts->value },
                     { OSSL_PKEY_PARAM_RSA_FACTOR1, &parts->prime1 },
                     { OSSL_PKEY_PARAM_RSA_FACTOR2, &parts->prime2 },
                     { OSSL_PKEY_PARAM_RSA_EXPONENT1, &parts->exponent1 },
                     { OSSL_PKEY_PARAM_RSA_EXPONENT2, &parts->exponent2 },
                     { OSSL_PKEY_PARAM_RSA_COEFFICIENT1, &parts->coefficient } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (store_key_number(key, rows[i].name, 0, parts, rows[i].part) < 0)
                        return fail(failure, CB_NOT_SUPPORTED,
                                    "the RSA key lacks its primes; a token needs them");
        return 0;
}

static int edwards_private_parts(const EVP_PKEY *key, PkiPrivateParts *parts)
{
        size_t n = secret_room(parts->store);

        if (EVP_PKEY_get_raw_private_key(key, secret_data(parts->store), &n) != 1)
                return -EINVAL;
        secret_set_length(parts->store, n);
        parts->value = (PkiPart){ secret_data(parts->store), n };
        return 0;
}

static int read_private_parts(const EVP_PKEY *key, KeyType type, PkiPrivateParts *ret_parts,
                              Failure *failure)
{
        CLEANUP(pki_private_parts_deinit) PkiPrivateParts parts = { 0 };
        int r;

        r = secret_new(4000, &parts.store); /* RSA-4096 takes 2,304 bytes */
        if (r < 0)
                return r;
        switch (key_type_row(type)->family) {
        case KEY_RSA:
                r = rsa_private_parts(key, &parts, failure);
                break;
        case KEY_EC:
                r = store_key_number(key, OSSL_PKEY_PARAM_PRIV_KEY,
                                     ((size_t)key_type_row(type)->bits + 7) / 8, &parts,
                                     &parts.value);
                break;
        case KEY_ED25519:
                r = edwards_private_parts(key, &parts);
                break;
        case _KEY_FAMILY_N:
                return -EINVAL;
        }
        if (r != 0) {
                ERR_clear_error();
                return r;
        }
        *ret_parts = parts;
        parts = (PkiPrivateParts){ 0 };
        return 0;
}

int pki_private_parts(const EVP_PKEY *key, KeyType type, PkiPrivateParts *ret_parts,
                      Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = read_private_parts(key, type, ret_parts, failure);

        return pki_memory_outcome(n_before, r, failure);
}

/* Certificates */

void pki_certificate_names_deinit(PkiCertificateNames *names)
{
        bytes_deinit(&names->subject);
        bytes_deinit(&names->issuer);
        bytes_deinit(&names->serial_number);
}

static int name_to_bytes(const X509_NAME *name, Bytes *bytes)
{
        unsigned char *der = NULL;
        int n, r;

        n = i2d_X509_NAME(name, &der);
        if (n <= 0)
                return -ENOMEM;
        r = bytes_set(bytes, der, (size_t)n);
        OPENSSL_free(der);
        return r;
}

static int integer_to_bytes(const ASN1_INTEGER *integer, Bytes *bytes)
{
        unsigned char *der = NULL;
        int n, r;

        n = i2d_ASN1_INTEGER(integer, &der);
        if (n <= 0)
                return -ENOMEM;
        r = bytes_set(bytes, der, (size_t)n);
        OPENSSL_free(der);
        return r;
}

static int read_names(const Bytes *der, PkiCertificateNames *ret_names, Failure *failure)
{
        CLEANUP(pki_certificate_names_deinit) PkiCertificateNames names = { 0 };
        CLEANUP(x509_freep) X509 *x509 = NULL;
        const unsigned char *p = der->data;
        int r;

        x509 = der->n > 0 && der->n <= 1 << 20 ? d2i_X509(NULL, &p, (long)der->n) : NULL;
        if (!x509) {
                ERR_clear_error();
                return fail(failure, CB_BAD_BUNDLE, "a certificate does not parse");
        }
        r = name_to_bytes(X509_get_subject_name(x509), &names.subject);
        if (r == 0)
                r = name_to_bytes(X509_get_issuer_name(x509), &names.issuer);
        if (r == 0)
                r = integer_to_bytes(X509_get0_serialNumber(x509), &names.serial_number);
        if (r < 0)
                return r;
        *ret_names = names;
        names = (PkiCertificateNames){ 0 };
        return 0;
}

int pki_certificate_names(const Bytes *der, PkiCertificateNames *ret_names, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = read_names(der, ret_names, failure);

        return pki_memory_outcome(n_before, r, failure);
}
