/* SPDX-License-Identifier: Apache-2.0 */
/* tarn doctor: whether this machine has what Tarn likes, and what to change where not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "doctor.h"

static struct value check(const void *row)
{
	return (struct value){ .kind = VALUE_TEXT, .text = ((const struct finding *)row)->check };
}

static const char *const verdicts[] = { [DOCTOR_OK] = "ok", [DOCTOR_WARN] = "warn", [DOCTOR_BAD] = "bad" };

static struct value verdict(const void *row)
{
	return (struct value){ .kind = VALUE_TEXT, .text = verdicts[((const struct finding *)row)->verdict] };
}

static struct value found(const void *row)
{
	return (struct value){ .kind = VALUE_TEXT, .text = ((const struct finding *)row)->found };
}

static struct value advice(const void *row)
{
	const char *text = ((const struct finding *)row)->advice;

	return (struct value){ .kind = text[0] != '\0' ? VALUE_TEXT : VALUE_NONE, .text = text };
}

static enum tint verdict_tint(const void *row)
{
	static const enum tint tints[] = { [DOCTOR_OK] = TINT_GOOD, [DOCTOR_WARN] = TINT_WARN,
					   [DOCTOR_BAD] = TINT_BAD };

	return tints[((const struct finding *)row)->verdict];
}

static const struct column columns[] = {
	{ "CHECK", "check", .kind = VALUE_TEXT, .of = check },
	{ "STATE", "state", .kind = VALUE_TEXT, .of = verdict, .tint = verdict_tint },
	{ "FOUND", "found", .kind = VALUE_TEXT, .of = found },
	{ "CHANGE", "change", .kind = VALUE_TEXT, .of = advice },
};

static int run(struct context *c)
{
	struct finding rows[DOCTOR_MOST];
	unsigned n = doctor_examine(rows), bad = 0;

	for (unsigned i = 0; i < n; i++)
		bad += rows[i].verdict == DOCTOR_BAD;
	context_print(c, NULL, "tarn.doctor/1", "checks", rows, sizeof *rows, n);
	return bad != 0 ? CLI_NO : CLI_OK;
}

const struct command command_doctor = {
	.name = "doctor",
	.arguments = "",
	.summary = "what this machine allows, and what to change",
	.takes = TAKES_TABLE | TAKES_WATCH,
	.columns = columns,
	.n_columns = sizeof columns / sizeof *columns,
	.run = run,
};
