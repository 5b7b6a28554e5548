/* SPDX-License-Identifier: Apache-2.0 */
/* The few macros of library, provider and command line tool, which may not use the daemon's. */
#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(function)    __attribute__((__cleanup__(function)))
#define PRINTF(format, args) __attribute__((__format__(__printf__, format, args)))
#define ELEMENTSOF(array)    (sizeof(array) / sizeof((array)[0]))

#define TAKE(pointer)                                                                              \
        ({                                                                                         \
                __typeof__(pointer) *_place = &(pointer);                                          \
                __typeof__(pointer) _value = *_place;                                              \
                *_place = NULL;                                                                    \
                _value;                                                                            \
        })

/* Defines NAMEp() for CLEANUP(), from a function that frees what is not NULL. */
#define DEFINE_CLEANUP(Type, name)                                                                 \
        static inline void name##p(Type *place)                                                    \
        {                                                                                          \
                if (*place)                                                                        \
                        name(*place);                                                              \
        }

static inline void free_text(char **text)
{
        free(*text);
}

static inline void close_fd(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd);
}

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC  UINT64_C(1000000)
