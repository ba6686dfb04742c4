/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server is killed at every store to META while Tarn's own types are used: queues whose items have
 * references, unbounded ones that grow, items that are acknowledged, topics, worker processes. What is
 * done of these on the server's thread is begun again by its successor, so no call but of a creator
 * may be interrupted, and all that was put is got, once, whole, in order.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/client/object.h"
#include "lib/types/queue.h"
#include "lib/types/types.h"
#include "server-steps.h"
#include "tarn/process.h"

#define SIZE 600u /* of a block; a queue's slot has less */

struct world {
	struct arena a;
	struct steps *steps;
	tarn_client *c, *d;
	tarn_object *ring, *ring_d;    /* bounded */
	tarn_object *runs, *runs_d;    /* unbounded, of small slots */
	tarn_object *acked, *acked_d;  /* joinable, redelivering */
	tarn_object *topic, *topic_d;
	tarn_subscription *reader;     /* that misses nothing */
	uint64_t n;                    /* numbers that were put or published */
};

/* The same object as another client has it. */
static tarn_object *passed(tarn_object *o, tarn_client *to)
{
	tarn_object *it;
	tarn_token token;

	OK(tarn_object_export(o, NULL, &token));
	OK(tarn_object_import(to, &token, &it));
	return it;
}

static tarn_block *numbered(tarn_client *c, uint64_t n)
{
	tarn_block *b = arena_block(c, SIZE);

	arena_fill(b, (unsigned)n);
	return b;
}

static void item_is(const tarn_parcel *p, uint64_t n)
{
	tarn_block *b, *other;
	uint64_t found;

	OK(tarn_parcel_get(p, "QBB", &found, &b, &other));
	PLAIN_EQ(found, n);
	PLAIN_CHECK(arena_filled(b, (unsigned)n) && arena_filled(other, (unsigned)n + 1));
}

static void put(struct world *w, tarn_object *q)
{
	tarn_block *b, *other;

	w->n++;
	b = numbered(w->c, w->n);
	other = numbered(w->c, w->n + 1);
	OK(tarn_queue_putf(q, TARN_FOREVER, "QBB", w->n, b, other));
	tarn_block_unref(b);
	tarn_block_unref(other);
}

static uint64_t get_any(tarn_object *q, bool acked)
{
	tarn_parcel p;
	uint64_t n;

	OK(tarn_queue_get(q, &p, TARN_FOREVER));
	OK(tarn_value_uint(tarn_parcel_at(&p, 0), &n));
	item_is(&p, n);
	if (acked)
		OK(tarn_queue_task_done(q));
	/* Held by us alone now. */
	item_is(&p, n);
	tarn_parcel_fini(&p);
	return n;
}

static void get(tarn_object *q, uint64_t n, bool acked)
{
	PLAIN_EQ(get_any(q, acked), n);
}

#define FEW 3u

static void use_queue(struct world *w, tarn_object *q, tarn_object *q_d, bool acked)
{
	uint64_t first = w->n + 1;

	for (unsigned k = 0; k < FEW; k++)
		put(w, q);
	for (unsigned k = 0; k < FEW; k++)
		get(q_d, first + k, acked);
	if (acked)
		OK(tarn_queue_join(q, TARN_FOREVER));
	PLAIN_EQ(tarn_queue_size(q), 0);
}

/* So many that runs are linked, and used again. */
static void grow(struct world *w)
{
	uint64_t n;

	for (unsigned k = 0; k < 1100; k++)
		OK(tarn_queue_putf(w->runs, TARN_FOREVER, "Q", (uint64_t)k));
	put(w, w->runs);
	for (unsigned k = 0; k < 1100; k++) {
		OK(tarn_queue_getf(w->runs_d, TARN_FOREVER, "Q", &n));
		PLAIN_EQ(n, k);
	}
	get(w->runs_d, w->n, false);
}

static void use_topic(struct world *w)
{
	tarn_subscription *late;
	tarn_block *b, *other;
	tarn_parcel p;

	for (unsigned k = 0; k < FEW; k++) {
		w->n++;
		b = numbered(w->c, w->n);
		other = numbered(w->c, w->n + 1);
		OK(tarn_topic_publishf(w->topic, TARN_FOREVER, "QBB", w->n, b, other));
		tarn_block_unref(b);
		tarn_block_unref(other);
		OK(tarn_subscription_recv(w->reader, &p, TARN_FOREVER));
		item_is(&p, w->n);
		tarn_parcel_fini(&p);
	}
	/* Another that misses nothing, and leaves: it would hold up all that publish. */
	OK(tarn_topic_subscribe(w->topic_d, &(tarn_subscription_options){ .policy = TARN_TOPIC_BLOCK, .old = 1 },
				&late));
	PLAIN_EQ(tarn_topic_subscribers(w->topic), 2);
	OK(tarn_subscription_recv(late, &p, TARN_FOREVER));
	item_is(&p, w->n);
	tarn_parcel_fini(&p);
	late = tarn_subscription_free(late);
	OK(tarn_client_flush(w->d, false, TARN_FOREVER));
	PLAIN_EQ(tarn_topic_subscribers(w->topic), 1);
	PLAIN_EQ(tarn_subscription_dropped(w->reader), 0);
}

/* A client that uses all of them, and is gone with an item in hand and a subscription. */
static void come_and_die(struct world *w)
{
	uint64_t first = w->n + 1;
	unsigned seen = 0;

	for (unsigned k = 0; k < FEW; k++)
		put(w, w->acked);
	tarn_token token[2];
	OK(tarn_object_export(w->acked, NULL, &token[0]));
	OK(tarn_object_export(w->topic, NULL, &token[1]));
	pid_t pid = plain_fork();
	if (pid == 0) {
		tarn_client *e = arena_client(&w->a, NULL);
		tarn_object *q, *t;
		tarn_subscription *s;
		tarn_parcel p;

		OK(tarn_object_import(e, &token[0], &q));
		OK(tarn_object_import(e, &token[1], &t));
		OK(tarn_topic_subscribe(t, &(tarn_subscription_options){ .policy = TARN_TOPIC_BLOCK }, &s));
		OK(tarn_queue_get(q, &p, TARN_FOREVER));
		item_is(&p, first);
		kill(getpid(), SIGKILL);
	}
	PLAIN_CHECK(plain_reap(pid) != 0);
	/* What it had comes again, when its end is noticed, and its subscription is no more. */
	for (unsigned k = 0; k < FEW; k++)
		seen |= 1u << (get_any(w->acked_d, true) - first);
	PLAIN_EQ(seen, (1u << FEW) - 1);
	OK(tarn_queue_join(w->acked, TARN_FOREVER));
	PLAIN_WAIT_FOR(tarn_topic_subscribers(w->topic) == 1);
}

TARN_WORKER(own_steps_worker)
{
	tarn_block *b, *mine;
	uint64_t n;
	int r = tarn_worker_get(worker, "QB", &n, &b);

	if (r < 0)
		return r;
	if (!arena_filled(b, (unsigned)n))
		return tarn_worker_throw(worker, "ValueError", "another block");
	mine = numbered(tarn_worker_client(worker), n + 1);
	r = tarn_put(tarn_worker_result(worker), "QB", n + 1, mine);
	tarn_block_unref(mine);
	return r;
}

static void use_process(struct world *w)
{
	const uint64_t n = ++w->n;
	tarn_block *b = numbered(w->c, n);
	tarn_process *p;
	tarn_builder args;
	uint64_t got;

	tarn_builder_init(&args);
	OK(tarn_put(&args, "QB", n, b));
	OK(tarn_process_spawn(w->c, &(tarn_process_options){ .entry = "own_steps_worker", .args = &args }, &p));
	tarn_builder_fini(&args);
	tarn_block_unref(b);
	OK(tarn_process_get(p, TARN_FOREVER, "QB", &got, &b));
	PLAIN_EQ(got, n + 1);
	PLAIN_CHECK(arena_filled(b, (unsigned)n + 1));
	tarn_process_unref(p);
}

static void part(void *world, unsigned number)
{
	struct world *w = world;

	switch (number) {
	case 0:
		use_queue(w, w->ring, w->ring_d, false);
		break;
	case 1:
		use_queue(w, w->runs, w->runs_d, false);
		break;
	case 2:
		use_queue(w, w->acked, w->acked_d, true);
		break;
	case 3:
		grow(w);
		break;
	case 4:
		use_topic(w);
		break;
	case 5:
		come_and_die(w);
		break;
	default:
		use_process(w);
	}
	arena_settle(w->c);
	arena_settle(w->d);
}
#define PARTS 7u

/* A descriptor of a process that has ended, which a thread is about to close. */
static bool has_pidfd(void)
{
	DIR *d = opendir("/proc/self/fd");
	char path[300], to[64];
	bool found = false;
	struct dirent *e;

	PLAIN_CHECK(d != NULL);
	while (!found && (e = readdir(d)) != NULL) {
		snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
		ssize_t n = readlink(path, to, sizeof to - 1);
		to[n > 0 ? n : 0] = '\0';
		found = strstr(to, "pidfd") != NULL;
	}
	closedir(d);
	return found;
}

static struct world world_open(const struct arena_kind *kind)
{
	struct world w = { 0 };
	tarn_process *first;

	/* The threads that look after processes have descriptors, and stay. */
	OK(tarn_process_spawn(NULL, &(tarn_process_options){ .program = "/bin/true" }, &first));
	OK(tarn_process_join(first, TARN_FOREVER));
	tarn_process_unref(first);
	PLAIN_WAIT_FOR(!has_pidfd());
	w.steps = steps_start(&w.a, kind);
	w.c = arena_client(&w.a, NULL);
	w.d = arena_client(&w.a, NULL);
	OK(tarn_queue_new(w.c, &(tarn_queue_options){ .maxsize = 8 }, &w.ring));
	OK(tarn_queue_new(w.c, &(tarn_queue_options){ .slot_bytes = 128 }, &w.runs));
	OK(tarn_queue_new(w.c, &(tarn_queue_options){
				       .flags = TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER }, &w.acked));
	OK(tarn_topic_new(w.c, &(tarn_topic_options){ .slots = 8, .keep = 2 }, &w.topic));
	w.ring_d = passed(w.ring, w.d);
	w.runs_d = passed(w.runs, w.d);
	w.acked_d = passed(w.acked, w.d);
	w.topic_d = passed(w.topic, w.d);
	OK(tarn_topic_subscribe(w.topic_d, &(tarn_subscription_options){ .policy = TARN_TOPIC_BLOCK },
				&w.reader));
	for (unsigned i = 0; i < PARTS; i++)
		part(&w, i);
	return w;
}

static void world_close(struct world *w)
{
	tarn_object *const all[] = { w->ring, w->ring_d, w->runs, w->runs_d, w->acked, w->acked_d, w->topic,
				     w->topic_d };

	tarn_subscription_free(w->reader);
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		tarn_object_unref(all[i]);
	tarn_client_close(w->d);
	tarn_client_close(w->c);
	arena_end(&w->a);
	steps_end(w->steps);
}

static void run(const struct arena_kind *kind, bool twice)
{
	struct world w = world_open(kind);

	steps_run(w.steps, twice, PARTS, part, &w);
	world_close(&w);
}

PLAIN_TEST_TIMEOUT(k4_own_types_go_on_with_the_next_server, 1800)
{
	run(&arena_posix_epoll, false);
}
PLAIN_TEST_TIMEOUT(k4_own_types_go_on_io_uring_and_memfd, 1800)
{
	run(&arena_memfd_uring, false);
}
PLAIN_TEST_TIMEOUT(k4_own_types_go_on_when_successors_are_killed_too, 1800)
{
	run(&arena_posix_epoll, true);
}

/* A queue between two clients, whose server is killed @kills times in what it is told of it from now on. */
static struct world killed_in_books(int64_t kills)
{
	struct world w = { 0 };

	w.steps = steps_start(&w.a, &arena_posix_epoll);
	w.c = arena_client(&w.a, NULL);
	w.d = arena_client(&w.a, NULL);
	OK(tarn_queue_new(w.c, &(tarn_queue_options){ .maxsize = 8 }, &w.ring));
	w.ring_d = passed(w.ring, w.d);
	put(&w, w.ring);
	arena_settle(w.c);
	w.steps->object = tarn_object_id(w.ring);
	__atomic_store_n(&w.steps->in_object, (uint64_t)kills, __ATOMIC_RELEASE);
	return w;
}

static void killed_in_books_end(struct world *w)
{
	tarn_object_unref(w->ring);
	tarn_object_unref(w->ring_d);
	arena_settle(w->c);
	tarn_client_close(w->d);
	tarn_client_close(w->c);
	arena_end(&w->a);
	steps_end(w->steps);
}

/* After the eighth time it was not begun again: the taker had no claim, and was evicted when it used the block. It is
 * cut short for that since, the queue keeping what it had of the item. */
PLAIN_TEST_TIMEOUT(k4_what_was_taken_is_its_takers_also_if_the_server_is_killed_in_that_again_and_again, 300)
{
	struct world w = killed_in_books(6);
	tarn_parcel p;

	OK(tarn_queue_get(w.ring_d, &p, TARN_FOREVER));
	OK(tarn_client_ping(w.d, TARN_FOREVER));
	PLAIN_EQ(w.steps->kills, 6);
	item_is(&p, w.n);
	tarn_parcel_fini(&p);
	arena_settle(w.d);
	use_queue(&w, w.ring, w.ring_d, false);
	killed_in_books_end(&w);
}

static uint64_t objects(struct world *w)
{
	tarn_stat s;

	arena_settle(w->c);
	OK(tarn_inspector_stat(w->a.inspector, &s));
	return s.objects;
}

/* The answer that says what the item refers to does not come, nor the one that says that it is over: then that is said
 * one way. The queue had what the item refers to until its own end, and a run of slots with it. */
PLAIN_TEST_TIMEOUT(k4_an_item_that_cannot_be_had_for_kills_leaves_nothing_with_the_queue, 300)
{
	struct world w = killed_in_books(0);
	tarn_object *o;
	tarn_parcel p;

	get(w.ring_d, w.n, false);
	OK(tarn_queue_new(w.c, NULL, &o));
	OK(tarn_queue_putf(w.ring, TARN_FOREVER, "O", o));
	tarn_object_unref(o);
	arena_settle(w.d);
	PLAIN_EQ(objects(&w), 2);
	__atomic_store_n(&w.steps->in_object, 2 * 9, __ATOMIC_RELEASE);
	OK(tarn_client_ping(w.c, TARN_FOREVER)); /* the server has seen it */
	FAILS(tarn_queue_get(w.ring_d, &p, TARN_FOREVER), TARN_EINTERRUPTED);
	PLAIN_EQ(w.steps->in_object, 0);
	arena_settle(w.d);
	PLAIN_EQ(objects(&w), 1);
	use_queue(&w, w.ring, w.ring_d, false);
	killed_in_books_end(&w);
}

/* As of a cgroup's limit of memory. It was begun again until the keeper gave the arena up. */
PLAIN_TEST_TIMEOUT(k4_a_server_that_is_always_killed_when_an_item_is_taken_loses_no_more_than_that, 300)
{
	struct world w = killed_in_books(1000);
	tarn_parcel p;

	OK(tarn_queue_get(w.ring_d, &p, TARN_FOREVER));
	OK(tarn_client_ping(w.d, TARN_FOREVER));
	PLAIN_EQ(w.steps->kills, 2 * 7); /* once for each block; the keeper counts anew behind the first */
	__atomic_store_n(&w.steps->in_object, 0, __ATOMIC_RELEASE);
	item_is(&p, w.n); /* the queue has it still */
	use_queue(&w, w.ring, w.ring, false);
	killed_in_books_end(&w);
}

/* What it refers to could not be kept: as for want of memory. The blocks are his who put them, and who takes the item
 * has them, too. */
static void killed_in_stash(int64_t kills)
{
	struct world w = killed_in_books(0);
	tarn_parcel p;

	get(w.ring_d, w.n, false);
	arena_settle(w.d);
	const uint64_t before = w.steps->kills;
	__atomic_store_n(&w.steps->in_object, (uint64_t)kills, __ATOMIC_RELEASE);
	put(&w, w.ring);
	OK(tarn_client_ping(w.c, TARN_FOREVER));
	PLAIN_EQ(w.steps->kills - before, kills > 7 ? 7 : kills);
	__atomic_store_n(&w.steps->in_object, 0, __ATOMIC_RELEASE);
	if (kills < 7) {
		OK(tarn_queue_get(w.ring_d, &p, TARN_FOREVER));
		item_is(&p, w.n);
		tarn_parcel_fini(&p);
		arena_settle(w.d);
		use_queue(&w, w.ring, w.ring_d, false);
	}
	OK(tarn_client_ping(w.d, TARN_FOREVER));
	killed_in_books_end(&w);
}
PLAIN_TEST_TIMEOUT(k4_a_server_that_is_often_killed_when_an_item_is_put_keeps_nothing_of_it, 300)
{
	killed_in_stash(5);
	killed_in_stash(6);
}
PLAIN_TEST_TIMEOUT(k4_a_server_that_is_always_killed_when_an_item_is_put_loses_no_more_than_that, 300)
{
	killed_in_stash(1000);
}

/* As what kills may be what the rest takes: then cutting short helps, and each of an item's calls takes five servers.
 * The keeper gave the arena up at the second. */
PLAIN_TEST_TIMEOUT(k4_a_server_that_is_always_killed_unless_it_is_brief_is_replaced_however_many_calls_that_are, 300)
{
	struct world w = killed_in_books(0);
	tarn_parcel p;

	w.steps->whole = 1;
	__atomic_store_n(&w.steps->in_object, 1000, __ATOMIC_RELEASE);
	OK(tarn_client_ping(w.c, TARN_FOREVER)); /* the server has seen it */
	OK(tarn_queue_get(w.ring_d, &p, TARN_FOREVER));
	OK(tarn_client_ping(w.d, TARN_FOREVER));
	PLAIN_EQ(w.steps->kills, 2 * 5);
	__atomic_store_n(&w.steps->in_object, 0, __ATOMIC_RELEASE);
	item_is(&p, w.n);
	tarn_parcel_fini(&p);
	arena_settle(w.d);
	use_queue(&w, w.ring, w.ring_d, false);
	killed_in_books_end(&w);
}

/* Its slot said for ever that one is to take what the queue had of it, so its run was never over: when its place in
 * the table was to be another's, 2,097,152 items later, puts had no room any more. */
PLAIN_TEST_TIMEOUT(k4_an_item_that_was_taken_in_brief_holds_up_no_later_run, 300)
{
	struct world w = killed_in_books(0);
	tarn_object *q, *q_d;
	const struct tarn__queue *in;
	uint64_t n;

	get(w.ring_d, w.n, false);
	OK(tarn_queue_new(w.c, NULL, &q));
	in = tarn__object_instance(q, &tarn__type_queue);
	q_d = passed(q, w.d);
	put(&w, q);
	arena_settle(w.c);
	w.steps->object = tarn_object_id(q);
	w.steps->whole = 1;
	__atomic_store_n(&w.steps->in_object, 1000, __ATOMIC_RELEASE);
	OK(tarn_client_ping(w.c, TARN_FOREVER)); /* the server has seen it */
	get(q_d, w.n, false);
	OK(tarn_client_ping(w.d, TARN_FOREVER));
	PLAIN_EQ(w.steps->kills, 2 * 5);
	__atomic_store_n(&w.steps->in_object, 0, __ATOMIC_RELEASE);
	arena_settle(w.d);
	for (uint64_t k = 0; k < 5 * (uint64_t)TARN__QUEUE_RUN; k++) {
		OK(tarn_queue_putf(q, 0, "Q", k));
		OK(tarn_queue_getf(q_d, 0, "Q", &n));
		PLAIN_EQ(n, k);
	}
	PLAIN_EQ(tarn__load_relaxed(&in->runs_made), 1); /* the first, again and again */
	tarn_object_unref(q);
	tarn_object_unref(q_d);
	killed_in_books_end(&w);
}

PLAIN_MAIN()
