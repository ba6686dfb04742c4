/* SPDX-License-Identifier: Apache-2.0 */
#include "log-ring.h"

#include <string.h>

#include "wake.h"

void tarn__log_ring_init(struct tarn__log_ring *r, uint64_t bytes)
{
	r->bytes = bytes;
	r->asleep = 1; /* nobody has looked yet: the first record rings */
}

static void copy_in(struct tarn__log_ring *r, uint64_t at, const unsigned char *from, size_t n)
{
	const uint64_t place = at & (r->bytes - 1);
	const size_t first = n < r->bytes - place ? n : (size_t)(r->bytes - place);

	memcpy(r->data + place, from, first);
	memcpy(r->data, from + first, n - first);
}

static void copy_out(const struct tarn__log_ring *r, uint64_t size, uint64_t at, unsigned char *to,
		     size_t n)
{
	const uint64_t place = at & (size - 1);
	const size_t first = n < size - place ? n : (size_t)(size - place);

	memcpy(to, r->data + place, first);
	memcpy(to + first, r->data, n - first);
}

static bool has_room(const struct tarn__log_ring *r, uint32_t bytes)
{
	/* SYNC log-room, acquire: what the reader has read may be overwritten. Head is ours. */
	return tarn__load_relaxed(&r->head) + bytes - tarn__load_acquire(&r->tail) <= r->bytes;
}

bool tarn__log_ring_put(struct tarn__log_ring *r, const void *record, uint32_t bytes)
{
	const uint64_t head = tarn__load_relaxed(&r->head); /* ours */

	if (!has_room(r, bytes))
		return false;
	copy_in(r, head, record, bytes);
	/* SYNC log-record, release: whoever sees the head sees the record. */
	tarn__store_release(&r->head, head + bytes);
	return true;
}

bool tarn__log_ring_must_ring(struct tarn__log_ring *r)
{
	/* SYNC log-sleep: either the reader's look, after it said that it sleeps, sees our head, or
	 * we see that it sleeps. An exchange, for of several records one rings. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return tarn__load32_relaxed(&r->asleep) != 0 &&
	       __atomic_exchange_n(&r->asleep, 0, __ATOMIC_SEQ_CST) != 0;
}

void tarn__log_ring_await(struct tarn__log_ring *r, uint32_t bytes, uint64_t deadline)
{
	while (!has_room(r, bytes) && tarn__now() < deadline) {
		const uint32_t seen = tarn__load32_acquire(&r->room);

		tarn__store32_relaxed(&r->waits, 1);
		/* SYNC log-room: either we see the tail, or the reader sees that we wait. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!has_room(r, bytes))
			tarn__futex_wait(&r->room, seen, deadline);
	}
	tarn__store32_relaxed(&r->waits, 0);
}

static void consume(struct tarn__log_ring *r, uint64_t tail)
{
	/* SYNC log-room, release: the bytes are copied. */
	tarn__store_release(&r->tail, tail);
	/* SYNC log-room: see tarn__log_ring_await(). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (tarn__load32_relaxed(&r->waits) != 0) {
		__atomic_fetch_add(&r->room, 1, __ATOMIC_RELEASE);
		tarn__futex_wake(&r->room, 1);
	}
}

uint32_t tarn__log_ring_get(struct tarn__log_ring *r, uint64_t size, void *buffer)
{
	const uint64_t tail = tarn__load_relaxed(&r->tail); /* ours */
	/* SYNC log-record, acquire. */
	const uint64_t head = tarn__load_acquire(&r->head), there = head - tail;
	uint32_t bytes = 0;

	if (there == 0)
		return 0;
	if (there <= size && there >= sizeof bytes)
		copy_out(r, size, tail, (unsigned char *)&bytes, sizeof bytes);
	if (bytes < 8 || bytes % 8 != 0 || bytes > there || bytes > TARN__LOG_RECORD_MOST) {
		consume(r, head); /* no writer of ours left that */
		return 0;
	}
	copy_out(r, size, tail, buffer, bytes);
	memcpy(buffer, &bytes, sizeof bytes); /* as it was checked */
	consume(r, tail + bytes);
	return bytes;
}

bool tarn__log_ring_sleep(struct tarn__log_ring *r)
{
	__atomic_store_n(&r->asleep, 1, __ATOMIC_SEQ_CST);
	/* SYNC log-sleep: see tarn__log_ring_must_ring(). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return tarn__load_acquire(&r->head) == tarn__load_relaxed(&r->tail);
}
