/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of `certbroker certificate`. */
#pragma once

#include "cli.h"

int verb_certificate_list(Cli *cli, const Arguments *arguments);
int verb_certificate_show(Cli *cli, const Arguments *arguments);
int verb_certificate_import(Cli *cli, const Arguments *arguments);
int verb_certificate_generate(Cli *cli, const Arguments *arguments);
int verb_certificate_register(Cli *cli, const Arguments *arguments);
int verb_certificate_request(Cli *cli, const Arguments *arguments);
int verb_certificate_install(Cli *cli, const Arguments *arguments);
int verb_certificate_refresh(Cli *cli, const Arguments *arguments);
int verb_certificate_enable(Cli *cli, const Arguments *arguments);
int verb_certificate_disable(Cli *cli, const Arguments *arguments);
int verb_certificate_rollback(Cli *cli, const Arguments *arguments);
int verb_certificate_retire(Cli *cli, const Arguments *arguments);
int verb_certificate_delete(Cli *cli, const Arguments *arguments);
int verb_certificate_export(Cli *cli, const Arguments *arguments);
int verb_certificate_chain(Cli *cli, const Arguments *arguments);
int verb_certificate_key(Cli *cli, const Arguments *arguments);
