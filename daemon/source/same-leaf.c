/* SPDX-License-Identifier: Apache-2.0 */
/* An import of what is there already: both drivers ask here, before they make anything. */
#include "source/same-leaf.h"

#include <string.h>

#include "base/strings.h"
#include "pki/x509.h"
#include "wire/message.h"

bool same_leaf(char *const *settings, const BytesList *chain)
{
        CLEANUP(certificate_facts_deinit) CertificateFacts facts = { 0 };
        char setting[sizeof(WIRE_LEAF) + THUMBPRINT_TEXT] = WIRE_LEAF "=";
        Failure ignored = { 0 };

        if (!settings || chain->n == 0 ||
            pki_certificate_facts(chain->items[0].data, chain->items[0].n, &facts, &ignored) != 0)
                return false;
        strncat(setting, facts.thumbprint_sha256, THUMBPRINT_TEXT);
        return strv_contains(settings, setting);
}
