/* SPDX-License-Identifier: Apache-2.0 */
/* Folders that setup looks after: SoftHSM's tokens, and a copy of the configuration. */
#pragma once

#include <sys/types.h>

/* The names in a folder, a line each; "" where there is no folder. -errno; a link in its place is none. */
int tokens_list(const char *folder, char **ret_names);
/* Removes each token (a folder of files) of another name, as that user, whose folder it is. -errno. */
int tokens_remove_others(const char *folder, const char *names, uid_t uid, gid_t gid);

/* Percent-encoding undone, in place. It may be a module's own words: what is none stays as it is. */
void tokens_decode(char *text);

/* certbroker.conf and conf.d/ of `from`, below `folder`; to be read by root and the group. -errno. */
int config_copy(const char *folder, const char *from, gid_t gid);
