/* SPDX-License-Identifier: Apache-2.0 */
#include "property.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define WORKERS PROPERTY_WORKERS
#define STEPS_A_KILL 100 /* about */

uint64_t property_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

uint64_t property_seed(void)
{
	uint64_t seed = property_number("TARN_PROPERTY_SEED", scene_now() % 1000000000);

	seed += seed == 0;
	scene_note("TARN_PROPERTY_SEED=%llu", (unsigned long long)seed);
	return seed;
}

struct property property_open(uint64_t steps)
{
	const tarn_server_options o = { .arena_bytes = (size_t)512 << 20 };
	struct property p = {
		.s = scene_open(&o),
		.steps = property_number("TARN_PROPERTY_STEPS", steps),
		.random = property_seed(),
		.done = scene_shared(sizeof *p.done),
	};

	p.c = scene_client(&p.s);
	return p;
}

void property_close(struct property *p)
{
	tarn_client_close(p->c);
	scene_check(&p->s);
	scene_close(&p->s);
}

/* Relaxed here and below: a number, which orders nothing. */
static uint64_t begun(const struct property *p)
{
	return __atomic_load_n(p->done, __ATOMIC_RELAXED);
}

bool property_step(const struct property *p)
{
	return __atomic_fetch_add(p->done, 1, __ATOMIC_RELAXED) < p->steps;
}

static pid_t start(struct property *p, property_work *work, unsigned k, void *arg)
{
	uint64_t random = scene_random(&p->random);
	pid_t pid = plain_fork();

	if (pid != 0)
		return pid;
	work(p, k, random, arg);
	_exit(0);
}

void property_run(struct property *p, property_work *work, void *arg)
{
	uint64_t at = 0;
	pid_t pid[WORKERS];

	for (unsigned k = 0; k < WORKERS; k++)
		pid[k] = start(p, work, k, arg);
	for (;;) {
		unsigned k = (unsigned)(scene_random(&p->random) % WORKERS);

		/* In the long run; they may be faster than births and deaths. */
		at += scene_random(&p->random) % (2 * STEPS_A_KILL);
		PLAIN_WAIT_FOR(begun(p) >= at || begun(p) >= p->steps);
		if (begun(p) >= p->steps)
			break;
		/* At no special place of anybody's. */
		usleep((useconds_t)(scene_random(&p->random) % 1000));
		kill(pid[k], SIGKILL);
		int end = plain_reap(pid[k]);

		PLAIN_CHECKF(end == -SIGKILL || end == 0, "worker %u ended by itself with %d", k,
			     end);
		p->kills++;
		PLAIN_WAIT_FOR(scene_client_gone(&p->s, pid[k]));
		pid[k] = start(p, work, k, arg);
	}
	for (unsigned k = 0; k < WORKERS; k++)
		PLAIN_EQ(plain_reap(pid[k]), 0);
}

/* ---- ledgers: each word has one writer, or none that matters for another ---- */

static void say(uint8_t *at, uint8_t value)
{
	/* SYNC ledger: in this order, also for who comes after a kill. */
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}
static uint8_t said(const uint8_t *at)
{
	/* SYNC ledger. */
	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

/* Where a thing is written down. */
static size_t at(const struct ledger *l, int64_t thing)
{
	PLAIN_CHECKF(thing >= 0 && thing / WORKERS < l->most, "nobody put %lld", (long long)thing);
	return (size_t)(thing % WORKERS) * l->most + (size_t)(thing / WORKERS);
}

struct ledger *ledger_new(uint32_t most, bool again)
{
	struct ledger *l = scene_shared(sizeof *l);

	l->most = most;
	l->again = again;
	l->put = scene_shared((size_t)WORKERS * most);
	l->acked = scene_shared((size_t)WORKERS * most);
	l->seen = scene_shared((size_t)WORKERS * most);
	ledger_take_over(l, WORKERS);
	return l;
}

void ledger_take_over(struct ledger *l, unsigned worker)
{
	struct ledger_side *s = &l->side[worker];

	s->lost += s->getting;
	s->getting = 0;
	for (unsigned k = 0; k < WORKERS; k++)
		s->last[k] = -1;
}

int64_t ledger_put_begin(struct ledger *l, unsigned worker)
{
	int64_t thing = (int64_t)l->side[worker].next * WORKERS + worker;

	say(&l->put[at(l, thing)], 1);
	/* SYNC ledger: nobody uses the number again. */
	__atomic_store_n(&l->side[worker].next, l->side[worker].next + 1, __ATOMIC_RELEASE);
	return thing;
}

void ledger_put_end(struct ledger *l, int64_t thing, bool done)
{
	say(&l->put[at(l, thing)], done ? 2 : 0);
}

void ledger_get_begin(struct ledger *l, unsigned worker)
{
	__atomic_store_n(&l->side[worker].getting, 1, __ATOMIC_RELEASE);
}

void ledger_get_none(struct ledger *l, unsigned worker)
{
	__atomic_store_n(&l->side[worker].getting, 0, __ATOMIC_RELEASE);
}

void ledger_get_end(struct ledger *l, unsigned worker, int64_t thing)
{
	int64_t *last = &l->side[worker].last[thing % WORKERS];

	PLAIN_CHECKF(said(&l->acked[at(l, thing)]) != 2, "%lld was acknowledged, and is back",
		     (long long)thing);
	PLAIN_CHECKF(said(&l->put[at(l, thing)]) != 0, "%lld was not put", (long long)thing);
	if (!l->again) {
		PLAIN_CHECKF(thing / WORKERS > *last,
			     "%lld comes behind the %lldth of its producer", (long long)thing,
			     (long long)*last);
		*last = thing / WORKERS;
	}
	uint8_t before = __atomic_fetch_add(&l->seen[at(l, thing)], 1, __ATOMIC_ACQ_REL);

	PLAIN_CHECKF(l->again || before == 0, "%lld was got twice", (long long)thing);
	ledger_get_none(l, worker);
}

void ledger_ack_begin(struct ledger *l, int64_t thing)
{
	say(&l->acked[at(l, thing)], 1);
}

void ledger_ack_end(struct ledger *l, int64_t thing)
{
	say(&l->acked[at(l, thing)], 2);
}

void ledger_check(const struct ledger *l, const char *what, unsigned kills, int64_t again)
{
	uint64_t put = 0, missing = 0, interrupted = 0, lost = 0, unsure = 0;
	int64_t twice = 0;

	for (unsigned k = 0; k <= WORKERS; k++)
		lost += l->side[k].lost;
	for (unsigned k = 0; k < WORKERS; k++) {
		for (uint32_t n = 0; n < l->side[k].next; n++) {
			size_t i = at(l, (int64_t)n * WORKERS + k);

			put += l->put[i] == 2;
			interrupted += l->put[i] == 1;
			missing += l->put[i] == 2 &&
				   (l->again ? l->acked[i] == 0 : l->seen[i] == 0);
			unsure += l->acked[i] == 1;
			twice += l->seen[i] > 1 ? l->seen[i] - 1 : 0;
			PLAIN_CHECK(l->put[i] != 0 || l->seen[i] == 0);
		}
	}
	scene_note("%s: %llu put, %llu died while they put, %llu while they got, %llu while they "
		   "acknowledged; %llu lost with who got them, %lld got again",
		   what, (unsigned long long)put, (unsigned long long)interrupted,
		   (unsigned long long)lost, (unsigned long long)unsure,
		   (unsigned long long)missing, (long long)twice);
	PLAIN_CHECK(interrupted <= kills && unsure <= kills && twice <= again);
	PLAIN_CHECK(missing <= (l->again ? 0 : lost));
}
