/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certbroker-token: the two things that `certbroker setup` asks of PKCS#11 modules before there is a source: which tokens
 * there are, and a new one. It is run as certbrokerd's user inside of its unit's walls, never as root: a module is a
 * vendor's code. Each module is looked at by a process of its own, so one that crashes or hangs is an answer.
 *
 * It prints a line for each thing, its fields separated by tabs; whatever a module tells is escaped.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>

#include "build-config.h"
#include "macro.h"

#define MODULE_SECONDS 20 /* a module that has not answered by then does not */
#define SLOTS_MAX      256
#define PIN_MAX        256

static const char help_text[] =
        "certbroker-token list [MODULE]\n"
        "certbroker-token init MODULE LABEL PIN-FILE\n"
        "\n"
        "list prints the tokens of a PKCS#11 module, or of every one that p11-kit knows; init makes\n"
        "a new token where the module has room for one. A PIN-FILE without a path is looked for in\n"
        "$CREDENTIALS_DIRECTORY. `certbroker setup source` runs it, inside of certbrokerd's unit.\n";

/* ------------------------------------------------------------------ what is printed */

/* Percent-encoded, but for what RFC 7512 lets stand in an attribute: no tab, no control, nothing that is not ASCII. */
static void print_encoded(const unsigned char *text, size_t n)
{
        static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

        for (size_t i = 0; i < n; i++)
                if (text[i] && strchr(plain, text[i]))
                        (void)putchar(text[i]);
                else
                        (void)printf("%%%02X", text[i]);
}

/* PKCS#11 fills its fields with blanks. */
static size_t length_of(const unsigned char *field, size_t n_max)
{
        while (n_max > 0 && (field[n_max - 1] == ' ' || field[n_max - 1] == '\0'))
                n_max--;
        return n_max;
}

static void print_token(const CK_TOKEN_INFO *info)
{
        bool is_ready = (info->flags & CKF_TOKEN_INITIALIZED) && (info->flags & CKF_USER_PIN_INITIALIZED);

        (void)fputs("token\t", stdout);
        print_encoded(info->label, length_of(info->label, sizeof(info->label)));
        (void)putchar('\t');
        print_encoded(info->serialNumber,
                      length_of(info->serialNumber, sizeof(info->serialNumber)));
        (void)printf("\t%s\n", is_ready                                  ? "ready"
                               : (info->flags & CKF_TOKEN_INITIALIZED) ? "no-pin"
                                                                         : "empty");
}

/* ------------------------------------------------------------------ one module */

static CK_RV list_tokens(CK_FUNCTION_LIST *module)
{
        CK_SLOT_ID slots[SLOTS_MAX];
        unsigned long n = SLOTS_MAX;
        CK_RV rv = module->C_GetSlotList(CK_TRUE, slots, &n);

        for (unsigned long i = 0; rv == CKR_OK && i < n; i++) {
                CK_TOKEN_INFO info;

                memset(&info, 0, sizeof(info));
                if (module->C_GetTokenInfo(slots[i], &info) == CKR_OK)
                        print_token(&info);
        }
        return rv;
}

/* In a process of its own. */
static int look_at(CK_FUNCTION_LIST *module)
{
        CK_RV rv;

        (void)alarm(MODULE_SECONDS);
        rv = p11_kit_module_initialize(module);
        if (rv == CKR_OK)
                rv = list_tokens(module);
        if (rv != CKR_OK)
                (void)printf("failed\t%s\n", p11_kit_strerror(rv));
        return fflush(stdout) == 0 ? 0 : EX_IOERR;
}

static void print_module(const char *path)
{
        (void)fputs("module\t", stdout);
        if (path)
                print_encoded((const unsigned char *)path, strlen(path));
        (void)putchar('\n');
}

/* Its path first: if it ends its process, it is known which one it was. */
static void list_one(CK_FUNCTION_LIST *module, const char *path)
{
        int status = 0;
        pid_t pid;

        print_module(path);
        (void)fflush(stdout);
        pid = fork();
        if (pid == 0)
                _exit(look_at(module));
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                (void)printf("failed\t%s\n", strerror(errno));
        else if (WIFSIGNALED(status))
                (void)printf("failed\tit %s\n",
                             WTERMSIG(status) == SIGALRM ? "gives no answer"
                                                         : "ends its process when it is asked");
}

/* Loaded in a process of its own first: already its constructors may end it. */
static bool may_be_loaded(const char *path)
{
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
                (void)alarm(MODULE_SECONDS);
                (void)p11_kit_module_load(path, 0);
                _exit(0);
        }
        return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status);
}

static CK_FUNCTION_LIST *load(const char *path)
{
        CK_FUNCTION_LIST *module = may_be_loaded(path) ? p11_kit_module_load(path, 0) : NULL;

        if (!module) {
                const char *why = p11_kit_message();

                print_module(path);
                (void)printf("failed\t%s\n", why ? why : "it ends its process when it is loaded");
        }
        return module;
}

static int list_all(void)
{
        CK_FUNCTION_LIST **modules = p11_kit_modules_load(NULL, 0);

        if (!modules) {
                (void)printf("failed\t%s\n", p11_kit_message() ?: "p11-kit has no modules");
                return 0;
        }
        for (CK_FUNCTION_LIST **module = modules; *module; module++) {
                char *path = p11_kit_module_get_filename(*module);

                list_one(*module, path);
                free(path);
        }
        return 0; /* the process ends; the modules' destructors are not run */
}

/* ------------------------------------------------------------------ a new token */

static int read_pin(const char *name, unsigned char *ret_pin, size_t *ret_n)
{
        const char *folder = getenv("CREDENTIALS_DIRECTORY");
        char path[PATH_MAX];
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof(path), "%s%s%s", *name == '/' ? "" : (folder ? folder : "."),
                       *name == '/' ? "" : "/", name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd >= 0 ? read(fd, ret_pin, PIN_MAX) : -1;
        if (n < 0) {
                (void)printf("failed\tthe PIN's file %s cannot be read: %s\n", path, strerror(errno));
                return -EIO;
        }
        (void)close(fd);
        if (n > 0 && ret_pin[n - 1] == '\n')
                n--;
        *ret_n = (size_t)n;
        return n > 0 ? 0 : -EINVAL;
}

/* Nobody needs the security officer's PIN: whoever has the files can make the token anew, too. */
static int make_so_pin(unsigned char ret_pin[32])
{
        unsigned char random[16];

        if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
                return -EIO;
        for (size_t i = 0; i < sizeof(random); i++) {
                ret_pin[2 * i] = (unsigned char)"0123456789abcdef"[random[i] >> 4];
                ret_pin[2 * i + 1] = (unsigned char)"0123456789abcdef"[random[i] & 15];
        }
        return 0;
}

/* A slot with a token that nobody has initialised; *ret_is_taken: another has this label. */
static CK_RV find_room(CK_FUNCTION_LIST *module, const unsigned char label[32], CK_SLOT_ID *ret_slot,
                       bool *ret_is_taken)
{
        CK_SLOT_ID slots[SLOTS_MAX];
        unsigned long n = SLOTS_MAX;
        bool has_room = false;
        CK_RV rv = module->C_GetSlotList(CK_TRUE, slots, &n);

        *ret_is_taken = false;
        for (unsigned long i = 0; rv == CKR_OK && i < n; i++) {
                CK_TOKEN_INFO info;

                memset(&info, 0, sizeof(info));
                if (module->C_GetTokenInfo(slots[i], &info) != CKR_OK)
                        continue;
                if (!(info.flags & CKF_TOKEN_INITIALIZED)) {
                        *ret_slot = slots[i];
                        has_room = true;
                } else if (memcmp(info.label, label, 32) == 0) {
                        *ret_is_taken = true;
                }
        }
        return rv == CKR_OK && !has_room ? CKR_TOKEN_NOT_PRESENT : rv;
}

/* SoftHSM gives a new token a slot of a new number. */
static CK_RV find_labelled(CK_FUNCTION_LIST *module, const unsigned char label[32], CK_SLOT_ID *ret_slot)
{
        CK_SLOT_ID slots[SLOTS_MAX];
        unsigned long n = SLOTS_MAX;
        CK_RV rv = module->C_GetSlotList(CK_TRUE, slots, &n);

        for (unsigned long i = 0; rv == CKR_OK && i < n; i++) {
                CK_TOKEN_INFO info;

                memset(&info, 0, sizeof(info));
                if (module->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
                    memcmp(info.label, label, 32) == 0) {
                        *ret_slot = slots[i];
                        return CKR_OK;
                }
        }
        return rv == CKR_OK ? CKR_TOKEN_NOT_PRESENT : rv;
}

static CK_RV set_pin(CK_FUNCTION_LIST *module, CK_SLOT_ID slot, unsigned char *so_pin, unsigned char *pin,
                     size_t n_pin)
{
        CK_SESSION_HANDLE session;
        CK_RV rv = module->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);

        if (rv == CKR_OK)
                rv = module->C_Login(session, CKU_SO, so_pin, 32);
        if (rv == CKR_OK)
                rv = module->C_InitPIN(session, pin, n_pin);
        return rv;
}

static CK_RV make_token(CK_FUNCTION_LIST *module, unsigned char label[32], unsigned char *pin, size_t n_pin)
{
        unsigned char so_pin[32];
        bool is_taken = false;
        CK_SLOT_ID slot = 0;
        CK_RV rv = p11_kit_module_initialize(module);

        if (rv == CKR_OK)
                rv = find_room(module, label, &slot, &is_taken);
        if (rv == CKR_OK && is_taken) {
                (void)puts("failed\ta token with this label is there already");
                return CKR_OK;
        }
        if (rv == CKR_OK && make_so_pin(so_pin) < 0)
                rv = CKR_GENERAL_ERROR;
        if (rv == CKR_OK)
                rv = module->C_InitToken(slot, so_pin, sizeof(so_pin), label);
        if (rv == CKR_OK)
                rv = find_labelled(module, label, &slot);
        if (rv == CKR_OK)
                rv = set_pin(module, slot, so_pin, pin, n_pin);
        explicit_bzero(so_pin, sizeof(so_pin));
        if (rv == CKR_OK)
                (void)puts("done");
        return rv;
}

static int init(const char *path, const char *name, const char *pin_file)
{
        unsigned char label[32], pin[PIN_MAX];
        CK_FUNCTION_LIST *module;
        size_t n_pin = 0;
        CK_RV rv;

        if (!*name || strlen(name) > sizeof(label)) {
                (void)puts("failed\ta token's label has 1 to 32 bytes");
                return 0;
        }
        memset(label, ' ', sizeof(label));
        memcpy(label, name, strlen(name));
        if (read_pin(pin_file, pin, &n_pin) < 0)
                return 0;
        module = load(path);
        if (!module)
                return 0;
        (void)alarm(MODULE_SECONDS);
        rv = make_token(module, label, pin, n_pin);
        explicit_bzero(pin, sizeof(pin));
        if (rv != CKR_OK)
                (void)printf("failed\t%s\n", p11_kit_strerror(rv));
        return 0;
}

static int run(int argc, char **argv)
{
        if (argc == 2 && strcmp(argv[1], "list") == 0)
                return list_all();
        if (argc == 3 && strcmp(argv[1], "list") == 0) {
                CK_FUNCTION_LIST *module = load(argv[2]);

                if (module)
                        list_one(module, argv[2]);
                return 0;
        }
        if (argc == 5 && strcmp(argv[1], "init") == 0)
                return init(argv[2], argv[3], argv[4]);
        if (argc == 2 && strcmp(argv[1], "--version") == 0)
                return puts("certbroker-token " PROJECT_VERSION), 0;
        (void)fputs(help_text, argc == 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : EX_USAGE;
}

int main(int argc, char **argv)
{
        int r = run(argc, argv);

        /* A module's destructors are not our business. */
        _exit(fflush(stdout) == 0 ? r : EX_IOERR);
}
