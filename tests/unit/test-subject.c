/* SPDX-License-Identifier: Apache-2.0 */
/* Who is behind a connection: the bus's answer, a socket, and the unit in a cgroup's path. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dbus/dbus.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macro.h"
#include "broker/bus/subject.h"

/* --- the bus's answer --- */

typedef struct Answer {
        DBusMessage *message;
        DBusMessageIter iter, dictionary;
} Answer;

static void answer_open(Answer *answer)
{
        answer->message = dbus_message_new(DBUS_MESSAGE_TYPE_METHOD_RETURN);
        dbus_message_iter_init_append(answer->message, &answer->iter);
        dbus_message_iter_open_container(&answer->iter, DBUS_TYPE_ARRAY, "{sv}",
                                         &answer->dictionary);
}

static void answer_u32(Answer *answer, const char *key, dbus_uint32_t number)
{
        DBusMessageIter entry, variant;

        dbus_message_iter_open_container(&answer->dictionary, DBUS_TYPE_DICT_ENTRY, NULL, &entry);
        dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &key);
        dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, "u", &variant);
        dbus_message_iter_append_basic(&variant, DBUS_TYPE_UINT32, &number);
        dbus_message_iter_close_container(&entry, &variant);
        dbus_message_iter_close_container(&answer->dictionary, &entry);
}

static void answer_array(Answer *answer, const char *key, int type, const char *signature,
                         const void *data, int n)
{
        DBusMessageIter entry, variant, array;

        dbus_message_iter_open_container(&answer->dictionary, DBUS_TYPE_DICT_ENTRY, NULL, &entry);
        dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &key);
        dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, signature, &variant);
        dbus_message_iter_open_container(&variant, DBUS_TYPE_ARRAY, signature + 1, &array);
        dbus_message_iter_append_fixed_array(&array, type, &data, n);
        dbus_message_iter_close_container(&variant, &array);
        dbus_message_iter_close_container(&entry, &variant);
        dbus_message_iter_close_container(&answer->dictionary, &entry);
}

static int answer_read(Answer *answer, Subject *ret_subject)
{
        int r;

        dbus_message_iter_close_container(&answer->iter, &answer->dictionary);
        r = subject_from_credentials(answer->message, ret_subject);
        dbus_message_unref(answer->message);
        return r;
}

static void test_credentials(void **state)
{
        static const dbus_uint32_t groups[] = { 33, 44 };
        static const char label[] = "unconfined"; /* with its NUL, as the bus has it */
        CLEANUP(subject_deinit) Subject subject = { .uid = SUBJECT_UID_UNKNOWN };
        Answer answer;

        answer_open(&answer);
        answer_u32(&answer, "UnixUserID", 33);
        answer_u32(&answer, "ProcessID", 0);
        answer_array(&answer, "UnixGroupIDs", DBUS_TYPE_UINT32, "au", groups, 2);
        answer_array(&answer, "LinuxSecurityLabel", DBUS_TYPE_BYTE, "ay", label, sizeof(label));
        answer_u32(&answer, "SomethingNew", 7);
        assert_int_equal(answer_read(&answer, &subject), 0);
        assert_int_equal(subject.uid, 33);
        assert_int_equal(subject.n_gids, 2);
        assert_int_equal(subject.gids[0], 33);
        assert_int_equal(subject.gids[1], 44);
        assert_string_equal(subject.label, "unconfined");
        assert_null(subject.unit);
}

/* Nothing is zero that was not said to be zero. */
static void test_credentials_without_uid(void **state)
{
        Subject subject = { .uid = 4711 };
        Answer answer;

        answer_open(&answer);
        answer_u32(&answer, "ProcessID", 1);
        assert_true(answer_read(&answer, &subject) < 0);
        assert_int_equal(subject.uid, 4711);

        answer_open(&answer);
        answer_u32(&answer, "UnixUserID", SUBJECT_UID_UNKNOWN);
        assert_true(answer_read(&answer, &subject) < 0);
        assert_int_equal(subject.uid, 4711);
}

static void test_credentials_of_wrong_types(void **state)
{
        static const dbus_uint32_t groups[] = { 33 };
        Subject subject = { .uid = 4711 };
        Answer answer;

        answer_open(&answer);
        answer_array(&answer, "UnixUserID", DBUS_TYPE_UINT32, "au", groups, 1);
        assert_true(answer_read(&answer, &subject) < 0);

        answer_open(&answer);
        answer_u32(&answer, "UnixUserID", 0);
        answer_u32(&answer, "UnixGroupIDs", 0);
        assert_true(answer_read(&answer, &subject) < 0);
        assert_int_equal(subject.uid, 4711);
}

static void test_error_is_no_subject(void **state)
{
        DBusMessage *message = dbus_message_new(DBUS_MESSAGE_TYPE_ERROR);
        Subject subject = { .uid = 4711 };

        assert_true(dbus_message_set_error_name(message, DBUS_ERROR_NAME_HAS_NO_OWNER));
        assert_true(subject_from_credentials(message, &subject) < 0);
        assert_int_equal(subject.uid, 4711);
        dbus_message_unref(message);
}

/* --- a socket --- */

static void test_socket(void **state)
{
        CLEANUP(subject_deinit) Subject subject = { .uid = SUBJECT_UID_UNKNOWN };
        bool has_primary = false;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        assert_int_equal(subject_from_socket(fds[0], &subject), 0);
        assert_int_equal(subject.uid, geteuid());
        assert_int_equal(subject.pid, getpid());
        for (size_t i = 0; i < subject.n_gids; i++)
                has_primary |= subject.gids[i] == getegid();
        assert_true(has_primary);
        close(fds[0]);
        close(fds[1]);
}

static void test_no_socket(void **state)
{
        Subject subject = { .uid = 4711 };
        int fds[2];

        assert_int_equal(pipe(fds), 0);
        assert_true(subject_from_socket(fds[0], &subject) < 0);
        assert_int_equal(subject.uid, 4711);
        close(fds[0]);
        close(fds[1]);
}

/* --- the unit --- */

static void test_unit(void **state)
{
        static const struct {
                const char *text, *unit;
        } rows[] = {
                { "0::/system.slice/nginx.service\n", "nginx.service" },
                { "0::/system.slice/nginx.service", "nginx.service" },
                { "0::/system.slice/nginx.service/worker\n", "nginx.service" },
                { "0::/user.slice/user-1.slice/session-2.scope\n", "session-2.scope" },
                { "0::/a.service/b.service\n", "b.service" },
                { "12:pids:/x.service\n1:name=systemd:/system.slice/a.service\n", "a.service" },
                { "0::/\n", NULL },
                { "0::/user.slice\n", NULL },
                { "0::/.service\n", NULL },
                { "12:pids:/x.service\n", NULL },
                { "0::/name=systemd:/a.slice\n", NULL },
                { "nonsense", NULL },
                { ":", NULL },
                { "::", NULL },
                { "", NULL },
                { "0::/system.slice/\xff.service\n", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(freep) char *unit = unit_from_cgroup(rows[i].text);

                if (rows[i].unit)
                        assert_string_equal(unit, rows[i].unit);
                else
                        assert_null(unit);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_credentials),
                cmocka_unit_test(test_credentials_without_uid),
                cmocka_unit_test(test_credentials_of_wrong_types),
                cmocka_unit_test(test_error_is_no_subject),
                cmocka_unit_test(test_socket),
                cmocka_unit_test(test_no_socket),
                cmocka_unit_test(test_unit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
