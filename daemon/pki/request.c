/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#10. Distinguished names are taken apart by libldap (RFC 4514 is LDAP's), everything else by OpenSSL. It never
 * sees a private key.
 */
#include "pki/request.h"

#include <ctype.h>
#include <errno.h>
#include <ldap.h>
#include <openssl/asn1err.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/strings.h"
#include "core/certificate.h"
#include "pki/certificate.h"
#include "pki/context.h"

#define SUBJECT_MAX  1024
#define ALT_NAME_MAX 1024

struct PkiRequest {
        X509_REQ *req;
};

static const struct {
        Algorithm algorithm;
        int nid;
        int parameter;
} signature_algorithms[] = {
        { ALGORITHM_RSA_PKCS1_SHA256, NID_sha256WithRSAEncryption, V_ASN1_NULL },
        { ALGORITHM_RSA_PKCS1_SHA384, NID_sha384WithRSAEncryption, V_ASN1_NULL },
        { ALGORITHM_RSA_PKCS1_SHA512, NID_sha512WithRSAEncryption, V_ASN1_NULL },
        { ALGORITHM_ECDSA_SHA256, NID_ecdsa_with_SHA256, V_ASN1_UNDEF },
        { ALGORITHM_ECDSA_SHA384, NID_ecdsa_with_SHA384, V_ASN1_UNDEF },
        { ALGORITHM_ECDSA_SHA512, NID_ecdsa_with_SHA512, V_ASN1_UNDEF },
        { ALGORITHM_ED25519, NID_ED25519, V_ASN1_UNDEF },
};

static const struct {
        const char *prefix;
        int type;
} name_kinds[] = {
        { "DNS:", GEN_DNS },
        { "IP:", GEN_IPADD },
        { "URI:", GEN_URI },
        { "email:", GEN_EMAIL },
};

static void alt_names_deinit(GENERAL_NAMES **names)
{
        GENERAL_NAMES_free(*names);
}

static void extensions_deinit(STACK_OF(X509_EXTENSION) * *extensions)
{
        sk_X509_EXTENSION_pop_free(*extensions, X509_EXTENSION_free);
}

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

/* What is going to be made of a name. */
typedef enum NameUse {
        NAME_FOR_REQUEST, /* each value of the type and length that its attribute has (X.520, RFC 5280) */
        NAME_TO_FIND,     /* what authorities have written, whatever it is */
} NameUse;

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

static int parse_name(X509_NAME *name, const char *subject, NameUse use, Failure *failure)
{
        CLEANUP(dn_deinit) LDAPDN dn = NULL;
        size_t n = strlen(subject);

        if (n > SUBJECT_MAX || !utf8_is_valid(subject, n))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the subject is longer than %d bytes or not UTF-8", SUBJECT_MAX);

        if (n > 0 && ldap_str2dn(subject, &dn, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the subject is not a distinguished name; write it as in RFC 4514: "
                            "CN=orders,O=Example");
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

char *pki_name_normal(const char *text)
{
        X509_NAME *name = X509_NAME_new(), *again = NULL;
        CLEANUP(freep) char *normal = NULL;
        Failure ignored = { 0 };

        if (name && parse_name(name, text, NAME_TO_FIND, &ignored) == 0) {
                again = sorted(name);
                normal = x509_name_text(again ? again : name);
        }
        X509_NAME_free(name);
        X509_NAME_free(again);
        ERR_clear_error();
        /* what could not be shown is no name's text */
        return normal && (*normal == '\0') == (*text == '\0') ? TAKE(normal) : NULL;
}

static int set_subject(X509_REQ *req, const char *subject, Failure *failure)
{
        return parse_name(X509_REQ_get_subject_name(req), subject, NAME_FOR_REQUEST, failure);
}

/* RFC 5280, 4.2.1.6: a mailbox, local@domain. */
static bool is_mailbox(const char *text)
{
        const char *at = strchr(text, '@');

        return at && at > text && at[1] != '\0' && !strchr(at + 1, '@');
}

static GENERAL_NAME *parse_alt_name(const char *text)
{
        for (size_t i = 0; i < ELEMENTSOF(name_kinds); i++) {
                size_t n = strlen(name_kinds[i].prefix);
                CLEANUP(freep) char *value = NULL;

                if (strncmp(text, name_kinds[i].prefix, n) != 0 || text[n] == '\0')
                        continue;
                if (name_kinds[i].type == GEN_EMAIL && !is_mailbox(text + n))
                        return NULL;
                value = strdup(text + n);
                return value ? a2i_GENERAL_NAME(NULL, NULL, NULL, name_kinds[i].type, value, 0)
                             : NULL;
        }
        return NULL;
}

/* IA5String: what is not printable ASCII is no name of any of these kinds. */
static bool is_printable(const char *text)
{
        for (; *text; text++) {
                if (*text <= ' ' || *text > '~')
                        return false;
        }
        return true;
}

static int refuse_alt_name(const char *text, Failure *failure)
{
        CLEANUP(freep) char *shown = text_escape(text, strlen(text), 128);

        return fail(failure, CB_INVALID_ARGUMENT,
                    "subject alternative name '%s' is not of the form DNS:name, IP:address, "
                    "URI:uri or email:address, or longer than %d bytes",
                    string_or_empty(shown), ALT_NAME_MAX);
}

static int collect_alt_names(char *const *alt_names, GENERAL_NAMES *names, Failure *failure)
{
        for (char *const *text = alt_names; text && *text; text++) {
                GENERAL_NAME *name = NULL;

                if (strlen(*text) <= ALT_NAME_MAX && is_printable(*text))
                        name = parse_alt_name(*text);
                ERR_clear_error();
                if (!name)
                        return refuse_alt_name(*text, failure);
                if (sk_GENERAL_NAME_push(names, name) <= 0) {
                        GENERAL_NAME_free(name);
                        return -ENOMEM;
                }
        }
        return 0;
}

static size_t bytes_of(char *const *strings)
{
        size_t n = 0;

        for (; strings && *strings; strings++)
                n += strlen(*strings);
        return n;
}

static int set_alt_names(X509_REQ *req, char *const *alt_names, Failure *failure)
{
        CLEANUP(alt_names_deinit) GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
        CLEANUP(extensions_deinit) STACK_OF(X509_EXTENSION) *extensions = NULL;
        int r;

        if (strv_length(alt_names) > REQUEST_NAMES_MAX ||
            bytes_of(alt_names) > REQUEST_NAMES_BYTES_MAX)
                return fail(failure, CB_INVALID_ARGUMENT, REQUEST_NAMES_TEXT, REQUEST_NAMES_MAX,
                            REQUEST_NAMES_BYTES_MAX / 1024);
        if (strv_length(alt_names) == 0)
                return 0;
        if (!names)
                return -ENOMEM;

        r = collect_alt_names(alt_names, names, failure);
        if (r != 0)
                return r;

        if (X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) != 1 ||
            X509_REQ_add_extensions(req, extensions) != 1)
                return -ENOMEM;
        return 0;
}

static int set_key(X509_REQ *req, const Bytes *spki)
{
        const unsigned char *position = spki->data;
        EVP_PKEY *key = d2i_PUBKEY_ex(NULL, &position, (long)spki->n, pki_context(), NULL);
        int r = key && X509_REQ_set_pubkey(req, key) == 1 ? 0 : -EINVAL;

        EVP_PKEY_free(key);
        ERR_clear_error();
        return r;
}

static int make_request(const char *subject, char *const *alt_names, const Bytes *spki,
                        PkiRequest **ret_request, Failure *failure)
{
        CLEANUP(pki_request_freep) PkiRequest *request = calloc(1, sizeof(*request));
        int r;

        if (!request)
                return -ENOMEM;

        request->req = X509_REQ_new_ex(pki_context(), NULL);
        if (!request->req || X509_REQ_set_version(request->req, X509_REQ_VERSION_1) != 1)
                return -ENOMEM;

        if (subject[0] == '\0' && strv_length(alt_names) == 0)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "a request needs a subject or a subject alternative name");

        r = set_subject(request->req, subject, failure);
        if (r == 0)
                r = set_alt_names(request->req, alt_names, failure);
        if (r == 0)
                r = set_key(request->req, spki);
        if (r != 0)
                return r;

        *ret_request = TAKE(request);
        return 0;
}

int pki_request_new(const char *subject, char *const *alt_names, const Bytes *spki,
                    PkiRequest **ret_request, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = make_request(subject, alt_names, spki, ret_request, failure);

        return pki_memory_outcome(n_before, r, failure);
}

PkiRequest *pki_request_free(PkiRequest *request)
{
        if (!request)
                return NULL;

        X509_REQ_free(request->req);
        free(request);
        return NULL;
}

Algorithm pki_request_algorithm(uint32_t algorithms)
{
        for (size_t i = 0; i < ELEMENTSOF(signature_algorithms); i++) {
                if (algorithms & ALGORITHM_BIT(signature_algorithms[i].algorithm))
                        return signature_algorithms[i].algorithm;
        }
        return ALGORITHM_NONE;
}

static int take_der(unsigned char *der, int n, Bytes *ret_bytes)
{
        int r = n > 0 ? bytes_set(ret_bytes, der, (size_t)n) : -ENOMEM;

        OPENSSL_free(der);
        return r;
}

int pki_request_info(PkiRequest *request, Bytes *ret_info)
{
        unsigned char *der = NULL;
        int n = i2d_re_X509_REQ_tbs(request->req, &der);

        return take_der(der, n, ret_info);
}

static int set_signature(X509_REQ *req, const Bytes *signature)
{
        ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();

        if (!bits || ASN1_BIT_STRING_set(bits, signature->data, (int)signature->n) != 1) {
                ASN1_BIT_STRING_free(bits);
                return -ENOMEM;
        }
        bits->flags &= ~(ASN1_STRING_FLAG_BITS_LEFT | 0x07);
        bits->flags |= ASN1_STRING_FLAG_BITS_LEFT; /* no unused bits: a signature is whole bytes */
        X509_REQ_set0_signature(req, bits);
        return 0;
}

static int finish_request(PkiRequest *request, Algorithm algorithm, const Bytes *signature,
                          Bytes *ret_der)
{
        unsigned char *der = NULL;
        X509_ALGOR *identifier = NULL;
        int n, r;

        for (size_t i = 0; i < ELEMENTSOF(signature_algorithms); i++) {
                if (signature_algorithms[i].algorithm != algorithm)
                        continue;
                identifier = X509_ALGOR_new();
                if (identifier)
                        X509_ALGOR_set0(identifier, OBJ_nid2obj(signature_algorithms[i].nid),
                                        signature_algorithms[i].parameter, NULL);
        }
        if (!identifier)
                return -EINVAL;

        r = X509_REQ_set1_signature_algo(request->req, identifier) == 1 ? 0 : -ENOMEM;
        X509_ALGOR_free(identifier);
        if (r == 0)
                r = set_signature(request->req, signature);
        if (r < 0)
                return r;

        n = i2d_X509_REQ(request->req, &der);
        return take_der(der, n, ret_der);
}

int pki_request_finish(PkiRequest *request, Algorithm algorithm, const Bytes *signature,
                       Bytes *ret_der)
{
        unsigned n_before = pki_memory_failures();
        int r = finish_request(request, algorithm, signature, ret_der);

        return pki_memory_outcome(n_before, r, NULL);
}
