/* SPDX-License-Identifier: Apache-2.0 */
/* Taking back what was begun on the token, found by the CKA_ID that it was begun with. */
#pragma once

#include "source/pkcs11/facts.h"

/* Key, public key and certificates: all that an import or a generation of this id made. */
int take_back_objects(Session *session, const uint8_t id[OWN_ID_LENGTH], size_t *ret_n_objects,
                      Failure *failure);

/* The same, at once, after a failure: what cannot be is logged, and the broker has it tried again. */
void take_back_begun(Token *token, const uint8_t id[OWN_ID_LENGTH], const char *label);

/* WIRE_TAKE_BACK: input = the id. */
int take_back(Token *token, const DriverCall *call, WireReply *reply);

/* The id for what a request makes: its input, which a broker that dies can take back by, or a random one. */
int take_back_id(const WireRequest *request, uint8_t ret_id[OWN_ID_LENGTH]);
