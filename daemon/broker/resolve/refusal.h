/* SPDX-License-Identifier: Apache-2.0 */
/* Why a generation may not sign, as a sentence: the same one for credentials and for signatures. */
#pragma once

#include "base/failure.h"
#include "core/certificate.h"

/* status: what certificate_may_sign() said (not 0). generation may be NULL. Returns status. */
int certificate_refusal(const Certificate *certificate, const Generation *generation, int status,
                        Failure *failure);
