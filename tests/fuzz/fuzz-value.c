/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzing of what is read from strangers, by libFuzzer under the sanitizers. An input is
 *
 *	byte 0       what it is: raw words, a random tree that is damaged, or text
 *	byte 1       values at the top
 *	byte 2       bit 0: memory that its writer still changes; bits 1, 2: references
 *	byte 3       how many changes there are
 *	4 each       changes: word, bits of what it becomes; one is made between two reads
 *	the rest     the words; of a tree its seed; or the text
 *
 * A finding is a sanitizer's report, an abort in exercise.c, or time without end.
 */
#include <stdlib.h>
#include <string.h>

#include "../lib/value/exercise.h"
#include "../lib/value/random.h"

#define WORDS_MAX 4096u
#define CHANGE_BYTES 4u
#define HEADER 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct script {
	uint64_t *words;
	uint32_t n_words;
	const uint8_t *change; /* the next */
	unsigned n_changes;    /* left */
} script;

static void make_change(void *user)
{
	struct script *s = user;
	uint64_t *word;
	uint8_t what, how;

	if (s->n_changes == 0 || s->n_words == 0)
		return;
	word = s->words + ((uint32_t)s->change[0] | (uint32_t)s->change[1] << 8) % s->n_words;
	what = s->change[2];
	how = s->change[3];
	s->change += CHANGE_BYTES;
	s->n_changes--;
	if (how & 0x80) /* a head: kind and length */
		*word = (what & 15) | (uint64_t)(what >> 4) << (32 + (how & 31));
	else if (how & 0x40) /* an offset near */
		*word = (uint64_t)what * 8 + (how & 7);
	else
		*word ^= UINT64_C(1) << (how & 63);
}

/* Damages all at once, for memory that does not change any more. */
static void make_all_changes(void)
{
	while (script.n_changes > 0 && script.n_words > 0)
		make_change(&script);
}

static void read_words(const uint8_t *header, const uint64_t *from, uint32_t n_words)
{
	/* A block of its own, of just this size, for the sanitizer. */
	uint64_t *words = malloc(n_words * sizeof *words + 1);
	struct tarn_block *refs[3];
	struct exercise e = {
		.words = words,
		.n_words = n_words,
		.n_values = header[1],
		.refs = refs,
		.n_refs = header[2] >> 1 & 3,
		.shared = header[2] & 1,
		.user = &script,
	};

	if (words == NULL)
		return;
	for (unsigned i = 0; i < 3; i++)
		refs[i] = (struct tarn_block *)&handles[i];
	if (n_words > 0)
		memcpy(words, from, n_words * sizeof *words);
	script.words = words;
	script.n_words = n_words;
	if (e.shared)
		e.meddle = make_change;
	else
		make_all_changes();
	exercise(&e);
	free(words);
}

static void read_tree(const uint8_t *header, const uint8_t *data, size_t bytes)
{
	struct tarn__payload p;
	uint64_t seed = 0;
	tarn_builder b;

	memcpy(&seed, data, bytes < 8 ? bytes : 8);
	tarn_builder_init(&b);
	random_put(&b, &seed, 6, 4, header[2] & 8);
	if (tarn__builder_payload(&b, &p) == 0) {
		uint8_t own[HEADER] = { header[0], p.n_values, header[2], header[3] };

		read_words(own, p.words, p.n_words);
	}
	tarn_builder_fini(&b);
}

/* What is understood must print as text that means the same. */
static void read_text(const uint8_t *data, size_t bytes)
{
	static char printed[1 << 16];
	char *text = strndup((const char *)data, bytes);
	tarn_builder b, c;
	tarn_parcel p, q;

	tarn_builder_init(&b);
	tarn_builder_init(&c);
	if (text != NULL && tarn_value_parse(text, &b, handles_resolve, NULL) == 0 &&
	    tarn_parcel_from(&b, &p) == 0) {
		int n = tarn_parcel_format(&p, printed, sizeof printed);

		if (n < 0)
			abort();
		if ((size_t)n < sizeof printed) {
			if (tarn_value_parse(printed, &c, handles_resolve, NULL) < 0 ||
			    tarn_parcel_from(&c, &q) < 0 || tarn_parcel_count(&p) != tarn_parcel_count(&q))
				abort();
			for (unsigned i = 0; i < tarn_parcel_count(&p); i++)
				if (!tarn_value_equal(tarn_parcel_at(&p, i), tarn_parcel_at(&q, i)))
					abort();
			tarn_parcel_fini(&q);
		}
		tarn_parcel_fini(&p);
	}
	tarn_builder_fini(&b);
	tarn_builder_fini(&c);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static uint64_t words[WORDS_MAX];
	const uint8_t *header = data, *rest;
	size_t n;

	if (bytes < HEADER || bytes < HEADER + (size_t)data[3] * CHANGE_BYTES)
		return 0;
	handles_init();
	script = (struct script){ .change = data + HEADER, .n_changes = data[3] };
	rest = data + HEADER + (size_t)data[3] * CHANGE_BYTES;
	bytes -= (size_t)(rest - data);
	switch (header[0] % 3) {
	case 0:
		n = bytes / 8 < WORDS_MAX ? bytes / 8 : WORDS_MAX;
		memcpy(words, rest, n * 8);
		read_words(header, words, (uint32_t)n);
		break;
	case 1:
		read_tree(header, rest, bytes);
		break;
	default:
		read_text(rest, bytes);
		break;
	}
	if (handles_held() != 0)
		abort(); /* references are left */
	return 0;
}
