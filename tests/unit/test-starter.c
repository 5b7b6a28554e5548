/* SPDX-License-Identifier: Apache-2.0 */
/* The starter by itself: what is started, what is told of it, what is ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/sources/starter.h"

#define PATIENCE_USEC (60 * USEC_PER_SEC)
#define N_MANY        256 /* as many sources as can be configured */

static char own_path[512];

/* As a process: it ends with 5 when its socket does, but for one that was sent something. */
static int helper_main(void)
{
        char byte;

        if (read(3, &byte, 1) <= 0)
                return 5;
        for (;;)
                pause();
}

static StarterReport next(Starter *starter)
{
        StarterReport report;

        assert_int_equal(starter_receive(starter, PATIENCE_USEC, &report), 1);
        return report;
}

static void test_started_and_ended(void **state)
{
        CLEANUP(starter_freep) Starter *starter = NULL;
        StarterReport report;
        int fd;

        (void)state;
        assert_int_equal(starter_new(own_path, NULL, &starter), 0);
        assert_string_equal(starter_helper(starter), own_path);
        assert_int_equal(starter_receive(starter, 0, &report), 0); /* nothing has been asked for */
        assert_int_equal(starter_start(starter, 7, &fd), 0);
        report = next(starter);
        assert_int_equal(report.id, 7);
        assert_int_equal(report.event, STARTER_STARTED);
        assert_int_equal(kill(report.detail, 0), 0);

        close(fd);
        report = next(starter);
        assert_int_equal(report.id, 7);
        assert_int_equal(report.event, STARTER_ENDED);
        assert_int_equal(report.code, CLD_EXITED);
        assert_int_equal(report.detail, 5);
}

static void test_killed(void **state)
{
        CLEANUP(starter_freep) Starter *starter = NULL;
        int fds[2];

        (void)state;
        assert_int_equal(starter_new(own_path, NULL, &starter), 0);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(starter_start(starter, i + 1, &fds[i]), 0);
                assert_int_equal(write(fds[i], "x", 1), 1); /* before it is there, even */
        }
        assert_int_equal(starter_kill(starter, 9), 0); /* there is none */
        assert_int_equal(starter_kill(starter, 2), 0);
        for (unsigned n = 0; n < 3; n++) {
                StarterReport report = next(starter);

                if (report.event == STARTER_STARTED)
                        continue;
                assert_int_equal(report.id, 2);
                assert_int_equal(report.event, STARTER_ENDED);
                assert_int_equal(report.code, CLD_KILLED);
                assert_int_equal(report.detail, SIGKILL);
        }
        close(fds[0]);
        close(fds[1]);
}

static void test_cannot_be_started(void **state)
{
        CLEANUP(starter_freep) Starter *starter = NULL;
        StarterReport report;
        char byte;
        int fd;

        (void)state;
        assert_int_equal(starter_new("/nonexistent/helper", NULL, &starter), 0);
        assert_int_equal(starter_start(starter, 1, &fd), 0);
        report = next(starter);
        assert_int_equal(report.id, 1);
        assert_int_equal(report.event, STARTER_FAILED);
        assert_int_equal(report.detail, ENOENT);
        assert_int_equal(read(fd, &byte, 1), 0); /* nobody has the other end */
        close(fd);
        assert_int_equal(starter_receive(starter, 0, &report), 0); /* and no end is told */
}

static void test_many_at_once(void **state)
{
        CLEANUP(starter_freep) Starter *starter = NULL;
        unsigned n_started = 0, n_ended = 0;
        int fd;

        (void)state;
        assert_int_equal(starter_new(own_path, NULL, &starter), 0);
        for (unsigned i = 0; i < N_MANY; i++) {
                assert_int_equal(starter_start(starter, i + 1, &fd), 0);
                close(fd);
        }
        while (n_ended < N_MANY) {
                StarterReport report = next(starter);

                assert_in_range(report.id, 1, N_MANY);
                n_started += report.event == STARTER_STARTED;
                n_ended += report.event == STARTER_ENDED;
        }
        assert_int_equal(n_started, N_MANY);
}

/* Neither the starter nor what it has started is left. */
static void test_ends_with_its_owner(void **state)
{
        Starter *starter = NULL;
        char byte;
        int fd;

        (void)state;
        assert_int_equal(starter_new(own_path, NULL, &starter), 0);
        assert_int_equal(starter_start(starter, 1, &fd), 0);
        assert_int_equal(write(fd, "x", 1), 1);
        assert_int_equal(next(starter).event, STARTER_STARTED);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
        starter_free(starter);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
        assert_int_equal(errno, ECHILD);
        assert_true(read(fd, &byte, 1) <= 0); /* waits for the end of its other end */
        close(fd);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_started_and_ended), cmocka_unit_test(test_killed),
                cmocka_unit_test(test_cannot_be_started), cmocka_unit_test(test_many_at_once),
                cmocka_unit_test(test_ends_with_its_owner),
        };

        if (argc > 1 && strcmp(argv[1], "--fd") == 0)
                return helper_main();
        if (readlink("/proc/self/exe", own_path, sizeof(own_path) - 1) < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
