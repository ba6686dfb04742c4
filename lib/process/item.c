/* SPDX-License-Identifier: Apache-2.0 */
#include "item.h"

#include <string.h>

#define TYPE "tarn.Parcel"
#define AT_ONCE 16u       /* references of one call: an inline method can have some 20 */
#define COPIED (64u << 10) /* bytes up to which values are taken out of the shared block */

/* At the beginning of the block; words follow. */
struct head {
	uint32_t magic;
	uint32_t n_words;
	uint16_t n_values, n_refs;
	uint32_t spare;
};
#define MAGIC 0x6d657469u
static_assert(sizeof(struct head) == 16, "words are aligned");

static int put_handle(tarn_builder *b, struct tarn_block *handle)
{
	return tarn__put_handle(b, tarn__value_hooks.kind_of(handle), handle);
}

/* ---- making ---- */

static int bytes_of(tarn_client *client, const struct tarn__payload *p, struct tarn_block **ret)
{
	const struct head h = { .magic = MAGIC, .n_words = p->n_words, .n_values = p->n_values,
				.n_refs = p->n_refs };
	tarn_block *b;
	int r = tarn_block_new(client, sizeof h + p->n_words * sizeof *p->words, 0, &b);

	if (r < 0)
		return r;
	memcpy(tarn_block_data(b), &h, sizeof h);
	memcpy((unsigned char *)tarn_block_data(b) + sizeof h, p->words,
	       p->n_words * sizeof *p->words);
	*ret = b;
	return 0;
}

/* The first call makes the object, the others add to it. */
static int parcel_of(tarn_client *client, struct tarn_block *bytes, const struct tarn__payload *p,
		     tarn_object **ret)
{
	tarn_object *o = NULL;
	tarn_builder b;
	unsigned at = 0;
	int r = 0;

	tarn_builder_init(&b);
	put_handle(&b, bytes);
	do {
		for (unsigned i = 0; i < AT_ONCE && at < p->n_refs; i++)
			put_handle(&b, p->refs[at++]);
		r = o == NULL ? tarn_object_new(client, TYPE, &b, &o)
			      : tarn_call(o, "add", &b, NULL, TARN_FOREVER);
		tarn_builder_reset(&b);
	} while (r == 0 && at < p->n_refs);
	tarn_builder_fini(&b);
	if (r < 0)
		o = tarn_object_unref(o);
	*ret = o;
	return r;
}

int tarn__carried_new(tarn_client *client, const tarn_builder *values, struct tarn_block **ret_item)
{
	struct tarn_block *bytes;
	struct tarn__payload p = { .n_values = 0 };
	tarn_object *o;
	int r = values != NULL ? tarn__builder_payload(values, &p) : 0;

	if (r < 0)
		return r;
	if (p.n_values == 0) {
		*ret_item = NULL;
		return 0;
	}
	r = bytes_of(client, &p, &bytes);
	if (r < 0 || p.n_refs == 0) {
		if (r == 0)
			*ret_item = bytes;
		return r;
	}
	r = parcel_of(client, bytes, &p, &o);
	tarn_block_unref(bytes);
	if (r == 0)
		*ret_item = &o->base;
	return r;
}

void tarn__carried_drop(struct tarn_block *item)
{
	if (item != NULL)
		tarn__value_hooks.unref(item);
}

int tarn__carried_put(tarn_builder *builder, struct tarn_block *item)
{
	return item == NULL ? tarn_put_nil(builder) : put_handle(builder, item);
}

int tarn__carried_of(tarn_value value, struct tarn_block **ret_item)
{
	if (tarn_value_kind(value) == TARN_KIND_NIL) {
		*ret_item = NULL;
		return 0;
	}
	if (tarn_value_kind(value) != TARN_KIND_BLOCK && tarn_value_kind(value) != TARN_KIND_OBJECT)
		return tarn__fail(-TARN_EPROTO, "A %s came where values were expected.",
				  tarn_kind_name(tarn_value_kind(value)));
	return tarn__value_handle(&value, ret_item);
}

/* ---- reading ---- */

static int fail_damaged(void)
{
	return tarn__fail(-TARN_EPROTO, "The values that came from another process are damaged.");
}

/* What @refs (all of them ours, taken over on success) and the block @bytes say. */
static int read_bytes(struct tarn_block *bytes, struct tarn_block *const *refs, unsigned n_refs,
		      tarn_parcel *ret)
{
	const uint64_t *words = (const uint64_t *)(const void *)(bytes->data + sizeof(struct head));
	struct head h;

	if (tarn_block_size(bytes) < sizeof h)
		return fail_damaged();
	memcpy(&h, bytes->data, sizeof h);
	if (h.magic != MAGIC || h.n_refs != n_refs || h.n_values > TARN_VALUES_MAX ||
	    tarn_block_size(bytes) - sizeof h < h.n_words * sizeof *words)
		return fail_damaged();
	if (h.n_words * sizeof *words <= COPIED)
		return tarn__parcel_set(ret, words, h.n_words, h.n_values, refs, n_refs);
	int r = tarn__parcel_set_block(ret, bytes, words, h.n_words, h.n_values, refs, n_refs);
	if (r == 0)
		tarn_block_ref(bytes); /* the parcel's */
	return r;
}

/* All that the object keeps, a reference on each: the block first. */
static int open_parcel(tarn_object *o, struct tarn_block *ret[TARN_REFS_MAX + 1], unsigned *ret_n)
{
	unsigned n = 0, got;
	int r;

	do {
		tarn_builder b;
		tarn_parcel p;

		tarn_builder_init(&b);
		tarn_put_uint(&b, n);
		r = tarn_call(o, "open", &b, &p, TARN_FOREVER);
		tarn_builder_fini(&b);
		if (r < 0)
			break;
		got = tarn_parcel_count(&p);
		for (unsigned i = 0; i < got && n <= TARN_REFS_MAX && r == 0; i++) {
			tarn_value v = tarn_parcel_at(&p, i);

			r = tarn__value_handle(&v, &ret[n]);
			if (r == 0)
				tarn__value_hooks.ref(ret[n++]);
		}
		tarn_parcel_fini(&p);
	} while (r == 0 && got == AT_ONCE && n <= TARN_REFS_MAX);
	*ret_n = n;
	return r;
}

static int read_object(tarn_object *o, tarn_parcel *ret)
{
	struct tarn_block *refs[TARN_REFS_MAX + 1];
	const char *type = tarn_object_type_name(o);
	unsigned n = 0;
	int r;

	if (type == NULL)
		return tarn__negative(tarn_error_last()->code);
	if (strcmp(type, TYPE) != 0)
		return tarn__fail(-TARN_EKIND, "An object of type %s came where values were expected.",
				  type);
	r = open_parcel(o, refs, &n);
	if (r == 0 && (n == 0 || tarn__value_hooks.kind_of(refs[0]) != TARN_KIND_BLOCK))
		r = fail_damaged();
	if (r == 0)
		r = read_bytes(refs[0], refs + 1, n - 1, ret);
	/* Of what was read the parcel has the references. */
	for (unsigned i = 0; i < (r == 0 ? 1 : n) && i < n; i++)
		tarn__value_hooks.unref(refs[i]);
	return r;
}

int tarn__carried_read(struct tarn_block *item, tarn_parcel *ret_values)
{
	if (item == NULL) {
		tarn_parcel_init(ret_values);
		return 0;
	}
	if (tarn__value_hooks.kind_of(item) == TARN_KIND_BLOCK)
		return read_bytes(item, NULL, 0, ret_values);
	return read_object(tarn__object_of_base(item), ret_values);
}
