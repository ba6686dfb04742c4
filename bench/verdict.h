/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a run fit to be compared? Judged from what was seen around it, by rules without a clock
 * or a CPU in them, so that they can be tested.
 *
 * A run is of the class of its lines: near, mid or far. It is disturbed if the line changed its class
 * between the probe before and the one after (flip), or if other programs ran meanwhile
 * (busy). A disturbed run is thrown away and measured again, at most bench.repeats times, and all runs
 * of a program together at most twice as often as is needed: where the machine is always
 * disturbed, repeating does not help. What is still disturbed then is kept and told apart.
 */
#ifndef TARN_BENCH_VERDICT_H
#define TARN_BENCH_VERDICT_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NEAR_NS 200.0
#define FAR_NS 350.0
/* A line that drifts over a border by less than this did not change its class. */
#define SAME_LINE 1.25
/* Mean of the line's blocks to their median: more, and others ran during the probe. */
#define BUSY_PROBE 1.5
/* What others may use meanwhile, in % of all CPUs, and the least that is surely seen (the
 * system counts in steps of 10 ms). */
#define BUSY_PERCENT 10.0
#define BUSY_LEAST_NS 40e6

/* ANY: one CPU alone decides, the line does not matter. */
enum line_class { CLASS_ANY, CLASS_NEAR, CLASS_MID, CLASS_FAR, CLASS_FLIP, CLASS_BUSY, CLASSES };
extern const char *const class_name[CLASSES];

/* A probe of the line. 0 ns: there is none, for want of a second CPU. */
struct line_now {
	double ns, mean;
};

struct surroundings {
	struct line_now before, after;
	double others_ns, others_percent; /* CPU used by other programs meanwhile */
	bool local;
};
enum line_class verdict_of(const struct surroundings *s);

static inline bool is_disturbed(enum line_class c)
{
	return c == CLASS_FLIP || c == CLASS_BUSY;
}

/* How often runs have been repeated; zeroed to start with. */
struct patience {
	unsigned tries;   /* of the run under way that were thrown away */
	unsigned kept;    /* runs */
	unsigned repeats; /* of all runs */
};
#define PATIENCE_LEAST 4u
/* A run ended as @c: true if it must be measured again. @most: bench.repeats. */
bool patience_again(struct patience *p, enum line_class c, unsigned most);

#ifdef __cplusplus
}
#endif
#endif
