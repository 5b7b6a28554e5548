/* SPDX-License-Identifier: Apache-2.0 */
/* What a log-in says of its PIN. */
#pragma once

typedef enum PinVerdict {
        PIN_IS_GOOD,
        PIN_IS_WRONG,
        PIN_NOT_NEEDED, /* somebody is logged in: the token serves, and has not looked at it */
        PIN_NOT_JUDGED, /* the token did not come to look at it */
        PIN_DOUBTFUL,   /* neither yes nor no */
} PinVerdict;

/* rv: of C_Login. */
PinVerdict verdict_of_login(unsigned long rv);
