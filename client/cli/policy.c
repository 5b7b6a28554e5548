/* SPDX-License-Identifier: Apache-2.0 */
/* `certbroker policy`. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "grants.h"
#include "show.h"
#include "text.h"

#define GROUPS_MAX 1024

/* A user's name, or a number for one that only another machine knows. */
static int find_user(Cli *cli, const char *name, uint32_t *ret_uid, uint32_t *gids, size_t *n_gids)
{
        gid_t groups[GROUPS_MAX];
        int n = GROUPS_MAX;
        struct passwd *user = getpwnam(name);
        unsigned long uid;
        char *end;

        *n_gids = 0;
        if (user) {
                *ret_uid = user->pw_uid;
                if (getgrouplist(name, user->pw_gid, groups, &n) < 0)
                        return cli_fail(cli, CB_FAILED, "%s is in more than %d groups.", name,
                                        GROUPS_MAX);
                for (int i = 0; i < n; i++)
                        gids[(*n_gids)++] = groups[i];
                return 0;
        }
        errno = 0;
        uid = strtoul(name, &end, 10);
        if (errno || *end || *name < '0' || *name > '9' || uid >= UINT32_MAX)
                return cli_fail(cli, CB_NOT_FOUND, "There is no user %s on this machine.", name);
        *ret_uid = (uint32_t)uid;
        return 0;
}

/* certificate/ID, backend/NAME, source/NAME, or an object's path; the broker itself has but that. */
static int find_object(Cli *cli, const char *text, char **ret_path)
{
        const char *slash = strchr(text, '/');
        char kind[32];
        int r;

        if (slash == text) {
                *ret_path = strdup(text);
                return *ret_path ? 0 : cli_out_of_memory(cli);
        }
        if (!slash || (size_t)(slash - text) >= sizeof(kind))
                return cli_usage(
                        cli, "The object is certificate/ID, backend/NAME, source/NAME or a path, not %s.", text);
        memcpy(kind, text, (size_t)(slash - text));
        kind[slash - text] = '\0';
        r = cb_object_path(kind, slash + 1, ret_path);
        if (r)
                return cli_usage(cli, "%s names no object.", text);
        return 0;
}

static int subject_dict(Cli *cli, cb_dict **ret_dict)
{
        CLEANUP(cb_dict_freep) cb_dict *dict = NULL;
        const char *unit = arguments_value(cli->arguments, "--unit");
        uint32_t gids[GROUPS_MAX], uid = 0;
        size_t n_gids = 0;
        int r;

        r = find_user(cli, arguments_value(cli->arguments, "--user"), &uid, gids, &n_gids);
        if (r)
                return r;
        if (cb_dict_new(&dict) || cb_dict_set_uint32(dict, "uid", uid) ||
            cb_dict_set_uint32s(dict, "gids", gids, n_gids) ||
            (unit && cb_dict_set_string(dict, "unit", unit)))
                return cli_out_of_memory(cli);
        *ret_dict = TAKE(dict);
        return 0;
}

static int verb_check(Cli *cli, const Arguments *arguments)
{
        CLEANUP(cb_dict_freep) cb_dict *subject = NULL;
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        CLEANUP(free_text) char *path = NULL;
        CLEANUP(free_text) char *reason = NULL;
        bool allowed;
        int r;

        r = find_object(cli, arguments->positionals[1], &path);
        if (r == 0)
                r = subject_dict(cli, &subject);
        if (r)
                return r;
        r = cb_call(cli->client, &(cb_method){ .member = "CheckAccess", .repeatable = true },
                    &reply, &cli->error, "a{sv}so", subject, arguments->positionals[0], path);
        if (r)
                return r;

        allowed = cb_value_boolean(cb_value_at(reply, 0), false);
        reason = text_harmless(cb_value_string(cb_value_at(reply, 1), ""));
        if (!reason)
                return cli_out_of_memory(cli);
        if (arguments->json)
                r = show_document(cli,
                                  json_pack("{s:b, s:s}", "allowed", allowed, "reason", reason));
        else
                (void)printf("%s: %s\n", allowed ? "allowed" : "denied", reason);
        if (r)
                return r;
        if (allowed)
                return 0;
        cli->error.text[0] = '\0'; /* all has been said; a first try to connect may have left a word */
        return CB_ACCESS_DENIED;
}

static const Option check_options[] = {
        { "--user", "USER", "the user who would ask, by name or number", true },
        { "--unit", "UNIT", "the systemd unit that he would ask from" },
        { NULL },
};

const Verb policy_verbs[] = {
        { "list",
          { NULL },
          policy_list_options,
          verb_policy_list,
          "List the grants",
          "Shows the grants that the configuration on this machine holds now, as certbrokerd "
          "reads them,\n"
          "with their defaults. Where certbrokerd has others in force (it was not reloaded since "
          "they were\n"
          "changed), or cannot be asked, a line on standard error says so. What a grant does not "
          "name it\n"
          "does not allow.",
          "certbroker policy list" },
        { "check",
          { "OPERATION", "OBJECT" },
          check_options,
          verb_check,
          "Would this user be allowed to do that?",
          "OPERATION is read, tls, use, decrypt, export, manage or audit; OBJECT is certificate/ID,\n"
          "backend/NAME, source/NAME or an object's path: /org/certbroker1 is the broker itself, of\n"
          "which audit is. Tells the grant that allows it, or what is missing; exit status 4 when\n"
          "denied.",
          "certbroker policy check --user www-data use certificate/orders" },
        { NULL },
};
