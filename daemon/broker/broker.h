/* SPDX-License-Identifier: Apache-2.0 */
/* Broker: owns one of each room of certbrokerd, and runs their loop. */
#pragma once

#include <stdint.h>

#include "base/failure.h"
#include "base/macro.h"

typedef struct Broker Broker;
typedef struct Starter Starter;

typedef struct BrokerOptions {
        const char *config; /* path; NULL: the installed one */
        const char *bus;    /* NULL: as configured */
        Starter *starter;
        uint64_t wait_usec; /* READY=1 waits so long for sources that start; 0: not at all */
} BrokerOptions;

/* The exit statuses of the program. */
enum broker_exit {
        BROKER_EXIT_OK = 0,
        BROKER_EXIT_USAGE = 64,
        BROKER_EXIT_BUS = 69,
        BROKER_EXIT_INTERNAL = 70,
        BROKER_EXIT_CONFIG = 78,
};

/*
 * SIGTERM, SIGINT and SIGHUP are blocked by the caller. Returns BROKER_EXIT_OK, or the status to
 * exit with; the failure says why. Options are borrowed for the broker's life.
 */
int broker_new(const BrokerOptions *options, Broker **ret_broker, Failure *failure);
/* Until SIGTERM, or until it cannot go on; the exit status. */
int broker_run(Broker *broker);
Broker *broker_free(Broker *broker);
DEFINE_CLEANUP(Broker, broker_free)
