/* SPDX-License-Identifier: Apache-2.0 */
/* PEM as people have it: what editors, shells, other systems and clipboards make of a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "taken.h"

static Bytes plain; /* a key, its certificate and the authority's */

static int setup(void **state)
{
        EVP_PKEY *ca_key, *key;
        X509 *ca, *leaf;
        BIO *bio = BIO_new(BIO_s_mem());

        issue_setup(state);
        ca_key = issue_p256();
        key = issue_p256();
        ca = issue_certificate(&(Issue){ .name = "ca", .key = ca_key });
        leaf = issue_certificate(
                &(Issue){ .name = "leaf", .key = key, .issuer = ca, .issuer_key = ca_key });
        assert_true(PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) &&
                    PEM_write_bio_X509(bio, leaf) && PEM_write_bio_X509(bio, ca));
        plain = issue_take_bio(bio);
        X509_free(ca);
        X509_free(leaf);
        EVP_PKEY_free(ca_key);
        EVP_PKEY_free(key);
        return 0;
}

static int teardown(void **state)
{
        bytes_deinit(&plain);
        return 0;
}

static char *find(const Bytes *data, size_t from, const char *text)
{
        char *at = memmem(data->data + from, data->n - from, text, strlen(text));

        assert_non_null(at);
        return at;
}

/* Each line with something before it, and something else for its end. */
static Bytes with_lines(const char *before, const char *end)
{
        BIO *bio = BIO_new(BIO_s_mem());
        bool begins = true;

        for (size_t i = 0; i < plain.n; i++) {
                if (begins)
                        BIO_puts(bio, before);
                begins = plain.data[i] == '\n';
                if (begins)
                        BIO_puts(bio, end);
                else
                        BIO_write(bio, plain.data + i, 1);
        }
        return issue_take_bio(bio);
}

/* Each block with something before and after it. */
static Bytes with_blocks(const char *before, const char *after)
{
        BIO *bio = BIO_new(BIO_s_mem());
        const char *p = (const char *)plain.data, *end = p + plain.n;

        while (p < end) {
                const char *stop = find(&plain, (size_t)(p - (char *)plain.data), "-----END ");

                stop = memchr(stop, '\n', (size_t)(end - stop));
                BIO_puts(bio, before);
                BIO_write(bio, p, (int)(stop - p));
                BIO_puts(bio, after);
                p = stop + 1;
        }
        return issue_take_bio(bio);
}

static void lines(void **state)
{
        static const struct {
                const char *before, *end;
        } rows[] = {
                { "", "\r\n" },    { "", "\r" },         { "", " \n" },
                { "", "\t \r\n" }, { "", "\xc2\xa0\n" }, { "", "\xc2\xa0\r\n" },
                { "    ", "\n" },  { "\t", "\r\n" },     { "", "" },
                { "", " " },       { "", "\n\n" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(bytes_deinit) Bytes data = with_lines(rows[i].before, rows[i].end);

                taken_whole(&data, NULL, 2);
                taken_certificates(&data, 2, 0, NULL);
        }
}

static void text_between_blocks(void **state)
{
        static const struct {
                const char *before, *after;
        } rows[] = {
                { "", "" }, /* files put together without a line end */
                { "", "\n" },
                { "see -----BEGIN above\n", "\n" },
                { "what is between -----BEGIN PRIVATE KEY----- and -----END is secret\n", "\n" },
                { "-----BEGIN CERTIFICATE----- is how it begins\n", "\n" },
                { "-----BEGIN -----\n", "\n-----END -----\n" },
                { "-----END CERTIFICATE-----\n", "\n" },
                { "-----BEGIN a label that is longer than any that anybody has ever written into "
                  "such a file-----\n",
                  "\n" },
                { "Bag Attributes\n    localKeyID: 01\nKey Attributes: <No Attributes>\n", "\n" },
                { "\xef\xbb\xbf", "\n" },
                { "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n",
                  "\n" },
                { "-----BEGIN DH PARAMETERS-----\nMAYCAQcCAQI=\n-----END DH PARAMETERS-----\n",
                  "\n" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(bytes_deinit) Bytes data = with_blocks(rows[i].before, rows[i].after);

                taken_whole(&data, NULL, 2);
                taken_certificates(&data, 2, 0, NULL);
        }
}

static void lines_that_are_no_base64(void **state)
{
        CLEANUP(bytes_deinit) Bytes inside = with_lines("\xc2\xa0", "\n");
        CLEANUP(bytes_deinit) Bytes quoted = with_lines("> ", "\n");
        CLEANUP(bytes_deinit) Bytes escaped = with_lines("", "\\n");

        taken_bundle(&inside, NULL, CB_BAD_BUNDLE, "private key is damaged", NULL);
        taken_bundle(&quoted, NULL, CB_BAD_BUNDLE, "in the middle of a line", NULL);
        taken_bundle(&escaped, NULL, CB_BAD_BUNDLE, "written as \\n: make them line ends: sed",
                     NULL);
        taken_certificates(&escaped, 0, CB_BAD_BUNDLE, "written as \\n");
}

static void block_without_end_is_named(void **state)
{
        CLEANUP(bytes_deinit) Bytes data = with_blocks("", "\n");
        char *second = find(&data, 0, "-----END CERTIFICATE");

        memcpy(second, "-----END CERTIFICATX", 20);
        taken_bundle(&data, NULL, CB_BAD_BUNDLE, "block 2 (CERTIFICATE) has no end", NULL);
        memcpy(second, "=====END CERTIFICATE", 20);
        taken_bundle(&data, NULL, CB_BAD_BUNDLE, "block 2 (CERTIFICATE) has no end", NULL);
        taken_certificates(&data, 0, CB_BAD_BUNDLE, "block 2 (CERTIFICATE) has no end");
}

/* What looks at one byte again for each other one would take hours for this. */
static void hostile_lines_take_no_time(void **state)
{
        static const char *const lines[] = { "-----BEGIN X-----x\n", "\xa0", "-----BEGIN ",
                                             "-----BEGIN X----- -----END Y-----\r",
                                             "-----BEGIN X----------END X-----", "-----END X-----" };

        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                BIO *bio = BIO_new(BIO_s_mem());
                CLEANUP(bytes_deinit) Bytes data = { 0 };

                BIO_puts(bio, "-----BEGIN CERTIFICATE-----\n");
                for (size_t k = 0; k < (1 << 20) / strlen(lines[i]) - 8; k++)
                        BIO_puts(bio, lines[i]);
                BIO_puts(bio, "\n-----END CERTIFICATE-----\n");
                data = issue_take_bio(bio);
                taken_certificates(&data, 0, CB_BAD_BUNDLE, NULL);
                taken_certificates(&(Bytes){ data.data + 28, data.n - 28 }, 0, CB_BAD_BUNDLE, NULL);
        }
}

/* As it is written by `openssl ec -CIPHER`. */
static void older_encryption(void **state)
{
        static const struct {
                const char *cipher;
                int status;
        } rows[] = {
                { "AES-256-CBC", 0 },
                { "DES-EDE3-CBC", 0 },
                { "CAMELLIA-192-CBC", 0 },
                { "ARIA-256-CBC", 0 },
                { "AES-256-CTR", CB_NOT_SUPPORTED },
                { "ROT13", CB_NOT_SUPPORTED },
                { "", CB_NOT_SUPPORTED },
        };
        BIO *in = BIO_new_mem_buf(plain.data, (int)plain.n);
        EVP_PKEY *key = PEM_read_bio_PrivateKey_ex(in, NULL, NULL, NULL, pki_context(), NULL);
        const char *rest = find(&plain, 0, "-----BEGIN CERTIFICATE");
        int n_rest = (int)((char *)plain.data + plain.n - rest);

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                bool known = rows[i].status == 0;
                EVP_CIPHER *cipher = EVP_CIPHER_fetch(pki_context(),
                                                      known ? rows[i].cipher : "AES-256-CBC", NULL);
                OSSL_LIB_CTX *was = issue_default_context(NULL);
                BIO *bio = BIO_new(BIO_s_mem());
                CLEANUP(bytes_deinit) Bytes data = { 0 };
                char *name;

                assert_true(PEM_write_bio_PrivateKey_traditional(
                        bio, key, cipher, (const unsigned char *)"correct", 7, NULL, NULL));
                issue_default_context(was);
                BIO_write(bio, rest, n_rest);
                data = issue_take_bio(bio);
                name = find(&data, 0, "DEK-Info: ") + strlen("DEK-Info: ");
                assert_memory_equal(name, known ? rows[i].cipher : "AES-256-CBC",
                                    strlen(rows[i].cipher));
                if (!known) {
                        memset(name, ' ', strlen("AES-256-CBC"));
                        memcpy(name, rows[i].cipher, strlen(rows[i].cipher));
                        memmove(name + strlen(rows[i].cipher), ",", 1);
                        taken_bundle(&data, "correct", CB_NOT_SUPPORTED, "AES-256", NULL);
                } else {
                        taken_whole(&data, "correct", 2);
                        taken_bundle(&data, "wrong", CB_BAD_PASSPHRASE, "give the right one", NULL);
                        taken_bundle(&data, NULL, CB_BAD_PASSPHRASE, "give its passphrase", NULL);
                }
                EVP_CIPHER_free(cipher);
        }
        EVP_PKEY_free(key);
        BIO_free(in);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lines),
                cmocka_unit_test(text_between_blocks),
                cmocka_unit_test(lines_that_are_no_base64),
                cmocka_unit_test(block_without_end_is_named),
                cmocka_unit_test(hostile_lines_take_no_time),
                cmocka_unit_test(older_encryption),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
