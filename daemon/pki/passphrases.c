/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways in which one passphrase is tried on a file: it may have been written by what encodes it in another
 * way, or takes none and an empty one for the same. Invariant: each try is work that is counted, and all of
 * them are of the one passphrase that was given, or of none.
 */
#include <certbroker/status.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/pkcs12.h>
#include <string.h>

#include "base/strings.h"
#include "pki/parts.h"

#define PASSPHRASE_MAX 4096

static bool is_ascii(const uint8_t *text, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (text[i] >= 0x80)
                        return false;
        return true;
}

static void add(Passphrases *p, const void *text, size_t n)
{
        p->items[p->n++] = (Passphrase){ text, (int)n };
}

/*
 * OpenSSL before 1.1 made a character of each byte, whatever those stood for. What is UTF-8 of these
 * characters comes out as the same (openssl-pkcs12(1) does that, too). Where the bytes are no UTF-8,
 * libcrypto takes them in the old way by itself.
 */
static int widen(Passphrases *p, Secret *given)
{
        const uint8_t *text = secret_data(given);
        size_t n = secret_length(given);
        unsigned char *wide;
        char *utf8;
        int n_wide, r = 0;

        if (is_ascii(text, n) || !utf8_is_valid((const char *)text, n))
                return 0;
        wide = OPENSSL_asc2uni((const char *)text, (int)n, NULL, &n_wide);
        utf8 = wide ? OPENSSL_uni2utf8(wide, n_wide) : NULL;
        if (wide)
                OPENSSL_clear_free(wide, (size_t)n_wide);
        if (!utf8)
                return -ENOMEM;
        n = strlen(utf8);
        r = secret_new(n, &p->widened);
        if (r == 0) {
                memcpy(secret_data(p->widened), utf8, n);
                secret_set_length(p->widened, n);
                add(p, secret_data(p->widened), n);
        }
        OPENSSL_clear_free(utf8, n);
        return r;
}

int passphrases_init(Passphrases *p, Secret *given, bool needless, Failure *failure)
{
        int r = 0;

        *p = (Passphrases){ .given = given };
        if (given && secret_length(given) > PASSPHRASE_MAX)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the passphrase is longer than %d bytes: is it the right file?",
                            PASSPHRASE_MAX);
        if (given && secret_length(given) > 0) {
                add(p, secret_data(given), secret_length(given));
                r = widen(p, given);
        }
        if (p->n == 0 || needless) {
                add(p, NULL, 0);
                add(p, "", 0);
        }
        return r < 0 ? fail(failure, r, "cannot read a passphrase: %s", strerror(-r)) : 0;
}

void passphrases_deinit(Passphrases *p)
{
        p->widened = secret_free(p->widened);
}

int passphrases_try(const Passphrases *p, size_t i, Work *work, uint64_t cost,
                    Passphrase *ret_passphrase, Failure *failure)
{
        Failure ignored = { 0 };
        int r;

        if (i == p->n)
                return CB_BAD_PASSPHRASE;
        r = work_add(work, cost, i == 0 ? failure : &ignored);
        if (r)
                return i == 0 ? r : CB_BAD_PASSPHRASE;
        *ret_passphrase = p->items[i];
        return 0;
}

void passphrases_found(Passphrases *p, size_t i)
{
        Passphrase found = p->items[i];

        for (; i > 0; i--)
                p->items[i] = p->items[i - 1];
        p->items[0] = found;
}

/* What editors and PowerShell put into a file that holds a passphrase. */
static const char *hint(Secret *given)
{
        const uint8_t *text = secret_data(given);
        size_t n = secret_length(given);

        if (n >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
                return "; it is in UTF-16: write its file in UTF-8, without a byte order mark";
        if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
                return "; it begins with a byte order mark: write its file without one";
        if (memchr(text, '\0', n))
                return "; it has zeros in it: write its file in UTF-8, not in UTF-16";
        return "";
}

int fail_passphrase(const Passphrases *p, const char *what, Failure *failure)
{
        if (!p->given || secret_length(p->given) == 0)
                return fail(failure, CB_BAD_PASSPHRASE, "%s is encrypted: give its passphrase",
                            what);
        return fail(failure, CB_BAD_PASSPHRASE,
                    "the passphrase does not open %s: give the right one%s", what, hint(p->given));
}
