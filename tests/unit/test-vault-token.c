/* SPDX-License-Identifier: Apache-2.0 */
/* A vault's access token and time: it ages by the clock that it is given, also by what passes at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/macro.h"
#include "source/azure-key-vault/token.h"

#define LIFE_SEC 3600

static uint64_t now_usec;
static unsigned n_fetched;

static uint64_t now(void)
{
        return now_usec;
}

static int fetch(void *userdata, uint64_t deadline_usec, Secret **ret_token, uint64_t *ret_life_sec,
                 uint64_t *ret_hint_sec, Failure *failure)
{
        Secret *secret = NULL;

        assert_int_equal(secret_new(5, &secret), 0);
        memcpy(secret_data(secret), "token", 5);
        secret_set_length(secret, 5);
        n_fetched++;
        *ret_token = secret;
        *ret_life_sec = LIFE_SEC;
        return 0;
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

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(is_not_used_after_a_suspend),
                CASE(is_renewed_after_a_suspend),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
