/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Proxies and what is known of types.
 *
 * A proxy is a handle like a block's (REF_OBJECT) and as large: it comes from the same pool, so
 * that making and dropping one allocates nothing. Instead of an address it has what is known of
 * its type, found out when it is first needed: receiving a proxy asks nobody.
 */
#ifndef TARN_CLIENT_OBJECT_H
#define TARN_CLIENT_OBJECT_H

#include "block.h"
#include "channel.h"
#include "tarn/object.h"
#include "tarn/type.h"

struct tarn_object {
	struct tarn_block base; /* data: struct tarn__type, or NULL; type: its index. Of one of Tarn's
				 * own types, once it was used in place, size: its tarn_type, and
				 * capacity: the address of its instance (tarn__object_instance()) */
};
static_assert(sizeof(struct tarn_object) == sizeof(struct tarn_block), "from one pool");

static inline struct tarn_object *tarn__object_of_base(struct tarn_block *b)
{
	return tarn__container_of(b, struct tarn_object, base);
}

/* ---- types (type.c) ---- */

struct tarn__method {
	uint64_t hash;      /* of the name */
	const char *name;
	unsigned flags;
	const char *args, *result, *result_type; /* NULL: none */
	bool small;         /* its result is known to fit into one slot */
};

/* One allocation, immutable but for agrees, as long as the client. */
struct tarn__type {
	struct tarn__type *next_by_name, *next_by_index;
	uint64_t name_hash, table_hash;
	const tarn_type *builtin; /* NULL: none of Tarn's own */
	const void *agrees; /* the last stub whose table was compared: see stub.c */
	uint32_t index, flags;
	uint32_t n_methods;
	uint32_t mask;      /* of slots: power of two - 1 */
	const char *name;
	uint16_t *slot;     /* 1 + method number, by hash; 0: empty */
	struct tarn__method method[];
};

/* Finds the type by its name, or by index if @name is NULL; asks the server if this client does
 * not know it. -TARN_ENOTYPE, and as calls. */
int tarn__type_find(struct tarn__lane *l, const char *name, uint32_t index,
		    const struct tarn__type **ret);
/* The type of a proxy. */
int tarn__type_of_slow(struct tarn__lane *l, struct tarn_object *o, const struct tarn__type **ret);
static inline int tarn__type_of(struct tarn__lane *l, struct tarn_object *o,
				const struct tarn__type **ret)
{
	/* SYNC types, acquire: with the pointer we see the type. */
	const void *known = __atomic_load_n(&o->base.data, __ATOMIC_ACQUIRE);

	if (tarn__likely(known != NULL)) {
		*ret = known;
		return 0;
	}
	return tarn__type_of_slow(l, o, ret);
}
/* Whether @o is of the built-in @type; -TARN_EKIND, with a sentence for who wanted to call @method, and as calls. */
int tarn__object_expect_slow(struct tarn_object *o, const tarn_type *type, const char *method);
static inline int tarn__object_expect(struct tarn_object *o, const tarn_type *type, const char *method)
{
	/* SYNC types, acquire: as in tarn__type_of(). */
	const struct tarn__type *known = (const void *)__atomic_load_n(&o->base.data, __ATOMIC_ACQUIRE);

	return tarn__likely(known != NULL && known->builtin == type) ? 0 : tarn__object_expect_slow(o, type, method);
}
/*
 * Where the instance of @o is mapped in this process, if @o is of the built-in @type; else NULL, with
 * a sentence (-TARN_EKIND that names both types, or why the type cannot be known). The first
 * call for a proxy may ask the server what it is of, once per type; all others are two loads. It
 * stays valid as long as the proxy. Does not look whether the process is a forked child.
 *
 * What lies there is written by any client: read it once, check it, then use it.
 */
void *tarn__object_instance_slow(struct tarn_object *o, const tarn_type *type);
static inline void *tarn__object_instance(struct tarn_object *o, const tarn_type *type)
{
	/* SYNC instance, acquire: with the type we see the address. */
	if (tarn__likely(tarn__load_acquire(&o->base.size) == (uint64_t)(uintptr_t)type))
		return (void *)(uintptr_t)tarn__load_relaxed(&o->base.capacity);
	return tarn__object_instance_slow(o, type);
}
/* The same of an object that the caller knows by its id alone and something else keeps alive. */
void *tarn__instance_of(struct tarn_client *c, uint64_t id, const tarn_type *type, uint32_t index);
/* The number of a method, or -TARN_ENOMETHOD with the names there are. */
int tarn__type_method(const struct tarn__type *t, const char *method);
void tarn__types_free(struct tarn_client *c);

/* ---- claims that the server has booked for us become handles (adopt.c) ---- */

/* A hold was taken for each (tarn__hold_take()). The caller owns a reference; on failure claim
 * and hold are given back. */
int tarn__block_adopt(struct tarn__lane *l, uint64_t id, uint64_t size, bool sealed,
		      struct tarn_block **ret);
int tarn__object_adopt(struct tarn__lane *l, uint64_t id, const struct tarn__type *type,
		       struct tarn_object **ret);
/* A proxy outside the table, before the claim. NULL and a sentence: no object, no memory. */
struct tarn_object *tarn__object_handle(struct tarn__lane *l, uint64_t id);

/*
 * Of a message's table of references (two words each, see layout.h): each becomes a handle of
 * its kind, of which the caller owns a reference. On failure all claims are given back.
 */
int tarn__refs_adopt(struct tarn__lane *l, const uint64_t *refs, unsigned n,
		     struct tarn_block **ret);
/* Gives the claims of such a table back, without waiting. */
void tarn__refs_drop(struct tarn__lane *l, const uint64_t *refs, unsigned n);

#endif
