/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lane: order, bounds, completion on the loop, shutdown. No sleeps: the worker is held by
 * semaphores.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <systemd/sd-event.h>

#include "loop/lane.h"

#define N_JOBS 500

typedef struct Bench {
        sd_event *event;
        Lane *lane;
        sem_t gate;
        pthread_t loop_thread;
        unsigned worked[N_JOBS], done[N_JOBS];
        unsigned n_worked, n_done;
        bool foreign_thread_done; /* a `done` ran on another thread than the loop's */
        bool loop_thread_work;    /* a `work` ran on the loop's thread */
        int signals_blocked;      /* as the worker saw it */
        unsigned n_resubmit;
} Bench;

typedef struct Job {
        Bench *bench;
        unsigned number;
} Job;

static Job jobs[N_JOBS];

static void bench_open(Bench *bench, size_t n_queue_max)
{
        *bench = (Bench){ .loop_thread = pthread_self() };
        assert_int_equal(sem_init(&bench->gate, 0, 0), 0);
        assert_int_equal(sd_event_new(&bench->event), 0);
        assert_int_equal(lane_new(bench->event, n_queue_max, &bench->lane), 0);
        for (unsigned i = 0; i < N_JOBS; i++)
                jobs[i] = (Job){ bench, i };
}

static void bench_close(Bench *bench)
{
        bench->lane = lane_free(bench->lane);
        sd_event_unref(bench->event);
        sem_destroy(&bench->gate);
}

static void bench_run(Bench *bench, unsigned n_done)
{
        while (bench->n_done < n_done)
                assert_true(sd_event_run(bench->event, 10 * USEC_PER_SEC) > 0);
}

static int job_work(void *userdata)
{
        Job *job = userdata;
        Bench *bench = job->bench;

        if (pthread_equal(pthread_self(), bench->loop_thread))
                bench->loop_thread_work = true;
        bench->worked[bench->n_worked++] = job->number;
        return (int)job->number * 2;
}

static int job_work_gated(void *userdata)
{
        Job *job = userdata;

        while (sem_wait(&job->bench->gate) < 0)
                ;
        return job_work(userdata);
}

static void job_done(void *userdata, int r)
{
        Job *job = userdata;
        Bench *bench = job->bench;

        if (!pthread_equal(pthread_self(), bench->loop_thread))
                bench->foreign_thread_done = true;
        assert_int_equal(r, (int)job->number * 2);
        bench->done[bench->n_done++] = job->number;
}

static void test_order(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench, N_JOBS);
        for (unsigned i = 0; i < N_JOBS; i++)
                assert_int_equal(lane_submit(bench.lane, job_work, job_done, &jobs[i]), 0);
        assert_int_equal(lane_pending(bench.lane), N_JOBS);
        assert_int_equal(bench.n_done, 0); /* never from within submit */
        bench_run(&bench, N_JOBS);
        for (unsigned i = 0; i < N_JOBS; i++) {
                assert_int_equal(bench.worked[i], i);
                assert_int_equal(bench.done[i], i);
        }
        assert_int_equal(lane_pending(bench.lane), 0);
        assert_false(bench.foreign_thread_done);
        assert_false(bench.loop_thread_work);
        bench_close(&bench);
}

static void test_bound(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench, 3);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(lane_submit(bench.lane, job_work_gated, job_done, &jobs[i]), 0);
        assert_int_equal(lane_submit(bench.lane, job_work, job_done, &jobs[3]), -EBUSY);
        assert_int_equal(lane_pending(bench.lane), 3);

        sem_post(&bench.gate);
        bench_run(&bench, 1);
        assert_int_equal(lane_submit(bench.lane, job_work_gated, job_done, &jobs[3]), 0);
        assert_int_equal(lane_submit(bench.lane, job_work, job_done, &jobs[4]), -EBUSY);
        for (unsigned i = 0; i < 3; i++)
                sem_post(&bench.gate);
        bench_run(&bench, 4);
        assert_int_equal(bench.done[3], 3);
        bench_close(&bench);
}

static void test_turn_is_bounded(void **state)
{
        Bench bench;
        unsigned n_turns = 0;

        (void)state;
        bench_open(&bench, N_JOBS);
        for (unsigned i = 0; i < N_JOBS; i++)
                assert_int_equal(lane_submit(bench.lane, job_work, job_done, &jobs[i]), 0);
        while (bench.n_done < N_JOBS) {
                unsigned n_before = bench.n_done;

                assert_true(sd_event_run(bench.event, 10 * USEC_PER_SEC) > 0);
                assert_true(bench.n_done - n_before <= 64);
                n_turns++;
        }
        assert_true(n_turns >= N_JOBS / 64);
        bench_close(&bench);
}

static void done_resubmit(void *userdata, int r)
{
        Job *job = userdata;
        Bench *bench = job->bench;

        job_done(userdata, r);
        if (bench->n_resubmit++ < 10)
                assert_int_equal(lane_submit(bench->lane, job_work, done_resubmit, userdata), 0);
}

static void test_submit_from_done(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench, 1); /* room again as soon as `done` runs */
        assert_int_equal(lane_submit(bench.lane, job_work, done_resubmit, &jobs[0]), 0);
        bench_run(&bench, 11);
        assert_int_equal(bench.n_done, 11);
        bench_close(&bench);
}

static void test_drain(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench, N_JOBS);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(lane_submit(bench.lane, job_work, job_done, &jobs[i]), 0);
        assert_int_equal(lane_submit(bench.lane, job_work, done_resubmit, &jobs[100]), 0);
        lane_drain(bench.lane); /* and what `done` submits */
        assert_int_equal(bench.n_done, 111);
        assert_int_equal(lane_pending(bench.lane), 0);
        bench_close(&bench);
}

static void test_free_finishes(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench, N_JOBS);
        for (unsigned i = 0; i < 50; i++)
                assert_int_equal(lane_submit(bench.lane, job_work, job_done, &jobs[i]), 0);
        bench.lane = lane_free(bench.lane);
        assert_null(bench.lane);
        assert_int_equal(bench.n_worked, 50);
        assert_int_equal(bench.n_done, 0);
        bench_close(&bench);
}

static int work_signals(void *userdata)
{
        Job *job = userdata;
        sigset_t now;

        pthread_sigmask(SIG_SETMASK, NULL, &now);
        job->bench->signals_blocked = sigismember(&now, SIGTERM) && sigismember(&now, SIGCHLD) &&
                                      sigismember(&now, SIGHUP);
        return 0;
}

static void test_no_signals(void **state)
{
        Bench bench;
        sigset_t mine;

        (void)state;
        bench_open(&bench, 1);
        assert_int_equal(lane_submit(bench.lane, work_signals, NULL, &jobs[0]), 0);
        lane_drain(bench.lane);
        assert_true(bench.signals_blocked);
        pthread_sigmask(SIG_SETMASK, NULL, &mine);
        assert_false(sigismember(&mine, SIGTERM)); /* and the loop's mask is as it was */
        bench_close(&bench);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order),           cmocka_unit_test(test_bound),
                cmocka_unit_test(test_turn_is_bounded), cmocka_unit_test(test_submit_from_done),
                cmocka_unit_test(test_drain),           cmocka_unit_test(test_free_finishes),
                cmocka_unit_test(test_no_signals),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
