/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failure: an outcome and its sentence. Invariant: the text is one line of valid UTF-8, whatever the
 * arguments were, so that libdbus can always carry it. The names come from the one list in
 * <certbroker/status.h>.
 */
#include "base/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/strings.h"

static const struct {
        const char *error_name;
        const char *word;
} statuses[_CB_STATUS_N] = { [CB_OK] = { "", "ok" },
#define STATUS_ROW(value, name, word, exit_status) [value] = { CB_ERROR_PREFIX name, word },
                             CB_STATUS_MAP(STATUS_ROW)
#undef STATUS_ROW
};

int fail(Failure *failure, int status, const char *format, ...)
{
        char text[sizeof(failure->text)]; /* the arguments may point into failure->text */
        va_list args;
        int n;

        if (!failure)
                return status;
        va_start(args, format);
        n = vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        if (n < 0)
                text[0] = '\0';

        failure->status = status;
        text_clean_to(text, n >= (int)sizeof(text), failure->text, sizeof(failure->text));
        return status;
}

static int status_index(int status)
{
        return status < 0 || status >= _CB_STATUS_N ? CB_FAILED : status;
}

/* An error without a status is still one. */
static int error_index(int status)
{
        return status == CB_OK ? CB_FAILED : status_index(status);
}

const char *status_error_name(int status)
{
        return statuses[error_index(status)].error_name;
}

const char *status_word(int status)
{
        return statuses[status_index(status)].word;
}

int status_from_error_name(const char *name)
{
        for (int status = CB_OK + 1; status < _CB_STATUS_N; status++)
                if (strcmp(statuses[status].error_name, name) == 0)
                        return status;
        return CB_FAILED;
}
