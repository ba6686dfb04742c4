/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small harness for tests that start processes, kill them, or run under
 * ThreadSanitizer, where Criterion cannot.
 *
 *	PLAIN_TEST(receiver_sees_what_was_sent)
 *	{
 *		pid_t peer = plain_fork();
 *
 *		if (peer == 0)
 *			_exit(0);
 *		PLAIN_EQ(plain_reap(peer), 0);
 *	}
 *	PLAIN_MAIN()
 *
 * Each test runs in a child with a session of its own that dies with the harness.
 * When its function returns, the child exits with 0. Then, or when its time is up,
 * the whole process group is killed, and the test fails if
 *	- a check failed in any process forked from it, even if nobody looked there,
 *	- the child ended in another way,
 *	- it left a process outside its group that does not end within two seconds,
 *	- it left a name with "tarn" in /dev/shm that no living process uses.
 * XDG_RUNTIME_DIR is a fresh directory, so that sockets of tests do not meet;
 * TMPDIR is the same one. It is removed afterwards.
 *
 * Stdout carries the TAP of the harness; what a test prints there goes to stderr, as
 * do the reasons of failures.
 *
 *	test-foo [--list] [--help] [NAME...]	names may be patterns
 *
 * PLAIN_TIMEOUT_SCALE multiplies all time limits (valgrind, sanitizers).
 */
#ifndef TARN_TESTS_COMMON_PLAIN_H
#define TARN_TESTS_COMMON_PLAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PLAIN_TIMEOUT_S 30u

/* A test of at most PLAIN_TIMEOUT_S seconds, or of as many as are given. The name is a
 * sentence about behaviour. */
#define PLAIN_TEST(name) PLAIN_TEST_TIMEOUT(name, PLAIN_TIMEOUT_S)
#define PLAIN_TEST_TIMEOUT(name, seconds)                                       \
	static void name(void);                                                 \
	__attribute__((constructor)) static void plain__add_##name(void)        \
	{                                                                       \
		static struct plain__test t = { #name, name, (seconds), NULL }; \
		plain__add(&t);                                                 \
	}                                                                       \
	static void name(void)

/* For a program with nothing to do before; else: return plain_main(argc, argv). */
#define PLAIN_MAIN()                             \
	int main(int argc, char **argv)          \
	{                                        \
		return plain_main(argc, argv);   \
	}
int plain_main(int argc, char **argv);

/* Checks. One that fails says so and ends the calling process; the first is reported.
 * Usable in every process and thread forked from a test, not after exec. */
#define PLAIN_CHECK(condition)                                                       \
	((condition) ? (void)0 : plain__fail(__FILE__, __LINE__, "%s", #condition))
#define PLAIN_CHECKF(condition, ...)                                                 \
	((condition) ? (void)0 : plain__fail(__FILE__, __LINE__, __VA_ARGS__))
#define PLAIN_EQ(a, b)                                                               \
	plain__equal(__FILE__, __LINE__, #a " == " #b, (int64_t)(a), (int64_t)(b))
#define PLAIN_FAIL(...) plain__fail(__FILE__, __LINE__, __VA_ARGS__)

/* Ends the test as skipped. Only in the test's own process. */
#define PLAIN_SKIP(...) plain__skip(__VA_ARGS__)

/* Waits until the condition holds. The test's time limit is the only other way out, so
 * this never says "too late" on a slow machine. */
#define PLAIN_WAIT_FOR(condition)     \
	do {                          \
		while (!(condition))  \
			plain__nap(); \
	} while (0)

/* fork() whose child is killed when the calling thread ends. */
pid_t plain_fork(void);

/* Waits for a child: its exit status, or -SIGNAL. */
int plain_reap(pid_t pid);

/* SIGKILL, and waits until it is dead. */
void plain_kill(pid_t pid);

/* What /proc says of a process or thread: 'S' it sleeps, 'T' it is stopped, 'Z' it is dead; '\0': there is none. */
char plain_state(pid_t tid);

/* A directory for this test alone; XDG_RUNTIME_DIR and TMPDIR name it too. */
const char *plain_dir(void);

/* How many times longer than usual things may take here; at least 1. */
unsigned plain_timeout_scale(void);

/* --- behind the macros --- */

struct plain__test {
	const char *name;
	void (*run)(void);
	unsigned timeout_s;
	struct plain__test *next;
};
void plain__add(struct plain__test *t);
_Noreturn void plain__fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
_Noreturn void plain__skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
void plain__equal(const char *file, int line, const char *text, int64_t a, int64_t b);
void plain__nap(void);

#endif
