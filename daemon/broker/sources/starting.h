/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker's half of the starter and its process have in common. Private to them. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "broker/sources/starter.h"

typedef enum StarterOrder {
        STARTER_START, /* with the process's end of its socket */
        STARTER_KILL,
        _STARTER_ORDER_N
} StarterOrder;

typedef struct StarterRequest {
        uint64_t id;
        int32_t order, unused;
} StarterRequest;

/* The starter's process, from its fork on. fd: its end of the socket to the broker. */
_Noreturn void starting_main(int fd, pid_t broker, char *helper);
