/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one place where codes of PKCS#11 are translated. Classes go by the effect that is known of real
 * modules, not by the specification's wording: a module that has lost its token may say nearly anything.
 */
#include "source/pkcs11/rv.h"

#include <p11-kit/pkcs11.h>

#include <certbroker/status.h>

#ifndef CKR_TOKEN_RESOURCE_EXCEEDED
#define CKR_TOKEN_RESOURCE_EXCEEDED 0x201UL /* PKCS#11 v3.0 */
#endif

#define RV_MAP(X)                                                                                  \
        X(CKR_OK, OK, CB_OK)                                                                       \
        X(CKR_SESSION_HANDLE_INVALID, SESSION, CB_SOURCE_UNAVAILABLE)                              \
        X(CKR_SESSION_CLOSED, SESSION, CB_SOURCE_UNAVAILABLE)                                      \
        X(CKR_OBJECT_HANDLE_INVALID, SESSION, CB_SOURCE_UNAVAILABLE)                               \
        X(CKR_KEY_HANDLE_INVALID, SESSION, CB_SOURCE_UNAVAILABLE)                                  \
        X(CKR_KEY_CHANGED, SESSION, CB_SOURCE_UNAVAILABLE)                                         \
        X(CKR_OPERATION_ACTIVE, SESSION, CB_SOURCE_UNAVAILABLE)                                    \
        X(CKR_OPERATION_NOT_INITIALIZED, SESSION, CB_SOURCE_UNAVAILABLE)                           \
        X(CKR_USER_NOT_LOGGED_IN, LOGIN, CB_SOURCE_UNAVAILABLE)                                    \
        X(CKR_DEVICE_REMOVED, TOKEN, CB_SOURCE_UNAVAILABLE)                                        \
        X(CKR_TOKEN_NOT_PRESENT, TOKEN, CB_SOURCE_UNAVAILABLE)                                     \
        X(CKR_TOKEN_NOT_RECOGNIZED, TOKEN, CB_SOURCE_UNAVAILABLE)                                  \
        X(CKR_SLOT_ID_INVALID, TOKEN, CB_SOURCE_UNAVAILABLE)                                       \
        X(CKR_DEVICE_ERROR, FAULT, CB_SOURCE_UNAVAILABLE)                                          \
        X(CKR_GENERAL_ERROR, FAULT, CB_SOURCE_UNAVAILABLE)                                         \
        X(CKR_FUNCTION_FAILED, FAULT, CB_SOURCE_UNAVAILABLE)                                       \
        X(CKR_FUNCTION_CANCELED, FAULT, CB_SOURCE_UNAVAILABLE)                                     \
        X(CKR_MUTEX_BAD, FAULT, CB_SOURCE_UNAVAILABLE)                                             \
        X(CKR_MUTEX_NOT_LOCKED, FAULT, CB_SOURCE_UNAVAILABLE)                                      \
        X(CKR_CRYPTOKI_NOT_INITIALIZED, MODULE, CB_SOURCE_UNAVAILABLE)                             \
        X(CKR_CRYPTOKI_ALREADY_INITIALIZED, MODULE, CB_SOURCE_UNAVAILABLE)                         \
        X(CKR_CANT_LOCK, MODULE, CB_SOURCE_UNAVAILABLE)                                            \
        X(CKR_NEED_TO_CREATE_THREADS, MODULE, CB_SOURCE_UNAVAILABLE)                               \
        X(CKR_PIN_INCORRECT, PIN, CB_SOURCE_LOCKED)                                                \
        X(CKR_PIN_INVALID, PIN, CB_SOURCE_LOCKED)                                                  \
        X(CKR_PIN_LEN_RANGE, PIN, CB_SOURCE_LOCKED)                                                \
        X(CKR_PIN_EXPIRED, PIN, CB_SOURCE_LOCKED)                                                  \
        X(CKR_PIN_LOCKED, PIN, CB_SOURCE_LOCKED)                                                   \
        X(CKR_USER_PIN_NOT_INITIALIZED, PIN, CB_SOURCE_LOCKED)                                     \
        X(CKR_SESSION_COUNT, LOAD, CB_LIMIT_EXCEEDED)                                              \
        X(CKR_DEVICE_MEMORY, LOAD, CB_SOURCE_UNAVAILABLE)                                          \
        X(CKR_HOST_MEMORY, LOAD, CB_SOURCE_UNAVAILABLE)                                            \
        X(CKR_TOKEN_RESOURCE_EXCEEDED, LOAD, CB_LIMIT_EXCEEDED)                                    \
        X(CKR_MECHANISM_INVALID, CALLER, CB_NOT_SUPPORTED)                                         \
        X(CKR_MECHANISM_PARAM_INVALID, CALLER, CB_NOT_SUPPORTED)                                   \
        X(CKR_FUNCTION_NOT_SUPPORTED, CALLER, CB_NOT_SUPPORTED)                                    \
        X(CKR_KEY_TYPE_INCONSISTENT, CALLER, CB_NOT_SUPPORTED)                                     \
        X(CKR_KEY_SIZE_RANGE, CALLER, CB_NOT_SUPPORTED)                                            \
        X(CKR_DOMAIN_PARAMS_INVALID, CALLER, CB_NOT_SUPPORTED)                                     \
        X(CKR_CURVE_NOT_SUPPORTED, CALLER, CB_NOT_SUPPORTED)                                       \
        X(CKR_KEY_FUNCTION_NOT_PERMITTED, CALLER, CB_SOURCE_DENIED)                                \
        X(CKR_ACTION_PROHIBITED, CALLER, CB_SOURCE_DENIED)                                         \
        X(CKR_ATTRIBUTE_READ_ONLY, CALLER, CB_SOURCE_DENIED)                                       \
        X(CKR_ATTRIBUTE_SENSITIVE, CALLER, CB_SOURCE_DENIED)                                       \
        X(CKR_KEY_UNEXTRACTABLE, CALLER, CB_SOURCE_DENIED)                                         \
        X(CKR_KEY_NOT_WRAPPABLE, CALLER, CB_NOT_SUPPORTED)                                         \
        X(CKR_WRAPPING_KEY_TYPE_INCONSISTENT, CALLER, CB_NOT_SUPPORTED)                            \
        X(CKR_WRAPPING_KEY_SIZE_RANGE, CALLER, CB_NOT_SUPPORTED)                                   \
        X(CKR_ATTRIBUTE_TYPE_INVALID, CALLER, CB_NOT_SUPPORTED)                                    \
        X(CKR_ATTRIBUTE_VALUE_INVALID, CALLER, CB_NOT_SUPPORTED)                                   \
        X(CKR_TEMPLATE_INCOMPLETE, CALLER, CB_NOT_SUPPORTED)                                       \
        X(CKR_TEMPLATE_INCONSISTENT, CALLER, CB_NOT_SUPPORTED)                                     \
        X(CKR_DATA_INVALID, CALLER, CB_INVALID_ARGUMENT)                                           \
        X(CKR_DATA_LEN_RANGE, CALLER, CB_INVALID_ARGUMENT)                                         \
        X(CKR_ENCRYPTED_DATA_INVALID, CALLER, CB_INVALID_ARGUMENT)                                 \
        X(CKR_ENCRYPTED_DATA_LEN_RANGE, CALLER, CB_INVALID_ARGUMENT)                               \
        X(CKR_BUFFER_TOO_SMALL, CALLER, CB_FAILED)                                                 \
        X(CKR_ARGUMENTS_BAD, CALLER, CB_FAILED)                                                    \
        X(CKR_USER_ALREADY_LOGGED_IN, CALLER, CB_FAILED)                                           \
        X(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, CALLER, CB_SOURCE_UNAVAILABLE)                       \
        X(CKR_USER_TYPE_INVALID, CALLER, CB_FAILED)                                                \
        X(CKR_TOKEN_WRITE_PROTECTED, STORE, CB_SOURCE_DENIED)                                      \
        X(CKR_SESSION_READ_ONLY, STORE, CB_SOURCE_DENIED)

static const RvRow row_of_vendor = { "a vendor's own code", RV_CLASS_ODD, CB_FAILED };
static const RvRow row_of_unknown = { "an unexpected code", RV_CLASS_ODD, CB_FAILED };

const RvRow *rv_row(unsigned long rv)
{
        switch (rv) {
#define RV_CASE(code, word, outcome)                                                               \
        case code: {                                                                               \
                static const RvRow row = { #code, RV_CLASS_##word, outcome };                      \
                return &row;                                                                       \
        }
                RV_MAP(RV_CASE)
#undef RV_CASE
        default:
                return rv & CKR_VENDOR_DEFINED ? &row_of_vendor : &row_of_unknown;
        }
}

const char *rv_name(unsigned long rv)
{
        return rv_row(rv)->name;
}

RvClass rv_class(unsigned long rv)
{
        return rv_row(rv)->class;
}
