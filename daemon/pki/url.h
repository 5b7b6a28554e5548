/* SPDX-License-Identifier: Apache-2.0 */
/* URLs of backends. */
#pragma once

/*
 * Why this may not be a backend's URL, as the end of a sentence ("is not a URL", "must be https"); NULL: it may.
 * https, a host, no user information, no fragment, printable ASCII, at most 2048 bytes.
 */
const char *pki_url_refuse(const char *url);

/* Of one that may be: the scheme in lower case, as it is kept (RFC 3986, 3.1). */
void pki_url_normalise(char *url);
