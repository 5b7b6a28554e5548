/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the broker, or who is taken for it, says of a backend goes into a gateway's configuration, which root's gateway
 * then reads. The input: flags, then id, URL, CA file and names, each ended by a NUL. Holds: what is written has the
 * lines of a backend and no others, and verifies no less than the credential says.
 */
#include "fuzz.h"

#include <stdio.h>

#include "gateway.h"

#define N_NAMES 4

static const GatewayFiles files = { "orders", "/etc/x/o.pem", "/etc/x/o.pem.key" };

/* Directives of one line, of characters that mean nothing. */
static void check_line(const char *line)
{
        static const char *const begins[] = { "# ", "proxy_ssl_", "backend orders",
                                              "    server orders " };
        static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                    "/._-+=@:,~[]() ";
        size_t i = 0, n = strlen(line);

        while (i < sizeof(begins) / sizeof(*begins) &&
               strncmp(line, begins[i], strlen(begins[i])) != 0)
                i++;
        FUZZ_CHECK(i < sizeof(begins) / sizeof(*begins));
        for (const char *p = line; *p; p++)
                FUZZ_CHECK((unsigned char)*p >= ' ' && *p != 0x7f);
        if (i == 1)
                FUZZ_CHECK(line[--n] == ';');
        if (i > 0)
                FUZZ_CHECK(strspn(line, plain) == n);
}

static void check_text(char *text, const cb_credential *credential)
{
        char *rest = NULL;

        if (credential->validate_chain)
                FUZZ_CHECK(strstr(text, "\nproxy_ssl_verify on;\n") ||
                           strstr(text, " verify required "));
        if (credential->validate_name)
                FUZZ_CHECK(strstr(text, "\nproxy_ssl_name ") || strstr(text, " verifyhost "));
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                check_line(line);
}

static void try_gateway(const char *name, const cb_credential *credential)
{
        char why[GATEWAY_WHY_MAX] = "", *text = NULL;
        int r = gateway_write(gateway_find(name), &files, credential, &text, why);

        FUZZ_CHECK((r == 0) == (text != NULL) && (r == 0) == !*why);
        if (text)
                check_text(text, credential);
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        char *fields[3 + N_NAMES], *none[] = { NULL };
        cb_credential credential = { .generation = 3, .server_thumbprints = none };
        uint8_t flags = n > 0 ? data[0] : 0;

        data += n > 0;
        n -= n > 0;
        for (size_t i = 0; i < 3 + N_NAMES; i++) {
                size_t n_field = n > 0 ? strnlen((const char *)data, n) : 0;

                fields[i] = fuzz_string(data, n_field);
                data += n_field + (n_field < n);
                n -= n_field + (n_field < n);
        }
        credential.id = fields[0];
        credential.url = fields[1];
        credential.ca_file = fields[2];
        credential.server_names = (char *[]){ fields[3], fields[4], fields[5], fields[6], NULL };
        credential.validate_chain = flags & 1;
        credential.validate_name = flags & 2;
        try_gateway("nginx", &credential);
        try_gateway("haproxy", &credential);
        for (size_t i = 0; i < 3 + N_NAMES; i++)
                free(fields[i]);
        return 0;
}
