/* SPDX-License-Identifier: Apache-2.0 */
/* Chains: certificates in any order, with strangers, twins, gaps and circles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include "issue.h"
#include "pki/certificate.h"
#include "pki/certificates.h"
#include "pki/x509.h"

#define PERMUTED_MAX 5 /* certificates of which all orders are tried */
#define DAY_SEC      86400

static struct {
        EVP_PKEY *root_key, *ca_key, *key, *other_key;
        X509 *root, *ca, *leaf, *other_leaf;
        Bytes spki;
        X509 *made[64]; /* by one test */
        size_t n_made;
} pki;

static int64_t now_sec;

static X509 *kept(const Issue *issue)
{
        assert_true(pki.n_made < ELEMENTSOF(pki.made));
        return pki.made[pki.n_made++] = issue_certificate(issue);
}

static int forget_made(void **state)
{
        while (pki.n_made > 0)
                X509_free(pki.made[--pki.n_made]);
        return 0;
}

/* An authority, valid from `from` days on for `days`; self-signed where there is no issuer. */
static X509 *authority(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                       int from, int days)
{
        return kept(&(Issue){ .name = name,
                              .key = key,
                              .issuer = issuer,
                              .issuer_key = issuer_key,
                              .basic = "CA:TRUE",
                              .not_before = now_sec + from * DAY_SEC,
                              .not_after = now_sec + (from + days) * DAY_SEC });
}

static X509 *leaf_of(X509 *issuer, EVP_PKEY *issuer_key, int from, int days)
{
        return kept(&(Issue){ .name = "leaf",
                              .key = pki.key,
                              .issuer = issuer,
                              .issuer_key = issuer_key,
                              .not_before = now_sec + from * DAY_SEC,
                              .not_after = now_sec + (from + days) * DAY_SEC });
}

/* Until the next call. */
static const char *said_of(X509 *authority, bool later)
{
        static char said[256];
        CLEANUP(freep) char *name = x509_name_text(X509_get_subject_name(authority));
        struct tm tm;
        char date[32];

        assert_true(ASN1_TIME_to_tm(
                later ? X509_get0_notBefore(authority) : X509_get0_notAfter(authority), &tm));
        strftime(date, sizeof(date), "%Y-%m-%d", &tm);
        snprintf(said, sizeof(said), "the certificate of '%s' in the chain %s %s", name,
                 later ? "is not valid before" : "expired on", date);
        return said;
}

static int setup(void **state)
{
        issue_setup(state);
        now_sec = (int64_t)time(NULL);
        pki.root_key = issue_p256();
        pki.ca_key = issue_p256();
        pki.key = issue_p256();
        pki.other_key = issue_p256();
        pki.root = issue_certificate(
                &(Issue){ .name = "root", .key = pki.root_key, .basic = "CA:TRUE" });
        pki.ca = issue_certificate(&(Issue){ .name = "ca",
                                             .key = pki.ca_key,
                                             .issuer = pki.root,
                                             .issuer_key = pki.root_key,
                                             .basic = "CA:TRUE" });
        pki.leaf = issue_certificate(&(Issue){
                .name = "leaf", .key = pki.key, .issuer = pki.ca, .issuer_key = pki.ca_key });
        pki.other_leaf = issue_certificate(&(Issue){ .name = "other",
                                                     .key = pki.other_key,
                                                     .issuer = pki.ca,
                                                     .issuer_key = pki.ca_key });
        pki.spki = issue_spki(pki.key);
        now_sec += 60; /* what was issued now is valid */
        return 0;
}

static int teardown(void **state)
{
        EVP_PKEY_free(pki.root_key);
        EVP_PKEY_free(pki.ca_key);
        EVP_PKEY_free(pki.key);
        EVP_PKEY_free(pki.other_key);
        X509_free(pki.root);
        X509_free(pki.ca);
        X509_free(pki.leaf);
        X509_free(pki.other_leaf);
        bytes_deinit(&pki.spki);
        return 0;
}

static void sort_and_expect(const BytesList *in, X509 *const *expected, size_t n, const char *fault)
{
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        CLEANUP(freep) char *said = NULL;
        Failure failure = { 0 };

        assert_int_equal(pki_chain_sort(in, &pki.spki, (uint64_t)now_sec, &chain, &said, &failure),
                         0);
        assert_int_equal(chain.n, n);
        for (size_t i = 0; i < n; i++) {
                CLEANUP(bytes_deinit) Bytes der = issue_der(expected[i]);

                assert_true(bytes_equal(&der, &chain.items[i]));
        }
        if (fault) {
                assert_non_null(said);
                assert_string_equal(said, fault);
        } else {
                assert_null(said);
        }
}

static void swap(size_t *a, size_t *b)
{
        size_t was = *a;

        *a = *b;
        *b = was;
}

/* The next one in the order of their numbers; false after the last. */
static bool next_order(size_t *order, size_t n)
{
        size_t i = n - 1, k = n - 1;

        while (i > 0 && order[i - 1] >= order[i])
                i--;
        if (i == 0)
                return false;
        while (order[k] <= order[i - 1])
                k--;
        swap(&order[i - 1], &order[k]);
        for (k = n - 1; i < k; i++, k--)
                swap(&order[i], &order[k]);
        return true;
}

/* Whatever the order in which they come. */
static void expect_of(X509 *const *certificates, size_t n, X509 *const *expected, size_t n_expected,
                      const char *fault)
{
        size_t order[PERMUTED_MAX];

        assert_true(n <= PERMUTED_MAX);
        for (size_t i = 0; i < n; i++)
                order[i] = i;
        do {
                CLEANUP(bytes_list_deinit) BytesList in = { 0 };

                for (size_t i = 0; i < n; i++)
                        issue_append(&in, certificates[order[i]]);
                sort_and_expect(&in, expected, n_expected, fault);
        } while (next_order(order, n));
}

#define CHAIN(...) ((X509 *[]){ __VA_ARGS__ }), ELEMENTSOF(((X509 *[]){ __VA_ARGS__ }))

static void chain_in_any_order(void **state)
{
        expect_of(CHAIN(pki.leaf, pki.ca, pki.root), CHAIN(pki.leaf, pki.ca, pki.root), NULL);
        expect_of(CHAIN(pki.leaf, pki.ca), CHAIN(pki.leaf, pki.ca), NULL);
}

static void strangers_and_doubles_are_dropped(void **state)
{
        X509 *stranger = kept(&(Issue){ .name = "stranger", .key = pki.other_key });

        expect_of(CHAIN(stranger, pki.ca, pki.leaf, pki.other_leaf), CHAIN(pki.leaf, pki.ca), NULL);
        expect_of(CHAIN(pki.ca, pki.leaf, pki.ca, pki.leaf, pki.root),
                  CHAIN(pki.leaf, pki.ca, pki.root), NULL);
}

static void leaf_alone_misses_its_issuer(void **state)
{
        static const char fault[] =
                "the chain is incomplete: the certificate of 'CN=ca' is missing";
        X509 *self_signed = kept(&(Issue){ .name = "alone", .key = pki.key });

        expect_of(CHAIN(pki.leaf), CHAIN(pki.leaf), fault);
        expect_of(CHAIN(pki.root, pki.leaf), CHAIN(pki.leaf), fault);
        expect_of(CHAIN(self_signed), CHAIN(self_signed), NULL);
        expect_of(CHAIN(self_signed, pki.root), CHAIN(self_signed), NULL);
}

/* What lies unused shows that something is missing between it and the chain. */
static void gap_in_the_middle(void **state)
{
        static const char fault[] =
                "the chain is incomplete: the certificate of 'CN=ca' is missing";
        EVP_PKEY *low_key = issue_p256(), *far_key = issue_p256();
        X509 *low = authority("low", low_key, pki.ca, pki.ca_key, -1, 9);
        X509 *leaf = leaf_of(low, low_key, -1, 9);
        X509 *beside = authority("beside", pki.other_key, pki.ca, pki.ca_key, -1, 9);
        X509 *far = authority("far", far_key, NULL, NULL, -1, 9);
        X509 *far_leaf = kept(&(Issue){
                .name = "far leaf", .key = pki.other_key, .issuer = far, .issuer_key = far_key });

        expect_of(CHAIN(leaf, low), CHAIN(leaf, low), NULL);
        expect_of(CHAIN(leaf, low, pki.root), CHAIN(leaf, low), fault);
        expect_of(CHAIN(leaf, low, pki.root, beside), CHAIN(leaf, low), fault);
        expect_of(CHAIN(leaf, low, pki.root, pki.ca), CHAIN(leaf, low, pki.ca, pki.root), NULL);
        /* nor are they signs of a gap: what the missing one has issued too, and another leaf's chain */
        expect_of(CHAIN(leaf, low, beside), CHAIN(leaf, low), NULL);
        expect_of(CHAIN(leaf, low, far, far_leaf), CHAIN(leaf, low), NULL);
        EVP_PKEY_free(low_key);
        EVP_PKEY_free(far_key);
}

/* Two authorities of one name: the signature decides, and what they say of their keys. */
static void issuer_is_found_by_signature(void **state)
{
        static const char *const ids[][2] = { { NULL, NULL }, { "one", "other" } };

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                Issue issue = { .name = "ca",
                                .key = pki.other_key,
                                .issuer = pki.root,
                                .issuer_key = pki.root_key,
                                .basic = "CA:TRUE",
                                .key_id = ids[i][1] };
                X509 *impostor = kept(&issue), *ca, *leaf;

                issue.key = pki.ca_key;
                issue.key_id = ids[i][0];
                ca = kept(&issue);
                leaf = kept(&(Issue){ .name = "leaf",
                                      .key = pki.key,
                                      .issuer = ca,
                                      .issuer_key = pki.ca_key,
                                      .issuer_key_id = ids[i][0] });
                expect_of(CHAIN(impostor, pki.root, ca, leaf), CHAIN(leaf, ca, pki.root), NULL);
                expect_of(CHAIN(impostor, leaf), CHAIN(leaf),
                          "the chain is incomplete: the certificate of 'CN=ca' is missing");
        }
}

/* OpenSSL takes no issuer whose key identifier is not the one that is named; others do. */
static void key_ids_come_first(void **state)
{
        Issue issue = { .name = "ca",
                        .key = pki.ca_key,
                        .issuer = pki.root,
                        .issuer_key = pki.root_key,
                        .basic = "CA:TRUE",
                        .key_id = "one" };
        X509 *right = kept(&issue), *wrong, *leaf;

        issue.key_id = "other";
        issue.not_before = now_sec - 30; /* the newer one */
        wrong = kept(&issue);
        leaf = kept(&(Issue){ .name = "leaf",
                              .key = pki.key,
                              .issuer = right,
                              .issuer_key = pki.ca_key,
                              .issuer_key_id = "one" });
        expect_of(CHAIN(leaf, wrong, right, pki.root), CHAIN(leaf, right, pki.root), NULL);
        expect_of(CHAIN(leaf, wrong, pki.root), CHAIN(leaf, wrong, pki.root), NULL);
}

/* An authority that was renewed with its key, and the certificate that it had before. */
static void valid_twin_is_taken(void **state)
{
        X509 *once = authority("ca", pki.ca_key, pki.root, pki.root_key, -9, 8);
        X509 *later = authority("ca", pki.ca_key, pki.root, pki.root_key, 5, 90);
        X509 *valid = authority("ca", pki.ca_key, pki.root, pki.root_key, -3, 9);

        expect_of(CHAIN(pki.leaf, once, valid, pki.root), CHAIN(pki.leaf, valid, pki.root), NULL);
        expect_of(CHAIN(pki.leaf, once, later, valid, pki.root), CHAIN(pki.leaf, valid, pki.root),
                  NULL);
        expect_of(CHAIN(pki.leaf, once, valid), CHAIN(pki.leaf, valid), NULL);
        expect_of(CHAIN(pki.leaf, once, later), CHAIN(pki.leaf, later), said_of(later, true));
}

static void members_that_are_not_valid_are_told(void **state)
{
        X509 *once = authority("ca", pki.ca_key, pki.root, pki.root_key, -9, 8);
        X509 *root_once = authority("root", pki.root_key, NULL, NULL, -9, 8);
        X509 *leaf_once = leaf_of(pki.ca, pki.ca_key, -9, 8);
        char two[256];

        expect_of(CHAIN(pki.leaf, once, pki.root), CHAIN(pki.leaf, once, pki.root),
                  said_of(once, false));
        expect_of(CHAIN(pki.leaf, pki.ca, root_once), CHAIN(pki.leaf, pki.ca, root_once),
                  said_of(root_once, false));
        snprintf(two, sizeof(two), "%s (members that are not valid now: 2)", said_of(once, false));
        expect_of(CHAIN(pki.leaf, once, root_once), CHAIN(pki.leaf, once, root_once), two);
        /* the certificate's state tells its own */
        expect_of(CHAIN(leaf_once, pki.ca, pki.root), CHAIN(leaf_once, pki.ca, pki.root), NULL);
}

/* A root, and a certificate of another authority for its name and key. */
static void root_and_its_cross_certificate(void **state)
{
        static const int from[] = { -3, -30 }; /* of ten days: valid, expired */

        for (int i = 0; i < 4; i++) {
                EVP_PKEY *old_key = issue_p256();
                X509 *old_root = authority("old root", old_key, NULL, NULL, -3, 10);
                X509 *own = authority("root", pki.root_key, NULL, NULL, from[i & 1], 10);
                X509 *cross = authority("root", pki.root_key, old_root, old_key, from[i >> 1], 10);
                bool own_once = i & 1, cross_once = i >> 1;

                if (own_once && !cross_once)
                        expect_of(CHAIN(pki.leaf, pki.ca, own, cross, old_root),
                                  CHAIN(pki.leaf, pki.ca, cross, old_root), NULL);
                else
                        expect_of(CHAIN(pki.leaf, pki.ca, own, cross, old_root),
                                  CHAIN(pki.leaf, pki.ca, own),
                                  own_once ? said_of(own, false) : NULL);
                expect_of(CHAIN(pki.leaf, pki.ca, cross, old_root),
                          CHAIN(pki.leaf, pki.ca, cross, old_root),
                          cross_once ? said_of(cross, false) : NULL);
                EVP_PKEY_free(old_key);
        }
}

/* An authority that two have certified. */
static void longest_way_to_a_root(void **state)
{
        EVP_PKEY *absent_key = issue_p256(), *between_key = issue_p256();
        X509 *absent = authority("absent", absent_key, NULL, NULL, -9, 99);
        X509 *between = authority("between", between_key, pki.root, pki.root_key, -9, 99);
        X509 *newest = authority("ca", pki.ca_key, absent, absent_key, -1, 99);
        X509 *longer = authority("ca", pki.ca_key, between, between_key, -3, 99);
        X509 *longer_once = authority("ca", pki.ca_key, between, between_key, -99, 9);
        X509 *root_once = authority("root", pki.root_key, NULL, NULL, -99, 9);

        expect_of(CHAIN(pki.leaf, newest, pki.ca, pki.root), CHAIN(pki.leaf, pki.ca, pki.root),
                  NULL);
        expect_of(CHAIN(pki.leaf, longer, between, pki.ca, pki.root),
                  CHAIN(pki.leaf, longer, between, pki.root), NULL);
        expect_of(CHAIN(pki.leaf, longer_once, between, pki.ca, pki.root),
                  CHAIN(pki.leaf, pki.ca, pki.root), NULL);
        expect_of(CHAIN(pki.leaf, newest, pki.ca, root_once), CHAIN(pki.leaf, newest), NULL);
        expect_of(CHAIN(pki.leaf, longer_once, between, newest, pki.root), CHAIN(pki.leaf, newest),
                  NULL);
        EVP_PKEY_free(absent_key);
        EVP_PKEY_free(between_key);
}

/* What OpenSSL says of a way as a whole. */
static void ways_that_do_not_hold(void **state)
{
        EVP_PKEY *low_key = issue_p256();
        Issue issue = { .name = "ca",
                        .key = pki.ca_key,
                        .issuer = pki.root,
                        .issuer_key = pki.root_key,
                        .basic = "CA:TRUE,pathlen:0",
                        .not_before = now_sec - 30 };
        X509 *too_short = kept(&issue), *no_authority;
        X509 *low = authority("low", low_key, pki.ca, pki.ca_key, -1, 9);
        X509 *leaf = leaf_of(low, low_key, -1, 9);

        issue.basic = "CA:FALSE";
        no_authority = kept(&issue);
        expect_of(CHAIN(leaf, low, too_short, pki.ca, pki.root), CHAIN(leaf, low, pki.ca, pki.root),
                  NULL);
        expect_of(CHAIN(pki.leaf, no_authority, pki.ca, pki.root),
                  CHAIN(pki.leaf, pki.ca, pki.root), NULL);
        expect_of(CHAIN(leaf, low, too_short, pki.root), CHAIN(leaf, low, too_short, pki.root),
                  NULL);
        EVP_PKEY_free(low_key);
}

static void leaf_that_is_taken(void **state)
{
        X509 *once = leaf_of(pki.ca, pki.ca_key, -1, 0),
             *long_once = leaf_of(pki.ca, pki.ca_key, -9, 1);
        X509 *later = leaf_of(pki.ca, pki.ca_key, 1, 9),
             *much_later = leaf_of(pki.ca, pki.ca_key, 5, 99);
        X509 *valid = leaf_of(pki.ca, pki.ca_key, -2, 9),
             *renewed = leaf_of(pki.ca, pki.ca_key, -1, 5);

        expect_of(CHAIN(valid, once, later, renewed, pki.ca), CHAIN(renewed, pki.ca), NULL);
        expect_of(CHAIN(once, later, much_later, pki.ca), CHAIN(later, pki.ca), NULL);
        expect_of(CHAIN(once, long_once, pki.ca), CHAIN(once, pki.ca), NULL);
}

static int sort_fails(const BytesList *in, const char *text)
{
        BytesList chain = { 0 };
        char *fault = NULL;
        Failure failure = { 0 };
        int r = pki_chain_sort(in, &pki.spki, (uint64_t)now_sec, &chain, &fault, &failure);

        assert_true(r != 0 && chain.n == 0 && !fault);
        assert_non_null(strstr(failure.text, text));
        assert_int_equal(failure.status, r);
        return r;
}

static void chains_that_are_none(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        CLEANUP(bytes_list_deinit) BytesList junk = { 0 };

        assert_int_equal(sort_fails(&in, "no certificate"), CB_BAD_BUNDLE);
        issue_append(&in, pki.other_leaf);
        assert_int_equal(sort_fails(&in, "is for the key"), CB_KEY_MISMATCH);
        assert_int_equal(bytes_list_append(&junk, "junk", 4), 0);
        assert_int_equal(sort_fails(&junk, "not in DER"), CB_BAD_BUNDLE);
        for (int i = 0; i < PKI_CERTIFICATES_MAX; i++)
                issue_append(&in, pki.leaf);
        assert_int_equal(sort_fails(&in, "leave out"), CB_BAD_BUNDLE);
}

static void chain_that_is_too_long(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        X509 *issuer = NULL;
        char name[16];

        for (size_t i = 0; i < PKI_CHAIN_MAX; i++) {
                snprintf(name, sizeof(name), "ca %zu", i);
                issuer = kept(&(Issue){ .name = name, .key = pki.ca_key, .issuer = issuer });
                issue_append(&in, issuer);
        }
        issue_append(&in, leaf_of(issuer, pki.ca_key, -1, 9));
        assert_int_equal(sort_fails(&in, "longer than"), CB_BAD_BUNDLE);
}

/* A circle has no end, but the walk through it has. */
static void circle_ends(void **state)
{
        X509 *a = authority("a", pki.ca_key, NULL, NULL, -1, 9);
        X509 *b = authority("b", pki.other_key, a, pki.ca_key, -1, 9);
        X509 *a2 = authority("a", pki.ca_key, b, pki.other_key, -1, 9);
        X509 *leaf = leaf_of(a, pki.ca_key, -1, 9);
        X509 *own = kept(
                &(Issue){ .name = "a", .key = pki.key, .issuer = b, .issuer_key = pki.other_key });

        expect_of(CHAIN(leaf, a2, b), CHAIN(leaf, a2, b), NULL);
        expect_of(CHAIN(leaf, a2, b, a), CHAIN(leaf, a), NULL);
        expect_of(CHAIN(own, b), CHAIN(own, b), NULL);
}

/* As many as a bundle may hold. */
static void many_strangers(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        X509 *const expected[] = { pki.leaf, pki.ca, pki.root };
        size_t n = MIN((size_t)1000, (size_t)PKI_CERTIFICATES_MAX - 3);

        issue_append(&in, pki.root);
        for (size_t i = 0; i < n; i++) {
                X509 *stranger;
                char name[32];

                snprintf(name, sizeof(name), "stranger %zu", i);
                stranger = issue_certificate(
                        &(Issue){ .name = name, .key = pki.other_key, .basic = "CA:TRUE" });
                issue_append(&in, stranger);
                X509_free(stranger);
        }
        issue_append(&in, pki.leaf);
        issue_append(&in, pki.ca);
        sort_and_expect(&in, expected, 3, NULL);
}

/* Authorities that have all certified each other: more ways than could be gone, and among them one to a root. */
static void mesh(void **state)
{
        enum { N = 18 };
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        CLEANUP(bytes_deinit) Bytes root = { 0 };
        EVP_PKEY *keys[N];
        X509 *own[N];
        char name[N][32];
        Failure failure = { 0 };

        for (size_t i = 0; i < N; i++) {
                snprintf(name[i], sizeof(name[i]), "mesh %zu", i);
                keys[i] = issue_p256();
                own[i] = authority(name[i], keys[i], NULL, NULL, -1, 9);
        }
        for (size_t i = 0; i < N * N; i++) {
                Issue issue = { .name = name[i / N],
                                .key = keys[i / N],
                                .issuer = own[i % N],
                                .issuer_key = keys[i % N],
                                .basic = "CA:TRUE" };
                X509 *cross = i / N == i % N ? NULL : issue_certificate(&issue);

                if (cross && in.n + 2 < PKI_CERTIFICATES_MAX)
                        issue_append(&in, cross);
                X509_free(cross);
        }
        issue_append(&in, leaf_of(own[0], keys[0], -1, 9));
        issue_append(&in, own[1]);
        root = issue_der(own[1]);
        assert_int_equal(pki_chain_sort(&in, &pki.spki, (uint64_t)now_sec, &chain, NULL, &failure),
                         0);
        assert_true(in.n < N * (N - 1) || bytes_equal(&chain.items[chain.n - 1], &root));
        for (size_t i = 0; i < N; i++)
                EVP_PKEY_free(keys[i]);
}

/* One name and many keys, each of which might have signed: that is refused, before it takes long. */
static void many_keys_of_one_name(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        size_t n = MIN((size_t)300, (size_t)PKI_CERTIFICATES_MAX - 1);

        for (size_t i = 0; i < n; i++) {
                EVP_PKEY *key = issue_p256();
                X509 *other = issue_certificate(&(Issue){ .name = "ca", .key = key });

                issue_append(&in, other);
                X509_free(other);
                EVP_PKEY_free(key);
        }
        issue_append(&in, pki.leaf);
        if (n == 300)
                assert_int_equal(sort_fails(&in, "leave out"), CB_BAD_BUNDLE);
        else
                sort_and_expect(&in, &pki.leaf, 1,
                                "the chain is incomplete: the certificate of 'CN=ca' is missing");
}

/* One name and one key, many times over: each would be an issuer, and each of each other. */
static void many_twins(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList in = { 0 };
        size_t n = MIN((size_t)1000, (size_t)PKI_CERTIFICATES_MAX - 3);

        for (size_t i = 0; i < n; i++) {
                X509 *twin = issue_certificate(&(Issue){ .name = "ca",
                                                         .key = pki.ca_key,
                                                         .issuer = i % 2 ? pki.root : NULL,
                                                         .issuer_key = i % 2 ? pki.root_key : NULL,
                                                         .not_before = now_sec - DAY_SEC - 3600 });

                issue_append(&in, twin);
                X509_free(twin);
        }
        issue_append(&in, pki.leaf);
        issue_append(&in, pki.root);
        issue_append(&in, pki.ca);
        sort_and_expect(&in, (X509 *const[]){ pki.leaf, pki.ca, pki.root }, 3, NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(chain_in_any_order, forget_made),
                cmocka_unit_test_teardown(strangers_and_doubles_are_dropped, forget_made),
                cmocka_unit_test_teardown(leaf_alone_misses_its_issuer, forget_made),
                cmocka_unit_test_teardown(gap_in_the_middle, forget_made),
                cmocka_unit_test_teardown(issuer_is_found_by_signature, forget_made),
                cmocka_unit_test_teardown(key_ids_come_first, forget_made),
                cmocka_unit_test_teardown(valid_twin_is_taken, forget_made),
                cmocka_unit_test_teardown(members_that_are_not_valid_are_told, forget_made),
                cmocka_unit_test_teardown(root_and_its_cross_certificate, forget_made),
                cmocka_unit_test_teardown(longest_way_to_a_root, forget_made),
                cmocka_unit_test_teardown(ways_that_do_not_hold, forget_made),
                cmocka_unit_test_teardown(leaf_that_is_taken, forget_made),
                cmocka_unit_test_teardown(chains_that_are_none, forget_made),
                cmocka_unit_test_teardown(chain_that_is_too_long, forget_made),
                cmocka_unit_test_teardown(circle_ends, forget_made),
                cmocka_unit_test_teardown(many_strangers, forget_made),
                cmocka_unit_test_teardown(mesh, forget_made),
                cmocka_unit_test_teardown(many_keys_of_one_name, forget_made),
                cmocka_unit_test_teardown(many_twins, forget_made),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
