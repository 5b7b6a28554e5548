/* SPDX-License-Identifier: Apache-2.0 */
/* Alternative names of certificates, as CertificateFacts has them: does one certificate lack names of another? */
#pragma once

/*
 * Which of `before` are not among `after`; either may be NULL, and duplicates count once or twice. A DNS name has no
 * case (RFC 4343), nor has the one in a mail address or URI; all else is compared as it is. *ret_text: NULL, or owned:
 * the first of them, and how many more there are. -ENOMEM.
 */
int alt_names_missing(char *const *before, char *const *after, char **ret_text);
