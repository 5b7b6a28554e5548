/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates that a caller hands in for a key that is there: read to their end here, because the broker waits for
 * no descriptor, and sorted by the key. Nothing is written anywhere.
 */
#include "source/read-chain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/secret.h"
#include "pki/x509.h"

#define READ_TIMEOUT_USEC (5 * USEC_PER_SEC)

static int read_file(int fd, Secret **ret_data, Failure *failure)
{
        int r = secret_read_fd(fd, PKI_INPUT_MAX, READ_TIMEOUT_USEC, ret_data);

        if (r == 0)
                return 0;
        if (r == -EINVAL || r == -EFBIG || r == -ETIMEDOUT)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the certificates must come from a regular file, a memfd or a pipe that ends within 5 s, "
                            "and hold at most 1 MiB");
        return fail(failure, r, "the certificates cannot be read");
}

int read_chain(void *instance, const DriverCall *call, WireReply *reply)
{
        CLEANUP(secret_freep) Secret *data = NULL;
        CLEANUP(bytes_list_deinit) BytesList certificates = { 0 };
        CLEANUP(freep) char *missing = NULL;
        int r;

        (void)instance;
        r = read_file(call->request->fds[0], &data, &reply->failure);
        if (r == 0)
                r = pki_certificates_parse(secret_data(data), secret_length(data), &certificates,
                                           &reply->failure);
        if (r == 0)
                r = pki_chain_sort(&certificates, &call->request->input, &reply->chain, &missing,
                                   &reply->failure);
        if (r == 0 && missing &&
            asprintf(&reply->warning, "the chain is incomplete: the certificate of %s is missing",
                     missing) < 0)
                r = -ENOMEM;
        return r;
}
