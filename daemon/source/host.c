/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host: reads requests on the main thread, puts them into the lanes (lanes.c), whose workers answer.
 * Invariant: every request that was read is answered exactly once, unless the process ends.
 *
 * The main thread never calls a driver's operation, so that a module that hangs cannot keep it from
 * reading or from seeing the end. A request whose time is over while it waits is answered by the main
 * thread; one that is over while a driver works at it is not answered: where it is a signature's, the broker
 * sees that this process hangs, and kills it. Where it manages, signing goes on without its worker.
 */
#include "source/host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "source/asks.h"
#include "source/confine.h"
#include "source/driver.h"
#include "source/drivers.h"
#include "source/lanes.h"
#include "source/read-chain.h"
#include "wire/message.h"
#include "wire/packet.h"

#define LOG_AGAIN_USEC (10 * USEC_PER_SEC)

typedef struct Host Host;
struct Host {
        int fd;
        const SourceDriver *driver; /* NULL until configured; then constant */
        void *instance;

        Lanes *lanes;
        Asks asks;

        pthread_mutex_t lock; /* of the rest */
        char logged[sizeof(((Failure *)NULL)->text)]; /* the last failure that was logged */
        uint64_t logged_usec;
};

const char *driver_setting(char *const *settings, const char *key)
{
        size_t n = strlen(key);

        for (size_t i = 0; settings && settings[i]; i++)
                if (strncmp(settings[i], key, n) == 0 && settings[i][n] == '=')
                        return settings[i] + n + 1;
        return NULL;
}

/* Wire out. A packet is sent whole or not at all, so threads need no order among them. */

static int send_packet(int fd, const Bytes *packet, const int fds[WIRE_FDS_MAX])
{
        struct pollfd pfd = { .fd = fd, .events = POLLOUT };
        int r;

        while ((r = wire_send(fd, packet, fds, 0)) == -EAGAIN)
                (void)poll(&pfd, 1, -1);
        return r;
}

static void host_give_up(void *userdata, const char *why)
{
        Host *host = userdata;

        log_error("ends, to be started anew: %s", why);
        if (host->driver)
                host->driver->wipe(host->instance);
        (void)shutdown(host->fd, SHUT_RDWR); /* a thread that cannot end keeps it open */
        _exit(EX_TEMPFAIL);
}

/* What was asked for may have been done: for want of memory it is answered as where we had ended. */
static int encode_instead(const WireReply *reply, int error, Bytes *ret_packet)
{
        WireReply instead;
        int r;

        log_error("an answer cannot be sent: %s", strerror(-error));
        wire_reply_init(&instead, reply->id);
        if (error == -ENOMEM)
                fail(&instead.failure, CB_SOURCE_UNAVAILABLE, "no memory for the source's answer");
        else
                fail(&instead.failure, CB_FAILED, "the source's answer does not fit: %s",
                     strerror(-error));
        r = wire_reply_encode(&instead, ret_packet);
        wire_reply_deinit(&instead);
        return r;
}

static void host_send(Host *host, WireReply *reply)
{
        Bytes packet = { 0 };
        int r;

        r = wire_reply_encode(reply, &packet);
        if (r < 0 && reply->id != 0)
                r = encode_instead(reply, r, &packet);
        if (r == -ENOMEM && reply->id == 0 && reply->ask == 0)
                host_give_up(host, "no memory to tell its state");
        if (r == 0)
                r = send_packet(host->fd, &packet, reply->fds);
        if (r < 0 && r != -EPIPE && r != -ECONNRESET)
                log_error("cannot answer the broker: %s", strerror(-r));
        if (packet.n > 0) /* the answer may be a secret */
                explicit_bzero(packet.data, packet.n);
        bytes_deinit(&packet);
}

static void host_refuse(Host *host, uint64_t id, const Failure *failure)
{
        WireReply reply;

        wire_reply_init(&reply, id);
        reply.failure = *failure;
        host_send(host, &reply);
        wire_reply_deinit(&reply);
}

static void host_refuse_expired(Host *host, const WireRequest *request)
{
        Failure failure = { 0 };

        fail(&failure, CB_TIMED_OUT, "the source was too busy to start this %s in time; try again",
             wire_operation_name(request->operation));
        host_refuse(host, request->id, &failure);
}

static void host_changed(void *userdata, SourceState state, const char *text)
{
        Host *host = userdata;
        WireReply event;

        wire_reply_init(&event, 0);
        event.state = state;
        event.state_text = text ? strdup(text) : NULL;
        host_send(host, &event);
        wire_reply_deinit(&event);
}

/* Sends the question; asks.c waits for its answer. */
static int host_ask(void *userdata, const char *certificate, Algorithm algorithm,
                    const Bytes *input, uint64_t deadline_usec, BytesList *ret_chain,
                    Bytes *ret_signature, Failure *failure)
{
        Host *host = userdata;
        WireReply question;
        Ask ask;
        int r;

        wire_reply_init(&question, 0);
        question.ask = asks_begin(&host->asks, &ask);
        if (algorithm != ALGORITHM_NONE)
                question.algorithms = ALGORITHM_BIT(algorithm);
        r = string_set(&question.key_uri, certificate);
        if (r == 0 && input)
                r = bytes_set(&question.output, input->data, input->n);
        if (r == 0)
                host_send(host, &question);
        wire_reply_deinit(&question);
        return asks_end(&host->asks, &ask, r == 0 ? deadline_usec : 0, ret_chain, ret_signature,
                        failure);
}

/* Workers */

static driver_operation operation_of(const SourceDriver *driver, WireOperation operation)
{
        const driver_operation operations[_WIRE_OPERATION_N] = {
                [WIRE_SIGN] = driver->sign,       [WIRE_DECRYPT] = driver->decrypt,
                [WIRE_IMPORT] = driver->import,   [WIRE_GENERATE] = driver->generate,
                [WIRE_LOOKUP] = driver->lookup,   [WIRE_INSTALL] = driver->install,
                [WIRE_READ_CHAIN] = read_chain,   [WIRE_REQUEST] = driver->request,
                [WIRE_DESTROY] = driver->destroy, [WIRE_TAKE_BACK] = driver->take_back,
                [WIRE_EXPORT] = driver->export,   [WIRE_UNLOCK] = driver->unlock,
                [WIRE_REFRESH] = driver->refresh,
        };

        return (unsigned)operation < _WIRE_OPERATION_N ? operations[operation] : NULL;
}

/* One line for a failure: who asks a hundred times for what is not to be had must not fill the log. */
static void log_failure(Host *host, const WireRequest *request, const Failure *failure)
{
        uint64_t now_usec = clock_monotonic_usec();
        bool again;

        pthread_mutex_lock(&host->lock);
        again = strcmp(host->logged, failure->text) == 0 &&
                now_usec - host->logged_usec < LOG_AGAIN_USEC;
        if (!again) {
                snprintf(host->logged, sizeof(host->logged), "%s", failure->text);
                host->logged_usec = now_usec;
        }
        pthread_mutex_unlock(&host->lock);
        if (!again)
                log_info("%s%s%s: %s", wire_operation_name(request->operation),
                         request->name ? " of " : "", string_or_empty(request->name),
                         failure->text);
}

static int operate(Host *host, const DriverCall *call, WireReply *reply)
{
        WireOperation what = call->request->operation;
        driver_operation operation = operation_of(host->driver, what);
        int r;

        if (!operation)
                return fail(&reply->failure, CB_NOT_SUPPORTED, "a source of driver %s cannot %s",
                            host->driver->name, wire_operation_name(what));
        r = operation(host->instance, call, reply);
        if (r != 0 && reply->failure.status != r)
                fail(&reply->failure, r, "%s: %s", wire_operation_name(what),
                     r < 0 ? strerror(-r) : status_word(r));
        return r;
}

static void on_work(void *userdata, const DriverCall *call)
{
        Host *host = userdata;
        WireReply reply;

        if (clock_monotonic_usec() >= call->deadline_usec) {
                host_refuse_expired(host, call->request);
                return;
        }
        wire_reply_init(&reply, call->request->id);
        if (operate(host, call, &reply) == 0)
                reply.failure.status = 0;
        else
                log_failure(host, call->request, &reply.failure);
        host_send(host, &reply);
        wire_reply_deinit(&reply);
}

static void on_expired(void *userdata, const WireRequest *request)
{
        host_refuse_expired(userdata, request);
}

static void on_endless(void *userdata, uint64_t id)
{
        Failure failure = { 0 };

        fail(&failure, CB_INVALID_ARGUMENT,
             "what was handed in did not end within %d s; give a file that is on this host",
             (int)(HANDED_USEC / USEC_PER_SEC));
        host_refuse(userdata, id, &failure);
}

/* Wire in, all on the main thread. */

static const SourceDriver *find_driver(const char *name)
{
        for (size_t i = 0; name && source_drivers[i]; i++)
                if (strcmp(source_drivers[i]->name, name) == 0)
                        return source_drivers[i];
        return NULL;
}

static int host_configure(Host *host, const WireRequest *request, DriverWorkers *ret_workers,
                          Failure *failure)
{
        const DriverHost services = { host, host_changed, host_give_up, host_ask };
        const char *name = driver_setting(request->settings, "driver");
        const SourceDriver *driver = find_driver(name);
        int r;

        if (host->driver)
                return fail(failure, CB_INVALID_ARGUMENT, "the source is configured already");
        if (!driver)
                return fail(failure, CB_NOT_SUPPORTED, "this build has no driver '%s' for sources",
                            string_or_empty(name));
        confine(request->settings);
        r = driver->configure(request->settings, &services, &host->instance, ret_workers,
                              failure);
        if (r == 0)
                host->driver = driver;
        return r;
}

/* The answer goes out before anything starts, so that it precedes the first event. */
static int host_on_configure(Host *host, const WireRequest *request)
{
        const LanesEvents events = { host, on_work, on_expired, on_endless, host_give_up };
        DriverWorkers workers = { 1, 1 };
        WireReply reply;
        int r;

        wire_reply_init(&reply, request->id);
        r = host_configure(host, request, &workers, &reply.failure);
        if (r != 0 && reply.failure.status != r)
                fail(&reply.failure, r, "the source cannot be set up: %s", strerror(-r));
        if (r != 0)
                log_error("%s", reply.failure.text);
        host_send(host, &reply);
        wire_reply_deinit(&reply);
        if (r != 0)
                return 0; /* the broker knows; it decides */

        r = lanes_new(&events, &workers, &host->lanes);
        if (r == 0)
                r = host->driver->start(host->instance);
        return r;
}

static int host_on_unread(Host *host, const void *packet, size_t n, int error)
{
        Failure failure = { 0 };

        if (error != -ENOMEM) {
                log_error("the broker sent what is no request; is it of another version?");
                return error;
        }
        fail(&failure, error, "no memory for the request");
        host_refuse(host, wire_request_id(packet, n), &failure);
        return 0;
}

static int host_on_packet(Host *host, const void *packet, size_t n, const int fds[WIRE_FDS_MAX])
{
        WireRequest request;
        Failure failure = { 0 };
        int r;

        r = wire_request_decode(packet, n, &request);
        if (r < 0) {
                for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                        close_fd(fds[i]);
                return host_on_unread(host, packet, n, r);
        }
        memcpy(request.fds, fds, sizeof(request.fds));

        if (request.operation == WIRE_CONFIGURE) {
                r = host_on_configure(host, &request);
                wire_request_deinit(&request);
                return r;
        }
        if (request.operation == WIRE_ANSWER || request.operation == WIRE_PING) {
                if (request.operation == WIRE_ANSWER)
                        asks_answer(&host->asks, &request);
                host_refuse(host, request.id, &failure); /* status 0: taken */
                wire_request_deinit(&request);
                return 0;
        }
        if (!host->lanes)
                fail(&failure, CB_INVALID_ARGUMENT, "the source is not configured yet");
        else
                (void)lanes_put(host->lanes, &request, &failure);
        if (failure.status != 0)
                host_refuse(host, request.id, &failure);
        wire_request_deinit(&request);
        return 0;
}

/* 1: go on; 0: the broker has closed the socket; -errno. */
static int host_turn(Host *host, void *buffer)
{
        struct pollfd pfd = { .fd = host->fd, .events = POLLIN };
        int fds[WIRE_FDS_MAX];
        ssize_t n;
        int r;

        r = poll(&pfd, 1, host->lanes ? lanes_tick(host->lanes) : -1);
        if (r < 0)
                return errno == EINTR ? 1 : -errno;
        if (r == 0)
                return 1;
        n = wire_receive(host->fd, buffer, WIRE_PACKET_MAX, fds, MSG_DONTWAIT);
        if (n == -EAGAIN)
                return 1;
        if (n == 0 || n == -ECONNRESET)
                return 0;
        if (n < 0)
                return (int)n;
        r = host_on_packet(host, buffer, (size_t)n, fds);
        return r < 0 ? r : 1;
}

int host_run(int fd)
{
        static Host host; /* workers may look at it until the very end of the process */
        CLEANUP(freep) void *buffer = NULL;
        int r;

        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        buffer = malloc(WIRE_PACKET_MAX);
        if (!buffer)
                return -ENOMEM;
        host.fd = fd;
        pthread_mutex_init(&host.lock, NULL);
        asks_init(&host.asks);

        while ((r = host_turn(&host, buffer)) > 0)
                ;
        if (host.driver)
                host.driver->wipe(host.instance);
        return r;
}
