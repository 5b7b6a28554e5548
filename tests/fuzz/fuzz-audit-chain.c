/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An audit log as `certbroker audit verify` reads it: lines of whoever could write there. Holds: nothing crashes or
 * leaks; every fault has a name and a sentence; and a log of which a byte is changed is never found to be the same log.
 */
#include "fuzz.h"

#include "chain.h"

static void check_findings(const Chain *chain)
{
        FUZZ_CHECK(chain->n_kept <= CHAIN_FINDINGS_MAX && chain->n_kept <= chain->n_findings);
        FUZZ_CHECK(chain->n_findings == 0 || chain->n_kept > 0);
        for (size_t i = 0; i < chain->n_kept; i++) {
                FUZZ_CHECK(chain->findings[i].fault < _CHAIN_FAULT_N);
                FUZZ_CHECK(*chain->findings[i].text && chain_fault_name(chain->findings[i].fault));
        }
}

static void read_log(const uint8_t *data, size_t n, const ChainHead *head, Chain *chain)
{
        const uint8_t *end = data + n;

        chain_init(chain, 1, head);
        for (uint64_t number = 1; data < end; number++) {
                const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
                size_t n_line = (size_t)((newline ? newline : end) - data);
                char *text = malloc(n_line > 0 ? n_line : 1); /* so that its end is seen */
                ChainLine line;

                FUZZ_CHECK(text);
                memcpy(text, data, n_line);
                chain_line_parse(text, n_line, &line);
                free(text);
                line.number = number;
                line.is_cut = !newline;
                chain_feed(chain, &line);
                data += n_line + (newline != NULL);
        }
        chain_finish(chain);
        check_findings(chain);
}

/* One byte within a record's text, and the end that is known does not fit any more. */
static void check_change(const uint8_t *data, size_t n, const Chain *good)
{
        ChainHead head = { .is_known = true, .seq = good->last.seq, .seq_max = good->last.seq };
        uint8_t *changed = malloc(n);
        size_t place = n / 2;
        Chain chain;

        FUZZ_CHECK(changed);
        memcpy(head.hash, good->last.hash, HASH_LENGTH);
        memcpy(head.hash_max, good->last.hash, HASH_LENGTH);
        memcpy(changed, data, n);
        read_log(changed, n, &head, &chain);
        FUZZ_CHECK(chain.n_findings == 0);
        changed[place] ^= 1;
        read_log(changed, n, &head, &chain);
        FUZZ_CHECK(chain.n_findings > 0);
        free(changed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        Chain chain;

        read_log(data, n, &(ChainHead){ 0 }, &chain);
        if (chain.n_findings == 0 && chain.last.seq > 0)
                check_change(data, n, &chain);
        return 0;
}
