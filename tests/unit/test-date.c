/* SPDX-License-Identifier: Apache-2.0 */
/* Times as people and other programs read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/date.h"

static void tells_dates(void **state)
{
        char text[DATE_TEXT_MAX];

        (void)state;
        assert_string_equal(date_text(0, text), "1970-01-01T00:00:00Z");
        assert_string_equal(date_text(1796145599, text), "2026-12-01T17:19:59Z");
        assert_string_equal(date_text(UINT64_C(253402300799), text), "9999-12-31T23:59:59Z");
        assert_string_equal(date_text(UINT64_MAX, text), "9999-12-31T23:59:59Z");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tells_dates),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
