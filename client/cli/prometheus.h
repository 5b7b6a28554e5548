/* SPDX-License-Identifier: Apache-2.0 */
/* OpenMetrics text (1.0), as certbrokerd answers it, in Prometheus's older text format (0.0.4). Pure. */
#pragma once

/*
 * The samples are the same, for ours have neither timestamps nor exemplars. What is said of a family is not: there a
 * counter's name ends in _total and an info's in _info, state sets are gauges, units and the end are unknown. The
 * caller frees it with free(3). -ENOMEM.
 */
int prometheus_of(const char *openmetrics, char **ret_text);
