/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as a whole: which files, in which order, and how they are put together. The
 * main file comes first, then its sibling conf.d in byte order; a `broker` setting of a later file
 * replaces that of an earlier one, while a source or a grant that is named twice is an error that
 * names both.
 *
 * Invariant: what is handed out is complete and checked; on an error nothing is.
 */
#include "broker/config/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strings.h"
#include "broker/config/parse.h"
#include "build-config.h"

#define FILE_MAX  (4 * 1024 * 1024)
#define FILES_MAX 256

#define DEFAULT_PATH              SYSCONFDIR "/certbroker/certbroker.conf"
#define DEFAULT_STATE_DIRECTORY   "/var/lib/certbroker"
#define DEFAULT_RUNTIME_DIRECTORY "/run/certbroker"

/* A file as read: kept until all are, so that a second name can tell where the first was. */
typedef struct ConfigFile {
        char *path;
        config_t tree;
} ConfigFile;

typedef struct Files {
        ConfigFile **items;
        size_t n;
} Files;

static void file_free(ConfigFile *file)
{
        if (!file)
                return;
        config_destroy(&file->tree);
        free(file->path);
        free(file);
}

static void files_deinit(Files *files)
{
        for (size_t i = 0; i < files->n; i++)
                file_free(files->items[i]);
        free(files->items);
}

static int file_new(const char *path, Files *files, ConfigFile **ret_file)
{
        ConfigFile **items, *file;

        items = reallocarray(files->items, files->n + 1, sizeof(*items));
        if (!items)
                return -ENOMEM;
        files->items = items;
        file = calloc(1, sizeof(*file));
        if (!file)
                return -ENOMEM;
        config_init(&file->tree);
        files->items[files->n++] = file;
        *ret_file = file;
        return string_set(&file->path, path);
}

/* --- reading --- */

/*
 * Opens what only root and the daemon can change: whoever writes the configuration decides who may use
 * every key.
 */
static int open_trusted(Parse *parse, const char *path, TrustedKind kind, int *ret_fd)
{
        Failure why = { 0 };
        int r;

        r = trusted_open(path, kind, O_RDONLY, parse->daemon, ret_fd, &why);
        if (r == 0 || r == -ENOMEM)
                return r;
        if (r < 0)
                return fail(parse->failure, CB_INVALID_ARGUMENT, "%s: cannot be read: %s", path,
                            strerror(-r));
        if (strncmp(why.text, path, strlen(path)) == 0 && why.text[strlen(path)] == ':')
                return fail(parse->failure, CB_INVALID_ARGUMENT, "%s", why.text);
        return fail(parse->failure, CB_INVALID_ARGUMENT, "%s: %s", path, why.text);
}

static int read_text(Parse *parse, int fd, char **ret_text)
{
        CLEANUP(freep) char *text = NULL;
        size_t n = 0;
        ssize_t n_read;

        text = malloc(FILE_MAX + 2);
        if (!text)
                return -ENOMEM;
        while ((n_read = read(fd, text + n, FILE_MAX + 1 - n)) > 0)
                n += (size_t)n_read;
        if (n_read < 0)
                return fail(parse->failure, CB_INVALID_ARGUMENT, "%s: cannot be read: %s",
                            parse->file, strerror(errno));
        if (n > FILE_MAX)
                return fail(parse->failure, CB_INVALID_ARGUMENT, "%s: is larger than %d bytes",
                            parse->file, FILE_MAX);
        text[n] = '\0';
        if (strlen(text) != n)
                return fail(parse->failure, CB_INVALID_ARGUMENT, "%s: has a NUL byte in it",
                            parse->file);
        *ret_text = TAKE(text);
        return 0;
}

/*
 * libconfig would open what is included by its name, whosever it is, and end the program where it cannot
 * be read. It takes the word at the start of a line only, wherever that line is.
 */
static int check_includes(Parse *parse, const char *text)
{
        int line = 1;

        for (const char *p = text; p; line++) {
                p += strspn(p, " \t");
                if (strncmp(p, "@include", strlen("@include")) == 0)
                        return fail(parse->failure, CB_INVALID_ARGUMENT,
                                    "%s:%d: @include is not taken; put the file into conf.d",
                                    parse->file, line);
                p = strchr(p, '\n');
                p = p ? p + 1 : NULL;
        }
        return 0;
}

static int parse_file(Parse *parse, ConfigFile *file, const char *text)
{
        const char *why;
        int r;

        r = check_includes(parse, text);
        if (r != 0)
                return r;
        if (config_read_string(&file->tree, text))
                return 0;
        why = string_or_empty(config_error_text(&file->tree));
        return fail(parse->failure, CB_INVALID_ARGUMENT, "%s:%d: %s%s", file->path,
                    config_error_line(&file->tree), why,
                    strstr(why, "duplicate setting")
                            ? ": each name stands once in its group, and each group once in a file; "
                              "add to the one above, or use another file in conf.d"
                            : "");
}

/* Whoever checks it may be root, who reads everything; the daemon may not. */
static int check_readable(Parse *parse, const char *path)
{
        const TrustedUser *daemon = parse->daemon;
        struct stat st;

        if (!daemon || daemon->uid == 0 || stat(path, &st) < 0 || (st.st_mode & S_IROTH) ||
            (st.st_uid == daemon->uid && (st.st_mode & S_IRUSR)) ||
            (st.st_gid == daemon->gid && (st.st_mode & S_IRGRP)))
                return 0;
        return parse_warn(parse, NULL,
                          "certbrokerd's user (uid %u) may not be able to read it: chmod 0644 %s",
                          (unsigned)daemon->uid, path);
}

static int read_file(Parse *parse, const char *path, Files *files)
{
        CLEANUP(freep) char *text = NULL;
        CLEANUP(closep) int fd = -1;
        ConfigFile *file;
        int r;

        r = file_new(path, files, &file);
        if (r < 0)
                return r;
        parse->file = file->path;
        r = open_trusted(parse, path, TRUSTED_FILE, &fd);
        if (r == 0)
                r = read_text(parse, fd, &text);
        return r == 0 ? parse_file(parse, file, text) : r;
}

/* --- the groups of one file --- */

/* Where a source or grant of this name stands in an earlier file; NULL: nowhere. */
static const config_setting_t *find_earlier(const Files *files, const ConfigFile *now,
                                            const char *group, const char *name,
                                            const char **ret_file)
{
        for (size_t i = 0; i < files->n && files->items[i] != now; i++) {
                const config_setting_t *found;

                found = config_lookup(&files->items[i]->tree, group);
                found = found && config_setting_is_group(found)
                                ? config_setting_get_member(found, name)
                                : NULL;
                if (found) {
                        *ret_file = files->items[i]->path;
                        return found;
                }
        }
        return NULL;
}

static int read_named(Parse *parse, const Files *files, const config_setting_t *group,
                      int (*read)(Parse *, const config_setting_t *))
{
        const ConfigFile *now = files->items[files->n - 1];
        const char *kind = config_setting_name(group);
        int n = config_setting_length(group);

        for (int i = 0; i < n; i++) {
                const config_setting_t *member = config_setting_get_elem(group, (unsigned)i);
                const char *name = string_or_empty(config_setting_name(member));
                const config_setting_t *earlier;
                Parse there = *parse;
                char place[256];
                int r;

                earlier = find_earlier(files, now, kind, name, &there.file);
                if (earlier) {
                        parse_place(&there, earlier, place, sizeof(place));
                        return parse_fail(parse, member, "%s '%s' is already at %s", kind, name,
                                          place);
                }
                r = read(parse, member);
                if (r != 0)
                        return r;
        }
        return 0;
}

static int read_group(Parse *parse, const Files *files, const config_setting_t *group)
{
        const char *name = string_or_empty(config_setting_name(group));
        const struct {
                const char *name;
                int (*read)(Parse *, const config_setting_t *);
                bool named; /* its members are what is read */
        } groups[] = {
                { "broker", parse_broker, false },
                { "source", parse_source, true },
                { "grant", parse_grant, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(groups); i++) {
                if (!string_equal(groups[i].name, name))
                        continue;
                if (!config_setting_is_group(group))
                        return parse_fail(parse, group, "'%s' must be a group: { … }", name);
                return groups[i].named ? read_named(parse, files, group, groups[i].read)
                                       : groups[i].read(parse, group);
        }
        return parse_fail(parse, group, "unknown group '%s'; known are: broker, source, grant",
                          name);
}

static int load_file(Parse *parse, const char *path, Files *files)
{
        const config_setting_t *root;
        int r;

        if (files->n >= FILES_MAX)
                return fail(parse->failure, CB_INVALID_ARGUMENT, "%s: there are more than %d files",
                            path, FILES_MAX);
        r = read_file(parse, path, files);
        if (r != 0)
                return r;
        root = config_root_setting(&files->items[files->n - 1]->tree);
        for (int i = 0; r == 0 && i < config_setting_length(root); i++)
                r = read_group(parse, files, config_setting_get_elem(root, (unsigned)i));
        return r;
}

/* --- conf.d --- */

static int is_fragment(const struct dirent *entry)
{
        size_t n = strlen(entry->d_name);

        return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".conf") == 0;
}

/* Not alphasort(), which obeys the locale. */
static int by_bytes(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int load_fragments(Parse *parse, const char *main_path, Files *files)
{
        const char *slash = strrchr(main_path, '/');
        CLEANUP(freep) char *directory = NULL;
        CLEANUP(closep) int fd = -1;
        struct dirent **entries = NULL;
        int n, r;

        if (asprintf(&directory, "%.*sconf.d", slash ? (int)(slash - main_path) + 1 : 0,
                     main_path) < 0)
                return -ENOMEM;
        if (access(directory, F_OK) < 0 && errno == ENOENT)
                return 0;
        r = open_trusted(parse, directory, TRUSTED_DIRECTORY, &fd);
        if (r != 0)
                return r;
        n = scandirat(fd, ".", &entries, is_fragment, by_bytes);
        if (n < 0)
                return fail(parse->failure, CB_INVALID_ARGUMENT, "%s: cannot be read: %s",
                            directory, strerror(errno));
        for (int i = 0; i < n; i++) {
                CLEANUP(freep) char *path = NULL;

                if (r == 0 && asprintf(&path, "%s/%s", directory, entries[i]->d_name) < 0)
                        r = -ENOMEM;
                if (r == 0)
                        r = load_file(parse, path, files);
                free(entries[i]);
        }
        free(entries);
        return r;
}

/* --- defaults --- */

static int set_defaults(Config *config)
{
        static const uint64_t day_usec = 86400 * USEC_PER_SEC;

        config->audit_sync_usec = 100 * USEC_PER_MSEC;
        config->audit_max_size = UINT64_C(1) << 30;
        config->rotation_grace_usec = day_usec;
        config->max_in_flight_per_client = 64;
        config->request_timeout_usec = 20 * USEC_PER_SEC;
        config->verify_signatures = VERIFY_RSA;
        config->expiry_warnings_usec = calloc(3, sizeof(uint64_t));
        if (!config->expiry_warnings_usec)
                return -ENOMEM;
        config->expiry_warnings_usec[0] = 30 * day_usec;
        config->expiry_warnings_usec[1] = 7 * day_usec;
        config->expiry_warnings_usec[2] = day_usec;
        config->n_expiry_warnings = 3;
        return string_set(&config->bus, "system");
}

/* systemd gives a list where a unit has several directories: the first is the one. */
static int directory_from_environment(Parse *parse, const char *variable, char **ret_path)
{
        const char *value = getenv(variable);
        size_t n;

        if (!value || *value == '\0')
                return 0;
        n = strcspn(value, ":");
        if (value[0] != '/' || !utf8_is_valid(value, n))
                return fail(parse->failure, CB_INVALID_ARGUMENT,
                            "$%s must be an absolute path in UTF-8", variable);
        *ret_path = strndup(value, n);
        return *ret_path ? 0 : -ENOMEM;
}

static int finish_directory(Parse *parse, const char *variable, const char *fallback, char **place)
{
        int r;

        if (*place)
                return 0;
        r = directory_from_environment(parse, variable, place);
        if (r != 0 || *place)
                return r;
        return string_set(place, fallback);
}

static int finish(Parse *parse)
{
        Config *config = parse->config;
        int r;

        r = finish_directory(parse, "STATE_DIRECTORY", DEFAULT_STATE_DIRECTORY,
                             &config->state_directory);
        if (r == 0)
                r = finish_directory(parse, "RUNTIME_DIRECTORY", DEFAULT_RUNTIME_DIRECTORY,
                                     &config->runtime_directory);
        if (r == 0 && strlen(config->runtime_directory) > CONFIG_RUNTIME_DIRECTORY_MAX)
                r = fail(parse->failure, CB_INVALID_ARGUMENT,
                         "$RUNTIME_DIRECTORY has more than %d bytes, and a socket's name must have "
                         "room beside it; set runtime-directory",
                         CONFIG_RUNTIME_DIRECTORY_MAX);
        if (r == 0 && !config->audit_log &&
            asprintf(&config->audit_log, "%s/audit.jsonl", config->state_directory) < 0) {
                config->audit_log = NULL;
                r = -ENOMEM;
        }
        if (r == 0)
                r = parse_finish_sources(parse);
        return r == 0 ? parse_finish_grants(parse) : r;
}

/* --- the whole --- */

static TrustedUser owner_of(const char *directory)
{
        struct stat st;

        if (stat(directory, &st) < 0)
                return (TrustedUser){ geteuid(), getegid() };
        return (TrustedUser){ st.st_uid, st.st_gid };
}

/* As far as that is known before the configuration is read. */
static TrustedUser default_daemon(void)
{
        const char *directory = getenv("STATE_DIRECTORY");

        return owner_of(directory && *directory == '/' ? directory : DEFAULT_STATE_DIRECTORY);
}

static int load(Parse *parse, const char *path)
{
        CLEANUP(files_deinit) Files files = { 0 };
        TrustedUser daemon;
        int r;

        r = set_defaults(parse->config);
        if (r == 0)
                r = directory_from_environment(parse, "CREDENTIALS_DIRECTORY",
                                               &parse->config->credentials_directory);
        if (r == 0)
                r = load_file(parse, path, &files);
        if (r == 0)
                r = load_fragments(parse, path, &files);
        if (r == 0)
                r = finish(parse);
        if (r != 0)
                return r;
        /* By now it is known to be root's or the daemon's own: so it may say who the daemon is. */
        daemon = owner_of(parse->config->state_directory);
        if (parse->daemon)
                parse->daemon = &daemon;
        for (size_t i = 0; i < files.n && r == 0; i++)
                r = check_readable(parse, files.items[i]->path);
        return r == 0 ? parse_check_trusted(parse) : r;
}

static int load_for(const TrustedUser *daemon, const char *path, Config **ret_config,
                    Failure *failure)
{
        static uint64_t n_loaded; /* decisions remember under which grants they were made */
        CLEANUP(config_freep) Config *config = NULL;
        CLEANUP(parse_deinit)
        Parse parse = {
                .file = path ?: DEFAULT_PATH,
                .daemon = daemon,
                .failure = failure,
        };
        int r;

        config = calloc(1, sizeof(*config));
        r = config ? grants_new(&config->grants) : -ENOMEM;
        parse.config = config;
        if (r == 0)
                r = load(&parse, parse.file);
        if (r < 0)
                return fail(failure, r, "the configuration cannot be read: %s", strerror(-r));
        if (r > 0)
                return r;
        config->grants->version = ++n_loaded;
        *ret_config = TAKE(config);
        return 0;
}

int config_load(const char *path, Config **ret_config, Failure *failure)
{
        return load_for(NULL, path, ret_config, failure);
}

int config_check(const char *path, Config **ret_config, Failure *failure)
{
        const TrustedUser daemon = default_daemon();

        return load_for(&daemon, path, ret_config, failure);
}

Config *config_free(Config *config)
{
        if (!config)
                return NULL;
        for (size_t i = 0; i < config->n_sources; i++)
                source_config_free(config->sources[i]);
        free(config->sources);
        grants_unref(config->grants);
        strv_free(config->warnings);
        free(config->expiry_warnings_usec);
        free(config->state_directory);
        free(config->runtime_directory);
        free(config->credentials_directory);
        free(config->bus);
        free(config->audit_log);
        free(config);
        return NULL;
}
