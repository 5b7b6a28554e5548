/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker: one of each room, made in the order of their dependencies and freed in the reverse one, and the end of the
 * program. What rooms tell each other goes through host.c. It decides nothing of the domain.
 */
#include "broker/broker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "broker/directory.h"
#include "broker/rollback.h"
#include "broker/rooms.h"
#include "broker/source-view.h"

#define LANE_QUEUE_MAX 4096

/* --- the end --- */

static bool is_done(void *userdata)
{
        Broker *broker = userdata;

        return bus_is_idle(broker->bus);
}

static int broker_stop(Broker *broker)
{
        if (broker->shutdown.has_begun)
                return 0;
        notify_stopping(broker->notify);
        log_info("stopping");
        bus_stop(broker->bus);
        return shutdown_begin(&broker->shutdown, broker->event, is_done, broker);
}

static int on_stop_signal(sd_event_source *source, const struct signalfd_siginfo *info,
                          void *userdata)
{
        return broker_stop(userdata);
}

static int on_reload_signal(sd_event_source *source, const struct signalfd_siginfo *info,
                            void *userdata)
{
        Failure failure = { 0 };
        Broker *broker = userdata;

        if (!broker->shutdown.has_begun)
                (void)broker_reload(broker, &failure);
        return 0;
}

/* --- construction --- */

static int make_loop(Broker *broker)
{
        int r;

        r = sd_event_new(&broker->event);
        if (r >= 0)
                r = sd_event_set_watchdog(broker->event, true);
        if (r >= 0)
                r = sd_event_add_signal(broker->event, NULL, SIGTERM, on_stop_signal, broker);
        if (r >= 0)
                r = sd_event_add_signal(broker->event, NULL, SIGINT, on_stop_signal, broker);
        if (r >= 0)
                r = sd_event_add_signal(broker->event, NULL, SIGHUP, on_reload_signal, broker);
        if (r >= 0)
                r = wake_new(broker->event, CLOCK_REALTIME, broker_on_tick, broker, &broker->tick);
        if (r >= 0)
                r = wake_new(broker->event, CLOCK_MONOTONIC, broker_on_retry, broker,
                             &broker->retry);
        if (r >= 0)
                r = clock_watch_new(broker->event, &broker->clock);
        if (r >= 0)
                r = lane_new(broker->event, LANE_QUEUE_MAX, &broker->lane);
        return r < 0 ? r : 0;
}

static int make_rooms(Broker *broker)
{
        ReportRooms report;
        BusRooms rooms;
        int r;

        r = sources_new(broker->event, broker->options.starter, &broker_sources_events, broker,
                        &broker->sources);
        if (r == 0)
                r = signer_new(broker->catalog, broker->sources, &broker->signer);
        if (r == 0)
                r = manage_new(broker->catalog, broker->store, broker->sources, &broker->manage);
        if (r == 0)
                r = metrics_new(&broker->metrics);
        if (r != 0)
                return r;
        signer_observe(broker->signer,
                       &(SignerEvents){ broker_on_key_used, broker_on_held_back }, broker);
        rooms = (BusRooms){
                .event = broker->event,
                .catalog = broker->catalog,
                .sources = broker->sources,
                .source_view = &source_view,
                .manage = broker->manage,
                .signer = broker->signer,
                .metrics = broker->metrics,
        };
        r = bus_new(&rooms, &broker_bus_host, broker, &broker->bus);
        if (r != 0)
                return r;
        report = broker_report_rooms(broker);
        return notify_new(broker->event, &report, broker->options.wait_usec, &broker->notify);
}

/* Tens of thousands of certificates take longer than a service manager waits, which is 90 seconds by default. */
static void tell_that_it_goes_on(void)
{
        sd_notify(0, "EXTEND_TIMEOUT_USEC=30000000");
}

static int make_all(Broker *broker, Config *config, Failure *failure)
{
        int r;

        r = make_loop(broker);
        if (r == 0)
                r = catalog_new(&broker->catalog);
        if (r != 0)
                return fail(failure, r, "the event loop cannot be made: %s",
                            strerrordesc_np(-r));
        r = store_open(config->state_directory, broker->lane, &broker->store, failure);
        if (r != 0)
                return r;
        r = ledger_new(broker->event, broker->lane, broker->store, config, &broker->ledger,
                       failure);
        if (r != 0)
                return r;
        r = make_rooms(broker);
        if (r != 0)
                return fail(failure, r, "there is no memory for the broker");
        r = manage_load(broker->manage, tell_that_it_goes_on, failure);
        if (r != 0)
                return r;
        return rollback_check(broker->ledger, broker->store, broker->catalog, broker->manage,
                              tell_that_it_goes_on, failure);
}

static int open_doors(Broker *broker, Failure *failure)
{
        const Config *config = broker->config;
        const char *bus = broker->options.bus ? broker->options.bus : config->bus;
        int r;

        r = bus_open_channel(broker->bus, config->runtime_directory, failure);
        if (r != 0)
                return BROKER_EXIT_INTERNAL;
        return bus_connect(broker->bus, bus, failure) == 0 ? 0 : BROKER_EXIT_BUS;
}

/* What came back as a number alone. */
static void say_why(Failure *failure, int r)
{
        if (failure->text[0] == '\0')
                fail(failure, r, "certbrokerd cannot start: %s",
                     r < 0 ? strerrordesc_np(-r) : status_word(r));
}

int broker_new(const BrokerOptions *options, Broker **ret_broker, Failure *failure)
{
        CLEANUP(broker_freep) Broker *broker = NULL;
        CLEANUP(config_freep) Config *config = NULL;
        int r;

        r = config_load(options->config, &config, failure);
        if (r != 0)
                return r == -ENOMEM ? BROKER_EXIT_INTERNAL : BROKER_EXIT_CONFIG;
        broker = calloc(1, sizeof(*broker));
        if (!broker) {
                fail(failure, -ENOMEM, "there is no memory for the broker");
                return BROKER_EXIT_INTERNAL;
        }
        broker->options = *options;
        broker->locks = NO_LOCKS;
        r = directories_prepare(config->state_directory, config->runtime_directory,
                                &broker->locks, failure);
        if (r != 0)
                return r == CB_ALREADY_EXISTS ? BROKER_EXIT_BUS : BROKER_EXIT_INTERNAL;
        r = make_all(broker, config, failure);
        if (r == 0)
                r = broker_put_in_force(broker, config, failure);
        if (r != 0) {
                say_why(failure, r);
                return BROKER_EXIT_INTERNAL;
        }
        TAKE(config);
        r = open_doors(broker, failure);
        if (r != 0)
                return r;
        *ret_broker = TAKE(broker);
        return BROKER_EXIT_OK;
}

int broker_run(Broker *broker)
{
        int r = sd_event_loop(broker->event);

        if (r >= 0)
                return r;
        log_error("the event loop has failed: %s", strerrordesc_np(-r));
        return BROKER_EXIT_INTERNAL;
}

/*
 * What is still in flight is answered while those who asked are there: first what a source owes, then what waits for
 * the disk, which may come of it.
 */
static void settle(Broker *broker)
{
        if (broker->sources)
                sources_stop(broker->sources);
        if (broker->bus)
                bus_settle(broker->bus);
        if (broker->ledger)
                ledger_flush(broker->ledger);
        if (broker->lane)
                lane_drain(broker->lane);
}

Broker *broker_free(Broker *broker)
{
        if (!broker)
                return NULL;
        settle(broker);
        broker->notify = notify_free(broker->notify);
        bus_free(broker->bus);
        metrics_free(broker->metrics);
        manage_free(broker->manage);
        signer_free(broker->signer);
        sources_free(broker->sources);
        ledger_free(broker->ledger);
        store_free(broker->store);
        catalog_free(broker->catalog);
        lane_free(broker->lane);
        shutdown_deinit(&broker->shutdown);
        clock_watch_free(broker->clock);
        wake_free(broker->retry);
        wake_free(broker->tick);
        sd_event_unref(broker->event);
        config_free(broker->config);
        locks_deinit(&broker->locks);
        free(broker);
        return NULL;
}
