/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts of what was asked and how it went: by operation, source and outcome, with the time that it took. The number of
 * series is bounded; what would be more is counted under the label "other".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"
#include "broker/metrics/exposition.h"

typedef struct Metrics Metrics;

int metrics_new(Metrics **ret_metrics);
Metrics *metrics_free(Metrics *metrics);
DEFINE_CLEANUP(Metrics, metrics_free)

#define METRICS_NO_DURATION UINT64_MAX

/* operation: a method's name; source: "" for none; outcome: "ok" or an error's name. */
void metrics_count(Metrics *metrics, const char *operation, const char *source, const char *outcome,
                   uint64_t duration_usec);
/* A credential answered from what was kept of its source: stale where the source did not serve then. */
void metrics_count_hit(Metrics *metrics, const char *source, bool stale);
/* The families certbroker_requests, certbroker_request_duration_seconds and certbroker_cache_hits. */
void metrics_expose(const Metrics *metrics, Exposition *exposition);
