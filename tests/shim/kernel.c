/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays another kernel, loaded before a test program and all that it starts (LD_PRELOAD). What it plays
 * stands in $TARN_TEST_KERNEL, words with blanks between:
 *
 *	pages=N       pages of N bytes, more than this machine's: addresses and offsets that are not multiples
 *	              are refused, lengths are rounded up, what is mapped begins at a multiple, and memory is
 *	              committed and given back in whole pages
 *	wipe=refuse   MADV_WIPEONFORK is unknown
 *	wipe=lie      it is taken and nothing done, as qemu-user 7.2 does
 *	old           calls and options that Tarn can do without are not there
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#define PAGEMAP_SCAN_TYPE 'f' /* of linux/fs.h */
#define PAGEMAP_SCAN_NUMBER 16

static uintptr_t page = 4096;
static bool wipe_refuse, wipe_lie, old;

__attribute__((constructor)) static void read_orders(void)
{
	const char *text = getenv("TARN_TEST_KERNEL");
	const char *pages = text != NULL ? strstr(text, "pages=") : NULL;

	if (text == NULL)
		return;
	if (pages != NULL)
		page = strtoul(pages + strlen("pages="), NULL, 10);
	wipe_refuse = strstr(text, "wipe=refuse") != NULL;
	wipe_lie = strstr(text, "wipe=lie") != NULL;
	old = strstr(text, "old") != NULL;
}

static uintptr_t up(uintptr_t n)
{
	return (n + page - 1) & ~(page - 1);
}
static bool odd(uintptr_t n)
{
	return (n & (page - 1)) != 0;
}
static long fail(int error)
{
	errno = error;
	return -1;
}

/* The real ones. */
static long call(long number, long a, long b, long c, long d, long e, long f)
{
	static long (*real)(long, ...);

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	return real(number, a, b, c, d, e, f);
}
static void *map(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	return (void *)call(SYS_mmap, (long)at, (long)bytes, protection, flags, fd, offset);
}
static void unmap(uintptr_t begin, uintptr_t end)
{
	if (end > begin)
		call(SYS_munmap, (long)begin, (long)(end - begin), 0, 0, 0, 0);
}

/* ---- pages ---- */

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (odd((uintptr_t)offset) || ((flags & MAP_FIXED) != 0 && odd((uintptr_t)at)))
		return (void *)fail(EINVAL);
	if ((flags & MAP_FIXED) != 0 || page <= 4096)
		return map(at, up(bytes), protection, flags, fd, offset);
	uintptr_t room = up(bytes) + page;
	void *p = map(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return p;
	uintptr_t begin = up((uintptr_t)p), end = begin + up(bytes);
	void *got = map((void *)begin, end - begin, protection, flags | MAP_FIXED, fd, offset);
	int error = errno;

	unmap((uintptr_t)p, got == MAP_FAILED ? (uintptr_t)p + room : begin);
	if (got != MAP_FAILED)
		unmap(end, (uintptr_t)p + room);
	errno = error;
	return got;
}
void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
	__attribute__((alias("mmap")));

int munmap(void *at, size_t bytes)
{
	return odd((uintptr_t)at) ? (int)fail(EINVAL) : (int)call(SYS_munmap, (long)at, (long)up(bytes), 0, 0, 0, 0);
}
int madvise(void *at, size_t bytes, int advice)
{
	if (odd((uintptr_t)at))
		return (int)fail(EINVAL);
	if (advice == MADV_WIPEONFORK && wipe_lie)
		return 0;
	if ((advice == MADV_WIPEONFORK && wipe_refuse) || (advice == MADV_POPULATE_WRITE && old))
		return (int)fail(EINVAL);
	return (int)call(SYS_madvise, (long)at, (long)up(bytes), advice, 0, 0, 0);
}

/* In whole pages, but the file does not grow. */
static int reserve(int fd, uintptr_t begin, uintptr_t end)
{
	struct stat st;
	uintptr_t whole = up(end);

	if (fstat(fd, &st) == 0 && end <= (uintptr_t)st.st_size && whole > (uintptr_t)st.st_size)
		whole = (uintptr_t)st.st_size;
	if (fstat(fd, &st) != 0 || end > (uintptr_t)st.st_size)
		whole = end;
	begin &= ~(page - 1);
	return (int)call(SYS_fallocate, fd, 0, (long)begin, (long)(whole - begin), 0, 0);
}
/* What is no whole page is zeroed and stays. */
static int punch(int fd, int mode, uintptr_t begin, uintptr_t end)
{
	uintptr_t first = up(begin), last = end & ~(page - 1);
	int r = (int)call(SYS_fallocate, fd, mode, (long)begin, (long)(end - begin), 0, 0);

	if (r == 0 && last <= first)
		return reserve(fd, begin, end);
	if (r == 0 && begin < first)
		r = reserve(fd, begin, first);
	return r == 0 && last < end ? reserve(fd, last, end) : r;
}
int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
	uintptr_t begin = (uintptr_t)offset, end = begin + (uintptr_t)bytes;

	if (page > 4096 && mode == 0)
		return reserve(fd, begin, end);
	if (page > 4096 && (mode & FALLOC_FL_PUNCH_HOLE) != 0)
		return punch(fd, mode, begin, end);
	return (int)call(SYS_fallocate, fd, mode, offset, bytes, 0, 0);
}
int fallocate64(int fd, int mode, off_t offset, off_t bytes) __attribute__((alias("fallocate")));

long sysconf(int name)
{
	static long (*real)(int);

	if (name == _SC_PAGESIZE)
		return (long)page;
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "sysconf");
	return real(name);
}
int getpagesize(void)
{
	return (int)page;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;

	va_start(args, request);
	void *arg = va_arg(args, void *);
	va_end(args);
	if (_IOC_TYPE(request) == PAGEMAP_SCAN_TYPE && _IOC_NR(request) == PAGEMAP_SCAN_NUMBER) {
		if (old)
			return (int)fail(ENOTTY);
		if (odd(((uint64_t *)arg)[2])) /* start */
			return (int)fail(EINVAL);
	}
	return (int)call(SYS_ioctl, fd, (long)request, (long)arg, 0, 0, 0);
}

/* ---- what old kernels have not ---- */

long syscall(long number, ...)
{
	va_list args;
	long a[6];

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_mbind && odd((uintptr_t)a[0]))
		return fail(EINVAL);
	if (old && (number == SYS_membarrier || number == SYS_futex_waitv || number == SYS_close_range))
		return fail(ENOSYS);
	return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

ssize_t preadv2(int fd, const struct iovec *to, int n, off_t offset, int flags)
{
	if (old)
		return fail(ENOSYS);
	return call(SYS_preadv2, fd, (long)to, n, offset, 0, flags);
}
ssize_t preadv64v2(int fd, const struct iovec *to, int n, off_t offset, int flags)
	__attribute__((alias("preadv2")));

int getsockopt(int fd, int level, int option, void *restrict ret, socklen_t *restrict bytes)
{
	if (old && level == SOL_SOCKET && option == SO_PEERPIDFD)
		return (int)fail(ENOPROTOOPT);
	return (int)call(SYS_getsockopt, fd, level, option, (long)ret, (long)bytes, 0);
}

int epoll_pwait2(int fd, struct epoll_event *events, int n, const struct timespec *timeout, const sigset_t *mask)
{
	if (old)
		return (int)fail(ENOSYS);
	return (int)call(SYS_epoll_pwait2, fd, (long)events, n, (long)timeout, (long)mask, 8);
}

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)
{
	static int (*real)(unsigned, struct io_uring *, struct io_uring_params *);

	if (old)
		return -ENOSYS;
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "io_uring_queue_init_params");
	return real != NULL ? real(entries, ring, p) : -ENOSYS;
}
