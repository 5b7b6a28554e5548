/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader and writer under everything of ours that is encoded. The first half of the input says
 * which fields to read, the rest is read. Holds: nothing crashes or leaks, limits are kept, errors
 * stick, and fields that were read, written again, are the bytes that they came from.
 */
#include "fuzz.h"

#include <string.h>

#include "base/codec.h"

#define TEXT_MAX 64
#define LIST_MAX 8

static void copy_string(Reader *reader, Writer *writer)
{
        CLEANUP(freep) char *s = reader_string(reader, TEXT_MAX);

        FUZZ_CHECK(!s || strlen(s) <= TEXT_MAX);
        writer_string(writer, s);
}

static void copy_bytes(Reader *reader, Writer *writer)
{
        CLEANUP(bytes_deinit) Bytes bytes = { 0 };

        reader_bytes(reader, TEXT_MAX, &bytes);
        FUZZ_CHECK(bytes.n <= TEXT_MAX);
        writer_bytes(writer, bytes.data, bytes.n);
}

static void copy_list(Reader *reader, Writer *writer)
{
        CLEANUP(bytes_list_deinit) BytesList list = { 0 };

        reader_list(reader, LIST_MAX, TEXT_MAX, &list);
        FUZZ_CHECK(list.n <= LIST_MAX);
        writer_list(writer, &list);
}

static void copy_field(uint8_t what, Reader *reader, Writer *writer)
{
        switch (what % 6) {
        case 0:
                writer_u8(writer, reader_u8(reader));
                break;
        case 1:
                writer_u32(writer, reader_u32(reader));
                break;
        case 2:
                writer_u64(writer, reader_u64(reader));
                break;
        case 3:
                copy_string(reader, writer);
                break;
        case 4:
                copy_bytes(reader, writer);
                break;
        default:
                copy_list(reader, writer);
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(writer_deinit) Writer writer;
        size_t n_fields = n / 2;
        Reader reader;
        int error = 0;

        reader_init(&reader, data + n_fields, n - n_fields);
        writer_init(&writer, 4096);
        for (size_t i = 0; i < n_fields; i++) {
                copy_field(data[i], &reader, &writer);
                FUZZ_CHECK(!error || reader.error == error);
                error = reader.error;
                if (error)
                        break;
                if (!writer.error)
                        FUZZ_CHECK(writer.n == reader.position &&
                                   (writer.n == 0 ||
                                    memcmp(writer.data, data + n_fields, writer.n) == 0));
        }
        FUZZ_CHECK(writer.n <= 4096);
        FUZZ_CHECK(!error || reader_end(&reader) == error);
        return 0;
}
