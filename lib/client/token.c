/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens: 64 bytes that stand for an export.
 *
 *	 0  magic "tarn"    4  version   5  kind   6..7  0
 *	 8  uuid of the arena            24  id
 *	32  nonce                        48  0
 *	56  XXH3 of the bytes before it
 *
 * The checksum finds slips of copying, nothing else: what makes a token worth something is
 * the nonce, which the server compares. All numbers are little-endian. An export of a slice
 * tells the server its place, so the token need not.
 */
#include "tarn/token.h"

#include <string.h>

#include "object.h"
#include "shm/hash.h"

#define VERSION 1u
#define PREFIX "tarn1:"
#define PREFIX_BYTES (sizeof PREFIX - 1)

static_assert(TARN_TOKEN_TEXT_BYTES == PREFIX_BYTES + 2 * sizeof(tarn_token) + 1, "text");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tokens are little-endian");

struct wire {
	char magic[4];
	uint8_t version, kind;
	uint8_t zero[2];
	uint64_t uuid[2];
	uint64_t id;
	uint64_t nonce[2];
	uint64_t spare;
	uint64_t sum;
};
static_assert(sizeof(struct wire) == sizeof(tarn_token), "wire form");

static uint64_t sum_of(const struct wire *w)
{
	return tarn__hash64(w, offsetof(struct wire, sum), 0x6e656b6f74ull);
}

static int unpack(const tarn_token *token, struct wire *ret)
{
	struct wire w;

	if (token == NULL)
		return tarn__fail(-EINVAL, "There is no token.");
	memcpy(&w, token, sizeof w);
	if (memcmp(w.magic, "tarn", 4) != 0)
		return tarn__fail(-EINVAL, "These 64 bytes are not a token: they do not begin with "
				  "'tarn'.");
	if (w.version != VERSION)
		return tarn__fail(-EINVAL, "The token has version %u, this library knows %u.",
				  w.version, VERSION);
	if (w.sum != sum_of(&w))
		return tarn__fail(-EINVAL, "The token is damaged: its checksum does not match.");
	if (w.kind < TARN__KIND_BLOCK || w.kind > TARN__KIND_OBJECT || w.id == 0)
		return tarn__fail(-EINVAL, "The token is of an unknown kind (%u).", w.kind);
	*ret = w;
	return 0;
}

/* ---- exporting ---- */

static int fail_export(int r, const tarn_export_options *o)
{
	if (r == -ENOSPC)
		return tarn__fail(r, "Too many exports: this client or the server has no room for "
				  "one more. Revoke some.");
	if (r == -EINVAL && o->outlive_issuer)
		return tarn__fail(r, "An export that outlives its issuer needs a number of uses or a "
				  "lifetime, or nothing would ever end it.");
	return tarn__fail(r, "The server refused the export: %s.", tarn_error_text(r));
}

struct range {
	uint64_t size, offset, length;
	bool sealed;
};

static int export(struct tarn__lane *l, enum tarn__kind kind, uint64_t id, struct range range,
		  const tarn_export_options *options, tarn_token *ret)
{
	static const tarn_export_options none;
	const tarn_export_options *o = options != NULL ? options : &none;
	struct wire w = { .magic = "tarn", .version = VERSION, .kind = (uint8_t)kind, .id = id };
	const struct tarn__ctrl *ctrl = l->client->ctrl;
	struct tarn__ask a;
	struct tarn__slot s;
	int r;

	if (o->lifetime_ns < 0)
		return tarn__fail(-EINVAL, "A lifetime of %lld ns: it must be positive, or 0 for no "
				  "deadline.", (long long)o->lifetime_ns);
	tarn__ask_init(&a, TARN__MSG_EXPORT, 0);
	tarn__ask_word(&a, 1, id);
	tarn__ask_word(&a, 2, range.size);
	tarn__ask_word(&a, 3, range.offset);
	tarn__ask_word(&a, 4, range.length);
	tarn__ask_word(&a, 5, o->uses == 0 ? 1 : o->uses);
	tarn__ask_word(&a, 6, (uint64_t)o->lifetime_ns);
	tarn__ask_word(&a, 7, (o->outlive_issuer ? TARN__EXPORT_OUTLIVES : 0) |
			      (range.sealed ? TARN__EXPORT_SEALED : 0));
	r = tarn__lane_ask(l, &a, 1, 0, UINT64_MAX, &s);
	if (r < 0)
		return r;
	r = tarn__reply_error(&s);
	if (r < 0)
		return fail_export(r, o);
	w.uuid[0] = ctrl->uuid[0];
	w.uuid[1] = ctrl->uuid[1];
	w.nonce[0] = s.word[1];
	w.nonce[1] = s.word[2];
	w.sum = sum_of(&w);
	memcpy(ret, &w, sizeof w);
	/* H11: the bytes may travel through memory that nobody synchronises. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return 0;
}

int tarn_block_export(tarn_block *block, const tarn_export_options *options, tarn_token *ret_token)
{
	struct tarn_block *whole;
	struct tarn__lane *l;
	int r = tarn__check_slice(block);

	if (r == 0)
		r = tarn__lane_enter(block->client, &l);
	if (r < 0)
		return r;
	whole = tarn__whole(block);
	r = tarn__handle_share(l, whole);
	if (r == 0) {
		struct range range = { .size = tarn_block_size(whole),
				       .sealed = tarn_block_sealed(whole) };

		if (whole != block) {
			range.offset = tarn__slice_offset(block);
			range.length = tarn_block_size(block);
		}
		r = export(l, TARN__KIND_BLOCK, whole->id, range, options, ret_token);
	}
	tarn__lane_leave(l);
	return r;
}

int tarn_channel_export(tarn_channel *channel, const tarn_export_options *options,
			tarn_token *ret_token)
{
	const struct range range = { .size = channel->base.size };
	struct tarn__lane *l;
	int r = tarn__lane_enter(channel->base.client, &l);

	if (r < 0)
		return r;
	r = export(l, TARN__KIND_CHANNEL, channel->base.id, range, options, ret_token);
	tarn__lane_leave(l);
	return r;
}

int tarn_object_export(tarn_object *object, const tarn_export_options *options,
		       tarn_token *ret_token)
{
	const struct range range = { .size = 0 };
	struct tarn__lane *l;
	int r = tarn__lane_enter(object->base.client, &l);

	if (r < 0)
		return r;
	r = export(l, TARN__KIND_OBJECT, object->base.id, range, options, ret_token);
	tarn__lane_leave(l);
	return r;
}

/* ---- importing ---- */

static const char *kind_name(unsigned kind)
{
	return kind == TARN__KIND_CHANNEL  ? "a channel"
	       : kind == TARN__KIND_OBJECT ? "an object"
					   : "a block";
}

/* Checks that @token is of this arena and @kind (0: any). */
static int check(const tarn_client *c, const tarn_token *token, enum tarn__kind kind,
		 struct wire *ret)
{
	int r = unpack(token, ret);

	if (r < 0)
		return r;
	if (ret->uuid[0] != c->ctrl->uuid[0] || ret->uuid[1] != c->ctrl->uuid[1])
		return tarn__fail(-EXDEV, "The token belongs to another arena than the one of server "
				  "'%s'.", c->name);
	if (kind != 0 && ret->kind != kind)
		return tarn__fail(-TARN_EKIND, "The token stands for %s, %s was asked for.",
				  kind_name(ret->kind), kind_name(kind));
	return 0;
}

static int ask(struct tarn__lane *l, enum tarn__message kind, const struct wire *w,
	       struct tarn__slot *ret)
{
	struct tarn__ask a;
	int r;

	tarn__ask_init(&a, kind, 0);
	tarn__ask_word(&a, 1, w->id);
	tarn__ask_word(&a, 2, w->nonce[0]);
	tarn__ask_word(&a, 3, w->nonce[1]);
	r = tarn__lane_ask(l, &a, 1, 0, UINT64_MAX, ret);
	if (r < 0)
		return r;
	r = tarn__reply_error(ret);
	if (r == -TARN_ESTALE)
		return tarn__fail(r, "The token is used up, expired or revoked, or the client that "
				  "issued it is gone.");
	return r == 0 ? 0 : tarn__fail(r, "The server refused the token: %s.", tarn_error_text(r));
}

/* A unit was booked for us: the handle of it. */
static int adopt_block(struct tarn__lane *l, const struct tarn__slot *s, struct tarn_block **ret)
{
	uint64_t size = s->word[2], state = s->word[3], offset = s->word[4], length = s->word[5];
	struct tarn_block *b;
	int r = tarn__block_adopt(l, s->word[1], size, (state & TARN__DIR_SEALED) != 0, &b);

	if (r < 0)
		return r;
	if (length != 0) {
		struct tarn_block *slice = NULL;

		if (offset <= size && length <= size - offset)
			slice = tarn__slice_new(l, b, offset, length);
		else
			r = tarn__fail(-TARN_EPROTO, "The server described a slice that cannot be.");
		if (slice == NULL) {
			tarn__handle_put(l, b);
			return r < 0 ? r : tarn__fail(-ENOMEM, "No memory for the handle of a slice.");
		}
		b = slice;
	}
	*ret = b;
	return 0;
}

static int import(tarn_client *client, const tarn_token *token, enum tarn__kind kind,
		  struct tarn_block **ret_block, struct tarn_channel **ret_channel,
		  struct tarn_object **ret_object)
{
	struct tarn__lane *l;
	struct tarn__slot s;
	struct wire w;
	int r = tarn__lane_enter(client, &l);

	if (r < 0)
		return r;
	r = check(client, token, kind, &w);
	if (r < 0)
		goto out;
	r = tarn__hold_take(l);
	if (r < 0)
		goto out;
	r = ask(l, TARN__MSG_IMPORT, &w, &s);
	if (r < 0)
		tarn__hold_return(l);
	else if (kind == TARN__KIND_CHANNEL)
		r = tarn__channel_adopt(l, s.word[1], ret_channel);
	else if (kind == TARN__KIND_OBJECT)
		r = tarn__object_adopt(l, s.word[1], NULL, ret_object);
	else
		r = adopt_block(l, &s, ret_block);
out:
	tarn__lane_leave(l);
	return r;
}

int tarn_block_import(tarn_client *client, const tarn_token *token, tarn_block **ret_block)
{
	return import(client, token, TARN__KIND_BLOCK, ret_block, NULL, NULL);
}

int tarn_channel_import(tarn_client *client, const tarn_token *token, tarn_channel **ret_channel)
{
	return import(client, token, TARN__KIND_CHANNEL, NULL, ret_channel, NULL);
}

int tarn_object_import(tarn_client *client, const tarn_token *token, tarn_object **ret_object)
{
	return import(client, token, TARN__KIND_OBJECT, NULL, NULL, ret_object);
}

int tarn_token_revoke(tarn_client *client, const tarn_token *token)
{
	struct tarn__lane *l;
	struct tarn__slot s;
	struct wire w;
	int r = tarn__lane_enter(client, &l);

	if (r < 0)
		return r;
	r = check(client, token, TARN__KIND_NONE, &w);
	if (r == 0)
		r = ask(l, TARN__MSG_REVOKE, &w, &s);
	tarn__lane_leave(l);
	return r;
}

/* ---- text ---- */

void tarn_token_format(const tarn_token *token, char text[TARN_TOKEN_TEXT_BYTES])
{
	static const char digit[] = "0123456789abcdef";
	char *p = text + PREFIX_BYTES;

	memcpy(text, PREFIX, PREFIX_BYTES);
	for (size_t i = 0; i < sizeof token->bytes; i++) {
		*p++ = digit[token->bytes[i] >> 4];
		*p++ = digit[token->bytes[i] & 15];
	}
	*p = '\0';
}

static int value_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int tarn_token_parse(const char *text, tarn_token *ret_token)
{
	const size_t all = TARN_TOKEN_TEXT_BYTES - 1;
	tarn_token token;
	struct wire w;

	if (text == NULL)
		return tarn__fail(-EINVAL, "There is no text to parse as a token.");
	for (size_t i = 0; i < all; i++) {
		size_t at = i - PREFIX_BYTES;
		int v;

		if (text[i] == '\0')
			return tarn__fail(-EINVAL, "The token's text ends after %zu characters of %zu.",
					  i, all);
		if (i < PREFIX_BYTES) {
			if (text[i] != PREFIX[i])
				return tarn__fail(-EINVAL, "Character %zu of the token's text is not "
						  "that of \"" PREFIX "\".", i + 1);
			continue;
		}
		v = value_of(text[i]);
		if (v < 0)
			return tarn__fail(-EINVAL, "Character %zu of the token's text is not a "
					  "hexadecimal digit.", i + 1);
		token.bytes[at / 2] = (unsigned char)(at % 2 == 0 ? v << 4
								  : token.bytes[at / 2] | v);
	}
	if (text[all] != '\0')
		return tarn__fail(-EINVAL, "The token's text goes on after %zu characters, at character "
				  "%zu.", all, all + 1);
	int r = unpack(&token, &w);
	if (r == 0)
		*ret_token = token;
	return r;
}
