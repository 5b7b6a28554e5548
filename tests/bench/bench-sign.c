/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long one signature takes: over the message bus, over the private channel, and by C_Sign on the same token in
 * this process. The three take turns in rounds, so that whatever else the machine does meets all of them; it prints
 * the medians in microseconds. Only tests/bench/run uses it.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <p11-kit/pkcs11.h>

#include <certbroker/certbroker.h>

#define ROUNDS    20
#define PER_ROUND 50
#define WARM_UP   20

typedef struct Way {
        const char *name;
        int (*sign)(struct Way *way);
        cb_client *client;
        double usec[ROUNDS * PER_ROUND];
        size_t n;
} Way;

static const char *id, *algorithm;
static CK_FUNCTION_LIST *p11;
static CK_SESSION_HANDLE session;
static CK_OBJECT_HANDLE key;
static CK_RSA_PKCS_PSS_PARAMS pss = { CKM_SHA256, CKG_MGF1_SHA256, 32 };
static CK_MECHANISM mechanism;

static _Noreturn void die(const char *what)
{
        fprintf(stderr, "bench-sign: %s\n", what);
        exit(1);
}

static void must(CK_RV rv, const char *what)
{
        if (rv == CKR_OK)
                return;
        fprintf(stderr, "bench-sign: %s: 0x%lx\n", what, rv);
        exit(1);
}

static double now_usec(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int sign_by_broker(Way *way)
{
        unsigned char digest[32] = { 1 }, signature[1024];
        size_t n = sizeof(signature);
        cb_error error;
        int r;

        r = cb_sign(way->client, id, 0, algorithm, digest, sizeof(digest), signature, &n, &error);
        if (r != 0)
                fprintf(stderr, "bench-sign: %s: %s\n", way->name, error.text);
        return r;
}

static int sign_directly(Way *way)
{
        unsigned char digest[32] = { 1 }, signature[1024];
        CK_ULONG n = sizeof(signature);

        (void)way;
        must(p11->C_SignInit(session, &mechanism, key), "C_SignInit");
        must(p11->C_Sign(session, digest, sizeof(digest), signature, &n), "C_Sign");
        return 0;
}

static CK_SLOT_ID find_slot(const char *label)
{
        CK_SLOT_ID slots[16];
        CK_ULONG n = 16;

        must(p11->C_GetSlotList(CK_TRUE, slots, &n), "C_GetSlotList");
        for (CK_ULONG i = 0; i < n; i++) {
                CK_TOKEN_INFO info;

                must(p11->C_GetTokenInfo(slots[i], &info), "C_GetTokenInfo");
                if (strncmp((const char *)info.label, label, strlen(label)) == 0)
                        return slots[i];
        }
        die("no such token");
}

static void open_token(const char *module, const char *token, const char *pin)
{
        CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
        char *label = strdup(id), *copy = strdup(pin);
        CK_ATTRIBUTE template[] = {
                { CKA_CLASS, &class, sizeof(class) },
                { CKA_LABEL, label, strlen(label) },
        };
        CK_RV (*get_list)(CK_FUNCTION_LIST **);
        CK_ULONG n = 0;
        void *library = dlopen(module, RTLD_NOW);

        if (!library)
                die(dlerror());
        *(void **)&get_list = dlsym(library, "C_GetFunctionList");
        must(get_list(&p11), "C_GetFunctionList");
        must(p11->C_Initialize(NULL), "C_Initialize");
        must(p11->C_OpenSession(find_slot(token), CKF_SERIAL_SESSION, NULL, NULL, &session),
             "C_OpenSession");
        must(p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)copy, strlen(copy)), "C_Login");
        must(p11->C_FindObjectsInit(session, template, 2), "C_FindObjectsInit");
        must(p11->C_FindObjects(session, &key, 1, &n), "C_FindObjects");
        must(p11->C_FindObjectsFinal(session), "C_FindObjectsFinal");
        if (n != 1)
                die("no such key");
        mechanism = (CK_MECHANISM){ CKM_ECDSA, NULL, 0 };
        if (strcmp(algorithm, "rsa-pss-sha256") == 0)
                mechanism = (CK_MECHANISM){ CKM_RSA_PKCS_PSS, &pss, sizeof(pss) };
        free(label);
        free(copy);
}

static int compare(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double median(Way *way)
{
        qsort(way->usec, way->n, sizeof(way->usec[0]), compare);
        return way->usec[way->n / 2];
}

static void measure(Way *way)
{
        for (int i = 0; i < PER_ROUND; i++) {
                double began = now_usec();

                if (way->sign(way) != 0)
                        exit(1);
                way->usec[way->n++] = now_usec() - began;
        }
}

int main(int argc, char **argv)
{
        static Way ways[] = { { .name = "direct", .sign = sign_directly },
                              { .name = "bus", .sign = sign_by_broker },
                              { .name = "channel", .sign = sign_by_broker } };

        if (argc != 8)
                die("usage: bench-sign BUS CHANNEL ID ALGORITHM MODULE TOKEN PIN");
        id = argv[3];
        algorithm = argv[4];
        open_token(argv[5], argv[6], argv[7]);
        if (cb_client_new(argv[1], &ways[1].client) != 0 ||
            cb_client_new(argv[2], &ways[2].client) != 0)
                die("no client");
        for (size_t w = 0; w < 3; w++)
                for (int i = 0; i < WARM_UP; i++)
                        if (ways[w].sign(&ways[w]) != 0)
                                return 1;
        for (int round = 0; round < ROUNDS; round++)
                for (size_t w = 0; w < 3; w++)
                        measure(&ways[w]);
        for (size_t w = 0; w < 3; w++)
                printf("%s %.1f\n", ways[w].name, median(&ways[w]));
        cb_client_free(ways[1].client);
        cb_client_free(ways[2].client);
        return 0;
}
