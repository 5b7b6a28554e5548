/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of a unit, as /proc tells of them. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#define PROCESS_GROUPS_MAX 512

typedef struct Process {
        pid_t pid;
        uid_t uid;
        gid_t gid;
        char groups[PROCESS_GROUPS_MAX]; /* numbers, with commas */
        char root[256];                  /* its root directory; "": the host's */
} Process;

/* Of a line of /proc/PID/cgroup: is it that cgroup, or one below it? */
bool process_line_is_in(const char *line, const char *cgroup);
/* One of the unit's that is not root's, as the workers of gateways are. -ENOENT: there is none. */
int process_find_worker(const char *cgroup, Process *ret_process);
/* Has one of the unit's a file of this name mapped? */
bool process_has_mapped(const char *cgroup, const char *file_name);
/* Where a process is put into that cgroup; "" where that is not to be seen. */
void process_cgroup_file(const char *cgroup, char ret_path[512]);
