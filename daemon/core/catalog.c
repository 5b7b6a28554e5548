/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All certificates and backends, and two indexes of pairs "THUMBPRINT/ID" and "ID/BACKEND": since they are
 * sorted, everything with one left half lies together, and no left half holds a slash. Invariant: a pair
 * is there exactly if a certificate or backend of the catalog says so; the change of an object adds the
 * new pairs, swaps the object, then drops the old ones, so that what fails for want of memory leaves
 * everything as it was.
 */
#include "core/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/strings.h"
#include "core/identifier.h"

#define PAIR_MAX         (THUMBPRINT_TEXT + 2 * (IDENTIFIER_LENGTH_MAX + 1) + 1)
#define SUBJECT_SELECTOR "subject="
#define CANDIDATES_NAMED 8 /* in a message */

struct Catalog {
        Map certificates;
        Map backends;
        Map thumbprints; /* "THUMBPRINT/ID" → nothing */
        Map users;       /* "ID/BACKEND" → nothing */
        uint64_t n_lives;
};

int catalog_new(Catalog **ret_catalog)
{
        Catalog *catalog = calloc(1, sizeof(*catalog));

        if (!catalog)
                return -ENOMEM;
        *ret_catalog = catalog;
        return 0;
}

Catalog *catalog_free(Catalog *catalog)
{
        if (!catalog)
                return NULL;
        MAP_FOREACH (&catalog->certificates, entry)
                certificate_free(entry->value);
        MAP_FOREACH (&catalog->backends, entry)
                backend_free(entry->value);
        map_deinit(&catalog->certificates);
        map_deinit(&catalog->backends);
        map_deinit(&catalog->thumbprints);
        map_deinit(&catalog->users);
        free(catalog);
        return NULL;
}

const Map *catalog_certificates(const Catalog *catalog)
{
        return &catalog->certificates;
}

const Map *catalog_backends(const Catalog *catalog)
{
        return &catalog->backends;
}

Certificate *catalog_find_certificate(const Catalog *catalog, const char *id)
{
        return map_find(&catalog->certificates, id);
}

Backend *catalog_find_backend(const Catalog *catalog, const char *name)
{
        return map_find(&catalog->backends, name);
}

/* "left/right"; right may be empty, for the place before all pairs of left. */
static void pair_make(const char *left, const char *right, char ret_pair[PAIR_MAX])
{
        size_t n_left = strlen(left), n_right = strlen(right);

        assert_always(n_left + n_right + 2 <= PAIR_MAX);
        memcpy(ret_pair, left, n_left);
        ret_pair[n_left] = '/';
        memcpy(ret_pair + n_left + 1, right, n_right + 1);
}

/* The right half of the index'th pair if its left half is this one, else NULL. */
static const char *pair_right(const Map *pairs, size_t index, const char *left)
{
        size_t n_left = strlen(left);
        const char *key;

        if (index >= pairs->n)
                return NULL;
        key = pairs->entries[index].key;
        return strncmp(key, left, n_left) == 0 && key[n_left] == '/' ? key + n_left + 1 : NULL;
}

/* The place of the first pair of left whose right half is greater, if there is one. */
static size_t pair_after(const Map *pairs, const char *left, const char *right)
{
        char pair[PAIR_MAX];

        pair_make(left, right, pair);
        return map_index_after(pairs, pair);
}

static bool has_thumbprint(const Certificate *certificate, const char *thumbprint)
{
        for (size_t i = 0; certificate && i < certificate->n_generations; i++) {
                const CertificateFacts *facts = &certificate->generations[i]->facts;

                if (strcmp(facts->thumbprint, thumbprint) == 0 ||
                    strcmp(facts->thumbprint_sha256, thumbprint) == 0)
                        return true;
        }
        return false;
}

static int index_thumbprint(Catalog *catalog, const char *thumbprint, const char *id)
{
        char pair[PAIR_MAX];

        if (thumbprint[0] == '\0') /* pending */
                return 0;
        pair_make(thumbprint, id, pair);
        return map_set(&catalog->thumbprints, pair, NULL);
}

static void unindex_thumbprint(Catalog *catalog, const char *thumbprint, const char *id,
                               const Certificate *except)
{
        char pair[PAIR_MAX];

        if (thumbprint[0] == '\0' || has_thumbprint(except, thumbprint))
                return;
        pair_make(thumbprint, id, pair);
        map_remove(&catalog->thumbprints, pair);
}

/* Drops the thumbprints of `certificate` that `except` (NULL: none) does not have as well. */
static void unindex_certificate(Catalog *catalog, const Certificate *certificate,
                                const Certificate *except)
{
        for (size_t i = 0; certificate && i < certificate->n_generations; i++) {
                const CertificateFacts *facts = &certificate->generations[i]->facts;

                unindex_thumbprint(catalog, facts->thumbprint, certificate->id, except);
                unindex_thumbprint(catalog, facts->thumbprint_sha256, certificate->id, except);
        }
}

static int index_certificate(Catalog *catalog, const Certificate *certificate)
{
        int r;

        for (size_t i = 0; i < certificate->n_generations; i++) {
                const CertificateFacts *facts = &certificate->generations[i]->facts;

                r = index_thumbprint(catalog, facts->thumbprint, certificate->id);
                if (r == 0)
                        r = index_thumbprint(catalog, facts->thumbprint_sha256, certificate->id);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What was begun in one life of a certificate is not handed out in the next: an end is an end. */
static uint64_t life_of(Catalog *catalog, const Certificate *before, const Certificate *after)
{
        if (before && (after->enabled || !before->enabled))
                return before->life;
        return ++catalog->n_lives;
}

int catalog_set_certificate(Catalog *catalog, Certificate *certificate)
{
        Certificate *before = map_find(&catalog->certificates, certificate->id);
        int r;

        if (!identifier_is_valid(certificate->id))
                return -EINVAL;
        if (before == certificate) /* never changed in place: the index would lag */
                return -EINVAL;

        r = index_certificate(catalog, certificate);
        if (r == 0)
                r = map_set(&catalog->certificates, certificate->id, certificate);
        if (r < 0) {
                unindex_certificate(catalog, certificate, before);
                return r;
        }
        unindex_certificate(catalog, before, certificate);
        certificate->life = life_of(catalog, before, certificate);
        certificate_free(before);
        return 0;
}

void catalog_remove_certificate(Catalog *catalog, const char *id)
{
        CLEANUP(certificate_freep) Certificate *certificate = NULL;

        certificate = map_remove(&catalog->certificates, id);
        unindex_certificate(catalog, certificate, NULL);
}

static void unindex_backend(Catalog *catalog, const Backend *backend)
{
        char pair[PAIR_MAX];

        pair_make(backend->certificate, backend->name, pair);
        map_remove(&catalog->users, pair);
}

int catalog_set_backend(Catalog *catalog, Backend *backend)
{
        Backend *before = map_find(&catalog->backends, backend->name);
        char pair[PAIR_MAX];
        bool same_use = before && strcmp(before->certificate, backend->certificate) == 0;
        int r;

        if (!identifier_is_valid(backend->name) || !identifier_is_valid(backend->certificate))
                return -EINVAL;
        if (before == backend)
                return -EINVAL;

        pair_make(backend->certificate, backend->name, pair);
        r = map_set(&catalog->users, pair, NULL);
        if (r < 0)
                return r;
        r = map_set(&catalog->backends, backend->name, backend);
        if (r < 0) {
                if (!same_use)
                        map_remove(&catalog->users, pair);
                return r;
        }
        if (before && !same_use)
                unindex_backend(catalog, before);
        backend_free(before);
        return 0;
}

void catalog_remove_backend(Catalog *catalog, const char *name)
{
        CLEANUP(backend_freep) Backend *backend = map_remove(&catalog->backends, name);

        if (backend)
                unindex_backend(catalog, backend);
}

/* What a selector has matched so far. */
typedef struct Candidates {
        catalog_visible visible;
        void *userdata;
        Certificate *first;
        size_t n;
        char names[CANDIDATES_NAMED * (IDENTIFIER_LENGTH_MAX + 3)];
} Candidates;

static bool is_visible(const Candidates *candidates, const char *id)
{
        return !candidates->visible || candidates->visible(candidates->userdata, id);
}

static void candidates_add(Candidates *candidates, Certificate *certificate)
{
        size_t n_used = strlen(candidates->names);

        if (candidates->n++ == 0)
                candidates->first = certificate;
        if (candidates->n <= CANDIDATES_NAMED) {
                char *p = candidates->names + n_used;

                if (n_used > 0)
                        p = mempcpy(p, ", ", 2);
                memcpy(p, certificate->id, strlen(certificate->id) + 1);
        }
}

static void select_by_id(const Catalog *catalog, const char *id, Candidates *candidates)
{
        bool visible = is_visible(candidates, id);
        Certificate *certificate = catalog_find_certificate(catalog, id);

        if (certificate && visible)
                candidates_add(candidates, certificate);
}

/* Where there is none, one that is none is looked at. */
static void select_by_thumbprint(const Catalog *catalog, const uint8_t *digest, size_t n_digest,
                                 Candidates *candidates)
{
        char thumbprint[THUMBPRINT_TEXT];
        const char *id;
        size_t i;

        hex_encode_upper(digest, n_digest, thumbprint);
        i = pair_after(&catalog->thumbprints, thumbprint, "");
        id = pair_right(&catalog->thumbprints, i, thumbprint);
        do
                select_by_id(catalog, id ? id : thumbprint, candidates);
        while (id && (id = pair_right(&catalog->thumbprints, ++i, thumbprint)));
}

static void select_by_subject(const Catalog *catalog, const char *subject, Candidates *candidates)
{
        MAP_FOREACH (&catalog->certificates, entry) {
                Generation *current = certificate_find_generation(entry->value, 0);

                if (is_visible(candidates, entry->key) && current &&
                    string_equal(current->facts.subject, subject))
                        candidates_add(candidates, entry->value);
        }
}

int catalog_select(const Catalog *catalog, const char *selector, catalog_visible visible,
                   void *userdata, Certificate **ret_certificate, Failure *failure)
{
        Candidates candidates = { .visible = visible, .userdata = userdata };
        uint8_t digest[DIGEST_LENGTH_MAX];
        size_t n_digest;

        if (identifier_is_valid(selector))
                select_by_id(catalog, selector, &candidates);
        else if (thumbprint_parse(selector, digest, &n_digest))
                select_by_thumbprint(catalog, digest, n_digest, &candidates);
        else if (strncmp(selector, SUBJECT_SELECTOR, strlen(SUBJECT_SELECTOR)) == 0)
                select_by_subject(catalog, selector + strlen(SUBJECT_SELECTOR), &candidates);

        if (candidates.n == 0)
                return object_not_found(failure, OBJECT_CERTIFICATE, selector);
        if (candidates.n > 1)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "%zu certificates have it: %.300s%s; ask for one of them by its id",
                            candidates.n, candidates.names,
                            candidates.n > CANDIDATES_NAMED ? ", …" : "");
        *ret_certificate = candidates.first;
        return 0;
}

const char *catalog_next_user(const Catalog *catalog, const char *id, const char *after)
{
        if (strlen(id) > IDENTIFIER_LENGTH_MAX) /* nothing of ours */
                return NULL;
        return pair_right(&catalog->users, pair_after(&catalog->users, id, after), id);
}
