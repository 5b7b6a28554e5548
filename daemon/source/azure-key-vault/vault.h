/* SPDX-License-Identifier: Apache-2.0 */
/* One vault: what its workers and its keeper share, and how a request is sent to it. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"
#include "source/azure-key-vault/answer.h"
#include "source/azure-key-vault/gate.h"
#include "source/azure-key-vault/http.h"
#include "source/azure-key-vault/objects.h"
#include "source/azure-key-vault/permission.h"
#include "source/azure-key-vault/settings.h"
#include "source/azure-key-vault/token.h"
#include "source/driver.h"

/* Each waits for one answer; the connections are far fewer. */
#define VAULT_SIGNERS  256
#define VAULT_MANAGERS 16

typedef struct Keys {
        pthread_mutex_t lock;
        pthread_cond_t loaded; /* monotonic */
        Map entries;           /* key locator → KeyEntry, keys.c */
        size_t n_private;      /* with a private half here */
} Keys;

typedef struct Vault {
        DriverHost host;
        Settings settings;
        Http *http;
        Tokens tokens;
        bool challenged; /* the vault's challenge suits; whoever asks for the token has it */
        Keys keys;

        pthread_mutex_t lock; /* of the rest */
        Gate gate;
        char gate_text[200]; /* why it is closed, or what it waits for */
        long gate_status;    /* HTTP's, of that */
        Objects objects;     /* that fail by themselves */
        Permissions permissions;
        char *learned_resource; /* from a challenge that was verified */
        Map refused;            /* "permission url" → Refusal */
        Map newest;             /* certificate's name → Newest: newest.c */

        /* the keeper's */
        pthread_cond_t stirred; /* monotonic */
        bool stir;
        uint64_t n_rounds; /* of the keeper, completed */
        SourceState told_state;
        char told_text[800]; /* the reason, then the permissions */
} Vault;

int vault_new(char *const *settings, const DriverHost *host, Vault **ret_vault, Failure *failure);

typedef struct VaultCall {
        const char *method;
        const char *uri;   /* without query: an identifier, or the identifier and an operation */
        const char *query; /* beside api-version; NULL: none */
        const void *body;  /* JSON; NULL: none */
        size_t n_body;
        Permission permission;
        unsigned cost; /* units of the gate; 0: 1 */
        bool signs;    /* a signature waits for it: it may use what management leaves */
        bool secret;   /* the answer is kept in locked memory */
        bool once;     /* not to be sent again after a failure that may have happened behind it */
        uint64_t deadline_usec;
} VaultCall;

/* 0: a status of the 200s. Else the one translation of faults and statuses to outcomes. */
int vault_call(Vault *vault, const VaultCall *call, HttpAnswer *answer, Failure *failure);

/*
 * Is the vault there? One cheap request, over a connection of its own; with the token, where there is one,
 * since what has failed may be behind the door that asks for it. Without: does its challenge suit?
 */
int vault_probe(Vault *vault, bool with_token, uint64_t deadline_usec, Failure *failure);

/* tokens_get() and the like for this vault. */
int vault_fetch_token(void *vault, const char *claims, uint64_t deadline_usec,
                      TokenAnswer *answer, Failure *failure);
/* Makes the keeper look. */
void vault_stir(Vault *vault);
/* Sleeps, at most until the deadline. false: that is over. */
bool vault_sleep(uint64_t usec, uint64_t deadline_usec);
uint32_t vault_random(void);
/* Forgets refusals and failures: somebody may have granted a role, or mended something. */
void vault_forget(Vault *vault);
