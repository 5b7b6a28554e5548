/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certbrokerd: options, what every process of ours needs before anything else, and the exit status. The
 * rest is broker.c's. It runs in the foreground, as whoever starts it.
 */
#include <build-config.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "broker/broker.h"
#include "broker/source-check.h"
#include "broker/closer.h"
#include "broker/config/config.h"
#include "broker/helper.h"
#include "broker/print.h"
#include "broker/sources/starter.h"
#include "pki/context.h"
#include "walls/filter.h"

#define FILES_MAX 16384

static const char *const help_text =
        "Usage: certbrokerd [OPTION]...\n"
        "Gives gateways the use of certificates whose keys stay in tokens and vaults.\n"
        "\n"
        "  --config FILE   read FILE and the conf.d/*.conf beside it\n"
        "  --bus BUS       system, session or the address of a message bus\n"
        "  --wait-for-sources SECONDS\n"
        "                  tell the service manager that it is ready when sources have\n"
        "                  answered, but not later than that\n"
        "  --check-config  read the configuration, say what is wrong with it, and end\n"
        "  --json          with --check-config: print it as it was understood\n"
        "  --check-source NAME\n"
        "                  start this source of the configuration alone, say whether it serves,\n"
        "                  and end\n"
        "  --version       print the version\n"
        "  --help          print this\n"
        "\n"
        "SIGHUP reads the configuration again; SIGTERM ends it.\n"
        "Exit status: 0; 64 usage; 69 no message bus, or no name on it, or the source does not\n"
        "serve; 70 internal;\n"
        "78 configuration.\n";

typedef struct Options {
        BrokerOptions broker;
        bool check_config, json;
        const char *check_source; /* the name of one */
        bool is_done; /* --help, --version */
} Options;

enum {
        OPTION_CONFIG = 256,
        OPTION_BUS,
        OPTION_WAIT,
        OPTION_CHECK_CONFIG,
        OPTION_CHECK_SOURCE,
        OPTION_JSON,
        OPTION_VERSION,
        OPTION_HELP,
};

static const struct option long_options[] = {
        { "config", required_argument, NULL, OPTION_CONFIG },
        { "bus", required_argument, NULL, OPTION_BUS },
        { "wait-for-sources", required_argument, NULL, OPTION_WAIT },
        { "check-config", no_argument, NULL, OPTION_CHECK_CONFIG },
        { "check-source", required_argument, NULL, OPTION_CHECK_SOURCE },
        { "json", no_argument, NULL, OPTION_JSON },
        { "version", no_argument, NULL, OPTION_VERSION },
        { "help", no_argument, NULL, OPTION_HELP },
        { NULL, 0, NULL, 0 },
};

static bool parse_wait(const char *text, uint64_t *ret_usec)
{
        size_t n = strspn(text, "0123456789");

        if (n == 0 || n > 2 || text[n] != '\0') {
                fprintf(stderr, "certbrokerd: --wait-for-sources is 0 to 99 seconds, not '%s'\n",
                        text);
                return false;
        }
        *ret_usec = (uint64_t)strtoul(text, NULL, 10) * USEC_PER_SEC;
        return true;
}

static int parse_options(int argc, char **argv, Options *options)
{
        int option;

        while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
                switch (option) {
                case OPTION_CONFIG:
                        options->broker.config = optarg;
                        break;
                case OPTION_BUS:
                        options->broker.bus = optarg;
                        break;
                case OPTION_WAIT:
                        if (!parse_wait(optarg, &options->broker.wait_usec))
                                return BROKER_EXIT_USAGE;
                        break;
                case OPTION_CHECK_CONFIG:
                        options->check_config = true;
                        break;
                case OPTION_CHECK_SOURCE:
                        options->check_source = optarg;
                        break;
                case OPTION_JSON:
                        options->json = true;
                        break;
                case OPTION_VERSION:
                        puts("certbrokerd " PROJECT_VERSION);
                        options->is_done = true;
                        return BROKER_EXIT_OK;
                case OPTION_HELP:
                        fputs(help_text, stdout);
                        options->is_done = true;
                        return BROKER_EXIT_OK;
                default:
                        fputs("Try 'certbrokerd --help'.\n", stderr);
                        return BROKER_EXIT_USAGE;
                }
        }
        if (options->json && !options->check_config) {
                fputs("certbrokerd: --json goes with --check-config\n", stderr);
                return BROKER_EXIT_USAGE;
        }
        if (optind == argc)
                return BROKER_EXIT_OK;
        fprintf(stderr, "certbrokerd: '%s' is no option\nTry 'certbrokerd --help'.\n",
                argv[optind]);
        return BROKER_EXIT_USAGE;
}

/* Problems go to standard error as they are: "FILE:LINE: reason". */
static int check_config(const char *path, bool json)
{
        CLEANUP(config_freep) Config *config = NULL;
        Failure failure = { 0 };
        int r = config_check(path, &config, &failure);

        if (r != 0) {
                fprintf(stderr, "%s\n", failure.text);
                return r == -ENOMEM ? BROKER_EXIT_INTERNAL : BROKER_EXIT_CONFIG;
        }
        for (char **warning = config->warnings; warning && *warning; warning++)
                fprintf(stderr, "%s\n", *warning);
        return !json || config_print(config, stdout) == 0 ? BROKER_EXIT_OK : BROKER_EXIT_INTERNAL;
}

/* Signals for sd-event are blocked before any thread or child exists. */
static int prepare_signals(void)
{
        static const int handled[] = { SIGTERM, SIGINT, SIGHUP };
        sigset_t set;

        sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(handled); i++)
                sigaddset(&set, handled[i]);
        /* SIGXFSZ: a file at its limit is an error of that write, as a full disk is. */
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
            signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
                return -errno;
        return 0;
}

/* A descriptor for each client on the channel, and some for what calls bring along. */
static void raise_file_limit(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FILES_MAX)
                return;
        limit.rlim_cur = MIN((rlim_t)FILES_MAX, limit.rlim_max);
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer clients, then */
}

/* What only a source needs is left to the starter, from here on. */
static void confine(void)
{
        int r = filter_install(FILTER_BROKER, false);

        if (r < 0)
                log_warning("certbrokerd is not kept from system calls that it does not need: "
                            "seccomp cannot be set up: %s",
                            strerror(-r));
}

static int prepare(char **argv, Starter **ret_starter)
{
        CLEANUP(freep) char *helper = NULL;
        int r;

        umask(0077);
        raise_file_limit();
        r = helper_find(&helper);
        if (r == 0)
                r = prepare_signals();
        if (r == 0)
                r = secret_harden_process();
        if (r == 0)
                r = starter_new(helper, argv, ret_starter);
        if (r < 0)
                return r;
        closer_begin();
        r = pki_init(); /* now, or not at all: what needs it cannot fail */
        confine();
        return r;
}

static int run(Options *options, char **argv)
{
        CLEANUP(starter_freep) Starter *starter = NULL;
        CLEANUP(broker_freep) Broker *broker = NULL;
        Failure failure = { 0 };
        int r;

        r = prepare(argv, &starter);
        if (r < 0) {
                log_error("this process cannot be set up: %s", strerrordesc_np(-r));
                return BROKER_EXIT_INTERNAL;
        }
        if (options->check_source)
                return source_check(options->broker.config, options->check_source, starter, stdout);
        options->broker.starter = starter;
        r = broker_new(&options->broker, &broker, &failure);
        if (r != BROKER_EXIT_OK) {
                log_error("%s", failure.text);
                return r;
        }
        return broker_run(broker);
}

int main(int argc, char **argv)
{
        Options options = { 0 };
        int status;

        status = parse_options(argc, argv, &options);
        if (status != BROKER_EXIT_OK || options.is_done)
                return status;
        if (options.check_config)
                return check_config(options.broker.config, options.json);
        log_open("certbrokerd");
        return run(&options, argv);
}
