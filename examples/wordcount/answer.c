/* SPDX-License-Identifier: Apache-2.0 */
#include "wordcount/answer.h"

struct answer {
	uint64_t text_id, own_id; /* of the two blocks, as the worker saw them */
	uint64_t n;
	struct {
		uint32_t at, length; /* where the word is in the text */
		uint64_t count;
	} word[];
};

int answer_new(tarn_client *client, const tarn_block *block, const struct words *words,
	       tarn_block **ret_answer)
{
	/* If the memory is full, answers that the parent has read will soon make room. */
	const tarn_block_options patient = { .timeout_ns = INT64_C(30000000000) };
	struct answer *answer;
	size_t bytes = sizeof *answer + words->n * sizeof answer->word[0];
	int r = tarn_block_new_with(client, bytes, &patient, ret_answer);

	if (r < 0)
		return r;
	answer = tarn_block_data(*ret_answer);
	answer->text_id = tarn_block_id(block);
	answer->own_id = tarn_block_id(*ret_answer);
	answer->n = words->n;
	for (size_t i = 0; i < words->n; i++) {
		answer->word[i].at = words->word[i].first;
		answer->word[i].length = words->word[i].length;
		answer->word[i].count = words->word[i].count;
	}
	return 0;
}

bool answer_add(tarn_block *block, const struct piece *piece, struct words *words,
		uint64_t *ret_copied)
{
	const struct answer *answer = tarn_block_data(block);
	const char *text = piece_text(piece);
	size_t bytes = tarn_block_size(block);

	if (bytes < sizeof *answer)
		return false;
	for (uint64_t i = 0, n = answer->n; i < n; i++) {
		uint64_t at, length;

		if ((i + 1) * sizeof answer->word[0] > bytes - sizeof *answer)
			return false;
		at = answer->word[i].at;
		length = answer->word[i].length;
		if (at + length > piece->bytes)
			return false;
		words_add(words, text + at, (uint32_t)length, answer->word[i].count);
	}
	/* Are these the very blocks that we filled, and that the worker filled? */
	*ret_copied = (answer->text_id != tarn_block_id(piece->block) ? piece->bytes : 0) +
		      (answer->own_id != tarn_block_id(block) ? bytes : 0);
	return true;
}
