/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `certbroker restore`: puts a copy in the place of the store of a certbrokerd that is stopped, after it has said what of the
 * audit log comes after that copy. What has ended since ends again when certbrokerd starts, which is its business; what was
 * made since is undone. The store that was there stays beside the new one. A copy notes the end of the log a moment late, so
 * what it names first may be in the copy.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "local.h"
#include "log.h"
#include "own-files.h"
#include "show.h"
#include "store.h"
#include "text.h"

#define ROOT         "/org/certbroker1/"
#define CERTIFICATES ROOT "certificate/"

/* Of what the log has with success, all that changes the store. */
static const char *const changes[] = {
        "ImportCertificate", "GenerateKey", "RegisterCertificate", "InstallCertificate",
        "CreateBackend",     "Change",      "Set",                 "SetCurrent",
        "ApplyCatalog",      "Retire",      "SetEnabled",          "Delete",
};

typedef struct Undone {
        uint64_t seq; /* what the copy knows */
        bool is_known; /* the log could be read */
        json_t *json;  /* array of the changes */
        json_t *lasts; /* certificate's path → its deletion, or the last that enabled or disabled it */
} Undone;

static const char *text_of(const json_t *record, const char *member)
{
        return json_string_value(json_object_get(record, member)) ?: "";
}

static bool is_change(const json_t *record)
{
        for (size_t i = 0; i < ELEMENTSOF(changes); i++)
                if (strcmp(changes[i], text_of(record, "event")) == 0)
                        return strcmp(text_of(record, "result"), "ok") == 0;
        return false;
}

static int set_stays(json_t *change, bool stays)
{
        return json_object_set_new(change, "stays", json_boolean(stays)) ? -ENOMEM : 0;
}

/*
 * As certbrokerd decides when it starts: what was retired or deleted stays so, and what was disabled where nobody has
 * enabled it again; but of what was made anew after a deletion nothing is left. Backends do not come into it.
 */
static int mark(Undone *undone, const char *path, const json_t *record, json_t *change)
{
        const char *event = text_of(record, "event");
        json_t *last = json_object_get(undone->lasts, path);
        json_t *enabled = json_object_get(record, "enabled");
        bool is_deleted = last && strcmp(text_of(last, "event"), "Delete") == 0;
        bool is_end = strcmp(event, "Delete") == 0 || strcmp(event, "Retire") == 0;

        if (strncmp(path, CERTIFICATES, strlen(CERTIFICATES)) != 0 ||
            (is_deleted && strcmp(event, "Delete") != 0))
                return 0;
        if (is_end && set_stays(change, true) < 0)
                return -ENOMEM;
        if (strcmp(event, "Delete") == 0)
                return json_object_set(undone->lasts, path, change) ? -ENOMEM : 0;
        if (strcmp(event, "SetEnabled") != 0 || !enabled)
                return 0;
        if ((last && set_stays(last, false) < 0) || set_stays(change, json_is_false(enabled)) < 0)
                return -ENOMEM;
        return json_object_set(undone->lasts, path, change) ? -ENOMEM : 0;
}

static int add(Cli *cli, Undone *undone, const json_t *record)
{
        const char *path = text_of(record, "object");
        CLEANUP(free_text) char *object = NULL;
        json_t *change;

        object = text_harmless(strncmp(path, ROOT, strlen(ROOT)) == 0 ? path + strlen(ROOT) : path);
        change = object ? json_pack("{s:O, s:s, s:s, s:s, s:I, s:b}", "seq",
                                    json_object_get(record, "seq"), "time", text_of(record, "time"),
                                    "event", text_of(record, "event"), "object", object,
                                    "generation",
                                    json_integer_value(json_object_get(record, "generation")),
                                    "stays", 0)
                        : NULL;
        if (json_array_append_new(undone->json, change) || mark(undone, path, record, change) < 0)
                return cli_out_of_memory(cli);
        return 0;
}

static void print(const json_t *change)
{
        json_int_t generation = json_integer_value(json_object_get(change, "generation"));

        (void)printf("%.19sZ %6" JSON_INTEGER_FORMAT " %-19s %s", text_of(change, "time"),
                     json_integer_value(json_object_get(change, "seq")), text_of(change, "event"),
                     text_of(change, "object"));
        if (generation)
                (void)printf(" generation %" JSON_INTEGER_FORMAT, generation);
        (void)puts(json_is_true(json_object_get(change, "stays")) ? "  (stays so)" : "");
}

static int look_at_log(Cli *cli, Undone *undone)
{
        CLEANUP(log_freep) Log *log = NULL;
        LogLine line;
        int r;

        if (log_open(cli, &log)) {
                cli->error.text[0] = '\0';
                return 0;
        }
        undone->is_known = true;
        while ((r = log_next(cli, log, &line)) == 1) {
                json_t *record = json_loadb(line.text, line.n, 0, NULL);
                json_int_t seq = json_integer_value(json_object_get(record, "seq"));

                r = seq > 0 && (uint64_t)seq > undone->seq && is_change(record)
                            ? add(cli, undone, record)
                            : 0;
                json_decref(record);
                if (r)
                        return r;
        }
        return r;
}

static void introduce(const Cli *cli, const Undone *undone, const char *file)
{
        size_t n = json_array_size(undone->json);

        if (cli->arguments->json)
                return;
        for (size_t i = 0; i < n; i++)
                print(json_array_get(undone->json, i));
        if (!undone->is_known)
                (void)printf("There is no audit log that tells what has changed since %s.\n", file);
        else if (n == 0)
                (void)printf("Nothing has changed since %s, by the audit log.\n", file);
        else
                (void)printf("%zu change%s since %s %s undone, but for what stays so: that is "
                             "retired or disabled anew when certbrokerd starts.\n",
                             n, n == 1 ? "" : "s", file, n == 1 ? "is" : "are");
}

/* On a terminal alone, as everywhere. */
static int confirm(Cli *cli, const char *directory)
{
        char answer[16] = "";

        if (arguments_has(cli->arguments, "--yes") || !isatty(STDIN_FILENO))
                return 0;
        (void)printf("Replace the store in %s? Type yes: ", directory);
        (void)fflush(stdout);
        if (fgets(answer, sizeof(answer), stdin) && strcmp(answer, "yes\n") == 0)
                return 0;
        return cli_fail(cli, CB_FAILED, "Nothing was changed.");
}

static int show_restored(Cli *cli, const Undone *undone, const char *file, const char *directory,
                         const char *aside)
{
        if (cli->arguments->json)
                return show_document(cli, json_pack("{s:s, s:s, s:s?, s:b, s:O}", "restored", file,
                                                    "state-directory", directory, "replaced", aside,
                                                    "log-known", undone->is_known, "changes",
                                                    undone->json));
        (void)printf("%s holds the store of %s", directory, file);
        if (aside)
                (void)printf("; what was there is %s", aside);
        (void)puts(". Start certbrokerd, then run `certbroker status`.");
        return 0;
}

static int restore(Cli *cli, const char *file, const char *directory, StoreCopy *copy,
                   Undone *undone)
{
        CLEANUP(free_text) char *aside = NULL;
        int r;

        undone->seq = store_copy_audit_seq(copy);
        r = look_at_log(cli, undone);
        if (r)
                return r;
        introduce(cli, undone, file);
        r = confirm(cli, directory);
        if (r == 0)
                r = store_put(cli, copy, directory, &aside);
        return r ? r : show_restored(cli, undone, file, directory, aside);
}

static int verb_restore(Cli *cli, const Arguments *arguments)
{
        const char *file = arguments->positionals[0];
        CLEANUP(free_text) char *directory = NULL, *log = NULL;
        CLEANUP(store_copy_freep) StoreCopy *copy = NULL;
        CLEANUP(close_fd) int lock = -1;
        Undone undone = { 0 };
        int r;

        r = local_files(cli, &directory, &log);
        if (r == 0)
                r = store_lock(cli, directory, &lock);
        if (r == 0)
                r = store_load(cli, file, directory, &copy);
        if (r)
                return r;
        undone.json = json_array();
        undone.lasts = json_object();
        r = undone.json && undone.lasts ? restore(cli, file, directory, copy, &undone)
                                        : cli_out_of_memory(cli);
        json_decref(undone.json);
        json_decref(undone.lasts);
        return r;
}

static const Option options[] = {
        { "--state-directory", "DIR", "the daemon's state directory, else the one of its configuration" },
        { "--file", "FILE", "the audit log, else the one of the configuration" },
        { "--yes", NULL, "do not ask" },
        OPTION_CONFIG,
        { NULL },
};

const Verb restore_verbs[] = {
        { "",
          { "FILE" },
          options,
          verb_restore,
          "Put a copy of the store in its place, while certbrokerd is stopped",
          "Says what the audit log has of the time since the copy was made, asks on a terminal, and "
          "puts\n"
          "FILE in place of the store. What was retired, disabled or deleted since stays so: "
          "certbrokerd\n"
          "sees to that when it starts. What was made since is undone, but for keys in tokens and "
          "vaults.\n"
          "The store that was there is kept as certbroker.sqlite.replaced (or .replaced.1 …).",
          "certbroker restore /root/certbroker-2027-01-31.sqlite" },
        { NULL },
};
