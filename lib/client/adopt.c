/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims that the server has booked for this client (results of calls, imports, names) become
 * handles. Nothing is posted for that; one that cannot be made is released.
 */
#include "object.h"

/* The claim and the hold that was taken for it. */
static void give_back(struct tarn__lane *l, uint64_t id)
{
	tarn__lane_say(l, tarn__header(TARN__MSG_RELEASE, 1, 0, 0), id, 1, 0, 0, 0, 0);
	tarn__lane_ring(l); /* it may be the last claim on an object */
	tarn__hold_return(l);
}

/* ---- blocks ---- */

int tarn__block_adopt(struct tarn__lane *l, uint64_t id, uint64_t size, bool sealed,
		      struct tarn_block **ret)
{
	struct tarn_client *c = l->client;
	struct tarn_block *b = tarn__handle_new(l), *known;

	if (b == NULL || !tarn__handle_fill(c, b, id, size)) {
		if (b != NULL)
			tarn__handle_free(l, b);
		give_back(l, id);
		return b == NULL ? tarn__fail(-ENOMEM, "No memory for a block's handle.")
				 : tarn__fail(-TARN_EPROTO, "The server described a block that cannot "
					      "be.");
	}
	b->refs = 1 | REF_SHARED; /* not yet known to others */
	tarn__from_server(c);
	tarn__show(b->data, b->size);
	if (sealed)
		tarn__seal_here(c, b);
	known = tarn__table_merge(c, b);
	if (known != b) {
		tarn__handle_free(l, b);
		tarn__hold_return(l);
	}
	*ret = known;
	return 0;
}

/* ---- objects ---- */

/* What DIR, which only the server writes, says of @id. */
static bool is_object(const struct tarn_client *c, uint64_t id, struct tarn__dir_entry *ret)
{
	uint32_t index = tarn__id_index(id);

	return id != 0 && index < c->dir_entries && tarn__dir_read(&c->dir[index], id, ret) &&
	       (ret->state & TARN__DIR_OBJECT);
}

struct tarn_object *tarn__object_handle(struct tarn__lane *l, uint64_t id)
{
	struct tarn_client *c = l->client;
	struct tarn__dir_entry e;
	struct tarn_block *b;

	if (tarn__unlikely(!is_object(c, id, &e))) {
		tarn__fail(-TARN_ESTALE, "There is no object with this reference (any more).");
		return NULL;
	}
	b = tarn__handle_new(l);
	if (tarn__unlikely(b == NULL)) {
		tarn__fail(-ENOMEM, "No memory for a proxy.");
		return NULL;
	}
	b->refs = 1 | REF_SHARED | REF_OBJECT; /* not yet known to others */
	b->client = c;
	b->data = NULL;
	b->size = 0;
	b->id = id;
	b->capacity = 0;
	b->next = NULL;
	b->units = 1;
	b->type = (uint16_t)tarn__dir_type(e.state);
	return tarn__object_of_base(b);
}

int tarn__object_adopt(struct tarn__lane *l, uint64_t id, const struct tarn__type *type,
		       struct tarn_object **ret)
{
	struct tarn_object *o = tarn__object_handle(l, id);
	struct tarn_block *known;

	if (tarn__unlikely(o == NULL)) {
		give_back(l, id);
		return tarn__negative(tarn_error_last()->code);
	}
	/* A creator may give an object of another type. */
	if (type != NULL && type->index == o->base.type)
		o->base.data = (unsigned char *)(uintptr_t)type;
	known = tarn__table_merge(l->client, &o->base);
	if (known != &o->base) {
		tarn__handle_free(l, &o->base);
		tarn__hold_return(l);
	}
	*ret = tarn__object_of_base(known);
	return 0;
}

/* ---- tables of references ---- */

static int adopt_any(struct tarn__lane *l, uint64_t id, uint64_t said, struct tarn_block **ret)
{
	struct tarn_client *c = l->client;
	uint32_t index = tarn__id_index(id);
	/* SYNC dir, acquire. Our unit keeps this id's life. */
	uint64_t state = index < c->dir_entries ? tarn__load_acquire(&c->dir[index].state) : 0;
	int r = tarn__hold_take(l);

	if (r < 0) {
		const uint64_t ref[2] = { id, said };

		tarn__refs_drop(l, ref, 1);
		return r;
	}
	if (state & TARN__DIR_OBJECT) {
		struct tarn_object *o;

		r = tarn__object_adopt(l, id, NULL, &o);
		if (r == 0)
			*ret = &o->base;
	} else if (state & TARN__DIR_CHANNEL) {
		struct tarn_channel *ch;

		r = tarn__channel_adopt(l, id, &ch);
		if (r == 0)
			*ret = &ch->base;
	} else {
		r = tarn__block_adopt(l, id, tarn__ref_size(said), tarn__ref_sealed(said), ret);
	}
	return r;
}

int tarn__refs_adopt(struct tarn__lane *l, const uint64_t *refs, unsigned n,
		     struct tarn_block **ret)
{
	for (unsigned i = 0; i < n; i++) {
		int r = adopt_any(l, refs[2 * i], refs[2 * i + 1], &ret[i]);

		if (r < 0) {
			tarn__refs_drop(l, refs + 2 * (i + 1), n - i - 1);
			while (i-- > 0)
				tarn__handle_put(l, ret[i]);
			return r;
		}
	}
	return 0;
}

void tarn__refs_drop(struct tarn__lane *l, const uint64_t *refs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct tarn_block *b = refs[2 * i] != 0 ? tarn__handle_new(l) : NULL;

		if (b == NULL)
			continue; /* the claim stays until this process ends */
		/* As an object: whatever it is, the server is to hear of it soon. */
		*b = (struct tarn_block){ .refs = REF_SHARED | REF_UNLISTED | REF_UNHELD | REF_OBJECT,
					  .client = l->client, .id = refs[2 * i], .units = 1 };
		tarn__backlog_push(l->client, b);
	}
}
