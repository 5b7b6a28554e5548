/* SPDX-License-Identifier: Apache-2.0 */
/* Text: lists of strings, globs, and escaping of what other people's bytes say. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macro.h"

/* A NULL-terminated, owned vector. NULL is an empty one. */
char **strv_free(char **strv);
int strv_append(char ***strv, const char *string); /* copies */
int strv_copy(char *const *strv, char ***ret_copy);
/* A copy in one block, which free() frees: for lists of thousands. NULL of NULL. -ENOMEM. */
int strv_pack(char *const *strv, char ***ret_packed);
bool strv_contains(char *const *strv, const char *string);
bool strv_equal(char *const *a, char *const *b);
size_t strv_length(char *const *strv);
char *strv_join(char *const *strv, const char *separator); /* owned; NULL: no memory */
DEFINE_CLEANUP(char *, strv_free)

bool string_equal(const char *a, const char *b); /* NULL equals NULL only */
int string_set(char **place, const char *value); /* copies; value may be NULL */
const char *string_or_empty(const char *string);
/* Owned; what was in the place before is freed, and may be among the arguments. -ENOMEM. */
int string_format(char **place, const char *format, ...) PRINTF(2, 3);

/* `*` any run, `?` one character, everything else itself; no classes, no recursion. */
bool glob_match(const char *pattern, const char *string);

/* RFC 3629, and no NUL: fit to be the text of a C string, a D-Bus string or a line of JSON. */
bool utf8_is_valid(const char *string, size_t n);
/* The one character that begins there: its length, 0: it is not UTF-8. */
size_t utf8_character(const char *string, size_t n, uint32_t *ret_code);
/* And made of visible characters alone (visible.h), so on one line. */
bool text_is_printable(const char *string, size_t n);

/*
 * Whatever a token, certificate or vault says, as printable valid UTF-8 on one line: what is not
 * visible, backslashes and bytes that are not UTF-8 become \xNN; at most n_max bytes of input are
 * taken, then "…" follows. Owned; NULL: no memory.
 */
char *text_escape(const void *text, size_t n, size_t n_max);
/* The same of what has to be ASCII: other characters become \xNN, too. */
char *text_escape_ascii(const void *text, size_t n);

/*
 * Makes a line of our own, with such text in it, printable valid UTF-8: a newline or tab becomes a space, whatever else
 * text_escape() would escape (but backslashes) becomes \xNN. What does not fit n_ret bytes is left out, whole characters
 * and escapes. cut: the text was cut at its buffer's end, so half a character there is dropped.
 */
void text_clean_to(const char *text, bool cut, char *ret_text, size_t n_ret);

/*
 * The same in place, without making it longer: a newline or tab
 * becomes a space, whatever else text_escape() would escape (but backslashes) becomes `?`. cut: the
 * text was cut at its buffer's end, so half a character there is dropped.
 */
void text_clean(char *text, bool cut);
