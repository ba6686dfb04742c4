/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real processes that break the rules (O7, T11): they lose their service, with a reason in the
 * log; what others have stays right; what they had comes back when they die.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/client/channel.h"
#include "lib/client/handle.h"
#include "lib/client/lane.h"
#include "tarn/queue.h"
#include "tarn/sync.h"
#include "tarn/topic.h"
#include "tests/common/scene.h"

#define VICTIM_BLOCKS 20

/* The honest one: blocks, some shared, a channel with items. */
struct victim {
	struct scene s;
	tarn_client *c;
	tarn_block *b[VICTIM_BLOCKS];
	tarn_channel *ch;
	/* for the forked offenders */
	uint64_t id[VICTIM_BLOCKS + 1];
	uint32_t *step;
};

static struct victim victim_open(const tarn_server_options *o)
{
	struct victim v = { .s = scene_open(o) };

	v.step = scene_shared(64);
	v.c = scene_client(&v.s);
	OK(tarn_channel_new(v.c, 64, "victim", &v.ch));
	OK(tarn_channel_bind(v.ch, TARN_PRODUCER));
	OK(tarn_channel_bind(v.ch, TARN_CONSUMER));
	for (unsigned i = 0; i < VICTIM_BLOCKS; i++) {
		OK(tarn_block_new(v.c, 1000, 0, &v.b[i]));
		memset(tarn_block_data(v.b[i]), (int)i + 1, 1000);
		v.id[i] = tarn_block_id(v.b[i]);
		OK(tarn_channel_send(v.ch, v.b[i], i, 0));
	}
	v.id[VICTIM_BLOCKS] = tarn_channel_id(v.ch);
	return v;
}

/* Nothing of it has changed, and it works. */
static void victim_check(struct victim *v)
{
	uint32_t me = tarn_client_id(v->c);

	scene_settle(&v->s);
	for (unsigned i = 0; i < VICTIM_BLOCKS; i++) {
		PLAIN_EQ(scene_units(&v->s, v->id[i], TARN_CLAIM_HELD, me), 1);
		PLAIN_EQ(scene_units(&v->s, v->id[i], TARN_CLAIM_TRANSIT, 0), 1);
		for (unsigned k = 0; k < 1000; k++)
			PLAIN_EQ(((unsigned char *)tarn_block_data(v->b[i]))[k], i + 1);
	}
	for (unsigned i = 0; i < 100; i++) {
		tarn_block *b, *again;
		tarn_token t;

		OK(tarn_block_new(v->c, 2000, 0, &b));
		OK(tarn_block_export(b, NULL, &t));
		OK(tarn_block_import(v->c, &t, &again));
		tarn_block_unref(b);
		tarn_block_unref(again);
	}
}

static void victim_close(struct victim *v)
{
	for (unsigned i = 0; i < VICTIM_BLOCKS; i++) {
		tarn_block *b;
		uint64_t tag;

		OK(tarn_channel_recv(v->ch, &b, &tag, 0));
		PLAIN_CHECK(tag == i && b == v->b[i]);
		tarn_block_unref(b);
		tarn_block_unref(b);
	}
	tarn_channel_unref(v->ch);
	tarn_client_close(v->c);
	scene_close(&v->s);
}

/* ---- posting by hand ---- */

static struct tarn__lane *lane_of(tarn_client *c)
{
	OK(tarn_client_ping(c, TARN_FOREVER)); /* has one after this */
	PLAIN_CHECK(tarn__lane_mine(c) != NULL);
	return tarn__lane_mine(c);
}

static void post(struct tarn__lane *l, uint64_t header, uint64_t a, uint64_t b, uint64_t c,
		 uint64_t d)
{
	const uint64_t word[7] = { header, a, b, c, d };

	tarn__requests_post(&l->requests, word);
}

struct offence {
	const char *what;
	unsigned kind, count;
	uint64_t a, b, c, d; /* OWN, OTHER, RING: ids of blocks and a channel; STALE: an old one */
};
#define OWN (UINT64_MAX - 1)
#define OTHER (UINT64_MAX - 2)
#define RING (UINT64_MAX - 3)

static const struct offence offences[] = {
	{ "an unknown kind", 0, 0, 0, 0, 0, 0 },
	{ "a kind beyond the last", TARN__MSG_KINDS, 0, 0, 0, 0, 0 },
	{ "a kind far beyond", 255, 0, 0, 0, 0, 0 },
	{ "a second release", TARN__MSG_RELEASE, 0, OWN, 2, 0, 0 },
	{ "a release of everything", TARN__MSG_RELEASE, 0, OWN, UINT64_MAX, 0, 0 },
	{ "a release of others' block", TARN__MSG_RELEASE, 0, OTHER, 1, 0, 0 },
	{ "a send into others' channel", TARN__MSG_SEND, 0, RING, VICTIM_BLOCKS, OWN, 1000 },
	{ "a send that gives what it has not", TARN__MSG_SEND, 0, RING, 0, OTHER, 1000 },
	{ "giving others' blocks back", TARN__MSG_GIVEBACK, 1, OTHER, 0, 0, 0 },
	{ "giving nothing back", TARN__MSG_GIVEBACK, 0, 0, 0, 0, 0 },
	{ "closing others' end", TARN__MSG_CLOSE, 0, RING, TARN__ROLE_CONSUMER, 0, 0 },
	{ "closing an end that is none", TARN__MSG_CLOSE, 0, RING, 5, 0, 0 },
	{ "a block larger than it is", TARN__MSG_RESIZE, 0, OWN, 1ull << 40, 0, 0 },
	{ "sealing a channel", TARN__MSG_SEAL, 0, RING, 10, 0, 0 },
	{ "a name longer than its message", TARN__MSG_LOOKUP, 60, 0, 0, 0, 0 },
};
#define OFFENCES (sizeof offences / sizeof *offences)

static uint64_t meant(const struct victim *v, uint64_t word, uint64_t own)
{
	return word == OWN ? own : word == OTHER ? v->id[3] : word == RING ? v->id[VICTIM_BLOCKS]
									    : word;
}

/* Commits @o, notices that it is out, and stays with what it has. */
static void offender(const struct victim *v, const struct offence *o, uint64_t *ret_id)
{
	tarn_client *c = scene_client(&v->s);
	struct tarn__lane *l = lane_of(c);
	tarn_block *b, *more;
	tarn_channel *ch;
	tarn_token t;

	OK(tarn_block_new(c, 1000, 0, &b));
	OK(tarn_block_export(b, NULL, &t));
	*ret_id = tarn_block_id(b);
	post(l, tarn__header((enum tarn__message)o->kind, 1, o->count, 7), meant(v, o->a, *ret_id),
	     meant(v, o->b, *ret_id), meant(v, o->c, *ret_id), meant(v, o->d, *ret_id));
	/* A release is applied one epoch later, and so is its offence. */
	int r;
	PLAIN_WAIT_FOR((r = tarn_client_ping(c, TARN_FOREVER)) != 0);
	PLAIN_EQ(r, -TARN_EEVICTED);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "log") != NULL);
	FAILS(tarn_client_flush(c, true, TARN_FOREVER), TARN_EEVICTED);
	FAILS(tarn_block_export(b, NULL, &t), TARN_EEVICTED);
	FAILS(tarn_channel_new(c, 4, NULL, &ch), TARN_EEVICTED);
	FAILS(tarn_block_new(c, 5 << 20, 0, &more), TARN_EEVICTED);
	scene_say(v->step, 1);
	for (;;)
		pause();
}

PLAIN_TEST_TIMEOUT(o7_whoever_breaks_a_rule_is_out_and_others_are_not, 60)
{
	struct victim v = victim_open(NULL);
	uint64_t *id = scene_shared(sizeof *id);

	for (unsigned i = 0; i < OFFENCES; i++) {
		char row[64];
		pid_t child;

		*v.step = 0;
		child = plain_fork();
		if (child == 0)
			offender(&v, &offences[i], id);
		scene_await(v.step, 1);
		v.s.evictions++;
		PLAIN_CHECKF(scene_stat(&v.s).evictions == v.s.evictions, "%s", offences[i].what);
		snprintf(row, sizeof row, "pid %d) is evicted: ", (int)child);
		PLAIN_CHECKF(scene_logged(&v.s, row), "no line with '%s' for %s", row,
			     offences[i].what);
		victim_check(&v);
		/* What it holds is not freed under its feet. */
		PLAIN_CHECK(scene_count(&v.s, *id) >= 1);
		PLAIN_EQ(kill(child, 0), 0);
		plain_kill(child);
		PLAIN_WAIT_FOR(scene_client_gone(&v.s, child));
		scene_settle(&v.s);
		PLAIN_EQ(scene_count(&v.s, *id), 0);
		victim_check(&v);
	}
	victim_close(&v);
}

PLAIN_TEST(a_server_may_be_told_to_kill_whoever_breaks_a_rule)
{
	const tarn_server_options o = { .kill_evicted = true, .arena_bytes = 64u << 20 };
	struct victim v = victim_open(&o);
	uint64_t *id = scene_shared(sizeof *id);

	for (unsigned i = 0; i < 5; i++) {
		pid_t child = plain_fork();

		if (child == 0)
			offender(&v, &offences[i], id);
		PLAIN_EQ(plain_reap(child), -SIGKILL);
		v.s.evictions++;
		PLAIN_WAIT_FOR(scene_client_gone(&v.s, child));
		victim_check(&v);
	}
	victim_close(&v);
}

/* ---- waiting in place ---- */

/* Breaks a rule, which the server sees when somebody rings, and is about to wait for what never comes. */
static void offend(const struct victim *v, tarn_client *c)
{
	post(lane_of(c), tarn__header((enum tarn__message)255, 1, 0, 7), 0, 0, 0, 0);
	scene_say(v->step, 1);
}

static int wait_for_lock(const struct victim *v, tarn_client *c)
{
	tarn_object *o;

	OK(tarn_lock_new(c, 0, &o));
	OK(tarn_lock_acquire(o, 0));
	offend(v, c);
	return tarn_lock_acquire(o, TARN_FOREVER);
}
static int wait_for_permit(const struct victim *v, tarn_client *c)
{
	tarn_object *o;

	OK(tarn_sem_new(c, 0, &o));
	offend(v, c);
	return tarn_sem_acquire(o, TARN_FOREVER);
}
static int wait_for_event(const struct victim *v, tarn_client *c)
{
	tarn_object *o;

	OK(tarn_event_new(c, 0, &o));
	offend(v, c);
	return tarn_event_wait(o, TARN_FOREVER);
}
static int wait_for_notice(const struct victim *v, tarn_client *c)
{
	tarn_object *o;

	OK(tarn_cond_new(c, NULL, &o));
	OK(tarn_cond_acquire(o, 0));
	offend(v, c);
	return tarn_cond_wait(o, TARN_FOREVER);
}
static int wait_for_parties(const struct victim *v, tarn_client *c)
{
	tarn_object *o;

	OK(tarn_barrier_new(c, 2, &o));
	offend(v, c);
	return tarn_barrier_wait(o, TARN_FOREVER, NULL);
}
static int wait_for_item(const struct victim *v, tarn_client *c)
{
	tarn_object *o;
	tarn_parcel p;

	OK(tarn_queue_new(c, NULL, &o));
	offend(v, c);
	return tarn_queue_get(o, &p, TARN_FOREVER);
}
static int wait_for_items(const struct victim *v, tarn_client *c)
{
	tarn_object *o[2];
	tarn_parcel p;
	size_t i;

	OK(tarn_queue_new(c, NULL, &o[0]));
	OK(tarn_queue_new(c, NULL, &o[1]));
	offend(v, c);
	return tarn_queue_get_any(o, 2, &p, &i, TARN_FOREVER);
}
static int wait_for_news(const struct victim *v, tarn_client *c)
{
	tarn_subscription *s;
	tarn_object *o;
	tarn_parcel p;

	OK(tarn_topic_new(c, NULL, &o));
	OK(tarn_topic_subscribe(o, NULL, &s));
	offend(v, c);
	return tarn_subscription_recv(s, &p, TARN_FOREVER);
}
static int wait_for_block(const struct victim *v, tarn_client *c)
{
	tarn_channel *ch;
	tarn_block *b;

	OK(tarn_channel_new(c, 4, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	offend(v, c);
	return tarn_channel_recv(ch, &b, NULL, TARN_FOREVER);
}

/* All but the last looked only whether the server was gone, and waited for ever. */
PLAIN_TEST(o7_who_is_put_out_while_it_waits_in_place_is_told_so)
{
	static int (*const wait[])(const struct victim *, tarn_client *) = {
		wait_for_lock, wait_for_permit, wait_for_event, wait_for_notice, wait_for_parties,
		wait_for_item, wait_for_items, wait_for_news,  wait_for_block,
	};
	struct victim v = victim_open(NULL);

	for (unsigned i = 0; i < sizeof wait / sizeof *wait; i++) {
		*v.step = 0;
		pid_t child = plain_fork();

		if (child == 0) {
			FAILS(wait[i](&v, scene_client(&v.s)), TARN_EEVICTED);
			_exit(0);
		}
		scene_await(v.step, 1);
		OK(tarn_client_ping(v.c, TARN_FOREVER)); /* rings */
		PLAIN_EQ(plain_reap(child), 0);
		v.s.evictions++;
		PLAIN_WAIT_FOR(scene_client_gone(&v.s, child));
	}
	victim_check(&v);
	victim_close(&v);
}

/* ---- stale ids: no offence, and no effect ---- */

PLAIN_TEST(o7_messages_about_what_is_no_more_are_ignored)
{
	struct victim v = victim_open(NULL);
	tarn_client *c = scene_client(&v.s);
	struct tarn__lane *l = lane_of(c);
	uint64_t stale = scene_stat(&v.s).stale_messages;

	for (unsigned i = 0; i < 100; i++) {
		/* Of the right index, of another life. */
		uint64_t id = v.id[i % VICTIM_BLOCKS] + ((uint64_t)1 + i) * (1ull << 28);

		post(l, tarn__header(TARN__MSG_RELEASE, 1, 0, 0), id, 1, 0, 0);
		post(l, tarn__header(TARN__MSG_RECV, 1, 0, 0), v.id[VICTIM_BLOCKS], i, id, 0);
		post(l, tarn__header(TARN__MSG_SEAL, 1, 0, 0), id, 100, 0, 0);
		post(l, tarn__header(TARN__MSG_PUBLISH, 1, 0, 0), id, 100, 0, 0);
		OK(tarn_client_ping(c, TARN_FOREVER));
	}
	PLAIN_CHECK(scene_stat(&v.s).stale_messages >= stale + 400);
	victim_check(&v);
	tarn_client_close(c);
	victim_close(&v);
}

/* ---- garbage ---- */

struct area {
	unsigned char *at;
	size_t bytes;
};

/* As anybody can who can read /proc. */
static struct area mapping_of(const char *label)
{
	struct area a = { 0 };
	char line[512];
	FILE *f = fopen("/proc/self/maps", "re");

	PLAIN_CHECK(f != NULL);
	while (a.at == NULL && fgets(line, sizeof line, f) != NULL) {
		unsigned long long from, to;

		if (strstr(line, label) != NULL && strstr(line, " rw-s ") != NULL &&
		    sscanf(line, "%llx-%llx", &from, &to) == 2)
			a = (struct area){ (unsigned char *)(uintptr_t)from, to - from };
	}
	fclose(f);
	PLAIN_CHECKF(a.at != NULL, "no mapping '%s'", label);
	return a;
}

/* Plausible and absurd messages, with right marks, wrong marks, and no sense. */
static void scribble(const struct victim *v, uint64_t seed)
{
	tarn_client *c = scene_client(&v->s);
	struct tarn__lane *l = lane_of(c);
	struct area a = mapping_of("tarn-lanes");
	uint64_t random = seed | 1;
	tarn_block *b;

	OK(tarn_block_new(c, 1000, 0, &b));
	PLAIN_CHECK((unsigned char *)l->area == a.at + l->number * sizeof *l->area);
	for (unsigned i = 0; i < 400; i++) {
		uint64_t word[7];

		for (unsigned k = 0; k < 7; k++) {
			uint64_t dice = scene_random(&random) % 5;

			word[k] = dice == 0 ? scene_random(&random)
				  : dice == 1 ? v->id[scene_random(&random) % (VICTIM_BLOCKS + 1)]
				  : dice == 2 ? tarn_block_id(b)
					      : scene_random(&random) % 8;
		}
		word[0] = tarn__header((enum tarn__message)(scene_random(&random) %
							    (TARN__MSG_KINDS + 1)),
				       1 + (unsigned)(scene_random(&random) % 4),
				       (unsigned)(scene_random(&random) % 70), (uint32_t)i);
		/* Others' blocks may be sealed and resized by whoever names them: not here. */
		unsigned kind = tarn__header_kind(word[0]);
		if (kind == TARN__MSG_SEAL || kind == TARN__MSG_RESIZE || kind == TARN__MSG_EXPORT)
			word[1] = tarn_block_id(b);
		/* A token that outlives who made it, as the next message's first word may have it, stays for its
		 * lifetime: an id there is seconds to minutes. */
		if (kind == TARN__MSG_EXPORT)
			word[6] = 1 + word[6] % 8;
		/* A pinned name stays, whoever gave it, and what it names with it. */
		if (kind == TARN__MSG_NAME)
			word[2] &= ~(uint64_t)TARN__NAME_PINNED;
		tarn__requests_post(&l->requests, word);
		if (seed % 3 == 0 && i % 50 == 49) {
			/* Anything, anywhere in the area. */
			for (unsigned k = 0; k < 2000; k++)
				a.at[scene_random(&random) % sizeof *l->area] =
					(unsigned char)scene_random(&random);
		}
		if (i % 16 == 0) {
			uint64_t one = 1;

			PLAIN_EQ(write(c->doorbell, &one, sizeof one), sizeof one);
		}
	}
	_exit(0);
}

PLAIN_TEST_TIMEOUT(t11_garbage_in_a_lane_harms_nobody_else, 90)
{
	const tarn_server_options o = { .backing = TARN_BACKING_MEMFD, .arena_bytes = 64u << 20 };
	struct victim v = victim_open(&o);
	uint64_t seed = scene_now();

	scene_note("seed %llu", (unsigned long long)seed);
	for (unsigned i = 0; i < 150; i++) {
		pid_t child = plain_fork();

		if (child == 0)
			scribble(&v, seed + i);
		/* Garbage may well kill the one whose it is. */
		plain_reap(child);
		if (i % 10 == 0)
			victim_check(&v);
	}
	PLAIN_WAIT_FOR(scene_stat(&v.s).clients == 1);
	victim_check(&v);
	v.s.evictions = scene_stat(&v.s).evictions;
	scene_note("%llu of 150 were evicted", (unsigned long long)v.s.evictions);
	PLAIN_CHECK(v.s.evictions > 0);
	victim_close(&v);
}

/* ---- everything it has mapped, or can open ---- */

/* Writable mappings of shared memory: lanes and DATA. */
static unsigned shared_areas(struct area *ret, unsigned room)
{
	char line[512], mode[8];
	unsigned n = 0;
	FILE *f = fopen("/proc/self/maps", "re");

	PLAIN_CHECK(f != NULL);
	while (n < room && fgets(line, sizeof line, f) != NULL) {
		unsigned long long from, to;

		if (strstr(line, "tarn") != NULL && sscanf(line, "%llx-%llx %7s", &from, &to, mode) == 3 &&
		    mode[1] == 'w' && mode[3] == 's')
			ret[n++] = (struct area){ (unsigned char *)(uintptr_t)from, to - from };
	}
	fclose(f);
	return n;
}

/* Truncates, punches, seals and maps again whatever descriptor it finds, also by way of /proc. */
static void meddle(uint64_t *random)
{
	for (int fd = 3; fd < 64; fd++) {
		char path[64];
		int again;

		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		again = open(path, O_RDWR | O_CLOEXEC);
		for (int k = 0; k < 2; k++) {
			int d = k == 0 ? fd : again;

			/* Sealed; what else it has open is its own. */
			PLAIN_CHECK(ftruncate(d, (off_t)(scene_random(random) % 100000)) != 0);
			/* Holes: bytes that it may write are its to spoil, sizes are not. (What it
			 * was given for reading the same user can open for writing, as it can
			 * ptrace: docs/reliability.md.) */
			if (k == 0)
				fallocate(d, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					  (off_t)(scene_random(random) % (1u << 20)), 4096);
			fcntl(d, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL);
			lseek(d, 0, SEEK_SET);
		}
		if (again >= 0)
			close(again);
	}
}

/* It writes where the sanitizer knows that it must not. */
__attribute__((no_sanitize("address"))) static void rampage(const struct victim *v, uint64_t seed)
{
	tarn_client *c = scene_client(&v->s);
	struct tarn__lane *l = lane_of(c);
	uint64_t random = seed | 1;
	struct area a[8];
	tarn_channel *ch;
	tarn_block *b;

	OK(tarn_block_new(c, 1000, 0, &b));
	OK(tarn_channel_new(c, 8, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_channel_send(ch, b, 0, 0));
	unsigned n = shared_areas(a, 8);
	PLAIN_CHECK(n >= 2);
	for (unsigned round = 0; round < 40; round++) {
		/* DATA too: the ring of its victim's channel lies there, and his blocks. */
		for (unsigned k = 0; k < 400; k++) {
			const struct area *at = &a[scene_random(&random) % n];
			uint64_t *words = (uint64_t *)(void *)at->at, dice = scene_random(&random);

			if (dice % 4 == 0) {
				words = (uint64_t *)(void *)l->area;
				words[scene_random(&random) % (sizeof *l->area / 8)] = dice;
			} else {
				/* Only what is there: a hole in a full system would be a signal. */
				words[scene_random(&random) % (at->bytes < 1u << 20 ? at->bytes / 8
									      : 1u << 17)] = dice;
			}
		}
		const uint64_t one = 1;
		if (write(c->doorbell, &one, sizeof one) < 0)
			break;
		if (round % 8 == 0)
			meddle(&random);
		/* Asks and never reads. */
		struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_STAT,
					   .layout = tarn__layout_hash() };
		for (unsigned k = 0; k < 20; k++)
			tarn__control_send(c->control, &q, sizeof q, NULL, 0, MSG_DONTWAIT);
	}
	_exit(0);
}

/* Of the honest one only what the offender cannot write is looked at: counts, and that it is
 * served. Contents in a common trust domain are anybody's to spoil. */
PLAIN_TEST_TIMEOUT(t11_whoever_writes_truncates_and_reopens_everything_harms_no_count, 120)
{
	const tarn_server_options o = { .backing = TARN_BACKING_MEMFD, .arena_bytes = 64u << 20 };
	struct scene s = scene_open(&o);
	struct victim v = { .s = s };
	tarn_client *c = scene_client(&s);
	enum { N = 50 };
	tarn_block *b[N];
	uint64_t seed = scene_now();

	scene_note("seed %llu", (unsigned long long)seed);
	for (unsigned i = 0; i < N; i++) {
		tarn_token t;

		OK(tarn_block_new(c, 1000, 0, &b[i]));
		OK(tarn_block_export(b[i], NULL, &t)); /* now the server knows it */
		OK(tarn_token_revoke(c, &t));
	}
	for (unsigned k = 0; k < 30; k++) {
		pid_t child = plain_fork();

		if (child == 0)
			rampage(&v, seed + k);
		plain_reap(child); /* garbage may well kill the one whose it is */
		PLAIN_WAIT_FOR(scene_client_gone(&s, child));
		scene_settle(&s);
		for (unsigned i = 0; i < N; i++)
			PLAIN_EQ(scene_units(&s, tarn_block_id(b[i]), TARN_CLAIM_HELD,
					     tarn_client_id(c)), 1);
		tarn_block *more;
		OK(tarn_block_new(c, 3000 + k * 1000, 0, &more));
		tarn_block_unref(more);
	}
	for (unsigned i = 0; i < N; i++)
		tarn_block_unref(b[i]);
	tarn_client_close(c);
	PLAIN_WAIT_FOR(scene_stat(&s).clients == 0);
	s.evictions = scene_stat(&s).evictions;
	scene_note("%llu of 30 were evicted", (unsigned long long)s.evictions);
	scene_close(&s);
}

/* Some of it happens to be right: then it is a client that never maps anything. */
static void babble(const struct victim *v, uint64_t seed)
{
	struct tarn__request q[64];
	uint64_t random = seed | 1;
	int fd;

	OK(tarn__control_connect(v->s.name, 0, &fd));
	for (unsigned k = 0; k < 20; k++) {
		size_t n = scene_random(&random) % 3 ? sizeof *q : scene_random(&random) % sizeof q;
		int spare = scene_random(&random) % 4 == 0 ? fd : -1;

		for (size_t at = 0; at < sizeof q; at++)
			((unsigned char *)q)[at] = (unsigned char)scene_random(&random);
		if (scene_random(&random) % 3)
			q->magic = TARN__CONTROL_MAGIC;
		q->kind = (uint32_t)(scene_random(&random) % 14);
		if (q->kind == TARN__CTL_SHUTDOWN)
			q->kind = 99; /* that is anybody's right */
		if (scene_random(&random) % 2)
			q->layout = tarn__layout_hash();
		if (scene_random(&random) % 2)
			q->argument %= 1100;
		/* Descriptors nobody asked for, too. It may have hung up by now. */
		tarn__control_send(fd, q, n, &spare, spare >= 0 ? 1 : 0, MSG_DONTWAIT);
	}
	_exit(0);
}

PLAIN_TEST_TIMEOUT(t11_garbage_on_the_control_socket_harms_nobody_else, 60)
{
	struct victim v = victim_open(NULL);
	uint64_t seed = scene_now();

	scene_note("seed %llu", (unsigned long long)seed);
	for (unsigned i = 0; i < 300; i++) {
		pid_t child = plain_fork();

		if (child == 0)
			babble(&v, seed + i);
		PLAIN_EQ(plain_reap(child), 0);
	}
	victim_check(&v);
	PLAIN_WAIT_FOR(scene_stat(&v.s).clients == 1);
	v.s.evictions = scene_stat(&v.s).evictions;
	victim_close(&v);
}

/* ---- a ring full of lies ---- */

#define LIES 32u

/* Spoils slot @p of what was sent, in the first lap. */
static void spoil(tarn_channel *ch, uint64_t p, unsigned word, uint64_t value)
{
	ch->ring->slot[p].word[word] = value;
}

static void liar(const struct victim *v)
{
	tarn_client *c = scene_client(&v->s);
	tarn_channel *ch;
	tarn_block *b;

	OK(tarn_channel_new(c, LIES, "lies", &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_block_new(c, 1000, 0, &b));
	memset(tarn_block_data(b), 5, 1000);
	for (uint64_t i = 0; i < 16; i++)
		OK(tarn_channel_send(ch, b, i, 0));
	spoil(ch, 0, TARN__CH_ID, 0);
	spoil(ch, 1, TARN__CH_ID, UINT64_MAX);
	spoil(ch, 2, TARN__CH_ID, 0x123456789abcdef);
	spoil(ch, 3, TARN__CH_ID, tarn_block_id(b) + (1ull << 28));
	spoil(ch, 4, TARN__CH_SIZE, 0);
	spoil(ch, 5, TARN__CH_SIZE, UINT64_MAX);
	spoil(ch, 6, TARN__CH_SIZE, 1ull << 30);
	spoil(ch, 7, TARN__CH_LENGTH, 1001);
	spoil(ch, 8, TARN__CH_LENGTH, UINT64_MAX);
	spoil(ch, 9, TARN__CH_OFFSET, 1);
	spoil(ch, 10, TARN__CH_OFFSET, UINT64_MAX);
	spoil(ch, 10, TARN__CH_LENGTH, 2);
	spoil(ch, 11, TARN__CH_ID, tarn_channel_id(ch)); /* a channel as a block */
	scene_say(v->step, 1);
	for (;;)
		pause();
}

PLAIN_TEST(i7_lies_in_a_channel_are_passed_over)
{
	struct victim v = victim_open(NULL);
	pid_t child = plain_fork();
	tarn_channel *ch;
	tarn_block *b;
	uint64_t tag;

	if (child == 0)
		liar(&v);
	scene_await(v.step, 1);
	OK(tarn_channel_open(v.c, "lies", 0, &ch));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	for (unsigned i = 0; i < 12; i++) {
		int r = tarn_channel_recv(ch, &b, &tag, TARN_FOREVER);

		PLAIN_CHECKF(r == -TARN_EPROTO, "lie %u: %s", i, tarn_error_name(r));
	}
	for (uint64_t i = 12; i < 16; i++) { /* and the truth goes on */
		OK(tarn_channel_recv(ch, &b, &tag, TARN_FOREVER));
		PLAIN_EQ(tag, i);
		for (unsigned k = 0; k < 1000; k++)
			PLAIN_EQ(((unsigned char *)tarn_block_data(b))[k], 5);
		tarn_block_unref(b);
	}
	plain_kill(child);
	FAILS(tarn_channel_recv(ch, &b, &tag, TARN_FOREVER), TARN_ECLOSED);
	tarn_channel_unref(ch);
	victim_check(&v);
	victim_close(&v);
}

/* ---- rings that are taken away ---- */

/* A client whose rings another one takes from the doorbell, all of them: it wakes nobody with them. */
static tarn_client *robbed_client(const struct scene *s)
{
	tarn_client *c = scene_client(s);
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

	PLAIN_CHECK(nowhere >= 0 && dup2(nowhere, c->doorbell) >= 0);
	close(nowhere);
	return c;
}
static void await_sleep(const tarn_client *c)
{
	PLAIN_WAIT_FOR(tarn__load_relaxed(&c->ctrl->server_state) == 1);
}

PLAIN_TEST(t11_who_waits_is_heard_though_its_rings_are_taken_away)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = robbed_client(&s);

	for (unsigned i = 0; i < 3; i++) {
		await_sleep(c);
		OK(tarn_client_ping(c, TARN_FOREVER));
	}
	tarn_client_close(c);
	scene_close(&s);
}

/* Who has a descriptor for answers cannot ring again. */
PLAIN_TEST(t11_calls_in_the_background_are_heard_though_their_rings_are_taken_away)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = robbed_client(&s);
	struct pollfd p = { .events = POLLIN };
	tarn_pending *call;
	tarn_object *q;

	OK(tarn_queue_new(c, NULL, &q));
	OK(tarn_client_event_fd(c, &p.fd));
	for (unsigned i = 0; i < 3; i++) {
		await_sleep(c);
		OK(tarn_call_start(q, "qsize", NULL, &call));
		while (tarn_call_poll(call) == 0) {
			PLAIN_EQ(poll(&p, 1, -1), 1);
			OK(tarn_client_event_clear(c));
		}
		tarn_call_free(call);
	}
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* The one that leaves does not wait, and the one that waits asks nothing: nobody rang again. */
PLAIN_TEST(t11_a_receiver_hears_that_its_sender_has_left_though_that_ring_is_taken_away)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = robbed_client(&s);
	uint32_t *step = scene_shared(sizeof *step);
	tarn_channel *ch;
	tarn_block *b;

	OK(tarn_channel_new(c, 4, "left", &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	pid_t pid = plain_fork();
	if (pid == 0) {
		tarn_client *mine = robbed_client(&s);
		tarn_channel *in;

		OK(tarn_channel_open(mine, "left", TARN_FOREVER, &in));
		OK(tarn_channel_bind(in, TARN_CONSUMER));
		FAILS(tarn_channel_recv(in, &b, NULL, 0), EAGAIN);
		scene_say(step, 1);
		FAILS(tarn_channel_recv(in, &b, NULL, TARN_FOREVER), TARN_ECLOSED);
		tarn_channel_unref(in);
		tarn_client_close(mine);
		_exit(0);
	}
	scene_await(step, 1);
	await_sleep(c);
	OK(tarn_channel_close(ch));
	PLAIN_EQ(plain_reap(pid), 0);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_MAIN()
