/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mechanisms of the token that a session is of. Nothing is kept: a session that is taken holds the slot, and what
 * asks here makes a key or reads one, which takes longer. Never trusted beyond a clear refusal ahead of time: the
 * call itself may still say no.
 */
#include "source/pkcs11/mechanism.h"

const char *mechanism_name(CK_MECHANISM_TYPE type)
{
        static const struct {
                CK_MECHANISM_TYPE type;
                const char *name;
        } rows[] = {
                { CKM_RSA_PKCS_KEY_PAIR_GEN, "CKM_RSA_PKCS_KEY_PAIR_GEN" },
                { CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN" },
                { CKM_EC_EDWARDS_KEY_PAIR_GEN, "CKM_EC_EDWARDS_KEY_PAIR_GEN" },
                { CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP" },
                { CKM_RSA_X_509, "CKM_RSA_X_509" },
                { CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD" },
                { MECHANISM_AES_KEY_WRAP_KWP, "CKM_AES_KEY_WRAP_KWP" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (rows[i].type == type)
                        return rows[i].name;
        return "a mechanism of ours";
}

static bool read_info(Session *session, CK_MECHANISM_TYPE type, CK_FLAGS flag,
                      CK_MECHANISM_INFO *ret_info)
{
        *ret_info = (CK_MECHANISM_INFO){ 0 };
        return session->f->C_GetMechanismInfo(session->token->slot.id, type, ret_info) == CKR_OK &&
               (ret_info->flags & flag);
}

bool mechanism_has(Session *session, CK_MECHANISM_TYPE type, CK_FLAGS flag)
{
        CK_MECHANISM_INFO info;

        return read_info(session, type, flag, &info);
}

bool mechanism_has_size(Session *session, CK_MECHANISM_TYPE type, CK_FLAGS flag, CK_ULONG bits)
{
        CK_MECHANISM_INFO info;

        return read_info(session, type, flag, &info) &&
               (info.ulMaxKeySize == 0 || (bits >= info.ulMinKeySize && bits <= info.ulMaxKeySize));
}
