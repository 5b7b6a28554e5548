/* SPDX-License-Identifier: Apache-2.0 */
/* The report: everything that GetMetrics answers, gathered from the rooms. */
#pragma once

#include "broker/bus/bus.h"
#include "broker/ledger.h"
#include "broker/metrics/metrics.h"
#include "broker/sources/sources.h"
#include "core/catalog.h"
#include "loop/lane.h"

typedef struct ReportRooms {
        const Metrics *metrics;
        const Sources *sources;
        const Catalog *catalog;
        const Ledger *ledger;
        const Manage *manage;
        Store *store;
        Lane *lane;
        const Bus *bus;
        const char *grants_hash; /* config_hash_grants() of those in force; empty: not known */
} ReportRooms;

/* OpenMetrics text, the caller's; -ENOMEM. */
int report_make(const ReportRooms *rooms, char **ret_text);
