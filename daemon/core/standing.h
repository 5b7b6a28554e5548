/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much somebody may count on the broker, by his grants: from the least to the most. Who is none of the others may
 * be one of 65,536 users that one login has to itself, and so may who has a grant only by a group: these share what
 * they get. Whom a grant names by his user are as many as the configuration says.
 */
#pragma once

typedef enum Standing {
        STANDING_STRANGER, /* no grant is for him */
        STANDING_GROUP,    /* one is, for a group of his */
        STANDING_NAMED,    /* one is, for his user */
        STANDING_OWNER,    /* root, and who runs the broker */
        _STANDING_N
} Standing;

const char *standing_name(Standing standing);
