/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a vault, an authority or an identity endpoint answers; the first byte says to which question. Holds: nothing
 * crashes or leaks, a refusal is a sentence that can be shown, and what is taken is whole and within its bounds.
 */
#include "fuzz-text.h"

#include "pki/context.h"
#include "pki/request.h"
#include "pki/signature.h"
#include "source/azure-key-vault/answer.h"
#include "source/azure-key-vault/json.h"

static void try_certificate(const uint8_t *body, size_t n)
{
        CLEANUP(certificate_answer_deinit) CertificateAnswer answer = { 0 };
        Failure failure = { 0 };
        int r = certificate_answer_parse(body, n, &answer, &failure);

        fuzz_check_outcome(r, &failure);
        FUZZ_CHECK((r == 0) == (answer.leaf.n > 0) && (r == 0) == (answer.id != NULL));
}

static void try_key(const uint8_t *body, size_t n)
{
        CLEANUP(key_answer_deinit) KeyAnswer answer = { 0 };
        Failure failure = { 0 };
        KeyType type = KEY_TYPE_NONE;
        int r = key_answer_parse(body, n, &answer, &failure);

        fuzz_check_outcome(r, &failure);
        FUZZ_CHECK((r == 0) == (answer.kid != NULL));
        FUZZ_CHECK((answer.type != KEY_TYPE_NONE) == (answer.spki.n > 0));
        if (answer.spki.n > 0)
                FUZZ_CHECK(pki_key_type(&answer.spki, &type, &failure) == 0 && type == answer.type);
}

static void try_secret(const uint8_t *body, size_t n)
{
        CLEANUP(secret_answer_deinit) SecretAnswer answer = { 0 };
        Failure failure = { 0 };
        int r = secret_answer_parse(body, n, &answer, &failure);

        fuzz_check_outcome(r, &failure);
        FUZZ_CHECK((r == 0) == (answer.value != NULL));
}

static void try_signature(const uint8_t *body, size_t n)
{
        CLEANUP(bytes_deinit) Bytes signature = { 0 };
        CLEANUP(freep) char *kid = NULL;
        Failure failure = { 0 };
        int r = signature_answer_parse(body, n, &signature, &kid, &failure);

        fuzz_check_outcome(r, &failure);
        FUZZ_CHECK((r == 0) == (signature.n > 0));
}

static void try_operation(const uint8_t *body, size_t n)
{
        CLEANUP(operation_answer_deinit) OperationAnswer answer = { 0 };
        CLEANUP(bytes_deinit) Bytes spki = { 0 };
        Failure failure = { 0 };
        int r = operation_answer_parse(body, n, &answer, &failure);

        fuzz_check_outcome(r, &failure);
        if (answer.request.n > 0)
                fuzz_check_outcome(pki_request_public_key(&answer.request, &spki, &failure),
                                   &failure);
}

static void try_versions(const uint8_t *body, size_t n)
{
        CLEANUP(freep) char *next = NULL;
        Failure failure = { 0 };
        char **ids = NULL;

        fuzz_check_outcome(versions_answer_parse(body, n, &ids, &next, &failure), &failure);
        FUZZ_CHECK(!next || *next);
        strv_free(ids);
}

static void try_error(const uint8_t *body, size_t n)
{
        ErrorAnswer answer;

        error_answer_parse(body, n, &answer);
        fuzz_check_text(answer.code);
        fuzz_check_text(answer.inner);
        fuzz_check_text(answer.message);
}

static void try_token(const uint8_t *body, size_t n)
{
        CLEANUP(token_answer_deinit) TokenAnswer answer = { 0 };
        Failure failure = { 0 };
        int r = token_answer_parse(body, n, "https://vault.azure.net",
                                   "72f988bf-86f1-41af-91ab-2d7cd011db47", &answer, &failure);

        fuzz_check_outcome(r, &failure);
        if (r != 0)
                return;
        FUZZ_CHECK(answer.token && answer.life_sec > 0 &&
                   secret_length(answer.token) <= TOKEN_MAX);
        for (size_t i = 0; i < secret_length(answer.token); i++)
                FUZZ_CHECK(((const char *)secret_data(answer.token))[i] > ' ');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        static void (*const questions[])(const uint8_t *body, size_t n) = {
                try_certificate, try_key,      try_secret, try_signature,
                try_operation,   try_versions, try_error,  try_token,
        };

        FUZZ_CHECK(pki_init() == 0);
        if (n > 0)
                questions[data[0] % ELEMENTSOF(questions)](data + 1, n - 1);
        return 0;
}
