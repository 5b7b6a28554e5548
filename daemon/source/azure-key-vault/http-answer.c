/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an answer over HTTP says beside its body, and what it means that there is none. Pure but for the
 * clock that a date is compared with; everything is bounded, and what is kept of a header is printable.
 */
#include "source/azure-key-vault/http-answer.h"

#include <curl/curl.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/strings.h"

#define CHALLENGE_MAX   4096
#define REQUEST_ID_MAX  128
#define RETRY_AFTER_MAX (300 * USEC_PER_SEC)

/* --- memory that is wiped when it is given back --- */

void http_wiping_free(void *p)
{
        if (p)
                explicit_bzero(p, malloc_usable_size(p));
        free(p);
}

void *http_wiping_realloc(void *p, size_t n)
{
        size_t n_old = p ? malloc_usable_size(p) : 0;
        void *moved;

        if (p && n <= n_old)
                return p;
        moved = malloc(n);
        if (!moved)
                return NULL;
        if (p)
                memcpy(moved, p, n_old);
        http_wiping_free(p);
        return moved;
}

/* --- what it says --- */

void http_answer_deinit(HttpAnswer *answer)
{
        http_wiping_free(answer->body.data);
        secret_free(answer->secret_body);
        free(answer->challenge);
        free(answer->request_id);
        *answer = (HttpAnswer){ 0 };
}

const void *http_answer_body(const HttpAnswer *answer, size_t *ret_n)
{
        if (answer->secret_body) {
                *ret_n = secret_length(answer->secret_body);
                return secret_data(answer->secret_body);
        }
        *ret_n = answer->body.n;
        return answer->body.data ? (const void *)answer->body.data : "";
}

uint64_t http_parse_retry_after(const char *name, const char *value, uint64_t now_sec)
{
        bool msec = strcasecmp(name, "Retry-After") != 0;
        unsigned long long number;
        time_t date;
        char *end;

        errno = 0;
        number = strtoull(value, &end, 10);
        if (*value >= '0' && *value <= '9' && *end == '\0') {
                if (errno == ERANGE || number > RETRY_AFTER_MAX)
                        return RETRY_AFTER_MAX;
                return MIN(number * (msec ? USEC_PER_MSEC : USEC_PER_SEC), RETRY_AFTER_MAX);
        }
        date = msec ? -1 : curl_getdate(value, NULL);
        if (date < 0)
                return HTTP_NO_RETRY_AFTER;
        if ((uint64_t)date <= now_sec)
                return 0;
        return MIN(((uint64_t)date - now_sec) * USEC_PER_SEC, RETRY_AFTER_MAX);
}

static void note_challenge(HttpAnswer *answer, const char *value)
{
        size_t n_old = answer->challenge ? strlen(answer->challenge) : 0;
        char *joined = NULL;

        if (n_old + strlen(value) > CHALLENGE_MAX)
                return;
        if (asprintf(&joined, "%s%s%s", string_or_empty(answer->challenge), n_old ? "\n" : "",
                     value) < 0)
                return;
        free(answer->challenge);
        answer->challenge = joined;
}

void http_note_header(HttpAnswer *answer, const char *name, const char *value)
{
        static const char *const retry[] = { "Retry-After", "retry-after-ms",
                                             "x-ms-retry-after-ms" };

        if (strcasecmp(name, "WWW-Authenticate") == 0)
                note_challenge(answer, value);
        if (strcasecmp(name, "x-ms-request-id") == 0 && !answer->request_id)
                answer->request_id = text_escape(value, strlen(value), REQUEST_ID_MAX);
        for (size_t i = 0; i < ELEMENTSOF(retry); i++) {
                uint64_t usec;

                if (strcasecmp(name, retry[i]) != 0)
                        continue;
                usec = http_parse_retry_after(name, value, clock_realtime_sec());
                if (usec != HTTP_NO_RETRY_AFTER)
                        answer->retry_after_usec = usec;
        }
}

/* --- outcomes --- */

static bool says(const char *error, const char *word)
{
        return strcasestr(error, word) != NULL;
}

/* curl has one code for a handshake that was refused, and for one that was cut: its text tells. */
static HttpFault fault_of_handshake(const char *error)
{
        return says(error, "reset") || says(error, "SYSCALL") || says(error, "unexpected eof")
                       ? HTTP_UNREACHABLE
                       : HTTP_INSECURE;
}

HttpFault http_fault_of(int code, const char *error)
{
        switch (code) {
        case CURLE_OK:
                return HTTP_OK;
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_COULDNT_CONNECT:
        case CURLE_PROXY:
                return HTTP_UNREACHABLE;
        case CURLE_SSL_CONNECT_ERROR:
                return fault_of_handshake(error);
        case CURLE_SEND_ERROR:
        case CURLE_RECV_ERROR:
                return says(error, "alert") ? HTTP_INSECURE : HTTP_UNREACHABLE;
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CIPHER:
        case CURLE_SSL_CACERT_BADFILE:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_INVALIDCERTSTATUS:
        case CURLE_USE_SSL_FAILED:
                return HTTP_INSECURE;
        case CURLE_OPERATION_TIMEDOUT:
                return HTTP_TIMED_OUT;
        case CURLE_OUT_OF_MEMORY:
        case CURLE_FAILED_INIT:
        case CURLE_UNSUPPORTED_PROTOCOL:
        case CURLE_URL_MALFORMAT:
                return HTTP_INTERNAL;
        default:
                return HTTP_BROKEN;
        }
}
