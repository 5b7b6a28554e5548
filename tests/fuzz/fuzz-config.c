/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a configuration. Holds: nothing crashes or leaks; a refusal begins with the file's name; what is taken is
 * whole: names that can be shown, sources of a known driver, grants; and nothing is included: of the directory that the
 * seeds name libconfig would end the program.
 */
#include "fuzz-text.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "broker/config/config.h"
#include "core/identifier.h"

/* libconfig 1.5 forgets a string that the file ends in; a configuration that is refused is read once. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
        return "leak:libconfig.so";
}

static char directory[] = "/tmp/fuzz-config-XXXXXX", path[64];

static void remove_directory(void)
{
        (void)unlink(path);
        (void)rmdir(directory);
}

static void write_file(const uint8_t *data, size_t n)
{
        CLEANUP(closep) int fd = -1;

        if (!*path) {
                FUZZ_CHECK(mkdtemp(directory) && atexit(remove_directory) == 0);
                snprintf(path, sizeof(path), "%s/certbroker.conf", directory);
        }
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        FUZZ_CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
}

static void check_config(const Config *config)
{
        FUZZ_CHECK(config->state_directory && config->runtime_directory && config->audit_log);
        FUZZ_CHECK(config->bus && config->grants && config->n_expiry_warnings <= 256);
        FUZZ_CHECK(config->request_timeout_usec > 0 && config->max_in_flight_per_client > 0);
        for (size_t i = 0; i < config->n_sources; i++) {
                const SourceConfig *source = config->sources[i];

                FUZZ_CHECK(source_name_is_valid(source->name) && source->driver);
                for (char **p = source->settings; p && *p; p++) {
                        fuzz_check_text(*p);
                        FUZZ_CHECK(strchr(*p, '='));
                }
        }
        for (char **p = config->warnings; p && *p; p++)
                fuzz_check_text(*p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(config_freep) Config *config = NULL;
        Failure failure = { 0 };
        int r;

        write_file(data, n);
        r = config_load(path, &config, &failure);
        fuzz_check_outcome(r, &failure);
        FUZZ_CHECK((r == 0) == (config != NULL));
        if (r != 0)
                FUZZ_CHECK(strncmp(failure.text, path, strlen(path)) == 0);
        else
                check_config(config);
        return 0;
}
