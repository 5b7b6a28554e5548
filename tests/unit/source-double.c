/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for certbroker-source: it speaks the wire, holds no key, and misbehaves as the setting
 * `conduct` or a request's name tells it. A test program is its own helper when it is started with
 * --fd.
 */
#include "source-double.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/strings.h"
#include "wire/packet.h"

static int helper_fd;
static char **helper_settings;

static const char *helper_setting(const char *key)
{
        for (char **s = helper_settings; s && *s; s++) {
                if (strncmp(*s, key, strlen(key)) == 0 && (*s)[strlen(key)] == '=')
                        return *s + strlen(key) + 1;
        }
        return "";
}

static void helper_send(WireReply *reply)
{
        Bytes packet = { 0 };

        int r;

        if (wire_reply_encode(reply, &packet) < 0)
                _exit(90);
        r = wire_send(helper_fd, &packet, reply->fds, 0);
        if (r < 0 && r != -EPIPE) /* a broker that has gone is found out by the next read */
                _exit(90);
        bytes_deinit(&packet);
        wire_reply_deinit(reply);
}

static void helper_event(SourceState state, const char *text)
{
        WireReply event;

        wire_reply_init(&event, 0);
        event.state = state;
        event.state_text = text ? strdup(text) : NULL;
        helper_send(&event);
}

static void helper_answer(const WireRequest *request, int status, const char *text,
                          const void *output, size_t n)
{
        WireReply reply;

        wire_reply_init(&reply, request->id);
        if (status != 0)
                fail(&reply.failure, status, "%s", text);
        else if (bytes_set(&reply.output, output, n) < 0)
                _exit(91);
        helper_send(&reply);
}

static void helper_configure(const WireRequest *request)
{
        const char *conduct;

        if (strv_copy(request->settings, &helper_settings) < 0)
                _exit(92);
        conduct = helper_setting("conduct");
        if (string_equal(conduct, "die"))
                _exit(7);
        if (string_equal(conduct, "refuse")) {
                helper_answer(request, CB_INVALID_ARGUMENT, "it does not like its settings", "", 0);
                return;
        }
        helper_answer(request, 0, NULL, "", 0);
        helper_event(SOURCE_STARTING, NULL);
        if (string_equal(conduct, "locked"))
                helper_event(SOURCE_LOCKED, "the PIN is wrong");
        else if (!string_equal(conduct, "starting"))
                helper_event(SOURCE_READY, NULL);
}

/* Descriptors, environment, arguments' effect, signal mask: what a child must be given. */
static void helper_report(const WireRequest *request)
{
        char text[2048];
        int n_fds = 0, max_fd = 0;
        struct dirent *entry;
        sigset_t mask;
        DIR *directory = opendir("/proc/self/fd");
        ssize_t n_link;

        while ((entry = readdir(directory))) {
                int fd = atoi(entry->d_name);

                if (entry->d_name[0] == '.' || fd == dirfd(directory))
                        continue;
                n_fds++;
                max_fd = MAX(max_fd, fd);
        }
        closedir(directory);
        sigprocmask(SIG_SETMASK, NULL, &mask);
        snprintf(text, sizeof(text),
                 "pid=%d fds=%d max=%d term=%d chld=%d notify=%d listen=%d mark=%s "
                 "name=%s driver=%s stdin=",
                 (int)getpid(), n_fds, max_fd, sigismember(&mask, SIGTERM),
                 sigismember(&mask, SIGCHLD), getenv("NOTIFY_SOCKET") != NULL,
                 getenv("LISTEN_FDS") != NULL || getenv("LISTEN_PID") != NULL,
                 getenv("TEST_MARK") ?: "", helper_setting("name"), helper_setting("driver"));
        n_link = readlink("/proc/self/fd/0", text + strlen(text), 100);
        (void)n_link;
        helper_answer(request, 0, NULL, text, strlen(text));
}

static void helper_echo_fd(const WireRequest *request)
{
        char text[64] = { 0 };
        WireReply reply;

        if (pread(request->fds[0], text, sizeof(text) - 1, 0) < 0)
                _exit(93);
        wire_reply_init(&reply, request->id);
        reply.fds[0] = memfd_create("answer", MFD_CLOEXEC);
        if (dprintf(reply.fds[0], "got %s", text) < 0)
                _exit(94);
        helper_send(&reply);
}

static void helper_serve(WireRequest *request)
{
        static uint64_t held;
        const char *what = string_or_empty(request->name);
        WireRequest other = { 0 };

        if (string_equal(what, "echo") || request->operation == WIRE_UNLOCK ||
            request->operation == WIRE_REFRESH) {
                helper_answer(request, 0, NULL, request->input.data, request->input.n);
                if (request->operation == WIRE_UNLOCK)
                        helper_event(SOURCE_READY, NULL);
        } else if (string_equal(what, "hold")) {
                held = request->id;
        } else if (string_equal(what, "release")) {
                helper_answer(request, 0, NULL, "release", 7);
                other.id = held;
                helper_answer(&other, 0, NULL, "held", 4);
        } else if (string_equal(what, "refuse")) {
                helper_answer(request, CB_NOT_FOUND, "no such key", "", 0);
        } else if (string_equal(what, "report")) {
                helper_report(request);
        } else if (string_equal(what, "fd")) {
                helper_echo_fd(request);
        } else if (string_equal(what, "crash")) {
                signal(SIGSEGV, SIG_DFL);
                raise(SIGSEGV);
        } else if (string_equal(what, "exit")) {
                helper_answer(request, 0, NULL, "last words", 10);
                _exit(3);
        } else if (string_equal(what, "stop")) {
                raise(SIGSTOP);
        } else if (string_equal(what, "deaf")) {
                shutdown(helper_fd, SHUT_RDWR);
                for (;;)
                        pause();
        } else if (string_equal(what, "garbage")) {
                char garbage[] = "!garbage";

                (void)send(helper_fd, garbage, sizeof(garbage), 0);
        } else if (string_equal(what, "odd")) {
                helper_event(SOURCE_DEGRADED, "line\nwith \x1b[31mcolour");
                helper_answer(request, 0, NULL, "", 0);
        }
}

int source_double_main(void)
{
        static uint8_t buffer[WIRE_PACKET_MAX];

        helper_fd = 3;
        signal(SIGPIPE, SIG_IGN);
        for (;;) {
                WireRequest request;
                int fds[WIRE_FDS_MAX];
                ssize_t n = wire_receive(helper_fd, buffer, sizeof(buffer), fds, 0);

                if (n <= 0) {
                        while (string_equal(helper_setting("conduct"), "stubborn"))
                                pause();
                        _exit(0);
                }
                if (wire_request_decode(buffer, (size_t)n, &request) < 0)
                        _exit(95);
                memcpy(request.fds, fds, sizeof(fds));
                if (request.operation == WIRE_CONFIGURE)
                        helper_configure(&request);
                else if (request.operation == WIRE_PING)
                        helper_answer(&request, 0, NULL, "", 0);
                else
                        helper_serve(&request);
                wire_request_deinit(&request);
        }
}
