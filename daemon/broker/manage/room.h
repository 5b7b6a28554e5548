/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share; nobody outside includes it. */
#pragma once

#include <sys/queue.h>

#include "broker/manage/manage.h"
#include "broker/manage/ticket.h"
#include "core/identifier.h"

/* A source reads a pipe for at most 5 s, then works: more than a signature takes. */
#define IMPORT_EXTRA_USEC     (15 * USEC_PER_SEC)
#define GENERATE_TIMEOUT_USEC (120 * USEC_PER_SEC) /* RSA 4096 on a small token */

/* A key that an id is about to hold, a name that it writes to in a vault, or all that it has and destroys. */
typedef struct Claim {
        Manage *manage;
        char *id;
        char *uri; /* the key's, or that of the name; NULL: none */
        Bytes spki;
        bool destroys;
        bool made; /* imported or generated for this id: lies where no other's does */
        bool listed;
        LIST_ENTRY(Claim) entry;
} Claim;

/* What an older store had brought back, and is not stored yet: withhold.c. */
typedef struct Withholding {
        StoreChange *change; /* all of it, at start */
        char **ids;          /* those of it */
        uint64_t retry_usec; /* when they are stored again, one by one; 0: never, or they are being */
        void (*stored)(void *userdata);
        void *userdata;
} Withholding;

struct Manage {
        Catalog *catalog;
        Store *store;
        Sources *sources;
        Tickets tickets;
        uint64_t grace_usec;
        uint64_t timeout_usec;
        uint64_t wake_sec;   /* as last wished for; 0: never */
        uint64_t retry_usec; /* likewise, by the monotonic clock */
        ManageEvents events;
        void *events_userdata;
        Map credentials; /* backend → what its credential was when it was last told, as text */
        Map seen;        /* certificate → what of it the clock changes, as last told */
        Map sweeps;      /* source → Sweep */
        Map lines;       /* source → Line, of what is due */
        Map warned;      /* certificate → Warned: expiry.c */
        Map due;         /* certificate → Due: rotation.c */
        uint64_t due_again_sec; /* not before that, for one could not be stored; 0: nothing is wrong */
        uint64_t *warnings_sec;
        size_t n_warnings;
        Map intents;    /* the note's key → Intent: intent.c */
        Map endings;    /* id → Ending: ending.c */
        Map refreshing; /* certificate → Refreshing: the look-up that others join */
        LIST_HEAD(, Claim) claims;
        Withholding withholding;
        Map served;     /* source → when it served last, as the store has it: served.c */
};

/* May what this caller asked for go on? 0, or what it ends with. caller NULL: manage's own, always. */
int manage_may_go_on(const Manage *manage, void *caller, Failure *failure);
/* May he manage this other object, too? Likewise. */
int manage_may_manage(const Manage *manage, void *caller, ObjectKind kind, const char *name,
                      Failure *failure);
/* In whose turn a source does what this caller asked for. caller NULL: manage's own. */
uint64_t manage_owner(const Manage *manage, void *caller);

/* --- change.c: commit, then the catalog, then the observer, then `done` --- */

/* Takes `next` in every case. forgets: the key of a note that goes in the same transaction; NULL: none. */
void change_certificate_of(Manage *manage, Certificate *next, const char *forgets, manage_done done,
                           void *userdata);
void change_certificate(Manage *manage, Certificate *next, manage_done done, void *userdata);
void change_backend(Manage *manage, Backend *next, manage_done done, void *userdata);
/* forgets: a note that goes with it; NULL: none. */
void change_remove_certificate(Manage *manage, const char *id, const char *forgets, manage_done done,
                               void *userdata);
void change_remove_backend(Manage *manage, const char *name, manage_done done, void *userdata);
/* A note alone; value NULL: forget it. < 0: `done` is not called. */
int change_note(Manage *manage, const char *key, const char *value, store_done done,
                void *userdata);
/* Into the catalog and told, but not into the store: for what a look-up renews each time. Takes `next`. */
int change_apply_certificate(Manage *manage, Certificate *next);

/* --- notice.c: what has changed in credentials and states since it was last told --- */

void notice_backend(Manage *manage, const char *name);
void notice_users_of(Manage *manage, const char *id);
void notice_certificate(Manage *manage, const char *id); /* its state has just been told */
void notice_all(Manage *manage);                         /* without telling anybody: at start */
void notice_rearm(Manage *manage); /* looks at everything: not for each change of one */
/* The same where only this one has changed. What was armed for it before may come for nothing, once. */
void notice_rearm_certificate(Manage *manage, const Certificate *certificate);
void notice_rearm_backend(Manage *manage, const Backend *backend);
void notice_rearm_at(Manage *manage, uint64_t realtime_sec); /* then at the latest; 0: need not be */
void notice_forget(Map *map, const char *key);
void notice_deinit(Map *map);

/* --- retry.c --- */

/* manage_retry() then at the latest; 0: need not be. */
void retry_at(Manage *manage, uint64_t monotonic_usec);

/* --- backend.c --- */

/* Switches on what was off until now. */
void backend_end_exceptions(Manage *manage, uint64_t now_sec);

/* --- expiry.c: ExpiryWarning --- */

int expiry_configure(Manage *manage, const Config *config);
int expiry_read_note(Manage *manage, const char *key, const char *value);
void expiry_check(Manage *manage, uint64_t now_sec);
void expiry_forget(Manage *manage, const char *id); /* the certificate is gone */
/* When the next warning is due; 0: none. */
uint64_t expiry_next(const Manage *manage, const Certificate *certificate, uint64_t now_sec);

/* --- served.c: what max-stale is counted from --- */

int served_read_note(Manage *manage, const char *key, const char *value);
/* Writes it to the store, where what is there is too old. */
void served_keep(Manage *manage, const Source *source);
void served_check(Manage *manage);          /* of all */
uint64_t served_next(const Manage *manage); /* when to call that; 0: not for the sake of this */
void served_deinit(Map *served);

/* --- missing.c --- */

/* The sources are as configured: whose certificates are left without one? They are marked, and a warning says so. */
void missing_mark(Manage *manage);

/* --- publish.c: a new generation, from what a source answered --- */

typedef struct Publication {
        Manage *manage;
        Certificate *next;   /* the certificate as it will be */
        uint64_t generation; /* its new one */
        bool discard;        /* destroy the key if it cannot be published: this call has made it */
        bool install;        /* write its certificates beside the key, in the source */
        const char *note;    /* the key of its intent's, which goes when it is stored; NULL: none */
        void *caller;        /* NULL: nobody, or it cannot be stopped any more */
        void *asked_by;      /* the same, whatever can be stopped */
        bool registers, follows; /* holding.c is asked, and asked again before it is stored */
        Claim claim;
        bool untried;        /* the trial waits for that: a vault's key before its merge */
        bool placed;         /* and that is done: the source has it, whatever the trial says */
        Failure failure;     /* why it could not, while the key is being destroyed */
        manage_done done;
        void *userdata;
} Publication;

typedef struct PublishRequest {
        const char *id;
        const char *source;
        const char *registered_uri; /* as Certificate has it */
        const char *note; /* of the intent of this key (intent.c), kept until `done`; or NULL */
        void *caller;     /* NULL: nobody asked for it */
        bool force;       /* in spite of missing names, and of its dates */
        bool by_source;   /* the source rotated it: missing names go into LastError */
        bool registers;   /* a key that was there before */
        bool discard;
        bool install;
} PublishRequest;

/*
 * Makes what the reply describes the next generation: facts of the leaf, names, trial, store. The caller has the
 * turn of this id, and keeps it until `done`.
 */
void publish_reply(Manage *manage, const PublishRequest *request, const WireReply *reply,
                   manage_done done, void *userdata);

/* The same for a certificate that was prepared by the caller (taken): `generation` is the one to be published. */
void publish_next(Manage *manage, const PublishRequest *request, Certificate *next,
                  uint64_t generation, manage_done done, void *userdata);

/* --- rotation.c: when a generation becomes current --- */

/*
 * `generation` of `next` has its leaf: it is made current, or it waits. CB_EXPIRED, CB_INVALID_ARGUMENT (it lacks names
 * of the one before): it is refused.
 */
int rotation_begin(const Manage *manage, Certificate *next, Generation *generation,
                   const PublishRequest *request, Failure *failure);
/* Makes current what has waited for long enough. */
void rotations_due(Manage *manage, uint64_t now_sec);
/* The source serves: what could not be tried is tried now. */
void rotations_hasten(Manage *manage, const char *source);
/* Somebody asks: what its time has come for is tried now, and then refresh_for(). false: nothing is, or no memory. */
bool rotation_try(Manage *manage, const Certificate *certificate, manage_done done, void *userdata);
/* When to call that because of one that is due; 0: none is, and when one will be is certificate_next_change(). */
uint64_t rotation_next(const Manage *manage, const Certificate *certificate, uint64_t now_sec);
void rotations_deinit(Map *due);

/* --- trial.c --- */

/* failure->status 0: it signed, and its public key verifies that. CB_KEY_MISMATCH: it does not. */
typedef void (*trial_done)(void *userdata, const Failure *failure);
int trial_submit(Manage *manage, const Certificate *certificate, const Generation *generation,
                 uint64_t owner, trial_done done, void *userdata, Failure *failure);

/* --- suspect.c: keys that made a wrong signature --- */

bool suspect_is_current(const Certificate *certificate);
/* Its trial, now; then, unless it fails that, it is looked up as by refresh_certificate(). */
void suspect_try(Manage *manage, const char *id, uint64_t generation, manage_done done,
                 void *userdata);
/* It is handed out to nobody before a trial. */
void suspect_until_tried(Generation *generation);
/* The source serves: its keys under suspicion are tried now. */
void suspects_hasten(Manage *manage, const char *source);
void suspects_try_due(Manage *manage, uint64_t now_usec);
uint64_t suspect_next(const Certificate *certificate, uint64_t now_usec); /* when; 0: never */

/* --- refresh.c, due.c and sweep.c --- */

/* As manage_refresh(), of what is current; userdata is who asks. */
void refresh_for(Manage *manage, const char *id, manage_done done, void *userdata);
/* As manage_refresh(), without a trial; quiet: nothing is written to the store unless something has changed. */
void refresh_certificate(Manage *manage, const char *id, bool quiet, manage_done done,
                         void *userdata);
void refreshing_deinit(Map *refreshing);
/* When it was looked up, and when it is to be again, as the source has it. */
void refresh_schedule(Certificate *next, const WireReply *reply);
/* Starts those whose NextRefresh has come, or has them wait for those before them. */
void refresh_due(Manage *manage, uint64_t now_sec);
/* When that is; 0: never, or when its source serves again, which looks up all that it has. */
uint64_t refresh_next(const Manage *manage, const Certificate *certificate, uint64_t now_sec);
/* When to call sweep_resume(); 0: never. */
uint64_t sweep_next(const Manage *manage, uint64_t now_usec);
/* Goes on with those that their source had no room for. */
void sweep_resume(Manage *manage);
void sweep_deinit(Map *sweeps);
void due_deinit(Map *lines);
/* The source serves: what has become due meanwhile is looked up before, and faster than, all that it has. */
void due_begin(Manage *manage, const char *source);

/* --- withhold.c --- */

void withholding_deinit(Withholding *withholding);
void withholding_retry(Manage *manage, uint64_t now_usec);
uint64_t withholding_next(const Manage *manage); /* when that is; 0: never */

/* --- intent.c: keys that a source is about to make --- */

typedef struct Intent Intent;
typedef struct Job Job;

int intent_read_note(Manage *manage, const char *key, const char *value);
void intents_deinit(Map *intents);
/* The source serves: what was begun there and never became a generation is taken back. */
void intents_recover(Manage *manage, const char *source);
/* The same for what a source that serves did not take back yet, where its time has come. */
void intents_retry(Manage *manage, uint64_t now_usec);
uint64_t intents_next(const Manage *manage); /* when that is; 0: never */
/* Stores what the job is about to have made, then calls submit(); answers every failure itself. */
void intent_begin(Job *job, int (*submit)(Job *job, Failure *failure));
/* What the source is to mark the key with. */
Bytes intent_mark(Intent *intent);
const char *intent_note(const Intent *intent);
/* The note went with a certificate into the store; whatever fails from here on, the key is that one's. */
void intent_stored(Manage *manage, const char *note);
bool intent_is_stored(const Manage *manage, const char *note); /* note NULL: no */
/* Is a key with this URI being made or taken back? */
bool intents_have(const Manage *manage, const char *uri);
/* The job is over: with success the certificate was stored and the note is gone. */
void intent_end(Job *job, const Failure *failure);
/* The source may still be at what has failed so. */
bool intent_is_open(int status);

/* --- ending.c: certificates whose keys are being destroyed --- */

typedef struct Ending Ending;

#define ENDING_NOTE (IDENTIFIER_LENGTH_MAX + 16)

int ending_read_note(Manage *manage, const char *key, const char *value);
void endings_deinit(Map *endings);
/* The source serves: deletions that were cut off there go on. */
void endings_resume(Manage *manage, const char *source);
/* The same where a source that serves failed, and the time has come. */
void endings_retry(Manage *manage, uint64_t now_usec);
uint64_t endings_next(const Manage *manage); /* when that is; 0: never */
/* Stores that the job is about to destroy its certificate's keys, then run(job); answers a failure itself. */
void ending_begin(Job *job, const Certificate *certificate, void (*run)(void *job));
/* One of this id that was cut off, or NULL: the job's from here on, as it ends the certificate in its own way. */
void ending_take(Job *job);
/* What is forgotten with the certificate; NULL: nothing. */
const char *ending_note(const Job *job, char note[ENDING_NOTE]);
/* The job fails with this: is the certificate deleted later? */
bool ending_goes_on(const Job *job, int status);
/* The job is over: with success the note is gone. */
void ending_end(Job *job, const Failure *failure);
/* certificate.c: destroys one after the other, then forgets the certificate. */
void delete_keys(void *job);

/* --- place.c --- */

/* Both say where they are, token or vault, and it is not the same place. */
bool place_is_other(const char *source_uri, const char *uri);
/* Is it one place? In a vault that is one name, with all of its versions: they are deleted together. */
bool place_is_same(const char *a, const char *b);
/* Does it lie under a name in a vault? */
bool place_is_named(const char *uri);
/* Have both the CKA_ID that an import or generation gives? (Their keys may have been given other labels since.) */
bool place_has_same_mark(const char *a, const char *b);
/* Where a source of this driver puts a new key of this id, if that follows from the id: else *ret_uri is NULL. */
int place_of_new(const char *driver, const char *source_uri, const char *id, char **ret_uri);

/* --- holding.c: which id holds which key --- */

/* From here on it counts as held; what the claim was before is given up. -ENOMEM. */
int claim_set(Claim *claim, Manage *manage, const char *id, const char *uri, const Bytes *spki);
void claim_deinit(Claim *claim);
/* May this key be registered under this id by him? */
int holding_check_register(const Manage *manage, void *caller, const char *id, const char *uri,
                           const Bytes *spki, Failure *failure);
/* May this id go on with this key, which its source has for it now? */
int holding_check_follow(const Manage *manage, const char *id, const char *uri, const Bytes *spki,
                         Failure *failure);
/* May he write, for this id, to the name in a vault under which this key lies? Others may hold it, too. */
int holding_check_write(const Manage *manage, void *caller, const char *id, const char *uri,
                        Failure *failure);
/* Takes, for a job that makes a key, the name that this is going to have in a vault. present NULL: a new id. */
struct Job;
int holding_claim_name(struct Job *job, const Certificate *present, Failure *failure);
/* Has an id that is not this one imported or generated the key, or was it registered as such a one's? */
bool holding_is_made_by_another(const Manage *manage, const char *id, const char *uri);
/* Which of the certificates in a token are this one's. */
WireCertificates holding_certificates(const Manage *manage, const Certificate *certificate,
                                      const Generation *generation);
/* Does another id hold, or claim, a key that would go with this certificate's? */
bool holding_is_shared(const Manage *manage, const Certificate *certificate);

/* --- known.c: what is imported or installed and is there already --- */

struct Job;
/* WIRE_IMPORT's settings: the leaves for which the source need not make a key. */
int known_leaves(const Certificate *certificate, bool extractable, char ***ret_settings);
/*
 * The reply's leaf is in force, or waits: the job is answered, with success; of the chain what is new is taken, and
 * `force` ends the waiting. CB_NOT_FOUND: it is something else.
 */
int known_take(struct Job *job, const WireReply *reply);

/* A look-up of that generation: its source may know more of its chain, or better. -ENOMEM. */
int known_renew_chain(Generation *known, const WireReply *reply);

/* --- job.c: one change of one certificate, from its turn to its answer --- */

struct Job {
        Manage *manage;
        Ticket ticket;
        char *id;
        char *source; /* NULL: any that serves the URI */
        char *uri;
        int fds[2];
        KeyType key_type;
        uint64_t generation;
        bool extractable, replace, force, enabled, destroy_key, quiet, retire;
        char **candidates; /* names of the sources to ask */
        size_t i_candidate;
        char *served_by;     /* the one that has the key: register.c */
        WireReply found;     /* what it said */
        Failure missed;      /* the most telling one of those that have it not; a look-up's verdict */
        Failure denied;      /* of a source that the caller may read, but not manage: register.c */
        uint64_t n_wrong;    /* of its key, when its trial began: suspect.c */
        size_t i_generation; /* the next one whose key is to be destroyed */
        Intent *intent;      /* the key that it has made; NULL: none */
        Ending *ending;      /* of the certificate whose keys it destroys; NULL: it does not */
        Claim claim;
        int (*submit)(Job *job, Failure *failure); /* what comes after that is stored */
        bool asked;                                /* the source knows of the intent or ending */
        void (*run)(void *job);                    /* when its turn has come */
        void *caller;                              /* whom may_go_on is asked about; NULL: nobody */
        uint64_t owner; /* of a look-up: whose turn it is at the source */
        manage_done done;
        void *userdata;
};

/* For a caller, who is `userdata`; for manage itself, set its caller to NULL. */
int job_new(Manage *manage, const char *id, manage_done done, void *userdata, Job **ret_job);
/* Waits for its turn, then run(job), if it may still be. Answers the failure itself. */
void job_start(Job *job, void (*run)(void *userdata));
/* Answers, lets the next one have its turn, and frees. */
void job_finish(Job *job, const Failure *failure);
void job_fail(Job *job, int status, const char *format, ...) PRINTF(3, 4);
/* Answers what `failure` says, or, where that is still empty, the -errno r. */
void job_give_up(Job *job, int r, Failure *failure);
/* With `replace` the id must be there, and in the same source; else it must not. */
int job_check_place(const Job *job, const Certificate *present, Failure *failure);
/* job_finish() in the shape of manage_done. */
void job_on_done(void *job, const Failure *failure);
Job *job_free(Job *job);
DEFINE_CLEANUP(Job, job_free)

/* look-up.c: asks the source, takes what it says into the catalog and the store, and answers the job. */
void look_up(Job *job);
/* Was there no room for a look-up, whatever it was for? */
bool look_up_has_no_room(int status);
/* One that is due and could not even be asked for waits as after a failure: not every look at the clock asks. */
void look_up_put_off(Manage *manage, const char *id);

/* CB_INVALID_ARGUMENT: what an id or name must look like. */
int manage_refuse_name(Failure *failure, ObjectKind kind, const char *name);
/* The source by name, or a failure that names it. */
int manage_find_source(Manage *manage, const char *name, Source **ret_source, Failure *failure);
