/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What else a file can be that somebody gives us for a bundle or for certificates: a row for each, with
 * what it is called and what makes it what was asked for. Nothing is taken out of it here, and nothing of
 * it is shown but the label of a block. Invariant: each byte is looked at a bounded number of times.
 */
#include "pki/recognise.h"

#include <ctype.h>
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/bytes.h"
#include "pki/context.h"

#define UTF16_CHARACTERS 4  /* so many of ASCII in a row are no accident */
#define BASE64_LOOK      64 /* digits that are decoded to see what is in it */

static const char *const file_names[_FILE_PURPOSE_N] = { "the bundle", "the file" };
static const char *const unknown[_FILE_PURPOSE_N] = {
        "neither PKCS#12 nor PEM, or is damaged",
        "neither PEM nor DER with certificates, or is damaged",
};
static const char *const wanted[_FILE_PURPOSE_N] = {
        "give PKCS#12, or PEM with key and chain",
        "give PEM, or one certificate or PKCS#7 in DER",
};

typedef struct Kind {
        const char *what;
        const char *remedies[_FILE_PURPOSE_N]; /* without a second one the first is for both */
} Kind;

static int fail_kind(const Kind *kind, FilePurpose purpose, Failure *failure)
{
        const char *remedy = kind->remedies[purpose] ?: kind->remedies[0];

        return fail(failure, CB_BAD_BUNDLE, "%s is %s: %s", file_names[purpose], kind->what,
                    remedy);
}

bool is_padding(const void *data, size_t n)
{
        const uint8_t *p = data;

        for (size_t i = 0; i < n; i++)
                if (p[i] != 0 && p[i] != ' ' && !(p[i] >= '\t' && p[i] <= '\r'))
                        return false;
        return true;
}

int fail_more(const char *file, const char *what, size_t at, Failure *failure)
{
        return fail(failure, CB_BAD_BUNDLE,
                    "%s goes on after %s, at byte %zu, with something else: give one at a time, "
                    "or several certificates as PEM",
                    file, what, at);
}

int fail_block(const char *file, const PemBlock *block, Failure *failure)
{
        return fail(failure, CB_BAD_BUNDLE,
                    "%s is damaged PEM: its block %zu (%s) has no end, or ends as another one: is "
                    "it cut off?",
                    file, block->number, block->label);
}

/* By its first bytes */

#define UNPACK "unpack it first"
#define KEYTOOL                                                                                    \
        {                                                                                          \
                "write it as PKCS#12: keytool -importkeystore -srckeystore FILE -destkeystore "    \
                "NEW.p12 -deststoretype PKCS12",                                                   \
                        "take the certificate out of it: keytool -exportcert -rfc -keystore FILE " \
                        "-alias ALIAS"                                                             \
        }
#define SSH_PUBLIC                                                                                 \
        {                                                                                          \
                "an SSH public key",                                                               \
                {                                                                                  \
                        "it is no certificate"                                                     \
                }                                                                                  \
        }

static const struct {
        const char *magic;
        size_t n;
        Kind kind;
} magic_rows[] = {
        { "\x1f\x8b", 2, { "compressed with gzip", { UNPACK } } },
        { "BZh", 3, { "compressed with bzip2", { UNPACK } } },
        { "\xfd"
          "7zXZ",
          5,
          { "compressed with xz", { UNPACK } } },
        { "PK\x03\x04", 4, { "a zip archive", { UNPACK } } },
        { "7z\xbc\xaf", 4, { "a 7z archive", { UNPACK } } },
        { "\xfe\xed\xfe\xed", 4, { "a Java key store (JKS)", KEYTOOL } },
        { "\xce\xce\xce\xce", 4, { "a Java key store (JCEKS)", KEYTOOL } },
        { "\0\0\0\1\0\0\0\x14", 8, { "a key store of Bouncy Castle (BKS)", KEYTOOL } },
        { "\0\0\0\2\0\0\0\x14", 8, { "a key store of Bouncy Castle (BKS)", KEYTOOL } },
        { "SQLite format 3",
          16,
          { "a database, as NSS keeps keys in",
            { "write the key as PKCS#12: pk12util -o NEW.p12 -n NICKNAME -d DIRECTORY" } } },
        { "\xff\xfe",
          2,
          { "text in UTF-16, as > writes it in PowerShell",
            { "write it in ASCII: iconv -f UTF-16 -t ASCII FILE" } } },
        { "\xfe\xff",
          2,
          { "text in UTF-16", { "write it in ASCII: iconv -f UTF-16 -t ASCII FILE" } } },
        { "PuTTY-User-Key-File-",
          20,
          { "a key of PuTTY's",
            { "write it as PEM: puttygen FILE -O private-openssh, then ssh-keygen -p -m PEM; and "
              "give its certificate with it",
              "give the certificate that was issued for the key" } } },
        { "\x1e\xf1\xb5\xb0",
          4,
          { "a private key in Microsoft's PVK",
            { "write it as PEM: openssl rsa -inform PVK -in FILE; and give its certificate with it",
              "give the certificate that was issued for the key" } } },
        { "ssh-", 4, SSH_PUBLIC },
        { "ecdsa-sha2-", 11, SSH_PUBLIC },
};

/* Text that is neither PEM nor base64 */

typedef struct Look {
        const uint8_t *data;
        size_t n;
} Look;

static bool holds(const Look *look, const char *text)
{
        return memmem(look->data, look->n, text, strlen(text)) != NULL;
}

static bool is_utf16(const Look *look, size_t high)
{
        if (look->n < 2 * UTF16_CHARACTERS)
                return false;
        for (size_t i = 0; i < 2 * UTF16_CHARACTERS; i++)
                if (i % 2 == high ? look->data[i] != 0
                                  : !isprint(look->data[i]) && !isspace(look->data[i]))
                        return false;
        return true;
}

static bool is_utf16_le(const Look *look)
{
        return is_utf16(look, 1);
}

static bool is_utf16_be(const Look *look)
{
        return is_utf16(look, 0);
}

static bool begins_with(const Look *look, const char *characters)
{
        size_t i = 0;

        if (look->n >= 3 && memcmp(look->data, "\xef\xbb\xbf", 3) == 0)
                i = 3;
        while (i < look->n && isspace(look->data[i]))
                i++;
        return i < look->n && look->data[i] && strchr(characters, look->data[i]);
}

static bool is_markup(const Look *look)
{
        return begins_with(look, "<");
}

static bool is_json(const Look *look)
{
        return begins_with(look, "{[");
}

static bool is_escaped_pem(const Look *look)
{
        return holds(look, "-----BEGIN ") && holds(look, "\\n");
}

static bool is_broken_pem(const Look *look)
{
        return holds(look, "-----BEGIN ");
}

/* The first bytes of what the text is base64 of; 0: it is none. */
static size_t decode_beginning(const Look *look, uint8_t ret_data[BASE64_LOOK])
{
        char digits[BASE64_LOOK];
        PemBlock block = { .body = digits };
        size_t n = 0;

        for (size_t i = 0; i < look->n; i++) {
                uint8_t c = look->data[i];

                if (isspace(c))
                        continue;
                if (!isalnum(c) && c != '+' && c != '/' && c != '=')
                        return 0;
                if (block.n_body < BASE64_LOOK)
                        digits[block.n_body++] = (char)c;
        }
        if (pem_decode(&block, ret_data, &n) < 0)
                n = 0;
        explicit_bzero(digits, sizeof(digits));
        return n;
}

static bool is_base64_of(const Look *look, const char *beginning, size_t n, uint8_t at_least)
{
        uint8_t data[BASE64_LOOK];
        size_t n_data = decode_beginning(look, data);
        bool yes = n_data > n && memcmp(data, beginning, n) == 0 && data[n] >= at_least;

        explicit_bzero(data, sizeof(data));
        return yes;
}

static bool is_base64_of_pem(const Look *look)
{
        return is_base64_of(look, "-----BEGIN", 10, 0);
}

static bool is_base64_of_der(const Look *look)
{
        return is_base64_of(look, "0", 1, 0x80);
}

static bool is_base64_of_jks(const Look *look)
{
        return is_base64_of(look, "\xfe\xed\xfe\xed", 4, 0);
}

#define DECODE "decode it first: base64 -d FILE"

static const struct {
        bool (*test)(const Look *look);
        Kind kind;
} text_rows[] = {
        { is_utf16_le,
          { "text in UTF-16", { "write it in ASCII: iconv -f UTF-16LE -t ASCII FILE" } } },
        { is_utf16_be,
          { "text in UTF-16", { "write it in ASCII: iconv -f UTF-16BE -t ASCII FILE" } } },
        { is_markup, { "a web page or other XML", { "fetch the file itself" } } },
        { is_json,
          { "JSON", { "take the file out of it that it holds, and decode it if it is base64" } } },
        { is_escaped_pem,
          { "PEM whose line ends are written as \\n",
            { "make them line ends: sed \"s/\\\\\\\\n/\\\\n/g\" FILE" } } },
        { is_broken_pem,
          { "text that has PEM in the middle of a line",
            { "each -----BEGIN ...----- has to begin a line, with nothing before it" } } },
        { is_base64_of_pem, { "base64 text of PEM", { DECODE } } },
        { is_base64_of_der, { "base64 text of a binary file, as PKCS#12 is one", { DECODE } } },
        { is_base64_of_jks, { "base64 text of a Java key store (JKS)", { DECODE } } },
};

/* Structures in DER, and the same by the labels of PEM */

#define BOTH                                                                                       \
        "give both, in PKCS#12 or PEM; or, for a key that certbroker holds, use certbroker "       \
        "certificate install"

static const Kind certificate_kind = { "a certificate without its private key",
                                       { BOTH, "it cannot be read" } };
static const Kind pkcs7_kind = { "PKCS#7, which has no private key",
                                 { BOTH, "nor has it a certificate in it" } };
static const Kind bundle_kind = { "PKCS#12, a key with its certificates",
                                  { "give it as it is",
                                    "import it: certbroker certificate import" } };
static const Kind key_kind = { "a private key without its certificate",
                               { "give PEM with both, or make PKCS#12 of them: openssl pkcs12 "
                                 "-export -inkey KEY -in CERTIFICATE",
                                 "give the certificate that was issued for the key" } };
static const Kind request_kind = { "a certificate request",
                                   { "give the certificate that the authority made of it, and "
                                     "its key",
                                     "give the certificate that the authority made of it" } };
static const Kind crl_kind = { "a list of revoked certificates (CRL)",
                               { "give PKCS#12, or PEM with key and chain",
                                 "give the certificate itself" } };
static const Kind public_key_kind = { "a public key alone",
                                      { "give PKCS#12, or PEM with key and chain",
                                        "give the certificate that was issued for the key" } };
static const Kind pgp_kind = { "of PGP, which has other certificates",
                               { "give PKCS#12, or PEM with key and chain",
                                 "give a certificate of X.509" } };
static const Kind ssh_key_kind = { "an SSH key",
                                   { "write it as PEM: ssh-keygen -p -m PEM -f FILE; and give its "
                                     "certificate with it",
                                     "give the certificate that was issued for the key" } };

static const struct {
        ASN1_ITEM_EXP *item;
        const Kind *kind;
} der_rows[] = {
        { ASN1_ITEM_ref(PKCS12), &bundle_kind }, { ASN1_ITEM_ref(X509), &certificate_kind },
        { ASN1_ITEM_ref(PKCS7), &pkcs7_kind },   { ASN1_ITEM_ref(X509_REQ), &request_kind },
        { ASN1_ITEM_ref(X509_CRL), &crl_kind },  { ASN1_ITEM_ref(X509_PUBKEY), &public_key_kind },
        { ASN1_ITEM_ref(X509_SIG), &key_kind },  { ASN1_ITEM_ref(PKCS8_PRIV_KEY_INFO), &key_kind },
};

/* Any label that has these words in it. */
static const struct {
        const char *words;
        const Kind *kind;
} label_rows[] = {
        { "CERTIFICATE REQUEST", &request_kind },
        { "X509 CRL", &crl_kind },
        { "PGP ", &pgp_kind },
        { "OPENSSH PRIVATE KEY", &ssh_key_kind },
        { "SSH2 ", &ssh_key_kind },
        { "PKCS12", &bundle_kind },
        { "PRIVATE KEY", &key_kind },
        { "PUBLIC KEY", &public_key_kind },
        { "PKCS7", &pkcs7_kind },
        { "CERTIFICATE", &certificate_kind },
};

static bool is_item(const Look *look, const ASN1_ITEM *item)
{
        const unsigned char *p = look->data;
        ASN1_VALUE *value = ASN1_item_d2i(NULL, &p, (long)look->n, item);

        ASN1_item_free(value, item);
        return value != NULL;
}

static int type_at(const STACK_OF(ASN1_TYPE) * sequence, int i)
{
        const ASN1_TYPE *type = sk_ASN1_TYPE_value(sequence, i);

        return type ? ASN1_TYPE_get(type) : 0;
}

/* PKCS#1 begins with two numbers, SEC1 with a number and the key. */
static bool is_older_key(const Look *look)
{
        const unsigned char *p = look->data;
        ASN1_SEQUENCE_ANY *sequence = d2i_ASN1_SEQUENCE_ANY(NULL, &p, (long)look->n);
        int second = type_at(sequence, 1);
        bool yes = type_at(sequence, 0) == V_ASN1_INTEGER &&
                   (second == V_ASN1_INTEGER || second == V_ASN1_OCTET_STRING);

        sk_ASN1_TYPE_pop_free(sequence, ASN1_TYPE_free);
        return yes;
}

static int recognise_der(const Look *look, FilePurpose purpose, Failure *failure)
{
        const unsigned char *p = look->data;
        int tag, class;
        long n = 0;

        for (size_t i = 0; i < ELEMENTSOF(der_rows); i++)
                if (is_item(look, ASN1_ITEM_ptr(der_rows[i].item)))
                        return fail_kind(der_rows[i].kind, purpose, failure);
        if (is_older_key(look))
                return fail_kind(&key_kind, purpose, failure);
        /* It sets the length also where there is not so much of it. */
        (void)ASN1_get_object(&p, &n, &tag, &class, (long)look->n);
        if (look->n > 4 && look->data[1] >= 0x80 && n > 0 &&
            (size_t)(p - look->data) + (size_t)n > look->n)
                return fail(failure, CB_BAD_BUNDLE,
                            "%s is cut off, or damaged: it says that it is longer than the %zu "
                            "bytes that it has; copy it again",
                            file_names[purpose], look->n);
        return CB_NOT_FOUND;
}

static int recognise_pem(const Look *look, FilePurpose purpose, Failure *failure)
{
        PemReader reader;
        PemBlock block, first = { 0 };

        pem_reader_init(&reader, look->data, look->n);
        while (pem_next(&reader, &block) > 0) {
                if (block.number == 1)
                        first = block;
                for (size_t i = 0; i < ELEMENTSOF(label_rows); i++)
                        if (strstr(block.label, label_rows[i].words))
                                return fail_kind(label_rows[i].kind, purpose, failure);
        }
        return fail(failure, CB_BAD_BUNDLE, "%s is PEM of another kind (\"%s\"): %s",
                    file_names[purpose], first.label, wanted[purpose]);
}

static int recognise_text(const Look *look, FilePurpose purpose, Failure *failure)
{
        for (size_t i = 0; i < ELEMENTSOF(text_rows); i++)
                if (text_rows[i].test(look))
                        return fail_kind(&text_rows[i].kind, purpose, failure);
        return CB_NOT_FOUND;
}

static int recognise_magic(const Look *look, FilePurpose purpose, Failure *failure)
{
        for (size_t i = 0; i < ELEMENTSOF(magic_rows); i++)
                if (look->n >= magic_rows[i].n &&
                    memcmp(look->data, magic_rows[i].magic, magic_rows[i].n) == 0)
                        return fail_kind(&magic_rows[i].kind, purpose, failure);
        return CB_NOT_FOUND;
}

int recognise(const void *data, size_t n, FilePurpose purpose, Failure *failure)
{
        const Look look = { data, n };
        int r;

        if (is_padding(data, n))
                return fail(failure, CB_BAD_BUNDLE, "%s is empty: %s", file_names[purpose],
                            wanted[purpose]);
        if (pem_is(data, n))
                return recognise_pem(&look, purpose, failure);
        r = recognise_magic(&look, purpose, failure);
        if (r == CB_NOT_FOUND && look.data[0] == 0x30)
                r = recognise_der(&look, purpose, failure);
        if (r == CB_NOT_FOUND)
                r = recognise_text(&look, purpose, failure);
        ERR_clear_error();
        if (r != CB_NOT_FOUND)
                return r;
        return fail(failure, CB_BAD_BUNDLE, "%s is %s: %s", file_names[purpose], unknown[purpose],
                    wanted[purpose]);
}
