/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pkcs11: URI of a key, as a caller gives it to RegisterCertificate. Holds: one that is taken has neither PIN nor
 * module in it and names a key, and what is found by it is found again by the URI that is made of that.
 */
#include "fuzz-text.h"

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>

#include "source/pkcs11/uri.h"

static CK_TOKEN_INFO token_info(void)
{
        CK_TOKEN_INFO token;

        memset(&token, ' ', sizeof(token));
        memcpy(token.label, "prod", 4);
        memcpy(token.serialNumber, "0123456789abcdef", 16);
        return token;
}

static void try_uri(const char *text)
{
        CLEANUP(uri_freep) P11KitUri *uri = NULL;
        Failure failure = { 0 };
        int r = uri_parse(text, &uri, &failure);

        fuzz_check_outcome(r, &failure);
        if (r != 0)
                return;
        FUZZ_CHECK(!p11_kit_uri_get_pin_value(uri) && !p11_kit_uri_get_pin_source(uri));
        FUZZ_CHECK(!p11_kit_uri_get_module_path(uri) && !p11_kit_uri_get_module_name(uri));
        FUZZ_CHECK(!p11_kit_uri_any_unrecognized(uri));
        (void)uri_selects_object(uri);
}

static void try_locator(const char *text, bool strict)
{
        CLEANUP(locator_deinit) Locator locator = { 0 }, again = { 0 };
        CLEANUP(freep) char *own = NULL;
        const CK_TOKEN_INFO token = token_info();
        Failure failure = { 0 };
        int r = locator_parse(text, &token, strict, &locator, &failure);

        fuzz_check_outcome(r, &failure);
        if (r != 0)
                return;
        FUZZ_CHECK(locator.id.n > 0 || locator.label.n > 0);
        FUZZ_CHECK(locator_format(&locator, &token, &own) == 0);
        if (strlen(own) > 2048) /* percent signs make it longer */
                return;
        FUZZ_CHECK(locator_parse(own, &token, true, &again, &failure) == 0);
        FUZZ_CHECK(bytes_equal(&locator.id, &again.id) &&
                   bytes_equal(&locator.label, &again.label));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(freep) char *text = fuzz_string(data, n);

        try_uri(text);
        try_locator(text, true);
        try_locator(text, false);
        return 0;
}
