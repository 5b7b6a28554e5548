/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes to a source's process and comes back: requests, replies, events, deadlines.
 *
 * Invariant: `done` of a request that was taken is called exactly once, from the loop: with the
 * answer, at the deadline, or when the process is given up. A request that was refused is not
 * taken. An answer that comes after its deadline only shows that the process lives.
 *
 * It decides nothing about the process: what is wrong with it goes to source_lost().
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/sources/source.h"
#include "wire/packet.h"

/*
 * Requests of management that may be in flight, for one owner and for all but root and the broker itself: so
 * there is always room for signatures. An owner's are worked at one after the other.
 */
#define MANAGING_MAX           1024
#define MANAGING_OF_OWNER_MAX  32

/* No request's: they are counted up from 1. */
#define PING_ID UINT64_MAX
/* Packets received in one turn of the loop: then others have theirs. */
#define SOURCE_TURN_MAX 32

bool source_has_socket(const Source *source)
{
        return source->fd >= 0;
}

/* --- requests in flight --- */

static void source_answer(PendingEntry *entry, int status, const char *text)
{
        WireReply reply;

        wire_reply_init(&reply, entry->id);
        fail(&reply.failure, status, "%s", text);
        entry->done(entry->userdata, &reply);
        wire_reply_deinit(&reply);
}

void source_answer_all(Source *source, const char *why)
{
        char text[SOURCE_TEXT_MAX + 200];
        PendingEntry *first;

        snprintf(text, sizeof(text), "source '%s' gave no answer: %s; try again",
                 source_name(source), why);
        source->answering = true;
        while ((first = pending_first(source->pending))) {
                PendingEntry entry = *first;

                pending_remove(source->pending, first);
                if (!entry.timed_out)
                        source_answer(&entry, CB_SOURCE_UNAVAILABLE, text);
        }
        source->answering = false;
}

static void source_arm_deadline(Source *source)
{
        PendingEntry *first = pending_first(source->pending);

        if (!first || first->due_usec == UINT64_MAX) {
                (void)sd_event_source_set_enabled(source->deadline_timer, SD_EVENT_OFF);
                return;
        }
        (void)sd_event_source_set_time(source->deadline_timer, first->due_usec);
        (void)sd_event_source_set_enabled(source->deadline_timer, SD_EVENT_ONESHOT);
}

static void source_hung(Source *source, const PendingEntry *entry)
{
        char why[160];

        snprintf(why, sizeof(why),
                 "its process hung (no answer to a %s within %" PRIu64 " ms) and was killed",
                 wire_operation_name(entry->operation), entry->timeout_usec / USEC_PER_MSEC);
        source_lost(source, why);
}

static void source_time_out(Source *source, PendingEntry *entry, uint64_t now_usec)
{
        PendingEntry copy = *entry;
        char text[SOURCE_TEXT_MAX];

        entry->timed_out = true;
        /*
         * From now, not from then: we may have been asleep as well. What manages may hang: who signs is not to
         * be held up by that, and the process knows itself what is left of it.
         */
        pending_postpone(source->pending, entry,
                         entry->manages ? UINT64_MAX
                                        : now_usec + source->sources->timing.hang_grace_usec);
        snprintf(text, sizeof(text),
                 "source '%s' gave no answer to a %s within %" PRIu64
                 " ms; see its state, and try again",
                 source_name(source), wire_operation_name(copy.operation),
                 copy.timeout_usec / USEC_PER_MSEC);
        source_answer(&copy, CB_TIMED_OUT, text);
}

int source_on_deadline(sd_event_source *event_source, uint64_t usec, void *userdata)
{
        Source *source = userdata;
        uint64_t now_usec = clock_monotonic_usec();
        PendingEntry *entry;

        (void)event_source;
        (void)usec;
        while ((entry = pending_first(source->pending)) && entry->due_usec <= now_usec) {
                if (entry->timed_out) {
                        source_hung(source, entry);
                        break;
                }
                source_time_out(source, entry, now_usec);
        }
        source_arm_deadline(source);
        return 0;
}

/* --- receiving --- */

/* Takes the reply's members along, but does not free them. */
static void source_on_reply(Source *source, WireReply *reply)
{
        PendingEntry *found, entry;

        if (reply->id == PING_ID)
                return;
        if (reply->id == 0 && reply->ask != 0) {
                if (source->sources->events.ask && !source->leaving)
                        source->sources->events.ask(source->sources->userdata, source, reply);
                return;
        }
        if (reply->id == 0) {
                source_on_event(source, reply);
                return;
        }
        found = pending_find(source->pending, reply->id);
        if (!found)
                return;
        entry = *found;
        pending_remove(source->pending, found);
        if (!entry.timed_out)
                entry.done(entry.userdata, reply);
}

/*
 * There is no memory for what it says. What it was asked may have been done, as where its process ends; of its state
 * nothing may be missed, so for that it is made anew.
 */
static int source_on_unread(Source *source, size_t n)
{
        PendingEntry *found, entry;
        uint64_t id = wire_reply_id(source->sources->buffer, n);

        if (id == PING_ID)
                return 0;
        found = id != 0 ? pending_find(source->pending, id) : NULL;
        if (!found)
                return id == 0 ? -ENOMEM : 0;
        entry = *found;
        pending_remove(source->pending, found);
        if (!entry.timed_out)
                source_answer(&entry, CB_SOURCE_UNAVAILABLE, "no memory for the source's answer");
        return 0;
}

/* 1: one packet was taken; 0: none is there now; -errno: the process is of no use any more. */
int source_receive(Source *source)
{
        int fds[WIRE_FDS_MAX];
        WireReply reply;
        ssize_t n;
        int r;

        n = wire_receive(source->fd, source->sources->buffer, WIRE_PACKET_MAX, fds, MSG_DONTWAIT);
        if (n == -EAGAIN)
                return 0;
        if (n == 0 || n == -ECONNRESET) {
                source->at_eof = true;
                return 0;
        }
        if (n < 0)
                return (int)n;
        source->is_heard = true;
        r = wire_reply_decode(source->sources->buffer, (size_t)n, &reply);
        if (r < 0) {
                for (size_t i = 0; i < WIRE_FDS_MAX; i++)
                        close_fd(fds[i]);
                if (r == -ENOMEM)
                        r = source_on_unread(source, (size_t)n);
                return r < 0 ? r : 1;
        }
        memcpy(reply.fds, fds, sizeof(reply.fds));
        source_on_reply(source, &reply);
        wire_reply_deinit(&reply);
        return 1;
}

void source_drain(Source *source)
{
        for (unsigned i = 0; i < SOURCE_TURN_MAX && source_has_socket(source); i++) {
                int r = source_receive(source);

                if (r < 0) {
                        source_lost(source,
                                    r == -ENOMEM ? "no memory for what its process says"
                                                 : "its process sent what is no answer; is it of "
                                                   "another version?");
                        return;
                }
                if (r == 0)
                        break;
        }
        if (source->at_eof) {
                /* How it ended is known in a moment, when it is reaped. */
                source->io = sd_event_source_disable_unref(source->io);
                source_arm_phase(source, source->sources->timing.eof_grace_usec);
        }
}

int source_on_io(sd_event_source *event_source, int fd, uint32_t revents, void *userdata)
{
        (void)event_source;
        (void)fd;
        (void)revents;
        source_drain(userdata);
        return 0;
}

/* --- submitting --- */

static bool goes_always(WireOperation operation)
{
        return operation == WIRE_CONFIGURE || operation == WIRE_UNLOCK || operation == WIRE_REFRESH ||
               operation == WIRE_ANSWER;
}

static int source_refuse(const Source *source, Failure *failure)
{
        const char *why = source_last_error(source), *colon = *why ? ": " : "";

        if (source->state == SOURCE_LOCKED)
                return fail(
                        failure, CB_SOURCE_LOCKED,
                        "source '%s' is locked%s%s; unlock it with 'certbroker source unlock %s'",
                        source_name(source), colon, why, source_name(source));
        return fail(failure, CB_SOURCE_UNAVAILABLE, "source '%s' is %s%s%s", source_name(source),
                    source->state == SOURCE_STARTING ? "still starting" : "unavailable", colon,
                    why);
}

/* Sends the packet of an entry; the entry stays the caller's. */
static int source_send(Source *source, const WireRequest *request, const PendingEntry *entry,
                       Failure *failure)
{
        Bytes packet = { 0 };
        WireRequest shallow = *request;
        int r;

        shallow.id = entry->id;
        shallow.timeout_usec = entry->timeout_usec;
        r = wire_request_encode(&shallow, &packet);
        if (r == -EMSGSIZE)
                return fail(failure, CB_INVALID_ARGUMENT, "the %s is too large for source '%s'",
                            wire_operation_name(request->operation), source_name(source));
        if (r < 0)
                return fail(failure, r, "the %s cannot be sent to source '%s': %s",
                            wire_operation_name(request->operation), source_name(source),
                            strerror(-r));
        r = wire_send(source->fd, &packet, request->fds, MSG_DONTWAIT);
        bytes_deinit(&packet);
        if (r == 0)
                return 0;
        if (r == -EAGAIN || r == -ENOBUFS || r == -ETOOMANYREFS)
                return fail(failure, CB_LIMIT_EXCEEDED,
                            "source '%s' does not keep up with its requests; try again later",
                            source_name(source));
        return fail(failure, CB_SOURCE_UNAVAILABLE, "source '%s' cannot be reached: %s; try again",
                    source_name(source), strerror(-r));
}

/* Where the socket is full it does not read, which is all that is asked. */
void source_ping(Source *source)
{
        const PendingEntry entry = { .id = PING_ID };
        WireRequest request;
        Failure ignored = { 0 };

        wire_request_init(&request, WIRE_PING);
        (void)source_send(source, &request, &entry, &ignored);
}

static int source_make_room(const Source *source, const WireRequest *request, Failure *failure)
{
        size_t n, n_of_owner;

        if (!request->manages || request->owner == 0)
                return 0;
        n = pending_count_managing(source->pending, request->owner, &n_of_owner);
        if (n_of_owner >= MANAGING_OF_OWNER_MAX)
                return fail(failure, CB_LIMIT_EXCEEDED,
                            "%d requests of yours that manage wait for source '%s' already, which "
                            "does one at a time; try again later",
                            MANAGING_OF_OWNER_MAX, source_name(source));
        if (n >= MANAGING_MAX && request->owner != WIRE_OWNER(0))
                return fail(failure, CB_LIMIT_EXCEEDED,
                            "%d requests that manage wait for source '%s' already; try again later",
                            MANAGING_MAX, source_name(source));
        return 0;
}

int source_submit(Source *source, const WireRequest *request, source_done done, void *userdata,
                  Failure *failure)
{
        uint64_t timeout_usec = request->timeout_usec ?: source->sources->request_timeout_usec;
        PendingEntry *entry;
        int r;

        /* A person asks for it now: no waiting for the back-off. Nor is there any where it starts at once. */
        if (source->phase == PHASE_WAITING &&
            (goes_always(request->operation) || source->restart_usec == 0) &&
            !source->answering && !source->leaving)
                source_spawn(source);
        if (!source_has_socket(source) || source->answering ||
            (!goes_always(request->operation) && !source_state_takes_requests(source->state)))
                return source_refuse(source, failure);

        r = source_make_room(source, request, failure);
        if (r != 0)
                return r;
        entry = pending_add(source->pending, clock_monotonic_usec() + timeout_usec);
        if (!entry)
                return fail(failure, CB_LIMIT_EXCEEDED,
                            "%d requests are in flight to source '%s' already; try again later",
                            PENDING_MAX, source_name(source));
        entry->done = done;
        entry->userdata = userdata;
        entry->operation = request->operation;
        entry->manages = request->manages;
        entry->owner = request->owner;
        entry->timeout_usec = timeout_usec;
        r = source_send(source, request, entry, failure);
        if (r != 0) {
                pending_remove(source->pending, entry);
                return r;
        }
        if (pending_first(source->pending) == entry)
                source_arm_deadline(source);
        return 0;
}
