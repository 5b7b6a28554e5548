/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failure: an outcome and the sentence for the caller. It is filled where the failure is known, and
 * carried up unchanged. The sentence says what, on which object, and what to do about it; it is valid
 * UTF-8 and never holds a secret.
 */
#pragma once

#include <certbroker/status.h>

#include "base/macro.h"

typedef struct Failure {
        int status; /* 0, enum cb_status, or -errno */
        char text[512];
} Failure;

#undef fail /* cmocka.h, which tests include first, has a macro of this name */

/* Sets both (text is cut to fit, on a character's boundary, and made valid UTF-8); returns status. */
int fail(Failure *failure, int status, const char *format, ...) PRINTF(3, 4);

/* "org.certbroker1.Error.NotFound"; for -errno that of CB_FAILED. */
const char *status_error_name(int status);
const char *status_word(int status);          /* "ok", "not-found" */
int status_from_error_name(const char *name); /* CB_FAILED where unknown */
