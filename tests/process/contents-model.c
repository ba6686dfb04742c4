/* SPDX-License-Identifier: Apache-2.0 */
#include "contents-model.h"

#include <stdio.h>
#include <string.h>

uint32_t contents_roll(struct contents *w, uint32_t below)
{
	return (uint32_t)(scene_random(&w->random) % below);
}

/* The value that a code stands for. */
static void put_code(const struct contents *w, tarn_builder *b, uint32_t code)
{
	char text[100];

	switch (code % 5) {
	case 0:
		tarn_put_uint(b, code);
		break;
	case 1:
		snprintf(text, sizeof text, "text number %u, too long for a cell", code);
		tarn_put_string(b, text);
		break;
	case 2:
		tarn_put(b, "[I{s:n}]", code, "nested");
		break;
	case 3:
		tarn_put_object(b, w->shared[code / 5 % SHARED_OBJECTS]);
		break;
	default:
		tarn_put(b, "[IO[O]]", code, w->shared[code / 5 % SHARED_OBJECTS],
			 w->shared[code / 7 % SHARED_OBJECTS]);
	}
}

/* Keys are of all kinds, too. */
static tarn_key key_of(uint32_t key, char text[40])
{
	if (key % 3 == 0)
		return tarn_key_uint(key);
	if (key % 3 == 1)
		return tarn_key_double(key + 0.5);
	snprintf(text, 40, key % 2 != 0 ? "%u" : "key %u with a longer name", key);
	return tarn_key_string(text);
}

/* And back. */
static uint32_t key_number(tarn_value v)
{
	const char *text;
	uint64_t number;
	uint32_t key;
	double x;

	if (tarn_value_uint(v, &number) == 0)
		return (uint32_t)number;
	if (tarn_value_double(v, &x) == 0)
		return (uint32_t)x;
	OK(tarn_value_string(v, &text, NULL));
	PLAIN_CHECK(sscanf(text, text[0] == 'k' ? "key %u" : "%u", &key) == 1);
	return key;
}

static bool is_code(const struct contents *w, tarn_value v, uint32_t code)
{
	tarn_builder b;
	tarn_parcel p;

	tarn_builder_init(&b);
	put_code(w, &b, code);
	OK(tarn_parcel_from(&b, &p));
	bool same = tarn_value_equal(v, tarn_parcel_at(&p, 0));

	tarn_parcel_fini(&p);
	tarn_builder_fini(&b);
	return same;
}

static bool list_matches(const struct contents *w, const struct list_model *m)
{
	tarn_parcel p;
	bool same = true;
	uint64_t n;

	OK(tarn_list_len(w->list, &n));
	if (n != m->n)
		return false;
	for (uint32_t k = 0; k < m->n && same; k += 60) {
		OK(tarn_list_slice(w->list, k, k + 60, TARN_OMIT, &p));
		tarn_value v = tarn_parcel_at(&p, 0);

		for (uint32_t i = 0; i < tarn_value_count(v) && same; i++)
			same = is_code(w, tarn_value_at(v, i), m->code[k + i]);
		tarn_parcel_fini(&p);
	}
	return same;
}

/* In the order of insertion; what others have there lies between. */
static bool dict_matches(const struct contents *w, const struct dict_model *m)
{
	tarn_parcel p;
	uint32_t n = 0;
	bool same = true;

	OK(tarn_dict_items(w->dict, &p));
	tarn_value v = tarn_parcel_at(&p, 0);

	for (uint32_t k = 0; k < tarn_value_count(v) && same; k++) {
		tarn_value pair = tarn_value_at(v, k);
		uint32_t key = key_number(tarn_value_at(pair, 0)) - w->first_key;

		if (key >= KEYS)
			continue;
		same = n < m->n && key == m->key[n] &&
		       is_code(w, tarn_value_at(pair, 1), m->code[n]);
		n++;
	}
	tarn_parcel_fini(&p);
	return same && n == m->n;
}

/* ---- one operation: the model's next state first, then the thing itself ---- */

static void begin(struct contents *w)
{
	w->m->list_after = w->m->list;
	w->m->dict_after = w->m->dict;
}
static void intend(struct contents *w)
{
	/* SYNC model, release: whoever comes after us knows what we were about. */
	__atomic_store_n(&w->m->pending, 1, __ATOMIC_RELEASE);
}
static void finish(struct contents *w)
{
	/* A kill in here leaves what is after whole, and the thing is like that. */
	w->m->list = w->m->list_after;
	w->m->dict = w->m->dict_after;
	/* SYNC model, release. */
	__atomic_store_n(&w->m->pending, 0, __ATOMIC_RELEASE);
}

void contents_check(const struct contents *w)
{
	PLAIN_CHECK(list_matches(w, &w->m->list) && dict_matches(w, &w->m->dict));
}

void contents_take_over(struct contents *w)
{
	struct model *m = w->m;

	/* SYNC model, acquire. */
	if (__atomic_load_n(&m->pending, __ATOMIC_ACQUIRE) != 0) {
		m->deaths++;
		if (list_matches(w, &m->list_after) && dict_matches(w, &m->dict_after)) {
			finish(w);
		} else {
			m->undone++;
			/* SYNC model, release. */
			__atomic_store_n(&m->pending, 0, __ATOMIC_RELEASE);
		}
	}
	contents_check(w);
}

/* In place, if it is plain. */
static void read_element(struct contents *w, uint32_t at)
{
	tarn_parcel p;

	OK(tarn_list_get(w->list, at, &p));
	PLAIN_CHECK(is_code(w, tarn_parcel_at(&p, 0), w->m->list.code[at]));
	tarn_parcel_fini(&p);
}

void contents_list_step(struct contents *w)
{
	struct list_model *m = &w->m->list_after;
	tarn_builder b;

	begin(w);
	uint32_t code = contents_roll(w, 1000000), at = m->n != 0 ? contents_roll(w, m->n) : 0;
	uint32_t kind = contents_roll(w, 14);

	if (m->n > LIST_MOST - 10)
		kind = 13;
	else if (m->n == 0 && kind >= 3)
		kind = 0;
	tarn_builder_init(&b);
	switch (kind) {
	case 0:
	case 1:
		m->code[m->n++] = code;
		intend(w);
		put_code(w, &b, code);
		OK(tarn_list_append(w->list, &b));
		break;
	case 2:
		memmove(m->code + at + 1, m->code + at, 4 * (m->n++ - at));
		m->code[at] = code;
		intend(w);
		put_code(w, &b, code);
		OK(tarn_list_insert(w->list, at, &b));
		break;
	case 3:
	case 4:
		m->code[at] = code;
		intend(w);
		put_code(w, &b, code);
		OK(tarn_list_set(w->list, (int64_t)at - m->n, &b));
		break;
	case 5:
	case 6:
		m->n--;
		memmove(m->code + at, m->code + at + 1, 4 * (m->n - at));
		intend(w);
		OK(tarn_list_pop(w->list, at, NULL));
		break;
	case 7:
		for (uint32_t k = 0; k < m->n / 2; k++) {
			uint32_t other = m->code[k];

			m->code[k] = m->code[m->n - 1 - k];
			m->code[m->n - 1 - k] = other;
		}
		intend(w);
		OK(tarn_list_reverse(w->list));
		break;
	case 8:
		for (uint32_t k = 0; k < 5; k++) {
			m->code[m->n++] = code + k;
			put_code(w, &b, code + k);
		}
		intend(w);
		OK(tarn_list_extend(w->list, &b));
		break;
	case 9: { /* a slice becomes two values */
		uint32_t end = at + contents_roll(w, m->n - at + 1);

		memmove(m->code + at + 2, m->code + end, 4 * (m->n - end));
		m->n = m->n - (end - at) + 2;
		m->code[at] = code;
		m->code[at + 1] = code + 1;
		intend(w);
		put_code(w, &b, code);
		put_code(w, &b, code + 1);
		OK(tarn_list_set_slice(w->list, at, end, TARN_OMIT, &b));
		break;
	}
	case 10: { /* every other one of a slice goes */
		uint32_t end = at + contents_roll(w, m->n - at + 1), to = at;

		for (uint32_t k = at; k < m->n; k++)
			if (k >= end || (k - at) % 2 != 0)
				m->code[to++] = m->code[k];
		m->n = to;
		intend(w);
		OK(tarn_list_del_slice(w->list, at, end, 2));
		break;
	}
	case 11:
	case 12:
		read_element(w, at);
		break;
	default:
		m->n = 0;
		intend(w);
		OK(tarn_list_clear(w->list));
	}
	tarn_builder_fini(&b);
	finish(w);
}

static void del(struct contents *w, tarn_key key, uint32_t at)
{
	struct dict_model *m = &w->m->dict_after;

	if (at == m->n) {
		PLAIN_EQ(tarn_dict_del_key(w->dict, key), -TARN_EREMOTE);
		return;
	}
	m->n--;
	memmove(m->key + at, m->key + at + 1, 4 * (m->n - at));
	memmove(m->code + at, m->code + at + 1, 4 * (m->n - at));
	intend(w);
	OK(tarn_dict_del_key(w->dict, key));
}

static void set(struct contents *w, tarn_key key, uint32_t number, uint32_t at, bool only_if_not)
{
	struct dict_model *m = &w->m->dict_after;
	uint32_t code = contents_roll(w, 1000000);
	tarn_builder b;
	tarn_parcel p;

	if (at == m->n || !only_if_not) {
		m->key[at] = number;
		m->code[at] = code;
		m->n += at == m->n;
	}
	tarn_builder_init(&b);
	put_code(w, &b, code);
	intend(w);
	if (only_if_not) {
		OK(tarn_dict_setdefault_key(w->dict, key, &b, &p));
		PLAIN_CHECK(is_code(w, tarn_parcel_at(&p, 0), m->code[at]));
		tarn_parcel_fini(&p);
	} else {
		OK(tarn_dict_set_key(w->dict, key, &b));
	}
	tarn_builder_fini(&b);
}

/* In place, if it is plain. */
static void find(struct contents *w, tarn_key key, uint32_t at)
{
	const struct dict_model *m = &w->m->dict;
	tarn_parcel p;
	int r = tarn_dict_find_key(w->dict, key, &p);

	PLAIN_EQ(r, at < m->n);
	if (r != 1)
		return;
	PLAIN_CHECK(is_code(w, tarn_parcel_at(&p, 0), m->code[at]));
	tarn_parcel_fini(&p);
}

/* Of all keys. */
static void drop(struct contents *w, bool all)
{
	struct dict_model *m = &w->m->dict_after;

	if (m->n == 0)
		return;
	m->n = all ? 0 : m->n - 1;
	intend(w);
	OK(all ? tarn_dict_clear(w->dict) : tarn_dict_popitem(w->dict, NULL));
}

void contents_dict_step(struct contents *w)
{
	struct dict_model *m = &w->m->dict_after;
	uint32_t number = contents_roll(w, KEYS), kind = contents_roll(w, 24), at = 0;
	char text[40];
	tarn_key key = key_of(w->first_key + number, text);

	begin(w);
	while (at < m->n && m->key[at] != number)
		at++;
	if (kind < 2 && w->whole_dict)
		drop(w, kind == 1);
	else if (kind < 8)
		del(w, key, at);
	else if (kind < 12)
		find(w, key, at);
	else
		set(w, key, number, at, kind < 14);
	finish(w);
}

/* ---- those who operate ---- */

void contents_publish(tarn_client *c)
{
	char name[20];

	for (int k = 0; k < SHARED_OBJECTS; k++) {
		tarn_object *o;

		snprintf(name, sizeof name, "shared %d", k);
		OK(tarn_list_new(c, &o));
		OK(tarn_object_publish(o, name, 0));
		tarn_object_unref(o);
	}
}

struct contents contents_open(tarn_client *c, const char *list, const char *dict, struct model *m,
			      uint64_t random)
{
	struct contents w = { .c = c, .m = m, .random = random | 1 };
	char name[20];

	OK(tarn_object_lookup(c, list, 0, &w.list));
	OK(tarn_object_lookup(c, dict, 0, &w.dict));
	for (int k = 0; k < SHARED_OBJECTS; k++) {
		snprintf(name, sizeof name, "shared %d", k);
		OK(tarn_object_lookup(c, name, 0, &w.shared[k]));
	}
	return w;
}
