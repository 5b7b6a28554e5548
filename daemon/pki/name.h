/* SPDX-License-Identifier: Apache-2.0 */
/* Distinguished names in RFC 4514, as people and authorities write them. */
#pragma once

#include "base/failure.h"

/* As <openssl/types.h> has it. */
typedef struct X509_name_st X509_NAME;

/* What is going to be made of a name. */
typedef enum NameUse {
        NAME_FOR_REQUEST, /* each value of the type and length that its attribute has (X.520, RFC 5280) */
        NAME_TO_FIND,     /* what authorities have written, whatever it is */
} NameUse;

/* Adds to the name. CB_INVALID_ARGUMENT says what is wrong with "the subject". */
int name_parse(X509_NAME *name, const char *subject, NameUse use, Failure *failure);

/*
 * A name as we write those of certificates, however it is spaced, escaped and its types are named.
 * CB_INVALID_ARGUMENT: it is none, and why. Owned.
 */
int pki_name_normal(const char *text, char **ret_normal, Failure *failure);
