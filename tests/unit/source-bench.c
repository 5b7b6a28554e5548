/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bench of the tests of sources: it configures, turns the loop, submits, and keeps what came
 * back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <systemd/sd-event.h>

#include "source-bench.h"
#include "source-double.h"

static char helper_path[512];

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

const SourcesTiming quick = {
        .backoff_first_usec = 2 * USEC_PER_MSEC,
        .backoff_max_usec = 7200 * USEC_PER_SEC,
        .death_window_usec = 60 * USEC_PER_SEC,
        .good_life_usec = 60 * USEC_PER_SEC,
        .hang_grace_usec = 50 * USEC_PER_MSEC,
        .eof_grace_usec = 5 * USEC_PER_SEC,
        .stop_usec = 100 * USEC_PER_MSEC,
        .heartbeat_usec = 5 * USEC_PER_SEC,
};

void bench_open_with(Bench *bench, const char *helper)
{
        static const SourcesEvents events = { on_changed, on_added, on_removed };

        *bench = (Bench){ 0 };
        assert_int_equal(sd_event_new(&bench->event), 0);
        assert_int_equal(starter_new(helper, NULL, &bench->starter), 0);
        assert_int_equal(
                sources_new(bench->event, bench->starter, &events, bench, &bench->sources), 0);
        sources_set_timing(bench->sources, &quick);
}

void bench_open(Bench *bench)
{
        bench_open_with(bench, helper_path);
}

void bench_close(Bench *bench)
{
        bench->sources = sources_free(bench->sources);
        bench->starter = starter_free(bench->starter);
        assert_null(sd_event_unref(bench->event)); /* nothing was left in the loop */
}

/* "name" or "name:conduct", up to three. */
void bench_configure(Bench *bench, const char *a, const char *b)
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

void bench_turn(Bench *bench)
{
        assert_true(sd_event_run(bench->event, 10 * USEC_PER_SEC) > 0);
}

Source *bench_await(Bench *bench, const char *name, SourceState state)
{
        Source *source = sources_find(bench->sources, name);

        assert_non_null(source);
        while (source_state(source) != state || (source_process(source) && !source_pid(source)))
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

int submit_full(Bench *bench, Source *source, WireRequest *request, Answer *answer,
                Failure *failure)
{
        int r;

        *answer = (Answer){ .bench = bench };
        bench->submitting = true;
        r = source_submit(source, request, on_answer, answer, failure);
        bench->submitting = false;
        return r;
}

int submit(Bench *bench, Source *source, WireOperation operation, const char *what,
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

void sign(Bench *bench, Source *source, const char *what, Answer *answer)
{
        Failure failure = { 0 };

        assert_int_equal(submit(bench, source, WIRE_SIGN, what, 0, answer, &failure), 0);
}

void await_answer(Bench *bench, Answer *answer)
{
        while (answer->n == 0)
                bench_turn(bench);
        assert_int_equal(answer->n, 1);
}

int report_number(const Answer *answer, const char *key)
{
        const char *found = strstr(answer->output, key);

        assert_non_null(found);
        return atoi(found + strlen(key));
}

int bench_main(int argc, char **argv, int (*run)(void))
{
        if (argc > 1 && strcmp(argv[1], "--fd") == 0)
                return source_double_main();
        if (readlink("/proc/self/exe", helper_path, sizeof(helper_path) - 1) < 0)
                return 1;
        signal(SIGPIPE, SIG_IGN);
        return run();
}
