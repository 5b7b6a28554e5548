/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 7512 by p11-kit. Invariant: what is taken has been understood whole: an attribute that is not
 * recognised could be the one that narrows, so it is an error.
 */
#include "source/pkcs11/uri.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>

#include "base/strings.h"

#define URI_MAX 2048

void uri_freep(P11KitUri **place)
{
        p11_kit_uri_free(*place);
        *place = NULL;
}

static int refuse(const char *text, const char *why, Failure *failure)
{
        CLEANUP(freep) char *shown = text_escape(text, strlen(text), 200);

        return fail(failure, CB_INVALID_ARGUMENT, "the URI '%s' %s", string_or_empty(shown), why);
}

/*
 * Looked for in the text too: p11-kit takes them as query attributes only, and before the '?' they would be
 * "not recognised", which hides the reason. The text itself is not repeated: a PIN may be in it.
 */
static int refuse_foreign_attributes(const char *text, P11KitUri *uri, Failure *failure)
{
        static const char *const names[] = { "pin-value", "pin-source", "pinfile", "module-path",
                                             "module-name" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const char *place = strstr(text, names[i]);

                if (place && place[strlen(names[i])] == '=' && place > text &&
                    strchr(":;?&", place[-1]))
                        return fail(failure, CB_INVALID_ARGUMENT,
                                    "a URI with '%s' is not taken: PIN and module are the source's "
                                    "configuration; leave it out",
                                    names[i]);
        }
        if (uri && (p11_kit_uri_get_pin_value(uri) || p11_kit_uri_get_pin_source(uri) ||
                    p11_kit_uri_get_module_path(uri) || p11_kit_uri_get_module_name(uri)))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "a URI with a PIN or a module in it is not taken; leave it out");
        return 0;
}

int uri_parse(const char *text, P11KitUri **ret_uri, Failure *failure)
{
        CLEANUP(uri_freep) P11KitUri *uri = NULL;
        int r;

        if (strlen(text) > URI_MAX)
                return fail(failure, CB_INVALID_ARGUMENT, "the URI is longer than %d bytes",
                            URI_MAX);
        r = refuse_foreign_attributes(text, NULL, failure);
        if (r != 0)
                return r;
        uri = p11_kit_uri_new();
        if (!uri)
                return -ENOMEM;
        /* P11_KIT_URI_NO_MEMORY is the same number as P11_KIT_URI_UNEXPECTED, and never what is meant. */
        if (p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri) != P11_KIT_URI_OK)
                return refuse(text, "is no pkcs11: URI (RFC 7512)", failure);
        r = refuse_foreign_attributes(text, uri, failure);
        if (r != 0)
                return r;
        if (p11_kit_uri_any_unrecognized(uri))
                return refuse(text, "has an attribute that is not understood", failure);
        *ret_uri = TAKE(uri);
        return 0;
}

bool uri_selects_object(P11KitUri *uri)
{
        CK_ULONG n = 0;

        (void)p11_kit_uri_get_attributes(uri, &n);
        return n > 0;
}

void locator_deinit(Locator *locator)
{
        bytes_deinit(&locator->id);
        bytes_deinit(&locator->label);
}

static int take_attribute(P11KitUri *uri, CK_ATTRIBUTE_TYPE type, Bytes *bytes)
{
        CK_ATTRIBUTE *attribute = p11_kit_uri_get_attribute(uri, type);

        if (!attribute || attribute->ulValueLen == 0)
                return 0;
        return bytes_set(bytes, attribute->pValue, attribute->ulValueLen);
}

static int check_class(const char *text, P11KitUri *uri, Failure *failure)
{
        CK_ATTRIBUTE *attribute = p11_kit_uri_get_attribute(uri, CKA_CLASS);
        CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;

        if (attribute && attribute->ulValueLen == sizeof(class))
                memcpy(&class, attribute->pValue, sizeof(class));
        if (class != CKO_PRIVATE_KEY)
                return refuse(text, "is not for a private key; use type=private, or leave it out",
                              failure);
        return 0;
}

static bool matches_token(P11KitUri *uri, const CK_TOKEN_INFO *token, bool strict)
{
        const CK_TOKEN_INFO *wanted = p11_kit_uri_get_token_info(uri);
        CK_TOKEN_INFO copy = *token;

        if (strict)
                return p11_kit_uri_match_token_info(uri, &copy) != 0;
        return wanted->label[0] == 0 ||
               memcmp(wanted->label, token->label, sizeof(token->label)) == 0;
}

int locator_parse(const char *text, const CK_TOKEN_INFO *token, bool strict, Locator *ret_locator,
                  Failure *failure)
{
        CLEANUP(uri_freep) P11KitUri *uri = NULL;
        CLEANUP(locator_deinit) Locator locator = { 0 };
        int r;

        r = uri_parse(text, &uri, failure);
        if (r == 0)
                r = check_class(text, uri, failure);
        if (r == 0)
                r = take_attribute(uri, CKA_ID, &locator.id);
        if (r == 0)
                r = take_attribute(uri, CKA_LABEL, &locator.label);
        if (r != 0)
                return r;
        if (locator.id.n == 0 && locator.label.n == 0)
                return refuse(text, "names no key; say id= or object=", failure);
        if (!matches_token(uri, token, strict)) {
                CLEANUP(freep) char *shown = text_escape(text, strlen(text), 200);

                return fail(failure, CB_NOT_FOUND, "the URI '%s' is for another token",
                            string_or_empty(shown));
        }
        *ret_locator = locator;
        locator = (Locator){ 0 };
        return 0;
}

static int set_attribute(P11KitUri *uri, CK_ATTRIBUTE_TYPE type, const void *value, size_t n)
{
        CK_ATTRIBUTE attribute = { type, NULL, n };
        CLEANUP(freep) void *copy = NULL;

        if (n == 0)
                return 0;
        copy = malloc(n);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, value, n);
        attribute.pValue = copy;
        return p11_kit_uri_set_attribute(uri, &attribute) == P11_KIT_URI_OK ? 0 : -ENOMEM;
}

int locator_format(const Locator *locator, const CK_TOKEN_INFO *token, char **ret_text)
{
        CLEANUP(uri_freep) P11KitUri *uri = p11_kit_uri_new();
        CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
        CK_TOKEN_INFO *info;
        char *text = NULL;
        int r;

        if (!uri)
                return -ENOMEM;
        info = p11_kit_uri_get_token_info(uri);
        memcpy(info->label, token->label, sizeof(info->label));
        memcpy(info->serialNumber, token->serialNumber, sizeof(info->serialNumber));
        r = set_attribute(uri, CKA_CLASS, &class, sizeof(class));
        if (r == 0)
                r = set_attribute(uri, CKA_LABEL, locator->label.data, locator->label.n);
        if (r == 0)
                r = set_attribute(uri, CKA_ID, locator->id.data, locator->id.n);
        if (r < 0)
                return r;
        if (p11_kit_uri_format(uri, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &text) != P11_KIT_URI_OK)
                return -ENOMEM;
        *ret_text = text;
        return 0;
}
