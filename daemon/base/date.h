/* SPDX-License-Identifier: Apache-2.0 */
/* Times as people and other programs read them. */
#pragma once

#include <stdint.h>

#define DATE_TEXT_MAX sizeof("9999-12-31T23:59:59Z")

/* RFC 3339, in UTC: the first 10 characters are the day. What is later is the end of the year 9999. Returns ret_text. */
const char *date_text(uint64_t sec, char ret_text[static DATE_TEXT_MAX]);
