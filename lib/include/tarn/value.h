/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values: what calls take and give.
 *
 * A value is nil, a bool, an int64, a uint64, a double, a string, bytes, a list, a map, an
 * error, or a reference to a block, object or channel, at any depth. One writes values
 * with a builder and reads them from a parcel; both live in the caller's memory and
 * allocate nothing as long as they are small.
 *
 *	tarn_builder b;
 *	tarn_builder_init(&b);
 *	tarn_put(&b, "is[dd]{s:B}", 7, "scale", 1.5, 2.5, "image", block);
 *	...                                  the builder is given to a call, which fills:
 *	tarn_parcel p;
 *	int number; const char *name; double x, y; tarn_block *image;
 *	r = tarn_parcel_get(&p, "is[dd]{s:B}", &number, &name, &x, &y, "image", &image);
 *	...
 *	tarn_parcel_fini(&p);
 *	tarn_builder_fini(&b);
 *
 * or step by step: tarn_put_int(&b, 7); tarn_list_begin(&b); ... and
 * tarn_value_int(tarn_parcel_at(&p, 0), &i).
 *
 * Failure: what builds returns 0 or the builder's first failure, which sticks, so it is
 * enough to look at the last result, or at none: whoever sends the builder looks. What reads
 * checks each slot that it touches: bytes from a hostile peer give -TARN_EPROTO, not a
 * crash. Nothing here blocks.
 *
 * Ownership: a builder and a parcel hold a reference on each block, object and channel in
 * them until fini. What is read (strings, bytes, handles) belongs to the parcel and lives as
 * long; take a reference of your own (tarn_block_ref) to keep a handle longer.
 *
 * Threads: a builder belongs to one thread at a time; a parcel can be read by many.
 * Neither may be moved in memory (by memcpy or assignment) while in use.
 */
#ifndef TARN_VALUE_H
#define TARN_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block.h"
#include "channel.h"
#include "error.h"
#include "fault.h"

TARN_BEGIN

typedef struct tarn_object tarn_object;

enum tarn_kind {
	TARN_KIND_NONE = 0, /* no value: out of range, no such key, damaged */
	TARN_KIND_NIL,
	TARN_KIND_BOOL,
	TARN_KIND_INT,      /* int64_t */
	TARN_KIND_UINT,     /* uint64_t */
	TARN_KIND_DOUBLE,
	TARN_KIND_STRING,   /* bytes with a NUL behind; by custom UTF-8, not enforced */
	TARN_KIND_BYTES,
	TARN_KIND_LIST,
	TARN_KIND_MAP,      /* keys are strings or ints; order is that of insertion */
	TARN_KIND_ERROR,    /* a tarn_fault */
	TARN_KIND_BLOCK,
	TARN_KIND_OBJECT,
	TARN_KIND_CHANNEL,
};

/* "int", "map" ... Never NULL, static. */
TARN_EXPORT const char *tarn_kind_name(enum tarn_kind kind);

/* Limits of one builder or parcel. Beyond: -E2BIG. */
#define TARN_VALUES_MAX 255u     /* values side by side at the top */
#define TARN_DEPTH_MAX 32u       /* a list in a list has depth 2 */
#define TARN_SLOTS_MAX (1u << 20) /* values in all; a map's keys count */
#define TARN_REFS_MAX 64u        /* different blocks, objects and channels */
#define TARN_PAYLOAD_MAX (1u << 30) /* bytes in all; larger data belongs into a block */

/* ---- building ---- */

/* Private but for its size: use the functions. */
typedef struct tarn_builder {
	uint64_t *next;     /* where what is built ends */
	uint64_t *limit;    /* a top-level slot may be written at next while next < limit */
	uint64_t *words;    /* room[], or from malloc */
	uint32_t capacity;  /* of words */
	uint32_t first;     /* index: top-level slots begin */
	uint32_t heap;      /* index: they end, and what they point to begins; 0: at next */
	uint32_t stack;     /* index: slots of open lists and maps, up to capacity */
	int error;          /* the first failure */
	uint32_t n_slots;   /* in lists and maps, open ones too */
	uint32_t count;     /* slots so far in the innermost open one */
	uint8_t kind;       /* of the innermost open one; 0: none is open */
	uint8_t depth;      /* open ones */
	uint8_t n_refs, max_refs;
	tarn_block **refs;  /* refs_room[], or from malloc */
	tarn_block *refs_room[8];
	uint64_t room[48];
} tarn_builder;

/* Makes an empty builder of raw memory. Cannot fail. */
TARN_EXPORT void tarn_builder_init(tarn_builder *builder);

/* Drops its references and memory. */
TARN_EXPORT void tarn_builder_fini(tarn_builder *builder);

/* Empties it, failure too, for reuse; keeps its memory. */
TARN_EXPORT void tarn_builder_reset(tarn_builder *builder);

/* 0, or the first failure: -ENOMEM, -E2BIG a limit above, -EINVAL wrong use (the text of
 * tarn_error_last(), set when it happened, says which). */
TARN_EXPORT int tarn_builder_error(const tarn_builder *builder);

/* Values at the top so far. */
TARN_EXPORT unsigned tarn_builder_count(const tarn_builder *builder);

/*
 * Each appends one value: to the innermost open list or map, else at the top. In a map a
 * value must follow its key. Data is copied, references are taken. 0 or tarn_builder_error().
 */
TARN_EXPORT int tarn_put_nil(tarn_builder *builder);
TARN_EXPORT int tarn_put_bool(tarn_builder *builder, bool value);
TARN_EXPORT int tarn_put_int(tarn_builder *builder, int64_t value);
TARN_EXPORT int tarn_put_uint(tarn_builder *builder, uint64_t value);
TARN_EXPORT int tarn_put_double(tarn_builder *builder, double value);
TARN_EXPORT int tarn_put_string(tarn_builder *builder, const char *text); /* NULL: nil */
TARN_EXPORT int tarn_put_string_n(tarn_builder *builder, const char *text, size_t bytes);
TARN_EXPORT int tarn_put_bytes(tarn_builder *builder, const void *data, size_t bytes);
TARN_EXPORT int tarn_put_block(tarn_builder *builder, tarn_block *block);       /* NULL: nil */
TARN_EXPORT int tarn_put_object(tarn_builder *builder, tarn_object *object);    /* NULL: nil */
TARN_EXPORT int tarn_put_channel(tarn_builder *builder, tarn_channel *channel); /* NULL: nil */
TARN_EXPORT int tarn_put_error(tarn_builder *builder, const tarn_fault *fault); /* NULL: nil */

TARN_EXPORT int tarn_list_begin(tarn_builder *builder);
TARN_EXPORT int tarn_list_end(tarn_builder *builder);
TARN_EXPORT int tarn_map_begin(tarn_builder *builder);
TARN_EXPORT int tarn_map_key(tarn_builder *builder, const char *key);
TARN_EXPORT int tarn_map_key_n(tarn_builder *builder, const char *key, size_t bytes);
TARN_EXPORT int tarn_map_key_int(tarn_builder *builder, int64_t key);
TARN_EXPORT int tarn_map_end(tarn_builder *builder);

/*
 * Several values at once, one argument per letter:
 *
 *	n  nil, no argument         s  string, const char *
 *	b  bool, int                S  string, const char * and size_t
 *	i  int, int                 y  bytes, const void * and size_t
 *	q  int, int64_t             B  block, tarn_block *
 *	I  uint, unsigned           O  object, tarn_object *
 *	Q  uint, uint64_t           C  channel, tarn_channel *
 *	d  double, double           e  error, const tarn_fault *
 *	v  anything, tarn_value
 *	[...] a list                {k:v k:v} a map; keys are s, S, i or q
 *
 * Blanks, commas and colons are for the eye. -EINVAL names a letter that is none.
 */
TARN_EXPORT int tarn_put(tarn_builder *builder, const char *format, ...);

/* ---- reading ---- */

/* Private but for its size: use the functions. All 0 is an empty one. */
typedef struct tarn_parcel {
	const uint64_t *words; /* room[], from malloc, or in memory of others */
	uint32_t n_words;
	uint8_t n_values, n_refs;
	uint8_t flags;
	uint8_t spare;
	tarn_block **refs;     /* refs_room[], from malloc, or the lender's */
	tarn_block *holder;    /* the block that words lie in, or NULL */
	void *copies;          /* strings taken out of shared memory */
	tarn_block *refs_room[8];
	uint64_t room[32];
} tarn_parcel;

/* One value in a parcel, or none. Small, passed by value; valid as long as the parcel. */
typedef struct tarn_value {
	uint64_t head, body;   /* a copy of its slot */
	const tarn_parcel *parcel;
	uint32_t at;           /* word where the slot lies */
	uint32_t depth;        /* of lists and maps around it */
} tarn_value;

/* Makes an empty parcel of raw memory. Functions that fill one ("ret_parcel") do this
 * themselves; on failure they leave nothing that needs fini. */
TARN_EXPORT void tarn_parcel_init(tarn_parcel *parcel);

/* Drops its references and memory. Everything read from it ends with it. The parcel is
 * empty then; a second fini is harmless. */
TARN_EXPORT void tarn_parcel_fini(tarn_parcel *parcel);

/* A parcel with what @builder holds, in private memory. The builder stays as it is.
 * The builder's failure, -EINVAL a list or map is still open, -ENOMEM. */
TARN_EXPORT int tarn_parcel_from(const tarn_builder *builder, tarn_parcel *ret_parcel);

/* How many values are at the top, and the @index'th of them (none if out of range). */
TARN_EXPORT unsigned tarn_parcel_count(const tarn_parcel *parcel);
TARN_EXPORT tarn_value tarn_parcel_at(const tarn_parcel *parcel, unsigned index);

/*
 * Takes it apart; letters as for tarn_put(), one argument per letter:
 *
 *	n  nothing                  s  const char **, no NUL inside
 *	b  bool *                   S  const char ** and size_t *
 *	i  int *                    y  const void ** and size_t *
 *	q  int64_t *                B  tarn_block **      O  tarn_object **
 *	I  unsigned *               C  tarn_channel **
 *	Q  uint64_t *               e  tarn_fault **: a reference, yours to unref
 *	d  double *                 v  tarn_value *
 *	[...] a list of just these  {s:x ...} in a map the key given as argument (const char *;
 *	                            i: int, q: int64_t), whatever else is there
 *	?  after s B O C e: nil is taken too and gives NULL
 *	|  at the top: what follows may be missing; its outputs then stay untouched
 *
 * Handles are the parcel's.
 * -TARN_EARGS the number or a kind is wrong: the text names place, expected and found;
 * outputs before that place are set. -TARN_EPROTO, -EINVAL the format.
 */
TARN_EXPORT int tarn_parcel_get(const tarn_parcel *parcel, const char *format, ...);

/*
 * Looks at all of it once: that each value, at any depth, is what it says, and that no two
 * share bytes. Code that walks a stranger's parcel by recursion calls this first: without
 * it, few bytes could stand for endless lists. -TARN_EPROTO. Time: linear in its bytes.
 */
TARN_EXPORT int tarn_parcel_check(const tarn_parcel *parcel);

TARN_EXPORT enum tarn_kind tarn_value_kind(tarn_value value);

/*
 * Each gives the value if it is of that kind. Between int, uint and double where nothing is
 * lost: 3.0 is an int, 2^53 + 1 is no double.
 * -TARN_EKIND of another kind, -ERANGE lossy: the text says expected and found; -ENOENT there
 * is no value; -TARN_EPROTO damaged.
 */
TARN_EXPORT int tarn_value_bool(tarn_value value, bool *ret_bool);
TARN_EXPORT int tarn_value_int(tarn_value value, int64_t *ret_int);
TARN_EXPORT int tarn_value_uint(tarn_value value, uint64_t *ret_uint);
TARN_EXPORT int tarn_value_double(tarn_value value, double *ret_double);
/* A NUL follows the string. @ret_bytes may be NULL; then a NUL inside is -EINVAL. */
TARN_EXPORT int tarn_value_string(tarn_value value, const char **ret_text, size_t *ret_bytes);
/* Of a parcel that lies in a block the sender can still write to (see
 * tarn_parcel_is_shared()), bytes may change while they are looked at. */
TARN_EXPORT int tarn_value_bytes(tarn_value value, const void **ret_data, size_t *ret_bytes);
TARN_EXPORT int tarn_value_block(tarn_value value, tarn_block **ret_block);
TARN_EXPORT int tarn_value_object(tarn_value value, tarn_object **ret_object);
TARN_EXPORT int tarn_value_channel(tarn_value value, tarn_channel **ret_channel);
/* Makes a fault of it; the caller owns the reference. -ENOMEM. */
TARN_EXPORT int tarn_value_error(tarn_value value, tarn_fault **ret_fault);

/* Whether its bytes lie where another process may write. */
TARN_EXPORT bool tarn_parcel_is_shared(const tarn_parcel *parcel);

/* Of a list or map: how many entries (else 0), and the value of the @index'th. */
TARN_EXPORT size_t tarn_value_count(tarn_value value);
TARN_EXPORT tarn_value tarn_value_at(tarn_value value, size_t index);

/* Of a map: the key of the @index'th entry, a string or an int; the value of a key, or none.
 * A key that occurs twice is found at its first place. Time: linear in the entries. */
TARN_EXPORT tarn_value tarn_value_key_at(tarn_value map, size_t index);
TARN_EXPORT tarn_value tarn_value_get(tarn_value map, const char *key);
TARN_EXPORT tarn_value tarn_value_get_int(tarn_value map, int64_t key);

/*
 * Whether both are the same: numbers by their value whatever the kind (NaN equals NaN, 0.0
 * equals -0.0), entries of maps in the same order, references to the same thing. False if
 * either is none or damaged.
 */
TARN_EXPORT bool tarn_value_equal(tarn_value a, tarn_value b);

/* Appends a copy of @value, with all that is in it, to @builder: how a value is passed on. */
TARN_EXPORT int tarn_put_value(tarn_builder *builder, tarn_value value);

/* ---- as text ---- */

/*
 * Writes it as text that tarn_value_parse() reads back, into @text of @bytes, cut if too
 * long but always with a NUL. Returns the length of the whole, as snprintf() does, or
 * -TARN_EPROTO (then @text holds what could be read), -ENOENT there is no value.
 *
 *	nil true -5 5u 1.5 "a\n\xff" b"\x00raw" [1, 2] {"a": 1, 5: nil}
 *	<block 5:3 at 0x10000, size 80> error["ValueError", -4107, "38", ...]
 */
TARN_EXPORT int tarn_value_format(tarn_value value, char *text, size_t bytes);
/* All values at the top, with commas between. */
TARN_EXPORT int tarn_parcel_format(const tarn_parcel *parcel, char *text, size_t bytes);

/* Puts what "<@reference>" stands for into @builder; 0 or a negative code. */
typedef int tarn_resolve_fn(void *user, const char *reference, tarn_builder *builder);

/*
 * Reads values with commas or blanks between and appends them to @builder. JSON is
 * understood too (null, \u escapes). @resolve (NULL: none) turns references into handles.
 * Returns 0, -EINVAL (the text says where and what was expected), -E2BIG, -ENOMEM, or what
 * @resolve returned; the builder has failed then too.
 */
TARN_EXPORT int tarn_value_parse(const char *text, tarn_builder *builder,
				 tarn_resolve_fn *resolve, void *user);

/* ---- behind the functions: the paths that calls spend their time on, inlined ---- */

/* What TARN_INLINE functions do when it is not so simple. */
TARN_EXPORT int tarn_put_slot(tarn_builder *builder, uint64_t head, uint64_t body);
TARN_EXPORT int tarn_value_int_from(const tarn_value *value, int64_t *ret_int);
TARN_EXPORT int tarn_value_double_from(const tarn_value *value, double *ret_double);
TARN_EXPORT int tarn_value_string_from(const tarn_value *value, const char **ret_text,
				       size_t *ret_bytes);
TARN_EXPORT tarn_value tarn_value_none(int code);
TARN_EXPORT void tarn_builder_free(tarn_builder *builder);
TARN_EXPORT void tarn_parcel_free(tarn_parcel *parcel);

#define TARN_PARCEL_SHARED 4u /* of tarn_parcel.flags */

#ifndef TARN_INLINE
#define TARN_INLINE extern inline __attribute__((gnu_inline))
#endif

TARN_INLINE void tarn_builder_init(tarn_builder *builder)
{
	builder->words = builder->room;
	builder->first = 16; /* room to move the top-level slots down, see builder.c */
	builder->next = builder->room + 16;
	builder->limit = builder->room + 47;
	builder->capacity = 48;
	builder->heap = 0;
	builder->stack = 48;
	builder->error = 0;
	builder->n_slots = 0;
	builder->count = 0;
	builder->kind = 0;
	builder->depth = 0;
	builder->n_refs = 0;
	builder->max_refs = 8;
	builder->refs = builder->refs_room;
}

TARN_INLINE void tarn_builder_fini(tarn_builder *builder)
{
	if (builder->n_refs != 0 || builder->max_refs != 8 || builder->words != builder->room)
		tarn_builder_free(builder);
}

TARN_INLINE void tarn_parcel_init(tarn_parcel *parcel)
{
	/* Not the rooms: they are 320 bytes. */
	parcel->words = parcel->room;
	parcel->n_words = 0;
	parcel->n_values = 0;
	parcel->n_refs = 0;
	parcel->flags = 0;
	parcel->spare = 0;
	parcel->refs = parcel->refs_room;
	parcel->holder = NULL;
	parcel->copies = NULL;
}

TARN_INLINE void tarn_parcel_fini(tarn_parcel *parcel)
{
	if (parcel->n_refs != 0 || parcel->flags != 0)
		tarn_parcel_free(parcel);
	parcel->n_values = 0;
	parcel->n_words = 0;
}

TARN_INLINE int tarn_put_int(tarn_builder *builder, int64_t value)
{
	uint64_t *slot = builder->next;

	if (slot >= builder->limit)
		return tarn_put_slot(builder, TARN_KIND_INT, (uint64_t)value);
	slot[0] = TARN_KIND_INT;
	slot[1] = (uint64_t)value;
	builder->next = slot + 2;
	return 0;
}

TARN_INLINE int tarn_put_double(tarn_builder *builder, double value)
{
	uint64_t *slot = builder->next, bits;

	__builtin_memcpy(&bits, &value, sizeof bits);
	if (slot >= builder->limit)
		return tarn_put_slot(builder, TARN_KIND_DOUBLE, bits);
	slot[0] = TARN_KIND_DOUBLE;
	slot[1] = bits;
	builder->next = slot + 2;
	return 0;
}

TARN_INLINE unsigned tarn_parcel_count(const tarn_parcel *parcel)
{
	return parcel->n_values;
}

TARN_INLINE tarn_value tarn_parcel_at(const tarn_parcel *parcel, unsigned index)
{
	tarn_value v;

	if (index >= parcel->n_values)
		return tarn_value_none(-ENOENT);
	/* Each word is read once: the memory may be one that others write to. */
	v.head = __atomic_load_n(parcel->words + 2 * index, __ATOMIC_RELAXED);
	v.body = __atomic_load_n(parcel->words + 2 * index + 1, __ATOMIC_RELAXED);
	v.parcel = parcel;
	v.at = 2 * index;
	v.depth = 0;
	return v;
}

TARN_INLINE int tarn_value_int(tarn_value value, int64_t *ret_int)
{
	if ((value.head & 0xff) != TARN_KIND_INT)
		return tarn_value_int_from(&value, ret_int);
	*ret_int = (int64_t)value.body;
	return 0;
}

TARN_INLINE int tarn_value_double(tarn_value value, double *ret_double)
{
	if ((value.head & 0xff) != TARN_KIND_DOUBLE)
		return tarn_value_double_from(&value, ret_double);
	__builtin_memcpy(ret_double, &value.body, sizeof *ret_double);
	return 0;
}

TARN_INLINE int tarn_value_string(tarn_value value, const char **ret_text, size_t *ret_bytes)
{
	const tarn_parcel *parcel = value.parcel;
	uint64_t bytes = value.head >> 32, at = value.at + 1u;
	const char *text;

	/* Private memory, all of it inside, and the NUL is there; else see reader.c. */
	if ((value.head & 0xff) != TARN_KIND_STRING || (parcel->flags & TARN_PARCEL_SHARED) ||
	    ret_bytes == NULL)
		return tarn_value_string_from(&value, ret_text, ret_bytes);
	if (bytes > 7) {
		at = 2u * parcel->n_values + value.body / 8;
		if (value.body % 8 != 0 || value.body / 8 > parcel->n_words ||
		    at + bytes / 8 >= parcel->n_words)
			return tarn_value_string_from(&value, ret_text, ret_bytes);
	}
	text = (const char *)(parcel->words + at);
	if (text[bytes] != 0)
		return tarn_value_string_from(&value, ret_text, ret_bytes);
	*ret_text = text;
	*ret_bytes = (size_t)bytes;
	return 0;
}

TARN_END

#endif
