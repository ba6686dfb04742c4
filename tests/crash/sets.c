/* SPDX-License-Identifier: Apache-2.0 */
#include "sets.h"

#include <signal.h>
#include <unistd.h>

#define SIZE 3000u

bool sets_went(struct world *w, int r)
{
	PLAIN_CHECKF(r == 0 || r == -TARN_EINTERRUPTED, "%s", tarn_error_last()->message);
	/* Relaxed: read when the actors have ended. */
	if (r != 0)
		__atomic_add_fetch(&w->interrupted, 1, __ATOMIC_RELAXED);
	return r == 0;
}

tarn_block *sets_block(tarn_client *c, size_t size, unsigned seed)
{
	tarn_block *b;

	OK(tarn_block_new_with(c, size, &(tarn_block_options){ .timeout_ns = INT64_C(600000000000) }, &b));
	PLAIN_EQ(tarn_block_size(b), size);
	arena_fill(b, seed);
	return b;
}

void sets_end(struct world *w)
{
	for (unsigned i = 0; i < SETS_OBJECTS; i++) {
		tarn_block_unref(w->b[i]);
		tarn_object_unref(w->o[i]);
	}
	for (unsigned i = 0; i < SETS_CHANNELS; i++)
		tarn_channel_unref(w->ch[i]);
}

/* A channel from c to d. */
static void open_way(struct world *w, const char *name, unsigned i)
{
	OK(tarn_channel_new(w->c, 8, name, &w->ch[i]));
	OK(tarn_channel_open(w->d, name, TARN_FOREVER, &w->ch[i + 1]));
	OK(tarn_channel_bind(w->ch[i], TARN_PRODUCER));
	OK(tarn_channel_bind(w->ch[i + 1], TARN_CONSUMER));
}

static void receive(tarn_channel *from, uint64_t tag, unsigned seed)
{
	tarn_block *b;
	uint64_t found;

	OK(tarn_channel_recv(from, &b, &found, TARN_FOREVER));
	PLAIN_EQ(found, tag);
	PLAIN_CHECK(arena_filled(b, seed));
	tarn_block_unref(b);
}

/* ---- references that are sent, dropped, exported ---- */

static void refs_prepare(struct world *w)
{
	open_way(w, "way", 0);
	for (unsigned i = 0; i < 6; i++)
		w->b[i] = sets_block(w->c, SIZE, i);
	OK(tarn_channel_send(w->ch[0], w->b[0], 1, TARN_FOREVER));
	OK(tarn_channel_send(w->ch[0], w->b[1], 2, TARN_FOREVER));
	OK(tarn_channel_recv(w->ch[1], &w->b[6], NULL, TARN_FOREVER));
	OK(tarn_block_export(w->b[5], NULL, &w->token[0]));
}

static void refs_send(struct world *w)
{
	OK(tarn_channel_send(w->ch[0], w->b[2], 3, TARN_FOREVER));
	OK(tarn_channel_give(w->ch[0], w->b[3], 4, TARN_FOREVER));
	w->b[3] = NULL;
	OK(tarn_block_seal(w->b[0]));
	w->b[4] = tarn_block_unref(w->b[4]);
	w->b[1] = tarn_block_unref(w->b[1]); /* it lies in the channel */
	OK(tarn_block_export(w->b[2], NULL, &w->token[1]));
}

static void refs_receive(struct world *w)
{
	uint64_t tag;

	w->b[6] = tarn_block_unref(w->b[6]);
	OK(tarn_channel_recv(w->ch[1], &w->b[6], &tag, TARN_FOREVER));
	PLAIN_EQ(tag, 2);
	OK(tarn_block_import(w->d, &w->token[0], &w->b[7]));
}

static void refs_resize(struct world *w)
{
	tarn_block *mine = sets_block(w->c, 2 * SIZE, 9), *other = sets_block(w->c, SIZE, 10);

	OK(tarn_block_resize(mine, SIZE));
	tarn_block_unref(mine);
	tarn_block_unref(other);
	OK(tarn_client_trim(w->c)); /* blocks are given back */
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}

static void refs_finish(struct world *w)
{
	receive(w->ch[1], 3, 2);
	receive(w->ch[1], 4, 3);
	PLAIN_CHECK(arena_filled(w->b[0], 0) && tarn_block_sealed(w->b[0]));
	PLAIN_CHECK(arena_filled(w->b[2], 2) && arena_filled(w->b[5], 5));
	PLAIN_CHECK(arena_filled(w->b[6], 1) && arena_filled(w->b[7], 5));
	OK(tarn_block_import(w->d, &w->token[1], &w->b[4]));
	PLAIN_CHECK(arena_filled(w->b[4], 2));
	sets_end(w);
}

/* ---- memory ---- */

static const size_t sizes[] = { SIZE, 300000, 1500000, 60 };

static void memory_prepare(struct world *w)
{
	for (unsigned i = 4; i < 8; i++)
		w->b[i] = sets_block(w->c, 1u << (2 * i), i); /* 256 ... 16384 */
}

static void memory_get(struct world *w, unsigned i)
{
	w->b[i + 4] = tarn_block_unref(w->b[i + 4]);
	w->b[i] = sets_block(i < 2 ? w->c : w->d, sizes[i], i + 20);
}
static void memory_0(struct world *w)
{
	memory_get(w, 0);
}
static void memory_1(struct world *w)
{
	memory_get(w, 1);
}
static void memory_2(struct world *w)
{
	memory_get(w, 2);
}
static void memory_3(struct world *w)
{
	memory_get(w, 3);
}

static void memory_finish(struct world *w)
{
	for (unsigned i = 0; i < 4; i++)
		PLAIN_CHECK(arena_filled(w->b[i], i + 20)); /* none lies in another */
	sets_end(w);
}

/* ---- channels that are made, bound, closed, dropped ---- */

static void channels_prepare(struct world *w)
{
	open_way(w, "closes", 0);
	for (unsigned i = 1; i <= 3; i++) {
		tarn_block *b = sets_block(w->c, SIZE, i);

		OK(tarn_channel_give(w->ch[0], b, i, TARN_FOREVER));
	}
	open_way(w, "dropped", 2);
	w->b[0] = sets_block(w->c, SIZE, 7);
	OK(tarn_channel_send(w->ch[2], w->b[0], 7, TARN_FOREVER));
	OK(tarn_channel_send_channel(w->ch[2], w->ch[0], 8, TARN_FOREVER));
	w->ch[2] = tarn_channel_unref(w->ch[2]);
}

static void channels_close(struct world *w)
{
	OK(tarn_channel_close(w->ch[0]));
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}
static void channels_receive(struct world *w)
{
	receive(w->ch[1], 1, 1);
	OK(tarn_channel_new(w->d, 16, "new", &w->ch[4]));
}
static void channels_make(struct world *w)
{
	OK(tarn_channel_new(w->c, 4, NULL, &w->ch[2]));
	w->ch[2] = tarn_channel_unref(w->ch[2]);
}
/* With what lies in it, a channel among that. */
static void channels_drop(struct world *w)
{
	w->ch[3] = tarn_channel_unref(w->ch[3]);
	OK(tarn_client_ping(w->d, TARN_FOREVER));
}

static void channels_finish(struct world *w)
{
	tarn_block *b;

	receive(w->ch[1], 2, 2);
	receive(w->ch[1], 3, 3);
	FAILS(tarn_channel_recv(w->ch[1], &b, NULL, TARN_FOREVER), TARN_ECLOSED);
	OK(tarn_channel_open(w->c, "new", TARN_FOREVER, &w->ch[5]));
	OK(tarn_channel_bind(w->ch[5], TARN_PRODUCER));
	OK(tarn_channel_bind(w->ch[4], TARN_CONSUMER));
	OK(tarn_channel_send(w->ch[5], w->b[0], 9, TARN_FOREVER));
	receive(w->ch[4], 9, 7);
	sets_end(w);
}

/* ---- tokens and names ---- */

static void names_prepare(struct world *w)
{
	w->o[0] = NEW(w->c, "Magnifier", "d", 2.0);
	w->o[1] = NEW(w->c, "Magnifier", "d", 3.0);
	OK(tarn_object_publish(w->o[0], "two", 0));
	w->b[0] = sets_block(w->c, SIZE, 1);
	OK(tarn_block_export(w->b[0], NULL, &w->token[0]));
	OK(tarn_object_export(w->o[1], NULL, &w->token[1]));
}

static void names_publish(struct world *w)
{
	OK(tarn_object_publish(w->o[1], "three", 0));
}
static void names_lookup(struct world *w)
{
	OK(tarn_object_lookup(w->d, "two", TARN_FOREVER, &w->o[2]));
}
static void names_revoke(struct world *w)
{
	OK(tarn_token_revoke(w->c, &w->token[0]));
}
static void names_import(struct world *w)
{
	OK(tarn_object_import(w->d, &w->token[1], &w->o[3]));
}
static void names_weak(struct world *w)
{
	const tarn_weak weak = tarn_weak_from(w->o[0]);

	OK(tarn_weak_lock(&weak, &w->o[4]));
}

static void names_finish(struct world *w)
{
	static const double factor[] = { 2, 3, 2, 3, 2 };
	tarn_block *b;

	FAILS(tarn_block_import(w->d, &w->token[0], &b), TARN_ESTALE);
	OK(tarn_object_lookup(w->d, "three", TARN_FOREVER, &w->o[5]));
	PLAIN_CHECK(tarn_object_same(w->o[5], w->o[3]) && tarn_object_same(w->o[4], w->o[0]));
	for (unsigned i = 0; i < 5; i++)
		PLAIN_CHECK(types_scale(w->o[i], 1) == factor[i]);
	OK(tarn_object_unpublish(w->c, "two"));
	OK(tarn_object_unpublish(w->c, "three"));
	sets_end(w);
}

/* ---- a client's death is closed ---- */

static void be_victim(struct world *w, uint32_t *step)
{
	tarn_client *e = arena_client(&w->a, NULL);
	tarn_channel *way, *back;
	tarn_block *b[2];
	tarn_object *o;
	tarn_parcel p;

	OK(tarn_channel_open(e, "to the victim", TARN_FOREVER, &way));
	OK(tarn_channel_bind(way, TARN_CONSUMER));
	OK(tarn_channel_open(e, "from the victim", TARN_FOREVER, &back));
	OK(tarn_channel_bind(back, TARN_PRODUCER));
	OK(tarn_channel_recv(way, &b[0], NULL, TARN_FOREVER));
	b[1] = sets_block(e, SIZE, 4);
	OK(tarn_channel_send(back, b[1], 4, TARN_FOREVER));
	OK(tarn_object_import(e, &w->token[0], &o));
	OK(tarn_queue_get(o, &p, TARN_FOREVER));
	OK(tarn_object_import(e, &w->token[1], &o));
	OK(tarn_lock_acquire(o, TARN_FOREVER));
	b[1] = sets_block(e, SIZE, 5);
	arena_settle(e);
	arena_step(step, 1);
	for (;;)
		pause();
}

static void death_prepare(struct world *w)
{
	uint32_t *step = scene_shared(sizeof *step);

	OK(tarn_channel_new(w->c, 4, "to the victim", &w->ch[0]));
	OK(tarn_channel_bind(w->ch[0], TARN_PRODUCER));
	OK(tarn_channel_new(w->d, 4, "from the victim", &w->ch[1]));
	OK(tarn_channel_bind(w->ch[1], TARN_CONSUMER));
	for (unsigned i = 0; i < 2; i++) {
		w->b[i] = sets_block(w->c, SIZE, i + 1);
		OK(tarn_channel_send(w->ch[0], w->b[i], i + 1, TARN_FOREVER));
	}
	OK(tarn_queue_new(w->c, &(tarn_queue_options){ .maxsize = 4,
				.flags = TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER }, &w->o[0]));
	OK(tarn_queue_putf(w->o[0], TARN_FOREVER, "iB", 6, w->b[0]));
	OK(tarn_object_export(w->o[0], NULL, &w->token[0]));
	OK(tarn_lock_new(w->c, 0, &w->o[1]));
	OK(tarn_object_export(w->o[1], NULL, &w->token[1]));
	w->victim = plain_fork();
	if (w->victim == 0)
		be_victim(w, step);
	arena_await(step, 1);
}

static void death_held(struct world *w)
{
	plain_kill(w->victim);
}

static void death_ping(struct world *w)
{
	w->b[2] = sets_block(w->c, SIZE, 3);
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}

static void death_finish(struct world *w)
{
	tarn_block *b;
	tarn_parcel p;
	int n;

	receive(w->ch[1], 4, 4);
	FAILS(tarn_channel_recv(w->ch[1], &b, NULL, TARN_FOREVER), TARN_ECLOSED);
	OK(tarn_queue_get(w->o[0], &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "iB", &n, &b));
	PLAIN_CHECK(n == 6 && arena_filled(b, 1));
	tarn_parcel_fini(&p);
	OK(tarn_queue_task_done(w->o[0]));
	OK(tarn_queue_join(w->o[0], TARN_FOREVER));
	n = tarn_lock_acquire(w->o[1], TARN_FOREVER);
	PLAIN_CHECKF(n == -EOWNERDEAD || n == 0, "%s", tarn_error_name(n));
	OK(tarn_lock_release(w->o[1]));
	for (unsigned i = 0; i < 3; i++)
		PLAIN_CHECK(arena_filled(w->b[i], i + 1));
	sets_end(w);
}

/* ---- clients come and go ---- */

static void attach_prepare(struct world *w)
{
	w->e = arena_client(&w->a, NULL);
	w->b[0] = sets_block(w->e, SIZE, 1);
	tarn_block_unref(w->b[0]);
	w->b[0] = sets_block(w->c, SIZE, 2);
}
static void attach_one(struct world *w)
{
	tarn_client *f = arena_client(&w->a, NULL);
	tarn_block *b = sets_block(f, SIZE, 3);

	PLAIN_CHECK(arena_filled(b, 3));
	tarn_block_unref(b);
	tarn_client_close(f);
}
static void attach_detach(struct world *w)
{
	w->e = tarn_client_close(w->e);
}
static void attach_ping(struct world *w)
{
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}
static void *attach_lane(void *arg)
{
	attach_ping(arg);
	return NULL;
}
static void attach_thread(struct world *w)
{
	pthread_t t;

	PLAIN_EQ(pthread_create(&t, NULL, attach_lane, w), 0);
	PLAIN_EQ(pthread_join(t, NULL), 0);
}
static void attach_finish(struct world *w)
{
	PLAIN_CHECK(arena_filled(w->b[0], 2));
	attach_one(w);
	sets_end(w);
}

#define REFS refs_prepare, { refs_send, refs_receive, refs_resize }, NULL, refs_finish
#define MEMORY memory_prepare, { memory_0, memory_1, memory_2, memory_3 }, NULL, memory_finish
#define CHANNELS                                                                                          \
	channels_prepare, { channels_close, channels_receive, channels_make, channels_drop }, NULL,       \
		channels_finish
#define NAMES                                                                                             \
	names_prepare, { names_publish, names_lookup, names_revoke, names_import, names_weak }, NULL,     \
		names_finish
#define DEATH death_prepare, { death_ping }, death_held, death_finish
#define ATTACH attach_prepare, { attach_one, attach_detach, attach_ping, attach_thread }, NULL, attach_finish
#define CALLS                                                                                             \
	sets_calls_prepare, { sets_calls_add, sets_calls_link, sets_calls_make, sets_calls_text }, NULL,  \
		sets_calls_finish
#define SLOW                                                                                              \
	sets_slow_prepare, { sets_slow_add, sets_slow_put, sets_slow_make, sets_slow_blocks }, NULL,      \
		sets_slow_finish
#define LISTS                                                                                             \
	sets_lists_prepare, { sets_lists_append, sets_lists_extend, sets_lists_dict, sets_lists_sort },   \
		NULL, sets_lists_finish
#define QUEUES                                                                                            \
	sets_queues_prepare, { sets_queues_put, sets_queues_get, sets_queues_publish, sets_queues_grow }, \
		NULL, sets_queues_finish
#define EVICTION                                                                                          \
	sets_eviction_prepare, { sets_eviction_ping, sets_eviction_send }, sets_eviction_held,            \
		sets_eviction_finish
#define STOPPED                                                                                           \
	sets_stopped_prepare, { sets_stopped_send, sets_stopped_receive }, sets_stopped_held,             \
		sets_stopped_finish
#define OWNER                                                                                             \
	sets_owner_prepare,                                                                               \
		{ sets_owner_lock, sets_owner_rlock, sets_owner_permit, sets_owner_party,                 \
		  sets_owner_called },                                                                    \
		sets_owner_held, sets_owner_finish
#define USERS                                                                                             \
	sets_users_prepare,                                                                               \
		{ sets_users_again, sets_users_join, sets_users_put, sets_users_get, sets_users_publish },\
		sets_users_held, sets_users_finish
#define ROOM                                                                                              \
	sets_room_prepare,                                                                                \
		{ sets_room_wait, sets_room_give, sets_room_refuse, sets_room_quota, sets_room_less },    \
		NULL, sets_room_finish
#define NUMBERS                                                                                           \
	sets_numbers_prepare, { sets_numbers_wait, sets_numbers_give, sets_numbers_make }, NULL,          \
		sets_numbers_finish
#define CYCLES                                                                                            \
	sets_cycles_prepare,                                                                              \
		{ sets_cycles_links, sets_cycles_lists, sets_cycles_channels, sets_cycles_queues }, NULL, \
		sets_cycles_finish

const struct message_set message_sets[] = {
	{ "references", REFS },
	{ "memory", MEMORY },
	{ "channels", CHANNELS },
	{ "tokens and names", NAMES },
	{ "calls", CALLS },
	{ "calls of executors", SLOW },
	{ "lists and dicts", LISTS },
	{ "queues and topics", QUEUES },
	{ "a client's death", DEATH },
	{ "attach and detach", ATTACH },
	{ "calls with io_uring", CALLS, .uring = true },
	{ "eviction", EVICTION },
	{ "a client that is stopped", STOPPED },
	{ "an owner's death", OWNER },
	{ "death at queues and topics", USERS },
	{ "no memory left", ROOM },
	{ "no numbers left", NUMBERS, .full = true },
	{ "cycles", CYCLES },
	{ "successor of references", REFS, .takes_over = 3 },
	{ "successor of calls", CALLS, .takes_over = 7 },
	{ "successor of executors", SLOW, .takes_over = 10 },
	{ "successor of lists", LISTS, .takes_over = 8 },
	{ "successor of queues", QUEUES, .takes_over = 5 },
	{ "successor of a death", DEATH, .takes_over = 9 },
	{ "successor of an eviction", EVICTION, .takes_over = 8 },
	{ "successor of a stopped one's", STOPPED, .takes_over = 8 },
	{ "successor of an owner's death", OWNER, .takes_over = 8 },
	{ "successor at queues", USERS, .takes_over = 8 },
	{ "successor without memory", ROOM, .takes_over = 4 },
	{ "successor of cycles", CYCLES, .takes_over = 12 },
};
const size_t n_message_sets = sizeof message_sets / sizeof *message_sets;
