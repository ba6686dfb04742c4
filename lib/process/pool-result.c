/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/value/fault.h"
#include "pool.h"
#include "shm/wake.h"

tarn_pool_result *tarn__pool_result_new(size_t n_parts, enum tarn__task_mode mode)
{
	tarn_pool_result *r = calloc(1, sizeof *r + n_parts * sizeof r->part[0]);
	pthread_condattr_t monotonic;

	if (r != NULL)
		r->order = calloc(n_parts + 1, sizeof *r->order);
	if (r == NULL || r->order == NULL) {
		free(r);
		tarn__fail(-ENOMEM, "No memory for the result of %zu tasks.", n_parts);
		return NULL;
	}
	r->refs = 1;
	r->owner = getpid();
	r->mode = mode;
	r->n_parts = n_parts;
	pthread_mutex_init(&r->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&r->told, &monotonic);
	pthread_condattr_destroy(&monotonic);
	tarn_parcel_init(&r->values);
	for (size_t i = 0; i < n_parts; i++)
		tarn_parcel_init(&r->part[i].answer);
	return r;
}

tarn_pool_result *tarn_pool_result_ref(tarn_pool_result *result)
{
	/* Relaxed: the caller has one. */
	__atomic_add_fetch(&result->refs, 1, __ATOMIC_RELAXED);
	return result;
}

tarn_pool_result *tarn_pool_result_unref(tarn_pool_result *result)
{
	/* SYNC result-refs: what others did with it is over before it is freed. */
	if (result == NULL || __atomic_sub_fetch(&result->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return NULL;
	for (size_t i = 0; i < result->n_parts; i++) {
		tarn_parcel_fini(&result->part[i].answer);
		tarn_fault_unref(result->part[i].fault);
	}
	tarn_parcel_fini(&result->values);
	tarn_fault_unref(result->fault);
	pthread_mutex_destroy(&result->mutex);
	pthread_cond_destroy(&result->told);
	free(result->order);
	free(result);
	return NULL;
}

void tarn__pool_result_part(tarn_pool_result *r, size_t part, tarn_fault *fault)
{
	pthread_mutex_lock(&r->mutex);
	r->part[part].fault = fault;
	r->part[part].done = true;
	r->order[r->n_done++] = part;
	pthread_cond_broadcast(&r->told);
	pthread_mutex_unlock(&r->mutex);
}

void tarn__pool_result_lock(tarn_pool_result *r)
{
	if (r->owner == getpid())
		pthread_mutex_lock(&r->mutex);
}

void tarn__pool_result_unlock(tarn_pool_result *r)
{
	if (r->owner == getpid())
		pthread_mutex_unlock(&r->mutex);
}

int tarn__pool_result_fail(const tarn_pool_result *r, int64_t timeout_ns, const char *what)
{
	if (r->owner != getpid())
		return tarn__fail(-TARN_EFORKED, "%s, nor will it be here: it is a result of the process that this "
				  "one was forked from.", what);
	return tarn__fail(tarn__late(timeout_ns), "%s.", what);
}

bool tarn__pool_result_await(tarn_pool_result *r, bool (*enough)(const tarn_pool_result *r, size_t n),
			     size_t n, int64_t timeout_ns)
{
	const uint64_t deadline = tarn__deadline(timeout_ns);
	const struct timespec at = { .tv_sec = (time_t)(deadline / 1000000000u),
				     .tv_nsec = (long)(deadline % 1000000000u) };

	while (!enough(r, n)) {
		if (r->owner != getpid())
			return false;
		if (deadline == UINT64_MAX)
			pthread_cond_wait(&r->told, &r->mutex);
		else if (pthread_cond_timedwait(&r->told, &r->mutex, &at) != 0)
			return enough(r, n);
	}
	return true;
}

static bool all_done(const tarn_pool_result *r, size_t n)
{
	(void)n;
	return r->n_done == r->n_parts;
}

/* ---- what came of it ---- */

/* What one call returned, as one value. */
static int put_as_one(tarn_builder *list, tarn_value answer)
{
	const size_t n = tarn_value_count(answer);
	tarn_builder none;
	bool ok;
	int r = tarn_value_bool(tarn_value_at(answer, 0), &ok);

	if (r < 0)
		return r;
	if (!ok) {
		tarn_builder_init(&none);
		r = tarn__answer_results_of(answer, &none);
		tarn_builder_fini(&none);
		return r;
	}
	if (n == 1)
		return tarn_put_nil(list);
	if (n == 2)
		return tarn_put_value(list, tarn_value_at(answer, 1));
	tarn_list_begin(list);
	r = tarn__answer_results_of(answer, list);
	return r < 0 ? r : tarn_list_end(list);
}

static int build_list(const tarn_pool_result *r, tarn_builder *b)
{
	int code = tarn_list_begin(b);

	for (size_t i = 0; i < r->n_parts && code == 0; i++) {
		const struct tarn__part *p = &r->part[i];
		const tarn_value answers = tarn_parcel_at(&p->answer, 0);

		if (p->fault != NULL)
			return tarn__fail_fault(tarn_fault_ref(p->fault));
		/* The answer itself can be a failure, if the list was too large to be told. */
		if (tarn_value_kind(answers) == TARN_KIND_BOOL)
			return tarn__answer_results(&p->answer, b);
		for (size_t k = 0; k < tarn_value_count(answers) && code == 0; k++)
			code = put_as_one(b, tarn_value_at(answers, k));
	}
	return code < 0 ? code : tarn_list_end(b);
}

/* Locked; all parts are done. */
static void build(tarn_pool_result *r)
{
	tarn_builder b;
	int code;

	tarn_builder_init(&b);
	if (r->mode != TARN__TASK_ONE)
		code = build_list(r, &b);
	else if (r->part[0].fault != NULL)
		code = tarn__fail_fault(tarn_fault_ref(r->part[0].fault));
	else
		code = tarn__answer_results(&r->part[0].answer, &b);
	if (code == 0)
		code = tarn_parcel_from(&b, &r->values);
	if (code < 0)
		r->fault = tarn_fault_from_last();
	tarn_builder_fini(&b);
	r->built = true;
}

/* Locked. */
static bool await_built(tarn_pool_result *r, int64_t timeout_ns)
{
	if (!tarn__pool_result_await(r, all_done, 0, timeout_ns))
		return false;
	if (!r->built)
		build(r);
	return true;
}

static int fail_not_ready(const tarn_pool_result *r, int64_t timeout_ns)
{
	return tarn__pool_result_fail(r, timeout_ns, "The result is not ready yet");
}

bool tarn_pool_result_ready(const tarn_pool_result *result)
{
	tarn_pool_result *r = (tarn_pool_result *)(uintptr_t)result;

	tarn__pool_result_lock(r);
	const bool ready = all_done(r, 0);
	tarn__pool_result_unlock(r);
	return ready;
}

int tarn_pool_result_wait(tarn_pool_result *result, int64_t timeout_ns)
{
	tarn__pool_result_lock(result);
	const bool ready = tarn__pool_result_await(result, all_done, 0, timeout_ns);
	tarn__pool_result_unlock(result);
	return ready ? 0 : fail_not_ready(result, timeout_ns);
}

int tarn_pool_result_successful(const tarn_pool_result *result)
{
	tarn_pool_result *r = (tarn_pool_result *)(uintptr_t)result;

	tarn__pool_result_lock(r);
	const bool ready = await_built(r, 0), failed = ready && r->fault != NULL;
	tarn__pool_result_unlock(r);
	if (!ready)
		return tarn__fail(-TARN_ESTATE, "The result is not ready yet: nobody knows whether it "
				  "succeeds.");
	return failed ? 0 : 1;
}

int tarn_pool_result_get(tarn_pool_result *result, int64_t timeout_ns, const tarn_parcel **ret_values)
{
	tarn__pool_result_lock(result);
	const bool ready = await_built(result, timeout_ns);
	tarn__pool_result_unlock(result);
	if (!ready)
		return fail_not_ready(result, timeout_ns);
	if (result->fault != NULL)
		return tarn__fail_fault(tarn_fault_ref(result->fault));
	*ret_values = &result->values;
	return 0;
}
