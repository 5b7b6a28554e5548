/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PINs. Invariant: a PIN that the token has refused is not tried again by itself, not even by the next
 * process: its salted digest is on the disk before anything else is done. Digests are computed only
 * where something was refused before, so that an ordinary start costs nothing.
 *
 * The record: a line "certbroker-pin-refused 1 SALT", then a digest a line, in hex.
 */
#include "source/pkcs11/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/strings.h"

#define PIN_MAX    1024
#define RECORD_TAG "certbroker-pin-refused 1 "
#define RECORD_MAX 4096

int pins_init(Pins *pins, const char *source, const char *file, const char *state_directory)
{
        int r;

        pthread_rwlock_init(&pins->lock, NULL);
        r = string_set(&pins->file, file);
        if (r < 0 || !state_directory)
                return r;
        if (asprintf(&pins->record, "%s/source-%s/pin-refused", state_directory, source) < 0) {
                pins->record = NULL;
                return -ENOMEM;
        }
        return 0;
}

int pins_read_file(const Pins *pins, Secret **ret_pin, Failure *failure)
{
        CLEANUP(secret_freep) Secret *pin = NULL;
        Failure why = { 0 };
        int r;

        if (!pins->file)
                return fail(
                        failure, CB_SOURCE_LOCKED,
                        "the token wants a PIN and no pin-file is configured; unlock the source, "
                        "or configure one");
        r = secret_read_file(pins->file, TRUSTED_SECRET, PIN_MAX, &pin, &why);
        if (r > 0)
                return fail(failure, CB_SOURCE_LOCKED, "the PIN file is not used: %s", why.text);
        if (r < 0)
                return fail(failure, CB_SOURCE_LOCKED, "the PIN file '%s' cannot be read: %s",
                            pins->file, strerror(-r));
        secret_chomp(pin);
        if (secret_length(pin) == 0)
                return fail(failure, CB_SOURCE_LOCKED, "the PIN file '%s' is empty", pins->file);
        *ret_pin = TAKE(pin);
        return 0;
}

/* The record */

static void parse_record(Pins *pins, char *text)
{
        char *line, *rest = NULL;

        line = strtok_r(text, "\n", &rest);
        if (!line || strncmp(line, RECORD_TAG, strlen(RECORD_TAG)) != 0 ||
            hex_decode(line + strlen(RECORD_TAG), pins->salt, sizeof(pins->salt)) < 0)
                return;
        while ((line = strtok_r(NULL, "\n", &rest)) && pins->n_refused < PINS_REFUSED_MAX)
                if (hex_decode(line, pins->refused[pins->n_refused], PIN_DIGEST_LENGTH) == 0)
                        pins->n_refused++;
}

static void load_record(Pins *pins)
{
        char text[RECORD_MAX + 1];
        CLEANUP(closep) int fd = -1;
        ssize_t n;

        if (pins->loaded)
                return;
        pins->loaded = true;
        if (!pins->record)
                return;
        fd = open(pins->record, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return;
        n = read(fd, text, RECORD_MAX);
        if (n <= 0)
                return;
        text[n] = '\0';
        parse_record(pins, text);
}

static int write_all(int fd, const char *text, size_t n)
{
        while (n > 0) {
                ssize_t n_written = write(fd, text, n);

                if (n_written < 0 && errno == EINTR)
                        continue;
                if (n_written <= 0)
                        return n_written < 0 ? -errno : -EIO;
                text += n_written;
                n -= (size_t)n_written;
        }
        return 0;
}

static int sync_directory_of(const char *path)
{
        CLEANUP(freep) char *directory = strdup(path);
        CLEANUP(closep) int fd = -1;
        char *slash;

        if (!directory)
                return -ENOMEM;
        slash = strrchr(directory, '/');
        if (!slash)
                return -EINVAL;
        *slash = '\0';
        fd = open(*directory ? directory : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

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
        r = write_all(fd, text, strlen(text));
        if (r == 0 && fsync(fd) < 0)
                r = -errno;
        if (r == 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0)
                (void)unlink(temporary);
        return r < 0 ? r : sync_directory_of(path);
}

static int save_record(const Pins *pins)
{
        char text[RECORD_MAX];
        char hex[2 * PIN_DIGEST_LENGTH + 1];
        size_t n;

        if (!pins->record)
                return -ENOENT;
        hex_encode_lower(pins->salt, sizeof(pins->salt), hex);
        n = (size_t)snprintf(text, sizeof(text), "%s%s\n", RECORD_TAG, hex);
        for (size_t i = 0; i < pins->n_refused; i++) {
                hex_encode_lower(pins->refused[i], PIN_DIGEST_LENGTH, hex);
                n += (size_t)snprintf(text + n, sizeof(text) - n, "%s\n", hex);
        }
        return write_file(pins->record, text);
}

static bool find_refused(const Pins *pins, const uint8_t digest[PIN_DIGEST_LENGTH])
{
        for (size_t i = 0; i < pins->n_refused; i++)
                if (pin_digest_equal(pins->refused[i], digest))
                        return true;
        return false;
}

/* Where the digest cannot be had, the answer is the careful one. */
bool pins_was_refused(Pins *pins, Secret *pin, const Bytes *token)
{
        uint8_t digest[PIN_DIGEST_LENGTH];

        load_record(pins);
        if (pins->n_refused == 0)
                return false;
        return pin_digest(pin, pins->salt, token, digest) < 0 || find_refused(pins, digest);
}

int pins_refuse(Pins *pins, Secret *pin, const Bytes *token)
{
        uint8_t digest[PIN_DIGEST_LENGTH];
        int r;

        load_record(pins);
        if (pins->n_refused == 0 &&
            getrandom(pins->salt, sizeof(pins->salt), 0) != sizeof(pins->salt))
                return -EIO;
        r = pin_digest(pin, pins->salt, token, digest);
        if (r < 0)
                return r;
        if (find_refused(pins, digest))
                return 0;
        if (pins->n_refused == PINS_REFUSED_MAX) /* the oldest goes */
                memmove(pins->refused[0], pins->refused[1],
                        --pins->n_refused * sizeof(pins->refused[0]));
        memcpy(pins->refused[pins->n_refused++], digest, sizeof(digest));
        return save_record(pins);
}

void pins_accept(Pins *pins, Secret *pin)
{
        pthread_rwlock_wrlock(&pins->lock);
        if (pins->kept != pin)
                secret_free(pins->kept);
        pins->kept = pin;
        pthread_rwlock_unlock(&pins->lock);
        if (pins->record)
                (void)unlink(pins->record);
        pins->n_refused = 0;
}

void pins_drop(Pins *pins)
{
        pthread_rwlock_wrlock(&pins->lock);
        pins->kept = secret_free(pins->kept);
        pthread_rwlock_unlock(&pins->lock);
}

bool pins_has_kept(Pins *pins)
{
        bool kept;

        pthread_rwlock_rdlock(&pins->lock);
        kept = pins->kept != NULL;
        pthread_rwlock_unlock(&pins->lock);
        return kept;
}

/* A copy, so that a call that hangs with it keeps nobody else from the PIN. -ENOENT: there is none. */
int pins_copy_kept(Pins *pins, Secret **ret_pin)
{
        Secret *copy;
        int r = -ENOENT;

        pthread_rwlock_rdlock(&pins->lock);
        if (pins->kept)
                r = secret_new(secret_length(pins->kept), &copy);
        if (r == 0) {
                memcpy(secret_data(copy), secret_data(pins->kept), secret_length(pins->kept));
                secret_set_length(copy, secret_length(pins->kept));
                *ret_pin = copy;
        }
        pthread_rwlock_unlock(&pins->lock);
        return r;
}

/* The process ends: a thread that has the lock for long keeps nobody from that. */
void pins_wipe(Pins *pins)
{
        const struct timespec moment = { .tv_nsec = 1000000 };

        for (unsigned i = 0; i < 100; i++) {
                if (pthread_rwlock_trywrlock(&pins->lock) == 0) {
                        pins->kept = secret_free(pins->kept);
                        pthread_rwlock_unlock(&pins->lock);
                        return;
                }
                (void)nanosleep(&moment, NULL);
        }
}
