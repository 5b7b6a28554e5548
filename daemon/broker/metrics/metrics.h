/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts of what was asked and how it went: by operation, source and outcome, with the time that it took. The number of
 * series is bounded; what would be more is counted under the label "other".
 */
#pragma once

#include <stdint.h>

#include "base/macro.h"
#include "broker/metrics/exposition.h"

typedef struct Metrics Metrics;

int metrics_new(Metrics **ret_metrics);
Metrics *metrics_free(Metrics *metrics);
DEFINE_CLEANUP(Metrics, metrics_free)

/* operation: a method's name; source: "" for none; outcome: "ok" or an error's name. */
void metrics_count(Metrics *metrics, const char *operation, const char *source, const char *outcome,
                   uint64_t duration_usec);
/* The families certbroker_requests and certbroker_request_duration_seconds. */
void metrics_expose(const Metrics *metrics, Exposition *exposition);
