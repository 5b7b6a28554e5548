/* SPDX-License-Identifier: Apache-2.0 */
/* Dictionaries to be sent. */
#pragma once

#include <certbroker/certbroker.h>

#include "macro.h"
#include "writer.h"

/* As an argument a{sv}; NULL is an empty one. */
void dict_write(const cb_dict *dict, Writer *writer);
