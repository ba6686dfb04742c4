/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words in shared instances that name who has something: client and thread in one 32-bit word, so
 * that having it and saying so are one compare-and-swap. Who is killed at any instruction has
 * either nothing or left its name, and the server, which learns of every death, finds it.
 *
 *	bits  0..11  number of the client; 0: nobody
 *	bits 12..21  the thread, by the number of its lane
 *	bits 22..31  flags of the word's kind
 */
#ifndef TARN_SHM_OWNER_H
#define TARN_SHM_OWNER_H

#include "base.h"

#define TARN__OWNER_CLIENT 0xfffu
#define TARN__OWNER_MASK 0x3fffffu
#define TARN__OWNER_LANE_SHIFT 12
/* Of locks and guards. */
#define TARN__OWNER_REPAIR (1u << 29)  /* guards: who enters next sets right what a dead one left */
#define TARN__OWNER_DIED (1u << 30)    /* nobody has it; who had it last died with it */
#define TARN__OWNER_WAITERS (1u << 31) /* somebody may sleep on the word */

static inline uint32_t tarn__owner(uint32_t client, uint32_t lane)
{
	return client | lane << TARN__OWNER_LANE_SHIFT;
}
static inline uint32_t tarn__owner_client(uint32_t word) { return word & TARN__OWNER_CLIENT; }
static inline uint32_t tarn__owner_lane(uint32_t word)
{
	return (word & TARN__OWNER_MASK) >> TARN__OWNER_LANE_SHIFT;
}

/* For the server, when a client is gone: a read-modify-write reads the newest, where a load might return what the word
 * was before a living client changed it and woke the dead one, who cannot pass that on any more. */
static inline uint32_t tarn__word_newest(uint32_t *word)
{
	return __atomic_fetch_or(word, 0, __ATOMIC_ACQUIRE);
}

static inline bool tarn__word_swap(uint32_t *word, uint32_t *seen, uint32_t to, int order)
{
	return __atomic_compare_exchange_n(word, seen, to, false, order, __ATOMIC_RELAXED);
}

#endif
