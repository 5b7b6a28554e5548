/* SPDX-License-Identifier: Apache-2.0 */
/* The sentences for certificates and generations that may not sign. Decides nothing: core has. */
#include "broker/resolve/refusal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/strings.h"

/* Not ours, but its source's? */
static bool is_verdict(const Certificate *certificate, const Generation *generation, int status)
{
        KeyVerdict verdict;

        return generation && generation->number == certificate->current && certificate->enabled &&
               !generation->retired && key_verdict_of(status, &verdict) &&
               verdict == certificate->verdict;
}

static int refuse_pending(const Certificate *certificate, const Generation *generation,
                          Failure *failure)
{
        if (!generation || generation->chain.n == 0)
                return fail(failure, CB_PENDING,
                            "certificate '%s' has no certificate for its key yet; install one",
                            certificate->id);
        if (certificate_generation_waits(certificate, generation))
                return fail(failure, CB_PENDING,
                            "generation %" PRIu64
                            " of certificate '%s' is not valid yet; it becomes current by itself "
                            "at its NotBefore",
                            generation->number, certificate->id);
        return fail(failure, CB_PENDING,
                    "certificate '%s' is not valid yet; wait for its NotBefore or install another",
                    certificate->id);
}

int certificate_refusal(const Certificate *certificate, const Generation *generation, int status,
                        Failure *failure)
{
        const char *id = certificate->id;

        if (!generation && certificate->n_generations > 0 && certificate->current != 0)
                return fail(failure, CB_NOT_FOUND,
                            "certificate '%s' has no such generation; its current one is %" PRIu64,
                            id, certificate->current);

        if (is_verdict(certificate, generation, status))
                return fail(failure, status,
                            "certificate '%s' cannot be used now; its source '%s' says: %s", id,
                            certificate->source, string_or_empty(certificate->last_error));

        switch (status) {
        case CB_DISABLED:
                return fail(failure, status,
                            generation && generation->retired
                                    ? "this generation of certificate '%s' is retired and never "
                                      "signs again; "
                                      "load the current one"
                                    : "certificate '%s' is disabled; enable it first",
                            id);
        case CB_PENDING:
                return refuse_pending(certificate, generation, failure);
        case CB_EXPIRED:
                return fail(failure, status,
                            generation && generation->number != certificate->current
                                    ? "this generation of certificate '%s' may no longer sign; "
                                      "load the current one"
                                    : "certificate '%s' has expired; rotate it",
                            id);
        default:
                return fail(failure, status, "certificate '%s' cannot sign now (%s)", id,
                            status_word(status));
        }
}
