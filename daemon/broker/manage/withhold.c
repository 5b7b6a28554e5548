/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has ended once and came back with an older store: it ends again. Here alone the catalog is changed before the store,
 * for nobody has been told anything yet, and a store that cannot be written must not make a key sign.
 */
#include <errno.h>

#include "base/log.h"
#include "base/strings.h"
#include "broker/manage/room.h"

static void on_stored(void *userdata, const Failure *failure)
{
        (void)userdata;
        if (failure->status != 0)
                log_error("what an older store brought back is withheld until the next start only: "
                          "%s",
                          failure->text);
}

/* All of them are one change. */
static int add(Manage *manage, const Certificate *certificate)
{
        int r = manage->withholding ? 0 : store_change_new(manage->store, &manage->withholding);

        return r == 0 ? store_change_put_certificate(manage->withholding, certificate) : r;
}

int manage_withhold_all(Manage *manage)
{
        int r;

        if (!manage->withholding)
                return 0;
        r = store_commit(manage->withholding, on_stored, NULL);
        if (r == 0)
                (void)TAKE(manage->withholding);
        return r;
}

int manage_withhold(Manage *manage, const char *id, bool disables, const uint64_t *retired,
                    size_t n_retired, const char *reason)
{
        const Certificate *present = catalog_find_certificate(manage->catalog, id);
        CLEANUP(certificate_freep) Certificate *next = NULL;
        int r;

        r = present ? certificate_copy(present, &next) : -ENOENT;
        if (r == 0)
                r = string_set(&next->withheld, reason);
        if (r < 0)
                return r;
        next->enabled = next->enabled && !disables;
        for (size_t i = 0; i < n_retired; i++) {
                Generation *generation = certificate_find_generation(next, retired[i]);

                if (generation)
                        generation->retired = true;
        }
        r = add(manage, next);
        return r < 0 ? r : change_apply_certificate(manage, TAKE(next));
}
