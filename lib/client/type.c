/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this client knows of types. The server describes a type once, when it is first needed;
 * from then on a method's name is a look into a small table.
 *
 * What the server describes is input like any other: kinds and sizes are checked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "lib/types/types.h"
#include "shm/hash.h"

static uint64_t hash_text(const char *text)
{
	return tarn__hash64(text, strlen(text), 0);
}

/* ---- what the server says ---- */

/* A string of a map, or NULL if it is nil or missing. */
static const char *text_of(tarn_value map, const char *key)
{
	const char *text = NULL;

	return tarn_value_string(tarn_value_get(map, key), &text, NULL) == 0 ? text : NULL;
}

static uint64_t number_of(tarn_value map, const char *key)
{
	uint64_t n = 0;

	tarn_value_uint(tarn_value_get(map, key), &n);
	return n;
}

static size_t room_of(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

static const char *put_text(char **at, const char *text)
{
	size_t n = room_of(text);

	if (n == 0)
		return NULL;
	*at += n;
	return memcpy(*at - n, text, n);
}

static void enter_method(struct tarn__type *t, unsigned number)
{
	uint32_t at = (uint32_t)t->method[number].hash & t->mask;

	while (t->slot[at] != 0)
		at = (at + 1) & t->mask;
	t->slot[at] = (uint16_t)(number + 1);
}

#define METHODS_MOST 4096u

/* Bytes of all texts of the description @map. */
static size_t text_bytes(tarn_value map, tarn_value methods, size_t n)
{
	size_t bytes = room_of(text_of(map, "name"));

	for (size_t i = 0; i < n; i++) {
		tarn_value m = tarn_value_at(methods, i);

		bytes += room_of(text_of(m, "name")) + room_of(text_of(m, "args")) +
			 room_of(text_of(m, "result")) + room_of(text_of(m, "result_type"));
	}
	return bytes;
}

/* Whether what @signature says fits into a reply of one slot. */
static bool is_small(const char *signature)
{
	return signature != NULL && strpbrk(signature, "[{v*e") == NULL && strlen(signature) <= 2;
}

static struct tarn__type *type_new(tarn_value map)
{
	tarn_value methods = tarn_value_get(map, "methods");
	size_t n = tarn_value_count(methods), slots = 4, bytes;
	struct tarn__type *t;
	char *at;

	if (n > METHODS_MOST || text_of(map, "name") == NULL) {
		tarn__fail(-TARN_EPROTO, "The server described a type that cannot be.");
		return NULL;
	}
	while (slots < n * 2)
		slots *= 2;
	bytes = sizeof *t + n * sizeof t->method[0] + slots * sizeof *t->slot;
	t = calloc(1, bytes + text_bytes(map, methods, n));
	if (t == NULL) {
		tarn__fail(-ENOMEM, "No memory for what is known of a type.");
		return NULL;
	}
	t->slot = (uint16_t *)(void *)&t->method[n];
	at = (char *)t + bytes;
	t->mask = (uint32_t)slots - 1;
	t->index = (uint32_t)number_of(map, "index");
	t->flags = (uint32_t)number_of(map, "flags");
	t->table_hash = number_of(map, "hash");
	t->n_methods = (uint32_t)n;
	t->name = put_text(&at, text_of(map, "name"));
	t->name_hash = hash_text(t->name);
	t->builtin = tarn__builtin_find(t->name);
	for (size_t i = 0; i < n; i++) {
		tarn_value m = tarn_value_at(methods, i);
		const char *name = text_of(m, "name");

		t->method[i] = (struct tarn__method){
			.name = name != NULL ? put_text(&at, name) : "",
			.flags = (unsigned)number_of(m, "flags"),
			.args = put_text(&at, text_of(m, "args")),
			.result = put_text(&at, text_of(m, "result")),
			.result_type = put_text(&at, text_of(m, "result_type")),
		};
		t->method[i].hash = hash_text(t->method[i].name);
		t->method[i].small = is_small(t->method[i].result);
		enter_method(t, (unsigned)i);
	}
	return t;
}

/* ---- the table ---- */

static struct tarn__type **bucket_by_name(struct tarn__types *k, uint64_t hash)
{
	return &k->by_name[hash % TARN__TYPE_BUCKETS];
}
static struct tarn__type **bucket_by_index(struct tarn__types *k, uint32_t index)
{
	return &k->by_index[index % TARN__TYPE_BUCKETS];
}

static const struct tarn__type *find_by_name(struct tarn__types *k, const char *name)
{
	uint64_t hash = hash_text(name);
	/* SYNC types, acquire: with the pointer we see the type, and those behind it. */
	const struct tarn__type *t = __atomic_load_n(bucket_by_name(k, hash), __ATOMIC_ACQUIRE);

	while (t != NULL && (t->name_hash != hash || strcmp(t->name, name) != 0))
		t = t->next_by_name;
	return t;
}
static const struct tarn__type *find_by_index(struct tarn__types *k, uint32_t index)
{
	/* SYNC types, acquire. */
	const struct tarn__type *t = __atomic_load_n(bucket_by_index(k, index), __ATOMIC_ACQUIRE);

	while (t != NULL && t->index != index)
		t = t->next_by_index;
	return t;
}

/* Enters @t, unless another thread was faster: then that one counts. */
static const struct tarn__type *add(struct tarn__types *k, struct tarn__type *t)
{
	struct tarn__type **name = bucket_by_name(k, t->name_hash);
	struct tarn__type **index = bucket_by_index(k, t->index);
	const struct tarn__type *known;

	pthread_mutex_lock(&k->mutex);
	known = find_by_index(k, t->index);
	if (known == NULL) {
		t->next_by_name = *name;
		t->next_by_index = *index;
		/* SYNC types, release. */
		__atomic_store_n(name, t, __ATOMIC_RELEASE);
		__atomic_store_n(index, t, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&k->mutex);
	if (known == NULL)
		return t;
	free(t);
	return known;
}

static int learn(struct tarn__lane *l, const char *name, uint32_t index,
		 const struct tarn__type **ret)
{
	struct tarn__type *t;
	tarn_parcel p;
	int r = tarn__ask_type(l, name, index, &p);

	if (r < 0)
		return r;
	t = type_new(tarn_parcel_at(&p, 0));
	tarn_parcel_fini(&p);
	if (t == NULL)
		return tarn__negative(tarn_error_last()->code);
	if (name != NULL ? strcmp(t->name, name) != 0 : t->index != index) {
		free(t);
		return tarn__fail(-TARN_EPROTO, "The server described another type than was asked for.");
	}
	*ret = add(&l->client->types, t);
	return 0;
}

int tarn__type_find(struct tarn__lane *l, const char *name, uint32_t index,
		    const struct tarn__type **ret)
{
	struct tarn__types *k = &l->client->types;

	*ret = name != NULL ? find_by_name(k, name) : find_by_index(k, index);
	return tarn__likely(*ret != NULL) ? 0 : learn(l, name, index, ret);
}

int tarn__type_of_slow(struct tarn__lane *l, struct tarn_object *o, const struct tarn__type **ret)
{
	int r = tarn__type_find(l, NULL, o->base.type, ret);

	if (r == 0)
		/* SYNC types, release. Other threads may store the same. */
		__atomic_store_n(&o->base.data, (unsigned char *)(uintptr_t)*ret, __ATOMIC_RELEASE);
	return r;
}

void tarn__types_free(struct tarn_client *c)
{
	for (unsigned i = 0; i < TARN__TYPE_BUCKETS; i++) {
		struct tarn__type *t = c->types.by_name[i];

		while (t != NULL) {
			struct tarn__type *next = t->next_by_name;

			free(t);
			t = next;
		}
	}
}

/* ---- methods ---- */

/* "scale, spin, clone" */
static void list_methods(const struct tarn__type *t, char *text, size_t bytes)
{
	size_t at = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < t->n_methods && at < bytes; i++) {
		int n = snprintf(text + at, bytes - at, "%s%s", i == 0 ? "" : ", ", t->method[i].name);

		at += n > 0 ? (size_t)n : 0;
	}
}

int tarn__type_method(const struct tarn__type *t, const char *method)
{
	if (tarn__unlikely(method == NULL))
		method = ""; /* of which there is none */
	uint64_t hash = hash_text(method);
	char names[300];

	for (uint32_t at = (uint32_t)hash & t->mask; t->slot[at] != 0; at = (at + 1) & t->mask) {
		const struct tarn__method *m = &t->method[t->slot[at] - 1];

		if (m->hash == hash && strcmp(m->name, method) == 0)
			return t->slot[at] - 1;
	}
	list_methods(t, names, sizeof names);
	return tarn__fail(-TARN_ENOMETHOD, "Type '%s' has no method '%s'. It has: %s.", t->name, method,
			  t->n_methods != 0 ? names : "none");
}
