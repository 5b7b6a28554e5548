/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sums of what was refused, or failed, too often for a record each (core/refusals.h): when they are told to the audit
 * log. A record `refusals` for each, within a minute; before somebody reads the log; and at the end. Nothing else
 * brings one about, so that no flood does.
 */
#include "broker/bus/room.h"

#include "base/clock.h"
#include "base/log.h"

#define ACCURACY_USEC USEC_PER_SEC

static void ignore(void *call, int r)
{
        (void)call;
        (void)r;
}

void refusals_tell(Bus *bus)
{
        RefusalSum sum;

        while (refusals_next(bus->refusals, clock_monotonic_usec(), &sum)) {
                if (bus->host.record)
                        bus->host.record(bus->userdata,
                                         &(BusRecord){
                                                 .event = "refusals",
                                                 .uid = sum.uid,
                                                 .result = sum.result,
                                                 .sum = &sum,
                                         },
                                         ignore, NULL);
        }
}

static int on_due(sd_event_source *source, uint64_t usec, void *userdata)
{
        refusals_tell(userdata);
        return 0;
}

/* Without memory they are told with the next that can be, or at the end. */
static void arm(Bus *bus)
{
        uint64_t due_usec = refusals_due(bus->refusals);
        int enabled = SD_EVENT_OFF;

        if (!bus->sums) {
                if (sd_event_add_time(bus->rooms.event, &bus->sums, CLOCK_MONOTONIC, due_usec,
                                      ACCURACY_USEC, on_due, bus) >= 0)
                        (void)sd_event_source_set_description(bus->sums, "refusals");
                return;
        }
        (void)sd_event_source_get_enabled(bus->sums, &enabled);
        if (enabled != SD_EVENT_OFF)
                return;
        (void)sd_event_source_set_time(bus->sums, due_usec);
        (void)sd_event_source_set_enabled(bus->sums, SD_EVENT_ONESHOT);
}

bool refusal_is_single(Bus *bus, uint32_t uid, bool has_grant, MethodId method, const char *result)
{
        const Refusal refusal = {
                .uid = uid,
                .has_grant = has_grant,
                .kind = method,
                .event = method_table[method].name,
                .result = result,
        };

        if (refusals_take(bus->refusals, &refusal, clock_monotonic_usec(), clock_realtime_usec()))
                return true;
        arm(bus);
        return false;
}

void bus_settle(Bus *bus)
{
        refusals_tell(bus);
}
