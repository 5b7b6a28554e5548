/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RSA-OAEP (RFC 8017, 7.1.2): digest and MGF1 the same, no label. By the token's own mechanism; where it has that
 * with SHA-1 only, as SoftHSM, by the bare operation, whose padding we take off. Invariant: whatever is wrong with a
 * ciphertext gives one sentence and one status, so that nobody learns about its plaintext from our answers; what is
 * wrong with the token is told apart by asking the token, never by what the ciphertext did.
 */
#include "source/pkcs11/decrypt.h"

#include <string.h>

#include "base/secret.h"
#include "base/strings.h"
#include "pki/oaep.h"
#include "source/pkcs11/keys.h"
#include "source/pkcs11/mechanism.h"
#include "source/pkcs11/rv.h"
#include "source/pkcs11/session.h"
#include "source/pkcs11/sign.h"

#define MODULUS_MAX 512

typedef struct OaepRow {
        const char *name;
        Digest digest;
        CK_MECHANISM_TYPE hash;
        unsigned long mgf;
} OaepRow;

static const OaepRow rows[] = {
        { "rsa-oaep-sha1", DIGEST_SHA1, CKM_SHA_1, CKG_MGF1_SHA1 },
        { "rsa-oaep-sha256", DIGEST_SHA256, CKM_SHA256, CKG_MGF1_SHA256 },
};

typedef struct DecryptJob {
        const WireRequest *request;
        const OaepRow *row;
        Bytes *output;
} DecryptJob;

static const OaepRow *find_row(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (string_equal(name, rows[i].name))
                        return &rows[i];
        return NULL;
}

static int fail_ciphertext(Failure *failure)
{
        return fail(failure, CB_INVALID_ARGUMENT,
                    "the ciphertext cannot be decrypted with this key and algorithm");
}

/*
 * C_Decrypt has failed. SoftHSM says CKR_GENERAL_ERROR to a ciphertext that is none, as it does when its token is
 * gone. Where the token is there, it is the ciphertext's fault, and none of the token's: whoever may decrypt could
 * else have the token taken for broken. The session is given up all the same.
 */
static int refuse_ciphertext(Session *session, CK_RV rv, Failure *failure)
{
        RvClass class = rv_class(rv);
        int r;

        if (class != RV_CLASS_FAULT && class != RV_CLASS_CALLER && class != RV_CLASS_ODD)
                return session_fail(session, rv, "C_Decrypt", "decrypt", failure);
        if (class != RV_CLASS_CALLER) {
                r = session_check(session, failure);
                if (r != 0)
                        return r;
        }
        session->fault = CKR_ENCRYPTED_DATA_INVALID;
        return fail_ciphertext(failure);
}

/* By the operation that was begun. */
static int run(Session *session, const Key *key, const Bytes *input, Secret **ret_output,
               Failure *failure)
{
        CLEANUP(secret_freep) Secret *output = NULL;
        CK_ULONG n = MODULUS_MAX;
        CK_RV rv;
        int r;

        r = secret_new(MODULUS_MAX, &output);
        if (r < 0) {
                session->fault = CKR_OPERATION_ACTIVE; /* begun, and never finished */
                return r;
        }
        r = key_authenticate(session, key, failure);
        if (r != 0)
                return r;
        rv = session->f->C_Decrypt(session->handle, input->data, input->n, secret_data(output), &n);
        if (rv != CKR_OK)
                return refuse_ciphertext(session, rv, failure);
        if (n > MODULUS_MAX)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "source '%s': the token answered with more than a key's length",
                            session->token->name);
        secret_set_length(output, n);
        *ret_output = TAKE(output);
        return 0;
}

static CK_RV begin_oaep(Session *session, const Key *key, const OaepRow *row)
{
        CK_RSA_PKCS_OAEP_PARAMS params = { row->hash, row->mgf, CKZ_DATA_SPECIFIED, NULL, 0 };
        CK_MECHANISM mechanism = { CKM_RSA_PKCS_OAEP, &params, sizeof(params) };

        if (!mechanism_has(session, CKM_RSA_PKCS_OAEP, CKF_DECRYPT))
                return CKR_MECHANISM_INVALID;
        return session->f->C_DecryptInit(session->handle, &mechanism, key->handle);
}

/* It may have the mechanism and not with this digest; SoftHSM calls that CKR_ARGUMENTS_BAD. */
static bool oaep_refused(CK_RV rv)
{
        return rv == CKR_MECHANISM_INVALID || rv == CKR_MECHANISM_PARAM_INVALID ||
               rv == CKR_ARGUMENTS_BAD;
}

static int decrypt_raw(Session *session, const Key *key, const DecryptJob *job,
                       Secret **ret_message, Failure *failure)
{
        CLEANUP(secret_freep) Secret *encoded = NULL;
        CK_MECHANISM mechanism = { CKM_RSA_X_509, NULL, 0 };
        CK_RV rv;
        int r;

        if (!mechanism_has(session, CKM_RSA_X_509, CKF_DECRYPT))
                return fail(failure, CB_NOT_SUPPORTED,
                            "the token cannot do %s: it has no CKM_RSA_PKCS_OAEP with this digest, "
                            "and no CKM_RSA_X_509 to do without",
                            job->row->name);
        rv = session->f->C_DecryptInit(session->handle, &mechanism, key->handle);
        if (rv != CKR_OK)
                return session_fail(session, rv, "C_DecryptInit", "decrypt", failure);
        r = run(session, key, &job->request->input, &encoded, failure);
        if (r == 0)
                r = pki_oaep_decode(job->row->digest, encoded, key_type_row(key->type)->bits,
                                    ret_message);
        return r == CB_INVALID_ARGUMENT ? fail_ciphertext(failure) : r;
}

static int decrypt(Session *session, const Key *key, const DecryptJob *job, Secret **ret_message,
                   Failure *failure)
{
        CK_RV rv = begin_oaep(session, key, job->row);

        if (oaep_refused(rv))
                return decrypt_raw(session, key, job, ret_message, failure);
        if (rv != CKR_OK)
                return session_fail(session, rv, "C_DecryptInit", "decrypt", failure);
        return run(session, key, &job->request->input, ret_message, failure);
}

static int decrypt_work(Session *session, void *userdata, Failure *failure)
{
        CLEANUP(secret_freep) Secret *message = NULL;
        DecryptJob *job = userdata;
        Key key;
        int r;

        r = keys_find(session, job->request->key_uri, &key, failure);
        if (r != 0)
                return r;
        if (key_type_row(key.type)->family != KEY_RSA)
                return fail(failure, CB_NOT_SUPPORTED, "a key of type %s cannot decrypt",
                            key_type_name(key.type));
        if (job->request->input.n != key_type_row(key.type)->bits / 8)
                return fail_ciphertext(failure);
        r = decrypt(session, &key, job, &message, failure);
        if (r == 0)
                r = bytes_set(job->output, secret_data(message), secret_length(message));
        if (r == 0)
                token_note_success(session->token);
        else if (session->fault != CKR_OK)
                keys_forget(session->token, job->request->key_uri);
        return r;
}

int decrypt_oaep(void *instance, const DriverCall *call, WireReply *reply)
{
        const WireRequest *request = call->request;
        DecryptJob job = { request, find_row(request->name), &reply->output };

        if (!request->key_uri)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "no key is named");
        if (!job.row)
                return fail(&reply->failure, CB_NOT_SUPPORTED,
                            "this decryption algorithm is unknown; there are rsa-oaep-sha1 and "
                            "rsa-oaep-sha256");
        return session_run_call(instance, call, decrypt_work, &job, &reply->failure);
}
