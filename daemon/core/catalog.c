/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All certificates and backends, and three indexes of pairs "THUMBPRINT/ID", "SUBJECT/ID" and "ID/BACKEND",
 * with a line break in place of the slash: since they are sorted, everything with one left half lies
 * together. Invariant: a pair is there exactly if a certificate or backend of the catalog says so; the
 * change of an object adds the new pairs, swaps the object, then drops the old ones, so that what fails
 * for want of memory leaves everything as it was. Of a subject, the pair has the beginning: what is found
 * by it is compared.
 */
#include "core/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/strings.h"
#include "core/identifier.h"
#include "core/thumbprint.h"

#define SUBJECT_KEY_MAX  512
#define PAIR_MAX         (SUBJECT_KEY_MAX + IDENTIFIER_LENGTH_MAX + 2)
#define BETWEEN          '\n' /* in no id, no thumbprint and no subject of RFC 4514 */
#define SUBJECT_SELECTOR "subject="

struct Catalog {
        Map certificates;
        Map backends;
        Map thumbprints; /* THUMBPRINT, ID → nothing */
        Map subjects;    /* SUBJECT, ID → nothing: of current generations */
        Map users;       /* ID, BACKEND → nothing */
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
        map_deinit(&catalog->subjects);
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

/* Both halves; right may be empty, for the place before all pairs of left. */
static void pair_make(const char *left, const char *right, char ret_pair[PAIR_MAX])
{
        size_t n_left = strlen(left), n_right = strlen(right);

        assert_always(n_left + n_right + 2 <= PAIR_MAX);
        memcpy(ret_pair, left, n_left);
        ret_pair[n_left] = BETWEEN;
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
        return strncmp(key, left, n_left) == 0 && key[n_left] == BETWEEN ? key + n_left + 1 : NULL;
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

/* "": there is none. */
static void subject_key(const char *subject, char ret_key[SUBJECT_KEY_MAX + 1])
{
        size_t n = strnlen(subject, SUBJECT_KEY_MAX);

        memcpy(ret_key, subject, n);
        ret_key[n] = '\0';
}

static const char *subject_of(const Certificate *certificate)
{
        const Generation *current =
                certificate ? certificate_find_generation(certificate, 0) : NULL;

        return current ? current->facts.subject : NULL;
}

static int index_subject(Catalog *catalog, const Certificate *certificate)
{
        const char *subject = subject_of(certificate);
        char key[SUBJECT_KEY_MAX + 1], pair[PAIR_MAX];

        if (!subject)
                return 0;
        subject_key(subject, key);
        pair_make(key, certificate->id, pair);
        return map_set(&catalog->subjects, pair, NULL);
}

static void unindex_subject(Catalog *catalog, const Certificate *certificate,
                            const Certificate *except)
{
        const char *subject = subject_of(certificate), *kept = subject_of(except);
        char key[SUBJECT_KEY_MAX + 1], pair[PAIR_MAX];

        if (!subject || (kept && strncmp(subject, kept, SUBJECT_KEY_MAX) == 0))
                return;
        subject_key(subject, key);
        pair_make(key, certificate->id, pair);
        map_remove(&catalog->subjects, pair);
}

/* Drops the pairs of `certificate` that `except` (NULL: none) does not have as well. */
static void unindex_certificate(Catalog *catalog, const Certificate *certificate,
                                const Certificate *except)
{
        for (size_t i = 0; certificate && i < certificate->n_generations; i++) {
                const CertificateFacts *facts = &certificate->generations[i]->facts;

                unindex_thumbprint(catalog, facts->thumbprint, certificate->id, except);
                unindex_thumbprint(catalog, facts->thumbprint_sha256, certificate->id, except);
        }
        unindex_subject(catalog, certificate, except);
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
        return index_subject(catalog, certificate);
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

/* --- finding --- */

static bool is_a_subject(const char *selector)
{
        return strncmp(selector, SUBJECT_SELECTOR, strlen(SUBJECT_SELECTOR)) == 0;
}

int catalog_search_begin(CatalogSearch *search, const Catalog *catalog, const char *selector)
{
        CatalogSearch begun = { .catalog = catalog };
        uint8_t digest[DIGEST_LENGTH_MAX];
        size_t n_digest;

        begun.selector = strdup(selector);
        begun.key = malloc(SUBJECT_KEY_MAX + 1);
        if (!begun.selector || !begun.key) {
                catalog_search_deinit(&begun);
                return -ENOMEM;
        }
        *begun.key = '\0';
        if (thumbprint_parse(selector, digest, &n_digest, NULL)) {
                begun.pairs = &catalog->thumbprints;
                begun.may_be_id = identifier_is_valid(selector);
                hex_encode_upper(digest, n_digest, begun.key);
        } else if (is_a_subject(selector)) {
                begun.pairs = &catalog->subjects;
                begun.subject = begun.selector + strlen(SUBJECT_SELECTOR);
                subject_key(begun.subject, begun.key);
        } else if (identifier_is_valid(selector)) {
                subject_key(selector, begun.key);
        } else {
                begun.is_over = true;
        }
        *search = begun;
        return 0;
}

int catalog_search_also(CatalogSearch *search, const char *selector)
{
        return search->subject && is_a_subject(selector) ? string_set(&search->also, selector) : 0;
}

int catalog_search_doubt(CatalogSearch *search, const char *why)
{
        return string_set(&search->doubt, *why ? why : NULL);
}

static void turn_to_also(CatalogSearch *search)
{
        free(search->selector);
        search->selector = TAKE(search->also);
        search->subject = search->selector + strlen(SUBJECT_SELECTOR);
        subject_key(search->subject, search->key);
        search->after[0] = '\0';
}

void catalog_search_deinit(CatalogSearch *search)
{
        free(search->also);
        free(search->doubt);
        free(search->selector);
        free(search->key);
        *search = (CatalogSearch){ 0 };
}

static void found(CatalogSearch *search, const char *id)
{
        size_t n_used = strlen(search->names);
        char *p = search->names + n_used;

        if (++search->n > CATALOG_NAMED_MAX) {
                search->is_over = true;
                return;
        }
        if (n_used > 0)
                p = mempcpy(p, ", ", 2);
        memcpy(p, id, strlen(id) + 1);
}

/* Of the certificate alone: whether it may be seen is asked first, also of what is none. */
static void look_at(CatalogSearch *search, const char *id, catalog_visible visible, void *userdata)
{
        bool may_see = !visible || visible(userdata, id);
        const Certificate *certificate = catalog_find_certificate(search->catalog, id);

        if (certificate && may_see &&
            (!search->subject || string_equal(subject_of(certificate), search->subject)))
                found(search, id);
}

/* The next of its pairs; where there is none, one that is none is looked at. */
bool catalog_search_step(CatalogSearch *search, catalog_visible visible, void *userdata)
{
        const char *id = NULL;

        if (search->is_over)
                return false;
        if (search->may_be_id) {
                search->may_be_id = false;
                look_at(search, search->selector, visible, userdata);
                search->is_over = search->n > 0;
                return !search->is_over;
        }
        if (search->pairs)
                id = pair_right(search->pairs,
                                pair_after(search->pairs, search->key, search->after), search->key);
        if (!id || strlen(id) > IDENTIFIER_LENGTH_MAX) {
                if (*search->after == '\0')
                        look_at(search, search->key, visible, userdata);
                if (search->also && search->n == 0) {
                        turn_to_also(search);
                        return true;
                }
                search->is_over = true;
                return false;
        }
        memcpy(search->after, id, strlen(id) + 1);
        look_at(search, id, visible, userdata);
        return !search->is_over;
}

/* Nothing has it, whoever asks: so why may be told. */
static bool is_no_selector(const char *selector)
{
        uint8_t digest[DIGEST_LENGTH_MAX];
        size_t n;

        return !identifier_is_valid(selector) && !is_a_subject(selector) &&
               !thumbprint_parse(selector, digest, &n, NULL);
}

int catalog_refuse_selector(const char *selector, int status, Failure *failure)
{
        CLEANUP(freep) char *shown = text_escape(selector, strlen(selector), IDENTIFIER_LENGTH_MAX);
        Failure why = { 0 };
        uint8_t digest[DIGEST_LENGTH_MAX];
        size_t n;

        (void)thumbprint_parse(selector, digest, &n, &why);
        return fail(failure, status,
                    "'%s' is neither a certificate's id (at most %d of A-Z a-z 0-9 . _ -) nor a "
                    "thumbprint: as that it %s",
                    string_or_empty(shown), IDENTIFIER_LENGTH_MAX, why.text);
}

int catalog_search_end(const CatalogSearch *search, Certificate **ret_certificate, Failure *failure)
{
        Certificate *certificate = NULL;

        if (search->n == 1)
                certificate = catalog_find_certificate(search->catalog, search->names);
        if (search->n > CATALOG_NAMED_MAX)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "more than %d certificates have it: %.300s, …; ask for one of them by "
                            "its id",
                            CATALOG_NAMED_MAX, search->names);
        if (search->n > 1)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "%zu certificates have it: %.300s; ask for one of them by its id",
                            search->n, search->names);
        /* It is told whenever nothing is found that the caller may see: so it says nothing of what he may not. */
        if (!certificate && search->doubt)
                return fail(failure, CB_NOT_FOUND, "no certificate has it as its subject: %s",
                            search->doubt);
        if (!certificate)
                return is_no_selector(search->selector)
                               ? catalog_refuse_selector(search->selector, CB_NOT_FOUND, failure)
                               : object_not_found(failure, OBJECT_CERTIFICATE, search->selector);
        *ret_certificate = certificate;
        return 0;
}

int catalog_select(const Catalog *catalog, const char *selector, catalog_visible visible,
                   void *userdata, Certificate **ret_certificate, Failure *failure)
{
        CLEANUP(catalog_search_deinit) CatalogSearch search = { 0 };

        if (catalog_search_begin(&search, catalog, selector) < 0)
                return fail(failure, -ENOMEM, "no memory to look for a certificate");
        while (catalog_search_step(&search, visible, userdata))
                ;
        return catalog_search_end(&search, ret_certificate, failure);
}

const char *catalog_next_user(const Catalog *catalog, const char *id, const char *after)
{
        if (strlen(id) > IDENTIFIER_LENGTH_MAX) /* nothing of ours */
                return NULL;
        return pair_right(&catalog->users, pair_after(&catalog->users, id, after), id);
}
