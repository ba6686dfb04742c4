/* SPDX-License-Identifier: Apache-2.0 */
/* Proxies: the public face of handles on objects. Calls are in call.c. */
#include "tarn/object.h"

#include <stdio.h>

#include "call.h"

tarn_object *tarn_object_ref(tarn_object *object)
{
	tarn_block_ref(&object->base);
	return object;
}

tarn_object *tarn_object_unref(tarn_object *object)
{
	if (tarn__likely(object != NULL))
		tarn__handle_drop(&object->base);
	return NULL;
}

uint64_t tarn_object_id(const tarn_object *object)
{
	return object->base.id;
}

tarn_client *tarn_object_client(const tarn_object *object)
{
	return object->base.client;
}

bool tarn_object_same(const tarn_object *a, const tarn_object *b)
{
	if (a == b || a == NULL || b == NULL)
		return a == b;
	if (a->base.id != b->base.id)
		return false;
	if (a->base.client == b->base.client)
		return true;
	/* Two clients of one process: ids mean something within an arena only. */
	const struct tarn__ctrl *x = a->base.client->ctrl, *y = b->base.client->ctrl;

	return x->uuid[0] == y->uuid[0] && x->uuid[1] == y->uuid[1];
}

/* ---- instances in place ---- */

void *tarn__instance_of(struct tarn_client *c, uint64_t id, const tarn_type *type, uint32_t index)
{
	uint64_t header = type->align > 16 ? type->align : 16;
	struct tarn__dir_entry e;

	/* Only the server writes DIR; the id may be anybody's lie. */
	if (tarn__id_index(id) >= c->dir_entries ||
	    !tarn__dir_read(&c->dir[tarn__id_index(id)], id, &e) || !(e.state & TARN__DIR_OBJECT) ||
	    tarn__dir_type(e.state) != index || e.offset > c->data_bytes ||
	    header + type->size > c->data_bytes - e.offset) {
		tarn__fail(-TARN_ESTALE, "There is no %s with this reference (any more).", type->name);
		return NULL;
	}
	tarn__show(c->data + e.offset, header + type->size);
	return c->data + e.offset + header;
}

void *tarn__object_instance_slow(struct tarn_object *o, const tarn_type *type)
{
	struct tarn_client *c = o->base.client;
	const struct tarn__type *t;
	struct tarn__lane *l;

	if (c->ctrl == NULL) {
		tarn__fail(-EPERM, "An inline method has what it is lent for calls only: %s is for executors "
			   "and clients.", type->name);
		return NULL;
	}
	int r = tarn__lane_enter(c, &l);
	if (r < 0)
		return NULL;
	r = tarn__type_of(l, o, &t);
	tarn__lane_leave(l);
	if (r < 0)
		return NULL;
	if (t->builtin != type) {
		tarn__fail(-TARN_EKIND, "A %s is expected, this is a %s: tarn_object_type_name() tells what an "
			   "object is.", type->name, t->name);
		return NULL;
	}
	void *instance = tarn__instance_of(c, o->base.id, type, t->index);

	if (instance == NULL)
		return NULL;
	/* Other threads may store the same. SYNC instance, release. */
	tarn__store_relaxed(&o->base.capacity, (uint64_t)(uintptr_t)instance);
	tarn__store_release(&o->base.size, (uint64_t)(uintptr_t)type);
	return instance;
}

/* ---- what it is ---- */

/* The type, asked for if need be. */
static int type_of(tarn_object *o, const struct tarn__type **ret)
{
	struct tarn__lane *l;
	int r = tarn__lane_enter(o->base.client, &l);

	if (r < 0)
		return r;
	r = tarn__type_of(l, o, ret);
	tarn__lane_leave(l);
	return r;
}

int tarn__object_expect_slow(tarn_object *o, const tarn_type *type, const char *method)
{
	const struct tarn__type *t;
	int r = type_of(o, &t);

	if (r < 0 || t->builtin == type)
		return r;
	return tarn__fail(-TARN_EKIND, "\"%s\" is asked of a %s, this is a %s: tarn_object_type_name() tells "
			  "what an object is, tarn_call() calls methods of any.", method, type->name, t->name);
}

const char *tarn_object_type_name(tarn_object *object)
{
	const struct tarn__type *t;

	return type_of(object, &t) == 0 ? t->name : NULL;
}

int tarn_object_format(const tarn_object *object, char *text, size_t bytes)
{
	/* SYNC types, acquire: as in tarn__type_of(). */
	const struct tarn__type *t = (const void *)__atomic_load_n(&object->base.data,
								   __ATOMIC_ACQUIRE);
	const char *name = t != NULL && !tarn__forked(object->base.client) ? t->name : "object";

	return snprintf(text, bytes, "<%s %u:%llu>", name, tarn__id_index(object->base.id),
			(unsigned long long)tarn__id_generation(object->base.id));
}

int tarn_object_describe(tarn_object *object, char *text, size_t bytes, int64_t timeout_ns)
{
	const char *said;
	tarn_parcel p;
	size_t n;
	int r = tarn_call_n(object, TARN__METHOD_DESCRIBE, NULL, &p, timeout_ns);

	if (r < 0)
		return tarn_object_format(object, text, bytes);
	r = tarn_value_string(tarn_parcel_at(&p, 0), &said, &n);
	r = r == 0 ? snprintf(text, bytes, "%s", said) : tarn_object_format(object, text, bytes);
	tarn_parcel_fini(&p);
	return r;
}

int tarn_object_method_count(tarn_object *object)
{
	const struct tarn__type *t;
	int r = type_of(object, &t);

	return r < 0 ? r : (int)t->n_methods;
}

int tarn_object_method_at(tarn_object *object, unsigned number, tarn_method_facts *ret_facts)
{
	const struct tarn__type *t;
	int r = type_of(object, &t);

	if (r < 0)
		return r;
	if (number >= t->n_methods)
		return tarn__fail(-TARN_ENOMETHOD, "Type '%s' has %u methods, there is no method %u.",
				  t->name, t->n_methods, number);
	const struct tarn__method *m = &t->method[number];

	*ret_facts = (tarn_method_facts){ .name = m->name, .flags = m->flags, .args = m->args,
					  .result = m->result, .result_type = m->result_type };
	return 0;
}
