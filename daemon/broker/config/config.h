/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: read whole, checked whole, then handed out immutable. It says what is wrong as
 * "FILE:LINE: reason", and acts on nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/failure.h"
#include "base/macro.h"
#include "core/grants.h"

typedef enum VerifySignatures {
        VERIFY_ALWAYS,
        VERIFY_RSA,
        VERIFY_NEVER,
        _VERIFY_SIGNATURES_N
} VerifySignatures;

typedef struct SourceConfig {
        char *name;
        char *driver; /* "pkcs11", "azure-key-vault" */
        char **settings; /* "key=value", checked and sorted; durations in usec ("refresh=1000000") */
} SourceConfig;

/* NULL: not set. Borrowed. */
const char *source_config_get(const SourceConfig *source, const char *key);
bool source_config_equal(const SourceConfig *a, const SourceConfig *b);
int source_config_copy(const SourceConfig *source, SourceConfig **ret_copy);
SourceConfig *source_config_free(SourceConfig *source);
DEFINE_CLEANUP(SourceConfig, source_config_free)

/* With "/channel" after it the name of a socket, of which libdbus takes no more than 98 bytes. */
#define CONFIG_RUNTIME_DIRECTORY_MAX 90

typedef struct Config {
        char *state_directory;
        char *runtime_directory;
        char *credentials_directory; /* from the environment; NULL: none */
        char *bus;                   /* "system", "session" or an address */
        char *audit_log;
        uint64_t audit_sync_usec; /* 0: always */
        bool audit_continue;      /* audit-failure = "continue" */
        uint64_t audit_max_size;
        uint64_t rotation_grace_usec;
        uint64_t *expiry_warnings_usec; /* descending */
        size_t n_expiry_warnings;
        unsigned max_in_flight_per_client;
        uint64_t request_timeout_usec;
        VerifySignatures verify_signatures;
        SourceConfig **sources; /* by name */
        size_t n_sources;
        Grants *grants; /* never NULL; referenced by whoever keeps them */
        char **warnings; /* "FILE:LINE: …", e.g. a grant that can never match */
} Config;

/* NULL: the installed default. CB_INVALID_ARGUMENT: "FILE:LINE: reason" is in failure; -errno: it says nothing of them. */
int config_load(const char *path, Config **ret_config, Failure *failure);
/*
 * For --check-config by whoever that is: the daemon may run as another user, and its own files are as good as
 * root's. It is who owns the state directory. Before the configuration is read, and so for its own files, that
 * is the environment's or the default one.
 */
int config_check(const char *path, Config **ret_config, Failure *failure);
Config *config_free(Config *config);
DEFINE_CLEANUP(Config, config_free)
