/* SPDX-License-Identifier: Apache-2.0 */
/* Finding text files. Knows nothing of Tarn. */
#ifndef WORDCOUNT_TEXTS_H
#define WORDCOUNT_TEXTS_H

#include <stddef.h>
#include <stdint.h>

/* So much is taken at most: an example should be over before one loses interest. */
#define TEXTS_LIMIT (UINT64_C(512) << 20)

struct text {
	char *path;
	size_t bytes;
};

struct texts {
	struct text *text;
	size_t n, room;
	uint64_t bytes;
	size_t n_empty;      /* of the n */
	size_t n_lost;       /* of the n: could not be read in the end */
	size_t n_binary;     /* left out: not text (compressed files too) */
	size_t n_unreadable; /* left out: could not be opened or read; named on stderr */
	size_t n_too_much;   /* left out: beyond the limit */
	void *seen;          /* inodes, sorted into a tree */
};

/*
 * Adds the text files at or below @path. A file with several names counts once. Links to
 * files are followed; links to directories only if @path itself is one.
 */
void texts_find(struct texts *texts, const char *path);

/* Reads a file into @buffer, which has room for text->bytes. Returns how many there were
 * (the file may have shrunk), or -errno. */
long text_read(const struct text *text, void *buffer);

/* Says on stderr that a file which was found has to be left out, and why. */
void texts_lost(struct texts *texts, const struct text *text, int error);

void texts_fini(struct texts *texts);

#endif
