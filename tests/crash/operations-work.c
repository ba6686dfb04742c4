/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations with worker processes, which are killed with their parent, whatever they are at; and streams.
 * One thread of the victim is stepped, the others run. Nothing here may take longer than it must: the
 * long mode does each some tens of thousands of times.
 */
#include "operations.h"

/* ---- streams ---- */

static void stream_put(struct world *w, int n, tarn_block *b)
{
	tarn_builder item;

	tarn_builder_init(&item);
	if (b != NULL)
		tarn_put(&item, "iB", n, b);
	else
		tarn_put(&item, "i", n);
	OK(tarn_stream_put(w->stream, &item, 0));
	tarn_builder_fini(&item);
}

static void stream_next(struct world *w)
{
	tarn_parcel item;

	OK(tarn_stream_next(w->stream, &item, 0));
	tarn_parcel_fini(&item);
}

void operations_stream(struct world *w)
{
	OK(tarn_stream_new(w->c, NULL, &w->stream));
	OK(tarn_channel_send_object(w->out, tarn_stream_object(w->stream), 0, 0));
	stream_put(w, 1, w->shared);
	stream_put(w, 2, NULL);
}

void operations_stream_put(struct world *w)
{
	stream_put(w, 3, NULL);
	stream_put(w, 4, w->own);
	OK(tarn_stream_end(w->stream));
}

void operations_stream_next(struct world *w)
{
	tarn_parcel none;

	stream_next(w);
	stream_next(w);
	FAILS(tarn_stream_next(w->stream, &none, 0), EAGAIN);
}

void operations_stream_ended(struct world *w)
{
	operations_stream(w);
	stream_next(w);
	stream_next(w);
	OK(tarn_stream_end(w->stream));
}

void operations_stream_renew(struct world *w)
{
	tarn_parcel none;

	FAILS(tarn_stream_next(w->stream, &none, 0), TARN_EOF);
	OK(tarn_stream_renew(w->stream));
	OK(tarn_stream_await_renew(w->stream, 0));
	stream_put(w, 3, w->own);
	w->stream = tarn_stream_close(w->stream);
}

/* ---- worker processes ---- */

TARN_WORKER(worker_of_the_killed)
{
	tarn_block *b;
	int n, r = tarn_worker_get(worker, "iB", &n, &b);

	return r < 0 ? r : tarn_put(tarn_worker_result(worker), "iB", n + 1, b);
}

#define ENTRY "worker_of_the_killed"

static void arguments(const struct world *w, tarn_builder *ret)
{
	tarn_builder_init(ret);
	tarn_put(ret, "iB", 6, w->shared);
}

static void check_result(const struct world *w, const tarn_parcel *result)
{
	tarn_block *b;
	int n;

	OK(tarn_parcel_get(result, "iB", &n, &b));
	PLAIN_CHECK(n == 7 && b == w->shared);
}

void operations_spawn(struct world *w)
{
	tarn_builder args;

	arguments(w, &args);
	OK(tarn_process_spawn(w->c, &(tarn_process_options){ .entry = ENTRY, .args = &args }, &w->p));
	tarn_builder_fini(&args);
}

void operations_join(struct world *w)
{
	const tarn_parcel *result;

	OK(tarn_process_result(w->p, TARN_FOREVER, &result));
	check_result(w, result);
	w->p = tarn_process_unref(w->p);
}

/* ---- pools ---- */

static void apply(const struct world *w)
{
	tarn_builder args;
	tarn_parcel result;

	arguments(w, &args);
	OK(tarn_pool_apply(w->pool, ENTRY, &args, TARN_FOREVER, &result));
	check_result(w, &result);
	tarn_parcel_fini(&result);
	tarn_builder_fini(&args);
}

/* With its worker at work. */
void operations_pool(struct world *w)
{
	OK(tarn_pool_new(w->c, &(tarn_pool_options){ .workers = 1 }, &w->pool));
	apply(w);
}

void operations_pool_submit(struct world *w)
{
	tarn_builder args;
	tarn_pool_result *later;
	const tarn_parcel *result;
	tarn_parcel items, list;

	arguments(w, &args);
	OK(tarn_pool_apply_async(w->pool, ENTRY, &args, &later));
	OK(tarn_pool_result_get(later, TARN_FOREVER, &result));
	check_result(w, result);
	tarn_pool_result_unref(later);
	tarn_builder_reset(&args);
	tarn_put(&args, "[[iB][iB]]", 1, w->shared, 2, w->own);
	OK(tarn_parcel_from(&args, &items));
	tarn_builder_fini(&args);
	OK(tarn_pool_starmap(w->pool, ENTRY, tarn_parcel_at(&items, 0), 1, TARN_FOREVER, &list));
	PLAIN_EQ(tarn_value_count(tarn_parcel_at(&list, 0)), 2);
	tarn_parcel_fini(&items);
	tarn_parcel_fini(&list);
}

void operations_pool_close(struct world *w)
{
	OK(tarn_pool_close(w->pool));
	OK(tarn_pool_join(w->pool, TARN_FOREVER));
	w->pool = tarn_pool_unref(w->pool);
}

void operations_pool_terminate(struct world *w)
{
	tarn_builder args;
	tarn_pool_result *later;

	arguments(w, &args);
	OK(tarn_pool_apply_async(w->pool, ENTRY, &args, &later));
	tarn_builder_fini(&args);
	OK(tarn_pool_terminate(w->pool));
	OK(tarn_pool_result_wait(later, TARN_FOREVER));
	tarn_pool_result_unref(later);
	w->pool = tarn_pool_unref(w->pool);
}

/* The survivor opens it when there is nobody behind it. */
void operations_pool_share(struct world *w)
{
	tarn_object *object;

	OK(tarn_pool_share(w->pool, &object));
	OK(tarn_channel_send_object(w->out, object, 0, 0));
	tarn_object_unref(object);
}

/* The survivor's. */
void operations_pool_open(struct world *w)
{
	tarn_object *object;

	OK(tarn_object_lookup(w->c, OPERATIONS_POOL, TARN_FOREVER, &object));
	OK(tarn_pool_open(object, &w->pool));
	tarn_object_unref(object);
	apply(w);
	w->pool = tarn_pool_unref(w->pool);
}

/* ---- runners ---- */

void operations_runner(struct world *w)
{
	OK(tarn_runner_new(w->c, &(tarn_runner_options){ .call = ENTRY }, &w->runner));
	OK(tarn_runner_start(w->runner));
}

void operations_runner_call(struct world *w)
{
	tarn_builder args;
	tarn_parcel result;

	arguments(w, &args);
	OK(tarn_runner_call(w->runner, &args, TARN_FOREVER, &result));
	tarn_builder_fini(&args);
	check_result(w, &result);
	tarn_parcel_fini(&result);
	OK(tarn_runner_join(w->runner, TARN_FOREVER));
	w->runner = tarn_runner_unref(w->runner);
}
