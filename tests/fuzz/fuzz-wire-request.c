/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source's process decodes what its broker sends. Holds: nothing crashes or leaks, and what
 * decodes is the one way to write what it says: encoded again it gives the same bytes.
 */
#include "fuzz.h"

#include "wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(wire_request_deinit) WireRequest request;
        CLEANUP(bytes_deinit) Bytes again = { 0 };
        Bytes packet = { 0 };

        wire_request_init(&request, WIRE_CONFIGURE);
        if (wire_request_decode(data, n, &request) != 0)
                return 0;
        FUZZ_CHECK(wire_request_encode(&request, &again) == 0);
        FUZZ_CHECK(bytes_set(&packet, data, n) == 0 && bytes_equal(&packet, &again));
        bytes_deinit(&packet);
        return 0;
}
