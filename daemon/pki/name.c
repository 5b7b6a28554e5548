/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distinguished names as text. They are taken apart by libldap (RFC 4514 is LDAP's), and put together by OpenSSL.
 */
#include "pki/name.h"

#include <ctype.h>
#include <errno.h>
#include <ldap.h>
#include <openssl/asn1err.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/strings.h"
#include "pki/certificate.h"
#include "pki/context.h"

#define SUBJECT_MAX 1024

static void dn_deinit(LDAPDN *dn)
{
        ldap_dnfree(*dn);
}

/* What OpenSSL knows only as it is spelt here, and Windows's word for the last. RFC 4512 compares without case. */
static const struct {
        const char *word, *name;
} attribute_words[] = {
        { "serialNumber", "serialNumber" },
        { "givenName", "givenName" },
        { "dnQualifier", "dnQualifier" },
        { "generationQualifier", "generationQualifier" },
        { "postalCode", "postalCode" },
        { "businessCategory", "businessCategory" },
        { "organizationIdentifier", "organizationIdentifier" },
        { "jurisdictionC", "jurisdictionC" },
        { "jurisdictionST", "jurisdictionST" },
        { "jurisdictionL", "jurisdictionL" },
        { "emailAddress", "emailAddress" },
        { "E", "emailAddress" },
};

static void map_letters(char *text, int (*map)(int))
{
        for (; *text; text++)
                *text = (char)map((unsigned char)*text);
}

/* OpenSSL's short names are case-sensitive, RFC 4514's are not. */
static ASN1_OBJECT *attribute_type(const struct berval *attribute)
{
        char text[64];
        ASN1_OBJECT *object;

        if (attribute->bv_len == 0 || attribute->bv_len >= sizeof(text))
                return NULL;

        memcpy(text, attribute->bv_val, attribute->bv_len);
        text[attribute->bv_len] = '\0';
        for (size_t i = 0; i < ELEMENTSOF(attribute_words); i++)
                if (strcasecmp(text, attribute_words[i].word) == 0)
                        return OBJ_txt2obj(attribute_words[i].name, 0);
        object = OBJ_txt2obj(text, 0);
        if (!object) {
                map_letters(text, toupper);
                object = OBJ_txt2obj(text, 0);
        }
        if (!object) {
                map_letters(text, tolower);
                object = OBJ_txt2obj(text, 0);
        }
        return object;
}

/* The types whose values libcrypto shows as text, of those that it reads in a name: times it only shows. */
static bool is_shown_as_text(int type)
{
        static const int types[] = { V_ASN1_UTF8STRING,      V_ASN1_NUMERICSTRING,
                                     V_ASN1_PRINTABLESTRING, V_ASN1_T61STRING,
                                     V_ASN1_IA5STRING,       V_ASN1_VISIBLESTRING,
                                     V_ASN1_UNIVERSALSTRING, V_ASN1_BMPSTRING };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (types[i] == type)
                        return true;
        return false;
}

static int add_entry(X509_NAME *name, const ASN1_OBJECT *type, int value_type, const void *value,
                     size_t n, int set)
{
        /* libcrypto copies an entry by its encoding, and reads there no value that is no text: so it is set afterwards. */
        return X509_NAME_add_entry_by_OBJ(name, type, V_ASN1_UTF8STRING,
                                          (const unsigned char *)"-", 1, 0, set) == 1 &&
               X509_NAME_ENTRY_set_data(X509_NAME_get_entry(name, 0), value_type, value,
                                        (int)n) == 1;
}

/* By its attribute's own type, which libcrypto's table has, with bounds. */
static int add_checked(X509_NAME *name, const ASN1_OBJECT *type, const void *value, size_t n,
                       int set)
{
        return n > 0 && X509_NAME_add_entry_by_OBJ(name, type, MBSTRING_UTF8, value, (int)n, 0,
                                                   set) == 1;
}

static int add_text(X509_NAME *name, const ASN1_OBJECT *type, const ASN1_STRING *text, int set)
{
        unsigned char *utf8 = NULL;
        int n = ASN1_STRING_to_UTF8(&utf8, text), added;

        added = n > 0 && utf8_is_valid((const char *)utf8, (size_t)n) &&
                add_checked(name, type, utf8, (size_t)n, set);
        OPENSSL_free(utf8);
        return added;
}

/* Is it what its type says? libcrypto reads no certificate or request with a name that is not. */
static bool is_readable(const ASN1_STRING *text)
{
        unsigned char *utf8 = NULL;
        int n = ASN1_STRING_to_UTF8(&utf8, text);
        bool is_so = n >= 0;

        OPENSSL_free(utf8);
        return is_so;
}

static bool encodes_to(const ASN1_TYPE *value, const struct berval *der)
{
        unsigned char *again = NULL;
        int n = i2d_ASN1_TYPE(value, &again);
        bool equal = n > 0 && (ber_len_t)n == der->bv_len &&
                     memcmp(again, der->bv_val, der->bv_len) == 0;

        OPENSSL_free(again);
        return equal;
}

/*
 * A value given as `#` and its encoding in hex (RFC 4514, 2.4), which libldap has decoded. Where its attribute has a type,
 * text alone is taken; else it is written as it came, so that it reads the same again. V_ASN1_OTHER is a whole encoding.
 */
static int add_encoded(X509_NAME *name, const ASN1_OBJECT *type, const struct berval *value,
                       int set, NameUse use)
{
        const unsigned char *p = (const unsigned char *)value->bv_val, *end = p + value->bv_len;
        ASN1_TYPE *encoded = d2i_ASN1_TYPE(NULL, &p, (long)value->bv_len);
        int added = 0;

        if (encoded && p == end && encodes_to(encoded, value)) {
                const ASN1_STRING *string = encoded->value.asn1_string;
                bool is_text = is_shown_as_text(encoded->type);

                if (use == NAME_FOR_REQUEST && ASN1_STRING_TABLE_get(OBJ_obj2nid(type)))
                        added = is_text && add_text(name, type, string, set);
                else if (is_text)
                        added = is_readable(string) &&
                                add_entry(name, type, encoded->type, ASN1_STRING_get0_data(string),
                                          (size_t)ASN1_STRING_length(string), set);
                else
                        added = add_entry(name, type, V_ASN1_OTHER, value->bv_val, value->bv_len,
                                          set);
        }
        ASN1_TYPE_free(encoded);
        return added;
}

static int add_value(X509_NAME *name, const ASN1_OBJECT *type, const LDAPAVA *ava, int set,
                     NameUse use)
{
        const struct berval *value = &ava->la_value;

        if (ava->la_flags & LDAP_AVA_BINARY)
                return add_encoded(name, type, value, set, use);
        if (use == NAME_FOR_REQUEST)
                return add_checked(name, type, value->bv_val, value->bv_len, set);
        return add_entry(name, type, V_ASN1_UTF8STRING, value->bv_len > 0 ? value->bv_val : "",
                         value->bv_len, set);
}

static int refuse_value(const ASN1_OBJECT *type, const LDAPAVA *ava, const char *word,
                        Failure *failure)
{
        const ASN1_STRING_TABLE *bounds = ASN1_STRING_TABLE_get(OBJ_obj2nid(type));
        int reason = ERR_GET_REASON(ERR_peek_last_error());

        if (ava->la_flags & LDAP_AVA_BINARY && reason != ASN1_R_STRING_TOO_LONG &&
            reason != ASN1_R_STRING_TOO_SHORT)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the subject's attribute '%s' has after # no value in DER that it may "
                            "have",
                            word);
        if (ava->la_value.bv_len == 0)
                return fail(failure, CB_INVALID_ARGUMENT, "the subject's attribute '%s' is empty",
                            word);
        if (reason == ASN1_R_STRING_TOO_LONG && bounds)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the subject's attribute '%s' has more than %ld characters", word,
                            bounds->maxsize);
        if (reason == ASN1_R_STRING_TOO_SHORT && bounds)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the subject's attribute '%s' has fewer than %ld characters", word,
                            bounds->minsize);
        return fail(failure, CB_INVALID_ARGUMENT,
                    "the subject's attribute '%s' has a character that its type does not have",
                    word);
}

static int add_attribute(X509_NAME *name, const LDAPAVA *ava, bool is_first, NameUse use,
                         Failure *failure)
{
        CLEANUP(freep) char *word = text_escape(ava->la_attr.bv_val, ava->la_attr.bv_len, 64);
        ASN1_OBJECT *type = attribute_type(&ava->la_attr);
        int r = 0;

        ERR_clear_error();
        if (!type)
                r = fail(failure, CB_INVALID_ARGUMENT,
                         "the subject has an attribute of a type that is not known: '%s'; give its "
                         "number, as 2.5.4.3",
                         string_or_empty(word));
        else if (!add_value(name, type, ava, is_first ? 0 : 1, use))
                r = refuse_value(type, ava, string_or_empty(word), failure);
        ASN1_OBJECT_free(type);
        ERR_clear_error();
        return r;
}

/* libldap has turned the text around already: what comes last there is first in ASN.1 (RFC 4514, 2.1). */
static int fill_name(X509_NAME *name, LDAPDN dn, NameUse use, Failure *failure)
{
        for (size_t i = 0; dn && dn[i]; i++) {
                for (size_t j = 0; dn[i][j]; j++) {
                        int r = add_attribute(name, dn[i][j], j == 0, use, failure);

                        if (r != 0)
                                return r;
                }
        }
        return 0;
}

int name_parse(X509_NAME *name, const char *subject, NameUse use, Failure *failure)
{
        CLEANUP(dn_deinit) LDAPDN dn = NULL;
        size_t n = strlen(subject);

        if (n > SUBJECT_MAX || !utf8_is_valid(subject, n))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the subject is longer than %d bytes or not UTF-8", SUBJECT_MAX);

        if (n > 0 && ldap_str2dn(subject, &dn, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the subject is not a distinguished name; write it as in RFC 4514: "
                            "CN=orders,O=Example%s",
                            strcasestr(subject, "OID.")
                                    ? ", and numbers without 'OID.' ahead of them: 2.5.4.3=orders"
                                    : "");
        return fill_name(name, dn, use, failure);
}

/* As a certificate has it: what is in one set is in DER's order, whatever the order of the text is. */
static X509_NAME *sorted(X509_NAME *name)
{
        unsigned char *der = NULL;
        int n = i2d_X509_NAME(name, &der);
        const unsigned char *p = der;
        X509_NAME *again = n > 0 ? d2i_X509_NAME(NULL, &p, n) : NULL;

        OPENSSL_free(der);
        return again;
}

static int normal_of(const char *text, char **ret_normal, Failure *failure)
{
        X509_NAME *name = X509_NAME_new(), *again = NULL;
        CLEANUP(freep) char *normal = NULL;
        int r = name ? name_parse(name, text, NAME_TO_FIND, failure) : -ENOMEM;

        if (r == 0) {
                again = sorted(name);
                normal = x509_name_text(again ? again : name);
                r = normal ? 0 : -ENOMEM;
        }
        X509_NAME_free(name);
        X509_NAME_free(again);
        ERR_clear_error();
        if (r != 0)
                return r;
        if ((*normal == '\0') != (*text == '\0'))
                return fail(failure, CB_INVALID_ARGUMENT, "the subject has a value that is no text");
        *ret_normal = TAKE(normal);
        return 0;
}

int pki_name_normal(const char *text, char **ret_normal, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = normal_of(text, ret_normal, failure);

        return pki_memory_outcome(n_before, r, failure);
}
