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
	char text[];
};

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

void tarn_parcel_free(tarn_parcel *parcel)
{
	struct copy *c, *next;

	if (!(parcel->flags & TARN__PARCEL_LENT))
		for (unsigned i = 0; i < parcel->n_refs; i++)
			if (parcel->refs[i] != NULL)
				tarn__value_hooks.unref(parcel->refs[i]);
	/* The last user: nobody reads any more, so nobody adds to the list. */
	for (c = parcel->copies; c != NULL; c = next) {
		next = c->next;
		free(c);
	}
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

int tarn__parcel_copy(const tarn_parcel *parcel, const void *data, size_t bytes,
		      const char **ret_text)
{
	/* Readers may be several threads, and the parcel is const to them: this list is the one
	 * thing in it that changes. */
	void **list = (void **)(uintptr_t)&parcel->copies;
	struct copy *c = malloc(sizeof *c + bytes + 1);
	void *first;

	if (c == NULL)
		return tarn__fail(-ENOMEM, "No memory for a string of %zu bytes.", bytes);
	memcpy(c->text, data, bytes);
	c->text[bytes] = '\0';
	first = __atomic_load_n(list, __ATOMIC_RELAXED); /* only compared and stored */
	do {
		c->next = first;
		/* Release: nobody follows the list before fini, which the user orders after
		 * every read; and nothing is taken off before, so there is no ABA. */
	} while (!__atomic_compare_exchange_n(list, &first, c, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	*ret_text = c->text;
	return 0;
}
