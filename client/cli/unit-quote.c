/* SPDX-License-Identifier: Apache-2.0 */
/* Words for a command line in a unit's file, as systemd.syntax(7) and systemd.service(5) have them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

int unit_quote(char **command, const char *argument)
{
        const char *before = *command ? *command : "";
        size_t n = strlen(before);
        char *text = malloc(n + 4 * strlen(argument) + 4), *p;

        if (!text)
                return -ENOMEM;
        memcpy(text, before, n);
        p = text + n;
        if (n > 0)
                *p++ = ' ';
        *p++ = '"';
        for (; *argument; argument++) {
                if ((unsigned char)*argument < ' ' || *argument == 0x7f) {
                        p += sprintf(p, "\\x%02x", (unsigned)*argument);
                        continue; /* a line of the unit is to stay one: a path may be another's */
                }
                if (strchr("\"\\", *argument))
                        *p++ = '\\';
                else if (strchr("%$", *argument))
                        *p++ = *argument;
                *p++ = *argument;
        }
        *p++ = '"';
        *p = '\0';
        free(*command);
        *command = text;
        return 0;
}
