/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon's configuration on this machine says: read by certbrokerd itself. */
#pragma once

#include "cli.h"

typedef struct json_t json_t; /* jansson's */

/* The option of every verb that reads it. */
#define OPTION_CONFIG                                                                              \
        {                                                                                          \
                "--config", "FILE",                                                                \
                        "another configuration than that of the certbrokerd that runs", false,     \
                        false                                                                      \
        }

/*
 * What `certbrokerd --check-config --json` of this installation prints, for --config, or as the daemon that
 * answers was started. The caller's; json_decref().
 */
int local_config(Cli *cli, json_t **ret_config);
/* The same of the installed one, whatever daemon answers: what it says of itself is not asked. */
int local_config_installed(Cli *cli, json_t **ret_config);

/* Where store and audit log are: the directory by --state-directory, else both by the configuration; "" for what it is not. */
int local_files(Cli *cli, char **ret_directory, char **ret_log);
