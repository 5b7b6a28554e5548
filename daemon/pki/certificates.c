/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates out of what people have: PEM files, DER, PKCS#7. Invariant: each that is handed out
 * is one that can be read, in DER, and there is at least one. Keys that lie between them are not
 * looked at. One that cannot be read is an error and not passed over, for it may be the one that is
 * missing afterwards.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "pki/certificate.h"
#include "pki/certificates.h"
#include "pki/context.h"
#include "pki/pem.h"
#include "pki/recognise.h"
#include "pki/x509.h"

static void pkcs7_freep(PKCS7 **place)
{
        PKCS7_free(*place);
}

static int fail_surroundings(int r, Failure *failure)
{
        return fail(failure, r, "cannot read certificates: %s", strerror(-r));
}

int certificates_fail_unreadable(const BytesList *list, const char *file, Failure *failure)
{
        return fail(failure, CB_BAD_BUNDLE,
                    "certificate %zu of %s cannot be read: have it written anew, or leave it out "
                    "where it is no part of the chain",
                    list->n + 1, file);
}

int certificates_append_x509(BytesList *list, X509 *x, const char *file, Failure *failure)
{
        CLEANUP(x509_freep) X509 *again = NULL;
        unsigned char *der = NULL;
        int n, r = 0;

        if (list->n == PKI_CERTIFICATES_MAX)
                return fail(failure, CB_BAD_BUNDLE,
                            "%s holds more than %d certificates: leave out those that are no part "
                            "of the chain",
                            file, PKI_CERTIFICATES_MAX);
        n = i2d_X509(x, &der);
        again = n > 0 ? x509_from_der(der, (size_t)n) : NULL;
        if (n > PKI_CERTIFICATE_MAX)
                r = fail(failure, CB_BAD_BUNDLE,
                         "certificate %zu of %s is larger than %d bytes: leave it out where it is "
                         "no part of the chain",
                         list->n + 1, file, PKI_CERTIFICATE_MAX);
        else if (!again)
                r = certificates_fail_unreadable(list, file, failure);
        else
                r = bytes_list_append(list, der, (size_t)n);
        OPENSSL_free(der);
        return r < 0 ? fail_surroundings(r, failure) : r;
}

/* What `openssl x509 -trustout` adds: whom the certificate is trusted for, which is not ours to say. */
static const uint8_t *skip_trust(const uint8_t *p, const uint8_t *end)
{
        const unsigned char *after = p;
        X509_CERT_AUX *aux = d2i_X509_CERT_AUX(NULL, &after, end - p);

        X509_CERT_AUX_free(aux);
        return aux ? after : p;
}

/* CB_NOT_FOUND: it is none. */
static int append_certificate(BytesList *list, const uint8_t *data, size_t n, const char *file,
                              Failure *failure)
{
        CLEANUP(x509_freep) X509 *x = X509_new_ex(pki_context(), NULL);
        const unsigned char *p = data, *end = data + n;

        if (!x)
                return fail_surroundings(-ENOMEM, failure);
        if (!d2i_X509(&x, &p, (long)n))
                return CB_NOT_FOUND;
        if (!is_padding(p, (size_t)(end - p)))
                p = skip_trust(p, end);
        if (!is_padding(p, (size_t)(end - p)))
                return fail_more(file, "a certificate", (size_t)(p - data), failure);
        return certificates_append_x509(list, x, file, failure);
}

static int append_pkcs7(BytesList *list, const uint8_t *data, size_t n, const char *file,
                        Failure *failure)
{
        CLEANUP(pkcs7_freep) PKCS7 *p7 = PKCS7_new_ex(pki_context(), NULL);
        const STACK_OF(X509) *certificates = NULL;
        const unsigned char *p = data, *end = data + n;
        int r = 0;

        if (!p7)
                return fail_surroundings(-ENOMEM, failure);
        if (!d2i_PKCS7(&p7, &p, (long)n))
                return CB_NOT_FOUND;
        if (!is_padding(p, (size_t)(end - p)))
                return fail_more(file, "PKCS#7", (size_t)(p - data), failure);
        if (PKCS7_type_is_signed(p7) && p7->d.sign)
                certificates = p7->d.sign->cert;
        for (int i = 0; r == 0 && i < sk_X509_num(certificates); i++)
                r = certificates_append_x509(list, sk_X509_value(certificates, i), file, failure);
        return r;
}

/* One certificate (with OpenSSL's trust settings after it, which are dropped), or PKCS#7. */
static int append_encoded(BytesList *list, const void *data, size_t n, const char *file,
                          Failure *failure)
{
        int r = append_certificate(list, data, n, file, failure);

        return r == CB_NOT_FOUND ? append_pkcs7(list, data, n, file, failure) : r;
}

/* Labels do not tell certificates from PKCS#7: Windows' authorities write both as CERTIFICATE. */
static const char *const labels[] = {
        "CERTIFICATE",
        "X509 CERTIFICATE",
        "TRUSTED CERTIFICATE",
        "CERTIFICATE CHAIN",
        "PKCS7",
        "PKCS #7 SIGNED DATA",
        "CMS",
};

int certificates_append_block(BytesList *list, const PemBlock *block, const char *file,
                              Failure *failure)
{
        for (size_t i = 0; i < ELEMENTSOF(labels); i++) {
                CLEANUP(freep) uint8_t *der = NULL;
                size_t n;
                int r;

                if (strcmp(block->label, labels[i]) != 0)
                        continue;
                der = malloc(pem_decoded_max(block));
                if (!der)
                        return fail_surroundings(-ENOMEM, failure);
                if (pem_decode(block, der, &n) < 0)
                        return certificates_fail_unreadable(list, file, failure);
                r = append_encoded(list, der, n, file, failure);
                ERR_clear_error();
                return r == CB_NOT_FOUND ? certificates_fail_unreadable(list, file, failure) : r;
        }
        return 0;
}

static const char file[] = "the file";

static int append_pem(BytesList *list, const void *data, size_t n, Failure *failure)
{
        PemReader reader;
        PemBlock block;
        int r;

        pem_reader_init(&reader, data, n);
        while ((r = pem_next(&reader, &block)) > 0) {
                r = certificates_append_block(list, &block, file, failure);
                if (r)
                        return r;
        }
        return r < 0 ? fail_block(file, &block, failure) : 0;
}

static int append_any(BytesList *list, const void *data, size_t n, Failure *failure)
{
        int r = pem_is(data, n) ? append_pem(list, data, n, failure)
                                : append_encoded(list, data, n, file, failure);

        if (r == CB_NOT_FOUND || (r == 0 && list->n == 0))
                return recognise(data, n, FILE_OF_CERTIFICATES, failure);
        return r;
}

static int parse(const void *data, size_t n, BytesList *ret_certificates, Failure *failure)
{
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };
        int r;

        if (n > PKI_INPUT_MAX)
                return fail(failure, CB_BAD_BUNDLE, "the file is larger than %d bytes",
                            PKI_INPUT_MAX);
        r = append_any(&list, data, n, failure);
        ERR_clear_error();
        if (r)
                return r;
        *ret_certificates = list;
        list = (BytesList){ 0 };
        return 0;
}

int pki_certificates_parse(const void *data, size_t n, BytesList *ret_certificates,
                           Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = parse(data, n, ret_certificates, failure);

        return pki_memory_outcome(n_before, r, failure);
}
