/* SPDX-License-Identifier: Apache-2.0 */
/* `backend watch`. */
#pragma once

#include "cli.h"

extern const Option backend_watch_options[];
int verb_backend_watch(Cli *cli, const Arguments *arguments);
