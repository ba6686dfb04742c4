/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: what a method throws arrives whole, with the stack of the server and over several calls
 * with its causes; what the machinery refuses has a code and a sentence.
 */
#include "must.h"

#include <tarn/type.h>

static int half(tarn_context *ctx, void *self)
{
	int64_t n;
	int r = tarn_context_get(ctx, "q", &n);

	(void)self;
	if (r == 0 && n % 2 != 0)
		return tarn_throw(ctx, "ValueError", "%lld is odd", (long long)n);
	return r < 0 ? r : tarn_put_int(tarn_context_result(ctx), n / 2);
}

/* Calls a method of its own object, and passes failures on with its own place. */
static int quarter(tarn_context *ctx, void *self)
{
	int64_t n, y;
	int r = tarn_context_get(ctx, "q", &n);

	(void)self;
	if (r == 0)
		r = tarn_callf(tarn_context_self(ctx), "half", TARN_FOREVER, "q", "q", n, &y);
	return r < 0 ? tarn_rethrow(ctx) : tarn_put_int(tarn_context_result(ctx), y / 2);
}

static const tarn_method methods[] = {
	{ "half", half, 0, "q", "q", NULL }, { "quarter", quarter, 0, "q", "q", NULL }, { 0 },
};
static const tarn_type divider = { .name = "Divider", .methods = methods };
TARN_TYPE_REGISTER(divider)

int main(void)
{
	tarn_server *server;
	tarn_client *client;
	tarn_object *d;
	int64_t y;

	must_begin(&server, &client);
	must(tarn_object_newf(client, "Divider", &d, NULL));
	bool wrong = tarn_callf(d, "quarter", TARN_FOREVER, "i", "q", 7, &y) != -TARN_EREMOTE;
	wrong |= !tarn_fault_is(tarn_error_fault(), "ValueError");
	tarn_error_print(stdout); /* both calls, with file and line */
	wrong |= tarn_callf(d, "quarter", TARN_FOREVER, "s", "q", "8", &y) != -TARN_EARGS;
	tarn_error_print(stdout);
	wrong |= tarn_callf(d, "third", TARN_FOREVER, "i", "q", 9, &y) != -TARN_ENOMETHOD;
	tarn_error_print(stdout);
	wrong |= tarn_callf(d, "quarter", TARN_FOREVER, "i", "q", 8, &y) != 0 || y != 2;
	tarn_object_unref(d);
	must_end(server, client);
	return wrong;
}
