/* SPDX-License-Identifier: Apache-2.0 */
/* Characters of each class that is never shown as it is, and their neighbours that are: for all who show text. */
#pragma once

#include <stdio.h>
#include <string.h>

static const char *const hidden_characters[] = {
        "\x01", "\x1b", "\x7f", "\xc2\x85", "\xc2\x9b",         /* C0, DEL, C1 */
        "\u00ad", "\u034f", "\u115f", "\u3164",                 /* soft hyphen; joiner and fillers without a form */
        "\u061c", "\u200e", "\u200f",                           /* marks of direction */
        "\u202a", "\u202e", "\u2066", "\u2069",                 /* embeddings, overrides, isolates */
        "\u2028", "\u2029",                                     /* ends of lines */
        "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff",       /* without width */
        "\u2064", "\U0001d173", "\ufff9", "\ufffb",             /* operators, beams, annotations */
        "\ufe00", "\ufe0f", "\U000e0100",                       /* variation selectors */
        "\U000e0000", "\U000e0041", "\U000e007f", "\U000e0fff", /* tags */
        "\ufdd0", "\ufffe", "\U0001ffff", "\U0010ffff",         /* noncharacters, which libdbus refuses */
};

static const char *const shown_characters[] = {
        " ",      "~",      "\u00a0", "\u00ac",     "\u00ae",     "\u061b",     "\u200a",
        "\u2010", "\u202f", "\u20ac", "\u5b57",     "\ufe10",     "\ufffc",     "\ufffd",
        "\ufdcf", "\ufdf0", "\u0301", "\U00010000", "\U0001f600", "\U000dfffd", "\U000e1000",
};

#define N_HIDDEN_CHARACTERS (sizeof(hidden_characters) / sizeof(hidden_characters[0]))
#define N_SHOWN_CHARACTERS  (sizeof(shown_characters) / sizeof(shown_characters[0]))

/* "a", the character, "b": each of its bytes as \xNN. For 32 bytes. */
static inline void write_escaped(const char *character, char *ret_text)
{
        char *to = ret_text + sprintf(ret_text, "a");

        for (const char *p = character; *p; p++)
                to += sprintf(to, "\\x%02x", (unsigned char)*p);
        (void)sprintf(to, "b");
}

/* Likewise, but each byte as `?`. */
static inline void write_questioned(const char *character, char *ret_text)
{
        (void)sprintf(ret_text, "a%.*sb", (int)strlen(character), "????");
}
