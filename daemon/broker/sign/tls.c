/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures for TLS 1.3 alone. The caller gives a hash of its handshake; the content with the context string that no
 * other protocol signs (RFC 8446, 4.4.3) is put together here, so there is nothing that a caller could smuggle in.
 */
#include <errno.h>
#include <string.h>

#include "base/strings.h"
#include "broker/sign/room.h"
#include "pki/signature.h"

#define PADDING_LENGTH     64
#define CONTEXT_LENGTH     33 /* both of them, without the NUL that separates it from the hash */
#define TRANSCRIPT_SHA256  32
#define TRANSCRIPT_SHA384  48
#define CONTENT_LENGTH_MAX (PADDING_LENGTH + CONTEXT_LENGTH + 1 + TRANSCRIPT_SHA384)

static const struct {
        const char *role;
        const char context[CONTEXT_LENGTH + 1];
} contexts[] = {
        { "client", "TLS 1.3, client CertificateVerify" },
        { "server", "TLS 1.3, server CertificateVerify" },
};

static const char *context_of(const char *role)
{
        for (size_t i = 0; i < ELEMENTSOF(contexts); i++) {
                if (string_equal(contexts[i].role, role))
                        return contexts[i].context;
        }
        return NULL;
}

/* What RFC 8446, 4.2.3, lets a CertificateVerify be signed with. */
static bool is_tls13(Algorithm algorithm, KeyType type)
{
        const AlgorithmRow *row = algorithm_row(algorithm);

        if (row->legacy || row->padding == PADDING_PKCS1)
                return false;
        return row->family != KEY_EC || key_type_row(type)->curve_digest == row->digest;
}

static int check(const SignTlsRequest *request, const SignerKey *key, Failure *failure)
{
        size_t n = request->transcript_hash.n;

        if (!context_of(request->role))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the role of a TLS signature is client or server");
        if (n != TRANSCRIPT_SHA256 && n != TRANSCRIPT_SHA384)
                return fail(
                        failure, CB_INVALID_ARGUMENT,
                        "the transcript hash of a TLS 1.3 handshake has 32 or 48 bytes, not %zu",
                        n);
        if (!algorithm_fits_key(request->algorithm, key->generation->key_type) ||
            !is_tls13(request->algorithm, key->generation->key_type))
                return fail(failure, CB_NOT_SUPPORTED,
                            "TLS 1.3 has no signature by %s with the key of certificate '%s', "
                            "which is %s",
                            algorithm_name(request->algorithm), request->id,
                            key_type_name(key->generation->key_type));
        return 0;
}

static size_t put_content(const SignTlsRequest *request, uint8_t content[CONTENT_LENGTH_MAX])
{
        uint8_t *end = content;

        memset(end, ' ', PADDING_LENGTH);
        end += PADDING_LENGTH;
        memcpy(end, context_of(request->role), CONTEXT_LENGTH);
        end += CONTEXT_LENGTH;
        *end++ = 0;
        memcpy(end, request->transcript_hash.data, request->transcript_hash.n);
        return (size_t)(end - content) + request->transcript_hash.n;
}

static int sign_content(Signer *signer, const SignTlsRequest *request, sign_done done,
                        void *userdata, Failure *failure)
{
        CLEANUP(bytes_deinit) Bytes hash = { 0 };
        uint8_t content[CONTENT_LENGTH_MAX];
        SignRequest sign = { request->id, request->generation, request->algorithm, { content, 0 } };
        SignerKey key;
        int r;

        r = signer_find_key(signer, request->id, request->generation, &key, failure);
        if (r == 0)
                r = check(request, &key, failure);
        if (r != 0)
                return r;

        sign.generation = key.generation->number;
        sign.input.n = put_content(request, content);
        if (request->algorithm != ALGORITHM_ED25519) {
                r = pki_hash(algorithm_row(request->algorithm)->digest, content, sign.input.n,
                             &hash);
                if (r != 0)
                        return r;
                sign.input = hash;
        }
        signer_sign(signer, &sign, done, userdata);
        return 0;
}

void signer_sign_tls(Signer *signer, const SignTlsRequest *request, sign_done done, void *userdata)
{
        Failure failure = { 0 };
        int r = sign_content(signer, request, done, userdata, &failure);

        if (r != 0)
                signer_give_up(request->id, r, &failure, done, userdata);
}
