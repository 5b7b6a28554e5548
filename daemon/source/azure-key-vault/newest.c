/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The newest version of each name that was seen, by when the vault made it. A version that is older than one
 * seen before is not taken for the latest, unless that one does not exist any more. Only what was taken is
 * noted.
 */
#include "source/azure-key-vault/newest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "core/certificate.h"
#include "source/azure-key-vault/lookup.h"

typedef struct Newest {
        char version[OBJECT_VERSION_MAX + 1];
        uint64_t created_sec;
} Newest;

static int note_locked(Vault *vault, const Identifier *key, uint64_t created_sec)
{
        Newest *newest = map_find(&vault->newest, key->name);
        int r;

        if (!newest) {
                newest = calloc(1, sizeof(*newest));
                r = newest ? map_put(&vault->newest, key->name, newest) : -ENOMEM;
                if (r < 0) {
                        free(newest);
                        return r;
                }
        }
        memcpy(newest->version, key->version, sizeof(newest->version));
        newest->created_sec = created_sec;
        return 0;
}

static int check_locked(Vault *vault, const Identifier *key, uint64_t created_sec,
                        Failure *failure)
{
        const Newest *newest = map_find(&vault->newest, key->name);

        if (newest && strcasecmp(newest->version, key->version) != 0 &&
            created_sec < newest->created_sec)
                return fail(failure, CB_FAILED,
                            "the vault answered with version %s of %s, which is older than %s, "
                            "which it answered before; it is not taken",
                            key->version, key->name, newest->version);
        return note_locked(vault, key, created_sec);
}

static bool find(Vault *vault, const char *name, Newest *ret_newest)
{
        const Newest *newest;

        pthread_mutex_lock(&vault->lock);
        newest = map_find(&vault->newest, name);
        if (newest)
                *ret_newest = *newest;
        pthread_mutex_unlock(&vault->lock);
        return newest;
}

static bool knows(Vault *vault, const char *name)
{
        Newest newest;

        return find(vault, name, &newest);
}

static void forget(Vault *vault, const char *name)
{
        pthread_mutex_lock(&vault->lock);
        free(map_find(&vault->newest, name));
        map_remove(&vault->newest, name);
        pthread_mutex_unlock(&vault->lock);
}

/*
 * One version of a name, twice where it is not found. 0: it is there; CB_NOT_FOUND: it is not, or nobody may look
 * at it any more.
 */
static int ask_for_version(Vault *vault, const Identifier *id, uint64_t deadline_usec,
                           uint64_t *ret_created_sec, Failure *failure)
{
        CLEANUP(certificate_answer_deinit) CertificateAnswer certificate = { 0 };
        KeyVerdict verdict;
        int r = lookup_certificate(vault, id, deadline_usec, &certificate, failure);

        if (r > 0 && key_verdict_of(r, &verdict)) {
                *failure = (Failure){ 0 };
                return CB_NOT_FOUND;
        }
        if (r == 0)
                *ret_created_sec = certificate.attributes.created_sec;
        return r;
}

/* A version that was seen before and does not exist any more (the name was purged, and restored) is no rule. */
static int forget_what_is_gone(Vault *vault, const Identifier *key, uint64_t created_sec,
                               uint64_t deadline_usec, Failure *failure)
{
        Identifier id = *key;
        uint64_t ignored_sec;
        Newest newest;
        int r;

        if (!find(vault, key->name, &newest) || strcasecmp(newest.version, key->version) == 0 ||
            created_sec >= newest.created_sec)
                return 0;
        memcpy(id.version, newest.version, sizeof(id.version));
        r = ask_for_version(vault, &id, deadline_usec, &ignored_sec, failure);
        if (r != CB_NOT_FOUND)
                return r;
        log_warning("the vault has no version %s of %s any more, and answers with an older one, %s",
                    newest.version, key->name, key->version);
        forget(vault, key->name);
        return 0;
}

/*
 * A process that has just begun has seen no version yet, but its broker has: where that is another one than
 * the vault says now, the vault is asked when it was made. A version that cannot be looked at any more
 * stops nobody.
 */
static int recall(Vault *vault, const char *current, const Identifier *key, uint64_t deadline_usec,
                  Failure *failure)
{
        Failure ignored = { 0 };
        Identifier known = { 0 };
        uint64_t created_sec;
        int r;

        if (!current || knows(vault, key->name) ||
            identifier_parse(&vault->settings.vault, current, &known, &ignored) != 0 ||
            known.kind != OBJECT_KEY || !*known.version ||
            strcasecmp(known.name, key->name) != 0 ||
            strcasecmp(known.version, key->version) == 0)
                return 0;

        r = ask_for_version(vault, &known, deadline_usec, &created_sec, failure);
        if (r != 0)
                return r == CB_NOT_FOUND ? 0 : r;

        pthread_mutex_lock(&vault->lock);
        r = note_locked(vault, &known, created_sec);
        pthread_mutex_unlock(&vault->lock);
        return r;
}

int newest_check(Vault *vault, const char *current, const Identifier *key, uint64_t created_sec,
                 uint64_t deadline_usec, Failure *failure)
{
        int r = recall(vault, current, key, deadline_usec, failure);

        if (r == 0)
                r = forget_what_is_gone(vault, key, created_sec, deadline_usec, failure);
        if (r != 0)
                return r;
        pthread_mutex_lock(&vault->lock);
        r = check_locked(vault, key, created_sec, failure);
        pthread_mutex_unlock(&vault->lock);
        if (r == CB_FAILED)
                log_error("%s", failure->text);
        return r;
}
