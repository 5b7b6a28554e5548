/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which tokens there are, as certbrokerd's unit sees them. A module is a vendor's code: it is loaded by certbroker-token, as
 * the unit's user and inside of its walls, and never by this process, which is root's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "companion.h"
#include "setup.h"
#include "tokens.h"

static char *decoded(const char *text)
{
        char *copy = strdup(text);

        if (copy)
                tokens_decode(copy);
        return copy;
}

static void token_deinit(FoundToken *token)
{
        free(token->module);
        free(token->label);
        free(token->serial);
        free(token->encoded_label);
        free(token->encoded_serial);
        free(token->state);
}

void found_tokens_deinit(FoundTokens *found)
{
        for (size_t i = 0; i < found->n; i++)
                token_deinit(&found->tokens[i]);
        free(found->tokens);
        *found = (FoundTokens){ 0 };
}

static int add_token(FoundTokens *found, const char *module, char *fields)
{
        FoundToken *tokens = reallocarray(found->tokens, found->n + 1, sizeof(*tokens)), *token;
        char *rest = fields;
        const char *label = strsep(&rest, "\t"), *serial = strsep(&rest, "\t");
        const char *state = strsep(&rest, "\t");

        if (!tokens)
                return -ENOMEM;
        found->tokens = tokens;
        token = &found->tokens[found->n];
        *token = (FoundToken){ .module = strdup(module),
                               .label = decoded(label ? label : ""),
                               .serial = decoded(serial ? serial : ""),
                               .encoded_label = strdup(label ? label : ""),
                               .encoded_serial = strdup(serial ? serial : ""),
                               .state = strdup(state ? state : "") };
        found->n++;
        return token->module && token->label && token->serial && token->encoded_label &&
                               token->encoded_serial && token->state
                       ? 0
                       : -ENOMEM;
}

static void add_failure(FoundTokens *found, const char *module, const char *why)
{
        size_t n = strlen(found->failures);

        (void)snprintf(found->failures + n, sizeof(found->failures) - n, "%s%s: %s", n ? "; " : "",
                       *module ? module : "p11-kit", why);
}

static int read_lines(FoundTokens *found, char *text)
{
        char *rest = text, *line;
        CLEANUP(free_text) char *module = strdup("");
        int r = module ? 0 : -ENOMEM;

        while (r == 0 && (line = strsep(&rest, "\n"))) {
                char *fields = strchr(line, '\t');

                if (!fields)
                        continue;
                *fields++ = '\0';
                if (strcmp(line, "module") == 0) {
                        free(module);
                        module = decoded(fields);
                        r = module ? 0 : -ENOMEM;
                } else if (strcmp(line, "token") == 0) {
                        r = add_token(found, module, fields);
                } else if (strcmp(line, "failed") == 0) {
                        add_failure(found, module, fields);
                }
        }
        return r;
}

static int command(const SetupSource *setup, const char *module, char **ret_command)
{
        CLEANUP(free_text) char *helper = NULL;
        int r;

        *ret_command = NULL;
        r = companion_find(setup->cli, "certbroker-token", &helper);
        if (r)
                return r;
        if (unit_quote(ret_command, helper) || unit_quote(ret_command, "list") ||
            (module && unit_quote(ret_command, module)))
                return cli_out_of_memory(setup->cli);
        return 0;
}

int setup_find_tokens(SetupSource *setup, const char *module, FoundTokens *ret_found)
{
        CLEANUP(free_text) char *line = NULL;
        /* What is replaced may be what does not work. */
        CLEANUP(free_text) char *without = setup_drop_in_path(setup);
        UnitResult result = { 0 };
        int r;

        *ret_found = (FoundTokens){ 0 };
        r = without ? command(setup, module, &line) : cli_out_of_memory(setup->cli);
        if (r == 0)
                r = unit_try(setup->cli,
                             &(UnitTrial){ .unit = &setup->unit,
                                           .folder = setup->folder,
                                           .without = without,
                                           .command = line },
                             &result);
        if (r == 0 && result.status != 0)
                r = cli_fail(setup->cli, CB_FAILED,
                             "Tokens cannot be looked for in the unit of certbrokerd (status %d): %s",
                             result.status, *result.errors ? result.errors : result.why);
        if (r == 0 && read_lines(ret_found, result.output))
                r = cli_out_of_memory(setup->cli);
        unit_result_deinit(&result);
        return r;
}
