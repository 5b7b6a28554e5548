/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets on their way to the broker. They are never arguments, never in the environment, and lie
 * in one buffer that is locked, left out of dumps and wiped; what the broker gets is a memfd that
 * nobody can change any more. A file's bytes are handed on as they are (who reads them drops one
 * newline).
 */
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <termios.h>
#include <unistd.h>

#include "file.h"
#include "handover.h"
#include "newfile.h"

#define SECRET_MAX 4096
#define PASSPHRASE "--passphrase-file"

/* Up to SECRET_MAX bytes; -E2BIG for more. */
static int read_file(int fd, char *buffer, size_t *ret_n)
{
        size_t n = 0;

        for (;;) {
                ssize_t got = read(fd, buffer + n, SECRET_MAX + 1 - n);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                n += (size_t)got;
                if (n > SECRET_MAX)
                        return -E2BIG;
                if (got == 0)
                        break;
        }
        *ret_n = n;
        return 0;
}

static int from_file(Cli *cli, const char *name, char *buffer, size_t *ret_n)
{
        CLEANUP(close_fd) int fd = -1;
        int r = file_open(cli, name, &fd);

        if (r)
                return r;
        r = read_file(fd, buffer, ret_n);
        if (r == -E2BIG)
                return cli_fail(cli, r, "The secret in %s is longer than %d bytes.", name,
                                SECRET_MAX);
        return r ? cli_fail(cli, r, "The secret's file %s cannot be read: %s", name, strerror(-r))
                 : 0;
}

static volatile sig_atomic_t signal_caught;

static void on_signal(int number)
{
        signal_caught = number;
}

/* A signal ends a read: the terminal is to be as it was before this program dies of it. */
static void catch_signals(bool catch)
{
        static const int numbers[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP };
        struct sigaction action = { .sa_handler = catch ? on_signal : SIG_DFL };

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                (void)sigaction(numbers[i], &action, NULL);
}

/* One line, without its newline. */
static int read_line(int terminal, char *buffer, size_t *ret_n)
{
        size_t n = 0;

        while (n <= SECRET_MAX && !signal_caught) {
                ssize_t got = read(terminal, buffer + n, 1);

                if (got < 0)
                        return -errno;
                if (got == 0 || buffer[n] == '\n') {
                        *ret_n = n;
                        return 0;
                }
                n++;
        }
        return signal_caught ? -EINTR : -E2BIG;
}

/* Without what is typed appearing, from before the prompt is there. */
static int ask_line(int terminal, const char *prompt, char *buffer, size_t *ret_n)
{
        struct termios before, silent;
        int r;

        if (tcgetattr(terminal, &before) < 0)
                return -errno;
        silent = before;
        silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
        catch_signals(true);
        r = tcsetattr(terminal, TCSAFLUSH, &silent) < 0 ? -errno : 0;
        if (r == 0)
                r = newfile_write_fd(terminal, prompt, strlen(prompt));
        if (r == 0)
                r = read_line(terminal, buffer, ret_n);
        (void)tcsetattr(terminal, TCSAFLUSH, &before);
        (void)newfile_write_fd(terminal, "\n", 1);
        catch_signals(false);
        if (signal_caught)
                (void)raise(signal_caught);
        return r;
}

static int from_terminal(Cli *cli, int terminal, const char *what, bool twice, char *buffer,
                         size_t *ret_n)
{
        char *again = buffer + SECRET_MAX + 1, prompt[128];
        size_t n_again = 0;
        int r;

        (void)snprintf(prompt, sizeof(prompt), "%s: ", what);
        r = ask_line(terminal, prompt, buffer, ret_n);
        if (r == 0 && twice) {
                r = ask_line(terminal, "Again: ", again, &n_again);
                if (r == 0 && (n_again != *ret_n || memcmp(buffer, again, n_again) != 0))
                        return cli_fail(cli, CB_INVALID_ARGUMENT, "The two are not the same.");
        }
        if (r)
                return cli_fail(cli, r, "The terminal cannot be read: %s", strerror(-r));
        return 0;
}

bool secret_is_out_of_reach(const Cli *cli)
{
        return !arguments_has(cli->arguments, PASSPHRASE) && !isatty(STDIN_FILENO);
}

static int missing(Cli *cli, const char *option, const char *what)
{
        return cli_usage(cli,
                         "There is no terminal to ask for this on: %s. Give %s FILE, or `-` in "
                         "place of FILE for standard input.",
                         what, option);
}

int secret_missing(Cli *cli, const char *what)
{
        return missing(cli, PASSPHRASE, what);
}

typedef struct Wanted {
        const char *option, *what;
        SecretNeed need;
} Wanted;

static int get_secret(Cli *cli, const Wanted *wanted, char *buffer, size_t *ret_n)
{
        const char *file = arguments_value(cli->arguments, wanted->option);
        int terminal, r;

        *ret_n = 0;
        if (file)
                return from_file(cli, file, buffer, ret_n);
        if (wanted->need == SECRET_NONE)
                return 0;
        terminal = isatty(STDIN_FILENO) ? open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY) : -1;
        if (terminal < 0)
                return wanted->need == SECRET_MAYBE ? 0
                                                    : missing(cli, wanted->option, wanted->what);
        r = from_terminal(cli, terminal, wanted->what, wanted->need == SECRET_TWICE, buffer, ret_n);
        (void)close(terminal);
        return r;
}

int secret_open(Cli *cli, const char *what, SecretNeed need, int *ret_fd)
{
        return secret_open_option(cli, PASSPHRASE, what, need, ret_fd);
}

int secret_open_option(Cli *cli, const char *option, const char *what, SecretNeed need, int *ret_fd)
{
        const Wanted wanted = { option, what, need };
        size_t n_buffer = 2 * (SECRET_MAX + 1), n = 0;
        char *buffer =
                mmap(NULL, n_buffer, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int r;

        if (buffer == MAP_FAILED)
                return cli_out_of_memory(cli);
        (void)mlock(buffer, n_buffer); /* as well as it goes: a user's limit may be small */
        (void)madvise(buffer, n_buffer, MADV_DONTDUMP);

        r = get_secret(cli, &wanted, buffer, &n);
        if (r == 0) {
                r = handover_new(buffer, n, ret_fd);
                if (r)
                        (void)cli_fail(cli, r, "The secret cannot be handed on: %s", strerror(-r));
        }
        explicit_bzero(buffer, n_buffer);
        (void)munmap(buffer, n_buffer);
        return r;
}

int secret_make(Cli *cli, int *ret_fd)
{
        static const char digits[] = "0123456789abcdef";
        unsigned char random[SECRET_MADE / 2];
        char text[SECRET_MADE];
        int r;

        if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
                return cli_fail(cli, -EIO, "No random numbers are to be had.");
        for (size_t i = 0; i < sizeof(random); i++) {
                text[2 * i] = digits[random[i] >> 4];
                text[2 * i + 1] = digits[random[i] & 15];
        }
        r = handover_new(text, sizeof(text), ret_fd);
        explicit_bzero(random, sizeof(random));
        explicit_bzero(text, sizeof(text));
        return r ? cli_fail(cli, r, "The secret cannot be handed on: %s", strerror(-r)) : 0;
}
