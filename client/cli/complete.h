/* SPDX-License-Identifier: Apache-2.0 */
/* What could stand next on a command line, for a shell's completion. */
#pragma once

#include "arguments.h"

/*
 * words: what was typed after the program's name, the last one possibly begun or empty. Prints the candidates on
 * standard output, one a line; none where a file's name belongs, or where nothing is known. Asks the running
 * daemon for ids and names, for at most a second.
 */
void complete_print(const Noun *nouns, size_t n_nouns, int n_words, char **words);
