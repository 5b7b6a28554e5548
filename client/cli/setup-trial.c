/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A source that is in force, asked what it is for: a key is made in it, signs a certificate request, and goes again. That
 * takes `manage` alone, which root has by the configuration that ships; nobody needs a grant to use the key.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <openssl/x509.h>

#include "setup.h"

#define LOOKS      300
#define LOOKS_LOST 50 /* as long as a source may be unavailable before that counts: it has just been started */
#define LOOK_NSEC  200000000L

static void rest(void)
{
        static const struct timespec pause = { .tv_nsec = LOOK_NSEC };

        (void)nanosleep(&pause, NULL);
}

/* 0: it serves; 1: not yet. */
static int look(Steps *steps, const char *name, unsigned n)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        const cb_value *properties = NULL;
        const char *state, *text;
        int r;

        r = ask_properties(steps->cli, "source", name, &reply, &properties);
        if (r == CB_UNREACHABLE)
                return n < LOOKS_LOST ? 1 : r;
        if (r)
                return r;
        state = cb_value_string(cb_value_get(properties, "State"), "?");
        text = cb_value_string(cb_value_get(properties, "LastError"), "");
        if (strcmp(state, "ready") == 0 || strcmp(state, "degraded") == 0)
                return 0;
        if (strcmp(state, "locked") == 0)
                return steps_fail(steps, CB_SOURCE_LOCKED, "%s", text);
        return strcmp(state, "unavailable") == 0 && n >= LOOKS_LOST
                       ? steps_fail(steps, CB_SOURCE_UNAVAILABLE, "%s", text)
                       : 1;
}

int setup_wait(Steps *steps, const char *name)
{
        int r = steps_begin(steps, "waiting until certbrokerd says that %s is ready", name);

        if (r)
                return r;
        for (unsigned n = 0; n < LOOKS; n++) {
                r = look(steps, name, n);
                if (r != 1)
                        return r;
                rest();
        }
        return steps_fail(steps, CB_TIMED_OUT, "it is not ready after %d s",
                          (int)(LOOKS * (LOOK_NSEC / 1000000L) / 1000));
}

/* ------------------------------------------------------------------ the key */

static int make_key(Steps *steps, const char *id, const char *source, const char **ret_type)
{
        static const char *const types[] = { "ec-p256", "rsa-2048" };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                *ret_type = types[i];
                r = cb_call(steps->cli->client, &(cb_method){ .member = "GenerateKey" }, NULL,
                            &steps->cli->error, "sssa{sv}", id, source, types[i],
                            (const cb_dict *)NULL);
                if (r != CB_NOT_SUPPORTED)
                        return r;
        }
        return r;
}

/* The request's own signature, by the key in it. */
static bool is_signed(const cb_value *der)
{
        const unsigned char *data;
        X509_REQ *request;
        EVP_PKEY *key;
        bool ok;

        if (!der || der->type != CB_TYPE_BYTES)
                return false;
        data = der->as.bytes.data;
        request = d2i_X509_REQ(NULL, &data, (long)der->as.bytes.n);
        key = request ? X509_REQ_get0_pubkey(request) : NULL;
        ok = key && X509_REQ_verify(request, key) == 1;
        X509_REQ_free(request);
        return ok;
}

static int sign(Steps *steps, const char *id)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;
        int r;

        r = ask_object(steps->cli, "certificate", id, "CreateRequest", &reply, "sas",
                       "CN=certbroker setup", (const char *const *)NULL, (size_t)0);
        if (r)
                return r;
        return is_signed(cb_value_at(reply, 0))
                       ? 0
                       : cli_fail(steps->cli, CB_FAILED, "the signature is wrong");
}

static int remove_key(Steps *steps, const char *id)
{
        CLEANUP(cb_dict_freep) cb_dict *options = NULL;

        if (cb_dict_new(&options) || cb_dict_set_boolean(options, "destroy-key", true))
                return cli_out_of_memory(steps->cli);
        return ask_object(steps->cli, "certificate", id, "Delete", NULL, "a{sv}", options);
}

/* What the broker said of it, as this step's failure. */
static int told(Steps *steps, const char *what, int r)
{
        char text[sizeof(steps->cli->error.text)];

        (void)snprintf(text, sizeof(text), "%s", steps->cli->error.text);
        return steps_fail(steps, r, "%s: %s (--no-trial leaves this step out)", what, text);
}

int setup_sign(Steps *steps, const char *name)
{
        const char *type = "";
        unsigned char random[4];
        char id[64];
        int r, removed;

        r = steps_begin(steps, "a key made in it for a trial, a signature, and the key destroyed again");
        if (r)
                return r;
        if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
                return steps_fail(steps, -EIO, "no random numbers are to be had");
        (void)snprintf(id, sizeof(id), "setup-trial-%02x%02x%02x%02x", random[0], random[1], random[2],
                       random[3]);
        r = make_key(steps, id, name, &type);
        if (r)
                return told(steps, "no key can be made", r);
        r = sign(steps, id);
        if (r)
                r = told(steps, "it does not sign", r);
        if (r)
                return remove_key(steps, id), r;
        removed = remove_key(steps, id);
        if (removed)
                return told(steps, "the key cannot be destroyed again", removed);
        steps_say(steps, "%s, verified", type);
        return 0;
}
