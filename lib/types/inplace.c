/* SPDX-License-Identifier: Apache-2.0 */
#include "inplace.h"

#include <string.h>

#include "lib/client/client.h"
#include "shm/id.h"

#define TRIES 16u                   /* each is over in less time than a call */
#define COPY_MOST (256u << 10)      /* bytes: more is copied by the server */

static bool begin(tarn_object *o, const tarn_type *type, struct tarn__sight *ret)
{
	struct tarn_client *c = o->base.client;

	/* A forked child, a thread without a lane, an object of another type: the call says what it
	 * says. Relaxed: a server that is about to end may be asked in vain. */
	if (tarn__unlikely(tarn__lane_mine(c) == NULL) ||
	    tarn__unlikely(tarn__object_instance(o, type) == NULL) ||
	    tarn__unlikely(tarn__load_relaxed(&c->ctrl->incarnation) == 0))
		return false;
	return tarn__view_begin(&c->view, tarn__id_index(o->base.id), o->base.id, ret);
}

enum tarn__inplace tarn__inplace_len(tarn_object *o, const tarn_type *type, uint64_t *ret)
{
	struct tarn__sight s;

	for (unsigned k = 0; k < TRIES; k++) {
		if (begin(o, type, &s) && tarn__view_done(&s)) {
			*ret = s.root.count;
			return TARN__INPLACE_DONE;
		}
		tarn__pause();
	}
	return TARN__INPLACE_CALL;
}

/* ---- cells into parcels ---- */

/* The words of a cell whose blob is @size bytes: its slot and its data, or the payload as it is. False:
 * that is not what such a cell has. */
static bool payload_words(uint64_t head, uint64_t size, uint32_t *ret_words)
{
	unsigned kind = tarn__head_kind(head);

	if (size > COPY_MOST)
		return false;
	if (kind == TARN_KIND_STRING || kind == TARN_KIND_BYTES) {
		*ret_words = (uint32_t)(TARN__SLOT_WORDS + size / 8 + 1); /* with a NUL */
		return size == head >> 32;
	}
	*ret_words = (uint32_t)(size / 8);
	return size >= 16 && size % 8 == 0;
}

static void copy_blob(uint64_t head, const struct tarn__blob *b, uint64_t size, uint64_t *room,
		      uint32_t n_words)
{
	unsigned kind = tarn__head_kind(head);
	uint32_t at = 0;

	if (kind == TARN_KIND_STRING || kind == TARN_KIND_BYTES) {
		room[0] = head & ~(uint64_t)0xff00;
		room[1] = 0;
		room[n_words - 1] = 0;
		at = TARN__SLOT_WORDS;
	}
	/* What changes meanwhile is found out by done(). */
	memcpy(room + at, b->data, size);
}

/* Makes @ret of the cell, if that is plain and still true. */
static enum tarn__inplace cell_take(const struct tarn__sight *s, const uint64_t *cell,
				    tarn_parcel *ret, bool *ret_again)
{
	uint64_t slot[2] = { cell[0], cell[1] }, *room;
	struct tarn_block **refs;
	struct tarn__blob copy;
	uint32_t n;

	*ret_again = false;
	if (!(cell[0] & TARN__CELL_BLOB)) {
		if (!tarn__view_done(s)) {
			*ret_again = true;
			return TARN__INPLACE_CALL;
		}
		if (tarn__kind_is_ref(tarn__head_kind(cell[0])) ||
		    tarn__parcel_set(ret, slot, 2, 1, NULL, 0) < 0)
			return TARN__INPLACE_CALL;
		return TARN__INPLACE_DONE;
	}
	const struct tarn__blob *b = tarn__view_blob(s, cell[1], &copy);

	/* Nothing is reserved for what may not be there. */
	if (!tarn__view_done(s)) {
		*ret_again = true;
		return TARN__INPLACE_CALL;
	}
	if (b == NULL || copy.n_refs != 0 || !payload_words(cell[0], copy.size, &n) ||
	    tarn__parcel_room(ret, n, 1, 0, &room, &refs) < 0)
		return TARN__INPLACE_CALL;
	copy_blob(cell[0], b, copy.size, room, n);
	if (tarn__view_done(s))
		return TARN__INPLACE_DONE;
	tarn_parcel_fini(ret);
	*ret_again = true;
	return TARN__INPLACE_CALL;
}

/* ---- lists ---- */

enum tarn__inplace tarn__inplace_at(tarn_object *o, int64_t index, tarn_parcel *ret)
{
	struct tarn__sight s;
	uint64_t cell[TARN__CELL_WORDS];
	bool again = ret != NULL;

	for (unsigned k = 0; k < TRIES && again; k++) {
		if (!begin(o, &tarn__type_list, &s)) {
			tarn__pause();
			continue;
		}
		uint64_t at = (uint64_t)(index < 0 ? index + (int64_t)s.root.count : index);

		if (!tarn__tree_at(&s, s.root.order, at, TARN__CELL_WORDS, cell)) {
			if (tarn__view_done(&s))
				break; /* out of range: the call says so */
			continue;
		}
		enum tarn__inplace r = cell_take(&s, cell, ret, &again);

		if (r == TARN__INPLACE_DONE)
			return r;
	}
	return TARN__INPLACE_CALL;
}

/* ---- dicts ---- */

static bool key_make(const struct tarn__view *v, tarn_key key, struct tarn__key *ret)
{
	uint64_t body = 0;
	const void *data = NULL;

	switch (key.kind) {
	case TARN_KIND_NIL:
		key.bytes = 0;
		break;
	case TARN_KIND_BOOL:
		body = key.u != 0;
		break;
	case TARN_KIND_INT:
	case TARN_KIND_UINT:
	case TARN_KIND_DOUBLE:
		body = key.u;
		break;
	case TARN_KIND_STRING:
	case TARN_KIND_BYTES:
		if (key.bytes > UINT32_MAX)
			return false;
		if (key.bytes > (key.kind == TARN_KIND_STRING ? 7 : 8))
			data = key.data;
		else if (key.bytes != 0)
			memcpy(&body, key.data, key.bytes);
		break;
	default:
		return false;
	}
	return tarn__key_make(tarn__view_head(v)->seed,
			      tarn__slot_head(key.kind, 0, (uint32_t)key.bytes), body, data, ret);
}

enum tarn__inplace tarn__inplace_key(tarn_object *o, const tarn_type *type, tarn_key key,
				     tarn_parcel *ret)
{
	uint64_t entry[TARN__ENTRY_WORDS];
	struct tarn__sight s;
	struct tarn__key hashed;
	bool again = true, hashed_it = false;

	for (unsigned k = 0; k < TRIES && again; k++) {
		if (!begin(o, type, &s)) {
			tarn__pause();
			continue;
		}
		if (!hashed_it && !key_make(s.view, key, &hashed))
			break;
		hashed_it = true;
		if (!tarn__dict_find(&s, &hashed, NULL, NULL, entry)) {
			if (tarn__view_done(&s))
				return TARN__INPLACE_ABSENT;
			continue;
		}
		if (ret == NULL) {
			if (tarn__view_done(&s))
				return TARN__INPLACE_DONE;
			continue;
		}
		enum tarn__inplace r = cell_take(&s, &entry[3], ret, &again);

		if (r == TARN__INPLACE_DONE)
			return r;
	}
	return TARN__INPLACE_CALL;
}
