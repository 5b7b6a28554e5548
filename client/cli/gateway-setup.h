/* SPDX-License-Identifier: Apache-2.0 */
/* `certbroker setup gateway`: a gateway's unit knows the provider. */
#pragma once

#include "cli.h"

extern const Option gateway_setup_options[];
int verb_setup_gateway(Cli *cli, const Arguments *arguments);

/* The names that it takes; ends with NULL. */
extern const char *const gateway_setup_names[];

/* The row of the table of verbs. */
#define GATEWAY_SETUP_VERB                                                                           \
        {                                                                                            \
                "gateway", { "GATEWAY" }, gateway_setup_options, verb_setup_gateway,                 \
                        "Let a gateway's OpenSSL know the provider",                                 \
                        "Writes a drop-in for the gateway's unit: OPENSSL_CONF in its environment, " \
                        "and certbrokerd\n"                                                          \
                        "started before it. Tries the gateway's own configuration with it, restarts " \
                        "the gateway (a\n"                                                           \
                        "reload is not enough), and makes a TLS handshake as the gateway's worker, " \
                        "with the key of a\n"                                                        \
                        "backend or certificate. Where a step fails, all that was done is undone. Run " \
                        "it as root.",                                                               \
                        "certbroker setup gateway nginx --backend orders\n"                          \
                        "certbroker setup gateway haproxy --remove"                                  \
        }
