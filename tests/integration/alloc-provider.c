/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program does with the OpenSSL provider while memory runs out under it (alloc-fault.c is preloaded): what the
 * provider allocates, and whatever it calls. Each operation is tried with its first allocation failing, then with its
 * second, until nothing fails any more; then anew with all failing from that one on. An operation that fails raises an
 * error; one that does not gives what it always gives, and a signature that is right; after it all works as before.
 *
 * alloc-provider FOLDER STEP: the first allocations are tried one by one, those after them in steps. The folder has
 * the files of the keys and their certificates; $OPENSSL_MODULES has the provider.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/store.h>
#include <openssl/x509.h>

#include "alloc-fault.h"

#define EACH       20 /* so many are tried one by one */
#define TEXT_SIZE  256
#define N_MESSAGE  (64 + 34 + 32)
#define ALARM_SECS 60 /* whatever hangs */

typedef struct Program {
        OSSL_LIB_CTX *libctx;
        OSSL_PROVIDER *ours, *others;
} Program;

typedef struct Credential {
        EVP_PKEY *key, *public; /* of the provider; of whoever judges */
        X509 *certificate;
} Credential;

static const char *folder;
static OSSL_LIB_CTX *judge;
static Program lasting; /* lives on through all failures */
static Credential rsa, ec, ed25519;
static uint8_t message[N_MESSAGE];
static const OSSL_PARAM *const no_params = NULL;

/* ------------------------------------------------------------------ surroundings */

static void program_end(Program *program)
{
        if (program->ours)
                OSSL_PROVIDER_unload(program->ours);
        if (program->others)
                OSSL_PROVIDER_unload(program->others);
        OSSL_LIB_CTX_free(program->libctx);
}

static bool program_begin(Program *ret_program)
{
        Program program = { OSSL_LIB_CTX_new(), NULL, NULL };

        program.others = OSSL_PROVIDER_load(program.libctx, "default");
        program.ours = OSSL_PROVIDER_load(program.libctx, "certbroker");
        *ret_program = program;
        if (program.ours)
                return true;
        program_end(&program);
        return false;
}

static BIO *open_file(const char *name, const char *suffix)
{
        char path[512];

        snprintf(path, sizeof(path), "%s/%s%s", folder, name, suffix);
        return BIO_new_file(path, "r");
}

static EVP_PKEY *read_key(OSSL_LIB_CTX *libctx, const char *name)
{
        BIO *bio = open_file(name, ".key");
        EVP_PKEY *key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, libctx, NULL);

        BIO_free(bio);
        return key;
}

static X509 *read_certificate(OSSL_LIB_CTX *libctx, const char *name)
{
        BIO *bio = open_file(name, ".crt");
        X509 *certificate = X509_new_ex(libctx, NULL);

        (void)PEM_read_bio_X509(bio, &certificate, NULL, NULL);
        BIO_free(bio);
        return certificate;
}

static bool credential_read(const char *name, Credential *ret_credential)
{
        X509 *judged = read_certificate(judge, name);

        ret_credential->key = read_key(lasting.libctx, name);
        ret_credential->certificate = read_certificate(lasting.libctx, name);
        ret_credential->public = X509_get_pubkey(judged);
        X509_free(judged);
        return ret_credential->key && ret_credential->public;
}

static void credential_end(Credential *credential)
{
        EVP_PKEY_free(credential->key);
        EVP_PKEY_free(credential->public);
        X509_free(credential->certificate);
}

static const OSSL_PARAM *pss(void)
{
        static char padding[] = "pss", salt[] = "digest";
        static OSSL_PARAM params[3];

        params[0] = OSSL_PARAM_construct_utf8_string("pad-mode", padding, 0);
        params[1] = OSSL_PARAM_construct_utf8_string("saltlen", salt, 0);
        params[2] = OSSL_PARAM_construct_end();
        return params;
}

/* The judge knows nothing of us, so none of this fails. "right" is what every signature must be. */
static void tell_signature(const Credential *credential, const char *digest,
                           const OSSL_PARAM *params, const uint8_t *given, size_t n, char *text)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        bool right;

        right = EVP_DigestVerifyInit_ex(context, NULL, digest, judge, NULL, credential->public,
                                        params) == 1 &&
                EVP_DigestVerify(context, given, n, message, sizeof(message)) == 1;
        EVP_MD_CTX_free(context);
        snprintf(text, TEXT_SIZE, "%s", right ? "right" : "a wrong signature");
}

/* ------------------------------------------------------------------ operations */

static bool sign_by(OSSL_LIB_CTX *libctx, EVP_PKEY *key, const Credential *credential,
                    const char *digest, const OSSL_PARAM *params, char *text)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        uint8_t signature[512];
        size_t n = sizeof(signature);
        bool ok;

        ok = EVP_DigestSignInit_ex(context, NULL, digest, libctx, NULL, key, params) == 1 &&
             EVP_DigestSign(context, signature, &n, message, sizeof(message)) == 1;
        if (ok)
                tell_signature(credential, digest, params, signature, n, text);
        EVP_MD_CTX_free(context);
        return ok;
}

static bool sign(const Credential *credential, const char *digest, const OSSL_PARAM *params,
                 char *text)
{
        return sign_by(lasting.libctx, credential->key, credential, digest, params, text);
}

static bool do_load(char *text)
{
        Program program;
        bool ok = program_begin(&program);

        if (ok)
                program_end(&program);
        return ok;
}

/* A program of its own, from nothing to its first signature. */
static bool do_first_signature(char *text)
{
        EVP_PKEY *key = NULL;
        Program program;
        bool ok;

        if (!program_begin(&program))
                return false;
        key = read_key(program.libctx, "ec");
        ok = key && sign_by(program.libctx, key, &ec, "SHA256", no_params, text);
        EVP_PKEY_free(key);
        program_end(&program);
        return ok;
}

/* Keys of others are others', however little memory there was when we were first asked. */
static bool do_others_keys(char *text)
{
        Program program;
        EVP_PKEY *key;
        bool ok;

        if (!program_begin(&program))
                return false;
        key = EVP_PKEY_Q_keygen(program.libctx, NULL, "EC", "P-256");
        ok = key != NULL;
        EVP_PKEY_free(key);
        if (!ok) {
                (void)alloc_fault_disarm();
                key = EVP_PKEY_Q_keygen(program.libctx, NULL, "EC", "P-256");
                snprintf(text, TEXT_SIZE, "%s", key ? "" : "cannot make a key any more");
                EVP_PKEY_free(key);
                ok = key == NULL; /* then it is told as wrong */
        }
        program_end(&program);
        return ok;
}

static bool read_and_tell(const char *name, char *text)
{
        EVP_PKEY *key = read_key(lasting.libctx, name);

        if (key)
                snprintf(text, TEXT_SIZE, "%s %d %s", EVP_PKEY_get0_type_name(key),
                         EVP_PKEY_get_bits(key),
                         OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(key)));
        EVP_PKEY_free(key);
        return key != NULL;
}

static bool do_read_rsa(char *text)
{
        return read_and_tell("rsa", text);
}

static bool do_read_ec(char *text)
{
        return read_and_tell("ec", text);
}

static bool do_read_ed25519(char *text)
{
        return read_and_tell("ed25519", text);
}

static bool do_pss(char *text)
{
        return sign(&rsa, "SHA256", pss(), text);
}

static bool do_ecdsa(char *text)
{
        return sign(&ec, "SHA256", no_params, text);
}

static bool do_ed25519(char *text)
{
        return sign(&ed25519, NULL, no_params, text);
}

/* What libssl has signed in a handshake. */
static bool do_tls13(char *text)
{
        uint8_t before[N_MESSAGE];
        bool ok;

        memcpy(before, message, sizeof(before));
        memset(message, ' ', 64);
        memcpy(message + 64, "TLS 1.3, client CertificateVerify", 34);
        ok = sign(&rsa, "SHA256", pss(), text);
        memcpy(message, before, sizeof(before));
        return ok;
}

/* A program that does not look at what an update says gets no signature of less than it gave. */
static bool do_parts(char *text)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new(), *copy = EVP_MD_CTX_new();
        uint8_t signature[512];
        size_t n = sizeof(signature);
        bool ok;

        ok = EVP_DigestSignInit_ex(context, NULL, "SHA256", lasting.libctx, NULL, rsa.key, NULL) ==
             1;
        if (ok) {
                (void)EVP_DigestSignUpdate(context, message, 10);
                (void)EVP_DigestSignUpdate(context, message + 10, 20);
        }
        ok = ok && EVP_MD_CTX_copy_ex(copy, context) == 1;
        if (ok)
                (void)EVP_DigestSignUpdate(copy, message + 30, N_MESSAGE - 30);
        ok = ok && EVP_DigestSignFinal(copy, signature, &n) == 1;
        if (ok)
                tell_signature(&rsa, "SHA256", no_params, signature, n, text);
        EVP_MD_CTX_free(context);
        EVP_MD_CTX_free(copy);
        return ok;
}

/* The digest is there already; the context and the key are copies. */
static bool do_copies(char *text)
{
        EVP_PKEY *key = EVP_PKEY_dup(ec.key);
        EVP_PKEY_CTX *context = NULL, *copy = NULL;
        uint8_t signature[512], digest[EVP_MAX_MD_SIZE];
        size_t n = sizeof(signature), n_digest = 0;
        bool ok;

        ok = key && EVP_Q_digest(lasting.libctx, "SHA256", NULL, message, sizeof(message), digest,
                                 &n_digest) == 1;
        if (ok)
                context = EVP_PKEY_CTX_new_from_pkey(lasting.libctx, key, NULL);
        ok = context && EVP_PKEY_sign_init(context) == 1;
        if (ok)
                copy = EVP_PKEY_CTX_dup(context);
        ok = copy && EVP_PKEY_sign(copy, signature, &n, digest, n_digest) == 1;
        if (ok)
                tell_signature(&ec, "SHA256", no_params, signature, n, text);
        EVP_PKEY_CTX_free(context);
        EVP_PKEY_CTX_free(copy);
        EVP_PKEY_free(key);
        return ok;
}

static bool do_match(char *text)
{
        return X509_check_private_key(rsa.certificate, rsa.key) == 1;
}

/* What a key of ours signed, verified with it. */
static bool do_verify(char *text)
{
        static uint8_t signature[512];
        static size_t n;
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        size_t room = sizeof(signature);
        bool ok = n > 0;

        if (!ok)
                ok = EVP_DigestSignInit_ex(context, NULL, "SHA256", lasting.libctx, NULL, ec.key,
                                           NULL) == 1 &&
                     EVP_DigestSign(context, signature, &room, message, sizeof(message)) == 1;
        if (n == 0 && ok)
                n = room;
        EVP_MD_CTX_free(context);
        context = EVP_MD_CTX_new();
        ok = ok &&
             EVP_DigestVerifyInit_ex(context, NULL, "SHA256", lasting.libctx, NULL, ec.key, NULL) ==
                     1 &&
             EVP_DigestVerify(context, signature, n, message, sizeof(message)) == 1;
        EVP_MD_CTX_free(context);
        return ok;
}

static bool read_store(const char *uri, char *text)
{
        OSSL_STORE_CTX *store = OSSL_STORE_open_ex(uri, lasting.libctx, NULL, NULL, NULL, NULL,
                                                   NULL, NULL);
        bool ok = store != NULL;

        while (ok && !OSSL_STORE_eof(store)) {
                OSSL_STORE_INFO *info = OSSL_STORE_load(store);

                ok = info != NULL;
                if (ok)
                        strcat(text, OSSL_STORE_INFO_type_string(OSSL_STORE_INFO_get_type(info)));
                OSSL_STORE_INFO_free(info);
        }
        if (store)
                OSSL_STORE_close(store);
        return ok;
}

static bool do_store_certificate(char *text)
{
        return read_store("certbroker:certificate/rsa", text);
}

static bool do_store_backend(char *text)
{
        return read_store("certbroker:backend/to-rsa", text);
}

static const struct Operation {
        const char *name;
        bool (*run)(char *text);
        Whose whose; /* libcrypto itself does not survive it everywhere */
} operations[] = {
        { "load", do_load, WHOSE_BELOW },
        { "first-signature", do_first_signature, WHOSE_BELOW },
        { "keys-of-others", do_others_keys, WHOSE_BELOW },
        { "read-rsa", do_read_rsa, WHOSE_BELOW },
        { "read-ec", do_read_ec, WHOSE_BELOW },
        { "read-ed25519", do_read_ed25519, WHOSE_BELOW },
        { "rsa-pss", do_pss, WHOSE_BELOW_AND_LIBCRYPTO },
        { "ecdsa", do_ecdsa, WHOSE_BELOW_AND_LIBCRYPTO },
        { "ed25519", do_ed25519, WHOSE_BELOW_AND_LIBCRYPTO },
        { "tls-1.3", do_tls13, WHOSE_BELOW_AND_LIBCRYPTO },
        { "in-parts", do_parts, WHOSE_BELOW_AND_LIBCRYPTO },
        { "copies", do_copies, WHOSE_BELOW_AND_LIBCRYPTO },
        { "match", do_match, WHOSE_BELOW_AND_LIBCRYPTO },
        { "verify", do_verify, WHOSE_BELOW_AND_LIBCRYPTO },
        { "store-certificate", do_store_certificate, WHOSE_BELOW_AND_LIBCRYPTO },
        { "store-backend", do_store_backend, WHOSE_BELOW_AND_LIBCRYPTO },
};

/* ------------------------------------------------------------------ the walk */

typedef struct Outcome {
        bool ok, told; /* told: an error was raised */
        char text[TEXT_SIZE];
} Outcome;

static unsigned count_descriptors(void)
{
        DIR *directory = opendir("/proc/self/fd");
        unsigned n = 0;

        while (directory && readdir(directory))
                n++;
        if (directory)
                closedir(directory);
        return n;
}

static void run(const struct Operation *operation, Outcome *ret_outcome)
{
        memset(ret_outcome, 0, sizeof(*ret_outcome));
        ERR_clear_error();
        alarm(ALARM_SECS);
        ret_outcome->ok = operation->run(ret_outcome->text);
        alarm(0);
        ret_outcome->told = ERR_peek_error() != 0;
}

static void complain(const struct Operation *operation, const Outcome *outcome, uint64_t nth,
                     const char *what)
{
        printf("%s, allocation %" PRIu64 ": %s: %s\n", operation->name, nth, what, outcome->text);
        ERR_print_errors_fp(stdout);
        printf("%s", alloc_fault_trace());
        fflush(stdout);
}

/* True: an allocation has failed. */
static bool step(const struct Operation *operation, const Outcome *right, uint64_t nth,
                 uint64_t n_wanted, unsigned *n_wrong)
{
        Outcome outcome, after;
        bool failed;

        alloc_fault_arm(nth, n_wanted, operation->whose);
        run(operation, &outcome);
        failed = alloc_fault_disarm() > 0;
        if (outcome.ok ? strcmp(outcome.text, right->text) != 0 : !outcome.told) {
                complain(operation, &outcome, nth, outcome.ok ? "wrong" : "no error raised");
                (*n_wrong)++;
        }
        run(operation, &after);
        if (!after.ok || strcmp(after.text, right->text) != 0) {
                complain(operation, &after, nth, "does not work again");
                (*n_wrong)++;
        }
        return failed;
}

static unsigned walk(const struct Operation *operation, uint64_t stride, uint64_t n_wanted)
{
        unsigned n_failed = 0, n_wrong = 0, n_before;
        Outcome right;

        run(operation, &right); /* what is made once is made */
        run(operation, &right);
        if (!right.ok) {
                complain(operation, &right, 0, "does not work at all");
                return 1;
        }
        n_before = count_descriptors();
        for (uint64_t nth = 1; step(operation, &right, nth, n_wanted, &n_wrong); n_failed++)
                nth += nth < EACH || stride == 1 ? 1 : stride + nth / 4;
        if (count_descriptors() > n_before) {
                complain(operation, &right, 0, "has left descriptors");
                n_wrong++;
        }
        printf("%s: %u failed %s, %u wrong\n", operation->name, n_failed,
               n_wanted == 1 ? "alone" : "with all after them", n_wrong);
        fflush(stdout);
        return n_wrong;
}

int main(int argc, char **argv)
{
        uint64_t stride = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
        unsigned n_wrong = 0;

        folder = argv[1];
        judge = OSSL_LIB_CTX_new();
        for (size_t i = 0; i < sizeof(message); i++)
                message[i] = (uint8_t)i;
        if (!program_begin(&lasting) || !credential_read("rsa", &rsa) ||
            !credential_read("ec", &ec) || !credential_read("ed25519", &ed25519)) {
                ERR_print_errors_fp(stdout);
                return 1;
        }
        for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
                for (uint64_t n = 1; n != UINT64_MAX; n = n == 1 ? UINT64_MAX - 1 : UINT64_MAX)
                        n_wrong += walk(&operations[i], stride, n);
        credential_end(&rsa);
        credential_end(&ec);
        credential_end(&ed25519);
        program_end(&lasting);
        OSSL_LIB_CTX_free(judge);
        return n_wrong > 0;
}
