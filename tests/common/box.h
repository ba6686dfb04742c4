/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays the container: a child in namespaces of its own, with its own /dev/shm and /proc.
 *
 *	char why[128];
 *	int r = box_run(&(struct box){ .shm_bytes = 64 << 20, .pids = true }, work, arg, why);
 *
 *	if (r == BOX_IMPOSSIBLE)
 *		PLAIN_SKIP("%s", why);
 */
#ifndef TARN_TESTS_COMMON_BOX_H
#define TARN_TESTS_COMMON_BOX_H

#include <stdbool.h>
#include <stdint.h>

struct box {
	uint64_t shm_bytes; /* size of its own /dev/shm; 0: as large as they come */
	bool pids;          /* its own pid namespace (the function's process is its init) */
	bool shared_shm;    /* the /dev/shm of outside */
	bool ipc;           /* its own IPC, UTS and network namespaces */
	bool no_io_uring;   /* refused as docker does */
	uint64_t memory;    /* limit of a memory cgroup of its own; 0: none */
};

#define BOX_IMPOSSIBLE (-1000)

/* Runs @work(@arg) there; it is to return or _exit(). Its exit status, -SIGNAL, or
 * BOX_IMPOSSIBLE with the reason in @why (128 bytes). */
int box_run(const struct box *box, void (*work)(void *), void *arg, char *why);

#endif
