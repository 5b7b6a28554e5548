/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of PINs. Invariant: what it has taken is on the disk, file and folder, before it says so; and the file is
 * whole at each moment.
 *
 * A line "certbroker-pin-refused 1 SALT", then a line a PIN, in hex: "DIGEST", refused; "DIGEST trying N BROKER";
 * "DIGEST ended"; "DIGEST unclear N". There is no file where there is nothing to say.
 */
#include "source/pkcs11/pin-record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/hex.h"
#include "base/strings.h"
#include "base/write.h"

#define RECORD_TAG "certbroker-pin-refused 1 "
#define RECORD_MAX 8192

int pin_record_init(PinRecord *record, const char *source, const char *state_directory)
{
        if (!state_directory)
                return 0;
        if (asprintf(&record->path, "%s/source-%s/pin-refused", state_directory, source) < 0) {
                record->path = NULL;
                return -ENOMEM;
        }
        return 0;
}

/* Reading */

/* Words that are not known were written by a later version, and are taken for the worst. */
static void parse_entry(PinRecord *record, const char *line)
{
        PinEntry *entry = &record->entries[record->n];
        char hex[2 * PIN_DIGEST_LENGTH + 1];
        const char *word = line + MIN(strlen(line), 2 * (size_t)PIN_DIGEST_LENGTH);

        snprintf(hex, sizeof(hex), "%s", line);
        *entry = (PinEntry){ .fate = PIN_REFUSED };
        if (hex_decode(hex, entry->digest, PIN_DIGEST_LENGTH) < 0)
                return;
        if (sscanf(word, " trying %u %47s", &entry->n_tries, entry->by) == 2)
                entry->fate = PIN_TRYING;
        else if (strcmp(word, " ended") == 0)
                entry->fate = PIN_ENDED;
        else if (sscanf(word, " unclear %u", &entry->n_tries) == 1)
                entry->fate = PIN_UNCLEAR;
        record->n++;
}

static void parse(PinRecord *record, char *text)
{
        uint8_t salt[PIN_DIGEST_SALT_LENGTH];
        char *line, *rest = NULL;

        line = strtok_r(text, "\n", &rest);
        if (!line || strncmp(line, RECORD_TAG, strlen(RECORD_TAG)) != 0 ||
            hex_decode(line + strlen(RECORD_TAG), salt, sizeof(salt)) < 0)
                return;
        memcpy(record->salt, salt, sizeof(salt));
        record->has_salt = true;
        while ((line = strtok_r(NULL, "\n", &rest)) && record->n < PIN_ENTRIES_MAX)
                parse_entry(record, line);
}

int pin_record_load(PinRecord *record)
{
        char text[RECORD_MAX + 1];
        CLEANUP(closep) int fd = -1;
        ssize_t n;

        if (!record->path)
                return 0;
        fd = open(record->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 && errno != ENOENT)
                return -errno;
        record->n = 0;
        if (fd < 0)
                return 0;
        n = read(fd, text, RECORD_MAX);
        if (n < 0)
                return -errno;
        text[n] = '\0';
        parse(record, text);
        return 0;
}

/* Writing */

static int write_file(const char *path, const char *text)
{
        CLEANUP(freep) char *temporary = NULL;
        CLEANUP(closep) int fd = -1;
        int r;

        if (asprintf(&temporary, "%s.new", path) < 0) {
                temporary = NULL;
                return -ENOMEM;
        }
        (void)unlink(temporary);
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return -errno;
        r = write_all(fd, text, strlen(text), NULL);
        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        if (r == 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0)
                (void)unlink(temporary);
        return r < 0 ? r : directory_sync_of(path);
}

static int format_entry(const PinEntry *entry, char *text, size_t n_max)
{
        char hex[2 * PIN_DIGEST_LENGTH + 1];

        hex_encode_lower(entry->digest, PIN_DIGEST_LENGTH, hex);
        switch (entry->fate) {
        case PIN_TRYING:
                return snprintf(text, n_max, "%s trying %u %s\n", hex, entry->n_tries, entry->by);
        case PIN_ENDED:
                return snprintf(text, n_max, "%s ended\n", hex);
        case PIN_UNCLEAR:
                return snprintf(text, n_max, "%s unclear %u\n", hex, entry->n_tries);
        case PIN_NEW:
        case PIN_REFUSED:
                break;
        }
        return snprintf(text, n_max, "%s\n", hex);
}

static int save(const PinRecord *record)
{
        char text[RECORD_MAX];
        char hex[2 * PIN_DIGEST_SALT_LENGTH + 1];
        size_t n;

        if (!record->path)
                return 0;
        if (record->n == 0 && unlink(record->path) == 0)
                return directory_sync_of(record->path);
        if (record->n == 0 && errno == ENOENT)
                return 0;
        /* A file that cannot be removed may take another in its place, which says as little. */
        hex_encode_lower(record->salt, sizeof(record->salt), hex);
        n = (size_t)snprintf(text, sizeof(text), "%s%s\n", RECORD_TAG, hex);
        for (size_t i = 0; i < record->n; i++)
                n += (size_t)format_entry(&record->entries[i], text + n, sizeof(text) - n);
        return write_file(record->path, text);
}

/* Entries */

int pin_record_digest(PinRecord *record, Secret *pin, const Bytes *token,
                      uint8_t ret_digest[PIN_DIGEST_LENGTH])
{
        if (!record->has_salt &&
            getrandom(record->salt, sizeof(record->salt), 0) != sizeof(record->salt))
                return -EIO;
        record->has_salt = true;
        return pin_digest(pin, record->salt, token, ret_digest);
}

static size_t place_of(const PinRecord *record, const uint8_t digest[PIN_DIGEST_LENGTH])
{
        size_t i = 0;

        while (i < record->n && !pin_digest_equal(record->entries[i].digest, digest))
                i++;
        return i;
}

const PinEntry *pin_record_find(const PinRecord *record, const uint8_t digest[PIN_DIGEST_LENGTH])
{
        size_t i = place_of(record, digest);

        return i < record->n ? &record->entries[i] : NULL;
}

static void take_out(PinRecord *record, size_t place)
{
        record->n--;
        memmove(&record->entries[place], &record->entries[place + 1],
                (record->n - place) * sizeof(record->entries[0]));
}

int pin_record_put(PinRecord *record, const PinEntry *entry)
{
        size_t place = place_of(record, entry->digest);

        if (place < record->n)
                take_out(record, place);
        if (record->n == PIN_ENTRIES_MAX)
                take_out(record, 0); /* the oldest */
        if (entry->fate != PIN_NEW)
                record->entries[record->n++] = *entry;
        return save(record);
}

int pin_record_clear(PinRecord *record)
{
        record->n = 0;
        return save(record);
}
