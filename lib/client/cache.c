/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling and emptying the cache: asking for blocks, taking grants, giving back.
 *
 * How many to ask for: a bin starts with one block, every miss doubles its batch up to
 * TARN__BATCH_MAX blocks, TARN__BATCH_BYTES, or a quarter of what the cache may keep. With a
 * batch of some size it asks ahead when half of it is used; whoever frees what he allocates
 * never gets there, because his blocks come back.
 */
#include "cache.h"

#include <string.h>
#include <sys/mman.h>

#include "handle.h"
#include "lib/probe.h"

#define POISON 0xdb
#define WAIT_MAX_NS 3600000000000u
#define AHEAD_LEAST 8u /* blocks: smaller batches do not ask ahead */
#define AHEAD 0 /* wait_ns of who does not wait: nobody is asked to give back for it */

void tarn__cache_init(struct tarn__cache *k, uint64_t limit, bool poison)
{
	memset(k, 0, sizeof *k);
	k->limit = limit;
	k->slow_free = poison || TARN__ASAN;
}

/* ---- pages ---- */

/*
 * Maps the pages under a fresh grant at once instead of by a fault each. One bit per
 * heap page of the arena remembers what this process has mapped; a bit that lies (the
 * server gave the memory back to the system meanwhile) costs faults, nothing else.
 * Whole heap pages are touched: they are committed together.
 */
static void populate(struct tarn_client *c, struct tarn_block *b)
{
	uint64_t first = (uint64_t)(b->data - c->data) >> TARN__HEAP_PAGE_SHIFT;
	uint64_t last = ((uint64_t)(b->data - c->data) + b->capacity - 1) >> TARN__HEAP_PAGE_SHIFT;
	bool fresh = false;

	if (b->capacity > TARN__POPULATE_MAX || c->populated == NULL)
		return;
	for (uint64_t p = first; p <= last; p++) {
		uint64_t bit = 1ull << (p & 63);

		/* Relaxed: a hint. */
		if (tarn__load_relaxed(&c->populated[p >> 6]) & bit)
			continue;
		__atomic_fetch_or(&c->populated[p >> 6], bit, __ATOMIC_RELAXED);
		fresh = true;
	}
	if (!fresh)
		return;
	uintptr_t begin = (uintptr_t)c->data + (first << TARN__HEAP_PAGE_SHIFT);
	uintptr_t end = (uintptr_t)c->data + ((last + 1) << TARN__HEAP_PAGE_SHIFT);
	begin &= ~(uintptr_t)(tarn__os_page() - 1);
	madvise((void *)begin, end - begin, MADV_POPULATE_WRITE);
}

/* ---- grants ---- */

static void grant(struct tarn__lane *l, uint64_t id)
{
	struct tarn_block *b = tarn__handle_new(l);

	if (b == NULL)
		return; /* no memory for its handle: granted until this process ends */
	if (!tarn__handle_fill(l->client, b, id, 1)) {
		tarn__handle_free(l, b);
		return;
	}
	tarn__from_server(l->client);
	populate(l->client, b);
	tarn__cache_push(&l->cache, b);
	l->cache.granted = id;
}

void tarn__cache_granted(struct tarn__lane *l, const struct tarn__slot *reply)
{
	unsigned n = tarn__header_slots(reply->word[0]) & ~TARN__REPLY_LAST;
	unsigned bin = tarn__cookie_bin(tarn__header_cookie(reply->word[0]));
	struct tarn__cache *k = &l->cache;

	if (tarn__reply_error(reply) != 0) {
		/* Asking ahead would only fail again. */
		if (bin < TARN__CLASSES)
			k->bin[bin].low = k->bin[bin].batch = 0;
		return;
	}
	for (unsigned i = 0; i < n && i < TARN__GRANTS_PER_SLOT; i++)
		grant(l, reply->word[1 + i]);
	if (bin < TARN__CLASSES)
		k->bin[bin].asked -= n < k->bin[bin].asked ? n : k->bin[bin].asked;
}

/* ---- giving back ---- */

/* Gives blocks of @bin back until @keep are left. False: no room on the lane. */
static bool give_back(struct tarn__lane *l, struct tarn__bin *bin, uint32_t keep)
{
	tarn__to_server(l->client);
	while (bin->n > keep) {
		uint64_t word[7] = { 0 };
		unsigned n = 0;

		if (tarn__requests_room(&l->requests, 1) == 0)
			return false;
		for (; n < TARN__GIVEBACK_IDS && bin->n > keep; n++) {
			struct tarn_block *b = tarn__cache_pop(&l->cache, bin);

			word[1 + n] = b->id;
			tarn__handle_free(l, b);
		}
		word[0] = tarn__header(TARN__MSG_GIVEBACK, 1, n, 0);
		tarn__lane_post(l, word[0], word[1], word[2], word[3], 0, 0, 0);
	}
	return true;
}

static struct tarn__bin *heaviest(struct tarn__cache *k)
{
	struct tarn__bin *most = NULL;
	uint64_t most_bytes = 0;

	for (unsigned i = 0; i < TARN__CLASSES; i++) {
		struct tarn__bin *bin = &k->bin[i];
		uint64_t bytes = bin->n * tarn__class_bytes(i);

		if (bytes > most_bytes) {
			most = bin;
			most_bytes = bytes;
		}
	}
	return most;
}

void tarn__cache_shrink(struct tarn__lane *l)
{
	struct tarn__cache *k = &l->cache;

	while (k->bytes > k->limit) {
		struct tarn__bin *bin = heaviest(k);

		if (bin == NULL)
			return;
		bin->low = bin->batch = 0; /* it has too many */
		if (!give_back(l, bin, bin->n / 2))
			return;
	}
}

bool tarn__cache_empty(struct tarn__lane *l)
{
	struct tarn__cache *k = &l->cache;

	for (unsigned i = 0; i < TARN__CLASSES; i++) {
		struct tarn__bin *bin = &k->bin[i];

		bin->low = 0;
		bin->batch = 0;
		if (bin->n > 0 && !give_back(l, bin, 0))
			return false;
	}
	return true;
}

void tarn__cache_put(struct tarn__lane *l, struct tarn_block *b)
{
	struct tarn__cache *k = &l->cache;
	unsigned at = b->bin;

	if (k->slow_free) {
		tarn__show(b->data, b->capacity);
		if (l->client->poison)
			memset(b->data, POISON, b->capacity);
		tarn__hide(b->data, b->capacity);
	}
	if (!tarn__cache_push(k, b))
		tarn__cache_trim(l, at);
}

void tarn__cache_trim(struct tarn__lane *l, unsigned at)
{
	struct tarn__bin *bin = &l->cache.bin[at];

	if (bin->n > TARN__BIN_MAX)
		give_back(l, bin, TARN__BIN_MAX / 2);
	tarn__cache_shrink(l);
}

/* ---- asking ---- */

static uint64_t ask_bytes(uint64_t size)
{
	return size <= TARN__SMALL_MAX ? tarn__class_bytes(tarn__class_of(size))
				       : tarn__round_up(size, TARN__HEAP_PAGE);
}

static unsigned slots_for(unsigned count)
{
	return (count + TARN__GRANTS_PER_SLOT - 1) / TARN__GRANTS_PER_SLOT;
}

static unsigned batch_limit(const struct tarn__cache *k, uint64_t bytes)
{
	/* A batch that the cache could not keep would go back and be asked for again. */
	uint64_t most = k->limit / 4 < TARN__BATCH_BYTES ? k->limit / 4 : TARN__BATCH_BYTES;
	uint64_t n = most / bytes;

	return n < 1 ? 1 : n > TARN__BATCH_MAX ? TARN__BATCH_MAX : (unsigned)n;
}

static void build(struct tarn__ask *a, unsigned count, uint64_t bytes, uint64_t align,
		  uint64_t wait_ns)
{
	tarn__ask_init(a, TARN__MSG_ALLOC, count);
	tarn__ask_word(a, 1, bytes);
	tarn__ask_word(a, 2, align);
	tarn__ask_word(a, 3, wait_ns);
}

/*
 * Asks in whole portions, and looks again only after some more blocks are used: a message for
 * every block that goes would keep the server from sleeping, or from anything else.
 * Rings when what is left may be gone before a server that sleeps has granted more.
 */
void tarn__cache_ahead(struct tarn__lane *l, unsigned at)
{
	struct tarn__bin *bin = &l->cache.bin[at];
	uint32_t portion = bin->batch / 4 < TARN__ASK_BLOCKS ? bin->batch / 4 : TARN__ASK_BLOCKS;
	uint32_t step;

	if (l->allocs > 0)
		tarn__lane_drain(l);
	if (l->allocs == 0)
		bin->asked = 0;
	if (bin->batch < AHEAD_LEAST)
		return; /* refused meanwhile */
	while (bin->n + bin->asked + portion <= bin->batch && l->allocs < TARN__ALLOCS_MOST) {
		struct tarn__ask a;

		build(&a, portion, bin->bytes, 0, AHEAD);
		if (!tarn__lane_ask_later(l, &a, slots_for(portion), at))
			break;
		bin->asked += portion;
	}
	if (bin->n <= bin->batch / 8 && l->allocs > 0)
		tarn__lane_ring(l);
	step = portion < bin->n ? portion : bin->n;
	bin->low = (uint16_t)(bin->n - step < bin->batch / 2u ? bin->n - step : bin->batch / 2u);
}

static int fail_full(struct tarn_client *c, int code, const struct tarn__slot *s, int64_t timeout)
{
	unsigned long long asked = s->word[1], unused = s->word[2], cap = s->word[3];
	unsigned long long run = s->word[4], quota = s->word[5], owned = s->word[6];

	if (code == -EDQUOT)
		return tarn__fail(-TARN_EQUOTA, "Quota of this client used up: asked for %llu bytes, "
				  "owns %llu, may own %llu. Drop blocks, or attach with a larger "
				  "quota_bytes.", asked, owned, quota);
	if (code == -ENFILE)
		return tarn__fail(-ENOMEM, "No more blocks: the arena's table of blocks is full. "
				  "Start the server with a larger max_blocks.");
	if (code == -ENOSPC)
		return tarn__fail(-ENOMEM, "The system has no memory for %llu bytes more of server "
				  "'%s' (arena cap %llu bytes, not reached): its /dev/shm or memory "
				  "cgroup is full. Free memory there, or raise that limit.",
				  asked, c->name, cap);
	if (code == -ENOMEM)
		return tarn__fail(timeout == 0 ? -ENOMEM : -ETIMEDOUT,
				  "Arena '%s' is full: asked for %llu bytes, free %llu, largest "
				  "piece %llu, cap %llu%s. Raise the cap (tarnd --size), lower "
				  "cache_bytes, or see who holds what: tarn blocks.", c->name,
				  asked, unused, run, cap,
				  timeout == 0 ? "" : ", also after the wait");
	return tarn__fail(code, "The server refused %llu bytes: %s.", asked, tarn_error_text(code));
}

static bool fits(const struct tarn_block *b, uint64_t size, uint64_t align)
{
	return b->capacity >= size && ((uintptr_t)b->data & (align - 1)) == 0;
}

/* The block that was granted last; it is on top of its bin. */
static struct tarn_block *take_granted(struct tarn__lane *l)
{
	uint64_t id = l->cache.granted;

	for (unsigned i = 0; id != 0 && i < TARN__CLASSES; i++) {
		struct tarn__bin *bin = &l->cache.bin[i];

		if (bin->top != NULL && bin->top->id == id)
			return tarn__cache_pop(&l->cache, bin);
	}
	return NULL;
}

/* Decides how many blocks a miss asks for: more and more of one size. Bins of large blocks hold
 * many sizes; a miss of another one begins anew. */
static unsigned next_batch(struct tarn__cache *k, struct tarn__bin *bin, uint64_t bytes)
{
	unsigned limit = batch_limit(k, bytes), n;

	if (bin->bytes != bytes)
		bin->batch = 0;
	bin->bytes = bytes;
	n = bin->batch * 2u + 1 < limit ? bin->batch * 2u + 1 : limit;
	bin->batch = (uint16_t)n;
	bin->low = n >= AHEAD_LEAST ? (uint16_t)(n / 2) : 0;
	return n < TARN__ASK_BLOCKS ? n : TARN__ASK_BLOCKS;
}

/* Asks for at least one block and waits for it. @patience_ns: for an answer. */
static int ask_now(struct tarn__lane *l, uint64_t size, uint64_t align, int64_t timeout_ns,
		   int64_t patience_ns, struct tarn_block **ret)
{
	unsigned at = tarn__bin_of(size), n = 1;
	uint64_t bytes = ask_bytes(size), wait_ns;
	struct tarn__ask a;
	struct tarn__slot s;
	int r;

	if (align <= TARN__LINE)
		n = next_batch(&l->cache, &l->cache.bin[at], bytes);
	wait_ns = timeout_ns < 0 || (uint64_t)timeout_ns > WAIT_MAX_NS ? WAIT_MAX_NS
								       : (uint64_t)timeout_ns + 1;
	build(&a, n, bytes, align <= TARN__LINE ? 0 : align, wait_ns);
	l->cache.granted = 0;
	TARN__PROBE3(alloc_slow, size, align, n);
	r = tarn__lane_ask(l, &a, slots_for(n), at,
			   tarn__deadline(patience_ns < 0 ? TARN__FOREVER : (int64_t)wait_ns + patience_ns), &s);
	if (r < 0)
		return r;
	r = tarn__reply_error(&s);
	if (r < 0)
		return fail_full(l->client, r, &s, timeout_ns);
	*ret = take_granted(l);
	if (*ret == NULL || !fits(*ret, size, align)) {
		if (*ret != NULL)
			tarn__cache_push(&l->cache, *ret);
		return tarn__fail(-TARN_EPROTO, "The server granted a block that is not what was "
				  "asked for (%llu bytes, alignment %llu).",
				  (unsigned long long)size, (unsigned long long)align);
	}
	return 0;
}

/* A cached block that fits: of the bin whose blocks may fit, then of the next. */
static struct tarn_block *look(struct tarn__lane *l, uint64_t size, uint64_t align)
{
	unsigned at = tarn__bin_of(size);

	for (unsigned i = at; i < TARN__CLASSES && i < at + 2; i++) {
		struct tarn__bin *bin = &l->cache.bin[i];

		if (bin->top != NULL && fits(bin->top, size, align))
			return tarn__cache_pop(&l->cache, bin);
		if (size <= TARN__SMALL_MAX && align <= TARN__LINE)
			break; /* exact bins */
	}
	return NULL;
}

int tarn__cache_get(struct tarn__lane *l, uint64_t size, uint64_t align, int64_t timeout_ns,
		    int64_t patience_ns, struct tarn_block **ret)
{
	struct tarn_block *b = look(l, size, align);
	bool gave_back = false;

	if (b == NULL) {
		tarn__lane_settle(l, true); /* what was dropped may be the memory we want */
		tarn__lane_notice(l);
		tarn__lane_drain(l);
		b = look(l, size, align);
	}
	while (b == NULL) {
		int r;

		if (l->allocs > 0) {
			/* One at a time; what comes may be what we want. */
			r = tarn__lane_reply_wait(l, tarn__deadline(patience_ns));
			b = r == 0 ? look(l, size, align) : NULL;
		} else {
			r = ask_now(l, size, align, timeout_ns, patience_ns, &b);
			if (r == -ETIMEDOUT && timeout_ns < 0)
				continue; /* the longest wait of one message is over */
			/* Ours to give, and the server may not have waited for it long enough. */
			if ((r == -ENOMEM || r == -TARN_EQUOTA) && !gave_back) {
				gave_back = true;
				if (tarn__lane_give_back(l))
					continue;
			}
		}
		if (r < 0)
			return r;
	}
	b->refs = 1; /* plain: not yet anybody else's */
	b->size = size;
	tarn__hide(b->data, b->capacity); /* a fresh one, beyond its end */
	tarn__show(b->data, b->size);
	*ret = b;
	return 0;
}
