/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Challenges of a vault, by RFC 9110's grammar: what is read of them, and which are not believed. Those that
 * are marked so were recorded of the real service.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "source/azure-key-vault/challenge.h"

#define R      "resource=\"https://vault.azure.net\""
#define SHOULD "https://vault.azure.net"

static const struct {
        const char *header;
        const char *resource; /* "": none is named; NULL: it is refused */
        const char *error, *tenant;
} rows[] = {
        /* recorded */
        { "Bearer authorization=\"https://login.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47\", " R,
          SHOULD, NULL, "72f988bf-86f1-41af-91ab-2d7cd011db47" },
        { "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/"
          "authorize\", error=\"insufficient_claims\", claims=\"eyJhIjoxfQ==\"",
          "", "insufficient_claims", NULL },
        /* quoted pairs, and what looks like an end and is none */
        { "Bearer error=\"invalid_token\", error_description=\"the \\\"exp\\\" is over\", " R, SHOULD,
          "invalid_token", NULL },
        { "Bearer error_description=\"a \\\\\", " R, SHOULD, NULL, NULL },
        { "Bearer resource=\"https://vault.azure.net\\\"", NULL, NULL, NULL },
        { "Bearer error_description=\"Bearer resource=x, Bearer \\\", resource=y\", " R, SHOULD, NULL,
          NULL },
        { "Bearer resource=\"https:\\/\\/vault.azure.net\"", SHOULD, NULL, NULL },
        /* several: in one value, and in several */
        { "Basic realm=\"x, Bearer y\", Bearer " R, SHOULD, NULL, NULL },
        { "Bearer " R ", Basic realm=\"x\"", SHOULD, NULL, NULL },
        { "Negotiate, Bearer " R ", NTLM", SHOULD, NULL, NULL },
        { "Negotiate a87421000492aa==, Bearer " R, SHOULD, NULL, NULL },
        { "Newauth a=\"1\", Bearer error=\"invalid_token\", Bearer " R, SHOULD, NULL, NULL },
        { "Basic realm=\"x\"\nNegotiate\nBearer " R, SHOULD, NULL, NULL },
        { "Bearer error=\"invalid_token\"\nBearer " R, SHOULD, NULL, NULL },
        { "Bearer \"\nBearer " R, SHOULD, NULL, NULL },
        { "PoP resource=\"https://evil.example\", Bearer " R, SHOULD, NULL, NULL },
        { "Bearer " R ", PoP resource=\"https://evil.example\"", SHOULD, NULL, NULL },
        /* white space, case, empty elements */
        { "bEARER RESOURCE = \"https://vault.azure.net\" ,, ,error=invalid_token ,", SHOULD,
          "invalid_token", NULL },
        { " , Bearer\t " R, SHOULD, NULL, NULL },
        /* a scope says it more exactly; URLs without quotes */
        { "Bearer authorization_uri=https://l/t, scope=https://vault.azure.net/.default", SHOULD, NULL,
          "t" },
        { "Bearer resource=\"https://other\", scope=\"https://vault.azure.net/.default\"", SHOULD,
          NULL, NULL },
        /* without a resource */
        { "Bearer", "", NULL, NULL },
        { "Bearer resource=\"\"", "", NULL, NULL },
        { "Bearer abc==", "", NULL, NULL },
        { "Bearer error=\"invalid_token\"", "", "invalid_token", NULL },
        /* of any tenant */
        { "Bearer authorization=\"https://l/Organizations/x\", " R, SHOULD, NULL, NULL },
        /* none */
        { "", NULL, NULL, NULL },
        { "Basic realm=\"x\"", NULL, NULL, NULL },
        { "Bearerresource=\"https://vault.azure.net\"", NULL, NULL, NULL },
        { "Bearer resource=\"https://vault.azure.net", NULL, NULL, NULL },
        { "Bearer " R ", resource=\"https://evil.example\"", NULL, NULL, NULL },
        { "Bearer " R ", error=\"a\" b", NULL, NULL, NULL },
        { "Bearer " R ", =\"\"", NULL, NULL, NULL },
        { "Bearer ,,=\"", NULL, NULL, NULL },
};

static void test_grammar(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(challenge_deinit) Challenge challenge = { 0 };
                Failure failure = { 0 };
                int r = challenge_parse(rows[i].header, &challenge, &failure);

                if ((r == 0) != (rows[i].resource != NULL) ||
                    !string_equal(challenge.resource, r || !*rows[i].resource ? NULL : rows[i].resource))
                        print_error("%zu: %s: %s\n", i, rows[i].header,
                                    string_or_empty(challenge.resource));
                assert_int_equal(r, rows[i].resource ? 0 : CB_SOURCE_DENIED);
                if (r != 0)
                        continue;
                assert_string_equal(string_or_empty(challenge.resource), rows[i].resource);
                assert_true(string_equal(challenge.error, rows[i].error));
                assert_true(string_equal(challenge.tenant, rows[i].tenant));
        }
}

/* RFC 4648, both alphabets, with and without padding; what is not JSON goes nowhere. */
static void test_claims(void **state)
{
        static const struct {
                const char *text, *json;
        } claims[] = {
                { "eyJhIjoxfQ==", "{\"a\":1}" },    { "eyJhIjoxfQ", "{\"a\":1}" },
                { "eyJhIjoiPj8+In0=", "{\"a\":\">?>\"}" }, { "eyJhIjoiPj8-In0", "{\"a\":\">?>\"}" },
                { "e30=", "{}" },                   { "WzFd", NULL },
                { "bm9uZQ==", NULL },               { "!", NULL },
                { "", NULL },
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(claims); i++) {
                CLEANUP(freep) char *text = strdup(claims[i].text), *json = NULL;
                Challenge challenge = { .claims = text };

                assert_int_equal(challenge_claims(&challenge, &json), 0);
                if (!string_equal(json, claims[i].json))
                        print_error("%zu: %s\n", i, string_or_empty(json));
                assert_true(string_equal(json, claims[i].json));
        }
}

static int judge(const char *header, const char *resource, const char *tenant)
{
        CLEANUP(challenge_deinit) Challenge challenge = { 0 };
        Failure failure = { 0 };
        int r = challenge_parse(header, &challenge, &failure);

        return r ? r
                 : challenge_verify(&challenge, "contoso.vault.azure.net", resource, tenant,
                                    &failure);
}

static void test_challenges(void **state)
{
        static const char recorded[] =
                "Bearer authorization=\"https://login.windows.net/"
                "72f988bf-86f1-41af-91ab-2d7cd011db47\", resource=\"https://vault.azure.net\"";

        (void)state;
        assert_int_equal(judge(recorded, NULL, NULL), 0);
        assert_int_equal(judge(recorded, NULL, "72f988bf-86f1-41af-91ab-2d7cd011db47"), 0);
        assert_int_equal(judge(recorded, NULL, "contoso.onmicrosoft.com"), 0);
        assert_int_equal(judge(recorded, NULL, "72f988bf-86f1-41af-91ab-000000000000"),
                         CB_SOURCE_DENIED);
        assert_int_equal(judge("Basic realm=\"x\"\nBearer authorization_uri=https://l/t, "
                               "scope=https://vault.azure.net/.default",
                               NULL, NULL),
                         0);
        assert_int_equal(judge("Bearer resource=\"https://evil.example\"", NULL, NULL),
                         CB_SOURCE_DENIED);
        assert_int_equal(
                judge("Bearer resource=\"https://kv.example\"", "https://kv.example/", NULL), 0);
        assert_int_equal(
                judge("Bearer authorization=\"http://l/t\", resource=\"https://vault.azure.net\"",
                      NULL, NULL),
                CB_SOURCE_DENIED);
        assert_int_equal(judge("Basic realm=\"Bearer , Bearer x\", Bearer "
                               "resource=\"https://vault.azure.net\"",
                               NULL, NULL),
                         0);
        assert_int_equal(judge("", NULL, NULL), CB_SOURCE_DENIED);
        assert_int_equal(judge("Bearer ,,=\"", NULL, NULL), CB_SOURCE_DENIED);
}

#define GUID "72f988bf-86f1-41af-91ab-2d7cd011db47"

/* Where none is named the configuration's is asked for, and no other's is accepted for that. */
static void test_without_a_resource(void **state)
{
        (void)state;
        assert_int_equal(judge("Bearer authorization_uri=\"https://l/common/oauth2/authorize\", "
                               "error=\"insufficient_claims\"",
                               NULL, GUID),
                         0);
        assert_int_equal(judge("Bearer error=\"invalid_token\"", NULL, GUID), 0);
        assert_int_equal(judge("Bearer authorization=\"https://l/72f988bf-86f1-41af-91ab-000000000000\"",
                               NULL, GUID),
                         CB_SOURCE_DENIED);
        assert_int_equal(judge("Bearer authorization=\"https://l/commons\"", NULL, GUID),
                         CB_SOURCE_DENIED);
        assert_int_equal(judge("Bearer authorization=\"http://l/common\"", NULL, GUID),
                         CB_SOURCE_DENIED);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_grammar),
                cmocka_unit_test(test_claims),
                cmocka_unit_test(test_challenges),
                cmocka_unit_test(test_without_a_resource),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
