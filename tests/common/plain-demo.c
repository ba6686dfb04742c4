/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests that end in every way there is; test-plain.sh expects just these verdicts. Run
 * by itself, this program fails.
 */
#define _GNU_SOURCE
#include "plain.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

PLAIN_TEST(passes)
{
	PLAIN_CHECK(1 + 1 == 2);
	PLAIN_EQ(-1, -1);
}

PLAIN_TEST(passes_with_a_child)
{
	pid_t pid = plain_fork();

	if (pid == 0)
		_exit(7);
	PLAIN_EQ(plain_reap(pid), 7);
	pid = plain_fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	kill(pid, SIGKILL);
	PLAIN_EQ(plain_reap(pid), -SIGKILL);
}

PLAIN_TEST(passes_and_leaves_children_in_its_group)
{
	if (fork() == 0) /* not plain_fork: this one has to be found by its group */
		for (;;)
			pause();
}

PLAIN_TEST(passes_with_a_runtime_directory_of_its_own)
{
	struct stat st;
	char path[200];

	PLAIN_CHECK(strcmp(getenv("XDG_RUNTIME_DIR"), plain_dir()) == 0);
	PLAIN_EQ(stat(plain_dir(), &st), 0);
	PLAIN_EQ(st.st_mode & 0777, 0700);
	snprintf(path, sizeof path, "%s/sub", plain_dir());
	PLAIN_EQ(mkdir(path, 0700), 0);
	printf("directory %s\n", plain_dir());
}

PLAIN_TEST(passes_and_cleans_up_its_name)
{
	int fd = shm_open("/plain-tarn-clean", O_RDWR | O_CREAT, 0600);

	PLAIN_CHECK(fd >= 0);
	shm_unlink("/plain-tarn-clean");
}

PLAIN_TEST(prints_a_line_that_is_not_a_verdict)
{
	printf("not ok 1 - printed by a test\n");
	PLAIN_WAIT_FOR(true);
}

PLAIN_TEST(is_skipped)
{
	PLAIN_SKIP("because %d", 42);
}

PLAIN_TEST(fails_a_check)
{
	int two = 2;

	PLAIN_EQ(two + 1, 4);
}

static void *fail_in_thread(void *unused)
{
	PLAIN_FAIL("in a thread");
	return unused;
}

PLAIN_TEST(fails_in_a_thread)
{
	pthread_t t;

	PLAIN_EQ(pthread_create(&t, NULL, fail_in_thread, NULL), 0);
	pthread_join(t, NULL);
}

PLAIN_TEST(fails_in_a_grandchild_while_the_test_waits_for_ever)
{
	if (plain_fork() == 0) {
		if (plain_fork() == 0)
			PLAIN_FAIL("in a grandchild");
		pause();
	}
	pause();
}

PLAIN_TEST(fails_in_a_child_that_nobody_asks)
{
	pid_t pid = plain_fork();

	if (pid == 0)
		PLAIN_FAIL("unnoticed");
	plain_reap(pid);
}

PLAIN_TEST(crashes)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}

PLAIN_TEST(exits)
{
	_exit(3);
}

PLAIN_TEST_TIMEOUT(hangs, 1)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	for (;;)
		pause();
}

PLAIN_TEST(leaves_a_process_in_another_session)
{
	if (fork() == 0) {
		setsid();
		for (;;)
			pause();
	}
	nanosleep(&(struct timespec){ 0, 200000000 }, NULL);
}

PLAIN_TEST(leaves_a_name)
{
	PLAIN_CHECK(shm_open("/plain-tarn-left", O_RDWR | O_CREAT, 0600) >= 0);
}

PLAIN_MAIN()
