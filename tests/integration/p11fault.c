/* SPDX-License-Identifier: Apache-2.0 */
/*
 * p11fault: a PKCS#11 module that passes everything on to the module in $P11FAULT_MODULE, but for what the rules in the
 * file $P11FAULT_RULES say. The file is read again whenever it has changed, and all counters begin anew then. Each
 * wrapped call is logged to $P11FAULT_LOG, a line "C_Sign 0x0" each; what is broken by a rule is not passed on.
 *
 * A rule a line: a function's name, then words, in any order:
 *   after=N       not the first N calls          count=N    N times at most
 *   type=0xN      C_GetMechanismInfo: only for this mechanism; C_GetAttributeValue: for this attribute;
 *                 C_GetSlotList: 0 to be told how many there are, 1 to get them
 *   rv=0xN        answers this                   delay=N    first waits N milliseconds
 *   late          with rv: only after the call has been passed on and done its work
 *   hang          never answers                  crash      abort()
 *   n=N           C_Sign, C_GetAttributeValue, C_GetSlotList, C_FindObjects: says that it is so much
 *   flipbit       C_Sign: one bit of the result  flags|=0xN C_GetTokenInfo: sets these flags
 *   vendor        C_GetTokenInfo: of another manufacturer
 *   sessions=N    C_OpenSession: no more than N at once
 *   eat=N         first takes N MiB of memory, and keeps them
 *   alone         CKR_GENERAL_ERROR when another wrapped call is running
 *   apart         CKR_GENERAL_ERROR when another call that has to do with objects runs beside it
 *
 * A test tool: it is not installed, and holds nothing back for speed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

#define RULES_MAX 64
#define ANY_TYPE  (~0UL)

typedef struct Rule {
        char function[48];
        unsigned long after, count, type, rv, delay_msec, flags, n, sessions, eat_mib;
        bool has_rv, has_n, hang, crash, flipbit, alone, apart, late, vendor;
        unsigned long n_seen, n_done;
} Rule;

static struct {
        pthread_mutex_t lock;
        CK_FUNCTION_LIST *real;
        CK_FUNCTION_LIST list;
        Rule rules[RULES_MAX];
        size_t n_rules;
        struct stat read_at;
        unsigned long n_sessions;
        unsigned n_running;
        unsigned n_objects, n_objects_begun; /* calls that have to do with objects */
} state = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Rules */

static unsigned long number(const char *text)
{
        return strtoul(text, NULL, 0);
}

static bool take(const char *word, const char *key, unsigned long *place)
{
        size_t n = strlen(key);

        if (strncmp(word, key, n) != 0)
                return false;
        *place = number(word + n);
        return true;
}

static void parse_word(Rule *rule, const char *word)
{
        if (take(word, "after=", &rule->after) || take(word, "count=", &rule->count) ||
            take(word, "type=", &rule->type) || take(word, "delay=", &rule->delay_msec) ||
            take(word, "flags|=", &rule->flags) || take(word, "sessions=", &rule->sessions) ||
            take(word, "eat=", &rule->eat_mib))
                return;
        if (take(word, "rv=", &rule->rv))
                rule->has_rv = true;
        else if (take(word, "n=", &rule->n))
                rule->has_n = true;
        else if (strcmp(word, "hang") == 0)
                rule->hang = true;
        else if (strcmp(word, "crash") == 0)
                rule->crash = true;
        else if (strcmp(word, "flipbit") == 0)
                rule->flipbit = true;
        else if (strcmp(word, "late") == 0)
                rule->late = true;
        else if (strcmp(word, "vendor") == 0)
                rule->vendor = true;
        else if (strcmp(word, "alone") == 0)
                rule->alone = true;
        else if (strcmp(word, "apart") == 0)
                rule->apart = true;
        else
                fprintf(stderr, "p11fault: unknown word '%s'\n", word);
}

static void parse_line(char *line)
{
        Rule rule = { .count = ~0UL, .type = ANY_TYPE };
        char *rest = NULL, *word = strtok_r(line, " \t\n", &rest);

        if (!word || *word == '#' || state.n_rules == RULES_MAX)
                return;
        snprintf(rule.function, sizeof(rule.function), "%s", word);
        while ((word = strtok_r(NULL, " \t\n", &rest)))
                parse_word(&rule, word);
        state.rules[state.n_rules++] = rule;
}

static void read_rules_locked(void)
{
        const char *path = getenv("P11FAULT_RULES");
        struct stat st;
        char line[256];
        FILE *file;

        if (!path || stat(path, &st) < 0)
                return;
        if (st.st_ino == state.read_at.st_ino && st.st_size == state.read_at.st_size &&
            st.st_mtim.tv_sec == state.read_at.st_mtim.tv_sec &&
            st.st_mtim.tv_nsec == state.read_at.st_mtim.tv_nsec)
                return;
        file = fopen(path, "re");
        if (!file)
                return;
        state.read_at = st;
        state.n_rules = 0;
        while (fgets(line, sizeof(line), file))
                parse_line(line);
        fclose(file);
}

static bool is_of_objects(const char *function)
{
        static const char *const functions[] = { "C_FindObjectsInit", "C_GetAttributeValue",
                                                 "C_CreateObject",    "C_CopyObject",
                                                 "C_DestroyObject" };

        for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
                if (strcmp(functions[i], function) == 0)
                        return true;
        return false;
}

/* What the rules say of this call; all together. Counts it. */
static Rule effect_of(const char *function, unsigned long type)
{
        Rule effect = { 0 };

        pthread_mutex_lock(&state.lock);
        read_rules_locked();
        for (size_t i = 0; i < state.n_rules; i++) {
                Rule *rule = &state.rules[i];

                if (strcmp(rule->function, function) != 0 ||
                    (rule->type != ANY_TYPE && rule->type != type))
                        continue;
                if (rule->n_seen++ < rule->after || rule->n_done >= rule->count)
                        continue;
                rule->n_done++;
                effect.delay_msec += rule->delay_msec;
                effect.eat_mib += rule->eat_mib;
                effect.flags |= rule->flags;
                effect.hang |= rule->hang;
                effect.crash |= rule->crash;
                effect.flipbit |= rule->flipbit;
                effect.late |= rule->late;
                if (rule->has_n) {
                        effect.has_n = true;
                        effect.n = rule->n;
                }
                effect.vendor |= rule->vendor;
                effect.apart |= rule->apart;
                if (rule->has_rv) {
                        effect.has_rv = true;
                        effect.rv = rule->rv;
                }
                if ((rule->alone && state.n_running > 0) ||
                    (rule->sessions && state.n_sessions >= rule->sessions)) {
                        effect.has_rv = true;
                        effect.rv = rule->alone ? CKR_GENERAL_ERROR : CKR_SESSION_COUNT;
                }
        }
        if (effect.apart && state.n_objects > 0) {
                effect.has_rv = true;
                effect.rv = CKR_GENERAL_ERROR;
        }
        state.n_running++;
        if (is_of_objects(function)) {
                state.n_objects++;
                state.n_objects_begun++;
        }
        effect.n_seen = state.n_objects_begun;
        pthread_mutex_unlock(&state.lock);
        return effect;
}

/* Has another begun while this one waited? */
static bool was_joined(const Rule *effect)
{
        bool joined;

        pthread_mutex_lock(&state.lock);
        joined = effect->apart && effect->n_seen != state.n_objects_begun;
        pthread_mutex_unlock(&state.lock);
        return joined;
}

static void wait_msec(unsigned long msec)
{
        struct timespec left = { (time_t)(msec / 1000), (long)(msec % 1000) * 1000000 };

        while (nanosleep(&left, &left) < 0 && errno == EINTR)
                ;
}

/* Written to: what is only promised costs nothing. */
static void eat(unsigned long mib)
{
        for (; mib > 0; mib--) {
                char *memory = malloc(1 << 20);

                if (memory)
                        memset(memory, 0xa5, 1 << 20);
                __asm__ volatile("" : : "r"(memory) : "memory");
        }
}

static void log_call(const char *function, CK_RV rv)
{
        const char *path = getenv("P11FAULT_LOG");
        char line[96];
        int fd, n;

        if (!path)
                return;
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                return;
        n = snprintf(line, sizeof(line), "%s 0x%lx\n", function, rv);
        if (write(fd, line, (size_t)n) < 0)
                perror("p11fault: log");
        close(fd);
}

/* Before a call: true, and it is not passed on. */
static bool before(const char *function, unsigned long type, Rule *effect, CK_RV *ret_rv)
{
        *effect = effect_of(function, type);
        if (effect->delay_msec)
                wait_msec(effect->delay_msec);
        eat(effect->eat_mib);
        if (was_joined(effect)) {
                effect->has_rv = true;
                effect->rv = CKR_GENERAL_ERROR;
        }
        if (effect->crash) {
                log_call(function, 0xdead);
                abort();
        }
        if (effect->hang)
                log_call(function, 0xdead);
        while (effect->hang)
                wait_msec(60000);
        if (effect->has_rv)
                *ret_rv = effect->rv;
        return effect->has_rv && !effect->late;
}

static CK_RV after(const char *function, CK_RV rv)
{
        pthread_mutex_lock(&state.lock);
        state.n_running--;
        state.n_objects -= is_of_objects(function);
        pthread_mutex_unlock(&state.lock);
        log_call(function, rv);
        return rv;
}

static void count_sessions(long change, bool reset)
{
        pthread_mutex_lock(&state.lock);
        state.n_sessions = reset ? 0 : state.n_sessions + (unsigned long)change;
        pthread_mutex_unlock(&state.lock);
}

/* The calls */

#define WRAP(name, parameters, arguments)                                                          \
        static CK_RV fault_##name parameters                                                       \
        {                                                                                          \
                Rule effect;                                                                       \
                CK_RV rv;                                                                          \
                                                                                                   \
                if (!before(#name, 0, &effect, &rv))                                               \
                        rv = state.real->name arguments;                                           \
                if (effect.has_rv && effect.late)                                                  \
                        rv = effect.rv;                                                            \
                return after(#name, rv);                                                           \
        }

WRAP(C_Initialize, (void *args), (args))
WRAP(C_GetInfo, (CK_INFO * info), (info))
WRAP(C_GetSlotInfo, (CK_SLOT_ID slot, CK_SLOT_INFO *info), (slot, info))
WRAP(C_GetSessionInfo, (CK_SESSION_HANDLE session, CK_SESSION_INFO *info), (session, info))
WRAP(C_Login, (CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG n),
     (session, user, pin, n))
WRAP(C_Logout, (CK_SESSION_HANDLE session), (session))
WRAP(C_FindObjectsInit, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *filter, CK_ULONG n),
     (session, filter, n))
WRAP(C_FindObjectsFinal, (CK_SESSION_HANDLE session), (session))
WRAP(C_CreateObject,
     (CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG n, CK_OBJECT_HANDLE *object),
     (session, attributes, n, object))
WRAP(C_CopyObject,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, CK_ULONG n,
      CK_OBJECT_HANDLE *copy),
     (session, object, attributes, n, copy))
WRAP(C_DestroyObject, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), (session, object))
WRAP(C_SignInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
     (session, mechanism, key))

WRAP(C_DecryptInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
     (session, mechanism, key))
WRAP(C_Decrypt,
     (CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG n_data, CK_BYTE *out, CK_ULONG *n_out),
     (session, data, n_data, out, n_out))
WRAP(C_GenerateKeyPair,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public, CK_ULONG n_public,
      CK_ATTRIBUTE *private, CK_ULONG n_private, CK_OBJECT_HANDLE *ret_public,
      CK_OBJECT_HANDLE *ret_private),
     (session, mechanism, public, n_public, private, n_private, ret_public, ret_private))
WRAP(C_WrapKey,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
      CK_OBJECT_HANDLE key, CK_BYTE *wrapped, CK_ULONG *n_wrapped),
     (session, mechanism, wrapping, key, wrapped, n_wrapped))

/* Those that answer with a length, true or not. */
#define WRAP_LENGTH(name, type, length, parameters, arguments)                                     \
        static CK_RV fault_##name parameters                                                       \
        {                                                                                          \
                Rule effect;                                                                       \
                CK_RV rv;                                                                          \
                                                                                                   \
                if (!before(#name, type, &effect, &rv))                                            \
                        rv = state.real->name arguments;                                           \
                if (effect.has_n)                                                                  \
                        length = effect.n;                                                         \
                return after(#name, rv);                                                           \
        }

WRAP_LENGTH(C_GetSlotList, list != NULL, *n, (CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *n),
            (present, list, n))
WRAP_LENGTH(C_FindObjects, 0, *n,
            (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *n),
            (session, objects, max, n))
WRAP_LENGTH(C_GetAttributeValue, attributes->type, attributes->ulValueLen,
            (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes,
             CK_ULONG n),
            (session, object, attributes, n))

static CK_RV fault_C_Finalize(void *reserved)
{
        Rule effect;
        CK_RV rv;

        if (!before("C_Finalize", 0, &effect, &rv))
                rv = state.real->C_Finalize(reserved);
        count_sessions(0, true);
        return after("C_Finalize", rv);
}

static CK_RV fault_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
        Rule effect;
        CK_RV rv;

        if (!before("C_GetTokenInfo", 0, &effect, &rv))
                rv = state.real->C_GetTokenInfo(slot, info);
        if (rv == CKR_OK)
                info->flags |= effect.flags;
        if (rv == CKR_OK && effect.vendor)
                memcpy(info->manufacturerID, "p11fault", strlen("p11fault"));
        return after("C_GetTokenInfo", rv);
}

static CK_RV fault_C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type,
                                      CK_MECHANISM_INFO *info)
{
        Rule effect;
        CK_RV rv;

        if (!before("C_GetMechanismInfo", type, &effect, &rv))
                rv = state.real->C_GetMechanismInfo(slot, type, info);
        return after("C_GetMechanismInfo", rv);
}

static CK_RV fault_C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *application,
                                 CK_NOTIFY notify, CK_SESSION_HANDLE *session)
{
        Rule effect;
        CK_RV rv;

        if (!before("C_OpenSession", 0, &effect, &rv))
                rv = state.real->C_OpenSession(slot, flags, application, notify, session);
        if (rv == CKR_OK)
                count_sessions(1, false);
        return after("C_OpenSession", rv);
}

static CK_RV fault_C_CloseSession(CK_SESSION_HANDLE session)
{
        Rule effect;
        CK_RV rv;

        if (!before("C_CloseSession", 0, &effect, &rv))
                rv = state.real->C_CloseSession(session);
        if (rv == CKR_OK)
                count_sessions(-1, false);
        return after("C_CloseSession", rv);
}

static CK_RV fault_C_Sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG n_data,
                          CK_BYTE *signature, CK_ULONG *n_signature)
{
        Rule effect;
        CK_RV rv;

        if (!before("C_Sign", 0, &effect, &rv))
                rv = state.real->C_Sign(session, data, n_data, signature, n_signature);
        if (rv == CKR_OK && effect.flipbit && signature)
                signature[*n_signature - 1] ^= 1;
        if (effect.has_n)
                *n_signature = effect.n;
        return after("C_Sign", rv);
}

static CK_RV load_real(void)
{
        const char *path = getenv("P11FAULT_MODULE");
        CK_C_GetFunctionList get = NULL;
        void *library;

        library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
        if (library)
                *(void **)&get = dlsym(library, "C_GetFunctionList");
        if (!get) {
                fprintf(stderr, "p11fault: $P11FAULT_MODULE: %s\n", path ? dlerror() : "not set");
                return CKR_GENERAL_ERROR;
        }
        return get(&state.real);
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
        CK_RV rv = load_real();

        if (rv != CKR_OK)
                return rv;
        state.list = *state.real;
        state.list.C_GetFunctionList = C_GetFunctionList;
        state.list.C_Initialize = fault_C_Initialize;
        state.list.C_Finalize = fault_C_Finalize;
        state.list.C_GetInfo = fault_C_GetInfo;
        state.list.C_GetSlotList = fault_C_GetSlotList;
        state.list.C_GetSlotInfo = fault_C_GetSlotInfo;
        state.list.C_GetTokenInfo = fault_C_GetTokenInfo;
        state.list.C_GetMechanismInfo = fault_C_GetMechanismInfo;
        state.list.C_OpenSession = fault_C_OpenSession;
        state.list.C_CloseSession = fault_C_CloseSession;
        state.list.C_GetSessionInfo = fault_C_GetSessionInfo;
        state.list.C_Login = fault_C_Login;
        state.list.C_Logout = fault_C_Logout;
        state.list.C_FindObjectsInit = fault_C_FindObjectsInit;
        state.list.C_FindObjects = fault_C_FindObjects;
        state.list.C_FindObjectsFinal = fault_C_FindObjectsFinal;
        state.list.C_GetAttributeValue = fault_C_GetAttributeValue;
        state.list.C_CreateObject = fault_C_CreateObject;
        state.list.C_CopyObject = fault_C_CopyObject;
        state.list.C_DestroyObject = fault_C_DestroyObject;
        state.list.C_SignInit = fault_C_SignInit;
        state.list.C_Sign = fault_C_Sign;
        state.list.C_DecryptInit = fault_C_DecryptInit;
        state.list.C_Decrypt = fault_C_Decrypt;
        state.list.C_GenerateKeyPair = fault_C_GenerateKeyPair;
        state.list.C_WrapKey = fault_C_WrapKey;
        *ret_list = &state.list;
        return CKR_OK;
}
