/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vendor's module, or whoever has taken it over by what a token or vault answered, cannot do: it is the same user
 * as the broker and as every other source. Kept away from it are the broker's files (store, audit log, the channel's
 * socket), what other sources keep in the state directory, and the credentials that are not its own; other processes; other
 * programs; and the network, where its token does not need one.
 *
 * The broker's own files are files, right in the state directory: a folder there is a module's, as SoftHSM's tokens,
 * but for source-NAME, which is the source's of that name.
 */
#include "source/confine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/log.h"
#include "base/strings.h"
#include "source/driver.h"
#include "walls/files.h"
#include "walls/filter.h"

#define SOURCE_FOLDER "source-"

int confine_begin(pid_t parent)
{
        /* It could hang, or not want to end when its socket does. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                return -errno;
        if (getppid() != parent) /* it has ended before the line above */
                _exit(EX_UNAVAILABLE);
        return 0;
}

static bool may_have_state(const void *userdata, const char *name, bool is_folder)
{
        char *const *settings = userdata;
        size_t n = strlen(SOURCE_FOLDER);

        if (!is_folder)
                return false;
        return strncmp(name, SOURCE_FOLDER, n) != 0 ||
               string_equal(name + n, driver_setting(settings, "name"));
}

static bool may_have_runtime(const void *userdata, const char *name, bool is_folder)
{
        return is_folder;
}

/* The log, and what it was renamed to. */
static bool may_have_beside_log(const void *userdata, const char *name, bool is_folder)
{
        const char *log = userdata;

        return strncmp(name, log, strlen(log)) != 0;
}

/* What one of the source's own settings names. */
static bool may_have_credential(const void *userdata, const char *name, bool is_folder)
{
        char *const *settings = userdata;
        const char *folder = string_or_empty(driver_setting(settings, "credentials-directory"));
        CLEANUP(freep) char *path = NULL;

        if (asprintf(&path, "%s/%s", folder, name) < 0)
                return false;
        for (; *settings; settings++) {
                const char *value = strchr(*settings, '=');

                if (value && strcmp(value + 1, path) == 0)
                        return true;
        }
        return false;
}

/*
 * What the source keeps over a restart, as the PINs that its token has refused. Before this there was a file
 * beside the broker's.
 */
static void make_own_folder(char *const *settings)
{
        const char *state = driver_setting(settings, "state-directory");
        CLEANUP(freep) char *folder = NULL;
        CLEANUP(freep) char *before = NULL;
        CLEANUP(freep) char *record = NULL;
        const char *name = driver_setting(settings, "name");
        int r;

        if (!state || !name)
                return;
        if (asprintf(&folder, "%s/" SOURCE_FOLDER "%s", state, name) < 0 ||
            asprintf(&before, "%s.pin-refused", folder) < 0 ||
            asprintf(&record, "%s/pin-refused", folder) < 0)
                return;
        r = mkdir(folder, 0700) < 0 ? -errno : directory_sync_of(folder);
        if (r < 0 && r != -EEXIST)
                log_warning("%s cannot be made, and made durable: %s", folder, strerror(-r));
        (void)rename(before, record);
}

static int keep_files(char *const *settings, bool network)
{
        const char *log = string_or_empty(driver_setting(settings, "audit-log"));
        const char *slash = strrchr(log, '/');
        CLEANUP(freep) char *log_folder = slash ? strndup(log, (size_t)(slash - log) + 1) : NULL;
        const KeptFolder folders[] = {
                { driver_setting(settings, "state-directory"), may_have_state, settings },
                { driver_setting(settings, "runtime-directory"), may_have_runtime, settings },
                { driver_setting(settings, "credentials-directory"), may_have_credential, settings },
                { log_folder, may_have_beside_log, slash ? slash + 1 : NULL },
        };
        KeptFolder there[ELEMENTSOF(folders)];
        size_t n = 0;

        if (slash && !log_folder)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(folders); i++)
                if (folders[i].path)
                        there[n++] = folders[i];
        return files_keep(there, n, network);
}

void confine(char *const *settings)
{
        bool network = !string_equal(driver_setting(settings, "driver"), "pkcs11") ||
                       string_equal(driver_setting(settings, "network"), "true");
        int r;

        make_own_folder(settings);
        r = keep_files(settings, network);
        if (r == -ENOSYS || r == -EOPNOTSUPP)
                log_warning("the kernel has no Landlock: this process can open the files of "
                            "certbrokerd and of other sources");
        else if (r < 0)
                log_warning("this process can open the files of certbrokerd and of other sources: "
                            "Landlock cannot be set up: %s",
                            strerror(-r));
        r = filter_install(FILTER_SOURCE, network);
        if (r < 0)
                log_warning("this process is not kept from system calls that it does not need: "
                            "seccomp cannot be set up: %s",
                            strerror(-r));
}
