/* SPDX-License-Identifier: Apache-2.0 */
/* Characters that do something to a terminal rather than appear on it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macro.h"

/* Not C0, C1, invisible, or one that changes the direction of writing. */
static inline bool is_harmless(uint32_t code)
{
        static const struct {
                uint32_t first, last;
        } harmful[] = {
                { 0x00, 0x1f },     { 0x7f, 0x9f },     { 0x061c, 0x061c }, { 0x200b, 0x200f },
                { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb },
        };

        for (size_t i = 0; i < ELEMENTSOF(harmful); i++)
                if (code >= harmful[i].first && code <= harmful[i].last)
                        return false;
        return true;
}
