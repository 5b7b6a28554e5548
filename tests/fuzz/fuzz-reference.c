/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program hands the provider: a key file's content, a `certbroker:` URI, and a message that may be what TLS 1.3
 * signs. Holds: nothing crashes or leaks; a reference that is taken names one generation; and a message is taken for a
 * CertificateVerify only where it is that, byte for byte, so that nothing else is signed in its place.
 */
#include "fuzz.h"

#include <ctype.h>
#include <openssl/err.h>
#include <stdio.h>

#include "provider/reference.h"
#include "provider/tls13.h"
#include "provider/uri.h"

static void check_uri(const Uri *uri)
{
        FUZZ_CHECK(uri->kind < _URI_KIND_N && *uri->name);
        for (const char *p = uri->name; *p; p++)
                FUZZ_CHECK(isascii(*p) && (isalnum((unsigned char)*p) || strchr("._-", *p)));
}

static void try_reference(const uint8_t *data, size_t n)
{
        Reference reference = { 0 };

        (void)reference_may_begin(data, n);
        if (reference_parse(data, n, &reference) == 0) {
                check_uri(&reference.uri);
                FUZZ_CHECK(reference_may_begin(data, n) && reference_begins(data, n));
                FUZZ_CHECK(reference.uri.kind == URI_CERTIFICATE && reference.uri.generation > 0);
                FUZZ_CHECK(reference.spki && reference.n_spki > 0);
        }
        reference_deinit(&reference);
        ERR_clear_error();
}

static void try_uri(const uint8_t *data, size_t n)
{
        char *text = fuzz_string(data, n);
        Uri uri = { 0 };

        if (uri_parse(text, &uri) == 0)
                check_uri(&uri);
        free(text);
}

/* As the broker makes it again of role and hash (RFC 8446, 4.4.3). */
static void try_message(const uint8_t *data, size_t n)
{
        uint8_t again[64 + 34 + 48];
        Tls13Verify verify = { 0 };

        if (!tls13_recognise(data, n, &verify))
                return;
        FUZZ_CHECK(verify.n_hash == 32 || verify.n_hash == 48);
        memset(again, ' ', 64);
        (void)snprintf((char *)again + 64, 34, "TLS 1.3, %s CertificateVerify", verify.role);
        memcpy(again + 98, verify.hash, verify.n_hash);
        FUZZ_CHECK(n == 98 + verify.n_hash && memcmp(again, data, n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        try_reference(data, n);
        try_uri(data, n);
        try_message(data, n);
        return 0;
}
