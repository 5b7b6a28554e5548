/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log-in. Invariant: a PIN goes to the token once; one that was refused never again by itself, and none at all while the
 * token warns that the next wrong one locks it.
 */
#include "source/pkcs11/login.h"

#include <errno.h>

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

int login_refused(Token *token, Secret *pin, CK_RV rv, Failure *failure)
{
        Bytes identity = token_identity(token);
        int r;

        r = pins_refuse(&token->pins, pin, &identity);
        pins_drop(&token->pins);
        return fail(failure, CB_SOURCE_LOCKED,
                    "the token refuses the PIN (%s); it is not tried again: unlock the source, or "
                    "correct the PIN file and refresh it%s",
                    rv_name(rv),
                    r < 0 ? " (and this could not be written down: a restart will try it again)"
                          : "");
}

/* Whatever is not plainly the token's trouble counts as the PIN's: a try too few harms nobody. */
static bool blames_pin(CK_RV rv)
{
        return rv_class(rv) == RV_CLASS_PIN || rv_class(rv) == RV_CLASS_CALLER;
}

/* Takes the PIN. */
static int try_pin(Token *token, Secret *taken, Failure *failure)
{
        CLEANUP(secret_freep) Secret *pin = taken;
        CK_RV rv;

        rv = token->slot.f->C_Login(token->login_session, CKU_USER, secret_data(pin),
                                    secret_length(pin));
        if (rv == CKR_OK)
                pins_accept(&token->pins, TAKE(pin));
        if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) /* the latter proves no PIN */
                return 0;
        if (rv == CKR_USER_PIN_NOT_INITIALIZED)
                return fail(failure, CB_SOURCE_LOCKED, "the token has no user PIN yet");
        if (blames_pin(rv))
                return login_refused(token, pin, rv, failure);
        return fail(failure, CB_SOURCE_UNAVAILABLE, "log-in failed: %s (0x%lx) in C_Login",
                    rv_name(rv), rv);
}

/* Which PIN: what somebody has just given; the one that was good before; the file's. */
static int choose_pin(Token *token, Secret *given, Secret **ret_pin, Failure *failure)
{
        CLEANUP(secret_freep) Secret *pin = NULL;
        Bytes identity = token_identity(token);
        int r;

        if (given) {
                *ret_pin = given;
                return 0;
        }
        r = pins_copy_kept(&token->pins, &pin);
        if (r == -ENOENT)
                r = pins_read_file(&token->pins, &pin, failure);
        if (r != 0)
                return r;
        if (pins_was_refused(&token->pins, pin, &identity))
                return fail(failure, CB_SOURCE_LOCKED,
                            "the token has refused this PIN before; it is not tried again: unlock "
                            "the source, or correct the PIN file and refresh it");
        *ret_pin = TAKE(pin);
        return 0;
}

/* given: from an unlock, or NULL; taken. */
int login_try(Token *token, Secret *taken, Failure *failure)
{
        CLEANUP(secret_freep) Secret *given = taken;
        CK_TOKEN_INFO info = { 0 };
        Secret *pin = NULL;
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
                r = choose_pin(token, given, &pin, failure);
        if (r != 0)
                return r;
        if (pin == given)
                given = NULL;
        token_call_begin(token);
        r = try_pin(token, pin, failure);
        token_call_end(token);
        if (r != 0)
                return r;

        pthread_mutex_lock(&token->lock);
        token->n_logins++;
        pthread_mutex_unlock(&token->lock);
        return 0;
}
