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
#define BATCH_MOST 64u
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
}

/* Grants up to as many as were asked for; how many, or the reason of the first failure. */
static int grant_some(struct server *s, struct lane_view *v, const struct wish *wish)
{
	struct state *st = &s->st;
	uint32_t client = st->lane[v->lane].client;
	struct client *cl = &st->client[client];
	unsigned asked = tarn__header_count(wish->header), granted = 0;
	unsigned unput = 0; /* ids in word that are not in a reply yet */
	uint64_t word[7] = { 0 };
	int r = 0;

	asked = asked == 0 ? 1 : asked > BATCH_MOST ? BATCH_MOST : asked;
	while (granted < asked && st->head->undo.n < UNDO_ENOUGH) {
		uint32_t index;

		if (cl->quota != 0 && cl->owned_bytes + wish->bytes > cl->quota) {
			r = -EDQUOT;
			break;
		}
		r = tarn__heap_alloc(st, wish->bytes, wish->align, &index);
		if (r < 0)
			break;
		tarn__object_grant(st, &st->object[index], client);
		tarn__touch(s, index);
		word[1 + unput++] = st->object[index].id;
		granted++;
		if (unput == TARN__GRANTS_PER_SLOT && granted < asked &&
		    st->head->undo.n < UNDO_ENOUGH) {
			word[0] = tarn__reply(TARN__MSG_ALLOC, TARN__GRANTS_PER_SLOT, 0,
					      tarn__header_cookie(wish->header));
			tarn__reply_put(s, v, word);
			unput = 0;
		}
	}
	if (granted == 0)
		return r;
	/* If nothing could be granted behind a full slot the last one is empty. */
	word[0] = tarn__reply(TARN__MSG_ALLOC, unput | TARN__REPLY_LAST, 0,
			      tarn__header_cookie(wish->header));
	tarn__reply_put(s, v, word);
	return (int)granted;
}

/* Asks a client, or all (NIL), for their cached blocks. */
static void ask_for_grants(struct server *s, uint32_t client)
{
	for (uint32_t i = 0; i < s->n_views; i++) {
		struct tarn__lane_area *a = tarn__view_area(s, &s->view[i]);

		if (client != NIL && s->st.lane[s->view[i].lane].client != client)
			continue;
		tarn__store_release(&a->server.notice, a->server.notice + 1);
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
