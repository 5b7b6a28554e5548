/* SPDX-License-Identifier: Apache-2.0 */
/* The directories that certbrokerd needs, made and tightened at start. */
#pragma once

#include <sys/types.h>

#include "base/failure.h"

/*
 * Makes the directory, and those above it, where they are missing; what is there must be a directory of
 * ours and not a link. mode: what it has afterwards.
 */
int directory_prepare(const char *path, mode_t mode, Failure *failure);
