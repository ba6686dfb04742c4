/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "lib/client/lane.h"
#include "lib/server/claims.h"
#include "lib/server/heap.h"
#include "lib/server/ledger.h"
#include "lib/types/store.h"
#include "schedshim.h"
#undef mmap
#undef munmap
#undef madvise
#undef poll
#undef write
#undef pread
#undef pwrite
#undef close
#undef clock_gettime
#undef pthread_mutex_lock
#undef pthread_mutex_unlock
#undef __atomic_load_n
#undef __atomic_store_n

#define KEYS 16u
#define SEGMENTS 24u
#define SEGMENT_FD 5000
#define CONNECTION_FD 4000
#define DOORBELL_FD 3000

struct world *world;

/* ---- segments: memory that everybody has at the same place ---- */

static struct {
	unsigned char *base;
	uint64_t bytes;
	unsigned users;
	bool meta; /* the server's alone */
} segment[SEGMENTS];

static int segment_index(int fd)
{
	int i = fd - SEGMENT_FD;

	return i >= 0 && i < (int)SEGMENTS && segment[i].users != 0 ? i : -1;
}

enum tarn__backing tarn__backing_choose(enum tarn__backing asked, uint64_t bytes, char *why,
					size_t why_bytes)
{
	(void)bytes;
	snprintf(why, why_bytes, "a test");
	return asked;
}

int tarn__segment_create(enum tarn__backing backing, const char *label, uint64_t bytes,
			 struct tarn__segment *ret)
{
	int i = 0;

	(void)backing;
	while (segment[i].users != 0)
		if (++i == (int)SEGMENTS)
			return -ENFILE;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	segment[i].base = p;
	segment[i].bytes = bytes;
	segment[i].users = 1;
	segment[i].meta = strcmp(label, "meta") == 0;
	*ret = (struct tarn__segment){ .fd = SEGMENT_FD + i, .base = p, .bytes = bytes };
	return 0;
}

int tarn__segment_open_readonly(const struct tarn__segment *s, int *ret_fd)
{
	*ret_fd = s->fd;
	return 0;
}

int tarn__segment_map(int fd, uint64_t bytes, bool writable, struct tarn__segment *ret)
{
	int i = segment_index(fd);

	(void)writable;
	if (i < 0)
		return -EBADF;
	segment[i].users++;
	*ret = (struct tarn__segment){ .fd = fd, .base = segment[i].base, .bytes = bytes };
	return 0;
}

int tarn__segment_reserve(const struct tarn__segment *s, uint64_t offset, uint64_t bytes)
{
	(void)s, (void)offset, (void)bytes;
	return 0;
}

int tarn__segment_punch(const struct tarn__segment *s, uint64_t offset, uint64_t bytes)
{
	if (s->base != NULL)
		madvise(s->base + offset, bytes, MADV_DONTNEED);
	return 0;
}

uint64_t tarn__segment_resident(const struct tarn__segment *s)
{
	return s->bytes;
}

void tarn__segment_close(struct tarn__segment *s)
{
	int i = segment_index(s->fd);

	if (i >= 0 && --segment[i].users == 0)
		munmap(segment[i].base, segment[i].bytes);
	*s = TARN__SEGMENT_NONE;
}

uint64_t world_outside[8];

/* A place where another may go on, but for the server's part of what comes by the control socket. */
static void point(void)
{
	if (!world->answers)
		sched_point();
}

static bool lies_in(const void *p, const struct tarn__segment *s)
{
	return (uintptr_t)p - (uintptr_t)s->base < s->bytes;
}
static bool in_view(const void *p)
{
	return world->s != NULL && world->s->store != NULL && lies_in(p, &world->s->view_segment);
}

static bool is_shared(const void *p)
{
	if ((const uint64_t *)p >= world_outside && (const uint64_t *)p < world_outside + 8)
		return true;
	/* What a line of VIEW leads to is written plainly, so nobody can be told that it is older than the line. */
	if (in_view(p) && sched_memory_now() == SCHED_VIEWS)
		return false;
	for (unsigned i = 0; i < SEGMENTS; i++)
		if (segment[i].users != 0 && !segment[i].meta &&
		    (const unsigned char *)p >= segment[i].base &&
		    (const unsigned char *)p < segment[i].base + segment[i].bytes)
			return true;
	return false;
}

/* ---- the control socket ---- */

/* Linked with --wrap: the library's calls come here, whatever else control.c has. */
int __wrap_tarn__control_send(int fd, const void *data, size_t bytes, const int *fds,
			      unsigned n_fds, int flags);
int __wrap_tarn__control_connect(const char *name, uint64_t deadline, int *ret_fd);
int __wrap_tarn__control_ask(int fd, const struct tarn__request *ask, struct tarn__answer *ret,
			     int ret_fds[TARN__CONTROL_FDS], uint64_t deadline);

int __wrap_tarn__control_send(int fd, const void *data, size_t bytes, const int *fds,
			      unsigned n_fds, int flags)
{
	(void)fd, (void)data, (void)bytes, (void)fds, (void)n_fds, (void)flags;
	return -EAGAIN;
}
static uint32_t connection[8]; /* client of a connection */
static int n_connections;

int __wrap_tarn__control_connect(const char *name, uint64_t deadline, int *ret_fd)
{
	(void)name, (void)deadline;
	*ret_fd = CONNECTION_FD + n_connections++;
	return 0;
}

static int answer_attach(struct tarn__answer *ret, int *fds, uint32_t *ret_client)
{
	struct server *s = world->s;
	int r = tarn__client_attach(s, &(const struct newcomer){ .socket = -1, .pidfd = -1, .pid = 1 }, ret_client);

	if (r < 0)
		return r;
	const struct state_head *h = s->st.head;
	const struct peer *p = s->peer[*ret_client];
	const uint64_t value[] = { *ret_client, s->st.client[*ret_client].incarnation,
				   h->arena_bytes, h->max_objects + 1, p->lanes.bytes,
				   h->arena_bytes, s->store != NULL ? s->view_segment.bytes : TARN__CTRL_BYTES };
	/* Without containers VIEW is what nobody reads. */
	const int all[TARN__CONTROL_FDS] = { s->ctrl_segment.fd, s->st.dir_segment.fd, s->st.data.fd,
					     p->lanes.fd, DOORBELL_FD,
					     s->store != NULL ? s->view_segment.fd : s->ctrl_segment.fd };

	memcpy(ret->value, value, sizeof value);
	memcpy(fds, all, sizeof all);
	ret->n_fds = TARN__CONTROL_FDS;
	return 0;
}

/* Until the server has done it. */
static void wait_reclaimed(uint32_t client)
{
	while (world->s->peer[client] != NULL)
		ss_yield();
	sched_meet(SERVER);
}

static int answer(int fd, const struct tarn__request *ask, struct tarn__answer *ret, int *ret_fds)
{
	uint32_t *client = &connection[fd - CONNECTION_FD], number;
	struct peer *p = *client != 0 ? world->s->peer[*client] : NULL;

	*ret = (struct tarn__answer){ .magic = TARN__CONTROL_MAGIC, .kind = ask->kind };
	if (ask->kind == TARN__CTL_ATTACH)
		return answer_attach(ret, ret_fds, client);
	if (p == NULL)
		return -TARN_ESRVDOWN;
	switch (ask->kind) {
	case TARN__CTL_LANE_OPEN:
		ret->error = tarn__lane_open(world->s, *client, &number);
		ret->value[0] = number;
		return ret->error;
	case TARN__CTL_DETACH:
		tarn__peer_died(world->s, p);
		return 0;
	default:
		return -TARN_EPROTO;
	}
}

int __wrap_tarn__control_ask(int fd, const struct tarn__request *ask, struct tarn__answer *ret,
			     int ret_fds[TARN__CONTROL_FDS], uint64_t deadline)
{
	(void)deadline;
	sched_point();
	sched_drain();
	/* The server does this between two messages. */
	while (sched_is_running() && world->s->st.head->undo.n != 0)
		sched_yield_now();
	/* Nobody else goes on meanwhile: who asks may be killed, but the server's part of it is not. */
	world->answers = true;
	sched_meet(SERVER);
	int r = answer(fd, ask, ret, ret_fds);

	sched_meet(SERVER);
	world->answers = false;
	if (r == 0 && ask->kind == TARN__CTL_DETACH)
		wait_reclaimed(connection[fd - CONNECTION_FD]);
	return r;
}

/* ---- the loop: a doorbell ---- */

static struct tarn__loop the_loop;
static uint32_t rung;

int tarn__loop_open(enum tarn__loop_mode mode, char *ret_reason, struct tarn__loop **ret_loop)
{
	(void)mode;
	if (ret_reason != NULL)
		*ret_reason = '\0';
	rung = 0;
	*ret_loop = &the_loop;
	return 0;
}
void tarn__loop_close(struct tarn__loop *loop)
{
	(void)loop;
}
int tarn__loop_watch(struct tarn__loop *loop, struct tarn__loop_watch *w)
{
	(void)loop, (void)w;
	return 0;
}
void tarn__loop_unwatch(struct tarn__loop *loop, struct tarn__loop_watch *w)
{
	(void)loop, (void)w;
}
bool tarn__loop_pending(const struct tarn__loop *loop)
{
	(void)loop;
	return rung != 0;
}
const char *tarn__loop_reason(const struct tarn__loop *loop)
{
	(void)loop;
	return "";
}
const char *tarn__loop_name(const struct tarn__loop *loop)
{
	(void)loop;
	return "coroutines";
}
int tarn__loop_wait(struct tarn__loop *loop, int64_t timeout_ns)
{
	(void)loop;
	if (timeout_ns == 0 || !sched_is_running()) {
		int n = rung != 0;

		rung = 0;
		return n;
	}
	point();
	while (rung == 0 && !world->s->stopping)
		if (!sched_block(&the_loop, timeout_ns < 0 ? UINT64_MAX
						      : sched_clock() + (uint64_t)timeout_ns))
			return 0;
	rung = 0;
	return 1;
}

/* ---- shm/wake.h ---- */

bool tarn__membarrier_register(void)
{
	return true;
}
bool tarn__membarrier(void)
{
	sched_drain_all();
	return true;
}
void tarn__sleep_barrier(bool fence)
{
	point();
	if (fence)
		sched_fence(__ATOMIC_SEQ_CST);
	else
		sched_drain_all();
}
int tarn__futex_wait(const uint32_t *word, uint32_t value, uint64_t deadline)
{
	if (!sched_is_running()) {
		ss_yield();
		return 0;
	}
	point();
	sched_drain();
	if ((uint32_t)sched_newest(word, 4) != value)
		return 0;
	uint64_t from = sched_clock();

	if (sched_block(word, deadline))
		return 0;
	/* Slices are there for a server that dies: nothing of ours needs one. */
	if (deadline - from >= TARN__SLICE_NS - 1000000)
		world->slept_out++;
	return -ETIMEDOUT;
}
int tarn__futex_wake(const uint32_t *word, int n)
{
	point();
	sched_drain();
	return (int)sched_wake(word, (unsigned)n);
}
unsigned tarn__spin_us(unsigned default_us)
{
	(void)default_us;
	return 0;
}
void tarn__spin_init(struct tarn__spin *s, unsigned default_us)
{
	(void)default_us;
	*s = (struct tarn__spin){ 0 };
}

/* ---- shared words ---- */

/* Where each access is a place to go on at, ordered or not, but for what nobody changes. */
static bool is_watched(const void *p)
{
	if (!world->watch_data ||
	    !(lies_in(p, &world->s->st.data) || lies_in(p, &world->s->st.dir_segment) || in_view(p)))
		return false;
	for (unsigned i = 0; i < WORLD_STILL; i++)
		if ((uintptr_t)p - (uintptr_t)world->still[i].at < world->still[i].bytes)
			return false;
	return true;
}

void world_still(const void *at, size_t bytes)
{
	unsigned i = 0;

	while (world->still[i].bytes != 0)
		MUST_BE(++i < WORLD_STILL);
	world->still[i].at = at;
	world->still[i].bytes = bytes;
}

uint64_t shim_load64(const uint64_t *p, bool ordered)
{
	if ((ordered && is_shared(p)) || is_watched(p))
		point();
	return ordered ? sched_load(p, 8) : sched_load_relaxed(p, 8);
}
uint32_t shim_load32(const uint32_t *p, bool ordered)
{
	if (ordered || is_watched(p))
		point();
	return (uint32_t)(ordered ? sched_load(p, 4) : sched_load_relaxed(p, 4));
}
void shim_store64(uint64_t *p, uint64_t v, bool ordered)
{
	if (ordered || is_watched(p))
		point();
	sched_store(p, 8, v, ordered);
}
void shim_store32(uint32_t *p, uint32_t v, bool ordered)
{
	if (ordered || is_watched(p))
		point();
	sched_store(p, 4, v, ordered);
}
void shim_pause(void)
{
	ss_yield();
}

/* ---- all else ---- */

void ss_rmw(const void *p, unsigned bytes, int order)
{
	point();
	sched_rmw(p, bytes, order);
}
/* What containers have is written plainly, that is at once, between fences: so these have to let out what
 * was stored before. */
void ss_fence(int order)
{
	point();
	sched_fence(order);
	if (order == __ATOMIC_RELEASE && world->s->store != NULL)
		sched_drain();
}
void ss_access(const volatile void *at, int order)
{
	const void *p = (const void *)(uintptr_t)at;

	if ((order != __ATOMIC_RELAXED && is_shared(p)) || is_watched(p))
		point();
}
int ss_mutex_unlock(pthread_mutex_t *m)
{
	if (world == NULL) /* the harness forks its tests */
		return pthread_mutex_unlock(m);
	sched_give(m);
	return pthread_mutex_unlock(m);
}
int ss_mutex_lock(pthread_mutex_t *m)
{
	if (world == NULL)
		return pthread_mutex_lock(m);
	point();
	sched_drain();
	while (pthread_mutex_trylock(m) != 0) {
		if (!sched_is_running()) {
			/* Nobody runs: a dead process's, which is being cleared away. */
			pthread_mutex_init(m, NULL);
			continue;
		}
		ss_yield();
	}
	sched_take(m);
	return 0;
}

static void *specific[SCHED_THREADS + 1][KEYS];
static unsigned n_keys, now_thread = SCHED_THREADS; /* the last: the caller's context */

int ss_key_create(pthread_key_t *key, void (*destructor)(void *))
{
	(void)destructor; /* threads here do not end before their process */
	if (n_keys == KEYS)
		return EAGAIN;
	*key = n_keys++;
	return 0;
}
int ss_key_delete(pthread_key_t key)
{
	for (unsigned i = 0; i <= SCHED_THREADS; i++)
		specific[i][key] = NULL;
	return 0;
}
void *ss_getspecific(pthread_key_t key)
{
	return specific[now_thread][key];
}
int ss_setspecific(pthread_key_t key, const void *value)
{
	specific[now_thread][key] = (void *)(uintptr_t)value;
	return 0;
}

void *ss_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	int i = segment_index(fd);

	(void)at;
	if (i >= 0)
		return segment[i].base + offset;
	if (protection == PROT_NONE)
		return MAP_FAILED; /* room for a second place: DATA stays where it is */
	return mmap(NULL, bytes, protection, flags, fd, offset);
}
int ss_munmap(void *p, size_t bytes)
{
	for (unsigned i = 0; i < SEGMENTS; i++)
		if (segment[i].users != 0 && segment[i].base == p)
			return 0;
	return munmap(p, bytes);
}
int ss_madvise(void *p, size_t bytes, int advice)
{
	(void)p, (void)bytes, (void)advice;
	return 0;
}

/* In a run others go on; before and after it the server works. */
int ss_yield(void)
{
	if (sched_is_running())
		sched_yield_now();
	else
		tarn__epoch(world->s);
	return 0;
}
int ss_poll(struct pollfd *p, nfds_t n, int timeout)
{
	(void)p, (void)n, (void)timeout;
	return 0;
}
ssize_t ss_write(int fd, const void *bytes, size_t n)
{
	if (fd != DOORBELL_FD)
		return write(fd, bytes, n);
	point();
	sched_drain();
	rung = 1;
	sched_wake(&the_loop, 1);
	return (ssize_t)n;
}
ssize_t ss_pread(int fd, void *bytes, size_t n, off_t at)
{
	int i = segment_index(fd);

	if (i < 0)
		return -1;
	point();
	sched_drain();
	sched_copy(bytes, segment[i].base + at, n);
	return (ssize_t)n;
}
ssize_t ss_pwrite(int fd, const void *bytes, size_t n, off_t at)
{
	int i = segment_index(fd);

	if (i < 0)
		return -1;
	sched_drain();
	memcpy(segment[i].base + at, bytes, n);
	return (ssize_t)n;
}
int ss_close(int fd)
{
	return fd >= DOORBELL_FD ? 0 : close(fd);
}
int ss_clock_gettime(clockid_t clock, struct timespec *ret)
{
	uint64_t now = sched_clock();

	(void)clock;
	*ret = (struct timespec){ (time_t)(now / 1000000000u), (long)(now % 1000000000u) };
	return 0;
}

/* After every store to META: a place where the server may be killed. */
void tarn__meta_hook(void)
{
	if (world->crash_points)
		point();
}

/* ---- threads of a process ---- */

/* All that the library has for each thread: __thread is a section here (meson.build), and each coroutine has
 * a copy of it while others run. */
extern unsigned char __start_tarn_thread[], __stop_tarn_thread[];
static unsigned char *of_thread[SCHED_THREADS + 1], *at_first;

static void threads_forget(void)
{
	const size_t bytes = (size_t)(__stop_tarn_thread - __start_tarn_thread);

	if (at_first == NULL) {
		at_first = malloc((SCHED_THREADS + 2) * bytes);
		MUST_BE(at_first != NULL);
		memcpy(at_first, __start_tarn_thread, bytes);
		for (unsigned i = 0; i <= SCHED_THREADS; i++)
			of_thread[i] = at_first + (i + 1) * bytes;
	}
	for (unsigned i = 0; i <= SCHED_THREADS; i++)
		memcpy(of_thread[i], at_first, bytes);
	memcpy(__start_tarn_thread, at_first, bytes);
}
static void switch_to(unsigned thread)
{
	const size_t bytes = (size_t)(__stop_tarn_thread - __start_tarn_thread);

	memcpy(of_thread[now_thread], __start_tarn_thread, bytes);
	memcpy(__start_tarn_thread, of_thread[thread], bytes);
	now_thread = thread;
}
static void switch_out(unsigned thread)
{
	(void)thread;
	switch_to(SCHED_THREADS);
}
static void switch_in(unsigned thread)
{
	switch_to(thread);
}

/* ---- the world ---- */

static void log_nothing(void *arg, int level, const char *line)
{
	(void)arg, (void)level;
	if (getenv("WORLD_LOG") != NULL)
		fprintf(stderr, "# %s\n", line);
}

static struct server *server_new(void)
{
	struct server *s = calloc(1, sizeof *s);

	MUST_BE(s != NULL);
	s->backing = TARN__BACKING_MEMFD;
	s->log = log_nothing;
	s->ctrl_readonly = s->dir_readonly = s->listener = s->doorbell = s->stop_event = -1;
	s->name_lock = s->spare_fd = -1;
	MUST(tarn__state_create(&s->st, s->backing, 1u << 20, 4096));
	tarn__heap_init(&s->st);
	tarn__claims_init(&s->st);
	MUST(tarn__claims_promise(&s->st, 0));
	commit(&s->st);
	MUST(tarn__segment_create(s->backing, "ctrl", TARN__CTRL_BYTES, &s->ctrl_segment));
	s->ctrl = (struct tarn__ctrl *)(void *)s->ctrl_segment.base;
	s->use_membarrier = true;
	s->ctrl->magic = TARN__MAGIC;
	s->ctrl->layout = tarn__layout_hash();
	s->ctrl->uuid[0] = s->st.head->uuid[0];
	s->ctrl->uuid[1] = s->st.head->uuid[1];
	s->ctrl->data_bytes = s->st.head->arena_bytes;
	s->ctrl->dir_entries = s->st.head->max_objects + 1;
	s->ctrl->membarrier = 1;
	s->ctrl->incarnation = 1;
	MUST(tarn__loop_open(TARN__LOOP_AUTO, s->io_reason, &s->loop));
	return s;
}

static void forget(void)
{
	static struct world w;

	/* Of a run that failed memory stays: it was the last. */
	memset(segment, 0, sizeof segment);
	memset(world_outside, 0, sizeof world_outside);
	memset(connection, 0, sizeof connection);
	memset(specific, 0, sizeof specific);
	threads_forget();
	n_connections = 0;
	n_keys = 0;
	now_thread = SCHED_THREADS;
	w = (struct world){ 0 };
	world = &w;
}

static void contents_open(struct server *s)
{
	const uint64_t roots = s->st.head->max_objects + 1;

	MUST(tarn__segment_create(s->backing, "view", 4u << 20, &s->view_segment));
	/* Not as random as the server's: a run is to be had again. */
	MUST(tarn__store_new(&s->view_segment, roots, 1, &s->store));
}

void world_open(unsigned clients, bool contents)
{
	forget();
	world->s = server_new();
	if (contents)
		contents_open(world->s);
	/* There is no socket whose other end could be asked. */
	const tarn_client_options o = { .any_server_user = true };

	for (unsigned i = 0; i < clients; i++)
		MUST(tarn_client_open("a world", &o, &world->c[i]));
}

static void say(void *arg, const char *line)
{
	char *text = arg;
	size_t n = strlen(text);

	snprintf(text + n, 400 - n, "%s; ", line);
}

void world_settle(void)
{
	char text[400] = "";

	for (unsigned i = 0; i < 2000; i++)
		if (!tarn__epoch(world->s) && tarn__quiet(world->s) && !world->s->sweeping)
			break;
	if (tarn__verify(&world->s->st, say, text) != 0 ||
	    tarn__contents_verify(world->s->store, &world->s->st, false, say, text) != 0)
		sched_fail("full check: %s", text);
	if (world->s->evictions != 0)
		sched_fail("somebody honest was evicted");
}

void world_close(void)
{
	struct server *s = world->s;

	world_settle();
	for (unsigned i = 0; i < WORLD_CLIENTS; i++)
		if (world->c[i] != NULL)
			tarn_client_close(world->c[i]);
	world_settle();
	const struct state_head *h = s->st.head;

	if (h->n_live != 0 || h->n_granted != 0 || h->heap.used != 0 || h->n_channels != 0 ||
	    h->n_clients != 0 || h->n_exports != 0)
		sched_fail("left: %llu live, %llu granted, %llu bytes, %llu channels, %u clients",
			   (unsigned long long)h->n_live, (unsigned long long)h->n_granted,
			   (unsigned long long)h->heap.used, (unsigned long long)h->n_channels,
			   h->n_clients);
	for (uint32_t i = 1; i < MAX_CLIENTS; i++)
		if (s->peer[i] != NULL)
			tarn__peer_free(s, i);
	tarn__segment_close(&s->ctrl_segment);
	if (s->store != NULL)
		tarn__contents_close(s);
	tarn__state_close(&s->st);
	free(s->view);
	free(s);
	/* What is closed after us goes on storing: nothing of that is shared any more. */
	world->s = NULL;
	world->watch_data = false;
	for (unsigned i = 0; i < SEGMENTS; i++)
		MUST_BE(segment[i].users == 0);
}

void world_server_killed(void)
{
	struct server *s = world->s;

	sched_kill(SERVER);
	/* The successor's first steps. Of the dead process it has META alone: what a view of a
	 * lane remembers comes from there. */
	bool points = world->crash_points;

	world->crash_points = false;
	tarn__rollback(s);
	s->n_touched = 0;
	for (uint32_t i = 0; i < s->n_views; i++) {
		struct lane_view *v = &s->view[i];

		v->position = s->st.lane[v->lane].position;
		v->published_head = 0;
		v->epoch = 0;
		v->wake = true;
	}
	tarn__publish_all(s);
	world->crash_points = points;
	world_server();
}

static void run_thread(void *arg)
{
	void (*run)(void);

	memcpy(&run, &arg, sizeof run);
	run();
}

void world_thread(unsigned client, void (*run)(void))
{
	void *arg;

	memcpy(&arg, &run, sizeof arg);
	sched_thread(client, run_thread, arg);
}

static bool clients_over(void)
{
	for (unsigned i = 0; i < WORLD_CLIENTS; i++)
		if (!sched_is_over(i))
			return false;
	return true;
}

static void epochs(void *arg)
{
	(void)arg;
	while (!clients_over()) {
		for (unsigned i = 0; i <= world->more_epochs; i++)
			tarn__epoch(world->s);
		sched_yield_now();
	}
}

void world_server(void)
{
	sched_thread(SERVER, epochs, NULL);
	sched_background();
}

static void reactor(void *arg)
{
	(void)arg;
	tarn__reactor(world->s);
}

/* Ends the reactor when all others have ended. */
static void stopper(void *arg)
{
	(void)arg;
	while (!clients_over())
		sched_yield_now();
	world->s->stopping = true;
	sched_wake(&the_loop, 1);
}

void world_reactor(void)
{
	sched_thread(SERVER, reactor, NULL);
	sched_thread(SERVER + 1, stopper, NULL);
	sched_background();
}

void world_kill(unsigned client)
{
	tarn_client *c = world->c[client];

	sched_kill(client);
	/* Here, in the killer; the server goes on with it. */
	sched_meet(SERVER);
	tarn__peer_died(world->s, world->s->peer[c->number]);
	sched_meet(SERVER);
}

void world__must(const char *file, int line, const char *text, int r)
{
	if (r < 0)
		sched_fail("%s:%d: %s: %s (%s)", file, line, text, tarn_error_name(r),
			   tarn_error_last()->message);
}

/* ---- who holds what ---- */

void world_hold(const tarn_block *b)
{
	for (unsigned i = 0; i < 32; i++)
		if (world->held[i] == 0) {
			world->held[i] = tarn_block_id(b);
			return;
		}
	sched_fail("too many references for the test");
}

void world_drop(tarn_block *b)
{
	for (unsigned i = 0; i < 32; i++)
		if (world->held[i] == tarn_block_id(b)) {
			world->held[i] = 0;
			break;
		}
	tarn_block_unref(b);
}

uint32_t world_count(uint64_t id)
{
	const struct object *o = tarn__object_find(&world->s->st, id);

	return o != NULL ? o->ext : 0;
}

uint32_t world_units(uint64_t id, unsigned client)
{
	const struct object *o = tarn__object_find(&world->s->st, id);

	return o != NULL && world->c[client] != NULL
		       ? tarn__ledger_units(&world->s->st, o, world->c[client]->number) : 0;
}

static void check(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 32; i++)
		if (world->held[i] != 0 &&
		    tarn__object_find(&world->s->st, world->held[i]) == NULL)
			sched_fail("block %llx is freed while somebody holds it",
				   (unsigned long long)world->held[i]);
}

const struct sched_play world_play = {
	.check = check,
	.is_shared = is_shared,
	.switch_out = switch_out,
	.switch_in = switch_in,
};
