/* SPDX-License-Identifier: Apache-2.0 */
/* The few macros that every room uses: cleanup, ownership, sizes, asserts that stay. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CLEANUP(function)    __attribute__((__cleanup__(function)))
#define PRINTF(format, args) __attribute__((__format__(__printf__, format, args)))
#define MUST_CHECK           __attribute__((__warn_unused_result__))
#define ELEMENTSOF(array)    (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b)            ((a) < (b) ? (a) : (b))
#define MAX(a, b)            ((a) > (b) ? (a) : (b))

/* Hands the value out and leaves NULL behind: `return TAKE(p)` ends the CLEANUP of p. */
#define TAKE(pointer)                                                                              \
        ({                                                                                         \
                __typeof__(pointer) *_place = &(pointer);                                          \
                __typeof__(pointer) _value = *_place;                                              \
                *_place = NULL;                                                                    \
                _value;                                                                            \
        })

/* Declares name_freep() for CLEANUP, from a name_free() that takes NULL and returns NULL. */
#define DEFINE_CLEANUP(Type, name)                                                                 \
        static inline void name##p(Type **place)                                                   \
        {                                                                                          \
                if (*place)                                                                        \
                        name(*place);                                                              \
        }

/* A programming error: always compiled in. Nothing that comes from outside may reach one. */
#define assert_always(condition)                                                                   \
        ((condition) ? (void)0 : assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void assert_failed(const char *condition, const char *file, int line);

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC  UINT64_C(1000000)

void freep(void *place); /* CLEANUP(freep) char *s */
void closep(int *fd);    /* CLEANUP(closep) int fd = -1 */
int close_fd(int fd);    /* closes what is not -1, keeps errno, returns -1 */
