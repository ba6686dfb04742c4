/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What do values cost beside a plain struct? Three values are put into a builder, and taken
 * out of a parcel in place; the struct is copied, which any way of passing them does at the
 * least. Both go through memory that the compiler knows nothing of.
 */
#include <stdio.h>
#include <string.h>

#include <tarn/value.h>

#include "report.h"

#define BLOCK_NS 250e3
#define BLOCKS 33u

static struct plain {
	int64_t number;
	double factor;
	char name[16];
} plain[2] = { { 123456789, 3.25, "fifteen letters" } };
static tarn_builder builder;
static tarn_parcel numbers, mixed;
static volatile int64_t sink;

static void copy_struct(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		escape(&plain[0]);
		plain[1] = plain[0];
		escape(&plain[1]);
	}
}

static void encode_numbers(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		escape(&plain[0]);
		tarn_builder_init(&builder);
		tarn_put_int(&builder, plain[0].number);
		tarn_put_int(&builder, plain[0].number);
		tarn_put_double(&builder, plain[0].factor);
		tarn_builder_fini(&builder);
		escape(&builder);
	}
}

static void decode_numbers(uint64_t n)
{
	int64_t a, b;
	double c;

	for (uint64_t i = 0; i < n; i++) {
		escape(&numbers);
		if (tarn_value_int(tarn_parcel_at(&numbers, 0), &a) < 0 ||
		    tarn_value_int(tarn_parcel_at(&numbers, 1), &b) < 0 ||
		    tarn_value_double(tarn_parcel_at(&numbers, 2), &c) < 0)
			die("%s", tarn_error_last()->message);
		sink = a + b + (int64_t)c;
	}
}

static void encode_mixed(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		escape(&plain[0]);
		tarn_builder_init(&builder);
		tarn_put_int(&builder, plain[0].number);
		tarn_put_double(&builder, plain[0].factor);
		tarn_put_string_n(&builder, plain[0].name, 15);
		tarn_builder_fini(&builder);
		escape(&builder);
	}
}

static void decode_mixed(uint64_t n)
{
	const char *name;
	size_t bytes;
	int64_t a;
	double b;

	for (uint64_t i = 0; i < n; i++) {
		escape(&mixed);
		if (tarn_value_int(tarn_parcel_at(&mixed, 0), &a) < 0 ||
		    tarn_value_double(tarn_parcel_at(&mixed, 1), &b) < 0 ||
		    tarn_value_string(tarn_parcel_at(&mixed, 2), &name, &bytes) < 0)
			die("%s", tarn_error_last()->message);
		sink = a + (int64_t)b + name[bytes - 1];
	}
}

static void put_letters(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		escape(&plain[0]);
		tarn_builder_init(&builder);
		tarn_put(&builder, "qdS", plain[0].number, plain[0].factor, plain[0].name, (size_t)15);
		tarn_builder_fini(&builder);
		escape(&builder);
	}
}

static void get_letters(uint64_t n)
{
	const char *name;
	int64_t a;
	double b;

	for (uint64_t i = 0; i < n; i++) {
		escape(&mixed);
		if (tarn_parcel_get(&mixed, "qds", &a, &b, &name) < 0)
			die("%s", tarn_error_last()->message);
		sink = a + (int64_t)b + name[0];
	}
}

static const struct way {
	const char *row, *column;
	void (*loop)(uint64_t n);
} ways[] = {
	{ "two ints and a double", "struct copy", copy_struct },
	{ "two ints and a double", "encode", encode_numbers },
	{ "two ints and a double", "decode", decode_numbers },
	{ "int, double, 15 letters", "struct copy", copy_struct },
	{ "int, double, 15 letters", "encode", encode_mixed },
	{ "int, double, 15 letters", "decode", decode_mixed },
	{ "the same by format letters", "struct copy", copy_struct },
	{ "the same by format letters", "encode", put_letters },
	{ "the same by format letters", "decode", get_letters },
};
#define WAYS (sizeof ways / sizeof *ways)

static uint64_t calibrated(void (*loop)(uint64_t n))
{
	for (uint64_t n = 64;; n *= 2) {
		uint64_t from = ticks();

		loop(n);
		if (ticks_to_ns(ticks() - from) >= BLOCK_NS)
			return n;
	}
}

/* Blocks of all ways in turn; of each the median, which a preemption does not move. */
static void measure(unsigned round)
{
	static double block[WAYS][BLOCKS];
	uint64_t n[WAYS];

	run_begin(round, true);
	pin(bench.cpu[0]);
	for (unsigned w = 0; w < WAYS; w++)
		n[w] = calibrated(ways[w].loop);
	for (unsigned k = 0; k < often(BLOCKS); k++)
		for (unsigned w = 0; w < WAYS; w++) {
			uint64_t from = ticks();

			ways[w].loop(n[w]);
			block[w][k] = ticks_to_ns(ticks() - from) / (double)n[w];
		}
	for (unsigned w = 0; w < WAYS; w++)
		record(ways[w].row, ways[w].column, "ns", median_of(block[w], often(BLOCKS)),
		       w % 3 == 0 ? NULL : "struct copy");
	unpin();
	if (run_again())
		measure(round);
}

int main(int argc, char **argv)
{
	static const struct about about = {
		.name = "value",
		.question = "What does it cost to encode three values, and to decode them in place?\n"
			    "Beside a copy of a struct of 32 bytes.",
		.rounds = 11,
	};

	bench_start(argc, argv, &about);
	encode_numbers(1);
	if (tarn_parcel_from(&builder, &numbers) < 0)
		die("%s", tarn_error_last()->message);
	encode_mixed(1);
	if (tarn_parcel_from(&builder, &mixed) < 0)
		die("%s", tarn_error_last()->message);
	for (unsigned r = 0; r < bench.rounds; r++)
		measure(r);
	tarn_parcel_fini(&numbers);
	tarn_parcel_fini(&mixed);
	report();
	return 0;
}
