/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translates D-Bus errors into outcomes, once, by tables: the broker's own by CB_STATUS_MAP, the
 * bus's by the rows below. Whatever has no row is CB_FAILED with the error's name in its text, so
 * that nothing is lost. Must not look at an error's text to decide anything.
 */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"
#include "reader.h"

#define DBUS_ERROR "org.freedesktop.DBus.Error."

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
        { DBUS_ERROR "ServiceUnknown", CB_UNREACHABLE },
        { DBUS_ERROR "NameHasNoOwner", CB_UNREACHABLE },
        { DBUS_ERROR "NoReply", CB_UNREACHABLE },
        { DBUS_ERROR "Disconnected", CB_UNREACHABLE },
        { DBUS_ERROR "NoServer", CB_UNREACHABLE },
        { DBUS_ERROR "Timeout", CB_TIMED_OUT },
        { DBUS_ERROR "TimedOut", CB_TIMED_OUT },
        { DBUS_ERROR "AccessDenied", CB_ACCESS_DENIED },
        { DBUS_ERROR "AuthFailed", CB_ACCESS_DENIED },
        { DBUS_ERROR "LimitsExceeded", CB_LIMIT_EXCEEDED },
        { DBUS_ERROR "InvalidArgs", CB_INVALID_ARGUMENT },
        { DBUS_ERROR "UnknownObject", CB_NOT_FOUND },
        { DBUS_ERROR "NotSupported", CB_NOT_SUPPORTED },
};

/* Where vsnprintf had to cut it may have cut a character: step back to where one begins. */
static void trim_to_character(char *text)
{
        size_t n = strlen(text);

        while (n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0x80)
                n--;
        if (n > 0 && ((unsigned char)text[n - 1] & 0x80) != 0)
                n--;
        text[n] = '\0';
}

int error_set(cb_error *error, int status, const char *format, ...)
{
        va_list args;
        int n;

        if (!error)
                return status;

        error->status = status;
        va_start(args, format);
        n = vsnprintf(error->text, sizeof(error->text), format, args);
        va_end(args);
        if (n < 0)
                error->text[0] = '\0';
        else if ((size_t)n >= sizeof(error->text))
                trim_to_character(error->text);
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

bool error_is_nobody(const char *name)
{
        return strcmp(name, DBUS_ERROR "ServiceUnknown") == 0 ||
               strcmp(name, DBUS_ERROR "NameHasNoOwner") == 0;
}

bool error_is_refusal(const char *name)
{
        return strcmp(name, DBUS_ERROR "AccessDenied") == 0;
}

/* The first argument, if it is text. It is not copied: it is told where memory has run out, too. */
static const char *text_of(const Incoming *message)
{
        Reader reader = { .data = message->data,
                          .at = message->body_at,
                          .end = message->n,
                          .swapped = message->swapped };
        const char *text;

        if (message->signature[0] != 's' || reader_string(&reader, &text) != 0)
                return "";
        return text;
}

int error_from_message(cb_error *error, const Incoming *message)
{
        const char *name = *message->error_name ? message->error_name : DBUS_ERROR "Failed";
        const char *text = text_of(message);
        bool known;
        int status;

        status = status_from_name(name, &known);
        if (!*text)
                (void)error_set(error, status, "certbrokerd answered %s.", name);
        else
                (void)error_set(error, status, known ? "%s" : "%s (%s)", text, name);
        if (error) /* gateways write it into their logs as it is */
                text_make_harmless(error->text);
        return status;
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
