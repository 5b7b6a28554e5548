/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The digests that a signature may be over, as one table: their names, sizes and DigestInfo.
 *
 * Looked up without libcrypto, because libssl asks about digests each time it fills a list of
 * signature algorithms: that must be cheap and may take no lock.
 */
#include "digest.h"

#include <string.h>
#include <strings.h>

#include "macro.h"

#define SHA2_INFO(last, total, size)                                                               \
        {                                                                                          \
                0x30, total, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04,     \
                        0x02, last, 0x05, 0x00, 0x04, size                                         \
        }

static const Digest digests[] = {
        [DIGEST_SHA1] = { DIGEST_SHA1,
                          "SHA1",
                          20,
                          { "SHA-1", "SSL3-SHA1", "1.3.14.3.2.26" },
                          { 0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05,
                            0x00, 0x04, 0x14 },
                          15 },
        [DIGEST_SHA256] = { DIGEST_SHA256,
                            "SHA256",
                            32,
                            { "SHA2-256", "SHA-256", "2.16.840.1.101.3.4.2.1" },
                            SHA2_INFO(0x01, 0x31, 0x20),
                            19 },
        [DIGEST_SHA384] = { DIGEST_SHA384,
                            "SHA384",
                            48,
                            { "SHA2-384", "SHA-384", "2.16.840.1.101.3.4.2.2" },
                            SHA2_INFO(0x02, 0x41, 0x30),
                            19 },
        [DIGEST_SHA512] = { DIGEST_SHA512,
                            "SHA512",
                            64,
                            { "SHA2-512", "SHA-512", "2.16.840.1.101.3.4.2.3" },
                            SHA2_INFO(0x03, 0x51, 0x40),
                            19 },
};

const Digest *digest_get(DigestId id)
{
        return &digests[id];
}

static bool digest_is_called(const Digest *digest, const char *name)
{
        if (strcasecmp(digest->name, name) == 0)
                return true;

        for (size_t i = 0; i < ELEMENTSOF(digest->aliases); i++)
                if (strcasecmp(digest->aliases[i], name) == 0)
                        return true;

        return false;
}

const Digest *digest_find_by_name(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(digests); i++)
                if (digest_is_called(&digests[i], name))
                        return &digests[i];

        return NULL;
}

const Digest *digest_find_by_size(size_t size)
{
        for (size_t i = 0; i < ELEMENTSOF(digests); i++)
                if (digests[i].size == size)
                        return &digests[i];

        return NULL;
}

const Digest *digest_find_by_info(const uint8_t *info, size_t n_info)
{
        for (size_t i = 0; i < ELEMENTSOF(digests); i++)
                if (n_info == digests[i].n_info + digests[i].size &&
                    memcmp(info, digests[i].info, digests[i].n_info) == 0)
                        return &digests[i];

        return NULL;
}
