/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the configuration's reader, to each other. Private to this room. */
#pragma once

#include "base/macro.h"
#include "base/trusted.h"
#include "broker/config/config.h"

typedef struct config_setting_t config_setting_t;

/*
 * What every reading function needs: where we are, where it goes, and where to say what is wrong.
 */
typedef struct Parse {
        const char *file; /* the one being read: for settings that do not know theirs */
        const TrustedUser *daemon; /* NULL: ourselves */
        Config *config;
        Failure *failure;
        struct NamedFile *named; /* by settings, to be looked at when all is read */
        size_t n_named;
} Parse;

/* "FILE:LINE: reason": an error, CB_INVALID_ARGUMENT; a warning, into config->warnings. */
int parse_fail(Parse *parse, const config_setting_t *setting, const char *format, ...) PRINTF(3, 4);
int parse_warn(Parse *parse, const config_setting_t *setting, const char *format, ...) PRINTF(3, 4);
/* "FILE:LINE" of a setting, into ret_place. */
void parse_place(const Parse *parse, const config_setting_t *setting, char *ret_place, size_t n);

#define PARSE_TEXT_MAX 2048
#define PARSE_LIST_MAX 256

/* Values. All are checked for type, length and UTF-8; what they return is owned. */
int parse_text(Parse *parse, const config_setting_t *setting, const char **ret_text); /* borrowed */
int parse_texts(Parse *parse, const config_setting_t *setting, char ***ret_texts);
int parse_path(Parse *parse, const config_setting_t *setting, char **ret_path);
/* A relative name is looked up in the credentials directory. */
int parse_credential_path(Parse *parse, const config_setting_t *setting, char **ret_path);
/*
 * A file that the setting names must be one that only root and the daemon can change: it is looked at by
 * parse_check_trusted(), when it is known who the daemon is. One that is not there, or that we may not look at,
 * is left to the source, which says so. The setting is kept until then.
 */
int parse_trusted(Parse *parse, const config_setting_t *setting, const char *path,
                  TrustedKind kind);
int parse_check_trusted(Parse *parse);
void parse_deinit(Parse *parse);
int parse_number(Parse *parse, const config_setting_t *setting, uint64_t min, uint64_t max,
                 uint64_t *ret_number);
int parse_duration(Parse *parse, const config_setting_t *setting, uint64_t min, uint64_t max,
                   uint64_t *ret_usec);
int parse_size(Parse *parse, const config_setting_t *setting, uint64_t min, uint64_t max,
               uint64_t *ret_size);
/* A pkcs11: URI that selects a token, and nothing else. */
int parse_token_uri(Parse *parse, const config_setting_t *setting, char **ret_uri);
/* The index in `words`, which ends with NULL. */
int parse_word(Parse *parse, const config_setting_t *setting, const char *const *words,
               size_t *ret_index);
int parse_unknown(Parse *parse, const config_setting_t *setting, const char *where,
                  char *const *known);

/* One group each. source and grant take what they made into the configuration. */
int parse_broker(Parse *parse, const config_setting_t *group);
int parse_source(Parse *parse, const config_setting_t *group);
int parse_grant(Parse *parse, const config_setting_t *group);

/* Once all is read: what goes into every source's settings, and their order. */
int parse_finish_sources(Parse *parse);
/* Once all is read: do grants name sources that there are? */
int parse_finish_grants(Parse *parse);
