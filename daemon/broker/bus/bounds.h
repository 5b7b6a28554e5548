/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one client may cost the broker: every number, with its reason. A client is a uid; all who have no grant count as
 * one, for a login has 65,536 uids to itself. README.md tells how they work together; `certbroker status` and the
 * metrics tell which of them were reached.
 */
#pragma once

#include "core/quota.h"
#include "core/turns.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

/* --- one connection to the channel --- */

/*
 * The largest message that means something is 64 KiB to sign with Ed25519, and its header. libdbus ends a connection
 * over a larger one, and keeps what it has of an unfinished one: as much as this, for each connection. Whoever owns the
 * broker may ask about a subject with 65,536 groups, and is trusted not to leave it unfinished.
 */
#define MESSAGE_SIZE_MAX       (72 * KIB)
#define OWNER_MESSAGE_SIZE_MAX (2 * MIB)
/* Read and not dispatched: libdbus reads no more than 4 kB a turn, and nothing while some of it is left. */
#define RECEIVED_SIZE_MAX (64 * KIB)
/* No method takes more than two. With one that is read and not dispatched, nothing more is read. */
#define MESSAGE_FDS_MAX  2
#define RECEIVED_FDS_MAX 1
/* So a connection pins at most itself, those of one message that is dispatched next and of one that is unfinished. */
#define FDS_OF_A_PLACE (1 + 2 * MESSAGE_FDS_MAX)
/* What libdbus, sd-event and we keep for a connection, calls that are read, and what is unfinished. */
#define PLACE_SIZE (MESSAGE_SIZE_MAX + 16 * KIB)
/*
 * Of a connection for which an answer waits that the kernel has no room for, nothing is read: its calls stay with it
 * until it reads. Nor is it told anything meanwhile, or while its client's account has no room for a signal of this
 * size; then that is looked at again now and then.
 */
#define SIGNAL_SIZE       (64 * KIB)
#define SIGNAL_AGAIN_USEC (50 * USEC_PER_MSEC)
/* In the kernel, for answers that are not read; counted by the unit's MemoryMax. The kernel doubles it. */
#define SOCKET_SIZE          (32 * KIB)
#define STRANGER_SOCKET_SIZE (16 * KIB)
/* From the connection to the end of logging in, which takes a client no wait at all. */
#define LOGIN_USEC (10 * USEC_PER_SEC)

/* --- answers --- */

/* A bus disconnects who sends more than 32 MiB. */
#define ANSWER_SIZE_MAX (30 * MIB)
/*
 * An answer of this size or less is given whatever the account says: there are as many as calls in flight, and one more
 * turn of those that were read.
 */
#define SMALL_ANSWER_SIZE (4 * KIB)
/*
 * From here on it is worth copying: libdbus makes room for up to twice of what a message holds. Beyond the other the
 * copy takes longer than anybody should wait, and what is not written to takes no memory.
 */
#define LARGE_ANSWER_SIZE  (64 * KIB)
#define COPIED_ANSWER_SIZE (MIB)

/* --- signals --- */

/*
 * Notices of changes that somebody has not been told yet, of some 300 bytes each, in one list for all. An object is in
 * a few at most, however often it changes: there are fewer than this unless somebody reads nothing for long, in a store
 * of ten thousands. Who is so far behind is told none of it.
 */
#define NOTICES_MAX 65536
/*
 * A change is told at once, before it is answered, while all that takes no more than so much of the loop's time: some
 * twenty signals after a rest. What is more waits for its receiver's turn.
 */
#define AT_ONCE_PERCENT 10
#define AT_ONCE_USEC    USEC_PER_MSEC

/* --- descriptors that go out --- */

/*
 * In answers that are not read (OpenAudit, Export): the kernel counts them against our user's limit of open files, and
 * refuses all of us more above it, also what goes to the sources. A bus stops reading us at 64 by default. Who reads has
 * none of them for long; who has no grant is given none.
 */
#define GIVEN_TO_STRANGERS 1
#define GIVEN_TO_A_CLIENT  8
#define GIVEN_TO_GROUPS    8
#define GIVEN_TO_CLIENTS   24
#define GIVEN_TO_ALL       32

/* --- places on the channel --- */

/* Beyond these the loop is the bottleneck. Fewer where RLIMIT_NOFILE is low. */
#define PLACES_MAX 4096
/* As many as a busy gateway's workers and threads have. All without a grant together have twice as many. */
#define PLACES_OF_A_CLIENT 512
/* Kept for root and who runs the broker. */
#define PLACES_OF_OWNERS 16
/* Descriptors kept for the broker's own needs, for its sources, and for calls that bring some along. */
#define RESERVED_FDS 768

/* New connections of all strangers, and of each that has a grant by a group: what is more is turned away at once. */
#define ARRIVALS_PER_SEC 500
#define ARRIVALS_AT_ONCE 2048

/* --- bytes --- */

/* 512 connections cost less than 64 MiB; with fewer of them the rest is for answers. */
#define BYTES_OF_A_CLIENT   (56 * MIB)
#define BYTES_OF_A_STRANGER (52 * MIB)
#define BYTES_OF_STRANGERS  (100 * MIB)
/* Root may list everything there is, several times over. */
#define BYTES_OF_AN_OWNER (256 * MIB)
/* All clients together; MemoryMax= of the unit is above what they and the rest of the broker can take. */
#define BYTES_OF_GROUPS  (192 * MIB)
#define BYTES_OF_CLIENTS (384 * MIB)
#define BYTES_OF_ALL     (640 * MIB)

/* --- calls --- */

/* `max-in-flight-per-client` is for one; strangers have calls in flight only while their refusal is recorded. */
#define CALLS_OF_STRANGERS 256

/* --- what managers make --- */

/*
 * Who manages some ids is not trusted to fill store, memory and token for all: everything that there is costs a look
 * now and then. Who may manage everything, or owns the broker, is not bound by these. Counted is what a grant covers,
 * whoever has made it: that outlives a restart, and a grant's holders are one neighbour.
 */
#define CERTIFICATES_OF_A_GRANT 4096
#define BACKENDS_OF_A_GRANT     4096
/* Of all its certificates: a key in a token and a chain in memory each. */
#define GENERATIONS_OF_A_GRANT 16384
/* So many at once, as when a team moves in; then one every ten seconds, 8,640 a day, for each user. */
#define MAKING_AT_ONCE 512
#define MAKING_SEC     10

/* --- on the message bus --- */

/* Of senders that the bus has been asked about: then nothing more is read until it has answered, a moment later. */
#define ASKING_MESSAGES_MAX 256
#define ASKING_SIZE_MAX     (8 * MIB)
#define ASKING_WITH_FDS_MAX 8
/* Calls that have come and wait for their client's turn; what is more is refused, for the bus has no other brake. */
#define WAITING_OF_STRANGERS 1024
#define WAITING_OF_A_CLIENT  8192
#define WAITING_OF_AN_OWNER  65536
/* Of these, with descriptors: up to sixteen each, where the bus's policy is not ours. */
#define WITH_FDS_OF_STRANGERS 4
#define WITH_FDS_OF_A_CLIENT  8
#define WITH_FDS_OF_GROUPS    8
#define WITH_FDS_OF_CLIENTS   16
#define WITH_FDS_OF_ALL       24
/* What the bookkeeping of one message takes, beside its bytes. */
#define MESSAGE_COST 1024
/*
 * libdbus stops reading at these, and must not: the limits above come first. (24 + 8 messages of 16 descriptors, and
 * those of one turn.)
 */
#define BUS_RECEIVED_SIZE_MAX (1024 * MIB)
#define BUS_RECEIVED_FDS_MAX  1024
#define NAMES_MAX             4096 /* callers on the bus that are remembered */
/*
 * dbus-daemon books what its clients do not read on who sent it, and stops reading him at so much (max_incoming_bytes,
 * where nothing else is configured): then nobody is answered any more. So what a client has not read is on its account,
 * with MESSAGE_COST for each message, and all together stays below that (book.c).
 */
#define BUS_PATIENCE           (UINT64_C(133169152))
#define BUS_BYTES_OF_A_STRANGER (2 * MIB)
#define BUS_BYTES_OF_STRANGERS  (4 * MIB)
/* The largest answer fits where nobody else leaves anything unread. */
#define BUS_BYTES_OF_A_CLIENT (32 * MIB)
#define BUS_BYTES_OF_GROUPS   (40 * MIB)
#define BUS_BYTES_OF_CLIENTS  (76 * MIB)
#define BUS_BYTES_OF_AN_OWNER (64 * MIB)
#define BUS_BYTES_OF_ALL      (108 * MIB)
/*
 * And what it has is at most so many times what it leaves to others of its standing: however many do not
 * read, the next one finds something.
 */
#define BUS_SHARE_OF_GROUPS  4
#define BUS_SHARE_OF_CLIENTS 1
/* Where there is less room than this, a call is refused before anything is done: it is for small answers to what is. */
#define BUS_ROOM_TO_CALL (512 * KIB)
/* Sent to a connection since the bus was asked what it has for it: then it is asked at once. */
#define BUS_COUNT_SIZE (256 * KIB)
/* And so often, of so many that are left, in turn. */
#define BUS_COUNT_USEC (50 * USEC_PER_MSEC)
#define BUS_COUNTS_MAX 32
/* Not handed to the bus yet: so much, and no more calls are taken from it, and signals are left out. */
#define BUS_UNSENT_MAX (4 * MIB)
/*
 * What the bus may have to read still (in the kernel, with its overhead) when somebody is answered. It reads 2 kB of us
 * in each of its rounds, and a round is long when many call: whoever's answer is next waits for all of that.
 */
#define BUS_BEFORE_A_STRANGER (8 * KIB)
#define BUS_BEFORE_A_CLIENT   (128 * KIB)
#define BUS_AGAIN_USEC        (2 * USEC_PER_MSEC)
/* Where it has taken none of it for so long, it is found out whether it is stuck (link-watch.c). */
#define BUS_STUCK_USEC USEC_PER_SEC

/* --- time --- */

/* One turn of a connection: a few calls, and no more begun after so long. */
#define TURN_CALLS_MAX 16
#define TURN_USEC      100
/* New connections in a turn: turning somebody away takes some 10 microseconds, letting in some 50. */
#define TURN_ARRIVALS_MAX 8
/* Turns in a row, before timers, sources, the disk and new events are looked at. */
#define RUN_USEC 200
/* Strangers have a tenth of the loop's time, also when nobody else wants it: some 5,000 refusals a second. */
#define STRANGERS_PERCENT    10
#define STRANGERS_BURST_USEC (50 * USEC_PER_MSEC)
/* Beside the standings, each of which is a class: connections that come in, and what comes from the bus. */
enum { TURNS_ARRIVALS = _STANDING_N, TURNS_BUS, _TURNS_N };

extern const TurnClass turn_classes[_TURNS_N];

/* The limits of clients, for this many descriptors and calls in flight. */
void limits_make(unsigned n_in_flight_max, uint64_t n_files, QuotaLimits *ret_limits);
