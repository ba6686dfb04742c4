/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which runs of benchmarks are thrown away and measured again, told by probes that the test
 * makes up; and what figures are compared with what.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#include "bench/compare.h"
#include "bench/jsonl.h"
#include "bench/report.h"
#include "bench/store.h"
#include "bench/verdict.h"

static struct surroundings lines(double before, double after)
{
	return (struct surroundings){ .before = { before, before }, .after = { after, after } };
}

/* ---- one verdict ---- */

TestSuite(verdict, .timeout = 10);

Test(verdict, a_run_is_of_the_class_of_its_lines)
{
	struct surroundings s = lines(100, 110);

	cr_assert(eq(int, verdict_of(&s), CLASS_NEAR));
	s = lines(250, 260);
	cr_assert(eq(int, verdict_of(&s), CLASS_MID));
	s = lines(480, 450);
	cr_assert(eq(int, verdict_of(&s), CLASS_FAR));
}

Test(verdict, a_line_that_changes_its_class_disturbs_in_both_directions)
{
	struct surroundings s = lines(100, 480);

	cr_assert(eq(int, verdict_of(&s), CLASS_FLIP));
	s = lines(480, 100);
	cr_assert(eq(int, verdict_of(&s), CLASS_FLIP));
	s = lines(150, 300);
	cr_assert(eq(int, verdict_of(&s), CLASS_FLIP));
	cr_assert(is_disturbed(CLASS_FLIP));
}

Test(verdict, a_line_that_drifts_over_a_border_is_no_change)
{
	struct surroundings s = lines(190, 205);

	cr_assert(eq(int, verdict_of(&s), CLASS_NEAR));
	s = lines(340, 400);
	cr_assert(eq(int, verdict_of(&s), CLASS_FAR));
}

Test(verdict, others_that_ran_disturb_but_a_few_steps_of_the_clock_do_not)
{
	struct surroundings s = lines(100, 100);

	s.others_percent = 60;
	s.others_ns = 20e6; /* two steps of 10 ms */
	cr_assert(eq(int, verdict_of(&s), CLASS_NEAR));
	s.others_ns = 400e6;
	cr_assert(eq(int, verdict_of(&s), CLASS_BUSY));
	s.others_percent = 2; /* of a long run */
	cr_assert(eq(int, verdict_of(&s), CLASS_NEAR));
}

Test(verdict, a_probe_that_was_interrupted_disturbs)
{
	struct surroundings s = lines(100, 100);

	s.after.mean = 1000;
	cr_assert(eq(int, verdict_of(&s), CLASS_BUSY));
}

Test(verdict, a_run_of_one_cpu_is_not_divided_by_the_line_but_disturbed_by_others)
{
	struct surroundings s = lines(100, 480);

	s.local = true;
	cr_assert(eq(int, verdict_of(&s), CLASS_ANY));
	s.others_percent = 50;
	s.others_ns = 1e9;
	cr_assert(eq(int, verdict_of(&s), CLASS_BUSY));
}

Test(verdict, without_a_second_cpu_there_is_no_class)
{
	struct surroundings s = lines(0, 0);

	cr_assert(eq(int, verdict_of(&s), CLASS_ANY));
}

/* ---- how often ---- */

TestSuite(patience, .timeout = 10);

Test(patience, one_run_is_repeated_so_often_and_no_more)
{
	struct patience p = { 0 };

	for (unsigned i = 0; i < 3; i++)
		cr_assert(patience_again(&p, CLASS_FLIP, 3));
	cr_assert(not(patience_again(&p, CLASS_FLIP, 3)));
	cr_assert(eq(u32, p.tries, 0), "the next run starts afresh");
}

Test(patience, a_run_that_is_not_disturbed_is_kept_at_once)
{
	struct patience p = { 0 };

	cr_assert(not(patience_again(&p, CLASS_NEAR, 3)));
	cr_assert(not(patience_again(&p, CLASS_ANY, 3)));
	cr_assert(eq(u32, p.repeats, 0));
}

Test(patience, a_machine_that_is_always_disturbed_doubles_the_work_at_most)
{
	struct patience p = { 0 };
	unsigned kept = 0, all = 0;

	for (; kept < 100; all++)
		kept += patience_again(&p, CLASS_BUSY, 1000) ? 0 : 1;
	cr_assert(le(u32, all, 200 + PATIENCE_LEAST));
	cr_assert(gt(u32, all, 100), "it did try");
}

/* ---- runs, with probes from here ---- */

static const double *next_probe;
static double others_percent;

static struct line_now fake_probe(void)
{
	double ns = *next_probe++;

	return (struct line_now){ ns, ns };
}

static struct others fake_others(const struct moment *since)
{
	(void)since;
	return (struct others){ .ns = others_percent > 0 ? 1e9 : 0, .percent = others_percent };
}

static void begin(void)
{
	bench.name = "fake";
	bench.repeats = 3;
	bench.ns_per_tick = 1;
	store = (struct store){ 0 };
	surroundings_from(fake_probe, fake_others);
}

static bool run_once(double value)
{
	struct digest d = { .p50 = value };

	run_begin(0, false);
	record("row", "each", "ns", value, VERSUS_LINE);
	record_digest("row", &d, VERSUS_LINE);
	return run_again();
}

TestSuite(rounds, .timeout = 10, .init = begin);

Test(rounds, a_disturbed_run_leaves_no_value_and_is_measured_again)
{
	static const double probes[] = { 100, 480, 100, 100 };

	next_probe = probes;
	cr_assert(run_once(1));
	cr_assert(eq(sz, store.n_values, 0));
	cr_assert(eq(sz, store.n_curves, 0));
	cr_assert(eq(sz, store.n_discards, 1));
	cr_assert(eq(int, store.discard[0].class, CLASS_FLIP));
	cr_assert(eq(str, store.discard[0].row, "row"));
	cr_assert(not(run_once(2)));
	cr_assert(eq(sz, store.n_values, 6));
	cr_assert(eq(dbl, store.value[0].value, 2));
	cr_assert(eq(int, store.value[0].class, CLASS_NEAR));
	cr_assert(eq(int, store.curve[0].class, CLASS_NEAR));
}

Test(rounds, a_run_that_stays_disturbed_is_kept_and_marked)
{
	static const double probes[] = { 100, 480, 100, 480, 100, 480, 100, 480 };
	unsigned again = 0;

	next_probe = probes;
	while (run_once(1))
		again++;
	cr_assert(eq(u32, again, 3));
	cr_assert(eq(sz, store.n_discards, 3));
	cr_assert(eq(int, store.value[0].class, CLASS_FLIP));
}

Test(rounds, earlier_runs_survive_one_that_is_thrown_away)
{
	static const double probes[] = { 100, 100, 480, 100 };

	next_probe = probes;
	cr_assert(not(run_once(7)));
	cr_assert(run_once(8));
	cr_assert(eq(sz, store.n_values, 6));
	cr_assert(eq(dbl, store.value[0].value, 7));
}

Test(rounds, others_are_recorded_beside_each_value)
{
	static const double probes[] = { 100, 100 };

	next_probe = probes;
	others_percent = 8.5;
	cr_assert(not(run_once(1)));
	cr_assert(eq(dbl, store.value[0].others_percent, 8.5));
	cr_assert(eq(dbl, reference_of(&store.value[0]), 100));
}

/* ---- reading back ---- */

TestSuite(lines, .timeout = 10, .init = begin);

Test(lines, what_is_no_line_of_ours_is_ignored)
{
#define UNKNOWN_CLASS "{\"type\":\"value\",\"bench\":\"b\",\"row\":\"r\",\"class\":\"nosuch\"," \
		      "\"column\":\"c\",\"unit\":\"u\",\"versus\":\"\"}"
	static const char *const wrong[] = {
		"",
		"# remark",
		"{}",
		"{\"type\":\"value\"}",
		"{\"type\":\"value\",\"bench\":\"unterminated",
		UNKNOWN_CLASS,
		"{\"type\":\"curve\",\"bench\":\"b\",\"row\":\"r\",\"class\":\"near\",\"ns\":[1,2]}",
	};
	union jsonl_line l;

	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
		cr_assert(eq(int, jsonl_parse(wrong[i], &l), JSONL_NONE), "%s", wrong[i]);
}

Test(lines, a_name_that_is_too_long_is_refused)
{
	union jsonl_line l;
	char text[600] = "{\"type\":\"value\",\"bench\":\"b\",\"class\":\"near\",\"column\":\"c\","
			 "\"unit\":\"u\",\"versus\":\"\",\"value\":1,\"row\":\"";

	memset(text + strlen(text), 'x', NAME_BYTES);
	strcat(text, "\"}");
	cr_assert(eq(int, jsonl_parse(text, &l), JSONL_NONE));
}

/* ---- comparing ---- */

static void add(const char *name, unsigned round, enum line_class class, double value)
{
	struct value v = { .round = round, .class = class, .value = value, .column = "p50" };

	snprintf(v.bench, sizeof v.bench, "%s", name);
	snprintf(v.row, sizeof v.row, "row");
	store_value(&v);
}

TestSuite(compare, .timeout = 10, .init = begin);

Test(compare, ratios_are_taken_within_a_round)
{
	struct comparison c;

	add("tarn", 0, CLASS_NEAR, 100);
	add("peer", 0, CLASS_NEAR, 1000);
	add("tarn", 1, CLASS_NEAR, 300);
	add("peer", 1, CLASS_NEAR, 1500);
	add("tarn", 2, CLASS_NEAR, 50); /* nobody else was measured in this round */
	cr_assert(compare_series(&store.value[0], &store.value[1], CLASS_NEAR, &c));
	cr_assert(eq(sz, c.n, 2));
	cr_assert(epsilon_eq(dbl, c.ratio.min, 0.1, 1e-9));
	cr_assert(epsilon_eq(dbl, c.ratio.max, 0.2, 1e-9));
	cr_assert(epsilon_eq(dbl, c.ratio.median, 0.15, 1e-9));
}

Test(compare, runs_of_different_classes_are_not_compared)
{
	struct comparison c;

	add("tarn", 0, CLASS_NEAR, 100);
	add("peer", 0, CLASS_FAR, 1000);
	cr_assert(not(compare_series(&store.value[0], &store.value[1], CLASS_NEAR, &c)));
	cr_assert(not(compare_series(&store.value[0], &store.value[1], CLASS_FAR, &c)));
}

Test(compare, what_one_cpu_decides_is_compared_with_all)
{
	struct comparison c;

	add("tarn", 0, CLASS_NEAR, 100);
	add("peer", 0, CLASS_ANY, 50);
	cr_assert(compare_series(&store.value[0], &store.value[1], CLASS_NEAR, &c));
	cr_assert(epsilon_eq(dbl, c.ratio.median, 2, 1e-9));
}
