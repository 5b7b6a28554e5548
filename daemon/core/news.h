/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changed, and who has yet to be told: one list of notices for all readers, each of whom stands somewhere in it. A
 * notice says what changed and of what object, not what it is now: that is looked up when it is told, and so is whether
 * the reader may know. So a later notice takes the place of an earlier one that says the same, and what waits is no
 * more than there is to say of each object, however often it changes and however many there are to be told.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/macro.h"
#include "core/identifier.h"

typedef enum NoticeType {
        NOTICE_REMOVED, /* takes the place of all earlier ones of its object */
        NOTICE_ADDED,
        NOTICE_CHANGED,    /* some of its properties */
        NOTICE_USED,       /* a certificate, by one more backend or one fewer */
        NOTICE_ROTATED,    /* numbers: the generation */
        NOTICE_CREDENTIAL, /* likewise */
        NOTICE_EXPIRY,     /* numbers: when, and how long until then */
} NoticeType;

typedef struct Notice {
        NoticeType type;
        ObjectKind kind;
        const char *name;
        const char *user;    /* NOTICE_USED: the backend; else NULL */
        uint64_t properties; /* NOTICE_CHANGED: a bit each */
        uint64_t numbers[2];
} Notice;

typedef struct News News;
typedef struct NewsItem NewsItem;

/* Embedded in who is told. */
typedef struct NewsReader {
        News *news;     /* NULL: has not joined */
        NewsItem *next; /* NULL: has been told everything */
        TAILQ_ENTRY(NewsReader) entry;
        void (*wake)(void *userdata); /* there is something to tell, after there was nothing */
        void (*lost)(void *userdata); /* it was too far behind, and is told none of what waited */
        void *userdata;
} NewsReader;

int news_new(size_t n_max, News **ret_news);
News *news_free(News *news); /* when all readers have left */
DEFINE_CLEANUP(News, news_free)

/* It is told what comes from now on. */
void news_join(News *news, NewsReader *reader);
void news_leave(NewsReader *reader); /* also one that has not joined */

/* Beyond n_max the readers that are the furthest behind lose what they have not been told. -ENOMEM. */
int news_add(News *news, const Notice *notice);
/* What it is told next; NULL: nothing. The news' own, until anything is added or passed. */
const Notice *news_next(NewsReader *reader);
void news_pass(NewsReader *reader);
void news_skip(NewsReader *reader); /* all there is */

size_t news_waiting(const News *news); /* notices that somebody has yet to be told */
