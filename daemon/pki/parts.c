/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What PKCS#12 and PEM bundles have in common: keys as they come out, and the limits of what a file
 * may ask for. Invariant: only keys of our types are kept; the work of deriving a key from a
 * passphrase is bounded.
 */
#include "pki/parts.h"

#include <certbroker/status.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

/*
 * OpenSSL writes 2048, Windows and Azure 2000, careful people a million: about a second each, where it ends.
 * An ordinary file has three such derivations (MAC, certificates, key); with a wrong passphrase, as many of
 * its MAC alone as there are ways to try it.
 */
#define ITERATIONS_MAX 2000000
#define WORK_MAX       (3 * ITERATIONS_MAX)
/* N * r * p, each of which takes no longer than an iteration; the usual are 2^17 to 2^20. */
#define SCRYPT_WORK_MAX (1 << 22)
/*
 * An ordinary file has a dozen. With the worst of keys (RSA of 3072 bits with an exponent as long)
 * one takes as long as 12,000 iterations, so that they are half of the work above.
 */
#define VERIFICATIONS_MAX 256
/* RSA 4096 takes 2400 bytes; what is longer has exponents that keep a signature going for ever. */
#define PRIVATE_KEY_MAX 8192
#define KEYS_FOUND_MAX  64

void parts_deinit(Parts *parts)
{
        for (size_t i = 0; i < parts->n_keys; i++)
                EVP_PKEY_free(parts->keys[i]);
        bytes_list_deinit(&parts->certificates);
        *parts = (Parts){ 0 };
}

void parts_note_unsupported(Parts *parts, const char *what, const char *remedy)
{
        if (parts->unsupported[0])
                return;
        snprintf(parts->unsupported, sizeof(parts->unsupported), "%s", what);
        parts->remedy = remedy ?: "use " PKI_KEY_TYPES;
}

int parts_count_key(Parts *parts, Failure *failure)
{
        if (++parts->n_found <= KEYS_FOUND_MAX)
                return 0;
        return fail(failure, CB_BAD_BUNDLE,
                    "the bundle holds more than %d private keys: leave the one to import",
                    KEYS_FOUND_MAX);
}

int fail_damaged_key(Failure *failure)
{
        ERR_clear_error();
        return fail(failure, CB_BAD_BUNDLE, "the bundle's private key is damaged");
}

/* Empties libcrypto's queue: did it say that it knows no such curve? */
static bool errors_say_unknown_curve(void)
{
        bool unknown = false;
        unsigned long error;

        while ((error = ERR_get_error()))
                if (ERR_GET_LIB(error) == ERR_LIB_EC && ERR_GET_REASON(error) == EC_R_UNKNOWN_GROUP)
                        unknown = true;
        return unknown;
}

int parts_note_unread(Parts *parts, Failure *failure)
{
        if (!errors_say_unknown_curve())
                return fail_damaged_key(failure);
        parts_note_unsupported(parts, "EC on a curve that is not known here", NULL);
        return 0;
}

/* The same key under two names, or in two forms. */
static bool has_key(const Parts *parts, EVP_PKEY *key)
{
        CLEANUP(bytes_deinit) Bytes spki = { 0 };

        if (key_spki(key, &spki) != 0)
                return false;
        for (size_t i = 0; i < parts->n_keys; i++) {
                CLEANUP(bytes_deinit) Bytes other = { 0 };

                if (key_spki(parts->keys[i], &other) == 0 && bytes_equal(&spki, &other))
                        return true;
        }
        return false;
}

int parts_take_key(Parts *parts, EVP_PKEY *key, Failure *failure)
{
        char text[KEY_DESCRIPTION_MAX];
        int r = 0;

        if (key_type_of(key) == KEY_TYPE_NONE) {
                key_describe(key, text);
                parts_note_unsupported(parts, text, NULL);
        } else if (!has_key(parts, key)) {
                if (parts->n_keys < PARTS_KEYS_MAX) {
                        parts->keys[parts->n_keys++] = key;
                        return 0;
                }
                r = fail(failure, CB_BAD_BUNDLE,
                         "the bundle holds more than %d keys: leave the one "
                         "to import",
                         PARTS_KEYS_MAX);
        }
        EVP_PKEY_free(key);
        return r;
}

/* Is it a kind of key that we read, so that not reading this one is the file's fault? Else what it is. */
static bool is_known_kind(const PKCS8_PRIV_KEY_INFO *pkcs8, char ret_kind[KEY_DESCRIPTION_MAX])
{
        const ASN1_OBJECT *oid = NULL;
        int nid;

        if (!PKCS8_pkey_get0(&oid, NULL, NULL, NULL, pkcs8))
                return true;
        key_kind_describe(oid, ret_kind);
        nid = OBJ_obj2nid(oid);
        return nid == NID_rsaEncryption || nid == NID_X9_62_id_ecPublicKey || nid == NID_ED25519;
}

bool private_key_is_too_long(size_t n)
{
        return n > PRIVATE_KEY_MAX;
}

/* Of other kinds not even the reading is bounded: libcrypto computes the public half of any DSA key. */
int parts_add_pkcs8(Parts *parts, const PKCS8_PRIV_KEY_INFO *pkcs8, Failure *failure)
{
        char kind[KEY_DESCRIPTION_MAX];
        EVP_PKEY *key = NULL;
        int n = 0;

        if (!is_known_kind(pkcs8, kind)) {
                parts_note_unsupported(parts, kind, NULL);
                return 0;
        }
        ERR_clear_error();
        if (PKCS8_pkey_get0(NULL, NULL, &n, NULL, pkcs8) && !private_key_is_too_long((size_t)n))
                key = EVP_PKCS82PKEY_ex(pkcs8, pki_context(), NULL);
        return key ? parts_take_key(parts, key, failure) : parts_note_unread(parts, failure);
}

static void pbe2_freep(PBE2PARAM **place)
{
        PBE2PARAM_free(*place);
}

static void pbkdf2_freep(PBKDF2PARAM **place)
{
        PBKDF2PARAM_free(*place);
}

static void pbe_freep(PBEPARAM **place)
{
        PBEPARAM_free(*place);
}

static void scrypt_freep(SCRYPT_PARAMS **place)
{
        SCRYPT_PARAMS_free(*place);
}

/* The parameters of an algorithm as a structure; NULL where they are none. */
static void *parameters_of(const X509_ALGOR *algorithm, const ASN1_ITEM *item, int *ret_nid)
{
        const ASN1_OBJECT *oid;
        const void *value;
        int type;

        X509_ALGOR_get0(&oid, &type, &value, algorithm);
        if (ret_nid)
                *ret_nid = OBJ_obj2nid(oid);
        return type == V_ASN1_SEQUENCE && item ? ASN1_item_unpack(value, item) : NULL;
}

/* Too large to be held counts as too much. */
static uint64_t number_of(const ASN1_INTEGER *integer)
{
        uint64_t value;

        return integer && ASN1_INTEGER_get_uint64(&value, integer) ? value : UINT64_MAX;
}

/* Saturates: what it cannot hold is too much anyway. */
static uint64_t multiply(uint64_t a, uint64_t b)
{
        uint64_t product;

        return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

/* In iterations; UINT64_MAX: more than is done for anyone. */
static uint64_t cost_of_kdf(const X509_ALGOR *kdf)
{
        int nid;

        parameters_of(kdf, NULL, &nid);
        if (nid == NID_id_pbkdf2) {
                CLEANUP(pbkdf2_freep)
                PBKDF2PARAM *p = parameters_of(kdf, ASN1_ITEM_rptr(PBKDF2PARAM), NULL);

                return p ? number_of(p->iter) : 0;
        }
        if (nid == NID_id_scrypt) {
                CLEANUP(scrypt_freep)
                SCRYPT_PARAMS *p = parameters_of(kdf, ASN1_ITEM_rptr(SCRYPT_PARAMS), NULL);
                uint64_t work =
                        p ? multiply(multiply(number_of(p->costParameter), number_of(p->blockSize)),
                                     number_of(p->parallelizationParameter))
                          : 0;

                return work <= SCRYPT_WORK_MAX ? MIN(work, (uint64_t)ITERATIONS_MAX) : UINT64_MAX;
        }
        return 0; /* libcrypto knows no other, and says so */
}

uint64_t work_of(const X509_ALGOR *algorithm)
{
        int nid;

        parameters_of(algorithm, NULL, &nid);
        if (nid == NID_pbes2) {
                CLEANUP(pbe2_freep)
                PBE2PARAM *p = parameters_of(algorithm, ASN1_ITEM_rptr(PBE2PARAM), NULL);

                return p ? cost_of_kdf(p->keyfunc) : 0;
        } else {
                CLEANUP(pbe_freep)
                PBEPARAM *p = parameters_of(algorithm, ASN1_ITEM_rptr(PBEPARAM), NULL);

                return p ? number_of(p->iter) : 0;
        }
}

uint64_t work_of_iterations(const ASN1_INTEGER *iterations)
{
        return iterations ? number_of(iterations) : 1;
}

static bool has_room(const Work *work, uint64_t cost)
{
        return cost <= ITERATIONS_MAX && work->n_iterations + cost <= WORK_MAX;
}

int work_add(Work *work, uint64_t cost, Failure *failure)
{
        if (cost > ITERATIONS_MAX)
                return fail(failure, CB_BAD_BUNDLE,
                            "the bundle's passphrase is hashed with too much work: "
                            "write it with at most %d iterations",
                            ITERATIONS_MAX);
        if (!has_room(work, cost))
                return fail(failure, CB_BAD_BUNDLE,
                            "the parts of the bundle together have its passphrase hashed more than "
                            "%d times: write it with fewer iterations, or fewer parts",
                            WORK_MAX);
        work->n_iterations += cost;
        return 0;
}

int work_add_verification(Work *work, Failure *failure)
{
        if (++work->n_verifications > VERIFICATIONS_MAX)
                return fail(failure, CB_BAD_BUNDLE,
                            "the certificates could make so many chains that they are not all tried: "
                            "leave out what is no part of the chain");
        return 0;
}

bool errors_say_unsupported(void)
{
        static const struct {
                int library, reason;
        } rows[] = {
                { ERR_LIB_EVP, ERR_R_UNSUPPORTED },
                { ERR_LIB_EVP, EVP_R_UNSUPPORTED_ALGORITHM },
                { ERR_LIB_EVP, EVP_R_UNKNOWN_PBE_ALGORITHM },
                { ERR_LIB_EVP, EVP_R_UNKNOWN_CIPHER },
                { ERR_LIB_EVP, EVP_R_UNSUPPORTED_CIPHER },
                { ERR_LIB_EVP, EVP_R_UNSUPPORTED_KEY_DERIVATION_FUNCTION },
                { ERR_LIB_EVP, EVP_R_UNSUPPORTED_PRF },
                { ERR_LIB_PKCS12, PKCS12_R_UNKNOWN_DIGEST_ALGORITHM },
        };
        bool unsupported = false;
        unsigned long error;

        while ((error = ERR_get_error()))
                for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                        if (ERR_GET_LIB(error) == rows[i].library &&
                            ERR_GET_REASON(error) == rows[i].reason)
                                unsupported = true;
        return unsupported;
}
