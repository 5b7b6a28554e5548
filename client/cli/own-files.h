/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are certbrokerd's own, which nothing that this program writes takes the place of. */
#pragma once

#include <stdbool.h>

/* Is that place in a state directory, itself or by a link, or is an audit log there? */
bool own_files_have(const char *path);
/* Is it that file, whatever both are called, or in its folder? */
bool own_files_are_beside(const char *path, const char *file);
