/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key file, as the OpenSSL provider of this package reads it:
 *
 *     SEQUENCE { VisibleString "certbroker key reference v1", UTF8String uri, SubjectPublicKeyInfo }
 *
 * The public key is in it so that a gateway can load it while no broker runs. There is nothing secret in
 * it, and nothing that opens anything: who may use the key is the broker's decision at each signature.
 */
#include "keyfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/asn1t.h>
#include <openssl/pem.h>

#include "text.h"

#define KEY_FILE_VERSION "certbroker key reference v1"

typedef struct KeyReference {
        ASN1_VISIBLESTRING *version;
        ASN1_UTF8STRING *uri;
        X509_PUBKEY *public_key;
} KeyReference;

ASN1_SEQUENCE(KeyReference) = {
        ASN1_SIMPLE(KeyReference, version, ASN1_VISIBLESTRING),
        ASN1_SIMPLE(KeyReference, uri, ASN1_UTF8STRING),
        ASN1_SIMPLE(KeyReference, public_key, X509_PUBKEY),
} static_ASN1_SEQUENCE_END(KeyReference)

/* X509_PUBKEY_dup() forgets that no bit of the key's last byte is unused (OpenSSL 3.0): as DER nothing is lost. */
static X509_PUBKEY *copy_public_key(X509 *leaf)
{
        unsigned char *der = NULL;
        int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &der);
        const unsigned char *p = der;
        X509_PUBKEY *copy = n > 0 ? d2i_X509_PUBKEY(NULL, &p, n) : NULL;

        OPENSSL_free(der);
        return copy;
}

static int encode_der(const char *uri, X509 *leaf, unsigned char **ret_der)
{
        const ASN1_ITEM *it = ASN1_ITEM_rptr(KeyReference);
        KeyReference *reference = (KeyReference *)ASN1_item_new(it);
        int n = -1;

        if (reference) {
                X509_PUBKEY_free(reference->public_key);
                reference->public_key = copy_public_key(leaf);
        }
        if (reference && reference->public_key &&
            ASN1_STRING_set(reference->version, KEY_FILE_VERSION, -1) &&
            ASN1_STRING_set(reference->uri, uri, -1))
                n = ASN1_item_i2d((const ASN1_VALUE *)reference, ret_der, it);
        ASN1_item_free((ASN1_VALUE *)reference, it);
        return n > 0 ? n : -ENOMEM;
}

int keyfile_encode(const char *uri, X509 *leaf, const char *comment, char **ret_text, size_t *ret_n)
{
        unsigned char *der = NULL;
        char *text = NULL, *pem;
        long n_pem;
        BIO *bio;
        int n, r = -ENOMEM;

        n = encode_der(uri, leaf, &der);
        if (n < 0)
                return n;
        bio = BIO_new(BIO_s_mem());
        if (bio && (!comment || BIO_puts(bio, comment) > 0) &&
            PEM_write_bio(bio, KEY_FILE_LABEL, "", der, n) > 0) {
                n_pem = BIO_get_mem_data(bio, &pem);
                text = strndup(pem, (size_t)n_pem);
                if (text) {
                        *ret_text = text;
                        *ret_n = (size_t)n_pem;
                        r = 0;
                }
        }
        BIO_free(bio);
        OPENSSL_free(der);
        return r;
}

int keyfile_comment(const char *id, const char *uri, char **ret_comment)
{
        int n;

        /* The rest of the file is read by programs: nothing of this may look like a block of PEM. */
        if (!text_is_plain(id, TEXT_OF_IDS) || !text_is_plain(uri, ":/?=&" TEXT_OF_IDS))
                return -EBADMSG;
        n = asprintf(
                ret_comment,
                "Reference to the private key of certificate %s, for OpenSSL 3.\n"
                "%s\n"
                "Nothing here is secret: the key stays in its source, and certbrokerd decides "
                "who may use it.\n"
                "It is read by the provider \"certbroker\" of the package certbroker. If "
                "OpenSSL says\n"
                "\"unsupported\", activate that provider, beside \"default\", in its "
                "openssl.cnf.\n",
                id, uri);

        return n < 0 ? -ENOMEM : 0;
}

int keyfile_of(const cb_credential *credential, char **ret_text)
{
        const unsigned char *der = credential->n_chain ? credential->chain[0].data : NULL;
        X509 *leaf = der ? d2i_X509(NULL, &der, (long)credential->chain[0].n) : NULL;
        char *comment = NULL;
        size_t n;
        int r;

        if (!leaf)
                return -EBADMSG;
        r = keyfile_comment(credential->id, credential->key, &comment);
        if (r == 0) {
                r = keyfile_encode(credential->key, leaf, comment, ret_text, &n);
                free(comment);
        }
        X509_free(leaf);
        return r;
}

int keyfile_chain(const cb_credential *credential, char **ret_text)
{
        BIO *bio = BIO_new(BIO_s_mem());
        char *data = NULL, *text = NULL;
        bool ok = bio != NULL;
        long n;

        for (size_t i = 0; ok && i < credential->n_chain; i++)
                ok = PEM_write_bio(bio, PEM_STRING_X509, "", credential->chain[i].data,
                                   (long)credential->chain[i].n) > 0;
        n = ok ? BIO_get_mem_data(bio, &data) : 0;
        if (n > 0)
                text = strndup(data, (size_t)n);
        BIO_free(bio);
        if (!text)
                return -ENOMEM;
        *ret_text = text;
        return 0;
}
