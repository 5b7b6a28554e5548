/* SPDX-License-Identifier: Apache-2.0 */
/* The help, made of the tables. */
#pragma once

#include <stdio.h>

#include "arguments.h"

/* Of a verb, else of a noun, else of everything. */
void help_print(const Noun *nouns, size_t n_nouns, const Arguments *arguments, FILE *to);
/* One line: how it is called. */
void help_usage(const Arguments *arguments, FILE *to);
