/* SPDX-License-Identifier: Apache-2.0 */
#include "toys.h"

#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>

#define MS INT64_C(1000000)

static const char *const toy_name[TOYS] = {
	"lock", "rlock", "sem", "bounded", "cond", "event", "barrier", "numbers", "sum", "line 0",
	"line 1", "line 2", "line 3", "line 4", "topic", "list", "dict", "ns",
};
static const uint64_t permits[2] = { 3, 2 };
#define PARTIES 2

void finding(const char *format, ...)
{
	char text[700];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	fprintf(stderr, "# FINDING, pid %d: %s\n", (int)getpid(), text);
	add(&board->bad, 1);
	_exit(3);
}

bool interrupted(int r)
{
	if (r != -TARN_EINTERRUPTED || board->servers == 0)
		return false;
	add(&board->interrupted, 1);
	return true;
}

void unexpected(const char *deed, int r)
{
	finding("%s: %s (%s)", deed, tarn_error_name(r), tarn_error_last()->message);
}

void toys_say(const struct toys *t, const char *deed)
{
	char *to = board->hand[t->hand].deed;

	snprintf(to, sizeof board->hand[0].deed, "%s", deed);
}

static void full_name(char *text, size_t bytes, unsigned room, enum toy which)
{
	snprintf(text, bytes, "room %u %s", room, toy_name[which]);
}

tarn_object *toy_get(struct toys *t, unsigned room, enum toy which)
{
	tarn_object **at = &t->held[room][which];
	char name[40];
	int r;

	if (*at != NULL)
		return *at;
	full_name(name, sizeof name, room, which);
	r = tarn_object_lookup(t->client, name, 0, at);
	if (r < 0 && !(which >= TOY_LIST && (r == -ENOENT || r == -ETIMEDOUT)))
		unexpected(name, r);
	return *at;
}

/* ---- locks ---- */

/* A wait is short, or for ever: then somebody else has to end it. */
static int64_t patience(struct toys *t)
{
	static const int64_t some[4] = { 0, MS / 10, 5 * MS, TARN_FOREVER };

	return some[below(&t->random, 4)];
}

static bool late(int r)
{
	return r == -EAGAIN || r == -ETIMEDOUT;
}

/* Two numbers and a name, which only the holder of the lock changes. */
static void in_the_lock(struct toys *t, volatile int64_t *n, bool fresh, const char *what)
{
	if (fresh) {
		n[1] = n[0];
		n[2] = 0;
		add(&board->passed_on, 1);
	}
	if (n[0] != n[1] || n[2] != 0)
		finding("in the %s: %lld and %lld, changed by %llx, and nobody died", what,
			(long long)n[0], (long long)n[1], (unsigned long long)n[2]);
	n[2] = (int64_t)t->who;
	n[0]++;
	if (below(&t->random, 4) == 0)
		sched_yield();
	if (n[2] != (int64_t)t->who)
		finding("in the %s: another is here, too", what);
	n[1]++;
	n[2] = 0;
	add(&board->locked, 1);
}

static volatile int64_t *numbers_of(struct toys *t, unsigned room)
{
	tarn_object *o = toy_get(t, room, TOY_NUMBERS);
	void *data;
	int r = tarn_array_data(o, &data);

	if (r < 0)
		unexpected("numbers", r);
	return data;
}

static void lock_act(struct toys *t, unsigned room)
{
	tarn_object *lock = toy_get(t, room, TOY_LOCK);
	volatile int64_t *n = numbers_of(t, room);
	int r = tarn_lock_acquire(lock, patience(t));

	if (late(r))
		return;
	if (r != 0 && r != -EOWNERDEAD)
		unexpected("lock_acquire", r);
	in_the_lock(t, n, r != 0, "lock");
	r = tarn_lock_release(lock);
	if (r < 0)
		unexpected("lock_release", r);
}

static void rlock_act(struct toys *t, unsigned room)
{
	tarn_object *lock = toy_get(t, room, TOY_RLOCK);
	volatile int64_t *n = numbers_of(t, room) + 4;
	uint64_t depth = 1 + below(&t->random, 3);

	for (uint64_t k = 0; k < depth; k++) {
		int r = tarn_rlock_acquire(lock, k == 0 ? patience(t) : 0);

		if (k == 0 && late(r))
			return;
		if (r != 0 && !(k == 0 && r == -EOWNERDEAD))
			unexpected("rlock_acquire", r);
		if (k == 0)
			in_the_lock(t, n, r != 0, "rlock");
	}
	for (uint64_t k = 0; k < depth; k++) {
		int r = tarn_rlock_release(lock);

		if (r < 0)
			unexpected("rlock_release", r);
	}
}

static void sem_act(struct toys *t, unsigned room, enum toy which)
{
	tarn_object *sem = toy_get(t, room, which);
	uint64_t free = 0;
	int r = tarn_sem_acquire(sem, patience(t));

	if (late(r))
		return;
	if (r < 0)
		unexpected("sem_acquire", r);
	r = tarn_sem_value(sem, &free);
	if (r < 0 || free >= permits[which == TOY_BOUNDED])
		finding("%s: %llu of %llu permits are free while one is ours (%d)", toy_name[which],
			(unsigned long long)free, (unsigned long long)permits[which == TOY_BOUNDED], r);
	if (below(&t->random, 4) == 0)
		sched_yield();
	r = tarn_sem_release(sem, 1);
	if (r < 0)
		unexpected("sem_release", r);
}

static void cond_act(struct toys *t, unsigned room)
{
	tarn_object *cond = toy_get(t, room, TOY_COND);
	volatile int64_t *n = numbers_of(t, room) + 8;
	int r = tarn_cond_acquire(cond, patience(t));

	if (late(r))
		return;
	if (r != 0 && r != -EOWNERDEAD)
		unexpected("cond_acquire", r);
	in_the_lock(t, n, r != 0, "condition");
	switch (below(&t->random, 4)) {
	case 0:
		r = tarn_cond_notify_all(cond);
		break;
	case 1:
		r = tarn_cond_notify(cond, 1 + (uint32_t)below(&t->random, 3));
		break;
	default:
		r = tarn_cond_wait(cond, (int64_t)below(&t->random, 3) * MS);
		if (r == 0 || r == -EOWNERDEAD || late(r)) {
			in_the_lock(t, n, r == -EOWNERDEAD, "condition after a wait");
			r = 0;
		}
	}
	if (r < 0)
		unexpected("cond", r);
	r = tarn_cond_release(cond);
	if (r < 0)
		unexpected("cond_release", r);
}

static void event_act(struct toys *t, unsigned room)
{
	tarn_object *event = toy_get(t, room, TOY_EVENT);
	int r;

	switch (below(&t->random, 4)) {
	case 0:
		r = tarn_event_clear(event);
		break;
	case 1:
		r = tarn_event_wait(event, (int64_t)below(&t->random, 2) * MS);
		r = late(r) ? 0 : r;
		break;
	default:
		r = tarn_event_set(event);
	}
	if (r < 0)
		unexpected("event", r);
}

static void barrier_act(struct toys *t, unsigned room)
{
	tarn_object *barrier = toy_get(t, room, TOY_BARRIER);
	uint32_t index = 0;
	int r = tarn_barrier_wait(barrier, (int64_t)below(&t->random, 3) * MS, &index);

	if (r == 0 && index >= PARTIES)
		finding("party %u of %u came to a barrier", index, PARTIES);
	if (r < 0 && r != -TARN_EBROKEN && !late(r))
		unexpected("barrier_wait", r);
	if (r < 0)
		r = tarn_barrier_reset(barrier);
	if (r < 0)
		unexpected("barrier_reset", r);
}

static void sum_act(struct toys *t, unsigned room)
{
	tarn_object *sum = toy_get(t, room, TOY_SUM);
	int64_t was, now;
	int r;

	add(&board->adds_tried[room], 1);
	if (below(&t->random, 2) == 0) {
		r = tarn_shared_add(sum, 1, &now);
	} else {
		r = tarn_shared_get(sum, &was);
		while (r == 0 && (r = tarn_shared_cas(sum, was, was + 1, &now)) == 0)
			was = now;
		r = r == 1 ? 0 : r;
	}
	if (r < 0)
		unexpected("a sum", r);
	add(&board->adds_done[room], 1);
}

/* ---- of a thread ---- */

void toys_open(struct toys *t, tarn_client *client, uint64_t random)
{
	memset(t, 0, sizeof *t);
	t->client = client;
	t->random = seed_of(random, 1);
	t->who = seed_of(random, 2) >> 8;
	t->hand = __atomic_fetch_add(&board->next_hand, 1, __ATOMIC_RELAXED) % HANDS;
	board->hand[t->hand].pid = (int)getpid();
	for (unsigned k = 0; k < ROOMS; k++)
		t->boxed[k] = -1;
}

static void let_go(struct toys *t, unsigned room, enum toy which)
{
	if (which == TOY_TOPIC)
		t->subscription[room] = tarn_subscription_free(t->subscription[room]);
	if (which == TOY_DICT)
		t->boxed[room] = -1;
	t->held[room][which] = tarn_object_unref(t->held[room][which]);
}

void toys_act(struct toys *t)
{
	unsigned room = (unsigned)below(&t->random, ROOMS);
	enum toy which = (enum toy)below(&t->random, TOYS);

	if (below(&t->random, 400) == 0) {
		toys_say(t, "an errand");
		errand_act(t);
		return;
	}
	if (below(&t->random, 200) == 0) {
		let_go(t, room, which);
		return;
	}
	toys_say(t, toy_name[which]);
	switch (which) {
	case TOY_LOCK:
		lock_act(t, room);
		break;
	case TOY_RLOCK:
		rlock_act(t, room);
		break;
	case TOY_SEM:
	case TOY_BOUNDED:
		sem_act(t, room, which);
		break;
	case TOY_COND:
		cond_act(t, room);
		break;
	case TOY_EVENT:
		event_act(t, room);
		break;
	case TOY_BARRIER:
		barrier_act(t, room);
		break;
	case TOY_NUMBERS:
	case TOY_SUM:
		sum_act(t, room);
		break;
	case TOY_TOPIC:
		topic_act(t, room);
		break;
	case TOY_LIST:
	case TOY_DICT:
	case TOY_NS:
		box_act(t, room, which);
		break;
	default:
		line_act(t, room, (unsigned)(which - TOY_LINE));
	}
	toys_say(t, "other things");
}

void toys_rush(struct toys *t, uint64_t n)
{
	unsigned room = (unsigned)below(&t->random, ROOMS);
	enum toy which = TOY_LINE + (enum toy)below(&t->random, LINES + 1);

	toys_say(t, toy_name[which]);
	t->hurry = true;
	for (; n > 0; n--)
		if (which == TOY_TOPIC)
			topic_act(t, room);
		else
			line_act(t, room, (unsigned)(which - TOY_LINE));
	t->hurry = false;
	toys_say(t, "other things");
}

void toys_close(struct toys *t)
{
	toys_say(t, "the end");
	for (unsigned room = 0; room < ROOMS; room++)
		for (unsigned k = 0; k < TOYS; k++)
			let_go(t, room, (enum toy)k);
	toys_say(t, "ended");
}

/* ---- of the supervisor ---- */

static int make(tarn_client *c, enum toy which, tarn_object **ret)
{
	switch (which) {
	case TOY_LOCK:
		return tarn_lock_new(c, 0, ret);
	case TOY_RLOCK:
		return tarn_rlock_new(c, 0, ret);
	case TOY_SEM:
		return tarn_sem_new(c, permits[0], ret);
	case TOY_BOUNDED:
		return tarn_bounded_sem_new(c, permits[1], ret);
	case TOY_COND:
		return tarn_cond_new(c, NULL, ret);
	case TOY_EVENT:
		return tarn_event_new(c, 0, ret);
	case TOY_BARRIER:
		return tarn_barrier_new(c, PARTIES, ret);
	case TOY_NUMBERS:
		return tarn_array_new(c, 'q', 16, ret);
	case TOY_SUM:
		return tarn_shared_new(c, 'q', ret);
	case TOY_TOPIC:
		return tarn_topic_new(c, &(tarn_topic_options){ .slots = 16, .keep = 4 }, ret);
	case TOY_LIST:
	case TOY_DICT:
	case TOY_NS:
		return box_new(c, which, ret);
	default:
		return line_new(c, (unsigned)(which - TOY_LINE), ret);
	}
}

void toys_make(tarn_client *client, tarn_object *toy[ROOMS][TOYS])
{
	char name[40];

	for (unsigned room = 0; room < ROOMS; room++)
		for (unsigned k = 0; k < TOYS; k++) {
			int r = make(client, (enum toy)k, &toy[room][k]);

			full_name(name, sizeof name, room, (enum toy)k);
			if (r == 0)
				r = tarn_object_publish(toy[room][k], name, 0);
			if (r < 0)
				unexpected(name, r);
		}
}

static unsigned wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static unsigned wrong(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("# FINDING at the end: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	return 1;
}

/* Nobody has it: so it is to be had at once, whatever its last holder was at. */
static unsigned locks_end(tarn_object *toy[TOYS])
{
	unsigned bad = 0;
	uint64_t n;
	int r;

	r = tarn_lock_acquire(toy[TOY_LOCK], 0);
	if (r != 0 && r != -EOWNERDEAD)
		bad += wrong("the lock: %s", tarn_error_last()->message);
	r = tarn_rlock_acquire(toy[TOY_RLOCK], 0);
	if (r != 0 && r != -EOWNERDEAD)
		bad += wrong("the rlock: %s", tarn_error_last()->message);
	r = tarn_cond_acquire(toy[TOY_COND], 0);
	if (r != 0 && r != -EOWNERDEAD)
		bad += wrong("the condition: %s", tarn_error_last()->message);
	for (unsigned k = 0; k < 2; k++) {
		r = tarn_sem_value(toy[k == 0 ? TOY_SEM : TOY_BOUNDED], &n);
		if (r < 0 || n != permits[k])
			bad += wrong("%llu of %llu permits are there", (unsigned long long)n,
				     (unsigned long long)permits[k]);
	}
	tarn_barrier_state state;
	r = tarn_barrier_reset(toy[TOY_BARRIER]);
	if (r == 0)
		r = tarn_barrier_facts(toy[TOY_BARRIER], &state);
	if (r < 0 || state.n_waiting != 0 || state.broken)
		bad += wrong("the barrier: %d, %u wait", r, state.n_waiting);
	return bad;
}

unsigned toys_end(tarn_client *client, tarn_object *toy[ROOMS][TOYS], uint64_t deaths)
{
	char name[40];
	unsigned bad = 0;

	for (unsigned room = 0; room < ROOMS; room++) {
		uint64_t tried = board->adds_tried[room], done = board->adds_done[room];
		int64_t sum = -1;

		bad += locks_end(toy[room]);
		tarn_shared_get(toy[room][TOY_SUM], &sum);
		if (sum < (int64_t)done || sum > (int64_t)tried)
			bad += wrong("a sum of %lld; %llu were added, %llu tried", (long long)sum,
				     (unsigned long long)done, (unsigned long long)tried);
		for (unsigned line = 0; line < LINES; line++)
			bad += line_end(toy[room][TOY_LINE + line], room, line, deaths);
		for (unsigned k = 0; k < TOYS; k++) {
			full_name(name, sizeof name, room, (enum toy)k);
			tarn_object_unpublish(client, name);
			tarn_object_unref(toy[room][k]);
		}
	}
	return bad;
}
