/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations on queues beside a model (T12, T13). */
#include <stdlib.h>

#include "shm/queue.h"
#include "tests/common/property.h"
#include "tests/process/queues.h"

#define MODEL_MOST 3000

struct model {
	tarn_object *q;
	size_t maxsize;
	bool keeps;
	int64_t item[MODEL_MOST]; /* put and not got */
	size_t n;
	uint64_t open[MODEL_MOST];
	size_t n_open;
	int64_t next;
};

/* Now and then with a block, larger values, or both. */
static int model_put(struct model *m, tarn_client *c, uint64_t how)
{
	static const char text[400] = "";
	tarn_builder b;
	tarn_block *block;
	int r;

	tarn_builder_init(&b);
	tarn_put_int(&b, m->next);
	if (how & 1) {
		OK(tarn_block_new(c, 100, 0, &block));
		tarn_put_block(&b, block);
		tarn_block_unref(block);
	}
	if (how & 2)
		tarn_put_bytes(&b, text, how >> 8 & 255);
	r = tarn_queue_put(m->q, &b, 0);
	tarn_builder_fini(&b);
	return r;
}

/* An item that is open for so long that its run has the place of the next one. */
static bool has_old(const struct model *m)
{
	const uint64_t runs = TARN__QUEUE_RUNS / 8, of = 64;

	for (size_t k = 0; k < m->n_open; k++)
		if (m->maxsize != 0 && m->open[k] / of + runs == (uint64_t)m->next / of)
			return true;
	return false;
}

static void model_step(struct model *m, tarn_client *c, uint64_t random)
{
	uint64_t number = 0;
	tarn_parcel p;
	int64_t got;
	int r;

	switch (random % 8) {
	case 0:
	case 1:
	case 2:
		if (m->n == MODEL_MOST)
			break;
		r = model_put(m, c, random >> 8);
		PLAIN_CHECKF(r == (m->maxsize != 0 && m->n == m->maxsize ? -EAGAIN : 0) || (r == -EAGAIN && has_old(m)),
			     "%d", r);
		if (r == 0)
			m->item[m->n++] = m->next++;
		break;
	case 3:
	case 4:
	case 5:
		if (m->n_open == MODEL_MOST)
			break;
		r = tarn_queue_get_item(m->q, &p, &number, 0);
		PLAIN_EQ(r, m->n == 0 ? -EAGAIN : 0);
		if (r < 0)
			break;
		OK(tarn_value_int(tarn_parcel_at(&p, 0), &got));
		PLAIN_EQ(got, m->item[0]);
		tarn_parcel_fini(&p);
		memmove(m->item, m->item + 1, --m->n * sizeof *m->item);
		if (m->keeps)
			m->open[m->n_open++] = number;
		break;
	case 6:
		if (m->n_open == 0)
			break;
		number = (random >> 8) % m->n_open;
		OK(tarn_queue_ack(m->q, m->open[number]));
		FAILS(tarn_queue_ack(m->q, m->open[number]), TARN_ESTATE);
		m->open[number] = m->open[--m->n_open];
		break;
	default:
		PLAIN_EQ(tarn_queue_size(m->q), m->n);
		PLAIN_EQ(tarn_queue_empty(m->q), m->n == 0);
		PLAIN_EQ(tarn_queue_full(m->q), m->maxsize != 0 && m->n == m->maxsize);
		if (m->keeps)
			PLAIN_EQ(tarn_queue_join(m->q, 0), m->n + m->n_open == 0 ? 0 : -EAGAIN);
		break;
	}
}

/* TARN_PROPERTY_STEPS: how many; TARN_PROPERTY_SEED. */
static void random_operations(size_t maxsize, unsigned flags)
{
	struct user u = user_open();
	struct model *m = calloc(1, sizeof *m);
	uint64_t seed = property_seed();

	m->q = queue_new(u.c, maxsize, flags);
	m->maxsize = maxsize;
	m->keeps = flags != 0;
	for (uint64_t i = property_number("TARN_PROPERTY_STEPS", 20000); i > 0; i--) {
		uint64_t random = scene_random(&seed);

		/* Tides: full, and empty, now and then. */
		if ((i / 1000) % 3 == 1 && random % 8 >= 3 && random % 8 < 5)
			random -= random % 8;
		model_step(m, u.c, random);
	}
	tarn_object_unref(m->q);
	free(m);
	user_close(&u);
}
PLAIN_TEST_TIMEOUT(t12_random_operations_on_a_queue_agree_with_a_model, 300) { random_operations(13, 0); }
PLAIN_TEST_TIMEOUT(t12_random_operations_on_an_unbounded_queue_agree_with_a_model, 300)
{
	random_operations(0, 0);
}
PLAIN_TEST_TIMEOUT(t13_random_operations_on_a_joinable_queue_agree_with_a_model, 300)
{
	random_operations(40, TARN_QUEUE_JOINABLE);
}
PLAIN_TEST_TIMEOUT(t13_random_operations_on_an_unbounded_joinable_queue_agree_with_a_model, 300)
{
	random_operations(0, TARN_QUEUE_JOINABLE | TARN_QUEUE_REDELIVER);
}
