/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does it cost to read what is in a dict or a list, where it lies, beside asking the server for it?
 * The server has a CPU of its own and spins.
 */
#include <stdio.h>

#include "arena.h"
#include "report.h"

#define ENTRIES 1000

static tarn_object *dict, *list;
static char keys[ENTRIES][16];

static void fill(tarn_client *c)
{
	check(tarn_dict_new(c, &dict), "a dict");
	check(tarn_list_new(c, &list), "a list");
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(keys[i], sizeof keys[i], "key %d", i);
		check(tarn_dict_setf(dict, "si", keys[i], i), "set");
		check(tarn_list_appendf(list, "i", i), "append");
	}
}

/* Of their parcel. */
static void read_number(tarn_parcel *p, int wanted)
{
	int64_t got = -1;

	check(tarn_value_int(tarn_parcel_at(p, 0), &got), "a number");
	if (got != wanted)
		die("found %lld instead of %d", (long long)got, wanted);
	tarn_parcel_fini(p);
}

static void dict_in_place(int i)
{
	tarn_parcel p;

	check(tarn_dict_get(dict, keys[i], &p), "get");
	read_number(&p, i);
}

static void dict_by_call(int i)
{
	tarn_builder b;
	tarn_parcel p;

	tarn_builder_init(&b);
	tarn_put_string(&b, keys[i]);
	check(tarn_call(dict, "get", &b, &p, TARN_FOREVER), "get");
	tarn_builder_fini(&b);
	read_number(&p, i);
}

static void list_in_place(int i)
{
	tarn_parcel p;

	check(tarn_list_get(list, i, &p), "get");
	read_number(&p, i);
}

static void list_by_call(int i)
{
	tarn_builder b;
	tarn_parcel p;

	tarn_builder_init(&b);
	tarn_put_int(&b, i);
	check(tarn_call(list, "get", &b, &p, TARN_FOREVER), "get");
	tarn_builder_fini(&b);
	read_number(&p, i);
}

static double time_all(void (*get)(int), uint64_t n)
{
	get(0);
	uint64_t from = ticks();

	for (uint64_t i = 0; i < n; i++)
		get((int)(i * 7 % ENTRIES));
	return ticks_to_ns(ticks() - from) / (double)n;
}

static void measure(unsigned round, const char *row, void (*in_place)(int), void (*by_call)(int))
{
	run_begin(round, false);
	pin(bench.cpu[0]);
	record(row, "call", "ns", time_all(by_call, often(10000)), VERSUS_LINE);
	record(row, "in place", "ns", time_all(in_place, often(200000)), "call");
	unpin();
	if (run_again())
		measure(round, row, in_place, by_call);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "contents",
		.question = "What does it cost to read what is in a dict or a list, in place and "
			    "by a call?",
		.rounds = 7,
	};

	bench_start(argc, argv, &about);
	if (!two_cpus())
		skip("it takes two CPUs");
	arena_start_pinned(UINT64_C(64) << 20, bench.cpu[1]);
	tarn_client *c = attach();

	fill(c);
	for (unsigned r = 0; r < bench.rounds; r++) {
		measure(r, "dict get of a number, 1000 keys", dict_in_place, dict_by_call);
		measure(r, "list get of a number, 1000 elements", list_in_place, list_by_call);
	}
	tarn_object_unref(dict);
	tarn_object_unref(list);
	tarn_client_close(c);
	arena_stop();
	report();
	return 0;
}
