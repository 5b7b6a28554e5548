/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one client may have at a time: an account for each client that has something just now, in a sorted array. The
 * invariants: an account is there exactly while a charge points to it, and the sums of a standing are those of
 * its accounts. It outlives every Charge.
 */
#include "core/quota.h"

#include <certbroker/status.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bucket.h"

/* Of those who may be many; whom a grant names are as many as the configuration says. */
#define N_ACCOUNTS_MAX 4096

struct Account {
        Client client;
        size_t n_charges;
        uint64_t used[_RESOURCE_N];
};

struct Quota {
        QuotaLimits limits;
        Account **accounts; /* each stays where it is: charges point to it */
        size_t n_accounts;
        uint64_t used[_STANDING_N][_RESOURCE_N];
        Reached reached[_STANDING_N][_RESOURCE_N];
        Buckets buckets;
};

const char *standing_name(Standing standing)
{
        static const char *const names[_STANDING_N] = {
                [STANDING_STRANGER] = "stranger",
                [STANDING_GROUP] = "group",
                [STANDING_NAMED] = "named",
                [STANDING_OWNER] = "owner",
        };

        return names[standing];
}

const char *resource_name(Resource resource)
{
        static const char *const names[_RESOURCE_N] = {
                [RESOURCE_CALLS] = "calls in flight",
                [RESOURCE_PLACES] = "connections",
                [RESOURCE_BYTES] = "bytes held",
                [RESOURCE_WAITING] = "calls waiting",
                [RESOURCE_DESCRIPTORS] = "calls with descriptors",
                [RESOURCE_GIVEN] = "unread descriptors",
                [RESOURCE_BUS_BYTES] = "bytes on the bus",
                [RESOURCE_MAKING] = "new objects in a time",
                [RESOURCE_STOCK] = "objects of a grant",
                [RESOURCE_SIGNALS] = "undelivered signals",
        };

        return names[resource];
}

int quota_new(const QuotaLimits *limits, Quota **ret_quota)
{
        Quota *quota = calloc(1, sizeof(*quota));

        if (!quota)
                return -ENOMEM;
        quota->limits = *limits;
        *ret_quota = quota;
        return 0;
}

Quota *quota_free(Quota *quota)
{
        if (!quota)
                return NULL;
        for (size_t i = 0; i < quota->n_accounts; i++)
                free(quota->accounts[i]);
        free(quota->accounts);
        buckets_deinit(&quota->buckets);
        free(quota);
        return NULL;
}

void quota_set_limits(Quota *quota, const QuotaLimits *limits)
{
        quota->limits = *limits;
}

/* --- accounts --- */

static int client_order(Client a, Client b)
{
        if (a.standing != b.standing)
                return a.standing < b.standing ? -1 : 1;
        return a.uid < b.uid ? -1 : a.uid > b.uid;
}

/* The first account that is not smaller. */
static size_t account_index(const Quota *quota, Client client)
{
        size_t low = 0, high = quota->n_accounts;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (client_order(quota->accounts[middle]->client, client) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static Account *find_account(const Quota *quota, Client client)
{
        size_t index = account_index(quota, client);

        return index < quota->n_accounts &&
                               client_order(quota->accounts[index]->client, client) == 0
                       ? quota->accounts[index]
                       : NULL;
}

static int add_account(Quota *quota, Client client, Account **ret_account)
{
        size_t index = account_index(quota, client);
        Account **accounts, *account;

        if (quota->n_accounts >= N_ACCOUNTS_MAX && client.standing < STANDING_NAMED)
                return CB_LIMIT_EXCEEDED;
        accounts = reallocarray(quota->accounts, quota->n_accounts + 1, sizeof(*accounts));
        if (!accounts)
                return -ENOMEM;
        quota->accounts = accounts;
        account = calloc(1, sizeof(*account));
        if (!account)
                return -ENOMEM;
        account->client = client;
        memmove(accounts + index + 1, accounts + index,
                (quota->n_accounts - index) * sizeof(*accounts));
        accounts[index] = account;
        quota->n_accounts++;
        *ret_account = account;
        return 0;
}

static void account_leave(Quota *quota, Account *account)
{
        size_t index;

        if (--account->n_charges > 0)
                return;
        index = account_index(quota, account->client);
        quota->n_accounts--;
        memmove(quota->accounts + index, quota->accounts + index + 1,
                (quota->n_accounts - index) * sizeof(*quota->accounts));
        free(account);
}

/* --- charges --- */

static bool is_above(uint64_t used, uint64_t more, uint64_t limit)
{
        return used > limit || more > limit - used;
}

/*
 * However many take as much as they get, each later one gets a part of what those before have left, so something is
 * always left: of one part, n of them leave 1/(n + 1).
 */
static bool is_unfair(uint64_t used, uint64_t left, uint64_t share)
{
        return share != 0 && used / share > left;
}

/* Does it fit into what one may have, and into what is left to those of its standing, and of each above? */
static bool fits(const Quota *quota, Client client, const Account *account, Resource resource,
                 uint64_t more)
{
        uint64_t used = 0, own = account ? account->used[resource] : 0;

        if (is_above(own, more, quota->limits.each[client.standing][resource]))
                return false;
        for (size_t standing = 0; standing < _STANDING_N; standing++) {
                used += quota->used[standing][resource];
                if (standing < client.standing)
                        continue;
                if (is_above(used, more, quota->limits.together[standing][resource]))
                        return false;
                if (standing == client.standing &&
                    is_unfair(own + more, quota->limits.together[standing][resource] - used - more,
                              quota->limits.share[standing][resource]))
                        return false;
        }
        return true;
}

static void book(Charge *charge, uint64_t amount)
{
        uint64_t *used = &charge->account->used[charge->resource];
        uint64_t *sum = &charge->quota->used[charge->account->client.standing][charge->resource];

        *used = *used - charge->amount + amount;
        *sum = *sum - charge->amount + amount;
        charge->amount = amount;
}

int quota_charge_forced(Quota *quota, Client client, Resource resource, uint64_t amount,
                        Charge *ret_charge)
{
        Account *account = find_account(quota, client);
        Charge charge = { .quota = quota, .resource = resource };
        int r;

        if (!account) {
                r = add_account(quota, client, &account);
                if (r != 0)
                        return r;
        }
        charge.account = account;
        account->n_charges++;
        book(&charge, amount);
        *ret_charge = charge;
        return 0;
}

int quota_charge(Quota *quota, Client client, Resource resource, uint64_t amount,
                 Charge *ret_charge)
{
        if (!quota_has_room(quota, client, resource, amount))
                return CB_LIMIT_EXCEEDED;
        return quota_charge_forced(quota, client, resource, amount, ret_charge);
}

int charge_resize(Charge *charge, uint64_t amount)
{
        if (amount > charge->amount &&
            !fits(charge->quota, charge->account->client, charge->account, charge->resource,
                  amount - charge->amount))
                return CB_LIMIT_EXCEEDED;
        book(charge, amount);
        return 0;
}

void charge_force(Charge *charge, uint64_t amount)
{
        book(charge, amount);
}

int charge_move(Charge *charge, Standing standing)
{
        Client client = { standing, charge->account->client.uid };
        Account *account = find_account(charge->quota, client), *before = charge->account;
        uint64_t amount = charge->amount;
        int r;

        if (before->client.standing == standing)
                return 0;
        if (!account) {
                r = add_account(charge->quota, client, &account);
                if (r != 0)
                        return -ENOMEM;
        }
        book(charge, 0);
        charge->account = account;
        account->n_charges++;
        book(charge, amount);
        account_leave(charge->quota, before);
        return 0;
}

void charge_deinit(Charge *charge)
{
        if (!charge->quota)
                return;
        book(charge, 0);
        account_leave(charge->quota, charge->account);
        *charge = (Charge){ 0 };
}

bool quota_has_room(const Quota *quota, Client client, Resource resource, uint64_t amount)
{
        return fits(quota, client, find_account(quota, client), resource, amount);
}

uint64_t quota_used(const Quota *quota, Client client, Resource resource)
{
        const Account *account = find_account(quota, client);

        return account ? account->used[resource] : 0;
}

uint64_t quota_used_by(const Quota *quota, Standing standing, Resource resource)
{
        return quota->used[standing][resource];
}

/* --- what was reached --- */

void quota_note(Quota *quota, Client client, Resource resource, uint64_t now_sec)
{
        Reached *reached = &quota->reached[client.standing][resource];

        if (reached->n++ == 0)
                reached->first_sec = now_sec;
        reached->last_sec = now_sec;
        reached->uid = client.uid;
}

const Reached *quota_reached(const Quota *quota, Standing standing, Resource resource)
{
        return &quota->reached[standing][resource];
}

/* --- rates --- */

int quota_take_token(Quota *quota, const char *grant, uint32_t uid, uint64_t rate_per_sec,
                     uint64_t burst, uint64_t now_usec, uint64_t *ret_wait_usec)
{
        return quota_take_tokens(quota, grant, uid, 1, rate_per_sec, burst, now_usec,
                                 ret_wait_usec);
}

int quota_take_tokens(Quota *quota, const char *grant, uint32_t uid, uint64_t n,
                      uint64_t rate_per_sec, uint64_t burst, uint64_t now_usec,
                      uint64_t *ret_wait_usec)
{
        return buckets_take(&quota->buckets, grant, uid, n, rate_per_sec, burst, now_usec,
                            ret_wait_usec);
}
