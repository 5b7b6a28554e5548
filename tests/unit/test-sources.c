/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor of source processes, with real processes: this program is its own helper when it is
 * started with --fd, and then does what the request's name or the setting `conduct` tells it.
 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/sources/pending.h"
#include "broker/sources/source.h"
#include "wire/packet.h"

/* ------------------------------------------------------------------ the helper's side */

static int helper_fd;
static char **helper_settings;

static const char *helper_setting(const char *key)
{
        for (char **s = helper_settings; s && *s; s++) {
                if (strncmp(*s, key, strlen(key)) == 0 && (*s)[strlen(key)] == '=')
                        return *s + strlen(key) + 1;
        }
        return "";
}

static void helper_send(WireReply *reply)
{
        Bytes packet = { 0 };

        if (wire_reply_encode(reply, &packet) < 0 ||
            wire_send(helper_fd, &packet, reply->fds, 0) < 0)
                _exit(90);
        bytes_deinit(&packet);
        wire_reply_deinit(reply);
}

static void helper_event(SourceState state, const char *text)
{
        WireReply event;

        wire_reply_init(&event, 0);
        event.state = state;
        event.state_text = text ? strdup(text) : NULL;
        helper_send(&event);
}

static void helper_answer(const WireRequest *request, int status, const char *text,
                          const void *output, size_t n)
{
        WireReply reply;

        wire_reply_init(&reply, request->id);
        if (status != 0)
                fail(&reply.failure, status, "%s", text);
        else if (bytes_set(&reply.output, output, n) < 0)
                _exit(91);
        helper_send(&reply);
}

static void helper_configure(const WireRequest *request)
{
        const char *conduct;

        if (strv_copy(request->settings, &helper_settings) < 0)
                _exit(92);
        conduct = helper_setting("conduct");
        if (string_equal(conduct, "die"))
                _exit(7);
        if (string_equal(conduct, "refuse")) {
                helper_answer(request, CB_INVALID_ARGUMENT, "it does not like its settings", "", 0);
                return;
        }
        helper_answer(request, 0, NULL, "", 0);
        helper_event(SOURCE_STARTING, NULL);
        if (string_equal(conduct, "locked"))
                helper_event(SOURCE_LOCKED, "the PIN is wrong");
        else if (!string_equal(conduct, "starting"))
                helper_event(SOURCE_READY, NULL);
}

/* Descriptors, environment, arguments' effect, signal mask: what a child must be given. */
static void helper_report(const WireRequest *request)
{
        char text[2048];
        int n_fds = 0, max_fd = 0;
        struct dirent *entry;
        sigset_t mask;
        DIR *directory = opendir("/proc/self/fd");
        ssize_t n_link;

        while ((entry = readdir(directory))) {
                int fd = atoi(entry->d_name);

                if (entry->d_name[0] == '.' || fd == dirfd(directory))
                        continue;
                n_fds++;
                max_fd = MAX(max_fd, fd);
        }
        closedir(directory);
        sigprocmask(SIG_SETMASK, NULL, &mask);
        snprintf(text, sizeof(text),
                 "pid=%d fds=%d max=%d term=%d chld=%d notify=%d listen=%d mark=%s "
                 "name=%s driver=%s stdin=",
                 (int)getpid(), n_fds, max_fd, sigismember(&mask, SIGTERM),
                 sigismember(&mask, SIGCHLD), getenv("NOTIFY_SOCKET") != NULL,
                 getenv("LISTEN_FDS") != NULL || getenv("LISTEN_PID") != NULL,
                 getenv("TEST_MARK") ?: "", helper_setting("name"), helper_setting("driver"));
        n_link = readlink("/proc/self/fd/0", text + strlen(text), 100);
        (void)n_link;
        helper_answer(request, 0, NULL, text, strlen(text));
}

static void helper_echo_fd(const WireRequest *request)
{
        char text[64] = { 0 };
        WireReply reply;

        if (pread(request->fds[0], text, sizeof(text) - 1, 0) < 0)
                _exit(93);
        wire_reply_init(&reply, request->id);
        reply.fds[0] = memfd_create("answer", MFD_CLOEXEC);
        if (dprintf(reply.fds[0], "got %s", text) < 0)
                _exit(94);
        helper_send(&reply);
}

static void helper_serve(WireRequest *request)
{
        static uint64_t held;
        const char *what = string_or_empty(request->name);
        WireRequest other = { 0 };

        if (string_equal(what, "echo") || request->operation == WIRE_UNLOCK ||
            request->operation == WIRE_REFRESH) {
                helper_answer(request, 0, NULL, request->input.data, request->input.n);
                if (request->operation == WIRE_UNLOCK)
                        helper_event(SOURCE_READY, NULL);
        } else if (string_equal(what, "hold")) {
                held = request->id;
        } else if (string_equal(what, "release")) {
                helper_answer(request, 0, NULL, "release", 7);
                other.id = held;
                helper_answer(&other, 0, NULL, "held", 4);
        } else if (string_equal(what, "refuse")) {
                helper_answer(request, CB_NOT_FOUND, "no such key", "", 0);
        } else if (string_equal(what, "report")) {
                helper_report(request);
        } else if (string_equal(what, "fd")) {
                helper_echo_fd(request);
        } else if (string_equal(what, "crash")) {
                signal(SIGSEGV, SIG_DFL);
                raise(SIGSEGV);
        } else if (string_equal(what, "exit")) {
                helper_answer(request, 0, NULL, "last words", 10);
                _exit(3);
        } else if (string_equal(what, "stop")) {
                raise(SIGSTOP);
        } else if (string_equal(what, "deaf")) {
                shutdown(helper_fd, SHUT_RDWR);
                for (;;)
                        pause();
        } else if (string_equal(what, "garbage")) {
                char garbage[] = "!garbage";

                (void)send(helper_fd, garbage, sizeof(garbage), 0);
        } else if (string_equal(what, "odd")) {
                helper_event(SOURCE_DEGRADED, "line\nwith \x1b[31mcolour");
                helper_answer(request, 0, NULL, "", 0);
        }
}

static int helper_main(void)
{
        static uint8_t buffer[WIRE_PACKET_MAX];

        helper_fd = 3;
        signal(SIGPIPE, SIG_IGN);
        for (;;) {
                WireRequest request;
                int fds[WIRE_FDS_MAX];
                ssize_t n = wire_receive(helper_fd, buffer, sizeof(buffer), fds, 0);

                if (n <= 0) {
                        while (string_equal(helper_setting("conduct"), "stubborn"))
                                pause();
                        _exit(0);
                }
                if (wire_request_decode(buffer, (size_t)n, &request) < 0)
                        _exit(95);
                memcpy(request.fds, fds, sizeof(fds));
                if (request.operation == WIRE_CONFIGURE)
                        helper_configure(&request);
                else
                        helper_serve(&request);
                wire_request_deinit(&request);
        }
}

/* ------------------------------------------------------------------ the broker's side */

static char helper_path[512];

typedef struct Bench {
        sd_event *event;
        Sources *sources;
        unsigned n_added, n_changed, n_removed;
        bool submitting;
} Bench;

typedef struct Answer {
        Bench *bench;
        unsigned n;
        int status;
        char text[600];
        char output[2048];
        char from_fd[64];
} Answer;

static void on_changed(void *userdata, Source *source)
{
        Bench *bench = userdata;

        assert_non_null(source);
        bench->n_changed++;
}

static void on_added(void *userdata, Source *source)
{
        Bench *bench = userdata;

        assert_ptr_equal(sources_find(bench->sources, source_name(source)), source);
        bench->n_added++;
}

static void on_removed(void *userdata, const char *name)
{
        Bench *bench = userdata;

        assert_null(sources_find(bench->sources, name));
        bench->n_removed++;
}

static const SourcesTiming quick = {
        .backoff_first_usec = 2 * USEC_PER_MSEC,
        .backoff_max_usec = 7200 * USEC_PER_SEC,
        .death_window_usec = 60 * USEC_PER_SEC,
        .good_life_usec = 60 * USEC_PER_SEC,
        .hang_grace_usec = 50 * USEC_PER_MSEC,
        .eof_grace_usec = 20 * USEC_PER_MSEC,
        .stop_usec = 100 * USEC_PER_MSEC,
};

static void bench_open_with(Bench *bench, const char *helper)
{
        static const SourcesEvents events = { on_changed, on_added, on_removed };

        *bench = (Bench){ 0 };
        assert_int_equal(sd_event_new(&bench->event), 0);
        assert_int_equal(sources_new(bench->event, helper, &events, bench, &bench->sources), 0);
        sources_set_timing(bench->sources, &quick);
}

static void bench_open(Bench *bench)
{
        bench_open_with(bench, helper_path);
}

static void bench_close(Bench *bench)
{
        bench->sources = sources_free(bench->sources);
        assert_null(sd_event_unref(bench->event)); /* nothing was left in the loop */
}

/* "name" or "name:conduct", up to three. */
static void bench_configure(Bench *bench, const char *a, const char *b)
{
        SourceConfig sources[2] = { 0 }, *items[2];
        const char *const names[2] = { a, b };
        char texts[2][2][64], *settings[2][3] = { 0 };
        char name[2][32], driver[] = "pkcs11";
        Config config = { .sources = items, .request_timeout_usec = 10 * USEC_PER_SEC };

        for (size_t i = 0; i < 2 && names[i]; i++) {
                const char *colon = strchr(names[i], ':');

                snprintf(name[i], sizeof(name[i]), "%.*s",
                         (int)(colon ? colon - names[i] : (ptrdiff_t)strlen(names[i])), names[i]);
                snprintf(texts[i][0], sizeof(texts[i][0]), "conduct=%s", colon ? colon + 1 : "");
                snprintf(texts[i][1], sizeof(texts[i][1]), "uri=pkcs11:token=%s", name[i]);
                settings[i][0] = texts[i][0];
                settings[i][1] = texts[i][1];
                sources[i] = (SourceConfig){ name[i], driver, settings[i] };
                items[config.n_sources++] = &sources[i];
        }
        assert_int_equal(sources_configure(bench->sources, &config), 0);
}

static void bench_turn(Bench *bench)
{
        assert_true(sd_event_run(bench->event, 10 * USEC_PER_SEC) > 0);
}

static Source *bench_await(Bench *bench, const char *name, SourceState state)
{
        Source *source = sources_find(bench->sources, name);

        assert_non_null(source);
        while (source_state(source) != state)
                bench_turn(bench);
        return source;
}

static void on_answer(void *userdata, WireReply *reply)
{
        Answer *answer = userdata;

        assert_false(answer->bench->submitting); /* never from within */
        answer->n++;
        answer->status = reply->failure.status;
        snprintf(answer->text, sizeof(answer->text), "%s", reply->failure.text);
        snprintf(answer->output, sizeof(answer->output), "%.*s", (int)reply->output.n,
                 (const char *)reply->output.data ?: "");
        if (reply->fds[0] >= 0)
                assert_true(pread(reply->fds[0], answer->from_fd, sizeof(answer->from_fd) - 1, 0) >
                            0);
}

static int submit_full(Bench *bench, Source *source, WireRequest *request, Answer *answer,
                       Failure *failure)
{
        int r;

        *answer = (Answer){ .bench = bench };
        bench->submitting = true;
        r = source_submit(source, request, on_answer, answer, failure);
        bench->submitting = false;
        return r;
}

static int submit(Bench *bench, Source *source, WireOperation operation, const char *what,
                  uint64_t timeout_usec, Answer *answer, Failure *failure)
{
        WireRequest request;
        char name[32], input[] = "input";

        wire_request_init(&request, operation);
        snprintf(name, sizeof(name), "%s", what);
        request.name = name;
        request.input = (Bytes){ (uint8_t *)input, 5 };
        request.timeout_usec = timeout_usec;
        return submit_full(bench, source, &request, answer, failure);
}

static void sign(Bench *bench, Source *source, const char *what, Answer *answer)
{
        Failure failure = { 0 };

        assert_int_equal(submit(bench, source, WIRE_SIGN, what, 0, answer, &failure), 0);
}

static void await_answer(Bench *bench, Answer *answer)
{
        while (answer->n == 0)
                bench_turn(bench);
        assert_int_equal(answer->n, 1);
}

static int report_number(const Answer *answer, const char *key)
{
        const char *found = strstr(answer->output, key);

        assert_non_null(found);
        return atoi(found + strlen(key));
}

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
        assert_int_equal(source_state(source), SOURCE_UNAVAILABLE);
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
        Failure failure = { 0 };

        (void)state;
        bench_open(&bench);
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
        assert_int_equal(source_state(source), SOURCE_UNAVAILABLE);

        /* The other one never noticed. */
        sign(&bench, sources_find(bench.sources, "other"), "echo", &echo);
        await_answer(&bench, &echo);
        assert_int_equal(echo.status, 0);

        bench_await(&bench, "hsm", SOURCE_READY);
        assert_string_equal(source_last_error(source), "");
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
        bench_await(&bench, "hsm", SOURCE_UNAVAILABLE);
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
        source = sources_find(bench.sources, "hsm");
        assert_int_equal(source_state(source), SOURCE_UNAVAILABLE);
        assert_non_null(strstr(source_last_error(source), "/nonexistent/certbroker-source"));
        assert_non_null(strstr(source_last_error(source), "No such file"));
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

static void test_starting_serves_nobody(void **state)
{
        Bench bench;
        Answer answer;
        Failure failure = { 0 };
        Source *source;

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm:starting", NULL);
        source = sources_find(bench.sources, "hsm");
        assert_int_equal(submit(&bench, source, WIRE_SIGN, "echo", 0, &answer, &failure),
                         CB_SOURCE_UNAVAILABLE);
        assert_non_null(strstr(failure.text, "starting"));
        assert_int_equal(submit(&bench, source, WIRE_REFRESH, "", 0, &answer, &failure), 0);
        await_answer(&bench, &answer);
        assert_int_equal(answer.status, 0);
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
        assert_non_null(strstr(failure.text, "1024 requests"));
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
        bench_await(&bench, "hsm", SOURCE_UNAVAILABLE);
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

        (void)state;
        bench_open(&bench);
        bench_configure(&bench, "hsm", NULL);
        source = bench_await(&bench, "hsm", SOURCE_READY);
        sign(&bench, source, "deaf", &answer);
        await_answer(&bench, &answer);
        assert_int_equal(answer.status, CB_SOURCE_UNAVAILABLE);
        assert_non_null(strstr(answer.text, "without ending"));
        bench_await(&bench, "hsm", SOURCE_READY);
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

static void test_needs_blocked_sigchld(void **state)
{
        static const SourcesEvents events = { 0 };
        CLEANUP(sources_freep) Sources *sources = NULL;
        sd_event *event = NULL;
        sigset_t child, before;

        (void)state;
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        assert_int_equal(sd_event_new(&event), 0);
        sigprocmask(SIG_UNBLOCK, &child, &before);
        assert_int_equal(sources_new(event, helper_path, &events, NULL, &sources), -EBUSY);
        sigprocmask(SIG_SETMASK, &before, NULL);
        sd_event_unref(event);
}

/* Against the obvious way: a list that is searched. */
static void test_pending(void **state)
{
        CLEANUP(pending_freep) Pending *pending = NULL;
        static uint64_t ids[PENDING_MAX], dues[PENDING_MAX];
        size_t n = 0;
        uint32_t random = 12345;

        (void)state;
        assert_int_equal(pending_new(&pending), 0);
        for (unsigned step = 0; step < 40000; step++) {
                uint64_t least = UINT64_MAX;
                size_t i;

                random = random * 1664525 + 1013904223;
                if (n == 0 || (random >> 16) % 5 < 3) {
                        PendingEntry *entry = pending_add(pending, (random >> 8) % 1000);

                        if (n == PENDING_MAX) {
                                assert_null(entry);
                                /* Down to half, then up again. */
                                while (n > PENDING_MAX / 2) {
                                        n--;
                                        pending_remove(pending, pending_find(pending, ids[n]));
                                        assert_null(pending_find(pending, ids[n]));
                                }
                        } else {
                                ids[n] = entry->id;
                                dues[n++] = entry->due_usec;
                        }
                } else if ((random >> 16) % 5 == 3) {
                        i = (random >> 4) % n;
                        dues[i] += (random >> 20) % 100;
                        pending_postpone(pending, pending_find(pending, ids[i]), dues[i]);
                } else {
                        i = (random >> 4) % n;
                        pending_remove(pending, pending_find(pending, ids[i]));
                        assert_null(pending_find(pending, ids[i]));
                        ids[i] = ids[--n];
                        dues[i] = dues[n];
                }
                for (i = 0; i < n; i++)
                        least = MIN(least, dues[i]);
                assert_int_equal(pending_count(pending), n);
                if (n > 0)
                        assert_true(pending_first(pending)->due_usec == least);
                else
                        assert_null(pending_first(pending));
        }
        assert_null(pending_find(pending, 0));
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pending),
                cmocka_unit_test(test_answers),
                cmocka_unit_test(test_child_environment),
                cmocka_unit_test(test_descriptors),
                cmocka_unit_test(test_hung_process),
                cmocka_unit_test(test_late_answer),
                cmocka_unit_test(test_crash),
                cmocka_unit_test(test_last_words_count),
                cmocka_unit_test(test_crash_loop),
                cmocka_unit_test(test_refused_settings),
                cmocka_unit_test(test_missing_helper),
                cmocka_unit_test(test_locked),
                cmocka_unit_test(test_starting_serves_nobody),
                cmocka_unit_test(test_limit),
                cmocka_unit_test(test_stopped_process),
                cmocka_unit_test(test_garbage),
                cmocka_unit_test(test_deaf_process),
                cmocka_unit_test(test_text_is_escaped),
                cmocka_unit_test(test_configure_again),
                cmocka_unit_test(test_stubborn_process),
                cmocka_unit_test(test_free_at_once),
                cmocka_unit_test(test_needs_blocked_sigchld),
        };
        sigset_t child;

        if (argc == 3 && strcmp(argv[1], "--fd") == 0)
                return helper_main();
        if (readlink("/proc/self/exe", helper_path, sizeof(helper_path) - 1) < 0)
                return 1;
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        sigprocmask(SIG_BLOCK, &child, NULL);
        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
