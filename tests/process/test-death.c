/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How clients end, and what is left of them: nothing (F10, F11, O12, D17, T8, T16).
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/scene.h"

/* LeakSanitizer asks this when a process exits: one that ends with its client open leaks,
 * and that is the point of some of these. */
static int unclosed;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return unclosed;
}

static int pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	PLAIN_CHECK(fd >= 0);
	return fd;
}

static void await_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	PLAIN_CHECK(poll(&p, 1, -1) == 1);
}

/* ---- F10 ---- */

/* Receives @n references through the channel "c", has one block of its own, and waits. */
static void hold(const struct scene *s, unsigned n, uint32_t *step)
{
	tarn_client *c = scene_client(s);
	tarn_channel *ch;
	tarn_block *b;

	OK(tarn_channel_open(c, "c", TARN_FOREVER, &ch));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	OK(tarn_block_new(c, 1 << 20, 0, &b));
	memset(tarn_block_data(b), 1, 1 << 20);
	for (unsigned i = 0; i < n; i++)
		OK(tarn_channel_recv(ch, &b, NULL, TARN_FOREVER));
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	scene_say(step, 1);
	for (;;)
		pause();
}

static void killed_while_it_holds(unsigned n)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(sizeof *step);
	tarn_client *c = scene_client(&s);
	tarn_channel *ch;
	pid_t child;

	OK(tarn_channel_new(c, 1024, "c", &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	child = plain_fork();
	if (child == 0)
		hold(&s, n, step);
	for (unsigned i = 0; i < n; i++) {
		tarn_block *b;

		OK(tarn_block_new(c, 64, 0, &b));
		OK(tarn_channel_give(ch, b, i, TARN_FOREVER));
	}
	scene_await(step, 1);
	OK(tarn_client_trim(c));
	scene_settle(&s);
	/* All of them and the channel; the block nobody was told of is granted. */
	PLAIN_EQ(scene_stat(&s).blocks_live, n + 1);
	PLAIN_CHECK(scene_stat(&s).used_bytes >= n * UINT64_C(64) + (1 << 20));

	int fd = pidfd_of(child);
	kill(child, SIGKILL);
	await_readable(fd);
	uint64_t dead = scene_now();
	PLAIN_WAIT_FOR(scene_stat(&s).blocks_live == 1 && scene_client_gone(&s, child));
	scene_note("%u references and a block: free %.2f ms after the pidfd fired", n,
		   (double)(scene_now() - dead) / 1e6);
	close(fd);
	plain_reap(child);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(f10_a_killed_client_gives_a_block_and_a_reference_back)
{
	killed_while_it_holds(1);
}

PLAIN_TEST(f10_a_killed_client_gives_1000_references_back)
{
	killed_while_it_holds(1000);
}

PLAIN_TEST_TIMEOUT(f10_a_killed_client_gives_100000_references_back, 90)
{
	killed_while_it_holds(100000);
}

/* ---- F11 ---- */

static unsigned names_in(const char *path, const char *with)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	if (d == NULL)
		return 0;
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.' && strstr(e->d_name, with) != NULL;
	closedir(d);
	return n;
}

struct pids {
	pid_t server;
	uint32_t step;
};

/* A program with a server and a client, in a process group of its own. */
static void program(const tarn_server_options *o, struct pids *shared)
{
	tarn_server *server;
	tarn_client *c;
	tarn_block *b;

	setpgid(0, 0);
	OK(tarn_server_start(o, &server));
	OK(tarn_client_open(o->name, NULL, &c));
	for (int i = 0; i < 100; i++) {
		OK(tarn_block_new(c, 100000, 0, &b));
		memset(tarn_block_data(b), 1, 100000);
	}
	shared->server = tarn_server_pid(server);
	scene_say(&shared->step, 1);
	for (;;)
		pause();
}

static void kill_everything(pid_t group, const struct pids *shared, bool server_first)
{
	int server = pidfd_of(shared->server);

	if (server_first)
		kill(shared->server, SIGKILL);
	kill(-group, SIGKILL);
	/* It has a group of its own, and would end by itself now: it must not come to that. */
	kill(shared->server, SIGKILL);
	plain_reap(group);
	await_readable(server);
	close(server);
}

static void nothing_stays(enum tarn_backing backing, bool server_first)
{
	const tarn_server_options o = { .name = "f11", .arena_bytes = 64u << 20,
					.backing = backing };
	struct pids *shared = scene_shared(sizeof *shared);
	unsigned before = names_in("/dev/shm", "tarn");
	char sockets[128];

	snprintf(sockets, sizeof sockets, "%s/tarn", plain_dir());
	for (int i = 0; i < 5; i++) {
		shared->step = 0;
		pid_t child = plain_fork();
		if (child == 0)
			program(&o, shared);
		scene_await(&shared->step, 1);
		kill_everything(child, shared, server_first);
		/* Others may be starting a server just now, but not for ever. */
		PLAIN_WAIT_FOR(names_in("/dev/shm", "tarn") <= before);
	}
	/* The socket that the dead one left is no obstacle, and goes with its successor. */
	struct scene s = scene_open(&o);
	tarn_client_close(scene_client(&s));
	scene_close(&s);
	PLAIN_EQ(names_in(sockets, ""), 0);
}

PLAIN_TEST(f11_nothing_stays_when_the_whole_group_is_killed_server_first)
{
	nothing_stays(TARN_BACKING_POSIX, true);
}

PLAIN_TEST(f11_nothing_stays_when_the_whole_group_is_killed_server_last)
{
	nothing_stays(TARN_BACKING_POSIX, false);
}

PLAIN_TEST(f11_nothing_stays_of_memfds_when_the_whole_group_is_killed)
{
	nothing_stays(TARN_BACKING_MEMFD, true);
}

/* Whoever removes a name dies. */
static void die_at_unlink(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unlinkat, 2, 0),
#ifdef SYS_unlink
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unlink, 1, 0),
#endif
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = { .len = sizeof code / sizeof *code, .filter = code };

	PLAIN_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	PLAIN_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0), 0);
}

PLAIN_TEST(f11_a_server_killed_before_it_can_remove_a_name_leaves_none)
{
	const tarn_server_options o = { .name = "unlink", .arena_bytes = 16u << 20,
					.backing = TARN_BACKING_POSIX };
	unsigned before = names_in("/dev/shm", "tarn");
	tarn_server *predecessor;

	OK(tarn_server_start(&o, &predecessor));
	kill(tarn_server_pid(predecessor), SIGKILL);
	OK(tarn_server_wait(predecessor, TARN_FOREVER, NULL));
	tarn_server_unref(predecessor);
	pid_t child = plain_fork();
	if (child == 0) {
		tarn_server *server;

		die_at_unlink();
		/* It comes to remove the socket of its predecessor at the latest. */
		PLAIN_CHECK(tarn_server_start(&o, &server) < 0);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
	PLAIN_WAIT_FOR(names_in("/dev/shm", "tarn") <= before);
}

/* ---- O12: ways to end ---- */

struct ending {
	const char *name;
	void (*end)(void);
	int status;
};

static void end_exit(void) { exit(0); }
static void end_quick(void) { _exit(0); }
static void end_killed(void) { kill(getpid(), SIGKILL); }
static void end_aborted(void)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}
static void end_threads(void) { pthread_exit(NULL); }

static const struct ending endings[] = {
	{ "exit()", end_exit, 0 },	      { "_exit()", end_quick, 0 },
	{ "SIGKILL", end_killed, -SIGKILL },  { "abort()", end_aborted, -SIGABRT },
	{ "pthread_exit of all threads", end_threads, 0 },
};
#define ENDINGS (sizeof endings / sizeof *endings)

struct worker {
	tarn_client *c;
	uint32_t *ready;
	const struct ending *how;
};

static void *work_until_the_end(void *arg)
{
	struct worker *w = arg;
	tarn_block *b;

	OK(tarn_block_new(w->c, 5000, 0, &b));
	__atomic_fetch_add(w->ready, 1, __ATOMIC_RELEASE);
	/* Inside calls when the process ends, where that is another thread's doing. */
	for (int i = 0; w->how->end != end_threads || i < 1000; i++) {
		tarn_block *x;
		int r = tarn_block_new(w->c, 1000, 0, &x);

		if (r == 0)
			tarn_block_unref(x);
		else
			break;
	}
	return NULL;
}

/* Holds something of each kind: plain, shared, exported, sent, ends, a cache; in threads. */
static void hold_all(const struct scene *s, const struct ending *how, uint32_t *ready)
{
	static struct worker w;
	tarn_channel *ch;
	tarn_block *b;
	tarn_token t;
	pthread_t thread;

	unclosed = true;
	w = (struct worker){ scene_client(s), ready, how };
	OK(tarn_channel_new(w.c, 8, "ending", &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	for (uint64_t i = 0; i < 8; i++) {
		OK(tarn_block_new(w.c, (size_t)100 << i, 0, &b));
		OK(tarn_channel_send(ch, b, i, 0));
		OK(tarn_block_export(b, NULL, &t));
		if (i % 2)
			tarn_block_unref(b);
	}
	OK(tarn_channel_recv(ch, &b, NULL, 0));
	for (int i = 0; i < 3; i++)
		PLAIN_EQ(pthread_create(&thread, NULL, work_until_the_end, &w), 0);
	scene_await(ready, 3);
	how->end();
}

PLAIN_TEST(o12_every_way_to_end_gives_everything_back)
{
	struct scene s = scene_open(NULL);
	uint32_t *ready = scene_shared(sizeof *ready);

	for (unsigned i = 0; i < ENDINGS * 5; i++) {
		const struct ending *how = &endings[i % ENDINGS];

		*ready = 0;
		pid_t child = plain_fork();
		if (child == 0) {
			hold_all(&s, how, ready);
			for (;;)
				pause();
		}
		int status = plain_reap(child);
		PLAIN_CHECKF(status == how->status, "%s: ended with %d", how->name, status);
		scene_at_rest(&s);
	}
	scene_close(&s);
}

static void hold_then_exec(const struct scene *s, uint32_t *step, bool copied)
{
	tarn_client *c = scene_client(s);
	tarn_channel *ch;
	tarn_block *b;
	tarn_token t;

	OK(tarn_channel_new(c, 8, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_block_new(c, 3 << 20, 0, &b));
	OK(tarn_channel_send(ch, b, 0, 0));
	OK(tarn_block_export(b, NULL, &t));
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	if (copied && plain_fork() == 0) {
		execl("/bin/true", "true", (char *)NULL); /* a child's exec is nobody's end */
		_exit(127);
	}
	scene_say(step, 1);
	scene_await(step, 2);
	execl("/bin/sleep", "sleep", "1000", (char *)NULL);
	_exit(127);
}

static void exec_gives_back(bool copied)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t child = plain_fork();

	if (child == 0)
		hold_then_exec(&s, step, copied);
	scene_await(step, 1);
	scene_settle(&s);
	PLAIN_EQ(scene_stat(&s).blocks_live, 2);
	scene_say(step, 2);
	scene_at_rest(&s); /* while the process lives on, as another program */
	PLAIN_EQ(kill(child, 0), 0);
	plain_kill(child);
	scene_close(&s);
}

PLAIN_TEST(o12_exec_gives_everything_back_though_the_process_lives)
{
	exec_gives_back(false);
}

PLAIN_TEST(o12_exec_of_a_child_changes_nothing_for_its_parent)
{
	exec_gives_back(true);
}

PLAIN_TEST(o12_a_closed_client_leaves_nothing_though_the_process_lives)
{
	struct scene s = scene_open(NULL);

	for (int i = 0; i < 50; i++) {
		tarn_client *c = scene_client(&s);
		tarn_channel *ch;
		tarn_block *b;

		OK(tarn_channel_new(c, 4, "again", &ch));
		OK(tarn_channel_bind(ch, TARN_PRODUCER));
		OK(tarn_block_new(c, 100000, 0, &b));
		OK(tarn_channel_send(ch, b, 0, 0));
		tarn_client_close(c);
		/* Orderly: it is there again when close returns. */
		PLAIN_EQ(scene_stat(&s).clients, 0);
		PLAIN_EQ(scene_stat(&s).used_bytes, 0);
	}
	scene_close(&s);
}

/* Also what lies in a channel that another one holds, and of which it takes a while to drop all. */
PLAIN_TEST(o12_what_a_closed_client_was_sent_is_free_when_close_returns)
{
	struct scene s = scene_open(NULL);
	tarn_client *d = scene_client(&s);

	for (int i = 0; i < 10; i++) {
		tarn_client *c = scene_client(&s);
		tarn_channel *out, *in;
		tarn_token t;
		tarn_block *b;

		OK(tarn_channel_new(d, 512, NULL, &out));
		OK(tarn_channel_export(out, NULL, &t));
		OK(tarn_channel_import(c, &t, &in));
		OK(tarn_channel_bind(out, TARN_PRODUCER));
		OK(tarn_channel_bind(in, TARN_CONSUMER));
		for (uint64_t k = 0; k < 400; k++) {
			OK(tarn_block_new(d, 100, 0, &b));
			OK(tarn_channel_give(out, b, k, 0));
		}
		OK(tarn_client_flush(d, true, TARN_FOREVER));
		PLAIN_EQ(scene_stat(&s).tickets, 400);
		tarn_client_close(c);
		PLAIN_EQ(scene_stat(&s).tickets, 0);
		tarn_channel_unref(out);
	}
	tarn_client_close(d);
	scene_close(&s);
}

/* ---- D17 ---- */

static void busy_client(const struct scene *s, uint32_t *ready)
{
	tarn_client *c = scene_client(s);
	tarn_channel *ch;

	OK(tarn_channel_new(c, 4, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	scene_say(ready, 1);
	for (size_t size = 1;; size = size % 200000 + 777) {
		tarn_block *b, *got;
		tarn_token t;

		OK(tarn_block_new(c, size, 0, &b));
		OK(tarn_block_export(b, NULL, &t));
		OK(tarn_channel_give(ch, b, 0, TARN_FOREVER));
		OK(tarn_channel_recv(ch, &got, NULL, TARN_FOREVER));
		OK(tarn_block_import(c, &t, &b));
		tarn_block_unref(b);
		tarn_block_unref(got);
	}
}

PLAIN_TEST_TIMEOUT(d17_clients_killed_inside_calls_leave_nothing, 90)
{
	struct scene s = scene_open(NULL);
	uint32_t *ready = scene_shared(sizeof *ready);
	uint64_t random = scene_now() | 1;

	scene_note("seed %llu", (unsigned long long)random);
	for (int i = 0; i < 200; i++) {
		*ready = 0;
		pid_t child = plain_fork();
		if (child == 0)
			busy_client(&s, ready);
		/* From the attach to the thick of it. */
		if (i % 4 != 0)
			scene_await(ready, 1);
		usleep((useconds_t)(scene_random(&random) % 2000));
		plain_kill(child);
	}
	scene_close(&s);
}

/* ---- T16: what is a death ---- */

static void close_sockets(void)
{
	for (int fd = 3; fd < 1024; fd++) {
		struct stat st;

		if (fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
			close(fd);
	}
}

PLAIN_TEST(t16_a_hang_up_without_death_takes_nothing_away)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(sizeof *step);
	uint64_t *id = scene_shared(sizeof *id * 2);
	pid_t child = plain_fork();

	if (child == 0) {
		tarn_client *c = scene_client(&s);
		tarn_block *b, *second;
		tarn_token t;

		OK(tarn_block_new(c, 1000, 0, &b));
		OK(tarn_block_export(b, NULL, &t));
		OK(tarn_block_new(c, 1000, 0, &second));
		OK(tarn_block_export(second, NULL, &t));
		memset(tarn_block_data(b), 77, 1000);
		id[0] = tarn_block_id(b);
		id[1] = tarn_block_id(second);
		close_sockets(); /* its own connection to the server, and nothing else */
		scene_say(step, 1);
		scene_await(step, 2);
		/* Its lanes are still read. */
		tarn_block_unref(second);
		for (int i = 0; i < 1000; i++)
			PLAIN_EQ(((unsigned char *)tarn_block_data(b))[i], 77);
		scene_say(step, 3);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	/* The server has seen the hang-up when it has answered a question asked later. */
	for (int i = 0; i < 20; i++)
		scene_settle(&s);
	PLAIN_EQ(scene_count(&s, id[0]), 2);
	PLAIN_EQ(scene_count(&s, id[1]), 2);
	PLAIN_EQ(scene_stat(&s).clients, 1);
	scene_say(step, 2);
	scene_await(step, 3);
	scene_settle(&s);
	PLAIN_EQ(scene_count(&s, id[0]), 2);
	PLAIN_EQ(scene_count(&s, id[1]), 1); /* its export */
	plain_kill(child);
	scene_close(&s);
}

PLAIN_TEST(t16_a_death_without_hang_up_is_seen)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t *heir = scene_shared(sizeof *heir);
	pid_t child = plain_fork();

	if (child == 0) {
		tarn_client *c = scene_client(&s);
		tarn_block *b;

		OK(tarn_block_new(c, 5 << 20, 0, &b));
		pid_t grandchild = fork(); /* has the socket, and outlives */
		if (grandchild == 0)
			for (;;)
				pause();
		*heir = grandchild;
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	PLAIN_CHECK(scene_stat(&s).used_bytes >= 5 << 20);
	plain_kill(child);
	scene_at_rest(&s);
	PLAIN_EQ(kill(*heir, SIGKILL), 0);
	scene_close(&s);
}

struct survivor {
	tarn_client *c;
	tarn_block *b;
	uint32_t *step;
	pid_t leader;
};

static void *outlive_the_leader(void *arg)
{
	struct survivor *v = arg;
	tarn_token t;

	PLAIN_WAIT_FOR(plain_state(v->leader) == 'Z');
	OK(tarn_block_export(v->b, NULL, &t)); /* calls still work */
	scene_say(v->step, 1);
	scene_await(v->step, 2);
	OK(tarn_token_revoke(v->c, &t));
	if (v->step[1])
		close_sockets();
	scene_say(v->step, 3);
	scene_await(v->step, 4);
	return NULL;
}

static void leader_ends_first(bool hang_up)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(sizeof *step * 2);
	uint64_t *id = scene_shared(sizeof *id);
	pid_t child;

	step[1] = hang_up;
	child = plain_fork();
	if (child == 0) {
		static struct survivor v;
		pthread_t thread;

		unclosed = true;
		v = (struct survivor){ .c = scene_client(&s), .step = step, .leader = getpid() };
		OK(tarn_block_new(v.c, 1000, 0, &v.b));
		*id = tarn_block_id(v.b);
		PLAIN_EQ(pthread_create(&thread, NULL, outlive_the_leader, &v), 0);
		pthread_exit(NULL);
	}
	scene_await(step, 1);
	for (int i = 0; i < 20; i++)
		scene_settle(&s);
	PLAIN_EQ(scene_count(&s, *id), 2);
	scene_say(step, 2);
	scene_await(step, 3);
	for (int i = 0; i < 20; i++)
		scene_settle(&s);
	PLAIN_EQ(scene_count(&s, *id), 1);
	PLAIN_EQ(scene_stat(&s).clients, 1);
	scene_say(step, 4);
	PLAIN_EQ(plain_reap(child), 0);
	scene_close(&s);
}

PLAIN_TEST(t16_a_process_lives_as_long_as_any_of_its_threads)
{
	leader_ends_first(false);
}

PLAIN_TEST(t16_a_process_without_main_thread_that_hangs_up_keeps_what_it_holds)
{
	leader_ends_first(true);
}

/* ---- T8: a stopped process is not dead ---- */

static void stop(pid_t pid)
{
	kill(pid, SIGSTOP);
	PLAIN_WAIT_FOR(plain_state(pid) == 'T');
}

/* Takes part in what goes on, holding @id all the time. */
static void stoppable(const struct scene *s, uint64_t *id, uint32_t *step)
{
	tarn_client *c = scene_client(s);
	tarn_channel *ch;
	tarn_block *b, *x;
	tarn_token t;
	uint64_t tag, expected = 0;

	OK(tarn_block_new(c, 1000, 0, &b));
	OK(tarn_block_export(b, NULL, &t));
	memset(tarn_block_data(b), 42, 1000);
	*id = tarn_block_id(b);
	OK(tarn_channel_open(c, "t8", TARN_FOREVER, &ch));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	scene_say(step, 1);
	for (int r; (r = tarn_channel_recv(ch, &x, &tag, TARN_FOREVER)) != -TARN_ECLOSED;) {
		OK(r);
		PLAIN_EQ(tag, expected++);
		PLAIN_EQ(*(uint64_t *)tarn_block_data(x), tag);
		tarn_block_unref(x);
	}
	for (int i = 0; i < 1000; i++)
		PLAIN_EQ(((unsigned char *)tarn_block_data(b))[i], 42);
	scene_say(step, 100 + (uint32_t)expected);
	tarn_client_close(c);
	_exit(0);
}

static void send_number(tarn_client *c, tarn_channel *ch, uint64_t n, int64_t timeout_ns,
			int expected)
{
	tarn_block *b;

	OK(tarn_block_new(c, 8, 0, &b));
	*(uint64_t *)tarn_block_data(b) = n;
	PLAIN_EQ(tarn_channel_send(ch, b, n, timeout_ns), expected);
	tarn_block_unref(b);
}

static void others_go_on(tarn_client *c)
{
	for (int i = 0; i < 2000; i++) {
		tarn_block *b, *again;
		tarn_token t;

		OK(tarn_block_new(c, 1000, 0, &b));
		OK(tarn_block_export(b, NULL, &t));
		OK(tarn_block_import(c, &t, &again));
		tarn_block_unref(again);
		tarn_block_unref(b);
	}
}

PLAIN_TEST_TIMEOUT(t8_a_stopped_client_keeps_what_it_holds_and_goes_on_later, 60)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(sizeof *step);
	uint64_t *id = scene_shared(sizeof *id), sent = 0;
	tarn_client *c = scene_client(&s);
	tarn_channel *ch;
	pid_t child;

	OK(tarn_channel_new(c, 16, "t8", &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	child = plain_fork();
	if (child == 0)
		stoppable(&s, id, step);
	scene_await(step, 1);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 1000; i++)
			send_number(c, ch, sent++, TARN_FOREVER, 0);
		stop(child);
		others_go_on(c);
		/* Its channel fills, and no more. */
		tarn_block *b;
		OK(tarn_block_new(c, 8, 0, &b));
		*(uint64_t *)tarn_block_data(b) = sent;
		int r;
		while ((r = tarn_channel_send(ch, b, sent, 1000000)) == 0) {
			tarn_block_unref(b);
			OK(tarn_block_new(c, 8, 0, &b));
			*(uint64_t *)tarn_block_data(b) = ++sent;
		}
		PLAIN_EQ(r, -ETIMEDOUT);
		tarn_block_unref(b);
		scene_settle(&s);
		PLAIN_EQ(scene_units(&s, *id, TARN_CLAIM_HELD, 0), 1);
		PLAIN_EQ(scene_stat(&s).clients, 2);
		kill(child, SIGCONT);
	}
	tarn_channel_close(ch);
	PLAIN_EQ(plain_reap(child), 0);
	PLAIN_EQ(*step, 100 + sent);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST(t8_a_stopped_client_that_is_killed_gives_everything_back)
{
	struct scene s = scene_open(NULL);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t child = plain_fork();

	if (child == 0) {
		tarn_client *c = scene_client(&s);
		tarn_block *b;

		OK(tarn_block_new(c, 1 << 20, 0, &b));
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	stop(child);
	scene_settle(&s);
	PLAIN_EQ(scene_stat(&s).clients, 1);
	plain_kill(child);
	scene_close(&s);
}

PLAIN_TEST(t8_a_stopped_server_is_late_not_dead)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	pid_t server = tarn_server_pid(s.server);
	tarn_block *b;
	tarn_token t;

	OK(tarn_block_new(c, 1000, 0, &b));
	for (int i = 0; i < 5; i++) {
		stop(server);
		FAILS(tarn_client_ping(c, 10000000), ETIMEDOUT);
		FAILS(tarn_client_ping(c, 150000000), ETIMEDOUT); /* over a health check */
		kill(server, SIGCONT);
		OK(tarn_client_ping(c, TARN_FOREVER));
		OK(tarn_block_export(b, NULL, &t));
		OK(tarn_token_revoke(c, &t));
	}
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_MAIN()
