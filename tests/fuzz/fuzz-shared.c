/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T10: what clients read in place. Slots of queues and topics, which any client can write, and trees
 * in VIEW, whose chunks the server uses again while somebody reads: words are as the input says,
 * and change between two reads. Nothing outside of the memory that there is may be touched, and
 * everything comes to an end.
 *
 * An input: a byte that says which of the two; a byte with the number of changes; four bytes for each
 * change (read, word, value); then what there is and what is done with it.
 */
#include <string.h>

#include "input.h"
#include "shm/topic.h"
#include "shm/view.h"
#include "tests/shim/shim.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes);

#define CHANGES 16u
#define RING_BYTES 8192u
#define ROOTS 4u
#define CHUNKS_AT (TARN__VIEW_ROOTS_AT + ROOTS * sizeof(struct tarn__view_root))
#define CHUNK_WORDS 512u

/* ---- memory that changes ---- */

static struct {
	uint64_t *word; /* of it, */
	size_t n;	/* so many */
	struct {
		unsigned in;
		unsigned at;
		uint64_t value;
	} change[CHANGES];
	unsigned n_changes;
} memory;

static void before_read(const void *p)
{
	(void)p;
	for (unsigned i = 0; i < memory.n_changes;) {
		if (memory.change[i].in-- != 0) {
			i++;
			continue;
		}
		memory.word[memory.change[i].at % memory.n] = memory.change[i].value;
		memory.change[i] = memory.change[--memory.n_changes];
	}
}

#include "plainshim.h"

static unsigned node_at[8], n_nodes; /* words of the chunks at which nodes begin */

/* Where a node lies, or anything might. */
static uint64_t some_offset(struct input *in)
{
	unsigned how = take16(in);

	return CHUNKS_AT + 8ull * (n_nodes != 0 && (how & 0xc000) != 0 ? node_at[how % n_nodes]
								       : how % (CHUNK_WORDS + 8));
}

/* Small, an offset, a turn with a state, a limit, or nonsense. */
static uint64_t some_word(struct input *in)
{
	unsigned how = take8(in);

	switch (how & 7) {
	case 0:
	case 1:
		return how >> 3;
	case 2:
		return how & 8 ? 6 | TARN__CELL_BLOB | 16ull << 32 /* a long string */
			       : some_offset(in);
	case 3:
		return tarn__mpmc_word(how >> 3, (enum tarn__mpmc_state)(take8(in) & 7), 1);
	case 4:
		return 64ull * (how >> 3);
	case 5:
		return UINT64_MAX - (how >> 3);
	case 6:
		return 1ull << (take8(in) & 63);
	default:
		return take64(in);
	}
}

static void changes_begin(struct input *in, uint64_t *word, size_t n)
{
	memory.word = word;
	memory.n = n;
	memory.n_changes = take8(in) % CHANGES;
	for (unsigned i = 0; i < memory.n_changes; i++) {
		memory.change[i].in = take8(in);
		memory.change[i].at = take16(in);
		memory.change[i].value = some_word(in);
	}
}

/* ---- slots ---- */

/* What a user writes into and reads from a slot that it has. */
static void use_slot(const struct tarn__mpmc *m, uint64_t *slot)
{
	struct tarn__queue_slot *s = (void *)slot;
	uint32_t room = tarn__item_room(m->stride);
	uint32_t n = tarn__item_words(tarn__load_relaxed(&s->head));

	if (n > room)
		n = room;
	for (uint32_t k = 0; k < n; k++)
		tarn__store_relaxed(&s->payload[k], k);
	if (room != 0)
		tarn__store_relaxed(&s->payload[room - 1], n);
}

static void use_queue(struct input *in, struct tarn__queue *q, const struct tarn__mpmc *m)
{
	uint64_t *slot[2] = { NULL, NULL }, turn[2] = { 0, 0 }, at;

	while (in->p < in->end) {
		switch (take8(in) % 10) {
		case 0:
			if (tarn__mpmc_claim(m, &turn[0], &slot[0]) == TARN__MPMC_OK)
				use_slot(m, slot[0]);
			break;
		case 1:
			if (slot[0] != NULL)
				tarn__mpmc_publish(m, slot[0], turn[0]);
			break;
		case 2:
			if (slot[0] != NULL)
				tarn__mpmc_abandon(m, slot[0], turn[0]);
			break;
		case 3:
			if (tarn__mpmc_take(m, &turn[1], &slot[1]) == TARN__MPMC_OK)
				use_slot(m, slot[1]);
			break;
		case 4:
			if (slot[1] != NULL)
				tarn__mpmc_release(m, slot[1], turn[1]);
			break;
		case 5:
			(void)tarn__mpmc_peek(m);
			break;
		case 6:
			if (tarn__mpmc_retake(m, tarn__load_relaxed(&q->retry_from), &turn[1],
					      &slot[1]) == TARN__MPMC_OK)
				use_slot(m, slot[1]);
			break;
		case 7:
			(void)tarn__mpmc_retries(m, tarn__load_relaxed(&q->retry_from), 100);
			break;
		case 8:
			(void)tarn__mpmc_settled(m, &at);
			break;
		default:
			(void)tarn__mpmc_others_have(m);
		}
	}
}

static void use_topic(struct input *in, struct tarn__topic *t, const struct tarn__mpmc *m)
{
	uint64_t *slot = NULL, turn = 0;

	while (in->p < in->end) {
		switch (take8(in) % 4) {
		case 0:
			if (tarn__topic_claim(t, m, &turn, &slot) == TARN__MPMC_OK)
				use_slot(m, slot);
			break;
		case 1:
			if (slot != NULL)
				tarn__mpmc_publish(m, slot, turn);
			break;
		case 2:
			(void)tarn__topic_lowest(t, some_word(in));
			break;
		default:
			(void)tarn__topic_may(t, m->n, some_word(in));
		}
	}
}

/* An instance and its slots, each in memory of just its size: in one piece, for what changes. */
static void slots(struct input *in, bool topic)
{
	unsigned char *all = NULL;
	size_t instance = topic ? sizeof(struct tarn__topic) : sizeof(struct tarn__queue);
	struct tarn__mpmc m;
	unsigned n = 0;

	CHECK(posix_memalign((void **)&all, TARN__LINE, instance + RING_BYTES) == 0);
	memset(all, 0, instance + RING_BYTES);
	changes_begin(in, (uint64_t *)(void *)all, (instance + RING_BYTES) / 8);
	/* Mostly what can be: else nothing more is looked at. */
	unsigned char *ring = all + instance;
	if (topic) {
		struct tarn__topic *t = (void *)all;

		t->stride = 64u * (3 + take8(in) % 4);
		t->n = 1 + take8(in) % 16;
	} else {
		struct tarn__queue *q = (void *)all;
		unsigned how = take8(in);

		q->stride = 64u * (1 + (how & 7));
		q->n = 1 + take8(in) % 16;
		q->runs = how & 8 ? 1u << (how >> 4 & 7) : 0;
		q->maxsize = how & 8 ? take8(in) : q->n;
		if (how & 8) /* the first run is there, somewhere */
			*(struct tarn__mpmc_run *)(void *)ring = (struct tarn__mpmc_run){
				.number = 1, .offset = 64ull * (take8(in) % (RING_BYTES / 64 + 2))
			};
	}
	for (n = take8(in); n > 0; n--) {
		unsigned where = take8(in);
		size_t at = where & 1 ? instance / 8 + (where & 2 ? where >> 2
								  : take16(in) % (RING_BYTES / 8))
				      : take16(in) % (instance / 8);

		((uint64_t *)(void *)all)[at] = some_word(in);
	}
	if (topic && tarn__topic_view((struct tarn__topic *)(void *)all, ring, RING_BYTES, 1, &m))
		use_topic(in, (struct tarn__topic *)(void *)all, &m);
	if (!topic && tarn__queue_view((struct tarn__queue *)(void *)all, ring, RING_BYTES, 1, &m))
		use_queue(in, (struct tarn__queue *)(void *)all, &m);
	free(all);
}

/* ---- trees ---- */

/* A node, more or less, at word @at of the chunks. */
static void put_node(struct input *in, uint64_t *chunk, unsigned at)
{
	unsigned how = take8(in), level = how >> 2 & 3, n = take8(in) % 12;
	unsigned width = level != 0 ? TARN__CHILD_WORDS : 2 * (1 + (how & 3));
	struct tarn__node *node = (void *)&chunk[at];

	if (at + sizeof *node / 8 + (size_t)n * width > CHUNK_WORDS)
		n = (unsigned)(CHUNK_WORDS - at - sizeof *node / 8) / width;
	node->level = (uint8_t)level;
	node->width = (uint8_t)width;
	node->n = (uint16_t)(how & 0x40 ? take8(in) : n); /* more than it has, too */
	node->count = how & 0x80 ? some_word(in) : n;
	for (unsigned k = 0; k < n * width; k++)
		node->word[k] = some_word(in);
}

static volatile unsigned seen; /* the compiler does not know what for */

/* What a reader does with long data. */
static void read_blob(const struct tarn__sight *s, uint64_t at)
{
	unsigned sum = 0;
	struct tarn__blob copy;
	const struct tarn__blob *b = tarn__view_blob(s, at, &copy);

	if (b == NULL)
		return;
	const unsigned char *end =
		(const unsigned char *)(b->data + (copy.size + 7) / 8 + copy.n_refs);

	for (const unsigned char *p = (const void *)b->data; p < end; p++)
		sum += *p;
	seen = sum;
}

static void look(struct input *in, const struct tarn__sight *s)
{
	static const char text[] = "aaaaaaaaaaaaaaaa";
	uint64_t words[8 * TARN__ENTRY_WORDS], position, point;
	unsigned how = take8(in), width = 2 * (1 + (how >> 4 & 3) % 3);
	struct tarn__key key;

	switch (how & 7) {
	case 0:
		tarn__tree_at(s, s->root.order, some_word(in), width, words);
		return;
	case 1:
		tarn__tree_find(s, s->root.index, some_word(in), width, &position, words);
		return;
	case 2:
		tarn__tree_find(s, s->root.order, some_word(in), width, NULL, words);
		return;
	case 3:
		(void)tarn__tree_run(s, s->root.order, some_word(in), width, words, 8);
		return;
	case 4:
	case 5: /* a short key, and one that lies in a blob */
		if (tarn__key_make(1, how & 1 ? 6 | 16ull << 32 : 3, some_word(in),
				   how & 1 ? text : NULL, &key)) {
			/* The hash that there is. */
			key.hash = some_word(in);
			tarn__dict_find(s, &key, how & 0x40 ? &position : NULL, &point, words);
		}
		return;
	default:
		read_blob(s, some_word(in));
	}
}

static void trees(struct input *in)
{
	const size_t bytes = CHUNKS_AT + 8 * CHUNK_WORDS;
	unsigned char *all = calloc(1, bytes);
	struct tarn__view v = { .base = all, .bytes = bytes };
	struct tarn__view_head *h = (void *)all;
	uint64_t *chunk = (void *)(all + CHUNKS_AT);
	struct tarn__sight s;

	CHECK(all != NULL);
	/* Of the server alone, and constant; what lies behind it changes. */
	*h = (struct tarn__view_head){ .bytes = bytes,
				       .seed = 1,
				       .roots = ROOTS,
				       .chunks_at = CHUNKS_AT,
				       .committed = bytes };
	n_nodes = take8(in) % 8;
	for (unsigned k = 0; k < n_nodes; k++)
		/* As long as its head is there: some at the very end. */
		node_at[k] = k % 2 == 0 ? CHUNK_WORDS - 5 - take8(in) % 16
					: take16(in) % (CHUNK_WORDS - 5);
	changes_begin(in, (uint64_t *)(void *)(all + TARN__VIEW_ROOTS_AT),
		      (bytes - TARN__VIEW_ROOTS_AT) / 8);
	struct tarn__view_root *line = tarn__view_root(&v, 1);

	*line = (struct tarn__view_root){ .version = 2, .id = 1, .count = take8(in) };
	line->order = some_offset(in);
	line->index = some_offset(in);
	for (unsigned k = 0; k < n_nodes; k++)
		put_node(in, chunk, node_at[k]);
	for (unsigned n = take8(in) % 32; n > 0; n--) {
		unsigned at = take16(in) % CHUNK_WORDS;

		chunk[at] = some_word(in);
	}
	while (in->p < in->end && tarn__view_begin(&v, 1, 1, &s)) {
		look(in, &s);
		(void)tarn__view_done(&s);
	}
	free(all);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t bytes)
{
	struct input in = { .p = data, .end = data + bytes };
	unsigned what = take8(&in) % 4;

	if (what < 2)
		trees(&in);
	else
		slots(&in, what == 3);
	memory.n_changes = 0;
	n_nodes = 0;
	return 0;
}
