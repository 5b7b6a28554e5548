/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's inside: one of each room. Shared by broker.c, which makes them, and host.c, which goes between them. */
#pragma once

#include "broker/broker.h"
#include "broker/bus/bus.h"
#include "broker/clock-watch.h"
#include "broker/config/config.h"
#include "broker/directory.h"
#include "broker/ledger.h"
#include "broker/manage/manage.h"
#include "broker/notify.h"
#include "broker/metrics/metrics.h"
#include "broker/shutdown.h"
#include "broker/sign/sign.h"
#include "broker/sources/sources.h"
#include "broker/store/store.h"
#include "broker/wake.h"
#include "loop/lane.h"

struct Broker {
        BrokerOptions options;
        Config *config;
        char grants_hash[THUMBPRINT_TEXT]; /* of those in force; empty: not known */
        sd_event *event;
        Lane *lane;
        Catalog *catalog;
        Store *store;
        Sources *sources;
        Signer *signer;
        Manage *manage;
        Ledger *ledger;
        Metrics *metrics;
        Bus *bus;
        Notify *notify;
        Wake *tick;  /* when manage wants to be woken: at a date, */
        Wake *retry; /* and when it has waited long enough */
        ClockWatch *clock;
        Shutdown shutdown;
        DirectoryLocks locks; /* one broker to each */
};

extern const SourcesEvents broker_sources_events;
extern const BusHost broker_bus_host;

/* What a report, or the line for the service manager, is made of. */
ReportRooms broker_report_rooms(const Broker *broker);
void broker_on_tick(void *userdata);
void broker_on_retry(void *userdata);
void broker_on_key_used(void *userdata, const char *id, uint64_t generation, int status);
void broker_on_held_back(void *userdata, const char *id, uint64_t generation, Algorithm algorithm);
/* ask.c: a source's process needs a signature of another source's key. */
void broker_on_ask(void *userdata, Source *source, const WireReply *question);
/* Hands a good configuration to every room, and keeps it; what was in force before is freed after. */
int broker_put_in_force(Broker *broker, Config *config, Failure *failure);
/* Reads the configuration again; an error leaves the old one in force. */
int broker_reload(void *userdata, Failure *failure);
