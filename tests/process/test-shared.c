/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in shared memory: values and arrays (T3, T4, Q7). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/types.h"

struct user {
	struct scene s;
	tarn_client *c;
};
static struct user user_open(void)
{
	struct user u = { .s = scene_open(NULL) };

	u.c = scene_client(&u.s);
	return u;
}
static void user_close(struct user *u)
{
	tarn_client_close(u->c);
	scene_close(&u->s);
}

static const struct kind {
	char code;
	int64_t low, high;
} kinds[] = {
	{ '?', 0, 1 }, { 'b', INT8_MIN, INT8_MAX }, { 'B', 0, UINT8_MAX }, { 'c', 0, UINT8_MAX },
	{ 'h', INT16_MIN, INT16_MAX }, { 'H', 0, UINT16_MAX }, { 'i', INT32_MIN, INT32_MAX },
	{ 'I', 0, UINT32_MAX }, { 'l', INT64_MIN, INT64_MAX }, { 'q', INT64_MIN, INT64_MAX },
	{ 'L', INT64_MIN, INT64_MAX }, { 'Q', INT64_MIN, INT64_MAX },
};
#define KINDS (sizeof kinds / sizeof *kinds)

PLAIN_TEST(t3_values_of_all_kinds_hold_what_fits_and_refuse_the_rest)
{
	struct user u = user_open();
	tarn_object *v;

	for (size_t k = 0; k < KINDS; k++) {
		const struct kind *kind = &kinds[k];
		int64_t got;
		double d;

		OK(tarn_shared_new(u.c, kind->code, &v));
		PLAIN_EQ(tarn_shared_typecode(v), kind->code);
		OK(tarn_shared_get(v, &got));
		PLAIN_EQ(got, 0);
		OK(tarn_shared_set(v, kind->low));
		OK(tarn_shared_get(v, &got));
		PLAIN_EQ(got, kind->low);
		OK(tarn_shared_set(v, kind->high));
		OK(tarn_shared_get(v, &got));
		PLAIN_EQ(got, kind->high);
		OK(tarn_shared_get_double(v, &d));
		PLAIN_CHECK(d == (double)kind->high);
		FAILS(tarn_shared_set_double(v, 1), TARN_EKIND);
		if (kind->high != INT64_MAX) {
			FAILS(tarn_shared_set(v, kind->high + 1), ERANGE);
			FAILS(tarn_shared_set(v, kind->low - 1), ERANGE);
			FAILS(tarn_shared_add(v, 1, NULL), ERANGE);
			OK(tarn_shared_get(v, &got));
			PLAIN_EQ(got, kind->high);
		}
		PLAIN_EQ(tarn_shared_cas(v, kind->low, 1, &got), 0);
		PLAIN_EQ(got, kind->high);
		PLAIN_EQ(tarn_shared_cas(v, kind->high, kind->low, NULL), 1);
		OK(tarn_shared_get(v, &got));
		PLAIN_EQ(got, kind->low);
		tarn_object_unref(v);
	}
	for (const char *code = "fd"; *code != '\0'; code++) {
		int64_t got;
		double d;

		OK(tarn_shared_new(u.c, *code, &v));
		OK(tarn_shared_set_double(v, 1.5));
		OK(tarn_shared_add_double(v, 0.25, &d));
		PLAIN_CHECK(d == 1.75);
		OK(tarn_shared_get_double(v, &d));
		PLAIN_CHECK(d == 1.75);
		FAILS(tarn_shared_get(v, &got), TARN_EKIND);
		FAILS(tarn_shared_set(v, 1), TARN_EKIND);
		FAILS(tarn_shared_add(v, 1, NULL), TARN_EKIND);
		tarn_object_unref(v);
	}
	FAILS(tarn_shared_new(u.c, 'x', &v), TARN_EREMOTE);
	user_close(&u);
}

PLAIN_TEST_TIMEOUT(t3_four_processes_add_and_no_update_is_lost, 120)
{
	enum { EACH = 100000 };
	struct user u = user_open();
	tarn_object *n, *d;
	int64_t got;
	double real;
	pid_t pid[4];

	OK(tarn_shared_new(u.c, 'i', &n));
	OK(tarn_shared_new(u.c, 'd', &d));
	OK(tarn_object_publish(n, "n", 0));
	OK(tarn_object_publish(d, "d", 0));
	for (int i = 0; i < 4; i++) {
		pid[i] = plain_fork();
		if (pid[i] != 0)
			continue;
		tarn_client *c = scene_client(&u.s);
		tarn_object *a, *b;

		OK(tarn_object_lookup(c, "n", TARN_FOREVER, &a));
		OK(tarn_object_lookup(c, "d", TARN_FOREVER, &b));
		for (int k = 0; k < EACH; k++) {
			OK(tarn_shared_add(a, 1, NULL));
			OK(tarn_shared_add_double(b, 0.5, NULL));
			for (;;) { /* and once more by hand */
				int64_t seen;

				OK(tarn_shared_get(a, &seen));
				if (tarn_shared_cas(a, seen, seen + 1, NULL) == 1)
					break;
			}
		}
		tarn_object_unref(a);
		tarn_object_unref(b);
		tarn_client_close(c);
		_exit(0);
	}
	for (int i = 0; i < 4; i++)
		PLAIN_EQ(plain_reap(pid[i]), 0);
	OK(tarn_shared_get(n, &got));
	OK(tarn_shared_get_double(d, &real));
	PLAIN_EQ(got, 8 * EACH);
	PLAIN_CHECK(real == 2.0 * EACH);
	OK(tarn_object_unpublish(u.c, "n"));
	OK(tarn_object_unpublish(u.c, "d"));
	tarn_object_unref(n);
	tarn_object_unref(d);
	user_close(&u);
}

PLAIN_TEST(t4_the_pointer_and_the_elements_are_the_same_memory)
{
	struct user u = user_open();
	tarn_object *a, *same;
	int32_t *p;
	int64_t got;
	void *data;
	size_t n;

	OK(tarn_array_new(u.c, 'i', 1000, &a));
	OK(tarn_array_len(a, &n));
	PLAIN_EQ(n, 1000);
	PLAIN_EQ(tarn_array_typecode(a), 'i');
	OK(tarn_array_data(a, &data));
	p = data;
	for (int i = 0; i < 1000; i++) {
		PLAIN_EQ(p[i], 0);
		p[i] = i * i;
		OK(tarn_array_get(a, i, &got));
		PLAIN_EQ(got, i * i);
		OK(tarn_array_set(a, i, -i));
		PLAIN_EQ(p[i], -i);
	}
	OK(tarn_array_get(a, -1, &got));
	PLAIN_EQ(got, -999);
	FAILS(tarn_array_get(a, 1000, &got), ERANGE);
	FAILS(tarn_array_get(a, -1001, &got), ERANGE);
	FAILS(tarn_array_get(a, INT64_MIN, &got), ERANGE);
	FAILS(tarn_array_set(a, 0, INT64_C(1) << 40), ERANGE);
	OK(tarn_array_add(a, 0, 41, &got));
	PLAIN_EQ(got, 41);
	/* Another client: what it maps elsewhere is the same. */
	OK(tarn_object_publish(a, "a", 0));
	tarn_client *other = scene_client(&u.s);
	OK(tarn_object_lookup(other, "a", 0, &same));
	OK(tarn_array_get(same, 0, &got));
	PLAIN_EQ(got, 41);
	OK(tarn_array_set(same, 5, 55));
	PLAIN_EQ(p[5], 55);
	/* The block by itself. */
	tarn_parcel parcel;
	tarn_block *block;
	OK(tarn_call(a, "block", NULL, &parcel, TARN_FOREVER));
	OK(tarn_parcel_get(&parcel, "B", &block));
	PLAIN_EQ(((const int32_t *)tarn_block_data(block))[5], 55);
	tarn_parcel_fini(&parcel);
	tarn_object_unref(same);
	tarn_client_close(other);
	OK(tarn_object_unpublish(u.c, "a"));
	tarn_object_unref(a);
	FAILS(tarn_array_new(u.c, 'x', 1, &a), EINVAL);
	OK(tarn_array_new(u.c, 'd', 0, &a));
	OK(tarn_array_len(a, &n));
	PLAIN_EQ(n, 0);
	FAILS(tarn_array_get(a, 0, &got), ERANGE);
	tarn_object_unref(a);
	user_close(&u);
}

/* Python's slice.indices, from its documentation, element by element. */
static size_t model(int64_t n, int64_t start, int64_t stop, int64_t step, int64_t *ret)
{
	int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
	size_t k = 0;

	if (start < 0)
		start = start + n < low ? low : start + n;
	else if (start > high)
		start = high;
	if (stop < 0)
		stop = stop + n < low ? low : stop + n;
	else if (stop > high)
		stop = high;
	for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step)
		ret[k++] = i;
	return k;
}

PLAIN_TEST(t4_slices_are_those_of_python)
{
	enum { N = 7 };
	struct user u = user_open();
	tarn_object *a;
	int16_t got[N];
	int64_t want[4 * N];
	size_t n;

	OK(tarn_array_new(u.c, 'h', N, &a));
	for (int i = 0; i < N; i++)
		OK(tarn_array_set(a, i, 100 + i));
	for (int64_t start = -9; start <= 9; start++)
		for (int64_t stop = -9; stop <= 9; stop++)
			for (int64_t step = -4; step <= 4; step++) {
				if (step == 0)
					continue;
				size_t k = model(N, start, stop, step, want);

				OK(tarn_array_read(a, start, stop, step, got, N, &n));
				PLAIN_EQ(n, k);
				for (size_t i = 0; i < k; i++)
					PLAIN_EQ(got[i], 100 + want[i]);
				OK(tarn_array_write(a, start, stop, step, got, k));
				FAILS(tarn_array_write(a, start, stop, step, got, k + 1), EINVAL);
			}
	OK(tarn_array_read(a, 0, TARN_SLICE_END, 1, got, N, &n));
	for (int i = 0; i < N; i++)
		PLAIN_EQ(got[i], 100 + i);
	OK(tarn_array_read(a, TARN_SLICE_END, INT64_MIN, -1, got, N, &n));
	for (int i = 0; i < N; i++)
		PLAIN_EQ(got[i], 106 - i);
	OK(tarn_array_read(a, INT64_MIN, INT64_MAX, INT64_MAX, got, N, &n));
	PLAIN_EQ(n, 1);
	OK(tarn_array_read(a, INT64_MAX, INT64_MIN, INT64_MIN, got, N, &n));
	PLAIN_EQ(n, 1);
	FAILS(tarn_array_read(a, 0, N, 1, got, N - 1, &n), EINVAL);
	FAILS(tarn_array_read(a, 0, N, 0, got, N, &n), EINVAL);
	for (int i = 0; i < 3; i++)
		got[i] = (int16_t)i;
	OK(tarn_array_write(a, 1, 6, 2, got, 3));
	int64_t v;
	OK(tarn_array_get(a, 3, &v));
	PLAIN_EQ(v, 1);
	tarn_object_unref(a);
	user_close(&u);
}

PLAIN_MAIN()
