/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in a temporary directory, with its lane, and what was read from it: for the tests of the
 * room.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "broker/store/store.h"

typedef struct Bench {
        char directory[64];
        char path[128];
        sd_event *event;
        Lane *lane;
        Store *store;
        Failure failure;
        unsigned n_done;
        /* what was read */
        Certificate *certificates[64];
        size_t n_certificates;
        Backend *backends[64];
        size_t n_backends;
        char note[64];
} Bench;

int bench_try(Bench *bench);
void bench_start(Bench *bench);
void bench_stop(Bench *bench);
void bench_open(Bench *bench);
void bench_restart(Bench *bench);
void bench_close(Bench *bench);
void bench_read(Bench *bench);
void on_done(void *userdata, const Failure *failure);
int commit(Bench *bench, StoreChange *change);
StoreChange *change_new(Bench *bench);
Generation *generation_make(uint64_t number, unsigned n_chain, size_t n_der);
Certificate *certificate_make(const char *id, unsigned n_generations);
void put_certificate(Bench *bench, const char *id, unsigned n_generations);
int keep_backend(void *userdata, Backend *backend);
