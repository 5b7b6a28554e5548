/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generating a key pair. Invariant: a key that is answered is on the token with its public half, is as asked
 * (sensitive, extractable or not, of this type), and has signed something; one that is not answered is not there. Its
 * CKA_ID is new each time, and it is by this id that what was begun is found and taken back: a call that failed may
 * have made objects without telling their handles.
 *
 * On a token that takes one call about objects at a time, the pair is made as objects of the session, which disturb
 * nobody, however long it takes, and then copied onto the token, which is short.
 */
#include "source/pkcs11/generate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/strings.h"
#include "source/pkcs11/facts.h"
#include "source/pkcs11/mechanism.h"
#include "source/pkcs11/object.h"
#include "source/pkcs11/rv.h"
#include "source/pkcs11/session.h"
#include "source/pkcs11/sign.h"
#include "source/pkcs11/take-back.h"

#define ATTRIBUTES_MAX 12

typedef struct Parameters {
        uint8_t data[16]; /* CKA_EC_PARAMS */
        uint8_t n;
} Parameters;

typedef struct Making {
        CK_MECHANISM_TYPE generates;
        const char *signs_with;
        Parameters params[2]; /* n 0: none. The second where a token does not know the first */
} Making;

/* Ed25519 by its identifier (RFC 8410), and by name, as PKCS#11 v3.0 had it first (curveName). */
static const Making makings[_KEY_TYPE_N] = {
        [KEY_TYPE_RSA_2048] = { CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS", { { { 0 }, 0 } } },
        [KEY_TYPE_RSA_3072] = { CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS", { { { 0 }, 0 } } },
        [KEY_TYPE_RSA_4096] = { CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS", { { { 0 }, 0 } } },
        [KEY_TYPE_EC_P256] = { CKM_EC_KEY_PAIR_GEN,
                               "CKM_ECDSA",
                               { { { 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 },
                                   10 } } },
        [KEY_TYPE_EC_P384] = { CKM_EC_KEY_PAIR_GEN,
                               "CKM_ECDSA",
                               { { { 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22 }, 7 } } },
        [KEY_TYPE_EC_P521] = { CKM_EC_KEY_PAIR_GEN,
                               "CKM_ECDSA",
                               { { { 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23 }, 7 } } },
        [KEY_TYPE_ED25519] = { CKM_EC_EDWARDS_KEY_PAIR_GEN,
                               "CKM_EDDSA",
                               { { { 0x06, 0x03, 0x2b, 0x65, 0x70 }, 5 },
                                 { { 0x13, 0x0c, 'e', 'd', 'w', 'a', 'r', 'd', 's', '2', '5', '5',
                                     '1', '9' },
                                   14 } } },
};

typedef struct Generation {
        const WireRequest *request;
        uint8_t id[OWN_ID_LENGTH];
        bool begun; /* objects of this id may be on the token */
        KeyFacts facts;
} Generation;

static void generation_deinit(Generation *generation)
{
        key_facts_deinit(&generation->facts);
}

/* Taking back */

static int take_back_halves(Session *session, const Generation *generation, Failure *failure)
{
        size_t n_objects;

        return take_back_objects(session, generation->id, &n_objects, failure);
}

/* Making */

typedef struct Pair {
        CK_OBJECT_HANDLE public, private;
} Pair;

static CK_RV make_pair(Session *session, const Generation *generation, const Parameters *params,
                       bool on_token, Pair *ret_pair)
{
        static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
        static uint8_t f4[] = { 0x01, 0x00, 0x01 };
        const WireRequest *request = generation->request;
        CK_ULONG bits = key_type_row(request->key_type)->bits;
        bool rsa = key_type_row(request->key_type)->family == KEY_RSA;
        CK_MECHANISM mechanism = { makings[request->key_type].generates, NULL, 0 };
        CK_ATTRIBUTE name[] = {
                { CKA_LABEL, request->name, strlen(request->name) },
                { CKA_ID, (void *)(uintptr_t)generation->id, sizeof(generation->id) },
        };
        CK_ATTRIBUTE private[] = {
                name[0],
                name[1],
                { CKA_TOKEN, on_token ? &yes : &no, sizeof(yes) },
                { CKA_PRIVATE, &yes, sizeof(yes) },
                { CKA_SENSITIVE, &yes, sizeof(yes) },
                { CKA_EXTRACTABLE, request->extractable ? &yes : &no, sizeof(yes) },
                { CKA_SIGN, &yes, sizeof(yes) },
                { CKA_DECRYPT, rsa ? &yes : &no, sizeof(yes) },
                { CKA_UNWRAP, &no, sizeof(no) },
        };
        CK_ATTRIBUTE public[ATTRIBUTES_MAX] = {
                name[0],
                name[1],
                { CKA_TOKEN, on_token ? &yes : &no, sizeof(yes) },
                { CKA_PRIVATE, &no, sizeof(no) },
                { CKA_VERIFY, &yes, sizeof(yes) },
                { CKA_WRAP, &no, sizeof(no) },
                { CKA_ENCRYPT, rsa ? &yes : &no, sizeof(yes) },
        };
        size_t n = 7;

        if (rsa) {
                public[n++] = (CK_ATTRIBUTE){ CKA_MODULUS_BITS, &bits, sizeof(bits) };
                public[n++] = (CK_ATTRIBUTE){ CKA_PUBLIC_EXPONENT, f4, sizeof(f4) };
        } else {
                public[n++] =
                        (CK_ATTRIBUTE){ CKA_EC_PARAMS, (void *)(uintptr_t)params->data, params->n };
        }
        return session->f->C_GenerateKeyPair(session->handle, &mechanism, public, n, private,
                                             ELEMENTSOF(private), &ret_pair->public,
                                             &ret_pair->private);
}

/* What the session's objects are like, the token's are. */
static CK_RV copy_onto_token(Session *session, const Pair *pair, CK_OBJECT_HANDLE *ret_private)
{
        CK_BBOOL yes = CK_TRUE;
        CK_ATTRIBUTE on_token = { CKA_TOKEN, &yes, sizeof(yes) };
        CK_OBJECT_HANDLE public, private;
        CK_RV rv;

        rv = session->f->C_CopyObject(session->handle, pair->public, &on_token, 1, &public);
        if (rv == CKR_OK)
                rv = session->f->C_CopyObject(session->handle, pair->private, &on_token, 1,
                                              &private);
        if (rv == CKR_OK)
                rv = session->f->C_DestroyObject(session->handle, pair->private);
        if (rv == CKR_OK)
                rv = session->f->C_DestroyObject(session->handle, pair->public);
        if (rv == CKR_OK)
                *ret_private = private;
        return rv;
}

static CK_RV make(Session *session, const Generation *generation, const Parameters *params,
                  CK_OBJECT_HANDLE *ret_private)
{
        bool brittle = session->token->slot.brittle;
        Pair pair = { CK_INVALID_HANDLE, CK_INVALID_HANDLE };
        CK_RV rv;

        rv = make_pair(session, generation, params, !brittle, &pair);
        if (rv == CKR_OK && !brittle)
                *ret_private = pair.private;
        if (rv != CKR_OK || !brittle)
                return rv;
        objects_begin(session);
        rv = copy_onto_token(session, &pair, ret_private);
        objects_end(session);
        return rv;
}

/* A token that does not know a curve's parameters in this form says one of many things. */
static bool params_refused(CK_RV rv)
{
        RvClass class = rv_class(rv);

        return class == RV_CLASS_CALLER || class == RV_CLASS_FAULT || class == RV_CLASS_ODD;
}

static int make_key(Session *session, Generation *generation, CK_OBJECT_HANDLE *ret_private,
                    Failure *failure)
{
        const Making *making = &makings[generation->request->key_type];
        char doing[128];
        CK_RV rv;

        generation->begun = true;
        rv = make(session, generation, &making->params[0], ret_private);
        if (making->params[1].n > 0 && params_refused(rv)) {
                /* Of what was refused there may be halves, with the id that the next try has too. */
                int r = take_back_halves(session, generation, failure);

                if (r != 0)
                        return r;
                rv = make(session, generation, &making->params[1], ret_private);
        }
        if (rv == CKR_OK)
                return 0;
        snprintf(doing, sizeof(doing), "make a key of type %s by %s",
                 key_type_name(generation->request->key_type), mechanism_name(making->generates));
        return session_fail(session, rv, "C_GenerateKeyPair", doing, failure);
}

static int check_mechanisms(Session *session, KeyType type, Failure *failure)
{
        const KeyTypeRow *row = key_type_row(type);
        const Making *making = &makings[type];

        if (!mechanism_has(session, making->generates, CKF_GENERATE_KEY_PAIR))
                return fail(failure, CB_NOT_SUPPORTED,
                            "the token cannot make a key of type %s: it lacks %s", row->name,
                            mechanism_name(making->generates));
        /* Of curves vendors say sizes in bits, in bytes, or none: the call itself will tell. */
        if (row->family == KEY_RSA &&
            !mechanism_has_size(session, making->generates, CKF_GENERATE_KEY_PAIR, row->bits))
                return fail(failure, CB_NOT_SUPPORTED,
                            "the token cannot make a key of type %s: its %s has no keys of this "
                            "size",
                            row->name, mechanism_name(making->generates));
        if (token_algorithms(session->token, type) == 0)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the token cannot sign with a key of type %s: it lacks %s", row->name,
                            making->signs_with);
        return 0;
}

/* Tokens have policies of their own, and not all say so. */
static int check_made(Session *session, const Generation *generation, CK_OBJECT_HANDLE private,
                      Failure *failure)
{
        const KeyFacts *facts = &generation->facts;
        bool sensitive = false;
        int r;

        r = object_read_bool(session, private, CKA_SENSITIVE, false, &sensitive, failure);
        if (r != 0)
                return r;
        if (facts->key.type != generation->request->key_type || !facts->signs || !sensitive)
                return fail(failure, CB_NOT_SUPPORTED,
                            "source '%s': the token made another key than a sensitive one of type "
                            "%s that signs",
                            session->token->name, key_type_name(generation->request->key_type));
        if (facts->extractable != generation->request->extractable)
                return fail(failure, CB_NOT_SUPPORTED,
                            "source '%s': the token makes its keys %s, whatever is asked",
                            session->token->name,
                            facts->extractable ? "extractable" : "not extractable");
        return 0;
}

static int generate_work(Session *session, void *userdata, Failure *failure)
{
        Generation *generation = userdata;
        CK_OBJECT_HANDLE private = CK_INVALID_HANDLE;
        int r;

        r = check_mechanisms(session, generation->request->key_type, failure);
        if (r == 0 && generation->begun) /* a second try makes all anew, under the same id */
                r = take_back_halves(session, generation, failure);
        if (r == 0)
                r = make_key(session, generation, &private, failure);
        if (r == 0) {
                key_facts_deinit(&generation->facts);
                generation->facts = (KeyFacts){ 0 };
                r = key_facts_read(session, private, &generation->facts, failure);
        }
        if (r == 0)
                r = check_made(session, generation, private, failure);
        if (r == 0)
                r = key_trial(session, &generation->facts.key, &generation->facts.spki, failure);
        if (r == 0 && clock_monotonic_usec() >= session->deadline_usec)
                r = fail(failure, CB_TIMED_OUT, "the token took too long; nothing was stored");
        return r;
}

int generate_key(void *instance, const DriverCall *call, WireReply *reply)
{
        CLEANUP(generation_deinit) Generation generation = { .request = call->request };
        const char *name = call->request->name;
        Token *token = instance;
        int r;

        if (!name || !*name)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "a new key needs a name");
        if (call->request->key_type <= KEY_TYPE_NONE || call->request->key_type >= _KEY_TYPE_N)
                return fail(&reply->failure, CB_NOT_SUPPORTED, "this type of key is unknown");
        r = take_back_id(call->request, generation.id);
        if (r < 0)
                return r;
        r = session_run(token, call->deadline_usec, generate_work, &generation, &reply->failure);
        if (r == 0)
                r = key_facts_reply(token, &generation.facts, reply);
        if (r != 0 && generation.begun)
                take_back_begun(token, generation.id, name);
        return r;
}
