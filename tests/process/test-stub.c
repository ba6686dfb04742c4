/* SPDX-License-Identifier: Apache-2.0 */
/* Stubs: one table for the server and its callers, checked by the compiler and at first use. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/common/scene.h"
#include "tarn/type.h"

#define LENS(NEW, METHOD, x)                                                  \
	NEW(x, real, text)                                                    \
	METHOD(x, scale, TARN_METHOD_INLINE | TARN_METHOD_READ, real, real)   \
	METHOD(x, is_strong, 0, flag, none)                                   \
	METHOD(x, add, 0, integer, integer, natural)                          \
	METHOD(x, label, TARN_METHOD_INLINE, values, none)                    \
	METHOD(x, relabel, 0, none, text)                                     \
	METHOD(x, same, 0, object, object)                                    \
	METHOD(x, fill, 0, block, block, integer)                             \
	METHOD(x, pass, TARN_METHOD_INLINE, channel, channel)                 \
	METHOD(x, count, 0, natural, natural)                                 \
	METHOD(x, six, 0, integer, integer, integer, integer, integer, integer, integer)

struct lens_self {
	double factor;
	char label[32];
};

static int lens_create(tarn_context *ctx, struct lens_self *self, double factor, const char *label)
{
	if (factor <= 0)
		return tarn_throw(ctx, "ValueError", "a factor of %g", factor);
	self->factor = factor;
	snprintf(self->label, sizeof self->label, "%s", label);
	return 0;
}
static int lens_do_scale(tarn_context *ctx, struct lens_self *self, double x, double *ret)
{
	(void)ctx;
	*ret = self->factor * x;
	return 0;
}
static int lens_do_is_strong(tarn_context *ctx, struct lens_self *self, bool *ret)
{
	(void)ctx;
	*ret = self->factor > 10;
	return 0;
}
static int lens_do_add(tarn_context *ctx, struct lens_self *self, int64_t a, uint64_t b, int64_t *ret)
{
	(void)ctx, (void)self;
	*ret = a + (int64_t)b;
	return 0;
}
static int lens_do_label(tarn_context *ctx, struct lens_self *self, tarn_builder *result)
{
	(void)ctx;
	return tarn_put_string(result, self->label);
}
static int lens_do_relabel(tarn_context *ctx, struct lens_self *self, const char *label)
{
	if (strlen(label) >= sizeof self->label)
		return tarn_throw(ctx, "ValueError", "a label of %zu bytes", strlen(label));
	snprintf(self->label, sizeof self->label, "%s", label);
	return 0;
}
static int lens_do_same(tarn_context *ctx, struct lens_self *self, tarn_object *o, tarn_object **ret)
{
	(void)ctx, (void)self;
	*ret = o;
	return 0;
}
static int lens_do_fill(tarn_context *ctx, struct lens_self *self, tarn_block *b, int64_t byte,
			tarn_block **ret)
{
	(void)ctx, (void)self;
	memset(tarn_block_data(b), (int)byte, tarn_block_size(b));
	*ret = b;
	return 0;
}
static int lens_do_pass(tarn_context *ctx, struct lens_self *self, tarn_channel *c, tarn_channel **ret)
{
	(void)ctx, (void)self;
	*ret = c;
	return 0;
}
static int lens_do_count(tarn_context *ctx, struct lens_self *self, uint64_t n, uint64_t *ret)
{
	(void)ctx, (void)self;
	*ret = n;
	return 0;
}
static int lens_do_six(tarn_context *ctx, struct lens_self *self, int64_t a, int64_t b, int64_t c,
		       int64_t d, int64_t e, int64_t f, int64_t *ret)
{
	(void)ctx, (void)self;
	*ret = ((((a * 10 + b) * 10 + c) * 10 + d) * 10 + e) * 10 + f;
	return 0;
}

TARN_STUB_SERVER(lens, LENS);
static const tarn_type lens_type = {
	.name = "Lens", .size = sizeof(struct lens_self), .args = lens_create_args,
	.create = lens_create_stub, .methods = lens_methods,
};
TARN_TYPE_REGISTER(lens_type)

static const tarn_type other_type = { .name = "Other" };
TARN_TYPE_REGISTER(other_type)

TARN_STUB_CLIENT("Lens", lens, LENS);

/* The same type, as an older program knew it. */
#define OLD_LENS(NEW, METHOD, x)                 \
	NEW(x, real)                             \
	METHOD(x, scale, 0, real, real)          \
	METHOD(x, is_strong, 0, integer, none)
TARN_STUB_CLIENT("Lens", old_lens, OLD_LENS);

PLAIN_TEST(r1_typed_stubs_call_methods_of_all_kinds)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *same;
	tarn_channel *ch, *passed;
	tarn_block *b, *filled;
	lens *l = NULL, *again = NULL;
	const char *text;
	tarn_parcel p;
	double y;
	bool strong;
	int64_t n;
	uint64_t u;

	PLAIN_EQ(lens_new(c, -1, "none", &l), -TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	OK(lens_new(c, 20, "strong", &l));
	OK(lens_scale(l, 3, &y));
	PLAIN_CHECK(y == 60);
	OK(lens_is_strong(l, &strong));
	PLAIN_CHECK(strong);
	OK(lens_add_within(l, -5, 3, &n, TARN_FOREVER));
	PLAIN_EQ(n, -2);
	OK(lens_label(l, &p));
	OK(tarn_parcel_get(&p, "s", &text));
	PLAIN_EQ(strcmp(text, "strong"), 0);
	tarn_parcel_fini(&p);
	OK(lens_relabel(l, "new"));
	PLAIN_EQ(lens_relabel(l, "0123456789012345678901234567890123456789"), -TARN_EREMOTE);
	OK(lens_count(l, UINT64_MAX, &u));
	PLAIN_CHECK(u == UINT64_MAX);
	OK(lens_six(l, 1, 2, 3, 4, 5, 6, &n));
	PLAIN_EQ(n, 123456);
	OK(tarn_block_new(c, 100, 0, &b));
	OK(lens_fill(l, b, 7, &filled));
	PLAIN_CHECK(filled == b && ((char *)tarn_block_data(b))[99] == 7);
	OK(tarn_channel_new(c, 8, NULL, &ch));
	OK(lens_pass(l, ch, &passed));
	PLAIN_CHECK(passed == ch);
	OK(lens_same(l, lens_object(l), &same));
	OK(lens_from(same, &again));
	OK(lens_scale(again, 1, &y));
	tarn_channel_unref(passed);
	tarn_channel_unref(ch);
	tarn_block_unref(filled);
	tarn_block_unref(b);
	lens_unref(again);
	lens_unref(lens_ref(l));
	lens_unref(l);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(r14_a_stub_of_another_table_is_refused_at_first_use)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *other;
	old_lens *old;
	lens *l = NULL, *none;
	double y;

	OK(lens_new(c, 2, "x", &l));
	PLAIN_EQ(old_lens_new(c, 2, &old), -TARN_EVERSION);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "is_strong") != NULL);
	PLAIN_EQ(old_lens_from(lens_object(l), &old), -TARN_EVERSION);
	OK(tarn_object_newf(c, "Other", &other, ""));
	PLAIN_EQ(lens_from(other, &none), -TARN_EKIND);
	OK(lens_scale(l, 2, &y));
	tarn_object_unref(other);
	lens_unref(l);
	tarn_client_close(c);
	scene_close(&s);
}

static int compile(int wrong)
{
	char command[4096];

	snprintf(command, sizeof command,
		 "cc -std=gnu11 -fsyntax-only -I'%s/lib/include' -DWRONG=%d "
		 "'%s/tests/process/stub/wrong.c' 2>'%s/cc.%d'", getenv("TARN_SOURCE_DIR"), wrong,
		 getenv("TARN_SOURCE_DIR"), plain_dir(), wrong);
	return system(command);
}

PLAIN_TEST_TIMEOUT(v4_a_wrong_type_does_not_compile, 120)
{
	if (getenv("TARN_SOURCE_DIR") == NULL || system("cc --version >/dev/null 2>&1") != 0)
		PLAIN_SKIP("there is no compiler, or no source");
	PLAIN_EQ(compile(0), 0);
	for (int wrong = 1; wrong <= 8; wrong++)
		PLAIN_CHECKF(compile(wrong) != 0, "WRONG=%d compiles", wrong);
}

PLAIN_MAIN()
