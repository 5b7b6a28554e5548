/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients can make the broker say: one line of a kind a minute, with how many there were since the last one. What
 * the line does not hold, the metrics do.
 */
#include "broker/bus/room.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

#define COMPLAINT_USEC (60 * USEC_PER_SEC)

/* Is it to be said now? Then it says as well how many were not: " (and 37 more since the last time)". */
static bool is_due(Complaint *complaint, char *ret_more, size_t n)
{
        uint64_t now_usec = clock_monotonic_usec();

        if (complaint->logged_usec != 0 && now_usec - complaint->logged_usec < COMPLAINT_USEC) {
                complaint->n_more++;
                return false;
        }
        ret_more[0] = '\0';
        if (complaint->n_more > 0)
                snprintf(ret_more, n, " (and %" PRIu64 " more since the last time)",
                         complaint->n_more);
        *complaint = (Complaint){ .logged_usec = now_usec };
        return true;
}

static const char *describe_standing(Standing standing)
{
        static const char *const texts[_STANDING_N] = {
                [STANDING_STRANGER] = "no grant names, as one of all such users together",
                [STANDING_GROUP] = "a grant names by a group",
                [STANDING_NAMED] = "a grant names",
                [STANDING_OWNER] = "owns the broker",
        };

        return texts[standing];
}

void note_limit(Bus *bus, Client client, Resource resource)
{
        char more[64];

        quota_note(bus->quota, client, resource, clock_realtime_sec());
        if (is_due(&bus->complaints[client.standing][resource], more, sizeof(more)))
                log_warning("uid %" PRIu32 ", whom %s, has reached its limit of %s%s", client.uid,
                            describe_standing(client.standing), resource_name(resource), more);
}

void complain(Bus *bus, const char *format, ...)
{
        char more[64], text[512];
        va_list arguments;

        if (!is_due(&bus->other_complaint, more, sizeof(more)))
                return;
        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        log_warning("%s%s", text, more);
}
