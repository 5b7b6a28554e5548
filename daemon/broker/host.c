/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between rooms: what one has to tell or ask another that it may not know. A source's state goes to manage and to the
 * bus, a reload to all, a record of the bus to the ledger. Each function passes something on; none decides anything.
 */
#include <systemd/sd-event.h>

#include "base/log.h"
#include "broker/print.h"
#include "broker/report.h"
#include "broker/rooms.h"

ReportRooms broker_report_rooms(const Broker *broker)
{
        return (ReportRooms){
                .metrics = broker->metrics,
                .sources = broker->sources,
                .catalog = broker->catalog,
                .ledger = broker->ledger,
                .manage = broker->manage,
                .store = broker->store,
                .lane = broker->lane,
                .bus = broker->bus,
                .grants_hash = broker->grants_hash,
        };
}

/* --- from sources, sign, manage and the ledger --- */

static void touch(Broker *broker)
{
        if (broker->notify)
                notify_touch(broker->notify);
}

static void on_health(void *userdata)
{
        touch(userdata);
}

static void on_source_added(void *userdata, Source *source)
{
        Broker *broker = userdata;

        if (broker->manage)
                manage_source_added(broker->manage, source);
        if (broker->bus)
                bus_source_added(broker->bus, source_name(source));
        touch(broker);
}

static void on_source_changed(void *userdata, Source *source)
{
        Broker *broker = userdata;

        if (broker->manage)
                manage_source_changed(broker->manage, source);
        if (broker->bus)
                bus_source_changed(broker->bus, source_name(source));
        touch(broker);
}

static void on_source_removed(void *userdata, const char *name)
{
        Broker *broker = userdata;

        if (broker->bus)
                bus_source_removed(broker->bus, name);
        touch(broker);
}

/* Nobody else can start a source: systemd starts all of it anew. */
static void on_starter_lost(void *userdata)
{
        Broker *broker = userdata;

        log_error("the process that starts the sources' has ended, and all sources with it: "
                  "certbrokerd ends, too");
        (void)sd_event_exit(broker->event, BROKER_EXIT_INTERNAL);
}

const SourcesEvents broker_sources_events = {
        .added = on_source_added,
        .changed = on_source_changed,
        .removed = on_source_removed,
        .ask = broker_on_ask,
        .starter_lost = on_starter_lost,
};

void broker_on_tick(void *userdata)
{
        Broker *broker = userdata;

        clock_watch_look(broker->clock);
        manage_tick(broker->manage);
        touch(broker);
}

void broker_on_retry(void *userdata)
{
        Broker *broker = userdata;

        manage_retry(broker->manage);
}

void broker_on_key_used(void *userdata, const char *id, uint64_t generation, int status)
{
        Broker *broker = userdata;

        manage_key_used(broker->manage, id, generation, status);
}

void broker_on_held_back(void *userdata, const char *id, uint64_t generation, Algorithm algorithm)
{
        Broker *broker = userdata;

        manage_key_suspected(broker->manage, id, generation, algorithm);
}

static void host_wake_at(void *userdata, uint64_t realtime_sec)
{
        Broker *broker = userdata;

        wake_at(broker->tick, MIN(realtime_sec, UINT64_MAX / USEC_PER_SEC - 1) * USEC_PER_SEC);
}

static void host_retry_at(void *userdata, uint64_t monotonic_usec)
{
        Broker *broker = userdata;

        wake_at(broker->retry, monotonic_usec);
}

/* --- configuration --- */

static void log_warnings(const Config *config)
{
        for (char **warning = config->warnings; warning && *warning; warning++)
                log_warning("%s", *warning);
}

/* Hands a good configuration to every room; what was in force before is freed after. */
int broker_put_in_force(Broker *broker, Config *config, Failure *failure)
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
        if (config_hash_grants(config, broker->grants_hash) != 0)
                broker->grants_hash[0] = '\0';
        signer_configure(broker->signer, config);
        manage_configure(broker->manage, config);
        ledger_configure(broker->ledger, config);
        ledger_observe(broker->ledger, on_health, broker);
        bus_configure(broker->bus, config->grants, config->max_in_flight_per_client);
        log_warnings(config);
        config_free(before);
        return 0;
}

int broker_reload(void *userdata, Failure *failure)
{
        CLEANUP(config_freep) Config *config = NULL;
        Broker *broker = userdata;
        int r;

        notify_reloading(broker->notify);
        clock_watch_look(broker->clock);
        r = config_load(broker->options.config, &config, failure);
        if (r == 0)
                r = broker_put_in_force(broker, config, failure);
        if (r == 0) {
                TAKE(config);
                log_info("the configuration has been read again");
        } else {
                log_error("the configuration stays as it was: %s", failure->text);
        }
        notify_reloaded(broker->notify, r != 0);
        return r;
}

/* --- for the bus --- */

static void host_ready(void *userdata)
{
        Broker *broker = userdata;

        notify_owned(broker->notify);
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
        touch(broker);
}

static int host_may_record(void *userdata, Failure *failure)
{
        Broker *broker = userdata;

        return ledger_may_record(broker->ledger, failure);
}

static const char *host_record_problem(void *userdata)
{
        Broker *broker = userdata;

        return ledger_problem(broker->ledger);
}

static int host_open_audit(void *userdata, int *ret_fd, uint64_t *ret_seq,
                           char ret_hash[THUMBPRINT_TEXT])
{
        Broker *broker = userdata;

        return ledger_open(broker->ledger, ret_fd, ret_seq, ret_hash);
}

static int host_report(void *userdata, char **ret_text)
{
        const ReportRooms rooms = broker_report_rooms(userdata);

        return report_make(&rooms, ret_text);
}

const BusHost broker_bus_host = {
        .report = host_report,
        .record = host_record,
        .may_record = host_may_record,
        .record_problem = host_record_problem,
        .open_audit = host_open_audit,
        .reload = broker_reload,
        .wake_at = host_wake_at,
        .retry_at = host_retry_at,
        .ready = host_ready,
        .ended = host_ended,
};
