/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects that keep other objects: a shelf holds boxes. What an object holds lives as long as it,
 * whoever else has dropped it; what is taken out lives on with its taker.
 */
#include <stdio.h>
#include <stdlib.h>

#include <tarn/tarn.h>
#include <tarn/type.h>

struct shelf { /* remembers ids; the server counts what it holds */
	int64_t n;
	uint64_t id[10];
};

static int put(tarn_context *ctx, void *self)
{
	struct shelf *s = self;
	tarn_object *o;
	int r = tarn_context_get(ctx, "O", &o);

	if (r == 0 && s->n == 10)
		return tarn_throw(ctx, "IndexError", "the shelf is full");
	if (r == 0)
		r = tarn_self_hold(ctx, o);
	if (r == 0)
		s->id[s->n++] = tarn_object_id(o);
	return r;
}

static int take(tarn_context *ctx, void *self)
{
	struct shelf *s = self;
	tarn_object *o;
	int r = s->n > 0 ? tarn_self_object(ctx, s->id[s->n - 1], &o)
			 : tarn_throw(ctx, "IndexError", "the shelf is empty");

	if (r == 0)
		r = tarn_put_object(tarn_context_result(ctx), o);
	return r < 0 ? r : tarn_self_drop(ctx, s->id[--s->n]);
}

static const tarn_method methods[] = {
	{ "put", put, TARN_METHOD_INLINE, "O", "", NULL },
	{ "take", take, TARN_METHOD_INLINE, "", "O", NULL },
	{ 0 },
};
static const tarn_type shelf = { .name = "Shelf", .size = sizeof(struct shelf), .methods = methods };
TARN_TYPE_REGISTER(shelf)

static void must(int r)
{
	if (r >= 0)
		return;
	tarn_error_print(stderr);
	exit(1); /* a server that we started ends with us */
}

int main(void)
{
	tarn_object *outer, *inner, *box;
	tarn_server *server;
	tarn_client *client;
	tarn_parcel p;
	int r;

	must(tarn_server_start(NULL, &server));
	must(tarn_client_open(tarn_server_name(server), NULL, &client));
	must(tarn_object_newf(client, "Shelf", &outer, NULL));
	must(tarn_object_newf(client, "Shelf", &inner, NULL));
	must(tarn_callf(outer, "put", TARN_FOREVER, "O", NULL, inner));
	tarn_object_unref(inner); /* only the outer one holds it now */
	must(tarn_call(outer, "take", NULL, &p, TARN_FOREVER));
	must(tarn_parcel_get(&p, "O", &box));
	tarn_object_ref(box); /* what is in a parcel ends with it */
	tarn_parcel_fini(&p);
	tarn_object_unref(outer);
	must(tarn_callf(box, "put", TARN_FOREVER, "O", NULL, box)); /* it holds itself: */
	tarn_object_unref(box); /* such cycles are found, too */
	r = tarn_client_flush(client, true, TARN_FOREVER);
	printf("All shelves are gone.\n");
	tarn_client_close(client);
	return tarn_server_shutdown(server, TARN_FOREVER) || r;
}
