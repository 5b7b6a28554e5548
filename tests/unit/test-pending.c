/* SPDX-License-Identifier: Apache-2.0 */
/* Requests in flight: found by id, first by due time, and never taken for one another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/sources/pending.h"

/* Against the obvious way: a list that is searched. */
static void test_pending(void **state)
{
        CLEANUP(pending_freep) Pending *pending = NULL;
        static uint64_t ids[PENDING_MAX], dues[PENDING_MAX];
        size_t n = 0;
        uint32_t random = 12345;

        (void)state;
        assert_int_equal(pending_new(&pending), 0);
        for (unsigned step = 0; step < 40000; step++) {
                uint64_t least = UINT64_MAX;
                size_t i;

                random = random * 1664525 + 1013904223;
                if (n == 0 || (random >> 16) % 5 < 3) {
                        PendingEntry *entry = pending_add(pending, (random >> 8) % 1000);

                        if (n == PENDING_MAX) {
                                assert_null(entry);
                                /* Down to half, then up again. */
                                while (n > PENDING_MAX / 2) {
                                        n--;
                                        pending_remove(pending, pending_find(pending, ids[n]));
                                        assert_null(pending_find(pending, ids[n]));
                                }
                        } else {
                                ids[n] = entry->id;
                                dues[n++] = entry->due_usec;
                        }
                } else if ((random >> 16) % 5 == 3) {
                        i = (random >> 4) % n;
                        dues[i] += (random >> 20) % 100;
                        pending_postpone(pending, pending_find(pending, ids[i]), dues[i]);
                } else {
                        i = (random >> 4) % n;
                        pending_remove(pending, pending_find(pending, ids[i]));
                        assert_null(pending_find(pending, ids[i]));
                        ids[i] = ids[--n];
                        dues[i] = dues[n];
                }
                for (i = 0; i < n; i++)
                        least = MIN(least, dues[i]);
                assert_int_equal(pending_count(pending), n);
                if (n > 0)
                        assert_true(pending_first(pending)->due_usec == least);
                else
                        assert_null(pending_first(pending));
        }
        assert_null(pending_find(pending, 0));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pending),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
