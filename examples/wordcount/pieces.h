/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts in shared memory: files are read into blocks, several small ones into one, and a large one is
 * several pieces of work. From then on everybody sees the bytes where they are.
 */
#ifndef WORDCOUNT_PIECES_H
#define WORDCOUNT_PIECES_H

#include <tarn/tarn.h>

#include "wordcount/show.h"

/* What one worker counts at a time. */
struct piece {
	tarn_block *block; /* sealed: nobody can change it any more */
	size_t at, bytes;  /* where in it */
	size_t files;      /* that are done with it */
	bool counted;
};

struct pieces {
	struct piece *piece;
	size_t n, room;
	size_t files_read; /* of all texts, also of earlier rounds */
};

/* Reads the next texts: all that are left, or half of the memory full. The other half is for
 * answers. */
void pieces_read(struct pieces *pieces, tarn_client *client, struct texts *texts, unsigned workers);

static inline const char *piece_text(const struct piece *piece)
{
	return (const char *)tarn_block_data(piece->block) + piece->at;
}

/* Lets the texts go, and is empty for the next round. */
void pieces_drop(struct pieces *pieces);

/* A failed call leaves a sentence about what happened. */
static inline void must(int r, const char *what)
{
	if (r < 0)
		give_up(what, tarn_error_last()->message);
}

#endif
