/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a process in which a log-in is under way: what the record says of its PIN, and that nothing is waited for
 * longer than until the deadline. The record is in memory. Who waits for a lock here waits for ever: an alarm ends it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "pki/context.h"
#include "source/pkcs11/pin.h"

static const Bytes token = { (uint8_t *)(uintptr_t) "0123456789abcdef", 16 };

static Secret *pin_new(const char *text)
{
        Secret *pin;

        assert_int_equal(secret_new(strlen(text), &pin), 0);
        memcpy(secret_data(pin), text, strlen(text));
        secret_set_length(pin, strlen(text));
        return pin;
}

static void begin(Pins *pins)
{
        Secret *pin = pin_new("1234");
        Failure failure = { 0 };

        alarm(60);
        assert_int_equal(pins_init(pins, "unit", NULL, NULL), 0);
        pins_keep(pins, pin_new("4321"));
        assert_int_equal(pins_begin(pins, pin, &token, false, &failure), 0);
        secret_free(pin);
}

static void expect_refusal(Pins *pins)
{
        Secret *pin = pin_new("5678");
        Failure failure = { 0 };

        assert_int_equal(pins_begin(pins, pin, &token, true, &failure), CB_SOURCE_UNAVAILABLE);
        secret_free(pin);
}

static void finish(Pins *pins)
{
        alarm(0);
        assert_null(pins->kept);
        free(pins->source);
}

static void test_hangs(void **state)
{
        Pins pins = { 0 };

        (void)state;
        begin(&pins);
        pins_wipe(&pins, clock_monotonic_usec());
        assert_int_equal(pins.record.n, 1);
        assert_int_equal(pins.record.entries[0].fate, PIN_ENDED);
        expect_refusal(&pins);
        finish(&pins);
}

/* Somebody writes to a disk that does not come back. */
static void test_record_is_being_written(void **state)
{
        Pins pins = { 0 };

        (void)state;
        begin(&pins);
        pthread_mutex_lock(&pins.record_lock);
        pins_wipe(&pins, clock_monotonic_usec());
        pthread_mutex_unlock(&pins.record_lock);
        assert_int_equal(pins.record.entries[0].fate, PIN_TRYING);
        finish(&pins);
}

static void test_has_come_back(void **state)
{
        Pins pins = { 0 };

        (void)state;
        begin(&pins);
        (void)pins_end(&pins, PIN_IS_GOOD);
        pins_wipe(&pins, 0); /* over long ago */
        assert_int_equal(pins.record.n, 0);
        expect_refusal(&pins);
        finish(&pins);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hangs),
                cmocka_unit_test(test_record_is_being_written),
                cmocka_unit_test(test_has_come_back),
        };

        if (pki_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
