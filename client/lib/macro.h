/* SPDX-License-Identifier: Apache-2.0 */
/* The few macros of the library: it may not use the daemon's. */
#pragma once

#include <stdint.h>

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

#define DEFINE_CLEANUP(Type, name)                                                                 \
        static inline void name##p(Type *place)                                                    \
        {                                                                                          \
                if (*place)                                                                        \
                        name(*place);                                                              \
        }

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC  UINT64_C(1000000)
