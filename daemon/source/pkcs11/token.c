/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of a token.
 *
 * Invariants: log-in happens on the keeper's thread only, so it is single-flight; C_Finalize is called only
 * when no session is taken; a state is published before anyone who waits for it wakes. A token that is
 * away is looked for with back-off, by C_Finalize and C_Initialize: known modules do not see it come back
 * otherwise.
 */
#include "source/pkcs11/token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/strings.h"
#include "source/pkcs11/keys.h"
#include "source/pkcs11/rv.h"
#include "source/pkcs11/uri.h"

#define SESSIONS_DEFAULT   8
#define POLL_USEC          (2 * USEC_PER_SEC) /* and as much as half of it more, by chance */
#define BACKOFF_FIRST_USEC (1 * USEC_PER_SEC)
#define BACKOFF_MAX_USEC   (5 * USEC_PER_SEC)
#define HEALTHY_USEC       (10 * USEC_PER_SEC) /* as long ready, and the next fault is a new one */
#define DRAIN_USEC         (60 * USEC_PER_SEC)
#define FAULTS_MAX         3

/* Waiting */

int token_wait_locked(Token *token, uint64_t deadline_usec)
{
        struct timespec when = { .tv_sec = (time_t)(deadline_usec / USEC_PER_SEC),
                                 .tv_nsec = (long)(deadline_usec % USEC_PER_SEC) * 1000 };

        return pthread_cond_timedwait(&token->changed, &token->lock, &when) == ETIMEDOUT
                       ? -ETIMEDOUT
                       : 0;
}

int token_refuse_locked(Token *token, Failure *failure)
{
        switch (token->state) {
        case SOURCE_READY:
        case SOURCE_DEGRADED:
                return 0;
        case SOURCE_STARTING:
                return fail(failure, CB_SOURCE_UNAVAILABLE, "source '%s' is still starting",
                            token->name);
        case SOURCE_LOCKED:
                return fail(failure, CB_SOURCE_LOCKED, "source '%s' is locked: %s", token->name,
                            token->text);
        case SOURCE_UNAVAILABLE:
        case _SOURCE_STATE_N:
                break;
        }
        return fail(failure, CB_SOURCE_UNAVAILABLE, "source '%s' is unavailable: %s", token->name,
                    token->text);
}

static int token_ask_locked(Token *token, TokenWant want, uint64_t deadline_usec, Failure *failure)
{
        uint64_t ticket = ++token->n_asked;

        token->wanted |= want;
        pthread_cond_broadcast(&token->changed);
        while (token->n_answered < ticket)
                if (token_wait_locked(token, deadline_usec) < 0)
                        return fail(failure, CB_TIMED_OUT,
                                    "source '%s': the token gave no answer in time", token->name);
        return token_refuse_locked(token, failure);
}

int token_ask(Token *token, TokenWant want, uint64_t deadline_usec, Failure *failure)
{
        int r;

        pthread_mutex_lock(&token->lock);
        r = token_ask_locked(token, want, deadline_usec, failure);
        pthread_mutex_unlock(&token->lock);
        return r;
}

int token_unlock(Token *token, Secret *pin, uint64_t deadline_usec, Failure *failure)
{
        int r;

        pthread_mutex_lock(&token->lock);
        secret_free(token->unlock);
        token->unlock = pin;
        r = token_ask_locked(token, WANT_UNLOCK, deadline_usec, failure);
        pthread_mutex_unlock(&token->lock);
        return r;
}

/* State */

static void enter(Token *token, SourceState state, const char *text)
{
        bool told = token->told_state == state && strcmp(token->told_text, text) == 0;

        pthread_mutex_lock(&token->lock);
        token->state = state;
        snprintf(token->text, sizeof(token->text), "%s", text);
        pthread_cond_broadcast(&token->changed);
        pthread_mutex_unlock(&token->lock);
        if (told)
                return;
        token->told_state = state;
        snprintf(token->told_text, sizeof(token->told_text), "%s", text);
        token->host.changed(token->host.userdata, state, *text ? text : NULL);
}

static void enter_failure(Token *token, int r, const Failure *failure)
{
        const char *text = failure->status == r ? failure->text : strerror(r < 0 ? -r : EIO);

        enter(token, r == CB_SOURCE_LOCKED ? SOURCE_LOCKED : SOURCE_UNAVAILABLE, text);
}

static void enter_ready(Token *token)
{
        token->ready_since_usec = clock_monotonic_usec();
        if (token->slot.serial)
                enter(token, SOURCE_DEGRADED,
                      "the module cannot be used by several threads: one request at a time");
        else
                enter(token, SOURCE_READY, "");
}

static bool is_open(const Token *token)
{
        return token->has_login_session;
}

/* The keeper's calls */

static void call_begin(Token *token)
{
        if (token->slot.serial)
                pthread_mutex_lock(&token->call_lock);
}

static void call_end(Token *token)
{
        if (token->slot.serial)
                pthread_mutex_unlock(&token->call_lock);
}

bool token_same(const CK_TOKEN_INFO *a, const CK_TOKEN_INFO *b)
{
        return memcmp(a->label, b->label, sizeof(a->label)) == 0 &&
               memcmp(a->serialNumber, b->serialNumber, sizeof(a->serialNumber)) == 0;
}

/* Log-in */

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

static int refused_pin(Token *token, Secret *pin, CK_RV rv, Failure *failure)
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
                return refused_pin(token, pin, rv, failure);
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
static int login(Token *token, Secret *taken, Failure *failure)
{
        CLEANUP(secret_freep) Secret *given = taken;
        CK_TOKEN_INFO info = { 0 };
        Secret *pin = NULL;
        CK_RV rv;
        int r;

        call_begin(token);
        rv = token->slot.f->C_GetTokenInfo(token->slot.id, &info);
        call_end(token);
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
        call_begin(token);
        r = try_pin(token, pin, failure);
        call_end(token);
        if (r != 0)
                return r;

        pthread_mutex_lock(&token->lock);
        token->n_logins++;
        pthread_mutex_unlock(&token->lock);
        return 0;
}

/* Open and close */

static void reset_pool_locked(Token *token)
{
        CK_ULONG max = token->info.ulMaxSessionCount;

        token->n_open = token->n_idle = 0;
        token->n_open_max = token->n_sessions_max;
        /* 0 and (CK_ULONG)-1: not limited, not known. One is the log-in's. */
        if (max > 1 && max != CK_UNAVAILABLE_INFORMATION && max - 1 < token->n_open_max)
                token->n_open_max = (unsigned)(max - 1);
}

static int open_token(Token *token, Failure *failure)
{
        CK_SESSION_HANDLE session;
        CK_RV rv;
        int r;

        if (!token->modules) {
                r = modules_load(token->module_path, &token->modules, failure);
                if (r != 0)
                        return r;
        }
        r = modules_initialize(token->modules, failure);
        if (r == 0)
                r = modules_find_token(token->modules, token->uri, &token->slot, &token->info,
                                       failure);
        if (r != 0)
                return r;
        token->mechanisms = slot_mechanisms(&token->slot);
        token->login_required = token->info.flags & CKF_LOGIN_REQUIRED;
        rv = token->slot.f->C_OpenSession(token->slot.id, CKF_SERIAL_SESSION, NULL, NULL, &session);
        if (rv != CKR_OK)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "no session with the token: %s (0x%lx) in C_OpenSession", rv_name(rv),
                            rv);
        token->login_session = session;
        token->has_login_session = true;
        pthread_mutex_lock(&token->lock);
        reset_pool_locked(token);
        pthread_mutex_unlock(&token->lock);
        return 0;
}

/* The state says already that nothing is served, so no session is taken any more. */
static void close_token(Token *token)
{
        uint64_t deadline_usec = clock_monotonic_usec() + DRAIN_USEC;

        pthread_mutex_lock(&token->lock);
        while (token->n_taken > 0)
                if (token_wait_locked(token, deadline_usec) < 0 && token->n_taken > 0)
                        token->host.give_up(token->host.userdata,
                                            "a call into the PKCS#11 module does not return");
        keys_clear_locked(token);
        token->down = false;
        pthread_mutex_unlock(&token->lock);

        token->has_login_session = false;
        modules_finalize(token->modules);
}

static void fill_unlock(Token *token, Secret **ret_given)
{
        pthread_mutex_lock(&token->lock);
        *ret_given = TAKE(token->unlock);
        pthread_mutex_unlock(&token->lock);
}

static void try_open(Token *token)
{
        Failure failure = { 0 };
        Secret *given;
        int r;

        r = open_token(token, &failure);
        if (r == 0) {
                fill_unlock(token, &given);
                r = login(token, given, &failure);
        }
        if (r == 0) {
                enter_ready(token);
                return;
        }
        enter_failure(token, r, &failure);
        if (r == CB_SOURCE_LOCKED)
                return; /* open, and watched */
        if (token->modules)
                close_token(token);
}

/* Watching */

static void fall(Token *token, const char *text)
{
        bool fresh = clock_monotonic_usec() - token->ready_since_usec > HEALTHY_USEC;

        enter(token, SOURCE_UNAVAILABLE, text);
        close_token(token);
        if (fresh) {
                backoff_reset(&token->backoff);
                try_open(token); /* often enough it is the session alone that is lost */
        }
}

static void login_again(Token *token, Secret *given)
{
        Failure failure = { 0 };
        int r;

        r = login(token, given, &failure);
        if (r == 0)
                enter_ready(token);
        else if (r == CB_SOURCE_LOCKED)
                enter_failure(token, r, &failure);
        else
                fall(token, failure.text);
}

static bool is_locked(Token *token)
{
        bool locked;

        pthread_mutex_lock(&token->lock);
        locked = token->state == SOURCE_LOCKED;
        pthread_mutex_unlock(&token->lock);
        return locked;
}

/* Is the token there, the same, and is somebody logged in? */
static void look(Token *token)
{
        CK_TOKEN_INFO info = { 0 };
        CK_SESSION_INFO session = { 0 };
        CK_RV rv;
        bool logged_in;

        call_begin(token);
        rv = token->slot.f->C_GetTokenInfo(token->slot.id, &info);
        if (rv == CKR_OK)
                rv = token->slot.f->C_GetSessionInfo(token->login_session, &session);
        call_end(token);
        if (rv != CKR_OK) {
                Failure failure;

                fail(&failure, CB_SOURCE_UNAVAILABLE, "the token is gone: %s (0x%lx)", rv_name(rv),
                     rv);
                fall(token, failure.text);
                return;
        }
        if (!token_same(&info, &token->info)) {
                fall(token, "another token is in its place");
                return;
        }
        logged_in =
                session.state == CKS_RO_USER_FUNCTIONS || session.state == CKS_RW_USER_FUNCTIONS;
        if (token->login_required && !logged_in && !is_locked(token))
                login_again(token, NULL);
}

/* The PIN was good and is not any more, as a call has found that needs it once a signature. */
static void lock_after_refusal(Token *token)
{
        CLEANUP(secret_freep) Secret *pin = NULL;
        Failure failure = { 0 };

        pthread_mutex_lock(&token->lock);
        pin = TAKE(token->refused);
        pthread_mutex_unlock(&token->lock);
        if (!pin)
                return;
        refused_pin(token, pin, CKR_PIN_INCORRECT, &failure);
        enter_failure(token, CB_SOURCE_LOCKED, &failure);
}

static void serve_open(Token *token, unsigned wanted)
{
        Secret *given;

        if (wanted & WANT_LOCK) {
                lock_after_refusal(token);
                return;
        }
        if (is_locked(token) && (wanted & (WANT_UNLOCK | WANT_LOOK))) {
                fill_unlock(token, &given);
                login_again(token, given);
                return;
        }
        if ((wanted & WANT_LOGIN) && !is_locked(token)) {
                login_again(token, NULL);
                return;
        }
        fill_unlock(token,
                    &given); /* not locked: the PIN is not needed, and could not be checked */
        secret_free(given);
        look(token);
}

typedef struct Round {
        unsigned wanted;
        uint64_t ticket;
        bool down;
        char down_text[512];
} Round;

static uint64_t wait_usec(Token *token)
{
        uint32_t chance;

        if (getrandom(&chance, sizeof(chance), 0) != sizeof(chance))
                chance = 0;
        if (is_open(token))
                return POLL_USEC + chance % (POLL_USEC / 2);
        return backoff_next_usec(&token->backoff, chance);
}

static void next_round(Token *token, uint64_t deadline_usec, Round *round)
{
        pthread_mutex_lock(&token->lock);
        while (!token->wanted && !token->down)
                if (token_wait_locked(token, deadline_usec) < 0)
                        break;
        round->wanted = token->wanted;
        round->ticket = token->n_asked;
        round->down = token->down;
        memcpy(round->down_text, token->down_text, sizeof(round->down_text));
        token->wanted = 0;
        token->down = false;
        pthread_mutex_unlock(&token->lock);
}

static void answer_round(Token *token, const Round *round)
{
        pthread_mutex_lock(&token->lock);
        token->n_answered = round->ticket;
        pthread_cond_broadcast(&token->changed);
        pthread_mutex_unlock(&token->lock);
}

static void *keeper_main(void *userdata)
{
        Token *token = userdata;
        Round round = { 0 };

        for (;;) {
                if (round.down && is_open(token))
                        fall(token, round.down_text);
                else if (is_open(token))
                        serve_open(token, round.wanted);
                else
                        try_open(token);
                answer_round(token, &round);
                next_round(token, clock_monotonic_usec() + wait_usec(token), &round);
        }
        return NULL;
}

/* What workers find */

static void bring_down(Token *token, const char *function, CK_RV rv)
{
        Failure failure;

        fail(&failure, CB_SOURCE_UNAVAILABLE, "the token is gone: %s (0x%lx)%s%s", rv_name(rv), rv,
             function ? " in " : "", string_or_empty(function));
        pthread_mutex_lock(&token->lock);
        if (token->state == SOURCE_READY || token->state == SOURCE_DEGRADED) {
                token->down = true;
                memcpy(token->down_text, failure.text, sizeof(token->down_text));
                /* At once: who comes next is answered without asking the token. The keeper tells. */
                token->state = SOURCE_UNAVAILABLE;
                memcpy(token->text, failure.text, sizeof(token->text));
                pthread_cond_broadcast(&token->changed);
        }
        pthread_mutex_unlock(&token->lock);
}

void token_note_refusal(Token *token, Secret *pin)
{
        pins_drop(&token->pins);
        pthread_mutex_lock(&token->lock);
        secret_free(token->refused);
        token->refused = pin;
        token->wanted |= WANT_LOCK;
        token->state = SOURCE_LOCKED;
        snprintf(token->text, sizeof(token->text), "the token refuses the PIN");
        pthread_cond_broadcast(&token->changed);
        pthread_mutex_unlock(&token->lock);
}

static bool too_many_faults(Token *token)
{
        bool many;

        pthread_mutex_lock(&token->lock);
        many = ++token->n_faults >= FAULTS_MAX;
        pthread_mutex_unlock(&token->lock);
        return many;
}

void token_note_success(Token *token)
{
        pthread_mutex_lock(&token->lock);
        token->n_faults = 0;
        pthread_mutex_unlock(&token->lock);
}

void token_note_fault(Token *token, unsigned long rv)
{
        CK_TOKEN_INFO info = { 0 };
        RvClass class = rv_class(rv);
        CK_RV look_rv;

        if (class == RV_CLASS_TOKEN || class == RV_CLASS_MODULE) {
                bring_down(token, NULL, rv);
                return;
        }
        if (class != RV_CLASS_FAULT && class != RV_CLASS_SESSION)
                return;
        look_rv = token->slot.f->C_GetTokenInfo(token->slot.id, &info);
        if (look_rv != CKR_OK)
                bring_down(token, "C_GetTokenInfo", look_rv);
        else if (class == RV_CLASS_FAULT && too_many_faults(token))
                bring_down(token, NULL, rv);
}

/* Setting up */

static int take_sessions(Token *token, const char *text, Failure *failure)
{
        unsigned long n = SESSIONS_DEFAULT;

        if (text)
                n = strtoul(text, NULL, 10);
        if (n < 1 || n > SESSIONS_MAX)
                return fail(failure, CB_INVALID_ARGUMENT, "source '%s': sessions is 1 to %d",
                            token->name, SESSIONS_MAX);
        token->n_sessions_max = (unsigned)n;
        return 0;
}

int token_init(Token *token, char *const *settings, const DriverHost *host, Failure *failure)
{
        const char *uri = driver_setting(settings, "uri");
        const char *name = string_or_empty(driver_setting(settings, "name"));
        pthread_condattr_t attributes;
        int r;

        pthread_mutex_init(&token->lock, NULL);
        pthread_mutex_init(&token->call_lock, NULL);
        pthread_mutex_init(&token->login_lock, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&token->changed, &attributes);
        map_init(&token->keys);
        token->host = *host;
        token->backoff = (Backoff){ BACKOFF_FIRST_USEC, BACKOFF_MAX_USEC, 0 };
        token->state = SOURCE_STARTING;

        r = string_set(&token->name, name);
        if (r == 0)
                r = string_set(&token->module_path, driver_setting(settings, "module"));
        if (r == 0)
                r = take_sessions(token, driver_setting(settings, "sessions"), failure);
        if (r == 0)
                r = pins_init(&token->pins, name, driver_setting(settings, "pin-file"),
                              driver_setting(settings, "state-directory"));
        if (r == 0)
                r = uri_parse(uri ? uri : "pkcs11:", &token->uri, failure);
        if (r != 0)
                return r;
        if (uri_selects_object(token->uri))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "source '%s': its uri selects a token, so it has no object, id or type",
                            name);
        return 0;
}

int token_start(Token *token)
{
        pthread_t thread;
        int r;

        token->host.changed(token->host.userdata, SOURCE_STARTING, NULL);
        r = pthread_create(&thread, NULL, keeper_main, token);
        if (r != 0)
                return -r;
        pthread_detach(thread);
        return 0;
}
