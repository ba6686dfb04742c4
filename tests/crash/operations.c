/* SPDX-License-Identifier: Apache-2.0 */
#include "operations.h"

#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

void operations_fill(tarn_block *b, unsigned char byte)
{
	memset(tarn_block_data(b), byte, tarn_block_size(b));
}

bool operations_filled(const tarn_block *b, unsigned char byte)
{
	const unsigned char *p = tarn_block_data(b);

	for (size_t i = 0; i < tarn_block_size(b); i++)
		if (p[i] != byte)
			return false;
	return true;
}

/* ---- blocks ---- */

static void allocate(struct world *w)
{
	OK(tarn_block_new(w->c, 3000, 0, &w->b[0]));
	OK(tarn_block_new(w->c, 2000, TARN_BLOCK_ZEROED, &w->b[1]));
	OK(tarn_block_new(w->c, 300000, 0, &w->b[2])); /* a run of pages */
}

static void warm(struct world *w)
{
	tarn_block *b;

	OK(tarn_block_new(w->c, 3000, 0, &b));
	tarn_block_unref(b);
}

static void recycle(struct world *w)
{
	tarn_block *b;

	for (int i = 0; i < 3; i++) {
		OK(tarn_block_new(w->c, 3000, 0, &b));
		tarn_block_unref(b);
	}
}

static void trim(struct world *w)
{
	OK(tarn_client_trim(w->c));
}

static void seal(struct world *w)
{
	OK(tarn_block_seal(w->own));
}

static void resize(struct world *w)
{
	OK(tarn_block_resize(w->own, 100));
	OK(tarn_block_resize(w->own, 120));
}

static void slice(struct world *w)
{
	tarn_block *s;

	OK(tarn_block_slice(w->own, 10, 100, &s));
	tarn_block_unref(w->own);
	OK(tarn_channel_give(w->out, s, 0, 0));
}

static void views(struct world *w)
{
	void *view;

	OK(tarn_block_cow(w->own, &view));
	OK(tarn_block_cow_end(w->own, view));
}

/* ---- channels ---- */

static void send(struct world *w)
{
	OK(tarn_channel_send(w->out, w->own, 0, 0));
	OK(tarn_channel_send(w->out, w->own, 0, 0)); /* now it is shared */
}

static void give(struct world *w)
{
	OK(tarn_channel_give(w->out, w->own, 0, 0));
	OK(tarn_channel_give(w->out, w->shared, 0, 0));
}

static void fill_ring(struct world *w)
{
	for (int i = 0; i < 4; i++)
		OK(tarn_channel_send(w->out, w->own, 0, 0));
	/* The survivor reads nothing before we are dead. */
}

static void send_full(struct world *w)
{
	FAILS(tarn_channel_send(w->out, w->own, 0, 1000), ETIMEDOUT);
}

static void receive(struct world *w)
{
	for (int i = 0; i < ITEMS; i++)
		OK(tarn_channel_recv(w->in, &w->b[i], NULL, 0));
	FAILS(tarn_channel_recv(w->in, &w->b[3], NULL, 0), EAGAIN);
}

static void receive_drop(struct world *w)
{
	for (int i = 0; i < ITEMS; i++)
		OK(tarn_channel_recv(w->in, &w->b[i], NULL, 0));
	tarn_block_unref(w->b[0]);
	tarn_block_unref(w->b[2]);
	tarn_block_unref(w->b[1]);
}

static void receive_all(struct world *w)
{
	for (int i = 0; i < ITEMS; i++)
		OK(tarn_channel_recv(w->in, &w->b[i], NULL, 0));
}

/* The last reference of a shared block, in each of its ways. */
static void last_drop(struct world *w)
{
	for (int i = 0; i < ITEMS; i++)
		tarn_block_unref(w->b[i]);
	tarn_block_unref(w->shared);
	tarn_block_unref(w->own);
}

static void have_kept(struct world *w)
{
	OK(tarn_block_import(w->c, &w->kept, &w->b[3]));
}

/* The first item is a block that the process has already. */
static void absorb(struct world *w)
{
	OK(tarn_channel_recv(w->in, &w->b[0], NULL, 0));
	PLAIN_CHECK(w->b[0] == w->b[3]);
	tarn_block_unref(w->b[0]);
	tarn_block_unref(w->b[3]);
}

static void forward(struct world *w)
{
	tarn_block *b;

	for (int i = 0; i < ITEMS; i++) {
		OK(tarn_channel_recv(w->in, &b, NULL, 0));
		OK(tarn_channel_give(w->out, b, 0, 0));
	}
}

static void channel_new(struct world *w)
{
	OK(tarn_channel_new(w->c, 4, NULL, &w->ch[0]));
	OK(tarn_channel_bind(w->ch[0], TARN_PRODUCER));
	OK(tarn_channel_bind(w->ch[0], TARN_CONSUMER));
	OK(tarn_channel_new(w->c, 4, "mine", &w->ch[1]));
}

static void channel_open(struct world *w)
{
	OK(tarn_channel_open(w->c, "mine", 0, &w->ch[2]));
	OK(tarn_channel_bind(w->ch[2], TARN_PRODUCER));
	tarn_channel_unref(w->ch[2]);
}

static void channel_full(struct world *w)
{
	channel_new(w);
	OK(tarn_channel_send(w->ch[0], w->own, 0, 0));
	OK(tarn_channel_send(w->ch[0], w->shared, 0, 0));
}

static void channel_close(struct world *w)
{
	OK(tarn_channel_recv(w->in, &w->b[0], NULL, 0));
	OK(tarn_channel_close(w->in));
	OK(tarn_channel_close(w->ch[0]));
	tarn_channel_unref(w->ch[0]);
	tarn_channel_unref(w->ch[1]);
	OK(tarn_channel_close(w->out));
}

static void channel_send(struct world *w)
{
	OK(tarn_channel_send_channel(w->out, w->ch[0], 0, 0));
	tarn_channel_unref(w->ch[0]);
}

/* ---- tokens ---- */

static void token_export(struct world *w)
{
	static const tarn_export_options terms = { .uses = 3, .lifetime_ns = 3600 * SECOND };
	tarn_token t;

	OK(tarn_block_export(w->own, NULL, &t));
	OK(tarn_block_export(w->own, &terms, &t));
	OK(tarn_channel_export(w->out, NULL, &t));
}

static void token_import(struct world *w)
{
	OK(tarn_block_import(w->c, &w->kept, &w->b[0]));
	OK(tarn_block_import(w->c, &w->token, &w->b[1]));
	PLAIN_CHECK(w->b[1] == w->shared);
	FAILS(tarn_block_import(w->c, &w->token, &w->b[2]), TARN_ESTALE);
}

static void token_revoke(struct world *w)
{
	OK(tarn_token_revoke(w->c, &w->token));
}

/* ---- objects ---- */

static void have_object(struct world *w)
{
	w->o[0] = NEW(w->c, "Magnifier", "d", 2.0);
	w->o[1] = NEW(w->c, "List", "");
	PLAIN_CHECK(types_scale(w->o[0], 3) == 6); /* its methods are known from here on */
}

static void object_call(struct world *w)
{
	PLAIN_CHECK(types_scale(w->o[0], 4) == 8);
}

static void object_call_slowly(struct world *w)
{
	double y;

	OK(tarn_callf(w->o[0], "scale_slowly", TARN_FOREVER, "d", "d", 4.0, &y));
	PLAIN_CHECK(y == 8);
}

/* A reference as an argument, which the list keeps; and one in a result. */
static void object_nest(struct world *w)
{
	tarn_parcel p;

	OK(tarn_callf(w->o[1], "append", TARN_FOREVER, "O", NULL, w->o[0]));
	tarn_object_unref(w->o[0]);
	OK(tarn_call(w->o[1], "pop", NULL, &p, TARN_FOREVER));
	tarn_parcel_fini(&p);
}

/* Containers: what is plain is read in place, what is not goes by calls; some on executors. */
static void have_containers(struct world *w)
{
	have_object(w);
	tarn_object_unref(w->o[1]);
	OK(tarn_dict_newf(w->c, &w->o[1], "{s:i s:s}", "a", 1, "b", "a value that is a chunk"));
}

static void container_use(struct world *w)
{
	tarn_object *l, *copy, *sum;
	tarn_parcel p;
	int a;

	OK(tarn_list_newf(w->c, &l, "[OsO]", w->o[0], "between", w->o[1]));
	OK(tarn_dict_setf(w->o[1], "sO", "list", l)); /* a cycle */
	OK(tarn_dict_getf(w->o[1], "a", "i", &a));
	OK(tarn_dict_setf(w->o[1], "s[iB]", "plain", 7, w->shared));
	OK(tarn_dict_get_ref(w->o[1], "plain", &copy)); /* a container from here on */
	OK(tarn_list_appendf(copy, "i", 8));
	tarn_object_unref(copy);
	OK(tarn_list_copy(l, &copy));
	OK(tarn_list_concat(copy, l, &sum));
	tarn_object_unref(l);
	l = sum;
	OK(tarn_list_del_slice(l, 1, 4, 1));
	OK(tarn_list_pop(l, 0, &p));
	tarn_parcel_fini(&p);
	OK(tarn_dict_del(w->o[1], "b"));
	tarn_object_unref(copy);
	tarn_object_unref(l);
}

static void object_new_drop(struct world *w)
{
	tarn_object *o = NEW(w->c, "Magnifier", "d", 3.0);

	tarn_object_unref(o);
	tarn_object_unref(w->o[0]);
	OK(tarn_client_flush(w->c, true, TARN_FOREVER));
}

static void object_send(struct world *w)
{
	OK(tarn_channel_send_object(w->out, w->o[0], 0, 0));
	tarn_object_unref(w->o[0]);
	OK(tarn_channel_send_object(w->out, w->o[1], 0, 0));
}

static void object_publish(struct world *w)
{
	tarn_object *found;

	OK(tarn_object_publish(w->o[0], "magnifier", 0));
	OK(tarn_object_lookup(w->c, "magnifier", 0, &found));
	tarn_object_unref(found);
	OK(tarn_object_unpublish(w->c, "magnifier"));
	OK(tarn_object_publish(w->o[1], "list", 0)); /* this one stays published */
}

/* ---- queues, which outlive us with the survivor ---- */

static void have_queue_of(struct world *w, size_t maxsize, unsigned flags)
{
	const tarn_queue_options o = { .maxsize = maxsize, .flags = flags };

	OK(tarn_queue_new(w->c, &o, &w->o[0]));
	OK(tarn_channel_send_object(w->out, w->o[0], 0, 0));
	OK(tarn_queue_putf(w->o[0], 0, "iBB", 1, w->shared, w->own));
	OK(tarn_queue_putf(w->o[0], 0, "i", 2));
}
static void have_queue(struct world *w) { have_queue_of(w, 4, 0); }
static void have_queue_unbounded(struct world *w) { have_queue_of(w, 0, 0); }
static void have_queue_acked(struct world *w)
{
	have_queue_of(w, 4, TARN_QUEUE_REDELIVER | TARN_QUEUE_JOINABLE);
}

static void queue_put(struct world *w)
{
	OK(tarn_queue_putf(w->o[0], 0, "i", 3));
	OK(tarn_queue_putf(w->o[0], 0, "iB", 4, w->own));
}

static void queue_get(struct world *w)
{
	tarn_parcel p;

	OK(tarn_queue_get(w->o[0], &p, 0));
	tarn_parcel_fini(&p);
	OK(tarn_queue_get(w->o[0], &p, 0));
	tarn_parcel_fini(&p);
	FAILS(tarn_queue_get(w->o[0], &p, 0), EAGAIN);
}

static void queue_ack(struct world *w)
{
	tarn_parcel p;

	OK(tarn_queue_get(w->o[0], &p, 0));
	tarn_parcel_fini(&p);
	OK(tarn_queue_task_done(w->o[0]));
}

static void have_topic(struct world *w)
{
	OK(tarn_topic_new(w->c, &(tarn_topic_options){ .slots = 2 }, &w->o[0]));
	OK(tarn_channel_send_object(w->out, w->o[0], 0, 0));
	OK(tarn_topic_publishf(w->o[0], 0, "iB", 1, w->shared));
}

static void topic_use(struct world *w)
{
	tarn_subscription *s;
	tarn_parcel p;

	OK(tarn_topic_subscribe(w->o[0], NULL, &s));
	OK(tarn_topic_publishf(w->o[0], 0, "iB", 2, w->own));
	OK(tarn_topic_publishf(w->o[0], 0, "i", 3)); /* where the first was */
	OK(tarn_subscription_recv(s, &p, 0));
	tarn_parcel_fini(&p);
	tarn_subscription_free(s);
}

/* ---- in place ---- */

static void have_sync(struct world *w)
{
	sync_find(w->sync, w->c);
}

static void lock_unlock(struct world *w)
{
	OK(tarn_lock_acquire(w->sync[SYNC_LOCK], TARN_FOREVER));
	FAILS(tarn_lock_acquire(w->sync[SYNC_LOCK], 0), EAGAIN);
	OK(tarn_lock_release(w->sync[SYNC_LOCK]));
	for (int i = 0; i < 2; i++)
		OK(tarn_rlock_acquire(w->sync[SYNC_RLOCK], TARN_FOREVER));
	for (int i = 0; i < 2; i++)
		OK(tarn_rlock_release(w->sync[SYNC_RLOCK]));
}

static void take_permits(struct world *w)
{
	OK(tarn_sem_acquire(w->sync[SYNC_SEM], TARN_FOREVER));
	OK(tarn_sem_acquire(w->sync[SYNC_SEM], TARN_FOREVER));
	FAILS(tarn_sem_acquire(w->sync[SYNC_SEM], 0), EAGAIN);
	FAILS(tarn_sem_acquire(w->sync[SYNC_SEM], 1000), ETIMEDOUT);
	OK(tarn_sem_release(w->sync[SYNC_SEM], 1));
	OK(tarn_sem_release(w->sync[SYNC_SEM], 1));
}

/* Of the survivor, which has both and waits for one. */
static void release_permit(struct world *w)
{
	OK(tarn_sem_release(w->sync[SYNC_SEM], 1));
}

static void cond_wait(struct world *w)
{
	OK(tarn_cond_acquire(w->sync[SYNC_COND], TARN_FOREVER));
	FAILS(tarn_cond_wait(w->sync[SYNC_COND], 0), EAGAIN);
	FAILS(tarn_cond_wait(w->sync[SYNC_COND], 1000), ETIMEDOUT);
	OK(tarn_cond_release(w->sync[SYNC_COND]));
}

static void cond_notify(struct world *w)
{
	OK(tarn_cond_acquire(w->sync[SYNC_COND], TARN_FOREVER));
	OK(tarn_cond_notify(w->sync[SYNC_COND], 1));
	OK(tarn_cond_release(w->sync[SYNC_COND]));
}

static void event_set(struct world *w)
{
	FAILS(tarn_event_wait(w->sync[SYNC_EVENT], 1000), ETIMEDOUT);
	OK(tarn_event_set(w->sync[SYNC_EVENT]));
	OK(tarn_event_wait(w->sync[SYNC_EVENT], TARN_FOREVER));
	OK(tarn_event_clear(w->sync[SYNC_EVENT]));
	OK(tarn_shared_add(w->sync[SYNC_VALUE], 1, NULL));
}

static void barrier_wait(struct world *w)
{
	FAILS(tarn_barrier_wait(w->sync[SYNC_BARRIER], 1000, NULL), ETIMEDOUT);
	FAILS(tarn_barrier_wait(w->sync[SYNC_BARRIER], 1000, NULL), TARN_EBROKEN);
	OK(tarn_barrier_reset(w->sync[SYNC_BARRIER]));
}

static void value_use(struct world *w)
{
	tarn_object *value = w->sync[SYNC_VALUE], *array = w->sync[SYNC_ARRAY];
	const int64_t all[3] = { SYNC_NUMBER, SYNC_NUMBER, SYNC_NUMBER };
	int64_t got;

	OK(tarn_shared_set(value, SYNC_NUMBER));
	OK(tarn_shared_add(value, 1, &got));
	PLAIN_EQ(tarn_shared_cas(value, got, -1, NULL), 1);
	OK(tarn_shared_get(value, &got));
	OK(tarn_array_set(array, 0, all[0]));
	OK(tarn_array_write(array, 0, 3, 1, all, 3));
	OK(tarn_array_get(array, 2, &got));
	PLAIN_EQ(got, SYNC_NUMBER);
}

static void have_contents(struct world *w)
{
	tarn_parcel p;
	uint64_t n;

	have_sync(w);
	/* Their types are known from here on. */
	OK(tarn_list_countf(w->sync[SYNC_LIST], &n, "i", 5));
	OK(tarn_dict_setdefault(w->sync[SYNC_DICT], "a", NULL, &p));
	tarn_parcel_fini(&p);
}

/* The survivor knows the states in between: sync.c. */
static void list_use(struct world *w)
{
	tarn_object *l = w->sync[SYNC_LIST];
	tarn_parcel p;
	int n;

	OK(tarn_list_appendf(l, "s", "three, which is too long for a cell"));
	OK(tarn_list_setf(l, 0, "i", 9));
	OK(tarn_list_getf(l, 0, "i", &n));
	OK(tarn_list_get(l, -1, &p));
	tarn_parcel_fini(&p);
	OK(tarn_list_popf(l, 0, "i", &n));
}

static void dict_use(struct world *w)
{
	tarn_object *d = w->sync[SYNC_DICT];
	tarn_parcel p;
	int n;

	OK(tarn_dict_setf(d, "ss", "b", "a value that is too long for a cell"));
	OK(tarn_dict_setf(d, "si", "a", 2));
	OK(tarn_dict_getf(d, "a", "i", &n));
	OK(tarn_dict_get(d, "b", &p));
	tarn_parcel_fini(&p);
	OK(tarn_dict_del(d, "a"));
	PLAIN_EQ(tarn_dict_find(d, "a", NULL), 0);
}

static void barrier_pass(struct world *w)
{
	OK(tarn_barrier_wait(w->sync[SYNC_BARRIER], TARN_FOREVER, NULL));
}

/* ---- lanes, attaching ---- */

static void first_call(struct world *w)
{
	w->c = scene_client(w->scene); /* no lane yet */
}

static void lane_open(struct world *w)
{
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}

static void *in_thread(void *arg)
{
	struct world *w = arg;
	tarn_block *b;

	OK(tarn_block_new(w->c, 3000, 0, &b));
	tarn_block_unref(b); /* stays in the lane's cache */
	return NULL;
}

static void some_threads(struct world *w)
{
	pthread_t t[12];

	first_call(w);
	for (int i = 0; i < 12; i++)
		PLAIN_EQ(pthread_create(&t[i], NULL, in_thread, w), 0);
	for (int i = 0; i < 12; i++)
		PLAIN_EQ(pthread_join(t[i], NULL), 0);
}

/* A lane that a thread left, with its cache. */
static void lane_take(struct world *w)
{
	tarn_block *b;

	OK(tarn_block_new(w->c, 3000, 0, &b));
	tarn_block_unref(b);
}

static void attach(struct world *w)
{
	w->c = scene_client(w->scene);
}

static void detach(struct world *w)
{
	tarn_channel_unref(w->in);
	tarn_channel_unref(w->out);
	tarn_client_close(w->c);
}

static void flush(struct world *w)
{
	tarn_block_unref(w->own);
	tarn_block_unref(w->shared);
	OK(tarn_client_flush(w->c, true, TARN_FOREVER));
}

/* ---- fork ---- */

static void forks(struct world *w)
{
	pid_t child = fork();

	if (child != 0) {
		/* What the parent has is the parent's still. */
		OK(tarn_channel_give(w->out, w->own, 0, 0));
		tarn_block_unref(w->shared);
		return;
	}
	/* It lives on when its parent is killed, as a client of its own. */
	tarn_block *b;

	FAILS(tarn_block_new(w->c, 100, 0, &b), TARN_EFORKED);
	tarn_block_unref(w->own);
	tarn_client_close(w->c);
	w->c = scene_client(w->scene);
	OK(tarn_block_new(w->c, 100, 0, &b));
	tarn_block_unref(b);
	tarn_client_close(w->c);
	_exit(0);
}

const struct operation operations[] = {
	{ "allocate", 4, NULL, allocate },
	{ "recycle", 4, warm, recycle },
	{ "trim", 4, warm, trim },
	{ "seal", 4, NULL, seal },
	{ "resize", 4, NULL, resize },
	{ "slice", 4, NULL, slice },
	{ "private view", 4, NULL, views },
	{ "send", 4, NULL, send },
	{ "give", 4, NULL, give },
	{ "send, received late", 4, NULL, send, .late = true },
	{ "give, received late", 4, NULL, give, .late = true },
	{ "send to a full ring", 4, fill_ring, send_full },
	{ "receive", 4, NULL, receive },
	{ "receive and drop", 4, NULL, receive_drop },
	{ "receive and drop, deferred", 64, NULL, receive_drop },
	{ "last drop", 4, receive_all, last_drop },
	{ "last drop, deferred", 64, receive_all, last_drop },
	{ "absorb", 4, have_kept, absorb },
	{ "absorb, deferred", 64, have_kept, absorb },
	{ "forward", 4, NULL, forward },
	{ "forward, deferred", 64, NULL, forward },
	{ "channel new and bind", 4, NULL, channel_new },
	{ "channel open by name", 4, channel_new, channel_open },
	{ "channel close", 64, channel_full, channel_close },
	{ "channel through a channel", 4, channel_full, channel_send },
	{ "export", 4, NULL, token_export },
	{ "import", 4, NULL, token_import },
	{ "revoke", 4, NULL, token_revoke },
	{ "call", 4, have_object, object_call },
	{ "call on an executor", 4, have_object, object_call_slowly },
	{ "references in a call", 4, have_object, object_nest },
	{ "containers", 4, have_containers, container_use },
	{ "object new and drop", 4, have_object, object_new_drop },
	{ "object through a channel", 4, have_object, object_send },
	{ "publish, look up, unpublish", 4, have_object, object_publish },
	{ "queue put", 4, have_queue, queue_put },
	{ "queue get", 4, have_queue, queue_get },
	{ "unbounded queue put", 4, have_queue_unbounded, queue_put },
	{ "unbounded queue get", 4, have_queue_unbounded, queue_get },
	{ "queue get and acknowledge", 4, have_queue_acked, queue_ack },
	{ "topic subscribe, publish, receive", 4, have_topic, topic_use },
	{ "lock, unlock", 4, have_sync, lock_unlock, .sync = true },
	{ "semaphore", 4, have_sync, take_permits, .sync = true },
	{ "semaphore of a waiter", 4, have_sync, release_permit, .sync = true, .waiter = sync_wait_sem },
	{ "condition wait", 4, have_sync, cond_wait, .sync = true },
	{ "condition notify", 4, have_sync, cond_notify, .sync = true, .waiter = sync_wait_cond },
	{ "event", 4, have_sync, event_set, .sync = true, .waiter = sync_wait_event },
	{ "barrier broken", 4, have_sync, barrier_wait, .sync = true },
	{ "barrier passed", 4, have_sync, barrier_pass, .sync = true, .waiter = sync_wait_barrier },
	{ "shared value and array", 4, have_sync, value_use, .sync = true },
	{ "list put and get", 4, have_contents, list_use, .sync = true },
	{ "dict put and get", 4, have_contents, dict_use, .sync = true },
	{ "stream put and end", 4, operations_stream, operations_stream_put },
	{ "stream next", 4, operations_stream, operations_stream_next },
	{ "stream renew", 4, operations_stream_ended, operations_stream_renew },
	{ "spawn", 4, NULL, operations_spawn, .threads = true },
	{ "join", 4, operations_spawn, operations_join, .threads = true },
	{ "pool new", 4, NULL, operations_pool, .threads = true },
	{ "pool submit", 4, operations_pool, operations_pool_submit, .threads = true },
	{ "pool close and join", 4, operations_pool, operations_pool_close, .threads = true },
	{ "pool terminate", 4, operations_pool, operations_pool_terminate, .threads = true },
	{ "pool share", 4, operations_pool, operations_pool_share, .threads = true },
	{ "pool of another process", 4, NULL, operations_pool_open, .threads = true, .pool = true },
	{ "runner start", 4, NULL, operations_runner, .threads = true },
	{ "runner call and join", 4, operations_runner, operations_runner_call, .threads = true },
	{ "lane open", 4, first_call, lane_open, .alone = true },
	{ "lane take over", 4, some_threads, lane_take, .alone = true },
	{ "attach", 4, NULL, attach, .alone = true },
	{ "detach", 64, receive_all, detach },
	{ "flush", 4, NULL, flush },
	{ "fork", 4, NULL, forks },
};
const size_t n_operations = sizeof operations / sizeof operations[0];
