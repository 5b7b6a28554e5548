/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with certbrokerd's own files and configuration, as its metrics tell it. */
#pragma once

#include <stdbool.h>

/* The next one after *at, which begins as the metrics' text; both are the caller's. false: there is none. */
bool problem_next(const char **at, char **ret_object, char **ret_reason);
