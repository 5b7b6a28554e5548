/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is tried again after a while: trials of suspected keys, keys to be taken back, deletions that
 * were cut off, what is withheld and not stored yet, look-ups for which a source had no room. By the monotonic clock, so that whoever
 * sets the date neither hastens nor delays it. What is due at a date is notice.c's.
 */
#include "base/clock.h"
#include "broker/manage/room.h"

static uint64_t sooner(uint64_t a, uint64_t b)
{
        return a == 0 || b == 0 ? a + b : MIN(a, b);
}

static uint64_t next(const Manage *manage, uint64_t now_usec)
{
        uint64_t next_usec = sweep_next(manage, now_usec);

        MAP_FOREACH (catalog_certificates(manage->catalog), entry)
                next_usec = sooner(next_usec, suspect_next(entry->value, now_usec));
        next_usec = sooner(next_usec, intents_next(manage));
        next_usec = sooner(next_usec, endings_next(manage));
        return sooner(next_usec, withholding_next(manage));
}

void retry_at(Manage *manage, uint64_t monotonic_usec)
{
        if (monotonic_usec == 0 ||
            (manage->retry_usec != 0 && monotonic_usec >= manage->retry_usec))
                return;
        manage->retry_usec = monotonic_usec;
        if (manage->events.retry_at)
                manage->events.retry_at(manage->events_userdata, monotonic_usec);
}

void manage_retry(Manage *manage)
{
        uint64_t now_usec = clock_monotonic_usec();

        manage->retry_usec = 0;
        suspects_try_due(manage, now_usec);
        intents_retry(manage, now_usec);
        endings_retry(manage, now_usec);
        withholding_retry(manage, now_usec);
        sweep_resume(manage);
        retry_at(manage, next(manage, now_usec));
}
