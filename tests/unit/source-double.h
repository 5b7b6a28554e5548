/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in for certbroker-source, on descriptor 3. */
#pragma once

int source_double_main(void);
