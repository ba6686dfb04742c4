/* SPDX-License-Identifier: Apache-2.0 */
#include "station.h"

#include <string.h>

#include "lib/entry.h"
#include "lib/value/fault.h"
#include "process.h"
#include "shm/wake.h"
#include "worker.h"

#define LOOK_NS 20000000        /* between looks at a process that is not ready yet */
#define PATIENCE_NS 1000000000  /* for the end of one that has closed its channel */

/* ---- items through channels: both sides ---- */

static int send_item(tarn_channel *ch, struct tarn_block *item, uint64_t tag, int64_t timeout_ns)
{
	return tarn__value_hooks.kind_of(item) == TARN_KIND_OBJECT
		       ? tarn_channel_send_object(ch, tarn__object_of_base(item), tag, timeout_ns)
		       : tarn_channel_send(ch, item, tag, timeout_ns);
}

static int recv_item(tarn_channel *ch, struct tarn_block **ret, uint64_t *ret_tag, int64_t timeout_ns)
{
	enum tarn_item kind;
	tarn_object *o;
	int r = tarn_channel_peek(ch, &kind, timeout_ns);

	if (r < 0)
		return r;
	if (kind != TARN_ITEM_OBJECT)
		return tarn_channel_recv(ch, ret, ret_tag, timeout_ns);
	r = tarn_channel_recv_object(ch, &o, ret_tag, timeout_ns);
	if (r == 0)
		*ret = &o->base;
	return r;
}

static int recv_values(tarn_channel *ch, tarn_parcel *ret, uint64_t *ret_tag, int64_t timeout_ns)
{
	struct tarn_block *item;
	int r = recv_item(ch, &item, ret_tag, timeout_ns);

	if (r < 0)
		return r;
	r = tarn__carried_read(item, ret);
	tarn__carried_drop(item);
	return r;
}

static int send_values(tarn_client *c, tarn_channel *ch, const tarn_builder *values, uint64_t tag)
{
	struct tarn_block *item;
	int r = tarn__carried_new(c, values, &item);

	if (r < 0)
		return r;
	r = send_item(ch, item, tag, TARN_FOREVER);
	tarn__carried_drop(item);
	return r;
}

/* ---- the worker's side ---- */

struct server {
	struct tarn_worker *worker;
	tarn_channel *tasks, *answers;
};

static tarn__worker_entry *entry_of(const char *name)
{
	tarn__worker_entry *fn = tarn__worker_find(name);

	if (fn == NULL)
		tarn__fail(-ENOENT, "There is no entry \"%s\" in this program.", name);
	return fn;
}

/* True and the results, or false and the fault, as the values that come next in @answer. */
static void put_outcome(tarn_builder *answer, int r, struct tarn_worker *w)
{
	tarn_parcel results;

	if (r == 0)
		r = tarn_parcel_from(&w->result, &results);
	if (r < 0 && w->fault == NULL)
		w->fault = tarn_fault_from_last();
	tarn_put_bool(answer, r == 0);
	if (r < 0) {
		tarn_put_error(answer, w->fault);
		return;
	}
	for (unsigned i = 0; i < tarn_parcel_count(&results); i++)
		tarn_put_value(answer, tarn_parcel_at(&results, i));
	tarn_parcel_fini(&results);
}

/* Calls @fn with the values of @args. */
static void call(const struct server *s, tarn__worker_entry *fn, const tarn_builder *args,
		 tarn_builder *answer)
{
	struct tarn_worker w;
	tarn_parcel values;
	int r = tarn_parcel_from(args, &values);

	if (r < 0)
		tarn_parcel_init(&values);
	tarn__worker_init(&w, s->worker->client, s->worker->name, &values);
	w.data = s->worker->data;
	tarn__worker_set(&w);
	if (r == 0)
		r = fn != NULL ? tarn__worker_call(&w, fn) : tarn_error_last()->code;
	tarn__worker_set(NULL);
	put_outcome(answer, r, &w);
	tarn__worker_fini(&w);
	tarn_parcel_fini(&values);
}

static void put_all_of(tarn_builder *b, tarn_value list)
{
	for (size_t i = 0; i < tarn_value_count(list); i++)
		tarn_put_value(b, tarn_value_at(list, i));
}

static void call_each(const struct server *s, tarn__worker_entry *fn, const char *entry,
		      tarn_value items, bool star, tarn_builder *answer)
{
	tarn_builder args;

	tarn_builder_init(&args);
	tarn_list_begin(answer);
	for (size_t i = 0; i < tarn_value_count(items); i++) {
		if (star)
			put_all_of(&args, tarn_value_at(items, i));
		else
			tarn_put_value(&args, tarn_value_at(items, i));
		tarn_list_begin(answer);
		call(s, fn != NULL ? fn : entry_of(entry), &args, answer);
		tarn_list_end(answer);
		tarn_builder_reset(&args);
	}
	tarn_list_end(answer);
	tarn_builder_fini(&args);
}

static int do_values(const struct server *s, const tarn_parcel *task, tarn_builder *answer)
{
	const char *entry;
	int64_t mode;
	tarn_builder args;
	int r = tarn_value_string(tarn_parcel_at(task, 0), &entry, NULL);

	if (r == 0)
		r = tarn_value_int(tarn_parcel_at(task, 1), &mode);
	if (r < 0)
		return r;
	tarn__worker_entry *fn = entry_of(entry);
	if (mode != TARN__TASK_ONE) {
		call_each(s, fn, entry, tarn_parcel_at(task, 2), mode == TARN__TASK_STAR, answer);
		return 0;
	}
	tarn_builder_init(&args);
	for (unsigned i = 2; i < tarn_parcel_count(task); i++)
		tarn_put_value(&args, tarn_parcel_at(task, i));
	call(s, fn, &args, answer);
	tarn_builder_fini(&args);
	return 0;
}

/* Negative: the item is no task. */
static int do_task(const struct server *s, struct tarn_block *item, tarn_builder *answer)
{
	tarn_parcel task;
	int r = tarn__carried_read(item, &task);

	if (r < 0)
		return r;
	r = do_values(s, &task, answer);
	tarn_parcel_fini(&task);
	return r;
}

/* The thread's last failure, instead of all that is in @answer. */
static void put_failure(tarn_builder *answer)
{
	tarn_fault *f = tarn_fault_from_last();

	tarn_builder_reset(answer);
	tarn_put(answer, "be", false, f);
	tarn_fault_unref(f);
}

/* What is too large to be told as it is, is told as that. */
static int answer_with(const struct server *s, tarn_builder *answer, uint64_t tag)
{
	int r = send_values(s->worker->client, s->answers, answer, tag);

	if (r == 0 || r == -TARN_ECLOSED)
		return r;
	put_failure(answer);
	return send_values(s->worker->client, s->answers, answer, tag);
}

/* One of the entries that are called once, if there is one. */
static int call_once(const struct server *s, const char *entry, tarn_value args, bool tells)
{
	tarn_builder answer, values;
	int r = 0;

	tarn_builder_init(&answer);
	tarn_builder_init(&values);
	put_all_of(&values, args);
	if (entry != NULL)
		call(s, entry_of(entry), &values, &answer);
	else
		tarn_put_bool(&answer, true);
	if (tells)
		r = answer_with(s, &answer, TARN__READY);
	tarn_builder_fini(&values);
	tarn_builder_fini(&answer);
	return r;
}

static int serve(const struct server *s)
{
	for (;;) {
		struct tarn_block *item;
		tarn_builder answer;
		uint64_t tag;
		int r = recv_item(s->tasks, &item, &tag, TARN_FOREVER);

		if (r < 0)
			return r == -TARN_ECLOSED ? 0 : r;
		tarn_builder_init(&answer);
		if (do_task(s, item, &answer) < 0)
			put_failure(&answer);
		r = answer_with(s, &answer, tag);
		tarn_builder_fini(&answer);
		tarn__carried_drop(item);
		if (r < 0)
			return r;
	}
}

TARN_WORKER(tarn_station)
{
	struct server s = { .worker = worker };
	const char *open, *close;
	tarn_value args;
	int r = tarn_worker_get(worker, "CCs?s?v", &s.tasks, &s.answers, &open, &close, &args);

	if (r == 0)
		r = tarn_channel_bind(s.tasks, TARN_CONSUMER);
	if (r == 0)
		r = tarn_channel_bind(s.answers, TARN_PRODUCER);
	if (r == 0)
		r = call_once(&s, open, args, true);
	if (r == 0)
		r = serve(&s);
	if (r == 0 && close != NULL) {
		/* What it throws is how the process ends. */
		tarn__worker_entry *fn = entry_of(close);

		r = fn != NULL ? fn(worker) : -ENOENT;
	}
	return r;
}

/* ---- the parent's side ---- */

static int make_channels(struct tarn__station *s, tarn_client *client)
{
	int r = tarn_channel_new(client, TARN__STATION_RING, NULL, &s->tasks);

	if (r == 0)
		r = tarn_channel_new(client, TARN__STATION_RING, NULL, &s->answers);
	if (r == 0)
		r = tarn_channel_bind(s->tasks, TARN_PRODUCER);
	if (r == 0)
		r = tarn_channel_bind(s->answers, TARN_CONSUMER);
	return r;
}

int tarn__station_open(struct tarn__station *s, tarn_client *client, const char *name,
		       const char *open, const char *close, const tarn_builder *args,
		       const tarn_log_handler *log)
{
	tarn_parcel values;
	tarn_builder b;
	int r;

	*s = (struct tarn__station){ .process = NULL };
	tarn_parcel_init(&values);
	r = args != NULL ? tarn_parcel_from(args, &values) : 0;
	if (r == 0)
		r = make_channels(s, client);
	if (r < 0) {
		tarn_parcel_fini(&values);
		tarn__station_free(s);
		return r;
	}
	tarn_builder_init(&b);
	tarn_put(&b, "CCss", s->tasks, s->answers, open, close);
	tarn_list_begin(&b);
	for (unsigned i = 0; i < tarn_parcel_count(&values); i++)
		tarn_put_value(&b, tarn_parcel_at(&values, i));
	tarn_list_end(&b);
	r = tarn_process_spawn(client, &(tarn_process_options){ .entry = "tarn_station", .args = &b,
								.name = name, .log = log },
			       &s->process);
	tarn_builder_fini(&b);
	tarn_parcel_fini(&values);
	if (r < 0)
		tarn__station_free(s);
	return r;
}

static int fail_gone(struct tarn__station *s)
{
	tarn_fault *f = tarn__station_bury(s);
	int r = tarn__fail(-EPIPE, "The worker process %s (%d) is gone: %s.",
			   tarn_process_name(s->process), tarn_process_pid(s->process),
			   f != NULL ? tarn_fault_message(f) : "it ended");

	tarn_fault_unref(f);
	return r;
}

int tarn__station_await_ready(struct tarn__station *s)
{
	tarn_parcel answer;
	tarn_builder none;
	uint64_t tag;
	bool over;
	int r;

	/* Before it has taken its end of the channel nobody is told that it is dead. */
	do {
		over = tarn_process_done(s->process);
		r = tarn__station_recv(s, &answer, &tag, over ? 0 : LOOK_NS);
	} while ((r == -ETIMEDOUT || r == -EAGAIN) && !over);
	if (r == -TARN_ECLOSED || ((r == -ETIMEDOUT || r == -EAGAIN) && over))
		return fail_gone(s);
	if (r < 0)
		return r;
	tarn_builder_init(&none);
	r = tag == TARN__READY ? tarn__answer_results(&answer, &none)
			       : tarn__fail(-TARN_EPROTO, "A worker process answered before it was asked.");
	tarn_builder_fini(&none);
	tarn_parcel_fini(&answer);
	return r;
}

void tarn__station_await_end(struct tarn__station *s)
{
	tarn_parcel answer;
	uint64_t tag;
	int r;

	while ((r = tarn__station_recv(s, &answer, &tag, TARN_FOREVER)) == 0)
		tarn_parcel_fini(&answer);
}

int tarn__station_send(struct tarn__station *s, struct tarn_block *item, uint64_t tag,
		       int64_t timeout_ns)
{
	return send_item(s->tasks, item, tag, timeout_ns);
}

int tarn__station_recv(struct tarn__station *s, tarn_parcel *ret_answer, uint64_t *ret_tag,
		       int64_t timeout_ns)
{
	return recv_values(s->answers, ret_answer, ret_tag, timeout_ns);
}

int tarn__station_recv_item(struct tarn__station *s, struct tarn_block **ret_item, uint64_t *ret_tag,
			    int64_t timeout_ns)
{
	return recv_item(s->answers, ret_item, ret_tag, timeout_ns);
}

void tarn__station_close(struct tarn__station *s)
{
	if (s->tasks != NULL)
		tarn_channel_close(s->tasks);
}

tarn_fault *tarn__station_bury(struct tarn__station *s)
{
	struct tarn_process *p = s->process;

	/* What it said before comes before it, unless the program's handler is slow: it may wait for us. */
	if (tarn__process_await(p, true, tarn__deadline(PATIENCE_NS)) < 0) {
		tarn_process_kill(p);
		tarn__process_await(p, false, UINT64_MAX);
	}
	return tarn__process_settle(p) == 0 && p->fault != NULL ? tarn_fault_ref(p->fault) : NULL;
}

void tarn__station_free(struct tarn__station *s)
{
	if (s->process != NULL && tarn_process_is_alive(s->process))
		tarn_process_kill(s->process);
	s->process = tarn_process_unref(s->process);
	s->tasks = tarn_channel_unref(s->tasks);
	s->answers = tarn_channel_unref(s->answers);
}

/* ---- answers ---- */

static int fail_answer(tarn_value fault)
{
	tarn_fault *f;
	int r = tarn_value_error(fault, &f);

	return r < 0 ? r : tarn__fail_fault(f);
}

int tarn__answer_results(const tarn_parcel *answer, tarn_builder *results)
{
	bool ok;
	int r = tarn_value_bool(tarn_parcel_at(answer, 0), &ok);

	if (r < 0)
		return r;
	if (!ok)
		return fail_answer(tarn_parcel_at(answer, 1));
	for (unsigned i = 1; i < tarn_parcel_count(answer) && r == 0; i++)
		r = tarn_put_value(results, tarn_parcel_at(answer, i));
	return r;
}

int tarn__answer_results_of(tarn_value answer, tarn_builder *results)
{
	bool ok;
	int r = tarn_value_bool(tarn_value_at(answer, 0), &ok);

	if (r < 0)
		return r;
	if (!ok)
		return fail_answer(tarn_value_at(answer, 1));
	for (size_t i = 1; i < tarn_value_count(answer) && r == 0; i++)
		r = tarn_put_value(results, tarn_value_at(answer, i));
	return r;
}
