/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backends. A change is checked whole before anything of it is done. A backend is only ever bound to a
 * certificate that is there: binding has the certificate's turn too, so that it cannot be deleted meanwhile
 * (always the backend's turn first, then the certificate's: no two can wait for each other).
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/strings.h"
#include "broker/manage/room.h"
#include "core/thumbprint.h"
#include "pki/context.h"
#include "pki/url.h"

typedef struct BackendJob {
        Manage *manage;
        Ticket ticket;
        Ticket certificate_ticket;
        char *name;
        Backend *settings; /* what was given; `set` says which */
        unsigned set;
        bool create, remove;
        bool end_exception; /* unless that has been done, or the exception renewed, meanwhile */
        void *caller;       /* NULL: the clock */
        manage_done done;
        void *userdata;
} BackendJob;

static BackendJob *backend_job_free(BackendJob *job)
{
        if (!job)
                return NULL;

        free(job->name);
        backend_free(job->settings);
        free(job);
        return NULL;
}
DEFINE_CLEANUP(BackendJob, backend_job_free)

static void finish(void *userdata, const Failure *failure)
{
        BackendJob *job = userdata;

        job->done(job->userdata, failure);
        ticket_return(&job->certificate_ticket);
        ticket_return(&job->ticket);
        backend_job_free(job);
}

/* --- checks --- */

static int check_url(const char *name, const char *url, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        const char *why = pki_url_refuse(url);
        int r = 0;

        if (why)
                r = fail(failure, CB_INVALID_ARGUMENT,
                         "the URL of backend '%s' %s; give one like https://orders.example:8443/",
                         name, why);
        return pki_memory_outcome(n_before, r, failure);
}

static bool server_name_is_valid(const char *text)
{
        size_t n = strlen(text);

        if (n == 0 || n > 253)
                return false;
        for (size_t i = 0; i < n; i++) {
                if (!isalnum((unsigned char)text[i]) && !strchr(".-_*:", text[i]))
                        return false;
        }
        return true;
}

static int check_server_names(const char *name, char *const *server_names, Failure *failure)
{
        if (strv_length(server_names) > BACKEND_LIST_MAX)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "backend '%s' may have at most %d server names", name,
                            BACKEND_LIST_MAX);

        for (char *const *item = server_names; item && *item; item++) {
                if (!server_name_is_valid(*item))
                        return fail(failure, CB_INVALID_ARGUMENT,
                                    "backend '%s': a server name is a DNS name or an IP address",
                                    name);
        }
        return 0;
}

static int refuse_thumbprint(const char *name, const char *text, const Failure *why,
                             Failure *failure)
{
        CLEANUP(freep) char *shown = text_escape(text, strlen(text), 128);

        return fail(failure, CB_INVALID_ARGUMENT,
                    "backend '%s': a server thumbprint is the SHA-256 of the backend's certificate, "
                    "64 hex digits; '%s' %s",
                    name, string_or_empty(shown), why->text);
}

/* To the one form in which they are kept: upper-case hex without colons. */
static int normalise_thumbprints(const char *name, char *const *given, char ***ret_list,
                                 Failure *failure)
{
        CLEANUP(strv_freep) char **list = NULL;
        uint8_t digest[DIGEST_LENGTH_MAX];
        char text[THUMBPRINT_TEXT];
        Failure why;
        size_t n;

        if (strv_length(given) > BACKEND_LIST_MAX)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "backend '%s' may have at most %d server thumbprints", name,
                            BACKEND_LIST_MAX);

        for (char *const *item = given; item && *item; item++) {
                fail(&why, CB_INVALID_ARGUMENT, "has 40 hex digits: it is a SHA-1");
                if (!thumbprint_parse(*item, digest, &n, &why) || n != SHA256_LENGTH)
                        return refuse_thumbprint(name, *item, &why, failure);
                hex_encode_upper(digest, n, text);
                if (strv_append(&list, text) < 0)
                        return -ENOMEM;
        }

        *ret_list = TAKE(list);
        return 0;
}

/* Whoever reads it may write it into a configuration, or show it: it is one line and no more. */
static int check_text(const char *name, const char *what, const char *text, Failure *failure)
{
        size_t n = strlen(text);

        if (n <= BACKEND_TEXT_MAX && text_is_printable(text, n))
                return 0;
        return fail(failure, CB_INVALID_ARGUMENT,
                    "%s of backend '%s' is longer than %d bytes, not UTF-8, or has control "
                    "or invisible characters: it is one line of text",
                    what, name, BACKEND_TEXT_MAX);
}

static int check_ca_file(const char *name, const char *path, Failure *failure)
{
        int r = check_text(name, "the CA file", path, failure);

        if (r != 0 || path[0] == '\0' || path[0] == '/')
                return r;
        return fail(
                failure, CB_INVALID_ARGUMENT,
                "the CA file of backend '%s' must be an absolute path, or empty for the system's",
                name);
}

static int check_settings(const char *name, const BackendSettings *settings, Failure *failure)
{
        int r = 0;

        if (settings->set & BACKEND_URL)
                r = check_url(name, settings->url, failure);
        if (r == 0 && (settings->set & BACKEND_SERVER_NAMES))
                r = check_server_names(name, settings->server_names, failure);
        if (r == 0 && (settings->set & BACKEND_CA_FILE))
                r = check_ca_file(name, settings->ca_file, failure);
        if (r == 0 && (settings->set & BACKEND_SKIP_REASON))
                r = check_text(name, "SkipReason", settings->skip_reason, failure);
        return r;
}

/* --- settings → backend --- */

static int keep_settings(BackendJob *job, const BackendSettings *settings, Failure *failure)
{
        Backend *kept;
        int r;

        r = backend_new(job->name, &job->settings);
        if (r < 0)
                return r;

        kept = job->settings;
        job->set = settings->set;
        if (settings->set & BACKEND_URL)
                r = string_set(&kept->url, settings->url);
        if (kept->url)
                pki_url_normalise(kept->url);
        if (r == 0 && (settings->set & BACKEND_CERTIFICATE))
                r = string_set(&kept->certificate, settings->certificate);
        if (r == 0 && (settings->set & BACKEND_CA_FILE))
                r = string_set(&kept->ca_file, settings->ca_file);
        if (r == 0 && (settings->set & BACKEND_SKIP_REASON))
                r = string_set(&kept->skip_reason, settings->skip_reason);
        if (r == 0 && (settings->set & BACKEND_SERVER_NAMES))
                r = strv_copy(settings->server_names, &kept->server_names);
        if (r == 0 && (settings->set & BACKEND_SERVER_THUMBPRINTS))
                r = normalise_thumbprints(job->name, settings->server_thumbprints,
                                          &kept->server_thumbprints, failure);
        kept->validate_chain = settings->validate_chain;
        kept->validate_name = settings->validate_name;
        kept->skip_until_sec = settings->skip_until_sec;
        return r;
}

static void swap_text(char **a, char **b)
{
        char *kept = *a;

        *a = *b;
        *b = kept;
}

static void swap_list(char ***a, char ***b)
{
        char **kept = *a;

        *a = *b;
        *b = kept;
}

/* What was given moves into `next`. */
static void merge(BackendJob *job, Backend *next)
{
        Backend *given = job->settings;

        if (job->set & BACKEND_URL)
                swap_text(&next->url, &given->url);
        if (job->set & BACKEND_CERTIFICATE)
                swap_text(&next->certificate, &given->certificate);
        if (job->set & BACKEND_CA_FILE)
                swap_text(&next->ca_file, &given->ca_file);
        if (job->set & BACKEND_SKIP_REASON)
                swap_text(&next->skip_reason, &given->skip_reason);
        if (job->set & BACKEND_SERVER_NAMES)
                swap_list(&next->server_names, &given->server_names);
        if (job->set & BACKEND_SERVER_THUMBPRINTS)
                swap_list(&next->server_thumbprints, &given->server_thumbprints);
        if (job->set & BACKEND_VALIDATE_CHAIN)
                next->validate_chain = given->validate_chain;
        if (job->set & BACKEND_VALIDATE_NAME)
                next->validate_name = given->validate_name;
        if (job->set & BACKEND_SKIP_UNTIL)
                next->skip_until_sec = given->skip_until_sec;
}

/* --- the steps --- */

static int make_next(BackendJob *job, Backend **ret_next, Failure *failure)
{
        const Backend *present = catalog_find_backend(job->manage->catalog, job->name);

        if (job->create && present)
                return fail(failure, CB_ALREADY_EXISTS,
                            "backend '%s' exists; change it, or choose another name", job->name);
        if (!job->create && !present)
                return object_not_found(failure, OBJECT_BACKEND, job->name);

        return present ? backend_copy(present, ret_next) : backend_new(job->name, ret_next);
}

static int apply_settings(BackendJob *job, Backend **ret_next, Failure *failure)
{
        CLEANUP(backend_freep) Backend *next = NULL;
        int r;

        r = make_next(job, &next, failure);
        if (r != 0)
                return r;
        if (job->end_exception && !backend_exception_is_due(next, clock_realtime_sec()))
                return fail(failure, CB_NOT_FOUND, "backend '%s' has no exception to end",
                            job->name);

        merge(job, next);
        if (!next->url || !next->url[0] || !next->certificate || !next->certificate[0])
                return fail(failure, CB_INVALID_ARGUMENT,
                            "backend '%s' needs both Url and Certificate", job->name);
        if (!catalog_find_certificate(job->manage->catalog, next->certificate))
                return object_not_found(failure, OBJECT_CERTIFICATE, next->certificate);

        *ret_next = TAKE(next);
        return 0;
}

static void on_both_turns(void *userdata)
{
        BackendJob *job = userdata;
        Backend *next = NULL;
        Failure failure = { 0 };
        int r = manage_may_go_on(job->manage, job->caller, &failure);

        if (r == 0)
                r = apply_settings(job, &next, &failure);

        if (r == 0) {
                change_backend(job->manage, next, finish, job);
                return;
        }
        if (failure.status == 0)
                fail(&failure, r, "no memory to change backend '%s'", job->name);
        finish(job, &failure);
}

static void fail_memory(BackendJob *job)
{
        Failure failure = { 0 };

        fail(&failure, -ENOMEM, "no memory to change backend '%s'", job->name);
        finish(job, &failure);
}

static void on_turn(void *userdata)
{
        BackendJob *job = userdata;
        Failure failure = { 0 };

        if (manage_may_go_on(job->manage, job->caller, &failure) != 0) {
                finish(job, &failure);
        } else if (job->remove && !catalog_find_backend(job->manage->catalog, job->name)) {
                object_not_found(&failure, OBJECT_BACKEND, job->name);
                finish(job, &failure);
        } else if (job->remove) {
                change_remove_backend(job->manage, job->name, finish, job);
        } else if (!(job->set & BACKEND_CERTIFICATE)) {
                on_both_turns(job);
        } else if (ticket_take(&job->manage->tickets, job->settings->certificate,
                               &job->certificate_ticket, on_both_turns, job) < 0) {
                fail_memory(job);
        }
}

static int backend_job_new(Manage *manage, const char *name, manage_done done, void *userdata,
                           BackendJob **ret_job)
{
        CLEANUP(backend_job_freep) BackendJob *job = calloc(1, sizeof(*job));

        if (!job)
                return -ENOMEM;

        *job = (BackendJob){
                .manage = manage, .caller = userdata, .done = done, .userdata = userdata
        };
        if (string_set(&job->name, name) < 0)
                return -ENOMEM;

        *ret_job = TAKE(job);
        return 0;
}

/* Tickets for backends and for certificates are of one map: '/' is in no id. */
static void job_start_backend(BackendJob *job)
{
        char key[IDENTIFIER_LENGTH_MAX + sizeof("backend/")] = "backend/";

        strncat(key, job->name, IDENTIFIER_LENGTH_MAX);
        if (ticket_take(&job->manage->tickets, key, &job->ticket, on_turn, job) < 0)
                fail_memory(job);
}

typedef enum SettingsChange {
        SETTINGS_CREATE,
        SETTINGS_CHANGE,
        SETTINGS_END_EXCEPTION, /* nobody asked for it */
} SettingsChange;

static void change_settings(Manage *manage, const char *name, const BackendSettings *settings,
                            SettingsChange change, manage_done done, void *userdata)
{
        CLEANUP(backend_job_freep) BackendJob *job = NULL;
        Failure failure = { 0 };
        int r = 0;

        if (!identifier_is_valid(name))
                r = manage_refuse_name(&failure, OBJECT_BACKEND, name);
        if (r == 0)
                r = check_settings(name, settings, &failure);
        if (r == 0)
                r = backend_job_new(manage, name, done, userdata, &job);
        if (r == 0)
                r = keep_settings(job, settings, &failure);
        if (r == 0) {
                job->create = change == SETTINGS_CREATE;
                job->end_exception = change == SETTINGS_END_EXCEPTION;
                if (job->end_exception)
                        job->caller = NULL;
                job_start_backend(TAKE(job));
                return;
        }

        if (failure.status == 0)
                fail(&failure, r, "no memory to change a backend");
        done(userdata, &failure);
}

void manage_create_backend(Manage *manage, const char *name, const BackendSettings *settings,
                           manage_done done, void *userdata)
{
        change_settings(manage, name, settings, SETTINGS_CREATE, done, userdata);
}

void manage_change_backend(Manage *manage, const char *name, const BackendSettings *settings,
                           manage_done done, void *userdata)
{
        change_settings(manage, name, settings, SETTINGS_CHANGE, done, userdata);
}

void manage_delete_backend(Manage *manage, const char *name, manage_done done, void *userdata)
{
        BackendJob *job;
        Failure failure = { 0 };
        int r = backend_job_new(manage, name, done, userdata, &job);

        if (r < 0) {
                fail(&failure, r, "no memory to delete a backend");
                done(userdata, &failure);
                return;
        }
        job->remove = true;
        job_start_backend(job);
}

/* --- exceptions end by themselves --- */

typedef struct Ending {
        Manage *manage;
        char *name;
} Ending;

static void on_ended(void *userdata, const Failure *failure)
{
        Ending *ending = userdata;
        const ManageEvents *events = &ending->manage->events;

        if (failure->status == 0 && events->exception_ended)
                events->exception_ended(ending->manage->events_userdata, ending->name);
        free(ending->name);
        free(ending);
}

/* It is in force again already, by the clock; this makes what is shown and stored say so too. */
static void end_exception(Manage *manage, const char *name)
{
        static const BackendSettings validated = {
                .set = BACKEND_VALIDATE_CHAIN | BACKEND_VALIDATE_NAME | BACKEND_SKIP_REASON |
                       BACKEND_SKIP_UNTIL,
                .validate_chain = true,
                .validate_name = true,
                .skip_reason = "",
        };
        Ending *ending = calloc(1, sizeof(*ending));

        if (!ending || string_set(&ending->name, name) < 0) {
                free(ending);
                return;
        }
        ending->manage = manage;
        change_settings(manage, name, &validated, SETTINGS_END_EXCEPTION, on_ended, ending);
}

void backend_end_exceptions(Manage *manage, uint64_t now_sec)
{
        CLEANUP(strv_freep) char **over = NULL;

        MAP_FOREACH (catalog_backends(manage->catalog), entry) {
                const Backend *backend = entry->value;

                if (backend_exception_is_due(backend, now_sec) &&
                    strv_append(&over, backend->name) < 0)
                        break;
        }
        for (char **name = over; name && *name; name++)
                end_exception(manage, *name);
}
