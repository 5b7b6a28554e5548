/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A certificate, its generations, and what follows from them and from the time. Invariant: generations
 * are sorted by number, none is there twice, none is 0. State is never stored: it is computed, so that
 * it cannot be stale. The clock is an argument.
 */
#include "core/certificate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "base/strings.h"

void certificate_facts_deinit(CertificateFacts *facts)
{
        free(facts->subject);
        free(facts->issuer);
        free(facts->serial_number);
        free(facts->subject_alt_names);
        bytes_deinit(&facts->spki);
        free(facts->chain_end);
        *facts = (CertificateFacts){ 0 };
}

int certificate_facts_copy(const CertificateFacts *facts, CertificateFacts *ret_copy)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts copy = *facts;

        copy.subject = copy.issuer = copy.serial_number = copy.chain_end = NULL;
        copy.subject_alt_names = NULL;
        copy.spki = (Bytes){ 0 };
        if (string_set(&copy.subject, facts->subject) < 0 ||
            string_set(&copy.issuer, facts->issuer) < 0 ||
            string_set(&copy.serial_number, facts->serial_number) < 0 ||
            string_set(&copy.chain_end, facts->chain_end) < 0 ||
            strv_pack(facts->subject_alt_names, &copy.subject_alt_names) < 0 ||
            bytes_set(&copy.spki, facts->spki.data, facts->spki.n) < 0)
                return -ENOMEM;

        *ret_copy = copy;
        copy = (CertificateFacts){ 0 };
        return 0;
}

Generation *generation_free(Generation *generation)
{
        if (!generation)
                return NULL;
        free(generation->key_uri);
        bytes_deinit(&generation->spki);
        bytes_list_deinit(&generation->chain);
        certificate_facts_deinit(&generation->facts);
        free(generation->warning);
        free(generation->lost_names);
        free(generation->held_up);
        free(generation);
        return NULL;
}

int generation_copy(const Generation *generation, Generation **ret_copy)
{
        CLEANUP(generation_freep) Generation *copy = calloc(1, sizeof(*copy));

        if (!copy)
                return -ENOMEM;
        copy->number = generation->number;
        copy->key_type = generation->key_type;
        copy->algorithms = generation->algorithms;
        copy->n_chains = generation->n_chains;
        copy->usable_until_sec = generation->usable_until_sec;
        copy->retired = generation->retired;
        copy->extractable = generation->extractable;
        copy->trial_usec = generation->trial_usec;
        copy->n_wrong = generation->n_wrong;
        copy->spread_usec = generation->spread_usec;
        copy->again_sec = generation->again_sec;
        if (string_set(&copy->key_uri, generation->key_uri) < 0 ||
            string_set(&copy->warning, generation->warning) < 0 ||
            string_set(&copy->lost_names, generation->lost_names) < 0 ||
            string_set(&copy->held_up, generation->held_up) < 0 ||
            bytes_set(&copy->spki, generation->spki.data, generation->spki.n) < 0 ||
            bytes_list_copy(&generation->chain, &copy->chain) < 0 ||
            certificate_facts_copy(&generation->facts, &copy->facts) < 0)
                return -ENOMEM;

        *ret_copy = TAKE(copy);
        return 0;
}

bool generation_chain_has_expired(const Generation *generation, uint64_t now_sec)
{
        return generation->facts.chain_end && now_sec > generation->facts.chain_not_after_sec;
}

const char *certificate_state_name(CertificateState state)
{
        static const char *const names[_CERTIFICATE_STATE_N] = {
                [CERTIFICATE_PENDING] = "pending",         [CERTIFICATE_ACTIVE] = "active",
                [CERTIFICATE_DISABLED] = "disabled",       [CERTIFICATE_EXPIRED] = "expired",
                [CERTIFICATE_UNAVAILABLE] = "unavailable",
        };

        assert_always((unsigned)state < _CERTIFICATE_STATE_N);
        return names[state];
}

static const struct {
        const char *name;
        int status;
        CertificateState state;
} verdicts[_KEY_VERDICT_N] = {
        [KEY_USABLE] = { "usable", 0, CERTIFICATE_ACTIVE },
        [KEY_GONE] = { "gone", CB_NOT_FOUND, CERTIFICATE_UNAVAILABLE },
        [KEY_DISABLED] = { "disabled", CB_DISABLED, CERTIFICATE_DISABLED },
        [KEY_EXPIRED] = { "expired", CB_EXPIRED, CERTIFICATE_EXPIRED },
        [KEY_PENDING] = { "pending", CB_PENDING, CERTIFICATE_PENDING },
};

const char *key_verdict_name(KeyVerdict verdict)
{
        assert_always((unsigned)verdict < _KEY_VERDICT_N);
        return verdicts[verdict].name;
}

bool key_verdict_parse(const char *name, KeyVerdict *ret_verdict)
{
        for (KeyVerdict verdict = 0; verdict < _KEY_VERDICT_N; verdict++) {
                if (string_equal(verdicts[verdict].name, name)) {
                        *ret_verdict = verdict;
                        return true;
                }
        }
        return false;
}

bool key_verdict_of(int status, KeyVerdict *ret_verdict)
{
        for (KeyVerdict verdict = 0; verdict < _KEY_VERDICT_N; verdict++) {
                if (verdicts[verdict].status == status) {
                        *ret_verdict = verdict;
                        return true;
                }
        }
        return false;
}

int certificate_new(const char *id, const char *source, Certificate **ret_certificate)
{
        CLEANUP(certificate_freep) Certificate *certificate = calloc(1, sizeof(*certificate));

        if (!certificate)
                return -ENOMEM;
        certificate->enabled = true;
        if (string_set(&certificate->id, id) < 0 || string_set(&certificate->source, source) < 0)
                return -ENOMEM;

        *ret_certificate = TAKE(certificate);
        return 0;
}

Certificate *certificate_free(Certificate *certificate)
{
        if (!certificate)
                return NULL;
        for (size_t i = 0; i < certificate->n_generations; i++)
                generation_free(certificate->generations[i]);
        free(certificate->generations);
        free(certificate->id);
        free(certificate->source);
        free(certificate->registered_uri);
        free(certificate->last_error);
        free(certificate->withheld);
        free(certificate);
        return NULL;
}

static int copy_generations(const Certificate *certificate, Certificate *copy)
{
        int r;

        for (size_t i = 0; i < certificate->n_generations; i++) {
                CLEANUP(generation_freep) Generation *generation = NULL;

                r = generation_copy(certificate->generations[i], &generation);
                if (r < 0)
                        return r;
                r = certificate_add_generation(copy, generation);
                if (r < 0)
                        return r;
                generation = NULL; /* taken */
        }
        return 0;
}

int certificate_copy(const Certificate *certificate, Certificate **ret_copy)
{
        CLEANUP(certificate_freep) Certificate *copy = NULL;
        int r;

        r = certificate_new(certificate->id, certificate->source, &copy);
        if (r < 0)
                return r;
        copy->enabled = certificate->enabled;
        copy->verdict = certificate->verdict;
        copy->current = certificate->current;
        copy->last_refresh_sec = certificate->last_refresh_sec;
        copy->next_refresh_sec = certificate->next_refresh_sec;
        copy->n_held_back = certificate->n_held_back;
        copy->held_back_sec = certificate->held_back_sec;
        copy->n_unpublished = certificate->n_unpublished;
        copy->unpublished_sec = certificate->unpublished_sec;
        copy->used_while_gone = certificate->used_while_gone;
        copy->life = certificate->life;
        if (string_set(&copy->registered_uri, certificate->registered_uri) < 0 ||
            string_set(&copy->last_error, certificate->last_error) < 0 ||
            string_set(&copy->withheld, certificate->withheld) < 0)
                return -ENOMEM;
        r = copy_generations(certificate, copy);
        if (r < 0)
                return r;

        *ret_copy = TAKE(copy);
        return 0;
}

int certificate_add_generation(Certificate *certificate, Generation *generation)
{
        Generation **generations;
        size_t index = certificate->n_generations;

        if (generation->number == 0)
                return -EINVAL;
        if (certificate_find_generation(certificate, generation->number))
                return -EEXIST;
        generations = reallocarray(certificate->generations, index + 1, sizeof(*generations));
        if (!generations)
                return -ENOMEM;

        for (; index > 0 && generations[index - 1]->number > generation->number; index--)
                generations[index] = generations[index - 1];
        generations[index] = generation;
        certificate->generations = generations;
        certificate->n_generations++;
        return 0;
}

Generation *certificate_find_generation(const Certificate *certificate, uint64_t number)
{
        if (number == 0)
                number = certificate->current;
        for (size_t i = 0; i < certificate->n_generations; i++)
                if (certificate->generations[i]->number == number)
                        return certificate->generations[i];
        return NULL;
}

KeyOrigin certificate_origin(const Certificate *certificate)
{
        if (!certificate->registered_uri)
                return KEY_MADE;
        return *certificate->registered_uri ? KEY_OF_OWNER : KEY_OF_ANOTHER;
}

Generation *certificate_newest(const Certificate *certificate)
{
        size_t n = certificate->n_generations;

        return n > 0 ? certificate->generations[n - 1] : NULL;
}

Generation *certificate_newest_key(const Certificate *certificate)
{
        for (size_t i = certificate->n_generations; i-- > 0;)
                if (!certificate->generations[i]->retired)
                        return certificate->generations[i];
        return NULL;
}

/* What its leaf's dates say. NotAfter is part of the validity (RFC 5280, 4.1.2.5). */
static CertificateState generation_state(const Generation *generation, uint64_t now_sec)
{
        if (!generation || generation->chain.n == 0 || now_sec < generation->facts.not_before_sec)
                return CERTIFICATE_PENDING;
        if (now_sec > generation->facts.not_after_sec)
                return CERTIFICATE_EXPIRED;
        return CERTIFICATE_ACTIVE;
}

/* Retire() takes no current one; but what was retired is current where the store has forgotten what came after it. */
static bool is_stopped(const Certificate *certificate)
{
        const Generation *current = certificate_find_generation(certificate, 0);

        return !certificate->enabled || (current && current->retired);
}

bool certificate_is_withheld(const Certificate *certificate)
{
        return certificate->withheld && is_stopped(certificate);
}

CertificateState certificate_state(const Certificate *certificate, uint64_t now_sec)
{
        const Generation *current = certificate_find_generation(certificate, 0);
        CertificateState state;

        if (is_stopped(certificate))
                return CERTIFICATE_DISABLED;
        state = generation_state(current, now_sec);
        if (state == CERTIFICATE_ACTIVE)
                state = verdicts[certificate->verdict].state;
        if (state == CERTIFICATE_ACTIVE && current->trial_usec != 0)
                state = CERTIFICATE_UNAVAILABLE;
        return state;
}

bool certificate_generation_waits(const Certificate *certificate, const Generation *generation)
{
        return certificate->current != 0 && generation->number > certificate->current &&
               generation->chain.n > 0 && generation->usable_until_sec == 0 && !generation->retired;
}

static bool is_left_alone(const Generation *generation, uint64_t now_sec)
{
        return generation->again_sec > now_sec &&
               generation->again_sec <= now_sec + GENERATION_AGAIN_SEC;
}

Generation *certificate_due(const Certificate *certificate, uint64_t now_sec)
{
        for (size_t i = certificate->n_generations; i-- > 0 && !certificate_is_withheld(certificate);) {
                Generation *generation = certificate->generations[i];

                if (certificate_generation_waits(certificate, generation) &&
                    generation_state(generation, now_sec) == CERTIFICATE_ACTIVE &&
                    !is_left_alone(generation, now_sec))
                        return generation;
        }
        return NULL;
}

void certificate_make_current(Certificate *certificate, Generation *generation, uint64_t now_sec,
                              uint64_t grace_sec)
{
        for (size_t i = 0; i < certificate->n_generations; i++) {
                Generation *other = certificate->generations[i];

                if (other != generation &&
                    (other->number == certificate->current ||
                     (other->number < generation->number &&
                      certificate_generation_waits(certificate, other))))
                        other->usable_until_sec = now_sec + grace_sec;
        }
        if (generation->number != certificate->current) {
                certificate->verdict = KEY_USABLE;
                (void)string_set(&certificate->last_error, NULL);
        }
        (void)string_set(&generation->held_up, NULL);
        generation->again_sec = 0;
        generation->usable_until_sec = 0;
        certificate->current = generation->number;
}

const Generation *certificate_one_before(const Certificate *certificate,
                                         const Generation *generation)
{
        const Generation *before = certificate_find_generation(certificate, 0);

        for (size_t i = 0; i < certificate->n_generations; i++) {
                const Generation *other = certificate->generations[i];

                if (other->number < generation->number &&
                    certificate_generation_waits(certificate, other) &&
                    other->facts.not_before_sec <= generation->facts.not_before_sec)
                        before = other;
        }
        return before == generation ? NULL : before;
}

Generation *certificate_find_leaf(const Certificate *certificate, const Bytes *leaf)
{
        for (size_t i = certificate->n_generations; i-- > 0;) {
                Generation *generation = certificate->generations[i];

                if (generation->chain.n > 0 && bytes_equal(&generation->chain.items[0], leaf))
                        return generation;
        }
        return NULL;
}

static int say(char **text, const char *more)
{
        return string_format(text, "%s%s%s", string_or_empty(*text), *text ? "; " : "", more);
}

const Generation *certificate_shown(const Certificate *certificate)
{
        return certificate->current ? certificate_find_generation(certificate, 0)
                                    : certificate_newest(certificate);
}

/* Where it had expired when its source was asked last, that has said so already. */
static int say_chain_expired(char **text, const Generation *generation)
{
        const char *expired = generation->facts.chain_end;
        int r;

        if (strstr(string_or_empty(*text), expired))
                return 0;
        r = say(text, expired);
        return r < 0 ? r : say(text, CERTIFICATE_CHAIN_REMEDY);
}

int certificate_trouble(const Certificate *certificate, uint64_t now_sec, char **ret_text)
{
        const Generation *current = certificate_shown(certificate);
        CLEANUP(freep) char *text = NULL;
        int r = 0;

        if (certificate_is_withheld(certificate))
                return string_set(ret_text, certificate->withheld);
        if (certificate->last_error)
                r = say(&text, certificate->last_error);
        if (r == 0 && current && current->warning)
                r = say(&text, current->warning);
        if (r == 0 && current && generation_chain_has_expired(current, now_sec))
                r = say_chain_expired(&text, current);
        if (r == 0 && current && current->lost_names)
                r = say(&text, current->lost_names);
        if (r == 0 && current && current->facts.lacks_client_auth)
                r = say(&text, "its extended key usage lacks clientAuth, so servers refuse it as a "
                               "client's certificate: have it issued with clientAuth");
        if (r == 0 && current && current->facts.lacks_digital_signature)
                r = say(&text, "its key usage lacks digitalSignature, so it cannot sign a TLS "
                               "handshake: have it issued with digitalSignature");
        for (size_t i = 0; r == 0 && i < certificate->n_generations; i++) {
                const Generation *generation = certificate->generations[i];

                if (generation->held_up && certificate_generation_waits(certificate, generation))
                        r = say(&text, generation->held_up);
        }
        if (r == 0)
                *ret_text = TAKE(text);
        return r;
}

/* The end of its grace: 0 where it has none, which is so for the current one whatever it says. */
static uint64_t grace_end(const Certificate *certificate, const Generation *generation)
{
        return generation->number == certificate->current ? 0 : generation->usable_until_sec;
}

int certificate_may_use_key(const Certificate *certificate, const Generation *generation)
{
        return !certificate->enabled || (generation && generation->retired) ? CB_DISABLED : 0;
}

int certificate_may_sign(const Certificate *certificate, const Generation *generation,
                         uint64_t now_sec)
{
        int r = certificate_may_use_key(certificate, generation);
        uint64_t end_sec;

        if (r != 0)
                return r;
        if (!generation)
                return certificate->current == 0 ? CB_PENDING : CB_NOT_FOUND;

        end_sec = grace_end(certificate, generation);
        if (end_sec != 0 && now_sec >= end_sec)
                return CB_EXPIRED;
        switch (generation_state(generation, now_sec)) {
        case CERTIFICATE_PENDING:
                return CB_PENDING;
        case CERTIFICATE_EXPIRED:
                return CB_EXPIRED;
        case CERTIFICATE_ACTIVE:
        case CERTIFICATE_UNAVAILABLE:
        case CERTIFICATE_DISABLED:
        case _CERTIFICATE_STATE_N:
                break;
        }
        /* Of a key that is gone the source is asked nevertheless: it may be there again. */
        if (generation->number != certificate->current || certificate->verdict == KEY_GONE)
                return 0;
        return verdicts[certificate->verdict].status;
}

/* Of what is told only its chain's end; 0: never. */
static uint64_t chain_end(const Certificate *certificate, const Generation *generation)
{
        if (generation != certificate_shown(certificate) || !generation->facts.chain_end)
                return 0;
        return generation->facts.chain_not_after_sec + 1;
}

uint64_t certificate_next_change(const Certificate *certificate, uint64_t now_sec)
{
        uint64_t next_sec = UINT64_MAX;

        for (size_t i = 0; i < certificate->n_generations; i++) {
                const Generation *generation = certificate->generations[i];
                const uint64_t moments[] = {
                        generation->facts.not_before_sec,
                        generation->facts.not_after_sec + 1, /* from UINT64_MAX: 0, never */
                        grace_end(certificate, generation),
                        chain_end(certificate, generation),
                        generation->again_sec,
                };

                if (generation->retired || generation->chain.n == 0)
                        continue;
                for (size_t k = 0; k < ELEMENTSOF(moments); k++)
                        if (moments[k] > now_sec)
                                next_sec = MIN(next_sec, moments[k]);
        }
        return next_sec == UINT64_MAX ? 0 : next_sec;
}
