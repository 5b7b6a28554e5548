/* SPDX-License-Identifier: Apache-2.0 */
/* /proc, read: who is in a unit's cgroup, and as whom. */
#include "process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "macro.h"

static FILE *open_of(pid_t pid, const char *name)
{
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
        return fopen(path, "re");
}

/* Of a line "NUMBER:CONTROLLERS:PATH": the unit's cgroup, or one below it. */
bool process_line_is_in(const char *line, const char *cgroup)
{
        const char *path = strchr(line, ':');
        size_t n = strlen(cgroup);

        path = path ? strchr(path + 1, ':') : NULL;
        return path && n > 1 && strncmp(path + 1, cgroup, n) == 0 && strchr("/\n", path[n + 1]);
}

/* Its lines are read whole: who has cgroups of his own makes them as long as he likes. */
static bool is_in(pid_t pid, const char *cgroup)
{
        FILE *from = open_of(pid, "cgroup");
        char *line = NULL;
        size_t n = 0;
        bool is = false;

        while (from && !is && getline(&line, &n, from) > 0)
                is = process_line_is_in(line, cgroup);
        free(line);
        if (from)
                (void)fclose(from);
        return is;
}

/* Numbers, with commas between them. */
static void copy_groups(const char *text, char ret_groups[PROCESS_GROUPS_MAX])
{
        size_t n = 0;

        for (; *text && *text != '\n' && n < PROCESS_GROUPS_MAX - 1; text++)
                if (isdigit((unsigned char)*text))
                        ret_groups[n++] = *text;
                else if (n > 0 && ret_groups[n - 1] != ',')
                        ret_groups[n++] = ',';
        while (n > 0 && ret_groups[n - 1] == ',')
                n--;
        ret_groups[n] = '\0';
}

static int read_process(pid_t pid, Process *process)
{
        FILE *from = open_of(pid, "status");
        char line[4096], path[64];
        int found = 0;
        ssize_t n;

        if (!from)
                return -errno;
        *process = (Process){ .pid = pid };
        while (fgets(line, sizeof(line), from))
                if (strncmp(line, "Uid:", 4) == 0)
                        found += sscanf(line + 4, "%*u %u", &process->uid);
                else if (strncmp(line, "Gid:", 4) == 0)
                        found += sscanf(line + 4, "%*u %u", &process->gid);
                else if (strncmp(line, "Groups:", 7) == 0)
                        copy_groups(line + 7, process->groups);
        (void)fclose(from);
        (void)snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
        n = readlink(path, process->root, sizeof(process->root) - 1);
        process->root[n > 0 ? n : 0] = '\0';
        if (strcmp(process->root, "/") == 0)
                process->root[0] = '\0';
        return found == 2 ? 0 : -ENOENT;
}

/* Each process of the unit; 0 from on_process() goes on. */
static int each(const char *cgroup, int (*on_process)(pid_t pid, void *userdata), void *userdata)
{
        DIR *entries = opendir("/proc");
        struct dirent *entry;
        int r = 0;

        while (entries && r == 0 && (entry = readdir(entries))) {
                pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

                if (pid > 0 && is_in(pid, cgroup))
                        r = on_process(pid, userdata);
        }
        if (entries)
                (void)closedir(entries);
        return r;
}

static int take_worker(pid_t pid, void *userdata)
{
        Process *process = userdata;

        return read_process(pid, process) == 0 && process->uid != 0;
}

int process_find_worker(const char *cgroup, Process *ret_process)
{
        return each(cgroup, take_worker, ret_process) == 1 ? 0 : -ENOENT;
}

static int look_at_maps(pid_t pid, void *userdata)
{
        const char *name = userdata;
        FILE *from = open_of(pid, "maps");
        size_t n_name = strlen(name);
        char line[4352];
        bool is = false;

        while (from && !is && fgets(line, sizeof(line), from)) {
                size_t n = strcspn(line, "\n");

                is = n > n_name && line[n - n_name - 1] == '/' &&
                     strncmp(line + n - n_name, name, n_name) == 0;
        }
        if (from)
                (void)fclose(from);
        return is;
}

bool process_has_mapped(const char *cgroup, const char *file_name)
{
        return each(cgroup, look_at_maps, (char *)(uintptr_t)file_name) == 1;
}

void process_cgroup_file(const char *cgroup, char ret_path[512])
{
        static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified",
                                              "/sys/fs/cgroup/systemd" };

        for (size_t i = 0; *cgroup && i < ELEMENTSOF(mounts); i++) {
                (void)snprintf(ret_path, 512, "%s%s/cgroup.procs", mounts[i], cgroup);
                if (access(ret_path, W_OK) == 0)
                        return;
        }
        ret_path[0] = '\0';
}
