/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children that are forked from a process that serves, by a method or by a program that serves in a thread of its
 * own. They have all that is open in it and closed by exec only. While one had them clients did not hear that their
 * server is dead, for their sockets were not hung up; others connected to a server that is not there; and its name
 * was taken.
 *
 * So each forked child closes them. Which descriptors they are is noted when they are opened, and not when they are
 * closed: by file, so that a number which is another's by then is left alone. A ring of io_uring, which has
 * references on what it polls, is of no file of its own: that it is closed is said before.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "children.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
/* By descriptor; guarded by mutex. An inode of 0: none. */
static struct note {
	dev_t device;
	ino_t inode;
} *notes;
static int n_notes;

static bool grow(int fd)
{
	int n = n_notes != 0 ? n_notes : 64;

	while (n <= fd && n < (1 << 30))
		n *= 2;
	struct note *more = n > fd ? realloc(notes, (size_t)n * sizeof *more) : NULL;
	if (more == NULL)
		return false;
	for (int i = n_notes; i < n; i++)
		more[i].inode = 0;
	notes = more;
	n_notes = n;
	return true;
}

void tarn__children_close(int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return;
	pthread_mutex_lock(&mutex);
	/* Without memory for it children have that one, too. */
	if (fd < n_notes || grow(fd))
		notes[fd] = (struct note){ .device = st.st_dev, .inode = st.st_ino };
	pthread_mutex_unlock(&mutex);
}

void tarn__children_keep(int fd)
{
	pthread_mutex_lock(&mutex);
	if (fd >= 0 && fd < n_notes)
		notes[fd].inode = 0;
	pthread_mutex_unlock(&mutex);
}

static void lock_before_fork(void)
{
	pthread_mutex_lock(&mutex);
}

static void unlock_in_parent(void)
{
	pthread_mutex_unlock(&mutex);
}

static void close_in_child(void)
{
	struct stat st;

	for (int fd = 0; fd < n_notes; fd++) {
		if (notes[fd].inode != 0 && fstat(fd, &st) == 0 && st.st_ino == notes[fd].inode &&
		    st.st_dev == notes[fd].device)
			close(fd);
		notes[fd].inode = 0;
	}
	pthread_mutex_unlock(&mutex); /* held by this thread, which forked */
}

/* When the library is loaded, as in lib/process/launch.c. */
__attribute__((constructor(101))) static void prepare_for_fork(void)
{
	pthread_atfork(lock_before_fork, unlock_in_parent, close_in_child);
}
