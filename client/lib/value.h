/* SPDX-License-Identifier: Apache-2.0 */
/* Trees of cb_value. */
#pragma once

#include <certbroker/certbroker.h>

#include "macro.h"

/* One more item of a list or dict, empty, the last; its place may move when the next is added. */
int value_grow(cb_value *list, size_t *n_room);

DEFINE_CLEANUP(cb_value *, cb_value_free)
