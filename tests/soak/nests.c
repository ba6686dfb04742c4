/* SPDX-License-Identifier: Apache-2.0 */
#include "nests.h"

#include <stdio.h>
#include <stdlib.h>

#include "tarn/type.h"

/* ---- in the server ---- */

#define CANARY 0x6e657374u
#define ITEMS 6

struct nest {
	uint64_t canary;
	uint64_t n, id[ITEMS];
	uint64_t block;
};

static int create(tarn_context *ctx, void *self)
{
	(void)ctx;
	((struct nest *)self)->canary = CANARY;
	return 0;
}
static void destroy(tarn_context *ctx, void *self)
{
	struct nest *n = self;

	(void)ctx;
	if (n->canary != CANARY)
		abort(); /* twice, or never made: the server's end is noticed */
	n->canary = 0;
}
static int check(tarn_context *ctx, void *self)
{
	return ((struct nest *)self)->canary == CANARY
		       ? tarn_put_object(tarn_context_result(ctx), tarn_context_self(ctx))
		       : tarn_throw(ctx, "RuntimeError", "a call after the end");
}
static int put(tarn_context *ctx, void *self)
{
	struct nest *n = self;
	tarn_object *o;
	int r = tarn_context_get(ctx, "O", &o);

	if (r == 0 && n->n == ITEMS)
		return tarn_throw(ctx, "IndexError", "full");
	if (r == 0)
		r = tarn_self_hold(ctx, o);
	if (r == 0)
		n->id[n->n++] = tarn_object_id(o);
	return r;
}
static int take(tarn_context *ctx, void *self)
{
	struct nest *n = self;
	tarn_object *o;
	int r;

	if (n->n == 0)
		return tarn_throw(ctx, "IndexError", "empty");
	r = tarn_self_object(ctx, n->id[n->n - 1], &o);
	if (r == 0)
		r = tarn_put_object(tarn_context_result(ctx), o);
	return r < 0 ? r : tarn_self_drop(ctx, n->id[--n->n]);
}
static int keep(tarn_context *ctx, void *self)
{
	struct nest *n = self;
	tarn_block *b;
	int r = tarn_context_get(ctx, "B", &b);

	if (r == 0)
		r = tarn_self_hold(ctx, b);
	if (r == 0 && n->block != 0)
		r = tarn_self_drop(ctx, n->block);
	if (r == 0)
		n->block = tarn_block_id(b);
	return r;
}

static const tarn_method methods[] = {
	{ "check", check, TARN_METHOD_INLINE, "", "O", NULL }, { "check_slowly", check, 0, "", "O", NULL },
	{ "put", put, TARN_METHOD_INLINE, "O", "", NULL },     { "put_slowly", put, 0, "O", "", NULL },
	{ "take", take, TARN_METHOD_INLINE, "", "O", NULL },   { "take_slowly", take, 0, "", "O", NULL },
	{ "keep", keep, TARN_METHOD_INLINE, "B", "", NULL },   { "keep_slowly", keep, 0, "B", "", NULL },
	{ 0 },
};
static const tarn_type nest = {
	.name = "Nest", .size = sizeof(struct nest), .flags = TARN_TYPE_INLINE, .create = create,
	.destroy = destroy, .methods = methods,
};
TARN_TYPE_REGISTER(nest)
static const tarn_type slow_nest = {
	.name = "SlowNest", .size = sizeof(struct nest), .create = create, .destroy = destroy,
	.methods = methods,
};
TARN_TYPE_REGISTER(slow_nest)

/* ---- in a worker ---- */

/* Full and empty nests, a full arena, names that nobody has: all in a day's work. */
static int expected(int r)
{
	return r == -TARN_EREMOTE || r == -ENOMEM || r == -ENOENT || r == -TARN_ESTALE || r == -ENOSPC ||
	       r == -ECANCELED || r == -TARN_EQUOTA ? 0 : r;
}

static void set(struct nests *k, unsigned at, tarn_object *o)
{
	tarn_object_unref(k->held[at]);
	k->held[at] = o;
}

/* A call whose result is an object, which takes place @at. */
static int call_for(struct nests *k, unsigned at, tarn_object *o, const char *method)
{
	tarn_object *got;
	tarn_parcel p;
	int r = tarn_call(o, method, NULL, &p, TARN_FOREVER);

	if (r < 0)
		return r;
	r = tarn_parcel_get(&p, "O", &got);
	if (r == 0)
		set(k, at, tarn_object_ref(got));
	tarn_parcel_fini(&p);
	return r;
}

static int finish(struct nests *k)
{
	int r = tarn_call_wait(k->call, NULL, TARN_FOREVER);

	k->call = tarn_call_free(k->call);
	return r;
}

int nests_act(struct nests *k, tarn_client *c, tarn_block *block, uint64_t random)
{
	unsigned at = (unsigned)(random % NESTS), other = (unsigned)(random / NESTS % NESTS);
	bool slowly = random >> 20 & 1;
	tarn_object *o = k->held[at], *got = NULL;
	char name[16];
	int r = 0;

	k->done++;
	snprintf(name, sizeof name, "nest %u", (unsigned)(random >> 24 & 7));
	if (o == NULL) {
		r = random >> 32 & 1 ? tarn_object_lookup(c, name, 0, &got)
				     : tarn_object_newf(c, slowly ? "SlowNest" : "Nest", &got, NULL);
		if (r == 0)
			k->held[at] = got;
		return expected(r);
	}
	switch (random >> 40 & 15) {
	case 0:
	case 1:
		set(k, at, NULL);
		break;
	case 2:
		r = tarn_object_publish(o, name, TARN_PUBLISH_REPLACE);
		break;
	case 3:
		r = call_for(k, other, o, slowly ? "take_slowly" : "take");
		break;
	case 4:
	case 5:
		if (block != NULL)
			r = tarn_callf(o, slowly ? "keep_slowly" : "keep", TARN_FOREVER, "B", NULL, block);
		break;
	case 6:
	case 7:
	case 8:
		if (k->held[other] != NULL)
			r = tarn_callf(o, slowly ? "put_slowly" : "put", TARN_FOREVER, "O", NULL,
				       k->held[other]);
		break;
	case 9:
		if (k->call != NULL)
			r = finish(k);
		else
			r = tarn_call_start(o, slowly ? "check_slowly" : "check", NULL, &k->call);
		break;
	case 10:
		k->call = tarn_call_free(k->call); /* whatever became of it */
		break;
	default:
		r = call_for(k, at, o, slowly ? "check_slowly" : "check");
	}
	if (expected(r) < 0 && r != -EINVAL && r != -TARN_EINTERRUPTED)
		fprintf(stderr, "# deed %u%s of a %s\n", (unsigned)(random >> 40 & 15),
			slowly ? ", slowly" : "", tarn_object_type_name(o));
	return expected(r);
}

void nests_drop(struct nests *k)
{
	k->call = tarn_call_free(k->call);
	for (unsigned i = 0; i < NESTS; i++)
		set(k, i, NULL);
}
