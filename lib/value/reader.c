/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading single values. A tarn_value carries a copy of its slot, so what is checked here is
 * what is used, whatever happens to the memory meanwhile. Each function costs the same on
 * hostile bytes as on honest ones.
 */
#include "value.h"

#include <stdio.h>
#include <string.h>

#include "lib/error.h"

const char *tarn_kind_name(enum tarn_kind kind)
{
	static const char *const names[] = {
		[TARN_KIND_NONE] = "nothing",    [TARN_KIND_NIL] = "nil",
		[TARN_KIND_BOOL] = "bool",       [TARN_KIND_INT] = "int",
		[TARN_KIND_UINT] = "uint",       [TARN_KIND_DOUBLE] = "double",
		[TARN_KIND_STRING] = "string",   [TARN_KIND_BYTES] = "bytes",
		[TARN_KIND_LIST] = "list",       [TARN_KIND_MAP] = "map",
		[TARN_KIND_ERROR] = "error",     [TARN_KIND_BLOCK] = "block",
		[TARN_KIND_OBJECT] = "object",   [TARN_KIND_CHANNEL] = "channel",
	};

	return (unsigned)kind < sizeof names / sizeof names[0] ? names[kind] : "nothing";
}

/* ---- failure ---- */

tarn_value tarn_value_none(int code)
{
	return (tarn_value){ .head = TARN_KIND_NONE, .body = (uint64_t)(int64_t)code };
}

enum tarn_kind tarn_value_kind(tarn_value value)
{
	unsigned kind = tarn__head_kind(value.head);

	return kind <= TARN_KIND_CHANNEL ? (enum tarn_kind)kind : TARN_KIND_NONE;
}

int tarn__fail_none(const tarn_value *value)
{
	if (value->parcel == NULL && (int64_t)value->body != -TARN_EPROTO)
		return tarn__fail_static(-ENOENT, "There is no such value.");
	return tarn__fail_static(-TARN_EPROTO, "The values that arrived are damaged.");
}

int tarn__fail_kind(const tarn_value *value, const char *expected)
{
	enum tarn_kind found = tarn_value_kind(*value);

	if (found == TARN_KIND_NONE)
		return tarn__fail_none(value);
	return tarn__fail(-TARN_EKIND, "Expected %s, found %s.", expected, tarn_kind_name(found));
}

static int fail_lossy(const tarn_value *value, const char *expected)
{
	char text[64];

	tarn_value_format(*value, text, sizeof text);
	return tarn__fail(-ERANGE, "Expected %s, found %s %s, which is none.", expected,
			  tarn_kind_name(tarn_value_kind(*value)), text);
}

/* ---- numbers ---- */

static double as_double(uint64_t bits)
{
	double d;

	memcpy(&d, &bits, sizeof d);
	return d;
}

int tarn_value_bool(tarn_value value, bool *ret_bool)
{
	if (tarn__head_kind(value.head) != TARN_KIND_BOOL)
		return tarn__fail_kind(&value, "bool");
	*ret_bool = value.body != 0;
	return 0;
}

int tarn_value_int_from(const tarn_value *value, int64_t *ret_int)
{
	double d;

	switch (tarn__head_kind(value->head)) {
	case TARN_KIND_INT:
		break;
	case TARN_KIND_UINT:
		if (value->body > INT64_MAX)
			return fail_lossy(value, "int");
		break;
	case TARN_KIND_DOUBLE:
		d = as_double(value->body);
		/* The bounds are doubles; NaN is within none. */
		if (!(d >= -0x1p63 && d < 0x1p63) || (double)(int64_t)d != d)
			return fail_lossy(value, "int");
		*ret_int = (int64_t)d;
		return 0;
	default:
		return tarn__fail_kind(value, "int");
	}
	*ret_int = (int64_t)value->body;
	return 0;
}

int tarn_value_uint(tarn_value value, uint64_t *ret_uint)
{
	double d;

	switch (tarn__head_kind(value.head)) {
	case TARN_KIND_UINT:
		break;
	case TARN_KIND_INT:
		if (value.body > INT64_MAX)
			return fail_lossy(&value, "uint");
		break;
	case TARN_KIND_DOUBLE:
		d = as_double(value.body);
		if (!(d >= 0 && d < 0x1p64) || (double)(uint64_t)d != d)
			return fail_lossy(&value, "uint");
		*ret_uint = (uint64_t)d;
		return 0;
	default:
		return tarn__fail_kind(&value, "uint");
	}
	*ret_uint = value.body;
	return 0;
}

int tarn_value_double_from(const tarn_value *value, double *ret_double)
{
	double d;

	switch (tarn__head_kind(value->head)) {
	case TARN_KIND_DOUBLE:
		d = as_double(value->body);
		break;
	case TARN_KIND_INT:
		d = (double)(int64_t)value->body;
		if (d == 0x1p63 || (int64_t)d != (int64_t)value->body)
			return fail_lossy(value, "double");
		break;
	case TARN_KIND_UINT:
		d = (double)value->body;
		if (d == 0x1p64 || (uint64_t)d != value->body)
			return fail_lossy(value, "double");
		break;
	default:
		return tarn__fail_kind(value, "double");
	}
	*ret_double = d;
	return 0;
}

/* ---- bytes ---- */

/* Where @n_words that the slot points to lie: an index into the payload. */
static int find(const tarn_value *v, uint64_t n_words, uint32_t *ret_at)
{
	uint32_t base = TARN__SLOT_WORDS * v->parcel->n_values;
	uint64_t heap = v->parcel->n_words - base, at = v->body / 8;

	if (v->body % 8 != 0 || at > heap || n_words > heap - at)
		return tarn__fail_static(-TARN_EPROTO, "The values that arrived are damaged.");
	*ret_at = base + (uint32_t)at;
	return 0;
}

/* Words on the heap that a string's or bytes' slot stands for. */
static uint64_t data_words(uint64_t head)
{
	uint64_t bytes = tarn__head_length(head);

	if (tarn__head_kind(head) == TARN_KIND_STRING)
		return bytes <= 7 ? 0 : bytes / 8 + 1;
	return bytes <= 8 ? 0 : (bytes + 7) / 8;
}

int tarn__value_data(const tarn_value *value, const unsigned char **ret_data, size_t *ret_bytes)
{
	uint64_t n_words = data_words(value->head);
	uint32_t at = value->at + 1;
	int r = n_words > 0 ? find(value, n_words, &at) : 0;

	if (r < 0)
		return r;
	*ret_data = (const unsigned char *)(value->parcel->words + at);
	*ret_bytes = tarn__head_length(value->head);
	return 0;
}

int tarn_value_string_from(const tarn_value *value, const char **ret_text, size_t *ret_bytes)
{
	const unsigned char *data;
	const char *text;
	size_t bytes;
	int r;

	if (tarn__head_kind(value->head) != TARN_KIND_STRING)
		return tarn__fail_kind(value, "string");
	r = tarn__value_data(value, &data, &bytes);
	if (r < 0)
		return r;
	text = (const char *)data;
	if (value->parcel->flags & TARN__PARCEL_SHARED) {
		/* Its writer could take the NUL away while somebody looks for it. */
		r = tarn__parcel_copy(value->parcel, data, bytes, &text);
		if (r < 0)
			return r;
	} else if (data[bytes] != 0) {
		return tarn__fail_static(-TARN_EPROTO, "A string that arrived has no end.");
	}
	if (ret_bytes != NULL)
		*ret_bytes = bytes;
	else if (memchr(text, 0, bytes) != NULL)
		return tarn__fail(-EINVAL, "A string of %zu bytes has a NUL inside; ask for its length "
				  "to take it as it is.", bytes);
	*ret_text = text;
	return 0;
}

int tarn_value_bytes(tarn_value value, const void **ret_data, size_t *ret_bytes)
{
	const unsigned char *data;
	int r;

	if (tarn__head_kind(value.head) != TARN_KIND_BYTES)
		return tarn__fail_kind(&value, "bytes");
	r = tarn__value_data(&value, &data, ret_bytes);
	if (r == 0)
		*ret_data = data;
	return r;
}

/* ---- references ---- */

int tarn__value_handle(const tarn_value *value, struct tarn_block **ret_handle)
{
	unsigned index = tarn__head_ref(value->head);
	struct tarn_block *handle;

	if (tarn__unlikely(value->parcel == NULL))
		return tarn__fail_none(value);
	if (index >= value->parcel->n_refs)
		return tarn__fail(-TARN_EPROTO, "Reference %u of the %u that arrived.", index,
				  value->parcel->n_refs);
	handle = value->parcel->refs[index];
	if (handle == NULL || tarn__value_hooks.kind_of(handle) != tarn_value_kind(*value))
		return tarn__fail(-TARN_EPROTO, "Reference %u that arrived is no %s, as was said.",
				  index, tarn_kind_name(tarn_value_kind(*value)));
	*ret_handle = handle;
	return 0;
}

static int get_handle(const tarn_value *value, enum tarn_kind kind, struct tarn_block **ret)
{
	if (tarn__head_kind(value->head) != (unsigned)kind)
		return tarn__fail_kind(value, tarn_kind_name(kind));
	return tarn__value_handle(value, ret);
}

int tarn_value_block(tarn_value value, tarn_block **ret_block)
{
	return get_handle(&value, TARN_KIND_BLOCK, ret_block);
}

int tarn_value_object(tarn_value value, tarn_object **ret_object)
{
	struct tarn_block *handle;
	int r = get_handle(&value, TARN_KIND_OBJECT, &handle);

	if (r == 0)
		*ret_object = (tarn_object *)handle;
	return r;
}

int tarn_value_channel(tarn_value value, tarn_channel **ret_channel)
{
	struct tarn_block *handle;
	int r = get_handle(&value, TARN_KIND_CHANNEL, &handle);

	if (r == 0)
		*ret_channel = (tarn_channel *)handle;
	return r;
}

/* ---- lists and maps ---- */

int tarn__slots(const tarn_value *value, uint32_t *ret_count)
{
	uint64_t n = tarn__head_length(value->head);
	uint32_t at;
	int r;

	if (tarn__head_kind(value->head) == TARN_KIND_MAP)
		n *= 2;
	if (n > TARN_SLOTS_MAX || value->depth >= TARN_DEPTH_MAX)
		return tarn__fail_static(-TARN_EPROTO, "The values that arrived are damaged.");
	r = find(value, TARN__SLOT_WORDS * n, &at);
	if (r == 0)
		*ret_count = (uint32_t)n;
	return r;
}

/* The slot at word @at of the payload, which is inside. */
static tarn_value slot_at(const tarn_value *around, uint32_t at)
{
	const uint64_t *words = around->parcel->words + at;

	/* Relaxed, and each word once: nothing that its writer does later matters, and what he
	 * did before was ordered by the message. */
	return (tarn_value){
		.head = tarn__load_relaxed(words),
		.body = tarn__load_relaxed(words + 1),
		.parcel = around->parcel,
		.at = at,
		.depth = around->depth + 1,
	};
}

tarn_value tarn__slot_of(const tarn_value *value, uint32_t index)
{
	uint32_t n, at;

	if (tarn__slots(value, &n) < 0 || find(value, TARN__SLOT_WORDS * (uint64_t)n, &at) < 0)
		return tarn_value_none(-TARN_EPROTO);
	if (index >= n)
		return tarn_value_none(-ENOENT);
	return slot_at(value, at + TARN__SLOT_WORDS * index);
}

size_t tarn_value_count(tarn_value value)
{
	unsigned kind = tarn__head_kind(value.head);
	uint32_t n = 0;

	if ((kind != TARN_KIND_LIST && kind != TARN_KIND_MAP) || tarn__slots(&value, &n) < 0)
		return 0;
	return kind == TARN_KIND_MAP ? n / 2 : n;
}

/* None as the value that was asked. */
static tarn_value none_of(const tarn_value *value)
{
	return tarn_value_kind(*value) == TARN_KIND_NONE && value->parcel == NULL
		? *value : tarn_value_none(-ENOENT);
}

tarn_value tarn_value_at(tarn_value value, size_t index)
{
	if (index > TARN_SLOTS_MAX)
		return none_of(&value);
	switch (tarn__head_kind(value.head)) {
	case TARN_KIND_LIST:
		return tarn__slot_of(&value, (uint32_t)index);
	case TARN_KIND_MAP:
		return tarn__slot_of(&value, 2 * (uint32_t)index + 1);
	default:
		return none_of(&value);
	}
}

static bool may_be_key(const tarn_value *v)
{
	unsigned kind = tarn__head_kind(v->head);

	return kind == TARN_KIND_STRING || kind == TARN_KIND_INT;
}

tarn_value tarn_value_key_at(tarn_value map, size_t index)
{
	tarn_value key;

	if (tarn__head_kind(map.head) != TARN_KIND_MAP || index > TARN_SLOTS_MAX)
		return none_of(&map);
	key = tarn__slot_of(&map, 2 * (uint32_t)index);
	return key.parcel == NULL || may_be_key(&key) ? key : tarn_value_none(-TARN_EPROTO);
}

tarn_value tarn_value_get(tarn_value map, const char *key)
{
	size_t bytes = strlen(key);
	uint32_t n, at;

	if (tarn__head_kind(map.head) != TARN_KIND_MAP)
		return none_of(&map);
	if (tarn__slots(&map, &n) < 0 || find(&map, TARN__SLOT_WORDS * (uint64_t)n, &at) < 0)
		return tarn_value_none(-TARN_EPROTO);
	for (uint32_t i = 0; i < n; i += 2, at += 2 * TARN__SLOT_WORDS) {
		tarn_value k = slot_at(&map, at);
		const unsigned char *data;
		size_t key_bytes;

		if (tarn__head_kind(k.head) != TARN_KIND_STRING ||
		    tarn__head_length(k.head) != bytes)
			continue;
		if (tarn__value_data(&k, &data, &key_bytes) < 0)
			return tarn_value_none(-TARN_EPROTO);
		if (memcmp(data, key, bytes) == 0)
			return slot_at(&map, at + TARN__SLOT_WORDS);
	}
	return tarn_value_none(-ENOENT);
}

tarn_value tarn_value_get_int(tarn_value map, int64_t key)
{
	uint32_t n, at;

	if (tarn__head_kind(map.head) != TARN_KIND_MAP)
		return none_of(&map);
	if (tarn__slots(&map, &n) < 0 || find(&map, TARN__SLOT_WORDS * (uint64_t)n, &at) < 0)
		return tarn_value_none(-TARN_EPROTO);
	for (uint32_t i = 0; i < n; i += 2, at += 2 * TARN__SLOT_WORDS) {
		tarn_value k = slot_at(&map, at);

		if (tarn__head_kind(k.head) == TARN_KIND_INT && (int64_t)k.body == key)
			return slot_at(&map, at + TARN__SLOT_WORDS);
	}
	return tarn_value_none(-ENOENT);
}

/* ---- walks ---- */

int tarn__walk_visit(struct tarn__walk *walk, const tarn_value *value)
{
	enum tarn_kind kind = tarn_value_kind(*value);
	const unsigned char *data;
	struct tarn_block *handle;
	uint64_t cost = TARN__SLOT_WORDS;
	uint32_t n;
	size_t bytes;
	int r = 0;

	switch (kind) {
	case TARN_KIND_NONE:
		return tarn__fail_none(value);
	case TARN_KIND_STRING:
	case TARN_KIND_BYTES:
		r = tarn__value_data(value, &data, &bytes);
		cost += data_words(value->head);
		break;
	case TARN_KIND_LIST:
	case TARN_KIND_MAP:
	case TARN_KIND_ERROR:
		r = tarn__slots(value, &n); /* they pay for themselves */
		break;
	case TARN_KIND_BLOCK:
	case TARN_KIND_OBJECT:
	case TARN_KIND_CHANNEL:
		r = tarn__value_handle(value, &handle);
		break;
	default:
		break;
	}
	if (r < 0)
		return r;
	if (cost > walk->left)
		return tarn__fail_static(-TARN_EPROTO, "Values that arrived lie on top of each other.");
	walk->left -= cost;
	return 0;
}
