/* SPDX-License-Identifier: Apache-2.0 */
/* `certificate sign`: what an algorithm wants as its input. */
#pragma once

#include "cli.h"

#define SIGN_INPUT_MAX (64 * 1024) /* of a message that is signed as it is */

int verb_certificate_sign(Cli *cli, const Arguments *arguments);
