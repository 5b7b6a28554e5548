/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded: lets memory run out. It maps the file $ALLOC_FAULT, a FaultPage (alloc-fault.h), in which a test says in
 * which process which allocation fails, and reads what became of it; a program that walks itself calls the functions
 * below. What the loader allocates never fails: it ends the program by design.
 */
#include "alloc-fault.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PUBLIC __attribute__((__visibility__("default")))

static FaultPage *page;
static char program[4096]; /* its path, which the loader does not say */
static __thread bool is_inside; /* what the unwinder and we ourselves allocate never fails */

/* What was there without us, of this type, found at its first call. */
#define NEXT(function)                                                                             \
        ({                                                                                         \
                static __typeof__(&function) found;                                                \
                if (!found)                                                                        \
                        *(void **)&found = dlsym(RTLD_NEXT, #function);                            \
                found;                                                                             \
        })

__attribute__((constructor)) static void open_page(void)
{
        const char *path = getenv("ALLOC_FAULT");
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *frames[2], *map;

        (void)backtrace(frames, 2); /* loads the unwinder */
        if (fd < 0)
                return;
        if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
                return;
        map = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (map == MAP_FAILED)
                return;
        page = map;
        if (page->armed && page->pid == 0 &&
            strcmp(page->program, program_invocation_short_name) == 0)
                page->pid = (uint64_t)getpid();
}

/* Without its symbols, which dladdr() looks through one by one. */
static const char *path_of(const void *address, uintptr_t *ret_base)
{
        struct dl_find_object object;

        if (_dl_find_object((void *)(uintptr_t)address, &object) != 0)
                return NULL;
        *ret_base = object.dlfo_link_map->l_addr;
        return object.dlfo_link_map->l_name[0] ? object.dlfo_link_map->l_name : program;
}

static const char *module_of(const void *address)
{
        uintptr_t base;
        const char *path = path_of(address, &base), *slash = path ? strrchr(path, '/') : NULL;

        return slash ? slash + 1 : path ? path : "?";
}

static bool begins(const char *name, const char *with)
{
        return strncmp(name, with, strlen(with)) == 0;
}

static bool is_ours(const char *module)
{
        return begins(module, "certbroker") || begins(module, "libcertbroker");
}

static bool allocates_for_others(const char *module)
{
        return begins(module, "alloc-fault") || begins(module, "libasan") ||
               begins(module, "libc.so") || begins(module, "libcrypto.so");
}

/* In our processes, where it is told to, libcrypto allocates by a function of ours. */
static bool is_called_by_libcrypto(void *const *frame)
{
        return !strstr(module_of(frame[0]), ".so") && begins(module_of(frame[1]), "libcrypto.so");
}

/* Of whoever has called what allocates for him. */
static bool is_for_us(void *const *frames, int n)
{
        for (int i = 0; i < n; i++) {
                if (allocates_for_others(module_of(frames[i])) ||
                    (i + 1 < n && is_called_by_libcrypto(&frames[i])))
                        continue;
                return is_ours(module_of(frames[i]));
        }
        return false;
}

/* What we have called, but for libcrypto unless it is wanted. */
static bool is_below_us(void *const *frames, int n, bool with_libcrypto)
{
        for (int i = 0; i < n; i++) {
                if (is_ours(module_of(frames[i])))
                        return true;
                if (!with_libcrypto && begins(module_of(frames[i]), "libcrypto.so"))
                        return false;
        }
        return false;
}

static bool is_counted(void *caller)
{
        const uint64_t whose = page->whose;
        void *frames[FRAMES_MAX];
        int n;

        if (begins(module_of(caller), "ld-linux"))
                return false;
        if (whose == WHOSE_EVERYBODY)
                return true;
        n = backtrace(frames, FRAMES_MAX);
        return whose == WHOSE_OURS ? is_for_us(frames, n)
                                   : is_below_us(frames, n, whose == WHOSE_BELOW_AND_LIBCRYPTO);
}

static void note(void)
{
        void *frames[FRAMES_MAX];
        int n = backtrace(frames, FRAMES_MAX);
        size_t used = 0;

        for (int i = 0; i < n && used < sizeof(page->trace) - 1; i++) {
                uintptr_t base;
                const char *path = path_of(frames[i], &base);

                if (!path || begins(module_of(frames[i]), "alloc-fault"))
                        continue;
                used += (size_t)snprintf(page->trace + used, sizeof(page->trace) - used, "%s %p\n",
                                         path, (void *)((uintptr_t)frames[i] - base));
        }
}

static bool decide(void *caller)
{
        uint64_t nth;

        if (!is_counted(caller))
                return false;
        nth = atomic_fetch_add(&page->n_seen, 1) + 1;
        if (nth < page->first || nth - page->first >= page->n_wanted)
                return false;
        if (atomic_fetch_add(&page->n_failed, 1) == 0)
                note();
        return true;
}

static bool fails(void *caller)
{
        bool yes;

        if (!page || !page->armed || is_inside || page->n_failed >= page->n_wanted ||
            page->pid != (uint64_t)getpid())
                return false;
        is_inside = true;
        yes = decide(caller);
        is_inside = false;
        if (yes)
                errno = ENOMEM;
        return yes;
}

#define FAILS fails(__builtin_return_address(0))

/* For a program that walks itself. */

PUBLIC void alloc_fault_arm(uint64_t first, uint64_t n_wanted, Whose whose)
{
        page->n_seen = page->n_failed = 0;
        page->first = first;
        page->n_wanted = n_wanted;
        page->whose = whose;
        page->trace[0] = '\0';
        page->pid = (uint64_t)getpid();
        page->armed = 1;
}

PUBLIC uint64_t alloc_fault_disarm(void)
{
        page->armed = 0;
        return page->n_failed;
}

PUBLIC const char *alloc_fault_trace(void)
{
        return page->trace;
}

/* What is allocated with. */

PUBLIC void *malloc(size_t n)
{
        return FAILS ? NULL : NEXT(malloc)(n);
}

PUBLIC void *calloc(size_t n, size_t size)
{
        return FAILS ? NULL : NEXT(calloc)(n, size);
}

PUBLIC void *realloc(void *memory, size_t n)
{
        return n > 0 && FAILS ? NULL : NEXT(realloc)(memory, n);
}

PUBLIC void *reallocarray(void *memory, size_t n, size_t size)
{
        return FAILS ? NULL : NEXT(reallocarray)(memory, n, size);
}

/* Also where a sanitizer has one that does not come through here. */
static char *copy_text(const char *text, size_t n)
{
        char *copy = malloc(n + 1);

        if (copy) {
                memcpy(copy, text, n);
                copy[n] = '\0';
        }
        return copy;
}

PUBLIC char *strdup(const char *text)
{
        return copy_text(text, strlen(text));
}

PUBLIC char *strndup(const char *text, size_t n_max)
{
        return copy_text(text, strnlen(text, n_max));
}

PUBLIC void *aligned_alloc(size_t alignment, size_t n)
{
        return FAILS ? NULL : NEXT(aligned_alloc)(alignment, n);
}

PUBLIC void *memalign(size_t alignment, size_t n)
{
        return FAILS ? NULL : NEXT(memalign)(alignment, n);
}

PUBLIC int posix_memalign(void **place, size_t alignment, size_t n)
{
        return FAILS ? ENOMEM : NEXT(posix_memalign)(place, alignment, n);
}
