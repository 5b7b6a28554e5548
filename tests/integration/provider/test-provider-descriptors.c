/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that close all descriptors that they do not know, as daemons do, and then open files and
 * sockets of their own under the numbers of our connections. Nothing of theirs is read, written or
 * closed, neither by the next signature, which works, nor when libcrypto is cleaned up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test-provider.h"

#define FIRST 3
#define LAST  15 /* of the numbers that the program takes; peers of its sockets are above */

static const char unread[] = "the program's own";

typedef struct Owned {
        struct stat st;
        int peer; /* of a socket; -1: it is a file */
} Owned;

static bool own_one(int fd, bool is_socket, Owned *owned)
{
        int pair[2], peer;

        owned->peer = -1;
        if (!is_socket)
                return open(file("own", "er"), O_RDWR | O_CREAT, 0600) == fd &&
                       fstat(fd, &owned->st) == 0;
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || pair[0] != fd)
                return false;
        peer = fcntl(pair[1], F_DUPFD, LAST + 1);
        owned->peer = peer;
        return close(pair[1]) == 0 && fstat(fd, &owned->st) == 0 &&
               write(peer, unread, sizeof(unread)) == sizeof(unread);
}

static bool is_untouched(int fd, const Owned *owned)
{
        char text[2 * sizeof(unread)];
        struct stat st;

        if (fstat(fd, &st) < 0 || st.st_dev != owned->st.st_dev || st.st_ino != owned->st.st_ino)
                return false;
        if (owned->peer < 0)
                return st.st_size == 0 && lseek(fd, 0, SEEK_CUR) == 0;
        return recv(fd, text, sizeof(text), MSG_PEEK | MSG_DONTWAIT) == sizeof(unread) &&
               recv(owned->peer, text, sizeof(text), MSG_DONTWAIT) < 0;
}

static bool all_are_untouched(const Owned *owned)
{
        for (int fd = FIRST; fd <= LAST; fd++)
                if (!is_untouched(fd, &owned[fd])) {
                        fprintf(stderr, "descriptor %d of the program was touched\n", fd);
                        return false;
                }
        return true;
}

/* In a process of its own; key has been signed with in this process or in its parent. */
static int live_as_a_daemon(EVP_PKEY *key, bool sockets, bool sign_again)
{
        Owned owned[LAST + 1];

        closefrom(FIRST);
        for (int fd = FIRST; fd <= LAST; fd++)
                if (!own_one(fd, sockets, &owned[fd]))
                        return 2;

        if (sign_again && !signs(key, "ec", "SHA256")) {
                ERR_print_errors_fp(stderr);
                return 3;
        }
        if (!all_are_untouched(owned))
                return 4;
        EVP_PKEY_free(key);
        OPENSSL_cleanup();
        return all_are_untouched(owned) ? 0 : 5;
}

void the_programs_descriptors_are_left_alone(void **state)
{
        EVP_PKEY *key = load("ec");

        for (unsigned round = 0; round < 8; round++) {
                bool sockets = round & 1, sign_again = round & 2, by_parent = round & 4;
                pid_t child;

                if (by_parent)
                        MUST(signs(key, "ec", "SHA256"));
                child = fork();
                assert_true(child >= 0);
                if (child == 0) {
                        if (!by_parent && !signs(key, "ec", "SHA256"))
                                _exit(1);
                        _exit(live_as_a_daemon(key, sockets, sign_again));
                }
                assert_int_equal(child_status(child), 0);
        }
        EVP_PKEY_free(key);
}
