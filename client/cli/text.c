/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text as people read and write it. Whatever is printed to a terminal and comes from elsewhere goes
 * through text_harmless(): a token's label must not move the cursor, nor turn a line around. Dates
 * are read field by field with their bounds, so that 2027-02-30 is an error and no other day.
 */
#include "text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "macro.h"
#include "visible.h"

#define DURATION_MAX (UINT64_C(100) * 366 * 86400)

/* The length of a valid sequence at p, and its code point; 0 where there is none. */
static size_t decode_character(const unsigned char *p, uint32_t *ret_code)
{
        static const struct {
                unsigned char mask, lead;
                uint32_t least;
        } forms[] = { { 0x80, 0x00, 0 },
                      { 0xe0, 0xc0, 0x80 },
                      { 0xf0, 0xe0, 0x800 },
                      { 0xf8, 0xf0, 0x10000 } };

        for (size_t n = 1; n <= ELEMENTSOF(forms); n++) {
                uint32_t code = p[0] & (unsigned char)~forms[n - 1].mask;

                if ((p[0] & forms[n - 1].mask) != forms[n - 1].lead)
                        continue;
                for (size_t i = 1; i < n; i++) {
                        if ((p[i] & 0xc0) != 0x80)
                                return 0;
                        code = code << 6 | (p[i] & 0x3fu);
                }
                if (code < forms[n - 1].least || code > 0x10ffff ||
                    (code >= 0xd800 && code <= 0xdfff))
                        return 0;
                *ret_code = code;
                return n;
        }
        return 0;
}

char *text_format(const char *format, va_list list)
{
        char *text;

        return vasprintf(&text, format, list) < 0 ? NULL : text;
}

char *text_harmless(const char *text)
{
        const unsigned char *p = (const unsigned char *)text;
        char *escaped = malloc(4 * strlen(text) + 1), *to = escaped;

        if (!escaped)
                return NULL;
        while (*p) {
                uint32_t code = 0;
                size_t n = decode_character(p, &code);

                if (n > 0 && is_visible(code)) {
                        memcpy(to, p, n);
                        to += n;
                } else {
                        if (n == 0)
                                n = 1;
                        for (size_t i = 0; i < n; i++)
                                to += snprintf(to, 5, "\\x%02x", p[i]);
                }
                p += n;
        }
        *to = '\0';
        return escaped;
}

int text_print_lines(const char *text, FILE *to)
{
        while (*text) {
                size_t n = strcspn(text, "\n");
                CLEANUP(free_text) char *line = strndup(text, n);
                CLEANUP(free_text) char *escaped = line ? text_harmless(line) : NULL;

                if (!escaped)
                        return -ENOMEM;
                (void)fputs(escaped, to);
                if (text[n])
                        (void)fputc('\n', to);
                text += n + (text[n] != '\0');
        }
        return 0;
}

bool text_is_plain(const char *text, const char *others)
{
        for (const char *p = text; *p; p++)
                if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') &&
                    !(*p >= '0' && *p <= '9') && !strchr(others, *p))
                        return false;
        return *text != '\0';
}

size_t text_width(const char *text)
{
        size_t n = 0;

        for (; *text; text++)
                n += ((unsigned char)*text & 0xc0) != 0x80;
        return n;
}

void time_format(uint64_t unix_seconds, char *ret_text)
{
        time_t t = (time_t)unix_seconds;
        struct tm tm;

        if (unix_seconds == 0 || unix_seconds > INT64_MAX / 2 || !gmtime_r(&t, &tm) ||
            strftime(ret_text, TIME_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                (void)snprintf(ret_text, TIME_TEXT_MAX, "-");
}

/* Exactly `digits` digits, between least and most; moves *p behind them. */
static int read_number(const char **p, unsigned digits, int least, int most, int *ret_number)
{
        int number = 0;

        for (unsigned i = 0; i < digits; i++) {
                if (**p < '0' || **p > '9')
                        return -EINVAL;
                number = 10 * number + (*(*p)++ - '0');
        }
        if (number < least || number > most)
                return -EINVAL;
        *ret_number = number;
        return 0;
}

static bool skip(const char **p, char c)
{
        if (**p != c)
                return false;
        (*p)++;
        return true;
}

static int days_of_month(int year, int month)
{
        static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

        return days[month - 1] + (month == 2 && leap);
}

static int read_clock(const char **p, struct tm *tm)
{
        if (read_number(p, 2, 0, 23, &tm->tm_hour) || !skip(p, ':') ||
            read_number(p, 2, 0, 59, &tm->tm_min))
                return -EINVAL;
        if (skip(p, ':') && read_number(p, 2, 0, 59, &tm->tm_sec))
                return -EINVAL;
        return 0;
}

/* Z, +hh:mm, -hh:mm, or nothing, which means UTC. */
static int read_zone(const char **p, int64_t *ret_offset)
{
        int hours, minutes, sign = **p == '-' ? -1 : 1;

        *ret_offset = 0;
        if (skip(p, 'Z') || **p == '\0')
                return 0;
        if (!skip(p, '+') && !skip(p, '-'))
                return -EINVAL;
        if (read_number(p, 2, 0, 14, &hours) || !skip(p, ':') || read_number(p, 2, 0, 59, &minutes))
                return -EINVAL;
        *ret_offset = sign * (hours * INT64_C(3600) + minutes * INT64_C(60));
        return 0;
}

int time_parse(const char *text, uint64_t now, uint64_t *ret_unix_seconds)
{
        struct tm tm = { 0 };
        const char *p = text;
        int64_t offset = 0, t;
        uint64_t after;
        int year, month, r;

        if (skip(&p, '+')) {
                r = duration_parse(p, &after);
                if (r)
                        return r;
                *ret_unix_seconds = now + after;
                return 0;
        }

        if (read_number(&p, 4, 1970, 9999, &year) || !skip(&p, '-') ||
            read_number(&p, 2, 1, 12, &month) || !skip(&p, '-') ||
            read_number(&p, 2, 1, days_of_month(year, month), &tm.tm_mday))
                return -EINVAL;
        if ((skip(&p, 'T') || skip(&p, ' ')) && (read_clock(&p, &tm) || read_zone(&p, &offset)))
                return -EINVAL;
        if (*p)
                return -EINVAL;

        tm.tm_year = year - 1900;
        tm.tm_mon = month - 1;
        t = (int64_t)timegm(&tm) - offset;
        if (t < 0)
                return -EINVAL;
        *ret_unix_seconds = (uint64_t)t;
        return 0;
}

int duration_parse(const char *text, uint64_t *ret_seconds)
{
        static const struct {
                const char *unit;
                uint64_t seconds;
        } units[] = { { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 }, { "w", 604800 } };
        uint64_t number = 0;
        const char *p = text;

        for (; *p >= '0' && *p <= '9'; p++) {
                number = 10 * number + (uint64_t)(*p - '0');
                if (number > DURATION_MAX)
                        return -ERANGE;
        }
        if (p == text)
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                if (strcmp(units[i].unit, p) == 0) {
                        if (number * units[i].seconds > DURATION_MAX)
                                return -ERANGE;
                        *ret_seconds = number * units[i].seconds;
                        return 0;
                }
        return -EINVAL;
}
