/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store that was restored, or put back by a file system, has forgotten what came after it. The audit log has not: each
 * change is stored before it is recorded, so what the log has and the store lacks was in the store once. No crash makes
 * that. What was retired, disabled or deleted since must not sign again because of it: so it is retired and disabled
 * anew, and what was deleted is disabled, until a person decides. What was made since cannot be brought back from here,
 * and is only told.
 *
 * It decides by the last thing that the log has of each object, and changes nothing that fits it. But what was deleted
 * since and is there has come back, whatever was made under its id later: that would have stored that it was deleted
 * (ledger.c). So of its life in the store nothing counts that the log has after the first deletion.
 */
#include "broker/rollback.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/strings.h"
#include "core/identifier.h"

/* What the log has of one object since. */
typedef struct Past {
        ObjectKind kind;
        char name[IDENTIFIER_LENGTH_MAX + 1];
        uint64_t seq; /* of the last record of it */
        bool is_deleted; /* once, at least */
        bool is_made;    /* and not deleted again */
        bool is_disabled;
        uint64_t newest; /* generation; 0: none was made, or not in that life */
        uint64_t *retired;
        size_t n_retired;
} Past;

typedef struct Rollback {
        Ledger *ledger;
        const Catalog *catalog;
        Manage *manage;
        Map pasts; /* object's path → Past */
        int r;
        size_t n_retired, n_disabled, n_deleted, n_unknown, n_older, n_backends;
} Rollback;

static Past *past_free(Past *past)
{
        if (past)
                free(past->retired);
        free(past);
        return NULL;
}

static void rollback_deinit(Rollback *rollback)
{
        MAP_FOREACH (&rollback->pasts, entry)
                past_free(entry->value);
        map_deinit(&rollback->pasts);
}

static Past *find_or_add(Rollback *rollback, const char *path)
{
        Past *past = map_find(&rollback->pasts, path);

        if (past)
                return past;
        past = calloc(1, sizeof(*past));
        if (past && object_path_decode(path, &past->kind, past->name) == 0 &&
            (past->kind == OBJECT_CERTIFICATE || past->kind == OBJECT_BACKEND)) {
                if (map_put(&rollback->pasts, path, past) == 0)
                        return past;
                rollback->r = -ENOMEM;
        } else if (!past) {
                rollback->r = -ENOMEM;
        }
        past_free(past);
        return NULL;
}

static int add_retired(Past *past, uint64_t generation)
{
        uint64_t *grown = reallocarray(past->retired, past->n_retired + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        grown[past->n_retired] = generation;
        past->retired = grown;
        past->n_retired++;
        return 0;
}

static void on_past(void *userdata, const AuditPast *record)
{
        Rollback *rollback = userdata;
        Past *past = find_or_add(rollback, record->object);

        if (!past)
                return;
        past->seq = record->seq;
        if (string_equal(record->event, "Delete")) {
                past->is_deleted = true;
                past->is_made = false;
        } else if (string_equal(record->event, "Retire")) {
                if (!past->is_deleted && add_retired(past, record->generation) < 0)
                        rollback->r = -ENOMEM;
        } else if (string_equal(record->event, "SetEnabled")) {
                past->is_disabled = record->is_disabled || (past->is_disabled && !record->is_enabled);
        } else {
                past->is_made = true;
                if (!past->is_deleted)
                        past->newest = MAX(past->newest, record->generation);
        }
}

/* Those of them that the certificate has and that may sign yet. */
static size_t select_retired(const Certificate *certificate, Past *past)
{
        size_t n = 0;

        for (size_t i = 0; i < past->n_retired; i++) {
                const Generation *generation =
                        past->retired[i] ? certificate_find_generation(certificate, past->retired[i])
                                         : NULL;

                if (generation && !generation->retired)
                        past->retired[n++] = past->retired[i];
        }
        return n;
}

static int withhold(Rollback *rollback, const Certificate *certificate, Past *past, bool disables,
                    size_t n_retired)
{
        CLEANUP(freep) char *reason = NULL;
        int r;

        r = asprintf(&reason,
                     "the store is older than the audit log, in which this was %s (record %" PRIu64
                     "): %s",
                     past->is_deleted && past->is_made ? "deleted and made anew"
                     : past->is_deleted                ? "deleted"
                     : past->is_disabled               ? "disabled"
                                                       : "retired",
                     past->seq,
                     !disables          ? "rotate it, or set another generation current"
                     : past->is_deleted ? "delete it again, or enable it"
                                        : "enable it, if it is to be used");
        if (r < 0) {
                reason = NULL;
                return -ENOMEM;
        }
        return manage_withhold(rollback->manage, certificate->id, disables, past->retired, n_retired,
                               reason);
}

static int check_certificate(Rollback *rollback, Past *past)
{
        const Certificate *certificate = catalog_find_certificate(rollback->catalog, past->name);
        const Generation *newest = certificate ? certificate_newest(certificate) : NULL;
        bool disables = certificate && certificate->enabled &&
                        (past->is_deleted || past->is_disabled);
        size_t n_retired = certificate ? select_retired(certificate, past) : 0;

        if (!certificate) {
                rollback->n_unknown += past->is_made;
                return 0;
        }
        rollback->n_older += !past->is_deleted && newest && newest->number < past->newest;
        rollback->n_retired += n_retired;
        rollback->n_deleted += disables && past->is_deleted;
        rollback->n_disabled += disables && !past->is_deleted;
        if (!disables && n_retired == 0)
                return 0;
        return withhold(rollback, certificate, past, disables, n_retired);
}

static void on_withheld(void *ledger)
{
        ledger_release(ledger);
}

static int check_all(Rollback *rollback)
{
        int r = rollback->r;

        MAP_FOREACH (&rollback->pasts, entry) {
                Past *past = entry->value;
                bool is_there = catalog_find_backend(rollback->catalog, past->name);

                if (r == 0 && past->kind == OBJECT_CERTIFICATE)
                        r = check_certificate(rollback, past);
                else if (past->kind == OBJECT_BACKEND)
                        rollback->n_backends += is_there ? past->is_deleted : past->is_made;
        }
        if (r == 0 && rollback->n_retired + rollback->n_disabled + rollback->n_deleted > 0) {
                ledger_hold(rollback->ledger);
                r = manage_withhold_all(rollback->manage, on_withheld, rollback->ledger);
        }
        return r;
}

/* In the log's record and in the journal; false: the store fits the log. */
static bool describe(const Rollback *rollback, bool is_whole, char *text, size_t n)
{
        size_t n_ended = rollback->n_retired + rollback->n_disabled + rollback->n_deleted;

        if (is_whole && n_ended + rollback->n_unknown + rollback->n_older + rollback->n_backends == 0)
                return false;
        snprintf(text, n,
                 "withheld: %zu generations retired, %zu certificates disabled and %zu deleted "
                 "since; created since and missing: %zu certificates; rotated since: %zu; backends "
                 "that differ: %zu%s",
                 rollback->n_retired, rollback->n_disabled, rollback->n_deleted,
                 rollback->n_unknown, rollback->n_older, rollback->n_backends,
                 is_whole ? "" : "; what else has changed is not known, for not all could be read");
        return true;
}

int rollback_check(Ledger *ledger, Store *store, const Catalog *catalog, Manage *manage,
                   void (*goes_on)(void), Failure *failure)
{
        CLEANUP(rollback_deinit) Rollback rollback = { .ledger = ledger,
                                                          .catalog = catalog,
                                                          .manage = manage };
        char text[320];
        int r;

        if (store_is_new(store)) {
                if (ledger_records(ledger) > 0)
                        ledger_tell_rollback(ledger, "there was no store, and an empty one was made");
                return 0;
        }
        map_init(&rollback.pasts);
        r = ledger_read_since(ledger, on_past, goes_on, &rollback);
        if (rollback.r < 0 || check_all(&rollback) < 0)
                return fail(failure, -ENOMEM, "no memory to hold the store against the audit log");
        if (describe(&rollback, r == 0, text, sizeof(text)))
                ledger_tell_rollback(ledger, text);
        return 0;
}
