/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T5: a server is killed before every instruction of what it does with a set of messages that stores to shared
 * memory or enters the kernel, and before a sample of the others; or, if asked, before every instruction of the
 * library (plan.h). Each time a fresh arena. Its successor, which runs the full check first, goes on: clients are
 * answered without attaching again, each call once, unless it is said to be interrupted; what they hold is whole,
 * and at the end nothing is left. Also the successor is killed so, in its take-over of what the first server had
 * done half.
 *
 *	TARN_KILL_SETS=N     one in N of the sets, and one in 2 N of the take-overs, by the seed (4; 0: all)
 *
 * x86-64, and only where ptrace is allowed; else skipped.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plan.h"
#include "sets.h"
#include "step.h"
#include "tarn/entry.h"

#if defined(__x86_64__)

#define POINTS_MOST (1u << 21)
#define STORES "25"       /* of each set, and of the rest, if nobody says how many: a kill takes some 10 ms */
#define SAMPLE "8"
#define OTHERS 4u         /* one in so many of the sets, if nobody says how many */
#define SLOW "4"          /* under a sanitizer */
#define FREE 16u          /* blocks that are overwritten */
#define PATIENCE_S 120u   /* of one run: then it hangs; */
#define WRITING_S 1800u   /* half a million steps take 2 s, and minutes where everything else runs, too */

/* What the servers of one arena, which are forks of ours, know. */
struct birth {
	uint32_t born;     /* servers */
	uint32_t stepped;  /* the number of the one that is to wait for its tracer; 0: none */
	int32_t waiting;   /* its pid */
};

/* Shared with the runs, which are processes. */
struct record {
	enum step_end end;    /* how the last kill came about */
	uint64_t interrupted; /* calls, of all runs */
	struct step_trace trace;
	struct step_point point[POINTS_MOST];
};

TARN_ENTRY(each_server)
{
	struct birth *b = (struct birth *)(uintptr_t)arg;

	(void)bytes;
	/* Relaxed: one server after the other; the pid is a word by itself. */
	uint32_t n = __atomic_add_fetch(&b->born, 1, __ATOMIC_RELAXED);
	setenv("TARN_VERIFY", "1", 1);
	if (n == __atomic_load_n(&b->stepped, __ATOMIC_RELAXED)) {
		unsetenv("TARN_VERIFY"); /* or most steps would be the check's, which writes nothing */
		__atomic_store_n(&b->waiting, getpid(), __ATOMIC_RELAXED);
		step_await_tracer();
	}
	return 0;
}

/* ---- actors, and the gates that they pass together ---- */

struct stage {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned open;         /* gates */
	unsigned arrived[3];   /* at each */
};
enum { BEGIN, POSTED };

struct actor {
	struct world *w;
	struct stage *stage;
	void (*post)(struct world *w);
	pthread_t thread;
	pid_t tid;
	bool posts; /* it is beyond the first gate, where it slept, too */
};

static void gate_pass(struct stage *s, unsigned gate)
{
	pthread_mutex_lock(&s->lock);
	s->arrived[gate]++;
	pthread_cond_broadcast(&s->changed);
	while (s->open <= gate)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void gate_open(struct stage *s, unsigned gate)
{
	pthread_mutex_lock(&s->lock);
	s->open = gate + 1;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static unsigned gate_arrived(struct stage *s, unsigned gate)
{
	pthread_mutex_lock(&s->lock);
	const unsigned n = s->arrived[gate];
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void gate_await(struct stage *s, unsigned gate, unsigned n)
{
	pthread_mutex_lock(&s->lock);
	while (s->arrived[gate] < n)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void *act(void *arg)
{
	struct actor *a = arg;

	/* Its lanes are open before. */
	OK(tarn_client_ping(a->w->c, TARN_FOREVER));
	OK(tarn_client_ping(a->w->d, TARN_FOREVER));
	a->tid = (pid_t)syscall(SYS_gettid);
	gate_pass(a->stage, BEGIN);
	__atomic_store_n(&a->posts, true, __ATOMIC_RELAXED);
	a->post(a->w);
	gate_pass(a->stage, POSTED);
	return NULL;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
}

static void await_sleep(pid_t tid)
{
	while (plain_state(tid) != 'S')
		nap();
}

/* ---- the end of what is stepped: all are answered, and the server sleeps ---- */

struct watch {
	struct stage *stage;
	unsigned actors;
	pid_t pid;
	bool over; /* the server is to be left alone */
	pthread_t thread;
};

static void *watch(void *arg)
{
	struct watch *w = arg;
	unsigned asleep = 0;

	/* Relaxed: a hint; who sets it joins us before the process is gone. */
	while (!__atomic_load_n(&w->over, __ATOMIC_RELAXED)) {
		nap();
		const bool sleeps = gate_arrived(w->stage, POSTED) == w->actors && plain_state(w->pid) == 'S';

		asleep = sleeps ? asleep + 1 : 0;
		if (asleep == 2) {
			syscall(SYS_tgkill, w->pid, w->pid, SIGSTOP);
			break;
		}
	}
	return NULL;
}

static void watch_begin(struct watch *w, struct stage *stage, unsigned actors, pid_t pid)
{
	*w = (struct watch){ .stage = stage, .actors = actors, .pid = pid };
	PLAIN_EQ(pthread_create(&w->thread, NULL, watch, w), 0);
}

static void watch_end(struct watch *w)
{
	__atomic_store_n(&w->over, true, __ATOMIC_RELAXED);
	PLAIN_EQ(pthread_join(w->thread, NULL), 0);
}

/* ---- one run, in a process of its own ---- */

struct run {
	const struct message_set *set;
	const struct step_trace *first; /* of the server, if it is the successor that is stepped; */
	const struct step_point *at;    /* and where it gets its end */
	const struct step_point *point; /* where it is killed; NULL: it is written down */
	unsigned try;
	const char *what;
	struct record *record;
};

struct show {
	struct world w;
	struct stage stage;
	struct actor actor[SETS_ACTORS];
	unsigned actors;
	struct birth *birth;
};

static void open_show(struct show *s, const struct message_set *set)
{
	s->birth = scene_shared(sizeof *s->birth);
	const tarn_server_options options = {
		.arena_bytes = 8u << 20, .max_blocks = 512, .spin_ns = -1, .log_level = 3,
		.initializer = "each_server", .initializer_arg = s->birth,
		.initializer_arg_bytes = sizeof *s->birth,
	};

	arena_start_kept(&s->w.a, set->uring ? &arena_memfd_uring : &arena_posix_epoll, &options);
	s->w.c = arena_client(&s->w.a, NULL);
	s->w.d = arena_client(&s->w.a, NULL);
	set->prepare(&s->w);
	s->stage = (struct stage){ PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, { 0 } };
	for (unsigned i = 0; i < SETS_ACTORS && set->post[i] != NULL; i++) {
		struct actor *a = &s->actor[s->actors++];

		*a = (struct actor){ .w = &s->w, .stage = &s->stage, .post = set->post[i] };
		PLAIN_EQ(pthread_create(&a->thread, NULL, act, a), 0);
	}
	gate_await(&s->stage, BEGIN, s->actors);
	arena_settle(s->w.c);
	arena_settle(s->w.d);
}

/* The server is stopped where it sleeps, and has all messages before it. */
static pid_t hold(struct show *s, const struct message_set *set)
{
	const pid_t pid = tarn_client_server_pid(s->w.c);

	await_sleep(pid);
	if (!step_hold(pid))
		_exit(77);
	gate_open(&s->stage, BEGIN);
	for (unsigned i = 0; i < s->actors; i++) {
		/* Relaxed: it sleeps when it has posted, which we see by /proc. */
		while (!__atomic_load_n(&s->actor[i].posts, __ATOMIC_RELAXED))
			nap();
		await_sleep(s->actor[i].tid);
	}
	if (set->held != NULL)
		set->held(&s->w);
	if (s->w.asleep != 0)
		await_sleep(s->w.asleep);
	return pid;
}

/* Goes to @p, and dies there. */
static enum step_end go_and_die(struct show *s, pid_t pid, const struct step_trace *trace,
				const struct step_point *p, unsigned try)
{
	struct watch w;
	pid_t none;

	watch_begin(&w, &s->stage, s->actors, pid);
	enum step_end e = step_run_to(pid, trace, p, true, try, &none);
	watch_end(&w);
	PLAIN_CHECK(WIFSIGNALED(step_kill(pid)));
	return e;
}

static void write_down(struct show *s, pid_t pid, struct record *ret)
{
	struct step_trace t;
	struct watch w;

	watch_begin(&w, &s->stage, s->actors, pid);
	step_write_down(pid, &t, NULL, NULL);
	watch_end(&w);
	step_kill(pid);
	PLAIN_CHECKF(t.n <= POINTS_MOST, "%zu points", t.n);
	ret->trace = t;
	memcpy(ret->point, t.point, t.n * sizeof *t.point);
	ret->trace.point = ret->point;
	step_trace_free(&t);
}

/* The successor of a server that dies on its way, where it begins. */
static pid_t succeed(struct show *s, pid_t pid, const struct run *r)
{
	int32_t next;

	__atomic_store_n(&s->birth->stepped, 2, __ATOMIC_RELAXED);
	go_and_die(s, pid, r->first, r->at, 0);
	while ((next = __atomic_load_n(&s->birth->waiting, __ATOMIC_RELAXED)) == 0)
		nap();
	PLAIN_CHECK(step_seize(next));
	return next;
}

/* What is free is overwritten: nothing that somebody has may lie there. */
static void overwrite(struct world *w)
{
	tarn_block *b[FREE];

	for (unsigned i = 0; i < FREE; i++) {
		b[i] = arena_block(w->c, i % 8 != 0 ? 3000 : 20000);
		memset(tarn_block_data(b[i]), 0xee, tarn_block_size(b[i]));
	}
	for (unsigned i = 0; i < FREE; i++)
		tarn_block_unref(b[i]);
	OK(tarn_client_trim(w->c));
}

static void close_show(struct show *s, const struct message_set *set)
{
	gate_open(&s->stage, POSTED);
	for (unsigned i = 0; i < s->actors; i++)
		PLAIN_EQ(pthread_join(s->actor[i].thread, NULL), 0);
	arena_settle(s->w.c);
	arena_settle(s->w.d);
	arena_check(&s->w.a);
	if (!set->full)
		overwrite(&s->w);
	set->finish(&s->w);
	tarn_client_close(s->w.d);
	tarn_client_close(s->w.c);
	arena_end(&s->w.a);
}

static void perform(const struct run *r)
{
	static struct show s;

	alarm((r->point != NULL ? PATIENCE_S : WRITING_S) * plain_timeout_scale());
	open_show(&s, r->set);
	pid_t pid = hold(&s, r->set);
	if (r->first != NULL)
		pid = succeed(&s, pid, r);
	if (r->point == NULL)
		write_down(&s, pid, r->record);
	else
		r->record->end = go_and_die(&s, pid, &r->record->trace, r->point, r->try);
	close_show(&s, r->set);
	r->record->interrupted += s.w.interrupted;
}

/* False: nothing may be traced here. */
static bool run(const struct run *r)
{
	const pid_t pid = plain_fork();

	if (pid == 0) {
		perform(r);
		_exit(0);
	}
	const int status = plain_reap(pid);
	PLAIN_CHECKF(status == 0 || status == 77, "%s: %s %d", r->what, status == -SIGALRM ? "hangs," : "ends with",
		     status);
	return status == 0;
}

/* ---- all kills of one set ---- */

static enum step_end one(void *arg, const struct step_trace *trace, const struct step_point *p, unsigned try,
			 const char *what)
{
	struct run *r = arg;

	(void)trace; /* it is the record's */
	r->point = p;
	r->try = try;
	r->what = what;
	run(r);
	return r->record->end;
}

static struct step_trace copy(const struct step_trace *t)
{
	struct step_trace c = *t;

	c.point = malloc(t->n * sizeof *t->point);
	PLAIN_CHECK(c.point != NULL);
	memcpy(c.point, t->point, t->n * sizeof *t->point);
	return c;
}

/* A store so many 16ths down the way: something is done half. */
static const struct step_point *on_the_way(const struct step_trace *t, unsigned part)
{
	const struct step_point *p = &t->point[t->n * part / 16];

	while (!(p->why & STEP_STORE) && p + 1 < t->point + t->n)
		p++;
	return p;
}

static void all_of(const struct message_set *set, struct record *record, struct steps steps, uint64_t seed,
		   struct tally *sum)
{
	struct run r = { .set = set, .record = record, .what = set->name };
	struct step_trace first = { 0 };

	if (!run(&r))
		PLAIN_SKIP("no ptrace here");
	if (set->takes_over != 0) {
		first = copy(&record->trace);
		r.first = &first;
		r.at = on_the_way(&first, set->takes_over);
		run(&r);
	}
	struct plan plan = plan_begin(set->name, &record->trace, steps, seed);
	record->interrupted = 0;
	plan_run(&plan, one, &r, sum);
	if (record->interrupted != 0)
		scene_note("%-28s %llu calls interrupted", set->name, (unsigned long long)record->interrupted);
	step_trace_free(&first);
}

/* Written down is each set that is taken at all, which costs more than its kills. */
static bool is_due(size_t i, uint64_t seed)
{
	const uint64_t one_of = plan_number("TARN_KILL_SETS", OTHERS);

	if (getenv("TARN_KILL_ONLY") != NULL || plan_number("TARN_KILL_ALL", 0) != 0 || one_of == 0)
		return true;
	if (message_sets[i].takes_over != 0 && arena_slow())
		return false; /* millions of steps */
	return (seed + i) % (message_sets[i].takes_over != 0 ? 2 * one_of : one_of) == 0;
}

static void job(uint64_t *next, uint64_t seed, struct tally *sum)
{
	struct record *record = scene_shared(sizeof *record);
	size_t i;

	/* Who waits sleeps at once. */
	setenv("TARN_SPIN_US", "0", 1);
	setenv("TARN_KILL_STORES", arena_slow() ? SLOW : STORES, 0);
	setenv("TARN_KILL_SAMPLE", arena_slow() ? SLOW : SAMPLE, 0);
	setenv("TARN_KILL_PASSES", "1000000", 0); /* each change of META goes through the same few places */
	step_names_are_mine();
	/* Relaxed: a ticket. */
	while ((i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < n_message_sets) {
		const struct steps steps = plan_steps(message_sets[i].name);

		if (is_due(i, seed) && steps.first <= steps.last)
			all_of(&message_sets[i], record, steps, seed + i, sum);
	}
}

#define TIME 20000 /* the long mode's */

PLAIN_TEST_TIMEOUT(t5_a_server_killed_at_any_store_or_system_call_is_replaced_and_nothing_is_lost, TIME)
{
	plan_jobs(job);
}
#else
PLAIN_TEST(t5_a_server_killed_at_any_store_or_system_call_is_replaced_and_nothing_is_lost)
{
	PLAIN_SKIP("the stepper knows x86-64 only");
}
#endif

PLAIN_MAIN()
