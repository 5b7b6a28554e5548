/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of http.c that look at answers alone: headers, faults, and memory that is wiped when it is given back. */
#pragma once

#include "source/azure-key-vault/http.h"

void http_wiping_free(void *p);
void *http_wiping_realloc(void *p, size_t n);

/* value: without white space around it. What is of no interest is left out. */
void http_note_header(HttpAnswer *answer, const char *name, const char *value);

/* code: a CURLcode; error: what curl says of it. */
HttpFault http_fault_of(int code, const char *error);
