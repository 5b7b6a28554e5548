/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges the chain of an audit log. Each record vouches for the line before it; so a line is judged when the
 * one after it is known, and that tells an edited line from one that is missing, moved, doubled or put in.
 * It holds three lines at most, whatever the log's length, and opens no file.
 */
#include "chain.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "macro.h"

const char *chain_fault_name(ChainFault fault)
{
        static const char *const names[_CHAIN_FAULT_N] = {
                [CHAIN_EDITED] = "edited",       [CHAIN_MISSING] = "removed",
                [CHAIN_INSERTED] = "inserted",   [CHAIN_DUPLICATED] = "duplicated",
                [CHAIN_REORDERED] = "reordered", [CHAIN_CUT] = "cut",
                [CHAIN_TORN] = "torn",           [CHAIN_GAP] = "gap",
        };

        return names[fault];
}

/* ------------------------------------------------------------------ reading a line */

static bool read_hash(const char *text, uint8_t *ret_hash)
{
        for (size_t i = 0; i < (size_t)2 * HASH_LENGTH; i++) {
                char c = text[i];
                int digit = c >= '0' && c <= '9'   ? c - '0'
                            : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                   : -1;

                if (digit < 0)
                        return false;
                ret_hash[i / 2] = (uint8_t)(i % 2 ? ret_hash[i / 2] << 4 | digit : digit);
        }
        return true;
}

static bool skip(const char **p, const char *end, const char *word)
{
        size_t n = strlen(word);

        if ((size_t)(end - *p) < n || memcmp(*p, word, n) != 0)
                return false;
        *p += n;
        return true;
}

static bool read_number(const char **p, const char *end, uint64_t *ret_number)
{
        const char *start = *p;
        uint64_t number = 0;

        for (; *p < end && **p >= '0' && **p <= '9' && *p - start < 19; (*p)++)
                number = number * 10 + (uint64_t)(**p - '0');
        *ret_number = number;
        return *p > start && number > 0;
}

/* The form that certbrokerd writes: time, seq and event first, prev last, no blanks. */
static bool read_own_form(const char *text, size_t n, ChainLine *line)
{
        static const char before_prev[] = ",\"prev\":\"", after_prev[] = "\"}";
        const size_t n_tail = strlen(before_prev) + (size_t)2 * HASH_LENGTH + strlen(after_prev);
        const char *p = text, *end = text + n, *quote, *tail;

        if (n < n_tail || !skip(&p, end, "{\"time\":\""))
                return false;
        tail = end - n_tail;
        quote = memchr(p, '"', (size_t)(end - p));
        if (!quote || !skip(&tail, end, before_prev) || !read_hash(tail, line->prev) ||
            memcmp(tail + (size_t)2 * HASH_LENGTH, after_prev, strlen(after_prev)) != 0)
                return false;
        /* Two lines made one have two. */
        if (memmem(text, n, before_prev, strlen(before_prev)) != end - n_tail)
                return false;
        p = quote;
        if (!skip(&p, end, "\",\"seq\":") || !read_number(&p, end, &line->seq) ||
            !skip(&p, end, ",\"event\":\""))
                return false;
        line->is_gap = skip(&p, end, "gap\"");
        line->is_resume = skip(&p, end, "resume\"");
        return true;
}

/* "3 lost since …", "at least 3 lost since …"; else 0. */
static uint64_t read_lost(const char *object)
{
        static const char at_least[] = "at least ";
        uint64_t n;
        int end = 0;

        if (strncmp(object, at_least, strlen(at_least)) == 0)
                object += strlen(at_least);
        return sscanf(object, "%" SCNu64 " lost%n", &n, &end) == 1 && end > 0 ? n : 0;
}

/* Another order of the members, or a record whose object tells what the store had, or what was lost. */
static bool read_json(const char *text, size_t n, ChainLine *line)
{
        json_t *json = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
        const char *prev = json_string_value(json_object_get(json, "prev"));
        const char *event = json_string_value(json_object_get(json, "event"));
        const char *object = json_string_value(json_object_get(json, "object"));
        json_int_t seq = json_integer_value(json_object_get(json, "seq"));
        char hash[2 * HASH_LENGTH + 1];
        bool ok =
                seq > 0 && prev && strlen(prev) == sizeof(hash) - 1 && read_hash(prev, line->prev);

        if (ok) {
                line->seq = (uint64_t)seq;
                line->is_gap = event && strcmp(event, "gap") == 0;
                line->is_resume = event && strcmp(event, "resume") == 0;
                line->n_lost = line->is_resume && object ? read_lost(object) : 0;
                if (line->is_gap && object &&
                    sscanf(object, "expected %" SCNu64 " %64[0-9a-f]", &line->expected_seq, hash) ==
                            2 &&
                    strlen(hash) == sizeof(hash) - 1)
                        (void)read_hash(hash, line->expected_hash);
                else
                        line->expected_seq = 0;
        }
        json_decref(json);
        return ok;
}

/* EVP_Digest() looks its algorithm up each time, which takes longer than a line's hash. */
static bool hash_line(const char *text, size_t n, uint8_t *ret_hash)
{
        static EVP_MD_CTX *context;

        if (!context) {
                context = EVP_MD_CTX_new();
                if (!context || !EVP_DigestInit_ex(context, EVP_sha256(), NULL))
                        return false;
        } else if (!EVP_DigestInit_ex(context, NULL, NULL)) {
                return false;
        }
        return EVP_DigestUpdate(context, text, n) && EVP_DigestFinal_ex(context, ret_hash, NULL);
}

void chain_line_parse(const char *text, size_t n, ChainLine *ret_line)
{
        *ret_line = (ChainLine){ 0 };
        ret_line->is_record = read_own_form(text, n, ret_line);
        if (!ret_line->is_record || ret_line->is_gap || ret_line->is_resume)
                ret_line->is_record = read_json(text, n, ret_line);
        if (!hash_line(text, n, ret_line->hash))
                ret_line->is_record = false;
}

/* ------------------------------------------------------------------ findings */

static ChainFinding *find(Chain *chain, ChainFault fault, unsigned file, uint64_t number,
                          const char *format, ...) PRINTF(5, 6);
static ChainFinding *find(Chain *chain, ChainFault fault, unsigned file, uint64_t number,
                          const char *format, ...)
{
        static ChainFinding beyond; /* counted, not kept */
        ChainFinding *finding =
                chain->n_kept < CHAIN_FINDINGS_MAX ? &chain->findings[chain->n_kept++] : &beyond;
        va_list list;

        chain->n_findings++;
        *finding = (ChainFinding){ .fault = fault, .file = file, .number = number };
        va_start(list, format);
        (void)vsnprintf(finding->text, sizeof(finding->text), format, list);
        va_end(list);
        return finding;
}

static void find_edited(Chain *chain, const ChainLine *line, const char *why)
{
        find(chain, CHAIN_EDITED, line->file, line->number, "%s", why)->seq =
                line->is_record ? line->seq : 0;
}

/* What looked removed or put in has only moved. false: nothing did. */
static bool note_moved(Chain *chain, uint64_t seq, uint64_t from, uint64_t to)
{
        bool has_moved = false;

        for (size_t i = 0; i < chain->n_kept; i++) {
                ChainFinding *f = &chain->findings[i];

                if (f->fault == CHAIN_INSERTED && f->seq >= from && f->seq <= to && f->seq)
                        (void)snprintf(f->text, sizeof(f->text), "it stands here before its turn");
                else if (f->fault == CHAIN_MISSING && seq >= f->from && seq <= f->to)
                        (void)snprintf(f->text, sizeof(f->text),
                                       "it stands here, and record %" PRIu64 " comes only later",
                                       seq);
                else
                        continue;
                f->fault = CHAIN_REORDERED;
                has_moved = true;
        }
        return has_moved;
}

static void find_missing(Chain *chain, const ChainLine *line, uint64_t from, uint64_t to)
{
        ChainFinding *finding;
        char what[96];

        (void)snprintf(what, sizeof(what),
                       from == to ? "record %" PRIu64 " is"
                                  : "records %" PRIu64 " to %" PRIu64 " are",
                       from, to);
        (void)note_moved(chain, 0, from, to);
        finding =
                find(chain, CHAIN_MISSING, line->file, line->number, "%s missing before it", what);
        finding->seq = line->seq;
        finding->from = from;
        finding->to = to;
}

/* ------------------------------------------------------------------ judging */

static bool same(const uint8_t *a, const uint8_t *b)
{
        return memcmp(a, b, HASH_LENGTH) == 0;
}

static bool follows(const Chain *chain, const ChainLine *line)
{
        return line->is_record && !chain->last.is_hash_unknown &&
               same(line->prev, chain->last.hash);
}

static void accept(Chain *chain, const ChainLine *line)
{
        chain->last.seq = line->seq;
        memcpy(chain->last.hash, line->hash, HASH_LENGTH);
        memcpy(chain->last.prev, line->prev, HASH_LENGTH);
        chain->last.is_hash_unknown = false;
        chain->last.file = line->file;
        chain->last.number = line->number;
        chain->n_records++;
        if (line->n_lost > 0 && chain->n_lost == 0)
                chain->lost_seq = line->seq;
        chain->n_lost += line->n_lost;
        if (chain->head.is_known && line->seq == chain->head.seq) {
                chain->is_head_seen = true;
                chain->is_head_wrong = !same(line->hash, chain->head.hash);
                chain->head_place = (ChainFinding){ .file = line->file, .number = line->number };
        }
        if (chain->head.seq_max != 0 && line->seq > chain->head.seq_max && !chain->above.number)
                chain->above = (ChainFinding){ .file = line->file,
                                               .number = line->number,
                                               .seq = line->seq };
}

/* The line stands for record `seq`, and its hash vouches for nothing. */
static void accept_edited(Chain *chain, const ChainLine *line, uint64_t seq)
{
        chain->last.seq = seq;
        chain->last.is_hash_unknown = true;
        chain->last.file = line->file;
        chain->last.number = line->number;
        chain->n_records++;
        if (chain->head.is_known && seq == chain->head.seq)
                chain->is_head_seen = true;
}

static bool is_vouched(const Chain *chain, const ChainLine *line, const ChainLine *next)
{
        if (next)
                return next->is_record && same(next->prev, line->hash);
        if (chain->head.seq_max != 0 && chain->head.seq_max == line->seq)
                return same(chain->head.hash_max, line->hash);
        return chain->head.is_known && chain->head.seq == line->seq &&
               same(chain->head.hash, line->hash);
}

static void judge_gap(Chain *chain, const ChainLine *line)
{
        uint64_t last = chain->last.seq;

        if (line->expected_seq == last && !chain->last.is_hash_unknown && chain->last.number &&
            !same(line->expected_hash, chain->last.hash))
                find(chain, CHAIN_EDITED, chain->last.file, chain->last.number,
                     "certbrokerd found it changed when it started, and noted a gap after it")
                        ->seq = last;
        find(chain, CHAIN_GAP, line->file, line->number,
             "certbrokerd noted here that the log did not fit its store%s",
             line->seq > last + 1 ? ": records before it are lost" : "")
                ->seq = line->seq;
        accept(chain, line);
}

/* The line after it goes on from the last good one: this one does not belong here. */
static void judge_stranger(Chain *chain, const ChainLine *line, const ChainLine *next)
{
        static const char *const texts[_CHAIN_FAULT_N] = {
                [CHAIN_TORN] = "a line that was not written to its end",
                [CHAIN_INSERTED] = "it is not part of the chain, which goes on after it",
                [CHAIN_DUPLICATED] = "the line before it, once more",
                [CHAIN_REORDERED] = "its place was before",
        };
        ChainFault fault = CHAIN_INSERTED;

        if (!line->is_record)
                fault = next->is_gap ? CHAIN_TORN : CHAIN_INSERTED;
        else if (same(line->hash, chain->last.hash))
                fault = CHAIN_DUPLICATED;
        else if (note_moved(chain, line->seq, 0, 0))
                fault = CHAIN_REORDERED;
        find(chain, fault, line->file, line->number, "%s", texts[fault])->seq =
                line->is_record ? line->seq : 0;
}

/* The number is right, and what it says of the line before it is wrong. */
static void judge_wrong_prev(Chain *chain, const ChainLine *line, const ChainLine *next)
{
        bool vouched = is_vouched(chain, line, next);
        bool is_next = next && next->is_record && next->seq == line->seq + 1;
        bool is_head = !next && chain->head.is_known && chain->head.seq == line->seq;

        if (!vouched && (is_next || is_head)) {
                find_edited(chain, line, "what is written before and after it does not fit it");
                accept_edited(chain, line, line->seq);
                return;
        }
        if (chain->last.number)
                find(chain, CHAIN_EDITED, chain->last.file, chain->last.number, "%s",
                     vouched ? "the record after it holds another hash of it"
                             : "the record after it holds another hash of it, or is edited itself")
                        ->seq = chain->last.seq;
        else
                find_edited(chain, line, "the first record must have a `prev` of zeros");
        accept(chain, line);
}

/* Two that claim the same place: the chain goes on from this one, so the one before it was put in. */
static bool is_fork(const Chain *chain, const ChainLine *line, const ChainLine *next)
{
        return !chain->last.is_hash_unknown && chain->last.number && line->seq == chain->last.seq &&
               same(line->prev, chain->last.prev) && is_vouched(chain, line, next);
}

static void judge_fork(Chain *chain, const ChainLine *line)
{
        find(chain, CHAIN_INSERTED, chain->last.file, chain->last.number,
             "it is not part of the chain, which goes on after it")
                ->seq = chain->last.seq;
        accept(chain, line);
        chain->n_records--;
}

/* The number is wrong, and so is what it says of the line before it. */
static void judge_wrong_number(Chain *chain, const ChainLine *line, const ChainLine *next)
{
        uint64_t expected = chain->last.seq + 1;

        if (next && next->is_record && next->seq == expected + 1) {
                find(chain, CHAIN_REORDERED, line->file, line->number,
                     "record %" PRIu64 " stands in the place of %" PRIu64, line->seq, expected)
                        ->seq = line->seq;
                (void)note_moved(chain, line->seq, 0, 0);
                accept_edited(chain, line, expected);
                return;
        }
        if (line->seq > expected) {
                find_missing(chain, line, expected, line->seq - 1);
                accept(chain, line);
                return;
        }
        (void)note_moved(chain, line->seq, 0, 0);
        find(chain, CHAIN_REORDERED, line->file, line->number,
             "record %" PRIu64 " comes after %" PRIu64, line->seq, chain->last.seq)
                ->seq = line->seq;
        if (next && next->is_record && next->seq == line->seq + 1)
                accept(chain, line); /* a block of them */
}

static void judge(Chain *chain, const ChainLine *line, const ChainLine *next)
{
        uint64_t expected = chain->last.seq + 1;
        bool is_after = line->is_record && line->seq == expected;

        if (line->is_record && line->is_cut)
                find(chain, CHAIN_CUT, line->file, line->number, "its newline is missing")->seq =
                        line->seq;
        if (line->is_record && line->is_gap && line->seq >= expected &&
            (chain->last.is_hash_unknown || follows(chain, line))) {
                judge_gap(chain, line);
        } else if (is_after && (chain->last.is_hash_unknown || follows(chain, line))) {
                accept(chain, line);
        } else if (next && follows(chain, next) &&
                   (next->seq == expected || (next->is_gap && next->seq >= expected))) {
                judge_stranger(chain, line, next);
        } else if (line->is_record && is_fork(chain, line, next)) {
                judge_fork(chain, line);
        } else if (!line->is_record) {
                if (line->is_cut)
                        find(chain, CHAIN_CUT, line->file, line->number, "the file ends within it");
                else
                        find_edited(chain, line, "it is no record of an audit log");
                if (next || !line->is_cut)
                        accept_edited(chain, line, expected);
        } else if (is_after) {
                judge_wrong_prev(chain, line, next);
        } else if (follows(chain, line)) {
                find_edited(chain, line, "its number is not the next, though it follows");
                accept_edited(chain, line, expected);
        } else {
                judge_wrong_number(chain, line, next);
        }
}

void chain_init(Chain *chain, uint64_t first, const ChainHead *head)
{
        *chain = (Chain){ .head = *head };
        chain->last.seq = first > 0 ? first - 1 : 0;
        chain->last.is_hash_unknown = first > 1;
}

void chain_feed(Chain *chain, const ChainLine *line)
{
        if (chain->has_pending)
                judge(chain, &chain->pending, line);
        chain->pending = *line;
        chain->has_pending = true;
}

static void judge_end(Chain *chain)
{
        const ChainHead *head = &chain->head;

        if (!head->is_known)
                return;
        if (chain->last.seq < head->seq)
                find(chain, CHAIN_CUT, chain->last.file, chain->last.number,
                     "it is the last one, and records up to %" PRIu64 " were written", head->seq)
                        ->seq = chain->last.seq;
        else if (chain->is_head_wrong && chain->n_findings == 0)
                find(chain, CHAIN_EDITED, chain->head_place.file, chain->head_place.number,
                     "certbrokerd remembers another hash of it")
                        ->seq = head->seq;
        else if (chain->above.number)
                find(chain, CHAIN_INSERTED, chain->above.file, chain->above.number,
                     "certbrokerd has written no record %" PRIu64, chain->above.seq)
                        ->seq = chain->above.seq;
}

void chain_finish(Chain *chain)
{
        if (chain->has_pending)
                judge(chain, &chain->pending, NULL);
        chain->has_pending = false;
        judge_end(chain);
}
