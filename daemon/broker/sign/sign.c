/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One signature: from the catalog's facts to the source and back. The invariant is that what leaves here as a
 * signature was made with the key of the generation that the caller asked for, over an input of exactly the
 * algorithm's length, and, as `verify-signatures` says, was checked with that generation's public key.
 * It does not know who asks: the caller has been allowed before, and is asked again by whoever called us.
 */
#include "broker/sign/sign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/sign/room.h"
#include "pki/signature.h"

/* What must outlive the turn: the certificate may be replaced while the source works. */
typedef struct Signing {
        Signer *signer;
        char *id;
        uint64_t generation;
        Algorithm algorithm;
        Bytes spki; /* empty: not verified */
        Bytes input;
        sign_done done;
        void *userdata;
} Signing;

static Signing *signing_free(Signing *signing)
{
        if (!signing)
                return NULL;

        free(signing->id);
        bytes_deinit(&signing->spki);
        bytes_deinit(&signing->input);
        free(signing);
        return NULL;
}
DEFINE_CLEANUP(Signing, signing_free)

int signer_new(Catalog *catalog, Sources *sources, Signer **ret_signer)
{
        Signer *signer = calloc(1, sizeof(*signer));

        if (!signer)
                return -ENOMEM;

        *signer = (Signer){
                .catalog = catalog,
                .sources = sources,
                .verify = VERIFY_RSA,
                .timeout_usec = 20 * USEC_PER_SEC,
        };
        *ret_signer = signer;
        return 0;
}

Signer *signer_free(Signer *signer)
{
        free(signer);
        return NULL;
}

void signer_observe(Signer *signer, const SignerEvents *events, void *userdata)
{
        signer->events = *events;
        signer->events_userdata = userdata;
}

void signer_configure(Signer *signer, const Config *config)
{
        signer->verify = config->verify_signatures;
        signer->timeout_usec = config->request_timeout_usec;
}

/*
 * A CRT fault in one RSA signature gives the key away; an ECDSA check costs as much as the signature. Whatever the
 * setting, a key that has made a wrong one is not trusted.
 */
static bool is_verified(const Signer *signer, const Generation *generation)
{
        if (generation->trial_usec != 0)
                return true;
        switch (signer->verify) {
        case VERIFY_ALWAYS:
                return true;
        case VERIFY_RSA:
                return key_type_row(generation->key_type)->family == KEY_RSA;
        case VERIFY_NEVER:
        case _VERIFY_SIGNATURES_N:
                return false;
        }
        return true;
}

static int check_algorithm(const Certificate *certificate, const Generation *generation,
                           const SignRequest *request, Failure *failure)
{
        if (!algorithm_fits_key(request->algorithm, generation->key_type))
                return fail(failure, CB_NOT_SUPPORTED,
                            "algorithm %s does not fit certificate '%s', whose key is %s; its "
                            "Algorithms list those that do",
                            algorithm_name(request->algorithm), certificate->id,
                            key_type_name(generation->key_type));

        if (!(generation->algorithms & ALGORITHM_BIT(request->algorithm)))
                return fail(failure, CB_NOT_SUPPORTED,
                            "the source of certificate '%s' cannot do %s; its Algorithms list what "
                            "it can",
                            certificate->id, algorithm_name(request->algorithm));

        if (algorithm_takes_input(request->algorithm, request->input.n))
                return 0;

        if (request->algorithm == ALGORITHM_ED25519)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "ed25519 signs a message of at most %d bytes, not one of %zu",
                            ALGORITHM_MESSAGE_MAX, request->input.n);

        return fail(failure, CB_INVALID_ARGUMENT,
                    "%s signs a digest of exactly %zu bytes, and %zu were given; hash the message "
                    "first",
                    algorithm_name(request->algorithm),
                    digest_length(algorithm_row(request->algorithm)->digest), request->input.n);
}

static int signing_new(Signer *signer, const SignRequest *request, const Generation *generation,
                       Signing **ret_signing)
{
        CLEANUP(signing_freep) Signing *signing = calloc(1, sizeof(*signing));
        int r;

        if (!signing)
                return -ENOMEM;

        signing->signer = signer;
        signing->generation = generation->number;
        signing->algorithm = request->algorithm;
        signing->id = strdup(request->id);
        if (!signing->id)
                return -ENOMEM;

        if (is_verified(signer, generation)) {
                r = bytes_set(&signing->spki, generation->spki.data, generation->spki.n);
                if (r == 0)
                        r = bytes_set(&signing->input, request->input.data, request->input.n);
                if (r < 0)
                        return r;
        }

        *ret_signing = TAKE(signing);
        return 0;
}

static int check_signature(const Signing *signing, const WireReply *reply, Failure *failure)
{
        const Signer *signer = signing->signer;
        int r;

        if (reply->output.n == 0)
                return fail(failure, CB_FAILED,
                            "the source of certificate '%s' gave an empty signature", signing->id);

        if (signing->spki.n == 0)
                return 0;

        r = pki_verify(&signing->spki, signing->algorithm, &signing->input, &reply->output);
        if (r == 0)
                return 0;
        if (r < 0)
                return fail(failure, r, "no memory to check a signature of certificate '%s'",
                            signing->id);
        if (signer->events.held_back)
                signer->events.held_back(signer->events_userdata, signing->id, signing->generation,
                                         signing->algorithm);
        return fail(failure, CB_FAILED,
                    "the source of certificate '%s' gave a signature that its public key refuses; "
                    "it was held back: check the token or vault",
                    signing->id);
}

static void on_reply(void *userdata, WireReply *reply)
{
        CLEANUP(signing_freep) Signing *signing = userdata;
        Failure failure = reply->failure;

        signer_tell_used(signing->signer, signing->id, signing->generation, failure.status);
        if (failure.status == 0)
                check_signature(signing, reply, &failure);

        signing->done(signing->userdata, &failure, signing->generation,
                      failure.status == 0 ? &reply->output : NULL);
}

static int submit(Signer *signer, const SignRequest *request, sign_done done, void *userdata,
                  Failure *failure)
{
        CLEANUP(signing_freep) Signing *signing = NULL;
        WireRequest wire;
        SignerKey key;
        int r;

        r = signer_find_key(signer, request->id, request->generation, &key, failure);
        if (r == 0)
                r = check_algorithm(key.certificate, key.generation, request, failure);
        if (r != 0)
                return r;

        r = signing_new(signer, request, key.generation, &signing);
        if (r < 0)
                return fail(failure, r, "no memory for a signature with certificate '%s'",
                            request->id);

        signing->done = done;
        signing->userdata = userdata;

        /* Everything is borrowed: sources encodes it before it returns. */
        wire_request_init(&wire, WIRE_SIGN);
        wire.timeout_usec = signer->timeout_usec;
        wire.key_uri = key.generation->key_uri;
        wire.key_type = key.generation->key_type;
        wire.algorithm = request->algorithm;
        wire.input = request->input;
        r = source_submit(key.source, &wire, on_reply, signing, failure);
        if (r != 0)
                return r;

        TAKE(signing); /* on_reply has it now */
        return 0;
}

void signer_sign(Signer *signer, const SignRequest *request, sign_done done, void *userdata)
{
        Failure failure = { 0 };
        int r = submit(signer, request, done, userdata, &failure);

        if (r != 0)
                signer_give_up(request->id, r, &failure, done, userdata);
}
