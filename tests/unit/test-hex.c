/* SPDX-License-Identifier: Apache-2.0 */
/* Hexadecimal both ways, and all that is not exactly the digits asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/hex.h"
#include "base/macro.h"

static void goes_both_ways(void **state)
{
        for (unsigned value = 0; value < 256; value++) {
                uint8_t bytes[2] = { (uint8_t)value, (uint8_t)(255 - value) }, back[2];
                char text[5];

                hex_encode_upper(bytes, 2, text);
                assert_int_equal(hex_decode(text, back, 2), 0);
                assert_memory_equal(bytes, back, 2);
                hex_encode_lower(bytes, 2, text);
                assert_int_equal(hex_decode(text, back, 2), 0);
                assert_memory_equal(bytes, back, 2);
        }
}

static void writes_the_case_asked_for(void **state)
{
        const uint8_t bytes[] = { 0x00, 0xaf, 0x9d };
        char text[7];

        hex_encode_upper(bytes, 3, text);
        assert_string_equal(text, "00AF9D");
        hex_encode_lower(bytes, 3, text);
        assert_string_equal(text, "00af9d");
        hex_encode_lower(bytes, 0, text);
        assert_string_equal(text, "");
}

static void refuses_other_text(void **state)
{
        static const char *const texts[] = { "",       "0",     "00",   "000",  "00000",
                                             "000000", "00 0",  "0x00", "0g00", "00:00",
                                             " 0000",  "0000 ", "00/0", "00`0", "00@0" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                uint8_t bytes[8] = { 0x5a, 0x5a };

                assert_int_equal(hex_decode(texts[i], bytes, 2), -EINVAL);
                assert_int_equal(bytes[0], 0x5a);
                assert_int_equal(bytes[1], 0x5a);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(goes_both_ways),
                cmocka_unit_test(writes_the_case_asked_for),
                cmocka_unit_test(refuses_other_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
