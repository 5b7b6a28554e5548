/* SPDX-License-Identifier: Apache-2.0 */
/* Keys on a PKCS#11 token. */
#pragma once

#include "source/driver.h"

extern const SourceDriver pkcs11_driver;
