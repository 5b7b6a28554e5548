/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grants and their decision. Invariant: each grant is judged alone, so a set allows exactly what some
 * single one of it allows, in whatever order; there is no negation. Everything that is not known (a uid, a
 * unit, a label) matches nothing. Names and globs are compared as bytes.
 */
#include "core/grants.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "base/strings.h"

void subject_deinit(Subject *subject)
{
        free(subject->gids);
        free(subject->unit);
        free(subject->label);
        *subject = (Subject){ .uid = SUBJECT_UID_UNKNOWN };
}

static const struct {
        const char *name;
        unsigned lets;       /* all that the word in `allow` gives */
        Operation operation; /* the one that no lesser word gives */
} operations[] = {
        { "read", OPERATION_READ, OPERATION_READ },
        { "tls", OPERATION_READ | OPERATION_TLS, OPERATION_TLS },
        { "use", OPERATION_READ | OPERATION_TLS | OPERATION_SIGN, OPERATION_SIGN },
        { "decrypt", OPERATION_READ | OPERATION_DECRYPT, OPERATION_DECRYPT },
        { "export", OPERATION_READ | OPERATION_EXPORT, OPERATION_EXPORT },
        { "manage", OPERATION_READ | OPERATION_MANAGE, OPERATION_MANAGE },
        { "audit", OPERATION_AUDIT, OPERATION_AUDIT },
};

unsigned operation_from_name(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(operations); i++)
                if (strcmp(operations[i].name, name) == 0)
                        return operations[i].lets;
        return 0;
}

const char *operation_name(Operation operation)
{
        for (size_t i = 0; i < ELEMENTSOF(operations); i++)
                if (operations[i].operation == operation)
                        return operations[i].name;
        return "nothing";
}

Grant *grant_free(Grant *grant)
{
        if (!grant)
                return NULL;
        free(grant->name);
        free(grant->unit);
        free(grant->label);
        strv_free(grant->certificates);
        strv_free(grant->backends);
        strv_free(grant->sources);
        free(grant);
        return NULL;
}

int grants_new(Grants **ret_grants)
{
        Grants *grants = calloc(1, sizeof(*grants));

        if (!grants)
                return -ENOMEM;
        grants->n_refs = 1;
        *ret_grants = grants;
        return 0;
}

Grants *grants_ref(Grants *grants)
{
        grants->n_refs++;
        return grants;
}

Grants *grants_unref(Grants *grants)
{
        if (!grants || --grants->n_refs > 0)
                return NULL;
        grants_deinit(grants);
        free(grants);
        return NULL;
}

void grants_deinit(Grants *grants)
{
        for (size_t i = 0; i < grants->n; i++)
                grant_free(grants->items[i]);
        free(grants->items);
        *grants = (Grants){ 0 };
}

int grants_append(Grants *grants, Grant *grant)
{
        Grant **items = reallocarray(grants->items, grants->n + 1, sizeof(*items));

        if (!items)
                return -ENOMEM;
        items[grants->n++] = grant;
        grants->items = items;
        return 0;
}

/* What a grant lacks for a request, in the order in which it is looked at: the later, the nearer. */
typedef enum Lack {
        LACK_SUBJECT,
        LACK_UNIT,
        LACK_LABEL,
        LACK_OBJECT,
        LACK_OPERATION,
        LACK_ALGORITHM,
        LACK_NOTHING,
        _LACK_N
} Lack;

static bool has_gid(const Subject *subject, uint32_t gid)
{
        for (size_t i = 0; i < subject->n_gids; i++)
                if (subject->gids[i] == gid)
                        return true;
        return false;
}

static bool covers_subject(const Grant *grant, const Subject *subject)
{
        if (subject->uid == SUBJECT_UID_UNKNOWN || (!grant->has_user && !grant->has_group))
                return false;
        return (!grant->has_user || grant->uid == subject->uid) &&
               (!grant->has_group || has_gid(subject, grant->gid));
}

static bool any_glob_matches(char *const *globs, const char *name)
{
        for (; globs && *globs; globs++)
                if (!name || glob_match(*globs, name))
                        return true;
        return false;
}

static bool covers_everything(const Grant *grant)
{
        return strv_contains(grant->certificates, "*");
}

bool grant_names(const Grant *grant, ObjectKind kind, const char *name)
{
        switch (kind) {
        case OBJECT_CERTIFICATE:
                return any_glob_matches(grant->certificates, name);
        case OBJECT_BACKEND:
                return any_glob_matches(grant->backends, name);
        case OBJECT_SOURCE:
                return any_glob_matches(grant->sources, name);
        case OBJECT_MANAGER:
                return covers_everything(grant);
        case _OBJECT_KIND_N:
                break;
        }
        return false;
}

static bool covers_object(const Grant *grant, const Request *request)
{
        if (request->operation == OPERATION_AUDIT)
                return request->kind == OBJECT_MANAGER;
        return grant_names(grant, request->kind, request->name);
}

/* What is asked of the root is to manage it, but for the one operation that is its own. */
static bool is_managed(const Request *request)
{
        return request->kind == OBJECT_MANAGER && request->operation != OPERATION_AUDIT;
}

static unsigned wanted_operations(const Request *request)
{
        return request->operation | (is_managed(request) ? OPERATION_MANAGE : 0u);
}

static bool covers_algorithm(const Grant *grant, Algorithm algorithm)
{
        if (algorithm == ALGORITHM_NONE)
                return true;
        if (grant->algorithms == 0)
                return !algorithm_row(algorithm)->legacy;
        return (grant->algorithms & ALGORITHM_BIT(algorithm)) != 0;
}

static Lack grant_lacks_subject(const Grant *grant, const Subject *subject)
{
        if (!covers_subject(grant, subject))
                return LACK_SUBJECT;
        if (grant->unit && !(subject->unit && strcmp(grant->unit, subject->unit) == 0))
                return LACK_UNIT;
        if (grant->label && !(subject->label && strcmp(grant->label, subject->label) == 0))
                return LACK_LABEL;
        return LACK_NOTHING;
}

static Lack grant_lacks(const Grant *grant, const Subject *subject, const Request *request)
{
        unsigned wanted = wanted_operations(request);

        Lack lack = grant_lacks_subject(grant, subject);

        if (lack != LACK_NOTHING)
                return lack;
        if (!covers_object(grant, request))
                return LACK_OBJECT;
        if ((grant->operations & wanted) != wanted)
                return LACK_OPERATION;
        if (!covers_algorithm(grant, request->algorithm))
                return LACK_ALGORITHM;
        return LACK_NOTHING;
}

/* The end of the sentence "uid 33 may not use certificate 'x': …" */
static void describe_lack(const Grant *grant, Lack lack, const Request *request, Failure *ret_text)
{
        Operation wanted = is_managed(request) ? OPERATION_MANAGE : request->operation;

        switch (lack) {
        case LACK_SUBJECT:
        case LACK_NOTHING:
        case _LACK_N:
                fail(ret_text, 0, "no grant names it or one of its groups");
                return;
        case LACK_UNIT:
                fail(ret_text, 0, "grant '%.63s' is only for the unit '%.127s'", grant->name,
                     grant->unit);
                return;
        case LACK_LABEL:
                fail(ret_text, 0, "grant '%.63s' is only for the label '%.127s'", grant->name,
                     grant->label);
                return;
        case LACK_OBJECT:
                if (request->operation == OPERATION_AUDIT)
                        fail(ret_text, 0, "'audit' is of the broker itself and of no other object");
                else if (is_managed(request))
                        fail(ret_text, 0,
                             "that takes certificate = [ \"*\" ], which grant '%.63s' lacks",
                             grant->name);
                else
                        fail(ret_text, 0,
                             "none of its grants names this %s; the nearest is '%.63s'",
                             object_kind_word(request->kind), grant->name);
                return;
        case LACK_OPERATION:
                fail(ret_text, 0, "grant '%.63s' does not allow '%s'", grant->name,
                     operation_name(wanted));
                return;
        case LACK_ALGORITHM:
                fail(ret_text, 0, "grant '%.63s' does not allow the algorithm %s", grant->name,
                     algorithm_name(request->algorithm));
                return;
        }
}

static void describe_object(const Request *request, Failure *ret_text)
{
        const char *word = object_kind_word(request->kind);

        if (request->kind == OBJECT_MANAGER)
                fail(ret_text, 0, "the broker itself");
        else if (request->name)
                fail(ret_text, 0, "%s '%.127s'", word, request->name);
        else
                fail(ret_text, 0, "any %s", word);
}

static void explain(const Grants *grants, const Subject *subject, const Request *request,
                    Failure *failure)
{
        const Grant *nearest = NULL;
        Lack nearest_lack = LACK_SUBJECT;
        Failure object, why;

        if (subject->uid == SUBJECT_UID_UNKNOWN) {
                fail(failure, CB_ACCESS_DENIED,
                     "who asks is not known, so no grant applies; connect as a user of this "
                     "system");
                return;
        }
        for (size_t i = 0; i < grants->n; i++) {
                Lack lack = grant_lacks(grants->items[i], subject, request);

                if (lack > nearest_lack) {
                        nearest = grants->items[i];
                        nearest_lack = lack;
                }
        }
        describe_lack(nearest, nearest_lack, request, &why);
        describe_object(request, &object);
        fail(failure, CB_ACCESS_DENIED,
             "uid %" PRIu32 " may not %s %s: %s; who configures certbroker can grant it",
             subject->uid,
             request->operation == OPERATION_TLS ? "do TLS with"
                                                 : operation_name(request->operation),
             object.text, why.text);
}

const Grant *grants_next(const Grants *grants, const Subject *subject, const Request *request,
                         const Grant *after)
{
        bool passed = !after;

        for (size_t i = 0; i < grants->n; i++) {
                if (passed && grant_lacks(grants->items[i], subject, request) == LACK_NOTHING)
                        return grants->items[i];
                passed |= grants->items[i] == after;
        }
        return NULL;
}

const Grant *grants_decide(const Grants *grants, const Subject *subject, const Request *request,
                           Failure *failure)
{
        const Grant *grant = grants_next(grants, subject, request, NULL);

        if (!grant && failure)
                explain(grants, subject, request, failure);
        return grant;
}

bool grants_name(const Grants *grants, const Subject *subject)
{
        for (size_t i = 0; i < grants->n; i++)
                if (grant_lacks_subject(grants->items[i], subject) == LACK_NOTHING)
                        return true;
        return false;
}

/* The next one that lets this subject read something; NULL: no more. */
static const Grant *next_reader(const Grants *grants, const Subject *subject, size_t *i)
{
        while (*i < grants->n) {
                const Grant *grant = grants->items[(*i)++];

                if (grant_lacks_subject(grant, subject) == LACK_NOTHING &&
                    (grant->operations & OPERATION_READ))
                        return grant;
        }
        return NULL;
}

bool grants_read_alike(const Grants *a, const Grants *b, const Subject *subject)
{
        size_t i = 0, k = 0;

        for (;;) {
                const Grant *x = next_reader(a, subject, &i), *y = next_reader(b, subject, &k);

                if (!x || !y)
                        return x == y;
                if (!strv_equal(x->certificates, y->certificates) ||
                    !strv_equal(x->backends, y->backends) || !strv_equal(x->sources, y->sources))
                        return false;
        }
}

static Standing standing_by(const Grant *grant)
{
        return grant->has_user ? STANDING_NAMED : STANDING_GROUP;
}

Standing grants_standing(const Grants *grants, const Subject *subject)
{
        Standing best = STANDING_STRANGER;

        for (size_t i = 0; i < grants->n && best < STANDING_NAMED; i++)
                if (grant_lacks_subject(grants->items[i], subject) == LACK_NOTHING)
                        best = MAX(best, standing_by(grants->items[i]));
        return best;
}

Standing grants_best_standing(const Grants *grants, const Subject *subject)
{
        Standing best = STANDING_STRANGER;

        for (size_t i = 0; i < grants->n && best < STANDING_NAMED; i++)
                if (covers_subject(grants->items[i], subject))
                        best = MAX(best, standing_by(grants->items[i]));
        return best;
}
