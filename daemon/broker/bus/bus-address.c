/* SPDX-License-Identifier: Apache-2.0 */
/* Where the message bus is: by the words of `--bus` and the configuration, and the environment's own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/bus/link.h"

static char *session_address(void)
{
        const char *address = getenv("DBUS_SESSION_BUS_ADDRESS");
        const char *runtime = getenv("XDG_RUNTIME_DIR");
        char *escaped, *built = NULL;

        if (address && *address != '\0')
                return strdup(address);
        if (!runtime || *runtime == '\0')
                return NULL;
        escaped = dbus_address_escape_value(runtime);
        if (escaped && asprintf(&built, "unix:path=%s/bus", escaped) < 0)
                built = NULL;
        dbus_free(escaped);
        return built;
}

static char *system_address(void)
{
        const char *address = getenv("DBUS_SYSTEM_BUS_ADDRESS");

        return strdup(address && *address != '\0' ? address
                                                  : "unix:path=/run/dbus/system_bus_socket");
}

char *bus_address(const char *bus)
{
        if (strcmp(bus, "system") == 0)
                return system_address();
        if (strcmp(bus, "session") == 0)
                return session_address();
        return strdup(bus);
}
