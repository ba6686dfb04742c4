/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers whose server is killed: their contents, and what these refer to, are what they were; a
 * change has been made as a whole or has not been made; readers in place see whole values throughout.
 * Each successor checks its books and its containers before it serves (TARN_VERIFY).
 */
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "tests/common/arena.h"
#include "tests/common/books.h"

/* ---- servers ---- */

static void kept_start(struct arena *a, const struct arena_kind *kind)
{
	const tarn_server_options options = { .keep = true, .arena_bytes = 64u << 20 };

	setenv("TARN_VERIFY", "1", 1);
	arena_start(a, kind, &options);
}

static void kill_server(const tarn_client *c)
{
	pid_t pid = (pid_t)tarn_client_server_pid(c);

	PLAIN_EQ(kill(pid, SIGKILL), 0);
	PLAIN_WAIT_FOR((pid_t)tarn_client_server_pid(c) != pid);
}

/* ---- 1: an idle server ---- */

static void list_put_block(tarn_object *list, tarn_block *b)
{
	tarn_builder one;

	tarn_builder_init(&one);
	OK(tarn_put_block(&one, b));
	OK(tarn_list_append(list, &one));
	tarn_builder_fini(&one);
}

static void is_block(tarn_object *list, int64_t at, unsigned seed)
{
	tarn_block *b;
	tarn_parcel p;

	OK(tarn_list_get(list, at, &p));
	OK(tarn_parcel_get(&p, "B", &b));
	PLAIN_CHECK(arena_filled(b, seed));
	tarn_parcel_fini(&p);
}

ARENA_TEST(v1_contents_outlive_their_server)
{
	static const char text[] = "a string that is longer than a cell has room for";
	tarn_object *list, *dict, *ns, *inner, *got, *copy;
	struct arena a;
	tarn_parcel p;
	double half;
	int x;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL), *d;
	OK(tarn_list_newf(c, &list, "[isd[i[s]]n]", 7, text, 2.5, 1, "deep"));
	OK(tarn_dict_newf(c, &dict, "{s:d i:s}", "x", 1.5, 5, text));
	OK(tarn_ns_newf(c, &ns, "{s:i}", "y", 3));
	OK(tarn_list_newf(c, &inner, "[s]", "inside"));
	OK(tarn_dict_setf(dict, "sO", "inner", inner));
	OK(tarn_object_publish(dict, "the dict", 0));
	tarn_object_unref(inner);
	tarn_block *b = book_block(c, 9);
	list_put_block(list, b);
	tarn_block_unref(b);
	OK(tarn_list_copy(list, &copy));
	OK(tarn_list_appendf(list, "i", 8));
	for (unsigned round = 0; round < 3; round++) {
		OK(tarn_list_getf(list, 0, "i", &x));
		PLAIN_EQ(x, 7);
		OK(tarn_list_get(list, 1, &p));
		text_is(__LINE__, &p, "\"a string that is longer than a cell has room for\"");
		OK(tarn_list_get(list, 3, &p));
		text_is(__LINE__, &p, "[1, [\"deep\"]]");
		is_block(list, 5, 9);
		is_block(copy, -1, 9);
		OK(tarn_dict_get(dict, 5, &p));
		text_is(__LINE__, &p, "\"a string that is longer than a cell has room for\"");
		OK(tarn_dict_get_object(dict, "inner", &got));
		LIST_IS(got, "[\"inside\"]");
		tarn_object_unref(got);
		OK(tarn_ns_getf(ns, "y", "i", &x));
		PLAIN_EQ(x, 3 + (int)round);
		/* And they go on. */
		OK(tarn_ns_setf(ns, "y", "i", x + 1));
		OK(tarn_list_appendf(list, "s", text));
		OK(tarn_list_pop(list, -1, &p));
		text_is(__LINE__, &p, "\"a string that is longer than a cell has room for\"");
		arena_settle(c);
		arena_check(&a);
		kill_server(c);
	}
	d = arena_client(&a, NULL); /* one that maps VIEW only now */
	tarn_object_unref(dict);
	OK(tarn_object_lookup(d, "the dict", TARN_FOREVER, &got));
	OK(tarn_dict_getf(got, "x", "d", &half));
	PLAIN_CHECK(half == 1.5);
	tarn_object_unref(got);
	OK(tarn_object_unpublish(c, "the dict"));
	tarn_object_unref(list);
	tarn_object_unref(copy);
	tarn_object_unref(ns);
	tarn_client_close(d);
	tarn_client_close(c);
	arena_end(&a);
}

/* Chunks of all sizes, trees of several levels, ends of large ones. */
ARENA_TEST(v1_large_contents_outlive_their_server_and_are_freed_by_the_next)
{
	enum { N = 20000 };
	static char text[40000];
	tarn_object *list, *dict;
	struct arena a;
	tarn_parcel p;
	uint64_t n;
	int x;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	OK(tarn_list_new(c, &list));
	OK(tarn_dict_new(c, &dict));
	for (int k = 0; k < N; k += 100) {
		tarn_builder many;

		tarn_builder_init(&many);
		for (int i = k; i < k + 100; i++)
			tarn_put_int(&many, i);
		OK(tarn_list_extend(list, &many));
		tarn_builder_fini(&many);
		memset(text, 'a' + k % 26, (size_t)k * 2 < sizeof text ? (size_t)k * 2 : sizeof text - 1);
		OK(tarn_dict_setf(dict, "is", k, text));
	}
	for (unsigned round = 0; round < 2; round++) {
		kill_server(c);
		OK(tarn_list_len(list, &n));
		PLAIN_EQ(n, N);
		for (int k = 0; k < N; k += 97) {
			OK(tarn_list_getf(list, k, "i", &x));
			PLAIN_EQ(x, k);
		}
		for (int k = 0; k < N; k += 100) {
			OK(tarn_dict_get(dict, k, &p));
			const char *s;
			size_t bytes;

			OK(tarn_value_string(tarn_parcel_at(&p, 0), &s, &bytes));
			PLAIN_CHECK(bytes == 0 || s[0] == 'a' + k % 26 || bytes < sizeof text);
			PLAIN_CHECK(bytes == 0 || s[(size_t)k * 2 < sizeof text ? (size_t)k * 2 - 1 : 0] == 'a' + k % 26);
			tarn_parcel_fini(&p);
		}
	}
	OK(tarn_list_del_slice(list, 100, TARN_OMIT, TARN_OMIT));
	OK(tarn_dict_clear(dict));
	arena_settle(c);
	kill_server(c);
	OK(tarn_list_len(list, &n));
	PLAIN_EQ(n, 100);
	OK(tarn_dict_len(dict, &n));
	PLAIN_EQ(n, 0);
	tarn_object_unref(dict);
	tarn_object_unref(list);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(v1_iterators_go_on_where_they_were)
{
	tarn_object *list, *dict, *items, *keys;
	struct arena a;
	tarn_parcel p;
	int x, k;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	OK(tarn_list_newf(c, &list, "[iii]", 1, 2, 3));
	OK(tarn_dict_newf(c, &dict, "{i:i i:i}", 10, 11, 20, 21));
	OK(tarn_list_iter(list, &items));
	OK(tarn_dict_iter(dict, TARN_ITERATE_ITEMS, &keys));
	OK(tarn_iter_nextf(items, "i", &x));
	PLAIN_EQ(x, 1);
	OK(tarn_list_clear(list));
	kill_server(c);
	OK(tarn_iter_nextf(items, "i", &x));
	PLAIN_EQ(x, 2);
	OK(tarn_iter_nextf(keys, "ii", &k, &x));
	PLAIN_CHECK(k == 10 && x == 11);
	OK(tarn_dict_clear(dict));
	kill_server(c);
	OK(tarn_iter_nextf(keys, "ii", &k, &x));
	PLAIN_CHECK(k == 20 && x == 21);
	OK(tarn_iter_nextf(items, "i", &x));
	PLAIN_EQ(x, 3);
	FAILS(tarn_iter_next(items, &p), TARN_EOF);
	FAILS(tarn_iter_next(keys, &p), TARN_EOF);
	tarn_object_unref(items);
	tarn_object_unref(keys);
	tarn_object_unref(dict);
	tarn_object_unref(list);
	tarn_client_close(c);
	arena_end(&a);
}

/* What was made before the change of servers must not be taken for something that a change after it
 * made itself: stamps of changes begin anew with each process. Here the change of a number is of the
 * list that the change of that number made. */
ARENA_TEST(v1_snapshots_stay_what_they_are_when_the_next_server_writes)
{
	tarn_object *list[20], *copy[20];
	char wanted[20];
	struct arena a;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	for (int k = 0; k < 20; k++) {
		OK(tarn_list_newf(c, &list[k], "[ii]", k, 1));
		OK(tarn_list_copy(list[k], &copy[k]));
	}
	kill_server(c);
	for (int k = 0; k < 20; k++) {
		OK(tarn_list_setf(list[k], 0, "i", -1));
		OK(tarn_list_setf(list[k], 1, "i", -1));
	}
	for (int k = 0; k < 20; k++) {
		snprintf(wanted, sizeof wanted, "[%d, 1]", k);
		LIST_IS(copy[k], wanted);
		LIST_IS(list[k], "[-1, -1]");
		tarn_object_unref(copy[k]);
		tarn_object_unref(list[k]);
	}
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- 2: under load ---- */

#define WRITERS 3u
#define READERS 2u
#define KILLS 12u

struct load {
	uint32_t ready, stop, quiet, leave;
	uint64_t changes, interrupted, in_place;
};

static void write_lists(const struct arena *a, struct load *l, unsigned number)
{
	tarn_client *c = arena_client(a, NULL);
	struct book b[2] = { { .c = c, .random = 77 + number }, { .c = c, .blocks = true, .random = 99 + number } };
	uint64_t checks = 0;

	for (unsigned k = 0; k < 2; k++)
		OK(tarn_list_new(c, &b[k].list));
	__atomic_add_fetch(&l->ready, 1, __ATOMIC_ACQ_REL);
	for (; !__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE); checks++)
		for (unsigned k = 0; k < 2; k++) {
			book_change_any(&b[k]);
			PLAIN_CHECK(checks % 32 != 0 || book_is_right(&b[k]));
		}
	for (unsigned k = 0; k < 2; k++) {
		PLAIN_CHECK(book_is_right(&b[k]));
	}
	arena_settle(c);
	__atomic_add_fetch(&l->quiet, 1, __ATOMIC_ACQ_REL);
	arena_await(&l->leave, 1);
	for (unsigned k = 0; k < 2; k++) {
		tarn_object_unref(b[k].list);
		__atomic_add_fetch(&l->changes, b[k].changes, __ATOMIC_RELAXED);
	}
	__atomic_add_fetch(&l->interrupted, book_interrupted, __ATOMIC_RELAXED);
	tarn_client_close(c);
	_exit(0);
}

/* A dict whose values are of one letter each, and lists of a number and its negative. */
#define KEYS 64

static void write_dict(const struct arena *a, struct load *l)
{
	tarn_client *c = arena_client(a, NULL);
	uint64_t random = 5;
	tarn_object *dict;
	char text[400];

	OK(tarn_dict_new(c, &dict));
	OK(tarn_object_publish(dict, "letters", 0));
	__atomic_add_fetch(&l->ready, 1, __ATOMIC_ACQ_REL);
	while (!__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE)) {
		uint64_t roll = scene_random(&random);
		int key = (int)(roll % KEYS);

		memset(text, 'a' + (int)(roll >> 8) % 26, sizeof text);
		text[20 + (roll >> 16) % 370] = '\0';
		switch (roll >> 32 & 7) {
		case 0:
			tarn_dict_del(dict, key); /* it may not be there */
			break;
		case 1:
			book_went(tarn_dict_updatef(dict, "{i:s i:s i:[ii]}", key, text, (key + 1) % KEYS, text,
					       1000 + key, key, -key));
			break;
		case 2:
			if (roll >> 40 & 7)
				break;
			book_went(tarn_dict_clear(dict));
			break;
		default:
			book_went(tarn_dict_setf(dict, "is", key, text));
		}
	}
	tarn_object_unref(dict);
	OK(tarn_object_unpublish(c, "letters"));
	tarn_client_close(c);
	_exit(0);
}

static void look_at(tarn_parcel *p, int key)
{
	const char *text;
	size_t bytes;
	int x, y;

	if (key >= 1000) {
		OK(tarn_parcel_get(p, "[ii]", &x, &y));
		PLAIN_CHECK(x == key - 1000 && y == -x);
	} else {
		OK(tarn_value_string(tarn_parcel_at(p, 0), &text, &bytes));
		PLAIN_CHECK(bytes >= 20 && bytes < 400);
		for (size_t k = 1; k < bytes; k++)
			PLAIN_CHECKF(text[k] == text[0], "a torn value: %s", text);
	}
	tarn_parcel_fini(p);
}

static void read_dict(const struct arena *a, struct load *l, unsigned number)
{
	tarn_client *c = arena_client(a, NULL);
	uint64_t random = 31 + number, n = 0;
	tarn_object *dict;

	OK(tarn_object_lookup(c, "letters", TARN_FOREVER, &dict));
	__atomic_add_fetch(&l->ready, 1, __ATOMIC_ACQ_REL);
	for (; !__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE); n++) {
		uint64_t roll = scene_random(&random);
		int key = (int)(roll % KEYS) + (roll >> 20 & 1 ? 1000 : 0);
		tarn_parcel p;
		int r = tarn_dict_find(dict, key, &p);

		PLAIN_CHECKF(r >= 0 || r == -TARN_EINTERRUPTED, "%s", tarn_error_last()->message);
		if (r == 1)
			look_at(&p, key);
	}
	__atomic_add_fetch(&l->in_place, n, __ATOMIC_RELAXED);
	tarn_object_unref(dict);
	tarn_client_close(c);
	_exit(0);
}

static pid_t worker(const struct arena *a, struct load *l, unsigned w)
{
	pid_t pid = plain_fork();

	if (pid != 0)
		return pid;
	if (w == 0)
		write_dict(a, l);
	if (w <= READERS)
		read_dict(a, l, w);
	write_lists(a, l, w);
	return 0;
}

ARENA_TEST_TIMEOUT(v2_under_load_a_change_is_whole_or_none_and_readers_see_whole_values, 240)
{
	struct arena a;
	struct load *l = arena_shared(sizeof *l);
	pid_t pid[1 + READERS + WRITERS];
	uint64_t random = 4711;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	for (unsigned w = 0; w < 1 + READERS + WRITERS; w++)
		pid[w] = worker(&a, l, w);
	arena_await(&l->ready, 1 + READERS + WRITERS);
	for (unsigned k = 0; k < KILLS; k++) {
		const struct timespec pause = { .tv_nsec = 60000000 + (long)(scene_random(&random) % 100000000) };

		nanosleep(&pause, NULL);
		kill_server(c);
	}
	arena_step(&l->stop, 1);
	/* What the lists hold is what is in them. */
	arena_await(&l->quiet, WRITERS);
	arena_check(&a);
	arena_step(&l->leave, 1);
	for (unsigned w = 0; w < 1 + READERS + WRITERS; w++)
		PLAIN_EQ(plain_reap(pid[w]), 0);
	PLAIN_CHECK(l->changes != 0 && l->in_place != 0);
	scene_note("%u kills, %llu changes, %llu calls interrupted, %llu values read", KILLS,
		   (unsigned long long)l->changes, (unsigned long long)l->interrupted,
		   (unsigned long long)l->in_place);
	tarn_client_close(c);
	arena_end(&a);
}

PLAIN_MAIN()
