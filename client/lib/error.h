/* SPDX-License-Identifier: Apache-2.0 */
/* Outcomes: from D-Bus errors, and the sentence that goes with them. */
#pragma once

#include <certbroker/certbroker.h>

#include "incoming.h"
#include "macro.h"

/* Fills error (it may be NULL; text is cut to fit, on a character's boundary); returns status. */
int error_set(cb_error *error, int status, const char *format, ...) PRINTF(3, 4);

/* CB_UNREACHABLE, because nobody has the broker's name on the bus. */
int error_not_running(cb_error *error);

/* The outcome that a D-Bus error message tells; fills error. */
int error_from_message(cb_error *error, const Incoming *message);
/* Does this error say that there is nobody of the name that was called? */
bool error_is_nobody(const char *name);
/* By its name: a bus does not pass the message on. certbrokerd has a name of its own for that. */
bool error_is_refusal(const char *name);
