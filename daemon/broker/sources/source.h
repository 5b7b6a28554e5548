/* SPDX-License-Identifier: Apache-2.0 */
/* One source and the collection, to each other. Private to this room (and to its test: timing). */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/sources/pending.h"
#include "broker/sources/sources.h"
#include "broker/sources/starter.h"

#define SOURCE_DEATHS_MAX 5
#define SOURCE_TEXT_MAX   800

typedef struct sd_event_source sd_event_source;

typedef struct SourcesTiming {
        uint64_t backoff_first_usec; /* before a process that died is started again */
        uint64_t backoff_max_usec;   /* and where SOURCE_DEATHS_MAX died within death_window_usec */
        uint64_t death_window_usec;
        uint64_t good_life_usec;  /* one that lived so long begins anew */
        uint64_t hang_grace_usec; /* after a deadline: then the process is killed */
        uint64_t eof_grace_usec;  /* from the end of the socket to that of the process */
        uint64_t stop_usec;       /* from asking a process to end to killing it */
        uint64_t heartbeat_usec;  /* how often one that runs has to give a sign of life */
} SourcesTiming;

void sources_set_timing(Sources *sources, const SourcesTiming *timing);

struct Sources {
        sd_event *event;
        Starter *starter;
        uint64_t last_process; /* the number of the one that was started last */
        SourcesEvents events;
        void *userdata;
        SourcesTiming timing;
        uint64_t request_timeout_usec;
        uint8_t *buffer; /* WIRE_PACKET_MAX, for whichever source receives */
        Source **items;  /* by name */
        size_t n;
        Source *leaving; /* removed; each until its process has ended */
        sd_event_source *sweep, *reports;
};

typedef enum Phase {
        PHASE_WAITING,     /* no process; the timer starts the next */
        PHASE_CONFIGURING, /* started, and sent its settings */
        PHASE_RUNNING,
        PHASE_STOPPING, /* asked to end, or killed: has not ended yet */
        _PHASE_N
} Phase;

struct Source {
        Sources *sources;
        SourceConfig *config;
        SourceState state;
        char *last_error; /* printable UTF-8; "": none */
        uint64_t last_ready_sec;
        uint64_t served_sec; /* when it ceased to serve */

        Phase phase;
        uint64_t process; /* 0: none */
        pid_t pid;        /* 0: none, or not told yet */
        int fd;           /* -1: none */
        sd_event_source *io, *phase_timer, *deadline_timer, *heartbeat;
        bool is_heard;     /* since the last beat */
        unsigned n_silent; /* beats */
        bool at_eof;
        bool killed; /* while stopping */
        bool answering; /* what was in flight: nothing new is taken meanwhile */
        Pending *pending;

        Backoff backoff;
        uint64_t started_usec;
        uint64_t deaths_usec[SOURCE_DEATHS_MAX]; /* a ring */
        unsigned n_deaths;
        uint64_t restart_usec; /* delay: for the next PHASE_WAITING */

        bool leaving;
        Source *next_leaving;
};

/* Copies config. The source starts its process by itself. */
int source_new(Sources *sources, const SourceConfig *config, Source **ret_source);
Source *source_free(Source *source); /* its process has ended, or never was */
DEFINE_CLEANUP(Source, source_free)

void source_start(Source *source);
const SourceConfig *source_config(const Source *source);
int source_reconfigure(Source *source, const SourceConfig *config);
/* Asks its process to end, answers what is in flight; sources_sweep_soon() when it can be freed. */
void source_leave(Source *source);
/* Closes the socket, and takes nothing more. */
void source_shut(Source *source);
/* Shuts it, answers what is in flight, and leaves the process to the caller. */
void source_abandon(Source *source);
uint64_t source_process(const Source *source); /* 0: it has none */
void source_forget_process(Source *source);
void source_on_report(Source *source, const StarterReport *report);
pid_t source_pid(const Source *source);
Source **source_next_leaving(Source *source); /* its link in Sources.leaving */

void sources_sweep_soon(Sources *sources);

/* source.c to traffic.c: a process that is wanted now, and one that is given up. */
void source_spawn(Source *source);
void source_lost(Source *source, const char *why);
void source_on_event(Source *source, const WireReply *reply);
void source_arm_phase(Source *source, uint64_t delay_usec);

/* heartbeat.c, for a process that runs */
int heartbeat_new(Source *source);
void heartbeat_begin(Source *source);
void heartbeat_end(Source *source);

/* traffic.c to source.c and heartbeat.c. source_receive: 1 for a packet, 0 for none now, -errno for nonsense. */
bool source_has_socket(const Source *source);
int source_receive(Source *source);
void source_drain(Source *source); /* takes what is there, up to a turn's worth */
void source_ping(Source *source);
void source_answer_all(Source *source, const char *why);
int source_on_io(sd_event_source *event_source, int fd, uint32_t revents, void *userdata);
int source_on_deadline(sd_event_source *event_source, uint64_t usec, void *userdata);
