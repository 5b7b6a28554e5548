/* SPDX-License-Identifier: Apache-2.0 */
/* One source and the collection, to each other. Private to this room (and to its test: timing). */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "broker/sources/sources.h"

typedef struct SourcesTiming {
        uint64_t backoff_first_usec; /* before a process that died is started again */
        uint64_t backoff_max_usec;   /* and where SOURCE_DEATHS_MAX died within death_window_usec */
        uint64_t death_window_usec;
        uint64_t good_life_usec;  /* one that lived so long begins anew */
        uint64_t hang_grace_usec; /* after a deadline: then the process is killed */
        uint64_t eof_grace_usec;  /* from the end of the socket to that of the process */
        uint64_t stop_usec;       /* from asking a process to end to killing it */
} SourcesTiming;

void sources_set_timing(Sources *sources, const SourcesTiming *timing);

struct Sources {
        sd_event *event;
        char *helper;
        SourcesEvents events;
        void *userdata;
        SourcesTiming timing;
        uint64_t request_timeout_usec;
        uint8_t *buffer; /* WIRE_PACKET_MAX, for whichever source receives */
        Source **items;  /* by name */
        size_t n;
        Source *leaving; /* removed; each until its process is reaped */
        struct sd_event_source *sweep;
};

/* Copies config. The source starts its process by itself. */
int source_new(Sources *sources, const SourceConfig *config, Source **ret_source);
Source *source_free(Source *source); /* its process has been reaped, or never was */
DEFINE_CLEANUP(Source, source_free)

void source_start(Source *source);
const SourceConfig *source_config(const Source *source);
int source_reconfigure(Source *source, const SourceConfig *config);
/* Asks its process to end, answers what is in flight; sources_sweep_soon() when it can be freed. */
void source_leave(Source *source);
/* Closes the socket, and takes nothing more. */
void source_shut(Source *source);
/* Shuts it, answers what is in flight, and leaves the process (0: none) to the caller. */
pid_t source_abandon(Source *source);
pid_t source_pid(const Source *source);
Source **source_next_leaving(Source *source); /* its link in Sources.leaving */

void sources_sweep_soon(Sources *sources);
