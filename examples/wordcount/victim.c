/* SPDX-License-Identifier: Apache-2.0 */
/* The same questions that `tarn clients`, `tarn refs` and `tarn blocks` ask. */
#define _GNU_SOURCE /* usleep(), whatever -std= is */
#include "wordcount/victim.h"

#include <stdlib.h>
#include <unistd.h>

/* The client's number, 0 if there is none in that process, or a negative code. */
static int client_of(tarn_inspector *inspector, int pid)
{
	tarn_client_row *row;
	size_t n;
	int r = tarn_inspector_clients(inspector, &row, &n), found = 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if ((int)row[i].pid == pid)
			found = (int)row[i].id;
	free(row);
	return found;
}

static int by_id(const void *a, const void *b)
{
	const tarn_block_row *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

int victim_look(tarn_inspector *inspector, int pid, struct victim *victim)
{
	tarn_block_row *block = NULL;
	tarn_claim_row *claim = NULL;
	size_t n_blocks, n_claims;
	int client = client_of(inspector, pid), r = client;

	*victim = (struct victim){ 0 };
	if (r >= 0)
		r = tarn_inspector_blocks(inspector, &block, &n_blocks);
	if (r >= 0)
		r = tarn_inspector_refs(inspector, 0, &claim, &n_claims);
	if (r >= 0)
		qsort(block, n_blocks, sizeof *block, by_id);
	for (size_t i = 0; r >= 0 && client > 0 && i < n_claims; i++) {
		const tarn_block_row key = { .id = claim[i].id };
		const tarn_block_row *b = bsearch(&key, block, n_blocks, sizeof *b, by_id);

		if ((int)claim[i].client != client || b == NULL)
			continue;
		if (claim[i].kind == TARN_CLAIM_GRANTED) {
			victim->cached_blocks++;
			victim->cached_bytes += b->capacity;
		} else if (claim[i].kind == TARN_CLAIM_HELD && b->kind == TARN_BLOCK_OBJECT) {
			victim->objects++;
		} else if (claim[i].kind == TARN_CLAIM_HELD && (b->flags & TARN_BLOCK_IS_SEALED)) {
			victim->texts++; /* its own answers are not sealed */
			victim->text_bytes += b->size;
		}
	}
	free(block);
	free(claim);
	return r < 0 ? r : client;
}

int victim_wait(tarn_inspector *inspector, int pid, int client, struct victim *victim)
{
	double begin = now_s();
	tarn_claim_row *claim;
	size_t n;
	int r;

	while ((r = client_of(inspector, pid)) > 0) {
		if (now_s() - begin > 10)
			return -ETIMEDOUT;
		usleep(200);
	}
	victim->reclaimed_s = now_s() - begin;
	if (r == 0)
		r = tarn_inspector_refs(inspector, 0, &claim, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		victim->left += claim[i].kind != TARN_CLAIM_TRANSIT &&
				(int)claim[i].client == client;
	free(claim);
	return 0;
}
