/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plain container, simulated: 64 MiB of /dev/shm, no io_uring, pid, mount, IPC, UTS and
 * network namespaces of its own, and a limit of memory.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "lib/server/place.h"
#include "tests/common/arena.h"
#include "tests/common/box.h"
#include "tests/common/scene.h"

#define MIB (UINT64_C(1) << 20)

static const struct box docker = { .shm_bytes = 64 * MIB, .pids = true, .ipc = true,
				   .no_io_uring = true };

static void in_a_box(const struct box *box, void (*work)(void *), void *arg)
{
	char why[128];
	int r = box_run(box, work, arg, why);

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

/* Two clients: blocks of all sizes through a channel, half of them held by one that is
 * killed. */
static void work_with(struct scene *s)
{
	uint32_t *step = scene_shared(sizeof *step);
	tarn_client *c = scene_client(s);
	tarn_channel *ch;
	tarn_block *b;

	OK(tarn_channel_new(c, 16, "work", &ch));
	OK(tarn_channel_bind(ch, TARN_PRODUCER));
	pid_t victim = plain_fork();
	if (victim == 0) {
		tarn_client *mine = scene_client(s);
		tarn_channel *in;
		uint64_t tag;

		OK(tarn_channel_open(mine, "work", TARN_FOREVER, &in));
		OK(tarn_channel_bind(in, TARN_CONSUMER));
		for (uint64_t i = 0; i < 300; i++) {
			OK(tarn_channel_recv(in, &b, &tag, TARN_FOREVER));
			PLAIN_EQ(tag, i);
			PLAIN_EQ(*(unsigned char *)tarn_block_data(b), (unsigned char)i);
			if (i % 2)
				tarn_block_unref(b);
		}
		scene_say(step, 1);
		for (;;)
			pause();
	}
	for (uint64_t i = 0; i < 300; i++) {
		OK(tarn_block_new(c, 1 + (i * i * 37) % 60000, 0, &b));
		memset(tarn_block_data(b), (int)i, tarn_block_size(b));
		OK(tarn_channel_give(ch, b, i, TARN_FOREVER));
	}
	scene_await(step, 1);
	plain_kill(victim);
	OK(tarn_channel_close(ch));
	tarn_channel_unref(ch);
	tarn_client_close(c);
	scene_check(s);
}

/* The whole arena in one client's hands; one byte more is an error, not a SIGBUS. */
static void fill(struct scene *s, uint64_t arena)
{
	tarn_client *c = scene_client(s);
	tarn_block *b, *held[64];
	unsigned n = 0;
	int r = 0;

	while (n < 64 && (r = tarn_block_new(c, arena / 16, TARN_BLOCK_ZEROED, &b)) == 0) {
		memset(tarn_block_data(b), 1, tarn_block_size(b));
		held[n++] = b;
	}
	PLAIN_CHECKF(r == -ENOMEM || r == -ENOSPC, "%s", tarn_error_name(r));
	PLAIN_CHECKF(n >= 14, "only %u sixteenths of the arena", n);
	while (n > 0)
		tarn_block_unref(held[--n]);
	tarn_client_close(c);
}

static void everything(void *arg)
{
	const tarn_server_options *o = arg;
	struct scene s = scene_open(o);
	tarn_stat st = scene_stat(&s);

	PLAIN_CHECKF(strcmp(st.io, "epoll") == 0, "%s", st.io);
	PLAIN_CHECKF(strstr(st.io_reason, "io_uring") != NULL, "%s", st.io_reason);
	scene_note("%s (%s); %llu MiB: %s", st.io, st.io_reason,
		   (unsigned long long)(st.arena_bytes >> 20), st.backing_reason);
	work_with(&s);
	fill(&s, st.arena_bytes);
	scene_close(&s);
	PLAIN_EQ(names(), 0);
}

PLAIN_TEST_TIMEOUT(a_server_and_its_clients_work_in_a_plain_container, 60)
{
	tarn_server_options o = { .arena_bytes = 32 * MIB };

	in_a_box(&docker, everything, &o);
}

PLAIN_TEST_TIMEOUT(an_arena_larger_than_dev_shm_works_in_a_plain_container, 60)
{
	tarn_server_options o = { .arena_bytes = 128 * MIB };

	in_a_box(&docker, everything, &o);
}

static void keeps_names(void *arg)
{
	tarn_server_options o = { .arena_bytes = 16 * MIB, .keep_names = true };
	struct scene s = scene_open(&o);

	(void)arg;
	PLAIN_EQ(names(), 6); /* META, CTRL, DIR, DATA, VIEW, and the lanes of the server's own client */
	work_with(&s);
	scene_close(&s);
	PLAIN_EQ(names(), 0);
}

PLAIN_TEST_TIMEOUT(names_can_be_kept_in_a_plain_container, 60)
{
	in_a_box(&docker, keeps_names, NULL);
}

static void without_dev_shm(void *arg)
{
	tarn_server_options o = { .arena_bytes = 16 * MIB };

	(void)arg;
	/* Read-only, as some have it. */
	PLAIN_EQ(mount(NULL, "/dev/shm", NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	struct scene s = scene_open(&o);
	PLAIN_EQ(scene_stat(&s).backing, TARN_BACKING_MEMFD);
	work_with(&s);
	scene_close(&s);
}

PLAIN_TEST_TIMEOUT(a_read_only_dev_shm_is_no_obstacle, 60)
{
	in_a_box(&docker, without_dev_shm, NULL);
}

/* ---- memory ---- */

static void within_its_limit(void *arg)
{
	uint64_t limit = *(uint64_t *)arg;
	tarn_server_options o = { .backing = TARN_BACKING_AUTO };

	PLAIN_EQ(tarn__place_memory(), limit);
	struct scene s = { 0 };
	OK(tarn_server_start(&o, &s.server)); /* not scene_open(), which gives a size */
	s.name = tarn_server_name(s.server);
	OK(tarn_inspector_open(s.name, 0, &s.in));
	PLAIN_EQ(scene_stat(&s).arena_bytes, limit / 2);
	work_with(&s);
	fill(&s, limit / 2); /* and nobody is killed for it */
	scene_close(&s);
}

PLAIN_TEST_TIMEOUT(the_arenas_cap_is_half_of_the_memory_cgroups_limit, 60)
{
	struct box box = docker;
	uint64_t limit = 256 * MIB;

	box.memory = limit;
	in_a_box(&box, within_its_limit, &limit);
}

struct tight {
	uint64_t limit;
	tarn_server_options options;
};

/* Blocks of @piece bytes until there are no more, and all back. */
static void take_all(struct scene *s, tarn_client *c, uint64_t piece, uint64_t least)
{
	static tarn_block *held[4096];
	unsigned n = 0;
	int r = 0;

	while (n < 4096 && (r = tarn_block_new(c, piece, 0, &held[n])) == 0)
		memset(tarn_block_data(held[n++]), 1, piece);
	PLAIN_CHECKF(r == -ENOMEM, "%s: %s", tarn_error_name(r), tarn_error_last()->message);
	PLAIN_CHECKF(strstr(tarn_error_last()->message, "memory cgroup") != NULL, "%s",
		     tarn_error_last()->message);
	PLAIN_CHECKF(n * piece >= least, "only %llu bytes", (unsigned long long)(n * piece));
	scene_check(s);
	while (n > 0)
		tarn_block_unref(held[--n]);
	OK(tarn_client_trim(c));
	scene_settle(s);
	PLAIN_EQ(scene_stat(s).used_bytes, 0);
}

/* Contents of containers, which have memory of their own, until there is no more; what they took
 * is not given back to the system, but serves others. */
static void list_all(struct scene *s, tarn_client *c)
{
	enum { BYTES = 50000 };
	char *text = calloc(1, BYTES + 1);
	tarn_object *list;
	uint64_t n = 0;
	int r;

	PLAIN_CHECK(text != NULL);
	memset(text, 'x', BYTES);
	OK(tarn_list_new(c, &list));
	while ((r = tarn_list_appendf(list, "s", text)) == 0)
		n++;
	PLAIN_CHECKF(r == -TARN_EREMOTE && strstr(tarn_error_last()->message, "no memory") != NULL, "%s: %s",
		     tarn_error_name(r), tarn_error_last()->message);
	PLAIN_CHECKF(n * BYTES > 16 * MIB, "only %llu", (unsigned long long)n);
	free(text);
	scene_check(s);
	tarn_object_unref(list);
	scene_settle(s);
}

/* The cap is what somebody asked for; the group has less. What the kernel does to a process that
 * goes beyond the limit is to kill it, or another one of the group. */
static void beyond_its_limit(void *arg)
{
	const struct tight *t = arg;
	struct scene s = scene_open(&t->options);
	tarn_client *c = scene_client(&s);

	PLAIN_CHECK(scene_logged(&s, "memory cgroup's limit 128 MiB: blocks will get 112 MiB"));
	for (int round = 0; round < 2; round++) {
		take_all(&s, c, 4 * MIB, t->limit / 2);
		take_all(&s, c, MIB / 16, t->limit / 2);
		take_all(&s, c, 40 * MIB, t->limit / 2);
		if (!t->options.keep)
			continue;
		/* Its successor knows the limit, too. */
		PLAIN_EQ(kill(tarn_client_server_pid(c), SIGKILL), 0);
		OK(tarn_client_ping(c, TARN_FOREVER));
	}
	tarn_client_close(c);
	work_with(&s);
	c = scene_client(&s);
	list_all(&s, c);
	if (t->options.keep) { /* what the dead one's contents take is there still */
		PLAIN_EQ(kill(tarn_client_server_pid(c), SIGKILL), 0);
		OK(tarn_client_ping(c, TARN_FOREVER));
		take_all(&s, c, 4 * MIB, 4 * MIB);
		list_all(&s, c);
	}
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST_TIMEOUT(an_arena_larger_than_the_memory_cgroup_ends_in_an_error_not_in_a_kill, 120)
{
	if (ARENA_ASAN)
		PLAIN_SKIP("%s", "the sanitizer's own memory counts, too");
	for (int i = 0; i < 3; i++) {
		struct tight t = { .limit = 128 * MIB };
		struct box box = { .pids = true, .memory = t.limit };

		t.options = (tarn_server_options){
			.arena_bytes = 4 * t.limit, .keep = i == 2,
			.backing = i == 1 ? TARN_BACKING_MEMFD : TARN_BACKING_POSIX };
		in_a_box(&box, beyond_its_limit, &t);
	}
}

/* Trees of files that look like other machines': what is read of them is what counts. */
static void mount_fake(const char *what, const char *where)
{
	PLAIN_EQ(mount(what, where, NULL, MS_BIND, NULL), 0);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	PLAIN_CHECK(f != NULL);
	PLAIN_CHECK(fputs(text, f) >= 0);
	PLAIN_EQ(fclose(f), 0);
}

struct fake_group {
	const char *cgroup, *mountinfo; /* of /proc/self */
	const char *directory;          /* below plain_dir()/cg, with its limit: */
	const char *file, *limit;
	const char *upper_limit;        /* of the one above it */
	uint64_t want;
};

/* The calling process is in it. */
static void join_fake(const struct fake_group *g)
{
	char root[128], path[400], info[1024], command[500], self[64];

	snprintf(root, sizeof root, "%s/cg", plain_dir());
	snprintf(command, sizeof command, "rm -rf '%s' && mkdir -p '%s/%s'", root, root, g->directory);
	PLAIN_EQ(system(command), 0);
	snprintf(path, sizeof path, "%s/%s/%s", root, g->directory, g->file);
	put(path, g->limit);
	if (g->upper_limit != NULL) {
		snprintf(path, sizeof path, "%s/%s/../%s", root, g->directory, g->file);
		put(path, g->upper_limit);
	}
	snprintf(path, sizeof path, "%s/group", plain_dir());
	put(path, g->cgroup);
	snprintf(self, sizeof self, "/proc/%d/cgroup", (int)getpid());
	mount_fake(path, self);
	snprintf(info, sizeof info, g->mountinfo, root);
	snprintf(path, sizeof path, "%s/info", plain_dir());
	put(path, info);
	snprintf(self, sizeof self, "/proc/%d/mountinfo", (int)getpid());
	mount_fake(path, self);
}

static void read_fake(void *arg)
{
	const struct fake_group *g = arg;

	join_fake(g);
	PLAIN_CHECKF(tarn__place_memory() == g->want, "%llu", (unsigned long long)tarn__place_memory());
}

PLAIN_TEST(limits_of_both_versions_of_cgroups_are_found_also_above)
{
	struct sysinfo machine;
	PLAIN_EQ(sysinfo(&machine), 0);
	const uint64_t all = (uint64_t)machine.totalram * machine.mem_unit;
	const struct fake_group groups[] = {
		/* v2 in a cgroup namespace: the root is the own group. */
		{ "0::/\n", "30 20 0:25 / %s rw - cgroup2 cgroup2 rw\n", ".", "memory.max",
		  "104857600\n", NULL, 100 * MIB },
		/* v2 deep inside, limited above. */
		{ "0::/a/b\n", "30 20 0:25 / %s rw shared:1 - cgroup2 cgroup2 rw\n", "a/b", "memory.max",
		  "max\n", "52428800\n", 50 * MIB },
		/* v1 whose mount shows the container's part only. */
		{ "5:cpu:/x\n4:memory:/docker/0123\n", "31 20 0:26 /docker/0123 %s rw - cgroup cgroup "
		  "rw,memory\n", ".", "memory.limit_in_bytes", "73400320\n", NULL, 70 * MIB },
		/* v1 with other controllers, the lower of two limits. */
		{ "4:cpu,memory:/docker/0123\n0::/\n", "31 20 0:26 / %s rw - cgroup cgroup "
		  "rw,cpu,memory\n", "docker/0123", "memory.limit_in_bytes", "41943040\n",
		  "73400320\n", 40 * MIB },
		/* None. */
		{ "0::/a\n", "30 20 0:25 / %s rw - cgroup2 cgroup2 rw\n", "a", "memory.max", "max\n",
		  NULL, all },
		/* v1's "none" is a number larger than any machine. */
		{ "4:memory:/\n", "31 20 0:26 / %s rw - cgroup cgroup rw,memory\n", ".",
		  "memory.limit_in_bytes", "9223372036854771712\n", NULL, all },
	};

	for (unsigned i = 0; i < sizeof groups / sizeof *groups; i++) {
		struct fake_group g = groups[i];

		in_a_box(&(struct box){ .shared_shm = true }, read_fake, &g);
	}
}

/* ---- a limit that is changed later ---- */

static const struct fake_group changing = { "0::/\n", "30 20 0:25 / %s rw - cgroup2 cgroup2 rw\n", ".", "memory.max",
					    "536870912\n", NULL, 0 };

static void set_limit(uint64_t bytes)
{
	char path[200], text[32];

	snprintf(path, sizeof path, "%s/cg/./memory.max", plain_dir());
	snprintf(text, sizeof text, "%llu\n", (unsigned long long)bytes);
	put(path, text);
}

static uint64_t take_more(tarn_client *c, tarn_block **held, unsigned *n, uint64_t most)
{
	int r = 0;

	while (*n * 4 * MIB < most && (r = tarn_block_new(c, 4 * MIB, 0, &held[*n])) == 0)
		++*n;
	PLAIN_CHECKF(r == 0 || r == -ENOMEM || r == -ENOSPC, "%s", tarn_error_name(r));
	return *n * 4 * MIB;
}

/* The kernel would not refuse, but kill: it is the server that has to see it in time. */
static void lowered(void *arg)
{
	const tarn_server_options o = { .arena_bytes = 400 * MIB, .name = "lowered" };
	tarn_block *held[100];
	unsigned n = 0;
	tarn_client *c;
	pid_t pid = plain_fork();

	(void)arg;
	if (pid == 0) {
		join_fake(&changing);
		_exit(tarn_server_run(&o) == 0 ? 0 : 1);
	}
	while (tarn_client_open("lowered", NULL, &c) < 0)
		usleep(1000);
	PLAIN_EQ(take_more(c, held, &n, 100 * MIB), 100 * MIB);
	set_limit(160 * MIB);
	PLAIN_CHECKF(take_more(c, held, &n, 400 * MIB) <= 140 * MIB, "%u blocks", n);
	PLAIN_CHECKF(n * 4 * MIB >= 100 * MIB, "%u blocks", n);
	/* And raised: it is looked at again in a while. */
	set_limit(512 * MIB);
	PLAIN_WAIT_FOR(take_more(c, held, &n, 200 * MIB) == 200 * MIB);
	while (n > 0)
		tarn_block_unref(held[--n]);
	tarn_client_close(c);
	plain_kill(pid);
}
PLAIN_TEST_TIMEOUT(a_limit_of_the_memory_cgroup_that_is_changed_later_counts_too, 60)
{
	in_a_box(&(struct box){ .shared_shm = true }, lowered, NULL);
}

static uint64_t committed(tarn_inspector *in)
{
	tarn_stat stat;

	OK(tarn_inspector_stat(in, &stat));
	return stat.committed_bytes;
}

/* Much was taken, and given back; only then the limit is lowered. Until as much was taken again nobody looked. */
static void lowered_at_rest(void *arg)
{
	const tarn_server_options o = { .arena_bytes = 400 * MIB, .name = "rests" };
	tarn_block *held[100];
	tarn_inspector *in;
	unsigned n = 0;
	tarn_client *c;
	pid_t pid = plain_fork();

	(void)arg;
	if (pid == 0) {
		join_fake(&changing);
		_exit(tarn_server_run(&o) == 0 ? 0 : 1);
	}
	while (tarn_client_open("rests", NULL, &c) < 0)
		usleep(1000);
	OK(tarn_inspector_open("rests", 0, &in));
	PLAIN_EQ(take_more(c, held, &n, 320 * MIB), 320 * MIB);
	while (n > 0)
		tarn_block_unref(held[--n]);
	OK(tarn_client_trim(c));
	PLAIN_WAIT_FOR(committed(in) <= 64 * MIB); /* the watermark is an eighth of the cap */
	set_limit(160 * MIB);
	PLAIN_CHECKF(take_more(c, held, &n, 400 * MIB) <= 140 * MIB, "%u blocks", n);
	PLAIN_CHECKF(n * 4 * MIB >= 100 * MIB, "%u blocks", n);
	while (n > 0)
		tarn_block_unref(held[--n]);
	tarn_inspector_close(in);
	tarn_client_close(c);
	plain_kill(pid);
}
PLAIN_TEST_TIMEOUT(a_limit_of_the_memory_cgroup_that_is_lowered_while_little_is_taken_counts_too, 60)
{
	in_a_box(&(struct box){ .shared_shm = true }, lowered_at_rest, NULL);
}

/* Contents of containers take memory, too, and nobody but blocks made the server look. */
static void lowered_for_contents(void *arg)
{
	enum { BYTES = 1 << 20 };
	const tarn_server_options o = { .arena_bytes = 400 * MIB, .name = "contents" };
	char *text = calloc(1, BYTES + 1);
	tarn_object *list;
	unsigned n = 0;
	tarn_client *c;
	pid_t pid = plain_fork();

	(void)arg;
	if (pid == 0) {
		join_fake(&changing);
		_exit(tarn_server_run(&o) == 0 ? 0 : 1);
	}
	PLAIN_CHECK(text != NULL);
	memset(text, 'x', BYTES);
	while (tarn_client_open("contents", NULL, &c) < 0)
		usleep(1000);
	OK(tarn_list_new(c, &list));
	OK(tarn_list_appendf(list, "s", text));
	set_limit(160 * MIB);
	while (n < 300 && tarn_list_appendf(list, "s", text) == 0)
		n++;
	PLAIN_CHECKF(n <= 140, "%u MiB", n);
	PLAIN_CHECKF(n >= 100, "%u MiB", n);
	set_limit(512 * MIB);
	PLAIN_WAIT_FOR(tarn_list_appendf(list, "s", text) == 0);
	tarn_object_unref(list);
	tarn_client_close(c);
	free(text);
	plain_kill(pid);
}
PLAIN_TEST_TIMEOUT(a_limit_of_the_memory_cgroup_that_is_changed_later_counts_for_contents_too, 60)
{
	in_a_box(&(struct box){ .shared_shm = true }, lowered_for_contents, NULL);
}

/* Without a descriptor to read the limit with it was taken for none. */
static void unread(void *arg)
{
	const tarn_server_options o = { .arena_bytes = 400 * MIB, .name = "unread" };
	struct rlimit few = { 0 };
	tarn_block *held[100];
	unsigned n = 0;
	tarn_client *c;
	pid_t pid = plain_fork();

	(void)arg;
	if (pid == 0) {
		join_fake(&changing);
		set_limit(160 * MIB);
		_exit(tarn_server_run(&o) == 0 ? 0 : 1);
	}
	while (tarn_client_open("unread", NULL, &c) < 0)
		usleep(1000);
	OK(tarn_client_ping(c, TARN_FOREVER));
	PLAIN_EQ(prlimit(pid, RLIMIT_NOFILE, &few, NULL), 0);
	PLAIN_CHECKF(take_more(c, held, &n, 400 * MIB) <= 140 * MIB, "%u blocks", n);
	PLAIN_CHECKF(n * 4 * MIB >= 100 * MIB, "%u blocks", n);
	while (n > 0)
		tarn_block_unref(held[--n]);
	tarn_client_close(c);
	plain_kill(pid);
}
PLAIN_TEST_TIMEOUT(a_limit_of_the_memory_cgroup_that_cannot_be_read_now_is_what_it_was, 60)
{
	in_a_box(&(struct box){ .shared_shm = true }, unread, NULL);
}

PLAIN_MAIN()
