/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns on the event loop. Everything that a client sends is read and answered in here, in the order that core/turns.h
 * says, below everything else in priority: sources, the disk and timers never wait for a client for longer than one
 * run. A run takes turns until its time is up.
 */
#include "broker/bus/room.h"

#include "base/clock.h"

#define RUNNER_PRIORITY 20 /* of a deferred source: after those that find out what there is to do */

/* It pays for being found, too: that takes the longer, the more of its kind wait. */
static void take_turn(Bus *bus, Turn *turn, uint64_t began_usec)
{
        TurnPayer payer = turn_payer(turn);

        turn->take(turn->userdata); /* may free it */
        turns_spend(bus->turns, payer, clock_monotonic_usec() - began_usec);
}

/* Who has to wait for his share of time is woken then. */
static void rest(Bus *bus, uint64_t wait_usec)
{
        (void)sd_event_source_set_enabled(bus->runner, SD_EVENT_OFF);
        if (wait_usec == UINT64_MAX ||
            sd_event_source_set_time_relative(bus->runner_timer, wait_usec) < 0)
                return;
        (void)sd_event_source_set_enabled(bus->runner_timer, SD_EVENT_ONESHOT);
}

static int on_run(sd_event_source *source, void *userdata)
{
        uint64_t now_usec = clock_monotonic_usec(), until_usec = now_usec + RUN_USEC, wait_usec;
        Bus *bus = userdata;

        for (; now_usec < until_usec; now_usec = clock_monotonic_usec()) {
                Turn *turn = turns_next(bus->turns, now_usec, &wait_usec);

                if (!turn) {
                        rest(bus, wait_usec);
                        return 0;
                }
                take_turn(bus, turn, now_usec);
        }
        (void)sd_event_source_set_enabled(source, SD_EVENT_ON);
        return 0;
}

static int on_runner_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Bus *bus = userdata;

        (void)sd_event_source_set_enabled(bus->runner, SD_EVENT_ON);
        return 0;
}

void bus_want_turn(Bus *bus, Turn *turn)
{
        turn_want(turn);
        (void)sd_event_source_set_enabled(bus->runner, SD_EVENT_ON);
}

int runner_new(Bus *bus)
{
        int r;

        r = turns_new(turn_classes, ELEMENTSOF(turn_classes), &bus->turns);
        if (r < 0)
                return r;
        r = sd_event_add_defer(bus->rooms.event, &bus->runner, on_run, bus);
        if (r >= 0)
                r = sd_event_source_set_priority(bus->runner, RUNNER_PRIORITY);
        if (r >= 0)
                r = sd_event_source_set_enabled(bus->runner, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(bus->rooms.event, &bus->runner_timer,
                                               CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_runner_timer,
                                               bus);
        if (r >= 0)
                r = sd_event_source_set_enabled(bus->runner_timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(bus->runner, "turns");
        return 0;
}

void runner_free(Bus *bus)
{
        bus->runner = sd_event_source_disable_unref(bus->runner);
        bus->runner_timer = sd_event_source_disable_unref(bus->runner_timer);
        bus->turns = turns_free(bus->turns);
}
