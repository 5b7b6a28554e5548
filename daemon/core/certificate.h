/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A certificate: an id, its generations, and the state that follows from them and from the time.
 * Plain data with owned members; the catalog is the only one that keeps them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "core/algorithm.h"
#include "core/digest.h"

/* What a leaf says, as the D-Bus properties show it. All text is valid UTF-8. */
/*
 * The names of one certification request: so many that one for an Ed25519 key, which is signed as it is, fits what a source
 * signs (ALGORITHM_MESSAGE_MAX). The text takes the first, and the second in KiB.
 */
#define REQUEST_NAMES_MAX       1000
#define REQUEST_NAMES_BYTES_MAX (48 * 1024)
#define REQUEST_NAMES_TEXT                                                                         \
        "a request holds at most %d subject alternative names, of %d KiB together: ask for more "  \
        "than one certificate"

typedef struct CertificateFacts {
        char *subject;       /* RFC 4514 */
        char *issuer;        /* RFC 4514 */
        char *serial_number; /* upper-case hex */
        char **subject_alt_names; /* in one block: strv_pack() */
        char thumbprint[THUMBPRINT_SHA1_TEXT];   /* SHA-1, upper-case hex */
        char thumbprint_sha256[THUMBPRINT_TEXT]; /* upper-case hex */
        uint64_t not_before_sec;
        uint64_t not_after_sec;
        bool self_signed;
        /* It has an extended key usage, or a key usage, and that is not in it: a TLS client cannot be known by it. */
        bool lacks_client_auth, lacks_digital_signature;
        KeyType key_type;
        Bytes spki; /* SubjectPublicKeyInfo, DER */
        /* Of the chain, not of the leaf: the member beside it that expires first. NULL: there is none. */
        char *chain_end; /* what is said of it then */
        uint64_t chain_not_after_sec;
} CertificateFacts;

/* What helps where a chain lacks somebody, or has one who has expired, and files are given. */
#define CERTIFICATE_CHAIN_REMEDY                                                                   \
        "import or install it again with a valid certificate of that name in the file"

void certificate_facts_deinit(CertificateFacts *facts);
int certificate_facts_copy(const CertificateFacts *facts, CertificateFacts *ret_copy);

/* The longest that one is left alone: what is further away is of a clock that was set back. */
#define GENERATION_AGAIN_SEC 60

typedef struct Generation {
        uint64_t number;
        char *key_uri; /* the source's locator of this key */
        KeyType key_type;
        uint32_t algorithms; /* bits of what key and source can do */
        Bytes spki;
        BytesList chain;           /* DER, leaf first; empty: pending */
        uint64_t n_chains;         /* how often another was taken for the same leaf; not stored */
        CertificateFacts facts;    /* of the leaf; zero where pending */
        uint64_t usable_until_sec; /* 0: no end of its own */
        bool retired;
        bool extractable; /* its key may be exported */
        char *warning;    /* what is wrong with its chain, as its source said; NULL: nothing */
        char *lost_names; /* that the one before had, when its source rotated it; NULL: none */
        /*
         * A signature of its key was wrong: until a trial at this time (monotonic) is passed it is not handed
         * out. 0: it is not suspected. n_wrong: how many were; spread_usec: when other ids with this key
         * were last told. Not stored: a wrong signature is found again as soon as there is one.
         */
        uint64_t trial_usec, n_wrong, spread_usec;
        /*
         * Its time has come, and it did not become current: why (NULL: nothing to say), and until when (wall clock) it
         * is left alone. Not stored: it is tried again after a start.
         */
        char *held_up;
        uint64_t again_sec;
} Generation;

Generation *generation_free(Generation *generation);
int generation_copy(const Generation *generation, Generation **ret_copy); /* deep */
DEFINE_CLEANUP(Generation, generation_free)
/* A member of its chain beside the leaf is past its NotAfter. */
bool generation_chain_has_expired(const Generation *generation, uint64_t now_sec);

typedef enum CertificateState {
        CERTIFICATE_PENDING,
        CERTIFICATE_ACTIVE,
        CERTIFICATE_DISABLED,
        CERTIFICATE_EXPIRED,
        CERTIFICATE_UNAVAILABLE,
        _CERTIFICATE_STATE_N
} CertificateState;

const char *certificate_state_name(CertificateState state);

/* What its source said last of the current key. A new generation begins as usable. */
typedef enum KeyVerdict {
        KEY_USABLE,
        KEY_GONE,
        KEY_DISABLED, /* a vault has such switches and dates of its own, beside the leaf's */
        KEY_EXPIRED,
        KEY_PENDING,
        _KEY_VERDICT_N
} KeyVerdict;

const char *key_verdict_name(KeyVerdict verdict);
bool key_verdict_parse(const char *name, KeyVerdict *ret_verdict);
/* Of the status of a look-up or a use: 0 is usable, CB_NOT_FOUND gone. false: it says nothing of the key. */
bool key_verdict_of(int status, KeyVerdict *ret_verdict);

typedef struct Certificate {
        char *id;
        char *source;
        char *registered_uri; /* what RegisterCertificate was given; see certificate_origin() */
        bool enabled;
        KeyVerdict verdict;
        Generation **generations; /* by number, ascending */
        size_t n_generations;
        uint64_t current; /* number; 0: none published yet */
        char *last_error; /* NULL: none */
        char *withheld;   /* why a person has to decide on it; NULL: nobody has, see certificate_is_withheld() */
        uint64_t last_refresh_sec;
        uint64_t next_refresh_sec; /* 0: never */
        uint64_t n_held_back, held_back_sec; /* wrong signatures since the start, and the last; not stored */
        /* What its source had for it and could not be published, since the start; since when: 0: it could. Not stored. */
        uint64_t n_unpublished, unpublished_sec;
        bool used_while_gone; /* so a use that succeeds says nothing of its source: not stored */
        uint64_t life; /* the catalog's: another once it has been disabled, or made anew under its id */
} Certificate;

/* Whose its key is, of which follows what of the objects beside it are its own. By registered_uri: */
typedef enum KeyOrigin {
        KEY_MADE,       /* NULL: imported or generated under this id */
        KEY_OF_OWNER,   /* a URI: somebody's, registered; what its owner puts beside it is followed */
        KEY_OF_ANOTHER, /* "": registered, when another id had made it; nothing beside it is followed */
} KeyOrigin;

int certificate_new(const char *id, const char *source, Certificate **ret_certificate);
Certificate *certificate_free(Certificate *certificate);
int certificate_copy(const Certificate *certificate, Certificate **ret_copy); /* deep */
DEFINE_CLEANUP(Certificate, certificate_free)

/* Takes it on success. -EEXIST where the number is taken, -EINVAL for 0. */
int certificate_add_generation(Certificate *certificate, Generation *generation);
/* number 0: the current one. NULL: none. */
Generation *certificate_find_generation(const Certificate *certificate, uint64_t number);
KeyOrigin certificate_origin(const Certificate *certificate);
Generation *certificate_newest(const Certificate *certificate); /* pending or not; NULL: none */
/* The newest whose key is not retired: what is requested for. It is pending while it has no chain. NULL: none. */
Generation *certificate_newest_key(const Certificate *certificate);
/* The store had forgotten its end, and nobody has enabled or replaced it since. */
bool certificate_is_withheld(const Certificate *certificate);
/* Disabled before all, which it is too where its current generation is retired; then pending, expired, unavailable (gone, or suspected), active. */
CertificateState certificate_state(const Certificate *certificate, uint64_t now_sec);
/*
 * It has a leaf and was never current, and it becomes current when its NotBefore has come and its key signs, without
 * anybody's doing.
 * That follows from what is stored of it: it is newer than the current one, has been given no end, and is not retired.
 */
bool certificate_generation_waits(const Certificate *certificate, const Generation *generation);
/*
 * Of those that wait, the one that is to be current by now: the newest that is valid, and is not left alone. NULL: none;
 * nor is there one while a person has to decide on the certificate.
 */
Generation *certificate_due(const Certificate *certificate, uint64_t now_sec);
/*
 * The one that has been current, and those that waited and are older, end with their grace. What its source said of the
 * key was of the other one's.
 */
void certificate_make_current(Certificate *certificate, Generation *generation, uint64_t now_sec,
                              uint64_t grace_sec);
/* The one that this one is going to follow, which has the names that are expected of it. NULL: it is the first. */
const Generation *certificate_one_before(const Certificate *certificate,
                                         const Generation *generation);
/* The newest with this very leaf. NULL: none. */
Generation *certificate_find_leaf(const Certificate *certificate, const Bytes *leaf);
/* Everything that there is to say of it, a sentence after the other, for LastError. *ret_text: owned, or NULL. -ENOMEM. */
int certificate_trouble(const Certificate *certificate, uint64_t now_sec, char **ret_text);
/* The one whose chain and names that speaks of: the current one, or of a pending certificate the newest. NULL: none. */
const Generation *certificate_shown(const Certificate *certificate);
/*
 * May this generation's key be used for anything, pending and expired ones included? 0, or CB_DISABLED where the
 * certificate is disabled or the generation retired.
 */
int certificate_may_use_key(const Certificate *certificate, const Generation *generation);
/*
 * May this generation sign now? 0, or
 *   CB_DISABLED   the certificate is disabled, or this generation is retired
 *   CB_PENDING    it has no chain yet, or is before its NotBefore; `generation` is NULL and none is published
 *   CB_EXPIRED    past its NotAfter; not the current one, and its grace (usable_until_sec) is over
 *                 Each of them also of the current one, where its source's verdict is that.
 *   CB_NOT_FOUND  `generation` is NULL: no such number
 */
int certificate_may_sign(const Certificate *certificate, const Generation *generation,
                         uint64_t now_sec);
/* When the state, a generation, or what there is to say next changes by the clock alone; 0: never. */
uint64_t certificate_next_change(const Certificate *certificate, uint64_t now_sec);
