/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker: one of each room, made in the order of their dependencies and freed in the reverse one. It
 * passes between rooms what they may not know of each other (a source's state to manage and to the bus,
 * a reload to all), and ends the program. It decides nothing of the domain.
 */
#include "broker/broker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/log.h"
#include "broker/bus/bus.h"
#include "broker/config/config.h"
#include "broker/directory.h"
#include "broker/ledger.h"
#include "broker/manage/manage.h"
#include "broker/metrics/metrics.h"
#include "broker/report.h"
#include "broker/shutdown.h"
#include "broker/sign/sign.h"
#include "broker/source-view.h"
#include "broker/sources/sources.h"
#include "broker/store/store.h"
#include "broker/wake.h"
#include "loop/lane.h"

#define LANE_QUEUE_MAX 4096

struct Broker {
        BrokerOptions options;
        Config *config;
        sd_event *event;
        Lane *lane;
        Catalog *catalog;
        Store *store;
        Sources *sources;
        Signer *signer;
        Manage *manage;
        Ledger *ledger;
        Metrics *metrics;
        Bus *bus;
        Wake *tick; /* when manage wants to be woken */
        Shutdown shutdown;
        int lock_fd; /* of the state directory: one broker to each */
};

/* --- between rooms --- */

static void on_source_added(void *userdata, Source *source)
{
        Broker *broker = userdata;

        if (broker->bus)
                bus_source_added(broker->bus, source_name(source));
}

static void on_source_changed(void *userdata, Source *source)
{
        Broker *broker = userdata;

        if (broker->manage)
                manage_source_changed(broker->manage, source);
        if (broker->bus)
                bus_source_changed(broker->bus, source_name(source));
}

static void on_source_removed(void *userdata, const char *name)
{
        Broker *broker = userdata;

        if (broker->bus)
                bus_source_removed(broker->bus, name);
}

static const SourcesEvents sources_events = {
        .added = on_source_added,
        .changed = on_source_changed,
        .removed = on_source_removed,
};

static void on_tick(void *userdata)
{
        Broker *broker = userdata;

        manage_tick(broker->manage);
}

static void host_wake_at(void *userdata, uint64_t realtime_sec)
{
        Broker *broker = userdata;

        wake_at(broker->tick, realtime_sec);
}

/* --- configuration --- */

static void log_warnings(const Config *config)
{
        for (char **warning = config->warnings; warning && *warning; warning++)
                log_warning("%s", *warning);
}

/* Hands a good configuration to every room; what was in force before is freed after. */
static int put_in_force(Broker *broker, Config *config, Failure *failure)
{
        Config *before = broker->config;
        int r;

        r = sources_configure(broker->sources, config);
        if (r < 0) {
                fail(failure, r, "the sources cannot be configured");
                if (before)
                        (void)sources_configure(broker->sources, before);
                return r;
        }
        broker->config = config;
        signer_configure(broker->signer, config);
        manage_configure(broker->manage, config);
        ledger_configure(broker->ledger, config);
        bus_configure(broker->bus, &config->grants, config->max_in_flight_per_client);
        log_warnings(config);
        config_free(before);
        return 0;
}

static int host_reload(void *userdata, Failure *failure)
{
        CLEANUP(config_freep) Config *config = NULL;
        Broker *broker = userdata;
        int r;

        sd_notify(0, "RELOADING=1");
        r = config_load(broker->options.config, &config, failure);
        if (r == 0)
                r = put_in_force(broker, config, failure);
        if (r == 0) {
                TAKE(config);
                log_info("the configuration has been read again");
        } else {
                log_error("the configuration stays as it was: %s", failure->text);
        }
        sd_notify(0, "READY=1");
        return r;
}

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
        sd_notify(0, "STOPPING=1");
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
                (void)host_reload(broker, &failure);
        return 0;
}

static void host_ready(void *userdata)
{
        sd_notify(0, "READY=1");
        log_info("ready");
}

static void host_ended(void *userdata, BusEnd end, const char *text)
{
        Broker *broker = userdata;

        if (broker->shutdown.has_begun)
                return;
        log_error("%s", text);
        (void)sd_event_exit(broker->event, BROKER_EXIT_BUS);
}

static void host_record(void *userdata, const BusRecord *record, bus_recorded done, void *call)
{
        Broker *broker = userdata;

        ledger_record(broker->ledger, record, done, call);
}

static int host_may_record(void *userdata, Failure *failure)
{
        Broker *broker = userdata;

        return ledger_may_record(broker->ledger, failure);
}

static int host_open_audit(void *userdata, int *ret_fd, uint64_t *ret_seq,
                           char ret_hash[THUMBPRINT_TEXT])
{
        Broker *broker = userdata;

        return ledger_open(broker->ledger, ret_fd, ret_seq, ret_hash);
}

static int host_report(void *userdata, char **ret_text)
{
        Broker *broker = userdata;
        const ReportRooms rooms = { broker->metrics, broker->sources, broker->catalog,
                                    broker->ledger, broker->bus };

        return report_make(&rooms, ret_text);
}

static const BusHost bus_host = {
        .report = host_report,
        .record = host_record,
        .may_record = host_may_record,
        .open_audit = host_open_audit,
        .reload = host_reload,
        .wake_at = host_wake_at,
        .ready = host_ready,
        .ended = host_ended,
};

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
                r = wake_new(broker->event, on_tick, broker, &broker->tick);
        if (r >= 0)
                r = lane_new(broker->event, LANE_QUEUE_MAX, &broker->lane);
        return r < 0 ? r : 0;
}

static int make_rooms(Broker *broker)
{
        BusRooms rooms;
        int r;

        r = sources_new(broker->event, broker->options.helper, &sources_events, broker,
                        &broker->sources);
        if (r == 0)
                r = signer_new(broker->catalog, broker->sources, &broker->signer);
        if (r == 0)
                r = manage_new(broker->catalog, broker->store, broker->sources, &broker->manage);
        if (r == 0)
                r = metrics_new(&broker->metrics);
        if (r != 0)
                return r;
        rooms = (BusRooms){
                .event = broker->event,
                .catalog = broker->catalog,
                .sources = broker->sources,
                .source_view = &source_view,
                .manage = broker->manage,
                .signer = broker->signer,
                .metrics = broker->metrics,
        };
        return bus_new(&rooms, &bus_host, broker, &broker->bus);
}

static int make_all(Broker *broker, Config *config, Failure *failure)
{
        int r;

        r = make_loop(broker);
        if (r == 0)
                r = catalog_new(&broker->catalog);
        if (r != 0)
                return fail(failure, r, "the event loop cannot be made");
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
        return manage_load(broker->manage, failure);
}

/* First the channel: whoever holds it is another broker of the same directories. */
static int open_doors(Broker *broker, Failure *failure)
{
        const Config *config = broker->config;
        const char *bus = broker->options.bus ? broker->options.bus : config->bus;
        int r;

        r = bus_open_channel(broker->bus, config->runtime_directory, failure);
        if (r != 0)
                return r == CB_ALREADY_EXISTS ? BROKER_EXIT_BUS : BROKER_EXIT_INTERNAL;
        return bus_connect(broker->bus, bus, failure) == 0 ? 0 : BROKER_EXIT_BUS;
}

int broker_new(const BrokerOptions *options, Broker **ret_broker, Failure *failure)
{
        CLEANUP(broker_freep) Broker *broker = NULL;
        CLEANUP(config_freep) Config *config = NULL;
        int r;

        if (config_load(options->config, &config, failure) != 0)
                return BROKER_EXIT_CONFIG;
        broker = calloc(1, sizeof(*broker));
        if (!broker) {
                fail(failure, -ENOMEM, "there is no memory for the broker");
                return BROKER_EXIT_INTERNAL;
        }
        broker->options = *options;
        broker->lock_fd = -1;
        r = directories_prepare(config->state_directory, config->runtime_directory,
                                &broker->lock_fd, failure);
        if (r != 0)
                return r == CB_ALREADY_EXISTS ? BROKER_EXIT_BUS : BROKER_EXIT_INTERNAL;
        if (make_all(broker, config, failure) != 0 || put_in_force(broker, config, failure) != 0)
                return BROKER_EXIT_INTERNAL;
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

        return r < 0 ? BROKER_EXIT_INTERNAL : r;
}

/*
 * What is still in flight is answered while those who asked are there: first what a source owes, then what waits for
 * the disk, which may come of it.
 */
static void settle(Broker *broker)
{
        if (broker->sources)
                sources_stop(broker->sources);
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
        wake_free(broker->tick);
        sd_event_unref(broker->event);
        config_free(broker->config);
        close_fd(broker->lock_fd);
        free(broker);
        return NULL;
}
