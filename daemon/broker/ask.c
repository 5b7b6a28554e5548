/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a source's process asks of the broker: a signature by which the source proves itself to its authority, with a key
 * that lies in another source. The configuration is what allows it: a process gets signatures of the one certificate that
* its own source's settings name, and of no other, and never of a key in the very source that asks. Each is audited.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strings.h"
#include "broker/rooms.h"
#include "core/identifier.h"

typedef struct Ask {
        Broker *broker;
        char *source, *certificate;
        uint64_t number, generation;
        Algorithm algorithm;
        Bytes signature;
        Failure failure;
} Ask;

static Ask *ask_free(Ask *ask)
{
        if (!ask)
                return NULL;
        free(ask->source);
        free(ask->certificate);
        bytes_deinit(&ask->signature);
        free(ask);
        return NULL;
}
DEFINE_CLEANUP(Ask, ask_free)

static void on_answered(void *userdata, WireReply *reply)
{
        (void)userdata;
        (void)reply; /* who asked has a deadline of its own */
}

static void answer(Ask *ask, const Failure *failure, const BytesList *chain, const Bytes *signature)
{
        Source *source = sources_find(ask->broker->sources, ask->source);
        char text[sizeof(failure->text)];
        Failure ignored = { 0 };
        WireRequest request;

        if (!source)
                return;
        wire_request_init(&request, WIRE_ANSWER);
        request.generation = ask->number;
        memcpy(text, failure->text, sizeof(text));
        if (failure->status != 0)
                request.name = text;
        if (chain)
                request.chain = *chain;
        if (signature)
                request.input = *signature;
        if (source_submit(source, &request, on_answered, NULL, &ignored) != 0)
                log_warning("source '%s' asked for a signature and cannot be answered: %s",
                            ask->source, ignored.text);
}

/* Recorded, it may go out; not recorded, it may not. */
static void on_recorded(void *userdata, int r)
{
        CLEANUP(ask_freep) Ask *ask = userdata;
        const Certificate *certificate =
                catalog_find_certificate(ask->broker->catalog, ask->certificate);
        const Generation *signer =
                certificate ? certificate_find_generation(certificate, ask->generation) : NULL;

        if (r < 0 && ask->failure.status == 0)
                fail(&ask->failure, CB_FAILED, "the audit log cannot be written");
        answer(ask, &ask->failure, signer ? &signer->chain : NULL,
               ask->failure.status == 0 ? &ask->signature : NULL);
}

static void record(Ask *ask)
{
        char object[OBJECT_PATH_MAX], grant[160];

        object_path_encode(OBJECT_CERTIFICATE, ask->certificate, object);
        snprintf(grant, sizeof(grant), "source.%s", ask->source);
        ledger_record(ask->broker->ledger,
                      &(BusRecord){
                              .event = "Sign",
                              .uid = getuid(),
                              .pid = (uint32_t)getpid(),
                              .object = object,
                              .generation = ask->generation,
                              .algorithm = algorithm_name(ask->algorithm),
                              .grant = grant,
                              .result = ask->failure.status == 0
                                                ? "ok"
                                                : status_error_name(ask->failure.status) +
                                                          strlen(CB_ERROR_PREFIX),
                      },
                      on_recorded, ask);
}

static void on_signed(void *userdata, const Failure *failure, uint64_t generation,
                      const Bytes *signature)
{
        Ask *ask = userdata;

        ask->failure = *failure;
        ask->generation = generation;
        if (failure->status == 0 && bytes_set(&ask->signature, signature->data, signature->n) < 0)
                fail(&ask->failure, -ENOMEM, "no memory for a signature");
        record(ask);
}

/* The one algorithm of the bits; ALGORITHM_NONE: none, or more than one. */
static Algorithm algorithm_of(uint32_t bits)
{
        for (Algorithm algorithm = ALGORITHM_NONE + 1; algorithm < _ALGORITHM_N; algorithm++)
                if (bits == ALGORITHM_BIT(algorithm))
                        return algorithm;
        return ALGORITHM_NONE;
}

static int check(Broker *broker, const Source *source, const char *id,
                 const Generation **ret_current, Failure *failure)
{
        const Certificate *certificate;

        if (!id || !string_equal(id, source_setting(source, "certificate")) ||
            !string_equal(source_setting(source, "auth"), "client-certificate"))
                return fail(failure, CB_ACCESS_DENIED,
                            "source '%s' is not configured to prove itself with this certificate",
                            source_name(source));
        certificate = broker->catalog ? catalog_find_certificate(broker->catalog, id) : NULL;
        if (!certificate)
                return fail(failure, CB_NOT_FOUND,
                            "there is no certificate '%s' by which source '%s' could prove itself; "
                            "import or "
                            "register it",
                            id, source_name(source));
        if (string_equal(certificate->source, source_name(source)))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "certificate '%s' lies in source '%s' itself, which cannot be opened "
                            "with it",
                            id, source_name(source));
        *ret_current = certificate_find_generation(certificate, 0);
        if (!*ret_current)
                return fail(failure, CB_PENDING,
                            "certificate '%s' has no certificate for its key yet", id);
        return 0;
}

static int ask_new(Broker *broker, const Source *source, const WireReply *question, Ask **ret_ask)
{
        CLEANUP(ask_freep) Ask *ask = calloc(1, sizeof(*ask));
        int r;

        if (!ask)
                return -ENOMEM;
        ask->broker = broker;
        ask->number = question->ask;
        r = string_set(&ask->source, source_name(source));
        if (r == 0)
                r = string_set(&ask->certificate, string_or_empty(question->key_uri));
        if (r < 0)
                return r;
        *ret_ask = TAKE(ask);
        return 0;
}

void broker_on_ask(void *userdata, Source *source, const WireReply *question)
{
        CLEANUP(ask_freep) Ask *ask = NULL;
        const Generation *current = NULL;
        Failure failure = { 0 };
        Broker *broker = userdata;
        SignRequest request;
        int r;

        r = ask_new(broker, source, question, &ask);
        if (r < 0)
                return;
        r = check(broker, source, question->key_uri, &current, &failure);
        if (r != 0 || question->algorithms == 0 || !broker->signer) {
                answer(ask, &failure, current ? &current->chain : NULL, NULL);
                return;
        }
        ask->algorithm = algorithm_of(question->algorithms);
        if (ledger_may_record(broker->ledger, &failure) != 0) {
                answer(ask, &failure, NULL, NULL);
                return;
        }
        request = (SignRequest){ .id = ask->certificate,
                                 .generation = current->number,
                                 .algorithm = ask->algorithm,
                                 .input = question->output };
        signer_sign(broker->signer, &request, on_signed, TAKE(ask));
}
