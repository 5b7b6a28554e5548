/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `certbroker doctor`: certbroker-probe is run as a gateway would be, and what OpenSSL said there is put into words. In
 * this process the same would prove little: it has found its libraries already, by paths of its own.
 */
#include "doctor.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/wait.h>

#include "build-config.h"
#include "keyfile.h"
#include "companion.h"
#include "show.h"
#include "table.h"
#include "text.h"

#define PROBE          "certbroker-probe"
#define PROBE_SECONDS  20
#define SHIPPED_CONFIG DATADIR "/certbroker/openssl.cnf"
#define NO_CONFIG      "/dev/null"
#define WAYS_MAX       2

typedef enum Verdict {
        VERDICT_OK,
        VERDICT_NOTE, /* so it may be meant */
        VERDICT_FAILS,
} Verdict;

static const char *const verdict_names[] = {
        [VERDICT_OK] = "ok",
        [VERDICT_NOTE] = "note",
        [VERDICT_FAILS] = "fails",
};

/* A way in which programs may come to the provider. */
typedef struct Way {
        const char *config; /* OPENSSL_CONF; NULL: without it */
        const char *modules;
        bool is_optional; /* not every host has to have it */
        json_t *found;
        Verdict verdict;
        char *text; /* for a person */
} Way;

static void way_deinit(Way *way)
{
        json_decref(way->found);
        free(way->text);
}

/* ------------------------------------------------------------------ asking */

/* A key file like a certificate's, with a key that is made for it and thrown away. */
static int make_key_file(Cli *cli, char **ret_text)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *leaf = X509_new();
        size_t n;
        int r = -ENOMEM;

        if (key && leaf && X509_set_pubkey(leaf, key))
                r = keyfile_encode("certbroker:certificate/doctor?generation=1", leaf, NULL,
                                   ret_text, &n);
        X509_free(leaf);
        EVP_PKEY_free(key);
        return r ? cli_out_of_memory(cli) : 0;
}

static bool add_variable(char **environment, size_t *n, const char *name, const char *value)
{
        if (!value)
                return true;
        if (asprintf(&environment[*n], "%s=%s", name, value) < 0) {
                environment[*n] = NULL;
                return false;
        }
        (*n)++;
        return true;
}

static void free_environment(char **environment)
{
        for (char **at = environment; at && *at; at++)
                free(*at);
        free(environment);
}

/* That of a service: nothing but what says where OpenSSL finds things. NULL: memory. */
static char **make_environment(const Way *way)
{
        char **environment = calloc(3, sizeof(*environment));
        size_t n = 0;

        if (environment && add_variable(environment, &n, "OPENSSL_CONF", way->config) &&
            add_variable(environment, &n, "OPENSSL_MODULES", way->modules))
                return environment;
        free_environment(environment);
        return NULL;
}

static int explain_end(Cli *cli, int status)
{
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
                return cli_fail(cli, CB_FAILED, "OpenSSL did not start within %d s in another program.",
                                PROBE_SECONDS);
        if (WIFSIGNALED(status))
                return cli_fail(cli, CB_FAILED,
                                "A program that starts OpenSSL is ended by signal %d (%s).",
                                WTERMSIG(status), strsignal(WTERMSIG(status)));
        return cli_fail(cli, CB_FAILED, PROBE " does not work: it ended with status %d.",
                        WEXITSTATUS(status));
}

static int ask(Cli *cli, Way *way, const struct passwd *as)
{
        CLEANUP(free_text) char *probe = NULL, *key_file = NULL;
        char *argv[] = { NULL, NULL }, **environment;
        Companion companion = { .argv = argv, .as = as, .n_seconds = PROBE_SECONDS };
        int status = 0, r;

        r = companion_find(cli, PROBE, &probe);
        if (r == 0)
                r = make_key_file(cli, &key_file);
        if (r)
                return r;
        argv[0] = probe;
        companion.input = key_file;
        environment = make_environment(way);
        companion.environment = environment;
        r = environment ? companion_ask(cli, &companion, &way->found, &status) : cli_out_of_memory(cli);
        free_environment(environment);
        if (r == 0 && !way->found)
                r = explain_end(cli, status);
        return r;
}

/* ------------------------------------------------------------------ judging */

static const char *found_text(const Way *way, const char *name)
{
        const char *text = json_string_value(json_object_get(way->found, name));

        return text ? text : "";
}

static bool found(const Way *way, const char *name)
{
        return json_is_true(json_object_get(way->found, name));
}

/* What to do, where the reason is one of those that an installation comes to. */
static const char *load_remedy(const char *why)
{
        if (strstr(why, "libcertbroker"))
                return " The library is not where programs look for it: run ldconfig, or install "
                       "it in one of the folders that `ldconfig -p` tells of.";
        if (strstr(why, "No such file"))
                return " Install the provider (the package certbroker-openssl), or name the module "
                       "where it is.";
        if (strstr(why, "ermission denied"))
                return " The user of the program has to be able to read it, and to enter each "
                       "folder on the way to it.";
        return "";
}

static Verdict say(Way *way, Verdict verdict, const char *format, ...) PRINTF(3, 4);
static Verdict say(Way *way, Verdict verdict, const char *format, ...)
{
        va_list list;

        va_start(list, format);
        way->text = text_format(format, list);
        va_end(list);
        return verdict;
}

static Verdict judge_active(Way *way)
{
        const char *key_file = found_text(way, "key-file");
        const char *version = found_text(way, "version");

        if (!found(way, "default"))
                return say(way, VERDICT_FAILS,
                           "The provider default is not active, which ciphers and digests are of: add "
                           "it beside certbroker, with activate = 1 in its section.");
        if (!found(way, "own-keys"))
                return say(way, VERDICT_FAILS,
                           "Programs cannot use keys of their own any more: default_properties, which "
                           "would say that all comes from one provider, must not be set.");
        if (!found(way, "key-file"))
                return say(way, VERDICT_FAILS, "Key files cannot be read: %s.", key_file);
        if (strcmp(version, PROJECT_VERSION) != 0)
                return say(way, VERDICT_FAILS,
                           "The provider is of version %s, this program of " PROJECT_VERSION
                           ": upgrade both, and restart the gateways.",
                           *version ? version : "?");
        return say(way, VERDICT_OK, "certbroker %s is active, and key files can be read.", version);
}

static Verdict judge(Way *way)
{
        const char *error = found_text(way, "config-error"), *why = found_text(way, "load-error");

        if (*error && !way->is_optional)
                return say(way, VERDICT_FAILS, "It cannot be read: %s.", error);
        if (!found(way, "named"))
                return say(way, way->is_optional ? VERDICT_NOTE : VERDICT_FAILS,
                           "It does not name the provider. %s `.include " SHIPPED_CONFIG "` as its "
                           "last line.",
                           way->is_optional ? "Programs have it only with OPENSSL_CONF=" SHIPPED_CONFIG
                                              " in their environment, or all of them with"
                                            : "It has to have");
        if (!found(way, "loads"))
                return say(way, VERDICT_FAILS, "The provider cannot be loaded: %s.%s", why,
                           load_remedy(why));
        if (!found(way, "active"))
                return say(way, VERDICT_FAILS,
                           "It names the provider, which is not active: its section has to have "
                           "activate = 1.");
        return judge_active(way);
}

/* ------------------------------------------------------------------ telling */

static int tell_json(Cli *cli, const Way *ways, size_t n, const char *user)
{
        json_t *array = json_array();

        for (size_t i = 0; array && i < n; i++)
                (void)json_array_append_new(
                        array, json_pack("{s:s, s:s, s:s, s:O}", "config", found_text(&ways[i], "config"),
                                         "verdict", verdict_names[ways[i].verdict], "text", ways[i].text,
                                         "found", ways[i].found));
        return show_document(cli, json_pack("{s:s?, s:o}", "user", user, "checks", array));
}

/* What the other process said is its user's word: nothing of it reaches the terminal as it is. */
static int print_table(Cli *cli, const Way *first, const char *user, const Table *table)
{
        CLEANUP(free_text) char *version = text_harmless(found_text(first, "openssl"));
        CLEANUP(free_text) char *library = text_harmless(found_text(first, "library"));

        if (!version || !library)
                return cli_out_of_memory(cli);
        (void)printf("OpenSSL %s (%s)%s%s\n\n", version, library, user ? ", as the user " : "", user ? user : "");
        table_print(table, stdout);
        return 0;
}

static int tell(Cli *cli, const Way *ways, size_t n, const char *user)
{
        CLEANUP(table_freep) Table *table = NULL;

        if (cli->arguments->json)
                return tell_json(cli, ways, n, user);
        if (table_new(NULL, 2, &table))
                return cli_out_of_memory(cli);
        for (size_t i = 0; i < n; i++) {
                const char *cells[] = { found_text(&ways[i], "config"), ways[i].text };

                if (table_add(table, cells))
                        return cli_out_of_memory(cli);
        }
        return print_table(cli, &ways[0], user, table);
}

static int find_user(Cli *cli, const struct passwd **ret_user)
{
        const char *name = arguments_value(cli->arguments, "--user");

        *ret_user = NULL;
        if (!name)
                return 0;
        *ret_user = getpwnam(name);
        if (!*ret_user)
                return cli_fail(cli, CB_NOT_FOUND, "There is no user %s on this machine.", name);
        if (geteuid() != 0 && (*ret_user)->pw_uid != geteuid())
                return cli_fail(cli, CB_ACCESS_DENIED, "Only root can try it as another user.");
        if (geteuid() != 0)
                *ret_user = NULL;
        return 0;
}

/* Where $OPENSSL_CONF is set it is what is asked about; else both ways that the manual tells of. */
static size_t choose_ways(Way *ways)
{
        const char *config = secure_getenv("OPENSSL_CONF");
        const char *modules = secure_getenv("OPENSSL_MODULES");

        if (config && *config) {
                ways[0] = (Way){ .config = config, .modules = modules };
                return 1;
        }
        ways[0] = (Way){ .config = SHIPPED_CONFIG };
        ways[1] = (Way){ .is_optional = true };
        return 2;
}

static int examine(Cli *cli, Way *ways, size_t n)
{
        const char *name = arguments_value(cli->arguments, "--user");
        const struct passwd *user;
        bool fails = false;
        int r = find_user(cli, &user);

        for (size_t i = 0; i < n && r == 0; i++) {
                r = ask(cli, &ways[i], user);
                if (r)
                        return r;
                ways[i].verdict = judge(&ways[i]);
                fails = fails || ways[i].verdict == VERDICT_FAILS;
                if (!ways[i].text)
                        return cli_out_of_memory(cli);
        }
        if (r == 0)
                r = tell(cli, ways, n, name);
        if (r == 0 && fails)
                r = cli_fail(cli, CB_FAILED, "Programs of this machine would fail.");
        return r;
}

static int verb_openssl(Cli *cli, const Arguments *arguments)
{
        Way ways[WAYS_MAX] = { 0 };
        int r = examine(cli, ways, choose_ways(ways));

        for (size_t i = 0; i < WAYS_MAX; i++)
                way_deinit(&ways[i]);
        return r;
}

int doctor_provider_loads(Cli *cli)
{
        const char *modules = secure_getenv("OPENSSL_MODULES");
        CLEANUP(way_deinit) Way way = { .config = NO_CONFIG, .modules = modules ? modules : MODULESDIR };
        CLEANUP(free_text) char *probe = NULL;
        const char *why;
        int r;

        if (companion_find(cli, PROBE, &probe)) {
                (void)fprintf(stderr, "certbroker: Not looked at: whether other programs can load the "
                                      "OpenSSL provider. " PROBE " is not installed.\n");
                return 0;
        }
        r = ask(cli, &way, NULL);
        if (r || found(&way, "loads"))
                return r;
        why = found_text(&way, "load-error");
        return cli_fail(cli, CB_FAILED,
                        "Other programs cannot load the OpenSSL provider certbroker from %s: %s.%s",
                        way.modules, why, load_remedy(why));
}

static const Option openssl_options[] = {
        { "--user", "USER", "the user that the program runs as; only root can ask for another", false,
          false },
        { NULL },
};

const Verb doctor_verbs[] = {
        { "openssl",
          { NULL },
          openssl_options,
          verb_openssl,
          "Can programs load the OpenSSL provider, and read key files?",
          "Starts OpenSSL in a clean process, as a gateway does, and says what it does not tell: whether "
          "the\n"
          "provider is found, can be loaded with what it needs, is active beside the default one, and "
          "reads\n"
          "key files. With OPENSSL_CONF in the environment that file is tried; else the one that comes "
          "with\n"
          "certbroker, and the system's. Exit status 1 where something would fail.",
          "certbroker doctor openssl --user www-data" },
        { NULL },
};
