/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that opens, watches and closes the token. */
#pragma once

#include "source/pkcs11/token.h"

int keeper_start(Token *token);
