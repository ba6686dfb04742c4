/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Soak (PROTOCOL T7): worker processes allocate, fill, send, forward, export, slice, seal and
 * drop blocks at random, and are killed with SIGKILL at random, for as long as asked.
 *
 * Every block carries a canary over its whole length (its ends, if it is large), written
 * before it is shared and checked by everybody who holds it, again and again: memory that
 * was freed too early is somebody else's canary soon. At the end all clients are gone and
 * the arena must be empty, to the byte, and pass the full check.
 *
 * The supervisor makes channels between random pairs of workers and tells both by pipe;
 * ends of the dead are never used again, so new channels keep coming.
 *
 *	soak [--seconds N] [--workers N] [--seed N] [--kill-every-ms N] [--memfd] [--epoll]
 *	     [--stop] [--fork] [--deep]
 *
 * --stop: workers are stopped for a while and go on. --fork: they fork while their threads are
 * inside calls; the child attaches anew, works, and ends in one of four ways, often after its
 * parent. --deep: the supervisor hangs hundreds of channels into each other and lets go.
 * A second build of it (test-soak-lives) retires each id after a few lives.
 *
 * Prints its seed and TAP. Seconds default to TARN_SOAK_SECONDS or 10.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nests.h"
#include "tarn/tarn.h"

#define WORKERS_MOST 64
#define BAG 48        /* references a thread holds */
#define ENDS 12       /* channel ends a worker uses */
#define BOARD 256     /* tokens on the board */
#define THREADS 2
#define CANARY_WHOLE 4096u

/* Shared by all processes outside of the arena: counters and a board of tokens. */
struct board {
	uint64_t sent, received, allocated, imported, exported, sliced, sealed, stale_tokens, full;
	uint64_t forks, deepest, called;
	uint64_t bad; /* canaries found broken */
	char token[BOARD][TARN_TOKEN_TEXT_BYTES + 1];
};
static struct board *board;

static void add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* ---- random numbers: xorshift, one state per thread, seeds printed ---- */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}
static uint64_t below(uint64_t *state, uint64_t n)
{
	return next_random(state) % n;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- canaries ---- */

static unsigned char canary_byte(uint64_t id, size_t at)
{
	return (unsigned char)((id * 0x9e3779b97f4a7c15ull >> 32) + at * 31u);
}

static void canary_write(tarn_block *b)
{
	unsigned char *p = tarn_block_data(b);
	size_t n = tarn_block_size(b);
	uint64_t id = tarn_block_id(b);

	for (size_t i = 0; i < n && i < CANARY_WHOLE; i++)
		p[i] = canary_byte(id, i);
	if (n > CANARY_WHOLE)
		p[n - 1] = canary_byte(id, n - 1);
}

static void canary_check(const tarn_block *b, size_t offset, const char *where)
{
	const unsigned char *p = tarn_block_data(b);
	size_t n = tarn_block_size(b);
	uint64_t id = tarn_block_id(b);

	for (size_t i = 0; i < n && i + offset < CANARY_WHOLE; i++)
		if (p[i] != canary_byte(id, i + offset)) {
			fprintf(stderr, "# pid %d: block %llx of %zu bytes, %s: byte %zu is %02x, not %02x\n",
				(int)getpid(), (unsigned long long)id, n, where, i, p[i],
				canary_byte(id, i + offset));
			add(&board->bad, 1);
			_exit(3);
		}
}

/* ---- a worker ---- */

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
};

static void die(const char *what, int r)
{
	fprintf(stderr, "# pid %d: %s: %s (%s)\n", (int)getpid(), what, tarn_error_name(r),
		tarn_error_last()->message);
	_exit(4);
}

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
		die("new", r);
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
		die("send", r);
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
		die("receive", r);
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
		die("export", r);
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
		die("import or revoke", r);
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
		die("slice", r);
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
		die("seal", r);
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
		die("a call of a forked child", r);
	for (int i = 0; i < parent->n && i < 4; i++)
		tarn_block_unref(parent->bag[i].block); /* nothing of the parent's changes */
	r = tarn_client_open(parent->w->server, NULL, &w.client);
	if (r < 0)
		die("a forked child attaches", r);
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

	if (child == 0)
		child_main(h, random);
	if (child > 0)
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

	if (r == -EINVAL && b != NULL)
		return; /* a slice of all of it */
	if (r < 0)
		die("a nest", r);
	add(&board->called, 1);
}

static void act(struct hand *h)
{
	uint64_t dice = below(&h->random, 100);

	if (below(&h->random, 8) == 0) {
		act_object(h);
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

	while (!__atomic_load_n(&h->w->over, __ATOMIC_RELAXED))
		act(h);
	nests_drop(&h->nests);
	while (h->n > 0)
		drop(h, 0);
	return NULL;
}

/* "P name" or "C name" from the supervisor: take that end. */
static void take_end(struct worker *w, char *line)
{
	tarn_channel *ch;
	int r = tarn_channel_open(w->client, line + 2, 0, &ch), at = 0;

	if (r == -ENOENT || r == -ETIMEDOUT || r == -TARN_ESTALE)
		return; /* the other side died meanwhile and took it along */
	if (r < 0)
		die("open a channel", r);
	r = tarn_channel_bind(ch, line[0] == 'P' ? TARN_PRODUCER : TARN_CONSUMER);
	if (r < 0)
		die("bind", r);
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

static int worker_main(const char *server, uint64_t seed)
{
	struct worker w = { .server = server, .seed = seed | 1, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct hand hand[THREADS] = { 0 };
	pthread_t thread[THREADS];
	char line[128];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN); /* its children's ends are nobody's business */
	int r = tarn_client_open(server, NULL, &w.client);
	if (r < 0)
		die("attach", r);
	for (int i = 0; i < THREADS; i++) {
		hand[i].w = &w;
		hand[i].random = (seed * 1000003u + (uint64_t)i) | 1;
		pthread_create(&thread[i], NULL, hand_main, &hand[i]);
	}
	while (fgets(line, sizeof line, stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == 'X')
			break;
		take_end(&w, line);
	}
	__atomic_store_n(&w.over, true, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < ENDS; i++)
		if (w.end[i].channel != NULL)
			end_close(&w.end[i]);
	tarn_client_close(w.client);
	return 0;
}

/* ---- the supervisor ---- */

struct child {
	pid_t pid;
	int orders; /* pipe to its stdin */
	bool stopped;
};

static struct {
	struct child child[WORKERS_MOST];
	int n;
	uint64_t random, seed;
	const char *server;
	char self[512];
	uint64_t kills, clean_exits, channels, stops;
	int board_fd;
	bool forks, deep;
} sup;

static void spawn_worker(struct child *c)
{
	char seed[32], board_fd[16];
	int p[2];

	if (pipe2(p, O_CLOEXEC) != 0) {
		perror("pipe");
		exit(1);
	}
	snprintf(seed, sizeof seed, "%llu", (unsigned long long)next_random(&sup.random));
	snprintf(board_fd, sizeof board_fd, "%d", sup.board_fd);
	c->pid = fork();
	if (c->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(p[0], 0);
		execl(sup.self, "soak", "--worker", sup.server, seed, board_fd,
		      sup.forks ? "forks" : "", (char *)NULL);
		_exit(127);
	}
	close(p[0]);
	c->orders = p[1];
	c->stopped = false;
}

/* Death is normal; any other end is a failure. */
static void collect(struct child *c)
{
	int status;

	if (waitpid(c->pid, &status, 0) != c->pid)
		return;
	close(c->orders);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		sup.kills++;
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		sup.clean_exits++;
	} else {
		fprintf(stderr, "# worker %d ended with status %x\n", (int)c->pid, status);
		add(&board->bad, 1);
	}
	c->pid = 0;
}

static void order(struct child *c, const char *text)
{
	if (write(c->orders, text, strlen(text)) < 0 && errno != EPIPE && errno != EAGAIN)
		perror("# order");
}

static void new_channel(tarn_client *client)
{
	char name[40], text[64];
	tarn_channel *ch;
	struct child *a = &sup.child[below(&sup.random, (uint64_t)sup.n)];
	struct child *b = &sup.child[below(&sup.random, (uint64_t)sup.n)];
	static tarn_channel *recent[16]; /* kept until both had time to take their ends */

	snprintf(name, sizeof name, "soak-%llu", (unsigned long long)sup.channels);
	int r = tarn_channel_new(client, 1 + below(&sup.random, 64), name, &ch);
	if (r == -ENOMEM)
		return;
	if (r < 0) {
		fprintf(stderr, "# new channel: %s\n", tarn_error_last()->message);
		add(&board->bad, 1);
		return;
	}
	snprintf(text, sizeof text, "P %s\n", name);
	order(a, text);
	snprintf(text, sizeof text, "C %s\n", name);
	order(b, text);
	unsigned at = (unsigned)(sup.channels++ % 16);
	if (client != NULL)
		tarn_channel_unref(recent[at]);
	recent[at] = ch;
}

/* Channels inside of channels, with a block in each, of which only the last is held. */
static void go_deep(tarn_client *client)
{
	uint64_t depth = 1 + below(&sup.random, 400);
	tarn_channel *inner = NULL, *outer;
	tarn_block *b;

	for (uint64_t i = 0; i < depth; i++) {
		int r = tarn_channel_new(client, 2, NULL, &outer);

		if (r == 0)
			r = tarn_channel_bind(outer, TARN_PRODUCER);
		if (r == 0 && inner != NULL)
			r = tarn_channel_send_channel(outer, inner, 0, 0);
		if (r == 0 && tarn_block_new(client, 100, 0, &b) == 0) {
			canary_write(b);
			r = tarn_channel_give(outer, b, 0, 0);
		}
		tarn_channel_unref(inner);
		inner = outer;
		if (r == -ENOMEM || r == -ENFILE)
			break;
		if (r < 0) {
			fprintf(stderr, "# depth %llu: %s\n", (unsigned long long)i,
				tarn_error_last()->message);
			add(&board->bad, 1);
			break;
		}
		if (i + 1 > board->deepest)
			board->deepest = i + 1;
	}
	tarn_channel_unref(inner);
}

static int supervise(uint64_t seconds, uint64_t kill_every_ms, bool stops)
{
	tarn_client *client;
	int r = tarn_client_open(sup.server, NULL, &client);

	if (r < 0) {
		fprintf(stderr, "# supervisor: %s\n", tarn_error_last()->message);
		return 1;
	}
	for (int i = 0; i < sup.n; i++)
		spawn_worker(&sup.child[i]);
	uint64_t end = now_ns() + seconds * 1000000000u, next_kill = now_ns() + 200000000u;
	while (now_ns() < end && board->bad == 0) {
		struct timespec pause = { 0, 2000000 };

		new_channel(client);
		if (sup.deep && below(&sup.random, 50) == 0)
			go_deep(client);
		nanosleep(&pause, NULL);
		for (int i = 0; stops && i < sup.n; i++)
			if (below(&sup.random, 200) == 0) {
				struct child *c = &sup.child[i];

				kill(c->pid, c->stopped ? SIGCONT : SIGSTOP);
				c->stopped = !c->stopped;
				sup.stops++;
			}
		if (now_ns() >= next_kill) {
			struct child *c = &sup.child[below(&sup.random, (uint64_t)sup.n)];

			kill(c->pid, SIGKILL);
			collect(c);
			spawn_worker(c);
			next_kill = now_ns() + below(&sup.random, 2 * kill_every_ms + 1) * 1000000u;
		}
	}
	for (int i = 0; i < sup.n; i++) {
		kill(sup.child[i].pid, SIGCONT);
		if (below(&sup.random, 2) == 0)
			kill(sup.child[i].pid, SIGKILL);
		else
			order(&sup.child[i], "X\n");
	}
	for (int i = 0; i < sup.n; i++)
		collect(&sup.child[i]);
	tarn_client_close(client); /* its channels go with it */
	return 0;
}

/* Everybody is gone: the arena must come back to nothing. */
static int check_empty(void)
{
	tarn_inspector *in;
	tarn_stat st = { 0 };
	char *text = NULL;
	int r = tarn_inspector_open(sup.server, 1000000000, &in), findings = -1;

	if (r < 0) {
		fprintf(stderr, "# the server does not answer: %s\n", tarn_error_last()->message);
		return 1;
	}
	for (int i = 0; i < (sup.forks ? 3500 : 500); i++) {
		struct timespec pause = { 0, 20000000 };

		r = tarn_inspector_stat(in, &st);
		/* Forked children have up to a minute. */
		if (r < 0 || (st.clients == 0 && st.exports == 0 && st.blocks_live == 0))
			break;
		nanosleep(&pause, NULL); /* exports that outlive their issuers have deadlines */
	}
	findings = tarn_inspector_check(in, &text);
	if (findings != 0)
		fprintf(stderr, "# check: %d findings\n%s", findings, text != NULL ? text : "");
	free(text);
	tarn_inspector_stat(in, &st);
	tarn_inspector_close(in);
	printf("# messages %llu, epochs %llu, sleeps %llu, deaths %llu, stale %llu, evictions %llu, "
	       "failed allocs %llu\n",
	       (unsigned long long)st.messages, (unsigned long long)st.epochs,
	       (unsigned long long)st.sleeps, (unsigned long long)st.deaths,
	       (unsigned long long)st.stale_messages, (unsigned long long)st.evictions,
	       (unsigned long long)st.failed_allocs);
	bool empty = st.clients == 0 && st.blocks_live == 0 && st.blocks_granted == 0 &&
		     st.used_bytes == 0 && st.channels == 0 && st.exports == 0 && st.tickets == 0 &&
		     st.claims == 0 && st.lanes == 0;
	if (!empty)
		fprintf(stderr,
			"# left: %llu clients, %llu live, %llu granted, %llu bytes, %llu channels, "
			"%llu exports, %llu tickets, %llu claims, %llu lanes\n",
			(unsigned long long)st.clients, (unsigned long long)st.blocks_live,
			(unsigned long long)st.blocks_granted, (unsigned long long)st.used_bytes,
			(unsigned long long)st.channels, (unsigned long long)st.exports,
			(unsigned long long)st.tickets, (unsigned long long)st.claims,
			(unsigned long long)st.lanes);
	return findings != 0 || !empty || st.evictions != 0;
}

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long v = strtoull(text, &end, 10);

	if (*text == '\0' || *end != '\0') {
		fprintf(stderr, "soak: '%s' is not a number\n", text);
		exit(2);
	}
	return v;
}

static void usage(void)
{
	puts("soak [--seconds N] [--workers N] [--seed N] [--kill-every-ms N] [--memfd] [--epoll] "
	     "[--stop] [--fork] [--deep]");
}

int main(int argc, char **argv)
{
	tarn_server_options options = { .arena_bytes = 256u << 20 };
	const char *text = getenv("TARN_SOAK_SECONDS");
	uint64_t seconds = text != NULL && *text != '\0' ? number(text) : 10, kill_every_ms = 10;
	bool stops = false;
	tarn_server *server;

	if (argc == 6 && strcmp(argv[1], "--worker") == 0) {
		forking = *argv[5] != '\0';
		board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED,
			     (int)number(argv[4]), 0);
		return board == MAP_FAILED ? 5 : worker_main(argv[2], number(argv[3]));
	}
	sup.n = 6;
	sup.seed = now_ns() ^ (uint64_t)getpid() << 32;
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(a, "--help") == 0) {
			usage();
			return 0;
		} else if (strcmp(a, "--memfd") == 0) {
			options.backing = TARN_BACKING_MEMFD;
		} else if (strcmp(a, "--epoll") == 0) {
			options.io = TARN_IO_EPOLL;
		} else if (strcmp(a, "--stop") == 0) {
			stops = true;
		} else if (strcmp(a, "--fork") == 0) {
			sup.forks = true;
		} else if (strcmp(a, "--deep") == 0) {
			sup.deep = true;
		} else if (strcmp(a, "--seconds") == 0) {
			seconds = number(v), i++;
		} else if (strcmp(a, "--workers") == 0) {
			sup.n = (int)number(v), i++;
		} else if (strcmp(a, "--seed") == 0) {
			sup.seed = number(v), i++;
		} else if (strcmp(a, "--kill-every-ms") == 0) {
			kill_every_ms = number(v), i++;
		} else {
			fprintf(stderr, "soak: unknown option '%s'\n", a);
			return 2;
		}
	}
	if (sup.n < 2 || sup.n > WORKERS_MOST) {
		fprintf(stderr, "soak: 2 to %d workers\n", WORKERS_MOST);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	sup.random = sup.seed | 1;
	ssize_t n = readlink("/proc/self/exe", sup.self, sizeof sup.self - 1);
	sup.self[n > 0 ? n : 0] = '\0';
	sup.board_fd = memfd_create("board", 0);
	if (sup.board_fd < 0 || ftruncate(sup.board_fd, sizeof *board) != 0)
		return 1;
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, sup.board_fd, 0);
	printf("1..1\n# seed %llu, %d workers, %llu s\n", (unsigned long long)sup.seed, sup.n,
	       (unsigned long long)seconds);
	int r = tarn_server_start(&options, &server);
	if (r < 0) {
		printf("not ok 1 - soak\n# %s\n", tarn_error_last()->message);
		return 1;
	}
	sup.server = tarn_server_name(server);
	int failed = supervise(seconds, kill_every_ms, stops);
	failed |= check_empty();
	int how = tarn_server_shutdown(server, 2000000000);
	tarn_server_unref(server);
	if (how != 0)
		printf("# the server ended in way %d\n", how);
	printf("# %llu kills, %llu clean ends, %llu channels, %llu stops; %llu allocated, %llu sent, "
	       "%llu received, %llu exported, %llu imported, %llu slices, %llu sealed, %llu times full, "
	       "%llu forks, %llu channels deep, %llu broken canaries or workers\n",
	       (unsigned long long)sup.kills, (unsigned long long)sup.clean_exits,
	       (unsigned long long)sup.channels, (unsigned long long)sup.stops,
	       (unsigned long long)board->allocated, (unsigned long long)board->sent,
	       (unsigned long long)board->received, (unsigned long long)board->exported,
	       (unsigned long long)board->imported, (unsigned long long)board->sliced,
	       (unsigned long long)board->sealed, (unsigned long long)board->full,
	       (unsigned long long)board->forks, (unsigned long long)board->deepest,
	       (unsigned long long)board->bad);
	failed |= board->bad != 0 || how != 0 || board->received == 0;
	printf("%s 1 - workers killed at random leak nothing and touch nothing freed\n",
	       failed ? "not ok" : "ok");
	return failed;
}
