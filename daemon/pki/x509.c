/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One certificate: bytes in, facts out. Stateless. Invariant: every text that leaves is valid UTF-8
 * on one line and bounded, and the facts are those of exactly the bytes given: what is followed by
 * anything, or would encode to other bytes, is refused. It judges no validity, use or trust: that
 * is its caller's.
 */
#include "pki/x509.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hex.h"
#include "base/strings.h"
#include "pki/certificate.h"
#include "pki/context.h"

#define SERIAL_MAX     64 /* bytes; RFC 5280 allows 20 */
#define SHORT_NAME_MAX 128
#define NAME_CUT_MAX   16 /* a name that was cut is not shorter by more */

static void bio_freep(BIO **place)
{
        BIO_free(*place);
}

static void names_freep(GENERAL_NAMES **place)
{
        GENERAL_NAMES_free(*place);
}

void x509_freep(X509 **place)
{
        X509_free(*place);
}

static bool encodes_to(X509 *x, const void *der, size_t n)
{
        unsigned char *again = NULL;
        int n_again = i2d_X509(x, &again);
        bool equal = n_again > 0 && (size_t)n_again == n && memcmp(again, der, n) == 0;

        OPENSSL_free(again);
        return equal;
}

X509 *x509_from_der(const void *der, size_t n)
{
        CLEANUP(x509_freep) X509 *x = NULL;
        const unsigned char *p = der;

        if (n == 0 || n > PKI_CERTIFICATE_MAX)
                return NULL;
        x = X509_new_ex(pki_context(), NULL);
        if (!x || !d2i_X509(&x, &p, (long)n) || !encodes_to(x, der, n)) {
                ERR_clear_error();
                return NULL;
        }
        ERR_clear_error(); /* of a key that libcrypto does not know */
        return TAKE(x);
}

static bool is_self_signed(X509 *x)
{
        EVP_PKEY *key = X509_get0_pubkey(x);
        bool yes;

        yes = key && X509_NAME_cmp(X509_get_issuer_name(x), X509_get_subject_name(x)) == 0 &&
              X509_verify(x, key) == 1;
        ERR_clear_error();
        return yes;
}

/* Borrowed from the BIO. */
static int print_name(BIO *bio, const X509_NAME *name, unsigned long flags, char **ret_text,
                      size_t *ret_n)
{
        long n;

        if (BIO_reset(bio) != 1 || X509_NAME_print_ex(bio, name, 0, flags) < 0)
                return -ENOMEM;
        n = BIO_get_mem_data(bio, ret_text);
        *ret_n = n > 0 ? (size_t)n : 0;
        return 0;
}

/* At most so many bytes, not cut within a character or an escape. */
static char *cut_name(const char *text, size_t n, size_t max)
{
        static const char ellipsis[] = "…";
        char *cut;

        if (n <= max)
                return strndup(n > 0 ? text : "", n);
        n = max - (sizeof(ellipsis) - 1);
        while (n > 0 && ((uint8_t)text[n] & 0xc0) == 0x80)
                n--;
        for (size_t back = 1; back <= 2 && back < n; back++)
                if (text[n - back] == '\\') {
                        n -= back;
                        break;
                }
        if (asprintf(&cut, "%.*s%s", (int)n, text, ellipsis) < 0)
                return NULL;
        return cut;
}

char *x509_name_text(const X509_NAME *name)
{
        CLEANUP(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
        char *text;
        size_t n;
        int r;

        if (!bio)
                return NULL;
        /*
         * Characters as they are, where they are fit to be shown; else each byte as RFC 4514's \XX.
         */
        r = print_name(bio, name, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB, &text, &n);
        if (r < 0 || !text_is_printable(text, n))
                r = print_name(bio, name, XN_FLAG_RFC2253, &text, &n);
        ERR_clear_error();
        if (r < 0 || !utf8_is_valid(text, n))
                return strdup("");
        return cut_name(text, n, PKI_NAME_MAX);
}

/* For a sentence. NULL: no memory. Owned. */
static char *short_subject(X509 *x)
{
        CLEANUP(freep) char *text = x509_name_text(X509_get_subject_name(x));

        return text ? cut_name(text, strlen(text), SHORT_NAME_MAX) : NULL;
}

char *pki_name_of(const void *der, size_t n)
{
        CLEANUP(x509_freep) X509 *x = x509_from_der(der, n);

        return x ? x509_name_text(X509_get_subject_name(x)) : NULL;
}

/*
 * Upper-case hex of whole bytes, "-" ahead of a negative one, as `openssl x509 -serial` shows it.
 */
static char *serial_text(const ASN1_INTEGER *serial)
{
        size_t n = (size_t)ASN1_STRING_length(serial);
        bool negative = ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER;
        char *text = malloc(2 * n + 4);

        if (!text)
                return NULL;
        strcpy(text, negative ? "-" : "");
        if (n == 0)
                strcat(text, "00");
        else
                hex_encode_upper(ASN1_STRING_get0_data(serial), n, text + strlen(text));
        return text;
}

/* Seconds since 1970; what is before counts as 1970. */
static int time_sec(const ASN1_TIME *time, uint64_t *ret_sec)
{
        struct tm tm = { 0 };
        time_t sec;

        if (!ASN1_TIME_to_tm(time, &tm))
                return -EINVAL;
        sec = timegm(&tm);
        *ret_sec = sec > 0 ? (uint64_t)sec : 0;
        return 0;
}

void x509_validity(X509 *x, uint64_t *ret_not_before_sec, uint64_t *ret_not_after_sec)
{
        uint64_t from, until;
        bool readable = time_sec(X509_get0_notBefore(x), &from) == 0 &&
                        time_sec(X509_get0_notAfter(x), &until) == 0;

        *ret_not_before_sec = readable ? from : 0;
        *ret_not_after_sec = readable ? until : 0;
        ERR_clear_error();
}

/* What the standard names with text, and the word that we put ahead of it. */
static const struct {
        int type;
        const char *prefix;
} text_names[] = {
        { GEN_DNS, "DNS:" },
        { GEN_URI, "URI:" },
        { GEN_EMAIL, "email:" },
};

static int prefixed(const char *prefix, const char *text, char **ret_text)
{
        return asprintf(ret_text, "%s%s", prefix, text) < 0 ? -ENOMEM : 0;
}

/* What is no address stands there all the same: as RFC 4514 writes values without a text, so it is taken for no address. */
static int odd_address_text(const ASN1_OCTET_STRING *address, char **ret_text)
{
        size_t n = (size_t)ASN1_STRING_length(address);
        CLEANUP(freep) char *hex = malloc(2 * n + 1);

        if (!hex)
                return -ENOMEM;
        hex_encode_lower(ASN1_STRING_get0_data(address), n, hex);
        return prefixed("IP:#", hex, ret_text);
}

static int address_text(const ASN1_OCTET_STRING *address, char **ret_text)
{
        size_t n = (size_t)ASN1_STRING_length(address);
        char text[INET6_ADDRSTRLEN] = "";

        if (n != 4 && n != 16)
                return odd_address_text(address, ret_text);
        if (!inet_ntop(n == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(address), text,
                       sizeof(text)))
                return -errno;
        return prefixed("IP:", text, ret_text);
}

/* RFC 5280, 4.2.1.6: it is IA5String, so what is not ASCII is no character, whatever it looks like in UTF-8. */
static int ia5_text(const char *prefix, const ASN1_STRING *value, char **ret_text)
{
        CLEANUP(freep)
        char *text = text_escape_ascii(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));

        return text ? prefixed(prefix, text, ret_text) : -ENOMEM;
}

#define OID_TEXT_MAX 256

/* false: it is longer than any that is in use, or OBJ_obj2txt() gives none. */
static bool oid_text(const ASN1_OBJECT *oid, char text[static OID_TEXT_MAX])
{
        int n = OBJ_obj2txt(text, OID_TEXT_MAX, oid, 1);

        return n > 0 && n < OID_TEXT_MAX;
}

static int hex_text(const char *prefix, const char *oid, uint8_t *der, int n, char **ret_text)
{
        CLEANUP(freep) char *hex = n > 0 ? malloc(2 * (size_t)n + 1) : NULL;
        int r = -ENOMEM;

        if (hex) {
                hex_encode_lower(der, (size_t)n, hex);
                r = asprintf(ret_text, "%s%s%s#%s", prefix, oid, *oid ? ":" : "", hex) < 0 ? -ENOMEM
                                                                                           : 0;
        }
        OPENSSL_free(der);
        return r;
}

static int whole_text(const GENERAL_NAME *name, char **ret_text)
{
        uint8_t *der = NULL;
        int n = i2d_GENERAL_NAME(name, &der);

        return hex_text("other:", "", der, n, ret_text);
}

/* x509_name_text() cuts, and gives nothing for what cannot be shown: so others would have the same text. */
static bool is_whole(const char *text, const X509_NAME *name)
{
        size_t n = strlen(text);

        return n > 0 ? n < PKI_NAME_MAX - NAME_CUT_MAX : X509_NAME_entry_count(name) == 0;
}

static int directory_text(const GENERAL_NAME *general, const X509_NAME *name, char **ret_text)
{
        CLEANUP(freep) char *text = x509_name_text(name);

        if (!text)
                return -ENOMEM;
        return is_whole(text, name) ? prefixed("DirName:", text, ret_text)
                                    : whole_text(general, ret_text);
}

/* Text as it is: not what could be taken for the DER of something else. */
static bool is_plain_text(const ASN1_TYPE *value)
{
        const ASN1_STRING *string = value->value.asn1_string;

        return (value->type == V_ASN1_UTF8STRING || value->type == V_ASN1_IA5STRING ||
                value->type == V_ASN1_PRINTABLESTRING) &&
               (ASN1_STRING_length(string) == 0 || *ASN1_STRING_get0_data(string) != '#');
}

/* Such as a user principal name: text as it is, anything else as its DER. */
static int other_text(const GENERAL_NAME *name, const OTHERNAME *other, char **ret_text)
{
        const ASN1_TYPE *value = other->value;
        char oid[OID_TEXT_MAX];
        uint8_t *der = NULL;
        int n;

        if (!oid_text(other->type_id, oid))
                return whole_text(name, ret_text);
        if (is_plain_text(value)) {
                size_t length = (size_t)ASN1_STRING_length(value->value.asn1_string);
                CLEANUP(freep)
                char *text = text_escape(ASN1_STRING_get0_data(value->value.asn1_string), length,
                                         length);

                if (!text)
                        return -ENOMEM;
                return asprintf(ret_text, "otherName:%s:%s", oid, text) < 0 ? -ENOMEM : 0;
        }
        n = i2d_ASN1_TYPE(value, &der);
        return hex_text("otherName:", oid, der, n, ret_text);
}

static int registered_text(const GENERAL_NAME *name, const ASN1_OBJECT *oid, char **ret_text)
{
        char text[OID_TEXT_MAX];

        return oid_text(oid, text) ? prefixed("RID:", text, ret_text) : whole_text(name, ret_text);
}

/* Every name has a text, whole: names are compared by it. */
static int alt_name_text(const GENERAL_NAME *name, char **ret_text)
{
        int type;
        const void *value = GENERAL_NAME_get0_value(name, &type);

        if (type == GEN_IPADD)
                return address_text(value, ret_text);
        if (type == GEN_DIRNAME)
                return directory_text(name, value, ret_text);
        if (type == GEN_OTHERNAME)
                return other_text(name, value, ret_text);
        if (type == GEN_RID)
                return registered_text(name, value, ret_text);
        for (size_t i = 0; i < ELEMENTSOF(text_names); i++)
                if (text_names[i].type == type)
                        return ia5_text(text_names[i].prefix, value, ret_text);
        return whole_text(name, ret_text);
}

/* How many there are is bounded by the certificate's size alone. */
static int fill_alt_names(X509 *x, CertificateFacts *facts)
{
        CLEANUP(names_freep) GENERAL_NAMES *names = NULL;
        CLEANUP(strv_freep) char **texts = NULL;
        int critical = 0, n;

        names = X509_get_ext_d2i(x, NID_subject_alt_name, &critical, NULL);
        if (!names)
                return critical == -1 ? 0 : CB_BAD_BUNDLE; /* -1: there is none */
        n = sk_GENERAL_NAME_num(names);
        if (n <= 0)
                return 0;
        texts = calloc((size_t)n + 1, sizeof(*texts));
        if (!texts)
                return -ENOMEM;
        for (int i = 0; i < n; i++) {
                int r = alt_name_text(sk_GENERAL_NAME_value(names, i), &texts[i]);

                if (r)
                        return r;
        }
        return strv_pack(texts, &facts->subject_alt_names);
}

static void usages_freep(EXTENDED_KEY_USAGE **place)
{
        EXTENDED_KEY_USAGE_free(*place);
}

/* RFC 5280, 4.2.1.12: where it is there, it says all that the key is for. */
static bool lacks_client_auth(X509 *x)
{
        CLEANUP(usages_freep)
        EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(x, NID_ext_key_usage, NULL, NULL);

        for (int i = 0; usages && i < sk_ASN1_OBJECT_num(usages); i++) {
                int usage = OBJ_obj2nid(sk_ASN1_OBJECT_value(usages, i));

                if (usage == NID_client_auth || usage == NID_anyExtendedKeyUsage)
                        return false;
        }
        return usages != NULL;
}

/* RFC 8446, 4.4.2.2: it signs the handshake. */
static bool lacks_digital_signature(X509 *x)
{
        ASN1_BIT_STRING *usage = X509_get_ext_d2i(x, NID_key_usage, NULL, NULL);
        bool lacks = usage && !ASN1_BIT_STRING_get_bit(usage, 0);

        ASN1_BIT_STRING_free(usage);
        return lacks;
}

static int thumbprint(const char *digest, const void *der, size_t n, char *ret_text)
{
        uint8_t hash[EVP_MAX_MD_SIZE];
        size_t n_hash = 0;

        if (EVP_Q_digest(pki_context(), digest, NULL, der, n, hash, &n_hash) != 1)
                return CB_FAILED;
        hex_encode_upper(hash, n_hash, ret_text);
        return 0;
}

static int fill_names(X509 *x, CertificateFacts *facts)
{
        const ASN1_INTEGER *serial = X509_get0_serialNumber(x);

        if (ASN1_STRING_length(serial) > SERIAL_MAX)
                return CB_BAD_BUNDLE;
        facts->subject = x509_name_text(X509_get_subject_name(x));
        facts->issuer = x509_name_text(X509_get_issuer_name(x));
        facts->serial_number = serial_text(serial);
        if (!facts->subject || !facts->issuer || !facts->serial_number)
                return -ENOMEM;
        return fill_alt_names(x, facts);
}

/* Its key as key_spki() writes it: a third of the time for a certificate, which is spared where it is known. */
static int certificate_spki(X509 *x, const Bytes *known, Bytes *ret_spki)
{
        unsigned char *own = NULL;
        int n = known ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &own) : 0;
        bool is_known = n > 0 && (size_t)n == known->n && memcmp(own, known->data, known->n) == 0;

        OPENSSL_free(own);
        return is_known ? bytes_set(ret_spki, known->data, known->n)
                        : key_spki(X509_get0_pubkey(x), ret_spki);
}

static int fill_facts(X509 *x, const void *der, size_t n, const Bytes *known_spki,
                      CertificateFacts *facts)
{
        unsigned n_before = pki_memory_failures();
        int r;

        r = fill_names(x, facts);
        if (r == 0)
                r = thumbprint("SHA1", der, n, facts->thumbprint);
        if (r == 0)
                r = thumbprint("SHA256", der, n, facts->thumbprint_sha256);
        if (r)
                return r;
        if (time_sec(X509_get0_notBefore(x), &facts->not_before_sec) < 0 ||
            time_sec(X509_get0_notAfter(x), &facts->not_after_sec) < 0)
                return CB_BAD_BUNDLE;
        facts->self_signed = is_self_signed(x);
        facts->lacks_client_auth = lacks_client_auth(x);
        facts->lacks_digital_signature = lacks_digital_signature(x);
        r = certificate_spki(x, known_spki, &facts->spki);
        /* What could not be made into text is text without anything in it, and that is kept. */
        return r == 0 && pki_memory_failures() != n_before ? -ENOMEM : r;
}

/* Which of those that fill_facts() refuses. A certificate without a subject is named by its serial number. */
static int refuse_facts(X509 *x, Failure *failure)
{
        const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
        CLEANUP(freep) char *subject = short_subject(x);
        CLEANUP(freep) char *number = serial_text(serial);
        bool named = subject && *subject;
        int n = ASN1_STRING_length(serial);
        uint64_t ignored;

        if (n > SERIAL_MAX)
                return fail(failure, CB_BAD_BUNDLE,
                            "certificate \"%s\" has a serial number of %d bytes; at most %d are "
                            "taken, and RFC 5280 allows 20",
                            string_or_empty(subject), n, SERIAL_MAX);
        return fail(failure, CB_BAD_BUNDLE, "certificate %s\"%s\" cannot be read: its %s",
                    named ? "" : "with the serial number ",
                    string_or_empty(named ? subject : number),
                    time_sec(X509_get0_notBefore(x), &ignored) < 0 ||
                                    time_sec(X509_get0_notAfter(x), &ignored) < 0
                            ? "validity is not a time"
                            : "subject alternative names are not encoded as such");
}

static int refuse_key_type(X509 *x, Failure *failure)
{
        CLEANUP(freep) char *subject = short_subject(x);
        char what[SHORT_NAME_MAX + 64];
        int r;

        snprintf(what, sizeof(what), "the key of certificate \"%s\"", string_or_empty(subject));
        r = fail_key_type(X509_get0_pubkey(x), X509_get_X509_PUBKEY(x), what, failure);
        ERR_clear_error();
        return r;
}

static int read_facts_of(const void *der, size_t n, const Bytes *spki, CertificateFacts *ret_facts,
                         Failure *failure)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
        CLEANUP(x509_freep) X509 *x = x509_from_der(der, n);
        EVP_PKEY *key;
        int r;

        if (!x)
                return fail(failure, CB_BAD_BUNDLE, "what was given is not one certificate in DER");
        key = X509_get0_pubkey(x);
        facts.key_type = key ? key_type_of(key) : KEY_TYPE_NONE;
        if (facts.key_type == KEY_TYPE_NONE)
                return refuse_key_type(x, failure);
        r = fill_facts(x, der, n, spki, &facts);
        ERR_clear_error();
        if (r == CB_BAD_BUNDLE)
                return refuse_facts(x, failure);
        if (r)
                return fail(failure, r, "cannot read a certificate: %s",
                            r < 0 ? strerror(-r) : "libcrypto failed");
        *ret_facts = facts;
        facts = (CertificateFacts){ 0 };
        return 0;
}

int pki_certificate_facts_of(const void *der, size_t n, const Bytes *spki,
                             CertificateFacts *ret_facts, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = read_facts_of(der, n, spki, ret_facts, failure);

        return pki_memory_outcome(n_before, r, failure);
}

static int read_facts(const void *der, size_t n, CertificateFacts *ret_facts, Failure *failure)
{
        return pki_certificate_facts_of(der, n, NULL, ret_facts, failure);
}

int pki_certificate_facts(const void *der, size_t n, CertificateFacts *ret_facts, Failure *failure)
{
        unsigned n_before = pki_memory_failures();
        int r = read_facts(der, n, ret_facts, failure);

        return pki_memory_outcome(n_before, r, failure);
}
