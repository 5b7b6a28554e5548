/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a message to its handler: path, row, signature, quota, access, in this order, each with its one
 * error. The caller is known already (peer.c). The invariant is that no handler runs before all of them
 * have said yes; a handler reads its arguments, calls one function, and answers now or later.
 *
 * What does not depend on the object (path, interface, member, signature) is checked first, so that its
 * error says nothing about whether the object is there.
 */
#include "broker/bus/room.h"

#include <string.h>

#include "base/strings.h"

static bool is_named(const char *wanted, const char *name)
{
        return !wanted || strcmp(wanted, name) == 0;
}

typedef enum Lookup { LOOKUP_FOUND, LOOKUP_NO_INTERFACE, LOOKUP_NO_METHOD } Lookup;

/* A call may leave out its interface: then the member is looked for in all that the node has. */
static Lookup find_method(const Node *node, const char *interface, const char *member,
                          MethodId *ret_method)
{
        Lookup result = interface ? LOOKUP_NO_INTERFACE : LOOKUP_NO_METHOD;

        for (size_t i = 0; i < _INTERFACE_N; i++) {
                const Interface *row = &interface_table[i];

                if (!node_has_interface(node, (InterfaceId)i) || !is_named(interface, row->name))
                        continue;
                result = LOOKUP_NO_METHOD;
                for (size_t k = row->first_method; k < row->first_method + row->n_methods; k++) {
                        if (strcmp(method_table[k].name, member) == 0) {
                                *ret_method = (MethodId)k;
                                return LOOKUP_FOUND;
                        }
                }
        }
        return result;
}

/* Answers what is wrong with the address of a call; true: nothing is. */
static bool locate(Peer *peer, DBusMessage *message, Node *ret_node, MethodId *ret_method)
{
        const char *path = string_or_empty(dbus_message_get_path(message));
        const char *interface = dbus_message_get_interface(message);
        const char *member = string_or_empty(dbus_message_get_member(message));

        node_parse(path, ret_node);
        if (ret_node->type == NODE_FOREIGN) {
                /* A client that says Hello wants to know whether there is a message bus here. */
                if (interface && strcmp(interface, DBUS_INTERFACE_DBUS) == 0)
                        refuse_message(peer, message, DBUS_ERROR_UNKNOWN_METHOD,
                                       "there is no message bus at this end of the connection");
                else
                        refuse_message(peer, message, DBUS_ERROR_UNKNOWN_OBJECT,
                                       "there is no object %s; the root is %s", path, OBJECT_ROOT);
                return false;
        }
        switch (find_method(ret_node, interface, member, ret_method)) {
        case LOOKUP_FOUND:
                return true;
        case LOOKUP_NO_INTERFACE:
                refuse_message(peer, message, DBUS_ERROR_UNKNOWN_INTERFACE,
                               "%s has no interface %s; Introspect tells which it has", path,
                               interface);
                return false;
        case LOOKUP_NO_METHOD:
                refuse_message(peer, message, DBUS_ERROR_UNKNOWN_METHOD,
                               "%s has no method %s; Introspect tells which it has", path, member);
                return false;
        }
        return false;
}

static bool check_signature(Peer *peer, DBusMessage *message, MethodId method)
{
        const Method *row = &method_table[method];

        if (dbus_message_has_signature(message, row->in_signature))
                return true;
        refuse_message(peer, message, DBUS_ERROR_INVALID_ARGS,
                       "%s takes (%s), of the types '%s', and was given '%s'", row->name,
                       row->in_names, row->in_signature, dbus_message_get_signature(message));
        return false;
}

/* The argument at i, where the method's class is decided on by it. */
static const char *text_argument(DBusMessage *message, size_t i)
{
        const char *text = "";
        DBusMessageIter iter;

        if (!dbus_message_iter_init(message, &iter))
                return text;
        while (i-- > 0)
                dbus_message_iter_next(&iter);
        if (dbus_message_iter_get_arg_type(&iter) == DBUS_TYPE_STRING)
                dbus_message_iter_get_basic(&iter, &text);
        return text;
}

static const char *first_text(DBusMessage *message)
{
        return text_argument(message, 0);
}

/* Where a text is only looked up in a table, whoever looks says that it is not in it. */
static bool takes_any_text(MethodId method)
{
        return method == METHOD_CERTIFICATE_SIGN;
}

static bool check_texts(Call *call, DBusMessage *message)
{
        DBusMessageIter iter;

        if (takes_any_text(call->method) || !dbus_message_iter_init(message, &iter))
                return true;
        do {
                const char *text = "";

                if (dbus_message_iter_get_arg_type(&iter) == DBUS_TYPE_STRING)
                        dbus_message_iter_get_basic(&iter, &text);
                if (strlen(text) > VALUE_TEXT_MAX) {
                        call_fail_status(call, CB_INVALID_ARGUMENT,
                                         "an argument of %s is longer than %d bytes",
                                         method_table[call->method].name, VALUE_TEXT_MAX);
                        return false;
                }
        } while (dbus_message_iter_next(&iter));
        return true;
}

static bool call_is_allowed(Call *call, DBusMessage *message)
{
        Failure failure = { 0 };

        int r = check_method(call->bus, call_subject(call), &call->node, call->method,
                             first_text(message), &failure);

        if (r == 0 && method_table[call->method].access == ACCESS_CREATE_IN_SOURCE)
                r = call_needs_source(call, text_argument(message, 1), &failure);
        if (r == 0)
                return true;
        call->refused = true;
        call_fail(call, &failure);
        return false;
}

/* A folder on the way to objects has no object behind it that could be missing. */
static bool object_exists(Call *call)
{
        Failure failure = { 0 };
        Object object;

        if (call->node.type != NODE_OBJECT ||
            object_find(call->bus, call_subject(call), call->node.kind, call->node.name, &object,
                        &failure) == 0)
                return true;
        call_fail(call, &failure);
        return false;
}

/* Nothing is done or used that could not be recorded. */
static bool may_be_recorded(Call *call)
{
        const BusHost *host = &call->bus->host;
        Failure failure = { 0 };

        if (!method_needs_record(call->method) || !host->may_record ||
            host->may_record(call->bus->userdata, &failure) == 0)
                return true;
        call_fail(call, &failure);
        return false;
}

/* Which certificate is meant is known now: another may have its id when the call is answered. */
static void note_life(Call *call)
{
        const Certificate *certificate = NULL;

        if (call->node.type == NODE_OBJECT && call->node.kind == OBJECT_CERTIFICATE)
                certificate = catalog_find_certificate(call->bus->rooms.catalog, call->node.name);
        if (certificate)
                call->life = certificate->life;
}

static void note_asked(Call *call, DBusMessage *message)
{
        Asked asked;

        asked_of(call->method, message, &asked);
        call->generation = asked.generation;
        memcpy(call->algorithm_asked, asked.algorithm, sizeof(call->algorithm_asked));
}

static void run(Call *call, DBusMessage *message)
{
        MethodHandler handler = method_handlers[call->method];
        Failure failure = { 0 };

        note_life(call);
        if (method_is_recorded(call->method) &&
            call_note_grant(call, deciding_grant(call->bus, call_subject(call), &call->node,
                                                 call->method, first_text(message))) < 0)
                call_fail_memory(call);
        else if (check_stock(call, first_text(message), &failure) != 0)
                call_fail(call, &failure);
        else if (handler)
                handler(call, message);
        else
                call_fail_status(call, CB_NOT_SUPPORTED,
                                 "this version of certbrokerd does not offer %s yet",
                                 method_table[call->method].name);
}

/* Says what there is too much of, where it does not begin. */
static int begin(Peer *peer, const Node *node, MethodId method, DBusMessage *message,
                 const char **ret_reason, Call **ret_call)
{
        int r = peer->name ? link_may_call(peer->bus->link, peer) : 0;

        *ret_reason = "this user has too many answers on the message bus that it has not read; "
                      "read them, or use the private channel";
        if (r != 0)
                return r;
        r = call_new(peer, node, method, message, ret_call);
        *ret_reason = r > 0 ? "too many requests of this user are in flight; "
                              "wait for answers, or raise max-in-flight-per-client"
                            : "no memory for the call";
        return r;
}

void dispatch_call(Peer *peer, DBusMessage *message)
{
        const char *reason;
        MethodId method;
        Call *call;
        Node node;
        int r;

        if (peer->bus->stopping) {
                refuse_message(peer, message, DBUS_ERROR_SERVICE_UNKNOWN,
                               "certbrokerd is shutting down; call again when it is back");
                return;
        }
        if (!locate(peer, message, &node, &method) || !check_signature(peer, message, method))
                return;

        peer->has_called = true;
        r = begin(peer, &node, method, message, &reason, &call);
        if (r != 0) {
                record_refusal(peer, &node, method, message, r);
                refuse_message(peer, message, status_error_name(r > 0 ? r : CB_FAILED), "%s",
                               reason);
                return;
        }
        note_asked(call, message);
        if (check_texts(call, message) && call_is_allowed(call, message) && object_exists(call) &&
            may_be_recorded(call))
                run(call, message);
}
