/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration files in a temporary directory, and what came of the last one that was read. */
#pragma once

#include "broker/config/config.h"

struct CMUnitTest;

extern char main_path[64], fragments_path[64];
extern Config *config; /* NULL: it was refused */
extern Failure failure;

void write_fragment(const char *name, const char *text);
void remove_fragment(const char *name);
int load(const char *text);
void load_well(const char *text);
void load_badly(const char *text, unsigned line, const char *part);

/* Runs each test with an environment that names no directory. */
int bench_run(const struct CMUnitTest *tests, size_t n);
