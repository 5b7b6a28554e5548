/* SPDX-License-Identifier: Apache-2.0 */
/* Patience: which outcomes may pass, and how long is waited between two tries. It asks nothing itself. */
#include "source/azure-key-vault/patience.h"

#include "base/clock.h"

#define AGAIN_USEC (500 * USEC_PER_MSEC)

Patience patience_begin(bool is_new, uint64_t deadline_usec)
{
        uint64_t now_usec = clock_monotonic_usec();

        return (Patience){ .until_usec = is_new ? now_usec + PATIENCE_SEC * USEC_PER_SEC : 0,
                           .deadline_usec = deadline_usec };
}

static bool may_pass(int status)
{
        return status == CB_NOT_FOUND || status == CB_SOURCE_UNAVAILABLE || status == CB_THROTTLED;
}

bool patience_wait(Patience *patience, int status)
{
        if (!may_pass(status) || clock_monotonic_usec() >= patience->until_usec)
                return false;
        patience->n++;
        return vault_sleep(AGAIN_USEC + vault_random() % AGAIN_USEC, patience->deadline_usec);
}
