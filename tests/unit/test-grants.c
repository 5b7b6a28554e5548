/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract's table of operations, row by row; what each member of a grant narrows; and the property
 * that a set of grants allows exactly what some single one of it allows, in every order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"
#include "core/grants.h"

static Grant *make(const char *words, const char *certificate, const char *backend)
{
        Grant *grant = calloc(1, sizeof(*grant));

        assert_int_equal(string_set(&grant->name, "g"), 0);
        grant->has_user = true;
        grant->uid = 33;
        for (const char *p = words; *p;) {
                size_t n = strcspn(p, " ");
                char word[16] = { 0 };

                memcpy(word, p, n);
                grant->operations |= operation_from_name(word);
                p += n + (p[n] == ' ');
        }
        if (certificate)
                assert_int_equal(strv_append(&grant->certificates, certificate), 0);
        if (backend)
                assert_int_equal(strv_append(&grant->backends, backend), 0);
        return grant;
}

static Grant *make_with_source(const char *words, const char *certificate, const char *backend,
                               const char *source)
{
        Grant *grant = make(words, certificate, backend);

        if (source)
                assert_int_equal(strv_append(&grant->sources, source), 0);
        return grant;
}

static bool allows(Grant *grant, const Subject *subject, const Request *request)
{
        Grants grants = { .items = &grant, .n = 1 };

        return grants_decide(&grants, subject, request, NULL) != NULL;
}

static bool lets(const char *words, Operation operation)
{
        CLEANUP(grant_freep) Grant *grant = make(words, "*", NULL);
        Subject subject = { .uid = 33 };
        Request request = { operation, OBJECT_CERTIFICATE, "orders", ALGORITHM_NONE };

        return allows(grant, &subject, &request);
}

static void words_let_what_the_contract_says(void **state)
{
        static const struct {
                const char *word;
                unsigned lets;
        } rows[] = {
                { "read", OPERATION_READ },
                { "tls", OPERATION_READ | OPERATION_TLS },
                { "use", OPERATION_READ | OPERATION_TLS | OPERATION_SIGN },
                { "decrypt", OPERATION_READ | OPERATION_DECRYPT },
                { "export", OPERATION_READ | OPERATION_EXPORT },
                { "manage", OPERATION_READ | OPERATION_MANAGE },
                { "audit", 0 }, /* of no object */
                { "", 0 },
                { "decrypt export", OPERATION_READ | OPERATION_DECRYPT | OPERATION_EXPORT },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (unsigned bit = OPERATION_READ; bit <= OPERATION_MANAGE; bit <<= 1)
                        assert_int_equal(lets(rows[i].word, (Operation)bit),
                                         (rows[i].lets & bit) != 0);
        assert_int_equal(operation_from_name("sign"), 0);
        assert_int_equal(operation_from_name("Use"), 0);
        assert_int_equal(operation_from_name(""), 0);
        assert_string_equal(operation_name(OPERATION_SIGN), "use");
        assert_string_equal(operation_name(OPERATION_EXPORT), "export");
}

static void subjects_match_all_that_is_named(void **state)
{
        CLEANUP(grant_freep) Grant *grant = make("use", "*", NULL);
        uint32_t gids[] = { 5, 7 };
        Subject subject = { .uid = 33, .gids = gids, .n_gids = 2 };
        Request request = { OPERATION_SIGN, OBJECT_CERTIFICATE, "orders", ALGORITHM_NONE };
        char unit[] = "nginx.service", label[] = "httpd_t", other[] = "other";

        assert_true(allows(grant, &subject, &request));
        subject.uid = 34;
        assert_false(allows(grant, &subject, &request));
        subject.uid = SUBJECT_UID_UNKNOWN;
        grant->uid = SUBJECT_UID_UNKNOWN;
        assert_false(allows(grant, &subject, &request)); /* unknown equals nothing */

        grant->uid = subject.uid = 33;
        grant->has_group = true;
        grant->gid = 7;
        assert_true(allows(grant, &subject, &request));
        grant->gid = 6;
        assert_false(allows(grant, &subject, &request)); /* the right user, but not the group */
        grant->gid = 7;
        subject.uid = 34;
        assert_false(allows(grant, &subject, &request)); /* the right group, but not the user */
        grant->has_user = false;
        assert_true(allows(grant, &subject, &request));
        subject.uid = SUBJECT_UID_UNKNOWN;
        assert_false(allows(grant, &subject, &request));
        subject.uid = 34;
        subject.n_gids = 0;
        assert_false(allows(grant, &subject, &request));
        grant->has_group = false;
        assert_false(allows(grant, &subject, &request)); /* names nobody */

        grant->has_user = true;
        subject.uid = 33;
        assert_int_equal(string_set(&grant->unit, unit), 0);
        assert_false(allows(grant, &subject, &request)); /* no unit known */
        subject.unit = other;
        assert_false(allows(grant, &subject, &request));
        subject.unit = unit;
        assert_true(allows(grant, &subject, &request));
        assert_int_equal(string_set(&grant->label, label), 0);
        assert_false(allows(grant, &subject, &request));
        subject.label = other;
        assert_false(allows(grant, &subject, &request));
        subject.label = label;
        assert_true(allows(grant, &subject, &request));
}

static void objects_match_their_own_globs(void **state)
{
        static const struct {
                const char *certificate, *backend;
                ObjectKind kind;
                const char *name;
                bool allowed;
        } rows[] = {
                { "orders-*", NULL, OBJECT_CERTIFICATE, "orders-1", true },
                { "orders-*", NULL, OBJECT_CERTIFICATE, "order", false },
                { "orders-*", NULL, OBJECT_BACKEND, "orders-1", false },
                { NULL, "*", OBJECT_CERTIFICATE, "orders-1", false },
                { NULL, "*", OBJECT_BACKEND, "orders-1", true },
                { NULL, NULL, OBJECT_CERTIFICATE, "a", false },
                { NULL, NULL, OBJECT_BACKEND, "a", false },
                { NULL, NULL, OBJECT_CERTIFICATE, NULL, false },
                { "orders-*", NULL, OBJECT_CERTIFICATE, NULL, true },
                { "orders-*", NULL, OBJECT_BACKEND, NULL, false },
        };
        Subject subject = { .uid = 33 };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(grant_freep)
                Grant *grant = make("tls", rows[i].certificate, rows[i].backend);
                Request request = { OPERATION_TLS, rows[i].kind, rows[i].name, ALGORITHM_NONE };

                assert_int_equal(allows(grant, &subject, &request), rows[i].allowed);
        }
}

static void the_root_and_sources_have_their_own(void **state)
{
        static const struct {
                const char *words, *certificate, *backend, *source;
                bool manager, audit, source_read, source_manage;
        } rows[] = {
                { "manage", "*", NULL, NULL, true, false, false, false },
                { "manage", "*", NULL, "hsm", true, false, true, true },
                { "manage", "*", NULL, "h?m", true, false, true, true },
                { "manage", "*", NULL, "hs", true, false, false, false },
                { "manage", NULL, NULL, "*", false, false, true, true },
                { "manage", "orders-*", NULL, "hsm", false, false, true, true },
                { "manage", "**", NULL, NULL, false, false, false, false }, /* not exactly "*" */
                { "manage", NULL, "*", NULL, false, false, false, false },
                { "manage", NULL, NULL, NULL, false, false, false, false }, /* manages nothing */
                { "use decrypt export", "*", "*", "hsm", false, false, true, false },
                { "read", NULL, NULL, "hsm", false, false, true, false },
                { "use manage", "*", NULL, NULL, true, false, false, false },
                { "audit", NULL, NULL, NULL, false, true, false, false },
                { "audit", "*", "*", "*", false, true, false, false },
                { "audit manage", "*", NULL, NULL, true, true, false, false },
        };
        Subject subject = { .uid = 33 };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CLEANUP(grant_freep)
                Grant *grant = make_with_source(rows[i].words, rows[i].certificate, rows[i].backend,
                                                rows[i].source);
                Request manager = { OPERATION_MANAGE, OBJECT_MANAGER, NULL, ALGORITHM_NONE };
                Request audit = { OPERATION_AUDIT, OBJECT_MANAGER, NULL, ALGORITHM_NONE };
                Request source_read = { OPERATION_READ, OBJECT_SOURCE, "hsm", ALGORITHM_NONE };
                Request source_manage = { OPERATION_MANAGE, OBJECT_SOURCE, "hsm", ALGORITHM_NONE };

                assert_int_equal(allows(grant, &subject, &manager), rows[i].manager);
                assert_int_equal(allows(grant, &subject, &audit), rows[i].audit);
                assert_int_equal(allows(grant, &subject, &source_read), rows[i].source_read);
                assert_int_equal(allows(grant, &subject, &source_manage), rows[i].source_manage);
        }
}

/* Asked of an object, it is nobody's. */
static void audit_is_of_no_object(void **state)
{
        CLEANUP(grant_freep) Grant *grant = make_with_source("audit manage use", "*", "*", "*");
        Subject subject = { .uid = 33 };

        for (ObjectKind kind = OBJECT_MANAGER; kind < _OBJECT_KIND_N; kind++) {
                Request request = { OPERATION_AUDIT, kind, "a", ALGORITHM_NONE };

                assert_int_equal(allows(grant, &subject, &request), kind == OBJECT_MANAGER);
        }
}

static void algorithms_narrow(void **state)
{
        CLEANUP(grant_freep) Grant *grant = make("use", "*", NULL);
        Subject subject = { .uid = 33 };
        Request request = { OPERATION_SIGN, OBJECT_CERTIFICATE, "a", ALGORITHM_NONE };

        for (Algorithm a = ALGORITHM_NONE; a < _ALGORITHM_N; a++) {
                request.algorithm = a;
                grant->algorithms = 0; /* all but SHA-1 */
                assert_int_equal(allows(grant, &subject, &request), !algorithm_row(a)->legacy);
                for (Algorithm named = ALGORITHM_NONE + 1; named < _ALGORITHM_N; named++) {
                        grant->algorithms = ALGORITHM_BIT(named);
                        assert_int_equal(allows(grant, &subject, &request),
                                         a == ALGORITHM_NONE || a == named);
                }
        }
}

static void check_reason(Grant *grant, const Subject *subject, const Request *request,
                         const char *expected)
{
        Grants grants = { .items = &grant, .n = grant ? 1 : 0 };
        Failure failure = { 0 };

        assert_null(grants_decide(&grants, subject, request, &failure));
        assert_int_equal(failure.status, CB_ACCESS_DENIED);
        if (!strstr(failure.text, expected)) {
                print_error("'%s' does not say '%s'\n", failure.text, expected);
                assert_true(false);
        }
}

static void refusals_say_what_was_missing(void **state)
{
        CLEANUP(grant_freep) Grant *grant = make("tls", "orders-*", NULL);
        char unit[] = "nginx.service";
        Subject subject = { .uid = 33 }, nobody = { .uid = SUBJECT_UID_UNKNOWN },
                other = { .uid = 34 };
        Request request = { OPERATION_SIGN, OBJECT_CERTIFICATE, "orders-1", ALGORITHM_NONE };
        Request elsewhere = { OPERATION_SIGN, OBJECT_CERTIFICATE, "x", ALGORITHM_NONE };
        Request manager = { OPERATION_MANAGE, OBJECT_MANAGER, NULL, ALGORITHM_NONE };
        Request source = { OPERATION_READ, OBJECT_SOURCE, "hsm", ALGORITHM_NONE };
        Request audit = { OPERATION_AUDIT, OBJECT_MANAGER, NULL, ALGORITHM_NONE };

        check_reason(NULL, &subject, &request, "no grant names it");
        check_reason(grant, &nobody, &request, "not known");
        check_reason(grant, &other, &request,
                     "uid 34 may not use certificate 'orders-1': no grant");
        check_reason(grant, &subject, &request, "grant 'g' does not allow 'use'");
        check_reason(grant, &subject, &elsewhere, "names this certificate; the nearest is 'g'");
        check_reason(grant, &subject, &manager, "certificate = [ \"*\" ]");
        check_reason(grant, &subject, &source, "names this source; the nearest is 'g'");
        check_reason(grant, &subject, &audit, "grant 'g' does not allow 'audit'");
        audit.kind = OBJECT_CERTIFICATE;
        check_reason(grant, &subject, &audit, "'audit' is of the broker itself");
        request.operation = OPERATION_TLS;
        request.algorithm = ALGORITHM_ECDSA_SHA1;
        check_reason(grant, &subject, &request, "'g' does not allow the algorithm ecdsa-sha1");
        assert_int_equal(string_set(&grant->unit, unit), 0);
        check_reason(grant, &subject, &request, "only for the unit 'nginx.service'");
        assert_int_equal(string_set(&grant->unit, NULL), 0);
        assert_int_equal(string_set(&grant->label, "l"), 0);
        check_reason(grant, &subject, &request, "only for the label 'l'");
}

static uint32_t seed = 2024;

static uint32_t pick(uint32_t n)
{
        seed ^= seed << 13; /* xorshift32 */
        seed ^= seed >> 17;
        seed ^= seed << 5;
        return seed % n;
}

static const char *const names[] = { "a", "orders-1", "orders-2", "web" };

static Grant *random_grant(void)
{
        static const char *const words[] = { "read",    "tls",          "use",
                                             "decrypt", "export",       "manage",
                                             "",        "read decrypt", "export manage",
                                             "audit" };
        static const char *const globs[] = { NULL, "*", "orders-*", "a", "?rders-1", "*b" };
        Grant *grant = make_with_source(words[pick(10)], globs[pick(6)], globs[pick(6)],
                                        globs[pick(6)]);

        grant->has_user = pick(4) > 0;
        grant->uid = pick(2);
        grant->has_group = pick(3) == 0;
        grant->gid = pick(2);
        if (pick(4) == 0)
                assert_int_equal(string_set(&grant->unit, pick(2) ? "u" : "v"), 0);
        if (pick(6) == 0)
                assert_int_equal(string_set(&grant->label, "l"), 0);
        if (pick(3) == 0)
                grant->algorithms = ALGORITHM_BIT(1 + pick(_ALGORITHM_N - 1)) |
                                    ALGORITHM_BIT(1 + pick(_ALGORITHM_N - 1));
        return grant;
}

static Request random_request(void)
{
        return (Request){ .operation = (Operation)(1u << pick(7)),
                          .kind = (ObjectKind)pick(_OBJECT_KIND_N),
                          .name = pick(6) == 0 ? NULL : names[pick(4)],
                          .algorithm = pick(2) ? ALGORITHM_NONE : (Algorithm)pick(_ALGORITHM_N) };
}

static void shuffle(Grant **items, size_t n)
{
        for (size_t i = n; i > 1; i--) {
                size_t k = pick((uint32_t)i);
                Grant *item = items[i - 1];

                items[i - 1] = items[k];
                items[k] = item;
        }
}

static void a_set_allows_what_one_of_it_allows(void **state)
{
        char u[] = "u", l[] = "l";
        size_t n_allowed = 0, n_denied = 0;

        for (unsigned round = 0; round < 20000; round++) {
                Grants grants = { 0 };
                uint32_t gids[] = { pick(2), pick(3) };
                Subject subject = { .uid = pick(8) == 0 ? SUBJECT_UID_UNKNOWN : pick(2),
                                    .gids = gids,
                                    .n_gids = pick(3),
                                    .unit = pick(2) ? u : NULL,
                                    .label = pick(2) ? l : NULL };
                Request request = random_request();
                size_t n = pick(12), n_single = 0, n_listed = 0;

                for (size_t i = 0; i < n; i++) {
                        assert_int_equal(grants_append(&grants, random_grant()), 0);
                        n_single += allows(grants.items[i], &subject, &request);
                }
                for (unsigned order = 0; order < 4; order++) {
                        Failure failure = { 0 };
                        const Grant *grant = grants_decide(&grants, &subject, &request, &failure);

                        assert_int_equal(grant != NULL, n_single > 0);
                        assert_int_equal(failure.status, grant ? 0 : CB_ACCESS_DENIED);
                        if (grant)
                                assert_true(allows((Grant *)(uintptr_t)grant, &subject, &request));
                        shuffle(grants.items, grants.n);
                }
                for (const Grant *grant = NULL;
                     (grant = grants_next(&grants, &subject, &request, grant)) != NULL;)
                        n_listed++;
                assert_int_equal(n_listed, n_single);
                n_allowed += n_single > 0;
                n_denied += n_single == 0;
                grants_deinit(&grants);
        }
        print_message("# %zu allowed, %zu denied\n", n_allowed, n_denied);
        assert_true(n_allowed > 1000 && n_denied > 1000); /* else it proves nothing */
}

/* Two sets are told apart by what they let a subject read, and by nothing else. */
static void test_read_alike(void **state)
{
        const Subject subject = { .uid = 33 }, other = { .uid = 34 };
        static const struct {
                const char *words, *certificate, *backend, *source;
                bool alike;
        } rows[] = {
                { "use", "a*", "b", "h", true },
                { "read", "a*", "b", "h", true },
                { "export", "a*", "b", "h", true },
                { "use manage", "a*", "b", "h", true },
                { "use", "a", "b", "h", false },
                { "use", "a*", NULL, "h", false },
                { "use", "a*", "c", "h", false },
                { "use", "a*", "b", NULL, false },
                { "use", "a*", "b", "i", false },
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Grants *before = NULL, *after = NULL;

                assert_int_equal(grants_new(&before), 0);
                assert_int_equal(grants_new(&after), 0);
                assert_int_equal(grants_append(before, make_with_source("use", "a*", "b", "h")), 0);
                assert_false(grants_read_alike(before, after, &subject));
                assert_false(grants_read_alike(after, before, &subject));
                assert_true(grants_read_alike(after, before, &other));
                assert_int_equal(grants_append(after,
                                               make_with_source(rows[i].words, rows[i].certificate,
                                                                rows[i].backend, rows[i].source)),
                                 0);
                assert_true(grants_read_alike(before, after, &subject) == rows[i].alike);
                assert_int_equal(grants_append(after, make("use", "more", NULL)), 0);
                assert_false(grants_read_alike(before, after, &subject));
                assert_ptr_equal(grants_ref(after), after);
                assert_null(grants_unref(after));
                assert_int_equal(after->n, 2); /* one reference is left */
                grants_unref(after);
                grants_unref(before);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(words_let_what_the_contract_says),
                cmocka_unit_test(subjects_match_all_that_is_named),
                cmocka_unit_test(objects_match_their_own_globs),
                cmocka_unit_test(the_root_and_sources_have_their_own),
                cmocka_unit_test(audit_is_of_no_object),
                cmocka_unit_test(algorithms_narrow),
                cmocka_unit_test(refusals_say_what_was_missing),
                cmocka_unit_test(a_set_allows_what_one_of_it_allows),
                cmocka_unit_test(test_read_alike),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
