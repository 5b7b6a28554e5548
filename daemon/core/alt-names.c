/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Alternative names, compared. A certificate may have as many as fit into it, more than ten thousand: they are sorted,
 * so that it takes no time to speak of.
 */
#include "core/alt-names.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"

/* Of those that are missing, so many bytes are told: the names are for a message. */
#define TOLD_MAX 200

/* Which part of a name, behind its prefix, is a DNS name: [from, to). */
typedef void (*dns_part)(const char *name, size_t *ret_from, size_t *ret_to);

static void all_of_it(const char *name, size_t *ret_from, size_t *ret_to)
{
        *ret_from = 0;
        *ret_to = strlen(name);
}

/* What is before the @ may have case (RFC 5321, 2.4). */
static void behind_at(const char *name, size_t *ret_from, size_t *ret_to)
{
        const char *at = strrchr(name, '@');

        *ret_to = strlen(name);
        *ret_from = at ? (size_t)(at - name) : *ret_to;
}

/* Scheme and host (RFC 3986, 6.2.2.1), though not the user before the host. */
static void scheme_and_host(const char *name, size_t *ret_from, size_t *ret_to)
{
        const char *host = strstr(name, "://");
        size_t n_scheme = strcspn(name, ":"), n_host, n_user;

        *ret_from = 0;
        *ret_to = n_scheme;
        if (!host || host != name + n_scheme)
                return;
        host += strlen("://");
        n_host = strcspn(host, "/?#");
        n_user = strcspn(host, "@");
        if (n_user >= n_host)
                *ret_to = (size_t)(host - name) + n_host;
}

static const struct {
        const char *prefix;
        dns_part part;
} kinds[] = {
        { "DNS:", all_of_it },
        { "email:", behind_at },
        { "URI:", scheme_and_host },
};

static char *fold(const char *name)
{
        char *folded = strdup(name);

        for (size_t i = 0; folded && i < ELEMENTSOF(kinds); i++) {
                size_t n = strlen(kinds[i].prefix), from, to;

                if (strncmp(folded, kinds[i].prefix, n) != 0)
                        continue;
                kinds[i].part(folded + n, &from, &to);
                for (char *p = folded + n + from; p < folded + n + to; p++)
                        if (*p >= 'A' && *p <= 'Z')
                                *p = (char)(*p - 'A' + 'a');
        }
        return folded;
}

static int compare(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int fold_all(char *const *names, char ***ret_folded)
{
        size_t n = strv_length(names);
        CLEANUP(strv_freep) char **folded = calloc(n + 1, sizeof(*folded));

        for (size_t i = 0; folded && i < n; i++) {
                folded[i] = fold(names[i]);
                if (!folded[i])
                        return -ENOMEM;
        }
        if (!folded)
                return -ENOMEM;
        *ret_folded = TAKE(folded);
        return 0;
}

/* The text of those that are told, while they fit; how many do not is said at its end. */
typedef struct Told {
        char *text;
        size_t n_more;
} Told;

static int tell(Told *told, const char *name)
{
        if (told->n_more > 0 ||
            (told->text && strlen(told->text) + strlen(name) + strlen(", ") > TOLD_MAX)) {
                told->n_more++;
                return 0;
        }
        return string_format(&told->text, "%s%s%.*s%s", string_or_empty(told->text),
                             told->text ? ", " : "", TOLD_MAX, name,
                             strlen(name) > TOLD_MAX ? "…" : "");
}

static int tell_rest(Told *told)
{
        return told->n_more == 0 ? 0
                                 : string_format(&told->text, "%s and %zu more", told->text,
                                                 told->n_more);
}

static int tell_missing(char *const *before, char *const *folded, char *const *after, size_t n_after,
                        Told *told)
{
        for (size_t i = 0; folded[i]; i++) {
                bool is_there = bsearch(&folded[i], after, n_after, sizeof(*after), compare);
                int r = is_there ? 0 : tell(told, before[i]);

                if (r < 0)
                        return r;
        }
        return tell_rest(told);
}

int alt_names_missing(char *const *before, char *const *after, char **ret_text)
{
        CLEANUP(strv_freep) char **old = NULL, **new = NULL;
        size_t n_new = strv_length(after);
        Told told = { 0 };
        int r;

        r = fold_all(before, &old);
        if (r == 0)
                r = fold_all(after, &new);
        if (r < 0)
                return r;
        qsort(new, n_new, sizeof(*new), compare);
        r = tell_missing(before, old, new, n_new, &told);
        if (r < 0)
                free(told.text);
        else
                *ret_text = told.text;
        return r;
}
