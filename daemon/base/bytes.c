/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owned byte strings and lists of them. Invariant: data is NULL exactly where n is 0, items likewise;
 * what fails leaves its target as it was. Not for secrets: those live in a Secret.
 */
#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int bytes_set(Bytes *bytes, const void *data, size_t n)
{
        uint8_t *copy = NULL;

        if (n > 0) {
                copy = malloc(n);
                if (!copy)
                        return -ENOMEM;
                memcpy(copy, data, n);
        }
        free(bytes->data); /* after the copy: data may lie in it */
        bytes->data = copy;
        bytes->n = n;
        return 0;
}

void bytes_deinit(Bytes *bytes)
{
        free(bytes->data);
        *bytes = (Bytes){ 0 };
}

bool bytes_equal(const Bytes *a, const Bytes *b)
{
        return a->n == b->n && (a->n == 0 || memcmp(a->data, b->data, a->n) == 0);
}

int bytes_list_append(BytesList *list, const void *data, size_t n)
{
        Bytes item = { 0 };
        Bytes *items;
        int r;

        r = bytes_set(&item, data, n);
        if (r < 0)
                return r;

        items = reallocarray(list->items, list->n + 1, sizeof(*items));
        if (!items) {
                bytes_deinit(&item);
                return -ENOMEM;
        }
        list->items = items;
        list->items[list->n++] = item;
        return 0;
}

int bytes_list_copy(const BytesList *list, BytesList *ret_copy)
{
        CLEANUP(bytes_list_deinit) BytesList copy = { 0 };
        int r;

        for (size_t i = 0; i < list->n; i++) {
                r = bytes_list_append(&copy, list->items[i].data, list->items[i].n);
                if (r < 0)
                        return r;
        }
        *ret_copy = copy;
        copy = (BytesList){ 0 };
        return 0;
}

void bytes_list_deinit(BytesList *list)
{
        for (size_t i = 0; i < list->n; i++)
                bytes_deinit(&list->items[i]);
        free(list->items);
        *list = (BytesList){ 0 };
}

bool bytes_list_equal(const BytesList *a, const BytesList *b)
{
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!bytes_equal(&a->items[i], &b->items[i]))
                        return false;
        return true;
}
