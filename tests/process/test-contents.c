/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What containers promise when processes write at the same time, die in the middle, or lie: reading
 * in place, an arena that is scribbled over.
 */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "lib/client/client.h"
#include "shm/view.h"
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

/* Messages that the server has read: none are those of the inspector. */
static uint64_t calls(const struct user *u)
{
	return scene_stat(&u->s).messages;
}

/* ---- in place ---- */

PLAIN_TEST(t1_t2_plain_values_are_read_without_asking_the_server)
{
	struct user u = user_open();
	tarn_object *l, *d, *ns, *o;
	uint64_t before, n;
	tarn_parcel p;
	double x;
	bool found;

	OK(tarn_list_newf(u.c, &l, "[isd[i[s]]n]", 7, "a string that is not short", 2.5, 1, "deep"));
	OK(tarn_dict_newf(u.c, &d, "{s:d s:{s:i} i:s}", "x", 1.5, "map", "y", 2, 5, "five"));
	OK(tarn_ns_newf(u.c, &ns, "{s:d}", "x", 3.5));
	OK(tarn_list_len(l, &n)); /* the types are known from here on */
	OK(tarn_dict_len(d, &n));
	OK(tarn_ns_getf(ns, "x", "d", &x));
	before = calls(&u);
	for (int k = 0; k < 1000; k++) {
		OK(tarn_list_len(l, &n));
		PLAIN_EQ(n, 5);
		OK(tarn_list_get(l, -4, &p));
		text_is(__LINE__, &p, "\"a string that is not short\"");
		OK(tarn_list_get(l, 3, &p));
		text_is(__LINE__, &p, "[1, [\"deep\"]]");
		OK(tarn_list_get(l, 4, &p));
		text_is(__LINE__, &p, "nil");
		OK(tarn_dict_getf(d, "x", "d", &x));
		PLAIN_CHECK(x == 1.5);
		OK(tarn_dict_get(d, "map", &p));
		text_is(__LINE__, &p, "{\"y\": 2}");
		PLAIN_EQ(tarn_dict_find(d, 5, &p), 1);
		text_is(__LINE__, &p, "\"five\"");
		PLAIN_EQ(tarn_dict_find(d, "z", &p), 0);
		OK(tarn_dict_contains(d, "map", &found));
		PLAIN_CHECK(found);
		OK(tarn_ns_getf(ns, "x", "d", &x));
		PLAIN_CHECK(x == 3.5);
	}
	PLAIN_EQ(calls(&u) - before, 0);
	/* What one has written is there. */
	for (int k = 0; k < 1000; k++) {
		int got;

		OK(tarn_list_setf(l, 0, "i", k));
		OK(tarn_list_getf(l, 0, "i", &got));
		PLAIN_EQ(got, k);
	}
	/* References ask. */
	OK(tarn_list_appendf(l, "O", d));
	OK(tarn_list_get_object(l, -1, &o));
	PLAIN_CHECK(tarn_object_same(o, d));
	tarn_object_unref(o);
	pid_t pid = plain_fork();
	if (pid == 0) {
		FAILS(tarn_list_get(l, 0, &p), TARN_EFORKED);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	tarn_object_unref(l);
	tarn_object_unref(d);
	tarn_object_unref(ns);
	user_close(&u);
}

/* Values that say of themselves whether they are whole. */
static void write_whole(tarn_object *d, tarn_object *l, uint64_t *random)
{
	int v = (int)(scene_random(random) % 26), n = (int)(scene_random(random) % 120);
	char text[200];
	tarn_builder b;

	memset(text, 'a' + v, sizeof text);
	tarn_builder_init(&b);
	switch (scene_random(random) % 4) {
	case 0:
		tarn_put_string_n(&b, text, (size_t)n);
		break;
	case 1:
		tarn_list_begin(&b);
		for (int k = 0; k < n; k++)
			tarn_put_int(&b, v);
		tarn_list_end(&b);
		break;
	default:
		tarn_put_int(&b, v);
	}
	OK(tarn_dict_set(d, v % 7, &b));
	if (scene_random(random) % 3 == 0)
		OK(tarn_list_insert(l, v, &b));
	else
		tarn_list_pop(l, v, NULL);
	tarn_builder_fini(&b);
}

static void check_whole(tarn_parcel *p)
{
	tarn_value v = tarn_parcel_at(p, 0);
	const char *text;
	size_t bytes;
	int64_t first, x;

	switch (tarn_value_kind(v)) {
	case TARN_KIND_STRING:
		OK(tarn_value_string(v, &text, &bytes));
		for (size_t k = 1; k < bytes; k++)
			PLAIN_EQ(text[k], text[0]);
		PLAIN_EQ(text[bytes], 0);
		break;
	case TARN_KIND_LIST:
		for (size_t k = 0; k < tarn_value_count(v); k++) {
			OK(tarn_value_int(tarn_value_at(v, k), &x));
			first = k == 0 ? x : first;
			PLAIN_EQ(x, first);
		}
		break;
	default:
		OK(tarn_value_int(v, &x));
	}
	OK(tarn_parcel_check(p));
	tarn_parcel_fini(p);
}

PLAIN_TEST_TIMEOUT(t2_readers_in_place_see_whole_values_while_others_write, 300)
{
	enum { READERS = 2, READS = 200000 };
	struct user u = user_open();
	tarn_object *d, *l;
	pid_t writer[2], reader[READERS];
	uint32_t *step = scene_shared(sizeof *step);

	OK(tarn_dict_new(u.c, &d));
	OK(tarn_list_new(u.c, &l));
	OK(tarn_object_publish(d, "dict", 0));
	OK(tarn_object_publish(l, "list", 0));
	for (int k = 0; k < 2; k++) {
		writer[k] = plain_fork();
		if (writer[k] != 0)
			continue;
		tarn_client *c = scene_client(&u.s);
		tarn_object *dict, *list;
		uint64_t random = 100 + (uint64_t)k;

		OK(tarn_object_lookup(c, "dict", 0, &dict));
		OK(tarn_object_lookup(c, "list", 0, &list));
		while (tarn__load32_relaxed(step) == 0)
			write_whole(dict, list, &random);
		_exit(0);
	}
	for (int k = 0; k < READERS; k++) {
		reader[k] = plain_fork();
		if (reader[k] != 0)
			continue;
		tarn_client *c = scene_client(&u.s);
		tarn_object *dict, *list;
		tarn_parcel p;

		OK(tarn_object_lookup(c, "dict", 0, &dict));
		OK(tarn_object_lookup(c, "list", 0, &list));
		for (int i = 0; i < READS; i++) {
			if (tarn_dict_find(dict, i % 8, &p) == 1)
				check_whole(&p);
			if (tarn_list_get(list, i % 20, &p) == 0)
				check_whole(&p);
		}
		_exit(0);
	}
	for (int k = 0; k < READERS; k++)
		PLAIN_EQ(plain_reap(reader[k]), 0);
	tarn__store32_relaxed(step, 1);
	for (int k = 0; k < 2; k++)
		PLAIN_EQ(plain_reap(writer[k]), 0);
	OK(tarn_object_unpublish(u.c, "dict"));
	OK(tarn_object_unpublish(u.c, "list"));
	tarn_object_unref(d);
	tarn_object_unref(l);
	user_close(&u);
}

/* Another process counts what it gets done while this one sorts and copies a million elements. */
PLAIN_TEST_TIMEOUT(t1_others_go_on_while_a_million_is_sorted_and_copied, 600)
{
	struct user u = user_open();
	enum { N = 1000000, PAGE = 10000 };
	uint32_t *done = scene_shared(sizeof *done), before;
	tarn_object *l, *other, *copy, *sum;
	uint64_t n, random = 9;

	OK(tarn_list_new(u.c, &l));
	OK(tarn_list_newf(u.c, &other, "[i]", 1));
	for (int k = 0; k < N; k += PAGE) {
		tarn_builder b;

		tarn_builder_init(&b);
		tarn_list_begin(&b);
		for (int i = 0; i < PAGE; i++)
			tarn_put_int(&b, (int64_t)(scene_random(&random) >> 2));
		tarn_list_end(&b);
		OK(tarn_call(l, "extend", &b, NULL, TARN_FOREVER));
		tarn_builder_fini(&b);
	}
	OK(tarn_object_publish(l, "sorted", 0));
	OK(tarn_object_publish(other, "other", 0));
	pid_t pid = plain_fork();
	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_object *o, *s;
		int64_t x;

		OK(tarn_object_lookup(c, "other", 0, &o));
		OK(tarn_object_lookup(c, "sorted", 0, &s));
		for (uint32_t k = 1;; k++) {
			OK(tarn_list_setf(o, 0, "I", k));
			OK(tarn_list_getf(s, k % N, "q", &x)); /* of the same list, in place */
			__atomic_store_n(done, k, __ATOMIC_RELAXED);
		}
	}
	PLAIN_WAIT_FOR(__atomic_load_n(done, __ATOMIC_RELAXED) > 0);
	before = __atomic_load_n(done, __ATOMIC_RELAXED);
	OK(tarn_list_sort(l, false));
	uint32_t meanwhile = __atomic_load_n(done, __ATOMIC_RELAXED) - before;
	scene_note("%u calls of another process during the sort", meanwhile);
	PLAIN_CHECK(meanwhile > 0);
	OK(tarn_list_copy(l, &copy));
	before = __atomic_load_n(done, __ATOMIC_RELAXED);
	OK(tarn_list_concat(l, copy, &sum));
	PLAIN_CHECK(__atomic_load_n(done, __ATOMIC_RELAXED) > before);
	OK(tarn_list_len(sum, &n));
	PLAIN_EQ(n, 2 * N);
	OK(tarn_list_extend_from(sum, sum));
	OK(tarn_list_len(sum, &n));
	PLAIN_EQ(n, 4 * N);
	plain_kill(pid);
	OK(tarn_object_unpublish(u.c, "sorted"));
	OK(tarn_object_unpublish(u.c, "other"));
	tarn_object_unref(sum);
	tarn_object_unref(copy);
	tarn_object_unref(other);
	tarn_object_unref(l);
	user_close(&u);
}

PLAIN_TEST(t1_t2_contents_are_shown_to_people)
{
	struct user u = user_open();
	tarn_object *l, *d;
	tarn_object_row *row;
	char text[400];
	size_t n, at = 0;

	OK(tarn_list_newf(u.c, &l, "[is[i]n]", 1, "two", 3));
	OK(tarn_dict_newf(u.c, &d, "{s:d}", "x", 1.5));
	PLAIN_CHECK(tarn_object_describe(l, text, sizeof text, TARN_FOREVER) > 0);
	PLAIN_CHECKF(strcmp(text, "[1, \"two\", [3], nil]") == 0, "%s", text);
	OK(tarn_dict_setf(d, "iO", 5, l));
	tarn_object_describe(d, text, sizeof text, TARN_FOREVER);
	snprintf(text + 300, 100, "{\"x\": 1.5, 5: <object %u:%llu>}", tarn__id_index(tarn_object_id(l)),
		 (unsigned long long)tarn__id_generation(tarn_object_id(l)));
	PLAIN_CHECKF(strcmp(text, text + 300) == 0, "%s", text);
	for (int k = 0; k < 100; k++)
		OK(tarn_list_appendf(l, "s", "and so on, and so on, and so on"));
	tarn_object_describe(l, text, sizeof text, TARN_FOREVER);
	PLAIN_CHECKF(strstr(text, "104 in all]") != NULL, "%s", text);
	OK(tarn_inspector_objects(u.s.in, &row, &n));
	while (at < n && row[at].id != tarn_object_id(d))
		at++;
	PLAIN_CHECK(at < n && strncmp(row[at].preview, "{\"x\": 1.5, 5: <obj", 15) == 0);
	free(row);
	tarn_object_unref(l);
	tarn_object_unref(d);
	user_close(&u);
}

/* ---- lies ---- */

/* Everything that a client can write is overwritten, again and again, while the server serves
 * containers: what it has of them is nowhere there. */
PLAIN_TEST_TIMEOUT(t1_t2_scribbling_over_the_arena_changes_no_container, 300)
{
	struct user u = user_open();
	tarn_object *l, *d, *keep[64];
	pid_t pid;

	OK(tarn_list_new(u.c, &l));
	OK(tarn_dict_new(u.c, &d));
	for (int k = 0; k < 64; k++) {
		OK(tarn_list_new(u.c, &keep[k]));
		OK(tarn_list_appendf(l, "O", keep[k]));
	}
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		uint64_t random = 77, *data = (uint64_t *)(void *)c->data;
		uint64_t words = 4u << 20 >> 3; /* where the blocks and instances of this test lie */

		for (;;)
			data[scene_random(&random) % words] = scene_random(&random);
	}
	for (int k = 0; k < 20000; k++) {
		int got;

		OK(tarn_dict_setf(d, "is", k % 100, "a value that is somewhat long"));
		OK(tarn_list_appendf(l, "i", k));
		OK(tarn_list_getf(l, -1, "i", &got));
		PLAIN_EQ(got, k);
		if (k % 3 == 0)
			OK(tarn_dict_del(d, k % 100));
		if (k % 64 == 0) {
			tarn_object *o;

			OK(tarn_list_get_object(l, k / 64 % 64, &o));
			PLAIN_CHECK(tarn_object_same(o, keep[k / 64 % 64]));
			tarn_object_unref(o);
		}
	}
	/* What goes by way of blocks may be damaged on the way, and says so or is something else. */
	for (int k = 0; k < 50; k++) {
		tarn_object *copy;
		tarn_builder b;
		tarn_parcel p;

		tarn_builder_init(&b);
		tarn_list_begin(&b);
		for (int i = 0; i < 2000; i++)
			tarn_put_int(&b, i);
		tarn_list_end(&b);
		(void)tarn_call(l, "extend", &b, NULL, TARN_FOREVER);
		tarn_builder_fini(&b);
		if (tarn_list_slice(l, 0, 20000, 16, &p) == 0)
			tarn_parcel_fini(&p);
		if (tarn_list_copy(l, &copy) == 0) {
			(void)tarn_list_sort(copy, true);
			tarn_object_unref(copy);
		}
	}
	plain_kill(pid);
	for (int k = 0; k < 64; k++)
		tarn_object_unref(keep[k]);
	tarn_object_unref(l);
	tarn_object_unref(d);
	user_close(&u);
}

/* VIEW cannot be written by clients, whatever they try. */
PLAIN_TEST(t1_t2_clients_can_read_contents_and_not_write_them)
{
	struct user u = user_open();
	tarn_object *l;
	char path[64];

	OK(tarn_list_newf(u.c, &l, "[i]", 1));
	snprintf(path, sizeof path, "/proc/self/fd/%d", u.c->view_segment.fd);
	pid_t pid = plain_fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile unsigned char *)(u.c->view.base + TARN__VIEW_ROOTS_AT) = 1;
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), -SIGSEGV);
	tarn_object_unref(l);
	user_close(&u);
}

/* ---- a lock from the dead ---- */

static void lock_call_and_die(const struct user *u)
{
	tarn_client *c = scene_client(&u->s);
	tarn_object *lock, *list;
	tarn_pending *pending;

	OK(tarn_object_lookup(c, "lock", 0, &lock));
	OK(tarn_object_lookup(c, "list", 0, &list));
	OK(tarn_lock_acquire(lock, TARN_FOREVER));
	OK(tarn_call_start(list, "reverse", NULL, &pending));
	kill(getpid(), SIGKILL);
}

/* It is so long that an executor does it, which takes longer than the server needs for a death. */
PLAIN_TEST(t6_who_takes_a_lock_from_the_dead_sees_all_that_the_dead_one_asked_for)
{
	struct user u = user_open();
	tarn_object *list, *lock;
	tarn_builder b;

	OK(tarn_list_new(u.c, &list));
	OK(tarn_lock_new(u.c, 0, &lock));
	for (int k = 0; k < 800; k++) {
		tarn_builder_init(&b);
		for (int i = 0; i < 250; i++)
			tarn_put_int(&b, 250 * k + i);
		OK(tarn_list_extend(list, &b));
		tarn_builder_fini(&b);
	}
	OK(tarn_object_publish(list, "list", 0));
	OK(tarn_object_publish(lock, "lock", 0));
	for (int round = 0; round < 6; round++) {
		int64_t first;

		pid_t pid = plain_fork();
		if (pid == 0)
			lock_call_and_die(&u);
		PLAIN_EQ(plain_reap(pid), -SIGKILL);
		PLAIN_EQ(tarn_lock_acquire(lock, TARN_FOREVER), -EOWNERDEAD);
		OK(tarn_list_getf(list, 0, "q", &first)); /* in place */
		PLAIN_EQ(first, round % 2 == 0 ? 199999 : 0);
		OK(tarn_lock_release(lock));
	}
	tarn_object_unref(list);
	tarn_object_unref(lock);
	user_close(&u);
}

/* They lie beside the arena, and were told nowhere. */
PLAIN_TEST(what_contents_take_is_told)
{
	struct user u = user_open();
	const tarn_stat before = scene_stat(&u.s);
	tarn_object *l;
	tarn_stat now;

	OK(tarn_list_new(u.c, &l));
	for (int i = 0; i < 2000; i++)
		OK(tarn_list_appendf(l, "s", "as long as this, so that it is a chunk of its own"));
	now = scene_stat(&u.s);
	PLAIN_CHECK(now.contents_bytes >= before.contents_bytes + 2000u * 48);
	PLAIN_CHECK(now.contents_committed_bytes >= now.contents_bytes);
	const uint64_t committed = now.contents_committed_bytes;
	tarn_object_unref(l);
	PLAIN_WAIT_FOR(scene_stat(&u.s).contents_bytes == before.contents_bytes);
	PLAIN_EQ(scene_stat(&u.s).contents_committed_bytes, committed); /* for later ones */
	user_close(&u);
}

PLAIN_MAIN()
