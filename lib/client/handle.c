/* SPDX-License-Identifier: Apache-2.0 */
/* The table of shared handles, their memory, the right to hold ids, and the last drop. */
#include "handle.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- shards ---- */

static void lock(struct tarn__shard *s)
{
	/* SYNC shard, acquire: what the last holder wrote is seen. */
	for (unsigned i = 0; __atomic_exchange_n(&s->lock, 1, __ATOMIC_ACQUIRE) != 0; i++) {
		/* Held for some tens of ns, unless its holder lost its CPU. */
		while (tarn__load32_relaxed(&s->lock) != 0) {
			if (i++ > 32)
				sched_yield();
			else
				tarn__pause();
		}
	}
}
static void unlock(struct tarn__shard *s)
{
	/* SYNC shard, release. */
	tarn__store32_release(&s->lock, 0);
}

static uint64_t hash_of(uint64_t id)
{
	return tarn__hash_pair(id, 0, 0);
}
static struct tarn__shard *shard_of(struct tarn_client *c, uint64_t hash)
{
	return &c->shard[hash % TARN__SHARDS];
}
static struct tarn_block **bucket_of(struct tarn__shard *s, uint64_t hash)
{
	return &s->bucket[(hash / TARN__SHARDS) & (s->buckets - 1)];
}

int tarn__table_init(struct tarn_client *c)
{
	for (unsigned i = 0; i < TARN__SHARDS; i++) {
		struct tarn__shard *s = &c->shard[i];

		s->buckets = 16;
		s->bucket = calloc(s->buckets, sizeof(struct tarn_block *));
		if (s->bucket == NULL) {
			tarn__table_fini(c);
			return -ENOMEM;
		}
	}
	return 0;
}

void tarn__table_fini(struct tarn_client *c)
{
	for (unsigned i = 0; i < TARN__SHARDS; i++) {
		struct tarn__shard *s = &c->shard[i];

		for (unsigned k = 0; s->bucket != NULL && k < s->buckets; k++) {
			struct tarn_block *b = s->bucket[k];

			while (b != NULL) {
				struct tarn_block *next = b->next;

				if (tarn__flags(b) & REF_CHANNEL)
					tarn__channel_handle_free(b);
				b = next;
			}
		}
		free(s->bucket);
		s->bucket = NULL;
	}
}

/* Twice the buckets; stays as it is when there is no memory. Locked. */
static void grow(struct tarn__shard *s)
{
	struct tarn__shard bigger = { .buckets = s->buckets * 2 };

	bigger.bucket = calloc(bigger.buckets, sizeof(struct tarn_block *));
	if (bigger.bucket == NULL)
		return;
	for (unsigned k = 0; k < s->buckets; k++) {
		struct tarn_block *b = s->bucket[k];

		while (b != NULL) {
			struct tarn_block *next = b->next;
			struct tarn_block **at = bucket_of(&bigger, hash_of(b->id));

			b->next = *at;
			*at = b;
			b = next;
		}
	}
	struct tarn_block **old = s->bucket;
	s->bucket = bigger.bucket;
	s->buckets = bigger.buckets;
	free(old); /* last: a child forked meanwhile must find an array that lives */
}

static void add(struct tarn__shard *s, uint64_t hash, struct tarn_block *b)
{
	struct tarn_block **at;

	if (s->n >= s->buckets)
		grow(s);
	at = bucket_of(s, hash);
	b->next = *at;
	*at = b;
	tarn__store32_relaxed(&s->n, s->n + 1); /* atomic for the hint in tarn__table_find() */
}

/* One more reference unless there is none left. */
static bool ref_unless_zero(struct tarn_block *b)
{
	uint64_t refs = tarn__load_relaxed(&b->refs);

	do {
		if ((refs & REF_COUNT) == 0)
			return false;
		/* SYNC refs, acquire: see what holders before us did. */
	} while (!__atomic_compare_exchange_n(&b->refs, &refs, refs + 1, true, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	return true;
}

static struct tarn_block *find(struct tarn__shard *s, uint64_t hash, uint64_t id)
{
	for (struct tarn_block *b = *bucket_of(s, hash); b != NULL; b = b->next)
		if (b->id == id && ref_unless_zero(b))
			return b;
	return NULL;
}

struct tarn_block *tarn__table_find(struct tarn_client *c, uint64_t id)
{
	uint64_t hash = hash_of(id);
	struct tarn__shard *s = shard_of(c, hash);
	struct tarn_block *b;

	if (!tarn__table_maybe(c, id))
		return NULL;
	lock(s);
	b = find(s, hash, id);
	unlock(s);
	return b;
}

struct tarn_block *tarn__table_merge(struct tarn_client *c, struct tarn_block *b)
{
	uint64_t hash = hash_of(b->id);
	struct tarn__shard *s = shard_of(c, hash);
	struct tarn_block *other;

	lock(s);
	other = find(s, hash, b->id);
	if (other != NULL) {
		other->units += b->units;
	} else {
		add(s, hash, b);
		other = b;
	}
	unlock(s);
	return other;
}

void tarn__table_add(struct tarn_client *c, struct tarn_block *b)
{
	uint64_t hash = hash_of(b->id);
	struct tarn__shard *s = shard_of(c, hash);

	lock(s);
	add(s, hash, b);
	unlock(s);
}

uint32_t tarn__table_remove(struct tarn_client *c, struct tarn_block *b)
{
	uint64_t hash = hash_of(b->id);
	struct tarn__shard *s = shard_of(c, hash);
	struct tarn_block **at;
	uint32_t units;

	lock(s);
	for (at = bucket_of(s, hash); *at != NULL; at = &(*at)->next) {
		if (*at == b) {
			*at = b->next;
			tarn__store32_relaxed(&s->n, s->n - 1);
			break;
		}
	}
	units = b->units;
	unlock(s);
	return units;
}

/* ---- memory for handles ---- */

#define CHUNK_BYTES 4096u
#define BIG_BYTES (2u << 20) /* a huge page */
#define BIG_AFTER (BIG_BYTES / CHUNK_BYTES)

struct tarn__chunk {
	TARN__ALIGNED_LINE struct tarn__chunk *next;
	struct tarn_block block[] TARN__ALIGNED_LINE;
};

/* A page, which most clients never fill. Who has filled hundreds has so many handles that each use of one
 * would walk the page tables: it gets huge pages, where the system gives them (a wish, else small ones), or
 * one page more, where there is no address space. Handles are carved off as they are needed, so the rest is
 * not touched. Mutex pool held. */
static void more_handles(struct tarn_client *c)
{
	struct tarn__chunk *k = c->n_chunks >= BIG_AFTER ? aligned_alloc(BIG_BYTES, BIG_BYTES) : NULL;
	const size_t bytes = k != NULL ? BIG_BYTES : CHUNK_BYTES;

	if (k != NULL)
		(void)madvise(k, bytes, MADV_HUGEPAGE);
	else
		k = aligned_alloc(TARN__LINE, bytes);
	if (k == NULL)
		return;
	k->next = c->chunks;
	c->chunks = k;
	c->n_chunks++;
	c->uncarved = k->block;
	c->n_uncarved = (uint32_t)((bytes - sizeof *k) / sizeof k->block[0]);
}

/* NULL: there is none. Mutex pool held. */
static struct tarn_block *pooled_handle(struct tarn_client *c)
{
	struct tarn_block *b = c->spare;

	if (b != NULL) {
		c->spare = b->next;
		return b;
	}
	if (c->n_uncarved == 0)
		return NULL;
	c->n_uncarved--;
	b = c->uncarved++;
	memset(b, 0, sizeof *b);
	return b;
}

struct tarn_block *tarn__handle_new_slow(struct tarn__lane *l)
{
	struct tarn_client *c = l->client;
	struct tarn_block *b;

	pthread_mutex_lock(&c->pool);
	if (c->spare == NULL && c->n_uncarved == 0)
		more_handles(c);
	for (unsigned i = 0; i < 256 && (b = pooled_handle(c)) != NULL; i++) {
		b->next = l->spare;
		l->spare = b;
		l->n_spare++;
	}
	pthread_mutex_unlock(&c->pool);
	b = l->spare;
	if (b != NULL) {
		l->spare = b->next;
		l->n_spare--;
	}
	return b;
}

void tarn__handle_free_slow(struct tarn__lane *l)
{
	struct tarn_client *c = l->client;

	pthread_mutex_lock(&c->pool);
	while (l->n_spare > 512) {
		struct tarn_block *b = l->spare;

		l->spare = b->next;
		l->n_spare--;
		b->next = c->spare;
		c->spare = b;
	}
	pthread_mutex_unlock(&c->pool);
}

void tarn__chunks_free(struct tarn_client *c)
{
	while (c->chunks != NULL) {
		struct tarn__chunk *k = c->chunks;

		c->chunks = k->next;
		free(k);
	}
	c->spare = NULL;
	c->n_uncarved = 0;
}

/* ---- the right to hold ids (I19) ---- */

#define HOLD_BATCH 64u

static bool hold_from_pool(struct tarn__lane *l)
{
	struct tarn_client *c = l->client;
	uint64_t n;

	pthread_mutex_lock(&c->pool);
	n = c->credits > c->credits_taken ? c->credits - c->credits_taken : 0;
	n = n < HOLD_BATCH ? n : HOLD_BATCH;
	c->credits_taken += n;
	pthread_mutex_unlock(&c->pool);
	l->holds += (uint32_t)n;
	return n > 0;
}

/* Asks for more than @have. The server's answer: 0, or why not. */
static int hold_ask(struct tarn__lane *l, uint64_t have)
{
	struct tarn_client *c = l->client;
	struct tarn__ask a;
	struct tarn__slot s;
	int r;

	tarn__ask_init(&a, TARN__MSG_CREDIT, 0);
	tarn__ask_word(&a, 1, have * 2 > have + HOLD_BATCH ? have * 2 : have + HOLD_BATCH);
	r = tarn__lane_ask(l, &a, 1, 0, UINT64_MAX, &s);
	if (r < 0)
		return r;
	r = tarn__reply_error(&s);
	if (r < 0)
		return tarn__fail(-ENOBUFS, "This process holds %llu blocks and channels of others and "
				  "the server allows no more (%s). Drop some, or start the server "
				  "with more memory.", (unsigned long long)have, tarn_error_text(r));
	pthread_mutex_lock(&c->pool);
	if (s.word[1] > c->credits)
		c->credits = s.word[1];
	pthread_mutex_unlock(&c->pool);
	return 0;
}

int tarn__hold_slow(struct tarn__lane *l)
{
	struct tarn_client *c = l->client;

	/* Again when other threads were faster to take what was granted. */
	while (!hold_from_pool(l)) {
		uint64_t have;
		int r;

		pthread_mutex_lock(&c->pool);
		have = c->credits;
		pthread_mutex_unlock(&c->pool);
		r = hold_ask(l, have);
		if (r < 0)
			return r;
	}
	return 0;
}

void tarn__hold_return_slow(struct tarn__lane *l)
{
	struct tarn_client *c = l->client;

	pthread_mutex_lock(&c->pool);
	c->credits_taken -= l->holds / 2;
	pthread_mutex_unlock(&c->pool);
	l->holds -= l->holds / 2;
}

/* ---- filling and sharing ---- */

bool tarn__handle_fill(struct tarn_client *c, struct tarn_block *b, uint64_t id, uint64_t size)
{
	struct tarn__dir_entry e;
	uint32_t index = tarn__id_index(id);

	if (id == 0 || index >= c->dir_entries || !tarn__dir_read(&c->dir[index], id, &e))
		return false;
	if (e.capacity < TARN__LINE || e.offset > c->data_bytes ||
	    e.capacity > c->data_bytes - e.offset || size == 0 || size > e.capacity)
		return false;
	b->client = c;
	b->id = id;
	b->data = c->data + e.offset;
	b->size = size;
	b->capacity = e.capacity;
	b->next = NULL;
	b->units = 1;
	b->bin = (uint8_t)tarn__class_below(e.capacity);
	b->populated = 0;
	return true;
}

int tarn__handle_share(struct tarn__lane *l, struct tarn_block *b)
{
	struct tarn_client *c = l->client;
	uint64_t hash, old;
	struct tarn__shard *s;
	int r;

	if (tarn__likely(tarn__refs(b) & REF_SHARED))
		return 0;
	r = tarn__hold_take(l);
	if (r < 0)
		return r;
	hash = hash_of(b->id);
	s = shard_of(c, hash);
	lock(s);
	/* SYNC refs, release: whoever finds it in the shard sees it whole; the lock does
	 * that already, other holders only need the flag. */
	old = __atomic_fetch_or(&b->refs, REF_SHARED, __ATOMIC_RELEASE);
	if (!(old & REF_SHARED))
		add(s, hash, b);
	unlock(s);
	if (old & REF_SHARED)
		tarn__hold_return(l); /* another thread was faster */
	return 0;
}

/* ---- the last drop ---- */

static void release(struct tarn__lane *l, struct tarn_block *b)
{
	struct tarn_client *c = l->client;
	uint64_t flags = tarn__flags(b);
	uint32_t units;

	if (((flags & REF_CHANNEL) && !tarn__channel_last(l, b)) ||
	    tarn__requests_room(&l->requests, 1) == 0) {
		tarn__lane_ring(l);
		tarn__backlog_push(c, b); /* still in its shard, at count 0: passed over */
		return;
	}
	tarn__to_server(c);
	units = flags & REF_UNLISTED ? b->units : tarn__table_remove(c, b);

	tarn__lane_post(l, tarn__header(TARN__MSG_RELEASE, 1, 0, 0), b->id, units, 0, 0, 0, 0);
	/* A channel's peer waits for its end, an object's destructor is to run promptly. */
	if (flags & (REF_CHANNEL | REF_OBJECT))
		tarn__lane_ring(l);
	if (flags & REF_CHANNEL)
		tarn__channel_handle_free(b);
	else
		tarn__handle_free(l, b);
	if (!(flags & REF_UNHELD))
		tarn__hold_return(l);
}

void tarn__handle_last(struct tarn__lane *l, struct tarn_block *b)
{
	uint64_t flags = tarn__flags(b);

	if (flags & REF_SLICE) {
		struct tarn_block *parent = b->next;

		tarn__handle_free(l, b);
		tarn__handle_put(l, parent);
	} else if (flags & REF_SHARED) {
		release(l, b);
	} else {
		tarn__cache_put(l, b);
	}
}

void tarn__handle_drop(struct tarn_block *b)
{
	struct tarn_client *c = b->client;
	struct tarn__lane *l;
	uint64_t old;

	if (tarn__forked(c))
		return;
	/* SYNC refs, release: what this holder did comes before what the last one does;
	 * acquire: the last one sees it. */
	old = __atomic_fetch_sub(&b->refs, 1, __ATOMIC_ACQ_REL);
	if ((old & REF_COUNT) != 1)
		return;
	l = tarn__lane_mine(c);
	if (old & REF_DEFERRED) {
		/* It is the consumer's to finish, now if that is this thread. */
		if (l != NULL && tarn__lane_try(l)) {
			tarn__lane_settle(l, false);
			tarn__lane_leave(l);
		}
		return;
	}
	if (l != NULL ? tarn__lane_try(l)
		      : !tarn__here.entering && tarn__lane_enter_slow(c, &l) == 0) {
		if (tarn__backlog_any(c))
			tarn__backlog_post(l);
		tarn__handle_last(l, b);
		tarn__lane_leave(l);
	} else {
		tarn__backlog_push(c, b);
	}
}
