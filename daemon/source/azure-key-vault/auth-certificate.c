/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client certificate: an assertion (RFC 7523) that is signed with a certificate's key, PS256, named by
 * x5t#S256. The key is not here: it lies in another source of this broker.
 */
#include "source/azure-key-vault/auth.h"

int auth_client_certificate(const AuthJob *job)
{
        return fail(job->failure, CB_NOT_SUPPORTED, "client certificates are not built yet");
}
