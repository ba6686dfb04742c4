/* SPDX-License-Identifier: Apache-2.0 */
/* Threads, queues and lines; see pool.h. */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "gate.h"
#include "lib/client/call.h"
#include "lib/control.h"
#include "lib/error.h"

#define TRIM_NS 10000000   /* idle for so long: the cache goes back */
#define IDLE_NS 2000000000 /* an executor beyond the first that finds nothing to do ends */

static __thread struct executor *me;

struct executor *tarn__executor_me(void)
{
	return me;
}

/* ---- actors; with the mutex ---- */

static struct actor **bucket(struct pool *p, uint64_t id)
{
	return &p->actor[(tarn__id_index(id) * 2654435761u >> 8) % ACTOR_BUCKETS];
}

static struct actor *actor_find(struct pool *p, uint64_t id)
{
	struct actor *a = *bucket(p, id);

	while (a != NULL && a->id != id)
		a = a->next;
	return a;
}

/* The gate of an index whose former object's last executor has said its result, but has not left
 * yet: waiting for that here, with the mutex, would be for ever. */
static bool inherit_gate(struct actor *a, uint64_t id)
{
	for (; a != NULL; a = a->next) {
		if (a->gate && tarn__id_index(a->id) == tarn__id_index(id)) {
			a->gate = false;
			return true;
		}
	}
	return false;
}

/* The object's actor; made, with its gate taken, if there is none. NULL: no memory. */
static struct actor *actor_get(struct pool *p, uint64_t id)
{
	struct actor *a = actor_find(p, id), **b = bucket(p, id);

	if (a != NULL)
		return a;
	a = p->spare;
	if (a != NULL)
		p->spare = a->next;
	else
		a = malloc(sizeof *a);
	if (a == NULL)
		return NULL;
	*a = (struct actor){ .next = *b, .id = id, .line_end = &a->line, .gate = true };
	if (!inherit_gate(*b, id))
		tarn__gate_take(p->host, id);
	*b = a;
	return a;
}

/* Nobody is at it and nobody stands in line: it goes. */
static void actor_put(struct pool *p, struct actor *a)
{
	struct actor **at = bucket(p, a->id);

	if (a->readers != 0 || a->writers != 0 || a->line != NULL)
		return;
	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	if (a->gate)
		tarn__gate_give(p->host, a->id);
	a->next = p->spare;
	p->spare = a;
}

static bool has_room(const struct actor *a, bool reads)
{
	return a->writers == 0 && (reads || a->readers == 0);
}

static void let_in(struct actor *a, bool reads)
{
	a->readers += reads;
	a->writers += !reads;
}

static void insert(struct actor *a, struct tarn__stand **at, struct tarn__stand *s)
{
	s->next = *at;
	*at = s;
	if (s->next == NULL)
		a->line_end = &s->next;
}

/* The place behind all executors that stand in line, which are in front of all jobs: a job needs
 * a thread, and who waits behind it has one. Were all threads to wait so, nobody would run it. */
static struct tarn__stand **behind_executors(struct actor *a)
{
	struct tarn__stand **at = &a->line;

	while (*at != NULL && (*at)->job == NULL)
		at = &(*at)->next;
	return at;
}

/* More jobs than hands that are free, or will be in a moment. */
static bool wants_more(const struct pool *p)
{
	return p->queued > p->idle + p->starting && p->n < p->most && !p->stopping;
}

static void ready_add(struct pool *p, struct tarn__job *job)
{
	job->next = NULL;
	*p->ready_end = job;
	p->ready_end = &job->next;
	p->queued++;
	if (p->idle > 0)
		pthread_cond_signal(&p->work);
	if (wants_more(p))
		pthread_cond_signal(&p->grow);
}

/* Lets in who is first in line, as far as there is room. */
static void advance(struct pool *p, struct actor *a)
{
	struct tarn__stand *s;

	while ((s = a->line) != NULL && has_room(a, s->reads)) {
		a->line = s->next;
		if (a->line == NULL)
			a->line_end = &a->line;
		let_in(a, s->reads);
		s->granted = true;
		if (s->job != NULL)
			ready_add(p, s->job);
		else
			pthread_cond_signal(&((struct executor *)s->executor)->turn);
	}
	actor_put(p, a);
}

/* Whether others who do may be there at the same time. Methods of a parallel type meet an actor
 * only behind the creator; what waited there for it shares the object from then on. */
static bool shares(const struct tarn__served *t, const struct tarn__offer *offer)
{
	return offer != NULL && (t->type->concurrency == TARN_PARALLEL ||
				 (t->type->concurrency == TARN_READ_MOSTLY &&
				  (offer->flags & TARN_METHOD_READ)));
}

/* ---- a method that calls in place ---- */

/* Whether @e is at @a: one of its methods runs there. */
static bool is_at(const struct executor *e, const struct actor *a)
{
	for (const struct presence *h = e->present; h != NULL; h = h->outer)
		if (h->actor == a)
			return true;
	return false;
}

/* Whether all that @a waits for leads to @e: then it would wait for ever. */
static bool leads_to(struct pool *p, const struct actor *a, const struct executor *e, unsigned depth)
{
	for (const struct executor *x = p->executors; x != NULL && depth < 4096; x = x->next) {
		if (!is_at(x, a))
			continue;
		if (x == e || (x->waits_for != NULL && leads_to(p, x->waits_for, e, depth + 1)))
			return true;
	}
	return false;
}

/* A job that was let in but that no executor has begun gives its place up: else who has the
 * only thread would wait for what needs one. */
static void take_from_ready(struct pool *p, struct actor *a)
{
	struct tarn__stand **to = behind_executors(a);

	for (struct tarn__job **at = &p->ready, *job; (job = *at) != NULL;) {
		if (job->actor != a) {
			at = &job->next;
			continue;
		}
		*at = job->next;
		if (*at == NULL)
			p->ready_end = at;
		p->queued--;
		a->readers -= job->stand.reads;
		a->writers -= !job->stand.reads;
		job->stand.granted = false;
		insert(a, to, &job->stand);
		to = &job->stand.next; /* in their order */
	}
}

static int wait_turn(struct pool *p, struct executor *e, struct actor *a, bool reads,
		     uint64_t deadline)
{
	struct tarn__stand s = { .executor = e, .reads = reads };
	struct timespec until = { .tv_sec = (time_t)(deadline / 1000000000u),
				  .tv_nsec = (long)(deadline % 1000000000u) };
	int r = 0;

	if (leads_to(p, a, e, 0))
		return -EDEADLK;
	insert(a, behind_executors(a), &s);
	e->waits_for = a;
	while (!s.granted && r == 0 && !p->stopping) {
		if (deadline == UINT64_MAX)
			pthread_cond_wait(&e->turn, &p->mutex);
		else
			r = -pthread_cond_timedwait(&e->turn, &p->mutex, &until);
	}
	e->waits_for = NULL;
	if (s.granted)
		return 0;
	struct tarn__stand **at = &a->line;
	while (*at != &s)
		at = &(*at)->next;
	*at = s.next;
	if (*at == NULL)
		a->line_end = at;
	advance(p, a);
	return p->stopping ? -TARN_ESRVDOWN : r;
}

static void note(struct executor *e, struct presence *here, struct actor *a, bool reads)
{
	*here = (struct presence){ .actor = a, .outer = e->present, .reads = reads };
	e->present = here;
}

int tarn__actor_enter(struct executor *e, const struct tarn__served *t,
		      const struct tarn__offer *offer, uint64_t id, uint64_t deadline,
		      struct presence *here)
{
	struct pool *p = e->pool;
	bool reads = shares(t, offer);
	struct actor *a = NULL;
	int r = 0;

	pthread_mutex_lock(&p->mutex);
	if (t->type->concurrency != TARN_PARALLEL || actor_find(p, id) != NULL) {
		a = actor_get(p, id);
		r = a != NULL ? 0 : -ENOMEM;
	}
	if (a != NULL && is_at(e, a)) {
		/* Again within itself. Who reads may not begin to write: others read, too. */
		r = !reads && a->writers == 0 ? -EDEADLK : 0;
		a = NULL;
	} else if (a != NULL && a->broken) {
		r = -TARN_ESTALE;
	} else if (a != NULL) {
		if (!has_room(a, reads))
			take_from_ready(p, a);
		if (has_room(a, reads))
			let_in(a, reads);
		else
			r = wait_turn(p, e, a, reads, deadline);
	}
	if (r == 0)
		note(e, here, a, reads);
	pthread_mutex_unlock(&p->mutex);
	return r;
}

static void leave(struct pool *p, struct executor *e, const struct presence *here)
{
	struct actor *a = here->actor;

	e->present = here->outer;
	if (a == NULL)
		return;
	a->readers -= here->reads;
	a->writers -= !here->reads;
	advance(p, a);
}

void tarn__actor_leave(struct executor *e, struct presence *here)
{
	pthread_mutex_lock(&e->pool->mutex);
	leave(e->pool, e, here);
	pthread_mutex_unlock(&e->pool->mutex);
}

/* ---- threads ---- */

/* From a thread of its own: the server has to be serving to answer. Who waits for an executor is told if it
 * fails, mostly for want of descriptors or memory; it can be done again over the same connection. */
static bool attach(struct pool *p)
{
	static const tarn_client_options none;
	struct tarn__request failed = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_NO_HOST };
	int fd = fcntl(p->socket, F_DUPFD_CLOEXEC, 3);
	tarn_client *client = NULL;
	int r = fd < 0 ? -errno : tarn__client_open_on(fd, p->server, &none, true, &client);

	if (r < 0) {
		failed.argument = (uint64_t)-r;
		tarn__control_send(p->socket, &failed, sizeof failed, NULL, 0, MSG_DONTWAIT);
		return false;
	}
	client->direct = &tarn__host_direct;
	pthread_mutex_lock(&p->mutex);
	close(p->socket);
	p->socket = -1;
	p->client = client;
	pthread_mutex_unlock(&p->mutex);
	return true;
}

static int wait_for(struct pool *p, pthread_cond_t *condition, int64_t ns)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ns / 1000000000);
	until.tv_nsec += (long)(ns % 1000000000);
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	return pthread_cond_timedwait(condition, &p->mutex, &until);
}

/* With the mutex: the next job, NULL: this executor ends. */
static struct tarn__job *next_job(struct executor *e)
{
	struct pool *p = e->pool;
	struct tarn__job *job;

	while ((job = p->ready) == NULL && !p->stopping) {
		int r = 0;

		p->idle++;
		if (e->worked)
			r = wait_for(p, &p->work, TRIM_NS);
		else if (p->n > 1)
			r = wait_for(p, &p->work, IDLE_NS);
		else
			pthread_cond_wait(&p->work, &p->mutex);
		p->idle--;
		if (r != ETIMEDOUT || p->ready != NULL)
			continue;
		if (!e->worked && p->n > 1)
			return NULL;
		/* Nothing to do: what its cache holds others can use. Then it sleeps. */
		e->worked = false;
		pthread_mutex_unlock(&p->mutex);
		tarn_client_trim(p->client);
		pthread_mutex_lock(&p->mutex);
	}
	if (p->stopping)
		return NULL;
	p->ready = job->next;
	if (p->ready == NULL)
		p->ready_end = &p->ready;
	p->queued--;
	e->worked = true;
	return job;
}

static void work(struct executor *e)
{
	struct pool *p = e->pool;
	struct tarn__job *job;

	while ((job = next_job(e)) != NULL) {
		note(e, &e->first, job->actor, job->stand.reads);
		job->broken = e->first.actor != NULL && e->first.actor->broken;
		e->failed = false;
		pthread_mutex_unlock(&p->mutex);
		tarn__job_run(e, job); /* from its result on the job may be gone */
		pthread_mutex_lock(&p->mutex);
		if (e->failed && e->first.actor != NULL)
			e->first.actor->broken = true;
		leave(p, e, &e->first);
	}
}

/* The lane is parked by the thread's key, at the very end of a thread, when the client may be
 * closed already: so by hand. */
static void park_lane(tarn_client *client)
{
	void *lane = pthread_getspecific(client->key);

	pthread_setspecific(client->key, NULL);
	if (lane != NULL)
		tarn__lane_park(lane);
}

/* Where a handler runs when the stack has overflown: @bytes at @memory, on this very stack, but at
 * its beginning. Unless somebody has made one already. */
static void signal_stack(void *memory, size_t bytes)
{
	const stack_t own = { .ss_sp = memory, .ss_size = bytes };
	stack_t now;

	if (sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE))
		sigaltstack(&own, NULL);
}

static void *executor_main(void *arg)
{
	struct executor *e = arg;
	struct pool *p = e->pool;
	unsigned char memory[16384];

	signal_stack(memory, sizeof memory);

	prctl(PR_SET_NAME, "tarn-executor", 0, 0, 0);
	me = e;
	pthread_mutex_lock(&p->mutex);
	p->starting--;
	work(e);
	pthread_mutex_unlock(&p->mutex);
	me = NULL;
	park_lane(p->client);
	pthread_mutex_lock(&p->mutex);
	*e->link = e->next;
	if (e->next != NULL)
		e->next->link = e->link;
	p->n--;
	/* A job that came since we decided to end found us counted, and nobody idle. */
	if (wants_more(p))
		pthread_cond_signal(&p->grow);
	pthread_cond_broadcast(&p->ended);
	pthread_mutex_unlock(&p->mutex);
	pthread_cond_destroy(&e->turn);
	free(e);
	return NULL;
}

/* Signals are for the server's own thread. */
static int start_thread(void *(*fn)(void *), void *arg)
{
	static const int causes[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS };
	pthread_attr_t detached;
	sigset_t all, before;
	pthread_t thread;

	sigfillset(&all);
	/* What a method itself causes has to find its handler: see lib/server/crash.c. */
	for (unsigned i = 0; i < sizeof causes / sizeof *causes; i++)
		sigdelset(&all, causes[i]);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	int r = -pthread_create(&thread, &detached, fn, arg);
	pthread_attr_destroy(&detached);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

static struct executor *executor_new(struct pool *p)
{
	struct executor *e = calloc(1, sizeof *e);
	pthread_condattr_t clock;

	if (e == NULL)
		return NULL;
	e->pool = p;
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&e->turn, &clock);
	pthread_condattr_destroy(&clock);
	e->next = p->executors;
	e->link = &p->executors;
	if (e->next != NULL)
		e->next->link = &e->next;
	p->executors = e;
	p->n++;
	p->starting++;
	return e;
}

/* With the mutex, which it lets go meanwhile. */
static bool start_one(struct pool *p)
{
	struct executor *e = executor_new(p);

	if (e == NULL)
		return false;
	pthread_mutex_unlock(&p->mutex);
	int r = start_thread(executor_main, e);
	pthread_mutex_lock(&p->mutex);
	if (r == 0)
		return true;
	*e->link = e->next;
	if (e->next != NULL)
		e->next->link = e->link;
	p->n--;
	p->starting--;
	pthread_cond_destroy(&e->turn);
	free(e);
	return false;
}

#define AGAIN_NS 10000000 /* until a thread that the system refused is tried again */
#define ATTACH_AGAIN_NS 100000000 /* and attaching that failed: what waits meanwhile is answered with why */

/* With the first job it attaches, then starts executors as jobs need them: the reactor has no time
 * for that. It is there from the start: refused later, nobody would ever do it. */
static void *grower_main(void *arg)
{
	struct pool *p = arg;

	prctl(PR_SET_NAME, "tarn-host", 0, 0, 0);
	pthread_mutex_lock(&p->mutex);
	while (p->client == NULL && !p->stopping) {
		if (p->queued == 0) {
			pthread_cond_wait(&p->grow, &p->mutex);
			continue;
		}
		pthread_mutex_unlock(&p->mutex);
		bool attached = attach(p);
		pthread_mutex_lock(&p->mutex);
		if (!attached && !p->stopping)
			wait_for(p, &p->grow, ATTACH_AGAIN_NS);
	}
	while (!p->stopping) {
		if (!wants_more(p))
			pthread_cond_wait(&p->grow, &p->mutex);
		else if (!start_one(p))
			wait_for(p, &p->grow, AGAIN_NS);
	}
	p->growing = false;
	pthread_cond_broadcast(&p->ended);
	pthread_mutex_unlock(&p->mutex);
	return NULL;
}

/* ---- what the reactor does ---- */

void tarn__pool_submit(struct tarn__host *host, struct tarn__job *job)
{
	struct host *h = host_of(host);
	struct pool *p = h->pool;

	host->busy = true;
	pthread_mutex_lock(&p->mutex);
	/* A creator is alone, whatever the type says, and its object's first calls come after it. */
	bool alone = job->deed == TARN__DEED_CREATE ||
		     (job->deed == TARN__DEED_METHOD &&
		      (job->served->type->concurrency != TARN_PARALLEL ||
		       actor_find(p, job->id) != NULL));
	job->stand = (struct tarn__stand){ .job = job, .reads = shares(job->served, job->offer) };
	struct actor *a = alone ? actor_get(p, job->id) : NULL;
	job->actor = a;
	if (a == NULL) {
		ready_add(p, job); /* also without memory for an actor: late, but it runs */
	} else if (a->line == NULL && has_room(a, job->stand.reads)) {
		let_in(a, job->stand.reads);
		job->stand.granted = true;
		ready_add(p, job);
	} else {
		insert(a, a->line_end, &job->stand);
	}
	if (!p->growing && !p->stopping)
		p->growing = start_thread(grower_main, p) == 0;
	pthread_mutex_unlock(&p->mutex);
}

void tarn__pool_rest(struct tarn__host *host)
{
	struct pool *p = host_of(host)->pool;

	/* Who stands in line for an object waits for an executor, which is not idle then. */
	pthread_mutex_lock(&p->mutex);
	host->busy = p->queued != 0 || p->starting != 0 || p->idle != p->n;
	pthread_mutex_unlock(&p->mutex);
}

void tarn__pool_cancel(struct tarn__host *host, struct tarn__job *job)
{
	(void)host;
	/* Relaxed: a hint to the method, and to the executor that has not begun yet. */
	tarn__store32_relaxed(&job->canceled, 1);
}

/* ---- life ---- */

struct pool *tarn__pool_new(struct host *h, uint32_t max_executors)
{
	struct pool *p = calloc(1, sizeof *p);
	pthread_condattr_t clock;

	if (p == NULL)
		return NULL;
	p->host = h;
	p->most = max_executors != 0 ? max_executors : 1;
	p->socket = -1;
	p->ready_end = &p->ready;
	pthread_mutex_init(&p->mutex, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&p->work, &clock);
	pthread_cond_init(&p->ended, &clock);
	pthread_cond_init(&p->grow, &clock);
	pthread_condattr_destroy(&clock);
	return p;
}

int tarn__host_attach(struct tarn__host *host, int socket, const char *server)
{
	struct pool *p = host_of(host)->pool;

	p->socket = socket;
	snprintf(p->server, sizeof p->server, "%s", server);
	p->growing = true;
	int r = start_thread(grower_main, p);
	if (r == 0)
		return 0;
	p->growing = false;
	return tarn__fail(r, "no thread for the host of objects: %s", tarn_error_text(r));
}

bool tarn__pool_stop(struct pool *p, int64_t timeout_ns)
{
	uint64_t deadline = tarn__deadline(timeout_ns);
	struct timespec until = { .tv_sec = (time_t)(deadline / 1000000000u),
				  .tv_nsec = (long)(deadline % 1000000000u) };
	int r = 0;

	pthread_mutex_lock(&p->mutex);
	p->stopping = true;
	/* Relaxed: sticky, looked at on every wait. The server does not answer any more. */
	if (p->client != NULL)
		tarn__store32_relaxed(&p->client->down, TARN_ESRVDOWN);
	/* Relaxed: a hint to methods. Not by way of their jobs: one whose result was sent is gone. */
	tarn__store32_relaxed(&p->host->ending, 1);
	for (struct executor *e = p->executors; e != NULL; e = e->next)
		pthread_cond_signal(&e->turn);
	pthread_cond_broadcast(&p->work);
	pthread_cond_signal(&p->grow);
	while ((p->n != 0 || p->growing) && r == 0)
		r = pthread_cond_timedwait(&p->ended, &p->mutex, &until);
	bool ended = p->n == 0 && !p->growing;
	pthread_mutex_unlock(&p->mutex);
	return ended;
}

void tarn__pool_free(struct pool *p)
{
	if (p == NULL)
		return;
	if (p->socket >= 0)
		close(p->socket);
	for (struct tarn__job *job; (job = p->ready) != NULL;) {
		p->ready = job->next;
		if (job->number == 0)
			free(job); /* destructors are nobody's but ours */
	}
	for (unsigned i = 0; i < ACTOR_BUCKETS; i++)
		while (p->actor[i] != NULL) {
			struct actor *a = p->actor[i];

			p->actor[i] = a->next;
			free(a);
		}
	for (struct actor *a; (a = p->spare) != NULL;) {
		p->spare = a->next;
		free(a);
	}
	tarn_client_close(p->client);
	pthread_cond_destroy(&p->work);
	pthread_cond_destroy(&p->ended);
	pthread_cond_destroy(&p->grow);
	pthread_mutex_destroy(&p->mutex);
	free(p);
}

void tarn__host_facts(const struct tarn__host *host, struct tarn__host_facts *ret)
{
	struct pool *p = tarn__container_of((struct tarn__host *)(uintptr_t)host, struct host, base)->pool;

	pthread_mutex_lock(&p->mutex);
	*ret = (struct tarn__host_facts){ .executors = p->n, .idle = p->idle, .most = p->most,
					  .queued = p->queued };
	pthread_mutex_unlock(&p->mutex);
}
