/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the functions of tarn/stub.h come down to: a call by number, after the caller's table and
 * the server's have been compared once.
 */
#include "tarn/stub.h"

#include <string.h>

#include "call.h"

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static const char *shown(const char *signature)
{
	return signature != NULL ? signature : "anything";
}

static int fail_method(const struct tarn__type *t, unsigned number, const tarn_method_facts *want)
{
	const struct tarn__method *m = number < t->n_methods ? &t->method[number] : NULL;

	if (m == NULL)
		return tarn__fail(-TARN_EVERSION, "Type '%s' of the server has %u methods; this program "
				  "was built for one that has a method %u, '%s'.", t->name,
				  t->n_methods, number, want->name);
	return tarn__fail(-TARN_EVERSION, "Type '%s' of the server is another than this program was "
			  "built for: method %u is %s(%s): %s, expected was %s(%s): %s.", t->name,
			  number, m->name, shown(m->args), shown(m->result), want->name,
			  shown(want->args), shown(want->result));
}

/* Compares the tables; a result type is the server's business. */
static int compare(const struct tarn__type *t, const tarn_stub *stub)
{
	for (unsigned i = 0; stub->methods[i].name != NULL; i++) {
		const tarn_method_facts *want = &stub->methods[i];
		const struct tarn__method *m = &t->method[i];

		if (i >= t->n_methods || strcmp(m->name, want->name) != 0 ||
		    !same_text(m->args, want->args) ||
		    (m->result_type == NULL && !same_text(m->result, want->result)))
			return fail_method(t, i, want);
	}
	return 0;
}

static int check(const struct tarn__type *type, const tarn_stub *stub)
{
	struct tarn__type *t = (struct tarn__type *)(uintptr_t)type;
	int r;

	/* Relaxed: both are constant; whoever is second compares again, at worst. */
	if (tarn__likely(__atomic_load_n(&t->agrees, __ATOMIC_RELAXED) == stub))
		return 0;
	if (strcmp(t->name, stub->type) != 0)
		return tarn__fail(-TARN_EKIND, "The object is a '%s', not a '%s'.", t->name, stub->type);
	r = compare(t, stub);
	if (r == 0)
		__atomic_store_n(&t->agrees, stub, __ATOMIC_RELAXED);
	return r;
}

int tarn_stub_check(tarn_object *object, const tarn_stub *stub)
{
	const struct tarn__type *t;
	struct tarn__lane *l;
	int r = tarn__lane_enter(object->base.client, &l);

	if (r < 0)
		return r;
	r = tarn__type_of(l, object, &t);
	tarn__lane_leave(l);
	return r < 0 ? r : check(t, stub);
}

int tarn_stub_new(tarn_client *client, const tarn_stub *stub, const tarn_builder *args,
		  tarn_object **ret_object)
{
	const struct tarn__type *t;
	struct tarn__lane *l;
	int r = tarn__lane_enter(client, &l);

	if (r < 0)
		return r;
	r = tarn__type_find(l, stub->type, 0, &t);
	tarn__lane_leave(l);
	if (r == 0)
		r = check(t, stub);
	return r < 0 ? r : tarn_object_new(client, stub->type, args, ret_object);
}

int tarn_stub_call(tarn_object *object, const tarn_stub *stub, unsigned number,
		   const tarn_builder *args, tarn_parcel *ret_result, int64_t timeout_ns)
{
	/* SYNC types, acquire: as in tarn__type_of(). */
	const struct tarn__type *t = (const void *)__atomic_load_n(&object->base.data,
								   __ATOMIC_ACQUIRE);

	/* In a forked child the types are there still; the call says what is the matter. */
	if (tarn__unlikely(t == NULL || __atomic_load_n(&t->agrees, __ATOMIC_RELAXED) != stub)) {
		int r = tarn_stub_check(object, stub);

		if (r < 0)
			return r;
	}
	return tarn_call_n(object, number, args, ret_result, timeout_ns);
}
