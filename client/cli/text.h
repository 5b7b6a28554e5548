/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people: escaped, dates, durations. Pure: the present time is an argument. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* vasprintf(3), but NULL where there is no memory. */
char *text_format(const char *format, va_list list) __attribute__((format(printf, 1, 0)));

/*
 * Makes text that came from tokens and servers harmless on a terminal: characters that are not
 * visible (visible.h) and what is not UTF-8 become \xNN. The caller frees it; NULL: memory.
 */
char *text_harmless(const char *text);
/* Prints several lines so, each line for itself. -ENOMEM. */
int text_print_lines(const char *text, FILE *to);

/* What ids and names consist of, beside letters and digits. */
#define TEXT_OF_IDS "._-"
/*
 * Is it made of ASCII letters, digits and these others alone, and not empty? Asked about whatever
 * was received before it goes where characters have a meaning: configurations, key files, shells.
 */
bool text_is_plain(const char *text, const char *others);
/* How many columns it takes, a code point each. */
size_t text_width(const char *text);

#define TIME_TEXT_MAX 32

/* "2027-01-02T03:04:05Z"; "-" for 0. ret_text holds TIME_TEXT_MAX. */
void time_format(uint64_t unix_seconds, char *ret_text);
/*
 * A date (midnight, UTC), a date and time ("2027-01-02T03:04:05", with Z, +02:00 or UTC meant), or
 * "+30d" from now. -EINVAL for any other, and for dates before 1970.
 */
int time_parse(const char *text, uint64_t now, uint64_t *ret_unix_seconds);
/* "45s", "30m", "12h", "30d" in seconds. -EINVAL; -ERANGE beyond 100 years. */
int duration_parse(const char *text, uint64_t *ret_seconds);
