/* SPDX-License-Identifier: Apache-2.0 */
/* The digests that a signature may be over. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum DigestId {
        DIGEST_SHA1,
        DIGEST_SHA256,
        DIGEST_SHA384,
        DIGEST_SHA512,
        _DIGEST_ID_N
} DigestId;

typedef struct Digest {
        DigestId id;
        const char *name; /* as OpenSSL spells it */
        size_t size;
        const char *aliases[3];
        uint8_t info[19]; /* RFC 8017, 9.2: DigestInfo up to the digest itself */
        size_t n_info;
} Digest;

const Digest *digest_get(DigestId id);
const Digest *digest_find_by_name(const char *name);
const Digest *digest_find_by_size(size_t size);
/* From a DigestInfo, whose last bytes are then the digest; NULL: not one, or of another digest. */
const Digest *digest_find_by_info(const uint8_t *info, size_t n_info);
