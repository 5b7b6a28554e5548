/* SPDX-License-Identifier: Apache-2.0 */
/* Units of this host's systemd: what they are, what is done with them, and programs tried inside of their walls. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "cli.h"

#define UNIT_FOLDER "/etc/systemd/system"
#define UNIT_BROKER "certbrokerd.service"

/* PID 1 is systemd. */
bool unit_manager_is_there(void);

typedef struct Unit {
        char *name;
        char *fragment;    /* its file; "": it has none */
        char *drop_ins;    /* separated by blanks */
        char *environment; /* of its Environment= */
        char *user, *group; /* "": root's */
        char *cgroup;      /* as "/system.slice/…"; "": it does not run */
        bool is_loaded, is_active;
        pid_t main_pid; /* 0: none */
        int exec_status; /* of the last process */
} Unit;

/* Of a unit that is not there is_loaded is false. */
int unit_read(Cli *cli, const char *name, Unit *ret_unit);
void unit_deinit(Unit *unit);
/* The value of a variable of its Environment=; NULL: it is not set, or memory. The caller frees it. */
char *unit_environment_value(const Unit *unit, const char *name);

/* `systemctl VERB [NAME]`; the first line of its complaint goes into ret_why. 1: it failed. */
#define UNIT_WHY_MAX 512
int unit_command(Cli *cli, const char *verb, const char *name, char ret_why[UNIT_WHY_MAX]);
/* The last two lines that its processes have logged, in one; "": none. */
void unit_last_words(const char *name, char ret_text[UNIT_WHY_MAX]);

/* The status with which systemd says that a credential could not be set up. */
#define UNIT_EXIT_CREDENTIALS 243

typedef struct UnitTrial {
        const Unit *unit;      /* what is tried is this, with another program */
        const char *folder;    /* where its outputs are collected, ours alone to write */
        const char *const *drop_ins; /* texts that are tried with it; ends with NULL; may be NULL */
        const char *without;   /* one of its drop-ins that is left out; may be NULL */
        const char *command;   /* as ExecStart= has it; see unit_quote() */
} UnitTrial;

typedef struct UnitResult {
        int status; /* its exit status; -1: a signal ended it */
        char *output, *errors; /* never NULL after success */
        char why[UNIT_WHY_MAX]; /* of one that could not be started: systemctl's words */
} UnitResult;

/*
 * Runs the command once, as a unit that is in all else the one named: user, walls, environment, credentials. What it has
 * of the file system is the same, but for the runtime directory, which is its own.
 */
int unit_try(Cli *cli, const UnitTrial *trial, UnitResult *ret_result);
/* At the end of all of them: systemd forgets the unit. */
void unit_forget_trials(Cli *cli);
void unit_result_deinit(UnitResult *result);

/* Appends one argument to a command, quoted for systemd. -ENOMEM. */
int unit_quote(char **command, const char *argument);
