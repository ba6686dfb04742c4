/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors that cross processes (E, D14): what a method throws arrives whole, over several hops,
 * inside of values, and as a person wants to read it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/types.h"

struct user {
	struct scene s;
	tarn_client *c;
	tarn_object *t;
};

static struct user user_open(void)
{
	struct user u = { .s = scene_open(NULL) };

	u.c = scene_client(&u.s);
	u.t = NEW(u.c, "Thrower", "");
	return u;
}
static void user_close(struct user *u)
{
	tarn_object_unref(u->t);
	tarn_client_close(u->c);
	scene_close(&u->s);
}

static bool has_frame(const tarn_fault *f, const char *function, const char *file)
{
	tarn_frame frame;

	for (size_t i = 0; tarn_fault_frame_at(f, i, &frame); i++)
		if (frame.function != NULL && strcmp(frame.function, function) == 0 &&
		    (file == NULL || (frame.file != NULL && strstr(frame.file, file) != NULL &&
				      frame.line > 0)))
			return true;
	return false;
}

static void throws(struct user *u, const char *method)
{
	char text[8192];
	const tarn_fault *f;

	FAILS(tarn_callf(u->t, method, TARN_FOREVER, "q", NULL, (int64_t)37), TARN_EREMOTE);
	f = tarn_error_fault();
	PLAIN_CHECK(f != NULL);
	PLAIN_EQ(strcmp(tarn_fault_domain(f), "ValueError"), 0);
	PLAIN_EQ(strcmp(tarn_fault_message(f), "38"), 0);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "ValueError: 38") != NULL);
	PLAIN_EQ(tarn_fault_pid(f), tarn_client_server_pid(u->c));
	PLAIN_CHECK(tarn_fault_tid(f) > 0);
	PLAIN_CHECK(tarn_fault_is_remote(f));
	PLAIN_EQ(tarn_fault_hops(f), 1);
	PLAIN_CHECK(has_frame(f, "gee", "types.c")); /* where it was thrown, with file and line */
	PLAIN_EQ(tarn_fault_frame_count(f), 3); /* the method, foo, gee; none of who called it */
	PLAIN_CHECK(tarn_fault_format(f, text, sizeof text) > 0);
	PLAIN_CHECKF(strstr(text, "types.c\", line ") != NULL, "%s", text);
	PLAIN_CHECKF(strstr(text, "ValueError: 38") != NULL, "%s", text);
	PLAIN_CHECKF(text[0] == '[', "%s", text); /* the process */
}

PLAIN_TEST(e1_e3_d14_what_a_method_throws_arrives_with_the_servers_stack)
{
	struct user u = user_open();

	throws(&u, "foo");
	throws(&u, "foo_inline");
	user_close(&u);
}

PLAIN_TEST(e2_e6_a_fault_says_whether_it_crossed_and_what_it_is)
{
	struct user u = user_open();
	tarn_fault *local = tarn_fault_new("LookupError", 0, "here");
	const tarn_fault *f;

	PLAIN_CHECK(!tarn_fault_is_remote(local));
	tarn_fault_unref(local);
	FAILS(tarn_callf(u.t, "throw", TARN_FOREVER, "ss", NULL, "KeyError", "no such key"),
	      TARN_EREMOTE);
	f = tarn_error_fault();
	PLAIN_CHECK(tarn_fault_is(f, "KeyError") && tarn_fault_is(f, "LookupError") &&
		    tarn_fault_is(f, "Exception"));
	PLAIN_CHECK(!tarn_fault_is(f, "ValueError"));
	OK(tarn_fault_domain_register("LensError", "ValueError"));
	FAILS(tarn_callf(u.t, "throw_slowly", TARN_FOREVER, "ss", NULL, "LensError", "dirty"),
	      TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	/* A failure of the machinery afterwards is no fault. */
	FAILS(tarn_callf(u.t, "nothing", TARN_FOREVER, NULL, NULL), TARN_ENOMETHOD);
	PLAIN_CHECK(tarn_error_fault() == NULL);
	user_close(&u);
}

PLAIN_TEST(e4_over_several_hops_the_first_place_is_still_told)
{
	struct user u = user_open();
	tarn_object *relay = NEW(u.c, "Thrower", "");
	char text[16384];
	const tarn_fault *f, *cause;

	FAILS(tarn_callf(relay, "relay", TARN_FOREVER, "Osq", NULL, u.t, "foo", (int64_t)37),
	      TARN_EREMOTE);
	f = tarn_error_fault();
	PLAIN_CHECK(tarn_fault_is(f, "ValueError"));
	cause = tarn_fault_cause(f);
	PLAIN_CHECK(cause != NULL);
	PLAIN_CHECK(has_frame(cause, "gee", "types.c"));
	PLAIN_CHECK(has_frame(f, "thrower_relay", "types.c"));
	PLAIN_CHECK(tarn_fault_format(f, text, sizeof text) > 0);
	PLAIN_CHECKF(strstr(text, "gee") != NULL && strstr(text, "thrower_relay") != NULL, "%s", text);
	/* The origin comes first, the last hop last. */
	PLAIN_CHECKF(strstr(text, "gee") < strstr(text, "thrower_relay"), "%s", text);
	tarn_object_unref(relay);
	user_close(&u);
}

PLAIN_TEST(e4_a_chain_of_three_processes_tells_the_first_line)
{
	/* The server throws; a middle process passes it on as a value through an object; the
	 * last one reads it there. */
	struct user u = user_open();
	tarn_object *echo = NEW(u.c, "Echo", "");
	tarn_token thrower, meeting;
	pid_t pid;
	const tarn_export_options pinned = { .uses = 1 };

	OK(tarn_object_export(u.t, &pinned, &thrower));
	OK(tarn_object_export(echo, &pinned, &meeting));
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_object *t, *e;
		tarn_fault *top, *back;
		tarn_parcel p;
		tarn_builder b;
		char text[16384];

		OK(tarn_object_import(c, &thrower, &t));
		OK(tarn_object_import(c, &meeting, &e));
		FAILS(tarn_callf(t, "foo", TARN_FOREVER, "q", NULL, (int64_t)37), TARN_EREMOTE);
		top = tarn_fault_new("RuntimeError", 0, "in the middle");
		OK(tarn_fault_add_stack(top));
		OK(tarn_fault_set_cause(top, tarn_error_fault()));
		tarn_builder_init(&b);
		OK(tarn_put_error(&b, top));
		OK(tarn_call(e, "echo", &b, &p, TARN_FOREVER));
		OK(tarn_value_error(tarn_parcel_at(&p, 0), &back));
		PLAIN_EQ(tarn_fault_pid(back), getpid());
		PLAIN_EQ(tarn_fault_pid(tarn_fault_cause(back)), tarn_client_server_pid(c));
		PLAIN_CHECK(tarn_fault_hops(tarn_fault_cause(back)) > 1);
		PLAIN_CHECK(tarn_fault_format(back, text, sizeof text) > 0);
		PLAIN_CHECKF(strstr(text, "gee") != NULL && strstr(text, "in the middle") != NULL,
			     "%s", text);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	tarn_object_unref(echo);
	user_close(&u);
}

PLAIN_TEST(e5_a_fault_may_have_no_frames_or_ones_from_elsewhere)
{
	tarn_fault *bare = tarn_fault_new("ValueError", 0, "bare");
	tarn_fault *told = tarn_fault_new("ValueError", 0, "told");
	const tarn_frame frame = { .function = "elsewhere", .file = "other.py", .line = 12 };

	PLAIN_EQ(tarn_fault_frame_count(bare), 0);
	OK(tarn_fault_add_frame(told, &frame));
	PLAIN_CHECK(has_frame(told, "elsewhere", "other.py"));
	tarn_fault_unref(bare);
	tarn_fault_unref(told);
}

PLAIN_TEST(e7_e8_errors_travel_inside_of_values_and_with_members)
{
	struct user u = user_open();
	tarn_fault *f;
	tarn_parcel p;
	tarn_value pair;

	OK(tarn_call(u.t, "results", NULL, &p, TARN_FOREVER));
	pair = tarn_value_at(tarn_parcel_at(&p, 0), 0);
	PLAIN_EQ(tarn_value_kind(tarn_value_at(pair, 1)), TARN_KIND_ERROR);
	OK(tarn_value_error(tarn_value_at(pair, 1), &f));
	PLAIN_CHECK(tarn_fault_is(f, "TypeError") && tarn_fault_is_remote(f));
	PLAIN_EQ(strcmp(tarn_fault_message(f), "a word is not a number"), 0);
	tarn_fault_unref(f);
	tarn_parcel_fini(&p);

	OK(tarn_call(u.t, "ensemble", NULL, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "e", &f));
	PLAIN_EQ(tarn_fault_child_count(f), 2);
	PLAIN_CHECK(tarn_fault_is(tarn_fault_child_at(f, 1), "KeyError"));
	PLAIN_CHECK(tarn_fault_is_remote(tarn_fault_child_at(f, 0)));
	tarn_fault_unref(f);
	tarn_parcel_fini(&p);
	user_close(&u);
}

PLAIN_TEST(d15_a_code_without_a_fault_is_an_error_too)
{
	struct user u = user_open();

	for (int i = 0; i < 2; i++) {
		const char *method = i == 0 ? "code" : "code_slowly";
		int r = tarn_callf(u.t, method, TARN_FOREVER, "q", NULL, (int64_t)-ENOSPC);

		PLAIN_CHECKF(r == -ENOSPC || r == -TARN_EREMOTE, "%s: %d", method, r);
		PLAIN_CHECK(tarn_error_last()->message[0] != '\0');
		OK(tarn_callf(u.t, method, TARN_FOREVER, "q", NULL, (int64_t)0));
	}
	user_close(&u);
}

/* What a method fails with that gives a code alone has nothing of what others were told in that thread. */
PLAIN_TEST(d15_a_code_without_a_sentence_gets_none_of_other_clients)
{
	struct user u = user_open();
	tarn_client *other = scene_client(&u.s);
	tarn_object *theirs = NEW(other, "Thrower", "");

	for (int i = 0; i < 16; i++) { /* any of a few threads */
		FAILS(tarn_callf(u.t, "code", TARN_FOREVER, "s", NULL, "a string"), TARN_EARGS);
		PLAIN_CHECK(strstr(tarn_error_last()->message, "string") != NULL);
		FAILS(tarn_callf(theirs, "code", TARN_FOREVER, "q", NULL, (int64_t)-TARN_EARGS), TARN_EREMOTE);
		PLAIN_CHECKF(strstr(tarn_error_last()->message, "string") == NULL, "%s",
			     tarn_error_last()->message);

		FAILS(tarn_callf(u.t, "relay", TARN_FOREVER, "Osq", NULL, u.t, "foo", (int64_t)37), TARN_EREMOTE);
		PLAIN_CHECK(strstr(tarn_error_last()->message, "ValueError") != NULL);
		FAILS(tarn_callf(theirs, "code_slowly", TARN_FOREVER, "q", NULL, (int64_t)-TARN_EREMOTE),
		      TARN_EREMOTE);
		PLAIN_CHECKF(strstr(tarn_error_last()->message, "ValueError") == NULL, "%s",
			     tarn_error_last()->message);
	}
	tarn_object_unref(theirs);
	tarn_client_close(other);
	user_close(&u);
}

PLAIN_TEST(e3_tarn_error_print_shows_what_a_person_wants_to_see)
{
	struct user u = user_open();
	char text[8192] = "";
	FILE *f = tmpfile();

	PLAIN_CHECK(f != NULL);
	FAILS(tarn_callf(u.t, "foo", TARN_FOREVER, "q", NULL, (int64_t)37), TARN_EREMOTE);
	tarn_error_print(f);
	rewind(f);
	PLAIN_CHECK(fread(text, 1, sizeof text - 1, f) > 0);
	fclose(f);
	PLAIN_CHECKF(strstr(text, "Traceback (most recent call last)") != NULL, "%s", text);
	PLAIN_CHECKF(strstr(text, ", in gee") != NULL, "%s", text);
	PLAIN_CHECKF(strstr(text, "ValueError: 38") != NULL, "%s", text);
	user_close(&u);
}

PLAIN_MAIN()
