/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bus: everything that D-Bus says to the broker and the broker to D-Bus, on a message bus and on the
 * private channel. It keeps connections and who is behind them, and nothing of the domain.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/failure.h"
#include "base/macro.h"
#include "broker/manage/manage.h"
#include "broker/metrics/metrics.h"
#include "broker/sign/sign.h"
#include "core/catalog.h"
#include "core/grants.h"
#include "core/refusals.h"

typedef struct sd_event sd_event;
typedef struct Bus Bus;

/* What a source shows. Borrowed until the loop's next turn; all text may be NULL. */
typedef struct BusSource {
        const char *name, *driver, *uri, *state, *last_error;
        uint64_t last_ready_sec;
} BusSource;

/* How the bus looks at sources, of which it knows nothing else. */
typedef struct BusSourceView {
        size_t (*count)(const Sources *sources);
        void (*at)(const Sources *sources, size_t index, BusSource *ret_source);
        bool (*find)(const Sources *sources, const char *name, BusSource *ret_source);
} BusSourceView;

typedef enum BusEnd {
        BUS_NO_CONNECTION, /* at start only: later it is tried again for ever */
        BUS_NAME_TAKEN,
        BUS_NAME_LOST,
} BusEnd;

/* What one call was and came to, for the audit log. Borrowed; text may be NULL. */
typedef struct BusRecord {
        const char *event;
        uint32_t uid, pid;
        const char *unit, *object;
        uint64_t generation;
        const char *algorithm, *grant;
        const char *certificate; /* the id, where the object is another and it matters; else NULL */
        bool forced;             /* the option `force` was given */
        bool is_disabled, is_enabled; /* of SetEnabled: which it was to be */
        const char *result;      /* "ok", or the error's name */
        const RefusalSum *sum;   /* many that failed, in one record; NULL: it is of one call */
} BusRecord;
typedef void (*bus_recorded)(void *call, int r);

/* What the bus asks its owner for, and tells it. All on the loop. */
typedef struct BusHost {
        /*
         * Accepts a record; `done` is called, maybe from within, when the answer may go out. r below 0: it could not be
         * kept, and a success must not be answered.
         */
        void (*record)(void *userdata, const BusRecord *record, bus_recorded done, void *call);
        /* May something be done that has to be recorded? The failure says why not. */
        int (*may_record)(void *userdata, Failure *failure);
        /* Why a record could not be kept; "" where that is not known. Borrowed until the loop's next turn. */
        const char *(*record_problem)(void *userdata);
        /* The audit log, read-only: a descriptor of the caller's, and where its chain stands. */
        int (*open_audit)(void *userdata, int *ret_fd, uint64_t *ret_seq,
                          char ret_hash[THUMBPRINT_TEXT]);

        /* What GetMetrics answers; the text is the caller's. */
        int (*report)(void *userdata, char **ret_text);
        /* Reads the configuration again; calls bus_configure() if it is good. */
        int (*reload)(void *userdata, Failure *failure);
        /* Call manage_tick() then: see ManageEvents. */
        void (*wake_at)(void *userdata, uint64_t realtime_sec);
        /* And manage_retry() then. */
        void (*retry_at)(void *userdata, uint64_t monotonic_usec);
        /* The name is ours: the first time, and after each reconnection. */
        void (*ready)(void *userdata);
        /* It cannot go on. */
        void (*ended)(void *userdata, BusEnd end, const char *text);
} BusHost;

typedef struct BusRooms {
        sd_event *event;
        Catalog *catalog;
        Sources *sources; /* only to pass on */
        const BusSourceView *source_view;
        Manage *manage;
        Signer *signer;
        Metrics *metrics;
} BusRooms;

/* Observes manage from now on. */
int bus_new(const BusRooms *rooms, const BusHost *host, void *userdata, Bus **ret_bus);
Bus *bus_free(Bus *bus);
DEFINE_CLEANUP(Bus, bus_free)

/*
 * Who may read other objects than before is told so, in
 * the turns that follow. Keeps a reference of the grants.
 */
void bus_configure(Bus *bus, Grants *grants, unsigned n_in_flight_max);
/* Listens on RUNTIME/channel, whatever lies there, and on an abstract address where that is free. */
int bus_open_channel(Bus *bus, const char *runtime_directory, Failure *failure);
/* "system", "session" or an address; connects in the background and says ready() or ended(). */
int bus_connect(Bus *bus, const char *address, Failure *failure);

/* Takes no more requests and gives the name back; what is in flight is still answered. */
void bus_stop(Bus *bus);
/* Records what it has kept to be recorded later: before the log is closed. */
void bus_settle(Bus *bus);
/* Nothing is in flight, and everything that was answered has been handed to the kernel. */
bool bus_is_idle(const Bus *bus);

/* Calls that are not answered yet. */
size_t bus_in_flight(const Bus *bus);

/* What clients of a standing have, of what is limited, and how often they were refused more. */
typedef struct BusLimit {
        const char *limit, *standing;
        uint64_t used;
        uint64_t n_reached; /* 0: never; then the rest is 0, too */
        uint64_t first_sec, last_sec;
        uint32_t uid; /* the last one */
} BusLimit;

/* By index, from 0; false: there are no more. */
bool bus_limit_at(const Bus *bus, size_t index, BusLimit *ret_limit);
/* Calls that failed and have no record of their own. */
uint64_t bus_summed(const Bus *bus);

void bus_source_added(Bus *bus, const char *name);
void bus_source_changed(Bus *bus, const char *name);
void bus_source_removed(Bus *bus, const char *name);
