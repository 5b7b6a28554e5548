/* SPDX-License-Identifier: Apache-2.0 */
/* Cleanup at the end of a scope, and moving out of it. */
#pragma once

#include <stdlib.h>

#define CLEANUP(function) __attribute__((__cleanup__(function)))

#define TAKE(pointer)                                                                              \
        ({                                                                                         \
                __typeof__(pointer) taken_ = (pointer);                                            \
                (pointer) = NULL;                                                                  \
                taken_;                                                                            \
        })

#define ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* Defines NAMEp() for CLEANUP() from a function that frees a TYPE *. */
#define CLEANUP_FUNCTION(type, function)                                                           \
        static inline void function##p(type **pointer)                                             \
        {                                                                                          \
                if (*pointer)                                                                      \
                        function(*pointer);                                                        \
        }                                                                                          \
        struct cleanup_function_needs_a_semicolon
