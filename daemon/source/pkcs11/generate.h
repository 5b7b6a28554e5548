/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that are made on the token and have never been anywhere else. */
#pragma once

#include "source/driver.h"

/* driver.h, `generate`: both halves on the token, the key tried once; no certificate. instance: a Token. */
int generate_key(void *instance, const DriverCall *call, WireReply *reply);
