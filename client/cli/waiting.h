/* SPDX-License-Identifier: Apache-2.0 */
/* Generations that wait for their NotBefore. */
#pragma once

#include "cli.h"

/* Of (generation, thumbprint, usable until): has it a certificate, and is not valid yet? */
bool waiting_is(const cb_value *generation, uint64_t current);
/* Asks when each of this certificate's becomes current (0: it is not told), in order; what `tell` gives but 0 ends it. */
int waiting_each(Cli *cli, const cb_value *properties,
                 int (*tell)(void *userdata, const char *id, uint64_t generation, uint64_t from),
                 void *userdata);
