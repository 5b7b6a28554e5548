/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import, install, destroy. Invariants: what fails leaves nothing on the token. A handle is used in the session's run
 * that got it, and never later: the module may have been initialised anew by then, and the handle be somebody else's
 * object. Destroying a key takes only what is its own, and the private key last, so that it can be done again if it
 * fails half-way.
 */
#include "source/pkcs11/store.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strings.h"
#include "pki/bundle.h"
#include "pki/token-object.h"
#include "pki/x509.h"
#include "source/handed.h"
#include "source/pkcs11/beside.h"
#include "source/pkcs11/facts.h"
#include "source/pkcs11/session.h"
#include "source/pkcs11/sign.h"
#include "source/pkcs11/take-back.h"
#include "source/pkcs11/template.h"
#include "source/same-leaf.h"

/* Objects */

static int note_object(ObjectList *created, CK_OBJECT_HANDLE object)
{
        ObjectList one = { &object, 1, false };

        return object_list_append(created, &one);
}

/* From the last to the first; what cannot be destroyed stays in the list. */
static int destroy_all(Session *session, ObjectList *list, const char *doing, Failure *failure)
{
        while (list->n > 0) {
                int r;

                r = object_destroy(session, list->handles[list->n - 1], doing, failure);
                if (r != 0 && session->fault != CKR_OBJECT_HANDLE_INVALID)
                        return r;
                if (r != 0)
                        session->fault = CKR_OK; /* gone already */
                list->n--;
        }
        return 0;
}

/*
 * The leaf with this id, the others with an index after it. What was made is in *created, also of what failed. The leaf comes
 * last: it is what a look-up finds, and the others must be there by then, whoever is killed meanwhile.
 */
static int create_chain(Session *session, const ObjectName *name, const BytesList *chain,
                        ObjectList *created, Failure *failure)
{
        uint8_t id[OWN_ID_LENGTH + 1];
        ObjectName other = { { id, sizeof(id) }, name->label };
        size_t n = MIN(chain->n, (size_t)PKI_CHAIN_MAX);
        int r = 0;

        assert_always(name->id.n == OWN_ID_LENGTH);
        memcpy(id, name->id.data, OWN_ID_LENGTH);
        for (size_t k = 1; k <= n && r == 0; k++) {
                CK_OBJECT_HANDLE object;
                size_t i = k % n;

                id[OWN_ID_LENGTH] = (uint8_t)i;
                r = create_certificate(session, i == 0 ? name : &other, &chain->items[i], &object,
                                       failure);
                if (r == 0)
                        r = note_object(created, object);
        }
        return r;
}

/* Import */

typedef struct Import {
        const WireRequest *request;
        PkiBundle bundle;
        PkiPublicParts public;
        PkiPrivateParts private;
        uint8_t id[OWN_ID_LENGTH];
        bool begun; /* objects of this id may be on the token */
        KeyFacts facts;
} Import;

static void import_deinit(Import *import)
{
        pki_bundle_deinit(&import->bundle);
        pki_public_parts_deinit(&import->public);
        pki_private_parts_deinit(&import->private);
        key_facts_deinit(&import->facts);
}

static int import_read(Import *import, Handed *handed, Failure *failure)
{
        CLEANUP(secret_freep) Secret *data = NULL;
        CLEANUP(secret_freep) Secret *passphrase = NULL;
        int r;

        r = handed_take(handed, 0, "bundle", &data, failure);
        if (r == 0)
                r = handed_take(handed, 1, "passphrase", &passphrase, failure);
        if (r != 0)
                return r;
        secret_chomp(passphrase);
        if (secret_length(data) == 0)
                return fail(failure, CB_BAD_BUNDLE,
                            "the bundle is empty: give PKCS#12, or PEM with key and chain");
        r = pki_bundle_parse(data, passphrase, clock_realtime_sec(), &import->bundle, failure);
        if (r == 0)
                r = pki_public_parts(&import->bundle.spki, &import->public, failure);
        if (r == 0)
                r = pki_private_parts(import->bundle.key, import->bundle.key_type, &import->private,
                                      failure);
        return r;
}

static const char *mechanism_of(KeyType type)
{
        static const char *const names[_KEY_FAMILY_N] = {
                [KEY_RSA] = "CKM_RSA_PKCS", [KEY_EC] = "CKM_ECDSA", [KEY_ED25519] = "CKM_EDDSA"
        };

        return names[key_type_row(type)->family];
}

static int import_objects(Session *session, Import *import, const ObjectName *name,
                          Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList chain = { 0 };
        CK_OBJECT_HANDLE object, public;
        int r;

        import->begun = true;
        r = create_private_key(session, name, &import->public, &import->private,
                               import->request->extractable, &object, failure);
        if (r == 0)
                r = create_public_key(session, name, &import->public, &public, failure);
        if (r == 0)
                r = create_chain(session, name, &import->bundle.chain, &chain, failure);
        if (r == 0)
                r = keys_read(session, object, &import->facts.key, failure);
        return r;
}

static int import_work(Session *session, void *userdata, Failure *failure)
{
        Import *import = userdata;
        KeyType type = import->bundle.key_type;
        ObjectName name = { { import->id, sizeof(import->id) }, { 0 } };
        size_t n_objects;
        int r = 0;

        name.label.n = strlen(import->request->name);
        name.label.data = (uint8_t *)import->request->name;
        if (token_algorithms(session->token, type) == 0)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the token cannot sign with a key of type %s: it lacks %s",
                            key_type_name(type), mechanism_of(type));
        if (import->begun) /* a second try makes all anew, under the same id */
                r = take_back_objects(session, import->id, &n_objects, failure);
        if (r == 0)
                r = import_objects(session, import, &name, failure);
        if (r == 0)
                r = key_trial(session, &import->facts.key, &import->bundle.spki, failure);
        if (r == 0 && clock_monotonic_usec() >= session->deadline_usec)
                r = fail(failure, CB_TIMED_OUT, "the token took too long; nothing was stored");
        return r;
}

static int chain_reply(const Import *import, WireReply *reply)
{
        int r = bytes_list_copy(&import->bundle.chain, &reply->chain);

        return r == 0 ? pki_chain_warning(import->bundle.fault, NULL, &reply->warning) : r;
}

static int import_reply(Token *token, Import *import, WireReply *reply)
{
        KeyFacts *facts = &import->facts;
        int r;

        facts->signs = true;
        facts->extractable = import->request->extractable;
        r = bytes_set(&facts->locator.id, import->id, sizeof(import->id));
        if (r == 0)
                r = bytes_set(&facts->locator.label, import->request->name,
                              strlen(import->request->name));
        if (r == 0)
                r = bytes_set(&facts->spki, import->bundle.spki.data, import->bundle.spki.n);
        if (r == 0)
                r = key_facts_reply(token, facts, reply);
        return r == 0 ? chain_reply(import, reply) : r;
}

int store_import(Token *token, const DriverCall *call, WireReply *reply)
{
        CLEANUP(import_deinit) Import import = { .request = call->request };
        int r;

        if (!call->request->name || !*call->request->name)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "an import needs a name");
        r = take_back_id(call->request, import.id);
        if (r < 0)
                return r;
        r = import_read(&import, call->handed, &reply->failure);
        if (r != 0)
                return r;
        if (same_leaf(call->request->settings, &import.bundle.chain))
                return chain_reply(&import, reply);
        r = session_run(token, call->deadline_usec, import_work, &import, &reply->failure);
        if (r == 0)
                r = import_reply(token, &import, reply);
        if (r != 0 && import.begun)
                take_back_begun(token, import.id, call->request->name);
        return r;
}

/* Install */

typedef struct Install {
        const WireRequest *request;
        char *warning;
} Install;

static int check_leaf(const KeyFacts *facts, const BytesList *chain, Failure *failure)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts leaf = { 0 };
        int r;

        if (chain->n == 0)
                return fail(failure, CB_INVALID_ARGUMENT, "there is no certificate to install");
        r = pki_certificate_facts(chain->items[0].data, chain->items[0].n, &leaf, failure);
        if (r != 0)
                return r;
        if (!bytes_equal(&leaf.spki, &facts->spki))
                return fail(
                        failure, CB_KEY_MISMATCH,
                        "the first certificate is not for this key; give the one that was issued "
                        "for its request");
        return 0;
}

/*
 * Beside a key that was made for this id. Beside any other key they would be taken for its owner's, or for another
 * id's: there they have the id as label, and a CKA_ID of their own.
 */
static int name_chain(const WireRequest *request, const KeyFacts *facts, uint8_t id[OWN_ID_LENGTH],
                      ObjectName *ret_name)
{
        const Asker asker = { request->name, request->certificates };

        if (key_is_made_for(facts, &asker)) {
                *ret_name = (ObjectName){ facts->locator.id, facts->locator.label };
                return 0;
        }
        *ret_name = (ObjectName){ { id, OWN_ID_LENGTH },
                                  { (uint8_t *)request->name, strlen(request->name) } };
        return leaf_own_id(request->name, &request->chain.items[0], id);
}

/* Those that the new ones take the place of; also what a first try has left. */
static int find_old(Session *session, const WireRequest *request, const KeyFacts *facts,
                    ObjectList *ret_old, Failure *failure)
{
        const Asker asker = { request->name, request->certificates };

        return key_is_made_for(facts, &asker)
                       ? key_certificates(session, facts, request->certificates, ret_old, failure)
                       : key_certificates_of(session, facts, request->name, ret_old, failure);
}

static int replace_chain(Session *session, Install *install, const KeyFacts *facts,
                         Failure *failure)
{
        CLEANUP(object_list_deinit) ObjectList created = { 0 };
        CLEANUP(object_list_deinit) ObjectList old = { 0 };
        const WireRequest *request = install->request;
        uint8_t id[OWN_ID_LENGTH];
        Failure why = { 0 };
        ObjectName name;
        int r;

        r = name_chain(request, facts, id, &name);
        if (r == 0)
                r = find_old(session, request, facts, &old, failure);
        if (r != 0)
                return r;
        r = create_chain(session, &name, &request->chain, &created, failure);
        if (r != 0) {
                if (destroy_all(session, &created, "take back what was begun", &why) != 0)
                        log_error("source '%s': %zu certificates of '%s' are left on the token: %s",
                                  session->token->name, created.n, request->name, why.text);
                return r;
        }
        /* The new ones are there; that old ones stay is a nuisance, no failure: the newest is taken. */
        if (destroy_all(session, &old, "take away the certificates before", &why) != 0)
                install->warning = strdup(why.text);
        return 0;
}

static int install_work(Session *session, void *userdata, Failure *failure)
{
        Install *install = userdata;
        CLEANUP(key_facts_deinit) KeyFacts facts = { 0 };
        int r;

        r = key_facts_find(session, install->request->key_uri, &facts, failure);
        if (r == 0)
                r = check_leaf(&facts, &install->request->chain, failure);
        return r == 0 ? replace_chain(session, install, &facts, failure) : r;
}

int store_install(Token *token, const DriverCall *call, WireReply *reply)
{
        Install install = { .request = call->request };
        int r;

        if (!call->request->key_uri || !call->request->name || !*call->request->name)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "no key or id is named");
        r = session_run(token, call->deadline_usec, install_work, &install, &reply->failure);
        reply->warning = install.warning;
        return r;
}

/* Destroy */

static int destroy_work(Session *session, void *userdata, Failure *failure)
{
        const WireRequest *request = userdata;
        CLEANUP(key_facts_deinit) KeyFacts facts = { 0 };
        CLEANUP(object_list_deinit) ObjectList doomed = { 0 };
        int r;

        /* It may have been tried before, and cut off when the key alone was left. */
        r = key_facts_find_rest(session, request->key_uri, &facts, failure);
        if (r != 0)
                return r;
        r = note_object(&doomed, facts.key.handle); /* the first in the list goes last */
        if (r == 0)
                r = key_publics(session, &facts, &doomed, failure);
        if (r == 0)
                r = key_certificates(session, &facts, request->certificates, &doomed, failure);
        if (r == 0 && request->name)
                r = key_certificates_of(session, &facts, request->name, &doomed, failure);
        if (r == 0)
                r = destroy_all(session, &doomed, "destroy the key", failure);
        keys_forget(session->token, request->key_uri);
        return r;
}

int store_destroy(Token *token, const DriverCall *call, WireReply *reply)
{
        if (!call->request->key_uri)
                return fail(&reply->failure, CB_INVALID_ARGUMENT, "no key is named");
        return session_run(token, call->deadline_usec, destroy_work, call->request,
                           &reply->failure);
}
