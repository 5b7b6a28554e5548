/* SPDX-License-Identifier: Apache-2.0 */
/* Log-in to the open token; the keeper's thread alone. */
#pragma once

#include "source/pkcs11/token.h"

/*
 * given: a PIN from an unlock, or NULL: the one that was good before, or the file's. Taken. asked: a person wants this
 * log-in. 0 too where the token wants none, or somebody is logged in. CB_SOURCE_LOCKED: the PIN; CB_SOURCE_UNAVAILABLE: the token.
 */
int login_try(Token *token, Secret *given, bool asked, Failure *failure);
/* The token has refused this PIN: writes it down, forgets the kept one. CB_SOURCE_LOCKED with its sentence. */
int login_refused(Token *token, Secret *pin, unsigned long rv, Failure *failure);
