/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads lists of D-Bus addresses ("Server Addresses" in the specification): METHOD:KEY=VALUE,…;…
 * with %XX in values. Only unix sockets are of use here: others have no peer credentials, and
 * unixexec: would run a program that the environment names.
 */
#include "address.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METHOD "unix:"

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Undoes %XX; a NUL is no part of any path. */
static int unescape(const char *from, const char *end, char *to, size_t room, size_t *ret_n)
{
        size_t n = 0;

        while (from < end) {
                int c = (unsigned char)*from++;

                if (c == '%') {
                        int high = from < end ? hex_digit(from[0]) : -1;
                        int low = from + 1 < end ? hex_digit(from[1]) : -1;

                        if (high < 0 || low < 0)
                                return -EINVAL;
                        c = high << 4 | low;
                        from += 2;
                }
                if (c == 0)
                        return -EINVAL;
                if (n + 1 >= room)
                        return -ENAMETOOLONG;
                to[n++] = (char)c;
        }
        *ret_n = n;
        return n > 0 ? 0 : -EINVAL;
}

static int set_socket(Address *address, const char *value, const char *end, bool is_abstract)
{
        char *path = address->socket.sun_path + is_abstract;
        size_t n;
        int r;

        if (address->n_socket > 0)
                return -EPROTONOSUPPORT; /* path and abstract exclude each other */
        r = unescape(value, end, path, sizeof(address->socket.sun_path) - is_abstract, &n);
        if (r)
                return r;
        address->socket.sun_family = AF_UNIX;
        address->n_socket = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + is_abstract + n +
                                        !is_abstract);
        return 0;
}

static int read_pair(Address *address, const char *key, const char *end)
{
        const char *equals = memchr(key, '=', (size_t)(end - key));
        size_t n = equals ? (size_t)(equals - key) : 0;

        if (n == 0)
                return -EINVAL;
        if (n == 4 && memcmp(key, "path", n) == 0)
                return set_socket(address, equals + 1, end, false);
        if (n == 8 && memcmp(key, "abstract", n) == 0)
                return set_socket(address, equals + 1, end, true);
        return 0; /* guid, and what is yet to come */
}

static int read_address(const char *begin, const char *end, Address *address)
{
        const char *colon = memchr(begin, ':', (size_t)(end - begin));
        const char *pair = begin + strlen(METHOD);

        if (!colon || colon == begin)
                return -EINVAL;
        if ((size_t)(end - begin) < strlen(METHOD) || memcmp(begin, METHOD, strlen(METHOD)) != 0)
                return -EPROTONOSUPPORT;
        while (pair < end) {
                const char *comma = memchr(pair, ',', (size_t)(end - pair));
                int r = read_pair(address, pair, comma ? comma : end);

                if (r)
                        return r;
                pair = comma ? comma + 1 : end;
        }
        (void)snprintf(address->text, sizeof(address->text), "%.*s", (int)(end - begin), begin);
        return address->n_socket > 0 ? 0 : -EPROTONOSUPPORT;
}

int address_next(const char **list, Address *ret_address)
{
        Address address = { 0 };
        const char *begin = *list, *end;
        int r;

        while (*begin == ';')
                begin++;
        if (!*begin)
                return -ENOENT;
        end = begin + strcspn(begin, ";");
        *list = end;
        r = read_address(begin, end, &address);
        if (r)
                return r;
        *ret_address = address;
        return 0;
}

bool address_is_valid(const char *list)
{
        bool usable = false;
        Address address;
        int r;

        while ((r = address_next(&list, &address)) != -ENOENT) {
                if (r == -EINVAL)
                        return false;
                usable = usable || r == 0;
        }
        return usable;
}

char *address_of_path(const char *directory, const char *file)
{
        static const char head[] = METHOD "path=";
        char *text = malloc(strlen(head) + 3 * strlen(directory) + strlen(file) + 1), *to;

        if (!text)
                return NULL;
        to = stpcpy(text, head);
        for (const char *from = directory; *from; from++) {
                /* what need not be escaped */
                if (strchr("-_/.\\*", *from) || (*from >= '0' && *from <= '9') ||
                    (*from >= 'a' && *from <= 'z') || (*from >= 'A' && *from <= 'Z'))
                        *to++ = *from;
                else
                        to += sprintf(to, "%%%02x", (unsigned char)*from);
        }
        (void)stpcpy(to, file);
        return text;
}
