/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and latency histograms in memory. Counting never fails: without memory for a new series nothing is counted
 * there. It reads no clock: durations are arguments.
 */
#include "broker/metrics/metrics.h"

#include <errno.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/strings.h"

#define SERIES_MAX 2048
#define OTHER      "other"

/* Upper bounds: from a cached answer to a vault that is slow. */
static const struct {
        uint64_t usec;
        const char *seconds;
} bounds[] = {
        { 100, "0.0001" },  { 250, "0.00025" }, { 500, "0.0005" },  { 1000, "0.001" },
        { 2500, "0.0025" }, { 5000, "0.005" },  { 10000, "0.01" },  { 25000, "0.025" },
        { 50000, "0.05" },  { 100000, "0.1" },  { 250000, "0.25" }, { 500000, "0.5" },
        { 1000000, "1.0" }, { 2500000, "2.5" }, { 5000000, "5.0" }, { 20000000, "20.0" },
};

typedef struct Histogram {
        char *operation, *source;
        uint64_t buckets[ELEMENTSOF(bounds)];
        uint64_t n;
        double sum_sec;
} Histogram;

typedef struct Counter {
        char *operation, *source, *outcome;
        uint64_t n;
} Counter;

struct Metrics {
        Map counters;   /* "operation/source/outcome" */
        Map histograms; /* "operation/source" */
        Map hits;       /* "/source/fresh", "/source/stale" */
};

int metrics_new(Metrics **ret_metrics)
{
        Metrics *metrics = calloc(1, sizeof(*metrics));

        if (!metrics)
                return -ENOMEM;
        map_init(&metrics->counters);
        map_init(&metrics->histograms);
        map_init(&metrics->hits);
        *ret_metrics = metrics;
        return 0;
}

static void counter_free(Counter *counter)
{
        free(counter->operation);
        free(counter->source);
        free(counter->outcome);
        free(counter);
}

static void histogram_free(Histogram *histogram)
{
        free(histogram->operation);
        free(histogram->source);
        free(histogram);
}

Metrics *metrics_free(Metrics *metrics)
{
        if (!metrics)
                return NULL;

        MAP_FOREACH (&metrics->counters, entry)
                counter_free(entry->value);
        MAP_FOREACH (&metrics->histograms, entry)
                histogram_free(entry->value);
        MAP_FOREACH (&metrics->hits, entry)
                counter_free(entry->value);
        map_deinit(&metrics->counters);
        map_deinit(&metrics->histograms);
        map_deinit(&metrics->hits);
        free(metrics);
        return NULL;
}

static Counter *counter_of(Map *counters, const char *operation, const char *source,
                           const char *outcome)
{
        CLEANUP(freep) char *key = NULL;
        Counter *counter;

        if (asprintf(&key, "%s/%s/%s", operation, source, outcome) < 0)
                return NULL;
        counter = map_find(counters, key);
        if (counter)
                return counter;

        counter = calloc(1, sizeof(*counter));
        if (!counter)
                return NULL;
        if (string_set(&counter->operation, operation) < 0 ||
            string_set(&counter->source, source) < 0 ||
            string_set(&counter->outcome, outcome) < 0 || map_put(counters, key, counter) < 0) {
                counter_free(counter);
                return NULL;
        }
        return counter;
}

static Histogram *histogram_of(Metrics *metrics, const char *operation, const char *source)
{
        CLEANUP(freep) char *key = NULL;
        Histogram *histogram;

        if (asprintf(&key, "%s/%s", operation, source) < 0)
                return NULL;
        histogram = map_find(&metrics->histograms, key);
        if (histogram)
                return histogram;

        histogram = calloc(1, sizeof(*histogram));
        if (!histogram)
                return NULL;
        if (string_set(&histogram->operation, operation) < 0 ||
            string_set(&histogram->source, source) < 0 ||
            map_put(&metrics->histograms, key, histogram) < 0) {
                histogram_free(histogram);
                return NULL;
        }
        return histogram;
}

static void observe(Histogram *histogram, uint64_t duration_usec)
{
        for (size_t i = 0; i < ELEMENTSOF(bounds); i++) {
                if (duration_usec <= bounds[i].usec)
                        histogram->buckets[i]++; /* cumulative, as the format wants them */
        }
        histogram->n++;
        histogram->sum_sec += (double)duration_usec / 1e6;
}

void metrics_count(Metrics *metrics, const char *operation, const char *source, const char *outcome,
                   uint64_t duration_usec)
{
        bool is_full = metrics->counters.n >= SERIES_MAX;
        Counter *counter;
        Histogram *histogram = NULL;

        counter = is_full ? counter_of(&metrics->counters, OTHER, OTHER, OTHER)
                          : counter_of(&metrics->counters, operation, source, outcome);
        if (duration_usec != METRICS_NO_DURATION)
                histogram = is_full ? histogram_of(metrics, OTHER, OTHER)
                                    : histogram_of(metrics, operation, source);
        if (counter)
                counter->n++;
        if (histogram)
                observe(histogram, duration_usec);
}

void metrics_count_hit(Metrics *metrics, const char *source, bool stale)
{
        Counter *counter;

        if (metrics->hits.n >= SERIES_MAX)
                source = OTHER;
        counter = counter_of(&metrics->hits, "", source, stale ? "stale" : "fresh");
        if (counter)
                counter->n++;
}

static void expose_histogram(const Histogram *histogram, Exposition *exposition)
{
        MetricLabel labels[] = { { "operation", histogram->operation },
                                 { "source", histogram->source },
                                 { "le", "+Inf" },
                                 { 0 } };

        for (size_t i = 0; i < ELEMENTSOF(bounds); i++) {
                labels[2].value = bounds[i].seconds;
                exposition_sample(exposition, "_bucket", labels, (double)histogram->buckets[i]);
        }
        labels[2].value = "+Inf";
        exposition_sample(exposition, "_bucket", labels, (double)histogram->n);
        labels[2].name = NULL;
        exposition_sample(exposition, "_count", labels, (double)histogram->n);
        exposition_sample(exposition, "_sum", labels, histogram->sum_sec);
}

static void expose_hits(const Metrics *metrics, Exposition *exposition)
{
        exposition_family(exposition, "certbroker_cache_hits", "counter", NULL,
                          "Credentials answered from what is kept of their source, which served "
                          "then (fresh) or did not (stale).");
        MAP_FOREACH (&metrics->hits, entry) {
                const Counter *counter = entry->value;
                const MetricLabel labels[] = {
                        { "source", counter->source },
                        { "state", counter->outcome },
                        { 0 },
                };

                exposition_sample(exposition, "_total", labels, (double)counter->n);
        }
}

void metrics_expose(const Metrics *metrics, Exposition *exposition)
{
        exposition_family(exposition, "certbroker_requests", "counter", NULL,
                          "Calls answered, by operation, source of the key and outcome.");
        MAP_FOREACH (&metrics->counters, entry) {
                const Counter *counter = entry->value;
                const MetricLabel labels[] = {
                        { "operation", counter->operation },
                        { "source", counter->source },
                        { "outcome", counter->outcome },
                        { 0 },
                };

                exposition_sample(exposition, "_total", labels, (double)counter->n);
        }

        exposition_family(exposition, "certbroker_request_duration_seconds", "histogram", "seconds",
                          "Time from a call to its answer, by operation and source of the key.");
        MAP_FOREACH (&metrics->histograms, entry)
                expose_histogram(entry->value, exposition);
        expose_hits(metrics, exposition);
}
