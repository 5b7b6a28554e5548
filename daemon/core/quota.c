/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one client may have at a time. Two sorted arrays of bounded length: the uids that have something
 * in flight just now, and the token buckets. Invariant: a uid is in the first exactly while its count is
 * above 0, so the array is as long as there are clients with requests, at most N_CLIENTS_MAX. It outlives
 * every Charge. Time is an argument and may stand still or go back: then nothing is refilled.
 */
#include "core/quota.h"

#include <certbroker/status.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define N_CLIENTS_MAX 4096
#define N_BUCKETS_MAX 4096
#define GRANT_MAX     63 /* as a grant's name is at most */

/* Levels are in millionths of a token: a rate of n a second refills n of them each microsecond. */
#define TOKEN     UINT64_C(1000000)
#define BURST_MAX (UINT64_MAX / TOKEN / 2)

typedef struct Client {
        uint32_t uid;
        unsigned n_in_flight;
} Client;

typedef struct Bucket {
        uint32_t uid;
        char grant[GRANT_MAX + 1];
        uint64_t rate_per_sec;
        uint64_t capacity;
        uint64_t level;
        uint64_t updated_usec;
} Bucket;

struct Quota {
        unsigned n_in_flight_max;
        Client *clients;
        size_t n_clients;
        Bucket *buckets;
        size_t n_buckets;
};

int quota_new(unsigned n_in_flight_max, Quota **ret_quota)
{
        Quota *quota = calloc(1, sizeof(*quota));

        if (!quota)
                return -ENOMEM;
        quota->n_in_flight_max = n_in_flight_max;
        *ret_quota = quota;
        return 0;
}

Quota *quota_free(Quota *quota)
{
        if (!quota)
                return NULL;
        free(quota->clients);
        free(quota->buckets);
        free(quota);
        return NULL;
}

void quota_set_max(Quota *quota, unsigned n_in_flight_max)
{
        quota->n_in_flight_max = n_in_flight_max;
}

/* The first client whose uid is not smaller. */
static size_t client_index(const Quota *quota, uint32_t uid)
{
        size_t low = 0, high = quota->n_clients;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (quota->clients[middle].uid < uid)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static Client *find_client(const Quota *quota, uint32_t uid)
{
        size_t index = client_index(quota, uid);

        return index < quota->n_clients && quota->clients[index].uid == uid ? &quota->clients[index]
                                                                            : NULL;
}

static int add_client(Quota *quota, uint32_t uid)
{
        size_t index = client_index(quota, uid);
        Client *clients;

        if (quota->n_clients >= N_CLIENTS_MAX)
                return CB_LIMIT_EXCEEDED;
        clients = reallocarray(quota->clients, quota->n_clients + 1, sizeof(*clients));
        if (!clients)
                return -ENOMEM;
        memmove(clients + index + 1, clients + index,
                (quota->n_clients - index) * sizeof(*clients));
        clients[index] = (Client){ .uid = uid, .n_in_flight = 1 };
        quota->clients = clients;
        quota->n_clients++;
        return 0;
}

int quota_charge(Quota *quota, uint32_t uid, Charge *ret_charge)
{
        Client *client = find_client(quota, uid);
        int r;

        if ((client ? client->n_in_flight : 0) >= quota->n_in_flight_max)
                return CB_LIMIT_EXCEEDED;
        if (client) {
                client->n_in_flight++;
        } else {
                r = add_client(quota, uid);
                if (r != 0)
                        return r;
        }
        *ret_charge = (Charge){ .quota = quota, .uid = uid };
        return 0;
}

void charge_deinit(Charge *charge)
{
        Quota *quota = charge->quota;
        Client *client;

        if (!quota)
                return;
        client = find_client(quota, charge->uid);
        assert_always(client != NULL);
        if (--client->n_in_flight == 0) {
                size_t index = (size_t)(client - quota->clients);

                quota->n_clients--;
                memmove(client, client + 1, (quota->n_clients - index) * sizeof(*client));
        }
        *charge = (Charge){ 0 };
}

unsigned quota_in_flight(const Quota *quota, uint32_t uid)
{
        const Client *client = find_client(quota, uid);

        return client ? client->n_in_flight : 0;
}

static int bucket_order(const Bucket *bucket, uint32_t uid, const char *grant)
{
        if (bucket->uid != uid)
                return bucket->uid < uid ? -1 : 1;
        return strcmp(bucket->grant, grant);
}

/* The first bucket that is not smaller. */
static size_t bucket_index(const Quota *quota, uint32_t uid, const char *grant)
{
        size_t low = 0, high = quota->n_buckets;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (bucket_order(&quota->buckets[middle], uid, grant) < 0)
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
static void drop_fullest(Quota *quota)
{
        size_t fullest = 0;

        for (size_t i = 1; i < quota->n_buckets; i++)
                if (bucket_full_usec(&quota->buckets[i]) <
                    bucket_full_usec(&quota->buckets[fullest]))
                        fullest = i;
        quota->n_buckets--;
        memmove(quota->buckets + fullest, quota->buckets + fullest + 1,
                (quota->n_buckets - fullest) * sizeof(*quota->buckets));
}

static int add_bucket(Quota *quota, const Bucket *bucket, Bucket **ret_bucket)
{
        Bucket *buckets;
        size_t index;

        if (quota->n_buckets >= N_BUCKETS_MAX)
                drop_fullest(quota);
        buckets = reallocarray(quota->buckets, quota->n_buckets + 1, sizeof(*buckets));
        if (!buckets)
                return -ENOMEM;
        quota->buckets = buckets;
        index = bucket_index(quota, bucket->uid, bucket->grant);
        memmove(buckets + index + 1, buckets + index,
                (quota->n_buckets - index) * sizeof(*buckets));
        buckets[index] = *bucket;
        quota->n_buckets++;
        *ret_bucket = &buckets[index];
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

static int find_bucket(Quota *quota, const Bucket *wanted, uint64_t now_usec, Bucket **ret_bucket)
{
        size_t index = bucket_index(quota, wanted->uid, wanted->grant);
        Bucket *bucket;

        if (index >= quota->n_buckets ||
            bucket_order(&quota->buckets[index], wanted->uid, wanted->grant) != 0)
                return add_bucket(quota, wanted, ret_bucket);

        bucket = &quota->buckets[index];
        bucket_refill(bucket, now_usec); /* at the rate that was in force until now */
        bucket->rate_per_sec = wanted->rate_per_sec;
        bucket->capacity = wanted->capacity;
        bucket->level = MIN(bucket->level, bucket->capacity);
        *ret_bucket = bucket;
        return 0;
}

int quota_take_token(Quota *quota, const char *grant, uint32_t uid, uint64_t rate_per_sec,
                     uint64_t burst, uint64_t now_usec, uint64_t *ret_wait_usec)
{
        Bucket wanted = { .uid = uid, .rate_per_sec = rate_per_sec, .updated_usec = now_usec };
        Bucket *bucket;
        int r;

        if (rate_per_sec == 0)
                return 0;
        burst = burst > 0 ? burst : rate_per_sec;
        wanted.capacity = wanted.level = MIN(burst, BURST_MAX) * TOKEN;
        memcpy(wanted.grant, grant, strnlen(grant, GRANT_MAX));

        r = find_bucket(quota, &wanted, now_usec, &bucket);
        if (r < 0)
                return r;
        if (bucket->level < TOKEN) {
                *ret_wait_usec = (TOKEN - bucket->level + rate_per_sec - 1) / rate_per_sec;
                return CB_RATE_LIMITED;
        }
        bucket->level -= TOKEN;
        return 0;
}
