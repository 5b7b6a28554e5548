/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests over HTTP. Any number of threads may each wait for one; a single thread of this room drives
 * all of them, so that connections are kept and shared and HTTP/2 carries many at once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/secret.h"

#define HTTP_ANSWER_MAX        (1024 * 1024)
#define HTTP_SECRET_ANSWER_MAX (160 * 1024) /* in locked memory, of which there is little */
#define HTTP_NO_RETRY_AFTER    UINT64_MAX

typedef struct Http Http;

/* How the way to the other end failed, where it did: the one translation of CURLcode. */
typedef enum HttpFault {
        HTTP_OK,
        HTTP_UNREACHABLE, /* not resolved, refused, no route, reset */
        HTTP_INSECURE,    /* TLS said no: nothing is tried again, and nothing was sent */
        HTTP_TIMED_OUT,
        HTTP_BROKEN,    /* an answer that was cut, or is no HTTP */
        HTTP_TOO_LARGE, /* more than its limit */
        HTTP_INTERNAL,
        _HTTP_FAULT_N
} HttpFault;

typedef struct HttpRequest {
        const char *method; /* "GET", "POST", "PATCH", "DELETE" */
        const char *url;
        const char *const *headers; /* public ones, ends with NULL; may be NULL */
        Secret *bearer;             /* goes out over https alone; NULL: none */
        const char *secret_header;  /* "Name: " before the value of `secret`; NULL: none */
        Secret *secret;
        const void *body; /* stays the caller's; NULL: none */
        size_t n_body;
        bool form;          /* application/x-www-form-urlencoded, else JSON */
        bool plain;         /* http is allowed too: an identity endpoint of this host; no proxy */
        bool secret_answer; /* the body is kept in locked memory */
        bool fresh;         /* over a connection of its own: what is tried is the way as well */
        bool manages;       /* over other connections than what a signature waits for */
        uint64_t connect_usec;
        uint64_t deadline_usec; /* monotonic */
} HttpRequest;

typedef struct HttpAnswer {
        HttpFault fault;
        char fault_text[320]; /* what curl says of it */
        bool connected; /* the request went out: what failed is not the way there */
        long status;
        Bytes body;                /* where secret_answer was not set; NUL-terminated beyond n */
        Secret *secret_body;       /* where it was */
        char *challenge;           /* all WWW-Authenticate headers, a line each; NULL: none */
        char *request_id;          /* x-ms-request-id, printable; NULL: none */
        char client_id[37];        /* x-ms-client-request-id, as it was sent: a UUID */
        uint64_t retry_after_usec; /* clamped; HTTP_NO_RETRY_AFTER: none that makes sense */
} HttpAnswer;

/* ca_file NULL: the system's. proxy NULL: none, whatever the environment says. */
int http_new(const char *ca_file, const char *proxy, Http **ret_http);
/* Waits until the answer is there or the deadline is over. 0 (see answer->fault), or -errno. */
int http_perform(Http *http, const HttpRequest *request, HttpAnswer *answer);
void http_answer_deinit(HttpAnswer *answer);

/* The body, whichever of the two it is in. */
const void *http_answer_body(const HttpAnswer *answer, size_t *ret_n);

/*
 * What Retry-After, retry-after-ms or x-ms-retry-after-ms say: seconds, milliseconds or a date. At most
 * 300 s; HTTP_NO_RETRY_AFTER for what makes no sense.
 */
uint64_t http_parse_retry_after(const char *name, const char *value, uint64_t now_sec);
