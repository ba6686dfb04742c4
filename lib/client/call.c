/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that are waited for: building the message, waiting, understanding the reply.
 *
 * The lean path, few small arguments and a small result, is tarn_call_n() from top to bottom:
 * words go from the builder to the stack, from there into the ring, from the reply ring into
 * the lane and into the parcel. Nothing is allocated or locked.
 */
#include "call.h"

#include <string.h>

#include "lib/probe.h"
#include "lib/value/fault.h"
#include "pending.h"

/* ---- messages with values ---- */

/* The bytes of a payload that fits no message, in a block. */
static int spill(struct tarn__lane *l, const struct tarn__payload *p, struct tarn_block **ret)
{
	uint64_t bytes = (uint64_t)p->n_words * 8;
	struct tarn_block *b;
	int r = tarn__cache_get(l, bytes, TARN__LINE, 0, TARN__HUNG_NS, &b);

	if (r < 0)
		return r;
	memcpy(b->data, p->words, bytes);
	*ret = b;
	return 0;
}

/* A reference's two words; whatever it is, others may be told of it from here on. */
static int name_ref(struct tarn__lane *l, struct tarn_block *b, uint64_t *ret)
{
	int r;

	if (tarn__unlikely(b->client != l->client))
		return tarn__fail(-EXDEV, "What is called and what an argument refers to belong to "
				  "different clients.");
	if (tarn__unlikely(tarn__refs(b) & REF_SLICE))
		return tarn__fail(-EINVAL, "A slice cannot travel in a value: send its block, and the "
				  "range as numbers.");
	r = tarn__handle_share(l, b);
	if (r < 0)
		return r;
	ret[0] = b->id;
	ret[1] = tarn__refs(b) & (REF_OBJECT | REF_CHANNEL)
			 ? 0 : tarn__ref_word(tarn__load_relaxed(&b->size),
					      (tarn__refs(b) & REF_SEALED) != 0);
	return 0;
}

/* The rest of a message with references or much payload. */
static int build_slow(struct tarn__lane *l, struct tarn__message_out *m, const struct tarn__payload *p,
		      uint64_t *ret_packed_words, unsigned *ret_refs, unsigned *ret_n)
{
	bool fits = (uint64_t)p->n_words + 2u * p->n_refs <= TARN__CALL_ROOM;
	uint64_t *at = &m->word[3];
	unsigned refs = p->n_refs;
	int r;

	if (fits) {
		memcpy(at, p->words, (size_t)p->n_words * 8);
		at += p->n_words;
	} else {
		if (p->n_refs >= TARN__CALL_REFS)
			return tarn__fail(-E2BIG, "The values need a block of their own (%llu bytes) and "
					  "refer to %u things; with a block it is at most %u.",
					  (unsigned long long)p->n_words * 8, p->n_refs,
					  TARN__CALL_REFS - 1);
		r = spill(l, p, &m->spill);
		if (r < 0)
			return r;
		*at++ = (uint64_t)p->n_words * 8;
		r = name_ref(l, m->spill, at);
		if (r < 0)
			goto fail;
		at += 2;
		refs++;
	}
	for (unsigned i = 0; i < p->n_refs; i++, at += 2) {
		r = name_ref(l, p->refs[i], at);
		if (r < 0)
			goto fail;
	}
	*ret_packed_words = fits ? p->n_words : 0;
	*ret_refs = refs;
	*ret_n = (unsigned)(at - m->word);
	return 0;
fail:
	tarn__message_done(l, m);
	return r;
}

int tarn__message_build(struct tarn__lane *l, struct tarn__message_out *m, enum tarn__message kind,
			unsigned count, uint64_t target, unsigned method, unsigned flags,
			unsigned reply_slots, const struct tarn__payload *p)
{
	unsigned n = 3 + p->n_words, refs = 0;
	uint64_t words = p->n_words;

	m->spill = NULL;
	if (tarn__likely(p->n_refs == 0 && p->n_words <= 32)) {
		for (uint32_t i = 0; i < p->n_words; i++)
			m->word[3 + i] = p->words[i];
	} else {
		int r = build_slow(l, m, p, &words, &refs, &n);

		if (r < 0)
			return r;
		if (m->spill != NULL)
			flags |= TARN__CALL_SPILLED;
	}
	m->slots = (n + 6) / 7;
	m->word[0] = tarn__header(kind, m->slots, count, 0);
	m->word[1] = target;
	m->word[2] = tarn__pack(method, p->n_values, refs, flags, reply_slots, (unsigned)words);
	for (unsigned end = 7 * m->slots; n < end; n++)
		m->word[n] = 0;
	return 0;
}

/* CALL has the block of a spilled payload in its table, so its units are booked before this
 * RELEASE counts. */
void tarn__message_done(struct tarn__lane *l, struct tarn__message_out *m)
{
	if (tarn__unlikely(m->spill != NULL)) {
		tarn__handle_put(l, m->spill);
		m->spill = NULL;
	}
}

int tarn__message_send(struct tarn__lane *l, enum tarn__message kind, unsigned count,
		       uint64_t target, unsigned method, unsigned flags,
		       const struct tarn__payload *p, uint64_t deadline)
{
	struct tarn__message_out m;
	int r = tarn__message_build(l, &m, kind, count, target, method, flags, 0, p);

	if (r < 0)
		return r;
	r = tarn__lane_prepare(l, m.slots, 0, deadline);
	if (r == 0) {
		tarn__to_server(l->client);
		tarn__lane_post_silent(l, m.word, m.slots);
		tarn__lane_ring(l);
	}
	tarn__message_done(l, &m);
	return r;
}

/* ---- replies ---- */

struct reply {
	int error;
	unsigned n_values, n_refs, n_words;
	const uint64_t *words;      /* NULL: in the first reference */
	uint64_t bytes;             /* of the payload there */
	const uint64_t *refs;
	uint64_t more;              /* not 0: the references are to be fetched under this number */
};

/* Takes a reply apart; false: it does not hold together. */
static bool parse(const uint64_t *word, unsigned n, struct reply *ret)
{
	uint64_t packed = word[1];

	if (tarn__unlikely((tarn__pack_flags(packed) & TARN__CALL_MORE) != 0)) {
		*ret = (struct reply){ .error = -(int)tarn__header_count(word[0]),
				       .n_values = tarn__pack_values(packed),
				       .n_refs = tarn__pack_refs(packed),
				       .words = word[3] == 0 ? word + 4 : NULL,
				       .bytes = word[3], .more = word[2] };
		return ret->more != 0 && ret->n_refs != 0 && ret->n_refs <= TARN__CALL_REFS + 1;
	}
	bool spilled = (tarn__pack_flags(packed) & TARN__CALL_SPILLED) != 0;
	unsigned at = spilled ? 3 : 2 + tarn__pack_words(packed);

	ret->error = -(int)tarn__header_count(word[0]);
	ret->n_values = tarn__pack_values(packed);
	ret->n_refs = tarn__pack_refs(packed);
	ret->n_words = spilled ? 0 : tarn__pack_words(packed);
	ret->words = spilled ? NULL : word + 2;
	ret->bytes = spilled ? word[2] : 0;
	ret->refs = word + at;
	ret->more = 0;
	return at + 2 * ret->n_refs <= n && (!spilled || ret->n_refs > 0) &&
	       ret->n_refs <= TARN__CALL_REFS + 1;
}

/* The values of a reply as a parcel; its references are handles already, and taken over. */
static int make_parcel(struct tarn__lane *l, const struct reply *a, struct tarn_block **ref,
		       tarn_parcel *ret)
{
	struct tarn_block *holder;
	int r;

	if (tarn__likely(a->words != NULL)) {
		r = tarn__parcel_set(ret, a->words, a->n_words, a->n_values, ref, a->n_refs);
		if (r < 0)
			for (unsigned i = 0; i < a->n_refs; i++)
				tarn__handle_put(l, ref[i]);
		return r;
	}
	holder = ref[0];
	if ((tarn__refs(holder) & (REF_OBJECT | REF_CHANNEL)) || a->bytes > holder->size ||
	    a->bytes / 8 > UINT32_MAX)
		r = tarn__fail(-TARN_EPROTO, "The server's reply does not hold together.");
	else
		r = tarn__parcel_set_block(ret, holder, (const uint64_t *)(void *)holder->data,
					   (uint32_t)(a->bytes / 8), a->n_values, ref + 1,
					   a->n_refs - 1);
	if (r < 0)
		for (unsigned i = 0; i < a->n_refs; i++)
			tarn__handle_put(l, ref[i]);
	return r;
}

/* The failure that a reply tells: a fault of the method's, or the machinery's sentence. */
static int fail_reply(const struct reply *a, const tarn_parcel *p)
{
	tarn_value v = tarn_parcel_at(p, 0);
	const char *sentence;
	tarn_fault *fault;

	if (a->error == -TARN_EREMOTE && tarn_value_error(v, &fault) == 0)
		return tarn__fail_fault(fault);
	if (tarn_value_kind(v) == TARN_KIND_STRING && tarn_value_string(v, &sentence, NULL) == 0)
		return tarn__fail(a->error, "%s", sentence);
	return tarn__fail(a->error, "The server refused: %s.", tarn_error_text(a->error));
}

static int ask(struct tarn__lane *l, struct tarn__message_out *m, unsigned reply_slots,
	       int64_t timeout_ns);

/* The message that asks for all references of a reply. */
static void build_fetch(struct tarn__message_out *m, uint64_t number)
{
	m->spill = NULL;
	m->slots = 1;
	m->word[0] = tarn__header(TARN__MSG_FETCH, 1, 0, 0);
	m->word[1] = number;
	m->word[2] = tarn__pack(0, 0, 0, 0, TARN__REPLY_SLOTS, 0);
	memset(&m->word[3], 0, 4 * sizeof m->word[0]);
}

/* Gets them: they fit into one answer of the most slots. */
static int fetch(struct tarn__lane *l, const struct reply *a, uint64_t refs[2 * (TARN__CALL_REFS + 1)])
{
	uint64_t word[TARN__REPLY_WORDS];
	struct tarn__message_out m;
	struct reply got;
	int r;

	build_fetch(&m, a->more);
	r = ask(l, &m, TARN__REPLY_SLOTS, TARN_FOREVER);
	if (r < 0)
		return r;
	memcpy(word, l->answer.word, 7 * sizeof *word);
	memcpy(word + 7, l->more, l->n_more * sizeof *word);
	if (!parse(word, 7 + l->n_more, &got) || got.error != 0 || got.n_refs != a->n_refs)
		return tarn__fail(-TARN_EPROTO, "The server's reply does not hold together.");
	memcpy(refs, got.refs, 2 * sizeof *refs * got.n_refs);
	return 0;
}

static int read_slow(struct tarn__lane *l, const struct reply *reply, tarn_parcel *ret)
{
	uint64_t fetched[2 * (TARN__CALL_REFS + 1)];
	struct tarn_block *ref[TARN__CALL_REFS + 1];
	struct reply with = *reply, *a = &with;
	tarn_parcel p;
	int r;

	if (tarn__unlikely(a->more != 0)) {
		r = fetch(l, a, fetched);
		if (r < 0)
			return r;
		a->refs = fetched;
	}
	if (a->error == 0 && ret == NULL) {
		tarn__refs_drop(l, a->refs, a->n_refs);
		return 0;
	}
	r = tarn__refs_adopt(l, a->refs, a->n_refs, ref);
	if (r == 0)
		r = make_parcel(l, a, ref, a->error == 0 ? ret : &p);
	if (r < 0 || a->error == 0)
		return r;
	r = fail_reply(a, &p);
	tarn_parcel_fini(&p); /* its drops go to the backlog */
	return r;
}

int tarn__reply_read(struct tarn__lane *l, const uint64_t *word, unsigned n, tarn_parcel *ret)
{
	struct reply a;

	if (tarn__unlikely(n < 7 || !parse(word, n, &a)))
		return tarn__fail(-TARN_EPROTO, "The server's reply does not hold together.");
	tarn__from_server(l->client);
	if (tarn__likely(a.error == 0 && a.n_refs == 0)) {
		if (ret == NULL)
			return 0;
		return tarn__parcel_set(ret, a.words, a.n_words, a.n_values, NULL, 0);
	}
	return read_slow(l, &a, ret);
}

int tarn__reply_awaited(struct tarn__lane *l, tarn_parcel *ret)
{
	uint64_t word[TARN__REPLY_WORDS];

	/* It is the lane's own copy, and nothing is asked before it was used. */
	if (tarn__likely(l->n_more == 0) && tarn__likely(tarn__reply_short(l, l->answer.word, ret)))
		return 0;
	/* Copied, since making handles may have to ask again. */
	memcpy(word, l->answer.word, 7 * sizeof *word);
	memcpy(word + 7, l->more, l->n_more * sizeof *word);
	return tarn__reply_read(l, word, 7 + l->n_more, ret);
}

void tarn__reply_drop(struct tarn__lane *l, const uint64_t *word, unsigned n)
{
	struct reply a;

	if (n < 7 || !parse(word, n, &a))
		return;
	if (tarn__likely(a.more == 0)) {
		tarn__refs_drop(l, a.refs, a.n_refs);
		return;
	}
	/* Asked for, to be dropped when they come: nobody waits for that answer. */
	struct tarn__message_out m;

	if (l->outstanding + TARN__REPLY_SLOTS > TARN__REPLIES ||
	    tarn__requests_room(&l->requests, 1) == 0)
		return; /* the claims stay until this process ends */
	build_fetch(&m, a.more);
	tarn__lane_post_ask(l, m.word, 1, TARN__REPLY_SLOTS, 0);
	tarn__lane_ring(l);
}

/* ---- waiting ---- */

void tarn__call_cancel(struct tarn__lane *l, uint32_t cookie)
{
	if (tarn__requests_room(&l->requests, 1) == 0)
		return; /* it goes on; its reply is given back when it comes */
	tarn__lane_post(l, tarn__header(TARN__MSG_CANCEL, 1, 0, 0), cookie, 0, 0, 0, 0, 0);
	tarn__lane_ring(l);
}

/* The wait ended without a reply. */
static int fail_wait(struct tarn__lane *l, int r, int64_t timeout_ns)
{
	uint32_t cookie = l->awaited;

	l->awaited = 0;
	if (r != -ETIMEDOUT)
		return r;
	tarn__call_cancel(l, cookie);
	r = tarn__client_health(l->client, l);
	return r < 0 ? r : tarn__fail(-ETIMEDOUT, "There was no answer within %.3f s; the call was "
				      "cancelled, but it may have run.", (double)timeout_ns * 1e-9);
}

/* Posts @m, which asks for a reply, and waits for it. */
static int ask(struct tarn__lane *l, struct tarn__message_out *m, unsigned reply_slots,
	       int64_t timeout_ns)
{
	uint64_t began = tarn__unlikely(tarn__lane_times_call(l)) ? tarn__now() : 0;
	int r;

	if (tarn__unlikely(tarn__pending_queued(l)))
		r = tarn__pending_flush(l, tarn__deadline(timeout_ns)); /* in order */
	else
		r = 0;
	/* Also who does not want to wait for the answer waits for a place to ask. */
	if (r == 0)
		r = tarn__lane_prepare(l, m->slots, reply_slots, UINT64_MAX);
	if (r < 0)
		return r;
	l->answered = false;
	tarn__to_server(l->client);
	l->awaited = tarn__lane_post_ask(l, m->word, m->slots, reply_slots, 0);
	tarn__lane_ring(l);
	r = tarn__lane_await(l, timeout_ns);
	if (tarn__unlikely(began != 0) && r == 0)
		tarn__lane_note_wait(l, tarn__header_kind(m->word[0]), tarn__now() - began);
	return tarn__likely(r == 0) ? 0 : fail_wait(l, r, timeout_ns);
}

/* The lean path: a message and a reply of one slot each, nothing else to do on the way. */
static inline bool is_short(struct tarn__lane *l, const struct tarn__payload *p)
{
	return tarn__likely(p->n_refs == 0 && p->n_words <= TARN__SHORT_ARGS && !tarn__pending_queued(l) &&
			    !tarn__lane_times_call(l)) &&
	       tarn__lane_clear(l, TARN__SYNC_REPLY);
}

/* Posts it and polls for a while. True: the next reply is its, and in @word: each is read once, where it lies.
 * It is still in the ring. False: it is late, or somebody else's. */
static inline bool ask_short(struct tarn__lane *l, enum tarn__message kind, uint64_t target,
			     unsigned method, const struct tarn__payload *p, uint64_t word[7],
			     uint32_t *ret_cookie)
{
	tarn__to_server(l->client);
	*ret_cookie = tarn__lane_post_call(l, kind, target, method, TARN__SYNC_REPLY, 0, p->words,
					   p->n_words, p->n_values);
	tarn__lane_knock(l);
	/* Also who does not spin looks: a server that was woken on this CPU has often answered, and sleeps
	 * again, before the bell returns. */
	return tarn__likely(tarn__reply_poll(l, word)) &&
	       tarn__likely(tarn__header_cookie(word[0]) == *ret_cookie &&
			    tarn__header_kind(word[0]) == kind);
}

static inline void taken_short(struct tarn__lane *l)
{
	l->replies.next++;
	l->outstanding -= TARN__SYNC_REPLY;
	tarn__spin_paid(&l->spin);
}

/* What ask_short() posted is answered late, or not so simply. */
static int await_late(struct tarn__lane *l, uint32_t cookie, int64_t timeout_ns)
{
	l->answered = false;
	l->awaited = cookie;
	int r = tarn__lane_await(l, timeout_ns);

	return tarn__likely(r == 0) ? 0 : fail_wait(l, r, timeout_ns);
}

static int run_short(struct tarn__lane *l, uint64_t target, unsigned method,
		     const struct tarn__payload *p, tarn_parcel *ret, int64_t timeout_ns)
{
	uint64_t word[7];
	uint32_t cookie;

	if (tarn__likely(ask_short(l, TARN__MSG_CALL, target, method, p, word, &cookie)) &&
	    tarn__likely(tarn__reply_short(l, word, ret))) {
		taken_short(l);
		return 0;
	}
	int r = await_late(l, cookie, timeout_ns);

	return tarn__likely(r == 0) ? tarn__reply_awaited(l, ret) : r;
}

static int run(struct tarn__lane *l, enum tarn__message kind, uint64_t target, unsigned method,
	       const struct tarn__payload *p, tarn_parcel *ret, int64_t timeout_ns)
{
	struct tarn__message_out m;
	int r = tarn__message_build(l, &m, kind, 0, target, method, 0, TARN__SYNC_REPLY, p);

	if (r < 0)
		return r;
	r = ask(l, &m, TARN__SYNC_REPLY, timeout_ns);
	tarn__message_done(l, &m);
	return r < 0 ? r : tarn__reply_awaited(l, ret);
}

int tarn__ask_type(struct tarn__lane *l, const char *name, uint32_t index, tarn_parcel *ret)
{
	size_t n = name != NULL ? strlen(name) : 0;
	struct tarn__message_out m = { .slots = 1 };
	int r;

	if (name != NULL && (n == 0 || n >= TARN__NAME_BYTES))
		return tarn__fail(-TARN_ENOTYPE, "A type's name has 1 to %u bytes, this one has %zu.",
				  TARN__NAME_BYTES - 1, n);
	m.word[0] = tarn__header(TARN__MSG_TYPE, 1, (unsigned)n, 0);
	m.word[1] = name != NULL ? TARN__TYPE_BY_NAME : index;
	m.word[2] = TARN__SYNC_REPLY;
	if (n != 0)
		memcpy(&m.word[3], name, n);
	m.slots = (unsigned)(3 + (n + 7) / 8 + 6) / 7;
	r = ask(l, &m, TARN__SYNC_REPLY, TARN_FOREVER);
	return r < 0 ? r : tarn__reply_awaited(l, ret);
}

/* ---- public ---- */

static int check_number(unsigned number)
{
	return number <= TARN__METHOD_DESCRIBE
		       ? 0
		       : tarn__fail(-TARN_ENOMETHOD, "No type has a method %u.", number);
}

static bool runs_here(const struct tarn_client *c)
{
	return tarn__unlikely(c->direct != NULL) && c->direct->mine(c);
}

int tarn_call_n(tarn_object *object, unsigned number, const tarn_builder *args,
		tarn_parcel *ret_result, int64_t timeout_ns)
{
	struct tarn_client *c = object->base.client;
	struct tarn__payload p;
	struct tarn__lane *l;
	int r = tarn__args_payload(args, &p);

	if (tarn__unlikely(r < 0) || tarn__unlikely((r = check_number(number)) < 0))
		return r;
	if (runs_here(c) && c->direct->runs(object))
		return c->direct->call(object, number, args, ret_result, timeout_ns);
	r = tarn__lane_enter(c, &l);
	if (tarn__unlikely(r < 0))
		return r;
	TARN__PROBE_CALL_BEGIN(object->base.id, number, (void *)NULL);
	if (tarn__likely(is_short(l, &p)))
		r = run_short(l, object->base.id, number, &p, ret_result, timeout_ns);
	else
		r = run(l, TARN__MSG_CALL, object->base.id, number, &p, ret_result, timeout_ns);
	TARN__PROBE_CALL_END((void *)NULL, r);
	tarn__lane_leave(l);
	return r;
}

int tarn_method_find(tarn_object *object, const char *method, unsigned *ret_number)
{
	const struct tarn__type *t;
	struct tarn__lane *l;
	int r = tarn__lane_enter(object->base.client, &l);

	if (r < 0)
		return r;
	r = tarn__type_of(l, object, &t);
	if (r == 0)
		r = tarn__type_method(t, method);
	tarn__lane_leave(l);
	if (r < 0)
		return r;
	*ret_number = (unsigned)r;
	return 0;
}

int tarn_call(tarn_object *object, const char *method, const tarn_builder *args,
	      tarn_parcel *ret_result, int64_t timeout_ns)
{
	unsigned number = 0;
	int r = tarn_method_find(object, method, &number);

	return r < 0 ? r : tarn_call_n(object, number, args, ret_result, timeout_ns);
}

int tarn_cast_n(tarn_object *object, unsigned number, const tarn_builder *args)
{
	struct tarn__payload p;
	struct tarn__lane *l;
	int r = tarn__args_payload(args, &p);

	if (r == 0)
		r = check_number(number);
	if (r == 0)
		r = tarn__lane_enter(object->base.client, &l);
	if (r < 0)
		return r;
	if (tarn__likely(p.n_refs == 0 && p.n_words <= TARN__SHORT_ARGS && !tarn__pending_queued(l) &&
			 tarn__lane_clear(l, 0))) {
		tarn__to_server(l->client);
		tarn__lane_post_call(l, TARN__MSG_CALL, object->base.id, number, 0, 0, p.words, p.n_words,
				     p.n_values);
		tarn__lane_knock(l);
		tarn__lane_leave(l);
		return 0;
	}
	r = tarn__pending_queued(l)
		    ? tarn__pending_post(l, object, number, TARN__CALL_ONEWAY, &p, NULL)
		    : tarn__message_send(l, TARN__MSG_CALL, 0, object->base.id, number,
					 TARN__CALL_ONEWAY, &p, UINT64_MAX);
	tarn__lane_leave(l);
	return r;
}

int tarn_cast(tarn_object *object, const char *method, const tarn_builder *args)
{
	unsigned number = 0;
	int r = tarn_method_find(object, method, &number);

	return r < 0 ? r : tarn_cast_n(object, number, args);
}

/* ---- making ---- */

/* The object that a reply refers to, which is booked on this client. */
static int adopt(struct tarn__lane *l, const uint64_t ref[2], const struct tarn__type *t, tarn_object **ret)
{
	int r = tarn__hold_take(l);

	if (tarn__unlikely(r < 0)) {
		tarn__refs_drop(l, ref, 1);
		return r;
	}
	return tarn__object_adopt(l, ref[0], t, ret);
}

/* The reply's first reference is the object. */
static int take_object(struct tarn__lane *l, const struct tarn__type *t, tarn_object **ret)
{
	uint64_t word[TARN__REPLY_WORDS];
	unsigned n = 7 + l->n_more;
	struct reply a;

	memcpy(word, l->answer.word, 7 * sizeof *word);
	memcpy(word + 7, l->more, l->n_more * sizeof *word);
	if (!parse(word, n, &a) || (a.error == 0 && (a.n_refs != 1 || a.refs == NULL)))
		return tarn__fail(-TARN_EPROTO, "The server's reply does not hold together.");
	if (a.error != 0)
		return tarn__reply_read(l, word, n, NULL);
	return adopt(l, a.refs, t, ret);
}

/* The reply is a success of one slot: the value, whose two words say no more, then the reference. */
static inline bool is_object(const uint64_t word[7])
{
	return tarn__header_count(word[0]) == 0 && tarn__header_slots(word[0]) == 1 &&
	       word[1] == tarn__pack(0, 1, 1, 0, 0, TARN__SLOT_WORDS);
}

static int create_short(struct tarn__lane *l, const struct tarn__type *t, const struct tarn__payload *p,
			tarn_object **ret)
{
	uint64_t word[7];
	uint32_t cookie;

	if (tarn__likely(ask_short(l, TARN__MSG_CREATE, t->index, 0, p, word, &cookie)) &&
	    tarn__likely(is_object(word))) {
		taken_short(l);
		tarn__from_server(l->client);
		return adopt(l, &word[2 + TARN__SLOT_WORDS], t, ret);
	}
	int r = await_late(l, cookie, TARN_FOREVER);

	return r < 0 ? r : take_object(l, t, ret);
}

static int create(struct tarn__lane *l, const char *type, const struct tarn__payload *p,
		  tarn_object **ret)
{
	struct tarn__message_out m;
	const struct tarn__type *t;
	int r = tarn__type_find(l, type, 0, &t);

	if (tarn__likely(r == 0 && is_short(l, p)))
		return create_short(l, t, p, ret);
	if (r == 0)
		r = tarn__message_build(l, &m, TARN__MSG_CREATE, 0, t->index, 0, 0,
					TARN__SYNC_REPLY, p);
	if (r < 0)
		return r;
	r = ask(l, &m, TARN__SYNC_REPLY, TARN_FOREVER);
	tarn__message_done(l, &m);
	return r < 0 ? r : take_object(l, t, ret);
}

int tarn_object_new(tarn_client *client, const char *type, const tarn_builder *args,
		    tarn_object **ret_object)
{
	struct tarn__payload p;
	struct tarn__lane *l;
	int r = type != NULL ? tarn__args_payload(args, &p)
			     : tarn__fail(-EINVAL, "The name of a type is missing.");

	if (r == 0 && runs_here(client) &&
	    (r = client->direct->create(client, type, args, ret_object)) != -ENOTSUP)
		return r;
	if (r == 0 || r == -ENOTSUP)
		r = tarn__lane_enter(client, &l);
	if (r < 0)
		return r;
	r = create(l, type, &p, ret_object);
	tarn__lane_leave(l);
	return r;
}

int tarn_object_newf(tarn_client *client, const char *type, tarn_object **ret_object,
		     const char *args, ...)
{
	tarn_builder b;
	va_list v;
	int r;

	va_start(v, args);
	tarn_builder_init(&b);
	r = args != NULL ? tarn__put_v(&b, args, v) : 0;
	if (r == 0)
		r = tarn_object_new(client, type, &b, ret_object);
	tarn_builder_fini(&b);
	va_end(v);
	return r;
}
