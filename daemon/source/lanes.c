/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lanes. Invariants: no job of management is ever in a worker of the signatures; of one owner at most
 * one job is worked at or read for (the broker's own are more, but never all); owners have their turns one
 * after the other; what may take long leaves one worker to what does not.
 *
 * The main thread neither reads nor closes what was handed in, for on some file systems both wait for
 * ever: only the reader's thread of that owner does. Who hands in what cannot be read has but few of them,
 * and waits for them himself.
 */
#include "source/lanes.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"

#define QUEUE_MAX   4096
#define MANAGE_MAX  32
#define SIGN_MAX    256
#define READERS_MAX 64 /* and what they have read is kept: 2 MiB of locked memory each */
#define READERS_OF_ROOT 4 /* more than that, for root alone */
#define STUCK_MAX    4 /* readers of one owner that do not come back */
#define READER_STACK (256 * 1024)
#define NICE         10

#define ENDLESS_USEC (HANDED_USEC + USEC_PER_SEC / 2)
/* Nobody is waiting any more, but it may be taking back what it had begun. */
#define HANG_USEC  (60 * USEC_PER_SEC)
#define QUIET_USEC (10 * USEC_PER_SEC)

#define OWNER_BROKER 0
#define OWNER_ROOT   1

typedef struct Owner Owner;
typedef struct Job Job;
struct Job {
        TAILQ_ENTRY(Job) entry;
        WireRequest request;
        uint64_t deadline_usec;
        Handed handed;
        Owner *owner;          /* NULL: a signature */
        uint64_t reading_usec; /* since when; 0: it is not read */
        bool unread;           /* its descriptors are still open */
        bool is_handing;       /* one of the n_handing */
        bool stuck;            /* answered, and in no queue any more: its reader frees it */
        Lanes *lanes;
};

/* Who manages and has something to do, or to be read. */
struct Owner {
        TAILQ_ENTRY(Owner) entry;
        uint64_t number;
        TAILQ_HEAD(, Job) jobs;
        Job *reading; /* the one that is read; in `jobs` */
        unsigned n_running, n_stuck;
};

struct Lanes {
        LanesEvents events;
        pthread_mutex_t lock;
        /* all below: under `lock` */
        pthread_cond_t to_sign, to_manage;
        TAILQ_HEAD(, Job) signing;
        TAILQ_HEAD(, Owner) owners; /* the next one first */
        size_t n_queued, n_handing;
        unsigned n_manage, n_slow; /* workers; those at what may take long */
        unsigned n_signing;        /* waiting and worked at */
        uint64_t signed_usec;      /* when there was one last */
        uint64_t until_usec[MANAGE_MAX]; /* of each worker's job; 0: none */
        bool told;                       /* that they hang */
};

/* Making and ending */

static bool has_descriptors(const WireRequest *request)
{
        for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                if (request->fds[i] >= 0)
                        return true;
        return false;
}

static Owner *owner_of_locked(Lanes *lanes, uint64_t number)
{
        Owner *owner;

        TAILQ_FOREACH(owner, &lanes->owners, entry)
        {
                if (owner->number == number)
                        return owner;
        }
        owner = calloc(1, sizeof(*owner));
        if (!owner)
                return NULL;
        owner->number = number;
        TAILQ_INIT(&owner->jobs);
        TAILQ_INSERT_TAIL(&lanes->owners, owner, entry);
        return owner;
}

static void drop_idle_owner_locked(Lanes *lanes, Owner *owner)
{
        if (!TAILQ_EMPTY(&owner->jobs) || owner->n_running > 0 || owner->n_stuck > 0)
                return;
        TAILQ_REMOVE(&lanes->owners, owner, entry);
        free(owner);
}

static void advance_all_locked(Lanes *lanes);

/* The job is in no queue, and read. */
static void job_free(Job *job)
{
        Lanes *lanes = job->lanes;

        wire_request_deinit(&job->request);
        handed_deinit(&job->handed);
        if (job->is_handing) {
                pthread_mutex_lock(&lanes->lock);
                lanes->n_handing--;
                advance_all_locked(lanes);
                pthread_mutex_unlock(&lanes->lock);
        }
        free(job);
}

/* Reading */

static void *reader_main(void *userdata)
{
        Job *job = userdata;
        Lanes *lanes = job->lanes;
        Owner *owner = job->owner;
        bool stuck;

        (void)setpriority(PRIO_PROCESS, 0, NICE); /* of this thread */
        if (clock_monotonic_usec() < job->deadline_usec)
                handed_read_worker(job->request.fds, &job->handed);
        else
                handed_close_worker(job->request.fds);
        pthread_mutex_lock(&lanes->lock);
        job->unread = false;
        stuck = job->stuck;
        if (stuck)
                owner->n_stuck--;
        else
                owner->reading = NULL;
        pthread_cond_broadcast(&lanes->to_manage);
        advance_all_locked(lanes);
        if (stuck)
                drop_idle_owner_locked(lanes, owner);
        pthread_mutex_unlock(&lanes->lock);
        /* Else it is a worker's from here on, and may be gone already. */
        if (stuck)
                job_free(job);
        return NULL;
}

static int start_thread(void *(*main)(void *userdata), void *userdata, size_t stack)
{
        pthread_attr_t attributes;
        pthread_t thread;
        int r;

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;
        if (stack > 0)
                (void)pthread_attr_setstacksize(&attributes, stack);
        (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        r = pthread_create(&thread, &attributes, main, userdata);
        pthread_attr_destroy(&attributes);
        return -r;
}

static unsigned running_max(const Lanes *lanes, const Owner *owner)
{
        return owner->number == OWNER_BROKER ? (lanes->n_manage + 1) / 2 : 1;
}

/* Starts the reader of the job whose turn it is, unless it must wait; then the next event tries again. */
static void advance_locked(Lanes *lanes, Owner *owner)
{
        size_t n_max = READERS_MAX + (owner->number == OWNER_ROOT ? READERS_OF_ROOT : 0);
        Job *job = TAILQ_FIRST(&owner->jobs);

        if (!job || !job->unread || owner->reading || owner->n_stuck >= STUCK_MAX ||
            owner->n_running >= running_max(lanes, owner) || lanes->n_handing >= n_max)
                return;
        job->reading_usec = clock_monotonic_usec();
        job->is_handing = true;
        owner->reading = job;
        lanes->n_handing++;
        if (start_thread(reader_main, job, READER_STACK) == 0)
                return;
        job->is_handing = false;
        owner->reading = NULL;
        lanes->n_handing--;
}

static void advance_all_locked(Lanes *lanes)
{
        Owner *owner;

        TAILQ_FOREACH(owner, &lanes->owners, entry)
        advance_locked(lanes, owner);
}

/* Working */

static void work(Lanes *lanes, Job *job)
{
        DriverCall call = { &job->request, &job->handed, job->deadline_usec };

        lanes->events.work(lanes->events.userdata, &call);
        job_free(job);
}

static void *signer_main(void *userdata)
{
        Lanes *lanes = userdata;

        pthread_mutex_lock(&lanes->lock);
        for (;;) {
                Job *job = TAILQ_FIRST(&lanes->signing);

                if (!job) {
                        pthread_cond_wait(&lanes->to_sign, &lanes->lock);
                        continue;
                }
                TAILQ_REMOVE(&lanes->signing, job, entry);
                lanes->n_queued--;
                pthread_mutex_unlock(&lanes->lock);
                work(lanes, job);
                pthread_mutex_lock(&lanes->lock);
                lanes->n_signing--;
                lanes->signed_usec = clock_monotonic_usec();
        }
        return NULL;
}

static bool is_slow(const Job *job)
{
        switch (job->request.operation) {
        case WIRE_IMPORT:
        case WIRE_GENERATE:
        case WIRE_EXPORT:
        case WIRE_READ_CHAIN:
                return true;
        case WIRE_CONFIGURE:
        case WIRE_SIGN:
        case WIRE_DECRYPT:
        case WIRE_LOOKUP:
        case WIRE_INSTALL:
        case WIRE_REQUEST:
        case WIRE_DESTROY:
        case WIRE_TAKE_BACK:
        case WIRE_UNLOCK:
        case WIRE_REFRESH:
        case WIRE_ANSWER:
        case WIRE_PING:
        case _WIRE_OPERATION_N:
                break;
        }
        return false;
}

/* Whose first job cannot be read for now has the next one done. */
static Job *first_read(const Owner *owner)
{
        Job *job = TAILQ_FIRST(&owner->jobs);

        while (job && job->unread && owner->n_stuck >= STUCK_MAX)
                job = TAILQ_NEXT(job, entry);
        return job && !job->unread ? job : NULL;
}

/* Takes out the next job of the owner whose turn it is; NULL: none can be done now. */
static Job *pick_locked(Lanes *lanes)
{
        unsigned n_slow_max = MAX(lanes->n_manage - (lanes->n_manage + 3) / 4, 1U);
        Owner *owner;

        TAILQ_FOREACH(owner, &lanes->owners, entry)
        {
                Job *job = first_read(owner);

                if (!job || owner->n_running >= running_max(lanes, owner) ||
                    (is_slow(job) && lanes->n_slow >= n_slow_max))
                        continue;
                TAILQ_REMOVE(&owner->jobs, job, entry);
                TAILQ_REMOVE(&lanes->owners, owner, entry);
                TAILQ_INSERT_TAIL(&lanes->owners, owner, entry);
                owner->n_running++;
                lanes->n_slow += is_slow(job);
                lanes->n_queued--;
                return job;
        }
        return NULL;
}

typedef struct Manager {
        Lanes *lanes;
        unsigned index;
} Manager;

static void *manager_main(void *userdata)
{
        Manager *manager = userdata;
        Lanes *lanes = manager->lanes;

        (void)setpriority(PRIO_PROCESS, 0, NICE); /* keys are derived and made while others sign */
        pthread_mutex_lock(&lanes->lock);
        for (;;) {
                Job *job = pick_locked(lanes);
                Owner *owner;
                bool slow;

                if (!job) {
                        pthread_cond_wait(&lanes->to_manage, &lanes->lock);
                        continue;
                }
                owner = job->owner;
                slow = is_slow(job);
                lanes->until_usec[manager->index] = job->deadline_usec;
                pthread_mutex_unlock(&lanes->lock);
                work(lanes, job);
                pthread_mutex_lock(&lanes->lock);
                lanes->until_usec[manager->index] = 0;
                lanes->told = false;
                lanes->n_slow -= slow;
                owner->n_running--;
                drop_idle_owner_locked(lanes, owner);
                advance_all_locked(lanes);
                pthread_cond_broadcast(&lanes->to_manage);
        }
        return NULL;
}

/* In */

static unsigned n_hung_locked(const Lanes *lanes)
{
        uint64_t now_usec = clock_monotonic_usec();
        unsigned n = 0;

        for (unsigned i = 0; i < lanes->n_manage; i++)
                n += lanes->until_usec[i] != 0 && lanes->until_usec[i] + HANG_USEC < now_usec;
        return n;
}

/* What a person asks for goes before what waits for it. */
static bool goes_first(WireOperation operation)
{
        return operation == WIRE_UNLOCK || operation == WIRE_REFRESH;
}

static int put_manage_locked(Lanes *lanes, Job *job, Failure *failure)
{
        Owner *owner;

        /* But for descriptors, which this thread must not close. */
        if (n_hung_locked(lanes) == lanes->n_manage && !job->unread)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "%u jobs do not come back from this source, and there are no more "
                            "workers: it only signs, and is started anew when nobody does",
                            lanes->n_manage);
        owner = owner_of_locked(lanes, job->request.owner);
        if (!owner)
                return fail(failure, -ENOMEM, "no memory for the request");
        job->owner = owner;
        if (goes_first(job->request.operation) && !owner->reading)
                TAILQ_INSERT_HEAD(&owner->jobs, job, entry);
        else
                TAILQ_INSERT_TAIL(&owner->jobs, job, entry);
        advance_locked(lanes, owner);
        pthread_cond_signal(&lanes->to_manage);
        return 0;
}

static int put_locked(Lanes *lanes, Job *job, Failure *failure)
{
        int r;

        if (lanes->n_queued >= QUEUE_MAX)
                return fail(failure, CB_LIMIT_EXCEEDED,
                            "%d requests wait for the source already; try again later", QUEUE_MAX);
        if (job->request.manages) {
                r = put_manage_locked(lanes, job, failure);
                if (r != 0)
                        return r;
        } else {
                TAILQ_INSERT_TAIL(&lanes->signing, job, entry);
                lanes->n_signing++;
                lanes->signed_usec = clock_monotonic_usec();
                pthread_cond_signal(&lanes->to_sign);
        }
        lanes->n_queued++;
        return 0;
}

int lanes_put(Lanes *lanes, WireRequest *request, Failure *failure)
{
        Job *job = calloc(1, sizeof(*job));
        int r;

        if (!job)
                return fail(failure, -ENOMEM, "no memory for the request");
        job->lanes = lanes;
        job->request = *request;
        job->deadline_usec = clock_monotonic_usec() + MIN(request->timeout_usec, UINT64_MAX / 4);
        job->unread = has_descriptors(request);
        handed_init(&job->handed);
        pthread_mutex_lock(&lanes->lock);
        r = put_locked(lanes, job, failure);
        pthread_mutex_unlock(&lanes->lock);
        if (r != 0)
                free(job);
        else
                wire_request_init(request, WIRE_CONFIGURE);
        return r;
}

/* What is over */

typedef struct Round {
        uint64_t now_usec, next_usec;
        Job *expired;        /* taken out */
        uint64_t endless_id; /* of a request that its reader has, and frees; 0: none */
} Round;

static bool is_over(const Job *job, Round *round)
{
        if (job->unread)
                return false; /* who asked is told by the broker, and it is closed when it is its turn */
        if (job->deadline_usec <= round->now_usec)
                return true;
        round->next_usec = MIN(round->next_usec, job->deadline_usec);
        return false;
}

static void look_at_signing_locked(Lanes *lanes, Round *round)
{
        Job *job;

        TAILQ_FOREACH(job, &lanes->signing, entry)
        {
                if (!is_over(job, round))
                        continue;
                TAILQ_REMOVE(&lanes->signing, job, entry);
                lanes->n_queued--;
                lanes->n_signing--;
                round->expired = job;
                return;
        }
}

static void look_at_owner_locked(Lanes *lanes, Owner *owner, Round *round)
{
        Job *job = TAILQ_FIRST(&owner->jobs);

        if (job && job->unread) { /* there may have been no thread for it */
                advance_locked(lanes, owner);
                round->next_usec = MIN(round->next_usec, round->now_usec + USEC_PER_SEC / 2);
        }
        TAILQ_FOREACH(job, &owner->jobs, entry)
        {
                bool endless = job == owner->reading &&
                               job->reading_usec + ENDLESS_USEC <= round->now_usec;

                if (!endless && !is_over(job, round))
                        continue;
                TAILQ_REMOVE(&owner->jobs, job, entry);
                lanes->n_queued--;
                if (endless) {
                        job->stuck = true;
                        owner->reading = NULL;
                        owner->n_stuck++;
                        round->endless_id = job->request.id;
                } else {
                        round->expired = job;
                }
                advance_locked(lanes, owner);
                drop_idle_owner_locked(lanes, owner);
                return;
        }
}

/* At most one job is taken out. */
static void look_locked(Lanes *lanes, Round *round)
{
        Owner *owner, *next;

        look_at_signing_locked(lanes, round);
        for (owner = TAILQ_FIRST(&lanes->owners); owner && !round->expired && !round->endless_id;
             owner = next) {
                next = TAILQ_NEXT(owner, entry);
                look_at_owner_locked(lanes, owner, round);
        }
        for (unsigned i = 0; i < lanes->n_manage; i++)
                if (lanes->until_usec[i] != 0)
                        round->next_usec = MIN(round->next_usec, round->now_usec + USEC_PER_SEC);
}

static bool must_end_locked(Lanes *lanes, uint64_t now_usec)
{
        unsigned n_hung = n_hung_locked(lanes);

        if (n_hung < lanes->n_manage)
                return false;
        if (!lanes->told)
                log_warning("%u jobs of management do not come back: only signatures are served "
                            "until nobody asks for any, and this process is started anew",
                            n_hung);
        lanes->told = true;
        return lanes->n_signing == 0 && lanes->signed_usec + QUIET_USEC < now_usec;
}

int lanes_tick(Lanes *lanes)
{
        Round round;
        bool hung;

        do {
                round = (Round){ clock_monotonic_usec(), UINT64_MAX, NULL, 0 };
                pthread_mutex_lock(&lanes->lock);
                look_locked(lanes, &round);
                hung = must_end_locked(lanes, round.now_usec);
                pthread_mutex_unlock(&lanes->lock);
                if (round.expired) {
                        lanes->events.expired(lanes->events.userdata, &round.expired->request);
                        job_free(round.expired);
                }
                if (round.endless_id)
                        lanes->events.endless(lanes->events.userdata, round.endless_id);
        } while (round.expired || round.endless_id);
        if (hung)
                lanes->events.hung(lanes->events.userdata,
                                   "the jobs of management do not come back, and nobody signs");
        if (round.next_usec == UINT64_MAX)
                return -1; /* only this thread puts in, so nothing can be over meanwhile */
        return (int)MIN((round.next_usec - round.now_usec) / USEC_PER_MSEC + 1, UINT64_C(1000));
}

int lanes_new(const LanesEvents *events, const DriverWorkers *workers, Lanes **ret_lanes)
{
        Lanes *lanes = calloc(1, sizeof(*lanes));
        unsigned n_sign = MIN(MAX(workers->n_sign, 1U), (unsigned)SIGN_MAX);
        Manager *managers;
        int r = 0;

        if (!lanes)
                return -ENOMEM;
        lanes->events = *events;
        lanes->n_manage = MIN(MAX(workers->n_manage, 1U), (unsigned)MANAGE_MAX);
        pthread_mutex_init(&lanes->lock, NULL);
        pthread_cond_init(&lanes->to_sign, NULL);
        pthread_cond_init(&lanes->to_manage, NULL);
        TAILQ_INIT(&lanes->signing);
        TAILQ_INIT(&lanes->owners);
        managers = calloc(lanes->n_manage, sizeof(*managers));
        if (!managers)
                return -ENOMEM;
        *ret_lanes = lanes; /* threads have it already: where one fails, the process ends */
        for (unsigned i = 0; r == 0 && i < n_sign; i++)
                r = start_thread(signer_main, lanes, 0);
        for (unsigned i = 0; r == 0 && i < lanes->n_manage; i++) {
                managers[i] = (Manager){ lanes, i };
                r = start_thread(manager_main, &managers[i], 0);
        }
        return r;
}
