/* SPDX-License-Identifier: Apache-2.0 */
/* Others: the program's other providers, which come first wherever nobody asks for ours. */
#pragma once

#include <stdbool.h>

struct ossl_core_handle_st;
struct ossl_dispatch_st;

typedef struct Others Others;

/* core: the functions that OSSL_provider_init() was given. NULL: no memory. */
Others *others_new(const struct ossl_core_handle_st *handle, const struct ossl_dispatch_st *core);
Others *others_free(Others *others);

/* Whether the program has the libcrypto that this module is linked to, so that it may be called. */
bool others_are_of_our_libcrypto(const Others *others);

/* A query of keys or signatures: whether to answer it. If not, with nothing, and uncached. */
bool others_were_asked(Others *others, int operation);
