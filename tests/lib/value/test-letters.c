/* SPDX-License-Identifier: Apache-2.0 */
/* tarn_put(), tarn_parcel_get() and signatures: what letters take, and what errors say. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <limits.h>
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

TestSuite(letters, .timeout = 60, .init = begin, .fini = end);

#define PUT(...)                                                                              \
	do {                                                                                  \
		tarn_parcel_fini(&p);                                                         \
		tarn_builder_reset(&b);                                                       \
		cr_assert(eq(int, tarn_put(&b, __VA_ARGS__), 0), "%s",                        \
			  tarn_error_last()->message);                                        \
		cr_assert(eq(int, tarn_parcel_from(&b, &p), 0));                              \
	} while (0)

static void says(const char *text)
{
	cr_expect(eq(str, (char *)tarn_error_last()->message, (char *)text));
}

Test(letters, every_letter_gives_back_what_it_took)
{
	bool flag;
	int i;
	int64_t q;
	unsigned u;
	uint64_t Q;
	double d;
	const char *s, *S;
	const void *y;
	size_t S_bytes, y_bytes;
	tarn_block *block;
	tarn_object *object;
	tarn_channel *channel;
	tarn_value v;

	PUT("n b i q I Q d s S y B O C", 1, INT_MIN, INT64_MAX, UINT_MAX, UINT64_MAX, -0.5, "str",
	    "with\0nul", (size_t)8, "bytes", (size_t)5, block_of(0), object_of(1), channel_of(2));
	cr_assert(eq(int, tarn_parcel_get(&p, "nbiqIQdsSyBOC", &flag, &i, &q, &u, &Q, &d, &s, &S,
					  &S_bytes, &y, &y_bytes, &block, &object, &channel), 0));
	cr_expect(flag && i == INT_MIN && q == INT64_MAX && u == UINT_MAX && Q == UINT64_MAX);
	cr_expect(d == -0.5 && strcmp(s, "str") == 0 && S_bytes == 8 && y_bytes == 5);
	cr_expect(memcmp(S, "with\0nul", 8) == 0 && memcmp(y, "bytes", 5) == 0);
	cr_expect(block == block_of(0) && object == object_of(1) && channel == channel_of(2));
	cr_assert(eq(int, tarn_parcel_get(&p, "|v", &v), -TARN_EARGS), "there are more");
	says("Expected 1 values, found 13.");
}

Test(letters, null_is_nil_and_needs_a_question_mark_to_be_taken)
{
	const char *s = "before";
	tarn_block *block = block_of(0);

	PUT("sB", NULL, NULL);
	cr_expect(eq(int, tarn_parcel_get(&p, "sB", &s, &block), -TARN_EARGS));
	says("Argument 1: Expected string, found nil.");
	cr_expect(eq(str, (char *)s, "before"));
	cr_expect(eq(int, tarn_parcel_get(&p, "s?B?", &s, &block), 0));
	cr_expect(s == NULL && block == NULL);
}

Test(letters, d9_errors_name_place_expected_and_found)
{
	int i;
	double d;
	const char *s;

	PUT("i[d{s:i}]", 1, 2.0, "key", 3);
	cr_expect(eq(int, tarn_parcel_get(&p, "i[d{s:s}]", &i, &d, "key", &s), -TARN_EARGS));
	says("Argument 2, entry 2, key key: Expected string, found int.");
	cr_expect(eq(int, tarn_parcel_get(&p, "i[d{s:i}]", &i, &d, "no", &i), -TARN_EARGS));
	says("Argument 2, entry 2, key no: There is no such value.");
	cr_expect(eq(int, tarn_parcel_get(&p, "i[d]", &i, &d), -TARN_EARGS));
	says("Argument 2: Expected a list of 1, found one of 2.");
	cr_expect(eq(int, tarn_parcel_get(&p, "ivi", &i, &(tarn_value){ .head = 0 }, &i), -TARN_EARGS));
	says("Argument 3: There is no such value.");
	PUT("q", INT64_C(1) << 40);
	cr_expect(eq(int, tarn_parcel_get(&p, "i", &i), -TARN_EARGS));
	says("Argument 1: Expected an int of 32 bits, found 1099511627776.");
}

Test(letters, what_is_optional_may_be_missing)
{
	int a = 0, c = 77;

	PUT("i", 5);
	cr_expect(eq(int, tarn_parcel_get(&p, "i|ii", &a, &c, &c), 0));
	cr_expect(a == 5 && c == 77);
	PUT("ii", 5, 6);
	cr_expect(eq(int, tarn_parcel_get(&p, "i|ii", &a, &c, &a), 0));
	cr_expect(a == 5 && c == 6);
}

Test(letters, bad_formats_are_refused)
{
	static const char *const puts[] = { "x", "[", "]", "[i}", "{i", "i]", "{d:i}", "{i}" };
	static const char *const gets[] = { "x", "[", "[i", "{d:i}", "i?" };
	int out[4];

	for (size_t i = 0; i < sizeof puts / sizeof puts[0]; i++) {
		tarn_builder_reset(&b);
		cr_expect(eq(int, tarn_put(&b, puts[i], 1, 2, 3), -EINVAL), "%s", puts[i]);
	}
	for (size_t i = 0; i < sizeof gets / sizeof gets[0]; i++) {
		if (gets[i][0] == '[')
			PUT("[i]", 1);
		else if (gets[i][0] == '{')
			PUT("{i:i}", 1, 1);
		else
			PUT("i", 1);
		cr_expect(eq(int, tarn_parcel_get(&p, gets[i], out, out, out), -EINVAL), "%s", gets[i]);
	}
}

Test(letters, brackets_pair_within_one_put_whatever_is_open)
{
	tarn_list_begin(&b);
	cr_expect(eq(int, tarn_put(&b, "i]", 1), -EINVAL));
	tarn_builder_reset(&b);
	tarn_list_begin(&b);
	cr_expect(eq(int, tarn_put(&b, "i[i]", 1, 2), 0));
	cr_expect(eq(int, tarn_list_end(&b), 0));
}

/* ---- signatures ---- */

static void accepts(const char *signature)
{
	cr_assert(eq(int, tarn__signature_check(signature), 0), "%s", signature);
	cr_expect(eq(int, tarn__signature_match(signature, &p), 0), "\"%s\": %s", signature,
		  tarn_error_last()->message);
}

static void refuses(const char *signature, const char *why)
{
	cr_assert(eq(int, tarn__signature_check(signature), 0), "%s", signature);
	cr_expect(eq(int, tarn__signature_match(signature, &p), -TARN_EARGS), "\"%s\"", signature);
	says(why);
}

Test(letters, a_signature_takes_what_fits)
{
	PUT("id[iii]{s:d s:d}n", 1, 2.5, 3, 4, 5, "a", 1.0, "b", 2.0);
	accepts("id[iii]{s:d}n");
	accepts("qd[i*]{}v");
	accepts("dd[]vs?");
	accepts("v*");
	accepts("i|v*");
	accepts("vvvvv|ii");
	accepts("I d [i i*] {S:v} n");
	PUT(" ");
	accepts("");
	accepts("|i");
	accepts("i*");
}

Test(letters, a_signature_says_what_does_not_fit)
{
	PUT("id[ii]", 1, 2.5, 3, 4);
	refuses("id", "Too many arguments (3): expected \"id\".");
	refuses("id[ii]s", "Too few arguments (3): expected \"id[ii]s\".");
	refuses("is[ii]", "Argument 2: expected string, found double.");
	refuses("ii[ii]", "Argument 2: expected int, found double.");
	refuses("id[i]", "Argument 3: expected a list of 1, found one of 2.");
	refuses("id[iii]", "Argument 3: a list of 2 is too short.");
	refuses("id[s*]", "Argument 3: expected string, found int.");
	refuses("id{}", "Argument 3: expected map, found list.");
	refuses("B?d[]", "Argument 1: expected block, found int.");
	PUT("{i:i}", 1, 2);
	refuses("{s:i}", "Argument 1: expected string, found int.");
}

Test(letters, a_signature_that_is_none_is_refused_before_it_is_used)
{
	static const char *const bad[] = { "x", "[", "[i", "{", "{s", "{s}", "{d:i}", "{s:ii}", "]", "i*i",
					   "[i*i]", "||", "[|i]", "*", "?" };

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		cr_expect(eq(int, tarn__signature_check(bad[i]), -EINVAL), "%s", bad[i]);
}
