/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translates D-Bus errors into outcomes, once, by tables: the broker's own by CB_STATUS_MAP, the
 * bus's by the rows below. Whatever has no row is CB_FAILED with the error's name in its text, so that
 * nothing is lost. Must not look at an error's text to decide anything.
 */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
        const char *name, *word;
        int status;
} statuses[] = {
#define ROW(value, name, word, exit_status) { CB_ERROR_PREFIX name, word, value },
        CB_STATUS_MAP(ROW)
#undef ROW
};

static const struct {
        const char *name;
        int status;
} bus_errors[] = {
        { DBUS_ERROR_SERVICE_UNKNOWN, CB_UNREACHABLE },
        { DBUS_ERROR_NAME_HAS_NO_OWNER, CB_UNREACHABLE },
        { DBUS_ERROR_NO_REPLY, CB_UNREACHABLE },
        { DBUS_ERROR_DISCONNECTED, CB_UNREACHABLE },
        { DBUS_ERROR_NO_SERVER, CB_UNREACHABLE },
        { DBUS_ERROR_TIMEOUT, CB_TIMED_OUT },
        { DBUS_ERROR_TIMED_OUT, CB_TIMED_OUT },
        { DBUS_ERROR_ACCESS_DENIED, CB_ACCESS_DENIED },
        { DBUS_ERROR_AUTH_FAILED, CB_ACCESS_DENIED },
        { DBUS_ERROR_LIMITS_EXCEEDED, CB_LIMIT_EXCEEDED },
        { DBUS_ERROR_INVALID_ARGS, CB_INVALID_ARGUMENT },
        { DBUS_ERROR_UNKNOWN_OBJECT, CB_NOT_FOUND },
        { DBUS_ERROR_NOT_SUPPORTED, CB_NOT_SUPPORTED },
};

/* What snprintf cut may end within a character: step back to where one begins. */
static void trim_to_character(char *text, size_t room)
{
        size_t n = strlen(text);

        if (n + 1 < room)
                return;
        while (n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0x80)
                n--;
        if (n > 0 && ((unsigned char)text[n - 1] & 0x80) != 0)
                n--;
        text[n] = '\0';
}

int error_set(cb_error *error, int status, const char *format, ...)
{
        va_list args;

        if (!error)
                return status;

        error->status = status;
        va_start(args, format);
        (void)vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
        trim_to_character(error->text, sizeof(error->text));
        return status;
}

int error_not_running(cb_error *error)
{
        return error_set(error, CB_UNREACHABLE,
                         "certbrokerd is not running: nobody owns org.certbroker1 on the bus. "
                         "Start it, or give another bus.");
}

static int status_from_name(const char *name, bool *ret_known)
{
        *ret_known = true;
        for (size_t i = 0; i < ELEMENTSOF(statuses); i++)
                if (strcmp(statuses[i].name, name) == 0)
                        return statuses[i].status;
        for (size_t i = 0; i < ELEMENTSOF(bus_errors); i++)
                if (strcmp(bus_errors[i].name, name) == 0)
                        return bus_errors[i].status;
        *ret_known = false;
        return CB_FAILED;
}

int error_from_message(cb_error *error, DBusMessage *message)
{
        const char *name = dbus_message_get_error_name(message);
        const char *text = NULL;
        bool known;
        int status;

        if (!name)
                name = DBUS_ERROR_FAILED;
        if (!dbus_message_get_args(message, NULL, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID))
                text = NULL;

        status = status_from_name(name, &known);
        if (!text || !*text)
                return error_set(error, status, "The broker answered %s.", name);
        if (!known)
                return error_set(error, status, "%s (%s)", text, name);
        return error_set(error, status, "%s", text);
}

const char *cb_status_word(int status)
{
        if (status == 0)
                return "ok";
        for (size_t i = 0; i < ELEMENTSOF(statuses); i++)
                if (statuses[i].status == status)
                        return statuses[i].word;
        return "failed";
}
