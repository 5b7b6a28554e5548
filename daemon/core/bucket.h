/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets, a bounded number of them: one for each grant and uid. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct Bucket Bucket;

typedef struct Buckets {
        Bucket *items; /* by uid and grant */
        size_t n;
} Buckets;

void buckets_deinit(Buckets *buckets);
/* quota_take_tokens() tells what it does. */
int buckets_take(Buckets *buckets, const char *grant, uint32_t uid, uint64_t n,
                 uint64_t rate_per_sec, uint64_t burst, uint64_t now_usec, uint64_t *ret_wait_usec);
