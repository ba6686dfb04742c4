/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What containers promise when processes write at the same time, die in the middle, or lie: reading
 * in place, a model under random kills, an arena that is scribbled over.
 */
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

/* ---- a model, 4 processes, random kills ---- */

enum { LIST_MOST = 300, KEYS = 60, SHARED_OBJECTS = 4 };

/* In memory that all share: as of the last operation that was finished, and the one that may have been
 * done since. Whoever has the lock looks after it. */
struct model {
	uint64_t steps, kills_seen, undone;
	bool pending;
	struct list_model {
		uint32_t n;
		uint32_t code[LIST_MOST];
	} list, list_after;
	struct dict_model {
		uint32_t n;
		uint32_t key[KEYS], code[KEYS];
	} dict, dict_after;
};

struct worker {
	tarn_client *c;
	tarn_object *list, *dict, *lock, *shared[SHARED_OBJECTS];
	struct model *m;
	uint64_t random;
};

static uint32_t roll(struct worker *w, uint32_t below)
{
	return (uint32_t)(scene_random(&w->random) % below);
}

/* The value that a code stands for. */
static void put_code(const struct worker *w, tarn_builder *b, uint32_t code)
{
	char text[100];

	switch (code % 5) {
	case 0:
		tarn_put_uint(b, code);
		break;
	case 1:
		snprintf(text, sizeof text, "text number %u, too long for a cell", code);
		tarn_put_string(b, text);
		break;
	case 2:
		tarn_put(b, "[I{s:n}]", code, "nested");
		break;
	case 3:
		tarn_put_object(b, w->shared[code / 5 % SHARED_OBJECTS]);
		break;
	default:
		tarn_put(b, "[IO[O]]", code, w->shared[code / 5 % SHARED_OBJECTS],
			 w->shared[code / 7 % SHARED_OBJECTS]);
	}
}

/* Keys are of all kinds, too. */
static void put_key(tarn_builder *b, uint32_t key)
{
	char text[100];

	if (key % 3 == 0)
		tarn_put_uint(b, key);
	else if (key % 3 == 1)
		tarn_put_double(b, key + 0.5);
	else {
		snprintf(text, sizeof text, key % 2 != 0 ? "%u" : "key %u with a longer name", key);
		tarn_put_string(b, text);
	}
}

static bool is_code(const struct worker *w, tarn_value v, uint32_t code)
{
	tarn_builder b;
	tarn_parcel p;

	tarn_builder_init(&b);
	put_code(w, &b, code);
	OK(tarn_parcel_from(&b, &p));
	bool same = tarn_value_equal(v, tarn_parcel_at(&p, 0));

	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	return same;
}

static bool is_key(tarn_value v, uint32_t key)
{
	tarn_builder b;
	tarn_parcel p;

	tarn_builder_init(&b);
	put_key(&b, key);
	OK(tarn_parcel_from(&b, &p));
	bool same = tarn_value_equal(v, tarn_parcel_at(&p, 0));

	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	return same;
}

static bool list_matches(const struct worker *w, const struct list_model *m)
{
	tarn_parcel p;
	bool same = true;
	uint64_t n;

	OK(tarn_list_len(w->list, &n));
	if (n != m->n)
		return false;
	for (uint32_t k = 0; k < m->n && same; k += 60) {
		OK(tarn_list_slice(w->list, k, k + 60, TARN_OMIT, &p));
		tarn_value v = tarn_parcel_at(&p, 0);

		for (uint32_t i = 0; i < tarn_value_count(v) && same; i++)
			same = is_code(w, tarn_value_at(v, i), m->code[k + i]);
		tarn_parcel_fini(&p);
	}
	return same;
}

static bool dict_matches(const struct worker *w, const struct dict_model *m)
{
	tarn_parcel p;
	bool same;

	OK(tarn_dict_items(w->dict, &p));
	tarn_value v = tarn_parcel_at(&p, 0);

	same = tarn_value_count(v) == m->n;
	for (uint32_t k = 0; k < m->n && same; k++) {
		tarn_value pair = tarn_value_at(v, k);

		same = is_key(tarn_value_at(pair, 0), m->key[k]) &&
		       is_code(w, tarn_value_at(pair, 1), m->code[k]);
	}
	tarn_parcel_fini(&p);
	return same;
}

/* The last holder died: what it was about was done, or it was not. */
static void take_over(struct worker *w)
{
	struct model *m = w->m;

	m->kills_seen++;
	if (!m->pending)
		return;
	if (list_matches(w, &m->list_after) && dict_matches(w, &m->dict_after)) {
		m->list = m->list_after;
		m->dict = m->dict_after;
	} else {
		PLAIN_CHECK(list_matches(w, &m->list) && dict_matches(w, &m->dict));
		m->undone++;
	}
	m->pending = false;
}

/* One operation: the model's next state first, then the thing itself. */
static void list_step(struct worker *w)
{
	struct list_model *m = &w->m->list_after;
	uint32_t code = roll(w, 1000000), at = m->n != 0 ? roll(w, m->n) : 0, kind = roll(w, 12);
	tarn_builder b;

	if (m->n > LIST_MOST - 10)
		kind = 11;
	else if (m->n == 0 && kind >= 3)
		kind = 0;
	tarn_builder_init(&b);
	switch (kind) {
	case 0: case 1:
		m->code[m->n++] = code;
		w->m->pending = true;
		put_code(w, &b, code);
		OK(tarn_list_append(w->list, &b));
		break;
	case 2:
		memmove(m->code + at + 1, m->code + at, 4 * (m->n++ - at));
		m->code[at] = code;
		w->m->pending = true;
		put_code(w, &b, code);
		OK(tarn_list_insert(w->list, at, &b));
		break;
	case 3: case 4:
		m->code[at] = code;
		w->m->pending = true;
		put_code(w, &b, code);
		OK(tarn_list_set(w->list, (int64_t)at - m->n, &b));
		break;
	case 5: case 6:
		m->n--;
		memmove(m->code + at, m->code + at + 1, 4 * (m->n - at));
		w->m->pending = true;
		OK(tarn_list_pop(w->list, at, NULL));
		break;
	case 7:
		for (uint32_t k = 0; k < m->n / 2; k++) {
			uint32_t other = m->code[k];

			m->code[k] = m->code[m->n - 1 - k];
			m->code[m->n - 1 - k] = other;
		}
		w->m->pending = true;
		OK(tarn_list_reverse(w->list));
		break;
	case 8:
		for (uint32_t k = 0; k < 5; k++) {
			m->code[m->n++] = code + k;
			put_code(w, &b, code + k);
		}
		w->m->pending = true;
		OK(tarn_list_extend(w->list, &b));
		break;
	case 9: { /* a slice becomes two values */
		uint32_t end = at + roll(w, m->n - at + 1);

		memmove(m->code + at + 2, m->code + end, 4 * (m->n - end));
		m->n = m->n - (end - at) + 2;
		m->code[at] = code;
		m->code[at + 1] = code + 1;
		w->m->pending = true;
		put_code(w, &b, code);
		put_code(w, &b, code + 1);
		OK(tarn_list_set_slice(w->list, at, end, TARN_OMIT, &b));
		break;
	}
	case 10: { /* every other one of a slice goes */
		uint32_t end = at + roll(w, m->n - at + 1), to = at;

		for (uint32_t k = at; k < m->n; k++)
			if (k >= end || (k - at) % 2 != 0)
				m->code[to++] = m->code[k];
		m->n = to;
		w->m->pending = true;
		OK(tarn_list_del_slice(w->list, at, end, 2));
		break;
	}
	default:
		m->n = 0;
		w->m->pending = true;
		OK(tarn_list_clear(w->list));
	}
	tarn_builder_fini(&b);
}

static void dict_step(struct worker *w)
{
	struct dict_model *m = &w->m->dict_after;
	uint32_t key = roll(w, KEYS), code = roll(w, 1000000), at = 0;
	tarn_builder b;

	while (at < m->n && m->key[at] != key)
		at++;
	tarn_builder_init(&b);
	put_key(&b, key);
	switch (roll(w, 20)) {
	case 0: /* the last */
		w->m->pending = true;
		if (m->n != 0) {
			m->n--;
			OK(tarn_dict_popitem(w->dict, NULL));
		}
		break;
	case 1:
		m->n = 0;
		w->m->pending = true;
		OK(tarn_dict_clear(w->dict));
		break;
	case 2: case 3: case 4: case 5: case 6: case 7:
		if (at < m->n) {
			m->n--;
			memmove(m->key + at, m->key + at + 1, 4 * (m->n - at));
			memmove(m->code + at, m->code + at + 1, 4 * (m->n - at));
			w->m->pending = true;
			OK(tarn_call(w->dict, "del", &b, NULL, TARN_FOREVER));
		} else {
			PLAIN_EQ(tarn_call(w->dict, "del", &b, NULL, TARN_FOREVER), -TARN_EREMOTE);
		}
		break;
	default:
		m->key[at] = key;
		m->code[at] = code;
		m->n += at == m->n;
		w->m->pending = true;
		put_code(w, &b, code);
		OK(tarn_call(w->dict, "set", &b, NULL, TARN_FOREVER));
	}
	tarn_builder_fini(&b);
}

/* Until all steps are done, or it is killed. */
static void work(struct worker *w, uint64_t steps)
{
	struct model *m = w->m;

	for (;;) {
		int r = tarn_lock_acquire(w->lock, TARN_FOREVER);

		if (r == -EOWNERDEAD)
			take_over(w);
		else
			OK(r);
		if (m->steps >= steps)
			break;
		m->list_after = m->list;
		m->dict_after = m->dict;
		if (roll(w, 2) == 0)
			list_step(w);
		else
			dict_step(w);
		m->list = m->list_after;
		m->dict = m->dict_after;
		m->pending = false;
		if (++m->steps % 500 == 0)
			PLAIN_CHECK(list_matches(w, &m->list) && dict_matches(w, &m->dict));
		OK(tarn_lock_release(w->lock));
	}
	OK(tarn_lock_release(w->lock));
}

static struct worker worker_open(struct user *u, struct model *m, uint64_t random)
{
	struct worker w = { .c = scene_client(&u->s), .m = m, .random = random };
	char name[20];

	OK(tarn_object_lookup(w.c, "list", 0, &w.list));
	OK(tarn_object_lookup(w.c, "dict", 0, &w.dict));
	OK(tarn_object_lookup(w.c, "lock", 0, &w.lock));
	for (int k = 0; k < SHARED_OBJECTS; k++) {
		snprintf(name, sizeof name, "shared %d", k);
		OK(tarn_object_lookup(w.c, name, 0, &w.shared[k]));
	}
	return w;
}

static void publish(tarn_object *o, const char *name)
{
	OK(tarn_object_publish(o, name, 0));
	tarn_object_unref(o);
}

/* TARN_PROPERTY_STEPS: how many operations, 3000 if it is not set. */
PLAIN_TEST_TIMEOUT(t1_t2_four_processes_that_are_killed_at_random_keep_to_the_model, 7200)
{
	enum { WORKERS = 4 };
	struct user u = user_open();
	struct model *m = scene_shared(sizeof *m);
	const char *wanted = getenv("TARN_PROPERTY_STEPS");
	uint64_t steps = wanted != NULL ? strtoull(wanted, NULL, 10) : 3000, random = scene_now() | 1;
	pid_t pid[WORKERS] = { 0 };
	tarn_object *o;
	char name[20];
	unsigned kills = 0;

	OK(tarn_list_new(u.c, &o));
	publish(o, "list");
	OK(tarn_dict_new(u.c, &o));
	publish(o, "dict");
	OK(tarn_lock_new(u.c, 0, &o));
	publish(o, "lock");
	for (int k = 0; k < SHARED_OBJECTS; k++) {
		snprintf(name, sizeof name, "shared %d", k);
		OK(tarn_list_new(u.c, &o));
		publish(o, name);
	}
	scene_note("seed %llu", (unsigned long long)random);
	while (__atomic_load_n(&m->steps, __ATOMIC_RELAXED) < steps) {
		for (int k = 0; k < WORKERS; k++) {
			if (pid[k] != 0)
				continue;
			uint64_t theirs = scene_random(&random);

			pid[k] = plain_fork();
			if (pid[k] == 0) {
				struct worker w = worker_open(&u, m, theirs | 1);

				work(&w, steps);
				_exit(0);
			}
		}
		usleep((useconds_t)(scene_random(&random) % 60000));
		int k = (int)(scene_random(&random) % WORKERS);

		plain_kill(pid[k]);
		pid[k] = 0;
		kills++;
	}
	for (int k = 0; k < WORKERS; k++)
		if (pid[k] != 0)
			PLAIN_EQ(plain_reap(pid[k]), 0);
	struct worker w = worker_open(&u, m, 1);
	int r = tarn_lock_acquire(w.lock, TARN_FOREVER);
	if (r == -EOWNERDEAD)
		take_over(&w);
	else
		OK(r);
	PLAIN_CHECK(list_matches(&w, &m->list) && dict_matches(&w, &m->dict));
	scene_note("%llu operations, %u kills, %llu while something was under way, %llu of these undone",
		   (unsigned long long)m->steps, kills, (unsigned long long)m->kills_seen,
		   (unsigned long long)m->undone);
	tarn_client_close(w.c);
	scene_check(&u.s);
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

PLAIN_MAIN()
