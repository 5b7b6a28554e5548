/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `certificate sign`: reads a file, hashes it as the algorithm's name asks (Ed25519 takes the
 * message itself), and has the broker sign that. The file never leaves this process unless it is
 * the message.
 */
#include "sign.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "file.h"
#include "show.h"

#define SIGNATURE_MAX 1024

typedef struct Input {
        unsigned char *data;
        size_t n;
} Input;

/* The last word of an algorithm's name says the digest. */
static const struct {
        const char *suffix, *digest;
} digests[] = {
        { "-sha1", "SHA1" },
        { "-sha256", "SHA256" },
        { "-sha384", "SHA384" },
        { "-sha512", "SHA512" },
};

static const char *digest_of(const char *algorithm)
{
        const char *suffix = strrchr(algorithm, '-');

        for (size_t i = 0; suffix && i < ELEMENTSOF(digests); i++)
                if (strcmp(digests[i].suffix, suffix) == 0)
                        return digests[i].digest;
        return NULL;
}

static int hash_fd(int fd, const char *digest, Input *input)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_MD *md = EVP_MD_fetch(NULL, digest, NULL);
        unsigned char buffer[16384];
        unsigned n = 0;
        ssize_t got = 0;
        int r = 0;

        if (!context || !md || !EVP_DigestInit_ex2(context, md, NULL))
                r = -ENOMEM;
        while (r == 0 && (got = read(fd, buffer, sizeof(buffer))) != 0) {
                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        r = -errno;
                else if (!EVP_DigestUpdate(context, buffer, (size_t)got))
                        r = -ENOMEM;
        }
        if (r == 0 && !EVP_DigestFinal_ex(context, input->data, &n))
                r = -ENOMEM;
        input->n = n;
        EVP_MD_free(md);
        EVP_MD_CTX_free(context);
        return r;
}

static int read_message(int fd, Input *input)
{
        for (;;) {
                ssize_t got = read(fd, input->data + input->n, SIGN_INPUT_MAX + 1 - input->n);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        return 0;
                input->n += (size_t)got;
                if (input->n > SIGN_INPUT_MAX)
                        return -E2BIG;
        }
}

static int read_input(Cli *cli, const char *algorithm, const char *name, Input *input)
{
        const char *digest = digest_of(algorithm);
        int fd, r;

        if (!digest && strcmp(algorithm, "ed25519") != 0)
                return cli_fail(cli, CB_NOT_SUPPORTED,
                                "%s is no algorithm. `certbroker certificate show` lists those of "
                                "a key.",
                                algorithm);
        r = file_open(cli, name, &fd);
        if (r)
                return r;
        r = digest ? hash_fd(fd, digest, input) : read_message(fd, input);
        (void)close(fd);
        if (r == -E2BIG)
                return cli_fail(cli, CB_INVALID_ARGUMENT,
                                "%s is longer than the 64 KiB that %s signs.", name, algorithm);
        return r ? cli_fail(cli, r, "%s cannot be read: %s", name, strerror(-r)) : 0;
}

static int put_signature(Cli *cli, const Arguments *arguments, const uint8_t *signature, size_t n)
{
        const cb_value value = { .type = CB_TYPE_BYTES,
                                 .as.bytes = { (uint8_t *)(uintptr_t)signature, n } };

        if (arguments->json && !arguments_has(arguments, "--output"))
                return show_document(cli, json_pack("{s:s, s:s, s:o?}", "certificate",
                                                    arguments->positionals[0], "algorithm",
                                                    arguments_value(arguments, "--algorithm"),
                                                    "signature", show_json(&value)));
        return file_put(cli, signature, n, 0644);
}

int verb_certificate_sign(Cli *cli, const Arguments *arguments)
{
        CLEANUP(free_text) char *buffer = malloc(SIGN_INPUT_MAX + 1);
        const char *algorithm = arguments_value(arguments, "--algorithm");
        const char *name = arguments_value(arguments, "--in");
        uint8_t signature[SIGNATURE_MAX];
        size_t n_signature = sizeof(signature);
        Input input = { .data = (unsigned char *)buffer };
        int r;

        if (!buffer)
                return cli_out_of_memory(cli);
        r = read_input(cli, algorithm, name ? name : "-", &input);
        if (r)
                return r;
        r = cb_sign(cli->client, arguments->positionals[0], 0, algorithm, input.data, input.n,
                    signature, &n_signature, &cli->error);
        return r ? r : put_signature(cli, arguments, signature, n_signature);
}
