/* SPDX-License-Identifier: Apache-2.0 */
/* The soak's worker process: threads that do one random deed after another. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "nests.h"
#include "toys.h"
#include "worker.h"

#define BAG 48        /* references a thread holds */
#define ENDS 12       /* channel ends a worker uses */

struct held {
	tarn_block *block;
	size_t offset; /* of the view within its block: the canary goes on */
	bool sealed;
};

struct end {
	tarn_channel *channel;
	bool producer;
};

struct worker {
	tarn_client *client;
	const char *server;
	uint64_t seed;
	pthread_mutex_t lock; /* ends are used by one thread at a time */
	struct end end[ENDS];
	bool over;
};

struct hand {
	struct worker *w;
	uint64_t random;
	struct held bag[BAG];
	int n;
	struct nests nests;
	struct toys toys;
};


static void drop(struct hand *h, int i)
{
	canary_check(h->bag[i].block, h->bag[i].offset, "before its drop");
	tarn_block_unref(h->bag[i].block);
	h->bag[i] = h->bag[--h->n];
}

static void keep(struct hand *h, tarn_block *b, size_t offset)
{
	if (h->n == BAG)
		drop(h, (int)below(&h->random, BAG));
	h->bag[h->n++] = (struct held){ b, offset, tarn_block_sealed(b) };
}

static size_t random_size(uint64_t *random)
{
	switch (below(random, 20)) {
	case 0:
		return 1 + below(random, 2u << 20);
	case 1:
	case 2:
		return 1 + below(random, 65536);
	default:
		return 1 + below(random, 2000);
	}
}

static void act_new(struct hand *h)
{
	tarn_block *b;
	int r = tarn_block_new(h->w->client, random_size(&h->random), 0, &b);

	if (r == -ENOMEM) {
		add(&board->full, 1);
		while (h->n > 0)
			drop(h, 0);
		tarn_client_trim(h->w->client);
		return;
	}
	if (r < 0)
		unexpected("new", r);
	canary_write(b);
	add(&board->allocated, 1);
	keep(h, b, 0);
}

static struct end *random_end(struct hand *h, bool producer)
{
	int from = (int)below(&h->random, ENDS);

	for (int k = 0; k < ENDS; k++) {
		struct end *e = &h->w->end[(from + k) % ENDS];

		if (e->channel != NULL && e->producer == producer)
			return e;
	}
	return NULL;
}

static void end_close(struct end *e)
{
	tarn_channel_unref(e->channel);
	e->channel = NULL;
}

static void act_send(struct hand *h)
{
	if (h->n == 0)
		return;
	int i = (int)below(&h->random, (uint64_t)h->n);
	bool give = below(&h->random, 2) == 0;

	pthread_mutex_lock(&h->w->lock);
	struct end *e = random_end(h, true);
	int r = -EAGAIN;
	if (e != NULL) {
		tarn_block *b = h->bag[i].block;

		canary_check(b, h->bag[i].offset, "before a send");
		r = give ? tarn_channel_give(e->channel, b, h->bag[i].offset, 0)
			 : tarn_channel_send(e->channel, b, h->bag[i].offset, 0);
		if (r == -TARN_ECLOSED)
			end_close(e);
	}
	pthread_mutex_unlock(&h->w->lock);
	if (r == 0) {
		add(&board->sent, 1);
		if (give)
			h->bag[i] = h->bag[--h->n];
	} else if (r != -EAGAIN && r != -ETIMEDOUT && r != -TARN_ECLOSED) {
		unexpected("send", r);
	}
}

static void act_receive(struct hand *h)
{
	tarn_block *b = NULL;
	uint64_t offset = 0;
	int r = -EAGAIN;

	pthread_mutex_lock(&h->w->lock);
	struct end *e = random_end(h, false);
	if (e != NULL) {
		r = tarn_channel_recv(e->channel, &b, &offset, 0);
		if (r == -TARN_ECLOSED)
			end_close(e);
	}
	pthread_mutex_unlock(&h->w->lock);
	if (r == 0) {
		canary_check(b, offset, "on receipt");
		add(&board->received, 1);
		keep(h, b, offset);
	} else if (r != -EAGAIN && r != -ETIMEDOUT && r != -TARN_ECLOSED) {
		unexpected("receive", r);
	}
}

static void act_export(struct hand *h)
{
	static const tarn_export_options terms[] = {
		{ .uses = 1 },
		{ .uses = 3, .lifetime_ns = 50000000 },
		{ .uses = TARN_USES_UNLIMITED, .lifetime_ns = 20000000 },
		{ .uses = 2, .outlive_issuer = true, .lifetime_ns = 100000000 },
	};
	tarn_token t;
	char text[TARN_TOKEN_TEXT_BYTES];

	if (h->n == 0)
		return;
	struct held *b = &h->bag[below(&h->random, (uint64_t)h->n)];
	if (b->offset != 0)
		return; /* the board has no room for an offset */
	int r = tarn_block_export(b->block, &terms[below(&h->random, 4)], &t);
	if (r == -ENOSPC)
		return;
	if (r < 0)
		unexpected("export", r);
	add(&board->exported, 1);
	tarn_token_format(&t, text);
	/* Torn texts are welcome: the reader's checksum finds them. */
	memcpy(board->token[below(&h->random, BOARD)], text, sizeof text);
}

static void act_import(struct hand *h)
{
	char text[TARN_TOKEN_TEXT_BYTES + 1];
	tarn_token t;
	tarn_block *b = NULL;

	memcpy(text, board->token[below(&h->random, BOARD)], sizeof text);
	text[sizeof text - 1] = '\0';
	if (tarn_token_parse(text, &t) < 0)
		return;
	int r = below(&h->random, 10) == 0 ? tarn_token_revoke(h->w->client, &t)
					   : tarn_block_import(h->w->client, &t, &b);
	if (r == -TARN_ESTALE)
		add(&board->stale_tokens, 1);
	else if (r < 0)
		unexpected("import or revoke", r);
	else if (b != NULL) {
		canary_check(b, 0, "on import");
		add(&board->imported, 1);
		keep(h, b, 0);
	}
}

static void act_slice(struct hand *h)
{
	tarn_block *slice;

	if (h->n == 0)
		return;
	struct held *b = &h->bag[below(&h->random, (uint64_t)h->n)];
	size_t size = tarn_block_size(b->block);
	size_t offset = below(&h->random, size), length = 1 + below(&h->random, size - offset);
	int r = tarn_block_slice(b->block, offset, length, &slice);

	if (r < 0)
		unexpected("slice", r);
	add(&board->sliced, 1);
	keep(h, slice, b->offset + offset);
}

static void act_seal(struct hand *h)
{
	if (h->n == 0)
		return;
	struct held *b = &h->bag[below(&h->random, (uint64_t)h->n)];
	int r = tarn_block_seal(b->block);

	if (r == 0)
		add(&board->sealed, 1);
	else if (r != -EINVAL)
		unexpected("seal", r);
}

static void act(struct hand *h);
static bool forking;

/* The child of a process whose other threads were anywhere. */
static void child_main(const struct hand *parent, uint64_t random)
{
	struct worker w = { .seed = random | 1, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct hand h = { .w = &w, .random = random | 1 };
	tarn_block *b;

	forking = false;
	alarm(60); /* nobody waits for it */
	int r = tarn_block_new(parent->w->client, 100, 0, &b);
	if (r != -TARN_EFORKED)
		unexpected("a call of a forked child", r);
	for (int i = 0; i < parent->n && i < 4; i++)
		tarn_block_unref(parent->bag[i].block); /* nothing of the parent's changes */
	r = tarn_client_open(parent->w->server, NULL, &w.client);
	if (r < 0)
		unexpected("a forked child attaches", r);
	toys_open(&h.toys, w.client, next_random(&h.random));
	for (uint64_t i = 20 + below(&h.random, 200); i > 0; i--)
		act(&h);
	switch (below(&h.random, 4)) {
	case 0:
		kill(getpid(), SIGKILL);
		break;
	case 1:
		execl("/bin/true", "true", (char *)NULL);
		break;
	case 2:
		nests_drop(&h.nests);
		toys_close(&h.toys);
		while (h.n > 0)
			drop(&h, 0);
		tarn_client_close(w.client);
	}
	_exit(0);
}

static void act_fork(struct hand *h)
{
	uint64_t random = next_random(&h->random);
	pid_t child = fork();

	/* Once more, so that nobody has to wait for the one that works. */
	if (child == 0 && fork() == 0)
		child_main(h, random);
	if (child == 0)
		_exit(0);
	if (child > 0 && waitpid(child, NULL, 0) == child)
		add(&board->forks, 1);
}

/* A deed with objects; what they keep of blocks is whole ones. */
static void act_object(struct hand *h)
{
	tarn_block *b = h->n > 0 && h->bag[0].offset == 0 &&
					tarn_block_size(h->bag[0].block) ==
						tarn_block_capacity(h->bag[0].block)
				? h->bag[0].block : NULL;
	int r = nests_act(&h->nests, h->w->client, b, next_random(&h->random));

	if (interrupted(r) || (r == -EINVAL && b != NULL))
		return; /* a slice of all of it */
	if (r < 0)
		unexpected("a nest", r);
	add(&board->called, 1);
}

static void act(struct hand *h)
{
	uint64_t dice = below(&h->random, 100);

	if (below(&h->random, 8) == 0) {
		act_object(h);
		return;
	}
	if (below(&h->random, 4) == 0) {
		toys_act(&h->toys);
		return;
	}
	if (forking && below(&h->random, 1000) == 0)
		act_fork(h);

	if (dice < 22)
		act_new(h);
	else if (dice < 47)
		act_send(h);
	else if (dice < 72)
		act_receive(h);
	else if (dice < 80 && h->n > 0)
		drop(h, (int)below(&h->random, (uint64_t)h->n));
	else if (dice < 84)
		act_slice(h);
	else if (dice < 86)
		act_export(h);
	else if (dice < 89)
		act_import(h);
	else if (dice < 90)
		act_seal(h);
	else if (h->n > 0) {
		int i = (int)below(&h->random, (uint64_t)h->n);

		if (dice < 93) /* one more reference and back: local counts */
			tarn_block_unref(tarn_block_ref(h->bag[i].block));
		canary_check(h->bag[i].block, h->bag[i].offset, "while held");
	}
}

static void *hand_main(void *arg)
{
	struct hand *h = arg;

	toys_open(&h->toys, h->w->client, next_random(&h->random));
	while (!__atomic_load_n(&h->w->over, __ATOMIC_RELAXED))
		act(h);
	nests_drop(&h->nests);
	toys_close(&h->toys);
	while (h->n > 0)
		drop(h, 0);
	return NULL;
}

tarn_channel *end_of(tarn_client *client, const char *line)
{
	tarn_channel *ch;
	int r = tarn_channel_open(client, line + 2, 0, &ch);

	if (r == -ENOENT || r == -ETIMEDOUT || r == -TARN_ESTALE)
		return NULL; /* the other side died meanwhile and took it along */
	if (r < 0)
		unexpected("open a channel", r);
	r = tarn_channel_bind(ch, line[0] == 'P' ? TARN_PRODUCER : TARN_CONSUMER);
	if (r < 0)
		unexpected("bind", r);
	return ch;
}

bool next_order(char *line, int bytes)
{
	if (fgets(line, bytes, stdin) == NULL)
		return false;
	line[strcspn(line, "\n")] = '\0';
	return line[0] != 'X';
}

static void take_end(struct worker *w, const char *line)
{
	tarn_channel *ch = end_of(w->client, line);
	int at = 0;

	if (ch == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	while (at < ENDS && w->end[at].channel != NULL)
		at++;
	if (at == ENDS) {
		at = (int)below(&w->seed, ENDS);
		end_close(&w->end[at]);
	}
	w->end[at] = (struct end){ ch, line[0] == 'P' };
	pthread_mutex_unlock(&w->lock);
}

int worker_main(const char *server, uint64_t seed, bool forks)
{
	struct worker w = { .server = server, .seed = seed | 1, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct hand hand[THREADS] = { 0 };
	pthread_t thread[THREADS];
	char line[128];

	forking = forks;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int r = tarn_client_open(server, NULL, &w.client);
	if (r < 0)
		unexpected("attach", r);
	for (int i = 0; i < THREADS; i++) {
		hand[i].w = &w;
		hand[i].random = seed_of(seed, (uint64_t)i);
		pthread_create(&thread[i], NULL, hand_main, &hand[i]);
	}
	while (next_order(line, sizeof line))
		take_end(&w, line);
	__atomic_store_n(&w.over, true, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < ENDS; i++)
		if (w.end[i].channel != NULL)
			end_close(&w.end[i]);
	tarn_client_close(w.client);
	return 0;
}
