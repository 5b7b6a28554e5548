/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads key files: PEM with our label to DER, and that DER to a key. Local: no broker is asked.
 *
 * OpenSSL shows every PEM file and every DER blob of the program to these decoders. What is not ours
 * is left alone, which in this interface is: return 1 and call nobody. So another key's PEM is read
 * up to its BEGIN line and other DER up to its first five bytes; no private key is ever copied here.
 *
 * Of a file with several blocks libcrypto shows one after the other only as long as there is no older
 * error in the program's queue. So who wants a private key gets ours also from behind certificates and
 * parameters; who takes anything gets what stands first.
 */
#include "operations.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/core_object.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <string.h>

#include "key.h"
#include "macro.h"
#include "provider.h"
#include "reference.h"

DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(EVP_ENCODE_CTX *, EVP_ENCODE_CTX_free)

static inline void freep(uint8_t **pointer)
{
        free(*pointer);
}

/* Decoders keep no state: their context is the provider. */
static void *decoder_new_context(void *provider)
{
        return provider;
}

static void decoder_free_context(void *context)
{
}

/* What may stand before a key in its file and is none: RFC 7468's labels, and OpenSSL's own. */
static const char *const keyless[] = {
        PEM_STRING_X509,     PEM_STRING_X509_OLD, PEM_STRING_X509_TRUSTED, PEM_STRING_X509_REQ,
        PEM_STRING_X509_CRL, PEM_STRING_PUBLIC,   PEM_STRING_X509_REQ_OLD, PEM_STRING_RSA_PUBLIC,
        PEM_STRING_PKCS7,    PEM_STRING_CMS,      PEM_STRING_PKCS7_SIGNED, PEM_STRING_ECPARAMETERS,
        PEM_STRING_DHPARAMS, PEM_STRING_DHXPARAMS, PEM_STRING_DSAPARAMS,   PEM_STRING_PARAMETERS,
        "ATTRIBUTE CERTIFICATE",
};

static bool label_is(const char *label, const char *wanted)
{
        size_t n = strlen(wanted);

        return strncmp(label, wanted, n) == 0 && strncmp(label + n, "-----", 5) == 0;
}

static bool label_is_keyless(const char *label)
{
        for (size_t i = 0; i < ELEMENTSOF(keyless); i++)
                if (label_is(label, keyless[i]))
                        return true;
        return false;
}

/* Reads on to the first BEGIN line, over keyless blocks where a private key is wanted; whether it is ours. */
static bool pem_find(BIO *bio, bool over_keyless)
{
        static const char begin[] = "-----BEGIN ";
        bool at_line_start = true, found = false;
        char line[256];
        int n;

        while (!found && (n = BIO_gets(bio, line, sizeof(line))) > 0) {
                found = at_line_start && strncmp(line, begin, strlen(begin)) == 0 &&
                        !(over_keyless && label_is_keyless(line + strlen(begin)));
                at_line_start = line[n - 1] == '\n';
        }
        found = found && label_is(line + strlen(begin), REFERENCE_LABEL);

        /* After a block that no decoder knows, what is skipped may be the rest of that block. */
        OPENSSL_cleanse(line, sizeof(line));
        return found;
}

static void raise_unread(Provider *provider, int r, const char *otherwise)
{
        if (r == -ENOMEM)
                RAISE(provider, REASON_SYSTEM, "no memory for a key file");
        else
                RAISE(provider, REASON_BAD_REFERENCE, "%s", otherwise);
}

/* Reads the body up to the END line. 0; -EBADMSG; -ENOMEM. */
static int pem_read(BIO *bio, uint8_t *der, size_t *ret_n_der)
{
        CLEANUP(EVP_ENCODE_CTX_freep) EVP_ENCODE_CTX *base64 = EVP_ENCODE_CTX_new();
        char line[256];
        size_t n_der = 0;
        int n, n_out;

        if (!base64)
                return -ENOMEM;

        EVP_DecodeInit(base64);
        while ((n = BIO_gets(bio, line, sizeof(line))) > 0) {
                if (strncmp(line, "-----END ", 9) == 0) {
                        if (EVP_DecodeFinal(base64, der + n_der, &n_out) < 0)
                                return -EBADMSG;
                        *ret_n_der = n_der + (size_t)n_out;
                        return 0;
                }

                /* What a line gives is never longer than the line. */
                if (n_der + sizeof(line) > REFERENCE_MAX ||
                    EVP_DecodeUpdate(base64, der + n_der, &n_out, (const uint8_t *)line, n) < 0)
                        return -EBADMSG;
                n_der += (size_t)n_out;
        }

        return -EBADMSG;
}

static int decoder_decode_pem(void *context, OSSL_CORE_BIO *in, int selection,
                              OSSL_CALLBACK *callback, void *argument,
                              OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_argument)
{
        Provider *provider = context;
        CLEANUP(BIO_free_allp) BIO *bio = BIO_new_from_core_bio(provider_libctx(provider), in);
        CLEANUP(freep) uint8_t *der = NULL;
        int type = OSSL_OBJECT_PKEY;
        OSSL_PARAM params[4];
        size_t n_der;
        int r;

        if (!bio || !pem_find(bio, selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY))
                return 1;

        der = malloc(REFERENCE_MAX);
        r = der ? pem_read(bio, der, &n_der) : -ENOMEM;
        if (r != 0) {
                raise_unread(provider, r, "the PEM block is not well formed");
                return 1;
        }

        params[0] = OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &type);
        params[1] = OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_STRUCTURE,
                                                     (char[]){ REFERENCE_STRUCTURE }, 0);
        params[2] = OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_DATA, der, n_der);
        params[3] = OSSL_PARAM_construct_end();
        return callback(params, argument);
}

/* Reads on until there are n_wanted bytes, or the end. */
static size_t der_fill(BIO *bio, uint8_t *der, size_t n_der, size_t n_wanted)
{
        size_t n;

        while (n_der < n_wanted && BIO_read_ex(bio, der + n_der, n_wanted - n_der, &n))
                n_der += n;
        return n_der;
}

/* All that `in` has, if it begins as ours does; *ret_n_der is 0 if not. 0; -EBADMSG: it is too long. */
static int der_read(BIO *bio, uint8_t *der, size_t *ret_n_der)
{
        size_t n_der;

        *ret_n_der = 0;
        n_der = der_fill(bio, der, 0, REFERENCE_FIRST);
        if (!reference_may_begin(der, n_der))
                return 0;
        n_der = der_fill(bio, der, n_der, REFERENCE_HEAD);
        if (!reference_begins(der, n_der))
                return 0;

        n_der = der_fill(bio, der, n_der, REFERENCE_MAX);
        if (n_der == REFERENCE_MAX)
                return -EBADMSG;
        *ret_n_der = n_der;
        return 0;
}

static int decoder_give(KeyType type, Key **key, OSSL_CALLBACK *callback, void *argument)
{
        int object_type = OSSL_OBJECT_PKEY;
        char name[16];
        OSSL_PARAM params[4];

        snprintf(name, sizeof(name), "%s", key_type_name(type));
        params[0] = OSSL_PARAM_construct_int(OSSL_OBJECT_PARAM_TYPE, &object_type);
        params[1] = OSSL_PARAM_construct_utf8_string(OSSL_OBJECT_PARAM_DATA_TYPE, name, 0);
        params[2] =
                OSSL_PARAM_construct_octet_string(OSSL_OBJECT_PARAM_REFERENCE, key, sizeof(*key));
        params[3] = OSSL_PARAM_construct_end();
        return callback(params, argument);
}

static int decoder_decode_der(Provider *provider, KeyType type, OSSL_CORE_BIO *in,
                              OSSL_CALLBACK *callback, void *argument)
{
        CLEANUP(BIO_free_allp) BIO *bio = BIO_new_from_core_bio(provider_libctx(provider), in);
        CLEANUP(freep) uint8_t *der = malloc(REFERENCE_MAX);
        CLEANUP(reference_deinit) Reference reference = { 0 };
        CLEANUP(key_unrefp) Key *key = NULL;
        KeyType found;
        size_t n_der = 0;
        int r;

        r = bio && der ? der_read(bio, der, &n_der) : -ENOMEM;
        if (r == 0 && n_der == 0)
                return 1;

        if (r == 0)
                r = reference_parse(der, n_der, &reference);
        if (r != 0) {
                raise_unread(provider, r,
                             "write the key file anew with `certbroker certificate key`");
                return 1;
        }

        found = key_type_of(reference.spki, reference.n_spki);
        if (found == _KEY_TYPE_N && type == KEY_RSA)
                RAISE(provider, REASON_KEY_TYPE,
                      "certificate %s: its key is neither RSA, EC nor Ed25519", reference.uri.name);
        if (found != type ||
            !key_new(provider, &reference.uri, reference.spki, reference.n_spki, &key))
                return 1;
        return decoder_give(type, &key, callback, argument);
}

/*
 * Asked for where libcrypto has not got our keys' functions (others.c), for a provider of others, to
 * which they cannot go. Without this function OpenSSL 3.0 crashes there.
 */
static int decoder_export(void *provider, const void *reference, size_t n_reference,
                          OSSL_CALLBACK *callback, void *argument)
{
        RAISE(provider, REASON_TOO_EARLY,
              "this program has an OpenSSL of its own, in which another provider's keys have to be "
              "used before the first of certbrokerd's is read");
        return 0;
}

static int decoder_does_private(void *provider, int selection)
{
        return selection == 0 || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY);
}

#define DER_DECODER(name, type)                                                                    \
        static int decoder_decode_##name(                                                          \
                void *context, OSSL_CORE_BIO *in, int selection, OSSL_CALLBACK *callback,          \
                void *argument, OSSL_PASSPHRASE_CALLBACK *passphrase, void *passphrase_argument)   \
        {                                                                                          \
                return decoder_decode_der(context, type, in, callback, argument);                  \
        }                                                                                          \
        static const OSSL_DISPATCH decoder_##name##_functions[] = {                                \
                FUNCTION(NEWCTX, decoder_new_context),                                             \
                FUNCTION(FREECTX, decoder_free_context),                                           \
                FUNCTION(DOES_SELECTION, decoder_does_private),                                    \
                FUNCTION(DECODE, decoder_decode_##name),                                           \
                FUNCTION(EXPORT_OBJECT, decoder_export),                                           \
                { 0, NULL },                                                                       \
        }

#define FUNCTION(id, function)                                                                     \
        {                                                                                          \
                OSSL_FUNC_DECODER_##id, (void (*)(void))(function)                                 \
        }

DER_DECODER(rsa, KEY_RSA);
DER_DECODER(ec, KEY_EC);
DER_DECODER(ed25519, KEY_ED25519);

static const OSSL_DISPATCH decoder_pem_functions[] = {
        FUNCTION(NEWCTX, decoder_new_context),
        FUNCTION(FREECTX, decoder_free_context),
        FUNCTION(DECODE, decoder_decode_pem),
        { 0, NULL },
};

#define DER_PROPERTIES "provider=certbroker,input=der,structure=" REFERENCE_STRUCTURE

static const OSSL_ALGORITHM algorithms[] = {
        { "DER", "provider=certbroker,input=pem", decoder_pem_functions, "certbroker key files" },
        { "RSA", DER_PROPERTIES, decoder_rsa_functions, "references to RSA keys" },
        { "EC", DER_PROPERTIES, decoder_ec_functions, "references to EC keys" },
        { "ED25519", DER_PROPERTIES, decoder_ed25519_functions, "references to Ed25519 keys" },
        { NULL },
};

const OSSL_ALGORITHM *decoder_algorithms(void)
{
        return algorithms;
}
