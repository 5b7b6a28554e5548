/* SPDX-License-Identifier: Apache-2.0 */
/*
 * $CERTBROKER_BUS, --bus, and what the broker says of its channel: lists of addresses; and names that a program has put
 * into an object's path. Holds: an address that is taken fits its socket and is one that can be connected to, a path
 * comes back as it was, and a path of an object is one whatever went in.
 */
#include "fuzz.h"

#include <errno.h>
#include <stddef.h>

#include <certbroker/certbroker.h>

#include "address.h"
#include "text.h"

static void check_address(const Address *address)
{
        const size_t n = address->n_socket - offsetof(struct sockaddr_un, sun_path);
        const char *path = address->socket.sun_path;

        FUZZ_CHECK(address->socket.sun_family == AF_UNIX);
        FUZZ_CHECK(n > 1 && n <= sizeof(address->socket.sun_path));
        FUZZ_CHECK(!memchr(path + 1, '\0', n - 1 - (*path != '\0')));
        FUZZ_CHECK(*path == '\0' || path[n - 1] == '\0');
        FUZZ_CHECK(strlen(address->text) < ADDRESS_TEXT_MAX);
}

static void try_list(const char *list)
{
        const bool valid = address_is_valid(list);
        unsigned n_usable = 0, n_bad = 0;
        Address address;
        int r;

        while ((r = address_next(&list, &address)) != -ENOENT) {
                n_usable += r == 0;
                n_bad += r == -EINVAL;
                if (r == 0)
                        check_address(&address);
        }
        FUZZ_CHECK(valid == (n_usable > 0 && n_bad == 0));
}

static void try_path(const char *directory)
{
        char *text = address_of_path(directory, "/channel");
        const char *list = text;
        Address address;

        FUZZ_CHECK(text);
        if (address_next(&list, &address) == 0) {
                FUZZ_CHECK(strncmp(address.socket.sun_path, directory, strlen(directory)) == 0);
                FUZZ_CHECK(strcmp(address.socket.sun_path + strlen(directory), "/channel") == 0);
                FUZZ_CHECK(address_next(&list, &address) == -ENOENT);
        }
        free(text);
}

static void try_name(const char *name)
{
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/";
        char *path = NULL;

        if (cb_object_path("certificate", name, &path) == 0) {
                FUZZ_CHECK(*path == '/' && strspn(path, allowed) == strlen(path));
                FUZZ_CHECK(!strstr(path, "//") && path[strlen(path) - 1] != '/');
        }
        free(path);
        (void)text_is_utf8(name, strlen(name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        char *text = fuzz_string(data, n);

        try_list(text);
        try_path(text);
        try_name(text);
        free(text);
        return 0;
}
