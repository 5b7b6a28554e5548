/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line a message to standard error; with the journal's priority prefix where standard error is the
 * journal's stream. Never blocks for long and never fails. Nothing secret is ever passed here.
 */
#pragma once

#include "base/macro.h"

enum log_level {
        LOG_LEVEL_ERROR = 3,
        LOG_LEVEL_WARNING = 4,
        LOG_LEVEL_INFO = 6,
        LOG_LEVEL_DEBUG = 7
};

void log_open(const char *program); /* once, in main(); debug lines only with $CERTBROKER_DEBUG=1 */
void log_line(enum log_level level, const char *format, ...) PRINTF(2, 3);

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
