/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The harness of the source's tests: temporary tokens, the process, requests and replies, bundles. What it checks
 * signatures with is libcrypto over the public key of the reply.
 */
#include "source-harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail /* as base/failure.h does where it comes last */

#include "base/clock.h"
#include "base/strings.h"
#include "pki/signature.h"
#include "wire/packet.h"

static const char input_bytes[64] =
        "what is signed here has sixty-four bytes, no more and no fewer.";

/* Files and programs */

void write_text(const char *path, const char *text, mode_t mode)
{
        int fd;

        (void)unlink(path);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

/* Renamed into its place, so that no half of it is ever read. */
void rules_set(Fixture *fixture, const char *text)
{
        char path[160];

        snprintf(path, sizeof(path), "%s.new", fixture->rules);
        write_text(path, text, 0600);
        assert_int_equal(rename(path, fixture->rules), 0);
}

static char *read_all(int fd)
{
        size_t n = 0, n_max = 1 << 16;
        char *text = malloc(n_max + 1);
        ssize_t n_read;

        assert_non_null(text);
        while ((n_read = read(fd, text + n, n_max - n)) > 0) {
                n += (size_t)n_read;
                if (n < n_max)
                        continue;
                n_max *= 2;
                text = realloc(text, n_max + 1);
                assert_non_null(text);
        }
        text[n] = '\0';
        return text;
}

char *run(const char *const *argv)
{
        int pipe_fds[2], status;
        char *output;
        pid_t pid;

        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                dup2(pipe_fds[1], STDOUT_FILENO);
                dup2(pipe_fds[1], STDERR_FILENO);
                execvp(argv[0], (char *const *)(uintptr_t)argv);
                _exit(127);
        }
        close(pipe_fds[1]);
        output = read_all(pipe_fds[0]);
        close(pipe_fds[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                broken("%s: %s", argv[0], output);
        return output;
}

const char *softhsm_module(void)
{
        return SOFTHSM_MODULE;
}

const char *data_path(Fixture *fixture, const char *name, char ret_path[160])
{
        snprintf(ret_path, 160, "%s/%s", fixture->directory, name);
        return ret_path;
}

void add_token(Fixture *fixture, const char *label)
{
        const char *const argv[] = {
                "softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN,
                "--so-pin",      "5678",         NULL
        };

        (void)fixture;
        free(run(argv));
}

void add_key_for_each_use(Fixture *fixture, const char *label)
{
        const char *const argv[] = { "pkcs11-tool",   "--module",     SOFTHSM_MODULE,
                                     "--token-label", fixture->label, "--login",
                                     "--pin",         PIN,            "--keypairgen",
                                     "--key-type",    "EC:secp256r1", "--label",
                                     label,           "--id",         "07",
                                     "--always-auth", NULL };

        free(run(argv));
}

static unsigned count_lines(const char *text, const char *start)
{
        unsigned n = 0;

        for (const char *line = text; line && *line; line = strchr(line, '\n')) {
                if (*line == '\n')
                        line++;
                if (strncmp(line, start, strlen(start)) == 0)
                        n++;
        }
        return n;
}

unsigned token_objects(Fixture *fixture)
{
        const char *const argv[] = { "pkcs11-tool",    "--module", SOFTHSM_MODULE, "--token-label",
                                     fixture->label,   "--login",  "--pin",        PIN,
                                     "--list-objects", NULL };
        char *output = run(argv);
        unsigned n;

        n = count_lines(output, "Private Key Object") + count_lines(output, "Public Key Object") +
            count_lines(output, "Certificate Object");
        free(output);
        return n;
}

unsigned log_count(Fixture *fixture, const char *line_start)
{
        int fd = open(fixture->log, O_RDONLY | O_CLOEXEC);
        char *text;
        unsigned n;

        if (fd < 0)
                return 0;
        text = read_all(fd);
        close(fd);
        n = count_lines(text, line_start);
        free(text);
        return n;
}

void log_clear(Fixture *fixture)
{
        (void)unlink(fixture->log);
}

/* The fixture */

void setting(Fixture *fixture, const char *key, const char *value)
{
        size_t n = strlen(key), i;

        for (i = 0; i < fixture->n_settings; i++)
                if (strncmp(fixture->settings[i], key, n) == 0 && fixture->settings[i][n] == '=')
                        break;
        if (i < fixture->n_settings) {
                free(fixture->settings[i]);
                fixture->settings[i] = fixture->settings[--fixture->n_settings];
                fixture->settings[fixture->n_settings] = NULL;
        }
        if (!value)
                return;
        assert_true(fixture->n_settings + 1 < SETTINGS_MAX);
        assert_true(asprintf(&fixture->settings[fixture->n_settings++], "%s=%s", key, value) > 0);
}

static void write_softhsm_conf(Fixture *fixture)
{
        char path[160], text[256];

        assert_int_equal(mkdir(data_path(fixture, "tokens", path), 0700), 0);
        snprintf(text, sizeof(text),
                 "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n",
                 path);
        write_text(data_path(fixture, "softhsm2.conf", path), text, 0600);
        setenv("SOFTHSM2_CONF", path, 1);
}

static int setup(void **state, const char *module)
{
        Fixture *fixture = calloc(1, sizeof(*fixture));
        char path[160];

        assert_non_null(fixture);
        fixture->fd = -1;
        fixture->label = "unit";
        strcpy(fixture->base, "/tmp/certbroker-source-XXXXXX");
        assert_non_null(mkdtemp(fixture->base));
        snprintf(fixture->directory, sizeof(fixture->directory), "%s/files", fixture->base);
        assert_int_equal(mkdir(fixture->directory, 0700), 0);
        assert_int_equal(mkdir(data_path(fixture, "../state", path), 0700), 0);
        snprintf(fixture->pin_file, sizeof(fixture->pin_file), "%s/pin", fixture->directory);
        snprintf(fixture->rules, sizeof(fixture->rules), "%s/rules", fixture->directory);
        snprintf(fixture->log, sizeof(fixture->log), "%s/calls", fixture->directory);
        write_softhsm_conf(fixture);
        add_token(fixture, fixture->label);
        write_text(fixture->pin_file, PIN "\n", 0600);
        setenv("P11FAULT_MODULE", SOFTHSM_MODULE, 1);
        setenv("P11FAULT_RULES", fixture->rules, 1);
        setenv("P11FAULT_LOG", fixture->log, 1);

        setting(fixture, "driver", "pkcs11");
        setting(fixture, "name", "unit");
        setting(fixture, "uri", "pkcs11:token=unit");
        setting(fixture, "module", module);
        setting(fixture, "pin-file", fixture->pin_file);
        setting(fixture, "state-directory", path);
        *state = fixture;
        return 0;
}

int fixture_setup(void **state)
{
        return setup(state, SOFTHSM_MODULE);
}

int fixture_setup_faults(void **state)
{
        return setup(state, P11FAULT);
}

int fixture_teardown(void **state)
{
        Fixture *fixture = *state;
        const char *const argv[] = { "rm", "-rf", fixture->base, NULL };

        /* However the case has ended, the process must end well. */
        int status = fixture->fd >= 0 ? source_stop(fixture) : 0;

        free(run(argv));
        for (size_t i = 0; i < fixture->n_settings; i++)
                free(fixture->settings[i]);
        free(fixture);
        return status;
}

/* The process */

static void spawn(Fixture *fixture)
{
        char parent[16];
        int fds[2];

        snprintf(parent, sizeof(parent), "%d", (int)getpid());
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        fixture->pid = fork();
        assert_true(fixture->pid >= 0);
        if (fixture->pid == 0) {
                if (fds[1] == 3)
                        fcntl(3, F_SETFD, 0);
                else
                        dup2(fds[1], 3);
                execl(CERTBROKER_SOURCE, "certbroker-source", "--fd", "3", "--parent", parent,
                      (char *)NULL);
                _exit(127);
        }
        close(fds[1]);
        fixture->fd = fds[0];
        fixture->state = _SOURCE_STATE_N;
}

void source_start(Fixture *fixture)
{
        WireRequest request;
        WireReply reply;

        spawn(fixture);
        wire_request_init(&request, WIRE_CONFIGURE);
        assert_int_equal(strv_copy(fixture->settings, &request.settings), 0);
        call(fixture, &request, &reply);
        expect_status(&reply, 0);
        wire_reply_deinit(&reply);
}

void source_start_until(Fixture *fixture, SourceState state)
{
        source_start(fixture);
        wait_state(fixture, state, 20);
}

int source_stop(Fixture *fixture)
{
        int status;

        close(fixture->fd);
        fixture->fd = -1;
        for (unsigned i = 0; i < 500; i++) {
                pid_t pid = waitpid(fixture->pid, &status, WNOHANG);

                if (pid == fixture->pid) {
                        fixture->pid = 0;
                        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
                }
                (void)poll(NULL, 0, 10);
        }
        kill(fixture->pid, SIGKILL);
        waitpid(fixture->pid, &status, 0);
        fixture->pid = 0;
        broken("the source did not end within 5 s of the socket's closing");
        return -1;
}

/* Requests and replies */

static void note_event(Fixture *fixture, const WireReply *reply)
{
        fixture->state = reply->state;
        snprintf(fixture->state_text, sizeof(fixture->state_text), "%s",
                 string_or_empty(reply->state_text));
        fixture->n_events++;
}

/* One packet. false: none in time, or the end. */
static bool receive(Fixture *fixture, unsigned msec, WireReply *ret_reply)
{
        static uint8_t buffer[WIRE_PACKET_MAX];
        struct pollfd pfd = { .fd = fixture->fd, .events = POLLIN };
        int fds[WIRE_FDS_MAX];
        ssize_t n;

        if (poll(&pfd, 1, (int)msec) <= 0)
                return false;
        n = wire_receive(fixture->fd, buffer, sizeof(buffer), fds, 0);
        if (n <= 0)
                return false;
        assert_int_equal(wire_reply_decode(buffer, (size_t)n, ret_reply), 0);
        memcpy(ret_reply->fds, fds, sizeof(fds));
        return true;
}

bool next_reply(Fixture *fixture, unsigned msec, WireReply *ret_reply)
{
        uint64_t end_usec = clock_monotonic_usec() + msec * USEC_PER_MSEC;

        for (;;) {
                uint64_t now_usec = clock_monotonic_usec();

                if (now_usec >= end_usec ||
                    !receive(fixture, (unsigned)((end_usec - now_usec) / USEC_PER_MSEC + 1),
                             ret_reply))
                        return false;
                if (ret_reply->id != 0)
                        return true;
                note_event(fixture, ret_reply);
                wire_reply_deinit(ret_reply);
        }
}

void wait_state(Fixture *fixture, SourceState state, unsigned seconds)
{
        uint64_t end_usec = clock_monotonic_usec() + seconds * USEC_PER_SEC;
        WireReply reply;

        while (fixture->state != state) {
                uint64_t now_usec = clock_monotonic_usec();

                if (now_usec >= end_usec ||
                    !receive(fixture, (unsigned)((end_usec - now_usec) / USEC_PER_MSEC + 1),
                             &reply))
                        broken("the source is not '%s' after %u s, but '%s': %s",
                               source_state_name(state), seconds,
                               fixture->state < _SOURCE_STATE_N ? source_state_name(fixture->state)
                                                                : "silent",
                               fixture->state_text);
                assert_int_equal(reply.id, 0);
                note_event(fixture, &reply);
                wire_reply_deinit(&reply);
        }
}

uint64_t send_request(Fixture *fixture, WireRequest *request)
{
        Bytes packet = { 0 };

        request->id = ++fixture->last_id;
        if (request->timeout_usec == 0)
                request->timeout_usec = 10 * SECONDS;
        assert_int_equal(wire_request_encode(request, &packet), 0);
        assert_int_equal(wire_send(fixture->fd, &packet, request->fds, 0), 0);
        bytes_deinit(&packet);
        wire_request_deinit(request);
        return fixture->last_id;
}

void call(Fixture *fixture, WireRequest *request, WireReply *ret_reply)
{
        uint64_t id = send_request(fixture, request);

        if (!next_reply(fixture, 30000, ret_reply))
                broken("no answer to request %lu", (unsigned long)id);
        assert_int_equal(ret_reply->id, id);
}

void expect_status(const WireReply *reply, int status)
{
        if (reply->failure.status != status)
                broken("status is '%s', not '%s': %s", status_word(reply->failure.status),
                       status_word(status), reply->failure.text);
        if (status != 0)
                assert_true(strlen(reply->failure.text) > 10);
}

int memory_fd(const char *text)
{
        int fd = memfd_create("unit", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        return fd;
}

/* Operations */

void import_bundle(Fixture *fixture, const char *id, BundleKind kind, WireReply *ret_reply)
{
        WireRequest request;

        wire_request_init(&request, WIRE_IMPORT);
        request.name = strdup(id);
        request.generation = 1;
        request.fds[0] = memory_fd(bundle_pem(kind));
        request.fds[1] = memory_fd("");
        call(fixture, &request, ret_reply);
}

static Bytes input_for(Algorithm algorithm)
{
        size_t n = digest_length(algorithm_row(algorithm)->digest);

        return (Bytes){ (uint8_t *)(uintptr_t)input_bytes, n ? n : sizeof(input_bytes) };
}

uint64_t send_sign(Fixture *fixture, const char *key_uri, Algorithm algorithm,
                   uint64_t timeout_usec)
{
        Bytes input = input_for(algorithm);
        WireRequest request;

        wire_request_init(&request, WIRE_SIGN);
        request.key_uri = strdup(key_uri);
        request.algorithm = algorithm;
        request.timeout_usec = timeout_usec;
        assert_int_equal(bytes_set(&request.input, input.data, input.n), 0);
        return send_request(fixture, &request);
}

void sign(Fixture *fixture, const char *key_uri, Algorithm algorithm, WireReply *ret_reply)
{
        uint64_t id = send_sign(fixture, key_uri, algorithm, 0);

        assert_true(next_reply(fixture, 30000, ret_reply));
        assert_int_equal(ret_reply->id, id);
}

void expect_signature(const WireReply *key, Algorithm algorithm, const WireReply *reply)
{
        Bytes input = input_for(algorithm);

        expect_status(reply, 0);
        if (pki_verify(&key->spki, algorithm, &input, &reply->output) != 0)
                broken("the signature by %s does not verify", algorithm_name(algorithm));
}

void sign_ok(Fixture *fixture, const WireReply *key, Algorithm algorithm)
{
        WireReply reply;

        sign(fixture, key->key_uri, algorithm, &reply);
        expect_signature(key, algorithm, &reply);
        wire_reply_deinit(&reply);
}

void start_with_key(Fixture *fixture, WireReply *ret_key)
{
        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P256, ret_key);
        expect_status(ret_key, 0);
        log_clear(fixture);
}

void expect_sign(Fixture *fixture, const WireReply *key, int status)
{
        WireReply reply;

        sign(fixture, key->key_uri, ALGORITHM_ECDSA_SHA256, &reply);
        expect_status(&reply, status);
        wire_reply_deinit(&reply);
}

void lookup(Fixture *fixture, const char *uri, WireReply *ret_reply)
{
        WireRequest request;

        wire_request_init(&request, WIRE_LOOKUP);
        request.name = strdup("unit");
        request.uri = strdup(uri);
        call(fixture, &request, ret_reply);
}

void simple_call(Fixture *fixture, WireOperation operation, const char *key_uri, int fd,
                 WireReply *ret_reply)
{
        WireRequest request;

        wire_request_init(&request, operation);
        request.key_uri = key_uri ? strdup(key_uri) : NULL;
        request.fds[0] = fd;
        call(fixture, &request, ret_reply);
}
