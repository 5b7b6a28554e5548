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
#include "pki/recognise.h"

#define SAFES_MAX 128
#define PBMAC1    "1.2.840.113549.1.5.14"

typedef struct Pkcs12Reader {
        Parts *parts;
        Passphrases passphrases;
        bool verified; /* by the MAC: so the first of them is the right one, and nothing is damaged */
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
                    "the bundle is a damaged PKCS#12 file: write it anew, or give PEM with key and "
                    "chain");
}

static int fail_decryption(const Pkcs12Reader *reader)
{
        if (errors_say_unsupported())
                return fail(reader->failure, CB_NOT_SUPPORTED,
                            "the PKCS#12 bundle is encrypted in a way "
                            "that is not supported: write it with AES-256 or 3DES");
        if (reader->verified)
                return fail(reader->failure, CB_BAD_BUNDLE,
                            "the PKCS#12 bundle has a MAC with one passphrase, which was opened, "
                            "and a key or certificates with another: write it with one for both");
        return fail_passphrase(&reader->passphrases, "the PKCS#12 bundle", reader->failure);
}

static int read_shrouded_key(Pkcs12Reader *reader, const PKCS12_SAFEBAG *bag)
{
        int r = pkcs8_decrypt(reader->parts, PKCS12_SAFEBAG_get0_pkcs8(bag), &reader->passphrases,
                              reader->failure);

        return r == CB_BAD_PASSPHRASE ? fail_decryption(reader) : r;
}

static int read_certificate(Pkcs12Reader *reader, const PKCS12_SAFEBAG *bag)
{
        CLEANUP(x509_freep) X509 *x = NULL;
        BytesList *list = &reader->parts->certificates;

        if (PKCS12_SAFEBAG_get_bag_nid(bag) != NID_x509Certificate)
                return 0;
        x = PKCS12_SAFEBAG_get1_cert(bag);
        ERR_clear_error();
        if (x)
                return certificates_append_x509(list, x, "the PKCS#12 bundle", reader->failure);
        return certificates_fail_unreadable(list, "the PKCS#12 bundle", reader->failure);
}

static int read_key(Pkcs12Reader *reader, const PKCS12_SAFEBAG *bag)
{
        int r = parts_count_key(reader->parts, reader->failure);

        if (r)
                return r;
        if (PKCS12_SAFEBAG_get_nid(bag) == NID_keyBag)
                return parts_add_pkcs8(reader->parts, PKCS12_SAFEBAG_get0_p8inf(bag),
                                       reader->failure);
        return read_shrouded_key(reader, bag);
}

static int read_bag(Pkcs12Reader *reader, const PKCS12_SAFEBAG *bag)
{
        switch (PKCS12_SAFEBAG_get_nid(bag)) {
        case NID_keyBag:
        case NID_pkcs8ShroudedKeyBag:
                return read_key(reader, bag);
        case NID_certBag:
                return read_certificate(reader, bag);
        default: /* CRLs, secrets, what comes next: not ours */
                return 0;
        }
}

/* Each bag. Bags in a bag are looked at one level deep, which is one more than anyone writes. */
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

static const X509_ALGOR *encryption_of(const PKCS7 *safe)
{
        return safe->d.encrypted && safe->d.encrypted->enc_data
                       ? safe->d.encrypted->enc_data->algorithm
                       : NULL;
}

static int read_encrypted_safe(Pkcs12Reader *reader, PKCS7 *safe)
{
        const X509_ALGOR *algorithm = encryption_of(safe);
        uint64_t cost = algorithm ? work_of(algorithm) : 0;
        Passphrase passphrase;
        int r;

        if (!algorithm)
                return fail_damaged(reader->failure);
        ERR_clear_error();
        for (size_t i = 0; (r = passphrases_try(&reader->passphrases, i, &reader->parts->work, cost,
                                                &passphrase, reader->failure)) == 0;
             i++) {
                CLEANUP(bags_freep) STACK_OF(PKCS12_SAFEBAG) *bags = NULL;

                bags = PKCS12_unpack_p7encdata(safe, passphrase.text, passphrase.n);
                if (!bags)
                        continue;
                passphrases_found(&reader->passphrases, i);
                return read_bags(reader, bags);
        }
        return r == CB_BAD_PASSPHRASE ? fail_decryption(reader) : r;
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

        if (!safes)
                return fail_damaged(reader->failure);
        if (sk_PKCS7_num(safes) > SAFES_MAX)
                return fail(reader->failure, CB_BAD_BUNDLE,
                            "the PKCS#12 bundle has more than %d parts: write it with fewer",
                            SAFES_MAX);
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
        return work_add(&reader->parts->work, work_of(algorithm), reader->failure);
}

static int plan_safe(Pkcs12Reader *reader, PKCS7 *safe)
{
        CLEANUP(bags_freep) STACK_OF(PKCS12_SAFEBAG) *bags = NULL;

        switch (OBJ_obj2nid(safe->type)) {
        case NID_pkcs7_data:
                bags = safe->d.data ? PKCS12_unpack_p7data(safe) : NULL;
                return bags ? each_bag(reader, bags, plan_bag) : 0;
        case NID_pkcs7_encrypted:
                return encryption_of(safe) ? work_add(&reader->parts->work,
                                                      work_of(encryption_of(safe)), reader->failure)
                                           : 0;
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
                r = work_add(&scratch.work, work_of_iterations(iterations), failure);
        }
        return r ? r : each_safe(&reader, p12, plan_safe);
}

static int decode(Secret *data, PKCS12 **ret_p12, Failure *failure)
{
        CLEANUP(bio_freep) BIO *bio = NULL;
        CLEANUP(pkcs12_freep) PKCS12 *p12 = NULL;
        size_t n = secret_length(data), n_after;

        bio = BIO_new_mem_buf(secret_data(data), (int)n);
        p12 = PKCS12_init_ex(NID_pkcs7_data, pki_context_legacy(), NULL);
        if (!bio || !p12)
                return fail(failure, -ENOMEM, "cannot read a bundle: %s", strerror(ENOMEM));
        if (!d2i_PKCS12_bio(bio, &p12)) {
                ERR_clear_error();
                return recognise(secret_data(data), n, FILE_OF_BUNDLE, failure);
        }
        n_after = (size_t)BIO_pending(bio);
        if (!is_padding(secret_data(data) + n - n_after, n_after))
                return fail_more("the bundle", "PKCS#12", n - n_after, failure);
        *ret_p12 = TAKE(p12);
        return 0;
}

/* RFC 9579: its parameters are not where the other MACs have theirs, so libcrypto would take nonsense for them. */
static bool mac_is_pbmac1(const PKCS12 *p12)
{
        const X509_ALGOR *algorithm;
        const ASN1_OBJECT *oid;
        char text[32];

        PKCS12_get0_mac(NULL, &algorithm, NULL, NULL, p12);
        X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
        return OBJ_obj2txt(text, sizeof(text), oid, 1) > 0 && strcmp(text, PBMAC1) == 0;
}

/* The first of the passphrases that the MAC agrees with. */
static int verify_mac(PKCS12 *p12, Pkcs12Reader *reader)
{
        const ASN1_INTEGER *iterations = NULL;
        Passphrase passphrase;
        int r;

        if (mac_is_pbmac1(p12))
                return fail(reader->failure, CB_NOT_SUPPORTED,
                            "the PKCS#12 bundle has a MAC of a kind that is not supported, PBMAC1: "
                            "write it with openssl pkcs12 -export, without -pbmac1_pbkdf2");
        PKCS12_get0_mac(NULL, NULL, NULL, &iterations, p12);
        ERR_clear_error();
        for (size_t i = 0; (r = passphrases_try(&reader->passphrases, i, &reader->parts->work,
                                                work_of_iterations(iterations), &passphrase,
                                                reader->failure)) == 0;
             i++) {
                if (PKCS12_verify_mac(p12, passphrase.text, passphrase.n) != 1)
                        continue;
                passphrases_found(&reader->passphrases, i);
                reader->verified = true;
                return 0;
        }
        if (r != CB_BAD_PASSPHRASE)
                return r;
        if (errors_say_unsupported())
                return fail(reader->failure, CB_NOT_SUPPORTED,
                            "the PKCS#12 bundle has a MAC that is not "
                            "supported: write it with one of SHA-256");
        return fail_passphrase(&reader->passphrases, "the PKCS#12 bundle", reader->failure);
}

static int read_pkcs12(Pkcs12Reader *reader, Secret *data)
{
        CLEANUP(pkcs12_freep) PKCS12 *p12 = NULL;
        int r;

        r = decode(data, &p12, reader->failure);
        if (r == 0)
                r = plan(p12, reader->failure);
        if (r == 0 && PKCS12_mac_present(p12))
                r = verify_mac(p12, reader);
        return r ? r : read_safes(reader, p12);
}

int parts_read_pkcs12(Parts *parts, Secret *data, Secret *passphrase, Failure *failure)
{
        Pkcs12Reader reader = { .parts = parts, .failure = failure };
        int r = passphrases_init(&reader.passphrases, passphrase, true, failure);

        if (r == 0)
                r = read_pkcs12(&reader, data);
        passphrases_deinit(&reader.passphrases);
        return r;
}
