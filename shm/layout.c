/* SPDX-License-Identifier: Apache-2.0 */
#include "layout.h"

#include "hash.h"

uint64_t tarn__layout_hash(void)
{
	/* Whatever two builds must agree on to share memory. A change of meaning
	 * without a change of shape raises TARN__LAYOUT_VERSION. */
	static const uint64_t facts[] = {
		TARN__LAYOUT_VERSION,
		TARN__REQUESTS,
		TARN__REPLIES,
		TARN__MESSAGE_SLOTS,
		TARN__MSG_KINDS,
		TARN__INDEX_BITS,
		TARN__HEAP_PAGE,
		TARN__SMALL_CLASSES,
		TARN__CLASSES,
		sizeof(struct tarn__slot),
		offsetof(struct tarn__slot, mark),
		sizeof(struct tarn__lane_area),
		offsetof(struct tarn__lane_area, client),
		offsetof(struct tarn__lane_area, signs),
		offsetof(struct tarn__lane_area, waits),
		sizeof(struct tarn__lane_waits),
		TARN__HISTOGRAM_BUCKETS,
		offsetof(struct tarn__lane_area, rings),
		offsetof(struct tarn__lane_signs, notice),
		offsetof(struct tarn__lane_signs, evicted),
		offsetof(struct tarn__lane_client, waiting),
		offsetof(struct tarn__lane_client, notify),
		sizeof(struct tarn__ctrl),
		offsetof(struct tarn__ctrl, server_state),
		offsetof(struct tarn__ctrl, incarnation),
		offsetof(struct tarn__ctrl, membarrier),
		sizeof(struct tarn__dir_entry),
		offsetof(struct tarn__dir_entry, offset),
		offsetof(struct tarn__dir_entry, capacity),
		offsetof(struct tarn__dir_entry, state),
		offsetof(struct tarn__channel_ring, producer_waiting),
		offsetof(struct tarn__channel_ring, producer_wake),
		offsetof(struct tarn__channel_ring, producer_left),
		offsetof(struct tarn__channel_ring, head),
		offsetof(struct tarn__channel_ring, consumer_waiting),
		offsetof(struct tarn__channel_ring, consumer_wake),
		offsetof(struct tarn__channel_ring, consumer_left),
		offsetof(struct tarn__channel_ring, slot),
		TARN__CH_SPARE,
		TARN__CALL_REFS,
		TARN__DIR_TYPE_SHIFT,
	};

	return tarn__hash64(facts, sizeof facts, 0);
}
