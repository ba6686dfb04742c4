/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T4, worker processes: each is killed before every instruction that stores to shared memory or enters
 * the kernel, from the first that the library executes in the fresh image, over taking its arguments and telling its
 * result, to the last, and before a sample of the others (plan.h). Who bore it hears of it, has
 * lost nothing, and goes on; the server's full check finds nothing, and its books are as before.
 *
 * x86-64, and only where ptrace is allowed and addresses need not be random; else skipped.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "operations.h"
#include "plan.h"
#include "step.h"
#include "survivor.h"

#if defined(__x86_64__) && !defined(STEP_NO_IMAGES)

struct victim {
	pid_t pid;
	bool died;         /* by the kill, not by itself */
	tarn_client *c;    /* its parent's, for this alone: what threads leave in their lanes goes with it */
	tarn_block *block; /* an argument, and part of the result */
	tarn_process *process;
	tarn_channel *up;
	tarn_pool *pool;
	tarn_pool_result *later;
};

/* ---- a process of its own ---- */

TARN_WORKER(worker_that_is_killed)
{
	tarn_block *b, *mine;
	tarn_channel *up;
	int n, r = tarn_worker_get(worker, "iBC", &n, &b, &up);

	if (r == 0)
		r = tarn_channel_bind(up, TARN_PRODUCER);
	if (r == 0)
		r = tarn_block_new(tarn_worker_client(worker), BLOCK_BYTES, 0, &mine);
	if (r < 0)
		return r;
	operations_fill(mine, WHOLE);
	OK(tarn_channel_send(up, b, 0, 0));
	OK(tarn_channel_give(up, mine, 0, 0));
	return tarn_put(tarn_worker_result(worker), "iB", n + 1, b);
}

static void process_begin(struct victim *x)
{
	tarn_builder args;

	OK(tarn_channel_new(x->c, 4, NULL, &x->up));
	OK(tarn_channel_bind(x->up, TARN_CONSUMER));
	tarn_builder_init(&args);
	tarn_put(&args, "iBC", 6, x->block, x->up);
	OK(tarn_process_spawn(x->c, &(tarn_process_options){ .entry = "worker_that_is_killed", .args = &args },
			      &x->process));
	tarn_builder_fini(&args);
	x->pid = tarn_process_pid(x->process);
}

static void check_result(struct victim *x, const char *what)
{
	const tarn_parcel *result;
	tarn_block *b;
	int n, r = tarn_process_result(x->process, 60 * SECOND, &result);

	x->died = tarn_process_exitcode(x->process) == -SIGKILL;
	if (x->died) {
		PLAIN_CHECKF(r == -TARN_EREMOTE && tarn_fault_is(tarn_error_fault(), "Signal"), "%s: %s", what,
			     tarn_error_last()->message);
		return;
	}
	PLAIN_CHECKF(r == 0, "%s: %s", what, tarn_error_last()->message);
	OK(tarn_parcel_get(result, "iB", &n, &b));
	PLAIN_CHECK(n == 7 && b == x->block);
}

static void process_finish(struct survivor *v, struct victim *x, const char *what)
{
	tarn_block *b;
	int n = 0, r;

	check_result(x, what);
	survivor_await_gone(v, x->pid);
	for (; (r = tarn_channel_recv(x->up, &b, NULL, 0)) == 0; n++) {
		PLAIN_CHECKF(operations_filled(b, WHOLE), "%s: item %d is damaged", what, n);
		PLAIN_CHECK(n > 0 || b == x->block);
		tarn_block_unref(b);
	}
	/* It never took its end of the channel, or the channel is closed by its death. */
	PLAIN_CHECKF(r == -TARN_ECLOSED || (r == -EAGAIN && n == 0), "%s: %s", what, tarn_error_name(r));
	PLAIN_CHECK(n == 2 || x->died);
	tarn_channel_unref(x->up);
	tarn_process_unref(x->process);
}

/* ---- a worker of a pool, which has another try ---- */

static void pool_begin(struct victim *x)
{
	tarn_builder args;

	OK(tarn_pool_new(x->c, &(tarn_pool_options){ .workers = 1, .retries = 1 }, &x->pool));
	tarn_builder_init(&args);
	tarn_put(&args, "iB", 6, x->block);
	OK(tarn_pool_apply_async(x->pool, "worker_of_the_killed", &args, &x->later));
	tarn_builder_fini(&args);
	OK(tarn_pool_close(x->pool)); /* the worker ends when that is done */
	PLAIN_WAIT_FOR(tarn_pool_pids(x->pool, &x->pid, 1) == 1);
}

static void pool_finish(struct survivor *v, struct victim *x, const char *what)
{
	const tarn_parcel *result;
	tarn_block *b;
	int n, r = tarn_pool_result_get(x->later, 60 * SECOND, &result);

	PLAIN_CHECKF(r == 0, "%s: %s", what, tarn_error_last()->message);
	OK(tarn_parcel_get(result, "iB", &n, &b));
	PLAIN_CHECK(n == 7 && b == x->block);
	tarn_pool_result_unref(x->later);
	OK(tarn_pool_join(x->pool, 60 * SECOND));
	tarn_pool_unref(x->pool);
	survivor_await_gone(v, x->pid);
}

static const struct kind {
	const char *name;
	void (*begin)(struct victim *x);
	void (*finish)(struct survivor *v, struct victim *x, const char *what);
} kinds[] = {
	{ "worker process", process_begin, process_finish },
	{ "worker of a pool", pool_begin, pool_finish },
};

/* ---- who bears it: a process that is told what to do ----
 *
 * Not the tracer: waiting for a child shows whoever is its tracer, too, each time that it stops.
 */

struct order {
	enum { BEGIN, FINISH } what;
	size_t kind;
	char name[256]; /* of the kill */
};

struct parent {
	pid_t pid;
	int orders, answers; /* an answer: a pid, of the victim if there is a new one */
};

static void begin(struct survivor *v, struct victim *x, const struct order *o)
{
	*x = (struct victim){ .c = scene_client(&v->s) };
	OK(tarn_block_new(v->c, BLOCK_BYTES, 0, &v->kept));
	operations_fill(v->kept, WHOLE);
	OK(tarn_block_new(x->c, BLOCK_BYTES, 0, &x->block));
	operations_fill(x->block, WHOLE);
	setenv(STEP_VARIABLE, "1", 1);
	kinds[o->kind].begin(x);
	/* It is executed; the next one is not stepped. */
	unsetenv(STEP_VARIABLE);
}

static void finish(struct survivor *v, struct victim *x, const struct order *o)
{
	kinds[o->kind].finish(v, x, o->name);
	survivor_overwrite(v, o->name);
	tarn_block_unref(v->kept);
	PLAIN_CHECKF(operations_filled(x->block, WHOLE), "%s: the argument is damaged", o->name);
	tarn_block_unref(x->block);
	tarn_client_close(x->c);
	survivor_rest(v, o->name);
}

static _Noreturn void obey(int orders, int answers)
{
	struct survivor v = survivor_open();
	struct victim x;
	struct order o;

	setenv("TARN_SPIN_US", "0", 1);
	while (read(orders, &o, sizeof o) == sizeof o) {
		if (o.what == BEGIN)
			begin(&v, &x, &o);
		else
			finish(&v, &x, &o);
		PLAIN_CHECK(write(answers, &x.pid, sizeof x.pid) == sizeof x.pid);
	}
	survivor_close(&v);
	_exit(0);
}

static struct parent parent_open(void)
{
	int orders[2], answers[2];
	struct parent p;

	PLAIN_CHECK(pipe2(orders, O_CLOEXEC) == 0 && pipe2(answers, O_CLOEXEC) == 0);
	p.pid = plain_fork();
	if (p.pid == 0) {
		close(orders[1]);
		close(answers[0]);
		obey(orders[0], answers[1]);
	}
	close(orders[0]);
	close(answers[1]);
	p.orders = orders[1];
	p.answers = answers[0];
	return p;
}

static void parent_close(struct parent *p)
{
	close(p->orders);
	PLAIN_EQ(plain_reap(p->pid), 0);
	close(p->answers);
}

static pid_t tell(const struct parent *p, const struct order *o)
{
	pid_t pid;

	PLAIN_CHECK(write(p->orders, o, sizeof *o) == sizeof *o);
	PLAIN_CHECK(read(p->answers, &pid, sizeof pid) == sizeof pid);
	return pid;
}

/* ---- kills ---- */

/* A victim at its begin. */
static pid_t begin_stepped(const struct parent *parent, struct order *o)
{
	o->what = BEGIN;
	const pid_t pid = tell(parent, o);

	if (!step_seize(pid))
		PLAIN_SKIP("no ptrace here");
	return pid;
}

static void end(const struct parent *parent, struct order *o, pid_t pid)
{
	step_kill(pid);
	o->what = FINISH;
	tell(parent, o);
}

struct kills {
	const struct parent *parent;
	struct order o;
};

static enum step_end one(void *arg, const struct step_trace *trace, const struct step_point *p, unsigned try,
			 const char *what)
{
	struct kills *k = arg;

	snprintf(k->o.name, sizeof k->o.name, "%s", what);
	pid_t pid = begin_stepped(k->parent, &k->o), none;
	enum step_end e = step_run_to(pid, trace, p, false, try, &none);

	end(k->parent, &k->o, pid);
	return e;
}

static void kind(const struct parent *parent, size_t n, struct steps steps, uint64_t seed, struct tally *sum)
{
	struct kills k = { parent, { .kind = n } };
	struct step_trace trace;

	snprintf(k.o.name, sizeof k.o.name, "%s", kinds[n].name);
	pid_t pid = begin_stepped(parent, &k.o);
	step_write_down(pid, &trace, NULL, NULL);
	end(parent, &k.o, pid);

	struct plan plan = plan_begin(kinds[n].name, &trace, steps, seed);
	plan_run(&plan, one, &k, sum);
	step_trace_free(&trace);
}

#define TIME 20000 /* the long mode's */

PLAIN_TEST_TIMEOUT(t4_a_worker_process_killed_at_any_store_or_system_call_leaves_nothing, TIME)
{
	const uint64_t seed = plan_number("TARN_KILL_SEED", scene_now());
	struct tally sum = { 0 };

	if (!step_same_addresses())
		PLAIN_SKIP("addresses are random here");
	struct parent parent = parent_open();
	scene_note("TARN_KILL_SEED=%llu", (unsigned long long)seed);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		const struct steps steps = plan_steps(kinds[i].name);

		if (steps.first <= steps.last)
			kind(&parent, i, steps, seed + i, &sum);
	}
	parent_close(&parent);
	plan_sum(&sum);
}
#else
PLAIN_TEST(t4_a_worker_process_killed_at_any_store_or_system_call_leaves_nothing)
{
	PLAIN_SKIP("the stepper knows x86-64 only, and stops an image before sanitizers are there");
}
#endif

PLAIN_MAIN()
