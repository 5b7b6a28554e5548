/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an authority or an identity endpoint answers to who asks for a token. Invariant: a token that is
 * handed out is of the kind Bearer, of a length that makes sense, of characters that can be put into a
 * header, and, where it can be read (it need not be a JWT), for the resource and tenant asked for.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/strings.h"
#include "source/azure-key-vault/answer.h"
#include "source/azure-key-vault/json.h"

#define LIFE_SEC_MAX (7 * 86400)

void token_answer_deinit(TokenAnswer *answer)
{
        answer->token = secret_free(answer->token);
}

/* RFC 6750, 2.1: b64token. */
static bool is_token(const char *text, size_t n)
{
        static const char allowed[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";

        return n > 0 && n <= TOKEN_MAX && strspn(text, allowed) == n;
}

/* The second part of a JWT, decoded into memory that is locked; NULL: it is none. */
static Secret *read_claims(const char *token)
{
        CLEANUP(secret_freep) Secret *claims = NULL;
        const char *from = strchr(token, '.'), *to = from ? strchr(from + 1, '.') : NULL;
        size_t n;

        if (!to || strchr(to + 1, '.'))
                return NULL;
        n = (size_t)(to - from - 1);
        if (secret_new(n, &claims) < 0 ||
            base64_decode(from + 1, n, true, secret_data(claims), &n) < 0)
                return NULL;
        secret_set_length(claims, n);
        return TAKE(claims);
}

static size_t without_slash(const char *url)
{
        size_t n = strlen(url);

        return n - (n > 0 && url[n - 1] == '/');
}

/* A resource may be named by a number as well: that one cannot be compared. */
static bool is_for(const char *audience, const char *resource)
{
        size_t n = without_slash(audience);

        return !strstr(audience, "://") ||
               (n == without_slash(resource) && strncasecmp(audience, resource, n) == 0);
}

static int check_claims(const char *token, const char *resource, const char *tenant,
                        Failure *failure)
{
        CLEANUP(secret_freep) Secret *claims = read_claims(token);
        CLEANUP(json_freep) json_t *root = NULL;
        Failure ignored = { 0 };
        JsonView view = { NULL, "the token", &ignored };
        const char *audience = NULL, *tid = NULL;

        if (!claims || json_read_object(secret_data(claims), secret_length(claims), view.what,
                                        &root, &ignored) != 0)
                return 0;
        view.root = root;
        if (json_view_string(&view, "aud", &audience) == 0 && audience &&
            !is_for(audience, resource))
                return fail(failure, CB_SOURCE_DENIED,
                            "a token for another resource than %s was given; it is not used",
                            resource);
        if (tenant && strlen(tenant) == 36 && json_view_string(&view, "tid", &tid) == 0 && tid &&
            strcasecmp(tid, tenant) != 0)
                return fail(failure, CB_SOURCE_DENIED,
                            "a token of another tenant than %s was given; it is not used", tenant);
        return 0;
}

/*
 * RFC 6749, 5.1, has a whole number. Some have it as a string, empty, or with a fraction that is none; what
 * fraction there is is left out.
 */
static int take_seconds(const JsonView *view, const char *name, uint64_t *ret_sec)
{
        const json_t *value = json_view_find(view, name);
        const char *text = json_string_value(value);
        double number = json_is_real(value) ? json_real_value(value) : -1;
        size_t n = text ? strspn(text, "0123456789") : 0;

        if (text && !*text)
                return 0;
        if (number >= 0) {
                *ret_sec = number < 1e15 ? (uint64_t)number : UINT64_C(1000000000000000);
                return 0;
        }
        if (n == 0 || n > 12 || text[n] != '.' || text[n + 1 + strspn(text + n + 1, "0123456789")])
                return json_view_number(view, name, ret_sec);
        *ret_sec = strtoull(text, NULL, 10);
        return 0;
}

/* expires_in. App Service has expires_on alone, for which our clock must do. */
static int take_life(const JsonView *view, TokenAnswer *answer)
{
        uint64_t expires_sec = 0, now_sec = clock_realtime_sec();
        int r;

        r = take_seconds(view, "expires_in", &answer->life_sec);
        if (r == 0)
                r = take_seconds(view, "refresh_in", &answer->refresh_sec);
        if (r == 0 && answer->life_sec == 0) {
                r = take_seconds(view, "expires_on", &expires_sec);
                if (r == 0 && expires_sec > now_sec)
                        answer->life_sec = expires_sec - now_sec;
        }
        if (r == 0 && answer->life_sec == 0)
                r = fail(view->failure, CB_FAILED, "%s has no 'expires_in'", view->what);
        answer->life_sec = MIN(answer->life_sec, (uint64_t)LIFE_SEC_MAX);
        return r;
}

static int take_token(const JsonView *view, const char *token, TokenAnswer *answer)
{
        size_t n = strlen(token);
        int r;

        if (!is_token(token, n))
                return fail(view->failure, CB_FAILED,
                            "%s: 'access_token' is no token, or longer than %d bytes", view->what,
                            TOKEN_MAX);
        r = secret_new(n, &answer->token);
        if (r < 0)
                return r;
        memcpy(secret_data(answer->token), token, n);
        secret_set_length(answer->token, n);
        return 0;
}

int token_answer_parse(const void *body, size_t n, const char *resource, const char *tenant,
                       TokenAnswer *ret_answer, Failure *failure)
{
        CLEANUP(token_answer_deinit) TokenAnswer answer = { 0 };
        CLEANUP(json_freep) json_t *root = NULL;
        JsonView view = { NULL, "the answer with a token", failure };
        const char *kind = "Bearer", *token = NULL;
        int r;

        r = json_read_object(body, n, view.what, &root, failure);
        if (r != 0)
                return r;
        view.root = root;
        r = json_view_string(&view, "token_type", &kind);
        if (r == 0 && strcasecmp(kind, "Bearer") != 0)
                r = fail(failure, CB_FAILED, "%s: 'token_type' is not Bearer", view.what);
        if (r == 0)
                r = json_view_needed_string(&view, "access_token", &token);
        if (r == 0)
                r = take_life(&view, &answer);
        if (r == 0)
                r = take_token(&view, token, &answer);
        if (r == 0)
                r = check_claims(token, resource, tenant, failure);
        if (r != 0)
                return r;
        *ret_answer = answer;
        answer.token = NULL;
        return 0;
}
