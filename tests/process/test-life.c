/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server as an object: states, references, initializers, where and as what it runs, what it
 * inherits, who may end it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/common/arena.h"
#include "tests/common/scene.h"

static const tarn_server_options small = { .arena_bytes = 4u << 20 };

static int pidfd_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	PLAIN_CHECK(fd >= 0);
	return fd;
}

static bool has_ended(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static bool said(const char *text)
{
	return strstr(tarn_error_last()->message, text) != NULL;
}
#define SAID(text) PLAIN_CHECKF(said(text), "%s", tarn_error_last()->message)

static void use(tarn_server *server)
{
	tarn_client *c;
	tarn_block *b;

	OK(tarn_server_client_open(server, NULL, &c));
	OK(tarn_client_ping(c, TARN_FOREVER));
	OK(tarn_block_new(c, 1000, 0, &b));
	tarn_block_unref(b);
	tarn_client_close(c);
}

static void check_quiet(tarn_server *server)
{
	struct scene s = { .server = server, .name = tarn_server_name(server) };

	OK(tarn_inspector_open(s.name, 0, &s.in));
	scene_at_rest(&s);
	tarn_inspector_close(s.in);
}

static unsigned count_in(const char *path)
{
	unsigned n = 0;
	DIR *d = opendir(path);

	PLAIN_CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* ---- start ---- */

PLAIN_TEST_TIMEOUT(l2_a_client_attaches_at_once_after_every_start, 120)
{
	uint64_t start = 0, attach = 0, least = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		tarn_server *server;
		tarn_client *c;
		uint64_t t0 = scene_now();

		OK(tarn_server_start(&small, &server));
		uint64_t t1 = scene_now();
		PLAIN_CHECK(tarn_server_name(server)[0] != '\0');
		OK(tarn_client_open(tarn_server_name(server), NULL, &c));
		uint64_t t2 = scene_now();
		start += t1 - t0;
		attach += t2 - t1;
		if (t2 - t0 < least)
			least = t2 - t0;
		tarn_client_close(c);
		if (i % 100 == 0)
			check_quiet(server);
		PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
		tarn_server_unref(server);
	}
	scene_note("start %.0f us, attach %.0f us in the mean of 1000; both %.0f us at best",
		   (double)start / 1e6, (double)attach / 1e6, (double)least / 1e3);
}

/* ---- initializers ---- */

struct argument {
	int behaviour;
	char path[120];
};

TARN_ENTRY(initializer)
{
	const struct argument *a = arg;
	char line[100];

	if (bytes != sizeof *a)
		return tarn_error_set(-EINVAL, "%zu bytes of argument", bytes);
	switch (a->behaviour) {
	case 1:
		return tarn_error_set(-ENOSPC, "no room for %s", "the types");
	case 2:
		return -ENOENT;
	case 3:
		return 7;
	case 4:
		exit(3);
	case 5:
		abort();
	default:
		break;
	}
	int fd = open(a->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int n = snprintf(line, sizeof line, "%d", (int)getpid());
	if (fd < 0 || write(fd, line, (size_t)n) != n)
		return -errno;
	close(fd);
	return 0;
}

static tarn_server_options with_initializer(struct argument *a, int behaviour)
{
	*a = (struct argument){ .behaviour = behaviour };
	snprintf(a->path, sizeof a->path, "%s/flag", plain_dir());
	return (tarn_server_options){ .arena_bytes = 4u << 20, .initializer = "initializer",
				      .initializer_arg = a, .initializer_arg_bytes = sizeof *a };
}

PLAIN_TEST(l3_an_initializer_runs_in_the_server_before_it_serves)
{
	struct argument a;
	tarn_server_options o = with_initializer(&a, 0);
	tarn_server *server;
	char line[20] = "";

	OK(tarn_server_new(&o, &server));
	memset(&a, 1, sizeof a.behaviour); /* it was copied */
	OK(tarn_server_launch(server));
	int fd = open(a.path, O_RDONLY | O_CLOEXEC);
	PLAIN_CHECK(fd >= 0);
	PLAIN_CHECK(read(fd, line, sizeof line - 1) > 0);
	close(fd);
	PLAIN_EQ(atoi(line), tarn_server_pid(server));
	use(server);
	check_quiet(server);
	tarn_server_unref(server);
}

PLAIN_TEST(l3_an_initializer_that_fails_fails_the_start_with_its_error)
{
	static const struct {
		int behaviour, code;
		const char *text;
	} way[] = {
		{ 1, ENOSPC, "no room for the types" },
		{ 2, ENOENT, "\"initializer\" returned -2" },
		{ 3, ECANCELED, "returned 7" },
		{ 4, EPIPE, "exit status 3" },
		{ 5, EPIPE, "killed by signal 6" },
	};
	unsigned fds = count_in("/proc/self/fd");

	for (unsigned i = 0; i < sizeof way / sizeof *way; i++) {
		struct argument a;
		tarn_server_options o = with_initializer(&a, way[i].behaviour);
		tarn_server *server = NULL;
		uint64_t begin = scene_now();

		FAILS(tarn_server_start(&o, &server), way[i].code);
		scene_note("behaviour %d: %.1f ms", way[i].behaviour,
			   (double)(scene_now() - begin) / 1e6);
		SAID(way[i].text);
		PLAIN_CHECK(server == NULL);
		/* In this process it fails likewise, if it returns at all. */
		if (way[i].code == EPIPE)
			continue;
		FAILS(tarn_server_run(&o), way[i].code);
		SAID(way[i].text);
	}
	PLAIN_EQ(count_in("/proc/self/fd"), fds);
	PLAIN_EQ(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

PLAIN_TEST(l3_an_initializer_that_is_not_there_is_named)
{
	tarn_server_options o = small;
	tarn_server *server;

	o.initializer = "nosuch";
	FAILS(tarn_server_start(&o, &server), ENOENT);
	SAID("nosuch");
	FAILS(tarn_server_run(&o), ENOENT);
	SAID("nosuch");
	PLAIN_CHECK(tarn_entry_find("initializer") != NULL);
	PLAIN_CHECK(tarn_entry_find("initialize") == NULL);
	PLAIN_CHECK(tarn_entry_find("") == NULL && tarn_entry_find(NULL) == NULL);
}

/* ---- scopes, states ---- */

static int leave_early(int how, pid_t *ret_pid, char *ret_name)
{
	TARN_AUTO(tarn_server) server = NULL;

	OK(tarn_server_new(&small, &server));
	if (how == 0)
		return 0; /* INITIAL */
	OK(tarn_server_launch(server));
	*ret_pid = tarn_server_pid(server);
	strcpy(ret_name, tarn_server_name(server));
	TARN_AUTO(tarn_client) c = NULL;
	OK(tarn_server_client_open(server, NULL, &c));
	TARN_AUTO(tarn_block) b = NULL;
	OK(tarn_block_new(c, 100, 0, &b));
	if (how == 1)
		return 1;
	for (int i = 0; i < 10; i++)
		if (i == 5)
			goto out;
	return 2;
out:
	return 3;
}

PLAIN_TEST(l6_leaving_a_scope_by_whichever_way_ends_its_server)
{
	unsigned fds = count_in("/proc/self/fd");
	char name[108] = "";
	tarn_client *c;

	for (int how = 0; how < 3; how++) {
		pid_t pid = 0;

		leave_early(how, &pid, name);
		PLAIN_CHECK(pid == 0 || kill(pid, 0) != 0); /* collected */
		PLAIN_EQ(count_in("/proc/self/fd"), fds);
		if (how > 0)
			FAILS(tarn_client_open(name, NULL, &c), ENOENT);
	}
	PLAIN_EQ(waitpid(-1, NULL, WNOHANG), -1);
}

enum operation { START, USE, SHUT_DOWN, OPERATIONS };

static int operate(enum operation op, tarn_server *server)
{
	tarn_client *c = NULL;
	int r;

	switch (op) {
	case START:
		return tarn_server_launch(server);
	case USE:
		r = tarn_server_client_open(server, NULL, &c);
		tarn_client_close(c);
		return r;
	default:
		return tarn_server_shutdown(server, TARN_FOREVER);
	}
}

PLAIN_TEST(l7_each_operation_in_each_state_works_or_names_the_state)
{
	static const struct {
		enum tarn_server_state before;
		enum operation op;
		enum tarn_server_state after;
		int result;
		const char *text;
	} row[] = {
		{ TARN_SERVER_INITIAL, START, TARN_SERVER_STARTED, 0, NULL },
		{ TARN_SERVER_INITIAL, USE, TARN_SERVER_INITIAL, -TARN_ESTATE, "INITIAL" },
		{ TARN_SERVER_INITIAL, SHUT_DOWN, TARN_SERVER_INITIAL, -TARN_ESTATE, "INITIAL" },
		{ TARN_SERVER_STARTED, START, TARN_SERVER_STARTED, -TARN_ESTATE, "STARTED" },
		{ TARN_SERVER_STARTED, USE, TARN_SERVER_STARTED, 0, NULL },
		{ TARN_SERVER_STARTED, SHUT_DOWN, TARN_SERVER_SHUTDOWN, 0, NULL },
		{ TARN_SERVER_SHUTDOWN, START, TARN_SERVER_SHUTDOWN, -TARN_ESTATE, "SHUTDOWN" },
		{ TARN_SERVER_SHUTDOWN, USE, TARN_SERVER_SHUTDOWN, -TARN_ESTATE, "SHUTDOWN" },
		{ TARN_SERVER_SHUTDOWN, SHUT_DOWN, TARN_SERVER_SHUTDOWN, 0, NULL },
	};
	static char texts[16][508];
	unsigned n_texts = 0;

	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		tarn_server *server;

		OK(tarn_server_new(&small, &server));
		if (row[i].before != TARN_SERVER_INITIAL)
			OK(tarn_server_launch(server));
		if (row[i].before == TARN_SERVER_SHUTDOWN)
			PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
		PLAIN_EQ(tarn_server_state(server), row[i].before);
		int r = operate(row[i].op, server);
		PLAIN_CHECKF(r == row[i].result, "row %u: %s", i, tarn_error_name(r));
		PLAIN_EQ(tarn_server_state(server), row[i].after);
		if (row[i].text != NULL) {
			SAID(row[i].text);
			for (unsigned k = 0; k < n_texts; k++)
				PLAIN_CHECK(strcmp(texts[k], tarn_error_last()->message) != 0);
			strcpy(texts[n_texts++], tarn_error_last()->message);
		}
		if (tarn_server_state(server) == TARN_SERVER_STARTED)
			check_quiet(server);
		tarn_server_unref(server);
	}
	PLAIN_EQ(n_texts, 5);
}

PLAIN_TEST(l7_a_start_that_fails_leaves_the_object_as_it_was)
{
	struct argument a;
	tarn_server_options o = with_initializer(&a, 0);
	tarn_server *server;
	int fd = open(a.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	PLAIN_CHECK(fd >= 0); /* in the initializer's way */
	close(fd);
	OK(tarn_server_new(&o, &server));
	FAILS(tarn_server_launch(server), EEXIST);
	PLAIN_EQ(tarn_server_state(server), TARN_SERVER_INITIAL);
	PLAIN_EQ(unlink(a.path), 0);
	OK(tarn_server_launch(server));
	use(server);
	check_quiet(server);
	tarn_server_unref(server);
}

static void *launch_too(void *arg)
{
	return (void *)(intptr_t)tarn_server_launch(arg);
}

static void *end_too(void *arg)
{
	return (void *)(intptr_t)tarn_server_shutdown(arg, TARN_FOREVER);
}

static void *wait_too(void *arg)
{
	int status;

	OK(tarn_server_wait(arg, TARN_FOREVER, &status));
	return (void *)(intptr_t)status;
}

PLAIN_TEST(l7_of_threads_that_start_or_end_one_server_one_does)
{
	pthread_t t[4], waiter;
	tarn_server *server;
	void *r;

	OK(tarn_server_new(&small, &server));
	for (int i = 0; i < 4; i++)
		PLAIN_EQ(pthread_create(&t[i], NULL, launch_too, server), 0);
	int started = 0;
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &r);
		PLAIN_CHECK((intptr_t)r == 0 || (intptr_t)r == -TARN_ESTATE);
		started += (intptr_t)r == 0;
	}
	PLAIN_EQ(started, 1);
	use(server);
	PLAIN_EQ(pthread_create(&waiter, NULL, wait_too, server), 0);
	for (int i = 0; i < 4; i++)
		PLAIN_EQ(pthread_create(&t[i], NULL, end_too, server), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &r);
		PLAIN_EQ((intptr_t)r, 0);
	}
	pthread_join(waiter, &r);
	PLAIN_EQ((intptr_t)r, 0);
	tarn_server_unref(server);
}

PLAIN_TEST(l7_options_are_checked_before_anything_is_done)
{
	static const uint32_t one = 1;
	static const tarn_server_options bad[] = {
		{ .process_name = "sixteen letters!" },
		{ .process_name = "" },
		{ .name = "" },
		{ .cpus = "" },
		{ .authkey = "short", .authkey_bytes = 5 },
		{ .authkey_bytes = 20 },
		{ .n_allow_uids = 1 },
		{ .allow_gids = &one, .n_allow_gids = 100000 },
		{ .lifetime = (enum tarn_lifetime)2 },
		{ .log_level = 8 },
		{ .log_level = -1 },
		{ .initializer_arg_bytes = 1 },
		{ .initializer = "" },
		{ .keep_names = true, .backing = TARN_BACKING_MEMFD },
	};

	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		tarn_server_options o = bad[i];
		tarn_server *server;

		o.arena_bytes = 4u << 20;
		int r = tarn_server_start(&o, &server);
		PLAIN_CHECKF(r == -EINVAL || r == -ENAMETOOLONG || r == -ENOENT, "%u: %s", i,
			     tarn_error_name(r));
		PLAIN_CHECK(tarn_error_last()->message[0] != '\0');
		PLAIN_EQ(tarn_server_run(&o), r);
	}
}

/* ---- ends ---- */

PLAIN_TEST(l8_a_second_shutdown_is_nothing)
{
	tarn_server *server;

	OK(tarn_server_start(&small, &server));
	PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
	for (int i = 0; i < 3; i++)
		PLAIN_EQ(tarn_server_shutdown(server, 0), 0);
	tarn_server_unref(server);
}

PLAIN_TEST(l8_shutdown_never_ends_another_server_that_took_the_name)
{
	tarn_server_options o = { .arena_bytes = 4u << 20, .name = "l8" };
	tarn_server *first, *second;
	tarn_client *c;

	OK(tarn_server_start(&o, &first));
	int fd = pidfd_of(tarn_server_pid(first));
	kill(tarn_server_pid(first), SIGKILL);
	PLAIN_WAIT_FOR(has_ended(fd));
	close(fd);
	OK(tarn_server_start(&o, &second));
	FAILS(tarn_server_client_open(first, NULL, &c), TARN_ESRVDOWN);
	PLAIN_EQ(tarn_server_shutdown(first, TARN_FOREVER), 2);
	use(second);
	check_quiet(second);
	tarn_server_unref(first);
	tarn_server_unref(second);
}

PLAIN_TEST(l8_a_forked_child_ends_nothing_of_its_parents)
{
	tarn_server *server;

	OK(tarn_server_start(&small, &server));
	pid_t child = plain_fork();
	if (child == 0) {
		FAILS(tarn_server_shutdown(server, 0), TARN_EFORKED);
		FAILS(tarn_server_wait(server, 0, NULL), TARN_EFORKED);
		FAILS(tarn_server_launch(server), TARN_EFORKED);
		use(server); /* it may be used */
		tarn_server_unref(server);
		exit(0);
	}
	PLAIN_EQ(plain_reap(child), 0);
	use(server);
	check_quiet(server);
	tarn_server_unref(server);
}

struct born {
	uint32_t step;
	pid_t server;
	char name[108];
};

static void start_for(struct born *b, enum tarn_lifetime lifetime)
{
	tarn_server_options o = { .arena_bytes = 4u << 20, .lifetime = lifetime };
	tarn_server *server;

	OK(tarn_server_start(&o, &server));
	b->server = tarn_server_pid(server);
	snprintf(b->name, sizeof b->name, "%s", tarn_server_name(server));
}

PLAIN_TEST(l9_a_detached_server_outlives_its_starter_killed_or_not)
{
	for (int kill_it = 0; kill_it < 2; kill_it++) {
		struct born *b = scene_shared(sizeof *b);
		pid_t child = plain_fork();
		tarn_client *c;

		if (child == 0) {
			start_for(b, TARN_LIFETIME_DETACHED);
			/* No child of ours: nothing to be collected, now or later. */
			PLAIN_EQ(waitpid(-1, NULL, WNOHANG), -1);
			PLAIN_EQ(getsid(b->server), b->server);
			scene_say(&b->step, 1);
			scene_await(&b->step, kill_it ? 99 : 2);
			exit(0);
		}
		scene_await(&b->step, 1);
		int fd = pidfd_of(b->server);
		if (kill_it)
			kill(child, SIGKILL);
		scene_say(&b->step, 2);
		plain_reap(child);
		for (int i = 0; i < 20; i++) {
			OK(tarn_client_open(b->name, NULL, &c));
			OK(tarn_client_ping(c, TARN_FOREVER));
			tarn_client_close(c);
		}
		PLAIN_CHECK(!has_ended(fd));
		kill(b->server, SIGTERM);
		PLAIN_WAIT_FOR(has_ended(fd));
		close(fd);
		FAILS(tarn_client_open(b->name, NULL, &c), ENOENT);
	}
}

PLAIN_TEST(l9_a_detached_server_outlives_its_object_and_can_be_shut_down)
{
	tarn_server_options o = { .arena_bytes = 4u << 20, .lifetime = TARN_LIFETIME_DETACHED,
				  .name = "detached" };
	tarn_server *server;
	int status = 0;

	OK(tarn_server_start(&o, &server));
	int fd = pidfd_of(tarn_server_pid(server));
	tarn_server_unref(server);
	PLAIN_CHECK(!has_ended(fd));
	FAILS(tarn_server_start(&o, &server), EADDRINUSE);
	tarn_inspector *in;
	OK(tarn_inspector_open("detached", 0, &in));
	OK(tarn_inspector_shutdown(in));
	tarn_inspector_close(in);
	PLAIN_WAIT_FOR(has_ended(fd));
	close(fd);
	OK(tarn_server_start(&o, &server));
	use(server);
	check_quiet(server);
	PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
	OK(tarn_server_wait(server, 0, &status));
	PLAIN_EQ(status, TARN_STATUS_UNKNOWN);
	tarn_server_unref(server);
}

PLAIN_TEST(l9_dropping_the_last_reference_ends_an_owned_server)
{
	tarn_server *server;

	OK(tarn_server_start(&small, &server));
	int fd = pidfd_of(tarn_server_pid(server));
	PLAIN_CHECK(tarn_server_ref(server) == server);
	PLAIN_CHECK(tarn_server_unref(server) == NULL);
	PLAIN_CHECK(!has_ended(fd));
	use(server);
	tarn_server_unref(server);
	PLAIN_CHECK(has_ended(fd));
	close(fd);
}

PLAIN_TEST(l12_wait_times_out_while_it_lives_and_tells_how_it_ended)
{
	/* SIGSEGV is the sanitizer's own: it says so, and exits. */
	static const int signals[] = { 0, SIGTERM, SIGKILL, ARENA_ASAN ? SIGKILL : SIGSEGV };

	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
		tarn_server *server;
		int status = -99;

		OK(tarn_server_new(&small, &server));
		FAILS(tarn_server_wait(server, 0, &status), TARN_ESTATE);
		SAID("INITIAL");
		OK(tarn_server_launch(server));
		FAILS(tarn_server_wait(server, 0, &status), EAGAIN);
		FAILS(tarn_server_wait(server, 1000000, &status), ETIMEDOUT);
		PLAIN_EQ(status, -99);
		if (signals[i] == 0)
			PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
		else
			kill(tarn_server_pid(server), signals[i]);
		OK(tarn_server_wait(server, TARN_FOREVER, &status));
		PLAIN_EQ(status, signals[i] > 0 && signals[i] != SIGTERM ? -signals[i] : 0);
		OK(tarn_server_wait(server, 0, &status)); /* again the same */
		PLAIN_EQ(status, signals[i] > 0 && signals[i] != SIGTERM ? -signals[i] : 0);
		PLAIN_EQ(tarn_server_state(server),
			 signals[i] == 0 ? TARN_SERVER_SHUTDOWN : TARN_SERVER_STARTED);
		PLAIN_CHECK(tarn_server_shutdown(server, 0) == (signals[i] == 0 ? 0 : 2));
		tarn_server_unref(server);
	}
}

/* ---- where and as what ---- */

static void comm_of(pid_t pid, char ret[32])
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	PLAIN_CHECK(fd >= 0);
	ssize_t n = read(fd, ret, 31);
	close(fd);
	PLAIN_CHECK(n > 0);
	ret[n - 1] = '\0';
}

PLAIN_TEST(l14_the_process_has_the_name_it_was_given)
{
	tarn_server_options o = { .arena_bytes = 4u << 20, .process_name = "fifteen letters" };
	tarn_server *server;
	char comm[32];

	OK(tarn_server_start(&o, &server));
	comm_of(tarn_server_pid(server), comm);
	PLAIN_CHECKF(strcmp(comm, "fifteen letters") == 0, "%s", comm);
	check_quiet(server);
	tarn_server_unref(server);
	OK(tarn_server_start(&small, &server));
	comm_of(tarn_server_pid(server), comm);
	PLAIN_CHECKF(strcmp(comm, "tarn-server") == 0, "%s", comm);
	tarn_server_unref(server);
}

/* All threads of the server are pinned to exactly @want. */
static void pinned(pid_t pid, const cpu_set_t *want)
{
	char path[300];
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	d = opendir(path);
	PLAIN_CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		cpu_set_t got;

		if (e->d_name[0] == '.')
			continue;
		PLAIN_EQ(sched_getaffinity(atoi(e->d_name), sizeof got, &got), 0);
		PLAIN_CHECK(CPU_EQUAL(&got, want));
	}
	closedir(d);
}

PLAIN_TEST(l15_the_server_runs_on_the_cpus_it_was_given)
{
	tarn_server_options o = { .arena_bytes = 4u << 20 };
	cpu_set_t here, want;
	tarn_server *server;
	char text[32];

	PLAIN_EQ(sched_getaffinity(0, sizeof here, &here), 0);
	o.cpus = text;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &here))
			continue;
		CPU_ZERO(&want);
		CPU_SET(cpu, &want);
		snprintf(text, sizeof text, cpu % 2 ? "%u" : "%1$u-%1$u,%1$u", cpu);
		OK(tarn_server_start(&o, &server));
		pinned(tarn_server_pid(server), &want);
		use(server);
		check_quiet(server);
		tarn_server_unref(server);
	}
	cpu_set_t now;
	PLAIN_EQ(sched_getaffinity(0, sizeof now, &now), 0);
	PLAIN_CHECK(CPU_EQUAL(&now, &here)); /* the caller stays where it was */
}

PLAIN_TEST(l15_the_cpus_of_a_numa_node_can_be_named)
{
	tarn_server_options o = { .arena_bytes = 4u << 20, .cpus = "node0" };
	struct stat st;
	tarn_server *server;
	cpu_set_t set;

	if (stat("/sys/devices/system/node/node0", &st) != 0)
		PLAIN_SKIP("this kernel shows no NUMA nodes");
	OK(tarn_server_start(&o, &server));
	PLAIN_EQ(sched_getaffinity(tarn_server_pid(server), sizeof set, &set), 0);
	PLAIN_CHECK(CPU_COUNT(&set) > 0);
	use(server);
	check_quiet(server);
	tarn_server_unref(server);
}

PLAIN_TEST(l15_cpus_that_cannot_be_had_fail_the_start)
{
	static const char *const bad[] = { "8000", "0,8000", "0-8191", "9999", "1-0", "0,", ",0", "0 ",
					   "x", "-1", "0-", "node", "node999", "nodex", "node0x" };
	cpu_set_t before, after;

	PLAIN_EQ(sched_getaffinity(0, sizeof before, &before), 0);
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		tarn_server_options o = { .arena_bytes = 4u << 20, .cpus = bad[i] };
		tarn_server *server;

		FAILS(tarn_server_start(&o, &server), EINVAL);
		PLAIN_CHECKF(said(bad[i]) || said("node"), "%s", tarn_error_last()->message);
		FAILS(tarn_server_run(&o), EINVAL);
	}
	PLAIN_EQ(sched_getaffinity(0, sizeof after, &after), 0);
	PLAIN_CHECK(CPU_EQUAL(&before, &after));
}

/* ---- borrowed ---- */

static void borrow(const char *text)
{
	tarn_server *server;
	char again[TARN_SERVER_TEXT];

	unsetenv("XDG_RUNTIME_DIR"); /* the text says where it is */
	OK(tarn_server_import(text, &server));
	PLAIN_CHECK(tarn_server_borrowed(server));
	PLAIN_EQ(tarn_server_state(server), TARN_SERVER_STARTED);
	use(server);
	FAILS(tarn_server_shutdown(server, 0), TARN_ESTATE);
	SAID("BORROWED");
	FAILS(tarn_server_launch(server), TARN_ESTATE);
	SAID("BORROWED");
	FAILS(tarn_server_wait(server, 0, NULL), TARN_ESTATE);
	OK(tarn_server_export(server, again));
	PLAIN_CHECK(strcmp(again, text) == 0);
	tarn_server_unref(server);
	OK(tarn_server_import(text, &server)); /* dropping it stopped nothing */
	use(server);
	tarn_server_unref(server);
}

PLAIN_TEST(l17_a_borrowed_server_can_be_used_and_not_stopped)
{
	char abstract[64], path[128];
	const char *const names[] = { NULL, "l17", abstract, path };

	snprintf(abstract, sizeof abstract, "@tarn-l17-%d", (int)getpid());
	snprintf(path, sizeof path, "%s/../%s/l17.sock", plain_dir(), strrchr(plain_dir(), '/') + 1);
	for (unsigned i = 0; i < 4; i++) {
		tarn_server_options o = { .arena_bytes = 4u << 20, .name = names[i] };
		char text[TARN_SERVER_TEXT], of_client[TARN_SERVER_TEXT];
		tarn_server *server;
		tarn_client *c;

		OK(tarn_server_new(&o, &server));
		FAILS(tarn_server_export(server, text), TARN_ESTATE);
		OK(tarn_server_launch(server));
		OK(tarn_server_export(server, text));
		OK(tarn_server_client_open(server, NULL, &c));
		OK(tarn_client_export(c, of_client, sizeof of_client));
		PLAIN_CHECKF(strcmp(text, of_client) == 0, "%s %s", text, of_client);
		FAILS(tarn_client_export(c, of_client, 20), ENOBUFS);
		tarn_client_close(c);
		pid_t child = plain_fork();
		if (child == 0) {
			borrow(text);
			exit(0);
		}
		PLAIN_EQ(plain_reap(child), 0);
		use(server);
		check_quiet(server);
		PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
		tarn_server *borrowed;
		OK(tarn_server_import(text, &borrowed));
		FAILS(tarn_server_client_open(borrowed, NULL, &c), ENOENT);
		/* Another server of this name is not the one that is meant. */
		tarn_server *next = NULL;
		if (names[i] != NULL) {
			OK(tarn_server_start(&o, &next));
			FAILS(tarn_server_client_open(borrowed, NULL, &c), TARN_ESRVDOWN);
		}
		tarn_server_unref(next);
		tarn_server_unref(borrowed);
		tarn_server_unref(server);
	}
}

PLAIN_TEST(l17_text_that_is_no_server_is_refused)
{
	static const char *const bad[] = {
		"", "tarn", "tarn:1:", "tarn:2:00000000000000000000000000000000:1:/x",
		"tarn:1:0000000000000000000000000000000:1:/x",
		"tarn:1:0000000000000000000000000000000g:1:/x",
		"tarn:1:000000000000000000000000000000000:1:/x",
		"tarn:1:00000000000000000000000000000000:0:/x",
		"tarn:1:00000000000000000000000000000000:-1:/x",
		"tarn:1:00000000000000000000000000000000:1:x",
		"tarn:1:00000000000000000000000000000000:1:",
		"tarn:1:00000000000000000000000000000000:1:@",
		"tarn:1:00000000000000000000000000000000:1:/\n",
		"tarn:1:00000000000000000000000000000000:1:/"
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
	};

	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		tarn_server *server;

		FAILS(tarn_server_import(bad[i], &server), EINVAL);
	}
}

/* ---- what it inherits ---- */

static int a_global = 1;

/* None is ours; true if none is a pipe, as the one on which it said that it is ready. */
static bool descriptors_are_its_own(pid_t pid)
{
	bool pipes = false;
	char path[300], target[300];
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	d = opendir(path);
	PLAIN_CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.' || atoi(e->d_name) < 3)
			continue;
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
		if (n < 0)
			continue;
		target[(size_t)n] = '\0';
		PLAIN_CHECKF(strstr(target, "secret") == NULL, "%s", target);
		pipes = pipes || strstr(target, "pipe:") != NULL;
	}
	closedir(d);
	return !pipes;
}

TARN_ENTRY(look_around)
{
	(void)arg;
	(void)bytes;
	return a_global == 1 && getenv("TARN__SERVE") == NULL ? 0 : -EBUSY;
}

PLAIN_TEST(l19_a_server_inherits_nothing_by_accident)
{
	static const enum tarn_lifetime lives[] = { TARN_LIFETIME_OWNED, TARN_LIFETIME_DETACHED };
	char path[128];
	int p[2];

	a_global = 2; /* a fresh image does not see it */
	snprintf(path, sizeof path, "%s/secret", plain_dir());
	/* On purpose without O_CLOEXEC: an accident of the program. */
	int low = open(path, O_RDWR | O_CREAT, 0600), high = fcntl(low, F_DUPFD, 700);
	PLAIN_CHECK(low >= 0 && high >= 700);
	PLAIN_EQ(pipe(p), 0);
	for (unsigned i = 0; i < 2; i++) {
		tarn_server_options o = { .arena_bytes = 4u << 20, .initializer = "look_around",
					  .lifetime = lives[i] };
		tarn_server *server;

		OK(tarn_server_start(&o, &server));
		PLAIN_WAIT_FOR(descriptors_are_its_own(tarn_server_pid(server)));
		use(server);
		check_quiet(server);
		PLAIN_EQ(tarn_server_shutdown(server, TARN_FOREVER), 0);
		tarn_server_unref(server);
	}
	/* Nor does it keep our pipes open. */
	char byte;
	close(p[1]);
	PLAIN_EQ(read(p[0], &byte, 1), 0);
	close(p[0]);
	close(low);
	close(high);
}

PLAIN_TEST(l22_ping_proves_life_and_says_when_it_is_gone)
{
	tarn_server *server;
	tarn_client *c;
	uint64_t least = UINT64_MAX;

	OK(tarn_server_start(&small, &server));
	OK(tarn_server_client_open(server, NULL, &c));
	for (int i = 0; i < 1000; i++) {
		uint64_t begin = scene_now();

		OK(tarn_client_ping(c, TARN_FOREVER));
		if (scene_now() - begin < least)
			least = scene_now() - begin;
	}
	scene_note("a ping takes %.1f us at best", (double)least / 1e3);
	kill(tarn_server_pid(server), SIGSTOP);
	FAILS(tarn_client_ping(c, 1000000), ETIMEDOUT);
	kill(tarn_server_pid(server), SIGCONT);
	OK(tarn_client_ping(c, TARN_FOREVER));
	kill(tarn_server_pid(server), SIGKILL);
	OK(tarn_server_wait(server, TARN_FOREVER, NULL));
	FAILS(tarn_client_ping(c, TARN_FOREVER), TARN_ESRVDOWN);
	SAID(tarn_server_name(server));
	tarn_client_close(c);
	tarn_server_unref(server);
}

/* ---- the log ---- */

struct lines {
	unsigned at[8];
	unsigned events[3];
	char name[64];
};

static void note_line(void *arg, int level, const char *line)
{
	struct lines *l = arg;

	PLAIN_CHECK(level >= 3 && level <= 7 && line[0] != '\0');
	__atomic_add_fetch(&l->at[level], 1, __ATOMIC_RELAXED);
}

static void note_event(void *arg, enum tarn_server_event event, const char *name)
{
	struct lines *l = arg;

	snprintf(l->name, sizeof l->name, "%s", name);
	__atomic_add_fetch(&l->events[event], 1, __ATOMIC_RELEASE);
}

struct run {
	pthread_t thread;
	tarn_server_options o;
};

static void *run_main(void *arg)
{
	struct run *r = arg;

	OK(tarn_server_run(&r->o));
	return NULL;
}

PLAIN_TEST(log_lines_are_those_of_the_level_and_events_tell_beginning_and_end)
{
	static const int levels[] = { 0, 3, 4, 6, 7 };

	for (unsigned i = 0; i < 5; i++) {
		struct lines l = { .name = "" };
		struct run r = { .o = { .arena_bytes = 4u << 20, .name = "log", .log = note_line,
					.log_arg = &l, .log_level = levels[i],
					.event = note_event, .event_arg = &l } };
		tarn_client *c;

		PLAIN_EQ(pthread_create(&r.thread, NULL, run_main, &r), 0);
		PLAIN_WAIT_FOR(__atomic_load_n(&l.events[TARN_SERVER_READY], __ATOMIC_ACQUIRE) == 1);
		PLAIN_EQ(l.events[TARN_SERVER_STOPPING], 0);
		OK(tarn_client_open("log", NULL, &c));
		tarn_client_close(c); /* a debug line */
		tarn_server_stop();
		pthread_join(r.thread, NULL);
		PLAIN_EQ(l.events[TARN_SERVER_STOPPING], 1);
		PLAIN_CHECK(strcmp(l.name, "log") == 0);
		PLAIN_CHECK((l.at[6] > 0) == (levels[i] == 0 || levels[i] >= 6));
		PLAIN_CHECK((l.at[7] > 0) == (levels[i] == 0 || levels[i] >= 7));
	}
}

PLAIN_MAIN()
