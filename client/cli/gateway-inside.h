/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `certbroker setup gateway` share. */
#pragma once

#include "setup.h"

#define MARK "# Made by `certbroker setup gateway" /* how our files begin */

/* Postfix and Dovecot give what they start an environment of their own. */
typedef enum Import { IMPORT_NONE, IMPORT_POSTFIX, IMPORT_DOVECOT } Import;

typedef struct GatewayKind {
        const char *name;
        const char *units[3];
        const char *user; /* of its workers, where none runs that could be looked at */
        const char *test; /* of its configuration, as ExecStart= has it; NULL: it has none */
        Import import;
} GatewayKind;

typedef struct GatewaySetup {
        Cli *cli;
        const GatewayKind *kind;
        Unit unit;
        char *folder;    /* below /run, ours */
        char *drop_in;   /* its path */
        char *text;      /* what it is to hold */
        bool is_there;   /* with just that */
        bool has_credential, is_removal;
        bool is_touched; /* systemd or the gateway was told */
        char *old_import;
        bool is_import_set; /* and not Postfix's default */
} GatewaySetup;

/* gateway-import.c: what a gateway that clears the environment of its processes is to let through. A step. */
int gateway_import(Steps *steps, GatewaySetup *setup);
/* The file that it has made for that; NULL: none. */
const char *gateway_import_file(const GatewaySetup *setup);
