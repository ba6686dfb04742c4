/* SPDX-License-Identifier: Apache-2.0 */
/* Payloads that no builder makes: each is an error, none a crash or a long wait. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "exercise.h"
#include "random.h"

static uint64_t *words; /* exactly as many as there are, so that sanitizers see the end */
static uint32_t n_words;
static struct tarn_block *refs[3];

static void begin(void)
{
	handles_init();
	for (unsigned i = 0; i < 3; i++)
		refs[i] = (struct tarn_block *)&handles[i];
}

static void end(void)
{
	free(words);
	words = NULL;
	cr_expect(eq(int, handles_held(), 0), "references are left");
}

TestSuite(hostile, .timeout = 120, .init = begin, .fini = end);

static void payload(const uint64_t *from, size_t n)
{
	free(words);
	words = malloc(n * sizeof *words + (n == 0));
	memcpy(words, from, n * sizeof *words);
	n_words = (uint32_t)n;
}
#define PAYLOAD(...) \
	payload((uint64_t[]){ __VA_ARGS__ }, sizeof((uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))
#define HEAD(kind, length) ((uint64_t)TARN_KIND_##kind | (uint64_t)(length) << 32)

static int checked(unsigned n_values)
{
	const struct exercise e = { .words = words, .n_words = n_words, .n_values = n_values,
				    .refs = refs, .n_refs = 3 };
	struct exercise shared = e;

	shared.shared = true;
	exercise(&shared);
	return exercise(&e);
}

Test(hostile, t11_slots_that_point_outside_are_damage)
{
	static const uint64_t offsets[] = { 8, 16, 1, 4, UINT64_MAX, UINT64_MAX - 7, INT64_MAX & ~7ull,
					    UINT64_C(1) << 35 };
	static const uint64_t heads[] = { HEAD(STRING, 16), HEAD(STRING, 8), HEAD(BYTES, 9), HEAD(LIST, 1),
					  HEAD(MAP, 1), HEAD(ERROR, 1), HEAD(STRING, UINT32_MAX),
					  HEAD(BYTES, UINT32_MAX), HEAD(LIST, UINT32_MAX),
					  HEAD(MAP, UINT32_MAX), HEAD(ERROR, UINT32_MAX) };

	for (size_t h = 0; h < sizeof heads / sizeof heads[0]; h++)
		for (size_t o = 0; o < sizeof offsets / sizeof offsets[0]; o++) {
			PAYLOAD(heads[h], offsets[o], 0);
			cr_expect(eq(int, checked(1), -TARN_EPROTO), "head %zu, offset %zu", h, o);
		}
}

Test(hostile, t11_counts_that_do_not_go_with_the_words_are_damage)
{
	PAYLOAD(HEAD(NIL, 0), 0);
	cr_expect(eq(int, checked(2), -TARN_EPROTO));
	cr_expect(eq(int, checked(300), -TARN_EPROTO));
	cr_expect(eq(int, checked(1), 0));
	cr_expect(eq(int, checked(0), 0));
}

Test(hostile, t11_kinds_that_do_not_exist_are_no_values)
{
	PAYLOAD(200, 5);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
	PAYLOAD(HEAD(NONE, 0), 5);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
}

Test(hostile, t11_a_list_that_contains_itself_ends)
{
	/* The heap holds one slot: a list of the slot where it lies. */
	PAYLOAD(HEAD(LIST, 1), 0, HEAD(LIST, 1), 0);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
	/* Of two such entries: 2^32 visits if nobody counts. */
	PAYLOAD(HEAD(LIST, 2), 0, HEAD(LIST, 2), 0, HEAD(LIST, 2), 0);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
	PAYLOAD(HEAD(ERROR, 2), 0, HEAD(ERROR, 2), 0, HEAD(ERROR, 2), 0);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
}

Test(hostile, t11_lists_that_share_their_entries_do_not_multiply)
{
	uint64_t bomb[2 + 31 * 4];

	/* Each list holds the next one twice. */
	bomb[0] = HEAD(LIST, 2);
	bomb[1] = 0;
	for (uint64_t i = 0; i < 31; i++)
		for (uint64_t k = 0; k < 2; k++) {
			bomb[2 + 4 * i + 2 * k] = i < 30 ? HEAD(LIST, 2) : HEAD(NIL, 0);
			bomb[2 + 4 * i + 2 * k + 1] = (i + 1) * 32;
		}
	payload(bomb, sizeof bomb / sizeof bomb[0]);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
}

Test(hostile, t11_strings_on_top_of_each_other_do_not_multiply)
{
	uint64_t pile[2 + 2000 + 1000] = { HEAD(LIST, 1000), 0 };

	for (int i = 0; i < 1000; i++) {
		pile[2 + 2 * i] = HEAD(STRING, 7999);
		pile[3 + 2 * i] = 16000;
	}
	memset(&pile[2002], 'x', 7999);
	payload(pile, sizeof pile / sizeof pile[0]);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
}

Test(hostile, t11_a_string_without_its_nul_is_damage)
{
	PAYLOAD(HEAD(STRING, 8), 0, UINT64_MAX, UINT64_MAX);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
	PAYLOAD(HEAD(STRING, 3), UINT64_MAX);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
}

Test(hostile, t11_references_outside_the_table_or_of_another_kind_are_damage)
{
	PAYLOAD(HEAD(BLOCK, 0) | 3 << 16, 0);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
	PAYLOAD(HEAD(BLOCK, 0) | UINT64_C(0xffff) << 16, 0);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
	PAYLOAD(HEAD(BLOCK, 0) | 1 << 16, 0); /* an object */
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
	PAYLOAD(HEAD(OBJECT, 0) | 1 << 16, 0);
	cr_expect(eq(int, checked(1), 0));
}

Test(hostile, t11_keys_that_are_none_are_damage)
{
	PAYLOAD(HEAD(MAP, 1), 0, HEAD(DOUBLE, 0), 0, HEAD(NIL, 0), 0);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
}

Test(hostile, t11_too_deep_is_damage)
{
	uint64_t deep[2 + 2 * 33];

	for (uint64_t i = 0; i < 34; i++) {
		deep[2 * i] = i < 33 ? HEAD(LIST, 1) : HEAD(NIL, 0);
		deep[2 * i + 1] = 16 * i;
	}
	payload(deep, sizeof deep / sizeof deep[0]);
	cr_expect(eq(int, checked(1), -TARN_EPROTO));
}

Test(hostile, e7_an_error_with_parts_missing_or_wrong_is_no_error)
{
	tarn_builder b;
	tarn_parcel p;
	tarn_fault *f = NULL;
	static const char *const texts[] = {
		"error[]",
		"error[1]",
		"error[\"E\", -1, \"m\", \"p\", 1, 1, 0u, [], nil]",
		"error[\"E\", -1, \"m\", \"p\", 1, 1, 0u, [[]], nil, []]",
		"error[\"E\", -1, \"m\", \"p\", 1, 1, 0u, [], 5, []]",
		"error[\"E\", -1, \"m\", \"p\", 1, 1, 0u, [], nil, [5]]",
		"error[\"E\", -1, \"m\", \"p\", 9999999999, 1, 0u, [], nil, []]",
		"error[\"E\", -1, nil, \"p\", 1, 1, 0u, [], nil, []]",
		"error[\"E\", -1, \"m\", \"p\", 1, 1, -1, [], nil, []]",
		"error[\"E\", -1, \"m\", \"p\", -1, 1, 0u, [], nil, []]",
		"error[\"E\", -1, \"m\", \"p\", 1, 1, 0u, [[nil, nil, -1, nil, 0, b\"\"]], nil, []]",
		"error[\"E\", -1, \"m\", \"p\", 1, 1, 0u, [[nil, nil, 0, nil, -1, b\"\"]], nil, []]",
		"error[\"E\", -1, \"m\", \"p\", 1, 1, 0u, [[nil, nil, 0, nil, 0, b\"0123456789012345678901234567890123\"]], nil, []]",
	};

	tarn_builder_init(&b);
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		tarn_builder_reset(&b);
		cr_assert(eq(int, tarn_value_parse(texts[i], &b, NULL, NULL), 0), "%s", texts[i]);
		cr_assert(eq(int, tarn_parcel_from(&b, &p), 0));
		cr_expect(eq(int, tarn_value_error(tarn_parcel_at(&p, 0), &f), -TARN_EPROTO), "%s",
			  texts[i]);
		tarn_parcel_fini(&p);
	}
	cr_expect(eq(ptr, f, NULL));
	tarn_builder_reset(&b);
	/* More parts than are known today. */
	tarn_value_parse("error[\"E\", -1, \"m\", \"p\", 1, 1, 0u, [[nil, \"f\", 3, nil, 0u, b\"\", 7]], nil, [], \"new\"]",
			 &b, NULL, NULL);
	cr_assert(eq(int, tarn_parcel_from(&b, &p), 0));
	cr_expect(eq(int, tarn_value_error(tarn_parcel_at(&p, 0), &f), 0), "%s",
		  tarn_error_last()->message);
	tarn_fault_unref(f);
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
}

/* ---- every word wrong in turn ---- */

static void take_random(uint64_t seed)
{
	struct tarn__payload payload_;
	tarn_builder b;

	tarn_builder_init(&b);
	random_put(&b, &seed, 8, 4, false);
	cr_assert(eq(int, tarn__builder_payload(&b, &payload_), 0));
	payload(payload_.words, payload_.n_words);
	cr_assert(eq(int, checked(payload_.n_values), 0));
	tarn_builder_fini(&b);
}

Test(hostile, t11_any_word_may_be_anything)
{
	static const uint64_t evil[] = { 0, UINT64_MAX, 1, 8, HEAD(LIST, 2), HEAD(MAP, 1), HEAD(STRING, 100),
					 HEAD(ERROR, 10), HEAD(BLOCK, 0), HEAD(LIST, UINT32_MAX) };

	for (uint64_t seed = 1; seed < 25; seed++) {
		take_random(seed);
		for (uint32_t i = 0; i < n_words && i < 60; i++) {
			uint64_t good = words[i];

			for (size_t k = 0; k < sizeof evil / sizeof evil[0]; k++) {
				words[i] = evil[k];
				checked(n_words >= 6 ? 3 : n_words / 2);
			}
			words[i] = good;
		}
	}
}

struct meddler {
	uint64_t state;
};

static void change_something(void *user)
{
	struct meddler *m = user;
	uint64_t r = random_next(&m->state);
	static const uint64_t evil[] = { 0, UINT64_MAX, 8, HEAD(LIST, 3), HEAD(STRING, 20),
					 HEAD(STRING, UINT32_MAX), HEAD(MAP, 2), HEAD(ERROR, 10) };

	if (n_words > 0 && r % 3 == 0)
		words[(r >> 8) % n_words] = evil[(r >> 40) % 8];
}

Test(hostile, t11_bytes_that_change_between_any_two_reads_do_no_harm)
{
	for (uint64_t seed = 1; seed < 300; seed++) {
		struct meddler m = { seed };
		struct exercise e = { .refs = refs, .n_refs = 3, .shared = true,
				      .meddle = change_something, .user = &m };

		take_random(seed);
		e.words = words;
		e.n_words = n_words;
		e.n_values = n_words >= 8 ? 4 : n_words / 2;
		exercise(&e);
	}
}

/* ---- strings that are shared ---- */

#define SHOWN 512u /* words of the text */
static bool meddling;

/* Letters of two bytes, then what a terminal would obey, again and again. */
static void *change_text(void *user)
{
	(void)user;
	while (__atomic_load_n(&meddling, __ATOMIC_RELAXED)) {
		for (uint32_t i = 2; i < n_words; i++)
			__atomic_store_n(&words[i], 0x1b1b1b1b1b1b1b1b, __ATOMIC_RELAXED);
		for (uint32_t i = 2; i < n_words; i++)
			__atomic_store_n(&words[i], 0xa9c3a9c3a9c3a9c3, __ATOMIC_RELAXED);
	}
	return NULL;
}

Test(hostile, t11_what_is_shown_is_what_was_looked_at)
{
	static char text[8 * 4 * SHOWN + 16];
	uint64_t from[2 + SHOWN + 1] = { HEAD(STRING, 8 * SHOWN), 0 };
	tarn_parcel p;
	pthread_t meddler;

	payload(from, sizeof from / sizeof from[0]);
	meddling = true;
	pthread_create(&meddler, NULL, change_text, NULL);
	cr_assert(eq(int, tarn__parcel_lend(&p, words, n_words, 1, NULL, 0, true), 0));
	for (int i = 0; i < 20000; i++) {
		cr_assert(tarn_value_format(tarn_parcel_at(&p, 0), text, sizeof text) > 0);
		cr_assert(strchr(text, 0x1b) == NULL, "after %d", i);
	}
	__atomic_store_n(&meddling, false, __ATOMIC_RELAXED);
	pthread_join(meddler, NULL);
	tarn_parcel_fini(&p);
}

Test(hostile, t11_a_string_of_a_shared_payload_is_a_copy_that_lives_as_long_as_the_parcel)
{
	tarn_parcel p;
	const char *s, *in_slot;

	PAYLOAD(HEAD(STRING, 10), 0, HEAD(STRING, 3), 0x636261, 0x6867666564636261, 0x6a69);
	cr_assert(eq(int, tarn__parcel_lend(&p, words, n_words, 2, NULL, 0, true), 0));
	cr_expect(tarn_parcel_is_shared(&p));
	cr_assert(eq(int, tarn_value_string(tarn_parcel_at(&p, 0), &s, NULL), 0));
	cr_assert(eq(int, tarn_value_string(tarn_parcel_at(&p, 1), &in_slot, NULL), 0));
	memset(words, 'Z', n_words * sizeof *words);
	cr_expect(eq(str, (char *)s, "abcdefghij"));
	cr_expect(eq(str, (char *)in_slot, "abc"));
	tarn_parcel_fini(&p);
}

Test(hostile, a_string_of_a_shared_payload_is_copied_once_however_often_it_is_read)
{
	enum { STRINGS = 1000 };
	static const char *first[STRINGS];
	uint64_t from[2 + 4 * STRINGS] = { HEAD(LIST, STRINGS), 0 };
	tarn_parcel p;
	const char *s;

	for (uint64_t i = 0; i < STRINGS; i++) {
		from[2 + 2 * i] = HEAD(STRING, 8 + i % 8);
		from[3 + 2 * i] = 8 * (2 * STRINGS + 2 * i);
		from[2 + 2 * STRINGS + 2 * i] = 0x3030303030303030 + i;
	}
	payload(from, sizeof from / sizeof from[0]);
	cr_assert(eq(int, tarn__parcel_lend(&p, words, n_words, 1, NULL, 0, true), 0));
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < STRINGS; i++) {
			cr_assert(eq(int, tarn_value_string(tarn_value_at(tarn_parcel_at(&p, 0), i), &s,
							    &(size_t){ 0 }), 0));
			cr_assert(round == 0 || s == first[i], "%zu", i);
			cr_assert(memcmp(s, &from[2 + 2 * STRINGS + 2 * i], 8) == 0);
			first[i] = s;
		}
		/* What its writer does later changes no copy. */
		memset(&words[2 + 2 * STRINGS], 'Z', 8 * 2 * STRINGS);
	}
	/* The same bytes with another length are another string. */
	words[2] = HEAD(STRING, 12);
	cr_assert(eq(int, tarn_value_string(tarn_value_at(tarn_parcel_at(&p, 0), 0), &s, NULL), 0));
	cr_expect(eq(str, (char *)s, "ZZZZZZZZZZZZ"));
	tarn_parcel_fini(&p);
}

Test(hostile, a_parcel_in_a_block_holds_the_block_and_its_references)
{
	tarn_parcel p;
	tarn_block *block;

	PAYLOAD(HEAD(BLOCK, 0), 0);
	handles[0].refs++; /* the one in the table */
	handles[3].refs++; /* the one that the payload lies in */
	cr_assert(eq(int, tarn__parcel_set_block(&p, (struct tarn_block *)&handles[3], words, n_words, 1,
						 refs, 1), 0));
	cr_assert(eq(int, tarn_value_block(tarn_parcel_at(&p, 0), &block), 0));
	cr_expect(eq(ptr, block, block_of(0)));
	tarn_parcel_fini(&p);
}
