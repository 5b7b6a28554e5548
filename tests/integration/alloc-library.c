/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program does with libcertbroker while memory runs out (alloc-fault.c is preloaded): each operation is tried with
 * its first allocation failing, then with its second, and so on until nothing fails any more; then anew with all failing
 * from that one on. An operation that fails says -ENOMEM; one that does not gives what it always gives; after it all works
 * as before, and no descriptor is left.
 *
 * alloc-library BUS STEP: the first allocations are tried one by one, those after them in steps. Prints a line an operation.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <certbroker/certbroker.h>

#include "alloc-fault.h"

#define EACH       40 /* so many are tried one by one */
#define TEXT_SIZE  1024
#define DIGEST     "0123456789abcdef0123456789abcdef"
#define PATH       "/org/certbroker1/certificate/client"
#define CALL_USEC  (20 * UINT64_C(1000000))
#define ALARM_SECS 60 /* whatever hangs */

static const char *bus;
static cb_client *client; /* lives on through all failures */
static cb_watch *watch;

/* ------------------------------------------------------------------ operations */

static int fresh_client(cb_client **ret_client)
{
        int r = cb_client_new(bus, ret_client);

        if (r == 0)
                cb_client_set_timeouts(*ret_client, CALL_USEC, CALL_USEC);
        return r;
}

static int sign(cb_client *by, char *text, cb_error *error)
{
        uint8_t signature[512];
        size_t n = sizeof(signature);
        int r = cb_sign(by, "client", 0, "rsa-pkcs1-sha256", DIGEST, 32, signature, &n, error);

        for (size_t i = 0; r == 0 && i < n && i < TEXT_SIZE / 2 - 1; i++)
                sprintf(text + 2 * i, "%02x", signature[i]);
        return r < 0 && !error->text[0] ? -EBADE : r; /* without a word */
}

static int do_client(char *text, cb_error *error)
{
        cb_client *fresh = NULL;
        int r = fresh_client(&fresh);

        cb_client_free(fresh);
        return r;
}

static int do_connect(char *text, cb_error *error)
{
        cb_client *fresh = NULL;
        int r = fresh_client(&fresh);

        if (r == 0)
                r = sign(fresh, text, error);
        cb_client_free(fresh);
        return r;
}

static int do_sign(char *text, cb_error *error)
{
        return sign(client, text, error);
}

static int do_sign_tls(char *text, cb_error *error)
{
        uint8_t signature[512];
        size_t n = sizeof(signature);
        int r = cb_sign_tls(client, "client", 1, "rsa-pss-sha256", "client", DIGEST, 32, signature,
                            &n, error);

        sprintf(text, "%zu", r ? 0 : n); /* with a salt, another one each time */
        return r;
}

static void tell(const cb_credential *c, char *text)
{
        int n = snprintf(text, TEXT_SIZE, "%s %" PRIu64 " %zu %s %s %s", c->id, c->generation,
                         c->n_chain, c->key, c->thumbprint, c->url ? c->url : "-");

        for (char **word = c->algorithms; *word; word++)
                n += snprintf(text + n, TEXT_SIZE - (size_t)n, " %s", *word);
        for (char **word = c->server_names; word && *word; word++)
                n += snprintf(text + n, TEXT_SIZE - (size_t)n, " %s", *word);
}

static int told(int r, cb_credential *credential, char *text)
{
        if (r == 0)
                tell(credential, text);
        cb_credential_free(credential);
        return r;
}

static int do_credential(char *text, cb_error *error)
{
        cb_credential *c = NULL;
        int r = cb_get_credential(client, "orders", &c, error);

        return told(r, c, text);
}

static int do_certificate(char *text, cb_error *error)
{
        cb_credential *c = NULL;
        int r = cb_get_certificate(client, "client", &c, error);

        return told(r, c, text);
}

static int do_generation(char *text, cb_error *error)
{
        cb_credential *c = NULL;
        int r = cb_get_generation(client, "client", 1, &c, error);

        return told(r, c, text);
}

static int do_watch(char *text, cb_error *error)
{
        cb_credential *c = NULL;
        cb_watch *fresh = NULL;
        int r = cb_watch_new(client, "orders", &fresh);

        if (r == 0)
                r = cb_watch_wait(fresh, CALL_USEC, &c, error);
        cb_watch_free(fresh);
        return told(r, c, text);
}

static int change_url(const char *url, cb_error *error)
{
        cb_method method = { .path = "/org/certbroker1/backend/orders",
                             .interface = "org.certbroker1.Backend",
                             .member = "Change" };
        cb_value *reply = NULL;
        cb_dict *settings = NULL;
        int r = cb_dict_new(&settings);

        if (r == 0)
                r = cb_dict_set_string(settings, "Url", url);
        if (r == 0)
                r = cb_call(client, &method, &reply, error, "a{sv}", settings);
        cb_value_free(reply);
        cb_dict_free(settings);
        return r;
}

/* A watch that goes on: what it could not give for want of memory it gives later. */
static int do_watch_wait(char *text, cb_error *error)
{
        static unsigned turn;
        bool is_given = false;
        char url[64];
        int r = 0;

        snprintf(url, sizeof(url), "https://localhost:%u/", 1024 + turn++);
        if (!watch)
                r = cb_watch_new(client, "orders", &watch);
        if (r == 0)
                r = change_url(url, error);
        while (r == 0 && !is_given) {
                cb_credential *c = NULL;

                r = cb_watch_wait(watch, CALL_USEC, &c, error);
                is_given = r == 0 && strcmp(c->url, url) == 0;
                cb_credential_free(c);
        }
        return r;
}

static int do_list(char *text, cb_error *error)
{
        cb_method method = { .path = PATH,
                             .interface = "org.freedesktop.DBus.Properties",
                             .member = "GetAll" };
        cb_value *reply = NULL;
        const cb_value *all;
        int r = cb_call(client, &method, &reply, error, "s", "org.certbroker1.Certificate");

        all = cb_value_at(reply, 0);
        for (size_t i = 0; r == 0 && i < all->as.list.n; i++)
                strncat(text, all->as.list.keys[i], TEXT_SIZE - strlen(text) - 1);
        cb_value_free(reply);
        return r;
}

static int do_dict(char *text, cb_error *error)
{
        static const uint32_t groups[] = { 5, 6 };
        cb_method method = { .member = "CheckAccess" };
        cb_value *reply = NULL;
        cb_dict *subject = NULL;
        int r = cb_dict_new(&subject);

        if (r == 0)
                r = cb_dict_set_uint32(subject, "uid", 4);
        if (r == 0)
                r = cb_dict_set_uint32s(subject, "gids", groups, 2);
        if (r == 0)
                r = cb_dict_set_string(subject, "unit", "nginx.service");
        if (r == 0)
                r = cb_call(client, &method, &reply, error, "a{sv}so", subject, "use", PATH);
        if (r == 0)
                snprintf(text, TEXT_SIZE, "%s", cb_value_string(cb_value_at(reply, 1), ""));
        cb_value_free(reply);
        cb_dict_free(subject);
        return r;
}

/* An error of the broker's stays that error. */
static int do_refused(char *text, cb_error *error)
{
        cb_credential *c = NULL;
        int r = cb_get_credential(client, "nobody", &c, error);

        cb_credential_free(c);
        if (r == CB_NOT_FOUND)
                snprintf(text, TEXT_SIZE, "%s", error->text);
        return r == CB_NOT_FOUND ? 0 : r == 0 ? -EBADE : r;
}

static int do_pid(char *text, cb_error *error)
{
        pid_t pid = 0;
        int r = cb_broker_pid(client, &pid, error);

        sprintf(text, "%d", r ? 0 : pid);
        return r;
}

static int do_path(char *text, cb_error *error)
{
        char *path = NULL;
        int r = cb_object_path("certificate", "client-1", &path);

        snprintf(text, TEXT_SIZE, "%s", path ? path : "");
        free(path);
        return r;
}

static const struct Operation {
        const char *name;
        int (*run)(char *text, cb_error *error);
} operations[] = {
        { "cb_client_new", do_client },
        { "first-call", do_connect },
        { "cb_sign", do_sign },
        { "cb_sign_tls", do_sign_tls },
        { "cb_get_credential", do_credential },
        { "cb_get_certificate", do_certificate },
        { "cb_get_generation", do_generation },
        { "cb_watch", do_watch },
        { "cb_watch_wait", do_watch_wait },
        { "cb_call", do_list },
        { "cb_dict", do_dict },
        { "refusal", do_refused },
        { "cb_broker_pid", do_pid },
        { "cb_object_path", do_path },
};

/* ------------------------------------------------------------------ the walk */

typedef struct Outcome {
        int r;
        char text[TEXT_SIZE];
        cb_error error;
} Outcome;

static unsigned count_descriptors(void)
{
        DIR *directory = opendir("/proc/self/fd");
        unsigned n = 0;

        while (directory && readdir(directory))
                n++;
        if (directory)
                closedir(directory);
        return n;
}

static void run(const struct Operation *operation, Outcome *ret_outcome)
{
        memset(ret_outcome, 0, sizeof(*ret_outcome));
        alarm(ALARM_SECS);
        ret_outcome->r = operation->run(ret_outcome->text, &ret_outcome->error);
        alarm(0);
}

static void complain(const struct Operation *operation, const Outcome *outcome, uint64_t nth,
                     const char *what)
{
        printf("%s, allocation %" PRIu64 ": %s: %d \"%s\" %s\n%s", operation->name, nth, what,
               outcome->r, outcome->error.text, outcome->text, alloc_fault_trace());
        fflush(stdout);
}

/* True: an allocation has failed. */
static bool step(const struct Operation *operation, const Outcome *right, uint64_t nth,
                 uint64_t n_wanted, unsigned *n_wrong)
{
        Outcome outcome, after;
        bool failed;

        alloc_fault_arm(nth, n_wanted, WHOSE_EVERYBODY);
        run(operation, &outcome);
        failed = alloc_fault_disarm() > 0;
        run(operation, &after);
        if (outcome.r == 0 ? strcmp(outcome.text, right->text) != 0 : outcome.r != -ENOMEM) {
                complain(operation, &outcome, nth, "wrong");
                (*n_wrong)++;
        }
        if (after.r != 0 || strcmp(after.text, right->text) != 0) {
                complain(operation, &after, nth, "does not work again");
                (*n_wrong)++;
        }
        return failed;
}

static unsigned walk(const struct Operation *operation, uint64_t stride, uint64_t n_wanted)
{
        unsigned n_failed = 0, n_wrong = 0, n_before;
        Outcome right;

        run(operation, &right); /* what is made once is made */
        run(operation, &right);
        if (right.r != 0) {
                complain(operation, &right, 0, "does not work at all");
                return 1;
        }
        n_before = count_descriptors();
        for (uint64_t nth = 1; step(operation, &right, nth, n_wanted, &n_wrong); n_failed++)
                nth += nth < EACH ? 1 : stride;
        if (count_descriptors() > n_before) {
                complain(operation, &right, 0, "has left descriptors");
                n_wrong++;
        }
        printf("%s: %u failed %s, %u wrong\n", operation->name, n_failed,
               n_wanted == 1 ? "alone" : "with all after them", n_wrong);
        fflush(stdout);
        return n_wrong;
}

int main(int argc, char **argv)
{
        uint64_t stride = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
        unsigned n_wrong = 0;

        bus = argv[1];
        if (fresh_client(&client))
                return 1;
        for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
                for (uint64_t n = 1; n != UINT64_MAX; n = n == 1 ? UINT64_MAX - 1 : UINT64_MAX)
                        n_wrong += walk(&operations[i], stride, n);
        cb_watch_free(watch);
        cb_client_free(client);
        return n_wrong > 0;
}
