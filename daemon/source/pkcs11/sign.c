/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signing. Only what every token has is asked of it: the raw mechanisms over what we have formatted ourselves
 * (PKCS#11 v3.0 2.1.12, 2.3.6). Invariant: a signature's length comes from the key; what a token answers
 * with another length never leaves.
 */
#include "source/pkcs11/sign.h"

#include <errno.h>
#include <stdlib.h>

#include "pki/signature.h"
#include "source/pkcs11/rv.h"

#define SIGNATURE_MAX 512

typedef struct Plan {
        CK_MECHANISM mechanism;
        CK_RSA_PKCS_PSS_PARAMS pss;
        Bytes data;         /* what the token gets; owned */
        size_t n_signature; /* what it must answer with */
        bool ecdsa;
} Plan;

static void plan_deinit(Plan *plan)
{
        bytes_deinit(&plan->data);
}

static size_t order_length(KeyType type)
{
        return ((size_t)key_type_row(type)->bits + 7) / 8;
}

static bool can_sign(unsigned mechanisms, const AlgorithmRow *row)
{
        switch (row->family) {
        case KEY_RSA:
                return mechanisms &
                       (row->padding == PADDING_PSS ? MECHANISM_RSA_PSS | MECHANISM_RSA_X509
                                                    : MECHANISM_RSA_PKCS);
        case KEY_EC:
                return mechanisms & MECHANISM_ECDSA;
        case KEY_ED25519:
                return mechanisms & MECHANISM_EDDSA;
        case _KEY_FAMILY_N:
                break;
        }
        return false;
}

uint32_t token_algorithms(const Token *token, KeyType type)
{
        uint32_t all = algorithms_of_key(type), possible = 0;

        for (Algorithm algorithm = ALGORITHM_NONE + 1; algorithm < _ALGORITHM_N; algorithm++)
                if ((all & ALGORITHM_BIT(algorithm)) &&
                    can_sign(token->mechanisms, algorithm_row(algorithm)))
                        possible |= ALGORITHM_BIT(algorithm);
        return possible;
}

/* Plans: the mechanism, and what it is given. */

static int plan_pkcs1(const AlgorithmRow *row, const Bytes *input, Plan *plan)
{
        plan->mechanism.mechanism = CKM_RSA_PKCS;
        return pki_digest_info(row->digest, input, &plan->data);
}

static int plan_pss(const AlgorithmRow *row, const Bytes *input, Plan *plan)
{
        static const struct {
                CK_MECHANISM_TYPE hash;
                unsigned long mgf;
        } rows[_DIGEST_N] = { [DIGEST_SHA1] = { CKM_SHA_1, CKG_MGF1_SHA1 },
                              [DIGEST_SHA256] = { CKM_SHA256, CKG_MGF1_SHA256 },
                              [DIGEST_SHA384] = { CKM_SHA384, CKG_MGF1_SHA384 },
                              [DIGEST_SHA512] = { CKM_SHA512, CKG_MGF1_SHA512 } };

        plan->pss = (CK_RSA_PKCS_PSS_PARAMS){ rows[row->digest].hash, rows[row->digest].mgf,
                                              digest_length(row->digest) };
        plan->mechanism = (CK_MECHANISM){ CKM_RSA_PKCS_PSS, &plan->pss, sizeof(plan->pss) };
        return bytes_set(&plan->data, input->data, input->n);
}

/* We pad, the token does the bare RSA operation. */
static int plan_raw_pss(const AlgorithmRow *row, const Bytes *input, KeyType type, Plan *plan)
{
        plan->mechanism = (CK_MECHANISM){ CKM_RSA_X_509, NULL, 0 };
        bytes_deinit(&plan->data);
        return pki_pss_encode(row->digest, input, key_type_row(type)->bits, &plan->data);
}

/* FIPS 186-5, 6.4.1: the leftmost bits of the digest, as many as the order has. Not every token cuts. */
static int plan_ecdsa(const Bytes *input, KeyType type, Plan *plan)
{
        plan->mechanism.mechanism = CKM_ECDSA;
        plan->ecdsa = true;
        return bytes_set(&plan->data, input->data, MIN(input->n, order_length(type)));
}

static int plan_make(unsigned mechanisms, KeyType type, Algorithm algorithm, const Bytes *input,
                     Plan *plan)
{
        const AlgorithmRow *row = algorithm_row(algorithm);

        switch (row->family) {
        case KEY_RSA:
                plan->n_signature = key_type_row(type)->bits / 8;
                if (row->padding == PADDING_PKCS1)
                        return plan_pkcs1(row, input, plan);
                if (mechanisms & MECHANISM_RSA_PSS)
                        return plan_pss(row, input, plan);
                return plan_raw_pss(row, input, type, plan);
        case KEY_EC:
                plan->n_signature = 2 * order_length(type);
                return plan_ecdsa(input, type, plan);
        case KEY_ED25519:
                plan->n_signature = 64;
                plan->mechanism.mechanism = CKM_EDDSA;
                return bytes_set(&plan->data, input->data, input->n);
        case _KEY_FAMILY_N:
                break;
        }
        return -EINVAL;
}

static int authenticate_locked(Session *session, Failure *failure)
{
        Token *token = session->token;
        CLEANUP(secret_freep) Secret *pin = NULL;
        CK_RV rv;
        int r;

        r = pins_copy_kept(&token->pins, &pin);
        if (r < 0) {
                session->fault = CKR_OPERATION_ACTIVE; /* begun, and never finished */
                return fail(failure, CB_SOURCE_LOCKED,
                            "the key wants the PIN for each use, and source '%s' has none",
                            token->name);
        }
        rv = session->f->C_Login(session->handle, CKU_CONTEXT_SPECIFIC, secret_data(pin),
                                 secret_length(pin));
        if (rv == CKR_OK)
                return 0;
        r = session_fail(session, rv, "C_Login", "log in for one use", failure);
        if (rv_class(rv) == RV_CLASS_PIN)
                token_note_refusal(token, TAKE(pin));
        return r;
}

int key_authenticate(Session *session, const Key *key, Failure *failure)
{
        int r;

        if (!key->always_authenticate)
                return 0;
        pthread_mutex_lock(&session->token->login_lock);
        r = authenticate_locked(session, failure);
        pthread_mutex_unlock(&session->token->login_lock);
        return r;
}

static CK_RV sign_init(Session *session, const Key *key, Plan *plan)
{
        return session->f->C_SignInit(session->handle, &plan->mechanism, key->handle);
}

/* A token may list PSS and not have it with this digest: then the bare operation will do. */
static bool pss_refused(const Session *session, const Plan *plan, CK_RV rv)
{
        return plan->mechanism.mechanism == CKM_RSA_PKCS_PSS &&
               (session->token->mechanisms & MECHANISM_RSA_X509) &&
               (rv == CKR_MECHANISM_INVALID || rv == CKR_MECHANISM_PARAM_INVALID);
}

static int run_plan(Session *session, const Key *key, Plan *plan, Bytes *ret_raw, Failure *failure)
{
        uint8_t signature[SIGNATURE_MAX];
        CK_ULONG n = plan->n_signature;
        CK_RV rv;
        int r;

        r = key_authenticate(session, key, failure);
        if (r != 0)
                return r;
        rv = session->f->C_Sign(session->handle, plan->data.n > 0 ? plan->data.data : signature,
                                plan->data.n, signature, &n);
        if (rv != CKR_OK)
                return session_fail(session, rv, "C_Sign", "sign", failure);
        if (n != plan->n_signature)
                return fail(
                        failure, CB_SOURCE_UNAVAILABLE,
                        "source '%s': the token answered with a signature of %lu bytes, not %zu",
                        session->token->name, n, plan->n_signature);
        return bytes_set(ret_raw, signature, n);
}

int key_sign(Session *session, const Key *key, Algorithm algorithm, const Bytes *input,
             Bytes *ret_signature, Failure *failure)
{
        CLEANUP(plan_deinit) Plan plan = { 0 };
        CLEANUP(bytes_deinit) Bytes raw = { 0 };
        CK_RV rv;
        int r;

        r = plan_make(session->token->mechanisms, key->type, algorithm, input, &plan);
        if (r != 0)
                return r;
        rv = sign_init(session, key, &plan);
        if (pss_refused(session, &plan, rv)) {
                r = plan_raw_pss(algorithm_row(algorithm), input, key->type, &plan);
                if (r != 0)
                        return r;
                rv = sign_init(session, key, &plan);
        }
        if (rv != CKR_OK)
                return session_fail(session, rv, "C_SignInit", "sign", failure);
        r = run_plan(session, key, &plan, &raw, failure);
        if (r != 0)
                return r;
        if (plan.ecdsa)
                return pki_ecdsa_to_der(&raw, ret_signature);
        return bytes_set(ret_signature, raw.data, raw.n);
}
