/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key file's content:
 *
 *   KeyReference ::= SEQUENCE {
 *           mark   VisibleString,          -- "certbroker key reference v1"
 *           uri    UTF8String,             -- certbroker:certificate/ID?generation=N
 *           key    SubjectPublicKeyInfo }
 *
 * Nothing in it is secret. The public key is kept as the bytes that it is: the template for
 * SubjectPublicKeyInfo would decode it at once in the program's library context, from within a
 * decoder of that very context.
 */
#include "reference.h"

#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/asn1t.h>
#include <string.h>

#include "macro.h"

#define MARK "certbroker key reference v1"

typedef struct KeyReference {
        ASN1_VISIBLESTRING *mark;
        ASN1_UTF8STRING *uri;
        ASN1_STRING *key;
} KeyReference;

/* clang-format off */
ASN1_SEQUENCE(KeyReference) = {
        ASN1_SIMPLE(KeyReference, mark, ASN1_VISIBLESTRING),
        ASN1_SIMPLE(KeyReference, uri, ASN1_UTF8STRING),
        ASN1_SIMPLE(KeyReference, key, ASN1_SEQUENCE),
} static_ASN1_SEQUENCE_END(KeyReference)
/* clang-format on */

static void key_reference_free(KeyReference *parsed)
{
        ASN1_item_free((ASN1_VALUE *)parsed, ASN1_ITEM_rptr(KeyReference));
}

DEFINE_CLEANUP(KeyReference *, key_reference_free)

static bool string_is(const ASN1_STRING *string, const char *text)
{
        size_t n = (size_t)ASN1_STRING_length(string);

        return n == strlen(text) && memcmp(ASN1_STRING_get0_data(string), text, n) == 0;
}

/* How long the outer SEQUENCE's tag and length are; 0: it is none. The length itself is the file's affair. */
static size_t header_length(const uint8_t *der, size_t n_der)
{
        size_t n;

        if (n_der < 2 || der[0] != (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED))
                return 0;

        n = der[1] & 0x80 ? 2 + (size_t)(der[1] & 0x7f) : 2;
        return n <= 4 ? n : 0;
}

bool reference_may_begin(const uint8_t *der, size_t n_der)
{
        size_t n = header_length(der, n_der);

        return n > 0 && n < n_der && der[n] == V_ASN1_VISIBLESTRING;
}

bool reference_begins(const uint8_t *der, size_t n_der)
{
        size_t n = header_length(der, n_der), n_mark = strlen(MARK);

        return n > 0 && n_der >= n + 2 + n_mark && der[n] == V_ASN1_VISIBLESTRING &&
               der[n + 1] == n_mark && memcmp(der + n + 2, MARK, n_mark) == 0;
}

int reference_parse(const uint8_t *der, size_t n_der, Reference *ret_reference)
{
        CLEANUP(key_reference_freep) KeyReference *parsed = NULL;
        CLEANUP(reference_deinit) Reference reference = { 0 };
        const uint8_t *p = der;
        char text[512];
        size_t n;

        parsed = (KeyReference *)ASN1_item_d2i(NULL, &p, (long)n_der, ASN1_ITEM_rptr(KeyReference));
        if (!parsed || p != der + n_der || !string_is(parsed->mark, MARK))
                return -EBADMSG;

        n = (size_t)ASN1_STRING_length(parsed->uri);
        if (n >= sizeof(text) || memchr(ASN1_STRING_get0_data(parsed->uri), '\0', n))
                return -EINVAL;
        memcpy(text, ASN1_STRING_get0_data(parsed->uri), n);
        text[n] = '\0';
        if (uri_parse(text, &reference.uri) != 0 || reference.uri.kind != URI_CERTIFICATE ||
            reference.uri.generation == 0)
                return -EINVAL;

        reference.n_spki = (size_t)ASN1_STRING_length(parsed->key);
        reference.spki = malloc(reference.n_spki);
        if (!reference.spki)
                return -ENOMEM;
        memcpy(reference.spki, ASN1_STRING_get0_data(parsed->key), reference.n_spki);

        *ret_reference = reference;
        reference.spki = NULL;
        return 0;
}

void reference_deinit(Reference *reference)
{
        free(reference->spki);
        *reference = (Reference){ 0 };
}
