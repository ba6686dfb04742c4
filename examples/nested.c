/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects that keep other objects. What an object holds lives as long as it, whoever else has
 * dropped it; what is taken out lives on with its taker.
 */
#include "must.h"
#include <tarn/type.h>

struct box { /* remembers an id; the server counts what it holds */
	uint64_t inside;
};

static int put(tarn_context *ctx, void *self)
{
	tarn_object *o;
	int r = tarn_context_get(ctx, "O", &o);

	if (r < 0)
		return r;
	((struct box *)self)->inside = tarn_object_id(o);
	return tarn_self_hold(ctx, o);
}

static int take(tarn_context *ctx, void *self)
{
	uint64_t id = ((struct box *)self)->inside;
	tarn_object *o;
	int r = tarn_self_object(ctx, id, &o);

	if (r == 0)
		r = tarn_put_object(tarn_context_result(ctx), o);
	return r < 0 ? r : tarn_self_drop(ctx, id);
}

static const tarn_method methods[] = { { "put", put, TARN_METHOD_INLINE, "O", "", NULL },
				       { "take", take, TARN_METHOD_INLINE, "", "O", NULL }, { 0 } };
static const tarn_type box = { .name = "Box", .size = sizeof(struct box), .methods = methods };
TARN_TYPE_REGISTER(box)

int main(void)
{
	tarn_object *outer, *inner;
	tarn_server *server;
	tarn_client *client;
	tarn_parcel result;

	must_begin(&server, &client);
	must(tarn_object_newf(client, "Box", &outer, NULL));
	must(tarn_object_newf(client, "Box", &inner, NULL));
	must(tarn_callf(outer, "put", TARN_FOREVER, "O", NULL, inner));
	tarn_object_unref(inner); /* only the outer one holds it now */
	must(tarn_call(outer, "take", NULL, &result, TARN_FOREVER));
	must(tarn_parcel_get(&result, "O", &inner));
	tarn_object_unref(outer);
	must(tarn_callf(inner, "put", TARN_FOREVER, "O", NULL, inner)); /* it holds itself: */
	tarn_parcel_fini(&result); /* such cycles are found, too */
	must_end(server, client);
	return 0;
}
