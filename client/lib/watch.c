/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cb_watch: tells when a backend's credential has changed. A signal is only a hint to look; what
 * counts is what GetCredential answers on the watch's own connection, compared with what was given
 * last. So a signal that is lost or doubled does no harm, one that is forged is dropped, and a change during an outage is
 * found by looking after it. The broker sends signals, unicast, to whoever has called it on that
 * connection.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "credential.h"
#include "error.h"

#define DBUS_NAME         "org.freedesktop.DBus"
#define BACKEND_INTERFACE "org.certbroker1.Backend"
#define PAUSE_MIN_USEC    (100 * USEC_PER_MSEC)
#define PAUSE_MAX_USEC    (5 * USEC_PER_SEC)
/* After a refusal no signal need come when it ends (the grant may be new): so look again. */
#define LOOK_AGAIN_USEC (30 * USEC_PER_SEC)
#define OWNER_RULE                                                                                 \
        "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"            \
        "member='NameOwnerChanged',arg0='org.certbroker1'"

struct cb_watch {
        cb_client *client;
        char *path;
        uint64_t connect_usec, call_usec;
        Link *link;
        pid_t pid; /* whose the link is */
        bool must_look;
        uint64_t look_at; /* CLOCK_MONOTONIC, usec */
        uint64_t pause_usec;
        int told; /* the outcome that was told last */
        cb_credential *given;
};

int cb_watch_new(cb_client *client, const char *backend, cb_watch **ret_watch)
{
        cb_watch *watch;
        int r;

        if (!client || !backend || !ret_watch)
                return -EINVAL;
        watch = calloc(1, sizeof(*watch));
        if (!watch)
                return -ENOMEM;
        r = cb_object_path("backend", backend, &watch->path);
        if (r) {
                free(watch);
                return r;
        }
        watch->client = client;
        watch->connect_usec = client_connect_usec(client);
        watch->call_usec = client_call_usec(client);
        watch->must_look = true;
        watch->look_at = UINT64_MAX;
        watch->pause_usec = PAUSE_MIN_USEC;
        *ret_watch = watch;
        return 0;
}

/* The parent's link is not ours to close: the pool closes its descriptor. */
static void drop_link(cb_watch *watch)
{
        if (watch->pid == getpid())
                link_free(watch->link);
        watch->link = NULL;
        watch->must_look = true;
}

cb_watch *cb_watch_free(cb_watch *watch)
{
        if (watch) {
                drop_link(watch);
                cb_credential_free(watch->given);
                free(watch->path);
                free(watch);
        }
        return NULL;
}

/* ------------------------------------------------------------------ connecting and asking */

static int add_match(Link *link, uint64_t deadline, cb_error *error)
{
        CLEANUP(message_freep) Message *call = NULL;
        int r;

        r = message_new(&(cb_method){ .path = "/org/freedesktop/DBus",
                                      .interface = DBUS_NAME,
                                      .member = "AddMatch" },
                        &call, error, "s", OWNER_RULE);
        return r ? r : link_call(link, call, DBUS_NAME, deadline, NULL, error);
}

static int watch_connect(cb_watch *watch, cb_error *error)
{
        uint64_t deadline = link_deadline(watch->connect_usec);
        Pool *pool;
        int r;

        r = client_pool(watch->client, &pool, error);
        if (r)
                return r;
        if (watch->link && watch->pid != getpid())
                drop_link(watch);
        if (watch->link)
                return 0;

        r = connect_broker(client_place(watch->client), pool, deadline, &watch->link, error);
        if (r)
                return r;
        watch->pid = getpid();
        return link_is_bus(watch->link) ? add_match(watch->link, deadline, error) : 0;
}

static int ask(cb_watch *watch, cb_value **ret_answer, cb_error *error)
{
        CLEANUP(message_freep) Message *call = NULL;
        int r;

        r = watch_connect(watch, error);
        if (r == 0)
                r = message_new(&(cb_method){ .path = watch->path,
                                              .interface = BACKEND_INTERFACE,
                                              .member = "GetCredential" },
                                &call, error, "");
        if (r)
                return r;
        return client_call_on(watch->link, call, link_deadline(watch->call_usec), ret_answer,
                              error);
}

/* ------------------------------------------------------------------ what to do with an answer */

/* 0: given; -EAGAIN: the same as before. */
static int give(cb_watch *watch, const cb_value *answer, cb_credential **ret_credential,
                cb_error *error)
{
        cb_credential *credential, *keep;
        int r;

        r = credential_from_value(answer, &credential, error);
        if (r)
                return r;
        if (watch->given && credential_equals(watch->given, credential)) {
                cb_credential_free(credential);
                return -EAGAIN;
        }
        r = credential_from_value(answer, &keep, error);
        if (r) {
                cb_credential_free(credential);
                return r;
        }
        cb_credential_free(watch->given);
        watch->given = keep;
        *ret_credential = credential;
        return 0;
}

static bool is_passing(int r)
{
        return r == CB_UNREACHABLE || r == CB_TIMED_OUT || r == CB_RATE_LIMITED ||
               r == CB_LIMIT_EXCEEDED || r == CB_THROTTLED;
}

static void look_later(cb_watch *watch, uint64_t usec)
{
        watch->must_look = false;
        watch->look_at = link_deadline(usec);
}

/* With growing pauses: nobody tells when the way is free again. */
static void look_after_pause(cb_watch *watch)
{
        look_later(watch, watch->pause_usec);
        watch->pause_usec *= 2;
        if (watch->pause_usec > PAUSE_MAX_USEC)
                watch->pause_usec = PAUSE_MAX_USEC;
}

/* Looks once. -EAGAIN: nothing to tell; error then holds why, where something stands in the way. */
static int look(cb_watch *watch, cb_credential **ret_credential, cb_error *error)
{
        CLEANUP(cb_value_freep) cb_value *answer = NULL;
        int r;

        watch->look_at = UINT64_MAX;
        r = ask(watch, &answer, error);
        if (r == CB_UNREACHABLE || r == CB_TIMED_OUT)
                drop_link(watch);
        if (is_passing(r)) {
                look_after_pause(watch);
                return -EAGAIN;
        }
        if (r < 0)
                return r;

        watch->must_look = false;
        if (watch->link)
                watch->pause_usec = PAUSE_MIN_USEC;
        if (r == 0) {
                error->text[0] = '\0';
                r = give(watch, cb_value_at(answer, 0), ret_credential, error);
                if (r <= 0) {
                        watch->told = 0;
                        return r;
                }
        }
        /* Without a connection it is not the broker who refuses: somebody sits in his place. */
        if (watch->link)
                look_later(watch, LOOK_AGAIN_USEC);
        else
                look_after_pause(watch);
        watch->given = cb_credential_free(watch->given);
        if (r == watch->told)
                return -EAGAIN;
        watch->told = r;
        return r;
}

/* ------------------------------------------------------------------ waiting */

static bool is_signal(const Incoming *message, const char *interface, const char *member)
{
        return message->type == INCOMING_SIGNAL && strcmp(message->interface, interface) == 0 &&
               strcmp(message->member, member) == 0;
}

static void on_message(cb_watch *watch, const Incoming *message)
{
        if (is_signal(message, BACKEND_INTERFACE, "CredentialChanged") &&
            strcmp(message->path, watch->path) == 0 && link_is_from_broker(watch->link, message))
                watch->must_look = true;
        if (is_signal(message, DBUS_NAME, "NameOwnerChanged") &&
            strcmp(message->sender, DBUS_NAME) == 0)
                drop_link(watch);
}

static int sleep_until(uint64_t until)
{
        uint64_t now = link_now(), left = until > now ? until - now : 0;
        struct timespec ts = { .tv_sec = (time_t)(left / USEC_PER_SEC),
                               .tv_nsec = (long)(left % USEC_PER_SEC) * 1000 };

        return ppoll(NULL, 0, until == UINT64_MAX ? NULL : &ts, NULL) < 0 ? -errno : 0;
}

/* Waits for a message (1), or for the time to look again (0). -EINTR, or another -errno. */
static int rest(cb_watch *watch, uint64_t until)
{
        CLEANUP(incoming_freep) Incoming *message = NULL;
        int r;

        if (!watch->link)
                return sleep_until(until);
        r = link_next(watch->link, until, &message, NULL);
        if (r == 0)
                on_message(watch, message);
        if (r && !link_is_alive(watch->link)) /* whatever broke it: it would say so again at once */
                drop_link(watch);
        if (r < 0)
                return r;
        return r == 0 ? 1 : 0;
}

int cb_watch_wait(cb_watch *watch, uint64_t timeout_usec, cb_credential **ret_credential,
                  cb_error *error)
{
        uint64_t deadline = link_deadline(timeout_usec);
        cb_error obstacle = { 0 };
        int r;

        if (!watch || !ret_credential)
                return error_set(error, -EINVAL, "No watch, or no place for the credential.");
        if (watch->link && watch->pid != getpid())
                drop_link(watch);

        for (;;) {
                if (watch->must_look || link_now() >= watch->look_at) {
                        r = look(watch, ret_credential, &obstacle);
                        if (r == 0)
                                return 0;
                        if (r != -EAGAIN)
                                return error_set(error, r, "%s", obstacle.text);
                }
                r = rest(watch, deadline < watch->look_at ? deadline : watch->look_at);
                if (r < 0)
                        return error_set(error, r, "Waiting for a change: %s", strerror(-r));
                if (r == 0 && !watch->must_look && link_now() >= deadline)
                        return error_set(error, CB_TIMED_OUT, "%s",
                                         obstacle.text[0] ? obstacle.text : "Nothing has changed.");
        }
}
