/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The builder: one buffer, written once, sent as it is.
 *
 *	words[]  | free | top-level slots | heap ->     <- slots of open lists |
 *	               first             heap     next  stack               capacity
 *
 * While nothing is on the heap, top-level slots grow upwards and that is all (the inlined
 * path in the header: limit is beyond next only then). Later ones are made room for by
 * moving the top-level slots down, not the heap: those are few, and what they point to is
 * counted from the heap's beginning, which stays.
 *
 * Entries of a list must lie side by side, but what they point to is written in between. So
 * slots wait on a stack at the other end until their list is closed, under a marker slot with
 * the kind and count of the list around it; then they are copied to the heap, and the list's
 * own slot goes where the next value of the list around it goes. Everything that a payload
 * consists of is thus written once and refers only to what lies before it.
 */
#define TARN_INLINE /* the bodies in the header become the functions that are exported */
#include "value.h"

#include <stdlib.h>
#include <string.h>

#include "lib/error.h"

#define WORDS_MAX (TARN_PAYLOAD_MAX / 8)
#define SLACK 16u /* words before the first slot of a buffer */

static_assert(SLACK + 32 == sizeof(((tarn_builder *)0)->room) / 8, "tarn_builder_init() says so");
static_assert(sizeof(tarn_builder) == 512, "part of the ABI: users allocate it");
static_assert(sizeof(tarn_parcel) == 360, "part of the ABI: users allocate it");
static_assert(sizeof(tarn_value) == 32, "part of the ABI: users pass it");
static_assert(TARN_REFS_MAX <= UINT8_MAX && TARN_VALUES_MAX <= UINT8_MAX, "counted in bytes");

static uint32_t end_of(const tarn_builder *b)
{
	return (uint32_t)(b->next - b->words);
}

static uint32_t top_end(const tarn_builder *b)
{
	return b->heap != 0 ? b->heap : end_of(b);
}

unsigned tarn_builder_count(const tarn_builder *builder)
{
	return (top_end(builder) - builder->first) / TARN__SLOT_WORDS;
}

int tarn_builder_error(const tarn_builder *builder)
{
	return builder->error;
}

/* The inlined path is for top-level slots as long as there is no heap. */
static void set_limit(tarn_builder *b)
{
	uint32_t most = b->first + TARN__SLOT_WORDS * TARN_VALUES_MAX;

	if (b->kind != 0 || b->heap != 0 || b->error != 0)
		b->limit = b->words;
	else
		b->limit = b->words + (most < b->stack ? most : b->stack - 1);
}

static int fail(tarn_builder *b, int code)
{
	b->error = code;
	b->limit = b->words;
	return code;
}
#define FAIL(b, code, ...) fail(b, tarn__fail(code, __VA_ARGS__))

/* ---- room ---- */

/* Room for @n_words more at next, and for @slack before the first slot: by moving all within
 * the buffer, or in a larger one. */
static int grow(tarn_builder *b, uint64_t n_words, uint32_t slack)
{
	uint32_t used = end_of(b) - b->first, stacked = b->capacity - b->stack;
	uint64_t need = slack + used + n_words + stacked, capacity = b->capacity;
	uint64_t *words = b->words;

	if (used + n_words > WORDS_MAX)
		return FAIL(b, -E2BIG, "More than %u bytes of values in one message: put large data "
			    "into blocks.", TARN_PAYLOAD_MAX);
	/* Moving must make room for a while, or each call would move. */
	if (need + need / 4 > capacity) {
		capacity = capacity * 2 > need + need / 4 ? capacity * 2 : need + need / 4;
		words = malloc(capacity * sizeof *words);
		if (words == NULL)
			return FAIL(b, -ENOMEM, "No memory for %llu bytes of values.",
				    (unsigned long long)capacity * 8);
		memcpy(words + capacity - stacked, b->words + b->stack, stacked * sizeof *words);
	}
	memmove(words + slack, b->words + b->first, used * sizeof *words);
	if (words != b->words && b->words != b->room)
		free(b->words);
	if (b->heap != 0)
		b->heap = b->heap - b->first + slack;
	b->words = words;
	b->capacity = (uint32_t)capacity;
	b->stack = (uint32_t)capacity - stacked;
	b->first = slack;
	b->next = words + slack + used;
	set_limit(b);
	return 0;
}

static inline int want(tarn_builder *b, uint64_t n_words)
{
	return tarn__likely(b->stack - end_of(b) >= n_words) ? 0 : grow(b, n_words, SLACK);
}

/* @n_words on the heap, 8 bytes each. */
static uint64_t *heap_take(tarn_builder *b, uint64_t n_words, uint64_t *ret_offset)
{
	uint64_t *p;

	if (want(b, n_words) < 0)
		return NULL;
	if (b->heap == 0) {
		b->heap = end_of(b);
		b->limit = b->words;
	}
	p = b->next;
	b->next += n_words;
	*ret_offset = (uint64_t)(p - (b->words + b->heap)) * 8;
	return p;
}

/* ---- slots ---- */

static int push(tarn_builder *b, uint64_t head, uint64_t body)
{
	int r = want(b, TARN__SLOT_WORDS);

	if (r < 0)
		return r;
	b->stack -= TARN__SLOT_WORDS;
	b->words[b->stack] = head;
	b->words[b->stack + 1] = body;
	return 0;
}

static int push_entry(tarn_builder *b, uint64_t head, uint64_t body)
{
	if (b->n_slots >= TARN_SLOTS_MAX)
		return FAIL(b, -E2BIG, "More than %u values in one message.", TARN_SLOTS_MAX);
	if (push(b, head, body) < 0)
		return b->error;
	b->n_slots++;
	b->count++;
	return 0;
}

/* In a map, whether it is a key's turn. */
static bool is_keys_turn(const tarn_builder *b)
{
	return b->kind == TARN_KIND_MAP && b->count % 2 == 0;
}

static int check_turn(tarn_builder *b)
{
	if (b->error != 0)
		return b->error;
	if (is_keys_turn(b))
		return FAIL(b, -EINVAL, "A value in a map needs its key before it: tarn_map_key().");
	return 0;
}

static int put_top(tarn_builder *b, uint64_t head, uint64_t body)
{
	uint32_t n = top_end(b) - b->first;
	uint64_t *slot;

	if (n >= TARN__SLOT_WORDS * TARN_VALUES_MAX)
		return FAIL(b, -E2BIG, "More than %u values side by side: put them into a list.",
			    TARN_VALUES_MAX);
	if (b->heap == 0) {
		if (want(b, TARN__SLOT_WORDS) < 0)
			return b->error;
		slot = b->next;
		b->next += TARN__SLOT_WORDS;
	} else {
		if (b->first < TARN__SLOT_WORDS &&
		    grow(b, 0, TARN__SLOT_WORDS * TARN_VALUES_MAX - n) < 0)
			return b->error;
		b->first -= TARN__SLOT_WORDS;
		memmove(b->words + b->first, b->words + b->first + TARN__SLOT_WORDS,
			n * sizeof *b->words);
		slot = b->words + b->heap - TARN__SLOT_WORDS;
	}
	slot[0] = head;
	slot[1] = body;
	return 0;
}

int tarn_put_slot(tarn_builder *builder, uint64_t head, uint64_t body)
{
	int r = check_turn(builder);

	if (r < 0)
		return r;
	return builder->kind != 0 ? push_entry(builder, head, body) : put_top(builder, head, body);
}

static inline int put_slot(tarn_builder *b, uint64_t head, uint64_t body)
{
	uint64_t *slot = b->next;

	if (tarn__unlikely(slot >= b->limit))
		return tarn_put_slot(b, head, body);
	slot[0] = head;
	slot[1] = body;
	b->next = slot + TARN__SLOT_WORDS;
	return 0;
}

/* ---- one value ---- */

int tarn_put_nil(tarn_builder *builder)
{
	return put_slot(builder, TARN_KIND_NIL, 0);
}

int tarn_put_bool(tarn_builder *builder, bool value)
{
	return put_slot(builder, TARN_KIND_BOOL, value);
}

int tarn_put_uint(tarn_builder *builder, uint64_t value)
{
	return put_slot(builder, TARN_KIND_UINT, value);
}

static inline void copy_data(void *to, const void *data, size_t bytes)
{
	uint64_t first, last;

	if (bytes < 8 || bytes > 16) {
		memcpy(to, data, bytes);
		return;
	}
	/* What many names are as long as, without a call. */
	memcpy(&first, data, 8);
	memcpy(&last, (const char *)data + bytes - 8, 8);
	memcpy(to, &first, 8);
	memcpy((char *)to + bytes - 8, &last, 8);
}

static int check_data(tarn_builder *b, enum tarn_kind kind, const void *data, size_t bytes)
{
	if (bytes > 0 && data == NULL)
		return FAIL(b, -EINVAL, "%zu bytes at address 0.", bytes);
	if (bytes > TARN_PAYLOAD_MAX)
		return FAIL(b, -E2BIG, "%s of %zu bytes, and a message takes %u: use a block.",
			    tarn_kind_name(kind), bytes, TARN_PAYLOAD_MAX);
	return 0;
}

/* Copies to the heap, with @behind 0 bytes after them. */
static int heap_put(tarn_builder *b, const void *data, size_t bytes, size_t behind,
		    uint64_t *ret_offset)
{
	size_t n_words = (bytes + behind + 7) / 8;
	uint64_t *p = heap_take(b, n_words, ret_offset);

	if (p == NULL)
		return b->error;
	p[n_words - 1] = 0;
	copy_data(p, data, bytes);
	return 0;
}

/* Makes the body of the slot of @bytes of @data; longer than @in_slot they go to the heap. */
static int make_data(tarn_builder *b, enum tarn_kind kind, const void *data, size_t bytes,
		     size_t in_slot, size_t behind, uint64_t *ret_body)
{
	if (check_data(b, kind, data, bytes) < 0)
		return b->error;
	if (bytes > in_slot)
		return heap_put(b, data, bytes, behind, ret_body);
	*ret_body = 0;
	if (bytes > 0)
		memcpy(ret_body, data, bytes);
	return 0;
}

static int put_data(tarn_builder *b, enum tarn_kind kind, const void *data, size_t bytes,
		    size_t in_slot, size_t behind)
{
	uint64_t head = tarn__slot_head(kind, 0, (uint32_t)bytes), body = 0;

	if (tarn__likely(b->next < b->limit) && bytes > in_slot) {
		/* The first that goes to the heap: its slot can be written before it. */
		if (check_data(b, kind, data, bytes) < 0 || put_slot(b, head, 0) < 0)
			return b->error;
		return heap_put(b, data, bytes, behind, &body);
	}
	if (check_turn(b) < 0 || make_data(b, kind, data, bytes, in_slot, behind, &body) < 0)
		return b->error;
	return put_slot(b, head, body);
}

int tarn_put_string_n(tarn_builder *builder, const char *text, size_t bytes)
{
	return put_data(builder, TARN_KIND_STRING, text, bytes, 7, 1);
}

int tarn_put_string(tarn_builder *builder, const char *text)
{
	return text != NULL ? tarn_put_string_n(builder, text, strlen(text))
			    : tarn_put_nil(builder);
}

int tarn_put_bytes(tarn_builder *builder, const void *data, size_t bytes)
{
	return put_data(builder, TARN_KIND_BYTES, data, bytes, 8, 0);
}

/* ---- references ---- */

/* The index of @handle in the table; enters it. Negative: the builder's failure. */
static int ref_index(tarn_builder *b, struct tarn_block *handle)
{
	for (int i = 0; i < b->n_refs; i++)
		if (b->refs[i] == handle)
			return i;
	if (b->n_refs == TARN_REFS_MAX)
		return FAIL(b, -E2BIG, "More than %u different blocks, objects and channels in one "
			    "message.", TARN_REFS_MAX);
	if (b->n_refs == b->max_refs) {
		tarn_block **refs = malloc(TARN_REFS_MAX * sizeof(tarn_block *));

		if (refs == NULL)
			return FAIL(b, -ENOMEM, "No memory for a table of references.");
		memcpy(refs, b->refs, b->n_refs * sizeof(tarn_block *));
		b->refs = refs;
		b->max_refs = TARN_REFS_MAX;
	}
	tarn__value_hooks.ref(handle);
	b->refs[b->n_refs] = handle;
	return b->n_refs++;
}

int tarn__put_handle(tarn_builder *b, enum tarn_kind kind, struct tarn_block *handle)
{
	enum tarn_kind found;
	int i = check_turn(b);

	if (i < 0)
		return i;
	if (handle == NULL)
		return tarn_put_nil(b);
	found = tarn__value_hooks.kind_of(handle);
	if (found != kind)
		return FAIL(b, -TARN_EKIND, "This handle is one of kind %s, not %s.",
			    tarn_kind_name(found), tarn_kind_name(kind));
	i = ref_index(b, handle);
	return i < 0 ? i : put_slot(b, tarn__slot_head(kind, (unsigned)i, 0), 0);
}

int tarn_put_block(tarn_builder *builder, tarn_block *block)
{
	return tarn__put_handle(builder, TARN_KIND_BLOCK, block);
}

/* Objects and channels begin with the struct tarn_block by which everybody counts them. */
int tarn_put_object(tarn_builder *builder, tarn_object *object)
{
	return tarn__put_handle(builder, TARN_KIND_OBJECT, (struct tarn_block *)object);
}

int tarn_put_channel(tarn_builder *builder, tarn_channel *channel)
{
	return tarn__put_handle(builder, TARN_KIND_CHANNEL, (struct tarn_block *)channel);
}

/* ---- lists and maps ---- */

int tarn__open(tarn_builder *b, enum tarn_kind kind)
{
	int r = check_turn(b);

	if (r < 0)
		return r;
	if (b->depth == TARN_DEPTH_MAX)
		return FAIL(b, -E2BIG, "Lists and maps within each other more than %u deep.",
			    TARN_DEPTH_MAX);
	if (push(b, tarn__slot_head(b->kind, 0, b->count), 0) < 0)
		return b->error;
	b->kind = (uint8_t)kind;
	b->count = 0;
	b->depth++;
	b->limit = b->words;
	return 0;
}

int tarn__close(tarn_builder *b, enum tarn_kind kind)
{
	uint32_t n = b->count;
	uint64_t marker, offset = 0, *to;
	const uint64_t *from;

	if (b->error != 0)
		return b->error;
	if (b->kind != kind)
		return FAIL(b, -EINVAL, "The end of a %s where %s%s is open.", tarn_kind_name(kind),
			    b->kind != 0 ? "a " : "none",
			    b->kind != 0 ? tarn_kind_name((enum tarn_kind)b->kind) : "");
	if (kind == TARN_KIND_MAP && n % 2 != 0)
		return FAIL(b, -EINVAL, "The last key of a map has no value.");
	if (n > 0) {
		to = heap_take(b, TARN__SLOT_WORDS * (uint64_t)n, &offset);
		if (to == NULL)
			return b->error;
		/* The last one lies lowest on the stack. */
		from = b->words + b->stack + TARN__SLOT_WORDS * (uint64_t)n;
		for (uint32_t i = 0; i < n; i++) {
			from -= TARN__SLOT_WORDS;
			*to++ = from[0];
			*to++ = from[1];
		}
		b->stack += TARN__SLOT_WORDS * n;
	}
	marker = b->words[b->stack];
	b->stack += TARN__SLOT_WORDS;
	b->kind = (uint8_t)tarn__head_kind(marker);
	b->count = tarn__head_length(marker);
	b->depth--;
	set_limit(b);
	return put_slot(b, tarn__slot_head(kind, 0, kind == TARN_KIND_MAP ? n / 2 : n), offset);
}

int tarn_list_begin(tarn_builder *builder)
{
	return tarn__open(builder, TARN_KIND_LIST);
}

int tarn_list_end(tarn_builder *builder)
{
	return tarn__close(builder, TARN_KIND_LIST);
}

int tarn_map_begin(tarn_builder *builder)
{
	return tarn__open(builder, TARN_KIND_MAP);
}

int tarn_map_end(tarn_builder *builder)
{
	return tarn__close(builder, TARN_KIND_MAP);
}

static int check_key(tarn_builder *b)
{
	if (b->error != 0)
		return b->error;
	if (!is_keys_turn(b))
		return FAIL(b, -EINVAL, b->kind == TARN_KIND_MAP
			    ? "A key in a map, and the one before it has no value yet."
			    : "A key outside a map.");
	return 0;
}

int tarn_map_key_n(tarn_builder *builder, const char *key, size_t bytes)
{
	uint64_t body;

	if (check_key(builder) < 0 ||
	    make_data(builder, TARN_KIND_STRING, key, bytes, 7, 1, &body) < 0)
		return builder->error;
	return push_entry(builder, tarn__slot_head(TARN_KIND_STRING, 0, (uint32_t)bytes), body);
}

int tarn_map_key(tarn_builder *builder, const char *key)
{
	if (key == NULL && builder->error == 0)
		return FAIL(builder, -EINVAL, "The key of a map is NULL.");
	return tarn_map_key_n(builder, key, key != NULL ? strlen(key) : 0);
}

int tarn_map_key_int(tarn_builder *builder, int64_t key)
{
	int r = check_key(builder);

	return r < 0 ? r : push_entry(builder, TARN_KIND_INT, (uint64_t)key);
}

/* ---- the whole ---- */

int tarn__builder_fail(tarn_builder *b, int code)
{
	return b->error != 0 ? b->error : fail(b, code);
}

int tarn__builder_payload(const tarn_builder *builder, struct tarn__payload *ret_payload)
{
	if (builder->error != 0)
		return builder->error;
	if (builder->kind != 0)
		return tarn__fail(-EINVAL, "A %s of the values to be sent is still open.",
				  tarn_kind_name((enum tarn_kind)builder->kind));
	*ret_payload = (struct tarn__payload){
		.words = builder->words + builder->first,
		.n_words = end_of(builder) - builder->first,
		.n_values = (uint8_t)tarn_builder_count(builder),
		.n_refs = builder->n_refs,
		.refs = builder->refs,
	};
	return 0;
}

static void drop_refs(tarn_builder *b)
{
	for (int i = 0; i < b->n_refs; i++)
		tarn__value_hooks.unref(b->refs[i]);
	b->n_refs = 0;
}

void tarn_builder_reset(tarn_builder *builder)
{
	drop_refs(builder);
	builder->first = SLACK;
	builder->next = builder->words + SLACK;
	builder->heap = 0;
	builder->stack = builder->capacity;
	builder->error = 0;
	builder->n_slots = 0;
	builder->count = 0;
	builder->kind = 0;
	builder->depth = 0;
	set_limit(builder);
}

void tarn_builder_free(tarn_builder *builder)
{
	drop_refs(builder);
	if (builder->words != builder->room)
		free(builder->words);
	if (builder->refs != builder->refs_room)
		free(builder->refs);
	tarn_builder_init(builder);
}
