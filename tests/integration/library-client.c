/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that uses libcertbroker in the ways that gateways do: for long, from many threads, in
 * children, across restarts, as several users. It obeys the lines of its standard input, a command
 * each, and answers each with one line; the test that runs it judges. A line is an outcome's word (or
 * the name of an errno), then milliseconds, then what the command has to say.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <certbroker/certbroker.h>

#define THREADS_MAX   64
#define SIGNATURE_MAX 512

static cb_client *client;
static cb_watch *watch;

static double now_msec(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void answer(int r, double begun, const char *text)
{
        printf("%s %.1f %s\n", r < 0 ? strerrorname_np(-r) : cb_status_word(r), now_msec() - begun,
               text);
        fflush(stdout);
}

static int sign_once(const char *id, const char *algorithm, uint8_t fill, uint8_t *signature,
                     size_t *n_signature, cb_error *error)
{
        uint8_t digest[32];

        memset(digest, fill, sizeof(digest));
        *n_signature = SIGNATURE_MAX;
        return cb_sign(client, id, 0, algorithm, digest, sizeof(digest), signature, n_signature,
                       error);
}

/* sign ID ALGORITHM: the signature of 32 bytes 0x07, in hex */
static void do_sign(char **args)
{
        char text[2 * SIGNATURE_MAX + 1] = "";
        uint8_t signature[SIGNATURE_MAX];
        cb_error error = { 0 };
        double begun = now_msec();
        size_t n;
        int r = sign_once(args[0], args[1], 7, signature, &n, &error);

        for (size_t i = 0; r == 0 && i < n; i++)
                sprintf(text + 2 * i, "%02x", signature[i]);
        answer(r, begun, r ? error.text : text);
}

/* ------------------------------------------------------------------ threads and forks */

typedef struct Worker {
        const char *id, *algorithm;
        pthread_t thread;
        uint8_t fill;
        unsigned n_calls, n_failed, n_wrong;
        atomic_bool *stop;
} Worker;

static void *work(void *argument)
{
        Worker *worker = argument;
        uint8_t first[SIGNATURE_MAX], signature[SIGNATURE_MAX];
        size_t n_first = 0, n;

        for (unsigned i = 0; worker->stop ? !atomic_load(worker->stop) : i < worker->n_calls; i++) {
                if (sign_once(worker->id, worker->algorithm, worker->fill, signature, &n, NULL)) {
                        worker->n_failed++;
                        continue;
                }
                if (n_first == 0) {
                        n_first = n;
                        memcpy(first, signature, n);
                } else if (n != n_first || memcmp(first, signature, n) != 0) {
                        worker->n_wrong++;
                }
        }
        return NULL;
}

static void start(Worker *workers, unsigned n, const Worker *like)
{
        for (unsigned i = 0; i < n; i++) {
                workers[i] = *like;
                workers[i].fill = (uint8_t)(i + 1);
                if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
                        abort();
        }
}

static void join(Worker *workers, unsigned n, unsigned *n_failed, unsigned *n_wrong)
{
        for (unsigned i = 0; i < n; i++) {
                pthread_join(workers[i].thread, NULL);
                *n_failed += workers[i].n_failed;
                *n_wrong += workers[i].n_wrong;
        }
}

/* threads ID ALGORITHM N CALLS: of an algorithm that always gives the same; "FAILED WRONG" */
static void do_threads(char **args)
{
        unsigned n = (unsigned)atoi(args[2]), n_failed = 0, n_wrong = 0;
        Worker workers[THREADS_MAX];
        Worker like = { .id = args[0], .algorithm = args[1], .n_calls = (unsigned)atoi(args[3]) };
        double begun = now_msec();
        char text[64];

        start(workers, n, &like);
        join(workers, n, &n_failed, &n_wrong);
        sprintf(text, "%u %u", n_failed, n_wrong);
        answer(0, begun, text);
}

static unsigned list_sockets(ino_t *inodes, unsigned n_room)
{
        DIR *directory = opendir("/proc/self/fd");
        struct dirent *entry;
        unsigned n = 0;

        while (directory && (entry = readdir(directory))) {
                struct stat st;

                if (fstat(atoi(entry->d_name), &st) == 0 && S_ISSOCK(st.st_mode) && n < n_room)
                        inodes[n++] = st.st_ino;
        }
        closedir(directory);
        return n;
}

/* In a child: 0 signed; 1 not; 2 signed, but sockets of the parent are still open. */
static int child_signs(const char *id, const char *algorithm)
{
        uint8_t signature[SIGNATURE_MAX];
        ino_t before[256], after[256];
        unsigned n_before = list_sockets(before, 256), n_after;
        cb_error error = { 0 };
        size_t n;

        if (sign_once(id, algorithm, 9, signature, &n, &error)) {
                fprintf(stderr, "child: %s\n", error.text);
                return 1;
        }
        n_after = list_sockets(after, 256);
        for (unsigned i = 0; i < n_before; i++)
                for (unsigned j = 0; j < n_after; j++)
                        if (before[i] == after[j])
                                return 2;
        return 0;
}

static void fork_children(const char *id, const char *algorithm, unsigned n, unsigned counts[4])
{
        for (unsigned i = 0; i < n; i++) {
                int status = 0;
                pid_t pid = fork();

                if (pid == 0) {
                        alarm(20); /* a deadlock shall be counted, and not hang the test */
                        _exit(child_signs(id, algorithm));
                }
                waitpid(pid, &status, 0);
                counts[WIFEXITED(status) && WEXITSTATUS(status) < 3 ? WEXITSTATUS(status) : 3]++;
        }
}

/* fork ID ALGORITHM THREADS CHILDREN: while threads sign; "SIGNED FAILED INHERITED CRASHED WRONG" */
static void do_fork(char **args)
{
        unsigned n = (unsigned)atoi(args[2]), counts[4] = { 0 }, n_failed = 0, n_wrong = 0;
        Worker workers[THREADS_MAX];
        atomic_bool stop = false;
        Worker like = { .id = args[0], .algorithm = args[1], .stop = &stop };
        double begun = now_msec();
        char text[96];

        start(workers, n, &like);
        fork_children(args[0], args[1], (unsigned)atoi(args[3]), counts);
        atomic_store(&stop, true);
        join(workers, n, &n_failed, &n_wrong);
        sprintf(text, "%u %u %u %u %u", counts[0], counts[1] + n_failed, counts[2], counts[3],
                n_wrong);
        answer(0, begun, text);
}

/* ------------------------------------------------------------------ the rest */

/* credential NAME: "ID GENERATION N_CHAIN KEY URL" */
static void do_credential(char **args)
{
        cb_credential *c = NULL;
        cb_error error = { 0 };
        double begun = now_msec();
        char text[1024];
        int r = cb_get_credential(client, args[0], &c, &error);

        if (r == 0)
                snprintf(text, sizeof(text), "%s %" PRIu64 " %zu %s %s", c->id, c->generation,
                         c->n_chain, c->key, c->url);
        answer(r, begun, r ? error.text : text);
        cb_credential_free(c);
}

/* certificate SELECTOR: "ID GENERATION N_CHAIN KEY THUMBPRINT" */
static void do_certificate(char **args)
{
        cb_credential *c = NULL;
        cb_error error = { 0 };
        double begun = now_msec();
        char text[1024];
        int r = cb_get_certificate(client, args[0], &c, &error);

        if (r == 0)
                snprintf(text, sizeof(text), "%s %" PRIu64 " %zu %s %s", c->id, c->generation,
                         c->n_chain, c->key, c->thumbprint);
        answer(r, begun, r ? error.text : text);
        cb_credential_free(c);
}

/* generation ID NUMBER: "ID GENERATION N_CHAIN KEY" */
static void do_generation(char **args)
{
        cb_credential *c = NULL;
        cb_error error = { 0 };
        double begun = now_msec();
        char text[1024];
        int r = cb_get_generation(client, args[0], strtoull(args[1], NULL, 10), &c, &error);

        if (r == 0)
                snprintf(text, sizeof(text), "%s %" PRIu64 " %zu %s", c->id, c->generation,
                         c->n_chain, c->key);
        answer(r, begun, r ? error.text : text);
        cb_credential_free(c);
}

/* watch NAME MSEC: waits on the one watch of this program; "ID GENERATION CA_FILE" */
static void do_watch(char **args)
{
        cb_credential *c = NULL;
        cb_error error = { 0 };
        double begun = now_msec();
        char text[512];
        int r = watch ? 0 : cb_watch_new(client, args[0], &watch);

        if (r == 0)
                r = cb_watch_wait(watch, strtoull(args[1], NULL, 10) * 1000, &c, &error);
        if (r == 0)
                snprintf(text, sizeof(text), "%s %" PRIu64 " %s", c->id, c->generation, c->ca_file);
        answer(r, begun, r ? error.text : text);
        cb_credential_free(c);
}

/* timeouts CONNECT_MSEC CALL_MSEC */
static void do_timeouts(char **args)
{
        cb_client_set_timeouts(client, strtoull(args[0], NULL, 10) * 1000,
                               strtoull(args[1], NULL, 10) * 1000);
        answer(0, now_msec(), "");
}

/* fds: how many descriptors are open, and what SIGPIPE does */
static void do_fds(char **args)
{
        struct sigaction action;
        unsigned n = 0;
        char text[64];

        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        sigaction(SIGPIPE, NULL, &action);
        sprintf(text, "%u %s", n, action.sa_handler == SIG_DFL ? "default" : "changed");
        answer(0, now_msec(), text);
}

/* euid UID */
static void do_euid(char **args)
{
        int r = seteuid((uid_t)strtoul(args[0], NULL, 10)) < 0 ? -errno : 0;

        answer(r, now_msec(), "");
}

static void on_alarm(int number)
{
}

/* storm USEC: SIGALRM every so often, 0 for none */
static void do_storm(char **args)
{
        struct itimerval timer = { 0 };

        signal(SIGALRM, on_alarm);
        timer.it_interval.tv_usec = timer.it_value.tv_usec = atoi(args[0]);
        setitimer(ITIMER_REAL, &timer, NULL);
        answer(0, now_msec(), "");
}

/* chroot PATH */
static void do_chroot(char **args)
{
        int r = chroot(args[0]) < 0 || chdir("/") < 0 ? -errno : 0;

        answer(r, now_msec(), "");
}

/* algorithm-bytes HEX: an algorithm of those bytes, for what no line of text can hold */
static void do_bytes(char **args)
{
        char algorithm[256] = "";
        uint8_t signature[SIGNATURE_MAX];
        cb_error error = { 0 };
        double begun = now_msec();
        size_t n = 0, n_signature = sizeof(signature);
        unsigned byte;
        int r;

        while (n < 255 && sscanf(args[0] + 2 * n, "%2x", &byte) == 1)
                algorithm[n++] = (char)byte;
        algorithm[n] = '\0';
        r = cb_sign(client, "orders", 0, algorithm, "x", 1, signature, &n_signature, &error);
        answer(r, begun, error.text);
}

static const struct {
        const char *name;
        unsigned n_args;
        void (*run)(char **args);
} commands[] = {
        { "sign", 2, do_sign },
        { "threads", 4, do_threads },
        { "fork", 4, do_fork },
        { "credential", 1, do_credential },
        { "certificate", 1, do_certificate },
        { "generation", 2, do_generation },
        { "watch", 2, do_watch },
        { "timeouts", 2, do_timeouts },
        { "fds", 0, do_fds },
        { "euid", 1, do_euid },
        { "storm", 1, do_storm },
        { "chroot", 1, do_chroot },
        { "algorithm-bytes", 1, do_bytes },
};

static int obey(char *line)
{
        char *words[8] = { 0 };
        unsigned n = 0;

        for (char *word = strtok(line, " \n"); word && n < 7; word = strtok(NULL, " \n"))
                words[n++] = word;
        for (size_t i = 0; n > 0 && i < sizeof(commands) / sizeof(commands[0]); i++)
                if (strcmp(commands[i].name, words[0]) == 0 && commands[i].n_args == n - 1) {
                        commands[i].run(words + 1);
                        return 0;
                }
        return -1;
}

int main(int argc, char **argv)
{
        char line[1024];
        int r = cb_client_new(argc > 1 ? argv[1] : NULL, &client);

        answer(r, now_msec(), "client");
        if (r)
                return 1;
        while (fgets(line, sizeof(line), stdin))
                if (obey(line))
                        return 64;
        cb_watch_free(watch);
        cb_client_free(client);
        return 0;
}
