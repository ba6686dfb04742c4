/* SPDX-License-Identifier: Apache-2.0 */
/* Calls, and objects of Tarn's own types. */
#include <string.h>

#include "sets.h"

#define SIZE 3000u
#define TEXT 1000

/* The same object as d has it. */
static tarn_object *passed(struct world *w, tarn_object *o)
{
	tarn_object *it;
	tarn_token token;

	OK(tarn_object_export(o, NULL, &token));
	OK(tarn_object_import(w->d, &token, &it));
	return it;
}

/* Calls a counter in the background, then waits for all; how many were not interrupted. Each
 * gives the number that it made of it. */
static int64_t add(struct world *w, tarn_object *counter, const char *method, unsigned times)
{
	tarn_pending *p[4];
	tarn_builder one;
	int64_t went = 0, n, last = 0;

	tarn_builder_init(&one);
	OK(tarn_put_int(&one, 1));
	for (unsigned i = 0; i < times; i++)
		OK(tarn_call_start(counter, method, &one, &p[i]));
	tarn_builder_fini(&one);
	for (unsigned i = 0; i < times; i++) {
		tarn_parcel result;

		if (sets_went(w, tarn_call_wait(p[i], &result, TARN_FOREVER))) {
			OK(tarn_parcel_get(&result, "q", &n));
			tarn_parcel_fini(&result);
			PLAIN_CHECKF(n > last && n <= (int64_t)i + 1, "%lld after %lld", (long long)n,
				     (long long)last);
			last = n;
			went++;
		}
		tarn_call_free(p[i]);
	}
	return went;
}
#define ADDS 3

/* ---- on the reactor ---- */

void sets_calls_prepare(struct world *w)
{
	w->o[0] = NEW(w->c, "Counter", "");
	w->o[1] = NEW(w->c, "Link", "");
	w->o[2] = NEW(w->c, "Magnifier", "d", 2.0);
	w->o[3] = NEW(w->c, "Magnifier", "d", 3.0);
	w->o[4] = NEW(w->c, "Echo", "");
	w->o[5] = NEW(w->c, "Canary", "");
	SETS_ASK(w, tarn_callf(w->o[1], "set", TARN_FOREVER, "O", NULL, w->o[2]));
}

void sets_calls_add(struct world *w)
{
	w->n = add(w, w->o[0], "inline_add", ADDS);
}

void sets_calls_link(struct world *w)
{
	w->o[5] = tarn_object_unref(w->o[5]); /* its destructor looks that it is called once */
	w->result[1] = tarn_callf(w->o[1], "set", TARN_FOREVER, "O", NULL, w->o[3]);
}

void sets_calls_make(struct world *w)
{
	w->result[2] = tarn_object_newf(w->d, "Magnifier", &w->o[6], "d", 4.0);
}

void sets_calls_text(struct world *w)
{
	const char *text;
	tarn_parcel p;

	tarn_builder n;

	tarn_builder_init(&n);
	OK(tarn_put_int(&n, TEXT));
	if (sets_went(w, tarn_call(w->o[4], "text", &n, &p, TARN_FOREVER))) {
		OK(tarn_parcel_get(&p, "s", &text));
		PLAIN_EQ(strspn(text, "x"), TEXT);
		tarn_parcel_fini(&p);
	}
	tarn_builder_fini(&n);
}

/* What is interrupted has not been. */
void sets_calls_finish(struct world *w)
{
	const bool set = sets_went(w, w->result[1]);
	tarn_object *next;
	tarn_parcel p;
	int64_t n;

	SETS_ASK(w, tarn_callf(w->o[0], "inline_get", TARN_FOREVER, NULL, "q", &n));
	PLAIN_EQ(n, w->n);
	SETS_ASK(w, tarn_call(w->o[1], "next", NULL, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "O", &next));
	PLAIN_CHECK(tarn_object_same(next, w->o[set ? 3 : 2]));
	tarn_parcel_fini(&p);
	for (unsigned i = 2; i <= 6; i += i == 3 ? 3 : 1)
		if (i != 6 || sets_went(w, w->result[2]))
			PLAIN_CHECK(types_scale(w->o[i], 1) == (i == 6 ? 4 : i));
	sets_end(w);
}

/* ---- on executors ---- */

void sets_slow_prepare(struct world *w)
{
	w->o[0] = NEW(w->c, "Counter", "");
	w->o[1] = NEW(w->c, "Bag", "");
	w->o[2] = NEW(w->d, "Maker", "");
	w->o[3] = NEW(w->c, "SlowCanary", "");
	w->b[0] = sets_block(w->c, SIZE, 1);
}

void sets_slow_add(struct world *w)
{
	w->n = add(w, w->o[0], "add", ADDS);
}

void sets_slow_put(struct world *w)
{
	w->result[1] = tarn_callf(w->o[1], "put_slowly", TARN_FOREVER, "B", NULL, w->b[0]);
}

void sets_slow_make(struct world *w)
{
	w->o[3] = tarn_object_unref(w->o[3]);
	w->result[2] = tarn_object_newf(w->c, "SlowCanary", &w->o[4], NULL);
}

void sets_slow_blocks(struct world *w)
{
	tarn_builder five;
	tarn_parcel p;

	tarn_builder_init(&five);
	OK(tarn_put_int(&five, 5));
	int r = tarn_call(w->o[2], "blocks", &five, &p, TARN_FOREVER);
	tarn_builder_fini(&five);
	/* What a reply refers to is gone with the server, if it was not fetched. */
	if (r != -TARN_ESTALE && sets_went(w, r)) {
		PLAIN_EQ(tarn_value_count(tarn_parcel_at(&p, 0)), 5);
		tarn_parcel_fini(&p);
	}
}

/* What is interrupted may have been. */
void sets_slow_finish(struct world *w)
{
	tarn_block *b;
	tarn_parcel p;
	tarn_builder at;
	int64_t n;
	int r;
	const bool put = sets_went(w, w->result[1]);

	SETS_ASK(w, tarn_callf(w->o[0], "inline_get", TARN_FOREVER, NULL, "q", &n));
	PLAIN_CHECKF(n >= w->n && n <= ADDS, "%lld of %lld", (long long)n, (long long)w->n);
	PLAIN_CHECK(w->interrupted != 0 || n == ADDS);
	tarn_builder_init(&at);
	OK(tarn_put_int(&at, 0));
	while ((r = tarn_call(w->o[1], "get", &at, &p, TARN_FOREVER)) == -TARN_EINTERRUPTED)
		;
	tarn_builder_fini(&at);
	PLAIN_CHECKF(r == 0 || (r == -TARN_EREMOTE && !put), "%s",
		     tarn_error_last()->message);
	if (r == 0) {
		OK(tarn_parcel_get(&p, "B", &b));
		PLAIN_CHECK(arena_filled(b, 1));
		tarn_parcel_fini(&p);
	}
	if (sets_went(w, w->result[2]))
		SETS_ASK(w, tarn_callf(w->o[4], "sing", TARN_FOREVER, NULL, NULL));
	sets_end(w);
}

/* ---- lists and dicts ---- */

#define MANY 90

static void numbers(tarn_builder *b, int n)
{
	tarn_builder_init(b);
	for (int i = 0; i < n; i++)
		OK(tarn_put_int(b, i * 7 % n));
}

void sets_lists_prepare(struct world *w)
{
	tarn_builder b;

	for (unsigned i = 0; i < 4; i++)
		w->b[i] = sets_block(w->c, SIZE, i);
	OK(tarn_list_newf(w->c, &w->o[0], "[BB]", w->b[0], w->b[1]));
	OK(tarn_list_newf(w->c, &w->o[1], "[iii]", 1, 2, 3));
	OK(tarn_dict_newf(w->d, &w->o[2], "{s:i}", "x", 1));
	OK(tarn_list_new(w->d, &w->o[3]));
	numbers(&b, MANY);
	SETS_ASK(w, tarn_list_extend(w->o[3], &b));
	tarn_builder_fini(&b);
}

void sets_lists_append(struct world *w)
{
	w->result[0] = tarn_list_appendf(w->o[0], "B", w->b[2]);
}

/* As many are an executor's. */
void sets_lists_extend(struct world *w)
{
	tarn_builder b;

	numbers(&b, MANY);
	w->result[1] = tarn_list_extend(w->o[1], &b);
	tarn_builder_fini(&b);
}

void sets_lists_dict(struct world *w)
{
	w->result[2] = tarn_dict_setf(w->o[2], "ss", "x", "a string that is a chunk of its own, being long");
}

void sets_lists_sort(struct world *w)
{
	w->result[3] = tarn_list_sort(w->o[3], false);
}

static bool is_sorted(struct world *w, int *ret_first)
{
	int x, last = -1;
	bool sorted = true;

	for (int i = 0; i < MANY; i++) {
		SETS_ASK(w, tarn_list_getf(w->o[3], i, "i", &x));
		PLAIN_CHECKF(x >= 0 && x < MANY, "%d", x);
		if (i == 1)
			*ret_first = x;
		sorted = sorted && x > last;
		last = x;
	}
	return sorted;
}

/* What is interrupted has been as a whole, or not at all. */
void sets_lists_finish(struct world *w)
{
	bool went[4];
	tarn_block *b;
	tarn_parcel p;
	uint64_t n;
	int second = 0, x;

	for (unsigned i = 0; i < 4; i++)
		went[i] = sets_went(w, w->result[i]);
	SETS_ASK(w, tarn_list_len(w->o[0], &n));
	PLAIN_CHECK(n == 3 || (n == 2 && !went[0]));
	for (unsigned i = 0; i < n; i++) {
		SETS_ASK(w, tarn_list_get(w->o[0], i, &p));
		OK(tarn_parcel_get(&p, "B", &b));
		PLAIN_CHECK(arena_filled(b, i));
		tarn_parcel_fini(&p);
	}
	SETS_ASK(w, tarn_list_len(w->o[1], &n));
	PLAIN_CHECK(n == 3 + MANY || (n == 3 && !went[1]));
	SETS_ASK(w, tarn_dict_get(w->o[2], "x", &p));
	PLAIN_CHECK(tarn_parcel_get(&p, "i", &x) != 0 || !went[2]);
	tarn_parcel_fini(&p);
	if (!is_sorted(w, &second))
		PLAIN_CHECK(second == 7 && !went[3]);
	sets_end(w);
}

/* ---- queues and topics: no call is interrupted ---- */

static void put(struct world *w, tarn_object *queue, uint64_t n)
{
	tarn_block *b = sets_block(w->c, SIZE, (unsigned)n);

	OK(tarn_queue_putf(queue, TARN_FOREVER, "QB", n, b));
	tarn_block_unref(b);
}

static void item_is(tarn_parcel *p, uint64_t n)
{
	tarn_block *b;
	uint64_t found;

	OK(tarn_parcel_get(p, "QB", &found, &b));
	PLAIN_EQ(found, n);
	PLAIN_CHECK(arena_filled(b, (unsigned)n));
}

static void get(const struct world *w, uint64_t n)
{
	tarn_parcel p;

	OK(tarn_queue_get(w->o[1], &p, TARN_FOREVER));
	item_is(&p, n);
	tarn_parcel_fini(&p);
	OK(tarn_queue_task_done(w->o[1]));
}

#define GROWN 1100u

void sets_queues_prepare(struct world *w)
{
	OK(tarn_queue_new(w->c, &(tarn_queue_options){ .maxsize = 8,
				.flags = TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER }, &w->o[0]));
	w->o[1] = passed(w, w->o[0]);
	put(w, w->o[0], 1);
	put(w, w->o[0], 2);
	OK(tarn_topic_new(w->c, &(tarn_topic_options){ .slots = 4, .keep = 2 }, &w->o[2]));
	w->o[3] = passed(w, w->o[2]);
	OK(tarn_topic_subscribe(w->o[3], &(tarn_subscription_options){ .policy = TARN_TOPIC_BLOCK },
				&w->reader));
	w->b[0] = sets_block(w->c, SIZE, 5);
	OK(tarn_topic_publishf(w->o[2], TARN_FOREVER, "QB", UINT64_C(5), w->b[0]));
	OK(tarn_queue_new(w->d, &(tarn_queue_options){ .slot_bytes = 128 }, &w->o[4]));
}

void sets_queues_put(struct world *w)
{
	put(w, w->o[0], 3);
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}

void sets_queues_get(struct world *w)
{
	get(w, 1);
	OK(tarn_client_ping(w->d, TARN_FOREVER));
}

void sets_queues_publish(struct world *w)
{
	w->b[1] = sets_block(w->c, SIZE, 6);
	OK(tarn_topic_publishf(w->o[2], TARN_FOREVER, "QB", UINT64_C(6), w->b[1]));
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}

/* So many that memory is asked for. */
void sets_queues_grow(struct world *w)
{
	for (uint64_t i = 0; i < GROWN; i++) {
		int r;

		/* A server that is stepped may be as slow as one that hangs. */
		do
			r = tarn_queue_putf(w->o[4], TARN_FOREVER, "Q", i);
		while (r == -ETIMEDOUT);
		OK(r);
	}
}

void sets_queues_finish(struct world *w)
{
	tarn_parcel p;
	uint64_t n;

	get(w, 2);
	get(w, 3);
	OK(tarn_queue_join(w->o[0], TARN_FOREVER));
	PLAIN_EQ(tarn_queue_size(w->o[0]), 0);
	for (uint64_t i = 5; i <= 6; i++) {
		OK(tarn_subscription_recv(w->reader, &p, TARN_FOREVER));
		item_is(&p, i);
		tarn_parcel_fini(&p);
	}
	PLAIN_EQ(tarn_subscription_dropped(w->reader), 0);
	w->reader = tarn_subscription_free(w->reader);
	for (uint64_t i = 0; i < GROWN; i++) {
		OK(tarn_queue_getf(w->o[4], TARN_FOREVER, "Q", &n));
		PLAIN_EQ(n, i);
	}
	PLAIN_EQ(tarn_queue_size(w->o[4]), 0);
	sets_end(w);
}
