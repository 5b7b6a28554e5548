/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a source's process: name servers that do not do their work. Names below slow.invalid are answered after
 * half a minute, as by a server that drops what it is asked; those below servfail.invalid at once, with its failure. All
 * others go the usual way.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define SLOW_SEC 30

typedef int (*Resolve)(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret_addresses);

__attribute__((__visibility__("default"))) int getaddrinfo(const char *node, const char *service,
                                                           const struct addrinfo *hints,
                                                           struct addrinfo **ret_addresses)
{
        Resolve next;

        if (node && strstr(node, "slow.invalid"))
                sleep(SLOW_SEC);
        if (node && (strstr(node, "slow.invalid") || strstr(node, "servfail.invalid")))
                return EAI_AGAIN;
        *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
        return next(node, service, hints, ret_addresses);
}
