/* SPDX-License-Identifier: Apache-2.0 */
/* What the token can do besides signing (module.h): asked when it is needed, for it is needed seldom. */
#pragma once

#include "source/pkcs11/session.h"

/* PKCS#11 v3.0; p11-kit's header ends before it. */
#define MECHANISM_AES_KEY_WRAP_KWP 0x210bUL

/* "CKM_RSA_PKCS_OAEP"; for those that we use. */
const char *mechanism_name(CK_MECHANISM_TYPE type);
/* flag: CKF_DECRYPT, CKF_WRAP… */
bool mechanism_has(Session *session, CK_MECHANISM_TYPE type, CK_FLAGS flag);
/* And of this size; where the token says none, of any. */
bool mechanism_has_size(Session *session, CK_MECHANISM_TYPE type, CK_FLAGS flag, CK_ULONG bits);
