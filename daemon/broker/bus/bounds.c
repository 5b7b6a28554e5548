/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of limits. Their invariant: what is between two standings is kept for the higher one, so there is always
 * some of everything left for who has a grant by name, and some more for root and who runs the broker.
 */
#include "broker/bus/bounds.h"

/* The heavier, the sooner; time that the others do not want is for whoever does. */
const TurnClass turn_classes[_TURNS_N] = {
        [STANDING_STRANGER] = { .weight = 1,
                                .percent = STRANGERS_PERCENT,
                                .burst_usec = STRANGERS_BURST_USEC },
        [STANDING_GROUP] = { .weight = 4 },
        [STANDING_NAMED] = { .weight = 8 },
        [STANDING_OWNER] = { .weight = 8 },
        [TURNS_ARRIVALS] = { .weight = 2 },
        [TURNS_BUS] = { .weight = 8 },
};

static const QuotaLimits fixed = {
        .each = {
                [STANDING_STRANGER] = { [RESOURCE_BYTES] = BYTES_OF_A_STRANGER,
                                        [RESOURCE_WAITING] = WAITING_OF_STRANGERS,
                                        [RESOURCE_DESCRIPTORS] = WITH_FDS_OF_STRANGERS,
                                        [RESOURCE_GIVEN] = GIVEN_TO_STRANGERS,
                                        [RESOURCE_BUS_BYTES] = BUS_BYTES_OF_A_STRANGER },
                [STANDING_GROUP] = { [RESOURCE_BYTES] = BYTES_OF_A_CLIENT,
                                     [RESOURCE_WAITING] = WAITING_OF_A_CLIENT,
                                     [RESOURCE_DESCRIPTORS] = WITH_FDS_OF_A_CLIENT,
                                     [RESOURCE_GIVEN] = GIVEN_TO_A_CLIENT,
                                     [RESOURCE_BUS_BYTES] = BUS_BYTES_OF_A_CLIENT },
                [STANDING_NAMED] = { [RESOURCE_BYTES] = BYTES_OF_A_CLIENT,
                                     [RESOURCE_WAITING] = WAITING_OF_A_CLIENT,
                                     [RESOURCE_DESCRIPTORS] = WITH_FDS_OF_A_CLIENT,
                                     [RESOURCE_GIVEN] = GIVEN_TO_A_CLIENT,
                                     [RESOURCE_BUS_BYTES] = BUS_BYTES_OF_A_CLIENT },
                [STANDING_OWNER] = { [RESOURCE_BYTES] = BYTES_OF_AN_OWNER,
                                     [RESOURCE_WAITING] = WAITING_OF_AN_OWNER,
                                     [RESOURCE_DESCRIPTORS] = WITH_FDS_OF_ALL,
                                     [RESOURCE_GIVEN] = GIVEN_TO_ALL,
                                     [RESOURCE_BUS_BYTES] = BUS_BYTES_OF_AN_OWNER },
        },
        .together = {
                [STANDING_STRANGER] = { [RESOURCE_CALLS] = CALLS_OF_STRANGERS,
                                        [RESOURCE_BYTES] = BYTES_OF_STRANGERS,
                                        [RESOURCE_WAITING] = WAITING_OF_STRANGERS,
                                        [RESOURCE_DESCRIPTORS] = WITH_FDS_OF_STRANGERS,
                                        [RESOURCE_GIVEN] = GIVEN_TO_STRANGERS,
                                        [RESOURCE_BUS_BYTES] = BUS_BYTES_OF_STRANGERS },
                [STANDING_GROUP] = { [RESOURCE_CALLS] = NO_LIMIT,
                                     [RESOURCE_BYTES] = BYTES_OF_GROUPS,
                                     [RESOURCE_WAITING] = NO_LIMIT,
                                     [RESOURCE_DESCRIPTORS] = WITH_FDS_OF_GROUPS,
                                     [RESOURCE_GIVEN] = GIVEN_TO_GROUPS,
                                     [RESOURCE_BUS_BYTES] = BUS_BYTES_OF_GROUPS },
                [STANDING_NAMED] = { [RESOURCE_CALLS] = NO_LIMIT,
                                     [RESOURCE_BYTES] = BYTES_OF_CLIENTS,
                                     [RESOURCE_WAITING] = NO_LIMIT,
                                     [RESOURCE_DESCRIPTORS] = WITH_FDS_OF_CLIENTS,
                                     [RESOURCE_GIVEN] = GIVEN_TO_CLIENTS,
                                     [RESOURCE_BUS_BYTES] = BUS_BYTES_OF_CLIENTS },
                [STANDING_OWNER] = { [RESOURCE_CALLS] = NO_LIMIT,
                                     [RESOURCE_BYTES] = BYTES_OF_ALL,
                                     [RESOURCE_WAITING] = NO_LIMIT,
                                     [RESOURCE_DESCRIPTORS] = WITH_FDS_OF_ALL,
                                     [RESOURCE_GIVEN] = GIVEN_TO_ALL,
                                     [RESOURCE_BUS_BYTES] = BUS_BYTES_OF_ALL },
        },
        .share = {
                [STANDING_GROUP] = { [RESOURCE_BUS_BYTES] = BUS_SHARE_OF_GROUPS },
                [STANDING_NAMED] = { [RESOURCE_BUS_BYTES] = BUS_SHARE_OF_CLIENTS },
        },
};

/* Every place with all the descriptors that it can pin: then none of them is ever missing elsewhere. */
static uint64_t places(uint64_t n_files)
{
        uint64_t reserved = MIN((uint64_t)RESERVED_FDS, n_files / 4);

        return MAX(MIN((n_files - reserved) / FDS_OF_A_PLACE, (uint64_t)PLACES_MAX),
                   (uint64_t)PLACES_OF_OWNERS);
}

static void set_places(uint64_t n, QuotaLimits *limits)
{
        const uint64_t shared = n - MIN(n / 4, (uint64_t)PLACES_OF_OWNERS);
        const uint64_t strangers = MIN(shared / 3, 2 * (uint64_t)PLACES_OF_A_CLIENT);
        const uint64_t one = MIN(shared / 2, (uint64_t)PLACES_OF_A_CLIENT);
        const uint64_t each[_STANDING_N] = { strangers / 2, shared / 4, one, n };
        const uint64_t together[_STANDING_N] = { strangers, shared / 2, shared, n };

        for (size_t i = 0; i < _STANDING_N; i++) {
                limits->each[i][RESOURCE_PLACES] = MIN(each[i], i == STANDING_OWNER ? n : one);
                limits->together[i][RESOURCE_PLACES] = together[i];
        }
}

void limits_make(unsigned n_in_flight_max, uint64_t n_files, QuotaLimits *ret_limits)
{
        *ret_limits = fixed;
        for (size_t i = 0; i < _STANDING_N; i++)
                ret_limits->each[i][RESOURCE_CALLS] = n_in_flight_max;
        set_places(places(n_files), ret_limits);
}
