/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What types say about their objects, as callers see it: adoption, fields, how many there are;
 * methods that crash, and objects that keep objects of another server.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/types.h"

static const tarn_type adopted_type = { .name = "Adopted", .flags = TARN_TYPE_ADOPT };
TARN_TYPE_REGISTER(adopted_type)

static void *volatile nowhere; /* NULL, which the compiler does not know */

static int crash(tarn_context *ctx, void *self)
{
	(void)ctx;
	(void)self;
	*(volatile int *)nowhere = 1;
	return 0;
}

/* An object that has a client of another server, and an object there. */
struct keeper {
	tarn_client *client;
	tarn_object *kept;
};
static int keep(tarn_context *ctx, void *self)
{
	struct keeper *k = self;
	const char *server, *text;
	tarn_token token;
	int r = tarn_context_get(ctx, "ss", &server, &text);

	if (r == 0)
		r = tarn_token_parse(text, &token);
	if (r == 0)
		r = tarn_client_open(server, NULL, &k->client);
	return r < 0 ? r : tarn_object_import(k->client, &token, &k->kept);
}
static int kept_scale(tarn_context *ctx, void *self)
{
	const struct keeper *k = self;
	double x, y;
	int r = tarn_context_get(ctx, "d", &x);

	if (r == 0)
		r = tarn_callf(k->kept, "scale", TARN_FOREVER, "d", "d", x, &y);
	return r < 0 ? r : tarn_put_double(tarn_context_result(ctx), y);
}
static void let_go(tarn_context *ctx, void *self)
{
	(void)ctx;
	tarn_client_close(((struct keeper *)self)->client);
}
static const tarn_method keeper_methods[] = {
	{ "keep", keep, 0, "ss", "", NULL },
	{ "scale", kept_scale, 0, "d", "d", NULL },
	{ "crash", crash, 0, "", "", NULL },
	{ "crash_inline", crash, TARN_METHOD_INLINE, "", "", NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL },
};
static const tarn_type keeper_type = {
	.name = "Keeper", .size = sizeof(struct keeper), .flags = TARN_TYPE_PRIVATE,
	.methods = keeper_methods, .destroy = let_go,
};
TARN_TYPE_REGISTER(keeper_type)

struct user {
	struct scene s;
	tarn_client *c;
};

static struct user user_open(void)
{
	struct user u = { .s = scene_open(NULL) };

	u.c = scene_client(&u.s);
	return u;
}
static void user_close(struct user *u)
{
	tarn_client_close(u->c);
	scene_close(&u->s);
}
/* Its server is dead. */
static void user_leave(struct user *u)
{
	tarn_client_close(u->c);
	tarn_inspector_close(u->s.in);
	tarn_server_shutdown(u->s.server, TARN_FOREVER); /* -ENOENT, or 0 if it was waited for */
	tarn_server_unref(u->s.server);
}

PLAIN_TEST(r6_a_type_that_adopts_takes_one_object_and_nothing_else)
{
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0), *o = NULL;

	OK(tarn_object_newf(u.c, "Adopted", &o, "O", m));
	PLAIN_CHECK(tarn_object_same(o, m));
	PLAIN_CHECK(types_scale(o, 3) == 6);
	tarn_object_unref(m);
	PLAIN_CHECK(types_scale(o, 3) == 6);
	FAILS(tarn_object_newf(u.c, "Adopted", &m, ""), TARN_EARGS);
	FAILS(tarn_object_newf(u.c, "Adopted", &m, "OO", o, o), TARN_EARGS);
	FAILS(tarn_object_newf(u.c, "Adopted", &m, "q", (int64_t)5), TARN_EARGS);
	tarn_object_unref(o);
	user_close(&u);
}

PLAIN_TEST(r13_fields_that_are_declared_are_read_and_set_and_others_are_not)
{
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Counter", "");

	OK(tarn_callf(o, "n=", TARN_FOREVER, "q", NULL, (int64_t)41));
	OK(tarn_callf(o, "add", TARN_FOREVER, "q", NULL, (int64_t)1));
	PLAIN_EQ(types_integer(o, "n"), 42);
	FAILS(tarn_callf(o, "n=", TARN_FOREVER, "s", NULL, "41"), TARN_EARGS);
	FAILS(tarn_callf(o, "m", TARN_FOREVER, "", NULL), TARN_ENOMETHOD);
	FAILS(tarn_callf(o, "m=", TARN_FOREVER, "q", NULL, (int64_t)1), TARN_ENOMETHOD);
	PLAIN_EQ(types_integer(o, "n"), 42);
	tarn_object_unref(o);
	o = NEW(u.c, "Magnifier", "d", 2.0); /* has a member of that name, and declares none */
	FAILS(tarn_callf(o, "factor=", TARN_FOREVER, "d", NULL, 1.0), TARN_ENOMETHOD);
	tarn_object_unref(o);
	user_close(&u);
}

static uint64_t alive(const struct user *u, const char *type)
{
	tarn_type_row *row;
	uint64_t objects = UINT64_MAX;
	size_t n;

	scene_settle(&u->s);
	OK(tarn_inspector_types(u->s.in, &row, &n));
	for (size_t i = 0; i < n; i++)
		if (strcmp(row[i].name, type) == 0)
			objects = row[i].objects;
	free(row);
	return objects;
}

PLAIN_TEST(l20_the_number_of_objects_is_those_made_less_those_dropped_at_each_step)
{
	struct user u = user_open();
	tarn_object *o[8];

	for (uint64_t i = 0; i < 8; i++) {
		PLAIN_EQ(alive(&u, "Magnifier"), i);
		o[i] = NEW(u.c, "Magnifier", "d", 2.0);
	}
	PLAIN_EQ(alive(&u, "Counter"), 0);
	for (uint64_t i = 8; i-- > 0;) {
		tarn_object_unref(o[i]);
		OK(tarn_client_flush(u.c, true, TARN_FOREVER));
		PLAIN_EQ(alive(&u, "Magnifier"), i);
	}
	user_close(&u);
}

/* There is no worker process yet that would take the crash instead. */
static void crashes(const char *method)
{
	struct user u = user_open();
	tarn_object *k = NEW(u.c, "Keeper", ""), *m = NEW(u.c, "Magnifier", "d", 2.0);
	double y;
	int status;

	FAILS(tarn_callf(k, method, TARN_FOREVER, "", NULL), TARN_ESRVDOWN);
	FAILS(tarn_callf(m, "scale", TARN_FOREVER, "d", "d", 1.0, &y), TARN_ESRVDOWN);
	OK(tarn_server_wait(u.s.server, TARN_FOREVER, &status));
	PLAIN_CHECK(status != 0); /* -SIGSEGV; a sanitizer exits with a status of its own */
	tarn_object_unref(k);
	tarn_object_unref(m);
	user_leave(&u);
}
PLAIN_TEST(e10_a_crash_on_an_executor_ends_the_server_and_everybody_is_told) { crashes("crash"); }
PLAIN_TEST(e10_a_crash_inline_ends_the_server_and_everybody_is_told) { crashes("crash_inline"); }

/* An object of @b that keeps @m of @a. */
static tarn_object *kept_by(struct user *a, struct user *b, tarn_object *m)
{
	tarn_object *k = NEW(b->c, "Keeper", "");
	char text[TARN_TOKEN_TEXT_BYTES];
	tarn_token token;
	double y;

	OK(tarn_object_export(m, NULL, &token));
	tarn_token_format(&token, text);
	OK(tarn_callf(k, "keep", TARN_FOREVER, "ss", NULL, a->s.name, text));
	OK(tarn_callf(k, "scale", TARN_FOREVER, "d", "d", 3.0, &y));
	PLAIN_CHECK(y == 6);
	return k;
}

PLAIN_TEST(n7_what_an_object_of_a_killed_server_kept_is_dropped)
{
	struct user a = user_open(), b = user_open();
	tarn_object *m = NEW(a.c, "Magnifier", "d", 2.0), *k = kept_by(&a, &b, m);

	tarn_object_unref(m);
	OK(tarn_client_flush(a.c, true, TARN_FOREVER));
	PLAIN_EQ(alive(&a, "Magnifier"), 1);
	kill(tarn_client_server_pid(b.c), SIGKILL);
	PLAIN_WAIT_FOR(alive(&a, "Magnifier") == 0);
	tarn_object_unref(k);
	user_leave(&b);
	user_close(&a);
}

PLAIN_TEST(n7_an_object_that_keeps_one_of_a_killed_server_says_so)
{
	struct user a = user_open(), b = user_open();
	tarn_object *m = NEW(a.c, "Magnifier", "d", 2.0), *k = kept_by(&a, &b, m), *other;
	double y;

	kill(tarn_client_server_pid(a.c), SIGKILL);
	FAILS(tarn_callf(k, "scale", TARN_FOREVER, "d", "d", 3.0, &y), TARN_EREMOTE);
	PLAIN_CHECKF(strstr(tarn_error_last()->message, a.s.name) != NULL, "%s",
		     tarn_error_last()->message);
	other = NEW(b.c, "Magnifier", "d", 5.0);
	PLAIN_CHECK(types_scale(other, 2) == 10); /* its own server goes on */
	tarn_object_unref(other);
	tarn_object_unref(k);
	tarn_object_unref(m);
	user_leave(&a);
	user_close(&b);
}

PLAIN_MAIN()
