/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool of sessions. Invariant: n_open counts the sessions that are open or being opened, idle ones and taken
 * ones; n_taken is what the keeper waits for before it finalises the module. Management leaves sessions for signatures,
 * and signatures one for management; where the token has but one, management takes it when no signature waits. No call
 * into the module is made with the token's lock held.
 */
#include "source/pkcs11/session.h"

#include <errno.h>

#include "base/clock.h"
#include "source/pkcs11/rv.h"

/* What is left to answer in, when a request has waited for a token that starts. */
#define ANSWER_USEC (200 * USEC_PER_MSEC)
/* A token that has been starting for longer does not start: nobody waits for it any more. */
#define START_USEC (10 * USEC_PER_SEC)

/* Until when a request waits for a session, or for the token to start. */
static uint64_t wait_until_usec(const Token *token, uint64_t deadline_usec)
{
        uint64_t until_usec = deadline_usec - ANSWER_USEC;

        if (token->state == SOURCE_STARTING)
                return MIN(until_usec, token->started_usec + START_USEC);
        return until_usec;
}

/* How many of the sessions are for whom. */
static unsigned share_locked(const Token *token, bool manages)
{
        unsigned n = token->n_open_max;
        unsigned n_manage = n > token->n_sign_max ? n - token->n_sign_max : 1;

        if (n <= 1)
                return n;
        return manages ? n_manage : n - n_manage;
}

/* Takes an idle session, or the right to open one. */
static bool take_locked(Token *token, bool manages, CK_SESSION_HANDLE *ret_handle)
{
        if (token->n_taken[manages] >= share_locked(token, manages) ||
            (token->n_open_max == 1 && manages && token->n_waiting_to_sign > 0))
                return false;
        if (token->n_idle > 0) {
                *ret_handle = token->idle[--token->n_idle];
                return true;
        }
        if (token->n_open >= token->n_open_max)
                return false;
        token->n_open++;
        *ret_handle = CK_INVALID_HANDLE;
        return true;
}

static int wait_for_one_locked(Token *token, bool manages, uint64_t deadline_usec)
{
        int r;

        token->n_waiting_to_sign += !manages;
        r = token_wait_locked(token, &token->given, wait_until_usec(token, deadline_usec));
        token->n_waiting_to_sign -= !manages;
        return r;
}

static int reserve_locked(Token *token, bool manages, uint64_t deadline_usec,
                          CK_SESSION_HANDLE *ret_handle, Failure *failure)
{
        for (;;) {
                if (token->state != SOURCE_STARTING) {
                        int r = token_refuse_locked(token, failure);

                        if (r != 0)
                                return r;
                        if (take_locked(token, manages, ret_handle))
                                return 0;
                        if (token->n_open_max == 0)
                                return fail(failure, CB_LIMIT_EXCEEDED,
                                            "source '%s': the token has no session left for us",
                                            token->name);
                }
                if (wait_for_one_locked(token, manages, deadline_usec) == 0)
                        continue;
                if (token->state == SOURCE_STARTING)
                        return token_refuse_locked(token, failure);
                return fail(failure, CB_LIMIT_EXCEEDED,
                            "source '%s': all %u sessions were busy until the time was over",
                            token->name, share_locked(token, manages));
        }
}

static int reserve(Session *session, Failure *failure)
{
        Token *token = session->token;
        int r;

        pthread_mutex_lock(&token->lock);
        r = reserve_locked(token, session->manages, session->deadline_usec, &session->handle,
                           failure);
        if (r == 0) {
                token->n_taken[session->manages]++;
                session->n_logins = token->n_logins;
        }
        pthread_mutex_unlock(&token->lock);
        if (r != 0)
                return r;
        if (token->slot.serial)
                pthread_mutex_lock(&token->call_lock);
        session->f = token->slot.f;
        return 0;
}

/* closed: it is open no more, or never was. */
static void release(Session *session, bool closed)
{
        Token *token = session->token;

        if (token->slot.serial)
                pthread_mutex_unlock(&token->call_lock);
        pthread_mutex_lock(&token->lock);
        token->n_taken[session->manages]--;
        if (closed)
                token->n_open--;
        else
                token->idle[token->n_idle++] = session->handle;
        pthread_cond_broadcast(&token->given);
        pthread_mutex_unlock(&token->lock);
}

/* The token has fewer sessions than it said: make do with those that are open. */
static void shrink(Token *token)
{
        pthread_mutex_lock(&token->lock);
        token->n_open_max = MIN(token->n_open_max, token->n_open);
        pthread_cond_broadcast(&token->given);
        pthread_mutex_unlock(&token->lock);
}

/* Some tokens have read-write sessions only, others are write-protected. */
static CK_RV open_session(Session *session)
{
        CK_FLAGS flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        CK_RV rv;

        rv = session->f->C_OpenSession(session->token->slot.id, flags, NULL, NULL,
                                       &session->handle);
        if (rv == CKR_TOKEN_WRITE_PROTECTED)
                rv = session->f->C_OpenSession(session->token->slot.id, CKF_SERIAL_SESSION, NULL,
                                               NULL, &session->handle);
        return rv;
}

static int take(Session *session, Failure *failure)
{
        for (;;) {
                CK_RV rv;
                int r;

                r = reserve(session, failure);
                if (r != 0 || session->handle != CK_INVALID_HANDLE)
                        return r;
                rv = open_session(session);
                if (rv == CKR_OK)
                        return 0;
                if (rv_row(rv)->status != CB_LIMIT_EXCEEDED) {
                        r = session_fail(session, rv, "C_OpenSession", "open a session", failure);
                        token_note_fault(session->token, rv, session->manages);
                        release(session, true);
                        return r;
                }
                release(session, true);
                shrink(session->token);
        }
}

static void give(Session *session)
{
        bool broken = session->fault != CKR_OK;

        if (broken) {
                token_note_fault(session->token, session->fault, session->manages);
                (void)session->f->C_CloseSession(session->handle);
        }
        release(session, broken);
}

static bool worth_another_try(const Session *session, int r)
{
        RvClass class = rv_class(session->fault);

        return r != 0 && (class == RV_CLASS_SESSION || class == RV_CLASS_LOGIN);
}

/* One log-in for all who have found that it is lost. */
static int log_in_again(const Session *session, Failure *failure)
{
        Token *token = session->token;
        bool stale;

        pthread_mutex_lock(&token->lock);
        stale = token->n_logins == session->n_logins;
        pthread_mutex_unlock(&token->lock);
        return stale ? token_ask(token, WANT_LOGIN, session->deadline_usec, failure) : 0;
}

static int run(const Session *how, session_work work, void *userdata, Failure *failure)
{
        for (bool again = true;; again = false) {
                Session session = *how;
                int r;

                r = take(&session, failure);
                if (r != 0)
                        return r;
                r = work(&session, userdata, failure);
                give(&session);
                if (!again || !worth_another_try(&session, r))
                        return r;
                if (rv_class(session.fault) == RV_CLASS_LOGIN) {
                        r = log_in_again(&session, failure);
                        if (r != 0)
                                return r;
                }
        }
}

int session_run(Token *token, uint64_t deadline_usec, session_work work, void *userdata,
                Failure *failure)
{
        const Session how = { .token = token, .manages = true, .deadline_usec = deadline_usec };

        return run(&how, work, userdata, failure);
}

int session_run_call(Token *token, const DriverCall *call, session_work work, void *userdata,
                     Failure *failure)
{
        const Session how = { .token = token,
                              .manages = call->request->manages,
                              .deadline_usec = call->deadline_usec };

        return run(&how, work, userdata, failure);
}

int session_fail(Session *session, CK_RV rv, const char *function, const char *doing,
                 Failure *failure)
{
        if (session->fault == CKR_OK)
                session->fault = rv;
        return fail(failure, rv_row(rv)->status, "source '%s' could not %s: %s (0x%lx) in %s",
                    session->token->name, doing, rv_name(rv), rv, function);
}

int session_check(Session *session, Failure *failure)
{
        Token *token = session->token;
        CK_TOKEN_INFO info = { 0 };
        CK_SESSION_INFO state = { 0 };
        CK_RV rv;

        rv = session->f->C_GetTokenInfo(token->slot.id, &info);
        if (rv == CKR_OK && !token_same(&info, &token->info))
                rv = CKR_TOKEN_NOT_PRESENT;
        if (rv != CKR_OK && rv_class(rv) != RV_CLASS_MODULE)
                rv = CKR_TOKEN_NOT_PRESENT; /* whatever it says: SoftHSM says CKR_GENERAL_ERROR */
        if (rv == CKR_OK)
                rv = session->f->C_GetSessionInfo(session->handle, &state);
        if (rv == CKR_OK && token->login_required && state.state != CKS_RO_USER_FUNCTIONS &&
            state.state != CKS_RW_USER_FUNCTIONS)
                rv = CKR_USER_NOT_LOGGED_IN;
        if (rv == CKR_OK)
                return 0;
        return session_fail(session, rv, "C_GetTokenInfo", "find the key", failure);
}
