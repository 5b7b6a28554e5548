/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parameters of a signature, as OpenSSL sets and asks for them, and the algorithm that follows from
 * them. All local. What the contract has no algorithm for is refused here, by a reason that says what
 * would do, rather than signed in another way than was asked for.
 */
#include "signature.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <string.h>
#include <strings.h>

#include "provider.h"

void signature_reset_params(Signature *signature)
{
        signature->padding = signature->type == KEY_RSA ? PADDING_PKCS1 : PADDING_NONE;
        signature->salt = RSA_PSS_SALTLEN_DIGEST;
        signature->digest = NULL;
        signature->mgf1 = NULL;
}

int signature_set_digest(Signature *signature, const char *name)
{
        const Digest *digest = digest_find_by_name(name);

        if (!digest) {
                RAISE(signature->provider, REASON_DIGEST,
                      "%s: SHA-256, SHA-384, SHA-512 and, where it is granted, SHA-1 are what "
                      "signs%s",
                      name,
                      strcasecmp(name, "MD5-SHA1") == 0 ? "; TLS 1.0 and 1.1 need another key"
                                                        : "");
                return 0;
        }
        if (signature->hash && digest != signature->digest) {
                RAISE(signature->provider, REASON_STATE,
                      "the digest was chosen when hashing began");
                return 0;
        }

        signature->digest = digest;
        return 1;
}

static const struct {
        const char *name;
        int number;
        Padding padding;
} paddings[] = {
        { OSSL_PKEY_RSA_PAD_MODE_PKCSV15, RSA_PKCS1_PADDING, PADDING_PKCS1 },
        { OSSL_PKEY_RSA_PAD_MODE_PSS, RSA_PKCS1_PSS_PADDING, PADDING_PSS },
};

/* libssl gives the number, programs of the command line the name. */
static int signature_set_padding(Signature *signature, const OSSL_PARAM *param)
{
        const char *name = NULL;
        int number = -1;

        if (param->data_type == OSSL_PARAM_UTF8_STRING
                    ? !OSSL_PARAM_get_utf8_string_ptr(param, &name)
                    : !OSSL_PARAM_get_int(param, &number))
                return 0;

        for (size_t i = 0; i < ELEMENTSOF(paddings); i++)
                if (name ? strcmp(name, paddings[i].name) == 0 : number == paddings[i].number) {
                        signature->padding = paddings[i].padding;
                        return 1;
                }

        RAISE(signature->provider, REASON_PADDING,
              "an RSA key signs with PKCS #1 v1.5 or PSS padding");
        return 0;
}

static const struct {
        const char *name;
        int salt;
} salts[] = {
        { OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST, RSA_PSS_SALTLEN_DIGEST },
        { OSSL_PKEY_RSA_PSS_SALT_LEN_MAX, RSA_PSS_SALTLEN_MAX },
        { OSSL_PKEY_RSA_PSS_SALT_LEN_AUTO, RSA_PSS_SALTLEN_AUTO },
        { "auto-digestmax", SALT_AUTO_DIGEST_MAX },
};

static int signature_set_salt(Signature *signature, const OSSL_PARAM *param)
{
        const char *name;
        char *end;
        long number;

        if (param->data_type != OSSL_PARAM_UTF8_STRING)
                return OSSL_PARAM_get_int(param, &signature->salt);
        if (!OSSL_PARAM_get_utf8_string_ptr(param, &name))
                return 0;

        for (size_t i = 0; i < ELEMENTSOF(salts); i++)
                if (strcmp(name, salts[i].name) == 0) {
                        signature->salt = salts[i].salt;
                        return 1;
                }

        number = strtol(name, &end, 10);
        if (end == name || *end != '\0' || number < SALT_LOWEST || number > INT_MAX)
                return 0;
        signature->salt = (int)number;
        return 1;
}

static int signature_set_rsa_params(Signature *signature, const OSSL_PARAM params[])
{
        const OSSL_PARAM *param;
        const char *name;

        param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
        if (param && !signature_set_padding(signature, param))
                return 0;

        param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
        if (param && !signature_set_salt(signature, param))
                return 0;

        param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
        if (param) {
                if (!OSSL_PARAM_get_utf8_string_ptr(param, &name))
                        return 0;
                signature->mgf1 = digest_find_by_name(name);
                if (!signature->mgf1) {
                        RAISE(signature->provider, REASON_DIGEST, "MGF1 with %s is not supported",
                              name);
                        return 0;
                }
        }

        return 1;
}

int signature_set_params(void *context, const OSSL_PARAM params[])
{
        Signature *signature = context;
        const OSSL_PARAM *param;
        const char *name;

        if (!params)
                return 1;
        if (signature->type == KEY_RSA && !signature_set_rsa_params(signature, params))
                return 0;

        param = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST);
        if (!param)
                return 1;
        return OSSL_PARAM_get_utf8_string_ptr(param, &name) &&
               signature_set_digest(signature, name);
}

const OSSL_PARAM *signature_settable_params(void *context, void *provider)
{
        static const OSSL_PARAM params[] = {
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
                OSSL_PARAM_END,
        };
        return params;
}

static int param_set_name(OSSL_PARAM *param, const char *name, int number)
{
        if (!param)
                return 1;
        return param->data_type == OSSL_PARAM_UTF8_STRING || param->data_type == OSSL_PARAM_UTF8_PTR
                       ? OSSL_PARAM_set_utf8_string(param, name)
                       : OSSL_PARAM_set_int(param, number);
}

int signature_get_params(void *context, OSSL_PARAM params[])
{
        Signature *signature = context;
        const Digest *digest = signature->digest, *mgf1 = signature->mgf1 ?: digest;
        const Algorithm *algorithm = algorithm_find(signature->type, signature->padding, digest);
        OSSL_PARAM *param;

        param = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID);
        if (param &&
            (!algorithm || !OSSL_PARAM_set_octet_string(param, algorithm->der, algorithm->n_der)))
                return 0;

        param = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_DIGEST);
        if (param && !OSSL_PARAM_set_utf8_string(param, digest ? digest->name : ""))
                return 0;
        if (signature->type != KEY_RSA)
                return 1;

        param = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
        if (param && !OSSL_PARAM_set_utf8_string(param, mgf1 ? mgf1->name : ""))
                return 0;

        for (size_t i = 0; i < ELEMENTSOF(paddings); i++)
                if (paddings[i].padding == signature->padding &&
                    !param_set_name(OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PAD_MODE),
                                    paddings[i].name, paddings[i].number))
                        return 0;

        return param_set_name(OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN),
                              OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST, RSA_PSS_SALTLEN_DIGEST);
}

const OSSL_PARAM *signature_gettable_params(void *context, void *provider)
{
        static const OSSL_PARAM params[] = {
                OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
                OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
                OSSL_PARAM_END,
        };
        return params;
}

/*
 * The algorithm for what was asked, or NULL with an error raised. The contract has PSS in one form: a salt as
 * long as the digest, which is also what "automatic" gets, and MGF1 with the digest itself.
 */
const Algorithm *signature_algorithm(const Signature *signature, const Digest *digest)
{
        const Algorithm *algorithm = algorithm_find(signature->type, signature->padding, digest);

        if (!algorithm) {
                RAISE(signature->provider, REASON_DIGEST,
                      "%s keys do not sign %s with this padding", key_type_name(signature->type),
                      digest ? digest->name : "without a digest");
                return NULL;
        }
        if (signature->padding != PADDING_PSS)
                return algorithm;

        if (signature->salt != RSA_PSS_SALTLEN_DIGEST && signature->salt != RSA_PSS_SALTLEN_AUTO &&
            signature->salt != SALT_AUTO_DIGEST_MAX && signature->salt != (int)digest->size) {
                RAISE(signature->provider, REASON_SALT,
                      "a PSS salt is as long as the digest: set rsa_pss_saltlen to digest");
                return NULL;
        }
        if (signature->mgf1 && signature->mgf1 != digest) {
                RAISE(signature->provider, REASON_SALT, "MGF1 has the signature's digest, %s",
                      digest->name);
                return NULL;
        }
        return algorithm;
}
