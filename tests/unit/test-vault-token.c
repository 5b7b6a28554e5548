/* SPDX-License-Identifier: Apache-2.0 */
/* A vault's access token and time: it ages by the clock that it is given, also by what passes at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/macro.h"
#include "source/azure-key-vault/token.h"

#define LIFE_SEC 3600

static uint64_t now_usec;
static unsigned n_fetched;
static char last_claims[64];

static uint64_t now(void)
{
        return now_usec;
}

static int fetch(void *userdata, const char *claims, uint64_t deadline_usec, TokenAnswer *answer,
                 Failure *failure)
{
        Secret *secret = NULL;

        assert_int_equal(secret_new(5, &secret), 0);
        memcpy(secret_data(secret), "token", 5);
        secret_set_length(secret, 5);
        n_fetched++;
        snprintf(last_claims, sizeof(last_claims), "%s", claims ? claims : "");
        answer->token = secret;
        answer->life_sec = LIFE_SEC;
        return 0;
}

static int be_told_to_wait(void *userdata, const char *claims, uint64_t deadline_usec,
                           TokenAnswer *answer, Failure *failure)
{
        n_fetched++;
        answer->retry_after_usec = *(const uint64_t *)userdata;
        return fail(failure, CB_SOURCE_UNAVAILABLE, "the authority answered 429");
}

static int setup(void **state)
{
        static Tokens tokens;

        now_usec = 1000 * USEC_PER_SEC;
        n_fetched = 0;
        *state = &tokens;
        return tokens_init(&tokens, now);
}

static int teardown(void **state)
{
        Tokens *tokens = *state;

        if (tokens->current) {
                Token *last = tokens->current;

                tokens->current = NULL;
                tokens_put(tokens, last);
        }
        return 0;
}

static void use(Tokens *tokens)
{
        Token *token = NULL;
        Failure failure = { 0 };

        assert_int_equal(tokens_get(tokens, fetch, NULL, clock_monotonic_usec() + USEC_PER_SEC,
                                    &token, &failure),
                         0);
        tokens_put(tokens, token);
}

/* The host sleeps for longer than the token lives, and no time has passed for who was stopped meanwhile. */
static void is_not_used_after_a_suspend(void **state)
{
        Tokens *tokens = *state;
        uint64_t again_usec;
        Failure failure;

        use(tokens);
        use(tokens);
        assert_int_equal(n_fetched, 1);
        now_usec += LIFE_SEC * USEC_PER_SEC;
        assert_false(tokens_state(tokens, &failure, &again_usec));
        use(tokens);
        assert_int_equal(n_fetched, 2);
}

static void is_renewed_after_a_suspend(void **state)
{
        Tokens *tokens = *state;
        uint64_t begin_usec = clock_monotonic_usec(), due_usec;

        use(tokens);
        due_usec = tokens_renew(tokens, fetch, NULL, begin_usec + USEC_PER_SEC);
        assert_int_equal(n_fetched, 1);
        /* At 80 % of its life, by the clock of who waits. */
        assert_true(due_usec >= begin_usec + LIFE_SEC / 5 * 4 * USEC_PER_SEC);
        assert_true(due_usec < begin_usec + LIFE_SEC * USEC_PER_SEC);
        now_usec += LIFE_SEC / 10 * 9 * USEC_PER_SEC;
        (void)tokens_renew(tokens, fetch, NULL, clock_monotonic_usec() + USEC_PER_SEC);
        assert_int_equal(n_fetched, 2);
}

static int try_to_use(Tokens *tokens, token_fetch ask, void *userdata, Failure *failure)
{
        Token *token = NULL;
        int r = tokens_get(tokens, ask, userdata, clock_monotonic_usec() + USEC_PER_SEC, &token,
                           failure);

        if (r == 0)
                tokens_put(tokens, token);
        return r;
}

/* What an endpoint asks for holds for all who need a token, also for a person who is in a hurry. */
static void is_not_asked_for_before_its_time(void **state)
{
        static const struct {
                uint64_t asked_sec, waited_sec;
        } rows[] = { { 30, 30 }, { 120, 120 }, { 86400, 300 } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                uint64_t asked_usec = rows[i].asked_sec * USEC_PER_SEC, again_usec;
                Tokens *tokens = *state;
                Failure failure = { 0 };

                n_fetched = 0;
                assert_int_equal(try_to_use(tokens, be_told_to_wait, &asked_usec, &failure),
                                 CB_SOURCE_UNAVAILABLE);
                assert_non_null(strstr(failure.text, "until 20"));
                now_usec += (rows[i].waited_sec - 1) * USEC_PER_SEC;
                tokens_hurry(tokens);
                assert_int_equal(try_to_use(tokens, fetch, NULL, &failure), CB_SOURCE_UNAVAILABLE);
                (void)tokens_renew(tokens, fetch, NULL, clock_monotonic_usec() + USEC_PER_SEC);
                assert_false(tokens_state(tokens, &failure, &again_usec));
                assert_true(again_usec > clock_monotonic_usec());
                assert_int_equal(n_fetched, 1);
                now_usec += USEC_PER_SEC;
                assert_int_equal(try_to_use(tokens, fetch, NULL, &failure), 0);
                assert_int_equal(n_fetched, 2);
                tokens_refuse(tokens, tokens->current, NULL);
        }
}

/* The claims of whoever refused the current one go with the next request, and with no other. */
static void has_the_claims_that_are_asked_for(void **state)
{
        uint64_t asked_usec = 10 * USEC_PER_SEC;
        Tokens *tokens = *state;
        Failure failure = { 0 };

        use(tokens);
        assert_string_equal(last_claims, "");
        tokens_refuse(tokens, tokens->current, "{\"a\":1}");
        assert_int_equal(try_to_use(tokens, be_told_to_wait, &asked_usec, &failure),
                         CB_SOURCE_UNAVAILABLE);
        now_usec += asked_usec;
        use(tokens);
        assert_string_equal(last_claims, "{\"a\":1}");
        tokens_refuse(tokens, NULL, "{\"late\":1}"); /* of one that is another's place already */
        tokens_refuse(tokens, tokens->current, NULL);
        use(tokens);
        assert_string_equal(last_claims, "");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(is_not_used_after_a_suspend),
                CASE(is_renewed_after_a_suspend),
                CASE(is_not_asked_for_before_its_time),
                CASE(has_the_claims_that_are_asked_for),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
