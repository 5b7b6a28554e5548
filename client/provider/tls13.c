/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CertificateVerify signs 64 blanks, a context string, a zero byte and the hash of the handshake, and no other
 * protocol signs that. Told from its content, such a message is sent to the broker as the hash alone, which needs no
 * more than the operation `tls`. Whatever differs by a byte is an ordinary message.
 */
#include "tls13.h"

#include <string.h>

#include "macro.h"

#define N_BLANKS  64
#define N_CONTEXT 34 /* with the zero byte that ends it */

static const struct {
        const char *role;
        const char context[N_CONTEXT];
} contexts[] = {
        { "client", "TLS 1.3, client CertificateVerify" },
        { "server", "TLS 1.3, server CertificateVerify" },
};

static int is_blank(const uint8_t *message)
{
        for (size_t i = 0; i < N_BLANKS; i++)
                if (message[i] != ' ')
                        return 0;
        return 1;
}

int tls13_recognise(const uint8_t *message, size_t n_message, Tls13Verify *ret_verify)
{
        size_t n_hash = n_message - N_BLANKS - N_CONTEXT;

        if (n_message < N_BLANKS + N_CONTEXT || (n_hash != 32 && n_hash != 48) ||
            !is_blank(message))
                return 0;

        for (size_t i = 0; i < ELEMENTSOF(contexts); i++) {
                if (memcmp(message + N_BLANKS, contexts[i].context, N_CONTEXT) != 0)
                        continue;
                *ret_verify =
                        (Tls13Verify){ contexts[i].role, message + N_BLANKS + N_CONTEXT, n_hash };
                return 1;
        }
        return 0;
}
