/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Budgets and sums. A budget is a cell of one number, the time at which it is full again; taking one moves it on by the
 * budget's pace, and it is used up when it lies a whole burst ahead. A record is written if all the budgets that it
 * falls under have something left. Invariant: cells and sums are bounded arrays, whoever asks; what is in no sum has a
 * record of its own.
 *
 * A neighbour is a user, or the block of 65,536 uids in which it lies: a login's subordinate uids begin above 65,535,
 * lie in two blocks at most, and are two neighbours rather than 65,536.
 */
#include "core/refusals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"

#define SEC UINT64_C(1000000)

typedef struct Budget {
        uint64_t burst;     /* so many at once */
        uint64_t pace_usec; /* then one in this time */
} Budget;

/*
 * A record has 330 bytes as a rule and 1,100 at the most, with long names. Together these are 3.1 records a second, which
 * is 265,000 or 90 MB a day (290 MB at the most), and 56,000 or 18 MB (62 MB) more for the first time. One user without
 * a grant gets 4,420 of them at the most: 1.5 MB.
 */
static const Budget of_kind = { 10, 60 * SEC };       /* without a grant: of a user and method */
static const Budget of_neighbour = { 100, 20 * SEC }; /* … of a user, or block of users */
static const Budget of_blocks = { 1000, 5 * SEC };    /* … of all blocks: one login may own many */
static const Budget of_strangers = { 5000, SEC };     /* … of all */
static const Budget of_holder = { 10000, 10 * SEC };  /* with a grant: of a user and method */
static const Budget of_holders = { 50000, SEC };      /* … of all */

#define CELLS_MAX      4096
#define SUMS_MAX       48 /* of one neighbour each */
#define SUMS_BLOCK_MAX 24 /* of these for blocks: the others are for users */
#define SUMS_EACH_MAX  6  /* of these for one neighbour, by method and result; a last one for all else of it */
#define RESTS_MAX      15 /* beyond these by method and result, whosever; and one for all else */
#define ALL_MAX        (SUMS_MAX + RESTS_MAX + 1)
#define FIRST_USEC     (10 * SEC) /* they are told so long after the first, but … */
#define INTERVAL_USEC  (60 * SEC) /* … so long after those before */

#define BLOCK_BITS 16
#define BLOCK_SIZE (1u << BLOCK_BITS)

typedef struct Cell {
        uint64_t key;
        uint64_t full_usec;
} Cell;

typedef struct Sum {
        RefusalSum told;
        uint8_t *users; /* a bit for each uid of a block; NULL: one user */
} Sum;

struct Refusals {
        Cell *cells; /* by key */
        size_t n_cells;
        uint64_t blocks_full_usec, strangers_full_usec, holders_full_usec;
        Sum sums[ALL_MAX];
        size_t n_sums, n_own, n_blocks; /* all; of one neighbour; of these, of a block */
        size_t n_told;                  /* by refusals_next() */
        uint64_t n_summed;
        uint64_t since_usec, told_usec; /* monotonic: the first that is summed up; the last telling */
};

int refusals_new(Refusals **ret_refusals)
{
        CLEANUP(refusals_freep) Refusals *refusals = calloc(1, sizeof(*refusals));

        if (!refusals)
                return -ENOMEM;
        refusals->cells = calloc(CELLS_MAX, sizeof(*refusals->cells));
        if (!refusals->cells)
                return -ENOMEM;
        *ret_refusals = TAKE(refusals);
        return 0;
}

static void forget_sums(Refusals *refusals)
{
        for (size_t i = 0; i < refusals->n_sums; i++)
                free(refusals->sums[i].users);
        memset(refusals->sums, 0, refusals->n_sums * sizeof(*refusals->sums));
        refusals->n_sums = refusals->n_own = refusals->n_blocks = refusals->n_told = 0;
}

Refusals *refusals_free(Refusals *refusals)
{
        if (!refusals)
                return NULL;
        forget_sums(refusals);
        free(refusals->cells);
        free(refusals);
        return NULL;
}

static bool is_in_block(uint32_t uid)
{
        return uid >= BLOCK_SIZE;
}

/* --- budgets --- */

static bool has_left(const Budget *budget, uint64_t full_usec, uint64_t now_usec)
{
        return full_usec <= now_usec ||
               full_usec - now_usec <= (budget->burst - 1) * budget->pace_usec;
}

static void take(const Budget *budget, uint64_t *full_usec, uint64_t now_usec)
{
        *full_usec = MAX(*full_usec, now_usec) + budget->pace_usec;
}

/* What cells are of: the upper bits of their keys. */
enum { CELL_KIND, CELL_HOLDER, CELL_USER, CELL_BLOCK };

static uint64_t cell_key(unsigned what, uint32_t uid, unsigned kind)
{
        return (uint64_t)what << 62 | (uint64_t)(kind & 0xffffff) << 32 | uid;
}

/* The first cell whose key is not smaller. */
static size_t cell_index(const Refusals *refusals, uint64_t key)
{
        size_t low = 0, high = refusals->n_cells;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (refusals->cells[middle].key < key)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static uint64_t cell_get(const Refusals *refusals, uint64_t key)
{
        size_t index = cell_index(refusals, key);

        return index < refusals->n_cells && refusals->cells[index].key == key
                       ? refusals->cells[index].full_usec
                       : 0;
}

/* The one that is full soonest goes: forgetting it gives back the least. */
static void cell_drop(Refusals *refusals)
{
        Cell *first = refusals->cells;

        for (size_t i = 1; i < refusals->n_cells; i++)
                if (refusals->cells[i].full_usec < first->full_usec)
                        first = &refusals->cells[i];
        refusals->n_cells--;
        memmove(first, first + 1,
                (refusals->n_cells - (size_t)(first - refusals->cells)) * sizeof(*first));
}

static void cell_take(Refusals *refusals, uint64_t key, const Budget *budget, uint64_t now_usec)
{
        size_t index = cell_index(refusals, key);

        if (index >= refusals->n_cells || refusals->cells[index].key != key) {
                if (refusals->n_cells >= CELLS_MAX)
                        cell_drop(refusals);
                index = cell_index(refusals, key);
                memmove(refusals->cells + index + 1, refusals->cells + index,
                        (refusals->n_cells - index) * sizeof(*refusals->cells));
                refusals->cells[index] = (Cell){ .key = key };
                refusals->n_cells++;
        }
        take(budget, &refusals->cells[index].full_usec, now_usec);
}

/* The widest first, so that nothing is kept of those who have nothing left anyway. */
static bool take_stranger(Refusals *refusals, const Refusal *refusal, uint64_t now_usec)
{
        bool in_block = is_in_block(refusal->uid);
        uint64_t kind = cell_key(CELL_KIND, refusal->uid, refusal->kind);
        uint64_t neighbour = in_block ? cell_key(CELL_BLOCK, refusal->uid >> BLOCK_BITS, 0)
                                      : cell_key(CELL_USER, refusal->uid, 0);

        if (!has_left(&of_strangers, refusals->strangers_full_usec, now_usec) ||
            (in_block && !has_left(&of_blocks, refusals->blocks_full_usec, now_usec)) ||
            !has_left(&of_neighbour, cell_get(refusals, neighbour), now_usec) ||
            !has_left(&of_kind, cell_get(refusals, kind), now_usec))
                return false;

        take(&of_strangers, &refusals->strangers_full_usec, now_usec);
        if (in_block)
                take(&of_blocks, &refusals->blocks_full_usec, now_usec);
        cell_take(refusals, neighbour, &of_neighbour, now_usec);
        cell_take(refusals, kind, &of_kind, now_usec);
        return true;
}

static bool take_holder(Refusals *refusals, const Refusal *refusal, uint64_t now_usec)
{
        uint64_t key = cell_key(CELL_HOLDER, refusal->uid, refusal->kind);

        if (!has_left(&of_holders, refusals->holders_full_usec, now_usec) ||
            !has_left(&of_holder, cell_get(refusals, key), now_usec))
                return false;
        take(&of_holders, &refusals->holders_full_usec, now_usec);
        cell_take(refusals, key, &of_holder, now_usec);
        return true;
}

/* --- sums --- */

static bool is_same_neighbour(uint32_t a, uint32_t b)
{
        return a == b || (is_in_block(a) && a >> BLOCK_BITS == b >> BLOCK_BITS);
}

static Sum *find_sum(Refusals *refusals, const Refusal *refusal, bool is_rest)
{
        for (size_t i = 0; i < refusals->n_sums; i++) {
                const RefusalSum *told = &refusals->sums[i].told;

                if (told->is_rest == is_rest && string_equal(told->event, refusal->event) &&
                    string_equal(told->result, refusal->result) &&
                    (is_rest || is_same_neighbour(told->uid, refusal->uid)))
                        return &refusals->sums[i];
        }
        return NULL;
}

/* of_each: how many of one neighbour there may be. */
static bool has_room(const Refusals *refusals, uint32_t uid, size_t of_each)
{
        size_t n = 0;

        for (size_t i = 0; i < refusals->n_sums; i++)
                n += !refusals->sums[i].told.is_rest &&
                     is_same_neighbour(refusals->sums[i].told.uid, uid);
        return n < of_each && refusals->n_own < SUMS_MAX &&
               (!is_in_block(uid) || refusals->n_blocks < SUMS_BLOCK_MAX);
}

static Sum *add_sum(Refusals *refusals, const Refusal *refusal, bool is_rest)
{
        Sum *sum = &refusals->sums[refusals->n_sums++];

        assert_always(refusals->n_sums <= ALL_MAX);
        *sum = (Sum){ .told = { .uid = refusal->uid,
                                .uid_last = refusal->uid,
                                .n_users = 1,
                                .is_rest = is_rest,
                                .event = refusal->event,
                                .result = refusal->result } };
        if (!is_rest) {
                refusals->n_own++;
                refusals->n_blocks += is_in_block(refusal->uid);
        }
        return sum;
}

static Sum *sum_of_own(Refusals *refusals, const Refusal *refusal, size_t of_each)
{
        Sum *sum = find_sum(refusals, refusal, false);

        if (!sum && has_room(refusals, refusal->uid, of_each))
                sum = add_sum(refusals, refusal, false);
        return sum;
}

static Sum *sum_of_rest(Refusals *refusals, const Refusal *refusal, size_t max)
{
        Sum *sum = find_sum(refusals, refusal, true);

        if (!sum && refusals->n_sums - refusals->n_own < max)
                sum = add_sum(refusals, refusal, true);
        return sum;
}

/* Rather whose it was than what it was. */
static Sum *sum_of(Refusals *refusals, const Refusal *refusal)
{
        const Refusal any = { .uid = refusal->uid };
        Sum *sum = sum_of_own(refusals, refusal, SUMS_EACH_MAX);

        if (!sum)
                sum = sum_of_own(refusals, &any, SUMS_EACH_MAX + 1);
        if (!sum)
                sum = sum_of_rest(refusals, refusal, RESTS_MAX);
        return sum ? sum : sum_of_rest(refusals, &any, RESTS_MAX + 1);
}

/* Of one block no two uids have the same bit. */
static bool note_bit(uint8_t *users, uint32_t uid)
{
        uint8_t *byte = &users[uid % BLOCK_SIZE / 8], bit = (uint8_t)(1u << uid % 8);
        bool is_new = !(*byte & bit);

        *byte |= bit;
        return is_new;
}

static void note_user(Sum *sum, uint32_t uid)
{
        RefusalSum *told = &sum->told;

        if (!sum->users) {
                if (told->uid == uid && told->uid_last == uid)
                        return;
                sum->users = calloc(BLOCK_SIZE / 8, 1);
                if (sum->users)
                        note_bit(sum->users, told->uid);
        }
        if (sum->users && note_bit(sum->users, uid))
                told->n_users++;
        told->uid = MIN(told->uid, uid);
        told->uid_last = MAX(told->uid_last, uid);
}

static void add(Refusals *refusals, const Refusal *refusal, uint64_t now_usec,
                uint64_t realtime_usec)
{
        Sum *sum;

        if (refusals->n_sums == 0)
                refusals->since_usec = now_usec;
        sum = sum_of(refusals, refusal);
        note_user(sum, refusal->uid);
        if (sum->told.n++ == 0)
                sum->told.since_usec = realtime_usec;
        sum->told.until_usec = realtime_usec;
        refusals->n_summed++;
}

bool refusals_take(Refusals *refusals, const Refusal *refusal, uint64_t now_usec,
                   uint64_t realtime_usec)
{
        bool is_single = refusal->has_grant ? take_holder(refusals, refusal, now_usec)
                                            : take_stranger(refusals, refusal, now_usec);

        if (!is_single)
                add(refusals, refusal, now_usec, realtime_usec);
        return is_single;
}

uint64_t refusals_summed(const Refusals *refusals)
{
        return refusals->n_summed;
}

uint64_t refusals_due(const Refusals *refusals)
{
        if (refusals->n_sums == 0)
                return UINT64_MAX;
        return MAX(refusals->since_usec + FIRST_USEC,
                   refusals->told_usec ? refusals->told_usec + INTERVAL_USEC : 0);
}

bool refusals_next(Refusals *refusals, uint64_t now_usec, RefusalSum *ret_sum)
{
        if (refusals->n_told >= refusals->n_sums) {
                if (refusals->n_sums > 0)
                        refusals->told_usec = now_usec;
                forget_sums(refusals);
                return false;
        }
        *ret_sum = refusals->sums[refusals->n_told++].told;
        return true;
}
