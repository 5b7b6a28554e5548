/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which id holds which key. Invariants: a key that one id holds comes under another only by who may manage both; what
 * an id writes to in a vault is held by no other that its caller may not manage. A key is known by its public half and
 * by where it lies, never by how a URI is spelled; the generations of all ids are looked at, pending and retired ones
 * too, and what is on its way to be held (a claim) counts as held, so that two who come at once do not both get it.
 *
 * Who may not read the other id is not told of it: only that there is one, and what to do.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/strings.h"
#include "broker/manage/room.h"

/* --- claims: what a job or publication is about to hold --- */

int claim_set(Claim *claim, Manage *manage, const char *id, const char *uri, const Bytes *spki)
{
        Claim made = { .manage = manage };

        if (string_set(&made.id, id) < 0 || string_set(&made.uri, uri) < 0 ||
            (spki && bytes_set(&made.spki, spki->data, spki->n) < 0)) {
                claim_deinit(&made);
                return -ENOMEM;
        }
        claim_deinit(claim);
        *claim = made;
        LIST_INSERT_HEAD(&manage->claims, claim, entry);
        claim->listed = true;
        return 0;
}

void claim_deinit(Claim *claim)
{
        if (claim->listed)
                LIST_REMOVE(claim, entry);
        free(claim->id);
        free(claim->uri);
        bytes_deinit(&claim->spki);
        *claim = (Claim){ 0 };
}

/* --- who holds it --- */

typedef struct Wanted {
        const char *id; /* who asks: what it has itself does not count */
        const char *uri;
        const Bytes *spki; /* NULL: the place alone */
} Wanted;

static bool is_wanted(const Wanted *wanted, const char *uri, const Bytes *spki)
{
        return (wanted->spki && wanted->spki->n > 0 && bytes_equal(wanted->spki, spki)) ||
               place_is_same(wanted->uri, uri);
}

static bool certificate_holds(const Certificate *certificate, const Wanted *wanted)
{
        for (size_t i = 0; i < certificate->n_generations; i++) {
                const Generation *generation = certificate->generations[i];

                if (is_wanted(wanted, generation->key_uri, &generation->spki))
                        return true;
        }
        return false;
}

/* Their ids, owned. -ENOMEM. */
static int find_holders(const Manage *manage, const Wanted *wanted, char ***ret_ids)
{
        CLEANUP(strv_freep) char **ids = NULL;
        const Claim *claim;
        int r = 0;

        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                if (r == 0 && !string_equal(entry->key, wanted->id) &&
                    certificate_holds(entry->value, wanted))
                        r = strv_append(&ids, entry->key);
        }
        LIST_FOREACH(claim, &manage->claims, entry)
        {
                if (r == 0 && !string_equal(claim->id, wanted->id) &&
                    is_wanted(wanted, claim->uri, &claim->spki) && !strv_contains(ids, claim->id))
                        r = strv_append(&ids, claim->id);
        }
        if (r == 0)
                *ret_ids = TAKE(ids);
        return r;
}

static bool is_being_destroyed(const Manage *manage, const char *id)
{
        const Claim *claim;

        LIST_FOREACH(claim, &manage->claims, entry)
        {
                if (claim->destroys && string_equal(claim->id, id))
                        return true;
        }
        return false;
}

/* --- may it be held? --- */

/* Who may read the other id is told which it is. */
static int refuse_shared(const char *id, const char *holder, int why, Failure *failure)
{
        if (why == CB_ACCESS_DENIED)
                return fail(failure, CB_ACCESS_DENIED,
                            "certificate '%s': its key is certificate '%s's, too; that takes "
                            "'manage' on both",
                            id, holder);
        if (why == CB_NOT_FOUND)
                return fail(failure, CB_ACCESS_DENIED,
                            "certificate '%s': its key is held under another id, which you may "
                            "not manage; ask who manages that one",
                            id);
        return fail(failure, why, "certificate '%s': no memory to see who holds its key", id);
}

static int may_manage_all(const Manage *manage, void *caller, const char *id, char *const *holders,
                          Failure *failure)
{
        for (; holders && *holders; holders++) {
                Failure ignored = { 0 };
                int r = manage_may_manage(manage, caller, OBJECT_CERTIFICATE, *holders, &ignored);

                if (r != 0)
                        return refuse_shared(id, *holders, r, failure);
        }
        return 0;
}

static int refuse_passing(const char *id, Failure *failure)
{
        return fail(failure, CB_IN_USE,
                    "certificate '%s': its key is being made or taken away just now; try again", id);
}

int holding_check_register(const Manage *manage, void *caller, const char *id, const char *uri,
                           const Bytes *spki, Failure *failure)
{
        const Wanted wanted = { id, uri, spki };
        CLEANUP(strv_freep) char **holders = NULL;
        int r;

        if (intents_have(manage, uri))
                return refuse_passing(id, failure);
        r = find_holders(manage, &wanted, &holders);
        if (r < 0)
                return refuse_shared(id, NULL, r, failure);
        r = may_manage_all(manage, caller, id, holders, failure);
        for (char **holder = holders; r == 0 && holder && *holder; holder++) {
                if (is_being_destroyed(manage, *holder))
                        r = refuse_passing(id, failure);
        }
        return r;
}

int holding_check_follow(const Manage *manage, const char *id, const char *uri, const Bytes *spki,
                         Failure *failure)
{
        const Certificate *present = catalog_find_certificate(manage->catalog, id);
        const Wanted wanted = { id, uri, spki };
        CLEANUP(strv_freep) char **holders = NULL;
        int r;

        /* The key that it has, or the name in a vault that it was registered to follow. */
        if (present && certificate_holds(present, &wanted))
                return 0;
        r = find_holders(manage, &wanted, &holders);
        if (r < 0)
                return refuse_shared(id, NULL, r, failure);
        if (holders || intents_have(manage, uri))
                return fail(failure, CB_IN_USE,
                            "certificate '%s': its source has another key for it now, which is held "
                            "under another id; it is not taken: register it anew where that is "
                            "meant",
                            id);
        return 0;
}

/* This very object: a copy that was imported under another id has objects of its own beside it. */
static bool has_object(const Certificate *certificate, const char *uri)
{
        for (size_t i = 0; i < certificate->n_generations; i++) {
                const char *own = certificate->generations[i]->key_uri;

                if (place_is_same(own, uri) || place_has_same_mark(own, uri))
                        return true;
        }
        return false;
}

bool holding_is_made_by_another(const Manage *manage, const char *id, const char *uri)
{
        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                const Certificate *other = entry->value;

                if (!string_equal(other->id, id) && has_object(other, uri) &&
                    certificate_origin(other) != KEY_OF_OWNER)
                        return true;
        }
        return false;
}

WireCertificates holding_certificates(const Manage *manage, const Certificate *certificate,
                                      const Generation *generation)
{
        switch (certificate_origin(certificate)) {
        case KEY_MADE:
                return WIRE_CERTIFICATES_MADE;
        case KEY_OF_ANOTHER:
                return WIRE_CERTIFICATES_OWN;
        case KEY_OF_OWNER:
                break;
        }
        return generation &&
                               holding_is_made_by_another(manage, certificate->id, generation->key_uri)
                       ? WIRE_CERTIFICATES_OWN
                       : WIRE_CERTIFICATES_OWNER;
}

/* --- what is written to in a vault --- */

int holding_check_write(const Manage *manage, void *caller, const char *id, const char *uri,
                        Failure *failure)
{
        const Wanted wanted = { id, uri, NULL };
        CLEANUP(strv_freep) char **holders = NULL;
        int r;

        if (!place_is_named(uri))
                return 0;
        r = find_holders(manage, &wanted, &holders);
        if (r < 0)
                return refuse_shared(id, NULL, r, failure);
        return may_manage_all(manage, caller, id, holders, failure);
}

/* The same words for what another id holds and for what only the vault knows. */
static int refuse_taken(const char *id, Failure *failure)
{
        return fail(failure, CB_ALREADY_EXISTS,
                    "certificate '%s': the name that it would have in the vault is taken; choose "
                    "another id, or register what has that name",
                    id);
}

static int check_new_name(Job *job, const char *uri, const Certificate *present, Failure *failure)
{
        const Generation *newest = present ? certificate_newest(present) : NULL;
        const Wanted wanted = { job->id, uri, NULL };
        CLEANUP(strv_freep) char **holders = NULL;
        int r;

        if (newest && !place_is_same(newest->key_uri, uri))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "certificate '%s' follows a certificate of the vault that has another "
                            "name than its own; rotate it in the vault, or use another id",
                            job->id);
        if (newest)
                return holding_check_write(job->manage, job->caller, job->id, uri, failure);
        r = find_holders(job->manage, &wanted, &holders);
        if (r < 0)
                return refuse_shared(job->id, NULL, r, failure);
        return holders ? refuse_taken(job->id, failure) : 0;
}

int holding_claim_name(Job *job, const Certificate *present, Failure *failure)
{
        CLEANUP(freep) char *uri = NULL;
        Source *source = NULL;
        int r;

        r = manage_find_source(job->manage, job->source, &source, failure);
        if (r == 0)
                r = place_of_new(source_driver(source), source_uri(source), job->id, &uri);
        if (r != 0 || !uri)
                return r;
        r = check_new_name(job, uri, present, failure);
        return r == 0 ? claim_set(&job->claim, job->manage, job->id, uri, NULL) : r;
}

/* --- destroying --- */

/* One object, or two that cannot be told apart for certain: then neither is destroyed. */
static bool is_same_object(const Certificate *a, const Generation *x, const Certificate *b,
                           const Generation *y)
{
        if (place_is_same(x->key_uri, y->key_uri))
                return true;
        if (!bytes_equal(&x->spki, &y->spki) ||
            (place_is_named(x->key_uri) && place_is_named(y->key_uri)))
                return false;
        return place_has_same_mark(x->key_uri, y->key_uri) ||
               (string_equal(a->source, b->source) && certificate_origin(a) != KEY_MADE &&
                certificate_origin(b) != KEY_MADE);
}

static bool shares_object(const Certificate *a, const Certificate *b)
{
        for (size_t i = 0; i < a->n_generations; i++) {
                for (size_t k = 0; k < b->n_generations; k++) {
                        if (is_same_object(a, a->generations[i], b, b->generations[k]))
                                return true;
                }
        }
        return false;
}

bool holding_is_shared(const Manage *manage, const Certificate *certificate)
{
        const Claim *claim;

        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                if (entry->value != certificate && shares_object(certificate, entry->value))
                        return true;
        }
        LIST_FOREACH(claim, &manage->claims, entry)
        {
                /* A copy that is being imported gets objects of its own: no other goes with it. */
                const Wanted wanted = { claim->id, claim->uri, claim->made ? NULL : &claim->spki };

                if (!string_equal(claim->id, certificate->id) &&
                    certificate_holds(certificate, &wanted))
                        return true;
        }
        return false;
}
