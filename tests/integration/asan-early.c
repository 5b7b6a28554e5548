/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For programs of others under AddressSanitizer, which is then preloaded. Debian's curl loads p11-kit, whose constructor
 * calls newlocale(), which holds the locale's lock while it allocates for the first time. That starts the sanitizer, which
 * looks for this function, does not find it, and asks dlerror() for a translated message: under the same lock, which is
 * broken from then on, and the next setlocale() waits for ever. Where it finds the function, it asks nothing.
 */
#include <stddef.h>

char *swift_demangle(const char *name, size_t n_name, char *out, size_t *n_out, unsigned flags);

__attribute__((__visibility__("default"))) char *
swift_demangle(const char *name, size_t n_name, char *out, size_t *n_out, unsigned flags)
{
        return NULL;
}
