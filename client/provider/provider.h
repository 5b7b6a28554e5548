/* SPDX-License-Identifier: Apache-2.0 */
/* The provider: what one OSSL_provider_init() made, and the errors that it raises. */
#pragma once

#include <stdint.h>

#include <certbroker/certbroker.h>

#include "digest.h"

typedef struct Broker Broker;
typedef struct Provider Provider;

/* The property query that keeps our own keys out of what we do with the other providers' code. */
#define PROVIDER_OTHERS "provider!=certbroker"

/* Reasons of our own. Those below are enum cb_status: what the library or the broker answered. */
enum Reason {
        _REASON_BROKER_N = _CB_STATUS_N,
        REASON_SYSTEM,
        REASON_BAD_URI,
        REASON_BAD_REFERENCE,
        REASON_BAD_CERTIFICATE,
        REASON_BAD_ANSWER,
        REASON_KEY_TYPE,
        REASON_PRIVATE_HALF,
        REASON_DIGEST,
        REASON_PADDING,
        REASON_SALT,
        REASON_INPUT,
        REASON_ROOM,
        REASON_STATE,
        REASON_DENIED_SIGN,
        REASON_TOO_EARLY,
};

/* The library context for the public halves and for hashing; it has the program's other providers. */
struct ossl_lib_ctx_st *provider_libctx(Provider *provider);
Broker *provider_broker(Provider *provider);
/* The digest's implementation, fetched once for all; NULL where no provider has it, and that raised. */
const struct evp_md_st *provider_md(Provider *provider, const Digest *digest);

/*
 * Raises an error on the program's error queue. reason: enum Reason or enum cb_status; what follows
 * is the sentence that the program prints behind it.
 */
#define RAISE(provider, reason, ...)                                                               \
        provider_raise((provider), __FILE__, __LINE__, __func__, (reason), __VA_ARGS__)
void provider_raise(Provider *provider, const char *file, int line, const char *function,
                    unsigned reason, const char *format, ...) __attribute__((format(printf, 6, 7)));
