/* SPDX-License-Identifier: Apache-2.0 */
#include "lines.h"

#include <stdlib.h>
#include <string.h>

static void put(struct line_slot *s, uint64_t mark, uint64_t which)
{
	__atomic_store_n(&s->word[0], which, __ATOMIC_RELAXED);
	for (unsigned i = 1; i < 7; i++)
		__atomic_store_n(&s->word[i], mark + i, __ATOMIC_RELAXED);
	__atomic_store_n(&s->mark, mark, __ATOMIC_RELEASE);
}

static uint64_t get(struct line_slot *s, uint64_t mark)
{
	while (__atomic_load_n(&s->mark, __ATOMIC_ACQUIRE) != mark)
		;
	return __atomic_load_n(&s->word[0], __ATOMIC_RELAXED);
}

struct digest lines_ask(struct line *line, struct meeting *m, struct choice choice,
			unsigned char *memory, uint64_t trips)
{
	volatile unsigned char **at = calloc(choice.n, sizeof(volatile unsigned char *));
	const uint64_t warm = choice_warm(&choice, trips);
	struct samples s = { 0 };

	if (at == NULL)
		die("no memory for %llu pointers", (unsigned long long)choice.n);
	for (uint64_t k = 0; k < choice.n; k++) {
		at[k] = memory + k * LINES_BYTES;
		*at[k] = 0; /* all of it is mapped */
	}
	samples_grow(&s, trips);
	memset(line, 0, sizeof *line);
	meet(m, 2);
	for (uint64_t i = 0; i < warm + trips; i++) {
		uint64_t k = choose(&choice, i), from = ticks();

		*at[k] = (unsigned char)i;
		put(&line->there, i + 1, k);
		if (get(&line->back, i + 1) != k)
			die("another line came back than the one that is due");
		if (i >= warm)
			samples_add(&s, ticks() - from);
	}
	meet(m, 2);
	struct digest d = digest_of(&s);

	samples_free(&s);
	free(at);
	return d;
}

void lines_answer(struct line *line, struct meeting *m, struct choice choice, unsigned char *memory,
		  uint64_t trips, bool shared)
{
	volatile unsigned char *all = memory;

	for (uint64_t k = 0; k < choice.n; k++) {
		if (shared)
			(void)all[k * LINES_BYTES];
		else
			all[k * LINES_BYTES] = 0;
	}
	trips += choice_warm(&choice, trips);
	meet(m, 2);
	for (uint64_t i = 0; i < trips; i++) {
		uint64_t k = get(&line->there, i + 1);

		if (!shared)
			all[k * LINES_BYTES]++;
		else if (all[k * LINES_BYTES] != (unsigned char)i)
			die("a line has other contents than it was given");
		put(&line->back, i + 1, k);
	}
	meet(m, 2);
}
