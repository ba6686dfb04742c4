/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server is killed at every store to META (PROTOCOL T5), over a set of messages of all kinds, and
 * its successor goes on; then killed again while that takes over. What is no call of a method has
 * to succeed as if nothing had been; calls give their result once, or are interrupted. Each
 * successor checks all its books before it serves (TARN_VERIFY), and at the end nothing is left.
 */
#include <pthread.h>
#include <stdio.h>

#include "server-steps.h"
#include "tests/common/books.h"

struct world {
	struct arena a;
	struct steps *steps;
	tarn_client *c, *d;
	tarn_channel *to, *from; /* c sends, d receives */
	tarn_object *counter, *link, *lens[2];
	unsigned linked;         /* which lens the link holds */
	int64_t n;               /* of the counter */
	uint64_t interrupted;
	struct book book[2];     /* of numbers, of blocks */
	tarn_object *dict;
	int x;                   /* what is in it */
};

/* A call that may be interrupted. True: it was not. */
static bool went(struct world *w, int r)
{
	w->interrupted += r == -TARN_EINTERRUPTED;
	PLAIN_CHECKF(r == 0 || r == -TARN_EINTERRUPTED, "%s", tarn_error_last()->message);
	return r == 0;
}

static void add(struct world *w, const char *method, bool whole)
{
	int64_t n = -1, now = -1;
	bool fine = went(w, tarn_callf(w->counter, method, TARN_FOREVER, "q", "q", (int64_t)1, &n));

	while (!went(w, tarn_callf(w->counter, "inline_get", TARN_FOREVER, NULL, "q", &now)))
		;
	if (fine)
		PLAIN_EQ(n, w->n + 1);
	/* An inline method that is interrupted has left its object as it was. */
	PLAIN_CHECKF(fine || whole ? now == w->n + fine : now == w->n || now == w->n + 1,
		     "%s: %lld after %lld", method, (long long)now, (long long)w->n);
	w->n = now;
}

static void use_channel(struct world *w)
{
	tarn_block *b = arena_block(w->c, 3000), *got;
	uint64_t tag;

	arena_fill(b, 5);
	OK(tarn_channel_send(w->to, b, 1, TARN_FOREVER));
	OK(tarn_channel_give(w->to, b, 2, TARN_FOREVER));
	for (uint64_t i = 1; i <= 2; i++) {
		OK(tarn_channel_recv(w->from, &got, &tag, TARN_FOREVER));
		PLAIN_CHECK(tag == i && arena_filled(got, 5));
		tarn_block_unref(got);
	}
	OK(tarn_client_ping(w->c, TARN_FOREVER));
	OK(tarn_client_ping(w->d, TARN_FOREVER));
}

/* An object that holds another. What is interrupted has not changed that. */
static void use_link(struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		tarn_object *next;
		tarn_parcel p;

		if (went(w, tarn_callf(w->link, "set", TARN_FOREVER, "O", NULL, w->lens[i])))
			w->linked = i;
		while (!went(w, tarn_call(w->link, "next", NULL, &p, TARN_FOREVER)))
			;
		OK(tarn_parcel_get(&p, "O", &next));
		PLAIN_CHECK(tarn_object_same(next, w->lens[w->linked]));
		tarn_parcel_fini(&p);
	}
}

static void make_objects(struct world *w)
{
	static const char *const type[] = { "Magnifier", "Canary", "SlowCanary" };

	for (unsigned i = 0; i < 3; i++) {
		tarn_object *o;
		int r = i == 0 ? tarn_object_newf(w->c, type[i], &o, "d", 2.0)
			       : tarn_object_newf(w->c, type[i], &o, NULL);

		if (went(w, r))
			tarn_object_unref(o);
	}
}

static void use_tokens_and_names(struct world *w)
{
	tarn_block *b = arena_block(w->c, 100), *other;
	tarn_channel *ch, *found;
	tarn_token token;
	tarn_object *o;

	arena_fill(b, 8);
	OK(tarn_block_export(b, NULL, &token));
	OK(tarn_block_import(w->d, &token, &other));
	PLAIN_CHECK(arena_filled(other, 8));
	OK(tarn_block_export(b, NULL, &token));
	OK(tarn_token_revoke(w->c, &token));
	tarn_block_unref(b);
	tarn_block_unref(other);
	OK(tarn_channel_new(w->c, 8, "by name", &ch));
	OK(tarn_channel_open(w->d, "by name", TARN_FOREVER, &found));
	OK(tarn_channel_bind(found, TARN_PRODUCER));
	tarn_channel_unref(found);
	tarn_channel_unref(ch);
	OK(tarn_object_publish(w->lens[0], "glass", 0));
	OK(tarn_object_lookup(w->d, "glass", TARN_FOREVER, &o));
	tarn_object_unref(o);
	OK(tarn_object_unpublish(w->c, "glass"));
}

static void *in_a_lane_of_its_own(void *arg)
{
	struct world *w = arg;

	OK(tarn_client_ping(w->c, TARN_FOREVER));
	return NULL;
}

static void come_and_go(struct world *w)
{
	tarn_client *e = arena_client(&w->a, NULL);
	tarn_block *b = arena_block(e, 300000);
	pthread_t t;

	arena_fill(b, 1);
	PLAIN_CHECK(arena_filled(b, 1));
	tarn_block_unref(b);
	tarn_client_close(e);
	PLAIN_EQ(pthread_create(&t, NULL, in_a_lane_of_its_own, w), 0);
	PLAIN_EQ(pthread_join(t, NULL), 0);
}

/* The reactor's changes of containers, and executors'. */
static void use_lists(struct world *w)
{
	for (unsigned k = 0; k < 2; k++) {
		struct book *b = &w->book[k];

		book_change(b, BOOK_EXTEND, 2);
		book_change(b, BOOK_SET, 1);
		book_change(b, BOOK_EXTEND, k == 0 ? 70 : 24);
		book_change(b, BOOK_INSERT, 3);
		book_change(b, BOOK_COPY, 0);
		book_change(b, BOOK_POP, 0);
		book_change(b, BOOK_CUT, 1);
		PLAIN_CHECK(book_is_right(b));
	}
	/* Not one reference is held too much, while that can still be seen. */
	arena_settle(w->c);
	arena_check(&w->a);
	w->interrupted += book_interrupted;
	book_interrupted = 0;
}

static int dict_x(const struct world *w)
{
	int r, x = 0;

	while ((r = tarn_dict_getf(w->dict, "x", "i", &x)) == -TARN_EINTERRUPTED)
		;
	OK(r);
	return x;
}

/* With an iterator, and a dict in the dict. */
static void use_dict(struct world *w)
{
	tarn_object *inner, *items;
	int r;

	if (went(w, tarn_dict_setf(w->dict, "si", "x", w->x + 1)))
		w->x++;
	else
		w->x = dict_x(w);
	PLAIN_EQ(dict_x(w), w->x);
	if (went(w, tarn_dict_newf(w->c, &inner, "{s:s}", "a", "a string that is a chunk of its own"))) {
		went(w, tarn_dict_setf(w->dict, "sO", "inner", inner));
		tarn_object_unref(inner);
	}
	if (went(w, tarn_dict_iter(w->dict, TARN_ITERATE_KEYS, &items))) {
		const char *key;
		tarn_parcel p;

		while ((r = tarn_iter_next(items, &p)) == -TARN_EINTERRUPTED)
			;
		OK(r);
		OK(tarn_parcel_get(&p, "s", &key));
		PLAIN_CHECK(strcmp(key, "x") == 0);
		tarn_parcel_fini(&p);
		tarn_object_unref(items);
	}
	r = tarn_dict_del(w->dict, "inner"); /* KeyError: it is not there */
	PLAIN_CHECK(r == 0 || r == -TARN_EINTERRUPTED || r == -TARN_EREMOTE);
}

/* Each part on its own, so that the numbers of stores stay small. */
static void part(void *world, unsigned number)
{
	struct world *w = world;

	switch (number) {
	case 0:
		use_channel(w);
		break;
	case 1:
		add(w, "inline_add", true);
		add(w, "add", false);
		break;
	case 2:
		use_link(w);
		break;
	case 3:
		make_objects(w);
		break;
	case 4:
		use_tokens_and_names(w);
		break;
	case 5:
		use_lists(w);
		break;
	case 6:
		use_dict(w);
		break;
	default:
		come_and_go(w);
	}
	arena_settle(w->c);
	arena_settle(w->d);
}
#define PARTS 8u

/* ---- the schedule ---- */

static struct world world_open(const struct arena_kind *kind)
{
	struct world w = { 0 };

	w.steps = steps_start(&w.a, kind);
	w.c = arena_client(&w.a, NULL);
	w.d = arena_client(&w.a, NULL);
	OK(tarn_channel_new(w.c, 8, "steps", &w.to));
	OK(tarn_channel_open(w.d, "steps", TARN_FOREVER, &w.from));
	OK(tarn_channel_bind(w.to, TARN_PRODUCER));
	OK(tarn_channel_bind(w.from, TARN_CONSUMER));
	w.counter = NEW(w.c, "Counter", "");
	w.link = NEW(w.c, "Link", "");
	w.lens[0] = NEW(w.c, "Magnifier", "d", 2.0);
	w.lens[1] = NEW(w.c, "Magnifier", "d", 3.0);
	for (unsigned k = 0; k < 2; k++) {
		w.book[k] = (struct book){ .c = w.c, .blocks = k == 1, .random = 7 + k };
		OK(tarn_list_new(w.c, &w.book[k].list));
	}
	OK(tarn_dict_newf(w.c, &w.dict, "{s:i}", "x", 0));
	for (unsigned i = 0; i < PARTS; i++)
		part(&w, i);
	return w;
}

static void world_close(struct world *w)
{
	tarn_object_unref(w->dict);
	tarn_object_unref(w->book[0].list);
	tarn_object_unref(w->book[1].list);
	tarn_object_unref(w->counter);
	tarn_object_unref(w->link);
	tarn_object_unref(w->lens[0]);
	tarn_object_unref(w->lens[1]);
	tarn_channel_unref(w->from);
	tarn_channel_unref(w->to);
	tarn_client_close(w->d);
	tarn_client_close(w->c);
	arena_end(&w->a);
	steps_end(w->steps);
}

static void run(const struct arena_kind *kind, bool twice)
{
	struct world w = world_open(kind);

	steps_run(w.steps, twice, PARTS, part, &w);
	scene_note("%llu calls interrupted", (unsigned long long)w.interrupted);
	world_close(&w);
}

PLAIN_TEST_TIMEOUT(k3_killed_at_any_store_it_is_replaced_and_nothing_is_lost, 1800)
{
	run(&arena_posix_epoll, false);
}
PLAIN_TEST_TIMEOUT(k3_killed_at_any_store_io_uring_and_memfd, 1800)
{
	run(&arena_memfd_uring, false);
}
PLAIN_TEST_TIMEOUT(k3_killed_again_while_it_takes_over, 1800)
{
	run(&arena_posix_epoll, true);
}

PLAIN_MAIN()
