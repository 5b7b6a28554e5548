/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP over libcurl: there are two ways out, one for what a signature waits for, one for what manages; for each one
 * thread owns the multi handle, and with it the connections; who asks waits on a condition of its own, so
 * hundreds wait at the price of hundreds of stacks and few connections.
 *
 * Invariants: no signature waits for a connection, or behind an answer, of management; https with the peer verified, but for what a request marks `plain`; a bearer token is never
 * put on anything else; nothing is redirected; no proxy, cookie, netrc or key log comes from the
 * environment; no answer is larger than its limit, whatever its headers say; every request ends by its
 * deadline. Memory that curl and its parts give back is wiped: headers and bodies pass through it.
 */
#include "source/azure-key-vault/http.h"

#include <build-config.h>
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/strings.h"
#include "source/azure-key-vault/ca-file.h"
#include "source/azure-key-vault/http-answer.h"

#define HEADER_BYTES_MAX   (64 * 1024)
#define CONNECT_USEC       (3 * USEC_PER_SEC)
#define CONNECTIONS_MAX    128 /* of each way */
#define CA_CACHE_SEC       300L /* of the system's, which are many */
#define LOW_SPEED_BYTES    32L
#define LOW_SPEED_SEC      8L
#define ANSWER_MARGIN_USEC (100 * USEC_PER_MSEC) /* to say so before the deadline */
#define POLL_MSEC          1000

typedef struct Transfer Transfer;
struct Transfer {
        Transfer *next; /* in the queue */
        CURL *easy;
        struct curl_slist *headers;
        CaFile *ca_file;
        CaText *ca; /* NULL: the system's authorities */
        HttpAnswer *answer;
        size_t n_max, n_room, n_header_bytes;
        bool too_large, no_lock;
        char error[CURL_ERROR_SIZE];

        CURLcode result;
        bool done; /* under the lock */
        pthread_cond_t ended;
};

typedef struct Way {
        CURLM *multi; /* the thread's alone, but for curl_multi_wakeup() */
        pthread_mutex_t lock;
        Transfer *queue;
} Way;

struct Http {
        CaFile ca_file;
        char *proxy;
        Way to_sign, to_manage;
};

/* --- what comes in --- */

static bool append_body(Transfer *transfer, const void *data, size_t n)
{
        Bytes *body = &transfer->answer->body;

        if (body->n + n + 1 > transfer->n_room) {
                size_t n_room = MAX(2 * transfer->n_room, body->n + n + 1);
                uint8_t *moved = http_wiping_realloc(body->data, n_room);

                if (!moved)
                        return false;
                body->data = moved;
                transfer->n_room = n_room;
        }
        memcpy(body->data + body->n, data, n);
        body->n += n;
        body->data[body->n] = '\0';
        return true;
}

static bool append_secret(Transfer *transfer, const void *data, size_t n)
{
        HttpAnswer *answer = transfer->answer;
        size_t n_old;

        if (!answer->secret_body && secret_new(HTTP_SECRET_ANSWER_MAX, &answer->secret_body) < 0) {
                transfer->no_lock = true;
                return false;
        }
        n_old = secret_length(answer->secret_body);
        memcpy(secret_data(answer->secret_body) + n_old, data, n);
        secret_set_length(answer->secret_body, n_old + n);
        return true;
}

static size_t on_body(char *data, size_t size, size_t n_items, void *userdata)
{
        Transfer *transfer = userdata;
        HttpAnswer *answer = transfer->answer;
        size_t n = size * n_items, n_old;

        n_old = answer->secret_body ? secret_length(answer->secret_body) : answer->body.n;
        if (n > transfer->n_max - n_old) {
                transfer->too_large = true;
                return 0;
        }
        if (transfer->n_max == HTTP_SECRET_ANSWER_MAX ? !append_secret(transfer, data, n)
                                                      : !append_body(transfer, data, n))
                return 0;
        return n;
}

static size_t on_header(char *data, size_t size, size_t n_items, void *userdata)
{
        Transfer *transfer = userdata;
        size_t n = size * n_items, n_line = n;
        CLEANUP(freep) char *line = NULL;
        char *value;

        transfer->n_header_bytes += n;
        if (transfer->n_header_bytes > HEADER_BYTES_MAX) {
                transfer->too_large = true;
                return 0;
        }
        while (n_line > 0 && strchr("\r\n \t", data[n_line - 1]))
                n_line--;
        line = strndup(data, n_line);
        if (!line)
                return 0;
        value = strchr(line, ':');
        if (!value)
                return n;
        *value++ = '\0';
        http_note_header(transfer->answer, line, value + strspn(value, " \t"));
        return n;
}

/* --- what goes out --- */

static bool add_header(Transfer *transfer, const char *text)
{
        struct curl_slist *list = curl_slist_append(transfer->headers, text);

        if (list)
                transfer->headers = list;
        return list;
}

/* A header that holds a secret is put together in locked memory; curl's copy of it is wiped with the list. */
static int add_secret_header(Transfer *transfer, const char *name, Secret *value)
{
        CLEANUP(secret_freep) Secret *line = NULL;
        size_t n_name = strlen(name), n = secret_length(value);
        int r;

        r = secret_new(n_name + n, &line);
        if (r < 0)
                return r;
        memcpy(secret_data(line), name, n_name);
        memcpy(secret_data(line) + n_name, secret_data(value), n);
        secret_set_length(line, n_name + n);
        return add_header(transfer, (const char *)secret_data(line)) ? 0 : -ENOMEM;
}

/* RFC 9562, 5.4. Its log tells a vault's operator by it which request was ours. */
static int make_id(char ret_id[37])
{
        uint8_t b[16];

        if (getrandom(b, sizeof(b), 0) != sizeof(b))
                return -EIO;
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        snprintf(ret_id, 37,
                 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                 b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                 b[14], b[15]);
        return 0;
}

/* Entra's token endpoint, which takes a form, has another name for it. */
static int add_id(Transfer *transfer, const HttpRequest *request)
{
        char header[80];
        int r = make_id(transfer->answer->client_id);

        if (r < 0)
                return r;
        snprintf(header, sizeof(header), "%s: %s",
                 request->form ? "client-request-id" : "x-ms-client-request-id",
                 transfer->answer->client_id);
        return add_header(transfer, header) ? 0 : -ENOMEM;
}

static int add_headers(Transfer *transfer, const HttpRequest *request)
{
        int r = add_id(transfer, request);

        if (r < 0)
                return r;
        for (size_t i = 0; request->headers && request->headers[i]; i++)
                if (!add_header(transfer, request->headers[i]))
                        return -ENOMEM;
        if (request->body &&
            !add_header(transfer, request->form ? "Content-Type: application/x-www-form-urlencoded"
                                                : "Content-Type: application/json"))
                return -ENOMEM;
        if (!add_header(transfer, "Expect:") || !add_header(transfer, "Accept: application/json"))
                return -ENOMEM;
        if (request->bearer)
                r = add_secret_header(transfer, "Authorization: Bearer ", request->bearer);
        if (r == 0 && request->secret_header)
                r = add_secret_header(transfer, request->secret_header, request->secret);
        return r;
}

static void set_security(const Http *http, CURL *easy, const HttpRequest *request)
{
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, request->plain ? "http,https" : "https");
        curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
        curl_easy_setopt(easy, CURLOPT_MAXREDIRS, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
        curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_SEC);
        /* "" is none, where NULL would be what the environment says. */
        curl_easy_setopt(easy, CURLOPT_PROXY, !request->plain && http->proxy ? http->proxy : "");
        curl_easy_setopt(easy, CURLOPT_NOPROXY, request->plain ? "*" : "");
        curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_NONE);
        curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
}

/* curl keeps to a connection what it was made with: one from before a change is not used again. */
static void set_authorities(CURL *easy, CaText *ca)
{
        struct curl_blob blob;

        if (!ca)
                return;
        blob = (struct curl_blob){ ca->data, ca->n, CURL_BLOB_NOCOPY };
        curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
        curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, NULL);
        curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL);
        curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO_BLOB, &blob);
}

static void set_method(CURL *easy, const HttpRequest *request)
{
        if (strcmp(request->method, "GET") == 0) {
                curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
                return;
        }
        if (request->body || strcmp(request->method, "POST") == 0) {
                curl_easy_setopt(easy, CURLOPT_POST, 1L);
                curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body ? request->body : "");
                curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->n_body);
        }
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static void set_times(CURL *easy, const HttpRequest *request, uint64_t left_usec)
{
        uint64_t connect_usec = request->connect_usec ? request->connect_usec : CONNECT_USEC;

        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        /*
         * Else a transfer whose time is over waits for its name
         * server, and the thread, with all others, with it.
         */
        curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(left_usec / USEC_PER_MSEC) + 1);
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                         (long)(MIN(connect_usec, left_usec) / USEC_PER_MSEC) + 1);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED_BYTES);
        curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, LOW_SPEED_SEC);
        curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
        curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
        curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
}

static void transfer_freep(Transfer **place)
{
        Transfer *transfer = *place;

        if (!transfer)
                return;
        curl_easy_cleanup(transfer->easy);
        ca_file_give_back(transfer->ca_file, transfer->ca);
        curl_slist_free_all(transfer->headers);
        pthread_cond_destroy(&transfer->ended);
        free(transfer);
}

static int transfer_new(Http *http, const HttpRequest *request, uint64_t left_usec,
                        HttpAnswer *answer, Failure *failure, Transfer **ret_transfer)
{
        CLEANUP(transfer_freep) Transfer *transfer = calloc(1, sizeof(*transfer));
        int r;

        if (!transfer)
                return -ENOMEM;
        pthread_cond_init(&transfer->ended, NULL);
        transfer->ca_file = &http->ca_file;
        transfer->answer = answer;
        transfer->n_max = request->secret_answer ? HTTP_SECRET_ANSWER_MAX : HTTP_ANSWER_MAX;
        transfer->easy = curl_easy_init();
        if (!transfer->easy)
                return -ENOMEM;
        r = ca_file_take(&http->ca_file, &transfer->ca, failure);
        if (r == 0)
                r = add_headers(transfer, request);
        if (r != 0)
                return r;
        set_security(http, transfer->easy, request);
        set_authorities(transfer->easy, transfer->ca);
        set_method(transfer->easy, request);
        set_times(transfer->easy, request, left_usec);
        curl_easy_setopt(transfer->easy, CURLOPT_FRESH_CONNECT, (long)request->fresh);
        curl_easy_setopt(transfer->easy, CURLOPT_URL, request->url);
        curl_easy_setopt(transfer->easy, CURLOPT_USERAGENT, "certbroker/" PROJECT_VERSION);
        curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
        curl_easy_setopt(transfer->easy, CURLOPT_ERRORBUFFER, transfer->error);
        curl_easy_setopt(transfer->easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(transfer->easy, CURLOPT_WRITEDATA, transfer);
        curl_easy_setopt(transfer->easy, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(transfer->easy, CURLOPT_HEADERDATA, transfer);
        curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer);
        *ret_transfer = TAKE(transfer);
        return 0;
}

/* --- its end --- */

static void conclude(Transfer *transfer)
{
        HttpAnswer *answer = transfer->answer;
        const char *error =
                *transfer->error ? transfer->error : curl_easy_strerror(transfer->result);
        CLEANUP(freep) char *escaped = NULL;
        curl_off_t ready_usec = 0;

        answer->fault = transfer->too_large ? HTTP_TOO_LARGE
                        : transfer->no_lock ? HTTP_INTERNAL
                                            : http_fault_of(transfer->result, transfer->error);
        curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &answer->status);
        curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_usec);
        answer->connected = ready_usec > 0;
        if (answer->fault == HTTP_OK)
                return;
        if (answer->fault == HTTP_TOO_LARGE)
                error = "the answer is larger than any that makes sense";
        if (transfer->no_lock)
                error = "no memory could be locked for what is secret in it; raise LimitMEMLOCK";
        escaped = text_escape(error, strlen(error), sizeof(answer->fault_text) / 2);
        snprintf(answer->fault_text, sizeof(answer->fault_text), "%s", string_or_empty(escaped));
}

/* --- the threads --- */

static void start_queued(Way *way)
{
        Transfer *transfer;

        pthread_mutex_lock(&way->lock);
        transfer = TAKE(way->queue);
        pthread_mutex_unlock(&way->lock);
        while (transfer) {
                Transfer *next = transfer->next;

                curl_multi_add_handle(way->multi, transfer->easy);
                transfer = next;
        }
}

static void end_transfer(Way *way, CURLMsg *message)
{
        CURL *easy = message->easy_handle;
        Transfer *transfer = NULL;
        CURLcode result = message->data.result;

        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
        curl_multi_remove_handle(way->multi, easy); /* `message` is gone with it */
        pthread_mutex_lock(&way->lock);
        transfer->result = result;
        transfer->done = true;
        pthread_cond_signal(&transfer->ended);
        pthread_mutex_unlock(&way->lock);
}

static void *http_main(void *userdata)
{
        Way *way = userdata;

        for (;;) {
                CURLMsg *message;
                int n;

                start_queued(way);
                curl_multi_perform(way->multi, &n);
                while ((message = curl_multi_info_read(way->multi, &n)))
                        if (message->msg == CURLMSG_DONE)
                                end_transfer(way, message);
                curl_multi_poll(way->multi, NULL, 0, POLL_MSEC, NULL);
        }
        return NULL;
}

static void run(Way *way, Transfer *transfer)
{
        pthread_mutex_lock(&way->lock);
        transfer->next = way->queue;
        way->queue = transfer;
        curl_multi_wakeup(way->multi);
        while (!transfer->done)
                pthread_cond_wait(&transfer->ended, &way->lock);
        pthread_mutex_unlock(&way->lock);
}

int http_perform(Http *http, const HttpRequest *request, HttpAnswer *answer)
{
        CLEANUP(transfer_freep) Transfer *transfer = NULL;
        uint64_t now_usec = clock_monotonic_usec();
        Failure failure = { 0 };
        int r;

        *answer = (HttpAnswer){ .retry_after_usec = HTTP_NO_RETRY_AFTER };
        assert_always(!request->bearer || !request->plain);
        if (now_usec + ANSWER_MARGIN_USEC >= request->deadline_usec) {
                answer->fault = HTTP_TIMED_OUT;
                snprintf(answer->fault_text, sizeof(answer->fault_text), "no time was left");
                return 0;
        }
        r = transfer_new(http, request, request->deadline_usec - now_usec - ANSWER_MARGIN_USEC,
                         answer, &failure, &transfer);
        if (r < 0)
                return r;
        if (r > 0) {
                answer->fault = HTTP_INSECURE;
                snprintf(answer->fault_text, sizeof(answer->fault_text), "%.300s", failure.text);
                return 0;
        }
        run(request->manages ? &http->to_manage : &http->to_sign, transfer);
        conclude(transfer);
        return 0;
}

static int way_start(Way *way)
{
        pthread_t thread;
        int r;

        pthread_mutex_init(&way->lock, NULL);
        way->multi = curl_multi_init();
        if (!way->multi)
                return -ENOMEM;
        curl_multi_setopt(way->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
        curl_multi_setopt(way->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)CONNECTIONS_MAX);
        curl_multi_setopt(way->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_MAX);
        r = pthread_create(&thread, NULL, http_main, way);
        if (r != 0)
                return -r;
        pthread_detach(thread);
        return 0;
}

static int http_start(Http *http)
{
        int r;

        unsetenv("SSLKEYLOGFILE");
        if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, http_wiping_free, http_wiping_realloc, strdup,
                                 calloc) != CURLE_OK)
                return -ENOTSUP;
        r = way_start(&http->to_sign);
        return r == 0 ? way_start(&http->to_manage) : r;
}

int http_new(const char *ca_file, const char *proxy, Http **ret_http)
{
        Http *http = calloc(1, sizeof(*http)); /* for as long as the process lives */
        int r;

        if (!http)
                return -ENOMEM;
        r = ca_file_init(&http->ca_file, ca_file);
        if (r == 0)
                r = string_set(&http->proxy, proxy);
        if (r == 0)
                r = http_start(http);
        if (r == 0)
                *ret_http = http;
        return r;
}
