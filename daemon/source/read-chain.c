/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates that a caller hands in for a key that is there: read by the source's process, because the
 * broker waits for no descriptor, and sorted by the key. Nothing is written anywhere.
 */
#include "source/read-chain.h"

#include "base/clock.h"
#include "base/secret.h"
#include "pki/x509.h"

int read_chain(void *instance, const DriverCall *call, WireReply *reply)
{
        CLEANUP(secret_freep) Secret *data = NULL;
        CLEANUP(bytes_list_deinit) BytesList certificates = { 0 };
        CLEANUP(freep) char *fault = NULL;
        uint64_t now_sec = clock_realtime_sec();
        int r;

        (void)instance;
        r = handed_take(call->handed, 0, "certificate file", &data, &reply->failure);
        if (r == 0)
                r = pki_certificates_parse(secret_data(data), secret_length(data), &certificates,
                                           &reply->failure);
        if (r == 0)
                r = pki_chain_sort(&certificates, &call->request->input, now_sec, &reply->chain,
                                   &fault, &reply->failure);
        for (size_t i = 0; i < call->request->chain.n && r == CB_KEY_MISMATCH; i++) {
                Failure failure = { 0 };

                r = pki_chain_sort(&certificates, &call->request->chain.items[i], now_sec,
                                   &reply->chain, &fault, &failure);
                if (r != 0 && r != CB_KEY_MISMATCH)
                        reply->failure = failure;
        }
        return r == 0 ? pki_chain_warning(fault, NULL, &reply->warning) : r;
}
