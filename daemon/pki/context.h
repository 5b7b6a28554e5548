/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library context of the daemon's own crypto: OpenSSL's default provider, and no openssl.cnf,
 * so that whatever a host's configuration activates (our own provider, for one) stays out of here.
 */
#pragma once

#include <stdbool.h>

#include "base/failure.h"

/* As <openssl/types.h> has it. */
typedef struct ossl_lib_ctx_st OSSL_LIB_CTX;

/*
 * First of all in main(), before anything else uses libcrypto: from then on the memory that
 * libcrypto frees is wiped, which it does not do by itself for every copy of a key. -ENOMEM, or
 * -ENOTSUP without a default provider. May be called again. Thread-safe.
 */
int pki_init(void);

/*
 * From here on, until it is taken back, what libcrypto allocates in this thread is in its locked heap, where there is
 * one (pki_private_keys_lock()) and while it has room. For what it keeps beside a key when that first signs: copies
 * of an RSA key's primes, which it does not take for secret.
 */
void pki_prefer_locked(bool prefer);

/*
 * How often libcrypto got no memory in this thread so far. It answers that as it does what is wrong: no signature, no
 * certificate. So whoever says what it answered looks at this before and after it, by the other one: an outcome that
 * came about while memory ran out is -ENOMEM.
 */
unsigned pki_memory_failures(void);
int pki_memory_outcome(unsigned n_before, int r, Failure *failure);

/* Borrowed; pki_init() has succeeded. */
OSSL_LIB_CTX *pki_context(void);

/*
 * The same with OpenSSL's legacy provider added if the host has it: old PKCS#12 files are encrypted
 * with RC2. Only for who reads bundles; the broker does not.
 */
OSSL_LIB_CTX *pki_context_legacy(void);
