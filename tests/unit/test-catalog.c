/* SPDX-License-Identifier: Apache-2.0 */
/* The indexes against a search through everything, and the selectors of GetCertificate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "core/catalog.h"

#define DASHES "aa-aa-aa-aa-aa-aa-aa-aa-aa-aa-aa-aa-aa-aa-aa-aa-aa-aa-aa-aa"

/* A thumbprint of `n` digits that are all the same. */
static void repeat(char digit, size_t n, char *ret_text)
{
        memset(ret_text, digit, n);
        ret_text[n] = '\0';
}

static Generation *add(Certificate *certificate, char digit, const char *subject)
{
        Generation *generation = calloc(1, sizeof(*generation));

        generation->number = certificate->n_generations + 1;
        if (digit) {
                repeat(digit, 40, generation->facts.thumbprint);
                repeat(digit, 64, generation->facts.thumbprint_sha256);
                assert_int_equal(string_set(&generation->facts.subject, subject), 0);
                assert_int_equal(bytes_list_append(&generation->chain, "x", 1), 0);
                certificate->current = generation->number;
        }
        assert_int_equal(certificate_add_generation(certificate, generation), 0);
        return generation;
}

/* One generation for each of `digits`; '-' is a pending one. */
static Certificate *make(const char *id, const char *digits, const char *subject)
{
        Certificate *certificate = NULL;

        assert_int_equal(certificate_new(id, "hsm", &certificate), 0);
        for (; *digits; digits++)
                add(certificate, *digits == '-' ? '\0' : *digits, subject);
        return certificate;
}

static void put(Catalog *catalog, const char *id, const char *digits, const char *subject)
{
        assert_int_equal(catalog_set_certificate(catalog, make(id, digits, subject)), 0);
}

static void bind_backend(Catalog *catalog, const char *name, const char *certificate)
{
        Backend *backend = NULL;

        assert_int_equal(backend_new(name, &backend), 0);
        assert_int_equal(string_set(&backend->certificate, certificate), 0);
        assert_int_equal(catalog_set_backend(catalog, backend), 0);
}

static unsigned n_looked_at;

static bool not_hidden(void *userdata, const char *id)
{
        n_looked_at++;
        return strncmp(id, "hidden", 6) != 0;
}

/* The id that a selector finds, "" for not found, "?" for several. */
static const char *selected(Catalog *catalog, const char *selector)
{
        Certificate *certificate = NULL;
        Failure failure = { 0 };
        int r = catalog_select(catalog, selector, not_hidden, NULL, &certificate, &failure);

        if (r == 0)
                return certificate->id;
        assert_null(certificate);
        assert_int_equal(failure.status, r);
        if (r == CB_INVALID_ARGUMENT)
                return "?";
        assert_int_equal(r, CB_NOT_FOUND);
        return "";
}

static void finds_what_is_there(void **state)
{
        CLEANUP(catalog_freep) Catalog *catalog = NULL;

        assert_int_equal(catalog_new(&catalog), 0);
        put(catalog, "a", "1", "CN=a");
        put(catalog, "b", "-", "");
        bind_backend(catalog, "orders", "a");
        assert_string_equal(catalog_find_certificate(catalog, "a")->id, "a");
        assert_null(catalog_find_certificate(catalog, "c"));
        assert_string_equal(catalog_find_backend(catalog, "orders")->certificate, "a");
        assert_null(catalog_find_backend(catalog, "a"));
        assert_int_equal(catalog_certificates(catalog)->n, 2);
        assert_int_equal(catalog_backends(catalog)->n, 1);

        put(catalog, "a", "2", "CN=a2"); /* replaced, the old one freed */
        assert_int_equal(catalog_certificates(catalog)->n, 2);
        assert_string_equal(catalog_find_certificate(catalog, "a")->generations[0]->facts.subject,
                            "CN=a2");
        catalog_remove_certificate(catalog, "a");
        catalog_remove_certificate(catalog, "a");
        assert_null(catalog_find_certificate(catalog, "a"));
}

static void selects_by_id_thumbprint_and_subject(void **state)
{
        CLEANUP(catalog_freep) Catalog *catalog = NULL;
        char sha1[41], sha256[65];

        assert_int_equal(catalog_new(&catalog), 0);
        put(catalog, "a", "1A", "CN=a,O=x");
        put(catalog, "b", "-", "");
        put(catalog, "hidden-b", "2", "CN=b");
        assert_string_equal(selected(catalog, "a"), "a");
        assert_string_equal(selected(catalog, "b"), "b");
        assert_string_equal(selected(catalog, "A"), "");
        assert_string_equal(selected(catalog, "hidden-b"), "");

        repeat('a', 40, sha1);
        repeat('a', 64, sha256);
        assert_string_equal(selected(catalog, sha1), "a");
        assert_string_equal(selected(catalog, sha256), "a");
        repeat('1', 40, sha1);
        assert_string_equal(selected(catalog, sha1), "a"); /* of an older generation */
        assert_string_equal(
                selected(catalog, "AA:aa:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA"),
                "a");
        assert_string_equal(
                selected(catalog, "\u200eaa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa\n"),
                "a");
        /* With dashes it may be an id: then it is that, where there is one. */
        assert_string_equal(selected(catalog, DASHES), "a");
        put(catalog, DASHES, "-", "");
        assert_string_equal(selected(catalog, DASHES), DASHES);
        repeat('2', 40, sha1);
        assert_string_equal(selected(catalog, sha1), "");
        repeat('3', 64, sha256);
        assert_string_equal(selected(catalog, sha256), "");

        assert_string_equal(selected(catalog, "subject=CN=a,O=x"), "a");
        assert_string_equal(selected(catalog, "subject=CN=a"), "");
        assert_string_equal(selected(catalog, "subject=CN=b"), "");
        assert_string_equal(selected(catalog, "subject="), "");
        assert_string_equal(selected(catalog, ""), "");
        assert_string_equal(selected(catalog, "../a"), "");
        assert_string_equal(selected(catalog, "\xff"), "");
}

/* Whoever may not read it gets the same text as for what does not exist. */
static void hidden_is_as_absent(void **state)
{
        CLEANUP(catalog_freep) Catalog *catalog = NULL;
        Certificate *certificate = NULL;
        Failure hidden = { 0 }, absent = { 0 };

        assert_int_equal(catalog_new(&catalog), 0);
        assert_int_equal(
                catalog_select(catalog, "hidden-b", not_hidden, NULL, &certificate, &absent),
                CB_NOT_FOUND);
        put(catalog, "hidden-b", "2", "CN=b");
        assert_int_equal(
                catalog_select(catalog, "hidden-b", not_hidden, NULL, &certificate, &hidden),
                CB_NOT_FOUND);
        assert_string_equal(hidden.text, absent.text);
}

/* Why a text is no name is told of the text alone; what is shown so all the same is found by who may see it. */
static void doubt_says_nothing_of_what_is_hidden(void **state)
{
        static const char *const ids[] = { NULL, "hidden-a", "a" };
        CLEANUP(catalog_freep) Catalog *catalog = NULL;

        assert_int_equal(catalog_new(&catalog), 0);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                CLEANUP(catalog_search_deinit) CatalogSearch search = { 0 };
                Certificate *certificate = NULL;
                Failure failure = { 0 };
                int r;

                if (ids[i])
                        put(catalog, ids[i], "1", "Foo");
                assert_int_equal(catalog_search_begin(&search, catalog, "subject=Foo"), 0);
                assert_int_equal(catalog_search_also(&search, "subject=Foo"), 0);
                assert_int_equal(catalog_search_doubt(&search, "it is none"), 0);
                while (catalog_search_step(&search, not_hidden, NULL))
                        ;
                r = catalog_search_end(&search, &certificate, &failure);
                if (i == 2) {
                        assert_int_equal(r, 0);
                        assert_string_equal(certificate->id, "a");
                } else {
                        assert_int_equal(r, CB_NOT_FOUND);
                        assert_string_equal(failure.text,
                                            "no certificate has it as its subject: it is none");
                }
        }
}

/* Nor does it take more or fewer decisions, by whatever it is looked for. */
static void hidden_costs_what_absent_does(void **state)
{
        static const char *const pairs[][2] = {
                { "hidden-b", "hidden-c" },
                { "2222222222222222222222222222222222222222",
                  "3333333333333333333333333333333333333333" },
                { "subject=CN=b", "subject=CN=c" },
        };
        CLEANUP(catalog_freep) Catalog *catalog = NULL;
        unsigned n[2];

        assert_int_equal(catalog_new(&catalog), 0);
        put(catalog, "a", "1", "CN=a");
        put(catalog, "hidden-b", "2", "CN=b");
        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                for (size_t k = 0; k < 2; k++) {
                        n_looked_at = 0;
                        assert_string_equal(selected(catalog, pairs[i][k]), "");
                        n[k] = n_looked_at;
                }
                assert_int_equal(n[0], n[1]);
                assert_true(n[0] > 0);
        }
}

static void several_are_named(void **state)
{
        CLEANUP(catalog_freep) Catalog *catalog = NULL;
        Certificate *certificate = NULL;
        Failure failure = { 0 };
        char sha1[41], id[16];

        assert_int_equal(catalog_new(&catalog), 0);
        put(catalog, "one", "7", "CN=s");
        put(catalog, "two", "7", "CN=s");
        put(catalog, "hidden", "7", "CN=s");
        repeat('7', 40, sha1);
        assert_int_equal(catalog_select(catalog, sha1, not_hidden, NULL, &certificate, &failure),
                         CB_INVALID_ARGUMENT);
        assert_non_null(strstr(failure.text, "one, two"));
        assert_null(strstr(failure.text, "hidden"));
        assert_string_equal(selected(catalog, "subject=CN=s"), "?");

        catalog_remove_certificate(catalog, "two");
        assert_string_equal(selected(catalog, sha1), "one");
        for (unsigned i = 0; i < 500; i++) {
                snprintf(id, sizeof(id), "many-%u", i);
                put(catalog, id, "7", "CN=s");
        }
        assert_int_equal(catalog_select(catalog, sha1, not_hidden, NULL, &certificate, &failure),
                         CB_INVALID_ARGUMENT);
        assert_non_null(strstr(failure.text, "more than 8 certificates"));
        assert_non_null(strstr(failure.text, "…"));
}

/* Only what has it is looked at, however many there are; and by the whole of it, though the index has the beginning. */
static void a_subject_is_found_by_its_index(void **state)
{
        CLEANUP(catalog_freep) Catalog *catalog = NULL;
        char id[16], subject[700], selector[720];

        assert_int_equal(catalog_new(&catalog), 0);
        for (unsigned i = 0; i < 1000; i++) {
                snprintf(id, sizeof(id), "c%u", i);
                snprintf(subject, sizeof(subject), "CN=c%u", i);
                put(catalog, id, "1", subject);
        }
        n_looked_at = 0;
        assert_string_equal(selected(catalog, "subject=CN=c500"), "c500");
        assert_int_equal(n_looked_at, 1);
        put(catalog, "c500", "12", "CN=other");
        assert_string_equal(selected(catalog, "subject=CN=c500"), "");
        assert_string_equal(selected(catalog, "subject=CN=other"), "c500");
        catalog_remove_certificate(catalog, "c500");
        assert_string_equal(selected(catalog, "subject=CN=other"), "");
        for (unsigned i = 0; i < 2; i++) {
                snprintf(subject, sizeof(subject), "CN=%0600u", i);
                snprintf(id, sizeof(id), "long-%u", i);
                put(catalog, id, "1", subject);
        }
        snprintf(selector, sizeof(selector), "subject=%s", subject);
        assert_string_equal(selected(catalog, selector), "long-1");
        put(catalog, "long-1", "1", "CN=short");
        snprintf(selector, sizeof(selector), "subject=CN=%0600u", 0U);
        assert_string_equal(selected(catalog, selector), "long-0");
}

static void users_are_walked(void **state)
{
        CLEANUP(catalog_freep) Catalog *catalog = NULL;

        assert_int_equal(catalog_new(&catalog), 0);
        assert_null(catalog_next_user(catalog, "a", ""));
        bind_backend(catalog, "y", "a");
        bind_backend(catalog, "x", "a");
        bind_backend(catalog, "z", "a-b"); /* its pair sorts beside a's */
        bind_backend(catalog, "z0", "a0"); /* and on the other side */
        bind_backend(catalog, "w", "b");
        bind_backend(catalog, "w", "a"); /* moved */
        bind_backend(catalog, "x", "a"); /* changed, but for this */
        catalog_remove_backend(catalog, "y");
        catalog_remove_backend(catalog, "y");

        assert_string_equal(catalog_next_user(catalog, "a", ""), "w");
        assert_string_equal(catalog_next_user(catalog, "a", "v"), "w");
        assert_string_equal(catalog_next_user(catalog, "a", "w"), "x");
        assert_null(catalog_next_user(catalog, "a", "x"));
        assert_null(catalog_next_user(catalog, "b", ""));
}

static void refuses_what_would_break_an_index(void **state)
{
        CLEANUP(catalog_freep) Catalog *catalog = NULL;
        CLEANUP(certificate_freep) Certificate *bad = make("a/b", "1", "CN=x");
        CLEANUP(backend_freep) Backend *backend = NULL;

        assert_int_equal(catalog_new(&catalog), 0);
        assert_int_equal(catalog_set_certificate(catalog, bad), -EINVAL);
        put(catalog, "a", "1", "CN=x");
        assert_int_equal(catalog_set_certificate(catalog, catalog_find_certificate(catalog, "a")),
                         -EINVAL);
        assert_int_equal(backend_new("x", &backend), 0);
        assert_int_equal(catalog_set_backend(catalog, backend), -EINVAL); /* uses nothing */
        assert_int_equal(string_set(&backend->certificate, "a/b"), 0);
        assert_int_equal(catalog_set_backend(catalog, backend), -EINVAL);
}

/* Random changes of six certificates; after each, every thumbprint finds just who has it. */
static void index_agrees_with_a_search(void **state)
{
        static const char *const ids[] = { "a", "a-b", "a.b", "b", "c", "d" };
        CLEANUP(catalog_freep) Catalog *catalog = NULL;
        char held[6][5] = { "" }, sha[65];
        uint32_t seed = 42;

        assert_int_equal(catalog_new(&catalog), 0);
        for (unsigned round = 0; round < 3000; round++) {
                size_t which, n;

                seed = seed * 1664525 + 1013904223;
                which = (seed >> 24) % 6;
                n = (seed >> 20) % 5;
                for (size_t i = 0; i < n; i++)
                        held[which][i] = "-12345AB"[(seed >> (3 * i)) % 8];
                held[which][n] = '\0';
                if (n == 0)
                        catalog_remove_certificate(catalog, ids[which]);
                else
                        put(catalog, ids[which], held[which], "CN=s");

                for (const char *digit = "12345AB"; *digit; digit++) {
                        const char *expected = "";

                        for (size_t i = 0; i < 6; i++)
                                if (strchr(held[i], *digit))
                                        expected = *expected ? "?" : ids[i];
                        repeat(*digit, round % 2 ? 40 : 64, sha);
                        assert_string_equal(selected(catalog, sha), expected);
                }
        }
}

static void set_enabled(Catalog *catalog, const char *id, bool enabled)
{
        Certificate *next = NULL;

        assert_int_equal(certificate_copy(catalog_find_certificate(catalog, id), &next), 0);
        next->enabled = enabled;
        assert_int_equal(catalog_set_certificate(catalog, next), 0);
}

/* Whoever remembers a certificate's life can tell that it was disabled or deleted since, whatever came after that. */
static void an_end_begins_another_life(void **state)
{
        CLEANUP(catalog_freep) Catalog *catalog = NULL;
        uint64_t lives[4];

        assert_int_equal(catalog_new(&catalog), 0);
        put(catalog, "a", "1", "CN=a");
        lives[0] = catalog_find_certificate(catalog, "a")->life;
        put(catalog, "a", "12", "CN=a");
        set_enabled(catalog, "a", true);
        assert_int_equal(catalog_find_certificate(catalog, "a")->life, lives[0]);

        set_enabled(catalog, "a", false);
        lives[1] = catalog_find_certificate(catalog, "a")->life;
        set_enabled(catalog, "a", true);
        assert_int_equal(catalog_find_certificate(catalog, "a")->life, lives[1]);

        catalog_remove_certificate(catalog, "a");
        put(catalog, "a", "12", "CN=a");
        lives[2] = catalog_find_certificate(catalog, "a")->life;
        put(catalog, "b", "1", "CN=b");
        lives[3] = catalog_find_certificate(catalog, "b")->life;
        for (size_t i = 1; i < ELEMENTSOF(lives); i++)
                assert_true(lives[i] > lives[i - 1]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(finds_what_is_there),
                cmocka_unit_test(selects_by_id_thumbprint_and_subject),
                cmocka_unit_test(hidden_is_as_absent),
                cmocka_unit_test(doubt_says_nothing_of_what_is_hidden),
                cmocka_unit_test(hidden_costs_what_absent_does),
                cmocka_unit_test(several_are_named),
                cmocka_unit_test(a_subject_is_found_by_its_index),
                cmocka_unit_test(users_are_walked),
                cmocka_unit_test(refuses_what_would_break_an_index),
                cmocka_unit_test(index_agrees_with_a_search),
                cmocka_unit_test(an_end_begins_another_life),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
