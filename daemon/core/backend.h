/* SPDX-License-Identifier: Apache-2.0 */
/* A backend: a service that a gateway calls, what it presents there, and how it verifies. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/macro.h"

#define BACKEND_LIST_MAX 64
#define BACKEND_TEXT_MAX 2048

typedef struct Backend {
        char *name;
        char *url;
        char *certificate; /* an id */
        bool validate_chain;
        bool validate_name;
        char **server_names;
        char *ca_file;             /* "": the system's */
        char **server_thumbprints; /* SHA-256, upper-case hex without colons */
        char *skip_reason;
        uint64_t skip_until_sec; /* 0: no end */
} Backend;

int backend_new(const char *name, Backend **ret_backend); /* with the defaults */
Backend *backend_free(Backend *backend);
int backend_copy(const Backend *backend, Backend **ret_copy);
bool backend_equal(const Backend *a, const Backend *b);
DEFINE_CLEANUP(Backend, backend_free)

/* What is in force at this time: at SkipUntil a validation that was off is on again. */
bool backend_validates_chain(const Backend *backend, uint64_t now_sec);
bool backend_validates_name(const Backend *backend, uint64_t now_sec);
/* SkipUntil has come, and it is yet to be written that the validation is on. */
bool backend_exception_is_due(const Backend *backend, uint64_t now_sec);
