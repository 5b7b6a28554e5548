/* SPDX-License-Identifier: Apache-2.0 */
/* Notify: what the service manager is told: when it is ready, and how it is, in a line. */
#pragma once

#include <stdint.h>

#include "base/macro.h"
#include "broker/report.h"

typedef struct sd_event sd_event;
typedef struct Notify Notify;

/*
 * Rooms are borrowed, and looked at whenever a line is made. wait_usec: for sources that start; 0:
 * not at all.
 */
int notify_new(sd_event *event, const ReportRooms *rooms, uint64_t wait_usec, Notify **ret_notify);
Notify *notify_free(Notify *notify);
DEFINE_CLEANUP(Notify, notify_free)

/*
 * The name is ours; also when it is so again. READY=1 follows, now or when sources that start have
 * answered.
 */
void notify_owned(Notify *notify);
/*
 * Something may be different now. It costs nothing: the line is made a moment later, once for all
 * that changes.
 */
void notify_touch(Notify *notify);
void notify_reloading(Notify *notify);
/* is_refused: what is configured is wrong, and what was in force before still is. */
void notify_reloaded(Notify *notify, bool is_refused);
void notify_stopping(Notify *notify);
