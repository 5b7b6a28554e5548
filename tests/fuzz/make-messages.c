/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the seeds of fuzz-message: what the broker and a bus send, encoded by libdbus, which both of them use. One
 * file a message, and one of them all, as they follow each other on a stream. And those of fuzz-link: each after a log-in.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <dbus/dbus.h>

#define PREFIX "org.certbroker1."

typedef DBusMessageIter Iter;

static void require(bool condition, const char *what)
{
        if (condition)
                return;
        fprintf(stderr, "make-messages: %s: %s\n", what, strerror(errno));
        exit(1);
}

/* ------------------------------------------------------------------ a{sv} */

static Iter open_dict(Iter *at)
{
        Iter dict;

        require(dbus_message_iter_open_container(at, 'a', "{sv}", &dict), "dict");
        return dict;
}

static void close_in(Iter *outer, Iter *inner)
{
        require(dbus_message_iter_close_container(outer, inner), "container");
}

/* One value; or of a list the one that is in it. */
static void add(Iter *dict, const char *key, const char *signature, const void *value)
{
        Iter entry, variant, list;
        const bool is_list = *signature == 'a';

        require(dbus_message_iter_open_container(dict, 'e', NULL, &entry) &&
                        dbus_message_iter_append_basic(&entry, 's', &key) &&
                        dbus_message_iter_open_container(&entry, 'v', signature, &variant),
                key);
        if (is_list)
                require(dbus_message_iter_open_container(&variant, 'a', signature + 1, &list), key);
        require(dbus_message_iter_append_basic(is_list ? &list : &variant, signature[is_list],
                                               value),
                key);
        if (is_list)
                close_in(&variant, &list);
        close_in(&entry, &variant);
        close_in(dict, &entry);
}

static void add_text(Iter *dict, const char *key, const char *text)
{
        add(dict, key, "s", &text);
}

static void add_chain(Iter *dict)
{
        static const char der[] = "leaf", *p = der, *key = "chain";
        Iter entry, variant, list, bytes;

        require(dbus_message_iter_open_container(dict, 'e', NULL, &entry) &&
                        dbus_message_iter_append_basic(&entry, 's', &key) &&
                        dbus_message_iter_open_container(&entry, 'v', "aay", &variant) &&
                        dbus_message_iter_open_container(&variant, 'a', "ay", &list) &&
                        dbus_message_iter_open_container(&list, 'a', "y", &bytes) &&
                        dbus_message_iter_append_fixed_array(&bytes, 'y', &p, 4),
                "chain");
        close_in(&list, &bytes);
        close_in(&variant, &list);
        close_in(&entry, &variant);
        close_in(dict, &entry);
}

static void add_credential(Iter *at)
{
        static const char *const texts[][2] = {
                { "id", "orders" },     { "key", "certbroker:certificate/orders?generation=2" },
                { "thumbprint", "00" }, { "url", "https://orders.example/größer" },
                { "ca-file", "" },
        };
        static const char *const lists[][2] = { { "algorithms", "ecdsa-sha256" },
                                                { "server-names", "orders.example" },
                                                { "server-thumbprints", "00" } };
        const dbus_uint64_t generation = 2;
        const dbus_bool_t yes = TRUE;
        Iter dict = open_dict(at);

        for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
                add_text(&dict, texts[i][0], texts[i][1]);
        for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
                add(&dict, lists[i][0], "as", &lists[i][1]);
        add(&dict, "generation", "t", &generation);
        add(&dict, "stale", "b", &yes);
        add_chain(&dict);
        close_in(at, &dict);
}

/* (generation, thumbprint, usable until), as in Generations, within a variant. */
static void add_generations(Iter *at)
{
        const dbus_uint64_t number = 1;
        const char *thumbprint = "00";
        Iter variant, list, generation;

        require(dbus_message_iter_open_container(at, 'v', "a(tst)", &variant) &&
                        dbus_message_iter_open_container(&variant, 'a', "(tst)", &list) &&
                        dbus_message_iter_open_container(&list, 'r', NULL, &generation) &&
                        dbus_message_iter_append_basic(&generation, 't', &number) &&
                        dbus_message_iter_append_basic(&generation, 's', &thumbprint) &&
                        dbus_message_iter_append_basic(&generation, 't', &number),
                "generations");
        close_in(&list, &generation);
        close_in(&variant, &list);
        close_in(at, &variant);
}

/* a{oa{sa{sv}}} */
static void add_objects(Iter *at)
{
        static const char *path = "/org/certbroker1/source/hsm", *interface = PREFIX "Source";
        Iter objects, object, interfaces, entry, dict;

        require(dbus_message_iter_open_container(at, 'a', "{oa{sa{sv}}}", &objects) &&
                        dbus_message_iter_open_container(&objects, 'e', NULL, &object) &&
                        dbus_message_iter_append_basic(&object, 'o', &path) &&
                        dbus_message_iter_open_container(&object, 'a', "{sa{sv}}", &interfaces) &&
                        dbus_message_iter_open_container(&interfaces, 'e', NULL, &entry) &&
                        dbus_message_iter_append_basic(&entry, 's', &interface),
                "objects");
        dict = open_dict(&entry);
        add_text(&dict, "Name", "hsm");
        close_in(&entry, &dict);
        close_in(&interfaces, &entry);
        close_in(&object, &interfaces);
        close_in(&objects, &object);
        close_in(at, &objects);
}

static void add_every_number(Iter *at)
{
        static const char types[] = "ynqiuxtdb";
        const char *text = "a{sv}";

        for (const char *type = types; *type; type++) {
                DBusBasicValue value = { .u64 = 0 };

                value.byt = 1;
                require(dbus_message_iter_append_basic(at, *type, &value), "number");
        }
        require(dbus_message_iter_append_basic(at, 'g', &text), "signature");
}

/* ------------------------------------------------------------------ messages */

static const char *conversations; /* where fuzz-link's seeds go */

/* A log-in that succeeds, and then this as the answer to the first call: on a bus that is Hello's. */
static void write_conversation(const char *name, DBusMessage *answer)
{
        static const char login[] = "DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n";
        const bool is_answer = dbus_message_get_type(answer) != DBUS_MESSAGE_TYPE_SIGNAL;

        for (char on_bus = 0; on_bus < 2; on_bus++) {
                char path[4096], *data = NULL;
                int n = 0;
                FILE *f;

                if (is_answer)
                        require(dbus_message_set_reply_serial(answer, 1), name);
                require(dbus_message_set_sender(answer, on_bus ? "org.freedesktop.DBus" : ":1.5") &&
                                dbus_message_marshal(answer, &data, &n),
                        name);
                snprintf(path, sizeof(path), "%s/%s-%d", conversations, name, on_bus);
                f = fopen(path, "we");
                require(f && fputc(on_bus, f) != EOF && fputs(login, f) >= 0 &&
                                fwrite(data, 1, (size_t)n, f) == (size_t)n && fclose(f) == 0,
                        path);
                dbus_free(data);
        }
}

static void write_seed(const char *directory, const char *name, DBusMessage *message)
{
        const char *const names[] = { name, "stream" };
        char path[4096], *data = NULL;
        int n = 0;

        if (dbus_message_get_type(message) != DBUS_MESSAGE_TYPE_SIGNAL)
                require(dbus_message_set_reply_serial(message, 7), name);
        dbus_message_set_serial(message, 9);
        require(dbus_message_set_sender(message, ":1.5") &&
                        dbus_message_marshal(message, &data, &n),
                name);
        for (size_t i = 0; i < 2; i++) {
                FILE *f;

                snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
                f = fopen(path, i == 0 ? "we" : "ae");
                require(f && fwrite(data, 1, (size_t)n, f) == (size_t)n && fclose(f) == 0, path);
        }
        dbus_free(data);
        write_conversation(name, message);
        dbus_message_unref(message);
}

static void write_answer(const char *directory, const char *name, void (*add_to)(Iter *))
{
        DBusMessage *message = dbus_message_new(DBUS_MESSAGE_TYPE_METHOD_RETURN);
        Iter at;

        require(message, name);
        dbus_message_iter_init_append(message, &at);
        add_to(&at);
        write_seed(directory, name, message);
}

static void write_error(const char *directory)
{
        DBusMessage *message = dbus_message_new(DBUS_MESSAGE_TYPE_ERROR);
        const char *text = "There is no certificate ‘orders’.";

        require(message && dbus_message_set_error_name(message, PREFIX "Error.NotFound") &&
                        dbus_message_append_args(message, 's', &text, DBUS_TYPE_INVALID),
                "error");
        write_seed(directory, "error", message);
}

static void write_signal(const char *directory)
{
        DBusMessage *message = dbus_message_new_signal("/org/certbroker1/backend/orders",
                                                       PREFIX "Backend", "CredentialChanged");
        const dbus_uint64_t generation = 2;

        require(message && dbus_message_append_args(message, 't', &generation, DBUS_TYPE_INVALID),
                "signal");
        write_seed(directory, "signal", message);
}

int main(int argc, char **argv)
{
        char path[4096];

        require(argc == 3, "usage: make-messages MESSAGES CONVERSATIONS");
        conversations = argv[2];
        for (int i = 1; i < argc; i++)
                require(mkdir(argv[i], 0777) == 0 || errno == EEXIST, argv[i]);
        snprintf(path, sizeof(path), "%s/stream", argv[1]);
        require(remove(path) == 0 || errno == ENOENT, path);
        write_answer(argv[1], "credential", add_credential);
        write_answer(argv[1], "generations", add_generations);
        write_answer(argv[1], "objects", add_objects);
        write_answer(argv[1], "numbers", add_every_number);
        write_error(argv[1]);
        write_signal(argv[1]);
        return 0;
}
