/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gauges: states of sources, ends of certificates, what is in flight and what the audit log owes the disk; and what is
 * wrong with the broker's own files and configuration, each with its sentence, which `certbroker status` shows. It looks
 * at the rooms as they are now and keeps nothing.
 */
#include "broker/report.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/strings.h"
#include "build-config.h"

#define PROBLEM_MAX 512
#define STALL_USEC  (3 * USEC_PER_SEC) /* no disk that is well takes that long */

static void expose_build(Exposition *exposition)
{
        const MetricLabel labels[] = { { "version", PROJECT_VERSION }, { 0 } };

        exposition_family(exposition, "certbroker_build", "info", NULL, "The version that runs.");
        exposition_sample(exposition, "_info", labels, 1);
}

static void expose_grants(const ReportRooms *rooms, Exposition *exposition)
{
        const MetricLabel labels[] = { { "sha256", rooms->grants_hash }, { 0 } };

        exposition_family(exposition, "certbroker_grants", "info", NULL,
                          "The grants in force, as certbrokerd --check-config --json hashes them.");
        exposition_sample(exposition, "_info", labels, 1);
}

static void expose_in_flight(const ReportRooms *rooms, Exposition *exposition)
{
        exposition_family(exposition, "certbroker_calls_in_flight", "gauge", NULL,
                          "Calls that are not answered yet.");
        exposition_sample(exposition, "", NULL, (double)bus_in_flight(rooms->bus));

        exposition_family(exposition, "certbroker_source_queue", "gauge", NULL,
                          "Requests that a source owes an answer.");
        for (size_t i = 0; i < sources_count(rooms->sources); i++) {
                const Source *source = sources_at(rooms->sources, i);
                const MetricLabel labels[] = { { "source", source_name(source) }, { 0 } };

                exposition_sample(exposition, "", labels, (double)source_in_flight(source));
        }
}

typedef double (*limit_value)(const BusLimit *limit);

static double limit_used(const BusLimit *limit)
{
        return (double)limit->used;
}

static double limit_reached(const BusLimit *limit)
{
        return (double)limit->n_reached;
}

static double limit_first(const BusLimit *limit)
{
        return (double)limit->first_sec;
}

static double limit_last(const BusLimit *limit)
{
        return (double)limit->last_sec;
}

static double limit_uid(const BusLimit *limit)
{
        return limit->uid;
}

/* Each has a sample for every limit and standing, in the same order: `certbroker status` reads them side by side. */
static const struct {
        const char *name, *type, *unit, *suffix, *help;
        limit_value value;
} limit_families[] = {
        { "certbroker_limit_used", "gauge", NULL, "", "What clients have of what is limited.",
          limit_used },
        { "certbroker_limit_reached", "counter", NULL, "_total",
          "How often a client was refused more.", limit_reached },
        { "certbroker_limit_reached_first_seconds", "gauge", "seconds", "",
          "When that was for the first time, as Unix time; 0: never.", limit_first },
        { "certbroker_limit_reached_last_seconds", "gauge", "seconds", "",
          "When that was for the last time, as Unix time; 0: never.", limit_last },
        { "certbroker_limit_reached_uid", "gauge", NULL, "", "Who that was.", limit_uid },
};

static void expose_limits(const ReportRooms *rooms, Exposition *exposition)
{
        BusLimit limit;

        for (size_t i = 0; i < ELEMENTSOF(limit_families); i++) {
                exposition_family(exposition, limit_families[i].name, limit_families[i].type,
                                  limit_families[i].unit, limit_families[i].help);
                for (size_t k = 0; bus_limit_at(rooms->bus, k, &limit); k++) {
                        const MetricLabel labels[] = { { "limit", limit.limit },
                                                       { "standing", limit.standing },
                                                       { 0 } };

                        exposition_sample(exposition, limit_families[i].suffix, labels,
                                          limit_families[i].value(&limit));
                }
        }
}

static void expose_sources(const ReportRooms *rooms, Exposition *exposition)
{
        exposition_family(exposition, "certbroker_source_state", "stateset", NULL,
                          "The state of each source.");
        for (size_t i = 0; i < sources_count(rooms->sources); i++) {
                const Source *source = sources_at(rooms->sources, i);

                for (SourceState state = 0; state < _SOURCE_STATE_N; state++) {
                        const MetricLabel labels[] = {
                                { "source", source_name(source) },
                                { "certbroker_source_state", source_state_name(state) },
                                { 0 },
                        };

                        exposition_sample(exposition, "", labels, source_state(source) == state);
                }
        }
}

static void expose_certificates(const ReportRooms *rooms, Exposition *exposition)
{
        exposition_family(exposition, "certbroker_certificate_not_after_seconds", "gauge",
                          "seconds",
                          "When the current generation of each certificate ends, as Unix time.");
        MAP_FOREACH (catalog_certificates(rooms->catalog), entry) {
                const Generation *generation = certificate_find_generation(entry->value, 0);
                const MetricLabel labels[] = { { "certificate", entry->key }, { 0 } };

                if (generation)
                        exposition_sample(exposition, "", labels,
                                          (double)generation->facts.not_after_sec);
        }
}

typedef double (*certificate_value)(const Certificate *certificate);

static double n_held_back(const Certificate *certificate)
{
        return (double)certificate->n_held_back;
}

static double held_back_sec(const Certificate *certificate)
{
        return (double)certificate->held_back_sec;
}

static double n_unpublished(const Certificate *certificate)
{
        return (double)certificate->n_unpublished;
}

static double unpublished_sec(const Certificate *certificate)
{
        return (double)certificate->unpublished_sec;
}

/* Of those that have had any: what is always 0 is left out. `certbroker status` reads when a signature was held back. */
static const struct {
        const char *name, *type, *unit, *suffix, *help;
        certificate_value value;
} trouble_families[] = {
        { "certbroker_signatures_held_back", "counter", NULL, "_total",
          "Wrong signatures that a certificate's keys made and that did not leave.", n_held_back },
        { "certbroker_signatures_held_back_last_seconds", "gauge", "seconds", "",
          "When that was for the last time, as Unix time.", held_back_sec },
        { "certbroker_rotations_failed", "counter", NULL, "_total",
          "Tries to publish what a certificate's source has newer than the current generation, and "
          "that failed.",
          n_unpublished },
        { "certbroker_rotation_failing_since_seconds", "gauge", "seconds", "",
          "Since when they do, as Unix time; none while nothing newer waits.", unpublished_sec },
};

static void expose_troubles(const ReportRooms *rooms, Exposition *exposition)
{
        for (size_t i = 0; i < ELEMENTSOF(trouble_families); i++) {
                exposition_family(exposition, trouble_families[i].name,
                                  trouble_families[i].type, trouble_families[i].unit,
                                  trouble_families[i].help);
                MAP_FOREACH (catalog_certificates(rooms->catalog), entry) {
                        const Certificate *certificate = entry->value;
                        const MetricLabel labels[] = { { "certificate", entry->key }, { 0 } };

                        if (trouble_families[i].value(certificate) > 0)
                                exposition_sample(exposition, trouble_families[i].suffix, labels,
                                                  trouble_families[i].value(certificate));
                }
        }
}

static void expose_audit(const ReportRooms *rooms, Exposition *exposition)
{
        exposition_family(exposition, "certbroker_audit_records", "counter", NULL,
                          "Records in the audit log since its beginning.");
        exposition_sample(exposition, "_total", NULL, (double)ledger_records(rooms->ledger));
        exposition_family(exposition, "certbroker_audit_summed", "counter", NULL,
                          "Calls that failed and are in the audit log as sums, not one by one.");
        exposition_sample(exposition, "_total", NULL, (double)bus_summed(rooms->bus));
        exposition_family(exposition, "certbroker_audit_lag_records", "gauge", NULL,
                          "Records that are not known to be on the disk yet.");
        exposition_sample(exposition, "", NULL, (double)ledger_lag(rooms->ledger));
        exposition_family(exposition, "certbroker_audit_healthy", "gauge", NULL,
                          "1 while the audit log can be written and fits the store.");
        exposition_sample(exposition, "", NULL, ledger_problem(rooms->ledger)[0] == '\0');
        exposition_family(exposition, "certbroker_audit_lost_records", "gauge", NULL,
                          "Records that could not be written, and that the log does not tell of yet.");
        exposition_sample(exposition, "", NULL, (double)ledger_lost(rooms->ledger));
}

static void expose_disk(const ReportRooms *rooms, Exposition *exposition)
{
        exposition_family(exposition, "certbroker_disk_wait_seconds", "gauge", "seconds",
                          "For how long what is being made durable has waited for its disk.");
        exposition_sample(exposition, "", NULL,
                          (double)lane_busy_usec(rooms->lane) / (double)USEC_PER_SEC);
}

static void expose_store(const ReportRooms *rooms, Exposition *exposition)
{
        size_t n_withheld = 0;

        exposition_family(exposition, "certbroker_store_healthy", "gauge", NULL,
                          "1 while what is changed can be stored.");
        exposition_sample(exposition, "", NULL, store_problem(rooms->store)[0] == '\0');
        exposition_family(exposition, "certbroker_withheld_certificates", "gauge", NULL,
                          "Certificates that an older store brought back, and that wait for a person.");
        MAP_FOREACH (catalog_certificates(rooms->catalog), entry)
                n_withheld += certificate_is_withheld(entry->value);
        exposition_sample(exposition, "", NULL, (double)n_withheld);
}

/* There may be a path in it, which is no text to rely on. */
static void expose_problem(Exposition *exposition, const char *object, const char *reason)
{
        CLEANUP(freep) char *text = text_escape(reason, strlen(reason), PROBLEM_MAX);
        const MetricLabel labels[] = { { "object", object }, { "reason", text }, { 0 } };

        if (reason[0] && text)
                exposition_sample(exposition, "_info", labels, 1);
}

static void expose_missing(void *exposition, const char *source, const char *text)
{
        char object[IDENTIFIER_LENGTH_MAX + sizeof("source/")];

        snprintf(object, sizeof(object), "source/%s", source);
        expose_problem(exposition, object, text);
}

static void expose_stall(const ReportRooms *rooms, Exposition *exposition)
{
        uint64_t busy_usec = lane_busy_usec(rooms->lane);
        char text[192];

        if (busy_usec < STALL_USEC)
                return;
        snprintf(text, sizeof(text),
                 "it has not answered for %llu s: changes wait for it, and with audit-sync = "
                 "\"always\" all that is recorded; see the system's log",
                 (unsigned long long)(busy_usec / USEC_PER_SEC));
        expose_problem(exposition, "disk", text);
}

static void expose_problems(const ReportRooms *rooms, Exposition *exposition)
{
        exposition_family(exposition, "certbroker_problem", "info", NULL,
                          "What needs somebody, in words.");
        expose_stall(rooms, exposition);
        expose_problem(exposition, "audit log", ledger_problem(rooms->ledger));
        expose_problem(exposition, "store", store_problem(rooms->store));
        expose_problem(exposition, "store", ledger_rollback(rooms->ledger));
        manage_each_missing(rooms->manage, expose_missing, exposition);
}

int report_make(const ReportRooms *rooms, char **ret_text)
{
        Exposition exposition;
        int r = exposition_init(&exposition);

        if (r < 0)
                return r;

        expose_build(&exposition);
        expose_grants(rooms, &exposition);
        metrics_expose(rooms->metrics, &exposition);
        expose_in_flight(rooms, &exposition);
        expose_limits(rooms, &exposition);
        expose_sources(rooms, &exposition);
        expose_certificates(rooms, &exposition);
        expose_troubles(rooms, &exposition);
        expose_audit(rooms, &exposition);
        expose_disk(rooms, &exposition);
        expose_store(rooms, &exposition);
        expose_problems(rooms, &exposition);
        return exposition_finish(&exposition, ret_text);
}
