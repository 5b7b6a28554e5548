/* SPDX-License-Identifier: Apache-2.0 */
/* What each code of C_Login says of the PIN: all that there are, those that are none, and vendors'. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>

#include <p11-kit/pkcs11.h>

#include "base/macro.h"
#include "source/pkcs11/verdict.h"

#define RESERVED_MAX 0x400

static const CK_RV wrong[] = { CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE, CKR_PIN_EXPIRED,
                               CKR_PIN_LOCKED };

/* The token or the module, not the PIN: for these there is no end of tries. */
static const CK_RV not_judged[] = {
        CKR_HOST_MEMORY,
        CKR_SLOT_ID_INVALID,
        CKR_GENERAL_ERROR,
        CKR_FUNCTION_FAILED,
        CKR_NEED_TO_CREATE_THREADS,
        CKR_CANT_LOCK,
        CKR_DEVICE_ERROR,
        CKR_DEVICE_MEMORY,
        CKR_DEVICE_REMOVED,
        CKR_FUNCTION_CANCELED,
        CKR_KEY_HANDLE_INVALID,
        CKR_KEY_CHANGED,
        CKR_OBJECT_HANDLE_INVALID,
        CKR_OPERATION_ACTIVE,
        CKR_OPERATION_NOT_INITIALIZED,
        CKR_SESSION_CLOSED,
        CKR_SESSION_COUNT,
        CKR_SESSION_HANDLE_INVALID,
        CKR_SESSION_READ_ONLY_EXISTS,
        CKR_TOKEN_NOT_PRESENT,
        CKR_TOKEN_NOT_RECOGNIZED,
        CKR_USER_NOT_LOGGED_IN,
        CKR_USER_PIN_NOT_INITIALIZED,
        CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
        CKR_USER_TOO_MANY_TYPES,
        CKR_CRYPTOKI_NOT_INITIALIZED,
        CKR_CRYPTOKI_ALREADY_INITIALIZED,
        CKR_MUTEX_BAD,
        CKR_MUTEX_NOT_LOCKED,
        0x201, /* CKR_TOKEN_RESOURCE_EXCEEDED */
};

static bool has(const CK_RV *list, size_t n, CK_RV rv)
{
        for (size_t i = 0; i < n; i++)
                if (list[i] == rv)
                        return true;
        return false;
}

static PinVerdict expected(CK_RV rv)
{
        if (rv == CKR_OK)
                return PIN_IS_GOOD;
        if (rv == CKR_USER_ALREADY_LOGGED_IN)
                return PIN_NOT_NEEDED;
        if (has(wrong, ELEMENTSOF(wrong), rv))
                return PIN_IS_WRONG;
        return has(not_judged, ELEMENTSOF(not_judged), rv) ? PIN_NOT_JUDGED : PIN_DOUBTFUL;
}

static void test_all_codes(void **state)
{
        (void)state;
        for (CK_RV rv = 0; rv < RESERVED_MAX; rv++) {
                if (verdict_of_login(rv) != expected(rv))
                        print_error("0x%lx\n", rv);
                assert_int_equal(verdict_of_login(rv), expected(rv));
                assert_int_equal(verdict_of_login(CKR_VENDOR_DEFINED | rv), PIN_DOUBTFUL);
        }
        assert_int_equal(verdict_of_login(~0UL), PIN_DOUBTFUL);
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_codes) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
