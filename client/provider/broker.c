/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker, as the provider reaches it: one cb_client for each provider context, for all its keys
 * and threads.
 *
 * Nothing is connected before the first signature or look-up. The library keeps what a fork needs:
 * what a parent opened is closed in the child, unused. No lock is held here, ever.
 *
 * A gateway's event loop stands still for the time of a signature, so waiting is bounded far below
 * D-Bus's own 25 s: where nobody is there a handshake fails at once, and where the broker is there
 * but busy, or its source slow, after CALL_USEC.
 */
#include "broker.h"

#include <errno.h>
#include <string.h>

#include "macro.h"
#include "provider.h"

#define CALL_USEC UINT64_C(5000000)

struct Broker {
        cb_client *client; /* NULL: `bus` cannot be used, for the reason `status` */
        int status;
        char *bus;
};

int broker_new(const char *bus, Broker **ret_broker)
{
        Broker *broker;

        broker = calloc(1, sizeof(*broker));
        if (!broker)
                return -ENOMEM;

        /*
         * An address that is wrong is told when it is needed: were it told now, libcrypto would not start in
         * any program that reads the same openssl.cnf, whether it has a key of ours or not.
         */
        broker->status = cb_client_new(bus, &broker->client);
        broker->bus = strdup(bus ?: "$CERTBROKER_BUS");
        if (broker->status == -ENOMEM || !broker->bus) {
                broker_free(broker);
                return -ENOMEM;
        }

        cb_client_set_timeouts(broker->client, CALL_USEC, CALL_USEC);
        *ret_broker = broker;
        return 0;
}

Broker *broker_free(Broker *broker)
{
        if (!broker)
                return NULL;

        cb_client_free(broker->client);
        free(broker->bus);
        free(broker);
        return NULL;
}

/* NULL, with an error raised, where the address is wrong. */
static cb_client *broker_client(Provider *provider)
{
        const Broker *broker = provider_broker(provider);

        if (!broker->client)
                RAISE(provider, CB_INVALID_ARGUMENT,
                      "%s is neither system, session (of a user who has one) nor a unix: address "
                      "of D-Bus",
                      broker->bus);
        return broker->client;
}

static int broker_answer(Provider *provider, int r, const char *what, const char *name,
                         const cb_error *error)
{
        if (r == 0)
                return 1;

        if (r < 0)
                RAISE(provider, REASON_SYSTEM, "%s %s: %s", what, name,
                      error->text[0] ? error->text : strerror(-r));
        else
                RAISE(provider, (unsigned)r, "%s %s: %s", what, name, error->text);
        return 0;
}

int broker_sign(Provider *provider, const char *id, uint64_t generation, const char *algorithm,
                const uint8_t *input, size_t n_input, uint8_t *signature, size_t *n_signature)
{
        cb_client *client = broker_client(provider);
        cb_error error = { 0 };
        int r;

        if (!client)
                return 0;

        r = cb_sign(client, id, generation, algorithm, input, n_input, signature, n_signature,
                    &error);
        /*
         * Who may do `tls` alone is puzzled by a handshake that
         * fails: some programs tell the reason and no more.
         */
        if (r == CB_ACCESS_DENIED)
                r = REASON_DENIED_SIGN;
        return broker_answer(provider, r, "signing with certificate", id, &error);
}

int broker_sign_tls(Provider *provider, const char *id, uint64_t generation, const char *algorithm,
                    const Tls13Verify *verify, uint8_t *signature, size_t *n_signature)
{
        cb_client *client = broker_client(provider);
        cb_error error = { 0 };
        int r;

        if (!client)
                return 0;

        r = cb_sign_tls(client, id, generation, algorithm, verify->role, verify->hash,
                        verify->n_hash, signature, n_signature, &error);
        return broker_answer(provider, r, "a TLS 1.3 signature with certificate", id, &error);
}

int broker_get(Provider *provider, const Uri *uri, cb_credential **ret_credential)
{
        cb_client *client = broker_client(provider);
        cb_error error = { 0 };
        int r;

        if (!client)
                return 0;
        if (uri->kind == URI_BACKEND) {
                r = cb_get_credential(client, uri->name, ret_credential, &error);
                return broker_answer(provider, r, "the credential for backend", uri->name, &error);
        }

        r = uri->generation == 0
                    ? cb_get_certificate(client, uri->name, ret_credential, &error)
                    : cb_get_generation(client, uri->name, uri->generation, ret_credential, &error);
        return broker_answer(provider, r, "reading certificate", uri->name, &error);
}
