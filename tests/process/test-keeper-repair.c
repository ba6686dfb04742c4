/* SPDX-License-Identifier: Apache-2.0 */
/* Servers that are killed while they repair what a dead client was at, and their successors. */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/client/object.h"
#include "lib/types/memory.h"
#include "lib/types/queue.h"
#include "lib/types/topic.h"
#include "lib/types/types.h"
#include "tests/common/types.h"
#include "tests/process/keeper.h"

/*
 * Queues and topics whose departed() is that of Tarn's own, but the first server that comes to it is
 * killed at its first store to a slot, or to a queue itself. They are used by their words only.
 */
static void kill_me(int signal)
{
	(void)signal;
	kill(getpid(), SIGKILL);
}
static void die_at(const void *data, uint64_t bytes)
{
	const uintptr_t from = (uintptr_t)data & ~(uintptr_t)4095, end = (uintptr_t)data + bytes;
	struct sigaction sa = { .sa_handler = kill_me };

	sigaction(SIGSEGV, &sa, NULL);
	if (mprotect((void *)from, (end - from + 4095) & ~(size_t)4095, PROT_READ) < 0)
		abort();
}
static void die_at_the_slots(tarn_context *ctx, uint64_t ring_id)
{
	struct tarn__memory m;

	if (armed("slots") && tarn__self_memory(ctx, ring_id, &m) == 0)
		die_at(m.data, m.bytes);
}

static int topic_create(tarn_context *ctx, void *self) { return tarn__type_topic.create(ctx, self); }
static int topic_publisher(tarn_context *ctx, void *self)
{
	return tarn__type_topic.methods[TARN__TOPIC_PUBLISHER].fn(ctx, self);
}
static void topic_departed(tarn_context *ctx, void *self, uint32_t client)
{
	die_at_the_slots(ctx, ((struct tarn__topic *)self)->ring_id);
	tarn__type_topic.departed(ctx, self, client);
}
static const tarn_method topic_methods[] = {
	{ "publisher", topic_publisher, TARN_METHOD_INLINE, "b", "", NULL },
	{ 0 },
};
static const tarn_type deadly_topic = {
	.name = "DeadlyTopic", .size = sizeof(struct tarn__topic), .align = TARN__LINE,
	.concurrency = TARN_PARALLEL, .args = "|III", .create = topic_create, .methods = topic_methods,
	.departed = topic_departed,
};
TARN_TYPE_REGISTER(deadly_topic)

static int queue_create(tarn_context *ctx, void *self) { return tarn__type_queue.create(ctx, self); }
static void queue_departed(tarn_context *ctx, void *self, uint32_t client)
{
	die_at_the_slots(ctx, ((struct tarn__queue *)self)->ring_id);
	if (armed("words"))
		die_at(self, sizeof(struct tarn__queue));
	tarn__type_queue.departed(ctx, self, client);
}
static const tarn_type deadly_queue = {
	.name = "DeadlyQueue", .size = sizeof(struct tarn__queue), .align = TARN__LINE,
	.concurrency = TARN_PARALLEL, .args = "|QII", .create = queue_create,
	.departed = queue_departed,
};
TARN_TYPE_REGISTER(deadly_queue)

static void *words_of(tarn_object *o, const tarn_type *type)
{
	const struct tarn__type *t = NULL;
	struct tarn__lane *l;

	OK(tarn__lane_enter(o->base.client, &l));
	OK(tarn__type_of(l, o, &t));
	tarn__lane_leave(l);
	void *w = tarn__instance_of(o->base.client, o->base.id, type, t->index);

	PLAIN_CHECK(w != NULL);
	return w;
}

static void claim_and_die(tarn_client *c, bool topic)
{
	uint64_t turn, *slot;
	struct tarn__mpmc m;
	tarn_object *o;

	OK(tarn_object_lookup(c, "o", TARN_FOREVER, &o));
	if (topic) {
		struct tarn__topic *t = words_of(o, &deadly_topic);

		OK(tarn_callf(o, "publisher", TARN_FOREVER, "b", NULL, true));
		PLAIN_CHECK(tarn__topic_view(t, c->data, c->data_bytes, tarn_client_id(c), &m));
		PLAIN_EQ(tarn__topic_claim(t, &m, &turn, &slot), TARN__MPMC_OK);
	} else {
		struct tarn__queue *q = words_of(o, &deadly_queue);

		PLAIN_CHECK(tarn__queue_view(q, c->data, c->data_bytes, tarn_client_id(c), &m));
		tarn__queue_use(q, tarn_client_id(c));
		PLAIN_EQ(tarn__mpmc_claim(&m, &turn, &slot), TARN__MPMC_OK);
	}
	kill(getpid(), SIGKILL);
}

static void repaired_by_the_successor(const struct arena_kind *kind, bool topic)
{
	struct tarn__mpmc m;
	struct arena a;
	tarn_object *o = NULL;
	pid_t server, pid;

	kept_start(&a, kind);
	tarn_client *c = arena_client(&a, NULL);
	OK(topic ? tarn_object_newf(c, "DeadlyTopic", &o, "I", 4u)
		 : tarn_object_newf(c, "DeadlyQueue", &o, "Q", UINT64_C(4)));
	OK(tarn_object_publish(o, "o", 0));
	if (topic)
		PLAIN_CHECK(tarn__topic_view(words_of(o, &deadly_topic), c->data, c->data_bytes, 0, &m));
	else
		PLAIN_CHECK(tarn__queue_view(words_of(o, &deadly_queue), c->data, c->data_bytes, 0, &m));
	server = server_of(c);
	arm("slots");
	pid = plain_fork();
	if (pid == 0)
		claim_and_die(arena_client(&a, NULL), topic);
	PLAIN_EQ(plain_reap(pid), -SIGKILL);
	await_successor(c, server);
	/* Without its name where the successor looks it stood here for good, and all behind it. */
	PLAIN_WAIT_FOR(tarn__mpmc_state(tarn__mpmc_look(tarn__mpmc_slot(&m, 0))) == TARN__MPMC_TOMB);
	tarn_object_unref(o);
	arena_settle(c);
	tarn_client_close(c);
	arena_end(&a);
}

/* A slot as a consumer has it that is in the middle of it. */
static void take_and_die(tarn_client *c)
{
	struct tarn__queue *q;
	uint64_t turn = 0, *slot = NULL; /* the compiler cannot know that the checks stop */
	struct tarn__mpmc m;
	tarn_object *o;

	OK(tarn_object_lookup(c, "o", TARN_FOREVER, &o));
	q = words_of(o, &deadly_queue);
	PLAIN_CHECK(tarn__queue_view(q, c->data, c->data_bytes, tarn_client_id(c), &m));
	tarn__queue_use(q, tarn_client_id(c));
	PLAIN_EQ(tarn__mpmc_claim(&m, &turn, &slot), TARN__MPMC_OK);
	PLAIN_CHECK(tarn__mpmc_publish(&m, slot, turn));
	PLAIN_EQ(tarn__mpmc_take(&m, &turn, &slot), TARN__MPMC_OK);
	kill(getpid(), SIGKILL);
}

/* A queue with these flags, of which a client dies so, and the server that is to say it, at its first store. */
struct taken {
	struct arena a;
	tarn_client *c;
	tarn_object *o;
	struct tarn__queue *q;
};

static struct taken taken_open(const struct arena_kind *kind, uint32_t flags)
{
	struct taken t = { 0 };

	kept_start(&t.a, kind);
	t.c = arena_client(&t.a, NULL);
	/* A ring, for short; what is to be delivered again has runs else. */
	OK(tarn_object_newf(t.c, "DeadlyQueue", &t.o, "Q", UINT64_C(4)));
	OK(tarn_object_publish(t.o, "o", 0));
	t.q = words_of(t.o, &deadly_queue);
	t.q->flags |= flags;
	pid_t server = server_of(t.c);
	arm("words");
	pid_t pid = plain_fork();
	if (pid == 0)
		take_and_die(arena_client(&t.a, NULL));
	PLAIN_EQ(plain_reap(pid), -SIGKILL);
	await_successor(t.c, server);
	return t;
}

static void taken_close(struct taken *t)
{
	tarn_object_unref(t->o);
	arena_settle(t->c);
	tarn_client_close(t->c);
	arena_end(&t->a);
}

/* The slot says so already, and nothing is left for the successor to change there. */
ARENA_TEST(k7_an_item_is_delivered_again_though_the_server_is_killed_when_it_is_to_say_so)
{
	struct taken t = taken_open(kind, TARN__QUEUE_RETRY);

	PLAIN_WAIT_FOR(tarn__load_acquire(&t.q->retries) << 32 != 0);
	taken_close(&t);
}

/* The slot says by then that its item is counted: that is taken back, as the count. */
ARENA_TEST(k7_a_lost_item_is_counted_once_though_the_server_is_killed_when_it_counts)
{
	struct taken t = taken_open(kind, TARN__QUEUE_KEEP | TARN__QUEUE_JOIN);

	PLAIN_WAIT_FOR(tarn__load_acquire(&t.q->lost) != 0);
	tarn_client_close(arena_client(&t.a, NULL)); /* of which it is told behind that */
	arena_settle(t.c);
	PLAIN_EQ(tarn__load_acquire(&t.q->lost), 1);
	taken_close(&t);
}

ARENA_TEST(k7_a_topic_is_repaired_though_the_server_is_killed_in_it)
{
	repaired_by_the_successor(kind, true);
}
ARENA_TEST(k7_a_queue_is_repaired_though_the_server_is_killed_in_it)
{
	repaired_by_the_successor(kind, false);
}
