/* SPDX-License-Identifier: Apache-2.0 */
#include "segment.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kept.h"

enum tarn__backing tarn__backing_choose(enum tarn__backing asked, uint64_t arena_bytes,
					char *why, size_t why_bytes)
{
	struct statvfs v;

	if (asked != TARN__BACKING_AUTO) {
		snprintf(why, why_bytes, "%s", asked == TARN__BACKING_KEPT ? "names are kept"
									    : "asked for");
		return asked;
	}
	if (statvfs("/dev/shm", &v) != 0) {
		snprintf(why, why_bytes, "/dev/shm: %s", strerror(errno));
		return TARN__BACKING_MEMFD;
	}
	uint64_t have = (uint64_t)v.f_blocks * v.f_frsize;
	if (have < arena_bytes) {
		snprintf(why, why_bytes, "/dev/shm holds %llu MiB, the arena's cap is %llu MiB",
			 (unsigned long long)(have >> 20), (unsigned long long)(arena_bytes >> 20));
		return TARN__BACKING_MEMFD;
	}
	if (access("/dev/shm", W_OK) != 0) {
		snprintf(why, why_bytes, "/dev/shm is not writable: %s", strerror(errno));
		return TARN__BACKING_MEMFD;
	}
	snprintf(why, why_bytes, "/dev/shm holds the arena");
	return TARN__BACKING_POSIX;
}

/* Without a name from the start: whoever is killed leaves none. Only where /dev/shm is a file
 * system that cannot do that there is one, for the few microseconds until it is unlinked. */
static int open_posix(const char *label)
{
	int nameless = open("/dev/shm", O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	if (nameless >= 0)
		return nameless;
	for (int attempt = 0; attempt < 16; attempt++) {
		uint64_t nonce;
		char name[64];

		if (getrandom(&nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce)
			return -EIO;
		snprintf(name, sizeof name, "/tarn-%s-%d-%016llx", label, (int)getpid(),
			 (unsigned long long)nonce);
		int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0) {
			shm_unlink(name);
			return fd;
		}
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

static int open_memfd(const char *label)
{
	char name[64];

	snprintf(name, sizeof name, "tarn-%s", label);
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd >= 0 ? fd : -errno;
}

/* The first segment is locked before it can be found: see kept.h. A file system without
 * O_TMPFILE leaves a moment in between, in which only the pid speaks for it. */
static int open_kept(const char *label, char **ret_name)
{
	const bool locked = strcmp(label, TARN__KEPT_LOCKED) == 0;
	char path[sizeof TARN__KEPT_DIRECTORY + TARN__KEPT_BYTES], self[64];
	char *name = path + sizeof TARN__KEPT_DIRECTORY;
	int r = tarn__kept_name(label, name);

	if (r < 0)
		return r;
	memcpy(path, TARN__KEPT_DIRECTORY "/", sizeof TARN__KEPT_DIRECTORY);
	int fd = open(TARN__KEPT_DIRECTORY, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	const bool nameless = fd >= 0;

	if (!nameless)
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	if ((locked && flock(fd, LOCK_EX | LOCK_NB) != 0) ||
	    (nameless && linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0))
		r = -errno;
	*ret_name = r == 0 ? strdup(name) : NULL;
	if (r == 0 && *ret_name == NULL)
		r = -ENOMEM;
	if (r == 0)
		return fd;
	if (!nameless || r == -ENOMEM)
		unlink(path);
	close(fd);
	return r;
}

static void remove_name(char *name)
{
	char path[sizeof TARN__KEPT_DIRECTORY + TARN__KEPT_BYTES];

	if (name == NULL)
		return;
	snprintf(path, sizeof path, "%s/%s", TARN__KEPT_DIRECTORY, name);
	unlink(path);
	free(name);
}

int tarn__file_size(int fd, uint64_t bytes)
{
	struct rlimit most;

	if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur != RLIM_INFINITY && bytes > most.rlim_cur)
		return -EFBIG;
	return ftruncate(fd, (off_t)bytes) == 0 ? 0 : -errno;
}

int tarn__segment_create(enum tarn__backing backing, const char *label, uint64_t bytes,
			 struct tarn__segment *ret)
{
	char *name = NULL;
	int fd = backing == TARN__BACKING_MEMFD	 ? open_memfd(label)
		 : backing == TARN__BACKING_KEPT ? open_kept(label, &name)
						 : open_posix(label);

	if (fd < 0)
		return fd;
	int r = fchmod(fd, 0600) == 0 ? tarn__file_size(fd, bytes) : -errno;
	if (r < 0) {
		remove_name(name);
		close(fd);
		return r;
	}
	if (backing == TARN__BACKING_MEMFD &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
		r = -errno;
		close(fd);
		return r;
	}
	r = tarn__segment_map(fd, bytes, true, ret);
	if (r == 0)
		ret->name = name;
	else
		remove_name(name);
	return r;
}

int tarn__segment_open_readonly(const struct tarn__segment *s, int *ret_fd)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", s->fd);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int tarn__segment_map(int fd, uint64_t bytes, bool writable, struct tarn__segment *ret)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) != 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	if ((uint64_t)st.st_size < bytes) {
		close(fd);
		return -EPROTO;
	}
	/* NORESERVE: the mapping is a cap on address space, not a claim on memory. */
	p = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ,
		 MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED) {
		int r = -errno;
		close(fd);
		return r;
	}
	*ret = (struct tarn__segment){ .fd = fd, .base = p, .bytes = bytes };
	return 0;
}

int tarn__segment_reserve(const struct tarn__segment *s, uint64_t offset, uint64_t bytes)
{
	int r;

	if (bytes == 0)
		return 0;
	do
		r = fallocate(s->fd, 0, (off_t)offset, (off_t)bytes);
	while (r != 0 && errno == EINTR);
	return r == 0 ? 0 : -errno;
}

int tarn__segment_punch(const struct tarn__segment *s, uint64_t offset, uint64_t bytes)
{
	uint64_t begin = tarn__round_up(offset, TARN__OS_PAGE);
	uint64_t end = (offset + bytes) & ~(uint64_t)(TARN__OS_PAGE - 1);

	if (end <= begin)
		return 0;
	if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)begin,
		      (off_t)(end - begin)) != 0)
		return -errno;
	return 0;
}

uint64_t tarn__segment_resident(const struct tarn__segment *s)
{
	struct stat st;

	return fstat(s->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512u : 0;
}

void tarn__segment_close(struct tarn__segment *s)
{
	if (s->base != NULL)
		munmap(s->base, s->bytes);
	remove_name(s->name); /* before the lock goes with the descriptor */
	if (s->fd >= 0)
		close(s->fd);
	*s = TARN__SEGMENT_NONE;
}
