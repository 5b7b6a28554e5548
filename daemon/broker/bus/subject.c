/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subjects. The invariant is that a subject is filled whole or not at all: its uid is unknown until it
 * is proven, and nothing but the bus's own answer or the kernel's about the socket proves it. The pid
 * identifies nobody (it is used again): the unit that is read through it can only narrow a grant.
 */
#include "broker/bus/subject.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/strings.h"

#define GROUPS_MAX 65536 /* NGROUPS_MAX */
#define LABEL_MAX  4096
#define CGROUP_MAX 8192
#define UNIT_MAX   255

/* --- the unit --- */

static bool ends_in(const char *text, size_t n, const char *end)
{
        size_t n_end = strlen(end);

        return n > n_end && memcmp(text + n - n_end, end, n_end) == 0;
}

/* The last label of one path that names a unit: NAME.service in /system.slice/NAME.service/sub. */
static bool find_unit(const char *path, size_t n, const char **ret_unit, size_t *ret_n)
{
        size_t end = n;

        while (end > 0) {
                size_t start = end;

                while (start > 0 && path[start - 1] != '/')
                        start--;
                if (end - start <= UNIT_MAX && (ends_in(path + start, end - start, ".service") ||
                                                ends_in(path + start, end - start, ".scope"))) {
                        *ret_unit = path + start;
                        *ret_n = end - start;
                        return true;
                }
                end = start > 0 ? start - 1 : 0;
        }
        return false;
}

char *unit_from_cgroup(const char *text)
{
        const char *unit;
        size_t n_unit;

        while (*text != '\0') {
                size_t n = strcspn(text, "\n");
                const char *path = memchr(text, ':', n);

                /* "0::/path" is the unified hierarchy, "1:name=systemd:/path" the old one. */
                if (path)
                        path = memchr(path + 1, ':', n - (size_t)(path + 1 - text));
                if (path &&
                    (strncmp(text, "0::", 3) == 0 ||
                     strstr(text, "name=systemd:") == strchr(text, ':') + 1) &&
                    find_unit(path + 1, n - (size_t)(path + 1 - text), &unit, &n_unit))
                        return utf8_is_valid(unit, n_unit) ? strndup(unit, n_unit) : NULL;
                text += n;
                if (*text == '\n')
                        text++;
        }
        return NULL;
}

static char *read_unit(uint32_t pid)
{
        char path[64], text[CGROUP_MAX];
        CLEANUP(closep) int fd = -1;
        ssize_t n;

        if (pid == 0)
                return NULL;
        snprintf(path, sizeof(path), "/proc/%u/cgroup", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return NULL;
        n = read(fd, text, sizeof(text) - 1);
        if (n <= 0)
                return NULL;
        text[n] = '\0';
        return unit_from_cgroup(text);
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

static int read_number(DBusMessageIter *variant, Subject *subject, uint32_t *ret_number)
{
        if (dbus_message_iter_get_arg_type(variant) != DBUS_TYPE_UINT32)
                return -EBADMSG;
        dbus_message_iter_get_basic(variant, ret_number);
        return 0;
}

static int read_uid(DBusMessageIter *variant, Subject *subject)
{
        return read_number(variant, subject, &subject->uid);
}

static int read_pid(DBusMessageIter *variant, Subject *subject)
{
        return read_number(variant, subject, &subject->pid);
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

static int read_groups(DBusMessageIter *variant, Subject *subject)
{
        const void *gids = NULL;
        size_t n;
        int r;

        r = read_array(variant, DBUS_TYPE_UINT32, &gids, &n);
        return r < 0 ? r : take_groups(subject, gids, n);
}

static int read_label(DBusMessageIter *variant, Subject *subject)
{
        const void *label = NULL;
        size_t n;
        int r;

        r = read_array(variant, DBUS_TYPE_BYTE, &label, &n);
        return r < 0 ? r : take_label(subject, label, n);
}

static const struct {
        const char *key;
        int (*read)(DBusMessageIter *variant, Subject *subject);
} credentials[] = {
        { "UnixUserID", read_uid },
        { "ProcessID", read_pid },
        { "UnixGroupIDs", read_groups },
        { "LinuxSecurityLabel", read_label },
};

static int read_entry(DBusMessageIter *dictionary, Subject *subject)
{
        DBusMessageIter entry, variant;
        const char *key;

        dbus_message_iter_recurse(dictionary, &entry);
        dbus_message_iter_get_basic(&entry, &key);
        dbus_message_iter_next(&entry);
        dbus_message_iter_recurse(&entry, &variant);
        for (size_t i = 0; i < ELEMENTSOF(credentials); i++) {
                if (strcmp(credentials[i].key, key) == 0)
                        return credentials[i].read(&variant, subject);
        }
        return 0; /* a newer bus says more */
}

int subject_from_credentials(DBusMessage *reply, Subject *ret_subject)
{
        CLEANUP(subject_deinit) Subject subject = { .uid = SUBJECT_UID_UNKNOWN };
        DBusMessageIter iter, dictionary;
        int r;

        if (dbus_message_get_type(reply) != DBUS_MESSAGE_TYPE_METHOD_RETURN ||
            !dbus_message_has_signature(reply, "a{sv}"))
                return -EACCES;
        dbus_message_iter_init(reply, &iter);
        dbus_message_iter_recurse(&iter, &dictionary);
        for (; dbus_message_iter_get_arg_type(&dictionary) == DBUS_TYPE_DICT_ENTRY;
             dbus_message_iter_next(&dictionary)) {
                r = read_entry(&dictionary, &subject);
                if (r < 0)
                        return r;
        }
        if (subject.uid == SUBJECT_UID_UNKNOWN)
                return -EACCES;
        subject.unit = read_unit(subject.pid);
        *ret_subject = subject;
        subject = (Subject){ 0 };
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

int subject_from_socket(int fd, Subject *ret_subject)
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
        if (r == 0)
                r = read_peer_label(fd, &subject);
        if (r < 0)
                return r;
        subject.pid = (uint32_t)MAX(peer.pid, 0);
        subject.unit = read_unit(subject.pid);
        subject.uid = peer.uid;
        *ret_subject = subject;
        subject = (Subject){ 0 };
        return 0;
}
