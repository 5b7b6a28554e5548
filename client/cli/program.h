/* SPDX-License-Identifier: Apache-2.0 */
/* Programs of the host that are run and listened to: an argument list, never a shell's line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct Program {
        int status;            /* of its exit; -1: a signal ended it, or its time was over */
        char *output, *errors; /* never NULL after success; cut at 1 MiB */
} Program;

/*
 * argv[0] is looked for in $PATH; input is its standard input, -1: nothing. Waits until it ends, five minutes at the most.
 * -errno where it could not be run (-ENOENT: there is no such program), or memory. To be ended by program_deinit(), also
 * after a failure.
 */
int program_run(const char *const *argv, int input, Program *ret_program);
void program_deinit(Program *program);
/* The last line that it said on standard error that says anything, else on standard output; "" for none. Borrowed. */
const char *program_complaint(Program *program);
/* Is there such a program in $PATH? */
bool program_is_there(const char *name);
