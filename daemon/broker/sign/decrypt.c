/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RSA-OAEP by a source. Only OAEP: PKCS#1 v1.5 would be an oracle (RFC 8017, 7.2). The driver
 * answers all that is wrong with a ciphertext in one sentence, so that it tells nothing about the plaintext.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "broker/sign/room.h"

static const char *const algorithms[] = { "rsa-oaep-sha1", "rsa-oaep-sha256" };

typedef struct Decryption {
        Signer *signer;
        char *id;
        uint64_t generation;
        sign_done done;
        void *userdata;
} Decryption;

static Decryption *decryption_free(Decryption *decryption)
{
        if (!decryption)
                return NULL;

        free(decryption->id);
        free(decryption);
        return NULL;
}
DEFINE_CLEANUP(Decryption, decryption_free)

static void on_reply(void *userdata, WireReply *reply)
{
        CLEANUP(decryption_freep) Decryption *decryption = userdata;
        Failure failure = reply->failure;

        signer_tell_used(decryption->signer, decryption->id, decryption->generation,
                         failure.status);
        decryption->done(decryption->userdata, &failure, decryption->generation,
                         failure.status == 0 ? &reply->output : NULL);
        if (reply->output.n > 0)
                explicit_bzero(reply->output.data, reply->output.n);
}

static int check(const DecryptRequest *request, const SignerKey *key, Failure *failure)
{
        const KeyTypeRow *type = key_type_row(key->generation->key_type);
        bool is_known = false;

        for (size_t i = 0; i < ELEMENTSOF(algorithms); i++)
                is_known = is_known || string_equal(request->algorithm, algorithms[i]);

        if (!is_known)
                return fail(failure, CB_NOT_SUPPORTED,
                            "this decryption algorithm is unknown; there are rsa-oaep-sha1 and "
                            "rsa-oaep-sha256");
        if (type->family != KEY_RSA)
                return fail(failure, CB_NOT_SUPPORTED,
                            "certificate '%s' has no RSA key: it cannot decrypt", request->id);
        if (request->ciphertext.n != type->bits / 8)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "a ciphertext for certificate '%s' has %u bytes, and %zu were given",
                            request->id, type->bits / 8, request->ciphertext.n);
        return 0;
}

static int decryption_new(Signer *signer, const char *id, const SignerKey *key, sign_done done,
                          void *userdata, Decryption **ret_decryption)
{
        CLEANUP(decryption_freep) Decryption *decryption = calloc(1, sizeof(*decryption));

        if (!decryption)
                return -ENOMEM;

        *decryption = (Decryption){ .signer = signer,
                                    .generation = key->generation->number,
                                    .done = done,
                                    .userdata = userdata };
        if (string_set(&decryption->id, id) < 0)
                return -ENOMEM;

        *ret_decryption = TAKE(decryption);
        return 0;
}

static int submit(Signer *signer, const DecryptRequest *request, sign_done done, void *userdata,
                  Failure *failure)
{
        CLEANUP(decryption_freep) Decryption *decryption = NULL;
        CLEANUP(freep) char *algorithm = NULL;
        WireRequest wire;
        SignerKey key;
        int r;

        r = signer_find_key(signer, request->id, request->generation, &key, failure);
        if (r == 0)
                r = check(request, &key, failure);
        if (r == 0)
                r = decryption_new(signer, request->id, &key, done, userdata, &decryption);
        if (r == 0)
                r = string_set(&algorithm, request->algorithm);
        if (r != 0)
                return r;

        wire_request_init(&wire, WIRE_DECRYPT);
        wire.timeout_usec = signer->timeout_usec;
        wire.key_uri = key.generation->key_uri;
        wire.key_type = key.generation->key_type;
        wire.name = algorithm;
        wire.input = request->ciphertext;
        r = source_submit(key.source, &wire, on_reply, decryption, failure);
        if (r != 0)
                return r;

        TAKE(decryption);
        return 0;
}

void signer_decrypt(Signer *signer, const DecryptRequest *request, sign_done done, void *userdata)
{
        Failure failure = { 0 };
        int r = submit(signer, request, done, userdata, &failure);

        if (r != 0)
                signer_give_up(request->id, r, &failure, done, userdata);
}
