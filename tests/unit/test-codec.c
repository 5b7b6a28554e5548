/* SPDX-License-Identifier: Apache-2.0 */
/* What is written is read; what is cut, too long or left over is refused, and nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"

typedef struct Sample {
        uint8_t u8;
        uint32_t u32;
        uint64_t u64;
        char *string, *absent, *empty;
        Bytes bytes;
        BytesList list;
} Sample;

static void sample_deinit(Sample *sample)
{
        free(sample->string);
        free(sample->absent);
        free(sample->empty);
        bytes_deinit(&sample->bytes);
        bytes_list_deinit(&sample->list);
}

static int sample_read(const void *data, size_t n, Sample *ret_sample)
{
        Reader reader;

        *ret_sample = (Sample){ 0 };
        reader_init(&reader, data, n);
        ret_sample->u8 = reader_u8(&reader);
        ret_sample->u32 = reader_u32(&reader);
        ret_sample->u64 = reader_u64(&reader);
        ret_sample->string = reader_string(&reader, 16);
        ret_sample->absent = reader_string(&reader, 16);
        ret_sample->empty = reader_string(&reader, 0);
        reader_bytes(&reader, 4, &ret_sample->bytes);
        reader_list(&reader, 2, 8, &ret_sample->list);
        return reader_end(&reader);
}

static void sample_write(Writer *writer)
{
        BytesList list = { 0 };

        assert_int_equal(bytes_list_append(&list, "leaf", 4), 0);
        assert_int_equal(bytes_list_append(&list, "", 0), 0);
        writer_u8(writer, 0xfe);
        writer_u32(writer, 0x01020304);
        writer_u64(writer, UINT64_C(0xf102030405060708));
        writer_string(writer, "hsm");
        writer_string(writer, NULL);
        writer_string(writer, "");
        writer_bytes(writer, "\0\1\2\3", 4);
        writer_list(writer, &list);
        bytes_list_deinit(&list);
}

static void reads_what_was_written(void **state)
{
        Writer writer;
        Sample sample;

        writer_init(&writer, 4096);
        sample_write(&writer);
        assert_int_equal(writer.error, 0);
        assert_memory_equal(writer.data, "\xfe\x04\x03\x02\x01\x08\x07", 7); /* little-endian */

        assert_int_equal(sample_read(writer.data, writer.n, &sample), 0);
        assert_int_equal(sample.u8, 0xfe);
        assert_int_equal(sample.u32, 0x01020304);
        assert_true(sample.u64 == UINT64_C(0xf102030405060708));
        assert_string_equal(sample.string, "hsm");
        assert_null(sample.absent);
        assert_string_equal(sample.empty, "");
        assert_int_equal(sample.bytes.n, 4);
        assert_memory_equal(sample.bytes.data, "\0\1\2\3", 4);
        assert_int_equal(sample.list.n, 2);
        assert_memory_equal(sample.list.items[0].data, "leaf", 4);
        assert_int_equal(sample.list.items[1].n, 0);
        sample_deinit(&sample);
        writer_deinit(&writer);
}

static void refuses_every_cut_and_every_tail(void **state)
{
        Writer writer;
        Sample sample;

        writer_init(&writer, 4096);
        sample_write(&writer);
        for (size_t n = 0; n < writer.n; n++) {
                uint8_t *exact =
                        malloc(n + 1); /* of its own, so that a sanitizer sees each step beyond */

                memcpy(exact, writer.data, n);
                exact = realloc(exact, n > 0 ? n : 1);
                assert_int_equal(sample_read(exact, n, &sample), -EBADMSG);
                sample_deinit(&sample);
                free(exact);
        }
        writer_u8(&writer, 0);
        assert_int_equal(sample_read(writer.data, writer.n, &sample), -EBADMSG);
        sample_deinit(&sample);
        writer_deinit(&writer);
}

static void refuses_any_flipped_length(void **state)
{
        Writer writer;
        Sample sample;

        writer_init(&writer, 4096);
        sample_write(&writer);
        for (size_t i = 0; i < writer.n; i++)
                for (unsigned value = 0; value < 256; value++) {
                        uint8_t before = writer.data[i];

                        writer.data[i] = (uint8_t)value;
                        (void)sample_read(writer.data, writer.n, &sample); /* no crash, no leak */
                        sample_deinit(&sample);
                        writer.data[i] = before;
                }
        writer_deinit(&writer);
}

static void refuses_what_is_over_its_bound(void **state)
{
        Writer writer;
        Reader reader;
        Bytes bytes = { 0 };
        BytesList list = { 0 };

        writer_init(&writer, 4096);
        writer_string(&writer, "12345");
        reader_init(&reader, writer.data, writer.n);
        assert_null(reader_string(&reader, 4));
        assert_int_equal(reader_end(&reader), -EBADMSG);
        reader_init(&reader, writer.data, writer.n);
        reader_bytes(&reader, 4, &bytes);
        assert_null(bytes.data);
        assert_int_equal(reader_end(&reader), -EBADMSG);
        writer_deinit(&writer);

        writer_bytes(&writer, "a\0b", 3);
        reader_init(&reader, writer.data, writer.n);
        assert_null(reader_string(&reader, 16));
        assert_int_equal(reader_end(&reader), -EBADMSG);
        writer_deinit(&writer);

        /* four thousand million items, in four bytes */
        reader_init(&reader, "\xff\xff\xff\xff", 4);
        reader_list(&reader, 16, 16, &list);
        assert_null(list.items);
        assert_int_equal(reader_end(&reader), -EBADMSG);
}

static void the_first_failure_sticks(void **state)
{
        Reader reader;
        Writer writer;

        reader_init(&reader, "\1\2\3", 3);
        assert_int_equal(reader_u32(&reader), 0);
        assert_int_equal(reader_u8(&reader), 0); /* though a byte is there */
        assert_int_equal(reader_end(&reader), -EBADMSG);

        writer_init(&writer, 6);
        writer_u32(&writer, 7);
        writer_u32(&writer, 8);
        assert_int_equal(writer.error, -EMSGSIZE);
        writer_u8(&writer, 1); /* would fit */
        assert_int_equal(writer.n, 4);
        assert_int_equal(writer.error, -EMSGSIZE);
        writer_deinit(&writer);
        assert_int_equal(writer.error, 0);
        assert_int_equal(writer.n_max, 6);
}

static void grows_to_its_bound(void **state)
{
        Writer writer;

        writer_init(&writer, 100000);
        for (unsigned i = 0; i < 100000; i++)
                writer_u8(&writer, (uint8_t)i);
        assert_int_equal(writer.error, 0);
        assert_int_equal(writer.n, 100000);
        assert_int_equal(writer.data[99999], 99999 % 256);
        writer_u8(&writer, 0);
        assert_int_equal(writer.error, -EMSGSIZE);
        writer_deinit(&writer);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_what_was_written),
                cmocka_unit_test(refuses_every_cut_and_every_tail),
                cmocka_unit_test(refuses_any_flipped_length),
                cmocka_unit_test(refuses_what_is_over_its_bound),
                cmocka_unit_test(the_first_failure_sticks),
                cmocka_unit_test(grows_to_its_bound),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
