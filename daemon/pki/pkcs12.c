/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and certificates out of a PKCS#12 file (RFC 7292): OpenSSL's, Java's, Windows' and Azure Key
 * Vault's, the last with 3DES and a MAC over a NULL password. Invariant: nothing is read from a
 * file whose MAC was not verified, unless it has none; the work that it may ask for is bounded.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <string.h>

#include "pki/certificate.h"
#include "pki/certificates.h"
#include "pki/parts.h"

#define SAFES_MAX 16
#define BAGS_MAX  64

typedef struct Pkcs12Reader {
        Parts *parts;
        Passphrase passphrase;
        bool verified; /* by the MAC: so the passphrase is the right one */
        size_t n_bags;
        Failure *failure;
} Pkcs12Reader;

static void bio_freep(BIO **place)
{
        BIO_free(*place);
}

static void pkcs12_freep(PKCS12 **place)
{
        PKCS12_free(*place);
}

static void pkcs8_freep(PKCS8_PRIV_KEY_INFO **place)
{
        PKCS8_PRIV_KEY_INFO_free(*place);
}

static void safes_freep(STACK_OF(PKCS7) * *place)
{
        sk_PKCS7_pop_free(*place, PKCS7_free);
}

static void bags_freep(STACK_OF(PKCS12_SAFEBAG) * *place)
{
        sk_PKCS12_SAFEBAG_pop_free(*place, PKCS12_SAFEBAG_free);
}

static int fail_damaged(Failure *failure)
{
        ERR_clear_error();
        return fail(failure, CB_BAD_BUNDLE,
                    "the bundle is a damaged PKCS#12 file, or none: give PKCS#12, or PEM with key "
                    "and chain");
}

static int fail_decryption(const Pkcs12Reader *reader)
{
        if (errors_say_unsupported())
                return fail(reader->failure, CB_NOT_SUPPORTED,
                            "the PKCS#12 bundle is encrypted in a way "
                            "that is not supported: write it with AES-256 or 3DES");
        if (reader->verified)
                return fail_damaged(reader->failure);
        return fail(reader->failure, CB_BAD_PASSPHRASE,
                    "the passphrase does not open the PKCS#12 bundle: give the right one");
}

static int read_shrouded_key(Pkcs12Reader *reader, const PKCS12_SAFEBAG *bag)
{
        CLEANUP(pkcs8_freep) PKCS8_PRIV_KEY_INFO *pkcs8 = NULL;
        const X509_ALGOR *algorithm;
        int r;

        X509_SIG_get0(PKCS12_SAFEBAG_get0_pkcs8(bag), &algorithm, NULL);
        r = work_add(&reader->parts->work, algorithm, reader->failure);
        if (r)
                return r;
        ERR_clear_error();
        pkcs8 = PKCS12_decrypt_skey_ex(bag, reader->passphrase.text, reader->passphrase.n,
                                       pki_context_legacy(), NULL);
        if (!pkcs8)
                return fail_decryption(reader);
        return parts_add_pkcs8(reader->parts, pkcs8, reader->failure);
}

static int read_certificate(Pkcs12Reader *reader, const PKCS12_SAFEBAG *bag)
{
        CLEANUP(x509_freep) X509 *x = NULL;
        int r;

        if (PKCS12_SAFEBAG_get_bag_nid(bag) != NID_x509Certificate)
                return 0;
        x = PKCS12_SAFEBAG_get1_cert(bag);
        r = x ? certificates_append_x509(&reader->parts->certificates, x) : CB_BAD_BUNDLE;
        ERR_clear_error();
        if (r > 0)
                return fail(reader->failure, r,
                            "the PKCS#12 bundle holds a certificate that cannot be "
                            "read, or more than %d",
                            PKI_CERTIFICATES_MAX);
        if (r < 0)
                return fail(reader->failure, r, "cannot read a bundle: %s", strerror(-r));
        return 0;
}

static int read_bag(Pkcs12Reader *reader, const PKCS12_SAFEBAG *bag)
{
        if (++reader->n_bags > BAGS_MAX)
                return fail(reader->failure, CB_BAD_BUNDLE,
                            "the PKCS#12 bundle holds more than %d objects", BAGS_MAX);
        switch (PKCS12_SAFEBAG_get_nid(bag)) {
        case NID_keyBag:
                return parts_add_pkcs8(reader->parts, PKCS12_SAFEBAG_get0_p8inf(bag),
                                       reader->failure);
        case NID_pkcs8ShroudedKeyBag:
                return read_shrouded_key(reader, bag);
        case NID_certBag:
                return read_certificate(reader, bag);
        default: /* CRLs, secrets, what comes next: not ours */
                return 0;
        }
}

/*
 * Each bag. Bags in a bag are looked at one level deep, which is one more than anyone writes; one that holds
 * others counts as well.
 */
static int each_bag(Pkcs12Reader *reader, const STACK_OF(PKCS12_SAFEBAG) * bags,
                    int (*look)(Pkcs12Reader *reader, const PKCS12_SAFEBAG *bag))
{
        for (int i = 0; i < sk_PKCS12_SAFEBAG_num(bags); i++) {
                const PKCS12_SAFEBAG *bag = sk_PKCS12_SAFEBAG_value(bags, i);
                const STACK_OF(PKCS12_SAFEBAG) *inner = NULL;
                int r;

                if (PKCS12_SAFEBAG_get_nid(bag) == NID_safeContentsBag)
                        inner = PKCS12_SAFEBAG_get0_safes(bag);
                r = look(reader, bag);
                for (int k = 0; r == 0 && k < sk_PKCS12_SAFEBAG_num(inner); k++)
                        r = look(reader, sk_PKCS12_SAFEBAG_value(inner, k));
                if (r)
                        return r;
        }
        return 0;
}

static int read_bags(Pkcs12Reader *reader, const STACK_OF(PKCS12_SAFEBAG) * bags)
{
        return each_bag(reader, bags, read_bag);
}

static int read_encrypted_safe(Pkcs12Reader *reader, PKCS7 *safe)
{
        CLEANUP(bags_freep) STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
        int r;

        if (!safe->d.encrypted || !safe->d.encrypted->enc_data ||
            !safe->d.encrypted->enc_data->algorithm)
                return fail_damaged(reader->failure);
        r = work_add(&reader->parts->work, safe->d.encrypted->enc_data->algorithm, reader->failure);
        if (r)
                return r;
        ERR_clear_error();
        bags = PKCS12_unpack_p7encdata(safe, reader->passphrase.text, reader->passphrase.n);
        return bags ? read_bags(reader, bags) : fail_decryption(reader);
}

static int read_safe(Pkcs12Reader *reader, PKCS7 *safe)
{
        CLEANUP(bags_freep) STACK_OF(PKCS12_SAFEBAG) *bags = NULL;

        switch (OBJ_obj2nid(safe->type)) {
        case NID_pkcs7_data:
                bags = safe->d.data ? PKCS12_unpack_p7data(safe) : NULL;
                return bags ? read_bags(reader, bags) : fail_damaged(reader->failure);
        case NID_pkcs7_encrypted:
                return read_encrypted_safe(reader, safe);
        default:
                return fail(reader->failure, CB_NOT_SUPPORTED,
                            "the PKCS#12 bundle is encrypted to a public "
                            "key: write it with a passphrase");
        }
}

static int each_safe(Pkcs12Reader *reader, const PKCS12 *p12,
                     int (*look)(Pkcs12Reader *reader, PKCS7 *safe))
{
        CLEANUP(safes_freep) STACK_OF(PKCS7) *safes = PKCS12_unpack_authsafes(p12);

        if (!safes || sk_PKCS7_num(safes) > SAFES_MAX)
                return fail_damaged(reader->failure);
        for (int i = 0; i < sk_PKCS7_num(safes); i++) {
                int r = look(reader, sk_PKCS7_value(safes, i));

                if (r)
                        return r;
        }
        return 0;
}

static int read_safes(Pkcs12Reader *reader, const PKCS12 *p12)
{
        return each_safe(reader, p12, read_safe);
}

/* The work, as far as it can be seen while nothing is decrypted. */

static int plan_bag(Pkcs12Reader *reader, const PKCS12_SAFEBAG *bag)
{
        const X509_ALGOR *algorithm;

        if (PKCS12_SAFEBAG_get_nid(bag) != NID_pkcs8ShroudedKeyBag)
                return 0;
        X509_SIG_get0(PKCS12_SAFEBAG_get0_pkcs8(bag), &algorithm, NULL);
        return work_add(&reader->parts->work, algorithm, reader->failure);
}

static int plan_safe(Pkcs12Reader *reader, PKCS7 *safe)
{
        CLEANUP(bags_freep) STACK_OF(PKCS12_SAFEBAG) *bags = NULL;

        switch (OBJ_obj2nid(safe->type)) {
        case NID_pkcs7_data:
                bags = safe->d.data ? PKCS12_unpack_p7data(safe) : NULL;
                return bags ? each_bag(reader, bags, plan_bag) : 0;
        case NID_pkcs7_encrypted:
                if (!safe->d.encrypted || !safe->d.encrypted->enc_data ||
                    !safe->d.encrypted->enc_data->algorithm)
                        return 0;
                return work_add(&reader->parts->work, safe->d.encrypted->enc_data->algorithm,
                                reader->failure);
        default:
                return 0;
        }
}

static int plan(const PKCS12 *p12, Failure *failure)
{
        CLEANUP(parts_deinit) Parts scratch = { 0 };
        Pkcs12Reader reader = { .parts = &scratch, .failure = failure };
        const ASN1_INTEGER *iterations = NULL;
        int r = 0;

        if (PKCS12_mac_present(p12)) {
                PKCS12_get0_mac(NULL, NULL, NULL, &iterations, p12);
                r = work_add_iterations(&scratch.work, iterations, failure);
        }
        return r ? r : each_safe(&reader, p12, plan_safe);
}

static int decode(Secret *data, PKCS12 **ret_p12, Failure *failure)
{
        CLEANUP(bio_freep) BIO *bio = NULL;
        CLEANUP(pkcs12_freep) PKCS12 *p12 = NULL;

        bio = BIO_new_mem_buf(secret_data(data), (int)secret_length(data));
        p12 = PKCS12_init_ex(NID_pkcs7_data, pki_context_legacy(), NULL);
        if (!bio || !p12)
                return fail(failure, -ENOMEM, "cannot read a bundle: %s", strerror(ENOMEM));
        /*
         * A line end that an editor or a shell has added does no harm; anything else may be a
         * second file.
         */
        if (!d2i_PKCS12_bio(bio, &p12) || BIO_pending(bio) > 2)
                return fail_damaged(failure);
        *ret_p12 = TAKE(p12);
        return 0;
}

/* The first of the given passphrase, none, and the empty one, that the MAC agrees with. */
static int verify_mac(const Passphrase *tries, size_t n_tries, PKCS12 *p12, Pkcs12Reader *reader)
{
        const ASN1_INTEGER *iterations = NULL;
        int r;

        PKCS12_get0_mac(NULL, NULL, NULL, &iterations, p12);
        ERR_clear_error();
        for (size_t i = 0; i < n_tries; i++) {
                r = work_add_iterations(&reader->parts->work, iterations, reader->failure);
                if (r)
                        return r;
                if (PKCS12_verify_mac(p12, tries[i].text, tries[i].n) == 1) {
                        reader->passphrase = tries[i];
                        reader->verified = true;
                        return 0;
                }
        }
        if (errors_say_unsupported())
                return fail(reader->failure, CB_NOT_SUPPORTED,
                            "the PKCS#12 bundle has a MAC that is not "
                            "supported: write it with one of SHA-256");
        return fail(reader->failure, CB_BAD_PASSPHRASE,
                    "the passphrase does not open the PKCS#12 bundle: give the right one");
}

int parts_read_pkcs12(Parts *parts, Secret *data, Secret *passphrase, Failure *failure)
{
        CLEANUP(pkcs12_freep) PKCS12 *p12 = NULL;
        Passphrase given = passphrase_of(passphrase);
        Passphrase tries[3] = { given, { NULL, 0 }, { "", 0 } };
        const Passphrase *first = given.text ? tries : tries + 1;
        size_t n_tries = given.text ? 3 : 2;
        Pkcs12Reader reader = { .parts = parts, .failure = failure };
        int r;

        r = decode(data, &p12, failure);
        if (r == 0)
                r = plan(p12, failure);
        if (r)
                return r;
        if (PKCS12_mac_present(p12)) {
                r = verify_mac(first, n_tries, p12, &reader);
                return r ? r : read_safes(&reader, p12);
        }
        for (size_t i = 0; i < n_tries; i++) {
                parts_begin_again(parts);
                reader.n_bags = 0;
                reader.passphrase = first[i];
                r = read_safes(&reader, p12);
                if (r != CB_BAD_PASSPHRASE)
                        break;
        }
        return r;
}
