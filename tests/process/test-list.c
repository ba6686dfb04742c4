/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn.List (T1, T16): what CPython's tests of managed lists ask, in C, and the rest of the
 * methods; nested lists (N); sizes.
 */
#include <unistd.h>

#include "tests/common/containers.h"

struct user {
	struct scene s;
	tarn_client *c;
};

static struct user user_open(void)
{
	const tarn_server_options options = { .arena_bytes = 256u << 20 };
	struct user u = { .s = scene_open(&options) };

	u.c = scene_client(&u.s);
	return u;
}
static void user_close(struct user *u)
{
	tarn_client_close(u->c);
	scene_close(&u->s);
}

static tarn_object *list_of(struct user *u, int n)
{
	tarn_object *l;
	tarn_builder b;

	OK(tarn_list_new(u->c, &l));
	tarn_builder_init(&b);
	for (int k = 0; k < n; k++)
		tarn_put_int(&b, k);
	OK(tarn_list_extend(l, &b));
	tarn_builder_fini(&b);
	return l;
}

/* ---- CPython: _TestContainers.test_list ---- */

PLAIN_TEST(t1_lists_do_what_pythons_tests_of_managed_lists_ask)
{
	struct user u = user_open();
	tarn_object *a = list_of(&u, 10), *b, *sum, *d, *f, *got;
	tarn_parcel p;
	int x;

	LIST_IS(a, "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]");
	OK(tarn_list_new(u.c, &b));
	LIST_IS(b, "[]");
	OK(tarn_list_extendf(b, "iiiii", 0, 1, 2, 3, 4));
	LIST_IS(b, "[0, 1, 2, 3, 4]");
	OK(tarn_list_getf(b, 2, "i", &x));
	PLAIN_EQ(x, 2);
	OK(tarn_list_slice(b, 2, 10, TARN_OMIT, &p));
	text_is(__LINE__, &p, "[2, 3, 4]");
	OK(tarn_list_repeat_in_place(b, 2));
	LIST_IS(b, "[0, 1, 2, 3, 4, 0, 1, 2, 3, 4]");
	OK(tarn_list_newf(u.c, &d, "[ii]", 5, 6));
	OK(tarn_list_concat(b, d, &sum));
	LIST_IS(sum, "[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6]");
	LIST_IS(b, "[0, 1, 2, 3, 4, 0, 1, 2, 3, 4]");
	tarn_object_unref(d);
	OK(tarn_list_newf(u.c, &d, "[OO]", a, b));
	OK(tarn_list_get_object(d, 1, &got));
	PLAIN_CHECK(tarn_object_same(got, b));
	tarn_object_unref(got);
	OK(tarn_list_newf(u.c, &f, "[O]", a));
	OK(tarn_list_appendf(a, "s", "hello"));
	OK(tarn_list_get_object(f, 0, &got));
	LIST_IS(got, "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \"hello\"]");
	tarn_object_unref(got);
	tarn_object *all[] = { a, b, sum, d, f };
	for (unsigned k = 0; k < 5; k++)
		tarn_object_unref(all[k]);
	user_close(&u);
}

/* test_list_iter, with a difference: an iterator gives what was there. */
PLAIN_TEST(t1_iterators_give_what_was_there_and_are_then_at_their_end)
{
	struct user u = user_open();
	tarn_object *a = list_of(&u, 10), *it;
	int x;

	OK(tarn_list_iter(a, &it));
	OK(tarn_list_setf(a, 0, "i", 100));
	OK(tarn_list_clear(a));
	for (int k = 0; k < 10; k++) {
		OK(tarn_iter_nextf(it, "i", &x));
		PLAIN_EQ(x, k);
	}
	FAILS(tarn_iter_nextf(it, "i", &x), TARN_EOF);
	FAILS(tarn_iter_nextf(it, "i", &x), TARN_EOF);
	tarn_object_unref(it);
	tarn_object_unref(a);
	user_close(&u);
}

/* test_list_proxy_in_list */
PLAIN_TEST(n5_lists_in_lists_are_what_pythons_test_says)
{
	struct user u = user_open();
	tarn_object *a, *in[3], *got, *b;
	tarn_parcel p;

	for (int k = 0; k < 3; k++)
		in[k] = list_of(&u, 3);
	OK(tarn_list_newf(u.c, &a, "[OOO]", in[0], in[1], in[2]));
	for (int k = 0; k < 3; k++)
		tarn_object_unref(in[k]);
	OK(tarn_list_get_object(a, 0, &got));
	OK(tarn_list_setf(got, -1, "i", 55));
	LIST_IS(got, "[0, 1, 55]");
	tarn_object_unref(got);
	OK(tarn_list_get_object(a, 1, &got));
	LIST_IS(got, "[0, 1, 2]");
	OK(tarn_list_pop(got, -1, NULL));
	LIST_IS(got, "[0, 1]");
	tarn_object_unref(got);
	OK(tarn_list_del(a, 0));
	OK(tarn_list_get_object(a, 0, &got));
	LIST_IS(got, "[0, 1]");
	tarn_object_unref(got);
	/* One value is a plain list: what comes out is a copy. */
	OK(tarn_list_newf(u.c, &b, "[[ii]s]", 1, 2, "a rather long string"));
	OK(tarn_list_get(b, 0, &p));
	text_is(__LINE__, &p, "[1, 2]");
	OK(tarn_list_get(b, -1, &p));
	text_is(__LINE__, &p, "\"a rather long string\"");
	tarn_object_unref(b);
	tarn_object_unref(a);
	user_close(&u);
}

/* ---- the other methods, and what goes wrong ---- */

PLAIN_TEST(t1_each_method_does_what_pythons_does)
{
	struct user u = user_open();
	tarn_object *l = list_of(&u, 0), *copy;
	uint64_t n;
	bool found;
	int x;

	OK(tarn_list_insertf(l, 0, "s", "b"));
	OK(tarn_list_insertf(l, -100, "s", "a"));
	OK(tarn_list_insertf(l, 100, "s", "d"));
	OK(tarn_list_insertf(l, -1, "s", "c"));
	LIST_IS(l, "[\"a\", \"b\", \"c\", \"d\"]");
	OK(tarn_list_indexf(l, &n, "s", "c"));
	PLAIN_EQ(n, 2);
	OK(tarn_list_extend_from(l, l));
	LIST_IS(l, "[\"a\", \"b\", \"c\", \"d\", \"a\", \"b\", \"c\", \"d\"]");
	OK(tarn_list_countf(l, &n, "s", "c"));
	PLAIN_EQ(n, 2);
	OK(tarn_list_removef(l, "s", "c"));
	OK(tarn_list_indexf(l, &n, "s", "c"));
	PLAIN_EQ(n, 5);
	OK(tarn_list_containsf(l, &found, "s", "a"));
	PLAIN_CHECK(found);
	OK(tarn_list_containsf(l, &found, "s", "x"));
	PLAIN_CHECK(!found);
	OK(tarn_list_reverse(l));
	LIST_IS(l, "[\"d\", \"c\", \"b\", \"a\", \"d\", \"b\", \"a\"]");
	OK(tarn_list_sort(l, false));
	LIST_IS(l, "[\"a\", \"a\", \"b\", \"b\", \"c\", \"d\", \"d\"]");
	OK(tarn_list_sort(l, true));
	LIST_IS(l, "[\"d\", \"d\", \"c\", \"b\", \"b\", \"a\", \"a\"]");
	OK(tarn_list_copy(l, &copy));
	OK(tarn_list_clear(l));
	LIST_IS(l, "[]");
	LIST_IS(copy, "[\"d\", \"d\", \"c\", \"b\", \"b\", \"a\", \"a\"]");
	OK(tarn_list_repeat_in_place(copy, -1));
	LIST_IS(copy, "[]");
	OK(tarn_list_extendf(copy, "idQb", 3, 1.5, (uint64_t)UINT64_MAX, 1));
	LIST_IS(copy, "[3, 1.5, 18446744073709551615u, true]");
	OK(tarn_list_indexf(copy, &n, "d", 3.0));
	PLAIN_EQ(n, 0);
	OK(tarn_list_popf(copy, 0, "i", &x));
	PLAIN_EQ(x, 3);
	tarn_object_unref(copy);
	tarn_object_unref(l);
	user_close(&u);
}

PLAIN_TEST(t1_slices_are_pythons)
{
	struct user u = user_open();
	const int64_t none = TARN_OMIT;
	const struct {
		int64_t start, stop, step;
		const char *wanted;
	} cases[] = {
		{ none, none, none, "[0, 1, 2, 3, 4, 5]" },
		{ none, none, -1, "[5, 4, 3, 2, 1, 0]" },
		{ none, none, 2, "[0, 2, 4]" },
		{ 1, none, 2, "[1, 3, 5]" },
		{ -2, none, none, "[4, 5]" },
		{ none, -2, none, "[0, 1, 2, 3]" },
		{ 4, 1, none, "[]" },
		{ 4, 1, -1, "[4, 3, 2]" },
		{ 4, none, -2, "[4, 2, 0]" },
		{ -100, 100, 3, "[0, 3]" },
		{ 100, -100, -4, "[5, 1]" },
		{ 5, -7, -5, "[5, 0]" },
		{ 0, 6, INT64_MAX, "[0]" },
	};
	tarn_object *l = list_of(&u, 6);
	tarn_builder b;
	tarn_parcel p;

	for (unsigned k = 0; k < sizeof cases / sizeof *cases; k++) {
		OK(tarn_list_slice(l, cases[k].start, cases[k].stop, cases[k].step, &p));
		text_is((int)k, &p, cases[k].wanted);
	}
	tarn_builder_init(&b);
	tarn_put(&b, "sss", "x", "y", "z");
	OK(tarn_list_set_slice(l, 1, 2, none, &b));
	LIST_IS(l, "[0, \"x\", \"y\", \"z\", 2, 3, 4, 5]");
	OK(tarn_list_set_slice(l, 100, none, none, &b));
	LIST_IS(l, "[0, \"x\", \"y\", \"z\", 2, 3, 4, 5, \"x\", \"y\", \"z\"]");
	OK(tarn_list_del_slice(l, -3, none, none));
	OK(tarn_list_set_slice(l, 0, 6, 2, &b));
	LIST_IS(l, "[\"x\", \"x\", \"y\", \"z\", \"z\", 3, 4, 5]");
	THROWS(tarn_list_set_slice(l, 0, 4, 2, &b), "ValueError",
	       "attempt to assign sequence of size 3 to extended slice of size 2");
	THROWS(tarn_list_slice(l, 0, 4, 0, &p), "ValueError", "slice step cannot be zero");
	OK(tarn_list_del_slice(l, none, none, -2));
	LIST_IS(l, "[\"x\", \"y\", \"z\", 4]");
	tarn_builder_reset(&b);
	OK(tarn_list_set_slice(l, 1, 3, none, &b));
	LIST_IS(l, "[\"x\", 4]");
	OK(tarn_list_del_slice(l, none, none, none));
	LIST_IS(l, "[]");
	tarn_builder_fini(&b);
	tarn_object_unref(l);
	user_close(&u);
}

PLAIN_TEST(t1_errors_are_pythons_and_change_nothing)
{
	struct user u = user_open();
	tarn_object *l = list_of(&u, 0);
	tarn_builder two;
	tarn_parcel p;
	uint64_t n;

	THROWS(tarn_list_pop(l, -1, &p), "IndexError", "pop from empty list");
	OK(tarn_list_extendf(l, "isd", 1, "one", 1.5));
	THROWS(tarn_list_get(l, 3, &p), "IndexError", "list index out of range");
	THROWS(tarn_list_get(l, -4, &p), "LookupError", "list index out of range");
	THROWS(tarn_list_setf(l, 3, "i", 1), "IndexError", "list assignment index out of range");
	THROWS(tarn_list_del(l, 3), "IndexError", "list assignment index out of range");
	THROWS(tarn_list_pop(l, 7, &p), "IndexError", "pop index out of range");
	THROWS(tarn_list_removef(l, "i", 7), "ValueError", "list.remove(x): x not in list");
	THROWS(tarn_list_indexf(l, &n, "s", "two"), "ValueError", "\"two\" is not in list");
	THROWS(tarn_list_sort(l, false), "TypeError",
	       "'<' not supported between instances of 'str' and 'int'");
	THROWS(tarn_callf(l, "extend", TARN_FOREVER, "i", "", 5), "TypeError",
	       "'int' object is not iterable");
	tarn_builder_init(&two);
	tarn_put(&two, "ii", 1, 2);
	FAILS(tarn_list_append(l, &two), EINVAL);
	tarn_builder_fini(&two);
	FAILS(tarn_callf(l, "append", TARN_FOREVER, "", ""), TARN_EARGS);
	const char *text;
	FAILS(tarn_list_getf(l, 1, "s", &text), EINVAL);
	tarn_object *none;
	FAILS(tarn_list_get_object(l, 1, &none), TARN_EKIND);
	LIST_IS(l, "[1, \"one\", 1.5]");
	tarn_object_unref(l);
	user_close(&u);
}

PLAIN_TEST(t1_sorting_is_stable_exact_and_the_same_for_long_lists)
{
	struct user u = user_open();
	tarn_object *l = list_of(&u, 0);
	uint64_t random = 77, n = 5000;
	int64_t before = INT64_MIN, x;

	/* A double between two ints that it cannot tell apart. */
	OK(tarn_list_extendf(l, "qdqd", INT64_C(9007199254740993), 9007199254740992.0,
			     INT64_C(-9007199254740993), -9007199254740992.0));
	OK(tarn_list_sort(l, false));
	LIST_IS(l, "[-9007199254740993, -9007199254740992.0, 9007199254740992.0, 9007199254740993]");
	OK(tarn_list_clear(l));
	OK(tarn_list_extendf(l, "idbd", 1, 1.0, 0, 0.5));
	THROWS(tarn_list_sort(l, false), "TypeError",
	       "'<' not supported between instances of 'bool' and 'float'");
	OK(tarn_list_del(l, 2));
	OK(tarn_list_sort(l, false));
	LIST_IS(l, "[0.5, 1, 1.0]");
	OK(tarn_list_sort(l, true));
	LIST_IS(l, "[1, 1.0, 0.5]");
	OK(tarn_list_clear(l));
	OK(tarn_list_extendf(l, "[is][is][i]", 2, "a", 1, "z", 2));
	OK(tarn_list_sort(l, false));
	LIST_IS(l, "[[1, \"z\"], [2], [2, \"a\"]]");
	OK(tarn_list_clear(l));
	for (uint64_t k = 0; k < n; k++)
		OK(tarn_list_appendf(l, "q", (int64_t)(scene_random(&random) >> 1)));
	OK(tarn_list_sort(l, false));
	for (uint64_t k = 0; k < n; k++) {
		OK(tarn_list_getf(l, (int64_t)k, "q", &x));
		PLAIN_CHECK(x >= before);
		before = x;
	}
	OK(tarn_list_reverse(l));
	OK(tarn_list_getf(l, 0, "q", &x));
	PLAIN_EQ(x, before);
	tarn_object_unref(l);
	user_close(&u);
}

/* ---- references ---- */

/* The article's example: lengths 2, 2, 3, 3. */
PLAIN_TEST(n1_n2_a_list_holds_a_reference_and_gives_the_same_object)
{
	struct user u = user_open();
	tarn_object *outer = list_of(&u, 0), *inner = list_of(&u, 0), *got;
	uint64_t n, id;
	tarn_parcel p;

	OK(tarn_list_extendf(inner, "ss", "first", "second"));
	OK(tarn_list_extendf(outer, "sO", "x", inner));
	OK(tarn_list_get_object(outer, 1, &got));
	PLAIN_CHECK(tarn_object_same(got, inner));
	OK(tarn_list_len(got, &n));
	PLAIN_EQ(n, 2);
	OK(tarn_list_appendf(got, "s", "third"));
	OK(tarn_list_len(inner, &n));
	PLAIN_EQ(n, 3);
	id = tarn_object_id(inner);
	tarn_object_unref(inner);
	tarn_object_unref(got);
	OK(tarn_list_get_object(outer, 1, &got));
	OK(tarn_list_get(got, 2, &p));
	text_is(__LINE__, &p, "\"third\"");
	tarn_object_unref(got);
	OK(tarn_list_del(outer, 1));
	PLAIN_WAIT_FOR(scene_count(&u.s, id) == 0);
	tarn_object_unref(outer);
	user_close(&u);
}

PLAIN_TEST(n4_a_block_in_a_list_lives_until_it_is_taken_out)
{
	struct user u = user_open();
	tarn_object *l = list_of(&u, 0);
	tarn_block *block, *got;
	tarn_parcel p;
	uint64_t id, n;

	OK(tarn_block_new(u.c, 100, 0, &block));
	memcpy(tarn_block_data(block), "here", 5);
	id = tarn_block_id(block);
	OK(tarn_list_appendf(l, "B", block));
	OK(tarn_list_appendf(l, "[Bi]", block, 5));
	OK(tarn_list_appendf(l, "{s:B}", "it", block));
	OK(tarn_list_indexf(l, &n, "[Bi]", block, 5));
	PLAIN_EQ(n, 1);
	OK(tarn_list_indexf(l, &n, "B", block));
	PLAIN_EQ(n, 0);
	tarn_block_unref(block);
	OK(tarn_list_pop(l, 0, NULL));
	OK(tarn_list_del(l, 1));
	scene_settle(&u.s);
	PLAIN_CHECK(scene_count(&u.s, id) > 0);
	OK(tarn_list_pop(l, 0, &p));
	OK(tarn_value_block(tarn_value_at(tarn_parcel_at(&p, 0), 0), &got));
	PLAIN_CHECK(strcmp(tarn_block_data(got), "here") == 0);
	tarn_parcel_fini(&p);
	PLAIN_WAIT_FOR((scene_settle(&u.s), scene_count(&u.s, id) == 0));
	tarn_object_unref(l);
	user_close(&u);
}

PLAIN_TEST(n5_lists_that_contain_themselves_and_each_other_are_collected)
{
	struct user u = user_open();
	static tarn_object *l[10];
	uint64_t id[10];

	for (int n = 1; n <= 10; n = n == 1 ? 2 : n + 8) {
		for (int k = 0; k < n; k++) {
			l[k] = list_of(&u, 3);
			id[k] = tarn_object_id(l[k]);
		}
		for (int k = 0; k < n; k++) {
			OK(tarn_list_appendf(l[k], "O", l[(k + 1) % n]));
			OK(tarn_list_appendf(l[k], "[[O]]", l[(k + 1) % n]));
		}
		scene_check(&u.s);
		for (int k = 0; k < n; k++)
			tarn_object_unref(l[k]);
		for (int k = 0; k < n; k++)
			PLAIN_WAIT_FOR(scene_count(&u.s, id[k]) == 0);
	}
	user_close(&u);
}

PLAIN_TEST(n6_the_outer_list_is_enough_for_another_process)
{
	struct user u = user_open();
	tarn_object *outer = list_of(&u, 0), *inner = list_of(&u, 2), *got;
	tarn_token token;

	OK(tarn_list_appendf(outer, "{s:O}", "inner", inner));
	tarn_object_unref(inner);
	OK(tarn_object_export(outer, NULL, &token));
	pid_t pid = plain_fork();
	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_object *o, *child;
		tarn_parcel p;

		OK(tarn_object_import(c, &token, &o));
		OK(tarn_list_get(o, 0, &p));
		OK(tarn_value_object(tarn_value_get(tarn_parcel_at(&p, 0), "inner"), &child));
		OK(tarn_list_appendf(child, "s", "from the other"));
		tarn_parcel_fini(&p);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	tarn_parcel p;
	OK(tarn_list_get(outer, 0, &p));
	OK(tarn_value_object(tarn_value_get(tarn_parcel_at(&p, 0), "inner"), &got));
	LIST_IS(got, "[0, 1, \"from the other\"]");
	tarn_parcel_fini(&p);
	tarn_object_unref(outer);
	user_close(&u);
}

/* What is more than the reactor does itself: many references, on executors. */
PLAIN_TEST_TIMEOUT(n5_copies_slices_and_iterators_of_500_references_hold_each, 120)
{
	struct user u = user_open();
	enum { N = 500 };
	tarn_object *l = list_of(&u, 0), *item[N], *copy, *it, *sum;
	uint64_t id[N], n;
	tarn_parcel p;

	for (int k = 0; k < N; k++) {
		item[k] = list_of(&u, 1);
		id[k] = tarn_object_id(item[k]);
		OK(tarn_list_appendf(l, "O", item[k]));
		tarn_object_unref(item[k]);
	}
	OK(tarn_list_copy(l, &copy));
	OK(tarn_list_iter(l, &it));
	OK(tarn_list_concat(l, copy, &sum));
	OK(tarn_list_len(sum, &n));
	PLAIN_EQ(n, 2 * N);
	OK(tarn_list_slice(l, 0, 60, TARN_OMIT, &p));
	PLAIN_EQ(tarn_value_count(tarn_parcel_at(&p, 0)), 60);
	tarn_parcel_fini(&p);
	THROWS(tarn_list_slice(l, 0, 100, TARN_OMIT, &p), "Exception",
	       "More than 64 different blocks, objects and channels in one message.");
	scene_check(&u.s);
	OK(tarn_list_clear(l));
	OK(tarn_list_del_slice(sum, 0, N, TARN_OMIT));
	OK(tarn_list_reverse(sum));
	tarn_object_unref(sum);
	tarn_object_unref(copy);
	scene_settle(&u.s);
	for (uint64_t k = 0; k < N; k += n) {
		OK(tarn_iter_next_n(it, 40, &p));
		n = tarn_value_count(tarn_parcel_at(&p, 0));
		for (uint64_t i = 0; i < n; i++) {
			tarn_object *o;

			OK(tarn_value_object(tarn_value_at(tarn_parcel_at(&p, 0), i), &o));
			PLAIN_EQ(tarn_object_id(o), id[k + i]);
		}
		tarn_parcel_fini(&p);
	}
	OK(tarn_iter_close(it));
	for (int k = 0; k < N; k++)
		PLAIN_WAIT_FOR((scene_settle(&u.s), scene_count(&u.s, id[k]) == 0));
	tarn_object_unref(it);
	tarn_object_unref(l);
	user_close(&u);
}

/* ---- sizes ---- */

PLAIN_TEST_TIMEOUT(t16_a_million_elements_are_found_by_index_copied_and_sorted, 300)
{
	struct user u = user_open();
	enum { N = 1000000, PAGE = 10000 };
	tarn_object *l = list_of(&u, 0), *copy, *it;
	uint64_t n, random = 5;
	tarn_parcel p;
	int64_t x;

	for (int k = 0; k < N; k += PAGE) {
		tarn_builder b;

		tarn_builder_init(&b);
		tarn_list_begin(&b);
		for (int i = 0; i < PAGE; i++)
			tarn_put_int(&b, (int64_t)(k + i) * 7919 % N);
		tarn_list_end(&b);
		OK(tarn_call(l, "extend", &b, NULL, TARN_FOREVER));
		tarn_builder_fini(&b);
	}
	OK(tarn_list_len(l, &n));
	PLAIN_EQ(n, N);
	for (int k = 0; k < 10000; k++) {
		uint64_t at = scene_random(&random) % N;

		OK(tarn_list_getf(l, (int64_t)at, "q", &x));
		PLAIN_EQ(x, (int64_t)at * 7919 % N);
	}
	OK(tarn_list_copy(l, &copy));
	OK(tarn_list_sort(copy, false));
	OK(tarn_list_insertf(copy, N / 2, "i", -1));
	OK(tarn_list_getf(copy, N / 2 + 1, "q", &x));
	PLAIN_EQ(x, N / 2);
	OK(tarn_list_getf(l, 1, "q", &x));
	PLAIN_EQ(x, 7919);
	OK(tarn_list_indexf(l, &n, "i", 7919));
	PLAIN_EQ(n, 1);
	OK(tarn_list_iter(copy, &it));
	for (uint64_t k = 0; k <= N; k += n) {
		OK(tarn_iter_next_n(it, 5000, &p));
		n = tarn_value_count(tarn_parcel_at(&p, 0));
		PLAIN_CHECK(n > 0);
		tarn_parcel_fini(&p);
	}
	FAILS(tarn_iter_next(it, &p), TARN_EOF);
	tarn_object_unref(it);
	tarn_object_unref(copy);
	tarn_object_unref(l);
	user_close(&u);
}

PLAIN_MAIN()
