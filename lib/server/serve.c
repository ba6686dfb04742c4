/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server from its first to its last system call, in the calling thread.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "calls.h"
#include "claims.h"
#include "crash.h"
#include "heap.h"
#include "hints.h"
#include "keeper.h"
#include "lib/error.h"
#include "lib/leftovers.h"
#include "lib/say.h"
#include "tarn/entry.h"
#include "options.h"
#include "place.h"
#include "prefault.h"
#include "serve.h"
#include "server.h"
#include "shm/hash.h"

#define DEFAULT_BLOCKS (4u << 20)
#define DEFAULT_WATERMARK_MOST (256u << 20)
#define DEFAULT_SPIN_NS 50000

/* ---- the log ---- */

/* Names are others', and may be any bytes: none begins a line, or moves a terminal's cursor. */
void tarn__log_clean(char *line)
{
	for (; *line != '\0'; line++)
		if ((unsigned char)*line < 0x20 || *line == 0x7f)
			*line = '?';
}

void tarn__log(struct server *s, int level, const char *format, ...)
{
	char line[400], head[160];
	va_list ap;

	if (level > s->log_level)
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	tarn__log_clean(line);
	if (s->log != NULL) {
		s->log(s->log_arg, level, line);
		return;
	}
	snprintf(head, sizeof head, "<%d>tarn server \"%s\": ", level, s->name);
	tarn__say(head, line);
}

#define SELDOM_NS 1000000000u

void tarn__log_seldom(struct server *s, struct seldom *of, const char *what)
{
	const uint64_t now = tarn__now();

	of->n++;
	if (now < of->next_ns)
		return;
	if (of->n == 1)
		tarn__log(s, 4, "%s", what);
	else
		tarn__log(s, 4, "%s (%llu times since this was said last)", what, (unsigned long long)of->n);
	of->n = 0;
	of->next_ns = now + SELDOM_NS;
}

/* ---- stopping from outside ---- */

#define RUNS_MOST 16
static int stop_fds[RUNS_MOST]; /* eventfd + 1; 0: free. Written with atomics only */

static int stop_register(int fd)
{
	for (int i = 0; i < RUNS_MOST; i++) {
		int none = 0;

		if (__atomic_compare_exchange_n(&stop_fds[i], &none, fd + 1, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return 0;
	}
	return -EAGAIN;
}

static void stop_unregister(int fd)
{
	for (int i = 0; i < RUNS_MOST; i++) {
		int mine = fd + 1;

		__atomic_compare_exchange_n(&stop_fds[i], &mine, 0, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE);
	}
}

void tarn_server_stop(void)
{
	int saved = errno;
	uint64_t one = 1;

	for (int i = 0; i < RUNS_MOST; i++) {
		int fd = __atomic_load_n(&stop_fds[i], __ATOMIC_ACQUIRE);

		if (fd != 0 && write(fd - 1, &one, sizeof one) < 0)
			break;
	}
	errno = saved;
}

/* ---- opening and closing ---- */

static bool succeeds(const struct server *s)
{
	return s->heritage != NULL && s->heritage->successor;
}

static int open_ctrl(struct server *s)
{
	const struct state_head *h = s->st.head;
	const bool fresh = !succeeds(s);
	int r = fresh ? tarn__segment_create(s->backing, "ctrl", TARN__CTRL_BYTES, &s->ctrl_segment)
		      : tarn__estate_segment(s->heritage->estate, ESTATE_CTRL, &s->ctrl_segment);

	if (r == 0 && fresh)
		r = tarn__segment_reserve(&s->ctrl_segment, 0, TARN__CTRL_BYTES);
	if (r == 0)
		r = tarn__segment_open_readonly(&s->ctrl_segment, &s->ctrl_readonly);
	if (r == 0)
		r = tarn__segment_open_readonly(&s->st.dir_segment, &s->dir_readonly);
	if (r < 0)
		return r;
	s->use_membarrier = tarn__membarrier_register() && tarn__membarrier();
	s->ctrl = (struct tarn__ctrl *)(void *)s->ctrl_segment.base;
	if (!fresh) /* clients rely on what they were told */
		return s->ctrl->membarrier != s->use_membarrier ? -ENOSYS : 0;
	s->ctrl->magic = TARN__MAGIC;
	s->ctrl->layout = h->layout;
	s->ctrl->uuid[0] = h->uuid[0];
	s->ctrl->uuid[1] = h->uuid[1];
	s->ctrl->data_bytes = h->arena_bytes;
	s->ctrl->dir_entries = h->max_objects + 1;
	s->ctrl->server_pid = (uint64_t)getpid();
	s->ctrl->membarrier = s->use_membarrier;
	tarn__store_release(&s->ctrl->incarnation, 1);
	return 0;
}

static uint64_t choose_spin(const tarn_server_options *o)
{
	int64_t ns = o->spin_ns < 0 ? 0 : o->spin_ns > 0 ? o->spin_ns : DEFAULT_SPIN_NS;

	if (ns > 1000000000)
		ns = 1000000000;
	return (uint64_t)tarn__spin_us((unsigned)((ns + 999) / 1000)) * 1000;
}

/*
 * Whoever commits more memory than its memory cgroup has is killed, or has another process of the
 * group killed, where a full /dev/shm says ENOSPC. So DATA and VIEW stop before: an eighth of the
 * limit is left to META, lanes, and the processes themselves. The heap looks at it again as it grows, contents too.
 */
static void mind_limit(struct server *s, uint64_t cap)
{
	const uint64_t limit = tarn__place_limit(), most = limit - limit / 8;

	s->st.data_most = 0;
	s->st.look_at = TARN__BUDGET_STEP;
	if (!tarn__place_budget(&s->st.data_most))
		s->st.look_at = 1; /* at once */
	if (cap > most)
		tarn__log(s, 4, "the arena's cap is %llu MiB, the memory cgroup's limit %llu MiB: blocks will "
			  "get %llu MiB at most", (unsigned long long)(cap >> 20),
			  (unsigned long long)(limit >> 20), (unsigned long long)(most >> 20));
}

static uint64_t choose_watermark(const struct server *s, const tarn_server_options *o)
{
	const uint64_t cap = s->st.head->arena_bytes;
	const uint64_t most = s->st.data_most != 0 && s->st.data_most < cap ? s->st.data_most : cap;

	if (o->watermark_bytes != 0)
		return o->watermark_bytes;
	return most / 8 < DEFAULT_WATERMARK_MOST ? most / 8 : DEFAULT_WATERMARK_MOST;
}

static int open_state(struct server *s, const tarn_server_options *o)
{
	if (succeeds(s)) {
		int r = tarn__succeed_state(s);

		if (r == 0)
			mind_limit(s, s->st.head->arena_bytes);
		return r;
	}
	const uint64_t half = tarn__place_memory() / 2;
	uint64_t bytes = o->arena_bytes != 0 ? o->arena_bytes
			 : half < TARN__SIZE_MAX ? half : TARN__SIZE_MAX;
	uint64_t blocks = o->max_blocks != 0 ? o->max_blocks : DEFAULT_BLOCKS;

	s->backing = tarn__backing_choose(o->keep_names ? TARN__BACKING_KEPT
						       : (enum tarn__backing)o->backing,
					  bytes, s->backing_reason, sizeof s->backing_reason);
	size_t swept = tarn__leftovers_sweep_segments();
	if (swept != 0)
		tarn__log(s, 6, "removed %zu names that dead servers left in /dev/shm", swept);
	int r = tarn__state_create(&s->st, s->backing, bytes, blocks);
	if (r < 0)
		return tarn__fail(r, "cannot create an arena of %llu MiB in %s: %s%s",
				  (unsigned long long)(bytes >> 20),
				  s->backing == TARN__BACKING_MEMFD ? "a memfd" : "/dev/shm", strerror(-r),
				  r == -EFBIG ? ". Is the size of files limited (ulimit -f)?" : "");
	tarn__heap_init(&s->st);
	tarn__claims_init(&s->st);
	SET(&s->st, s->st.head->default_quota, o->client_quota_bytes);
	mind_limit(s, bytes);
	SET(&s->st, s->st.head->heap.watermark, choose_watermark(s, o));
	r = tarn__claims_promise(&s->st, 0);
	if (r < 0)
		return tarn__fail(r, "no memory for the tables of the server: %s", strerror(-r));
	commit(&s->st);
	return 0;
}

static int open_loop(struct server *s, const tarn_server_options *o)
{
	static const enum tarn__loop_mode modes[] = { TARN__LOOP_AUTO, TARN__LOOP_URING,
						      TARN__LOOP_EPOLL };
	int r = tarn__loop_open(modes[o->io], s->io_reason, &s->loop);

	if (r < 0)
		return tarn__fail(r, "no event loop: %s", s->io_reason);
	s->cheap_look = strcmp(tarn__loop_name(s->loop), "io_uring") == 0;
	s->doorbell = succeeds(s) ? s->heritage->estate->fd[ESTATE_DOORBELL]
				  : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->doorbell < 0 || s->stop_event < 0)
		return tarn__fail(-errno, "eventfd: %s", strerror(errno));
	return 0;
}

/* All that objects of this arena depend on: a successor must have the same. */
static uint64_t hash_of_types(const struct tarn__catalog *c)
{
	uint64_t h = c->n;

	for (uint32_t i = 1; i < c->n; i++) {
		const struct tarn__served *t = &c->served[i];
		const uint64_t facts[] = { h, t->hash, t->bytes, t->header, t->type->flags };

		h = tarn__hash64(facts, sizeof facts, i);
	}
	return h | 1;
}

static int check_types(struct server *s)
{
	uint64_t hash = hash_of_types(s->host->catalog);

	if (!succeeds(s)) {
		SET(&s->st, s->st.head->types_hash, hash);
		commit(&s->st);
	} else if (hash != s->st.head->types_hash) {
		return tarn__fail(-TARN_EVERSION, "cannot take over: this server's types are not those that "
				  "its objects were made with");
	}
	return 0;
}

#define EXECUTORS_MOST 4096u
#define EXECUTORS_DEFAULT 256u

/* What objects there can be: Tarn's own types, and the registry's. */
static int open_types(struct server *s, const tarn_server_options *o)
{
	tarn_registry *registry = o->registry != NULL ? o->registry : tarn_registry_default();
	uint32_t most = o->max_executors != 0 ? o->max_executors : EXECUTORS_DEFAULT;
	struct tarn__catalog *catalog;

	if (most > EXECUTORS_MOST)
		return tarn__fail(-EINVAL, "%u executors were asked for; the most is %u", most,
				  EXECUTORS_MOST);
	int r = tarn__catalog_new(registry, &catalog);
	if (r < 0)
		return r;
	s->host = tarn__host_new(catalog, most, s->st.head->max_objects, s->st.data.base,
				 s->st.head->arena_bytes);
	if (s->host == NULL) {
		tarn__catalog_free(catalog);
		return tarn__fail(-ENOMEM, "no memory for the host of objects");
	}
	s->host->store = s->store;
	tarn__facts_types(s);
	return check_types(s);
}

static void say_ready(struct server *s, int fd)
{
	char line[160];
	int n = snprintf(line, sizeof line, "READY %s\n", s->name);

	if (write(fd, line, (size_t)n) < 0)
		tarn__log(s, 4, "cannot say READY: %s", strerror(errno));
	close(fd);
}

/* ---- before all else ---- */

/* In the thread that will serve. Nothing is there yet that would have to be undone. */
static int initialize(const tarn_server_options *o)
{
	tarn_entry_fn *entry = tarn_entry_find(o->initializer);

	if (entry == NULL)
		return tarn__fail(-ENOENT, "there is no initializer \"%.60s\" in this program: define "
				  "it with TARN_ENTRY (tarn/entry.h)", o->initializer);
	tarn_error_set(0, "%s", "");
	int r = entry(o->initializer_arg, o->initializer_arg_bytes);
	if (r == 0)
		return 0;
	if (r < 0 && tarn_error_last()->code == r)
		return r; /* its own words stand */
	return tarn__fail(r < 0 ? r : -ECANCELED, "the initializer \"%.60s\" returned %d (%s)",
			  o->initializer, r, r < 0 ? tarn_error_text(r) : "0 is success");
}

static int prepare(const tarn_server_options *o)
{
	if (o->process_name != NULL)
		prctl(PR_SET_NAME, o->process_name, 0, 0, 0);
	int r = o->cpus != NULL ? tarn__place_cpus(o->cpus) : 0;
	return r == 0 && o->initializer != NULL ? initialize(o) : r;
}

static void finding(void *arg, const char *line)
{
	tarn__log(arg, 3, "full check: %s", line);
}

static int succeed(struct server *s)
{
	/* Takes its time on a large arena, and finds nothing: for tests. */
	if (secure_getenv("TARN_VERIFY") != NULL && tarn__verify(&s->st, finding, s) != 0)
		return tarn__fail(-TARN_EPROTO, "cannot take over: the full check has findings");
	int r = tarn__succeed_clients(s);

	if (r == 0 && secure_getenv("TARN_VERIFY") != NULL &&
	    tarn__contents_verify(s->store, &s->st, true, finding, s) != 0)
		r = tarn__fail(-TARN_EPROTO, "cannot take over: the check of containers has findings");
	return r;
}

static int open_all(struct server *s, const tarn_server_options *o)
{
	int r = tarn__access_init(&s->access, o);

	if (r == 0)
		r = open_state(s, o);
	if (r == 0)
		r = open_loop(s, o);
	if (r < 0)
		return r;
	r = open_ctrl(s);
	if (r == 0)
		r = tarn__contents_open(s);
	if (r == 0)
		r = tarn__facts_open(s);
	if (r < 0)
		return tarn__fail(r, "cannot create the control segment: %s", strerror(-r));
	tarn__hints_open(s);
	r = tarn__prefault_open(s, &s->prefault);
	if (r < 0)
		return tarn__fail(r, "cannot start the prefault thread: %s", strerror(-r));
	r = open_types(s, o);
	if (r == 0 && succeeds(s))
		r = succeed(s);
	if (r == 0 && s->host != NULL)
		r = tarn__host_client(s);
	if (r < 0)
		return r;
	r = stop_register(s->stop_event);
	if (r < 0)
		return tarn__fail(r, "more than %d servers run in this process", RUNS_MOST);
	r = succeeds(s) ? tarn__socket_inherit(s) : tarn__socket_open(s, o->listen_fd);
	if (r == 0)
		r = tarn__listen_open(s);
	if (r == 0 && !succeeds(s)) {
		r = tarn__estate_leave_all(s);
		if (r < 0)
			return tarn__fail(r, "the keeper does not take the arena: %s", strerror(-r));
	}
	return r;
}

#define METHODS_END_NS 10000000000

static void close_all(struct server *s)
{
	if (s->ctrl != NULL) {
		/* Clients read this on every wait: the server said good-bye. */
		tarn__store_release(&s->ctrl->incarnation, 0);
		for (uint32_t i = 0; i < s->n_views; i++) {
			struct tarn__lane_area *a = tarn__view_area(s, &s->view[i]);

			tarn__store32_release(&a->signs.wake, a->signs.wake + 1);
			tarn__futex_wake(&a->signs.wake, INT32_MAX);
			if (s->view[i].event >= 0)
				close(s->view[i].event);
		}
	}
	if (!tarn__host_free(s->host, METHODS_END_NS)) {
		tarn__log(s, 3, "a method does not end: what it uses stays until the process ends");
		s->st.data = s->view_segment = TARN__SEGMENT_NONE; /* left mapped */
		s->store = NULL;
	}
	while (s->waiters != NULL) {
		struct waiter *w = s->waiters;

		s->waiters = w->next;
		if (w->socket >= 0)
			close(w->socket);
		free(w);
	}
	stop_unregister(s->stop_event);
	tarn__listen_close(s);
	while (tarn__peers_leave(s))
		;
	for (uint32_t i = 1; i < MAX_CLIENTS; i++)
		if (s->peer[i] != NULL)
			tarn__peer_free(s, i);
	tarn__jobs_free(s);
	free(s->errors);
	free(s->st.suspects.index);
	s->prefault = tarn__prefault_close(s->prefault);
	if (s->loop != NULL)
		tarn__loop_close(s->loop);
	const int fds[] = { s->doorbell, s->stop_event, s->ctrl_readonly, s->dir_readonly,
			    s->view_readonly };
	for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	tarn__segment_close(&s->ctrl_segment);
	tarn__contents_close(s);
	tarn__facts_close(s);
	tarn__hints_close(s);
	tarn__state_close(&s->st);
	tarn__access_fini(&s->access);
	free(s->view);
	free(s);
}

/* "anon-PID-random" when none was given. */
static int choose_name(struct server *s, const char *name)
{
	uint32_t nonce;

	if (name != NULL) { /* it fits: the options were checked, and a predecessor's did */
		tarn__control_name(name, s->name, sizeof s->name);
		return 0;
	}
	if (getrandom(&nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce)
		return tarn__fail(-EIO, "no random numbers");
	snprintf(s->name, sizeof s->name, "anon-%d-%08x", (int)getpid(), nonce);
	return 0;
}

static struct server *server_new(const tarn_server_options *o)
{
	struct server *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->st.meta_segment = s->st.data = s->st.dir_segment = TARN__SEGMENT_NONE;
	s->ctrl_segment = s->facts_segment = s->view_segment = TARN__SEGMENT_NONE;
	s->ctrl_readonly = s->dir_readonly = s->view_readonly = -1;
	s->keeper = -1;
	s->spare_fd = s->listener = s->doorbell = s->stop_event = s->name_lock = -1;
	s->log = o->log;
	s->log_arg = o->log_arg;
	s->log_level = o->log_level != 0 ? o->log_level : o->log != NULL ? 7 : 4;
	s->event = o->event;
	s->event_arg = o->event_arg;
	s->kill_evicted = o->kill_evicted;
	s->started_ns = tarn__now();
	s->spin_ns = choose_spin(o);
	return s;
}

static void on_parent_death(void *arg, uint32_t events)
{
	struct server *s = arg;

	(void)events;
	s->stopping = true;
}

static void say(const struct server *s, enum tarn_server_event event)
{
	if (s->event != NULL)
		s->event(s->event_arg, event, s->name);
}

/* The first of all servers, or one without a keeper. */
static void say_serving(struct server *s, const tarn_server_options *o)
{
	tarn__log(s, 6, "serving %s: %llu MiB, %s (%s), %s", s->name,
		  (unsigned long long)(s->st.head->arena_bytes >> 20), tarn__loop_name(s->loop),
		  s->io_reason, s->backing_reason);
	tarn__estate_ready(s);
	say(s, TARN_SERVER_READY);
	if (o->ready_fd > 0)
		say_ready(s, o->ready_fd);
}

static void say_succeeding(struct server *s)
{
	tarn__store_relaxed(&s->ctrl->server_pid, (uint64_t)getpid());
	tarn__store_release(&s->ctrl->incarnation, s->ctrl->incarnation + 1);
	tarn__store_release(&s->ctrl->server_state, 0);
	tarn__succeed_publish(s);
	tarn__estate_ready(s);
	tarn__log(s, 6, "took over as server number %llu of this arena: %u clients, %u lanes",
		  (unsigned long long)s->ctrl->incarnation, s->st.head->n_clients,
		  s->st.head->open_lanes);
	say(s, TARN_SERVER_READY);
}

static void serve(struct server *s, const tarn_server_options *o,
		  const volatile sig_atomic_t *stop_wanted)
{
	if (s->heritage != NULL)
		tarn__crash_reactor();
	if (succeeds(s))
		say_succeeding(s);
	else
		say_serving(s, o);
	if (stop_wanted != NULL && *stop_wanted)
		s->stopping = true; /* came before this run could be stopped */
	tarn__reactor(s);
	tarn__estate_bye(s); /* whatever happens from here on, nobody is to take over */
	say(s, TARN_SERVER_STOPPING);
	tarn__log(s, 6, "ends");
}

/*
 * Signals that the kernel sends for what we write: to a pipe that a dead client was to read (its events, our log), or
 * beyond the limit of files. To this thread they are errors of the call, and those that it had before are left to it.
 */
static void hold_signals(sigset_t *ret_before, sigset_t *ret_mine)
{
	static const int ours[] = { SIGPIPE, SIGXFSZ };
	sigset_t pending;

	sigemptyset(ret_mine);
	sigpending(&pending);
	for (unsigned i = 0; i < sizeof ours / sizeof ours[0]; i++)
		if (!sigismember(&pending, ours[i]))
			sigaddset(ret_mine, ours[i]);
	pthread_sigmask(SIG_BLOCK, ret_mine, ret_before);
}

static void give_signals_back(const sigset_t *before, const sigset_t *mine)
{
	const struct timespec now = { 0 };

	while (sigtimedwait(mine, NULL, &now) > 0)
		;
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

int tarn__serve(const tarn_server_options *options, int parent_pidfd,
		const volatile sig_atomic_t *stop_wanted, uint64_t ret_uuid[2],
		const struct heritage *heritage)
{
	static const tarn_server_options none;
	const tarn_server_options *o = options != NULL ? options : &none;
	struct tarn__loop_watch parent = { .fd = parent_pidfd, .fn = on_parent_death };
	int r = tarn__options_check(o);

	if (r == 0)
		r = prepare(o);
	if (r < 0)
		return r;
	struct server *s = server_new(o);
	sigset_t before, mine;
	if (s == NULL)
		return tarn__fail(-ENOMEM, "no memory for a server");
	hold_signals(&before, &mine);
	s->heritage = heritage;
	if (heritage != NULL)
		s->keeper = heritage->keeper;
	r = choose_name(s, succeeds(s) ? heritage->estate->name : o->name);
	if (r == 0)
		r = open_all(s, o);
	if (r == 0)
		r = tarn__keeper_watch(s);
	if (r == 0 && parent_pidfd >= 0) {
		parent.arg = s;
		r = tarn__loop_watch(s->loop, &parent);
	}
	if (r == 0) {
		if (ret_uuid != NULL)
			memcpy(ret_uuid, s->st.head->uuid, sizeof s->st.head->uuid);
		serve(s, o, stop_wanted);
	}
	if (r < 0 && succeeds(s))
		return r; /* its process ends: all that it took over is the next one's, untouched */
	close_all(s);
	give_signals_back(&before, &mine);
	return r;
}

int tarn_server_run(const tarn_server_options *options)
{
	const bool keep = options != NULL && options->keep;
	int r = keep ? tarn__options_check(options) : 0;

	if (r < 0)
		return r;
	return keep ? tarn__keep(options, -1, NULL, NULL, false)
		    : tarn__serve(options, -1, NULL, NULL, NULL);
}
