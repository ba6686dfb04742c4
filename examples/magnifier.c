/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An object with state, and typed calls: one table makes the server's methods and plain C
 * functions for callers. A wrong type does not compile.
 */
#include "must.h"

#include <tarn/type.h>

#define MAGNIFIER(NEW, METHOD, x)                                            \
	NEW(x, real)                                                         \
	METHOD(x, scale, TARN_METHOD_INLINE | TARN_METHOD_READ, real, real)  \
	METHOD(x, set_factor, TARN_METHOD_INLINE, none, real)

struct magnifier_self { /* lies in shared memory, owned by the server */
	double factor;
};
static int magnifier_do_scale(tarn_context *ctx, struct magnifier_self *self, double x, double *ret)
{
	(void)ctx;
	*ret = self->factor * x;
	return 0;
}
static int magnifier_do_set_factor(tarn_context *ctx, struct magnifier_self *self, double factor)
{
	if (factor <= 0)
		return tarn_throw(ctx, "ValueError", "factor must be positive, not %g", factor);
	self->factor = factor;
	return 0;
}
#define magnifier_create magnifier_do_set_factor

TARN_STUB_SERVER(magnifier, MAGNIFIER);
static const tarn_type type = {
	.name = "Magnifier", .size = sizeof(struct magnifier_self), .flags = TARN_TYPE_INLINE,
	.args = magnifier_create_args, .create = magnifier_create_stub, .methods = magnifier_methods,
};
TARN_TYPE_REGISTER(type)

TARN_STUB_CLIENT("Magnifier", magnifier, MAGNIFIER); /* usually in another program */

int main(void)
{
	tarn_server *server;
	tarn_client *client;
	magnifier *m = NULL;
	double y = 0;

	must_begin(&server, &client);
	must(magnifier_new(client, 2.0, &m));
	must(magnifier_scale(m, 21.0, &y));
	printf("2 x 21 = %g\n", y);
	if (magnifier_set_factor(m, -1) < 0)
		tarn_error_print(stdout); /* what was thrown, and where in the server */
	magnifier_unref(m);
	must_end(server, client);
	return y != 42;
}
