/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Children that are forked from a process that serves, by a method or by a program that serves in a thread of its
 * own. They have all that is open in it and closed by exec only. While one had them clients did not hear that their
 * server is dead, for their sockets were not hung up; others connected to a server that is not there; and its name
 * was taken.
 *
 * So each forked child closes them. Which descriptors they are is noted when they are opened, before any other thread
 * can fork, and mostly not when they are closed: by file, so that a number which is another's by then is left alone.
 * That of a socket is not given again. What is no socket is forgotten when it is closed: lock files, whose number a
 * file system may give to the next file, and rings of io_uring, which have references on what they poll and are of no
 * file of their own.
 */
#include <errno.h>
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

void tarn__children_hold(void)
{
	pthread_mutex_lock(&mutex);
}

void tarn__children_let(void)
{
	pthread_mutex_unlock(&mutex);
}

void tarn__children_note(int fd)
{
	const int error = errno;
	struct stat st;

	/* Without memory for it children have that one, too. */
	if (fd >= 0 && fstat(fd, &st) == 0 && (fd < n_notes || grow(fd)))
		notes[fd] = (struct note){ .device = st.st_dev, .inode = st.st_ino };
	errno = error;
}

void tarn__children_forget(int fd)
{
	if (fd >= 0 && fd < n_notes)
		notes[fd].inode = 0;
}

void tarn__children_close(int fd)
{
	tarn__children_hold();
	tarn__children_note(fd);
	tarn__children_let();
}

void tarn__children_drop(int fd)
{
	tarn__children_hold();
	tarn__children_forget(fd);
	close(fd);
	tarn__children_let();
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

/* When the library is loaded, as in lib/process/launch.c; and before the one of records (log.c), so that who forks
 * takes this lock after that one: while it waits for a handler of records servers go on, which that may wait for. */
__attribute__((constructor(101))) static void prepare_for_fork(void)
{
	pthread_atfork(lock_before_fork, unlock_in_parent, close_in_child);
}
