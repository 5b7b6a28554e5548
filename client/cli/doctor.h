/* SPDX-License-Identifier: Apache-2.0 */
/* What would fail in other programs, found before they run. */
#pragma once

#include "cli.h"

/*
 * Can a program that has no path of ours load the provider, from where this one does ($OPENSSL_MODULES, or where it is
 * installed)? OpenSSL would not tell it why not. 0, or a failure with the reason.
 */
int doctor_provider_loads(Cli *cli);
