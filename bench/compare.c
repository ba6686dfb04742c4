/* SPDX-License-Identifier: Apache-2.0 */
#include "compare.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsonl.h"
#include "report.h"
#include "sets.h"
#include "topics.h"

enum role { TARN, LIMIT };

/* Which rows of which program answer a topic; rows are patterns. Peers are not listed: their rows
 * are named after the topic. */
static const struct answer {
	const char *topic;
	enum role role;
	const char *label; /* of a limit */
	const char *bench, *row, *column;
} answers[] = {
#define ALLOC(size)                                                             \
	{ TOPIC_ALLOC size, TARN, NULL, "alloc", size ", fixed", "tarn" },      \
	{ TOPIC_ALLOC size, LIMIT, "mimalloc", "alloc", size ", fixed", "mimalloc" }, \
	{ TOPIC_ALLOC size, LIMIT, "glibc", "alloc", size ", fixed", "glibc" }
	ALLOC("64 B"),
	ALLOC("4 KiB"),
	ALLOC("64 KiB"),
	ALLOC("1 MiB"),
	{ TOPIC_TRIP_SPIN, TARN, NULL, "handover", "64 B, bounce", "p50" },
	{ TOPIC_TRIP_SPIN, LIMIT, "line", "limits", "line round trip*", "p50" },
	{ TOPIC_TRIP_TWO, TARN, NULL, "handover", "64 B, bounce, asleep, two CPUs", "p50" },
	{ TOPIC_TRIP_TWO, LIMIT, "futex", "limits", "futex round trip, two CPUs", "p50" },
	{ TOPIC_TRIP_ONE, TARN, NULL, "handover", "64 B, bounce, asleep, one CPU", "p50" },
	{ TOPIC_TRIP_ONE, LIMIT, "futex", "limits", "futex round trip, one CPU", "p50" },
	{ TOPIC_REST_TWO, TARN, NULL, "handover", "64 B, bounce after a rest, two CPUs", "p50" },
	{ TOPIC_REST_TWO, LIMIT, "futex", "limits", "futex round trip after a rest, two CPUs", "p50" },
	{ TOPIC_REST_ONE, TARN, NULL, "handover", "64 B, bounce after a rest, one CPU", "p50" },
	{ TOPIC_REST_ONE, LIMIT, "futex", "limits", "futex round trip after a rest, one CPU", "p50" },
	{ TOPIC_BYTE, TARN, NULL, "handover", "1 MiB, bounce", "p50" },
	{ TOPIC_BYTE, LIMIT, "line", "limits", "line round trip*", "p50" },
	{ TOPIC_ALL, TARN, NULL, "handover", "1 MiB, bounce, all read", "p50" },
	{ TOPIC_ALL, LIMIT, "memcpy", "limits", "memcpy 1 MiB", "each" },
	{ TOPIC_TOUCH, TARN, NULL, "touch", "1 MiB, fresh", "tarn" },
	{ TOPIC_TOUCH, LIMIT, "private pages", "touch", "1 MiB, fresh", "private" },
	{ TOPIC_CALL_SPIN, TARN, NULL, "call", "a call, inline", "p50" },
	{ TOPIC_CALL_TWO, TARN, NULL, "callwake", "call, asleep, two CPUs", "p50" },
	{ TOPIC_CALL_ONE, TARN, NULL, "callwake", "call, asleep, one CPU", "p50" },
	{ TOPIC_CALL_REST_TWO, TARN, NULL, "callwake", "call after a rest, two CPUs", "p50" },
	{ TOPIC_CALL_REST_ONE, TARN, NULL, "callwake", "call after a rest, one CPU", "p50" },
	{ TOPIC_CREATE, TARN, NULL, "call", "make and drop an object", "tarn" },
	{ TOPIC_CALL_SPIN, LIMIT, "line", "limits", "line round trip*", "p50" },
	{ TOPIC_CALL_TWO, LIMIT, "futex", "limits", "futex round trip, two CPUs", "p50" },
	{ TOPIC_CALL_ONE, LIMIT, "futex", "limits", "futex round trip, one CPU", "p50" },
	{ TOPIC_CALL_REST_TWO, LIMIT, "futex", "limits", "futex round trip after a rest, two CPUs", "p50" },
	{ TOPIC_CALL_REST_ONE, LIMIT, "futex", "limits", "futex round trip after a rest, one CPU", "p50" },
	{ TOPIC_CREATE, LIMIT, "line", "limits", "line round trip*", "p50" },
};
#define ANSWERS (sizeof answers / sizeof *answers)

static bool answers_it(const struct answer *a, const struct value *v)
{
	return strcmp(v->bench, a->bench) == 0 && strcmp(v->column, a->column) == 0 &&
	       fnmatch(a->row, v->row, 0) == 0;
}

static bool first_of_series(size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (same_series(&store.value[k], &store.value[i]))
			return false;
	return true;
}

bool compare_series(const struct value *tarn, const struct value *other, enum line_class class,
		    struct comparison *ret)
{
	double *room = calloc(3 * store.n_values + 1, sizeof *room);
	double *ratio = room, *ours, *theirs;
	size_t n = 0;

	if (room == NULL)
		die("no memory for the comparison");
	ours = ratio + store.n_values;
	theirs = ours + store.n_values;
	for (size_t i = 0; i < store.n_values; i++) {
		const struct value *t = &store.value[i];

		if (!same_series(t, tarn) || t->class != class)
			continue;
		for (size_t k = 0; k < store.n_values; k++) {
			const struct value *o = &store.value[k];

			if (o->round != t->round || !same_series(o, other) || o->value <= 0 ||
			    (o->class != class && o->class != CLASS_ANY && class != CLASS_ANY))
				continue;
			ours[n] = t->value;
			theirs[n] = o->value;
			ratio[n++] = t->value / o->value;
			break;
		}
	}
	*ret = (struct comparison){ .class = class,
				    .n = n,
				    .tarn = median_of(ours, n),
				    .other = median_of(theirs, n),
				    .ratio = spread_of(ratio, n) };
	free(room);
	return n > 0;
}

/* ---- printing ---- */

static bool heading_printed;

static void print_one(const char *topic, const char *label, const char *kind,
		      const struct comparison *c, const char *unit)
{
	char range[64], words[48];
	double r = c->ratio.median;

	if (bench.json) {
		jsonl_begin("comparison");
		jsonl_string("topic", topic);
		jsonl_string("with", label);
		jsonl_string("kind", kind);
		jsonl_string("class", class_name[c->class]);
		jsonl_string("unit", unit);
		jsonl_number("n", (double)c->n);
		jsonl_number("tarn", c->tarn);
		jsonl_number("other", c->other);
		jsonl_number("ratio", r);
		jsonl_number("ratio_min", c->ratio.min);
		jsonl_number("ratio_max", c->ratio.max);
		jsonl_close();
		return;
	}
	if (!heading_printed)
		printf("\n%-42s %-16s %9s %9s %-4s %-22s %-22s %-4s %3s\n", "Tarn beside", "", "tarn",
		       "other", "unit", "tarn / other", "", "line", "n");
	heading_printed = true;
	snprintf(range, sizeof range, "%s [%s..%s]", report_number(r), report_number(c->ratio.min),
		 report_number(c->ratio.max));
	if (r > 0 && r < 1)
		snprintf(words, sizeof words, "%s x faster", report_number(1 / r));
	else
		snprintf(words, sizeof words, "%s x as long", report_number(r));
	printf("%-42s %-16s %9s %9s %-4s %-22s %-22s %-4s %3zu\n", topic, label,
	       report_number(c->tarn), report_number(c->other), unit, range, words,
	       class_name[c->class], c->n);
}

static void compare_with(const char *topic, const struct value *tarn, const struct value *other,
			 const char *label, const char *kind)
{
	struct comparison c;

	for (unsigned class = CLASS_ANY; class < CLASSES; class++)
		if (compare_series(tarn, other, (enum line_class)class, &c))
			print_one(topic, label, kind, &c, tarn->unit);
}

/* All that stands beside Tarn's series @tarn: limits first, then peers. */
static void compare_topic(const char *topic, const struct value *tarn)
{
	for (unsigned a = 0; a < ANSWERS; a++) {
		if (answers[a].role != LIMIT || strcmp(answers[a].topic, topic) != 0)
			continue;
		for (size_t i = 0; i < store.n_values; i++)
			if (answers_it(&answers[a], &store.value[i]) && first_of_series(i))
				compare_with(topic, tarn, &store.value[i], answers[a].label, "limit");
	}
	for (size_t i = 0; i < store.n_values; i++) {
		const struct value *v = &store.value[i];

		if (!program_is_peer(v->bench) || strcmp(v->row, topic) != 0 || !first_of_series(i))
			continue;
		if (strcmp(v->column, "p50") == 0 || strcmp(v->column, "each") == 0)
			compare_with(topic, tarn, v, v->bench, "peer");
	}
}

void compare_print(void)
{
	for (unsigned a = 0; a < ANSWERS; a++) {
		if (answers[a].role != TARN)
			continue;
		for (size_t i = 0; i < store.n_values; i++)
			if (answers_it(&answers[a], &store.value[i]) && first_of_series(i))
				compare_topic(answers[a].topic, &store.value[i]);
	}
}
