/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chain out of whatever lies beside a leaf: people, tokens and vaults deliver certificates in any
 * order, with strangers and with those of last year between them. Invariant: in what is handed out
 * each certificate was really signed by the next one's key, the first is the key's own, and none is
 * there twice; and it follows from the certificates and the time alone. It judges no trust; what
 * does not lead to a root, or has expired, is handed out as far as it goes, and told.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/date.h"
#include "base/strings.h"
#include "pki/certificate.h"
#include "pki/certificates.h"
#include "pki/chain.h"
#include "pki/context.h"
#include "pki/parts.h"

static void candidates_deinit(Candidates *c)
{
        for (size_t i = 0; i < c->n; i++) {
                X509_free(c->items[i].x);
                free(c->items[i].issuers.items);
        }
        free(c->items);
}

static Validity validity_of(uint64_t not_before_sec, uint64_t not_after_sec, uint64_t now_sec)
{
        return now_sec > not_after_sec    ? VALID_ONCE
               : now_sec < not_before_sec ? VALID_LATER
                                          : VALID_NOW;
}

static int compare(uint64_t a, uint64_t b)
{
        return a == b ? 0 : a < b ? -1 : 1;
}

static int compare_bytes(const Bytes *a, const Bytes *b)
{
        return compare(a->n, b->n) ?: memcmp(a->data, b->data, a->n);
}

/* What is better is tried first: valid, a root, renewed. */
static int candidate_compare(const void *one, const void *other)
{
        const Candidate *a = one, *b = other;

        return compare(a->validity, b->validity) ?:
               compare(b->own_name, a->own_name) ?:
               compare(b->not_before_sec, a->not_before_sec) ?:
               compare(b->not_after_sec, a->not_after_sec) ?: compare_bytes(a->der, b->der);
}

static void sort_candidates(Candidates *c)
{
        size_t n = 0;

        qsort(c->items, c->n, sizeof(*c->items), candidate_compare);
        for (size_t i = 0; i < c->n; i++) {
                if (n > 0 && bytes_equal(c->items[n - 1].der, c->items[i].der))
                        X509_free(c->items[i].x);
                else
                        c->items[n++] = c->items[i];
        }
        c->n = n;
}

static int candidates_fill(Candidates *c, const BytesList *list, Failure *failure)
{
        if (list->n == 0)
                return fail(failure, CB_BAD_BUNDLE, "there is no certificate");
        if (list->n > PKI_CERTIFICATES_MAX)
                return fail(failure, CB_BAD_BUNDLE,
                            "there are more than %d certificates: leave out "
                            "what is no part of the chain",
                            PKI_CERTIFICATES_MAX);
        c->items = calloc(list->n, sizeof(*c->items));
        if (!c->items)
                return fail(failure, -ENOMEM, "cannot sort a chain: %s", strerror(ENOMEM));
        for (size_t i = 0; i < list->n; i++) {
                Candidate *one = &c->items[i];

                one->der = &list->items[i];
                one->x = x509_from_der(one->der->data, one->der->n);
                if (!one->x)
                        return fail(failure, CB_BAD_BUNDLE, "certificate %zu is not in DER", i + 1);
                c->n++;
                x509_validity(one->x, &one->not_before_sec, &one->not_after_sec);
                one->validity = validity_of(one->not_before_sec, one->not_after_sec, c->now_sec);
                one->own_name = X509_NAME_cmp(X509_get_subject_name(one->x),
                                              X509_get_issuer_name(one->x)) == 0;
        }
        sort_candidates(c);
        return 0;
}

static bool is_for_key(X509 *x, const Bytes *spki)
{
        CLEANUP(bytes_deinit) Bytes own = { 0 };
        EVP_PKEY *key = X509_get0_pubkey(x);
        bool yes = key && key_type_of(key) != KEY_TYPE_NONE && key_spki(key, &own) == 0 &&
                   bytes_equal(&own, spki);

        ERR_clear_error();
        return yes;
}

/* Of two certificates for one key. */
static bool goes_before(uint64_t not_before_sec, uint64_t not_after_sec,
                        uint64_t other_not_before_sec, uint64_t other_not_after_sec,
                        uint64_t now_sec)
{
        Validity one = validity_of(not_before_sec, not_after_sec, now_sec);
        Validity other = validity_of(other_not_before_sec, other_not_after_sec, now_sec);

        if (one != other)
                return one < other;
        if (one == VALID_LATER && not_before_sec != other_not_before_sec)
                return not_before_sec < other_not_before_sec;
        if (one == VALID_NOW && not_before_sec != other_not_before_sec)
                return not_before_sec > other_not_before_sec;
        return not_after_sec > other_not_after_sec;
}

bool pki_leaf_goes_before(const CertificateFacts *one, const CertificateFacts *other,
                          uint64_t now_sec)
{
        return goes_before(one->not_before_sec, one->not_after_sec, other->not_before_sec,
                           other->not_after_sec, now_sec);
}

static int find_leaf(const Candidates *c, const Bytes *spki, size_t *ret_leaf, Failure *failure)
{
        const Candidate *leaf = NULL;

        for (size_t i = 0; i < c->n; i++) {
                const Candidate *one = &c->items[i];

                if (is_for_key(one->x, spki) &&
                    (!leaf || goes_before(one->not_before_sec, one->not_after_sec,
                                          leaf->not_before_sec, leaf->not_after_sec, c->now_sec)))
                        leaf = one;
        }
        if (!leaf)
                return fail(failure, CB_KEY_MISMATCH,
                            "none of the %zu certificates is for the key: "
                            "use the certificate that was issued for it",
                            c->n);
        *ret_leaf = (size_t)(leaf - c->items);
        return 0;
}

/* What is wrong with it */

static bool is_on(const Way *way, size_t candidate)
{
        for (size_t i = 0; i < way->n; i++)
                if (way->items[i] == candidate)
                        return true;
        return false;
}

static bool has_issued_any(const Candidates *c, const Candidate *issuer)
{
        for (size_t i = 0; i < c->n; i++)
                if (&c->items[i] != issuer && candidate_may_issue(issuer, &c->items[i]))
                        return true;
        return false;
}

/*
 * Is something missing in the middle? An authority to which nothing leads up was meant to be in the
 * chain. That a root is not there is as it should be; neither is what it has issued beside the
 * chain's own a sign of a gap.
 */
static bool shows_gap(const Candidates *c, const Way *way, const Candidate *last)
{
        for (size_t i = 0; i < c->n; i++) {
                const Candidate *one = &c->items[i];

                if (!is_on(way, i) && X509_check_ca(one->x) > 0 &&
                    X509_NAME_cmp(X509_get_issuer_name(one->x), X509_get_issuer_name(last->x)) !=
                            0 &&
                    !has_issued_any(c, one))
                        return true;
        }
        return false;
}

static int missing_text(const Candidates *c, const Way *way, char **ret_text)
{
        const Candidate *last = &c->items[way->items[way->n - 1]];
        CLEANUP(freep) char *name = NULL;

        if (last->self_signed || (way->n > 1 && !shows_gap(c, way, last)))
                return 0;
        name = x509_name_text(X509_get_issuer_name(last->x));
        return name ? string_format(ret_text,
                                    "the chain is incomplete: the certificate of '%s' is missing",
                                    name)
                    : -ENOMEM;
}

/*
 * The leaf's own is told by the certificate's state. Of several the one that expired first, which is the one that
 * pki_chain_facts() names.
 */
static const Candidate *find_not_valid(const Candidates *c, const Way *way, size_t *ret_n)
{
        const Candidate *first = NULL;

        for (size_t i = 1; i < way->n; i++) {
                const Candidate *one = &c->items[way->items[i]];

                if (one->validity == VALID_NOW)
                        continue;
                if (!first || one->not_after_sec < first->not_after_sec)
                        first = one;
                ++*ret_n;
        }
        return first;
}

static int expired_text(const char *name, uint64_t not_after_sec, char **ret_text)
{
        char date[DATE_TEXT_MAX];

        return string_format(ret_text, "the certificate of '%s' in the chain expired on %.10s",
                             name, date_text(not_after_sec, date));
}

static int not_valid_text(const Candidates *c, const Way *way, char **ret_text)
{
        CLEANUP(freep) char *name = NULL, *text = NULL;
        char date[DATE_TEXT_MAX];
        size_t n = 0;
        const Candidate *one = find_not_valid(c, way, &n);
        int r;

        if (!one)
                return 0;
        name = x509_name_text(X509_get_subject_name(one->x));
        if (!name)
                return -ENOMEM;
        if (one->validity == VALID_LATER) {
                r = string_format(&text,
                                  "the certificate of '%s' in the chain is not valid before %.10s",
                                  name, date_text(one->not_before_sec, date));
        } else {
                r = expired_text(name, one->not_after_sec, &text);
        }
        if (r == 0 && n > 1)
                return string_format(ret_text, "%s (members that are not valid now: %zu)", text, n);
        if (r == 0)
                *ret_text = TAKE(text);
        return r;
}

static int fault_of(const Candidates *c, const Way *way, char **ret_fault)
{
        CLEANUP(freep) char *missing = NULL, *not_valid = NULL;
        int r;

        r = missing_text(c, way, &missing);
        if (r == 0)
                r = not_valid_text(c, way, &not_valid);
        if (r < 0)
                return r;
        if (missing && not_valid)
                return string_format(ret_fault, "%s; %s", missing, not_valid);
        *ret_fault = missing ? TAKE(missing) : TAKE(not_valid);
        return 0;
}

int pki_chain_warning(const char *fault, const char *remedy, char **ret_warning)
{
        CLEANUP(freep) char *text = NULL;
        int r;

        if (!remedy)
                remedy = CERTIFICATE_CHAIN_REMEDY;
        r = fault ? string_format(&text, "%s; %s", fault, remedy) : 0;
        if (r == 0)
                *ret_warning = TAKE(text);
        return r;
}

/* All */

static int sort(Candidates *c, const BytesList *certificates, const Bytes *spki, BytesList *chain,
                char **fault, Failure *failure)
{
        size_t leaf = 0;
        Way way = { 0 };
        int r;

        r = candidates_fill(c, certificates, failure);
        if (r == 0)
                r = find_leaf(c, spki, &leaf, failure);
        if (r == 0)
                r = way_find(c, leaf, &way, failure);
        for (size_t i = 0; i < way.n && r == 0; i++)
                r = bytes_list_append(chain, c->items[way.items[i]].der->data,
                                      c->items[way.items[i]].der->n);
        if (r == 0)
                r = fault_of(c, &way, fault);
        return r < 0 ? fail(failure, r, "cannot sort a chain: %s", strerror(-r)) : r;
}

int chain_sort_within(Work *work, const BytesList *certificates, const Bytes *spki,
                      uint64_t now_sec, BytesList *ret_chain, char **ret_fault, Failure *failure)
{
        CLEANUP(candidates_deinit) Candidates c = { .now_sec = now_sec, .work = work };
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        CLEANUP(freep) char *fault = NULL;
        unsigned n_before = pki_memory_failures();
        int r;

        r = sort(&c, certificates, spki, &chain, &fault, failure);
        /* An issuer that could not be tried is none: a chain without it is not the one. */
        if (r == 0 && pki_memory_failures() != n_before)
                r = fail(failure, -ENOMEM, "cannot sort a chain: %s", strerror(ENOMEM));
        if (r)
                return pki_memory_outcome(n_before, r, failure);
        *ret_chain = chain;
        chain = (BytesList){ 0 };
        if (ret_fault)
                *ret_fault = TAKE(fault);
        return 0;
}

int pki_chain_sort(const BytesList *certificates, const Bytes *spki, uint64_t now_sec,
                   BytesList *ret_chain, char **ret_fault, Failure *failure)
{
        Work work = { 0 };

        return chain_sort_within(&work, certificates, spki, now_sec, ret_chain, ret_fault, failure);
}

static int note_end(X509 *x, uint64_t not_after_sec, CertificateFacts *facts)
{
        CLEANUP(freep) char *name = x509_name_text(X509_get_subject_name(x));
        char *text = NULL;
        int r = name ? expired_text(name, not_after_sec, &text) : -ENOMEM;

        if (r < 0)
                return r;
        free(facts->chain_end);
        facts->chain_end = text;
        facts->chain_not_after_sec = not_after_sec;
        return 0;
}

/* What cannot be read was never taken into a chain; whoever has an odd one from elsewhere is told of the others. */
static int note_first_to_expire(const BytesList *chain, CertificateFacts *facts)
{
        int r = 0;

        for (size_t i = 1; i < chain->n && r == 0; i++) {
                CLEANUP(x509_freep)
                X509 *x = x509_from_der(chain->items[i].data, chain->items[i].n);
                uint64_t from_sec, until_sec;

                if (!x)
                        continue;
                x509_validity(x, &from_sec, &until_sec);
                if (!facts->chain_end || until_sec < facts->chain_not_after_sec)
                        r = note_end(x, until_sec, facts);
        }
        return r;
}

int pki_chain_facts(const BytesList *chain, const Bytes *spki, CertificateFacts *ret_facts,
                    Failure *failure)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
        unsigned n_before = pki_memory_failures();
        int r;

        assert_always(chain->n > 0);
        r = pki_certificate_facts_of(chain->items[0].data, chain->items[0].n, spki, &facts,
                                     failure);
        if (r != 0)
                return r;
        r = note_first_to_expire(chain, &facts);
        if (r == 0 && pki_memory_failures() != n_before)
                r = -ENOMEM;
        if (r < 0)
                return fail(failure, r, "cannot read a chain: %s", strerror(-r));
        *ret_facts = facts;
        facts = (CertificateFacts){ 0 };
        return 0;
}
