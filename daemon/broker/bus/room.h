/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share: the bus, its peers, and the calls in flight. */
#pragma once

#include <dbus/dbus.h>
#include <stdio.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/map.h"
#include "broker/bus/bounds.h"
#include "broker/bus/bus.h"
#include "broker/bus/interface.h"
#include "broker/bus/node.h"
#include "broker/bus/options.h"
#include "broker/bus/value.h"
#include "core/news.h"
#include "core/quota.h"
#include "loop/bus-loop.h"

#define BUS_NAME                  "org.certbroker1"
typedef struct Peer Peer;
typedef struct Bulk Bulk;
typedef struct Call Call;
typedef struct Link Link;
typedef struct Channel Channel;

/* credentials.c: senders that the bus has been asked about, and what waits for its answers. */
typedef struct Asking {
        TAILQ_HEAD(, Peer) peers; /* in the order in which they were asked about */
        sd_event_source *deadline;
        size_t n_messages, size, n_with_fds;
} Asking;

/* book.c: whom the bus has something for, that it was sent by us. */
typedef struct Book {
        TAILQ_HEAD(, Peer) peers;
        sd_event_source *timer; /* NULL until there is the first */
        bool is_silent;         /* the bus does not tell */
} Book;

/* stock.c: of what a grant lets somebody manage. */
typedef struct Stock {
        uint64_t certificates, generations, backends;
} Stock;

/* A log line that a client could have written again and again: with how many there were. */
typedef struct Complaint {
        uint64_t logged_usec;
        uint64_t n_more;
} Complaint;

/* teller.c: time for what is told at once. */
typedef struct AtOnce {
        int64_t credit_usec;
        uint64_t earned_at_usec;
} AtOnce;

struct Bus {
        BusRooms rooms;
        BusHost host;
        void *userdata;
        Grants *grants; /* in force; a reference */
        Stock *stocks;  /* one for each of these; NULL: not counted yet */
        Quota *quota;
        uint64_t n_files; /* descriptors that we may have */
        Link *link; /* to the message bus */
        Channel *channel;
        char *channel_address;
        Map names;                           /* unique name → Peer, of the message bus */
        TAILQ_HEAD(PeerList, Peer) peers;    /* all of them */
        TAILQ_HEAD(PeerGraves, Peer) graves; /* gone; freed by `burial` */
        sd_event_source *burial;
        News *news;
        AtOnce at_once;
        sd_event_source *later; /* who waits for room on its client's account; NULL: nobody has yet */
        Turns *turns;
        sd_event_source *runner, *runner_timer;
        sd_event_source *trim; /* NULL until memory is to be given back for the first time */
        size_t n_buried;       /* since it was */
        Asking asking;
        Book book;
        Complaint complaints[_STANDING_N][_RESOURCE_N];
        Complaint other_complaint;
        size_t n_calls;
        Refusals *refusals;
        sd_event_source *sums; /* NULL until the first refusal that is summed up */
        bool stopping;
};

/* --- peer.c: who is behind a connection --- */

/* inbox.c: a call from the bus that waits, for the bus's word about its sender or for its client's turn. */
typedef struct Waiting {
        DBusMessage *message;
        size_t size;
        bool with_fds;
        Charge slot, bytes, fds; /* once it is known whose it is */
        STAILQ_ENTRY(Waiting) next;
} Waiting;

/* objects.c: the object that was last looked at, of these kinds; "": none of its kind. */
typedef struct ObjectCursor {
        ObjectKind kind, last_kind;
        char name[IDENTIFIER_LENGTH_MAX + 1];
} ObjectCursor;

/* views.c: what it has been told of, where that is not what it may read now. */
typedef struct View {
        Grants *told;    /* a reference: its view is of these; NULL: of those in force */
        Grants *telling; /* a reference: it is being told the difference to these; NULL: not begun */
        ObjectCursor cursor; /* how far that is */
} View;

/* book.c: of the bus only. */
typedef struct Booked {
        Charge charge;           /* what the bus may have for it */
        uint64_t since;          /* of that: what it was sent after the bus was asked last */
        dbus_uint32_t asked;     /* the serial of the question; 0: it has been answered */
        TAILQ_ENTRY(Peer) entry; /* while there is a charge */
} Booked;

typedef enum PeerState {
        PEER_ASKING, /* the bus has been asked who it is; its calls wait */
        PEER_KNOWN,
        PEER_GONE,
} PeerState;

struct Peer {
        Bus *bus;
        PeerState state;
        DBusConnection *connection; /* of the bus: the link's; of the channel: its own */
        BusLoop *loop;              /* of the channel only */
        sd_event_source *login;     /* likewise: when it must be over */
        char *name;                 /* unique name; NULL on the channel */
        Subject subject;
        Standing standing; /* of the subject, by the grants in force */
        Turn turn;         /* once it is known who it is */
        Turn slow_turn;    /* likewise: for large answers and signals */
        NewsReader news;   /* likewise */
        bool is_held_up;   /* it has not read what it was sent, and is told more when it has */
        Charge place;      /* of the channel only */
        Charge held;       /* likewise: what is kept for it, and what it has not read */
        Charge given;      /* descriptors that it has not read */
        Booked booked;
        bool is_asking;
        dbus_uint32_t asked_serial;
        uint64_t asked_usec;
        TAILQ_ENTRY(Peer) asking_entry;
        STAILQ_HEAD(, Waiting) waiting; /* of the bus only */
        TAILQ_HEAD(, Call) calls;
        TAILQ_HEAD(, Bulk) bulks; /* of these; the first one is being made */
        TAILQ_ENTRY(Peer) entry;
        bool has_called; /* then it gets signals */
        View view;
};

int peer_new(Bus *bus, DBusConnection *connection, const char *name, Peer **ret_peer);
Peer *peer_free(Peer *peer);
DEFINE_CLEANUP(Peer, peer_free)
/* Its subject is known: it has a standing, and a turn. */
int peer_enter_known(Peer *peer, void (*take)(void *peer));
Client peer_client(const Peer *peer);
Standing standing_of(const Bus *bus, const Subject *subject);
/* Its calls in flight are answered to nobody; it is freed when the loop turns. */
void peer_gone(Peer *peer);
void peers_of_bus_gone(Bus *bus);
void peers_bury(Bus *bus);
Peer *peer_find(const Bus *bus, const char *name);
/* Other grants are in force: each stands where these put it. */
void peers_stand_anew(Bus *bus);

/* --- door.c: connections to the channel --- */

/* Takes a connection of the channel in, or refuses it. */
void peer_on_channel_connection(Bus *bus, DBusConnection *connection);

/* --- inbox.c: calls from the bus --- */

/* A message from a name on the bus: finds or makes its peer, and keeps it until it is known who it is, and its turn. */
void peer_on_bus_message(Bus *bus, DBusConnection *connection, DBusMessage *message);
/* It is known who the peer is: what waited is its client's now. */
void inbox_charge(Peer *peer);
/* The bus does not say it. */
void inbox_refuse(Peer *peer, int r);
void inbox_drop(Peer *peer);
/* Room has been made on the way out: who waited for that may go on. */
void inbox_wake(Bus *bus);

/* --- credentials.c: who is behind a name --- */

int credentials_ask(Peer *peer);
void credentials_forget(Peer *peer);
/* An answer or error of the bus itself on the line on which it is asked. */
void credentials_on_answer(Bus *bus, DBusMessage *answer);
/* No more messages may wait for answers now. */
bool credentials_are_full(const Bus *bus);

/* --- outgoing.c: what goes out, and on whose account --- */

size_t message_size(DBusMessage *message); /* 0: no memory to find out */
/* What was handed to the kernel is not on anybody's account any more. */
void peer_settle(Peer *peer);
/* Neither calls are read nor signals sent beyond these. */
bool peer_is_unread(const Peer *peer);
bool peer_has_account_for_signals(Peer *peer);
/*
 * May put a smaller copy in its place. size 0: it is not known. CB_LIMIT_EXCEEDED: its client does not read what it has
 * been answered.
 */
int peer_admit(Peer *peer, DBusMessage **answer, size_t size);
void peer_send(Peer *peer, DBusMessage *message); /* does not take it */
/*
 * There is no memory for what it has to be sent. Its connection to the channel ends, so that it waits for nothing; on a
 * bus it waits as long as it means to.
 */
void peer_send_nothing(Peer *peer);

/* --- teller.c: what takes long, in turns of its own --- */

int teller_new(Peer *peer);   /* it is known who it is: it is told what changes from now on */
void teller_stop(Peer *peer); /* also before teller_new() */
/* There is something to tell it, or room for it again. */
void teller_wake(Peer *peer);
void tellers_wake(Bus *bus);
/* What has just changed, as far as that takes no time to speak of. */
void tellers_tell_at_once(Bus *bus);

/* --- book.c: what the bus has still --- */

/* Of this client's answers, so much more? On a bus that does not tell, whatever there is. */
bool book_has_room(const Peer *peer, uint64_t size);
/* Books what is sent next: 0, CB_LIMIT_EXCEEDED or -ENOMEM. */
int book_add(Peer *peer, size_t size);
/* It has been sent: time to ask? */
void book_sent(Peer *peer);
void book_forget(Peer *peer);

/* --- given.c: descriptors that go out --- */

/* May it be sent another one? Then it is on its account. CB_LIMIT_EXCEEDED. */
int given_admit(Peer *peer);
/* The bus's own answer to a question on the line of calls. */
void book_on_answer(Bus *bus, DBusMessage *answer);

/* --- runner.c, complain.c --- */

int runner_new(Bus *bus);
void runner_free(Bus *bus);
void bus_want_turn(Bus *bus, Turn *turn);

/* A client has reached a limit: counted, shown, and said now and then. */
void note_limit(Bus *bus, Client client, Resource resource);
/* What a client may make us say at will. */
void complain(Bus *bus, const char *format, ...) PRINTF(2, 3);

/* --- call.c: one method call, answered exactly once --- */

#define ASKED_TEXT 104

struct Call {
        Bus *bus;
        Peer *peer; /* NULL: gone */
        TAILQ_ENTRY(Call) entry;
        MethodId method;
        Charge charge;
        uint32_t serial;
        bool no_reply;
        bool answered;
        Node node;
        /* what a handler that answers later needs */
        ObjectKind kind; /* the object that it makes */
        char name[IDENTIFIER_LENGTH_MAX + 1];
        bool answers_path;
        Algorithm algorithm;
        Operation operation;     /* 0: the method's class says it all */
        char *bound;             /* the certificate that a backend gets; NULL: none */
        char *source;            /* where it makes a certificate; NULL: not known, or it makes none */
        uint64_t grants_version; /* under which it was allowed */
        uint64_t life;           /* of the certificate that it was called on */
        /* for the audit log: kept here, for the peer may go before the answer */
        uint32_t uid, pid;
        char *unit;
        char *grant;
        uint64_t generation;              /* as it was asked for, then the one that was used or made */
        char algorithm_asked[ASKED_TEXT]; /* "": the call has none */
        const char *certificate; /* whose credential it is; borrowed until the record is written */
        bool forced;
        bool is_disabled, is_enabled; /* as BusRecord has them */
        bool refused;       /* no grant allows it */
        bool mistyped;      /* an option is of a wrong D-Bus type: what call_fail() then says */
        const char *result; /* NULL: ok */
        uint64_t began_usec;
        DBusMessage *answer; /* waits for its record */
        size_t answer_size;  /* 0: not known */
        /* NULL, or makes the answer when the record is there; NULL of it: not possible */
        DBusMessage *(*make_answer)(const Call *call);
};

/* On success call_on_done() answers the path of this object. */
void call_answers_path(Call *call, ObjectKind kind, const char *name);
int call_new(Peer *peer, const Node *node, MethodId method, DBusMessage *message, Call **ret_call);
/* The descriptor at the iterator, as a duplicate of our own; -1: none is left. It is the caller's: base/stranger.h. */
int call_take_descriptor(const Call *call, DBusMessageIter *iter);
const Subject *call_subject(const Call *call); /* not after its peer has gone */
/* options_read() for this call: a wrong type fails with D-Bus's own error, as arguments of wrong types do. */
int call_read_options(Call *call, DBusMessageIter *iter, const Option *options, size_t n_options,
                      Value *values, Failure *failure);
/* Each of these ends the call and frees it. */
void call_answer(Call *call, DBusMessage *reply); /* takes the reply */
/* With what make() gives once the call has been recorded. */
void call_answer_recorded(Call *call, DBusMessage *(*make)(const Call *call));
void call_answer_empty(Call *call);
void call_answer_bytes(Call *call, const Bytes *bytes);
void call_answer_value(Call *call, const Value *value);
void call_fail(Call *call, const Failure *failure);
void call_fail_status(Call *call, int status, const char *format, ...) PRINTF(3, 4);
void call_fail_standard(Call *call, const char *error, const char *format, ...) PRINTF(3, 4);
void call_fail_memory(Call *call);
/* The same where its size is known, but for the header. 0: it is not. */
void call_answer_sized(Call *call, DBusMessage *reply, size_t size);
/* In the shape of manage_done: answers the object's path, if answers_path, or nothing, or the failure. */
void call_on_done(void *call, const Failure *failure);
/* An answer to fill; NULL: no memory. */
DBusMessage *call_new_answer(const Call *call);
/* An error to a message that has not become a call. */
void refuse_message(Peer *peer, DBusMessage *message, const char *error, const char *format, ...)
        PRINTF(4, 5);

/* --- record.c: what the audit log is told --- */

/* Is this method one whose every outcome is recorded? Reading is recorded only where it was refused. */
bool method_is_recorded(MethodId method);
bool method_needs_record(MethodId method);
/* The grant that let the subject do it: kept for the record. */
int call_note_grant(Call *call, const Grant *grant);
void call_note_made(Call *call); /* the generation, after a success */
/* Hands the record to the host; `done` as in BusHost. False: there is nothing to record. */
bool call_record(Call *call, bus_recorded done);
/* Counts an answered call; those of objects under their source. */
void call_count(const Call *call);
/* A call that was refused before it became one. */
void record_refusal(Peer *peer, const Node *node, MethodId method, DBusMessage *message, int status);

typedef struct Asked {
        uint64_t generation;
        char algorithm[ASKED_TEXT];
} Asked;

/* What a message of checked types asks of a key, for the record. */
void asked_of(MethodId method, DBusMessage *message, Asked *ret_asked);
/* What the broker did by itself; asked: of which generation, by which algorithm, where there are any. */
void record_own(Bus *bus, const char *event, ObjectKind kind, const char *name, const Asked *asked);

/* --- refused.c: which failures are recorded one by one --- */

/* false: it has been added to the sums. */
bool refusal_is_single(Bus *bus, uint32_t uid, bool has_grant, MethodId method, const char *result);
/* Records the sums now. */
void refusals_tell(Bus *bus);

/* --- access.c: may it? --- */

/* The grant by which the class of this method was allowed; NULL: none is needed. */
const Grant *deciding_grant(const Bus *bus, const Subject *subject, const Node *node,
                            MethodId method, const char *argument);

bool may_read(const Bus *bus, const Subject *subject, ObjectKind kind, const char *name);
/* 0; CB_NOT_FOUND where the subject may not read the object; CB_ACCESS_DENIED. */
int check_access(const Bus *bus, const Subject *subject, const Request *request, Failure *failure);
/* The same, by the method's class. `argument` is its first one, for the classes that create. */
int check_method(const Bus *bus, const Subject *subject, const Node *node, MethodId method,
                 const char *argument, Failure *failure);
/* May it make a certificate in this source? As check_access(). */
int check_source(const Bus *bus, const Subject *subject, const char *source, Failure *failure);
/* stock.c: how much of it there may be, and how fast it may be made. `argument` as above. 0 or CB_LIMIT_EXCEEDED. */
int check_stock(const Call *call, const char *argument, Failure *failure);
/* There are so many more, or fewer, under this name. */
void stock_add(Bus *bus, ObjectKind kind, const char *name, int n_objects, int64_t n_generations);
void stock_forget(Bus *bus); /* other grants are in force */
/* The same for a call that knows it now; it is asked about again with call_decide_again(). */
int call_needs_source(Call *call, const char *source, Failure *failure);

/*
 * The same for a call that has waited, with its operation and algorithm: 0, or what it has to be answered
 * instead. Asked before each step that cannot be taken back, and before what a source gave is handed out.
 */
int call_decide_again(Call *call, Failure *failure);
/*
 * Asked right before anything is handed out that this generation's key made, and before its own key: is it still
 * allowed, and is the key still one that may be used? What was begun before a Retire, SetEnabled(false) or Delete was
 * answered ends here. generation 0: no key was used.
 */
int call_may_hand_out(Call *call, uint64_t generation, Failure *failure);

/* --- objects.c: what is there, as one subject sees it --- */

typedef struct Object {
        const Bus *bus;
        const Subject *subject;
        ObjectKind kind;
        const char *name;
        const Certificate *certificate;
        const Backend *backend;
        BusSource source;
        uint64_t now_sec;
} Object;

/* 0, or CB_NOT_FOUND. What it fills is borrowed until the loop's next turn. */
int object_find(const Bus *bus, const Subject *subject, ObjectKind kind, const char *name,
                Object *ret_object, Failure *failure);
/* The cursor at the next one, by kind and name, whoever may read it. false: there is none. */
bool objects_next(const Bus *bus, ObjectCursor *cursor);
void object_path(const Object *object, char *ret_path);

/* --- facts.c --- */

/* Names of these algorithms, owned. The legacy ones only if the subject may sign with them; NULL: none of them. */
int algorithm_names(const Bus *bus, const Subject *subject, const char *id, uint32_t algorithms,
                    char ***ret_names);
int property_value(PropertyId property, const Object *object, Value *ret_value);

/* --- properties.c --- */

/*
 * a{sv} of the object's own interface: all that are in bulk answers. -ENOMEM. *size goes from the length of the body
 * before it to that after it.
 */
int properties_append(DBusMessageIter *iter, const Object *object, size_t *size);
/* a{sa{sv}} */
int interfaces_append(DBusMessageIter *iter, const Object *object, size_t *size);

/* --- bulk.c: answers that grow with what there is, a part at a time --- */

typedef struct BulkForm {
        bool (*begin)(Bulk *bulk);                     /* false, of both of these: no memory */
        bool (*add)(Bulk *bulk, const Object *object); /* one that the caller may read */
        DBusMessage *(*end)(Bulk *bulk);               /* NULL: no memory */
        /* Of a search, these alone: one step, false after the last; and the answer. */
        bool (*next)(Bulk *bulk);
        void (*finish)(Bulk *bulk);
} BulkForm;

struct Bulk {
        Call *call;
        const BulkForm *form;
        ObjectCursor cursor;
        CatalogSearch search; /* or that */
        size_t n_left;        /* objects that are still wanted */
        size_t size;   /* of the answer's body, as far as there is one; of a text, its children's part */
        Charge bytes;  /* for that */
        bool has_begun;
        DBusMessage *reply;
        DBusMessageIter iter, items;
        FILE *text; /* or a text, which is `written` then */
        char *written;
        size_t n_written;
        TAILQ_ENTRY(Bulk) entry;
};

/* Answers the call, now or in the peer's turns. Objects of the cursor's kinds, after its name, n_max at most. */
void bulk_answer(Call *call, const BulkForm *form, const ObjectCursor *cursor, size_t n_max);
/* Goes on with a search in the peer's turns, and takes it over; answers a failure itself. */
void bulk_search(Call *call, const BulkForm *form, CatalogSearch *search);
/* Some of the first one of its bulks; no more objects after this time. */
void bulk_go_on(Peer *peer, uint64_t until_usec);
void bulks_drop(Peer *peer);

/* --- changes.c: what has changed --- */

extern const ManageEvents changes_of_manage;

/* The channel's address has changed. */
void note_channel_address(Bus *bus);

_Static_assert(_PROPERTY_N <= 64, "a notice has a bit for each property");
static inline uint64_t property_bit(PropertyId property)
{
        return UINT64_C(1) << property;
}

/* --- signals.c: one peer is told --- */

/* Does it get signals? */
bool peer_listens(const Peer *peer);
/* If it may read what it is about. */
void signal_tell(Peer *peer, const Notice *notice);
/*
 * For what a reload changed: the object, if it
 * may read it; that it is gone; a certificate's Backends.
 */
void signal_added_to(Peer *peer, ObjectKind kind, const char *name);
void signal_removed_to(Peer *peer, ObjectKind kind, const char *name);
void signal_users_to(Peer *peer, const char *certificate);

/* --- views.c: what each peer may see, after a reload --- */

/* The grants in force have replaced these. */
void views_follow(Bus *bus, Grants *before);
/* Has it been told of this object, and not yet that it may not read it any more? */
bool view_may_have(const Peer *peer, ObjectKind kind, const char *name);
/* One object more, where it is not told of all yet. */
void view_go_on(Peer *peer);
void view_deinit(View *view);

/* --- dispatch.c --- */

/* A method call of a peer that is known. */
void dispatch_call(Peer *peer, DBusMessage *message);
/* `message` is borrowed while the handler runs; the call is the handler's. */
typedef void (*MethodHandler)(Call *call, DBusMessage *message);

/* --- methods-*.c --- */

extern const MethodHandler method_handlers[_METHOD_N];

void manager_import_certificate(Call *call, DBusMessage *message);
void manager_register_certificate(Call *call, DBusMessage *message);
void manager_create_backend(Call *call, DBusMessage *message);
void manager_get_certificate(Call *call, DBusMessage *message);
void manager_list_certificates(Call *call, DBusMessage *message);
void manager_get_metrics(Call *call, DBusMessage *message);
void manager_open_audit(Call *call, DBusMessage *message);
void manager_check_access(Call *call, DBusMessage *message);
void manager_reload(Call *call, DBusMessage *message);
void manager_get_managed_objects(Call *call, DBusMessage *message);
void certificate_sign(Call *call, DBusMessage *message);
void manager_generate_key(Call *call, DBusMessage *message);
void certificate_sign_tls(Call *call, DBusMessage *message);
void certificate_decrypt(Call *call, DBusMessage *message);
void certificate_create_request(Call *call, DBusMessage *message);
void certificate_install_certificate(Call *call, DBusMessage *message);
void certificate_set_current(Call *call, DBusMessage *message);
void certificate_retire(Call *call, DBusMessage *message);
void certificate_get_chain(Call *call, DBusMessage *message);
void certificate_export(Call *call, DBusMessage *message);
void certificate_refresh(Call *call, DBusMessage *message);
void certificate_set_enabled(Call *call, DBusMessage *message);
void certificate_delete(Call *call, DBusMessage *message);
void backend_get_credential(Call *call, DBusMessage *message);
void backend_change(Call *call, DBusMessage *message);
void backend_delete(Call *call, DBusMessage *message);
void source_refresh(Call *call, DBusMessage *message);
void source_unlock(Call *call, DBusMessage *message);
void properties_get(Call *call, DBusMessage *message);
void properties_get_all(Call *call, DBusMessage *message);
void properties_set(Call *call, DBusMessage *message);
void introspect(Call *call, DBusMessage *message);
void peer_ping(Call *call, DBusMessage *message);
void peer_get_machine_id(Call *call, DBusMessage *message);

/* Sets one writable property; the iterator is at the variant's value. Used by Set. */
void backend_set_property(Call *call, const char *name, DBusMessageIter *value);

/* --- link.c, channel.c --- */

int link_new(Bus *bus, const char *address, Link **ret_link, Failure *failure);
Link *link_free(Link *link);
void link_stop(Link *link);
bool link_is_idle(const Link *link);
/* On the line on which the bus is asked, beside the one on which it sends us calls. Takes the question. */
bool link_ask(Link *link, DBusMessage *question, dbus_uint32_t *ret_serial);
/* The line of calls may be read again. */
void link_resume(Link *link);
/* What this client is sent is on its accounts. */
int link_admit(Link *link, Peer *peer, size_t size);
/* Has it room for what it may be answered? Else nothing is done for it. */
int link_may_call(Link *link, const Peer *peer);
void link_send(Link *link, Peer *peer, DBusMessage *message);
bool link_is_unread(const Link *link);
/* May somebody of this standing be answered now? If not, inbox_wake() comes soon. */
bool link_may_answer(Link *link, Standing standing);
int channel_new(Bus *bus, const char *runtime_directory, Channel **ret_channel, Failure *failure);
Channel *channel_free(Channel *channel);
void channel_stop(Channel *channel);
