/* SPDX-License-Identifier: Apache-2.0 */
/* Thumbprints as dialogs and tools show them, and why a text is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/macro.h"
#include "characters.h"
#include "core/thumbprint.h"

#define HEX40    "0123456789abcdef0123456789ABCDEF01234567"
#define HEX64    "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789ABCDEF"
#define COLONS40 "01:23:45:67:89:ab:cd:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67"
#define DASHES40 "01-23-45-67-89-ab-cd-ef-01-23-45-67-89-AB-CD-EF-01-23-45-67"
#define BLANKS40 "01 23 45 67 89 ab cd ef 01 23 45 67 89 AB CD EF 01 23 45 67"
#define COLONS64 COLONS40 ":89:ab:cd:ef:01:23:45:67:89:AB:CD:EF"

static void assert_read(const char *text, size_t n_expected)
{
        static const uint8_t expected[] = { 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                            0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                            0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                            0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };
        uint8_t digest[DIGEST_LENGTH_MAX];
        Failure why = { 0 };
        size_t n = 0;

        if (!thumbprint_parse(text, digest, &n, &why))
                print_error("\"%s\" %s\n", text, why.text);
        assert_int_equal(n, n_expected);
        assert_memory_equal(digest, expected, n);
        assert_string_equal(why.text, "");
}

static void reads_what_is_pasted(void **state)
{
        static const char *const sha1[] = {
                HEX40,
                COLONS40,
                DASHES40,
                BLANKS40,
                "\u200e" BLANKS40,                  /* certmgr.msc */
                "\u200e" BLANKS40 "\u200e\r\n",
                "\ufeff" HEX40 "\n",                /* a file of Windows */
                "\u00a0" HEX40 "\u202f\u3000\t",
                "\u202a" HEX40 "\u202c",
                "0123456789\u200babcdef0123456789AB\u2060CDEF01234567",
                "01234567 89abcdef\n01234567 89ABCDEF\n01234567",
                "01: 23: 45: 67: 89: ab: cd: EF: 01: 23: 45: 67: 89: AB: CD: EF: 01: 23: 45: 67",
                "SHA1:" HEX40,
                "sha-1: " COLONS40,
                "sha1 Fingerprint=" COLONS40,       /* openssl x509 -fingerprint */
                "SHA1 Fingerprint = " COLONS40 "\n",
                "Thumbprint                : " HEX40 "\n", /* Format-List */
                " fingerprint=" HEX40,
                "\u200eSHA1\u00a0: " HEX40,
        };
        static const char *const sha256[] = {
                HEX64,
                COLONS64,
                "SHA256:" HEX64,
                "sha256 Fingerprint=" COLONS64,
                "SHA-256: " COLONS64,
                "\tSHA256: " COLONS64, /* keytool */
                "thumbprint:" HEX64,
        };

        for (size_t i = 0; i < ELEMENTSOF(sha1); i++)
                assert_read(sha1[i], 20);
        for (size_t i = 0; i < ELEMENTSOF(sha256); i++)
                assert_read(sha256[i], 32);
}

/* What leaves no trace may stand anywhere; what does something, or may not be in a text at all, nowhere. */
static void skips_what_does_not_appear(void **state)
{
        static const char digits[] = HEX40;
        Failure why = { 0 };
        char text[80];
        uint8_t digest[DIGEST_LENGTH_MAX];
        size_t n;

        for (size_t i = 0; i < N_HIDDEN_CHARACTERS; i++)
                for (size_t at = 0; at <= 40; at++) {
                        bool is_control = (unsigned char)hidden_characters[i][0] < 0x80 ||
                                          (unsigned char)hidden_characters[i][0] == 0xc2;

                        if (is_control && strcmp(hidden_characters[i], "\u00ad") != 0)
                                continue;
                        (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)at, digits,
                                       hidden_characters[i], digits + at);
                        assert_read(text, 20);
                }
        assert_false(thumbprint_parse("\x1b" HEX40, digest, &n, &why));
        assert_string_equal(why.text, "has '\\x1b' at place 1, which is no hex digit");
        assert_false(thumbprint_parse("\xc2\x85" HEX40, digest, &n, NULL));
}

static void says_why_it_is_none(void **state)
{
        static const struct {
                const char *text, *why;
        } rows[] = {
                { "", "has 0 hex digits, where SHA-1 has 40 and SHA-256 64" },
                { "\u200e", "has 0 hex digits, where SHA-1 has 40 and SHA-256 64" },
                { "00:00", "has 4 hex digits, where SHA-1 has 40 and SHA-256 64" },
                { HEX40 "0", "has 41 hex digits, where SHA-1 has 40 and SHA-256 64" },
                { HEX64 "00", "has 66 hex digits, where SHA-1 has 40 and SHA-256 64" },
                { "SHA256:" HEX40, "has 40 hex digits, where SHA-256 has 64" },
                { "sha1 fingerprint=" HEX64, "has 64 hex digits, where SHA-1 has 40" },
                { "0123456789abcdef0123456789ABCDEF0123456g",
                  "has 'g' at place 40, which is no hex digit" },
                { "\u200e\u200eé" HEX40, "has 'é' at place 3, which is no hex digit" },
                { "01\xff" HEX40, "has '\\xff' at place 3, which is no hex digit" },
                { "SHA256:uNiVztksCsDhcc0u9e8BgrJXVGDQgCkl0qbCtfKYGFo",
                  "has 'u' at place 8, which is no hex digit" },
                { "pin-sha256=\"d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM=\"",
                  "has 'p' at place 1, which is no hex digit" },
                { "sha256//d6qz", "has no ':' or '=' between the word ahead and the digits" },
                { "sha1" HEX40, "has no ':' or '=' between the word ahead and the digits" },
                { ":" HEX40, "has ':' at place 1, where no pair of hex digits has just ended" },
                { "01::23", "has ':' at place 4, where no pair of hex digits has just ended" },
                { "0:", "has ':' at place 2, where no pair of hex digits has just ended" },
                { "01:23-45", "has '-' at place 6, where no pair of hex digits has just ended" },
                { HEX40 ":", "has ':' not after each pair of hex digits, or at its end" },
                { COLONS40 ":", "has ':' not after each pair of hex digits, or at its end" },
                { "01:23456789abcdef0123456789ABCDEF01234567",
                  "has ':' not after each pair of hex digits, or at its end" },
                { "0123456789abcdef0123456789ABCDEF012345-67",
                  "has '-' not after each pair of hex digits, or at its end" },
                { "x" COLONS64 COLONS64 COLONS64, "has 'x' at place 1, which is no hex digit" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                uint8_t digest[DIGEST_LENGTH_MAX];
                Failure why = { 0 };
                size_t n = 7;

                assert_false(thumbprint_parse(rows[i].text, digest, &n, &why));
                assert_string_equal(why.text, rows[i].why);
                assert_int_equal(n, 7);
                assert_false(thumbprint_parse(rows[i].text, digest, &n, NULL));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_what_is_pasted),
                cmocka_unit_test(skips_what_does_not_appear),
                cmocka_unit_test(says_why_it_is_none),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
