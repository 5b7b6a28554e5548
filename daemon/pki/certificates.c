/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates out of what people have: PEM files, DER, PKCS#7. Invariant: each that is handed out
 * is one that can be read, in DER, and there is at least one. Keys that lie between them are not
 * looked at.
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
#include "pki/x509.h"

static void pkcs7_freep(PKCS7 **place)
{
        PKCS7_free(*place);
}

int certificates_append_x509(BytesList *list, X509 *x)
{
        unsigned char *der = NULL;
        int n = i2d_X509(x, &der), r;

        if (n <= 0)
                return CB_BAD_BUNDLE;
        r = certificates_append_der(list, der, (size_t)n);
        OPENSSL_free(der);
        return r;
}

int certificates_append_der(BytesList *list, const void *der, size_t n)
{
        CLEANUP(x509_freep) X509 *x = x509_from_der(der, n);

        if (!x || list->n == PKI_CERTIFICATES_MAX)
                return CB_BAD_BUNDLE;
        return bytes_list_append(list, der, n);
}

int certificates_append_pkcs7(BytesList *list, const void *der, size_t n)
{
        CLEANUP(pkcs7_freep) PKCS7 *p7 = PKCS7_new_ex(pki_context(), NULL);
        const unsigned char *p = der;
        const STACK_OF(X509) *certificates = NULL;

        if (!p7)
                return -ENOMEM;
        if (!d2i_PKCS7(&p7, &p, (long)n) || p != (const unsigned char *)der + n)
                return CB_BAD_BUNDLE;
        if (PKCS7_type_is_signed(p7) && p7->d.sign)
                certificates = p7->d.sign->cert;
        for (int i = 0; i < sk_X509_num(certificates); i++) {
                int r = certificates_append_x509(list, sk_X509_value(certificates, i));

                if (r)
                        return r;
        }
        return 0;
}

/* What a block of this label adds; others are passed over. */
static const struct {
        const char *label;
        int (*append)(BytesList *list, const void *der, size_t n);
} block_rows[] = {
        { "CERTIFICATE", certificates_append_der },
        { "X509 CERTIFICATE", certificates_append_der },
        { "PKCS7", certificates_append_pkcs7 },
        { "PKCS #7 SIGNED DATA", certificates_append_pkcs7 },
        { "CMS", certificates_append_pkcs7 },
};

int certificates_append_block(BytesList *list, const PemBlock *block)
{
        for (size_t i = 0; i < ELEMENTSOF(block_rows); i++) {
                CLEANUP(freep) uint8_t *der = NULL;
                size_t n;

                if (strcmp(block->label, block_rows[i].label) != 0)
                        continue;
                der = malloc(pem_decoded_max(block));
                if (!der)
                        return -ENOMEM;
                if (pem_decode(block, der, &n) < 0)
                        return CB_BAD_BUNDLE;
                return block_rows[i].append(list, der, n);
        }
        return 0;
}

static int append_pem(BytesList *list, const void *data, size_t n)
{
        PemReader reader;
        PemBlock block;
        int r;

        pem_reader_init(&reader, data, n);
        while ((r = pem_next(&reader, &block)) > 0) {
                r = certificates_append_block(list, &block);
                if (r)
                        return r;
        }
        return r < 0 ? CB_BAD_BUNDLE : 0;
}

static int append_any(BytesList *list, const void *data, size_t n)
{
        int r;

        if (pem_is(data, n))
                return append_pem(list, data, n);
        r = certificates_append_der(list, data, n);
        return r > 0 ? certificates_append_pkcs7(list, data, n) : r;
}

static int parse(const void *data, size_t n, BytesList *ret_certificates, Failure *failure)
{
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };
        int r = CB_BAD_BUNDLE;

        if (n > 0 && n <= PKI_INPUT_MAX)
                r = append_any(&list, data, n);
        ERR_clear_error();
        if (r < 0)
                return fail(failure, r, "cannot read certificates: %s", strerror(-r));
        if (r > 0)
                return fail(failure, CB_BAD_BUNDLE,
                            "%s: give PEM, or one certificate or PKCS#7 in DER",
                            n == 0 ? "the file is empty"
                                   : "the file is damaged, or holds no certificates");
        if (list.n == 0)
                return fail(failure, CB_BAD_BUNDLE, "the file holds no certificate");
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
