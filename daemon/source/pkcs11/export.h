/* SPDX-License-Identifier: Apache-2.0 */
/* A key that may leave the token, in a file. */
#pragma once

#include "source/driver.h"

/* driver.h, `export`: a sealed memfd with the key and its chain. instance: a Token. */
int export_key(void *instance, const DriverCall *call, WireReply *reply);
