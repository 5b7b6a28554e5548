/* SPDX-License-Identifier: Apache-2.0 */
/* `certbroker backup`: where the store is, and what to say about its copy. */
#include <inttypes.h>
#include <string.h>

#include "local.h"
#include "own-files.h"
#include "show.h"
#include "store.h"

/* Whatever it is called: what is put there takes the place of what certbrokerd has open, or will rename. */
static int check_place(Cli *cli, const char *file, const char *directory, const char *log)
{
        static const char *const suffixes[] = { "", "-wal", "-shm", "-journal" };
        bool is_own = own_files_have(file) || (*log && own_files_are_beside(file, log));

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                CLEANUP(free_text) char *own = NULL;

                if (asprintf(&own, "%s/certbroker.sqlite%s", directory, suffixes[i]) < 0) {
                        own = NULL;
                        return cli_out_of_memory(cli);
                }
                is_own = is_own || own_files_are_beside(file, own);
        }
        if (!is_own)
                return 0;
        return cli_usage(cli,
                         "%s is the store, the audit log or a file beside them, where only "
                         "certbrokerd writes; name a file in another directory.",
                         file);
}

static int verb_backup(Cli *cli, const Arguments *arguments)
{
        const char *file = arguments->positionals[0];
        CLEANUP(free_text) char *directory = NULL, *log = NULL;
        uint64_t n_bytes = 0;
        int r;

        r = local_files(cli, &directory, &log);
        if (r == 0)
                r = check_place(cli, file, directory, log);
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
          "restore: stop certbrokerd, run `certbroker restore FILE`, and start it.",
          "certbroker backup /root/certbroker-2027-01-31.sqlite" },
        { NULL },
};
