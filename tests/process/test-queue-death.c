/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues whose users die (T12, T13): no acknowledged item is lost or doubled, nobody waits for the
 * dead, what items referred to is counted to the end.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/client/object.h"
#include "lib/types/queue-wait.h"
#include "lib/types/queue.h"
#include "lib/types/types.h"
#include "tests/common/contrary.h"
#include "tests/common/property.h"
#include "tests/process/queues.h"

/* Puts the number and a block that has it. */
static int put(tarn_object *q, int64_t n, int64_t timeout_ns)
{
	tarn_block *b;
	int r;

	OK(tarn_block_new(tarn_object_client(q), 200, 0, &b));
	memcpy(tarn_block_data(b), &n, sizeof n);
	r = n % 3 == 0 ? tarn_queue_putf(q, timeout_ns, "q", n)
		       : tarn_queue_putf(q, timeout_ns, "qB", n, b);
	tarn_block_unref(b);
	return r;
}
static int64_t read_item(const tarn_parcel *p)
{
	tarn_block *b;
	int64_t n, in_block;

	OK(tarn_value_int(tarn_parcel_at(p, 0), &n));
	PLAIN_EQ(tarn_parcel_count(p), n % 3 == 0 ? 1 : 2);
	if (n % 3 != 0) {
		OK(tarn_value_block(tarn_parcel_at(p, 1), &b));
		memcpy(&in_block, tarn_block_data(b), sizeof in_block);
		PLAIN_EQ(in_block, n);
	}
	return n;
}
static int64_t get(tarn_object *q, int64_t timeout_ns)
{
	tarn_parcel p;
	int64_t n;

	OK(tarn_queue_get(q, &p, timeout_ns));
	n = read_item(&p);
	tarn_parcel_fini(&p);
	return n;
}

/* ---- one at a time ---- */

/* A child takes @takes items, says so, and is killed with them. */
static void killed_with_items(const struct scene *s, int takes)
{
	uint32_t *step = scene_shared(sizeof *step);
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_object *q = find(s, &c);
		tarn_parcel *p = calloc((size_t)takes, sizeof *p);

		for (int i = 0; i < takes; i++)
			OK(tarn_queue_get(q, &p[i], TARN_FOREVER));
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(s, pid));
}

static void redelivered(size_t maxsize, unsigned flags)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, maxsize, TARN_QUEUE_REDELIVER | flags);
	bool seen[20] = { 0 };

	OK(tarn_object_publish(q, "q", 0));
	for (int i = 0; i < 20; i++)
		OK(put(q, i, 0));
	PLAIN_EQ(tarn_queue_redelivered(q), 0);
	killed_with_items(&s, 5);
	PLAIN_EQ(tarn_queue_redelivered(q), 5);
	killed_with_items(&s, 7); /* the five again, and two more */
	PLAIN_EQ(tarn_queue_size(q), 20);
	PLAIN_EQ(tarn_queue_redelivered(q), 12);
	for (int i = 0; i < 20; i++) {
		int64_t n = get(q, TARN_FOREVER);

		PLAIN_CHECK(n >= 0 && n < 20 && !seen[n]);
		PLAIN_EQ(n < 7, i < 7); /* those first */
		seen[n] = true;
		OK(tarn_queue_task_done(q));
	}
	FAILS(tarn_queue_getf(q, 0, "q", &(int64_t){ 0 }), EAGAIN);
	if (flags & TARN_QUEUE_JOINABLE)
		OK(tarn_queue_join(q, TARN_FOREVER)); /* nothing was lost */
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}
PLAIN_TEST(t13_what_a_dead_consumer_had_is_delivered_again) { redelivered(20, 0); }
PLAIN_TEST(t13_what_a_dead_worker_had_open_is_open_again) { redelivered(0, TARN_QUEUE_JOINABLE); }

PLAIN_TEST(t13_what_a_dead_worker_had_open_fails_who_joins)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_JOINABLE);

	OK(tarn_object_publish(q, "q", 0));
	for (int i = 0; i < 20; i++)
		OK(put(q, i, 0));
	killed_with_items(&s, 5);
	for (int i = 5; i < 20; i++) {
		PLAIN_EQ(get(q, 0), i);
		OK(tarn_queue_task_done(q));
	}
	FAILS(tarn_queue_join(q, TARN_FOREVER), EOWNERDEAD);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "5 items") != NULL);
	OK(tarn_queue_join(q, TARN_FOREVER)); /* told once */
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(t13_a_dead_worker_with_hundreds_of_references_leaves_none)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_JOINABLE);

	OK(tarn_object_publish(q, "q", 0));
	for (int i = 0; i < 3000; i++)
		OK(put(q, i, 0));
	killed_with_items(&s, 3000);
	FAILS(tarn_queue_join(q, TARN_FOREVER), EOWNERDEAD);
	/* What the repair left goes as the memory is used again. */
	for (int i = 0; i < 20000; i++) {
		OK(tarn_queue_putf(q, 0, "i", i));
		OK(tarn_queue_getf(q, 0, "i", &(int){ 0 }));
		OK(tarn_queue_task_done(q));
	}
	scene_settle(&s);
	OK(tarn_client_trim(c));
	scene_settle(&s);
	PLAIN_CHECKF(scene_stat(&s).blocks_live < 20, "%llu blocks live",
		     (unsigned long long)scene_stat(&s).blocks_live);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

#define FULL_RUN TARN__QUEUE_RUN

/* A child takes a run of items, keeps them open and lets go of what they refer to. */
static void killed_with_a_full_run(const struct scene *s)
{
	uint32_t *step = scene_shared(sizeof *step);
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_object *q = find(s, &c);
		tarn_parcel p;

		for (unsigned i = 0; i < FULL_RUN; i++) {
			OK(tarn_queue_get(q, &p, TARN_FOREVER));
			tarn_parcel_fini(&p);
		}
		OK(tarn_client_flush(c, true, TARN_FOREVER));
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(s, pid));
}

/* As much as there can be in one part of a repair: what a transaction has no room for waits for the next round, and
 * rounds have an end. What the queue holds is the last claim on each block. */
PLAIN_TEST(t13_a_dead_worker_with_as_many_references_as_can_be_leaves_none)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q;

	OK(tarn_queue_new(c, &(tarn_queue_options){ .flags = TARN_QUEUE_JOINABLE, .slot_bytes = 512 }, &q));
	OK(tarn_object_publish(q, "q", 0));
	for (unsigned i = 0; i < FULL_RUN; i++) {
		tarn_builder item;

		tarn_builder_init(&item);
		for (unsigned k = 0; k < TARN__QUEUE_REFS; k++) {
			tarn_block *b;

			/* Some in spans that they leave empty, some large. */
			OK(tarn_block_new(c, k == 0 && i % 16 == 0 ? 150000 : 100 + 100 * (i * 7 % 61), 0, &b));
			OK(tarn_put_block(&item, b));
			tarn_block_unref(b);
		}
		OK(tarn_queue_put(q, &item, 0));
		tarn_builder_fini(&item);
	}
	killed_with_a_full_run(&s);
	FAILS(tarn_queue_join(q, TARN_FOREVER), EOWNERDEAD);
	scene_settle(&s);
	OK(tarn_client_trim(c));
	scene_settle(&s);
	PLAIN_CHECKF(scene_stat(&s).blocks_live < 20, "%llu blocks live",
		     (unsigned long long)scene_stat(&s).blocks_live);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

#ifdef __x86_64__
static struct tarn__queue *told_queue;
static void tell_less(void)
{
	__atomic_fetch_sub(&told_queue->lost_told, 1, __ATOMIC_RELAXED);
}

/* Words that it has nothing to do with kept it there for as long as somebody changed them. */
PLAIN_TEST(t13_who_goes_on_changing_what_joiners_were_told_of_holds_up_nobody)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_JOINABLE);
	const struct tarn__type *t = NULL;
	struct tarn__lane *l;

	OK(tarn__lane_enter(c, &l));
	OK(tarn__type_of(l, q, &t));
	tarn__lane_leave(l);
	told_queue = tarn__instance_of(c, q->base.id, &tarn__type_queue, t->index);
	PLAIN_CHECK(told_queue != NULL);
	told_queue->lost = 1;
	contrary_begin(tell_less);
	int r = tarn_queue_join(q, TARN_FOREVER);
	PLAIN_CHECK(contrary_end());
	PLAIN_EQ(r, 0);
	told_queue->lost_told = 0;
	FAILS(tarn_queue_join(q, TARN_FOREVER), EOWNERDEAD);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}
#endif

PLAIN_TEST(t12_a_client_that_closes_gives_up_what_it_had_open)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 10, TARN_QUEUE_REDELIVER);
	pid_t pid;

	OK(tarn_object_publish(q, "q", 0));
	OK(put(q, 1, 0));
	pid = plain_fork();
	if (pid == 0) {
		tarn_object *mine = find(&s, &c);

		PLAIN_EQ(get(mine, TARN_FOREVER), 1);
		tarn_object_unref(mine);
		tarn_client_close(c);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	PLAIN_EQ(get(q, TARN_FOREVER), 1);
	OK(tarn_queue_task_done(q));
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* Consumers that sleep are killed; the last one is woken by the next item all the same. */
PLAIN_TEST(t12_who_sleeps_beside_the_dead_is_woken)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 10, 0);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t pid[6];

	OK(tarn_object_publish(q, "q", 0));
	for (int k = 0; k < 6; k++) {
		pid[k] = plain_fork();
		if (pid[k] == 0) {
			tarn_object *mine = find(&s, &c);

			__atomic_fetch_add(step, 1, __ATOMIC_SEQ_CST);
			PLAIN_EQ(get(mine, TARN_FOREVER), 5);
			tarn_object_unref(mine);
			tarn_client_close(c);
			_exit(0);
		}
	}
	PLAIN_WAIT_FOR(__atomic_load_n(step, __ATOMIC_SEQ_CST) == 6);
	usleep(20000);
	for (int k = 0; k < 5; k++)
		plain_kill(pid[k]);
	OK(put(q, 5, 0));
	PLAIN_EQ(plain_reap(pid[5]), 0);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- closed while items are open ---- */

/* A child takes @takes items, acknowledges @acks of them when *@step is 2, and says 3. */
static pid_t holds_items(const struct scene *s, uint32_t *step, int takes, int acks)
{
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_object *q = find(s, &c);

		for (int i = 0; i < takes; i++)
			get(q, TARN_FOREVER);
		scene_say(step, 1);
		scene_await(step, 2);
		for (int i = 0; i < acks; i++)
			OK(tarn_queue_task_done(q));
		scene_say(step, 3);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	return pid;
}

struct home {
	uint32_t up, got[5];
};

/* Takes until the queue is over, and leaves only when all is done. */
static pid_t goes_home(const struct scene *s, struct home *h)
{
	pid_t pid = plain_fork();
	tarn_client *c;
	tarn_parcel p;
	int r;

	if (pid != 0)
		return pid;
	tarn_object *q = find(s, &c);

	__atomic_fetch_add(&h->up, 1, __ATOMIC_SEQ_CST);
	while ((r = tarn_queue_get(q, &p, TARN_FOREVER)) == 0) {
		__atomic_fetch_add(&h->got[read_item(&p)], 1, __ATOMIC_SEQ_CST);
		tarn_parcel_fini(&p);
		OK(tarn_queue_task_done(q));
	}
	PLAIN_EQ(r, -TARN_ECLOSED);
	for (int i = 0; i < 5; i++)
		PLAIN_EQ(__atomic_load_n(&h->got[i], __ATOMIC_SEQ_CST), 1);
	tarn_object_unref(q);
	tarn_client_close(c);
	_exit(0);
}

/* Consumers were told that the queue is closed and empty, and left; then the item came back. */
PLAIN_TEST(t13_nobody_leaves_a_closed_queue_to_which_an_item_may_come_back)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_REDELIVER);
	uint32_t *step = scene_shared(sizeof *step);
	struct home *h = scene_shared(sizeof *h);
	pid_t holder, consumer[3];
	tarn_parcel p;

	OK(tarn_object_publish(q, "q", 0));
	for (int i = 0; i < 5; i++)
		OK(put(q, i, 0));
	holder = holds_items(&s, step, 5, 0);
	OK(tarn_queue_close(q));
	FAILS(tarn_queue_get(q, &p, 0), EAGAIN); /* not -TARN_ECLOSED */
	for (int k = 0; k < 3; k++)
		consumer[k] = goes_home(&s, h);
	PLAIN_WAIT_FOR(__atomic_load_n(&h->up, __ATOMIC_SEQ_CST) == 3);
	plain_kill(holder);
	for (int k = 0; k < 3; k++)
		PLAIN_EQ(plain_reap(consumer[k]), 0);
	FAILS(tarn_queue_get(q, &p, TARN_FOREVER), TARN_ECLOSED);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* Who waits for what others have open leaves when they acknowledge it. */
PLAIN_TEST(t13_the_last_acknowledgement_of_a_closed_queue_sends_all_home)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_REDELIVER), *ended = queue_new(c, 4, 0);
	uint32_t *step = scene_shared(sizeof *step), *up = scene_shared(sizeof *up);
	pid_t holder, consumer[4];
	tarn_parcel p;
	size_t which;

	OK(tarn_object_publish(q, "q", 0));
	OK(tarn_queue_close(ended));
	for (int i = 0; i < 2; i++)
		OK(put(q, i, 0)); /* the second one has references: the server ends it */
	holder = holds_items(&s, step, 2, 2);
	OK(tarn_queue_close(q));
	for (int k = 0; k < 4; k++) {
		consumer[k] = plain_fork();
		if (consumer[k] == 0) {
			tarn_object *mine = find(&s, &c);

			__atomic_fetch_add(up, 1, __ATOMIC_SEQ_CST);
			FAILS(tarn_queue_get(mine, &p, TARN_FOREVER), TARN_ECLOSED);
			PLAIN_EQ(__atomic_load_n(step, __ATOMIC_SEQ_CST) >= 2, true);
			tarn_object_unref(mine);
			tarn_client_close(c);
			_exit(0);
		}
	}
	PLAIN_WAIT_FOR(__atomic_load_n(up, __ATOMIC_SEQ_CST) == 4);
	FAILS(tarn_queue_get_any((tarn_object *[]){ q, ended }, 2, &p, &which, 0), EAGAIN);
	PLAIN_EQ(tarn__queue_ready(q), 0);
	scene_say(step, 2);
	FAILS(tarn_queue_get_any((tarn_object *[]){ q, ended }, 2, &p, &which, TARN_FOREVER), TARN_ECLOSED);
	PLAIN_EQ(tarn__queue_ready(q), 1);
	for (int k = 0; k < 4; k++)
		PLAIN_EQ(plain_reap(consumer[k]), 0);
	plain_kill(holder);
	tarn_object_unref(ended);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(t13_who_has_items_open_itself_is_not_kept_waiting_for_others)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_REDELIVER);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t holder;
	tarn_parcel p;
	size_t which;

	OK(tarn_object_publish(q, "q", 0));
	for (int i = 0; i < 3; i++)
		OK(put(q, i, 0));
	holder = holds_items(&s, step, 1, 1);
	PLAIN_EQ(get(q, 0), 1);
	PLAIN_EQ(get(q, 0), 2);
	OK(tarn_queue_close(q));
	/* Two who do this would wait for each other. */
	FAILS(tarn_queue_get(q, &p, TARN_FOREVER), EDEADLK);
	FAILS(tarn_queue_get_any(&q, 1, &p, &which, TARN_FOREVER), EDEADLK);
	FAILS(tarn_queue_get(q, &p, 0), EAGAIN);
	PLAIN_EQ(tarn__queue_ready(q), 1);
	scene_say(step, 2);
	scene_await(step, 3);
	/* Nobody else has one: what is ours comes back only if we are not there to get it. */
	FAILS(tarn_queue_get(q, &p, TARN_FOREVER), TARN_ECLOSED);
	OK(tarn_queue_task_done(q));
	OK(tarn_queue_task_done(q));
	FAILS(tarn_queue_get(q, &p, TARN_FOREVER), TARN_ECLOSED);
	plain_kill(holder);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* It was found out only for the last 32 items that a thread had got, of whichever queue. */
PLAIN_TEST(t13_who_has_hundreds_of_items_open_is_not_kept_waiting_either)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_REDELIVER), *other = queue_new(c, 0, TARN_QUEUE_REDELIVER);
	uint32_t *step = scene_shared(sizeof *step);
	uint64_t number, first = 0;
	pid_t holder;
	tarn_parcel p;

	OK(tarn_object_publish(q, "q", 0));
	for (int i = 0; i < 2; i++)
		OK(put(q, i, 0));
	holder = holds_items(&s, step, 1, 1);
	PLAIN_EQ(get(q, 0), 1);
	OK(tarn_queue_close(q));
	for (int i = 0; i < 500; i++) {
		OK(put(other, 3 * i, 0));
		OK(tarn_queue_get_item(other, &p, &number, 0));
		tarn_parcel_fini(&p);
		if (i == 0)
			first = number;
		/* Some are done, in any order: what stays is remembered. */
		if (i % 3 == 1)
			OK(tarn_queue_ack(other, number));
		if (i == 400)
			OK(tarn_queue_ack(other, first));
		FAILS(tarn_queue_get(q, &p, TARN_FOREVER), EDEADLK);
	}
	for (int i = 0; i < 500 - 1 - 167; i++)
		OK(tarn_queue_task_done(other));
	FAILS(tarn_queue_task_done(other), TARN_ESTATE);
	FAILS(tarn_queue_get(q, &p, TARN_FOREVER), EDEADLK);
	scene_say(step, 2);
	scene_await(step, 3);
	FAILS(tarn_queue_get(q, &p, TARN_FOREVER), TARN_ECLOSED);
	OK(tarn_queue_task_done(q));
	plain_kill(holder);
	tarn_object_unref(other);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(t13_an_item_says_how_often_it_was_delivered)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_REDELIVER);
	uint64_t number;
	tarn_parcel p;

	OK(tarn_object_publish(q, "q", 0));
	for (int i = 0; i < 3; i++)
		OK(put(q, i, 0));
	killed_with_items(&s, 1);
	killed_with_items(&s, 2);
	for (int i = 0; i < 3; i++) {
		OK(tarn_queue_get_item(q, &p, &number, TARN_FOREVER));
		PLAIN_EQ(read_item(&p), i); /* whole, each time */
		tarn_parcel_fini(&p);
		PLAIN_EQ(tarn_queue_attempts(q, number), 3 - i);
		OK(tarn_queue_ack(q, number));
		FAILS(tarn_queue_attempts(q, number), TARN_ESTATE);
	}
	tarn_object_unref(q);
	q = queue_new(c, 4, 0);
	FAILS(tarn_queue_attempts(q, 0), TARN_ESTATE);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* The second death counted the first one's item again: the queue was neither empty nor was there an item. */
PLAIN_TEST(t13_items_of_several_dead_consumers_are_counted_once)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(2 * sizeof *step);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_REDELIVER);
	pid_t holder[2];

	OK(tarn_object_publish(q, "q", 0));
	for (int i = 0; i < 2; i++) {
		OK(put(q, i, 0));
		holder[i] = holds_items(&s, &step[i], 1, 1);
	}
	for (int i = 0; i < 2; i++) {
		plain_kill(holder[i]);
		PLAIN_WAIT_FOR(scene_client_gone(&s, holder[i]));
		PLAIN_EQ(tarn_queue_size(q), i + 1);
		PLAIN_EQ(tarn__queue_ready(q), 1);
	}
	for (int i = 0; i < 2; i++) {
		PLAIN_EQ(get(q, 0), i);
		PLAIN_EQ(tarn_queue_size(q), 1 - i);
		PLAIN_EQ(tarn__queue_ready(q), 1 - i);
	}
	PLAIN_EQ(tarn_queue_empty(q), 1);
	FAILS(tarn_queue_getf(q, 0, "q", &(int64_t){ 0 }), EAGAIN);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* tarn_wait() said that it was ready, and the get after it that there was nothing: a loop of both span. */
PLAIN_TEST(t12_a_closed_queue_is_not_ready_while_its_last_item_is_being_put)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 4, 0);
	uint64_t turn = 0, *slot = NULL;
	struct tarn__mpmc m;
	tarn_parcel p;

	PLAIN_CHECK(tarn__queue_view(tarn__object_instance(q, &tarn__type_queue), c->data, c->data_bytes,
				     c->number, &m));
	PLAIN_EQ(tarn__mpmc_claim(&m, &turn, &slot), TARN__MPMC_OK);
	OK(tarn_queue_close(q));
	PLAIN_EQ(tarn__queue_ready(q), 0);
	FAILS(tarn_queue_get(q, &p, 0), EAGAIN);
	PLAIN_CHECK(tarn__mpmc_abandon(&m, slot, turn));
	PLAIN_EQ(tarn__queue_ready(q), 1);
	FAILS(tarn_queue_get(q, &p, TARN_FOREVER), TARN_ECLOSED);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* A child puts an item, and is stopped when it has written it into its slot and not said so. */
static pid_t stopped_in_a_put(const struct scene *s, uint32_t *step, const struct tarn__queue_slot *slot)
{
	pid_t pid = plain_fork();
	int status;

	if (pid == 0) {
		tarn_client *c;
		tarn_object *q = find(s, &c);

		PLAIN_EQ(tarn_queue_empty(q), 1); /* the proxy knows where it lies */
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
			_exit(77);
		raise(SIGSTOP);
		OK(tarn_queue_putf(q, TARN_FOREVER, "q", INT64_C(3)));
		scene_say(step, 1);
		for (;;)
			pause(); /* its end would ring all bells */
	}
	PLAIN_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		PLAIN_SKIP("no process may be traced here");
	while (tarn__load_acquire(&slot->head) == 0) {
		PLAIN_EQ(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		PLAIN_EQ(waitpid(pid, &status, 0), pid);
		PLAIN_CHECK(WIFSTOPPED(status));
	}
	PLAIN_EQ(tarn__mpmc_state(tarn__mpmc_look(&slot->word)), TARN__MPMC_CLAIM);
	return pid;
}

struct sleeper {
	struct tarn__bell *bell;
	bool fence;
	uint32_t tid;
	pthread_t thread;
};

/* As a consumer sleeps, but not for a slice: until it is woken. */
static void *sleep_without_end(void *arg)
{
	struct sleeper *z = arg;
	const uint32_t number = tarn__bell_number(z->bell);

	tarn__bell_listen(z->bell, TARN__BELL_ONE, z->fence);
	/* SYNC test. */
	__atomic_store_n(&z->tid, (uint32_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	while (tarn__bell_number(z->bell) == number)
		tarn__futex_wait(&z->bell->number, number, UINT64_MAX);
	return NULL;
}
static bool sleeps(struct sleeper *z)
{
	uint32_t tid = __atomic_load_n(&z->tid, __ATOMIC_ACQUIRE);
	char path[64], text[64] = "";
	int fd;

	if (tid == 0)
		return false;
	snprintf(path, sizeof path, "/proc/self/task/%u/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
		PLAIN_SKIP("what a thread waits in cannot be seen here");
	close(fd);
	return strtol(text, NULL, 10) == SYS_futex;
}

/* One consumer was woken for the last item, and the others found out by themselves that there will be no more. */
PLAIN_TEST(t12_the_last_item_of_a_closed_queue_wakes_all_who_wait_to_leave)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 4, 0);
	struct tarn__queue *shared = tarn__object_instance(q, &tarn__type_queue);
	uint32_t *step = scene_shared(sizeof *step);
	struct sleeper z[3] = { 0 };
	struct tarn__mpmc m;
	tarn_parcel p;
	pid_t producer;

	OK(tarn_object_publish(q, "q", 0));
	PLAIN_CHECK(tarn__queue_view(shared, c->data, c->data_bytes, c->number, &m));
	producer = stopped_in_a_put(&s, step, (const void *)tarn__mpmc_slot(&m, 0));
	OK(tarn_queue_close(q));
	for (int i = 0; i < 3; i++) {
		z[i] = (struct sleeper){ .bell = &shared->items, .fence = c->fence };
		PLAIN_EQ(pthread_create(&z[i].thread, NULL, sleep_without_end, &z[i]), 0);
		PLAIN_WAIT_FOR(sleeps(&z[i]));
	}
	FAILS(tarn_queue_get(q, &p, 0), EAGAIN); /* it will come */
	PLAIN_EQ(ptrace(PTRACE_DETACH, producer, NULL, NULL), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(z[i].thread, NULL);
	PLAIN_EQ(get(q, TARN_FOREVER), 3);
	FAILS(tarn_queue_get(q, &p, TARN_FOREVER), TARN_ECLOSED);
	scene_await(step, 1);
	plain_kill(producer);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- large ones ---- */

#define MANY 20000

/* A child takes all items, each once, and says so. */
static pid_t holds_all(const struct scene *s, uint32_t *step)
{
	pid_t pid = plain_fork();

	if (pid == 0) {
		tarn_client *c;
		tarn_object *q = find(s, &c);
		uint8_t *seen = calloc(MANY, 1);

		for (int i = 0; i < MANY; i++) {
			int n;

			OK(tarn_queue_getf(q, TARN_FOREVER, "i", &n));
			PLAIN_CHECK(n >= 0 && n < MANY && seen[n]++ == 0);
		}
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	return pid;
}

static tarn_object *many(tarn_client *c)
{
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_REDELIVER | TARN_QUEUE_JOINABLE);

	OK(tarn_object_publish(q, "q", 0));
	for (int i = 0; i < MANY; i++)
		OK(tarn_queue_putf(q, 0, "i", i));
	return q;
}

/* The server looked at all of it in one go, and served nobody meanwhile. */
PLAIN_TEST(t12_the_server_looks_at_a_large_queue_of_the_dead_in_parts)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = many(c);
	uint32_t *step = scene_shared(sizeof *step);
	uint64_t before;
	pid_t pid = holds_all(&s, step);

	before = scene_stat(&s).epochs;
	plain_kill(pid);
	PLAIN_WAIT_FOR(tarn_queue_redelivered(q) == MANY);
	before = scene_stat(&s).epochs - before;
	/* One run of slots an epoch. */
	PLAIN_CHECKF(before >= MANY / TARN__QUEUE_RUN, "%llu epochs", (unsigned long long)before);
	OK(tarn_queue_close(q));
	for (int i = 0; i < MANY; i++) {
		OK(tarn_queue_getf(q, 0, "i", &(int){ 0 }));
		OK(tarn_queue_task_done(q));
	}
	OK(tarn_queue_join(q, TARN_FOREVER));
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST_TIMEOUT(t13_a_server_killed_while_it_looks_loses_no_item, 240)
{
	const tarn_server_options kept = { .keep = true, .arena_bytes = 64u << 20 };
	struct scene s = scene_open(&kept);
	tarn_client *c = scene_client(&s);
	tarn_object *q = many(c);
	uint32_t *step = scene_shared(sizeof *step);
	uint64_t seed = 3, number;
	struct tarn__mpmc m;
	tarn_parcel p;

	PLAIN_CHECK(tarn__queue_view(tarn__object_instance(q, &tarn__type_queue), c->data, c->data_bytes,
				     c->number, &m));
	for (int round = 0; round < 10; round++) {
		pid_t holder, server = (pid_t)tarn_client_server_pid(c);
		const uint64_t *slot = tarn__mpmc_slot(&m, scene_random(&seed) % MANY);

		scene_say(step, 0);
		holder = holds_all(&s, step);
		plain_kill(holder);
		/* When it has come to a certain item; without a nap, or it would be through. */
		while (tarn__mpmc_state(tarn__mpmc_look(slot)) != TARN__MPMC_RETRY)
			sched_yield();
		PLAIN_EQ(kill(server, SIGKILL), 0);
		PLAIN_WAIT_FOR((pid_t)tarn_client_server_pid(c) != server);
	}
	OK(tarn_queue_get_item(q, &p, &number, TARN_FOREVER));
	PLAIN_CHECK(tarn_queue_attempts(q, number) > 10);
	tarn_parcel_fini(&p);
	OK(tarn_queue_ack(q, number));
	for (int i = 1; i < MANY; i++) {
		OK(tarn_queue_getf(q, TARN_FOREVER, "i", &(int){ 0 }));
		OK(tarn_queue_task_done(q));
	}
	OK(tarn_queue_join(q, TARN_FOREVER));
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- at random ---- */

#define SIDE 4
#define MOST 200000

struct book {
	uint32_t attempt[SIDE];      /* numbers that a producer has begun to put */
	uint8_t put[SIDE][MOST];     /* put has returned 0 */
	uint8_t seen[SIDE][MOST];    /* times that get returned it */
	uint8_t acked[SIDE][MOST];   /* it was acknowledged */
	uint32_t stop, gets;
};

static void produce(const struct scene *s, struct book *b, int k)
{
	tarn_client *c;
	tarn_object *q = find(s, &c);

	while (!__atomic_load_n(&b->stop, __ATOMIC_SEQ_CST)) {
		uint32_t n = __atomic_fetch_add(&b->attempt[k], 1, __ATOMIC_SEQ_CST);

		PLAIN_CHECK(n < MOST);
		OK(put(q, (int64_t)n * SIDE + k, TARN_FOREVER));
		__atomic_store_n(&b->put[k][n], 1, __ATOMIC_SEQ_CST);
	}
	tarn_object_unref(q);
	tarn_client_close(c);
	_exit(0);
}

static void consume(const struct scene *s, struct book *b, bool acks)
{
	tarn_client *c;
	tarn_object *q = find(s, &c);
	int64_t last[SIDE];

	memset(last, -1, sizeof last);
	for (;;) {
		uint64_t number;
		tarn_parcel p;
		int64_t n;
		int r = tarn_queue_get_item(q, &p, &number, TARN_FOREVER);

		if (r == -TARN_ECLOSED)
			break;
		OK(r);
		n = read_item(&p);
		uint8_t *acked = &b->acked[n % SIDE][n / SIDE];
		PLAIN_CHECKF(!__atomic_load_n(acked, __ATOMIC_SEQ_CST), "acknowledged, and back: %lld",
			     (long long)n);
		__atomic_fetch_add(&b->seen[n % SIDE][n / SIDE], 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&b->gets, 1, __ATOMIC_SEQ_CST);
		tarn_parcel_fini(&p);
		if (acks) {
			OK(tarn_queue_ack(q, number));
			__atomic_store_n(acked, 1, __ATOMIC_SEQ_CST);
		} else {
			PLAIN_CHECKF(n > last[n % SIDE], "order: %lld behind %lld", (long long)n,
				     (long long)last[n % SIDE]);
			last[n % SIDE] = n;
		}
	}
	tarn_object_unref(q);
	tarn_client_close(c);
	_exit(0);
}

static pid_t start(const struct scene *s, struct book *b, int k, bool acks)
{
	pid_t pid = plain_fork();

	if (pid != 0)
		return pid;
	if (k < SIDE)
		produce(s, b, k);
	else
		consume(s, b, acks);
	_exit(1);
}

static void any_killed_at_random(size_t maxsize, unsigned flags, int kills)
{
	tarn_server_options o = { .arena_bytes = (size_t)512 << 20 };
	struct scene s = scene_open(&o);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, maxsize, flags);
	struct book *b = scene_shared(sizeof *b);
	bool acks = (flags & TARN_QUEUE_REDELIVER) != 0;
	unsigned dead_producers = 0, dead_consumers = 0, missing = 0, extra = 0, doubled = 0;
	uint64_t seed = property_seed(), total = 0;
	pid_t pid[2 * SIDE];

	OK(tarn_object_publish(q, "q", 0));
	for (int k = 0; k < 2 * SIDE; k++)
		pid[k] = start(&s, b, k, acks);
	for (int i = 0; i < kills; i++) {
		int k = (int)(scene_random(&seed) % (2 * SIDE));
		uint32_t gets = __atomic_load_n(&b->gets, __ATOMIC_SEQ_CST);

		/* It goes on: nobody waits for the dead. */
		PLAIN_WAIT_FOR(__atomic_load_n(&b->gets, __ATOMIC_SEQ_CST) - gets > 50);
		usleep((unsigned)(scene_random(&seed) % 3000));
		plain_kill(pid[k]);
		*(k < SIDE ? &dead_producers : &dead_consumers) += 1;
		pid[k] = start(&s, b, k, acks);
	}
	__atomic_store_n(&b->stop, 1, __ATOMIC_SEQ_CST);
	for (int k = 0; k < SIDE; k++)
		PLAIN_EQ(plain_reap(pid[k]), 0);
	OK(tarn_queue_close(q));
	if (acks) {
		/* What this one has comes back to the closed queue, where the others wait for it. */
		plain_kill(pid[SIDE]);
		dead_consumers++;
		pid[SIDE] = start(&s, b, SIDE, acks);
	}
	for (int k = SIDE; k < 2 * SIDE; k++)
		PLAIN_EQ(plain_reap(pid[k]), 0);
	if (acks)
		OK(tarn_queue_join(q, TARN_FOREVER));
	for (int k = 0; k < SIDE; k++) {
		for (uint32_t n = 0; n < b->attempt[k]; n++) {
			total += b->put[k][n];
			missing += b->put[k][n] && b->seen[k][n] == 0;
			extra += !b->put[k][n] && b->seen[k][n] != 0;
			doubled += b->seen[k][n] > 1 ? b->seen[k][n] - 1u : 0;
		}
	}
	scene_note("%llu items put, %u producers and %u consumers killed; %u lost with their consumers, "
		   "%u seen again, %u seen that were not yet acknowledged",
		   (unsigned long long)total, dead_producers, dead_consumers, missing, doubled, extra);
	PLAIN_CHECK(missing <= (acks ? 0 : dead_consumers));
	PLAIN_CHECK(doubled <= (acks ? dead_consumers : 0));
	PLAIN_CHECK(extra <= dead_producers);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}
PLAIN_TEST_TIMEOUT(t12_random_deaths_around_a_small_queue, 240) { any_killed_at_random(3, 0, 80); }
PLAIN_TEST_TIMEOUT(t12_random_deaths_around_a_queue, 240) { any_killed_at_random(100, 0, 80); }
PLAIN_TEST_TIMEOUT(t12_random_deaths_around_a_queue_that_redelivers, 240)
{
	any_killed_at_random(30, TARN_QUEUE_REDELIVER | TARN_QUEUE_JOINABLE, 80);
}

/* ---- lies ---- */

PLAIN_TEST(t11_an_item_that_names_more_than_the_server_was_told_of_is_damaged)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 4, 0);
	const struct tarn__queue *in = tarn__object_instance(q, &tarn__type_queue);
	struct tarn__queue_slot *slot = (void *)(c->data + in->ring_offset);
	tarn_parcel p;

	OK(put(q, 1, 0));
	PLAIN_EQ(tarn__item_refs(slot->head), 1);
	slot->head = tarn__item_head(tarn__item_words(slot->head), tarn__item_values(slot->head), 3, 0);
	FAILS(tarn_queue_get(q, &p, 0), TARN_EPROTO);
	OK(put(q, 2, 0)); /* the queue goes on */
	PLAIN_EQ(get(q, 0), 2);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* Of user and system, in ticks. */
static unsigned long server_ticks(const struct scene *s)
{
	unsigned long user = 0, system = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", tarn_server_pid(s->server));
	f = fopen(path, "re");
	PLAIN_CHECK(f != NULL);
	PLAIN_EQ(fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			&system), 2);
	fclose(f);
	return user + system;
}

/* Each of the queue's runs is said to be one block that is much too large. */
PLAIN_TEST_TIMEOUT(t11_no_lie_about_its_shape_makes_the_server_search_a_queue_for_ever, 240)
{
	enum { BYTES = 32 << 20 };
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_JOINABLE);
	struct tarn__queue *in = tarn__object_instance(q, &tarn__type_queue);
	struct tarn__mpmc_run *run = (void *)(c->data + in->ring_offset);
	unsigned long before;
	tarn_builder b;
	tarn_block *block;

	OK(tarn_block_new(c, BYTES, TARN_BLOCK_ZEROED, &block));
	tarn_builder_init(&b);
	OK(tarn_put(&b, "QB", UINT64_C(0), block));
	OK(tarn_call_n(q, TARN__QUEUE_GROW, &b, NULL, TARN_FOREVER));
	tarn_builder_fini(&b);
	for (uint64_t i = 0; i < in->runs; i++) {
		run[i].id = tarn_block_id(block);
		run[i].number = 1 + i;
	}
	in->stride = 64;
	in->n = BYTES / 64;
	before = server_ticks(&s);
	tarn_client_close(scene_client(&s)); /* of which the queue is told */
	PLAIN_CHECK(server_ticks(&s) - before < 3 * (unsigned long)sysconf(_SC_CLK_TCK));
	tarn_block_unref(block);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* A server was killed after it had given the slot back and before it said so; the next one is told of the
 * death as if it were the first. */
PLAIN_TEST(t13_what_is_to_be_delivered_again_is_found_also_if_a_server_died_before_it_said_so)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, 0, TARN_QUEUE_REDELIVER);
	struct tarn__queue *in = tarn__object_instance(q, &tarn__type_queue);
	uint32_t *step = scene_shared(sizeof *step);
	struct tarn__mpmc m;

	OK(tarn_object_publish(q, "q", 0));
	OK(put(q, 3, 0));
	pid_t pid = plain_fork();
	if (pid == 0) {
		tarn_client *mine;
		tarn_parcel p;

		OK(tarn_queue_get(find(&s, &mine), &p, TARN_FOREVER));
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	PLAIN_CHECK(tarn__queue_view(in, c->data, c->data_bytes, c->number, &m));
	uint64_t *word = tarn__mpmc_slot(&m, 0), seen = tarn__mpmc_look(word);
	PLAIN_EQ(tarn__mpmc_state(seen), TARN__MPMC_TAKE);
	PLAIN_CHECK(tarn__mpmc_swap(word, seen, tarn__mpmc_word(0, TARN__MPMC_RETRY, 0)));
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(&s, pid));
	PLAIN_EQ(get(q, 0), 3);
	OK(tarn_queue_task_done(q));
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}

/* ---- evicted, and living on ---- */

/* Is evicted and takes an item all the same, of which it can read nothing. */
static void take_evicted(const struct scene *s, uint32_t *step)
{
	const uint64_t nonsense[7] = { tarn__header((enum tarn__message)255, 1, 0, 7) };
	tarn_client *mine;
	tarn_parcel p;
	tarn_object *q = find(s, &mine);

	PLAIN_EQ(tarn_queue_size(q), 1); /* from here on it asks for nothing */
	tarn__requests_post(&tarn__lane_mine(mine)->requests, nonsense);
	PLAIN_WAIT_FOR(tarn_client_ping(mine, TARN_FOREVER) == -TARN_EEVICTED);
	FAILS(tarn_queue_get(q, &p, TARN_FOREVER), TARN_EEVICTED);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "detached") != NULL);
	scene_say(step, 1);
	for (;;)
		pause();
}

/* The slot was released with what it refers to: that was the queue's until it ended, and so was its run. */
static void evicted_takes(size_t maxsize)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_object *q = queue_new(c, maxsize, 0), *other = queue_new(c, 1, 0), *more = queue_new(c, 1, 0);
	struct tarn__queue *in = tarn__object_instance(q, &tarn__type_queue);
	uint32_t *step = scene_shared(sizeof *step);
	int64_t n;

	OK(tarn_object_publish(q, "q", 0));
	OK(tarn_queue_putf(q, 0, "OO", other, more));
	scene_settle(&s);
	PLAIN_EQ(scene_count(&s, tarn_object_id(other)), 2);
	pid_t pid = plain_fork();
	if (pid == 0)
		take_evicted(&s, step);
	scene_await(step, 1);
	s.evictions = 1;
	scene_settle(&s);
	PLAIN_EQ(scene_count(&s, tarn_object_id(other)), 1);
	PLAIN_EQ(scene_count(&s, tarn_object_id(more)), 1);
	/* It works on while that client lives, and needs no more memory. */
	for (int64_t k = 0; k < 5 * (int64_t)TARN__QUEUE_RUN; k++) {
		OK(tarn_queue_putf(q, 0, "q", k));
		OK(tarn_queue_getf(q, 0, "q", &n));
		PLAIN_EQ(n, k);
	}
	PLAIN_CHECK(maxsize != 0 || tarn__load_relaxed(&in->runs_made) <= 2);
	plain_kill(pid);
	PLAIN_WAIT_FOR(scene_client_gone(&s, pid));
	tarn_object_unref(more);
	tarn_object_unref(other);
	tarn_object_unref(q);
	tarn_client_close(c);
	scene_close(&s);
}
PLAIN_TEST(t12_an_evicted_consumer_leaves_nothing_with_an_unbounded_queue) { evicted_takes(0); }
PLAIN_TEST(t12_an_evicted_consumer_leaves_nothing_with_a_ring) { evicted_takes(4); }

PLAIN_MAIN()
