/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boundary tags (Knuth 1973) in the run table make neighbours known in O(1), so that a
 * freed run merges at once; bins of two levels with a bitmap (TLSF: Masmano et al. 2004)
 * find a run that fits in O(1). Only where the arena is almost full are lists searched,
 * and only where nothing of one temperature fits is the whole arena walked.
 */
#include "heap-runs.h"

#include "lib/types/store.h"
#include "place.h"
#include "shm/page.h"
#include "shm/wake.h"

/* New memory is warmed in pieces of at least this many pages while it stays below the
 * watermark: a system call for 256 KiB, not for each span. */
#define GROW_PAGES 16u
#define LOOKS 16u /* runs of a bin that a search for a good fit looks at */
#define NO_PAGE UINT32_MAX

static uint64_t bytes_of(uint64_t pages)
{
	return pages << TARN__HEAP_PAGE_SHIFT;
}

static uint32_t align_up(uint64_t page, uint32_t align)
{
	return (uint32_t)tarn__round_up(page, align);
}

static struct run_bins *bins_of(struct heap *h, enum run_state temperature)
{
	return temperature == RUN_WARM ? &h->warm : &h->cold;
}

/* ---- bins ---- */

static void bin_insert(struct state *st, enum run_state temperature, uint32_t first, uint32_t pages)
{
	struct run_bins *bins = bins_of(&st->head->heap, temperature);
	unsigned b = tarn__run_bin(pages);
	uint32_t old = bins->head[b];

	pair_set(st, &st->run[first].next, old, 0);
	if (old != 0)
		SET(st, st->run[old - 1].prev, first + 1);
	else
		SET(st, bins->map[b / 64], bins->map[b / 64] | 1ull << b % 64);
	SET(st, bins->head[b], first + 1);
}

static void bin_remove(struct state *st, uint32_t first)
{
	const struct run *r = &st->run[first];
	struct run_bins *bins = bins_of(&st->head->heap, (enum run_state)r->state);
	unsigned b = tarn__run_bin(r->pages);

	if (r->next != 0)
		SET(st, st->run[r->next - 1].prev, r->prev);
	if (r->prev != 0)
		SET(st, st->run[r->prev - 1].next, r->next);
	else
		SET(st, bins->head[b], r->next);
	if (bins->head[b] == 0)
		SET(st, bins->map[b / 64], bins->map[b / 64] & ~(1ull << b % 64));
}

/* The first bin from @b on that is not empty, or RUN_BINS. */
static unsigned bin_from(const struct run_bins *bins, unsigned b)
{
	if (b >= RUN_BINS)
		return RUN_BINS;
	uint64_t word = bins->map[b / 64] & ~0ull << b % 64;

	for (unsigned w = b / 64;; word = bins->map[w]) {
		if (word != 0)
			return w * 64 + (unsigned)__builtin_ctzll(word);
		if (++w == RUN_BIN_WORDS)
			return RUN_BINS;
	}
}

static unsigned bin_highest(const struct run_bins *bins)
{
	for (unsigned w = RUN_BIN_WORDS; w-- > 0;) {
		if (bins->map[w] != 0)
			return w * 64 + 63u - (unsigned)__builtin_clzll(bins->map[w]);
	}
	return RUN_BINS;
}

/* The first bin all of whose runs have @pages pages. */
static unsigned bin_sure(uint64_t pages)
{
	if (pages < 16)
		return (unsigned)pages;
	unsigned e = 63u - (unsigned)__builtin_clzll(pages);

	return tarn__run_bin(pages + (1ull << (e - 4u)) - 1);
}

/* ---- a run that fits ---- */

static bool fits(const struct state *st, uint32_t first, uint32_t pages, uint32_t align)
{
	return (uint64_t)align_up(first, align) + pages <= (uint64_t)first + st->run[first].pages;
}

/* The smallest of the first @looks runs of a bin that fits. */
static uint32_t best_of_bin(const struct state *st, const struct run_bins *bins, unsigned b,
			    uint32_t pages, uint32_t align, uint32_t looks)
{
	uint32_t best = NO_PAGE;

	for (uint32_t p = bins->head[b]; p != 0 && looks > 0; p = st->run[p - 1].next, looks--) {
		if (fits(st, p - 1, pages, align) &&
		    (best == NO_PAGE || st->run[p - 1].pages < st->run[best].pages))
			best = p - 1;
	}
	return best;
}

static uint32_t best_of_bins(const struct state *st, const struct run_bins *bins, unsigned from,
			     unsigned to, uint32_t pages, uint32_t align, uint32_t looks)
{
	for (unsigned b = bin_from(bins, from); b < to; b = bin_from(bins, b + 1)) {
		uint32_t p = best_of_bin(st, bins, b, pages, align, looks);

		if (p != NO_PAGE)
			return p;
	}
	return NO_PAGE;
}

/* First a look at the bins where a run may fit, then the bins where any run does, then
 * all of the former. */
static uint32_t find(const struct state *st, enum run_state temperature, uint32_t pages,
		     uint32_t align)
{
	const struct run_bins *bins = bins_of(&st->head->heap, temperature);
	unsigned may = tarn__run_bin(pages);
	unsigned sure = bin_sure((uint64_t)pages + align - 1);
	uint32_t p;

	if (sure > RUN_BINS)
		sure = RUN_BINS;
	p = best_of_bins(st, bins, may, sure, pages, align, LOOKS);
	if (p == NO_PAGE)
		p = best_of_bins(st, bins, sure, RUN_BINS, pages, align, LOOKS);
	if (p == NO_PAGE)
		p = best_of_bins(st, bins, may, sure, pages, align, UINT32_MAX);
	return p;
}

/* ---- tags ---- */

static void tag(struct state *st, uint32_t first, uint32_t pages, enum run_state state)
{
	pair_set(st, &st->run[first].pages, pages, state);
	if (pages > 1)
		pair_set(st, &st->run[first + pages - 1].pages, pages, state);
}

static void make_free(struct state *st, uint32_t first, uint32_t pages, enum run_state temperature)
{
	tag(st, first, pages, temperature);
	bin_insert(st, temperature, first, pages);
}

static bool is_free(const struct run *r)
{
	return r->state == RUN_WARM || r->state == RUN_COLD;
}

/* Puts pages that belong to nothing back as a free run, merged with its likes. */
static void put(struct state *st, uint32_t first, uint32_t pages, enum run_state temperature)
{
	struct heap *h = &st->head->heap;
	uint32_t begin = first, end = first + pages;

	if (end < h->top && st->run[end].state == temperature) {
		bin_remove(st, end);
		end += st->run[end].pages;
	}
	if (begin > 0 && st->run[begin - 1].state == temperature) {
		begin -= st->run[begin - 1].pages;
		bin_remove(st, begin);
	}
	if (temperature == RUN_COLD && end == h->top)
		SET(st, h->top, begin);
	else
		make_free(st, begin, end - begin, temperature);
}

/*
 * Cuts the window [start, start + pages) out of the free runs that cover it, of which
 * @first is the first; the pages from top on count as a cold run. What sticks out in
 * front and behind stays free. Returns how many pages of the window were warm.
 */
static uint32_t cut(struct state *st, uint32_t first, uint32_t start, uint32_t pages)
{
	struct heap *h = &st->head->heap;
	uint32_t end = start + pages, warm = 0, p = first;

	while (p < end && p < h->top) {
		struct run r = st->run[p];
		uint32_t from = p < start ? start : p;
		uint32_t to = p + r.pages > end ? end : p + r.pages;

		bin_remove(st, p);
		if (p < start)
			make_free(st, p, start - p, (enum run_state)r.state);
		if (p + r.pages > end)
			make_free(st, end, p + r.pages - end, (enum run_state)r.state);
		if (r.state == RUN_WARM)
			warm += to - from;
		p += r.pages;
	}
	if (p < end) {
		SET(st, h->top, end);
		if (p < start)
			make_free(st, p, start - p, RUN_COLD);
	}
	return warm;
}

/* The run table must reach to the end of what is to be tagged. */
static int reserve_tags(struct state *st, uint32_t end)
{
	return tarn__state_reserve(st, st->run, sizeof *st->run, &st->head->heap.runs_reserved,
				   end);
}

#define LOOK_NS 100000000u /* at most so often the limit is looked at when it is too low: it takes 0.1 ms and more */

static void look_at_limit(struct state *st, uint64_t taken)
{
	uint64_t most;

	st->looked_ns = tarn__now();
	if (!tarn__place_budget(&most))
		return; /* it is what it was; the next time then */
	/* Relaxed: as below. */
	tarn__store_relaxed(&st->data_most, most);
	st->look_at = taken + TARN__BUDGET_STEP;
	if (st->view_part != NULL)
		st->refused = tarn__load_relaxed(&st->view_part->refused);
}

/* What is taken with @bytes more. Whoever runs the memory cgroup may have changed its limit: that is looked at. */
static uint64_t taken_with(struct state *st, uint64_t bytes)
{
	const struct tarn__store_part *view = st->view_part;
	/* Relaxed: the limit has a margin, see mind_limit(). */
	const uint64_t have = st->head->heap.committed + (view != NULL ? tarn__load_relaxed(&view->taken) : 0);
	const uint64_t taken = have + bytes;
	const bool short_of = (st->data_most != 0 && taken > st->data_most) ||
			      (view != NULL && tarn__load_relaxed(&view->refused) != st->refused);

	/* Much less than at the last look, or more was asked for then than there was. */
	if (st->look_at > have + TARN__BUDGET_STEP)
		st->look_at = have + TARN__BUDGET_STEP;
	if (st->look_at != 0 && (taken >= st->look_at || (short_of && tarn__now() - st->looked_ns >= LOOK_NS)))
		look_at_limit(st, taken);
	return taken;
}

/* The memory is there as far as we know; the kernel of a memory cgroup would not refuse, but kill. */
static bool is_there(struct state *st, uint64_t bytes)
{
	const uint64_t taken = taken_with(st, bytes);

	return st->data_most == 0 || taken <= st->data_most;
}

void tarn__run_mind_limit(struct state *st)
{
	taken_with(st, 0);
}

/* Pages of a window of free runs, of which @first is the first, that are not committed. */
static uint32_t cold_in(const struct state *st, uint32_t first, uint32_t start, uint32_t pages)
{
	uint32_t end = start + pages, cold = pages;

	for (uint32_t p = first; p < end && p < st->head->heap.top; p += st->run[p].pages) {
		uint32_t from = p < start ? start : p;
		uint32_t to = p + st->run[p].pages > end ? end : p + st->run[p].pages;

		if (st->run[p].state == RUN_WARM)
			cold -= to - from;
	}
	return cold;
}

static int reserve_window(struct state *st, uint32_t first, uint32_t start, uint32_t pages)
{
	int r = reserve_tags(st, start + pages);

	if (r == 0 && !is_there(st, bytes_of(cold_in(st, first, start, pages))))
		r = -ENOSPC;
	return r == 0 ? tarn__segment_reserve(&st->data, bytes_of(start), bytes_of(pages)) : r;
}

static int warm_window(struct state *st, uint32_t first, uint32_t start, uint32_t pages)
{
	struct heap *h = &st->head->heap;
	int r = reserve_window(st, first, start, pages);

	if (r != 0)
		return r;
	uint64_t gain = bytes_of(pages - cut(st, first, start, pages));
	SET(st, h->committed, h->committed + gain);
	SET(st, h->warm_free, h->warm_free + gain);
	put(st, start, pages, RUN_WARM);
	return 0;
}

/* ---- a window across warm and cold ---- */

struct window {
	uint32_t first; /* run that holds start */
	uint32_t start;
	uint32_t runs;	   /* from first on, the pages from top on being one */
	uint32_t join_end; /* end of the RUN_JOINth of them */
};

static struct window window_in(const struct state *st, uint32_t first, uint32_t pages,
			       uint32_t align)
{
	struct window w = { .first = first, .start = align_up(first, align) };
	uint32_t top = (uint32_t)st->head->heap.top;

	while (w.first < top && w.first + st->run[w.first].pages <= w.start)
		w.first += st->run[w.first].pages;
	for (uint32_t p = w.first; p < w.start + pages; w.runs++) {
		p = p < top ? p + st->run[p].pages : w.start + pages;
		if (w.runs < RUN_JOIN)
			w.join_end = p;
	}
	if (w.join_end > w.start + pages)
		w.join_end = w.start + pages;
	return w;
}

/* The lowest place where neighbouring free runs hold the request together. O(runs). */
static bool find_window(const struct state *st, uint32_t pages, uint32_t align, struct window *ret)
{
	const struct heap *h = &st->head->heap;
	uint32_t begin = NO_PAGE, p = 0;

	/* With one temperature only, find() has seen all there is. */
	if (h->warm_free == 0 || (bin_highest(&h->cold) == RUN_BINS && h->top == h->pages))
		return false;
	if (bytes_of(h->pages) - (h->committed - h->warm_free) < bytes_of(pages))
		return false;
	while (p < h->pages) {
		bool tail = p >= h->top;
		uint64_t end = tail ? h->pages : (uint64_t)p + st->run[p].pages;

		if (!tail && !is_free(&st->run[p])) {
			begin = NO_PAGE;
		} else {
			if (begin == NO_PAGE)
				begin = p;
			if ((uint64_t)align_up(begin, align) + pages <= end) {
				*ret = window_in(st, begin, pages, align);
				return true;
			}
		}
		p = (uint32_t)end;
	}
	return false;
}

/* ---- warming ---- */

/* A cold run that fits, or the place at top; NO_PAGE. */
static uint32_t find_cold(const struct state *st, uint32_t pages, uint32_t align)
{
	const struct heap *h = &st->head->heap;
	uint32_t p = find(st, RUN_COLD, pages, align);

	if (p == NO_PAGE && (uint64_t)align_up(h->top, align) + pages <= h->pages)
		p = (uint32_t)h->top;
	return p;
}

/* How much to warm at once when @pages are needed and @room are there. */
static uint32_t stride(const struct heap *h, uint32_t pages, uint64_t room)
{
	if (pages >= GROW_PAGES || room < GROW_PAGES ||
	    h->warm_free + h->idle_bytes + bytes_of(GROW_PAGES) > h->watermark)
		return pages;
	return GROW_PAGES;
}

static int warm_cold(struct state *st, uint32_t first, uint32_t pages, uint32_t align)
{
	const struct heap *h = &st->head->heap;
	uint64_t end = first < h->top ? (uint64_t)first + st->run[first].pages : h->pages;
	uint32_t start = align_up(first, align);
	uint32_t more = stride(h, pages, end - start);
	int r = warm_window(st, first, start, more);

	if (r != 0 && more > pages)
		r = warm_window(st, first, start, pages);
	return r;
}

/* Afterwards a warm run fits. */
static int warm_up(struct state *st, uint32_t pages, uint32_t align)
{
	uint32_t first = find_cold(st, pages, align);
	struct window w;

	if (first != NO_PAGE)
		return warm_cold(st, first, pages, align);
	if (!find_window(st, pages, align, &w))
		return -ENOMEM;
	if (w.runs > RUN_JOIN) {
		/* Too many for this transaction. What joins them cannot fail for want of memory,
		 * or the caller would come again and again. */
		int r = reserve_window(st, w.first, w.start, pages);

		return r != 0 ? r : -EAGAIN;
	}
	return warm_window(st, w.first, w.start, pages);
}

bool tarn__run_join(struct state *st, uint32_t pages, uint32_t align)
{
	struct window w;

	if (find(st, RUN_WARM, pages, align) != NO_PAGE || find_cold(st, pages, align) != NO_PAGE)
		return false;
	if (!find_window(st, pages, align, &w) || w.runs <= RUN_JOIN)
		return false;
	return warm_window(st, w.first, w.start, w.join_end - w.start) == 0;
}

/* ---- in and out ---- */

int tarn__run_alloc(struct state *st, uint32_t pages, uint32_t align, enum run_state state,
		    uint32_t owner, uint32_t *ret_first)
{
	struct heap *h = &st->head->heap;
	uint32_t first = find(st, RUN_WARM, pages, align);

	if (first == NO_PAGE) {
		int r = warm_up(st, pages, align);

		if (r != 0)
			return r;
		first = find(st, RUN_WARM, pages, align);
	}
	uint32_t start = align_up(first, align);
	cut(st, first, start, pages);
	tag(st, start, pages, state);
	pair_set(st, &st->run[start].next, owner, 0);
	SET(st, h->warm_free, h->warm_free - bytes_of(pages));
	*ret_first = start;
	return 0;
}

void tarn__run_free(struct state *st, uint32_t first)
{
	struct heap *h = &st->head->heap;
	uint32_t pages = st->run[first].pages;

	SET(st, h->warm_free, h->warm_free + bytes_of(pages));
	put(st, first, pages, RUN_WARM);
}

uint32_t tarn__run_cool(struct state *st, uint32_t pages, uint32_t *ret_first)
{
	struct heap *h = &st->head->heap;
	unsigned b = bin_highest(&h->warm);

	if (b == RUN_BINS)
		return 0;
	uint32_t first = h->warm.head[b] - 1, have = st->run[first].pages;
	if (pages > have)
		pages = have;
	/* Its end, so that what stays warm lies low. */
	uint32_t start = first + have - pages;
	/* And from where a page of the system begins: of larger ones than ours the kernel takes back whole ones only. */
	uint64_t page = tarn__os_page() / TARN__HEAP_PAGE;
	uint32_t whole = page > 1 ? start & ~((uint32_t)page - 1) : start;
	if (whole >= first) {
		pages += start - whole;
		start = whole;
	}
	cut(st, first, start, pages);
	put(st, start, pages, RUN_COLD);
	SET(st, h->warm_free, h->warm_free - bytes_of(pages));
	SET(st, h->committed, h->committed - bytes_of(pages));
	*ret_first = start;
	return pages;
}

/* ---- held for a helper thread ---- */

static uint32_t coldest(const struct state *st, uint32_t pages)
{
	const struct heap *h = &st->head->heap;
	uint32_t p = find_cold(st, pages, 1);
	unsigned b = bin_highest(&h->cold);

	if (p != NO_PAGE)
		return p;
	return b != RUN_BINS ? h->cold.head[b] - 1 : (uint32_t)h->top;
}

int tarn__run_hold(struct state *st, uint32_t pages, uint32_t *ret_first, uint32_t *ret_pages)
{
	struct heap *h = &st->head->heap;
	uint32_t first = coldest(st, pages);
	uint64_t have = first < h->top ? st->run[first].pages : h->pages - h->top;

	if (have == 0)
		return -ENOENT;
	if (pages > have)
		pages = (uint32_t)have;
	if (!is_there(st, bytes_of(pages)))
		return -ENOSPC;
	int r = reserve_tags(st, first + pages);
	if (r != 0)
		return r;
	cut(st, first, first, pages);
	tag(st, first, pages, RUN_HELD);
	pair_set(st, &st->run[first].next, 0, 0);
	pair_set(st, &h->held_first, first, pages);
	*ret_first = first;
	*ret_pages = pages;
	return 0;
}

void tarn__run_unhold(struct state *st, uint32_t first, uint32_t pages, bool warm)
{
	struct heap *h = &st->head->heap;

	pair_set(st, &h->held_first, 0, 0);
	if (warm) {
		SET(st, h->committed, h->committed + bytes_of(pages));
		SET(st, h->warm_free, h->warm_free + bytes_of(pages));
	}
	put(st, first, pages, warm ? RUN_WARM : RUN_COLD);
}

/* ---- figures ---- */

static uint32_t largest_of(const struct state *st, const struct run_bins *bins)
{
	unsigned b = bin_highest(bins);
	uint32_t most = 0;

	if (b == RUN_BINS)
		return 0;
	for (uint32_t p = bins->head[b]; p != 0; p = st->run[p - 1].next) {
		if (st->run[p - 1].pages > most)
			most = st->run[p - 1].pages;
	}
	return most;
}

uint32_t tarn__run_largest(const struct state *st)
{
	const struct heap *h = &st->head->heap;
	uint32_t most = (uint32_t)(h->pages - h->top);
	uint32_t warm = largest_of(st, &h->warm), cold = largest_of(st, &h->cold);

	if (warm > most)
		most = warm;
	return cold > most ? cold : most;
}
