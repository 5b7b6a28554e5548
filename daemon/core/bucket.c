/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets, in a sorted array of bounded length. Time is an argument and may stand still or go back: then nothing
 * is refilled.
 */
#include "core/bucket.h"

#include <certbroker/status.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"

#define N_BUCKETS_MAX 4096
#define GRANT_MAX     63 /* as a grant's name is at most */

/* Levels are in millionths of a token: a rate of n a second refills n of them each microsecond. */
#define TOKEN     UINT64_C(1000000)
#define BURST_MAX (UINT64_MAX / TOKEN / 2)

struct Bucket {
        uint32_t uid;
        char grant[GRANT_MAX + 1];
        uint64_t rate_per_sec;
        uint64_t capacity;
        uint64_t level;
        uint64_t updated_usec;
};

static int bucket_order(const Bucket *bucket, uint32_t uid, const char *grant)
{
        if (bucket->uid != uid)
                return bucket->uid < uid ? -1 : 1;
        return strcmp(bucket->grant, grant);
}

/* The first bucket that is not smaller. */
static size_t bucket_index(const Buckets *buckets, uint32_t uid, const char *grant)
{
        size_t low = 0, high = buckets->n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (bucket_order(&buckets->items[middle], uid, grant) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* When it is, or was, full. */
static uint64_t bucket_full_usec(const Bucket *bucket)
{
        return bucket->updated_usec + (bucket->capacity - bucket->level) / bucket->rate_per_sec;
}

/*
 * Where none is full, the one nearest to it goes: forgetting it gives its client the fewest tokens that
 * it has not waited for.
 */
static void drop_fullest(Buckets *buckets)
{
        size_t fullest = 0;

        for (size_t i = 1; i < buckets->n; i++)
                if (bucket_full_usec(&buckets->items[i]) <
                    bucket_full_usec(&buckets->items[fullest]))
                        fullest = i;
        buckets->n--;
        memmove(buckets->items + fullest, buckets->items + fullest + 1,
                (buckets->n - fullest) * sizeof(*buckets->items));
}

static int add_bucket(Buckets *buckets, const Bucket *bucket, Bucket **ret_bucket)
{
        Bucket *items;
        size_t index;

        if (buckets->n >= N_BUCKETS_MAX)
                drop_fullest(buckets);
        items = reallocarray(buckets->items, buckets->n + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        buckets->items = items;
        index = bucket_index(buckets, bucket->uid, bucket->grant);
        memmove(items + index + 1, items + index, (buckets->n - index) * sizeof(*items));
        items[index] = *bucket;
        buckets->n++;
        *ret_bucket = &items[index];
        return 0;
}

static void bucket_refill(Bucket *bucket, uint64_t now_usec)
{
        uint64_t missing = bucket->capacity - bucket->level;
        uint64_t elapsed_usec =
                now_usec > bucket->updated_usec ? now_usec - bucket->updated_usec : 0;

        if (elapsed_usec > missing / bucket->rate_per_sec)
                bucket->level = bucket->capacity;
        else
                bucket->level += elapsed_usec * bucket->rate_per_sec;
        bucket->updated_usec = MAX(bucket->updated_usec, now_usec);
}

static int find_bucket(Buckets *buckets, const Bucket *wanted, uint64_t now_usec,
                       Bucket **ret_bucket)
{
        size_t index = bucket_index(buckets, wanted->uid, wanted->grant);
        Bucket *bucket;

        if (index >= buckets->n ||
            bucket_order(&buckets->items[index], wanted->uid, wanted->grant) != 0)
                return add_bucket(buckets, wanted, ret_bucket);

        bucket = &buckets->items[index];
        bucket_refill(bucket, now_usec); /* at the rate that was in force until now */
        bucket->rate_per_sec = wanted->rate_per_sec;
        bucket->capacity = wanted->capacity;
        bucket->level = MIN(bucket->level, bucket->capacity);
        *ret_bucket = bucket;
        return 0;
}

int buckets_take(Buckets *buckets, const char *grant, uint32_t uid, uint64_t n,
                 uint64_t rate_per_sec, uint64_t burst, uint64_t now_usec, uint64_t *ret_wait_usec)
{
        Bucket wanted = { .uid = uid, .rate_per_sec = rate_per_sec, .updated_usec = now_usec };
        Bucket *bucket;
        uint64_t level;
        int r;

        if (rate_per_sec == 0)
                return 0;
        burst = MIN(burst > 0 ? burst : rate_per_sec, BURST_MAX);
        wanted.capacity = wanted.level = burst * TOKEN;
        memcpy(wanted.grant, grant, strnlen(grant, GRANT_MAX));
        level = MIN(n, burst) * TOKEN;

        r = find_bucket(buckets, &wanted, now_usec, &bucket);
        if (r < 0)
                return r;
        if (bucket->level < level) {
                *ret_wait_usec = (level - bucket->level + rate_per_sec - 1) / rate_per_sec;
                return CB_RATE_LIMITED;
        }
        bucket->level -= level;
        return 0;
}

void buckets_deinit(Buckets *buckets)
{
        free(buckets->items);
        *buckets = (Buckets){ 0 };
}
