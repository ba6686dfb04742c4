/* SPDX-License-Identifier: Apache-2.0 */
#include "shaken.h"

#include <string.h>

#include "tests/shim/shim.h"

struct shaken_count shaken_count;

static struct {
	struct {
		uint64_t at; /* the read before which it happens */
		uint64_t *word, value;
	} change[SHAKEN_CHANGES];
	unsigned n;
	uint64_t reads;
	const unsigned char *data, *data_end;
	struct shaken_lane {
		const unsigned char *from, *to; /* NULL: none */
		const struct tarn__slot *ring;
		const uint64_t *position;
		uint64_t last; /* slot that was read last */
	} lane[SHAKEN_LANES];
} shaken;

static bool is_in(const struct shaken_lane *l, const void *p)
{
	return (const unsigned char *)p >= l->from && (const unsigned char *)p < l->to;
}

static const struct shaken_lane *lane_of(const void *p)
{
	for (unsigned i = 0; i < SHAKEN_LANES; i++)
		if (is_in(&shaken.lane[i], p))
			return &shaken.lane[i];
	return NULL;
}

/* Is @word of a slot behind the one that is read, and in front of the cursor? */
static bool is_copied(const uint64_t *word)
{
	const struct shaken_lane *l = lane_of(word);
	const struct tarn__slot *s = (const void *)word;

	if (l == NULL || s < l->ring || s >= l->ring + TARN__REQUESTS)
		return false;
	uint64_t slot = (uint64_t)((const unsigned char *)word - (const unsigned char *)l->ring) /
			sizeof *s;
	uint64_t from = *l->position;

	return (slot - from) % TARN__REQUESTS < (l->last - from) % TARN__REQUESTS &&
	       (l->last - from) % TARN__REQUESTS <= 2 * TARN__MESSAGE_SLOTS;
}

void shaken_tick(void)
{
	shaken.reads++;
	for (unsigned i = 0; i < shaken.n;) {
		if (shaken.change[i].at > shaken.reads) {
			i++;
			continue;
		}
		shaken_count.made++;
		shaken_count.copied += is_copied(shaken.change[i].word);
		*shaken.change[i].word = shaken.change[i].value;
		shaken.change[i] = shaken.change[--shaken.n];
	}
}

static void before_read(const void *p)
{
	const unsigned char *at = p;

	if (shaken.n == 0)
		return;
	for (unsigned i = 0; i < SHAKEN_LANES; i++) {
		struct shaken_lane *l = &shaken.lane[i];

		if (!is_in(l, p))
			continue;
		if (at >= (const unsigned char *)(l->ring + TARN__REQUESTS))
			return; /* replies: nobody but a client reads them */
		if (at >= (const unsigned char *)l->ring)
			l->last = (uint64_t)(at - (const unsigned char *)l->ring) / sizeof *l->ring;
		shaken_tick();
		return;
	}
	if (at >= shaken.data && at < shaken.data_end)
		shaken_tick();
}

void shaken_begin(const unsigned char *data, uint64_t bytes)
{
	memset(&shaken, 0, sizeof shaken);
	shaken.data = data;
	shaken.data_end = data + bytes;
}

void shaken_lane(unsigned i, struct tarn__lane_area *a, const struct tarn__slot *ring,
		 const uint64_t *position)
{
	shaken.lane[i] = (struct shaken_lane){ .from = (unsigned char *)a,
					       .to = (unsigned char *)(a + 1),
					       .ring = ring,
					       .position = position };
}

void shaken_lane_gone(unsigned i)
{
	const struct shaken_lane *l = &shaken.lane[i];

	for (unsigned k = 0; k < shaken.n;)
		if (is_in(l, shaken.change[k].word))
			shaken.change[k] = shaken.change[--shaken.n];
		else
			k++;
	memset(&shaken.lane[i], 0, sizeof shaken.lane[i]);
}

bool shaken_note(uint64_t *word, uint64_t value, uint64_t in)
{
	if (shaken.n == SHAKEN_CHANGES)
		return false;
	shaken.change[shaken.n].at = shaken.reads + in;
	shaken.change[shaken.n].word = word;
	shaken.change[shaken.n++].value = value;
	return true;
}

void shaken_calm(void)
{
	shaken.n = 0;
}

/* ---- the shim ---- */

#include "plainshim.h"
