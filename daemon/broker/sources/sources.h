/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources: one process each, started, configured, watched, killed and started again. It knows no
 * driver. Each request has a deadline; a process that misses that of a signature by more than a second is
 * hung: it is killed, its requests are answered, and it is started again with back-off. One that manages and
 * is late is answered for, and nothing else: it has a lane of its own.
 */
#pragma once

#include "base/failure.h"
#include "base/macro.h"
#include "broker/config/config.h"
#include "core/breaker.h"
#include "wire/message.h"

typedef struct sd_event sd_event;
typedef struct Sources Sources;
typedef struct Source Source;
typedef struct Starter Starter;

typedef struct SourcesEvents {
        /*
         * State or text has changed, or the source is new (`removed` false) or gone. On the loop.
         */
        void (*changed)(void *userdata, Source *source);
        void (*added)(void *userdata, Source *source);
        void (*removed)(void *userdata, const char *name);
        /* Its process asks for something of another source: see wire/message.h. Answered by WIRE_ANSWER. */
        void (*ask)(void *userdata, Source *source, const WireReply *question);
        /* The starter has ended, with all processes; there is no other. */
        void (*starter_lost)(void *userdata);
} SourcesEvents;

/* starter: borrowed, as long as there are sources. */
int sources_new(sd_event *event, Starter *starter, const SourcesEvents *events, void *userdata,
                Sources **ret_sources);
/*
 * Asks each process to end, kills it after 2 s; requests in flight are answered with
 * CB_SOURCE_UNAVAILABLE. There is no source afterwards. To be called while those who made the
 * requests are still there; sources_free() does it too.
 */
void sources_stop(Sources *sources);
Sources *sources_free(Sources *sources);
DEFINE_CLEANUP(Sources, sources_free)

/*
 * Makes what runs equal to what is configured: a source whose settings are the same goes on
 * undisturbed, but for one that is locked: it reads its PIN file again.
 */
int sources_configure(Sources *sources, const Config *config);

size_t sources_count(const Sources *sources);
Source *sources_at(const Sources *sources, size_t index); /* by name, ascending */
Source *sources_find(const Sources *sources, const char *name);

const char *source_name(const Source *source);
const char *source_driver(const Source *source);
const char *source_uri(const Source *source);
const char *source_setting(const Source *source, const char *key); /* NULL: it has none */
SourceState source_state(const Source *source);
const char *source_last_error(const Source *source); /* "": none */
size_t source_in_flight(const Source *source);       /* requests that it owes an answer */
/* How long what it said last may be served while it does not; UINT64_MAX: without end. */
uint64_t source_max_stale_sec(const Source *source);
/* When it served last: now, while it does; 0: never. */
uint64_t source_served_sec(const Source *source);
void source_recall_served(Source *source, uint64_t sec); /* what is known of an earlier life */
uint64_t source_last_ready_sec(
        const Source *source); /* 0: never yet; while it is ready, since when or later */

/*
 * Sends a request (its id is set here). `done` is called exactly once, later, never from within;
 * the reply is borrowed and carries CB_SOURCE_UNAVAILABLE, CB_SOURCE_LOCKED, CB_TIMED_OUT where
 * there was no answer. CB_LIMIT_EXCEEDED (too many in flight, of all or of this owner, or the socket is full) and a state
 * that does not serve are returned at once, with `failure`, and `done` is not called. UNLOCK and
 * REFRESH are sent in every state that has a process.
 */
typedef void (*source_done)(void *userdata, WireReply *reply);
int source_submit(Source *source, const WireRequest *request, source_done done, void *userdata,
                  Failure *failure);
