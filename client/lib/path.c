/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of the broker's objects. The last label is escaped as sd_bus_path_encode(3) does: letters
 * and digits stand for themselves, except a digit that comes first; every other byte is `_` and two
 * hex digits. What comes out is a valid path whatever went in.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <certbroker/certbroker.h>

#define ROOT           "/org/certbroker1/"
#define NAME_MAX_BYTES 255

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static char *append_label(char *to, const char *name)
{
        static const char digits[] = "0123456789abcdef";

        for (const char *from = name; *from; from++) {
                unsigned char byte = (unsigned char)*from;

                if (is_letter(*from) || (is_digit(*from) && from > name)) {
                        *to++ = *from;
                } else {
                        *to++ = '_';
                        *to++ = digits[byte >> 4];
                        *to++ = digits[byte & 15];
                }
        }
        *to = '\0';
        return to;
}

int cb_object_path(const char *kind, const char *name, char **ret_path)
{
        size_t n_kind, n_name;
        char *path, *end;

        if (!kind || !name || !ret_path)
                return -EINVAL;
        n_kind = strlen(kind);
        n_name = strlen(name);
        if (n_kind == 0 || n_name == 0 || n_kind > NAME_MAX_BYTES || n_name > NAME_MAX_BYTES)
                return CB_INVALID_ARGUMENT;

        path = malloc(strlen(ROOT) + 3 * n_kind + 1 + 3 * n_name + 1);
        if (!path)
                return -ENOMEM;
        end = append_label(stpcpy(path, ROOT), kind);
        *end++ = '/';
        (void)append_label(end, name);
        *ret_path = path;
        return 0;
}
