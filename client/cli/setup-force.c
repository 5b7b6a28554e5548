/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was tried, put into force: the files in the places where they count, then certbrokerd told. What it was told is undone
 * last, when the files are what they were before.
 */
#include <errno.h>
#include <string.h>

#include "setup.h"

/* After the files are what they were. */
static int undo_force(Undo *undo)
{
        SetupSource *setup = undo->userdata;
        char why[UNIT_WHY_MAX];
        int r;

        if (!setup->is_touched)
                return 0;
        r = unit_command(setup->cli, "daemon-reload", NULL, why);
        if (r == 0)
                r = unit_command(setup->cli, setup->unit.is_active ? "restart" : "stop", UNIT_BROKER, why);
        return r > 0 ? -EIO : r;
}

static int write_text(Steps *steps, char *path, char *text, const char *folder)
{
        const StepFile file = { path, 0644, 0, 0 };
        int r = 0;

        if (!path || !text)
                r = cli_out_of_memory(steps->cli);
        else if (*text)
                r = steps_begin(steps, "%s", path);
        if (r == 0 && *text && folder)
                r = steps_make_folder(steps, &(StepFile){ folder, 0755, 0, 0 });
        if (r == 0 && *text)
                r = steps_write(steps, &file, text, strlen(text));
        free(path);
        free(text);
        return r;
}

/* Of what --replace replaces: a file that the new one does not have. */
static int remove_old(Steps *steps, char *path, bool *ret_was_there)
{
        int r = path ? 0 : cli_out_of_memory(steps->cli);

        if (r == 0 && access(path, F_OK) == 0) {
                *ret_was_there = true;
                r = steps_begin(steps, "%s, removed", path);
                if (r == 0)
                        r = steps_remove(steps, path);
        }
        free(path);
        return r;
}

static int remove_others(Steps *steps, SetupSource *setup, bool has_drop_in, bool *ret_needs_restart)
{
        SetupSource other = *setup; /* borrowed: the same, but for how its secret is kept */
        bool was_there = false;
        int r = 0;

        if (!has_drop_in)
                r = remove_old(steps, setup_drop_in_path(setup), ret_needs_restart);
        other.way = setup->way == SECRET_ENCRYPTED ? SECRET_FILE : SECRET_ENCRYPTED;
        return r ? r : remove_old(steps, setup_secret_path(&other), &was_there);
}

static int write_files(Steps *steps, SetupSource *setup, bool *ret_needs_restart)
{
        static const char folder[] = UNIT_FOLDER "/" UNIT_BROKER ".d";
        CLEANUP(free_text) char *drop_in = setup_drop_in_text(setup);
        bool has_softhsm = setup->kind == SETUP_SOFTHSM && !setup->has_softhsm_conf;
        int r;

        *ret_needs_restart = has_softhsm || (drop_in && *drop_in);
        r = remove_others(steps, setup, drop_in && *drop_in, ret_needs_restart);
        if (r == 0)
                r = write_text(steps, setup_conf_path(setup), setup_conf_text(setup), NULL);
        if (r == 0)
                r = write_text(steps, setup_drop_in_path(setup), TAKE(drop_in), folder);
        if (r == 0 && has_softhsm)
                r = write_text(steps, setup_softhsm_drop_in_path(),
                               setup_softhsm_drop_in_text(setup), folder);
        return r;
}

static int tell_service(Steps *steps, SetupSource *setup, const char *verb)
{
        char why[UNIT_WHY_MAX], words[UNIT_WHY_MAX];
        int r;

        setup->is_touched = true;
        r = unit_command(setup->cli, "daemon-reload", NULL, why);
        if (r == 0)
                r = unit_command(setup->cli, verb, UNIT_BROKER, why);
        if (r <= 0)
                return r;
        unit_last_words(UNIT_BROKER, words);
        return steps_fail(steps, CB_FAILED, "%s%s%s", why, *words ? "; the journal says: " : "", words);
}

int setup_put_into_force(Steps *steps, SetupSource *setup, bool *ret_restarted)
{
        bool needs_restart = false;
        const char *verb;
        int r;

        r = steps_on_undo(steps, undo_force, setup, "what certbrokerd was told");
        if (r == 0)
                r = write_files(steps, setup, &needs_restart);
        if (r)
                return r;
        verb = !setup->unit.is_active ? "start" : needs_restart ? "restart" : "reload";
        r = steps_begin(steps, "systemctl %s certbrokerd%s", verb,
                        needs_restart && setup->unit.is_active
                                ? " (its environment or credentials change; handshakes wait a second)"
                                : "");
        if (r == 0)
                r = tell_service(steps, setup, verb);
        *ret_restarted = needs_restart;
        return r;
}
