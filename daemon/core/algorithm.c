/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Algorithms, key types and digests: a row each, and questions to the rows. Invariant: every
 * enum value has its row; nothing else in the project lists algorithms or computes their lengths.
 */
#include "core/algorithm.h"

#include <string.h>

#include "base/macro.h"
#include "core/digest.h"

/* clang-format off */
static const AlgorithmRow algorithms[_ALGORITHM_N] = {
        [ALGORITHM_NONE]             = { "none", _KEY_FAMILY_N, PADDING_NONE, DIGEST_NONE, false },
        [ALGORITHM_RSA_PKCS1_SHA256] = { "rsa-pkcs1-sha256", KEY_RSA, PADDING_PKCS1, DIGEST_SHA256, false },
        [ALGORITHM_RSA_PKCS1_SHA384] = { "rsa-pkcs1-sha384", KEY_RSA, PADDING_PKCS1, DIGEST_SHA384, false },
        [ALGORITHM_RSA_PKCS1_SHA512] = { "rsa-pkcs1-sha512", KEY_RSA, PADDING_PKCS1, DIGEST_SHA512, false },
        [ALGORITHM_RSA_PSS_SHA256]   = { "rsa-pss-sha256", KEY_RSA, PADDING_PSS, DIGEST_SHA256, false },
        [ALGORITHM_RSA_PSS_SHA384]   = { "rsa-pss-sha384", KEY_RSA, PADDING_PSS, DIGEST_SHA384, false },
        [ALGORITHM_RSA_PSS_SHA512]   = { "rsa-pss-sha512", KEY_RSA, PADDING_PSS, DIGEST_SHA512, false },
        [ALGORITHM_ECDSA_SHA256]     = { "ecdsa-sha256", KEY_EC, PADDING_NONE, DIGEST_SHA256, false },
        [ALGORITHM_ECDSA_SHA384]     = { "ecdsa-sha384", KEY_EC, PADDING_NONE, DIGEST_SHA384, false },
        [ALGORITHM_ECDSA_SHA512]     = { "ecdsa-sha512", KEY_EC, PADDING_NONE, DIGEST_SHA512, false },
        [ALGORITHM_ED25519]          = { "ed25519", KEY_ED25519, PADDING_NONE, DIGEST_NONE, false },
        [ALGORITHM_RSA_PKCS1_SHA1]   = { "rsa-pkcs1-sha1", KEY_RSA, PADDING_PKCS1, DIGEST_SHA1, true },
        [ALGORITHM_ECDSA_SHA1]       = { "ecdsa-sha1", KEY_EC, PADDING_NONE, DIGEST_SHA1, true },
        [ALGORITHM_RSA_OAEP_SHA1]    = { "rsa-oaep-sha1", KEY_RSA, PADDING_NONE, DIGEST_SHA1, false, true },
        [ALGORITHM_RSA_OAEP_SHA256]  = { "rsa-oaep-sha256", KEY_RSA, PADDING_NONE, DIGEST_SHA256, false, true },
};

/*
 * The longest ECDSA-Sig-Value: two integers of the order's length, each with a sign byte where the top
 * bit may be set (P-521's order has 521 bits: never), and their headers.
 */
static const KeyTypeRow key_types[_KEY_TYPE_N] = {
        [KEY_TYPE_NONE]     = { "none", _KEY_FAMILY_N, 0, 0, DIGEST_NONE },
        [KEY_TYPE_RSA_2048] = { "rsa-2048", KEY_RSA, 2048, 256, DIGEST_NONE },
        [KEY_TYPE_RSA_3072] = { "rsa-3072", KEY_RSA, 3072, 384, DIGEST_NONE },
        [KEY_TYPE_RSA_4096] = { "rsa-4096", KEY_RSA, 4096, 512, DIGEST_NONE },
        [KEY_TYPE_EC_P256]  = { "ec-p256", KEY_EC, 256, 72, DIGEST_SHA256 },
        [KEY_TYPE_EC_P384]  = { "ec-p384", KEY_EC, 384, 104, DIGEST_SHA384 },
        [KEY_TYPE_EC_P521]  = { "ec-p521", KEY_EC, 521, 139, DIGEST_SHA512 },
        [KEY_TYPE_ED25519]  = { "ed25519", KEY_ED25519, 256, 64, DIGEST_NONE },
};

static const struct {
        const char *name;
        size_t length;
} digests[_DIGEST_N] = {
        [DIGEST_NONE]   = { "none", 0 },
        [DIGEST_SHA1]   = { "SHA1", SHA1_LENGTH },
        [DIGEST_SHA256] = { "SHA256", SHA256_LENGTH },
        [DIGEST_SHA384] = { "SHA384", 48 },
        [DIGEST_SHA512] = { "SHA512", 64 },
};
/* clang-format on */

const AlgorithmRow *algorithm_row(Algorithm algorithm)
{
        assert_always((unsigned)algorithm < _ALGORITHM_N);
        return &algorithms[algorithm];
}

const char *algorithm_name(Algorithm algorithm)
{
        return algorithm_row(algorithm)->name;
}

Algorithm algorithm_from_name(const char *name)
{
        for (Algorithm algorithm = ALGORITHM_NONE + 1; algorithm < _ALGORITHM_N; algorithm++)
                if (strcmp(algorithms[algorithm].name, name) == 0)
                        return algorithm;
        return ALGORITHM_NONE;
}

bool algorithm_fits_key(Algorithm algorithm, KeyType type)
{
        return algorithm != ALGORITHM_NONE && type != KEY_TYPE_NONE &&
               !algorithm_row(algorithm)->decrypts &&
               algorithm_row(algorithm)->family == key_type_row(type)->family;
}

bool algorithm_takes_input(Algorithm algorithm, size_t n)
{
        const AlgorithmRow *row = algorithm_row(algorithm);

        if (algorithm == ALGORITHM_NONE)
                return false;
        if (row->digest == DIGEST_NONE)
                return n <= ALGORITHM_MESSAGE_MAX;
        return n == digest_length(row->digest);
}

uint32_t algorithms_of_key(KeyType type)
{
        uint32_t bits = 0;

        for (Algorithm algorithm = ALGORITHM_NONE + 1; algorithm < _ALGORITHM_N; algorithm++)
                if (algorithm_fits_key(algorithm, type))
                        bits |= ALGORITHM_BIT(algorithm);
        return bits;
}

const KeyTypeRow *key_type_row(KeyType type)
{
        assert_always((unsigned)type < _KEY_TYPE_N);
        return &key_types[type];
}

const char *key_type_name(KeyType type)
{
        return key_type_row(type)->name;
}

KeyType key_type_from_name(const char *name)
{
        for (KeyType type = KEY_TYPE_NONE + 1; type < _KEY_TYPE_N; type++)
                if (strcmp(key_types[type].name, name) == 0)
                        return type;
        return KEY_TYPE_NONE;
}

size_t digest_length(Digest digest)
{
        assert_always((unsigned)digest < _DIGEST_N);
        return digests[digest].length;
}

const char *digest_name(Digest digest)
{
        assert_always((unsigned)digest < _DIGEST_N);
        return digests[digest].name;
}
