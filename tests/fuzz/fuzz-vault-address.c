/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of vaults, as the configuration has them, and identifiers of what is in one, as a caller, a vault's answer or
 * the store has them. Holds: an identifier that is taken is in the vault, is of letters, digits and dashes, and says the
 * same when it is written and read again.
 */
#include "fuzz-text.h"

#include <ctype.h>

#include "source/azure-key-vault/address.h"

#define VAULT "https://orders.vault.azure.net"

static void check_word(const char *text, size_t n_max)
{
        FUZZ_CHECK(strlen(text) <= n_max);
        for (; *text; text++)
                FUZZ_CHECK(isascii(*text) && (isalnum((unsigned char)*text) || *text == '-'));
}

static void try_address(const char *text)
{
        CLEANUP(address_deinit) Address address = { 0 }, again = { 0 };
        Failure failure = { 0 };
        int r = address_parse(text, "uri", false, &address, &failure);

        fuzz_check_outcome(r, &failure);
        if (r != 0)
                return;
        FUZZ_CHECK(strncmp(address.origin, "https://", 8) == 0 && *address.host);
        FUZZ_CHECK(address_parse(address.origin, "uri", false, &again, &failure) == 0);
        FUZZ_CHECK(string_equal(address.origin, again.origin) &&
                   string_equal(address.host, again.host));
}

static void try_identifier(const Address *vault, const char *text)
{
        CLEANUP(freep) char *uri = NULL;
        Identifier identifier = { 0 }, again = { 0 };
        Failure failure = { 0 };
        int r = identifier_parse(vault, text, &identifier, &failure);

        fuzz_check_outcome(r, &failure);
        if (r != 0)
                return;
        check_word(identifier.name, OBJECT_NAME_MAX);
        check_word(identifier.version, OBJECT_VERSION_MAX);
        FUZZ_CHECK(object_name_is_valid(identifier.name));
        uri = identifier_uri(vault, identifier.kind, identifier.name, identifier.version);
        FUZZ_CHECK(uri && identifier_parse(vault, uri, &again, &failure) == 0);
        FUZZ_CHECK(memcmp(&identifier, &again, sizeof(again)) == 0);
}

static void try_name(const char *text)
{
        char name[OBJECT_NAME_MAX + 1];
        Failure failure = { 0 };
        int r = object_name_of(text, name, &failure);

        fuzz_check_outcome(r, &failure);
        if (r == 0)
                check_word(name, OBJECT_NAME_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(address_deinit) Address vault = { 0 };
        CLEANUP(freep) char *text = fuzz_string(data, n);
        Failure failure = { 0 };

        FUZZ_CHECK(address_parse(VAULT, "uri", false, &vault, &failure) == 0);
        try_address(text);
        try_identifier(&vault, text);
        try_name(text);
        (void)resource_covers(text, vault.host);
        return 0;
}
