/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linear hashing: with n buckets, 2^k <= n < 2^(k+1), a key lives in bucket
 * h mod 2^(k+1) if that is below n, else in h mod 2^k. Growing by one splits bucket
 * n - 2^k in two, so the work per insertion is bounded and nothing is ever rehashed
 * as a whole. The table does not shrink; its memory is small next to the claims'.
 */
#include "claims.h"

#include <stdio.h>

#include "shm/hash.h"

#define FIRST_BUCKETS 64u
#define SPLIT_MOST 64u /* claims moved by one split at most: bounds the transaction */

static uint32_t bucket_of(uint32_t buckets, uint64_t hash)
{
	uint32_t half = 1u << (31 - __builtin_clz(buckets));
	uint32_t b = (uint32_t)hash & (2 * half - 1);

	return b < buckets ? b : b & (half - 1);
}

static uint64_t claim_hash(const struct state *st, uint64_t who, uint64_t what)
{
	return tarn__hash_pair(who, what, st->head->seed);
}

void tarn__claims_init(struct state *st)
{
	SET(st, st->head->buckets, FIRST_BUCKETS);
	SET(st, st->head->claims, 1);
}

int tarn__claims_promise(struct state *st, uint64_t more)
{
	struct state_head *h = st->head;
	uint64_t total = h->claims_promised + more;
	int r;

	if (total + 1 > MAX_CLAIMS)
		return -ENOSPC;
	r = tarn__state_reserve(st, st->claim, sizeof *st->claim, &h->claims_reserved, total + 1);
	if (r < 0)
		return r;
	/* Few of the promises are ever in use at once: chains may grow to four when they are. */
	uint64_t buckets = total / 4 + FIRST_BUCKETS;
	r = tarn__state_reserve(st, st->bucket, sizeof *st->bucket, &h->buckets_reserved,
				buckets < MAX_BUCKETS ? buckets : MAX_BUCKETS);
	if (r < 0)
		return r;
	SET(st, h->claims_promised, total);
	return 0;
}

void tarn__claims_unpromise(struct state *st, uint64_t fewer)
{
	SET(st, st->head->claims_promised, st->head->claims_promised - fewer);
}

struct claim *tarn__claim_find(const struct state *st, uint64_t who, uint64_t what)
{
	uint32_t i = st->bucket[bucket_of(st->head->buckets, claim_hash(st, who, what))];

	while (i != NIL) {
		struct claim *c = &st->claim[i];

		if (c->what == what && c->who == who)
			return c;
		i = c->next;
	}
	return NULL;
}

/* Splits one bucket when chains grow beyond two claims on average. */
static void maybe_grow(struct state *st)
{
	struct state_head *h = st->head;
	uint32_t n = h->buckets;

	if (h->n_claims <= (uint64_t)n * 2 || n + 1 > h->buckets_reserved || n + 1 > MAX_BUCKETS)
		return;
	uint32_t from = n - (1u << (31 - __builtin_clz(n)));
	uint32_t length = 0;

	for (uint32_t i = st->bucket[from]; i != NIL; i = st->claim[i].next)
		if (++length > SPLIT_MOST)
			return; /* an unlucky chain: stay correct, just slower */
	uint32_t stay = NIL, go = NIL, next;
	for (uint32_t i = st->bucket[from]; i != NIL; i = next) {
		struct claim *c = &st->claim[i];

		next = c->next;
		if (bucket_of(n + 1, claim_hash(st, c->who, c->what)) == n) {
			SET(st, c->next, go);
			go = i;
		} else {
			SET(st, c->next, stay);
			stay = i;
		}
	}
	SET(st, st->bucket[from], stay);
	SET(st, st->bucket[n], go);
	SET(st, h->buckets, n + 1);
}

int tarn__claim_add(struct state *st, uint64_t who, uint64_t what, uint64_t value)
{
	struct state_head *h = st->head;
	uint32_t i = h->free_claim;
	int r;

	maybe_grow(st);
	if (i != NIL) {
		SET(st, h->free_claim, st->claim[i].next);
	} else {
		i = h->claims;
		/* Beyond what was promised only a client that breaks the rules can come. */
		r = i < MAX_CLAIMS ? tarn__state_reserve(st, st->claim, sizeof *st->claim,
							 &h->claims_reserved, i + 1)
				   : -ENOSPC;
		if (r < 0)
			return r;
		SET(st, h->claims, i + 1);
	}
	struct claim *c = &st->claim[i];
	uint32_t b = bucket_of(h->buckets, claim_hash(st, who, what));

	pair_set(st, &c->who, (uint32_t)who, st->bucket[b]);
	SET(st, c->what, what);
	SET(st, c->value, value);
	SET(st, st->bucket[b], i);
	SET(st, h->n_claims, h->n_claims + 1);
	return 0;
}

void tarn__claim_drop(struct state *st, struct claim *claim)
{
	struct state_head *h = st->head;
	uint32_t me = (uint32_t)(claim - st->claim);
	uint32_t *link = &st->bucket[bucket_of(h->buckets,
					       claim_hash(st, claim->who, claim->what))];

	while (*link != me)
		link = &st->claim[*link].next;
	tarn__meta_set32(&st->meta, link, claim->next);
	pair_set(st, &claim->who, 0, h->free_claim);
	SET(st, h->free_claim, me);
	SET(st, h->n_claims, h->n_claims - 1);
}

int tarn__claims_verify(const struct state *st, void (*say)(void *, const char *), void *arg)
{
	const struct state_head *h = st->head;
	uint64_t in_chains = 0, in_list = 0, named = 0;
	char line[160];
	int findings = 0;

	for (uint32_t b = 0; b < h->buckets; b++)
		for (uint32_t i = st->bucket[b]; i != NIL; i = st->claim[i].next) {
			const struct claim *c = &st->claim[i];

			if (i >= h->claims || in_chains > h->claims) {
				say(arg, "claims: a chain leads out of the table or never ends");
				return findings + 1;
			}
			in_chains++;
			if (bucket_of(h->buckets, claim_hash(st, c->who, c->what)) != b) {
				snprintf(line, sizeof line, "claims: %u stands in bucket %u", i, b);
				say(arg, line);
				findings++;
			}
		}
	for (uint32_t i = h->free_claim; i != NIL; i = st->claim[i].next) {
		if (i >= h->claims || in_list > h->claims || st->claim[i].who != 0) {
			say(arg, "claims: the list of free claims is broken");
			return findings + 1;
		}
		in_list++;
	}
	for (uint32_t i = 1; i < h->claims; i++)
		named += st->claim[i].who != 0;
	if (in_chains != h->n_claims || named != h->n_claims || in_list + named + 1 != h->claims) {
		snprintf(line, sizeof line,
			 "claims: %llu in chains, %llu with a name, %llu free of %u; counted %u",
			 (unsigned long long)in_chains, (unsigned long long)named,
			 (unsigned long long)in_list, h->claims - 1, h->n_claims);
		say(arg, line);
		findings++;
	}
	return findings;
}
