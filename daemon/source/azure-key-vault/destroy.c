/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking away. A vault deletes a certificate with all of its versions, softly: it can be recovered there
 * for a time, in which nobody can use its name. So only who deletes the certificate (the request names it)
 * deletes; one version, which this broker has just made and could not publish, is disabled, with a tag by
 * which its name is known to be free for the next try.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/strings.h"
#include "source/azure-key-vault/import.h"
#include "source/azure-key-vault/keys.h"
#include "source/azure-key-vault/patience.h"

#define PAGES_MAX 100

/* Of a page, the next one's address must be the same vault's. */
static int check_next(const Vault *vault, const char *next, Failure *failure)
{
        const char *origin = vault->settings.vault.origin;
        size_t n = strlen(origin);

        if (strncasecmp(next, origin, n) != 0 || next[n] != '/' || strpbrk(next, " \t\r\n#"))
                return fail(failure, CB_FAILED,
                            "the vault's list of versions goes on at another host; it is not "
                            "followed");
        return 0;
}

/* "…/versions?api-version=7.4&$skiptoken=x" → path and query without the version that is added anew. */
static int split_next(const char *next, char **ret_uri, char **ret_query)
{
        const char *mark = strchr(next, '?'), *p;
        CLEANUP(freep) char *uri = NULL, *query = NULL;

        uri = strndup(next, mark ? (size_t)(mark - next) : strlen(next));
        query = strdup("");
        for (p = mark ? mark + 1 : ""; uri && query && *p;) {
                size_t n = strcspn(p, "&");
                char *joined = NULL;

                if (strncasecmp(p, "api-version=", 12) != 0) {
                        if (asprintf(&joined, "%s%s%.*s", query, *query ? "&" : "", (int)n, p) < 0)
                                return -ENOMEM;
                        free(query);
                        query = joined;
                }
                p += n + (p[n] == '&');
        }
        if (!uri || !query)
                return -ENOMEM;
        free(*ret_uri);
        free(*ret_query);
        *ret_uri = TAKE(uri);
        *ret_query = TAKE(query);
        return 0;
}

static int read_page(Vault *vault, const char *uri, const char *query, uint64_t deadline_usec,
                     char ***ids, char **ret_next, Failure *failure)
{
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        VaultCall call = {
                .method = "GET", .uri = uri, .query = query, .deadline_usec = deadline_usec
        };
        int r;

        r = vault_call(vault, &call, &answer, failure);
        return r == 0 ? versions_answer_parse(answer.body.data, answer.body.n, ids, ret_next,
                                              failure)
                      : r;
}

int destroy_find_enabled(Vault *vault, const char *name, uint64_t deadline_usec, bool *ret_has,
                         Failure *failure)
{
        CLEANUP(strv_freep) char **ids = NULL;
        CLEANUP(freep) char *uri = NULL, *query = NULL;
        int r;

        if (asprintf(&uri, "%s/certificates/%s/versions", vault->settings.vault.origin, name) < 0)
                return -ENOMEM;
        for (unsigned i = 0; i < PAGES_MAX; i++) {
                CLEANUP(freep) char *next = NULL;

                r = read_page(vault, uri, query, deadline_usec, &ids, &next, failure);
                if (r == 0 && next)
                        r = check_next(vault, next, failure);
                if (r == 0 && next)
                        r = split_next(next, &uri, &query);
                if (r != 0)
                        return r;
                if (!next)
                        break;
        }
        *ret_has = strv_length(ids) > 0;
        return 0;
}

static int delete_all(Vault *vault, const Identifier *key, uint64_t deadline_usec, Failure *failure)
{
        CLEANUP(freep)
        char *uri = identifier_uri(&vault->settings.vault, OBJECT_CERTIFICATE, key->name, "");
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        VaultCall call = { .method = "DELETE",
                           .uri = uri,
                           .permission = PERMISSION_CERTIFICATES_DELETE,
                           .deadline_usec = deadline_usec };
        int r;

        r = uri ? vault_call(vault, &call, &answer, failure) : -ENOMEM;
        /* With another of its generations: gone, or on its way out. */
        return r == CB_NOT_FOUND || r == CB_ALREADY_EXISTS ? 0 : r;
}

static int disable_once(Vault *vault, const char *uri, uint64_t deadline_usec, Failure *failure)
{
        static const char body[] = "{\"attributes\":{\"enabled\":false},"
                                   "\"tags\":{\"" TAG_NAME "\":\"" TAG_TAKEN_BACK "\"}}";
        CLEANUP(http_answer_deinit) HttpAnswer answer = { 0 };
        VaultCall call = { .method = "PATCH",
                           .uri = uri,
                           .body = body,
                           .n_body = sizeof(body) - 1,
                           .permission = PERMISSION_CERTIFICATES_UPDATE,
                           .deadline_usec = deadline_usec };

        return vault_call(vault, &call, &answer, failure);
}

int destroy_take_back(Vault *vault, const Identifier *version, uint64_t deadline_usec,
                      char **ret_told, Failure *failure)
{
        CLEANUP(freep)
        char *uri = identifier_uri(&vault->settings.vault, OBJECT_CERTIFICATE, version->name,
                                   version->version);
        Patience patience = patience_begin(true, deadline_usec);
        int r;

        if (!uri)
                return -ENOMEM;
        do {
                *failure = (Failure){ 0 };
                r = disable_once(vault, uri, deadline_usec, failure);
        } while (patience_wait(&patience, r));
        if (r != 0 || !ret_told)
                return r;
        if (asprintf(ret_told,
                     "version %s of certificate %s, which was made for it, is disabled in the vault; "
                     "nothing was deleted, so the name can be used again",
                     version->version, version->name) < 0) {
                *ret_told = NULL;
                return -ENOMEM;
        }
        return 0;
}

int destroy_run(Vault *vault, const DriverCall *call, WireReply *reply)
{
        const WireRequest *request = call->request;
        Failure *failure = &reply->failure;
        Identifier key = { 0 };
        int r;

        if (!request->key_uri)
                return fail(failure, CB_INVALID_ARGUMENT, "no key is named");
        r = identifier_parse(&vault->settings.vault, request->key_uri, &key, failure);
        if (r != 0)
                return r;
        if (key.pending)
                return generate_drop(vault, request->key_uri, call->deadline_usec, failure);
        vault_keys_forget(vault, request->key_uri);
        return request->name ? delete_all(vault, &key, call->deadline_usec, failure)
                             : destroy_take_back(vault, &key, call->deadline_usec, &reply->warning,
                                                 failure);
}
