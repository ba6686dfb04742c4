/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker process: from its order to its outcome.
 *
 * Arguments and outcome lie in a tarn.Process, of which parent and child hold a reference each. The
 * child gets its own by a token that is good for one use.
 */
#include "process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch.h"
#include "lib/entry.h"
#include "lib/value/fault.h"
#include "shm/wake.h"

#define LOG_BYTES (256u << 10)
#define LOG_LEAST (64u << 10)
#define LOG_MOST (64u << 20)

/* ---- references ---- */

void tarn__process_hold(struct tarn_process *p)
{
	/* Relaxed: the caller has one. */
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
}

static void strings_free(struct tarn_process *p)
{
	for (char **a = p->argv; a != NULL && *a != NULL; a++)
		free(*a);
	free(p->argv);
	free(p->program);
	if (p->route.own)
		free((char *)(uintptr_t)p->route.handler.format);
}

void tarn__process_release(struct tarn_process *p)
{
	/* SYNC process-refs: what others did with it is over before it is freed. */
	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	for (int i = 0; i < 2; i++)
		if (p->in[i].fd >= 0)
			close(p->in[i].fd);
	if (p->pidfd >= 0)
		close(p->pidfd);
	if (p->order_fd >= 0)
		close(p->order_fd);
	if (p->work != NULL) {
		/* If nobody attached with it. A forked child has the same memory, and no say in it. */
		if (p->owner == getpid())
			explicit_bzero(p->work->key, sizeof p->work->key);
		munmap(p->work, p->work_bytes);
	}
	pthread_mutex_destroy(&p->mutex);
	strings_free(p);
	free(p);
}

tarn_process *tarn_process_ref(tarn_process *process)
{
	/* Relaxed: the caller has one. */
	__atomic_add_fetch(&process->users, 1, __ATOMIC_RELAXED);
	return process;
}

/* Nobody will take the arguments any more. */
static void forget_arguments(struct tarn_process *p)
{
	/* Relaxed: what a dead process wrote. Failures mean that there is nothing to forget. */
	if (p->object == NULL || tarn__load32_relaxed(&p->work->phase) >= TARN__WORK_TOOK)
		return;
	tarn_token_revoke(p->client, &p->work->token);
	tarn_call(p->object, "forget", NULL, NULL, TARN_FOREVER);
}

tarn_process *tarn_process_unref(tarn_process *process)
{
	struct tarn_process *p = process;

	/* SYNC process-refs. */
	if (p == NULL || __atomic_sub_fetch(&p->users, 1, __ATOMIC_ACQ_REL) != 0)
		return NULL;
	if (p->owner == getpid()) {
		pthread_mutex_lock(&p->mutex);
		const bool waits = p->state != TARN_PROCESS_INITIAL && !p->settled;
		pthread_mutex_unlock(&p->mutex);
		if (p->state == TARN_PROCESS_INITIAL || (waits && tarn__process_collect(p)))
			forget_arguments(p);
		tarn_parcel_fini(&p->result);
		tarn_object_unref(p->object);
	}
	tarn_fault_unref(p->fault);
	tarn__process_release(p);
	return NULL;
}

/* ---- making ---- */

static int check_name(const char *what, const char *name)
{
	if (name == NULL)
		return 0;
	if (strlen(name) >= TARN__WORK_NAME)
		return tarn__fail(-ENAMETOOLONG, "The %s of a process has %zu bytes; at most %u are "
				  "possible.", what, strlen(name), TARN__WORK_NAME - 1);
	return 0;
}

static int check_entry(const char *name)
{
	if (name == NULL || tarn__worker_find(name) != NULL || tarn_entry_find(name) != NULL)
		return check_name("entry", name);
	return tarn__fail(-ENOENT, "There is no entry \"%s\" in this program: define it by "
			  "TARN_WORKER(%s) in the executable or in a library that it is linked with.",
			  name, name);
}

static int check(tarn_client *client, const tarn_process_options *o)
{
	int r = o->program == NULL ? check_entry(o->entry) : 0;

	if (r == 0)
		r = check_entry(o->on_error);
	if (r == 0)
		r = check_name("name", o->name);
	if (r < 0)
		return r;
	if (o->program != NULL && o->entry != NULL)
		return tarn__fail(-EINVAL, "A process runs an entry of this program or another program, "
				  "not both (\"%s\" and \"%s\").", o->entry, o->program);
	if (client == NULL && o->args != NULL && tarn_builder_count(o->args) > 0)
		return tarn__fail(-EINVAL, "A process without a client can have no arguments.");
	if (o->client != NULL && o->client->authkey_bytes > TARN__WORK_KEY)
		return tarn__fail(-EINVAL, "The authkey has %zu bytes; at most %u are possible.",
				  o->client->authkey_bytes, TARN__WORK_KEY);
	return 0;
}

static bool copy_strings(struct tarn_process *p, const tarn_process_options *o)
{
	size_t n = 0;

	if (o->log != NULL) {
		p->route.handler = *o->log;
		p->route.handler.format = NULL;
		p->route.own = true;
		if (o->log->format != NULL &&
		    (p->route.handler.format = strdup(o->log->format)) == NULL)
			return false;
	}
	p->program = strdup(o->program != NULL ? o->program : TARN__IMAGE_SELF);
	while (o->argv != NULL && o->argv[n] != NULL)
		n++;
	p->argv = calloc((n > 0 ? n : 1) + 1, sizeof *p->argv);
	if (p->program == NULL || p->argv == NULL)
		return false;
	if (n == 0 && (p->argv[0] = strdup(o->program != NULL ? o->program : p->name)) == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((p->argv[i] = strdup(o->argv[i])) == NULL)
			return false;
	return true;
}

static uint64_t ring_bytes_of(const tarn_process_options *o)
{
	uint64_t bytes = LOG_LEAST;

	while (bytes < (o->log_bytes != 0 ? o->log_bytes : LOG_BYTES) && bytes < LOG_MOST)
		bytes *= 2;
	return bytes;
}

/* The object with the arguments, and a token of it. */
static int hand_over(struct tarn_process *p, const tarn_process_options *o)
{
	const tarn_export_options once = {
		.uses = 1, .outlive_issuer = o->detached,
		/* A detached child may start when its parent is gone. */
		.lifetime_ns = o->detached ? INT64_C(600000000000) : 0,
	};
	struct tarn_block *item;
	tarn_builder b;
	int r = tarn__carried_new(p->client, o->args, &item);

	if (r < 0)
		return r;
	tarn_builder_init(&b);
	tarn__carried_put(&b, item);
	r = tarn_object_new(p->client, "tarn.Process", &b, &p->object);
	tarn_builder_fini(&b);
	tarn__carried_drop(item);
	if (r == 0)
		r = tarn_object_export(p->object, &once, &p->work->token);
	if (r == 0)
		r = tarn_client_export(p->client, p->work->server, sizeof p->work->server);
	p->work->has_client = 1;
	return r;
}

static void write_order(struct tarn_process *p, const tarn_process_options *o)
{
	struct tarn__work *w = p->work;

	memcpy(w->name, p->name, sizeof w->name);
	w->program = o->program != NULL;
	snprintf(w->entry, sizeof w->entry, "%s", o->entry != NULL ? o->entry : "");
	snprintf(w->on_error, sizeof w->on_error, "%s", o->on_error != NULL ? o->on_error : "");
	if (o->client != NULL) {
		w->client = *o->client;
		w->client.authkey = NULL;
		w->key_bytes = o->client->authkey != NULL ? (uint32_t)o->client->authkey_bytes : 0;
		memcpy(w->key, o->client->authkey != NULL ? o->client->authkey : "", w->key_bytes);
	}
	tarn__log_ring_init(&w->ring, p->ring_bytes);
}

static int make(struct tarn_process *p, const tarn_process_options *o)
{
	static unsigned number;
	void *order;

	if (o->name != NULL)
		snprintf(p->name, sizeof p->name, "%s", o->name);
	else /* Relaxed: a number is all it is. */
		snprintf(p->name, sizeof p->name, "Process-%u",
			 __atomic_add_fetch(&number, 1, __ATOMIC_RELAXED));
	p->route.process = p->name;
	if (!copy_strings(p, o))
		return tarn__fail(-ENOMEM, "No memory for a process.");
	p->ring_bytes = ring_bytes_of(o);
	p->work_bytes = sizeof *p->work + p->ring_bytes;
	p->order_fd = tarn__order_open("a worker process", TARN__WORK_MAGIC, p->work_bytes, &order);
	if (p->order_fd < 0)
		return p->order_fd;
	p->work = order;
	write_order(p, o);
	return p->client != NULL ? hand_over(p, o) : 0;
}

int tarn_process_new(tarn_client *client, const tarn_process_options *options,
		     tarn_process **ret_process)
{
	static const tarn_process_options none;
	const tarn_process_options *o = options != NULL ? options : &none;
	int r = tarn__work_check();

	if (r == 0)
		r = check(client, o);
	if (r < 0)
		return r;
	struct tarn_process *p = calloc(1, sizeof *p);
	if (p == NULL)
		return tarn__fail(-ENOMEM, "No memory for a process.");
	*p = (struct tarn_process){
		.refs = 1, .users = 1, .owner = getpid(), .client = client, .order_fd = -1, .pidfd = -1,
		.detached = o->detached, .forward = !o->no_log, .state = TARN_PROCESS_INITIAL,
		.exitcode = TARN_EXIT_NONE,
		.stdio = { o->stdin_fd > 0 ? o->stdin_fd : -1, o->stdout_fd > 0 ? o->stdout_fd : -1,
			   o->stderr_fd > 0 ? o->stderr_fd : -1 },
		.stdio_to = { TARN_STDIO_INHERIT, o->stdout_to, o->stderr_to },
		.in = { { .fd = -1, .source = TARN_LOG_STDOUT }, { .fd = -1, .source = TARN_LOG_STDERR } },
	};
	pthread_mutex_init(&p->mutex, NULL);
	tarn_parcel_init(&p->result);
	r = make(p, o);
	if (r < 0)
		tarn_process_unref(p);
	else
		*ret_process = p;
	return r;
}

/* ---- starting ---- */

static int check_owner(const struct tarn_process *p)
{
	return p->owner == getpid() ? 0
	       : tarn__fail(-TARN_EFORKED, "Process %s was spawned by the process that this one was "
			    "forked from.", p->name);
}

/* A pipe for each stream that is captured: its end for the child. */
static int capture(struct tarn_process *p, int ret_ends[2])
{
	for (int i = 0; i < 2; i++) {
		int ends[2];

		if (p->stdio[i + 1] >= 0 || p->stdio_to[i + 1] != TARN_STDIO_LOG)
			continue;
		int r = tarn__pipe_high(ends);
		if (r < 0)
			return tarn__fail(r, "cannot capture the output of process %s: %s", p->name,
					  strerror(-r));
		fcntl(ends[0], F_SETFL, O_NONBLOCK);
		p->in[i].fd = ends[0];
		ret_ends[i] = ends[1];
	}
	return 0;
}

static int execute(struct tarn_process *p, const int ends[2], int bell)
{
	char variable[48];
	struct tarn__launch l = {
		.program = p->program, .argv = p->argv, .detached = p->detached,
		.stdio = { p->stdio[0], ends[0] >= 0 ? ends[0] : p->stdio[1],
			   ends[1] >= 0 ? ends[1] : p->stdio[2] },
		.null = { true, p->stdio_to[1] == TARN_STDIO_NULL,
			  p->stdio_to[2] == TARN_STDIO_NULL },
		.keep = { p->order_fd, bell },
	};

	snprintf(variable, sizeof variable, TARN__WORK_VARIABLE "=%d", p->order_fd);
	char **environment = tarn__environment_with(&(char *){ variable }, 1);
	if (environment == NULL)
		return tarn__fail(-ENOMEM, "No memory for the environment of process %s.", p->name);
	l.envp = environment;
	int r = tarn__launch(&l);
	free(environment);
	if (r < 0)
		return tarn__fail(r, "%s cannot be executed for process %s: %s.", p->program, p->name,
				  strerror(-r));
	p->pid = l.pid;
	p->pidfd = l.pidfd;
	return 0;
}

static void note_end(struct tarn_process *p, const siginfo_t *si)
{
	p->ended_ns = tarn__now();
	if (si == NULL) {
		p->exitcode = TARN_EXIT_UNKNOWN;
		p->state = TARN_PROCESS_FAILED;
	} else if (si->si_code == CLD_EXITED) {
		p->exitcode = si->si_status;
		p->state = si->si_status == 0 ? TARN_PROCESS_SUCCEEDED : TARN_PROCESS_FAILED;
	} else {
		p->exitcode = -si->si_status;
		p->core = si->si_code == CLD_DUMPED;
		p->state = si->si_status == SIGTERM ? TARN_PROCESS_TERMINATED : TARN_PROCESS_KILLED;
	}
	/* SYNC process-end, release: how it ended comes before that it did. */
	tarn__store32_release(&p->ended, 1);
	tarn__futex_wake(&p->ended, INT32_MAX);
}

/* It was not started, and may be again: with pipes of its own. */
static void capture_undo(struct tarn_process *p)
{
	for (int i = 0; i < 2; i++) {
		if (p->in[i].fd >= 0)
			close(p->in[i].fd);
		p->in[i].fd = -1;
	}
}

/* Locked. */
static int start(struct tarn_process *p)
{
	int ends[2] = { -1, -1 }, bell = p->forward ? tarn__handler_bell() : -1;
	int r = bell < 0 && p->forward ? bell : capture(p, ends);

	tarn__oom_prepare();
	p->work->bell = bell;
	if (r == 0)
		r = execute(p, ends, bell);
	for (int i = 0; i < 2; i++)
		if (ends[i] >= 0)
			close(ends[i]);
	if (r < 0) {
		capture_undo(p);
		return r;
	}
	close(p->order_fd);
	p->order_fd = -1;
	p->state = TARN_PROCESS_RUNNING;
	r = tarn__handler_add(p);
	if (r < 0) { /* nobody else would collect it */
		siginfo_t si = { .si_pid = 0 };

		syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
		while (waitid(P_PIDFD, (id_t)p->pidfd, &si, WEXITED) != 0 && errno == EINTR)
			;
		note_end(p, si.si_pid != 0 ? &si : NULL);
		tarn__store32_release(&p->drained, 1);
		return tarn__fail(r, "Process %s cannot be looked after: %s.", p->name, strerror(-r));
	}
	return 0;
}

int tarn_process_start(tarn_process *process)
{
	int r = check_owner(process);

	if (r < 0)
		return r;
	pthread_mutex_lock(&process->mutex);
	if (process->state != TARN_PROCESS_INITIAL || process->order_fd < 0)
		r = tarn__fail(-TARN_ESTATE, "Process %s was started before.", process->name);
	else
		r = start(process);
	pthread_mutex_unlock(&process->mutex);
	return r;
}

int tarn_process_spawn(tarn_client *client, const tarn_process_options *options,
		       tarn_process **ret_process)
{
	tarn_process *p;
	int r = tarn_process_new(client, options, &p);

	if (r < 0)
		return r;
	r = tarn_process_start(p);
	if (r < 0)
		tarn_process_unref(p);
	else
		*ret_process = p;
	return r;
}

/* ---- its end ---- */

bool tarn__process_collect(struct tarn_process *p)
{
	/* SYNC process-end, acquire. */
	if (tarn__load32_acquire(&p->ended) != 0)
		return true;
	siginfo_t si = { .si_pid = 0 };
	bool over = false;

	pthread_mutex_lock(&p->mutex);
	if (p->state == TARN_PROCESS_RUNNING) {
		if (waitid(P_PIDFD, (id_t)p->pidfd, &si, WEXITED | WNOHANG) != 0) {
			if (errno == ECHILD) /* somebody else took its status */
				note_end(p, NULL);
		} else if (si.si_pid != 0) {
			note_end(p, &si);
		}
	}
	over = tarn__load32_acquire(&p->ended) != 0;
	pthread_mutex_unlock(&p->mutex);
	return over;
}

int tarn__process_await(struct tarn_process *p, bool records, uint64_t deadline)
{
	uint32_t *word = records && !tarn__handler_is_me() ? &p->drained : &p->ended;

	/* SYNC process-end, acquire. */
	while (tarn__load32_acquire(word) == 0) {
		int r;

		if (word == &p->ended && tarn__process_collect(p))
			break;
		r = tarn__futex_wait(word, 0, deadline);
		if (r == -ETIMEDOUT)
			return r;
	}
	return 0;
}

/* ---- the outcome ---- */

/* What it said to the server; locked. */
static int ask_outcome(struct tarn_process *p)
{
	struct tarn_block *item;
	tarn_parcel answer;
	int64_t said = 0;
	int r = tarn_call(p->object, "outcome", NULL, &answer, TARN_FOREVER);

	if (r < 0)
		return r;
	r = tarn_value_int(tarn_parcel_at(&answer, 0), &said);
	if (r == 0)
		r = tarn__carried_of(tarn_parcel_at(&answer, 1), &item);
	if (r == 0 && said == 1 && p->exitcode == 0)
		r = tarn__carried_read(item, &p->result);
	if (r == 0 && said == 2 && p->exitcode > 0) {
		tarn_parcel fault;

		r = tarn__carried_read(item, &fault);
		if (r == 0) {
			r = tarn_value_error(tarn_parcel_at(&fault, 0), &p->fault);
			tarn_parcel_fini(&fault);
		}
	}
	tarn_parcel_fini(&answer);
	return r;
}

/* What it wrote into its order because it could not tell the server; input. Locked. */
static void read_failure(struct tarn_process *p)
{
	char domain[sizeof p->work->domain], failure[sizeof p->work->failure];

	if (p->exitcode <= 0 || tarn__load32_acquire(&p->work->phase) != TARN__WORK_FAILED)
		return;
	memcpy(domain, p->work->domain, sizeof domain);
	memcpy(failure, p->work->failure, sizeof failure);
	domain[sizeof domain - 1] = failure[sizeof failure - 1] = '\0';
	p->fault = tarn_fault_new(domain, p->work->code, "%s", failure);
}

/* Locked; it has ended. */
static void settle(struct tarn_process *p)
{
	int r = 0;

	if (p->state == TARN_PROCESS_SUCCEEDED || p->state == TARN_PROCESS_FAILED)
		read_failure(p);
	if (p->fault == NULL && p->object != NULL &&
	    (p->state == TARN_PROCESS_SUCCEEDED || p->state == TARN_PROCESS_FAILED))
		r = ask_outcome(p);
	if (p->fault == NULL)
		p->fault = tarn__process_exit_fault(p);
	if (p->fault != NULL)
		r = 0; /* its end says enough */
	if (r < 0) {
		p->settle_error = r;
		snprintf(p->settle_text, sizeof p->settle_text, "%.255s",
			 tarn_error_last()->message);
	}
	forget_arguments(p);
	p->settled = true;
}

int tarn__process_settle(struct tarn_process *p)
{
	pthread_mutex_lock(&p->mutex);
	if (!p->settled)
		settle(p);
	const int r = p->settle_error;
	pthread_mutex_unlock(&p->mutex);
	return r < 0 ? tarn__fail(r, "Process %s: its result is lost: %s", p->name, p->settle_text) : 0;
}

static int fail_initial(const struct tarn_process *p)
{
	return tarn__fail(-TARN_ESTATE, "Process %s was not started.", p->name);
}

/* Waits for its end and what there is to know of it. */
static int finish(struct tarn_process *p, int64_t timeout_ns)
{
	int r = check_owner(p);

	if (r < 0)
		return r;
	if (tarn_process_state(p) == TARN_PROCESS_INITIAL)
		return fail_initial(p);
	if (tarn__process_await(p, true, tarn__deadline(timeout_ns)) < 0)
		return tarn__fail(tarn__late(timeout_ns), "Process %s has not ended yet.", p->name);
	return tarn__process_settle(p);
}

int tarn_process_join(tarn_process *process, int64_t timeout_ns)
{
	int r = finish(process, timeout_ns);

	return r == 0 && process->fault != NULL ? tarn__fail_fault(tarn_fault_ref(process->fault)) : r;
}

int tarn_process_result(tarn_process *process, int64_t timeout_ns, const tarn_parcel **ret_result)
{
	int r = tarn_process_join(process, timeout_ns);

	if (r == 0)
		*ret_result = &process->result;
	return r;
}

int tarn_process_get(tarn_process *process, int64_t timeout_ns, const char *format, ...)
{
	const tarn_parcel *result;
	int r = tarn_process_result(process, timeout_ns, &result);
	va_list args;

	if (r < 0)
		return r;
	va_start(args, format);
	r = tarn__parcel_get_v(result, format, args);
	va_end(args);
	return r;
}

int tarn_process_exception(tarn_process *process, int64_t timeout_ns, const tarn_fault **ret_fault)
{
	int r = finish(process, timeout_ns);

	if (r == 0)
		*ret_fault = process->fault;
	return r;
}

/* ---- asking and telling ---- */

enum tarn_process_state tarn_process_state(tarn_process *process)
{
	/* Without the mutex, which is held for as long as the server is asked for the outcome, and in a forked child
	 * perhaps by a thread that is not there. What has ended does not change any more; a child's copy neither. */
	if (process->owner != getpid() || tarn__process_collect(process))
		return process->state;
	pthread_mutex_lock(&process->mutex);
	enum tarn_process_state state = process->state;
	pthread_mutex_unlock(&process->mutex);
	return state;
}

bool tarn_process_done(tarn_process *process)
{
	return tarn_process_state(process) > TARN_PROCESS_RUNNING;
}

bool tarn_process_is_alive(tarn_process *process)
{
	return tarn_process_state(process) == TARN_PROCESS_RUNNING;
}

int tarn_process_exitcode(tarn_process *process)
{
	return tarn_process_done(process) ? process->exitcode : TARN_EXIT_NONE;
}

const char *tarn_process_name(const tarn_process *process)
{
	return process->name;
}

int tarn_process_pid(const tarn_process *process)
{
	return (int)process->pid;
}

int tarn_process_fd(const tarn_process *process)
{
	return process->pidfd;
}

int tarn_process_signal(tarn_process *process, int signal)
{
	int r = check_owner(process);

	if (r < 0)
		return r;
	if (tarn_process_state(process) == TARN_PROCESS_INITIAL)
		return fail_initial(process);
	/* Never another process that has its number now: a pidfd. */
	if (syscall(SYS_pidfd_send_signal, process->pidfd, signal, NULL, 0) != 0 && errno != ESRCH)
		return tarn__fail(-errno, "Signal %d cannot be sent to process %s: %s.", signal,
				  process->name, strerror(errno));
	return 0;
}

int tarn_process_terminate(tarn_process *process)
{
	return tarn_process_signal(process, SIGTERM);
}

int tarn_process_kill(tarn_process *process)
{
	return tarn_process_signal(process, SIGKILL);
}
