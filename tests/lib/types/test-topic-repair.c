/* SPDX-License-Identifier: Apache-2.0 */
/* What a topic does for a dead publisher, by a server that is killed in it, and by the next one. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "lib/host/context.h"
#include "lib/types/topic.h"
#include "lib/types/types.h"

TestSuite(topic_repair, .timeout = 20);

#define DEAD 7u
#define PAGE 4096u
#define MOST 16u
enum { TOPIC = 1, RING }; /* ids */

/* Who publishes begins with a page, so that a store there can be the last. */
static struct data {
	unsigned char before[PAGE - offsetof(struct tarn__topic, publisher)] __attribute__((aligned(PAGE)));
	struct tarn__topic t;
	unsigned char slot[4][TARN__TOPIC_STRIDE] __attribute__((aligned(PAGE)));
} data;
static_assert((offsetof(struct data, t) + offsetof(struct tarn__topic, publisher)) % PAGE == 0, "a page");

static struct host host = { .data = (unsigned char *)&data };
static const struct tarn__served served = { .type = &tarn__type_topic };
static sigjmp_buf killed;
static struct {
	uint64_t *word, was;
} note[MOST];
static unsigned notes;
static uint64_t from;

static int look(struct tarn__run *run, uint64_t id, struct tarn__look *ret)
{
	(void)run;
	*ret = (struct tarn__look){ .offset = offsetof(struct data, slot), .size = sizeof data.slot };
	return id == RING ? 0 : -TARN_ESTALE;
}

static void note_word(struct tarn__run *run, const uint64_t *word)
{
	(void)run;
	cr_assert(lt(u32, notes, MOST));
	note[notes].word = (uint64_t *)(uintptr_t)word;
	note[notes++].was = *word;
}
static const struct tarn__reactor_ops ops = { .look = look, .note = note_word };

static void departed(void)
{
	static tarn_context ctx;

	do {
		struct tarn__run run = { .ops = &ops, .from = from, .caller = { .client = DEAD } };

		tarn__context_init(&ctx, &host, &served, NULL, TARN__DEED_DEPARTED, TOPIC, &data.t);
		ctx.run = &run;
		tarn__type_topic.departed(&ctx, &data.t, DEAD);
		from = run.again;
		notes = 0; /* committed */
	} while (from != 0);
}

static void die(int signal)
{
	(void)signal;
	siglongjmp(killed, 1);
}

static void prepare(void)
{
	data.t = (struct tarn__topic){ .n = 4, .stride = TARN__TOPIC_STRIDE, .ring_id = RING,
				       .ring_offset = offsetof(struct data, slot), .publisher = { DEAD } };
	data.t.tail.turn = 1;
	*(uint64_t *)(void *)data.slot[0] = tarn__mpmc_word(0, TARN__MPMC_CLAIM, DEAD);
}

/* Its subscribers were told of one death too many. */
Test(topic_repair, k7_a_server_that_is_killed_when_a_publisher_has_died_counts_that_once)
{
	const struct sigaction sa = { .sa_handler = die, .sa_flags = SA_NODEFER };

	prepare();
	sigaction(SIGSEGV, &sa, NULL);
	cr_assert(zero(int, mprotect(data.t.publisher, PAGE, PROT_READ)));
	if (sigsetjmp(killed, 1) == 0) {
		departed();
		cr_assert(false, "nothing was stored");
	}
	cr_assert(zero(int, mprotect(data.t.publisher, PAGE, PROT_READ | PROT_WRITE)));
	while (notes > 0) { /* the next server */
		notes--;
		*note[notes].word = note[notes].was;
	}
	departed();
	cr_assert(eq(u32, data.t.died, 1));
	cr_assert(zero(u32, data.t.publisher[0]));
	cr_assert(eq(u32, tarn__mpmc_state(*(uint64_t *)(void *)data.slot[0]), TARN__MPMC_TOMB));
}
