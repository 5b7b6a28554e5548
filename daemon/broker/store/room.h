/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share. Private to it. */
#pragma once

#include "broker/store/database.h"
#include "broker/store/store.h"

struct Store {
        Lane *lane;
        Database *database;
        int lock_fd;
        const char *companion_key;
        store_companion companion; /* NULL: none */
        void *companion_userdata;
        char problem[512]; /* the loop's; "": the last transaction was stored */
};

/* The kinds of a backend's lists, as the schema has them. */
#define STORE_SERVER_NAME       "server-name"
#define STORE_SERVER_THUMBPRINT "server-thumbprint"
