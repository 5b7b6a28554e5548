/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was begun is taken back by its CKA_ID, not by handles: a call that failed may have made objects
 * without telling their handles, a process that was killed has told nothing, and when the module has been
 * initialised anew the same handles mean other objects. The id is random and of one import or generation
 * alone, so nothing else can have it. Done again, it does no harm.
 */
#include "source/pkcs11/take-back.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "pki/x509.h"
#include "source/pkcs11/object.h"
#include "source/pkcs11/session.h"

#define OBJECTS_MAX 8
#define BEGUN_USEC  (5 * USEC_PER_SEC)

typedef struct TakeBack {
        const uint8_t *id;
        size_t n_objects;
} TakeBack;

static int destroy_of(Session *session, uint8_t *id, size_t n_id, size_t *n_objects,
                      Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList list = { 0 };
        CK_ATTRIBUTE filter = { CKA_ID, id, n_id };
        int r;

        r = objects_find(session, &filter, 1, OBJECTS_MAX, &list, failure);
        for (size_t i = 0; i < list.n && r == 0; i++)
                r = object_destroy(session, list.handles[i], "take back what was begun", failure);
        if (r == 0)
                *n_objects += list.n;
        return r;
}

int take_back_objects(Session *session, const uint8_t id[OWN_ID_LENGTH], size_t *ret_n_objects,
                      Failure *failure)
{
        uint8_t own[OWN_ID_LENGTH + 1];
        size_t n_objects = 0;
        int r = 0;

        /* The chain first, by the key's id and an index; then what has the id itself. */
        memcpy(own, id, OWN_ID_LENGTH);
        for (unsigned i = 1; i < PKI_CHAIN_MAX && r == 0; i++) {
                own[OWN_ID_LENGTH] = (uint8_t)i;
                r = destroy_of(session, own, sizeof(own), &n_objects, failure);
        }
        if (r == 0)
                r = destroy_of(session, own, OWN_ID_LENGTH, &n_objects, failure);
        if (r == 0)
                *ret_n_objects = n_objects;
        return r;
}

static int work(Session *session, void *userdata, Failure *failure)
{
        TakeBack *job = userdata;

        return take_back_objects(session, job->id, &job->n_objects, failure);
}

void take_back_begun(Token *token, const uint8_t id[OWN_ID_LENGTH], const char *label)
{
        TakeBack job = { .id = id };
        Failure failure = { 0 };

        if (session_run(token, clock_monotonic_usec() + BEGUN_USEC, work, &job, &failure) != 0)
                log_error("source '%s': objects labelled '%s' may be left on the token: %s",
                          token->name, label, failure.text);
}

int take_back(Token *token, const DriverCall *call, WireReply *reply)
{
        TakeBack job = { .id = call->request->input.data };
        int r;

        if (call->request->input.n != OWN_ID_LENGTH)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "this is no id of ours");
        r = session_run(token, call->deadline_usec, work, &job, &reply->failure);
        if (r == 0 && job.n_objects > 0)
                log_info("source '%s': took back %zu objects that were begun and not finished",
                         token->name, job.n_objects);
        return r;
}

int take_back_id(const WireRequest *request, uint8_t ret_id[OWN_ID_LENGTH])
{
        if (request->input.n == OWN_ID_LENGTH) {
                memcpy(ret_id, request->input.data, OWN_ID_LENGTH);
                return 0;
        }
        if (request->input.n != 0)
                return -EINVAL;
        return getrandom(ret_id, OWN_ID_LENGTH, 0) == OWN_ID_LENGTH ? 0 : -EIO;
}
