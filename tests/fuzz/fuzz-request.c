/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names in a request that a caller has signed: the first line is the subject, the others are alternative names; and
 * the whole as a request that a vault has made. Holds: what is taken can be encoded, the request then reads as one, and a
 * name in its normal form stays as it is.
 */
#include "fuzz-text.h"

#include "pki/context.h"
#include "pki/name.h"
#include "pki/request.h"

/* Of a P-256 key. */
static const uint8_t public_key[] = {
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
        0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04, 0xd7,
        0x01, 0xe1, 0xbd, 0xab, 0xe0, 0xde, 0x9f, 0x98, 0x96, 0xa2, 0xcf, 0xa9, 0x14, 0x07,
        0xb0, 0xb3, 0x29, 0x63, 0xcf, 0xf7, 0x02, 0x6e, 0xbd, 0xe4, 0x95, 0xdd, 0xf8, 0xc8,
        0xa4, 0xc3, 0x6c, 0x32, 0x0e, 0x42, 0x8d, 0xde, 0xc3, 0xc8, 0x7f, 0x50, 0x28, 0x5b,
        0x4e, 0x39, 0x7c, 0xaa, 0xda, 0xf1, 0x1d, 0x8c, 0xd9, 0xcb, 0xcd, 0xd7, 0xf2, 0xb3,
        0x6f, 0x48, 0x4a, 0xe5, 0x5e, 0x5d, 0x64,
};

static char **read_names(char *lines)
{
        char **names = NULL, *rest = NULL;

        for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                FUZZ_CHECK(strv_append(&names, line) == 0);
        return names;
}

static void try_request(const char *subject, char **names)
{
        CLEANUP(pki_request_freep) PkiRequest *request = NULL;
        CLEANUP(bytes_deinit) Bytes spki = { 0 }, info = { 0 }, der = { 0 };
        Failure failure = { 0 };
        int r;

        FUZZ_CHECK(bytes_set(&spki, public_key, sizeof(public_key)) == 0);
        r = pki_request_new(subject, names, &spki, &request, &failure);
        fuzz_check_outcome(r, &failure);
        if (r != 0)
                return;
        FUZZ_CHECK(pki_request_info(request, &info) == 0 && info.n > 0);
        FUZZ_CHECK(pki_request_finish(request, ALGORITHM_ECDSA_SHA256, &spki, &der) == 0);
        FUZZ_CHECK(der.n > info.n);
}

static void try_normal(const char *subject)
{
        CLEANUP(freep) char *normal = NULL, *again = NULL;
        Failure failure = { 0 };
        int r = pki_name_normal(subject, &normal, &failure);

        fuzz_check_outcome(r, &failure);
        if (r != 0)
                return;
        fuzz_check_text(normal);
        if (pki_name_normal(normal, &again, &failure) == 0)
                FUZZ_CHECK(strcmp(again, normal) == 0);
}

static void try_foreign(const uint8_t *data, size_t n)
{
        CLEANUP(bytes_deinit) Bytes der = { 0 }, spki = { 0 };
        Failure failure = { 0 };
        int r;

        FUZZ_CHECK(bytes_set(&der, data, n) == 0);
        r = pki_request_public_key(&der, &spki, &failure);
        fuzz_check_outcome(r, &failure);
        FUZZ_CHECK((r == 0) == (spki.n > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(freep) char *text = fuzz_string(data, n);
        char *lines = strchr(text, '\n'), **names = NULL;

        FUZZ_CHECK(pki_init() == 0);
        if (lines) {
                *lines++ = '\0';
                names = read_names(lines);
        }
        try_request(text, names);
        try_normal(text);
        try_foreign(data, n);
        strv_free(names);
        return 0;
}
