/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generations that wait for their NotBefore: Generations tells that they do, their leaf until when. The broker is asked
 * for that alone, so it costs nothing where none waits.
 */
#include <openssl/x509.h>
#include <string.h>
#include <time.h>

#include "waiting.h"

bool waiting_is(const cb_value *generation, uint64_t current)
{
        return cb_value_number(cb_value_at(generation, 0), 0) > current &&
               *cb_value_string(cb_value_at(generation, 1), "") != '\0' &&
               cb_value_number(cb_value_at(generation, 2), 1) == 0;
}

static uint64_t not_before(const cb_value *leaf)
{
        const unsigned char *der;
        struct tm tm = { 0 };
        uint64_t from = 0;
        X509 *x;

        if (!leaf || leaf->type != CB_TYPE_BYTES)
                return 0;
        der = leaf->as.bytes.data;
        x = d2i_X509(NULL, &der, (long)leaf->as.bytes.n);
        if (x && ASN1_TIME_to_tm(X509_get0_notBefore(x), &tm) == 1)
                from = (uint64_t)timegm(&tm);
        X509_free(x);
        return from;
}

/* Whoever may read it may ask; where it has just become current, the answer is as good. */
static uint64_t ask_not_before(Cli *cli, const char *id, uint64_t generation)
{
        CLEANUP(cb_value_freep) cb_value *reply = NULL;

        if (ask_object(cli, "certificate", id, "GetChain", &reply, "t", generation) != 0)
                return 0;
        return not_before(cb_value_at(cb_value_at(reply, 0), 0));
}

int waiting_each(Cli *cli, const cb_value *properties,
                 int (*tell)(void *userdata, const char *id, uint64_t generation, uint64_t from),
                 void *userdata)
{
        const cb_value *list = cb_value_get(properties, "Generations");
        const char *id = cb_value_string(cb_value_get(properties, "Id"), "");
        uint64_t current = cb_value_number(cb_value_get(properties, "Generation"), 0);
        int r = 0;

        for (size_t i = 0; i < cb_value_length(list) && r == 0; i++) {
                const cb_value *generation = cb_value_at(list, i);
                uint64_t number = cb_value_number(cb_value_at(generation, 0), 0);

                if (waiting_is(generation, current))
                        r = tell(userdata, id, number, ask_not_before(cli, id, number));
        }
        return r;
}
