/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a code of C_Login says of the PIN, and so whether it may be sent again. Each class for its reason:
 *
 *   the PIN's own codes      the token has looked at it and counts: never again
 *   session, token, module,  the call did not get as far as the PIN, or another kind of user is logged in: as often as
 *     load, faults           it takes, for these come and go with the token
 *   all others               a vendor's own, what the call cannot have, codes of later versions: a library's bad moment
 *                            or a wrong PIN, who knows; a few tries, so that neither stops us for long nor locks the
 *                            token
 */
#include "source/pkcs11/verdict.h"

#include <p11-kit/pkcs11.h>

#include "source/pkcs11/rv.h"

PinVerdict verdict_of_login(unsigned long rv)
{
        switch (rv) {
        case CKR_OK:
                return PIN_IS_GOOD;
        case CKR_USER_ALREADY_LOGGED_IN:
                return PIN_NOT_NEEDED;
        case CKR_USER_ANOTHER_ALREADY_LOGGED_IN: /* the security officer, by the same module */
        case CKR_USER_TOO_MANY_TYPES:
        case CKR_SESSION_READ_ONLY_EXISTS:
        case CKR_USER_PIN_NOT_INITIALIZED: /* there is none that this could be compared with */
                return PIN_NOT_JUDGED;
        default:
                break;
        }
        switch (rv_class(rv)) {
        case RV_CLASS_PIN:
                return PIN_IS_WRONG;
        case RV_CLASS_OK:
        case RV_CLASS_SESSION:
        case RV_CLASS_LOGIN:
        case RV_CLASS_TOKEN:
        case RV_CLASS_FAULT:
        case RV_CLASS_MODULE:
        case RV_CLASS_LOAD:
                return PIN_NOT_JUDGED;
        case RV_CLASS_CALLER:
        case RV_CLASS_STORE:
        case RV_CLASS_ODD:
        case _RV_CLASS_N:
                break;
        }
        return PIN_DOUBTFUL;
}
