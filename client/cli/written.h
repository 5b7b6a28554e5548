/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that is written as to a file. Unlike open_memstream(3)'s, whose fclose(3) says nothing of what there was no memory
 * for, such a text is whole, or there is none.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

typedef struct Written {
        FILE *to;
        char *text;
        size_t n;
} Written;

/* 0; -ENOMEM. */
int written_init(Written *written);
/* Ends it: 0, and the text, which the caller frees; or -ENOMEM. */
int written_finish(Written *written, char **ret_text);
/* Also of one that was finished. */
void written_deinit(Written *written);
