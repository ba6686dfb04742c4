/* SPDX-License-Identifier: Apache-2.0 */
/* Queues and topics of the soak: who put what, in which order, how often it was got. */
#include "toys.h"

#include <stdlib.h>

#define MS INT64_C(1000000)
#define MANY 2000 /* items after which one rather gets */
#define LONG_TEXT 700

static const tarn_queue_options line_options[LINES] = {
	{ .maxsize = 32 },
	{ .maxsize = 0 },
	{ .maxsize = 0, .flags = TARN_QUEUE_JOINABLE },
	{ .maxsize = 32, .flags = TARN_QUEUE_REDELIVER },
	{ .maxsize = 0, .flags = TARN_QUEUE_REDELIVER | TARN_QUEUE_JOINABLE, .slot_bytes = 128 },
};

int line_new(tarn_client *client, unsigned line, tarn_object **ret)
{
	return tarn_queue_new(client, &line_options[line], ret);
}

/* How long one waits for an item, or for a place. */
static int64_t moment(struct toys *t)
{
	return t->hurry ? 0 : (int64_t)below(&t->random, 2) * MS;
}

static bool again_and_again(unsigned line)
{
	return (line_options[line].flags & TARN_QUEUE_REDELIVER) != 0;
}
static bool acknowledged(unsigned line)
{
	return line_options[line].flags != 0;
}

/* ---- an item: its thread, its number of this thread, its number of the queue; a block; a text ---- */

static void fill(char *text, uint64_t n)
{
	memset(text, 'a' + (int)(n % 26), LONG_TEXT);
	text[LONG_TEXT] = '\0';
}

static int build(struct toys *t, tarn_builder *b, uint64_t n, uint64_t number)
{
	uint64_t how = below(&t->random, 8);
	char text[LONG_TEXT + 1];
	tarn_block *block;
	int r;

	tarn_builder_init(b);
	r = tarn_put(b, "QQQ", t->who, n, number);
	if (r == 0 && (how & 3) == 0) {
		r = tarn_block_new(t->client, 1 + below(&t->random, 3000), 0, &block);
		if (r < 0)
			return r;
		canary_write(block);
		r = tarn_put_block(b, block);
		tarn_block_unref(block);
	}
	if (r == 0 && how >= 6) {
		fill(text, n);
		r = tarn_put_string(b, text);
	}
	return r;
}

struct item {
	uint64_t who, n, number;
};

static struct item read_item(const tarn_parcel *p, const char *where)
{
	char text[LONG_TEXT + 1];
	struct item i = { 0 };
	tarn_block *block;
	const char *found;
	size_t bytes;

	if (tarn_value_uint(tarn_parcel_at(p, 0), &i.who) < 0 ||
	    tarn_value_uint(tarn_parcel_at(p, 1), &i.n) < 0 ||
	    tarn_value_uint(tarn_parcel_at(p, 2), &i.number) < 0)
		finding("%s: what was got is no item: %s", where, tarn_error_last()->message);
	for (unsigned k = 3; k < tarn_parcel_count(p); k++) {
		tarn_value v = tarn_parcel_at(p, k);

		if (tarn_value_kind(v) == TARN_KIND_BLOCK && tarn_value_block(v, &block) == 0) {
			canary_check(block, 0, where);
			continue;
		}
		fill(text, i.n);
		if (tarn_value_string(v, &found, &bytes) < 0 || strcmp(found, text) != 0)
			finding("%s: item %llu has another text", where, (unsigned long long)i.n);
	}
	return i;
}

/* Items of one thread come one behind the other, for whoever gets them. */
static void in_order(struct toys *t, unsigned room, unsigned line, const struct item *i, const char *where)
{
	struct seen *s = &t->seen[room][line][i->who % SEEN];

	if (s->who == i->who && i->n <= s->n)
		finding("%s: item %llu of one thread came behind %llu", where, (unsigned long long)i->n,
			(unsigned long long)s->n);
	s->who = i->who;
	s->n = i->n;
}

/* ---- queues ---- */

static void line_put(struct toys *t, tarn_object *q, unsigned room, unsigned line)
{
	uint64_t number = __atomic_fetch_add(&board->item[room][line], 1, __ATOMIC_RELAXED);
	tarn_builder b;
	int r = build(t, &b, t->put[room][line] + 1, number);

	if (r == 0) {
		r = tarn_queue_put(q, &b, moment(t));
		t->put[room][line] += r == 0;
	}
	tarn_builder_fini(&b);
	if (r == 0) {
		add(&board->put, 1);
		if (number < ITEMS)
			board->is_put[room][line][number] = 1;
	} else if (r != -EAGAIN && r != -ETIMEDOUT && r != -ENOMEM && r != -ENOSPC) {
		unexpected("queue_put", r);
	}
}

/* Somebody got it. */
static void mark(unsigned room, unsigned line, const struct item *i)
{
	if (i->number < ITEMS &&
	    __atomic_fetch_add(&board->is_got[room][line][i->number], 1, __ATOMIC_RELAXED) != 0 &&
	    !again_and_again(line))
		finding("queue %u: item %llu was got twice", line, (unsigned long long)i->number);
	add(&board->got, 1);
}

static void acknowledge(tarn_object *q, uint64_t number, bool by_number)
{
	int r = by_number ? tarn_queue_ack(q, number) : tarn_queue_task_done(q);

	if (r < 0)
		unexpected("queue_ack", r);
}

/* Gets one and looks at it. False: there is none. */
static bool line_get(struct toys *t, tarn_object *q, unsigned room, unsigned line, int64_t timeout_ns)
{
	static const char *const where[LINES] = { "a queue", "an unbounded queue", "a joinable queue",
						  "a redelivering queue", "queue with small slots" };
	uint64_t number = 0;
	tarn_parcel p;
	int r = tarn_queue_get_item(q, &p, &number, timeout_ns);

	if (r == -EAGAIN || r == -ETIMEDOUT)
		return false;
	if (r == -ENOMEM || (r == -TARN_EREMOTE && tarn_fault_is(tarn_error_fault(), "MemoryError"))) {
		add(&board->no_memory, 1);
		return true;
	}
	if (r < 0)
		unexpected(where[line], r);
	struct item i = read_item(&p, where[line]);

	mark(room, line, &i);
	if (!again_and_again(line))
		in_order(t, room, line, &i, where[line]);
	if (acknowledged(line))
		acknowledge(q, number, below(&t->random, 2) == 0);
	tarn_parcel_fini(&p);
	return true;
}

void line_act(struct toys *t, unsigned room, unsigned line)
{
	tarn_object *q = toy_get(t, room, TOY_LINE + line);
	bool many = tarn_queue_size(q) > MANY;

	if (!many && below(&t->random, 2) == 0)
		line_put(t, q, room, line);
	else
		line_get(t, q, room, line, moment(t));
}

unsigned line_end(tarn_object *q, unsigned room, unsigned line, uint64_t deaths)
{
	static struct toys t;
	uint64_t lost = 0, first = 0;
	int r;

	toys_open(&t, tarn_object_client(q), 1);
	while (line_get(&t, q, room, line, 0))
		;
	if (tarn_queue_size(q) != 0) {
		fprintf(stderr, "# FINDING at the end: queue %u says it has %lld items, and gives none\n", line,
			(long long)tarn_queue_size(q));
		return 1;
	}
	if (line_options[line].flags & TARN_QUEUE_JOINABLE) {
		r = tarn_queue_join(q, 0);
		if (r < 0 && r != -EOWNERDEAD) {
			fprintf(stderr, "# FINDING at the end: join of queue %u: %s\n", line,
				tarn_error_last()->message);
			return 1;
		}
	}
	for (uint64_t k = 0; k < ITEMS; k++)
		if (board->is_put[room][line][k] && !board->is_got[room][line][k] && lost++ == 0)
			first = k;
	if (again_and_again(line) ? lost > board->no_memory : lost > deaths + board->no_memory) {
		fprintf(stderr, "# FINDING at the end: %llu items of queue %u are lost, the first is %llu\n",
			(unsigned long long)lost, line, (unsigned long long)first);
		return 1;
	}
	return 0;
}

/* ---- topics ---- */

static void topic_hear(struct toys *t, tarn_object *topic, unsigned room)
{
	const tarn_subscription_options o = { .policy = (enum tarn_topic_policy)below(&t->random, 3),
					      .old = (unsigned)below(&t->random, 5) };
	tarn_parcel p;
	int r;

	if (t->subscription[room] == NULL) {
		memset(t->seen[room][LINES], 0, sizeof t->seen[room][LINES]);
		r = tarn_topic_subscribe(topic, &o, &t->subscription[room]);
		if (r == -TARN_EREMOTE) /* there are 64 */
			return;
		if (r < 0)
			unexpected("topic_subscribe", r);
	}
	r = tarn_subscription_recv(t->subscription[room], &p, moment(t) / 2);
	if (r == 0) {
		struct item i = read_item(&p, "a topic");

		in_order(t, room, LINES, &i, "a topic");
		add(&board->heard, 1);
		tarn_parcel_fini(&p);
	} else if (r == -TARN_EREMOTE && tarn_fault_is(tarn_error_fault(), "MemoryError")) {
		add(&board->no_memory, 1);
	} else if (r != -EAGAIN && r != -ETIMEDOUT && r != -EOWNERDEAD && r != -ENOMEM) {
		unexpected("subscription_recv", r);
	}
}

void topic_act(struct toys *t, unsigned room)
{
	tarn_object *topic = toy_get(t, room, TOY_TOPIC);
	tarn_builder b;
	int r;

	if (below(&t->random, 3) != 0) {
		topic_hear(t, topic, room);
		if (below(&t->random, 20) == 0)
			t->subscription[room] = tarn_subscription_free(t->subscription[room]);
		return;
	}
	r = build(t, &b, t->published[room] + 1, 0);
	if (r == 0) {
		r = tarn_topic_publish(topic, &b, moment(t));
		t->published[room] += r == 0;
		add(&board->published, r == 0);
	}
	tarn_builder_fini(&b);
	if (r == -TARN_EREMOTE && tarn_fault_is(tarn_error_fault(), "RuntimeError"))
		return; /* 64 publish */
	if (r < 0 && r != -EAGAIN && r != -ETIMEDOUT && r != -ENOMEM)
		unexpected("topic_publish", r);
}
