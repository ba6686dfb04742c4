/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table with open addressing. Slots hold indices of words, so that they are small,
 * growing moves no word, and clearing touches only the slots that are in use.
 */
#define _GNU_SOURCE /* qsort_r(), whatever -std= is */
#include "wordcount/words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_START UINT64_C(0xcbf29ce484222325)
#define HASH_PRIME UINT64_C(0x100000001b3)

/* The lower case of a letter, 0 for all else. */
static unsigned char fold[256];

static void *grown(void *memory, size_t bytes)
{
	memory = realloc(memory, bytes);
	if (memory == NULL) {
		fprintf(stderr, "wordcount: no memory for a table of words of %zu bytes\n", bytes);
		exit(1);
	}
	return memory;
}

void words_init(struct words *words)
{
	for (int c = 'a'; c <= 'z'; c++)
		fold[c] = fold[c - 'a' + 'A'] = (unsigned char)c;
	for (int c = 0x80; c <= 0xff; c++)
		fold[c] = (unsigned char)c;
	memset(words, 0, sizeof *words);
	words->n_slots = 1024;
	words->slot = grown(NULL, words->n_slots * sizeof *words->slot);
	memset(words->slot, 0, words->n_slots * sizeof *words->slot);
}

void words_fini(struct words *words)
{
	free(words->word);
	free(words->letters);
	free(words->slot);
	memset(words, 0, sizeof *words);
}

void words_clear(struct words *words)
{
	for (size_t i = 0; i < words->n; i++)
		words->slot[words->word[i].slot] = 0;
	words->n = 0;
	words->total = 0;
	words->letters_used = 0;
}

static uint32_t free_slot(const struct words *words, uint64_t hash)
{
	size_t at = (hash ^ hash >> 32) & (words->n_slots - 1);

	while (words->slot[at] != 0)
		at = (at + 1) & (words->n_slots - 1);
	return (uint32_t)at;
}

static void more_slots(struct words *words)
{
	words->n_slots *= 2;
	words->slot = grown(words->slot, words->n_slots * sizeof *words->slot);
	memset(words->slot, 0, words->n_slots * sizeof *words->slot);
	for (size_t i = 0; i < words->n; i++) {
		words->word[i].slot = free_slot(words, words->word[i].hash);
		words->slot[words->word[i].slot] = (uint32_t)i + 1;
	}
}

static struct word *insert(struct words *words, const char *text, uint32_t length, uint64_t hash)
{
	if (words->n == words->room) {
		words->room = words->room * 2 + 256;
		words->word = grown(words->word, words->room * sizeof *words->word);
	}
	if (words->letters_used + length > words->letters_room) {
		words->letters_room = words->letters_room * 2 + length + 4096;
		words->letters = grown(words->letters, words->letters_room);
	}
	if (words->n * 2 >= words->n_slots)
		more_slots(words);
	struct word *word = &words->word[words->n++];
	*word = (struct word){ .hash = hash, .spelling = words->letters_used, .length = length,
			       .slot = free_slot(words, hash) };
	words->slot[word->slot] = (uint32_t)words->n;
	for (uint32_t i = 0; i < length; i++)
		words->letters[words->letters_used++] = (char)fold[(unsigned char)text[i]];
	return word;
}

static bool spells(const struct words *words, const struct word *word, const char *text)
{
	const char *letters = words_letters(words, word);

	for (uint32_t i = 0; i < word->length; i++)
		if (fold[(unsigned char)text[i]] != (unsigned char)letters[i])
			return false;
	return true;
}

/* The word, or NULL. */
static struct word *find(const struct words *words, const char *text, uint32_t length,
			 uint64_t hash)
{
	size_t at = (hash ^ hash >> 32) & (words->n_slots - 1);

	for (; words->slot[at] != 0; at = (at + 1) & (words->n_slots - 1)) {
		struct word *word = &words->word[words->slot[at] - 1];

		if (word->hash == hash && word->length == length && spells(words, word, text))
			return word;
	}
	return NULL;
}

void words_count(struct words *words, const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		size_t begin = i;
		uint64_t hash = HASH_START;

		for (unsigned char c; i < bytes && (c = fold[(unsigned char)text[i]]) != 0; i++)
			hash = (hash ^ c) * HASH_PRIME;
		if (i == begin)
			continue;
		uint32_t length = (uint32_t)(i - begin);
		struct word *word = find(words, text + begin, length, hash);

		if (word == NULL) {
			word = insert(words, text + begin, length, hash);
			word->first = (uint32_t)begin;
		}
		word->count++;
		words->total++;
	}
}

void words_add(struct words *words, const char *text, uint32_t length, uint64_t count)
{
	uint64_t hash = HASH_START;

	for (uint32_t i = 0; i < length; i++)
		hash = (hash ^ fold[(unsigned char)text[i]]) * HASH_PRIME;
	struct word *word = find(words, text, length, hash);

	if (word == NULL)
		word = insert(words, text, length, hash);
	word->count += count;
	words->total += count;
}

size_t words_cut(const char *text, size_t bytes, size_t at)
{
	while (at < bytes && fold[(unsigned char)text[at]] != 0)
		at++;
	return at < bytes ? at : bytes;
}

const char *words_letters(const struct words *words, const struct word *word)
{
	return words->letters + word->spelling;
}

static int by_count(const void *a, const void *b, void *arg)
{
	const struct words *words = arg;
	const struct word *x = &words->word[*(const uint32_t *)a];
	const struct word *y = &words->word[*(const uint32_t *)b];

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	int order = memcmp(words_letters(words, x), words_letters(words, y),
			   x->length < y->length ? x->length : y->length);
	return order != 0 ? order : (int)x->length - (int)y->length;
}

uint32_t *words_by_count(const struct words *words)
{
	uint32_t *index = grown(NULL, (words->n + 1) * sizeof *index);

	for (size_t i = 0; i < words->n; i++)
		index[i] = (uint32_t)i;
	qsort_r(index, words->n, sizeof *index, by_count, (void *)(uintptr_t)words);
	return index;
}

/* Words of @a whose count in @b is another, words that @b lacks among them. If @missing,
 * only the latter. */
static size_t differ(const struct words *a, const struct words *b, bool missing, size_t show)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++) {
		const struct word *x = &a->word[i];
		const char *letters = words_letters(a, x);
		const struct word *y = find(b, letters, x->length, x->hash);

		if (y != NULL && (missing || y->count == x->count))
			continue;
		if (n++ < show)
			fprintf(stderr, "wordcount: '%.*s': %llu here, %llu there\n", (int)x->length,
				letters, (unsigned long long)x->count,
				y != NULL ? (unsigned long long)y->count : 0);
	}
	return n;
}

size_t words_differ(const struct words *a, const struct words *b, size_t show)
{
	return differ(a, b, false, show) + differ(b, a, true, show);
}
