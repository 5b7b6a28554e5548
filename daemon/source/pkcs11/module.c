/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules by p11-kit. Invariant: our own PKCS#11 module is never initialised here: it would call the
 * broker, which waits for us. A module is told that threads of the system are used (CKF_OS_LOCKING_OK);
 * one that cannot is initialised for a single thread, and the slot says so.
 */
#include "source/pkcs11/module.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>

#include "base/strings.h"
#include "base/trusted.h"
#include "source/pkcs11/rv.h"

#define OUR_OWN       "certbroker-pkcs11"
#define SLOTS_MAX     4096
#define TOKENS_SHOWN  8
#define NO_SUCH_PLACE "/nonexistent/certbroker"

typedef struct Module {
        CK_FUNCTION_LIST *f;
        bool initialized;
        bool serial;
} Module;

struct Modules {
        Module *modules;
        size_t n;
        bool managed; /* p11-kit knows how to initialise them */
};

static bool is_our_own(CK_FUNCTION_LIST *f)
{
        char *name = p11_kit_module_get_name(f);
        char *file = p11_kit_module_get_filename(f);
        bool own;

        own = (name && strstr(name, OUR_OWN)) || (file && strstr(file, OUR_OWN));
        free(name);
        free(file);
        return own;
}

static int modules_append(Modules *modules, CK_FUNCTION_LIST *f)
{
        Module *larger = realloc(modules->modules, (modules->n + 1) * sizeof(*larger));

        if (!larger)
                return -ENOMEM;
        modules->modules = larger;
        modules->modules[modules->n++] = (Module){ .f = f };
        return 0;
}

static int check_path(const char *what, const char *path, Failure *failure)
{
        Failure why = { 0 };
        int r = trusted_check(path, TRUSTED_FILE, NULL, &why);

        if (r < 0)
                return fail(failure, CB_SOURCE_UNAVAILABLE, "%s '%s' cannot be loaded: %s", what,
                            path, strerror(-r));
        return r > 0 ? fail(failure, CB_SOURCE_UNAVAILABLE, "%s is not used: %s", what, why.text) : 0;
}

/*
 * p11-kit asks nobody whose files its modules are. It has loaded them when it tells their names; what
 * others can change is not called, at least, and the source does not serve until that is mended.
 */
static int check_file(CK_FUNCTION_LIST *f, Failure *failure)
{
        CLEANUP(freep) char *file = p11_kit_module_get_filename(f);

        return file && *file == '/' ? check_path("a module of p11-kit's", file, failure) : 0;
}

static int load_configured(Modules *modules, Failure *failure)
{
        CK_FUNCTION_LIST **list;
        int r = 0;

        /* What a user has configured in the home directory is no part of the broker's configuration. */
        setenv("XDG_CONFIG_HOME", NO_SUCH_PLACE, 1);
        list = p11_kit_modules_load(NULL, 0);
        if (!list)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "p11-kit cannot load its modules: %s; name one with `module`",
                            string_or_empty(p11_kit_message()));
        modules->managed = true;
        for (size_t i = 0; list[i] && r == 0; i++)
                if (!is_our_own(list[i]))
                        r = check_file(list[i], failure) ?: modules_append(modules, list[i]);
        /* The array is p11-kit's to release, with the modules in it: both live as long as we do. */
        if (r == 0 && modules->n == 0)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "p11-kit is configured with no module; name one with `module`");
        return r;
}

static int load_one(Modules *modules, const char *path, Failure *failure)
{
        CK_FUNCTION_LIST *f;
        int r;

        /* At each start of a source: the configuration may have been read long ago. */
        r = check_path("the PKCS#11 module", path, failure);
        if (r != 0)
                return r;
        f = p11_kit_module_load(path, P11_KIT_MODULE_UNMANAGED);
        if (!f)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "the PKCS#11 module '%s' cannot be loaded: %s", path,
                            string_or_empty(p11_kit_message()));
        if (is_our_own(f))
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "'%s' is the broker's own PKCS#11 module; name the token's", path);
        return modules_append(modules, f);
}

int modules_load(const char *path, Modules **ret_modules, Failure *failure)
{
        Modules *modules = calloc(1, sizeof(*modules));
        int r;

        if (!modules)
                return -ENOMEM;
        p11_kit_be_quiet(); /* and it knows us by our name: module files may say disable-in: certbroker-source */
        r = path ? load_one(modules, path, failure) : load_configured(modules, failure);
        if (r != 0) {
                free(modules->modules);
                free(modules);
                return r;
        }
        *ret_modules = modules;
        return 0;
}

static CK_RV module_initialize(Module *module, bool managed)
{
        CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
        CK_RV rv;

        module->serial = false;
        rv = module->f->C_Initialize(managed ? NULL : &args); /* p11-kit sets the flag itself */
        if (rv == CKR_CANT_LOCK && !managed) {
                module->serial = true;
                rv = module->f->C_Initialize(NULL);
        }
        if (rv == CKR_CRYPTOKI_ALREADY_INITIALIZED)
                rv = CKR_OK;
        module->initialized = rv == CKR_OK;
        return rv;
}

int modules_initialize(Modules *modules, Failure *failure)
{
        CK_RV rv, last = CKR_OK;
        size_t n_ready = 0;

        for (size_t i = 0; i < modules->n; i++) {
                rv = module_initialize(&modules->modules[i], modules->managed);
                if (rv == CKR_OK)
                        n_ready++;
                else
                        last = rv;
        }
        if (n_ready > 0)
                return 0;
        return fail(failure, CB_SOURCE_UNAVAILABLE,
                    "the PKCS#11 module cannot be initialised: %s (0x%lx) in C_Initialize; look at "
                    "the module's own configuration and at what it may read",
                    rv_name(last), last);
}

void modules_finalize(Modules *modules)
{
        for (size_t i = 0; i < modules->n; i++) {
                if (!modules->modules[i].initialized)
                        continue;
                (void)modules->modules[i].f->C_Finalize(NULL);
                modules->modules[i].initialized = false;
        }
}

/* Slots with a token. The list may grow between the two calls: three tries. */
static CK_RV slots_of(CK_FUNCTION_LIST *f, CK_SLOT_ID **ret_slots, CK_ULONG *ret_n)
{
        CK_RV rv = CKR_BUFFER_TOO_SMALL;

        for (int i = 0; i < 3 && rv == CKR_BUFFER_TOO_SMALL; i++) {
                CK_SLOT_ID *slots;
                CK_ULONG n = 0, room;

                rv = f->C_GetSlotList(CK_TRUE, NULL, &n);
                if (rv != CKR_OK)
                        return rv;
                n = MIN(n, (CK_ULONG)SLOTS_MAX) + 4;
                slots = calloc(n, sizeof(*slots));
                if (!slots)
                        return CKR_HOST_MEMORY;
                room = n;
                rv = f->C_GetSlotList(CK_TRUE, slots, &n);
                if (rv == CKR_OK) {
                        *ret_slots = slots;
                        *ret_n = MIN(n, room);
                        return CKR_OK;
                }
                free(slots);
        }
        return rv;
}

typedef struct Search {
        P11KitUri *uri;
        size_t n_found;
        Slot slot;
        CK_TOKEN_INFO info;
        char **found; /* what matched, and all that there is, as text */
        char **present;
} Search;

static char *token_text(const CK_TOKEN_INFO *info)
{
        CLEANUP(freep) char *label = NULL;
        CLEANUP(freep) char *serial = NULL;
        char *text = NULL;

        label = text_escape(info->label, p11_kit_space_strlen(info->label, sizeof(info->label)),
                            sizeof(info->label));
        serial = text_escape(info->serialNumber,
                             p11_kit_space_strlen(info->serialNumber, sizeof(info->serialNumber)),
                             sizeof(info->serialNumber));
        if (asprintf(&text, "'%s' (serial %s)", string_or_empty(label), string_or_empty(serial)) <
            0)
                return NULL;
        return text;
}

static void note_token(char ***list, const CK_TOKEN_INFO *info)
{
        CLEANUP(freep) char *text = token_text(info);

        if (!text)
                return;
        if (strv_length(*list) < TOKENS_SHOWN)
                (void)strv_append(list, text);
        else if (strv_length(*list) == TOKENS_SHOWN)
                (void)strv_append(list, "…");
}

/*
 * SoftHSM reads an object's file again while another thread writes it, and then loses the object: what makes one fails,
 * or makes half of it (softhsm/SoftHSMv2#573).
 */
static bool is_brittle(const CK_TOKEN_INFO *info)
{
        static const char softhsm[] = "SoftHSM";

        return memcmp(info->manufacturerID, softhsm, strlen(softhsm)) == 0;
}

static void search_slot(Search *search, const Module *module, CK_SLOT_ID id)
{
        CK_TOKEN_INFO info = { 0 };
        CK_SLOT_INFO slot_info = { 0 };

        if (module->f->C_GetTokenInfo(id, &info) != CKR_OK || !(info.flags & CKF_TOKEN_INITIALIZED))
                return;
        note_token(&search->present, &info);
        if (!p11_kit_uri_match_token_info(search->uri, &info))
                return;
        if (module->f->C_GetSlotInfo(id, &slot_info) != CKR_OK ||
            !p11_kit_uri_match_slot_info(search->uri, &slot_info))
                return;
        note_token(&search->found, &info);
        search->slot = (Slot){ module->f, id, module->serial, is_brittle(&info) };
        search->info = info;
        search->n_found++;
}

static void search_module(Search *search, const Module *module)
{
        CK_INFO info = { 0 };
        CK_SLOT_ID *slots = NULL;
        CK_ULONG n = 0;

        if (!module->initialized)
                return;
        if (module->f->C_GetInfo(&info) == CKR_OK &&
            !p11_kit_uri_match_module_info(search->uri, &info))
                return;
        if (slots_of(module->f, &slots, &n) != CKR_OK)
                return;
        for (CK_ULONG i = 0; i < n; i++)
                search_slot(search, module, slots[i]);
        free(slots);
}

static int search_conclude(const Search *search, Failure *failure)
{
        CLEANUP(freep) char *present = strv_join(search->present, ", ");
        CLEANUP(freep) char *found = strv_join(search->found, ", ");

        if (search->n_found == 1)
                return 0;
        if (search->n_found > 1)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "the source's uri fits %zu tokens: %s; add serial= to it",
                            search->n_found, string_or_empty(found));
        if (strv_length(search->present) == 0)
                return fail(failure, CB_SOURCE_UNAVAILABLE,
                            "there is no token; is it plugged in, and may the module read it?");
        return fail(failure, CB_SOURCE_UNAVAILABLE, "no token fits the source's uri; there is: %s",
                    string_or_empty(present));
}

int modules_find_token(Modules *modules, P11KitUri *uri, Slot *ret_slot, CK_TOKEN_INFO *ret_info,
                       Failure *failure)
{
        Search search = { .uri = uri };
        int r;

        for (size_t i = 0; i < modules->n; i++)
                search_module(&search, &modules->modules[i]);
        r = search_conclude(&search, failure);
        strv_free(search.found);
        strv_free(search.present);
        if (r != 0)
                return r;
        *ret_slot = search.slot;
        *ret_info = search.info;
        return 0;
}

unsigned slot_mechanisms(const Slot *slot)
{
        static const struct {
                CK_MECHANISM_TYPE type;
                unsigned bit;
        } rows[] = { { CKM_RSA_PKCS, MECHANISM_RSA_PKCS },
                     { CKM_RSA_PKCS_PSS, MECHANISM_RSA_PSS },
                     { CKM_RSA_X_509, MECHANISM_RSA_X509 },
                     { CKM_ECDSA, MECHANISM_ECDSA },
                     { CKM_EDDSA, MECHANISM_EDDSA } };
        unsigned mechanisms = 0;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                CK_MECHANISM_INFO info = { 0 };

                if (slot->f->C_GetMechanismInfo(slot->id, rows[i].type, &info) == CKR_OK &&
                    (info.flags & CKF_SIGN))
                        mechanisms |= rows[i].bit;
        }
        return mechanisms;
}
