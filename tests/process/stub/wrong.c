/* SPDX-License-Identifier: Apache-2.0 */
/* Compiled by test-stub.c: without WRONG it must pass, with each WRONG it must not. */
#include <tarn/tarn.h>

#define LENS(NEW, METHOD, x)                \
	NEW(x, real)                        \
	METHOD(x, scale, 0, real, real)     \
	METHOD(x, label, 0, none, text)     \
	METHOD(x, find, 0, object, integer)

#define OTHER(NEW, METHOD, x)               \
	NEW(x, none)                        \
	METHOD(x, nothing, 0, none, none)

TARN_STUB_CLIENT("Lens", lens, LENS);
TARN_STUB_CLIENT("Other", other, OTHER);

int use(tarn_client *client, tarn_object *object, other *o);
int use(tarn_client *client, tarn_object *object, other *o)
{
	double y;
	lens *l;
	int r = lens_new(client, 2.0, &l);

	(void)object, (void)o;
	r |= lens_scale(l, 3.0, &y);
#if WRONG == 1
	r |= lens_scale(l, "3", &y);         /* text for a number */
#elif WRONG == 2
	int z;
	r |= lens_scale(l, 3.0, &z);         /* a result of another type */
#elif WRONG == 3
	r |= lens_scale(object, 3.0, &y);    /* any object is not a lens */
#elif WRONG == 4
	r |= lens_scale(o, 3.0, &y);         /* nor is another proxy */
#elif WRONG == 5
	r |= lens_scale(l, &y);              /* an argument is missing */
#elif WRONG == 6
	r |= lens_label(l, 5);               /* a number for text */
#elif WRONG == 7
	r |= lens_new(client, &l);
#elif WRONG == 8
	r |= lens_zoom(l, 3.0, &y);          /* no such method */
#endif
	lens_unref(l);
	return r;
}
