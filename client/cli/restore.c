/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `certbroker restore`: puts a copy in the place of the store of a certbrokerd that is stopped, after it has said what of the
 * audit log comes after that copy. What has ended since ends again when certbrokerd starts, which is its business; what was
 * made since is undone. The store that was there stays beside the new one. A copy notes the end of the log a moment late, so
 * what it names first may be in the copy.
 */
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

/* Of what the log has with success, all that changes the store. */
static const struct {
        const char *event;
        bool is_end; /* certbrokerd sees to it that it stays so */
} changes[] = {
        { "ImportCertificate", false },   { "GenerateKey", false },   { "RegisterCertificate", false },
        { "InstallCertificate", false },  { "CreateBackend", false }, { "Change", false },
        { "Set", false },                 { "SetCurrent", false },    { "ApplyCatalog", false },
        { "Retire", true },               { "SetEnabled", true },     { "Delete", true },
};

typedef struct Undone {
        uint64_t seq; /* what the copy knows */
        size_t n;
        bool is_known; /* the log could be read */
        json_t *json;
} Undone;

static const char *text_of(const json_t *record, const char *member)
{
        return json_string_value(json_object_get(record, member)) ?: "";
}

/* Back to an enabled one is no end. */
static bool is_change(const json_t *record, bool *ret_is_end)
{
        const char *event = text_of(record, "event");

        for (size_t i = 0; i < ELEMENTSOF(changes); i++)
                if (strcmp(changes[i].event, event) == 0) {
                        *ret_is_end = changes[i].is_end &&
                                      !json_is_true(json_object_get(record, "enabled"));
                        return strcmp(text_of(record, "result"), "ok") == 0;
                }
        return false;
}

static int tell(Cli *cli, Undone *undone, const json_t *record, bool is_end)
{
        static const char root[] = "/org/certbroker1/";
        const char *path = text_of(record, "object");
        json_int_t generation = json_integer_value(json_object_get(record, "generation"));
        CLEANUP(free_text) char *object = NULL;

        object = text_escape(strncmp(path, root, strlen(root)) == 0 ? path + strlen(root) : path);
        if (!object)
                return cli_out_of_memory(cli);
        undone->n++;
        if (cli->arguments->json)
                return json_array_append_new(
                               undone->json,
                               json_pack("{s:O, s:s, s:s, s:I, s:b}", "seq",
                                         json_object_get(record, "seq"), "event",
                                         text_of(record, "event"), "object", object, "generation",
                                         generation, "stays", is_end))
                               ? cli_out_of_memory(cli)
                               : 0;
        (void)printf("%.19sZ %6" JSON_INTEGER_FORMAT " %-19s %s", text_of(record, "time"),
                     json_integer_value(json_object_get(record, "seq")), text_of(record, "event"),
                     object);
        if (generation)
                (void)printf(" generation %" JSON_INTEGER_FORMAT, generation);
        (void)puts(is_end ? "  (stays so)" : "");
        return 0;
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
                bool is_end = false;

                r = seq > 0 && (uint64_t)seq > undone->seq && is_change(record, &is_end)
                            ? tell(cli, undone, record, is_end)
                            : 0;
                json_decref(record);
                if (r)
                        return r;
        }
        return r;
}

static void introduce(const Cli *cli, const Undone *undone, const char *file)
{
        if (cli->arguments->json)
                return;
        if (!undone->is_known)
                (void)printf("There is no audit log that tells what has changed since %s.\n", file);
        else if (undone->n == 0)
                (void)printf("Nothing has changed since %s, by the audit log.\n", file);
        else
                (void)printf("%zu change%s since %s %s undone, but for what stays so: that is "
                             "retired or disabled anew when certbrokerd starts.\n",
                             undone->n, undone->n == 1 ? "" : "s", file,
                             undone->n == 1 ? "is" : "are");
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

static int show_restored(Cli *cli, const Undone *undone, const char *file, const char *directory)
{
        if (cli->arguments->json)
                return show_document(cli, json_pack("{s:s, s:s, s:b, s:O}", "restored", file,
                                                    "state-directory", directory, "log-known",
                                                    undone->is_known, "changes", undone->json));
        (void)printf("%s holds the store of %s; what was there is certbroker.sqlite.replaced. Start "
                     "certbrokerd, then run `certbroker status`.\n",
                     directory, file);
        return 0;
}

static int restore(Cli *cli, const char *file, const char *directory, StoreCopy *copy,
                   Undone *undone)
{
        int r;

        undone->seq = store_copy_audit_seq(copy);
        r = look_at_log(cli, undone);
        if (r)
                return r;
        introduce(cli, undone, file);
        r = confirm(cli, directory);
        if (r == 0)
                r = store_put(cli, copy, directory);
        return r ? r : show_restored(cli, undone, file, directory);
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
                r = store_load(cli, file, &copy);
        if (r)
                return r;
        undone.json = json_array();
        r = undone.json ? restore(cli, file, directory, copy, &undone) : cli_out_of_memory(cli);
        json_decref(undone.json);
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
          "The store that was there is kept as certbroker.sqlite.replaced.",
          "certbroker restore /root/certbroker-2027-01-31.sqlite" },
        { NULL },
};
