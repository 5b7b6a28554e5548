/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `certbroker audit`: shows the audit log's records, and holds its chain against itself and against where the
 * daemon remembers its end. Both read it a buffer at a time, and change nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "chain.h"
#include "local.h"
#include "log.h"
#include "show.h"
#include "text.h"

#define PROGRESS_BYTES (UINT64_C(64) * 1024 * 1024)
#define MIB            (1024.0 * 1024.0)

/* ------------------------------------------------------------------ verify */

static double now_seconds(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void show_progress(const Log *log, double began, bool is_end)
{
        double seconds = now_seconds() - began;

        if (!isatty(STDERR_FILENO))
                return;
        if (is_end) {
                (void)fputs("\r\033[K", stderr);
                return;
        }
        (void)fprintf(stderr, "\r%5.1f %% of %.0f MiB, %.0f MB/s",
                      log_size(log) ? 100.0 * (double)log_read(log) / (double)log_size(log) : 100.0,
                      (double)log_size(log) / MIB,
                      seconds > 0 ? (double)log_read(log) / seconds / 1e6 : 0.0);
}

static int parse_first(Cli *cli, uint64_t *ret_first)
{
        const char *text = arguments_value(cli->arguments, "--first");
        char *end;

        *ret_first = 1;
        if (!text)
                return 0;
        errno = 0;
        *ret_first = strtoull(text, &end, 10);
        if (errno || *end || *text < '1' || *text > '9')
                return cli_usage(cli, "--first is a record's number, from 1, not %s.", text);
        return 0;
}

static void read_hash(const char *text, uint8_t *ret_hash)
{
        for (size_t i = 0; i < HASH_LENGTH && strlen(text) == (size_t)2 * HASH_LENGTH; i++)
                (void)sscanf(text + 2 * i, "%2hhx", &ret_hash[i]);
}

static ChainHead head_of(const LogEnd *end)
{
        ChainHead head = { .is_known = end->who != NULL, .seq = end->seq, .seq_max = end->seq_max };

        read_hash(end->hash, head.hash);
        read_hash(end->hash_max, head.hash_max);
        return head;
}

static int feed(Cli *cli, Log *log, Chain *chain, double began)
{
        uint64_t shown = 0;
        LogLine line;
        int r;

        while ((r = log_next(cli, log, &line)) == 1) {
                bool is_newest = line.file + 1 == log_n_files(log);
                ChainLine facts;

                if (line.is_cut && is_newest && log_end(log)->is_live)
                        break; /* being written now: whether it should be whole, the end tells */
                chain_line_parse(line.text, line.n, &facts);
                facts.file = line.file;
                facts.number = line.number;
                facts.is_cut = line.is_cut;
                facts.is_record = facts.is_record && !line.is_long;
                chain_feed(chain, &facts);
                if (log_read(log) - shown >= PROGRESS_BYTES) {
                        shown = log_read(log);
                        show_progress(log, began, false);
                }
        }
        chain_finish(chain);
        show_progress(log, began, true);
        return r < 0 || r > 1 ? r : 0;
}

static json_t *finding_json(const Log *log, const ChainFinding *finding)
{
        return json_pack("{s:s, s:I, s:s, s:o, s:s}", "file", log_name(log, finding->file), "line",
                         (json_int_t)finding->number, "fault", chain_fault_name(finding->fault),
                         "seq", finding->seq ? json_integer((json_int_t)finding->seq) : json_null(),
                         "reason", finding->text);
}

static int show_verify_json(Cli *cli, const Log *log, const Chain *chain, double seconds)
{
        json_t *findings = json_array();
        size_t n_packed;

        for (size_t i = 0; findings && i < chain->n_kept; i++)
                if (json_array_append_new(findings, finding_json(log, &chain->findings[i]))) {
                        json_decref(findings);
                        return cli_out_of_memory(cli);
                }
        (void)log_packed(log, &n_packed);
        return show_document(
                cli, json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s?, s:I, s:o}", "ok",
                               chain->n_findings == 0, "records", (json_int_t)chain->n_records,
                               "last", (json_int_t)chain->last.seq, "files",
                               (json_int_t)log_n_files(log), "compressed",
                               (json_int_t)n_packed, "bytes", (json_int_t)log_read(log),
                               "lost", (json_int_t)(chain->n_lost + log_end(log)->n_lost),
                               "seconds", seconds, "end-known-by", log_end(log)->who, "faults",
                               (json_int_t)chain->n_findings, "findings", findings));
}

static void print_findings(const Log *log, const Chain *chain)
{
        for (size_t i = 0; i < chain->n_kept; i++) {
                const ChainFinding *f = &chain->findings[i];

                (void)printf("%s:%" PRIu64 ": %s: ", log_name(log, f->file), f->number,
                             chain_fault_name(f->fault));
                if (f->seq)
                        (void)printf("record %" PRIu64 ": ", f->seq);
                (void)printf("%s\n", f->text);
        }
        if (chain->n_findings > chain->n_kept)
                (void)printf("… and %" PRIu64 " more.\n", chain->n_findings - chain->n_kept);
}

/* What was written is as it was; but not everything was. */
static void print_lost(const Chain *chain, const LogEnd *end)
{
        if (chain->n_lost > 0)
                (void)printf("It is not complete: %" PRIu64 " record%s or more could not be written; "
                             "the first to say so is record %" PRIu64 " (`resume`).\n",
                             chain->n_lost, chain->n_lost == 1 ? "" : "s", chain->lost_seq);
        if (end->n_lost > 0)
                (void)printf("It is not complete: %" PRIu64 " record%s or more could not be written, "
                             "as certbrokerd's store says and the log does not yet.\n",
                             end->n_lost, end->n_lost == 1 ? "" : "s");
}

static void print_whole(const Log *log, const Chain *chain, double seconds)
{
        const LogEnd *end = log_end(log);

        (void)printf("%s: %" PRIu64 " record%s in %zu file%s, all as they were written",
                     log_name(log, (unsigned)log_n_files(log) - 1), chain->n_records,
                     chain->n_records == 1 ? "" : "s", log_n_files(log),
                     log_n_files(log) == 1 ? "" : "s");
        if (seconds >= 1)
                (void)printf(" (%.1f MiB in %.0f s)", (double)log_read(log) / MIB, seconds);
        (void)puts(".");
        print_lost(chain, end);
        if (!end->who)
                (void)puts(
                        "Nobody could be asked where it ends: whether records are missing at its "
                        "end is not known.");
        else if (chain->last.seq > end->seq)
                (void)printf("Its end is as %s remembers it, and %" PRIu64
                             " records came after that.\n",
                             end->who, chain->last.seq - end->seq);
        else
                (void)printf("Its end is as %s remembers it.\n", end->who);
}

static void tell_packed(const Log *log)
{
        size_t n;
        const char *name = log_packed(log, &n);

        if (n == 1)
                (void)fprintf(stderr,
                              "%s is compressed and was not read: unpack it where it is, and verify "
                              "again.\n",
                              name);
        else if (n > 1)
                (void)fprintf(stderr,
                              "%s and %zu more are compressed and were not read: unpack them where "
                              "they are, and verify again.\n",
                              name, n - 1);
}

static int show_verify(Cli *cli, const Log *log, const Chain *chain, double seconds)
{
        const ChainFinding *first = &chain->findings[0];
        int r = 0;

        if (cli->arguments->json)
                r = show_verify_json(cli, log, chain, seconds);
        else if (chain->n_findings > 0)
                print_findings(log, chain);
        else
                print_whole(log, chain, seconds);
        tell_packed(log);
        if (r || chain->n_findings == 0)
                return r;
        (void)fflush(stdout);
        return cli_fail(cli, CB_FAILED,
                        "The audit log is not whole. The first bad line is %s:%" PRIu64 " (%s).",
                        log_name(log, first->file), first->number, chain_fault_name(first->fault));
}

static int verb_verify(Cli *cli, const Arguments *arguments)
{
        CLEANUP(log_freep) Log *log = NULL;
        double began = now_seconds();
        ChainHead head;
        uint64_t first;
        Chain chain;
        int r;

        r = parse_first(cli, &first);
        if (r == 0)
                r = log_open(cli, &log);
        if (r)
                return r;
        head = head_of(log_end(log));
        chain_init(&chain, first, &head);
        r = feed(cli, log, &chain, began);
        return r ? r : show_verify(cli, log, &chain, now_seconds() - began);
}

/* ------------------------------------------------------------------ show */

typedef struct Filter {
        uint64_t since;
        char *object; /* the certificate's path */
        const char *id;
        const char *result;
        json_int_t uid; /* -1: any */
} Filter;

/* "1h", as long ago; else a date. */
static int parse_since(Cli *cli, const char *text, uint64_t *ret_since)
{
        uint64_t now = (uint64_t)time(NULL), ago;

        if (duration_parse(text, &ago) == 0) {
                *ret_since = now > ago ? now - ago : 0;
                return 0;
        }
        if (time_parse(text, now, ret_since) == 0)
                return 0;
        return cli_usage(cli,
                         "--since is a time, as 2027-01-31 or 2027-01-31T12:00:00Z, or how long "
                         "ago, as 12h; not %s.",
                         text);
}

static int parse_filter(Cli *cli, Filter *filter)
{
        const char *since = arguments_value(cli->arguments, "--since");
        const char *id = arguments_value(cli->arguments, "--certificate");
        const char *uid = arguments_value(cli->arguments, "--uid");
        char *end;
        int r = 0;

        *filter = (Filter){ .result = arguments_value(cli->arguments, "--result"),
                            .id = id,
                            .uid = -1 };
        if (since)
                r = parse_since(cli, since, &filter->since);
        if (r == 0 && uid) {
                filter->uid = strtoll(uid, &end, 10);
                if (*end || *uid < '0' || *uid > '9' || filter->uid > UINT32_MAX)
                        r = cli_usage(cli, "--uid is a number, not %s.", uid);
        }
        if (r == 0 && id && cb_object_path("certificate", id, &filter->object))
                r = cli_usage(cli, "%s is no id of a certificate.", id);
        return r;
}

static const char *text_of(const json_t *record, const char *member)
{
        const char *text = json_string_value(json_object_get(record, member));

        return text ? text : "";
}

static json_int_t number_of(const json_t *record, const char *member)
{
        return json_integer_value(json_object_get(record, member));
}

/* The sum of many refusals is of all users from `uid` to `uid-last`. */
static bool is_of_user(const json_t *record, json_int_t uid)
{
        json_int_t first = number_of(record, "uid"), last = number_of(record, "uid-last");

        return uid == first || (uid > first && uid <= last);
}

static bool is_wanted(const Filter *filter, const json_t *record)
{
        char seconds[sizeof("2027-01-31T12:00:00")];
        uint64_t when;

        if (filter->uid >= 0 && !is_of_user(record, filter->uid))
                return false;
        if (filter->result && strcmp(text_of(record, "result"), filter->result) != 0)
                return false;
        if (filter->object && strcmp(text_of(record, "object"), filter->object) != 0 &&
            strcmp(text_of(record, "certificate"), filter->id) != 0)
                return false;
        if (filter->since == 0)
                return true;
        (void)snprintf(seconds, sizeof(seconds), "%.19s", text_of(record, "time"));
        return time_parse(seconds, 0, &when) < 0 || when >= filter->since;
}

static int hex_digit(char c)
{
        static const char digits[] = "0123456789abcdef";
        const char *at = c ? strchr(digits, c) : NULL;

        return at ? (int)(at - digits) : -1;
}

/* Takes back in place what sd_bus_path_encode(3) does; what it would not have made stays. */
static void unescape_path(char *path)
{
        char *to = path;

        for (const char *from = path; *from; from++) {
                int high = *from == '_' ? hex_digit(from[1]) : -1;
                int low = high >= 0 ? hex_digit(from[2]) : -1;

                if (low > 0 || (low == 0 && high > 0)) {
                        *to++ = (char)(16 * high + low);
                        from += 2;
                } else {
                        *to++ = *from;
                }
        }
        *to = '\0';
}

/* "/org/certbroker1/certificate/x_2d1" as "certificate/x-1"; "-" for the manager. The caller frees it. */
static char *object_text(const char *path)
{
        static const char root[] = "/org/certbroker1";
        CLEANUP(free_text) char *name = NULL;

        if (strncmp(path, root, strlen(root)) != 0)
                return text_harmless(path);
        path += strlen(root);
        name = strdup(*path == '/' ? path + 1 : "-");
        if (!name)
                return NULL;
        unescape_path(name);
        return text_harmless(name);
}

/* In place of an object: how many, of which kind, whose, and when. */
static int print_sum(Cli *cli, const json_t *record)
{
        CLEANUP(free_text) char *refused = text_harmless(text_of(record, "refused"));
        CLEANUP(free_text) char *since = text_harmless(text_of(record, "since"));
        CLEANUP(free_text) char *until = text_harmless(text_of(record, "until"));
        json_int_t last = number_of(record, "uid-last");

        if (!refused || !since || !until)
                return cli_out_of_memory(cli);
        (void)printf("%" JSON_INTEGER_FORMAT " of %s, %.19sZ to %.19sZ", number_of(record, "count"),
                     *refused ? refused : "several kinds", since, until);
        if (last)
                (void)printf(", by %s%" JSON_INTEGER_FORMAT
                             " users up to uid %" JSON_INTEGER_FORMAT,
                             json_is_true(json_object_get(record, "rest")) ? "at least " : "",
                             number_of(record, "users"), last);
        return 0;
}

static int print_record(Cli *cli, const json_t *record)
{
        static const char *const members[] = { "time",      "event", "result",     "object",
                                               "algorithm", "grant", "certificate" };
        json_int_t generation = number_of(record, "generation");
        bool is_sum = json_object_get(record, "count") != NULL;
        char *texts[ELEMENTSOF(members)] = { NULL };
        bool ok = true;

        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                const char *text = text_of(record, members[i]);

                texts[i] =
                        strcmp(members[i], "object") == 0 ? object_text(text) : text_harmless(text);
                ok = ok && texts[i];
        }
        if (ok) {
                (void)printf("%.19sZ %6" JSON_INTEGER_FORMAT " uid %-6" JSON_INTEGER_FORMAT
                             " %-18s %-14s %s",
                             texts[0], number_of(record, "seq"), number_of(record, "uid"), texts[1],
                             texts[2], is_sum ? "" : texts[3]);
                if (is_sum)
                        ok = print_sum(cli, record) == 0;
                if (*texts[6])
                        (void)printf(" %s", texts[6]);
                if (generation)
                        (void)printf(" generation %" JSON_INTEGER_FORMAT, generation);
                if (*texts[4])
                        (void)printf(" %s", texts[4]);
                if (*texts[5])
                        (void)printf(" by %s", texts[5]);
                if (json_is_true(json_object_get(record, "force")))
                        (void)printf(" with force");
                (void)putchar('\n');
        }
        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                free(texts[i]);
        return ok ? 0 : cli_out_of_memory(cli);
}

/* The array of --json is written as it is read: it may be long. */
static int show_record(Cli *cli, const json_t *record, uint64_t n_shown)
{
        if (!cli->arguments->json)
                return print_record(cli, record);
        (void)fputs(n_shown ? ",\n" : "[\n", stdout);
        return json_dumpf(record, stdout, JSON_COMPACT | JSON_ENSURE_ASCII)
                       ? cli_fail(cli, -EIO, "The answer could not be written.")
                       : 0;
}

static int show_all(Cli *cli, Log *log, const Filter *filter)
{
        uint64_t n_shown = 0;
        LogLine line;
        int r;

        while ((r = log_next(cli, log, &line)) == 1) {
                json_t *record = json_loadb(line.text, line.n, 0, NULL);
                bool wanted = json_is_object(record) && is_wanted(filter, record);

                r = wanted ? show_record(cli, record, n_shown) : 0;
                n_shown += wanted;
                if (!json_is_object(record) && !line.is_cut)
                        (void)fprintf(stderr,
                                      "%s:%" PRIu64 ": this is no record; run `certbroker "
                                      "audit verify`\n",
                                      log_name(log, line.file), line.number);
                json_decref(record);
                if (r)
                        return r;
        }
        if (cli->arguments->json)
                (void)fputs(n_shown ? "\n]\n" : "[]\n", stdout);
        return r;
}

static int verb_show(Cli *cli, const Arguments *arguments)
{
        CLEANUP(log_freep) Log *log = NULL;
        Filter filter;
        int r;

        r = parse_filter(cli, &filter);
        if (r == 0)
                r = log_open(cli, &log);
        if (r == 0)
                r = show_all(cli, log, &filter);
        free(filter.object);
        return r;
}

#define LOG_OPTIONS                                                                                \
        { "--file", "FILE", "this log with its rotated files (FILE.1 …), else the daemon's" },     \
                { "--state-directory", "DIR",                                                      \
                  "where certbrokerd's store is, when it does not run; else beside the log" },     \
                OPTION_CONFIG

static const Option verify_options[] = {
        LOG_OPTIONS,
        { "--first", "SEQ", "the oldest record that is kept, where older files were taken away" },
        { NULL },
};

static const Option show_options[] = {
        { "--since", "TIME", "from then on: 2027-01-31, 2027-01-31T12:00:00Z, or 12h ago" },
        { "--certificate", "ID", "what was done with this certificate" },
        { "--uid", "UID", "what this user did, by number" },
        { "--result", "RESULT", "what ended so: ok, or an error's name, as AccessDenied" },
        LOG_OPTIONS,
        { NULL },
};

const Verb audit_verbs[] = {
        { "show",
          { NULL },
          show_options,
          verb_show,
          "Show what was done, by whom, and what came of it",
          "A line for each record: time, number, user, what, its result, the object, and the "
          "grant that\n"
          "allowed it. Reads the log of the daemon that runs, with its rotated files; where none "
          "runs,\n"
          "that of its configuration.",
          "certbroker audit show --since 24h --certificate orders --result AccessDenied" },
        { "verify",
          { NULL },
          verify_options,
          verb_verify,
          "Find every line that was changed, removed, put in or moved",
          "Each record holds the hash of the one before, and certbrokerd remembers the last. Names "
          "each\n"
          "bad line as FILE:LINE with what happened to it, the first one first; exit status 1 when "
          "there\n"
          "is one. Reads rotated files too, oldest first, and needs little memory however long the "
          "log is.",
          "certbroker audit verify" },
        { NULL },
};
