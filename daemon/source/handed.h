/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody has handed us as a descriptor: a bundle, a passphrase. The same for every driver. */
#pragma once

#include "base/failure.h"
#include "base/secret.h"

#define HANDED_MAX (1024 * 1024)

/*
 * Takes the descriptor (and leaves -1), reads it to its end within 5 s. CB_INVALID_ARGUMENT: there is none, it is no
 * regular file, memfd or pipe, does not end in time, or holds more than HANDED_MAX; `what` names it in the sentence.
 */
int handed_read(int *fd, const char *what, Secret **ret_secret, Failure *failure);
