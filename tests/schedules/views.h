/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fourth memory of the scheduler: what C11 promises to loads, and no more. A load may return a
 * store that is not the newest, as long as nothing that its thread knows of came after it.
 *
 * Each word keeps its last stores. What a thread knows is its view: of each word the oldest store
 * that it may still read. A view is a clock here, one number for each thread: what a thread did or
 * read up to then is in the view of whoever knows that number, so handing a view on copies a few
 * numbers and not one for each word.
 *
 *	store		carries the view of its writer if it is a release, else the view of the
 *			writer's last release fence
 *	load		any store of the word from the oldest one that the thread's view allows;
 *			raises the view of this word. An acquire takes over what the store carries;
 *			otherwise that waits for the next acquire fence
 *	read-modify-write	reads the newest, and hands on what that carried: the release
 *			sequence. (Only so: a later plain store of the same thread does not, as
 *			since C++20.) A compare-and-swap that fails is a load with its second order,
 *			and may see an old value.
 *	seq_cst fence	both fences, and: knows all that seq_cst fences before knew, and all seq_cst
 *			stores
 *	seq_cst load	nothing older than the last seq_cst store of the word, or than what any
 *			seq_cst fence before knew
 *	membarrier	a seq_cst fence in the running thread, then in all others, then once more
 *
 * System calls, sleeping and waking order nothing; a futex compares with the newest. What does order
 * is said by the caller: a mutex (views_give, views_take), a socket or a death (views_meet), a
 * thread that begins (views_inherit).
 *
 * Which store is read is told by a hash of the run's salt, so a run is given by its decisions still:
 * mostly the newest; one in 2, 4 or 16 is late for a thread; one load in 8, 16 or 64 reads any. A
 * word that a thread has passed over VIEWS_PASSES times in a row is read, and before time passes
 * for those who sleep all stores are.
 *
 * Not played: stores that are overtaken by later ones of other threads in the order of their word
 * (2+2W), and loads that are done behind a store that follows them (load buffering). Words outside
 * of shared memory hand on views, and are always read as they are now.
 *
 * Litmus tests of all this: test-views.c.
 */
#ifndef TARN_TESTS_VIEWS_H
#define TARN_TESTS_VIEWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIEWS_THREADS 6u
#define VIEWS_PASSES 5u

/* A new run: nobody knows anything, and nothing was stored before. */
void views_begin(uint64_t salt);
/* @child begins knowing what @parent knows. */
void views_inherit(unsigned child, unsigned parent);

/* @bytes: 1, 2, 4, 8. @shared: old values may be read. @order: one of __ATOMIC_... */
uint64_t views_load(unsigned thread, const void *p, unsigned bytes, int order, bool shared);
void views_store(unsigned thread, void *p, unsigned bytes, uint64_t v, int order, bool shared);
/* Relaxed loads, of words of 8 or 4 bytes. */
void views_copy(unsigned thread, void *to, const void *from, size_t bytes);
/* Around a read-modify-write that is done in place. @order: of its failure, if it stored nothing. */
void views_rmw_begin(const void *p, unsigned bytes);
void views_rmw_end(unsigned thread, int order, bool stored);
void views_fence(unsigned thread, int order);
void views_membarrier(unsigned thread);

/* What is known is handed on by other means, through @at. */
void views_give(unsigned thread, const void *at);
void views_take(unsigned thread, const void *at);
/* Both know what either knew. */
void views_meet(unsigned a, unsigned b);

/* From here on all loads read what was stored so far. */
void views_reveal(void);

/* To standard error: the last @most things that were done, for who looks for the reason of a failure. Others than
 * these functions know of are told with views_note(). */
void views_print(uint32_t most);
void views_note(unsigned thread, char what, const void *p);

/* Memory as it is now: what the newest stores made it, of everybody. */
uint64_t views_in_place(const void *p, unsigned bytes);
void views_put_in_place(void *p, unsigned bytes, uint64_t v);

#endif
