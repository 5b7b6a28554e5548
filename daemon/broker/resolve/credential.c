/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a gateway gets for a backend, put together from the catalog alone: no source is asked, so it is
 * answered in the same turn of the loop, with a source that is away as well. It copies nothing but the key's
 * URI, changes nothing, and does not ask who the caller is: that has been decided before.
 */
#include "broker/resolve/credential.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/strings.h"
#include "broker/resolve/refusal.h"
#include "core/identifier.h"

/* What a source said last is served while it does not answer, but not for ever. */
static int check_stale(const Sources *sources, const Certificate *certificate, uint64_t now_sec,
                       bool *ret_stale, Failure *failure)
{
        const Source *source = sources_find(sources, certificate->source);
        uint64_t max_sec = source ? source_max_stale_sec(source) : UINT64_MAX, seen_sec;

        *ret_stale = !source || !source_state_serves(source_state(source));
        if (!*ret_stale || max_sec == UINT64_MAX)
                return 0;

        seen_sec = MAX(certificate->last_refresh_sec, source_served_sec(source));
        if (now_sec <= seen_sec + max_sec)
                return 0;
        return fail(failure, CB_SOURCE_UNAVAILABLE,
                    "what is known of certificate '%s' is older than max-stale of source '%s', "
                    "which does not answer; see 'certbroker source show %s'",
                    certificate->id, certificate->source, certificate->source);
}

int generation_resolve(const Catalog *catalog, const char *id, uint64_t number, uint64_t now_sec,
                       const Generation **ret_generation, Failure *failure)
{
        const Certificate *certificate = catalog_find_certificate(catalog, id);
        const Generation *generation;
        int r = 0;

        if (!certificate)
                return object_not_found(failure, OBJECT_CERTIFICATE, id);

        generation = certificate_find_generation(certificate, number);
        if (!generation || (generation->number != certificate->current &&
                            !certificate_generation_waits(certificate, generation)))
                r = certificate_may_sign(certificate, generation, now_sec);
        if (r != 0)
                return certificate_refusal(certificate, generation, r, failure);

        *ret_generation = generation;
        return 0;
}

int credential_resolve(const Catalog *catalog, const Sources *sources, const Backend *backend,
                       uint64_t now_sec, Credential *ret_credential, Failure *failure)
{
        const Certificate *certificate = catalog_find_certificate(catalog, backend->certificate);
        const Generation *generation;
        bool stale = false;
        int r;

        if (!certificate)
                return fail(failure, CB_FAILED,
                            "backend '%s' is bound to certificate '%s', which is not there; bind "
                            "it to another",
                            backend->name, backend->certificate);

        generation = certificate_find_generation(certificate, 0);
        r = certificate_may_sign(certificate, generation, now_sec);
        if (r != 0)
                return certificate_refusal(certificate, generation, r, failure);

        if (generation->trial_usec != 0)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "certificate '%s' is not handed out for now: %s", certificate->id,
                            string_or_empty(certificate->last_error));
        r = check_stale(sources, certificate, now_sec, &stale, failure);
        if (r != 0)
                return r;

        *ret_credential = (Credential){
                .certificate = certificate,
                .generation = generation,
                .backend = backend,
                .stale = stale,
                .validate_chain = backend_validates_chain(backend, now_sec),
                .validate_name = backend_validates_name(backend, now_sec),
        };
        snprintf(ret_credential->key_uri, sizeof(ret_credential->key_uri),
                 "certbroker:certificate/%s?generation=%" PRIu64, certificate->id,
                 generation->number);
        return 0;
}
