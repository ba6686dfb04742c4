/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kept names: there while their server lives, gone after it, swept when it was killed. Each
 * test has a /dev/shm of its own, since any server that starts elsewhere would sweep, too.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/kept.h"
#include "tarn/gc.h"
#include "tests/common/box.h"
#include "tests/common/scene.h"

static const tarn_server_options keeping = { .arena_bytes = 16u << 20, .keep_names = true,
					     .name = "kept" };

static void in_a_box(void (*work)(void *), bool pids)
{
	char why[128];
	int r = box_run(&(struct box){ .pids = pids }, work, NULL, why);

	if (r == BOX_IMPOSSIBLE)
		PLAIN_SKIP("%s", why);
	PLAIN_EQ(r, 0);
}

static unsigned names(void)
{
	DIR *d = opendir("/dev/shm");
	unsigned n = 0;

	PLAIN_CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static size_t count(uint32_t kind, uint32_t state)
{
	tarn_leftover *row;
	size_t n, found = 0;

	OK(tarn_leftovers_list(&row, &n));
	for (size_t i = 0; i < n; i++)
		found += row[i].kind == kind && row[i].state == state;
	free(row);
	return found;
}

static size_t sweep(bool dry_run)
{
	size_t n;

	OK(tarn_leftovers_sweep(dry_run, NULL, &n));
	return n;
}

static void kill_server(struct scene *s)
{
	int fd = (int)syscall(SYS_pidfd_open, tarn_server_pid(s->server), 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	PLAIN_CHECK(fd >= 0);
	kill(tarn_server_pid(s->server), SIGKILL);
	PLAIN_EQ(poll(&p, 1, -1), 1);
	close(fd);
	tarn_inspector_close(s->in);
	PLAIN_EQ(tarn_server_shutdown(s->server, TARN_FOREVER), 2);
	tarn_server_unref(s->server);
}

static void living_and_ending(void *arg)
{
	tarn_client *c;
	tarn_block *b;

	(void)arg;
	for (int round = 0; round < 3; round++) {
		struct scene s = scene_open(&keeping);

		PLAIN_EQ(names(), 6); /* meta, dir, data, ctrl, view, lanes of the host of objects */
		c = scene_client(&s);
		PLAIN_EQ(names(), 7); /* and the client's lanes */
		OK(tarn_block_new(c, 3000000, TARN_BLOCK_ZEROED, &b));
		PLAIN_EQ(count(TARN_LEFTOVER_SEGMENT, TARN_LEFTOVER_LIVING), 7);
		PLAIN_EQ(count(TARN_LEFTOVER_SOCKET, TARN_LEFTOVER_LIVING), 1);
		PLAIN_EQ(sweep(false), 0);
		PLAIN_EQ(names(), 7);
		PLAIN_CHECK(strcmp(scene_stat(&s).backing_reason, "names are kept") == 0);
		tarn_block_unref(b);
		tarn_client_close(c);
		PLAIN_EQ(names(), 6);
		scene_close(&s);
		PLAIN_EQ(names(), 0);
	}
}

PLAIN_TEST(kept_names_live_as_long_as_their_server)
{
	in_a_box(living_and_ending, false);
}

static void killed_and_swept(void *arg)
{
	struct scene s = scene_open(&keeping);
	tarn_client *c = scene_client(&s);
	tarn_leftover *row;
	tarn_block *b;
	size_t n, bytes = 0;

	(void)arg;
	OK(tarn_block_new(c, 3000000, TARN_BLOCK_ZEROED, &b));
	pid_t pid = tarn_server_pid(s.server);
	kill_server(&s);
	/* Its client holds the memory, but nobody will serve it again. */
	PLAIN_EQ(names(), 7);
	OK(tarn_leftovers_sweep(true, &row, &n));
	PLAIN_EQ(n, 8); /* and the socket */
	for (size_t i = 0; i < n; i++) {
		PLAIN_EQ(row[i].state, TARN_LEFTOVER_DEAD);
		PLAIN_EQ(row[i].uid, geteuid());
		PLAIN_EQ(row[i].other_boot, 0);
		if (row[i].kind != TARN_LEFTOVER_SEGMENT)
			continue;
		PLAIN_EQ(row[i].pid, pid);
		bytes += row[i].bytes;
	}
	PLAIN_CHECKF(bytes >= 3000000, "%zu bytes", bytes);
	free(row);
	PLAIN_EQ(names(), 7); /* it only said so */
	PLAIN_EQ(sweep(false), 8);
	PLAIN_EQ(names(), 0);
	PLAIN_EQ(sweep(false), 0);
	PLAIN_EQ(*(char *)tarn_block_data(b), 0);
	tarn_block_unref(b);
	tarn_client_close(c);
}

PLAIN_TEST(kept_names_of_a_killed_server_are_swept_by_the_library)
{
	in_a_box(killed_and_swept, false);
}

static void killed_and_restarted(void *arg)
{
	static const tarn_server_options other = { .arena_bytes = 4u << 20, .name = "other" };
	struct scene s = scene_open(&keeping);

	(void)arg;
	kill_server(&s);
	PLAIN_EQ(names(), 6);
	s = scene_open(&other); /* any server will do */
	PLAIN_EQ(names(), 0);
	PLAIN_CHECK(!scene_logged(&s, "error"));
	struct scene kept = scene_open(&keeping);
	PLAIN_EQ(names(), 6);
	scene_close(&s);
	PLAIN_EQ(names(), 6);
	scene_close(&kept);
	PLAIN_EQ(names(), 0);
}

PLAIN_TEST(kept_names_of_a_killed_server_are_swept_by_the_next_start)
{
	in_a_box(killed_and_restarted, false);
}

/* Runs where the server's pid means nothing. */
static void sweep_elsewhere(void *arg)
{
	(void)arg;
	PLAIN_EQ(getpid(), 1);
	PLAIN_EQ(count(TARN_LEFTOVER_SEGMENT, TARN_LEFTOVER_LIVING), 6);
	PLAIN_EQ(sweep(false), 0);
	PLAIN_EQ(names(), 6);
}

static void live_elsewhere(void *arg)
{
	struct scene s = scene_open(&keeping);
	char why[128];
	int r = box_run(&(struct box){ .pids = true, .shared_shm = true }, sweep_elsewhere, NULL,
			why);

	(void)arg;
	PLAIN_CHECKF(r == 0, "%d %s", r, r == BOX_IMPOSSIBLE ? why : "");
	scene_close(&s);
}

PLAIN_TEST(kept_names_of_a_living_server_in_another_pid_namespace_stay)
{
	in_a_box(live_elsewhere, false);
}

static void put(const char *name)
{
	char path[300];

	snprintf(path, sizeof path, "/dev/shm/%s", name);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	PLAIN_CHECK(fd >= 0);
	PLAIN_EQ(write(fd, "x", 1), 1);
	close(fd);
}

static void judge_names(void *arg)
{
	char boot[33], name[200];
	static const char *const not_ours[] = { "tarn", "tarn-", "tarn-data-1-2", "sem.tarn-x",
						"postgresql.1", "tarn-xyz-1-1-data-1" };

	(void)arg;
	OK(tarn__boot_id(boot));
	for (unsigned i = 0; i < sizeof not_ours / sizeof *not_ours; i++)
		put(not_ours[i]);
	/* A name of ours with something behind it is not one. */
	snprintf(name, sizeof name, "tarn-%s-%d-1-data-0123456789abcdef.bak", boot, 1);
	put(name);
	unsigned others = names();
	/* Another boot's: dead, though its pid lives now. */
	snprintf(name, sizeof name, "tarn-%032d-%d-%llu-data-0123456789abcdef", 0, (int)getpid(),
		 (unsigned long long)tarn__process_start(getpid()));
	put(name);
	/* This boot's, of a process that got our number later: dead. */
	snprintf(name, sizeof name, "tarn-%s-%d-1-data-0123456789abcdef", boot, (int)getpid());
	put(name);
	/* Ours: living. */
	snprintf(name, sizeof name, "tarn-%s-%d-%llu-data-0123456789abcdef", boot, (int)getpid(),
		 (unsigned long long)tarn__process_start(getpid()));
	put(name);
	/* Not a file: another's game. */
	snprintf(name, sizeof name, "/dev/shm/tarn-%032d-1-1-dir-0123456789abcdef", 0);
	PLAIN_EQ(symlink("/etc/hostname", name), 0);
	PLAIN_EQ(sweep(false), 2);
	PLAIN_EQ(names(), others + 2);
	PLAIN_EQ(count(TARN_LEFTOVER_SEGMENT, TARN_LEFTOVER_LIVING), 1);
}

PLAIN_TEST(only_names_of_dead_servers_are_swept)
{
	in_a_box(judge_names, false);
}

static void race_with_sweeps(void *arg)
{
	uint32_t *stop = scene_shared(sizeof *stop);
	pid_t sweeper = plain_fork();

	(void)arg;
	if (sweeper == 0) {
		while (__atomic_load_n(stop, __ATOMIC_ACQUIRE) == 0)
			OK(tarn_leftovers_sweep(false, NULL, NULL));
		_exit(0);
	}
	for (int i = 0; i < 30; i++) {
		struct scene s = scene_open(&keeping);

		PLAIN_EQ(names(), 6);
		if (i % 2 == 0) {
			scene_close(&s);
			PLAIN_EQ(names(), 0);
		} else {
			kill_server(&s);
			PLAIN_WAIT_FOR(names() == 0);
		}
	}
	scene_say(stop, 1);
	PLAIN_EQ(plain_reap(sweeper), 0);
}

PLAIN_TEST_TIMEOUT(sweeps_beside_starts_and_ends_do_no_harm, 60)
{
	in_a_box(race_with_sweeps, false);
}

PLAIN_TEST(names_cannot_be_kept_of_memfds)
{
	const tarn_server_options o = { .arena_bytes = 4u << 20, .keep_names = true,
					.backing = TARN_BACKING_MEMFD };
	tarn_server *s;

	FAILS(tarn_server_start(&o, &s), EINVAL);
	PLAIN_CHECKF(strstr(tarn_error_last()->message, "names") != NULL, "%s",
		     tarn_error_last()->message);
}

PLAIN_MAIN()
