/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates whose source is not configured (any more). Nothing can be done with their keys, so they are `unavailable`
 * and say why, which is no verdict of a source's: the catalog has it, and the store does not. A look-up takes it back when
 * the source is there again. Who takes a source away is not refused: the certificates may be what he wants to be rid of.
 */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/strings.h"
#include "broker/manage/room.h"

#define NAMED_MAX 3 /* certificates in a sentence */

static bool is_missing(const Manage *manage, const Certificate *certificate)
{
        return !sources_find(manage->sources, certificate->source);
}

/* They are told as they are counted: which one is the first of its source is all there is to remember. */
static bool is_first_of_source(const Manage *manage, const Certificate *certificate)
{
        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                const Certificate *other = entry->value;

                if (string_equal(other->source, certificate->source))
                        return other == certificate;
        }
        return false;
}

static void describe(const Manage *manage, const char *source, char *text, size_t n_text)
{
        char names[NAMED_MAX * (IDENTIFIER_LENGTH_MAX + 2) + 1] = "";
        size_t n = 0, length = 0;

        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                const Certificate *certificate = entry->value;

                if (!string_equal(certificate->source, source))
                        continue;
                if (n < NAMED_MAX)
                        length += (size_t)snprintf(names + length, sizeof(names) - length, "%s%s",
                                                   n ? ", " : "", certificate->id);
                n++;
        }
        snprintf(text, n_text, "it is not configured, and %zu certificate%s: %s%s", n,
                 n == 1 ? " uses it" : "s use it", names, n > NAMED_MAX ? " …" : "");
}

void manage_each_missing(const Manage *manage,
                         void (*tell)(void *userdata, const char *source, const char *text),
                         void *userdata)
{
        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                const Certificate *certificate = entry->value;
                char text[512];

                if (!is_missing(manage, certificate) || !is_first_of_source(manage, certificate))
                        continue;
                describe(manage, certificate->source, text, sizeof(text));
                tell(userdata, certificate->source, text);
        }
}

static int mark(Manage *manage, const Certificate *certificate)
{
        CLEANUP(certificate_freep) Certificate *next = NULL;
        CLEANUP(freep) char *text = NULL;
        int r;

        if (asprintf(&text, "its source '%s' is not configured: configure it again, or delete the "
                            "certificate",
                     certificate->source) < 0) {
                text = NULL;
                return -ENOMEM;
        }
        if (certificate->verdict == KEY_GONE && string_equal(certificate->last_error, text))
                return 0;
        r = certificate_copy(certificate, &next);
        if (r == 0)
                r = string_set(&next->last_error, text);
        if (r < 0)
                return r;
        next->verdict = KEY_GONE;
        return change_apply_certificate(manage, TAKE(next));
}

static void log_missing(void *userdata, const char *source, const char *text)
{
        (void)userdata;
        log_warning("source '%s': %s", source, text);
}

/* One takes the place of the other under its id, so the map stays as it is meanwhile. */
void missing_mark(Manage *manage)
{
        int r = 0;

        MAP_FOREACH (catalog_certificates(manage->catalog), entry) {
                if (r == 0 && is_missing(manage, entry->value))
                        r = mark(manage, entry->value);
        }
        if (r < 0)
                log_error("no memory to mark the certificates whose source is not configured");
        manage_each_missing(manage, log_missing, NULL);
}
