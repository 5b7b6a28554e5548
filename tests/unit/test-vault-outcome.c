/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vault's refusals mean. Codes and sentences are those that the real service was seen to send; the
 * same words in another refusal must not make an object disabled or expired.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"
#include "source/azure-key-vault/outcome.h"

typedef struct Case {
        long status;
        const char *code, *inner, *message; /* inner: NULL for none */
        int outcome;
        const char *word; /* in the sentence */
} Case;

#define NETWORK                                                                                    \
        "Public network access is disabled and request is not from a trusted service nor via an "  \
        "approved private link."
#define FIREWALL "Client address is not authorized and caller is not a trusted service."

static const Case cases[] = {
        { 403, "Forbidden", "KeyDisabled", "Operation sign is not allowed on a disabled key.",
          CB_DISABLED, "enable it" },
        { 403, "Forbidden", "SecretDisabled", "Operation get is not allowed on a disabled secret.",
          CB_DISABLED, "enable it" },
        { 403, "Forbidden", "CertificateDisabled", "", CB_DISABLED, "enable it" },
        { 403, "Forbidden", "keydisabled", "", CB_DISABLED, "enable it" },
        { 403, "Forbidden", "KeyNotYetValid", "", CB_PENDING, "not valid yet" },
        { 403, "Forbidden", "KeyExpired", "", CB_EXPIRED, "rotate it" },
        { 403, "Forbidden", "KeyOperationForbidden",
          "Operation sign is not permitted on this key.", CB_NOT_SUPPORTED, "digitalSignature" },
        /* texts alone */
        { 403, "Forbidden", NULL, "Operation sign is not allowed on a disabled key.", CB_DISABLED,
          "enable it" },
        { 403, "Forbidden", NULL, "Operation get is not allowed on a disabled secret.",
          CB_DISABLED, "enable it" },
        { 403, "Forbidden", NULL, "Operation sign is not allowed on an expired key.", CB_EXPIRED,
          "rotate it" },
        { 403, "Forbidden", NULL, "Operation sign is not allowed on a key that is not yet valid.",
          CB_PENDING, "not valid yet" },
        { 403, "Forbidden", NULL, "Operation sign is not permitted on this key.",
          CB_NOT_SUPPORTED, "digitalSignature" },
        /* the way there */
        { 403, "Forbidden", "ForbiddenByConnection", NETWORK, CB_SOURCE_DENIED,
          "private endpoint" },
        { 403, "Forbidden", "ForbiddenByConnection",
          "Connection is not an approved private link and caller was ignored because "
          "PublicNetworkAccess is set to 'Disabled'.",
          CB_SOURCE_DENIED, "private endpoint" },
        { 403, "Forbidden", NULL, NETWORK, CB_SOURCE_DENIED, "private endpoint" },
        { 403, "Forbidden", "ForbiddenByFirewall", FIREWALL, CB_SOURCE_DENIED, "firewall" },
        { 403, "Forbidden", NULL, FIREWALL, CB_SOURCE_DENIED, "firewall" },
        /* neither an object's nor a permission's: in the vault's own words */
        { 403, "Forbidden", NULL, "The subscription 'x' is disabled and therefore read only.",
          CB_SOURCE_DENIED, "The subscription 'x' is disabled" },
        { 403, "Forbidden", "SubscriptionDisabled", "The subscription 'x' is disabled.",
          CB_SOURCE_DENIED, "SubscriptionDisabled" },
        { 403, "Forbidden", NULL, "Token has expired.", CB_SOURCE_DENIED, "Token has expired" },
        { 403, "Forbidden", "ForbiddenBySomethingNew", "Operation on a disabled key.",
          CB_SOURCE_DENIED, "ForbiddenBySomethingNew" },
        { 403, NULL, NULL, NULL, CB_SOURCE_DENIED, "HTTP 403" },
        /* permissions */
        { 403, "Forbidden", "ForbiddenByPolicy",
          "The user, group or application does not have keys sign permission.", CB_SOURCE_DENIED,
          "Key Vault Crypto User" },
        { 403, "Forbidden", "ForbiddenByRbac",
          "Caller is not authorized to perform action on resource.", CB_SOURCE_DENIED,
          "Key Vault Crypto User" },
        { 403, "Forbidden", "AccessDenied", "", CB_SOURCE_DENIED, "Key Vault Crypto User" },
        { 403, "Forbidden", NULL,
          "The user, group or application does not have keys sign permission.", CB_SOURCE_DENIED,
          "Key Vault Crypto User" },
        /* a name that is reserved */
        { 409, "Conflict", "ObjectIsDeletedButRecoverable", "", CB_ALREADY_EXISTS, "recover" },
        { 409, "Conflict", "ObjectIsBeingDeleted", "", CB_ALREADY_EXISTS, "recover" },
        { 409, "Conflict", NULL,
          "Certificate x is currently in a deleted but recoverable state, and its name cannot be "
          "reused.",
          CB_ALREADY_EXISTS, "recover" },
        { 409, "Conflict", NULL, "Certificate x is currently being deleted.", CB_ALREADY_EXISTS,
          "recover" },
        { 409, "Conflict", NULL, "The object is in use.", CB_FAILED, "in use" },
};

static void make_body(const Case *one, char *body, size_t n)
{
        char inner[100] = "";

        if (one->inner)
                snprintf(inner, sizeof(inner), ",\"innererror\":{\"code\":\"%s\"}", one->inner);
        if (one->code)
                snprintf(body, n, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"%s}}", one->code,
                         one->message, inner);
        else
                snprintf(body, n, "<html>Forbidden</html>");
}

static int judge(const Case *one, Failure *failure)
{
        VaultCall call = { .uri = "https://h/keys/n/0", .permission = PERMISSION_KEYS_SIGN };
        char body[512];
        HttpAnswer answer = { .status = one->status, .body = { (uint8_t *)body, 0 } };
        bool lacking = true;
        int r;

        make_body(one, body, sizeof(body));
        answer.body.n = strlen(body);
        r = outcome_of(&call, &answer, &lacking, failure);
        assert_int_equal(lacking, strstr(failure->text, "lacks the permission") != NULL);
        return r;
}

static void test_refusals(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Failure failure = { 0 };

                if (judge(&cases[i], &failure) != cases[i].outcome ||
                    !strstr(failure.text, cases[i].word))
                        print_error("%zu, '%s': %s\n", i, cases[i].word, failure.text);
                assert_int_equal(failure.status, cases[i].outcome);
                assert_non_null(strstr(failure.text, cases[i].word));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_refusals),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
