/* SPDX-License-Identifier: Apache-2.0 */
/* Queues: the client's side. Items of plain values go from slot to slot without the server. */
#include "tarn/queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/value/fault.h"
#include "pause.h"
#include "queue-item.h"
#include "queue-wait.h"
#include "types.h"

static int fail_last(void)
{
	return tarn__negative(tarn_error_last()->code);
}

/* ---- the queue, seen from here ---- */

struct view {
	struct tarn_object *object;
	struct tarn_client *client;
	struct tarn__queue *q;
	struct tarn__mpmc m;
};

static inline int view_open(tarn_object *queue, struct view *v)
{
	struct tarn_client *c = queue->base.client;

	v->q = tarn__object_instance(queue, &tarn__type_queue);
	if (tarn__unlikely(v->q == NULL))
		return fail_last();
	if (tarn__unlikely(tarn__forked(c)))
		return tarn__fail_forked();
	v->object = queue;
	v->client = c;
	if (tarn__unlikely(!tarn__queue_view(v->q, c->data, c->data_bytes, c->number, &v->m)))
		return tarn__fail(-TARN_EPROTO, "The queue is damaged: what describes its slots cannot "
				  "be.");
	tarn__queue_use(v->q, c->number);
	return 0;
}

static inline bool keeps(const struct view *v)
{
	/* Relaxed: constant. */
	return (tarn__load32_relaxed(&v->q->flags) & TARN__QUEUE_KEEP) != 0;
}

static inline bool closed(const struct view *v)
{
	/* SYNC closed: the closer's store, then looks at slots; a producer's claim, then this. */
	return __atomic_load_n(&v->q->closed, __ATOMIC_SEQ_CST) != 0;
}

/* The server took our slot away. */
static int fail_lost(const struct view *v)
{
	int r = tarn__client_health(v->client, tarn__lane_mine(v->client));

	return r < 0 ? r : tarn__fail(-TARN_EPROTO, "A slot of the queue was written to by somebody "
				      "else.");
}

/* ---- making ---- */

int tarn_queue_new(tarn_client *client, const tarn_queue_options *options, tarn_object **ret_queue)
{
	static const tarn_queue_options none;
	const tarn_queue_options *o = options != NULL ? options : &none;

	return tarn_object_newf(client, tarn__type_queue.name, ret_queue, "QII", (uint64_t)o->maxsize,
				o->flags, o->slot_bytes);
}

/* ---- putting ---- */

/* Gets the server to link the run that is to have the next turn. 0: look again, positive: there is
 * no place for it now. A server that hangs is waited for as long as the caller may wait, and some seconds at least. */
static int grow(const struct view *v, int64_t timeout_ns)
{
	uint64_t k = tarn__load_acquire(&v->m.tail->turn) / v->m.n;
	tarn_block *block = NULL;
	tarn_builder b;
	tarn_parcel p;
	int64_t what = TARN__GROW_BLOCK;
	int r = 0;

	for (int i = 0; i < 2 && what == TARN__GROW_BLOCK && r == 0; i++) {
		if (i == 1)
			r = tarn__block_new_patient(v->client, v->m.n * v->m.stride, timeout_ns, &block);
		if (r < 0)
			break;
		tarn_builder_init(&b);
		tarn_put_uint(&b, k);
		tarn_put_block(&b, block);
		r = tarn_call_n(v->object, TARN__QUEUE_GROW, &b, &p, tarn__patience_for(timeout_ns));
		tarn_builder_fini(&b);
		if (r == 0) {
			r = tarn_value_int(tarn_parcel_at(&p, 0), &what);
			tarn_parcel_fini(&p);
		}
	}
	tarn_block_unref(block);
	if (r == -TARN_EREMOTE) {
		/* Another was quicker, and tail is beyond it by now. */
		return tarn__load_acquire(&v->m.tail->turn) / v->m.n != k ? 0 : r;
	}
	return r < 0 ? r : what == TARN__GROW_FULL;
}

/* Claims a slot, waiting for one. */
static int claim(const struct view *v, uint64_t *ret_turn, uint64_t **ret_slot, int64_t timeout_ns)
{
	struct tarn__pause p = tarn__pause_begin(v->client, timeout_ns, &v->q->space);
	int r;

	for (;;) {
		enum tarn__mpmc_result got = tarn__mpmc_claim(&v->m, ret_turn, ret_slot);

		if (tarn__unlikely(closed(v))) {
			if (got == TARN__MPMC_OK)
				tarn__mpmc_abandon(&v->m, *ret_slot, *ret_turn);
			tarn__bell_ring_each(&v->q->items, v->client->fence);
			return tarn__fail_static(-TARN_ECLOSED, "The queue is closed.");
		}
		if (tarn__likely(got == TARN__MPMC_OK))
			break;
		if (got == TARN__MPMC_RUN) {
			r = grow(v, timeout_ns);
			if (r == 0)
				continue;
			if (r < 0)
				return r;
			if (v->m.limit == 0)
				return tarn__fail(-ENOSPC, "The queue has %llu items, and one that was put %llu "
						  "items ago is not done: as many as there can be.",
						  (unsigned long long)tarn__mpmc_count(&v->m),
						  (unsigned long long)(v->m.runs * v->m.n));
		}
		r = tarn__pause_next(&p);
		if (r < 0)
			return tarn__fail_waited(r, timeout_ns, "The queue is full");
	}
	tarn__pause_end(&p);
	return 0;
}

/* What was claimed is settled. One takes it; but if the queue was closed meanwhile all waited for this, to
 * leave. SYNC closed: the slot's swap, then this look; a consumer looks at closed, then at slots. */
static void tell_put(const struct view *v)
{
	if (tarn__unlikely(closed(v)))
		tarn__bell_ring_each(&v->q->items, v->client->fence);
	else
		tarn__bell_ring(&v->q->items, v->client->fence);
}

static int publish(const struct view *v, uint64_t *slot, uint64_t turn)
{
	if (tarn__unlikely(!tarn__mpmc_publish(&v->m, slot, turn)))
		return fail_lost(v);
	tell_put(v);
	return 0;
}

/* Room on the thread's lane for the stash, and with @slot the item into it. */
static int stash(const struct view *v, const struct tarn__item_out *item, uint64_t turn, uint64_t *slot)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(v->client, &l);

	if (r < 0)
		return r;
	r = tarn__lane_prepare(l, item->stash.slots, 0, UINT64_MAX);
	if (r == 0 && slot != NULL)
		tarn__item_write(l, item, turn, (void *)slot);
	tarn__lane_leave(l);
	return r;
}

/* With references. Room is waited for before the claim: others wait for what is claimed. */
static int put_refs(const struct view *v, const struct tarn__item_out *item, int64_t timeout_ns)
{
	uint64_t turn, *slot;
	int r = stash(v, item, 0, NULL);

	if (r == 0)
		r = claim(v, &turn, &slot, timeout_ns);
	if (r < 0)
		return r;
	r = stash(v, item, turn, slot);
	if (r == 0)
		return publish(v, slot, turn);
	tarn__mpmc_abandon(&v->m, slot, turn);
	tell_put(v);
	return r;
}

int tarn_queue_put(tarn_object *queue, const tarn_builder *item, int64_t timeout_ns)
{
	struct tarn__item_out out;
	uint64_t turn, *slot;
	struct view v;
	int r = view_open(queue, &v);

	if (tarn__likely(r == 0))
		r = tarn__item_begin(queue, tarn__item_room(v.m.stride), TARN__QUEUE_REFS, item, timeout_ns,
				     &out);
	if (tarn__unlikely(r < 0))
		return r;
	if (tarn__unlikely(out.n_refs != 0)) {
		r = put_refs(&v, &out, timeout_ns);
		tarn__item_end(&out);
		return r;
	}
	r = claim(&v, &turn, &slot, timeout_ns);
	if (tarn__unlikely(r < 0))
		return r;
	tarn__item_write(NULL, &out, turn, (void *)slot);
	return publish(&v, slot, turn);
}

int tarn_queue_putf(tarn_object *queue, int64_t timeout_ns, const char *format, ...)
{
	tarn_builder b;
	va_list ap;
	int r;

	va_start(ap, format);
	tarn_builder_init(&b);
	r = tarn__put_v(&b, format, ap);
	if (r == 0)
		r = tarn_queue_put(queue, &b, timeout_ns);
	tarn_builder_fini(&b);
	va_end(ap);
	return r;
}

/* ---- what this thread has got and not acknowledged ---- */

#define OPEN_FEW 32u
#define OPEN_MOST 65536u /* of more than that the oldest are forgotten */

struct open {
	uint64_t serial, id, turn; /* of the client, queue, item */
};
static __thread struct open few[OPEN_FEW];
static __thread struct open *many; /* in its place if that was too small; the thread's key frees it */
static __thread unsigned many_room, first_opened, n_opened; /* entries; the oldest is the first */

static pthread_key_t many_key;
static pthread_once_t many_once = PTHREAD_ONCE_INIT;
static bool has_many_key;

static inline struct open *opened(unsigned i)
{
	return (many != NULL ? many : few) + first_opened + i;
}

static void open_forget(unsigned i)
{
	n_opened--;
	if (i == 0)
		first_opened = n_opened != 0 ? first_opened + 1 : 0;
	else
		memmove(opened(i), opened(i + 1), (n_opened - i) * sizeof(struct open));
}

static bool open_is(const struct view *v, const struct open *o)
{
	return o->serial == v->client->open_serial && o->id == v->object->base.id;
}

/* The slot of an item in our hands; NULL: it is not. */
static uint64_t *slot_in_hand(const struct view *v, uint64_t turn)
{
	uint64_t *slot = tarn__mpmc_slot(&v->m, turn);

	return slot != NULL && tarn__mpmc_look(slot) == tarn__mpmc_word(turn, TARN__MPMC_TAKE, v->m.me)
		       ? slot : NULL;
}

static void many_free(void *room)
{
	many = NULL;
	first_opened = n_opened = 0;
	free(room);
}
static void many_make_key(void)
{
	has_many_key = pthread_key_create(&many_key, many_free) == 0;
}

/* Without memory all stays as it is. */
static void open_grow(unsigned room)
{
	struct open *more = malloc(2 * (size_t)room * sizeof *more);

	pthread_once(&many_once, many_make_key);
	if (more == NULL || !has_many_key || pthread_setspecific(many_key, more) != 0) {
		free(more);
		return;
	}
	memcpy(more, opened(0), n_opened * sizeof *more);
	first_opened = 0;
	free(many);
	many = more;
	many_room = 2 * room;
}

/* There is no entry left behind the last one. Other threads may have acknowledged what this one got. */
static void open_make_room(const struct view *v, unsigned room)
{
	for (unsigned i = 0; i < n_opened;) {
		if (open_is(v, opened(i)) && slot_in_hand(v, opened(i)->turn) == NULL)
			open_forget(i);
		else
			i++;
	}
	if (n_opened > room / 2 && room < OPEN_MOST)
		open_grow(room);
	if (n_opened == (many != NULL ? many_room : OPEN_FEW))
		open_forget(0);
	memmove(opened(0) - first_opened, opened(0), n_opened * sizeof(struct open));
	first_opened = 0;
}

static void open_note(const struct view *v, uint64_t turn)
{
	const unsigned room = many != NULL ? many_room : OPEN_FEW;

	if (tarn__unlikely(first_opened + n_opened == room))
		open_make_room(v, room);
	*opened(n_opened++) = (struct open){ v->client->open_serial, v->object->base.id, turn };
}

/* Has this thread got an item that is not acknowledged? */
static bool has_open(const struct view *v)
{
	for (unsigned i = 0; i < n_opened; i++)
		if (open_is(v, opened(i)) && slot_in_hand(v, opened(i)->turn) != NULL)
			return true;
	return false;
}

static bool redelivers(const struct view *v)
{
	/* Relaxed: constant. */
	return (tarn__load32_relaxed(&v->q->flags) & TARN__QUEUE_RETRY) != 0;
}

/* An item is done: of a closed queue that may be what consumers waited for to leave. SYNC closed: the
 * slot's swap, then this look; a consumer looks at closed, then at slots. */
static void tell_done(const struct view *v)
{
	tarn__bell_ring(&v->q->done, v->client->fence);
	if (redelivers(v) && closed(v))
		tarn__bell_ring_each(&v->q->items, v->client->fence);
}

static int fail_not_open(uint64_t number)
{
	return tarn__fail(-TARN_ESTATE, "This process has no item %llu of the queue that is not "
			  "acknowledged.", (unsigned long long)number);
}

/* The server ends the item, and drops what it refers to. */
static int call_done(const struct view *v, uint64_t turn)
{
	tarn_builder b;
	int r;

	tarn_builder_init(&b);
	tarn_put_uint(&b, turn);
	r = tarn_call_n(v->object, TARN__QUEUE_DONE, &b, NULL, TARN_FOREVER);
	tarn_builder_fini(&b);
	return r;
}

/* Acknowledges. -TARN_ESTATE: it is not ours. */
static int finish(const struct view *v, uint64_t turn)
{
	uint64_t *slot = slot_in_hand(v, turn);
	const struct tarn__queue_slot *s = (const void *)slot;
	int r;

	for (unsigned i = 0; i < n_opened; i++)
		if (open_is(v, opened(i)) && opened(i)->turn == turn) {
			open_forget(i);
			break;
		}
	if (slot == NULL)
		return fail_not_open(turn);
	if (tarn__item_refs(tarn__load_relaxed(&s->head)) == 0) {
		if (!tarn__mpmc_release(&v->m, slot, turn))
			return fail_lost(v);
		tell_done(v);
		return 0;
	}
	r = call_done(v, turn);
	if (r == 0)
		tell_done(v);
	return r;
}

/* ---- getting ---- */

/* What dead consumers had. */
static enum tarn__mpmc_result retake(const struct view *v, uint64_t *ret_turn, uint64_t **ret_slot)
{
	/* SYNC retry, acquire: with their number, where they are. */
	uint64_t seen = tarn__load_acquire(&v->q->retries);

	if (tarn__likely((seen & 0xffffffff) == 0))
		return TARN__MPMC_AGAIN;
	enum tarn__mpmc_result r = tarn__mpmc_retake(&v->m, tarn__load_relaxed(&v->q->retry_from),
						     ret_turn, ret_slot);
	uint64_t now = tarn__retries_word(seen >> 32, r == TARN__MPMC_OK ? seen - 1 : 0);

	/* Relaxed on failure: there are others by now; what is too high is found out here. */
	__atomic_compare_exchange_n(&v->q->retries, &seen, now, false, __ATOMIC_ACQ_REL,
				    __ATOMIC_RELAXED);
	return r;
}

/* The queue is closed, and nothing is there. 1: another process may die with an item that then comes back.
 * -EDEADLK: so it is, and this thread has one, too; who waits for each other's would wait for ever. */
static int try_leave(const struct view *v)
{
	if (!redelivers(v) || !tarn__mpmc_others_have(&v->m))
		return -TARN_ECLOSED;
	return has_open(v) ? -EDEADLK : 1;
}

/* One look. 0, 1 nothing is there, -TARN_ECLOSED or -EDEADLK, without a sentence. */
static inline int try_take(const struct view *v, uint64_t *ret_turn, uint64_t **ret_slot)
{
	bool over = closed(v); /* before the look: what was put before counts */
	enum tarn__mpmc_result r;

	if (tarn__unlikely(tarn__load_relaxed(&v->q->retries) << 32 != 0) &&
	    retake(v, ret_turn, ret_slot) == TARN__MPMC_OK)
		return 0;
	r = tarn__mpmc_take(&v->m, ret_turn, ret_slot);
	if (tarn__likely(r == TARN__MPMC_OK))
		return 0;
	return tarn__unlikely(over && r == TARN__MPMC_AGAIN) ? try_leave(v) : 1;
}

/* Says that the caller takes what the item refers to, which it has been told nothing of. */
static int leave(const struct view *v, const uint64_t *slot, uint64_t turn)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(v->client, &l);

	if (r < 0)
		return r;
	r = tarn__item_leave(l, v->object, (const void *)slot, tarn__item_room(v->m.stride), turn);
	tarn__lane_leave(l);
	return r;
}

/* Ends what the item refers to, which could not be read for @r. An evicted client asks for nothing any more, but
 * what it says of references is read; so it is where servers are killed in what it asks: a unit of each is ours then,
 * until our end. False: it is still the queue's. */
static bool end_refs(const struct view *v, const uint64_t *slot, uint64_t turn, int r)
{
	if (r != -TARN_EEVICTED)
		r = call_done(v, turn);
	if (r == -TARN_EEVICTED || r == -TARN_EINTERRUPTED)
		return leave(v, slot, turn) == 0;
	return true;
}

/* Of an item that could not be read, for @r: ends it, with what it refers to. The thread's last failure stays. False:
 * what it refers to is still the queue's: it stays in our hands until our end. */
static bool end_unread(const struct view *v, const uint64_t *slot, uint64_t turn, int r)
{
	const struct tarn__queue_slot *s = (const void *)slot;
	const tarn_error why = *tarn_error_last();
	tarn_fault *fault = tarn_error_fault() != NULL ? tarn_fault_ref(tarn_error_fault()) : NULL;
	bool ended = true;

	if (keeps(v))
		finish(v, turn);
	else if (tarn__item_refs(tarn__load_relaxed(&s->head)) != 0)
		ended = end_refs(v, slot, turn, r);
	if (fault != NULL)
		tarn__fail_fault(fault);
	else if (why.code < 0)
		tarn__fail(why.code, "%s", why.message);
	return ended;
}

/* The item at @turn is ours. */
static int receive(const struct view *v, uint64_t turn, uint64_t *slot, tarn_parcel *ret)
{
	int r = tarn__item_read(v->object, (void *)slot, tarn__item_room(v->m.stride), turn,
				!keeps(v), ret);

	if (tarn__unlikely(keeps(v))) {
		tarn__bell_ring(&v->q->space, v->client->fence);
		if (r == 0)
			open_note(v, turn);
		else
			end_unread(v, slot, turn, r);
		return r;
	}
	if (tarn__unlikely(r < 0) && !end_unread(v, slot, turn, r))
		return r;
	if (tarn__unlikely(!tarn__mpmc_release(&v->m, slot, turn))) {
		if (r == 0)
			tarn_parcel_fini(ret);
		return fail_lost(v);
	}
	tarn__bell_ring(&v->q->space, v->client->fence);
	return r;
}

/* What this thread had got before is done. */
static void finish_before(const struct view *v)
{
	for (unsigned i = 0; i < n_opened;) {
		if (open_is(v, opened(i)))
			finish(v, opened(i)->turn);
		else
			i++;
	}
}

/* @r: as of try_take(). */
static int fail_over(int r, int64_t timeout_ns)
{
	if (r == -TARN_ECLOSED)
		return tarn__fail_static(r, "The queue is closed, and empty.");
	if (timeout_ns == 0)
		return tarn__fail_static(-EAGAIN, "The queue is empty");
	return tarn__fail_static(r, "No more will be put. Other processes have items that may come back, "
				 "and this thread has items, too: acknowledge them before you wait "
				 "for those.");
}

static int get(const struct view *v, tarn_parcel *ret, uint64_t *ret_turn, int64_t timeout_ns)
{
	struct tarn__pause p = tarn__pause_begin(v->client, timeout_ns, &v->q->items);
	uint64_t *slot;
	int r;

	if (tarn__unlikely(n_opened != 0) &&
	    (tarn__load32_relaxed(&v->q->options) & TARN_QUEUE_ACK_NEXT))
		finish_before(v);
	while ((r = try_take(v, ret_turn, &slot)) != 0) {
		if (r < 0)
			return fail_over(r, timeout_ns);
		r = tarn__pause_next(&p);
		if (r < 0)
			return tarn__fail_waited(r, timeout_ns, "The queue is empty");
	}
	tarn__pause_end(&p);
	return receive(v, *ret_turn, slot, ret);
}

int tarn_queue_get_item(tarn_object *queue, tarn_parcel *ret_item, uint64_t *ret_number,
			int64_t timeout_ns)
{
	uint64_t turn = 0;
	struct view v;
	int r = view_open(queue, &v);

	if (tarn__likely(r == 0))
		r = get(&v, ret_item, &turn, timeout_ns);
	if (r == 0)
		*ret_number = turn;
	return r;
}

int tarn_queue_get(tarn_object *queue, tarn_parcel *ret_item, int64_t timeout_ns)
{
	uint64_t turn;

	return tarn_queue_get_item(queue, ret_item, &turn, timeout_ns);
}

int tarn_queue_getf(tarn_object *queue, int64_t timeout_ns, const char *format, ...)
{
	tarn_parcel p;
	va_list ap;
	int r;

	if (strpbrk(format, "sSyvBOC") != NULL)
		return tarn__fail(-EINVAL, "tarn_queue_getf() cannot give items of \"%s\": text, bytes and "
				  "references live in a parcel. Use tarn_queue_get().", format);
	r = tarn_queue_get(queue, &p, timeout_ns);
	if (r < 0)
		return r;
	va_start(ap, format);
	r = tarn__parcel_get_v(&p, format, ap);
	va_end(ap);
	tarn_parcel_fini(&p);
	return r;
}

int tarn_queue_get_bytes(tarn_object *queue, void *ret_data, size_t bytes, int64_t timeout_ns)
{
	const void *data;
	tarn_parcel p;
	size_t n;
	int r = tarn_queue_get(queue, &p, timeout_ns);

	if (r < 0)
		return r;
	r = tarn_value_bytes(tarn_parcel_at(&p, 0), &data, &n);
	if (r == 0 && n != bytes)
		r = tarn__fail(-TARN_EKIND, "The item has %zu bytes, %zu are expected.", n, bytes);
	if (r == 0)
		memcpy(ret_data, data, bytes);
	tarn_parcel_fini(&p);
	return r;
}

/* Items that dead consumers had, no more than @most. The number in the queue can be too high until somebody
 * looks for one in vain: who only asks looks at slots. */
static uint64_t retries(const struct view *v, uint64_t most)
{
	/* SYNC retry, acquire: with their number, where they are. */
	uint64_t n = tarn__load_acquire(&v->q->retries) & 0xffffffff;

	if (tarn__likely(n == 0))
		return 0;
	/* Relaxed: ordered by the acquire before. */
	return tarn__mpmc_retries(&v->m, tarn__load_relaxed(&v->q->retry_from), n < most ? n : most);
}

/* ---- several at once ---- */

#define ANY_MOST 64u

/* SYNC bell: number, asleep, barrier, and then the caller's look. All: a wake-up that one who waits for other
 * things, too, does not need would else be another's. */
static void listen(const struct view *v, struct tarn__bell *b, uint32_t **ret_word, uint32_t *ret_seen)
{
	*ret_seen = tarn__bell_number(b);
	*ret_word = &b->number;
	tarn__bell_listen(b, TARN__BELL_ALL, v->client->fence);
}

int tarn__queue_wait_word(tarn_object *queue, uint32_t **ret_word, uint32_t *ret_seen)
{
	struct view v;
	int r = view_open(queue, &v);

	if (r < 0)
		return r;
	listen(&v, &v.q->items, ret_word, ret_seen);
	return 0;
}

int tarn__queue_done_word(tarn_object *queue, uint32_t **ret_word, uint32_t *ret_seen)
{
	struct view v;
	int r = view_open(queue, &v);

	if (r == 0)
		listen(&v, &v.q->done, ret_word, ret_seen);
	return r;
}

int tarn__queue_over(tarn_object *queue)
{
	struct view v;
	int r = view_open(queue, &v);

	if (r < 0)
		return r;
	r = try_leave(&v);
	return r == -EDEADLK ? fail_over(r, TARN_FOREVER) : r == -TARN_ECLOSED;
}

int tarn__queue_ready(tarn_object *queue)
{
	struct view v;
	int r = view_open(queue, &v);

	if (r < 0)
		return r;
	if (retries(&v, 1) != 0)
		return 1;
	bool over = closed(&v); /* before the look, as who takes does it */
	enum tarn__mpmc_result next = tarn__mpmc_peek(&v.m);

	return next == TARN__MPMC_OK || (over && next == TARN__MPMC_AGAIN && try_leave(&v) < 0);
}

/* One look at all. 0, 1 there is nothing, -TARN_ECLOSED all are closed, or a failure. */
static int look_at_any(tarn_object *const *queues, size_t n, tarn_parcel *ret, size_t *ret_index,
		       int64_t timeout_ns)
{
	int last = -TARN_ECLOSED;
	size_t over = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t turn, *slot;
		struct view v;
		int r = view_open(queues[i], &v);

		if (r < 0)
			return r;
		r = try_take(&v, &turn, &slot);
		if (r == 0) {
			*ret_index = i;
			return receive(&v, turn, slot, ret);
		}
		over += r < 0;
		last = r == -EDEADLK ? r : last;
	}
	return over == n ? fail_over(last, timeout_ns) : 1;
}

/* Sleeps until one of them may have something. */
static int sleep_for_any(tarn_object *const *queues, size_t n, tarn_parcel *ret, size_t *ret_index,
			 uint64_t deadline)
{
	const uint32_t *word[ANY_MOST];
	tarn_client *client = tarn_object_client(queues[0]);
	uint32_t *w, seen[ANY_MOST];
	uint64_t now, until;
	int r;

	for (size_t i = 0; i < n; i++) {
		r = tarn__queue_wait_word(queues[i], &w, &seen[i]);
		if (r < 0)
			return r;
		word[i] = w;
	}
	r = look_at_any(queues, n, ret, ret_index, TARN_FOREVER);
	if (r <= 0)
		return r;
	now = tarn__now();
	if (now >= deadline)
		return -ETIMEDOUT;
	until = deadline - now > TARN__SLICE_NS ? now + TARN__SLICE_NS : deadline;
	tarn__futex_wait_any(word, seen, (unsigned)n, until);
	r = tarn__client_health(client, tarn__lane_mine(client));
	return r < 0 ? r : 1;
}

int tarn_queue_get_any(tarn_object *const *queues, size_t n, tarn_parcel *ret_item,
		       size_t *ret_index, int64_t timeout_ns)
{
	uint64_t deadline = 0;
	int r;

	if (n == 0 || n > ANY_MOST)
		return tarn__fail(-EINVAL, "%zu queues to get from; it can be 1 to %u.", n, ANY_MOST);
	for (size_t i = 0; i < n && n_opened != 0; i++) {
		struct view v;

		r = view_open(queues[i], &v);
		if (r < 0)
			return r;
		if (tarn__load32_relaxed(&v.q->options) & TARN_QUEUE_ACK_NEXT)
			finish_before(&v);
	}
	for (;;) {
		r = look_at_any(queues, n, ret_item, ret_index, timeout_ns);
		if (r <= 0)
			return r;
		if (timeout_ns == 0)
			return tarn__fail_waited(-EAGAIN, 0, "The queues are empty");
		if (deadline == 0)
			deadline = tarn__deadline(timeout_ns);
		r = sleep_for_any(queues, n, ret_item, ret_index, deadline);
		if (r <= 0)
			return tarn__fail_waited(r, timeout_ns, "The queues are empty");
	}
}

/* ---- done ---- */

static int view_keeping(tarn_object *queue, struct view *v)
{
	int r = view_open(queue, v);

	if (r == 0 && !keeps(v))
		return tarn__fail(-TARN_ESTATE, "Items of this queue are done when they are got: it was "
				  "made without TARN_QUEUE_JOINABLE and TARN_QUEUE_REDELIVER.");
	return r;
}

int tarn_queue_attempts(tarn_object *queue, uint64_t number)
{
	const struct tarn__queue_slot *s;
	struct view v;
	int r = view_keeping(queue, &v);

	if (r < 0)
		return r;
	s = (const void *)slot_in_hand(&v, number);
	if (s == NULL)
		return fail_not_open(number);
	/* Relaxed: it is in our hands. */
	return (int)tarn__item_losses(tarn__load_relaxed(&s->head)) + 1;
}

int tarn_queue_ack(tarn_object *queue, uint64_t number)
{
	struct view v;
	int r = view_keeping(queue, &v);

	return r < 0 ? r : finish(&v, number);
}

/* The oldest item in the hands of this process. */
static bool oldest_in_hand(const struct view *v, uint64_t *ret)
{
	uint64_t turn, head = tarn__load_acquire(&v->m.head->turn);

	tarn__mpmc_settled(&v->m, &turn);
	turn = tarn__mpmc_least(&v->m, turn, head); /* whatever somebody wrote there */
	for (; (int64_t)(head - turn) > 0; turn++) {
		if (slot_in_hand(v, turn) != NULL) {
			*ret = turn;
			return true;
		}
	}
	return false;
}

int tarn_queue_task_done(tarn_object *queue)
{
	struct view v;
	uint64_t turn;
	int r = view_keeping(queue, &v);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < n_opened; i++)
		if (open_is(&v, opened(i)))
			return finish(&v, opened(i)->turn);
	if (oldest_in_hand(&v, &turn))
		return finish(&v, turn);
	return tarn__fail(-TARN_ESTATE, "task_done() was called too many times: no item that this "
			  "process got is open.");
}

/* Items that were lost, and that none of those who join was told of yet. A server that is killed while it counts
 * has its successor count again, from where it began: then told is ahead for a while, and nothing is told. */
static uint64_t lost_since(struct tarn__queue *q)
{
	/* Relaxed: the slots, which the caller has seen settled by SYNC mpmc, were so after they were counted; and
	 * who is told needs no more than that nobody else is. */
	uint64_t told = tarn__load_relaxed(&q->lost_told), lost = tarn__load_relaxed(&q->lost);

	/* Who goes on changing it is no joiner, each of whom tells all: then nothing is told now. */
	for (unsigned k = 0; k < TARN__QUEUE_TRIES && (int64_t)(lost - told) > 0; k++)
		if (__atomic_compare_exchange_n(&q->lost_told, &told, lost, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return lost - told;
	return 0;
}

int tarn_queue_join(tarn_object *queue, int64_t timeout_ns)
{
	struct tarn__pause p;
	uint64_t at, lost;
	struct view v;
	int r = view_keeping(queue, &v);

	if (r < 0)
		return r;
	if (!(tarn__load32_relaxed(&v.q->flags) & TARN__QUEUE_JOIN))
		return tarn__fail(-TARN_ESTATE, "The queue was made without TARN_QUEUE_JOINABLE.");
	p = tarn__pause_begin(v.client, timeout_ns, &v.q->done);
	while (!tarn__mpmc_settled(&v.m, &at)) {
		r = tarn__pause_next(&p);
		if (r < 0)
			return tarn__fail_waited(r, timeout_ns, "Not all items of the queue are done");
	}
	tarn__pause_end(&p);
	lost = lost_since(v.q);
	return lost == 0 ? 0 : tarn__fail(-EOWNERDEAD, "%llu items were open when their consumers died.",
					  (unsigned long long)lost);
}

/* ---- the end, and how it stands ---- */

int tarn_queue_close(tarn_object *queue)
{
	struct view v;
	int r = view_open(queue, &v);

	if (r < 0)
		return r;
	/* SYNC closed. */
	__atomic_store_n(&v.q->closed, 1, __ATOMIC_SEQ_CST);
	tarn__bell_ring_all(&v.q->items);
	tarn__bell_ring_all(&v.q->space);
	return 0;
}

int tarn_queue_closed(tarn_object *queue)
{
	struct view v;
	int r = view_open(queue, &v);

	return r < 0 ? r : closed(&v);
}

int64_t tarn_queue_size(tarn_object *queue)
{
	struct view v;
	int r = view_open(queue, &v);

	return r < 0 ? r : (int64_t)(tarn__mpmc_count(&v.m) + retries(&v, UINT64_MAX));
}

int64_t tarn_queue_maxsize(tarn_object *queue)
{
	struct view v;
	int r = view_open(queue, &v);

	return r < 0 ? r : (int64_t)tarn__load_relaxed(&v.q->maxsize);
}

int64_t tarn_queue_redelivered(tarn_object *queue)
{
	struct view v;
	int r = view_open(queue, &v);

	/* Relaxed: a number for people. */
	return r < 0 ? r : (int64_t)(tarn__load_relaxed(&v.q->again) & INT64_MAX);
}

int tarn_queue_empty(tarn_object *queue)
{
	int64_t n = tarn_queue_size(queue);

	return n < 0 ? (int)n : n == 0;
}

int tarn_queue_full(tarn_object *queue)
{
	int64_t n = tarn_queue_size(queue), most = tarn_queue_maxsize(queue);

	return n < 0 ? (int)n : most < 0 ? (int)most : most != 0 && n >= most;
}
