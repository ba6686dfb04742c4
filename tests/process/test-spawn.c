/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker processes: arguments, results, errors, ends (FEATURES 1.11; F8, F13). The workers are this
 * program again.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/process/process.h"
#include "tests/common/arena.h"
#include "tests/common/types.h"

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

/* Starts @entry with one value of each letter of @format. */
#define SPAWN(u, entry, ...) spawn_with((u), (entry), __VA_ARGS__)
static tarn_process *spawn_with(struct user *u, const char *entry, const char *format, ...);
#include <stdarg.h>
int tarn__put_v(tarn_builder *builder, const char *format, va_list args);
static tarn_process *spawn_with(struct user *u, const char *entry, const char *format, ...)
{
	tarn_process *p;
	tarn_builder b;
	va_list args;

	tarn_builder_init(&b);
	va_start(args, format);
	OK(tarn__put_v(&b, format, args));
	va_end(args);
	OK(tarn_process_spawn(u->c, &(tarn_process_options){ .entry = entry, .args = &b }, &p));
	tarn_builder_fini(&b);
	return p;
}

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	PLAIN_CHECK(d != NULL);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

/* ---- workers ---- */

TARN_WORKER(twice)
{
	int64_t x;
	int r = tarn_worker_get(worker, "q", &x);

	if (r == 0 && x < 0)
		return tarn_worker_throw(worker, "ValueError", "%lld", (long long)-x);
	return r < 0 ? r : tarn_put_int(tarn_worker_result(worker), 2 * x);
}

TARN_WORKER(echo)
{
	const tarn_parcel *args = tarn_worker_args(worker);

	for (unsigned i = 0; i < tarn_parcel_count(args); i++)
		tarn_put_value(tarn_worker_result(worker), tarn_parcel_at(args, i));
	return 0;
}

/* Waits until the file @path is there; then as `twice`. */
static void await_file(const char *path)
{
	struct stat st;

	while (stat(path, &st) != 0)
		usleep(1000);
}
TARN_WORKER(twice_later)
{
	const char *path;
	int64_t x;
	int r = tarn_worker_get(worker, "qs", &x, &path);

	if (r < 0)
		return r;
	await_file(path);
	return x < 0 ? tarn_worker_throw(worker, "ValueError", "%lld", (long long)-x)
		     : tarn_put_int(tarn_worker_result(worker), 2 * x);
}

TARN_WORKER(throw)
{
	const char *domain, *message;
	int r = tarn_worker_get(worker, "ss", &domain, &message);

	return r < 0 ? r : tarn_worker_throw(worker, domain, "%s", message);
}

TARN_WORKER(fail_by_code)
{
	(void)worker;
	return tarn_error_set(-ENOENT, "no such thing as a worker wants");
}

TARN_WORKER(leave)
{
	int status;
	int r = tarn_worker_get(worker, "i", &status);

	if (r < 0)
		return r;
	tarn_put_int(tarn_worker_result(worker), 5); /* not returned, so no result */
	exit(status);
}

TARN_WORKER(leave_with_words)
{
	tarn_worker_exit(worker, "enough of this");
}

TARN_WORKER(die)
{
	const struct rlimit none = { 0, 0 };
	int signal;
	int r = tarn_worker_get(worker, "i", &signal);

	if (r < 0)
		return r;
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL); /* a sanitizer has one */
	kill(getpid(), signal);
	pause();
	return 0;
}

TARN_WORKER(wait_for_ever)
{
	(void)worker;
	for (;;)
		pause();
}

/* ---- S1: arguments ---- */

PLAIN_TEST(s1_values_of_every_kind_go_to_a_process_and_back)
{
	struct user u = user_open();
	tarn_fault *f = tarn_fault_new("KeyError", 0, "a key");
	tarn_process *p = SPAWN(&u, "echo", "nbiqIQdsy[i[s]]{s:i}e", 1, -5, INT64_MIN, 5u, UINT64_MAX, 0.5,
				"text", "\0\1", (size_t)2, 3, "deep", "key", 4, f);
	const tarn_parcel *got;
	char text[512];

	tarn_fault_unref(f);
	OK(tarn_process_result(p, TARN_FOREVER, &got));
	PLAIN_EQ(tarn_parcel_count(got), 12);
	PLAIN_CHECK(tarn_parcel_format(got, text, sizeof text) > 0);
	PLAIN_CHECKF(strstr(text, "nil, true, -5, -9223372036854775808, 5u, 18446744073709551615u, 0.5, "
				  "\"text\", b\"\\x00\\x01\", [3, [\"deep\"]], {\"key\": 4}, "
				  "error[\"KeyError\"") == text, "%s", text);
	/* As often as one likes. */
	OK(tarn_process_result(p, 0, &got));
	PLAIN_EQ(tarn_process_exitcode(p), 0);
	tarn_process_unref(p);
	user_close(&u);
}

TARN_WORKER(use_references)
{
	tarn_object *m, *made;
	tarn_channel *ch;
	tarn_block *b;
	double y = 0;
	int r = tarn_worker_get(worker, "BOC", &b, &m, &ch);

	if (r == 0)
		r = tarn_callf(m, "scale", TARN_FOREVER, "d", "d", 3.0, &y);
	if (r == 0)
		r = tarn_channel_bind(ch, TARN_PRODUCER);
	if (r == 0)
		r = tarn_channel_send(ch, b, 77, TARN_FOREVER);
	if (r == 0)
		r = tarn_object_newf(tarn_worker_client(worker), "Magnifier", &made, "d", y);
	if (r < 0)
		return r;
	memcpy(tarn_block_data(b), "written by the worker", 22);
	tarn_put(tarn_worker_result(worker), "dOB", y, made, b);
	tarn_object_unref(made);
	return 0;
}

PLAIN_TEST(s1_references_of_every_kind_can_be_used_there_and_come_back)
{
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0), *made;
	tarn_block *b, *got, *result;
	tarn_channel *ch;
	uint64_t tag;
	double y;

	OK(tarn_block_new(u.c, 100, 0, &b));
	OK(tarn_channel_new(u.c, 4, NULL, &ch));
	OK(tarn_channel_bind(ch, TARN_CONSUMER));
	tarn_process *p = SPAWN(&u, "use_references", "BOC", b, m, ch);
	OK(tarn_channel_recv(ch, &got, &tag, TARN_FOREVER));
	PLAIN_EQ(tag, 77);
	PLAIN_EQ(tarn_block_id(got), tarn_block_id(b));
	OK(tarn_process_get(p, TARN_FOREVER, "dOB", &y, &made, &result));
	PLAIN_CHECK(y == 6 && types_scale(made, 2) == 12);
	PLAIN_CHECK(strcmp(tarn_block_data(b), "written by the worker") == 0);
	PLAIN_EQ(tarn_block_id(result), tarn_block_id(b));
	tarn_process_unref(p);
	tarn_block_unref(got);
	tarn_block_unref(b);
	tarn_object_unref(m);
	tarn_channel_unref(ch);
	user_close(&u);
}

PLAIN_TEST(s1_as_many_references_as_values_can_have_and_a_megabyte)
{
	struct user u = user_open();
	tarn_object *m[TARN_REFS_MAX];
	const size_t bytes = 1 << 20;
	const tarn_parcel *got;
	tarn_process *p;
	tarn_builder b;
	size_t n;
	const void *data;
	char *large = malloc(bytes);

	PLAIN_CHECK(large != NULL);
	memset(large, 'x', bytes);
	tarn_builder_init(&b);
	tarn_put_bytes(&b, large, bytes);
	for (unsigned i = 0; i < TARN_REFS_MAX; i++) {
		m[i] = NEW(u.c, "Magnifier", "d", (double)i);
		OK(tarn_put_object(&b, m[i]));
	}
	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "echo", .args = &b }, &p));
	tarn_builder_fini(&b);
	for (unsigned i = 0; i < TARN_REFS_MAX; i++)
		tarn_object_unref(m[i]); /* on their way they are the server's */
	OK(tarn_process_result(p, TARN_FOREVER, &got));
	PLAIN_EQ(tarn_parcel_count(got), TARN_REFS_MAX + 1);
	OK(tarn_value_bytes(tarn_parcel_at(got, 0), &data, &n));
	PLAIN_CHECK(n == bytes && memcmp(data, large, n) == 0);
	for (unsigned i = 0; i < TARN_REFS_MAX; i++) {
		tarn_object *o;

		OK(tarn_value_object(tarn_parcel_at(got, i + 1), &o));
		PLAIN_CHECK(types_scale(o, 1) == (double)i);
	}
	free(large);
	tarn_process_unref(p);
	user_close(&u);
}

PLAIN_TEST(s1_an_entry_that_is_not_there_is_an_error_before_anything_is_started)
{
	struct user u = user_open();
	char name[100];
	tarn_process *p;

	FAILS(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "nobody" }, &p), ENOENT);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "nobody") != NULL);
	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	FAILS(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "echo", .name = name }, &p),
	      ENAMETOOLONG);
	FAILS(tarn_process_spawn(u.c, &(tarn_process_options){ .program = "/no/such/program" }, &p), ENOENT);
	PLAIN_CHECK(strstr(tarn_error_last()->message, "/no/such/program") != NULL);
	user_close(&u);
}

TARN_ENTRY(plain_entry)
{
	return bytes == 5 && memcmp(arg, "hello", 5) == 0 ? 0 : tarn_error_set(-EINVAL, "not hello");
}

PLAIN_TEST(s1_a_plain_entry_gets_its_first_argument)
{
	struct user u = user_open();
	tarn_process *p = SPAWN(&u, "plain_entry", "s", "hello"), *q = SPAWN(&u, "plain_entry", "s", "ho");

	OK(tarn_process_join(p, TARN_FOREVER));
	FAILS(tarn_process_join(q, TARN_FOREVER), TARN_EREMOTE);
	tarn_process_unref(p);
	tarn_process_unref(q);
	user_close(&u);
}

static int constructed;
__attribute__((constructor)) static void construct(void)
{
	constructed = 42;
}
TARN_WORKER(tell_constructed)
{
	return tarn_put_int(tarn_worker_result(worker), constructed);
}
PLAIN_TEST(s1_an_entry_runs_when_all_constructors_have)
{
	struct user u = user_open();
	tarn_process *p = SPAWN(&u, "tell_constructed", "");
	int n;

	OK(tarn_process_get(p, TARN_FOREVER, "i", &n));
	PLAIN_EQ(n, 42);
	tarn_process_unref(p);
	user_close(&u);
}

/* ---- S2 to S5: results and errors ---- */

PLAIN_TEST(s2_a_result_is_waited_for_and_an_error_comes_out)
{
	struct user u = user_open();
	char go[200];
	const tarn_fault *f;
	int64_t y;

	snprintf(go, sizeof go, "%s/go", plain_dir());
	tarn_process *p = SPAWN(&u, "twice_later", "qs", INT64_C(38), go);
	PLAIN_CHECK(!tarn_process_done(p));
	FAILS(tarn_process_get(p, 10000000, "q", &y), ETIMEDOUT);
	FAILS(tarn_process_exception(p, 0, &f), EAGAIN);
	PLAIN_CHECK(!tarn_process_done(p) && tarn_process_is_alive(p));
	close(open(go, O_CREAT | O_WRONLY, 0600));
	OK(tarn_process_get(p, TARN_FOREVER, "q", &y));
	PLAIN_EQ(y, 76);
	OK(tarn_process_exception(p, TARN_FOREVER, &f));
	PLAIN_CHECK(f == NULL && tarn_process_done(p) && !tarn_process_is_alive(p));
	tarn_process_unref(p);

	p = SPAWN(&u, "twice_later", "qs", INT64_C(-12), go);
	FAILS(tarn_process_get(p, TARN_FOREVER, "q", &y), TARN_EREMOTE);
	f = tarn_error_fault();
	PLAIN_CHECK(tarn_fault_is(f, "ValueError") && strcmp(tarn_fault_message(f), "12") == 0);
	PLAIN_EQ(tarn_fault_pid(f), tarn_process_pid(p));
	PLAIN_CHECK(tarn_fault_frame_count(f) > 0);
	OK(tarn_process_exception(p, TARN_FOREVER, &f));
	PLAIN_CHECK(tarn_fault_is(f, "ValueError"));
	PLAIN_EQ(tarn_process_exitcode(p), 1);
	tarn_process_unref(p);
	user_close(&u);
}

PLAIN_TEST(s4_done_is_false_before_the_start_and_while_it_runs)
{
	struct user u = user_open();
	tarn_process *p;

	OK(tarn_process_new(u.c, &(tarn_process_options){ .entry = "wait_for_ever" }, &p));
	PLAIN_CHECK(!tarn_process_done(p) && !tarn_process_is_alive(p));
	PLAIN_EQ(tarn_process_state(p), TARN_PROCESS_INITIAL);
	PLAIN_EQ(tarn_process_exitcode(p), TARN_EXIT_NONE);
	FAILS(tarn_process_join(p, 0), TARN_ESTATE);
	FAILS(tarn_process_terminate(p), TARN_ESTATE);
	OK(tarn_process_start(p));
	FAILS(tarn_process_start(p), TARN_ESTATE);
	PLAIN_CHECK(!tarn_process_done(p) && tarn_process_is_alive(p));
	PLAIN_EQ(tarn_process_exitcode(p), TARN_EXIT_NONE);
	OK(tarn_process_kill(p));
	PLAIN_WAIT_FOR(tarn_process_done(p));
	OK(tarn_process_kill(p)); /* nobody else's number */
	tarn_process_unref(p);

	/* One that is never started leaves nothing. */
	tarn_object *m = NEW(u.c, "Magnifier", "d", 1.0);
	tarn_builder b;

	tarn_builder_init(&b);
	tarn_put_object(&b, m);
	OK(tarn_process_new(u.c, &(tarn_process_options){ .entry = "echo", .args = &b }, &p));
	tarn_process_unref(p);
	tarn_builder_fini(&b);
	PLAIN_WAIT_FOR((scene_settle(&u.s), scene_count(&u.s, tarn_object_id(m))) == 1);
	tarn_object_unref(m);
	user_close(&u);
}

PLAIN_TEST(s5_join_raises_what_the_process_threw)
{
	struct user u = user_open();
	const struct {
		const char *domain, *message;
	} thrown[] = { { "ValueError", "12" }, { "KeyboardInterrupt", "" }, { "MyOwnError", "mine" } };

	for (size_t i = 0; i < sizeof thrown / sizeof thrown[0]; i++) {
		tarn_process *p = SPAWN(&u, "throw", "ss", thrown[i].domain, thrown[i].message);

		FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
		PLAIN_CHECK(strcmp(tarn_fault_domain(tarn_error_fault()), thrown[i].domain) == 0);
		PLAIN_CHECK(strcmp(tarn_fault_message(tarn_error_fault()), thrown[i].message) == 0);
		PLAIN_EQ(tarn_process_exitcode(p), 1);
		tarn_process_unref(p);
	}
	tarn_process *p = SPAWN(&u, "fail_by_code", "");
	FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_EQ(tarn_fault_code(tarn_error_fault()), -ENOENT);
	PLAIN_CHECK(strstr(tarn_fault_message(tarn_error_fault()), "as a worker wants") != NULL);
	tarn_process_unref(p);
	user_close(&u);
}

/* ---- S6, S8 to S10: ends ---- */

PLAIN_TEST(s6_exit_is_success_or_a_system_exit)
{
	struct user u = user_open();
	const tarn_parcel *result;

	for (int status = 0; status < 256; status = status == 0 ? 3 : status == 3 ? 255 : 256) {
		tarn_process *p = SPAWN(&u, "leave", "i", status);
		int r = tarn_process_result(p, TARN_FOREVER, &result);

		PLAIN_EQ(r, status == 0 ? 0 : -TARN_EREMOTE);
		PLAIN_EQ(tarn_process_exitcode(p), status);
		if (status == 0) {
			PLAIN_EQ(tarn_parcel_count(result), 0);
		} else {
			PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "SystemExit"));
			PLAIN_EQ(tarn_fault_code(tarn_error_fault()), status);
		}
		tarn_process_unref(p);
	}
	int ends[2];
	char text[64] = "";
	tarn_process *p;

	PLAIN_EQ(pipe2(ends, O_CLOEXEC), 0);
	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "leave_with_words",
							    .stderr_fd = ends[1] }, &p));
	close(ends[1]);
	FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "SystemExit"));
	PLAIN_CHECK(strcmp(tarn_fault_message(tarn_error_fault()), "enough of this") == 0);
	PLAIN_EQ(tarn_process_exitcode(p), 1);
	PLAIN_EQ(read(ends[0], text, sizeof text), 15);
	PLAIN_CHECK(strcmp(text, "enough of this\n") == 0);
	close(ends[0]);
	tarn_process_unref(p);
	user_close(&u);
}

PLAIN_TEST(s8_a_terminated_process_has_no_error_and_no_result)
{
	struct user u = user_open();
	tarn_process *p = SPAWN(&u, "wait_for_ever", "");
	const tarn_parcel *result;
	const tarn_fault *f;

	OK(tarn_process_terminate(p));
	OK(tarn_process_join(p, TARN_FOREVER));
	PLAIN_EQ(tarn_process_exitcode(p), -SIGTERM);
	PLAIN_EQ(tarn_process_state(p), TARN_PROCESS_TERMINATED);
	OK(tarn_process_result(p, 0, &result));
	PLAIN_EQ(tarn_parcel_count(result), 0);
	OK(tarn_process_exception(p, 0, &f));
	PLAIN_CHECK(f == NULL);
	tarn_process_unref(p);
	user_close(&u);
}

PLAIN_TEST(s9_a_signal_is_told_by_its_name)
{
	struct user u = user_open();
	const struct {
		int signal;
		const char *name;
	} signals[] = { { SIGKILL, "SIGKILL" }, { SIGSEGV, "SIGSEGV" }, { SIGABRT, "SIGABRT" },
			{ SIGUSR1, "SIGUSR1" } };

	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
		tarn_process *p = SPAWN(&u, "die", "i", signals[i].signal);

		FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
		PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "Signal"));
		PLAIN_CHECKF(strstr(tarn_fault_message(tarn_error_fault()), signals[i].name) != NULL, "%s",
			     tarn_fault_message(tarn_error_fault()));
		PLAIN_EQ(tarn_process_exitcode(p), -signals[i].signal);
		PLAIN_EQ(tarn_process_state(p), TARN_PROCESS_KILLED);
		tarn_process_unref(p);
	}
	user_close(&u);
}

PLAIN_TEST(f13_a_killed_process_is_done_and_joined_at_once)
{
	struct user u = user_open();
	tarn_process *p = SPAWN(&u, "wait_for_ever", "");

	kill(tarn_process_pid(p), SIGKILL); /* not by us */
	FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_CHECK(tarn_process_done(p));
	PLAIN_CHECK(strstr(tarn_error_last()->message, "killed by SIGKILL") != NULL);
	tarn_process_unref(p);
	user_close(&u);
}

PLAIN_TEST(s10_a_status_that_somebody_else_took_is_unknown_and_not_waited_for)
{
	struct user u = user_open();
	tarn_process *p;
	int status;

	/* Whoever is first: the library's thread or we. */
	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "twice_later" }, &p));
	pid_t pid = waitpid(tarn_process_pid(p), &status, 0);
	FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_CHECK(pid == tarn_process_pid(p) ? tarn_process_exitcode(p) == TARN_EXIT_UNKNOWN
					       : tarn_process_exitcode(p) == 1);
	tarn_process_unref(p);
	user_close(&u);
}

/* ---- S7: hooks ---- */

TARN_WORKER(note_failure)
{
	const char *path;
	int r = tarn_worker_get(worker, "s", &path);
	int fd = r == 0 ? open(path, O_CREAT | O_WRONLY | O_APPEND, 0600) : -1;

	dprintf(fd, "%s %d %s %s\n", tarn_worker_name(worker), (int)getpid(),
		tarn_fault_domain(*tarn_worker_fault(worker)),
		tarn_fault_message(*tarn_worker_fault(worker)));
	close(fd);
	return tarn_worker_throw(worker, "RuntimeError", "the hook fails, too");
}
TARN_WORKER(throw_three)
{
	return tarn_worker_throw(worker, "ValueError", "three");
}

PLAIN_TEST(s7_the_hook_runs_once_in_the_process_before_it_ends)
{
	struct user u = user_open();
	char path[200], text[200] = "", expected[200];
	tarn_process *p;
	tarn_builder b;

	snprintf(path, sizeof path, "%s/hook", plain_dir());
	tarn_builder_init(&b);
	tarn_put_string(&b, path);
	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "throw_three", .args = &b,
							    .name = "unlucky",
							    .on_error = "note_failure" }, &p));
	tarn_builder_fini(&b);
	FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	int fd = open(path, O_RDONLY);
	PLAIN_CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
	close(fd);
	snprintf(expected, sizeof expected, "unlucky %d ValueError three\n", tarn_process_pid(p));
	PLAIN_CHECKF(strcmp(text, expected) == 0, "%s", text);
	tarn_process_unref(p);
	user_close(&u);
}

PLAIN_TEST(s7_without_a_hook_one_line_is_said)
{
	struct user u = user_open();
	char text[200] = "";
	tarn_process *p;
	int ends[2];

	PLAIN_EQ(pipe2(ends, O_CLOEXEC), 0);
	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "throw_three", .name = "unlucky",
							    .stderr_fd = ends[1] }, &p));
	close(ends[1]);
	FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_CHECK(read(ends[0], text, sizeof text - 1) > 0);
	close(ends[0]);
	PLAIN_CHECKF(strcmp(text, "Exception in unlucky: ValueError: three\n") == 0, "%s", text);
	tarn_process_unref(p);
	user_close(&u);
}

/* ---- S16, S18: the rest of the surface ---- */

TARN_WORKER(tell_self)
{
	char cmd[32] = "";
	int fd = open("/proc/self/comm", O_RDONLY);

	PLAIN_CHECK(read(fd, cmd, sizeof cmd - 1) > 0);
	close(fd);
	return tarn_put(tarn_worker_result(worker), "sisb", tarn_worker_name(worker), (int)getpid(), cmd,
			tarn_worker_self() == worker);
}

PLAIN_TEST(s16_pid_name_and_a_descriptor_to_poll)
{
	struct user u = user_open();
	tarn_process *p = SPAWN(&u, "tell_self", ""), *q;
	const char *name, *comm;
	bool self;
	int pid;

	struct pollfd fd = { .fd = tarn_process_fd(p), .events = POLLIN };
	PLAIN_EQ(poll(&fd, 1, -1), 1);
	PLAIN_CHECK(tarn_process_done(p));
	OK(tarn_process_get(p, 0 + TARN_FOREVER, "sisb", &name, &pid, &comm, &self));
	PLAIN_EQ(pid, tarn_process_pid(p));
	PLAIN_CHECK(self && strncmp(name, "Process-", 8) == 0 && strcmp(name, tarn_process_name(p)) == 0);
	PLAIN_CHECK(strncmp(comm, name, strlen(name) < 15 ? strlen(name) : 15) == 0);
	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "tell_self" }, &q));
	PLAIN_CHECK(strcmp(tarn_process_name(q), name) != 0);
	OK(tarn_process_join(q, TARN_FOREVER));
	tarn_process_unref(p);
	tarn_process_unref(q);
	user_close(&u);
}

PLAIN_TEST(s18_without_an_entry_the_result_is_empty)
{
	struct user u = user_open();
	const tarn_parcel *result;
	tarn_process *p;

	OK(tarn_process_spawn(u.c, NULL, &p));
	OK(tarn_process_result(p, TARN_FOREVER, &result));
	PLAIN_EQ(tarn_parcel_count(result), 0);
	tarn_process_unref(p);
	OK(tarn_process_spawn(NULL, &(tarn_process_options){ .entry = "leave_with_words" }, &p));
	FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
	tarn_process_unref(p);
	user_close(&u);
}

PLAIN_TEST(s1_a_program_is_executed_with_its_arguments)
{
	struct user u = user_open();
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)"cat; exit 4", NULL };
	char text[20] = "";
	int in[2], out[2];
	tarn_process *p;

	PLAIN_EQ(pipe2(in, O_CLOEXEC), 0);
	PLAIN_EQ(pipe2(out, O_CLOEXEC), 0);
	OK(tarn_process_spawn(u.c, &(tarn_process_options){ .program = "/bin/sh", .argv = argv,
							    .stdin_fd = in[0], .stdout_fd = out[1] },
			      &p));
	close(in[0]);
	close(out[1]);
	PLAIN_EQ(write(in[1], "through", 7), 7);
	close(in[1]);
	FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_EQ(tarn_process_exitcode(p), 4);
	PLAIN_EQ(read(out[0], text, sizeof text), 7);
	PLAIN_CHECK(strcmp(text, "through") == 0);
	close(out[0]);
	tarn_process_unref(p);
	user_close(&u);
}

/* ---- S17: the parent dies ---- */

static bool is_dead(pid_t pid)
{
	const char state = plain_state(pid);

	return state == '\0' || state == 'Z' || state == 'X';
}

struct birth {
	struct user *u;
	tarn_process *p;
};
static void *spawn_in_thread(void *arg)
{
	struct birth *b = arg;

	b->p = SPAWN(b->u, "wait_for_ever", "");
	return NULL;
}

/* A parent starts a worker on a thread that ends; then it ends as @how says. */
static void child_dies_with(int how)
{
	struct scene s = scene_open(NULL);
	volatile pid_t *child = scene_shared(sizeof *child);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t parent = plain_fork();

	if (parent == 0) {
		struct user u = { .s = s, .c = scene_client(&s) };
		struct birth b = { .u = &u };
		pthread_t t;

		pthread_create(&t, NULL, spawn_in_thread, &b);
		pthread_join(t, NULL);
		*child = tarn_process_pid(b.p);
		usleep(20000); /* would the end of the thread end it, it would now */
		PLAIN_CHECK(tarn_process_is_alive(b.p));
		scene_say(step, 1);
		if (how == 0)
			exit(0);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	if (how != 0)
		kill(parent, how);
	plain_reap(parent);
	PLAIN_WAIT_FOR(is_dead(*child));
	scene_close(&s);
}
PLAIN_TEST(s17_a_killed_parent_takes_its_children_along) { child_dies_with(SIGKILL); }
PLAIN_TEST(s17_a_parent_that_exits_takes_its_children_along) { child_dies_with(0); }

PLAIN_TEST(s17_a_stopped_child_dies_with_its_parent_too)
{
	struct scene s = scene_open(NULL);
	volatile pid_t *child = scene_shared(sizeof *child);
	uint32_t *step = scene_shared(sizeof *step);
	pid_t parent = plain_fork();

	if (parent == 0) {
		struct user u = { .s = s, .c = scene_client(&s) };
		tarn_process *p = SPAWN(&u, "wait_for_ever", "");

		OK(tarn_process_signal(p, SIGSTOP));
		*child = tarn_process_pid(p);
		scene_say(step, 1);
		for (;;)
			pause();
	}
	scene_await(step, 1);
	plain_kill(parent);
	PLAIN_WAIT_FOR(is_dead(*child));
	scene_close(&s);
}

PLAIN_TEST(s17_a_detached_process_outlives_its_parent)
{
	struct scene s = scene_open(NULL);
	volatile pid_t *child = scene_shared(sizeof *child);
	char go[200], came[200];

	snprintf(go, sizeof go, "%s/go", plain_dir());
	snprintf(came, sizeof came, "%s/hook", plain_dir());
	pid_t parent = plain_fork();
	if (parent == 0) {
		tarn_client *c = scene_client(&s);
		tarn_builder b;
		tarn_process *p;

		tarn_builder_init(&b);
		tarn_put(&b, "qs", INT64_C(1), go);
		OK(tarn_process_spawn(c, &(tarn_process_options){ .entry = "twice_later", .args = &b,
								  .detached = true }, &p));
		*child = tarn_process_pid(p);
		_exit(0); /* perhaps before it has taken its arguments */
	}
	PLAIN_EQ(plain_reap(parent), 0);
	PLAIN_CHECK(!is_dead(*child));
	PLAIN_EQ(getsid(*child), *child);
	close(open(go, O_CREAT | O_WRONLY, 0600));
	PLAIN_WAIT_FOR(is_dead(*child));
	scene_close(&s);
}

/* ---- F8: references as arguments ---- */

static uint64_t count_of(struct user *u, tarn_object *o)
{
	scene_settle(&u->s);
	return scene_count(&u->s, tarn_object_id(o));
}

PLAIN_TEST(f8_three_references_are_nobodys_after_the_process_ended)
{
	struct user u = user_open();
	tarn_object *o[3];

	for (int i = 0; i < 3; i++)
		o[i] = NEW(u.c, "Magnifier", "d", 2.0);
	tarn_process *p = SPAWN(&u, "twice_later", "OOO", o[0], o[1], o[2]); /* it wants others: fails */
	FAILS(tarn_process_join(p, TARN_FOREVER), TARN_EREMOTE);
	for (int i = 0; i < 3; i++)
		PLAIN_WAIT_FOR(count_of(&u, o[i]) == 1);
	tarn_process_unref(p);
	for (int i = 0; i < 3; i++)
		tarn_object_unref(o[i]);
	user_close(&u);
}

TARN_WORKER(scale_once)
{
	tarn_object *m;
	double y = 0;
	int r = tarn_worker_get(worker, "O", &m);

	if (r == 0)
		r = tarn_callf(m, "scale", TARN_FOREVER, "d", "d", 3.0, &y);
	return r < 0 ? r : tarn_put_double(tarn_worker_result(worker), y);
}

PLAIN_TEST(f8_the_parent_drops_what_it_gave_before_the_child_took_it)
{
	struct user u = user_open();

	for (int i = 0; i < 10; i++) {
		tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0);
		tarn_process *p = SPAWN(&u, "scale_once", "O", m);
		double y;

		tarn_object_unref(m);
		OK(tarn_process_get(p, TARN_FOREVER, "d", &y));
		PLAIN_CHECK(y == 6);
		tarn_process_unref(p);
	}
	user_close(&u);
}

PLAIN_TEST(f8_a_child_that_is_killed_before_it_took_them_leaves_none)
{
	struct user u = user_open();

	for (int i = 0; i < 20; i++) {
		tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0);
		tarn_process *p = SPAWN(&u, "scale_once", "O", m);

		/* From before main() to the end: all of it. */
		for (volatile int k = 0; k < i * 50000; k++)
			;
		OK(tarn_process_kill(p));
		tarn_process_join(p, TARN_FOREVER);
		PLAIN_CHECK(tarn_process_done(p));
		PLAIN_WAIT_FOR(count_of(&u, m) == 1);
		tarn_process_unref(p);
		tarn_object_unref(m);
	}
	user_close(&u);
}

PLAIN_TEST(f8_a_result_lives_until_the_parent_took_it)
{
	struct user u = user_open();
	tarn_object *m = NEW(u.c, "Magnifier", "d", 2.0), *got;
	tarn_process *p = SPAWN(&u, "echo", "O", m);

	tarn_object_unref(m);
	PLAIN_WAIT_FOR(tarn_process_done(p));
	PLAIN_WAIT_FOR(scene_client_gone(&u.s, tarn_process_pid(p)));
	OK(tarn_process_get(p, TARN_FOREVER, "O", &got));
	PLAIN_CHECK(types_scale(got, 2) == 4);
	tarn_process_unref(p);
	/* One whose result nobody wants. */
	m = NEW(u.c, "Magnifier", "d", 2.0);
	p = SPAWN(&u, "echo", "O", m);
	tarn_object_unref(m);
	tarn_process_unref(p);
	user_close(&u);
}

/* ---- nothing is left ---- */

PLAIN_TEST_TIMEOUT(fifty_processes_leave_no_descriptor_and_no_zombie, 120)
{
	struct user u = user_open();
	unsigned before = 0;

	for (int i = 0; i < 50; i++) {
		tarn_process *p = SPAWN(&u, "twice", "q", (int64_t)i);
		int64_t y;

		OK(tarn_process_get(p, TARN_FOREVER, "q", &y));
		PLAIN_EQ(y, 2 * i);
		tarn_process_unref(p);
		if (i == 5)
			before = descriptors(); /* the library's own are open by now */
	}
	PLAIN_WAIT_FOR(descriptors() <= before);
	PLAIN_CHECK(waitpid(-1, NULL, WNOHANG) <= 0);
	user_close(&u);
}

TARN_WORKER(count_descriptors)
{
	return tarn_put_int(tarn_worker_result(worker), descriptors());
}
PLAIN_TEST(a_process_inherits_no_descriptor)
{
	struct user u = user_open();
	tarn_process *p = SPAWN(&u, "count_descriptors", "");
	int before, after;

	OK(tarn_process_get(p, TARN_FOREVER, "i", &before));
	tarn_process_unref(p);
	for (int i = 0; i < 20; i++)
		PLAIN_CHECK(fcntl(0, F_DUPFD, 200) >= 0); /* not closed at exec */
	p = SPAWN(&u, "count_descriptors", "");
	OK(tarn_process_get(p, TARN_FOREVER, "i", &after));
	PLAIN_EQ(after, before);
	tarn_process_unref(p);
	user_close(&u);
}

TARN_WORKER(grandparent)
{
	tarn_process *p;
	tarn_builder b;
	int64_t x, y;
	int r = tarn_worker_get(worker, "q", &x);

	tarn_builder_init(&b);
	tarn_put_int(&b, x + 1);
	if (r == 0)
		r = tarn_process_spawn(tarn_worker_client(worker),
				       &(tarn_process_options){ .entry = "twice", .args = &b }, &p);
	tarn_builder_fini(&b);
	if (r < 0)
		return r;
	r = tarn_process_get(p, TARN_FOREVER, "q", &y);
	tarn_process_unref(p);
	return r < 0 ? tarn_worker_rethrow(worker) : tarn_put_int(tarn_worker_result(worker), y);
}
PLAIN_TEST(workers_have_workers_and_errors_come_up)
{
	struct user u = user_open();
	tarn_process *p = SPAWN(&u, "grandparent", "q", INT64_C(20)), *q;
	int64_t y;

	OK(tarn_process_get(p, TARN_FOREVER, "q", &y));
	PLAIN_EQ(y, 42);
	q = SPAWN(&u, "grandparent", "q", INT64_C(-13));
	FAILS(tarn_process_join(q, TARN_FOREVER), TARN_EREMOTE);
	PLAIN_CHECK(tarn_fault_is(tarn_error_fault(), "ValueError"));
	PLAIN_CHECK(strcmp(tarn_fault_message(tarn_error_fault()), "12") == 0);
	tarn_process_unref(p);
	tarn_process_unref(q);
	user_close(&u);
}

/* What @fd of @pid (0: this process) is, as "pipe:[NUMBER]". */
static void what_is_open(pid_t pid, int fd, char ret[64])
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%s%.0d/fd/%d", pid == 0 ? "self" : "", (int)pid, fd);
	ssize_t n = readlink(path, ret, 63);
	ret[n > 0 ? n : 0] = '\0';
}

/* A child that was forked had the pipe open, too: the worker wrote on when its parent was gone. */
PLAIN_TEST(a_forked_child_does_not_read_what_workers_write)
{
	if (ARENA_ASAN)
		PLAIN_SKIP("%s", "a fork of several threads can wait for the sanitizer's allocator for ever");
	struct user u = user_open();
	tarn_process *p;
	char theirs[2][64], mine[64];

	OK(tarn_process_spawn(u.c, &(tarn_process_options){
		.entry = "wait_for_ever", .stdout_to = TARN_STDIO_LOG, .stderr_to = TARN_STDIO_LOG }, &p));
	for (int i = 0; i < 2; i++) {
		what_is_open(tarn_process_pid(p), 1 + i, theirs[i]);
		PLAIN_CHECKF(strncmp(theirs[i], "pipe:", 5) == 0, "%s", theirs[i]);
	}
	pid_t pid = plain_fork();
	if (pid == 0) {
		for (int fd = 0; fd < 1024; fd++) {
			what_is_open(0, fd, mine);
			PLAIN_CHECKF(strcmp(mine, theirs[0]) != 0 && strcmp(mine, theirs[1]) != 0, "%d is %s", fd,
				     mine);
		}
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	OK(tarn_process_kill(p));
	PLAIN_WAIT_FOR(tarn_process_done(p));
	tarn_process_unref(p);
	user_close(&u);
}

/* Whatever step of it fails for want of a descriptor is an error. A handler that could not be made gave back a
 * reference that it did not have. */
PLAIN_TEST(a_process_that_cannot_be_looked_after_is_an_error)
{
	struct user u = user_open();
	struct rlimit old, less;
	int r = -EMFILE, n_failed = 0;

	PLAIN_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
	less = old;
	for (less.rlim_cur = 3; r < 0; less.rlim_cur++) {
		tarn_process *p = NULL;

		OK(tarn_process_new(u.c, &(tarn_process_options){ .program = "/bin/sleep", .stdout_to = TARN_STDIO_LOG,
			.argv = (char *[]){ (char *)"sleep", (char *)"1000", NULL } }, &p));
		PLAIN_EQ(setrlimit(RLIMIT_NOFILE, &less), 0);
		r = tarn_process_start(p);
		PLAIN_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
		if (r < 0) {
			n_failed++;
			PLAIN_CHECKF(r == -EMFILE && tarn_error_last()->message[0] != '\0', "%s: %s",
				     tarn_error_name(r), tarn_error_last()->message);
		} else {
			OK(tarn_process_kill(p));
		}
		/* A reference that nobody has would end it for both. */
		tarn_process *again = tarn_process_ref(p);
		tarn_process_unref(p);
		PLAIN_CHECK(tarn_process_name(again) != NULL);
		tarn_process_unref(again);
	}
	PLAIN_CHECK(n_failed > 3);
	user_close(&u);
}

/* The next start made pipes of its own, and nobody closed those of this one. */
PLAIN_TEST(a_start_that_fails_leaves_no_descriptor)
{
	struct user u = user_open();
	tarn_process *p;
	unsigned before = 0;

	OK(tarn_process_new(u.c, &(tarn_process_options){ .program = "/nowhere/nothing", .stdout_to = TARN_STDIO_LOG,
							  .stderr_to = TARN_STDIO_LOG }, &p));
	for (int i = 0; i < 5; i++) {
		FAILS(tarn_process_start(p), ENOENT);
		PLAIN_CHECK(tarn_process_state(p) == TARN_PROCESS_INITIAL);
		if (i == 0)
			before = descriptors(); /* the library's own are open by now */
	}
	PLAIN_EQ(descriptors(), before);
	tarn_process_unref(p);
	user_close(&u);
}

PLAIN_TEST(a_forked_child_has_no_part_in_its_parents_processes)
{
	if (ARENA_ASAN)
		PLAIN_SKIP("%s", "a fork of several threads can wait for the sanitizer's allocator for ever");
	struct user u = user_open();
	tarn_process *p = SPAWN(&u, "wait_for_ever", "");
	pid_t pid = plain_fork();

	if (pid == 0) {
		FAILS(tarn_process_join(p, 0), TARN_EFORKED);
		FAILS(tarn_process_kill(p), TARN_EFORKED);
		/* It looked at its descriptor again and again for a state that did not change. */
		const tarn_waitable it = { .kind = TARN_WAITABLE_PROCESS, .of.process = p };
		FAILS(tarn_wait(&it, 1, TARN_WAIT_ALL, TARN_FOREVER, NULL), TARN_EFORKED);
		PLAIN_CHECKF(strstr(tarn_error_last()->message, "forked from: that one waits") != NULL, "%s",
			     tarn_error_last()->message);
		tarn_process_unref(p);
		/* It may have some of its own. */
		struct user mine = { .s = u.s, .c = scene_client(&u.s) };
		tarn_process *q = SPAWN(&mine, "twice", "q", INT64_C(4));
		int64_t y;

		OK(tarn_process_get(q, TARN_FOREVER, "q", &y));
		PLAIN_EQ(y, 8);
		tarn_process_unref(q);
		tarn_client_close(mine.c);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	PLAIN_CHECK(tarn_process_is_alive(p));
	OK(tarn_process_kill(p));
	PLAIN_WAIT_FOR(tarn_process_done(p));
	tarn_process_unref(p);
	user_close(&u);
}

/* A child that let go of its copy wiped the key in the order, which it has in common with its parent. */
PLAIN_TEST(a_forked_child_leaves_the_key_to_the_worker_that_is_to_have_it)
{
	static const char key[] = "what only this test's workers know";
	const tarn_client_options with_key = { .authkey = key, .authkey_bytes = sizeof key - 1 };
	struct user u = { .s = scene_open(&(tarn_server_options){ .arena_bytes = 64u << 20, .authkey = key,
								  .authkey_bytes = sizeof key - 1 }) };
	tarn_process *p;
	tarn_builder b;
	int64_t y;

	OK(tarn_server_client_open(u.s.server, NULL, &u.c));
	tarn_builder_init(&b);
	tarn_put_int(&b, 4);
	OK(tarn_process_new(u.c, &(tarn_process_options){ .entry = "twice", .args = &b, .client = &with_key }, &p));
	tarn_builder_fini(&b);
	pid_t pid = plain_fork();
	if (pid == 0) {
		tarn_process_unref(p);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
	OK(tarn_process_start(p));
	OK(tarn_process_get(p, TARN_FOREVER, "q", &y));
	PLAIN_EQ(y, 8);
	tarn_process_unref(p);
	/* The look at the server when all is over proves it, too. */
	char path[128];
	snprintf(path, sizeof path, "%s/key", plain_dir());
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	PLAIN_EQ(write(fd, key, sizeof key - 1), sizeof key - 1);
	close(fd);
	setenv("TARN_AUTHKEY_FILE", path, 1);
	user_close(&u);
}

static bool is_locked(tarn_process *p)
{
	if (pthread_mutex_trylock(&p->mutex) != 0)
		return true;
	pthread_mutex_unlock(&p->mutex);
	plain__nap();
	return false;
}

static void *join_it(void *arg)
{
	OK(tarn_process_join(arg, TARN_FOREVER));
	return NULL;
}

/* Whoever asks the server for the outcome has the process locked for as long as that takes: others, and children
 * that are forked meanwhile, only wanted to know whether it has ended. */
PLAIN_TEST(how_a_process_ended_is_known_while_another_thread_waits_for_its_outcome)
{
	struct user u = user_open();
	tarn_process *p = SPAWN(&u, "twice", "q", INT64_C(4));
	const pid_t server = tarn_server_pid(u.s.server);
	pthread_t thread;
	int64_t y;

	PLAIN_WAIT_FOR(tarn_process_done(p));
	PLAIN_EQ(kill(server, SIGSTOP), 0);
	PLAIN_EQ(pthread_create(&thread, NULL, join_it, p), 0);
	for (int n = 0; n < 10; n++)
		PLAIN_WAIT_FOR(is_locked(p));
	PLAIN_EQ(tarn_process_state(p), TARN_PROCESS_SUCCEEDED);
	PLAIN_EQ(tarn_process_exitcode(p), 0);
	if (!ARENA_ASAN) { /* a fork of several threads can wait for the sanitizer's allocator for ever */
		pid_t pid = plain_fork();

		if (pid == 0) {
			PLAIN_EQ(tarn_process_state(p), TARN_PROCESS_SUCCEEDED);
			PLAIN_CHECK(!tarn_process_is_alive(p));
			tarn_process_unref(p);
			_exit(0);
		}
		PLAIN_EQ(plain_reap(pid), 0);
	}
	PLAIN_EQ(kill(server, SIGCONT), 0);
	pthread_join(thread, NULL);
	OK(tarn_process_get(p, TARN_FOREVER, "q", &y));
	PLAIN_EQ(y, 8);
	tarn_process_unref(p);
	user_close(&u);
}

PLAIN_TEST(a_server_that_is_gone_is_told_and_waits_for_nobody)
{
	struct user u = user_open();
	char go[200];
	int64_t y;

	snprintf(go, sizeof go, "%s/go", plain_dir());
	tarn_process *p = SPAWN(&u, "twice_later", "qs", INT64_C(1), go), *q;
	PLAIN_CHECK(tarn_process_is_alive(p));
	tarn_inspector_close(u.s.in);
	kill(tarn_server_pid(u.s.server), SIGKILL);
	PLAIN_WAIT_FOR(tarn_client_ping(u.c, 100000000) == -TARN_ESRVDOWN);
	close(open(go, O_CREAT | O_WRONLY, 0600));
	int r = tarn_process_get(p, TARN_FOREVER, "q", &y);
	PLAIN_CHECKF(r == -TARN_EREMOTE || r == -TARN_ESRVDOWN, "%d", r);
	PLAIN_CHECK(tarn_process_exitcode(p) == 1);
	FAILS(tarn_process_spawn(u.c, &(tarn_process_options){ .entry = "echo" }, &q), TARN_ESRVDOWN);
	tarn_process_unref(p);
	tarn_client_close(u.c);
	tarn_server_unref(u.s.server);
}

PLAIN_MAIN()
