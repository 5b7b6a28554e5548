/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `backend check` has seen, told to a person as a table and to a program as one JSON document. It
 * judges nothing: what was verified, and how it ended, is in the check.
 */
#include <errno.h>
#include <jansson.h>
#include <openssl/ssl.h>

#include "check-inside.h"
#include "show.h"
#include "table.h"

static json_t *json_text(const char *text)
{
        json_t *json = text ? json_string(text) : NULL;

        return json ? json : json_null();
}

static int tell_json(Cli *cli, const Check *c, int outcome, const char *why)
{
        json_t *presented = json_pack("{s:o, s:o, s:o, s:b}", "subject", json_text(c->subject),
                                      "issuer", json_text(c->issuer), "thumbprint-sha256",
                                      json_text(c->thumbprint), "self-signed", c->self_signed);
        json_t *verified = json_pack("{s:o, s:o, s:o}", "chain", json_text(c->chain_result), "name",
                                     json_text(c->name_result), "pin", json_text(c->pin_result));

        return show_document(
                cli, json_pack("{s:s, s:s, s:b, s:o, s:s, s:I, s:o, s:o, s:b, s:o, s:o}", "backend",
                               c->name, "url", c->credential->url, "ok", outcome == 0, "reason",
                               json_text(outcome ? why : NULL), "certificate", c->credential->id,
                               "generation", (json_int_t)c->credential->generation, "presented",
                               c->presented ? presented : json_null(), "verified", verified,
                               "asked-for-certificate", c->asked, "asked-for-issuers",
                               c->issuers ? json_incref(c->issuers) : json_array(), "answer",
                               json_text(c->answer[0] ? c->answer : NULL)));
}

static int tell_lines(Table *sheet, const Check *c)
{
        const char *version = c->accepted && c->ssl ? SSL_get_version(c->ssl) : NULL;
        const struct {
                const char *title, *text;
                bool shown;
        } lines[] = {
                { "Backend:", c->name, true },
                { "URL:", c->credential->url, true },
                { "Our certificate:", c->credential->id, true },
                { "It presented:", c->subject, c->presented },
                { "  issued by:", c->self_signed ? "itself (self-signed)" : c->issuer,
                  c->presented },
                { "  thumbprint:", c->thumbprint, c->presented },
                { "Chain:", c->chain_result, c->presented },
                { "Pin:", c->pin_result, c->presented && c->pin_result },
                { "Name:", c->matched_name ? c->matched_name : c->name_result, c->presented },
                { "Protocol:", version, version != NULL },
                { "It asked for:",
                  c->asked ? "a certificate; ours was presented" : "no certificate", c->accepted },
                { "It answered:", c->answer, c->answer[0] != '\0' },
        };

        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                const char *cells[] = { lines[i].title, lines[i].text };

                if (lines[i].shown && table_add(sheet, cells))
                        return -ENOMEM;
        }
        return 0;
}

int check_tell(Cli *cli, const Check *c, int outcome, const char *why)
{
        CLEANUP(table_freep) Table *sheet = NULL;

        if (cli->arguments->json)
                return tell_json(cli, c, outcome, why);
        if (table_new(NULL, 2, &sheet) || tell_lines(sheet, c))
                return cli_out_of_memory(cli);
        table_print(sheet, stdout);
        return 0;
}
