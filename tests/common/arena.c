/* SPDX-License-Identifier: Apache-2.0 */
#include "arena.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CAP (64u << 20)
#define SECOND 1000000000ll

/* ---- starting ---- */

static void prepare(struct arena *a, const struct arena_kind *kind,
		    const tarn_server_options *options)
{
	memset(a, 0, sizeof *a);
	a->fds = arena_fds(getpid());
	if (options != NULL)
		a->options = *options;
	if (a->options.arena_bytes == 0)
		a->options.arena_bytes = CAP;
	if (kind != NULL) {
		a->options.backing = kind->backing;
		a->options.io = kind->io;
	}
}

static void inspect(struct arena *a)
{
	int r = tarn_inspector_open(a->name, 10 * SECOND, &a->inspector);

	PLAIN_CHECKF(r == 0, "inspector: %s", tarn_error_last()->message);
}

void arena_start(struct arena *a, const struct arena_kind *kind, const tarn_server_options *options)
{
	prepare(a, kind, options);
	int r = tarn_server_start(&a->options, &a->server);

	if (r < 0 && a->options.io == TARN_IO_URING && (r == -ENOSYS || r == -EPERM))
		PLAIN_SKIP("%s", tarn_error_last()->message);
	PLAIN_CHECKF(r == 0, "server: %s", tarn_error_last()->message);
	snprintf(a->name, sizeof a->name, "%s", tarn_server_name(a->server));
	a->pid = tarn_server_pid(a->server);
	inspect(a);
}

static void *serve(void *arg)
{
	struct arena *a = arg;

	a->result = tarn_server_run(&a->options);
	if (a->result < 0)
		PLAIN_FAIL("server: %s", tarn_error_last()->message);
	return NULL;
}

void arena_start_thread(struct arena *a, const struct arena_kind *kind,
			const tarn_server_options *options)
{
	prepare(a, kind, options);
	if (getenv("TARN_VALGRIND") != NULL && a->options.io == TARN_IO_URING)
		PLAIN_SKIP("valgrind stops all threads while one waits in io_uring_enter");
	snprintf(a->name, sizeof a->name, "threaded");
	a->options.name = a->name;
	a->pid = getpid();
	PLAIN_EQ(pthread_create(&a->thread, NULL, serve, a), 0);
	inspect(a);
}

void arena_start_kept(struct arena *a, const struct arena_kind *kind,
		      const tarn_server_options *options)
{
	char line[160];
	int ready[2];

	prepare(a, kind, options);
	snprintf(a->name, sizeof a->name, "kept-%d", (int)getpid());
	a->options.name = a->name;
	a->options.keep = true;
	PLAIN_EQ(pipe(ready), 0);
	a->keeper = plain_fork();
	if (a->keeper == 0) {
		close(ready[0]);
		a->options.ready_fd = ready[1];
		int r = tarn_server_run(&a->options);
		PLAIN_CHECKF(r == 0, "server: %s", tarn_error_last()->message);
		_exit(0);
	}
	a->pid = a->keeper;
	close(ready[1]);
	PLAIN_CHECK(read(ready[0], line, sizeof line) > 0);
	close(ready[0]);
	inspect(a);
}

/* ---- ending ---- */

void arena_check(struct arena *a)
{
	char *text = NULL;
	int n = tarn_inspector_check(a->inspector, &text);

	PLAIN_CHECKF(n >= 0, "check: %s", tarn_error_last()->message);
	PLAIN_CHECKF(n == 0, "%d findings: %s", n, text);
	free(text);
}

static bool is_empty(const tarn_stat *st)
{
	return st->clients == 0 && st->lanes == 0 && st->used_bytes == 0 && st->blocks_live == 0 &&
	       st->blocks_granted == 0 && st->blocks_dead == 0 && st->channels == 0 &&
	       st->exports == 0 && st->names == 0 && st->claims == 0 && st->tickets == 0 &&
	       st->pending_allocs == 0;
}

/* Deaths take some epochs; what has not gone after ten seconds will not. */
static void await_empty(struct arena *a)
{
	unsigned tries = 10000 * plain_timeout_scale();
	const struct timespec pause = { 0, 1000000 };
	tarn_stat st = arena_stat(a);

	while (!is_empty(&st) && tries-- > 0) {
		nanosleep(&pause, NULL);
		st = arena_stat(a);
	}
	PLAIN_CHECKF(is_empty(&st),
		     "left: %llu clients, %llu lanes, %llu bytes, %llu live, %llu granted, %llu dead, "
		     "%llu channels, %llu exports, %llu names, %llu claims, %llu tickets, %llu pending",
		     (unsigned long long)st.clients, (unsigned long long)st.lanes,
		     (unsigned long long)st.used_bytes, (unsigned long long)st.blocks_live,
		     (unsigned long long)st.blocks_granted, (unsigned long long)st.blocks_dead,
		     (unsigned long long)st.channels, (unsigned long long)st.exports,
		     (unsigned long long)st.names, (unsigned long long)st.claims,
		     (unsigned long long)st.tickets, (unsigned long long)st.pending_allocs);
	PLAIN_CHECKF(st.evictions <= a->evictions, "%llu clients were evicted", (unsigned long long)st.evictions);
}

void arena_end(struct arena *a)
{
	await_empty(a);
	arena_check(a);
	tarn_inspector_close(a->inspector);
	if (a->server != NULL) {
		PLAIN_EQ(tarn_server_shutdown(a->server, 30 * SECOND), 0);
		a->server = tarn_server_unref(a->server);
	} else if (a->keeper != 0) {
		PLAIN_EQ(kill(a->keeper, SIGTERM), 0);
		PLAIN_EQ(plain_reap(a->keeper), 0);
	} else {
		tarn_server_stop();
		PLAIN_EQ(pthread_join(a->thread, NULL), 0);
		PLAIN_EQ(a->result, 0);
	}
	PLAIN_EQ(arena_fds(getpid()), a->fds);
	PLAIN_EQ(arena_maps(getpid(), "tarn-"), 0);
}

/* ---- clients and blocks ---- */

tarn_client *arena_client(const struct arena *a, const tarn_client_options *options)
{
	tarn_client *c = NULL;
	int r = tarn_client_open(a->name, options, &c);

	PLAIN_CHECKF(r == 0, "client: %s", tarn_error_last()->message);
	return c;
}

tarn_stat arena_stat(struct arena *a)
{
	tarn_stat st;
	int r = tarn_inspector_stat(a->inspector, &st);

	PLAIN_CHECKF(r == 0, "stat: %s", tarn_error_last()->message);
	return st;
}

void arena_settle(tarn_client *client)
{
	int r = tarn_client_flush(client, true, TARN_FOREVER);

	PLAIN_CHECKF(r == 0, "flush: %s", tarn_error_last()->message);
}

bool arena_has(struct arena *a, uint64_t id)
{
	tarn_block_row *row;
	size_t n;
	bool found = false;
	int r = tarn_inspector_blocks(a->inspector, &row, &n);

	PLAIN_CHECKF(r == 0, "blocks: %s", tarn_error_last()->message);
	for (size_t i = 0; i < n; i++)
		found = found || (row[i].id == id && row[i].state != TARN_BLOCK_DEAD);
	free(row);
	return found;
}

tarn_block *arena_block(tarn_client *client, size_t size)
{
	tarn_block *b = NULL;
	int r = tarn_block_new(client, size, 0, &b);

	PLAIN_CHECKF(r == 0, "block of %zu bytes: %s", size, tarn_error_last()->message);
	PLAIN_EQ(tarn_block_size(b), size);
	return b;
}

unsigned char arena_byte(unsigned seed, size_t at)
{
	return (unsigned char)(seed * 37u + (unsigned)at * 31u + (unsigned)(at >> 8) * 7u + 1u);
}

void arena_fill(tarn_block *block, unsigned seed)
{
	unsigned char *p = tarn_block_data(block);

	for (size_t i = 0; i < tarn_block_size(block); i++)
		p[i] = arena_byte(seed, i);
}

bool arena_filled(const tarn_block *block, unsigned seed)
{
	const unsigned char *p = tarn_block_data(block);

	for (size_t i = 0; i < tarn_block_size(block); i++)
		if (p[i] != arena_byte(seed, i)) {
			fprintf(stderr, "# byte %zu of %zu is %02x, not %02x\n", i,
				tarn_block_size(block), p[i], arena_byte(seed, i));
			return false;
		}
	return true;
}

/* ---- failures ---- */

void arena__fails(const char *file, int line, const char *call, int r, int code,
		  const char *const text[])
{
	const char *message = tarn_error_last()->message;

	if (r != code)
		plain__fail(file, line, "%s: %s (%s), not %s", call, tarn_error_name(r),
			    r < 0 ? message : "", tarn_error_name(code));
	if (tarn_error_last()->code != code)
		plain__fail(file, line, "%s: the error object says %s", call,
			    tarn_error_name(tarn_error_last()->code));
	for (; *text != NULL; text++)
		if (strstr(message, *text) == NULL)
			plain__fail(file, line, "%s: \"%s\" does not say \"%s\"", call, message,
				    *text);
}

char *arena_text(size_t n)
{
	char *text = malloc(n + 1);

	PLAIN_CHECK(text != NULL);
	memset(text, 'x', n);
	text[n] = '\0';
	return text;
}

const char *arena_number(uint64_t n)
{
	static __thread char text[8][24];
	static __thread unsigned at;
	char *t = text[at++ % 8];

	snprintf(t, sizeof text[0], "%llu", (unsigned long long)n);
	return t;
}

/* ---- processes ---- */

void *arena_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	PLAIN_CHECK(p != MAP_FAILED);
	return p;
}

void arena_step(uint32_t *step, uint32_t n)
{
	__atomic_store_n(step, n, __ATOMIC_RELEASE);
}

void arena_await(const uint32_t *step, uint32_t n)
{
	PLAIN_WAIT_FOR(__atomic_load_n(step, __ATOMIC_ACQUIRE) >= n);
}

static unsigned entries(int pid, const char *folder)
{
	char path[64];
	unsigned n = 0;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, folder);
	DIR *d = opendir(path);
	PLAIN_CHECKF(d != NULL, "%s: %s", path, strerror(errno));
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n - 2; /* itself, and the one above */
}

unsigned arena_fds(int pid)
{
	return entries(pid, "fd");
}

unsigned arena_threads(int pid)
{
	return entries(pid, "task");
}

/* Libraries and programs can lie in folders that are called anything. */
static bool is_segment(const char *line, const char *with)
{
	const char *path = strchr(line, '/');

	return path != NULL && (strncmp(path, "/memfd:", 7) == 0 || strncmp(path, "/dev/shm/", 9) == 0) &&
	       strstr(path, with) != NULL;
}

unsigned arena_maps(int pid, const char *with)
{
	char path[64], *line = NULL;
	size_t bytes = 0;
	unsigned n = 0;

	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	FILE *f = fopen(path, "re");
	PLAIN_CHECKF(f != NULL, "%s: %s", path, strerror(errno));
	while (getline(&line, &bytes, f) > 0)
		n += with == NULL || is_segment(line, with);
	free(line);
	fclose(f);
	return n;
}

bool arena_slow(void)
{
#if defined(__SANITIZE_THREAD__) || ARENA_ASAN
	return true;
#else
	return getenv("TARN_VALGRIND") != NULL;
#endif
}
