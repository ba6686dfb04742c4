/* SPDX-License-Identifier: Apache-2.0 */
#include "dump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/error.h"
#include "shm/hash.h"
#include "tickets.h"

/* Pages that are looked at as one: an extent begins and ends at its border. */
#define GRAIN 4096u
#define EXTENTS_MOST (1u << 20)
#define SEGMENT_MOST (1ull << 40)

enum { META, FACTS };

/* ---- writing ---- */

struct extents {
	struct dump_extent *at;
	uint64_t n, room, bytes;
};

static int extent_add(struct extents *e, uint32_t segment, uint64_t offset, uint64_t bytes)
{
	if (e->n > 0 && e->at[e->n - 1].segment == segment &&
	    e->at[e->n - 1].offset + e->at[e->n - 1].bytes == offset) {
		e->at[e->n - 1].bytes += bytes;
	} else {
		if (e->n == e->room) {
			uint64_t room = e->room != 0 ? 2 * e->room : 64;
			struct dump_extent *p = realloc(e->at, room * sizeof *p);

			if (p == NULL)
				return -ENOMEM;
			e->at = p;
			e->room = room;
		}
		e->at[e->n++] = (struct dump_extent){ .segment = segment, .offset = offset,
						      .bytes = bytes };
	}
	e->bytes += bytes;
	return 0;
}

static bool is_zero(const unsigned char *p)
{
	const uint64_t *w = (const uint64_t *)(const void *)p;

	for (unsigned i = 0; i < GRAIN / 8; i++)
		if (w[i] != 0)
			return false;
	return true;
}

/* The part of [at, end) that is worth a look: *at moves over a hole. False: none is left. */
static bool skip_hole(int fd, uint64_t *at, uint64_t end, uint64_t *ret_stop)
{
	*ret_stop = end;
	if (fd < 0)
		return *at < end;
	off_t data = lseek(fd, (off_t)*at, SEEK_DATA);

	if (data < 0)
		return errno != ENXIO && *at < end; /* a system that cannot tell: look at all */
	if ((uint64_t)data >= end)
		return false;
	*at = (uint64_t)data / GRAIN * GRAIN;
	off_t hole = lseek(fd, data, SEEK_HOLE);

	if (hole > data && (uint64_t)hole < end)
		*ret_stop = tarn__round_up((uint64_t)hole, GRAIN);
	return true;
}

static int find_extents(struct extents *e, uint32_t segment, const unsigned char *base, int fd,
			uint64_t bytes)
{
	uint64_t at = 0, stop;
	int r = 0;

	while (r == 0 && at < bytes && skip_hole(fd, &at, bytes, &stop))
		for (; r == 0 && at < stop; at += GRAIN)
			if (!is_zero(base + at))
				r = extent_add(e, segment, at, GRAIN);
	return r;
}

static int write_all(int fd, const void *data, uint64_t bytes)
{
	const unsigned char *p = data;

	while (bytes > 0) {
		ssize_t n = write(fd, p, bytes < 1u << 30 ? bytes : 1u << 30);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

static uint64_t header_sum(const struct dump_header *h)
{
	struct dump_header copy = *h;

	copy.checksum = 0;
	return tarn__hash64(&copy, sizeof copy, 0);
}

int dump_write(int fd, struct dump_header *h, const unsigned char *meta, int meta_fd,
	       const unsigned char *facts, int facts_fd)
{
	const unsigned char *const base[] = { meta, facts };
	struct extents e = { 0 };
	int r = find_extents(&e, META, meta, meta_fd, h->meta_bytes);

	if (r == 0 && facts != NULL)
		r = find_extents(&e, FACTS, facts, facts_fd, h->facts_bytes);
	if (r == 0 && e.n > EXTENTS_MOST)
		r = -EFBIG;
	if (r == 0) {
		memcpy(h->magic, DUMP_MAGIC, sizeof h->magic);
		h->version = DUMP_VERSION;
		h->header_bytes = sizeof *h;
		h->layout = tarn__layout_hash();
		h->n_extents = e.n;
		h->data_bytes = e.bytes;
		h->checksum = tarn__hash64(e.at, e.n * sizeof *e.at, header_sum(h));
		for (uint64_t i = 0; i < e.n; i++)
			h->checksum = tarn__hash64(base[e.at[i].segment] + e.at[i].offset,
						   e.at[i].bytes, h->checksum);
		r = write_all(fd, h, sizeof *h);
	}
	if (r == 0)
		r = write_all(fd, e.at, e.n * sizeof *e.at);
	for (uint64_t i = 0; r == 0 && i < e.n; i++)
		r = write_all(fd, base[e.at[i].segment] + e.at[i].offset, e.at[i].bytes);
	free(e.at);
	return r;
}

/* ---- private copies ---- */

static unsigned char *map(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int map_both(struct dump *d)
{
	d->meta = map(d->header.meta_bytes);
	d->facts = d->header.facts_bytes != 0 ? map(d->header.facts_bytes) : NULL;
	if (d->meta == NULL || (d->header.facts_bytes != 0 && d->facts == NULL))
		return tarn__fail(-ENOMEM, "No memory for a copy of %llu bytes.",
				  (unsigned long long)(d->header.meta_bytes + d->header.facts_bytes));
	return 0;
}

void dump_free(struct dump *d)
{
	if (d->meta != NULL)
		munmap(d->meta, d->header.meta_bytes);
	if (d->facts != NULL)
		munmap(d->facts, d->header.facts_bytes);
	*d = (struct dump){ .meta = NULL };
}

/* ---- reading a file ---- */

static int read_all(int fd, void *data, uint64_t bytes)
{
	unsigned char *p = data;

	while (bytes > 0) {
		ssize_t n = read(fd, p, bytes < 1u << 30 ? bytes : 1u << 30);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -TARN_EPROTO;
		p += n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

static int check_header(const struct dump_header *h)
{
	if (memcmp(h->magic, DUMP_MAGIC, sizeof h->magic) != 0)
		return tarn__fail(-TARN_EPROTO, "It is not a dump of Tarn.");
	if (h->version != DUMP_VERSION || h->header_bytes != sizeof *h)
		return tarn__fail(-TARN_EVERSION, "It is a dump of format %u; this program reads "
				  "format %u.", h->version, DUMP_VERSION);
	if (h->layout != tarn__layout_hash())
		return tarn__fail(-TARN_EVERSION, "It is a dump of another version of libtarn "
				  "(layout %016llx, here %016llx).", (unsigned long long)h->layout,
				  (unsigned long long)tarn__layout_hash());
	if (h->meta_bytes < sizeof(struct state_head) || h->meta_bytes > SEGMENT_MOST ||
	    h->facts_bytes > SEGMENT_MOST || h->meta_bytes % GRAIN != 0 ||
	    h->facts_bytes % GRAIN != 0 || h->n_extents > EXTENTS_MOST ||
	    h->data_bytes > h->meta_bytes + h->facts_bytes)
		return tarn__fail(-TARN_EPROTO, "The dump's header makes no sense.");
	return 0;
}

/* Ascending, within their segments, of whole pages. */
static int check_extents(const struct dump_header *h, const struct dump_extent *e)
{
	const uint64_t most[] = { h->meta_bytes, h->facts_bytes };
	uint64_t sum = 0, at = 0;
	uint32_t segment = META;

	for (uint64_t i = 0; i < h->n_extents; i++) {
		if (e[i].segment < segment || e[i].segment > FACTS)
			return tarn__fail(-TARN_EPROTO, "The dump's extents make no sense.");
		if (e[i].segment != segment)
			at = 0;
		segment = e[i].segment;
		if (e[i].offset < at || e[i].offset % GRAIN != 0 || e[i].bytes % GRAIN != 0 ||
		    e[i].bytes == 0 || e[i].offset > most[segment] ||
		    e[i].bytes > most[segment] - e[i].offset)
			return tarn__fail(-TARN_EPROTO, "The dump's extents make no sense.");
		at = e[i].offset + e[i].bytes;
		sum += e[i].bytes;
	}
	if (sum != h->data_bytes)
		return tarn__fail(-TARN_EPROTO, "The dump's extents make no sense.");
	return 0;
}

static int cut_short(int r)
{
	return r == -TARN_EPROTO ? tarn__fail(r, "The dump is cut short.")
				 : tarn__fail(r, "Reading the dump: %s.", tarn_error_text(r));
}

static int load_extents(int fd, struct dump *d, const struct dump_extent *e)
{
	unsigned char *const base[] = { d->meta, d->facts };
	uint64_t sum = tarn__hash64(e, d->header.n_extents * sizeof *e, header_sum(&d->header));

	for (uint64_t i = 0; i < d->header.n_extents; i++) {
		unsigned char *p = base[e[i].segment] + e[i].offset;
		int r = read_all(fd, p, e[i].bytes);

		if (r < 0)
			return cut_short(r);
		sum = tarn__hash64(p, e[i].bytes, sum);
	}
	if (sum != d->header.checksum)
		return tarn__fail(-TARN_EPROTO, "The dump is damaged: its checksum is wrong.");
	return 0;
}

int dump_load(int fd, struct dump *ret)
{
	struct dump d = { .meta = NULL };
	struct dump_extent *e = NULL;
	struct stat st;
	int r = read_all(fd, &d.header, sizeof d.header);

	if (r == -TARN_EPROTO)
		return tarn__fail(r, "It is not a dump of Tarn.");
	if (r < 0)
		return cut_short(r);
	r = check_header(&d.header);
	/* No memory for what a short file only promises. */
	if (r == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size != sizeof d.header + d.header.n_extents * sizeof *e +
					    d.header.data_bytes)
		r = tarn__fail(-TARN_EPROTO, "The dump is cut short, or more follows it.");
	if (r < 0)
		return r;
	e = malloc((d.header.n_extents + 1) * sizeof *e);
	r = e == NULL ? tarn__fail(-ENOMEM, "No memory for the dump's extents.") : 0;
	if (r == 0) {
		r = read_all(fd, e, d.header.n_extents * sizeof *e);
		r = r < 0 ? cut_short(r) : check_extents(&d.header, e);
	}
	if (r == 0)
		r = map_both(&d);
	if (r == 0)
		r = load_extents(fd, &d, e);
	free(e);
	if (r == 0)
		r = dump_adopt(&d);
	if (r < 0) {
		dump_free(&d);
		return r;
	}
	*ret = d;
	ret->sight.st = &ret->st;
	return 0;
}

/* ---- copying a server's segments ---- */

/* Copies what @fd has into @to; what has become a hole in between is no matter. */
static int copy_segment(int fd, unsigned char *to, uint64_t bytes, bool *changed)
{
	unsigned char page[16 * GRAIN];
	uint64_t at = 0, stop;

	while (at < bytes && skip_hole(fd, &at, bytes, &stop)) {
		uint64_t want = stop - at < sizeof page ? stop - at : sizeof page;
		ssize_t n = pread(fd, page, want, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -TARN_EPROTO;
		if (memcmp(to + at, page, (size_t)n) != 0) {
			*changed = true;
			memcpy(to + at, page, (size_t)n);
		}
		at += (uint64_t)n;
	}
	return 0;
}

int dump_copy(int meta_fd, int facts_fd, struct dump *d, bool *ret_changed)
{
	struct stat meta, facts = { .st_size = 0 };
	int r = 0;

	*ret_changed = false;
	if (d->meta == NULL) {
		if (fstat(meta_fd, &meta) != 0 || (facts_fd >= 0 && fstat(facts_fd, &facts) != 0))
			return tarn__fail(-errno, "The server's segments: %s.", strerror(errno));
		if ((uint64_t)meta.st_size < sizeof(struct state_head) ||
		    (uint64_t)meta.st_size > SEGMENT_MOST || (uint64_t)facts.st_size > SEGMENT_MOST)
			return tarn__fail(-TARN_EPROTO, "The server's segments have no sensible size.");
		d->header.meta_bytes = (uint64_t)meta.st_size;
		d->header.facts_bytes = (uint64_t)facts.st_size;
		r = map_both(d);
	}
	if (r == 0)
		r = copy_segment(meta_fd, d->meta, d->header.meta_bytes, ret_changed);
	bool ignored = false; /* counters may run on: they are not part of what must be whole */
	if (r == 0 && d->facts != NULL)
		r = copy_segment(facts_fd, d->facts, d->header.facts_bytes, &ignored);
	return r;
}

/* ---- taking a copy into use ---- */

static int roll_back(struct dump *d)
{
	struct tarn__meta m = { .base = d->meta, .undo = (struct tarn__undo *)(void *)d->meta };
	const struct tarn__undo *u = m.undo;

	if (u->n > TARN__UNDO_CAPACITY)
		return -TARN_EPROTO;
	for (uint64_t i = 0; i < u->n; i++)
		if (u->log[i].where % 8 != 0 || u->log[i].where < sizeof *u ||
		    u->log[i].where > d->header.meta_bytes - 8)
			return -TARN_EPROTO;
	if (u->n != 0)
		d->header.rolled_back = u->n;
	tarn__meta_rollback(&m);
	return 0;
}

int dump_adopt(struct dump *d)
{
	struct facts *f = (struct facts *)(void *)d->facts;
	int r = roll_back(d);

	if (r == 0)
		r = tarn__state_adopt(&d->st, d->meta, d->header.meta_bytes);
	if (r < 0 || !tarn__state_check(&d->st))
		return tarn__fail(-TARN_EPROTO, "The tables in the copy are damaged beyond reading.");
	if (f != NULL && (tarn__facts_check(f, d->header.facts_bytes) < 0 ||
			  f->uuid[0] != d->st.head->uuid[0] || f->uuid[1] != d->st.head->uuid[1]))
		return tarn__fail(-TARN_EPROTO, "The counters in the copy are damaged, or another "
				  "server's.");
	d->sight = (struct sight){ .st = &d->st, .facts = f, .now_ns = d->header.now_ns };
	if (f != NULL)
		d->st.born = (uint32_t *)(void *)(d->facts + f->at_born);
	return 0;
}

/* ---- the head and every index that leads from one table to another ---- */

static bool count_fits(const struct state *st, uint32_t used, uint32_t reserved, uint64_t most)
{
	(void)st;
	return used <= most && (used <= 1 || used <= reserved) && reserved <= most;
}

static bool head_fits(const struct state *st)
{
	const struct state_head *h = st->head;
	const struct heap *p = &h->heap;
	uint64_t pages = h->arena_bytes >> TARN__HEAP_PAGE_SHIFT;

	return count_fits(st, p->objects, p->objects_reserved, h->max_objects + 1) &&
	       p->objects >= 1 && count_fits(st, p->spans, p->spans_reserved, pages + 1) &&
	       p->top <= pages && p->pages == pages && p->top <= p->runs_reserved &&
	       p->runs_reserved <= pages + 1 &&
	       count_fits(st, h->clients_used, h->clients_reserved, MAX_CLIENTS) &&
	       count_fits(st, h->lanes, h->lanes_reserved, MAX_LANES) &&
	       count_fits(st, h->channels, h->channels_reserved, MAX_CHANNELS) &&
	       count_fits(st, h->exports, h->exports_reserved, MAX_EXPORTS) &&
	       count_fits(st, h->names, h->names_reserved, MAX_NAMES) &&
	       count_fits(st, h->claims, h->claims_reserved, MAX_CLAIMS) &&
	       count_fits(st, h->windows, h->windows_reserved, MAX_WINDOWS) &&
	       count_fits(st, h->things, h->things_reserved, h->max_objects + 1) &&
	       count_fits(st, h->edges, h->edges_reserved, MAX_EDGES) &&
	       count_fits(st, h->calls, h->calls_reserved, MAX_CALLS) &&
	       (h->host == NIL || h->host < h->clients_used) &&
	       h->buckets != 0 && h->buckets <= h->buckets_reserved && h->buckets_reserved <= MAX_BUCKETS;
}

/* Place and kind are followed by those who read it. */
static bool object_fits(const struct state *st, uint32_t i)
{
	const struct object *o = &st->object[i];

	bool used = o->state == OBJECT_GRANTED || o->state == OBJECT_LIVE ||
		    o->state == OBJECT_DEAD || o->owner != NIL;

	if (o->state > OBJECT_RETIRED)
		return false;
	if (used && !(object_flags(o) & OBJECT_LARGE) &&
	    (o->place >= st->head->heap.spans || o->place == NIL ||
	     st->span[o->place].cls >= TARN__SMALL_CLASSES))
		return false;
	uint32_t records = object_kind(o) == TARN__KIND_CHANNEL	 ? st->head->channels
			   : object_kind(o) == TARN__KIND_OBJECT ? st->head->things : UINT32_MAX;

	return st->channel_of[i] < (records > 1 ? records : 1);
}

/* Its window lies in the table; also that of a free record, to which a ticket may lead. */
static bool channel_fits(const struct state *st, const struct channel *ch)
{
	uint64_t units = window_length(ch) / WINDOW_UNIT;

	return (ch->capacity != 0 || ch->id == 0) && ch->capacity <= TARN__CHANNEL_MAX &&
	       (ch->capacity & (ch->capacity - 1)) == 0 &&
	       (ch->window == NIL || (ch->window < st->head->windows &&
				      units <= st->head->windows - ch->window));
}

/* It stands for an edge that there may be. */
static bool edge_claim_fits(const struct state *st, const struct claim *c)
{
	return c->value != NIL && c->value < st->head->edges &&
	       st->edge[c->value].from < st->head->things;
}

/* Edges come from records of objects, and the lists of these end. */
static bool edges_fit(const struct state *st)
{
	const struct state_head *h = st->head;
	uint64_t seen = 0;

	for (uint32_t i = 1; i < h->edges; i++)
		if (st->edge[i].to != 0 && (st->edge[i].from == NIL || st->edge[i].from >= h->things))
			return false;
	/* Also of free records, which have none: an object may claim to be one of them. */
	for (uint32_t i = 0; i == 0 || i < h->things; i++)
		for (uint32_t e = st->thing[i].edge; e != NIL; e = st->edge[e].next)
			if (e >= h->edges || ++seen > h->edges)
				return false;
	return true;
}

/* Who waits is asked for its process. */
static bool calls_fit(const struct state *st)
{
	for (uint32_t i = 1; i < st->head->calls; i++)
		if (st->call[i].state != CALL_FREE && st->call[i].client >= st->head->clients_used &&
		    st->call[i].client != NIL)
			return false;
	return true;
}

/* Chains of the book end, tickets are of objects that may be channels, and edges of records. */
static bool claims_fit(const struct state *st)
{
	const struct state_head *h = st->head;
	uint64_t seen = 0;

	for (uint32_t b = 0; b < h->buckets; b++)
		for (uint32_t i = st->bucket[b]; i != NIL; i = st->claim[i].next)
			if (i >= h->claims || ++seen > h->claims)
				return false;
	for (uint32_t i = 1; i < h->claims; i++) {
		uint32_t of = (uint32_t)st->claim[i].who & TARN__INDEX_MASK;

		if ((st->claim[i].who & CLAIM_TICKET) &&
		    (of >= h->heap.objects || (st->channel_of[of] != NIL &&
					       st->channel_of[of] >= h->channels)))
			return false;
		if ((st->claim[i].who & CLAIM_EDGE) && !(st->claim[i].who & CLAIM_TICKET) &&
		    !edge_claim_fits(st, &st->claim[i]))
			return false;
	}
	return true;
}

bool tarn__state_check(const struct state *st)
{
	if (!head_fits(st))
		return false;
	for (uint32_t i = 1; i < st->head->heap.objects; i++)
		if (!object_fits(st, i))
			return false;
	for (uint32_t i = 1; i < st->head->channels; i++)
		if (!channel_fits(st, &st->channel[i]))
			return false;
	return edges_fit(st) && calls_fit(st) && claims_fit(st);
}
