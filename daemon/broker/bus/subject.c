/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subjects. The invariant is that a subject is filled whole or not at all: its uid is unknown until it
 * is proven, and nothing but the bus's own answer or the kernel's about the socket proves it. The pid
 * identifies nobody (it is used again): the unit that is read through it can only narrow a grant, and is
 * believed only of a process that is still there, where kernel or bus gives a descriptor of it.
 */
#include "broker/bus/subject.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/strings.h"

#define GROUPS_MAX 65536 /* NGROUPS_MAX */
#define LABEL_MAX  4096

/* Linux 6.5; the number is that of all architectures but two. */
#if !defined(SO_PEERPIDFD) && !defined(__hppa__) && !defined(__sparc__)
#define SO_PEERPIDFD 77
#endif

#define PIDFD_UNKNOWN (-1) /* neither kernel nor bus has such a thing */
#define PIDFD_GONE    (-2) /* they have, and there is none of this process */

/* What the bus says of a connection. */
typedef struct Credentials {
        Subject subject;
        int pidfd;
} Credentials;

static void credentials_deinit(Credentials *credentials)
{
        subject_deinit(&credentials->subject);
        close_fd(credentials->pidfd);
}

/* --- the unit --- */

/* A pidfd can be read once its process has ended. */
static bool is_alive(int pidfd)
{
        struct pollfd ended = { .fd = pidfd, .events = POLLIN };

        return poll(&ended, 1, 0) == 0;
}

/*
 * As sd_pid_get_unit(3) has it, which reads it by the number. PIDFD_UNKNOWN: nobody can say whether the number is still
 * that of the process that connected.
 */
static int read_unit(int pidfd, Subject *subject)
{
        CLEANUP(freep) char *unit = NULL;
        uint32_t pid = subject->pid;
        int r;

        /* 0 is who asks: us. It is also what the kernel says of a process in no namespace of ours. */
        if (pid == 0 || pid > INT32_MAX || pidfd == PIDFD_GONE)
                return 0;
        r = sd_pid_get_unit((pid_t)pid, &unit);
        if (r == -ENOMEM)
                return r;
        if (r >= 0 && (pidfd == PIDFD_UNKNOWN || is_alive(pidfd)))
                subject->unit = TAKE(unit);
        return 0;
}

/* --- from the bus --- */

static int take_groups(Subject *subject, const uint32_t *gids, size_t n)
{
        uint32_t *copy;

        if (n > GROUPS_MAX)
                return -E2BIG;
        copy = calloc(n + 1, sizeof(*copy));
        if (!copy)
                return -ENOMEM;
        if (n > 0)
                memcpy(copy, gids, n * sizeof(*copy));
        free(subject->gids);
        subject->gids = copy;
        subject->n_gids = n;
        return 0;
}

/* The kernel's label has a NUL at its end, which the bus passes on. */
static int take_label(Subject *subject, const char *label, size_t n)
{
        while (n > 0 && label[n - 1] == '\0')
                n--;
        if (n == 0)
                return 0;
        if (n > LABEL_MAX || !utf8_is_valid(label, n))
                return -EINVAL;
        free(subject->label);
        subject->label = strndup(label, n);
        return subject->label ? 0 : -ENOMEM;
}

static int read_number(DBusMessageIter *variant, uint32_t *ret_number)
{
        if (dbus_message_iter_get_arg_type(variant) != DBUS_TYPE_UINT32)
                return -EBADMSG;
        dbus_message_iter_get_basic(variant, ret_number);
        return 0;
}

static int read_uid(DBusMessageIter *variant, Credentials *credentials)
{
        return read_number(variant, &credentials->subject.uid);
}

static int read_pid(DBusMessageIter *variant, Credentials *credentials)
{
        return read_number(variant, &credentials->subject.pid);
}

/* dbus 1.15.8 and later. It is our own duplicate, or none for want of descriptors. */
static int read_pidfd(DBusMessageIter *variant, Credentials *credentials)
{
        int fd = -1;

        if (dbus_message_iter_get_arg_type(variant) != DBUS_TYPE_UNIX_FD)
                return -EBADMSG;
        dbus_message_iter_get_basic(variant, &fd);
        close_fd(credentials->pidfd);
        credentials->pidfd = fd >= 0 ? fd : PIDFD_GONE;
        return 0;
}

static int read_array(DBusMessageIter *variant, int type, const void **ret_data, size_t *ret_n)
{
        DBusMessageIter array;
        int n = 0;

        if (dbus_message_iter_get_arg_type(variant) != DBUS_TYPE_ARRAY ||
            dbus_message_iter_get_element_type(variant) != type)
                return -EBADMSG;
        dbus_message_iter_recurse(variant, &array);
        dbus_message_iter_get_fixed_array(&array, ret_data, &n);
        *ret_n = (size_t)n;
        return 0;
}

static int read_groups(DBusMessageIter *variant, Credentials *credentials)
{
        const void *gids = NULL;
        size_t n;
        int r;

        r = read_array(variant, DBUS_TYPE_UINT32, &gids, &n);
        return r < 0 ? r : take_groups(&credentials->subject, gids, n);
}

static int read_label(DBusMessageIter *variant, Credentials *credentials)
{
        const void *label = NULL;
        size_t n;
        int r;

        r = read_array(variant, DBUS_TYPE_BYTE, &label, &n);
        return r < 0 ? r : take_label(&credentials->subject, label, n);
}

static const struct {
        const char *key;
        int (*read)(DBusMessageIter *variant, Credentials *credentials);
} credential_rows[] = {
        { "UnixUserID", read_uid },
        { "ProcessID", read_pid },
        { "ProcessFD", read_pidfd },
        { "UnixGroupIDs", read_groups },
        { "LinuxSecurityLabel", read_label },
};

static int read_entry(DBusMessageIter *dictionary, Credentials *credentials)
{
        DBusMessageIter entry, variant;
        const char *key;

        dbus_message_iter_recurse(dictionary, &entry);
        dbus_message_iter_get_basic(&entry, &key);
        dbus_message_iter_next(&entry);
        dbus_message_iter_recurse(&entry, &variant);
        for (size_t i = 0; i < ELEMENTSOF(credential_rows); i++) {
                if (strcmp(credential_rows[i].key, key) == 0)
                        return credential_rows[i].read(&variant, credentials);
        }
        return 0; /* a newer bus says more */
}

int subject_from_credentials(DBusMessage *reply, Subject *ret_subject)
{
        CLEANUP(credentials_deinit)
        Credentials credentials = { { .uid = SUBJECT_UID_UNKNOWN }, PIDFD_UNKNOWN };
        Subject *subject = &credentials.subject;
        DBusMessageIter iter, dictionary;
        int r;

        if (dbus_message_get_type(reply) != DBUS_MESSAGE_TYPE_METHOD_RETURN ||
            !dbus_message_has_signature(reply, "a{sv}"))
                return -EACCES;
        dbus_message_iter_init(reply, &iter);
        dbus_message_iter_recurse(&iter, &dictionary);
        for (; dbus_message_iter_get_arg_type(&dictionary) == DBUS_TYPE_DICT_ENTRY;
             dbus_message_iter_next(&dictionary)) {
                r = read_entry(&dictionary, &credentials);
                if (r < 0)
                        return r;
        }
        if (subject->uid == SUBJECT_UID_UNKNOWN)
                return -EACCES;
        r = read_unit(credentials.pidfd, subject);
        if (r < 0)
                return r;
        *ret_subject = *subject;
        *subject = (Subject){ 0 };
        return 0;
}

/* --- from the socket --- */

static int read_peer_groups(int fd, Subject *subject)
{
        CLEANUP(freep) gid_t *gids = NULL;
        socklen_t n = 64 * sizeof(*gids);

        for (;;) {
                gid_t *grown = realloc(gids, n);

                if (!grown)
                        return -ENOMEM;
                gids = grown;
                if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &n) == 0)
                        return take_groups(subject, gids, n / sizeof(*gids));
                if (errno != ERANGE || n > GROUPS_MAX * sizeof(*gids))
                        return -errno;
        }
}

/* The primary group is not among the supplementary ones. */
static int add_primary_group(Subject *subject, gid_t gid)
{
        uint32_t *grown;

        for (size_t i = 0; i < subject->n_gids; i++) {
                if (subject->gids[i] == gid)
                        return 0;
        }
        grown = reallocarray(subject->gids, subject->n_gids + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        grown[subject->n_gids++] = gid;
        subject->gids = grown;
        return 0;
}

static int read_peer_label(int fd, Subject *subject)
{
        char label[LABEL_MAX];
        socklen_t n = sizeof(label);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERSEC, label, &n) == 0)
                return take_label(subject, label, n);
        /* No security module that has labels: then there is none, and grants that name one never match. */
        return errno == ENOPROTOOPT || errno == EOPNOTSUPP ? 0 : -errno;
}

static int peer_pidfd(int fd)
{
#ifdef SO_PEERPIDFD
        int pidfd = -1;
        socklen_t n = sizeof(pidfd);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &n) == 0)
                return pidfd;
        return errno == ENOPROTOOPT ? PIDFD_UNKNOWN : PIDFD_GONE;
#else
        return PIDFD_UNKNOWN;
#endif
}

static int read_peer_unit(int fd, Subject *subject)
{
        CLEANUP(closep) int pidfd = peer_pidfd(fd);

        return read_unit(pidfd, subject);
}

int subject_peek(int fd, Subject *ret_subject)
{
        CLEANUP(subject_deinit) Subject subject = { .uid = SUBJECT_UID_UNKNOWN };
        struct ucred peer;
        socklen_t n = sizeof(peer);
        int r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
                return -errno;
        if (n != sizeof(peer) || peer.uid == (uid_t)-1)
                return -EACCES;
        r = read_peer_groups(fd, &subject);
        if (r == 0)
                r = add_primary_group(&subject, peer.gid);
        if (r < 0)
                return r;
        subject.pid = (uint32_t)MAX(peer.pid, 0);
        subject.uid = peer.uid;
        *ret_subject = subject;
        subject = (Subject){ 0 };
        return 0;
}

int subject_from_socket(int fd, Subject *ret_subject)
{
        CLEANUP(subject_deinit) Subject subject = { .uid = SUBJECT_UID_UNKNOWN };
        int r;

        r = subject_peek(fd, &subject);
        if (r == 0)
                r = read_peer_label(fd, &subject);
        if (r == 0)
                r = read_peer_unit(fd, &subject);
        if (r < 0)
                return r;
        *ret_subject = subject;
        subject = (Subject){ 0 };
        return 0;
}
