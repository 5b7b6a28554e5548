/* SPDX-License-Identifier: Apache-2.0 */
/* What tests and alloc-fault.c share: 64-bit numbers, then text; allocations.py reads and writes them by their places. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FRAMES_MAX 40

typedef enum Whose {
        WHOSE_OURS,      /* what our own code allocates */
        WHOSE_EVERYBODY, /* what anybody does */
        WHOSE_BELOW,     /* what our own code does, and what it calls, but for libcrypto */
        WHOSE_BELOW_AND_LIBCRYPTO,
} Whose;

typedef struct FaultPage {
        _Atomic uint64_t armed, pid;
        _Atomic uint64_t whose;      /* a Whose */
        _Atomic uint64_t first, n_wanted;
        _Atomic uint64_t n_seen, n_failed;
        char program[64];         /* pid 0: whatever runs this next */
        char trace[8192 - 7 * 8 - 64]; /* of the first that failed: "MODULE OFFSET" a line */
} FaultPage;

/* For a program that walks itself; weak, so that it links without what is preloaded. */
#define WEAK __attribute__((__weak__))
WEAK void alloc_fault_arm(uint64_t first, uint64_t n_wanted, Whose whose);
WEAK uint64_t alloc_fault_disarm(void); /* how many have failed */
WEAK const char *alloc_fault_trace(void);
