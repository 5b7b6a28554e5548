/* SPDX-License-Identifier: Apache-2.0 */
/* WIRE_READ_CHAIN: the same for every driver, since no token and no vault has a part in it. */
#pragma once

#include "source/driver.h"

/* fds {certificates, PEM or DER in any order}, input = SubjectPublicKeyInfo, chain = more of them → chain, leaf first. */
int read_chain(void *instance, const DriverCall *call, WireReply *reply);
