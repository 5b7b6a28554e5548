/* SPDX-License-Identifier: Apache-2.0 */
/* What every text of the daemon holds to, whatever it was made of. */
#pragma once

#include "fuzz.h"

#include <string.h>

#include "base/failure.h"
#include "base/strings.h"

/* UTF-8 on one line: fit for a log, a terminal and D-Bus. */
static inline void fuzz_check_text(const char *text)
{
        FUZZ_CHECK(text && utf8_is_valid(text, strlen(text)));
        for (; *text; text++)
                FUZZ_CHECK((uint8_t)*text >= 0x20 && *text != 0x7f);
}

/* r: what a function returned that was given this failure, empty before. */
static inline void fuzz_check_outcome(int r, const Failure *failure)
{
        FUZZ_CHECK(r >= 0 && r < _CB_STATUS_N);
        FUZZ_CHECK(r == 0 || *failure->text);
        fuzz_check_text(failure->text);
}
