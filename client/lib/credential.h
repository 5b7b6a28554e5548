/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials out of answers. */
#pragma once

#include "value.h"

/* Copies what GetCredential answered, an a{sv}. CB_FAILED: something needed is not there. */
int credential_from_value(const cb_value *dict, cb_credential **ret_credential, cb_error *error);

/* Would a gateway do anything in another way? */
bool credential_equals(const cb_credential *a, const cb_credential *b);
