/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segments have no names, so they are found among the server's descriptors by what is in
 * them: META and FACTS begin with a magic number and bear the same uuid. A copy is whole if
 * the server was stopped meanwhile, or if a second look finds the same. Then the copy's own
 * undo log takes back what a transaction had begun.
 */
#include "hung.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/control.h"
#include "lib/error.h"
#include "sockets.h"

#define LOOKS 20
#define LOOK_NS 25000000
#define SEGMENTS_MOST 32

pid_t hung_find(const char *name)
{
	struct sockaddr_un address;
	int length = tarn__control_address(name, 0, &address);
	struct socket_entry entry;

	if (length < 0 || !sockets_find(&address, (socklen_t)length, &entry))
		return 0;
	return sockets_owner(entry.inode);
}

bool hung_is_stopped(pid_t pid)
{
	char path[64], line[512];

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return false;
	char *read = fgets(line, sizeof line, f);
	fclose(f);
	/* "PID (NAME) STATE ...": the name may have any bytes. */
	const char *end = read != NULL ? strrchr(line, ')') : NULL;

	return end != NULL && end[1] == ' ' && (end[2] == 'T' || end[2] == 't');
}

/* ---- finding the segments ---- */

struct segments {
	int meta[SEGMENTS_MOST], facts[SEGMENTS_MOST];
	unsigned n_meta, n_facts;
	bool other_version, forbidden;
};

static void close_all(struct segments *s)
{
	for (unsigned i = 0; i < s->n_meta; i++)
		close(s->meta[i]);
	for (unsigned i = 0; i < s->n_facts; i++)
		close(s->facts[i]);
	s->n_meta = s->n_facts = 0;
}

static bool read_at(int fd, void *to, size_t bytes, size_t at)
{
	return pread(fd, to, bytes, (off_t)at) == (ssize_t)bytes;
}

/* Keeps @fd if it is one of them. */
static bool sort(struct segments *s, int fd)
{
	uint64_t facts[2], meta[2]; /* magic and layout */

	if (read_at(fd, facts, sizeof facts, offsetof(struct facts, magic)) &&
	    facts[0] == TARN__FACTS_MAGIC && s->n_facts < SEGMENTS_MOST) {
		if (facts[1] == tarn__layout_hash()) {
			s->facts[s->n_facts++] = fd;
			return true;
		}
		s->other_version = true;
	}
	if (read_at(fd, meta, sizeof meta, offsetof(struct state_head, magic)) &&
	    meta[0] == TARN__MAGIC && s->n_meta < SEGMENTS_MOST) {
		if (meta[1] == tarn__layout_hash()) {
			s->meta[s->n_meta++] = fd;
			return true;
		}
		s->other_version = true;
	}
	return false;
}
static_assert(offsetof(struct facts, layout) == offsetof(struct facts, magic) + 8, "read as one");
static_assert(offsetof(struct state_head, layout) == offsetof(struct state_head, magic) + 8,
	      "read as one");

static int find_segments(pid_t pid, struct segments *ret)
{
	char path[64];
	struct dirent *e;

	memset(ret, 0, sizeof *ret);
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *d = opendir(path);
	if (d == NULL)
		return -errno;
	while ((e = readdir(d)) != NULL) {
		struct stat st;

		/* Looked at before it is opened: opening a device or a fifo can do things. */
		if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, 0) != 0 ||
		    !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(struct facts))
			continue;
		int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
		ret->forbidden = ret->forbidden || (fd < 0 && errno == EACCES);
		if (fd >= 0 && !sort(ret, fd))
			close(fd);
	}
	closedir(d);
	return 0;
}

bool hung_owns_books(pid_t pid)
{
	struct segments s;

	if (pid <= 0 || find_segments(pid, &s) < 0)
		return false;
	bool found = s.n_meta != 0 || s.other_version;

	close_all(&s);
	return found;
}

/* ---- which of them ---- */

static bool same_address(const char *a, const char *b)
{
	struct sockaddr_un x, y;
	int n = tarn__control_address(a, 0, &x), m = tarn__control_address(b, 0, &y);

	return n > 0 && n == m && memcmp(&x, &y, (size_t)n) == 0;
}

/* FACTS of the server @name; of any, if @name is NULL or there is but one. */
static int choose_facts(const struct segments *s, const char *name)
{
	for (unsigned i = 0; i < s->n_facts; i++) {
		char found[sizeof((tarn_stat *)0)->name];

		if (!read_at(s->facts[i], found, sizeof found,
			     offsetof(struct facts, stat) + offsetof(tarn_stat, name)))
			continue;
		found[sizeof found - 1] = '\0';
		if (strcmp(found, name) == 0 || same_address(found, name))
			return s->facts[i];
	}
	return s->n_facts == 1 ? s->facts[0] : -1;
}

static int choose_meta(const struct segments *s, int facts)
{
	uint64_t want[2], have[2];

	if (facts < 0 || !read_at(facts, want, sizeof want, offsetof(struct facts, uuid)))
		return s->n_meta == 1 ? s->meta[0] : -1;
	for (unsigned i = 0; i < s->n_meta; i++)
		if (read_at(s->meta[i], have, sizeof have, offsetof(struct state_head, uuid)) &&
		    memcmp(have, want, sizeof have) == 0)
			return s->meta[i];
	return -1;
}

/* ---- copying ---- */

static uint64_t clock_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int copy(pid_t pid, int meta, int facts, struct dump *d)
{
	bool stopped = hung_is_stopped(pid), changed = true;

	for (unsigned look = 0; look < LOOKS; look++) {
		int r = dump_copy(meta, facts, d, &changed);

		if (r < 0)
			return r;
		if (stopped && hung_is_stopped(pid)) {
			/* Nothing can have changed, unless it ran in between: the second look
			 * of one that was continued says so. */
			d->header.how = DUMP_STOPPED;
			return 0;
		}
		if (look > 0 && !changed) {
			d->header.how = DUMP_STILL;
			return 0;
		}
		stopped = hung_is_stopped(pid);
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
	}
	return tarn__fail(-EBUSY, "process %d changes its books all the time: it is busy, not hung; "
			  "give it more time with --timeout", (int)pid);
}

static int fail_find(pid_t pid, int r)
{
	if (r == -EACCES || r == -EPERM)
		return tarn__fail(-EACCES, "reading the books of process %d is not allowed: run this "
				  "as its user with the right to trace it, or as root", (int)pid);
	if (r == -ENOENT || r == -ESRCH)
		return tarn__fail(-ESRCH, "process %d is not there any more", (int)pid);
	return tarn__fail(r, "/proc/%d/fd: %s", (int)pid, strerror(-r));
}

int hung_copy(const char *name, pid_t pid, struct dump *ret)
{
	struct segments s;
	struct dump d = { .meta = NULL };
	int r = find_segments(pid, &s);

	if (r < 0)
		return fail_find(pid, r);
	int facts = choose_facts(&s, name);
	int meta = choose_meta(&s, facts);
	if (meta < 0 && s.other_version)
		r = tarn__fail(-TARN_EVERSION, "process %d is of another version of libtarn", (int)pid);
	else if (meta < 0 && s.forbidden)
		r = fail_find(pid, -EACCES);
	else if (meta < 0)
		r = tarn__fail(-ESRCH, "process %d has no books of such a server", (int)pid);
	else
		r = copy(pid, meta, facts, &d);
	close_all(&s);
	if (r == 0) {
		d.header.pid = (uint32_t)pid;
		d.header.taken_ns = clock_of(CLOCK_REALTIME);
		d.header.now_ns = clock_of(CLOCK_BOOTTIME);
		r = dump_adopt(&d);
	}
	if (r < 0) {
		dump_free(&d);
		return r;
	}
	*ret = d;
	ret->sight.st = &ret->st;
	return 0;
}
