/* SPDX-License-Identifier: Apache-2.0 */
#include "exercise.h"

#include <stdlib.h>
#include <string.h>

#include "lib/value/fault.h"

#define READS_MAX 20000u /* a walk of ours through lists that repeat has no other end */

static unsigned n_reads;
static volatile unsigned char sink;

static void look_at(const void *data, size_t bytes)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < bytes; i++)
		sink = (unsigned char)(sink ^ p[i]);
}

static void meddle(const struct exercise *e)
{
	if (e->meddle != NULL)
		e->meddle(e->user);
}

static void read_text(const struct exercise *e, tarn_value v)
{
	const char *s;
	size_t n;

	if (tarn_value_string(v, &s, &n) == 0) {
		meddle(e);
		look_at(s, n + 1);
		if (s[n] != '\0')
			abort();
	}
	meddle(e);
	if (tarn_value_string(v, &s, NULL) == 0)
		look_at(s, strlen(s));
}

static void read_fault(tarn_value v)
{
	static char text[4096];
	tarn_fault *f;

	if (tarn_value_error(v, &f) < 0)
		return;
	look_at(text, (size_t)(tarn_fault_format(f, text, sizeof text) > 0));
	tarn_fault_is(f, "ValueError");
	tarn_fault_unref(f);
}

/* By our own recursion, as a careless user does. */
static void read_value(const struct exercise *e, tarn_value v)
{
	bool flag;
	int64_t i;
	uint64_t u;
	double d;
	const void *data;
	size_t n;
	tarn_block *block;
	tarn_object *object;
	tarn_channel *channel;

	if (n_reads++ > READS_MAX)
		return;
	meddle(e);
	look_at(tarn_kind_name(tarn_value_kind(v)), 1);
	tarn_value_bool(v, &flag);
	tarn_value_int(v, &i);
	tarn_value_uint(v, &u);
	tarn_value_double(v, &d);
	read_text(e, v);
	meddle(e);
	if (tarn_value_bytes(v, &data, &n) == 0)
		look_at(data, n);
	tarn_value_block(v, &block);
	tarn_value_object(v, &object);
	tarn_value_channel(v, &channel);
	read_fault(v);
	meddle(e);
	tarn_value_get(v, "a");
	tarn_value_get(v, "a key that is long");
	tarn_value_get_int(v, 5);
	for (size_t k = 0; k < tarn_value_count(v) && n_reads < READS_MAX; k++) {
		read_value(e, tarn_value_key_at(v, k));
		meddle(e);
		read_value(e, tarn_value_at(v, k));
	}
	tarn_value_at(v, SIZE_MAX);
	tarn_value_at(v, tarn_value_count(v));
	tarn_value_key_at(v, SIZE_MAX / 2);
}

/* What the library walks itself. */
static void read_whole(const struct exercise *e, const tarn_parcel *p)
{
	static char text[4096];
	tarn_builder b;
	tarn_parcel again;
	const char *s;
	int i;
	double d;

	if (tarn_parcel_format(p, text, sizeof text) >= 0)
		look_at(text, strlen(text));
	meddle(e);
	for (unsigned k = 0; k < tarn_parcel_count(p); k++) {
		tarn_value_equal(tarn_parcel_at(p, k), tarn_parcel_at(p, 0));
		tarn_builder_init(&b);
		meddle(e);
		if (tarn_put_value(&b, tarn_parcel_at(p, k)) == 0 && tarn_parcel_from(&b, &again) == 0) {
			if (tarn_parcel_check(&again) < 0)
				abort(); /* what was copied is whole, whatever it was copied from */
			if (tarn_parcel_format(&again, text, sizeof text) < 0)
				abort();
			tarn_parcel_fini(&again);
		}
		tarn_builder_fini(&b);
	}
	meddle(e);
	tarn_parcel_get(p, "s[i]{s:d}|v", &s, &i, "a", &d, &(tarn_value){ .head = 0 });
	tarn__signature_match("i[v*]{s:[[i*]*]}|v*", p);
	tarn__signature_match("[[[[]*]*]*]*", p);
}

int exercise(const struct exercise *e)
{
	tarn_parcel p;
	int r = tarn__parcel_lend(&p, e->words, e->n_words, e->n_values, e->refs, e->n_refs,
				  e->shared);

	if (r < 0)
		return r;
	n_reads = 0;
	meddle(e);
	r = tarn_parcel_check(&p);
	for (unsigned k = 0; k <= tarn_parcel_count(&p); k++)
		read_value(e, tarn_parcel_at(&p, k));
	read_whole(e, &p);
	tarn_parcel_fini(&p);
	return r;
}
