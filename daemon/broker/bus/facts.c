/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each property is worth: one getter a row, from an Object that its caller may read. Everything a
 * certificate shows is its current generation's; where there is none yet, its newest's key.
 */
#include "broker/bus/room.h"

#include <build-config.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/strings.h"

typedef int (*PropertyGetter)(const Object *object, Value *ret_value);

static const CertificateFacts no_facts;
static const BytesList no_chain;

static const Generation *current(const Object *object)
{
        return certificate_find_generation(object->certificate, 0);
}

static const Generation *keyed(const Object *object)
{
        const Generation *generation = current(object);

        return generation ? generation : certificate_newest(object->certificate);
}

static const CertificateFacts *facts(const Object *object)
{
        const Generation *generation = current(object);

        return generation ? &generation->facts : &no_facts;
}

/* Most getters are one expression. */
#define GETTER(name, expression)                                                                   \
        static int name(const Object *object, Value *ret_value)                                    \
        {                                                                                          \
                *ret_value = expression;                                                           \
                return 0;                                                                          \
        }

GETTER(manager_version, value_string(PROJECT_VERSION))
GETTER(manager_channel_address, value_string(object->bus->channel_address))

GETTER(certificate_id, value_string(object->certificate->id))
GETTER(certificate_source, value_string(object->certificate->source))
GETTER(certificate_state_word,
       value_string(certificate_state_name(certificate_state(object->certificate,
                                                             object->now_sec))))
GETTER(certificate_generation, value_u64(object->certificate->current))
GETTER(certificate_subject, value_string(facts(object)->subject))
GETTER(certificate_issuer, value_string(facts(object)->issuer))
GETTER(certificate_serial_number, value_string(facts(object)->serial_number))
GETTER(certificate_subject_alt_names, value_strings(facts(object)->subject_alt_names))
GETTER(certificate_thumbprint, value_string(facts(object)->thumbprint))
GETTER(certificate_thumbprint_sha256, value_string(facts(object)->thumbprint_sha256))
GETTER(certificate_not_before, value_u64(facts(object)->not_before_sec))
GETTER(certificate_not_after, value_u64(facts(object)->not_after_sec))
GETTER(certificate_self_signed, value_boolean(facts(object)->self_signed))
GETTER(certificate_extractable, value_boolean(keyed(object) && keyed(object)->extractable))
GETTER(certificate_last_refresh, value_u64(object->certificate->last_refresh_sec))
GETTER(certificate_next_refresh, value_u64(object->certificate->next_refresh_sec))

GETTER(backend_name, value_string(object->backend->name))
GETTER(backend_url, value_string(object->backend->url))
GETTER(backend_certificate, value_string(object->backend->certificate))
GETTER(backend_validate_chain, value_boolean(object->backend->validate_chain))
GETTER(backend_validate_name, value_boolean(object->backend->validate_name))
GETTER(backend_server_names, value_strings(object->backend->server_names))
GETTER(backend_ca_file, value_string(object->backend->ca_file))
GETTER(backend_server_thumbprints, value_strings(object->backend->server_thumbprints))
GETTER(backend_skip_reason, value_string(object->backend->skip_reason))
GETTER(backend_skip_until, value_u64(object->backend->skip_until_sec))

GETTER(source_property_name, value_string(object->source.name))
GETTER(source_property_driver, value_string(object->source.driver))
GETTER(source_property_uri, value_string(object->source.uri))
GETTER(source_property_state, value_string(object->source.state))
GETTER(source_property_last_error, value_string(object->source.last_error))
GETTER(source_property_last_ready, value_u64(object->source.last_ready_sec))

static int certificate_key_uri(const Object *object, Value *ret_value)
{
        const Generation *generation = keyed(object);

        *ret_value = value_string(generation ? generation->key_uri : NULL);
        return 0;
}

static int certificate_key_type(const Object *object, Value *ret_value)
{
        const Generation *generation = keyed(object);

        *ret_value = value_string(generation && generation->key_type != KEY_TYPE_NONE
                                          ? key_type_name(generation->key_type)
                                          : NULL);
        return 0;
}

static int certificate_chain(const Object *object, Value *ret_value)
{
        const Generation *generation = current(object);

        *ret_value = value_chain(generation ? &generation->chain : &no_chain);
        return 0;
}

int algorithm_names(const Bus *bus, const Subject *subject, const char *id, uint32_t algorithms,
                    char ***ret_names)
{
        CLEANUP(strv_freep) char **names = NULL;
        int r;

        for (Algorithm algorithm = ALGORITHM_NONE + 1; algorithm < _ALGORITHM_N; algorithm++) {
                const Request request = {
                        .operation = OPERATION_SIGN,
                        .kind = OBJECT_CERTIFICATE,
                        .name = id,
                        .algorithm = algorithm,
                };

                if (!(algorithms & ALGORITHM_BIT(algorithm)))
                        continue;
                /* SHA-1 is offered to those alone who may use it. */
                if (algorithm_row(algorithm)->legacy &&
                    !(subject && grants_decide(bus->grants, subject, &request, NULL)))
                        continue;
                r = strv_append(&names, algorithm_name(algorithm));
                if (r < 0)
                        return r;
        }
        *ret_names = TAKE(names);
        return 0;
}

static int certificate_algorithms(const Object *object, Value *ret_value)
{
        const Generation *generation = keyed(object);
        char **names = NULL;
        int r;

        r = algorithm_names(object->bus, NULL, object->certificate->id,
                            generation ? generation->algorithms : 0, &names);
        if (r < 0)
                return r;
        *ret_value = value_take_strings(names);
        return 0;
}

/*
 * When a generation ends: its grace or its NotAfter, whichever is first. 0: the current one, or one that is pending,
 * without a leaf or before its NotBefore. One that has expired while it waited has ended as well.
 */
static uint64_t usable_until(const Certificate *certificate, const Generation *generation,
                             uint64_t now_sec)
{
        uint64_t until = generation->usable_until_sec;

        /* Over, at the latest since 1970: never 0, which is no end. */
        if (generation->retired)
                return MAX(until, UINT64_C(1));
        if (generation->number == certificate->current || generation->chain.n == 0 ||
            (certificate_generation_waits(certificate, generation) &&
             generation->facts.not_after_sec >= now_sec))
                return 0;
        if (until == 0 || generation->facts.not_after_sec < until)
                until = generation->facts.not_after_sec;
        return until;
}

static int certificate_generations(const Object *object, Value *ret_value)
{
        const Certificate *certificate = object->certificate;
        ValueGeneration *rows;
        size_t n = 0;

        rows = calloc(certificate->n_generations + 1, sizeof(*rows));
        if (!rows)
                return -ENOMEM;
        for (size_t i = 0; i < certificate->n_generations; i++) {
                const Generation *generation = certificate->generations[i];

                rows[n++] = (ValueGeneration){
                        .number = generation->number,
                        .thumbprint_sha256 = generation->facts.thumbprint_sha256,
                        .usable_until_sec = usable_until(certificate, generation, object->now_sec),
                };
        }
        *ret_value = value_take_generations(rows, n);
        return 0;
}

static int certificate_last_error(const Object *object, Value *ret_value)
{
        char *text = NULL;
        int r = certificate_trouble(object->certificate, clock_realtime_sec(), &text);

        if (r == 0)
                *ret_value = value_take_string(text);
        return r;
}

/* Of the backends that use it, those that the caller may read. */
static int certificate_backends(const Object *object, Value *ret_value)
{
        const Catalog *catalog = object->bus->rooms.catalog;
        const char *id = object->certificate->id, *user;
        CLEANUP(strv_freep) char **names = NULL;
        size_t n = 0;

        for (user = ""; (user = catalog_next_user(catalog, id, user));)
                n++;
        names = calloc(n + 1, sizeof(*names));
        if (!names)
                return -ENOMEM;
        for (user = "", n = 0; (user = catalog_next_user(catalog, id, user));) {
                if (!may_read(object->bus, object->subject, OBJECT_BACKEND, user))
                        continue;
                names[n] = strdup(user);
                if (!names[n++])
                        return -ENOMEM;
        }
        *ret_value = value_take_strings(TAKE(names));
        return 0;
}

static const PropertyGetter getters[_PROPERTY_N] = {
        [PROPERTY_MANAGER_VERSION] = manager_version,
        [PROPERTY_MANAGER_CHANNEL_ADDRESS] = manager_channel_address,
        [PROPERTY_CERTIFICATE_ID] = certificate_id,
        [PROPERTY_CERTIFICATE_SOURCE] = certificate_source,
        [PROPERTY_CERTIFICATE_KEY_URI] = certificate_key_uri,
        [PROPERTY_CERTIFICATE_STATE] = certificate_state_word,
        [PROPERTY_CERTIFICATE_GENERATION] = certificate_generation,
        [PROPERTY_CERTIFICATE_GENERATIONS] = certificate_generations,
        [PROPERTY_CERTIFICATE_SUBJECT] = certificate_subject,
        [PROPERTY_CERTIFICATE_ISSUER] = certificate_issuer,
        [PROPERTY_CERTIFICATE_SERIAL_NUMBER] = certificate_serial_number,
        [PROPERTY_CERTIFICATE_SUBJECT_ALT_NAMES] = certificate_subject_alt_names,
        [PROPERTY_CERTIFICATE_THUMBPRINT] = certificate_thumbprint,
        [PROPERTY_CERTIFICATE_THUMBPRINT_SHA256] = certificate_thumbprint_sha256,
        [PROPERTY_CERTIFICATE_NOT_BEFORE] = certificate_not_before,
        [PROPERTY_CERTIFICATE_NOT_AFTER] = certificate_not_after,
        [PROPERTY_CERTIFICATE_KEY_TYPE] = certificate_key_type,
        [PROPERTY_CERTIFICATE_ALGORITHMS] = certificate_algorithms,
        [PROPERTY_CERTIFICATE_SELF_SIGNED] = certificate_self_signed,
        [PROPERTY_CERTIFICATE_EXTRACTABLE] = certificate_extractable,
        [PROPERTY_CERTIFICATE_BACKENDS] = certificate_backends,
        [PROPERTY_CERTIFICATE_LAST_REFRESH] = certificate_last_refresh,
        [PROPERTY_CERTIFICATE_NEXT_REFRESH] = certificate_next_refresh,
        [PROPERTY_CERTIFICATE_LAST_ERROR] = certificate_last_error,
        [PROPERTY_CERTIFICATE_CHAIN] = certificate_chain,
        [PROPERTY_BACKEND_NAME] = backend_name,
        [PROPERTY_BACKEND_URL] = backend_url,
        [PROPERTY_BACKEND_CERTIFICATE] = backend_certificate,
        [PROPERTY_BACKEND_VALIDATE_CHAIN] = backend_validate_chain,
        [PROPERTY_BACKEND_VALIDATE_NAME] = backend_validate_name,
        [PROPERTY_BACKEND_SERVER_NAMES] = backend_server_names,
        [PROPERTY_BACKEND_CA_FILE] = backend_ca_file,
        [PROPERTY_BACKEND_SERVER_THUMBPRINTS] = backend_server_thumbprints,
        [PROPERTY_BACKEND_SKIP_REASON] = backend_skip_reason,
        [PROPERTY_BACKEND_SKIP_UNTIL] = backend_skip_until,
        [PROPERTY_SOURCE_NAME] = source_property_name,
        [PROPERTY_SOURCE_DRIVER] = source_property_driver,
        [PROPERTY_SOURCE_URI] = source_property_uri,
        [PROPERTY_SOURCE_STATE] = source_property_state,
        [PROPERTY_SOURCE_LAST_ERROR] = source_property_last_error,
        [PROPERTY_SOURCE_LAST_READY] = source_property_last_ready,
};

int property_value(PropertyId property, const Object *object, Value *ret_value)
{
        assert_always(getters[property]);
        return getters[property](object, ret_value);
}
