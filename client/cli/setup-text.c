/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a source, as `certbroker setup source` writes them: one table of lines, from the plan alone. */
#include <stdio.h>
#include <string.h>

#include "build-config.h"
#include "setup.h"
#include "written.h"

#define FOLDER SYSCONFDIR "/certbroker"

static char *print(const char *format, ...) PRINTF(1, 2);
static char *print(const char *format, ...)
{
        char *text = NULL;
        va_list list;
        int n;

        va_start(list, format);
        n = vasprintf(&text, format, list);
        va_end(list);
        return n < 0 ? NULL : text;
}

char *setup_conf_path(const SetupSource *setup)
{
        return print(FOLDER "/conf.d/%s.conf", setup->name);
}

const char *setup_secret_word(const SetupSource *setup)
{
        return setup->kind == SETUP_VAULT ? "secret" : "pin";
}

char *setup_secret_path(const SetupSource *setup)
{
        return print(FOLDER "/secrets/%s-%s%s", setup->name, setup_secret_word(setup),
                     setup->way == SECRET_ENCRYPTED ? ".cred" : "");
}

char *setup_drop_in_path(const SetupSource *setup)
{
        return print(UNIT_FOLDER "/" UNIT_BROKER ".d/source-%s.conf", setup->name);
}

char *setup_softhsm_drop_in_path(void)
{
        return print(UNIT_FOLDER "/" UNIT_BROKER ".d/softhsm.conf");
}

/* ------------------------------------------------------------------ certbroker.conf */

/* What is no text there. */
static bool is_bare(const char *key)
{
        return strcmp(key, "sessions") == 0 || strcmp(key, "network") == 0;
}

static void put_setting(FILE *to, const char *key, const char *value)
{
        (void)fprintf(to, "    %s = ", key);
        if (is_bare(key)) {
                (void)fprintf(to, "%s;\n", value);
                return;
        }
        (void)fputc('"', to);
        for (; *value; value++) {
                if (strchr("\"\\", *value))
                        (void)fputc('\\', to);
                (void)fputc(*value, to);
        }
        (void)fputs("\";\n", to);
}

char *setup_conf_text(const SetupSource *setup)
{
        CLEANUP(written_deinit) Written written;
        char *text = NULL;
        FILE *to;

        if (written_init(&written) != 0)
                return NULL;
        to = written.to;
        (void)fprintf(to, "# Made by `certbroker setup source %s`.\nsource = {\n  %s = {\n",
                      setup->name, setup->name);
        for (size_t i = 0; i < setup->n_settings; i++)
                put_setting(to, setup->settings[i].key, setup->settings[i].value);
        if (setup->secret_key && setup->way == SECRET_FILE)
                (void)fprintf(to, "    %s = \"" FOLDER "/secrets/%s-%s\";\n", setup->secret_key,
                              setup->name, setup_secret_word(setup));
        else if (setup->secret_key)
                (void)fprintf(to, "    %s = \"%s-%s\";\n", setup->secret_key, setup->name,
                              setup_secret_word(setup));
        (void)fputs("  };\n};\n", to);
        return written_finish(&written, &text) == 0 ? text : NULL;
}

/* ------------------------------------------------------------------ for systemd, and for SoftHSM */

char *setup_drop_in_text(const SetupSource *setup)
{
        if (!setup->secret_key || setup->way == SECRET_FILE)
                return strdup("");
        return print("# Made by `certbroker setup source %s`.\n"
                     "[Service]\n"
                     "%s=%s-%s:" FOLDER "/secrets/%s-%s%s\n",
                     setup->name,
                     setup->way == SECRET_ENCRYPTED ? "LoadCredentialEncrypted" : "LoadCredential",
                     setup->name, setup_secret_word(setup), setup->name, setup_secret_word(setup),
                     setup->way == SECRET_ENCRYPTED ? ".cred" : "");
}

char *setup_softhsm_drop_in_text(const SetupSource *setup)
{
        return print("# Made by `certbroker setup source`: where SoftHSM's tokens of certbrokerd are.\n"
                     "[Service]\n"
                     "Environment=SOFTHSM2_CONF=%s\n",
                     setup->softhsm_conf);
}

char *setup_softhsm_text(const SetupSource *setup)
{
        /* Without the last line each start warns that it is missing. */
        return print("# Made by `certbroker setup source`: SoftHSM's tokens of certbrokerd.\n"
                     "directories.tokendir = %s\n"
                     "objectstore.backend = file\n"
                     "log.level = ERROR\n"
                     "slots.removable = false\n"
                     "slots.mechanisms = ALL\n",
                     setup->tokens);
}
