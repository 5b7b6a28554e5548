/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalog: all certificates and backends, and the indexes over them. It owns what it holds.
 * Invariant: every thumbprint of every generation, the subject of every current one, and every use of a
 * certificate by a backend, is in its index. Whoever changes a certificate hands in a new one (catalog_replace_*): nothing is changed
 * in place, so an index never lags.
 */
#pragma once

#include <stddef.h>

#include "base/map.h"
#include "base/failure.h"
#include "core/backend.h"
#include "core/certificate.h"
#include "core/identifier.h"

typedef struct Catalog Catalog;

int catalog_new(Catalog **ret_catalog);
Catalog *catalog_free(Catalog *catalog);
DEFINE_CLEANUP(Catalog, catalog_free)

const Map *catalog_certificates(const Catalog *catalog); /* id → Certificate */
const Map *catalog_backends(const Catalog *catalog);     /* name → Backend */
Certificate *catalog_find_certificate(const Catalog *catalog, const char *id);
Backend *catalog_find_backend(const Catalog *catalog, const char *name);

/*
 * Adds or replaces, taking ownership on success; the one that was there before is freed. -EINVAL for a name
 * or id that is none, and for the very object that is there already.
 */
int catalog_set_certificate(Catalog *catalog, Certificate *certificate);
int catalog_set_backend(Catalog *catalog, Backend *backend);
void catalog_remove_certificate(Catalog *catalog, const char *id);
void catalog_remove_backend(Catalog *catalog, const char *name);

/*
 * An id, a thumbprint or "subject=DN" (compared with the RFC 4514 form that properties show), in this order, among the
 * certificates for whose id `visible` says yes. CB_NOT_FOUND, or CB_INVALID_ARGUMENT naming the candidates.
 * What is not visible takes the time that what is not there takes: `visible` is asked first, also about
 * ids that are none.
 */
typedef bool (*catalog_visible)(void *userdata, const char *id);
int catalog_select(const Catalog *catalog, const char *selector, catalog_visible visible,
                   void *userdata, Certificate **ret_certificate, Failure *failure);

/* Says what of it is neither an id nor a thumbprint; returns `status`. */
int catalog_refuse_selector(const char *selector, int status, Failure *failure);

#define CATALOG_NAMED_MAX 8 /* of the candidates, in a message: nobody looks for more */

/* The same in steps, for thousands may have it; between them anything may change. Its fields are its own. */
typedef struct CatalogSearch {
        const Catalog *catalog;
        const Map *pairs; /* NULL: it is an id */
        char *selector, *key;
        char *also;                            /* "subject=DN", where none has what is in selector; NULL: nothing */
        char *doubt;                           /* why "subject=…" is none; NULL: nothing */
        const char *subject;                   /* in selector; NULL: it is something else */
        bool may_be_id;                        /* a thumbprint that is an id as well */
        char after[IDENTIFIER_LENGTH_MAX + 1]; /* the last one that was looked at */
        bool is_over;
        size_t n;
        char names[CATALOG_NAMED_MAX * (IDENTIFIER_LENGTH_MAX + 3)];
} CatalogSearch;

int catalog_search_begin(CatalogSearch *search, const Catalog *catalog, const char *selector);
/* Where none is found: is there one by this "subject=DN"? Once, before the first step. */
int catalog_search_also(CatalogSearch *search, const char *selector);
/* Where none is found, that is why; "": nothing is to be said. */
int catalog_search_doubt(CatalogSearch *search, const char *why);
/* One certificate; false: that was all. */
bool catalog_search_step(CatalogSearch *search, catalog_visible visible, void *userdata);
/* As catalog_select(). */
int catalog_search_end(const CatalogSearch *search, Certificate **ret_certificate,
                       Failure *failure);
void catalog_search_deinit(CatalogSearch *search);

/* The name of the first backend after `after` ("": of all) that uses it, NULL: none. The catalog's. */
const char *catalog_next_user(const Catalog *catalog, const char *id, const char *after);
