/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzz target is: libFuzzer's entry point, and a check that stops the run. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Always compiled in; abort() is what both fuzzer and replay report with the input's name. */
#define FUZZ_CHECK(condition)                                                                      \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        abort();                                                                   \
        } while (0)

/* The input as a string that ends where its memory does; owned. What follows a NUL is left out. */
static inline char *fuzz_string(const uint8_t *data, size_t n)
{
        char *text = n > 0 ? strndup((const char *)data, n) : strdup("");

        FUZZ_CHECK(text);
        return text;
}
