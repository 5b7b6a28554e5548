/* SPDX-License-Identifier: Apache-2.0 */
/* `policy list`. */
#pragma once

#include "cli.h"

extern const Option policy_list_options[];
int verb_policy_list(Cli *cli, const Arguments *arguments);
