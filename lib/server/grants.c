/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ALLOC: blocks handed to a client's cache.
 *
 * When memory is short the request stays with its lane (a thread has one at most) while
 * epochs go on, other clients are asked to give cached blocks back, and what is dead is
 * reaped. It is answered with blocks as soon as there are some, or with an error and its
 * numbers when its time is over: a full arena never hangs anybody (A5, A6).
 */
#include "heap.h"
#include "ledger.h"
#include "prefault.h"
#include "server.h"

#include <string.h>

/* Time for give-backs of others to arrive, also for those who do not want to wait. */
#define COLLECT_NS 80000000u
#define ASK_NS 20000000u /* between two requests for what clients have cached */
#define WAIT_MOST_NS (24ull * 3600 * 1000000000u)
#define BATCH_MOST HEAP_SOME_MOST
/* A batch ends early rather than come near the undo log's end. */
#define UNDO_ENOUGH (TARN__UNDO_CAPACITY / 2)

struct wish {
	uint64_t bytes, align, header;
};

static void answer_refusal(struct server *s, struct lane_view *v, const struct wish *wish, int r)
{
	const struct client *cl = &s->st.client[s->st.lane[v->lane].client];
	uint64_t room, largest;

	tarn__heap_room(&s->st, &room, &largest);
	uint64_t word[7] = {
		tarn__reply(TARN__MSG_ALLOC, TARN__REPLY_LAST, -r, tarn__header_cookie(wish->header)),
		wish->bytes, room, s->st.head->arena_bytes, largest, cl->quota, cl->owned_bytes,
	};
	tarn__reply_put(s, v, word);
	s->failed_allocs++;
	tarn__facts_failed(s, s->st.lane[v->lane].client, TARN__MSG_ALLOC, r);
}

static int grant_one(struct server *s, const struct wish *wish, uint32_t client, uint32_t *ret)
{
	struct state *st = &s->st;
	const struct client *cl = &st->client[client];

	if (cl->quota != 0 && cl->owned_bytes + wish->bytes > cl->quota)
		return -EDQUOT;
	int r = tarn__heap_alloc(st, wish->bytes, wish->align, ret);
	if (r == 0)
		tarn__object_grant(st, &st->object[*ret], client);
	return r;
}

/* As many as lie ready, and as the quota allows whatever their capacity is. */
static uint32_t grant_ready(struct server *s, const struct wish *wish, uint32_t client,
			    uint32_t most, uint32_t *ret)
{
	struct state *st = &s->st;
	const struct client *cl = &st->client[client];

	if (wish->align > TARN__LINE || wish->bytes > TARN__SMALL_MAX)
		return 0;
	if (cl->quota != 0) {
		uint64_t each = tarn__class_bytes(tarn__class_of(wish->bytes));
		uint64_t left = cl->quota > cl->owned_bytes ? cl->quota - cl->owned_bytes : 0;

		if (left / each < most)
			most = (uint32_t)(left / each);
	}
	uint32_t n = most != 0 ? tarn__heap_alloc_some(st, wish->bytes, most, ret) : 0;
	if (n != 0)
		tarn__object_grant_some(st, ret, n, client);
	return n;
}

/* The ids of @n blocks, in as many replies as it takes. */
static void answer_grants(struct server *s, struct lane_view *v, const struct wish *wish,
			  const uint32_t *index, uint32_t n)
{
	uint64_t word[7] = { 0 };

	for (uint32_t at = 0; at < n;) {
		uint32_t k = 0;

		for (; k < TARN__GRANTS_PER_SLOT && at < n; k++, at++) {
			word[1 + k] = s->st.object[index[at]].id;
			tarn__touch(s, index[at]);
		}
		word[0] = tarn__reply(TARN__MSG_ALLOC, k | (at == n ? TARN__REPLY_LAST : 0), 0,
				      tarn__header_cookie(wish->header));
		tarn__reply_put(s, v, word);
	}
}

/* Grants up to as many as were asked for; how many, or the reason of the first failure. */
static int grant_some(struct server *s, struct lane_view *v, const struct wish *wish)
{
	struct state *st = &s->st;
	uint32_t client = st->lane[v->lane].client, index[BATCH_MOST], n = 0;
	uint32_t asked = tarn__header_count(wish->header);
	int r = 0;

	asked = asked == 0 ? 1 : asked > BATCH_MOST ? BATCH_MOST : asked;
	while (n < asked && st->head->undo.n < UNDO_ENOUGH) {
		uint32_t k = grant_ready(s, wish, client, asked - n, index + n);

		if (k == 0) {
			r = grant_one(s, wish, client, &index[n]);
			if (r < 0)
				break;
			k = 1;
		}
		n += k;
	}
	if (n == 0)
		return r;
	answer_grants(s, v, wish, index, n);
	return (int)n;
}

/* Asks a client, or all (NIL), for their cached blocks. */
static void ask_for_grants(struct server *s, uint32_t client)
{
	for (uint32_t i = 0; i < s->n_views; i++) {
		struct tarn__lane_area *a = tarn__view_area(s, &s->view[i]);

		if (client != NIL && s->st.lane[s->view[i].lane].client != client)
			continue;
		tarn__store_release(&a->signs.notice, a->signs.notice + 1);
		s->view[i].wake = true;
	}
}

static void pending_over(struct state *st, struct lane *l)
{
	SET(st, l->wanted, 0);
	SET(st, st->head->n_pending, st->head->n_pending - 1);
}

/* A lane has one request pending at most: a newer one takes its place. The older was made
 * ahead of need, or its caller has given up. */
static void supersede(struct server *s, struct lane_view *v)
{
	struct lane *l = &s->st.lane[v->lane];
	struct wish old = { l->wanted, l->wanted_align, l->wanted_header };

	if (l->wanted == 0)
		return;
	answer_refusal(s, v, &old, -ENOMEM);
	pending_over(&s->st, l);
}

void tarn__grant_request(struct server *s, struct lane_view *v, const struct tarn__slot *slot)
{
	struct state *st = &s->st;
	struct lane *l = &st->lane[v->lane];
	struct wish wish = { slot->word[1], slot->word[2], slot->word[0] };
	uint64_t wait = slot->word[3] < WAIT_MOST_NS ? slot->word[3] : WAIT_MOST_NS;

	if (wish.align == 0)
		wish.align = 1;
	if (wish.bytes == 0 || wish.bytes > st->head->arena_bytes ||
	    !tarn__is_power_of_two(wish.align) || wish.align > st->head->arena_bytes) {
		answer_refusal(s, v, &wish, -EINVAL);
		return;
	}
	int r = grant_some(s, v, &wish);
	if (r > 0)
		return;
	tarn__rollback(s);
	if (wait == 0) {
		/* Made ahead of need: whoever really needs it asks again, and waits. */
		answer_refusal(s, v, &wish, r == -EAGAIN ? -ENOMEM : r);
		return;
	}
	supersede(s, v);
	SET(st, l->wanted, wish.bytes);
	SET(st, l->wanted_header, wish.header);
	SET(st, l->wanted_align, wish.align);
	SET(st, l->wanted_until, tarn__now() + (wait > COLLECT_NS ? wait : COLLECT_NS));
	SET(st, st->head->n_pending, st->head->n_pending + 1);
	if (r != -EAGAIN)
		ask_for_grants(s, r == -EDQUOT ? l->client : NIL);
}

/* The heap's own work towards a request, a few bounded steps at a time. */
static void gather(struct state *st, const struct wish *wish)
{
	for (unsigned steps = 0; steps < 64; steps++)
		if (!tarn__heap_reclaim(st, wish->bytes, wish->align))
			break;
}

void tarn__grants_retry(struct server *s)
{
	struct state *st = &s->st;
	uint64_t now = tarn__now();
	bool ask_again = now >= s->asked_ns + ASK_NS; /* what was cached since */

	if (ask_again)
		s->asked_ns = now;
	for (uint32_t i = 0; i < s->n_views && st->head->n_pending != 0; i++) {
		struct lane_view *v = &s->view[i];
		struct lane *l = &st->lane[v->lane];

		if (l->wanted == 0 || v->stopped)
			continue;
		struct wish wish = { l->wanted, l->wanted_align, l->wanted_header };
		int r = st->client[l->client].state == CLIENT_EVICTED ? -TARN_EEVICTED
								      : grant_some(s, v, &wish);

		if (r <= 0) {
			tarn__rollback(s);
			if (r == -EAGAIN)
				gather(st, &wish); /* memory may come of it at the next try */
			else if (ask_again && r != -TARN_EEVICTED)
				ask_for_grants(s, r == -EDQUOT ? l->client : NIL);
			if ((now < l->wanted_until || tarn__prefault_busy(s->prefault)) &&
			    r != -TARN_EEVICTED)
				continue;
			answer_refusal(s, v, &wish, r == -EAGAIN ? -ENOMEM : r);
		}
		pending_over(st, l);
		tarn__commit(s);
	}
}
