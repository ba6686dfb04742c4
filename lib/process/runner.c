/* SPDX-License-Identifier: Apache-2.0 */
/* Runners: one station, whose answers come in the order of the calls. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/entry.h"
#include "lib/value/fault.h"
#include "shm/wake.h"
#include "station.h"
#include "tarn/pool.h"

#define NAME 64u

enum state { INITIAL, STARTED, JOINING, ENDED };

struct tarn_runner {
	uint32_t refs;
	pid_t owner; /* the process that may call it */
	tarn_client *client;
	char name[NAME];
	char *open, *call, *close; /* open and close may be NULL */
	tarn_parcel args;
	bool has_log;
	tarn_log_handler log;

	pthread_mutex_t mutex; /* of all below; held by whoever calls */
	enum state state;
	struct tarn__station station;
	uint64_t posted, taken;
	uint64_t unwanted; /* bit n % 64: the n'th call was given up, and its result is nobody's */
};
#define UNTAKEN_MOST 64u
static_assert(2 * TARN__STATION_RING + 1 <= UNTAKEN_MOST, "not taken: what the channels hold, and one that runs");

static void runner_free(struct tarn_runner *r)
{
	if (r->state != INITIAL)
		tarn__station_free(&r->station);
	tarn_parcel_fini(&r->args);
	pthread_mutex_destroy(&r->mutex);
	free(r->open);
	free(r->call);
	free(r->close);
	free(r);
}

tarn_runner *tarn_runner_ref(tarn_runner *runner)
{
	/* Relaxed: the caller has one. */
	__atomic_add_fetch(&runner->refs, 1, __ATOMIC_RELAXED);
	return runner;
}

tarn_runner *tarn_runner_unref(tarn_runner *runner)
{
	/* SYNC runner-refs: what others did with it is over before it is freed. */
	if (runner != NULL && __atomic_sub_fetch(&runner->refs, 1, __ATOMIC_ACQ_REL) == 0)
		runner_free(runner);
	return NULL;
}

/* ---- making ---- */

static int check_entry(const char *name)
{
	return name == NULL || tarn__worker_find(name) != NULL
		       ? 0
		       : tarn__fail(-ENOENT, "There is no entry \"%s\" in this program.", name);
}

static int check(const tarn_runner_options *o)
{
	int r = check_entry(o->open);

	if (o->call == NULL)
		return tarn__fail(-EINVAL, "A runner needs an entry that is called.");
	if (r == 0)
		r = check_entry(o->call);
	if (r == 0)
		r = check_entry(o->close);
	if (r == 0 && o->name != NULL && strlen(o->name) >= NAME)
		r = tarn__fail(-ENAMETOOLONG, "The name of a runner has %zu bytes; at most %u are "
			       "possible.", strlen(o->name), NAME - 1);
	return r;
}

static int fill(struct tarn_runner *r, const tarn_runner_options *o)
{
	static unsigned number;

	if (o->name != NULL)
		snprintf(r->name, sizeof r->name, "%s", o->name);
	else /* Relaxed: a number is all it is. */
		snprintf(r->name, sizeof r->name, "Runner-%u",
			 __atomic_add_fetch(&number, 1, __ATOMIC_RELAXED));
	r->has_log = o->log != NULL;
	if (o->log != NULL)
		r->log = *o->log;
	r->call = strdup(o->call);
	r->open = o->open != NULL ? strdup(o->open) : NULL;
	r->close = o->close != NULL ? strdup(o->close) : NULL;
	if (r->call == NULL || (r->open == NULL && o->open != NULL) ||
	    (r->close == NULL && o->close != NULL))
		return tarn__fail(-ENOMEM, "No memory for a runner.");
	return o->args != NULL ? tarn_parcel_from(o->args, &r->args) : 0;
}

int tarn_runner_new(tarn_client *client, const tarn_runner_options *options,
		    tarn_runner **ret_runner)
{
	static const tarn_runner_options none;
	int r = check(options != NULL ? options : &none);

	if (r < 0)
		return r;
	struct tarn_runner *n = calloc(1, sizeof *n);
	if (n == NULL)
		return tarn__fail(-ENOMEM, "No memory for a runner.");
	n->refs = 1;
	n->owner = getpid();
	n->client = client;
	pthread_mutex_init(&n->mutex, NULL);
	tarn_parcel_init(&n->args);
	r = fill(n, options);
	if (r < 0)
		runner_free(n);
	else
		*ret_runner = n;
	return r;
}

/* ---- its life ---- */

/* In a forked child it may be a thread's that is not there. */
static int lock(struct tarn_runner *r)
{
	if (r->owner != getpid())
		return tarn__fail(-TARN_EFORKED, "Runner %s is of the process that this one was forked from.", r->name);
	pthread_mutex_lock(&r->mutex);
	return 0;
}

/* Locked. */
static int start(struct tarn_runner *r)
{
	tarn_builder args;
	int code;

	tarn_builder_init(&args);
	for (unsigned i = 0; i < tarn_parcel_count(&r->args); i++)
		tarn_put_value(&args, tarn_parcel_at(&r->args, i));
	code = tarn__station_open(&r->station, r->client, r->name, r->open, r->close, &args,
				  r->has_log ? &r->log : NULL);
	tarn_builder_fini(&args);
	if (code < 0)
		return code;
	code = tarn__station_await_ready(&r->station);
	if (code < 0)
		tarn__station_free(&r->station); /* as if it had not been started */
	else
		r->state = STARTED;
	return code;
}

int tarn_runner_start(tarn_runner *runner)
{
	int r = lock(runner);

	if (r < 0)
		return r;
	r = runner->state == INITIAL
			? start(runner)
			: tarn__fail(-TARN_ESTATE, "Runner %s was started before.", runner->name);
	pthread_mutex_unlock(&runner->mutex);
	return r;
}

static int fail_gone(struct tarn_runner *r)
{
	tarn_fault *f = tarn__station_bury(&r->station);
	int code = tarn__fail(-EPIPE, "Runner %s is gone: %s.", r->name,
			      f != NULL ? tarn_fault_message(f) : "it ended");

	tarn_fault_unref(f);
	return code;
}

static int fail_not_started(const struct tarn_runner *r)
{
	return tarn__fail(-TARN_ESTATE, "Runner %s %s.", r->name,
			  r->state == INITIAL ? "was not started" : "was joined");
}

/* Locked. */
static int post(struct tarn_runner *r, const tarn_builder *args, int64_t timeout_ns)
{
	struct tarn_block *item;
	tarn_parcel values;
	tarn_builder b;
	int code;

	tarn_parcel_init(&values);
	code = args != NULL ? tarn_parcel_from(args, &values) : 0;
	if (code < 0)
		return code;
	tarn_builder_init(&b);
	tarn_put(&b, "si", r->call, (int)TARN__TASK_ONE);
	for (unsigned i = 0; i < tarn_parcel_count(&values); i++)
		tarn_put_value(&b, tarn_parcel_at(&values, i));
	code = tarn__carried_new(r->client, &b, &item);
	tarn_builder_fini(&b);
	tarn_parcel_fini(&values);
	if (code < 0)
		return code;
	code = tarn__station_send(&r->station, item, r->posted, timeout_ns);
	tarn__carried_drop(item);
	if (code == 0)
		r->posted++;
	return code == -TARN_ECLOSED ? fail_gone(r) : code;
}

int tarn_runner_restart(tarn_runner *runner, const tarn_builder *args, int64_t timeout_ns)
{
	int r = lock(runner);

	if (r < 0)
		return r;
	r = runner->state == STARTED ? post(runner, args, timeout_ns) : fail_not_started(runner);
	pthread_mutex_unlock(&runner->mutex);
	return r;
}

static int64_t left_until(uint64_t deadline)
{
	const uint64_t now = tarn__now();

	if (deadline == UINT64_MAX)
		return TARN_FOREVER;
	return deadline > now ? (int64_t)(deadline - now) : 0;
}

static uint64_t bit_of(uint64_t call)
{
	return UINT64_C(1) << call % UNTAKEN_MOST;
}

/* Locked. The next result that somebody wants, as it came. It is taken, whether it can be read or not. */
static int next_answer(struct tarn_runner *r, int64_t timeout_ns, struct tarn_block **ret)
{
	const uint64_t deadline = tarn__deadline(timeout_ns);
	uint64_t tag;
	bool wanted;

	if (r->posted - r->taken == (unsigned)__builtin_popcountll(r->unwanted))
		return tarn__fail(-TARN_ESTATE, "Runner %s: no call was posted whose result was not taken.",
				  r->name);
	do {
		int code = tarn__station_recv_item(&r->station, ret, &tag, left_until(deadline));

		if (code == -TARN_ECLOSED)
			return fail_gone(r);
		if (code < 0)
			return tarn__fail_late(code, timeout_ns);
		wanted = (r->unwanted & bit_of(r->taken)) == 0;
		r->unwanted &= ~bit_of(r->taken++);
		if (!wanted)
			tarn__carried_drop(*ret);
	} while (!wanted);
	return 0;
}

/* Locked. */
static int take(struct tarn_runner *r, int64_t timeout_ns, tarn_parcel *ret)
{
	struct tarn_block *item;
	tarn_parcel answer;
	tarn_builder results;
	int code = next_answer(r, timeout_ns, &item);

	if (code < 0)
		return code;
	code = tarn__carried_read(item, &answer);
	tarn__carried_drop(item);
	if (code < 0)
		return code;
	tarn_builder_init(&results);
	code = tarn__answer_results(&answer, &results);
	if (code == 0 && ret != NULL)
		code = tarn_parcel_from(&results, ret);
	tarn_builder_fini(&results);
	tarn_parcel_fini(&answer);
	return code;
}

int tarn_runner_rejoin(tarn_runner *runner, int64_t timeout_ns, tarn_parcel *ret_result)
{
	int r = lock(runner);

	if (r < 0)
		return r;
	r = runner->state == STARTED ? take(runner, timeout_ns, ret_result)
					 : fail_not_started(runner);
	pthread_mutex_unlock(&runner->mutex);
	return r;
}

/* Locked. A result that comes when nobody waits for it any more must not become the next call's. */
static int post_and_take(struct tarn_runner *r, const tarn_builder *args, int64_t timeout_ns, tarn_parcel *ret)
{
	int code = post(r, args, timeout_ns);

	if (code < 0)
		return code;
	const uint64_t mine = r->posted - 1;
	code = tarn__fail_late(take(r, timeout_ns, ret), TARN_FOREVER); /* it was begun */
	if (code == -ETIMEDOUT)
		r->unwanted |= bit_of(mine); /* not taken: it is the last */
	return code;
}

int tarn_runner_call(tarn_runner *runner, const tarn_builder *args, int64_t timeout_ns,
		     tarn_parcel *ret_result)
{
	int r = lock(runner);

	if (r < 0)
		return r;
	r = runner->state == STARTED ? post_and_take(runner, args, timeout_ns, ret_result) : fail_not_started(runner);
	pthread_mutex_unlock(&runner->mutex);
	return r;
}

/* Locked. The process waits for room for its answers; nobody takes those that are left. */
static int join(struct tarn_runner *r, uint64_t deadline)
{
	int code;

	if (r->state == STARTED)
		tarn__station_close(&r->station);
	r->state = JOINING;
	for (;;) {
		tarn_parcel answer;
		uint64_t tag;

		code = tarn__station_recv(&r->station, &answer, &tag, left_until(deadline));
		if (code < 0)
			break;
		tarn_parcel_fini(&answer);
	}
	if (code != -TARN_ECLOSED)
		return code;
	r->state = ENDED;
	tarn_fault *f = tarn__station_bury(&r->station);
	const bool killed = tarn_process_state(r->station.process) == TARN_PROCESS_KILLED;
	if (f == NULL)
		return 0;
	if (!killed)
		return tarn__fail_fault(f);
	tarn_fault_unref(f);
	return fail_gone(r);
}

int tarn_runner_join(tarn_runner *runner, int64_t timeout_ns)
{
	int r = lock(runner);

	if (r < 0)
		return r;
	r = runner->state == INITIAL ? fail_not_started(runner)
		: runner->state == ENDED ? 0
					 : tarn__fail_late(join(runner, tarn__deadline(timeout_ns)), timeout_ns);
	pthread_mutex_unlock(&runner->mutex);
	return r;
}

tarn_process *tarn_runner_process(tarn_runner *runner)
{
	return runner->station.process;
}
