/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing a generation. The invariant: what becomes current has a leaf for its key, which is valid, has lost no
 * name that its predecessor had (unless forced), and has signed a random value that its leaf verifies: one that waits
 * does so again at its time (rotation.c), and a vault's, which signs nothing before, then for the first time. Whatever fails
 * before it is in the store, a key that was made for this call is destroyed again before the failure is
 * answered.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/strings.h"
#include "broker/manage/room.h"
#include "pki/x509.h"

static void publication_free(Publication *publication)
{
        certificate_free(publication->next);
        claim_deinit(&publication->claim);
        free(publication);
}
static Generation *publication_generation(const Publication *publication)
{
        return certificate_find_generation(publication->next, publication->generation);
}

static void finish(Publication *publication, const Failure *failure)
{
        publication->done(publication->userdata, failure);
        publication_free(publication);
}

static void on_destroyed(void *userdata, WireReply *reply)
{
        Publication *publication = userdata;
        const Failure *taken_back = &reply->failure, why = publication->failure;

        /* The failure that led here is the one to tell; beside it, what is left of what was made. */
        if (taken_back->status == 0 && reply->warning)
                fail(&publication->failure, why.status, "%.330s; %s", why.text, reply->warning);
        else if (taken_back->status != 0 && taken_back->status != CB_NOT_FOUND)
                fail(&publication->failure, why.status,
                     "%.200s; what was made in source '%s' could not be taken back: %s",
                     why.text, publication->next->source, taken_back->text);
        finish(publication, &publication->failure);
}

/* Answers the failure, after the key that was made for nothing is gone. */
static void abandon(Publication *publication, const Failure *failure)
{
        Manage *manage = publication->manage;
        Failure ignored = { 0 };
        WireRequest request;
        Source *source = NULL;

        publication->failure = *failure;
        source = publication->discard ? sources_find(manage->sources, publication->next->source)
                                      : NULL;
        if (source) {
                wire_request_init(&request, WIRE_DESTROY);
                request.timeout_usec = manage->timeout_usec;
                request.key_uri = publication_generation(publication)->key_uri;
                if (source_submit(source, &request, on_destroyed, publication, &ignored) == 0)
                        return;
        }
        finish(publication, &publication->failure);
}

static void on_stored(void *userdata, const Failure *failure)
{
        Publication *publication = userdata;

        if (failure->status == 0 || intent_is_stored(publication->manage, publication->note))
                finish(publication, failure);
        else
                abandon(publication, failure);
}

/* Time has passed since it was asked: grants may have changed, and other ids may have come to the key. */
static int check_holding(Publication *publication, Failure *failure)
{
        const Generation *generation = publication_generation(publication);
        const Manage *manage = publication->manage;
        const char *id = publication->next->id;

        if (publication->registers)
                return holding_check_register(manage, publication->asked_by, id,
                                              generation->key_uri, &generation->spki, failure);
        if (publication->follows)
                return holding_check_follow(manage, id, generation->key_uri, &generation->spki,
                                            failure);
        return 0;
}

static void store(Publication *publication)
{
        CLEANUP(certificate_freep) Certificate *copy = NULL;
        Failure failure = { 0 };
        int r;

        if (manage_may_go_on(publication->manage, publication->caller, &failure) != 0 ||
            check_holding(publication, &failure) != 0) {
                abandon(publication, &failure);
                return;
        }

        r = certificate_copy(publication->next, &copy);
        if (r < 0) {
                fail(&failure, r, "no memory to store certificate '%s'", publication->next->id);
                abandon(publication, &failure);
                return;
        }
        change_certificate_of(publication->manage, TAKE(copy), publication->note, on_stored,
                              publication);
}

static int submit_trial(Publication *publication, Failure *failure);

/* A source that gives a key its place only with its certificate (a vault's merge) says which that is. */
static int take_place(Publication *publication, const WireReply *reply)
{
        Generation *generation = publication_generation(publication);

        if (!reply->key_uri)
                return 0;
        generation->algorithms = reply->algorithms;
        return string_set(&generation->key_uri, reply->key_uri);
}

static void on_installed(void *userdata, WireReply *reply)
{
        Publication *publication = userdata;
        Failure failure = reply->failure;
        int r = failure.status;

        if (r == 0)
                r = take_place(publication, reply);
        if (r == 0)
                publication->caller = NULL; /* the source has it: the store follows */
        if (r == 0 && publication->untried) {
                publication->untried = false;
                publication->install = false; /* it has been, and is tried now */
                publication->placed = true;
                r = submit_trial(publication, &failure);
                if (r == 0)
                        return;
        }
        if (r != 0 && failure.status == 0)
                fail(&failure, r, "the chain of certificate '%s' could not be installed",
                     publication->next->id);
        if (r != 0)
                abandon(publication, &failure);
        else
                store(publication);
}

/* The certificates go beside the key, in the source, only after they have passed the trial. */
static void install(Publication *publication)
{
        const Generation *generation = publication_generation(publication);
        Failure failure = { 0 };
        WireRequest request;
        Source *source = NULL;
        int r;

        wire_request_init(&request, WIRE_INSTALL);
        request.owner = manage_owner(publication->manage, publication->caller);
        request.timeout_usec = publication->manage->timeout_usec;
        request.name = publication->next->id;
        request.generation = generation->number;
        request.key_uri = generation->key_uri;
        request.chain = generation->chain;
        request.certificates =
                holding_certificates(publication->manage, publication->next, generation);
        r = manage_may_go_on(publication->manage, publication->caller, &failure);
        if (r == 0)
                r = holding_check_write(publication->manage, publication->asked_by,
                                        publication->next->id, generation->key_uri, &failure);
        if (r == 0)
                r = manage_find_source(publication->manage, publication->next->source, &source,
                                       &failure);
        if (r == 0)
                r = source_submit(source, &request, on_installed, publication, &failure);
        if (r == 0)
                return;

        if (failure.status == 0)
                fail(&failure, r, "the chain of certificate '%s' could not be installed",
                     publication->next->id);
        abandon(publication, &failure);
}

/* A vault's key signs nothing before its leaf is valid. */
static bool is_tried_later(const Publication *publication, int status)
{
        return status == CB_PENDING &&
               certificate_generation_waits(publication->next, publication_generation(publication));
}

static void on_trial(void *userdata, const Failure *outcome)
{
        Publication *publication = userdata;
        Failure failure = { 0 };

        /* Its key signs nothing before it has its certificate: then that comes first. */
        if (outcome->status == CB_PENDING && publication->install) {
                publication->untried = true;
                install(publication);
                return;
        }

        if (outcome->status != 0 && !is_tried_later(publication, outcome->status)) {
                fail(&failure, outcome->status,
                     "the new generation of certificate '%s' was not published: its key did not "
                     "pass a trial: %s%s",
                     publication->next->id, outcome->text,
                     publication->placed ? "; its source has the certificate: install it again when "
                                           "the key signs"
                                         : "");
                abandon(publication, &failure);
                return;
        }
        if (publication->install)
                install(publication);
        else
                store(publication);
}

static int submit_trial(Publication *publication, Failure *failure)
{
        Manage *manage = publication->manage;

        return trial_submit(manage, publication->next, publication_generation(publication),
                            manage_owner(manage, publication->asked_by), on_trial, publication,
                            failure);
}

static int generation_from_reply(const WireReply *reply, uint64_t number,
                                 Generation **ret_generation, Failure *failure)
{
        CLEANUP(generation_freep) Generation *generation = calloc(1, sizeof(*generation));
        int r;

        if (!generation)
                return -ENOMEM;

        generation->number = number;
        generation->key_type = reply->key_type;
        generation->algorithms = reply->algorithms;
        generation->extractable = reply->extractable;
        r = string_set(&generation->key_uri, reply->key_uri);
        if (r == 0)
                r = bytes_set(&generation->spki, reply->spki.data, reply->spki.n);
        if (r == 0)
                r = bytes_list_copy(&reply->chain, &generation->chain);
        if (r == 0)
                r = string_set(&generation->warning, reply->warning);
        if (r < 0)
                return r;

        if (generation->chain.n > 0) {
                r = pki_chain_facts(&generation->chain, NULL, &generation->facts, failure);
                if (r != 0)
                        return r;
                if (!bytes_equal(&generation->facts.spki, &generation->spki))
                        return fail(failure, CB_KEY_MISMATCH,
                                    "the certificate in the source is for another key than the one "
                                    "beside it");
        }

        *ret_generation = TAKE(generation);
        return 0;
}

static int next_certificate(Manage *manage, const PublishRequest *request, Certificate **ret_next)
{
        const Certificate *present = catalog_find_certificate(manage->catalog, request->id);
        CLEANUP(certificate_freep) Certificate *next = NULL;
        int r;

        if (present) {
                r = certificate_copy(present, ret_next);
                return r;
        }

        r = certificate_new(request->id, request->source, &next);
        if (r < 0)
                return r;

        r = string_set(&next->registered_uri, request->registered_uri);
        if (r < 0)
                return r;

        *ret_next = TAKE(next);
        return 0;
}

/*
 * The pending generation whose certificate this is: it is in the source, but we did not hear that it was installed, or somebody
 * has put it there. NULL: none.
 */
static Generation *find_pending(const Certificate *certificate, const Generation *found)
{
        Generation *newest = certificate_newest_key(certificate);

        if (newest && newest->chain.n == 0 && found->chain.n > 0 &&
            string_equal(newest->key_uri, found->key_uri) && bytes_equal(&newest->spki, &found->spki))
                return newest;
        return NULL;
}

static void complete(Generation *pending, Generation *found)
{
        pending->warning = TAKE(found->warning);
        pending->chain = found->chain;
        found->chain = (BytesList){ 0 };
        pending->facts = found->facts;
        found->facts = (CertificateFacts){ 0 };
}

static int add_reply(Publication *publication, const PublishRequest *request,
                     const WireReply *reply, Failure *failure)
{
        CLEANUP(generation_freep) Generation *generation = NULL;
        const Generation *newest;
        Generation *pending;
        int r;

        r = next_certificate(publication->manage, request, &publication->next);
        if (r < 0)
                return r;

        newest = certificate_newest(publication->next);
        r = generation_from_reply(reply, newest ? newest->number + 1 : 1, &generation, failure);
        if (r != 0)
                return r;

        refresh_schedule(publication->next, reply);
        pending = request->by_source ? find_pending(publication->next, generation) : NULL;
        if (pending) {
                complete(pending, generation);
                publication->generation = pending->number;
                return 0;
        }
        r = certificate_add_generation(publication->next, generation);
        if (r < 0)
                return r;

        publication->generation = generation->number; /* now it can be found */
        TAKE(generation);
        return 0;
}

/* So that abandon() finds the key also where the reply was refused before it became a generation. */
static int remember_key(Publication *publication, const PublishRequest *request,
                        const WireReply *reply)
{
        CLEANUP(generation_freep) Generation *generation = NULL;
        int r;

        if (publication->next && publication->generation != 0)
                return 0;

        publication->next = certificate_free(publication->next);
        r = certificate_new(request->id, request->source, &publication->next);
        if (r < 0)
                return r;

        generation = calloc(1, sizeof(*generation));
        if (!generation)
                return -ENOMEM;

        generation->number = publication->generation = 1;
        r = string_set(&generation->key_uri, reply->key_uri);
        if (r < 0)
                return r;

        r = certificate_add_generation(publication->next, generation);
        if (r < 0)
                return r;

        TAKE(generation);
        return 0;
}

static int publication_new(Manage *manage, const PublishRequest *request, manage_done done,
                           void *userdata, Publication **ret_publication)
{
        Publication *publication = calloc(1, sizeof(*publication));

        if (!publication)
                return -ENOMEM;

        *publication = (Publication){
                .manage = manage,
                .discard = request->discard,
                .install = request->install,
                .note = request->note,
                .caller = request->caller,
                .asked_by = request->caller,
                .registers = request->registers,
                .follows = request->by_source,
                .done = done,
                .userdata = userdata,
        };
        *ret_publication = publication;
        return 0;
}

/* Names and dates, then the trial; the rest follows from its answer. */
static int publish(Publication *publication, const PublishRequest *request, Failure *failure)
{
        Generation *generation = publication_generation(publication);
        int r;

        if (generation->chain.n == 0) {
                store(publication); /* pending: nothing to try yet */
                return 0;
        }

        r = manage_may_go_on(publication->manage, publication->caller, failure);
        if (r == 0)
                r = rotation_begin(publication->manage, publication->next, generation, request,
                                   failure);
        if (r != 0)
                return r;
        return submit_trial(publication, failure);
}

/* From here on nobody else comes to this key without being asked about this id. */
static int claim(Publication *publication, Failure *failure)
{
        const Generation *generation = publication_generation(publication);
        int r = check_holding(publication, failure);

        if (r == 0)
                r = claim_set(&publication->claim, publication->manage, publication->next->id,
                              generation->key_uri, &generation->spki);
        publication->claim.made = certificate_origin(publication->next) == KEY_MADE;
        return r;
}

static void answer_memory(const PublishRequest *request, manage_done done, void *userdata)
{
        Failure failure = { 0 };

        fail(&failure, -ENOMEM, "no memory to publish certificate '%s'", request->id);
        done(userdata, &failure);
}

void publish_reply(Manage *manage, const PublishRequest *request, const WireReply *reply,
                   manage_done done, void *userdata)
{
        Publication *publication;
        Failure failure = { 0 };
        int r;

        if (publication_new(manage, request, done, userdata, &publication) < 0) {
                answer_memory(request, done, userdata);
                return;
        }

        r = add_reply(publication, request, reply, &failure);
        if (r == 0)
                r = claim(publication, &failure);
        if (r == 0)
                r = publish(publication, request, &failure);
        if (r == 0)
                return;

        if (failure.status == 0)
                fail(&failure, r, "certificate '%s' could not be published", request->id);
        if (remember_key(publication, request, reply) < 0)
                publication->discard = false;
        abandon(publication, &failure);
}

void publish_next(Manage *manage, const PublishRequest *request, Certificate *next,
                  uint64_t generation, manage_done done, void *userdata)
{
        CLEANUP(certificate_freep) Certificate *taken = next;
        Publication *publication;
        Failure failure = { 0 };
        int r;

        if (publication_new(manage, request, done, userdata, &publication) < 0) {
                answer_memory(request, done, userdata);
                return;
        }

        publication->next = TAKE(taken);
        publication->generation = generation;
        r = publish(publication, request, &failure);
        if (r == 0)
                return;

        if (failure.status == 0)
                fail(&failure, r, "certificate '%s' could not be published", request->id);
        abandon(publication, &failure);
}
