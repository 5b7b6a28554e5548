/* SPDX-License-Identifier: Apache-2.0 */
/* Reading JSON of others: bounded in depth, no duplicate keys, and a refusal names the field. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "base/secret.h"

typedef struct json_t json_t;

#define JSON_DEPTH_MAX 32

/* Once, before anything is parsed: what jansson gives back is wiped. */
void json_init(void);
/* One object. CB_FAILED; what: "the vault's certificate", for the sentence. */
int json_read_object(const void *text, size_t n, const char *what, json_t **ret_root,
                     Failure *failure);
void json_freep(json_t **place);

/* path: "attributes.enabled". Absent or null: 0, and nothing is set; another type: CB_FAILED. */
typedef struct JsonView {
        const json_t *root;
        const char *what;
        Failure *failure;
} JsonView;

const json_t *json_view_find(const JsonView *view, const char *path);
int json_view_string(const JsonView *view, const char *path, const char **ret_string);
int json_view_needed_string(const JsonView *view, const char *path, const char **ret_string);
int json_view_bool(const JsonView *view, const char *path, bool *ret_bool);
/* A whole number ≥ 0, or a string of one as IMDS has it. */
int json_view_number(const JsonView *view, const char *path, uint64_t *ret_number);
int json_view_base64(const JsonView *view, const char *path, size_t n_max, Bytes *ret_bytes);
int json_view_base64url(const JsonView *view, const char *path, size_t n_max, Bytes *ret_bytes);

/* -EINVAL where the text is none. url: RFC 4648, 5, padding optional; else 4, padding needed. */
int base64_decode(const char *text, size_t n, bool url, uint8_t *ret_data, size_t *ret_n);
size_t base64_room(size_t n); /* of the text, with its NUL */
void base64_encode(const uint8_t *data, size_t n, bool url, char *ret_text);
