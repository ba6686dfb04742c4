/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists, dicts and queues keep to their models while four processes operate on them at random and are
 * killed at random (T1, T2, T12, T13). See tests/common/property.h for a long run, and to repeat one.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "contents-model.h"
#include "tests/common/property.h"

#define HOURS 14400 /* a watchdog: of the long mode */

static void publish(tarn_object *o, const char *name)
{
	OK(tarn_object_publish(o, name, 0));
	tarn_object_unref(o);
}

static tarn_object *find(tarn_client *c, const char *name)
{
	tarn_object *o = NULL;

	OK(tarn_object_lookup(c, name, 0, &o));
	return o;
}

/* ---- one list and one dict, of whoever has the lock ---- */

static void acquire(tarn_object *lock, struct contents *w)
{
	int r = tarn_lock_acquire(lock, TARN_FOREVER);

	if (r == -EOWNERDEAD)
		contents_take_over(w);
	else
		OK(r);
	/* A death inside is told to the next one. */
	PLAIN_EQ(__atomic_load_n(&w->m->pending, __ATOMIC_ACQUIRE), 0);
}

static void locked_work(const struct property *p, unsigned worker, uint64_t random, void *model)
{
	tarn_client *c = scene_client(&p->s);
	struct contents w = contents_open(c, "list", "dict", model, random);
	tarn_object *lock = find(c, "lock");

	(void)worker;
	w.whole_dict = true;
	while (property_step(p)) {
		acquire(lock, &w);
		if (contents_roll(&w, 2) == 0)
			contents_list_step(&w);
		else
			contents_dict_step(&w);
		if (contents_roll(&w, 500) == 0)
			contents_check(&w);
		OK(tarn_lock_release(lock));
	}
}

static void tell(const struct property *p, const struct model *m, unsigned n)
{
	uint64_t deaths = 0, undone = 0;

	for (unsigned k = 0; k < n; k++) {
		deaths += m[k].deaths;
		undone += m[k].undone;
	}
	scene_note("%llu operations, %u kills, %llu in the middle of one, which was not done %llu "
		   "times",
		   (unsigned long long)p->steps, p->kills, (unsigned long long)deaths,
		   (unsigned long long)undone);
}

PLAIN_TEST_TIMEOUT(t1_t2_four_processes_that_are_killed_at_random_keep_to_the_model, HOURS)
{
	struct property p = property_open(3000);
	struct model *m = scene_shared(sizeof *m);
	tarn_object *o;

	OK(tarn_list_new(p.c, &o));
	publish(o, "list");
	OK(tarn_dict_new(p.c, &o));
	publish(o, "dict");
	OK(tarn_lock_new(p.c, 0, &o));
	publish(o, "lock");
	contents_publish(p.c);
	property_run(&p, locked_work, m);

	tarn_client *c = scene_client(&p.s);
	struct contents w = contents_open(c, "list", "dict", m, 1);
	acquire(find(c, "lock"), &w);
	contents_check(&w);
	tarn_client_close(c);
	tell(&p, m, 1);
	property_close(&p);
}

/* ---- no lock: a list of each one's own, keys of each one's own in one dict, one list of all ---- */

struct shared_world {
	struct model m[PROPERTY_WORKERS];
	struct ledger *line; /* of the list that all append to, and all take from */
};

static struct contents own_contents(tarn_client *c, struct shared_world *world, unsigned k,
				    uint64_t random)
{
	char name[20];

	snprintf(name, sizeof name, "list %u", k);
	struct contents w = contents_open(c, name, "dict", &world->m[k], random);
	w.first_key = k * KEYS;
	return w;
}

/* False: it is empty. */
static bool take(tarn_object *line, struct ledger *l, unsigned k)
{
	tarn_parcel p;
	int64_t thing;

	ledger_get_begin(l, k);
	int r = tarn_list_pop(line, 0, &p);

	if (r < 0) {
		PLAIN_CHECK(r == -TARN_EREMOTE && tarn_fault_is(tarn_error_fault(), "IndexError"));
		ledger_get_none(l, k);
		return false;
	}
	OK(tarn_value_int(tarn_value_at(tarn_parcel_at(&p, 0), 0), &thing));
	tarn_parcel_fini(&p);
	ledger_get_end(l, k, thing);
	return true;
}

static void line_step(tarn_object *line, struct ledger *l, unsigned k, struct contents *w)
{
	uint64_t n;

	OK(tarn_list_len(line, &n));
	if (contents_roll(w, 2) == 0 || n > 500) {
		take(line, l, k);
		return;
	}
	int64_t thing = ledger_put_begin(l, k);

	OK(thing % 3 == 0
		   ? tarn_list_appendf(line, "[qO]", thing, w->shared[thing % SHARED_OBJECTS])
		   : tarn_list_appendf(line, "[qs]", thing, "some text, too long for a cell"));
	ledger_put_end(l, thing, true);
}

static void unlocked_work(const struct property *p, unsigned k, uint64_t random, void *arg)
{
	struct shared_world *world = arg;
	tarn_client *c = scene_client(&p->s);
	struct contents w = own_contents(c, world, k, random);
	tarn_object *line = find(c, "line");

	contents_take_over(&w);
	ledger_take_over(world->line, k);
	while (property_step(p)) {
		switch (contents_roll(&w, 3)) {
		case 0:
			contents_list_step(&w);
			break;
		case 1:
			contents_dict_step(&w);
			break;
		default:
			line_step(line, world->line, k, &w);
		}
		if (contents_roll(&w, 500) == 0)
			contents_check(&w);
	}
}

PLAIN_TEST_TIMEOUT(t1_t2_four_processes_at_once_keep_to_the_models_of_what_is_their_own, HOURS)
{
	struct property p = property_open(10000);
	struct shared_world *world = scene_shared(sizeof *world);
	tarn_object *o;
	char name[20];

	world->line = ledger_new((uint32_t)p.steps + 1, false);
	for (unsigned k = 0; k < PROPERTY_WORKERS; k++) {
		snprintf(name, sizeof name, "list %u", k);
		OK(tarn_list_new(p.c, &o));
		publish(o, name);
	}
	OK(tarn_dict_new(p.c, &o));
	publish(o, "dict");
	OK(tarn_list_new(p.c, &o));
	publish(o, "line");
	contents_publish(p.c);
	property_run(&p, unlocked_work, world);

	for (unsigned k = 0; k < PROPERTY_WORKERS; k++) {
		tarn_client *c = scene_client(&p.s);
		struct contents w = own_contents(c, world, k, 1);

		contents_check(&w);
		tarn_client_close(c);
	}
	o = find(p.c, "line");
	while (take(o, world->line, PROPERTY_WORKERS))
		;
	tarn_object_unref(o);
	tell(&p, world->m, PROPERTY_WORKERS);
	ledger_check(world->line, "the list of all", p.kills, 0);
	property_close(&p);
}

/* ---- queues: small, without limit, and one that redelivers ---- */

enum { SMALL, LONG, AGAIN, QUEUES, HELD_MOST = 6 };

static const tarn_queue_options queue_options[QUEUES] = {
	[SMALL] = { .maxsize = 5 },
	[AGAIN] = { .maxsize = 30, .flags = TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER },
};
static const char *const queue_names[QUEUES] = { "small queue", "unbounded queue",
						 "queue that redelivers" };

struct user {
	unsigned k;
	uint64_t random;
	tarn_object *queue[QUEUES];
	struct ledger **ledger;
	struct held { /* of the queue that redelivers */
		int64_t thing;
		uint64_t number;
	} held[HELD_MOST];
	unsigned n_held;
};

static struct user user_open(tarn_client *c, struct ledger **ledger, unsigned k, uint64_t random)
{
	struct user u = { .k = k, .random = random | 1, .ledger = ledger };

	for (int q = 0; q < QUEUES; q++) {
		u.queue[q] = find(c, queue_names[q]);
		ledger_take_over(ledger[q], k);
	}
	return u;
}

/* A number; some have a block that has it too, some are longer than a slot. */
static int put_thing(tarn_object *q, int64_t thing, int64_t timeout_ns)
{
	static const char text[1000];
	tarn_block *block = NULL;
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, thing);
	if (thing / PROPERTY_WORKERS % 3 == 1) {
		OK(tarn_block_new(tarn_object_client(q), 200, 0, &block));
		memcpy(tarn_block_data(block), &thing, sizeof thing);
		tarn_put_block(&b, block);
		tarn_block_unref(block);
	}
	if (thing / PROPERTY_WORKERS % 7 == 2)
		tarn_put_bytes(&b, text, sizeof text);
	int r = tarn_queue_put(q, &b, timeout_ns);

	tarn_builder_fini(&b);
	return r;
}

/* Ends the parcel. */
static int64_t read_thing(tarn_parcel *p)
{
	int64_t thing, in_block;
	tarn_block *b;

	OK(tarn_value_int(tarn_parcel_at(p, 0), &thing));
	const bool block = thing / PROPERTY_WORKERS % 3 == 1,
		   text = thing / PROPERTY_WORKERS % 7 == 2;

	PLAIN_EQ(tarn_parcel_count(p), 1u + block + text);
	if (block) {
		OK(tarn_value_block(tarn_parcel_at(p, 1), &b));
		memcpy(&in_block, tarn_block_data(b), sizeof in_block);
		PLAIN_EQ(in_block, thing);
	}
	tarn_parcel_fini(p);
	return thing;
}

static bool is_nothing(int r)
{
	return r == -EAGAIN || r == -ETIMEDOUT;
}

/* Mostly it only tries. */
static int64_t patience(struct user *u)
{
	return scene_random(&u->random) % 4 == 0 ? 200000 : 0;
}

static void put(struct user *u, unsigned q)
{
	int64_t thing = ledger_put_begin(u->ledger[q], u->k);
	int r = put_thing(u->queue[q], thing, patience(u));

	PLAIN_CHECKF(r == 0 || (is_nothing(r) && q != LONG), "%s", tarn_error_last()->message);
	ledger_put_end(u->ledger[q], thing, r == 0);
}

static void acknowledge(struct user *u)
{
	unsigned i = (unsigned)(scene_random(&u->random) % u->n_held);
	struct held h = u->held[i];

	ledger_ack_begin(u->ledger[AGAIN], h.thing);
	OK(tarn_queue_ack(u->queue[AGAIN], h.number));
	ledger_ack_end(u->ledger[AGAIN], h.thing);
	u->held[i] = u->held[--u->n_held];
}

/* False: there was none. */
static bool get(struct user *u, unsigned q)
{
	tarn_parcel p;
	uint64_t number;

	if (u->n_held == HELD_MOST)
		acknowledge(u);
	ledger_get_begin(u->ledger[q], u->k);
	int r = q == AGAIN ? tarn_queue_get_item(u->queue[q], &p, &number, patience(u))
			   : tarn_queue_get(u->queue[q], &p, patience(u));

	if (is_nothing(r)) {
		ledger_get_none(u->ledger[q], u->k);
		return false;
	}
	OK(r);
	int64_t thing = read_thing(&p);
	ledger_get_end(u->ledger[q], u->k, thing);
	if (q == AGAIN)
		u->held[u->n_held++] = (struct held){ thing, number };
	return true;
}

/* Of the first two. */
static void get_any(struct user *u)
{
	tarn_parcel p;
	size_t from;

	for (unsigned q = SMALL; q <= LONG; q++)
		ledger_get_begin(u->ledger[q], u->k);
	int r = tarn_queue_get_any(u->queue, 2, &p, &from, patience(u));

	PLAIN_CHECKF(r == 0 || is_nothing(r), "%s", tarn_error_last()->message);
	if (r == 0)
		ledger_get_end(u->ledger[from], u->k, read_thing(&p));
	for (unsigned q = SMALL; q <= LONG; q++)
		ledger_get_none(u->ledger[q], u->k);
}

static void queue_work(const struct property *p, unsigned k, uint64_t random, void *ledger)
{
	struct user u = user_open(scene_client(&p->s), ledger, k, random);

	while (property_step(p)) {
		unsigned q = (unsigned)(scene_random(&u.random) % QUEUES);

		switch (scene_random(&u.random) % 10) {
		case 0:
		case 1:
		case 2:
		case 3:
			put(&u, q);
			break;
		case 4:
		case 5:
		case 6:
			get(&u, q);
			break;
		case 7:
			get_any(&u);
			break;
		case 8:
			if (u.n_held > 0)
				acknowledge(&u);
			break;
		default:
			PLAIN_CHECK(tarn_queue_size(u.queue[q]) >= 0);
		}
	}
	/* What it holds goes back with its client. */
}

PLAIN_TEST_TIMEOUT(
	t12_t13_queues_of_four_processes_that_are_killed_at_random_lose_and_double_nothing, HOURS)
{
	struct property p = property_open(30000);
	struct ledger *ledger[QUEUES];
	tarn_object *o;

	for (int q = 0; q < QUEUES; q++) {
		ledger[q] = ledger_new((uint32_t)p.steps + 1, q == AGAIN);
		OK(tarn_queue_new(p.c, &queue_options[q], &o));
		publish(o, queue_names[q]);
	}
	property_run(&p, queue_work, ledger);
	/* Those who ended are forgotten, too. */
	PLAIN_WAIT_FOR(scene_stat(&p.s).clients == 1);

	struct user u = user_open(p.c, ledger, PROPERTY_WORKERS, 1);
	scene_note("%llu operations, %u kills", (unsigned long long)p.steps, p.kills);
	for (unsigned q = 0; q < QUEUES; q++) {
		while (get(&u, q))
			;
		while (u.n_held > 0)
			acknowledge(&u);
		PLAIN_EQ(tarn_queue_size(u.queue[q]), 0);
		ledger_check(ledger[q], queue_names[q], p.kills,
			     q == AGAIN ? tarn_queue_redelivered(u.queue[q]) : 0);
	}
	OK(tarn_queue_join(u.queue[AGAIN], TARN_FOREVER));
	for (int q = 0; q < QUEUES; q++)
		tarn_object_unref(u.queue[q]);
	property_close(&p);
}

PLAIN_MAIN()
