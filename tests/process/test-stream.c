/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: queues with ends and rounds (FEATURES U9, U10), and runners that use queues (U8). */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/client/object.h"
#include "lib/types/stream.h"
#include "lib/types/types.h"
#include "shm/wake.h"
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

static int put(tarn_stream *s, int64_t x)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, x);
	int r = tarn_stream_put(s, &b, TARN_FOREVER);
	tarn_builder_fini(&b);
	return r;
}

/* The next number; -TARN_EOF: the end. */
static int next(tarn_stream *s, int64_t timeout_ns, int64_t *ret)
{
	tarn_parcel p;
	int r = tarn_stream_next(s, &p, timeout_ns);

	if (r == 0) {
		r = tarn_parcel_get(&p, "q", ret);
		tarn_parcel_fini(&p);
	}
	return r;
}

static tarn_process *spawn(struct user *u, const char *entry, tarn_stream *in, tarn_stream *out, int64_t x)
{
	tarn_process *p;
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put(&b, "OOq", tarn_stream_object(in), out != NULL ? tarn_stream_object(out) : NULL, x);
	OK(tarn_process_spawn(u->c, &(tarn_process_options){ .entry = entry, .args = &b }, &p));
	tarn_builder_fini(&b);
	return p;
}
static void join(tarn_process *p)
{
	OK(tarn_process_join(p, TARN_FOREVER));
	tarn_process_unref(p);
}

static int open_both(tarn_worker *worker, tarn_stream **in, tarn_stream **out, int64_t *x)
{
	tarn_object *a, *b;
	int r = tarn_worker_get(worker, "OO?q", &a, &b, x);

	*in = *out = NULL;
	if (r == 0)
		r = tarn_stream_open(a, in);
	if (r == 0 && b != NULL)
		r = tarn_stream_open(b, out);
	return r;
}

/* Gives each number times x; ends its output when the input ends. */
TARN_WORKER(multiply)
{
	tarn_stream *in, *out;
	int64_t x, y, n = 0;
	int r = open_both(worker, &in, &out, &x);

	while (r == 0 && (r = next(in, TARN_FOREVER, &y)) == 0) {
		r = put(out, x * y);
		n++;
	}
	if (r == -TARN_EOF)
		r = tarn_stream_end(out);
	tarn_stream_close(in);
	tarn_stream_close(out);
	return r < 0 ? r : tarn_put_int(tarn_worker_result(worker), n);
}

TARN_WORKER(supply)
{
	tarn_stream *s, *none;
	int64_t n;
	int r = open_both(worker, &s, &none, &n);

	for (int64_t i = 1; i <= n && r == 0; i++)
		r = put(s, i);
	if (r == 0)
		r = tarn_stream_end(s);
	tarn_stream_close(s);
	return r;
}

static int compare(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* Everything until the end, in order of size. */
static size_t take_all(tarn_stream *s, int64_t *ret, size_t room)
{
	size_t n = 0;
	int r;

	while ((r = next(s, TARN_FOREVER, &ret[n])) == 0)
		PLAIN_CHECK(++n < room);
	PLAIN_EQ(r, -TARN_EOF);
	qsort(ret, n, sizeof *ret, compare);
	return n;
}

PLAIN_TEST(u9_a_stream_ends_and_goes_into_another_round)
{
	struct user u = user_open();
	const int64_t one[] = { 2, 4, 6, 8 }, two[] = { 24, 27, 36, 39 };
	const int64_t second[] = { 9, 12, 13, 8 };
	int64_t got[8], none;
	tarn_stream *in, *out;

	OK(tarn_stream_new(u.c, NULL, &in));
	OK(tarn_stream_new(u.c, NULL, &out));
	for (int i = 1; i <= 4; i++)
		OK(put(in, i));
	FAILS(tarn_stream_renew(in), TARN_ESTATE); /* not ended */
	OK(tarn_stream_end(in));
	FAILS(tarn_stream_end(in), TARN_ESTATE);
	FAILS(put(in, 5), TARN_ESTATE);
	FAILS(tarn_stream_renew(in), TARN_ESTATE); /* items are left */
	join(spawn(&u, "multiply", in, out, 2));
	PLAIN_EQ(take_all(out, got, 8), 4);
	PLAIN_CHECK(memcmp(got, one, sizeof one) == 0);
	FAILS(next(out, TARN_FOREVER, &none), TARN_EOF); /* it stays so */
	OK(tarn_stream_renew(in));
	OK(tarn_stream_renew(out));
	FAILS(next(out, TARN_FOREVER, &none), TARN_EOF); /* this one is in the first round */
	OK(tarn_stream_await_renew(in, TARN_FOREVER));
	OK(tarn_stream_await_renew(out, TARN_FOREVER));
	FAILS(tarn_stream_await_renew(out, 10000000), ETIMEDOUT);
	FAILS(next(out, 10000000, &none), ETIMEDOUT);
	for (int i = 0; i < 4; i++)
		OK(put(in, second[i]));
	OK(tarn_stream_end(in));
	join(spawn(&u, "multiply", in, out, 3));
	PLAIN_EQ(take_all(out, got, 8), 4);
	PLAIN_CHECK(memcmp(got, two, sizeof two) == 0);
	tarn_stream_close(in);
	tarn_stream_close(out);
	user_close(&u);
}

PLAIN_TEST_TIMEOUT(u9_three_suppliers_and_four_consumers_lose_nothing, 120)
{
	struct user u = user_open();
	const int64_t each = 500;
	tarn_process *suppliers[3], *consumers[4];
	tarn_stream *in, *out;
	int64_t *got = calloc(3 * (size_t)each + 1, sizeof *got), sum = 0;
	tarn_object *queue;

	PLAIN_CHECK(got != NULL);
	OK(tarn_queue_new(u.c, &(tarn_queue_options){ .maxsize = 16 }, &queue));
	OK(tarn_stream_new(u.c, &(tarn_stream_options){ .queue = queue, .suppliers = 3 }, &in));
	tarn_object_unref(queue);
	OK(tarn_stream_new(u.c, &(tarn_stream_options){ .suppliers = 4 }, &out));
	for (int i = 0; i < 4; i++)
		consumers[i] = spawn(&u, "multiply", in, out, 1);
	for (int i = 0; i < 3; i++)
		suppliers[i] = spawn(&u, "supply", in, NULL, each);
	PLAIN_EQ(take_all(out, got, 3 * (size_t)each + 1), 3 * each);
	for (int64_t i = 0; i < 3 * each; i++)
		PLAIN_EQ(got[i], i / 3 + 1);
	for (int i = 0; i < 3; i++)
		join(suppliers[i]);
	for (int i = 0; i < 4; i++) {
		int64_t n;

		OK(tarn_process_get(consumers[i], TARN_FOREVER, "q", &n));
		sum += n;
		tarn_process_unref(consumers[i]);
	}
	PLAIN_EQ(sum, 3 * each);
	/* A consumer that comes late sees the end. */
	tarn_process *late = spawn(&u, "multiply", out, in, 1);
	FAILS(tarn_process_join(late, TARN_FOREVER), TARN_EREMOTE); /* all have ended where it ends */
	PLAIN_CHECK(strstr(tarn_error_last()->message, "suppliers") != NULL);
	tarn_process_unref(late);
	free(got);
	tarn_stream_close(in);
	tarn_stream_close(out);
	user_close(&u);
}

struct sleeper {
	struct tarn__stream *w;
	pid_t tid;
};
static void *await_change(void *arg)
{
	struct sleeper *z = arg;

	__atomic_store_n(&z->tid, gettid(), __ATOMIC_RELEASE);
	while (tarn__load32_acquire(&z->w->state) == 0)
		tarn__futex_wait(&z->w->state, 0, UINT64_MAX);
	return NULL;
}
static bool is_asleep(const struct sleeper *z)
{
	char path[64];
	long number = -1;

	snprintf(path, sizeof path, "/proc/self/task/%d/syscall",
		 (int)__atomic_load_n(&z->tid, __ATOMIC_ACQUIRE));
	FILE *f = fopen(path, "r");

	if (f == NULL)
		return false;
	if (fscanf(f, "%ld", &number) != 1)
		number = -1;
	fclose(f);
	return number == SYS_futex;
}
/* Killed between the two steps: who waits sleeps on, until its slice of the time is over. */
PLAIN_TEST(u9_who_dies_while_it_ends_leaves_nobody_asleep)
{
	struct user u = user_open();
	uint32_t *said = scene_shared(sizeof *said);
	struct sleeper z = { 0 };
	tarn_stream *s = NULL;
	pthread_t th;
	pid_t pid;

	OK(tarn_stream_new(u.c, &(tarn_stream_options){ .suppliers = 2 }, &s));
	OK(tarn_object_publish(tarn_stream_object(s), "s", 0));
	z.w = tarn__object_instance(tarn_stream_object(s), &tarn__type_stream);
	PLAIN_CHECK(z.w != NULL);
	/* It sleeps without a limit of time. */
	PLAIN_EQ(pthread_create(&th, NULL, await_change, &z), 0);
	pid = plain_fork();
	if (pid == 0) {
		tarn_client *c = scene_client(&u.s);
		tarn_object *o = NULL;
		struct tarn__stream *mine;

		OK(tarn_object_lookup(c, "s", TARN_FOREVER, &o));
		mine = tarn__object_instance(o, &tarn__type_stream);
		scene_await(said, 1);
		__atomic_store_n(&mine->state, 1, __ATOMIC_RELEASE); /* and no wake */
		kill(getpid(), SIGKILL);
	}
	PLAIN_WAIT_FOR(is_asleep(&z));
	scene_say(said, 1);
	PLAIN_EQ(plain_reap(pid), -SIGKILL);
	pthread_join(th, NULL);
	tarn_stream_close(s);
	user_close(&u);
}

/* A child takes one item, and acknowledges it when it is told. */
static pid_t takes_one(struct scene *s, uint32_t *step)
{
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c = scene_client(s);
		tarn_object *q, *o;
		tarn_stream *mine;
		int64_t x;

		OK(tarn_object_lookup(c, "stream", TARN_FOREVER, &o));
		OK(tarn_object_lookup(c, "queue", TARN_FOREVER, &q));
		OK(tarn_stream_open(o, &mine));
		OK(next(mine, TARN_FOREVER, &x));
		scene_say(step, 1);
		scene_await(step, 2);
		OK(tarn_queue_task_done(q));
		for (;;)
			pause();
	}
	scene_await(step, 1);
	return pid;
}

/* Who asked for the next item was told that the round was over, and then the item of a dead one came back. */
PLAIN_TEST(u9_a_round_is_not_over_while_an_item_may_come_back)
{
	struct user u = user_open();
	uint32_t *step = scene_shared(2 * sizeof *step);
	tarn_object *q;
	tarn_stream *s;
	int64_t x = 0;
	pid_t child[2];

	OK(tarn_queue_new(u.c, &(tarn_queue_options){ .flags = TARN_QUEUE_REDELIVER }, &q));
	OK(tarn_stream_new(u.c, &(tarn_stream_options){ .queue = q }, &s));
	OK(tarn_object_publish(q, "queue", 0));
	OK(tarn_object_publish(tarn_stream_object(s), "stream", 0));
	OK(put(s, 1));
	OK(put(s, 2));
	for (int i = 0; i < 2; i++)
		child[i] = takes_one(&u.s, &step[i]);
	FAILS(next(s, 0, &x), EAGAIN);
	OK(tarn_stream_end(s));
	FAILS(next(s, 0, &x), EAGAIN); /* it was -TARN_EOF */
	FAILS(next(s, 1000000, &x), ETIMEDOUT);
	FAILS(tarn_stream_renew(s), TARN_ESTATE);
	plain_kill(child[0]);
	OK(next(s, TARN_FOREVER, &x));
	PLAIN_EQ(x, 1);
	FAILS(next(s, TARN_FOREVER, &x), EDEADLK); /* the other one's, and ours */
	OK(tarn_queue_task_done(q));
	FAILS(next(s, 0, &x), EAGAIN);
	scene_say(&step[1], 2);
	FAILS(next(s, TARN_FOREVER, &x), TARN_EOF);
	OK(tarn_stream_renew(s));
	plain_kill(child[1]);
	tarn_stream_close(s);
	tarn_object_unref(q);
	user_close(&u);
}

PLAIN_TEST(u9_a_forked_child_ends_nothing)
{
	struct user u = user_open();
	tarn_stream *s = NULL;
	pid_t pid;

	OK(tarn_stream_new(u.c, NULL, &s));
	pid = plain_fork();
	if (pid == 0) {
		FAILS(tarn_stream_end(s), TARN_EFORKED);
		FAILS(tarn_stream_renew(s), TARN_EFORKED);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	OK(tarn_stream_end(s));
	tarn_stream_close(s);
	user_close(&u);
}

PLAIN_TEST(u9_an_object_of_another_type_is_no_stream)
{
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0);
	tarn_stream *s;

	FAILS(tarn_stream_open(m, &s), TARN_EKIND);
	FAILS(tarn_stream_new(u.c, &(tarn_stream_options){ .suppliers = 70000 }, &s), TARN_EREMOTE);
	tarn_object_unref(m);
	user_close(&u);
}

/* ---- U10: stop ---- */

struct stopper {
	tarn_stream *stream;
	uint64_t woken;
	int got;
};
static int wait_for_item(tarn_worker *worker)
{
	struct stopper *s;
	const void *p;
	size_t bytes;
	int64_t x;

	if (tarn_worker_get(worker, "y", &p, &bytes) < 0 || bytes != sizeof s)
		return -EINVAL;
	memcpy(&s, p, sizeof s);
	s->got = next(s->stream, TARN_FOREVER, &x);
	s->woken = scene_now();
	return 0;
}
static int wait_for_room(tarn_worker *worker)
{
	struct stopper *s;
	const void *p;
	size_t bytes;

	if (tarn_worker_get(worker, "y", &p, &bytes) < 0 || bytes != sizeof s)
		return -EINVAL;
	memcpy(&s, p, sizeof s);
	s->got = put(s->stream, 2);
	s->woken = scene_now();
	return 0;
}

static void stops(tarn_worker_fn *fn, bool full)
{
	struct user u = user_open();
	tarn_object *event, *queue;
	struct stopper s = { 0 }, *at = &s;
	tarn_thread *t;
	tarn_builder b;
	int64_t x;

	OK(tarn_event_new(u.c, 0, &event));
	OK(tarn_queue_new(u.c, &(tarn_queue_options){ .maxsize = 1 }, &queue));
	OK(tarn_stream_new(u.c, &(tarn_stream_options){ .queue = queue, .stop = event }, &s.stream));
	if (full)
		OK(put(s.stream, 1));
	tarn_builder_init(&b);
	tarn_put_bytes(&b, &at, sizeof at);
	OK(tarn_thread_spawn(&(tarn_thread_options){ .fn = fn, .args = &b }, &t));
	tarn_builder_fini(&b);
	FAILS(tarn_thread_join(t, 50000000), ETIMEDOUT);
	const uint64_t before = scene_now();
	OK(tarn_event_set(event));
	OK(tarn_thread_join(t, TARN_FOREVER));
	PLAIN_EQ(s.got, -ECANCELED);
	scene_note("woken after %llu us", (unsigned long long)((s.woken - before) / 1000));
	FAILS(next(s.stream, TARN_FOREVER, &x), ECANCELED);
	FAILS(put(s.stream, 3), ECANCELED);
	FAILS(tarn_stream_await_renew(s.stream, TARN_FOREVER), ECANCELED);
	OK(tarn_event_clear(event));
	if (full) {
		OK(next(s.stream, TARN_FOREVER, &x));
		PLAIN_EQ(x, 1);
	}
	tarn_thread_unref(t);
	tarn_stream_close(s.stream);
	tarn_object_unref(event);
	tarn_object_unref(queue);
	user_close(&u);
}
PLAIN_TEST(u10_stop_wakes_who_waits_for_an_item) { stops(wait_for_item, false); }
PLAIN_TEST(u10_stop_wakes_who_waits_for_room) { stops(wait_for_room, true); }

PLAIN_TEST(u9_who_waits_for_an_item_is_told_that_the_server_is_gone)
{
	struct user u = user_open();
	tarn_stream *s;
	int64_t x;

	OK(tarn_stream_new(u.c, NULL, &s));
	tarn_inspector_close(u.s.in);
	kill(tarn_server_pid(u.s.server), SIGKILL);
	int r = next(s, TARN_FOREVER, &x);
	PLAIN_EQ(r, -TARN_ESRVDOWN);
	tarn_stream_close(s);
	tarn_client_close(u.c);
	tarn_server_unref(u.s.server);
}

/* ---- U8: queues of a runner ---- */

TARN_WORKER(keep_queues)
{
	tarn_object *in, *out;
	tarn_object **kept = calloc(2, sizeof(tarn_object *));
	int r = tarn_worker_get(worker, "OO", &in, &out);

	if (r < 0 || kept == NULL)
		return r < 0 ? r : -ENOMEM;
	kept[0] = tarn_object_ref(in);
	kept[1] = tarn_object_ref(out);
	*tarn_worker_data(worker) = kept;
	return 0;
}
/* Takes as many items as it is told from one queue, and gives their double to the other; or to
 * one that came with the call. */
TARN_WORKER(work_on_queues)
{
	tarn_object **kept = *tarn_worker_data(worker), *other = NULL;
	int64_t x, n;
	int r = tarn_worker_get(worker, "q|O", &n, &other);

	for (int64_t i = 0; i < n && r == 0; i++) {
		r = tarn_queue_getf(kept[0], TARN_FOREVER, "q", &x);
		if (r == 0)
			r = tarn_queue_putf(other != NULL ? other : kept[1], TARN_FOREVER, "q", 2 * x);
	}
	return r;
}
TARN_WORKER(drop_queues)
{
	tarn_object **kept = *tarn_worker_data(worker);

	tarn_object_unref(kept[0]);
	tarn_object_unref(kept[1]);
	free(kept);
	return 0;
}

PLAIN_TEST(u8_queues_given_at_the_start_or_with_a_call_are_used_in_each_call)
{
	struct user u = user_open();
	tarn_object *in, *out, *other;
	tarn_runner *r;
	tarn_builder b;
	int64_t x;

	OK(tarn_queue_new(u.c, NULL, &in));
	OK(tarn_queue_new(u.c, NULL, &out));
	OK(tarn_queue_new(u.c, NULL, &other));
	tarn_builder_init(&b);
	tarn_put(&b, "OO", in, out);
	OK(tarn_runner_new(u.c, &(tarn_runner_options){ .open = "keep_queues", .call = "work_on_queues",
							.close = "drop_queues", .args = &b }, &r));
	OK(tarn_runner_start(r));
	for (int round = 0; round < 4; round++) {
		tarn_object *to = round % 2 == 0 ? out : other;

		for (int64_t i = 0; i < 3; i++)
			OK(tarn_queue_putf(in, TARN_FOREVER, "q", i));
		tarn_builder_reset(&b);
		tarn_put_int(&b, 3);
		if (to == other)
			tarn_put_object(&b, other);
		OK(tarn_runner_call(r, &b, TARN_FOREVER, NULL));
		for (int64_t i = 0; i < 3; i++) {
			OK(tarn_queue_getf(to, TARN_FOREVER, "q", &x));
			PLAIN_EQ(x, 2 * i);
		}
	}
	tarn_builder_fini(&b);
	OK(tarn_runner_join(r, TARN_FOREVER));
	tarn_runner_unref(r);
	tarn_object_unref(in);
	tarn_object_unref(out);
	tarn_object_unref(other);
	user_close(&u);
}

PLAIN_MAIN()
