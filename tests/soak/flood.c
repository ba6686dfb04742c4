/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers that do little but pass blocks on, in long bursts, so that millions of messages are under
 * way while somebody dies. Of each channel everything is known, for it has one producer and one consumer:
 *
 *	order	items come as they were sent, none is missing in between, none comes twice
 *	end	whoever reads a channel to its end got all that was sent for certain, whether its
 *		producer closed it or died, and at most the one more that this was about
 *	bytes	each block says which item it is, and its other words follow from that and its id
 *
 * Most blocks are given away; some are forwarded by whoever got them, some kept for long and sent
 * again and again, whole or a view of them; some items are the channel itself. Now and then a thread
 * does one of the ordinary deeds with Tarn's types, or many at a queue or a topic, so that calls go
 * through lanes that are full.
 */
#include "flood.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "toys.h"
#include "worker.h"

#define STREAMS 12      /* channel ends a worker uses */
#define BAG 32          /* blocks that a thread keeps */
#define PATIENCE 500000 /* ns that one waits who finds nothing to do */

/* In the tag of an item: this one was made, or made anew, for it. */
#define FRESH (1ull << 63)

/* One end of a channel. */
struct stream {
	pthread_mutex_t lock; /* of whoever uses it */
	tarn_channel *channel;
	bool producer;
	uint64_t number; /* of the channel */
	uint64_t next;   /* the item that is to be sent, or to come */
};

struct flood {
	tarn_client *client;
	struct stream stream[STREAMS];
	bool over;
};

struct hand {
	struct flood *f;
	unsigned index;
	uint64_t random;
	tarn_block *bag[BAG];
	unsigned n;
	tarn_block *spare; /* ours alone: to be sent next */
	struct toys toys;
};

/* ---- what is in a block: a random word, which item it is, and what follows from those and its id ---- */

static uint64_t item_word(const struct stream *s)
{
	return s->number << 40 | s->next;
}

static void stamp(struct hand *h, tarn_block *b, uint64_t item)
{
	uint64_t *w = tarn_block_data(b);
	const size_t n = tarn_block_size(b) / sizeof *w;
	const uint64_t root = (w[0] = next_random(&h->random)) ^ tarn_block_id(b);

	w[1] = item;
	for (size_t k = 2; k < n; k++)
		w[k] = root + k * 0x9e3779b97f4a7c15ull;
}

/* Of a view there is but the random word. */
static void look_at(const tarn_block *b, const char *where)
{
	const uint64_t *w = tarn_block_data(b);
	const size_t n = tarn_block_size(b) / sizeof *w;
	const uint64_t root = w[0] ^ tarn_block_id(b);
	uint64_t wrong = 0;

	for (size_t k = 2; k < n; k++)
		wrong |= w[k] ^ (root + k * 0x9e3779b97f4a7c15ull);
	if (wrong != 0)
		finding("block %llx of %zu words, %s: its words do not belong together",
			(unsigned long long)tarn_block_id(b), n, where);
}

/* ---- what a thread has ---- */

static void drop(struct hand *h, unsigned at)
{
	look_at(h->bag[at], "before its drop");
	tarn_block_unref(h->bag[at]);
	h->bag[at] = h->bag[--h->n];
}

static void drop_all(struct hand *h)
{
	while (h->n > 0)
		drop(h, 0);
	h->spare = tarn_block_unref(h->spare);
}

static void keep(struct hand *h, tarn_block *b)
{
	if (h->n == BAG)
		drop(h, (unsigned)below(&h->random, BAG));
	h->bag[h->n++] = b;
}

static size_t random_size(uint64_t *random)
{
	uint64_t dice = next_random(random);
	size_t words = 2 + (dice >> 32) % 30;

	if (dice % 64 == 0)
		words += (dice >> 16) % 1000;
	return words * sizeof(uint64_t);
}

static bool have_spare(struct hand *h)
{
	int r;

	if (h->spare != NULL)
		return true;
	r = tarn_block_new(h->f->client, random_size(&h->random), 0, &h->spare);
	if (r == -ENOMEM) {
		add(&board->full, 1);
		drop_all(h);
		tarn_client_trim(h->f->client);
	} else if (r < 0) {
		unexpected("new", r);
	}
	return r == 0;
}

/* ---- streams ---- */

static void stream_close(struct stream *s)
{
	s->channel = tarn_channel_unref(s->channel);
}

static int send_fresh(struct hand *h, struct stream *s, int64_t timeout_ns)
{
	int r;

	if (!have_spare(h))
		return -ENOMEM;
	stamp(h, h->spare, item_word(s));
	r = tarn_channel_give(s->channel, h->spare, FRESH | s->next, timeout_ns);
	if (r == 0)
		h->spare = NULL;
	return r;
}

/* A block that others may have, too, or a view of a part of it, or the channel itself. */
static int send_other(struct hand *h, struct stream *s, uint64_t dice, int64_t timeout_ns)
{
	tarn_block *b = h->n > 0 ? h->bag[dice % h->n] : NULL, *view;
	int r;

	if (b == NULL || dice >> 32 & 1)
		return tarn_channel_send_channel(s->channel, s->channel, s->next, timeout_ns);
	look_at(b, "before it is sent again");
	if (dice >> 33 & 1)
		return tarn_channel_send(s->channel, b, s->next, timeout_ns);
	r = tarn_block_slice(b, 0, sizeof(uint64_t), &view);
	if (r < 0)
		unexpected("slice", r);
	r = tarn_channel_give(s->channel, view, s->next, timeout_ns);
	if (r < 0)
		tarn_block_unref(view);
	return r;
}

/* Sends one. 0: done; else why not. Tried and done stand on the board around it (relaxed: whoever
 * compares them learns of our end from the server, or from the channel's, and that orders them). */
static int send_one(struct hand *h, struct stream *s, int64_t timeout_ns)
{
	struct course *c = &board->course[s->number % COURSES];
	const uint64_t dice = next_random(&h->random);
	int r;

	__atomic_store_n(&c->tried, s->next + 1, __ATOMIC_RELAXED);
	r = dice % 64 == 0 ? send_other(h, s, dice / 64, timeout_ns) : send_fresh(h, s, timeout_ns);
	if (r == 0)
		__atomic_store_n(&c->done, ++s->next, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&c->tried, s->next, __ATOMIC_RELAXED);
	if (r < 0 && r != -EAGAIN && r != -ETIMEDOUT && r != -TARN_ECLOSED && r != -ENOMEM)
		unexpected("send", r);
	return r;
}

/* The producer is gone, and all it left was read. */
static void at_its_end(const struct stream *s)
{
	const struct course *c = &board->course[s->number % COURSES];
	const uint64_t done = count_of(&c->done), tried = count_of(&c->tried);

	if (s->next < done || s->next > tried)
		finding("channel %llu ended after %llu items; %llu were sent, %llu tried",
			(unsigned long long)s->number, (unsigned long long)s->next,
			(unsigned long long)done, (unsigned long long)tried);
	add(&board->ended, 1);
}

/* What came is ours: it is forwarded, kept, or let go. */
static void have(struct hand *h, tarn_block *b, bool fresh)
{
	const uint64_t dice = next_random(&h->random);

	if (fresh && dice % 8 == 0 && h->spare == NULL)
		h->spare = b;
	else if (dice % 32 == 1)
		keep(h, b);
	else
		tarn_block_unref(b);
}

static int receive_one(struct hand *h, struct stream *s, int64_t timeout_ns)
{
	tarn_channel *ch = NULL;
	tarn_block *b = NULL;
	uint64_t tag = 0;
	int r = tarn_channel_recv(s->channel, &b, &tag, timeout_ns);

	if (r == -TARN_EKIND)
		r = tarn_channel_recv_channel(s->channel, &ch, &tag, 0);
	if (r == -TARN_ECLOSED)
		at_its_end(s);
	if (r == -EAGAIN || r == -ETIMEDOUT || r == -TARN_ECLOSED)
		return r;
	if (r < 0)
		unexpected("receive", r);
	if ((tag & ~FRESH) != s->next)
		finding("channel %llu: item %llu came where %llu was next", (unsigned long long)s->number,
			(unsigned long long)(tag & ~FRESH), (unsigned long long)s->next);
	if (ch != NULL && ch != s->channel)
		finding("channel %llu: item %llu is another channel than itself", (unsigned long long)s->number,
			(unsigned long long)s->next);
	if ((tag & FRESH) != 0 && (b == NULL || ((const uint64_t *)tarn_block_data(b))[1] != item_word(s)))
		finding("channel %llu: block %llx came for item %llu and is another's",
			(unsigned long long)s->number, b != NULL ? (unsigned long long)tarn_block_id(b) : 0,
			(unsigned long long)s->next);
	s->next++;
	if (ch != NULL) {
		tarn_channel_unref(ch);
	} else {
		look_at(b, "on receipt");
		have(h, b, (tag & FRESH) != 0);
	}
	return 0;
}

/* As many as there are, or as there is room for, up to a random number. False: there was nothing. */
static bool burst(struct hand *h, struct stream *s, int64_t timeout_ns)
{
	const uint64_t most = 1ull << below(&h->random, 13);
	uint64_t n = 0, told = 0;
	int r = 0;

	while (n < most && r == 0) {
		r = s->producer ? send_one(h, s, n == 0 ? timeout_ns : 0)
				: receive_one(h, s, n == 0 ? timeout_ns : 0);
		n += r == 0;
		/* In between, too: of the killed all but the last few count. */
		if (n != told && (n - told == 64 || n == most || r != 0)) {
			add(s->producer ? &board->sent : &board->received, n - told);
			told = n;
		}
	}
	if (s->producer)
		add(&board->allocated, n / 64);
	if (r == -TARN_ECLOSED)
		stream_close(s);
	return n != 0;
}

/* Once around. Mostly one's own ends: another thread's is to be settled first. */
static bool around(struct hand *h, int64_t timeout_ns)
{
	const unsigned from = (unsigned)below(&h->random, STREAMS);
	const bool all = below(&h->random, 64) == 0;
	bool any = false;

	for (unsigned k = 0; k < STREAMS; k++) {
		struct stream *s = &h->f->stream[(from + k) % STREAMS];

		if (!all && (from + k) % STREAMS % THREADS != h->index)
			continue;
		if (pthread_mutex_trylock(&s->lock) != 0)
			continue;
		if (s->channel != NULL)
			any |= burst(h, s, timeout_ns);
		pthread_mutex_unlock(&s->lock);
	}
	return any;
}

static void *hand_main(void *arg)
{
	struct hand *h = arg;
	bool any = true;

	toys_open(&h->toys, h->f->client, next_random(&h->random));
	while (!__atomic_load_n(&h->f->over, __ATOMIC_RELAXED)) {
		toys_say(&h->toys, "a flood");
		any = around(h, any ? 0 : PATIENCE);
		if (below(&h->random, 32) == 0)
			toys_act(&h->toys);
		if (below(&h->random, 32) == 0)
			toys_rush(&h->toys, 1ull << below(&h->random, 9));
		if (!any)
			nanosleep(&(struct timespec){ .tv_nsec = PATIENCE / 4 }, NULL);
	}
	toys_close(&h->toys);
	drop_all(h);
	return NULL;
}

/* The end that @line names takes a place that is free, or another's. */
static void take_stream(struct flood *f, uint64_t *random, const char *line)
{
	tarn_channel *ch = end_of(f->client, line);
	unsigned at = 0;

	if (ch == NULL)
		return;
	while (at < STREAMS && __atomic_load_n(&f->stream[at].channel, __ATOMIC_RELAXED) != NULL)
		at++;
	if (at == STREAMS)
		at = (unsigned)below(random, STREAMS);
	struct stream *s = &f->stream[at];

	pthread_mutex_lock(&s->lock);
	if (s->channel != NULL)
		stream_close(s);
	s->producer = line[0] == 'P';
	s->number = strtoull(line + strlen("P soak-"), NULL, 10);
	s->next = 0;
	s->channel = ch;
	pthread_mutex_unlock(&s->lock);
}

int flood_main(const char *server, uint64_t seed)
{
	static struct flood f;
	static struct hand hand[THREADS];
	pthread_t thread[THREADS];
	uint64_t random = seed | 1;
	char line[128];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int r = tarn_client_open(server, NULL, &f.client);
	if (r < 0)
		unexpected("attach", r);
	for (unsigned k = 0; k < STREAMS; k++)
		pthread_mutex_init(&f.stream[k].lock, NULL);
	for (unsigned i = 0; i < THREADS; i++) {
		hand[i].f = &f;
		hand[i].index = i;
		hand[i].random = seed_of(seed, i);
		pthread_create(&thread[i], NULL, hand_main, &hand[i]);
	}
	while (next_order(line, sizeof line))
		take_stream(&f, &random, line);
	__atomic_store_n(&f.over, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (unsigned k = 0; k < STREAMS; k++)
		if (f.stream[k].channel != NULL)
			stream_close(&f.stream[k]);
	tarn_client_close(f.client);
	return 0;
}
