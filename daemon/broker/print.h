/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as it was understood, as one JSON document. */
#pragma once

#include <stdio.h>

#include "broker/config/config.h"
#include "core/digest.h"

/*
 * Paths, sources and grants, with every default filled in; no secret is in a configuration, only the names of the files
 * that hold one. 0 or -errno.
 */
int config_print(const Config *config, FILE *to);
/*
 * SHA-256 of the grants as they are printed, in hex: what tells whether those of a file are those in force.
 * 0, -ENOMEM or -EIO.
 */
int config_hash_grants(const Config *config, char ret_hash[THUMBPRINT_TEXT]);
