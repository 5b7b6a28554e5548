/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When did a source last serve? What max-stale is counted from, also over a restart: a note in the store,
 * behind the truth by ten minutes or an eighth of max-stale at most. A certificate's own LastRefresh would
 * not do, for one that is pinned is looked up when its source begins to serve, and then no more. It decides
 * nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "broker/manage/room.h"

#define NOTE_PREFIX "served/"
#define KEPT_SEC    600

void served_deinit(Map *served)
{
        MAP_FOREACH (served, entry)
                free(entry->value);
        map_deinit(served);
}

static int remember(Manage *manage, const char *name, uint64_t sec)
{
        uint64_t *noted = map_find(&manage->served, name);
        int r;

        if (!noted) {
                noted = malloc(sizeof(*noted));
                if (!noted)
                        return -ENOMEM;
                r = map_put(&manage->served, name, noted);
                if (r < 0) {
                        free(noted);
                        return r;
                }
        }
        *noted = sec;
        return 0;
}

int served_read_note(Manage *manage, const char *key, const char *value)
{
        uint64_t sec;

        if (strncmp(key, NOTE_PREFIX, strlen(NOTE_PREFIX)) != 0 ||
            sscanf(value, "%" SCNu64, &sec) != 1)
                return 0;
        return remember(manage, key + strlen(NOTE_PREFIX), sec);
}

void manage_source_added(Manage *manage, Source *source)
{
        const uint64_t *noted = map_find(&manage->served, source_name(source));

        if (noted)
                source_recall_served(source, *noted);
}

static void on_noted(void *userdata, const Failure *failure)
{
        (void)userdata;
        (void)failure; /* then the note is older than it should be, and its chains are refused earlier */
}

/* When its note is to be written anew; UINT64_MAX: what it said has no end, so that nobody asks. */
static uint64_t due_sec(const Manage *manage, const Source *source)
{
        uint64_t max_sec = source_max_stale_sec(source);
        const uint64_t *noted = map_find(&manage->served, source_name(source));

        if (max_sec == UINT64_MAX)
                return UINT64_MAX;
        return noted ? *noted + MAX(MIN(max_sec / 8, KEPT_SEC), 1U) : 0;
}

void served_keep(Manage *manage, const Source *source)
{
        CLEANUP(freep) char *key = NULL;
        char value[32];
        const uint64_t *noted = map_find(&manage->served, source_name(source));
        uint64_t sec = source_served_sec(source), due = due_sec(manage, source);
        bool ceased = !source_state_serves(source_state(source)) && (!noted || *noted != sec);

        if (sec == 0 || due == UINT64_MAX || (sec < due && !ceased) ||
            remember(manage, source_name(source), sec) < 0)
                return;

        if (asprintf(&key, "%s%s", NOTE_PREFIX, source_name(source)) < 0) {
                key = NULL;
                return;
        }
        snprintf(value, sizeof(value), "%" PRIu64, sec);
        (void)change_note(manage, key, value, on_noted, NULL);
}

void served_check(Manage *manage)
{
        for (size_t i = 0; i < sources_count(manage->sources); i++)
                served_keep(manage, sources_at(manage->sources, i));
}

uint64_t served_next(const Manage *manage)
{
        uint64_t next_sec = UINT64_MAX;

        for (size_t i = 0; i < sources_count(manage->sources); i++) {
                const Source *source = sources_at(manage->sources, i);

                if (source_state_serves(source_state(source)))
                        next_sec = MIN(next_sec, due_sec(manage, source));
        }
        return next_sec == UINT64_MAX ? 0 : next_sec;
}
