/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods of a certificate. Sign is the one that is called for every handshake: it is decided on with its
 * algorithm, pays the grant's rate, and is decided on again if the grants have changed while the source
 * worked. Nothing of an input or a signature is kept or logged.
 */
#include "broker/bus/room.h"

#include <errno.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/bus/options.h"

typedef struct SignArguments {
        uint64_t generation;
        const char *algorithm;
        Bytes input; /* the message's */
} SignArguments;

static Request sign_request(const Call *call)
{
        return (Request){
                .operation = OPERATION_SIGN,
                .kind = OBJECT_CERTIFICATE,
                .name = call->node.name,
                .algorithm = call->algorithm,
        };
}

static void get_sign_arguments(DBusMessage *message, SignArguments *ret_arguments)
{
        DBusMessageIter iter, array;
        dbus_uint64_t generation;
        int n = 0;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &generation);
        dbus_message_iter_next(&iter);
        dbus_message_iter_get_basic(&iter, &ret_arguments->algorithm);
        dbus_message_iter_next(&iter);
        dbus_message_iter_recurse(&iter, &array);
        dbus_message_iter_get_fixed_array(&array, &ret_arguments->input.data, &n);
        ret_arguments->generation = generation;
        ret_arguments->input.n = (size_t)n;
}

static void answer_signature(Call *call, const Bytes *signature)
{
        DBusMessage *reply = call_new_answer(call);
        DBusMessageIter iter, array;

        if (reply) {
                dbus_message_iter_init_append(reply, &iter);
                if (dbus_message_iter_open_container(&iter, DBUS_TYPE_ARRAY, "y", &array) &&
                    dbus_message_iter_append_fixed_array(&array, DBUS_TYPE_BYTE, &signature->data,
                                                         (int)signature->n) &&
                    dbus_message_iter_close_container(&iter, &array)) {
                        call_answer(call, reply);
                        return;
                }
                dbus_message_unref(reply);
        }
        call_fail_memory(call);
}

static void on_signature(void *userdata, const Failure *failure, uint64_t generation,
                         const Bytes *signature)
{
        Call *call = userdata;
        const Request request = sign_request(call);
        Failure denied = { 0 };

        call->generation = generation;
        if (failure->status != 0) {
                call_fail(call, failure);
                return;
        }
        /* A grant that was taken away while the source worked is taken away. */
        if (call->peer && call->grants_version != call->bus->grants->version &&
            check_access(call->bus, call_subject(call), &request, &denied) != 0) {
                call_fail(call, &denied);
                return;
        }
        answer_signature(call, signature);
}

static int pay_rate(Call *call, const Grant *grant, Failure *failure)
{
        uint64_t wait_usec = 0;
        int r;

        if (grant->rate_per_sec == 0)
                return 0;
        r = quota_take_token(call->bus->quota, grant->name, call_subject(call)->uid,
                             grant->rate_per_sec, grant->burst, clock_monotonic_usec(), &wait_usec);
        if (r == CB_RATE_LIMITED)
                return fail(failure, r,
                            "grant '%s' allows %llu signatures a second; try again in %llu ms",
                            grant->name, (unsigned long long)grant->rate_per_sec,
                            (unsigned long long)(wait_usec / USEC_PER_MSEC + 1));
        if (r != 0)
                return fail(failure, r, "the rate of grant '%s' cannot be counted", grant->name);
        return 0;
}

static int decide_sign(Call *call, const SignArguments *arguments, Failure *failure)
{
        Request request;
        const Grant *grant;

        call->algorithm = algorithm_from_name(arguments->algorithm);
        if (call->algorithm == ALGORITHM_NONE)
                return fail(
                        failure, CB_NOT_SUPPORTED,
                        "algorithm '%.64s' is unknown; the property Algorithms of certificate '%s' "
                        "lists what it can do",
                        arguments->algorithm, call->node.name);

        /* That it may be read has been checked by the dispatcher. */
        request = sign_request(call);
        grant = grants_decide(call->bus->grants, call_subject(call), &request, failure);
        call_note_grant(call, grant);
        if (!grant)
                return CB_ACCESS_DENIED;
        return pay_rate(call, grant, failure);
}

void certificate_sign(Call *call, DBusMessage *message)
{
        SignArguments arguments = { 0 };
        Failure failure = { 0 };
        SignRequest request;

        get_sign_arguments(message, &arguments);
        if (decide_sign(call, &arguments, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        call->grants_version = call->bus->grants->version;
        request = (SignRequest){
                .id = call->node.name,
                .generation = arguments.generation,
                .algorithm = call->algorithm,
                .input = arguments.input,
        };
        signer_sign(call->bus->rooms.signer, &request, on_signature, call);
}

void certificate_refresh(Call *call, DBusMessage *message)
{
        manage_refresh(call->bus->rooms.manage, call->node.name, call_on_done, call);
}

void certificate_set_enabled(Call *call, DBusMessage *message)
{
        dbus_bool_t enabled;
        DBusMessageIter iter;

        dbus_message_iter_init(message, &iter);
        dbus_message_iter_get_basic(&iter, &enabled);
        manage_set_enabled(call->bus->rooms.manage, call->node.name, enabled, call_on_done, call);
}

void certificate_delete(Call *call, DBusMessage *message)
{
        static const Option options[] = { { "destroy-key", "b" } };
        Failure failure = { 0 };
        DBusMessageIter iter;
        Value destroy;

        dbus_message_iter_init(message, &iter);
        if (options_read(&iter, options, ELEMENTSOF(options), &destroy, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        manage_delete_certificate(call->bus->rooms.manage, call->node.name, destroy.boolean,
                                  call_on_done, call);
}
