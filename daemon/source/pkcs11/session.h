/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: one worker's at a time, kept between requests. A session in which any call has failed is closed and never
 * used again: PKCS#11 leaves its operation in a state that modules disagree about.
 */
#pragma once

#include "base/failure.h"
#include "source/pkcs11/token.h"

typedef struct Session {
        Token *token;
        CK_FUNCTION_LIST *f;
        CK_SESSION_HANDLE handle;
        bool manages; /* one of those for management */
        uint64_t deadline_usec;
        uint64_t n_logins; /* when it was taken */
        CK_RV fault;       /* of the first call that failed; CKR_OK: none did */
} Session;

/* Work on a session. It may be called a second time, after what it did at first has failed. */
typedef int (*session_work)(Session *session, void *userdata, Failure *failure);

/*
 * Takes a session (waits for a free one, and for a token that is starting), works, gives it back. Where the
 * session, a handle or the log-in was lost, works once more on a fresh one.
 */
int session_run(Token *token, uint64_t deadline_usec, session_work work, void *userdata,
                Failure *failure); /* for management */
int session_run_call(Token *token, const DriverCall *call, session_work work, void *userdata,
                     Failure *failure); /* for what the call is for */

/* A call has failed: notes it in the session; returns the status with its sentence. */
int session_fail(Session *session, CK_RV rv, const char *function, const char *doing,
                 Failure *failure);
/*
 * A search found nothing. Modules whose token is gone, or that are logged out, say just that: so asks. 0: it is really
 * not there; else as session_fail().
 */
int session_check(Session *session, Failure *failure);
