/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates as gateways, vaults and tokens hand them over: one in DER, or a file of them that is
 * then sorted to a chain; and bare public keys. Holds: nothing crashes or leaks, and whatever text
 * comes out is UTF-8 on one line.
 */
#include "fuzz.h"

#include <string.h>

#include "base/strings.h"
#include "pki/context.h"
#include "pki/signature.h"
#include "pki/x509.h"

#define NOW_SEC 1800000000

static void check_text(const char *text)
{
        FUZZ_CHECK(text && utf8_is_valid(text, strlen(text)));
        for (; *text; text++)
                FUZZ_CHECK((uint8_t)*text >= 0x20 && *text != 0x7f);
}

static void try_facts(const uint8_t *data, size_t n)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
        CLEANUP(freep) char *name = pki_name_of(data, n);
        Failure failure = { 0 };

        if (name)
                check_text(name);
        if (pki_certificate_facts(data, n, &facts, &failure) != 0) {
                check_text(failure.text);
                return;
        }
        check_text(facts.subject);
        check_text(facts.issuer);
        check_text(facts.serial_number);
        for (char **p = facts.subject_alt_names; p && *p; p++)
                check_text(*p);
}

static void try_chain(const uint8_t *data, size_t n)
{
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
        CLEANUP(freep) char *fault = NULL;
        Failure failure = { 0 };

        if (pki_certificates_parse(data, n, &list, &failure) != 0 ||
            pki_certificate_facts(list.items[0].data, list.items[0].n, &facts, &failure) != 0 ||
            pki_chain_sort(&list, &facts.spki, NOW_SEC, &chain, &fault, &failure) != 0) {
                check_text(failure.text);
                return;
        }
        FUZZ_CHECK(chain.n >= 1 && chain.n <= list.n);
        if (fault)
                check_text(fault);
}

static void try_key(const uint8_t *data, size_t n)
{
        CLEANUP(bytes_deinit) Bytes spki = { 0 };
        Failure failure = { 0 };
        KeyType type = KEY_TYPE_NONE;

        FUZZ_CHECK(bytes_set(&spki, data, n) == 0);
        if (pki_key_type(&spki, &type, &failure) == 0)
                FUZZ_CHECK(type > KEY_TYPE_NONE && type < _KEY_TYPE_N);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        FUZZ_CHECK(pki_init() == 0);
        try_facts(data, n);
        try_chain(data, n);
        try_key(data, n);
        return 0;
}
