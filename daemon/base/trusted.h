/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that nobody but root and whoever runs us can change, and secrets that nobody else can read: the manner of sshd.
 * A name is looked up step by step: every folder on the way, and every link that is followed, must be one that
 * only they can change, so that what was checked is what is opened, then and later.
 */
#pragma once

#include <sys/types.h>

#include "base/failure.h"
#include "base/macro.h"

/* Whose files are trusted beside root's and our own, and whose group may read secrets: a daemon's. */
typedef struct TrustedUser {
        uid_t uid;
        gid_t gid;
} TrustedUser;

typedef enum TrustedKind {
        TRUSTED_FILE,      /* a regular file */
        TRUSTED_ONCE,      /* one that is read now and never again: it may be in /tmp */
        TRUSTED_SECRET,    /* and it may be read by no others: by its group only where that is root's or the daemon's */
        TRUSTED_DIRECTORY, /* others may make nothing in it */
        _TRUSTED_KIND_N
} TrustedKind;

/*
 * O_PATH: a descriptor to look at; the file itself need not be readable. daemon: for whom they are checked;
 * NULL: for ourselves.
 *
 * 0. CB_INVALID_ARGUMENT: what is wrong, with which file or folder, and the command that mends it, is in
 * failure. -errno: it cannot be opened, as -EACCES; -ENOENT: it is not there, and others cannot make it.
 */
int trusted_open(const char *path, TrustedKind kind, int flags, const TrustedUser *daemon,
                 int *ret_fd, Failure *failure);
/* Without the descriptor. */
int trusted_check(const char *path, TrustedKind kind, const TrustedUser *daemon, Failure *failure);
