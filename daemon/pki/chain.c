/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts certificates into the order of a chain. Invariant: in what is handed out each certificate
 * was really signed by the next one's key, the first is the key's own, and none is there twice.
 * Vaults and people deliver them in any order, with strangers between. It judges neither validity
 * nor trust.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/strings.h"
#include "pki/certificate.h"
#include "pki/certificates.h"
#include "pki/context.h"
#include "pki/x509.h"

#define CANDIDATES_MAX PKI_CERTIFICATES_MAX

typedef struct Candidates {
        const BytesList *list;
        X509 *items[CANDIDATES_MAX];
        bool used[CANDIDATES_MAX]; /* in the chain, or the same as an earlier one */
        size_t n;
} Candidates;

static void candidates_deinit(Candidates *c)
{
        for (size_t i = 0; i < c->n; i++)
                X509_free(c->items[i]);
}

static int candidates_fill(Candidates *c, const BytesList *list, Failure *failure)
{
        if (list->n == 0)
                return fail(failure, CB_BAD_BUNDLE, "there is no certificate");
        if (list->n > CANDIDATES_MAX)
                return fail(failure, CB_BAD_BUNDLE,
                            "there are more than %d certificates: leave out "
                            "what is no part of the chain",
                            CANDIDATES_MAX);
        c->list = list;
        for (size_t i = 0; i < list->n; i++) {
                c->items[i] = x509_from_der(list->items[i].data, list->items[i].n);
                if (!c->items[i])
                        return fail(failure, CB_BAD_BUNDLE, "certificate %zu is not in DER", i + 1);
                c->n++;
                for (size_t k = 0; k < i && !c->used[i]; k++)
                        c->used[i] = bytes_equal(&list->items[i], &list->items[k]);
        }
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

static bool issued_another(const Candidates *c, size_t issuer)
{
        for (size_t i = 0; i < c->n; i++)
                if (i != issuer && !c->used[i] && x509_is_issued_by(c->items[i], c->items[issuer]))
                        return true;
        return false;
}

/* The newest of those for the key: a renewed certificate beside the one before it. */
static int find_leaf_of_key(const Candidates *c, const Bytes *spki, size_t *ret_leaf,
                            Failure *failure)
{
        size_t leaf = SIZE_MAX;

        for (size_t i = 0; i < c->n; i++)
                if (!c->used[i] && is_for_key(c->items[i], spki) &&
                    (leaf == SIZE_MAX ||
                     ASN1_TIME_compare(X509_get0_notBefore(c->items[i]),
                                       X509_get0_notBefore(c->items[leaf])) > 0))
                        leaf = i;
        if (leaf == SIZE_MAX)
                return fail(failure, CB_KEY_MISMATCH,
                            "none of the %zu certificates is for the key: "
                            "use the certificate that was issued for it",
                            c->n);
        *ret_leaf = leaf;
        return 0;
}

static int find_last_issued(const Candidates *c, size_t *ret_leaf, Failure *failure)
{
        size_t leaf = SIZE_MAX;

        for (size_t i = 0; i < c->n; i++) {
                if (c->used[i] || issued_another(c, i))
                        continue;
                if (leaf != SIZE_MAX)
                        return fail(failure, CB_BAD_BUNDLE,
                                    "several of the certificates could be "
                                    "the leaf: leave one chain only");
                leaf = i;
        }
        if (leaf == SIZE_MAX)
                return fail(failure, CB_BAD_BUNDLE,
                            "none of the certificates is a leaf: each has "
                            "issued another one");
        *ret_leaf = leaf;
        return 0;
}

/*
 * SIZE_MAX: none. A cross-signed CA goes before its self-signed twin: whoever trusts the twin stops
 * there, and whoever trusts the other root can go on.
 */
static size_t find_issuer(const Candidates *c, X509 *subject)
{
        size_t issuer = SIZE_MAX;

        for (size_t i = 0; i < c->n; i++) {
                if (c->used[i] || !x509_is_issued_by(subject, c->items[i]))
                        continue;
                if (!x509_is_issued_by(c->items[i], c->items[i]))
                        return i;
                if (issuer == SIZE_MAX)
                        issuer = i;
        }
        return issuer;
}

static int build(Candidates *c, size_t leaf, BytesList *chain, Failure *failure)
{
        size_t n_bytes = 0;

        for (size_t at = leaf; at != SIZE_MAX;) {
                const Bytes *der = &c->list->items[at];
                int r;

                n_bytes += der->n;
                if (chain->n == PKI_CHAIN_MAX || n_bytes > PKI_CHAIN_BYTES_MAX)
                        return fail(failure, CB_BAD_BUNDLE,
                                    "the chain is longer than %d "
                                    "certificates or %d bytes",
                                    PKI_CHAIN_MAX, PKI_CHAIN_BYTES_MAX);
                r = bytes_list_append(chain, der->data, der->n);
                if (r < 0)
                        return fail(failure, r, "cannot keep a chain: %s", strerror(-r));
                c->used[at] = true;
                if (x509_is_issued_by(c->items[at], c->items[at]))
                        break;
                at = find_issuer(c, c->items[at]);
        }
        return 0;
}

static int sort(const BytesList *certificates, const Bytes *spki, BytesList *ret_chain,
                char **ret_missing, Failure *failure)
{
        CLEANUP(candidates_deinit) Candidates c = { 0 };
        CLEANUP(bytes_list_deinit) BytesList chain = { 0 };
        CLEANUP(freep) char *missing = NULL;
        unsigned n_before = pki_memory_failures();
        size_t leaf = 0;
        int r;

        r = candidates_fill(&c, certificates, failure);
        if (r == 0)
                r = spki ? find_leaf_of_key(&c, spki, &leaf, failure)
                         : find_last_issued(&c, &leaf, failure);
        if (r == 0)
                r = build(&c, leaf, &chain, failure);
        if (r)
                return r;

        if (chain.n == 1 && !x509_is_issued_by(c.items[leaf], c.items[leaf])) {
                missing = x509_name_text(X509_get_issuer_name(c.items[leaf]));
                if (!missing)
                        return fail(failure, -ENOMEM, "cannot keep a chain: %s", strerror(ENOMEM));
        }
        /* An issuer that could not be tried is none: a chain without it is not the one. */
        if (pki_memory_failures() != n_before)
                return fail(failure, -ENOMEM, "cannot sort a chain: %s", strerror(ENOMEM));
        *ret_chain = chain;
        chain = (BytesList){ 0 };
        if (ret_missing)
                *ret_missing = TAKE(missing);
        return 0;
}

int pki_chain_sort(const BytesList *certificates, const Bytes *spki, BytesList *ret_chain,
                   char **ret_missing, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = sort(certificates, spki, ret_chain, ret_missing, failure);

        return pki_memory_outcome(n_before, r, failure);
}
