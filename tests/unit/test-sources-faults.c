/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor of source processes, with real processes that die, hang and talk nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "broker/sources/source.h"
#include "source-bench.h"

static void test_hung_process(void **state)
{
        Bench bench;
        Source *source;
        Answer silent, other, later, report;
        Failure failure = { 0 };
        int pid;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        sign(&bench, source, "report", &report);
        await_answer(&bench, &report);
        pid = report_number(&report, "pid=");

        assert_int_equal(
                submit(&bench, source, WIRE_SIGN, "silent", 30 * USEC_PER_MSEC, &silent, &failure),
                0);
        sign(&bench, source, "silent", &other); /* with 10 s */
        await_answer(&bench, &silent);
        assert_int_equal(silent.status, CB_TIMED_OUT);
        assert_int_equal(other.n, 0);
        assert_int_equal(source_state(source), SOURCE_READY); /* not yet: it has its grace */

        await_answer(&bench, &other);
        assert_int_equal(other.status, CB_SOURCE_UNAVAILABLE);
        assert_non_null(strstr(other.text, "hung"));
        assert_int_equal(source_state(source), SOURCE_STARTING);
        assert_non_null(strstr(source_last_error(source), "hung"));
        assert_int_equal(silent.n, 1);

        bench_await(&bench, "hsm", SOURCE_READY);
        sign(&bench, source, "report", &later);
        await_answer(&bench, &later);
        assert_int_not_equal(report_number(&later, "pid="), pid);
        bench_close(&bench);
}

/* Its caller is told at the deadline; a late answer shows that it lives. */
static void test_late_answer(void **state)
{
        Bench bench;
        Source *source;
        Answer held, release, echo;
        SourcesTiming patient = quick;
        Failure failure = { 0 };

        (void)state;
        bench_open(&bench);
        patient.hang_grace_usec = 10 * USEC_PER_SEC;
        sources_set_timing(bench.sources, &patient);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        assert_int_equal(
                submit(&bench, source, WIRE_SIGN, "hold", 10 * USEC_PER_MSEC, &held, &failure), 0);
        await_answer(&bench, &held);
        assert_int_equal(held.status, CB_TIMED_OUT);
        sign(&bench, source, "release", &release);
        await_answer(&bench, &release);
        sign(&bench, source, "echo", &echo);
        await_answer(&bench, &echo);
        assert_int_equal(held.n, 1);
        assert_int_equal(source_state(source), SOURCE_READY);
        bench_close(&bench);
}

static void test_crash(void **state)
{
        Bench bench;
        Source *source;
        Answer waiting, crash, echo;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", "other");
        source = bench_await(&bench, "hsm", SOURCE_READY);
        bench_await(&bench, "other", SOURCE_READY);
        sign(&bench, source, "silent", &waiting);
        sign(&bench, source, "crash", &crash);
        await_answer(&bench, &crash);
        assert_int_equal(crash.status, CB_SOURCE_UNAVAILABLE);
        assert_int_equal(waiting.status, CB_SOURCE_UNAVAILABLE);
        /* A sanitizer's runtime turns the signal into an exit: either way the end is told. */
        assert_non_null(strstr(crash.text, "its process "));
        assert_int_equal(source_state(source), SOURCE_STARTING);

        /* The other one never noticed. */
        sign(&bench, sources_find(bench.sources, "other"), "echo", &echo);
        await_answer(&bench, &echo);
        assert_int_equal(echo.status, 0);

        bench_await(&bench, "hsm", SOURCE_READY);
        assert_string_equal(source_last_error(source), "");
        bench_close(&bench);
}

/* After a good life the next process is there at once, and requests wait for it; after a short one not. */
static void test_first_restart_is_at_once(void **state)
{
        SourcesTiming slow = quick;
        Bench bench;
        Source *source;
        Answer crash, waits;
        Failure failure = { 0 };

        (void)state;
        bench_open(&bench);
        slow.backoff_first_usec = 3600 * USEC_PER_SEC;
        sources_set_timing(bench.sources, &slow);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        sign(&bench, source, "crash", &crash);
        await_answer(&bench, &crash);
        assert_int_equal(crash.status, CB_SOURCE_UNAVAILABLE);
        assert_int_equal(submit(&bench, source, WIRE_SIGN, "echo", 0, &waits, &failure), 0);
        await_answer(&bench, &waits);
        assert_int_equal(waits.status, 0);

        bench_await(&bench, "hsm", SOURCE_READY);
        sign(&bench, source, "crash", &crash);
        await_answer(&bench, &crash);
        assert_int_equal(source_state(source), SOURCE_UNAVAILABLE);
        assert_non_null(strstr(source_last_error(source), "it is started again in "));
        assert_int_equal(submit(&bench, source, WIRE_SIGN, "echo", 0, &waits, &failure),
                         CB_SOURCE_UNAVAILABLE);
        bench_close(&bench);
}

/* Nobody asks it for anything, and still it is found; one that lives is left alone. */
static void test_idle_process_that_hangs(void **state)
{
        SourcesTiming attentive = quick;
        Bench bench;
        Source *source, *other;
        pid_t pid, other_pid;

        (void)state;
        bench_open(&bench);
        attentive.heartbeat_usec = USEC_PER_SEC;
        sources_set_timing(bench.sources, &attentive);
        bench_configure(&bench, "hsm", "other");
        source = bench_await(&bench, "hsm", SOURCE_READY);
        other = bench_await(&bench, "other", SOURCE_READY);
        pid = source_pid(source);
        other_pid = source_pid(other);
        assert_int_equal(kill(pid, SIGSTOP), 0);
        bench_await(&bench, "hsm", SOURCE_STARTING);
        assert_non_null(strstr(source_last_error(source), "did not respond"));
        bench_await(&bench, "hsm", SOURCE_READY);
        assert_int_not_equal(source_pid(source), pid);
        assert_int_equal(source_pid(other), other_pid);
        assert_int_equal(source_state(other), SOURCE_READY);
        bench_close(&bench);
}

static void test_last_words_count(void **state)
{
        Bench bench;
        Source *source;
        Answer words;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        sign(&bench, source, "exit", &words);
        await_answer(&bench, &words);
        assert_int_equal(words.status, 0);
        assert_string_equal(words.output, "last words");
        bench_await(&bench, "hsm", SOURCE_STARTING);
        assert_non_null(strstr(source_last_error(source), "ended with status 3"));
        bench_close(&bench);
}

static void test_crash_loop(void **state)
{
        Bench bench;
        Source *source;
        Answer answer;
        Failure failure = { 0 };

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm:die", NULL);
        source = bench_await(&bench, "hsm", SOURCE_UNAVAILABLE);
        while (!strstr(source_last_error(source), "in 7200 s"))
                bench_turn(&bench);
        assert_non_null(strstr(source_last_error(source), "ended with status 7"));
        assert_int_equal(submit(&bench, source, WIRE_SIGN, "echo", 0, &answer, &failure),
                         CB_SOURCE_UNAVAILABLE);
        assert_non_null(strstr(failure.text, "hsm"));

        /* Whoever asks for it by hand does not wait for two hours; and new settings begin anew. */
        assert_int_equal(submit(&bench, source, WIRE_REFRESH, "", 0, &answer, &failure), 0);
        await_answer(&bench, &answer);
        assert_int_equal(answer.status, CB_SOURCE_UNAVAILABLE);
        bench_configure(&bench, "hsm", NULL);
        bench_await(&bench, "hsm", SOURCE_READY);
        bench_close(&bench);
}

static void test_refused_settings(void **state)
{
        Bench bench;
        Source *source;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm:refuse", NULL);
        source = bench_await(&bench, "hsm", SOURCE_UNAVAILABLE);
        assert_non_null(strstr(source_last_error(source), "does not like its settings"));
        bench_close(&bench);
}

static void test_missing_helper(void **state)
{
        Bench bench;
        Source *source;

        (void)state;
        bench_open_with(&bench, "/nonexistent/certbroker-source");
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_UNAVAILABLE);
        assert_non_null(strstr(source_last_error(source), "/nonexistent/certbroker-source"));
        assert_non_null(strstr(source_last_error(source), "No such file"));
        bench_close(&bench);
}

static void test_limit(void **state)
{
        static Answer answers[PENDING_MAX + 1];
        Bench bench;
        Source *source;
        Failure failure = { 0 };
        unsigned n = 0;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        while (n < PENDING_MAX) {
                /* The socket's buffer may be smaller than that: let the process read. */
                int r = submit(&bench, source, WIRE_SIGN, "silent", 0, &answers[n], &failure);

                assert_true(r == 0 || (r == CB_LIMIT_EXCEEDED && strstr(failure.text, "keep up")));
                n += r == 0;
        }
        assert_int_equal(submit(&bench, source, WIRE_SIGN, "silent", 0, &answers[n], &failure),
                         CB_LIMIT_EXCEEDED);
        assert_non_null(strstr(failure.text, "2048 requests"));
        bench_close(&bench);
        for (unsigned i = 0; i < PENDING_MAX; i++) {
                assert_int_equal(answers[i].n, 1); /* answered at the end */
                assert_int_equal(answers[i].status, CB_SOURCE_UNAVAILABLE);
        }
        assert_int_equal(answers[PENDING_MAX].n, 0);
}

/* A stopped process: the socket fills, nobody waits, and the deadline ends it. */
static void test_stopped_process(void **state)
{
        static Answer answers[600];
        static uint8_t input[ALGORITHM_MESSAGE_MAX];
        Bench bench;
        Source *source;
        WireRequest request;
        Failure failure = { 0 };
        unsigned n = 0;
        int r = 0;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        assert_int_equal(submit(&bench, source, WIRE_SIGN, "stop", 0, &answers[n++], &failure), 0);
        wire_request_init(&request, WIRE_SIGN);
        request.input = (Bytes){ input, sizeof(input) };
        request.timeout_usec = 20 * USEC_PER_MSEC;
        while (n < ELEMENTSOF(answers) && r == 0) {
                r = submit_full(&bench, source, &request, &answers[n], &failure);
                n += r == 0;
        }
        assert_int_equal(r, CB_LIMIT_EXCEEDED);
        assert_non_null(strstr(failure.text, "keep up"));
        bench_await(&bench, "hsm", SOURCE_STARTING);
        bench_await(&bench, "hsm", SOURCE_READY);
        for (unsigned i = 0; i < n; i++)
                assert_int_equal(answers[i].n, 1);
        bench_close(&bench);
}

static void test_garbage(void **state)
{
        Bench bench;
        Source *source;
        Answer answer;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        sign(&bench, source, "garbage", &answer);
        await_answer(&bench, &answer);
        assert_int_equal(answer.status, CB_SOURCE_UNAVAILABLE);
        assert_non_null(strstr(source_last_error(source), "no answer"));
        bench_await(&bench, "hsm", SOURCE_READY);
        bench_close(&bench);
}

/* It closes its socket, but does not end. */
static void test_deaf_process(void **state)
{
        Bench bench;
        Source *source;
        Answer answer;
        SourcesTiming brisk = quick;

        (void)state;
        bench_open(&bench);
        brisk.eof_grace_usec = 20 * USEC_PER_MSEC;
        sources_set_timing(bench.sources, &brisk);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        sign(&bench, source, "deaf", &answer);
        await_answer(&bench, &answer);
        assert_int_equal(answer.status, CB_SOURCE_UNAVAILABLE);
        assert_non_null(strstr(answer.text, "without ending"));
        bench_await(&bench, "hsm", SOURCE_READY);
        bench_close(&bench);
}

static void test_stubborn_process(void **state)
{
        Bench bench;
        Source *source;
        Answer flight;
        uint64_t before_usec;
        pid_t pid;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "a:stubborn", NULL);
        source = bench_await(&bench, "a", SOURCE_READY);
        pid = source_pid(source);
        bench_configure(&bench, "a", NULL);
        bench_await(&bench, "a",
                    SOURCE_READY); /* the old one was killed, then the new one started */
        assert_int_equal(kill(pid, 0), -1);

        bench_configure(&bench, "a:stubborn", NULL);
        bench_await(&bench, "a", SOURCE_READY);
        pid = source_pid(source);
        sign(&bench, source, "silent", &flight);
        before_usec = clock_monotonic_usec();
        bench_close(&bench);
        assert_true(clock_monotonic_usec() - before_usec >= quick.stop_usec);
        assert_int_equal(flight.n, 1);
        assert_int_equal(flight.status, CB_SOURCE_UNAVAILABLE);
        assert_int_equal(kill(pid, 0), -1);
        assert_int_equal(errno, ESRCH);
}

static int run(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hung_process),    cmocka_unit_test(test_late_answer),
                cmocka_unit_test(test_first_restart_is_at_once),
                cmocka_unit_test(test_idle_process_that_hangs),
                cmocka_unit_test(test_crash),           cmocka_unit_test(test_last_words_count),
                cmocka_unit_test(test_crash_loop),      cmocka_unit_test(test_refused_settings),
                cmocka_unit_test(test_missing_helper),  cmocka_unit_test(test_limit),
                cmocka_unit_test(test_stopped_process), cmocka_unit_test(test_garbage),
                cmocka_unit_test(test_deaf_process),    cmocka_unit_test(test_stubborn_process),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
        return bench_main(argc, argv, run);
}
