/* SPDX-License-Identifier: Apache-2.0 */
/* The driver for Azure Key Vault. */
#pragma once

#include "source/driver.h"

extern const SourceDriver azure_key_vault_driver;
