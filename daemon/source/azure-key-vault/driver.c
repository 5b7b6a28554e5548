/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The azure-key-vault driver's table. Each worker waits for its own answer; one thread drives all
 * connections, one keeps token and state. Slots that are NULL: decrypt and export, which no gateway needs
 * of a vault, and unlock: a vault has no PIN.
 */
#include "source/azure-key-vault/driver.h"

#include "source/azure-key-vault/import.h"
#include "source/azure-key-vault/keeper.h"
#include "source/azure-key-vault/keys.h"
#include "source/azure-key-vault/lookup.h"
#include "source/azure-key-vault/sign.h"

static int akv_configure(char *const *settings, const DriverHost *host, void **ret_instance,
                         unsigned *ret_n_workers, Failure *failure)
{
        Vault *vault = NULL;
        int r;

        r = vault_new(settings, host, &vault, failure);
        if (r != 0)
                return r;
        *ret_instance = vault;
        *ret_n_workers = VAULT_WORKERS;
        return 0;
}

static int akv_start(void *instance)
{
        return vault_keeper_start(instance);
}

static void akv_wipe(void *instance)
{
        Vault *vault = instance;

        tokens_wipe(&vault->tokens);
        vault_keys_wipe(vault);
}

static int akv_sign(void *instance, const DriverCall *call, WireReply *reply)
{
        return sign_run(instance, call, reply);
}

static int akv_import(void *instance, const DriverCall *call, WireReply *reply)
{
        return import_run(instance, call, reply);
}

static int akv_generate(void *instance, const DriverCall *call, WireReply *reply)
{
        return generate_run(instance, call, reply);
}

static int akv_lookup(void *instance, const DriverCall *call, WireReply *reply)
{
        return lookup_run(instance, call, reply);
}

static int akv_install(void *instance, const DriverCall *call, WireReply *reply)
{
        return generate_install(instance, call, reply);
}

static int akv_request(void *instance, const DriverCall *call, WireReply *reply)
{
        return generate_request(instance, call, reply);
}

static int akv_destroy(void *instance, const DriverCall *call, WireReply *reply)
{
        return destroy_run(instance, call, reply);
}

static int akv_refresh(void *instance, const DriverCall *call, WireReply *reply)
{
        return vault_keeper_refresh(instance, call->deadline_usec, &reply->failure);
}

const SourceDriver azure_key_vault_driver = {
        .name = "azure-key-vault",
        .configure = akv_configure,
        .start = akv_start,
        .wipe = akv_wipe,
        .sign = akv_sign,
        .import = akv_import,
        .generate = akv_generate,
        .lookup = akv_lookup,
        .install = akv_install,
        .request = akv_request,
        .destroy = akv_destroy,
        .refresh = akv_refresh,
};
