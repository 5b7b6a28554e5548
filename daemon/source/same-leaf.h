/* SPDX-License-Identifier: Apache-2.0 */
/* An import of what is there already. */
#pragma once

#include <stdbool.h>

#include "base/bytes.h"

/* Is the chain's leaf one of those that the broker has told by `settings` of WIRE_IMPORT? Then nothing is to be made. */
bool same_leaf(char *const *settings, const BytesList *chain);
