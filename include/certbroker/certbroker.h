/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcertbroker: certificates, signatures and backends from certbrokerd, for gateways and tools.
 *
 * Outcomes. Every function that returns int gives 0 when done; a negative errno where the caller's
 * own surroundings failed (-ENOMEM, -EINVAL for an argument that is NULL and may not be); or an
 * enum cb_status (<certbroker/status.h>), an outcome of the call. Out parameters come last, are
 * called ret_…, and are untouched unless 0 is returned. Where a cb_error is taken it may be NULL;
 * else it holds the same status and a sentence for a person, and is untouched when 0 is returned.
 *
 * Outcomes of any call that asks the broker:
 *   CB_UNREACHABLE  nobody answers at the bus or the channel; certbrokerd is not running; or the
 *                   connection broke before the answer
 *   CB_TIMED_OUT    somebody is there, and gave no answer in time
 *   and all others with the meaning that the contract of org.certbroker1 gives them.
 *
 * Threads. A cb_client may be used by any number of threads at once. Each call has a connection for
 * itself while it lasts; no lock is held while waiting for an answer, so a slow signature delays no
 * other. The answer, a cb_credential, a cb_value, a cb_dict and a cb_watch belong to one thread at
 * a time. No function may be called from a signal's handler.
 *
 * Fork. After fork() the same cb_client may be used in the child, whoever held what in the parent:
 * the child makes connections of its own, so that the broker sees the child's user; what it
 * inherited is closed without a byte sent on it. A connection made before a change of the effective
 * user is not used after it either. fork() itself waits for other threads that are opening or closing
 * a socket at that moment, for no more than these system calls. The library registers nothing for
 * exit, has no destructors, starts no thread, and changes no signal's disposition.
 *
 * Descriptors. A program may close those of the library, as daemons do that close all they do not
 * know, and open its own under their numbers: each is looked at before it is used or closed, and the
 * next call connects anew. Only not by another thread in the midst of a call: no lock is on a number.
 *
 * Times are microseconds (usec) for waits, Unix time in seconds for dates. Text is UTF-8 without
 * NUL; whatever else is given as text is CB_INVALID_ARGUMENT.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <certbroker/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CB_API __attribute__((__visibility__("default")))

typedef struct cb_client cb_client;

/* What went wrong: status as the function returned it, text what, on which object, what to do. */
typedef struct cb_error {
        int status;
        char text[512];
} cb_error;

/* ------------------------------------------------------------------ the client */

/*
 * A client of the broker that is reached by `bus`: "system", "session", a D-Bus address (of a bus,
 * or of the broker's private channel; several, separated by `;`, are tried in order; only unix:
 * ones), or NULL for $CERTBROKER_BUS, and "system" where that is unset or the program is
 * set-user-ID.
 *
 * Connects to nothing yet; so it may be made before a fork, a chroot or a change of user. On a bus
 * the client asks for the broker's private channel and uses it from then on, if the channel's server
 * has the very uid of the name's owner on the bus. Where the system bus cannot be reached at all, as
 * in a chroot, it tries /run/certbroker/channel, as a path and as an abstract socket.
 *
 * Nothing is sent before the kernel has said whose the server is. A bus must be of root, of the
 * process's effective user, or of `messagebus`; a channel, and the owner of org.certbroker1 on a bus,
 * of root, of the effective user, or of `certbroker`. Both users are looked up here, for a chroot may
 * know no names; where there is no such user, the others remain. "system" and "session" are buses.
 * An address is the broker's channel where the name of its socket ends in "/channel", as the
 * broker's own does, and else a bus. Whose server is somebody else's is CB_ACCESS_DENIED.
 *
 * Gives the client to the caller, who frees it. 0, -ENOMEM; CB_INVALID_ARGUMENT: not an address.
 */
CB_API int cb_client_new(const char *bus, cb_client **ret_client);

/*
 * Closes the client's connections and frees it. No other thread may be in a call with it. NULL is
 * fine. In a child it sends nothing on what the parent opened. Returns NULL.
 */
CB_API cb_client *cb_client_free(cb_client *client);

/*
 * How long to wait for a server that is there until it lets us in (default 5 s; where nobody is
 * there it fails at once) and, from the start of a call, for its answer (default 25 s; the
 * connection's time counts into it). 0 keeps the present one. Any thread may call it at any time;
 * calls that have begun keep what they began with.
 */
CB_API void cb_client_set_timeouts(cb_client *client, uint64_t connect_usec, uint64_t call_usec);

/*
 * The process that answers this client: the one whose channel it is or, on a bus, the name's owner.
 * It was the broker's when it was asked for; who goes on to look at the process asks again
 * afterwards, for a number that is free goes to somebody else. CB_NOT_FOUND: it cannot be seen from
 * here (another namespace of processes).
 */
CB_API int cb_broker_pid(cb_client *client, pid_t *ret_pid, cb_error *error);

/* ------------------------------------------------------------------ credentials and signatures */

typedef struct cb_bytes {
        uint8_t *data;
        size_t n;
} cb_bytes;

/* What GetCredential answers, or the properties of a certificate in the same form. */
typedef struct cb_credential {
        char *id;            /* of the certificate */
        uint64_t generation; /* that chain and key are of */
        cb_bytes *chain;     /* n_chain certificates in DER, leaf first */
        size_t n_chain;      /* 0 only for a certificate that is still pending */
        char *key;           /* certbroker: URI pinned to the generation */
        char **algorithms;   /* that the key signs with; NULL-terminated, never NULL */
        uint64_t not_after;  /* Unix time, seconds */
        char *thumbprint;    /* SHA-1, upper-case hex */
        bool stale;          /* from a cache, because the source cannot be asked now */
        /* of a backend; NULL and false for a certificate */
        char *url;
        bool validate_chain, validate_name;        /* what to demand of the backend's certificate */
        char **server_names, **server_thumbprints; /* NULL-terminated; thumbprints are SHA-256 */
        char *ca_file;                             /* empty: the system's */
} cb_credential;

/*
 * What a gateway needs to call `backend`: which certificate to present with which key, and how to
 * verify the backend. Needs the operation `tls` on both. Sent again once where the connection
 * breaks. The caller frees the credential; all its strings and arrays go with it.
 */
CB_API int cb_get_credential(cb_client *client, const char *backend, cb_credential **ret_credential,
                             cb_error *error);

/*
 * A certificate as a credential. selector: an id, a thumbprint or `subject=DN`, as the manager's
 * GetCertificate takes it. Needs only `read`. Ownership as cb_get_credential().
 */
CB_API int cb_get_certificate(cb_client *client, const char *selector,
                              cb_credential **ret_credential, cb_error *error);

/*
 * One generation of a certificate, the current one or another that may still sign: its id, number, chain
 * and key. thumbprint is NULL, not_after 0, and algorithms are none: they are to be read from the chain's
 * leaf. id: no other selector. CB_NOT_FOUND, CB_EXPIRED, CB_DISABLED or CB_PENDING where it is not there or
 * may no longer sign. Needs only `read`. Ownership as cb_get_credential().
 */
CB_API int cb_get_generation(cb_client *client, const char *id, uint64_t generation,
                             cb_credential **ret_credential, cb_error *error);

/* Frees a credential and all in it; NULL is fine; returns NULL. */
CB_API cb_credential *cb_credential_free(cb_credential *credential);

/*
 * A signature with the key of certificate `id` (Certificate.Sign). generation 0: the current one.
 * algorithm: a name of the contract, as "ecdsa-sha256" (DER signature) or "rsa-pss-sha256".
 * input: a digest of exactly the algorithm's length, or for "ed25519" the message, at most 64 KiB.
 * signature: room for *n_signature bytes, set to what was written; -ENOBUFS where it does not fit,
 * and then *n_signature is what is needed. Needs the operation `use`. Sent again once where the
 * connection breaks.
 */
CB_API int cb_sign(cb_client *client, const char *id, uint64_t generation, const char *algorithm,
                   const void *input, size_t n_input, void *signature, size_t *n_signature,
                   cb_error *error);

/*
 * A signature of a TLS 1.3 CertificateVerify (RFC 8446, 4.4.3) and nothing else
 * (Certificate.SignTls). role: "client" or "server"; the broker builds the content from the
 * transcript's hash, of 32 or 48 bytes. Needs only the operation `tls`. All else as cb_sign().
 */
CB_API int cb_sign_tls(cb_client *client, const char *id, uint64_t generation,
                       const char *algorithm, const char *role, const void *transcript_hash,
                       size_t n_transcript_hash, void *signature, size_t *n_signature,
                       cb_error *error);

/* ------------------------------------------------------------------ watching a backend */

typedef struct cb_watch cb_watch;

/*
 * Watches the credential of `backend`. Has a connection of its own, made by the first wait, and
 * keeps the client's timeouts as they are now. The client must outlive it. Gives the watch to the
 * caller. 0, -ENOMEM, CB_INVALID_ARGUMENT.
 */
CB_API int cb_watch_new(cb_client *client, const char *backend, cb_watch **ret_watch);

/* Frees the watch and closes its connection; NULL is fine; returns NULL. */
CB_API cb_watch *cb_watch_free(cb_watch *watch);

/*
 * Waits until the credential differs from the one that this function gave last, and gives it to the
 * caller; the first call gives the present one at once. It survives restarts of the broker and of
 * the bus: it connects again, with growing pauses of at most 5 s, and compares. timeout_usec: how
 * long to wait at most, 0 to look without waiting for a change, UINT64_MAX for ever. An answer that
 * the broker owes is waited for, too, as long as any call would.
 *
 * 0                a credential, the caller's
 * CB_TIMED_OUT     nothing changed in that time; the text says if the broker was out of reach
 * -EINTR           a signal's handler ran; call again, or do not
 * any other        the broker's answer has become this (NotFound, AccessDenied, Disabled…): told
 *                  once, then the next call waits until that changes
 */
CB_API int cb_watch_wait(cb_watch *watch, uint64_t timeout_usec, cb_credential **ret_credential,
                         cb_error *error);

/* ------------------------------------------------------------------ any other call */

/*
 * Values of answers, as a tree. Everything in it is a copy and is owned by the root; a file
 * descriptor too: it is closed with the tree, unless its place is set to -1. Variants are
 * unwrapped. Trees are at most 8 deep.
 */
typedef enum cb_type {
        CB_TYPE_STRING,  /* also object paths and signatures */
        CB_TYPE_NUMBER,  /* any integer that is not negative */
        CB_TYPE_INTEGER, /* a negative integer */
        CB_TYPE_DOUBLE,
        CB_TYPE_BOOLEAN,
        CB_TYPE_FD,
        CB_TYPE_BYTES, /* ay */
        CB_TYPE_LIST,  /* any other array, and structs; and the root, the list of the arguments */
        CB_TYPE_DICT,  /* a{s…}, a{o…}; in the order of the message */
        _CB_TYPE_N
} cb_type;

typedef struct cb_value cb_value;
struct cb_value {
        cb_type type;
        union {
                char *string;
                uint64_t number;
                int64_t integer;
                double real;
                bool boolean;
                int fd;
                cb_bytes bytes;
                struct {
                        cb_value *items; /* n of them; of a dict, the values */
                        char **keys;     /* of a dict, n of them; else NULL */
                        size_t n;
                } list;
        } as;
};

/*
 * Frees a root and all below it; NULL is fine; returns NULL. Only for what a call gave as a root.
 */
CB_API cb_value *cb_value_free(cb_value *value);

/*
 * Readers, borrowed from the tree; any of them takes NULL, and gives NULL or `fallback` where the
 * value is of another type, the index too large or the key not there.
 */
CB_API const cb_value *cb_value_at(const cb_value *list, size_t index); /* of a dict: its values */
CB_API const cb_value *cb_value_get(const cb_value *dict, const char *key);
CB_API const char *cb_value_string(const cb_value *value, const char *fallback);
CB_API uint64_t cb_value_number(const cb_value *value, uint64_t fallback);
CB_API bool cb_value_boolean(const cb_value *value, bool fallback);
CB_API size_t cb_value_length(const cb_value *value); /* of a list, dict, bytes or string; else 0 */

typedef struct cb_dict cb_dict;

/* An empty a{sv} to be filled and sent; the caller frees it. 0, -ENOMEM. */
CB_API int cb_dict_new(cb_dict **ret_dict);

/* Frees a dict and all in it; NULL is fine; returns NULL. */
CB_API cb_dict *cb_dict_free(cb_dict *dict);

/*
 * Sets a key to a value of the D-Bus type s, b, u, t, as or au. Key and value are copied; what the
 * key was set to before is replaced. 0, -ENOMEM; -EINVAL: something is NULL that may not be;
 * CB_INVALID_ARGUMENT: not UTF-8.
 */
CB_API int cb_dict_set_string(cb_dict *dict, const char *key, const char *value);
CB_API int cb_dict_set_boolean(cb_dict *dict, const char *key, bool value);
CB_API int cb_dict_set_uint32(cb_dict *dict, const char *key, uint32_t value);
CB_API int cb_dict_set_uint64(cb_dict *dict, const char *key, uint64_t value);
CB_API int cb_dict_set_strings(cb_dict *dict, const char *key, const char *const *values,
                               size_t n_values);
CB_API int cb_dict_set_uint32s(cb_dict *dict, const char *key, const uint32_t *values,
                               size_t n_values);

/* One method of one object. Zero is the default of all that may be left out. */
typedef struct cb_method {
        const char *path;      /* NULL: /org/certbroker1 */
        const char *interface; /* NULL: org.certbroker1.Manager */
        const char *member;
        uint64_t timeout_usec; /* 0: the client's call timeout */
        bool repeatable; /* changes nothing: may be sent again once where the connection breaks */
} cb_method;

/*
 * Calls a method and gives its answer, a list of the out arguments, to the caller, who frees it
 * with cb_value_free(); ret_reply may be NULL. signature: the D-Bus types of what follows, of
 * these:
 *   s, o   const char *              b  int           u  uint32_t      t  uint64_t
 *   h      int, a file descriptor that stays the caller's
 *   ay     const void *, size_t      as  const char *const *, size_t
 *   a{sv}  const cb_dict *, NULL for an empty one
 * -EINVAL for any other signature; -EBADF where a descriptor is none; CB_INVALID_ARGUMENT for text
 * that is not UTF-8 and for a bad path. Where the connection breaks after a method was sent that is
 * not `repeatable`, it is CB_UNREACHABLE and not known whether the broker has done it.
 */
CB_API int cb_call(cb_client *client, const cb_method *method, cb_value **ret_reply,
                   cb_error *error, const char *signature, ...);
/* The same with a list of arguments. */
CB_API int cb_call_v(cb_client *client, const cb_method *method, cb_value **ret_reply,
                     cb_error *error, const char *signature, va_list arguments);

/*
 * The path of the object of a kind ("certificate", "backend", "source") and a name; the name is
 * escaped as sd_bus_path_encode(3) does. Gives a string that the caller frees with free(3). 0,
 * -ENOMEM; CB_INVALID_ARGUMENT: an empty kind or name, or more than 255 bytes.
 */
CB_API int cb_object_path(const char *kind, const char *name, char **ret_path);

/* The word of an outcome, as "not-found"; "failed" for a negative errno, "ok" for 0. Static. */
CB_API const char *cb_status_word(int status);

#ifdef __cplusplus
}
#endif
