/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Methods that use a certificate's key: Sign, SignTls, Decrypt. Sign and SignTls are what is called for every
 * handshake. Each is decided on with its operation and algorithm, pays the rate of a grant that allows it, and is decided
 * on again if the grants have changed while the source worked. Nothing of an input or an output is kept or logged.
 */
#include "broker/bus/room.h"

#include "base/clock.h"
#include "base/strings.h"

static Request request_of(const Call *call)
{
        return (Request){
                .operation = call->operation,
                .kind = OBJECT_CERTIFICATE,
                .name = call->node.name,
                .algorithm = call->algorithm,
        };
}

static const char *next_string(DBusMessageIter *iter)
{
        const char *text;

        dbus_message_iter_get_basic(iter, &text);
        dbus_message_iter_next(iter);
        return text;
}

static uint64_t next_number(DBusMessageIter *iter)
{
        dbus_uint64_t number;

        dbus_message_iter_get_basic(iter, &number);
        dbus_message_iter_next(iter);
        return number;
}

/* The message's own bytes. */
static Bytes last_bytes(DBusMessageIter *iter)
{
        DBusMessageIter array;
        Bytes bytes = { 0 };
        int n = 0;

        dbus_message_iter_recurse(iter, &array);
        dbus_message_iter_get_fixed_array(&array, &bytes.data, &n);
        bytes.n = (size_t)n;
        return bytes;
}

static void on_used(void *userdata, const Failure *failure, uint64_t generation,
                    const Bytes *output)
{
        Call *call = userdata;
        Failure denied = { 0 };

        if (call_may_hand_out(call, generation, &denied) != 0)
                call_fail(call, &denied);
        else if (failure->status != 0)
                call_fail(call, failure);
        else
                call_answer_bytes(call, output);
}

/* One token of this grant's rate; a grant without one always has some. */
static int take_token(Call *call, const Grant *grant, uint64_t *ret_wait_usec)
{
        *ret_wait_usec = 0;
        if (grant->rate_per_sec == 0)
                return 0;
        return quota_take_token(call->bus->quota, grant->name, call->uid, grant->rate_per_sec,
                                grant->burst, clock_monotonic_usec(), ret_wait_usec);
}

/* Any grant that allows it may pay: a set of grants allows what some single one of them does. */
static int pay_rate(Call *call, const Request *request, const Grant *first, Failure *failure)
{
        uint64_t wait_usec = 0, shortest_usec = UINT64_MAX;
        const Grant *soonest = first;
        int r = 0;

        for (const Grant *grant = first; grant;
             grant = grants_next(call->bus->grants, call_subject(call), request, grant)) {
                r = take_token(call, grant, &wait_usec);
                if (r != CB_RATE_LIMITED) {
                        call_note_grant(call, grant);
                        return r == 0 ? 0
                                      : fail(failure, r, "the rate of grant '%s' cannot be counted",
                                             grant->name);
                }
                if (wait_usec < shortest_usec) {
                        shortest_usec = wait_usec;
                        soonest = grant;
                }
        }
        return fail(failure, CB_RATE_LIMITED,
                    "grant '%s' allows %llu uses a second; try again in %llu ms", soonest->name,
                    (unsigned long long)soonest->rate_per_sec,
                    (unsigned long long)(shortest_usec / USEC_PER_MSEC + 1));
}

/* That the certificate may be read has been checked by the dispatcher. */
static int decide(Call *call, Operation operation, Failure *failure)
{
        const Grant *grant;
        Request request;

        call->operation = operation;
        request = request_of(call);
        grant = grants_decide(call->bus->grants, call_subject(call), &request, failure);
        if (!grant)
                return CB_ACCESS_DENIED;
        return pay_rate(call, &request, grant, failure);
}

static int decide_algorithm(Call *call, Operation operation, const char *name, Failure *failure)
{
        call->algorithm = algorithm_from_name(name);
        if (call->algorithm == ALGORITHM_NONE)
                return fail(failure, CB_NOT_SUPPORTED,
                            operation == OPERATION_DECRYPT
                                    ? "algorithm '%.64s' is unknown; certificate '%s' decrypts by "
                                      "rsa-oaep-sha1 or rsa-oaep-sha256"
                                    : "algorithm '%.64s' is unknown; the property Algorithms of "
                                      "certificate '%s' lists what it can do",
                            name, call->node.name);
        return decide(call, operation, failure);
}

void certificate_sign(Call *call, DBusMessage *message)
{
        SignRequest request = { .id = call->node.name };
        Failure failure = { 0 };
        const char *algorithm;
        DBusMessageIter iter;

        dbus_message_iter_init(message, &iter);
        request.generation = call->generation = next_number(&iter);
        algorithm = next_string(&iter);
        request.input = last_bytes(&iter);
        if (decide_algorithm(call, OPERATION_SIGN, algorithm, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        request.algorithm = call->algorithm;
        signer_sign(call->bus->rooms.signer, &request, on_used, call);
}

void certificate_sign_tls(Call *call, DBusMessage *message)
{
        SignTlsRequest request = { .id = call->node.name };
        Failure failure = { 0 };
        const char *algorithm;
        DBusMessageIter iter;

        dbus_message_iter_init(message, &iter);
        request.generation = call->generation = next_number(&iter);
        algorithm = next_string(&iter);
        request.role = next_string(&iter);
        request.transcript_hash = last_bytes(&iter);
        if (decide_algorithm(call, OPERATION_TLS, algorithm, &failure) != 0) {
                call_fail(call, &failure);
                return;
        }
        request.algorithm = call->algorithm;
        signer_sign_tls(call->bus->rooms.signer, &request, on_used, call);
}

void certificate_decrypt(Call *call, DBusMessage *message)
{
        DecryptRequest request = { .id = call->node.name };
        Failure failure = { 0 };
        DBusMessageIter iter;

        dbus_message_iter_init(message, &iter);
        request.generation = call->generation = next_number(&iter);
        request.algorithm = next_string(&iter);
        request.ciphertext = last_bytes(&iter);
        if (decide_algorithm(call, OPERATION_DECRYPT, request.algorithm, &failure) != 0)
                call_fail(call, &failure);
        else
                signer_decrypt(call->bus->rooms.signer, &request, on_used, call);
}
