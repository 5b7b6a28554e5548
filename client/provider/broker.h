/* SPDX-License-Identifier: Apache-2.0 */
/* The broker, as the provider reaches it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <certbroker/certbroker.h>

#include "tls13.h"
#include "uri.h"

typedef struct Broker Broker;
typedef struct Provider Provider;

/* bus: as cb_client_new() takes it. Connects to nothing. 0, or -ENOMEM; a bad bus is told at its use. */
int broker_new(const char *bus, Broker **ret_broker);
Broker *broker_free(Broker *broker);

/*
 * A signature, or the certificate or credential that a URI names. 1, or 0 with an error raised that
 * holds the broker's own sentence. signature: room for *n_signature bytes, set to what was written.
 */
int broker_sign(Provider *provider, const char *id, uint64_t generation, const char *algorithm,
                const uint8_t *input, size_t n_input, uint8_t *signature, size_t *n_signature);
/* The same for a TLS 1.3 CertificateVerify, of which the broker builds the content. */
int broker_sign_tls(Provider *provider, const char *id, uint64_t generation, const char *algorithm,
                    const Tls13Verify *verify, uint8_t *signature, size_t *n_signature);
int broker_get(Provider *provider, const Uri *uri, cb_credential **ret_credential);
