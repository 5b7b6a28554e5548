/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Export: the one way in which a private key leaves its source. It leaves as a sealed memfd that the source's process
 * fills and that goes through here unread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "broker/manage/room.h"
#include "broker/resolve/refusal.h"

typedef struct Export {
        uint64_t generation;
        manage_fd_done done;
        void *userdata;
} Export;

static void on_exported(void *userdata, WireReply *reply)
{
        CLEANUP(freep) Export *job = userdata;
        Failure failure = reply->failure;

        if (failure.status == 0 && reply->fds[0] < 0)
                fail(&failure, CB_FAILED, "the source exported nothing");
        /* On a file system of somebody's, closing it could wait for ever. */
        if (failure.status == 0 && fcntl(reply->fds[0], F_GET_SEALS) < 0)
                fail(&failure, CB_FAILED, "what the source exported is not in memory");
        job->done(job->userdata, &failure, job->generation,
                  failure.status == 0 ? reply->fds[0] : -1);
}

/* What is exported is the current generation. */
static int check(const ExportRequest *request, const Certificate *certificate, Failure *failure)
{
        const Generation *generation =
                certificate ? certificate_find_generation(certificate, 0) : NULL;
        int r;

        if (!certificate)
                return object_not_found(failure, OBJECT_CERTIFICATE, request->id);
        if (!string_equal(request->format, "pkcs12") && !string_equal(request->format, "pem"))
                return fail(failure, CB_INVALID_ARGUMENT,
                            "the format of an export is pkcs12 or pem");
        if (!generation)
                return fail(failure, CB_PENDING,
                            "certificate '%s' has no certificate for its key yet; install one",
                            request->id);
        r = certificate_may_use_key(certificate, generation);
        if (r != 0)
                return certificate_refusal(certificate, generation, r, failure);
        if (!generation->extractable)
                return fail(failure, CB_NOT_SUPPORTED,
                            "the key of certificate '%s' (generation %" PRIu64
                            ") is not extractable: it never leaves its source",
                            request->id, generation->number);
        return 0;
}

static int submit(Manage *manage, const ExportRequest *request, const Export *ends,
                  Failure *failure)
{
        const Certificate *certificate = catalog_find_certificate(manage->catalog, request->id);
        CLEANUP(freep) char *format = NULL;
        CLEANUP(freep) Export *job = NULL;
        const Generation *generation;
        WireRequest wire;
        Source *source = NULL;
        int r;

        r = check(request, certificate, failure);
        if (r == 0)
                r = manage_find_source(manage, certificate->source, &source, failure);
        if (r == 0)
                r = string_set(&format, request->format);
        if (r != 0)
                return r;

        job = malloc(sizeof(*job));
        if (!job)
                return -ENOMEM;
        *job = *ends;

        generation = certificate_find_generation(certificate, 0);
        job->generation = generation->number;
        wire_request_init(&wire, WIRE_EXPORT);
        wire.owner = manage_owner(manage, job->userdata);
        wire.timeout_usec = manage->timeout_usec + IMPORT_EXTRA_USEC;
        wire.name = format;
        wire.key_uri = generation->key_uri;
        wire.key_type = generation->key_type;
        wire.chain = generation->chain;
        wire.fds[0] = request->passphrase_fd;
        r = source_submit(source, &wire, on_exported, job, failure);
        if (r == 0)
                TAKE(job);
        return r;
}

void manage_export(Manage *manage, const ExportRequest *request, manage_fd_done done,
                   void *userdata)
{
        Failure failure = { 0 };
        int r = submit(manage, request, &(Export){ 0, done, userdata }, &failure);

        if (r == 0)
                return;

        if (failure.status == 0)
                fail(&failure, r, "certificate '%s' could not be exported: %s", request->id,
                     strerror(-r));
        done(userdata, &failure, 0, -1);
}
