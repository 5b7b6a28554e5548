/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor of source processes, with real processes that behave. */
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

static void test_answers(void **state)
{
        Bench bench;
        Source *source;
        Answer first, second;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        assert_int_equal(bench.n_added, 1);
        source = sources_find(bench.sources, "hsm");
        assert_int_equal(source_state(source), SOURCE_STARTING);
        assert_int_equal(source_last_ready_sec(source), 0);
        bench_await(&bench, "hsm", SOURCE_READY);
        assert_true(source_last_ready_sec(source) > 0);
        assert_string_equal(source_last_error(source), "");
        assert_string_equal(source_uri(source), "pkcs11:token=hsm");
        assert_string_equal(source_driver(source), "pkcs11");

        sign(&bench, source, "echo", &first);
        await_answer(&bench, &first);
        assert_int_equal(first.status, 0);
        assert_string_equal(first.output, "input");

        sign(&bench, source, "refuse", &first);
        await_answer(&bench, &first);
        assert_int_equal(first.status, CB_NOT_FOUND);
        assert_string_equal(first.text, "no such key");

        /* In another order than they were asked. */
        sign(&bench, source, "hold", &first);
        sign(&bench, source, "release", &second);
        await_answer(&bench, &first);
        assert_string_equal(first.output, "held");
        assert_string_equal(second.output, "release");
        bench_close(&bench);
}

static void test_child_environment(void **state)
{
        Bench bench;
        Answer answer;
        int extra;

        (void)state;
        setenv("NOTIFY_SOCKET", "/run/notify", 1);
        setenv("LISTEN_FDS", "1", 1);
        setenv("LISTEN_PID", "1", 1);
        setenv("TEST_MARK", "kept", 1);
        extra = open("/dev/zero", O_RDONLY); /* not close-on-exec: must be closed all the same */
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        sign(&bench, bench_await(&bench, "hsm", SOURCE_READY), "report", &answer);
        await_answer(&bench, &answer);
        assert_int_equal(report_number(&answer, "fds="), 4);
        assert_int_equal(report_number(&answer, "max="), 3);
        assert_int_equal(report_number(&answer, "term="), 0);
        assert_int_equal(report_number(&answer, "chld="), 0);
        assert_int_equal(report_number(&answer, "notify="), 0);
        assert_int_equal(report_number(&answer, "listen="), 0);
        assert_non_null(strstr(answer.output, "mark=kept "));
        assert_non_null(strstr(answer.output, "name=hsm driver=pkcs11 "));
        assert_non_null(strstr(answer.output, "stdin=/dev/null"));
        bench_close(&bench);
        close(extra);
        unsetenv("NOTIFY_SOCKET");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_PID");
}

static void test_descriptors(void **state)
{
        Bench bench;
        Answer answer;
        WireRequest request;
        Failure failure = { 0 };
        char name[] = "fd";

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        bench_await(&bench, "hsm", SOURCE_READY);
        wire_request_init(&request, WIRE_IMPORT);
        request.name = name;
        request.fds[0] = memfd_create("bundle", MFD_CLOEXEC);
        assert_true(write(request.fds[0], "secret", 6) == 6);
        assert_int_equal(submit_full(&bench, sources_find(bench.sources, "hsm"), &request, &answer,
                                     &failure),
                         0);
        await_answer(&bench, &answer);
        assert_string_equal(answer.from_fd, "got secret");
        assert_true(fcntl(request.fds[0], F_GETFD) >= 0); /* still the caller's */
        close(request.fds[0]);
        bench_close(&bench);
}

static void test_locked(void **state)
{
        Bench bench;
        Source *source;
        Answer answer;
        Failure failure = { 0 };

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm:locked", NULL);
        source = bench_await(&bench, "hsm", SOURCE_LOCKED);
        assert_int_equal(submit(&bench, source, WIRE_SIGN, "echo", 0, &answer, &failure),
                         CB_SOURCE_LOCKED);
        assert_non_null(strstr(failure.text, "the PIN is wrong"));

        /* It dies and comes back: locked all the time, and never "starting" or "unavailable". */
        assert_int_equal(submit(&bench, source, WIRE_REFRESH, "", 0, &answer, &failure), 0);
        await_answer(&bench, &answer);
        assert_int_equal(kill(source_pid(source), SIGKILL), 0);
        while (source_pid(source) > 0) {
                bench_turn(&bench);
                assert_int_equal(source_state(source), SOURCE_LOCKED);
        }
        while (source_pid(source) == 0)
                bench_turn(&bench);
        assert_int_equal(source_state(source), SOURCE_LOCKED);
        assert_string_equal(source_last_error(source), "the PIN is wrong");

        assert_int_equal(submit(&bench, source, WIRE_UNLOCK, "", 0, &answer, &failure), 0);
        await_answer(&bench, &answer);
        bench_await(&bench, "hsm", SOURCE_READY);
        bench_close(&bench);
}

/* A request that comes before the token does is the process's to hold or to refuse. */
/* When it was ready last, and not when it became so. */
static void test_last_ready(void **state)
{
        Bench bench;
        Source *source;
        uint64_t stopped_sec;
        char away[] = "away";

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        source->last_ready_sec = 1; /* it has been ready for long */
        assert_int_equal(kill(source_pid(source), SIGKILL), 0);
        while (source_state(source) == SOURCE_READY)
                bench_turn(&bench);
        stopped_sec = source_last_ready_sec(source);
        assert_true(stopped_sec > 1);
        source->last_ready_sec = 1;
        source_on_event(source, &(WireReply){ .state = SOURCE_UNAVAILABLE, .state_text = away });
        assert_int_equal(source_last_ready_sec(source), 1);
        bench_await(&bench, "hsm", SOURCE_READY);
        assert_true(source_last_ready_sec(source) >= stopped_sec);
        bench_close(&bench);
}

static void test_starting_takes_requests(void **state)
{
        Bench bench;
        Answer answer;
        Failure failure = { 0 };
        Source *source;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm:starting", NULL);
        source = sources_find(bench.sources, "hsm");
        assert_int_equal(submit(&bench, source, WIRE_SIGN, "echo", 0, &answer, &failure), 0);
        await_answer(&bench, &answer);
        assert_int_equal(answer.status, 0);
        assert_int_equal(source_state(source), SOURCE_STARTING);
        bench_close(&bench);
}

static void test_text_is_escaped(void **state)
{
        Bench bench;
        Source *source;
        Answer answer;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        sign(&bench, source, "odd", &answer);
        bench_await(&bench, "hsm", SOURCE_DEGRADED);
        assert_null(strpbrk(source_last_error(source), "\n\x1b"));
        assert_non_null(strstr(source_last_error(source), "colour"));
        bench_close(&bench);
}

static void test_configure_again(void **state)
{
        Bench bench;
        Source *a, *b;
        Answer before, after, flight;
        unsigned n_changed;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "a", "b");
        a = bench_await(&bench, "a", SOURCE_READY);
        b = bench_await(&bench, "b", SOURCE_READY);
        sign(&bench, a, "report", &before);
        await_answer(&bench, &before);
        sign(&bench, b, "silent", &flight);

        /* b has other settings, a goes on undisturbed. */
        n_changed = bench.n_changed;
        bench_configure(&bench, "a", "b:locked");
        assert_int_equal(flight.n, 1);
        assert_int_equal(flight.status, CB_SOURCE_UNAVAILABLE);
        assert_int_equal(source_state(b), SOURCE_STARTING);
        assert_true(bench.n_changed > n_changed);
        bench_await(&bench, "b", SOURCE_LOCKED);
        sign(&bench, a, "report", &after);
        await_answer(&bench, &after);
        assert_string_equal(before.output, after.output);
        assert_int_equal(bench.n_added, 2);

        /* a goes, c comes; b stays. */
        sign(&bench, a, "silent", &flight);
        bench_configure(&bench, "b:locked", "c");
        assert_int_equal(flight.n, 1);
        assert_int_equal(bench.n_removed, 1);
        assert_int_equal(bench.n_added, 3);
        assert_int_equal(sources_count(bench.sources), 2);
        assert_string_equal(source_name(sources_at(bench.sources, 0)), "b");
        assert_string_equal(source_name(sources_at(bench.sources, 1)), "c");
        assert_null(sources_find(bench.sources, "a"));
        bench_await(&bench, "c", SOURCE_READY);

        /* One that comes in front of the others. */
        bench_configure(&bench, "a", "c");
        assert_string_equal(source_name(sources_at(bench.sources, 0)), "a");
        assert_string_equal(source_name(sources_at(bench.sources, 1)), "c");
        bench_configure(&bench, NULL, NULL);
        assert_int_equal(sources_count(bench.sources), 0);
        while (bench.sources->leaving)
                bench_turn(&bench);
        bench_close(&bench);
}

static void test_free_at_once(void **state)
{
        Bench bench;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "a", "b:die");
        bench_close(&bench); /* before anything has run */
        bench_open(&bench);
        bench_close(&bench);
}

static int run(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answers),
                cmocka_unit_test(test_child_environment),
                cmocka_unit_test(test_descriptors),
                cmocka_unit_test(test_locked),
                cmocka_unit_test(test_last_ready),
                cmocka_unit_test(test_starting_takes_requests),
                cmocka_unit_test(test_text_is_escaped),
                cmocka_unit_test(test_configure_again),
                cmocka_unit_test(test_free_at_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
        return bench_main(argc, argv, run);
}
