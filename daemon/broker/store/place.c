/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever removes, replaces, empties or overwrites the store under us leaves SQLite with a file that nobody will ever open
 * again, or with pages that are not its own; it does not notice, and what it commits is lost. So before each
 * transaction the files are held against what the last one left, and after it their names once more, before anybody is told.
 * What was moved away and comes back is the store again. What cannot be looked at is neither here nor gone.
 */
#include "broker/store/place.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/macro.h"

static const char *const suffixes[PLACE_FILES] = { "", "-wal", "-shm" };

/* The index of the log is mapped into memory and may change at any time. */
#define PLACE_SHM 2

/* Below 0 where it cannot be told what is there. */
static int look_at(const char *path, size_t i, PlaceMark *ret_mark)
{
        char name[PATH_MAX]; /* for want of memory nothing is left unseen */
        struct stat st = { 0 };

        if ((size_t)snprintf(name, sizeof(name), "%s%s", path, suffixes[i]) >= sizeof(name))
                return -ENAMETOOLONG;
        if (stat(name, &st) < 0 && errno != ENOENT && errno != ENOTDIR)
                return -errno;
        *ret_mark = (PlaceMark){ st.st_dev, st.st_ino, st.st_size, st.st_mtim };
        return 0;
}

static bool is_same_file(const PlaceMark *a, const PlaceMark *b)
{
        return a->dev == b->dev && a->ino == b->ino;
}

static bool is_unchanged(const PlaceMark *a, const PlaceMark *b)
{
        return a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
               a->changed.tv_nsec == b->changed.tv_nsec;
}

static int fail_place(const char *path, size_t i, const char *what, Failure *failure)
{
        return fail(failure, CB_FAILED,
                    "%s%s was %s while certbrokerd runs, so that nothing can be stored: what is in "
                    "force stays so, and nothing is changed. Put the very file back, or stop "
                    "certbrokerd, restore a backup if the store is not the right one, and start it",
                    path, suffixes[i], what);
}

int place_mark(Place *place, const char *path, Failure *failure)
{
        for (size_t i = 0; i < PLACE_FILES; i++) {
                int r = look_at(path, i, &place->marks[i]);

                if (r < 0)
                        return fail(failure, CB_FAILED, "%s%s cannot be looked at: %s", path,
                                    suffixes[i], strerrordesc_np(-r));
        }
        return 0;
}

int place_check(const Place *place, const char *path, Failure *failure)
{
        Place here;
        int r = place_mark(&here, path, failure);

        if (r != 0)
                return r;
        for (size_t i = 0; i < PLACE_FILES; i++) {
                const PlaceMark *then = &place->marks[i];
                PlaceMark now = here.marks[i];

                if (then->ino == 0)
                        continue;
                if (now.ino == 0)
                        return fail_place(path, i, "removed", failure);
                if (!is_same_file(then, &now))
                        return fail_place(path, i, "replaced", failure);
                if (i != PLACE_SHM && !place->is_behind && !is_unchanged(then, &now))
                        return fail_place(path, i, now.size == 0 ? "emptied" : "written by another",
                                          failure);
        }
        return 0;
}

int place_check_after(Place *place, const char *path, Failure *failure)
{
        Place now;
        int r = place_mark(&now, path, failure);

        place->is_behind = r != 0;
        if (r != 0)
                return r;
        for (size_t i = 0; i < PLACE_FILES; i++) {
                if (place->marks[i].ino == 0 || is_same_file(&place->marks[i], &now.marks[i]))
                        continue;
                return fail_place(path, i, now.marks[i].ino == 0 ? "removed" : "replaced", failure);
        }
        /* Its first mark stays, for others read it: a file that is the same one has the same. */
        for (size_t i = 0; i < PLACE_FILES; i++) {
                if (place->marks[i].ino == 0)
                        place->marks[i] = now.marks[i];
                place->marks[i].size = now.marks[i].size;
                place->marks[i].changed = now.marks[i].changed;
        }
        return 0;
}

bool place_is_lost(const Place *place, const char *path)
{
        PlaceMark now;

        return look_at(path, 0, &now) == 0 && !is_same_file(&place->marks[0], &now);
}
