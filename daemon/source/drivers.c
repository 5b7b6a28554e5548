/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drivers of this build, a row each. It must hold nothing else: what a driver does is its own.
 */
#include "source/drivers.h"

#include <stddef.h>

#ifdef HAVE_CURL
#include "source/azure-key-vault/driver.h"
#endif
#ifdef HAVE_P11KIT
#include "source/pkcs11/driver.h"
#endif

const SourceDriver *const source_drivers[] = {
#ifdef HAVE_P11KIT
        &pkcs11_driver,
#endif
#ifdef HAVE_CURL
        &azure_key_vault_driver,
#endif
        NULL,
};
