/* SPDX-License-Identifier: Apache-2.0 */
/* Values go through builder and parcel and are the same; limits and misuse are errors. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "handles.h"
#include "tarn/value.h"

static tarn_builder b;
static tarn_parcel p;

static void begin(void)
{
	handles_init();
	tarn_builder_init(&b);
	tarn_parcel_init(&p);
}

static void end(void)
{
	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	cr_expect(eq(int, handles_held(), 0), "references are left");
}

TestSuite(value, .timeout = 60, .init = begin, .fini = end);

static void pass_over(void)
{
	cr_assert(eq(int, tarn_parcel_from(&b, &p), 0), "%s", tarn_error_last()->message);
	cr_assert(eq(int, tarn_parcel_check(&p), 0), "%s", tarn_error_last()->message);
}

Test(value, l18_every_kind_arrives_as_it_was_sent)
{
	const char *text;
	const void *data;
	size_t n;
	bool flag;
	int64_t i;
	uint64_t u;
	double d;

	tarn_put_nil(&b);
	tarn_put_bool(&b, true);
	tarn_put_int(&b, INT64_MIN);
	tarn_put_uint(&b, UINT64_MAX);
	tarn_put_double(&b, DBL_MIN);
	tarn_put_string(&b, "short");
	tarn_put_string(&b, "a string that is longer than a slot");
	tarn_put_bytes(&b, "\0\1\2", 3);
	tarn_put_bytes(&b, "0123456789abcdef", 16);
	pass_over();
	cr_assert(eq(uint, tarn_parcel_count(&p), 9));
	cr_expect(eq(int, tarn_value_kind(tarn_parcel_at(&p, 0)), TARN_KIND_NIL));
	cr_assert(eq(int, tarn_value_bool(tarn_parcel_at(&p, 1), &flag), 0));
	cr_expect(flag);
	cr_assert(eq(int, tarn_value_int(tarn_parcel_at(&p, 2), &i), 0));
	cr_expect(eq(i64, i, INT64_MIN));
	cr_assert(eq(int, tarn_value_uint(tarn_parcel_at(&p, 3), &u), 0));
	cr_expect(eq(u64, u, UINT64_MAX));
	cr_assert(eq(int, tarn_value_double(tarn_parcel_at(&p, 4), &d), 0));
	cr_expect(eq(dbl, d, DBL_MIN));
	cr_assert(eq(int, tarn_value_string(tarn_parcel_at(&p, 5), &text, &n), 0));
	cr_expect(eq(str, (char *)text, "short"));
	cr_expect(eq(sz, n, 5));
	cr_assert(eq(int, tarn_value_string(tarn_parcel_at(&p, 6), &text, NULL), 0));
	cr_expect(eq(str, (char *)text, "a string that is longer than a slot"));
	cr_assert(eq(int, tarn_value_bytes(tarn_parcel_at(&p, 7), &data, &n), 0));
	cr_expect(n == 3 && memcmp(data, "\0\1\2", 3) == 0);
	cr_assert(eq(int, tarn_value_bytes(tarn_parcel_at(&p, 8), &data, &n), 0));
	cr_expect(n == 16 && memcmp(data, "0123456789abcdef", 16) == 0);
}

Test(value, l18_strings_and_bytes_of_every_length_around_a_slot_arrive)
{
	char text[64];
	const char *s;
	const void *data;
	size_t n;

	memset(text, 'x', sizeof text);
	for (size_t i = 0; i < sizeof text; i++) {
		tarn_put_string_n(&b, text, i);
		tarn_put_bytes(&b, text, i);
	}
	pass_over();
	for (size_t i = 0; i < sizeof text; i++) {
		cr_assert(eq(int, tarn_value_string(tarn_parcel_at(&p, 2 * (unsigned)i), &s, &n), 0));
		cr_assert(n == i && strlen(s) == i, "length %zu", i);
		cr_assert(eq(int, tarn_value_bytes(tarn_parcel_at(&p, 2 * (unsigned)i + 1), &data, &n),
			     0));
		cr_assert(n == i && memcmp(data, text, i) == 0, "length %zu", i);
	}
}

Test(value, v6_a_mixed_tree_of_plain_data_and_references_arrives)
{
	const char *name;
	int year;
	double x, y;
	tarn_block *block;
	tarn_object *object;
	tarn_value jobs, inner;
	const char *bp;

	cr_assert(eq(int, tarn_put(&b, "{s:s, s:i, s:[dd], s:B, s:[O], s:[n, n, {s:[n n s]}]}", "name",
				   "tarn", "year", 2024, "place", 1.5, -2.5, "mem", block_of(0),
				   "proxies", object_of(1), "jobs", "UK", "BP"), 0));
	pass_over();
	cr_assert(eq(int, tarn_parcel_get(&p, "{s:s s:i s:[dd] s:B s:[O] s:v}", "name", &name, "year",
					  &year, "place", &x, &y, "mem", &block, "proxies", &object,
					  "jobs", &jobs), 0), "%s", tarn_error_last()->message);
	cr_expect(eq(str, (char *)name, "tarn"));
	cr_expect(eq(int, year, 2024));
	cr_expect(x == 1.5 && y == -2.5);
	cr_expect(eq(ptr, block, block_of(0)));
	cr_expect(eq(ptr, object, object_of(1)));
	inner = tarn_value_at(tarn_value_get(tarn_value_at(jobs, 2), "UK"), 2);
	cr_assert(eq(int, tarn_value_string(inner, &bp, NULL), 0));
	cr_expect(eq(str, (char *)bp, "BP"));
}

Test(value, builder_and_parcel_each_hold_a_reference_until_fini)
{
	tarn_put(&b, "[B]BC", block_of(0), block_of(0), channel_of(2));
	cr_expect(eq(int, handles[0].refs, 2), "the same handle is held once");
	pass_over();
	cr_expect(eq(int, handles[0].refs, 3));
	tarn_builder_reset(&b);
	cr_expect(eq(int, handles[0].refs, 2));
	cr_expect(eq(int, handles[2].refs, 2));
	tarn_parcel_fini(&p);
	cr_expect(eq(int, handles_held(), 0));
	tarn_parcel_fini(&p); /* harmless */
}

Test(value, top_level_values_after_long_ones_move_nothing_wrong)
{
	char text[40], expected[40];
	int64_t i;
	const char *s;

	/* Long strings go to the heap at once, so each later slot moves those before it; 255
	 * of them exceed the slack of any buffer. */
	for (int n = 0; n < 255; n++) {
		snprintf(text, sizeof text, "the string number %d, not short", n);
		cr_assert(eq(int, n % 3 == 0 ? tarn_put_int(&b, n) : tarn_put_string(&b, text), 0));
	}
	cr_expect(eq(uint, tarn_builder_count(&b), 255));
	pass_over();
	for (int n = 0; n < 255; n++) {
		tarn_value v = tarn_parcel_at(&p, (unsigned)n);

		if (n % 3 == 0) {
			cr_assert(eq(int, tarn_value_int(v, &i), 0));
			cr_assert(eq(i64, i, n));
			continue;
		}
		snprintf(expected, sizeof expected, "the string number %d, not short", n);
		cr_assert(eq(int, tarn_value_string(v, &s, NULL), 0));
		cr_assert(eq(str, (char *)s, expected));
	}
}

Test(value, a_builder_that_is_reset_does_not_grow_for_ever)
{
	uint32_t capacity = 0;

	for (int round = 0; round < 50; round++) {
		tarn_builder_reset(&b);
		for (int n = 0; n < 20; n++)
			tarn_put_string(&b, "a string that goes to the heap");
		cr_assert(eq(int, tarn_builder_error(&b), 0));
		if (round == 5)
			capacity = b.capacity;
	}
	cr_expect(eq(uint, b.capacity, capacity));
}

Test(value, a_long_list_grows_the_buffer_and_keeps_its_order)
{
	int64_t i;
	tarn_value list;

	tarn_list_begin(&b);
	for (int n = 0; n < 100000; n++)
		tarn_put_int(&b, n);
	cr_assert(eq(int, tarn_list_end(&b), 0));
	pass_over();
	list = tarn_parcel_at(&p, 0);
	cr_assert(eq(sz, tarn_value_count(list), 100000));
	for (int n = 0; n < 100000; n++) {
		cr_assert(eq(int, tarn_value_int(tarn_value_at(list, (size_t)n), &i), 0));
		cr_assert(eq(i64, i, n));
	}
	cr_expect(eq(int, tarn_value_kind(tarn_value_at(list, 100000)), TARN_KIND_NONE));
}

Test(value, maps_find_strings_and_ints_and_keep_insertion_order)
{
	tarn_value map;
	const char *key;
	int i;

	tarn_map_begin(&b);
	tarn_map_key(&b, "a key that is long");
	tarn_put_int(&b, 1);
	tarn_map_key_int(&b, -7);
	tarn_put_int(&b, 2);
	tarn_map_key(&b, "k");
	tarn_put_int(&b, 3);
	cr_assert(eq(int, tarn_map_end(&b), 0));
	pass_over();
	map = tarn_parcel_at(&p, 0);
	cr_expect(eq(sz, tarn_value_count(map), 3));
	cr_assert(eq(int, tarn_parcel_get(&p, "{s:i}", "k", &i), 0));
	cr_expect(eq(int, i, 3));
	cr_assert(eq(int, tarn_parcel_get(&p, "{i:i}", -7, &i), 0));
	cr_expect(eq(int, i, 2));
	cr_assert(eq(int, tarn_value_string(tarn_value_key_at(map, 0), &key, NULL), 0));
	cr_expect(eq(str, (char *)key, "a key that is long"));
	cr_expect(eq(int, tarn_value_kind(tarn_value_key_at(map, 1)), TARN_KIND_INT));
	cr_expect(eq(int, tarn_value_kind(tarn_value_get(map, "K")), TARN_KIND_NONE));
	cr_expect(eq(int, tarn_value_kind(tarn_value_get_int(map, 7)), TARN_KIND_NONE));
}

Test(value, numbers_convert_where_nothing_is_lost_and_only_there)
{
	int64_t i;
	uint64_t u;
	double d;

	tarn_put(&b, "ddQqdd", 3.0, 3.5, UINT64_MAX, INT64_C(9007199254740993), -1.0, 0x1p63);
	pass_over();
	cr_expect(eq(int, tarn_value_int(tarn_parcel_at(&p, 0), &i), 0));
	cr_expect(eq(i64, i, 3));
	cr_expect(eq(int, tarn_value_int(tarn_parcel_at(&p, 1), &i), -ERANGE));
	cr_expect(eq(str, (char *)tarn_error_last()->message,
		     "Expected int, found double 3.5, which is none."));
	cr_expect(eq(int, tarn_value_int(tarn_parcel_at(&p, 2), &i), -ERANGE));
	cr_expect(eq(int, tarn_value_double(tarn_parcel_at(&p, 2), &d), -ERANGE));
	cr_expect(eq(int, tarn_value_double(tarn_parcel_at(&p, 3), &d), -ERANGE));
	cr_expect(eq(int, tarn_value_uint(tarn_parcel_at(&p, 4), &u), -ERANGE));
	cr_expect(eq(int, tarn_value_int(tarn_parcel_at(&p, 5), &i), -ERANGE));
	cr_expect(eq(int, tarn_value_uint(tarn_parcel_at(&p, 5), &u), 0));
	cr_expect(eq(u64, u, UINT64_C(1) << 63));
}

Test(value, another_kind_is_an_error_that_names_both)
{
	int64_t i;

	tarn_put_string(&b, "7");
	pass_over();
	cr_expect(eq(int, tarn_value_int(tarn_parcel_at(&p, 0), &i), -TARN_EKIND));
	cr_expect(eq(str, (char *)tarn_error_last()->message, "Expected int, found string."));
	cr_expect(eq(int, tarn_value_int(tarn_parcel_at(&p, 1), &i), -ENOENT));
	cr_expect(eq(int, tarn_value_int(tarn_value_at(tarn_parcel_at(&p, 9), 3), &i), -ENOENT));
}

Test(value, a_string_with_a_nul_inside_needs_its_length_asked)
{
	const char *s = "untouched";
	size_t n;

	tarn_put_string_n(&b, "a\0b", 3);
	pass_over();
	cr_expect(eq(int, tarn_value_string(tarn_parcel_at(&p, 0), &s, NULL), -EINVAL));
	cr_expect(eq(str, (char *)s, "untouched"));
	cr_assert(eq(int, tarn_value_string(tarn_parcel_at(&p, 0), &s, &n), 0));
	cr_expect(n == 3 && memcmp(s, "a\0b", 4) == 0);
}

/* ---- limits and misuse ---- */

static void fails_for_good(int code)
{
	int r = tarn_builder_error(&b);

	cr_expect(eq(int, r, code), "%s", tarn_error_last()->message);
	cr_expect(eq(int, tarn_put_int(&b, 1), r), "a failure sticks");
	cr_expect(eq(int, tarn_put_string(&b, "x"), r));
	cr_expect(eq(int, tarn_list_begin(&b), r));
	cr_expect(eq(int, tarn_parcel_from(&b, &p), r), "what failed is not sent");
	tarn_builder_reset(&b);
	cr_expect(eq(int, tarn_put_int(&b, 1), 0), "and ends with a reset");
}

Test(value, d13_more_than_255_values_at_the_top_are_refused)
{
	for (int i = 0; i < 255; i++)
		cr_assert(eq(int, tarn_put_int(&b, i), 0));
	cr_expect(eq(int, tarn_put_int(&b, 255), -E2BIG));
	fails_for_good(-E2BIG);
}

Test(value, d13_depth_32_arrives_and_33_is_refused)
{
	tarn_value v;

	for (int i = 0; i < 32; i++)
		cr_assert(eq(int, tarn_list_begin(&b), 0));
	tarn_put_int(&b, 7);
	for (int i = 0; i < 32; i++)
		cr_assert(eq(int, tarn_list_end(&b), 0));
	pass_over();
	v = tarn_parcel_at(&p, 0);
	for (int i = 0; i < 32; i++)
		v = tarn_value_at(v, 0);
	cr_expect(eq(int, tarn_value_kind(v), TARN_KIND_INT));
	tarn_parcel_fini(&p);
	tarn_builder_reset(&b);
	for (int i = 0; i < 32; i++)
		cr_assert(eq(int, tarn_list_begin(&b), 0));
	cr_expect(eq(int, tarn_list_begin(&b), -E2BIG));
	fails_for_good(-E2BIG);
}

Test(value, d13_the_65th_reference_is_refused_and_64_arrive)
{
	tarn_list_begin(&b);
	for (unsigned i = 0; i < 64; i++)
		cr_assert(eq(int, tarn__put_handle(&b, handles[i].kind,
						   (struct tarn_block *)&handles[i]), 0));
	tarn_list_end(&b);
	pass_over();
	for (unsigned i = 0; i < 64; i++)
		cr_assert(eq(int, tarn_value_kind(tarn_value_at(tarn_parcel_at(&p, 0), i)),
			     handles[i].kind));
	cr_expect(eq(int, tarn_put_object(&b, object_of(64)), -E2BIG));
	fails_for_good(-E2BIG);
}

Test(value, d13_a_million_slots_arrive_and_one_more_is_refused)
{
	tarn_list_begin(&b);
	for (unsigned i = 0; i < TARN_SLOTS_MAX; i++)
		tarn_put_nil(&b);
	cr_assert(eq(int, tarn_builder_error(&b), 0));
	cr_expect(eq(int, tarn_put_nil(&b), -E2BIG));
	fails_for_good(-E2BIG);
	tarn_builder_reset(&b);
	tarn_list_begin(&b);
	for (unsigned i = 0; i < TARN_SLOTS_MAX; i++)
		tarn_put_nil(&b);
	tarn_list_end(&b);
	pass_over();
	cr_expect(eq(sz, tarn_value_count(tarn_parcel_at(&p, 0)), TARN_SLOTS_MAX));
}

Test(value, d13_a_string_larger_than_a_message_is_refused_before_it_is_read)
{
	/* The address is never looked at. */
	cr_expect(eq(int, tarn_put_bytes(&b, &b, (size_t)TARN_PAYLOAD_MAX + 1), -E2BIG));
	fails_for_good(-E2BIG);
}

Test(value, misuse_is_an_error_and_never_sent)
{
	tarn_map_begin(&b);
	tarn_put_int(&b, 1);
	fails_for_good(-EINVAL);
	tarn_map_key(&b, "outside");
	fails_for_good(-EINVAL);
	tarn_map_begin(&b);
	tarn_map_key(&b, "one");
	tarn_map_key(&b, "another");
	fails_for_good(-EINVAL);
	tarn_map_begin(&b);
	tarn_map_key(&b, "no value");
	tarn_map_end(&b);
	fails_for_good(-EINVAL);
	tarn_list_begin(&b);
	tarn_map_end(&b);
	fails_for_good(-EINVAL);
	tarn_list_end(&b);
	fails_for_good(-EINVAL);
	tarn_map_key(&b, NULL);
	fails_for_good(-EINVAL);
	tarn_put_block(&b, (tarn_block *)object_of(1));
	fails_for_good(-TARN_EKIND);
	tarn_builder_reset(&b);
	tarn_list_begin(&b);
	cr_expect(eq(int, tarn_parcel_from(&b, &p), -EINVAL), "a list is open");
	tarn_list_end(&b);
	cr_expect(eq(int, tarn_parcel_from(&b, &p), 0));
}

/* ---- copying and comparing ---- */

Test(value, a_value_is_passed_on_whole)
{
	tarn_builder again;
	tarn_parcel q;

	tarn_put(&b, "[i{s:[sB]i:d}y]", 1, "key", "a longer string than fits", block_of(3), 5, 0.1,
		 "bytes that are long too", (size_t)23);
	pass_over();
	tarn_builder_init(&again);
	tarn_put(&again, "iv", 9, tarn_parcel_at(&p, 0));
	cr_assert(eq(int, tarn_parcel_from(&again, &q), 0));
	cr_expect(tarn_value_equal(tarn_parcel_at(&p, 0), tarn_parcel_at(&q, 1)));
	cr_expect(not(tarn_value_equal(tarn_parcel_at(&p, 0), tarn_parcel_at(&q, 0))));
	tarn_builder_fini(&again);
	tarn_parcel_fini(&q);
}

Test(value, equality_is_of_what_values_say)
{
	/* Pairs: equal, equal, ... then unequal ones. */
	tarn_put(&b, "i d  i I  d d  s s  [i] [d]  B B", 3, 3.0, 3, 3u, 0.0, -0.0, "ab", "ab", 1, 1.0,
		 block_of(0), block_of(0));
	tarn_put(&b, "i Q  i d  s y  [i] [ii]  {s:i} {s:i}  B B  n b", -1, UINT64_MAX, 3, 3.5, "ab",
		 "ab", (size_t)2, 1, 1, 1, "a", 1, "b", 1, block_of(0), block_of(3), 0);
	pass_over();
	for (unsigned i = 0; i < 6; i++)
		cr_expect(tarn_value_equal(tarn_parcel_at(&p, 2 * i), tarn_parcel_at(&p, 2 * i + 1)),
			  "pair %u", i);
	for (unsigned i = 6; i < 13; i++)
		cr_expect(not(tarn_value_equal(tarn_parcel_at(&p, 2 * i),
					       tarn_parcel_at(&p, 2 * i + 1))), "pair %u", i);
}
