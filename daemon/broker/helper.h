/* SPDX-License-Identifier: Apache-2.0 */
/* Where the program is that holds one key source. */
#pragma once

/*
 * From where this program is: in a build tree the helper that was built with it; below another prefix
 * than the one it was built for, that prefix's; else the installed one. Never from the environment.
 */
int helper_find(char **ret_path);
