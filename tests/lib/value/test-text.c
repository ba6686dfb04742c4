/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text and back; random trees through every way there is. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "handles.h"
#include "random.h"
#include "tarn/value.h"

static tarn_builder b;
static tarn_parcel p;
static char text[1 << 20];

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

TestSuite(text, .timeout = 120, .init = begin, .fini = end);

static void format_all(void)
{
	tarn_parcel_fini(&p);
	cr_assert(eq(int, tarn_parcel_from(&b, &p), 0), "%s", tarn_error_last()->message);
	cr_assert(ge(int, tarn_parcel_format(&p, text, sizeof text), 0));
}

/* @from is read and printed as @to. */
static void reads(const char *from, const char *to)
{
	tarn_builder_reset(&b);
	cr_assert(eq(int, tarn_value_parse(from, &b, handles_resolve, NULL), 0), "%s: %s", from,
		  tarn_error_last()->message);
	format_all();
	cr_expect(eq(str, text, (char *)to));
}

static void refuses(const char *from, const char *why)
{
	tarn_builder_reset(&b);
	cr_expect(eq(int, tarn_value_parse(from, &b, handles_resolve, NULL), -EINVAL), "%s", from);
	cr_expect(eq(str, (char *)tarn_error_last()->message, (char *)why));
	cr_expect(eq(int, tarn_builder_error(&b), -EINVAL), "half of it must not be sent");
}

Test(text, every_kind_has_a_text_that_a_person_can_read)
{
	tarn_put(&b, "n b i Q d d s y [i[]] {s:i i:n} B", 1, -5, UINT64_C(5), 1.0, 0.1, "a \"b\"\n\x01\xff\xc3\xa9",
		 "\0raw\xff", (size_t)5, 1, "k", 1, -2, block_of(3));
	format_all();
	cr_expect(eq(str, text, "nil, true, -5, 5u, 1.0, 0.1, \"a \\\"b\\\"\\n\\x01\\xff\xc3\xa9\", "
				"b\"\\x00raw\\xff\", [1, []], {\"k\": 1, -2: nil}, <block 3>"));
}

Test(text, what_is_cut_is_counted)
{
	char little[8];

	tarn_put_string(&b, "0123456789");
	format_all();
	memset(little, '#', sizeof little);
	cr_expect(eq(int, tarn_value_format(tarn_parcel_at(&p, 0), little, 6), 12));
	cr_expect(eq(str, little, "\"0123"));
	cr_expect(eq(chr, little[6], '#'));
	cr_expect(eq(int, tarn_value_format(tarn_parcel_at(&p, 0), NULL, 0), 12));
}

Test(text, terminals_are_not_spoken_to)
{
	/* ESC, DEL, and the C1 control U+009B in UTF-8. */
	tarn_put_string(&b, "\033[2J\x7f\xc2\x9b");
	format_all();
	cr_expect(eq(str, text, "\"\\x1b[2J\\x7f\\xc2\\x9b\""));
}

Test(text, what_people_and_json_write_is_read)
{
	reads("", "");
	reads(" 1 2,3 ", "1, 2, 3");
	reads("nil null None true True false False", "nil, nil, nil, true, true, false, false");
	reads("-9223372036854775808 9223372036854775807 9223372036854775808 18446744073709551615",
	      "-9223372036854775808, 9223372036854775807, 9223372036854775808u, 18446744073709551615u");
	reads("0x10 -0x10 010 +5 7u", "16, -16, 10, 5, 7u");
	reads("1.5 -1e3 .5 1e400 -inf nan 1E-5", "1.5, -1000.0, 0.5, inf, -inf, nan, 1e-05");
	reads("\"\\u00e9\\ud83d\\ude00\\/\\b\" 'it\"s'", "\"\xc3\xa9\xf0\x9f\x98\x80/\\x08\", \"it\\\"s\"");
	reads("b'\\x00\\xff' b\"\"", "b\"\\x00\\xff\", b\"\"");
	reads("{\"a\":[1,{\"b\":null}],5:\"x\"}", "{\"a\": [1, {\"b\": nil}], 5: \"x\"}");
	reads("[1 2 [ ] { } ]", "[1, 2, [], {}]");
	reads("[<block 0>, {\"c\": <channel 2>}] <object 1>", "[<block 0>, {\"c\": <channel 2>}], <object 1>");
	reads("error[\"ValueError\", -1]", "error[\"ValueError\", -1]");
}

Test(text, what_is_no_value_is_refused_with_the_place)
{
	refuses("[1, 2", "Expected a ']', found the end of the text.");
	refuses("1 x", "Expected a value at character 3, found \"x\".");
	refuses("[1,]", "Expected a value after the comma at character 4, found \"]\".");
	refuses("{1.5: 2}", "Expected a string or a whole number as key at character 2, found \"1.5: 2}\".");
	refuses("{\"a\" 2}", "Expected a ':' after the key at character 6, found \"2}\".");
	refuses("\"abc", "Expected the end of a string, found the end of the text.");
	refuses("\"\\q\"", "Expected an escape (\\n, \\\", \\xff, \\u00ff ...) at character 3, found \"q\"\".");
	refuses("1-2", "Expected a comma or a blank at character 2, found \"-2\".");
	refuses("18446744073709551616", "Expected a number of 64 bits at character 1, found \"18446744073709551616\".");
	refuses("-1u", "Expected a number of 64 bits at character 1, found \"-1u\".");
	refuses("0x", "Expected a number at character 1, found \"0x\".");
	refuses("]", "Expected a value at character 1, found \"]\".");
	refuses("<block 5", "Expected a reference with a '>' at its end at character 1, found \"<block 5\".");
	tarn_builder_reset(&b);
	cr_expect(eq(int, tarn_value_parse("<block 999>", &b, handles_resolve, NULL), -ENOENT));
	tarn_builder_reset(&b);
	cr_expect(eq(int, tarn_value_parse("<block 0>", &b, NULL, NULL), -EINVAL));
}

Test(text, brackets_without_end_are_refused_not_recursed_into)
{
	static char deep[1 << 20];

	memset(deep, '[', sizeof deep - 1);
	cr_expect(eq(int, tarn_value_parse(deep, &b, NULL, NULL), -E2BIG));
}

Test(text, numbers_look_the_same_in_every_locale)
{
	if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL && setlocale(LC_ALL, "fr_FR.UTF-8") == NULL)
		cr_skip("no locale with a decimal comma is installed");
	reads("1.5", "1.5");
}

/* ---- property ---- */

static void same_values(const tarn_parcel *x, const tarn_parcel *y, uint64_t seed)
{
	cr_assert(eq(uint, tarn_parcel_count(x), tarn_parcel_count(y)), "seed %llu",
		  (unsigned long long)seed);
	for (unsigned i = 0; i < tarn_parcel_count(x); i++)
		cr_assert(tarn_value_equal(tarn_parcel_at(x, i), tarn_parcel_at(y, i)),
			  "seed %llu, value %u", (unsigned long long)seed, i);
}

Test(text, l18_random_trees_survive_parcels_copies_and_text)
{
	static char again[sizeof text];
	tarn_builder other;
	tarn_parcel q;

	tarn_builder_init(&other);
	for (uint64_t seed = 1; seed <= 1500; seed++) {
		uint64_t state = seed;

		tarn_builder_reset(&b);
		tarn_builder_reset(&other);
		random_put(&b, &state, 12, (unsigned)(seed % 8), true);
		cr_assert(eq(int, tarn_builder_error(&b), 0), "seed %llu: %s",
			  (unsigned long long)seed, tarn_error_last()->message);
		format_all();
		cr_assert(lt(sz, strlen(text), sizeof text - 1));
		cr_assert(eq(int, tarn_parcel_check(&p), 0), "seed %llu", (unsigned long long)seed);
		for (unsigned i = 0; i < tarn_parcel_count(&p); i++)
			cr_assert(eq(int, tarn_put_value(&other, tarn_parcel_at(&p, i)), 0),
				  "seed %llu: %s", (unsigned long long)seed,
				  tarn_error_last()->message);
		cr_assert(eq(int, tarn_parcel_from(&other, &q), 0));
		same_values(&p, &q, seed);
		tarn_parcel_fini(&q);

		tarn_builder_reset(&other);
		cr_assert(eq(int, tarn_value_parse(text, &other, handles_resolve, NULL), 0),
			  "seed %llu: %s", (unsigned long long)seed, tarn_error_last()->message);
		cr_assert(eq(int, tarn_parcel_from(&other, &q), 0));
		same_values(&p, &q, seed);
		tarn_parcel_format(&q, again, sizeof again);
		cr_assert(eq(str, again, text), "seed %llu", (unsigned long long)seed);
		tarn_parcel_fini(&q);
	}
	tarn_builder_fini(&other);
}
