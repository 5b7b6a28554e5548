/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trial: a key signs a random value, and its public half verifies that. It changes nothing and decides nothing: who
 * asked for it does.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "broker/manage/room.h"
#include "pki/signature.h"

#define TRIAL_LENGTH DIGEST_LENGTH_MAX

typedef struct Trial {
        Algorithm algorithm;
        Bytes spki;
        uint8_t value[TRIAL_LENGTH];
        size_t n_value;
        trial_done done;
        void *userdata;
} Trial;

static Trial *trial_free(Trial *trial)
{
        if (!trial)
                return NULL;
        bytes_deinit(&trial->spki);
        free(trial);
        return NULL;
}
DEFINE_CLEANUP(Trial, trial_free)

static Algorithm first_algorithm(const Generation *generation)
{
        for (Algorithm algorithm = ALGORITHM_NONE + 1; algorithm < _ALGORITHM_N; algorithm++) {
                if (generation->algorithms & ALGORITHM_BIT(algorithm))
                        return algorithm;
        }
        return ALGORITHM_NONE;
}

static void on_reply(void *userdata, WireReply *reply)
{
        CLEANUP(trial_freep) Trial *trial = userdata;
        const Bytes value = { trial->value, trial->n_value };
        Failure failure = reply->failure;
        int r = failure.status;

        if (r == 0)
                r = pki_verify(&trial->spki, trial->algorithm, &value, &reply->output);
        if (failure.status == 0 && r < 0)
                fail(&failure, r, "no memory to check a trial signature");
        else if (failure.status == 0 && r > 0)
                fail(&failure, CB_KEY_MISMATCH,
                     "its public key does not verify what it signed in a trial");
        trial->done(trial->userdata, &failure);
}

static int make(const char *id, const Generation *generation, Trial **ret_trial, Failure *failure)
{
        CLEANUP(trial_freep) Trial *trial = calloc(1, sizeof(*trial));

        if (!trial || bytes_set(&trial->spki, generation->spki.data, generation->spki.n) < 0)
                return fail(failure, -ENOMEM, "no memory for a trial signature");
        trial->algorithm = first_algorithm(generation);
        if (trial->algorithm == ALGORITHM_NONE)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the key of certificate '%s' can make no signature of ours; check what "
                            "its source allows it",
                            id);

        trial->n_value = digest_length(algorithm_row(trial->algorithm)->digest);
        if (trial->n_value == 0) /* ed25519 signs messages */
                trial->n_value = TRIAL_LENGTH;
        if (getrandom(trial->value, trial->n_value, 0) < 0)
                return fail(failure, -errno, "no random value for a trial signature");
        *ret_trial = TAKE(trial);
        return 0;
}

int trial_submit(Manage *manage, const Certificate *certificate, const Generation *generation,
                 uint64_t owner, trial_done done, void *userdata, Failure *failure)
{
        CLEANUP(trial_freep) Trial *trial = NULL;
        WireRequest request;
        Source *source = NULL;
        int r;

        r = make(certificate->id, generation, &trial, failure);
        if (r == 0)
                r = manage_find_source(manage, certificate->source, &source, failure);
        if (r != 0)
                return r;

        trial->done = done;
        trial->userdata = userdata;
        wire_request_init(&request, WIRE_SIGN);
        request.manages = true;
        request.owner = owner;
        request.timeout_usec = manage->timeout_usec;
        request.key_uri = generation->key_uri;
        request.key_type = generation->key_type;
        request.algorithm = trial->algorithm;
        request.input = (Bytes){ trial->value, trial->n_value };
        r = source_submit(source, &request, on_reply, trial, failure);
        if (r == 0)
                TAKE(trial); /* on_reply has it now */
        return r;
}
