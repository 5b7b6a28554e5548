/* SPDX-License-Identifier: Apache-2.0 */
/* States that follow from generations and time; the clock is a number here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "core/certificate.h"
#include <certbroker/status.h>

/* n = 0: pending, without chain. */
static Generation *add(Certificate *certificate, uint64_t number, uint64_t not_before,
                       uint64_t not_after)
{
        Generation *generation = calloc(1, sizeof(*generation));

        generation->number = number;
        generation->key_type = KEY_TYPE_EC_P256;
        assert_int_equal(string_set(&generation->key_uri, "pkcs11:id=%01"), 0);
        assert_int_equal(bytes_set(&generation->spki, "spki", 4), 0);
        if (not_after > 0) {
                char names[] = "DNS:x";

                assert_int_equal(bytes_list_append(&generation->chain, "der", 3), 0);
                assert_int_equal(string_set(&generation->facts.subject, "CN=x"), 0);
                assert_int_equal(strv_pack((char *[]){ names, NULL },
                                           &generation->facts.subject_alt_names), 0);
                generation->facts.not_before_sec = not_before;
                generation->facts.not_after_sec = not_after;
        }
        assert_int_equal(certificate_add_generation(certificate, generation), 0);
        return generation;
}

static Certificate *make(void)
{
        Certificate *certificate = NULL;

        assert_int_equal(certificate_new("orders", "hsm", &certificate), 0);
        assert_true(certificate->enabled);
        return certificate;
}

static void generations_are_sorted_and_single(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        CLEANUP(generation_freep) Generation *again = calloc(1, sizeof(*again));

        assert_null(certificate_newest(certificate));
        assert_null(certificate_find_generation(certificate, 0));
        add(certificate, 2, 0, 0);
        add(certificate, 1, 0, 0);
        add(certificate, 3, 0, 0);
        for (uint64_t i = 0; i < 3; i++)
                assert_int_equal(certificate->generations[i]->number, i + 1);
        assert_int_equal(certificate_newest(certificate)->number, 3);
        assert_null(certificate_find_generation(certificate, 0)); /* none is current */
        certificate->current = 2;
        assert_int_equal(certificate_find_generation(certificate, 0)->number, 2);
        assert_null(certificate_find_generation(certificate, 4));

        again->number = 2;
        assert_int_equal(certificate_add_generation(certificate, again), -EEXIST);
        again->number = 0;
        assert_int_equal(certificate_add_generation(certificate, again), -EINVAL);
        assert_int_equal(certificate->n_generations, 3);
}

static void retired_keys_are_passed_over(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();

        assert_null(certificate_newest_key(certificate));
        add(certificate, 1, 0, 0);
        add(certificate, 2, 0, 0);
        assert_int_equal(certificate_newest_key(certificate)->number, 2);
        certificate_find_generation(certificate, 2)->retired = true;
        assert_int_equal(certificate_newest_key(certificate)->number, 1);
        assert_int_equal(certificate_newest(certificate)->number, 2);
        certificate_find_generation(certificate, 1)->retired = true;
        assert_null(certificate_newest_key(certificate));
}

static void states_follow_the_clock(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();

        assert_int_equal(certificate_state(certificate, 150), CERTIFICATE_PENDING);
        add(certificate, 1, 0, 0);
        assert_int_equal(certificate_state(certificate, 150), CERTIFICATE_PENDING);
        add(certificate, 2, 100, 200);
        assert_int_equal(certificate_state(certificate, 150), CERTIFICATE_PENDING);
        certificate->current = 2;
        assert_int_equal(certificate_state(certificate, 99), CERTIFICATE_PENDING);
        assert_int_equal(certificate_state(certificate, 100), CERTIFICATE_ACTIVE);
        assert_int_equal(certificate_state(certificate, 200), CERTIFICATE_ACTIVE);
        assert_int_equal(certificate_state(certificate, 201), CERTIFICATE_EXPIRED);

        certificate->verdict = KEY_GONE;
        assert_int_equal(certificate_state(certificate, 99), CERTIFICATE_PENDING);
        assert_int_equal(certificate_state(certificate, 150), CERTIFICATE_UNAVAILABLE);
        assert_int_equal(certificate_state(certificate, 201), CERTIFICATE_EXPIRED);
        certificate->verdict = KEY_DISABLED;
        assert_int_equal(certificate_state(certificate, 150), CERTIFICATE_DISABLED);
        certificate->verdict = KEY_EXPIRED;
        assert_int_equal(certificate_state(certificate, 150), CERTIFICATE_EXPIRED);
        certificate->verdict = KEY_PENDING;
        assert_int_equal(certificate_state(certificate, 150), CERTIFICATE_PENDING);
        certificate->enabled = false;
        for (uint64_t now = 99; now < 202; now++)
                assert_int_equal(certificate_state(certificate, now), CERTIFICATE_DISABLED);
        assert_string_equal(certificate_state_name(CERTIFICATE_UNAVAILABLE), "unavailable");
}

static void older_generations_sign_until_their_end(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        Generation *old = add(certificate, 1, 100, 300), *current = add(certificate, 2, 150, 400);
        Generation *pending = add(certificate, 3, 0, 0);

        certificate->current = 2;
        old->usable_until_sec = 200;
        assert_int_equal(certificate_may_sign(certificate, old, 99), CB_PENDING);
        assert_int_equal(certificate_may_sign(certificate, old, 199), 0);
        assert_int_equal(certificate_may_sign(certificate, old, 200), CB_EXPIRED);
        old->usable_until_sec = 1000; /* NotAfter comes first */
        assert_int_equal(certificate_may_sign(certificate, old, 300), 0);
        assert_int_equal(certificate_may_sign(certificate, old, 301), CB_EXPIRED);
        old->usable_until_sec = 0;
        assert_int_equal(certificate_may_sign(certificate, old, 300), 0);

        assert_int_equal(certificate_may_sign(certificate, current, 149), CB_PENDING);
        assert_int_equal(certificate_may_sign(certificate, current, 400), 0);
        assert_int_equal(certificate_may_sign(certificate, current, 401), CB_EXPIRED);
        current->usable_until_sec = 160; /* left from a time when it was not the current one */
        assert_int_equal(certificate_may_sign(certificate, current, 300), 0);
        assert_int_equal(certificate_may_sign(certificate, pending, 300), CB_PENDING);
        certificate->verdict = KEY_GONE; /* the source will say so */
        assert_int_equal(certificate_may_sign(certificate, current, 300), 0);
}

static void what_its_source_refuses_does_not_sign(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        Generation *old = add(certificate, 1, 100, 300), *current = add(certificate, 2, 100, 300);
        const int refused[] = { CB_DISABLED, CB_EXPIRED, CB_PENDING };

        (void)state;
        certificate->current = 2;
        for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
                assert_true(key_verdict_of(refused[i], &certificate->verdict));
                assert_int_equal(certificate_may_sign(certificate, current, 200), refused[i]);
                /* It was said of the current one. */
                assert_int_equal(certificate_may_sign(certificate, old, 200), 0);
        }
        assert_false(key_verdict_of(CB_THROTTLED, &certificate->verdict));
        assert_int_equal(certificate->verdict, KEY_PENDING);
        assert_true(key_verdict_of(0, &certificate->verdict));
        assert_int_equal(certificate_may_sign(certificate, current, 200), 0);
}

static void what_is_switched_off_never_signs(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        Generation *old = add(certificate, 1, 100, 300), *current = add(certificate, 2, 100, 300);

        assert_int_equal(certificate_may_sign(certificate, NULL, 200), CB_PENDING);
        certificate->current = 2;
        assert_int_equal(certificate_may_sign(certificate, NULL, 200), CB_NOT_FOUND);
        old->retired = true;
        assert_int_equal(certificate_may_sign(certificate, old, 200), CB_DISABLED);
        assert_int_equal(certificate_may_sign(certificate, current, 200), 0);
        certificate->enabled = false;
        assert_int_equal(certificate_may_sign(certificate, current, 200), CB_DISABLED);
        assert_int_equal(certificate_may_sign(certificate, current, 400), CB_DISABLED);
        assert_int_equal(certificate_may_sign(certificate, NULL, 200), CB_DISABLED);
}

/* Stepping from change to change misses none: between two, no answer differs. */
static void next_change_misses_nothing(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        Generation *generations[4];
        uint64_t next;

        generations[0] = add(certificate, 1, 5, 60);
        generations[1] = add(certificate, 2, 20, 90);
        generations[2] = add(certificate, 3, 30, 70);
        generations[3] = add(certificate, 4, 0, 0);
        generations[0]->usable_until_sec = 40;
        generations[2]->usable_until_sec = 200;
        certificate->current = 2;
        next = certificate_next_change(certificate, 0);
        for (uint64_t now = 1; now < 300; now++) {
                bool differs = certificate_state(certificate, now) !=
                               certificate_state(certificate, now - 1);

                for (size_t i = 0; i < 4; i++)
                        differs |= certificate_may_sign(certificate, generations[i], now) !=
                                   certificate_may_sign(certificate, generations[i], now - 1);
                if (differs)
                        assert_int_equal(next, now);
                if (now == next)
                        next = certificate_next_change(certificate, now);
                else if (next != 0)
                        assert_true(next > now);
        }
        assert_int_equal(next, 0);
}

/* One that waits becomes current when its NotBefore has come; the newest of several, and never an older one again. */
static void what_waits_becomes_current_in_time(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        Generation *one = add(certificate, 1, 0, 1000), *two, *three;

        assert_null(certificate_due(certificate, 5)); /* the first does not wait: it is not published */
        certificate->current = 1;
        two = add(certificate, 2, 100, 2000);
        add(certificate, 4, 0, 0); /* without a certificate */
        assert_true(certificate_generation_waits(certificate, two));
        assert_false(certificate_generation_waits(certificate, one));
        assert_false(certificate_generation_waits(certificate,
                                                  certificate_find_generation(certificate, 4)));
        assert_null(certificate_due(certificate, 99));
        assert_ptr_equal(certificate_due(certificate, 100), two);
        assert_ptr_equal(certificate_due(certificate, 2000), two);
        assert_null(certificate_due(certificate, 2001)); /* it has expired meanwhile */
        assert_int_equal(certificate_may_sign(certificate, two, 99), CB_PENDING);

        three = add(certificate, 3, 50, 2000); /* later, and valid sooner */
        assert_ptr_equal(certificate_due(certificate, 50), three);
        assert_ptr_equal(certificate_due(certificate, 100), three);
        three->facts.not_before_sec = 200;
        assert_ptr_equal(certificate_due(certificate, 100), two);
        assert_ptr_equal(certificate_due(certificate, 200), three);
        three->again_sec = 250; /* its key did not sign: another one is as good meanwhile */
        assert_ptr_equal(certificate_due(certificate, 200), two);
        two->again_sec = 220;
        assert_null(certificate_due(certificate, 200));
        assert_int_equal(certificate_next_change(certificate, 200), 220);
        assert_ptr_equal(certificate_due(certificate, 150), two); /* of a clock that was set back */
        assert_ptr_equal(certificate_due(certificate, 250), three);

        certificate->verdict = KEY_GONE;
        certificate_make_current(certificate, three, 210, 24);
        assert_int_equal(certificate->current, 3);
        assert_int_equal(certificate->verdict, KEY_USABLE);
        assert_int_equal(one->usable_until_sec, 234);
        assert_int_equal(two->usable_until_sec, 234); /* it is not waited for any more */
        assert_int_equal(three->usable_until_sec, 0);
        assert_null(certificate_due(certificate, 220));

        certificate_make_current(certificate, one, 220, 24); /* back, and it stays so */
        assert_int_equal(three->usable_until_sec, 244);
        assert_null(certificate_due(certificate, 230));
}

static void what_a_person_ended_does_not_become_current(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        Generation *one = add(certificate, 1, 0, 1000), *two = add(certificate, 2, 50, 1000);
        Generation *three = add(certificate, 3, 100, 1000);

        certificate->current = 2;
        one->usable_until_sec = 60;
        certificate_make_current(certificate, one, 55, 24);
        assert_ptr_equal(certificate_due(certificate, 100), three); /* going back does not end it */
        assert_int_equal(two->usable_until_sec, 79);
        certificate->enabled = false;
        assert_ptr_equal(certificate_due(certificate, 100), three);
        assert_int_equal(string_set(&certificate->withheld, "an older store"), 0);
        assert_null(certificate_due(certificate, 100));
        certificate->enabled = true;
        assert_ptr_equal(certificate_due(certificate, 100), three);
        three->retired = true;
        assert_null(certificate_due(certificate, 100));
}

static void what_is_held_up_is_said_while_it_waits(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        CLEANUP(freep) char *text = NULL;
        Generation *two;

        add(certificate, 1, 0, 1000);
        two = add(certificate, 2, 100, 1000);
        certificate->current = 1;
        assert_int_equal(string_set(&two->held_up, "its key is gone"), 0);
        assert_int_equal(certificate_trouble(certificate, 110, &text), 0);
        assert_string_equal(text, "its key is gone");
        two->retired = true;
        free(TAKE(text));
        assert_int_equal(certificate_trouble(certificate, 110, &text), 0);
        assert_null(text);
        two->retired = false;
        two->again_sec = 150;
        certificate_make_current(certificate, two, 120, 24);
        assert_null(two->held_up);
        assert_int_equal(two->again_sec, 0);
}

static void the_one_before(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        Generation *one = add(certificate, 1, 0, 1000), *two, *three;

        assert_null(certificate_one_before(certificate, one));
        certificate->current = 1;
        two = add(certificate, 2, 100, 1000);
        three = add(certificate, 3, 200, 1000);
        assert_ptr_equal(certificate_one_before(certificate, two), one);
        assert_ptr_equal(certificate_one_before(certificate, three), two);
        three->facts.not_before_sec = 99; /* by then two waits yet, and is passed over */
        assert_ptr_equal(certificate_one_before(certificate, three), one);
}

static void trouble_is_said_while_it_holds(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        Generation *one = add(certificate, 1, 0, 1000), *two = add(certificate, 2, 0, 1000);
        char *text = NULL;

        certificate->current = 1;
        assert_int_equal(certificate_trouble(certificate, 500, &text), 0);
        assert_null(text);
        two->facts.lacks_client_auth = true; /* it is not the current one's */
        assert_int_equal(string_set(&one->warning, "a gap"), 0);
        assert_int_equal(string_set(&one->lost_names, "lost"), 0);
        assert_int_equal(string_set(&certificate->last_error, "away"), 0);
        assert_int_equal(certificate_trouble(certificate, 500, &text), 0);
        assert_string_equal(text, "away; a gap; lost");
        free(text);
        text = NULL;
        certificate->current = 2;
        two->facts.lacks_digital_signature = true;
        assert_int_equal(string_set(&certificate->last_error, NULL), 0);
        assert_int_equal(certificate_trouble(certificate, 500, &text), 0);
        assert_non_null(strstr(text, "lacks clientAuth"));
        assert_non_null(strstr(text, "; its key usage lacks digitalSignature"));
        free(text);
        text = NULL;
        certificate->enabled = false;
        assert_int_equal(string_set(&certificate->withheld, "an older store"), 0);
        assert_int_equal(certificate_trouble(certificate, 500, &text), 0);
        assert_string_equal(text, "an older store");
        free(text);
}

static char *trouble_at(const Certificate *certificate, uint64_t now_sec)
{
        char *text = NULL;

        assert_int_equal(certificate_trouble(certificate, now_sec, &text), 0);
        return text;
}

/* From the second after its end, of the generation that is shown, and once only. */
static void member_that_expires_is_said(void **state)
{
        static const char said[] = "the certificate of 'CN=Low' in the chain expired on 1970-01-02";
        CLEANUP(certificate_freep) Certificate *certificate = make();
        Generation *one = add(certificate, 1, 0, 900000), *two = add(certificate, 2, 0, 900000);
        CLEANUP(freep) char *before = NULL, *after = NULL, *again = NULL, *other = NULL;
        CLEANUP(freep) char *pending = NULL;

        assert_int_equal(string_set(&one->facts.chain_end, said), 0);
        one->facts.chain_not_after_sec = 100000;
        certificate->current = 1;
        assert_int_equal(certificate_next_change(certificate, 10), 100001);
        assert_null(before = trouble_at(certificate, 100000));
        assert_int_equal(certificate_next_change(certificate, 100000), 100001);
        assert_int_equal(certificate_next_change(certificate, 100001), 900001);
        after = trouble_at(certificate, 100001);
        assert_int_equal(strncmp(after, said, strlen(said)), 0);
        assert_non_null(strstr(after, "; import or install it again"));

        /* its source has said it, beside something else */
        assert_int_equal(string_format(&one->warning, "a gap; %s; do that", said), 0);
        again = trouble_at(certificate, 100001);
        assert_string_equal(again, one->warning);

        certificate->current = 2;
        assert_null(other = trouble_at(certificate, 100001));
        assert_int_equal(certificate_next_change(certificate, 10), 900001);
        two->facts.chain_not_after_sec = UINT64_MAX; /* no end */
        assert_int_equal(string_set(&two->facts.chain_end, said), 0);
        assert_int_equal(certificate_next_change(certificate, 10), 900001);
        certificate->current = 0;
        two->facts.chain_not_after_sec = 100000;
        pending = trouble_at(certificate, 100001);
        assert_non_null(strstr(pending, said));
}

static void copies_are_deep(void **state)
{
        CLEANUP(certificate_freep) Certificate *certificate = make();
        CLEANUP(certificate_freep) Certificate *copy = NULL;
        Generation *generation = add(certificate, 7, 100, 300);

        generation->usable_until_sec = 5;
        generation->retired = true;
        generation->algorithms = 6;
        strcpy(generation->facts.thumbprint, "AB");
        certificate->current = 7;
        generation->extractable = true;
        certificate->verdict = KEY_GONE;
        certificate->next_refresh_sec = 9;
        certificate->last_refresh_sec = 8;
        assert_int_equal(string_set(&certificate->registered_uri, "pkcs11:"), 0);
        assert_int_equal(string_set(&certificate->last_error, "bad"), 0);
        assert_int_equal(string_set(&generation->warning, "gap"), 0);
        assert_int_equal(string_set(&generation->lost_names, "names"), 0);
        assert_int_equal(certificate_copy(certificate, &copy), 0);
        certificate = certificate_free(certificate); /* nothing is shared */

        assert_string_equal(copy->id, "orders");
        assert_string_equal(copy->source, "hsm");
        assert_string_equal(copy->registered_uri, "pkcs11:");
        assert_string_equal(copy->last_error, "bad");
        assert_string_equal(copy->generations[0]->warning, "gap");
        assert_string_equal(copy->generations[0]->lost_names, "names");
        assert_true(copy->enabled && copy->verdict == KEY_GONE);
        assert_int_equal(copy->next_refresh_sec, 9);
        assert_int_equal(copy->last_refresh_sec, 8);
        generation = certificate_find_generation(copy, 0);
        assert_int_equal(generation->number, 7);
        assert_int_equal(generation->usable_until_sec, 5);
        assert_int_equal(generation->algorithms, 6);
        assert_true(generation->extractable);
        assert_int_equal(generation->key_type, KEY_TYPE_EC_P256);
        assert_true(generation->retired);
        assert_string_equal(generation->key_uri, "pkcs11:id=%01");
        assert_int_equal(generation->spki.n, 4);
        assert_memory_equal(generation->chain.items[0].data, "der", 3);
        assert_string_equal(generation->facts.subject, "CN=x");
        assert_string_equal(generation->facts.subject_alt_names[0], "DNS:x");
        assert_string_equal(generation->facts.thumbprint, "AB");
        assert_int_equal(generation->facts.not_after_sec, 300);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(generations_are_sorted_and_single),
                cmocka_unit_test(retired_keys_are_passed_over),
                cmocka_unit_test(states_follow_the_clock),
                cmocka_unit_test(what_its_source_refuses_does_not_sign),
                cmocka_unit_test(older_generations_sign_until_their_end),
                cmocka_unit_test(what_is_switched_off_never_signs),
                cmocka_unit_test(next_change_misses_nothing),
                cmocka_unit_test(what_waits_becomes_current_in_time),
                cmocka_unit_test(what_a_person_ended_does_not_become_current),
                cmocka_unit_test(what_is_held_up_is_said_while_it_waits),
                cmocka_unit_test(the_one_before),
                cmocka_unit_test(trouble_is_said_while_it_holds),
                cmocka_unit_test(member_that_expires_is_said),
                cmocka_unit_test(copies_are_deep),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
