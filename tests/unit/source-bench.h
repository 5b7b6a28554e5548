/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources with processes of the double, an event loop, and what was answered: for the tests of the
 * room.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/sources/source.h"

typedef struct Bench {
        sd_event *event;
        Starter *starter;
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

extern const SourcesTiming quick; /* so that nobody waits in a test */

void bench_open_with(Bench *bench, const char *helper);
void bench_open(Bench *bench);
void bench_close(Bench *bench);
void bench_configure(Bench *bench, const char *a, const char *b);
void bench_turn(Bench *bench);
Source *bench_await(Bench *bench, const char *name, SourceState state);
int submit_full(Bench *bench, Source *source, WireRequest *request, Answer *answer,
                Failure *failure);
int submit(Bench *bench, Source *source, WireOperation operation, const char *what,
           uint64_t timeout_usec, Answer *answer, Failure *failure);
void sign(Bench *bench, Source *source, const char *what, Answer *answer);
void await_answer(Bench *bench, Answer *answer);
int report_number(const Answer *answer, const char *key);

/* What main() does: the double's part with --fd, else the tests. */
int bench_main(int argc, char **argv, int (*run)(void));
