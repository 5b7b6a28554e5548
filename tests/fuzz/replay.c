/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target over files, without a fuzzer: each argument is a file, or a directory of them.
 * Every file is also tried cut in half and with its middle byte changed, so that an empty pass is
 * not mistaken for a good one. Prints what it runs before it does, so that the last line of a crash
 * names the input.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX (2U << 20)

static unsigned n_run;

static int run_file(const char *path)
{
        uint8_t *data = malloc(INPUT_MAX), *exact = NULL;
        FILE *f = fopen(path, "re");
        size_t n;

        if (!data || !f) {
                fprintf(stderr, "%s: %s\n", path, strerror(errno));
                free(data);
                return 1;
        }
        n = fread(data, 1, INPUT_MAX, f);
        fclose(f);
        printf("%s (%zu bytes)\n", path, n);
        fflush(stdout);

        for (int form = 0; form < 3; form++) {
                size_t n_form = form == 1 ? n / 2 : n;

                exact = malloc(n_form > 0 ? n_form
                                          : 1); /* of its own, so that a sanitizer sees the end */
                if (!exact)
                        break;
                memcpy(exact, data, n_form);
                if (form == 2 && n > 0)
                        exact[n / 2] ^= 0x20;
                LLVMFuzzerTestOneInput(exact, n_form);
                free(exact);
        }
        free(data);
        n_run++;
        return 0;
}

static int run_path(const char *path)
{
        struct dirent **entries = NULL;
        struct stat st;
        int n, r = 0;

        if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
                return run_file(path);
        n = scandir(path, &entries, NULL, alphasort);
        for (int i = 0; i < n; i++) {
                char file[4096];

                if (entries[i]->d_name[0] != '.') {
                        snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name);
                        r |= run_file(file);
                }
                free(entries[i]);
        }
        free(entries);
        return n < 0 || r;
}

int main(int argc, char **argv)
{
        int r = 0;

        for (int i = 1; i < argc; i++)
                r |= run_path(argv[i]);
        printf("%u inputs\n", n_run);
        return r || n_run == 0;
}
