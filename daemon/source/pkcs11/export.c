/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Export. The token wraps the key under an AES key that we made for this one call, which exists there as a session
 * object for the length of it; here both are in locked memory and wiped. Invariant: only a key that the token itself
 * says is CKA_EXTRACTABLE is asked for, and what is answered is a file that nobody can change any more.
 */
#include "source/pkcs11/export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/strings.h"
#include "pki/export.h"
#include "source/handed.h"
#include "source/pkcs11/facts.h"
#include "source/pkcs11/mechanism.h"
#include "source/pkcs11/rv.h"
#include "source/pkcs11/session.h"

#define WRAPPED_MAX 8192 /* RSA 4096 takes 2.4 KB */

typedef struct Export {
        const WireRequest *request;
        ExportFormat format;
        Secret *passphrase;
        Secret *wrapping_key;
        Bytes wrapped;
        char *label; /* of the key */
} Export;

static void export_deinit(Export *export)
{
        secret_free(export->passphrase);
        secret_free(export->wrapping_key);
        bytes_deinit(&export->wrapped);
        free(export->label);
}

/* Wrapping */

/* By a later name it is the same that most mean by the earlier one. */
static int choose_mechanism(Session *session, CK_MECHANISM_TYPE *ret_type, Failure *failure)
{
        static const CK_MECHANISM_TYPE types[] = { MECHANISM_AES_KEY_WRAP_KWP,
                                                   CKM_AES_KEY_WRAP_PAD };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (mechanism_has(session, types[i], CKF_WRAP)) {
                        *ret_type = types[i];
                        return 0;
                }
        return fail(failure, CB_NOT_SUPPORTED,
                    "the token cannot give a key away: it lacks CKM_AES_KEY_WRAP_KWP and "
                    "CKM_AES_KEY_WRAP_PAD");
}

static int create_wrapping_key(Session *session, Secret *value, CK_OBJECT_HANDLE *ret_object,
                               Failure *failure)
{
        static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
        static CK_OBJECT_CLASS class = CKO_SECRET_KEY;
        static CK_KEY_TYPE type = CKK_AES;
        CK_ATTRIBUTE attributes[] = {
                { CKA_CLASS, &class, sizeof(class) },
                { CKA_KEY_TYPE, &type, sizeof(type) },
                { CKA_TOKEN, &no, sizeof(no) },
                { CKA_PRIVATE, &yes, sizeof(yes) },
                { CKA_SENSITIVE, &yes, sizeof(yes) },
                { CKA_EXTRACTABLE, &no, sizeof(no) },
                { CKA_WRAP, &yes, sizeof(yes) },
                { CKA_VALUE, secret_data(value), secret_length(value) },
        };

        return object_create(session, attributes, ELEMENTSOF(attributes), "take a wrapping key",
                             ret_object, failure);
}

static int wrap(Session *session, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE wrapping_key,
                const Key *key, Bytes *ret_wrapped, Failure *failure)
{
        CK_MECHANISM mechanism = { type, NULL, 0 };
        uint8_t wrapped[WRAPPED_MAX];
        char doing[64];
        CK_ULONG n = sizeof(wrapped);
        CK_RV rv;

        rv = session->f->C_WrapKey(session->handle, &mechanism, wrapping_key, key->handle, wrapped,
                                   &n);
        if (rv != CKR_OK) {
                snprintf(doing, sizeof(doing), "give a key of type %s away",
                         key_type_name(key->type));
                return session_fail(session, rv, "C_WrapKey", doing, failure);
        }
        return bytes_set(ret_wrapped, wrapped, MIN(n, sizeof(wrapped)));
}

static int check_extractable(Session *session, const KeyFacts *facts, Failure *failure)
{
        if (facts->extractable)
                return 0;
        return fail(failure, CB_NOT_SUPPORTED,
                    "the key is not extractable: it never leaves the token of source '%s'",
                    session->token->name);
}

static int export_work(Session *session, void *userdata, Failure *failure)
{
        Export *export = userdata;
        CLEANUP(key_facts_deinit) KeyFacts facts = { 0 };
        CK_OBJECT_HANDLE wrapping_key = CK_INVALID_HANDLE;
        CK_MECHANISM_TYPE type = 0;
        int r, gone;

        r = key_facts_find(session, export->request->key_uri, &facts, failure);
        if (r == 0)
                r = check_extractable(session, &facts, failure);
        if (r == 0)
                r = choose_mechanism(session, &type, failure);
        if (r == 0)
                r = create_wrapping_key(session, export->wrapping_key, &wrapping_key, failure);
        if (r != 0)
                return r;

        r = wrap(session, type, wrapping_key, &facts.key, &export->wrapped, failure);
        /* A session that is at fault is closed, and takes its objects with it. */
        gone = object_destroy(session, wrapping_key, "drop a wrapping key",
                              r == 0 ? failure : NULL);
        if (r == 0)
                r = gone;
        free(export->label);
        export->label = facts.locator.label.n > 0 ? strndup((const char *)facts.locator.label.data,
                                                            facts.locator.label.n)
                                                  : NULL;
        return r;
}

/* The file */

static int to_memfd(Secret *file, int *ret_fd)
{
        CLEANUP(closep) int fd = memfd_create("certbroker-export", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        size_t done = 0;

        if (fd < 0)
                return -errno;
        while (done < secret_length(file)) {
                /* By position: the offset is the receiver's too, and stays at the beginning. */
                ssize_t n = pwrite(fd, secret_data(file) + done, secret_length(file) - done,
                                   (off_t)done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                done += (size_t)n;
        }
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return -errno;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

static int write_file(const Export *export, int *ret_fd, Failure *failure)
{
        CLEANUP(secret_freep) Secret *key = NULL;
        CLEANUP(secret_freep) Secret *file = NULL;
        PkiExport job = { .format = export->format,
                          .chain = &export->request->chain,
                          .passphrase = export->passphrase };
        int r;

        r = pki_key_unwrap(export->wrapping_key, &export->wrapped, &key);
        if (r > 0)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "the token wrapped the key in a way that is not ours to open");
        if (r < 0)
                return r;
        job.pkcs8 = key;
        if (export->label && utf8_is_valid(export->label, strlen(export->label)))
                job.name = export->label;
        r = pki_export(&job, &file, failure);
        return r == 0 ? to_memfd(file, ret_fd) : r;
}

static int prepare(Export *export, const DriverCall *call, Failure *failure)
{
        const WireRequest *request = call->request;
        int r;

        export->format = export_format_from_name(request->name);
        if (!request->key_uri)
                return fail(failure, CB_INVALID_ARGUMENT, "no key is named");
        if (export->format == EXPORT_NONE)
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the format of an export is pkcs12 or pem");
        r = handed_take(call->handed, 0, "passphrase", &export->passphrase, failure);
        if (r != 0)
                return r;
        secret_chomp(export->passphrase);
        r = pki_export_check_passphrase(export->passphrase, failure);
        if (r == 0)
                r = secret_new(PKI_WRAPPING_KEY_LENGTH, &export->wrapping_key);
        if (r != 0)
                return r;
        if (getrandom(secret_data(export->wrapping_key), PKI_WRAPPING_KEY_LENGTH, 0) !=
            PKI_WRAPPING_KEY_LENGTH)
                return -EIO;
        secret_set_length(export->wrapping_key, PKI_WRAPPING_KEY_LENGTH);
        return 0;
}

int export_key(void *instance, const DriverCall *call, WireReply *reply)
{
        CLEANUP(export_deinit) Export export = { .request = call->request };
        int r;

        r = prepare(&export, call, &reply->failure);
        if (r == 0)
                r = session_run(instance, call->deadline_usec, export_work, &export,
                                &reply->failure);
        if (r == 0)
                r = write_file(&export, &reply->fds[0], &reply->failure);
        return r;
}
