/* SPDX-License-Identifier: Apache-2.0 */
/* `--check-source`: one source of a configuration, tried before that is in force. */
#pragma once

#include <stdio.h>

#include "broker/sources/starter.h"

/*
 * Starts the source's process as certbrokerd would, walls included, and waits until it serves, or says why it does not.
 * One JSON line goes to `to`: name, state, text. No bus, store or audit log is touched; the source notes the PIN that it
 * tries as ever. The exit status: 0, it serves; BROKER_EXIT_BUS: it does not; BROKER_EXIT_CONFIG, BROKER_EXIT_USAGE and
 * BROKER_EXIT_INTERNAL.
 */
int source_check(const char *config, const char *name, Starter *starter, FILE *to);
