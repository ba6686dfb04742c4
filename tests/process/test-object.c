/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects and proxies: identity and counts (O), ways to pass them on (P), what the articles found
 * broken (F), results that are objects (V).
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/client/client.h"
#include "tests/common/types.h"

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
static uint64_t count_of(struct user *u, tarn_object *o)
{
	scene_settle(&u->s);
	return scene_count(&u->s, tarn_object_id(o));
}

/* A result that is one object; the caller owns it. */
static tarn_object *give(tarn_object *from, const char *method)
{
	tarn_object *o;
	tarn_parcel p;

	OK(tarn_call(from, method, NULL, &p, TARN_FOREVER));
	OK(tarn_parcel_get(&p, "O", &o));
	tarn_object_ref(o);
	tarn_parcel_fini(&p);
	return o;
}

/* ---- O: identity, creation, counts ---- */

PLAIN_TEST(o1_two_objects_of_a_type_have_states_of_their_own)
{
	struct user u = user_open();
	tarn_object *a = NEW(u.c, "Magnifier", "d", 2.0), *b = NEW(u.c, "Magnifier", "d", 5.0);

	PLAIN_CHECK(tarn_object_id(a) != tarn_object_id(b));
	PLAIN_CHECK(!tarn_object_same(a, b));
	PLAIN_CHECK(types_scale(a, 3) == 6 && types_scale(b, 3) == 15);
	tarn_object_unref(a);
	PLAIN_CHECK(types_scale(b, 4) == 20);
	tarn_object_unref(b);
	user_close(&u);
}

static void last_drop_ends(const char *type)
{
	struct user u = user_open();
	tarn_object *counts = NEW(u.c, "Counts", ""), *o = NEW(u.c, type, "");

	PLAIN_EQ(types_canaries(counts), 1);
	tarn_object_ref(o);
	tarn_object_unref(o);
	scene_settle(&u.s);
	PLAIN_EQ(types_integer(counts, "destroyed"), 0);
	OK(tarn_callf(o, "sing", TARN_FOREVER, NULL, NULL));
	tarn_object_unref(o);
	PLAIN_WAIT_FOR(types_integer(counts, "destroyed") == 1);
	PLAIN_EQ(types_integer(counts, "created"), 1);
	tarn_object_unref(counts);
	user_close(&u);
}
PLAIN_TEST(o2_an_object_ends_with_its_last_proxy_and_not_before) { last_drop_ends("Canary"); }
PLAIN_TEST(o2_a_destructor_on_an_executor_runs_once) { last_drop_ends("SlowCanary"); }

PLAIN_TEST_TIMEOUT(o4_a_million_results_are_held_before_their_callers_hear_of_them, 120)
{
	/* Two processes make and drop the one Mag(2): whoever comes second gets what the other
	 * is about to drop. */
	struct user u = user_open();
	const int rounds = 500000; /* of each of them */
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);

		for (int i = 0; i < rounds; i++) {
			tarn_object *o = NEW(c, "Mag", "d", 2.0);

			if (i % 50 == 0)
				PLAIN_CHECK(types_scale(o, 3) == 6);
			tarn_object_unref(o);
		}
		tarn_client_close(c);
		_exit(0);
	}
	for (int i = 0; i < rounds; i++) {
		tarn_object *o = NEW(u.c, "Mag", "d", 2.0);

		if (i % 50 == 0)
			PLAIN_CHECK(types_scale(o, 5) == 10);
		tarn_object_unref(o);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	user_close(&u);
}

PLAIN_TEST(o5_making_is_one_message_and_dropping_one_that_nobody_waits_for)
{
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Magnifier", "d", 1.0); /* the type is known from here on */
	uint64_t before;

	tarn_object_unref(o);
	OK(tarn_client_flush(u.c, true, TARN_FOREVER));
	before = scene_stat(&u.s).messages;
	for (int i = 0; i < 100; i++) {
		o = NEW(u.c, "Magnifier", "d", 1.0);
		tarn_object_unref(o);
	}
	OK(tarn_client_ping(u.c, TARN_FOREVER)); /* the last drop is read */
	PLAIN_EQ(scene_stat(&u.s).messages - before, 201);
	user_close(&u);
}

PLAIN_TEST(o7_an_id_that_is_no_object_opens_nothing)
{
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Magnifier", "d", 2.0), *got = NULL;
	tarn_weak weak = tarn_weak_from(o), forged = weak;
	tarn_block *b;

	OK(tarn_block_new(u.c, 100, 0, &b));
	for (unsigned bit = 0; bit < 64; bit++) {
		int r;

		forged.id = weak.id ^ 1ull << bit;
		r = tarn_weak_lock(&forged, &got);
		PLAIN_CHECKF(r == -TARN_ESTALE || r == -TARN_EKIND, "bit %u: %d", bit, r);
	}
	forged.id = 0;
	FAILS(tarn_weak_lock(&forged, &got), TARN_ESTALE);
	PLAIN_CHECK(got == NULL);
	PLAIN_CHECK(types_scale(o, 2) == 4);
	tarn_object_unref(o);
	tarn_block_unref(b);
	user_close(&u);
}

PLAIN_TEST(o8_a_stale_proxy_never_reaches_the_object_that_follows_it)
{
	struct user u = user_open();
	uint64_t seen = 0;

	for (int i = 0; i < 2000; i++) {
		tarn_object *o = NEW(u.c, "Magnifier", "d", 2.0), *got;
		tarn_weak weak = tarn_weak_from(o);

		PLAIN_CHECK(weak.id != seen);
		seen = weak.id;
		tarn_object_unref(o);
		scene_settle(&u.s);
		o = NEW(u.c, "Magnifier", "d", 3.0);
		FAILS(tarn_weak_lock(&weak, &got), TARN_ESTALE);
		tarn_object_unref(o);
		if (i == 100)
			i = 1990; /* settling takes its time */
	}
	user_close(&u);
}

static void holds_nothing_after(const char *method)
{
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Magnifier", "d", 2.0), *me;

	PLAIN_EQ(scene_count(&u.s, tarn_object_id(o)), 1);
	me = give(o, method);
	/* At once: one unit for each of the two, none of the server's. */
	PLAIN_EQ(scene_count(&u.s, tarn_object_id(o)), 2);
	PLAIN_CHECK(tarn_object_same(o, me));
	tarn_object_unref(me);
	tarn_object_unref(o);
	user_close(&u);
}
PLAIN_TEST(o10_after_a_call_the_server_holds_nothing_of_it) { holds_nothing_after("me_inline"); }
PLAIN_TEST(o10_after_a_call_on_an_executor_the_server_holds_nothing_of_it)
{
	holds_nothing_after("me");
}

static void *make_and_exit(void *client)
{
	tarn_object *o = NEW(client, "Canary", "");

	(void)o;
	pthread_exit(NULL);
}

static void end_somehow(struct user *u, int how)
{
	tarn_client *c = scene_client(&u->s);
	tarn_object *o[10];
	pthread_t t;

	for (int i = 0; i < 10; i++)
		o[i] = NEW(c, "Canary", "");
	PLAIN_EQ(pthread_create(&t, NULL, make_and_exit, c), 0);
	pthread_join(t, NULL);
	(void)o;
	switch (how) {
	case 0:
		_exit(0);
	case 1:
		kill(getpid(), SIGKILL);
		break;
	case 2:
		execl("/bin/true", "true", (char *)NULL);
		break;
	case 3:
		abort();
	default:
		tarn_client_close(c);
		_exit(0);
	}
}

PLAIN_TEST(o12_every_way_to_end_returns_all_proxies)
{
	struct user u = user_open();
	tarn_object *counts = NEW(u.c, "Counts", "");

	for (int how = 0; how < 5; how++) {
		pid_t pid = plain_fork();

		if (pid == 0)
			end_somehow(&u, how);
		waitpid(pid, NULL, 0);
		PLAIN_WAIT_FOR(types_integer(counts, "destroyed") == 11 * (how + 1));
	}
	PLAIN_EQ(types_integer(counts, "created"), 55);
	tarn_object_unref(counts);
	user_close(&u);
}

PLAIN_TEST(o13_a_forked_child_has_no_proxies_until_it_attaches_itself)
{
	struct user u = user_open();
	tarn_object *o[10], *shared = NEW(u.c, "Magnifier", "d", 4.0);
	tarn_token token;

	for (int i = 0; i < 10; i++)
		o[i] = NEW(u.c, "Magnifier", "d", (double)i);
	for (int round = 0; round < 30; round++) {
		const tarn_export_options once = { .uses = 1 };
		pid_t pid;

		OK(tarn_object_export(shared, &once, &token));
		pid = plain_fork();
		if (pid == 0) {
			double y;
			tarn_object *mine, *none;
			tarn_client *c;

			FAILS(tarn_callf(o[3], "scale", TARN_FOREVER, "d", "d", 1.0, &y), TARN_EFORKED);
			FAILS(tarn_object_newf(u.c, "Magnifier", &none, "d", 1.0), TARN_EFORKED);
			for (int i = 0; i < 10; i++)
				tarn_object_unref(o[i]); /* allowed, and without effect */
			c = scene_client(&u.s);
			OK(tarn_object_import(c, &token, &mine));
			PLAIN_CHECK(types_scale(mine, 2) == 8);
			tarn_client_close(c);
			_exit(0);
		}
		PLAIN_CHECK(types_scale(o[round % 10], 2) == 2.0 * (round % 10));
		PLAIN_EQ(plain_reap(pid), 0);
	}
	for (int i = 0; i < 10; i++) {
		PLAIN_EQ(count_of(&u, o[i]), 1);
		tarn_object_unref(o[i]);
	}
	tarn_object_unref(shared);
	user_close(&u);
}

PLAIN_TEST(o14_the_server_says_who_holds_an_object)
{
	struct user u = user_open();
	tarn_client *other = scene_client(&u.s);
	tarn_object *o = NEW(u.c, "Magnifier", "d", 2.0), *theirs;
	const tarn_export_options o2 = { .uses = 2 };
	tarn_token token;

	OK(tarn_object_export(o, &o2, &token));
	OK(tarn_object_import(other, &token, &theirs));
	PLAIN_EQ(scene_count(&u.s, tarn_object_id(o)), 3);
	PLAIN_EQ(scene_units(&u.s, tarn_object_id(o), TARN_CLAIM_HELD, tarn_client_id(u.c)), 1);
	PLAIN_EQ(scene_units(&u.s, tarn_object_id(o), TARN_CLAIM_HELD, tarn_client_id(other)), 1);
	PLAIN_EQ(scene_units(&u.s, tarn_object_id(o), TARN_CLAIM_EXPORTED, 0), 1);
	tarn_object_unref(theirs);
	tarn_object_unref(o);
	tarn_client_close(other);
	user_close(&u);
}

/* ---- P: proxies on their way ---- */

/* A channel between a parent and a child, by name. */
static tarn_channel *channel(tarn_client *c, const char *name, enum tarn_channel_end end, bool make)
{
	tarn_channel *ch;

	OK(make ? tarn_channel_new(c, 64, name, &ch)
		: tarn_channel_open(c, name, TARN_FOREVER, &ch));
	OK(tarn_channel_bind(ch, end));
	return ch;
}

PLAIN_TEST(p1_five_ways_lead_to_the_same_object)
{
	struct user u = user_open();
	tarn_client *other = scene_client(&u.s);
	tarn_object *m = NEW(u.c, "Magnifier", "d", 3.0), *list = NEW(u.c, "List", ""), *got[5];
	tarn_channel *out = channel(u.c, "way", TARN_PRODUCER, true);
	tarn_channel *in = channel(other, "way", TARN_CONSUMER, false);
	tarn_object *theirs;
	tarn_builder b;
	tarn_token token;
	char text[TARN_TOKEN_TEXT_BYTES];
	tarn_parcel p;
	uint64_t tag;
	enum tarn_item item;

	/* a channel */
	OK(tarn_channel_send_object(out, m, 7, TARN_FOREVER));
	OK(tarn_channel_peek(in, &item, TARN_FOREVER));
	PLAIN_EQ(item, TARN_ITEM_OBJECT);
	OK(tarn_channel_recv_object(in, &got[0], &tag, TARN_FOREVER));
	PLAIN_EQ(tag, 7);
	/* a token, as text */
	OK(tarn_object_export(m, NULL, &token));
	tarn_token_format(&token, text);
	OK(tarn_token_parse(text, &token));
	OK(tarn_object_import(other, &token, &got[1]));
	/* another object: an argument, then a result */
	OK(tarn_callf(list, "append", TARN_FOREVER, "O", NULL, m));
	OK(tarn_channel_send_object(out, list, 0, TARN_FOREVER));
	OK(tarn_channel_recv_object(in, &theirs, NULL, TARN_FOREVER));
	tarn_builder_init(&b);
	tarn_put_int(&b, 0);
	OK(tarn_call(theirs, "get", &b, &p, TARN_FOREVER));
	tarn_builder_fini(&b);
	OK(tarn_parcel_get(&p, "O", &got[2]));
	tarn_object_ref(got[2]);
	tarn_parcel_fini(&p);
	/* a name */
	OK(tarn_object_publish(m, "the magnifier", 0));
	OK(tarn_object_lookup(other, "the magnifier", TARN_FOREVER, &got[3]));
	/* a weak handle of a process that has a proxy */
	tarn_weak weak = tarn_weak_from(got[0]);
	OK(tarn_weak_lock(&weak, &got[4]));
	for (int i = 0; i < 5; i++) {
		PLAIN_CHECK(tarn_object_same(m, got[i]));
		PLAIN_CHECK(types_scale(got[i], 2) == 6);
		PLAIN_EQ(strcmp(tarn_object_type_name(got[i]), "Magnifier"), 0);
		tarn_object_unref(got[i]);
	}
	OK(tarn_object_unpublish(u.c, "the magnifier"));
	tarn_object_unref(theirs);
	tarn_object_unref(list);
	tarn_object_unref(m);
	tarn_channel_unref(in);
	tarn_channel_unref(out);
	tarn_client_close(other);
	user_close(&u);
}

PLAIN_TEST(p1_a_channel_says_what_comes_next)
{
	struct user u = user_open();
	tarn_channel *out = channel(u.c, "mixed", TARN_PRODUCER, true), *got_channel;
	tarn_channel *in = channel(u.c, "mixed", TARN_CONSUMER, false);
	tarn_object *m = NEW(u.c, "Magnifier", "d", 3.0), *got;
	tarn_block *b, *got_block;
	enum tarn_item item;

	OK(tarn_block_new(u.c, 10, 0, &b));
	FAILS(tarn_channel_peek(in, &item, 0), EAGAIN);
	OK(tarn_channel_send_object(out, m, 1, TARN_FOREVER));
	OK(tarn_channel_send(out, b, 2, TARN_FOREVER));
	OK(tarn_channel_send_channel(out, out, 3, TARN_FOREVER));
	FAILS(tarn_channel_recv(in, &got_block, NULL, TARN_FOREVER), TARN_EKIND);
	FAILS(tarn_channel_recv_channel(in, &got_channel, NULL, TARN_FOREVER), TARN_EKIND);
	OK(tarn_channel_recv_object(in, &got, NULL, TARN_FOREVER));
	FAILS(tarn_channel_recv_object(in, &got, NULL, TARN_FOREVER), TARN_EKIND);
	OK(tarn_channel_peek(in, &item, 0));
	PLAIN_EQ(item, TARN_ITEM_BLOCK);
	OK(tarn_channel_recv(in, &got_block, NULL, TARN_FOREVER));
	FAILS(tarn_channel_recv_object(in, &got, NULL, TARN_FOREVER), TARN_EKIND);
	OK(tarn_channel_recv_channel(in, &got_channel, NULL, TARN_FOREVER));
	tarn_channel_unref(got_channel);
	tarn_block_unref(got_block);
	tarn_block_unref(b);
	tarn_object_unref(got);
	tarn_object_unref(m);
	tarn_channel_unref(in);
	tarn_channel_unref(out);
	user_close(&u);
}

PLAIN_TEST(p2_each_step_of_a_proxys_way_has_its_count)
{
	struct user u = user_open();
	tarn_client *other = scene_client(&u.s);
	tarn_object *m = NEW(u.c, "Magnifier", "d", 3.0), *got, *again;
	tarn_channel *out = channel(u.c, "way", TARN_PRODUCER, true);
	tarn_channel *in = channel(other, "way", TARN_CONSUMER, false);
	uint64_t id = tarn_object_id(m);

	PLAIN_EQ(count_of(&u, m), 1);
	OK(tarn_channel_send_object(out, m, 0, TARN_FOREVER));
	PLAIN_EQ(count_of(&u, m), 2);             /* + in transit */
	OK(tarn_channel_send_object(out, m, 0, TARN_FOREVER));
	PLAIN_EQ(count_of(&u, m), 3);
	OK(tarn_channel_recv_object(in, &got, NULL, TARN_FOREVER));
	OK(tarn_client_ping(other, TARN_FOREVER));
	PLAIN_EQ(count_of(&u, m), 3);             /* it moved */
	tarn_object_unref(m);
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 2);
	OK(tarn_channel_recv_object(in, &again, NULL, TARN_FOREVER));
	PLAIN_CHECK(again == got);                /* one proxy per process, counted there */
	OK(tarn_client_ping(other, TARN_FOREVER));
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 1);
	tarn_object_unref(again);
	PLAIN_CHECK(types_scale(got, 2) == 6);
	tarn_object_unref(got);
	OK(tarn_client_ping(other, TARN_FOREVER));
	scene_settle(&u.s);
	PLAIN_EQ(scene_count(&u.s, id), 0);
	tarn_channel_unref(in);
	tarn_channel_unref(out);
	tarn_client_close(other);
	user_close(&u);
}

PLAIN_TEST(p3_a_token_of_an_object_is_nothing_else)
{
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Magnifier", "d", 3.0), *got;
	const tarn_export_options many = { .uses = 5 };
	tarn_channel *ch;
	tarn_block *b;
	tarn_token t;
	char text[64];

	OK(tarn_object_export(m, &many, &t));
	FAILS(tarn_block_import(u.c, &t, &b), TARN_EKIND);
	PLAIN_CHECK(strcmp(tarn_error_last()->message,
			   "The token stands for an object, a block was asked for.") == 0);
	FAILS(tarn_channel_import(u.c, &t, &ch), TARN_EKIND);
	t.bytes[30] ^= 1;
	FAILS(tarn_object_import(u.c, &t, &got), EINVAL);
	t.bytes[30] ^= 1;
	OK(tarn_object_import(u.c, &t, &got));
	tarn_object_unref(got);
	PLAIN_CHECK(tarn_object_format(m, text, sizeof text) > 0);
	PLAIN_CHECK(strncmp(text, "<Magnifier ", 11) == 0);
	OK(tarn_token_revoke(u.c, &t));
	FAILS(tarn_object_import(u.c, &t, &got), TARN_ESTALE);
	tarn_object_unref(m);
	user_close(&u);
}

PLAIN_TEST(p7_a_weak_handle_holds_nothing_and_says_when_it_is_too_late)
{
	struct user u = user_open();
	tarn_client *other = scene_client(&u.s);
	tarn_object *m = NEW(u.c, "Magnifier", "d", 3.0), *got;
	tarn_weak weak = tarn_weak_from(m), theirs = { .client = other, .id = weak.id };

	PLAIN_EQ(count_of(&u, m), 1);
	OK(tarn_weak_lock(&weak, &got));
	PLAIN_CHECK(got == m);
	tarn_object_unref(got);
	OK(tarn_weak_lock(&theirs, &got)); /* of a client that has no proxy */
	PLAIN_EQ(count_of(&u, m), 2);
	tarn_object_unref(m);
	PLAIN_CHECK(types_scale(got, 1) == 3);
	tarn_object_unref(got);
	OK(tarn_client_ping(other, TARN_FOREVER));
	scene_settle(&u.s);
	FAILS(tarn_weak_lock(&weak, &got), TARN_ESTALE);
	FAILS(tarn_weak_lock(&theirs, &got), TARN_ESTALE);
	tarn_client_close(other);
	user_close(&u);
}

PLAIN_TEST(p8_a_notice_comes_when_an_object_is_gone)
{
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Canary", "");
	tarn_pending *notice, *late, *never;
	tarn_weak weak = tarn_weak_from(m);

	OK(tarn_object_watch(m, &notice));
	OK(tarn_weak_watch(&weak, &never));
	FAILS(tarn_call_wait(notice, NULL, 20000000), ETIMEDOUT);
	PLAIN_EQ(tarn_call_poll(notice), 0);
	tarn_object_unref(m);
	OK(tarn_call_wait(notice, NULL, TARN_FOREVER));
	OK(tarn_weak_watch(&weak, &late)); /* at once */
	OK(tarn_call_wait(late, NULL, TARN_FOREVER));
	tarn_call_free(late);
	tarn_call_free(notice);
	tarn_call_free(never);
	user_close(&u);
}

PLAIN_TEST(p8_a_notice_comes_when_a_client_is_killed)
{
	struct user u = user_open();
	uint32_t *number = scene_shared(sizeof *number);
	tarn_pending *notice;
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);

		scene_say(number, tarn_client_id(c));
		for (;;)
			pause();
	}
	PLAIN_WAIT_FOR(__atomic_load_n(number, __ATOMIC_ACQUIRE) != 0);
	OK(tarn_client_watch(u.c, *number, &notice));
	FAILS(tarn_call_wait(notice, NULL, 20000000), ETIMEDOUT);
	plain_kill(pid);
	OK(tarn_call_wait(notice, NULL, TARN_FOREVER));
	tarn_call_free(notice);
	user_close(&u);
}

PLAIN_TEST(p9_an_object_is_found_by_its_name_as_long_as_it_is_published)
{
	struct user u = user_open();
	tarn_client *other = scene_client(&u.s);
	tarn_object *m = NEW(u.c, "Magnifier", "d", 3.0), *got, *n;
	tarn_channel *ch;

	FAILS(tarn_object_lookup(other, "mag", 0, &got), ENOENT);
	FAILS(tarn_object_lookup(other, "mag", 10000000, &got), ETIMEDOUT);
	FAILS(tarn_object_unpublish(u.c, "mag"), ENOENT);
	FAILS(tarn_object_publish(m, "", 0), EINVAL);
	OK(tarn_object_publish(m, "mag", 0));
	PLAIN_EQ(count_of(&u, m), 2);
	FAILS(tarn_object_publish(m, "mag", 0), EEXIST);
	n = NEW(u.c, "Magnifier", "d", 4.0);
	OK(tarn_object_publish(n, "mag", TARN_PUBLISH_REPLACE));
	PLAIN_EQ(count_of(&u, m), 1);
	OK(tarn_object_lookup(other, "mag", 0, &got));
	PLAIN_CHECK(types_scale(got, 1) == 4);
	tarn_object_unref(got);
	OK(tarn_object_unpublish(other, "mag"));
	OK(tarn_client_ping(other, TARN_FOREVER));
	PLAIN_EQ(count_of(&u, n), 1);
	FAILS(tarn_object_lookup(other, "mag", 0, &got), ENOENT);
	OK(tarn_channel_new(u.c, 8, "ring", &ch));
	FAILS(tarn_object_lookup(other, "ring", 0, &got), TARN_EKIND);
	tarn_channel_unref(ch);
	tarn_object_unref(m);
	tarn_object_unref(n);
	tarn_client_close(other);
	user_close(&u);
}

PLAIN_TEST(p9_a_name_ends_with_its_publisher_unless_it_is_pinned)
{
	struct user u = user_open();
	tarn_object *counts = NEW(u.c, "Counts", ""), *got;
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);

		OK(tarn_object_publish(NEW(c, "Canary", ""), "leased", 0));
		OK(tarn_object_publish(NEW(c, "Canary", ""), "pinned", TARN_PUBLISH_PINNED));
		kill(getpid(), SIGKILL);
	}
	PLAIN_EQ(plain_reap(pid), -SIGKILL);
	PLAIN_WAIT_FOR(types_integer(counts, "destroyed") == 1);
	FAILS(tarn_object_lookup(u.c, "leased", 0, &got), ENOENT);
	OK(tarn_object_lookup(u.c, "pinned", 0, &got));
	OK(tarn_callf(got, "sing", TARN_FOREVER, NULL, NULL));
	tarn_object_unref(got);
	OK(tarn_object_unpublish(u.c, "pinned"));
	PLAIN_WAIT_FOR(types_integer(counts, "destroyed") == 2);
	tarn_object_unref(counts);
	user_close(&u);
}

/* ---- F: the articles' bugs ---- */

PLAIN_TEST(f1_proxies_in_a_channel_outlive_their_sender_who_drops_them_at_once)
{
	/* The pickling race with its sleeps swapped: the producer is done, and dead, before the
	 * consumer looks. All nine lines. */
	struct user u = user_open();
	tarn_channel *in;
	int status;
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_channel *out = channel(c, "queue", TARN_PRODUCER, true);

		for (int i = 1; i <= 9; i++) {
			tarn_object *m = NEW(c, "Magnifier", "d", (double)i);

			OK(tarn_channel_send_object(out, m, (uint64_t)i, TARN_FOREVER));
			tarn_object_unref(m);
		}
		OK(tarn_client_flush(c, true, TARN_FOREVER));
		scene_settle(&u.s);
		OK(tarn_object_publish(NEW(c, "Counts", ""), "done", TARN_PUBLISH_PINNED));
		kill(getpid(), SIGSTOP);
		_exit(0);
	}
	tarn_object *done;
	OK(tarn_object_lookup(u.c, "done", TARN_FOREVER, &done));
	in = channel(u.c, "queue", TARN_CONSUMER, false);
	waitpid(pid, &status, WUNTRACED);
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(&u.s, pid));
	for (int i = 1; i <= 9; i++) {
		tarn_object *m;
		uint64_t tag;

		OK(tarn_channel_recv_object(in, &m, &tag, TARN_FOREVER));
		PLAIN_EQ(tag, i);
		PLAIN_CHECK(types_scale(m, 2) == 2.0 * i);
		tarn_object_unref(m);
	}
	OK(tarn_object_unpublish(u.c, "done"));
	tarn_object_unref(done);
	tarn_channel_unref(in);
	user_close(&u);
}

PLAIN_TEST_TIMEOUT(f1_100000_proxies_pass_a_channel_while_their_sender_drops_them, 120)
{
	struct user u = user_open();
	tarn_channel *out = channel(u.c, "queue", TARN_PRODUCER, true);
	const int n = 100000;
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_channel *in = channel(c, "queue", TARN_CONSUMER, false);

		for (int i = 0; i < n; i++) {
			tarn_object *m;

			OK(tarn_channel_recv_object(in, &m, NULL, TARN_FOREVER));
			if (i % 7 == 0)
				PLAIN_CHECK(types_scale(m, 2) == 2.0 * i);
			tarn_object_unref(m);
		}
		tarn_client_close(c);
		_exit(0);
	}
	for (int i = 0; i < n; i++) {
		tarn_object *m = NEW(u.c, "Magnifier", "d", (double)i);

		OK(tarn_channel_send_object(out, m, 0, TARN_FOREVER));
		tarn_object_unref(m);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	tarn_channel_unref(out);
	user_close(&u);
}

PLAIN_TEST(f2_a_proxy_that_came_from_elsewhere_has_all_its_methods)
{
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0);
	tarn_token token;
	pid_t pid;

	OK(tarn_object_export(m, NULL, &token));
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_object *got, *a, *b, *d;

		OK(tarn_object_import(c, &token, &got));
		a = give(got, "clone");
		b = give(a, "clone");
		d = give(b, "spawn");
		PLAIN_CHECK(types_scale(b, 3) == 6);
		PLAIN_CHECK(types_scale(d, 3) == 60);
		PLAIN_CHECK(types_scale(give(d, "clone"), 3) == 60);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	tarn_object_unref(m);
	user_close(&u);
}

PLAIN_TEST(f3_f4_an_object_in_a_list_has_exact_counts_in_five_stages)
{
	struct user u = user_open();
	tarn_object *list = NEW(u.c, "List", ""), *item = NEW(u.c, "Magnifier", "d", 2.0), *back;
	tarn_builder b;
	tarn_parcel p;
	uint64_t id = tarn_object_id(item);

	PLAIN_EQ(count_of(&u, list), 1);                        /* 1 */
	OK(tarn_callf(list, "append", TARN_FOREVER, "O", NULL, item));
	tarn_object_unref(item);
	scene_settle(&u.s);
	PLAIN_EQ(count_of(&u, list), 1);                        /* 1, 1 */
	PLAIN_EQ(scene_count(&u.s, id), 1);
	tarn_builder_init(&b);
	tarn_put_int(&b, 0);
	OK(tarn_call(list, "get", &b, &p, TARN_FOREVER));
	tarn_builder_fini(&b);
	OK(tarn_parcel_get(&p, "O", &back));
	tarn_object_ref(back);
	tarn_parcel_fini(&p);
	PLAIN_EQ(count_of(&u, list), 1);                        /* 1, 2 */
	PLAIN_EQ(count_of(&u, back), 2);
	OK(tarn_callf(list, "remove", TARN_FOREVER, "q", NULL, (int64_t)0));
	PLAIN_EQ(count_of(&u, list), 1);                        /* 1, 1 */
	PLAIN_EQ(count_of(&u, back), 1);
	PLAIN_CHECK(types_scale(back, 2) == 4);
	tarn_object_unref(back);
	PLAIN_EQ(count_of(&u, list), 1);                        /* 1 */
	PLAIN_EQ(scene_count(&u.s, id), 0);
	tarn_object_unref(list);
	user_close(&u);
}

PLAIN_TEST(f4_an_object_taken_out_of_a_list_outlives_it)
{
	struct user u = user_open();
	tarn_object *list = NEW(u.c, "List", ""), *item = NEW(u.c, "Canary", ""), *back;
	tarn_object *counts = NEW(u.c, "Counts", "");

	OK(tarn_callf(list, "append_slowly", TARN_FOREVER, "O", NULL, item));
	tarn_object_unref(item);
	back = give(list, "pop_slowly");
	tarn_object_unref(list);
	scene_settle(&u.s);
	PLAIN_EQ(types_integer(counts, "destroyed"), 0);
	OK(tarn_callf(back, "sing", TARN_FOREVER, NULL, NULL));
	tarn_object_unref(back);
	PLAIN_WAIT_FOR(types_integer(counts, "destroyed") == 1);
	tarn_object_unref(counts);
	user_close(&u);
}

PLAIN_TEST(f4_an_inline_method_gives_away_what_only_its_object_holds)
{
	/* The edge was dropped before the result was booked: it named what was gone. */
	struct user u = user_open();
	tarn_object *list = NEW(u.c, "List", ""), *item = NEW(u.c, "Canary", ""), *back;
	tarn_object *counts = NEW(u.c, "Counts", "");

	OK(tarn_callf(list, "append", TARN_FOREVER, "O", NULL, item));
	tarn_object_unref(item);
	scene_settle(&u.s);
	back = give(list, "pop");
	PLAIN_EQ(count_of(&u, back), 1);
	OK(tarn_callf(back, "sing", TARN_FOREVER, NULL, NULL));
	PLAIN_EQ(types_integer(counts, "destroyed"), 0);
	tarn_object_unref(back);
	PLAIN_WAIT_FOR(types_integer(counts, "destroyed") == 1);
	tarn_object_unref(list);
	tarn_object_unref(counts);
	user_close(&u);
}

PLAIN_TEST(f9_objects_in_a_channel_that_nobody_reads_end_with_it)
{
	struct user u = user_open();
	tarn_object *counts = NEW(u.c, "Counts", "");
	tarn_channel *ch;

	OK(tarn_channel_new(u.c, 1024, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	for (int i = 0; i < 1000; i++) {
		tarn_object *o = NEW(u.c, "Canary", "");

		OK(tarn_channel_send_object(ch, o, 0, TARN_FOREVER));
		tarn_object_unref(o);
	}
	scene_settle(&u.s);
	PLAIN_EQ(types_integer(counts, "destroyed"), 0);
	tarn_channel_unref(ch);
	PLAIN_WAIT_FOR(types_integer(counts, "destroyed") == 1000);
	tarn_object_unref(counts);
	user_close(&u);
}

PLAIN_TEST(f10_a_killed_client_gives_1000_objects_back)
{
	struct user u = user_open();
	tarn_object *counts = NEW(u.c, "Counts", "");
	uint32_t *step = scene_shared(sizeof *step);
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_block *b;

		OK(tarn_block_new(c, 1000, 0, &b));
		for (int i = 0; i < 1000; i++)
			NEW(c, i % 2 ? "Canary" : "SlowCanary", "");
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	PLAIN_EQ(types_canaries(counts), 1000);
	uint64_t begin = scene_now();
	plain_kill(pid);
	PLAIN_WAIT_FOR(types_canaries(counts) == 0);
	scene_note("1000 objects of a killed client ended %.1f ms after the kill",
		   (double)(scene_now() - begin) * 1e-6);
	tarn_object_unref(counts);
	user_close(&u);
}

/* ---- R, V: what a creator or a method gives ---- */

PLAIN_TEST(r5_a_creator_may_give_an_object_that_exists)
{
	/* mag: ids equal, one object, counts 1 then 2. */
	struct user u = user_open();
	tarn_client *other = scene_client(&u.s);
	tarn_object *a = NEW(u.c, "Mag", "d", 2.0), *b, *c;

	PLAIN_EQ(count_of(&u, a), 1);
	b = NEW(other, "Mag", "d", 2.0);
	PLAIN_EQ(tarn_object_id(a), tarn_object_id(b));
	PLAIN_EQ(count_of(&u, a), 2);
	c = NEW(u.c, "Mag", "d", 3.0);
	PLAIN_CHECK(tarn_object_id(c) != tarn_object_id(a));
	PLAIN_EQ(count_of(&u, a), 2);
	tarn_object_unref(a);
	PLAIN_CHECK(types_scale(b, 2) == 4);
	PLAIN_EQ(count_of(&u, b), 1);
	tarn_object_unref(b);
	tarn_object_unref(c);
	tarn_client_close(other);
	user_close(&u);
}

PLAIN_TEST(r10_10000_creators_that_fail_leave_nothing)
{
	struct user u = user_open();
	tarn_stat before = scene_stat(&u.s);
	tarn_object *o = NULL;

	for (int i = 0; i < 10000; i++) {
		const char *type = i % 10 == 0 ? "Failing" : "FailingInline";

		if (i % 2 == 0)
			FAILS(tarn_object_newf(u.c, type, &o, "i", 0), TARN_EREMOTE);
		else
			FAILS(tarn_object_newf(u.c, type, &o, "i", ENOMEM), TARN_EREMOTE);
	}
	PLAIN_CHECK(o == NULL);
	OK(tarn_client_flush(u.c, true, TARN_FOREVER));
	PLAIN_EQ(scene_stat(&u.s).blocks_live, before.blocks_live);
	user_close(&u);
}

PLAIN_TEST(r9_an_unknown_type_is_an_error_and_nothing_more)
{
	struct user u = user_open();
	tarn_object *o;

	FAILS(tarn_object_newf(u.c, "Magnifyer", &o, "d", 2.0), TARN_ENOTYPE);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "Magnifyer") != NULL);
	FAILS(tarn_object_newf(u.c, "", &o, NULL), TARN_ENOTYPE);
	FAILS(tarn_object_newf(u.c, "0123456789012345678901234567890123456789012345678901234567890123456789",
			       &o, NULL), TARN_ENOTYPE);
	FAILS(tarn_object_newf(u.c, "ClonedMagnifier", &o, "d", 2.0), EPERM); /* R7 */
	o = NEW(u.c, "Magnifier", "d", 2.0);
	PLAIN_CHECK(types_scale(o, 2) == 4);
	tarn_object_unref(o);
	user_close(&u);
}

PLAIN_TEST(r15_a_proxy_lists_the_methods_of_its_type)
{
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Magnifier", "d", 2.0);
	tarn_method_facts f;
	unsigned number;

	PLAIN_CHECK(tarn_object_method_count(o) >= 8);
	OK(tarn_object_method_at(o, 0, &f));
	PLAIN_EQ(strcmp(f.name, "scale"), 0);
	PLAIN_EQ(strcmp(f.args, "d"), 0);
	PLAIN_EQ(strcmp(f.result, "d"), 0);
	PLAIN_CHECK(f.flags & TARN_METHOD_INLINE);
	OK(tarn_method_find(o, "clone", &number));
	OK(tarn_object_method_at(o, number, &f));
	PLAIN_EQ(strcmp(f.result_type, "ClonedMagnifier"), 0);
	FAILS(tarn_object_method_at(o, 1000, &f), TARN_ENOMETHOD);
	FAILS(tarn_method_find(o, "sca", &number), TARN_ENOMETHOD);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "scale, ") != NULL);
	tarn_object_unref(o);
	user_close(&u);
}

PLAIN_TEST(v1_v2_clones_and_spawned_objects_have_exact_counts)
{
	/* clone: five objects, each held once. */
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0), *o[5] = { m };

	o[1] = give(m, "clone");
	o[2] = give(o[1], "clone");
	o[3] = give(m, "spawn");
	o[4] = give(o[3], "spawn");
	for (int i = 0; i < 5; i++) {
		PLAIN_EQ(count_of(&u, o[i]), 1);
		for (int k = 0; k < i; k++)
			PLAIN_CHECK(!tarn_object_same(o[i], o[k]));
	}
	PLAIN_CHECK(types_scale(o[2], 3) == 6);
	PLAIN_CHECK(types_scale(o[3], 3) == 60);
	PLAIN_CHECK(types_scale(o[4], 3) == 600);
	for (int i = 0; i < 5; i++)
		tarn_object_unref(o[i]);
	user_close(&u);
}

PLAIN_TEST(v6_v7_a_result_mixes_plain_data_with_objects_and_blocks_at_any_depth)
{
	struct user u = user_open();
	tarn_object *maker = NEW(u.c, "Maker", ""), *hobbies, *deep;
	tarn_value data, jobs;
	tarn_block *mem;
	const char *text;
	tarn_parcel p;

	OK(tarn_call(maker, "data", NULL, &p, TARN_FOREVER));
	PLAIN_EQ(tarn_parcel_count(&p), 1);
	data = tarn_parcel_at(&p, 0);
	OK(tarn_value_string(tarn_value_get(data, "name"), &text, NULL));
	PLAIN_EQ(strcmp(text, "Tom"), 0);
	OK(tarn_value_object(tarn_value_get(data, "hobbies"), &hobbies));
	PLAIN_EQ(types_integer(hobbies, "len"), 2);
	jobs = tarn_value_get(tarn_value_at(tarn_value_get(data, "jobs"), 2), "UK");
	OK(tarn_value_string(tarn_value_at(jobs, 1), &text, NULL));
	PLAIN_EQ(strcmp(text, "BT"), 0);
	OK(tarn_value_object(tarn_value_at(jobs, 2), &deep));
	OK(tarn_callf(deep, "sing", TARN_FOREVER, NULL, NULL));
	OK(tarn_value_block(tarn_value_get(tarn_value_get(data, "more"), "mem"), &mem));
	PLAIN_EQ(tarn_block_size(mem), 80);
	PLAIN_EQ(((unsigned char *)tarn_block_data(mem))[3], 8);
	PLAIN_EQ(count_of(&u, hobbies), 1);
	PLAIN_EQ(count_of(&u, deep), 3);
	tarn_object_ref(deep);
	tarn_parcel_fini(&p); /* and all that was only there ends */
	PLAIN_EQ(count_of(&u, deep), 1);
	tarn_object_unref(deep);
	tarn_object_unref(maker);
	user_close(&u);
}

PLAIN_TEST(v7_a_list_of_many_blocks_is_a_result)
{
	struct user u = user_open();
	tarn_object *maker = NEW(u.c, "Maker", "");
	tarn_block *b[20];
	tarn_builder args;
	tarn_value list;
	tarn_parcel p;

	tarn_builder_init(&args);
	tarn_put_int(&args, 20);
	OK(tarn_call(maker, "blocks", &args, &p, TARN_FOREVER));
	tarn_builder_fini(&args);
	list = tarn_parcel_at(&p, 0);
	PLAIN_EQ(tarn_value_count(list), 20);
	for (size_t i = 0; i < 20; i++) {
		OK(tarn_value_block(tarn_value_at(list, i), &b[i]));
		PLAIN_EQ(tarn_block_size(b[i]), (i + 1) * 10);
		tarn_block_ref(b[i]);
	}
	tarn_parcel_fini(&p);
	scene_settle(&u.s);
	for (size_t i = 0; i < 20; i++) {
		PLAIN_EQ(scene_count(&u.s, tarn_block_id(b[i])), 1);
		tarn_block_unref(b[i]);
	}
	tarn_object_unref(maker);
	user_close(&u);
}

PLAIN_TEST(v8_the_same_object_keeps_its_identity_however_often_it_is_given)
{
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0), *me[10];

	for (int i = 0; i < 10; i++) {
		me[i] = give(m, i % 2 ? "me" : "me_inline");
		PLAIN_EQ(tarn_object_id(me[i]), tarn_object_id(m));
	}
	for (int i = 0; i < 10; i++)
		tarn_object_unref(me[i]);
	PLAIN_CHECK(types_scale(m, 2) == 4);
	tarn_object_unref(m);
	user_close(&u);
}

static void chooses(const char *method)
{
	struct user u = user_open();
	tarn_object *maker = NEW(u.c, "Maker", ""), *o;
	static const char *const type[] = { "List", "Counter", "Canary" };

	for (int i = 0; i < 3; i++) {
		tarn_builder args;
		tarn_parcel p;

		tarn_builder_init(&args);
		tarn_put_string(&args, type[i]);
		OK(tarn_call(maker, method, &args, &p, TARN_FOREVER));
		OK(tarn_parcel_get(&p, "O", &o));
		PLAIN_EQ(strcmp(tarn_object_type_name(o), type[i]), 0);
		tarn_parcel_fini(&p);
		tarn_builder_fini(&args);
	}
	PLAIN_CHECK(tarn_callf(maker, method, TARN_FOREVER, "s", NULL, "Nothing") < 0);
	tarn_object_unref(maker);
	user_close(&u);
}
PLAIN_TEST(v11_a_method_chooses_the_type_of_its_result) { chooses("make"); }
PLAIN_TEST(v11_an_inline_method_chooses_the_type_of_its_result) { chooses("make_inline"); }

PLAIN_TEST(v12_a_method_that_fails_after_some_results_leaves_none)
{
	struct user u = user_open();
	tarn_object *maker = NEW(u.c, "Maker", ""), *counts = NEW(u.c, "Counts", "");

	for (int64_t k = 0; k < 15; k++) {
		FAILS(tarn_callf(maker, "fail", TARN_FOREVER, "q", NULL, k), TARN_EREMOTE);
		FAILS(tarn_callf(maker, "fail_inline", TARN_FOREVER, "q", NULL, k), TARN_EREMOTE);
	}
	PLAIN_WAIT_FOR(types_canaries(counts) == 0);
	tarn_object_unref(counts);
	tarn_object_unref(maker);
	user_close(&u);
}

PLAIN_MAIN()
