/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log-in. Invariants: a PIN that the token has refused is not sent again, one that it was not asked about may be; a PIN
 * that the token could not have is not sent at all, and none while the token warns that the next wrong one locks it.
 */
#include "source/pkcs11/login.h"

#include <errno.h>
#include <string.h>

#include "source/pkcs11/rv.h"

static int check_token_flags(const CK_TOKEN_INFO *info, Failure *failure)
{
        static const struct {
                CK_FLAGS flag;
                const char *text;
        } rows[] = {
                { CKF_PROTECTED_AUTHENTICATION_PATH,
                  "the token takes its PIN from a pad of its own, which a daemon cannot use" },
                { CKF_USER_PIN_LOCKED,
                  "the token says that the PIN is locked; reset it with the token's own tool" },
                { CKF_USER_PIN_FINAL_TRY,
                  "the token says that one more wrong PIN locks it; log in once with the token's "
                  "own tool, then refresh the source" },
                { CKF_USER_PIN_TO_BE_CHANGED,
                  "the token wants its PIN changed first; do that with the token's own tool" }
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (info->flags & rows[i].flag)
                        return fail(failure, CB_SOURCE_LOCKED, "%s", rows[i].text);
        if (!(info->flags & CKF_USER_PIN_INITIALIZED))
                return fail(failure, CB_SOURCE_LOCKED,
                            "the token has no user PIN yet; set one with the token's own tool");
        return 0;
}

static Bytes token_identity(Token *token)
{
        return (Bytes){ token->info.serialNumber, sizeof(token->info.serialNumber) };
}

static int fail_wrong(CK_RV rv, bool written, Failure *failure)
{
        return fail(failure, CB_SOURCE_LOCKED,
                    "the token refuses the PIN (%s); it is not tried again: unlock the source, or "
                    "correct the PIN file and reload%s",
                    rv_name(rv),
                    written ? ""
                            : " (and this could not be written down: a restart will try it again)");
}

static int fail_doubtful(CK_RV rv, unsigned n_tries, Failure *failure)
{
        if (n_tries < PIN_UNCLEAR_MAX)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "log-in failed: %s (0x%lx) in C_Login, which says neither yes nor no; "
                            "one more try",
                            rv_name(rv), rv);
        return fail(failure, CB_SOURCE_LOCKED,
                    "log-in failed: %s (0x%lx) in C_Login, after %u tries; the PIN is not sent "
                    "again by itself: look after the token, then unlock or refresh the source",
                    rv_name(rv), rv, n_tries);
}

int login_refused(Token *token, Secret *pin, CK_RV rv, Failure *failure)
{
        Bytes identity = token_identity(token);
        int r;

        r = pins_refuse(&token->pins, pin, &identity);
        pins_drop(&token->pins);
        return fail_wrong(rv, r == 0, failure);
}

/* Takes the PIN. */
static int try_pin(Token *token, Secret *taken, Failure *failure)
{
        CLEANUP(secret_freep) Secret *pin = taken;
        PinVerdict verdict;
        unsigned n_tries;
        CK_RV rv;

        rv = token->slot.f->C_Login(token->login_session, CKU_USER, secret_data(pin),
                                    secret_length(pin));
        verdict = verdict_of_login(rv);
        n_tries = pins_end(&token->pins, verdict);
        switch (verdict) {
        case PIN_IS_GOOD:
                pins_keep(&token->pins, TAKE(pin));
                return 0;
        case PIN_NOT_NEEDED: /* not kept: it may be wrong, and each use would cost the token a try */
                return 0;
        case PIN_IS_WRONG:
                pins_drop(&token->pins);
                return fail_wrong(rv, true, failure);
        case PIN_DOUBTFUL:
                return fail_doubtful(rv, n_tries, failure);
        case PIN_NOT_JUDGED:
                break;
        }
        if (rv == CKR_USER_PIN_NOT_INITIALIZED)
                return fail(failure, CB_SOURCE_LOCKED, "the token has no user PIN yet");
        return fail(failure, CB_SOURCE_UNAVAILABLE, "log-in failed: %s (0x%lx) in C_Login",
                    rv_name(rv), rv);
}

/* Which PIN: what somebody has just given; the one that was good before; the file's. */
static int choose_pin(Token *token, Secret *given, Secret **ret_pin, Failure *failure)
{
        int r;

        if (given) {
                *ret_pin = given;
                return 0;
        }
        r = pins_copy_kept(&token->pins, ret_pin);
        return r == -ENOENT ? pins_read_file(&token->pins, ret_pin, failure) : r;
}

/* What no token could have as its PIN costs no try. Lengths that cannot be meant are not believed. */
static int check_form(const CK_TOKEN_INFO *info, Secret *pin, Failure *failure)
{
        CK_ULONG min = info->ulMinPinLen, max = info->ulMaxPinLen, n = secret_length(pin);

        if (memchr(secret_data(pin), '\0', n))
                return fail(failure, CB_SOURCE_LOCKED,
                            "the PIN is not sent to the token: there is a NUL in it");
        if (max == CK_UNAVAILABLE_INFORMATION || max == 0 || min > max || (n >= min && n <= max))
                return 0;
        return fail(failure, CB_SOURCE_LOCKED,
                    "the PIN is not sent to the token: this token's have %lu to %lu bytes", min,
                    max);
}

int login_try(Token *token, Secret *taken, bool asked, Failure *failure)
{
        CLEANUP(secret_freep) Secret *given = taken;
        Bytes identity = token_identity(token);
        CLEANUP(secret_freep) Secret *pin = NULL;
        CK_TOKEN_INFO info = { 0 };
        CK_RV rv;
        int r;

        token_call_begin(token);
        rv = token->slot.f->C_GetTokenInfo(token->slot.id, &info);
        token_call_end(token);
        if (rv != CKR_OK)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "the token is gone: %s (0x%lx) in C_GetTokenInfo", rv_name(rv), rv);
        if (!token->login_required)
                return 0;
        r = check_token_flags(&info, failure);
        if (r == 0)
                r = choose_pin(token, TAKE(given), &pin, failure);
        if (r == 0)
                r = check_form(&info, pin, failure);
        if (r == 0)
                r = pins_begin(&token->pins, pin, &identity, asked, failure);
        if (r != 0)
                return r;
        token_call_begin(token);
        r = try_pin(token, TAKE(pin), failure);
        token_call_end(token);
        if (r != 0)
                return r;

        pthread_mutex_lock(&token->lock);
        token->n_logins++;
        pthread_mutex_unlock(&token->lock);
        return 0;
}
