/* SPDX-License-Identifier: Apache-2.0 */
/* `backend check`. */
#pragma once

#include "cli.h"

int verb_backend_check(Cli *cli, const Arguments *arguments);
