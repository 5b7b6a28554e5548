/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way from a leaf to its root, among all that could be gone. What is a link, and whether a way
 * holds (authorities that are none, lengths of paths, constraints of names), is OpenSSL's to say;
 * which way is gone is chosen here. Its own builder takes at each link the first issuer that is
 * valid and never comes back, so that it ends at a gap although another way leads to the root, and
 * the order in a file decides.
 *
 * Of those that hold the best: nothing that has expired in it; to a root that is there; the
 * longest. Where a root's own certificate is valid, no cross-certificate for its name and key is
 * taken in its place. Invariants: each certificate of a way was signed by the next one's key; none
 * of its names with one key comes twice; the work is bounded.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "pki/chain.h"
#include "pki/context.h"
#include "pki/parts.h"

#define TWINS_MAX 16  /* certificates for one name and key that are tried as an issuer */
#define TRIED_MAX 16  /* keys of an issuer's name that have not signed it, and are remembered */
#define WAYS_MAX  16  /* from which the best is taken */
#define ENDS_MAX  512 /* of ways, also of those that are too long */

/*
 * Where authorities certify each other crosswise there are more ways than can be gone, most of them long: short
 * ones are looked for first.
 */
static const size_t lengths[] = { 4, 8, PKI_CHAIN_MAX };

/* Links */

bool candidate_may_issue(const Candidate *issuer, const Candidate *subject)
{
        bool may = X509_check_issued(issuer->x, subject->x) == X509_V_OK;

        ERR_clear_error();
        return may;
}

static bool has_issuers_name(const Candidate *issuer, const Candidate *subject)
{
        return X509_NAME_cmp(X509_get_issuer_name(subject->x), X509_get_subject_name(issuer->x)) ==
               0;
}

static int verify(Candidates *c, const Candidate *subject, EVP_PKEY *key, bool *ret_verified,
                  Failure *failure)
{
        int r = work_add_verification(c->work, failure);

        if (r)
                return r;
        *ret_verified = X509_verify(subject->x, key) == 1;
        ERR_clear_error();
        return 0;
}

/* The keys of an issuer's name, as far as they were tried for one subject. */
typedef struct Tried {
        EVP_PKEY *issuer; /* the one that has signed it */
        EVP_PKEY *others[TRIED_MAX];
        size_t n_others;
} Tried;

static int try_key(Candidates *c, const Candidate *subject, EVP_PKEY *key, Tried *tried,
                   bool *ret_signed, Failure *failure)
{
        bool verified = false;
        int r;

        if (!key)
                return 0;
        if (tried->issuer) {
                *ret_signed = EVP_PKEY_eq(tried->issuer, key) == 1;
                return 0;
        }
        for (size_t i = 0; i < tried->n_others; i++)
                if (EVP_PKEY_eq(tried->others[i], key) == 1)
                        return 0;
        r = verify(c, subject, key, &verified, failure);
        if (r == 0 && verified)
                tried->issuer = key;
        else if (tried->n_others < TRIED_MAX)
                tried->others[tried->n_others++] = key;
        *ret_signed = verified;
        return r;
}

static int note_self_signed(Candidates *c, Candidate *one, Failure *failure)
{
        EVP_PKEY *key = X509_get0_pubkey(one->x);

        if (one->self_signed_known)
                return 0;
        one->self_signed_known = true;
        return one->own_name && key ? verify(c, one, key, &one->self_signed, failure) : 0;
}

static int collect(Candidates *c, Candidate *subject,
                   bool (*may_issue)(const Candidate *issuer, const Candidate *subject),
                   size_t found[static TWINS_MAX], size_t *n_found, Failure *failure)
{
        Tried tried = { 0 };
        int r = 0;

        for (size_t i = 0; i < c->n && *n_found < TWINS_MAX && r == 0; i++) {
                Candidate *issuer = &c->items[i];
                bool is_issuer = false;

                if (issuer == subject || !may_issue(issuer, subject))
                        continue;
                r = try_key(c, subject, X509_get0_pubkey(issuer->x), &tried, &is_issuer, failure);
                if (r == 0 && is_issuer)
                        r = note_self_signed(c, issuer, failure);
                if (r == 0 && is_issuer)
                        found[(*n_found)++] = i;
        }
        ERR_clear_error();
        return r;
}

/* Where a root's own certificate is valid, only such ones. */
static void leave_crosses(const Candidates *c, size_t *found, size_t *n_found)
{
        size_t n = 0;

        for (size_t i = 0; i < *n_found; i++) {
                const Candidate *one = &c->items[found[i]];

                if (one->self_signed && one->validity == VALID_NOW)
                        found[n++] = found[i];
        }
        if (n > 0)
                *n_found = n;
}

/*
 * Those that OpenSSL takes for issuers; where there are none, those that only have signed it: other
 * verifiers do without key identifiers that fit.
 */
static int find_links(Candidates *c, Candidate *subject, Failure *failure)
{
        size_t found[TWINS_MAX], n = 0;
        int r = 0;

        if (subject->issuers.known)
                return 0;
        if (!subject->self_signed)
                r = collect(c, subject, candidate_may_issue, found, &n, failure);
        if (!subject->self_signed && r == 0 && n == 0)
                r = collect(c, subject, has_issuers_name, found, &n, failure);
        if (r)
                return r;
        leave_crosses(c, found, &n);
        if (n > 0) {
                subject->issuers.items = malloc(n * sizeof(*found));
                if (!subject->issuers.items)
                        return -ENOMEM;
                memcpy(subject->issuers.items, found, n * sizeof(*found));
        }
        subject->issuers.n = n;
        subject->issuers.known = true;
        return 0;
}

/* Ways */

typedef struct Search {
        Candidates *c;
        Way ways[WAYS_MAX];
        size_t n_ways;
        Way path;
        size_t next[PKI_CHAIN_MAX]; /* for each on the path: which of its issuers is tried next */
        size_t n_bytes, n_ends;
        size_t above, at_most; /* members that a way has which is looked for now */
} Search;

static const Candidate *at(const Search *s, const Way *way, size_t i)
{
        return &s->c->items[way->items[i]];
}

static bool is_same_authority(const Candidate *a, const Candidate *b)
{
        EVP_PKEY *one = X509_get0_pubkey(a->x), *other = X509_get0_pubkey(b->x);

        return X509_NAME_cmp(X509_get_subject_name(a->x), X509_get_subject_name(b->x)) == 0 &&
               one && other && EVP_PKEY_eq(one, other) == 1;
}

/* Does it go on? Not in a circle. */
static bool goes_on(const Search *s)
{
        const Links *links = &at(s, &s->path, s->path.n - 1)->issuers;

        for (size_t i = 0; links->n > 0 && i < s->path.n; i++)
                if (is_same_authority(at(s, &s->path, i), &s->c->items[links->items[0]]))
                        return false;
        return links->n > 0;
}

static void enter(Search *s, size_t candidate)
{
        size_t n = s->c->items[candidate].der->n;

        if (s->path.n == s->at_most || s->n_bytes + n > PKI_CHAIN_BYTES_MAX) {
                s->n_ends++;
                return;
        }
        s->n_bytes += n;
        s->next[s->path.n] = 0;
        s->path.items[s->path.n++] = candidate;
}

static void leave(Search *s)
{
        s->n_bytes -= at(s, &s->path, s->path.n - 1)->der->n;
        s->path.n--;
}

/* One step: on to an issuer, or back from where there is none that was not tried. */
static int step(Search *s, Failure *failure)
{
        size_t last = s->path.n - 1;
        Candidate *one = &s->c->items[s->path.items[last]];
        int r = find_links(s->c, one, failure);

        if (r)
                return r;
        if (s->next[last] == 0 && !goes_on(s)) {
                if (s->path.n > s->above)
                        s->ways[s->n_ways++] = s->path;
                s->n_ends++;
                leave(s);
        } else if (s->next[last] == one->issuers.n) {
                leave(s);
        } else {
                enter(s, one->issuers.items[s->next[last]++]);
        }
        return 0;
}

static int walk(Search *s, size_t leaf, Failure *failure)
{
        int r = note_self_signed(s->c, &s->c->items[leaf], failure);

        for (size_t i = 0; i < ELEMENTSOF(lengths) && r == 0; i++) {
                s->path.n = s->n_bytes = s->n_ends = 0;
                s->above = s->at_most;
                s->at_most = lengths[i];
                enter(s, leaf);
                while (r == 0 && s->path.n > 0 && s->n_ways < WAYS_MAX && s->n_ends < ENDS_MAX)
                        r = step(s, failure);
        }
        if (r == 0 && s->n_ways == 0)
                return fail(failure, CB_BAD_BUNDLE,
                            "the chain is longer than %d certificates or %d bytes", PKI_CHAIN_MAX,
                            PKI_CHAIN_BYTES_MAX);
        return r;
}

/* The best of them */

typedef struct Rank { /* what is less is better, the first that differs decides */
        size_t n_faults, n_not_valid, n_roots_not_valid, is_without_root, n_shorter;
} Rank;

static void store_ctx_freep(X509_STORE_CTX **place)
{
        X509_STORE_CTX_free(*place);
}

static void stack_freep(STACK_OF(X509) * *place)
{
        sk_X509_free(*place);
}

static int count_fault(int ok, X509_STORE_CTX *ctx)
{
        size_t *n_faults = X509_STORE_CTX_get_app_data(ctx);

        *n_faults += !ok;
        return 1;
}

/*
 * The way as a verifier has it that trusts its end. Validity is counted apart, strength and purpose
 * are not judged here.
 */
static int count_faults(const Search *s, const Way *way, size_t *ret_n, Failure *failure)
{
        CLEANUP(store_ctx_freep) X509_STORE_CTX *ctx = X509_STORE_CTX_new_ex(pki_context(), NULL);
        CLEANUP(stack_freep) STACK_OF(X509) *between = sk_X509_new_null();
        CLEANUP(stack_freep) STACK_OF(X509) *trusted = sk_X509_new_null();
        X509_VERIFY_PARAM *param;
        bool ready = ctx && between && trusted;
        int r = 0;

        for (size_t i = 1; i < way->n && ready; i++)
                ready = sk_X509_push(i + 1 == way->n ? trusted : between, at(s, way, i)->x) > 0;
        if (!ready || !X509_STORE_CTX_init(ctx, NULL, at(s, way, 0)->x, between))
                return -ENOMEM;
        for (size_t i = 0; i < way->n && r == 0; i++)
                r = work_add_verification(s->c->work, failure);
        if (r)
                return r;
        X509_STORE_CTX_set0_trusted_stack(ctx, trusted);
        X509_STORE_CTX_set_verify_cb(ctx, count_fault);
        X509_STORE_CTX_set_app_data(ctx, ret_n);
        param = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME);
        X509_VERIFY_PARAM_set_auth_level(param, 0);
        if (X509_verify_cert(ctx) != 1)
                ++*ret_n;
        ERR_clear_error();
        return 0;
}

/* The leaf's own validity is the same on each way. */
static int rank_of(const Search *s, const Way *way, Rank *ret_rank, Failure *failure)
{
        Rank rank = { .n_shorter = PKI_CHAIN_MAX - way->n };
        int r;

        for (size_t i = 1; i < way->n; i++) {
                const Candidate *one = at(s, way, i);

                if (one->validity != VALID_NOW)
                        ++*(one->self_signed ? &rank.n_roots_not_valid : &rank.n_not_valid);
        }
        rank.is_without_root = !at(s, way, way->n - 1)->self_signed;
        r = way->n > 1 ? count_faults(s, way, &rank.n_faults, failure) : 0;
        if (r == 0)
                *ret_rank = rank;
        return r;
}

static int rank_compare(const Rank *a, const Rank *b)
{
        const size_t rows[][2] = {
                { a->n_faults, b->n_faults },
                { a->n_not_valid, b->n_not_valid },
                { a->n_roots_not_valid, b->n_roots_not_valid },
                { a->is_without_root, b->is_without_root },
                { a->n_shorter, b->n_shorter },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (rows[i][0] != rows[i][1])
                        return rows[i][0] < rows[i][1] ? -1 : 1;
        return 0;
}

static int choose(const Search *s, Way *ret_way, Failure *failure)
{
        size_t best = 0;
        Rank rank = { 0 };
        int r = s->n_ways > 1 ? rank_of(s, &s->ways[0], &rank, failure) : 0;

        for (size_t i = 1; i < s->n_ways && r == 0; i++) {
                Rank other = { 0 };

                r = rank_of(s, &s->ways[i], &other, failure);
                if (r == 0 && rank_compare(&other, &rank) < 0) {
                        rank = other;
                        best = i;
                }
        }
        if (r == 0)
                *ret_way = s->ways[best];
        return r;
}

int way_find(Candidates *candidates, size_t leaf, Way *ret_way, Failure *failure)
{
        CLEANUP(freep) Search *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->c = candidates;
        r = walk(s, leaf, failure);
        return r == 0 ? choose(s, ret_way, failure) : r;
}
