/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that break the rules, or die: what they had is for others, or stays theirs. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/client/handle.h"
#include "lib/client/object.h"
#include "lib/types/queue-item.h"
#include "lib/types/types.h"
#include "sets.h"
#include "shm/sync.h"

#define SIZE 3000u

/* What they and we tell each other. */
struct words {
	uint32_t step;
	uint32_t go;     /* what the next step waits for */
	int32_t result;  /* of the first thing that an evicted one asked for */
};

static struct words *words[2];

static tarn_object *imported(tarn_client *c, const tarn_token *token)
{
	tarn_object *o;

	OK(tarn_object_import(c, token, &o));
	return o;
}

static void offer(struct world *w, unsigned i, tarn_object *o)
{
	w->o[i] = o;
	OK(tarn_object_export(o, &(tarn_export_options){ .uses = TARN_USES_UNLIMITED }, &w->token[i]));
}

static pid_t bear(struct world *w, void (*be)(struct world *, struct words *), unsigned i)
{
	words[i] = scene_shared(sizeof *words[i]);
	const pid_t pid = plain_fork();

	if (pid == 0) {
		be(w, words[i]);
		for (;;)
			pause();
	}
	arena_await(&words[i]->step, 1);
	return pid;
}

/* ---- eviction ---- */

static void post(tarn_client *c, enum tarn__message kind, uint64_t id, uint64_t a, uint64_t b, uint64_t d)
{
	const uint64_t word[7] = { tarn__header(kind, 1, 0, 7), id, a, b, d };

	tarn__requests_post(&tarn__lane_mine(c)->requests, word);
}

/* Sends into a channel of which it has the other end: it is out when that is read. */
static void be_offender(struct world *w, struct words *m)
{
	tarn_client *e = arena_client(&w->a, NULL);
	tarn_channel *way, *back;
	tarn_block *b[3];
	tarn_parcel p;

	OK(tarn_channel_open(e, "to the victim", TARN_FOREVER, &way));
	OK(tarn_channel_bind(way, TARN_CONSUMER));
	OK(tarn_channel_open(e, "from the victim", TARN_FOREVER, &back));
	OK(tarn_channel_bind(back, TARN_PRODUCER));
	OK(tarn_channel_recv(way, &b[0], NULL, TARN_FOREVER));
	OK(tarn_queue_get(imported(e, &w->token[0]), &p, TARN_FOREVER));
	OK(tarn_lock_acquire(imported(e, &w->token[1]), TARN_FOREVER));
	for (unsigned i = 1; i < 3; i++)
		b[i] = sets_block(e, SIZE, i + 3);
	arena_settle(e);
	arena_step(&m->step, 1);
	arena_await(&m->go, 1);
	OK(tarn_channel_give(back, b[1], 4, TARN_FOREVER));
	post(e, TARN__MSG_SEND, tarn_channel_id(way), 7, tarn_block_id(b[0]), SIZE);
	OK(tarn_channel_give(back, b[2], 5, TARN_FOREVER));
	arena_step(&m->step, 2);
	m->result = tarn_client_ping(e, TARN_FOREVER);
	arena_step(&m->step, 3);
}

/* Gives up what it has not got: it is out some epochs later, for it might be on its way. */
static void be_slow_offender(struct world *w, struct words *m)
{
	tarn_client *e = arena_client(&w->a, NULL);
	tarn_object *own = NEW(e, "Magnifier", "d", 5.0);

	OK(tarn_object_publish(own, "the offender's", 0));
	OK(tarn_sem_acquire(imported(e, &w->token[2]), TARN_FOREVER));
	arena_settle(e);
	arena_step(&m->step, 1);
	arena_await(&m->go, 1);
	post(e, TARN__MSG_RELEASE, tarn_block_id(w->b[1]), 1, 0, 0);
	arena_step(&m->step, 2);
	arena_await(&m->go, 2);
	while ((m->result = tarn_client_ping(e, TARN_FOREVER)) == 0)
		;
	arena_step(&m->step, 3);
}

void sets_eviction_prepare(struct world *w)
{
	tarn_object *o;

	OK(tarn_channel_new(w->c, 4, "to the victim", &w->ch[0]));
	OK(tarn_channel_bind(w->ch[0], TARN_PRODUCER));
	OK(tarn_channel_new(w->d, 4, "from the victim", &w->ch[1]));
	OK(tarn_channel_bind(w->ch[1], TARN_CONSUMER));
	for (unsigned i = 0; i < 2; i++) {
		w->b[i] = sets_block(w->c, SIZE, i);
		OK(tarn_channel_send(w->ch[0], w->b[0], i, TARN_FOREVER));
	}
	OK(tarn_queue_new(w->c, &(tarn_queue_options){ .maxsize = 4, .flags = TARN_QUEUE_REDELIVER }, &o));
	OK(tarn_queue_putf(o, TARN_FOREVER, "iB", 6, w->b[0]));
	offer(w, 0, o);
	OK(tarn_lock_new(w->c, 0, &o));
	offer(w, 1, o);
	OK(tarn_sem_new(w->c, 1, &o));
	offer(w, 2, o);
	w->victim = bear(w, be_offender, 0);
	w->other = bear(w, be_slow_offender, 1);
	w->a.evictions = 2;
}

void sets_eviction_held(struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		arena_step(&words[i]->go, 1);
		arena_await(&words[i]->step, 2);
	}
	w->asleep = w->victim;
}

void sets_eviction_ping(struct world *w)
{
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}

void sets_eviction_send(struct world *w)
{
	w->b[2] = sets_block(w->c, SIZE, 2);
	OK(tarn_channel_send(w->ch[0], w->b[2], 2, TARN_FOREVER));
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}

/* It has its permit, its lock, its item as long as it lives, and no service. */
static void evicted(struct world *w)
{
	tarn_object *o;

	for (unsigned i = 0; i < 2; i++) {
		arena_step(&words[i]->go, 2);
		arena_await(&words[i]->step, 3);
		PLAIN_CHECKF(words[i]->result == -TARN_EEVICTED, "%u: %s", i, tarn_error_name(words[i]->result));
	}
	PLAIN_EQ(tarn_lock_locked(w->o[1]), 1);
	FAILS(tarn_sem_acquire(w->o[2], 0), EAGAIN);
	PLAIN_EQ(tarn_queue_empty(w->o[0]), 1);
	OK(tarn_object_lookup(w->c, "the offender's", 0, &o));
	PLAIN_CHECK(types_scale(o, 1) == 5);
	tarn_object_unref(o);
}

static void item_is(tarn_object *queue, int number, unsigned seed)
{
	tarn_parcel p;
	tarn_block *b;
	int n;

	OK(tarn_queue_get(queue, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "iB", &n, &b));
	PLAIN_EQ(n, number);
	PLAIN_CHECK(arena_filled(b, seed));
	tarn_parcel_fini(&p);
	const int r = tarn_queue_task_done(queue);
	PLAIN_CHECKF(r == 0 || r == -TARN_ESTATE, "%s", tarn_error_name(r)); /* it is one, or wants none */
}

/* What it sent, also behind what it is out for, is others'. */
void sets_eviction_finish(struct world *w)
{
	tarn_block *b;
	uint64_t tag;
	int r;

	evicted(w);
	plain_kill(w->victim);
	plain_kill(w->other);
	for (uint64_t i = 4; i <= 5; i++) {
		OK(tarn_channel_recv(w->ch[1], &b, &tag, TARN_FOREVER));
		PLAIN_EQ(tag, i);
		PLAIN_CHECK(arena_filled(b, (unsigned)i));
		tarn_block_unref(b);
	}
	FAILS(tarn_channel_recv(w->ch[1], &b, NULL, TARN_FOREVER), TARN_ECLOSED);
	item_is(w->o[0], 6, 0);
	r = tarn_lock_acquire(w->o[1], TARN_FOREVER);
	PLAIN_CHECKF(r == -EOWNERDEAD, "%s", tarn_error_name(r));
	OK(tarn_lock_release(w->o[1]));
	OK(tarn_sem_acquire(w->o[2], TARN_FOREVER));
	for (unsigned i = 0; i < 3; i++)
		PLAIN_CHECK(arena_filled(w->b[i], i));
	sets_end(w);
}

/* ---- one that is stopped ---- */

/* Has sent a block, and asked for something; is stopped before it can know the answer. */
static void be_stopped(struct world *w, struct words *m)
{
	tarn_client *e = arena_client(&w->a, NULL);
	tarn_object *counter = imported(e, &w->token[0]), *lock = imported(e, &w->token[1]);
	tarn_channel *way, *back;
	tarn_pending *call;
	tarn_builder one;
	tarn_parcel p;
	tarn_block *b;
	unsigned add;

	OK(tarn_channel_open(e, "to the victim", TARN_FOREVER, &way));
	OK(tarn_channel_bind(way, TARN_CONSUMER));
	OK(tarn_channel_open(e, "from the victim", TARN_FOREVER, &back));
	OK(tarn_channel_bind(back, TARN_PRODUCER));
	OK(tarn_lock_acquire(lock, TARN_FOREVER));
	b = sets_block(e, SIZE, 4);
	OK(tarn_method_find(counter, "inline_add", &add)); /* now, for it asks the server */
	arena_settle(e);
	arena_step(&m->step, 1);
	arena_await(&m->go, 1);
	OK(tarn_channel_give(back, b, 4, TARN_FOREVER));
	tarn_builder_init(&one);
	OK(tarn_put_int(&one, 1));
	OK(tarn_call_start_n(counter, add, &one, &call));
	tarn_builder_fini(&one);
	raise(SIGSTOP);
	m->result = tarn_call_wait(call, &p, TARN_FOREVER);
	if (m->result == 0)
		tarn_parcel_fini(&p);
	tarn_call_free(call);
	OK(tarn_channel_recv(way, &b, NULL, TARN_FOREVER));
	PLAIN_CHECK(arena_filled(b, 0));
	OK(tarn_lock_release(lock));
	tarn_block_unref(b);
	tarn_object_unref(counter);
	tarn_object_unref(lock);
	tarn_channel_unref(way);
	tarn_channel_unref(back);
	tarn_client_close(e);
	_exit(0);
}

void sets_stopped_prepare(struct world *w)
{
	tarn_object *o;

	OK(tarn_channel_new(w->c, 4, "to the victim", &w->ch[0]));
	OK(tarn_channel_bind(w->ch[0], TARN_PRODUCER));
	OK(tarn_channel_new(w->d, 4, "from the victim", &w->ch[1]));
	OK(tarn_channel_bind(w->ch[1], TARN_CONSUMER));
	offer(w, 0, NEW(w->c, "Counter", ""));
	OK(tarn_lock_new(w->c, 0, &o));
	offer(w, 1, o);
	w->b[0] = sets_block(w->c, SIZE, 0);
	w->victim = bear(w, be_stopped, 0);
}

void sets_stopped_held(struct world *w)
{
	int status;

	arena_step(&words[0]->go, 1);
	PLAIN_EQ(waitpid(w->victim, &status, WUNTRACED), w->victim);
	PLAIN_CHECKF(WIFSTOPPED(status), "%x", status);
}

void sets_stopped_send(struct world *w)
{
	OK(tarn_channel_send(w->ch[0], w->b[0], 1, TARN_FOREVER));
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}

/* What it sent before comes, and what it has is its own. */
void sets_stopped_receive(struct world *w)
{
	tarn_block *b;

	OK(tarn_channel_recv(w->ch[1], &b, NULL, TARN_FOREVER));
	PLAIN_CHECK(arena_filled(b, 4));
	tarn_block_unref(b);
	FAILS(tarn_lock_acquire(w->o[1], 0), EAGAIN);
	OK(tarn_client_ping(w->d, TARN_FOREVER));
}

/* It goes on as if nothing had been. */
void sets_stopped_finish(struct world *w)
{
	int64_t n;

	FAILS(tarn_lock_acquire(w->o[1], 0), EAGAIN);
	kill(w->victim, SIGCONT);
	PLAIN_EQ(plain_reap(w->victim), 0);
	OK(tarn_lock_acquire(w->o[1], 0));
	OK(tarn_lock_release(w->o[1]));
	SETS_ASK(w, tarn_callf(w->o[0], "inline_get", TARN_FOREVER, NULL, "q", &n));
	PLAIN_EQ(n, sets_went(w, words[0]->result));
	sets_end(w);
}

/* ---- the death of who had locks and permits, and waited ---- */

static void *party(void *arg)
{
	OK(tarn_barrier_wait(arg, TARN_FOREVER, NULL));
	return NULL;
}

static void *waiter(void *arg)
{
	OK(tarn_cond_acquire(arg, TARN_FOREVER));
	OK(tarn_cond_wait(arg, TARN_FOREVER));
	return NULL;
}

static unsigned waiting(tarn_object *cond)
{
	const struct tarn__cond *c = tarn__object_instance(cond, &tarn__type_condition);
	unsigned n = 0;

	/* Relaxed: it is looked at again and again. */
	for (uint32_t i = 0; i < tarn__slots_used(&c->slots); i++)
		n += (tarn__load32_relaxed(&c->slots.slot[i]) & TARN__SLOT_WAITING) != 0;
	return n;
}

static void be_owner(struct world *w, struct words *m)
{
	tarn_client *e = arena_client(&w->a, NULL);
	tarn_object *o[5];
	pthread_t t;

	for (unsigned i = 0; i < 5; i++)
		o[i] = imported(e, &w->token[i]);
	OK(tarn_lock_acquire(o[0], TARN_FOREVER));
	for (unsigned i = 0; i < 2; i++) {
		OK(tarn_rlock_acquire(o[1], TARN_FOREVER));
		OK(tarn_sem_acquire(o[2], TARN_FOREVER));
	}
	PLAIN_EQ(pthread_create(&t, NULL, party, o[3]), 0);
	PLAIN_EQ(pthread_create(&t, NULL, waiter, o[4]), 0);
	arena_settle(e);
	arena_step(&m->step, 1);
}

void sets_owner_prepare(struct world *w)
{
	tarn_barrier_state b;
	tarn_object *o;

	OK(tarn_lock_new(w->c, 0, &o));
	offer(w, 0, o);
	OK(tarn_rlock_new(w->c, 0, &o));
	offer(w, 1, o);
	OK(tarn_sem_new(w->c, 2, &o));
	offer(w, 2, o);
	OK(tarn_barrier_new(w->c, 3, &o));
	offer(w, 3, o);
	OK(tarn_cond_new(w->c, NULL, &o));
	offer(w, 4, o);
	for (unsigned i = 0; i < 3; i++)
		w->o[5 + i] = imported(w->d, &w->token[2 + i]);
	w->victim = bear(w, be_owner, 0);
	do
		OK(tarn_barrier_facts(w->o[3], &b));
	while (b.n_waiting != 1);
	PLAIN_WAIT_FOR(waiting(w->o[4]) == 1);
	PLAIN_EQ(waiting(w->o[7]), 1); /* the proxy asks the server what it is, once */
}

/* It is called, cannot have the lock, and dies: another is to be called. */
void sets_owner_held(struct world *w)
{
	PLAIN_EQ(waiting(w->o[4]), 2);
	OK(tarn_cond_acquire(w->o[4], TARN_FOREVER));
	OK(tarn_cond_notify(w->o[4], 1));
	plain_kill(w->victim);
	OK(tarn_cond_release(w->o[4]));
}

void sets_owner_lock(struct world *w)
{
	FAILS(tarn_lock_acquire(w->o[0], TARN_FOREVER), EOWNERDEAD);
	OK(tarn_lock_release(w->o[0]));
}
void sets_owner_rlock(struct world *w)
{
	FAILS(tarn_rlock_acquire(w->o[1], TARN_FOREVER), EOWNERDEAD);
	OK(tarn_rlock_release(w->o[1]));
}
void sets_owner_permit(struct world *w)
{
	OK(tarn_sem_acquire(w->o[5], TARN_FOREVER));
	OK(tarn_sem_release(w->o[5], 1));
}
void sets_owner_party(struct world *w)
{
	FAILS(tarn_barrier_wait(w->o[6], TARN_FOREVER, NULL), TARN_EBROKEN);
}
void sets_owner_called(struct world *w)
{
	OK(tarn_cond_acquire(w->o[7], TARN_FOREVER));
	OK(tarn_cond_wait(w->o[7], TARN_FOREVER));
	OK(tarn_cond_release(w->o[7]));
}

/* All of them can be used, and nobody is told twice. */
void sets_owner_finish(struct world *w)
{
	tarn_barrier_state b;
	uint64_t n;

	OK(tarn_lock_acquire(w->o[0], 0));
	OK(tarn_lock_release(w->o[0]));
	OK(tarn_rlock_acquire(w->o[1], 0));
	PLAIN_EQ(tarn_rlock_depth(w->o[1]), 1);
	OK(tarn_rlock_release(w->o[1]));
	OK(tarn_sem_value(w->o[2], &n));
	PLAIN_EQ(n, 2);
	OK(tarn_barrier_facts(w->o[3], &b));
	PLAIN_CHECK(b.broken && b.n_waiting == 0);
	OK(tarn_barrier_reset(w->o[3]));
	OK(tarn_cond_acquire(w->o[4], 0));
	OK(tarn_cond_release(w->o[4]));
	PLAIN_EQ(waiting(w->o[4]), 0);
	sets_end(w);
}

/* ---- the death of who used queues and topics ---- */

/* Claims a slot for an item with a reference, has the server told of it, and gets no further. */
static void begin_put(tarn_object *queue, tarn_block *block)
{
	struct tarn_client *c = queue->base.client;
	struct tarn__lane *l;
	struct tarn__item_out item;
	struct tarn__mpmc m;
	tarn_builder b;
	uint64_t turn = 0, *slot = NULL;

	PLAIN_CHECK(tarn__queue_view(tarn__object_instance(queue, &tarn__type_queue), c->data, c->data_bytes,
				     c->number, &m));
	tarn__queue_use(tarn__object_instance(queue, &tarn__type_queue), c->number);
	tarn_builder_init(&b);
	OK(tarn_put(&b, "iB", 1, block));
	OK(tarn__item_begin(queue, tarn__item_room(m.stride), TARN__QUEUE_REFS, &b, TARN_FOREVER, &item));
	PLAIN_EQ(tarn__mpmc_claim(&m, &turn, &slot), TARN__MPMC_OK);
	OK(tarn__lane_enter(c, &l));
	OK(tarn__lane_prepare(l, item.stash.slots, 0, UINT64_MAX));
	tarn__item_write(l, &item, turn, (void *)slot);
	tarn__lane_leave(l);
	tarn__item_end(&item);
	tarn_builder_fini(&b);
}

static void be_user(struct world *w, struct words *m)
{
	tarn_client *e = arena_client(&w->a, NULL);
	const tarn_subscription_options all = { .policy = TARN_TOPIC_BLOCK };
	tarn_subscription *reader;
	tarn_object *o[4];
	tarn_parcel p[2];

	for (unsigned i = 0; i < 4; i++)
		o[i] = imported(e, &w->token[i]);
	for (unsigned i = 0; i < 2; i++)
		OK(tarn_queue_get(o[i], &p[i], TARN_FOREVER));
	begin_put(o[2], sets_block(e, SIZE, 9));
	OK(tarn_topic_subscribe(o[3], &all, &reader));
	OK(tarn_topic_publishf(o[3], TARN_FOREVER, "iB", 0, sets_block(e, SIZE, 0)));
	arena_settle(e);
	arena_step(&m->step, 1);
}

void sets_users_prepare(struct world *w)
{
	tarn_object *o;

	OK(tarn_queue_new(w->c, &(tarn_queue_options){ .maxsize = 4,
				.flags = TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER }, &o));
	offer(w, 0, o);
	OK(tarn_queue_new(w->c, &(tarn_queue_options){ .maxsize = 4, .flags = TARN_QUEUE_JOINABLE }, &o));
	offer(w, 1, o);
	for (unsigned i = 0; i < 2; i++) {
		w->b[i] = sets_block(w->c, SIZE, i);
		OK(tarn_queue_putf(w->o[i], TARN_FOREVER, "iB", (int)i, w->b[i]));
	}
	OK(tarn_queue_new(w->c, &(tarn_queue_options){ .maxsize = 2 }, &o));
	offer(w, 2, o);
	OK(tarn_topic_new(w->c, &(tarn_topic_options){ .slots = 4, .keep = 2 }, &o));
	offer(w, 3, o);
	w->o[4] = imported(w->d, &w->token[0]);
	w->o[5] = imported(w->d, &w->token[2]);
	w->o[6] = imported(w->d, &w->token[3]);
	w->victim = bear(w, be_user, 0);
	OK(tarn_topic_subscribe(w->o[6], &(tarn_subscription_options){ .policy = TARN_TOPIC_BLOCK, .old = 1 },
				&w->reader));
	for (int i = 1; i < 4; i++)
		OK(tarn_topic_publishf(w->o[3], TARN_FOREVER, "iB", i, w->b[0]));
}

void sets_users_held(struct world *w)
{
	plain_kill(w->victim);
}

/* What the dead one had not acknowledged comes again. */
void sets_users_again(struct world *w)
{
	item_is(w->o[4], 0, 0);
}
void sets_users_join(struct world *w)
{
	FAILS(tarn_queue_join(w->o[1], TARN_FOREVER), EOWNERDEAD);
}
/* One has room beside what the dead one began; */
void sets_users_put(struct world *w)
{
	for (int i = 1; i < 3; i++)
		OK(tarn_queue_putf(w->o[2], TARN_FOREVER, "iB", i, w->b[0]));
}
/* and both come, when that is over. */
void sets_users_get(struct world *w)
{
	for (int i = 1; i < 3; i++)
		item_is(w->o[5], i, 0);
}
/* Nobody waits for a subscriber that is dead. */
void sets_users_publish(struct world *w)
{
	tarn_parcel p;

	OK(tarn_subscription_recv(w->reader, &p, TARN_FOREVER));
	tarn_parcel_fini(&p);
	OK(tarn_topic_publishf(w->o[3], TARN_FOREVER, "iB", 4, w->b[1]));
}

void sets_users_finish(struct world *w)
{
	tarn_parcel p;
	int r, told = 0, n = 0;

	OK(tarn_queue_join(w->o[0], 0));
	OK(tarn_queue_join(w->o[1], 0)); /* told once */
	for (unsigned i = 0; i < 3; i++)
		PLAIN_EQ(tarn_queue_size(w->o[i]), 0);
	PLAIN_EQ(tarn_topic_subscribers(w->o[3]), 1);
	/* Of the dead publisher it is told once, when it has all. */
	while ((r = tarn_subscription_recv(w->reader, &p, 0)) != -EAGAIN) {
		PLAIN_CHECKF(r == 0 || r == -EOWNERDEAD, "%s", tarn_error_name(r));
		told += r != 0;
		n += r == 0;
		if (r == 0)
			tarn_parcel_fini(&p);
	}
	PLAIN_EQ(told, 1);
	PLAIN_EQ(n, 4);
	w->reader = tarn_subscription_free(w->reader);
	for (unsigned i = 0; i < 2; i++)
		PLAIN_CHECK(arena_filled(w->b[i], i));
	sets_end(w);
}
