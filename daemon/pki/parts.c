/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What PKCS#12 and PEM bundles have in common: keys as they come out, and the limits of what a file
 * may ask for. Invariant: only keys of our types are kept; the work of deriving a key from a
 * passphrase is bounded.
 */
#include "pki/parts.h"

#include <certbroker/status.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <string.h>

/* OpenSSL writes 2048, Windows and Azure 2000, careful people a million: seconds, where it ends. */
#define ITERATIONS_MAX  2000000
#define SCRYPT_WORK_MAX (1 << 22) /* N * r * p; the usual are 2^17 to 2^20 */

void parts_deinit(Parts *parts)
{
        for (size_t i = 0; i < parts->n_keys; i++)
                EVP_PKEY_free(parts->keys[i]);
        bytes_list_deinit(&parts->certificates);
        *parts = (Parts){ 0 };
}

Passphrase passphrase_of(Secret *secret)
{
        if (!secret || secret_length(secret) == 0)
                return (Passphrase){ NULL, 0 };
        return (Passphrase){ (const char *)secret_data(secret),
                             (int)MIN(secret_length(secret), (size_t)4096) };
}

int parts_take_key(Parts *parts, EVP_PKEY *key, Failure *failure)
{
        if (key_type_of(key) == KEY_TYPE_NONE) {
                EVP_PKEY_free(key);
                parts->n_unsupported++;
                return 0;
        }
        if (parts->n_keys == PARTS_KEYS_MAX) {
                EVP_PKEY_free(key);
                return fail(failure, CB_BAD_BUNDLE,
                            "the bundle holds more than %d keys: leave the one "
                            "to import",
                            PARTS_KEYS_MAX);
        }
        parts->keys[parts->n_keys++] = key;
        return 0;
}

/* Is it a kind of key that we read, so that not reading this one is the file's fault? */
static bool is_known_kind(const PKCS8_PRIV_KEY_INFO *pkcs8)
{
        const ASN1_OBJECT *oid = NULL;
        int nid;

        if (!PKCS8_pkey_get0(&oid, NULL, NULL, NULL, pkcs8))
                return true;
        nid = OBJ_obj2nid(oid);
        return nid == NID_rsaEncryption || nid == NID_X9_62_id_ecPublicKey || nid == NID_ED25519;
}

int parts_add_pkcs8(Parts *parts, const PKCS8_PRIV_KEY_INFO *pkcs8, Failure *failure)
{
        EVP_PKEY *key = EVP_PKCS82PKEY_ex(pkcs8, pki_context(), NULL);

        if (key)
                return parts_take_key(parts, key, failure);
        if (is_known_kind(pkcs8))
                return fail(failure, CB_BAD_BUNDLE, "the bundle's private key is damaged");
        parts->n_unsupported++;
        return 0;
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

static bool kdf_is_bounded(const X509_ALGOR *kdf)
{
        int nid;

        parameters_of(kdf, NULL, &nid);
        if (nid == NID_id_pbkdf2) {
                CLEANUP(pbkdf2_freep)
                PBKDF2PARAM *p = parameters_of(kdf, ASN1_ITEM_rptr(PBKDF2PARAM), NULL);

                return !p || number_of(p->iter) <= ITERATIONS_MAX;
        }
        if (nid == NID_id_scrypt) {
                CLEANUP(scrypt_freep)
                SCRYPT_PARAMS *p = parameters_of(kdf, ASN1_ITEM_rptr(SCRYPT_PARAMS), NULL);
                uint64_t n = p ? number_of(p->costParameter) : 0,
                         r = p ? number_of(p->blockSize) : 0,
                         k = p ? number_of(p->parallelizationParameter) : 0;

                return n <= SCRYPT_WORK_MAX && r <= SCRYPT_WORK_MAX && k <= SCRYPT_WORK_MAX &&
                       n * r <= SCRYPT_WORK_MAX && n * r * k <= SCRYPT_WORK_MAX;
        }
        return true; /* libcrypto knows no other, and says so */
}

static bool pbe_is_bounded(const X509_ALGOR *algorithm)
{
        int nid;

        parameters_of(algorithm, NULL, &nid);
        if (nid == NID_pbes2) {
                CLEANUP(pbe2_freep)
                PBE2PARAM *p = parameters_of(algorithm, ASN1_ITEM_rptr(PBE2PARAM), NULL);

                return !p || kdf_is_bounded(p->keyfunc);
        } else {
                CLEANUP(pbe_freep)
                PBEPARAM *p = parameters_of(algorithm, ASN1_ITEM_rptr(PBEPARAM), NULL);

                return !p || number_of(p->iter) <= ITERATIONS_MAX;
        }
}

int pbe_check_iterations(const ASN1_INTEGER *iterations, Failure *failure)
{
        if (!iterations || number_of(iterations) <= ITERATIONS_MAX)
                return 0;
        return fail(failure, CB_BAD_BUNDLE,
                    "the bundle's passphrase is hashed more than %d times: "
                    "write it with fewer iterations",
                    ITERATIONS_MAX);
}

int pbe_check(const X509_ALGOR *algorithm, Failure *failure)
{
        if (pbe_is_bounded(algorithm))
                return 0;
        return fail(failure, CB_BAD_BUNDLE,
                    "the bundle's passphrase is hashed with too much work: "
                    "write it with at most %d iterations",
                    ITERATIONS_MAX);
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
