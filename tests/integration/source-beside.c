/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that are made and destroyed beside signatures and look-ups, all at once, on one token: nothing of it may fail,
 * and nothing may be left behind. SoftHSM alone fails here now and then (softhsm/SoftHSMv2#573).
 *
 * CERTBROKER_BESIDE=N: N imports, generations and deletions instead of a few; the figures go to standard error.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pki/context.h"
#include "source-harness.h"

#define CHANGES_DEFAULT 80
#define CHANGES_APART   40
#define IN_FLIGHT_MAX   24
#define KEYS_MAX        64
#define OBJECTS_OF_KEY  5 /* of an imported one: private, public, leaf, intermediate, root */
#define KINDS           5 /* imports, generations, deletions, look-ups, signatures */

typedef enum Kind {
        IMPORT,
        GENERATE,
        DESTROY,
        LOOKUP,
        SIGN,
} Kind;

typedef struct Made {
        char name[16]; /* its id: what two have in common, one may destroy for the other */
        char *uri;
        bool signs; /* by the algorithm of them all */
        bool doomed;
        unsigned n_used; /* in flight */
} Made;

typedef struct Flight {
        uint64_t id; /* 0: free */
        uint64_t begun_usec;
        Kind kind;
        Made *made;
} Flight;

typedef struct Crowd {
        Fixture *fixture;
        WireReply key; /* one that stays */
        Flight flights[IN_FLIGHT_MAX];
        Made made[KEYS_MAX];
        uint64_t random;
        unsigned n_begun;
        unsigned n_done[KINDS], n_failed[KINDS];
        uint64_t longest_usec[KINDS];
} Crowd;

static const char *const kinds[KINDS] = { "imports", "generations", "deletions", "look-ups",
                                          "signatures" };

static unsigned pick(Crowd *crowd, unsigned n)
{
        crowd->random = crowd->random * 6364136223846793005u + 1442695040888963407u;
        return (unsigned)(crowd->random >> 33) % n;
}

static Made *any_made(Crowd *crowd, bool unused)
{
        for (unsigned i = 0, at = pick(crowd, KEYS_MAX); i < KEYS_MAX; i++) {
                Made *made = &crowd->made[(at + i) % KEYS_MAX];

                if (made->uri && !made->doomed && (!unused || made->n_used == 0))
                        return made;
        }
        return NULL;
}

static Made *free_place(Crowd *crowd)
{
        for (unsigned i = 0; i < KEYS_MAX; i++)
                if (!crowd->made[i].uri && crowd->made[i].n_used == 0)
                        return &crowd->made[i];
        return NULL;
}

static void send_make(Crowd *crowd, Flight *flight)
{
        WireRequest request;

        wire_request_init(&request, flight->kind == IMPORT ? WIRE_IMPORT : WIRE_GENERATE);
        snprintf(flight->made->name, sizeof(flight->made->name), "more-%u", crowd->n_begun);
        request.name = strdup(flight->made->name);
        request.generation = 1;
        request.owner = WIRE_OWNER(1000 + crowd->n_begun);
        request.timeout_usec = 60 * SECONDS;
        if (flight->kind == IMPORT) {
                request.fds[0] = memory_fd(bundle_pem(BUNDLE_P256));
                request.fds[1] = memory_fd("");
        } else {
                request.key_type = pick(crowd, 4) == 0 ? KEY_TYPE_RSA_2048 : KEY_TYPE_EC_P256;
        }
        flight->id = send_request(crowd->fixture, &request);
}

static void send_other(Crowd *crowd, Flight *flight)
{
        const char *uri = flight->made ? flight->made->uri : crowd->key.key_uri;
        WireRequest request;

        if (flight->kind == SIGN) {
                flight->id = send_sign(crowd->fixture, uri, ALGORITHM_ECDSA_SHA256, 60 * SECONDS);
                return;
        }
        wire_request_init(&request, flight->kind == DESTROY ? WIRE_DESTROY : WIRE_LOOKUP);
        request.name = strdup(flight->made ? flight->made->name : "orders");
        request.key_uri = strdup(uri);
        request.uri = strdup(uri);
        request.owner = WIRE_OWNER(1000 + crowd->fixture->last_id);
        request.timeout_usec = 60 * SECONDS;
        flight->id = send_request(crowd->fixture, &request);
}

/* false: what was picked is not possible now. */
static bool begin(Crowd *crowd, Flight *flight)
{
        unsigned picked = pick(crowd, 8);

        *flight = (Flight){ .kind = picked < KINDS ? (Kind)picked : picked < 7 ? LOOKUP : SIGN };
        if (flight->kind == IMPORT || flight->kind == GENERATE) {
                flight->made = free_place(crowd);
                if (!flight->made)
                        return false;
        }
        if (flight->kind == DESTROY) {
                flight->made = any_made(crowd, true);
                if (!flight->made)
                        return false;
                flight->made->doomed = true;
        }
        if (flight->kind == LOOKUP || (flight->kind == SIGN && pick(crowd, 2) == 0))
                flight->made = any_made(crowd, false);
        if (flight->kind == SIGN && flight->made && !flight->made->signs)
                flight->made = NULL;
        if (flight->made)
                flight->made->n_used++;
        flight->begun_usec = clock_monotonic_usec();
        crowd->n_begun += flight->kind <= DESTROY;
        if (flight->kind == IMPORT || flight->kind == GENERATE)
                send_make(crowd, flight);
        else
                send_other(crowd, flight);
        return true;
}

static void end(Crowd *crowd, Flight *flight, const WireReply *reply)
{
        Kind kind = flight->kind;
        Made *made = flight->made;

        if (made)
                made->n_used--;
        if (reply->failure.status != 0) {
                crowd->n_failed[kind]++;
                print_error("one of the %s: %s\n", kinds[kind], reply->failure.text);
        } else if (kind == IMPORT || kind == GENERATE) {
                made->uri = strdup(reply->key_uri);
                made->signs = reply->key_type == KEY_TYPE_EC_P256;
        }
        if (kind == DESTROY) {
                free(made->uri);
                *made = (Made){ 0 };
        }
        crowd->n_done[kind]++;
        crowd->longest_usec[kind] =
                MAX(crowd->longest_usec[kind], clock_monotonic_usec() - flight->begun_usec);
        flight->id = 0;
}

static bool take_answer(Crowd *crowd)
{
        WireReply reply;

        if (!next_reply(crowd->fixture, 70000, &reply))
                broken("the source does not answer any more");
        for (unsigned i = 0; i < IN_FLIGHT_MAX; i++)
                if (crowd->flights[i].id == reply.id)
                        end(crowd, &crowd->flights[i], &reply);
        wire_reply_deinit(&reply);
        return true;
}

static unsigned in_flight(const Crowd *crowd)
{
        unsigned n = 0;

        for (unsigned i = 0; i < IN_FLIGHT_MAX; i++)
                n += crowd->flights[i].id != 0;
        return n;
}

static void run_crowd(Crowd *crowd, unsigned n_changes)
{
        while (crowd->n_begun < n_changes) {
                for (unsigned i = 0; i < IN_FLIGHT_MAX; i++)
                        if (crowd->flights[i].id == 0)
                                (void)begin(crowd, &crowd->flights[i]);
                take_answer(crowd);
        }
        while (in_flight(crowd) > 0)
                take_answer(crowd);
}

static void destroy_rest(Crowd *crowd)
{
        Made *made;

        while ((made = any_made(crowd, false))) {
                WireReply reply;

                simple_call(crowd->fixture, WIRE_DESTROY, made->uri, -1, &reply);
                expect_status(&reply, 0);
                wire_reply_deinit(&reply);
                free(made->uri);
                *made = (Made){ 0 };
        }
}

static void expect_none_fails(Fixture *fixture, unsigned n_changes, bool tell)
{
        Crowd crowd = { .fixture = fixture, .random = 8 };
        unsigned n_failed = 0;

        source_start_until(crowd.fixture, SOURCE_READY);
        import_bundle(crowd.fixture, "orders", BUNDLE_P256, &crowd.key);
        expect_status(&crowd.key, 0);
        run_crowd(&crowd, n_changes);
        for (unsigned i = 0; i < KINDS; i++) {
                n_failed += crowd.n_failed[i];
                if (tell)
                        print_error("%u %s, %u failed, the longest %.1f ms\n", crowd.n_done[i],
                                    kinds[i], crowd.n_failed[i],
                                    (double)crowd.longest_usec[i] / 1000);
        }
        destroy_rest(&crowd);
        assert_int_equal(n_failed, 0);
        assert_int_equal(token_objects(crowd.fixture), OBJECTS_OF_KEY);
        wire_reply_deinit(&crowd.key);
}

static void test_nothing_fails_by_chance(void **state)
{
        const char *wanted = getenv("CERTBROKER_BESIDE");

        expect_none_fails(*state, wanted ? (unsigned)strtoul(wanted, NULL, 10) : CHANGES_DEFAULT,
                          wanted != NULL);
}

/* The same on a token that is disturbed not now and then, but each time. */
static void test_one_at_a_time(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_CreateObject apart delay=2\nC_CopyObject apart delay=2\n"
                           "C_DestroyObject apart delay=2\nC_FindObjectsInit apart\n"
                           "C_GetAttributeValue apart\n");
        expect_none_fails(fixture, CHANGES_APART, false);
}

/* However long a key pair takes, who signs with a key for the first time does not wait for it. */
static void test_generation_keeps_nobody_waiting(void **state)
{
        Fixture *fixture = *state;
        WireRequest request;
        WireReply key, reply;
        uint64_t generation;

        source_start_until(fixture, SOURCE_READY);
        import_bundle(fixture, "orders", BUNDLE_P256, &key);
        expect_status(&key, 0);
        assert_int_equal(source_stop(fixture), 0);
        rules_set(fixture, "C_GenerateKeyPair delay=2000\n");
        source_start_until(fixture, SOURCE_READY);
        wire_request_init(&request, WIRE_GENERATE);
        request.name = strdup("slow");
        request.generation = 1;
        request.key_type = KEY_TYPE_EC_P256;
        generation = send_request(fixture, &request);
        sign_ok(fixture, &key, ALGORITHM_ECDSA_SHA256); /* the first answer */
        assert_true(next_reply(fixture, 20000, &reply));
        assert_int_equal(reply.id, generation);
        expect_status(&reply, 0);
        wire_reply_deinit(&reply);
        wire_reply_deinit(&key);
}

static void generate(Fixture *fixture, KeyType type)
{
        WireRequest request;
        WireReply key;

        wire_request_init(&request, WIRE_GENERATE);
        request.name = strdup(key_type_name(type));
        request.generation = 1;
        request.key_type = type;
        call(fixture, &request, &key);
        expect_status(&key, 0);
        assert_int_equal(key.key_type, type);
        assert_false(key.extractable);
        sign_ok(fixture, &key,
                type == KEY_TYPE_RSA_2048 ? ALGORITHM_RSA_PKCS1_SHA256 : ALGORITHM_ECDSA_SHA256);
        wire_reply_deinit(&key);
}

/* A copy is as what it was copied from: by another process too. */
static void test_generated_by_way_of_the_session(void **state)
{
        Fixture *fixture = *state;

        source_start_until(fixture, SOURCE_READY);
        log_clear(fixture);
        generate(fixture, KEY_TYPE_EC_P256);
        generate(fixture, KEY_TYPE_RSA_2048);
        assert_int_equal(log_count(fixture, "C_CopyObject 0x0"), 4);
        assert_int_equal(token_objects(fixture), 4);
}

static void test_copy_that_fails(void **state)
{
        static const char *const rules[] = { "C_CopyObject count=1 rv=0x31\n",
                                             "C_CopyObject after=1 count=1 rv=0x31\n",
                                             "C_CopyObject after=1 count=1 late rv=0x31\n" };
        Fixture *fixture = *state;

        source_start_until(fixture, SOURCE_READY);
        for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
                WireRequest request;
                WireReply reply;

                rules_set(fixture, rules[i]);
                wire_request_init(&request, WIRE_GENERATE);
                request.name = strdup("half");
                request.key_type = KEY_TYPE_EC_P256;
                call(fixture, &request, &reply);
                assert_int_not_equal(reply.failure.status, 0);
                wire_reply_deinit(&reply);
                assert_int_equal(token_objects(fixture), 0);
        }
}

/* Tokens that do not need it are not asked to copy. */
static void test_generated_on_the_token(void **state)
{
        Fixture *fixture = *state;

        rules_set(fixture, "C_GetTokenInfo vendor\n");
        source_start_until(fixture, SOURCE_READY);
        generate(fixture, KEY_TYPE_EC_P256);
        generate(fixture, KEY_TYPE_RSA_2048);
        assert_int_equal(log_count(fixture, "C_CopyObject"), 0);
        assert_int_equal(token_objects(fixture), 4);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup_faults, fixture_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_nothing_fails_by_chance, fixture_setup,
                                                fixture_teardown),
                CASE(test_one_at_a_time),
                CASE(test_generation_keeps_nobody_waiting),
                CASE(test_generated_by_way_of_the_session),
                CASE(test_copy_that_fails),
                CASE(test_generated_on_the_token),
        };

        if (pki_init() < 0)
                return 1;
        return cmocka_run_group_tests(tests, bundles_setup, NULL);
}
