/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share; nobody outside includes it. */
#pragma once

#include "broker/sign/sign.h"

struct Signer {
        Catalog *catalog;
        Sources *sources;
        VerifySignatures verify;
        uint64_t timeout_usec;
        SignerEvents events;
        void *events_userdata;
};

/* Borrowed: valid until the loop's next turn. */
typedef struct SignerKey {
        const Certificate *certificate;
        const Generation *generation;
        Source *source;
} SignerKey;

/* The generation (0: the current one), if it may be used now, and its source. */
int signer_find_key(Signer *signer, const char *id, uint64_t generation, SignerKey *ret_key,
                    Failure *failure);
/* Tells who observes what the source answered. */
void signer_tell_used(Signer *signer, const char *id, uint64_t generation, int status);
/* Answers what `failure` says, or, where that is still empty, the -errno r. */
void signer_give_up(const char *id, int r, Failure *failure, sign_done done, void *userdata);
