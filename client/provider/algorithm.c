/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's signature algorithms as one table: a new one is a row.
 *
 * The AlgorithmIdentifiers are constants: RFC 4055 for RSA (PSS with a salt as long as the digest, and
 * MGF1 with the same digest), RFC 5758 for ECDSA (no parameters), RFC 8410 for Ed25519.
 */
#include "algorithm.h"

#include "macro.h"

#define RSA_DER(last)                                                                              \
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last, 0x05, 0x00

#define SHA2_DER(last)                                                                             \
        0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last, 0x05, 0x00

#define PSS_DER(last, salt)                                                                        \
        0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, /* PSS */    \
                0x30, 0x34, 0xa0, 0x0f, SHA2_DER(last),                               /* hash */   \
                0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, /* MGF1 … */         \
                0xf7, 0x0d, 0x01, 0x01, 0x08, SHA2_DER(last),               /* … with hash */    \
                0xa2, 0x03, 0x02, 0x01, salt

#define ECDSA_SHA2_DER(last) 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last

#define ECDSA_SHA1_DER 0x30, 0x09, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01

#define ED25519_DER 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70

#define DER(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

/* clang-format off */
static const Algorithm algorithms[] = {
        { "rsa-pkcs1-sha256", KEY_RSA, PADDING_PKCS1, DIGEST_SHA256, DER(RSA_DER(0x0b)) },
        { "rsa-pkcs1-sha384", KEY_RSA, PADDING_PKCS1, DIGEST_SHA384, DER(RSA_DER(0x0c)) },
        { "rsa-pkcs1-sha512", KEY_RSA, PADDING_PKCS1, DIGEST_SHA512, DER(RSA_DER(0x0d)) },
        { "rsa-pkcs1-sha1", KEY_RSA, PADDING_PKCS1, DIGEST_SHA1, DER(RSA_DER(0x05)) },
        { "rsa-pss-sha256", KEY_RSA, PADDING_PSS, DIGEST_SHA256, DER(PSS_DER(0x01, 0x20)) },
        { "rsa-pss-sha384", KEY_RSA, PADDING_PSS, DIGEST_SHA384, DER(PSS_DER(0x02, 0x30)) },
        { "rsa-pss-sha512", KEY_RSA, PADDING_PSS, DIGEST_SHA512, DER(PSS_DER(0x03, 0x40)) },
        { "ecdsa-sha256", KEY_EC, PADDING_NONE, DIGEST_SHA256, DER(ECDSA_SHA2_DER(0x02)) },
        { "ecdsa-sha384", KEY_EC, PADDING_NONE, DIGEST_SHA384, DER(ECDSA_SHA2_DER(0x03)) },
        { "ecdsa-sha512", KEY_EC, PADDING_NONE, DIGEST_SHA512, DER(ECDSA_SHA2_DER(0x04)) },
        { "ecdsa-sha1", KEY_EC, PADDING_NONE, DIGEST_SHA1, DER(ECDSA_SHA1_DER) },
        { "ed25519", KEY_ED25519, PADDING_NONE, _DIGEST_ID_N, DER(ED25519_DER) },
};
/* clang-format on */

const Algorithm *algorithm_find(KeyType type, Padding padding, const Digest *digest)
{
        DigestId id = digest ? digest->id : _DIGEST_ID_N;

        for (size_t i = 0; i < ELEMENTSOF(algorithms); i++)
                if (algorithms[i].type == type && algorithms[i].padding == padding &&
                    algorithms[i].digest == id)
                        return &algorithms[i];

        return NULL;
}
