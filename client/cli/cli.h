/* SPDX-License-Identifier: Apache-2.0 */
/* What every verb has at hand: the client, how to answer, and how to fail. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include <certbroker/certbroker.h>

#include "arguments.h"
#include "macro.h"

/* An outcome of the tool's own, beside enum cb_status: it was called in a wrong way. */
#define CLI_USAGE (_CB_STATUS_N + 1)

struct Cli {
        cb_client *client;
        const Arguments *arguments;
        cb_error error; /* of a verb that does not give 0 */
};

DEFINE_CLEANUP(cb_value *, cb_value_free)
DEFINE_CLEANUP(cb_dict *, cb_dict_free)
DEFINE_CLEANUP(cb_credential *, cb_credential_free)

/* The tables of the nouns, each in a file of its own. */
extern const Verb status_verbs[], certificate_verbs[], backend_verbs[], source_verbs[],
        policy_verbs[], audit_verbs[], backup_verbs[], restore_verbs[], metrics_verbs[],
        doctor_verbs[], setup_verbs[];

int cli_fail(Cli *cli, int status, const char *format, ...) PRINTF(3, 4); /* returns status */
int cli_usage(Cli *cli, const char *format, ...) PRINTF(2, 3);            /* returns CLI_USAGE */
int cli_out_of_memory(Cli *cli);                                          /* returns -ENOMEM */
int cli_exit_status(int r);

/* ------------------------------------------------------------------ asking the broker (ask.c) */

/* Properties of an object, a dict; kind is "certificate", "backend" or "source". */
int ask_properties(Cli *cli, const char *kind, const char *name, cb_value **ret_reply,
                   const cb_value **ret_properties);
/* The same for whatever GetCertificate takes. */
int ask_certificate(Cli *cli, const char *selector, cb_value **ret_reply,
                    const cb_value **ret_properties);
/* Objects of a kind, in order: a dict of properties each. */
typedef struct Objects {
        cb_value **replies;
        size_t n_replies;
        const cb_value **dicts;
        size_t n_dicts;
} Objects;
void objects_deinit(Objects *objects);
/*
 * All of a kind that may be read, however many: never in one answer, which has its limit. On failure, too,
 * objects_deinit() is the caller's.
 */
int ask_objects(Cli *cli, const char *kind, Objects *objects);
/* Their names alone, in one question; what on_name() gives but 0 ends it. */
int ask_names(Cli *cli, const char *kind, int (*on_name)(void *userdata, const char *name),
              void *userdata);
/*
 * Whether the caller may be one who is granted `audit`, and so read the metrics. Who is likely not to be is not
 * to ask for them, as each refusal is a record in the audit log. True, too, if nobody answers.
 */
bool ask_may_audit(Cli *cli);
/* A method of an object; the answer may not matter (NULL). */
int ask_object(Cli *cli, const char *kind, const char *name, const char *member,
               cb_value **ret_reply, const char *signature, ...);
