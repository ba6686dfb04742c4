/* SPDX-License-Identifier: Apache-2.0 */
/* What the hostile post: messages of all kinds, well formed or nearly. */
#include <string.h>

#include "args.h"
#include "fuzzed-types.h"
#include "lib/server/ledger.h"
#include "lib/server/things.h"
#include "lib/types/types.h"
#include "play.h"
#include "shm/topic.h"

#define MESSAGE_WORDS (7u * TARN__MESSAGE_SLOTS)

/* ---- words ---- */

uint64_t play_word(struct play *p)
{
	unsigned how = take8(&p->in), low = how >> 4;

	switch (how & 15) {
	case 0:
	case 1:
		return p->own[low % OWN];
	case 2:
		return p->own[(16 + low) % OWN];
	case 3:
		return low < BLOCKS ? p->block[low] : p->object;
	case 4:
		return low & 1 ? p->ring : p->bad_ring;
	case 5:
		return p->block[low % BLOCKS] + (1ull << 28);
	case 6:
		return p->own[low % OWN] - (1ull << 28);
	case 7:
		return take64(&p->in);
	case 8:
		return UINT64_MAX - low;
	case 9:
		return take16(&p->in);
	case 10:
		return 1ull << (take8(&p->in) & 63);
	case 11:
		return p->told[low % TOLD];
	case 12:
		return p->told[(16 + low) % TOLD];
	default:
		return low;
	}
}

static uint64_t any_word(void *arg)
{
	return play_word(arg);
}

uint64_t play_own(struct play *p, enum tarn__kind kind)
{
	unsigned from = take8(&p->in);

	if (from >= 0xf0)
		return kind == TARN__KIND_OBJECT ? p->object : p->block[from % BLOCKS];
	for (unsigned k = 0; k < OWN; k++) {
		uint64_t id = p->own[(from + k) % OWN];
		const struct object *o = tarn__object_find(&p->s->st, id);

		if (o != NULL && object_kind(o) == kind)
			return id;
	}
	return play_word(p);
}

static uint64_t own_ref(void *arg, unsigned kind, uint64_t *ret_word)
{
	struct play *p = arg;
	uint64_t id = play_own(p, kind == TARN_KIND_BLOCK    ? TARN__KIND_BLOCK
				  : kind == TARN_KIND_OBJECT ? TARN__KIND_OBJECT
							     : TARN__KIND_CHANNEL);
	const struct object *o = tarn__object_find(&p->s->st, id);

	*ret_word = o != NULL && object_kind(o) == TARN__KIND_BLOCK ? tarn__ref_word(o->size, false)
								    : 0;
	return id;
}

static struct args args_of(struct play *p)
{
	return (struct args){ .in = &p->in, .ref = own_ref, .word = any_word, .arg = p };
}

/* ---- messages ---- */

/* Room or not: a hostile one does not ask. Now and then a bit is wrong, or the length. */
static void send(struct play *p, struct bad *b, uint64_t word[MESSAGE_WORDS],
		 enum tarn__message kind, unsigned n, unsigned count)
{
	unsigned slots = n <= 7 ? 1 : (n + 6) / 7, how = take8(&p->in);

	if (slots > TARN__MESSAGE_SLOTS)
		slots = TARN__MESSAGE_SLOTS;
	word[0] = tarn__header(kind, slots, count, how & 7);
	if (how >= 0xf0)
		word[take8(&p->in) % (7 * slots)] ^= 1ull << (take8(&p->in) & 63);
	tarn__requests_post_long(&b->lane.requests, (const uint64_t(*)[7])word, slots);
}

static void post_raw(struct play *p, struct bad *b)
{
	uint64_t word[MESSAGE_WORDS] = { 0 };
	unsigned kind = take8(&p->in) % (TARN__MSG_KINDS + 2), slots = 1 + (take8(&p->in) & 3);
	unsigned count = take8(&p->in) % 80;

	if (slots == 4)
		slots = 1;
	for (unsigned k = 1; k < 7; k++)
		word[k] = play_word(p);
	for (unsigned k = 7; k < 7 * slots; k++)
		word[k] = take64(&p->in);
	send(p, b, word, (enum tarn__message)kind, 7 * slots, count);
}

/* Slots for the reply, and flags. */
static unsigned reply_room(struct play *p, unsigned *ret_flags)
{
	static const uint8_t slots[] = { 1, 1, 2, 4, 16, 32, 0, 0 };
	unsigned n = slots[take8(&p->in) & 7];

	*ret_flags = n == 0 ? TARN__CALL_ONEWAY : 0;
	return n;
}

static void post_values(struct play *p, struct bad *b, enum tarn__message kind, uint64_t first,
			unsigned method, const struct args *a)
{
	uint64_t word[MESSAGE_WORDS + 2 * ARGS_TOP] = { 0 };
	unsigned flags, slots = reply_room(p, &flags), n = args_words(a, word + 3);

	memcpy(word + 3 + n, a->refs, 16ull * a->n_refs);
	word[1] = first;
	word[2] = tarn__pack(method, a->n, a->n_refs, flags, slots, n);
	send(p, b, word, kind, 3 + n + 2 * a->n_refs, 0);
}

/* The values lie in a block of its own, which it may write to at any time. */
static void post_spilled(struct play *p, struct bad *b, uint64_t id, unsigned method,
			 struct args *a)
{
	uint64_t word[MESSAGE_WORDS] = { 0 }, values[2 * ARGS_TOP + ARGS_HEAP], size;
	unsigned flags, slots = reply_room(p, &flags), n = args_words(a, values);
	uint64_t block = own_ref(p, TARN_KIND_BLOCK, &size);
	const struct object *o = tarn__object_find(&p->s->st, block);

	if (o != NULL && object_kind(o) == TARN__KIND_BLOCK && o->size >= 8ull * n)
		memcpy(p->s->st.data.base + o->offset, values, 8ull * n);
	word[1] = id;
	word[2] = tarn__pack(method, a->n, a->n_refs + 1, flags | TARN__CALL_SPILLED, slots, 0);
	word[3] = 8ull * n + (take8(&p->in) == 0);
	word[4] = block;
	word[5] = size;
	memcpy(word + 6, a->refs, 16ull * a->n_refs);
	send(p, b, word, TARN__MSG_CALL, 6 + 2 * a->n_refs, 0);
}

static const struct tarn__served *type_of(const struct play *p, uint64_t id)
{
	const struct object *o = tarn__object_find(&p->s->st, id);
	const struct thing *t = o != NULL ? tarn__thing_of(&p->s->st, o) : NULL;

	return t != NULL ? &p->s->host->catalog->served[t->type] : NULL;
}

/* The method of @id that the input says; *@ret_signature: what it takes. */
static unsigned some_method(struct play *p, uint64_t id, const char **ret_signature)
{
	const struct tarn__served *t = type_of(p, id);
	unsigned m = take8(&p->in);

	*ret_signature = NULL;
	if (t == NULL || m >= 0xf8)
		return m >= 0xfc ? TARN__METHOD_DESCRIBE : m % 40;
	m %= t->n_offers + (t->n_offers == 0);
	if (m < t->n_offers)
		*ret_signature = t->offer[m].args;
	return m;
}

static void post_call(struct play *p, struct bad *b)
{
	uint64_t id = play_own(p, TARN__KIND_OBJECT);
	const char *signature;
	unsigned method = some_method(p, id, &signature);
	struct args a = args_of(p);

	args_make(&a, signature);
	if (take8(&p->in) >= 0xf0)
		post_spilled(p, b, id, method, &a);
	else
		post_values(p, b, TARN__MSG_CALL, id, method, &a);
}

/* As a user of a queue or topic that is at a slot: it says so there, and calls what such a user calls. */
static void post_as_user(struct play *p, struct bad *b)
{
	uint64_t id = play_own(p, TARN__KIND_OBJECT);
	const struct tarn__served *t = type_of(p, id);
	const struct object *o = tarn__object_find(&p->s->st, id);
	unsigned how = take8(&p->in), state = take8(&p->in);
	uint64_t turn = how & 15;

	if (t == NULL || (t->type != &tarn__type_queue && t->type != &tarn__type_topic)) {
		post_call(p, b);
		return;
	}
	bool queue = t->type == &tarn__type_queue;
	uint32_t stride = queue ? TARN__QUEUE_STRIDE : TARN__TOPIC_STRIDE;
	unsigned char *self = p->s->st.data.base + o->offset + t->header;
	uint64_t ring = queue ? ((struct tarn__queue *)(void *)self)->ring_id
			      : ((struct tarn__topic *)(void *)self)->ring_id;
	const struct object *r = tarn__object_find(&p->s->st, ring);

	if (queue)
		((struct tarn__queue *)(void *)self)->user[0] |= UINT64_C(1) << b->client % 64;
	if (r != NULL && r->size >= stride) {
		struct tarn__queue_slot *slot = (void *)(p->s->st.data.base + r->offset +
							 turn % (r->size / stride) * stride);

		slot->word = tarn__mpmc_word(turn, (enum tarn__mpmc_state)(state & 7), b->client);
		slot->head = tarn__item_head(how >> 4 & 3, 1, how >> 6, 0);
		if (state & 0x40)
			slot->stash = tarn__stash_word(turn, state >> 4 & 3);
	}
	struct args a = args_of(p);

	args_make(&a, how & 0x40 ? "QO*" : "Q");
	if (a.n != 0)
		a.top[1] = turn;
	post_values(p, b, TARN__MSG_CALL, id, (state >> 3) % t->n_offers, &a);
}

static void post_create(struct play *p, struct bad *b)
{
	const struct tarn__catalog *c = p->s->host->catalog;
	uint32_t type = take8(&p->in) % (c->n + 2u);
	struct args a = args_of(p);

	args_make(&a, type != 0 && type < c->n ? c->served[type].type->args : NULL);
	post_values(p, b, TARN__MSG_CREATE, type, 0, &a);
}

/* One of the @n messages that were posted last changes while they are read, perhaps after it was read:
 * to any word, or to one that is nearly what it was. */
static void shake_burst(struct play *p, struct bad *b, unsigned n)
{
	unsigned how = take8(&p->in), at = take8(&p->in) % n, in = take16(&p->in) % (10 * n);
	uint64_t slot = b->lane.requests.tail - 1 - at;
	uint64_t *word = &b->lane.requests.slot[slot % TARN__REQUESTS]
				  .word[how & 8 ? 1 + (how & 1) : (how & 7) % 7];

	if (!(how & 0x80))
		return;
	shaken_note(word,
		    how & 0x40 ? *word ^ (uint64_t)take8(&p->in) << (8 * (how >> 3 & 7))
			       : play_word(p),
		    1 + in);
}

/* Short calls of one object and method, which the server takes many of at a time: some are another's. */
static void burst_of_calls(struct play *p, struct bad *b)
{
	uint64_t id = play_own(p, TARN__KIND_OBJECT), argument = play_word(p);
	unsigned n = 2 + take8(&p->in) % 40, odd = take8(&p->in), how = take8(&p->in);
	const char *signature;
	unsigned method = how < 96    ? FUZZED_PLUS
			  : how < 160 ? FUZZED_ECHO
				      : some_method(p, id, &signature);
	unsigned values = how & 2 ? how >> 5 & 3 : 1, flags = how & 1 ? TARN__CALL_ONEWAY : 0;

	for (unsigned k = 0; k < n; k++) {
		uint64_t word[MESSAGE_WORDS] = { 0 };

		word[1] = k % 16 == odd % 16 && odd < 128 ? play_word(p) : id;
		word[2] = tarn__pack(method, values, 0, flags, flags ? 0 : 1, 2 * values);
		word[3] = tarn__slot_head(TARN_KIND_INT, 0, 0);
		word[4] = argument + k;
		word[5] = tarn__slot_head(TARN_KIND_UINT, 0, 0);
		word[6] = k;
		if (k % 16 == odd % 16 && odd >= 128)
			word[1 + odd % 6] = play_word(p);
		word[0] = tarn__header(TARN__MSG_CALL, 1, 0, k);
		tarn__requests_post_long(&b->lane.requests, (const uint64_t(*)[7])word, 1);
	}
	shake_burst(p, b, n);
	shake_burst(p, b, n);
}

/* Messages of the short way of hot.c. */
static void burst_of_bookings(struct play *p, struct bad *b)
{
	static const enum tarn__message kinds[] = { TARN__MSG_SEND, TARN__MSG_RELEASE,
						    TARN__MSG_RECV, TARN__MSG_ABSORB };
	unsigned n = 2 + take8(&p->in) % 40, how = take8(&p->in), odd = take8(&p->in);
	uint64_t id = play_own(p, TARN__KIND_BLOCK),
		 ring = how & 0x80 ? p->bad_ring : play_own(p, TARN__KIND_CHANNEL);
	const struct object *o = tarn__object_find(&p->s->st, ring);
	const struct channel *ch = o != NULL ? tarn__channel_of(&p->s->st, o) : NULL;
	uint64_t at = ch != NULL ? ch->sent : 0;

	for (unsigned k = 0; k < n; k++) {
		enum tarn__message kind = kinds[how & 0x40 ? (how + k) & 3 : how & 3];
		uint64_t word[MESSAGE_WORDS] = { 0 };

		word[1] = kind == TARN__MSG_RELEASE ? id : ring;
		word[2] = kind == TARN__MSG_RELEASE ? 1 : at + k;
		word[3] = id;
		word[4] = 64;
		word[5] = how >> 4 & 1;
		if (k % 16 == odd % 16)
			word[1 + odd / 16 % 6] = play_word(p);
		word[0] = tarn__header(kind, 1, 0, k);
		tarn__requests_post_long(&b->lane.requests, (const uint64_t(*)[7])word, 1);
	}
	shake_burst(p, b, n);
	shake_burst(p, b, n);
}

/* Few names, so that they meet. */
static unsigned name(struct play *p, uint64_t *to)
{
	static const char *const names[] = { "a", "bb",
					     "a name that takes more than one slot of a message",
					     "fuzzed" };
	const char *text = names[take8(&p->in) % 4];

	memcpy(to, text, strlen(text));
	return (unsigned)strlen(text);
}

static void post_name(struct play *p, struct bad *b)
{
	uint64_t word[MESSAGE_WORDS] = { 0 };
	unsigned how = take8(&p->in), n, skip;
	enum tarn__message kind = TARN__MSG_NAME;

	word[1] = play_word(p);
	word[2] = how >> 4;
	switch (how & 3) {
	case 0:
		kind = TARN__MSG_LOOKUP;
		skip = 1;
		break;
	case 1:
		kind = TARN__MSG_TYPE;
		word[1] = how & 0x40 ? TARN__TYPE_BY_NAME : how >> 3;
		word[2] = how >> 4 & 3;
		skip = 3;
		break;
	case 2:
		kind = TARN__MSG_CHANNEL;
		word[1] = 1u << (how >> 4 & 7);
		skip = 2;
		break;
	default:
		skip = 3;
	}
	n = name(p, &word[skip]);
	send(p, b, word, kind, 14, kind == TARN__MSG_CHANNEL && (how & 8) ? 0 : n);
}

/* What asks for something and gets an answer, now or later. */
static void post_question(struct play *p, struct bad *b)
{
	static const enum tarn__message kinds[] = { TARN__MSG_WATCH,  TARN__MSG_WATCH,
						    TARN__MSG_GRAB,   TARN__MSG_CANCEL,
						    TARN__MSG_FETCH,  TARN__MSG_FETCH,
						    TARN__MSG_CREDIT, TARN__MSG_PING };
	uint64_t word[MESSAGE_WORDS] = { 0 };
	enum tarn__message kind = kinds[take8(&p->in) & 7];

	word[1] = play_word(p);
	switch (kind) {
	case TARN__MSG_WATCH:
		word[2] = take8(&p->in) & 3;
		if (word[2] == TARN__WATCH_CLIENT)
			word[1] = take8(&p->in) & 7;
		break;
	case TARN__MSG_CANCEL:
		word[1] = take8(&p->in) & 7;
		break;
	case TARN__MSG_FETCH:
		word[2] = tarn__pack(take8(&p->in) & 31, 0, 0, 0, 1 + (take8(&p->in) & 3), 0);
		break;
	default:
		break;
	}
	send(p, b, word, kind, 7, 0);
}

static void post_export(struct play *p, struct bad *b)
{
	uint64_t word[MESSAGE_WORDS] = { 0 };
	unsigned how = take8(&p->in), k = p->n_told + how;

	word[1] = play_word(p);
	if (how & 3) {
		word[2] = how & 4 ? p->told[k % TOLD] : play_word(p);
		word[3] = how & 4 ? p->told[(k + 1) % TOLD] : play_word(p);
		send(p, b, word, how & 1 ? TARN__MSG_IMPORT : TARN__MSG_REVOKE, 7, 0);
		return;
	}
	const struct object *o = tarn__object_find(&p->s->st, word[1]);

	word[2] = o != NULL ? o->size : 64;
	word[4] = how & 8 ? 0 : word[2];
	word[5] = how >> 6;
	word[6] = how & 16 ? 1ull << 40 : 0;
	word[7] = how >> 4 & 3;
	send(p, b, word, TARN__MSG_EXPORT, 14, 0);
}

/* What is needed to have something: blocks, ends of channels, and what says so. */
static void post_plain(struct play *p, struct bad *b)
{
	static const enum tarn__message kinds[] = { TARN__MSG_ALLOC,   TARN__MSG_ALLOC,
						    TARN__MSG_PUBLISH, TARN__MSG_SEAL,
						    TARN__MSG_RESIZE,  TARN__MSG_GIVEBACK,
						    TARN__MSG_BIND,    TARN__MSG_CLOSE };
	uint64_t word[MESSAGE_WORDS] = { 0 };
	unsigned how = take8(&p->in), count = 0;
	enum tarn__message kind = kinds[how & 7];

	word[1] = play_word(p);
	word[2] = how >> 4;
	switch (kind) {
	case TARN__MSG_ALLOC:
		word[1] = how & 0x80 ? 1ull << (how >> 3 & 31) : 64 + how;
		word[2] = 1ull << (how >> 5);
		word[3] = how & 8 ? 1 : 0;
		count = 1 + (how >> 6);
		break;
	case TARN__MSG_BIND:
	case TARN__MSG_CLOSE:
		if (how & 8)
			word[1] = play_own(p, TARN__KIND_CHANNEL);
		word[2] = TARN__ROLE_PRODUCER + (how >> 4 & 1);
		break;
	case TARN__MSG_GIVEBACK:
		count = 1 + (how >> 6);
		word[2] = play_word(p);
		break;
	default:
		break;
	}
	send(p, b, word, kind, 7, count);
}

/* What only executors say. */
static void post_as_executor(struct play *p, struct bad *b)
{
	static const enum tarn__message kinds[] = { TARN__MSG_RESULT,	 TARN__MSG_HOLD,
						    TARN__MSG_UNHOLD,	 TARN__MSG_CONTENTS,
						    TARN__MSG_DESTROYED, TARN__MSG_MADE };
	uint64_t word[MESSAGE_WORDS] = { 0 };

	for (unsigned k = 1; k < 7; k++)
		word[k] = play_word(p);
	send(p, b, word, kinds[take8(&p->in) % 6], 7, 0);
}

void play_post(struct play *p, struct bad *b)
{
	static void (*const posts[16])(struct play *, struct bad *) = {
		post_raw,	post_as_user,	   post_call,	post_call,
		post_call,	post_call,	   post_create, post_as_user,
		burst_of_calls, burst_of_bookings, post_name,	post_question,
		post_export,	post_plain,	   post_plain,	post_as_executor,
	};
	unsigned how = take8(&p->in);

	/* An offence is the end of a client's service: the last one only now and then. */
	if (how % 16 == 15 && how < 0xc0)
		how--;
	posts[how % 16](p, b);
}
