/* SPDX-License-Identifier: Apache-2.0 */
/* The few macros of the command line tool: it may not use the daemon's or the library's. */
#pragma once

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

/* Declares name_p() for CLEANUP, from a function that takes the value. */
#define DEFINE_CLEANUP(Type, function)                                                             \
        static inline void function##_p(Type *place)                                               \
        {                                                                                          \
                if (*place)                                                                        \
                        function(*place);                                                          \
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
