/* SPDX-License-Identifier: Apache-2.0 */
/* `certbroker:` URIs. */
#pragma once

#include <stdint.h>

typedef enum UriKind { URI_CERTIFICATE, URI_BACKEND, _URI_KIND_N } UriKind;

typedef struct Uri {
        UriKind kind;
        char name[128];
        uint64_t generation; /* 0: none is named */
} Uri;

/*
 * certbroker:certificate/ID, certbroker:certificate/ID?generation=N, certbroker:backend/NAME, each also
 * with `//` behind the scheme. 0, or -EINVAL.
 */
int uri_parse(const char *text, Uri *ret_uri);
