/* SPDX-License-Identifier: Apache-2.0 */
/* Inside pki: certificates of which a chain is made, and the way from a leaf to a root. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "pki/x509.h"

/* As <openssl/types.h> has it. */
typedef struct x509_st X509;
typedef struct Work Work;

typedef enum Validity { /* the better one first */
                        VALID_NOW,
                        VALID_LATER,
                        VALID_ONCE,
} Validity;

/* Those of one certificate's issuers that are tried. All have one name and one key. */
typedef struct Links {
        bool known;
        size_t *items;
        size_t n;
} Links;

typedef struct Candidate {
        const Bytes *der;
        X509 *x;
        uint64_t not_before_sec, not_after_sec;
        Validity validity;
        bool own_name;    /* its issuer has its own name */
        bool self_signed; /* known once it is a leaf, or among somebody's links */
        bool self_signed_known;
        Links issuers;
} Candidate;

/* In an order that follows from what they are, whatever theirs was in a file. Each is there once. */
typedef struct Candidates {
        Candidate *items;
        size_t n;
        uint64_t now_sec;
        Work *work;
} Candidates;

typedef struct Way {
        size_t items[PKI_CHAIN_MAX]; /* leaf first */
        size_t n;
} Way;

/* CB_BAD_BUNDLE: each is too long, or there is too much to try. */
int way_find(Candidates *candidates, size_t leaf, Way *ret_way, Failure *failure);
/* By names and key identifiers, as OpenSSL has it; no signature is looked at. */
bool candidate_may_issue(const Candidate *issuer, const Candidate *subject);

/* pki_chain_sort(), where what it costs is to be counted with what was done before. */
int chain_sort_within(Work *work, const BytesList *certificates, const Bytes *spki,
                      uint64_t now_sec, BytesList *ret_chain, char **ret_fault, Failure *failure);
