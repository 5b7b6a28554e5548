/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The idle links of one process. The mutex is held for a few instructions, never while waiting. A
 * fork may happen in any other thread at any of them: so the child never touches its parent's pool,
 * except for the table of descriptors, which needs no lock. Each entry remembers which socket it
 * was, for the program may have closed our number and opened something else under it. What else the
 * parent had is left to lie in the child: it may have been in the midst of a change.
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_MAX      32
#define IDLE_USEC_MAX (30 * USEC_PER_SEC)
#define OPEN_MAX      256 /* beyond it a link works as well, only that a child inherits its descriptor */

/* fd is written last and cleared first; -1: free; -2: being written. */
typedef struct OpenFd {
        atomic_int fd;
        dev_t device;
        ino_t inode;
} OpenFd;

struct Pool {
        pid_t pid;
        OpenFd open[OPEN_MAX];
        pthread_mutex_t mutex;
        Link *idle[IDLE_MAX];          /* the last is taken first: it is the warmest */
        uint64_t idle_since[IDLE_MAX]; /* CLOCK_MONOTONIC, usec */
        size_t n_idle;
        Channel channel;
        Pool *next_abandoned;
};

/* What a child leaves of its parent: kept in sight, so that no tool takes it for a leak. */
static _Atomic(Pool *) abandoned;

int pool_new(Pool **ret_pool)
{
        Pool *pool = calloc(1, sizeof(*pool));
        int r;

        if (!pool)
                return -ENOMEM;
        r = pthread_mutex_init(&pool->mutex, NULL);
        if (r) {
                free(pool);
                return -r;
        }
        pool->pid = getpid();
        for (size_t i = 0; i < OPEN_MAX; i++)
                atomic_init(&pool->open[i].fd, -1);
        *ret_pool = pool;
        return 0;
}

Pool *pool_free(Pool *pool)
{
        if (!pool)
                return NULL;
        while (pool->n_idle > 0)
                link_free(pool->idle[--pool->n_idle]);
        free(pool->channel.addresses);
        (void)pthread_mutex_destroy(&pool->mutex);
        free(pool);
        return NULL;
}

pid_t pool_pid(const Pool *pool)
{
        return pool->pid;
}

/* ------------------------------------------------------------------ descriptors */

static void on_opened(void *context, const Descriptor *socket)
{
        Pool *pool = context;

        for (size_t i = 0; i < OPEN_MAX; i++) {
                OpenFd *place = &pool->open[i];
                int free_place = -1;

                if (!atomic_compare_exchange_strong(&place->fd, &free_place, -2))
                        continue;
                place->device = socket->device;
                place->inode = socket->inode;
                atomic_store(&place->fd, socket->fd);
                return;
        }
}

/* By number and inode: what the program has closed, and a socket of ours since, may have one number. */
static void on_closing(void *context, const Descriptor *socket)
{
        Pool *pool = context;

        for (size_t i = 0; i < OPEN_MAX; i++) {
                OpenFd *place = &pool->open[i];
                int expected = socket->fd;

                if (atomic_load(&place->fd) == expected && place->inode == socket->inode &&
                    atomic_compare_exchange_strong(&place->fd, &expected, -1))
                        return;
        }
}

LinkRegister pool_register(Pool *pool)
{
        return (LinkRegister){ .opened = on_opened, .closing = on_closing, .context = pool };
}

void pool_abandon(Pool *pool)
{
        for (size_t i = 0; i < OPEN_MAX; i++) {
                OpenFd *place = &pool->open[i];
                Descriptor descriptor = { atomic_exchange(&place->fd, -1), place->device,
                                          place->inode };

                descriptor_close(&descriptor);
        }
        pool->next_abandoned = atomic_load(&abandoned);
        while (!atomic_compare_exchange_weak(&abandoned, &pool->next_abandoned, pool))
                ;
}

/* ------------------------------------------------------------------ links */

static Link *pop_idle(Pool *pool)
{
        Link *link = NULL;

        (void)pthread_mutex_lock(&pool->mutex);
        if (pool->n_idle > 0)
                link = pool->idle[--pool->n_idle];
        (void)pthread_mutex_unlock(&pool->mutex);
        return link;
}

/* On a bus all goes through a third process: from time to time look for the channel again. */
static bool should_look_for_channel(Pool *pool, const Link *link)
{
        uint64_t retry_after;

        if (!link_is_bus(link))
                return false;
        (void)pthread_mutex_lock(&pool->mutex);
        retry_after = pool->channel.retry_after;
        (void)pthread_mutex_unlock(&pool->mutex);
        return link_now() >= retry_after;
}

Link *pool_take(Pool *pool)
{
        for (;;) {
                Link *link = pop_idle(pool);

                if (!link)
                        return NULL;
                if (link_own_uid(link) == geteuid() && !should_look_for_channel(pool, link) &&
                    link_refresh(link))
                        return link;
                link_free(link);
        }
}

/*
 * Takes out the coldest, if for long nobody has needed as many: signals pile up in what nobody
 * reads.
 */
static Link *take_cold(Pool *pool, uint64_t now)
{
        Link *link = pool->idle[0];

        if (pool->n_idle < 2 || now - pool->idle_since[0] < IDLE_USEC_MAX)
                return NULL;
        pool->n_idle--;
        memmove(pool->idle, pool->idle + 1, pool->n_idle * sizeof(*pool->idle));
        memmove(pool->idle_since, pool->idle_since + 1, pool->n_idle * sizeof(*pool->idle_since));
        return link;
}

void pool_put(Pool *pool, Link *link)
{
        uint64_t now = link_now();
        Link *surplus = link;

        (void)pthread_mutex_lock(&pool->mutex);
        if (pool->n_idle < IDLE_MAX) {
                pool->idle_since[pool->n_idle] = now;
                pool->idle[pool->n_idle++] = link;
                surplus = take_cold(pool, now);
        }
        (void)pthread_mutex_unlock(&pool->mutex);
        link_free(surplus);
}

/* ------------------------------------------------------------------ the channel */

int pool_channel(Pool *pool, Channel *ret_channel)
{
        Channel channel;

        (void)pthread_mutex_lock(&pool->mutex);
        channel = pool->channel;
        if (channel.addresses)
                channel.addresses = strdup(channel.addresses);
        if (!channel.addresses && pool->channel.addresses) {
                (void)pthread_mutex_unlock(&pool->mutex);
                return -ENOMEM;
        }
        (void)pthread_mutex_unlock(&pool->mutex);
        *ret_channel = channel;
        return 0;
}

int pool_set_channel(Pool *pool, const char *addresses, uid_t server_uid, uint64_t retry_after)
{
        char *copy = addresses ? strdup(addresses) : NULL, *before;

        if (addresses && !copy)
                return -ENOMEM;
        (void)pthread_mutex_lock(&pool->mutex);
        before = pool->channel.addresses;
        pool->channel = (Channel){ copy, server_uid, retry_after };
        (void)pthread_mutex_unlock(&pool->mutex);
        free(before);
        return 0;
}
