/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Look-ups whose time has come. Thousands may be due at once: after a restart, an outage, a suspension. They wait here,
 * where no deadline runs, in a line for each source: whose time came first goes first, and no more are on their way at
 * once than a source works at for the broker. So what a person asks for, and what signs, find room at the source.
 *
 * A source that has no room for now (its budget is used up, its vault has asked to wait) holds the line, and nothing is
 * noted of the certificate: it is still due, and goes first when the clock is looked at again.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "broker/manage/room.h"

#define ON_WAY_MAX 8
/* What is due and waits is looked at again after this. */
#define AGAIN_SEC 5

typedef struct Line Line;

/* One of those on their way. */
typedef struct Place {
        Line *line;
        char *id; /* NULL: it is free */
} Place;

struct Line {
        Manage *manage;
        char *source;
        Place places[ON_WAY_MAX];
        bool held; /* until the clock is looked at again */
        bool told; /* the log, of that */
        bool stepping;
};

static Line *line_free(Line *line)
{
        if (!line)
                return NULL;

        for (size_t i = 0; i < ON_WAY_MAX; i++)
                free(line->places[i].id);
        free(line->source);
        free(line);
        return NULL;
}
DEFINE_CLEANUP(Line, line_free)

void due_deinit(Map *lines)
{
        MAP_FOREACH (lines, entry)
                line_free(entry->value);
        map_deinit(lines);
}

static Line *line_of(Manage *manage, const char *source)
{
        CLEANUP(line_freep) Line *line = NULL;
        Line *found = map_find(&manage->lines, source);

        if (found)
                return found;

        line = calloc(1, sizeof(*line));
        if (!line || string_set(&line->source, source) < 0)
                return NULL;

        line->manage = manage;
        if (map_put(&manage->lines, line->source, line) < 0)
                return NULL;
        return TAKE(line);
}

static bool is_served(const Manage *manage, const char *name)
{
        Source *source = sources_find(manage->sources, name);

        return source && source_state_serves(source_state(source));
}

static bool is_due(const Certificate *certificate, uint64_t now_sec)
{
        return certificate->next_refresh_sec != 0 && certificate->next_refresh_sec <= now_sec;
}

/* Of those that nobody is looking up, the one whose time came first; NULL: none. */
static const Certificate *first_of(const Line *line)
{
        uint64_t now_sec = clock_realtime_sec();
        const Certificate *first = NULL;

        MAP_FOREACH (catalog_certificates(line->manage->catalog), entry) {
                const Certificate *certificate = entry->value;

                if (is_due(certificate, now_sec) &&
                    (!first || certificate->next_refresh_sec < first->next_refresh_sec) &&
                    string_equal(certificate->source, line->source) &&
                    !map_find(&line->manage->refreshing, certificate->id))
                        first = certificate;
        }
        return first;
}

static Place *free_place(Line *line)
{
        for (size_t i = 0; i < ON_WAY_MAX; i++)
                if (!line->places[i].id)
                        return &line->places[i];
        return NULL;
}

static void hold(Line *line)
{
        line->held = true;
        notice_rearm_at(line->manage, clock_realtime_sec() + AGAIN_SEC);
}

/* Said once for as long as there is somebody in the line, not for each. */
static void tell(Line *line, const Failure *failure)
{
        if (!line->told)
                log_info("source '%s': look-ups that are due wait, and are made later: %s",
                         line->source, failure->text);
        line->told = true;
}

static void step(Line *line);

/* What went wrong is in the certificate's LastError, or the source's; it is not due again at once. */
static void on_looked_up(void *userdata, const Failure *failure)
{
        Place *place = userdata;
        Line *line = place->line;
        CLEANUP(freep) char *id = TAKE(place->id);

        if (look_up_has_no_room(failure->status))
                tell(line, failure);
        else if (failure->status != 0)
                look_up_put_off(line->manage, id);
        /* Or: answered from within the submission, since it takes no request now. */
        if (look_up_has_no_room(failure->status) || (line->stepping && failure->status != 0))
                hold(line);
        step(line);
}

/* Who comes here from within a submission leaves the rest to the loop that submitted. */
static void step(Line *line)
{
        Place *place;

        if (line->stepping)
                return;

        line->stepping = true;
        while (!line->held && is_served(line->manage, line->source) &&
               (place = free_place(line))) {
                const Certificate *certificate = first_of(line);

                line->told = line->told && certificate;
                if (!certificate || string_set(&place->id, certificate->id) < 0)
                        break;
                place->line = line;
                refresh_certificate(line->manage, place->id, true, on_looked_up, place);
        }
        line->stepping = false;
}

uint64_t refresh_next(const Manage *manage, const Certificate *certificate, uint64_t now_sec)
{
        if (certificate->next_refresh_sec > now_sec)
                return certificate->next_refresh_sec;
        if (certificate->next_refresh_sec == 0 || !is_served(manage, certificate->source))
                return 0;
        return now_sec + AGAIN_SEC;
}

static void go_on(Line *line)
{
        line->held = false;
        step(line);
}

void due_begin(Manage *manage, const char *source)
{
        Line *line = line_of(manage, source);

        if (line)
                go_on(line);
}

void refresh_due(Manage *manage, uint64_t now_sec)
{
        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                const Certificate *certificate = entry->value;

                if (is_due(certificate, now_sec))
                        (void)line_of(manage, certificate->source);
        }
        MAP_FOREACH (&manage->lines, entry)
                go_on(entry->value);
}
