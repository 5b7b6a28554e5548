/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Installing a certificate for a key that is there: the pending generation's, or, as a renewal with the same key, the
 * current one's, or that of one that waits. The descriptor is read by the source's process, which has the time; what it found is sorted and checked
 * before anything is written.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/stranger.h"
#include "base/strings.h"
#include "broker/manage/room.h"
#include "pki/x509.h"

#define KEYS_MAX 8 /* that a certificate may be for: more do not wait */

/* The generation whose key the certificate must be for, unless it is for that of one that waits. */
static const Generation *wanted(const Certificate *certificate)
{
        const Generation *newest = certificate_newest_key(certificate);

        if (newest && newest->chain.n == 0)
                return newest;
        return certificate_find_generation(certificate, 0);
}

static bool has_key(const Generation *const *generations, size_t n, const Bytes *spki)
{
        for (size_t i = 0; i < n; i++)
                if (bytes_equal(&generations[i]->spki, spki))
                        return true;
        return false;
}

/*
 * All whose keys it may be for, each key once: a request is made for the newest key, and where that one's certificate
 * waits for its NotBefore it may be replaced before it is current.
 */
static size_t all_wanted(const Certificate *certificate, const Generation *ret_all[KEYS_MAX])
{
        const Generation *first = wanted(certificate);
        size_t n = 0;

        if (!first)
                return 0;
        ret_all[n++] = first;
        for (size_t i = certificate->n_generations; first->chain.n > 0 && i-- > 0 && n < KEYS_MAX;) {
                const Generation *generation = certificate->generations[i];

                if (certificate_generation_waits(certificate, generation) &&
                    !has_key(ret_all, n, &generation->spki))
                        ret_all[n++] = generation;
        }
        return n;
}

static const Generation *wanted_of_key(const Certificate *certificate, const Bytes *spki)
{
        const Generation *all[KEYS_MAX];
        size_t n = all_wanted(certificate, all);

        for (size_t i = 0; i < n; i++)
                if (bytes_equal(&all[i]->spki, spki))
                        return all[i];
        return n > 0 ? all[0] : NULL;
}

static int new_generation(const Generation *with_key, uint64_t number, Generation **ret_generation)
{
        CLEANUP(generation_freep) Generation *generation = calloc(1, sizeof(*generation));
        int r;

        if (!generation)
                return -ENOMEM;

        generation->number = number;
        generation->key_type = with_key->key_type;
        generation->algorithms = with_key->algorithms;
        generation->extractable = with_key->extractable;
        r = string_set(&generation->key_uri, with_key->key_uri);
        if (r == 0)
                r = bytes_set(&generation->spki, with_key->spki.data, with_key->spki.n);
        if (r < 0)
                return r;

        *ret_generation = TAKE(generation);
        return 0;
}

/* The generation that gets the chain: the pending one, or a new one with the key that the leaf is for. */
static int find_place(Certificate *next, const CertificateFacts *leaf, Generation **ret_generation,
                      Failure *failure)
{
        CLEANUP(generation_freep) Generation *renewed = NULL;
        const Generation *with_key = wanted_of_key(next, &leaf->spki);
        int r;

        if (!with_key)
                return fail(failure, CB_FAILED,
                            "certificate '%s' has no key to install a certificate for", next->id);

        if (with_key->chain.n == 0) {
                *ret_generation = certificate_find_generation(next, with_key->number);
                return 0;
        }

        r = new_generation(with_key, certificate_newest(next)->number + 1, &renewed);
        if (r < 0)
                return r;
        r = certificate_add_generation(next, renewed);
        if (r < 0)
                return r;
        *ret_generation = TAKE(renewed);
        return 0;
}

static int is_known(const Certificate *certificate, const Bytes *leaf, Failure *failure)
{
        for (size_t i = 0; i < certificate->n_generations; i++) {
                const Generation *generation = certificate->generations[i];

                if (generation->chain.n > 0 && bytes_equal(&generation->chain.items[0], leaf))
                        return fail(failure, CB_ALREADY_EXISTS,
                                    "this leaf is certificate '%s' already; set that generation "
                                    "current instead",
                                    certificate->id);
        }
        return 0;
}

static int prepare(Job *job, const WireReply *reply, Certificate **ret_next,
                   uint64_t *ret_generation, Failure *failure)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        CLEANUP(certificate_freep) Certificate *next = NULL;
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
        Generation *generation = NULL;
        const Bytes *leaf;
        int r;

        if (!present)
                return object_not_found(failure, OBJECT_CERTIFICATE, job->id);
        if (reply->chain.n == 0)
                return fail(failure, CB_BAD_BUNDLE, "no certificate was given for '%s'", job->id);

        leaf = &reply->chain.items[0];
        r = is_known(present, leaf, failure);
        if (r == 0)
                r = certificate_copy(present, &next);
        if (r == 0)
                r = pki_chain_facts(&reply->chain, NULL, &facts, failure);
        if (r == 0)
                r = find_place(next, &facts, &generation, failure);
        if (r == 0)
                r = bytes_list_copy(&reply->chain, &generation->chain);
        if (r != 0)
                return r;
        generation->facts = facts;
        facts = (CertificateFacts){ 0 };

        if (!bytes_equal(&generation->facts.spki, &generation->spki))
                return fail(failure, CB_KEY_MISMATCH,
                            "no certificate among those given is for the key of '%s'", job->id);

        r = string_set(&generation->warning, reply->warning);
        if (r < 0)
                return r;

        *ret_generation = generation->number;
        *ret_next = TAKE(next);
        return 0;
}

static void on_read(void *userdata, WireReply *reply)
{
        Job *job = userdata;
        PublishRequest request = {
                .id = job->id, .caller = job->caller, .force = job->force, .install = true
        };
        Certificate *next = NULL;
        Failure failure = { 0 };
        uint64_t generation = 0;
        int r = reply->failure.status;

        if (manage_may_go_on(job->manage, job->caller, &failure) != 0) {
                job_finish(job, &failure);
                return;
        }
        if (r != 0)
                fail(&failure, r, "nothing was installed for certificate '%s': %s", job->id,
                     reply->failure.text);
        else
                r = known_take(job, reply);
        if (r == 0)
                return;
        if (reply->failure.status == 0 && r == CB_NOT_FOUND)
                r = prepare(job, reply, &next, &generation, &failure);
        if (r != 0)
                job_give_up(job, r, &failure);
        else
                publish_next(job->manage, &request, next, generation, job_on_done, job);
}

static int submit(Job *job, Failure *failure)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        CLEANUP(bytes_list_deinit) BytesList others = { 0 };
        const Generation *all[KEYS_MAX];
        WireRequest request;
        Source *source = NULL;
        size_t n;
        int r;

        if (!present)
                return object_not_found(failure, OBJECT_CERTIFICATE, job->id);

        n = all_wanted(present, all);
        if (n == 0)
                return fail(failure, CB_FAILED,
                            "certificate '%s' has no key to install a certificate for", job->id);

        r = manage_find_source(job->manage, present->source, &source, failure);
        for (size_t i = 1; i < n && r == 0; i++)
                r = bytes_list_append(&others, all[i]->spki.data, all[i]->spki.n);
        if (r != 0)
                return r;

        wire_request_init(&request, WIRE_READ_CHAIN);
        request.owner = manage_owner(job->manage, job->caller);
        request.timeout_usec = job->manage->timeout_usec + IMPORT_EXTRA_USEC;
        request.name = job->id;
        request.input = all[0]->spki;
        request.chain = others;
        request.fds[0] = job->fds[0];
        return source_submit(source, &request, on_read, job, failure);
}

static void run(void *userdata)
{
        Job *job = userdata;
        Failure failure = { 0 };
        int r = submit(job, &failure);

        job->fds[0] = close_fd(job->fds[0]);
        if (r != 0)
                job_give_up(job, r, &failure);
}

void manage_install(Manage *manage, const char *id, int chain_fd, bool force, manage_done done,
                    void *userdata)
{
        CLEANUP(job_freep) Job *job = NULL;
        Failure failure = { 0 };
        int r;

        r = job_new(manage, id, done, userdata, &job);
        if (r == 0) {
                job->force = force;
                job->fds[0] = stranger_duplicate(chain_fd);
                r = MIN(job->fds[0], 0);
        }
        if (r == 0) {
                job_start(TAKE(job), run);
                return;
        }
        fail(&failure, r, "certificate '%s' could not be installed", id);
        done(userdata, &failure);
}
