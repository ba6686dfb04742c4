/* SPDX-License-Identifier: Apache-2.0 */
#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plain.h"
#include "seccomp.h"

#define WHY 128
#define EXIT_IMPOSSIBLE 76

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

/* ---- memory cgroup ---- */

static bool is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Where memory cgroups of this process can be made; false: nowhere. */
static bool cgroup_base(char *ret, size_t bytes, const char **ret_limit)
{
	char line[512];
	bool found = false;
	FILE *f = fopen("/proc/self/cgroup", "re");

	while (!found && f != NULL && fgets(line, sizeof line, f) != NULL) {
		char *path = strrchr(line, ':');

		line[strcspn(line, "\n")] = '\0';
		if (path == NULL)
			continue;
		path++;
		if (strstr(line, ":memory:") != NULL) {
			*ret_limit = "memory.limit_in_bytes";
			snprintf(ret, bytes, "/sys/fs/cgroup/memory%s", path);
			found = is_directory(ret);
		} else if (strncmp(line, "0::", 3) == 0) {
			char control[600];

			*ret_limit = "memory.max";
			snprintf(ret, bytes, "/sys/fs/cgroup%s", path);
			snprintf(control, sizeof control, "%s/cgroup.subtree_control", ret);
			found = is_directory(ret) && write_text(control, "+memory");
		}
	}
	if (f != NULL)
		fclose(f);
	return found;
}

static bool cgroup_make(uint64_t limit, char *ret_path, size_t bytes)
{
	char base[400], file[600], text[32];
	const char *limit_file;

	if (!cgroup_base(base, sizeof base, &limit_file))
		return false;
	snprintf(ret_path, bytes, "%s/tarn-test-%d", base, (int)getpid());
	if (mkdir(ret_path, 0755) != 0)
		return false;
	snprintf(file, sizeof file, "%s/%s", ret_path, limit_file);
	snprintf(text, sizeof text, "%llu", (unsigned long long)limit);
	if (write_text(file, text))
		return true;
	rmdir(ret_path);
	return false;
}

static void cgroup_remove(const char *path)
{
	/* The last process of it has ended, but the kernel may not have noted it yet. */
	PLAIN_WAIT_FOR(rmdir(path) == 0 || errno != EBUSY);
}

/* ---- namespaces ---- */

static _Noreturn void impossible(char *why, const char *what)
{
	snprintf(why, WHY, "%s: %s", what, strerror(errno));
	_exit(EXIT_IMPOSSIBLE);
}

static void map_user(char *why, uid_t uid, gid_t gid)
{
	char text[64];

	if (!write_text("/proc/self/setgroups", "deny"))
		impossible(why, "setgroups");
	snprintf(text, sizeof text, "%u %u 1", uid, uid);
	if (!write_text("/proc/self/uid_map", text))
		impossible(why, "uid_map");
	snprintf(text, sizeof text, "%u %u 1", gid, gid);
	if (!write_text("/proc/self/gid_map", text))
		impossible(why, "gid_map");
}

static void unshare_all(const struct box *b, char *why)
{
	int flags = CLONE_NEWNS | (b->pids ? CLONE_NEWPID : 0) |
		    (b->ipc ? CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET : 0);
	const uid_t uid = geteuid();
	const gid_t gid = getegid();

	if (uid != 0)
		flags |= CLONE_NEWUSER;
	if (unshare(flags) != 0)
		impossible(why, "namespaces");
	if (uid != 0)
		map_user(why, uid, gid);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		impossible(why, "mount --make-private /");
}

static void mount_inside(const struct box *b, char *why)
{
	char size[40] = "size=100%";

	if (b->shm_bytes != 0)
		snprintf(size, sizeof size, "size=%llu", (unsigned long long)b->shm_bytes);
	if (!b->shared_shm && mount("tmpfs", "/dev/shm", "tmpfs", 0, size) != 0)
		impossible(why, "a /dev/shm of its own");
	if (b->pids && mount("proc", "/proc", "proc", 0, NULL) != 0)
		impossible(why, "a /proc of its own");
	if (b->no_io_uring && tarn_test__refuse_io_uring(EPERM) != 0)
		impossible(why, "seccomp");
}

static _Noreturn void run_inside(const struct box *b, void (*work)(void *), void *arg, char *why)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	mount_inside(b, why);
	work(arg);
	_exit(0);
}

static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			_exit(1);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int box_run(const struct box *box, void (*work)(void *), void *arg, char *why)
{
	char cgroup[500] = "", procs[600];
	char *shared = mmap(NULL, WHY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	PLAIN_CHECK(shared != MAP_FAILED);
	if (box->memory != 0 && !cgroup_make(box->memory, cgroup, sizeof cgroup)) {
		snprintf(why, WHY, "no memory cgroup can be made here");
		munmap(shared, WHY);
		return BOX_IMPOSSIBLE;
	}
	pid_t outer = plain_fork();
	if (outer == 0) {
		snprintf(procs, sizeof procs, "%s/cgroup.procs", cgroup);
		if (box->memory != 0 && !write_text(procs, "0"))
			impossible(shared, "entering the cgroup");
		unshare_all(box, shared);
		if (!box->pids)
			run_inside(box, work, arg, shared);
		pid_t inner = fork(); /* not plain_fork(): its parent has no number there */
		if (inner == 0)
			run_inside(box, work, arg, shared);
		int r = reap(inner);
		if (r < 0)
			kill(getpid(), -r);
		_exit(r);
	}
	int r = plain_reap(outer);
	if (cgroup[0] != '\0')
		cgroup_remove(cgroup);
	memcpy(why, shared, WHY);
	munmap(shared, WHY);
	return r == EXIT_IMPOSSIBLE ? BOX_IMPOSSIBLE : r;
}
