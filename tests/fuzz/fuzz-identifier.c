/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that a caller sends: ids, thumbprints, object paths, a backend's URL. Holds: a valid name is short and harmless
 * ASCII, has exactly one path, and no thumbprint is a name but one with dashes; whatever was asked for, its refusal can be shown.
 */
#include "fuzz-text.h"

#include <ctype.h>

#include "broker/bus/node.h"
#include "core/identifier.h"
#include "core/thumbprint.h"
#include "pki/url.h"

static void check_path(ObjectKind kind, const char *name)
{
        char path[OBJECT_PATH_MAX], again[IDENTIFIER_LENGTH_MAX + 1];
        ObjectKind found = _OBJECT_KIND_N;

        object_path_encode(kind, name, path);
        FUZZ_CHECK(object_path_decode(path, &found, again) == 0);
        FUZZ_CHECK(found == kind && strcmp(again, name) == 0);
}

static void try_name(const char *text)
{
        uint8_t digest[DIGEST_LENGTH_MAX];
        Failure why = { 0 };
        size_t n = 0;

        if (identifier_is_valid(text)) {
                FUZZ_CHECK(strlen(text) <= IDENTIFIER_LENGTH_MAX);
                for (const char *p = text; *p; p++)
                        FUZZ_CHECK(isascii(*p) &&
                                   (isalnum((unsigned char)*p) || strchr("._-", *p)));
                check_path(OBJECT_CERTIFICATE, text);
                check_path(OBJECT_BACKEND, text);
        }
        if (source_name_is_valid(text))
                check_path(OBJECT_SOURCE, text);
        if (thumbprint_parse(text, digest, &n, &why)) {
                FUZZ_CHECK(n == 20 || n == 32);
                FUZZ_CHECK(!identifier_is_valid(text) || strchr(text, '-'));
        } else {
                fuzz_check_text(why.text);
        }
}

static void try_path(const char *text)
{
        char name[IDENTIFIER_LENGTH_MAX + 1], canonical[OBJECT_PATH_MAX];
        ObjectKind kind = _OBJECT_KIND_N;
        Node node;

        node_parse(text, &node);
        for (InterfaceId i = 0; i < _INTERFACE_N; i++)
                FUZZ_CHECK(!node_has_interface(&node, i) || node.type != NODE_FOREIGN);
        if (object_path_decode(text, &kind, name) != 0) {
                FUZZ_CHECK(node.type != NODE_OBJECT);
                return;
        }
        FUZZ_CHECK(node.type == NODE_OBJECT && node.kind == kind && strcmp(node.name, name) == 0);
        object_path_encode(kind, name, canonical);
        FUZZ_CHECK(strcmp(canonical, text) == 0);
}

static void try_url(const char *text)
{
        CLEANUP(freep) char *url = strdup(text);

        FUZZ_CHECK(url);
        if (pki_url_refuse(url))
                return;
        fuzz_check_text(url);
        pki_url_normalise(url);
        FUZZ_CHECK(!pki_url_refuse(url) && strncmp(url, "https://", 8) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(freep) char *text = fuzz_string(data, n);
        Failure failure = { 0 };

        try_name(text);
        try_path(text);
        try_url(text);
        fuzz_check_outcome(object_not_found(&failure, OBJECT_CERTIFICATE, text), &failure);
        return 0;
}
