/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grants and their decision: default deny, each grant on its own, no order, no negation. A set of
 * grants allows exactly what some single one of them allows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/failure.h"
#include "core/algorithm.h"
#include "core/identifier.h"
#include "core/standing.h"

/* Who asks. An absent list of groups means no groups; uid is SUBJECT_UID_UNKNOWN until proven. */
#define SUBJECT_UID_UNKNOWN UINT32_MAX

typedef struct Subject {
        uint32_t uid;
        uint32_t *gids;
        size_t n_gids;
        uint32_t pid; /* as claimed at connect: for the audit log only */
        char *unit;   /* NULL: none known */
        char *label;
} Subject;

void subject_deinit(Subject *subject);

typedef enum Operation {
        OPERATION_READ = 1 << 0,
        OPERATION_TLS = 1 << 1,     /* with READ */
        OPERATION_SIGN = 1 << 2,    /* `use` = TLS and SIGN, with READ */
        OPERATION_DECRYPT = 1 << 3, /* with READ */
        OPERATION_EXPORT = 1 << 4,  /* with READ */
        OPERATION_MANAGE = 1 << 5,  /* with READ */
        OPERATION_AUDIT = 1 << 6,   /* of the broker itself; without READ: it is of no object */
} Operation;

/* read, tls, use, decrypt, export, manage, audit → bits, or 0. */
unsigned operation_from_name(const char *name);
const char *operation_name(Operation operation); /* the word that would grant it: SIGN → "use" */

typedef struct Grant {
        char *name;
        bool has_user, has_group;
        uint32_t uid, gid;
        char *unit, *label;  /* NULL: any */
        unsigned operations; /* bits, READ included where a word brings it */
        char **certificates; /* globs; none: no object of that kind */
        char **backends;
        char **sources;
        uint32_t algorithms;   /* bits; 0: not narrowed (all but the legacy ones) */
        uint64_t rate_per_sec; /* 0: none */
        uint64_t burst;
} Grant;

Grant *grant_free(Grant *grant);
DEFINE_CLEANUP(Grant, grant_free)

typedef struct Grants {
        Grant **items;
        size_t n;
        uint64_t version; /* changes with each reload: a decision remembers it */
        unsigned n_refs;  /* of those from grants_new() */
} Grants;

int grants_new(Grants **ret_grants);
Grants *grants_ref(Grants *grants);
Grants *grants_unref(Grants *grants);            /* takes NULL */
void grants_deinit(Grants *grants);              /* of those that are embedded */
int grants_append(Grants *grants, Grant *grant); /* takes it on success */

/*
 * What is asked. `name` NULL: on any object of this kind (is there one that could match?). Of the manager, AUDIT
 * needs no object; all else is MANAGE, and needs certificate = [ "*" ].
 */
typedef struct Request {
        Operation operation;
        ObjectKind kind;
        const char *name;
        Algorithm algorithm; /* ALGORITHM_NONE: no algorithm is involved */
} Request;

/*
 * The grant that allows it, or NULL; then, if failure is given, what was missing is in its text
 * (CB_ACCESS_DENIED).
 */
const Grant *grants_decide(const Grants *grants, const Subject *subject, const Request *request,
                           Failure *failure);

/*
 * The same without an explanation, one grant after the other: the first that allows it after `after` (NULL:
 * from the start), or NULL. For what one grant alone runs out of, as its rate.
 */
const Grant *grants_next(const Grants *grants, const Subject *subject, const Request *request,
                         const Grant *after);

/* Is some grant for this subject, whatever it allows? */
bool grants_name(const Grants *grants, const Subject *subject);

/* Does it name this object, whatever it allows? */
bool grant_names(const Grant *grant, ObjectKind kind, const char *name);

/*
 * Do both let this subject read the same, as far as that can be seen from the grants alone? Costs no look
 * at any object; false may be said of some that do.
 */
bool grants_read_alike(const Grants *a, const Grants *b, const Subject *subject);

/* How these grants name the subject: by its user, by a group, or not at all. Who owns the broker is not known here. */
Standing grants_standing(const Grants *grants, const Subject *subject);
/* The best that it can be, whatever its unit and label. */
Standing grants_best_standing(const Grants *grants, const Subject *subject);
