/* SPDX-License-Identifier: Apache-2.0 */
/* A server process: how it comes to be. What becomes of it is process.c's. */
#ifndef TARN_SERVER_SPAWN_H
#define TARN_SERVER_SPAWN_H

#include <sys/types.h>

#include "estate.h"
#include "options.h"

struct tarn__born {
	char name[108];
	pid_t pid;
	int pidfd;
	uint64_t uuid[2];
	bool child; /* of this process: its status can be had */
	/* With a keeper, whose process the one above is: what it says of its server. NULL: none. */
	struct keeper_page *page;
	void *shared; /* where it lies, to be unmapped */
	size_t shared_bytes;
};
/* Unmaps what it has mapped. */
void tarn__born_fini(struct tarn__born *b);


/* Starts a process that serves with @p (packed, not unpacked) and waits until clients can attach. On
 * failure no process is left; the sentence is the server's own if it said one. */
int tarn__spawn(const struct tarn__packed *p, struct tarn__born *ret);

#endif
