/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One D-Bus connection: log-in, calls, answers. It is our own and not libdbus's, because libdbus
 * has locks of the whole process: a child that is forked while another thread holds one waits for
 * it without end. Here nothing is shared, by threads or by processes; the one thing that a
 * fork could leave behind, a socket that nobody has written down yet, it waits for (fork.c). A link
 * is used by one thread at a time, and is thrown away after a time-out: a late answer can never be
 * taken for another's.
 */
#include "link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "error.h"
#include "fork.h"
#include "stream.h"

#define BUS_NAME_DBUS    "org.freedesktop.DBus"
#define LOGIN_MAX        1024 /* bytes of the server's answers to it */
#define QUEUE_PAUSE_NSEC (5 * 1000 * 1000)

struct Link {
        Stream stream;
        LinkRegister fd_register;
        uint32_t serial; /* of the last call */
        uid_t own_uid;
        pid_t server_pid;
        char *broker; /* its unique name on the bus; NULL: not known, or no bus */
        bool is_bus, reached_nobody, was_refused, broken, passes_fds;
};

uint64_t link_now(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t link_deadline(uint64_t after_usec)
{
        uint64_t now = link_now();

        return after_usec < UINT64_MAX - now ? now + after_usec : UINT64_MAX;
}

/* ------------------------------------------------------------------ messages */

static int next_failed(Link *link, int r, cb_error *error)
{
        switch (-r) {
        case EINTR:
                return error_set(error, r, "Interrupted by a signal.");
        case ETIMEDOUT:
                return error_set(error, CB_TIMED_OUT, "certbrokerd gave no answer in time.");
        case ENOTCONN:
        case EPIPE:
        case ECONNRESET:
                link->broken = true;
                return error_set(error, CB_UNREACHABLE,
                                 "The connection to certbrokerd broke before its answer.");
        case EBADMSG:
                link->broken = true;
                return error_set(error, CB_FAILED,
                                 "What came from certbrokerd is no D-Bus message.");
        default:
                link->broken = true;
                return error_set(error, r, "Waiting for certbrokerd: %s", strerror(-r));
        }
}

/*
 * A message of which all bytes are there. Its descriptors came with its first byte, so they are
 * there.
 */
static int take_message(Link *link, size_t size, Incoming **ret_message)
{
        CLEANUP(incoming_freep) Incoming *message = NULL;
        Stream *stream = &link->stream;
        uint8_t *data = malloc(size);
        int r;

        if (!data)
                return -ENOMEM;
        memcpy(data, stream->data, size);
        stream_drop(stream, size);
        r = incoming_new(data, size, &message);
        if (r)
                return r;
        if (message->n_fds_told > stream->n_fds)
                return -EBADMSG;
        message->n_fds = message->n_fds_told;
        memcpy(message->fds, stream->fds, message->n_fds * sizeof(*stream->fds));
        stream->n_fds -= message->n_fds;
        memmove(stream->fds, stream->fds + message->n_fds, stream->n_fds * sizeof(*stream->fds));
        *ret_message = TAKE(message);
        return 0;
}

static int read_message(Link *link, uint64_t deadline, Incoming **ret_message)
{
        for (;;) {
                size_t size = 0;
                int r;

                r = incoming_size(link->stream.data, link->stream.n, &size);
                if (r == 0 && size > INCOMING_SIZE_MAX)
                        return -EBADMSG;
                if (r == 0 && link->stream.n >= size)
                        return take_message(link, size, ret_message);
                if (r && r != -EAGAIN)
                        return r;
                r = stream_receive(&link->stream, SIZE_MAX, deadline);
                if (r)
                        return r;
        }
}

int link_next(Link *link, uint64_t deadline, Incoming **ret_message, cb_error *error)
{
        int r = read_message(link, deadline, ret_message);

        return r ? next_failed(link, r, error) : 0;
}

static int link_send(Link *link, const Message *call, const char *destination, uint64_t deadline,
                     cb_error *error)
{
        uint8_t *data = NULL;
        const int *fds;
        size_t n = 0, n_fds;
        int r;

        fds = message_fds(call, &n_fds);
        if (n_fds > 0 && !link->passes_fds)
                return error_set(error, CB_FAILED,
                                 "The connection to certbrokerd cannot carry file descriptors.");
        if (++link->serial == 0)
                link->serial = 1;
        r = message_encode(call, link->serial, destination, &data, &n);
        if (r)
                return error_set(error, r, "Out of memory.");
        r = stream_send(&link->stream, data, n, fds, n_fds, deadline);
        free(data);
        /* A part of a message may have gone out: nothing can follow it. */
        if (r)
                link->broken = true;
        return r ? next_failed(link, r, error) : 0;
}

static int take_answer(Link *link, const Incoming *answer, cb_value **ret_body, cb_error *error)
{
        int r;

        if (answer->type == INCOMING_ERROR) {
                link->reached_nobody = error_is_nobody(answer->error_name);
                link->was_refused = link->is_bus && error_is_refusal(answer->error_name);
                return error_from_message(error, answer);
        }
        if (!ret_body)
                return 0;
        r = incoming_body(answer, ret_body);
        return r ? error_set(error, r == -EBADMSG ? CB_FAILED : r,
                             "The answer of certbrokerd cannot be read: %s", strerror(-r))
                 : 0;
}

/*
 * A bus passes on what anybody sends, and writes into it who did. Errors may be the bus's own: that
 * there is no such addressee, or that it went away; what is no bus writes no sender.
 */
static bool is_answer(const Link *link, const Incoming *message, const char *destination)
{
        const char *sender = message->sender;

        if (message->reply_serial != link->serial)
                return false;
        if (message->type == INCOMING_RETURN)
                return !link->is_bus || strcmp(sender, destination) == 0;
        return message->type == INCOMING_ERROR &&
               (!link->is_bus || strcmp(sender, destination) == 0 || *sender == '\0' ||
                strcmp(sender, BUS_NAME_DBUS) == 0);
}

int link_call(Link *link, const Message *call, const char *destination, uint64_t deadline,
              cb_value **ret_body, cb_error *error)
{
        int r;

        link->reached_nobody = link->was_refused = false;
        r = link_send(link, call, destination, deadline, error);
        if (r)
                return r;

        for (;;) {
                CLEANUP(incoming_freep) Incoming *message = NULL;

                r = link_next(link, deadline, &message, error);
                if (r == -EINTR)
                        continue;
                if (r)
                        return r;
                if (is_answer(link, message, destination))
                        return take_answer(link, message, ret_body, error);
        }
}

bool link_is_alive(const Link *link)
{
        return !link->broken && !link->stream.ended;
}

bool link_refresh(Link *link)
{
        /* A bounded number of turns: who sends faster than we read shall not hold us here. */
        for (unsigned i = 0; i < 256; i++) {
                Incoming *message = NULL;
                int r = read_message(link, 0, &message);

                incoming_free(message);
                if (r == -ETIMEDOUT)
                        return link_is_alive(link);
                if (r && r != -EINTR)
                        return false;
        }
        return false;
}

/* ------------------------------------------------------------------ logging in */

/* The next line of the server, without its end. -EBADMSG: longer than any line should be. */
static int read_line(Link *link, uint64_t deadline, char line[LOGIN_MAX])
{
        Stream *stream = &link->stream;

        for (;;) {
                const uint8_t *end =
                        stream->n > 0 ? memmem(stream->data, stream->n, "\r\n", 2) : NULL;
                size_t n = end ? (size_t)(end - stream->data) : 0;
                int r;

                if (end && n < LOGIN_MAX) {
                        memcpy(line, stream->data, n);
                        line[n] = '\0';
                        stream_drop(stream, n + 2);
                        return 0;
                }
                if (stream->n >= LOGIN_MAX)
                        return -EBADMSG;
                r = stream_receive(stream, LOGIN_MAX - stream->n, deadline);
                if (r && r != -EINTR)
                        return r;
        }
}

static bool begins(const char *line, const char *word)
{
        size_t n = strlen(word);

        return strncmp(line, word, n) == 0 && (line[n] == '\0' || line[n] == ' ');
}

/*
 * "Authentication Protocol" in the D-Bus specification: EXTERNAL, with no identity told, so that
 * the server takes the one of the socket (which inside a user namespace we do not even know). All
 * is sent at once; the server's lines are DATA, OK, AGREE_UNIX_FD or ERROR.
 */
static int log_in(Link *link, uint64_t deadline)
{
        static const char login[] = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
        char line[LOGIN_MAX];
        int r;

        r = stream_send(&link->stream, login, sizeof(login) - 1, NULL, 0, deadline);
        if (r == 0)
                r = read_line(link, deadline, line);
        if (r == 0 && begins(line, "DATA"))
                r = read_line(link, deadline, line);
        if (r)
                return r;
        if (!begins(line, "OK"))
                return -EKEYREJECTED;
        r = read_line(link, deadline, line);
        if (r == 0)
                link->passes_fds = begins(line, "AGREE_UNIX_FD");
        return r;
}

static int login_failed(int r, const Address *address, cb_error *error)
{
        switch (-r) {
        case ETIMEDOUT:
                return error_set(error, CB_TIMED_OUT,
                                 "Nobody answered at %s in time, though the socket is open.",
                                 address->text);
        case EAGAIN:
                return error_set(error, CB_TIMED_OUT,
                                 "The queue of %s is full: its server does not take connections.",
                                 address->text);
        case EKEYREJECTED:
                return error_set(error, CB_ACCESS_DENIED, "The server at %s refused the log-in.",
                                 address->text);
        case EACCES:
        case EPERM:
                return error_set(error, CB_ACCESS_DENIED, "May not connect to %s: %s",
                                 address->text, strerror(-r));
        case ENOMEM:
        case EMFILE:
        case ENFILE:
                return error_set(error, r, "Cannot connect to %s: %s", address->text, strerror(-r));
        default:
                return error_set(error, CB_UNREACHABLE, "Cannot connect to %s: %s", address->text,
                                 strerror(-r));
        }
}

static int say_hello(Link *link, const Address *address, uint64_t deadline, cb_error *error)
{
        CLEANUP(message_freep) Message *hello = NULL;
        cb_error answer = { 0 };
        int r;

        r = message_new(&(cb_method){ .path = "/org/freedesktop/DBus",
                                      .interface = BUS_NAME_DBUS,
                                      .member = "Hello" },
                        &hello, error, "");
        if (r)
                return r;
        r = link_call(link, hello, BUS_NAME_DBUS, deadline, NULL, &answer);
        if (r <= 0 || r == CB_UNREACHABLE || r == CB_TIMED_OUT)
                return r ? error_set(error, r, "%s", answer.text) : 0;
        return error_set(error, CB_FAILED, "There is no D-Bus message bus at %s: %s",
                         address->text, answer.text);
}

/* ------------------------------------------------------------------ opening and closing */

static int check_peer(Link *link, const Wanted *wanted, const Address *address, cb_error *error)
{
        struct ucred peer;
        socklen_t n_peer = sizeof(peer);

        if (getsockopt(link->stream.socket.fd, SOL_SOCKET, SO_PEERCRED, &peer, &n_peer) < 0)
                return error_set(error, -errno, "Whose the server at %s is cannot be told: %s",
                                 address->text, strerror(errno));
        link->own_uid = geteuid();
        link->server_pid = peer.pid;
        link->is_bus = trust_is_bus(wanted, address);
        return trust_check(wanted, address, peer.uid, error);
}

/* Where the queue is full, its server is busy: a moment later it has room. */
static int reach(Link *link, const Address *address, uint64_t deadline)
{
        const struct timespec pause = { .tv_nsec = QUEUE_PAUSE_NSEC };
        int r;

        for (;;) {
                fork_hold();
                r = stream_open(&link->stream, address);
                if (r == 0)
                        link->fd_register.opened(link->fd_register.context, &link->stream.socket);
                fork_release();
                if (r != -EAGAIN || link_now() >= deadline)
                        return r;
                (void)nanosleep(&pause, NULL);
        }
}

static int link_open(const Address *address, const Wanted *wanted, const LinkRegister *fd_register,
                     uint64_t deadline, Link **ret_link, cb_error *error)
{
        CLEANUP(link_freep) Link *link = NULL;
        int r;

        link = calloc(1, sizeof(*link));
        if (!link)
                return error_set(error, -ENOMEM, "Out of memory.");
        link->stream.socket = DESCRIPTOR_NONE;
        link->fd_register = *fd_register;

        r = reach(link, address, deadline);
        if (r)
                return login_failed(r, address, error);
        /* Not a byte before this. */
        r = check_peer(link, wanted, address, error);
        if (r)
                return r;
        r = log_in(link, deadline);
        if (r)
                return login_failed(r, address, error);
        if (link->is_bus)
                r = say_hello(link, address, deadline, error);
        if (r)
                return r;
        *ret_link = TAKE(link);
        return 0;
}

int link_new(const char *addresses, const Wanted *wanted, const LinkRegister *fd_register,
             uint64_t deadline, Link **ret_link, cb_error *error)
{
        const char *all = addresses;
        int outcome = CB_INVALID_ARGUMENT;
        bool tried = false;

        for (;;) {
                Address address;
                int r = address_next(&addresses, &address);

                if (r == -ENOENT && !tried)
                        return error_set(error, outcome,
                                         "There is no unix:path= or unix:abstract= address in: %s",
                                         all);
                if (r == -ENOENT)
                        return outcome;
                if (r)
                        continue;
                tried = true;
                outcome = link_open(&address, wanted, fd_register, deadline, ret_link, error);
                if (outcome == 0 || link_now() >= deadline)
                        return outcome;
        }
}

Link *link_free(Link *link)
{
        if (!link)
                return NULL;
        /* Struck off first: a number that is closed may belong to another file at once. */
        fork_hold();
        if (link->stream.socket.fd >= 0)
                link->fd_register.closing(link->fd_register.context, &link->stream.socket);
        stream_deinit(&link->stream);
        fork_release();
        free(link->broker);
        free(link);
        return NULL;
}

bool link_reached_nobody(const Link *link)
{
        return link->reached_nobody;
}

bool link_was_refused(const Link *link)
{
        return link->was_refused;
}

void link_note_nobody(Link *link)
{
        link->reached_nobody = true;
}

bool link_is_bus(const Link *link)
{
        return link->is_bus;
}

pid_t link_server_pid(const Link *link)
{
        return link->server_pid;
}

int link_set_broker(Link *link, const char *name)
{
        char *copy = strdup(name);

        if (!copy)
                return -ENOMEM;
        free(link->broker);
        link->broker = copy;
        return 0;
}

const char *link_broker(const Link *link)
{
        return link->broker;
}

bool link_is_from_broker(const Link *link, const Incoming *message)
{
        return !link->is_bus || (link->broker && strcmp(message->sender, link->broker) == 0);
}

uid_t link_own_uid(const Link *link)
{
        return link->own_uid;
}
