/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes of the digests that thumbprints and signatures use. */
#pragma once

#define DIGEST_LENGTH_MAX    64
#define SHA1_LENGTH          20
#define SHA256_LENGTH        32
#define THUMBPRINT_SHA1_TEXT (2 * SHA1_LENGTH + 1)
#define THUMBPRINT_TEXT      (2 * SHA256_LENGTH + 1)
