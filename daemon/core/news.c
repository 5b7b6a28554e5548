/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Invariants: a reader that stands at an item has been told all before it, and none from it on; the first item has a
 * reader; and of what one object is told in, each thing is told in one item at most, the last one that said it. An item
 * that says nothing any more is there only while readers stand at it, so there are no more of those than readers.
 */
#include "core/news.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/strings.h"

#define KEY_MAX (2 * (IDENTIFIER_LENGTH_MAX + 1) + 2)

typedef TAILQ_HEAD(ReaderList, NewsReader) ReaderList;

/* What the items of one object, or of one that uses it, share. */
typedef struct Topic {
        TAILQ_HEAD(, NewsItem) items;
        ObjectKind kind;
        const char *user; /* "": none; behind the name */
        char name[];
} Topic;

struct NewsItem {
        Notice notice;
        Topic *topic; /* NULL: it says nothing any more */
        ReaderList readers;
        TAILQ_ENTRY(NewsItem) entry, of_topic;
};

struct News {
        TAILQ_HEAD(, NewsItem) items;
        size_t n, n_max; /* that say something */
        Map topics;      /* key → Topic */
        ReaderList idle; /* have been told everything */
};

int news_new(size_t n_max, News **ret_news)
{
        News *news = calloc(1, sizeof(*news));

        if (!news)
                return -ENOMEM;
        news->n_max = n_max;
        TAILQ_INIT(&news->items);
        TAILQ_INIT(&news->idle);
        map_init(&news->topics);
        *ret_news = news;
        return 0;
}

News *news_free(News *news)
{
        if (!news)
                return NULL;
        assert_always(TAILQ_EMPTY(&news->items) && TAILQ_EMPTY(&news->idle));
        map_deinit(&news->topics);
        free(news);
        return NULL;
}

/* --- items --- */

/* Where it ends. */
static char *put_name(char *to, const char *name)
{
        size_t n = strnlen(name, IDENTIFIER_LENGTH_MAX);

        memcpy(to, name, n);
        to[n] = '\0';
        return to + n;
}

/* No name has a slash. */
static void write_key(ObjectKind kind, const char *name, const char *user, char *ret_key)
{
        *ret_key++ = (char)('0' + kind);
        ret_key = put_name(ret_key, name);
        *ret_key++ = '/';
        put_name(ret_key, user);
}

static int topic_new(News *news, const char *key, const Notice *notice, Topic **ret_topic)
{
        Topic *topic = calloc(1, sizeof(*topic) + strlen(key) + 1); /* which is longer than both */
        char *user;
        int r;

        if (!topic)
                return -ENOMEM;
        TAILQ_INIT(&topic->items);
        topic->kind = notice->kind;
        user = put_name(topic->name, notice->name) + 1;
        put_name(user, string_or_empty(notice->user));
        topic->user = user;
        r = map_put(&news->topics, key, topic);
        if (r < 0) {
                free(topic);
                return r;
        }
        *ret_topic = topic;
        return 0;
}

static int find_topic(News *news, const Notice *notice, Topic **ret_topic)
{
        char key[KEY_MAX];
        Topic *topic;

        write_key(notice->kind, notice->name, string_or_empty(notice->user), key);
        topic = map_find(&news->topics, key);
        if (!topic)
                return topic_new(news, key, notice, ret_topic);
        *ret_topic = topic;
        return 0;
}

static void drop_topic_if_empty(News *news, Topic *topic)
{
        char key[KEY_MAX];

        if (!TAILQ_EMPTY(&topic->items))
                return;
        write_key(topic->kind, topic->name, topic->user, key);
        map_remove(&news->topics, key);
        free(topic);
}

/* Its topic stays, for the one that takes its place. */
static void silence(News *news, NewsItem *item)
{
        TAILQ_REMOVE(&item->topic->items, item, of_topic);
        item->topic = NULL;
        news->n--;
}

static void item_free(News *news, NewsItem *item)
{
        Topic *topic = item->topic;

        if (topic) {
                silence(news, item);
                drop_topic_if_empty(news, topic);
        }
        TAILQ_REMOVE(&news->items, item, entry);
        free(item);
}

/* What nobody stands at, and everybody has passed or nobody needs. */
static void settle(News *news, NewsItem *item)
{
        NewsItem *first;

        if (item && !item->topic && TAILQ_EMPTY(&item->readers))
                item_free(news, item);
        while ((first = TAILQ_FIRST(&news->items)) && TAILQ_EMPTY(&first->readers))
                item_free(news, first);
}

static bool is_superseded(const Notice *earlier, const Notice *later)
{
        if (later->type == NOTICE_REMOVED)
                return true;
        return earlier->type == later->type &&
               (later->type != NOTICE_CHANGED || earlier->properties == 0);
}

static void supersede(News *news, Topic *topic, const Notice *later)
{
        NewsItem *item, *next;

        for (item = TAILQ_FIRST(&topic->items); item; item = next) {
                next = TAILQ_NEXT(item, of_topic);
                if (item->notice.type == NOTICE_CHANGED)
                        item->notice.properties &= ~later->properties;
                if (!is_superseded(&item->notice, later))
                        continue;
                silence(news, item);
                settle(news, item);
        }
}

/* --- readers --- */

static ReaderList *place_of(News *news, NewsItem *item)
{
        return item ? &item->readers : &news->idle;
}

static void move(NewsReader *reader, NewsItem *to)
{
        NewsItem *from = reader->next;
        News *news = reader->news;

        TAILQ_REMOVE(place_of(news, from), reader, entry);
        reader->next = to;
        TAILQ_INSERT_TAIL(place_of(news, to), reader, entry);
        settle(news, from);
}

void news_join(News *news, NewsReader *reader)
{
        reader->news = news;
        reader->next = NULL;
        TAILQ_INSERT_TAIL(&news->idle, reader, entry);
}

void news_leave(NewsReader *reader)
{
        News *news = reader->news;
        NewsItem *from = reader->next;

        if (!news)
                return;
        TAILQ_REMOVE(place_of(news, from), reader, entry);
        reader->news = NULL;
        reader->next = NULL;
        settle(news, from);
}

const Notice *news_next(NewsReader *reader)
{
        while (reader->next && !reader->next->topic)
                news_pass(reader);
        return reader->next ? &reader->next->notice : NULL;
}

void news_pass(NewsReader *reader)
{
        if (reader->next)
                move(reader, TAILQ_NEXT(reader->next, entry));
}

void news_skip(NewsReader *reader)
{
        if (reader->next)
                move(reader, NULL);
}

/* --- adding --- */

static void wake_all(News *news, NewsItem *item)
{
        NewsReader *reader;

        TAILQ_FOREACH(reader, &news->idle, entry)
        {
                reader->next = item;
                reader->wake(reader->userdata);
        }
        TAILQ_CONCAT(&item->readers, &news->idle, entry);
}

/* With its last reader the first item goes, too. */
static void make_room(News *news)
{
        NewsItem *first;
        NewsReader *reader;

        while (news->n >= news->n_max && (first = TAILQ_FIRST(&news->items))) {
                reader = TAILQ_FIRST(&first->readers);
                reader->lost(reader->userdata);
                news_skip(reader);
        }
}

int news_add(News *news, const Notice *notice)
{
        NewsItem *item;
        Topic *topic;
        int r;

        if (TAILQ_EMPTY(&news->items) && TAILQ_EMPTY(&news->idle))
                return 0; /* nobody is there */
        make_room(news);
        item = calloc(1, sizeof(*item));
        if (!item)
                return -ENOMEM;
        r = find_topic(news, notice, &topic);
        if (r < 0) {
                free(item);
                return r;
        }
        supersede(news, topic, notice);
        *item = (NewsItem){ .notice = *notice, .topic = topic };
        item->notice.name = topic->name;
        item->notice.user = notice->user ? topic->user : NULL;
        TAILQ_INIT(&item->readers);
        TAILQ_INSERT_TAIL(&topic->items, item, of_topic);
        TAILQ_INSERT_TAIL(&news->items, item, entry);
        news->n++;
        wake_all(news, item);
        settle(news, NULL);
        return 0;
}

size_t news_waiting(const News *news)
{
        return news->n;
}
