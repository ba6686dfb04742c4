/* SPDX-License-Identifier: Apache-2.0 */
/* Slices, seals, private views, and what is seen of memory after it was freed. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/common/arena.h"

/* A channel between two clients of this process or of two: made by @c, @d finds it. */
static void connect_pair(tarn_client *c, tarn_client *d, const char *name, tarn_channel **ret_out,
			 tarn_channel **ret_in)
{
	PLAIN_EQ(tarn_channel_new(c, 16, name, ret_out), 0);
	PLAIN_EQ(tarn_channel_bind(*ret_out, TARN_PRODUCER), 0);
	PLAIN_EQ(tarn_channel_open(d, name, 0, ret_in), 0);
	PLAIN_EQ(tarn_channel_bind(*ret_in, TARN_CONSUMER), 0);
}

static tarn_block *import_block(tarn_client *c, const tarn_token *t)
{
	tarn_block *b = NULL;
	int r = tarn_block_import(c, t, &b);

	PLAIN_CHECKF(r == 0, "import: %s", tarn_error_last()->message);
	return b;
}

static tarn_block *receive(tarn_channel *ch)
{
	tarn_block *b = NULL;
	int r = tarn_channel_recv(ch, &b, NULL, TARN_FOREVER);

	PLAIN_CHECKF(r == 0, "receive: %s", tarn_error_last()->message);
	return b;
}

/* ---- M13: use after free ---- */

/* What a program with a bug does: reads through a pointer that it has no right to. */
__attribute__((no_sanitize("address"))) static bool is_poison(const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != 0xdb)
			return false;
	return true;
}
__attribute__((no_sanitize("address"))) static void scribble(unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile unsigned char *)p)[i] = 0x55;
}

ARENA_TEST(m13_with_poison_a_freed_block_reads_0xdb_from_end_to_end)
{
	static const tarn_client_options poison = { .poison = true };
	static const size_t sizes[] = { 1, 64, 100, 5000, 131072, 200000, 600000 };
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, &poison), *plain = arena_client(&a, NULL);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		tarn_block *b = arena_block(c, sizes[i]);
		unsigned char *p = tarn_block_data(b);
		size_t capacity = tarn_block_capacity(b);

		arena_fill(b, 1);
		PLAIN_CHECK(!is_poison(p, sizes[i]));
		tarn_block_unref(b);
		PLAIN_CHECKF(is_poison(p, capacity), "block of %zu bytes", sizes[i]);
		/* Not by a client that did not ask for it. */
		b = arena_block(plain, sizes[i]);
		p = tarn_block_data(b);
		memset(p, 1, sizes[i]);
		tarn_block_unref(b);
		PLAIN_CHECK(!is_poison(p, sizes[i]));
	}
	tarn_client_close(c);
	tarn_client_close(plain);
	arena_end(&a);
}

ARENA_TEST(m13_writing_after_free_does_not_reach_what_another_process_holds)
{
	struct arena a;
	uint32_t *step = arena_shared(sizeof *step);

	arena_start(&a, kind, NULL);
	pid_t bad = plain_fork();
	if (bad == 0) {
		tarn_client *c = arena_client(&a, NULL);
		tarn_block *b = arena_block(c, 5000);
		unsigned char *p = tarn_block_data(b);
		size_t n = tarn_block_capacity(b);

		arena_step(step, 1);
		arena_await(step, 2);
		tarn_block_unref(b);
		scribble(p, n); /* in its own cache: nobody else can have been given that */
		arena_step(step, 3);
		arena_await(step, 4);
		tarn_client_close(c);
		_exit(0);
	}
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b[64];
	arena_await(step, 1);
	for (unsigned i = 0; i < 32; i++)
		arena_fill(b[i] = arena_block(c, 5000), i);
	arena_step(step, 2);
	arena_await(step, 3);
	for (unsigned i = 32; i < 64; i++)
		arena_fill(b[i] = arena_block(c, 5000), i);
	for (unsigned i = 0; i < 64; i++)
		PLAIN_CHECK(arena_filled(b[i], i));
	arena_check(&a);
	for (unsigned i = 0; i < 64; i++)
		tarn_block_unref(b[i]);
	arena_step(step, 4);
	PLAIN_EQ(plain_reap(bad), 0);
	tarn_client_close(c);
	arena_end(&a);
}

#if ARENA_ASAN
void __asan_set_error_report_callback(void (*callback)(const char *));
void __sanitizer_set_report_path(const char *path);

static void note_report(const char *report)
{
	/* The report itself is wanted here: it must not look like a failure of the run. */
	_exit(strstr(report, "use-after-poison") != NULL ? 77 : 78);
}

/* In a child: what ASan says ends it with 77. */
static int touch_in_child(struct arena *a, void (*misuse)(tarn_client *))
{
	pid_t pid = plain_fork();

	if (pid == 0) {
		char path[128];

		snprintf(path, sizeof path, "%s/report", plain_dir());
		__sanitizer_set_report_path(path);
		__asan_set_error_report_callback(note_report);
		misuse(arena_client(a, NULL));
		_exit(0);
	}
	return plain_reap(pid);
}

static void read_after_free(tarn_client *c)
{
	tarn_block *b = arena_block(c, 100);
	volatile unsigned char *p = tarn_block_data(b);

	p[99] = 1;
	tarn_block_unref(b);
	(void)p[99];
}
static void write_behind_the_end(tarn_client *c)
{
	tarn_block_unref(arena_block(c, 128)); /* once through the cache: its bytes are hidden */
	volatile unsigned char *p = tarn_block_data(arena_block(c, 100));

	p[104] = 1;
}
static void write_behind_a_fresh_end(tarn_client *c)
{
	volatile unsigned char *p = tarn_block_data(arena_block(c, 100));

	p[104] = 1;
}
static void write_behind_a_smaller_size(tarn_client *c)
{
	tarn_block *b = arena_block(c, 128);
	volatile unsigned char *p = tarn_block_data(b);

	PLAIN_EQ(tarn_block_resize(b, 64), 0);
	p[64] = 1;
}
static void behave(tarn_client *c)
{
	tarn_block *b = arena_block(c, 100);

	arena_fill(b, 1);
	tarn_block_unref(b);
	tarn_client_close(c);
}

PLAIN_TEST(m13_address_sanitizer_sees_use_after_free_and_beyond_the_size)
{
	struct arena a;

	arena_start(&a, NULL, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 1000);
	arena_fill(b, 4);
	PLAIN_EQ(touch_in_child(&a, behave), 0);
	PLAIN_EQ(touch_in_child(&a, read_after_free), 77);
	PLAIN_EQ(touch_in_child(&a, write_behind_the_end), 77);
	PLAIN_EQ(touch_in_child(&a, write_behind_a_fresh_end), 77);
	PLAIN_EQ(touch_in_child(&a, write_behind_a_smaller_size), 77);
	PLAIN_CHECK(arena_filled(b, 4)); /* the others did not notice */
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

/* The ring of a channel may lie where a freed block was. */
PLAIN_TEST(m13_memory_hidden_after_a_free_is_usable_again_as_a_channel)
{
	struct arena a;
	tarn_channel *out, *in;

	arena_start(&a, NULL, &(tarn_server_options){ .arena_bytes = 2u << 20 });
	tarn_client *c = arena_client(&a, NULL);
	for (size_t size = 64; size <= (1u << 20); size *= 2)
		tarn_block_unref(arena_block(c, size));
	PLAIN_EQ(tarn_client_trim(c), 0);
	for (int i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof name, "ring-%d", i);
		connect_pair(c, c, name, &out, &in);
		PLAIN_EQ(tarn_channel_give(out, arena_block(c, 50000), 0, TARN_FOREVER), 0);
		tarn_block_unref(receive(in));
		tarn_channel_unref(out);
		tarn_channel_unref(in);
	}
	tarn_client_close(c);
	arena_end(&a);
}
#endif

/* ---- M14: sealing ---- */

static sigjmp_buf back;
static void on_fault(int signal)
{
	siglongjmp(back, signal);
}

/* Does a write of one byte fault? */
static bool write_faults(unsigned char *p)
{
	struct sigaction act = { .sa_handler = on_fault }, old;
	volatile bool faulted = true;

	sigaction(SIGSEGV, &act, &old);
	if (sigsetjmp(back, 1) == 0) {
		*(volatile unsigned char *)p = 0x99;
		faulted = false;
	}
	sigaction(SIGSEGV, &old, NULL);
	return faulted;
}

static void seal_writer(struct arena *a, const tarn_token *t)
{
	tarn_client *c = arena_client(a, NULL);
	tarn_block *b = import_block(c, t);

	signal(SIGSEGV, SIG_DFL); /* sanitizers have a handler of their own */
	PLAIN_CHECK(tarn_block_sealed(b));
	PLAIN_CHECK(arena_filled(b, 5));
	*(volatile unsigned char *)tarn_block_data(b) = 0x99;
	_exit(0);
}

ARENA_TEST(m14_writing_through_a_sealed_view_kills_the_writer_alone)
{
	struct arena a;
	tarn_token t;
	tarn_block *b;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	b = arena_block(c, 10000);
	arena_fill(b, 5);
	PLAIN_EQ(tarn_block_seal(b), 0);
	for (int i = 0; i < 3; i++) {
		PLAIN_EQ(tarn_block_export(b, NULL, &t), 0);
		pid_t writer = plain_fork();

		if (writer == 0)
			seal_writer(&a, &t);
		PLAIN_EQ(plain_reap(writer), -SIGSEGV);
		PLAIN_CHECK(arena_filled(b, 5));
		tarn_block_unref(arena_block(d, 100)); /* others go on */
		PLAIN_EQ(tarn_client_ping(d, TARN_FOREVER), 0);
	}
	tarn_block_unref(b);
	tarn_client_close(c);
	tarn_client_close(d);
	arena_end(&a);
}

ARENA_TEST(m14_receivers_of_a_sealed_block_get_a_read_only_view)
{
	struct arena a;
	tarn_channel *out, *in;
	tarn_token t;
	static const size_t sizes[] = { 1, 100, 5000, 300000 };

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	connect_pair(c, d, "sealed", &out, &in);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		tarn_block *b = arena_block(c, sizes[i]), *got, *slice;

		arena_fill(b, 6);
		PLAIN_CHECK(!write_faults((unsigned char *)tarn_block_data(b)));
		arena_fill(b, 6);
		PLAIN_EQ(tarn_block_seal(b), 0);
		PLAIN_EQ(tarn_block_seal(b), 0); /* twice is once */
		PLAIN_CHECK(write_faults((unsigned char *)tarn_block_data(b)));
		PLAIN_EQ(tarn_channel_send(out, b, 0, TARN_FOREVER), 0);
		got = receive(in);
		PLAIN_CHECK(tarn_block_sealed(got));
		PLAIN_CHECK(arena_filled(got, 6));
		PLAIN_CHECK(write_faults((unsigned char *)tarn_block_data(got)));
		PLAIN_EQ(tarn_block_slice(got, 0, 1, &slice), 0);
		PLAIN_CHECK(tarn_block_sealed(slice));
		PLAIN_CHECK(write_faults((unsigned char *)tarn_block_data(slice)));
		tarn_block_unref(slice);
		tarn_block_unref(got);
		PLAIN_EQ(tarn_block_export(b, NULL, &t), 0);
		got = import_block(d, &t);
		PLAIN_CHECK(tarn_block_sealed(got));
		PLAIN_CHECK(write_faults((unsigned char *)tarn_block_data(got)));
		tarn_block_unref(got);
		tarn_block_unref(b);
	}
	tarn_channel_unref(out);
	tarn_channel_unref(in);
	tarn_client_close(c);
	tarn_client_close(d);
	arena_end(&a);
}

ARENA_TEST(m14_views_from_before_the_seal_stay_writable_and_a_recycled_block_is_too)
{
	struct arena a;
	tarn_token t;
	tarn_block *slice;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 100);
	PLAIN_EQ(tarn_block_slice(b, 10, 10, &slice), 0);
	PLAIN_EQ(tarn_block_export(b, NULL, &t), 0);
	tarn_block *before = import_block(d, &t);
	ARENA_FAILS(tarn_block_seal(slice), -EINVAL, "slice");
	PLAIN_EQ(tarn_block_seal(b), 0);
	PLAIN_CHECK(!write_faults((unsigned char *)tarn_block_data(before)));
	PLAIN_EQ(*(unsigned char *)tarn_block_data(b), 0x99);
	PLAIN_CHECK(!write_faults((unsigned char *)tarn_block_data(slice)));
	tarn_block_unref(slice);
	tarn_block_unref(before);
	tarn_block_unref(b);
	/* The seal belongs to the block's life, not to its place. */
	for (int i = 0; i < 200; i++) {
		b = arena_block(c, 100);
		PLAIN_CHECK(!tarn_block_sealed(b));
		PLAIN_CHECK(!write_faults((unsigned char *)tarn_block_data(b)));
		PLAIN_EQ(tarn_block_seal(b), 0);
		tarn_block_unref(b);
	}
	tarn_client_close(c);
	tarn_client_close(d);
	arena_end(&a);
}

/* ---- M14: copy on write ---- */

static void cow_of(tarn_client *c, size_t size, bool sealed)
{
	tarn_block *b = arena_block(c, size);
	unsigned char *view, *p = tarn_block_data(b);
	void *v;

	arena_fill(b, 8);
	if (sealed)
		PLAIN_EQ(tarn_block_seal(b), 0);
	PLAIN_EQ(tarn_block_cow(b, &v), 0);
	view = v;
	PLAIN_EQ(memcmp(view, tarn_block_data(b), size), 0);
	if (!sealed && size > 3 * 4096) {
		p[2 * 4096] ^= 0xff; /* its page is not yet ours: followed */
		PLAIN_EQ(view[2 * 4096], p[2 * 4096]);
		p[2 * 4096] ^= 0xff;
	}
	memset(view, 0x42, size);
	PLAIN_CHECK(arena_filled(b, 8));
	PLAIN_EQ(view[0], 0x42);
	PLAIN_EQ(view[size - 1], 0x42);
	PLAIN_EQ(tarn_block_cow_end(b, view), 0);
	PLAIN_CHECK(arena_filled(b, 8));
	tarn_block_unref(b);
}

ARENA_TEST(m14_a_private_view_is_writable_and_disturbs_nobody)
{
	static const size_t sizes[] = { 1, 64, 100, 4096, 5000, 20000, 300000 };
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	unsigned maps = arena_maps(getpid(), NULL);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		cow_of(c, sizes[i], false);
		cow_of(c, sizes[i], true);
	}
	if (!arena_slow()) /* their shadows are mappings, too */
		PLAIN_CHECK(arena_maps(getpid(), "tarn-") + 4 < maps);
	PLAIN_EQ(tarn_block_cow_end(NULL, NULL), 0);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(m14_two_processes_write_private_views_of_one_block)
{
	struct arena a;
	tarn_token t;
	void *v;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 50000);
	arena_fill(b, 2);
	PLAIN_EQ(tarn_block_export(b, NULL, &t), 0);
	PLAIN_EQ(tarn_block_cow(b, &v), 0);
	memset(v, 1, 50000);
	pid_t peer = plain_fork();
	if (peer == 0) {
		tarn_client *mine = arena_client(&a, NULL);
		tarn_block *got = import_block(mine, &t);
		void *view;

		PLAIN_CHECK(arena_filled(got, 2));
		PLAIN_EQ(tarn_block_cow(got, &view), 0);
		PLAIN_EQ(memcmp(view, tarn_block_data(got), 50000), 0);
		memset(view, 3, 50000);
		PLAIN_CHECK(arena_filled(got, 2));
		_exit(0); /* with the view open: the kernel ends it */
	}
	PLAIN_EQ(plain_reap(peer), 0);
	PLAIN_CHECK(arena_filled(b, 2));
	PLAIN_EQ(((unsigned char *)v)[49999], 1);
	PLAIN_EQ(tarn_block_cow_end(b, v), 0);
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

/* ---- M15: slices ---- */

static tarn_block *slice_of(tarn_block *b, size_t offset, size_t length)
{
	tarn_block *s = NULL;
	int r = tarn_block_slice(b, offset, length, &s);

	PLAIN_CHECKF(r == 0, "slice: %s", tarn_error_last()->message);
	PLAIN_EQ(tarn_block_size(s), length);
	return s;
}

static bool shows(const tarn_block *s, unsigned seed, size_t offset)
{
	const unsigned char *p = tarn_block_data(s);

	for (size_t i = 0; i < tarn_block_size(s); i++)
		if (p[i] != arena_byte(seed, offset + i))
			return false;
	return true;
}

/* Their handles fill many small pieces of memory, and go on in a large one. */
ARENA_TEST(m15_each_of_forty_thousand_slices_is_its_own)
{
	enum { MANY = 40000 };
	static tarn_block *s[MANY];
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, MANY + 7);
	const unsigned char *data = tarn_block_data(b);

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < MANY; i++)
			s[i] = slice_of(b, i, 1 + i % 7);
		for (unsigned i = 0; i < MANY; i++) {
			PLAIN_CHECK(tarn_block_data(s[i]) == data + i);
			PLAIN_EQ(tarn_block_size(s[i]), 1 + i % 7);
		}
		/* Back in another order than they came. */
		for (unsigned i = 0; i < MANY; i++)
			tarn_block_unref(s[i * 7919u % MANY]);
	}
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(m15_the_last_slice_frees_the_parent)
{
	struct arena a;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 3000);
	uint64_t id = tarn_block_id(b);
	arena_fill(b, 1);
	tarn_block *whole = slice_of(b, 0, 3000), *part = slice_of(b, 1000, 500);
	tarn_block *inner = slice_of(part, 100, 50), *last = slice_of(inner, 49, 1);
	PLAIN_EQ(tarn_block_id(last), id);
	PLAIN_EQ(tarn_block_capacity(last), 1);
	/* In no order of birth. */
	tarn_block_unref(part);
	tarn_block_unref(b);
	PLAIN_CHECK(shows(whole, 1, 0) && shows(inner, 1, 1100) && shows(last, 1, 1149));
	tarn_block_unref(whole);
	tarn_block_unref(inner);
	/* The one byte keeps it all, against other users of the class too. */
	for (int i = 0; i < 100; i++) {
		tarn_block *other = arena_block(c, 3000);

		PLAIN_CHECK(tarn_block_id(other) != id);
		memset(tarn_block_data(other), 0xee, 3000);
		tarn_block_unref(other);
	}
	PLAIN_EQ(tarn_client_trim(c), 0);
	arena_settle(c);
	PLAIN_CHECK(arena_has(&a, id));
	PLAIN_CHECK(shows(last, 1, 1149));
	tarn_block_unref(last);
	PLAIN_EQ(tarn_client_trim(c), 0);
	arena_settle(c);
	PLAIN_CHECK(!arena_has(&a, id));
	tarn_client_close(c);
	arena_end(&a);
}

ARENA_TEST(m15_slices_out_of_range_are_refused_with_numbers)
{
	struct arena a;
	tarn_block *s = NULL;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 1000), *part = slice_of(b, 200, 300);
	ARENA_FAILS(tarn_block_slice(b, 0, 0, &s), -EINVAL, "1000");
	ARENA_FAILS(tarn_block_slice(b, 0, 1001, &s), -EINVAL, "1001", "1000");
	ARENA_FAILS(tarn_block_slice(b, 1000, 1, &s), -EINVAL, "1000");
	ARENA_FAILS(tarn_block_slice(b, 1, SIZE_MAX, &s), -EINVAL, arena_number(SIZE_MAX));
	ARENA_FAILS(tarn_block_slice(b, SIZE_MAX, 2, &s), -EINVAL, arena_number(SIZE_MAX));
	ARENA_FAILS(tarn_block_slice(part, 0, 301, &s), -EINVAL, "301", "300");
	ARENA_FAILS(tarn_block_slice(part, 300, 1, &s), -EINVAL, "300");
	PLAIN_CHECK(s == NULL);
	tarn_block_unref(part);
	tarn_block_unref(b);
	tarn_client_close(c);
	arena_end(&a);
}

static void slice_keeper(struct arena *a, uint32_t *step)
{
	tarn_client *c = arena_client(a, NULL);
	tarn_channel *ch;

	PLAIN_EQ(tarn_channel_open(c, "slices", TARN_FOREVER, &ch), 0);
	PLAIN_EQ(tarn_channel_bind(ch, TARN_CONSUMER), 0);
	tarn_block *part = receive(ch), *inner = receive(ch);
	PLAIN_EQ(tarn_block_size(part), 500);
	PLAIN_CHECK(shows(part, 1, 1000));
	PLAIN_EQ(tarn_block_size(inner), 50);
	PLAIN_CHECK(shows(inner, 1, 1100));
	tarn_block *mine = slice_of(inner, 10, 5);
	tarn_block_unref(inner);
	arena_step(step, 1);
	arena_await(step, 2); /* the sender has dropped all, and is gone */
	PLAIN_CHECK(shows(part, 1, 1000) && shows(mine, 1, 1110));
	tarn_block_unref(part);
	arena_settle(c);
	arena_step(step, 3);
	arena_await(step, 4);
	PLAIN_CHECK(shows(mine, 1, 1110));
	tarn_block_unref(mine);
	arena_settle(c);
	arena_step(step, 5);
	arena_await(step, 6);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	_exit(0);
}

ARENA_TEST(m15_a_slice_sent_to_another_process_keeps_the_block_of_a_sender_that_is_gone)
{
	struct arena a;
	uint32_t *step = arena_shared(sizeof *step);
	tarn_channel *ch;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL);
	PLAIN_EQ(tarn_channel_new(c, 4, "slices", &ch), 0);
	PLAIN_EQ(tarn_channel_bind(ch, TARN_PRODUCER), 0);
	pid_t peer = plain_fork();
	if (peer == 0)
		slice_keeper(&a, step);
	tarn_block *b = arena_block(c, 3000);
	uint64_t id = tarn_block_id(b);
	arena_fill(b, 1);
	tarn_block *part = slice_of(b, 1000, 500), *inner = slice_of(part, 100, 50);
	PLAIN_EQ(tarn_channel_give(ch, part, 0, TARN_FOREVER), 0);
	PLAIN_EQ(tarn_channel_give(ch, inner, 0, TARN_FOREVER), 0);
	tarn_block_unref(b);
	arena_await(step, 1);
	tarn_channel_unref(ch);
	tarn_client_close(c);
	PLAIN_CHECK(arena_has(&a, id));
	arena_step(step, 2);
	arena_await(step, 3);
	PLAIN_CHECK(arena_has(&a, id));
	arena_step(step, 4);
	arena_await(step, 5);
	PLAIN_CHECK(!arena_has(&a, id));
	arena_step(step, 6);
	PLAIN_EQ(plain_reap(peer), 0);
	arena_end(&a);
}

ARENA_TEST(m15_a_token_of_a_slice_shows_the_slice)
{
	struct arena a;
	tarn_token t;

	arena_start(&a, kind, NULL);
	tarn_client *c = arena_client(&a, NULL), *d = arena_client(&a, NULL);
	tarn_block *b = arena_block(c, 3000);
	uint64_t id = tarn_block_id(b);
	arena_fill(b, 1);
	tarn_block *part = slice_of(b, 1000, 500);
	PLAIN_EQ(tarn_block_export(part, NULL, &t), 0);
	tarn_block_unref(part);
	tarn_block_unref(b);
	arena_settle(c);
	PLAIN_CHECK(arena_has(&a, id));
	tarn_block *got = import_block(d, &t);
	PLAIN_EQ(tarn_block_size(got), 500);
	PLAIN_CHECK(shows(got, 1, 1000));
	tarn_block_unref(got);
	arena_settle(d);
	PLAIN_CHECK(!arena_has(&a, id));
	tarn_client_close(c);
	tarn_client_close(d);
	arena_end(&a);
}

PLAIN_MAIN()
