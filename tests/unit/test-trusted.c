/* SPDX-License-Identifier: Apache-2.0 */
/* Whose files are trusted: by mode, owner, link and every folder on the way. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/trusted.h"

#define OTHER 65534 /* nobody */

static char root[] = "/tmp/test-trusted-XXXXXX";
static Failure failure;

/* The name of something in the test's folder; a few at a time. */
static const char *in(const char *name)
{
        static _Thread_local char paths[8][128];
        static _Thread_local unsigned n;
        char *path = paths[n++ % ELEMENTSOF(paths)];

        snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
        return path;
}

static void make_file(const char *name, mode_t mode)
{
        int fd = open(in(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

static void make_folder(const char *name, mode_t mode)
{
        assert_int_equal(mkdir(in(name), 0700), 0);
        assert_int_equal(chmod(in(name), mode), 0);
}

static void set_mode(const char *name, mode_t mode)
{
        assert_int_equal(chmod(in(name), mode), 0);
}

static int check(const char *name, TrustedKind kind)
{
        failure = (Failure){ 0 };
        return trusted_check(in(name), kind, NULL, &failure);
}

static void expect_good(const char *name, TrustedKind kind)
{
        int r = check(name, kind);

        if (r != 0)
                print_error("%s: %d: %s\n", name, r, failure.text);
        assert_int_equal(r, 0);
}

/* Refused for the sake of `culprit`, with this command. */
static void expect_bad(const char *name, TrustedKind kind, const char *culprit, const char *remedy)
{
        char start[160], end[160];

        assert_int_equal(check(name, kind), CB_INVALID_ARGUMENT);
        snprintf(start, sizeof(start), "%s: ", in(culprit));
        snprintf(end, sizeof(end), "; %s %s", remedy, in(culprit));
        if (strncmp(failure.text, start, strlen(start)) != 0 || !strstr(failure.text, end))
                print_error("expected %s…%s, not: %s\n", start, end, failure.text);
        assert_memory_equal(failure.text, start, strlen(start));
        assert_non_null(strstr(failure.text, end));
}

static void judges_by_mode(void **state)
{
        static const struct {
                mode_t mode;
                const char *as_file, *as_secret; /* the remedy; NULL: it is good */
        } rows[] = {
                { 0600, NULL, NULL },
                { 0400, NULL, NULL },
                { 0640, NULL, NULL },
                { 0440, NULL, NULL },
                { 0644, NULL, "chmod o-rwx" },
                { 0755, NULL, "chmod o-rwx" },
                { 0604, NULL, "chmod o-rwx" },
                { 0620, "chmod go-w", "chmod go-w" },
                { 0660, "chmod go-w", "chmod go-w" },
                { 0602, "chmod go-w", "chmod go-w" },
                { 0666, "chmod go-w", "chmod go-w" },
        };

        (void)state;
        make_file("file", 0600);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                set_mode("file", rows[i].mode);
                if (rows[i].as_file)
                        expect_bad("file", TRUSTED_FILE, "file", rows[i].as_file);
                else
                        expect_good("file", TRUSTED_FILE);
                if (rows[i].as_secret)
                        expect_bad("file", TRUSTED_SECRET, "file", rows[i].as_secret);
                else
                        expect_good("file", TRUSTED_SECRET);
        }
}

static void judges_by_owner(void **state)
{
        const TrustedUser other = { OTHER, OTHER };

        (void)state;
        if (geteuid() != 0)
                skip(); /* only root gives files away */
        make_folder("folder", 0755);
        make_file("folder/file", 0600);
        assert_int_equal(chown(in("folder/file"), OTHER, 0), 0);
        expect_bad("folder/file", TRUSTED_FILE, "folder/file", "chown root");
        assert_int_equal(trusted_check(in("folder/file"), TRUSTED_SECRET, &other, &failure), 0);
        assert_int_equal(chown(in("folder/file"), 0, 0), 0);
        assert_int_equal(chown(in("folder"), OTHER, 0), 0);
        expect_bad("folder/file", TRUSTED_FILE, "folder", "chown root");
        expect_bad("folder", TRUSTED_DIRECTORY, "folder", "chown root");
        assert_int_equal(chown(in("folder"), 0, 0), 0);

        /* A group may read a secret where it is root's or ours, or that of whom it is checked for. */
        set_mode("folder/file", 0640);
        assert_int_equal(chown(in("folder/file"), 0, OTHER), 0);
        expect_bad("folder/file", TRUSTED_SECRET, "folder/file", "chmod g-rwx");
        assert_int_equal(trusted_check(in("folder/file"), TRUSTED_SECRET, &other, &failure), 0);
        expect_good("folder/file", TRUSTED_FILE);
}

static void judges_every_folder_on_the_way(void **state)
{
        (void)state;
        make_folder("a", 0755);
        make_folder("a/b", 0755);
        make_folder("a/b/c", 0755);
        make_file("a/b/c/file", 0600);
        expect_good("a/b/c/file", TRUSTED_FILE);
        expect_good("a/./b//c/../c/file", TRUSTED_FILE);
        expect_good("a/b/c/", TRUSTED_DIRECTORY);
        set_mode("a", 0777);
        expect_bad("a/b/c/file", TRUSTED_FILE, "a", "chmod go-w");
        expect_bad("a/b/c", TRUSTED_DIRECTORY, "a", "chmod go-w");
        set_mode("a", 0775);
        expect_bad("a/b/c/file", TRUSTED_FILE, "a", "chmod go-w");
        /* Sticky: what is in it stays, and is judged itself. */
        set_mode("a", 01777);
        expect_good("a/b/c/file", TRUSTED_FILE);
        set_mode("a", 0755);
        set_mode("a/b/c", 01777);
        expect_bad("a/b/c/file", TRUSTED_FILE, "a/b/c", "use another folder than");
        expect_bad("a/b/c", TRUSTED_DIRECTORY, "a/b/c", "use another folder than");
}

/* A folder in which anybody makes files, and nobody replaces another's. */
static void what_is_read_once_may_be_in_a_sticky_folder(void **state)
{
        (void)state;
        make_folder("tmp", 01777);
        make_file("tmp/file", 0600);
        expect_good("tmp/file", TRUSTED_ONCE);
        set_mode("tmp/file", 0620);
        expect_bad("tmp/file", TRUSTED_ONCE, "tmp/file", "chmod go-w");
        set_mode("tmp/file", 0644);
        set_mode("tmp", 0777);
        expect_bad("tmp/file", TRUSTED_ONCE, "tmp", "chmod go-w");
        assert_int_equal(mkfifo(in("fifo"), 0600), 0);
        expect_bad("fifo", TRUSTED_ONCE, "fifo", "look at");
        if (geteuid() != 0)
                return;
        set_mode("tmp", 01777);
        assert_int_equal(chown(in("tmp/file"), OTHER, 0), 0);
        expect_bad("tmp/file", TRUSTED_ONCE, "tmp/file", "chown root");
}

static void judges_links_by_where_they_are_and_lead(void **state)
{
        (void)state;
        make_folder("good", 0755);
        make_folder("bad", 0755);
        make_file("good/file", 0600);
        make_file("bad/file", 0600);
        assert_int_equal(symlink("../bad/file", in("good/to-bad")), 0);
        assert_int_equal(symlink(in("good/file"), in("bad/to-good")), 0);
        assert_int_equal(symlink("file", in("good/beside")), 0);
        assert_int_equal(symlink(in("bad"), in("good/folder")), 0);
        expect_good("good/to-bad", TRUSTED_FILE);
        expect_good("bad/to-good", TRUSTED_FILE);
        expect_good("good/beside", TRUSTED_SECRET);
        expect_good("good/folder/file", TRUSTED_FILE);
        set_mode("bad", 0777);
        expect_bad("good/to-bad", TRUSTED_FILE, "bad", "chmod go-w");
        expect_bad("bad/to-good", TRUSTED_FILE, "bad", "chmod go-w");
        expect_bad("good/folder/file", TRUSTED_FILE, "bad", "chmod go-w");
        expect_bad("good/folder", TRUSTED_DIRECTORY, "bad", "chmod go-w");
        /* As kubelet has it: a sticky folder with a link of root's in it. */
        set_mode("bad", 01777);
        expect_good("bad/to-good", TRUSTED_FILE);
        expect_bad("good/to-bad", TRUSTED_FILE, "bad", "use another folder than");
        if (geteuid() != 0)
                return;
        assert_int_equal(lchown(in("bad/to-good"), OTHER, 0), 0);
        expect_bad("bad/to-good", TRUSTED_FILE, "bad/to-good", "chown -h root");
}

static void takes_only_what_it_is_asked_for(void **state)
{
        (void)state;
        make_folder("folder", 0755);
        make_file("file", 0600);
        assert_int_equal(mkfifo(in("fifo"), 0600), 0);
        assert_int_equal(symlink("loop", in("loop")), 0);
        expect_bad("folder", TRUSTED_FILE, "folder", "look at");
        expect_bad("file", TRUSTED_DIRECTORY, "file", "look at");
        expect_bad("fifo", TRUSTED_FILE, "fifo", "look at");
        assert_int_equal(check("loop", TRUSTED_FILE), -ELOOP);
        assert_int_equal(check("missing", TRUSTED_FILE), -ENOENT);
        assert_int_equal(check("missing/file", TRUSTED_FILE), -ENOENT);
        assert_int_equal(check("file/x", TRUSTED_FILE), -ENOTDIR);
        assert_int_equal(trusted_check("/dev/null", TRUSTED_FILE, NULL, &failure), CB_INVALID_ARGUMENT);
}

/* The folder is the first that is not there. */
static void judges_where_something_is_missing(void **state)
{
        (void)state;
        make_folder("good", 0755);
        make_folder("open", 01777);
        assert_int_equal(symlink(in("open/missing"), in("good/link")), 0);
        assert_int_equal(check("good/missing", TRUSTED_FILE), -ENOENT);
        assert_int_equal(check("open/missing", TRUSTED_ONCE), -ENOENT); /* nobody goes on without it */
        for (TrustedKind kind = 0; kind < _TRUSTED_KIND_N; kind++) {
                if (kind == TRUSTED_ONCE)
                        continue;
                expect_bad("open/missing", kind, "open", "use another folder than");
                expect_bad("open/missing/file", kind, "open", "use another folder than");
                expect_bad("good/link", kind, "open", "use another folder than");
        }
}

static atomic_bool done;

static void *swing(void *userdata)
{
        (void)userdata;
        for (unsigned i = 0; !done; i++) {
                if (symlink(i & 1 ? "private" : "public", in("next")) < 0)
                        break;
                (void)rename(in("next"), in("link"));
        }
        return NULL;
}

/* A link that is swung to and fro: what is handed out is always the file that was judged. */
static void opens_what_it_has_judged(void **state)
{
        unsigned n_opened = 0, n_refused = 0;
        pthread_t thread;

        (void)state;
        make_file("private", 0640);
        make_file("public", 0644);
        assert_int_equal(symlink("private", in("link")), 0);
        done = false;
        assert_int_equal(pthread_create(&thread, NULL, swing, NULL), 0);
        while (n_opened < 500 || n_refused < 500) {
                struct stat st;
                int fd = -1, r;

                failure = (Failure){ 0 };
                r = trusted_open(in("link"), TRUSTED_SECRET, O_RDONLY, NULL, &fd, &failure);
                if (r != 0) {
                        n_refused++;
                        continue;
                }
                n_opened++;
                assert_int_equal(fstat(fd, &st), 0);
                assert_int_equal(st.st_mode & 07777, 0640);
                assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
                assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
                close(fd);
        }
        done = true;
        pthread_join(thread, NULL);
}

static int setup(void **state)
{
        (void)state;
        snprintf(root, sizeof(root), "/tmp/test-trusted-XXXXXX");
        return mkdtemp(root) && chmod(root, 0755) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
        char command[64];

        (void)state;
        snprintf(command, sizeof(command), "rm -rf %s", root);
        return system(command);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(judges_by_mode),
                CASE(judges_by_owner),
                CASE(judges_every_folder_on_the_way),
                CASE(what_is_read_once_may_be_in_a_sticky_folder),
                CASE(judges_links_by_where_they_are_and_lead),
                CASE(takes_only_what_it_is_asked_for),
                CASE(judges_where_something_is_missing),
                CASE(opens_what_it_has_judged),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
