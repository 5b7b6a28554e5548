/* SPDX-License-Identifier: Apache-2.0 */
/* The store's URIs, and TLS on both sides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/ssl.h>
#include <openssl/store.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "test-provider.h"
/* ------------------------------------------------------------------ the store */

static void store_counts(const char *uri, int expect, unsigned n_keys, unsigned n_certificates)
{
        OSSL_STORE_CTX *store = OSSL_STORE_open(uri, NULL, NULL, NULL, NULL);
        unsigned keys_seen = 0, certificates_seen = 0;

        MUST(store);
        if (expect)
                MUST(OSSL_STORE_expect(store, expect));
        while (!OSSL_STORE_eof(store)) {
                OSSL_STORE_INFO *info = OSSL_STORE_load(store);

                MUST(info || OSSL_STORE_eof(store));
                if (!info)
                        break;
                keys_seen += OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY ||
                             OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PUBKEY;
                certificates_seen += OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_CERT;
                OSSL_STORE_INFO_free(info);
        }
        OSSL_STORE_close(store);
        assert_int_equal(keys_seen, n_keys);
        assert_int_equal(certificates_seen, n_certificates);
}

void store_gives_what_is_expected(void **state)
{
        static const char *const uris[] = {
                "certbroker:certificate/rsa",
                "certbroker://certificate/ec",
                "certbroker:certificate/ed25519?generation=3",
                "certbroker:backend/to-ec384",
                "certbroker://backend/to-rsa",
        };

        for (size_t i = 0; i < N(uris); i++) {
                store_counts(uris[i], 0, 1, 2);
                store_counts(uris[i], OSSL_STORE_INFO_PKEY, 1, 0);
                store_counts(uris[i], OSSL_STORE_INFO_CERT, 0, 2);
        }
}

void store_key_signs(void **state)
{
        for (size_t i = 0; i < N(keys); i++) {
                char uri[128];
                OSSL_STORE_CTX *store;
                OSSL_STORE_INFO *info;
                EVP_PKEY *key;

                snprintf(uri, sizeof(uri), "certbroker:certificate/%s", keys[i].name);
                store = OSSL_STORE_open(uri, NULL, NULL, NULL, NULL);
                MUST(store && OSSL_STORE_expect(store, OSSL_STORE_INFO_PKEY));
                info = OSSL_STORE_load(store);
                MUST(info);
                key = OSSL_STORE_INFO_get1_PKEY(info);
                OSSL_STORE_INFO_free(info);
                OSSL_STORE_close(store);
                MUST(key);
                assert_string_equal(provider_of(key), "certbroker");
                MUST(signs(key, keys[i].name,
                           keys[i].base_id == EVP_PKEY_ED25519 ? NULL : "SHA256"));
                EVP_PKEY_free(key);
        }
}

void store_refuses_bad_uris(void **state)
{
        static const struct {
                const char *uri, *reason;
        } cases[] = {
                { "certbroker:", "not a certbroker URI" },
                { "certbroker:certificate/", "not a certbroker URI" },
                { "certbroker:certificate/../rsa", "not a certbroker URI" },
                { "certbroker:certificate/r%73a", "not a certbroker URI" },
                { "certbroker:certificate/rsa?generation=", "not a certbroker URI" },
                { "certbroker:certificate/rsa?generation=0", "not a certbroker URI" },
                { "certbroker:certificate/rsa?generation=99999999999999999999",
                  "not a certbroker URI" },
                { "certbroker:certificate/rsa?generation=3&x", "not a certbroker URI" },
                { "certbroker:certificate/rsa#x", "not a certbroker URI" },
                { "certbroker:backend/to-rsa?generation=3", "not a certbroker URI" },
                { "certbroker:source/hsm", "not a certbroker URI" },
                { "certbroker:certificate/-rsa", "not a certbroker URI" },
                { "certbroker:certificate/rsa?generation=2", "not found by certbrokerd" },
                { "certbroker:certificate/none", "not found by certbrokerd" },
        };

        for (size_t i = 0; i < N(cases); i++) {
                bool found = false;
                unsigned long code;

                assert_null(OSSL_STORE_open(cases[i].uri, NULL, NULL, NULL, NULL));
                while ((code = ERR_get_error())) {
                        const char *reason = ERR_reason_error_string(code);

                        found |= reason && strcmp(reason, cases[i].reason) == 0;
                }
                if (!found)
                        fail_msg("%s: not \"%s\"", cases[i].uri, cases[i].reason);
        }
}

/* ------------------------------------------------------------------ TLS */

static SSL_CTX *tls_context(const char *name, int version, bool is_server)
{
        SSL_CTX *context = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());

        MUST(context);
        MUST(SSL_CTX_set_min_proto_version(context, version) &&
             SSL_CTX_set_max_proto_version(context, version));
        MUST(SSL_CTX_load_verify_locations(context, file("ca", ".crt"), NULL));
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        MUST(SSL_CTX_use_certificate_chain_file(context, file(name, ".crt")) == 1);
        MUST(SSL_CTX_use_PrivateKey_file(context, file(name, ".key"), SSL_FILETYPE_PEM) == 1);
        MUST(SSL_CTX_check_private_key(context) == 1);
        assert_no_errors();
        return context;
}

static void shake_hands(SSL_CTX *server_context, SSL_CTX *client_context)
{
        SSL *server = SSL_new(server_context), *client = SSL_new(client_context);
        BIO *server_bio, *client_bio;
        int s = 0, c = 0;

        MUST(BIO_new_bio_pair(&server_bio, 0, &client_bio, 0));
        SSL_set_bio(server, server_bio, server_bio);
        SSL_set_bio(client, client_bio, client_bio);
        for (unsigned i = 0; i < 20 && (s != 1 || c != 1); i++) {
                if (c != 1)
                        c = SSL_connect(client);
                if (s != 1)
                        s = SSL_accept(server);
        }
        MUST(s == 1 && c == 1);
        assert_int_equal(SSL_get_verify_result(server), X509_V_OK);
        assert_int_equal(SSL_get_verify_result(client), X509_V_OK);
        SSL_free(server);
        SSL_free(client);
}

void tls_with_keys_on_both_sides(void **state)
{
        static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

        for (size_t v = 0; v < N(versions); v++)
                for (size_t i = 0; i < N(keys); i++) {
                        SSL_CTX *server = tls_context(keys[i].name, versions[v], true);
                        SSL_CTX *client =
                                tls_context(keys[N(keys) - 1 - i].name, versions[v], false);

                        /* P-256 for the exchange: a key of the program's that is of a type that we have too. */
                        MUST(SSL_CTX_set1_groups_list(client, i % 2 ? "P-256:P-384:P-521"
                                                                    : "X25519:P-256:P-384:P-521"));
                        shake_hands(server, client);
                        SSL_CTX_free(server);
                        SSL_CTX_free(client);
                }
}
