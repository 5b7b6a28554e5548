/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules and the one token: loading, initialising, finding by URI, never by slot number. Called by the
 * keeper's thread alone: any of these may hang as long as the vendor likes.
 */
#pragma once

#include <stdbool.h>

#include "base/failure.h"

struct _CK_FUNCTION_LIST;
struct _CK_TOKEN_INFO;
struct p11_kit_uri;

typedef struct Modules Modules;

typedef struct Slot {
        struct _CK_FUNCTION_LIST *f;
        unsigned long id;
        bool serial; /* the module cannot lock: one call at a time */
        bool brittle; /* what makes, destroys, finds or reads objects disturbs what else does: one at a time */
} Slot;

/* path NULL: every module that p11-kit is configured with, except our own. Loads, calls nothing yet. */
int modules_load(const char *path, Modules **ret_modules, Failure *failure);
/* C_Initialize of each. CB_SOURCE_UNAVAILABLE unless at least one is initialised. */
int modules_initialize(Modules *modules, Failure *failure);
/* C_Finalize of each. No call may be in flight. */
void modules_finalize(Modules *modules);

/*
 * The one token that the URI selects. CB_SOURCE_UNAVAILABLE: none, or several; the sentence lists those
 * that there are. ret_info is filled too.
 */
int modules_find_token(Modules *modules, struct p11_kit_uri *uri, Slot *ret_slot,
                       struct _CK_TOKEN_INFO *ret_info, Failure *failure);

/* A bit for each mechanism that signs and that we use. */
enum mechanism_bit {
        MECHANISM_RSA_PKCS = 1 << 0,
        MECHANISM_RSA_PSS = 1 << 1,
        MECHANISM_RSA_X509 = 1 << 2,
        MECHANISM_ECDSA = 1 << 3,
        MECHANISM_EDDSA = 1 << 4,
};
unsigned slot_mechanisms(const Slot *slot);
