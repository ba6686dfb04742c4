/* SPDX-License-Identifier: Apache-2.0 */
#include "sockets.h"

#include <dirent.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCEPTS 0x10000u /* __SO_ACCEPTCON: it listens */

/* "Num: RefCount Protocol Flags Type St Inode Path" */
static bool parse(const char *line, struct socket_entry *ret)
{
	unsigned flags, type;
	int at = 0;

	memset(ret, 0, sizeof *ret);
	if (sscanf(line, "%*s %*x %*x %x %x %*x %" SCNu64 " %n", &flags, &type, &ret->inode, &at) != 3 ||
	    at == 0 || type != SOCK_SEQPACKET || !(flags & ACCEPTS))
		return false;
	size_t n = strcspn(line + at, "\n");

	if (n == 0 || n >= sizeof ret->name)
		return false;
	memcpy(ret->name, line + at, n);
	return true;
}

bool sockets_each(bool (*each)(void *, const struct socket_entry *), void *arg)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512];

	if (f == NULL)
		return false;
	while (fgets(line, sizeof line, f) != NULL) {
		struct socket_entry e;

		if (parse(line, &e) && !each(arg, &e))
			break;
	}
	fclose(f);
	return true;
}

struct search {
	char name[sizeof((struct socket_entry *)0)->name];
	struct socket_entry *ret;
	bool found;
};

static bool compare(void *arg, const struct socket_entry *e)
{
	struct search *s = arg;

	if (strcmp(s->name, e->name) != 0)
		return true;
	*s->ret = *e;
	s->found = true;
	return false;
}

bool sockets_find(const struct sockaddr_un *address, socklen_t length, struct socket_entry *ret)
{
	struct search s = { .ret = ret };
	size_t n = length - offsetof(struct sockaddr_un, sun_path);

	if (n == 0 || n >= sizeof s.name)
		return false;
	memcpy(s.name, address->sun_path, n);
	if (s.name[0] == '\0')
		s.name[0] = '@'; /* abstract, as /proc shows it */
	sockets_each(compare, &s);
	return s.found;
}

static bool has_socket(const char *pid, const char *want)
{
	char path[300], target[64];
	struct dirent *e;
	bool found = false;

	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	DIR *d = opendir(path);
	while (d != NULL && !found && (e = readdir(d)) != NULL) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);

		target[n > 0 ? n : 0] = '\0';
		found = strcmp(target, want) == 0;
	}
	if (d != NULL)
		closedir(d);
	return found;
}

pid_t sockets_owner(uint64_t inode)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	char want[64];
	pid_t pid = 0;

	snprintf(want, sizeof want, "socket:[%" PRIu64 "]", inode);
	while (d != NULL && pid == 0 && (e = readdir(d)) != NULL)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && has_socket(e->d_name, want))
			pid = (pid_t)strtol(e->d_name, NULL, 10);
	if (d != NULL)
		closedir(d);
	return pid;
}
