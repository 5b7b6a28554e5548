/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A method call, from its charge to its answer. The invariant is that each call is answered exactly
 * once: every way out is call_end(), and the call is gone after it. It keeps no message: serial and
 * sender are all that an answer needs, and a message that is kept pins up to sixteen descriptors.
 * A peer that has gone is answered by sending nothing.
 */
#include "broker/bus/room.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/stranger.h"
#include "base/strings.h"

static Call *call_free(Call *call)
{
        assert_always(call->answered);
        if (call->peer)
                TAILQ_REMOVE(&call->peer->calls, call, entry);
        call->bus->n_calls--;
        charge_deinit(&call->charge);
        free(call->unit);
        free(call->grant);
        free(call->bound);
        free(call->source);
        free(call);
        return NULL;
}

int call_new(Peer *peer, const Node *node, MethodId method, DBusMessage *message, Call **ret_call)
{
        Bus *bus = peer->bus;
        Charge charge;
        Call *call;
        int r;

        r = quota_charge(bus->quota, peer_client(peer), RESOURCE_CALLS, 1, &charge);
        if (r > 0)
                note_limit(bus, peer_client(peer), RESOURCE_CALLS);
        if (r != 0)
                return r;
        call = calloc(1, sizeof(*call));
        if (!call || string_set(&call->unit, peer->subject.unit) < 0) {
                charge_deinit(&charge);
                free(call);
                return -ENOMEM;
        }
        *call = (Call){
                .bus = bus,
                .peer = peer,
                .method = method,
                .charge = charge,
                .grants_version = bus->grants->version,
                .serial = dbus_message_get_serial(message),
                .no_reply = dbus_message_get_no_reply(message),
                .node = *node,
                .uid = peer->subject.uid,
                .pid = peer->subject.pid,
                .unit = call->unit,
                .began_usec = clock_monotonic_usec(),
        };
        TAILQ_INSERT_TAIL(&peer->calls, call, entry);
        bus->n_calls++;
        *ret_call = call;
        return 0;
}

int call_take_descriptor(const Call *call, DBusMessageIter *iter)
{
        int fd = -1;

        dbus_message_iter_get_basic(iter, &fd);
        stranger_mark(fd, call->uid);
        return fd;
}

const Subject *call_subject(const Call *call)
{
        return &call->peer->subject;
}

static DBusMessage *new_error(const Peer *peer, uint32_t serial, const char *name,
                              const char *text);

static int admit(Call *call)
{
        int r;

        if (!call->answer)
                return -ENOMEM;
        r = peer_admit(call->peer, &call->answer, call->answer_size);
        if (r == 0 && dbus_message_contains_unix_fds(call->answer))
                r = given_admit(call->peer);
        return r;
}

/* Where its client has more to read than its account allows, or memory is short, it is told that instead. */
static void send_answer(Call *call)
{
        int r = admit(call);

        if (r != 0) {
                if (call->answer)
                        dbus_message_unref(call->answer);
                call->answer = new_error(call->peer, call->serial, status_error_name(r),
                                         r < 0 ? "no memory for the answer"
                                               : "this user has too many answers that it has not "
                                                 "read; read them, or ask for less at a time");
        }
        if (call->answer)
                peer_send(call->peer, call->answer);
        else
                peer_send_nothing(call->peer);
}

/* Sends what there is, and the call is gone. */
static void call_deliver(Call *call)
{
        call_count(call);
        if (call->peer && !call->no_reply)
                send_answer(call);
        if (call->answer)
                dbus_message_unref(call->answer);
        call_free(call);
}

static const char no_memory_to_record[] =
        "no memory for a record in the audit log, and no success is answered that it does not "
        "hold; a change may have been made all the same";

static DBusMessage *new_error_not_recorded(const Call *call, int r)
{
        const BusHost *host = &call->bus->host;
        const char *problem = host->record_problem ? host->record_problem(call->bus->userdata) : "";
        Failure failure = { 0 };

        if (r == -ENOMEM)
                return new_error(call->peer, call->serial, status_error_name(CB_FAILED),
                                 no_memory_to_record);
        fail(&failure, CB_FAILED,
             "%s; no success is answered that it does not hold, unless audit-failure is "
             "\"continue\"; a change may have been made all the same",
             problem[0] ? problem : "the audit log cannot be written");
        return new_error(call->peer, call->serial, status_error_name(CB_FAILED), failure.text);
}

/* A success that could not be recorded is not answered as one; what failed anyway is answered as it is. */
static void on_recorded(void *userdata, int r)
{
        Call *call = userdata;

        if (call->make_answer && (r >= 0 || !method_needs_record(call->method)))
                call->answer =
                        call->make_answer(call)
                                ?: new_error(call->peer, call->serial, status_error_name(CB_FAILED),
                                             "the answer could not be made; try again");
        if (r < 0 && !call->result && method_needs_record(call->method)) {
                if (call->answer)
                        dbus_message_unref(call->answer);
                call->result = status_error_name(CB_FAILED) + strlen(CB_ERROR_PREFIX);
                call->answer = new_error_not_recorded(call, r);
        }
        call_deliver(call);
}

/* Ends the call; message NULL: there was no memory for one. */
static void call_end(Call *call, DBusMessage *message)
{
        assert_always(!call->answered);
        call->answered = true;
        call->answer = message;
        if (!call_record(call, on_recorded))
                call_deliver(call);
}

static DBusMessage *address_reply(DBusMessage *reply, const Peer *peer, uint32_t serial)
{
        if (!reply)
                return NULL;
        if (!dbus_message_set_reply_serial(reply, serial) ||
            !dbus_message_set_destination(reply, peer ? peer->name : NULL)) {
                dbus_message_unref(reply);
                return NULL;
        }
        dbus_message_set_no_reply(reply, TRUE);
        return reply;
}

DBusMessage *call_new_answer(const Call *call)
{
        return address_reply(dbus_message_new(DBUS_MESSAGE_TYPE_METHOD_RETURN), call->peer,
                             call->serial);
}

static DBusMessage *new_error(const Peer *peer, uint32_t serial, const char *name, const char *text)
{
        DBusMessage *error;
        DBusMessageIter iter;

        error = address_reply(dbus_message_new(DBUS_MESSAGE_TYPE_ERROR), peer, serial);
        if (!error)
                return NULL;
        dbus_message_iter_init_append(error, &iter);
        if (!dbus_message_set_error_name(error, name) || !append_string(&iter, text)) {
                dbus_message_unref(error);
                return NULL;
        }
        return error;
}

void call_answer(Call *call, DBusMessage *reply)
{
        call_end(call, reply);
}

void call_answer_recorded(Call *call, DBusMessage *(*make)(const Call *call))
{
        call->make_answer = make;
        call_end(call, NULL);
}

void call_answer_sized(Call *call, DBusMessage *reply, size_t size)
{
        call->answer_size = size;
        call_end(call, reply);
}

void call_answer_empty(Call *call)
{
        call_end(call, call_new_answer(call));
}

void call_answer_bytes(Call *call, const Bytes *bytes)
{
        DBusMessage *reply = call_new_answer(call);
        DBusMessageIter iter, array;

        if (reply) {
                dbus_message_iter_init_append(reply, &iter);
                if (dbus_message_iter_open_container(&iter, DBUS_TYPE_ARRAY, "y", &array) &&
                    dbus_message_iter_append_fixed_array(&array, DBUS_TYPE_BYTE, &bytes->data,
                                                         (int)bytes->n) &&
                    dbus_message_iter_close_container(&iter, &array)) {
                        call_answer(call, reply);
                        return;
                }
                dbus_message_unref(reply);
        }
        call_fail_memory(call);
}

void call_answers_path(Call *call, ObjectKind kind, const char *name)
{
        call->answers_path = true;
        call->kind = kind;
        snprintf(call->name, sizeof(call->name), "%s", name);
}

void call_answer_value(Call *call, const Value *value)
{
        DBusMessage *reply = call_new_answer(call);
        DBusMessageIter iter;

        if (reply) {
                dbus_message_iter_init_append(reply, &iter);
                if (!value_append(&iter, value)) {
                        dbus_message_unref(reply);
                        reply = NULL;
                }
        }
        call_end(call, reply);
}

/* Outcomes are the caller's business; what failed in our own surroundings is ours. */
static void log_failure(const Call *call, int status, const char *text)
{
        const char *method = method_table[call->method].name;

        if (status < 0)
                complain(call->bus, "%s: %s (%s)", method, text, strerrordesc_np(-status));
        else
                log_debug("%s: %s", method, text);
}

void call_fail(Call *call, const Failure *failure)
{
        if (call->mistyped) {
                call_fail_standard(call, DBUS_ERROR_INVALID_ARGS, "%s", failure->text);
                return;
        }
        log_failure(call, failure->status, failure->text);
        call->result = status_error_name(failure->status) + strlen(CB_ERROR_PREFIX);
        call_end(call, new_error(call->peer, call->serial, status_error_name(failure->status),
                                 failure->text));
}

int call_read_options(Call *call, DBusMessageIter *iter, const Option *options, size_t n_options,
                      Value *values, Failure *failure)
{
        int r = options_read(iter, options, n_options, values, failure);

        call->mistyped = r == -EINVAL;
        return r;
}

void call_fail_status(Call *call, int status, const char *format, ...)
{
        Failure failure = { 0 };
        char text[sizeof(failure.text)];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        fail(&failure, status, "%s", text);
        call_fail(call, &failure);
}

/* "UnknownProperty" of "org.freedesktop.DBus.Error.UnknownProperty": constant, as D-Bus's own names are. */
static const char *last_label(const char *error)
{
        const char *dot = strrchr(error, '.');

        return dot ? dot + 1 : error;
}

void call_fail_standard(Call *call, const char *error, const char *format, ...)
{
        char given[512], text[512];
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(given, sizeof(given), format, arguments);
        va_end(arguments);
        text_clean_to(given, true, text, sizeof(text));
        log_failure(call, CB_FAILED, text);
        call->result = last_label(error);
        call_end(call, new_error(call->peer, call->serial, error, text));
}

void call_fail_memory(Call *call)
{
        call_fail_status(call, -ENOMEM, "no memory for the answer");
}

void call_on_done(void *userdata, const Failure *failure)
{
        Call *call = userdata;
        char path[OBJECT_PATH_MAX];
        Value value;

        if (failure->status != 0) {
                call_fail(call, failure);
                return;
        }
        call_note_made(call);
        if (!call->answers_path) {
                call_answer_empty(call);
                return;
        }
        object_path_encode(call->kind, call->name, path);
        value = value_path(path);
        call_answer_value(call, &value);
}

void refuse_message(Peer *peer, DBusMessage *message, const char *error, const char *format, ...)
{
        char given[512], text[512];
        va_list arguments;
        DBusMessage *reply;

        if (dbus_message_get_no_reply(message))
                return;
        va_start(arguments, format);
        (void)vsnprintf(given, sizeof(given), format, arguments);
        va_end(arguments);
        text_clean_to(given, true, text, sizeof(text));

        reply = new_error(peer, dbus_message_get_serial(message), error, text);
        if (!reply) {
                peer_send_nothing(peer);
                return;
        }
        log_debug("refused: %s", text);
        peer_send(peer, reply);
        dbus_message_unref(reply);
}
