/* SPDX-License-Identifier: Apache-2.0 */
/* Parcels: where the words and references that one reads lie, and when they go. */
#include "value.h"

#include <stdlib.h>
#include <string.h>

#include "lib/error.h"

#define ROOM_WORDS (sizeof(((tarn_parcel *)0)->room) / sizeof(uint64_t))
#define ROOM_REFS (sizeof(((tarn_parcel *)0)->refs_room) / sizeof(tarn_block *))

/* A string taken out of memory that others write to. */
struct copy {
	struct copy *next;
	const void *data; /* where it was */
	size_t bytes;
	char text[];
};

/* All of a parcel, by where they were: who asks again gets the same. */
struct copies {
	size_t mask;
	struct copy *bucket[];
};
#define BUCKETS_LEAST 8u
#define BUCKETS_MOST 65536u
#define WORDS_PER_BUCKET 16u

static int check_counts(uint32_t n_words, unsigned n_values, unsigned n_refs)
{
	if (n_values > TARN_VALUES_MAX || n_values * TARN__SLOT_WORDS > n_words ||
	    n_refs > TARN_REFS_MAX || n_words > TARN_PAYLOAD_MAX / 8)
		return tarn__fail(-TARN_EPROTO, "A message of %u values and %u references in %u words: "
				  "these do not go together.", n_values, n_refs, n_words);
	return 0;
}

static int make_refs(tarn_parcel *p, unsigned n_refs)
{
	if (n_refs > ROOM_REFS) {
		p->refs = malloc(n_refs * sizeof(tarn_block *));
		if (p->refs == NULL)
			return tarn__fail(-ENOMEM, "No memory for a table of %u references.", n_refs);
		p->flags |= TARN__PARCEL_REFS;
	}
	p->n_refs = (uint8_t)n_refs;
	return 0;
}

int tarn__parcel_room(tarn_parcel *parcel, uint32_t n_words, unsigned n_values, unsigned n_refs,
		      uint64_t **ret_words, struct tarn_block ***ret_refs)
{
	uint64_t *words = parcel->room;
	int r = check_counts(n_words, n_values, n_refs);

	if (r < 0)
		return r;
	tarn_parcel_init(parcel);
	if (n_words > ROOM_WORDS) {
		words = malloc(n_words * sizeof *words);
		if (words == NULL)
			return tarn__fail(-ENOMEM, "No memory for %llu bytes of values.",
					  (unsigned long long)n_words * 8);
		parcel->words = words;
		parcel->flags |= TARN__PARCEL_WORDS;
	}
	r = make_refs(parcel, n_refs);
	if (r < 0) {
		if (words != parcel->room)
			free(words);
		tarn_parcel_init(parcel);
		return r;
	}
	parcel->n_words = n_words;
	parcel->n_values = (uint8_t)n_values;
	*ret_words = words;
	*ret_refs = parcel->refs;
	return 0;
}

int tarn__parcel_set(tarn_parcel *parcel, const uint64_t *words, uint32_t n_words,
		     unsigned n_values, struct tarn_block *const *refs, unsigned n_refs)
{
	struct tarn_block **own_refs;
	uint64_t *own_words;
	int r = tarn__parcel_room(parcel, n_words, n_values, n_refs, &own_words, &own_refs);

	if (r < 0)
		return r;
	if (n_words > 0)
		memcpy(own_words, words, n_words * sizeof *words);
	if (n_refs > 0)
		memcpy(own_refs, refs, n_refs * sizeof(struct tarn_block *));
	return 0;
}

int tarn__parcel_set_block(tarn_parcel *parcel, struct tarn_block *holder, const uint64_t *words,
			   uint32_t n_words, unsigned n_values, struct tarn_block *const *refs,
			   unsigned n_refs)
{
	int r = check_counts(n_words, n_values, n_refs);

	if (r < 0)
		return r;
	tarn_parcel_init(parcel);
	r = make_refs(parcel, n_refs);
	if (r < 0)
		return r;
	if (n_refs > 0)
		memcpy(parcel->refs, refs, n_refs * sizeof(struct tarn_block *));
	parcel->words = words;
	parcel->n_words = n_words;
	parcel->n_values = (uint8_t)n_values;
	parcel->flags |= TARN__PARCEL_SHARED;
	parcel->holder = holder;
	return 0;
}

int tarn__parcel_lend(tarn_parcel *parcel, const uint64_t *words, uint32_t n_words,
		      unsigned n_values, struct tarn_block *const *refs, unsigned n_refs,
		      bool shared)
{
	int r = check_counts(n_words, n_values, n_refs);

	if (r < 0)
		return r;
	tarn_parcel_init(parcel);
	parcel->words = words;
	parcel->n_words = n_words;
	parcel->n_values = (uint8_t)n_values;
	parcel->refs = (struct tarn_block **)(uintptr_t)refs; /* only read: LENT */
	parcel->n_refs = (uint8_t)n_refs;
	parcel->flags = (uint8_t)(TARN__PARCEL_LENT | (shared ? TARN__PARCEL_SHARED : 0u));
	return 0;
}

int tarn_parcel_from(const tarn_builder *builder, tarn_parcel *ret_parcel)
{
	struct tarn__payload p;
	int r = tarn__builder_payload(builder, &p);

	if (r < 0)
		return r;
	r = tarn__parcel_set(ret_parcel, p.words, p.n_words, p.n_values, p.refs, p.n_refs);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < p.n_refs; i++)
		tarn__value_hooks.ref(p.refs[i]);
	return 0;
}

/* The last user: nobody reads any more, so nobody adds to them. */
static void copies_free(struct copies *all)
{
	if (all == NULL)
		return;
	for (size_t k = 0; k <= all->mask; k++)
		for (struct copy *c = all->bucket[k], *next; c != NULL; c = next) {
			next = c->next;
			free(c);
		}
	free(all);
}

void tarn_parcel_free(tarn_parcel *parcel)
{
	if (!(parcel->flags & TARN__PARCEL_LENT))
		for (unsigned i = 0; i < parcel->n_refs; i++)
			if (parcel->refs[i] != NULL)
				tarn__value_hooks.unref(parcel->refs[i]);
	copies_free(parcel->copies);
	if (parcel->flags & TARN__PARCEL_WORDS)
		free((void *)(uintptr_t)parcel->words);
	if (parcel->flags & TARN__PARCEL_REFS)
		free(parcel->refs);
	if (parcel->holder != NULL)
		tarn__value_hooks.unref(parcel->holder);
	tarn_parcel_init(parcel);
}

bool tarn_parcel_is_shared(const tarn_parcel *parcel)
{
	return parcel->flags & TARN__PARCEL_SHARED;
}

/* Readers may be several threads, and the parcel is const to them: this is the one thing in it that
 * changes. NULL: no memory. */
static struct copies *copies_of(const tarn_parcel *parcel)
{
	void **at = (void **)(uintptr_t)&parcel->copies, *first = NULL;
	/* SYNC copies, acquire: with the table, and each copy, we see what is in it. */
	struct copies *all = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	size_t n = BUCKETS_LEAST;

	if (all != NULL)
		return all;
	while (n < BUCKETS_MOST && n * WORDS_PER_BUCKET < parcel->n_words)
		n *= 2;
	all = calloc(1, sizeof *all + n * sizeof(struct copy *));
	if (all == NULL)
		return NULL;
	all->mask = n - 1;
	/* SYNC copies, release. */
	if (__atomic_compare_exchange_n(at, &first, all, false, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
		return all;
	free(all); /* another thread was quicker */
	return first;
}

int tarn__parcel_copy(const tarn_parcel *parcel, const void *data, size_t bytes,
		      const char **ret_text)
{
	struct copies *all = copies_of(parcel);
	struct copy **bucket = all != NULL ? &all->bucket[(uintptr_t)data / 8 & all->mask] : NULL;
	/* SYNC copies, acquire. Nothing is taken off before fini: no ABA. */
	struct copy *first = all != NULL ? __atomic_load_n(bucket, __ATOMIC_ACQUIRE) : NULL, *c;

	for (c = first; c != NULL; c = c->next)
		if (c->data == data && c->bytes == bytes) {
			*ret_text = c->text;
			return 0;
		}
	c = all != NULL ? malloc(sizeof *c + bytes + 1) : NULL;
	if (c == NULL)
		return tarn__fail(-ENOMEM, "No memory for a string of %zu bytes.", bytes);
	c->data = data;
	c->bytes = bytes;
	memcpy(c->text, data, bytes);
	c->text[bytes] = '\0';
	do
		c->next = first;
	/* SYNC copies, release. */
	while (!__atomic_compare_exchange_n(bucket, &first, c, true, __ATOMIC_RELEASE,
					    __ATOMIC_ACQUIRE));
	*ret_text = c->text;
	return 0;
}
