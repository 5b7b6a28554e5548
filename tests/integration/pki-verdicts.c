/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pki makes of many files, without a broker, a source or a token: thousands in a second or two.
 * Standard input has a line for each, of four words between tabs:
 *
 *   bundle|certificates|chain  FILE  PASSPHRASE|-  ANCHOR|-
 *
 * Standard output gets a JSON object for each, in their order. Of a chain, the leaf is the first
 * certificate of FILE, and it is told whether libcrypto verifies that up to the anchor (one certificate in
 * DER) with all of FILE at hand, and with the chain that was made of it, as of a day on which most of
 * the certificates were valid.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/secret.h"
#include "core/certificate.h"
#include "pki/bundle.h"
#include "pki/context.h"
#include "pki/x509.h"

#define READ_USEC (5 * 1000 * 1000)
#define WHEN      1577836800 /* 2020-01-01 */

static void json_freep(json_t **place)
{
        json_decref(*place);
}

static void set_text(json_t *object, const char *name, const char *text)
{
        assert_always(json_object_set_new(object, name, json_string(text ? text : "")) == 0);
}

static json_t *digest_of(const void *data, size_t n)
{
        unsigned char digest[SHA256_DIGEST_LENGTH];
        char text[2 * sizeof(digest) + 1];

        SHA256(data, n, digest);
        hex_encode_lower(digest, sizeof(digest), text);
        return json_string(text);
}

static json_t *digests_of(const BytesList *list)
{
        json_t *array = json_array();

        for (size_t i = 0; i < list->n; i++)
                json_array_append_new(array, digest_of(list->items[i].data, list->items[i].n));
        return array;
}

static json_t *facts_json(const CertificateFacts *facts)
{
        json_t *object = json_object(), *names = json_array();

        for (char **name = facts->subject_alt_names; name && *name; name++)
                json_array_append_new(names, json_string(*name));
        set_text(object, "subject", facts->subject);
        set_text(object, "issuer", facts->issuer);
        set_text(object, "serial", facts->serial_number);
        set_text(object, "sha1", facts->thumbprint);
        set_text(object, "sha256", facts->thumbprint_sha256);
        set_text(object, "key_type", key_type_name(facts->key_type));
        json_object_set_new(object, "names", names);
        json_object_set_new(object, "not_before", json_integer((json_int_t)facts->not_before_sec));
        json_object_set_new(object, "not_after", json_integer((json_int_t)facts->not_after_sec));
        json_object_set_new(object, "self_signed", json_boolean(facts->self_signed));
        json_object_set_new(object, "spki", digest_of(facts->spki.data, facts->spki.n));
        return object;
}

static X509 *certificate_of(const Bytes *der)
{
        const unsigned char *p = der->data;
        X509 *x = d2i_X509(NULL, &p, (long)der->n);

        assert_always(x);
        return x;
}

/* Does the first verify, with the others beside it? */
static json_t *verifies(const Bytes *leaf, const BytesList *others, const Bytes *anchor)
{
        STACK_OF(X509) *untrusted = sk_X509_new_null();
        X509_STORE *store = X509_STORE_new();
        X509_STORE_CTX *ctx = X509_STORE_CTX_new();
        X509 *x = certificate_of(leaf), *root = certificate_of(anchor);
        bool good;

        for (size_t i = 0; i < others->n; i++)
                sk_X509_push(untrusted, certificate_of(&others->items[i]));
        assert_always(X509_STORE_add_cert(store, root) == 1 &&
                      X509_STORE_CTX_init(ctx, store, x, untrusted) == 1);
        X509_STORE_CTX_set_time(ctx, 0, WHEN);
        good = X509_verify_cert(ctx) == 1;
        X509_STORE_CTX_free(ctx);
        X509_STORE_free(store);
        sk_X509_pop_free(untrusted, X509_free);
        X509_free(x);
        X509_free(root);
        ERR_clear_error();
        return json_boolean(good);
}

static Secret *read_file(const char *path)
{
        Secret *secret = NULL;
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        assert_always(fd >= 0 && secret_read_fd(fd, 4 * PKI_INPUT_MAX, READ_USEC, &secret) == 0);
        close_fd(fd);
        return secret;
}

static Secret *secret_of(const char *text)
{
        Secret *secret = NULL;

        assert_always(secret_new(strlen(text), &secret) == 0);
        memcpy(secret_data(secret), text, strlen(text));
        secret_set_length(secret, strlen(text));
        return secret;
}

static int read_bundle(Secret *data, Secret *passphrase, json_t *answer, Failure *failure)
{
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
        const Bytes *leaf;
        int r = pki_bundle_parse(data, passphrase, WHEN, &bundle, failure);

        if (r)
                return r;
        leaf = &bundle.chain.items[0];
        assert_always(pki_certificate_facts(leaf->data, leaf->n, &facts, failure) == 0);
        json_object_set_new(answer, "leaf", facts_json(&facts));
        json_object_set_new(answer, "spki", digest_of(bundle.spki.data, bundle.spki.n));
        json_object_set_new(answer, "chain", digests_of(&bundle.chain));
        return 0;
}

static int read_chain(Secret *data, const char *anchor_file, json_t *answer, Failure *failure)
{
        CLEANUP(bytes_list_deinit) BytesList all = { 0 };
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
        CLEANUP(secret_freep) Secret *anchor = read_file(anchor_file);
        Bytes root = { secret_data(anchor), secret_length(anchor) };
        int r;

        r = pki_certificates_parse(secret_data(data), secret_length(data), &all, failure);
        if (r == 0)
                r = pki_certificate_facts(all.items[0].data, all.items[0].n, &facts, failure);
        if (r == 0)
                r = pki_chain_sort(&all, &facts.spki, WHEN, &chain, NULL, failure);
        if (r)
                return r;
        json_object_set_new(answer, "chain", digests_of(&chain));
        json_object_set_new(answer, "all_verify", verifies(&all.items[0], &all, &root));
        json_object_set_new(answer, "chain_verifies", verifies(&chain.items[0], &chain, &root));
        return 0;
}

static int read_certificates(Secret *data, json_t *answer, Failure *failure)
{
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };
        json_t *facts = json_array();
        int r = pki_certificates_parse(secret_data(data), secret_length(data), &list, failure);

        json_object_set_new(answer, "certificates", digests_of(&list));
        json_object_set_new(answer, "each", facts);
        for (size_t i = 0; r == 0 && i < list.n; i++) {
                CLEANUP(certificate_facts_deinit) CertificateFacts one = { 0 };
                Failure why = { 0 };
                int r1 = pki_certificate_facts(list.items[i].data, list.items[i].n, &one, &why);

                json_array_append_new(facts, r1 ? json_pack("{ssss}", "status", status_word(r1),
                                                            "text", why.text)
                                                : facts_json(&one));
        }
        return r;
}

static void answer_line(char *line)
{
        CLEANUP(json_freep) json_t *answer = json_object();
        CLEANUP(secret_freep) Secret *data = NULL;
        CLEANUP(secret_freep) Secret *passphrase = NULL;
        char *rest = line, *words[4];
        Failure failure = { 0 };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                words[i] = strsep(&rest, "\t");
                assert_always(words[i]);
        }
        data = read_file(words[1]);
        if (strcmp(words[2], "-") != 0)
                passphrase = secret_of(words[2]);
        if (strcmp(words[0], "bundle") == 0)
                r = read_bundle(data, passphrase, answer, &failure);
        else if (strcmp(words[0], "chain") == 0)
                r = read_chain(data, words[3], answer, &failure);
        else
                r = read_certificates(data, answer, &failure);
        set_text(answer, "status", status_word(r));
        set_text(answer, "text", failure.text);
        assert_always(ERR_peek_error() == 0 && json_dumpf(answer, stdout, JSON_COMPACT) == 0);
        putchar('\n');
}

int main(void)
{
        char *line = NULL;
        size_t n_line = 0;

        assert_always(pki_init() == 0);
        while (getline(&line, &n_line, stdin) > 0) {
                line[strcspn(line, "\n")] = '\0';
                answer_line(line);
        }
        free(line);
        return fflush(stdout) == 0 ? 0 : 1;
}
