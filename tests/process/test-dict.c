/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn.Dict, tarn.Namespace and tarn.Iterator (T2, T5, V10): what CPython's tests of managed dicts and
 * namespaces ask, in C, and the rest of the methods; nested ones (N).
 */
#include <unistd.h>

#include "tests/common/containers.h"
#include "tarn/type.h"

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

static tarn_object *dict_new(struct user *u)
{
	tarn_object *d;

	OK(tarn_dict_new(u->c, &d));
	return d;
}

/* ---- CPython: test_dict, test_dict_iter, test_dict_proxy_nested ---- */

PLAIN_TEST(t2_dicts_do_what_pythons_tests_of_managed_dicts_ask)
{
	struct user u = user_open();
	tarn_object *d = dict_new(&u), *it;
	tarn_parcel p;
	char text[32];
	int key, n = 0;

	for (int k = 65; k < 70; k++) {
		const char letter[2] = { (char)k, 0 };

		OK(tarn_dict_setf(d, "is", k, letter));
	}
	DICT_IS(d, "[[65, \"A\"], [66, \"B\"], [67, \"C\"], [68, \"D\"], [69, \"E\"]]");
	OK(tarn_dict_keys(d, &p));
	text_is(__LINE__, &p, "[65, 66, 67, 68, 69]");
	OK(tarn_dict_values(d, &p));
	text_is(__LINE__, &p, "[\"A\", \"B\", \"C\", \"D\", \"E\"]");
	OK(tarn_dict_iter(d, TARN_ITERATE_KEYS, &it));
	for (int k = 65; tarn_iter_nextf(it, "i", &key) == 0; k++, n++) {
		PLAIN_EQ(key, k);
		OK(tarn_dict_get(d, key, &p));
		snprintf(text, sizeof text, "\"%c\"", key);
		text_is(__LINE__, &p, text);
	}
	PLAIN_EQ(n, 5);
	tarn_object_unref(it);
	tarn_object_unref(d);
	user_close(&u);
}

/* pets = {'ferrets': ..., 'hamsters': ...}; d = {'pets': pets} */
PLAIN_TEST(n5_dicts_in_dicts_are_what_pythons_test_says)
{
	struct user u = user_open();
	tarn_object *pets = dict_new(&u), *d = dict_new(&u), *got, *l;
	int n;

	OK(tarn_dict_setf(pets, "si", "ferrets", 2));
	OK(tarn_dict_setf(pets, "si", "hamsters", 4));
	OK(tarn_dict_setf(d, "sO", "pets", pets));
	OK(tarn_dict_get_object(d, "pets", &got));
	PLAIN_CHECK(tarn_object_same(pets, got));
	OK(tarn_dict_setf(got, "si", "blanket", 1));
	OK(tarn_dict_getf(pets, "blanket", "i", &n));
	PLAIN_EQ(n, 1);
	tarn_object_unref(got);
	tarn_object_unref(pets);
	OK(tarn_dict_get_object(d, "pets", &got));
	OK(tarn_dict_getf(got, "ferrets", "i", &n));
	PLAIN_EQ(n, 2);
	OK(tarn_dict_del(d, "pets"));
	OK(tarn_dict_getf(got, "hamsters", "i", &n));
	PLAIN_EQ(n, 4);
	OK(tarn_list_newf(u.c, &l, "[OO]", got, d));
	OK(tarn_dict_setf(d, "sO", "list", l)); /* d in l in d */
	tarn_object_unref(l);
	tarn_object_unref(got);
	tarn_object_unref(d);
	user_close(&u);
}

/* ---- the other methods ---- */

PLAIN_TEST(t2_each_method_does_what_pythons_does)
{
	struct user u = user_open();
	tarn_object *d = dict_new(&u), *copy, *other, *both;
	tarn_builder b;
	tarn_parcel p;
	bool found;

	OK(tarn_dict_updatef(d, "{s:i s:i s:i}", "a", 1, "b", 2, "a long key indeed", 3));
	OK(tarn_dict_setf(d, "si", "a", 10));
	DICT_IS(d, "[[\"a\", 10], [\"b\", 2], [\"a long key indeed\", 3]]");
	OK(tarn_dict_contains(d, "a long key indeed", &found));
	PLAIN_CHECK(found);
	OK(tarn_dict_contains(d, "a long key inside", &found));
	PLAIN_CHECK(!found);
	PLAIN_EQ(tarn_dict_find(d, "b", &p), 1);
	text_is(__LINE__, &p, "2");
	PLAIN_EQ(tarn_dict_find(d, "c", &p), 0);
	OK(tarn_dict_setdefault(d, "c", NULL, &p));
	text_is(__LINE__, &p, "nil");
	tarn_builder_init(&b);
	tarn_put_string(&b, "another default");
	OK(tarn_dict_setdefault(d, "d", &b, &p));
	text_is(__LINE__, &p, "\"another default\"");
	OK(tarn_dict_setdefault(d, "b", &b, &p));
	text_is(__LINE__, &p, "2");
	OK(tarn_dict_copy(d, &copy));
	OK(tarn_dict_pop(d, "a", &p));
	text_is(__LINE__, &p, "10");
	OK(tarn_dict_popitem(d, &p));
	text_is(__LINE__, &p, "\"d\", \"another default\"");
	OK(tarn_dict_set(d, "a", &b));
	tarn_builder_fini(&b);
	DICT_IS(d, "[[\"b\", 2], [\"a long key indeed\", 3], [\"c\", nil], [\"a\", \"another default\"]]");
	DICT_IS(copy, "[[\"a\", 10], [\"b\", 2], [\"a long key indeed\", 3], [\"c\", nil], "
		      "[\"d\", \"another default\"]]");
	OK(tarn_dict_newf(u.c, &other, "[[ii][si]]", 1, 1, "b", 20));
	OK(tarn_dict_merged(d, other, &both));
	OK(tarn_dict_update_from(other, d));
	DICT_IS(both, "[[\"b\", 20], [\"a long key indeed\", 3], [\"c\", nil], "
		      "[\"a\", \"another default\"], [1, 1]]");
	DICT_IS(other, "[[1, 1], [\"b\", 2], [\"a long key indeed\", 3], [\"c\", nil], "
		       "[\"a\", \"another default\"]]");
	OK(tarn_dict_clear(d));
	DICT_IS(d, "[]");
	tarn_object *keys, *made;
	OK(tarn_list_newf(u.c, &keys, "[sis]", "x", 5, "x"));
	OK(tarn_dict_fromkeys(keys, NULL, &made));
	DICT_IS(made, "[[\"x\", nil], [5, nil]]");
	tarn_object *all[] = { d, copy, other, both, keys, made };
	for (unsigned k = 0; k < 6; k++)
		tarn_object_unref(all[k]);
	user_close(&u);
}

PLAIN_TEST(t2_equal_numbers_are_one_key_and_kinds_of_text_are_not)
{
	struct user u = user_open();
	tarn_object *d = dict_new(&u);
	tarn_parcel p;
	int i;

	OK(tarn_dict_setf(d, "is", 1, "int"));
	OK(tarn_dict_setf(d, "ds", 1.0, "double"));
	OK(tarn_dict_setf(d, "Is", 1u, "uint"));
	OK(tarn_dict_setf(d, "bs", 1, "bool"));
	OK(tarn_dict_setf(d, "ss", "1", "string"));
	OK(tarn_dict_setf(d, "ys", "1", (size_t)1, "bytes"));
	OK(tarn_dict_setf(d, "ns", "nil"));
	OK(tarn_dict_setf(d, "ds", 1.5, "half"));
	OK(tarn_dict_setf(d, "Ss", "long with \0 inside", (size_t)18, "0"));
	DICT_IS(d, "[[1, \"uint\"], [true, \"bool\"], [\"1\", \"string\"], [b\"1\", \"bytes\"], "
		   "[nil, \"nil\"], [1.5, \"half\"], [\"long with \\x00 inside\", \"0\"]]");
	OK(tarn_dict_get(d, tarn_key_bool(true), &p));
	text_is(__LINE__, &p, "\"bool\"");
	OK(tarn_dict_get(d, 1.0f, &p));
	text_is(__LINE__, &p, "\"uint\"");
	OK(tarn_dict_get(d, tarn_key_nil(), &p));
	text_is(__LINE__, &p, "\"nil\"");
	OK(tarn_dict_get(d, tarn_key_data(TARN_KIND_BYTES, "1", 1), &p));
	text_is(__LINE__, &p, "\"bytes\"");
	for (i = 0; i < 1000; i++)
		OK(tarn_dict_setf(d, "qi", (int64_t)i << 40, i));
	for (i = 0; i < 1000; i++) {
		int found;

		OK(tarn_dict_getf(d, (double)((int64_t)i << 40), "i", &found));
		PLAIN_EQ(found, i);
	}
	tarn_object_unref(d);
	user_close(&u);
}

PLAIN_TEST(t2_errors_are_pythons_and_change_nothing)
{
	struct user u = user_open();
	tarn_object *d = dict_new(&u), *it;
	tarn_parcel p;

	THROWS(tarn_dict_popitem(d, &p), "KeyError", "popitem(): dictionary is empty");
	OK(tarn_dict_setf(d, "si", "a", 1));
	THROWS(tarn_dict_get(d, "b", &p), "KeyError", "\"b\"");
	THROWS(tarn_dict_get(d, 5, &p), "LookupError", "5");
	THROWS(tarn_dict_del(d, "b"), "KeyError", "\"b\"");
	THROWS(tarn_dict_pop(d, "b", &p), "KeyError", "\"b\"");
	THROWS(tarn_dict_setf(d, "[i]i", 1, 1), "TypeError", "unhashable type: 'list'");
	THROWS(tarn_dict_setf(d, "Oi", d, 1), "TypeError", "unhashable type: 'object'");
	THROWS(tarn_dict_updatef(d, "i", 5), "TypeError", "'int' object is not a mapping");
	THROWS(tarn_dict_updatef(d, "[[si][i]]", "new", 1, 5), "ValueError",
	       "dictionary update sequence element #1 is no list of 2");
	FAILS(tarn_dict_setf(d, "s", "a"), EINVAL);
	FAILS(tarn_list_appendf(d, "i", 1), TARN_EKIND);
	THROWS(tarn_callf(d, "iter", TARN_FOREVER, "s", "", "wrong"), "ValueError",
	       "keys, values or items, not wrong");
	FAILS(tarn_dict_iter(d, (enum tarn_iterate)7, &it), EINVAL);
	DICT_IS(d, "[[\"a\", 1]]");
	tarn_object_unref(d);
	user_close(&u);
}

PLAIN_TEST(n5_dicts_that_contain_themselves_and_each_other_are_collected)
{
	struct user u = user_open();
	static tarn_object *d[10];
	uint64_t id[10];

	for (int n = 1; n <= 10; n = n == 1 ? 2 : n + 8) {
		for (int k = 0; k < n; k++) {
			d[k] = dict_new(&u);
			id[k] = tarn_object_id(d[k]);
		}
		for (int k = 0; k < n; k++)
			OK(tarn_dict_setf(d[k], "sO", "next", d[(k + 1) % n]));
		scene_check(&u.s);
		for (int k = 0; k < n; k++)
			tarn_object_unref(d[k]);
		for (int k = 0; k < n; k++)
			PLAIN_WAIT_FOR(scene_count(&u.s, id[k]) == 0);
	}
	user_close(&u);
}

/* Two ways to one leaf. */
PLAIN_TEST(n5_a_diamond_lives_until_both_ways_are_gone)
{
	struct user u = user_open();
	tarn_object *top = dict_new(&u), *left = dict_new(&u), *right, *leaf = dict_new(&u), *got;
	uint64_t id = tarn_object_id(leaf);
	int n;

	OK(tarn_list_newf(u.c, &right, "[O]", leaf));
	OK(tarn_dict_setf(left, "sO", "leaf", leaf));
	OK(tarn_dict_setf(top, "sO", "left", left));
	OK(tarn_dict_setf(top, "sO", "right", right));
	OK(tarn_dict_setf(leaf, "si", "n", 1));
	tarn_object_unref(leaf);
	tarn_object_unref(left);
	tarn_object_unref(right);
	OK(tarn_dict_del(top, "left"));
	scene_settle(&u.s);
	OK(tarn_dict_get_object(top, "right", &right));
	OK(tarn_list_get_object(right, 0, &got));
	OK(tarn_dict_getf(got, "n", "i", &n));
	PLAIN_EQ(n, 1);
	tarn_object_unref(got);
	OK(tarn_list_pop(right, 0, NULL));
	PLAIN_WAIT_FOR((scene_settle(&u.s), scene_count(&u.s, id) == 0));
	tarn_object_unref(right);
	tarn_object_unref(top);
	user_close(&u);
}

PLAIN_TEST_TIMEOUT(t2_what_is_iterated_over_is_a_snapshot_while_others_write, 120)
{
	struct user u = user_open();
	enum { N = 5000 };
	tarn_object *d = dict_new(&u), *it;
	tarn_token token;
	tarn_parcel p;
	uint64_t n;

	for (int k = 0; k < N; k++)
		OK(tarn_dict_setf(d, "ii", k, k));
	OK(tarn_object_export(d, NULL, &token));
	uint32_t *step = scene_shared(sizeof *step);
	pid_t pid = plain_fork();
	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		uint64_t random = 3;
		tarn_object *o;

		OK(tarn_object_import(c, &token, &o));
		for (;; scene_say(step, 1)) {
			int k = (int)(scene_random(&random) % N);

			if (scene_random(&random) % 2 != 0)
				OK(tarn_dict_setf(o, "ii", k, -1));
			else if (tarn_dict_del(o, k) < 0)
				OK(tarn_dict_setf(o, "is", k, "a string that is longer"));
		}
	}
	/* Old entries, or none at all: what the snapshot has does not change on the way. */
	OK(tarn_dict_iter(d, TARN_ITERATE_ITEMS, &it));
	scene_await(step, 1);
	uint64_t seen = 0, before;
	OK(tarn_callf(it, "left", TARN_FOREVER, "", "Q", &before));
	for (; tarn_iter_next_n(it, 100, &p) == 0; seen += n) {
		n = tarn_value_count(tarn_parcel_at(&p, 0));
		tarn_parcel_fini(&p);
	}
	PLAIN_EQ(seen, before);
	plain_kill(pid);
	tarn_object_unref(it);
	tarn_object_unref(d);
	user_close(&u);
}

/* ---- namespaces ---- */

PLAIN_TEST(t5_a_namespace_has_attributes_and_shows_them_sorted)
{
	struct user u = user_open();
	tarn_object *ns, *l;
	tarn_parcel p;
	char text[200];
	int x;

	OK(tarn_ns_new(u.c, &ns));
	OK(tarn_ns_setf(ns, "name", "s", "Bob"));
	OK(tarn_ns_setf(ns, "job", "s", "Builder"));
	PLAIN_CHECK(tarn_ns_format(ns, text, sizeof text) > 0);
	PLAIN_CHECKF(strcmp(text, "Namespace(job=\"Builder\", name=\"Bob\")") == 0, "%s", text);
	OK(tarn_ns_del(ns, "job"));
	FAILS(tarn_ns_get(ns, "job", &p), ENOENT);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "'Namespace' object has no attribute 'job'"));
	FAILS(tarn_ns_del(ns, "job"), ENOENT);
	FAILS(tarn_ns_setf(ns, "_local", "i", 1), EINVAL);
	OK(tarn_ns_setf(ns, "x", "i", 7));
	OK(tarn_ns_getf(ns, "x", "i", &x));
	PLAIN_EQ(x, 7);
	OK(tarn_list_newf(u.c, &l, "[i]", 1));
	OK(tarn_ns_setf(ns, "list", "O", l));
	tarn_object_unref(l);
	OK(tarn_ns_get_object(ns, "list", &l));
	LIST_IS(l, "[1]");
	tarn_object_unref(l);
	tarn_object_unref(ns);
	OK(tarn_ns_newf(u.c, &ns, "{s:i s:d}", "b", 1, "a", 2.5));
	tarn_ns_format(ns, text, sizeof text);
	PLAIN_CHECKF(strcmp(text, "Namespace(a=2.5, b=1)") == 0, "%s", text);
	tarn_object_unref(ns);
	user_close(&u);
}

/* ---- iterators ---- */

PLAIN_TEST_TIMEOUT(v10_an_iterator_gives_a_million_items_in_batches_and_is_freed_midway, 300)
{
	struct user u = user_open();
	enum { N = 1000000, PAGE = 1000 };
	tarn_object *d = dict_new(&u), *it, *values;
	tarn_parcel p;
	uint64_t n;
	int64_t k, v;

	for (int at = 0; at < N; at += PAGE) {
		tarn_builder b;

		tarn_builder_init(&b);
		tarn_list_begin(&b);
		for (int i = at; i < at + PAGE; i++)
			tarn_put(&b, "[ii]", i, -i);
		tarn_list_end(&b);
		OK(tarn_dict_update(d, &b));
		tarn_builder_fini(&b);
	}
	OK(tarn_dict_len(d, &n));
	PLAIN_EQ(n, N);
	OK(tarn_dict_iter(d, TARN_ITERATE_ITEMS, &it));
	OK(tarn_iter_nextf(it, "qq", &k, &v));
	PLAIN_EQ(k, 0);
	for (int64_t at = 1; at < N; at += (int64_t)n) {
		OK(tarn_iter_next_n(it, PAGE, &p));
		n = tarn_value_count(tarn_parcel_at(&p, 0));
		tarn_value first = tarn_value_at(tarn_parcel_at(&p, 0), 0);
		OK(tarn_value_int(tarn_value_at(first, 0), &k));
		OK(tarn_value_int(tarn_value_at(first, 1), &v));
		PLAIN_EQ(k, at);
		PLAIN_EQ(v, -at);
		tarn_parcel_fini(&p);
	}
	FAILS(tarn_iter_next(it, &p), TARN_EOF);
	OK(tarn_dict_iter(d, TARN_ITERATE_VALUES, &values));
	OK(tarn_iter_nextf(values, "q", &v));
	OK(tarn_iter_nextf(values, "q", &v));
	PLAIN_EQ(v, -1);
	tarn_object_unref(values);
	tarn_object_unref(it);
	tarn_object_unref(d);
	user_close(&u);
}

/* ---- methods of one's own ---- */

/* Its results are containers that it makes, inline and on an executor. */
static int make_all(tarn_context *ctx, void *self)
{
	tarn_object *list, *dict, *ns, *it;
	tarn_builder b, map;
	int r;

	(void)self;
	tarn_builder_init(&b);
	tarn_builder_init(&map);
	tarn_put(&b, "[is]", 1, "a string that is long");
	tarn_put(&map, "{s:i}", "x", 5);
	r = tarn_managed_list(ctx, &b, &list);
	if (r == 0)
		r = tarn_managed_dict(ctx, &map, &dict);
	if (r == 0)
		r = tarn_managed_namespace(ctx, &map, &ns);
	if (r == 0)
		r = tarn_managed_iterator(ctx, &b, &it);
	if (r == 0)
		r = tarn_put(tarn_context_result(ctx), "OO{s:O}[O]", list, dict, "ns", ns, it);
	tarn_builder_fini(&b);
	tarn_builder_fini(&map);
	return r;
}
/* Makes a list and then fails. */
static int make_and_fail(tarn_context *ctx, void *self)
{
	int r = make_all(ctx, self);

	return r < 0 ? r : tarn_throw(ctx, "RuntimeError", "too late");
}
static const tarn_method methods[] = {
	{ "make", make_all, TARN_METHOD_INLINE, "", NULL, NULL },
	{ "make_slowly", make_all, 0, "", NULL, NULL },
	{ "fail", make_and_fail, TARN_METHOD_INLINE, "", NULL, NULL },
	{ "fail_slowly", make_and_fail, 0, "", NULL, NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
const tarn_type contents_maker = { .name = "Maker", .flags = TARN_TYPE_INLINE, .methods = methods };
TARN_TYPE_REGISTER(contents_maker)

PLAIN_TEST(v5_methods_make_containers_and_give_them)
{
	static const char *const method[] = { "make", "make_slowly" };
	struct user u = user_open();
	tarn_object *maker, *o;
	tarn_parcel p, q;
	int x;

	OK(tarn_object_new(u.c, "Maker", NULL, &maker));
	for (unsigned k = 0; k < 2; k++) {
		OK(tarn_call(maker, method[k], NULL, &p, TARN_FOREVER));
		OK(tarn_value_object(tarn_parcel_at(&p, 0), &o));
		LIST_IS(o, "[1, \"a string that is long\"]");
		OK(tarn_value_object(tarn_parcel_at(&p, 1), &o));
		OK(tarn_dict_getf(o, "x", "i", &x));
		PLAIN_EQ(x, 5);
		OK(tarn_value_object(tarn_value_get(tarn_parcel_at(&p, 2), "ns"), &o));
		OK(tarn_ns_getf(o, "x", "i", &x));
		OK(tarn_value_object(tarn_value_at(tarn_parcel_at(&p, 3), 0), &o));
		OK(tarn_iter_nextf(o, "i", &x));
		PLAIN_EQ(x, 1);
		OK(tarn_iter_next(o, &q));
		text_is(__LINE__, &q, "\"a string that is long\"");
		FAILS(tarn_iter_next(o, &q), TARN_EOF);
		tarn_parcel_fini(&p);
	}
	THROWS(tarn_call(maker, "fail", NULL, NULL, TARN_FOREVER), "RuntimeError", "too late");
	THROWS(tarn_call(maker, "fail_slowly", NULL, NULL, TARN_FOREVER), "RuntimeError", "too late");
	tarn_object_unref(maker);
	user_close(&u);
}

/* ---- N3: plain values that become containers where they are ---- */

PLAIN_TEST(n3_a_change_of_a_nested_plain_value_is_seen_by_another_process)
{
	struct user u = user_open();
	tarn_object *d, *a, *again;
	pid_t pid;
	int b;

	OK(tarn_dict_newf(u.c, &d, "{s{s:i}s[ii]}", "a", "b", 0, "l", 1, 2));
	OK(tarn_object_publish(d, "d", 0));
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_object *mine, *inner;

		OK(tarn_object_lookup(c, "d", TARN_FOREVER, &mine));
		OK(tarn_dict_get_ref(mine, "a", &inner)); /* d["a"]["b"] = 1 */
		OK(tarn_dict_setf(inner, "si", "b", 1));
		tarn_object_unref(inner);
		OK(tarn_dict_get_ref(mine, "l", &inner));
		OK(tarn_list_appendf(inner, "i", 3));
		tarn_object_unref(inner);
		tarn_object_unref(mine);
		tarn_client_close(c);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	OK(tarn_dict_get_ref(d, "a", &a));
	OK(tarn_dict_getf(a, "b", "i", &b));
	PLAIN_EQ(b, 1);
	OK(tarn_dict_get_object(d, "a", &again)); /* it is an object now, and the same */
	PLAIN_CHECK(tarn_object_same(a, again));
	tarn_object_unref(again);
	tarn_object_unref(a);
	OK(tarn_dict_get_object(d, "l", &a));
	LIST_IS(a, "[1, 2, 3]");
	tarn_object_unref(a);
	tarn_object_unref(d);
	user_close(&u);
}

PLAIN_TEST(n3_values_become_containers_at_any_depth_and_in_all_of_them)
{
	struct user u = user_open();
	tarn_object *d, *copy, *l, *in, *deep, *ns;
	tarn_parcel p;

	OK(tarn_dict_newf(u.c, &d, "{i[{s[i]}i]}", 7, "x", 1, 2));
	OK(tarn_dict_copy(d, &copy));
	OK(tarn_dict_get_ref(d, 7, &l));
	OK(tarn_list_get_ref(l, 0, &in));
	OK(tarn_dict_get_ref(in, "x", &deep));
	OK(tarn_list_setf(deep, 0, "s", "changed"));
	LIST_IS(deep, "[\"changed\"]");
	tarn_object_unref(deep);
	OK(tarn_list_get_ref(l, -2, &deep));
	PLAIN_CHECK(tarn_object_same(in, deep));
	tarn_object_unref(deep);
	tarn_object_unref(in);
	/* What is no container stays what it is. */
	THROWS(tarn_list_get_ref(l, 1, &in), "TypeError", "'int' object is no container");
	THROWS(tarn_list_get_ref(l, 2, &in), "IndexError", "list index out of range");
	THROWS(tarn_dict_get_ref(d, 8, &in), "KeyError", "8");
	OK(tarn_list_get(l, 1, &p));
	text_is(__LINE__, &p, "2");
	tarn_object_unref(l);
	/* A copy that was made before has the value, not the container. */
	DICT_IS(copy, "[[7, [{\"x\": [1]}, 2]]]");
	tarn_object_unref(copy);
	tarn_object_unref(d);
	OK(tarn_ns_newf(u.c, &ns, "{s{}s:i}", "inner", "n", 5));
	OK(tarn_ns_get_ref(ns, "inner", &in));
	OK(tarn_dict_setf(in, "si", "k", 1));
	OK(tarn_ns_get_object(ns, "inner", &deep));
	DICT_IS(deep, "[[\"k\", 1]]");
	tarn_object_unref(deep);
	tarn_object_unref(in);
	FAILS(tarn_ns_get_ref(ns, "no", &in), ENOENT);
	FAILS(tarn_ns_get_ref(ns, "_no", &in), EINVAL);
	THROWS(tarn_ns_get_ref(ns, "n", &in), "TypeError", "'int' object is no container");
	tarn_object_unref(ns);
	user_close(&u);
}

PLAIN_TEST(n3_what_a_nested_value_refers_to_is_its_containers)
{
	struct user u = user_open();
	tarn_object *d, *l, *other = dict_new(&u);
	tarn_block *b, *got;
	tarn_builder v;
	uint64_t id, other_id = tarn_object_id(other), n;

	/* More than an inline method may hold, and larger than a message on the reactor. */
	d = dict_new(&u);
	tarn_builder_init(&v);
	tarn_list_begin(&v);
	for (int i = 0; i < 40; i++) {
		OK(tarn_block_new(u.c, 100, 0, &b));
		memset(tarn_block_data(b), i, 100);
		tarn_put_block(&v, b);
		tarn_block_unref(b);
	}
	tarn_put_object(&v, other);
	for (int i = 0; i < 2000; i++)
		tarn_put_int(&v, i);
	tarn_list_end(&v);
	OK(tarn_dict_set(d, "many", &v));
	tarn_builder_fini(&v);
	tarn_object_unref(other);
	OK(tarn_dict_get_ref(d, "many", &l));
	OK(tarn_list_len(l, &n));
	PLAIN_EQ(n, 2041);
	for (int i = 0; i < 40; i++) {
		tarn_parcel p;

		OK(tarn_list_get(l, i, &p));
		OK(tarn_value_block(tarn_parcel_at(&p, 0), &got));
		PLAIN_EQ(((unsigned char *)tarn_block_data(got))[99], i);
		id = tarn_block_id(got);
		tarn_parcel_fini(&p);
	}
	PLAIN_CHECK(scene_count(&u.s, other_id) != 0);
	/* Each is held once, by the list: it goes with that. */
	OK(tarn_list_clear(l));
	scene_settle(&u.s);
	scene_settle(&u.s);
	PLAIN_WAIT_FOR(scene_count(&u.s, other_id) == 0 && scene_count(&u.s, id) == 0);
	tarn_object_unref(l);
	tarn_object_unref(d);
	user_close(&u);
}

/* Four who ask for the same at the same time have the same, and nobody's changes are lost. */
PLAIN_TEST(n3_whoever_asks_first_makes_it_and_the_others_get_that)
{
	enum { SIDES = 4, KEYS = 60 };
	struct user u = user_open();
	tarn_object *d = dict_new(&u), *in;
	uint32_t *step = scene_shared(sizeof *step);
	pid_t pid[SIDES];
	uint64_t n;

	for (int k = 0; k < KEYS; k++)
		OK(tarn_dict_setf(d, "i[]", k));
	OK(tarn_object_publish(d, "d", 0));
	for (int i = 0; i < SIDES; i++) {
		pid[i] = plain_fork();
		if (pid[i] == 0) {
			tarn_client *c = scene_client(&u.s);
			tarn_object *mine;

			OK(tarn_object_lookup(c, "d", TARN_FOREVER, &mine));
			scene_await(step, 1);
			for (int k = 0; k < KEYS; k++) {
				OK(tarn_dict_get_ref(mine, k, &in));
				OK(tarn_list_appendf(in, "i", i));
				tarn_object_unref(in);
			}
			tarn_object_unref(mine);
			tarn_client_close(c);
			_exit(0);
		}
	}
	scene_say(step, 1);
	for (int i = 0; i < SIDES; i++)
		PLAIN_EQ(plain_reap(pid[i]), 0);
	for (int k = 0; k < KEYS; k++) {
		OK(tarn_dict_get_ref(d, k, &in));
		OK(tarn_list_len(in, &n));
		PLAIN_EQ(n, SIDES);
		tarn_object_unref(in);
	}
	tarn_object_unref(d);
	user_close(&u);
}

PLAIN_MAIN()
