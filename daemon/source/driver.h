/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kind of source is to the host: a const table of functions. The host reads the wire and answers
 * it; a driver talks to its token or vault. One process holds one source, so a driver has one instance.
 *
 * Threads: `configure` runs on the main thread and must not wait for anything. `start` begins the
 * driver's own work (log-in, watching) on threads of its own. The operations are called by as many
 * workers of each kind at once as `configure` asked for. `wipe` is called last, while workers may still be busy.
 *
 * An operation fills `reply` (but neither id nor failure.status) and returns 0, or a status or -errno
 * with its sentence in reply->failure. It is not called when the request has expired. The deadline is
 * on the monotonic clock: what waits, waits no longer.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "source/handed.h"
#include "wire/message.h"

/* What a driver may ask of its host. All are thread-safe. */
typedef struct DriverHost {
        void *userdata;
        /* The source's state is now this; the text says why, NULL: nothing to say. */
        void (*changed)(void *userdata, SourceState state, const char *text);
        /* The last resort: nothing but a new process can help. Does not return. */
        void (*give_up)(void *userdata, const char *why);
        /*
         * The chain of the certificate that the source's settings name, and, unless the algorithm is
         * ALGORITHM_NONE, a signature of its key, which lies in another source of the broker. Waits.
         */
        int (*ask)(void *userdata, const char *certificate, Algorithm algorithm, const Bytes *input,
                   uint64_t deadline_usec, BytesList *ret_chain, Bytes *ret_signature,
                   Failure *failure);
} DriverHost;

typedef struct DriverCall {
        WireRequest *request; /* its descriptors are read and closed already: */
        Handed *handed;       /* handed_take() */
        uint64_t deadline_usec;
} DriverCall;

/* How many operations may run at once. Management never takes a worker of the signatures, nor one its. */
typedef struct DriverWorkers {
        unsigned n_sign; /* signatures and decryptions, unless they serve management */
        unsigned n_manage;
} DriverWorkers;

typedef int (*driver_operation)(void *instance, const DriverCall *call, WireReply *reply);

typedef struct SourceDriver {
        const char *name; /* as the setting `driver` has it */

        /*
         * settings: "key=value". Keys that are not its own are ignored: the broker has checked them.
         */
        int (*configure)(char *const *settings, const DriverHost *host, void **ret_instance,
                         DriverWorkers *ret_workers, Failure *failure);
        int (*start)(void *instance);
        /* Overwrites what is secret; nothing is freed, the process ends after it. */
        void (*wipe)(void *instance);

        /* One slot for each operation of the wire; NULL: the source answers CB_NOT_SUPPORTED. */
        driver_operation sign;    /* key_uri, algorithm, input → output */
        driver_operation decrypt; /* key_uri, name = algorithm, input → output */
        driver_operation import; /* name, generation, extractable, fds, input → key facts, chain */
        driver_operation generate; /* name, generation, key_type, extractable, input → key facts */
        driver_operation lookup;   /* uri → key facts, chain */
        driver_operation install;  /* name, generation, key_uri, chain */
        driver_operation request;  /* key_uri, name, settings → output */
        driver_operation destroy;  /* key_uri */
        driver_operation take_back; /* input = a mark: what was made with it, also half */
        driver_operation export;    /* key_uri, name, chain, fds → fds */
        driver_operation unlock;    /* fds {pin} */
        driver_operation refresh;   /* nothing → 0 when the source serves, else why it does not */
} SourceDriver;

/* The setting's value, NULL where there is none. Borrowed. */
const char *driver_setting(char *const *settings, const char *key);
