/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `certbroker setup source` share: the plan, from what was asked to what is done. */
#pragma once

#include <sys/types.h>

#include "cli.h"
#include "steps.h"
#include "unit.h"

typedef enum SetupKind {
        SETUP_SOFTHSM, /* a new token, in files of certbrokerd's own */
        SETUP_TOKEN,   /* one that is there */
        SETUP_VAULT,
        _SETUP_KIND_N
} SetupKind;

/* How the secret comes to the source's process, the best first. */
typedef enum SecretWay {
        SECRET_ENCRYPTED, /* a systemd credential, encrypted for this host */
        SECRET_CREDENTIAL,
        SECRET_FILE, /* named by its path */
        _SECRET_WAY_N
} SecretWay;

#define SETTINGS_MAX 32

typedef struct SetupSetting {
        char *key, *value;
} SetupSetting;

typedef struct SetupSource {
        Cli *cli;
        const char *name;
        SetupKind kind;
        SetupSetting settings[SETTINGS_MAX]; /* of the source, in the file's order */
        size_t n_settings;

        char *label;            /* of the new token */
        const char *secret_key; /* the setting that names the secret's file; NULL: there is none */
        int secret;             /* a sealed memfd; -1: none */
        SecretWay way;

        Unit unit;             /* certbrokerd's */
        uid_t uid;             /* whom it runs as */
        gid_t gid;
        char *state;           /* its state directory */
        char *folder;          /* below /run, ours, for what is tried */
        char *softhsm_conf;    /* which SoftHSM's module reads; of a new token */
        char *tokens;          /* its folder of tokens */
        bool has_softhsm_conf; /* certbrokerd has it in its environment already */

        bool is_touched; /* certbrokerd was told something of this */
        char *tokens_before; /* names in it, a line each */
} SetupSource;

/* Both are copied. A value that is NULL or "" adds nothing. */
int setup_set(SetupSource *setup, const char *key, const char *value);
const char *setup_setting(const SetupSource *setup, const char *key);

/* A folder of ours below /run; to be removed with all that is in it. */
int setup_make_folder(Cli *cli, char **ret_folder);
void setup_remove_folder(const char *folder);
/* 0; else why nothing can be set up here, and what to do instead. */
int setup_check_host(Cli *cli);
/* One at a time: they share the name of the unit that is tried. The lock goes with the descriptor. */
int setup_lock(Cli *cli, int *ret_fd);

/* --- setup-token.c: which tokens there are */

typedef struct FoundToken {
        char *module, *label, *serial;
        char *encoded_label, *encoded_serial; /* for a URI */
        char *state;                          /* ready, no-pin, empty */
} FoundToken;

typedef struct FoundTokens {
        FoundToken *tokens;
        size_t n;
        char failures[1024]; /* modules that did not answer, and why */
} FoundTokens;

/* Of one module, or of all that p11-kit knows (NULL). They are loaded inside of the unit's walls alone. */
int setup_find_tokens(SetupSource *setup, const char *module, FoundTokens *ret_found);
void found_tokens_deinit(FoundTokens *found);

/* --- setup-plan.c: what is asked for */

int setup_plan(SetupSource *setup);

/* --- setup-text.c: what is written. Paths and texts are the caller's to free; NULL: memory. */

const char *setup_secret_word(const SetupSource *setup); /* NAME-word: the credential, and its file */
char *setup_conf_path(const SetupSource *setup);
char *setup_secret_path(const SetupSource *setup);
char *setup_drop_in_path(const SetupSource *setup);
char *setup_softhsm_drop_in_path(void);
char *setup_conf_text(const SetupSource *setup);
char *setup_drop_in_text(const SetupSource *setup); /* "": none is needed */
char *setup_softhsm_drop_in_text(const SetupSource *setup);
char *setup_softhsm_text(const SetupSource *setup);

/* --- setup-do.c: and done */

int setup_do(SetupSource *setup);
/* setup-force.c: its last part. */
int setup_put_into_force(Steps *steps, SetupSource *setup, bool *ret_restarted);

/* --- setup-trial.c */

/* Waits until certbrokerd says that the source serves. CB_NOT_FOUND: nobody lets root see it. */
int setup_wait(Steps *steps, const char *name);
/* A key made in it, a signature by it, verified, and both gone again. */
int setup_sign(Steps *steps, const char *name);
