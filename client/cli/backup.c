/* SPDX-License-Identifier: Apache-2.0 */
/* `certbroker backup`: where the store is, and what to say about its copy. */
#include <inttypes.h>
#include <string.h>

#include "local.h"
#include "show.h"
#include "store.h"

static int find_directory(Cli *cli, char **ret_directory)
{
        const char *given = arguments_value(cli->arguments, "--state-directory");
        json_t *config = NULL;
        int r;

        if (!given) {
                r = local_config(cli, &config);
                if (r)
                        return r;
                given = json_string_value(json_object_get(config, "state-directory"));
        }
        *ret_directory = strdup(given ? given : "");
        json_decref(config);
        return *ret_directory ? 0 : cli_out_of_memory(cli);
}

static int verb_backup(Cli *cli, const Arguments *arguments)
{
        const char *file = arguments->positionals[0];
        CLEANUP(free_text) char *directory = NULL;
        uint64_t n_bytes = 0;
        int r;

        r = find_directory(cli, &directory);
        if (r == 0)
                r = store_copy(cli, directory, file, &n_bytes);
        if (r)
                return r;
        return show_done(cli, "backup", file,
                         "%s holds the store of %s (%" PRIu64
                         " bytes). The keys are in their sources, not in it.",
                         file, directory, n_bytes);
}

static const Option options[] = {
        { "--state-directory", "DIR",
          "the daemon's state directory, else the one of its configuration" },
        OPTION_CONFIG,
        { NULL },
};

const Verb backup_verbs[] = {
        { "",
          { "FILE" },
          options,
          verb_backup,
          "Copy the daemon's store, while it runs",
          "Writes a consistent copy of the store (certificates with their chains and generations, "
          "backends)\n"
          "to FILE. It holds no key: those are backed up with their tokens and vaults. Reads the "
          "state\n"
          "directory itself, so it is for root or the daemon's user, and needs no running daemon. "
          "To\n"
          "restore: stop certbrokerd, put FILE in place of certbroker.sqlite in the state "
          "directory,\n"
          "remove certbroker.sqlite-wal and -shm, and start it.",
          "certbroker backup /root/certbroker-2027-01-31.sqlite" },
        { NULL },
};
