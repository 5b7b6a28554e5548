/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PKCS#8. Own templates of its structure, for libcrypto's knows only version 1 of it: version 2 (RFC 5958),
 * as ring and OpenSSH write it, has the public key after the attributes. That is dropped here: what it says
 * follows from the private one. Invariant: what is decoded is wiped by libcrypto when it is freed
 * (pki_init()).
 */
#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <string.h>

#include "pki/context.h"
#include "pki/parts.h"

typedef struct OneAsymmetricKey {
        ASN1_INTEGER *version;
        X509_ALGOR *algorithm;
        ASN1_OCTET_STRING *key;
        STACK_OF(X509_ATTRIBUTE) * attributes;
        ASN1_TYPE *public; /* a BIT STRING, whose tag some write as if it was explicit */
} OneAsymmetricKey;

ASN1_SEQUENCE(OneAsymmetricKey) = {
        ASN1_SIMPLE(OneAsymmetricKey, version, ASN1_INTEGER),
        ASN1_SIMPLE(OneAsymmetricKey, algorithm, X509_ALGOR),
        ASN1_SIMPLE(OneAsymmetricKey, key, ASN1_OCTET_STRING),
        ASN1_IMP_SET_OF_OPT(OneAsymmetricKey, attributes, X509_ATTRIBUTE, 0),
        ASN1_OPT(OneAsymmetricKey, public, ASN1_ANY),
} static_ASN1_SEQUENCE_END(OneAsymmetricKey)

static void one_key_freep(OneAsymmetricKey **place)
{
        ASN1_item_free((ASN1_VALUE *)*place, ASN1_ITEM_rptr(OneAsymmetricKey));
}

static void pkcs8_freep(PKCS8_PRIV_KEY_INFO **place)
{
        PKCS8_PRIV_KEY_INFO_free(*place);
}

/* As libcrypto knows it; it takes what it gives no more out of `one`. */
static PKCS8_PRIV_KEY_INFO *as_version_1(OneAsymmetricKey *one)
{
        PKCS8_PRIV_KEY_INFO *pkcs8 = NULL;
        unsigned char *der = NULL;
        const unsigned char *p;
        int n;

        ASN1_TYPE_free(one->public);
        one->public = NULL;
        if (!ASN1_INTEGER_set(one->version, 0))
                return NULL;
        n = ASN1_item_i2d((ASN1_VALUE *)one, &der, ASN1_ITEM_rptr(OneAsymmetricKey));
        p = der;
        if (n > 0)
                pkcs8 = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, n);
        OPENSSL_clear_free(der, n > 0 ? (size_t)n : 0);
        return pkcs8;
}

static int take(Parts *parts, OneAsymmetricKey *one, Failure *failure)
{
        CLEANUP(pkcs8_freep) PKCS8_PRIV_KEY_INFO *pkcs8 = as_version_1(one);

        return pkcs8 ? parts_add_pkcs8(parts, pkcs8, failure) : fail_damaged_key(failure);
}

int pkcs8_read(Parts *parts, const uint8_t *der, size_t n, Failure *failure)
{
        CLEANUP(one_key_freep) OneAsymmetricKey *one = NULL;
        const unsigned char *p = der;

        one = (OneAsymmetricKey *)ASN1_item_d2i(NULL, &p, (long)n,
                                                ASN1_ITEM_rptr(OneAsymmetricKey));
        return one ? take(parts, one, failure) : fail_damaged_key(failure);
}

int pkcs8_decrypt(Parts *parts, const X509_SIG *sig, Passphrases *passphrases, Failure *failure)
{
        const ASN1_OCTET_STRING *content;
        const X509_ALGOR *algorithm;
        Passphrase passphrase;
        int r;

        X509_SIG_get0(sig, &algorithm, &content);
        ERR_clear_error();
        for (size_t i = 0; (r = passphrases_try(passphrases, i, &parts->work, work_of(algorithm),
                                                &passphrase, failure)) == 0;
             i++) {
                CLEANUP(one_key_freep) OneAsymmetricKey *one = NULL;

                one = PKCS12_item_decrypt_d2i_ex(algorithm, ASN1_ITEM_rptr(OneAsymmetricKey),
                                                 passphrase.text, passphrase.n, content, 1,
                                                 pki_context_legacy(), NULL);
                if (!one)
                        continue;
                passphrases_found(passphrases, i);
                return take(parts, one, failure);
        }
        return r;
}
