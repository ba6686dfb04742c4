/* SPDX-License-Identifier: Apache-2.0 */
/* What passes between the parent and a worker: texts as they are, and answers. */
#ifndef WORDCOUNT_WORKER_H
#define WORDCOUNT_WORKER_H

#include <tarn/tarn.h>

#include "wordcount/show.h"

/* What a worker sends back for a text. */
struct answer {
	uint64_t text_id, own_id; /* of the two blocks, as the worker saw them */
	uint64_t n;
	struct {
		uint32_t at, length; /* where the word is in the text */
		uint64_t count;
	} word[];
};

/* A worker's life: attaches to @server, works off the channel @tasks until it is closed. */
int worker_main(const char *server, const char *tasks, const char *answers);

/* A failed call leaves a sentence about what happened. */
static inline void must(int r, const char *what)
{
	if (r < 0)
		give_up(what, tarn_error_last()->message);
}

#endif
