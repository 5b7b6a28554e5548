/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The challenge of a vault, which would choose for whom a token is asked, and how long it asks to be left alone. Holds:
 * one that is believed without a configured resource names a resource over https that the vault's host belongs to, and a
 * configured tenant is its own; only an object goes on to the authority as claims; and nobody is made to wait for more than five minutes.
 */
#include "fuzz-text.h"

#include <strings.h>

#include "source/azure-key-vault/address.h"
#include "source/azure-key-vault/challenge.h"
#include "source/azure-key-vault/http.h"

#define HOST   "orders.vault.azure.net"
#define TENANT "72f988bf-86f1-41af-91ab-2d7cd011db47"

static void verify(const Challenge *challenge, const char *resource, const char *tenant)
{
        Failure failure = { 0 };
        int r = challenge_verify(challenge, HOST, resource, tenant, &failure);

        fuzz_check_outcome(r, &failure);
        if (r != 0)
                return;
        FUZZ_CHECK(!challenge->authority ||
                   strncasecmp(challenge->authority, "https://", 8) == 0);
        FUZZ_CHECK(!tenant || !challenge->tenant || strcasecmp(challenge->tenant, tenant) == 0);
        if (!resource && challenge->resource)
                FUZZ_CHECK(strcasestr(challenge->resource, "azure.net") &&
                           resource_covers(challenge->resource, HOST));
}

static void try_retry_after(const char *value)
{
        static const char *const names[] = { "Retry-After", "retry-after-ms" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                uint64_t usec = http_parse_retry_after(names[i], value, 1800000000);

                FUZZ_CHECK(usec == HTTP_NO_RETRY_AFTER || usec <= 300 * USEC_PER_SEC);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(challenge_deinit) Challenge challenge = { 0 };
        CLEANUP(freep) char *header = fuzz_string(data, n), *claims = NULL;
        Failure failure = { 0 };
        int r = challenge_parse(header, &challenge, &failure);

        try_retry_after(header);
        fuzz_check_outcome(r, &failure);
        if (r != 0)
                return 0;
        FUZZ_CHECK(!challenge.resource || *challenge.resource);
        FUZZ_CHECK(challenge_claims(&challenge, &claims) == 0 && (!claims || *claims == '{'));
        verify(&challenge, NULL, NULL);
        verify(&challenge, NULL, TENANT);
        verify(&challenge, "https://vault.azure.net", TENANT);
        FUZZ_CHECK(!challenge.resource || !resource_covers(challenge.resource, "orders.vault.example") ||
                   !resource_covers(challenge.resource, HOST));
        return 0;
}
