/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing what others have handed in. A file of somebody's own file system (FUSE) is closed when he says so, and
 * a pipe when nobody writes to it, and neither can be interrupted: on the loop, one descriptor of one user
 * without any grant would stop the broker for everybody, and for ever. libdbus receives descriptors and closes
 * them in many places, and cannot be told otherwise. So recvmsg() and close() of this program are these, for
 * the libraries as well: what came in by the first is closed by a thread, one for each user that has some.
 *
 * Invariant: no other thread ever waits for that; whoever has one that does not end gets no more in.
 */
#include "broker/closer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/macro.h"
#include "base/stranger.h"

#define LINES_MAX    128 /* users whose descriptors are being closed; the others share one more */
#define FDS_MAX      65536
#define STUCK_USEC   USEC_PER_SEC
#define CLOSER_STACK (64 * 1024)

#define EXPORT __attribute__((__visibility__("default"))) /* where the libraries find it first */

/* What is to be closed of one user, in the order in which it came. */
typedef struct Line {
        bool has_thread;
        uint32_t uid;
        int first, last;     /* -1: none */
        uint64_t since_usec; /* the one at which the thread is */
} Line;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Line lines[LINES_MAX + 1];
static int next_of[FDS_MAX];
static atomic_uint n_busy; /* lines with a thread */

/* NULL: none, and no room. The last is of all who have found none. */
static Line *line_of_locked(uint32_t uid, bool make)
{
        Line *unused = &lines[LINES_MAX];

        for (size_t i = 0; i < LINES_MAX; i++) {
                if (lines[i].has_thread && lines[i].uid == uid)
                        return &lines[i];
                if (!lines[i].has_thread && unused == &lines[LINES_MAX])
                        unused = &lines[i];
        }
        if (!make)
                return unused == &lines[LINES_MAX] ? unused : NULL;
        return unused;
}

static void *closer_main(void *userdata)
{
        Line *line = userdata;

        pthread_mutex_lock(&lock);
        while (line->first >= 0) {
                int fd = line->first;

                line->first = next_of[fd];
                line->since_usec = clock_monotonic_usec();
                pthread_mutex_unlock(&lock);
                (void)syscall(SYS_close, fd);
                pthread_mutex_lock(&lock);
        }
        line->has_thread = false;
        atomic_fetch_sub(&n_busy, 1);
        pthread_mutex_unlock(&lock);
        return NULL;
}

static int start_closer(Line *line)
{
        pthread_attr_t attributes;
        pthread_t thread;
        int r;

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return r;
        (void)pthread_attr_setstacksize(&attributes, CLOSER_STACK);
        (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        r = pthread_create(&thread, &attributes, closer_main, line);
        pthread_attr_destroy(&attributes);
        return r;
}

static void put_locked(Line *line, uint32_t uid, int fd)
{
        next_of[fd] = -1;
        if (line->has_thread && line->first >= 0) {
                next_of[line->last] = fd;
                line->last = fd;
                return;
        }
        line->first = line->last = fd;
        if (line->has_thread)
                return; /* it is at another one, and looks again */
        line->uid = uid;
        line->since_usec = clock_monotonic_usec();
        line->has_thread = true;
        atomic_fetch_add(&n_busy, 1);
        if (start_closer(line) == 0)
                return;
        line->has_thread = false; /* it stays open: better than to wait for it here */
        line->first = -1;
        atomic_fetch_sub(&n_busy, 1);
}

EXPORT int close(int fd)
{
        int saved = errno;
        uint32_t uid;

        if (!stranger_take(fd, &uid))
                return (int)syscall(SYS_close, fd);
        pthread_mutex_lock(&lock);
        put_locked(line_of_locked(uid, true), uid, fd);
        pthread_mutex_unlock(&lock);
        errno = saved;
        return 0;
}

static uint32_t peer_of(int fd)
{
        struct ucred peer = { .uid = UINT32_MAX - 1 };
        socklen_t n = sizeof(peer);

        (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n);
        return peer.uid;
}

/* Is there one of this user's, or of all for whom there was no line, that is not closed in time? */
static bool is_barred(uint32_t uid)
{
        const Line *line;
        bool barred;

        if (atomic_load(&n_busy) == 0)
                return false;
        pthread_mutex_lock(&lock);
        line = line_of_locked(uid, false);
        barred = line && line->has_thread && uid != 0 &&
                 clock_monotonic_usec() - line->since_usec > STUCK_USEC;
        pthread_mutex_unlock(&lock);
        return barred;
}

static void mark_all(struct msghdr *message, uint32_t uid)
{
        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        stranger_mark(fd, uid);
                }
        }
}

/*
 * The kernel drops the descriptors for which there is no room, without asking anybody. libdbus then drops
 * who has sent them.
 */
EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
        void *control = message->msg_control;
        ssize_t n;

        if (control && atomic_load(&n_busy) > 0 && is_barred(peer_of(fd))) {
                message->msg_control = NULL;
                message->msg_controllen = 0;
        }
        n = syscall(SYS_recvmsg, fd, message, flags);
        if (n >= 0 && message->msg_control && message->msg_controllen > 0)
                mark_all(message, peer_of(fd));
        message->msg_control = control;
        return n;
}

void closer_begin(void)
{
        for (size_t i = 0; i < ELEMENTSOF(lines); i++)
                lines[i].first = -1;
}
