/* SPDX-License-Identifier: Apache-2.0 */
#include "verdict.h"

const char *const class_name[CLASSES] = { "any", "near", "mid", "far", "flip", "busy" };

static enum line_class class_of_line(double ns)
{
	return ns < NEAR_NS ? CLASS_NEAR : ns > FAR_NS ? CLASS_FAR : CLASS_MID;
}

static bool saw_others(const struct line_now *n)
{
	return n->mean > n->ns * BUSY_PROBE;
}

enum line_class verdict_of(const struct surroundings *s)
{
	double less = s->before.ns < s->after.ns ? s->before.ns : s->after.ns;
	double more = s->before.ns < s->after.ns ? s->after.ns : s->before.ns;

	if (s->others_percent > BUSY_PERCENT && s->others_ns > BUSY_LEAST_NS)
		return CLASS_BUSY;
	if (s->local || less <= 0)
		return CLASS_ANY;
	if (saw_others(&s->before) || saw_others(&s->after))
		return CLASS_BUSY;
	if (class_of_line(less) != class_of_line(more) && more > less * SAME_LINE)
		return CLASS_FLIP;
	return class_of_line((less + more) / 2);
}

bool patience_again(struct patience *p, enum line_class c, unsigned most)
{
	if (is_disturbed(c) && p->tries < most && p->repeats < PATIENCE_LEAST + p->kept) {
		p->tries++;
		p->repeats++;
		return true;
	}
	p->tries = 0;
	p->kept++;
	return false;
}
