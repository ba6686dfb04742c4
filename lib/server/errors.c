/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What methods threw: each distinct error once, with how often and when. For people, so it lives
 * in the process's memory and forgets the one that was not seen for the longest time.
 */
#include "errors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/value/value.h"
#include "shm/hash.h"

static uint64_t realtime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Domain, message and place of the error in an outcome; a sentence is one, too. */
static void read_outcome(const struct outcome *o, struct error_row *ret)
{
	tarn_fault *fault = NULL;
	const char *text;
	tarn_parcel p;
	tarn_frame at;

	if ((o->flags & TARN__CALL_SPILLED) ||
	    tarn__parcel_lend(&p, o->words, o->n_words, o->n_values, NULL, 0, false) < 0)
		return;
	tarn_value v = tarn_parcel_at(&p, 0);
	if (tarn_value_string(v, &text, NULL) == 0) {
		snprintf(ret->message, sizeof ret->message, "%s", text);
	} else if (tarn_value_error(v, &fault) == 0) {
		size_t n = tarn_fault_frame_count(fault);

		snprintf(ret->domain, sizeof ret->domain, "%s", tarn_fault_domain(fault));
		snprintf(ret->message, sizeof ret->message, "%s", tarn_fault_message(fault));
		if (n != 0 && tarn_fault_frame_at(fault, n - 1, &at) && at.file != NULL)
			snprintf(ret->place, sizeof ret->place, "%s:%u", at.file, at.line);
		tarn_fault_unref(fault);
	}
}

void tarn__error_note(struct server *s, const struct outcome *o)
{
	struct error_row row = { .code = o->error, .count = 1 };
	struct errors *e = s->errors;

	if (o->error == ECANCELED)
		return; /* nobody's mistake */
	if (e == NULL)
		e = s->errors = calloc(1, sizeof *e);
	if (e == NULL)
		return;
	read_outcome(o, &row);
	if (row.domain[0] == '\0')
		snprintf(row.domain, sizeof row.domain, "%s", tarn_error_name(o->error));
	row.hash = tarn__hash64(row.domain, sizeof row.domain, (uint64_t)o->error) ^
		   tarn__hash64(row.message, sizeof row.message, 1) ^
		   tarn__hash64(row.place, sizeof row.place, 2);
	row.first_ns = row.last_ns = realtime();
	e->total++;

	unsigned oldest = 0;
	for (unsigned i = 0; i < e->n; i++) {
		if (e->row[i].hash == row.hash) {
			e->row[i].count++;
			e->row[i].last_ns = row.last_ns;
			return;
		}
		if (e->row[i].last_ns < e->row[oldest].last_ns)
			oldest = i;
	}
	e->row[e->n < ERRORS_KEPT ? e->n++ : oldest] = row;
}
