/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects by C_CreateObject. Invariant: a private key is made CKA_TOKEN, CKA_PRIVATE and CKA_SENSITIVE, and signs;
 * its parts go from locked memory straight to the module.
 */
#include "source/pkcs11/template.h"

#include "source/pkcs11/object.h"

#define ATTRIBUTES_MAX 24

typedef struct Template {
        CK_ATTRIBUTE attributes[ATTRIBUTES_MAX];
        size_t n;
} Template;

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

/* PKCS#11 has no const; C_CreateObject does not write. */
static void add(Template *template, CK_ATTRIBUTE_TYPE type, const void *value, size_t n)
{
        assert_always(template->n < ATTRIBUTES_MAX);
        template->attributes[template->n++] = (CK_ATTRIBUTE){ type, (void *)(uintptr_t)value, n };
}

static void add_bool(Template *template, CK_ATTRIBUTE_TYPE type, bool value)
{
        add(template, type, value ? &yes : &no, sizeof(CK_BBOOL));
}

static void add_bytes(Template *template, CK_ATTRIBUTE_TYPE type, const Bytes *bytes)
{
        add(template, type, bytes->data, bytes->n);
}

static void add_part(Template *template, CK_ATTRIBUTE_TYPE type, const PkiPart *part)
{
        add(template, type, part->data, part->n);
}

static const CK_KEY_TYPE *key_kind(KeyType type)
{
        static const CK_KEY_TYPE kinds[_KEY_FAMILY_N] = {
                [KEY_RSA] = CKK_RSA, [KEY_EC] = CKK_EC, [KEY_ED25519] = CKK_EC_EDWARDS
        };

        return &kinds[key_type_row(type)->family];
}

static void add_head(Template *template, const CK_OBJECT_CLASS *class, const ObjectName *name,
                     bool private)
{
        add(template, CKA_CLASS, class, sizeof(*class));
        add_bool(template, CKA_TOKEN, true);
        add_bool(template, CKA_PRIVATE, private);
        add_bytes(template, CKA_LABEL, &name->label);
        add_bytes(template, CKA_ID, &name->id);
}

static void add_rsa_private(Template *template, const PkiPublicParts *public,
                            const PkiPrivateParts *private)
{
        add_bytes(template, CKA_MODULUS, &public->modulus);
        add_bytes(template, CKA_PUBLIC_EXPONENT, &public->exponent);
        add_part(template, CKA_PRIVATE_EXPONENT, &private->value);
        add_part(template, CKA_PRIME_1, &private->prime1);
        add_part(template, CKA_PRIME_2, &private->prime2);
        add_part(template, CKA_EXPONENT_1, &private->exponent1);
        add_part(template, CKA_EXPONENT_2, &private->exponent2);
        add_part(template, CKA_COEFFICIENT, &private->coefficient);
}

int create_private_key(Session *session, const ObjectName *name, const PkiPublicParts *public,
                       const PkiPrivateParts *private, bool extractable,
                       CK_OBJECT_HANDLE *ret_object, Failure *failure)
{
        static const CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
        bool rsa = key_type_row(public->type)->family == KEY_RSA;
        Template template = { .n = 0 };

        add_head(&template, &class, name, true);
        add(&template, CKA_KEY_TYPE, key_kind(public->type), sizeof(CK_KEY_TYPE));
        add_bool(&template, CKA_SENSITIVE, true);
        add_bool(&template, CKA_EXTRACTABLE, extractable);
        add_bool(&template, CKA_SIGN, true);
        /* What is not said some tokens take for true: SoftHSM's keys would unwrap others. */
        add_bool(&template, CKA_DECRYPT, rsa);
        add_bool(&template, CKA_UNWRAP, false);
        if (rsa) {
                add_rsa_private(&template, public, private);
        } else {
                add_bytes(&template, CKA_EC_PARAMS, &public->params);
                add_part(&template, CKA_VALUE, &private->value);
        }
        return object_create(session, template.attributes, template.n, "store the private key",
                             ret_object, failure);
}

int create_public_key(Session *session, const ObjectName *name, const PkiPublicParts *public,
                      CK_OBJECT_HANDLE *ret_object, Failure *failure)
{
        static const CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
        bool rsa = key_type_row(public->type)->family == KEY_RSA;
        CLEANUP(bytes_deinit) Bytes point = { 0 };
        Template template = { .n = 0 };
        int r;

        add_head(&template, &class, name, false);
        add(&template, CKA_KEY_TYPE, key_kind(public->type), sizeof(CK_KEY_TYPE));
        add_bool(&template, CKA_VERIFY, true);
        if (rsa) {
                add_bool(&template, CKA_ENCRYPT, true);
                add_bytes(&template, CKA_MODULUS, &public->modulus);
                add_bytes(&template, CKA_PUBLIC_EXPONENT, &public->exponent);
        } else {
                r = pki_point_wrap(&public->point, &point); /* PKCS#11 v2.40 mechanisms, 2.3.3 */
                if (r < 0)
                        return r;
                add_bytes(&template, CKA_EC_PARAMS, &public->params);
                add_bytes(&template, CKA_EC_POINT, &point);
        }
        return object_create(session, template.attributes, template.n, "store the public key",
                             ret_object, failure);
}

int create_certificate(Session *session, const ObjectName *name, const Bytes *der,
                       CK_OBJECT_HANDLE *ret_object, Failure *failure)
{
        static const CK_OBJECT_CLASS class = CKO_CERTIFICATE;
        static const CK_CERTIFICATE_TYPE type = CKC_X_509;
        CLEANUP(pki_certificate_names_deinit) PkiCertificateNames names = { 0 };
        Template template = { .n = 0 };
        int r;

        r = pki_certificate_names(der, &names, failure);
        if (r != 0)
                return r;
        add_head(&template, &class, name, false);
        add(&template, CKA_CERTIFICATE_TYPE, &type, sizeof(type));
        add_bytes(&template, CKA_SUBJECT, &names.subject);
        add_bytes(&template, CKA_ISSUER, &names.issuer);
        add_bytes(&template, CKA_SERIAL_NUMBER, &names.serial_number);
        add_bytes(&template, CKA_VALUE, der);
        return object_create(session, template.attributes, template.n, "store a certificate",
                             ret_object, failure);
}
