/* SPDX-License-Identifier: Apache-2.0 */
/* What others have handed in is closed where nobody waits for it, whoever closes it. */
#pragma once

/* Before anything is received. */
void closer_begin(void);
