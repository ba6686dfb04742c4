/* SPDX-License-Identifier: Apache-2.0 */
/* Trees of containers and their memory, against a plain array; no server. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "lib/types/change.h"

TestSuite(change, .timeout = 600);

static struct tarn__segment segment;
static struct tarn__store *store;

static void setup(void)
{
	segment = TARN__SEGMENT_NONE;
	cr_assert(tarn__segment_create(TARN__BACKING_MEMFD, "view", 256 << 20, &segment) == 0);
	cr_assert(tarn__store_new(&segment, 1000, 7, &store) == 0);
}

static void verify(void)
{
	char why[200] = "";

	tarn__store_settle(store);
	cr_assert(tarn__store_verify(store, why, sizeof why) >= 0, "%s", why);
}

static void teardown(void)
{
	verify();
	cr_assert(tarn__store_used(store) == 0);
	tarn__store_free(store);
	tarn__segment_close(&segment);
}

static uint64_t seed = 1;
static uint64_t roll(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

/* A cell: an int, or a blob with that number in it. */
static void cell_make(struct tarn__change *c, uint64_t number, uint64_t *cell)
{
	if (number % 3 != 0) {
		cell[0] = 3;
		cell[1] = number;
		return;
	}
	uint64_t at = tarn__change_blob(c, 8, number % 5 == 0);

	cr_assert(at != 0);
	tarn__blob(c->view, at)->data[0] = number;
	cell[0] = 6 | TARN__CELL_BLOB | (uint64_t)8 << 32;
	cell[1] = at;
}

static uint64_t cell_number(const struct tarn__view *v, const uint64_t *cell)
{
	return cell[0] & TARN__CELL_BLOB ? tarn__blob(v, cell[1])->data[0] : cell[1];
}

static void begin(struct tarn__change *c, uint32_t root)
{
	struct tarn__view_root *line = tarn__store_root(store, root);

	cr_assert(line != NULL);
	tarn__change_init(c, store, line);
	c->root.id = root + 1;
}

static void finish(struct tarn__change *c, bool commit)
{
	tarn__change_seal(c);
	if (commit)
		tarn__change_commit(c);
	else
		tarn__change_abort(c);
}

static void empty(uint32_t root)
{
	struct tarn__change c;

	begin(&c, root);
	cr_assert(tarn__tree_clear(&c, &c.root.order) == 0);
	cr_assert(tarn__tree_clear(&c, &c.root.index) == 0);
	finish(&c, true);
}

static void compare(uint32_t root, const uint64_t *model, size_t n)
{
	struct tarn__sight s;
	uint64_t cell[2];

	cr_assert(tarn__view_begin(tarn__store_view(store), root, root + 1, &s));
	cr_assert(s.root.count == n, "%zu elements, not %zu", (size_t)s.root.count, n);
	for (size_t k = 0; k < n; k++) {
		cr_assert(tarn__tree_at(&s, s.root.order, k, 2, cell));
		cr_assert(cell_number(s.view, cell) == model[k]);
	}
	cr_assert(!tarn__tree_at(&s, s.root.order, n, 2, cell));
	cr_assert(tarn__view_done(&s));
}

struct model {
	uint64_t number[20000];
	size_t n;
};

static void change_one(struct tarn__change *c, struct model *m)
{
	size_t at = m->n != 0 ? roll(m->n) : 0;
	uint64_t number = roll(1u << 30), cell[2];

	switch (roll(m->n > 15000 ? 12 : 8)) {
	case 0: case 1: case 2:
		at = roll(m->n + 1);
		cell_make(c, number, cell);
		cr_assert(tarn__tree_insert(c, &c->root.order, TARN__FORM_CELLS, at, cell) == 0);
		memmove(m->number + at + 1, m->number + at, 8 * (m->n - at));
		m->number[at] = number;
		m->n++;
		break;
	case 3: case 4:
		cell_make(c, number, cell);
		cr_assert(tarn__tree_insert(c, &c->root.order, TARN__FORM_CELLS, m->n, cell) == 0);
		m->number[m->n++] = number;
		break;
	case 5:
		if (m->n == 0)
			break;
		cell_make(c, number, cell);
		cr_assert(tarn__tree_set(c, &c->root.order, at, cell) == 0);
		m->number[at] = number;
		break;
	default:
		if (m->n == 0)
			break;
		cr_assert(tarn__tree_erase(c, &c->root.order, at) == 0);
		m->n--;
		memmove(m->number + at, m->number + at + 1, 8 * (m->n - at));
	}
}

/* Roots 0 to 3; now and then one becomes a snapshot of another, or empty, or a change of many
 * steps is taken back. */
Test(change, does_what_an_array_does, .init = setup, .fini = teardown)
{
	static struct model model[4], was;
	struct tarn__change c;

	for (unsigned step = 0; step < 6000; step++) {
		uint32_t r = (uint32_t)roll(4), other = (uint32_t)roll(4);
		bool commit = roll(4) != 0;

		begin(&c, r);
		if (step % 97 == 0 && r != other) {
			uint64_t from = tarn__store_root(store, other)->order;

			cr_assert(tarn__tree_clear(&c, &c.root.order) == 0);
			cr_assert(tarn__tree_share(&c, &c.root.order, from) == 0);
			if (commit)
				model[r] = model[other];
		} else {
			was = model[r];
			for (uint64_t k = roll(30); k > 0; k--)
				change_one(&c, &model[r]);
			if (!commit)
				model[r] = was;
		}
		finish(&c, commit);
		if (step % 500 == 0)
			verify();
		if (step % 100 == 0)
			compare(r, model[r].number, model[r].n);
	}
	for (uint32_t r = 0; r < 4; r++) {
		compare(r, model[r].number, model[r].n);
		empty(r);
	}
}

Test(change, appends_a_million_and_takes_them_out, .init = setup, .fini = teardown)
{
	struct tarn__change c;
	struct tarn__sight s;
	uint64_t cell[2] = { 3, 0 }, run[128];
	const uint64_t n = 1000000;

	for (uint64_t k = 0; k < n; k++) {
		cell[1] = k;
		begin(&c, 0);
		cr_assert(tarn__tree_insert(&c, &c.root.order, TARN__FORM_CELLS, k, cell) == 0);
		finish(&c, true);
	}
	verify();
	cr_assert(tarn__view_begin(&c.view[0], 0, 1, &s));
	for (uint64_t k = 0; k < n; k += 997) {
		cr_assert(tarn__tree_at(&s, s.root.order, k, 2, cell));
		cr_assert(cell[1] == k);
	}
	uint64_t k = 0;
	for (unsigned m; (m = tarn__tree_run(&s, s.root.order, k, 2, run, 64)) != 0; k += m)
		cr_assert(run[1] == k);
	cr_assert(k == n);
	/* Room: at most a tenth more than the cells. */
	cr_assert(tarn__store_used(store) < 16 * n * 11 / 10, "%llu",
		  (unsigned long long)tarn__store_used(store));
	begin(&c, 0);
	for (k = 0; k < n - 10; k++)
		cr_assert(tarn__tree_erase(&c, &c.root.order, roll(n - k)) == 0);
	finish(&c, true);
	verify();
	empty(0);
}

/* ---- dicts ---- */

static void dict_set(struct tarn__change *c, uint64_t number, uint64_t value)
{
	struct tarn__key key;
	uint64_t entry[6], position, point[2];

	cr_assert(tarn__key_make(7, 3, number, NULL, &key));
	if (number % 4 == 0)
		key.hash = 5; /* keys that have one hash */
	if (tarn__dict_find(tarn__change_sight(c), &key, &position, NULL, entry)) {
		entry[3] = 3;
		entry[4] = value;
		cr_assert(tarn__tree_set(c, &c->root.order, position, entry) == 0);
		return;
	}
	uint64_t fresh[6] = { c->root.next, 3, number, 3, value, key.hash };
	uint64_t at = 0, found[2];

	cr_assert(tarn__tree_insert(c, &c->root.order, TARN__FORM_ENTRIES, c->root.count, fresh) == 0);
	point[0] = key.hash;
	point[1] = c->root.next;
	if (c->root.index != 0)
		tarn__tree_find(tarn__change_sight(c), c->root.index, key.hash, 2, &at, found);
	cr_assert(tarn__tree_insert(c, &c->root.index, TARN__FORM_POINTS, at, point) == 0);
	c->root.next++;
	c->root.count++;
}

static bool dict_del(struct tarn__change *c, uint64_t number)
{
	struct tarn__key key;
	uint64_t entry[6], position, point;

	cr_assert(tarn__key_make(7, 3, number, NULL, &key));
	if (number % 4 == 0)
		key.hash = 5;
	if (!tarn__dict_find(tarn__change_sight(c), &key, &position, &point, entry))
		return false;
	cr_assert(tarn__tree_erase(c, &c->root.order, position) == 0);
	cr_assert(tarn__tree_erase(c, &c->root.index, point) == 0);
	c->root.count--;
	return true;
}

Test(change, finds_keys_though_hashes_collide, .init = setup, .fini = teardown)
{
	static bool there[400];
	static uint64_t value[400];
	struct tarn__change c;
	struct tarn__sight s;

	for (unsigned step = 0; step < 20000; step++) {
		uint64_t number = roll(400);

		begin(&c, 0);
		if (roll(2) == 0) {
			value[number] = step;
			there[number] = true;
			dict_set(&c, number, step);
		} else {
			cr_assert(dict_del(&c, number) == there[number]);
			there[number] = false;
		}
		finish(&c, true);
		if (step % 1000 == 0)
			verify();
	}
	cr_assert(tarn__view_begin(tarn__store_view(store), 0, 1, &s));
	for (uint64_t k = 0; k < 400; k++) {
		struct tarn__key key;
		uint64_t entry[6], position;

		tarn__key_make(7, 3, k, NULL, &key);
		if (k % 4 == 0)
			key.hash = 5;
		bool found = tarn__dict_find(&s, &key, &position, NULL, entry);

		cr_assert(tarn__dict_find(&s, &key, NULL, NULL, entry) == found);

		cr_assert(found == there[k]);
		cr_assert(!found || entry[4] == value[k]);
	}
	empty(0);
}

Test(change, equal_numbers_are_one_key)
{
	struct tarn__key a, b;
	double d[] = { 1.0, -0.0, 0x1p63, 2.5 };
	uint64_t u[] = { 1, 0, 1ull << 63, 0 }, bits;

	for (unsigned k = 0; k < 3; k++) {
		memcpy(&bits, &d[k], 8);
		cr_assert(tarn__key_make(1, 5, bits, NULL, &a) && tarn__key_make(1, 4, u[k], NULL, &b));
		cr_assert(a.hash == b.hash && a.head == b.head && a.body == b.body);
	}
	memcpy(&bits, &d[3], 8);
	cr_assert(tarn__key_make(1, 5, bits, NULL, &a) && tarn__key_make(1, 3, 2, NULL, &b));
	cr_assert(a.head != b.head);
	cr_assert(tarn__key_make(1, 2, 1, NULL, &a) && tarn__key_make(1, 3, 1, NULL, &b));
	cr_assert(a.head != b.head, "true is not 1");
	cr_assert(!tarn__key_make(1, 8, 0, NULL, &a), "a list is no key");
}

Test(change, memory_that_runs_out_changes_nothing)
{
	struct tarn__change c;
	uint64_t cell[2], n = 0;
	int r = 0;

	segment = TARN__SEGMENT_NONE;
	cr_assert(tarn__segment_create(TARN__BACKING_MEMFD, "view", 2 << 20, &segment) == 0);
	cr_assert(tarn__store_new(&segment, 1000, 7, &store) == 0);
	for (; r == 0; n += r == 0) {
		begin(&c, 0);
		uint64_t at = tarn__change_blob(&c, 4000, 0);

		cell[0] = 6 | TARN__CELL_BLOB | (uint64_t)4000 << 32;
		cell[1] = at;
		r = at == 0 ? -ENOMEM
			    : tarn__tree_insert(&c, &c.root.order, TARN__FORM_CELLS, n, cell);
		finish(&c, r == 0);
	}
	cr_assert(n > 300 && r == -ENOMEM);
	cr_assert(tarn__store_root(store, 0)->count == n);
	verify();
	empty(0);
	teardown();
}

Test(change, large_chunks_are_used_again, .init = setup, .fini = teardown)
{
	uint64_t at[64] = { 0 }, size[64] = { 0 };

	for (unsigned step = 0; step < 20000; step++) {
		unsigned k = (unsigned)roll(64);

		if (at[k] != 0)
			tarn__chunk_free(store, at[k], size[k]);
		uint64_t bytes = roll(8) == 0 ? 1 + roll(3000000) : 1 + roll(20000);

		at[k] = tarn__chunk_new(store, bytes, &size[k]);
		cr_assert(at[k] != 0 && size[k] >= bytes, "step %u", step);
		memset(tarn__store_view(store)->base + at[k], (int)k, bytes);
	}
	for (unsigned k = 0; k < 64; k++)
		if (at[k] != 0)
			tarn__chunk_free(store, at[k], size[k]);
}
