/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The azure-key-vault driver's table. Each worker waits for its own answer; one thread drives all
 * connections, one keeps token and state. Slots that are NULL: decrypt and export, which no gateway needs
 * of a vault, and unlock: a vault has no PIN.
 */
#include "source/azure-key-vault/driver.h"

#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "source/azure-key-vault/import.h"
#include "source/azure-key-vault/keeper.h"
#include "source/azure-key-vault/keys.h"
#include "source/azure-key-vault/lookup.h"
#include "source/azure-key-vault/sign.h"

/*
 * With a limit every later mapping would be counted whole against it, the stacks of the workers alone being
 * more than any: then threads and memory would fail, now and again.
 */
static bool may_lock_all(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
        struct rlimit limit;

        if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY)
                return true;
        return syscall(SYS_capget, &header, data) == 0 &&
               (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK));
}

/*
 * An access token, a client secret or a key on its way to the vault is copied by libcurl and what is below
 * it into their own memory. So none of this process's is swapped out, where that may be; only what is used
 * of it is locked, not what is merely mapped.
 */
static void lock_memory(void)
{
        if (may_lock_all() && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0)
                return;
        log_info("not all memory can be locked (LimitMEMLOCK=infinity would let it): while a "
                 "request is sent, its secrets are also in memory that may be swapped out, "
                 "unless MemorySwapMax=0");
}

static int akv_configure(char *const *settings, const DriverHost *host, void **ret_instance,
                         DriverWorkers *ret_workers, Failure *failure)
{
        Vault *vault = NULL;
        int r;

        lock_memory();
        r = vault_new(settings, host, &vault, failure);
        if (r != 0)
                return r;
        *ret_instance = vault;
        *ret_workers = (DriverWorkers){ VAULT_SIGNERS, VAULT_MANAGERS };
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
