/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certbroker-probe: what OpenSSL does in a program that knows nothing of certbroker. It starts as any program does, with
 * the openssl.cnf that its environment names, then asks what it got, and says so as one JSON document on standard
 * output. A program is not told when its openssl.cnf could not be followed; so what fails is done once more, where
 * OpenSSL gives its reasons. On standard input it reads a key file, or nothing.
 *
 * It is run by certbroker(1), as the user who is asked about, and judges nothing itself.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/conf.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/x509.h>

#include "macro.h"

#define PROVIDER  "certbroker"
#define CONF_NAME "/openssl.cnf"
#define WHY_MAX   600

/* The first of OpenSSL's reasons, which is nearest to the cause; what it was given with it says more than its own words. */
static void read_reason(char *ret_why, size_t n_max)
{
        const char *data = NULL, *text;
        int flags = 0;
        unsigned long code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags);

        text = data && *data && (flags & ERR_TXT_STRING) ? data : ERR_reason_error_string(code);
        (void)snprintf(ret_why, n_max, "%s", text ? text : "OpenSSL gives no reason");
        ERR_clear_error();
}

static json_t *text_or_null(const char *text)
{
        json_t *json = text && *text ? json_string(text) : NULL;

        return json ? json : json_null();
}

/* The file that OpenSSL reads; the usual one by the name that it has in the end. NULL: memory. The caller frees it. */
static char *config_path(void)
{
        const char *named = getenv("OPENSSL_CONF");
        CLEANUP(free_text) char *usual = NULL;
        char *path;

        if (named && *named)
                return strdup(named);
        if (asprintf(&usual, "%s" CONF_NAME, X509_get_default_cert_area()) < 0) {
                usual = NULL;
                return NULL;
        }
        path = realpath(usual, NULL);
        return path ? path : TAKE(usual);
}

/* What the file says of our provider. */
typedef struct Config {
        char *path;
        CONF *config;
        const char *section; /* NULL: it does not name it */
        const char *module;  /* NULL: it does not say where */
        char why[WHY_MAX];   /* the file cannot be read */
} Config;

static void config_deinit(Config *config)
{
        NCONF_free(config->config);
        free(config->path);
}

static int config_read(Config *config)
{
        long line;

        config->path = config_path();
        config->config = config->path ? NCONF_new_ex(NULL, NULL) : NULL;
        if (!config->config)
                return -ENOMEM;
        ERR_clear_error();
        if (access(config->path, R_OK) < 0)
                (void)snprintf(config->why, sizeof(config->why), "%s", strerror(errno));
        else if (NCONF_load(config->config, config->path, &line) <= 0)
                read_reason(config->why, sizeof(config->why));
        else
                config->section = NCONF_get_string(config->config, NULL, "openssl_conf");
        if (config->section)
                config->section = NCONF_get_string(config->config, config->section, "providers");
        if (config->section)
                config->section = NCONF_get_string(config->config, config->section, PROVIDER);
        if (config->section)
                config->module = NCONF_get_string(config->config, config->section, "module");
        return 0;
}

/* Loads the module that the file names, or the one where OpenSSL looks for modules, in a context of its own. */
static bool module_loads(const char *module, char *ret_why, size_t n_max)
{
        OSSL_LIB_CTX *context = OSSL_LIB_CTX_new();
        OSSL_PROVIDER *provider;

        ERR_clear_error();
        provider = context ? OSSL_PROVIDER_load(context, module ? module : PROVIDER) : NULL;
        if (provider)
                (void)OSSL_PROVIDER_unload(provider);
        else
                read_reason(ret_why, n_max);
        OSSL_LIB_CTX_free(context);
        return provider != NULL;
}

static char *provider_version(void)
{
        OSSL_PROVIDER *provider = OSSL_PROVIDER_try_load(NULL, PROVIDER, 1);
        char *version = NULL, *copy = NULL;
        OSSL_PARAM ask[] = { OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_VERSION, &version, 0), OSSL_PARAM_END };

        if (provider && OSSL_PROVIDER_get_params(provider, ask) && version)
                copy = strdup(version);
        if (provider)
                (void)OSSL_PROVIDER_unload(provider);
        return copy;
}

/* What every program needs for itself: digests, a key exchange, signatures with a key of its own. */
static bool own_keys_work(void)
{
        static const unsigned char digest[32] = { 1 };
        EVP_PKEY *exchange = EVP_PKEY_Q_keygen(NULL, NULL, "X25519"), *key = EVP_EC_gen("P-256");
        EVP_PKEY_CTX *context = key ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
        unsigned char signature[128];
        size_t n = sizeof(signature);
        bool ok;

        ok = exchange && context && EVP_PKEY_sign_init(context) > 0 &&
             EVP_PKEY_sign(context, signature, &n, digest, sizeof(digest)) > 0;
        EVP_PKEY_CTX_free(context);
        EVP_PKEY_free(key);
        EVP_PKEY_free(exchange);
        return ok;
}

/* The key file of standard input: null: there is none; true; or why not. */
static json_t *read_key_file(void)
{
        char why[WHY_MAX];
        EVP_PKEY *key;
        BIO *from;
        int first = getc(stdin);

        if (first == EOF)
                return json_null();
        (void)ungetc(first, stdin);
        from = BIO_new_fp(stdin, BIO_NOCLOSE);
        ERR_clear_error();
        key = from ? PEM_read_bio_PrivateKey(from, NULL, NULL, NULL) : NULL;
        BIO_free(from);
        if (key) {
                EVP_PKEY_free(key);
                return json_true();
        }
        read_reason(why, sizeof(why));
        return json_string(why);
}

static const char *library_path(void)
{
        Dl_info info;

        return dladdr((void *)(uintptr_t)OPENSSL_version_major, &info) ? info.dli_fname : NULL;
}

static json_t *tell(const Config *config)
{
        char why[WHY_MAX];
        bool active = OSSL_PROVIDER_available(NULL, PROVIDER) == 1;
        bool is_default = OSSL_PROVIDER_available(NULL, "default") == 1;
        bool loads = module_loads(config->module, why, sizeof(why));
        CLEANUP(free_text) char *version = active ? provider_version() : NULL;

        return json_pack("{s:s, s:o, s:s, s:o, s:b, s:b, s:b, s:o, s:b, s:o, s:b, s:o}", "openssl",
                         OpenSSL_version(OPENSSL_VERSION_STRING), "library", text_or_null(library_path()),
                         "config", config->path, "config-error", text_or_null(config->why), "named",
                         config->section != NULL, "active", active, "default", is_default, "version",
                         text_or_null(version), "loads", loads, "load-error",
                         text_or_null(loads ? NULL : why), "own-keys", own_keys_work(), "key-file",
                         read_key_file());
}

int main(void)
{
        CLEANUP(config_deinit) Config config = { 0 };
        json_t *told;
        int r;

        /* the program's own start, before anything else has been done with OpenSSL */
        if (!OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL) || config_read(&config))
                return 1;
        told = tell(&config);
        r = told && json_dumpf(told, stdout, JSON_ENSURE_ASCII) == 0 && fflush(stdout) == 0 ? 0 : 1;
        json_decref(told);
        return r;
}
