/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's plumbing: names, descriptors in datagrams, connecting, asking. */
#include "lib/control.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "shm/wake.h"
#include "tarn/error.h"

TestSuite(control, .timeout = 30);

/* A directory of its own for each test. */
static char *fresh_directory(void)
{
	char path[] = "/tmp/tarn-test-XXXXXX";

	cr_assert(ne(ptr, mkdtemp(path), NULL));
	return strdup(path);
}

static void clean(char *path)
{
	char command[300];

	snprintf(command, sizeof command, "rm -rf '%s'", path);
	cr_expect(eq(int, system(command), 0));
	free(path);
}

/* ---- names ---- */

Test(control, a_plain_name_lies_in_the_runtime_directory)
{
	char *dir = fresh_directory(), want[200];
	struct sockaddr_un a;

	setenv("XDG_RUNTIME_DIR", dir, 1);
	int n = tarn__control_address("demo", 1, &a);
	snprintf(want, sizeof want, "%s/tarn/demo.sock", dir);
	cr_expect(eq(str, a.sun_path, want));
	cr_expect(eq(int, n, (int)(offsetof(struct sockaddr_un, sun_path) + strlen(want) + 1)));
	struct stat st;
	want[strlen(want) - strlen("/demo.sock")] = '\0';
	cr_assert(eq(int, stat(want, &st), 0));
	cr_expect(eq(u32, st.st_mode & 07777, 0700));
	clean(dir);
}

Test(control, without_a_runtime_directory_it_lies_in_tmp)
{
	char want[200];
	struct sockaddr_un a;

	unsetenv("XDG_RUNTIME_DIR");
	cr_assert(gt(int, tarn__control_address("demo", 0, &a), 0));
	snprintf(want, sizeof want, "/tmp/tarn-%u/demo.sock", (unsigned)geteuid());
	cr_expect(eq(str, a.sun_path, want));
}

Test(control, paths_and_abstract_names_are_taken_as_they_are)
{
	struct sockaddr_un a;

	cr_assert(gt(int, tarn__control_address("./x.sock", 0, &a), 0));
	cr_expect(eq(str, a.sun_path, "./x.sock"));
	int n = tarn__control_address("@demo", 0, &a);
	cr_expect(eq(int, n, (int)offsetof(struct sockaddr_un, sun_path) + 5));
	cr_expect(eq(chr, a.sun_path[0], '\0'));
	cr_expect(eq(int, memcmp(a.sun_path + 1, "demo", 4), 0));
}

Test(control, bad_names_are_refused_with_words)
{
	char longest[400];
	struct sockaddr_un a = { .sun_family = 77 };

	memset(longest, 'a', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	const char *bad[] = { "", "@", ".hidden", "a\nb", "tab\t", "\x7f", longest };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		cr_expect(eq(int, tarn__control_address(bad[i], 0, &a), -EINVAL), "%zu", i);
		cr_expect(eq(int, tarn_error_last()->code, -EINVAL));
		cr_expect(gt(sz, strlen(tarn_error_last()->message), 20));
	}
	cr_expect(eq(int, tarn__control_address(NULL, 0, &a), -EINVAL));
	longest[0] = '@';
	cr_expect(eq(int, tarn__control_address(longest, 0, &a), -EINVAL));
	longest[0] = '/';
	cr_expect(eq(int, tarn__control_address(longest, 0, &a), -EINVAL));
	cr_expect(eq(int, a.sun_family, 77), "the result stays untouched");
}

Test(control, a_long_runtime_directory_is_an_error_not_a_cut_path)
{
	char dir[120] = "/", want[] = "XDG_RUNTIME_DIR";
	struct sockaddr_un a;

	memset(dir + 1, 'd', 100);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	cr_expect(eq(int, tarn__control_address("demo", 0, &a), -EINVAL));
	cr_expect(ne(ptr, strstr(tarn_error_last()->message, want), NULL));
}

Test(control, a_directory_that_others_could_write_is_refused)
{
	char *dir = fresh_directory(), path[200];
	struct sockaddr_un a;

	setenv("XDG_RUNTIME_DIR", dir, 1);
	snprintf(path, sizeof path, "%s/tarn", dir);
	cr_assert(eq(int, mkdir(path, 0700), 0));
	cr_assert(eq(int, chmod(path, 0777), 0));
	cr_expect(eq(int, tarn__control_address("demo", 1, &a), -EACCES));
	cr_expect(eq(int, tarn__control_address("demo", 0, &a), -EACCES), "clients look too");
	clean(dir);
}

Test(control, a_symbolic_link_for_a_directory_is_refused)
{
	char *dir = fresh_directory(), path[200];
	struct sockaddr_un a;

	setenv("XDG_RUNTIME_DIR", dir, 1);
	snprintf(path, sizeof path, "%s/tarn", dir);
	cr_assert(eq(int, symlink("/tmp", path), 0));
	cr_expect(eq(int, tarn__control_address("demo", 1, &a), -EACCES));
	cr_expect(ne(ptr, strstr(tarn_error_last()->message, "symbolic link"), NULL));
	clean(dir);
}

/* ---- datagrams ---- */

static int pair[2];

static void pair_open(void)
{
	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0));
}

/* An lseek shows whether two descriptors are of one open file. */
static int marked_file(off_t at)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(long, lseek(fd, at, SEEK_SET), at));
	return fd;
}

Test(control, bytes_and_descriptors_arrive_together)
{
	int sent[2] = { marked_file(11), marked_file(22) }, got[5];
	unsigned n = 99;
	char text[16];

	pair_open();
	cr_assert(eq(int, tarn__control_send(pair[0], "hello", 5, sent, 2, 0), 5));
	cr_assert(eq(int, tarn__control_recv(pair[1], text, sizeof text, got, 5, &n, 0), 5));
	cr_expect(eq(int, memcmp(text, "hello", 5), 0));
	cr_assert(eq(uint, n, 2));
	cr_expect(eq(long, lseek(got[0], 0, SEEK_CUR), 11));
	cr_expect(eq(long, lseek(got[1], 0, SEEK_CUR), 22));
	cr_expect(ne(int, fcntl(got[0], F_GETFD) & FD_CLOEXEC, 0));
}

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

Test(control, descriptors_that_nobody_asked_for_are_closed)
{
	int sent[3] = { marked_file(1), marked_file(2), marked_file(3) }, got[1];
	unsigned n = 99;
	char text[16];

	pair_open();
	int before = open_descriptors();
	cr_assert(eq(int, tarn__control_send(pair[0], "x", 1, sent, 3, 0), 1));
	cr_assert(eq(int, tarn__control_recv(pair[1], text, sizeof text, got, 1, &n, 0), 1));
	cr_expect(eq(uint, n, 1));
	cr_expect(eq(int, open_descriptors(), before + 1));
	cr_assert(eq(int, tarn__control_send(pair[0], "x", 1, sent, 3, 0), 1));
	cr_assert(eq(int, tarn__control_recv(pair[1], text, sizeof text, NULL, 0, NULL, 0), 1));
	cr_expect(eq(int, open_descriptors(), before + 1));
}

Test(control, a_datagram_that_is_too_long_is_refused_and_leaks_nothing)
{
	int sent = marked_file(1), got[1];
	unsigned n = 0;
	char text[4];

	pair_open();
	int before = open_descriptors();
	cr_assert(eq(int, tarn__control_send(pair[0], "too long", 8, &sent, 1, 0), 8));
	cr_expect(eq(int, tarn__control_recv(pair[1], text, sizeof text, got, 1, &n, 0), -EMSGSIZE));
	cr_expect(eq(int, open_descriptors(), before));
}

Test(control, a_closed_peer_is_end_of_file_for_one_and_an_error_for_the_other)
{
	char text[4];

	pair_open();
	close(pair[0]);
	cr_expect(eq(int, tarn__control_recv(pair[1], text, sizeof text, NULL, 0, NULL, 0), 0));
	cr_expect(eq(int, tarn__control_send(pair[1], "x", 1, NULL, 0, 0), -EPIPE));
}

/* ---- connecting ---- */

Test(control, no_server_is_enoent_at_once_and_a_timeout_after_waiting)
{
	char *dir = fresh_directory();
	int fd;

	setenv("XDG_RUNTIME_DIR", dir, 1);
	cr_expect(eq(int, tarn__control_connect("demo", tarn__deadline(0), &fd), -ENOENT));
	cr_expect(ne(ptr, strstr(tarn_error_last()->message, "demo"), NULL));
	uint64_t from = tarn__now();
	cr_expect(eq(int, tarn__control_connect("demo", tarn__deadline(50000000), &fd), -ETIMEDOUT));
	cr_expect(ge(u64, tarn__now() - from, 50000000));
	clean(dir);
}

static int listen_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	cr_assert(eq(int, bind(fd, (struct sockaddr *)&a, sizeof a), 0));
	cr_assert(eq(int, listen(fd, 1), 0));
	return fd;
}

struct late {
	char path[100];
	int fd;
};

static void *listen_late(void *arg)
{
	struct late *late = arg;

	usleep(30000);
	late->fd = listen_at(late->path);
	return NULL;
}

Test(control, connect_waits_for_a_server_to_appear)
{
	char *dir = fresh_directory();
	struct late late;
	pthread_t t;
	int fd;

	snprintf(late.path, sizeof late.path, "%s/s", dir);
	cr_assert(eq(int, pthread_create(&t, NULL, listen_late, &late), 0));
	cr_expect(eq(int, tarn__control_connect(late.path, tarn__deadline(20000000000), &fd), 0));
	pthread_join(t, NULL);
	clean(dir);
}

Test(control, the_socket_of_a_dead_server_is_no_server)
{
	char *dir = fresh_directory(), path[100];
	int fd;

	snprintf(path, sizeof path, "%s/s", dir);
	close(listen_at(path));
	cr_expect(eq(int, tarn__control_connect(path, tarn__deadline(0), &fd), -ENOENT));
	cr_expect(ne(ptr, strstr(tarn_error_last()->message, "nobody listens"), NULL));
	clean(dir);
}

/* ---- asking ---- */

static struct tarn__answer reply;
static int reply_fd = -1;

static void *answer_once(void *arg)
{
	struct tarn__request q;

	(void)arg;
	if (tarn__control_recv(pair[1], &q, sizeof q, NULL, 0, NULL, 0) == (int)sizeof q)
		tarn__control_send(pair[1], &reply, sizeof reply, &reply_fd, reply_fd >= 0, 0);
	return NULL;
}

/* Asks for STAT of a server that answers @reply. */
static int ask(struct tarn__answer *ret, int fds[TARN__CONTROL_FDS])
{
	const struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_STAT };
	pthread_t t;
	int r;

	pair_open();
	cr_assert(eq(int, pthread_create(&t, NULL, answer_once, NULL), 0));
	r = tarn__control_ask(pair[0], &q, ret, fds, tarn__deadline(20000000000));
	pthread_join(t, NULL);
	return r;
}

Test(control, an_answer_comes_with_its_values_and_descriptors)
{
	struct tarn__answer a;
	int fds[TARN__CONTROL_FDS];

	reply = (struct tarn__answer){ .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_STAT,
				       .n_fds = 1, .value = { 42 } };
	reply_fd = marked_file(5);
	cr_assert(eq(int, ask(&a, fds), 0));
	cr_expect(eq(u64, a.value[0], 42));
	cr_expect(ge(int, fds[0], 0));
	cr_expect(eq(int, fds[1], -1));
}

Test(control, the_servers_own_words_become_the_error)
{
	struct tarn__answer a;
	int fds[TARN__CONTROL_FDS];

	reply = (struct tarn__answer){ .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_STAT,
				       .error = -EACCES, .text = "not you" };
	cr_assert(eq(int, ask(&a, fds), -EACCES));
	cr_expect(eq(int, tarn_error_last()->code, -EACCES));
	cr_expect(eq(str, (char *)tarn_error_last()->message, "not you"));
}

Test(control, an_answer_to_another_question_is_refused_and_its_descriptors_closed)
{
	struct tarn__answer a;
	int fds[TARN__CONTROL_FDS];

	reply = (struct tarn__answer){ .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_BLOCKS,
				       .n_fds = 1 };
	reply_fd = marked_file(5);
	int before = open_descriptors();
	cr_assert(eq(int, ask(&a, fds), -TARN_EPROTO));
	cr_expect(eq(int, open_descriptors(), before + 2), "the pair only");
}

Test(control, a_server_that_hangs_up_is_down_and_one_that_is_silent_times_out)
{
	const struct tarn__request q = { .magic = TARN__CONTROL_MAGIC, .kind = TARN__CTL_STAT };
	struct tarn__answer a;
	int fds[TARN__CONTROL_FDS];

	pair_open();
	cr_expect(eq(int, tarn__control_ask(pair[0], &q, &a, fds, tarn__deadline(20000000)),
		     -ETIMEDOUT));
	close(pair[1]);
	cr_expect(eq(int, tarn__control_ask(pair[0], &q, &a, fds, tarn__deadline(-1)),
		     -TARN_ESRVDOWN));
}
