/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody has handed us as descriptors: a bundle, a passphrase, a PIN. The same for every driver. */
#pragma once

#include "base/clock.h"
#include "base/failure.h"
#include "base/secret.h"
#include "wire/message.h"

#define HANDED_MAX  (1024 * 1024)
#define HANDED_USEC (5 * USEC_PER_SEC)

/*
 * What the descriptors of one request held; those that it lacks, or that could not be read, have no secret.
 */
typedef struct Handed {
        int status[WIRE_FDS_MAX]; /* as secret_read_fd() says it; -ENOENT: there was none */
        Secret *secrets[WIRE_FDS_MAX];
} Handed;

void handed_init(Handed *handed); /* none */
/*
 * Takes the descriptors (and leaves -1), and reads them to their ends, within HANDED_USEC for all of them.
 * What is no pipe may be on a file system that never answers: then neither this nor the next one returns.
 */
void handed_read_worker(int fds[WIRE_FDS_MAX], Handed *handed);
void handed_close_worker(int fds[WIRE_FDS_MAX]);
void handed_deinit(Handed *handed);

/*
 * Takes out what descriptor `index` held. CB_INVALID_ARGUMENT: there was none, it is no regular file, memfd
 * or pipe, did not end in time, or holds more than HANDED_MAX; `what` names it in the sentence.
 */
int handed_take(Handed *handed, size_t index, const char *what, Secret **ret_secret,
                Failure *failure);
