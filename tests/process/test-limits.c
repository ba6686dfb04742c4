/* SPDX-License-Identifier: Apache-2.0 */
/*
 * T12: each resource that runs out is its own error with a sentence, never a signal, and
 * everything comes back. (Full /dev/shm: lib/client/test-full.c; lanes: test-lanes.c.)
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/common/scene.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static struct rlimit limit(int which, rlim_t now)
{
	struct rlimit before, l;

	PLAIN_EQ(getrlimit((__rlimit_resource_t)which, &before), 0);
	l = before;
	l.rlim_cur = now < l.rlim_max ? now : l.rlim_max;
	PLAIN_EQ(setrlimit((__rlimit_resource_t)which, &l), 0);
	return before;
}

static void lift(int which, const struct rlimit *before)
{
	PLAIN_EQ(setrlimit((__rlimit_resource_t)which, before), 0);
}

/* In a process of its own: limits are for processes. */
static void in_a_child(const struct scene *s, void (*run)(const struct scene *s))
{
	pid_t pid = plain_fork();

	if (pid == 0) {
		run(s);
		_exit(0);
	}
	PLAIN_EQ(plain_reap(pid), 0);
}

/* ---- descriptors ---- */

static void few_descriptors(const struct scene *s)
{
	tarn_client *c;
	bool refused = false;
	int lowest = dup(0), r;

	close(lowest);
	for (int more = 0; more < 16; more++) {
		struct rlimit before = limit(RLIMIT_NOFILE, (rlim_t)(lowest + more));

		r = tarn_client_open(s->name, NULL, &c);
		lift(RLIMIT_NOFILE, &before);
		if (r == 0) {
			tarn_client_close(c);
			continue;
		}
		PLAIN_CHECKF(r == -EMFILE, "%d more: %s", more, tarn_error_last()->message);
		PLAIN_CHECK(tarn_error_last()->message[0] != '\0');
		refused = true;
		int now = dup(0);
		PLAIN_EQ(now, lowest); /* none is left open */
		close(now);
	}
	PLAIN_CHECK(refused);
	c = scene_client(s);
	tarn_client_close(c);
}

PLAIN_TEST(t12_too_few_descriptors_are_an_error_of_attaching)
{
	struct scene s = scene_open(NULL);

	in_a_child(&s, few_descriptors);
	scene_close(&s);
}

/* ---- sizes of files, which memory without a name is, too ---- */

static void small_files(const struct scene *s)
{
	const tarn_server_options o = { .arena_bytes = 64u << 20 };
	tarn_client *c = scene_client(s);
	tarn_server *server;
	tarn_process *p;
	bool started = false;

	for (rlim_t bytes = 100; !started; bytes *= 16) {
		struct rlimit before = limit(RLIMIT_FSIZE, bytes);
		int r = tarn_server_start(&o, &server);

		if (r < 0)
			PLAIN_CHECKF(r == -EFBIG && strstr(tarn_error_last()->message, "ulimit -f") != NULL, "%llu: %s",
				     (unsigned long long)bytes, tarn_error_last()->message);
		else
			tarn_server_unref(server);
		started = r == 0;
		r = tarn_process_spawn(c, &(tarn_process_options){ .program = "/bin/true" }, &p);
		lift(RLIMIT_FSIZE, &before);
		if (r == 0) {
			OK(tarn_process_join(p, TARN_FOREVER));
			tarn_process_unref(p);
			continue;
		}
		PLAIN_CHECKF(r == -EFBIG && bytes < 1 << 20, "%llu: %s", (unsigned long long)bytes,
			     tarn_error_last()->message);
	}
	tarn_client_close(c);
}

/* The system sends a signal that ends the process, as soon as a file is to become too large. */
PLAIN_TEST(t12_a_limit_of_files_sizes_is_an_error_and_no_signal)
{
	struct scene s = scene_open(NULL);

	in_a_child(&s, small_files);
	scene_close(&s);
}

/* ---- address space ---- */

static rlim_t address_space(void)
{
	char line[64] = "0";
	FILE *f = fopen("/proc/self/statm", "re");

	PLAIN_CHECK(f != NULL && fgets(line, sizeof line, f) != NULL);
	fclose(f);
	return (rlim_t)strtoull(line, NULL, 10) * 4096;
}

static void little_address_space(const struct scene *s)
{
	bool refused = false;
	tarn_client *c;

	for (unsigned mib = 0; mib < 400; mib += 20) {
		struct rlimit before = limit(RLIMIT_AS, address_space() + ((rlim_t)mib << 20));
		int r = tarn_client_open(s->name, NULL, &c);

		lift(RLIMIT_AS, &before);
		if (r == 0) {
			tarn_client_close(c);
			continue;
		}
		PLAIN_CHECKF(r == -ENOMEM, "%u MiB: %s", mib, tarn_error_last()->message);
		refused = true;
	}
	PLAIN_CHECK(refused);
	c = scene_client(s);
	tarn_client_close(c);
}

PLAIN_TEST(t12_too_little_address_space_is_an_error_of_attaching)
{
	struct scene s = scene_open(NULL);

#if defined(__SANITIZE_ADDRESS__)
	PLAIN_SKIP("the sanitizer itself needs the address space");
#endif
	in_a_child(&s, little_address_space);
	scene_close(&s);
}

/* Handles lie in large pieces of memory when there are many; where none is to be had, in small ones still. */
static void little_for_handles(const struct scene *s)
{
	enum { SMALL = 32000, MANY = SMALL + 4000 };
	static tarn_block *slice[MANY];
	tarn_client *c = scene_client(s);
	struct rlimit before;
	tarn_block *b;

	OK(tarn_block_new(c, MANY, 0, &b));
	for (unsigned i = 0; i < MANY; i++) {
		if (i == SMALL)
			before = limit(RLIMIT_AS, address_space() + (1u << 20));
		int r = tarn_block_slice(b, i, 1, &slice[i]);

		PLAIN_CHECKF(r == 0, "%u: %s", i, tarn_error_last()->message);
	}
	lift(RLIMIT_AS, &before);
	for (unsigned i = 0; i < MANY; i++) {
		PLAIN_CHECK(tarn_block_data(slice[i]) == (const unsigned char *)tarn_block_data(b) + i);
		tarn_block_unref(slice[i]);
	}
	tarn_block_unref(b);
	tarn_client_close(c);
}

PLAIN_TEST(t12_many_handles_fit_into_little_address_space)
{
	if (SANITIZED || getenv("TARN_VALGRIND") != NULL)
		PLAIN_SKIP("their allocator needs more");
	struct scene s = scene_open(NULL);

	in_a_child(&s, little_for_handles);
	scene_close(&s);
}

/* Objects among descriptors are waited for with a thread. That there is none is no time that is over. */
static void no_thread_to_wait_with(const struct scene *s)
{
	tarn_client *c = scene_client(s);
	tarn_object *event;
	int ends[2];

	OK(tarn_event_new(c, 0, &event));
	PLAIN_EQ(pipe(ends), 0);
	const tarn_waitable w[] = { tarn_waitable_object(event), tarn_waitable_fd(ends[0], POLLIN) };
	FAILS(tarn_wait(w, 2, TARN_WAIT_FIRST, 0, NULL), EAGAIN);
	struct rlimit before = limit(RLIMIT_AS, address_space() + (1u << 20));
	FAILS(tarn_wait(w, 2, TARN_WAIT_FIRST, TARN_FOREVER, NULL), ENOMEM);
	PLAIN_CHECKF(strstr(tarn_error_last()->message, "thread") != NULL, "%s", tarn_error_last()->message);
	lift(RLIMIT_AS, &before);
	FAILS(tarn_wait(w, 2, TARN_WAIT_FIRST, 1000000, NULL), ETIMEDOUT);
	OK(tarn_event_set(event));
	OK(tarn_wait(w, 2, TARN_WAIT_FIRST, TARN_FOREVER, NULL));
	tarn_object_unref(event);
	tarn_client_close(c);
}

PLAIN_TEST(t12_a_wait_that_gets_no_thread_is_not_late)
{
	if (SANITIZED || getenv("TARN_VALGRIND") != NULL)
		PLAIN_SKIP("their allocator needs more");
	struct scene s = scene_open(NULL);

	in_a_child(&s, no_thread_to_wait_with);
	scene_close(&s);
}

/* ---- locked memory: io_uring takes it on some kernels; nothing else may ---- */

static void no_locked_memory(const struct scene *unused)
{
	struct rlimit before = limit(RLIMIT_MEMLOCK, 0);
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	tarn_block *b;

	(void)unused;
	OK(tarn_block_new(c, 1 << 20, 0, &b));
	tarn_block_unref(b);
	tarn_client_close(c);
	scene_close(&s);
	lift(RLIMIT_MEMLOCK, &before);
}

PLAIN_TEST(t12_without_locked_memory_all_works)
{
	in_a_child(NULL, no_locked_memory);
}

/* ---- tables of the server ---- */

PLAIN_TEST_TIMEOUT(t12_all_channels_taken_is_an_error_and_they_come_back, 120)
{
	const tarn_server_options o = { .arena_bytes = 64u << 20 };
	struct scene s = scene_open(&o);
	tarn_client *c = scene_client(&s);
	enum { MOST = 70000 };
	static tarn_channel *ch[MOST];
	size_t n = 0;
	int r = 0;

	while (n < MOST && (r = tarn_channel_new(c, 1, NULL, &ch[n])) == 0)
		n++;
	scene_note("%zu channels, then %s: %s", n, tarn_error_name(r), tarn_error_last()->message);
	PLAIN_CHECK(n > 10000 && n < MOST);
	PLAIN_CHECKF(r == -ENFILE || r == -ENOMEM || r == -ENOSPC, "%s", tarn_error_name(r));
	PLAIN_CHECK(strlen(tarn_error_last()->message) > 10);
	scene_check(&s);
	/* One goes, one comes. */
	tarn_channel_unref(ch[--n]);
	scene_settle(&s);
	OK(tarn_channel_new(c, 1, NULL, &ch[n]));
	n++;
	while (n > 0)
		tarn_channel_unref(ch[--n]);
	tarn_client_close(c);
	scene_close(&s);
}

PLAIN_TEST_TIMEOUT(t12_all_exports_taken_is_an_error_and_they_come_back, 120)
{
	struct scene s = scene_open(NULL);
	tarn_client *c = scene_client(&s);
	enum { MOST = 70000 };
	static tarn_token t[MOST];
	tarn_block *b;
	size_t n = 0;
	int r = 0;

	OK(tarn_block_new(c, 100, 0, &b));
	while (n < MOST && (r = tarn_block_export(b, NULL, &t[n])) == 0)
		n++;
	scene_note("%zu exports, then %s: %s", n, tarn_error_name(r), tarn_error_last()->message);
	PLAIN_EQ(r, -ENOSPC);
	scene_check(&s);
	OK(tarn_token_revoke(c, &t[--n]));
	OK(tarn_client_flush(c, true, TARN_FOREVER));
	OK(tarn_block_export(b, NULL, &t[n]));
	tarn_block_unref(b);
	tarn_client_close(c);
	scene_close(&s);
}

/* Each client costs this process descriptors, so several processes are needed for many. */
PLAIN_TEST_TIMEOUT(t12_a_thousand_clients_come_and_go, 120)
{
	struct scene s = scene_open(NULL);
	enum { MOST = 1100 };
	static tarn_client *c[MOST];
	size_t n = 0;
	int r = 0;

	/* PTHREAD_KEYS_MAX is 1024: that, or descriptors, is the end here. */
	while (n < MOST && (r = tarn_client_open(s.name, NULL, &c[n])) == 0)
		n++;
	scene_note("%zu clients, then %s: %s", n, tarn_error_name(r), tarn_error_last()->message);
	PLAIN_CHECK(n > 100 && r < 0 && tarn_error_last()->message[0] != '\0');
	PLAIN_CHECKF(r == -EMFILE || r == -EAGAIN || r == -EUSERS || r == -ENOMEM || r == -ENFILE,
		     "%s", tarn_error_name(r));
	tarn_client_close(c[--n]);
	OK(tarn_client_open(s.name, NULL, &c[n]));
	n++;
	while (n > 0)
		tarn_client_close(c[--n]);
	scene_close(&s);
}

PLAIN_MAIN()
