/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap: which bytes of DATA belong to which object. Plain single-threaded
 * code over the tables of META; every change is part of the caller's
 * transaction, which the caller commits, except where "commits by itself" is said.
 */
#ifndef TARN_SERVER_HEAP_H
#define TARN_SERVER_HEAP_H

#include "state.h"

/*
 * Most words that one call adds to the undo log; the tests hold us to it. To take a run
 * out of its bin costs 2 words, to tag and put one in 6, so a merge costs 4 and a cut
 * that leaves two rests 14. An allocation may join 64 runs and cut one out of the result;
 * a free merges one run with two others; a slice of a dismantled span moves 256 objects
 * with 2 words each. The common case is 2 words to allocate and 6 to free a slot.
 */
#define HEAP_ALLOC_WORDS 224u
#define HEAP_FREE_WORDS 32u
#define HEAP_TIDY_WORDS 576u /* of each of its own transactions */

/* Sets the heap's fields of a fresh META (after tarn__state_create). Unlogged. */
void tarn__heap_init(struct state *st);

/* A successor calls it once, after the rollback: takes back what a helper thread of the
 * dead server held. Commits by itself. */
void tarn__heap_restart(struct state *st);

/*
 * Finds memory for @bytes (1 to the arena's cap) at a multiple of @align (a power of two;
 * up to 64 is free of charge) and an index for it. The object is FREE, has the id that it
 * will bear, offset, size = capacity and OBJECT_LARGE where due; its memory is committed.
 * The caller turns it into GRANTED or LIVE in the same transaction, keeping that flag
 * (object_owner_word_set does it in one store).
 *
 * -ENOMEM: the arena's cap is reached. -ENOSPC: the system has no memory for it.
 * -ENFILE: no index is left. -EINVAL: no such size or alignment.
 * -EAGAIN: memory that nobody uses might do, after some work: commit or roll back, then
 *  tarn__heap_reclaim() until it returns false, try again. It ends if nobody else uses the
 *  heap in between; if others do, the caller needs a deadline.
 * Nothing changed on failure, except that tables may have grown.
 */
int tarn__heap_alloc(struct state *st, uint64_t bytes, uint64_t align, uint32_t *ret_index);

/* The same for up to @most small blocks of one size at once, as far as slots that were used
 * before lie ready in one span: two words, however many. Returns how many; 0: take the other
 * way. */
#define HEAP_SOME_MOST 64u
uint32_t tarn__heap_alloc_some(struct state *st, uint64_t bytes, uint32_t most,
			       uint32_t ret_index[HEAP_SOME_MOST]);

/* One bounded step towards memory for such a request, after -EAGAIN. True: more to do.
 * Commits by itself, so the caller has no transaction open. */
bool tarn__heap_reclaim(struct state *st, uint64_t bytes, uint64_t align);

/* Takes the memory of @index (state GRANTED, LIVE or DEAD, counts and holders zero) back and
 * moves its generation on: FREE in its span or UNUSED; RETIRED when no generation is left.
 * Leaves owner NIL (whoever keeps that client's books does so before). Never fails. */
void tarn__heap_free(struct state *st, uint32_t index);

/* Capacity of an object: bytes of its slot or run. */
uint64_t tarn__heap_capacity(const struct state *st, const struct object *o);

/* Background work in bounded transactions: dismantles spans without users, gives memory
 * above the watermark back to the system. Commits by itself. True if there is more to do. */
bool tarn__heap_tidy(struct state *st);

/*
 * Memory made ready in the background. pick takes up to @want bytes of cold memory out of
 * the heap and commits that (so a successor can put them back); a helper thread then calls
 * tarn__segment_reserve and MADV_POPULATE_WRITE on [offset, offset + bytes) of DATA; done
 * puts the range back, warm if @ok. One range at a time. Memory in between is neither free
 * nor used: an allocation may fail for it and succeed after done.
 * pick: -ENOENT nothing cold is left, -EBUSY a range is out, -ENOMEM, -ENOSPC.
 * All commit by themselves.
 */
int tarn__heap_precommit_pick(struct state *st, uint64_t want, uint64_t *ret_offset,
			      uint64_t *ret_bytes);
void tarn__heap_precommit_done(struct state *st, uint64_t offset, uint64_t bytes, bool ok);
/* The same at once, in this thread: warms up to @bytes, in one piece. */
int tarn__heap_precommit(struct state *st, uint64_t bytes);

/* Free bytes that an allocation could get at most (cap minus used), and the largest run
 * that is free in one piece without tarn__heap_reclaim. */
void tarn__heap_room(const struct state *st, uint64_t *ret_free, uint64_t *ret_largest);

/* Recomputes everything from scratch. @say is called with one line per finding; returns
 * the number of findings. Bounded and in bounds on any META that tarn__state_adopt took. */
int tarn__heap_verify(const struct state *st, void (*say)(void *, const char *), void *arg);

#endif
