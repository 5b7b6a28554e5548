/* SPDX-License-Identifier: Apache-2.0 */
/* RSA-OAEP decryption with a key on the token. */
#pragma once

#include "source/driver.h"

/* driver.h, `decrypt`: "rsa-oaep-sha1" or "rsa-oaep-sha256". instance: a Token. */
int decrypt_oaep(void *instance, const DriverCall *call, WireReply *reply);
