/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a file that somebody gives us: taken, or refused with which words. */
#pragma once

#include "issue.h"
#include "pki/bundle.h"
#include "pki/x509.h"

static UNUSED void taken_check(const Failure *failure, int r, int status, const char *words)
{
        if (r != status || (words && !strstr(failure->text, words)))
                print_error("%d: '%s', and not %d with '%s'\n", r, failure->text, status,
                            words ? words : "");
        assert_int_equal(r, status);
        assert_true(!words || strstr(failure->text, words));
        assert_int_equal(ERR_peek_error(), 0);
}

/* passphrase NULL: none; words NULL: any. ret_bundle may be NULL. */
static UNUSED void taken_bundle(const Bytes *data, const char *passphrase, int status,
                                const char *words, PkiBundle *ret_bundle)
{
        CLEANUP(secret_freep) Secret *d = issue_secret(data->data, data->n);
        CLEANUP(secret_freep)
        Secret *p = passphrase ? issue_secret(passphrase, strlen(passphrase)) : NULL;
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        Failure failure = { 0 };
        int r = pki_bundle_parse(d, p, (uint64_t)time(NULL), &bundle, &failure);

        taken_check(&failure, r, status, words);
        if (!ret_bundle)
                return;
        *ret_bundle = bundle;
        bundle = (PkiBundle){ 0 };
}

/* It is taken, with so many certificates in its chain. */
static UNUSED void taken_whole(const Bytes *data, const char *passphrase, size_t n_chain)
{
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };

        taken_bundle(data, passphrase, 0, NULL, &bundle);
        assert_int_equal(bundle.chain.n, n_chain);
}

/* n: how many there are, where it is taken. */
static UNUSED void taken_certificates(const Bytes *data, size_t n, int status, const char *words)
{
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };
        Failure failure = { 0 };
        int r = pki_certificates_parse(data->data, data->n, &list, &failure);

        taken_check(&failure, r, status, words);
        assert_int_equal(list.n, n);
}

static UNUSED Bytes taken_text(const char *text)
{
        Bytes bytes = { 0 };

        assert_int_equal(bytes_set(&bytes, text, strlen(text)), 0);
        return bytes;
}

/* Takes a, and adds what b is. */
static UNUSED Bytes taken_joined(Bytes a, const void *b, size_t n)
{
        Bytes both = { calloc(1, a.n + n + 1), a.n + n };

        assert_non_null(both.data);
        if (a.n > 0)
                memcpy(both.data, a.data, a.n);
        memcpy(both.data + a.n, b, n);
        bytes_deinit(&a);
        return both;
}

static UNUSED Bytes taken_pem(const char *label, const void *der, size_t n)
{
        BIO *bio = BIO_new(BIO_s_mem());

        assert_true(PEM_write_bio(bio, label, "", der, (long)n) > 0);
        return issue_take_bio(bio);
}
