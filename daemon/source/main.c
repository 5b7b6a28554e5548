/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certbroker-source: the process that holds the keys' side of one source. It is started by certbrokerd
 * with one end of a socket pair, is told everything else over it, and ends when it is closed.
 *
 * It ends by _exit(): a worker may be inside a vendor's module, whose destructors must not run then.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "build-config.h"
#include "pki/context.h"
#include "source/confine.h"
#include "source/host.h"

static const char help_text[] = "certbroker-source --fd N --parent PID\n"
                                "\n"
                                "Holds one source of keys (a PKCS#11 token or a key vault) for "
                                "certbrokerd, which starts it\n"
                                "with a socket as descriptor N. It is of no use on its own.\n"
                                "\n"
                                "  --fd N        the descriptor of the socket to the broker\n"
                                "  --parent PID  who has started it, and with whom it ends\n"
                                "  --help        this text\n"
                                "  --version     the version\n";

typedef struct Options {
        int fd, parent; /* -1: not given */
} Options;

static int parse_number(const char *text)
{
        char *end;
        long value;

        errno = 0;
        value = strtol(text, &end, 10);
        if (errno != 0 || end == text || *end != '\0' || value < 0 || value > 1 << 22)
                return -1;
        return (int)value;
}

/* 0: go on. Else the exit status. */
static int parse_arguments(int argc, char **argv, Options *options)
{
        static const struct option long_options[] = { { "fd", required_argument, NULL, 'f' },
                                                      { "parent", required_argument, NULL, 'p' },
                                                      { "help", no_argument, NULL, 'h' },
                                                      { "version", no_argument, NULL, 'v' },
                                                      { NULL, 0, NULL, 0 } };
        int c, *number;

        while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
                switch (c) {
                case 'f':
                case 'p':
                        number = c == 'f' ? &options->fd : &options->parent;
                        *number = parse_number(optarg);
                        if (*number < 0) {
                                fprintf(stderr, "certbroker-source: --%s takes a number, not '%s'\n",
                                        c == 'f' ? "fd" : "parent", optarg);
                                return EX_USAGE;
                        }
                        break;
                case 'h':
                        fputs(help_text, stdout);
                        exit(EXIT_SUCCESS);
                case 'v':
                        puts("certbroker-source " PROJECT_VERSION);
                        exit(EXIT_SUCCESS);
                default:
                        return EX_USAGE;
                }
        if (options->fd < 0 || options->parent < 0 || optind != argc) {
                fputs("certbroker-source: is started by certbrokerd, with --fd N --parent PID\n",
                      stderr);
                return EX_USAGE;
        }
        return 0;
}

static bool is_packet_socket(int fd)
{
        struct stat st;
        int type = 0;
        socklen_t n = sizeof(type);

        return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) &&
               getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_SEQPACKET;
}

/*
 * The broker ends this process by closing its socket, after its own requests in flight: a signal that
 * goes to the whole unit or terminal must not end it before.
 */
static void ignore_signals(void)
{
        static const int ignored[] = { SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };

        for (size_t i = 0; i < ELEMENTSOF(ignored); i++)
                signal(ignored[i], SIG_IGN);
}

int main(int argc, char **argv)
{
        Options options = { -1, -1 };
        int r;

        log_open("certbroker-source");
        r = parse_arguments(argc, argv, &options);
        if (r != 0)
                return r;
        if (!is_packet_socket(options.fd)) {
                fprintf(stderr,
                        "certbroker-source: descriptor %d is no SOCK_SEQPACKET socket; this "
                        "program "
                        "is started by certbrokerd\n",
                        options.fd);
                return EX_USAGE;
        }
        ignore_signals();
        r = confine_begin(options.parent);
        if (r == 0)
                r = secret_harden_process();
        if (r == 0)
                r = pki_init();
        if (r == 0)
                r = host_run(options.fd);
        if (r < 0)
                log_error("ends: %s", strerror(-r));
        _exit(r == 0 ? EXIT_SUCCESS : EX_SOFTWARE);
}
