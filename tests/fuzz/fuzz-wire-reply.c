/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker decodes what a source's process sends, in which vendor code runs. Holds: nothing
 * crashes or leaks; every text that comes out is UTF-8, for libdbus aborts on others; encoded again
 * it gives the same bytes.
 */
#include "fuzz.h"

#include <string.h>

#include "base/strings.h"
#include "wire/message.h"

static bool is_text(const char *text)
{
        return !text || utf8_is_valid(text, strlen(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(wire_reply_deinit) WireReply reply;
        CLEANUP(bytes_deinit) Bytes again = { 0 };
        Bytes packet = { 0 };

        wire_reply_init(&reply, 0);
        if (wire_reply_decode(data, n, &reply) != 0)
                return 0;
        FUZZ_CHECK(is_text(reply.failure.text) && is_text(reply.key_uri) &&
                   is_text(reply.warning) && is_text(reply.state_text));
        FUZZ_CHECK(wire_reply_encode(&reply, &again) == 0);
        FUZZ_CHECK(bytes_set(&packet, data, n) == 0 && bytes_equal(&packet, &again));
        bytes_deinit(&packet);
        return 0;
}
