/* SPDX-License-Identifier: Apache-2.0 */
/*
 * META: all that the server knows, in a segment that nobody else maps, changed
 * only through an undo log (PROTOCOL 3.14).
 *
 *	set(word, v):  log[n] = {where, old};  n = n + 1;  word = v
 *	commit:        n = 0
 *	rollback:      while n > 0: restore log[n - 1]; n = n - 1
 *
 * Invariant I11: at every instant META is a committed state, or rolling back
 * makes it the last committed state. A killed process leaves a prefix of its
 * stores in program order, and whoever looks next starts after that death is
 * confirmed; so plain stores with compiler barriers between them are enough
 * and no cache flush or fence is needed.
 *
 * Rolling back is itself restartable: each entry is restored before the count
 * is lowered, and restoring twice is harmless.
 *
 * One thread of one process writes META (I1).
 */
#ifndef TARN_SHM_META_H
#define TARN_SHM_META_H

#include "base.h"

/* Most words that one transaction may change. Every operation has a bound far
 * below it; long work goes in slices. */
#define TARN__UNDO_CAPACITY 8192u

struct tarn__undo_entry {
	uint64_t where; /* byte offset of the word in META */
	uint64_t old;
};

struct tarn__undo {
	uint64_t n; /* entries that a rollback restores; 0 = committed */
	uint64_t pad[7];
	struct tarn__undo_entry log[TARN__UNDO_CAPACITY];
};
static_assert(sizeof(struct tarn__undo) == 64 + 16 * TARN__UNDO_CAPACITY, "undo log");

/* A process's view of META: process-private, never in shared memory. */
struct tarn__meta {
	unsigned char *base;
	struct tarn__undo *undo;
};

#ifdef TARN_META_HOOK
/* Crash-prefix tests (PROTOCOL T2) compile the server with this; it is called
 * after every store that META sees and may longjmp away. */
void tarn__meta_hook(void);
#define TARN__META_STORED() tarn__meta_hook()
#else
#define TARN__META_STORED() tarn__compiler_barrier()
#endif

static inline void tarn__meta_set64(struct tarn__meta *m, uint64_t *word, uint64_t v)
{
	struct tarn__undo *u = m->undo;
	uint64_t n = u->n;

	if (tarn__unlikely(n >= TARN__UNDO_CAPACITY))
		__builtin_trap(); /* an operation without a bound is a bug of ours */
	u->log[n].where = (uint64_t)((unsigned char *)word - m->base);
	u->log[n].old = *word;
	TARN__META_STORED();
	tarn__store_relaxed(&u->n, n + 1);
	TARN__META_STORED();
	tarn__store_relaxed(word, v);
	TARN__META_STORED();
}

/* The same of the first two words of a transaction: they share a look at the log. Their entries are
 * both there before they count, and count before a word changes. */
static inline void tarn__meta_set_first(struct tarn__meta *m, uint64_t *a, uint64_t to_a, uint64_t *b,
					uint64_t to_b)
{
	struct tarn__undo *u = m->undo;

	u->log[0].where = (uint64_t)((unsigned char *)a - m->base);
	u->log[0].old = *a;
	u->log[1].where = (uint64_t)((unsigned char *)b - m->base);
	u->log[1].old = *b;
	TARN__META_STORED();
	tarn__store_relaxed(&u->n, 2);
	TARN__META_STORED();
	tarn__store_relaxed(a, to_a);
	TARN__META_STORED();
	tarn__store_relaxed(b, to_b);
	TARN__META_STORED();
}

/* The log holds 64-bit words: a 32-bit field is set together with its
 * neighbour's unchanged value. Little-endian, as all our machines are. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian");
static inline void tarn__meta_set32(struct tarn__meta *m, uint32_t *field, uint32_t v)
{
	uint64_t *word = (uint64_t *)((uintptr_t)field & ~(uintptr_t)7);
	unsigned shift = ((uintptr_t)field & 4) ? 32 : 0;
	uint64_t mask = (uint64_t)0xffffffffu << shift;

	tarn__meta_set64(m, word, (*word & ~mask) | ((uint64_t)v << shift));
}

/* set(&meta, &field, value) for 32- and 64-bit fields. */
#define tarn__set(m, field, v)                                        \
	_Generic((field), uint64_t * : tarn__meta_set64, uint32_t * \
		 : tarn__meta_set32)((m), (field), (v))

/* Makes everything set since the last commit permanent. One aligned store. */
static inline void tarn__meta_commit(struct tarn__meta *m)
{
	tarn__compiler_barrier();
	tarn__store_relaxed(&m->undo->n, 0);
	TARN__META_STORED();
}

/* Undoes everything since the last commit. Restartable at any store. */
void tarn__meta_rollback(struct tarn__meta *m);

#endif
