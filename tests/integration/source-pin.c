/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often a PIN goes to the token, by p11fault's count of C_Login: through crashes of the module within it, through
 * codes that say neither yes nor no, through restarts, and when people ask for it.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "pki/context.h"
#include "source-harness.h"

#define ALGORITHM ALGORITHM_ECDSA_SHA256
#define PERSON    WIRE_OWNER(0)
#define VENDOR    "0x80000123"
#define ALWAYS    "pkcs11:token=unit;object=always"

static const char *record_path(Fixture *fixture)
{
        static char path[160];

        return data_path(fixture, "../state/source-unit/pin-refused", path);
}

static bool has_record(Fixture *fixture)
{
        return access(record_path(fixture), F_OK) == 0;
}

/* "refused", "trying 0 BROKER", "ended", "unclear 1": of the PIN that was written down last. "": there is none. */
static const char *last_fate(Fixture *fixture)
{
        static char fate[128];
        FILE *file = fopen(record_path(fixture), "re");
        char line[128] = "", *word;

        if (!file)
                return "";
        while (fgets(line, sizeof(line), file))
                ;
        fclose(file);
        line[strcspn(line, "\n")] = '\0';
        word = strchr(line, ' ');
        snprintf(fate, sizeof(fate), "%s", word ? word + 1 : "refused");
        return fate;
}

static void expect_trying(Fixture *fixture)
{
        if (strncmp(last_fate(fixture), "trying ", 7) != 0)
                broken("the record says '%s'", last_fate(fixture));
}

static void expect_tries(Fixture *fixture, unsigned n)
{
        assert_int_equal(log_count(fixture, "C_Login "), n);
}

static void expect_text(Fixture *fixture, const char *text)
{
        if (!strstr(fixture->state_text, text))
                broken("'%s' is not in: %s", text, fixture->state_text);
}

static void ask(Fixture *fixture, WireOperation operation, uint64_t owner, int fd, int status,
                const char *text)
{
        WireRequest request;
        WireReply reply;

        wire_request_init(&request, operation);
        request.owner = owner;
        request.fds[0] = fd;
        call(fixture, &request, &reply);
        expect_status(&reply, status);
        if (text && !strstr(reply.failure.text, text))
                broken("'%s' is not in: %s", text, reply.failure.text);
        wire_reply_deinit(&reply);
}

static void unlock(Fixture *fixture, const char *pin, int status, const char *text)
{
        ask(fixture, WIRE_UNLOCK, PERSON, memory_fd(pin), status, text);
}

static void refresh(Fixture *fixture, int status)
{
        ask(fixture, WIRE_REFRESH, PERSON, -1, status, NULL);
}

/* As the broker does at a reload. */
static void reload(Fixture *fixture, int status)
{
        ask(fixture, WIRE_REFRESH, 0, -1, status, NULL);
}

static void restart_until(Fixture *fixture, SourceState state)
{
        if (fixture->fd >= 0)
                assert_int_equal(source_stop(fixture), 0);
        source_start_until(fixture, state);
}

static void wait_for_end(Fixture *fixture)
{
        WireReply reply;

        assert_false(next_reply(fixture, 20000, &reply));
        assert_int_not_equal(source_stop(fixture), 0);
}

/* What is given up by one process is not tried by the next. */

static void test_module_that_crashes(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_Login crash\n");
        source_start(fixture);
        wait_for_end(fixture);
        expect_trying(fixture);
        for (unsigned i = 0; i < 3; i++) {
                restart_until(fixture, SOURCE_LOCKED);
                expect_text(fixture, "ended in C_Login");
                expect_text(fixture, "source refresh unit");
                reload(fixture, CB_SOURCE_LOCKED);
        }
        expect_tries(fixture, 1);
}

static void test_person_tries_again_after_a_crash(void **state)
{
        Fixture *fixture = *state;
        WireRequest request;

        rules_set(fixture, "C_Login crash\n");
        source_start(fixture);
        wait_for_end(fixture);
        source_start_until(fixture, SOURCE_LOCKED);
        wire_request_init(&request, WIRE_REFRESH);
        request.owner = PERSON;
        (void)send_request(fixture, &request);
        wait_for_end(fixture);
        expect_tries(fixture, 2);
        source_start_until(fixture, SOURCE_LOCKED);
        expect_tries(fixture, 2);

        rules_set(fixture, "");
        unlock(fixture, PIN, 0, NULL);
        expect_tries(fixture, 3);
        assert_false(has_record(fixture));
        restart_until(fixture, SOURCE_READY);
}

/* Another PIN in the file has not been tried yet. */
static void test_new_file_after_a_crash(void **state)
{
        Fixture *fixture = *state;

        write_text(fixture->pin_file, "9999", 0600);
        rules_set(fixture, "C_Login crash\n");
        source_start(fixture);
        wait_for_end(fixture);
        rules_set(fixture, "");
        source_start_until(fixture, SOURCE_LOCKED);
        write_text(fixture->pin_file, PIN, 0600);
        reload(fixture, 0);
        expect_tries(fixture, 2);
}

static void wait_for_record(Fixture *fixture)
{
        for (unsigned i = 0; i < 2000 && !has_record(fixture); i++)
                usleep(5000);
        expect_trying(fixture);
}

static void test_killed_in_login(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_Login hang\n");
        source_start(fixture);
        wait_for_record(fixture);
        assert_int_equal(kill(fixture->pid, SIGKILL), 0);
        wait_for_end(fixture);
        rules_set(fixture, "");
        log_clear(fixture);
        source_start_until(fixture, SOURCE_LOCKED);
        assert_string_equal(last_fate(fixture), "ended");
        expect_tries(fixture, 0);
}

/* As if this had been under another broker, which was killed, and its process with it. */
static void change_broker(Fixture *fixture)
{
        char text[1024];
        FILE *file = fopen(record_path(fixture), "re");
        size_t n;
        char *dot;

        assert_non_null(file);
        n = fread(text, 1, sizeof(text) - 1, file);
        text[n] = '\0';
        fclose(file);
        dot = strrchr(text, '.');
        assert_non_null(dot);
        dot[1] = dot[1] == '9' ? '1' : '9';
        write_text(record_path(fixture), text, 0600);
}

/* A broker that is killed must not cost a person's work; one that is killed each time, not the token's tries. */
static void test_killed_with_its_broker(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_Login hang\n");
        for (unsigned i = 0; i < 2; i++) {
                source_start(fixture);
                for (unsigned k = 0; k < 2000 && log_count(fixture, "C_Login 0xdead") <= i; k++)
                        usleep(5000);
                expect_tries(fixture, i + 1);
                assert_int_equal(kill(fixture->pid, SIGKILL), 0);
                wait_for_end(fixture);
                change_broker(fixture);
        }
        rules_set(fixture, "");
        source_start_until(fixture, SOURCE_LOCKED);
        expect_text(fixture, "2 times");
        expect_tries(fixture, 2);
}

/* A stop that has waited for it in vain is one that leaves no doubt. */
static void test_stopped_while_login_hangs(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_Login hang\n");
        source_start(fixture);
        wait_for_record(fixture);
        assert_int_equal(source_stop(fixture), 0);
        assert_string_equal(last_fate(fixture), "ended");
        rules_set(fixture, "");
        source_start_until(fixture, SOURCE_LOCKED);
        expect_text(fixture, "ended in C_Login");
}

/* A stop is no crash: the log-in that is under way is waited for. */
static void test_stopped_in_login(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_Login delay=500\n");
        source_start(fixture);
        wait_for_record(fixture);
        assert_int_equal(source_stop(fixture), 0);
        expect_tries(fixture, 1);
        assert_false(has_record(fixture));
        source_start_until(fixture, SOURCE_READY);
}

static void test_no_try_that_cannot_be_written(void **state)
{
        Fixture *fixture = *state;
        char folder[160], obstacle[200];

        data_path(fixture, "../state/source-unit", folder);
        assert_int_equal(mkdir(folder, 0700), 0);
        snprintf(obstacle, sizeof(obstacle), "%s.new", record_path(fixture));
        assert_int_equal(mkdir(obstacle, 0700), 0);
        source_start_until(fixture, SOURCE_UNAVAILABLE);
        expect_text(fixture, "not tried");
        expect_tries(fixture, 0);
        assert_int_equal(rmdir(obstacle), 0);
        wait_state(fixture, SOURCE_READY, 20);
}

/* What people give. */

static void test_refused_pin_is_not_sent_again(void **state)
{
        Fixture *fixture = *state;

        write_text(fixture->pin_file, "9999", 0600);
        source_start_until(fixture, SOURCE_LOCKED);
        unlock(fixture, "8888", CB_SOURCE_LOCKED, "refuses the PIN");
        unlock(fixture, "8888", CB_SOURCE_LOCKED, "refused this PIN before");
        unlock(fixture, "9999", CB_SOURCE_LOCKED, "refused this PIN before");
        refresh(fixture, CB_SOURCE_LOCKED);
        expect_tries(fixture, 2);
        restart_until(fixture, SOURCE_LOCKED);
        unlock(fixture, "8888", CB_SOURCE_LOCKED, record_path(fixture));
        expect_tries(fixture, 2);

        /* The token has it again, says somebody who removes the record. */
        assert_int_equal(unlink(record_path(fixture)), 0);
        unlock(fixture, "8888", CB_SOURCE_LOCKED, "refuses the PIN");
        expect_tries(fixture, 3);
        unlock(fixture, PIN, 0, NULL);
        assert_false(has_record(fixture));
}

static int pin_with_nul(void)
{
        int fd = memfd_create("pin", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, "12\00034", 5), 5);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        return fd;
}

static void test_what_is_no_pin_of_this_token(void **state)
{
        Fixture *fixture = *state;
        char longer[301];

        memset(longer, '1', 300);
        longer[300] = '\0';
        write_text(fixture->pin_file, "123", 0600);
        source_start_until(fixture, SOURCE_LOCKED);
        expect_text(fixture, "4 to 255 bytes");
        unlock(fixture, "12", CB_SOURCE_LOCKED, "4 to 255 bytes");
        unlock(fixture, longer, CB_SOURCE_LOCKED, "4 to 255 bytes");
        ask(fixture, WIRE_UNLOCK, PERSON, pin_with_nul(), CB_SOURCE_LOCKED, "NUL");
        expect_tries(fixture, 0);
        unlock(fixture, PIN, 0, NULL);
        expect_tries(fixture, 1);
}

/* That serves, and says nothing of the PIN that was given, nor of those that were refused. */
static void test_somebody_is_logged_in_already(void **state)
{
        Fixture *fixture = *state;

        write_text(fixture->pin_file, "9999", 0600);
        source_start_until(fixture, SOURCE_LOCKED);
        rules_set(fixture, "C_Login rv=0x100\n");
        unlock(fixture, "8888", 0, NULL);
        expect_tries(fixture, 2);
        rules_set(fixture, "");
        restart_until(fixture, SOURCE_LOCKED);
        expect_text(fixture, "refused this PIN before");
        unlock(fixture, "8888", CB_SOURCE_LOCKED, "refuses the PIN");
        expect_tries(fixture, 3);
}

/* A key that wants the PIN for each use has found it refused: the token is logged out, and judges the next one. */
static void test_unlock_after_a_refusal_at_a_key(void **state)
{
        Fixture *fixture = *state;
        WireReply reply;

        add_key_for_each_use(fixture, "always");
        source_start_until(fixture, SOURCE_READY);
        log_clear(fixture);
        rules_set(fixture, "C_Login count=1 rv=0xa0\n");
        sign(fixture, ALWAYS, ALGORITHM, &reply);
        expect_status(&reply, CB_SOURCE_LOCKED);
        wire_reply_deinit(&reply);
        wait_state(fixture, SOURCE_LOCKED, 20);

        unlock(fixture, "8888", CB_SOURCE_LOCKED, "refuses the PIN");
        expect_tries(fixture, 2);
        unlock(fixture, PIN, CB_SOURCE_LOCKED, "refused this PIN before");
        reload(fixture, CB_SOURCE_LOCKED);
        expect_tries(fixture, 2);

        assert_int_equal(unlink(record_path(fixture)), 0);
        unlock(fixture, PIN, 0, NULL);
        sign(fixture, ALWAYS, ALGORITHM, &reply);
        expect_status(&reply, 0);
        wire_reply_deinit(&reply);
        expect_tries(fixture, 4);
}

/* Codes of C_Login. */

static void test_odd_code_once(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_Login count=1 rv=" VENDOR "\n");
        source_start_until(fixture, SOURCE_UNAVAILABLE);
        expect_text(fixture, "neither yes nor no");
        wait_state(fixture, SOURCE_READY, 20);
        expect_tries(fixture, 2);
        assert_false(has_record(fixture));
}

static void test_odd_code_for_ever(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_Login rv=" VENDOR "\n");
        for (unsigned i = 0; i < 4; i++)
                restart_until(fixture, i == 0 ? SOURCE_UNAVAILABLE : SOURCE_LOCKED);
        expect_tries(fixture, 2);
        assert_string_equal(last_fate(fixture), "unclear 2");
        reload(fixture, CB_SOURCE_LOCKED);
        expect_tries(fixture, 2);
        refresh(fixture, CB_SOURCE_LOCKED);
        expect_tries(fixture, 3);
        rules_set(fixture, "");
        refresh(fixture, 0);
        assert_false(has_record(fixture));
}

/* One code of each class, and those that have a rule of their own; all others: tests/unit/test-verdict.c. */
static void test_codes(void **state)
{
        static const struct {
                unsigned rv;
                const char *fate; /* "": it says nothing of the PIN */
        } rows[] = {
                { 0xa0, "refused" },   { 0xa1, "refused" },           { 0xa2, "refused" },
                { 0xa3, "refused" },   { 0xa4, "refused" },           { 0x102, "" },
                { 0x104, "" },         { 0xb3, "" },                  { 0x30, "" },
                { 0x5, "" },           { 0xe0, "" },                  { 0x31, "" },
                { 0x201, "" },         { 0x190, "" },                 { 0x7, "unclear 1" },
                { 0x200, "unclear 1" }, { 0x80000001, "unclear 1" }, { 0x7fff, "unclear 1" },
        };
        Fixture *fixture = *state;

        setting(fixture, "pin-file", NULL);
        source_start_until(fixture, SOURCE_LOCKED);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                char rule[64], pin[16];

                (void)unlink(record_path(fixture));
                log_clear(fixture);
                snprintf(rule, sizeof(rule), "C_Login rv=0x%x\n", rows[i].rv);
                snprintf(pin, sizeof(pin), "55%02zu", i);
                rules_set(fixture, rule);
                unlock(fixture, pin, CB_SOURCE_LOCKED, NULL);
                expect_tries(fixture, 1);
                if (strcmp(last_fate(fixture), rows[i].fate) != 0)
                        broken("after 0x%x: '%s'", rows[i].rv, last_fate(fixture));
        }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup_faults, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_module_that_crashes),
                CASE(test_person_tries_again_after_a_crash),
                CASE(test_new_file_after_a_crash),
                CASE(test_killed_in_login),
                CASE(test_killed_with_its_broker),
                CASE(test_stopped_in_login),
                CASE(test_stopped_while_login_hangs),
                CASE(test_no_try_that_cannot_be_written),
                CASE(test_refused_pin_is_not_sent_again),
                CASE(test_what_is_no_pin_of_this_token),
                CASE(test_somebody_is_logged_in_already),
                CASE(test_unlock_after_a_refusal_at_a_key),
                CASE(test_odd_code_once),
                CASE(test_odd_code_for_ever),
                CASE(test_codes),
        };

        if (pki_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
