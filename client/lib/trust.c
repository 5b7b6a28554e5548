/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom the library talks to. link.c asks here between connect(2) and the first byte, for every
 * address and every program; connect.c asks once more for who owns the broker's name on a bus.
 *
 * The uid is the kernel's word (SO_PEERCRED: of whoever called listen(2), so it does not change
 * between the check and what is sent). Root and oneself are believed; so is the user that buses of
 * this host run as where a bus was asked for, and the broker's user where its channel was. Which of
 * the two was asked for is decided by the address alone: an abstract name is free for anybody to
 * take while its server is away, and he would answer whatever suits him.
 */
#include "trust.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "build-config.h"
#include "error.h"

#define CHANNEL_END  "/channel" /* the broker makes it of its runtime directory */
#define OVERFLOW_UID 65534      /* what the kernel tells of a uid that a user namespace lacks */
#define ALL_UIDS     UINT64_C(0xffffffff)

static uid_t uid_of_user(const char *name)
{
        struct passwd entry, *found = NULL;
        char buffer[4096];

        if (getpwnam_r(name, &entry, buffer, sizeof(buffer), &found) == 0 && found)
                return entry.pw_uid;
        return TRUST_NO_UID;
}

/*
 * "uid_map" in user_namespaces(7): a range a line, of which the last number is the length. A kernel
 * without user namespaces has no such file; -1: no /proc, as in a chroot.
 */
static int lacks_uids(void)
{
        unsigned long long n, n_all = 0;
        FILE *from = fopen("/proc/self/uid_map", "re");

        if (!from)
                return access("/proc/self/stat", F_OK) == 0 ? 0 : -1;
        while (fscanf(from, "%*u %*u %llu", &n) == 1)
                n_all += n;
        (void)fclose(from);
        return n_all < ALL_UIDS;
}

void trust_init(Trust *trust)
{
        int lacking = lacks_uids();

        *trust = (Trust){ .bus_uid = uid_of_user(BUS_USER),
                          .broker_uid = uid_of_user(BROKER_USER),
                          .lacks_uids = lacking > 0,
                          .may_lack_uids = lacking != 0 };
}

static bool is_channel_name(const Address *address)
{
        const size_t head = offsetof(struct sockaddr_un, sun_path), n_end = strlen(CHANNEL_END);
        const char *path = address->socket.sun_path;
        bool is_abstract = path[0] == '\0';
        size_t n = is_abstract ? address->n_socket - head : strlen(path);

        return n >= n_end && memcmp(path + n - n_end, CHANNEL_END, n_end) == 0;
}

bool trust_is_bus(const Wanted *wanted, const Address *address)
{
        switch (wanted->kind) {
        case PEER_BY_NAME:
                return !is_channel_name(address);
        case PEER_BUS:
                return true;
        case PEER_CHANNEL:
                return false;
        }
        return false;
}

static bool is_trusted(const Trust *trust, uid_t uid, uid_t its_user)
{
        if (uid == TRUST_NO_UID || (uid == OVERFLOW_UID && trust->may_lack_uids))
                return false;
        return uid == 0 || uid == geteuid() || uid == its_user;
}

/* A bus tells the uids of its own user namespace: in another, oneself is of another number there. */
bool trust_is_broker(const Trust *trust, uid_t uid)
{
        if (trust->lacks_uids)
                return uid == 0 || (uid != TRUST_NO_UID && uid == trust->broker_uid);
        return is_trusted(trust, uid, trust->broker_uid);
}

int trust_check(const Wanted *wanted, const Address *address, uid_t uid, cb_error *error)
{
        const Trust *trust = wanted->trust;
        bool is_bus = trust_is_bus(wanted, address);

        if (is_trusted(trust, uid, is_bus ? trust->bus_uid : trust->broker_uid) &&
            (wanted->only == TRUST_NO_UID || wanted->only == uid))
                return 0;
        if (is_bus)
                return error_set(error, CB_ACCESS_DENIED,
                                 "The message bus at %s is of user %u, who is neither root, nor "
                                 "oneself, nor " BUS_USER "; nothing was sent to it. (It would be "
                                 "certbrokerd's own channel if its name ended in " CHANNEL_END ".)",
                                 address->text, (unsigned)uid);
        return error_set(error, CB_ACCESS_DENIED,
                         "The channel at %s is of user %u, who is not the broker: neither root, nor "
                         "oneself, nor " BROKER_USER "; nothing was sent to it.",
                         address->text, (unsigned)uid);
}
