/* SPDX-License-Identifier: Apache-2.0 */
/* Who is behind a connection: the bus's answer, a socket, and whose unit is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dbus/dbus.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "base/macro.h"
#include "broker/bus/subject.h"

#define UNIT "nginx.service"

/* In place of libsystemd's: every process is in this unit, and nobody asks for himself. */
int sd_pid_get_unit(pid_t pid, char **ret_unit)
{
        assert_true(pid > 0);
        *ret_unit = strdup(UNIT);
        return *ret_unit ? 0 : -ENOMEM;
}

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

static void answer_fd(Answer *answer, const char *key, int fd)
{
        DBusMessageIter entry, variant;

        dbus_message_iter_open_container(&answer->dictionary, DBUS_TYPE_DICT_ENTRY, NULL, &entry);
        dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &key);
        dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, "h", &variant);
        assert_true(dbus_message_iter_append_basic(&variant, DBUS_TYPE_UNIX_FD, &fd));
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

/* --- the unit: of whom it is believed; what it is of a cgroup, tests/integration/test_subject.py tells --- */

static void test_unit_of_the_bus(void **state)
{
        const pid_t gone = fork();
        int of_gone, of_me;

        if (gone == 0)
                _exit(0);
        of_gone = pidfd_open(gone, 0);
        of_me = pidfd_open(getpid(), 0);
        assert_true(gone > 0 && of_gone >= 0 && of_me >= 0);
        assert_int_equal(waitpid(gone, NULL, 0), gone);

        const struct {
                dbus_uint32_t pid;
                int pidfd; /* -1: the bus says none */
                bool has_unit;
        } rows[] = {
                { (dbus_uint32_t)getpid(), -1, true },
                { (dbus_uint32_t)getpid(), of_me, true },
                { (dbus_uint32_t)getpid(), of_gone, false }, /* its number is another's now */
                { 0, -1, false },
                { UINT32_MAX, -1, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(subject_deinit) Subject subject = { .uid = SUBJECT_UID_UNKNOWN };
                Answer answer;

                answer_open(&answer);
                answer_u32(&answer, "UnixUserID", 33);
                answer_u32(&answer, "ProcessID", rows[i].pid);
                if (rows[i].pidfd >= 0)
                        answer_fd(&answer, "ProcessFD", rows[i].pidfd);
                assert_int_equal(answer_read(&answer, &subject), 0);
                assert_int_equal(subject.uid, 33);
                if (rows[i].has_unit)
                        assert_string_equal(subject.unit, UNIT);
                else
                        assert_null(subject.unit);
        }
        close(of_gone);
        close(of_me);
}

static void test_unit_of_a_wrong_type(void **state)
{
        Subject subject = { .uid = 4711 };
        Answer answer;

        answer_open(&answer);
        answer_u32(&answer, "UnixUserID", 33);
        answer_u32(&answer, "ProcessFD", 1);
        assert_true(answer_read(&answer, &subject) < 0);
        assert_int_equal(subject.uid, 4711);
}

static int listen_at(struct sockaddr_un *address)
{
        socklen_t n = sizeof(*address);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        /* Without a name: the kernel gives it an abstract one. */
        *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        assert_int_equal(bind(fd, (struct sockaddr *)address, sizeof(sa_family_t)), 0);
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)address, &n), 0);
        return fd;
}

/* Who is said to have connected, and has ended, or not, when it is asked about. */
static void connect_from_child(bool ends, Subject *ret_subject)
{
        struct sockaddr_un address;
        int listener = listen_at(&address), fd;
        pid_t child = fork();

        if (child == 0) {
                fd = socket(AF_UNIX, SOCK_STREAM, 0);
                if (connect(fd, (struct sockaddr *)&address, sizeof(sa_family_t) + 6) < 0)
                        _exit(1);
                if (!ends)
                        pause();
                _exit(0);
        }
        if (ends)
                assert_int_equal(waitpid(child, NULL, 0), child);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(subject_from_socket(fd, ret_subject), 0);
        assert_int_equal(ret_subject->pid, child);
        if (!ends) {
                kill(child, SIGKILL);
                assert_int_equal(waitpid(child, NULL, 0), child);
        }
        close(fd);
        close(listener);
}

static bool kernel_tells_processes(void)
{
        int fds[2], pidfd = -1;
        socklen_t n = sizeof(pidfd);
        bool tells;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        tells = getsockopt(fds[0], SOL_SOCKET, 77, &pidfd, &n) == 0;
        if (tells)
                close(pidfd);
        close(fds[0]);
        close(fds[1]);
        return tells;
}

/* Before Linux 6.5 nobody can tell that the number may be another's. */
static void test_unit_of_a_socket(void **state)
{
        CLEANUP(subject_deinit) Subject there = { .uid = SUBJECT_UID_UNKNOWN };
        CLEANUP(subject_deinit) Subject gone = { .uid = SUBJECT_UID_UNKNOWN };

        connect_from_child(false, &there);
        assert_string_equal(there.unit, UNIT);
        connect_from_child(true, &gone);
        assert_int_equal(gone.uid, geteuid());
        if (kernel_tells_processes())
                assert_null(gone.unit);
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
                cmocka_unit_test(test_unit_of_the_bus),
                cmocka_unit_test(test_unit_of_a_wrong_type),
                cmocka_unit_test(test_unit_of_a_socket),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
