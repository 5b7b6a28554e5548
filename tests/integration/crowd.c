/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many connections of one uid, and what they do to the broker: for the tests of what a client can cost, and the bench.
 * Small, so that it measures the broker and not itself. It speaks D-Bus on raw sockets; only the messages are libdbus's.
 *
 *   crowd SOCKET UID N idle                      log in, and no more
 *   crowd SOCKET UID N silent                    do not even log in
 *   crowd SOCKET UID N unread PATH IFACE MEMBER  call again and again, and read nothing
 *   crowd SOCKET UID N unfinished SIZE           all of a message of this size but its last byte
 *   crowd SOCKET UID N descriptors K             messages with K descriptors, the last one unfinished
 *   crowd SOCKET UID N flood PATH IFACE MEMBER [TEXT]
 *                                                call as fast as it goes, with a string or nothing, and read
 *   crowd SOCKET UID N toggle PATH               disable and enable this certificate as fast as it goes, and listen
 *   crowd SOCKET UID N connects                  connect and close as fast as it goes
 *   crowd SOCKET UID N sign PATH                 N signatures, one after the other: prints p50 p99 max in microseconds
 *   crowd SOCKET UID N ping                      the same with Ping
 *   crowd SOCKET UID N ask PATH IFACE MEMBER     the same with any other
 *
 * UID may be UID:GID; there are no other groups.
 *
 * SOCKET: a path, or "@" and an abstract name; behind a "+": a message bus is there. Prints "ready K", with how many
 * connections there are, when what it does has settled, and goes on until standard input ends; then "alive K".
 */
#include <dbus/dbus.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define OFFER_MAX (1024 * 1024) /* of calls, on a connection that reads no answer */

static const char *place;
static bool is_bus;
static int *fds;
static size_t n_fds;

static void die(const char *what)
{
        perror(what);
        exit(1);
}

static uint64_t now_nsec(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* --- connecting --- */

static int dial(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct timeval patience = { .tv_sec = 20 };
        size_t n = strlen(place);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || n >= sizeof(address.sun_path))
                die("socket");
        memcpy(address.sun_path, place, n);
        if (place[0] == '@')
                address.sun_path[0] = '\0';
        if (connect(fd, (struct sockaddr *)&address,
                    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n +
                                (place[0] == '@' ? 0 : 1))) < 0) {
                close(fd);
                return -1;
        }
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        return fd;
}

static bool put(int fd, const void *data, size_t n)
{
        return send(fd, data, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static bool wait_for(int fd, const char *word)
{
        char line[256];
        ssize_t n;

        errno = 0;
        n = recv(fd, line, sizeof(line) - 1, 0);
        if (n <= 0)
                return false;
        line[n] = '\0';
        return strncmp(line, word, strlen(word)) == 0;
}

static bool log_in(int fd)
{
        char uid[32], hex[80] = "", line[160];

        snprintf(uid, sizeof(uid), "%u", geteuid());
        for (size_t i = 0; uid[i]; i++)
                snprintf(hex + 2 * i, 3, "%02x", (unsigned char)uid[i]);
        snprintf(line, sizeof(line), "AUTH EXTERNAL %s\r\n", hex);
        return put(fd, "", 1) && put(fd, line, strlen(line)) && wait_for(fd, "OK ") &&
               put(fd, "NEGOTIATE_UNIX_FD\r\n", 19) && wait_for(fd, "AGREE") &&
               put(fd, "BEGIN\r\n", 7);
}

/* --- messages --- */

typedef struct Blob {
        char *data;
        int n;
} Blob;

static Blob marshal(DBusMessage *message, uint32_t serial)
{
        Blob blob = { 0 };

        dbus_message_set_serial(message, serial);
        if (is_bus && dbus_message_get_destination(message) == NULL)
                dbus_message_set_destination(message, "org.certbroker1");
        if (!dbus_message_marshal(message, &blob.data, &blob.n))
                die("marshal");
        dbus_message_unref(message);
        return blob;
}

static DBusMessage *new_call(const char *path, const char *interface, const char *member)
{
        return dbus_message_new_method_call(NULL, path, interface, member);
}

static Blob call_with_text(char **words, const char *text)
{
        DBusMessage *message = new_call(words[0], words[1], words[2]);

        if (text)
                dbus_message_append_args(message, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID);
        return marshal(message, 7);
}

static Blob ping(void)
{
        return marshal(new_call("/org/certbroker1", "org.freedesktop.DBus.Peer", "Ping"), 7);
}

static Blob sign(const char *path)
{
        static const uint8_t digest[32];
        const uint8_t *bytes = digest;
        const char *algorithm = "ecdsa-sha256";
        dbus_uint64_t generation = 0;
        DBusMessage *message = new_call(path, "org.certbroker1.Certificate", "Sign");

        dbus_message_append_args(message, DBUS_TYPE_UINT64, &generation, DBUS_TYPE_STRING,
                                 &algorithm, DBUS_TYPE_ARRAY, DBUS_TYPE_BYTE, &bytes, 32,
                                 DBUS_TYPE_INVALID);
        return marshal(message, 7);
}

/* Hello, and its answer thrown away with what follows it. */
static bool greet(int fd)
{
        DBusMessage *hello = new_call("/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello");
        char rest[4096];
        Blob blob;
        bool ok;

        dbus_message_set_destination(hello, "org.freedesktop.DBus");
        blob = marshal(hello, 1);
        ok = put(fd, blob.data, (size_t)blob.n) && recv(fd, rest, sizeof(rest), 0) > 0;
        dbus_free(blob.data);
        return ok;
}

static void connect_all(size_t n, bool and_log_in)
{
        fds = calloc(n, sizeof(*fds));
        for (size_t i = 0; i < n; i++) {
                int fd = dial();

                if (fd < 0)
                        break;
                if (and_log_in && (!log_in(fd) || (is_bus && !greet(fd)))) {
                        close(fd);
                        if (errno == EAGAIN)
                                break; /* nobody answers any more */
                        continue;
                }
                fds[n_fds++] = fd;
        }
        for (size_t i = 0; i < n_fds; i++)
                (void)fcntl(fds[i], F_SETFL, O_NONBLOCK);
}

static size_t alive(void)
{
        size_t n = 0;

        for (size_t i = 0; i < n_fds; i++) {
                struct pollfd pfd = { .fd = fds[i], .events = POLLIN };

                n += poll(&pfd, 1, 0) >= 0 && !(pfd.revents & (POLLHUP | POLLERR));
        }
        return n;
}

static bool has_ended(int timeout_msec)
{
        struct pollfd pfd = { .fd = STDIN_FILENO, .events = POLLIN };

        return poll(&pfd, 1, timeout_msec) > 0;
}

static void settle(void)
{
        printf("ready %zu\n", alive());
        fflush(stdout);
        while (!has_ended(1000))
                ;
        printf("alive %zu\n", alive());
}

/* --- what they do --- */

/* A bus takes no second call with the number of one that is not answered yet. */
static void number(char *data, uint32_t serial)
{
        memcpy(data + 8, &serial, sizeof(serial));
}

/* Until none takes any more for half a second. */
static void offer(const Blob *blob)
{
        size_t *offered = calloc(n_fds, sizeof(*offered));
        uint64_t last = now_nsec();

        while (now_nsec() - last < 500000000 && !has_ended(0)) {
                for (size_t i = 0; i < n_fds; i++) {
                        size_t at = offered[i] % (size_t)blob->n;
                        ssize_t n;

                        if (offered[i] >= OFFER_MAX)
                                continue;
                        number(blob->data, (uint32_t)(offered[i] / (size_t)blob->n) + 2);
                        n = send(fds[i], blob->data + at, (size_t)blob->n - at, MSG_NOSIGNAL);
                        if (n > 0) {
                                offered[i] += (size_t)n;
                                last = now_nsec();
                        }
                }
                usleep(100);
        }
        free(offered);
}

static void do_unfinished(size_t size)
{
        size_t *sent = calloc(n_fds, sizeof(*sent));
        uint64_t last = now_nsec();
        char *data;
        uint8_t *payload = calloc(1, size);
        DBusMessage *message = new_call("/org/certbroker1", "org.freedesktop.DBus.Peer", "Ping");
        Blob blob;

        dbus_message_append_args(message, DBUS_TYPE_ARRAY, DBUS_TYPE_BYTE, &payload,
                                 (int)(size - 256), DBUS_TYPE_INVALID);
        blob = marshal(message, 7);
        data = blob.data;
        while (now_nsec() - last < 500000000) {
                for (size_t i = 0; i < n_fds; i++) {
                        size_t left = (size_t)blob.n - 1 - sent[i];
                        ssize_t n = left ? send(fds[i], data + sent[i], left, MSG_NOSIGNAL) : 0;

                        if (n > 0) {
                                sent[i] += (size_t)n;
                                last = now_nsec();
                        }
                }
                usleep(100);
        }
        settle();
}

/* Messages of n descriptors each, and of the last one all but its last byte. */
static void do_descriptors(size_t n)
{
        int null = open("/dev/null", O_RDONLY), sent[16];
        DBusMessage *message = new_call("/org/certbroker1", "org.freedesktop.DBus.Peer", "Ping");
        union {
                struct cmsghdr header;
                char room[CMSG_SPACE(sizeof(sent))];
        } control = { .header = { .cmsg_len = CMSG_LEN(n * sizeof(int)),
                                  .cmsg_level = SOL_SOCKET,
                                  .cmsg_type = SCM_RIGHTS } };
        struct iovec piece;
        struct msghdr header = { .msg_iov = &piece,
                                 .msg_iovlen = 1,
                                 .msg_control = control.room,
                                 .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
        Blob blob;

        if (n > 16)
                die("descriptors");
        for (size_t i = 0; i < n; i++) {
                sent[i] = null;
                dbus_message_append_args(message, DBUS_TYPE_UNIX_FD, &null, DBUS_TYPE_INVALID);
        }
        blob = marshal(message, 7);
        memcpy(CMSG_DATA(&control.header), sent, n * sizeof(int));
        for (unsigned round = 0; round < 4; round++) {
                for (size_t i = 0; i < n_fds; i++) {
                        piece = (struct iovec){ blob.data, (size_t)blob.n - (round == 3 ? 1 : 0) };
                        (void)sendmsg(fds[i], &header, MSG_NOSIGNAL);
                }
                usleep(50000);
        }
        usleep(500000);
        settle();
}

#define BLOCK_MAX 4096

/* One connection of a flood: a block of calls, numbered anew each time. */
typedef struct Flood {
        char block[BLOCK_MAX];
        size_t n, at;
        uint32_t serial;
} Flood;

static void flood_number(Flood *flood, size_t n_call)
{
        for (size_t k = 0; k < flood->n; k += n_call)
                number(flood->block + k, ++flood->serial);
}

static bool flood_send(Flood *flood, int fd, size_t n_call)
{
        ssize_t sent;

        if (flood->at == 0)
                flood_number(flood, n_call);
        sent = send(fd, flood->block + flood->at, flood->n - flood->at, MSG_NOSIGNAL);
        if (sent > 0)
                flood->at = (flood->at + (size_t)sent) % flood->n;
        return sent > 0 || errno == EAGAIN;
}

static Flood *floods_new(const Blob *blob, int epoll)
{
        Flood *floods = calloc(n_fds, sizeof(*floods));

        for (size_t i = 0; i < n_fds; i++) {
                struct epoll_event event = { .events = EPOLLIN | EPOLLOUT,
                                             .data = { .u32 = (uint32_t)i } };

                floods[i].serial = 1;
                for (; floods[i].n + (size_t)blob->n <= BLOCK_MAX; floods[i].n += (size_t)blob->n)
                        memcpy(floods[i].block + floods[i].n, blob->data, (size_t)blob->n);
                (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event);
        }
        return floods;
}

static void do_flood(const Blob *blob)
{
        static char rest[65536];
        struct epoll_event events[64];
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        Flood *floods = floods_new(blob, epoll);

        printf("ready %zu\n", alive());
        fflush(stdout);
        while (!has_ended(0)) {
                int n_events = epoll_wait(epoll, events, 64, 100);

                for (int k = 0; k < n_events; k++) {
                        uint32_t i = events[k].data.u32;

                        if (events[k].events & EPOLLIN)
                                while (recv(fds[i], rest, sizeof(rest), 0) == sizeof(rest))
                                        ;
                        if ((events[k].events & EPOLLOUT) &&
                            !flood_send(&floods[i], fds[i], (size_t)blob->n))
                                (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fds[i], NULL);
                }
        }
        printf("alive %zu\n", alive());
}

static Blob set_enabled(const char *path, bool enabled)
{
        DBusMessage *message = new_call(path, "org.certbroker1.Certificate", "SetEnabled");
        dbus_bool_t value = enabled;

        dbus_message_append_args(message, DBUS_TYPE_BOOLEAN, &value, DBUS_TYPE_INVALID);
        return marshal(message, 7);
}

/* The first one makes changes, as many as there is room for; all are told of them, and read it. */
static void do_toggle(const char *path)
{
        static char rest[65536];
        struct epoll_event events[64];
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        Blob blobs[] = { set_enabled(path, false), set_enabled(path, true) };
        size_t n_changes = 0;

        for (size_t i = 0; i < n_fds; i++) {
                struct epoll_event event = { .events = EPOLLIN, .data = { .fd = fds[i] } };

                (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event);
        }
        printf("ready %zu\n", alive());
        fflush(stdout);
        while (!has_ended(0)) {
                const Blob *blob = &blobs[n_changes % 2];
                int n_events;

                number(blob->data, (uint32_t)n_changes + 2);
                if (send(fds[0], blob->data, (size_t)blob->n, MSG_NOSIGNAL) == blob->n)
                        n_changes++;
                n_events = epoll_wait(epoll, events, 64, 1);
                for (int k = 0; k < n_events; k++)
                        while (recv(events[k].data.fd, rest, sizeof(rest), 0) == sizeof(rest))
                                ;
        }
        printf("alive %zu\n", alive());
}

static void do_connects(void)
{
        uint64_t n = 0;

        printf("ready 0\n");
        fflush(stdout);
        while (!has_ended(0)) {
                int fd = dial();

                if (fd >= 0) {
                        n++;
                        close(fd);
                }
        }
        printf("alive %llu\n", (unsigned long long)n);
}

static int by_size(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

/* One whole message of the answers; on a bus signals and others' are passed over. Is it a METHOD_RETURN? */
static bool read_answer(int fd)
{
        static char buffer[65536];
        struct {
                char order, type, flags, version;
                uint32_t n_body, serial, n_fields;
        } head;

        for (;;) {
                size_t n;

                if (recv(fd, &head, sizeof(head), MSG_WAITALL) != sizeof(head))
                        die("answer");
                n = ((head.n_fields + 7) & ~7u) + head.n_body;
                if (n > sizeof(buffer) || recv(fd, buffer, n, MSG_WAITALL) != (ssize_t)n)
                        die("answer");
                if (head.type == DBUS_MESSAGE_TYPE_METHOD_RETURN)
                        return true;
                if (head.type == DBUS_MESSAGE_TYPE_ERROR)
                        return false;
        }
}

static void do_one_by_one(size_t n, const Blob *blob)
{
        uint64_t *took = calloc(n, sizeof(*took));
        size_t n_errors = 0;

        connect_all(1, true);
        if (n_fds != 1)
                die("no connection");
        (void)fcntl(fds[0], F_SETFL, 0);
        for (size_t i = 0; i < n; i++) {
                uint64_t began = now_nsec();

                if (!put(fds[0], blob->data, (size_t)blob->n))
                        die("send");
                n_errors += !read_answer(fds[0]);
                took[i] = (now_nsec() - began) / 1000;
        }
        qsort(took, n, sizeof(*took), by_size);
        printf("%llu %llu %llu %zu\n", (unsigned long long)took[n / 2],
               (unsigned long long)took[n * 99 / 100], (unsigned long long)took[n - 1], n_errors);
        free(took);
}

/* "UID" or "UID:GID" */
static void become(const char *who)
{
        const char *colon = strchr(who, ':');
        uid_t uid = (uid_t)strtoul(who, NULL, 10);
        gid_t gid = colon ? (gid_t)strtoul(colon + 1, NULL, 10) : (gid_t)uid;

        if (uid == geteuid())
                return;
        if (setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(uid) < 0)
                die("setuid");
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static int run(size_t n, char **words, int n_words)
{
        const char *what = words[0];
        Blob blob;

        if (strcmp(what, "silent") == 0 || strcmp(what, "idle") == 0) {
                connect_all(n, strcmp(what, "idle") == 0);
                settle();
        } else if (strcmp(what, "unread") == 0 && n_words == 4) {
                connect_all(n, true);
                blob = marshal(new_call(words[1], words[2], words[3]), 7);
                offer(&blob);
                settle();
        } else if (strcmp(what, "unfinished") == 0 && n_words == 2) {
                connect_all(n, true);
                do_unfinished(strtoul(words[1], NULL, 10));
        } else if (strcmp(what, "descriptors") == 0 && n_words == 2) {
                connect_all(n, true);
                do_descriptors(strtoul(words[1], NULL, 10));
        } else if (strcmp(what, "flood") == 0 && (n_words == 4 || n_words == 5)) {
                connect_all(n, true);
                blob = call_with_text(words + 1, n_words == 5 ? words[4] : NULL);
                do_flood(&blob);
        } else if (strcmp(what, "toggle") == 0 && n_words == 2) {
                connect_all(n, true);
                do_toggle(words[1]);
        } else if (strcmp(what, "connects") == 0) {
                do_connects();
        } else if (strcmp(what, "sign") == 0 && n_words == 2) {
                blob = sign(words[1]);
                do_one_by_one(n, &blob);
        } else if (strcmp(what, "ask") == 0 && n_words == 4) {
                blob = marshal(new_call(words[1], words[2], words[3]), 7);
                do_one_by_one(n, &blob);
        } else if (strcmp(what, "ping") == 0) {
                blob = ping();
                do_one_by_one(n, &blob);
        } else {
                return 2;
        }
        return 0;
}

int main(int argc, char **argv)
{
        struct rlimit limit;

        if (argc < 5)
                return 2;
        is_bus = argv[1][0] == '+';
        place = argv[1] + is_bus;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &limit);
        }
        become(argv[2]);
        return run(strtoul(argv[3], NULL, 10), argv + 4, argc - 4);
}
