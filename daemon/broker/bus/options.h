/* SPDX-License-Identifier: Apache-2.0 */
/* Reading an a{sv} of options, settings or a subject against a table of what may be in it. */
#pragma once

#include <stddef.h>

#include "base/failure.h"
#include "broker/bus/value.h"

struct DBusMessageIter;

typedef struct Option {
        const char *name;
        const char *signature;
} Option;

/*
 * `iter` is at an a{sv}. Fills values[i] for options[i] (type VALUE_NONE: not given). An unknown name, the
 * same name twice, or something too long is CB_INVALID_ARGUMENT, naming it; a wrong type, which D-Bus has
 * an error of its own for, is -EINVAL: see call_read_options(). values_deinit() in any case.
 */
int options_read(struct DBusMessageIter *iter, const Option *options, size_t n_options,
                 Value *values, Failure *failure);
void values_deinit(Value *values, size_t n);
