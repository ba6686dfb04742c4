/* SPDX-License-Identifier: Apache-2.0 */
/* Logs of worker processes (FEATURES 1.11, S11 to S15 and S19). */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/image.h"
#include "shm/log-ring.h"
#include "tests/common/scene.h"

struct user {
	struct scene s;
	tarn_client *c;
};

static struct user user_open(void)
{
	struct user u = { .s = scene_open(NULL) };

	u.c = scene_client(&u.s);
	return u;
}
static void user_close(struct user *u)
{
	tarn_client_close(u->c);
	scene_close(&u->s);
}

/* What a handler was given, as text, one line each. */
struct lines {
	unsigned n;
	char line[64][400];
	uint64_t next, lost;
};

static void keep_line(void *arg, const tarn_log_record *r)
{
	struct lines *l = arg;

	PLAIN_CHECK(l->n < 64);
	tarn_log_format(r, "%l %n [%p] %f:%L %m", l->line[l->n], sizeof l->line[0]);
	l->n++;
}

static bool is_line(const struct lines *l, unsigned i, const char *text)
{
	return i < l->n && strcmp(l->line[i], text) == 0;
}

static void run(struct user *u, const tarn_process_options *o, int expected)
{
	tarn_process *p;

	OK(tarn_process_spawn(u->c, o, &p));
	PLAIN_EQ(tarn_process_join(p, TARN_FOREVER), expected);
	tarn_process_unref(p);
}

/* ---- S11: the parent's level, format and handler ---- */

TARN_WORKER(log_at_every_level)
{
	const char *name = tarn_worker_name(worker);

	tarn_log(TARN_LOG_DEBUG, "app.db", "debug of %s", name);
	tarn_log(TARN_LOG_INFO, "app.db", "info of %s", name);
	tarn_log(TARN_LOG_WARNING, "app.db", "warning of %s", name);
	tarn_log(TARN_LOG_ERROR, "app.db", "error of %s", name);
	return tarn_put_int(tarn_worker_result(worker), __LINE__);
}

PLAIN_TEST(s11_records_of_a_process_obey_its_parents_level_and_handler)
{
	const int levels[] = { TARN_LOG_DEBUG, TARN_LOG_INFO, TARN_LOG_WARNING, TARN_LOG_ERROR };
	const char *names[] = { "DEBUG", "INFO", "WARNING", "ERROR" };
	const char *words[] = { "debug", "info", "warning", "error" };
	struct user u = user_open();

	for (unsigned k = 0; k < 4; k++) {
		struct lines l = { 0 };
		tarn_process *p;
		int end;

		tarn_log_set(&(tarn_log_handler){ .level = levels[k], .sink = keep_line, .arg = &l });
		OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "log_at_every_level",
								    .name = "talker" }, &p));
		OK(tarn_process_get(p, TARN_FOREVER, "i", &end));
		PLAIN_EQ(l.n, 4 - k); /* all of them, by the time join returns */
		for (unsigned i = k; i < 4; i++) {
			char text[200];

			snprintf(text, sizeof text, "%s app.db [talker] log_at_every_level:%d %s of talker",
				 names[i], end - 4 + (int)i, words[i]);
			PLAIN_CHECKF(is_line(&l, i - k, text), "%s, not %s", l.line[i - k], text);
		}
		tarn_process_unref(p);
		tarn_log_set(NULL);
	}
	user_close(&u);
}

static void print_here(int *ret_saved, int *ret_end)
{
	int ends[2];

	PLAIN_EQ(pipe2(ends, O_CLOEXEC), 0);
	*ret_saved = fcntl(2, F_DUPFD_CLOEXEC, 3);
	dup2(ends[1], 2);
	close(ends[1]);
	*ret_end = ends[0];
}

PLAIN_TEST(s11_without_a_handler_lines_go_to_stderr_in_the_parents_format)
{
	struct user u = user_open();
	char text[2000] = "";
	int saved, end;

	tarn_log_set(&(tarn_log_handler){ .level = TARN_LOG_WARNING, .format = "%l|%p|%n|%m|%%" });
	print_here(&saved, &end);
	run(&u, &(tarn_process_options){ .entry = "log_at_every_level", .name = "talker" }, 0);
	dup2(saved, 2);
	close(saved);
	tarn_log_set(NULL);
	PLAIN_CHECK(read(end, text, sizeof text - 1) > 0);
	close(end);
	PLAIN_CHECKF(strcmp(text, "WARNING|talker|app.db|warning of talker|%\n"
				  "ERROR|talker|app.db|error of talker|%\n") == 0, "%s", text);
	user_close(&u);
}

PLAIN_TEST(s19_handlers_of_two_sets_of_options_do_not_mix)
{
	struct user u = user_open();
	struct lines a = { 0 }, b = { 0 }, none = { 0 };
	const tarn_log_handler to_a = { .sink = keep_line, .arg = &a };
	const tarn_log_handler to_b = { .sink = keep_line, .arg = &b, .level = TARN_LOG_ERROR };
	tarn_process_options with_a = { .entry = "log_at_every_level", .log = &to_a };
	tarn_process_options with_b = { .entry = "log_at_every_level", .log = &to_b };
	tarn_process *p[6];

	tarn_log_set(&(tarn_log_handler){ .sink = keep_line, .arg = &none });
	for (int i = 0; i < 6; i++)
		OK(tarn_process_spawn(u.c, i % 2 == 0 ? &with_a : &with_b, &p[i]));
	for (int i = 0; i < 6; i++) {
		OK(tarn_process_join(p[i], TARN_FOREVER));
		tarn_process_unref(p[i]);
	}
	PLAIN_EQ(a.n, 9);
	PLAIN_EQ(b.n, 3);
	PLAIN_EQ(none.n, 0);
	tarn_log_set(NULL);
	user_close(&u);
}

PLAIN_TEST(s11_a_program_without_workers_logs_to_its_own_handler)
{
	struct lines l = { 0 };
	char line[200];

	tarn_log_set(&(tarn_log_handler){ .sink = keep_line, .arg = &l });
	tarn_log(TARN_LOG_DEBUG, "x", "not seen");
	tarn_log(TARN_LOG_CRITICAL, "x", "seen %d", 5);
	snprintf(line, sizeof line, "CRITICAL x [main] %s:%d seen 5", __func__, __LINE__ - 1);
	tarn_log_set(NULL);
	PLAIN_EQ(l.n, 1);
	PLAIN_CHECKF(is_line(&l, 0, line), "%s", l.line[0]);
}

/* ---- workers of workers ---- */

TARN_WORKER(log_twice)
{
	tarn_process *p;
	int r = tarn_process_spawn(tarn_worker_client(worker),
				   &(tarn_process_options){ .entry = "log_at_every_level",
							    .name = "grandchild" }, &p);

	tarn_log(TARN_LOG_INFO, "mine", "one");
	if (r == 0)
		r = tarn_process_join(p, TARN_FOREVER);
	tarn_log(TARN_LOG_INFO, "mine", "two");
	return r;
}
PLAIN_TEST(s11_records_of_a_workers_worker_come_up)
{
	struct user u = user_open();
	struct lines l = { 0 };
	unsigned own = 0, theirs = 0;

	tarn_log_set(&(tarn_log_handler){ .sink = keep_line, .arg = &l });
	run(&u, &(tarn_process_options){ .entry = "log_twice", .name = "child" }, 0);
	tarn_log_set(NULL);
	for (unsigned i = 0; i < l.n; i++) {
		own += strstr(l.line[i], " mine [child] ") != NULL;
		theirs += strstr(l.line[i], " app.db [grandchild] ") != NULL;
	}
	PLAIN_EQ(own, 2);
	PLAIN_EQ(theirs, 3);
	user_close(&u);
}

/* ---- a reader of stderr that stopped ---- */

/* Reads all that is there. */
static void drain(int fd, char *text, size_t bytes)
{
	size_t at = 0;
	ssize_t n;

	while (at < bytes - 1 && (n = read(fd, text + at, bytes - 1 - at)) > 0)
		at += (size_t)n;
	text[at] = '\0';
}

static unsigned lines_in(const char *text)
{
	unsigned n = 0;

	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

PLAIN_TEST(s15_nobody_waits_for_a_reader_of_stderr_that_stopped)
{
	static const char mark[] = "lines missing here, for want of room on standard error: ";
	static char text[65536], longer[15001];
	int fds[2], saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	const char *at;

	PLAIN_CHECK(pipe2(fds, O_CLOEXEC) == 0 && fcntl(fds[1], F_SETPIPE_SZ, 4096) > 0);
	PLAIN_CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	dup2(fds[1], STDERR_FILENO);
	for (int i = 0; i < 200; i++)
		tarn_log(TARN_LOG_INFO, "x", "%d", i);
	drain(fds[0], text, sizeof text);
	const unsigned there = lines_in(text);

	/* In the room that is there now: what was missing, before the line that found it. */
	tarn_log(TARN_LOG_INFO, "x", "after");
	drain(fds[0], text, sizeof text);
	PLAIN_CHECKF(there > 0 && there < 200, "%u lines", there);
	PLAIN_CHECKF(strncmp(text, mark, sizeof mark - 1) == 0, "%s", text);
	PLAIN_EQ(strtoul(text + sizeof mark - 1, NULL, 10), 200 - there);
	PLAIN_CHECK(lines_in(text) == 2 && strstr(text, " after\n") != NULL);

	/* A line that is longer than the room is cut, and the next one begins one of its own. */
	memset(longer, 'y', sizeof longer - 1);
	tarn_log(TARN_LOG_INFO, "x", "%s", longer);
	drain(fds[0], text, sizeof text);
	PLAIN_CHECK(strlen(text) == 4096 && lines_in(text) == 0);
	tarn_log(TARN_LOG_INFO, "x", "again");
	drain(fds[0], text, sizeof text);
	at = strstr(text, mark);
	PLAIN_CHECKF(text[0] == '\n' && at == text + 1 && strtoul(at + sizeof mark - 1, NULL, 10) == 1, "%s", text);
	PLAIN_CHECK(lines_in(text) == 3 && strstr(text, " again\n") != NULL);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[0]);
	close(fds[1]);
}

TARN_WORKER(fork_and_log)
{
	pid_t pid;

	(void)worker;
	tarn_log(TARN_LOG_INFO, "x", "parent");
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 1000; i++)
			tarn_log(TARN_LOG_INFO, "x", "forked");
		_exit(0);
	}
	for (int i = 0; i < 40; i++)
		tarn_log(TARN_LOG_INFO, "x", "parent");
	return plain_reap(pid);
}
PLAIN_TEST(s13_a_process_that_is_forked_from_a_worker_logs_for_itself)
{
	struct user u = user_open();
	struct lines l = { 0 };
	const tarn_log_handler h = { .sink = keep_line, .arg = &l };

	run(&u, &(tarn_process_options){ .entry = "fork_and_log", .log = &h,
					 .stderr_to = TARN_STDIO_NULL }, 0);
	PLAIN_EQ(l.n, 41);
	for (unsigned i = 0; i < l.n; i++)
		PLAIN_CHECK(strstr(l.line[i], "parent") != NULL);
	user_close(&u);
}

/* ---- S12: captured streams ---- */

TARN_WORKER(print)
{
	(void)worker;
	fprintf(stderr, "a warning of some library\n");
	printf("a line\nhalf a line");
	fflush(stdout);
	return 0;
}

PLAIN_TEST(s12_captured_lines_arrive_tagged)
{
	struct user u = user_open();
	struct lines l = { 0 };
	const tarn_log_handler h = { .sink = keep_line, .arg = &l };
	unsigned found = 0;

	run(&u, &(tarn_process_options){ .entry = "print", .name = "printer", .log = &h,
					 .stdout_to = TARN_STDIO_LOG, .stderr_to = TARN_STDIO_LOG }, 0);
	PLAIN_EQ(l.n, 3);
	for (unsigned i = 0; i < 3; i++) {
		found += strcmp(l.line[i], "WARNING stderr [printer] :0 a warning of some library") == 0;
		found += strcmp(l.line[i], "INFO stdout [printer] :0 a line") == 0;
		found += strcmp(l.line[i], "INFO stdout [printer] :0 half a line") == 0;
	}
	PLAIN_EQ(found, 3);
	l.n = 0;
	run(&u, &(tarn_process_options){ .entry = "print", .log = &h, .stdout_to = TARN_STDIO_NULL,
					 .stderr_to = TARN_STDIO_NULL }, 0);
	PLAIN_EQ(l.n, 0);
	user_close(&u);
}

TARN_WORKER(print_for_ever)
{
	(void)worker;
	for (;;)
		printf("a line\n");
}
static void look_slowly(void *arg, const tarn_log_record *r)
{
	(void)r;
	__atomic_fetch_add((uint32_t *)arg, 1, __ATOMIC_RELAXED);
	usleep(50);
}
/* The thread that reads never came to an end of it, and so to nobody else. */
PLAIN_TEST(s12_a_process_that_prints_for_ever_holds_up_no_other)
{
	struct user u = user_open();
	uint32_t n = 0;
	const tarn_log_handler h = { .sink = look_slowly, .arg = &n };
	tarn_process *talks;

	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "print_for_ever", .log = &h,
							    .stdout_to = TARN_STDIO_LOG }, &talks));
	PLAIN_WAIT_FOR(__atomic_load_n(&n, __ATOMIC_RELAXED) > 3000);
	run(&u, &(tarn_process_options){ .entry = "print", .stdout_to = TARN_STDIO_LOG,
					 .stderr_to = TARN_STDIO_NULL }, 0);
	OK(tarn_process_kill(talks));
	PLAIN_EQ(tarn_process_join(talks, TARN_FOREVER), -TARN_EREMOTE);
	tarn_process_unref(talks);
	user_close(&u);
}

TARN_WORKER(print_when_told)
{
	const char *go;
	int r = tarn_worker_get(worker, "s", &go);
	struct stat st;

	if (r < 0)
		return r;
	while (stat(go, &st) != 0)
		usleep(1000);
	printf("a line\n");
	fflush(stdout);
	return 0;
}
/* Descriptors that the epolls of this process watch. */
static unsigned watched(void)
{
	char path[64], to[64], line[200];
	unsigned n = 0;

	for (int fd = 3; fd < 1024; fd++) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t bytes = readlink(path, to, sizeof to - 1);

		to[bytes > 0 ? bytes : 0] = '\0';
		if (strcmp(to, "anon_inode:[eventpoll]") != 0)
			continue;
		snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
		FILE *f = fopen(path, "r");

		while (f != NULL && fgets(line, sizeof line, f) != NULL)
			n += strncmp(line, "tfd:", 4) == 0;
		if (f != NULL)
			fclose(f);
	}
	return n;
}
/* The pipe stayed in the epoll, at its end for ever, with a process that was freed. */
PLAIN_TEST(s12_a_stream_that_a_forked_child_has_open_is_left_at_its_end)
{
	struct user u = user_open();
	unsigned before;
	char go[200];
	tarn_builder b;
	tarn_process *p;
	pid_t pid;

	run(&u, &(tarn_process_options){ .entry = "print", .stdout_to = TARN_STDIO_LOG }, 0);
	before = watched();
	PLAIN_CHECK(before > 0);
	snprintf(go, sizeof go, "%s/go", plain_dir());
	tarn_builder_init(&b);
	tarn_put(&b, "s", go);
	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "print_when_told", .args = &b,
							    .stdout_to = TARN_STDIO_LOG }, &p));
	tarn_builder_fini(&b);
	pid = plain_fork();
	if (pid == 0)
		for (;;)
			pause();
	close(open(go, O_CREAT | O_WRONLY, 0600));
	OK(tarn_process_join(p, TARN_FOREVER));
	tarn_process_unref(p);
	PLAIN_EQ(watched(), before);
	plain_kill(pid);
	user_close(&u);
}

/* ---- S13: a worker that looks after its own ---- */

static void write_line(void *arg, const tarn_log_record *r)
{
	int fd = open(arg, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);

	dprintf(fd, "%s\n", r->message);
	close(fd);
}
TARN_WORKER(log_for_itself)
{
	char path[300];

	tarn_log(TARN_LOG_INFO, "x", "before");
	snprintf(path, sizeof path, "%s/own", getenv("TMPDIR"));
	tarn_log_set(&(tarn_log_handler){ .sink = write_line, .arg = path });
	tarn_log(TARN_LOG_INFO, "x", "own");
	tarn_log_set(NULL);
	tarn_log(TARN_LOG_INFO, "x", "after");
	return tarn_put_bool(tarn_worker_result(worker), true);
}

PLAIN_TEST(s13_a_worker_with_a_handler_of_its_own_keeps_its_records)
{
	struct user u = user_open();
	char path[300], text[64] = "";
	struct lines l = { 0 };
	const tarn_log_handler h = { .sink = keep_line, .arg = &l };

	run(&u, &(tarn_process_options){ .entry = "log_for_itself", .log = &h }, 0);
	PLAIN_EQ(l.n, 2);
	PLAIN_CHECK(strstr(l.line[0], "before") != NULL && strstr(l.line[1], "after") != NULL);
	snprintf(path, sizeof path, "%s/own", plain_dir());
	int fd = open(path, O_RDONLY);
	PLAIN_CHECK(fd >= 0 && read(fd, text, sizeof text) == 4 && strcmp(text, "own\n") == 0);
	close(fd);
	user_close(&u);
}

/* ---- S14: nothing is lost at the end ---- */

TARN_WORKER(log_and_end)
{
	int how;
	int r = tarn_worker_get(worker, "i", &how);

	for (int i = 0; r == 0 && i < 20; i++)
		tarn_log(TARN_LOG_INFO, "x", "record %d", i);
	if (r == 0 && how < 0)
		return tarn_worker_throw(worker, "ValueError", "the end");
	if (r == 0 && how > 0)
		kill(getpid(), how);
	return r;
}

static void all_arrive_before(int how, int expected)
{
	struct user u = user_open();
	struct lines l = { 0 };
	const tarn_log_handler h = { .sink = keep_line, .arg = &l };
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put(&b, "i", how);
	run(&u, &(tarn_process_options){ .entry = "log_and_end", .args = &b, .log = &h,
					 .stderr_to = TARN_STDIO_NULL }, expected);
	tarn_builder_fini(&b);
	PLAIN_EQ(l.n, 20);
	PLAIN_CHECKF(strstr(l.line[19], "record 19") != NULL, "%s", l.line[19]);
	user_close(&u);
}
PLAIN_TEST(s14_records_before_the_end_arrive) { all_arrive_before(0, 0); }
PLAIN_TEST(s14_records_before_an_exception_arrive) { all_arrive_before(-1, -TARN_EREMOTE); }
PLAIN_TEST(s14_the_last_record_before_a_sigkill_arrives) { all_arrive_before(SIGKILL, -TARN_EREMOTE); }
PLAIN_TEST(s14_the_last_record_before_a_crash_arrives) { all_arrive_before(SIGABRT, -TARN_EREMOTE); }

/* ---- S15: order and pressure ---- */

#define RECORDS 20000u
#define CHILDREN 8u

TARN_WORKER(log_many)
{
	(void)worker;
	for (unsigned i = 0; i < RECORDS; i++)
		tarn_log(TARN_LOG_INFO, "x", "%u", i);
	return 0;
}

struct orders {
	uint64_t next[CHILDREN], missing, pressed, times;
	int64_t time[CHILDREN];
};

static void check_order(void *arg, const tarn_log_record *r)
{
	struct orders *o = arg;
	unsigned child = (unsigned)atoi(r->process + 6);

	PLAIN_CHECK(child < CHILDREN);
	/* What is missing is said. */
	PLAIN_EQ(r->sequence, o->next[child] + r->lost);
	PLAIN_EQ(strtoull(r->message, NULL, 10), r->sequence);
	PLAIN_CHECK(r->time_ns >= o->time[child]);
	PLAIN_CHECK(r->lost == 0 || r->pressed);
	o->next[child] = r->sequence + 1;
	o->time[child] = r->time_ns;
	o->missing += r->lost;
	o->pressed += r->pressed;
}

PLAIN_TEST_TIMEOUT(s15_records_of_a_process_are_in_order_and_none_is_missing_unsaid, 240)
{
	struct user u = user_open();
	struct orders o = { 0 };
	const tarn_log_handler h = { .sink = check_order, .arg = &o };
	tarn_process *p[CHILDREN];
	uint64_t all = 0;

	for (unsigned i = 0; i < CHILDREN; i++) {
		char name[20];

		snprintf(name, sizeof name, "child-%u", i);
		OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "log_many", .name = name,
								    .log = &h, .log_bytes = 65536 },
				      &p[i]));
	}
	for (unsigned i = 0; i < CHILDREN; i++) {
		OK(tarn_process_join(p[i], TARN_FOREVER));
		tarn_process_unref(p[i]);
		all += o.next[i];
	}
	PLAIN_CHECK(all <= CHILDREN * RECORDS);
	scene_note("%llu records, %llu of them after a wait for room, %llu dropped and said",
		   (unsigned long long)all, (unsigned long long)o.pressed,
		   (unsigned long long)o.missing);
	PLAIN_CHECK(o.missing != 0 || all == CHILDREN * RECORDS);
	user_close(&u);
}

struct gate {
	uint32_t open, n;
	uint64_t pressed, lost, last;
};
static void wait_at_gate(void *arg, const tarn_log_record *r)
{
	struct gate *g = arg;

	scene_await(&g->open, 1);
	g->pressed += r->pressed;
	g->lost += r->lost;
	g->last = r->sequence;
	__atomic_fetch_add(&g->n, 1, __ATOMIC_RELAXED);
}
static void await_file(const char *path)
{
	struct stat st;

	while (stat(path, &st) != 0)
		usleep(1000);
}
TARN_WORKER(log_too_much)
{
	const char *said, *go;
	int r = tarn_worker_get(worker, "ss", &said, &go);

	if (r < 0)
		return r;
	for (int i = 0; i < 1000; i++) /* the room is for some 300 of them */
		tarn_log(TARN_LOG_INFO, "x", "%0100d", i);
	close(open(said, O_CREAT | O_WRONLY, 0600));
	await_file(go);
	tarn_log(TARN_LOG_INFO, "x", "the last");
	return 0;
}
PLAIN_TEST_TIMEOUT(s15_what_is_dropped_under_pressure_is_counted, 120)
{
	/* A handler that hands nothing on until the worker has given up some of its records. */
	struct user u = user_open();
	struct gate g = { 0 };
	const tarn_log_handler h = { .sink = wait_at_gate, .arg = &g };
	char said[200], go[200];
	struct stat st;
	tarn_builder b;
	tarn_process *p;

	snprintf(said, sizeof said, "%s/said", plain_dir());
	snprintf(go, sizeof go, "%s/go", plain_dir());
	tarn_builder_init(&b);
	tarn_put(&b, "ss", said, go);
	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "log_too_much", .args = &b,
							    .log = &h, .log_bytes = 65536 }, &p));
	tarn_builder_fini(&b);
	PLAIN_WAIT_FOR(stat(said, &st) == 0);
	PLAIN_CHECK(tarn_process_is_alive(p));
	scene_say(&g.open, 1);
	PLAIN_WAIT_FOR(__atomic_load_n(&g.n, __ATOMIC_RELAXED) > 100);
	close(open(go, O_CREAT | O_WRONLY, 0600));
	OK(tarn_process_join(p, TARN_FOREVER));
	PLAIN_EQ(g.last, 1000);
	PLAIN_CHECK(g.lost > 100 && g.pressed > 0);
	PLAIN_EQ(g.n + g.lost, 1001);
	tarn_process_unref(p);
	user_close(&u);
}

/* ---- idle ---- */

TARN_WORKER(wait_for_ever)
{
	(void)worker;
	for (;;)
		pause();
}

/* Voluntary switches of all our threads. */
static long switches(void)
{
	long all = 0;
	char line[200];
	FILE *list = popen("cat /proc/$PPID/task/*/status", "r");

	PLAIN_CHECK(list != NULL);
	while (fgets(line, sizeof line, list) != NULL)
		if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
			all += atol(line + 24);
	pclose(list);
	return all;
}

PLAIN_TEST(idle_workers_wake_nobody_up)
{
	struct user u = user_open();
	tarn_process *p[4];
	long one, two;

	for (int i = 0; i < 4; i++)
		OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "wait_for_ever" }, &p[i]));
	/* What looking itself costs is the same each time: so the differences are equal, whether
	 * much or little time is between. */
	switches();
	usleep(100000);
	one = switches();
	usleep(500000);
	two = switches();
	PLAIN_CHECKF(two - one < 20, "%ld switches in half a second", two - one);
	for (int i = 0; i < 4; i++) {
		OK(tarn_process_terminate(p[i]));
		OK(tarn_process_join(p[i], TARN_FOREVER));
		tarn_process_unref(p[i]);
	}
	user_close(&u);
}

/* ---- the ring ---- */

PLAIN_TEST(a_ring_with_nonsense_in_it_is_passed_over)
{
	const uint64_t bytes = 65536;
	struct tarn__log_ring *r = scene_shared(sizeof *r + bytes);
	static unsigned char record[TARN__LOG_RECORD_MOST], got[TARN__LOG_RECORD_MOST];
	uint64_t state = 88172645463325252u;
	uint32_t n = 64;

	tarn__log_ring_init(r, bytes);
	memcpy(record, &n, sizeof n);
	for (int round = 0; round < 100000; round++) {
		uint64_t x = scene_random(&state);

		switch (x % 4) {
		case 0:
			r->head = scene_random(&state);
			break;
		case 1:
			r->tail = scene_random(&state);
			break;
		case 2:
			r->data[scene_random(&state) % bytes] = (unsigned char)x;
			break;
		default:
			memcpy(r->data + (r->tail & (bytes - 1) & ~7ull), &x, 4);
		}
		for (int k = 0; k < 100 && (tarn__log_ring_get(r, bytes, got) != 0 || r->head != r->tail);
		     k++)
			;
		r->head = r->tail; /* a new beginning */
		PLAIN_CHECK(tarn__log_ring_put(r, record, n));
		PLAIN_EQ(tarn__log_ring_get(r, bytes, got), n);
		PLAIN_CHECK(memcmp(got, record, n) == 0);
	}
}

struct liar {
	struct tarn__log_ring *r;
	uint32_t stop;
};
static void *write_nonsense(void *arg)
{
	struct liar *l = arg;

	while (!__atomic_load_n(&l->stop, __ATOMIC_RELAXED))
		__atomic_fetch_add(&l->r->head, 4, __ATOMIC_RELAXED);
	return NULL;
}
/* The reader has others, too. */
PLAIN_TEST(who_writes_nonsense_without_end_does_not_keep_the_reader)
{
	const uint64_t bytes = 65536;
	struct liar l = { .r = scene_shared(sizeof *l.r + bytes) };
	static unsigned char got[TARN__LOG_RECORD_MOST];
	uint32_t before, most = 0;
	pthread_t th;

	tarn__log_ring_init(l.r, bytes);
	l.r->waits = 1; /* so that each step of the reader is counted */
	PLAIN_EQ(pthread_create(&th, NULL, write_nonsense, &l), 0);
	PLAIN_WAIT_FOR(tarn__load_relaxed(&l.r->head) != 0);
	for (int round = 0; round < 1000000 && most < 2; round++) {
		before = l.r->room;
		tarn__log_ring_get(l.r, bytes, got);
		most = l.r->room - before > most ? l.r->room - before : most;
	}
	__atomic_store_n(&l.stop, 1, __ATOMIC_RELAXED);
	pthread_join(th, NULL);
	PLAIN_EQ(most, 1);
}

/* SIGBUS of a starter whose child cut it off. */
PLAIN_TEST(an_order_keeps_its_size)
{
	void *order;
	int fd = tarn__order_open("a test", 1, 8192, &order);

	PLAIN_CHECK(fd >= 0);
	PLAIN_CHECK(ftruncate(fd, 0) != 0 && ftruncate(fd, 1 << 20) != 0);
	munmap(order, 8192);
	close(fd);
}

PLAIN_MAIN()
