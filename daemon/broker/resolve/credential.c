/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a gateway gets for a backend, put together from the catalog alone: no source is asked, so it is
 * answered in the same turn of the loop, with a source that is away as well. It copies nothing but the key's
 * URI, changes nothing, and does not ask who the caller is: that has been decided before.
 */
#include "broker/resolve/credential.h"

#include <inttypes.h>
#include <stdio.h>

#include "broker/resolve/refusal.h"

static bool source_serves(const Sources *sources, const Certificate *certificate)
{
        const Source *source = sources_find(sources, certificate->source);

        return source && source_state_serves(source_state(source));
}

int credential_resolve(const Catalog *catalog, const Sources *sources, const Backend *backend,
                       uint64_t now_sec, Credential *ret_credential, Failure *failure)
{
        const Certificate *certificate = catalog_find_certificate(catalog, backend->certificate);
        const Generation *generation;
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

        *ret_credential = (Credential){
                .certificate = certificate,
                .generation = generation,
                .backend = backend,
                .stale = !source_serves(sources, certificate),
                .validate_chain = backend_validates_chain(backend, now_sec),
                .validate_name = backend_validates_name(backend, now_sec),
        };
        snprintf(ret_credential->key_uri, sizeof(ret_credential->key_uri),
                 "certbroker:certificate/%s?generation=%" PRIu64, certificate->id,
                 generation->number);
        return 0;
}
