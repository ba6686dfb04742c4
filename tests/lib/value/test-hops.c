/* SPDX-License-Identifier: Apache-2.0 */
/* A fault on its way through real processes: what they do with it is what calls do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/value/fault.h"
#include "tests/common/plain.h"

/* ---- a payload through a pipe ---- */

static void write_all(int fd, const void *data, size_t bytes)
{
	for (const char *p = data; bytes > 0;) {
		ssize_t n = write(fd, p, bytes);

		PLAIN_CHECK(n > 0);
		p += n;
		bytes -= (size_t)n;
	}
}

static void read_all(int fd, void *data, size_t bytes)
{
	for (char *p = data; bytes > 0;) {
		ssize_t n = read(fd, p, bytes);

		PLAIN_CHECK(n > 0);
		p += n;
		bytes -= (size_t)n;
	}
}

static void send_fault(int fd, const tarn_fault *f)
{
	struct tarn__payload p;
	tarn_builder b;

	tarn_builder_init(&b);
	PLAIN_EQ(tarn_put_error(&b, f), 0);
	PLAIN_EQ(tarn__builder_payload(&b, &p), 0);
	write_all(fd, &p.n_words, sizeof p.n_words);
	write_all(fd, p.words, p.n_words * sizeof *p.words);
	tarn_builder_fini(&b);
}

static tarn_fault *receive_fault(int fd)
{
	struct tarn_block **refs;
	tarn_fault *f = NULL;
	uint32_t n_words;
	uint64_t *words;
	tarn_parcel p;

	read_all(fd, &n_words, sizeof n_words);
	PLAIN_EQ(tarn__parcel_room(&p, n_words, 1, 0, &words, &refs), 0);
	read_all(fd, words, n_words * sizeof *words);
	PLAIN_EQ(tarn_value_error(tarn_parcel_at(&p, 0), &f), 0);
	tarn_parcel_fini(&p);
	return f;
}

/* ---- the chain ---- */

/* Starts what writes a fault to a pipe, under a name of its own. */
static int start(void (*run)(int to), char *name, pid_t *ret_pid)
{
	int fd[2];

	PLAIN_EQ(pipe(fd), 0);
	*ret_pid = plain_fork();
	if (*ret_pid == 0) {
		close(fd[0]);
		program_invocation_short_name = name;
		run(fd[1]);
		_exit(0);
	}
	close(fd[1]);
	return fd[0];
}

static int origin_line;

static void fail_at_the_origin(int to)
{
	tarn_fault *f = NULL;

	origin_line = __LINE__ + 1;
	PLAIN_EQ(tarn_fault_throw_here(&f, "KeyError", "no such %s", "key"), -TARN_EREMOTE);
	write_all(to, &origin_line, sizeof origin_line);
	send_fault(to, f);
	tarn_fault_unref(f);
}

static void pass_on(int to)
{
	static char name[] = "origin";
	pid_t pid;
	int from = start(fail_at_the_origin, name, &pid), line;
	tarn_fault *f = NULL;

	read_all(from, &line, sizeof line);
	PLAIN_EQ(tarn__fail_fault(receive_fault(from)), -TARN_EREMOTE);
	PLAIN_EQ(tarn_fault_rethrow_here(&f), -TARN_EREMOTE);
	write_all(to, &line, sizeof line);
	write_all(to, &pid, sizeof pid);
	send_fault(to, f);
	tarn_fault_unref(f);
	tarn__fail(-ECANCELED, "The last failure lets its fault go.");
	PLAIN_EQ(plain_reap(pid), 0);
}

PLAIN_TEST(e4_three_processes_in_a_row_add_their_part_and_lose_none)
{
	static char text[1 << 16];
	char expected[128];
	static char name[] = "middle";
	const char *origin, *middle;
	pid_t middle_pid, origin_pid;
	int from = start(pass_on, name, &middle_pid), line;
	tarn_fault *f;

	read_all(from, &line, sizeof line);
	read_all(from, &origin_pid, sizeof origin_pid);
	f = receive_fault(from);
	PLAIN_EQ(plain_reap(middle_pid), 0);
	PLAIN_CHECK(tarn_fault_is(f, "LookupError"));
	PLAIN_EQ(tarn_fault_pid(f), middle_pid);
	PLAIN_EQ(tarn_fault_hops(f), 1);
	PLAIN_CHECK(tarn_fault_cause(f) != NULL);
	PLAIN_EQ(tarn_fault_pid(tarn_fault_cause(f)), origin_pid);
	PLAIN_EQ(tarn_fault_hops(tarn_fault_cause(f)), 2);

	/* Both are dead, and their text is still whole. */
	tarn_fault_format(f, text, sizeof text);
	snprintf(expected, sizeof expected, "[origin %d]   File \"%s\", line %d, in fail_at_the_origin\n",
		 origin_pid, __FILE__, line);
	origin = strstr(text, expected);
	PLAIN_CHECKF(origin != NULL, "no %s in\n%s", expected, text);
	snprintf(expected, sizeof expected, "[origin %d] KeyError: no such key\n", origin_pid);
	PLAIN_CHECKF(strstr(text, expected) != NULL, "no %s in\n%s", expected, text);
	snprintf(expected, sizeof expected, "[middle %d] KeyError: no such key\n", middle_pid);
	middle = strstr(text, expected);
	PLAIN_CHECKF(middle != NULL && middle > origin, "no %s in\n%s", expected, text);
	tarn_fault_unref(f);
	close(from);
}

PLAIN_MAIN()
