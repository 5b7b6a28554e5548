/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of methods share. */
#pragma once

#include "broker/bus/room.h"

/* By id or thumbprint, among those that the caller may read. */
int select_certificate(Call *call, const char *selector, Certificate **ret_certificate,
                       Failure *failure);
