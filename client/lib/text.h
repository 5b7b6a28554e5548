/* SPDX-License-Identifier: Apache-2.0 */
/* What D-Bus lets a string, a path and a name be. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

bool text_is_utf8(const char *text, size_t n); /* no NUL in it either */
/* Characters that are not visible (visible.h) become `?`, a byte each. UTF-8, in place. */
void text_make_harmless(char *text);
bool text_is_path(const char *text);
/* An interface (with a dot) or a member (without): letters, digits, `_`, at most 255. */
bool text_is_name(const char *text, bool dotted);
