/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `backend watch`: keeps a gateway's files as the broker has the credential, and has the gateway read them.
 * The invariant: the files are always those of one credential, whole; and the command has succeeded since they
 * were last changed, or is tried again with growing pauses. An outage of the broker changes nothing.
 */
#include "watch.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "gateway.h"
#include "keyfile.h"
#include "newfile.h"
#include "run.h"
#include "show.h"
#include "text.h"

#define CONNECT_USEC   UINT64_C(2000000)
#define CALL_USEC      UINT64_C(10000000)
#define SLICE_USEC     UINT64_C(1000000) /* how long a signal may go unnoticed, at worst */
#define PAUSE_MIN_USEC UINT64_C(1000000)
#define PAUSE_MAX_USEC UINT64_C(60000000)

#define FILES_MAX      3 /* chain, key, conf */

static volatile sig_atomic_t stopping;

typedef struct Watching {
        Cli *cli;
        const char *backend, *command;
        const Gateway *gateway;
        char *chain, *key, *conf; /* absolute; conf may be NULL */
        char *texts[FILES_MAX]; /* of chain, key and conf, as they were written last */
        char *wanted[FILES_MAX];
        uint64_t generation;
        bool must_write, must_run, was_written;
        uint64_t try_at, pause_usec;
        char told[sizeof(((cb_error *)NULL)->text)]; /* of an outage, so that it is told once */
} Watching;

static void watching_deinit(Watching *w)
{
        for (size_t i = 0; i < FILES_MAX; i++) {
                free(w->texts[i]);
                free(w->wanted[i]);
        }
        free(w->chain);
        free(w->key);
        free(w->conf);
}

static void on_signal(int number)
{
        (void)number;
        stopping = 1;
}

static int catch_signals(void)
{
        static const int numbers[] = { SIGTERM, SIGINT };
        struct sigaction action = { .sa_handler = on_signal }; /* without SA_RESTART */

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                if (sigaction(numbers[i], &action, NULL) < 0)
                        return -errno;
        return 0;
}

static uint64_t now_usec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ------------------------------------------------------------------ telling */

/* A line for each thing that happened; with --json an object a line. */
static void tell(const Watching *w, const char *event, const char *format, ...) PRINTF(3, 4);
static void tell(const Watching *w, const char *event, const char *format, ...)
{
        CLEANUP(free_text) char *text = NULL;
        CLEANUP(free_text) char *escaped = NULL;
        CLEANUP(json_freep) json_t *json = NULL;
        va_list list;

        va_start(list, format);
        text = text_format(format, list);
        va_end(list);
        if (!text)
                return;
        if (!w->cli->arguments->json) {
                escaped = text_harmless(text);
                (void)printf("%s: %s\n", w->backend, escaped ? escaped : event);
        } else {
                json = json_pack("{s:s, s:s, s:I, s:s}", "backend", w->backend, "event", event,
                                 "generation", (json_int_t)w->generation, "text", text);
                if (json && json_dumpf(json, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) == 0)
                        (void)putchar('\n');
        }
        (void)fflush(stdout);
}

static void tell_outage(Watching *w, const char *text)
{
        if (strcmp(w->told, text) == 0)
                return;
        (void)snprintf(w->told, sizeof(w->told), "%s", text);
        if (*text)
                tell(w, "waiting", "%s%s", text,
                     w->was_written ? " The files stay as they are." : "");
}

/* ------------------------------------------------------------------ making the files' texts */

/* One file for both: the key first, as haproxy and nginx read either order. */
static int join_if_same(Watching *w)
{
        char *both;

        if (strcmp(w->chain, w->key) != 0)
                return 0;
        if (asprintf(&both, "%s%s", w->wanted[0], w->wanted[1]) < 0)
                return -ENOMEM;
        free(w->wanted[0]);
        free(w->wanted[1]);
        w->wanted[0] = both;
        w->wanted[1] = NULL;
        return 0;
}

static int make_conf(Watching *w, const cb_credential *credential)
{
        GatewayFiles files = { w->backend, w->chain, w->key };
        char why[GATEWAY_WHY_MAX] = "";
        int r;

        if (!w->gateway)
                return 0;
        r = gateway_write(w->gateway, &files, credential, &w->wanted[2], why);
        if (r > 0)
                return cli_fail(w->cli, r, "%s for %s is not written: %s", w->conf, w->backend,
                                why);
        return r ? cli_out_of_memory(w->cli) : 0;
}

static int make_texts(Watching *w, const cb_credential *credential)
{
        for (size_t i = 0; i < FILES_MAX; i++) {
                free(w->wanted[i]);
                w->wanted[i] = NULL;
        }
        if (keyfile_chain(credential, &w->wanted[0]) || keyfile_of(credential, &w->wanted[1]))
                return cli_fail(w->cli, CB_FAILED, "The certificate %s cannot be read.",
                                credential->id);
        if (join_if_same(w) < 0)
                return cli_out_of_memory(w->cli);
        return make_conf(w, credential);
}

/* ------------------------------------------------------------------ writing and running */

static bool is_written(const Watching *w)
{
        for (size_t i = 0; i < FILES_MAX; i++)
                if (strcmp(w->texts[i] ?: "", w->wanted[i] ?: "") != 0)
                        return false;
        return w->was_written;
}

static void try_later(Watching *w)
{
        w->try_at = now_usec() + w->pause_usec;
        w->pause_usec = w->pause_usec * 2 < PAUSE_MAX_USEC ? w->pause_usec * 2 : PAUSE_MAX_USEC;
}

/*
 * Each is written beside its place and made durable, and only then all are renamed into place, one
 * after the other: whoever reads one sees the old or the new one, whole. There is no secret in them.
 */
static int replace_files(const Watching *w, NewFile *files, const char **ret_failed)
{
        const char *paths[FILES_MAX] = { w->chain, w->key, w->conf };
        int r = 0;

        for (size_t i = 0; r == 0 && i < FILES_MAX; i++) {
                if (!w->wanted[i])
                        continue;
                *ret_failed = paths[i];
                r = newfile_begin(&files[i], paths[i]);
                if (r == 0)
                        r = newfile_write(&files[i], w->wanted[i], strlen(w->wanted[i]));
                if (r == 0)
                        r = newfile_finish(&files[i], 0644);
        }
        for (size_t i = 0; r == 0 && i < FILES_MAX; i++) {
                *ret_failed = paths[i];
                r = w->wanted[i] ? newfile_place(&files[i]) : 0;
        }
        return r;
}

static void write_files(Watching *w)
{
        NewFile files[FILES_MAX] = { { .fd = -1 }, { .fd = -1 }, { .fd = -1 } };
        const char *failed = "";
        int r;

        r = replace_files(w, files, &failed);
        for (size_t i = 0; i < FILES_MAX; i++)
                newfile_deinit(&files[i]);
        if (r) {
                tell(w, "failed", "%s cannot be written: %s; trying again in %" PRIu64 " s.",
                     failed, newfile_reason(r), w->pause_usec / 1000000);
                try_later(w);
                return;
        }
        for (size_t i = 0; i < FILES_MAX; i++) {
                free(w->texts[i]);
                w->texts[i] = w->wanted[i] ? strdup(w->wanted[i]) : NULL;
        }
        w->must_write = false;
        w->was_written = true;
        w->must_run = w->command != NULL;
        w->pause_usec = PAUSE_MIN_USEC;
        tell(w, "written", "generation %" PRIu64 " written to %s%s%s%s%s.", w->generation, w->chain,
             w->wanted[1] ? ", " : "", w->wanted[1] ? w->key : "", w->conf ? ", " : "",
             w->conf ?: "");
}

static void run_command(Watching *w)
{
        int status = 0, r = command_run(w->command, &stopping, &status);

        if (r == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                w->must_run = false;
                w->pause_usec = PAUSE_MIN_USEC;
                tell(w, "ran", "the command succeeded.");
                return;
        }
        if (r == -EINTR)
                return;
        tell(w, "failed", "the command %s %d; trying again in %" PRIu64 " s.",
             r ? "could not be run, error"
               : (WIFSIGNALED(status) ? "was ended by signal" : "ended with status"),
             r ? -r : (WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)),
             w->pause_usec / 1000000);
        try_later(w);
}

static void do_what_is_due(Watching *w)
{
        if (w->must_write && now_usec() >= w->try_at)
                write_files(w);
        if (!w->must_write && w->must_run && now_usec() >= w->try_at && !stopping)
                run_command(w);
}

static int take_credential(Watching *w, const cb_credential *credential)
{
        int r;

        tell_outage(w, "");
        w->generation = credential->generation;
        r = make_texts(w, credential);
        if (r)
                return r;
        w->must_write = w->must_write || !is_written(w);
        if (w->must_write) {
                w->try_at = 0;
                w->pause_usec = PAUSE_MIN_USEC;
        }
        return 0;
}

/* ------------------------------------------------------------------ the loop */

/* At the start these are mistakes of whoever called it; later they may pass, and the gateway goes on. */
static bool is_final(const Watching *w, int r)
{
        return r < 0 || (!w->was_written &&
                         (r == CB_NOT_FOUND || r == CB_ACCESS_DENIED || r == CB_INVALID_ARGUMENT));
}

static uint64_t time_to_wait(const Watching *w)
{
        uint64_t now = now_usec();

        if (!w->must_write && !w->must_run)
                return SLICE_USEC;
        if (w->try_at <= now)
                return 0;
        return w->try_at - now < SLICE_USEC ? w->try_at - now : SLICE_USEC;
}

static int step(Watching *w, cb_watch *watch)
{
        cb_credential *credential = NULL;
        cb_error error = { 0 };
        int r = cb_watch_wait(watch, time_to_wait(w), &credential, &error);

        if (r == 0) {
                r = take_credential(w, credential);
                cb_credential_free(credential);
                if (r)
                        return r;
        } else if (r == CB_TIMED_OUT) {
                if (strcmp(error.text, "Nothing has changed.") != 0)
                        tell_outage(w, error.text);
        } else if (r != -EINTR) {
                if (is_final(w, r))
                        return cli_fail(w->cli, r, "%s", error.text);
                tell_outage(w, error.text);
        }
        do_what_is_due(w);
        return 0;
}

static int loop(Watching *w)
{
        cb_watch *watch = NULL;
        int r;

        cb_client_set_timeouts(w->cli->client, CONNECT_USEC, CALL_USEC);
        r = cb_watch_new(w->cli->client, w->backend, &watch);
        if (r)
                return cli_fail(w->cli, r, "%s is no name of a backend.", w->backend);
        while (r == 0 && !stopping)
                r = step(w, watch);
        cb_watch_free(watch);
        return r;
}

/* ------------------------------------------------------------------ how it was called */

static int absolute(Cli *cli, const char *path, char **ret_path)
{
        CLEANUP(free_text) char *here = NULL;

        if (!path)
                return 0;
        if (*path == '\0' || path[strlen(path) - 1] == '/')
                return cli_usage(cli, "'%s' is no file's name.", path);
        here = *path == '/' ? strdup("") : getcwd(NULL, 0);
        if (!here || asprintf(ret_path, "%s%s%s", here, *path == '/' ? "" : "/", path) < 0)
                return cli_out_of_memory(cli);
        return 0;
}

static int take_arguments(Watching *w, const Arguments *arguments)
{
        const char *kind = arguments_value(arguments, "--for"), *why;
        const char *conf = arguments_value(arguments, "--conf");
        GatewayFiles files;
        int r;

        if (!kind != !conf)
                return cli_usage(w->cli, "--conf and --for belong together.");
        w->gateway = kind ? gateway_find(kind) : NULL;
        if (kind && !w->gateway)
                return cli_usage(w->cli, "--for is nginx or haproxy, not %s.", kind);
        r = absolute(w->cli, arguments_value(arguments, "--chain"), &w->chain);
        if (r == 0)
                r = absolute(w->cli, arguments_value(arguments, "--key"), &w->key);
        if (r == 0)
                r = absolute(w->cli, conf, &w->conf);
        if (r)
                return r;
        if (w->conf && (strcmp(w->conf, w->chain) == 0 || strcmp(w->conf, w->key) == 0))
                return cli_usage(w->cli, "--conf is a file of its own.");
        files = (GatewayFiles){ w->backend, w->chain, w->key };
        why = w->gateway ? gateway_check_files(w->gateway, &files) : NULL;
        return why ? cli_usage(w->cli, "%s", why) : 0;
}

int verb_backend_watch(Cli *cli, const Arguments *arguments)
{
        CLEANUP(watching_deinit)
        Watching w = {
                .cli = cli,
                .backend = arguments->positionals[0],
                .command = arguments_value(arguments, "--exec"),
                .pause_usec = PAUSE_MIN_USEC,
        };
        int r;

        r = take_arguments(&w, arguments);
        if (r == 0 && catch_signals() < 0)
                r = cli_fail(cli, -errno, "Signals: %s", strerror(errno));
        return r ? r : loop(&w);
}

const Option backend_watch_options[] = {
        { "--chain", "FILE", "where the certificate and its chain go, as PEM", true },
        { "--key", "FILE", "where the key's reference goes; the same FILE as --chain: both in one",
          true },
        { "--conf", "FILE", "the gateway's own directives, verification of the backend included" },
        { "--for", "GATEWAY", "whose directives: nginx or haproxy" },
        { "--exec", "CMD", "a shell command to run after each change, as 'systemctl reload nginx'" },
        { NULL },
};
