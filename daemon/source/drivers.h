/* SPDX-License-Identifier: Apache-2.0 */
/* The drivers of this build. */
#pragma once

#include "source/driver.h"

extern const SourceDriver *const source_drivers[]; /* ends with NULL */
