/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dumps and copies of a server's books: they answer as the server does, an unfinished
 * transaction is taken back, and no lie in one does any harm to who reads it.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake.h"
#include "lib/server/dump.h"
#include "tarn/type.h"
#include "shm/hash.h"

TestSuite(dump, .timeout = 240);

/* ---- a server with something of everything ---- */

/* A type whose objects hold what they are given. */
static int keep(tarn_context *ctx, void *self)
{
	tarn_value v = tarn_parcel_at(tarn_context_args(ctx), 0);
	tarn_object *o;
	tarn_block *b;

	(void)self;
	if (tarn_value_object(v, &o) == 0)
		return tarn_self_hold_object(ctx, o);
	int r = tarn_value_block(v, &b);
	return r < 0 ? r : tarn_self_hold_block(ctx, b);
}
static const tarn_method keeper_methods[] = {
	{ "keep", keep, TARN_METHOD_INLINE, NULL, NULL, NULL }, { 0 },
};
static const tarn_type keeper = { .name = "Keeper", .size = 16, .flags = TARN_TYPE_INLINE,
				  .methods = keeper_methods };
static const tarn_type *const types[] = { &keeper, NULL };

static void call_keep(struct server *s, struct fake_lane *l, uint64_t id, uint64_t kept,
		      enum tarn_kind kind, uint64_t size)
{
	/* One value: a reference, the first of the table. */
	const uint64_t words[2] = { kind, 0 }, refs[2] = { kept, size != 0 ? tarn__ref_word(size, false) : 0 };
	const struct fake_values v = { .words = words, .n_words = 2, .n_values = 1, .refs = refs,
				       .n_refs = 1 };

	cr_assert(eq(int, fake_call(s, l, id, 0, &v).error, 0));
}

struct world {
	struct server *s;
	uint64_t block, sent, large, channel;
	uint64_t outer, inner, ring;
};

/* One object holds another and a block; a name; somebody waits for an end; a cycle that nobody
 * holds, which a search finds before the dump is made. */
static void setup_objects(struct world *w, struct fake_lane *l)
{
	struct fake_answer a;

	fake_types(w->s, types);
	w->outer = fake_create(w->s, l, "Keeper", NULL, &a);
	w->inner = fake_create(w->s, l, "Keeper", NULL, &a);
	w->ring = fake_create(w->s, l, "Keeper", NULL, &a);
	cr_assert(w->outer != 0 && w->inner != 0 && w->ring != 0, "%s", fake_sentence(&a));
	call_keep(w->s, l, w->outer, w->inner, TARN_KIND_OBJECT, 0);
	call_keep(w->s, l, w->outer, w->block, TARN_KIND_BLOCK, 650);
	call_keep(w->s, l, w->ring, w->ring, TARN_KIND_OBJECT, 0);
	fake_release(l, w->inner, 1);
	fake_release(l, w->ring, 1);
	fake_post(l, TARN__MSG_WATCH, 0, w->inner, TARN__WATCH_ID, 0, 0, 0, 0);
	fake_post_name(l, TARN__MSG_NAME, w->outer, true, "outer");
	fake_settle(w->s);
}

static void setup(struct world *w)
{
	w->s = fake_server(16);
	uint32_t client[4];
	struct fake_lane lane[4];

	for (unsigned i = 0; i < 4; i++) {
		client[i] = fake_client(w->s);
		lane[i] = fake_lane(w->s, client[i]);
	}
	w->block = fake_alloc(w->s, &lane[0], 700);
	w->sent = fake_alloc(w->s, &lane[0], 3000);
	w->large = fake_alloc(w->s, &lane[0], 300000);
	w->channel = fake_channel(w->s, &lane[0], &lane[1], 8);
	fake_post(&lane[0], TARN__MSG_PUBLISH, 0, w->large, 250000, 0, 0, 0, 0);
	fake_post(&lane[0], TARN__MSG_PUBLISH, 0, w->block, 650, 0, 0, 0, 0);
	fake_send(&lane[0], w->channel, 0, w->sent, 2900, 1);
	fake_settle(w->s);
	/* Two holders have places in the object's line, further ones are claims. */
	for (unsigned i = 1; i < 4; i++)
		fake_recv(&lane[i], w->channel, 100 + i, w->block);
	fake_post(&lane[0], TARN__MSG_EXPORT, 0, w->block, 650, 0, 0, 3, 0);
	/* A dead name, a failure, an offence. */
	fake_release(&lane[2], w->block + (5ull << TARN__INDEX_BITS), 1);
	fake_post_name(&lane[2], TARN__MSG_LOOKUP, 0, false, "nobody");
	fake_post(&lane[3], (enum tarn__message)200, 0, 0, 0, 0, 0, 0, 0);
	fake_settle(w->s);
	struct fake_lane fresh = fake_lane(w->s, client[0]); /* without answers to others */

	setup_objects(w, &fresh);
	cr_assert(eq(int, fake_verify(w->s), 0));
}

static void teardown(struct world *w)
{
	cr_assert(eq(int, fake_verify(w->s), 0));
	fake_server_free(w->s);
}

/* ---- the means ---- */

static const uint32_t kinds[] = { TARN__CTL_STAT,    TARN__CTL_CLIENTS,	 TARN__CTL_BLOCKS,
				  TARN__CTL_REFS,    TARN__CTL_CLASSES, TARN__CTL_MESSAGES,
				  TARN__CTL_TYPES,   TARN__CTL_OBJECTS, TARN__CTL_CALLS,
				  TARN__CTL_LEAKS,   TARN__CTL_CHECK };
#define N_KINDS (sizeof kinds / sizeof *kinds)

/* What @kind is answered, as one number and one hash. */
static uint64_t answer(const struct sight *sight, uint32_t kind, uint64_t *ret_rows)
{
	struct stat st;
	int fd = -1;

	cr_assert(eq(int, tarn__query_sight(sight, kind, 0, &fd, ret_rows), 0));
	cr_assert(eq(int, fstat(fd, &st), 0));
	char *p = malloc((size_t)st.st_size + 1);
	cr_assert(eq(int, (int)pread(fd, p, (size_t)st.st_size, 0), (int)st.st_size));
	uint64_t h = tarn__hash64(p, (size_t)st.st_size, 0);

	free(p);
	close(fd);
	return h;
}

static int write_dump(struct server *s)
{
	struct dump_header h = { .meta_bytes = s->st.head->meta_bytes,
				 .facts_bytes = s->facts_segment.bytes,
				 .now_ns = s->facts->noted_ns, .how = DUMP_ANSWERED };
	int fd = memfd_create("dump", MFD_CLOEXEC);

	tarn__facts_look(s);
	cr_assert(eq(int, dump_write(fd, &h, s->st.meta_segment.base, s->st.meta_segment.fd,
				     s->facts_segment.base, s->facts_segment.fd), 0));
	cr_assert(eq(int, (int)lseek(fd, 0, SEEK_SET), 0));
	return fd;
}

/* ---- honest ones ---- */

Test(dump, a_dump_answers_as_the_server)
{
	struct world w;
	struct dump d;

	setup(&w);
	tarn__facts_note(w.s);
	int fd = write_dump(w.s);
	cr_assert(eq(int, dump_load(fd, &d), 0));
	struct sight live = { .st = &w.s->st, .facts = w.s->facts, .now_ns = d.header.now_ns };
	for (unsigned i = 1; i < N_KINDS; i++) { /* stat tells resident memory, which a dump has not */
		uint64_t n, m;
		uint64_t a = answer(&live, kinds[i], &n), b = answer(&d.sight, kinds[i], &m);

		cr_assert(eq(u64, a, b), "question %u", kinds[i]);
		cr_assert(eq(u64, n, m));
		cr_assert(kinds[i] == TARN__CTL_CHECK || kinds[i] == TARN__CTL_LEAKS || n != 0,
			  "question %u", kinds[i]);
	}
	uint64_t n;
	answer(&d.sight, TARN__CTL_STAT, &n);
	cr_assert(eq(u64, n, 1));
	dump_free(&d);
	close(fd);
	teardown(&w);
}

Test(dump, an_unfinished_transaction_is_taken_back)
{
	struct world w;
	struct dump d = { .meta = NULL };
	bool changed;

	setup(&w);
	struct state *st = &w.s->st;
	struct object *o = &st->object[tarn__id_index(w.block)];
	uint32_t ext = o->ext;

	SET(st, o->ext, ext + 7);
	SET(st, st->head->n_live, st->head->n_live + 3);
	cr_assert(eq(int, dump_copy(st->meta_segment.fd, w.s->facts_segment.fd, &d, &changed), 0));
	cr_assert(changed);
	cr_assert(eq(int, dump_adopt(&d), 0));
	d.sight.st = &d.st;
	cr_assert(eq(u64, d.header.rolled_back, 2));
	cr_assert(eq(u32, d.st.object[tarn__id_index(w.block)].ext, ext));
	uint64_t findings;
	answer(&d.sight, TARN__CTL_CHECK, &findings);
	cr_assert(eq(u64, findings, 0));
	/* The server's own are as they were. */
	cr_assert(eq(u32, o->ext, ext + 7));
	tarn__rollback(w.s);
	dump_free(&d);
	teardown(&w);
}

Test(dump, a_second_look_tells_whether_something_changed)
{
	struct world w;
	struct dump d = { .meta = NULL };
	bool changed;

	setup(&w);
	struct state *st = &w.s->st;

	cr_assert(eq(int, dump_copy(st->meta_segment.fd, w.s->facts_segment.fd, &d, &changed), 0));
	cr_assert(eq(int, dump_copy(st->meta_segment.fd, w.s->facts_segment.fd, &d, &changed), 0));
	cr_assert(not(changed));
	w.s->messages++; /* counters may run on */
	tarn__facts_note(w.s);
	cr_assert(eq(int, dump_copy(st->meta_segment.fd, w.s->facts_segment.fd, &d, &changed), 0));
	cr_assert(not(changed));
	fake_settle(w.s); /* an epoch */
	cr_assert(eq(int, dump_copy(st->meta_segment.fd, w.s->facts_segment.fd, &d, &changed), 0));
	cr_assert(changed);
	dump_free(&d);
	teardown(&w);
}

/* ---- ages ---- */

Test(dump, an_object_is_as_old_as_its_first_message)
{
	struct world w;
	uint64_t rows;

	setup(&w);
	uint32_t tick = w.s->st.tick;
	uint32_t born = w.s->st.born[tarn__id_index(w.block)];

	cr_assert(le(u32, born, tick));
	w.s->st.tick = tick + 500;
	uint32_t client = fake_client(w.s);
	struct fake_lane lane = fake_lane(w.s, client);
	uint64_t id = fake_alloc(w.s, &lane, 64);

	w.s->st.tick = tick + 700; /* granted long before it is named */
	fake_post(&lane, TARN__MSG_PUBLISH, 0, id, 64, 0, 0, 0, 0);
	fake_read(w.s, &lane);
	cr_assert(eq(u32, w.s->st.born[tarn__id_index(id)], tick + 700));
	w.s->st.tick = tick + 900;
	fake_release(&lane, id, 1);
	fake_read(w.s, &lane);
	cr_assert(eq(u32, w.s->st.born[tarn__id_index(id)], tick + 700));
	cr_assert(eq(u32, w.s->st.born[tarn__id_index(w.block)], born));
	fake_settle(w.s);
	(void)rows;
	teardown(&w);
}

/* Through the short way of hot.c and through that of apply.c. */
Test(dump, messages_are_counted_by_client_and_kind)
{
	struct world w;

	setup(&w);
	uint32_t client = fake_client(w.s);
	struct fake_lane lane = fake_lane(w.s, client);
	const uint64_t *n = w.s->facts_client[client].by_kind;
	uint64_t id = fake_alloc(w.s, &lane, 64), other = fake_alloc(w.s, &lane, 64);

	cr_assert(eq(u64, n[TARN__MSG_ALLOC], 2));
	fake_post(&lane, TARN__MSG_PUBLISH, 0, id, 64, 0, 0, 0, 0);
	fake_post(&lane, TARN__MSG_PUBLISH, 0, other, 64, 0, 0, 0, 0);
	for (unsigned i = 0; i < 40; i++)
		fake_recv(&lane, w.channel, 1000 + i, id);
	for (unsigned i = 0; i < 40; i++)
		fake_release(&lane, id, 1);
	fake_settle(w.s);
	cr_assert(eq(u64, n[TARN__MSG_PUBLISH], 2));
	cr_assert(eq(u64, n[TARN__MSG_RECV], 40));
	cr_assert(eq(u64, n[TARN__MSG_RELEASE], 40));
	/* Another client's record is another's; a record that is used again starts anew. */
	uint32_t second = fake_client(w.s);

	cr_assert(eq(u64, w.s->facts_client[second].by_kind[TARN__MSG_RECV], 0));
	fake_kill(w.s, client);
	fake_settle(w.s);
	uint32_t again = fake_client(w.s);

	cr_assert(eq(u32, again, client));
	cr_assert(eq(u64, w.s->facts_client[again].by_kind[TARN__MSG_RECV], 0));
	teardown(&w);
}

/* What clients write of their waits is added, and cannot overflow. */
Test(dump, waits_of_all_lanes_are_added_also_of_closed_ones)
{
	struct world w;

	setup(&w);
	uint32_t client = fake_client(w.s);
	struct fake_lane a = fake_lane(w.s, client), b = fake_lane(w.s, client);
	struct tarn__lane_area *area = (void *)w.s->peer[client]->lanes.base;
	const struct facts_client *c = &w.s->facts_client[client];

	area[a.number].waits.n[TARN__WAIT_PING][10] = 5;
	area[b.number].waits.n[TARN__WAIT_PING][10] = 7;
	area[b.number].waits.n[TARN__WAIT_ALLOC][97] = UINT32_MAX;
	tarn__facts_look(w.s);
	cr_assert(eq(u32, c->waits.n[TARN__WAIT_PING][10], 12));
	tarn__lane_close(w.s, client, b.number);
	area[a.number].waits.n[TARN__WAIT_ALLOC][97] = 3;
	tarn__facts_look(w.s);
	tarn__facts_look(w.s);
	cr_assert(eq(u32, c->waits.n[TARN__WAIT_PING][10], 12));
	cr_assert(eq(u32, c->waits.n[TARN__WAIT_ALLOC][97], UINT32_MAX));
	teardown(&w);
}

/* ---- hostile ones ---- */

/* A private copy of a dump, to be changed. */
struct file {
	unsigned char *bytes;
	size_t n;
};

static struct file read_file(int fd)
{
	struct stat st;
	struct file f = { .bytes = NULL };

	cr_assert(eq(int, fstat(fd, &st), 0));
	f.n = (size_t)st.st_size;
	f.bytes = malloc(f.n);
	cr_assert(eq(int, (int)pread(fd, f.bytes, f.n, 0), (int)f.n));
	return f;
}

static int file_of(const unsigned char *bytes, size_t n)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	if (write(fd, bytes, n) != (ssize_t)n)
		abort();
	lseek(fd, 0, SEEK_SET);
	return fd;
}

/* As its writer would have it: a liar computes checksums, too. */
static void seal(struct file *f)
{
	struct dump_header *h = (void *)f->bytes;
	const struct dump_extent *e = (const void *)(f->bytes + sizeof *h);
	const unsigned char *data = (const unsigned char *)(e + h->n_extents);
	struct dump_header copy = *h;

	copy.checksum = 0;
	h->checksum = tarn__hash64(e, h->n_extents * sizeof *e,
				   tarn__hash64(&copy, sizeof copy, 0));
	for (uint64_t i = 0; i < h->n_extents; i++) {
		h->checksum = tarn__hash64(data, e[i].bytes, h->checksum);
		data += e[i].bytes;
	}
}

/* Reads @f as tarn would; true if it was taken for a dump. */
static bool take(const struct file *f)
{
	struct dump d;
	int fd = file_of(f->bytes, f->n);
	int r = dump_load(fd, &d);

	close(fd);
	if (r < 0)
		return false;
	d.sight.st = &d.st;
	for (unsigned i = 0; i < N_KINDS; i++) {
		uint64_t rows;
		int answer_fd = -1;

		if (tarn__query_sight(&d.sight, kinds[i], 0, &answer_fd, &rows) == 0)
			close(answer_fd);
	}
	dump_free(&d);
	return true;
}

Test(dump, a_dump_that_is_cut_anywhere_is_none)
{
	struct world w;
	struct dump d;

	setup(&w);
	int fd = write_dump(w.s);
	struct file f = read_file(fd);

	for (size_t n = 0; n < f.n; n += n < 400 ? 1 : 997) {
		int cut = file_of(f.bytes, n);

		cr_assert(lt(int, dump_load(cut, &d), 0), "%zu bytes", n);
		close(cut);
	}
	cr_assert(take(&f));
	free(f.bytes);
	close(fd);
	teardown(&w);
}

struct progress {
	uint64_t done, taken;
};

/* Changes in a child, which must end in order whatever they are. @change returns false when
 * there are no more. */
static void torture(bool (*change)(struct file *f, uint64_t k, uint64_t *undo_at, uint64_t *undo))
{
	struct world w;
	struct progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;

	setup(&w);
	int fd = write_dump(w.s);
	pid_t child = fork();

	if (child == 0) {
		struct file f = read_file(fd);

		alarm(200);
		for (uint64_t at, old; change(&f, p->done, &at, &old); p->done++) {
			seal(&f);
			p->taken += take(&f);
			memcpy(f.bytes + at, &old, sizeof old);
		}
		_exit(0);
	}
	waitpid(child, &status, 0);
	cr_assert(eq(int, status, 0),
		  "ended with %x at change %llu", status, (unsigned long long)p->done);
	/* Neither all refused nor all believed: the changes reach what is looked at. */
	cr_assert(gt(u64, p->done, 500));
	cr_assert(gt(u64, p->taken, 0));
	cr_assert(lt(u64, p->taken, p->done));
	munmap(p, sizeof *p);
	close(fd);
	teardown(&w);
}

static void put(struct file *f, uint64_t at, uint64_t v, uint64_t *undo_at, uint64_t *undo)
{
	*undo_at = at;
	memcpy(undo, f->bytes + at, sizeof *undo);
	memcpy(f->bytes + at, &v, sizeof v);
}

/* Every word of META's head behind the log, with what numbers are worst. */
static bool change_head(struct file *f, uint64_t k, uint64_t *undo_at, uint64_t *undo)
{
	static const uint64_t values[] = { 0, 1, 0x7fffffff, 0xffffffff, 0xffffffff00000000,
					   0x0000000100000001, UINT64_MAX, 1ull << 39, 4096 };
	const struct dump_header *h = (const void *)f->bytes;
	uint64_t words = (sizeof(struct state_head) - offsetof(struct state_head, magic)) / 8;
	uint64_t word = k / (sizeof values / sizeof *values);
	/* The first extents are the log's first page and the pages behind it, as far as they
	 * are not zero: find the place of the word. */
	uint64_t offset = offsetof(struct state_head, magic) + word * 8;
	const struct dump_extent *e = (const void *)(f->bytes + sizeof *h);
	uint64_t at = sizeof *h + h->n_extents * sizeof *e;

	if (word >= words)
		return false;
	for (uint64_t i = 0; i < h->n_extents; at += e[i].bytes, i++)
		if (e[i].segment == 0 && offset >= e[i].offset && offset < e[i].offset + e[i].bytes) {
			put(f, at + offset - e[i].offset, values[k % (sizeof values / sizeof *values)],
			    undo_at, undo);
			return true;
		}
	put(f, at - 8, 0, undo_at, undo); /* a page of zeroes: nothing to change */
	return true;
}

Test(dump, no_lie_in_the_head_harms_the_reader)
{
	torture(change_head);
}

/* Words anywhere, the header and the extents among them. */
static bool change_any(struct file *f, uint64_t k, uint64_t *undo_at, uint64_t *undo)
{
	uint64_t r[2] = { tarn__hash_pair(k, 1, 42), tarn__hash_pair(k, 2, 43) };
	static const uint64_t masks[] = { UINT64_MAX, 0xff, 0xffff, 0xffffffff, 0xffffffff00000000, 0xf };
	uint64_t old, at = r[0] % (f->n / 8) * 8;

	if (k >= 6000)
		return false;
	/* Data is mostly zeroes that nobody reads: look for what is not. */
	for (unsigned i = 0; i < 4000 && k % 8 != 0; i++) {
		memcpy(&old, f->bytes + at, sizeof old);
		if (old != 0)
			break;
		at = (at + 8) % (f->n / 8 * 8);
	}
	/* Not where seal() goes by it. */
	if (at == offsetof(struct dump_header, n_extents) ||
	    (at >= sizeof(struct dump_header) &&
	     at < sizeof(struct dump_header) +
			     ((const struct dump_header *)(void *)f->bytes)->n_extents *
				     sizeof(struct dump_extent)))
		at = 64 * 8;
	memcpy(&old, f->bytes + at, sizeof old);
	put(f, at, old ^ (r[1] & masks[k % (sizeof masks / sizeof *masks)]), undo_at, undo);
	return true;
}

Test(dump, no_lie_anywhere_harms_the_reader)
{
	torture(change_any);
}

/* ---- lies about objects, edges and calls, one by one ---- */

static void lie_edge_value(struct state *st, struct claim *c, struct object *o)
{
	(void)st;
	(void)o;
	c->who = CLAIM_EDGE | 1;
	c->value = 1ull << 38;
}
static void lie_edge_within(struct state *st, struct claim *c, struct object *o)
{
	(void)o;
	st->head->edges = st->head->edges_reserved = MAX_EDGES;
	c->who = CLAIM_EDGE | 1;
	c->value = MAX_EDGES;
}
static void lie_host(struct state *st, struct claim *c, struct object *o)
{
	(void)c;
	(void)o;
	st->head->host = UINT32_MAX;
}
static void lie_things(struct state *st, struct claim *c, struct object *o)
{
	(void)c;
	(void)o;
	st->head->things = st->head->things_reserved = UINT32_MAX;
}
static void lie_edges(struct state *st, struct claim *c, struct object *o)
{
	(void)c;
	(void)o;
	st->head->edges = st->head->edges_reserved = UINT32_MAX;
}
static void lie_calls(struct state *st, struct claim *c, struct object *o)
{
	(void)c;
	(void)o;
	st->head->calls = st->head->calls_reserved = UINT32_MAX;
}
/* A ticket that leads to a free record, whose window lies nowhere. */
static void lie_window(struct state *st, struct claim *c, struct object *o)
{
	struct channel *ch = &st->channel[1];

	ch->id = 0;
	ch->window = UINT32_MAX;
	ch->capacity = 1u << 31;
	ch->sent = 100;
	c->who = CLAIM_TICKET | tarn__id_index(o->id);
	c->what = 5;
}

Test(dump, no_lie_about_objects_edges_and_calls_harms_the_reader)
{
	static void (*const lies[])(struct state *, struct claim *, struct object *) = {
		lie_edge_value, lie_edge_within, lie_host, lie_things, lie_edges, lie_calls,
		lie_window,
	};

	for (unsigned i = 0; i < sizeof lies / sizeof *lies; i++) {
		struct world w;
		int status;

		setup(&w);
		pid_t child = fork();
		if (child == 0) {
			struct state *st = &w.s->st;
			uint32_t c = 1;

			while (c < st->head->claims && (st->claim[c].who == 0 || st->claim[c].who >= CLAIM_EDGE))
				c++;
			if (c == st->head->claims || st->head->channels < 2)
				_exit(3);
			alarm(60);
			/* META is shared: what is changed here must be put back. */
			struct state_head *head = malloc(sizeof *head);
			struct claim claim = st->claim[c];
			struct channel channel = st->channel[1];

			memcpy(head, st->head, sizeof *head);
			lies[i](st, &st->claim[c],
				&st->object[tarn__id_index(w.channel)]);
			int fd = write_dump(w.s);
			memcpy(st->head, head, sizeof *head);
			st->claim[c] = claim;
			st->channel[1] = channel;
			struct file f = read_file(fd);
			_exit(take(&f) ? 0 : 1); /* refused, or read in order */
		}
		waitpid(child, &status, 0);
		bool well = WIFEXITED(status) && WEXITSTATUS(status) <= 1;
		cr_assert(well, "lie %u: ended with %x", i,
			  status);
		teardown(&w);
	}
}

Test(dump, no_lie_in_header_or_extents_harms_the_reader)
{
	static const uint64_t values[] = { 0, 1, 4095, 4096, 1ull << 20, 1ull << 40, UINT64_MAX,
					   UINT64_MAX - 4095, 0x100000001 };
	struct world w;

	setup(&w);
	int fd = write_dump(w.s);
	struct file f = read_file(fd);
	const struct dump_header *h = (const void *)f.bytes;
	size_t words = (sizeof *h + h->n_extents * sizeof(struct dump_extent)) / 8;
	unsigned taken = 0;

	for (size_t i = 0; i < words; i++)
		for (unsigned k = 0; k < sizeof values / sizeof *values; k++) {
			uint64_t at, old;

			put(&f, i * 8, values[k], &at, &old);
			taken += values[k] != old && take(&f); /* the checksum is wrong, too */
			memcpy(f.bytes + at, &old, sizeof old);
		}
	cr_assert(eq(u32, taken, 0));
	free(f.bytes);
	close(fd);
	teardown(&w);
}

static void says(const struct file *f, int code, const char *text)
{
	struct dump d;
	int fd = file_of(f->bytes, f->n);

	cr_assert(eq(int, dump_load(fd, &d), code));
	cr_assert(strstr(tarn_error_last()->message, text) != NULL, "%s", tarn_error_last()->message);
	close(fd);
}

Test(dump, what_is_no_dump_of_this_version_says_what_it_is)
{
	struct world w;

	setup(&w);
	int fd = write_dump(w.s);
	struct file f = read_file(fd);
	struct dump_header *h = (void *)f.bytes, right = *h;

	h->version = 77;
	says(&f, -TARN_EVERSION, "a dump of format 77; this program reads format");
	*h = right;
	h->layout = 0x1234;
	says(&f, -TARN_EVERSION, "another version of libtarn (layout 0000000000001234, here ");
	*h = right;
	h->magic[0] ^= 1;
	says(&f, -TARN_EPROTO, "It is not a dump of Tarn");
	*h = right;
	f.n -= 1;
	says(&f, -TARN_EPROTO, "The dump is cut short");
	free(f.bytes);
	close(fd);
	teardown(&w);
}
