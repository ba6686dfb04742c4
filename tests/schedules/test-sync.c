/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks, semaphores, events, conditions and barriers under the scheduler: the real code of clients
 * and of the server's repair, one client of which is killed at any access to a shared word. All
 * schedules with a few switches, then random ones, in all memories (scheduler.h). Nobody looks
 * again by himself, so a wake that is lost with the dead one is a wait without end.
 *
 *	TARN_SCHED_RUNS=N	so many times ten searched and five random runs of each kind (1300)
 *	TARN_SCHED_MEMORY=M	only "at-once", "tso", "pso", "views", or several with commas
 */
#include "scheduler.h"

#include "lib/types/types.h"
#include "shm/sync.h"
#include "tests/common/plain.h"
#include "tarn/sync.h"

#define CLIENTS 4u

/* ---- the world ---- */

static union {
	struct tarn__mutex mutex;
	struct tarn__sem sem;
	struct tarn__event event;
	struct tarn__cond cond;
	struct tarn__barrier barrier;
} thing;

/* What users keep under a lock, or write before they let others go on: shared words, too. */
static uint64_t kept[CLIENTS];

static struct {
	uint64_t written;  /* last to kept[0] */
	uint32_t inside;   /* client + 1 that is in the lock; not a shared word: nobody switches here */
	unsigned told;     /* EOWNERDEAD */
	bool done[CLIENTS], dead;
	bool had[CLIENTS]; /* its notification */
	bool held;         /* the dead one was named in the word */
	bool present;      /* at the barrier, or about to let all pass */
	unsigned passed, broken;
} now;

static struct tarn_object *it; /* all that is looked at of it is the client */

static bool is_shared(const void *p)
{
	const char *c = p;

	return (c >= (const char *)&thing && c < (const char *)(&thing + 1)) ||
	       (c >= (const char *)kept && c < (const char *)(kept + CLIENTS));
}

uint64_t shim_load64(const uint64_t *p, bool ordered)
{
	if (is_shared(p))
		sched_point();
	return ordered ? sched_load(p, 8) : sched_load_relaxed(p, 8);
}
uint32_t shim_load32(const uint32_t *p, bool ordered)
{
	if (is_shared(p))
		sched_point();
	return (uint32_t)(ordered ? sched_load(p, 4) : sched_load_relaxed(p, 4));
}
void shim_store64(uint64_t *p, uint64_t v, bool ordered)
{
	if (is_shared(p))
		sched_point();
	sched_store(p, 8, v, ordered);
}
void shim_store32(uint32_t *p, uint32_t v, bool ordered)
{
	if (is_shared(p))
		sched_point();
	sched_store(p, 4, v, ordered);
}
void shim_pause(void)
{
}
void ss_rmw(const void *p, unsigned bytes, int order)
{
	if (is_shared(p))
		sched_point();
	sched_rmw(p, bytes, order);
}

void ss_access(const volatile void *p, int order)
{
	(void)order;
	if (is_shared((const void *)(uintptr_t)p))
		sched_point();
}

int sync_futex_wait(const uint32_t *word, uint32_t value)
{
	sched_point();
	sched_drain();
	if ((uint32_t)sched_newest(word, 4) != value)
		return 0;
	sched_block(word, UINT64_MAX);
	return 0;
}
int sync_futex_wake(const uint32_t *word, int n)
{
	sched_point();
	sched_drain();
	return (int)sched_wake(word, (unsigned)n);
}

uint32_t sync_actor(void)
{
	return tarn__owner((uint32_t)sched_process() + 1, 0);
}
void *sync_instance(void)
{
	return &thing;
}

/* ---- who acts ---- */

static void must(bool holds, const char *what)
{
	if (!holds)
		sched_fail("%s", what);
}
static uintptr_t self(void)
{
	return (uintptr_t)sched_process();
}

/* In a lock: what the holder before wrote, who may be dead, is seen. */
static void use_what_is_kept(void)
{
	must(sched_load_relaxed(&kept[0], 8) == now.written, "what was written in the lock is not seen by the next");
	sched_store(&kept[0], 8, ++now.written, false);
}

/* What the test itself looks at: as it is, and whoever runs learns nothing. */
static uint32_t seen_by_test(const uint32_t *word)
{
	return *(const volatile uint32_t *)word;
}

static bool names_the_dead(const uint32_t *word)
{
	return tarn__owner_client(seen_by_test(word)) == 1;
}

/* The server: client 0 is killed, wherever it is now. */
static void server(void *departed)
{
	void (*tell)(uint32_t client) = (void (*)(uint32_t))departed;

	sched_point();
	if (now.done[0])
		return; /* it has ended before: nothing to see */
	sched_kill(0);
	now.dead = true;
	tell(1);
}

static void switched(unsigned thread)
{
	(void)thread;
}

struct scene_of {
	const char *name;
	void (*begin)(void);
	void (*client)(void *arg);
	unsigned clients;
	void (*departed)(uint32_t client);
	void (*end)(void);
};

static void begin(void *arg)
{
	const struct scene_of *s = arg;

	memset(&thing, 0, sizeof thing);
	memset(&now, 0, sizeof now);
	memset(kept, 0, sizeof kept);
	if (s->begin != NULL)
		s->begin();
	for (unsigned i = 0; i < s->clients; i++)
		sched_thread(i, s->client, NULL);
	sched_thread(CLIENTS, server, (void *)s->departed);
}
static void end(void *arg)
{
	const struct scene_of *s = arg;

	if (s->end != NULL)
		s->end();
}

/* ---- lock ---- */

static void lock_client(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		int r = tarn_lock_acquire(it, TARN_FOREVER);

		must(r == 0 || r == -EOWNERDEAD, "a lock is had, or had from a dead one");
		now.told += r == -EOWNERDEAD;
		must(now.inside == 0 || (now.dead && now.inside == 1), "two are in the lock");
		now.inside = (uint32_t)self() + 1;
		use_what_is_kept();
		sched_point();
		must(now.inside == self() + 1, "two are in the lock");
		now.inside = 0;
		must(tarn_lock_release(it) == 0, "it is released");
	}
	now.done[self()] = true;
}
static void lock_departed(uint32_t client)
{
	now.held = names_the_dead(&thing.mutex.word);
	tarn__mutex_departed(&thing.mutex, client);
}
static void lock_end(void)
{
	unsigned left = (thing.mutex.word & TARN__OWNER_DIED) != 0;

	if (now.told + left != (now.held ? 1u : 0u))
		sched_fail("a death in the lock %d is told %u times, and %u to be told", now.held, now.told,
			   left);
	must((thing.mutex.word & TARN__OWNER_MASK) == 0, "the lock is free at the end");
}

/* ---- semaphore ---- */

static void sem_begin(void)
{
	thing.sem.total = thing.sem.value = 1;
}
static void sem_client(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		must(tarn_sem_acquire(it, TARN_FOREVER) == 0, "a permit is had");
		must(now.inside == 0 || (now.dead && now.inside == 1), "two have the one permit");
		now.inside = (uint32_t)self() + 1;
		use_what_is_kept();
		sched_point();
		must(now.inside == self() + 1, "two have the one permit");
		now.inside = 0;
		must(tarn_sem_release(it, 1) == 0, "it is given back");
	}
	now.done[self()] = true;
}
static void sem_departed(uint32_t client)
{
	tarn__sem_departed(&thing.sem, client);
}
static void sem_end(void)
{
	if (tarn__guard_is_due(&thing.sem.guard))
		tarn__sem_repair(&thing.sem);
	/* One that was killed while it gave back what nobody had... is no case here: all had theirs. */
	must(thing.sem.value == 1 && thing.sem.total == 1, "the permit is there at the end");
}

/* Client 0 releases two at once and 1 one after the other; 2 and 3 take one each: enough, whoever
 * dies. */
static void signal_client(void *arg)
{
	(void)arg;
	if (self() == 0)
		must(tarn_sem_release(it, 2) == 0, "permits are given");
	else if (self() == 1)
		must(tarn_sem_release(it, 1) == 0 && tarn_sem_release(it, 1) == 0, "permits are given");
	else
		must(tarn_sem_acquire(it, TARN_FOREVER) == 0, "a permit is had");
	now.done[self()] = true;
}

/* ---- event ---- */

static void event_client(void *arg)
{
	(void)arg;
	if (self() < 2) {
		sched_store(&kept[0], 8, 1, false);
		must(tarn_event_set(it) == 0, "it is set");
	} else {
		must(tarn_event_wait(it, TARN_FOREVER) == 0, "it was set");
		must(thing.event.word & TARN__EVENT_SET, "it is set");
		must(sched_load_relaxed(&kept[0], 8) == 1, "what came before the event is not seen after it");
	}
	now.done[self()] = true;
}
static void event_departed(uint32_t client)
{
	(void)client;
	tarn__event_departed(&thing.event);
}

/* ---- condition ---- */

static unsigned waiting(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < CLIENTS; i++)
	{
		uint32_t w = seen_by_test(&thing.cond.slots.slot[i]);

		n += (w & TARN__SLOT_WAITING) && !(now.dead && tarn__owner_client(w) == 1);
	}
	return n;
}
static void lock_cond(void)
{
	int r = tarn_cond_acquire(it, TARN_FOREVER);

	must(r == 0 || r == -EOWNERDEAD, "the condition's lock is had");
}
static void notify_one(void)
{
	lock_cond();
	must(tarn_cond_notify(it, 1) == 0, "it is notified");
	must(tarn_cond_release(it) == 0, "it is released");
}
static void cond_wait_once(void)
{
	lock_cond();
	int r = tarn_cond_wait(it, TARN_FOREVER);

	now.had[self()] = true;
	must(r == 0 || r == -EOWNERDEAD, "it was notified");
	must(tarn_cond_release(it) == 0, "it is released");
}
/* 0 and 1 wait, 2 notifies once; the second notification comes only if 0 took the first alive. */
static void cond_client(void *arg)
{
	(void)arg;
	if (self() < 2) {
		cond_wait_once();
	} else {
		while (waiting() < 2 && !now.dead)
			sched_yield_now();
		while (waiting() == 0 && !now.done[1])
			sched_yield_now();
		notify_one();
		while (!now.done[0] && !now.dead && !now.done[1])
			sched_yield_now();
		/* 0 has had the first, if it came back with the lock; else it is 1's now, by the server. */
		if (!now.dead || now.had[0] || now.held)
			notify_one();
		while (!now.done[1])
			sched_yield_now();
	}
	now.done[self()] = true;
}
static void cond_departed(uint32_t client)
{
	now.held = names_the_dead(&thing.cond.own.word);
	tarn__cond_departed(&thing.cond, client);
}

/* 0 notifies and is killed in it; 1 waits; 2 notifies again when 0 is gone. */
static void notifier_client(void *arg)
{
	(void)arg;
	if (self() == 1) {
		cond_wait_once();
	} else if (self() == 0) {
		while (waiting() == 0)
			sched_yield_now();
		notify_one();
	} else {
		while (!now.dead && !now.done[0])
			sched_yield_now();
		while (waiting() == 0 && !now.done[1] &&
		       !(seen_by_test(&thing.cond.slots.slot[0]) & TARN__SLOT_CALLED))
			sched_yield_now();
		if (waiting() != 0)
			notify_one();
	}
	now.done[self()] = true;
}

/* ---- barrier ---- */

static void barrier_begin(void)
{
	thing.barrier.parties = 3;
}
static void barrier_client(void *arg)
{
	(void)arg;
	if (self() < 3) {
		sched_store(&kept[self()], 8, 1, false);
		int r = tarn_barrier_wait(it, TARN_FOREVER, NULL);

		for (unsigned i = 0; r == 0 && i < 3; i++)
			must(sched_load_relaxed(&kept[i], 8) == 1, "what a party wrote before the barrier is not "
							   "seen behind it");
		must(r == 0 || r == -TARN_EBROKEN, "all came, or it is broken");
		now.passed += r == 0;
		now.broken += r == -TARN_EBROKEN;
	} else {
		/* Who never came breaks nothing: then somebody must say so. */
		while (!now.dead && !now.done[0])
			sched_yield_now();
		if (now.dead && !now.present)
			must(tarn_barrier_abort(it) == 0, "it is broken");
	}
	now.done[self()] = true;
}
static void barrier_departed(uint32_t client)
{
	now.held = names_the_dead(&thing.barrier.guard.word);
	now.present = now.held && thing.barrier.phase != TARN__BARRIER_FILLING;
	for (unsigned i = 0; i < CLIENTS; i++)
		now.present |= tarn__owner_client(seen_by_test(&thing.barrier.slots.slot[i])) ==
			       client;
	tarn__barrier_departed(&thing.barrier, client);
}
static void barrier_end(void)
{
	must(now.dead || now.passed == 3, "all who live have passed");
	must(now.passed == 0 || now.broken == 0, "some have passed, and others are told that it is broken");
	for (unsigned i = 0; i < CLIENTS; i++)
		must((thing.barrier.slots.slot[i] & ~TARN__SLOT_DEAD) == 0, "no slot is left");
}

/* One party of three never comes, and 0 is killed: 1 must be told, by way of the server if 0 waited. */
static void short_client(void *arg)
{
	(void)arg;
	if (self() < 2) {
		must(tarn_barrier_wait(it, TARN_FOREVER, NULL) == -TARN_EBROKEN, "it is broken");
	} else {
		while (!now.dead)
			sched_yield_now();
		if (!now.present)
			must(tarn_barrier_abort(it) == 0, "it is broken");
	}
	now.done[self()] = true;
}

/* ---- running ---- */

static uint64_t budget(void)
{
	const char *text = getenv("TARN_SCHED_RUNS");

	return text != NULL ? strtoull(text, NULL, 10) : 1300;
}

static void play(const struct scene_of *s)
{
	const struct sched_play p = { .begin = begin, .end = end, .is_shared = is_shared,
				      .switch_out = switched, .switch_in = switched,
				      .arg = (void *)(uintptr_t)s };
	struct sched_stats stats = { 0 };

	it = calloc(1, sizeof *it);
	for (enum sched_memory memory = SCHED_AT_ONCE; memory < SCHED_MEMORIES; memory++) {
		enum sched_verdict v = SCHED_ALL;

		if (!sched_memory_is_wanted(memory))
			continue;

		for (unsigned switches = 1; switches <= 2 && v != SCHED_FAILED; switches++)
			v = sched_search(&p, memory, switches, 10 * budget(), &stats);
		if (v != SCHED_FAILED)
			v = sched_random(&p, memory, 1, 5 * budget(), &stats);
		if (v == SCHED_FAILED && getenv("TARN_SCHEDULES_DUMP") != NULL)
			for (unsigned i = 0; i < 24; i++)
				fprintf(stderr, "%3u %08x\n", 4 * i, ((const uint32_t *)(void *)&thing)[i]);
		PLAIN_CHECKF(v != SCHED_FAILED, "%s", sched_failure());
	}
	fprintf(stderr, "%s: %llu runs of up to %llu steps\n", s->name, (unsigned long long)stats.runs,
		(unsigned long long)stats.longest);
	free(it);
}

#define PLAY(name_, ...)                                                     \
	PLAIN_TEST_TIMEOUT(name_, 600)                                       \
	{                                                                    \
		const struct scene_of s = { .name = #name_, __VA_ARGS__ };   \
		play(&s);                                                    \
	}

PLAY(t6_a_lock_goes_on_whoever_is_killed_wherever, .client = lock_client, .clients = 3,
     .departed = lock_departed, .end = lock_end)
PLAY(t8_a_semaphore_goes_on_whoever_is_killed_wherever, .begin = sem_begin, .client = sem_client,
     .clients = 3, .departed = sem_departed, .end = sem_end)
PLAY(t8_signals_reach_who_waits_whichever_sender_is_killed_wherever, .client = signal_client,
     .clients = 4, .departed = sem_departed)
PLAY(t10_an_event_reaches_who_waits_whichever_setter_is_killed_wherever, .client = event_client,
     .clients = 4, .departed = event_departed)
PLAY(t9_a_notification_reaches_a_waiter_whichever_is_killed_wherever, .client = cond_client,
     .clients = 3, .departed = cond_departed)
PLAY(t9_a_notification_is_not_lost_with_its_sender, .client = notifier_client, .clients = 3,
     .departed = cond_departed)
PLAY(t11_a_barrier_lets_all_go_on_whoever_is_killed_wherever, .begin = barrier_begin,
     .client = barrier_client, .clients = 4, .departed = barrier_departed, .end = barrier_end)
PLAY(t11_a_barrier_breaks_with_a_party_that_waited_though_another_never_comes, .begin = barrier_begin,
     .client = short_client, .clients = 3, .departed = barrier_departed)

PLAIN_MAIN()
