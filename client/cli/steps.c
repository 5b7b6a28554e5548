/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal of what was done. A file that is replaced is kept beside its place, under a name that begins with a dot, until
 * all is done: to put it back takes no room on a disk that is full. Signals that end a program are noted while there is
 * something to undo, and the step under way is the last.
 */
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "newfile.h"
#include "text.h"

#define NOT_DONE "Not done, at this step: "

static volatile sig_atomic_t signal_caught;

static void on_signal(int number)
{
        signal_caught = number;
}

static void catch_signals(void (*handler)(int))
{
        static const int numbers[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP };
        struct sigaction action = { .sa_handler = handler };

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                struct sigaction before;

                /* What whoever started us ignores (nohup) stays ignored. */
                if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
                        (void)sigaction(numbers[i], &action, NULL);
        }
}

void steps_init(Steps *steps, Cli *cli)
{
        *steps = (Steps){ .cli = cli };
        catch_signals(on_signal);
}

/* ------------------------------------------------------------------ what is said */

static void say(const char *before, const char *text)
{
        char *escaped = text_harmless(text);

        (void)fprintf(stderr, "%s%s\n", before, escaped ? escaped : "");
        free(escaped);
}

void steps_say(const Steps *steps, const char *format, ...)
{
        char text[1024];
        va_list list;

        va_start(list, format);
        (void)vsnprintf(text, sizeof(text), format, list);
        va_end(list);
        if (!steps->cli->arguments->json)
                say("  ", text);
}

int steps_begin(Steps *steps, const char *format, ...)
{
        va_list list;

        va_start(list, format);
        (void)vsnprintf(steps->doing, sizeof(steps->doing), format, list);
        va_end(list);
        if (signal_caught)
                return steps_fail(steps, -EINTR, "it was interrupted by a signal");
        if (!steps->cli->arguments->json)
                say("- ", steps->doing);
        return 0;
}

int steps_fail(Steps *steps, int status, const char *format, ...)
{
        char text[1024];
        va_list list;

        va_start(list, format);
        (void)vsnprintf(text, sizeof(text), format, list);
        va_end(list);
        text[strcspn(text, "\n")] = '\0'; /* its first line: what others said may have more */
        return cli_fail(steps->cli, status, NOT_DONE "%s: %s", steps->doing, text);
}

/* ------------------------------------------------------------------ the journal */

static void undo_deinit(Undo *undo)
{
        free(undo->what);
        free(undo->path);
        free(undo->aside);
        *undo = (Undo){ 0 };
}

static int add(Steps *steps, const Undo *undo)
{
        Undo *place;

        if (steps->n == STEPS_MAX)
                return cli_fail(steps->cli, -E2BIG, "Too many steps.");
        place = &steps->undos[steps->n];
        *place = (Undo){ .run = undo->run,
                         .userdata = undo->userdata,
                         .what = strdup(undo->what),
                         .path = undo->path ? strdup(undo->path) : NULL,
                         .aside = undo->aside ? strdup(undo->aside) : NULL };
        if (!place->what || (undo->path && !place->path) || (undo->aside && !place->aside)) {
                undo_deinit(place);
                return cli_out_of_memory(steps->cli);
        }
        steps->n++;
        return 0;
}

int steps_on_undo(Steps *steps, int (*run)(Undo *undo), void *userdata, const char *what)
{
        return add(steps, &(Undo){ .run = run, .userdata = userdata, .what = (char *)(uintptr_t)what });
}

void steps_undo_to(Steps *steps, size_t n)
{
        while (steps->n > n) {
                Undo *undo = &steps->undos[--steps->n];
                int r = undo->run ? undo->run(undo) : 0;
                char text[512];

                if (r)
                        (void)snprintf(text, sizeof(text), "NOT undone (%s): %s", strerror(-r),
                                       undo->what);
                else
                        (void)snprintf(text, sizeof(text), "undone: %s", undo->what);
                if (undo->run && (r || !steps->cli->arguments->json))
                        say("  ", text);
                undo_deinit(undo);
        }
}

static void steps_keep(Steps *steps)
{
        while (steps->n > 0) {
                Undo *undo = &steps->undos[--steps->n];

                if (undo->aside)
                        (void)unlink(undo->aside);
                undo_deinit(undo);
        }
}

/* A failure of something that knows no steps. */
static void tell_step(Steps *steps, int r)
{
        char text[sizeof(steps->cli->error.text)];

        if (strncmp(steps->cli->error.text, NOT_DONE, strlen(NOT_DONE)) == 0)
                return;
        (void)snprintf(text, sizeof(text), "%s", steps->cli->error.text);
        (void)steps_fail(steps, r, "%s", text);
}

int steps_end(Steps *steps, int r)
{
        if (r == 0) {
                steps_keep(steps);
        } else {
                cb_error error;

                tell_step(steps, r);
                error = steps->cli->error;
                steps_undo_to(steps, 0);
                steps->cli->error = error;
        }
        catch_signals(SIG_DFL); /* not before: what fails on the way is undone as well */
        return r;
}

/* ------------------------------------------------------------------ files */

static int undo_folder(Undo *undo)
{
        if (rmdir(undo->path) == 0 || errno == ENOENT)
                return 0;
        /* Somebody else has put something into it: then it is his by now. */
        return errno == ENOTEMPTY ? 0 : -errno;
}

static int undo_file(Undo *undo)
{
        if (undo->aside)
                return rename(undo->aside, undo->path) < 0 ? -errno : 0;
        return unlink(undo->path) < 0 && errno != ENOENT ? -errno : 0;
}

static int note_path(Steps *steps, int (*run)(Undo *undo), const char *path, const char *aside,
                     const char *what)
{
        CLEANUP(free_text) char *text = NULL;

        if (asprintf(&text, "%s %s", what, path) < 0) {
                text = NULL;
                return cli_out_of_memory(steps->cli);
        }
        return add(steps, &(Undo){ .run = run,
                                   .what = text,
                                   .path = (char *)(uintptr_t)path,
                                   .aside = (char *)(uintptr_t)aside });
}

/* Its parent may be another's, who could put something else in its place meanwhile. */
static int give(const StepFile *folder)
{
        CLEANUP(close_fd) int fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != geteuid())
                return -EEXIST;
        return fchown(fd, folder->uid, folder->gid) < 0 || fchmod(fd, folder->mode) < 0 ? -errno : 0;
}

int steps_make_folder(Steps *steps, const StepFile *folder)
{
        int r;

        if (mkdir(folder->path, 0700) < 0) {
                if (errno == EEXIST)
                        return 0;
                return steps_fail(steps, -errno, "%s cannot be made: %s", folder->path,
                                  strerror(errno));
        }
        r = note_path(steps, undo_folder, folder->path, NULL, "the folder");
        if (r) {
                (void)rmdir(folder->path);
                return r;
        }
        r = give(folder);
        return r ? steps_fail(steps, r, "%s: %s", folder->path, strerror(-r)) : 0;
}

/* A second name for what is there. *ret_aside is NULL where nothing is. */
static int keep_aside(Steps *steps, const char *path, char **ret_aside)
{
        const char *base = strrchr(path, '/') + 1;
        struct stat st;
        char *aside;

        *ret_aside = NULL;
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0
                                       : steps_fail(steps, -errno, "%s: %s", path, strerror(errno));
        if (asprintf(&aside, "%.*s.%s.before", (int)(base - path), path, base) < 0)
                return cli_out_of_memory(steps->cli);
        (void)unlink(aside);
        if (link(path, aside) < 0) {
                int r = -errno;

                free(aside);
                return steps_fail(steps, r, "%s cannot be kept: %s", path, strerror(-r));
        }
        *ret_aside = aside;
        return 0;
}

static int put(const StepFile *file, const void *data, size_t n)
{
        NewFile new;
        int r;

        r = newfile_begin_own(&new, file->path);
        if (r == 0)
                r = newfile_write(&new, data, n);
        if (r == 0 && fchown(new.fd, file->uid, file->gid) < 0)
                r = -errno;
        if (r == 0)
                r = newfile_finish(&new, file->mode);
        if (r == 0)
                r = newfile_place(&new);
        newfile_deinit(&new);
        return r;
}

int steps_write(Steps *steps, const StepFile *file, const void *data, size_t n)
{
        CLEANUP(free_text) char *aside = NULL;
        int r;

        r = keep_aside(steps, file->path, &aside);
        if (r == 0)
                r = note_path(steps, undo_file, file->path, aside, aside ? "the new" : "the file");
        if (r) {
                if (aside)
                        (void)unlink(aside);
                return r;
        }
        r = put(file, data, n);
        return r ? steps_fail(steps, r, "%s cannot be written: %s", file->path, newfile_reason(r))
                 : 0;
}

int steps_remove(Steps *steps, const char *path)
{
        CLEANUP(free_text) char *aside = NULL;
        int r;

        r = keep_aside(steps, path, &aside);
        if (r || !aside)
                return r;
        r = note_path(steps, undo_file, path, aside, "the removal of");
        if (r) {
                (void)unlink(aside);
                return r;
        }
        return unlink(path) < 0 ? steps_fail(steps, -errno, "%s cannot be removed: %s", path,
                                             strerror(errno))
                                : 0;
}
