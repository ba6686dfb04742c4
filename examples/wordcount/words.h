/* SPDX-License-Identifier: Apache-2.0 */
/* A table of words and how often each occurred. Knows nothing of Tarn. */
#ifndef WORDCOUNT_WORDS_H
#define WORDCOUNT_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct word {
	uint64_t hash, count;
	size_t spelling; /* where its letters are, in words.letters */
	uint32_t length;
	uint32_t first;  /* where it stood first in the text that was counted last */
	uint32_t slot;
};

struct words {
	struct word *word; /* in the order of their first occurrence */
	size_t n, room;
	uint64_t total;    /* sum of all counts */
	char *letters;
	size_t letters_used, letters_room;
	uint32_t *slot;    /* 1 + index of a word, 0: free */
	size_t n_slots;    /* a power of two */
};

void words_init(struct words *words);
void words_fini(struct words *words);

/* Forgets the words, keeps the memory. Costs as much as there were words. */
void words_clear(struct words *words);

/*
 * Counts the words of @text. A word is a run of letters, of whatever case; each byte from
 * 0x80 on is a letter, so that words in UTF-8 stay whole. @bytes is below 4 GiB.
 */
void words_count(struct words *words, const char *text, size_t bytes);

/* Adds @count occurrences of the word of @length bytes at @word, of whatever case. */
void words_add(struct words *words, const char *word, uint32_t length, uint64_t count);

/* Where @text can be cut without cutting a word: the first such place at or after @at. */
size_t words_cut(const char *text, size_t bytes, size_t at);

/* The letters of a word, lower case, not terminated. */
const char *words_letters(const struct words *words, const struct word *word);

/* Words by falling count, then by alphabet: indices into words->word, as many as there are
 * words. The caller frees them. */
uint32_t *words_by_count(const struct words *words);

/* How many words have different counts in @a and @b; prints up to @show of them to stderr. */
size_t words_differ(const struct words *a, const struct words *b, size_t show);

#endif
