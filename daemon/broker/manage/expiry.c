/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warnings before a certificate expires: once at each configured distance, also over a restart, because what was
 * warned of is a note in the store. A rotation begins anew. It warns; it changes no certificate.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/manage/room.h"

#define NOTE_PREFIX "warned/"
/*
 * A warning that is due already, because its certificate is new or the daemon was not there, waits for this: whoever
 * watches has to see the daemon come, and to call it, before signals reach them.
 */
#define DUE_SEC 3

/* The shortest distance that was warned of, for this generation. */
typedef struct Warned {
        uint64_t generation;
        uint64_t distance_sec;
} Warned;

int expiry_read_note(Manage *manage, const char *key, const char *value)
{
        Warned read, *warned;
        int r;

        if (strncmp(key, NOTE_PREFIX, strlen(NOTE_PREFIX)) != 0)
                return 0;
        if (sscanf(value, "%" SCNu64 " %" SCNu64, &read.generation, &read.distance_sec) != 2)
                return 0; /* warned once too often is better than not at all */

        warned = malloc(sizeof(*warned));
        if (!warned)
                return -ENOMEM;
        *warned = read;
        r = map_put(&manage->warned, key + strlen(NOTE_PREFIX), warned);
        if (r < 0)
                free(warned);
        return r;
}

static void on_noted(void *userdata, const Failure *failure)
{
        (void)userdata;
        (void)failure; /* then it is warned of again after a restart */
}

static void write_note(Manage *manage, const char *id, const char *value)
{
        char key[sizeof(NOTE_PREFIX) + IDENTIFIER_LENGTH_MAX] = NOTE_PREFIX;

        strncat(key, id, IDENTIFIER_LENGTH_MAX);
        (void)change_note(manage, key, value, on_noted, NULL);
}

void expiry_forget(Manage *manage, const char *id)
{
        if (!map_find(&manage->warned, id))
                return;

        notice_forget(&manage->warned, id);
        write_note(manage, id, NULL);
}

/* The shortest configured distance within which the end lies; 0: none. */
static uint64_t distance_of(const Manage *manage, uint64_t left_sec)
{
        uint64_t distance_sec = 0;

        for (size_t i = 0; i < manage->n_warnings; i++) {
                uint64_t sec = manage->warnings_sec[i];

                if (left_sec <= sec && (distance_sec == 0 || sec < distance_sec))
                        distance_sec = sec;
        }
        return distance_sec;
}

static void remember(Manage *manage, const char *id, const Warned *now)
{
        Warned *warned = map_find(&manage->warned, id);
        char value[64];

        if (!warned) {
                warned = malloc(sizeof(*warned));
                if (!warned || map_put(&manage->warned, id, warned) < 0) {
                        free(warned);
                        return;
                }
        }
        *warned = *now;
        snprintf(value, sizeof(value), "%" PRIu64 " %" PRIu64, now->generation, now->distance_sec);
        write_note(manage, id, value);
}

/* Is it within a distance that was not warned of yet? Then *ret_now is what will have been. */
static bool is_due(const Manage *manage, const Certificate *certificate, uint64_t now_sec,
                   Warned *ret_now)
{
        const Generation *generation = certificate_find_generation(certificate, 0);
        const Warned *warned = map_find(&manage->warned, certificate->id);
        Warned now;

        if (!generation || generation->facts.not_after_sec <= now_sec)
                return false;

        now.generation = generation->number;
        now.distance_sec = distance_of(manage, generation->facts.not_after_sec - now_sec);
        if (now.distance_sec == 0 || (warned && warned->generation == now.generation &&
                                      warned->distance_sec <= now.distance_sec))
                return false;

        *ret_now = now;
        return true;
}

static void check(Manage *manage, const Certificate *certificate, uint64_t now_sec)
{
        const Generation *generation = certificate_find_generation(certificate, 0);
        Warned now;

        if (!is_due(manage, certificate, now_sec, &now))
                return;

        remember(manage, certificate->id, &now);
        if (manage->events.expiry_warning)
                manage->events.expiry_warning(manage->events_userdata, certificate->id,
                                              generation->facts.not_after_sec,
                                              generation->facts.not_after_sec - now_sec);
}

void expiry_check(Manage *manage, uint64_t now_sec)
{
        MAP_FOREACH (catalog_certificates(manage->catalog), entry)
                check(manage, entry->value, now_sec);
}

uint64_t expiry_next(const Manage *manage, const Certificate *certificate, uint64_t now_sec)
{
        const Generation *generation = certificate_find_generation(certificate, 0);
        uint64_t next_sec = 0;
        Warned now;

        if (is_due(manage, certificate, now_sec, &now))
                return now_sec + DUE_SEC;
        for (size_t i = 0; generation && i < manage->n_warnings; i++) {
                uint64_t end_sec = generation->facts.not_after_sec;
                uint64_t at_sec =
                        end_sec > manage->warnings_sec[i] ? end_sec - manage->warnings_sec[i] : 0;

                if (at_sec > now_sec && (next_sec == 0 || at_sec < next_sec))
                        next_sec = at_sec;
        }
        return next_sec;
}

int expiry_configure(Manage *manage, const Config *config)
{
        uint64_t *warnings_sec = NULL;

        if (config->n_expiry_warnings > 0) {
                warnings_sec = calloc(config->n_expiry_warnings, sizeof(*warnings_sec));
                if (!warnings_sec)
                        return -ENOMEM;
        }
        for (size_t i = 0; i < config->n_expiry_warnings; i++)
                warnings_sec[i] = config->expiry_warnings_usec[i] / USEC_PER_SEC;

        free(manage->warnings_sec);
        manage->warnings_sec = warnings_sec;
        manage->n_warnings = config->n_expiry_warnings;
        return 0;
}
