/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that came: a good one in either byte order, cut at every byte, with every byte changed; and
 * bodies that lie about their lengths, types and depth. Nothing may be read past the end (the sanitizers
 * watch), and what is not D-Bus must be refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "incoming.h"
#include "reader.h"
#include "value.h"

/* An error: reply to 7, error name "a.B", signature "s", text "no". */
static const uint8_t error[] = {
        'l', 3, 0, 1, 7,   0, 0, 0,   9, 0, 0, 0, 31, 0,   0,   0,   5, 1, 'u',
        0,   7, 0, 0, 0,   4, 1, 's', 0, 3, 0, 0, 0,  'a', '.', 'B', 0, 0, 0,
        0,   0, 8, 1, 'g', 0, 1, 's', 0, 0, 2, 0, 0,  0,   'n', 'o', 0,
};

static uint8_t *copy_of(const void *data, size_t n)
{
        uint8_t *copy = malloc(n > 0 ? n : 1);

        assert_non_null(copy);
        memcpy(copy, data, n);
        return copy;
}

typedef struct Builder {
        uint8_t data[4096];
        size_t n;
} Builder;

static void put(Builder *b, const void *data, size_t n)
{
        memcpy(b->data + b->n, data, n);
        b->n += n;
}

static void put_u32(Builder *b, uint32_t value, bool big)
{
        uint8_t bytes[4];

        for (unsigned i = 0; i < 4; i++)
                bytes[i] = (uint8_t)(value >> (big ? 24 - 8 * i : 8 * i));
        put(b, bytes, 4);
}

static void align(Builder *b, size_t n)
{
        while (b->n % n)
                b->data[b->n++] = 0;
}

/* A method return with this signature and body. */
static Builder answer(const char *signature, const void *body, size_t n_body, bool big)
{
        Builder b = { .n = 0 };
        uint8_t length = (uint8_t)strlen(signature);

        put(&b, big ? "B\x02\x00\x01" : "l\x02\x00\x01", 4);
        put_u32(&b, (uint32_t)n_body, big);
        put_u32(&b, 1, big);
        put_u32(&b, (uint32_t)(8 + 4 + 1 + length + 1), big);
        put(&b, "\x05\x01u\0", 4);
        put_u32(&b, 9, big);
        put(&b, "\x08\x01g\0", 4);
        put(&b, &length, 1);
        put(&b, signature, length + 1u);
        align(&b, 8);
        put(&b, body, n_body);
        return b;
}

static int read_all(const void *data, size_t n, cb_value **ret_value)
{
        CLEANUP(incoming_freep) Incoming *incoming = NULL;
        int r = incoming_new(copy_of(data, n), n, &incoming);

        return r ? r : incoming_body(incoming, ret_value);
}

static int read_body(const char *signature, const void *body, size_t n)
{
        Builder b = answer(signature, body, n, false);
        cb_value *value = NULL;
        int r = read_all(b.data, b.n, &value);

        cb_value_free(value);
        return r;
}

static void test_error(void **state)
{
        CLEANUP(incoming_freep) Incoming *incoming = NULL;
        CLEANUP(cb_value_freep) cb_value *body = NULL;
        size_t size;

        assert_int_equal(incoming_size(error, sizeof(error), &size), 0);
        assert_int_equal(size, sizeof(error));
        assert_int_equal(incoming_new(copy_of(error, size), size, &incoming), 0);
        assert_int_equal(incoming->type, INCOMING_ERROR);
        assert_int_equal(incoming->reply_serial, 7);
        assert_string_equal(incoming->error_name, "a.B");
        assert_string_equal(incoming->sender, "");
        assert_int_equal(incoming_body(incoming, &body), 0);
        assert_string_equal(cb_value_string(cb_value_at(body, 0), ""), "no");
}

static void test_both_byte_orders(void **state)
{
        for (int big = 0; big < 2; big++) {
                CLEANUP(cb_value_freep) cb_value *value = NULL;
                Builder body = { .n = 0 }, b;

                put_u32(&body, 3, big);
                put(&body, "abc\0", 4);
                put_u32(&body, 0xfffffffe, big); /* i: -2 */
                put_u32(&body, 1, big);          /* b */
                b = answer("sib", body.data, body.n, big);
                assert_int_equal(read_all(b.data, b.n, &value), 0);
                assert_string_equal(cb_value_string(cb_value_at(value, 0), ""), "abc");
                assert_int_equal(cb_value_at(value, 1)->type, CB_TYPE_INTEGER);
                assert_int_equal(cb_value_at(value, 1)->as.integer, -2);
                assert_true(cb_value_boolean(cb_value_at(value, 2), false));
        }
}

static void test_cut_everywhere(void **state)
{
        Builder body = { .n = 0 }, b;

        put_u32(&body, 24, false); /* a(tst): one struct */
        align(&body, 8);
        put(&body, "\1\0\0\0\0\0\0\0\2\0\0\0hi\0\0\3\0\0\0\0\0\0\0", 24);
        b = answer("a(tst)", body.data, body.n, false);
        for (size_t n = 0; n <= b.n; n++) {
                cb_value *value = NULL;
                size_t size = 0;
                int r = read_all(b.data, n, &value);

                assert_int_equal(r, n == b.n ? 0 : -EBADMSG);
                cb_value_free(value);
                r = incoming_size(b.data, n, &size);
                assert_int_equal(r, n < 16 ? -EAGAIN : 0);
                if (n >= 16)
                        assert_int_equal(size, b.n);
        }
}

static void test_every_byte_changed(void **state)
{
        Builder body = { .n = 0 }, b;
        unsigned n_good = 0;

        put_u32(&body, 16, false); /* a{sv}: one entry, "k" => variant u 5 */
        align(&body, 8);
        put(&body, "\1\0\0\0k\0\1u\0\0\0\0\5\0\0\0", 16);
        b = answer("a{sv}", body.data, body.n, false);
        for (size_t i = 0; i < b.n; i++)
                for (unsigned value = 0; value < 256; value++) {
                        cb_value *tree = NULL;
                        uint8_t before = b.data[i];

                        b.data[i] = (uint8_t)value;
                        if (read_all(b.data, b.n, &tree) == 0)
                                n_good++;
                        cb_value_free(tree);
                        b.data[i] = before;
                }
        /* as it is, and with numbers, text, flags or an unknown field changed; but not most of them */
        assert_true(n_good > b.n);
        assert_true(n_good < b.n * 128);
}

static void test_lies(void **state)
{
        /* an array longer than the message, or beyond 64 MiB */
        assert_int_equal(read_body("as", "\5\0\0\0", 4), -EBADMSG);
        assert_int_equal(read_body("ay", "\xff\xff\xff\xff", 4), -EBADMSG);
        /* an array whose last element passes its end */
        assert_int_equal(read_body("au", "\2\0\0\0\1\0\0\0", 8), -EBADMSG);
        assert_int_equal(read_body("au", "\4\0\0\0\1\0\0\0", 8), 0);
        /* text without its end, with a NUL in it, not UTF-8, longer than all */
        assert_int_equal(read_body("s", "\1\0\0\0ab", 6), -EBADMSG);
        assert_int_equal(read_body("s", "\3\0\0\0a\0b\0", 8), -EBADMSG);
        assert_int_equal(read_body("s", "\1\0\0\0\xff\0", 6), -EBADMSG);
        assert_int_equal(read_body("s", "\xff\xff\xff\xff", 4), -EBADMSG);
        assert_int_equal(read_body("s", "\1\0\0\0a\0", 6), 0);
        /* a boolean that is neither, a descriptor that did not come */
        assert_int_equal(read_body("b", "\2\0\0\0", 4), -EBADMSG);
        assert_int_equal(read_body("h", "\0\0\0\0", 4), -EBADMSG);
        /* more, or less, than the signature says; padding that is not zero */
        assert_int_equal(read_body("u", "\0\0\0\0\0", 5), -EBADMSG);
        assert_int_equal(read_body("uu", "\0\0\0\0", 4), -EBADMSG);
        assert_int_equal(read_body("yu", "\0\0\1\0\0\0\0\0", 8), -EBADMSG);
        /* a variant of two types, of none, of half a type */
        assert_int_equal(read_body("v", "\2yy\0\0\0", 6), -EBADMSG);
        assert_int_equal(read_body("v", "\0\0", 2), -EBADMSG);
        assert_int_equal(read_body("v", "\1a\0\0\0\0\0\0", 8), -EBADMSG);
        assert_int_equal(read_body("v", "\1y\0\7", 4), 0);
        /* signatures that are none */
        assert_int_equal(read_body("()", "", 0), -EBADMSG);
        assert_int_equal(read_body("(y", "\1", 1), -EBADMSG);
        assert_int_equal(read_body("z", "\1", 1), -EBADMSG);
}

static void test_depth(void **state)
{
        char variants[256] = { 0 };
        size_t n = 0;

        for (unsigned i = 0; i < 40; i++) {
                memcpy(variants + n, "\1v\0", 3);
                n += 3;
        }
        memcpy(variants + n, "\1y\0\7", 4);
        assert_int_equal(read_body("v", variants, n + 4), -EBADMSG);
        assert_int_equal(read_body("v", variants + n - 9, 13), 0);
        assert_int_equal(read_body("aaaaaaaaaaaay", "\0\0\0\0", 4), 0);
        assert_int_equal(read_body("a{oa{sa{sv}}}", "\0\0\0\0\0\0\0\0", 8), 0);
}

static void test_descriptors(void **state)
{
        Builder b = answer("hh", "\0\0\0\0\0\0\0\0", 8, false);
        CLEANUP(incoming_freep) Incoming *incoming = NULL;
        CLEANUP(cb_value_freep) cb_value *value = NULL;
        int ends[2], one, two;

        assert_int_equal(pipe(ends), 0);
        assert_int_equal(incoming_new(copy_of(b.data, b.n), b.n, &incoming), 0);
        assert_int_equal(descriptor_init(&incoming->fds[incoming->n_fds++], ends[0]), 0);
        assert_int_equal(incoming_body(incoming, &value), 0);
        one = cb_value_at(value, 0)->as.fd;
        two = cb_value_at(value, 1)->as.fd;
        assert_true(one >= 0 && two >= 0 && one != two && one != ends[0]);
        close(ends[1]);
}

static void test_headers(void **state)
{
        static const struct {
                size_t at;
                uint8_t value;
        } bad[] = { { 0, 'x' }, { 1, 0 }, { 3, 2 }, { 8, 0 }, { 15, 0xff }, { 7, 0x7f } };
        Builder b = answer("u", "\1\0\0\0", 4, false);
        size_t size;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                uint8_t before = b.data[bad[i].at];
                cb_value *value = NULL;

                b.data[bad[i].at] = bad[i].value;
                assert_int_equal(read_all(b.data, b.n, &value), -EBADMSG);
                assert_int_equal(incoming_size(b.data, b.n, &size), -EBADMSG);
                b.data[bad[i].at] = before;
        }
}

static void test_signature_length(void **state)
{
        assert_int_equal(signature_length("ss"), 1);
        assert_int_equal(signature_length("a{sv}s"), 5);
        assert_int_equal(signature_length("(sa(tu))x"), 8);
        assert_int_equal(signature_length(""), 0);
        assert_int_equal(signature_length("a"), 0);
        assert_int_equal(signature_length(")"), 0);
        assert_int_equal(signature_length("()"), 0);
        assert_int_equal(signature_length("(s}"), 0);
        assert_int_equal(signature_length("{sv"), 0);
        assert_int_equal(signature_length("(a)"), 0);
        assert_int_equal(signature_length("((((((((((((((((((((((((((((((((((((((s"), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_error),
                cmocka_unit_test(test_both_byte_orders),
                cmocka_unit_test(test_cut_everywhere),
                cmocka_unit_test(test_every_byte_changed),
                cmocka_unit_test(test_lies),
                cmocka_unit_test(test_depth),
                cmocka_unit_test(test_descriptors),
                cmocka_unit_test(test_headers),
                cmocka_unit_test(test_signature_length),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
