/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects that fail. Invariants: one is put off after it has failed some times in a row over some time, so
 * that a hiccup while many use it is none; or when the vault says so; then one request at a time goes to it, after
 * a back-off with jitter. One answer, whatever it says, ends that. Only so many are remembered.
 */
#include "source/azure-key-vault/objects.h"

#include <stdlib.h>

#define FAILURES_MAX 3
#define SPAN_USEC    (200 * USEC_PER_MSEC) /* less than it takes to try twice more */
#define TRY_USEC     (10 * USEC_PER_SEC)   /* a try that gives no answer is given up after it */
#define OBJECTS_MAX  512

typedef struct Object {
        unsigned n_failures; /* in a row */
        uint64_t since_usec, until_usec;
        Backoff backoff;
        bool put_off, trying;
        Failure failure;
} Object;

void objects_init(Objects *objects)
{
        map_init(&objects->entries);
}

void objects_clear(Objects *objects)
{
        MAP_FOREACH (&objects->entries, entry)
                free(entry->value);
        map_deinit(&objects->entries);
        map_init(&objects->entries);
}

int objects_enter(Objects *objects, const char *key, uint64_t now_usec, uint64_t *ret_wait_usec,
                  Failure *failure)
{
        Object *object = map_find(&objects->entries, key);

        *ret_wait_usec = 0;
        if (!object || !object->put_off)
                return 0;
        if (object->until_usec <= now_usec) {
                object->until_usec = now_usec + TRY_USEC;
                object->trying = true;
                return 0;
        }
        *ret_wait_usec = object->until_usec - now_usec;
        return fail(failure, object->failure.status, "%.440s; it is tried again in %llu s",
                    object->failure.text,
                    (unsigned long long)(*ret_wait_usec / USEC_PER_SEC + 1));
}

bool objects_put_off(const Objects *objects, const char *key)
{
        const Object *object = map_find(&objects->entries, key);

        return object && object->put_off;
}

static Object *find_or_make(Objects *objects, const char *key, uint64_t now_usec)
{
        Object *object = map_find(&objects->entries, key);

        if (object)
                return object;
        if (objects->entries.n >= OBJECTS_MAX)
                objects_clear(objects);
        object = calloc(1, sizeof(*object));
        if (!object)
                return NULL;
        object->since_usec = now_usec;
        object->backoff =
                (Backoff){ .first_usec = 500 * USEC_PER_MSEC, .max_usec = 4 * USEC_PER_SEC };
        if (map_put(&objects->entries, key, object) == 0)
                return object;
        free(object);
        return NULL;
}

bool objects_note(Objects *objects, const char *key, const ObjectNote *note, bool *ret_first)
{
        bool asked = note->retry_after_usec != UINT64_MAX && note->retry_after_usec > 0;
        uint64_t wait_usec;
        Object *object;

        if (!note->failed) {
                free(map_remove(&objects->entries, key));
                return false;
        }
        object = find_or_make(objects, key, note->now_usec);
        if (!object)
                return false;
        if (object->put_off && !object->trying)
                return false; /* one of many that were on their way */
        object->trying = false;
        object->n_failures++;
        if (!asked && !object->put_off &&
            (object->n_failures < FAILURES_MAX || note->now_usec < object->since_usec + SPAN_USEC))
                return false;
        *ret_first = !object->put_off;
        object->put_off = true;
        object->failure = *note->failure;
        wait_usec = backoff_next_usec(&object->backoff, note->random);
        object->until_usec = note->now_usec + (asked ? MAX(wait_usec, note->retry_after_usec)
                                                     : wait_usec);
        return true;
}
