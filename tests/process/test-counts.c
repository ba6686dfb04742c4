/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts are exact: at each step (P2), under random traffic (O3), at the end (O2); and the
 * server can say who holds what (O14).
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/scene.h"

/* ---- O2 ---- */

PLAIN_TEST(o2_a_block_is_freed_with_its_last_reference_not_before)
{
	struct scene s = scene_open(NULL);
	tarn_client *a = scene_client(&s), *b = scene_client(&s);

	for (int i = 0; i < 300; i++) {
		tarn_block *first, *second;
		tarn_token t;

		OK(tarn_block_new(a, 3000, 0, &first));
		uint64_t id = tarn_block_id(first);
		OK(tarn_block_export(first, NULL, &t));
		OK(tarn_block_import(b, &t, &second));
		tarn_block_unref(first);
		OK(tarn_client_flush(a, true, TARN_FOREVER));
		PLAIN_EQ(scene_count(&s, id), 1);
		tarn_block_ref(second);
		tarn_block_unref(second);
		OK(tarn_client_flush(b, true, TARN_FOREVER));
		PLAIN_EQ(scene_count(&s, id), 1);
		tarn_block_unref(second);
		OK(tarn_client_flush(b, true, TARN_FOREVER));
		/* Flush means it: nothing more has to happen. */
		PLAIN_EQ(scene_count(&s, id), 0);
		PLAIN_EQ(scene_stat(&s).blocks_live, 0);
	}
	tarn_client_close(a);
	tarn_client_close(b);
	scene_close(&s);
}

/* ---- P2 ---- */

PLAIN_TEST(p2_each_step_of_a_handover_has_its_count)
{
	struct scene s = scene_open(NULL);
	tarn_client *a = scene_client(&s), *b = scene_client(&s);
	uint32_t na = tarn_client_id(a), nb = tarn_client_id(b);
	tarn_channel *out, *in;
	tarn_block *block, *first, *second;

	OK(tarn_channel_new(a, 4, "p2", &out));
	OK(tarn_channel_bind(out, TARN_PRODUCER));
	OK(tarn_channel_open(b, "p2", 0, &in));
	OK(tarn_channel_bind(in, TARN_CONSUMER));

#define COUNTS(held_a, held_b, transit, granted)                                      \
	do {                                                                          \
		scene_settle(&s);                                                     \
		PLAIN_EQ(scene_units(&s, id, TARN_CLAIM_HELD, na), held_a);           \
		PLAIN_EQ(scene_units(&s, id, TARN_CLAIM_HELD, nb), held_b);           \
		PLAIN_EQ(scene_units(&s, id, TARN_CLAIM_TRANSIT, 0), transit);        \
		PLAIN_EQ(scene_units(&s, id, TARN_CLAIM_GRANTED, 0), granted);        \
		PLAIN_EQ(scene_count(&s, id), (held_a) + (held_b) + (transit) + (granted)); \
	} while (0)

	OK(tarn_block_new(a, 100, 0, &block));
	uint64_t id = tarn_block_id(block);
	COUNTS(0, 0, 0, 1); /* nobody was told */
	OK(tarn_channel_send(out, block, 1, 0));
	COUNTS(1, 0, 1, 0);
	OK(tarn_channel_send(out, block, 2, 0));
	COUNTS(1, 0, 2, 0);
	OK(tarn_channel_recv(in, &first, NULL, 0));
	COUNTS(1, 1, 1, 0);
	OK(tarn_channel_recv(in, &second, NULL, 0));
	PLAIN_CHECK(second == first); /* known here: absorbed */
	COUNTS(1, 1, 0, 0);
	tarn_block_ref(first);
	tarn_block_unref(first);
	COUNTS(1, 1, 0, 0);
	OK(tarn_channel_give(out, block, 3, 0));
	COUNTS(0, 1, 1, 0);
	tarn_block_unref(first);
	COUNTS(0, 1, 1, 0);
	tarn_block_unref(second);
	COUNTS(0, 0, 1, 0); /* the item alone keeps it */
	OK(tarn_channel_recv(in, &first, NULL, 0));
	COUNTS(0, 1, 0, 0);
	tarn_block_unref(first);
	COUNTS(0, 0, 0, 0);
#undef COUNTS
	tarn_channel_unref(out);
	tarn_channel_unref(in);
	tarn_client_close(a);
	tarn_client_close(b);
	scene_close(&s);
}

/* ---- O14 ---- */

struct expected {
	uint64_t id;
	uint32_t kind, client;
	uint64_t units, via, at;
	bool found;
};

static void expect_rows(const struct scene *s, uint64_t id, struct expected *e, size_t n_expected)
{
	tarn_claim_row *rows;
	size_t n;

	scene_settle(s);
	OK(tarn_inspector_refs(s->in, id, &rows, &n));
	for (size_t i = 0; i < n; i++) {
		bool found = false;

		for (size_t k = 0; k < n_expected && !found; k++) {
			found = !e[k].found && rows[i].id == e[k].id && rows[i].kind == e[k].kind &&
				rows[i].client == e[k].client && rows[i].units == e[k].units &&
				rows[i].via == e[k].via && rows[i].at == e[k].at;
			e[k].found |= found;
		}
		PLAIN_CHECKF(found || id == 0,
			     "unexpected claim: id %llx kind %u client %u units %llu via %llx at %llu",
			     (unsigned long long)rows[i].id, rows[i].kind, rows[i].client,
			     (unsigned long long)rows[i].units, (unsigned long long)rows[i].via,
			     (unsigned long long)rows[i].at);
		PLAIN_EQ(rows[i].pid, getpid());
		PLAIN_CHECKF(strcmp(rows[i].name, "o14-holder") == 0, "its name is '%s'", rows[i].name);
	}
	for (size_t k = 0; k < n_expected; k++)
		PLAIN_CHECKF(e[k].found, "claim %zu of %zu is not listed (%zu are)", k, n_expected, n);
	free(rows);
}
#define ROWS(id, ...)                                                             \
	do {                                                                      \
		struct expected e[] = { __VA_ARGS__ };                            \
		expect_rows(&s, id, e, sizeof e / sizeof *e);                     \
	} while (0)

PLAIN_TEST(o14_the_server_lists_who_holds_what_and_how)
{
	const tarn_export_options twice = { .uses = 2 };
	struct scene s = scene_open(NULL);
	tarn_client *a, *b;
	tarn_channel *out, *in;
	tarn_block *block, *got, *held;
	tarn_token t;

	PLAIN_EQ(pthread_setname_np(pthread_self(), "o14-holder"), 0);
	a = scene_client(&s);
	b = scene_client(&s);
	uint32_t na = tarn_client_id(a), nb = tarn_client_id(b);
	OK(tarn_channel_new(a, 4, NULL, &out));
	uint64_t ch = tarn_channel_id(out);
	ROWS(ch, { ch, TARN_CLAIM_HELD, na, 1, 0, 0, 0 });
	OK(tarn_channel_bind(out, TARN_PRODUCER));
	OK(tarn_channel_export(out, NULL, &t));
	OK(tarn_channel_import(b, &t, &in));
	OK(tarn_channel_bind(in, TARN_CONSUMER));
	ROWS(ch, { ch, TARN_CLAIM_HELD, na, 1, 0, 0, 0 }, { ch, TARN_CLAIM_HELD, nb, 1, 0, 0, 0 },
	     { ch, TARN_CLAIM_END, na, 1, 0, TARN_PRODUCER, 0 },
	     { ch, TARN_CLAIM_END, nb, 1, 0, TARN_CONSUMER, 0 });

	OK(tarn_block_new(a, 100, 0, &block));
	uint64_t id = tarn_block_id(block);
	ROWS(id, { id, TARN_CLAIM_GRANTED, na, 1, 0, 0, 0 });
	OK(tarn_channel_send(out, block, 0, 0));
	OK(tarn_channel_send(out, block, 0, 0));
	OK(tarn_channel_recv(in, &got, NULL, 0));
	OK(tarn_channel_send(out, block, 0, 0));
	OK(tarn_block_export(block, &twice, &t));
	held = block;
	ROWS(id, { id, TARN_CLAIM_HELD, na, 1, 0, 0, 0 }, { id, TARN_CLAIM_HELD, nb, 1, 0, 0, 0 },
	     { id, TARN_CLAIM_TRANSIT, na, 1, ch, 1, 0 },
	     { id, TARN_CLAIM_TRANSIT, na, 1, ch, 2, 0 },
	     { id, TARN_CLAIM_EXPORTED, na, 2, 0, 0, 0 });
	/* Three holders and more spill out of the object's own line. */
	tarn_client *more[4];
	tarn_block *theirs[4];
	tarn_token u;
	for (int i = 0; i < 4; i++) {
		more[i] = scene_client(&s);
		OK(tarn_block_export(held, NULL, &u));
		OK(tarn_block_import(more[i], &u, &theirs[i]));
	}
	ROWS(id, { id, TARN_CLAIM_HELD, na, 1, 0, 0, 0 }, { id, TARN_CLAIM_HELD, nb, 1, 0, 0, 0 },
	     { id, TARN_CLAIM_HELD, tarn_client_id(more[0]), 1, 0, 0, 0 },
	     { id, TARN_CLAIM_HELD, tarn_client_id(more[1]), 1, 0, 0, 0 },
	     { id, TARN_CLAIM_HELD, tarn_client_id(more[2]), 1, 0, 0, 0 },
	     { id, TARN_CLAIM_HELD, tarn_client_id(more[3]), 1, 0, 0, 0 },
	     { id, TARN_CLAIM_TRANSIT, na, 1, ch, 1, 0 },
	     { id, TARN_CLAIM_TRANSIT, na, 1, ch, 2, 0 },
	     { id, TARN_CLAIM_EXPORTED, na, 2, 0, 0, 0 });
	/* All of the arena. */
	ROWS(0, { id, TARN_CLAIM_HELD, nb, 1, 0, 0, 0 }, { ch, TARN_CLAIM_HELD, nb, 1, 0, 0, 0 },
	     { ch, TARN_CLAIM_END, na, 1, 0, TARN_PRODUCER, 0 },
	     { id, TARN_CLAIM_EXPORTED, na, 2, 0, 0, 0 });
	for (int i = 0; i < 4; i++)
		tarn_client_close(more[i]);
	tarn_client_close(a);
	ROWS(id, { id, TARN_CLAIM_HELD, nb, 1, 0, 0, 0 }, { id, TARN_CLAIM_TRANSIT, na, 1, ch, 1, 0 },
	     { id, TARN_CLAIM_TRANSIT, na, 1, ch, 2, 0 });
	tarn_client_close(b);
	tarn_claim_row *rows;
	size_t n;
	FAILS(tarn_inspector_refs(s.in, id, &rows, &n), TARN_ESTALE);
	scene_close(&s);
}

/* ---- O3: a model of who holds what, and random traffic ---- */

#define PROCESSES 8
#define OBJECTS 24
#define TOKENS 16
#define CAPACITY 16
#define ROUNDS 25
#define ACTIONS 400

struct posted { /* a token on the board */
	uint32_t lock;
	uint32_t uses;  /* left; 0: none there */
	uint32_t object;
	tarn_token token;
};

struct model {
	pthread_barrier_t barrier;
	uint64_t id[OBJECTS];
	bool told[OBJECTS]; /* others were told of it: no longer merely granted */
	uint32_t client[PROCESSES];
	uint32_t units[PROCESSES][OBJECTS];
	uint32_t local[PROCESSES][OBJECTS];
	int32_t transit[OBJECTS];
	struct posted board[TOKENS];
	uint64_t actions[6];
};

struct actor {
	struct model *m;
	unsigned me;
	tarn_client *c;
	uint64_t random;
	tarn_block *block[OBJECTS];
	tarn_channel *out[2], *in[2];
};

static unsigned below(struct actor *a, unsigned n)
{
	return (unsigned)(scene_random(&a->random) % n);
}

static void count(struct actor *a, unsigned what)
{
	__atomic_fetch_add(&a->m->actions[what], 1, __ATOMIC_RELAXED);
}

/* A reference came; @fresh: the server has booked a unit for it whatever we had. */
static void gained(struct actor *a, unsigned o, tarn_block *b, bool fresh)
{
	PLAIN_EQ(tarn_block_id(b), a->m->id[o]);
	if (a->m->local[a->me][o]++ == 0 || fresh)
		a->m->units[a->me][o]++;
	a->block[o] = b;
}

static void lost(struct actor *a, unsigned o)
{
	if (--a->m->local[a->me][o] == 0) {
		a->m->units[a->me][o] = 0;
		a->block[o] = NULL;
	}
}

static unsigned some_held(struct actor *a)
{
	unsigned from = below(a, OBJECTS);

	for (unsigned k = 0; k < OBJECTS; k++)
		if (a->m->local[a->me][(from + k) % OBJECTS] != 0)
			return (from + k) % OBJECTS;
	return OBJECTS;
}

static void act_send(struct actor *a)
{
	unsigned o = some_held(a);
	bool give = below(a, 2);
	int r;

	if (o == OBJECTS)
		return;
	tarn_channel *ch = a->out[below(a, 2)];
	r = give ? tarn_channel_give(ch, a->block[o], o, 0)
		 : tarn_channel_send(ch, a->block[o], o, 0);
	if (r == -EAGAIN)
		return;
	OK(r);
	a->m->told[o] = true;
	__atomic_fetch_add(&a->m->transit[o], 1, __ATOMIC_RELAXED);
	if (give)
		lost(a, o);
	count(a, 0);
}

static void act_receive(struct actor *a)
{
	tarn_block *b;
	uint64_t o;
	int r = tarn_channel_recv(a->in[below(a, 2)], &b, &o, 0);

	if (r == -EAGAIN)
		return;
	OK(r);
	__atomic_fetch_sub(&a->m->transit[o], 1, __ATOMIC_RELAXED);
	gained(a, (unsigned)o, b, false);
	count(a, 1);
}

static bool lock_post(struct posted *p)
{
	return __atomic_exchange_n(&p->lock, 1, __ATOMIC_ACQUIRE) == 0;
}
static void unlock_post(struct posted *p)
{
	__atomic_store_n(&p->lock, 0, __ATOMIC_RELEASE);
}

static void act_export(struct actor *a, struct posted *p)
{
	tarn_export_options how = { .uses = 1 + below(a, 3) };
	unsigned o = some_held(a);

	if (o == OBJECTS || p->uses != 0)
		return;
	OK(tarn_block_export(a->block[o], &how, &p->token));
	a->m->told[o] = true;
	p->uses = how.uses;
	p->object = o;
	count(a, 2);
}

static void act_import(struct actor *a, struct posted *p)
{
	tarn_block *b;

	if (p->uses == 0) {
		if (p->token.bytes[0] != 0) /* an old one */
			FAILS(tarn_block_import(a->c, &p->token, &b), TARN_ESTALE);
		return;
	}
	if (below(a, 8) == 0) {
		OK(tarn_token_revoke(a->c, &p->token));
		p->uses = 0;
		return;
	}
	OK(tarn_block_import(a->c, &p->token, &b));
	p->uses--;
	gained(a, p->object, b, true);
	count(a, 3);
}

static void act(struct actor *a)
{
	unsigned dice = below(a, 100), o;
	struct posted *p = &a->m->board[below(a, TOKENS)];

	if (dice < 30) {
		act_send(a);
	} else if (dice < 60) {
		act_receive(a);
	} else if (dice < 75) {
		o = some_held(a);
		if (o != OBJECTS) {
			tarn_block *b = a->block[o];

			lost(a, o);
			tarn_block_unref(b);
			count(a, 4);
		}
	} else if (dice < 80) {
		o = some_held(a);
		if (o != OBJECTS) {
			tarn_block_ref(a->block[o]);
			a->m->local[a->me][o]++;
		}
	} else if (lock_post(p)) {
		if (dice < 88)
			act_export(a, p);
		else
			act_import(a, p);
		unlock_post(p);
	}
}

static bool is_gone(const struct model *m, unsigned o)
{
	uint64_t n = (uint64_t)m->transit[o];

	for (unsigned p = 0; p < PROCESSES; p++)
		n += m->local[p][o];
	for (unsigned i = 0; i < TOKENS; i++)
		n += m->board[i].uses != 0 && m->board[i].object == o;
	return n == 0;
}

/* Object o belongs to process o % PROCESSES, who makes it anew when it is gone. */
static void renew(struct actor *a)
{
	for (unsigned o = a->me; o < OBJECTS; o += PROCESSES) {
		if (!is_gone(a->m, o))
			continue;
		OK(tarn_block_new(a->c, 64 + o * 100, 0, &a->block[o]));
		a->m->id[o] = tarn_block_id(a->block[o]);
		a->m->told[o] = false;
		a->m->local[a->me][o] = a->m->units[a->me][o] = 1;
		count(a, 5);
	}
}

static void open_channels(struct actor *a)
{
	static const unsigned step[2] = { 1, 3 };
	char name[32];

	for (unsigned k = 0; k < 2; k++) {
		snprintf(name, sizeof name, "o3-%u-%u", a->me, k);
		OK(tarn_channel_new(a->c, CAPACITY, name, &a->out[k]));
		OK(tarn_channel_bind(a->out[k], TARN_PRODUCER));
	}
	for (unsigned k = 0; k < 2; k++) {
		snprintf(name, sizeof name, "o3-%u-%u", (a->me + PROCESSES - step[k]) % PROCESSES, k);
		OK(tarn_channel_open(a->c, name, TARN_FOREVER, &a->in[k]));
		OK(tarn_channel_bind(a->in[k], TARN_CONSUMER));
	}
}

static void actor_main(const struct scene *s, struct model *m, unsigned me, uint64_t seed)
{
	struct actor a = { .m = m, .me = me, .c = scene_client(s), .random = (seed + me) * 2 + 1 };

	for (int i = 0; i < 10; i++)
		scene_random(&a.random);
	m->client[me] = tarn_client_id(a.c);
	open_channels(&a);
	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&m->barrier); /* nobody acts: objects are renewed */
		renew(&a);
		pthread_barrier_wait(&m->barrier);
		for (int i = 0; i < ACTIONS; i++)
			act(&a);
		pthread_barrier_wait(&m->barrier);
		OK(tarn_client_flush(a.c, true, TARN_FOREVER));
		pthread_barrier_wait(&m->barrier); /* the server's counts are compared */
		pthread_barrier_wait(&m->barrier);
	}
	/* The rest in two ways: dropped, and left to the end of the process. */
	for (unsigned o = 0; o < OBJECTS && me % 2; o++)
		while (a.m->local[me][o] != 0) {
			tarn_block *b = a.block[o];

			lost(&a, o);
			tarn_block_unref(b);
		}
	if (me % 4 < 2)
		tarn_client_close(a.c);
	_exit(0);
}

static void compare(const struct scene *s, const struct model *m, unsigned o)
{
	uint64_t id = m->id[o], tokens = 0, local = 0, sum = (uint64_t)m->transit[o];

	for (unsigned i = 0; i < TOKENS; i++)
		tokens += m->board[i].uses != 0 && m->board[i].object == o;
	for (unsigned p = 0; p < PROCESSES; p++) {
		uint64_t held = scene_units(s, id, TARN_CLAIM_HELD, m->client[p]);

		if (m->told[o])
			PLAIN_CHECKF(held == m->units[p][o],
				     "object %u (%llx): process %u has %llu units, by the model %u",
				     o, (unsigned long long)id, p, (unsigned long long)held,
				     m->units[p][o]);
		sum += m->units[p][o];
		local += m->local[p][o];
	}
	PLAIN_EQ(scene_units(s, id, TARN_CLAIM_TRANSIT, 0), m->transit[o]);
	PLAIN_EQ(scene_units(s, id, TARN_CLAIM_EXPORTED, 0), tokens);
	if (m->told[o])
		PLAIN_EQ(scene_count(s, id), sum + tokens);
	else if (local != 0)
		PLAIN_EQ(scene_units(s, id, TARN_CLAIM_GRANTED, 0), 1);
}

PLAIN_TEST_TIMEOUT(o3_the_servers_counts_equal_a_model_of_random_traffic, 120)
{
	struct scene s = scene_open(NULL);
	struct model *m = scene_shared(sizeof *m);
	uint64_t seed = scene_now();
	pthread_barrierattr_t shared;
	pid_t child[PROCESSES];
	const char *text = getenv("TARN_TEST_SEED");

	if (text != NULL)
		seed = strtoull(text, NULL, 10);
	scene_note("TARN_TEST_SEED=%llu", (unsigned long long)seed);
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&m->barrier, &shared, PROCESSES + 1);
	for (unsigned i = 0; i < PROCESSES; i++) {
		child[i] = plain_fork();
		if (child[i] == 0)
			actor_main(&s, m, i, seed);
	}
	for (int round = 0; round < ROUNDS; round++) {
		for (int k = 0; k < 4; k++)
			pthread_barrier_wait(&m->barrier);
		scene_settle(&s);
		for (unsigned o = 0; o < OBJECTS; o++)
			compare(&s, m, o);
		pthread_barrier_wait(&m->barrier);
	}
	for (unsigned i = 0; i < PROCESSES; i++)
		PLAIN_EQ(plain_reap(child[i]), 0);
	scene_note("%llu sent, %llu received, %llu exported, %llu imported, %llu dropped, %llu made",
		   (unsigned long long)m->actions[0], (unsigned long long)m->actions[1],
		   (unsigned long long)m->actions[2], (unsigned long long)m->actions[3],
		   (unsigned long long)m->actions[4], (unsigned long long)m->actions[5]);
	for (unsigned k = 0; k < 6; k++)
		PLAIN_CHECK(m->actions[k] > 0);
	scene_close(&s);
}

PLAIN_MAIN()
