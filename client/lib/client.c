/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cb_client: makes a call on a link that no other thread has meanwhile, and chooses when to send it
 * again. The only state that changes is which pool is the process's: a child swaps in one of its
 * own with one atomic operation, and so needs no lock that another thread may have held at the
 * fork. What is not repeatable is sent once: after a break nobody knows whether it was done.
 */
#include "client.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "value.h"

#define CONNECT_USEC_DEFAULT (5 * USEC_PER_SEC)
#define CALL_USEC_DEFAULT    (25 * USEC_PER_SEC)
/* From one end to the next beginning it takes a second or two (RestartSec=1). */
#define RESTART_USEC         (5 * USEC_PER_SEC)
#define RESTART_PAUSE_NSEC   (50 * 1000 * 1000)

struct cb_client {
        Place place;
        _Atomic uint64_t connect_usec, call_usec;
        _Atomic(Pool *) pool;
};

int cb_client_new(const char *bus, cb_client **ret_client)
{
        cb_client *client;
        Pool *pool = NULL;
        int r;

        if (!ret_client)
                return -EINVAL;
        client = calloc(1, sizeof(*client));
        if (!client)
                return -ENOMEM;
        r = connect_place(bus, &client->place);
        if (r == 0)
                r = pool_new(&pool);
        if (r) {
                free(client->place.bus);
                free(client);
                return r;
        }
        atomic_init(&client->connect_usec, CONNECT_USEC_DEFAULT);
        atomic_init(&client->call_usec, CALL_USEC_DEFAULT);
        atomic_init(&client->pool, pool);
        *ret_client = client;
        return 0;
}

cb_client *cb_client_free(cb_client *client)
{
        Pool *pool;

        if (!client)
                return NULL;
        pool = atomic_load(&client->pool);
        if (pool_pid(pool) == getpid())
                pool_free(pool);
        else
                pool_abandon(pool);
        free(client->place.bus);
        free(client);
        return NULL;
}

void cb_client_set_timeouts(cb_client *client, uint64_t connect_usec, uint64_t call_usec)
{
        if (client && connect_usec > 0)
                atomic_store(&client->connect_usec, connect_usec);
        if (client && call_usec > 0)
                atomic_store(&client->call_usec, call_usec);
}

const Place *client_place(const cb_client *client)
{
        return &client->place;
}

uint64_t client_connect_usec(cb_client *client)
{
        return atomic_load(&client->connect_usec);
}

uint64_t client_call_usec(cb_client *client)
{
        return atomic_load(&client->call_usec);
}

/* The pool of this process. Of threads that find their parent's at once, one wins. */
int client_pool(cb_client *client, Pool **ret_pool, cb_error *error)
{
        Pool *pool = atomic_load(&client->pool), *fresh = NULL;
        int r;

        if (pool_pid(pool) == getpid()) {
                *ret_pool = pool;
                return 0;
        }
        r = pool_new(&fresh);
        if (r)
                return error_set(error, r, "Out of memory.");
        if (atomic_compare_exchange_strong(&client->pool, &pool, fresh)) {
                pool_abandon(pool);
                *ret_pool = fresh;
        } else {
                pool_free(fresh);
                *ret_pool = pool;
        }
        return 0;
}

/* ------------------------------------------------------------------ calls */

typedef enum Again {
        AGAIN_NEVER,
        AGAIN_IF_REPEATABLE, /* the connection broke: it may have been done */
        AGAIN_ALWAYS,        /* it reached nobody */
} Again;

/* A broker that is started again is waited for, whatever is asked: nothing has reached it yet. */
static int connect_patiently(cb_client *client, Pool *pool, uint64_t deadline, Link **ret_link,
                             cb_error *error)
{
        const struct timespec pause = { .tv_nsec = RESTART_PAUSE_NSEC };
        uint64_t patience = earlier(link_deadline(RESTART_USEC), deadline);
        int r;

        for (;;) {
                uint64_t connect = link_deadline(client_connect_usec(client));

                r = connect_broker(&client->place, pool, earlier(connect, deadline), ret_link,
                                   error);
                if (r != CB_UNREACHABLE || !connect_is_restarting(&client->place) ||
                    link_now() >= patience)
                        return r;
                (void)nanosleep(&pause, NULL);
        }
}

/* fresh: made now. Where one idle link on a bus had no addressee, the others have none either. */
static int take_link(cb_client *client, bool fresh, uint64_t deadline, Pool **ret_pool,
                     Link **ret_link, cb_error *error)
{
        Link *link;
        int r;

        r = client_pool(client, ret_pool, error);
        if (r)
                return r;
        link = fresh ? NULL : pool_take(*ret_pool);
        if (!link)
                return connect_patiently(client, *ret_pool, deadline, ret_link, error);
        *ret_link = link;
        return 0;
}

static void give_link_back(Pool *pool, Link *link, int r)
{
        if (r < 0 || r == CB_TIMED_OUT || r == CB_UNREACHABLE || !link_is_alive(link))
                link_free(link);
        else
                pool_put(pool, link);
}

/* One attempt; *again is how the one before ended, and is set with CB_UNREACHABLE. */
static int attempt(cb_client *client, const Message *call, uint64_t deadline, cb_value **ret_body,
                   Again *again, cb_error *error)
{
        bool fresh = *again == AGAIN_ALWAYS;
        Pool *pool;
        Link *link;
        int r;

        *again = AGAIN_NEVER;
        r = take_link(client, fresh, deadline, &pool, &link, error);
        if (r)
                return r;
        r = client_call_on(link, call, deadline, ret_body, error);
        if (r == CB_UNREACHABLE)
                *again = link_reached_nobody(link) ? AGAIN_ALWAYS : AGAIN_IF_REPEATABLE;
        give_link_back(pool, link, r);
        return r;
}

int cb_call_v(cb_client *client, const cb_method *method, cb_value **ret_reply, cb_error *error,
              const char *signature, va_list arguments)
{
        CLEANUP(message_freep) Message *call = NULL;
        Again again = AGAIN_NEVER;
        uint64_t deadline;
        int r;

        if (!client || !method)
                return error_set(error, -EINVAL, "No client, or no method.");
        r = message_new_v(method, &call, error, signature, arguments);
        if (r)
                return r;

        deadline = link_deadline(method->timeout_usec > 0 ? method->timeout_usec
                                                          : client_call_usec(client));
        r = attempt(client, call, deadline, ret_reply, &again, error);
        if (r != CB_UNREACHABLE || again == AGAIN_NEVER)
                return r;
        if (again == AGAIN_IF_REPEATABLE && !method->repeatable)
                return error_set(
                        error, r,
                        "The connection to certbrokerd broke before it answered %s; whether "
                        "that was done is not known. Look, then try again.",
                        method->member);
        r = attempt(client, call, deadline, ret_reply, &again, error);
        return r == CB_UNREACHABLE && again == AGAIN_ALWAYS ? error_not_running(error) : r;
}

int cb_call(cb_client *client, const cb_method *method, cb_value **ret_reply, cb_error *error,
            const char *signature, ...)
{
        va_list arguments;
        int r;

        va_start(arguments, signature);
        r = cb_call_v(client, method, ret_reply, error, signature, arguments);
        va_end(arguments);
        return r;
}

int cb_broker_pid(cb_client *client, pid_t *ret_pid, cb_error *error)
{
        uint64_t deadline;
        Pool *pool;
        Link *link;
        int r;

        if (!client || !ret_pid)
                return error_set(error, -EINVAL, "No client, or no place for the process.");
        deadline = link_deadline(client_call_usec(client));
        r = take_link(client, false, deadline, &pool, &link, error);
        if (r)
                return r;
        r = client_pid_on(link, deadline, ret_pid, error);
        give_link_back(pool, link, r);
        return r;
}
