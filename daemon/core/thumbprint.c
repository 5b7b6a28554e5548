/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a thumbprint out of what was pasted. Invariant: what is skipped says nothing (blanks, and characters that leave no
 * trace), and a word ahead of the digits is one that names a thumbprint: so no other text is taken for one. Windows puts
 * U+200E ahead of the digits that its dialog shows, which nobody sees.
 */
#include "core/thumbprint.h"

#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/strings.h"
#include "visible.h"

#define REFUSE(reading, ...) (fail((reading)->why, CB_INVALID_ARGUMENT, __VA_ARGS__), false)

typedef struct Reading {
        const char *p, *end;
        size_t place; /* of the character at p, from 1 */
        char digits[THUMBPRINT_TEXT];
        size_t n_digits; /* also those that have no room */
        size_t n_separators;
        char separator;
        bool after_separator;
        size_t n_wanted; /* digits, as the word ahead says; 0: it says nothing */
        Failure *why;
} Reading;

/* The spaces of Unicode (General_Category Zs), and what ends a line or stands at a tabulator. */
static bool is_blank(uint32_t code)
{
        static const uint32_t blanks[] = { ' ',    '\t',   '\n',   '\r',  0xa0,
                                           0x1680, 0x202f, 0x205f, 0x3000 };

        for (size_t i = 0; i < ELEMENTSOF(blanks); i++)
                if (blanks[i] == code)
                        return true;
        return code >= 0x2000 && code <= 0x200a;
}

/* A control character (C0, C1) does something, so it is not skipped as what merely does not appear. */
static bool says_nothing(uint32_t code)
{
        return is_blank(code) || (code > 0x9f && !is_visible(code));
}

static void skip_silent(Reading *reading)
{
        uint32_t code;
        size_t n;

        while (reading->p < reading->end) {
                n = utf8_character(reading->p, (size_t)(reading->end - reading->p), &code);
                if (n == 0 || !says_nothing(code))
                        return;
                reading->p += n;
                reading->place++;
        }
}

typedef struct Word {
        const char *word;
        size_t n_digits;
} Word;

/* Longer ones first, for the shorter ones begin them. */
static const Word hashes[] = {
        { "sha-256", THUMBPRINT_TEXT - 1 },    { "sha256", THUMBPRINT_TEXT - 1 },
        { "sha-1", THUMBPRINT_SHA1_TEXT - 1 }, { "sha1", THUMBPRINT_SHA1_TEXT - 1 },
};
static const Word things[] = { { "fingerprint", 0 }, { "thumbprint", 0 } };

static bool take_word(Reading *reading, const Word *words, size_t n_words)
{
        for (size_t i = 0; i < n_words; i++) {
                size_t n = strlen(words[i].word);

                if (strncasecmp(reading->p, words[i].word, n) != 0)
                        continue;
                if (words[i].n_digits > 0)
                        reading->n_wanted = words[i].n_digits;
                reading->p += n;
                reading->place += n;
                skip_silent(reading);
                return true;
        }
        return false;
}

/* `SHA256:` of keytool, `sha1 Fingerprint=` of openssl, `Thumbprint :` of PowerShell. */
static bool take_label(Reading *reading)
{
        bool has_hash, has_thing;

        skip_silent(reading);
        has_hash = take_word(reading, hashes, ELEMENTSOF(hashes));
        has_thing = take_word(reading, things, ELEMENTSOF(things));
        if (!has_hash && !has_thing)
                return true;
        if (*reading->p != ':' && *reading->p != '=')
                return REFUSE(reading, "has no ':' or '=' between the word ahead and the digits");
        reading->p++;
        reading->place++;
        return true;
}

static bool is_hex(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool take_separator(Reading *reading, char c)
{
        bool fits = reading->n_digits > 0 && reading->n_digits % 2 == 0 &&
                    !reading->after_separator &&
                    (reading->separator == '\0' || reading->separator == c);

        if (!fits)
                return REFUSE(reading,
                              "has '%c' at place %zu, where no pair of hex digits has just ended", c,
                              reading->place);
        reading->separator = c;
        reading->after_separator = true;
        reading->n_separators++;
        return true;
}

static bool refuse_character(const Reading *reading)
{
        CLEANUP(freep) char *shown = NULL;
        size_t rest = (size_t)(reading->end - reading->p), n;
        uint32_t code;

        n = utf8_character(reading->p, rest, &code);
        shown = text_escape(reading->p, n > 0 ? n : 1, 4);
        return REFUSE(reading, "has '%s' at place %zu, which is no hex digit",
                      string_or_empty(shown), reading->place);
}

static bool take_digits(Reading *reading)
{
        for (skip_silent(reading); reading->p < reading->end; skip_silent(reading)) {
                char c = *reading->p;

                if (is_hex(c)) {
                        if (reading->n_digits < sizeof(reading->digits) - 1)
                                reading->digits[reading->n_digits] = c;
                        reading->n_digits++;
                        reading->after_separator = false;
                } else if (c != ':' && c != '-') {
                        return refuse_character(reading);
                } else if (!take_separator(reading, c)) {
                        return false;
                }
                reading->p++;
                reading->place++;
        }
        return true;
}

/* Separators stand after each pair or nowhere: else something was lost, or was never there. */
static bool is_whole(const Reading *reading)
{
        size_t n = reading->n_digits;

        if (reading->n_wanted > 0 && n != reading->n_wanted)
                return REFUSE(reading, "has %zu hex digits, where %s has %zu", n,
                              reading->n_wanted == THUMBPRINT_TEXT - 1 ? "SHA-256" : "SHA-1",
                              reading->n_wanted);
        if (n != THUMBPRINT_SHA1_TEXT - 1 && n != THUMBPRINT_TEXT - 1)
                return REFUSE(reading, "has %zu hex digits, where SHA-1 has %d and SHA-256 %d", n,
                              THUMBPRINT_SHA1_TEXT - 1, THUMBPRINT_TEXT - 1);
        if (reading->n_separators > 0 &&
            (reading->after_separator || reading->n_separators != n / 2 - 1))
                return REFUSE(reading, "has '%c' not after each pair of hex digits, or at its end",
                              reading->separator);
        return true;
}

bool thumbprint_parse(const char *text, uint8_t ret_digest[DIGEST_LENGTH_MAX], size_t *ret_n,
                      Failure *why)
{
        Reading reading = { .p = text, .end = text + strlen(text), .place = 1, .why = why };

        if (!take_label(&reading) || !take_digits(&reading) || !is_whole(&reading))
                return false;
        *ret_n = reading.n_digits / 2;
        return hex_decode(reading.digits, ret_digest, *ret_n) == 0;
}
