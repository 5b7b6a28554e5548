/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times as people and other programs read them: in UTC, the same whatever the locale. It asks no clock, so rooms that
 * are pure use it too.
 */
#include "base/date.h"

#include <time.h>

#include "base/macro.h"

#define LAST_SEC UINT64_C(253402300799) /* of the year 9999 */

const char *date_text(uint64_t sec, char ret_text[static DATE_TEXT_MAX])
{
        time_t time = (time_t)MIN(sec, LAST_SEC);
        struct tm tm;

        gmtime_r(&time, &tm);
        strftime(ret_text, DATE_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
        return ret_text;
}
