/* SPDX-License-Identifier: Apache-2.0 */
/* The command line against small tables: where options may stand, what is missing, what is too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "arguments.h"

static int run(Cli *cli, const Arguments *arguments)
{
        return 0;
}

static const Option options[] = {
        { "--source", "SOURCE", "", true, false },
        { "--san", "NAME", "", false, true },
        { "--replace", NULL, "", false, false },
        { "--output", "FILE", "", false, false },
        { NULL },
};
static const Verb key_verbs[] = {
        { "import", { "ID", "FILE" }, options, run, "", "", "" },
        { "list", { NULL }, NULL, run, "", "", "" },
        { NULL },
};
static const Verb status_verb[] = { { "", { NULL }, NULL, run, "", "", "" }, { NULL } };
static const Noun nouns[] = { { "key", key_verbs, "", "" }, { "status", status_verb, "", "" } };

#define LINE_ROOM (64 + 8 * OPTIONS_MAX)

static Arguments arguments;
static char why[256];

/* Words, separated by one blank each. */
static int parse(const char *line)
{
        static char copy[LINE_ROOM];
        static char *argv[LINE_ROOM / 2] = { (char *)(uintptr_t) "certbroker" };
        char *rest = copy;
        int argc = 1;

        strncpy(copy, line, sizeof(copy) - 1);
        for (char *word; (word = strsep(&rest, " "));)
                if (argc < LINE_ROOM / 2 && (*word || argc > 1))
                        argv[argc++] = word;
        why[0] = '\0';
        return arguments_parse(nouns, 2, argc, argv, &arguments, why, sizeof(why));
}

static void test_whole(void **state)
{
        const char *values[OPTIONS_MAX];

        assert_int_equal(
                parse("key import orders a.p12 --source hsm --replace --san DNS:a --san=DNS:b"), 0);
        assert_string_equal(arguments.noun->name, "key");
        assert_string_equal(arguments.verb->name, "import");
        assert_string_equal(arguments.positionals[0], "orders");
        assert_string_equal(arguments.positionals[1], "a.p12");
        assert_string_equal(arguments_value(&arguments, "--source"), "hsm");
        assert_true(arguments_has(&arguments, "--replace"));
        assert_false(arguments_has(&arguments, "--output"));
        assert_null(arguments_value(&arguments, "--output"));
        assert_int_equal(arguments_values(&arguments, "--san", values), 2);
        assert_string_equal(values[0], "DNS:a");
        assert_string_equal(values[1], "DNS:b");
        assert_false(arguments.json);
}

static void test_anywhere(void **state)
{
        assert_int_equal(parse("--json key --bus session import --source hsm orders -o x a.p12"),
                         0);
        assert_true(arguments.json);
        assert_string_equal(arguments.bus, "session");
        assert_string_equal(arguments_value(&arguments, "--output"), "x");
        assert_string_equal(arguments.positionals[1], "a.p12");
        assert_int_equal(parse("status --bus=unix:path=/a"), 0);
        assert_string_equal(arguments.bus, "unix:path=/a");
        assert_string_equal(arguments.verb->name, "");
}

static void test_only_words(void **state)
{
        assert_int_equal(parse("key import --source hsm -- --san -"), 0);
        assert_string_equal(arguments.positionals[0], "--san");
        assert_string_equal(arguments.positionals[1], "-");
        assert_int_equal(parse("key import --source hsm orders -"), 0);
        assert_string_equal(arguments.positionals[1], "-");
}

static void test_wrong(void **state)
{
        static const char *const lines[] = {
                "",
                "nonsense",
                "key",
                "key nonsense",
                "key import",
                "key import orders",
                "key import orders a.p12",
                "key import orders a.p12 b --source hsm",
                "key import orders a.p12 --source",
                "key import orders a.p12 --source hsm --source other",
                "key import orders a.p12 --source hsm --replace=yes",
                "key import orders a.p12 --source hsm --colour",
                "key import orders a.p12 --source hsm --sourc hsm",
                "key list --source hsm",
                "key list x",
                "status x",
                "status --bus",
        };

        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                if (parse(lines[i]) != -EINVAL)
                        fail_msg("taken: %s", lines[i]);
                if (why[0] == '\0')
                        fail_msg("not a word about: %s", lines[i]);
        }
}

static void test_too_many(void **state)
{
        static char line[LINE_ROOM] = "key import a b --source hsm";
        const char *values[OPTIONS_MAX];

        for (unsigned i = 0; i < OPTIONS_MAX - 1; i++)
                strcat(line, " --san x");
        assert_true(strlen(line) < sizeof(line) - 1);
        assert_int_equal(parse(line), 0);
        assert_int_equal(arguments_values(&arguments, "--san", values), OPTIONS_MAX - 1);
        strcat(line, " --san x");
        assert_int_equal(parse(line), -EINVAL);
}

static void test_help(void **state)
{
        assert_int_equal(parse("--help"), 0);
        assert_true(arguments.help);
        assert_null(arguments.noun);
        assert_int_equal(parse("key -h"), 0);
        assert_string_equal(arguments.noun->name, "key");
        assert_null(arguments.verb);
        assert_int_equal(parse("key import --help"), 0);
        assert_string_equal(arguments.verb->name, "import");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole),      cmocka_unit_test(test_anywhere),
                cmocka_unit_test(test_only_words), cmocka_unit_test(test_wrong),
                cmocka_unit_test(test_too_many),   cmocka_unit_test(test_help),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
