/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intents: a key that a source is about to make gets its mark (a PKCS#11 token's CKA_ID) here, and
 * the mark is in the store before the source is asked. Invariant: a key that was made and that no
 * certificate has also has its intent, for that is forgotten in the transaction which stores the
 * certificate, or when the source has taken the key back. So whoever was killed meanwhile, broker or
 * source, nothing stays behind: intents that no job is at are taken back when their source begins to
 * serve, and where it did not then, again while it serves. What a certificate uses is never taken
 * back, whatever the store says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/strings.h"
#include "broker/manage/room.h"

#define NOTE_PREFIX "making/"

/* More than a source is given beyond a deadline before it is killed: it is at nothing by then. */
#define RETRY_FIRST_SEC 5
#define RETRY_MAX_SEC   600

struct Intent {
        Manage *manage;
        char note[sizeof(NOTE_PREFIX) + (size_t)2 * WIRE_MARK_LENGTH]; /* its key in the store */
        uint8_t mark[WIRE_MARK_LENGTH];
        char *source;
        bool busy;          /* a job is at it, or it is being taken back */
        bool stored;        /* its certificate is, and the note is gone: not to be taken back */
        uint64_t pause_sec;  /* before it is tried again, */
        uint64_t retry_usec; /* which is due then, unless busy */
};

static Intent *intent_free(Intent *intent)
{
        if (!intent)
                return NULL;

        free(intent->source);
        free(intent);
        return NULL;
}
DEFINE_CLEANUP(Intent, intent_free)

void intents_deinit(Map *intents)
{
        MAP_FOREACH (intents, entry)
                intent_free(entry->value);
        map_deinit(intents);
}

static void intent_remove(Intent *intent)
{
        map_remove(&intent->manage->intents, intent->note);
        intent_free(intent);
}

static int intent_add(Manage *manage, const uint8_t mark[WIRE_MARK_LENGTH], const char *source,
                      Intent **ret_intent)
{
        CLEANUP(intent_freep) Intent *intent = calloc(1, sizeof(*intent));
        int r;

        if (!intent)
                return -ENOMEM;

        intent->manage = manage;
        memcpy(intent->mark, mark, WIRE_MARK_LENGTH);
        memcpy(intent->note, NOTE_PREFIX, strlen(NOTE_PREFIX));
        hex_encode_lower(mark, WIRE_MARK_LENGTH, intent->note + strlen(NOTE_PREFIX));
        r = string_set(&intent->source, source);
        if (r == 0)
                r = map_put(&manage->intents, intent->note, intent);
        if (r < 0)
                return r;

        *ret_intent = TAKE(intent);
        return 0;
}

int intent_read_note(Manage *manage, const char *key, const char *value)
{
        uint8_t mark[WIRE_MARK_LENGTH];
        Intent *intent;

        if (strncmp(key, NOTE_PREFIX, strlen(NOTE_PREFIX)) != 0 ||
            hex_decode(key + strlen(NOTE_PREFIX), mark, sizeof(mark)) < 0)
                return 0;
        return intent_add(manage, mark, value, &intent);
}

/* --- taking back --- */

static void on_forgotten(void *userdata, const Failure *failure)
{
        (void)userdata;
        (void)failure; /* then it is taken back once more, after a restart */
}

static void forget(Intent *intent)
{
        (void)change_note(intent->manage, intent->note, NULL, on_forgotten, NULL);
        intent_remove(intent);
}

/* A key's URI has its CKA_ID percent-encoded (RFC 7512). */
static bool has_mark(const char *uri, const Intent *intent)
{
        char encoded[3 * WIRE_MARK_LENGTH + 1];

        for (size_t i = 0; i < WIRE_MARK_LENGTH; i++) {
                encoded[3 * i] = '%';
                hex_encode_lower(&intent->mark[i], 1, encoded + 3 * i + 1);
        }
        return uri && strcasestr(uri, encoded);
}

bool intents_have(const Manage *manage, const char *uri)
{
        MAP_FOREACH (&manage->intents, entry) {
                if (has_mark(uri, entry->value))
                        return true;
        }
        return false;
}

static bool is_used(const Intent *intent)
{
        MAP_FOREACH (catalog_certificates(intent->manage->catalog), entry) {
                const Certificate *certificate = entry->value;

                for (size_t i = 0; i < certificate->n_generations; i++) {
                        if (has_mark(certificate->generations[i]->key_uri, intent))
                                return true;
                }
        }
        return false;
}

/* What cannot be taken back now is a little later, or when the source begins to serve the next time. */
static void wait_a_little(Intent *intent)
{
        intent->busy = false;
        intent->pause_sec = MIN(MAX(2 * intent->pause_sec, RETRY_FIRST_SEC), RETRY_MAX_SEC);
        intent->retry_usec = clock_monotonic_usec() + intent->pause_sec * USEC_PER_SEC;
        retry_at(intent->manage, intent->retry_usec);
}

static void on_taken_back(void *userdata, WireReply *reply)
{
        Intent *intent = userdata;

        /* A vault cannot: what it was given has a name there, and can be registered by it. */
        if (reply->failure.status == 0 || reply->failure.status == CB_NOT_SUPPORTED)
                forget(intent);
        else
                wait_a_little(intent);
}

static void take_back(Intent *intent)
{
        Source *source = sources_find(intent->manage->sources, intent->source);
        Failure ignored = { 0 };
        WireRequest request;

        wire_request_init(&request, WIRE_TAKE_BACK);
        request.timeout_usec = intent->manage->timeout_usec;
        request.input = (Bytes){ intent->mark, sizeof(intent->mark) };
        if (source && source_submit(source, &request, on_taken_back, intent, &ignored) == 0)
                intent->busy = true;
        else
                wait_a_little(intent);
}

static void recover(Intent *intent)
{
        if (is_used(intent))
                forget(intent);
        else
                take_back(intent);
}

void intents_recover(Manage *manage, const char *source)
{
        Map *intents = &manage->intents;

        for (size_t i = intents->n; i-- > 0;) {
                Intent *intent = intents->entries[i].value;

                if (!intent->busy && string_equal(intent->source, source))
                        recover(intent);
        }
}

/* One whose source does not serve is taken back when that begins to. */
static bool can_be_tried(const Intent *intent)
{
        Source *source = sources_find(intent->manage->sources, intent->source);

        return !intent->busy && source && source_state_serves(source_state(source));
}

void intents_retry(Manage *manage, uint64_t now_usec)
{
        Map *intents = &manage->intents;

        for (size_t i = intents->n; i-- > 0;) {
                Intent *intent = intents->entries[i].value;

                if (intent->retry_usec <= now_usec && can_be_tried(intent))
                        recover(intent);
        }
}

uint64_t intents_next(const Manage *manage)
{
        uint64_t next = 0;

        MAP_FOREACH (&manage->intents, entry) {
                const Intent *intent = entry->value;

                if (can_be_tried(intent) && (next == 0 || intent->retry_usec < next))
                        next = intent->retry_usec;
        }
        return next;
}

/* --- a job's --- */

static void on_begun(void *userdata, const Failure *committed)
{
        Job *job = userdata;
        Failure failure = *committed;
        int r = failure.status;

        if (r == 0)
                r = manage_may_go_on(job->manage, job->caller, &failure);
        if (r == 0)
                r = job->submit(job, &failure);
        if (r == 0)
                job->asked = true;
        else
                job_give_up(job, r, &failure);
}

void intent_begin(Job *job, int (*submit)(Job *job, Failure *failure))
{
        uint8_t mark[WIRE_MARK_LENGTH];
        Failure failure = { 0 };
        int r;

        job->submit = submit;
        r = getrandom(mark, sizeof(mark), 0) == sizeof(mark) ? 0 : -EIO;
        if (r == 0)
                r = intent_add(job->manage, mark, job->source, &job->intent);
        if (r == 0) {
                job->intent->busy = true;
                r = change_note(job->manage, job->intent->note, job->source, on_begun, job);
        }
        if (r == -EBUSY)
                r = fail(&failure, CB_LIMIT_EXCEEDED,
                         "too many changes wait for the disk; try again");
        if (r != 0)
                job_give_up(job, r, &failure);
}

Bytes intent_mark(Intent *intent)
{
        return (Bytes){ intent->mark, sizeof(intent->mark) };
}

const char *intent_note(const Intent *intent)
{
        return intent ? intent->note : NULL;
}

void intent_stored(Manage *manage, const char *note)
{
        Intent *intent = note ? map_find(&manage->intents, note) : NULL;

        if (intent)
                intent->stored = true;
}

bool intent_is_stored(const Manage *manage, const char *note)
{
        const Intent *intent = note ? map_find(&manage->intents, note) : NULL;

        return intent && intent->stored;
}

/* The source may still be at it: what it makes is taken back later, or when it serves again. */
bool intent_is_open(int status)
{
        return status == CB_TIMED_OUT || status == CB_SOURCE_UNAVAILABLE ||
               status == CB_SOURCE_LOCKED;
}

void intent_end(Job *job, const Failure *failure)
{
        Intent *intent = TAKE(job->intent);

        if (!intent)
                return;

        if (intent->stored) /* the note went with the commit */
                intent_remove(intent);
        else if (failure->status == 0 || !job->asked) /* nothing was made */
                forget(intent);
        else if (intent_is_open(failure->status))
                wait_a_little(intent);
        else
                take_back(intent);
}
