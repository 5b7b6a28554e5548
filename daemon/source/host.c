/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host: reads requests on the main thread, hands them to workers through a bounded queue, and lets
 * each worker answer. A request with descriptors passes through a thread that reads them first.
 * Invariant: every request that was read is answered exactly once, by whoever took it out of the queue,
 * unless the process ends.
 *
 * The main thread never calls a driver's operation, so that a module that hangs cannot keep it from
 * reading or from seeing the end. A request whose time is over while it waits is answered by the main
 * thread; one that is over while a driver works at it is not answered: the broker sees that this process
 * hangs, and kills it.
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
#include <sys/queue.h>
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
#include "source/handed.h"
#include "source/read-chain.h"
#include "wire/message.h"
#include "wire/packet.h"

#define QUEUE_MAX      4096
#define WORKERS_MAX    256
#define HANDING_MAX    128 /* twice what one client may have in flight; 2 MiB of locked memory each */
#define READER_STACK   (256 * 1024)
#define LOG_AGAIN_USEC (10 * USEC_PER_SEC)

typedef struct Host Host;
typedef struct Job Job;
struct Job {
        TAILQ_ENTRY(Job) entry;
        WireRequest request;
        uint64_t deadline_usec;
        Handed handed;
        bool is_handing; /* one of the host's n_handing */
        Host *host;
};

struct Host {
        int fd;
        const SourceDriver *driver; /* NULL until configured; then constant */
        void *instance;

        pthread_mutex_t lock;
        pthread_cond_t queued;
        TAILQ_HEAD(, Job) queue;
        size_t n_queue;
        size_t n_handing; /* requests whose descriptors are read, or what they held is kept */
        Asks asks;
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

static void job_free(Job *job)
{
        Host *host = job->host;

        wire_request_deinit(&job->request);
        handed_deinit(&job->handed);
        if (job->is_handing) {
                pthread_mutex_lock(&host->lock);
                host->n_handing--;
                pthread_mutex_unlock(&host->lock);
        }
        free(job);
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

static void host_send(Host *host, WireReply *reply)
{
        Bytes packet = { 0 };
        int r;

        r = wire_reply_encode(reply, &packet);
        if (r < 0 && reply->id != 0) {
                WireReply instead;

                log_error("an answer cannot be sent: %s", strerror(-r));
                wire_reply_init(&instead, reply->id);
                fail(&instead.failure, CB_FAILED, "the source's answer does not fit: %s",
                     strerror(-r));
                r = wire_reply_encode(&instead, &packet);
                wire_reply_deinit(&instead);
        }
        if (r == 0)
                r = send_packet(host->fd, &packet, reply->fds);
        if (r < 0 && r != -EPIPE && r != -ECONNRESET)
                log_error("cannot answer the broker: %s", strerror(-r));
        if (packet.n > 0) /* the answer may be a secret */
                explicit_bzero(packet.data, packet.n);
        bytes_deinit(&packet);
}

static void host_refuse(Host *host, const WireRequest *request, const Failure *failure)
{
        WireReply reply;

        wire_reply_init(&reply, request->id);
        reply.failure = *failure;
        host_send(host, &reply);
        wire_reply_deinit(&reply);
}

static void host_refuse_expired(Host *host, const WireRequest *request)
{
        Failure failure = { 0 };

        fail(&failure, CB_TIMED_OUT, "the source was too busy to start this %s in time; try again",
             wire_operation_name(request->operation));
        host_refuse(host, request, &failure);
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

static void host_give_up(void *userdata, const char *why)
{
        Host *host = userdata;

        log_error("ends, to be started anew: %s", why);
        host->driver->wipe(host->instance);
        _exit(EX_TEMPFAIL);
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

static Job *host_pop_locked(Host *host)
{
        Job *job;

        while (TAILQ_EMPTY(&host->queue))
                pthread_cond_wait(&host->queued, &host->lock);
        job = TAILQ_FIRST(&host->queue);
        TAILQ_REMOVE(&host->queue, job, entry);
        host->n_queue--;
        return job;
}

static void run_job_worker(Host *host, Job *job)
{
        DriverCall call = { &job->request, &job->handed, job->deadline_usec };
        driver_operation operation = operation_of(host->driver, job->request.operation);
        WireReply reply;
        int r;

        if (clock_monotonic_usec() >= job->deadline_usec) {
                host_refuse_expired(host, &job->request);
                return;
        }
        wire_reply_init(&reply, job->request.id);
        r = operation(host->instance, &call, &reply);
        if (r != 0 && reply.failure.status != r)
                fail(&reply.failure, r, "%s: %s", wire_operation_name(job->request.operation),
                     r < 0 ? strerror(-r) : status_word(r));
        if (r == 0)
                reply.failure.status = 0;
        else
                log_failure(host, &job->request, &reply.failure);
        host_send(host, &reply);
        wire_reply_deinit(&reply);
}

static void *worker_main(void *userdata)
{
        Host *host = userdata;

        for (;;) {
                Job *job;

                pthread_mutex_lock(&host->lock);
                job = host_pop_locked(host);
                pthread_mutex_unlock(&host->lock);
                run_job_worker(host, job);
                job_free(job);
        }
        return NULL;
}

static int host_start_workers(Host *host, unsigned n)
{
        for (unsigned i = 0; i < MIN(MAX(n, 1U), (unsigned)WORKERS_MAX); i++) {
                pthread_t thread;
                int r;

                r = pthread_create(&thread, NULL, worker_main, host);
                if (r != 0)
                        return -r;
                pthread_detach(thread);
        }
        return 0;
}

/* Wire in, all on the main thread. */

static const SourceDriver *find_driver(const char *name)
{
        for (size_t i = 0; name && source_drivers[i]; i++)
                if (strcmp(source_drivers[i]->name, name) == 0)
                        return source_drivers[i];
        return NULL;
}

static int host_configure(Host *host, const WireRequest *request, unsigned *ret_n_workers,
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
        r = driver->configure(request->settings, &services, &host->instance, ret_n_workers,
                              failure);
        if (r == 0)
                host->driver = driver;
        return r;
}

/* The answer goes out before anything starts, so that it precedes the first event. */
static int host_on_configure(Host *host, const WireRequest *request)
{
        WireReply reply;
        unsigned n_workers = 1;
        int r;

        wire_reply_init(&reply, request->id);
        r = host_configure(host, request, &n_workers, &reply.failure);
        if (r != 0 && reply.failure.status != r)
                fail(&reply.failure, r, "the source cannot be set up: %s", strerror(-r));
        if (r != 0)
                log_error("%s", reply.failure.text);
        host_send(host, &reply);
        wire_reply_deinit(&reply);
        if (r != 0)
                return 0; /* the broker knows; it decides */

        r = host_start_workers(host, n_workers);
        if (r == 0)
                r = host->driver->start(host->instance);
        return r;
}

/* What a person asks for goes before the signatures that wait for it. */
static bool goes_first(WireOperation operation)
{
        return operation == WIRE_UNLOCK || operation == WIRE_REFRESH;
}

/* Takes the job, unless there is no room for it. */
static int host_queue_locked(Host *host, Job *job, Failure *failure)
{
        if (host->n_queue >= QUEUE_MAX)
                return fail(failure, CB_LIMIT_EXCEEDED,
                            "%d requests wait for the source already; try again later", QUEUE_MAX);
        if (goes_first(job->request.operation))
                TAILQ_INSERT_HEAD(&host->queue, job, entry);
        else
                TAILQ_INSERT_TAIL(&host->queue, job, entry);
        host->n_queue++;
        pthread_cond_signal(&host->queued);
        return 0;
}

static void *reader_main(void *userdata)
{
        Job *job = userdata;
        Host *host = job->host;
        Failure failure = { 0 };
        int r;

        handed_read_worker(job->request.fds, &job->handed);
        pthread_mutex_lock(&host->lock);
        r = host_queue_locked(host, job, &failure);
        pthread_mutex_unlock(&host->lock);
        if (r != 0) {
                host_refuse(host, &job->request, &failure);
                job_free(job);
        }
        return NULL;
}

static int start_reader(Job *job)
{
        pthread_attr_t attributes;
        pthread_t thread;
        int r;

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;
        (void)pthread_attr_setstacksize(&attributes, READER_STACK);
        (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        r = pthread_create(&thread, &attributes, reader_main, job);
        pthread_attr_destroy(&attributes);
        return -r;
}

/*
 * Whoever holds the other end of a pipe decides how long its reading takes: a thread of its own reads,
 * and no worker, which signs for others, ever waits for one.
 */
static int host_read_locked(Host *host, Job *job, Failure *failure)
{
        int r;

        if (host->n_handing >= HANDING_MAX)
                return fail(failure, CB_LIMIT_EXCEEDED,
                            "%d requests with descriptors wait for the source already; try again "
                            "later",
                            HANDING_MAX);
        job->is_handing = true;
        r = start_reader(job);
        if (r < 0)
                return fail(failure, CB_LIMIT_EXCEEDED,
                            "the source cannot start a thread to read descriptors: %s; try again "
                            "later",
                            strerror(-r));
        host->n_handing++;
        return 0;
}

static bool has_descriptors(const WireRequest *request)
{
        for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                if (request->fds[i] >= 0)
                        return true;
        return false;
}

/* The request is the job's from here on, unless it is refused. */
static int host_enqueue(Host *host, const WireRequest *request, Failure *failure)
{
        Job *job;
        int r;

        if (!host->driver)
                return fail(failure, CB_INVALID_ARGUMENT, "the source is not configured yet");
        if (!operation_of(host->driver, request->operation))
                return fail(failure, CB_NOT_SUPPORTED, "a source of driver %s cannot %s",
                            host->driver->name, wire_operation_name(request->operation));
        job = calloc(1, sizeof(*job));
        if (!job)
                return fail(failure, -ENOMEM, "no memory for the request");

        job->host = host;
        job->request = *request;
        job->deadline_usec = clock_monotonic_usec() + MIN(request->timeout_usec, UINT64_MAX / 4);
        handed_init(&job->handed);
        pthread_mutex_lock(&host->lock);
        r = has_descriptors(request) ? host_read_locked(host, job, failure)
                                     : host_queue_locked(host, job, failure);
        pthread_mutex_unlock(&host->lock);
        if (r != 0)
                free(job);
        return r;
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
                log_error("the broker sent what is no request; is it of another version?");
                return r;
        }
        memcpy(request.fds, fds, sizeof(request.fds));

        if (request.operation == WIRE_CONFIGURE) {
                r = host_on_configure(host, &request);
                wire_request_deinit(&request);
                return r;
        }
        if (request.operation == WIRE_ANSWER) {
                asks_answer(&host->asks, &request);
                host_refuse(host, &request, &failure); /* status 0: taken */
                wire_request_deinit(&request);
                return 0;
        }
        if (host_enqueue(host, &request, &failure) != 0) {
                host_refuse(host, &request, &failure);
                wire_request_deinit(&request);
        }
        return 0;
}

/* Takes out one request whose time is over. *ret_next_usec: when the next may be. */
static Job *host_take_expired(Host *host, uint64_t now_usec, uint64_t *ret_next_usec)
{
        uint64_t next_usec = UINT64_MAX;
        Job *job;

        pthread_mutex_lock(&host->lock);
        if (host->n_handing > 0)
                next_usec = now_usec + USEC_PER_SEC; /* they queue too */
        TAILQ_FOREACH(job, &host->queue, entry)
        {
                if (job->deadline_usec <= now_usec) {
                        TAILQ_REMOVE(&host->queue, job, entry);
                        host->n_queue--;
                        break;
                }
                next_usec = MIN(next_usec, job->deadline_usec);
        }
        pthread_mutex_unlock(&host->lock);
        *ret_next_usec = next_usec;
        return job;
}

/* Answers what has expired in the queue; returns for how long poll() may wait. */
static int host_expire(Host *host)
{
        uint64_t now_usec = clock_monotonic_usec(), next_usec;
        Job *job;

        while ((job = host_take_expired(host, now_usec, &next_usec))) {
                host_refuse_expired(host, &job->request);
                job_free(job);
        }
        if (next_usec == UINT64_MAX)
                return -1; /* only this thread can queue, so nothing can expire meanwhile */
        return (int)MIN((next_usec - now_usec) / USEC_PER_MSEC + 1, UINT64_C(1000));
}

/* 1: go on; 0: the broker has closed the socket; -errno. */
static int host_turn(Host *host, void *buffer)
{
        struct pollfd pfd = { .fd = host->fd, .events = POLLIN };
        int fds[WIRE_FDS_MAX];
        ssize_t n;
        int r;

        r = poll(&pfd, 1, host_expire(host));
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
        pthread_cond_init(&host.queued, NULL);
        TAILQ_INIT(&host.queue);
        asks_init(&host.asks);

        while ((r = host_turn(&host, buffer)) > 0)
                ;
        if (host.driver)
                host.driver->wipe(host.instance);
        return r;
}
