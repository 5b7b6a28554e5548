/* SPDX-License-Identifier: Apache-2.0 */
/* Who is told what, in which order, and how little waits for those who are behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/news.h"

#define N_MAX 8

typedef struct Reader {
        NewsReader news;
        unsigned n_woken, n_lost;
} Reader;

static void on_wake(void *userdata)
{
        ((Reader *)userdata)->n_woken++;
}

static void on_lost(void *userdata)
{
        ((Reader *)userdata)->n_lost++;
}

static void join(News *news, Reader *reader)
{
        *reader = (Reader){ .news = { .wake = on_wake, .lost = on_lost, .userdata = reader } };
        news_join(news, &reader->news);
}

static void add(News *news, NoticeType type, const char *name, uint64_t properties)
{
        const Notice notice = { .type = type,
                                .kind = OBJECT_CERTIFICATE,
                                .name = name,
                                .properties = properties };

        assert_int_equal(news_add(news, &notice), 0);
}

static void expect(Reader *reader, NoticeType type, const char *name, uint64_t properties)
{
        const Notice *notice = news_next(&reader->news);

        assert_non_null(notice);
        assert_int_equal(notice->type, type);
        assert_string_equal(notice->name, name);
        assert_int_equal(notice->properties, properties);
        news_pass(&reader->news);
}

static void expect_nothing(Reader *reader)
{
        assert_null(news_next(&reader->news));
}

static void each_is_told_in_order_what_came_after_it(void **state)
{
        Reader early, late;
        News *news;

        assert_int_equal(news_new(N_MAX, &news), 0);
        add(news, NOTICE_ADDED, "nobody", 0);
        assert_int_equal(news_waiting(news), 0);
        join(news, &early);
        add(news, NOTICE_ADDED, "a", 0);
        join(news, &late);
        add(news, NOTICE_CHANGED, "b", 1);
        add(news, NOTICE_ROTATED, "b", 0);
        assert_int_equal(early.n_woken, 1);
        assert_int_equal(late.n_woken, 1);
        expect(&early, NOTICE_ADDED, "a", 0);
        expect(&early, NOTICE_CHANGED, "b", 1);
        expect(&early, NOTICE_ROTATED, "b", 0);
        expect_nothing(&early);
        assert_int_equal(news_waiting(news), 2);
        expect(&late, NOTICE_CHANGED, "b", 1);
        expect(&late, NOTICE_ROTATED, "b", 0);
        expect_nothing(&late);
        assert_int_equal(news_waiting(news), 0);
        add(news, NOTICE_ADDED, "c", 0);
        assert_int_equal(early.n_woken, 2); /* once it had been told everything, and once before that */
        news_leave(&early.news);
        news_leave(&early.news);
        news_leave(&late.news); /* with something that it has not been told */
        news_free(news);
}

/* However often a thing changes, and however many are to be told, it waits once. */
static void what_is_said_again_takes_the_place_of_what_was_said(void **state)
{
        Reader readers[100];
        News *news;

        assert_int_equal(news_new(N_MAX, &news), 0);
        for (size_t i = 0; i < ELEMENTSOF(readers); i++)
                join(news, &readers[i]);
        for (unsigned i = 0; i < 1000; i++) {
                add(news, NOTICE_CHANGED, "a", 1);
                add(news, NOTICE_CREDENTIAL, "a", 0);
                /* one of them has been told some of it, and is at what says nothing now */
                if (i % 3 == 0 && news_next(&readers[i % 100].news))
                        news_pass(&readers[i % 100].news);
        }
        assert_int_equal(news_waiting(news), 2);
        for (size_t i = 0; i < ELEMENTSOF(readers); i++) {
                assert_int_equal(readers[i].n_lost, 0);
                while (news_next(&readers[i].news))
                        news_pass(&readers[i].news);
                news_leave(&readers[i].news);
        }
        news_free(news);
}

static void a_property_is_told_once_to_whom_is_behind(void **state)
{
        Reader ahead, behind;
        News *news;

        assert_int_equal(news_new(N_MAX, &news), 0);
        join(news, &ahead);
        join(news, &behind);
        add(news, NOTICE_CHANGED, "a", 1 | 2);
        expect(&ahead, NOTICE_CHANGED, "a", 1 | 2);
        add(news, NOTICE_CHANGED, "a", 2 | 4);
        expect(&ahead, NOTICE_CHANGED, "a", 2 | 4);
        expect(&behind, NOTICE_CHANGED, "a", 1);
        expect(&behind, NOTICE_CHANGED, "a", 2 | 4);
        expect_nothing(&behind);
        news_leave(&ahead.news);
        news_leave(&behind.news);
        news_free(news);
}

/* And is not mixed up with the object that has its name then. */
static void what_has_gone_is_told_as_gone(void **state)
{
        Reader ahead, behind;
        News *news;

        assert_int_equal(news_new(N_MAX, &news), 0);
        join(news, &ahead);
        join(news, &behind);
        add(news, NOTICE_ADDED, "a", 0);
        add(news, NOTICE_CHANGED, "a", 1);
        expect(&ahead, NOTICE_ADDED, "a", 0);
        add(news, NOTICE_REMOVED, "a", 0);
        expect(&ahead, NOTICE_REMOVED, "a", 0);
        add(news, NOTICE_ADDED, "a", 0);
        expect(&behind, NOTICE_REMOVED, "a", 0);
        expect(&behind, NOTICE_ADDED, "a", 0);
        expect_nothing(&behind);
        expect(&ahead, NOTICE_ADDED, "a", 0);
        expect_nothing(&ahead);
        news_leave(&ahead.news);
        news_leave(&behind.news);
        news_free(news);
}

static void others_are_other_things(void **state)
{
        const Notice used = {
                .type = NOTICE_USED, .kind = OBJECT_CERTIFICATE, .name = "a", .user = "one"
        };
        const Notice other = { .type = NOTICE_ADDED, .kind = OBJECT_BACKEND, .name = "a" };
        Notice also_used = used;
        Reader reader;
        News *news;

        assert_int_equal(news_new(N_MAX, &news), 0);
        join(news, &reader);
        also_used.user = "another";
        add(news, NOTICE_ADDED, "a", 0);
        assert_int_equal(news_add(news, &used), 0);
        assert_int_equal(news_add(news, &also_used), 0);
        assert_int_equal(news_add(news, &other), 0);
        assert_int_equal(news_add(news, &used), 0); /* again */
        expect(&reader, NOTICE_ADDED, "a", 0);
        assert_string_equal(news_next(&reader.news)->user, "another");
        news_pass(&reader.news);
        assert_int_equal(news_next(&reader.news)->kind, OBJECT_BACKEND);
        news_pass(&reader.news);
        assert_string_equal(news_next(&reader.news)->user, "one");
        news_pass(&reader.news);
        expect_nothing(&reader);
        news_leave(&reader.news);
        news_free(news);
}

/* Beyond the bound only whoever is the furthest behind loses anything, and is told what comes then. */
static void who_does_not_read_loses_it_and_nobody_else(void **state)
{
        Reader silent, slow;
        char name[16];
        News *news;

        assert_int_equal(news_new(N_MAX, &news), 0);
        join(news, &silent);
        join(news, &slow);
        for (unsigned i = 0; i < 100; i++) {
                snprintf(name, sizeof(name), "n-%u", i);
                add(news, NOTICE_ADDED, name, 0);
                assert_true(news_waiting(news) <= N_MAX);
                if (i >= 4) {
                        snprintf(name, sizeof(name), "n-%u", i - 4);
                        expect(&slow, NOTICE_ADDED, name, 0);
                }
        }
        assert_int_equal(slow.n_lost, 0);
        assert_true(silent.n_lost > 0);
        while (news_next(&silent.news))
                news_pass(&silent.news);
        add(news, NOTICE_ADDED, "last", 0);
        expect(&silent, NOTICE_ADDED, "last", 0);
        news_leave(&silent.news);
        news_skip(&slow.news);
        expect_nothing(&slow);
        assert_int_equal(news_waiting(news), 0);
        news_leave(&slow.news);
        news_free(news);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_is_told_in_order_what_came_after_it),
                cmocka_unit_test(what_is_said_again_takes_the_place_of_what_was_said),
                cmocka_unit_test(a_property_is_told_once_to_whom_is_behind),
                cmocka_unit_test(what_has_gone_is_told_as_gone),
                cmocka_unit_test(others_are_other_things),
                cmocka_unit_test(who_does_not_read_loses_it_and_nobody_else),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
