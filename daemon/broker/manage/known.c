/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is imported or installed and is there already: the current generation's leaf, or that of one that waits for its
 * NotBefore. Whoever applies the same again and again gets no new generation of it, and the source makes nothing: it is
 * told these leaves beforehand. Only the chain may be another: then it is taken, whole.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/strings.h"
#include "broker/manage/room.h"
#include "pki/x509.h"

#define TOLD_MAX 64 /* more do not wait where anybody looks */

/* Is it in force, or going to be? What has ended, or is older, is no reason to leave anything as it is. */
static bool is_in_force(const Certificate *certificate, const Generation *generation)
{
        if (certificate_generation_waits(certificate, generation))
                return generation->facts.not_after_sec >= clock_realtime_sec();
        return generation->number == certificate->current && !generation->retired;
}

/*
 * A key that is gone, or that is suspected, or did not sign when its time came, is mended by an import; one that may be
 * exported is another one.
 */
static bool is_spared(const Certificate *certificate, const Generation *generation, bool extractable)
{
        bool is_current = generation->number == certificate->current;

        return is_in_force(certificate, generation) && generation->trial_usec == 0 &&
               !generation->held_up && !(is_current && certificate->verdict == KEY_GONE) &&
               (generation->extractable || !extractable);
}

static int tell(char ***settings, const Generation *generation)
{
        char setting[sizeof(WIRE_LEAF) + THUMBPRINT_TEXT] = WIRE_LEAF "=";

        strncat(setting, generation->facts.thumbprint_sha256, THUMBPRINT_TEXT);
        return strv_append(settings, setting);
}

/* The current one first: however many wait, it is told. */
int known_leaves(const Certificate *certificate, bool extractable, char ***ret_settings)
{
        CLEANUP(strv_freep) char **settings = NULL;
        const Generation *current = certificate_find_generation(certificate, 0);
        int r = 0;

        if (current && current->chain.n > 0 && is_spared(certificate, current, extractable))
                r = tell(&settings, current);
        for (size_t i = certificate->n_generations; r == 0 && i-- > 0;) {
                const Generation *generation = certificate->generations[i];

                if (strv_length(settings) < TOLD_MAX && generation != current &&
                    generation->chain.n > 0 && is_spared(certificate, generation, extractable))
                        r = tell(&settings, generation);
        }
        if (r < 0)
                return r;
        *ret_settings = TAKE(settings);
        return 0;
}

/* What has fewer members is the same chain, of which not all was given. */
static bool is_start_of(const BytesList *chain, const BytesList *longer)
{
        for (size_t i = 0; i < chain->n; i++)
                if (i >= longer->n || !bytes_equal(&chain->items[i], &longer->items[i]))
                        return false;
        return true;
}

static int take_chain(Generation *generation, const WireReply *reply)
{
        CertificateFacts facts;
        BytesList chain = { 0 };
        Failure ignored = { 0 };
        int r = pki_chain_facts(&reply->chain, &generation->spki, &facts, &ignored);

        if (r != 0)
                return r < 0 ? r : -EINVAL; /* its leaf is the one that we have, and could be read */
        r = bytes_list_copy(&reply->chain, &chain);
        if (r < 0) {
                certificate_facts_deinit(&facts);
                return r;
        }
        certificate_facts_deinit(&generation->facts);
        generation->facts = facts;
        bytes_list_deinit(&generation->chain);
        generation->chain = chain;
        generation->n_chains++;
        return string_set(&generation->warning, reply->warning);
}

int known_renew_chain(Generation *known, const WireReply *reply)
{
        bool is_longer = is_start_of(&known->chain, &reply->chain);
        bool is_faulty = known->warning ||
                         generation_chain_has_expired(known, clock_realtime_sec());
        bool is_better = is_faulty && !reply->warning && reply->chain.n >= known->chain.n;

        return is_longer || is_better ? take_chain(known, reply) : 0;
}

/* A leaf may have come with several keys, as where it was imported again as one that may be exported. */
static Generation *find_in_force(const Certificate *certificate, const Bytes *leaf)
{
        for (size_t i = certificate->n_generations; i-- > 0;) {
                Generation *generation = certificate->generations[i];

                if (is_in_force(certificate, generation) && generation->chain.n > 0 &&
                    bytes_equal(&generation->chain.items[0], leaf))
                        return generation;
        }
        return NULL;
}

int known_take(Job *job, const WireReply *reply)
{
        const Certificate *present = catalog_find_certificate(job->manage->catalog, job->id);
        CLEANUP(certificate_freep) Certificate *next = NULL;
        Generation *known = present && reply->chain.n > 0
                                    ? find_in_force(present, &reply->chain.items[0])
                                    : NULL;
        bool turns;
        int r;

        if (!known)
                return CB_NOT_FOUND;
        turns = job->force && known->number != present->current;
        if (!turns && is_start_of(&reply->chain, &known->chain)) {
                job_finish(job, &(Failure){ 0 });
                return 0;
        }
        r = certificate_copy(present, &next);
        if (r < 0)
                return r;
        known = certificate_find_generation(next, known->number);
        if (!is_start_of(&reply->chain, &known->chain))
                r = take_chain(known, reply);
        if (r < 0)
                return r;
        if (turns)
                certificate_make_current(next, known, clock_realtime_sec(),
                                         job->manage->grace_usec / USEC_PER_SEC);
        change_certificate_of(job->manage, TAKE(next), intent_note(job->intent), job_on_done, job);
        return 0;
}
