/* SPDX-License-Identifier: Apache-2.0 */
#include "wordcount/pieces.h"

#include <errno.h>
#include <stdlib.h>

#include "wordcount/words.h"

#define SECOND INT64_C(1000000000)
#define PIECE_MIN (16 << 10) /* bytes */
#define PIECE_MAX (1 << 20)

static void add(struct pieces *pieces, const struct piece *piece)
{
	if (pieces->n == pieces->room) {
		pieces->room = pieces->room * 2 + 256;
		pieces->piece = realloc(pieces->piece, pieces->room * sizeof *pieces->piece);
		if (pieces->piece == NULL)
			give_up("list of texts", "out of memory");
	}
	pieces->piece[pieces->n++] = *piece;
}

/* Cuts a block between words into pieces of about @size bytes, so that workers share the work on a
 * large file. */
static void cut(struct pieces *pieces, tarn_block *block, size_t files, size_t size)
{
	const char *data = tarn_block_data(block);
	size_t bytes = tarn_block_size(block);

	for (size_t at = 0, end; at < bytes; at = end) {
		end = bytes - at > size ? words_cut(data, bytes, at + size) : bytes;
		add(pieces, &(struct piece){ .block = tarn_block_ref(block), .at = at,
					     .bytes = end - at,
					     .files = end == bytes ? files : 0 });
	}
}

/* Reads @n files to @data, a line end after each. Returns the bytes. */
static size_t read_files(struct texts *texts, struct text *file, size_t n, char *data)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		long bytes = text_read(&file[i], data + at);

		if (bytes < 0)
			texts_lost(texts, &file[i], (int)-bytes);
		else
			at += (size_t)bytes;
		data[at++] = '\n';
	}
	return at;
}

/* Reads the next large file, or several small ones, into a block. Returns its size, 0 if
 * memory is full. */
static size_t read_block(struct pieces *pieces, tarn_client *client, struct texts *texts,
			 size_t size, size_t max)
{
	/* If we hold nothing, there will be memory when the server has taken it back. */
	const tarn_block_options wait = { .timeout_ns = pieces->n > 0 ? 0 : 5 * SECOND };
	struct text *file = &texts->text[pieces->files_read];
	size_t left = texts->n - pieces->files_read, n = 1, bytes = file->bytes + 1;
	tarn_block *block;

	for (; n < left && bytes + file[n].bytes + 1 <= size; n++)
		bytes += file[n].bytes + 1;
	int r = bytes > max ? -ENOMEM : tarn_block_new_with(client, bytes, &wait, &block);
	if (r == -ENOMEM && pieces->n > 0)
		return 0; /* next round */
	if (r == -ENOMEM || r == -ETIMEDOUT) { /* not even alone */
		texts_lost(texts, file, EFBIG);
		pieces->files_read++;
		return bytes;
	}
	must(r, "memory for a text");
	/* Less than expected if a file has shrunk meanwhile. */
	must(tarn_block_resize(block, read_files(texts, file, n, tarn_block_data(block))), "resize");
	/* From here on nobody changes it, not even we. */
	must(tarn_block_seal(block), "seal");
	cut(pieces, block, n, size);
	tarn_block_unref(block);
	pieces->files_read += n;
	return bytes;
}

void pieces_read(struct pieces *pieces, tarn_client *client, struct texts *texts, unsigned workers)
{
	uint64_t half = tarn_client_arena_bytes(client) / 2, used = 0, bytes;
	/* Small enough to share them evenly, and no smaller: each has its own answer. */
	uint64_t size = texts->bytes / workers / 16;

	size = size > PIECE_MAX ? PIECE_MAX : size < PIECE_MIN ? PIECE_MIN : size;
	if (size > half / 32)
		size = half / 32;
	while (pieces->files_read < texts->n &&
	       (used == 0 || used + texts->text[pieces->files_read].bytes < half) &&
	       (bytes = read_block(pieces, client, texts, size, half)) > 0) {
		used += bytes;
		show_progress("reading", pieces->files_read, texts->n);
	}
}

void pieces_drop(struct pieces *pieces)
{
	for (size_t i = 0; i < pieces->n; i++)
		tarn_block_unref(pieces->piece[i].block);
	free(pieces->piece);
	pieces->piece = NULL;
	pieces->n = pieces->room = 0;
}
