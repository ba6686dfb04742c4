/* SPDX-License-Identifier: Apache-2.0 */
#include "survivor.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Its cache is empty, so that the books can be compared. */
static tarn_stat books(struct survivor *v)
{
	OK(tarn_client_trim(v->c));
	scene_check(&v->s);
	return scene_stat(&v->s);
}

static bool same(const tarn_stat *a, const tarn_stat *b)
{
	return a->clients == b->clients && a->lanes == b->lanes && a->channels == b->channels &&
	       a->blocks_live == b->blocks_live && a->blocks_granted == b->blocks_granted &&
	       a->blocks_dead == b->blocks_dead && a->used_bytes == b->used_bytes &&
	       a->exports == b->exports && a->names == b->names && a->claims == b->claims &&
	       a->tickets == b->tickets && a->pending_allocs == b->pending_allocs &&
	       a->evictions == b->evictions;
}

/* The lane of the survivor's second thread stays for the next one: it is there from the beginning. */
static void *open_lane(void *client)
{
	OK(tarn_client_ping(client, TARN_FOREVER));
	return NULL;
}

/* How many children the process has. Orphans of the killed become ours, as a subreaper's. */
static unsigned children(void)
{
	char path[64];
	unsigned n = 0;
	int pid;

	snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
	FILE *f = fopen(path, "re");
	while (f != NULL && fscanf(f, "%d", &pid) == 1)
		n++;
	if (f != NULL)
		fclose(f);
	return n;
}

/* They are ours as soon as the killed has ended, and die with it. */
static void bury_orphans(const struct survivor *v)
{
	while (children() > v->children)
		PLAIN_CHECK(waitpid(-1, NULL, __WALL) > 0);
}

struct survivor survivor_open(void)
{
	const tarn_server_options o = { .arena_bytes = 8u << 20, .max_blocks = 4096 };
	struct survivor v = { .s = scene_open(&o) };

	v.c = scene_client(&v.s);
	pthread_t t;

	OK(tarn_client_ping(v.c, TARN_FOREVER));
	PLAIN_EQ(pthread_create(&t, NULL, open_lane, v.c), 0);
	pthread_join(t, NULL);
	v.rest = books(&v);
	v.children = children();
	return v;
}

void survivor_close(struct survivor *v)
{
	tarn_client_close(v->c);
	scene_close(&v->s);
}

/* ---- a pool of the survivor's own ---- */

static void pool_open(struct survivor *v)
{
	tarn_object *o;

	v->other = scene_client(&v->s);
	OK(tarn_pool_new(v->other, &(tarn_pool_options){ .workers = 1 }, &v->pool));
	OK(tarn_pool_share(v->pool, &o));
	OK(tarn_object_publish(o, OPERATIONS_POOL, 0));
	tarn_object_unref(o);
}

/* It works as before, whatever one who used it was at. */
static void pool_finish(struct survivor *v, const char *what)
{
	tarn_block *mine, *b;
	tarn_builder args;
	tarn_parcel p;
	int n;

	OK(tarn_block_new(v->other, BLOCK_BYTES, 0, &mine));
	tarn_builder_init(&args);
	tarn_put(&args, "iB", 1, mine);
	int r = tarn_pool_apply(v->pool, "worker_of_the_killed", &args, 60 * SECOND, &p);
	PLAIN_CHECKF(r == 0, "%s: the survivor's pool: %s", what, tarn_error_last()->message);
	tarn_builder_fini(&args);
	OK(tarn_parcel_get(&p, "iB", &n, &b));
	PLAIN_CHECK(n == 2 && b == mine);
	tarn_parcel_fini(&p);
	tarn_block_unref(mine);
	OK(tarn_object_unpublish(v->other, OPERATIONS_POOL));
	OK(tarn_pool_close(v->pool));
	OK(tarn_pool_join(v->pool, 60 * SECOND));
	v->pool = tarn_pool_unref(v->pool);
	v->other = tarn_client_close(v->other);
}

void survivor_prepare(struct survivor *v, const struct operation *o, tarn_token *ret_kept)
{
	OK(tarn_block_new(v->c, BLOCK_BYTES, 0, &v->kept));
	operations_fill(v->kept, WHOLE);
	OK(tarn_block_export(v->kept, NULL, ret_kept));
	if (o->alone)
		return;
	if (o->sync)
		sync_open(&v->sync, v->c, o->waiter);
	if (o->pool)
		pool_open(v);
	OK(tarn_channel_new(v->c, o->capacity, "down", &v->down));
	OK(tarn_channel_bind(v->down, TARN_PRODUCER));
	OK(tarn_channel_new(v->c, o->capacity, "up", &v->up));
	OK(tarn_channel_bind(v->up, TARN_CONSUMER));
	OK(tarn_channel_send(v->down, v->kept, 0, 0));
	for (int i = 1; i < ITEMS; i++) {
		tarn_block *b;

		OK(tarn_block_new(v->c, BLOCK_BYTES, 0, &b));
		operations_fill(b, WHOLE);
		OK(tarn_channel_give(v->down, b, 0, 0));
	}
}

/* Overwrites what is free. */
static void churn(tarn_client *c)
{
	tarn_block *b[16];

	for (int i = 0; i < 16; i++) {
		OK(tarn_block_new(c, BLOCK_BYTES, 0, &b[i]));
		operations_fill(b[i], 0xee);
	}
	for (int i = 0; i < 16; i++)
		tarn_block_unref(b[i]);
}

/* A queue of the dead, which had put 1, 2 and perhaps 3, 4 and got some: nobody waits at it for the dead, what
 * is there is in order, and it goes on. */
static void use_queue(tarn_object *q, const char *what)
{
	int64_t item, n = 0;
	uint64_t number;
	tarn_parcel p;
	int r;

	while (tarn_queue_get_item(q, &p, &number, 0) == 0) {
		OK(tarn_value_int(tarn_parcel_at(&p, 0), &item));
		PLAIN_CHECKF(item > n && item <= 4, "%s: %lld behind %lld", what, (long long)item,
			     (long long)n);
		n = item;
		tarn_parcel_fini(&p);
		r = tarn_queue_ack(q, number);
		PLAIN_CHECK(r == 0 || r == -TARN_ESTATE); /* it may need none */
	}
	PLAIN_CHECKF(tarn_queue_size(q) == 0, "%s: an item cannot be got", what);
	OK(tarn_queue_putf(q, 60 * SECOND, "i", 5));
	OK(tarn_queue_get(q, &p, 60 * SECOND));
	tarn_parcel_fini(&p);
	r = tarn_queue_task_done(q);
	if (r == 0)
		r = tarn_queue_join(q, 60 * SECOND);
	PLAIN_CHECKF(r == 0 || r == -TARN_ESTATE, "%s: %s", what, tarn_error_last()->message);
}

static void use_topic(tarn_object *t)
{
	tarn_subscription *s;
	tarn_parcel p;

	OK(tarn_topic_subscribe(t, NULL, &s));
	OK(tarn_topic_publishf(t, 60 * SECOND, "i", 7));
	int r = tarn_subscription_recv(s, &p, 60 * SECOND);

	while (r == -EOWNERDEAD) /* told of the child */
		r = tarn_subscription_recv(s, &p, 60 * SECOND);
	OK(r);
	tarn_parcel_fini(&p);
	tarn_subscription_free(s);
}

/* A stream of the dead, its only supplier, which had put 1, 2 and perhaps 3, 4, and had ended perhaps. */
static void use_stream(tarn_object *o, const char *what)
{
	tarn_stream *s;
	tarn_builder five;
	tarn_parcel p;
	int64_t item, n = 0;
	int r;

	OK(tarn_stream_open(o, &s));
	while ((r = tarn_stream_next(s, &p, 0)) == 0) {
		OK(tarn_value_int(tarn_parcel_at(&p, 0), &item));
		PLAIN_CHECKF(item > n && item <= 4, "%s: %lld behind %lld", what, (long long)item,
			     (long long)n);
		n = item;
		tarn_parcel_fini(&p);
	}
	PLAIN_CHECKF(r == -TARN_EOF || r == -EAGAIN, "%s: %s", what, tarn_error_last()->message);
	if (r == -EAGAIN) /* in its place */
		OK(tarn_stream_end(s));
	FAILS(tarn_stream_next(s, &p, 60 * SECOND), TARN_EOF);
	OK(tarn_stream_renew(s));
	OK(tarn_stream_await_renew(s, 0));
	tarn_builder_init(&five);
	tarn_put(&five, "i", 5);
	OK(tarn_stream_put(s, &five, 0));
	tarn_builder_fini(&five);
	OK(tarn_stream_next(s, &p, 60 * SECOND));
	tarn_parcel_fini(&p);
	tarn_stream_close(s);
}

/* A pool whose maker is dead: everybody is told so, and waits for nothing. */
static void use_pool(tarn_object *o, const char *what)
{
	tarn_pool *pool;
	tarn_parcel p;
	int r = tarn_pool_open(o, &pool);

	if (r == 0) {
		r = tarn_pool_apply(pool, "worker_of_the_killed", NULL, 60 * SECOND, &p);
		if (r == -TARN_EREMOTE && tarn_fault_is(tarn_error_fault(), "PoolLost"))
			r = -EPIPE;
		tarn_pool_unref(pool);
	}
	PLAIN_CHECKF(r == -EPIPE, "%s: the pool of the dead: %s", what, tarn_error_last()->message);
}

static void use_object(tarn_object *o, const char *what)
{
	const char *type = tarn_object_type_name(o);

	if (strcmp(type, "tarn.Queue") == 0)
		use_queue(o, what);
	else if (strcmp(type, "tarn.Topic") == 0)
		use_topic(o);
	else if (strcmp(type, "tarn.Stream") == 0)
		use_stream(o, what);
	else if (strcmp(type, "tarn.Pool") == 0)
		use_pool(o, what);
	tarn_object_unref(o);
}

/* Asking takes the server a turn, in which it goes on with the reclaim: most often once is enough. */
void survivor_await_gone(struct survivor *v, pid_t dead)
{
	for (int i = 0; i < 20; i++)
		if (scene_client_gone(&v->s, dead))
			return;
	PLAIN_WAIT_FOR(scene_client_gone(&v->s, dead));
}

void survivor_overwrite(struct survivor *v, const char *what)
{
	scene_check(&v->s);
	churn(v->c);
	PLAIN_CHECKF(operations_filled(v->kept, WHOLE), "%s: the survivor's block is damaged", what);
}

void survivor_finish(struct survivor *v, const struct operation *o, const tarn_token *kept, pid_t dead,
		     const char *what)
{
	tarn_object *object[4];
	tarn_block *got[16], *more;
	int n = 0, n_objects = 0, r;

	/* What nobody can see must be gone by then, and what one can see must be there still. */
	if (o->late)
		survivor_await_gone(v, dead);
	while (!o->alone) {
		tarn_channel *ch;

		r = tarn_channel_recv(v->up, &got[n], NULL, 60 * SECOND);
		if (r == -TARN_ECLOSED)
			break;
		if (r == -TARN_EKIND) {
			if (tarn_channel_recv_channel(v->up, &ch, NULL, 0) == 0) {
				tarn_channel_unref(ch);
				continue;
			}
			OK(tarn_channel_recv_object(v->up, &object[n_objects++], NULL, 0));
			continue;
		}
		PLAIN_CHECKF(r == 0, "%s: the survivor receives: %s", what,
			     tarn_error_last()->message);
		PLAIN_CHECK(n++ < 15);
	}
	if (!o->alone) {
		/* The ends of the dead go one after the other: a send or two may still find room. */
		while ((r = tarn_channel_send(v->down, v->kept, 0, 60 * SECOND)) == 0)
			;
		PLAIN_CHECKF(r == -TARN_ECLOSED, "%s: a send to the dead gives %s", what,
			     tarn_error_name(r));
	}
	/* Its channels were closed before things in place were told of its end. */
	if (o->threads && !o->pool)
		bury_orphans(v);
	survivor_await_gone(v, dead);
	for (int i = 0; i < n_objects; i++)
		use_object(object[i], what);
	if (o->sync)
		sync_finish(&v->sync, v->c, what);
	if (o->pool)
		pool_finish(v, what);
	survivor_overwrite(v, what);
	for (int i = 0; i < n; i++) {
		PLAIN_CHECKF(operations_filled(got[i], WHOLE), "%s: item %d is damaged", what, i);
		tarn_block_unref(got[i]);
	}
	/* Its token was used by the child, or is still good. */
	r = tarn_block_import(v->c, kept, &more);
	PLAIN_CHECKF(r == 0 || r == -TARN_ESTALE, "%s: %s", what, tarn_error_name(r));
	if (r == 0)
		tarn_block_unref(more);
	tarn_block_unref(v->kept);
	if (!o->alone) {
		tarn_channel_unref(v->down);
		tarn_channel_unref(v->up);
	}
}

void survivor_rest(struct survivor *v, const char *what)
{
	uint64_t deadline = scene_now() + 20000000000u * plain_timeout_scale();
	tarn_stat now = books(v);

	while (!same(&now, &v->rest)) {
		PLAIN_CHECKF(scene_now() < deadline,
			     "%s: %lld clients, %lld lanes, %lld live, %lld granted, %lld bytes, %lld "
			     "channels, %lld exports, %lld names, %lld claims, %lld tickets, %lld "
			     "evictions too many", what,
			     (long long)(now.clients - v->rest.clients),
			     (long long)(now.lanes - v->rest.lanes),
			     (long long)(now.blocks_live - v->rest.blocks_live),
			     (long long)(now.blocks_granted - v->rest.blocks_granted),
			     (long long)(now.used_bytes - v->rest.used_bytes),
			     (long long)(now.channels - v->rest.channels),
			     (long long)(now.exports - v->rest.exports),
			     (long long)(now.names - v->rest.names),
			     (long long)(now.claims - v->rest.claims),
			     (long long)(now.tickets - v->rest.tickets),
			     (long long)(now.evictions - v->rest.evictions));
		now = books(v);
	}
}
