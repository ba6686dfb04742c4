/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T6: lists and dicts that are read in place, without asking the server, while it changes them and uses again
 * what they were made of. Two of each, so that what was one's is the other's next: who reads gets what was
 * in his, nothing older than what he knows to be there, nothing that comes later.
 *
 * The words of a container's line are buffered as others are. What they lead to is written plainly, and so is
 * seen at once; a release fence lets everything out that was stored before it.
 */
#include <stdio.h>
#include <string.h>

#include "scenario.h"
#include "tarn/container.h"
#include "world-types.h"

#define CHANGES 3u
#define READS 3u

static struct {
	tarn_object *it[2][2]; /* the first and the second one, the handles of clients 0 and 1 */
	unsigned begun, done;  /* changes of the first */
	bool over;             /* all of them */
} book;

static void both(unsigned i)
{
	char name[16];

	snprintf(name, sizeof name, "it%u", i);
	MUST(tarn_object_publish(book.it[i][0], name, 0));
	MUST(tarn_object_lookup(world->c[1], name, 0, &book.it[i][1]));
	MUST(tarn_object_unpublish(world->c[0], name));
}
static bool is_dead(void)
{
	return !book.over && sched_is_over(0);
}
static void end(void)
{
	for (unsigned i = 0; i < 4; i++)
		if (i % 2 == 1 || !is_dead())
			tarn_object_unref(book.it[i / 2][i % 2]);
}

/* Value k of the first is 100 + k, of the second 200 + k. */
static int64_t value_of(unsigned which, unsigned k)
{
	return 100 * ((int64_t)which + 1) + k;
}

static void check_read(int64_t v, unsigned least)
{
	if (v < value_of(0, least))
		sched_fail("%lld is read, which was no more when %lld was there", (long long)v,
			   (long long)value_of(0, least));
	if (v > value_of(0, book.begun))
		sched_fail("%lld is read, which nobody has written yet, or not here", (long long)v);
}

/* ---- lists ---- */

static void list_set(unsigned which, unsigned k)
{
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_int(&b, value_of(which, k));
	MUST(tarn_list_set(book.it[which][0], 1, &b));
	tarn_builder_fini(&b);
}
static void list_writer(void)
{
	for (unsigned k = 1; k <= CHANGES; k++) {
		book.begun = k;
		list_set(0, k);
		book.done = k;
		list_set(1, k);
	}
	book.over = true;
}
static void list_reader(void)
{
	for (unsigned i = 0; i < READS; i++) {
		unsigned least = book.done;
		int64_t v;

		MUST(tarn_list_getf(book.it[0][1], 1, "q", &v));
		check_read(v, least);
	}
}
static void begin_reading(void (*writer)(void), void (*reader)(void))
{
	both(0);
	both(1);
	reader(); /* what the server is asked once */
	world->watch_data = true;
	world_thread(0, writer);
	world_thread(1, reader);
	world_server();
}
static void list_begin(void)
{
	memset(&book, 0, sizeof book);
	for (unsigned i = 0; i < 2; i++)
		MUST(tarn_list_newf(world->c[0], &book.it[i][0], "[qq]", (int64_t)0, value_of(i, 0)));
	begin_reading(list_writer, list_reader);
}
SCENARIO(t2_who_reads_a_list_in_place_gets_what_is_in_it, .clients = 2, .typed = true, .contents = true,
	 .begin = list_begin, .end = end)

static void killer(void)
{
	sched_point();
	if (!book.over)
		world_kill(0);
}
static void list_of_the_dead_begin(void)
{
	list_begin();
	world_thread(2, killer);
}
SCENARIO(t2_a_list_is_whole_whoever_changes_it_is_killed_anywhere, .clients = 2, .typed = true,
	 .contents = true, .begin = list_of_the_dead_begin, .end = end)

/* ---- dicts ---- */

static void dict_writer(void)
{
	for (unsigned k = 1; k <= CHANGES; k++) {
		book.begun = k;
		MUST(tarn_dict_setf(book.it[0][0], "sq", "key", value_of(0, k)));
		book.done = k;
		MUST(tarn_dict_setf(book.it[1][0], "sq", "key", value_of(1, k)));
	}
	book.over = true;
}
static void dict_reader(void)
{
	for (unsigned i = 0; i < READS; i++) {
		unsigned least = book.done;
		int64_t v;

		MUST(tarn_dict_getf(book.it[0][1], "key", "q", &v));
		check_read(v, least);
	}
}
static void dict_begin(void)
{
	memset(&book, 0, sizeof book);
	for (unsigned i = 0; i < 2; i++)
		MUST(tarn_dict_newf(world->c[0], &book.it[i][0], "{s:q}", "key", value_of(i, 0)));
	begin_reading(dict_writer, dict_reader);
}
SCENARIO(t2_who_reads_a_dict_in_place_gets_what_is_in_it, .clients = 2, .typed = true, .contents = true,
	 .begin = dict_begin, .end = end)
