/* SPDX-License-Identifier: Apache-2.0 */
/* What changes the token: keys and certificates into it, and out of it. */
#pragma once

#include "source/driver.h"
#include "source/pkcs11/token.h"

int store_import(Token *token, const DriverCall *call, WireReply *reply);
int store_install(Token *token, const DriverCall *call, WireReply *reply);
int store_destroy(Token *token, const DriverCall *call, WireReply *reply);
