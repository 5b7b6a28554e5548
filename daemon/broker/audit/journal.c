/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speaks the journal's native protocol: a datagram of lines FIELD=value to its socket, found by name for each, so that a
 * journal that starts later or anew is found. The invariant: it never waits, never fails a request and says nothing
 * anywhere else; what the journal does not take at once is not in the journal, and CERTBROKER_SEQ shows that. No value
 * can end its line: all text is escaped.
 */
#include "broker/audit/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/strings.h"

#define ENTRY_MAX 8192
#define TEXT_MAX  512

struct Journal {
        int fd;
        struct sockaddr_un address;
};

typedef struct Entry {
        char text[ENTRY_MAX];
        size_t n;
        bool failed;
} Entry;

int journal_new(const char *path, Journal **ret_journal)
{
        CLEANUP(journal_freep) Journal *journal = calloc(1, sizeof(*journal));

        if (!journal)
                return -ENOMEM;
        journal->fd = -1;
        journal->address.sun_family = AF_UNIX;
        if (strlen(path) >= sizeof(journal->address.sun_path))
                return -EINVAL;
        memcpy(journal->address.sun_path, path, strlen(path) + 1);
        journal->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (journal->fd < 0)
                return -errno;
        *ret_journal = TAKE(journal);
        return 0;
}

Journal *journal_free(Journal *journal)
{
        if (!journal)
                return NULL;

        close_fd(journal->fd);
        free(journal);
        return NULL;
}

static void PRINTF(2, 3) put(Entry *entry, const char *format, ...)
{
        size_t n_left = sizeof(entry->text) - entry->n;
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(entry->text + entry->n, n_left, format, arguments);
        va_end(arguments);
        if (n < 0 || (size_t)n >= n_left)
                entry->failed = true;
        else
                entry->n += (size_t)n;
}

static void put_text(Entry *entry, const char *before, const char *text, const char *after)
{
        CLEANUP(freep) char *escaped = NULL;

        if (!text || !text[0])
                return;
        escaped = text_escape(text, strlen(text), TEXT_MAX);
        if (escaped)
                put(entry, "%s%s%s", before, escaped, after);
        else
                entry->failed = true;
}

/* As syslog(3) has them: info; notice for a refusal; err where the log itself is wrong. */
static int priority_of(const AuditRecord *record)
{
        if (string_equal(record->event, AUDIT_EVENT_GAP) ||
            string_equal(record->event, AUDIT_EVENT_REMOVED))
                return 3;
        return string_equal(record->result, "ok") ? 6 : 5;
}

static void put_sum(Entry *entry, const RefusalSum *sum)
{
        put_text(entry, "CERTBROKER_REFUSED=", sum->event, "\n");
        put(entry,
            "CERTBROKER_COUNT=%" PRIu64 "\nCERTBROKER_USERS=%" PRIu32
            "\nCERTBROKER_UID_LAST=%" PRIu32 "\n",
            sum->n, sum->n_users, sum->uid_last);
}

static void put_record(Entry *entry, const AuditHead *head, const AuditRecord *record)
{
        const struct {
                const char *field, *text;
        } texts[] = {
                { "CERTBROKER_EVENT=", record->event },
                { "CERTBROKER_UNIT=", record->unit },
                { "CERTBROKER_OBJECT=", record->object },
                { "CERTBROKER_ALGORITHM=", record->algorithm },
                { "CERTBROKER_GRANT=", record->grant },
                { "CERTBROKER_CERTIFICATE=", record->certificate },
                { "CERTBROKER_FORCE=", record->forced ? "yes" : NULL },
                { "CERTBROKER_RESULT=", record->result },
        };

        put_text(entry, "MESSAGE=", record->event, "");
        put_text(entry, " of ", record->object, "");
        if (record->sum)
                put(entry, ": %" PRIu64 " of", record->sum->n);
        if (record->sum)
                put_text(entry, " ", record->sum->event, "");
        put(entry, " by uid %" PRIu32, record->uid);
        if (record->sum && record->sum->uid_last != record->uid)
                put(entry, " to %" PRIu32, record->sum->uid_last);
        put_text(entry, ": ", record->result, "");
        put(entry, "\nPRIORITY=%d\nSYSLOG_IDENTIFIER=certbrokerd\n", priority_of(record));
        put(entry,
            "CERTBROKER_SEQ=%" PRIu64 "\nCERTBROKER_HASH=%s\nCERTBROKER_UID=%" PRIu32
            "\nCERTBROKER_PID=%" PRIu32 "\nCERTBROKER_GENERATION=%" PRIu64 "\n",
            head->seq, head->hash, record->uid, record->pid, record->generation);
        if (record->sum)
                put_sum(entry, record->sum);
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                put_text(entry, texts[i].field, texts[i].text, "\n");
}

void journal_send(Journal *journal, const AuditHead *head, const AuditRecord *record)
{
        Entry entry = { .n = 0 };

        put_record(&entry, head, record);
        if (entry.failed)
                return;
        (void)sendto(journal->fd, entry.text, entry.n, MSG_DONTWAIT | MSG_NOSIGNAL,
                     (const struct sockaddr *)&journal->address, sizeof(journal->address));
}
