/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding and removing what dead servers left (tarn/gc.h).
 *
 * A server's kept names form a group: boot, pid and start time (shm/kept.h). A group lives if
 * its process does, or if anybody holds the lock of one of its META segments: the one is
 * blind in another pid namespace, the other where a file system knew no O_TMPFILE and META
 * is not locked yet. META goes last, so that a sweep that is cut off leaves a group that the
 * next one can judge.
 */
#include "leftovers.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "error.h"
#include "shm/kept.h"

struct list {
	tarn_leftover *row;
	size_t n, room;
};

static tarn_leftover *add(struct list *l)
{
	if (l->n == l->room) {
		size_t room = l->room != 0 ? 2 * l->room : 16;
		tarn_leftover *row = realloc(l->row, room * sizeof *row);

		if (row == NULL)
			return NULL;
		l->row = row;
		l->room = room;
	}
	l->row[l->n] = (tarn_leftover){ 0 };
	return &l->row[l->n++];
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const tarn_leftover *)a)->path, ((const tarn_leftover *)b)->path);
}

/* ---- segments ---- */

static bool same_group(const tarn_leftover *a, const tarn_leftover *b)
{
	return a->kind == b->kind && a->pid == b->pid && a->start_ticks == b->start_ticks &&
	       a->other_boot == b->other_boot && a->uid == b->uid;
}

/* Who made it holds its lock, or is dead. A lock that we get here is ours for a moment only:
 * a server takes its own before the file has a name. */
static enum tarn_leftover_state locked(int directory, const char *name)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return errno == ENOENT ? TARN_LEFTOVER_DEAD : TARN_LEFTOVER_UNKNOWN;
	const bool free_now = flock(fd, LOCK_SH | LOCK_NB) == 0;
	close(fd);
	return free_now ? TARN_LEFTOVER_DEAD : TARN_LEFTOVER_LIVING;
}

static int look_at_segment(struct list *l, int directory, const char *name, const char *boot)
{
	struct tarn__kept k;
	struct stat st;

	if (!tarn__kept_parse(name, &k) ||
	    fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
		return 0;
	tarn_leftover *r = add(l);
	if (r == NULL)
		return -ENOMEM;
	snprintf(r->path, sizeof r->path, "%s/%.127s", TARN__KEPT_DIRECTORY, name);
	memcpy(r->label, k.label, sizeof r->label);
	r->kind = TARN_LEFTOVER_SEGMENT;
	r->uid = st.st_uid;
	r->pid = k.pid;
	r->start_ticks = k.start;
	r->bytes = (uint64_t)st.st_blocks * 512u;
	r->other_boot = strcmp(k.boot, boot) != 0;
	r->state = TARN_LEFTOVER_DEAD;
	if (r->other_boot)
		return 0;
	if (tarn__process_start(k.pid) == k.start)
		r->state = TARN_LEFTOVER_LIVING;
	else if (strcmp(k.label, TARN__KEPT_LOCKED) == 0)
		r->state = locked(directory, name);
	if (r->state == TARN_LEFTOVER_DEAD && st.st_uid != geteuid() && geteuid() != 0)
		r->state = TARN_LEFTOVER_UNKNOWN;
	return 0;
}

static int list_segments(struct list *l)
{
	char boot[33];
	size_t first = l->n;
	struct dirent *e;
	int r = tarn__boot_id(boot);
	DIR *d = r == 0 ? opendir(TARN__KEPT_DIRECTORY) : NULL;

	if (r < 0)
		return tarn__fail(r, "Cannot read this boot's id: %s.", tarn_error_text(r));
	if (d == NULL)
		return errno == ENOENT ? 0
				       : tarn__fail(-errno, "Cannot look into %s: %s.",
						    TARN__KEPT_DIRECTORY, tarn_error_text(-errno));
	while (r == 0 && (e = readdir(d)) != NULL)
		r = look_at_segment(l, dirfd(d), e->d_name, boot);
	closedir(d);
	if (r < 0)
		return tarn__fail(r, "No memory for a list of names.");
	/* One that lives speaks for its group. */
	for (size_t i = first; i < l->n; i++)
		for (size_t k = first; l->row[i].state != TARN_LEFTOVER_DEAD && k < l->n; k++)
			if (l->row[k].state == TARN_LEFTOVER_DEAD &&
			    same_group(&l->row[i], &l->row[k]))
				l->row[k].state = l->row[i].state;
	return 0;
}

/* ---- sockets ---- */

static int look_at_socket(struct list *l, const char *directory, int at, const char *name)
{
	char lock[300];
	struct stat st;
	size_t n = strlen(name);

	/* Without a lock file it is not a server's that made it: systemd's, for one. */
	if (n <= 5 || strcmp(name + n - 5, ".sock") != 0 || n > 128 ||
	    strlen(directory) + n + 2 > sizeof ((tarn_leftover *)0)->path ||
	    fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISSOCK(st.st_mode))
		return 0;
	snprintf(lock, sizeof lock, "%s.lock", name);
	if (faccessat(at, lock, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
		return 0;
	tarn_leftover *r = add(l);
	if (r == NULL)
		return -ENOMEM;
	snprintf(r->path, sizeof r->path, "%s/%.128s", directory, name);
	r->kind = TARN_LEFTOVER_SOCKET;
	r->uid = st.st_uid;
	r->state = locked(at, lock);
	return 0;
}

static int list_sockets(struct list *l)
{
	char directory[128];
	struct dirent *e;
	int r = tarn__control_directory(directory, sizeof directory);
	DIR *d = r == 0 ? opendir(directory) : NULL;

	if (r == 0 && d == NULL && errno != ENOENT)
		r = tarn__fail(-errno, "Cannot look into %s: %s.", directory,
			       tarn_error_text(-errno));
	while (r == 0 && d != NULL && (e = readdir(d)) != NULL)
		if (look_at_socket(l, directory, dirfd(d), e->d_name) < 0)
			r = tarn__fail(-ENOMEM, "No memory for a list of sockets.");
	if (d != NULL)
		closedir(d);
	return r;
}

/* ---- removing ---- */

/* A server takes this lock for the socket's name, and looks whether the file is still there. */
static int remove_socket(const char *path)
{
	char lock[sizeof((tarn_leftover *)0)->path + 8];
	int r = 0;

	snprintf(lock, sizeof lock, "%s.lock", path);
	int fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		r = -EAGAIN; /* somebody starts just now */
	else if ((unlink(path) != 0 && errno != ENOENT) || unlink(lock) != 0)
		r = -errno;
	close(fd);
	return r;
}

static int remove_row(const tarn_leftover *row)
{
	int r = row->kind == TARN_LEFTOVER_SOCKET ? remove_socket(row->path)
		: unlink(row->path) == 0	  ? 0
						  : -errno;

	return r == -ENOENT ? -EAGAIN : r; /* another sweep was faster */
}

/* Removes the dead ones and keeps their rows. The first failure's code. */
static int sweep(struct list *l, bool dry_run)
{
	size_t kept = 0;
	int first = 0;

	/* META last: see above. Rows that are done are DEAD still, and the label tells. */
	for (unsigned last = 0; last < 2 && !dry_run; last++)
		for (size_t i = 0; i < l->n; i++) {
			tarn_leftover *row = &l->row[i];

			if (row->state != TARN_LEFTOVER_DEAD ||
			    (strcmp(row->label, TARN__KEPT_LOCKED) == 0) != (last == 1))
				continue;
			int r = remove_row(row);
			if (r < 0)
				row->state = TARN_LEFTOVER_UNKNOWN;
			if (r < 0 && r != -EAGAIN && first == 0)
				first = tarn__fail(r, "Cannot remove %s: %s.", row->path,
						   tarn_error_text(r));
		}
	for (size_t i = 0; i < l->n; i++)
		if (l->row[i].state == TARN_LEFTOVER_DEAD)
			l->row[kept++] = l->row[i];
	l->n = kept;
	return first;
}

static void hand_over(struct list *l, tarn_leftover **ret_rows, size_t *ret_n)
{
	if (l->n > 1)
		qsort(l->row, l->n, sizeof *l->row, by_path);
	if (ret_n != NULL)
		*ret_n = l->n;
	if (ret_rows != NULL)
		*ret_rows = l->row;
	else
		free(l->row);
}

int tarn_leftovers_list(tarn_leftover **ret_rows, size_t *ret_n)
{
	struct list l = { 0 };
	int r = list_segments(&l);

	if (r == 0)
		r = list_sockets(&l);
	if (r < 0) {
		free(l.row);
		return r;
	}
	hand_over(&l, ret_rows, ret_n);
	return 0;
}

int tarn_leftovers_sweep(bool dry_run, tarn_leftover **ret_rows, size_t *ret_n)
{
	struct list l = { 0 };
	int r = list_segments(&l);

	if (r == 0)
		r = list_sockets(&l);
	if (r < 0) {
		free(l.row);
		return r;
	}
	r = sweep(&l, dry_run);
	hand_over(&l, ret_rows, ret_n);
	return r;
}

size_t tarn__leftovers_sweep_segments(void)
{
	struct list l = { 0 };
	size_t n = 0;

	if (list_segments(&l) == 0) {
		sweep(&l, false);
		n = l.n;
	}
	free(l.row);
	return n;
}
