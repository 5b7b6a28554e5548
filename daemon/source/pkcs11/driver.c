/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pkcs11 driver's table, and the operations that need no more than a session. The one slot that is NULL: a request
 * is built by the broker and signed by way of `sign`.
 */
#include "source/pkcs11/driver.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/strings.h"
#include "pki/x509.h"
#include "source/pkcs11/beside.h"
#include "source/pkcs11/decrypt.h"
#include "source/pkcs11/export.h"
#include "source/pkcs11/facts.h"
#include "source/pkcs11/generate.h"
#include "source/pkcs11/keeper.h"
#include "source/pkcs11/keys.h"
#include "source/pkcs11/sign.h"
#include "source/pkcs11/store.h"
#include "source/pkcs11/take-back.h"
#include "source/pkcs11/token.h"

#define PIN_MAX       1024
#define END_WAIT_USEC (1500 * USEC_PER_MSEC) /* the broker kills after 2 s */

static int p11_configure(char *const *settings, const DriverHost *host, void **ret_instance,
                         DriverWorkers *ret_workers, Failure *failure)
{
        Token *token = calloc(1, sizeof(*token));
        int r;

        if (!token)
                return -ENOMEM;
        r = token_init(token, settings, host, failure);
        if (r != 0)
                return r; /* what it has so far is of a process that will be ended */
        *ret_instance = token;
        *ret_workers = (DriverWorkers){ token->n_sign_max, MANAGE_SESSIONS };
        return 0;
}

static int p11_start(void *instance)
{
        return keeper_start(instance);
}

static void p11_wipe(void *instance)
{
        Token *token = instance;

        pins_wipe(&token->pins, clock_monotonic_usec() + END_WAIT_USEC);
}

/* Sign */

typedef struct SignJob {
        const WireRequest *request;
        WireReply *reply;
} SignJob;

static int sign_work(Session *session, void *userdata, Failure *failure)
{
        SignJob *job = userdata;
        const WireRequest *request = job->request;
        Key key;
        int r;

        r = keys_find(session, request->key_uri, &key, failure);
        if (r != 0)
                return r;
        if (!algorithm_fits_key(request->algorithm, key.type) ||
            !(token_algorithms(session->token, key.type) & ALGORITHM_BIT(request->algorithm)))
                return fail(failure, CB_NOT_SUPPORTED,
                            "a key of type %s on this token cannot do %s", key_type_name(key.type),
                            algorithm_name(request->algorithm));
        r = key_sign(session, &key, request->algorithm, &request->input, &job->reply->output,
                     failure);
        if (r == 0)
                token_note_success(session->token);
        else
                keys_forget(session->token, request->key_uri);
        return r;
}

static int p11_sign(void *instance, const DriverCall *call, WireReply *reply)
{
        const WireRequest *request = call->request;
        SignJob job = { request, reply };

        if (!request->key_uri)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "no key is named");
        if (!algorithm_takes_input(request->algorithm, request->input.n))
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "%zu bytes are no input for %s",
                            request->input.n, algorithm_name(request->algorithm));
        return session_run_call(instance, call, sign_work, &job, &reply->failure);
}

/* Look-up */

typedef struct Lookup {
        const WireRequest *request;
        KeyFacts facts;
        BytesList chain;
        char *fault; /* of the chain */
} Lookup;

static void lookup_deinit(Lookup *lookup)
{
        key_facts_deinit(&lookup->facts);
        bytes_list_deinit(&lookup->chain);
        freep(&lookup->fault);
}

/* A URI that has come to fit several keys, for names are anybody's to give, still means the one that it meant. */
static int lookup_key(Session *session, const WireRequest *request, CK_OBJECT_HANDLE *ret_handle,
                      Failure *failure)
{
        CLEANUP(locator_deinit) Locator locator = { 0 };
        Failure several = { 0 };
        Key known;
        int r;

        r = locator_parse(request->uri, &session->token->info, true, &locator, failure);
        if (r == 0)
                r = keys_search(session, &locator, request->uri, ret_handle, failure);
        if (r != CB_INVALID_ARGUMENT || !request->key_uri)
                return r;
        several = *failure;
        *failure = (Failure){ 0 };
        keys_forget(session->token, request->key_uri);
        r = keys_find(session, request->key_uri, &known, failure);
        if (r == 0)
                *ret_handle = known.handle;
        if (r == CB_NOT_FOUND)
                *failure = several;
        return r == CB_NOT_FOUND ? several.status : r;
}

/* Has the URI come to fit another key than before, one that an import or generation has made for another id? */
static int check_key(Session *session, const Lookup *lookup, Failure *failure)
{
        const WireRequest *request = lookup->request;
        const Locator *found = &lookup->facts.locator;
        const Asker asker = { request->name, WIRE_CERTIFICATES_MADE };
        CLEANUP(locator_deinit) Locator known = { 0 };
        int r;

        if (!request->key_uri || string_equal(request->uri, request->key_uri) ||
            found->id.n != OWN_ID_LENGTH || key_is_made_for(&lookup->facts, &asker))
                return 0;
        r = locator_parse(request->key_uri, &session->token->info, false, &known, failure);
        if (r != 0 || bytes_equal(&known.id, &found->id))
                return r;
        return fail(failure, CB_NOT_FOUND,
                    "source '%s' has another private key for '%s' now, which was made for another "
                    "certificate; it is not taken",
                    session->token->name, string_or_empty(request->name));
}

static int lookup_work(Session *session, void *userdata, Failure *failure)
{
        Lookup *lookup = userdata;
        const WireRequest *request = lookup->request;
        const Asker asker = { request->name, request->certificates };
        CK_OBJECT_HANDLE handle;
        int r;

        lookup_deinit(lookup); /* of a first try */
        *lookup = (Lookup){ .request = request };
        r = lookup_key(session, request, &handle, failure);
        if (r == 0)
                r = key_facts_read(session, handle, &lookup->facts, failure);
        if (r == 0)
                r = check_key(session, lookup, failure);
        if (r == 0)
                r = key_chain(session, &lookup->facts, &asker, &lookup->chain, &lookup->fault,
                              failure);
        return r;
}

static int p11_lookup(void *instance, const DriverCall *call, WireReply *reply)
{
        CLEANUP(lookup_deinit) Lookup lookup = { .request = call->request };
        int r;

        if (!call->request->uri)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "no key is named");
        r = session_run(instance, call->deadline_usec, lookup_work, &lookup, &reply->failure);
        if (r == 0)
                r = key_facts_reply(instance, &lookup.facts, reply);
        if (r != 0)
                return r;
        /* That nothing was installed for it yet is no fault: it has what it was registered with. */
        if (lookup.chain.n > 0)
                r = pki_chain_warning(lookup.fault,
                                      "put a valid certificate of that name beside the key in the "
                                      "token, or install it",
                                      &reply->warning);
        else if (call->request->certificates != WIRE_CERTIFICATES_OWN)
                r = string_set(&reply->warning,
                               "there is no certificate for this key in the source yet");
        if (r != 0)
                return r;
        reply->chain = lookup.chain;
        lookup.chain = (BytesList){ 0 };
        return 0;
}

/* The rest */

static int p11_import(void *instance, const DriverCall *call, WireReply *reply)
{
        return store_import(instance, call, reply);
}

static int p11_install(void *instance, const DriverCall *call, WireReply *reply)
{
        return store_install(instance, call, reply);
}

static int p11_destroy(void *instance, const DriverCall *call, WireReply *reply)
{
        return store_destroy(instance, call, reply);
}

static int p11_take_back(void *instance, const DriverCall *call, WireReply *reply)
{
        return take_back(instance, call, reply);
}

static int p11_unlock(void *instance, const DriverCall *call, WireReply *reply)
{
        CLEANUP(secret_freep) Secret *pin = NULL;
        int r;

        r = handed_take(call->handed, 0, "PIN", &pin, &reply->failure);
        if (r != 0)
                return r;
        secret_chomp(pin);
        if (secret_length(pin) > PIN_MAX)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "the PIN is longer than %d bytes",
                            PIN_MAX);
        if (secret_length(pin) == 0)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "the PIN is empty");
        return token_unlock(instance, TAKE(pin), call->deadline_usec, &reply->failure);
}

static int p11_refresh(void *instance, const DriverCall *call, WireReply *reply)
{
        bool by_broker = call->request->owner == 0; /* the configuration was read again */

        if (!by_broker)
                keys_clear(instance);
        return token_ask(instance, by_broker ? WANT_LOOK : WANT_LOOK | WANT_AFRESH,
                         call->deadline_usec, &reply->failure);
}

const SourceDriver pkcs11_driver = {
        .name = "pkcs11",
        .configure = p11_configure,
        .start = p11_start,
        .wipe = p11_wipe,
        .sign = p11_sign,
        .decrypt = decrypt_oaep,
        .import = p11_import,
        .generate = generate_key,
        .lookup = p11_lookup,
        .install = p11_install,
        .destroy = p11_destroy,
        .take_back = p11_take_back,
        .export = export_key,
        .unlock = p11_unlock,
        .refresh = p11_refresh,
};
