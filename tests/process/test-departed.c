/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What types are told of the ends of clients: once per object and client, however a client ends;
 * and Tarn's own types as far as they are like all others.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/client/call.h"
#include "lib/types/inside.h"
#include "lib/types/types.h"
#include "tests/common/types.h"

/* ---- a type that keeps count, and lets go of what it kept for who is gone ---- */

#define KEPT_MOST 8u
struct attendant {
	int64_t told, last;
	struct kept {
		uint64_t id;
		int64_t client;
	} kept[KEPT_MOST];
};

static int keep(tarn_context *ctx, void *self)
{
	struct attendant *a = self;
	tarn_block *b;
	int r = tarn_context_get(ctx, "B", &b);

	for (unsigned i = 0; r == 0 && i < KEPT_MOST; i++)
		if (a->kept[i].id == 0) {
			a->kept[i] = (struct kept){ tarn_block_id(b), tarn_context_caller(ctx).client };
			return tarn_self_hold(ctx, b);
		}
	return r < 0 ? r : -ENOSPC;
}

static void departed(tarn_context *ctx, void *self, uint32_t client)
{
	struct attendant *a = self;

	a->told++;
	a->last = client;
	for (unsigned i = 0; i < KEPT_MOST; i++)
		if (a->kept[i].id != 0 && a->kept[i].client == client) {
			if (tarn_self_drop(ctx, a->kept[i].id) < 0)
				abort();
			a->kept[i].id = 0;
		}
}

static const tarn_method attendant_methods[] = {
	{ "keep", keep, TARN_METHOD_INLINE, "B", "", NULL },
	{ 0 },
};
static const tarn_field attendant_fields[] = {
	{ "told", 'q', false, offsetof(struct attendant, told) },
	{ "last", 'q', false, offsetof(struct attendant, last) },
	{ 0 },
};
static const tarn_type attendant = {
	.name = "Attendant", .size = sizeof(struct attendant), .flags = TARN_TYPE_INLINE,
	.methods = attendant_methods, .fields = attendant_fields, .departed = departed,
};
TARN_TYPE_REGISTER(attendant)

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

/* A process with a client, which says its number and stays. */
static pid_t bystander(const struct user *u, uint32_t *number)
{
	pid_t pid;

	*number = 0;
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c = scene_client(&u->s);

		OK(tarn_client_ping(c, TARN_FOREVER));
		scene_say(number, tarn_client_id(c));
		for (;;)
			pause();
	}
	PLAIN_WAIT_FOR(__atomic_load_n(number, __ATOMIC_ACQUIRE) != 0);
	return pid;
}

static void kill_client(const struct user *u, pid_t pid)
{
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(&u->s, pid));
}

PLAIN_TEST(each_object_is_told_once_of_each_client_that_was_killed)
{
	enum { OBJECTS = 200 };
	struct user u = user_open();
	uint32_t *number = scene_shared(sizeof *number);
	tarn_object *o[OBJECTS];

	for (int i = 0; i < OBJECTS; i++)
		o[i] = NEW(u.c, "Attendant", "");
	for (int round = 1; round <= 3; round++) {
		pid_t pid = bystander(&u, number);

		for (int i = 0; i < OBJECTS; i += 67)
			PLAIN_EQ(types_integer(o[i], "told"), round - 1);
		kill_client(&u, pid);
		for (int i = 0; i < OBJECTS; i++) {
			PLAIN_EQ(types_integer(o[i], "told"), round);
			PLAIN_EQ(types_integer(o[i], "last"), *number);
		}
		scene_check(&u.s);
	}
	for (int i = 0; i < OBJECTS; i++)
		tarn_object_unref(o[i]);
	user_close(&u);
}

PLAIN_TEST(a_client_that_is_closed_is_told_of_as_one_that_died)
{
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Attendant", "");
	tarn_client *c = scene_client(&u.s);
	uint32_t number = tarn_client_id(c);

	tarn_client_close(c);
	PLAIN_EQ(types_integer(o, "told"), 1);
	PLAIN_EQ(types_integer(o, "last"), number);
	tarn_object_unref(o);
	user_close(&u);
}

PLAIN_TEST(an_evicted_client_is_told_of_once_when_its_process_has_ended)
{
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Attendant", "");
	uint32_t *step = scene_shared(sizeof *step);
	pid_t pid = plain_fork();

	if (pid == 0) {
		const uint64_t nonsense[7] = { tarn__header((enum tarn__message)255, 1, 0, 7) };
		tarn_client *c = scene_client(&u.s);

		OK(tarn_client_ping(c, TARN_FOREVER));
		tarn__requests_post(&tarn__lane_mine(c)->requests, nonsense);
		PLAIN_WAIT_FOR(tarn_client_ping(c, TARN_FOREVER) == -TARN_EEVICTED);
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	u.s.evictions = 1;
	scene_settle(&u.s);
	scene_settle(&u.s);
	PLAIN_EQ(types_integer(o, "told"), 0);
	kill_client(&u, pid);
	PLAIN_EQ(types_integer(o, "told"), 1);
	tarn_object_unref(o);
	user_close(&u);
}

PLAIN_TEST(what_is_dropped_when_a_client_is_gone_is_free)
{
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Attendant", "");
	uint64_t *id = scene_shared(sizeof *id);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_object *mine;
		tarn_block *b;

		OK(tarn_object_lookup(c, "attendant", TARN_FOREVER, &mine));
		OK(tarn_block_new(c, 1000, 0, &b));
		*id = tarn_block_id(b);
		OK(tarn_callf(mine, "keep", TARN_FOREVER, "B", NULL, b));
		tarn_block_unref(b);
		scene_say(step, 1);
		for (;;)
			pause();
	}
	OK(tarn_object_publish(o, "attendant", 0));
	scene_await(step, 1);
	scene_settle(&u.s);
	PLAIN_CHECK(scene_stat(&u.s).blocks_live >= 1);
	kill_client(&u, pid);
	scene_settle(&u.s);
	PLAIN_EQ(types_integer(o, "told"), 1);
	PLAIN_EQ(scene_count(&u.s, *id), 0);
	OK(tarn_object_unpublish(u.c, "attendant"));
	tarn_object_unref(o);
	user_close(&u);
}

PLAIN_TEST_TIMEOUT(objects_come_and_go_while_clients_are_taken_apart, 120)
{
	struct user u = user_open();
	uint32_t *number = scene_shared(sizeof *number);
	uint64_t seed = 17;

	for (int round = 0; round < 20; round++) {
		pid_t pid = bystander(&u, number);
		tarn_object *o[300] = { NULL };

		kill(pid, SIGKILL);
		for (int i = 0; i < 3000; i++) {
			size_t at = scene_random(&seed) % 300;

			if (o[at] == NULL)
				o[at] = NEW(u.c, "Attendant", "");
			else
				o[at] = tarn_object_unref(o[at]);
		}
		scene_check(&u.s);
		plain_reap(pid);
		PLAIN_WAIT_FOR(scene_client_gone(&u.s, pid));
		for (int i = 0; i < 300; i++)
			tarn_object_unref(o[i]);
		scene_settle(&u.s);
		scene_check(&u.s);
	}
	user_close(&u);
}

/* ---- Tarn's own types ---- */

PLAIN_TEST(every_server_has_tarns_own_types_without_being_told)
{
	struct user u = user_open();
	tarn_type_row *row;
	size_t n;

	OK(tarn_inspector_types(u.s.in, &row, &n));
	for (unsigned i = 0; tarn__builtin_types[i] != NULL; i++) {
		PLAIN_CHECK(i < n);
		PLAIN_EQ(strcmp(row[i].name, tarn__builtin_types[i]->name), 0);
	}
	free(row);
	user_close(&u);
}

PLAIN_TEST(names_of_tarns_own_types_are_reserved_and_their_tables_are_right)
{
	tarn_registry *r = tarn_registry_new();
	tarn_type copy = attendant;

	copy.name = "tarn.Attendant";
	FAILS(tarn_type_register(r, &copy), EINVAL);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "tarn.Attendant") != NULL);
	copy.name = "tarn";
	OK(tarn_type_register(r, &copy));
	/* Nobody looks at them when a server starts: here their tables are looked at. */
	for (unsigned i = 0; tarn__builtin_types[i] != NULL; i++) {
		tarn_type own = *tarn__builtin_types[i];

		PLAIN_CHECK(tarn__builtin_find(own.name) == tarn__builtin_types[i]);
		tarn_method method[64];
		unsigned n = 0;

		own.name = strchr(own.name, '.') + 1;
		/* What only Tarn's own may say is left out. */
		for (; own.methods != NULL && own.methods[n].name != NULL; n++) {
			PLAIN_CHECK(n + 1 < sizeof method / sizeof *method);
			method[n] = own.methods[n];
			method[n].flags &= ~TARN__METHOD_BOOKS;
		}
		method[n] = (tarn_method){ 0 };
		own.methods = method;
		OK(tarn_type_register(r, &own));
		OK(tarn_type_unregister(r, own.name));
	}
	tarn_registry_free(r);
}

PLAIN_TEST(a_proxy_of_another_type_is_refused_with_both_names)
{
	struct user u = user_open();
	tarn_object *o = NEW(u.c, "Attendant", "");

	FAILS(tarn_lock_acquire(o, 0), TARN_EKIND);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "tarn.Lock") != NULL &&
		    strstr(tarn_error_last()->message, "Attendant") != NULL);
	tarn_object_unref(o);
	user_close(&u);
}

/* ---- what the server does meanwhile ---- */

static uint64_t server_cpu_ns(const struct scene *s)
{
	struct timespec t;
	clockid_t clock;

	PLAIN_EQ(clock_getcpuclockid(tarn_server_pid(s->server), &clock), 0);
	PLAIN_EQ(clock_gettime(clock, &t), 0);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Dies with a lock, and with a call posted that is an executor's. */
static void dies_with_a_call(const struct scene *s)
{
	tarn_client *c = scene_client(s);
	tarn_object *lock, *list;
	tarn_pending *pending;

	OK(tarn_object_lookup(c, "lock", 0, &lock));
	OK(tarn_object_lookup(c, "list", 0, &list));
	OK(tarn_lock_acquire(lock, TARN_FOREVER));
	OK(tarn_call_start(list, "reverse", NULL, &pending));
	kill(getpid(), SIGKILL);
}

/* The only executor is in a method of a user: the call does not begin, and the death is told in the end. The
 * reactor ran through all its epochs until then. */
PLAIN_TEST(t8_the_server_sleeps_while_a_death_waits_for_executors)
{
	struct scene s = scene_open(&(tarn_server_options){ .arena_bytes = 256u << 20, .max_executors = 1 });
	tarn_client *c = scene_client(&s);
	tarn_object *list, *lock, *sleeper = NEW(c, "Sleeper", "");
	tarn_pending *pending;
	tarn_builder b;
	uint64_t cpu;
	pid_t pid;

	OK(tarn_list_new(c, &list));
	OK(tarn_lock_new(c, 0, &lock));
	for (int k = 0; k < 800; k++) {
		tarn_builder_init(&b);
		for (int i = 0; i < 250; i++)
			tarn_put_int(&b, i);
		OK(tarn_list_extend(list, &b));
		tarn_builder_fini(&b);
	}
	OK(tarn_object_publish(list, "list", 0));
	OK(tarn_object_publish(lock, "lock", 0));
	tarn_builder_init(&b);
	tarn_put_int(&b, 3000000000);
	OK(tarn_call_start(sleeper, "sleep", &b, &pending));
	tarn_builder_fini(&b);
	cpu = server_cpu_ns(&s);
	pid = plain_fork();
	if (pid == 0)
		dies_with_a_call(&s);
	PLAIN_EQ(plain_reap(pid), -SIGKILL);
	PLAIN_EQ(tarn_lock_acquire(lock, TARN_FOREVER), -EOWNERDEAD);
	cpu = server_cpu_ns(&s) - cpu;
	scene_note("%llu ms of CPU until the death was told", (unsigned long long)cpu / 1000000);
	PLAIN_CHECKF(cpu < 800000000, "%llu ms of CPU, of 2 s", (unsigned long long)cpu / 1000000);
	OK(tarn_lock_release(lock));
	tarn_call_free(pending);
	tarn_object_unref(sleeper);
	tarn_object_unref(list);
	tarn_object_unref(lock);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_MAIN()
