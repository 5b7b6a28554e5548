/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gauges: states of sources, ends of certificates, what is in flight and what the audit log owes the disk. It looks at
 * the rooms as they are now and keeps nothing.
 */
#include "broker/report.h"

#include "build-config.h"

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
        expose_sources(rooms, &exposition);
        expose_certificates(rooms, &exposition);
        expose_audit(rooms, &exposition);
        return exposition_finish(&exposition, ret_text);
}
