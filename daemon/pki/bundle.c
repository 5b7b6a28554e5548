/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bundle: what it holds is read by pkcs12.c or bundle-pem.c, the one key with its chain is chosen
 * here. Invariant: a bundle that is handed out has a key of a type of ours, a leaf for that key,
 * which has verified a signature of the key, and a sorted chain. Secrets are in locked memory, or
 * in libcrypto's objects, which wipe theirs when freed (pki_init() has it wipe the rest).
 */
#include "pki/bundle.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core/certificate.h"
#include "pki/chain.h"
#include "pki/key.h"
#include "pki/parts.h"
#include "pki/pem.h"
#include "pki/recognise.h"
#include "pki/signature.h"
#include "pki/x509.h"

#define SIGNATURE_MAX 512

void pki_bundle_deinit(PkiBundle *bundle)
{
        EVP_PKEY_free(bundle->key);
        bytes_deinit(&bundle->spki);
        bytes_list_deinit(&bundle->chain);
        free(bundle->fault);
        *bundle = (PkiBundle){ 0 };
}

static int read_parts(Parts *parts, Secret *data, Secret *passphrase, Failure *failure)
{
        int r;

        if (secret_length(data) > PKI_INPUT_MAX)
                return fail(failure, CB_BAD_BUNDLE, "the bundle is larger than %d bytes",
                            PKI_INPUT_MAX);
        if (pem_is(secret_data(data), secret_length(data)))
                r = parts_read_pem(parts, data, passphrase, failure);
        else
                r = parts_read_pkcs12(parts, data, passphrase, failure);
        ERR_clear_error();
        return r;
}

static int check_parts(const Parts *parts, Secret *data, Failure *failure)
{
        if (parts->n_keys == 0 && parts->unsupported[0])
                return fail(failure, CB_NOT_SUPPORTED,
                            "the bundle's private key is %s, which is not supported: %s",
                            parts->unsupported, parts->remedy);
        if (parts->n_keys == 0 && parts->certificates.n == 0 &&
            pem_is(secret_data(data), secret_length(data)))
                return recognise(secret_data(data), secret_length(data), FILE_OF_BUNDLE, failure);
        if (parts->n_keys == 0 && parts->certificates.n == 0)
                return fail(failure, CB_BAD_BUNDLE,
                            "the bundle holds neither a private key nor a "
                            "certificate: give PKCS#12, or PEM with both");
        if (parts->n_keys == 0)
                return fail(failure, CB_BAD_BUNDLE,
                            "the bundle holds no private key: give one with the certificate's key "
                            "in it, or, for a key that certbroker holds, use certbroker "
                            "certificate install");
        if (parts->certificates.n == 0)
                return fail(failure, CB_BAD_BUNDLE,
                            "the bundle holds no certificate: give one with the "
                            "key's certificate and chain in it");
        return 0;
}

/* Key and chain of one key; takes a reference to the key. CB_KEY_MISMATCH: it has no leaf. */
static int bundle_for_key(Parts *parts, EVP_PKEY *key, uint64_t now_sec, PkiBundle *bundle,
                          Failure *failure)
{
        int r = key_spki(key, &bundle->spki);

        if (r)
                return fail(failure, r, "the bundle's public key cannot be written");
        r = chain_sort_within(&parts->work, &parts->certificates, &bundle->spki, now_sec,
                              &bundle->chain, &bundle->fault, failure);
        if (r)
                return r;
        EVP_PKEY_up_ref(key);
        bundle->key = key;
        bundle->key_type = key_type_of(key);
        return 0;
}

/* The one key that has a leaf. */
static int choose(Parts *parts, uint64_t now_sec, PkiBundle *ret_bundle, Failure *failure)
{
        CLEANUP(pki_bundle_deinit) PkiBundle chosen = { 0 };

        for (size_t i = 0; i < parts->n_keys; i++) {
                CLEANUP(pki_bundle_deinit) PkiBundle one = { 0 };
                Failure why = { 0 };
                int r = bundle_for_key(parts, parts->keys[i], now_sec, &one, &why);

                if (r == CB_KEY_MISMATCH && parts->n_keys > 1)
                        continue;
                if (r) {
                        *failure = why;
                        return r;
                }
                if (chosen.key)
                        return fail(
                                failure, CB_BAD_BUNDLE,
                                "the bundle holds several keys with their certificates: leave the "
                                "one to import");
                chosen = one;
                one = (PkiBundle){ 0 };
        }
        if (!chosen.key)
                return fail(failure, CB_BAD_BUNDLE,
                            "the bundle holds %zu keys, and no certificate for any of them",
                            parts->n_keys);
        *ret_bundle = chosen;
        chosen = (PkiBundle){ 0 };
        return 0;
}

static void md_ctx_freep(EVP_MD_CTX **place)
{
        EVP_MD_CTX_free(*place);
}

static const Algorithm trial_algorithms[_KEY_FAMILY_N] = {
        [KEY_RSA] = ALGORITHM_RSA_PKCS1_SHA256,
        [KEY_EC] = ALGORITHM_ECDSA_SHA256,
        [KEY_ED25519] = ALGORITHM_ED25519,
};

/* The key may be kept: what libcrypto keeps beside it from its first signature on is as secret. */
static bool sign_at_first(EVP_MD_CTX *ctx, const uint8_t *message, size_t n_message,
                          uint8_t *signature, size_t *n)
{
        bool done;

        pki_prefer_locked(true);
        done = EVP_DigestSign(ctx, signature, n, message, n_message) == 1;
        pki_prefer_locked(false);
        return done;
}

/* A file may claim any public half for a private one. */
static int try_key(const PkiBundle *bundle, Failure *failure)
{
        static const uint8_t message[] = "certbroker";
        CLEANUP(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
        CLEANUP(bytes_deinit) Bytes input = { 0 };
        Algorithm algorithm = trial_algorithms[key_type_row(bundle->key_type)->family];
        Digest digest = algorithm_row(algorithm)->digest;
        uint8_t signature[SIGNATURE_MAX];
        size_t n = sizeof(signature);
        int r;

        r = digest == DIGEST_NONE ? bytes_set(&input, message, sizeof(message))
                                  : pki_hash(digest, message, sizeof(message), &input);
        if (r || !ctx)
                return fail(failure, r ? r : CB_FAILED, "cannot try the bundle's key");
        r = CB_KEY_MISMATCH;
        if (EVP_DigestSignInit_ex(ctx, NULL, digest == DIGEST_NONE ? NULL : digest_name(digest),
                                  pki_context(), NULL, bundle->key, NULL) == 1 &&
            sign_at_first(ctx, message, sizeof(message), signature, &n))
                r = pki_verify(&bundle->spki, algorithm, &input, &(Bytes){ signature, n });
        ERR_clear_error();
        if (r)
                return fail(failure, CB_BAD_BUNDLE,
                            "the bundle's private key does not sign for its own "
                            "public half: the file is damaged");
        return 0;
}

/* Names, validity and alternative names are read now, while nothing is in the token yet. */
static int check_leaf(const PkiBundle *bundle, Failure *failure)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };

        return pki_certificate_facts(bundle->chain.items[0].data, bundle->chain.items[0].n, &facts,
                                     failure);
}

static int parse_bundle(Secret *data, Secret *passphrase, uint64_t now_sec, PkiBundle *ret_bundle,
                        Failure *failure)
{
        CLEANUP(parts_deinit) Parts parts = { 0 };
        CLEANUP(pki_bundle_deinit) PkiBundle bundle = { 0 };
        int r;

        r = read_parts(&parts, data, passphrase, failure);
        if (r == 0)
                r = check_parts(&parts, data, failure);
        if (r == 0)
                r = choose(&parts, now_sec, &bundle, failure);
        if (r == 0)
                r = check_leaf(&bundle, failure);
        if (r == 0)
                r = try_key(&bundle, failure);
        if (r)
                return r;
        *ret_bundle = bundle;
        bundle = (PkiBundle){ 0 };
        return 0;
}

int pki_bundle_parse(Secret *data, Secret *passphrase, uint64_t now_sec, PkiBundle *ret_bundle,
                     Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = parse_bundle(data, passphrase, now_sec, ret_bundle, failure);

        return pki_memory_outcome(n_before, r, failure);
}

static int parse_certificates(Secret *data, Secret *passphrase, BytesList *ret_certificates,
                              Failure *failure)
{
        CLEANUP(parts_deinit) Parts parts = { 0 };
        int r = read_parts(&parts, data, passphrase, failure);

        if (r)
                return r;
        if (parts.certificates.n == 0)
                return fail(failure, CB_BAD_BUNDLE, "the bundle holds no certificate");
        *ret_certificates = parts.certificates;
        parts.certificates = (BytesList){ 0 };
        return 0;
}

int pki_bundle_certificates(Secret *data, Secret *passphrase, BytesList *ret_certificates,
                            Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = parse_certificates(data, passphrase, ret_certificates, failure);

        return pki_memory_outcome(n_before, r, failure);
}
