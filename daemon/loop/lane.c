/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lane: one ring of jobs, one worker thread, and an eventfd back to the loop.
 *
 * A job keeps its place in the ring until its `done` has returned, so the ring bounds all that is
 * outstanding, and one pair of counters gives the order of work and of completion: always
 * n_completed <= n_worked <= n_submitted. Only n_worked and the jobs' results pass between the
 * threads, under the lock; n_completed is the loop's alone.
 *
 * The worker takes no signals, calls nothing but `work`, and never calls `done`.
 */
#include "loop/lane.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"

/* Completions in one turn of the loop: then others have theirs. */
#define LANE_TURN_MAX 64

typedef struct LaneJob {
        lane_work work;
        lane_done done;
        void *userdata;
        int r;
} LaneJob;

struct Lane {
        LaneJob *jobs;
        size_t n_max;
        uint64_t n_submitted; /* written by the loop, under the lock */
        uint64_t n_worked;    /* written by the worker, under the lock; likewise: */
        uint64_t began_usec;  /* when the job began that is under way; 0: none is */
        uint64_t n_completed; /* the loop's own */
        bool stopping;
        bool completing; /* a `done` is running */

        pthread_mutex_t lock;
        pthread_cond_t submitted;
        pthread_cond_t worked;
        pthread_t thread;
        bool has_thread;

        int event_fd;
        sd_event_source *source;
};

static LaneJob *lane_job(Lane *lane, uint64_t number)
{
        return &lane->jobs[number % lane->n_max];
}

static void lane_notify(Lane *lane)
{
        const uint64_t one = 1;
        ssize_t n;

        /* Full (EAGAIN) is as good as written: the loop is told already. */
        do
                n = write(lane->event_fd, &one, sizeof(one));
        while (n < 0 && errno == EINTR);
}

static void *lane_run_worker(void *userdata)
{
        Lane *lane = userdata;

        pthread_mutex_lock(&lane->lock);
        for (;;) {
                LaneJob *job;
                int r;

                while (lane->n_worked == lane->n_submitted && !lane->stopping)
                        pthread_cond_wait(&lane->submitted, &lane->lock);
                if (lane->n_worked == lane->n_submitted)
                        break;

                /* The loop reuses this place only after n_worked has passed it. */
                job = lane_job(lane, lane->n_worked);
                lane->began_usec = clock_monotonic_usec();
                pthread_mutex_unlock(&lane->lock);
                r = job->work(job->userdata);
                pthread_mutex_lock(&lane->lock);

                job->r = r;
                lane->n_worked++;
                lane->began_usec = 0;
                pthread_cond_signal(&lane->worked);
                lane_notify(lane);
        }
        pthread_mutex_unlock(&lane->lock);
        return NULL;
}

/* Is the oldest outstanding job worked off? Waits for it if `wait`. */
static bool lane_next_is_worked(Lane *lane, bool wait)
{
        bool worked;

        pthread_mutex_lock(&lane->lock);
        while (wait && lane->n_worked == lane->n_completed)
                pthread_cond_wait(&lane->worked, &lane->lock);
        worked = lane->n_worked > lane->n_completed;
        pthread_mutex_unlock(&lane->lock);
        return worked;
}

static void lane_complete_next(Lane *lane)
{
        LaneJob job = *lane_job(lane, lane->n_completed);

        /* First give the place back: `done` may submit again. */
        lane->n_completed++;
        lane->completing = true;
        if (job.done)
                job.done(job.userdata, job.r);
        lane->completing = false;
}

static int lane_on_worked(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Lane *lane = userdata;
        uint64_t count;

        (void)source;
        (void)revents;
        if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
                return -errno;

        for (unsigned i = 0; i < LANE_TURN_MAX; i++) {
                if (!lane_next_is_worked(lane, false))
                        return 0;
                lane_complete_next(lane);
        }
        lane_notify(lane); /* the rest in the next turn */
        return 0;
}

static int lane_start(Lane *lane)
{
        sigset_t all, before;
        int r;

        /* A thread inherits the mask: signals are the loop's, all of them. */
        sigfillset(&all);
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (r != 0)
                return -r;
        r = pthread_create(&lane->thread, NULL, lane_run_worker, lane);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (r != 0)
                return -r;
        lane->has_thread = true;
        return 0;
}

int lane_new(sd_event *event, size_t n_queue_max, Lane **ret_lane)
{
        CLEANUP(lane_freep) Lane *lane = NULL;
        int r;

        assert_always(n_queue_max > 0);
        lane = calloc(1, sizeof(*lane));
        if (!lane)
                return -ENOMEM;
        lane->event_fd = -1;
        lane->n_max = n_queue_max;
        pthread_mutex_init(&lane->lock, NULL); /* cannot fail with default attributes in glibc */
        pthread_cond_init(&lane->submitted, NULL);
        pthread_cond_init(&lane->worked, NULL);

        lane->jobs = calloc(n_queue_max, sizeof(*lane->jobs));
        if (!lane->jobs)
                return -ENOMEM;
        lane->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (lane->event_fd < 0)
                return -errno;
        r = sd_event_add_io(event, &lane->source, lane->event_fd, EPOLLIN, lane_on_worked, lane);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(lane->source, "lane");
        r = lane_start(lane);
        if (r < 0)
                return r;

        *ret_lane = TAKE(lane);
        return 0;
}

Lane *lane_free(Lane *lane)
{
        if (!lane)
                return NULL;

        assert_always(!lane->completing); /* not from within a `done` */
        if (lane->has_thread) {
                pthread_mutex_lock(&lane->lock);
                lane->stopping = true;
                pthread_cond_signal(&lane->submitted);
                pthread_mutex_unlock(&lane->lock);
                pthread_join(lane->thread, NULL);
        }
        sd_event_source_disable_unref(lane->source);
        close_fd(lane->event_fd);
        pthread_cond_destroy(&lane->worked);
        pthread_cond_destroy(&lane->submitted);
        pthread_mutex_destroy(&lane->lock);
        free(lane->jobs);
        free(lane);
        return NULL;
}

int lane_submit(Lane *lane, lane_work work, lane_done done, void *userdata)
{
        if (lane_pending(lane) >= lane->n_max)
                return -EBUSY;

        pthread_mutex_lock(&lane->lock);
        *lane_job(lane, lane->n_submitted) = (LaneJob){
                .work = work,
                .done = done,
                .userdata = userdata,
        };
        lane->n_submitted++;
        pthread_cond_signal(&lane->submitted);
        pthread_mutex_unlock(&lane->lock);
        return 0;
}

size_t lane_pending(const Lane *lane)
{
        /* Both are written by the loop alone, which is who asks. */
        return (size_t)(lane->n_submitted - lane->n_completed);
}

uint64_t lane_busy_usec(Lane *lane)
{
        uint64_t began_usec;

        pthread_mutex_lock(&lane->lock);
        began_usec = lane->began_usec;
        pthread_mutex_unlock(&lane->lock);
        return began_usec ? clock_monotonic_usec() - began_usec : 0;
}

void lane_drain(Lane *lane)
{
        assert_always(!lane->completing);
        while (lane_pending(lane) > 0) {
                (void)lane_next_is_worked(lane, true);
                lane_complete_next(lane);
        }
}
