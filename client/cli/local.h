/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon's configuration on this machine says: read by certbrokerd itself. */
#pragma once

#include "cli.h"

typedef struct json_t json_t; /* jansson's */

/* The option of every verb that reads it. */
#define OPTION_CONFIG                                                                              \
        {                                                                                          \
                "--config", "FILE",                                                                \
                        "certbrokerd's configuration, where it is not the installed one", false,   \
                        false                                                                      \
        }

/* Runs `certbrokerd --check-config --json`, of the same installation. The caller's; json_decref(). */
int local_config(Cli *cli, json_t **ret_config);
