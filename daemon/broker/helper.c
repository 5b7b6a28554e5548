/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds certbroker-source relative to this executable. The candidates lie beside the program that runs: who
 * could put a file there could replace the program itself.
 */
#include "broker/helper.h"

#include <build-config.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/macro.h"

#define HELPER "certbroker-source"

/* From the directory of the executable. */
static const char *const candidates[] = {
        "../source/" HELPER,  /* daemon/broker and daemon/source of a build tree */
        "../libexec/" HELPER, /* PREFIX/bin and PREFIX/libexec */
};

static int executable_directory(char **ret_directory)
{
        CLEANUP(freep) char *path = realpath("/proc/self/exe", NULL);

        if (!path)
                return -errno;
        *strrchr(path, '/') = '\0';
        *ret_directory = TAKE(path);
        return 0;
}

int helper_find(char **ret_path)
{
        CLEANUP(freep) char *directory = NULL;
        char *path;
        int r;

        r = executable_directory(&directory);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(candidates); i++) {
                if (asprintf(&path, "%s/%s", directory, candidates[i]) < 0)
                        return -ENOMEM;
                if (access(path, X_OK) == 0) {
                        *ret_path = path;
                        return 0;
                }
                free(path);
        }
        path = strdup(LIBEXECDIR "/" HELPER);
        if (!path)
                return -ENOMEM;
        *ret_path = path;
        return 0;
}
