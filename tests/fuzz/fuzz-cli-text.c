/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text of tokens, certificates, servers and logs on its way to a terminal, and times and durations as they are typed.
 * Holds: nothing that a terminal would obey is left, and what is escaped stays as it is when it is escaped again, but for
 * backslashes.
 */
#include "fuzz.h"

#include "text.h"

/* C0, DEL, C1, what turns the direction of writing, and some of what leaves no trace. */
static void check_harmless(const char *text)
{
        static const char *const hidden[] = { "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d",
                                              "\u202e", "\u2066", "\u2067", "\u2068", "\u2069",
                                              "\u061c", "\u200b", "\u200d", "\u00ad", "\U000e0041", "\U000e0100" };

        for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
                FUZZ_CHECK(*p >= ' ' && *p != 0x7f);
                FUZZ_CHECK(*p != 0xc2 || p[1] >= 0xa0);
        }
        for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++)
                FUZZ_CHECK(!strstr(text, hidden[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        char *text = fuzz_string(data, n), *escaped = text_harmless(text), *again, shown[TIME_TEXT_MAX];
        uint64_t seconds = 0;

        FUZZ_CHECK(escaped);
        check_harmless(escaped);
        FUZZ_CHECK(text_width(escaped) <= strlen(escaped));
        again = text_harmless(escaped);
        FUZZ_CHECK(again && (strchr(escaped, '\\') || strcmp(again, escaped) == 0));
        if (time_parse(text, 1800000000, &seconds) == 0) {
                time_format(seconds, shown);
                check_harmless(shown);
        }
        if (duration_parse(text, &seconds) == 0)
                FUZZ_CHECK(seconds <= UINT64_C(101) * 366 * 86400);
        free(again);
        free(escaped);
        free(text);
        return 0;
}
