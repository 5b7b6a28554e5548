/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completion, from the same tables as the commands and from the running daemon. What an argument or an option
 * takes is known by the word that the help has for it (ID, NAME, FILE …), so a new verb completes by itself.
 * It never fails and never says anything but candidates.
 */
#include "complete.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "gateway-setup.h"
#include "text.h"

#define WAIT_USEC UINT64_C(1000000)

typedef struct Completion {
        const Noun *nouns;
        size_t n_nouns;
        const char *bus, *begun; /* begun: the last word, or what follows its `=` */
        const char *first;       /* the first positional, for what depends on it */
        const Noun *noun;
        const Verb *verb;
        size_t n_positionals;
        bool is_lost;        /* a word before is none of ours */
        const Option *wants; /* an option whose value comes next */
} Completion;

static void offer(const Completion *c, const char *prefix, const char *word)
{
        char candidate[300];

        if (!*word)
                return;
        (void)snprintf(candidate, sizeof(candidate), "%s%s", prefix, word);
        if (strncmp(candidate, c->begun, strlen(c->begun)) == 0)
                (void)puts(candidate);
}

/* ------------------------------------------------------------------ from the daemon */

static cb_client *connect_daemon(const Completion *c)
{
        cb_client *client = NULL;

        if (cb_client_new(c->bus, &client))
                return NULL;
        cb_client_set_timeouts(client, WAIT_USEC, WAIT_USEC);
        return client;
}

typedef struct Names {
        const Completion *completion;
        const char *prefix;
} Names;

static int offer_name(void *userdata, const char *name)
{
        const Names *names = userdata;

        if (text_is_plain(name, TEXT_OF_IDS)) /* it goes into a shell's line */
                offer(names->completion, names->prefix, name);
        return 0;
}

/* One question, however many there are: none of them is asked about itself. */
static void offer_names(const Completion *c, const char *kind, const char *prefix)
{
        Names names = { c, prefix };
        Cli cli = { .client = connect_daemon(c) };

        if (cli.client)
                (void)ask_names(&cli, kind, offer_name, &names);
        cb_client_free(cli.client);
}

static void offer_generations(const Completion *c)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        cb_client *client = connect_daemon(c);
        const cb_value *list;
        char *path = NULL;

        if (client && c->first && cb_object_path("certificate", c->first, &path) == 0 &&
            cb_call(client,
                    &(cb_method){ .path = path,
                                  .interface = "org.freedesktop.DBus.Properties",
                                  .member = "Get" },
                    &reply, NULL, "ss", "org.certbroker1.Certificate", "Generations") == 0) {
                list = cb_value_at(reply, 0);
                for (size_t i = 0; i < cb_value_length(list); i++) {
                        char number[32];

                        (void)snprintf(number, sizeof(number), "%" PRIu64,
                                       cb_value_number(cb_value_at(cb_value_at(list, i), 0), 0));
                        offer(c, "", number);
                }
        }
        free(path);
        cb_client_free(client);
}

/* ------------------------------------------------------------------ by the help's words */

static void offer_certificates(const Completion *c)
{
        offer_names(c, "certificate", "");
}

static void offer_backends(const Completion *c)
{
        offer_names(c, "backend", "");
}

static void offer_sources(const Completion *c)
{
        offer_names(c, "source", "");
}

static void offer_objects(const Completion *c)
{
        offer_names(c, "certificate", "certificate/");
        offer_names(c, "backend", "backend/");
}

static const char *const key_types[] = { "rsa-2048", "rsa-3072", "rsa-4096", "ec-p256",
                                         "ec-p384",  "ec-p521",  "ed25519",  NULL };
static const char *const algorithms[] = { "rsa-pkcs1-sha256",
                                          "rsa-pkcs1-sha384",
                                          "rsa-pkcs1-sha512",
                                          "rsa-pss-sha256",
                                          "rsa-pss-sha384",
                                          "rsa-pss-sha512",
                                          "ecdsa-sha256",
                                          "ecdsa-sha384",
                                          "ecdsa-sha512",
                                          "ed25519",
                                          NULL };
static const char *const operations[] = {
        "read", "tls", "use", "decrypt", "export", "manage", "audit", NULL
};
static const char *const kinds[] = { "softhsm", "pkcs11", "azure-key-vault", NULL };
static const char *const ways[] = { "managed-identity", "workload-identity", "client-secret",
                                    "client-certificate", NULL };
static const char *const gateways[] = { "nginx", "haproxy", NULL };
static const char *const buses[] = { "system", "session", NULL };
static const char *const formats[] = { "pkcs12", "pem", NULL };

/* noun: where the same word means something else with each of them. The first that fits counts. */
static const struct {
        const char *noun, *word;
        const char *const *words;
        void (*offer)(const Completion *c);
} rows[] = {
        { NULL, "ID", NULL, offer_certificates },
        { NULL, "SELECTOR", NULL, offer_certificates },
        { "backend", "NAME", NULL, offer_backends },
        { "source", "NAME", NULL, offer_sources },
        { NULL, "SOURCE", NULL, offer_sources },
        { NULL, "GENERATION", NULL, offer_generations },
        { NULL, "OBJECT", NULL, offer_objects },
        { NULL, "OPERATION", operations, NULL },
        { NULL, "TYPE", key_types, NULL },
        { NULL, "ALGORITHM", algorithms, NULL },
        { "setup", "GATEWAY", gateway_setup_names, NULL },
        { NULL, "GATEWAY", gateways, NULL },
        { NULL, "BACKEND", NULL, offer_backends },
        { NULL, "KIND", kinds, NULL },
        { NULL, "WAY", ways, NULL },
        { NULL, "FORMAT", formats, NULL },
        { NULL, "BUS", buses, NULL },
};

static void offer_value(const Completion *c, const char *word)
{
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                /* An option's NAME is a DNS name. */
                if (strcmp(rows[i].word, word) != 0 || (rows[i].noun && c->wants) ||
                    (rows[i].noun && (!c->noun || strcmp(c->noun->name, rows[i].noun) != 0)))
                        continue;
                for (const char *const *w = rows[i].words; w && *w; w++)
                        offer(c, "", *w);
                if (rows[i].offer)
                        rows[i].offer(c);
                return;
        }
}

/* ------------------------------------------------------------------ where in the line we are */

static const Option global_options[] = { { "--bus", "BUS" }, { "--json" }, { "--help" }, { NULL } };

static const Option *find_option(const Completion *c, const char *word, size_t n)
{
        const Option *tables[] = { global_options, c->verb ? c->verb->options : NULL };

        if (n == 2 && strncmp(word, "-o", n) == 0)
                word = "--output", n = strlen(word);
        for (size_t i = 0; i < ELEMENTSOF(tables); i++)
                for (const Option *o = tables[i]; o && o->name; o++)
                        if (strlen(o->name) == n && strncmp(o->name, word, n) == 0)
                                return o;
        return NULL;
}

static void take_word(Completion *c, const char *word)
{
        if (c->wants) {
                if (strcmp(c->wants->name, "--bus") == 0)
                        c->bus = word;
                c->wants = NULL;
        } else if (*word == '-') {
                size_t n = strcspn(word, "=");
                const Option *option = find_option(c, word, n);

                if (option && option->value && !word[n])
                        c->wants = option;
                else if (option && strcmp(option->name, "--bus") == 0)
                        c->bus = word + n + 1;
        } else if (!c->noun) {
                for (size_t i = 0; i < c->n_nouns; i++)
                        if (strcmp(c->nouns[i].name, word) == 0)
                                c->noun = &c->nouns[i];
                c->is_lost = !c->noun;
                if (c->noun && !*c->noun->verbs[0].name)
                        c->verb = &c->noun->verbs[0];
        } else if (!c->verb) {
                for (const Verb *verb = c->noun->verbs; verb->run; verb++)
                        if (strcmp(verb->name, word) == 0)
                                c->verb = verb;
                c->is_lost = !c->verb;
        } else {
                if (c->n_positionals == 0)
                        c->first = word;
                c->n_positionals++;
        }
}

static void offer_options(const Completion *c)
{
        const Option *tables[] = { global_options, c->verb ? c->verb->options : NULL };

        for (size_t i = 0; i < ELEMENTSOF(tables); i++)
                for (const Option *o = tables[i]; o && o->name; o++)
                        offer(c, "", o->name);
}

static void offer_next(const Completion *c)
{
        if (!c->noun) {
                for (size_t i = 0; i < c->n_nouns; i++)
                        offer(c, "", c->nouns[i].name);
        } else if (!c->verb) {
                for (const Verb *verb = c->noun->verbs; verb->run; verb++)
                        offer(c, "", verb->name);
        } else if (c->n_positionals < POSITIONALS_MAX && c->verb->positionals[c->n_positionals]) {
                offer_value(c, c->verb->positionals[c->n_positionals]);
        }
}

void complete_print(const Noun *nouns, size_t n_nouns, int n_words, char **words)
{
        Completion c = { .nouns = nouns, .n_nouns = n_nouns, .begun = "" };
        const Option *option;
        const char *equals;

        for (int i = 0; i + 1 < n_words && !c.is_lost; i++)
                take_word(&c, words[i]);
        if (c.is_lost)
                return;
        if (n_words > 0)
                c.begun = words[n_words - 1];

        equals = *c.begun == '-' && !c.wants ? strchr(c.begun, '=') : NULL;
        option = equals ? find_option(&c, c.begun, (size_t)(equals - c.begun)) : NULL;
        if (c.wants) {
                offer_value(&c, c.wants->value);
        } else if (equals) {
                c.begun = equals + 1;
                if (option && option->value)
                        offer_value(&c, option->value);
        } else if (*c.begun == '-') {
                offer_options(&c);
        } else {
                offer_next(&c);
        }
}
