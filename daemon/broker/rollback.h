/* SPDX-License-Identifier: Apache-2.0 */
/* A store that is older than the audit log: what is done about it at start. */
#pragma once

#include "base/failure.h"
#include "broker/ledger.h"
#include "broker/manage/manage.h"
#include "broker/store/store.h"
#include "core/catalog.h"

/*
 * Once, when the catalog is filled and before anybody can ask: what the log knows to have ended, and the store does not,
 * ends again. The ledger says so where there is something.
 */
int rollback_check(Ledger *ledger, Store *store, const Catalog *catalog, Manage *manage,
                   Failure *failure);
