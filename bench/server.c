/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does the server itself do for a hand-over? Its code in this process, with two clients
 * whose messages are written by the loop: no other CPU, no waiting, no system call, everything
 * in one cache. What is left is the work. For exact counts:
 *
 *	valgrind --tool=callgrind --toggle-collect=serve build/bench/bench-server --quick \
 *		--rounds 1 give
 *
 * divided by 8,448 hand-overs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "tests/lib/server/fake.h"

#define IN_FLIGHT 256u
#define HANDOVERS 400000u

enum way {
	MOVE_ABSORB,  /* given, and dropped before its slot is released: 2 messages */
	SEND_RELEASE, /* sent and kept for a while on both sides: 4 messages */
	PING,         /* answered in one slot */
	CALL,         /* of an inline method */
	ALONE,        /* the same, one for each look of the server */
	CREATE,       /* of an object, and its release */
	DEATH,        /* of a client that holds blocks */
};

static struct world {
	struct server *s;
	struct fake_lane p, q;
	uint64_t channel, position;
	uint64_t id[IN_FLIGHT];
	uint64_t size;
} w;

/* Everything that the server does, in a function of its own for callgrind. */
__attribute__((noinline)) static void serve(void)
{
	tarn__epoch(w.s);
}

static void grants(void)
{
	struct tarn__slot r;

	for (unsigned n = 0; n < IN_FLIGHT; n += 64)
		fake_post(&w.p, TARN__MSG_ALLOC, 64, w.size, 1, 0, 0, 0, 0);
	serve();
	for (unsigned n = 0; n < IN_FLIGHT;) {
		if (!tarn__replies_take(&w.p.replies, &r))
			die("the server granted %u blocks of %u", n, IN_FLIGHT);
		unsigned ids = tarn__header_slots(r.word[0]) & ~TARN__REPLY_LAST;
		for (unsigned i = 0; i < ids; i++)
			w.id[n++] = r.word[1 + i];
	}
}

static void hand_over(enum way way)
{
	uint64_t first = w.position;

	grants();
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		fake_send(&w.p, w.channel, w.position++, w.id[i], w.size, way == MOVE_ABSORB);
	serve();
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		if (way == MOVE_ABSORB) {
			fake_absorb(&w.q, w.channel, first + i, w.id[i]);
		} else {
			fake_recv(&w.q, w.channel, first + i, w.id[i]);
			fake_release(&w.p, w.id[i], 1);
			fake_release(&w.q, w.id[i], 1);
		}
	serve();
}

/* ---- calls ---- */

#define CALLS 64u /* posted before the server looks; their replies fit the ring */

static int scale(tarn_context *ctx, void *self)
{
	double x;
	int r = tarn_value_double(tarn_parcel_at(tarn_context_args(ctx), 0), &x);

	return r < 0 ? r : tarn_put_double(tarn_context_result(ctx), x * *(const double *)self);
}
static const tarn_method methods[] = {
	{ "scale", scale, TARN_METHOD_INLINE | TARN_METHOD_READ, NULL, NULL, NULL },
	{ 0 },
};
static const tarn_type scaler = { .name = "Scaler", .size = 8, .flags = TARN_TYPE_INLINE,
				  .methods = methods };
static uint64_t object;
static uint32_t scaler_type;

static void make_object(void)
{
	static const tarn_type *const types[] = { &scaler, NULL };

	fake_types(w.s, types);
	scaler_type = fake_type(w.s, "Scaler");
	object = fake_create(w.s, &w.p, "Scaler", NULL, NULL);
}

static void ask(enum way way)
{
	const uint64_t words[2] = { TARN_KIND_DOUBLE, 0 };
	const struct fake_values x = { words, 2, 1, NULL, 0 };
	unsigned calls = way == ALONE ? 1 : CALLS;

	for (unsigned k = 0; k < IN_FLIGHT; k += calls) {
		for (unsigned i = 0; i < calls; i++)
			if (way == PING)
				fake_post(&w.p, TARN__MSG_PING, 0, 0, 0, 0, 0, 0, 0);
			else if (way == CALL || way == ALONE)
				fake_post_values(&w.p, TARN__MSG_CALL, 0, object, 0, 0, 1, &x);
			else
				fake_post_values(&w.p, TARN__MSG_CREATE, 0, scaler_type, 0, 0, 1, NULL);
		serve();
		for (unsigned i = 0; i < calls; i++) {
			struct tarn__slot r = fake_reply(&w.p);

			if (way == CREATE)
				fake_release(&w.p, r.word[4], 1);
		}
		if (way == CREATE) {
			serve();
			serve();
		}
	}
}

/* ---- a death ---- */

/* A client that holds IN_FLIGHT blocks, which everybody may know, and is no more. */
static void die_holding(enum way way)
{
	struct fake_lane l = fake_lane(w.s, fake_client(w.s)), p = w.p;

	(void)way;
	w.p = l;
	grants();
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		fake_post(&w.p, TARN__MSG_PUBLISH, 0, w.id[i], w.size, 0, 0, 0, 0);
	w.p = p;
	tarn__epoch(w.s);
	fake_kill(w.s, l.client);
	while (!tarn__quiet(w.s))
		serve();
}

static void measure(unsigned round, const char *name, enum way way, uint64_t size)
{
	uint64_t n = often(HANDOVERS) / IN_FLIGHT + 1;

	w.size = size;
	run_begin(round, true);
	void (*act)(enum way) = way == DEATH ? die_holding : way >= PING ? ask : hand_over;
	act(way);
	uint64_t from = ticks();
	for (uint64_t i = 0; i < n; i++)
		act(way);
	uint64_t all = ticks() - from;
	record(name, "each", "ns", ticks_to_ns(all) / (double)(n * IN_FLIGHT), NULL);
	if (run_again())
		measure(round, name, way, size);
}

static const struct {
	const char *name, *row;
	enum way way;
	uint64_t size;
} cases[] = {
	{ "give", "64 B, given and dropped (2 messages)", MOVE_ABSORB, 64 },
	{ "keep", "64 B, sent, received, released (4 messages)", SEND_RELEASE, 64 },
	{ "odd", "100 B, given and dropped (2 messages)", MOVE_ABSORB, 100 },
	{ "large", "64 KiB, given and dropped (2 messages)", MOVE_ABSORB, 65536 },
	{ "ping", "a ping, answered", PING, 0 },
	{ "call", "a call of an inline method, a number there and back", CALL, 0 },
	{ "alone", "the same, the server looks after each", ALONE, 0 },
	{ "create", "an object made and dropped (2 messages)", CREATE, 0 },
	{ "death", "a block of a killed client, granted and reclaimed", DEATH, 64 },
};

static bool is_named(const char *name)
{
	for (char **n = bench.names; *n != NULL; n++)
		if (strcmp(*n, name) == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "server",
		.question = "What does the server do for a hand-over? Alone, in one cache: its work without\n"
			    "any waiting. Writing the messages is in it, too.",
		.rounds = 7,
		.names = "[NAME] give, keep, odd, large, ping, call, alone, create, death: only these",
	};

	bench_start(argc, argv, &about);
	w.s = fake_server(256);
	w.p = fake_lane(w.s, fake_client(w.s));
	w.q = fake_lane(w.s, fake_client(w.s));
	w.channel = fake_channel(w.s, &w.p, &w.q, 4096);
	make_object();
	for (unsigned r = 0; r < bench.rounds; r++)
		for (unsigned k = 0; k < sizeof cases / sizeof *cases; k++)
			if (bench.names == NULL || *bench.names == NULL || is_named(cases[k].name))
				measure(r, cases[k].row, cases[k].way, cases[k].size);
	fake_settle(w.s);
	if (fake_verify(w.s) != 0)
		die("the server's check found something");
	fake_server_free(w.s);
	report();
	return 0;
}
