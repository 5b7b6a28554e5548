/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Value: one D-Bus value between our structures and a message. Getters make them, settings are read into
 * them; only here is a type turned into libdbus calls, and text made safe for them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/macro.h"

struct DBusMessageIter;

/* What a caller may put into one string, and into one list. */
#define VALUE_TEXT_MAX 4096
#define VALUE_LIST_MAX 1024

typedef enum ValueType {
        VALUE_NONE,
        VALUE_STRING,      /* s */
        VALUE_PATH,        /* o */
        VALUE_BOOLEAN,     /* b */
        VALUE_U32,         /* u */
        VALUE_U64,         /* t */
        VALUE_STRINGS,     /* as */
        VALUE_U32S,        /* au: only read */
        VALUE_CHAIN,       /* aay */
        VALUE_GENERATIONS, /* a(tst): only written */
        _VALUE_TYPE_N
} ValueType;

typedef struct ValueGeneration {
        uint64_t number;
        const char *thumbprint_sha256;
        uint64_t usable_until_sec;
} ValueGeneration;

typedef struct Value {
        ValueType type;
        union {
                const char *string; /* also a path; borrowed, NULL is "" */
                bool boolean;
                uint64_t number;
                const BytesList *chain; /* borrowed */
        };
        char *const *strings; /* borrowed; may be owned below */
        char **owned_strings;
        void *owned; /* the array of generations or numbers */
        size_t n_owned;
} Value;

Value value_string(const char *string);
Value value_take_string(char *string);
Value value_path(const char *path);
Value value_boolean(bool boolean);
Value value_u64(uint64_t number);
Value value_strings(char *const *strings);
Value value_take_strings(char **strings);
Value value_chain(const BytesList *chain);
Value value_take_generations(ValueGeneration *generations, size_t n);
void value_deinit(Value *value);

const char *value_signature(const Value *value);
bool value_equal(const Value *a, const Value *b);

/* All return false where there is no memory, as libdbus does. */
bool value_append(struct DBusMessageIter *iter, const Value *value);
bool value_append_variant(struct DBusMessageIter *iter, const Value *value);
/* Into an open a{sv}. */
bool value_append_entry(struct DBusMessageIter *dictionary, const char *key, const Value *value);
bool append_string(struct DBusMessageIter *iter, const char *string);

/*
 * How long a message's body is once it has this, too, after the `at` bytes that it had; libdbus tells only of messages
 * that are complete. An array of structures or entries takes its room also where it has none.
 */
size_t value_end(const Value *value, size_t at);
size_t value_entry_end(const char *key, const Value *value, size_t at);
size_t struct_begin(size_t at); /* or an entry */
size_t array_of_structs_begin(size_t at);

/*
 * The value at the iterator, if it has this signature, which one of the types above must have. -EINVAL: it has
 * another; -E2BIG: longer than VALUE_TEXT_MAX or VALUE_LIST_MAX; -ENOMEM. Its strings are the message's.
 */
int value_read(struct DBusMessageIter *iter, const char *signature, Value *ret_value);
