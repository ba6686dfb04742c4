/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executing a program in a child process, at the speed of vfork.
 *
 * All children are born by one thread of this process, which never ends: PR_SET_PDEATHSIG, by which
 * a child dies with its parent, follows the thread that made it. The signal comes from the
 * kernel, so it also reaches a child that is stopped, hangs, or knows nothing of this library.
 */
#ifndef TARN_PROCESS_LAUNCH_H
#define TARN_PROCESS_LAUNCH_H

#include <stdbool.h>
#include <sys/types.h>

struct tarn__launch {
	const char *program;
	char *const *argv;
	char *const *envp;
	int stdio[3];    /* -1: 0 is /dev/null, 1 and 2 stay */
	bool null[3];    /* 1 and 2: /dev/null */
	int keep[2];     /* descriptors for the image; -1: none */
	bool detached;   /* a session of its own, and no death with the parent */
	/* Answers. */
	pid_t pid;
	int pidfd;       /* the caller's to close */
	int error;       /* 0 or -errno */
	bool done;
	struct tarn__launch *next;
};

/* Executes it, and returns when the image runs or could not be executed: 0 or -errno. */
int tarn__launch(struct tarn__launch *l);

#endif
