/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#12 and PEM bundles, as whoever may import hands them over; the passphrase is that of the
 * seeds. Holds: nothing crashes, leaks or works for minutes, and a bundle that is taken is whole.
 */
#include "fuzz.h"

#include <string.h>

#include "pki/bundle.h"

#define NOW_SEC 1800000000

static Secret *secret_of(const void *data, size_t n)
{
        Secret *secret = NULL;

        FUZZ_CHECK(secret_new(n, &secret) == 0);
        if (n > 0)
                memcpy(secret_data(secret), data, n);
        secret_set_length(secret, n);
        return secret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(secret_freep) Secret *bundle = secret_of(data, n);
        CLEANUP(secret_freep) Secret *passphrase = secret_of("correct", 7);
        CLEANUP(pki_bundle_deinit) PkiBundle parsed = { 0 };
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };
        Failure failure = { 0 };

        FUZZ_CHECK(pki_init() == 0);
        if (pki_bundle_parse(bundle, passphrase, NOW_SEC, &parsed, &failure) == 0)
                FUZZ_CHECK(parsed.key && parsed.chain.n > 0 && parsed.spki.n > 0);
        else
                FUZZ_CHECK(failure.text[0] && !parsed.key);
        (void)pki_bundle_certificates(bundle, NULL, &list, &failure);
        return 0;
}
