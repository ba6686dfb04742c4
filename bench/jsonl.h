/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What --json prints: one object a line, each with its "type", the first one with the schema.
 * docs/bench.md tells all members. Lines come as soon as they are known, so what an
 * interrupted run printed is whole as far as it goes; bench-run reads its programs by it.
 */
#ifndef TARN_BENCH_JSONL_H
#define TARN_BENCH_JSONL_H

#include "store.h"

/* The first line; the others print it before themselves if nobody did. */
void jsonl_head(void);
void jsonl_value(const struct value *v);
void jsonl_curve(const struct curve *c);
void jsonl_discard(const struct discard *d);
void jsonl_skipped(const char *name, const char *why);
void jsonl_end(double others_percent, unsigned failed);

/* Pieces for other lines. A string with its quotes, and the comma-free number: NaN and
 * infinities are null. */
void jsonl_string(const char *key, const char *value);
void jsonl_number(const char *key, double value);
void jsonl_begin(const char *type);
void jsonl_close(void);

/* Reads one line; which one it was. Unknown types and what is no JSON are NONE. */
enum jsonl { JSONL_NONE, JSONL_VALUE, JSONL_CURVE, JSONL_DISCARDED };
union jsonl_line {
	struct value value;
	struct curve curve;
	struct discard discard;
};
enum jsonl jsonl_parse(const char *json, union jsonl_line *ret);

/* "Name of CPU, Linux 6.1", for the heading. */
const char *machine_cpu(void);
const char *machine_system(void);

#endif
