/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "shm/page.h"
#include "shm/sizeclass.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* ---- saying ---- */

__attribute__((format(printf, 3, 4))) static void found(struct finding *f, enum verdict verdict,
							 const char *format, ...)
{
	va_list args;

	f->verdict = verdict;
	va_start(args, format);
	vsnprintf(f->found, sizeof f->found, format, args);
	va_end(args);
}

static void advise(struct finding *f, const char *advice)
{
	snprintf(f->advice, sizeof f->advice, "%s", advice);
}

/* ---- reading ---- */

/* The first line of a file, without its end. False: it is not there. */
static bool read_line(const char *path, char *ret, size_t bytes)
{
	FILE *f = fopen(path, "re");
	bool read = f != NULL && fgets(ret, (int)bytes, f) != NULL;

	if (f != NULL)
		fclose(f);
	if (read)
		ret[strcspn(ret, "\n")] = '\0';
	return read;
}

/* False: not there, or no number ("max"). */
static bool read_number(const char *path, uint64_t *ret)
{
	char line[64], *end;

	if (!read_line(path, line, sizeof line))
		return false;
	errno = 0;
	*ret = strtoull(line, &end, 10);
	return errno == 0 && end != line && *end == '\0';
}

static uint64_t ram(void)
{
	struct sysinfo info;

	return sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : 0;
}

static unsigned long long mib(uint64_t bytes)
{
	return (unsigned long long)(bytes >> 20);
}

/* Whether a filter of system calls is on us: containers have one. */
static bool has_seccomp(void)
{
	char line[128];
	FILE *f = fopen("/proc/self/status", "re");
	int mode = 0;

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "Seccomp: %d", &mode) == 1)
			break;
	if (f != NULL)
		fclose(f);
	return mode == 2;
}

/* ---- examinations ---- */

static void kernel(struct finding *f)
{
	struct utsname u;
	int major = 0, minor = 0;

	if (uname(&u) != 0)
		strcpy(u.release, "?");
	(void)sscanf(u.release, "%d.%d", &major, &minor);
	/* pidfd_open is of 5.3, CLOSE_RANGE and others of 5.9; below that nothing was tried. */
	bool old = major < 5 || (major == 5 && minor < 10);

	found(f, old ? DOCTOR_WARN : DOCTOR_OK, "Linux %.64s", u.release);
	if (old)
		advise(f, "use Linux 5.10 or later: older ones are not tested");
}

static void io_uring(struct finding *f)
{
	struct io_uring_params p;
	uint64_t disabled = 0;
	int fd;

	memset(&p, 0, sizeof p);
	fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (fd >= 0) {
		close(fd);
		found(f, DOCTOR_OK, "allowed");
		return;
	}
	int why = errno;
	if (why == ENOSYS) {
		found(f, DOCTOR_WARN, "this kernel has none, or seccomp hides it; epoll is used");
		advise(f, "nothing need be changed; with io_uring a busy server makes fewer system calls");
	} else if (why == EPERM && read_number("/proc/sys/kernel/io_uring_disabled", &disabled) &&
		   disabled != 0) {
		found(f, DOCTOR_WARN, "refused: kernel.io_uring_disabled is %" PRIu64 "; epoll is used",
		      disabled);
		advise(f, "sysctl kernel.io_uring_disabled=0, if the administrator agrees");
	} else if (why == EPERM && has_seccomp()) {
		found(f, DOCTOR_WARN, "refused by seccomp, as containers do by default; epoll is used");
		advise(f, "allow io_uring_setup, io_uring_enter and io_uring_register in the container's "
			  "seccomp profile");
	} else {
		found(f, DOCTOR_WARN, "refused: %s; epoll is used", strerror(why));
		advise(f, why == ENOMEM ? "raise the limit of locked memory (ulimit -l)" : "");
	}
}

static void memlock(struct finding *f)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
		found(f, DOCTOR_OK, "no limit of locked memory");
		return;
	}
	bool low = limit.rlim_cur < 64 << 10;

	found(f, low ? DOCTOR_WARN : DOCTOR_OK, "%llu KiB may be locked",
	      (unsigned long long)limit.rlim_cur >> 10);
	if (low)
		advise(f, "ulimit -l 64 or more: io_uring before Linux 5.12 takes it from there");
}

static void dev_shm(struct finding *f)
{
	struct statvfs v;
	uint64_t half = ram() / 2;

	if (statvfs("/dev/shm", &v) != 0) {
		found(f, DOCTOR_WARN, "/dev/shm: %s; memory files are used", strerror(errno));
		advise(f, "mount a tmpfs there, or leave it: memfds serve as well");
		return;
	}
	uint64_t all = (uint64_t)v.f_blocks * v.f_frsize, left = (uint64_t)v.f_bavail * v.f_frsize;

	if (access("/dev/shm", W_OK) != 0) {
		found(f, DOCTOR_WARN, "/dev/shm is not writable; memory files are used");
		advise(f, "chmod 1777 /dev/shm, or leave it: memfds serve as well");
	} else if (all < half) {
		found(f, DOCTOR_WARN, "/dev/shm holds %llu MiB, %llu free, less than half of the memory: "
		      "a default arena takes memory files", mib(all), mib(left));
		advise(f, "in a container: --shm-size or --ipc=host; or leave it: memfds serve as well");
	} else {
		found(f, DOCTOR_OK, "/dev/shm holds %llu MiB, %llu free", mib(all), mib(left));
	}
}

static void memory_cgroup(struct finding *f)
{
	uint64_t limit, used = 0;
	bool v2 = read_number("/sys/fs/cgroup/memory.max", &limit);

	if (!v2 && !(read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", &limit) &&
		     limit < 1ull << 60)) {
		found(f, DOCTOR_OK, "no limit that is to be seen from here; %llu MiB of memory", mib(ram()));
		return;
	}
	(void)read_number(v2 ? "/sys/fs/cgroup/memory.current"
			     : "/sys/fs/cgroup/memory/memory.usage_in_bytes", &used);
	bool tight = limit < 128u << 20 || (used < limit && limit - used < limit / 8);

	found(f, tight ? DOCTOR_WARN : DOCTOR_OK, "the control group may use %llu MiB, uses %llu",
	      mib(limit), mib(used));
	if (tight)
		advise(f, "shared memory counts in the group that touches it: give tarnd --size well below "
			  "the limit");
}

static void huge_pages(struct finding *f)
{
	char enabled[128] = "?";
	uint64_t pool = 0;

	(void)read_number("/proc/sys/vm/nr_hugepages", &pool);
	(void)read_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", enabled, sizeof enabled);
	const char *chosen = strchr(enabled, '[');
	char mode[32] = "unknown";

	if (chosen != NULL)
		snprintf(mode, sizeof mode, "%.*s", (int)strcspn(chosen + 1, "]"), chosen + 1);
	bool never = strcmp(mode, "never") == 0 || strcmp(mode, "deny") == 0;

	/* Blocks ask for them only by option, so their lack is no fault of the machine. */
	found(f, DOCTOR_OK, "transparent ones for shared memory: %s; pool of %" PRIu64 " pages", mode, pool);
	if (never)
		advise(f, "for blocks that ask for huge pages: echo advise > "
			  "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
}

static void cores(struct finding *f)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	char quota[64] = "";
	unsigned long long limit, period;
	cpu_set_t set;
	int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)online;
	bool capped = read_line("/sys/fs/cgroup/cpu.max", quota, sizeof quota) &&
		      sscanf(quota, "%llu %llu", &limit, &period) == 2 && period != 0;
	double share = capped ? (double)limit / (double)period : (double)allowed;
	bool few = allowed < 2 || share < 2;

	if (capped)
		found(f, few ? DOCTOR_WARN : DOCTOR_OK, "%ld online, %d allowed, %.1f by the control group",
		      online, allowed, share);
	else
		found(f, few ? DOCTOR_WARN : DOCTOR_OK, "%ld online, %d allowed", online, allowed);
	if (few)
		advise(f, "with a single core every call costs two switches; give it two or more");
}

static void membarrier(struct finding *f)
{
	bool works = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0 &&
		     syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;

	if (works) {
		found(f, DOCTOR_OK, "allowed: clients need no fence to ring the server");
		return;
	}
	found(f, DOCTOR_WARN, "refused: %s; clients use fences", strerror(errno));
	advise(f, "allow membarrier in the seccomp profile; each message costs some 20 ns more without it");
}

static void pages(struct finding *f)
{
	uint64_t page = tarn__os_page();
	bool works = page <= TARN__OS_PAGE_MOST;

	found(f, works ? DOCTOR_OK : DOCTOR_BAD, "%" PRIu64 " KiB", page >> 10);
	if (!works)
		advise(f, "use a kernel with pages of 64 KiB or less: no client can attach");
	else if (page > TARN__HEAP_PAGE)
		advise(f, "nothing need be changed; memory is taken and given back in such pieces");
}

static void reading_without_waiting(struct finding *f)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t count;
	const struct iovec to = { .iov_base = &count, .iov_len = sizeof count };

	if (fd >= 0 && preadv2(fd, &to, 1, -1, RWF_NOWAIT) < 0 && errno == EAGAIN) {
		close(fd);
		found(f, DOCTOR_OK, "allowed: no client can keep the server waiting at its bell");
		return;
	}
	found(f, DOCTOR_WARN, "refused: %s; the server looks before it reads", strerror(errno));
	advise(f, "allow preadv2 in the seccomp profile; it needs Linux 5.8: without it a client that means ill can "
		  "make the server wait");
	if (fd >= 0)
		close(fd);
}

static void pidfds(struct finding *f)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (fd >= 0) {
		close(fd);
		found(f, DOCTOR_OK, "pidfd_open works: deaths are seen at once");
		return;
	}
	found(f, DOCTOR_BAD, "pidfd_open: %s", strerror(errno));
	advise(f, "allow pidfd_open in the seccomp profile; it needs Linux 5.3: no client can attach without");
}

static void peer_pidfds(struct finding *f)
{
	int pair[2], fd = -1;
	socklen_t n = sizeof fd;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		found(f, DOCTOR_BAD, "socketpair: %s", strerror(errno));
		advise(f, "Unix sockets are how clients attach: allow them");
		return;
	}
	if (getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &fd, &n) == 0) {
		close(fd);
		found(f, DOCTOR_OK, "SO_PEERPIDFD works");
	} else {
		found(f, DOCTOR_OK, "SO_PEERPIDFD is not there; pidfd_open and a second look are used");
		advise(f, "nothing need be changed; Linux 6.5 has it");
	}
	close(pair[0]);
	close(pair[1]);
}

static void memory_files(struct finding *f)
{
	int fd = memfd_create("tarn-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0) {
		found(f, DOCTOR_BAD, "memfd_create: %s", strerror(errno));
		advise(f, "allow memfd_create: answers to tools and the server's counters lie in such files");
		return;
	}
	bool sealed = ftruncate(fd, 4096) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0;
	bool reserved = fallocate(fd, 0, 0, 4096) == 0;

	close(fd);
	found(f, sealed && reserved ? DOCTOR_OK : DOCTOR_BAD, "memfd_create works%s%s",
	      sealed ? ", sealing too" : ", sealing does not", reserved ? "" : ", fallocate does not");
	if (!sealed || !reserved)
		advise(f, "a sandbox stands between; arenas are not safe from SIGBUS in it");
}

static void open_files(struct finding *f)
{
	struct rlimit limit = { 0 };

	getrlimit(RLIMIT_NOFILE, &limit);
	bool low = limit.rlim_cur < 1024 && limit.rlim_cur != RLIM_INFINITY;

	/* A server has three for each client: socket, pidfd, lanes. */
	found(f, low ? DOCTOR_WARN : DOCTOR_OK, "%llu open files: some %llu clients",
	      (unsigned long long)limit.rlim_cur,
	      limit.rlim_cur > 32 ? (unsigned long long)(limit.rlim_cur - 32) / 3 : 0ull);
	if (low)
		advise(f, "ulimit -n 4096 where the server is started");
}

static void runtime_directory(struct finding *f)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (dir == NULL || dir[0] != '/') {
		found(f, DOCTOR_OK, "XDG_RUNTIME_DIR is not set: sockets lie in /tmp/tarn-%u",
		      (unsigned)geteuid());
	} else if (stat(dir, &st) != 0) {
		found(f, DOCTOR_BAD, "XDG_RUNTIME_DIR %.100s: %s", dir, strerror(errno));
		advise(f, "make it, mode 0700, or unset the variable");
	} else if (st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
		found(f, DOCTOR_WARN, "XDG_RUNTIME_DIR %.100s is another user's, or others may write there", dir);
		advise(f, "chmod 0700 it, or unset the variable");
	} else {
		found(f, DOCTOR_OK, "%.150s", dir);
	}
}

/* Whether the books of a server that hangs can be read. */
static void tracing(struct finding *f)
{
	uint64_t scope = 0;

	(void)read_number("/proc/sys/kernel/yama/ptrace_scope", &scope);
	if (access("/proc/self/fd", R_OK) != 0) {
		found(f, DOCTOR_WARN, "/proc is not there: a server that hangs cannot be looked into");
		advise(f, "mount /proc");
	} else {
		found(f, DOCTOR_OK, "/proc is there: servers of the same user can be looked into when they "
		      "hang (ptrace_scope %" PRIu64 " does not matter)", scope);
	}
}

unsigned doctor_examine(struct finding *ret)
{
	static const struct {
		const char *name;
		void (*examine)(struct finding *);
	} all[] = {
		{ "kernel", kernel },	    { "io_uring", io_uring },	 { "memlock", memlock },
		{ "dev-shm", dev_shm },	    { "memfd", memory_files },	 { "cgroup", memory_cgroup },
		{ "huge-pages", huge_pages }, { "cores", cores },	 { "membarrier", membarrier },
		{ "pages", pages },	    { "preadv2", reading_without_waiting },
		{ "pidfd", pidfds },	    { "peer-pidfd", peer_pidfds }, { "open-files", open_files },
		{ "runtime-dir", runtime_directory }, { "tracing", tracing },
	};
	unsigned n = sizeof all / sizeof *all;

	_Static_assert(sizeof all / sizeof *all <= DOCTOR_MOST, "room for all");
	for (unsigned i = 0; i < n; i++) {
		memset(&ret[i], 0, sizeof ret[i]);
		ret[i].check = all[i].name;
		all[i].examine(&ret[i]);
	}
	return n;
}
