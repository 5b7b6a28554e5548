/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptor: a number, and which file it was when it was ours. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

typedef struct Descriptor {
        int fd; /* -1: none */
        dev_t device;
        ino_t inode;
} Descriptor;

#define DESCRIPTOR_NONE ((Descriptor){ .fd = -1 })

/* Takes fd, which is closed where that fails: -errno. */
int descriptor_init(Descriptor *descriptor, int fd);
bool descriptor_is_ours(const Descriptor *descriptor);
/* Forgets the number, and closes it if it still is what it was. */
void descriptor_close(Descriptor *descriptor);
