/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One grant of the `grant` group: a row a setting. Users and groups are resolved here, once: a name
 * that the system does not know is an error, because a grant that silently allows nobody, or later
 * somebody else, is worse than none. What can never match, or says two things at once, is a
 * warning.
 */
#include <errno.h>
#include <grp.h>
#include <libconfig.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/strings.h"
#include "broker/config/parse.h"

#define GRANTS_MAX     4096
#define RATE_MAX       UINT64_C(1000000000)
#define BURST_MAX      UINT64_C(1000000000)
#define DATABASE_MAX   (1024 * 1024)
#define MEMBERSHIP_MAX 65536

typedef struct GrantRow {
        const char *name;
        int (*read)(Parse *parse, const config_setting_t *setting, Grant *grant);
} GrantRow;

/* --- who --- */

/* 0, -ENOENT, -ERANGE: the buffer is too small; -ENOMEM: who has no memory to look has not seen that there is none. */
typedef int (*FindId)(const char *name, char *buffer, size_t n, uint32_t *ret_id);

static int outcome_of(int r)
{
        return r == ERANGE || r == ENOMEM ? -r : -ENOENT;
}

static int find_user(const char *name, char *buffer, size_t n, uint32_t *ret_id)
{
        struct passwd entry, *found = NULL;
        int r = getpwnam_r(name, &entry, buffer, n, &found);

        if (!found)
                return outcome_of(r);
        *ret_id = found->pw_uid;
        return 0;
}

static int find_group(const char *name, char *buffer, size_t n, uint32_t *ret_id)
{
        struct group entry, *found = NULL;
        int r = getgrnam_r(name, &entry, buffer, n, &found);

        if (!found)
                return outcome_of(r);
        *ret_id = found->gr_gid;
        return 0;
}

/* A group of thousands needs more room than sysconf() proposes: doubled until it fits. */
static int find_id(FindId find, const char *name, uint32_t *ret_id)
{
        int r = -ERANGE;

        for (size_t n = 4096; n <= DATABASE_MAX && r == -ERANGE; n *= 2) {
                CLEANUP(freep) char *buffer = malloc(n);

                if (!buffer)
                        return -ENOMEM;
                r = find(name, buffer, n, ret_id);
        }
        return r;
}

/* A number in quotes: UINT32_MAX is nobody's. */
static bool id_from_digits(const char *text, uint32_t *ret_id)
{
        uint64_t number = 0;

        for (const char *p = text; *p; p++) {
                if (*p < '0' || *p > '9' || number > UINT32_MAX)
                        return false;
                number = number * 10 + (uint64_t)(*p - '0');
        }
        if (*text == '\0' || number >= UINT32_MAX)
                return false;
        *ret_id = (uint32_t)number;
        return true;
}

static int read_id(Parse *parse, const config_setting_t *setting, FindId find, uint32_t *ret_id)
{
        const char *text, *kind = config_setting_name(setting);
        uint64_t number;
        int r;

        if (config_setting_is_number(setting)) {
                r = parse_number(parse, setting, 0, UINT32_MAX - 1, &number);
                if (r == 0)
                        *ret_id = (uint32_t)number;
                return r;
        }
        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        r = find_id(find, text, ret_id);
        if (r == 0 || r == -ENOMEM)
                return r;
        if (!id_from_digits(text, ret_id))
                return parse_fail(parse, setting,
                                  "this system has no %s '%s'; create it, or give a number", kind,
                                  text);
        return 0;
}

static int read_user(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        grant->has_user = true;
        return read_id(parse, setting, find_user, &grant->uid);
}

static int read_group(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        grant->has_group = true;
        return read_id(parse, setting, find_group, &grant->gid);
}

static int read_unit(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        const char *text;
        int r;

        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        if (!strchr(text, '.') || strchr(text, '/'))
                r = parse_warn(parse, setting,
                               "unit '%s' can never match: give a unit's full name, like "
                               "\"nginx.service\"",
                               text);
        return r == 0 ? string_set(&grant->unit, text) : r;
}

/* Does this kernel tell a local socket's server the label of its client? AppArmor's of Linux 6.1 does not. */
static bool labels_are_told(void)
{
        int pair[2];
        char label[1];
        socklen_t n = sizeof(label);
        bool told;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return true; /* that is not known */
        told = getsockopt(pair[0], SOL_SOCKET, SO_PEERSEC, label, &n) == 0 || errno != ENOPROTOOPT;
        (void)close(pair[0]);
        (void)close(pair[1]);
        return told;
}

static int read_label(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        const char *text;
        int r;

        r = parse_text(parse, setting, &text);
        if (r == 0 && !labels_are_told())
                r = parse_warn(parse, setting,
                               "label '%s' can never match: this kernel does not tell the SELinux "
                               "or AppArmor label of who is at the other end of a local socket",
                               text);
        return r == 0 ? string_set(&grant->label, text) : r;
}

/* --- what --- */

static int read_allow(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        CLEANUP(strv_freep) char **words = NULL;
        int r;

        r = parse_texts(parse, setting, &words);
        if (r != 0)
                return r;
        if (strv_length(words) == 0)
                return parse_fail(parse, setting, "'allow' must not be empty");
        for (char **word = words; *word; word++) {
                unsigned bits = operation_from_name(*word);

                if (bits == 0)
                        return parse_fail(
                                parse, setting,
                                "unknown operation '%s' in 'allow'; known are: read, tls, "
                                "use, decrypt, export, manage, audit",
                                *word);
                grant->operations |= bits;
        }
        return 0;
}

/* Ids are of A-Za-z0-9._- only: what else is in a glob matches none of them. */
static const char *glob_stranger(const char *glob)
{
        const char *p = glob + strspn(glob, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                            "0123456789._-*?");

        return *p ? p : NULL;
}

static int read_globs(Parse *parse, const config_setting_t *setting, char ***globs)
{
        int r;

        r = parse_texts(parse, setting, globs);
        for (char **glob = *globs; r == 0 && glob && *glob; glob++) {
                if (glob_stranger(*glob))
                        r = parse_warn(parse, setting,
                                       "'%s' can never match: names have only letters, digits and "
                                       "._- in them, patterns also * and ?",
                                       *glob);
        }
        return r;
}

static int read_certificate(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        return read_globs(parse, setting, &grant->certificates);
}

static int read_backend(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        return read_globs(parse, setting, &grant->backends);
}

static int read_source(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        return read_globs(parse, setting, &grant->sources);
}

static int unknown_algorithm(Parse *parse, const config_setting_t *setting, const char *name)
{
        CLEANUP(strv_freep) char **known = NULL;
        CLEANUP(freep) char *list = NULL;
        int r = 0;

        for (Algorithm a = ALGORITHM_NONE + 1; r == 0 && a < _ALGORITHM_N; a++)
                r = strv_append(&known, algorithm_name(a));
        list = strv_join(known, ", ");
        return parse_fail(parse, setting, "unknown algorithm '%s'; known are: %s", name,
                          string_or_empty(list));
}

static int read_algorithm(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        CLEANUP(strv_freep) char **names = NULL;
        int r;

        r = parse_texts(parse, setting, &names);
        if (r != 0)
                return r;
        /* An empty list would read as "not narrowed": the contrary of what it says. */
        if (strv_length(names) == 0)
                return parse_fail(parse, setting, "'algorithm' must not be empty; leave it out");
        for (char **name = names; *name; name++) {
                Algorithm algorithm = algorithm_from_name(*name);

                if (algorithm == ALGORITHM_NONE)
                        return unknown_algorithm(parse, setting, *name);
                grant->algorithms |= ALGORITHM_BIT(algorithm);
        }
        return 0;
}

/* "500/s"; "600/m" where that is a whole number a second. */
static int read_rate(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        const char *text, *p;
        uint64_t number = 0, divisor;
        int r;

        r = parse_text(parse, setting, &text);
        if (r != 0)
                return r;
        for (p = text; *p >= '0' && *p <= '9'; p++)
                number = MIN(number * 10 + (uint64_t)(*p - '0'), RATE_MAX * 60 + 1);
        divisor = strcmp(p, "/s") == 0 ? 1 : strcmp(p, "/m") == 0 ? 60 : 0;
        if (p == text || divisor == 0)
                return parse_fail(parse, setting, "'rate' must be like \"500/s\", not '%s'", text);
        if (number == 0 || number % divisor != 0 || number / divisor > RATE_MAX)
                return parse_fail(
                        parse, setting,
                        "'rate' must be a whole number a second, from 1/s to %d/s, not %s",
                        (int)RATE_MAX, text);
        grant->rate_per_sec = number / divisor;
        return 0;
}

static int read_burst(Parse *parse, const config_setting_t *setting, Grant *grant)
{
        return parse_number(parse, setting, 1, BURST_MAX, &grant->burst);
}

static const GrantRow rows[] = {
        { "user", read_user },       { "group", read_group },
        { "unit", read_unit },       { "label", read_label },
        { "allow", read_allow },     { "certificate", read_certificate },
        { "backend", read_backend }, { "source", read_source },
        { "algorithm", read_algorithm }, { "rate", read_rate },
        { "burst", read_burst },
};

/* --- what makes no sense --- */

#define SIGNING    (OPERATION_TLS | OPERATION_SIGN)
#define OF_OBJECTS (~(unsigned)OPERATION_AUDIT)

static bool algorithms_fit_tls13(uint32_t algorithms)
{
        for (Algorithm a = ALGORITHM_NONE + 1; a < _ALGORITHM_N; a++) {
                const AlgorithmRow *row = algorithm_row(a);

                if ((algorithms & ALGORITHM_BIT(a)) && !row->legacy && !row->decrypts &&
                    row->padding != PADDING_PKCS1)
                        return true;
        }
        return false;
}

/* Is the user in the group, as the system's database has it? Unknown users: yes. */
static bool user_may_be_in_group(uint32_t uid, uint32_t gid)
{
        CLEANUP(freep) gid_t *gids = NULL;
        CLEANUP(freep) char *buffer = malloc(DATABASE_MAX);
        struct passwd entry, *found = NULL;
        int n = MEMBERSHIP_MAX;

        gids = calloc((size_t)n, sizeof(*gids));
        if (!buffer || !gids || getpwuid_r((uid_t)uid, &entry, buffer, DATABASE_MAX, &found) != 0 ||
            !found)
                return true;
        if (getgrouplist(found->pw_name, found->pw_gid, gids, &n) < 0)
                return true;
        for (int i = 0; i < n; i++) {
                if (gids[i] == gid)
                        return true;
        }
        return false;
}

static int warn_about(Parse *parse, const config_setting_t *group, const Grant *grant)
{
        const bool on_certificates = strv_length(grant->certificates) > 0;
        const bool on_backends = strv_length(grant->backends) > 0;
        const bool on_sources = strv_length(grant->sources) > 0;
        const bool on_any = on_certificates || on_backends || on_sources;
        const struct {
                bool wrong;
                const char *why;
        } checks[] = {
                { !on_any && grant->operations != OPERATION_AUDIT,
                  grant->operations & OPERATION_AUDIT
                          ? "allows nothing but 'audit': it names no 'certificate', 'backend' or "
                            "'source'"
                          : "allows nothing: it names no 'certificate', 'backend' or 'source'" },
                { on_any && !(grant->operations & OF_OBJECTS),
                  "names objects, which 'audit' has none of: what it allows is of the broker "
                  "itself" },
                { !on_certificates && on_any &&
                          (grant->operations & (OPERATION_DECRYPT | OPERATION_EXPORT)),
                  "'decrypt' and 'export' are for certificates, and it names none" },
                { !on_certificates && !on_backends && on_sources && (grant->operations & SIGNING),
                  "'tls' and 'use' are for certificates and backends, and it names none" },
                { on_certificates && !on_sources && (grant->operations & OPERATION_MANAGE),
                  "can import, generate and register nothing: that takes 'manage' on a source as "
                  "well, and it names none; add source = [ \"*\" ], or names, unless another "
                  "grant does" },
                { grant->algorithms != 0 && !(grant->operations & (SIGNING | OPERATION_DECRYPT)),
                  "'algorithm' narrows nothing: it allows neither signature nor decryption" },
                { grant->algorithms != 0 && (grant->operations & SIGNING) == OPERATION_TLS &&
                          !algorithms_fit_tls13(grant->algorithms),
                  "can never sign: 'tls' is TLS 1.3, which has none of its algorithms" },
                { grant->rate_per_sec == 0 && grant->burst != 0,
                  "'burst' has no meaning without 'rate'" },
                { grant->has_user && grant->has_group &&
                          !user_may_be_in_group(grant->uid, grant->gid),
                  "can never match: its user is not in its group, and both must match" },
        };
        int r = 0;

        for (size_t i = 0; r == 0 && i < ELEMENTSOF(checks); i++) {
                if (checks[i].wrong)
                        r = parse_warn(parse, group, "grant '%s' %s", grant->name, checks[i].why);
        }
        return r;
}

/* --- the whole --- */

static const GrantRow *find_row(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                if (string_equal(rows[i].name, name))
                        return &rows[i];
        }
        return NULL;
}

static int unknown(Parse *parse, const config_setting_t *setting)
{
        CLEANUP(strv_freep) char **known = NULL;
        int r = 0;

        for (size_t i = 0; r == 0 && i < ELEMENTSOF(rows); i++)
                r = strv_append(&known, rows[i].name);
        return r == 0 ? parse_unknown(parse, setting, "a grant", known) : r;
}

static int read_settings(Parse *parse, const config_setting_t *group, Grant *grant)
{
        int n = config_setting_length(group);

        for (int i = 0; i < n; i++) {
                const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
                const GrantRow *row = find_row(config_setting_name(setting));
                int r;

                r = row ? row->read(parse, setting, grant) : unknown(parse, setting);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int check_whole(Parse *parse, const config_setting_t *group, Grant *grant)
{
        if (!grant->has_user && !grant->has_group)
                return parse_fail(parse, group,
                                  "grant '%s' must name 'user' or 'group': 'unit' and 'label' only "
                                  "narrow",
                                  grant->name);
        if (grant->operations == 0)
                return parse_fail(parse, group, "grant '%s' needs 'allow'", grant->name);
        return warn_about(parse, group, grant);
}

int parse_grant(Parse *parse, const config_setting_t *group)
{
        CLEANUP(grant_freep) Grant *grant = NULL;
        const char *name = string_or_empty(config_setting_name(group));
        int r;

        if (!config_setting_is_group(group))
                return parse_fail(parse, group, "grant '%s' must be a group: { … }", name);
        if (!source_name_is_valid(name))
                return parse_fail(parse, group,
                                  "'%s' is no name for a grant: a letter, then at most 62 of "
                                  "A-Z a-z 0-9 _ -",
                                  name);
        if (parse->config->grants->n >= GRANTS_MAX)
                return parse_fail(parse, group, "there are more than %d grants", GRANTS_MAX);

        grant = calloc(1, sizeof(*grant));
        if (!grant)
                return -ENOMEM;
        r = string_set(&grant->name, name);
        if (r == 0)
                r = read_settings(parse, group, grant);
        if (r == 0)
                r = check_whole(parse, group, grant);
        if (r != 0)
                return r;
        if (grant->rate_per_sec > 0 && grant->burst == 0)
                grant->burst = grant->rate_per_sec;
        r = grants_append(parse->config->grants, grant);
        if (r == 0)
                grant = NULL;
        return r;
}

static bool matches_a_source(const Config *config, const char *glob)
{
        for (size_t i = 0; i < config->n_sources; i++) {
                if (glob_match(glob, config->sources[i]->name))
                        return true;
        }
        return false;
}

/* "*" is meant for those that are still to come, too. */
static int warn_about_sources(Parse *parse, const Grant *grant)
{
        int r = 0;

        for (char **glob = grant->sources; r == 0 && glob && *glob; glob++) {
                if (!string_equal(*glob, "*") && !matches_a_source(parse->config, *glob))
                        r = parse_warn(parse, NULL,
                                       "grant '%s' names the source '%s', and none that is "
                                       "configured is called so",
                                       grant->name, *glob);
        }
        return r;
}

static const Grant *find_administrator(const Grants *grants)
{
        for (size_t i = 0; i < grants->n; i++) {
                const Grant *grant = grants->items[i];

                if ((grant->operations & OPERATION_MANAGE) &&
                    strv_contains(grant->certificates, "*"))
                        return grant;
        }
        return NULL;
}

/* Before there was 'audit', 'manage' on everything included it: such a configuration is warned about. */
static int warn_about_audit(Parse *parse, const Grants *grants)
{
        const Grant *administrator = find_administrator(grants);

        for (size_t i = 0; i < grants->n; i++) {
                if (grants->items[i]->operations & OPERATION_AUDIT)
                        return 0;
        }
        if (!administrator)
                return 0;
        return parse_warn(parse, NULL,
                          "grant '%s' allows 'manage' on all certificates, which does not include "
                          "'audit', and no grant allows that: nobody may read the audit log or the "
                          "metrics; add \"audit\" to the 'allow' of who is to",
                          administrator->name);
}

int parse_finish_grants(Parse *parse)
{
        const Grants *grants = parse->config->grants;
        int r = warn_about_audit(parse, grants);

        for (size_t i = 0; r == 0 && i < grants->n; i++)
                r = warn_about_sources(parse, grants->items[i]);
        return r;
}
