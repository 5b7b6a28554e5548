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
 * ends again. The ledger says so where there is something. goes_on: now and then, for there may be much to read.
 */
int rollback_check(Ledger *ledger, Store *store, const Catalog *catalog, Manage *manage,
                   void (*goes_on)(void), Failure *failure);
