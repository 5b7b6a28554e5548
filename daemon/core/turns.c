/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fair queueing by virtual time, on two levels. Each class and each user has a clock that runs while it is served,
 * the slower the heavier; whoever's is the furthest behind is next. Who comes back after a rest starts where the others
 * are: no time is saved up, so nobody who was silent for long can then hold the others up. Who took more than its share in
 * one go (a long call) stays known until the others have caught up.
 *
 * Invariant: a user is in its class's array while a turn of its points to it, or it is ahead of its class; of the latter
 * there are some, however many come and go.
 */
#include "core/turns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCALE        64   /* of virtual time: weights divide it */
#define SWEEP_AT_MIN 64   /* users, before those who rest are looked through */
#define OWING_MAX    256  /* of those who have gone: more of them have had a turn or two each, and owe no more */

struct TurnUser {
        size_t class;
        uint32_t uid;
        uint64_t time;
        size_t n_turns; /* that point to it */
        TAILQ_HEAD(TurnList, Turn) wanted[2]; /* the slow ones are the second */
        bool was_slow;                        /* the last one that it had */
        TAILQ_ENTRY(TurnUser) waiting;        /* while any is wanted */
};

typedef struct ClassState {
        TurnClass terms;
        uint64_t time;
        uint64_t floor; /* the time of the user that was served last */
        int64_t credit_usec;
        uint64_t credit_at_usec;
        TurnUser **users; /* by uid; each stays where it is */
        size_t n_users, sweep_at;
        TAILQ_HEAD(, TurnUser) waiting;
} ClassState;

struct Turns {
        ClassState classes[TURNS_CLASSES_MAX];
        size_t n_classes;
        uint64_t floor; /* the time of the class that was served last */
};

int turns_new(const TurnClass *classes, size_t n_classes, Turns **ret_turns)
{
        Turns *turns = calloc(1, sizeof(*turns));

        if (!turns)
                return -ENOMEM;
        assert_always(n_classes <= TURNS_CLASSES_MAX);
        turns->n_classes = n_classes;
        for (size_t i = 0; i < n_classes; i++) {
                turns->classes[i] = (ClassState){
                        .terms = classes[i],
                        .credit_usec = (int64_t)classes[i].burst_usec,
                        .sweep_at = SWEEP_AT_MIN,
                };
                TAILQ_INIT(&turns->classes[i].waiting);
        }
        *ret_turns = turns;
        return 0;
}

Turns *turns_free(Turns *turns)
{
        if (!turns)
                return NULL;
        for (size_t i = 0; i < turns->n_classes; i++) {
                ClassState *class = &turns->classes[i];

                for (size_t k = 0; k < class->n_users; k++) {
                        assert_always(class->users[k]->n_turns == 0);
                        free(class->users[k]);
                }
                free(class->users);
        }
        free(turns);
        return NULL;
}

/* --- users --- */

/* The first user that is not smaller. */
static size_t user_index(const ClassState *class, uint32_t uid)
{
        size_t low = 0, high = class->n_users;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (class->users[middle]->uid < uid)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static TurnUser *find_user(const ClassState *class, uint32_t uid)
{
        size_t index = user_index(class, uid);

        return index < class->n_users && class->users[index]->uid == uid ? class->users[index]
                                                                         : NULL;
}

static bool is_gone(const TurnUser *user)
{
        return user->n_turns == 0;
}

static size_t count_owing(const ClassState *class)
{
        size_t n = 0;

        for (size_t i = 0; i < class->n_users; i++)
                n += is_gone(class->users[i]) && class->users[i]->time > class->floor;
        return n;
}

/* Those who have gone and owe nothing. */
static void sweep(ClassState *class)
{
        bool all = count_owing(class) > OWING_MAX;
        size_t n = 0;

        for (size_t i = 0; i < class->n_users; i++) {
                TurnUser *user = class->users[i];

                if (is_gone(user) && (all || user->time <= class->floor))
                        free(user);
                else
                        class->users[n++] = user;
        }
        class->n_users = n;
        class->sweep_at = MAX(2 * n, (size_t)SWEEP_AT_MIN);
}

static int add_user(Turns *turns, size_t index_of_class, uint32_t uid, TurnUser **ret_user)
{
        ClassState *class = &turns->classes[index_of_class];
        TurnUser **users, *user;
        size_t index;

        if (class->n_users >= class->sweep_at)
                sweep(class);
        users = reallocarray(class->users, class->n_users + 1, sizeof(*users));
        if (!users)
                return -ENOMEM;
        class->users = users;
        user = calloc(1, sizeof(*user));
        if (!user)
                return -ENOMEM;
        *user = (TurnUser){ .class = index_of_class, .uid = uid, .time = class->floor };
        TAILQ_INIT(&user->wanted[false]);
        TAILQ_INIT(&user->wanted[true]);
        index = user_index(class, uid);
        memmove(users + index + 1, users + index, (class->n_users - index) * sizeof(*users));
        users[index] = user;
        class->n_users++;
        *ret_user = user;
        return 0;
}

static int join(Turns *turns, size_t class, uint32_t uid, TurnUser **ret_user)
{
        TurnUser *user = find_user(&turns->classes[class], uid);
        int r = user ? 0 : add_user(turns, class, uid, &user);

        if (r < 0)
                return r;
        user->n_turns++;
        *ret_user = user;
        return 0;
}

/* --- wanting --- */

static bool wants_none(const TurnUser *user)
{
        return TAILQ_EMPTY(&user->wanted[false]) && TAILQ_EMPTY(&user->wanted[true]);
}

static void unwant(Turn *turn)
{
        TurnUser *user = turn->user;

        if (!turn->is_wanted)
                return;
        turn->is_wanted = false;
        TAILQ_REMOVE(&user->wanted[turn->is_slow], turn, entry);
        if (wants_none(user))
                TAILQ_REMOVE(&turn->turns->classes[user->class].waiting, user, waiting);
}

void turn_want(Turn *turn)
{
        ClassState *class = &turn->turns->classes[turn->user->class];
        TurnUser *user = turn->user;

        if (turn->is_wanted)
                return;
        turn->is_wanted = true;
        if (wants_none(user)) {
                if (TAILQ_EMPTY(&class->waiting))
                        class->time = MAX(class->time, turn->turns->floor);
                user->time = MAX(user->time, class->floor);
                TAILQ_INSERT_TAIL(&class->waiting, user, waiting);
        }
        TAILQ_INSERT_TAIL(&user->wanted[turn->is_slow], turn, entry);
}

int turn_init(Turn *turn, Turns *turns, size_t class, uint32_t uid)
{
        TurnUser *user;
        int r = join(turns, class, uid, &user);

        if (r < 0)
                return r;
        *turn = (Turn){ .turns = turns, .user = user };
        return 0;
}

void turn_deinit(Turn *turn)
{
        if (!turn->turns)
                return;
        unwant(turn);
        turn->user->n_turns--;
        *turn = (Turn){ 0 };
}

int turn_move(Turn *turn, size_t class)
{
        bool was_wanted = turn->is_wanted;
        TurnUser *user;
        int r;

        if (turn->user->class == class)
                return 0;
        r = join(turn->turns, class, turn->user->uid, &user);
        if (r < 0)
                return r;
        unwant(turn);
        turn->user->n_turns--;
        turn->user = user;
        if (was_wanted)
                turn_want(turn);
        return 0;
}

/* --- giving --- */

static void earn(ClassState *class, uint64_t now_usec)
{
        uint64_t elapsed = now_usec > class->credit_at_usec ? now_usec - class->credit_at_usec : 0;
        int64_t most = (int64_t)class->terms.burst_usec;

        /* So much time fills the largest burst, and does not overflow. */
        elapsed = MIN(elapsed, UINT64_C(1) << 40);
        class->credit_usec += (int64_t)(elapsed * class->terms.percent / 100);
        class->credit_usec = MIN(class->credit_usec, most);
        class->credit_at_usec = now_usec;
}

/* How long until it may have a turn; 0: now. */
static uint64_t class_wait(ClassState *class, uint64_t now_usec)
{
        if (class->terms.percent == 0)
                return 0;
        /* In steps that earn something, so that no fraction is lost. */
        if (now_usec >= class->credit_at_usec + 100 || now_usec < class->credit_at_usec)
                earn(class, now_usec);
        if (class->credit_usec > 0)
                return 0;
        return ((uint64_t)-class->credit_usec + 1) * 100 / class->terms.percent + 100;
}

/* The heavier one, where two are as far behind. */
static ClassState *next_class(Turns *turns, uint64_t now_usec, uint64_t *ret_wait_usec)
{
        ClassState *next = NULL;

        for (size_t i = turns->n_classes; i-- > 0;) {
                ClassState *class = &turns->classes[i];
                uint64_t wait_usec;

                if (TAILQ_EMPTY(&class->waiting))
                        continue;
                wait_usec = class_wait(class, now_usec);
                if (wait_usec > 0)
                        *ret_wait_usec = MIN(*ret_wait_usec, wait_usec);
                else if (!next || class->time < next->time)
                        next = class;
        }
        return next;
}

static TurnUser *next_user(const ClassState *class)
{
        TurnUser *next = NULL, *user;

        TAILQ_FOREACH(user, &class->waiting, waiting)
        {
                if (!next || user->time < next->time)
                        next = user;
        }
        return next;
}

static Turn *next_turn(TurnUser *user)
{
        bool slow = !user->was_slow;

        if (TAILQ_EMPTY(&user->wanted[slow]))
                slow = !slow;
        user->was_slow = slow;
        return TAILQ_FIRST(&user->wanted[slow]);
}

Turn *turns_next(Turns *turns, uint64_t now_usec, uint64_t *ret_wait_usec)
{
        ClassState *class;
        TurnUser *user;
        Turn *turn;

        *ret_wait_usec = UINT64_MAX;
        class = next_class(turns, now_usec, ret_wait_usec);
        if (!class)
                return NULL;
        user = next_user(class);
        turns->floor = MAX(turns->floor, class->time);
        class->floor = MAX(class->floor, user->time);
        turn = next_turn(user);
        unwant(turn);
        return turn;
}

TurnPayer turn_payer(const Turn *turn)
{
        return (TurnPayer){ turn->user->class, turn->user->uid };
}

void turns_spend(Turns *turns, TurnPayer payer, uint64_t usec)
{
        ClassState *class = &turns->classes[payer.class];
        TurnUser *user = find_user(class, payer.uid);

        usec = MAX(usec, UINT64_C(1)); /* a turn is never for nothing */
        class->time += usec * SCALE / class->terms.weight;
        if (class->terms.percent > 0)
                class->credit_usec -= (int64_t)usec;
        if (user)
                user->time += usec;
}

size_t turns_users(const Turns *turns)
{
        size_t n = 0;

        for (size_t i = 0; i < turns->n_classes; i++)
                n += turns->classes[i].n_users;
        return n;
}
