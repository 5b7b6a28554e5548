/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A backend. Invariant: no text member is NULL, so that each can be shown as it is. An exception from
 * verification ends by the clock alone: what is in force is computed from the time, never stored.
 */
#include "core/backend.h"

#include <errno.h>
#include <stdlib.h>

#include "base/strings.h"

int backend_new(const char *name, Backend **ret_backend)
{
        CLEANUP(backend_freep) Backend *backend = calloc(1, sizeof(*backend));

        if (!backend)
                return -ENOMEM;
        backend->validate_chain = true;
        backend->validate_name = true;
        if (string_set(&backend->name, name) < 0 || string_set(&backend->url, "") < 0 ||
            string_set(&backend->certificate, "") < 0 || string_set(&backend->ca_file, "") < 0 ||
            string_set(&backend->skip_reason, "") < 0)
                return -ENOMEM;

        *ret_backend = TAKE(backend);
        return 0;
}

Backend *backend_free(Backend *backend)
{
        if (!backend)
                return NULL;
        free(backend->name);
        free(backend->url);
        free(backend->certificate);
        strv_free(backend->server_names);
        free(backend->ca_file);
        strv_free(backend->server_thumbprints);
        free(backend->skip_reason);
        free(backend);
        return NULL;
}

int backend_copy(const Backend *backend, Backend **ret_copy)
{
        CLEANUP(backend_freep) Backend *copy = NULL;
        int r;

        r = backend_new(backend->name, &copy);
        if (r < 0)
                return r;
        copy->validate_chain = backend->validate_chain;
        copy->validate_name = backend->validate_name;
        copy->skip_until_sec = backend->skip_until_sec;
        if (string_set(&copy->url, backend->url) < 0 ||
            string_set(&copy->certificate, backend->certificate) < 0 ||
            strv_copy(backend->server_names, &copy->server_names) < 0 ||
            string_set(&copy->ca_file, backend->ca_file) < 0 ||
            strv_copy(backend->server_thumbprints, &copy->server_thumbprints) < 0 ||
            string_set(&copy->skip_reason, backend->skip_reason) < 0)
                return -ENOMEM;

        *ret_copy = TAKE(copy);
        return 0;
}

bool backend_equal(const Backend *a, const Backend *b)
{
        return string_equal(a->name, b->name) && string_equal(a->url, b->url) &&
               string_equal(a->certificate, b->certificate) &&
               a->validate_chain == b->validate_chain && a->validate_name == b->validate_name &&
               strv_equal(a->server_names, b->server_names) &&
               string_equal(a->ca_file, b->ca_file) &&
               strv_equal(a->server_thumbprints, b->server_thumbprints) &&
               string_equal(a->skip_reason, b->skip_reason) &&
               a->skip_until_sec == b->skip_until_sec;
}

static bool exception_is_over(const Backend *backend, uint64_t now_sec)
{
        return backend->skip_until_sec != 0 && now_sec >= backend->skip_until_sec;
}

bool backend_validates_chain(const Backend *backend, uint64_t now_sec)
{
        return backend->validate_chain || exception_is_over(backend, now_sec);
}

bool backend_validates_name(const Backend *backend, uint64_t now_sec)
{
        return backend->validate_name || exception_is_over(backend, now_sec);
}

bool backend_exception_is_due(const Backend *backend, uint64_t now_sec)
{
        return exception_is_over(backend, now_sec) &&
               (!backend->validate_chain || !backend->validate_name);
}
