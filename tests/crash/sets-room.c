/* SPDX-License-Identifier: Apache-2.0 */
/* An arena that is full, and what nobody refers to but itself. */
#include "sets.h"

#define SIZE 3000u
#define PART 1500000u  /* so many of them fill the arena */
#define PARTS 5u
#define QUOTA 65536u
#define CRUMBS 600u    /* more than there are blocks */
#define GIVEN 64u
#define FEW 30u

static tarn_block *crumb[CRUMBS];

/* ---- memory ---- */

void sets_room_prepare(struct world *w)
{
	w->e = arena_client(&w->a, &(tarn_client_options){ .quota_bytes = QUOTA });
	w->b[PARTS] = sets_block(w->e, 40000, PARTS);
	for (unsigned i = 0; i < PARTS; i++)
		w->b[i] = sets_block(w->d, PART, i);
	for (unsigned i = 0; i < FEW; i++)
		crumb[i] = sets_block(w->d, SIZE, i);
	const tarn_stat st = arena_stat(&w->a);
	PLAIN_CHECK(st.used_bytes + PART > st.arena_bytes);
}

/* Waits until there is room; */
void sets_room_wait(struct world *w)
{
	w->b[6] = sets_block(w->c, PART, 6);
}

/* which is made here, */
void sets_room_give(struct world *w)
{
	w->b[0] = tarn_block_unref(w->b[0]);
	OK(tarn_client_ping(w->d, TARN_FOREVER));
}

static void refused(tarn_client *c, size_t bytes, int code)
{
	tarn_block *b;
	int r;

	/* A server that is stepped may be as slow as one that hangs. */
	do
		r = tarn_block_new(c, bytes, 0, &b);
	while (r == -ETIMEDOUT);
	PLAIN_CHECKF(r == code, "%s", tarn_error_name(r));
}

/* but not so much. */
void sets_room_refuse(struct world *w)
{
	refused(w->c, 4 * PART, -ENOMEM);
}

void sets_room_quota(struct world *w)
{
	refused(w->e, 40000, -TARN_EQUOTA);
}

/* A crowd of small ones that were one's cache goes back to the heap. */
void sets_room_less(struct world *w)
{
	for (unsigned i = 0; i < FEW; i++)
		crumb[i] = tarn_block_unref(crumb[i]);
	OK(tarn_client_trim(w->d));
	OK(tarn_client_ping(w->d, TARN_FOREVER));
}

void sets_room_finish(struct world *w)
{
	for (unsigned i = 1; i <= 6; i++)
		PLAIN_CHECK(arena_filled(w->b[i], i)); /* none lies in another */
	w->b[PARTS] = tarn_block_unref(w->b[PARTS]);
	w->b[0] = sets_block(w->e, 40000, 0); /* its quota is as it was */
	tarn_block_unref(w->b[0]);
	w->b[0] = NULL;
	w->e = tarn_client_close(w->e);
	sets_end(w);
}

/* ---- numbers of blocks ---- */

void sets_numbers_prepare(struct world *w)
{
	unsigned n = 0;

	while (n < CRUMBS && tarn_block_new(w->d, SIZE, 0, &crumb[n]) == 0)
		n++;
	PLAIN_CHECKF(n > GIVEN && n < CRUMBS, "%u blocks", n);
}

void sets_numbers_wait(struct world *w)
{
	w->b[0] = sets_block(w->c, SIZE, 0);
}

void sets_numbers_give(struct world *w)
{
	for (unsigned i = 0; i < GIVEN; i++)
		crumb[i] = tarn_block_unref(crumb[i]);
	OK(tarn_client_trim(w->d));
	OK(tarn_client_ping(w->d, TARN_FOREVER));
}

/* Before or after, as it comes. */
void sets_numbers_make(struct world *w)
{
	w->result[2] = tarn_channel_new(w->c, 4, "made", &w->ch[0]);
}

void sets_numbers_finish(struct world *w)
{
	tarn_channel *again;

	PLAIN_CHECK(arena_filled(w->b[0], 0));
	if (w->result[2] == 0) {
		OK(tarn_channel_open(w->d, "made", 0, &again));
		tarn_channel_unref(again);
	} else {
		PLAIN_CHECKF(w->result[2] == -ENFILE, "%s", tarn_error_name(w->result[2]));
		FAILS(tarn_channel_open(w->d, "made", 0, &again), ENOENT);
	}
	for (unsigned i = 0; i < CRUMBS; i++)
		crumb[i] = tarn_block_unref(crumb[i]);
	sets_end(w);
}

/* ---- cycles ---- */

static void lead(struct world *w, unsigned from, unsigned to)
{
	SETS_ASK(w, tarn_callf(w->o[from], "set", TARN_FOREVER, "O", NULL, w->o[to]));
}

/* Nobody receives what lies in it. */
static tarn_channel *channel(tarn_client *c)
{
	tarn_channel *ch;

	OK(tarn_channel_new(c, 4, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	return ch;
}

void sets_cycles_prepare(struct world *w)
{
	for (unsigned i = 0; i < 4; i++)
		w->o[i] = NEW(w->c, "Link", "");
	lead(w, 0, 1);
	lead(w, 1, 0);
	lead(w, 2, 3); /* of this one is held on to */
	lead(w, 3, 2);
	w->o[3] = tarn_object_unref(w->o[3]);
	w->b[0] = sets_block(w->d, SIZE, 0);
	for (unsigned i = 0; i < 3; i++)
		w->ch[i] = channel(w->d);
	OK(tarn_list_newf(w->d, &w->o[4], "[BC]", w->b[0], w->ch[2]));
	SETS_ASK(w, tarn_list_appendf(w->o[4], "O", w->o[4]));
	OK(tarn_channel_send_object(w->ch[2], w->o[4], 1, TARN_FOREVER));
	OK(tarn_channel_send_channel(w->ch[0], w->ch[1], 1, TARN_FOREVER));
	OK(tarn_channel_send_channel(w->ch[1], w->ch[0], 1, TARN_FOREVER));
	OK(tarn_channel_send(w->ch[1], w->b[0], 2, TARN_FOREVER));
	OK(tarn_queue_new(w->c, &(tarn_queue_options){ .maxsize = 4 }, &w->o[5]));
	OK(tarn_queue_putf(w->o[5], TARN_FOREVER, "O", w->o[5]));
	OK(tarn_dict_newf(w->c, &w->o[6], "{s:i}", "x", 1));
	OK(tarn_queue_putf(w->o[5], TARN_FOREVER, "O", w->o[6]));
	SETS_ASK(w, tarn_dict_setf(w->o[6], "sO", "queue", w->o[5]));
	w->ch[3] = channel(w->c);
	OK(tarn_channel_send_object(w->ch[3], w->o[2], 1, TARN_FOREVER));
}

void sets_cycles_links(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		w->o[i] = tarn_object_unref(w->o[i]);
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}

void sets_cycles_lists(struct world *w)
{
	w->o[4] = tarn_object_unref(w->o[4]);
	w->ch[2] = tarn_channel_unref(w->ch[2]);
	OK(tarn_client_ping(w->d, TARN_FOREVER));
}

void sets_cycles_channels(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		w->ch[i] = tarn_channel_unref(w->ch[i]);
	OK(tarn_client_ping(w->d, TARN_FOREVER));
}

void sets_cycles_queues(struct world *w)
{
	for (unsigned i = 5; i <= 6; i++)
		w->o[i] = tarn_object_unref(w->o[i]);
	OK(tarn_client_ping(w->c, TARN_FOREVER));
}

static tarn_object *next_of(struct world *w, tarn_object *o)
{
	tarn_object *next;
	tarn_parcel p;

	SETS_ASK(w, tarn_call(o, "next", NULL, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "O", &next));
	tarn_object_ref(next);
	tarn_parcel_fini(&p);
	return next;
}

/* The one that is held is whole; of the others nothing is left, as arena_end() looks. */
void sets_cycles_finish(struct world *w)
{
	w->o[3] = next_of(w, w->o[2]);
	w->o[7] = next_of(w, w->o[3]);
	PLAIN_CHECK(tarn_object_same(w->o[7], w->o[2]) && !tarn_object_same(w->o[3], w->o[2]));
	PLAIN_CHECK(arena_filled(w->b[0], 0));
	sets_end(w);
}
