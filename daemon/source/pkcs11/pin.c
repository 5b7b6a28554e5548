/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PINs. Invariant: a PIN goes to the token only after this has been written down, so that it is not tried again by
 * itself whatever becomes of the process meanwhile; what was written is taken away when the token has taken the PIN,
 * or has not come to look at it. What was refused is never sent again, not for a person either: the token counts.
 *
 * A try that is found under way has ended with its process. Under the same broker it was the module's end: never again
 * by itself. Under another, the broker was killed and took the process with it: that counts as a try that came out
 * neither good nor bad, of which there are few.
 */
#include "source/pkcs11/pin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strings.h"

#define PIN_MAX        1024
#define WIPE_WAIT_USEC (100 * USEC_PER_MSEC) /* who copies the kept one is soon done */

/* By its number and when it started: numbers come again, after a reboot the same ones. */
static void name_broker(char ret_name[PIN_BY_MAX])
{
        unsigned long long start = 0;
        char path[32], line[1024], *rest = NULL;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int)getppid());
        file = fopen(path, "re");
        if (file && fgets(line, sizeof(line), file))
                rest = strrchr(line, ')'); /* after it, the state and 18 numbers before the one */
        if (file)
                fclose(file);
        if (rest && sscanf(rest, ") %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                                 "%*s %*s %llu", &start) == 1)
                snprintf(ret_name, PIN_BY_MAX, "%d.%llu", (int)getppid(), start);
        else
                snprintf(ret_name, PIN_BY_MAX, "-");
}

int pins_init(Pins *pins, const char *source, const char *file, const char *state_directory)
{
        int r;

        pthread_rwlock_init(&pins->lock, NULL);
        pthread_mutex_init(&pins->record_lock, NULL);
        name_broker(pins->broker);
        r = string_set(&pins->file, file);
        if (r == 0)
                r = string_set(&pins->source, source);
        return r == 0 ? pin_record_init(&pins->record, source, state_directory) : r;
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

/* Tries */

static int check_entry(const Pins *pins, const PinEntry *entry, bool asked, Failure *failure)
{
        switch (entry->fate) {
        case PIN_NEW:
                return 0;
        case PIN_REFUSED:
                return fail(failure, CB_SOURCE_LOCKED,
                            "the token has refused this PIN before; it is not sent again: correct "
                            "the PIN file and reload, or unlock the source with another; if the "
                            "token has been given this PIN since, remove '%s' first",
                            string_or_empty(pins->record.path));
        case PIN_TRYING:
        case PIN_ENDED:
                if (asked)
                        return 0;
                return fail(failure, CB_SOURCE_LOCKED,
                            "the token's module ended in C_Login with this PIN, and what the "
                            "token made of it is not known; it is not sent again by itself: look "
                            "after the module, then 'certbroker source unlock %s' or 'certbroker "
                            "source refresh %s' tries it once more",
                            pins->source, pins->source);
        case PIN_UNCLEAR:
                if (asked || entry->n_tries < PIN_UNCLEAR_MAX)
                        return 0;
                return fail(failure, CB_SOURCE_LOCKED,
                            "the token has answered this PIN %u times with what is neither yes "
                            "nor no; it is not sent again by itself: look after the token, then "
                            "'certbroker source unlock %s' or 'certbroker source refresh %s' "
                            "tries it once more",
                            entry->n_tries, pins->source, pins->source);
        }
        return 0;
}

static int fail_record(const Pins *pins, int r, Failure *failure)
{
        return fail(failure, CB_SOURCE_UNAVAILABLE,
                    "the PIN is not tried: that it is being tried could not be written to '%s': "
                    "%s; without that a module that crashes could use up the token's tries",
                    string_or_empty(pins->record.path), strerror(-r));
}

/* What became of a try that is found under way. */
static void conclude(Pins *pins, PinEntry *entry)
{
        if (entry->fate != PIN_TRYING)
                return;
        entry->n_tries++;
        entry->fate = strcmp(entry->by, pins->broker) == 0 ? PIN_ENDED : PIN_UNCLEAR;
        (void)pin_record_put(&pins->record, entry); /* else as strict as it was */
}

static int note_end(Pins *pins)
{
        return pins->clears ? pin_record_clear(&pins->record)
                            : pin_record_put(&pins->record, &pins->end);
}

/* Where the last one's end could not be written, it can be by now: what is on the disk is that it has none. */
static int load_locked(Pins *pins)
{
        int r = pin_record_load(&pins->record);

        if (r < 0 || !pins->is_unwritten)
                return r;
        r = note_end(pins);
        pins->is_unwritten = r < 0;
        return r;
}

static int begin_locked(Pins *pins, Secret *pin, const Bytes *token, bool asked, Failure *failure)
{
        PinEntry entry = { .fate = PIN_NEW };
        const PinEntry *known;
        int r;

        if (pins->ending)
                return fail(failure, CB_SOURCE_UNAVAILABLE, "the source's process ends");
        r = load_locked(pins);
        if (r == 0)
                r = pin_record_digest(&pins->record, pin, token, entry.digest);
        if (r < 0)
                return fail_record(pins, r, failure);
        known = pin_record_find(&pins->record, entry.digest);
        pins->before = known ? *known : entry;
        conclude(pins, &pins->before);
        r = check_entry(pins, &pins->before, asked, failure);
        if (r != 0)
                return r;
        entry = pins->before;
        entry.fate = PIN_TRYING;
        memcpy(entry.by, pins->broker, sizeof(entry.by));
        r = pin_record_put(&pins->record, &entry);
        if (r < 0) {
                (void)pin_record_put(&pins->record, &pins->before);
                return fail_record(pins, r, failure);
        }
        atomic_store(&pins->trying, true);
        return 0;
}

int pins_begin(Pins *pins, Secret *pin, const Bytes *token, bool asked, Failure *failure)
{
        int r;

        pthread_mutex_lock(&pins->record_lock);
        r = begin_locked(pins, pin, token, asked, failure);
        pthread_mutex_unlock(&pins->record_lock);
        return r;
}

static PinEntry end_of(const Pins *pins, PinVerdict verdict)
{
        PinEntry entry = pins->before;

        switch (verdict) {
        case PIN_IS_GOOD:
                entry.fate = PIN_NEW;
                break;
        case PIN_IS_WRONG:
                entry.fate = PIN_REFUSED;
                break;
        case PIN_DOUBTFUL:
                entry.fate = PIN_UNCLEAR;
                entry.n_tries++;
                break;
        case PIN_NOT_NEEDED:
        case PIN_NOT_JUDGED:
                break;
        }
        return entry;
}

/* Where this cannot be written, what is on the disk is stricter: PIN_TRYING. */
unsigned pins_end(Pins *pins, PinVerdict verdict)
{
        unsigned n_tries;

        pthread_mutex_lock(&pins->record_lock);
        pins->end = end_of(pins, verdict);
        pins->clears = verdict == PIN_IS_GOOD;
        pins->is_unwritten = note_end(pins) < 0;
        n_tries = pins->end.n_tries;
        atomic_store(&pins->trying, false);
        pthread_mutex_unlock(&pins->record_lock);
        return n_tries;
}

int pins_refuse(Pins *pins, Secret *pin, const Bytes *token)
{
        PinEntry entry = { .fate = PIN_REFUSED };
        int r;

        pthread_mutex_lock(&pins->record_lock);
        r = pin_record_load(&pins->record);
        if (r == 0)
                r = pin_record_digest(&pins->record, pin, token, entry.digest);
        if (r == 0)
                r = pin_record_put(&pins->record, &entry);
        pthread_mutex_unlock(&pins->record_lock);
        return r;
}

/* The kept one */

void pins_keep(Pins *pins, Secret *pin)
{
        pthread_rwlock_wrlock(&pins->lock);
        secret_free(pins->kept);
        pins->kept = pin;
        pthread_rwlock_unlock(&pins->lock);
}

void pins_drop(Pins *pins)
{
        pins_keep(pins, NULL);
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

/* The end */

static void sleep_msec(void)
{
        const struct timespec moment = { .tv_nsec = 1000000 };

        (void)nanosleep(&moment, NULL);
}

/* The next process may be under another broker, and would take it for killed with this one. Who is writing, writes. */
static void note_that_it_hangs(Pins *pins)
{
        PinEntry entry;

        if (pthread_mutex_trylock(&pins->record_lock) != 0)
                return;
        entry = pins->before;
        entry.fate = PIN_ENDED;
        if (atomic_load(&pins->trying))
                (void)pin_record_put(&pins->record, &entry);
        pthread_mutex_unlock(&pins->record_lock);
}

/* From now on no log-in begins; true when none is under way any more. */
static bool end_tries(Pins *pins)
{
        if (pthread_mutex_trylock(&pins->record_lock) != 0)
                return false;
        pins->ending = true;
        pthread_mutex_unlock(&pins->record_lock);
        return !atomic_load(&pins->trying);
}

static bool wipe_kept(Pins *pins)
{
        if (pthread_rwlock_trywrlock(&pins->lock) != 0)
                return false;
        pins->kept = secret_free(pins->kept);
        pthread_rwlock_unlock(&pins->lock);
        return true;
}

/* By the clock: on a host that is busy, a sleep of a moment is as long as it likes. */
static bool do_until(Pins *pins, bool (*work)(Pins *pins), uint64_t deadline_usec)
{
        bool done;

        while (!(done = work(pins)) && clock_monotonic_usec() < deadline_usec)
                sleep_msec();
        return done;
}

void pins_wipe(Pins *pins, uint64_t deadline_usec)
{
        if (!do_until(pins, end_tries, deadline_usec))
                note_that_it_hangs(pins);
        (void)do_until(pins, wipe_kept, deadline_usec + WIPE_WAIT_USEC);
}
