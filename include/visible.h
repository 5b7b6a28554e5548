/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which characters may be shown as they are: in a log line, an audit record, a message, on a terminal. One table for the
 * daemon and its clients, so that what one escapes the other does not let through. Not installed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Whether a character appears, and does nothing but appear. Not so: what drives a terminal (C0, C1), ends a line, turns
 * the direction of writing (Unicode TR 36), or leaves no trace, so that two texts look the same that are not
 * (Default_Ignorable_Code_Point of DerivedCoreProperties.txt); and noncharacters, which older libdbus refuses.
 */
static inline bool is_visible(uint32_t code)
{
        static const struct {
                uint32_t first, last;
        } hidden[] = {
                { 0x00, 0x1f },       { 0x7f, 0x9f },       { 0xad, 0xad },       { 0x034f, 0x034f },
                { 0x061c, 0x061c },   { 0x115f, 0x1160 },   { 0x17b4, 0x17b5 },   { 0x180b, 0x180f },
                { 0x200b, 0x200f },   { 0x2028, 0x202e },   { 0x2060, 0x206f },   { 0x3164, 0x3164 },
                { 0xfdd0, 0xfdef },   { 0xfe00, 0xfe0f },   { 0xfeff, 0xfeff },   { 0xffa0, 0xffa0 },
                { 0xfff0, 0xfffb },   { 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
        };

        for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]) && hidden[i].first <= code; i++)
                if (code <= hidden[i].last)
                        return false;
        return (code & 0xfffe) != 0xfffe;
}
