/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An audit log as the daemon finds it when it starts, whoever has written in it meanwhile. Holds: nothing crashes or
 * leaks; the head is that of the last whole line that is a record; and an expected head is met only where it is there.
 */
#include "fuzz-text.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "broker/audit/tail.h"

/* A log that is whole is found again by its own head; none is by another. */
static void check_head(int fd, const AuditTail *tail)
{
        AuditHead other = tail->head;
        AuditTail again;

        FUZZ_CHECK(strlen(tail->head.hash) == sizeof(tail->head.hash) - 1);
        if (tail->head.seq == 0)
                return;
        audit_tail_init(&again, &tail->head);
        FUZZ_CHECK(audit_tail_read(fd, &tail->head, &again) == 0);
        FUZZ_CHECK(again.has_expected || !tail->has_expected);
        other.hash[0] = other.hash[0] == '0' ? '1' : '0';
        audit_tail_init(&again, &other);
        FUZZ_CHECK(audit_tail_read(fd, &other, &again) == 0 && !again.has_expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        CLEANUP(closep) int fd = memfd_create("audit.jsonl", MFD_CLOEXEC);
        const AuditHead none = { .seq = 0, .hash = "" };
        AuditHead first = { 0 };
        AuditTail tail;

        audit_tail_init(&tail, &none);
        FUZZ_CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
        FUZZ_CHECK(audit_tail_read(fd, &none, &tail) == 0);
        FUZZ_CHECK(tail.torn == (n > 0 && data[n - 1] != '\n'));
        check_head(fd, &tail);
        if (audit_first_read(fd, &first) == 0)
                FUZZ_CHECK(first.seq > 0 && strlen(first.hash) == sizeof(first.hash) - 1);
        return 0;
}
