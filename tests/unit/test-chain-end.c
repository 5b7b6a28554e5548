/* SPDX-License-Identifier: Apache-2.0 */
/* Which member of a chain expires first, and what is said then: the same by its facts as by who sorts it at that time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/strings.h"
#include "issue.h"
#include "pki/x509.h"

#define NOW_SEC INT64_C(1800000000)

static EVP_PKEY *root_key, *ca_key, *key;
static Bytes spki;

static int setup(void **state)
{
        issue_setup(state);
        root_key = issue_p256();
        ca_key = issue_p256();
        key = issue_p256();
        spki = issue_spki(key);
        return 0;
}

static int teardown(void **state)
{
        EVP_PKEY_free(root_key);
        EVP_PKEY_free(ca_key);
        EVP_PKEY_free(key);
        bytes_deinit(&spki);
        return 0;
}

/* leaf, ca and root, with their ends in seconds after NOW_SEC; 0: there is no such member. */
static void make_chain(int64_t ca_end, int64_t root_end, BytesList *chain)
{
        Issue issue = { .not_before = NOW_SEC - 1000 };
        X509 *root, *ca, *leaf;

        issue.not_after = NOW_SEC + root_end;
        issue.name = "root";
        issue.key = root_key;
        issue.basic = "CA:TRUE";
        root = issue_certificate(&issue);
        issue.not_after = NOW_SEC + ca_end;
        issue.name = "ca";
        issue.key = ca_key;
        issue.issuer = root;
        issue.issuer_key = root_key;
        ca = issue_certificate(&issue);
        issue.not_after = NOW_SEC + 5; /* the leaf's own end is no matter */
        issue.name = "leaf";
        issue.key = key;
        issue.basic = NULL;
        issue.issuer = ca;
        issue.issuer_key = ca_key;
        leaf = issue_certificate(&issue);
        issue_append(chain, leaf);
        if (ca_end != 0)
                issue_append(chain, ca);
        if (root_end != 0)
                issue_append(chain, root);
        X509_free(leaf);
        X509_free(ca);
        X509_free(root);
}

static char *fault_at(const BytesList *chain, uint64_t now_sec)
{
        CLEANUP(bytes_list_deinit) BytesList sorted = { 0 };
        Failure failure = { 0 };
        char *fault = NULL;

        assert_int_equal(pki_chain_sort(chain, &spki, now_sec, &sorted, &fault, &failure), 0);
        return fault;
}

static void first_to_expire_is_known(void **state)
{
        static const struct {
                int64_t ca_end, root_end;
                const char *said; /* NULL: nothing */
                int64_t end;
        } rows[] = {
                { 0, 0, NULL, 0 },
                { 100, 0, "the certificate of 'CN=ca' in the chain expired on 2027-01-15", 100 },
                { 100, 200, "the certificate of 'CN=ca' in the chain expired on 2027-01-15", 100 },
                { 200, 100, "the certificate of 'CN=root' in the chain expired on 2027-01-15", 100 },
                { 100, 100, "the certificate of 'CN=ca' in the chain expired on 2027-01-15", 100 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
                CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 }, leaf = { 0 };
                CLEANUP(freep) char *before = NULL, *first = NULL, *both = NULL;
                uint64_t end_sec = (uint64_t)(NOW_SEC + rows[i].end);
                Failure failure = { 0 };

                make_chain(rows[i].ca_end, rows[i].root_end, &chain);
                assert_int_equal(pki_chain_facts(&chain, NULL, &facts, &failure), 0);
                assert_int_equal(pki_certificate_facts(chain.items[0].data, chain.items[0].n,
                                                       &leaf, &failure),
                                 0);
                assert_string_equal(facts.thumbprint_sha256, leaf.thumbprint_sha256);
                assert_null(leaf.chain_end);
                if (!rows[i].said) {
                        assert_null(facts.chain_end);
                        continue;
                }
                assert_string_equal(facts.chain_end, rows[i].said);
                assert_int_equal(facts.chain_not_after_sec, end_sec);
                assert_null(before = fault_at(&chain, end_sec));
                first = fault_at(&chain, end_sec + 1);
                assert_int_equal(strncmp(first, rows[i].said, strlen(rows[i].said)), 0);
                both = fault_at(&chain, end_sec + 1000);
                assert_int_equal(strncmp(both, rows[i].said, strlen(rows[i].said)), 0);
        }
}

/* One that no version of ours has stored is no reason not to start. */
static void member_that_cannot_be_read(void **state)
{
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
        Failure failure = { 0 };

        make_chain(0, 0, &chain);
        assert_int_equal(bytes_list_append(&chain, "none", 4), 0);
        assert_int_equal(pki_chain_facts(&chain, &spki, &facts, &failure), 0);
        assert_null(facts.chain_end);
        assert_int_equal(bytes_set(&chain.items[0], "none", 4), 0);
        assert_int_equal(pki_chain_facts(&chain, NULL, &(CertificateFacts){ 0 }, &failure),
                         CB_BAD_BUNDLE);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(first_to_expire_is_known),
                cmocka_unit_test(member_that_cannot_be_read),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
