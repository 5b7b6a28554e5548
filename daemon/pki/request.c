/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#10, by OpenSSL. It never sees a private key.
 */
#include "pki/request.h"

#include <errno.h>
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
#include "pki/name.h"

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

static int set_subject(X509_REQ *req, const char *subject, Failure *failure)
{
        return name_parse(X509_REQ_get_subject_name(req), subject, NAME_FOR_REQUEST, failure);
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
