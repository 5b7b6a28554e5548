/* SPDX-License-Identifier: Apache-2.0 */
/* Sources as the bus shows them: the bus knows no source, and sources know no bus. */
#pragma once

#include "broker/bus/bus.h"

extern const BusSourceView source_view;
