/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The room's common ground: which key is meant, and may it be used now. It looks into the catalog afresh for each
 * request and keeps nothing.
 */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "broker/resolve/refusal.h"
#include "broker/sign/room.h"
#include "core/identifier.h"

int signer_find_key(Signer *signer, const char *id, uint64_t generation, SignerKey *ret_key,
                    Failure *failure)
{
        SignerKey key = { .certificate = catalog_find_certificate(signer->catalog, id) };
        int r;

        if (!key.certificate)
                return object_not_found(failure, OBJECT_CERTIFICATE, id);

        key.generation = certificate_find_generation(key.certificate, generation);
        if (!key.generation && generation != 0)
                return fail(failure, CB_NOT_FOUND,
                            "certificate '%s' has no generation %" PRIu64
                            "; its current one is %" PRIu64,
                            id, generation, key.certificate->current);

        r = certificate_may_sign(key.certificate, key.generation, clock_realtime_sec());
        if (r != 0)
                return certificate_refusal(key.certificate, key.generation, r, failure);

        key.source = sources_find(signer->sources, key.certificate->source);
        if (!key.source)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "source '%s' of certificate '%s' is not configured any more",
                            key.certificate->source, id);

        *ret_key = key;
        return 0;
}

void signer_tell_used(Signer *signer, const char *id, uint64_t generation, int status)
{
        if (signer->events.used)
                signer->events.used(signer->events_userdata, id, generation, status);
}

void signer_give_up(const char *id, int r, Failure *failure, sign_done done, void *userdata)
{
        if (failure->status == 0)
                fail(failure, r, "the key of certificate '%s' could not be used: %s", id,
                     strerror(-r));
        done(userdata, failure, 0, NULL);
}
