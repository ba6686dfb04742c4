/* SPDX-License-Identifier: Apache-2.0 */
/* Calling a function for a worker, and what it sees of it. */
#include "worker.h"

#include <stdarg.h>

#include "lib/error.h"

void tarn__worker_init(struct tarn_worker *w, tarn_client *client, const char *name,
		       const tarn_parcel *args)
{
	*w = (struct tarn_worker){ .client = client, .name = name, .args = args };
	w->data = &w->own_data;
	tarn_builder_init(&w->result);
}

void tarn__worker_fini(struct tarn_worker *w)
{
	tarn_builder_fini(&w->result);
	w->fault = tarn_fault_unref(w->fault);
}

TARN__CALLS_METHODS int tarn__worker_call(struct tarn_worker *w, tarn_worker_fn *fn)
{
	int r = fn(w);

	TARN__NO_TAIL_CALL();
	if (r >= 0) {
		r = tarn_builder_error(&w->result);
		w->fault = tarn_fault_unref(w->fault); /* thrown, and thought better of */
	}
	if (r >= 0)
		return 0;
	if (w->fault == NULL && tarn_error_last()->code != r)
		tarn__fail(r, "%s: %s", tarn_error_name(r), tarn_error_text(r));
	if (w->fault == NULL)
		w->fault = tarn_fault_from_last();
	return -TARN_EREMOTE;
}

tarn_client *tarn_worker_client(tarn_worker *worker)
{
	return worker->client;
}

const char *tarn_worker_name(const tarn_worker *worker)
{
	return worker->name;
}

const tarn_parcel *tarn_worker_args(const tarn_worker *worker)
{
	return worker->args;
}

int tarn_worker_get(tarn_worker *worker, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int r = tarn__parcel_get_v(worker->args, format, args);
	va_end(args);
	return r;
}

tarn_builder *tarn_worker_result(tarn_worker *worker)
{
	return &worker->result;
}

tarn_fault **tarn_worker_fault(tarn_worker *worker)
{
	return &worker->fault;
}

void **tarn_worker_data(tarn_worker *worker)
{
	return worker->data;
}
