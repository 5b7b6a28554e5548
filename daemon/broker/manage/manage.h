/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that changes something. The caller has been allowed before it gets here. A change is committed to
 * the store first, then made in the catalog, then told to the observer, then answered. Changes of one object
 * run one after the other; changes of different objects do not wait for each other.
 */
#pragma once

#include "base/failure.h"
#include "broker/config/config.h"
#include "broker/sources/sources.h"
#include "broker/store/store.h"
#include "core/catalog.h"
#include "core/identifier.h"

typedef struct Manage Manage;

/* Who is told; all on the loop, after the catalog has changed. `before` is NULL for a new one. */
typedef struct ManageEvents {
        void (*certificate_changed)(void *userdata, const char *id, const Certificate *before,
                                    const Certificate *after);
        /* State has changed by the clock alone. */
        void (*certificate_state_changed)(void *userdata, const char *id);
        /* A member of its chain has expired: LastError is another, by the clock alone. */
        void (*certificate_trouble_changed)(void *userdata, const char *id);
        void (*certificate_removed)(void *userdata, const char *id, size_t n_generations);
        void (*backend_changed)(void *userdata, const char *name, const Backend *before,
                                const Backend *after);
        /* certificate: the id of the one that it used. */
        void (*backend_removed)(void *userdata, const char *name, const char *certificate);
        /* What GetCredential answers for this backend has changed. */
        void (*credential_changed)(void *userdata, const char *name, uint64_t generation);
        void (*rotated)(void *userdata, const char *id, uint64_t generation);
        /* A signature of this key was wrong, for the first time since it was right: nobody gets the key from here on. */
        void (*suspected)(void *userdata, const char *id, uint64_t generation, Algorithm algorithm);
        /* A certificate is deleted, as somebody who got no answer, or a failure, had asked for. */
        void (*deletion_ended)(void *userdata, const char *id);
        /* A generation that waited for its NotBefore is current: nobody asked, the clock did it. */
        void (*came_due)(void *userdata, const char *id, uint64_t generation);
        /* A validation that was off until now is on again: nobody asked, the clock did it. */
        void (*exception_ended)(void *userdata, const char *name);
        void (*expiry_warning)(void *userdata, const char *id, uint64_t not_after_sec,
                               uint64_t left_sec);
        /*
         * Asked before each step that cannot be taken back, a request to a source or a commit, of what
         * somebody asked for: `caller` is what came with `done`. Time may have passed since it was allowed;
         * anything but 0 ends it with this failure.
         */
        int (*may_go_on)(void *userdata, void *caller, Failure *failure);
        /*
         * May `caller`, as above, manage this other object as well? 0; CB_NOT_FOUND where he may not even read it, with
         * a sentence that does not tell him of it; CB_ACCESS_DENIED. Once it is 0 of a source, in which he makes a
         * certificate, may_go_on asks that as well.
         */
        int (*may_manage)(void *userdata, void *caller, ObjectKind kind, const char *name,
                          Failure *failure);
        /* Who that is: what management costs is that uid's. */
        uint32_t (*uid_of)(void *userdata, void *caller);
        /* Call manage_tick() at this time (Unix seconds; 0: no need any more). Replaces an earlier wish. */
        void (*wake_at)(void *userdata, uint64_t realtime_sec);
        /* Call manage_retry() at this time (monotonic; never 0). Replaces an earlier wish. */
        void (*retry_at)(void *userdata, uint64_t monotonic_usec);
} ManageEvents;

int manage_new(Catalog *catalog, Store *store, Sources *sources, Manage **ret_manage);
Manage *manage_free(Manage *manage);
/* After the sources were. */
void manage_configure(Manage *manage, const Config *config);
void manage_observe(Manage *manage, const ManageEvents *events, void *userdata);
/* Fills the catalog from the store: once, before the loop runs. goes_on: every few hundred certificates. */
int manage_load(Manage *manage, void (*goes_on)(void), Failure *failure);
/* The clock has moved: states that follow from it are told, and wake_at is called with the next time. */
void manage_tick(Manage *manage);
/* What is to be tried again has waited for long enough, whatever the date is meanwhile. */
void manage_retry(Manage *manage);
/*
 * A source is there: what was noted of it in an earlier
 * life is told to it. Call it for each SourcesEvents.added.
 */
void manage_source_added(Manage *manage, Source *source);
/* A source's state has changed: if it serves now, its keys are looked up again. Call it for each SourcesEvents.changed. */
void manage_source_changed(Manage *manage, Source *source);
/*
 * At start, after manage_load(): an older store has brought back what had ended. It is disabled, or these generations of it
 * are retired, until a person decides; `reason` is its LastError. After the last one, manage_withhold_all() stores them,
 * as often as it takes, and calls `stored` when they are. Both: -errno.
 */
int manage_withhold(Manage *manage, const char *id, bool disables, const uint64_t *retired,
                    size_t n_retired, const char *reason);
int manage_withhold_all(Manage *manage, void (*stored)(void *userdata), void *userdata);
/* Each source that certificates use and that is not configured, with a sentence on it. */
void manage_each_missing(const Manage *manage,
                         void (*tell)(void *userdata, const char *source, const char *text),
                         void *userdata);
DEFINE_CLEANUP(Manage, manage_free)

/*
 * failure->status 0: done. Called exactly once, maybe from within. `path` object of it: kind and name. Its
 * userdata is the caller of ManageEvents.may_go_on.
 */
typedef void (*manage_done)(void *userdata, const Failure *failure);

typedef struct ImportRequest {
        const char *id;
        const char *source;
        int bundle_fd; /* borrowed during the call: duplicated if needed */
        int passphrase_fd;
        bool extractable, replace, force;
} ImportRequest;
void manage_import(Manage *manage, const ImportRequest *request, manage_done done, void *userdata);

typedef struct GenerateRequest {
        const char *id;
        const char *source;
        KeyType key_type; /* KEY_TYPE_NONE: an unknown one was asked for */
        bool extractable, replace;
} GenerateRequest;
void manage_generate(Manage *manage, const GenerateRequest *request, manage_done done,
                     void *userdata);

/* chain_fd: borrowed during the call; read by the source's process. */
void manage_install(Manage *manage, const char *id, int chain_fd, bool force, manage_done done,
                    void *userdata);
void manage_set_current(Manage *manage, const char *id, uint64_t generation, manage_done done,
                        void *userdata);
void manage_retire(Manage *manage, const char *id, uint64_t generation, manage_done done,
                   void *userdata);

/*
 * What catalog_select() takes: a DN may be written in any way of RFC 4514. Owned. *why is set where it is no DN, and then
 * *ret_normal what was given.
 */
int manage_selector(const char *selector, char **ret_normal, Failure *why);

/* A PKCS#10 request in DER, signed by the newest generation's key, pending or not. Strings are borrowed. */
typedef struct RequestRequest {
        const char *id;
        const char *subject; /* RFC 4514 */
        char **alt_names;    /* "DNS:…", "IP:…", "URI:…", "email:…" */
} RequestRequest;
/* generation: whose key made it; 0: none was asked. */
typedef void (*manage_bytes_done)(void *userdata, const Failure *failure, uint64_t generation,
                                  const Bytes *der);
void manage_request(Manage *manage, const RequestRequest *request, manage_bytes_done done,
                    void *userdata);

typedef struct ExportRequest {
        const char *id;
        const char *format; /* "pkcs12", "pem" */
        int passphrase_fd;  /* borrowed during the call */
} ExportRequest;
/* fd: a sealed memfd, borrowed; -1 on failure. generation: as above. */
typedef void (*manage_fd_done)(void *userdata, const Failure *failure, uint64_t generation, int fd);
void manage_export(Manage *manage, const ExportRequest *request, manage_fd_done done,
                   void *userdata);

/* source NULL: the one that serves the URI, of those that the caller may manage. */
void manage_register(Manage *manage, const char *id, const char *uri, const char *source,
                     manage_done done, void *userdata);
void manage_set_enabled(Manage *manage, const char *id, bool enabled, manage_done done,
                        void *userdata);
void manage_refresh(Manage *manage, const char *id, manage_done done, void *userdata);
/*
 * What a source made of a use of this generation's key: 0, or its failure's status. Where that does not fit
 * what is known of the current one, it is looked up at once, for a source that misses a key may be asked
 * too early, or wrongly.
 */
void manage_key_used(Manage *manage, const char *id, uint64_t generation, int status);
/* A signature of this generation's key was wrong and did not leave: it is not handed out until it passes a trial. */
void manage_key_suspected(Manage *manage, const char *id, uint64_t generation, Algorithm algorithm);
void manage_delete_certificate(Manage *manage, const char *id, bool destroy_key, manage_done done,
                               void *userdata);

/*
 * A backend's settings: what is not in `set` stays (or is the default, for a new one). Checked here: URL, lists,
 * thumbprints, and that the certificate exists; `certificate` is an id or a thumbprint, already resolved by the caller to an id.
 */
typedef enum BackendField {
        BACKEND_URL = 1 << 0,
        BACKEND_CERTIFICATE = 1 << 1,
        BACKEND_VALIDATE_CHAIN = 1 << 2,
        BACKEND_VALIDATE_NAME = 1 << 3,
        BACKEND_SERVER_NAMES = 1 << 4,
        BACKEND_CA_FILE = 1 << 5,
        BACKEND_SERVER_THUMBPRINTS = 1 << 6,
        BACKEND_SKIP_REASON = 1 << 7,
        BACKEND_SKIP_UNTIL = 1 << 8,
} BackendField;

typedef struct BackendSettings {
        unsigned set; /* BackendField bits */
        const char *url, *certificate, *ca_file, *skip_reason;
        bool validate_chain, validate_name;
        char **server_names, **server_thumbprints; /* borrowed */
        uint64_t skip_until_sec;
} BackendSettings;

void manage_create_backend(Manage *manage, const char *name, const BackendSettings *settings,
                           manage_done done, void *userdata);
void manage_change_backend(Manage *manage, const char *name, const BackendSettings *settings,
                           manage_done done, void *userdata);
void manage_delete_backend(Manage *manage, const char *name, manage_done done, void *userdata);
void manage_refresh_source(Manage *manage, const char *name, manage_done done, void *userdata);
void manage_unlock_source(Manage *manage, const char *name, int pin_fd, manage_done done,
                          void *userdata);
