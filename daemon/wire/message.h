/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between the broker and the process of one source: one packet of a SOCK_SEQPACKET pair
 * each, descriptors beside it. The broker sends requests; the process answers each with one reply of the
 * same id, in any order, and sends events (id 0) by itself; an event may ask for a signature of another
 * source's key, which is answered by a request of its own. Both ends are of the same build: a version
 * that differs ends the connection.
 *
 * Every operation uses the same two structures, and the members it needs; the rest stay absent.
 */
#pragma once

#include <stdint.h>

#include "base/bytes.h"
#include "base/failure.h"
#include "core/algorithm.h"
#include "core/breaker.h"

#define WIRE_VERSION     5
#define WIRE_PACKET_MAX  (176 * 1024) /* fits an unprivileged socket buffer */
#define WIRE_FDS_MAX     2
#define WIRE_TEXT_MAX    4096
#define WIRE_SETTINGS_MAX 1000
#define WIRE_CHAIN_MAX    16
#define WIRE_CERTIFICATE_MAX (64 * 1024)
#define WIRE_SPKI_MAX     2048
#define WIRE_INPUT_MAX    ALGORITHM_MESSAGE_MAX
#define WIRE_OUTPUT_MAX   (64 * 1024)
#define WIRE_MARK_LENGTH  16
#define WIRE_LEAF         "leaf"
#define WIRE_OWNER(uid) ((uint64_t)(uid) + 1)

typedef enum WireOperation {
        WIRE_CONFIGURE, /* settings. First, once. Reply when accepted; log-in goes on after it */
        WIRE_SIGN,      /* key_uri, algorithm, key_type, input → output (ECDSA in DER) */
        WIRE_DECRYPT,   /* key_uri, algorithm (text in `name`), input → output */
        WIRE_IMPORT,    /* name, generation, extractable, fds {bundle, passphrase}, input = mark → key
                           facts, chain; settings = "leaf=SHA-256 in upper-case hex" of those that are there
                           already: of one of them → chain alone, and nothing is made */
        WIRE_GENERATE,  /* name, generation, key_type, extractable, input = mark → key facts */
        WIRE_LOOKUP,    /* name, uri, key_uri = the key that it was before, certificates → key facts, chain; the
                           key's present state */
        WIRE_INSTALL,   /* name, generation, key_uri, chain, certificates: beside the key, or as objects of its own */
        WIRE_READ_CHAIN, /* fds {certificates}, input = the key's SubjectPublicKeyInfo, chain = those of others that will
                            do → chain of the first that has one, sorted */
        WIRE_REQUEST,   /* key_uri, name = subject, settings = SANs → output (PKCS#10), for drivers whose
                           key cannot sign it by WIRE_SIGN */
        WIRE_DESTROY,   /* key_uri, name: key, and the certificates that belong to it alone, or to the name */
        WIRE_TAKE_BACK, /* input = mark: whatever an import or generation with it has made, finished or not */
        WIRE_EXPORT,    /* key_uri, name = format, chain, fds {passphrase} → fds {memfd} */
        WIRE_UNLOCK,    /* fds {pin} */
        WIRE_REFRESH,   /* look again for token and keys */
        WIRE_ANSWER,    /* to what the process asked: generation = its number; name = why not, absent: done;
                           input = signature, chain */
        WIRE_PING,      /* answered at once by who reads: the process is there */
        _WIRE_OPERATION_N
} WireOperation;

/* Of a token's certificates for one key, those that the id in `name` has; see `certificates`. */
typedef enum WireCertificates {
        WIRE_CERTIFICATES_MADE,  /* the key was made for it: what lies beside the key, with its CKA_ID */
        WIRE_CERTIFICATES_OWNER, /* somebody's key: what its owner keeps beside it, and what was installed for the id */
        WIRE_CERTIFICATES_OWN,   /* another id's key: what was installed for this one, and nothing else */
        _WIRE_CERTIFICATES_N
} WireCertificates;

typedef struct WireRequest {
        uint64_t id;
        WireOperation operation;
        uint64_t timeout_usec; /* from receipt; the process answers CB_TIMED_OUT, or is killed where it signs */
        bool manages;   /* in the lane of management: as wire_request_init() says it of the operation, or more */
        uint64_t owner; /* whose turn it is there: WIRE_OWNER(uid); 0: the broker's own */
        char *name;
        uint64_t generation;
        char *uri;
        char *key_uri;
        KeyType key_type;
        Algorithm algorithm;
        bool extractable;
        WireCertificates certificates; /* WIRE_LOOKUP, WIRE_INSTALL, WIRE_DESTROY */
        Bytes input;
        BytesList chain;
        char **settings; /* WIRE_CONFIGURE: "key=value" */
        int fds[WIRE_FDS_MAX]; /* -1: none; owned */
} WireRequest;

typedef struct WireReply {
        uint64_t id;      /* 0: an event, `state` has changed */
        Failure failure;  /* status 0: done */
        uint64_t retry_after_usec;
        uint64_t refresh_after_usec; /* when to look the key up again; 0: never by itself */
        /* key facts */
        char *key_uri;
        KeyType key_type;
        uint32_t algorithms;
        bool extractable;
        Bytes spki;
        BytesList chain;
        char *warning;    /* what is wrong though it worked: for LastError */
        Bytes output;
        /* event */
        SourceState state;
        char *state_text; /* why; NULL: nothing to say */
        /*
         * Or, with a number here, a question: key_uri = id of the certificate that the source's settings name,
         * algorithms = one bit, output = what to sign; no bit: its chain alone.
         */
        uint64_t ask;
        int fds[WIRE_FDS_MAX];
} WireReply;

void wire_request_init(WireRequest *request, WireOperation operation); /* fds to -1 */
void wire_request_deinit(WireRequest *request);                        /* closes fds */
void wire_reply_init(WireReply *reply, uint64_t id);
void wire_reply_deinit(WireReply *reply);
const char *wire_operation_name(WireOperation operation);

/*
 * Encode: an owned packet; -EMSGSIZE where it, or a member, is over its limit; -EINVAL, -EILSEQ for what
 * the other end would refuse. The fds go beside it (packet.h). Decode: -EBADMSG for anything off; the fds
 * are -1: whoever received the packet puts them in.
 */
int wire_request_encode(const WireRequest *request, Bytes *ret_packet);
int wire_request_decode(const void *packet, size_t n, WireRequest *ret_request);
int wire_reply_encode(const WireReply *reply, Bytes *ret_packet);
int wire_reply_decode(const void *packet, size_t n, WireReply *ret_reply);
/* Of a packet that there was no memory to decode. */
uint64_t wire_request_id(const void *packet, size_t n);
uint64_t wire_reply_id(const void *packet, size_t n);
