/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a certification request that somebody else has made: a vault, for a key that it keeps. What is
 * handed out has passed the request's own signature: the key is there, and is the one that it names.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "pki/key.h"
#include "pki/request.h"

#define REQUEST_MAX (64 * 1024)

static void request_freep(X509_REQ **place)
{
        X509_REQ_free(*place);
}

static int read_public_key(const Bytes *der, Bytes *ret_spki, Failure *failure)
{
        CLEANUP(request_freep) X509_REQ *request = NULL;
        const unsigned char *p = der->data;
        EVP_PKEY *key;
        int r;

        if (der->n > 0 && der->n <= REQUEST_MAX)
                request = X509_REQ_new_ex(pki_context(), NULL);
        if (request && !d2i_X509_REQ(&request, &p, (long)der->n))
                request = NULL; /* freed by it */
        key = request && p == der->data + der->n ? X509_REQ_get0_pubkey(request) : NULL;
        if (!key || X509_REQ_verify_ex(request, key, pki_context(), NULL) != 1) {
                ERR_clear_error();
                return fail(failure, CB_FAILED,
                            "the certification request cannot be read, or is not signed by its "
                            "own key");
        }
        if (key_type_of(key) == KEY_TYPE_NONE)
                return fail_key_type(key, NULL, "the request's key", failure);
        r = key_spki(key, ret_spki);
        return r == 0 ? 0 : fail(failure, r, "the request's public key cannot be written");
}

int pki_request_public_key(const Bytes *der, Bytes *ret_spki, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = read_public_key(der, ret_spki, failure);

        return pki_memory_outcome(n_before, r, failure);
}
