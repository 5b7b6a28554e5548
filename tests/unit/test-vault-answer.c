/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parsers of a vault's answers: what the real service recorded is read unchanged, and the same bytes cut
 * at every length never are. The judge of what was read is libcrypto, by way of pki.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/strings.h"
#include "pki/bundle.h"
#include "pki/context.h"
#include "pki/x509.h"
#include "source/azure-key-vault/address.h"
#include "source/azure-key-vault/answer.h"
#include "source/azure-key-vault/http.h"
#include "source/azure-key-vault/json.h"
#include "source/azure-key-vault/permission.h"

static Bytes read_data(const char *name)
{
        Bytes data = { 0 };
        uint8_t buffer[16384];
        char path[512];
        ssize_t n;
        int fd;

        snprintf(path, sizeof(path), "%s/%s", TEST_DATA, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        n = read(fd, buffer, sizeof(buffer));
        assert_true(n > 0 && (size_t)n < sizeof(buffer));
        close(fd);
        assert_int_equal(bytes_set(&data, buffer, (size_t)n), 0);
        return data;
}

static char *base64(const Bytes *data, bool url)
{
        char *text = malloc(base64_room(data->n));

        assert_non_null(text);
        base64_encode(data->data, data->n, url, text);
        return text;
}

static char *secret_body(const char *file)
{
        Bytes data = read_data(file);
        char *value = base64(&data, false), *body = NULL;

        assert_true(asprintf(&body,
                             "{\"value\":\"%s\",\"id\":\"https://h.vault.azure.net/secrets/n/0\","
                             "\"contentType\":\"application/"
                             "x-pkcs12\",\"attributes\":{\"enabled\":true}}",
                             value) > 0);
        free(value);
        bytes_deinit(&data);
        return body;
}

/* The two secrets as the real service sends them. */
static void test_recorded_secrets(void **state)
{
        static const char *const files[] = { "akv-with-key.p12", "akv-without-key.p12" };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                CLEANUP(freep) char *body = secret_body(files[i]);
                CLEANUP(secret_answer_deinit) SecretAnswer answer = { 0 };
                CLEANUP(bytes_list_deinit) BytesList certificates = { 0 };
                Failure failure = { 0 };

                assert_int_equal(secret_answer_parse(body, strlen(body), &answer, &failure), 0);
                assert_int_equal(
                        pki_bundle_certificates(answer.value, NULL, &certificates, &failure), 0);
                assert_true(certificates.n >= 1);
                for (size_t n = 0; n < strlen(body); n++) {
                        SecretAnswer cut = { 0 };

                        assert_int_not_equal(secret_answer_parse(body, n, &cut, &failure), 0);
                        assert_null(cut.value);
                }
        }
}

static char *certificate_body(void)
{
        Bytes data = read_data("facts.der");
        char *value = base64(&data, false), *body = NULL;

        assert_true(
                asprintf(&body,
                         "{\"id\":\"https:\\u002F\\u002Fh.vault.azure.net/certificates/n/0123\","
                         "\"kid\":\"https://h.vault.azure.net/keys/n/0123\","
                         "\"sid\":\"https://h.vault.azure.net/secrets/n/0123\",\"x5t\":\"AA\","
                         "\"cer\":\"%s\",\"attributes\":{\"enabled\":false,\"nbf\":5,\"exp\":7,"
                         "\"created\":6},"
                         "\"policy\":{\"key_props\":{\"exportable\":true,\"kty\":\"RSA\"}},"
                         "\"tags\":null}",
                         value) > 0);
        free(value);
        bytes_deinit(&data);
        return body;
}

static void test_certificate(void **state)
{
        CLEANUP(freep) char *body = certificate_body();
        CLEANUP(certificate_answer_deinit) CertificateAnswer answer = { 0 };
        CLEANUP(bytes_deinit) Bytes leaf = read_data("facts.der");
        Failure failure = { 0 };

        (void)state;
        assert_int_equal(certificate_answer_parse(body, strlen(body), &answer, &failure), 0);
        assert_string_equal(answer.id, "https://h.vault.azure.net/certificates/n/0123");
        assert_true(bytes_equal(&answer.leaf, &leaf));
        assert_true(answer.attributes.disabled && answer.exportable);
        assert_int_equal(answer.attributes.not_before_sec, 5);
        assert_int_equal(answer.attributes.expires_sec, 7);
        for (size_t n = 0; n < strlen(body); n++) {
                CertificateAnswer cut = { 0 };

                assert_int_not_equal(certificate_answer_parse(body, n, &cut, &failure), 0);
                assert_null(cut.id);
        }
}

static void test_keys_and_signatures(void **state)
{
        static const char key[] = "{\"key\":{\"kid\":\"https://h.vault.azure.net/keys/n/"
                                  "0\",\"kty\":\"EC-HSM\",\"crv\":\"P-256\","
                                  "\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\",\"y\":\"T-"
                                  "NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\","
                                  "\"key_ops\":[\"verify\",\"sign\"],\"d\":\"AAAA\"},"
                                  "\"attributes\":{\"enabled\":true}}";
        static const char signature[] = "{\"kid\":\"https://h/keys/n/0\",\"value\":\"AAECAw\"}";
        CLEANUP(key_answer_deinit) KeyAnswer answer = { 0 };
        CLEANUP(bytes_deinit) Bytes value = { 0 };
        CLEANUP(freep) char *kid = NULL;
        Failure failure = { 0 };

        (void)state;
        assert_int_equal(key_answer_parse(key, strlen(key), &answer, &failure), 0);
        assert_int_equal(answer.type, KEY_TYPE_EC_P256);
        assert_true(answer.hsm && answer.may_sign && answer.spki.n > 0);
        for (size_t n = 0; n < strlen(key); n++) {
                KeyAnswer cut = { 0 };

                assert_int_not_equal(key_answer_parse(key, n, &cut, &failure), 0);
        }
        assert_int_equal(
                signature_answer_parse(signature, strlen(signature), &value, &kid, &failure), 0);
        assert_int_equal(value.n, 4);
        for (size_t n = 0; n < strlen(signature); n++) {
                Bytes none = { 0 };
                char *no_kid = NULL;

                assert_int_not_equal(signature_answer_parse(signature, n, &none, &no_kid, &failure),
                                     0);
        }
}

static int parse_ec(const char *curve, const char *x, const char *y, KeyAnswer *ret_answer)
{
        CLEANUP(freep) char *body = NULL;
        Failure failure = { 0 };

        assert_true(asprintf(&body,
                             "{\"key\":{\"kid\":\"https://h/keys/n/0\",\"kty\":\"EC\",\"crv\":\"%s\","
                             "\"x\":\"%s\",\"y\":\"%s\"}}",
                             curve, x, y) > 0);
        return key_answer_parse(body, strlen(body), ret_answer, &failure);
}

/* RFC 7518 wants as many octets as the curve has; those that answer others mean the same point. */
static void test_coordinates(void **state)
{
        static const struct {
                const char *curve, *x, *x_short, *x_long, *y, *y_long, *x_other;
        } rows[] = {
                { "P-256",
                  "AOdVxCPpP_3fpmyIOVL0FCMu7DsOggcDBk-wzaojABo",
                  "51XEI-k__d-mbIg5UvQUIy7sOw6CBwMGT7DNqiMAGg",
                  "AADnVcQj6T_936ZsiDlS9BQjLuw7DoIHAwZPsM2qIwAa",
                  "ybiIeqQeYm82w2hd33KHzWTaGhYF1qr5A1XQNKpvHlM",
                  "AAAAybiIeqQeYm82w2hd33KHzWTaGhYF1qr5A1XQNKpvHlM",
                  "AQDnVcQj6T_936ZsiDlS9BQjLuw7DoIHAwZPsM2qIwAa" },
                { "P-384",
                  "ALFHAsTK12w5_90Mtuz66Vo7FI3AsWzjGjUMpy6Q_OdJo6qUNiPwAQ0f2FbhVQPE",
                  "sUcCxMrXbDn_3Qy27PrpWjsUjcCxbOMaNQynLpD850mjqpQ2I_ABDR_YVuFVA8Q",
                  "AACxRwLEytdsOf_dDLbs-ulaOxSNwLFs4xo1DKcukPznSaOqlDYj8AENH9hW4VUDxA",
                  "Ss2wlER4TzRZJX-HctM7dBoHWk6Tu2Z8AZ2p5vB2MvbxW-NGSZDtKTkOlEJOT8cA",
                  "AAAASs2wlER4TzRZJX-HctM7dBoHWk6Tu2Z8AZ2p5vB2MvbxW-NGSZDtKTkOlEJOT8cA",
                  "AQCxRwLEytdsOf_dDLbs-ulaOxSNwLFs4xo1DKcukPznSaOqlDYj8AENH9hW4VUDxA" },
                { "P-521",
                  "AHPq901D1FD8wGMhDcCPY6_xw1uTgEzK5fRZuoQC14W8I6uHxhcs9JrXv-QUc-e3uEsXxcJGFZBX7hy4GL2quLuL",
                  "c-r3TUPUUPzAYyENwI9jr_HDW5OATMrl9Fm6hALXhbwjq4fGFyz0mte_5BRz57e4SxfFwkYVkFfuHLgYvaq4u4s",
                  "AABz6vdNQ9RQ_MBjIQ3Aj2Ov8cNbk4BMyuX0WbqEAteFvCOrh8YXLPSa17_kFHPnt7hLF8XCRhWQV-4cuBi9qri7iw",
                  "AQ72PoJcA-A8YS7VLHt0eyjvLoIq__xtr3oBeyx6AttaqvtS58LLVLAHlmy7tC-_QZvlrX3aRTLtS3J-mF2DL3sb",
                  "AAAAAQ72PoJcA-A8YS7VLHt0eyjvLoIq__xtr3oBeyx6AttaqvtS58LLVLAHlmy7tC-_QZvlrX3aRTLtS3J-mF2DL3sb",
                  "AQBz6vdNQ9RQ_MBjIQ3Aj2Ov8cNbk4BMyuX0WbqEAteFvCOrh8YXLPSa17_kFHPnt7hLF8XCRhWQV-4cuBi9qri7iw" },
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const struct {
                        const char *x, *y;
                        int status;
                } pairs[] = {
                        { rows[i].x_short, rows[i].y, 0 },  { rows[i].x_long, rows[i].y, 0 },
                        { rows[i].x, rows[i].y_long, 0 },   { rows[i].x_other, rows[i].y, CB_FAILED },
                        { rows[i].x, "", CB_FAILED },       { "", rows[i].y, CB_FAILED },
                        { rows[i].x, "AAAA", CB_BAD_BUNDLE }, /* no point of the curve */
                };
                CLEANUP(key_answer_deinit) KeyAnswer whole = { 0 };

                assert_int_equal(parse_ec(rows[i].curve, rows[i].x, rows[i].y, &whole), 0);
                for (size_t k = 0; k < ELEMENTSOF(pairs); k++) {
                        CLEANUP(key_answer_deinit) KeyAnswer other = { 0 };

                        assert_int_equal(parse_ec(rows[i].curve, pairs[k].x, pairs[k].y, &other),
                                         pairs[k].status);
                        if (pairs[k].status == 0)
                                assert_true(bytes_equal(&whole.spki, &other.spki));
                }
        }
}

static void test_numbers(void **state)
{
        static const uint8_t data[] = { 0, 0, 5, 6 };
        const Bytes number = { (uint8_t *)(uintptr_t)data, sizeof(data) }, none = { 0 };
        uint8_t fit[6];

        (void)state;
        assert_true(number_fit(&number, 2, fit) && memcmp(fit, "\5\6", 2) == 0);
        assert_true(number_fit(&number, 3, fit) && memcmp(fit, "\0\5\6", 3) == 0);
        assert_true(number_fit(&number, 6, fit) && memcmp(fit, "\0\0\0\0\5\6", 6) == 0);
        assert_false(number_fit(&number, 1, fit));
        assert_true(number_fit(&none, 2, fit) && memcmp(fit, "\0\0", 2) == 0);
}

static void test_tags(void **state)
{
        static const struct {
                const char *tags;
                bool taken_back;
        } rows[] = {
                { "{\"certbroker\":\"taken-back\",\"team\":\"x\"}", true },
                { "{\"certbroker\":\"other\"}", false },
                { "{\"certbroker\":7}", false },
                { "[]", false },
                { "null", false },
        };
        CLEANUP(freep) char *body = certificate_body();
        char *tags = strstr(body, "null}");

        (void)state;
        assert_non_null(tags);
        *tags = '\0';
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(certificate_answer_deinit) CertificateAnswer answer = { 0 };
                CLEANUP(freep) char *text = NULL;
                Failure failure = { 0 };

                assert_true(asprintf(&text, "%s%s}", body, rows[i].tags) > 0);
                assert_int_equal(certificate_answer_parse(text, strlen(text), &answer, &failure),
                                 0);
                assert_int_equal(answer.taken_back, rows[i].taken_back);
        }
}

static void test_tokens(void **state)
{
        /* IMDS writes its numbers as text. The claims say {"aud":"https://vault.azure.net"}. */
        static const char body[] =
                "{\"access_token\":\"e30.eyJhdWQiOiJodHRwczovL3ZhdWx0LmF6dXJlLm5ldCJ9.c2ln\","
                "\"expires_in\":\"3599\","
                "\"expires_on\":\"1506484173\",\"resource\":\"https://vault.azure.net/"
                "\",\"token_type\":\"Bearer\"}";
        CLEANUP(token_answer_deinit) TokenAnswer answer = { 0 };
        TokenAnswer other = { 0 };
        Failure failure = { 0 };

        (void)state;
        assert_int_equal(token_answer_parse(body, strlen(body), "https://vault.azure.net", NULL,
                                            &answer, &failure),
                         0);
        assert_int_equal(answer.life_sec, 3599);
        assert_int_equal(
                token_answer_parse(body, strlen(body), "https://other.net", NULL, &other, &failure),
                CB_SOURCE_DENIED);
        for (size_t n = 0; n < strlen(body); n++)
                assert_int_not_equal(token_answer_parse(body, n, "https://vault.azure.net", NULL,
                                                        &other, &failure),
                                     0);
}

/* As identity endpoints were seen to write them; -1: refused. */
static void test_lives(void **state)
{
        static const struct {
                const char *text;
                long life_sec;
        } rows[] = {
                { "\"expires_in\":3599", 3599 },
                { "\"expires_in\":\"3599\"", 3599 },
                { "\"expires_in\":\"3599.0\"", 3599 },
                { "\"expires_in\":3599.0", 3599 },
                { "\"expires_in\":\"3599.9\"", 3599 },
                { "\"expires_in\":\"\",\"expires_on\":\"99999999999\"", 7 * 86400 },
                { "\"expires_in\":1e300", 7 * 86400 },
                { "\"expires_in\":\"\"", -1 },
                { "\"expires_in\":-5", -1 },
                { "\"expires_in\":-5.0", -1 },
                { "\"expires_in\":\"3599.x\"", -1 },
                { "\"expires_in\":\".5\"", -1 },
                { "\"expires_in\":\"soon\"", -1 },
                { "\"expires_in\":true", -1 },
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(token_answer_deinit) TokenAnswer answer = { 0 };
                Failure failure = { 0 };
                char body[200];
                int r;

                snprintf(body, sizeof(body), "{\"access_token\":\"a.b\",%s}", rows[i].text);
                r = token_answer_parse(body, strlen(body), "https://vault.azure.net", NULL, &answer,
                                       &failure);
                if ((r == 0) != (rows[i].life_sec >= 0))
                        print_error("%s: %s\n", rows[i].text, failure.text);
                assert_int_equal(r == 0 ? (long)answer.life_sec : -1, rows[i].life_sec);
        }
}

static void test_errors(void **state)
{
        static const char body[] = "{\"error\":{\"code\":\"Forbidden\",\"message\":\"no\\nway\","
                                   "\"innerError\":{\"code\":\"KeyDisabled\"}}}";
        ErrorAnswer error;

        (void)state;
        error_answer_parse(body, strlen(body), &error);
        assert_string_equal(error.code, "Forbidden");
        assert_string_equal(error.inner, "KeyDisabled");
        assert_null(strchr(error.message, '\n'));
        for (size_t n = 0; n < strlen(body); n++) {
                error_answer_parse(body, n, &error);
                assert_string_equal(error.code, "");
        }
        error_answer_parse("<html>", 6, &error);
        assert_string_equal(error.code, "");
}

static void test_json_bounds(void **state)
{
        static const char *const refused[] = { "[]",
                                               "null",
                                               "17",
                                               "{\"a\":1,\"a\":2}",
                                               "{\"a\":\"\\u0000\"}",
                                               "{\"a\":99999999999999999999999}",
                                               "{\"a\":\"\xff\"}",
                                               "",
                                               "{}x" };
        char *deep = malloc(200001);
        json_t *root = NULL;
        Failure failure = { 0 };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
                assert_int_equal(
                        json_read_object(refused[i], strlen(refused[i]), "it", &root, &failure),
                        CB_FAILED);
        assert_non_null(deep);
        memset(deep, '[', 200000);
        assert_int_equal(json_read_object(deep, 200000, "it", &root, &failure), CB_FAILED);
        free(deep);
}

static void test_base64(void **state)
{
        static const char *const refused[] = { "A", "AB=", "AB==C", "A===", "AB C", "AAA*", "AB" };
        uint8_t data[64];
        size_t n;

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(refused); i++)
                assert_true(base64_decode(refused[i], strlen(refused[i]), false, data, &n) < 0);
        assert_int_equal(base64_decode("AA==", 4, false, data, &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(base64_decode("-_8", 3, true, data, &n), 0);
        assert_int_equal(n, 2);
        assert_int_equal(data[0], 0xfb);
        assert_true(base64_decode("-_8", 3, false, data, &n) < 0);
        assert_true(base64_decode("AB", 2, true, data, &n) < 0); /* bits that are nobody's */
}

static void test_dot_rule(void **state)
{
        (void)state;
        assert_true(resource_covers("https://vault.azure.net", "contoso.vault.azure.net"));
        assert_true(resource_covers("https://VAULT.azure.net/", "contoso.vault.azure.net"));
        assert_true(resource_covers("https://localhost", "localhost"));
        assert_false(resource_covers("https://vault.azure.net", "evilvault.azure.net"));
        assert_false(
                resource_covers("https://vault.azure.net", "contoso.vault.azure.net.evil.example"));
        assert_false(resource_covers("https://net", "contoso.vault.azure.net"));
        assert_false(resource_covers("http://vault.azure.net", "contoso.vault.azure.net"));
        assert_false(resource_covers("https://x@vault.azure.net", "contoso.vault.azure.net"));
        assert_false(resource_covers("vault.azure.net", "contoso.vault.azure.net"));
        assert_false(resource_covers("", "contoso.vault.azure.net"));
}

static void test_retry_after(void **state)
{
        const uint64_t max = 300 * USEC_PER_SEC, none = HTTP_NO_RETRY_AFTER;

        (void)state;
        assert_int_equal(http_parse_retry_after("Retry-After", "7", 0), 7 * USEC_PER_SEC);
        assert_int_equal(http_parse_retry_after("retry-after-ms", "250", 0), 250 * USEC_PER_MSEC);
        assert_int_equal(http_parse_retry_after("x-ms-retry-after-ms", "250", 0),
                         250 * USEC_PER_MSEC);
        assert_int_equal(http_parse_retry_after("Retry-After", "100000000000000", 0), max);
        assert_int_equal(http_parse_retry_after("Retry-After", "99999999999999999999999999", 0),
                         max);
        assert_int_equal(http_parse_retry_after("Retry-After", "Thu, 01 Jan 1970 00:00:20 GMT", 10),
                         10 * USEC_PER_SEC);
        assert_int_equal(
                http_parse_retry_after("Retry-After", "Thu, 01 Jan 1970 00:00:20 GMT", 100), 0);
        assert_true(http_parse_retry_after("Retry-After", "-1", 0) == none);
        assert_true(http_parse_retry_after("Retry-After", "soon", 0) == none);
        assert_true(http_parse_retry_after("Retry-After", "", 0) == none);
}

static int setup(void **state)
{
        (void)state;
        json_init();
        return pki_init();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_recorded_secrets),
                cmocka_unit_test(test_certificate),
                cmocka_unit_test(test_keys_and_signatures),
                cmocka_unit_test(test_coordinates),
                cmocka_unit_test(test_numbers),
                cmocka_unit_test(test_tags),
                cmocka_unit_test(test_tokens),
                cmocka_unit_test(test_lives),
                cmocka_unit_test(test_errors),
                cmocka_unit_test(test_json_bounds),
                cmocka_unit_test(test_base64),
                cmocka_unit_test(test_dot_rule),
                cmocka_unit_test(test_retry_after),
        };

        return cmocka_run_group_tests(tests, setup, NULL);
}
