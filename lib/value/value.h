/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values inside the library: how a payload lies in memory, and what calls do with builders
 * and parcels.
 *
 * A payload is a run of 64-bit words. First come the slots of the top-level values, two
 * words each; behind them (the heap) lies what slots point to: long strings and bytes, and
 * the slots of lists and maps. A slot:
 *
 *	word 0   bits 0..7 kind, 8..15 zero, 16..31 index of a reference, 32..63 length
 *	word 1   the number itself; up to 8 bytes (of a string 7, and a NUL); or where the rest
 *	         lies: bytes from the beginning of the heap, a multiple of 8
 *
 * Length counts bytes of strings and bytes (the NUL of a string not), entries of lists and
 * maps (a map has two slots per entry: key, value) and slots of errors. Offsets
 * count from the heap, not from the beginning, so that a builder can append
 * top-level slots without touching what is written.
 *
 * References are indices into a table beside the payload, never ids inside: what may be
 * counted is known without reading the payload, and whoever forwards bytes forwards no
 * rights.
 *
 * Nothing is checked on arrival. Every read copies one slot, checks it against the
 * payload's bounds, and uses the copy: the memory may be a ring or block that its writer
 * still changes. A walk over everything (printing, comparing, copying, checking) spends one
 * unit for each word that it visits and has as many as the payload has words; in what a
 * builder made no word is visited twice, so running out proves damage, and no payload
 * costs more than its size whatever its offsets say.
 */
#ifndef TARN_VALUE_VALUE_H
#define TARN_VALUE_VALUE_H

#include "shm/base.h"
#include "tarn/value.h"

/* ---- slots ---- */

#define TARN__SLOT_WORDS 2u

static inline uint64_t tarn__slot_head(enum tarn_kind kind, unsigned ref, uint32_t length)
{
	return (uint64_t)kind | (uint64_t)ref << 16 | (uint64_t)length << 32;
}
static inline unsigned tarn__head_kind(uint64_t head)
{
	return (unsigned)(head & 0xff);
}
static inline unsigned tarn__head_ref(uint64_t head)
{
	return (unsigned)(head >> 16 & 0xffff);
}
static inline uint32_t tarn__head_length(uint64_t head)
{
	return (uint32_t)(head >> 32);
}

/* ---- handles ---- */

/*
 * What values do with handles. All three kinds begin with a struct tarn_block. Defined by
 * lib/client/values.c, where the kinds are known; tests put their own there.
 */
struct tarn__value_hooks {
	void (*ref)(struct tarn_block *handle);
	void (*unref)(struct tarn_block *handle);
	enum tarn_kind (*kind_of)(const struct tarn_block *handle);
	bool (*same)(const struct tarn_block *a, const struct tarn_block *b); /* the same thing */
	int (*format)(const struct tarn_block *handle, char *text, size_t bytes); /* "<block ...>" */
};
extern struct tarn__value_hooks tarn__value_hooks;

/* ---- building ---- */

/* tarn_list_begin() and _end() for a kind; errors are lists too. */
int tarn__open(tarn_builder *builder, enum tarn_kind kind);
int tarn__close(tarn_builder *builder, enum tarn_kind kind);
/* Puts a handle that is of @kind; NULL: nil. */
int tarn__put_handle(tarn_builder *builder, enum tarn_kind kind, struct tarn_block *handle);
/* Makes @code, of which the caller has told the thread, the builder's failure. */
int tarn__builder_fail(tarn_builder *builder, int code);

/* ---- builder -> wire ---- */

struct tarn__payload {
	const uint64_t *words;
	uint32_t n_words;
	uint8_t n_values;
	uint16_t n_refs;
	struct tarn_block *const *refs; /* borrowed from the builder */
};

/* What @builder holds, in place: valid until it is changed. The builder's failure, or
 * -EINVAL if a list or map is still open. */
int tarn__builder_payload(const tarn_builder *builder, struct tarn__payload *ret_payload);

/* The same of a builder that has nothing but top-level slots, which most have. False: it is
 * another, or has failed. */
static inline bool tarn__builder_plain(const tarn_builder *b, struct tarn__payload *ret)
{
	const uint64_t *words = b->words + b->first;
	uint32_t n = (uint32_t)(b->next - words);

	if (tarn__unlikely(((uint32_t)b->error | b->heap | b->kind | b->n_refs) != 0))
		return false;
	ret->words = words;
	ret->n_words = n;
	ret->n_values = (uint8_t)(n / TARN__SLOT_WORDS);
	ret->n_refs = 0;
	ret->refs = NULL;
	return true;
}

/* ---- wire -> parcel ---- */

/* The parcel's flags. */
#define TARN__PARCEL_WORDS 1u  /* words are from malloc */
#define TARN__PARCEL_REFS 2u   /* so is the table of references */
#define TARN__PARCEL_SHARED TARN_PARCEL_SHARED /* 4: others may write to the words */
#define TARN__PARCEL_LENT 8u   /* words and references are the lender's */

/*
 * Makes @parcel (raw memory) of a copy of @words. It takes over one reference on each of
 * @refs; on failure they are still the caller's. -ENOMEM, -TARN_EPROTO n_values or n_refs do not fit.
 */
int tarn__parcel_set(tarn_parcel *parcel, const uint64_t *words, uint32_t n_words,
		     unsigned n_values, struct tarn_block *const *refs, unsigned n_refs);

/* The same of up to five words without references, all of them given. False: the counts do not go
 * together, and nothing was done. */
#define TARN__SHORT_WORDS 5u
static inline bool tarn__parcel_set_short(tarn_parcel *parcel, const uint64_t words[TARN__SHORT_WORDS],
					  unsigned n_words, unsigned n_values)
{
	if (tarn__unlikely(n_words > TARN__SHORT_WORDS || n_values * TARN__SLOT_WORDS > n_words))
		return false;
	parcel->words = parcel->room;
	parcel->n_words = n_words;
	parcel->n_values = (uint8_t)n_values;
	parcel->n_refs = 0;
	parcel->flags = 0;
	parcel->spare = 0;
	parcel->refs = parcel->refs_room;
	parcel->holder = NULL;
	parcel->copies = NULL;
	for (unsigned i = 0; i < TARN__SHORT_WORDS; i++)
		parcel->room[i] = words[i];
	return true;
}

/* The same of a payload that lies in a block: stays there. Takes over one reference on
 * @holder too, which keeps it mapped. */
int tarn__parcel_set_block(tarn_parcel *parcel, struct tarn_block *holder, const uint64_t *words,
			   uint32_t n_words, unsigned n_values, struct tarn_block *const *refs,
			   unsigned n_refs);

/* Makes @parcel a view of words and references that the caller keeps, longer than it. With
 * @shared, others may write to the words. Needs no fini, unless @shared. */
int tarn__parcel_lend(tarn_parcel *parcel, const uint64_t *words, uint32_t n_words,
		      unsigned n_values, struct tarn_block *const *refs, unsigned n_refs,
		      bool shared);

/* The same of words without references, if they are few. False: nothing was done. */
#define TARN__LEND_WORDS 64u
static inline bool tarn__parcel_lend_plain(tarn_parcel *parcel, const uint64_t *words,
					   uint32_t n_words, unsigned n_values)
{
	if (tarn__unlikely(n_words > TARN__LEND_WORDS || n_values * TARN__SLOT_WORDS > n_words))
		return false;
	parcel->words = words;
	parcel->n_words = n_words;
	parcel->n_values = (uint8_t)n_values;
	parcel->n_refs = 0;
	parcel->flags = TARN__PARCEL_LENT;
	parcel->spare = 0;
	parcel->refs = parcel->refs_room;
	parcel->holder = NULL;
	parcel->copies = NULL;
	return true;
}

/* Private memory for @n_words and @n_refs to be filled by the caller, before anybody reads:
 * saves a copy when words come in pieces, as from a ring. */
int tarn__parcel_room(tarn_parcel *parcel, uint32_t n_words, unsigned n_values, unsigned n_refs,
		      uint64_t **ret_words, struct tarn_block ***ret_refs);

/* ---- reading all of it ---- */

/* Of list, map (keys and values) or error: its slots, and the @index'th of them. -TARN_EPROTO
 * if they do not lie in the payload, or too deep. */
int tarn__slots(const tarn_value *value, uint32_t *ret_count);
tarn_value tarn__slot_of(const tarn_value *value, uint32_t index);

/* What a walk may still spend, in words. */
struct tarn__walk {
	uint64_t left;
};
static inline struct tarn__walk tarn__walk_begin(const tarn_parcel *parcel)
{
	return (struct tarn__walk){ parcel != NULL ? parcel->n_words : 0 };
}
/* Pays for a visit to @value: its slot, and its bytes. -TARN_EPROTO it is none or damaged, or
 * the walk has been where it goes. */
int tarn__walk_visit(struct tarn__walk *walk, const tarn_value *value);

/* The bytes of a string or of bytes, as they lie in the payload: for use once, without a NUL to
 * rely on. @value has been checked for kind. */
int tarn__value_data(const tarn_value *value, const unsigned char **ret_data, size_t *ret_bytes);
/* The handle behind a reference slot, of its kind. */
int tarn__value_handle(const tarn_value *value, struct tarn_block **ret_handle);

static inline bool tarn__kind_is_ref(unsigned kind)
{
	return kind >= TARN_KIND_BLOCK && kind <= TARN_KIND_CHANNEL;
}

/* Why there is no value: the code of a none, else -TARN_EPROTO; with a sentence. */
int tarn__fail_none(const tarn_value *value);
/* "expected int, found string": -TARN_EKIND, or what tarn__fail_none() says. */
int tarn__fail_kind(const tarn_value *value, const char *expected);

/* A copy of @bytes at @data, in the parcel's words, with a NUL; it lives as long as the parcel. Who
 * asks again gets the same copy, whatever is at @data by then. */
int tarn__parcel_copy(const tarn_parcel *parcel, const void *data, size_t bytes,
		      const char **ret_text);

/* ---- signatures ---- */

/*
 * Signatures say what a method takes or gives, in the letters of tarn_put(), where i and q are
 * the same, as are I and Q, s and S. Numbers may be of another kind if nothing is lost. And:
 *
 *	[]   any list       [ddd]   a list of just these
 *	{}   any map        {s:d}   a map from strings to doubles
 *	x?   x or nil       x*      at the end: any number of x
 *	|    at the top: what follows may be missing
 *
 * 0 if @signature is well formed, else -EINVAL and a sentence.
 */
int tarn__signature_check(const char *signature);

/*
 * A signature of a few letters for numbers, bools and nil, compiled: the kinds that fit whatever their
 * bodies are. n: how many; TARN__PLAIN_NONE: the signature is another.
 */
#define TARN__PLAIN_MOST 7u
#define TARN__PLAIN_NONE 0xffu
struct tarn__plain {
	uint8_t n;
	uint8_t kind[TARN__PLAIN_MOST];
};
struct tarn__plain tarn__signature_plain(const char *signature);

/* True: they match it. False: perhaps they do, see tarn__signature_match(). */
static inline bool tarn__plain_matches(const struct tarn__plain *plain, const tarn_parcel *parcel)
{
	if (plain->n != parcel->n_values)
		return false;
	for (unsigned i = 0; i < plain->n; i++)
		/* Relaxed: perhaps others write there; whoever reads it looks again. */
		if (tarn__head_kind(tarn__load_relaxed(parcel->words + TARN__SLOT_WORDS * i)) !=
		    plain->kind[i])
			return false;
	return true;
}

/* 0 if the parcel's values are as @signature says, -TARN_EARGS with "argument 2: expected
 * int, found string" in the thread's last failure, or -TARN_EPROTO. */
int tarn__signature_match(const char *signature, const tarn_parcel *parcel);

#endif
