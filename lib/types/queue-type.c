/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tarn.Queue: the server makes it, keeps what items refer to, and repairs what the dead were at.
 *
 * All words of instance, slots and tables can be written by any client. What is used as an index or
 * address is checked; wrong turns and ids cost the queue's own users their items, and nobody else
 * anything: edges that are not dropped go with the queue.
 */
#include "queue.h"

#include <stdio.h>
#include <string.h>

#include "inside.h"
#include "memory.h"
#include "stash.h"
#include "tarn/queue.h"
#include "types.h"

/* ---- making ---- */

static uint64_t power_of_two(uint64_t n)
{
	uint64_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static int check_options(tarn_context *ctx, uint64_t maxsize, unsigned flags, unsigned stride)
{
	const unsigned known = TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER | TARN_QUEUE_ACK_NEXT;

	if (flags & ~known)
		return tarn_throw(ctx, "ValueError", "unknown flags %#x for a queue", flags & ~known);
	if ((flags & TARN_QUEUE_ACK_NEXT) && !(flags & (TARN_QUEUE_REDELIVER | TARN_QUEUE_JOINABLE)))
		return tarn_throw(ctx, "ValueError", "items that are acknowledged by the next get need a "
				  "queue with TARN_QUEUE_REDELIVER or TARN_QUEUE_JOINABLE");
	if (maxsize > TARN__QUEUE_SLOTS_MAX)
		return tarn_throw(ctx, "ValueError", "a queue of %llu items was asked for, the most is "
				  "%llu", (unsigned long long)maxsize,
				  (unsigned long long)TARN__QUEUE_SLOTS_MAX);
	if (stride > TARN__QUEUE_STRIDE_MAX)
		return tarn_throw(ctx, "ValueError", "slots of %u bytes were asked for, the most is %u",
				  stride, TARN__QUEUE_STRIDE_MAX);
	return 0;
}

static void make_slots(unsigned char *at, uint64_t first_turn, uint64_t n, uint32_t stride)
{
	for (uint64_t k = 0; k < n; k++) {
		struct tarn__queue_slot *s = (void *)(at + k * stride);

		tarn__store_relaxed(&s->stash, 0);
		/* SYNC mpmc: clients find the slot by what is stored after this. */
		tarn__store_release(&s->word, tarn__mpmc_word(first_turn + k, TARN__MPMC_FREE, 0));
	}
}

/* The shape: a ring of as many slots as items, or runs. */
static void shape(struct tarn__queue *q, uint64_t maxsize, unsigned flags, unsigned slot_bytes)
{
	bool keep = (flags & (TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER)) != 0;

	q->options = flags;
	q->flags = (keep ? TARN__QUEUE_KEEP : 0) |
		   (flags & TARN_QUEUE_REDELIVER ? TARN__QUEUE_RETRY : 0) |
		   (flags & TARN_QUEUE_JOINABLE ? TARN__QUEUE_JOIN : 0);
	q->stride = slot_bytes == 0 ? TARN__QUEUE_STRIDE
				    : (uint32_t)tarn__round_up(slot_bytes, TARN__LINE);
	q->maxsize = maxsize;
	if (maxsize != 0 && maxsize <= TARN__QUEUE_RING_MAX && !keep) {
		q->n = maxsize;
		return;
	}
	q->n = TARN__QUEUE_RUN;
	q->runs = TARN__QUEUE_RUNS;
	if (maxsize != 0 && maxsize < TARN__QUEUE_RUN) {
		/* Items that are not done keep their runs: there are more than maxsize asks for. */
		q->n = power_of_two(maxsize) > 32 ? power_of_two(maxsize) : 32;
		q->runs = TARN__QUEUE_RUNS / 8;
	}
}

static int create(tarn_context *ctx, void *self)
{
	struct tarn__queue *q = self;
	unsigned flags = 0, slot_bytes = 0;
	uint64_t maxsize = 0, bytes;
	tarn_block *b;
	int r = tarn_context_get(ctx, "|QII", &maxsize, &flags, &slot_bytes);

	if (r == 0)
		r = check_options(ctx, maxsize, flags, slot_bytes);
	if (r < 0)
		return r;
	shape(q, maxsize, flags, slot_bytes);
	bytes = q->runs == 0 ? q->n * q->stride : q->runs * sizeof(struct tarn__mpmc_run);
	r = tarn_block_new(tarn_context_client(ctx), bytes,
			   q->runs == 0 ? 0 : TARN_BLOCK_ZEROED, &b);
	if (r < 0)
		return r;
	if (q->runs == 0)
		make_slots(tarn_block_data(b), 0, q->n, q->stride);
	q->ring_id = tarn_block_id(b);
	q->ring_offset = tarn__memory_of(b).offset;
	r = tarn_self_hold(ctx, b);
	tarn_block_unref(b);
	return r;
}

/* ---- slots, as the server sees them ---- */

struct view {
	tarn_context *ctx;
	struct tarn__queue *q;
	struct tarn__mpmc m;         /* of a ring: whole. Of runs: the table and sizes only */
	struct tarn__mpmc_run *run;  /* as m.run, to be written */
};

/* False: the instance does not say what can be. */
static bool view_open(tarn_context *ctx, void *self, struct view *v)
{
	struct tarn__memory ring;
	uint64_t id;

	v->ctx = ctx;
	v->q = self;
	v->run = NULL;
	/* The shape is checked as if all of DATA were there, the block's size behind that. */
	id = tarn__load_relaxed(&v->q->ring_id);
	if (tarn__self_memory(ctx, id, &ring) < 0 ||
	    !tarn__queue_view(v->q, ring.data - ring.offset, ring.offset + ring.bytes, 0, &v->m))
		return false;
	if (v->m.runs == 0) {
		v->m.base = ring.data;
		return ring.bytes >= v->m.n * v->m.stride;
	}
	v->run = (void *)ring.data;
	v->m.run = v->run;
	return ring.bytes >= v->m.runs * sizeof *v->run;
}

/* The slots of entry @i of the table; NULL: there are none. */
static unsigned char *run_slots(const struct view *v, uint64_t i)
{
	struct tarn__memory m;

	if (tarn__load_relaxed(&v->run[i].number) == 0 ||
	    tarn__self_memory(v->ctx, tarn__load_relaxed(&v->run[i].id), &m) < 0 ||
	    m.bytes < v->m.n * v->m.stride)
		return NULL;
	return m.data;
}

static struct tarn__queue_slot *slot_of(const struct view *v, uint64_t turn)
{
	uint64_t i = turn / v->m.n & (v->m.runs - 1);
	unsigned char *at = v->m.base;

	if (v->run != NULL) {
		if (tarn__load_relaxed(&v->run[i].number) != turn / v->m.n + 1)
			return NULL;
		at = run_slots(v, i);
	}
	return at == NULL ? NULL : (void *)(at + turn % v->m.n * v->m.stride);
}

/* The slot of the item at @turn, in which the caller must be at work in @state; NULL and an
 * exception: it is not. */
static struct tarn__queue_slot *callers_slot(struct view *v, uint64_t turn, uint32_t client,
					     enum tarn__mpmc_state state)
{
	struct tarn__queue_slot *s = slot_of(v, turn);
	uint64_t seen = s != NULL ? tarn__mpmc_look(&s->word) : 0;

	if (s != NULL && tarn__mpmc_ahead(seen, turn) == 0 && tarn__mpmc_state(seen) == state &&
	    tarn__mpmc_owner(seen) == client)
		return s;
	tarn_throw(v->ctx, "ValueError", "item %llu of the queue is not in the caller's hands",
		   (unsigned long long)turn);
	return NULL;
}

/* ---- references of items ---- */

/* The @k'th id; 0: the slot's words say nothing that can be. */
static uint64_t ref_id(const struct view *v, const struct tarn__queue_slot *s, unsigned k)
{
	uint64_t at = (uint64_t)tarn__item_words(tarn__load_relaxed(&s->head)) + 2 * k;

	return at < tarn__item_room(v->m.stride) ? tarn__load_relaxed(&s->payload[at]) : 0;
}

/* The number in @turn's stash that has @mark (0: none). Relaxed: methods alone write it, whom the object's gate
 * orders; what a client wrote there is checked like any number. */
static unsigned stash_marked(const struct tarn__queue_slot *s, uint64_t turn, unsigned mark)
{
	unsigned n = tarn__stash_refs(tarn__load_relaxed(&s->stash), turn) ^ mark;

	return n > TARN__QUEUE_REFS ? 0 : n;
}

/* What the queue holds for it, or TARN__STASH_FAILED. */
static unsigned stashed(const struct tarn__queue_slot *s, uint64_t turn)
{
	bool failed = tarn__stash_refs(tarn__load_relaxed(&s->stash), turn) == TARN__STASH_FAILED;

	return failed ? TARN__STASH_FAILED : stash_marked(s, turn, 0);
}

/* Whether it had some and has none any more. */
static bool is_gone(const struct tarn__queue_slot *s, uint64_t turn)
{
	return tarn__stash_refs(tarn__load_relaxed(&s->stash), turn) == TARN__STASH_GONE;
}

/* How many of @turn's were taken before what kept them was read. */
static unsigned stash_taken(const struct tarn__queue_slot *s, uint64_t turn)
{
	return stash_marked(s, turn, TARN__STASH_TAKEN);
}

static void stash_note(struct view *v, struct tarn__queue_slot *s, uint64_t turn, unsigned n)
{
	tarn__self_store(v->ctx, &s->stash, n != 0 ? tarn__stash_word(turn, n) : 0);
}

/* Drops what is kept for @turn, of which @left is noted then: none, or TARN__STASH_GONE. False: not all, there was no
 * room for it in this transaction. */
static bool stash_drop(struct view *v, struct tarn__queue_slot *s, uint64_t turn, unsigned left)
{
	unsigned n = stashed(s, turn);

	for (unsigned k = n == TARN__STASH_FAILED ? 0 : n; k-- > 0;) {
		if (tarn_self_drop(v->ctx, ref_id(v, s, k)) == -E2BIG) {
			stash_note(v, s, turn, k + 1);
			return false;
		}
	}
	stash_note(v, s, turn, left);
	return true;
}

/* Whether the item of @turn was taken and its slot released: a run's slots stay that item's. */
static bool is_past(const struct tarn__queue_slot *s, uint64_t turn, uint64_t seen)
{
	return s == NULL || tarn__mpmc_ahead(seen, turn) > 0 ||
	       (tarn__mpmc_ahead(seen, turn) == 0 && tarn__mpmc_state(seen) == TARN__MPMC_DONE);
}

/* Whether @client can have said that it puts the item that is there. */
static bool can_stash(const struct tarn__queue_slot *s, uint64_t turn, uint64_t seen, uint32_t client)
{
	enum tarn__mpmc_state state = tarn__mpmc_state(seen);

	return tarn__mpmc_ahead(seen, turn) == 0 && stashed(s, turn) == 0 &&
	       (state == TARN__MPMC_FULL || state == TARN__MPMC_TAKE ||
		(state == TARN__MPMC_CLAIM && tarn__mpmc_owner(seen) == client));
}

/*
 * What was put cannot be kept: there is no memory for that, or servers died of it. Blocks may have a taker already, who
 * waits for nobody. So he who put them holds them once more, until his end, and the queue none of them. That takes no
 * memory: he has a claim on them, or a credit for one that he has not come to say.
 *
 * But of the last @n_due a taker has said, or will, that he has them, and for each of these one of the queue's
 * references goes, be it another item's: so they stay, and are held where that can be. Where it cannot the queue has
 * none.
 */
static void keep_with_caller(tarn_context *ctx, const tarn_parcel *args, unsigned n_kept, unsigned n_due)
{
	const unsigned n = tarn_parcel_count(args) - 1;

	for (unsigned k = 1; k <= n; k++) {
		bool due = k > n - n_due;
		tarn_block *block;
		uint64_t id;

		if (tarn_value_block(tarn_parcel_at(args, k), &block) < 0)
			continue;
		id = tarn_block_id(block);
		tarn__self_give(ctx, id);
		if (k <= n_kept && !due)
			tarn_self_drop(ctx, id);
		else if (k > n_kept + 1 && due)
			tarn__self_hold_id(ctx, id); /* not the one that failed */
	}
}

/*
 * Where the item is still there its references are noted in the slot, for whoever repairs that. Where it was
 * taken meanwhile its taker has named them in "take", or will: what is held here goes one epoch after that was
 * read, so not before this.
 */
static int stash(tarn_context *ctx, void *self)
{
	const tarn_parcel *args = tarn_context_args(ctx);
	uint32_t client = tarn_context_caller(ctx).client;
	unsigned n = tarn_parcel_count(args) - 1;
	struct tarn__queue_slot *s;
	struct view v;
	uint64_t turn, id = 0;
	int r = tarn_value_uint(tarn_parcel_at(args, 0), &turn);

	if (r < 0)
		return r;
	if (n == 0 || n > TARN__QUEUE_REFS || !view_open(ctx, self, &v))
		return tarn_throw(ctx, "ValueError", "%u references of an item", n);
	s = slot_of(&v, turn);
	uint64_t seen = s != NULL ? tarn__mpmc_look(&s->word) : 0;
	bool keeps = (v.q->flags & TARN__QUEUE_KEEP) != 0, past = !keeps && is_past(s, turn, seen);
	bool brief = tarn__context_is_brief(ctx);
	unsigned k = 0;

	/* Its consumer could not read it, said so, and that was read before this: nobody gets them. */
	if (s != NULL && is_gone(s, turn))
		return 0;
	if (!past && (s == NULL || !can_stash(s, turn, seen, client)))
		return tarn_throw(ctx, "ValueError", "there is no item %llu",
				  (unsigned long long)turn);
	unsigned named = past ? n : stash_taken(s, turn);

	if (named > n)
		named = n; /* somebody lies */
	r = brief ? -ENOMEM : 0;
	while (k < n && r == 0) {
		r = tarn__stash_hold(ctx, tarn_parcel_at(args, k + 1), &id);
		k += r == 0;
	}
	if (r == -TARN_EREMOTE)
		return r; /* thrown: it is no reference */
	if (r < 0)
		keep_with_caller(ctx, args, k, brief ? 0 : named);
	if (past)
		return 0;
	if (r < 0) {
		stash_note(&v, s, turn, TARN__STASH_FAILED);
		return 0;
	}
	stash_note(&v, s, turn, n - named);
	return 0;
}

/* Notes that the caller has one reference less to get. False: the item is not one that it took, or the queue has
 * nothing of it. */
static bool take_note(struct view *v, struct tarn__queue_slot *s, uint64_t turn, uint32_t client)
{
	uint64_t seen = s != NULL ? tarn__mpmc_look(&s->word) : 0;
	bool mine = s != NULL && seen == tarn__mpmc_word(turn, TARN__MPMC_TAKE, client);
	unsigned n;

	if (!mine && !is_past(s, turn, seen))
		return false;
	n = s != NULL ? stashed(s, turn) : 0;
	if (n == TARN__STASH_FAILED || (s != NULL && is_gone(s, turn)))
		return false;
	/* Another item's slot by now: nobody repairs this one any more. */
	if (s == NULL || tarn__mpmc_ahead(seen, turn) != 0)
		return true;
	if (n != 0)
		stash_note(v, s, turn, n - 1);
	else if (n == 0 && mine)
		stash_note(v, s, turn, TARN__STASH_TAKEN | (stash_taken(s, turn) + 1));
	return true;
}

/*
 * The caller has the block; what the queue holds of it goes one epoch later. So whether the producer's message is
 * read before or behind this one does not matter: it was posted before, and so is read by then. Words that somebody
 * else wrote to can cost the queue what it holds. The caller believed them, and so it gets the block if there is
 * one: as with RECV, or it would be evicted for somebody else's lie when it drops that.
 */
static int take(tarn_context *ctx, void *self)
{
	uint64_t turn, id;
	struct view v;
	int r = tarn_context_get(ctx, "QQ", &turn, &id);

	if (r < 0)
		return r;
	r = tarn__self_give(ctx, id);
	/* A dead id is no offence; nor is what is no block, of an item that an evicted client does not get. What the
	 * queue holds of it goes all the same. */
	if (r == -TARN_ESTALE)
		r = 0;
	if (r == 0 && tarn__context_is_brief(ctx))
		return 0;
	if (r == 0 && view_open(ctx, self, &v) && !(v.q->flags & TARN__QUEUE_KEEP) &&
	    take_note(&v, slot_of(&v, turn), turn, tarn_context_caller(ctx).client))
		r = tarn__self_drop_late(ctx, id);
	return r < 0 ? tarn_throw(ctx, "MemoryError", "item %llu of the queue cannot be given",
				  (unsigned long long)turn) : 0;
}

static int taken(tarn_context *ctx, void *self)
{
	struct tarn__queue_slot *s;
	struct view v;
	uint64_t turn;
	unsigned n;
	int r = tarn_context_get(ctx, "Q", &turn);

	if (r < 0)
		return r;
	if (!view_open(ctx, self, &v))
		return tarn_throw(ctx, "ValueError", "the queue is damaged");
	s = callers_slot(&v, turn, tarn_context_caller(ctx).client, TARN__MPMC_TAKE);
	if (s == NULL)
		return -TARN_EREMOTE;
	n = stashed(s, turn);
	if (n == 0)
		return tarn_put_nil(tarn_context_result(ctx));
	if (n == TARN__STASH_FAILED)
		return tarn_throw(ctx, "MemoryError", "what item %llu refers to could not be kept",
				  (unsigned long long)turn);
	for (unsigned k = 0; k < n && r == 0; k++)
		r = tarn__self_put(ctx, ref_id(&v, s, k));
	if (r == 0 && !(v.q->flags & TARN__QUEUE_KEEP)) {
		for (unsigned k = 0; k < n && r == 0; k++)
			r = tarn_self_drop(ctx, ref_id(&v, s, k));
		/* Also for a caller who never sees that it got them, as it is evicted, and names them in "take". */
		if (r == 0)
			stash_note(&v, s, turn, TARN__STASH_GONE);
	}
	return r;
}

static int done(tarn_context *ctx, void *self)
{
	struct tarn__queue_slot *s;
	struct view v;
	uint64_t turn;
	int r = tarn_context_get(ctx, "Q", &turn);

	if (r < 0)
		return r;
	if (!view_open(ctx, self, &v))
		return tarn_throw(ctx, "ValueError", "the queue is damaged");
	s = slot_of(&v, turn);
	uint64_t seen = s != NULL ? tarn__mpmc_look(&s->word) : 0;
	/* Begun again by a server's successor, it may find the slot released, and what is to be dropped
	 * still there. */
	if (s != NULL && seen == tarn__mpmc_over(&v.m, turn) && (stashed(s, turn) != 0 || is_gone(s, turn)))
		return stash_drop(&v, s, turn, 0) ? 0 : -E2BIG;
	/* Or one who needs a run was read first: what the slot kept is gone, or its run is later turns'; or was to be
	 * when that server was killed, too. Then what it kept is dropped by who needs it next. */
	if (v.run != NULL && (s == NULL || tarn__mpmc_ahead(seen, turn) > 0) &&
	    (int64_t)(tarn__load_acquire(&v.q->head.turn) - turn) > 0)
		return 0;
	s = callers_slot(&v, turn, tarn_context_caller(ctx).client, TARN__MPMC_TAKE);
	if (s == NULL)
		return -TARN_EREMOTE;
	const bool keeps = (v.q->flags & TARN__QUEUE_KEEP) != 0;
	/* What was taken before the producer's message is read is gone when that is. */
	if (stash_taken(s, turn) == 0 && !stash_drop(&v, s, turn, keeps ? 0 : TARN__STASH_GONE))
		return -E2BIG;
	/* Who could not read it releases it when it hears that: begun again, this would not find it. */
	if (!keeps)
		return 0;
	v.m.me = tarn_context_caller(ctx).client;
	tarn__mpmc_release(&v.m, &s->word, turn);
	tarn__bell_ring_all(&v.q->done);
	return 0;
}

/* ---- runs ---- */

#define RUNS_LOOKED_AT 64u

/* Are all items of run @k behind us? Then nobody comes back to it. Slots that a server made for a later run before
 * it was killed are, also if that run was another's in the end. */
static bool run_is_over(const struct view *v, uint64_t k, unsigned char *slots)
{
	uint64_t end = (k + 1) * v->m.n;

	for (uint64_t i = 0; i < v->m.n; i++) {
		struct tarn__queue_slot *s = (void *)(slots + i * v->m.stride);
		uint64_t seen = tarn__mpmc_look(&s->word), turn = k * v->m.n + i;

		if ((tarn__mpmc_state(seen) != TARN__MPMC_FREE || tarn__mpmc_ahead(seen, turn) <= 0) &&
		    (tarn__mpmc_state(seen) != TARN__MPMC_DONE || tarn__mpmc_ahead(seen, turn) != 0))
			return false;
		/* Its taker's message is on its way; or its consumer's "done" was begun, and not again. Also of a slot
		 * that is made: what that server dropped before is back. */
		unsigned n = stashed(s, turn);
		if (n != 0 && n != TARN__STASH_FAILED &&
		    (!(v->q->flags & TARN__QUEUE_KEEP) ||
		     !stash_drop((struct view *)(uintptr_t)v, s, turn, TARN__STASH_GONE)))
			return false;
		/* Hints that the dead left behind. */
		tarn__mpmc_help(&v->q->head.turn, turn);
		tarn__mpmc_help(&v->q->tail.turn, turn);
	}
	return (int64_t)(tarn__load_acquire(&v->q->head.turn) - end) >= 0;
}

static void run_link(struct view *v, uint64_t k, uint64_t id, const struct tarn__memory *m)
{
	struct tarn__mpmc_run *e = &v->run[k & (v->m.runs - 1)];

	make_slots(m->data, k * v->m.n, v->m.n, v->m.stride);
	/* Clients do not look at it. A successor does, where the server was killed between the commit, from which on
	 * the block is the queue's, and what follows. */
	tarn__self_store(v->ctx, &e->id, id);
	/* When the block is the queue's for certain: clients use it from then on, server or no server. */
	tarn__self_later(v->ctx, &e->offset, m->offset);
	/* SYNC run, release: the slots are made. */
	tarn__self_later(v->ctx, &e->number, k + 1);
	tarn__store_relaxed(&v->q->grown, v->q->grown + 1);
}

/* Run @k has its block, which a server did not say any more. Words that somebody else wrote are as good as those of
 * a run that is there. */
static bool run_resume(struct view *v, uint64_t k)
{
	const struct tarn__mpmc_run *e = &v->run[k & (v->m.runs - 1)];
	uint64_t id = tarn__load_relaxed(&e->id);
	struct tarn__memory m;

	if (tarn__load_relaxed(&e->number) != 0 || id == 0 || tarn__self_memory(v->ctx, id, &m) < 0 ||
	    m.bytes < v->m.n * v->m.stride || m.offset % TARN__LINE != 0)
		return false;
	run_link(v, k, id, &m);
	return true;
}

/* A run that is over becomes run @k. Open items can keep more runs than are looked at in one call, at the oldest: the
 * second half of these are those where the last call left off. */
static bool run_reuse(struct view *v, uint64_t k)
{
	uint64_t from = k > v->m.runs ? k - v->m.runs : 0;
	/* While a run has the place in the table that one only: what is open in it is found there. */
	uint64_t end = tarn__load_relaxed(&v->run[k & (v->m.runs - 1)].number) != 0 ? from + 1 : k;
	const uint64_t left = tarn__load_relaxed(&v->q->looked_to);
	unsigned looked = 0;
	uint64_t j;

	if (tarn__load_relaxed(&v->q->oldest) > from && tarn__load_relaxed(&v->q->oldest) < k)
		from = tarn__load_relaxed(&v->q->oldest);
	for (j = from; j < end && looked < RUNS_LOOKED_AT; j++) {
		if (looked == RUNS_LOOKED_AT / 2 && left > j && left < end)
			j = left;
		struct tarn__mpmc_run *e = &v->run[j & (v->m.runs - 1)];
		uint64_t id = tarn__load_relaxed(&e->id);
		struct tarn__memory m;
		unsigned char *slots;

		if (tarn__load_relaxed(&e->number) != j + 1) {
			if (j == from)
				tarn__store_relaxed(&v->q->oldest, ++from);
			continue;
		}
		looked++;
		slots = run_slots(v, j & (v->m.runs - 1));
		if (slots == NULL || !run_is_over(v, j, slots) || tarn__self_memory(v->ctx, id, &m) < 0)
			continue;
		/* SYNC run: who looks for it from here on finds no run. */
		tarn__self_store(v->ctx, &e->number, 0);
		tarn__self_store(v->ctx, &e->id, 0);
		run_link(v, k, id, &m);
		return true;
	}
	/* Where all were looked at it begins again. */
	tarn__store_relaxed(&v->q->looked_to, j < end ? j : 0);
	return false;
}

static int grow_with(struct view *v, uint64_t k, tarn_block *block)
{
	struct tarn__mpmc_run *e = &v->run[k & (v->m.runs - 1)];
	struct tarn__memory m;
	int r;

	if (tarn__load_relaxed(&e->number) == k + 1)
		return TARN__GROW_THERE;
	/* Producers come to it one after another. */
	if (tarn__load_acquire(&v->q->tail.turn) / v->m.n != k)
		return tarn_throw(v->ctx, "ValueError", "run %llu is not the next", (unsigned long long)k);
	if (run_resume(v, k) || run_reuse(v, k))
		return TARN__GROW_THERE;
	if (tarn__load_relaxed(&e->number) != 0)
		return TARN__GROW_FULL;
	if (block == NULL)
		return TARN__GROW_BLOCK;
	/* If it is of no use that is undone with the method. */
	r = tarn_self_hold(v->ctx, block);
	if (r == 0)
		r = tarn__self_memory(v->ctx, tarn_block_id(block), &m);
	if (r < 0)
		return r;
	if (m.bytes < v->m.n * v->m.stride || m.offset % TARN__LINE != 0)
		return tarn_throw(v->ctx, "ValueError", "a run needs %llu bytes, the block has %llu",
				  (unsigned long long)(v->m.n * v->m.stride),
				  (unsigned long long)m.bytes);
	run_link(v, k, tarn_block_id(block), &m);
	tarn__store_relaxed(&v->q->runs_made, v->q->runs_made + 1);
	return TARN__GROW_TAKEN;
}

static int grow(tarn_context *ctx, void *self)
{
	tarn_block *block = NULL;
	struct view v;
	uint64_t k;
	int r = tarn_context_get(ctx, "QB?", &k, &block);

	if (r < 0)
		return r;
	if (!view_open(ctx, self, &v) || v.run == NULL)
		return tarn_throw(ctx, "ValueError", "the queue has no runs");
	r = grow_with(&v, k, block);
	return r < 0 ? r : tarn_put_int(tarn_context_result(ctx), r);
}

/* ---- deaths ---- */

/* So many items of the dead are booked in one transaction, each with a word that changes. */
#define BOOKED_MOST 64u

struct repair {
	struct view v;
	uint32_t client;
	unsigned booked;         /* see is_booked() */
	bool last_round;         /* nothing is any more */
	uint64_t lost;           /* items of those, for whoever joins */
	uint64_t again;          /* items that it had, and that are RETRY now */
	uint64_t retries, least; /* all that are RETRY now, and the first of them */
};

/* Is the item in the dead one's hands? Counts that, before the slot is another's. A successor of a server
 * that was killed between this and the repair counts once more. */
static void count_loss(const struct repair *p, struct tarn__queue_slot *s)
{
	uint64_t seen = tarn__mpmc_look(&s->word);

	/* Relaxed: the owner is dead; the next one sees it by SYNC mpmc. */
	if (tarn__mpmc_state(seen) == TARN__MPMC_TAKE && tarn__mpmc_owner(seen) == p->client)
		tarn__store_relaxed(&s->head, tarn__item_lost_once_more(tarn__load_relaxed(&s->head)));
}

/*
 * What goes with the dead one, of an item that is in its hands: the references, and that joiners are to be told. True:
 * there is nothing of that, or it is committed, and the slot can be another's.
 *
 * Not in one transaction with that: a slot's swap cannot be undone, and a server that is killed before the commit has
 * not dropped anything, nor counted. Whoever claims the slot next overwrites the ids.
 */
static bool is_booked(struct repair *p, struct tarn__queue_slot *s, uint64_t turn, enum tarn__mpmc_state state)
{
	bool goes = state == TARN__MPMC_CLAIM || !(p->v.q->flags & TARN__QUEUE_RETRY);
	bool lost = state == TARN__MPMC_TAKE && goes && (p->v.q->flags & TARN__QUEUE_JOIN);
	unsigned n = goes ? stashed(s, turn) : 0;

	if (is_gone(s, turn) || p->last_round || ((n == 0 || n == TARN__STASH_FAILED) && !lost))
		return true;
	if (p->booked < BOOKED_MOST && stash_drop(&p->v, s, turn, TARN__STASH_GONE)) {
		p->lost += lost;
		p->booked++;
	} else {
		p->booked = BOOKED_MOST; /* the rest in the next transaction */
	}
	return false;
}

static void repair_slot(struct repair *p, struct tarn__queue_slot *s)
{
	bool retry = (p->v.q->flags & TARN__QUEUE_RETRY) != 0;
	uint64_t turn, seen = tarn__mpmc_look(&s->word);
	enum tarn__mpmc_state state = tarn__mpmc_state(seen);

	if (tarn__mpmc_owner(seen) == p->client && (state == TARN__MPMC_CLAIM || state == TARN__MPMC_TAKE) &&
	    !is_booked(p, s, seen >> 16, state))
		return;
	if (retry)
		count_loss(p, s);
	p->again += tarn__mpmc_repair(&p->v.m, &s->word, p->client, retry, &turn) == TARN__MPMC_TAKE && retry;
	/* Also those that a server was killed at, before anybody was told of them. */
	seen = tarn__mpmc_look(&s->word);
	if (tarn__mpmc_state(seen) == TARN__MPMC_RETRY &&
	    (p->retries++ == 0 || tarn__mpmc_ahead(seen, p->least) < 0))
		p->least = seen >> 16;
}

static void repair_slots(struct repair *p, unsigned char *slots, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		repair_slot(p, (void *)(slots + i * p->v.m.stride));
}

/*
 * Where a repair stands: at a part, for the how manieth time. A part is a run, or as many slots of a ring; runs that
 * are not there are none. It is gone through again as long as something is booked in it: of 512 items with 14
 * references each that is 21 times, and could be 147 if all took as many words of the log as one can (things.c). More
 * often only because of those who write to what they must not.
 */
#define ROUNDS_MOST 192u

static uint64_t repair_part(struct repair *p, uint64_t from)
{
	const uint64_t n = p->v.m.n;
	uint64_t at = from & UINT32_MAX, round = from >> 32, parts = p->v.m.runs;

	p->last_round = round >= ROUNDS_MOST;
	if (p->v.run == NULL) {
		uint64_t first = at * TARN__QUEUE_RUN, left = first < n ? n - first : 0;

		parts = (n - 1) / TARN__QUEUE_RUN + 1;
		repair_slots(p, p->v.m.base + first * p->v.m.stride,
			     left < TARN__QUEUE_RUN ? left : TARN__QUEUE_RUN);
	} else {
		unsigned char *slots = NULL;

		while (at < parts && (slots = run_slots(&p->v, at)) == NULL)
			at++;
		if (slots != NULL)
			repair_slots(p, slots, n);
	}
	if (p->booked != 0)
		return (round + 1) << 32 | at;
	return at + 1 < parts ? at + 1 : 0;
}

/* Tells consumers of the items that they are to look for. Of some they know already: what is too high they
 * find out. */
static void add_retries(struct tarn__queue *q, const struct repair *p)
{
	uint64_t was = tarn__load_relaxed(&q->retries), from, now; /* relaxed: the exchange below finds out */

	/* Turns of more than 48 bits are beyond this: a retry is found from any turn below. */
	for (unsigned k = 0;; k++) {
		from = tarn__load_relaxed(&q->retry_from);
		if ((was & 0xffffffff) == 0 || tarn__mpmc_ahead(p->least << 16, from) < 0)
			tarn__store_relaxed(&q->retry_from, p->least);
		/* A new generation each time, so that one who found none below says so in vain. */
		now = tarn__retries_word((was >> 32) + 1, (was & 0xffffffff) + p->retries);
		/* SYNC retry, release: from where, and the slots. */
		if (__atomic_compare_exchange_n(&q->retries, &was, now, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			break;
		/* What somebody goes on changing is overwritten: then a consumer's count of one less is lost at most,
		 * and too high a number is found out. */
		if (k == TARN__QUEUE_TRIES) {
			tarn__store_release(&q->retries, now);
			break;
		}
	}
	tarn__bell_ring_all(&q->items);
}

/* Should the server be killed in it its successor does it again, for what is left: so the client is
 * forgotten when all else is done. What clients do not write is as it was before, up to the last commit. */
static void departed(tarn_context *ctx, void *self, uint32_t client)
{
	struct repair p = { .client = client };
	struct tarn__queue *q = self;
	uint64_t *user = &q->user[client / 64 % (TARN__MPMC_OWNERS / 64)];
	uint64_t bit = UINT64_C(1) << client % 64, next;

	/* SYNC user; relaxed: the client set it before it looked for a slot, and is dead. */
	if (!(tarn__load_relaxed(user) & bit) || !view_open(ctx, self, &p.v))
		return;
	next = repair_part(&p, tarn__departed_from(ctx));
	/* Behind the booking, ahead of the swaps. */
	if (p.lost != 0)
		tarn__self_store(ctx, &q->lost, tarn__load_relaxed(&q->lost) + p.lost);
	/* Relaxed: a number for people. */
	if (p.again != 0)
		__atomic_fetch_add(&q->again, p.again, __ATOMIC_RELAXED);
	if (p.retries != 0)
		add_retries(q, &p);
	if (next != 0) {
		tarn__departed_again(ctx, next);
		return;
	}
	/* Also what it was woken for, or was to wake others for, is looked at again. */
	tarn__bell_ring_all(&q->items);
	tarn__bell_ring_all(&q->space);
	tarn__bell_ring_all(&q->done);
	/* Last: until here it is told again if the server is killed. SYNC user, release: for the successor, who must
	 * find the repairs if it finds this; others set theirs. */
	__atomic_fetch_and(user, ~bit, __ATOMIC_RELEASE);
}

/* ---- for people ---- */

static int describe(const void *self, char *text, size_t bytes)
{
	const struct tarn__queue *q = self;
	uint64_t head = tarn__load_relaxed(&q->head.turn), tail = tarn__load_relaxed(&q->tail.turn);
	uint64_t n = (int64_t)(tail - head) > 0 ? tail - head : 0;
	char most[32] = "";

	if (q->maxsize != 0)
		snprintf(most, sizeof most, " of %llu", (unsigned long long)q->maxsize);
	return snprintf(text, bytes, "%llu%s items, %llu put so far%s%s", (unsigned long long)n, most,
			(unsigned long long)tail,
			tarn__load_relaxed(&q->retries) << 32 ? ", some to be delivered again" : "",
			tarn__load32_relaxed(&q->closed) ? ", closed" : "");
}

static int size(tarn_context *ctx, void *self)
{
	const struct tarn__queue *q = self;
	uint64_t head = tarn__load_relaxed(&q->head.turn), tail = tarn__load_relaxed(&q->tail.turn);

	return tarn_put_int(tarn_context_result(ctx),
			    (int64_t)(tail - head) > 0 ? (int64_t)(tail - head) : 0);
}

static const tarn_method methods[] = {
	[TARN__QUEUE_STASH] = { "stash", stash, TARN_METHOD_INLINE | TARN__METHOD_BOOKS, NULL, "", NULL },
	[TARN__QUEUE_TAKEN] = { "taken", taken, TARN_METHOD_INLINE, "Q", NULL, NULL },
	[TARN__QUEUE_DONE] = { "done", done, TARN_METHOD_INLINE, "Q", "", NULL },
	[TARN__QUEUE_GROW] = { "grow", grow, TARN_METHOD_INLINE, "QB?", "i", NULL },
	[TARN__QUEUE_TAKE] = { "take", take, TARN_METHOD_INLINE | TARN__METHOD_BOOKS, "QQ", "", NULL },
	{ "qsize", size, TARN_METHOD_INLINE | TARN_METHOD_READ, "", "i", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};

const tarn_type tarn__type_queue = {
	.name = "tarn.Queue",
	.size = sizeof(struct tarn__queue),
	.align = TARN__LINE,
	.concurrency = TARN_PARALLEL,
	.args = "|QII",
	.create = create,
	.describe = describe,
	.methods = methods,
	.departed = departed,
};
