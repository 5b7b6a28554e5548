/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log's chain of hashes, judged line by line. Pure: no file, no clock. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_LENGTH 32

/* What a line says, and where it is. */
typedef struct ChainLine {
        unsigned file;   /* which of the files, as the caller counts them */
        uint64_t number; /* of the line in it, from 1 */
        bool is_record;  /* else: nothing that certbrokerd writes */
        bool is_gap;     /* certbrokerd's own note that the log did not fit its store */
        bool is_cut;     /* no newline ends it */
        uint64_t seq;
        uint8_t prev[HASH_LENGTH], hash[HASH_LENGTH];
        bool is_resume;        /* of records that could not be written, or be made durable */
        uint64_t n_lost;       /* of a resume: that could not be written */
        uint64_t expected_seq; /* of a gap: what the store had; 0: not told */
        uint8_t expected_hash[HASH_LENGTH];
} ChainLine;

/* Reads one line without its newline; the place is the caller's to fill in. */
void chain_line_parse(const char *text, size_t n, ChainLine *ret_line);

typedef enum ChainFault {
        CHAIN_EDITED,
        CHAIN_MISSING,
        CHAIN_INSERTED,
        CHAIN_DUPLICATED,
        CHAIN_REORDERED,
        CHAIN_CUT,
        CHAIN_TORN,
        CHAIN_GAP,
        _CHAIN_FAULT_N
} ChainFault;

const char *chain_fault_name(ChainFault fault);

typedef struct ChainFinding {
        ChainFault fault;
        unsigned file;
        uint64_t number;   /* of the line; 0: before the first */
        uint64_t seq;      /* of the record there; 0: none */
        uint64_t from, to; /* records that are missing; 0: none */
        char text[224];
} ChainFinding;

#define CHAIN_FINDINGS_MAX 20

/* Where the chain must end, as the daemon or its store remembers it. */
typedef struct ChainHead {
        bool is_known;
        uint64_t seq; /* this record must be there, with this hash */
        uint8_t hash[HASH_LENGTH];
        uint64_t
                seq_max; /* none may be above it, and if it is there it has this hash; 0: not known */
        uint8_t hash_max[HASH_LENGTH];
} ChainHead;

typedef struct Chain {
        ChainHead head;
        struct {
                uint64_t seq;
                uint8_t hash[HASH_LENGTH], prev[HASH_LENGTH];
                bool is_hash_unknown;
                unsigned file;
                uint64_t number; /* 0: before the first line */
        } last;                  /* the last that fits */
        ChainLine pending;       /* judged when the one after it is known */
        bool has_pending, is_head_seen, is_head_wrong;
        ChainFinding head_place, above;
        uint64_t n_records, n_findings;
        uint64_t n_lost, lost_seq; /* by what its records say, at least; and the first that does */
        ChainFinding findings[CHAIN_FINDINGS_MAX];
        size_t n_kept;
} Chain;

/* first: the number of the oldest record that must be there, 1 for a log that is whole. */
void chain_init(Chain *chain, uint64_t first, const ChainHead *head);
void chain_feed(Chain *chain, const ChainLine *line);
/* The end of the log. What was found is in findings then, the first bad line first. */
void chain_finish(Chain *chain);
