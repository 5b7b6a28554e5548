/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of authorities. Invariant: what is handed out is what the file had, whole, when it was last
 * found to have changed, and was judged as it is in the configuration (base/trusted.h). It does not look into it.
 */
#include "source/azure-key-vault/ca-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/strings.h"
#include "base/trusted.h"

#define TEXT_MAX (8 * 1024 * 1024)

int ca_file_init(CaFile *file, const char *path)
{
        *file = (CaFile){ 0 };
        pthread_mutex_init(&file->lock, NULL);
        return string_set(&file->path, path);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
               a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
               a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int read_whole(int fd, size_t n_max, CaText **ret_text)
{
        CLEANUP(freep) CaText *text = malloc(sizeof(*text) + n_max);

        if (!text)
                return -ENOMEM;
        text->n_refs = 1;
        text->n = 0;
        while (text->n < n_max) {
                ssize_t n = read(fd, text->data + text->n, n_max - text->n);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                text->n += (size_t)n;
        }
        *ret_text = TAKE(text);
        return 0;
}

static int read_text(const char *path, struct stat *ret_stat, CaText **ret_text, Failure *failure)
{
        int fd, r = trusted_open(path, TRUSTED_FILE, O_RDONLY, NULL, &fd, failure);

        if (r != 0)
                return r;
        if (fstat(fd, ret_stat) < 0)
                r = -errno;
        else if (ret_stat->st_size > TEXT_MAX)
                r = -EFBIG;
        else
                r = read_whole(fd, (size_t)ret_stat->st_size + 1, ret_text);
        close(fd);
        return r;
}

static void put_locked(CaText *text)
{
        if (text && --text->n_refs == 0)
                free(text);
}

/* A file that is written while it is read has another time afterwards, and is read again by the next. */
static int look_locked(CaFile *file, Failure *failure)
{
        Failure why = { 0 };
        struct stat now;
        int r;

        if (file->text && stat(file->path, &now) == 0 && is_same(&now, &file->stat))
                return 0;
        put_locked(TAKE(file->text));
        r = read_text(file->path, &file->stat, &file->text, &why);
        if (r == -ENOMEM)
                return r;
        if (r != 0)
                return fail(failure, CB_SOURCE_UNAVAILABLE, "ca-file %s cannot be used: %s", file->path,
                            r > 0 ? why.text : strerror(-r));
        return 0;
}

int ca_file_take(CaFile *file, CaText **ret_text, Failure *failure)
{
        int r;

        if (!file->path)
                return 0;
        pthread_mutex_lock(&file->lock);
        r = look_locked(file, failure);
        if (r == 0) {
                file->text->n_refs++;
                *ret_text = file->text;
        }
        pthread_mutex_unlock(&file->lock);
        return r;
}

void ca_file_give_back(CaFile *file, CaText *text)
{
        pthread_mutex_lock(&file->lock);
        put_locked(text);
        pthread_mutex_unlock(&file->lock);
}
