/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Types: what the server can make objects of.
 *
 * A type is one constant table: how an object is made and destroyed, and its methods.
 * Objects live in the server: a method runs there, on the instance, which lies in the arena
 * at an address that does not change.
 *
 *	struct magnifier { double factor; };
 *
 *	static int create(tarn_context *ctx, void *self)
 *	{
 *		struct magnifier *m = self;
 *		return tarn_context_get(ctx, "d", &m->factor);
 *	}
 *	static int scale(tarn_context *ctx, void *self)
 *	{
 *		const struct magnifier *m = self;
 *		double x;
 *		int r = tarn_context_get(ctx, "d", &x);
 *		if (r < 0)
 *			return r;
 *		if (x < 0)
 *			return tarn_throw(ctx, "ValueError", "x must not be negative, as %g is", x);
 *		return tarn_put_double(tarn_context_result(ctx), m->factor * x);
 *	}
 *	static const tarn_method methods[] = {
 *		{ "scale", scale, TARN_METHOD_INLINE | TARN_METHOD_READ, "d", "d" },
 *		{ 0 },
 *	};
 *	const tarn_type magnifier = {
 *		.name = "Magnifier", .size = sizeof(struct magnifier), .flags = TARN_TYPE_INLINE,
 *		.create = create, .methods = methods,
 *	};
 *	TARN_TYPE_REGISTER(magnifier)
 *
 * Methods return 0 or a negative code. tarn_throw() makes an error that the caller sees whole,
 * with where it was thrown. What a failed method held, dropped and put into its result is
 * undone; what it wrote into the instance is not.
 *
 * The instance is shared memory like a block's bytes: every client of the arena could write
 * to it. References to other objects and blocks are kept by tarn_self_hold(); what the
 * instance remembers of them is the id.
 */
#ifndef TARN_TYPE_H
#define TARN_TYPE_H

#include "client.h"
#include "fault.h"
#include "value.h"

TARN_BEGIN

typedef struct tarn_context tarn_context;
typedef int tarn_method_fn(tarn_context *ctx, void *self);

enum tarn_method_flags {
	/* Runs on the server's one thread that serves everybody: it must be short, and neither
	 * call nor wait. Others run on executors, threads of their own. */
	TARN_METHOD_INLINE = 1,
	TARN_METHOD_READ = 2,     /* does not change the instance: see TARN_READ_MOSTLY */
	TARN_METHOD_INTERNAL = 4, /* not for clients; for other methods of the server */
};

/* The table of a type ends with an entry whose name is NULL. */
typedef struct tarn_method {
	const char *name;
	tarn_method_fn *fn;
	unsigned flags;          /* enum tarn_method_flags */
	const char *args;        /* as tarn_parcel_get() takes them: "d", "i[s*]"; checked before the
				  * method runs. NULL: anything */
	const char *result;      /* the same of the result, for people and stubs; NULL: anything */
	const char *result_type; /* the result is an object of this type: what the method puts are
				  * the arguments of its creator. NULL: the result as it is */
} tarn_method;

/* Plain members of the instance that clients may read by a method of the member's name, and
 * set by "name=". The table ends with name NULL. */
typedef struct tarn_field {
	const char *name;
	char letter;             /* of tarn_put(): b (bool), i, q, I, Q or d */
	bool writable;
	size_t offset;           /* offsetof() */
} tarn_field;

enum tarn_concurrency {
	TARN_SERIAL = 0,  /* one call at a time on an object; a method may call itself again */
	TARN_PARALLEL,    /* any number: the methods look after themselves */
	TARN_READ_MOSTLY, /* methods with TARN_METHOD_READ share, others are alone */
};

enum tarn_type_flags {
	TARN_TYPE_INLINE = 1,      /* create and destroy are short, as inline methods are */
	TARN_TYPE_RESULT_ONLY = 2, /* clients cannot create one: it comes as a result */
	TARN_TYPE_PRIVATE = 4,     /* the instance has pointers of the process: it would not
				    * survive a replaced server */
	TARN_TYPE_ADOPT = 8,       /* no instances: "creating" one gives the only argument, an
				    * object or block, as it is */
};

typedef struct tarn_type {
	const char *name;        /* at most 63 bytes; "tarn." begins those of Tarn's own types */
	size_t size;             /* of the instance; 0 is allowed */
	size_t align;            /* power of two; 0: 16 */
	unsigned flags;          /* enum tarn_type_flags */
	enum tarn_concurrency concurrency;
	const char *args;        /* of create, as tarn_method's */
	tarn_method_fn *create;  /* self is all 0; NULL: it stays so, and there are no arguments */
	void (*destroy)(tarn_context *ctx, void *self); /* NULL: nothing to do */
	/* Writes what it is into @text, as snprintf() does and with its result. On the server's
	 * thread, for tools. NULL: nothing is known. */
	int (*describe)(const void *self, char *text, size_t bytes);
	const tarn_method *methods; /* NULL: none */
	const tarn_field *fields;   /* NULL: none */
	/*
	 * A client is gone for good: its process died, or it closed the client. Called once for each
	 * object of this type that lives then, after all that the client sent was read, before what
	 * it held is dropped, and before @client (tarn_client_id(), tarn_caller.client) can be
	 * another's number. On the server's thread, as inline methods, but also while methods of the
	 * object run on executors: what both touch is atomic. It may hold and drop; it makes no
	 * objects and fails nobody. Should the server itself be killed in it, its successor calls it
	 * again. An evicted client is gone when its process is. A call of the client's that waits for
	 * an executor (also of an inline method, if its object is busy or its arguments are long) may
	 * still begin afterwards, with a caller that is gone, or whose number is another's by then.
	 * NULL: nothing to do.
	 */
	void (*departed)(tarn_context *ctx, void *self, uint32_t client);
} tarn_type;

/* ---- registries ---- */

/*
 * A set of types. A server has those that were registered when it started, by
 * tarn_server_options.registry or, without one, of the process's default registry. Any
 * thread. Tables are not copied: they stay while a registry or server has them.
 */
typedef struct tarn_registry tarn_registry;

/* The process's own; never freed. Has what TARN_TYPE_REGISTER() says in the program and in the
 * libraries that were loaded when it is first asked for; a table that is wrong there fails the
 * start of servers. */
TARN_EXPORT tarn_registry *tarn_registry_default(void);

/* NULL without memory. The caller frees it. */
TARN_EXPORT tarn_registry *tarn_registry_new(void);
/* One that has the same types, and goes its own way from there. */
TARN_EXPORT tarn_registry *tarn_registry_clone(const tarn_registry *registry);
/* NULL is allowed. Returns NULL. Servers that were started with it keep their types. */
TARN_EXPORT tarn_registry *tarn_registry_free(tarn_registry *registry);

/* -EEXIST there is a type of that name, -EINVAL the table is wrong (the text says which type,
 * which method, what) or the name is reserved, -ENOMEM. */
TARN_EXPORT int tarn_type_register(tarn_registry *registry, const tarn_type *type);

/* -TARN_ENOTYPE there is none. Servers of this process that have it create no more of them;
 * what lives stays usable. */
TARN_EXPORT int tarn_type_unregister(tarn_registry *registry, const char *name);

/* NULL if there is none. */
TARN_EXPORT const tarn_type *tarn_type_find(const tarn_registry *registry, const char *name);

/* Types one by one, @index from 0; NULL behind the last. */
TARN_EXPORT const tarn_type *tarn_registry_at(const tarn_registry *registry, unsigned index);

/* As notes in the program, not by constructors: a server that this program starts is the program
 * again, and begins to serve before the program's constructors run. Two types of a program need
 * different C names. */
#define TARN_TYPE_REGISTER(type)                                                              \
	extern const tarn_type *const tarn_registered_##type                                  \
		__attribute__((visibility("hidden")));                                        \
	__attribute__((used)) const tarn_type *const tarn_registered_##type = &(type);                              \
	__asm__(".pushsection .note.tarn,\"a\",%note\n"                                       \
		"	.balign 4\n"                                                          \
		"	.long 2f - 1f, 4f - 3f, 2\n"                                          \
		"1:	.asciz \"Tarn\"\n"                                                    \
		"2:	.balign 4\n"                                                          \
		"3:	.8byte tarn_registered_" #type " - .\n"                               \
		"4:	.balign 4\n"                                                          \
		".popsection\n");

/*
 * A module: a shared object for `tarnd --load` or tarn_registry_load(). It defines
 *
 *	const struct tarn_module tarn_module = { TARN_MODULE_VERSION, types, NULL };
 */
#define TARN_MODULE_VERSION 1u
struct tarn_module { /* no typedef: the name is the symbol's */
	unsigned version;              /* TARN_MODULE_VERSION */
	const tarn_type *const *types; /* ends with NULL; may be NULL */
	int (*load)(tarn_registry *registry); /* called last; may be NULL */
};

/* Defines the symbol that makes a shared object a module; at file scope. */
#define TARN_MODULE(types_, load_)                                     \
	extern const struct tarn_module tarn_module                    \
		__attribute__((visibility("default")));                \
	const struct tarn_module tarn_module = { TARN_MODULE_VERSION, (types_), (load_) };

/* Loads the module in the file @path and registers its types; all or none. It is never
 * unloaded. -ENOENT, -ENOEXEC no such symbol or another version, as tarn_type_register(), or
 * what its load() returned. */
TARN_EXPORT int tarn_registry_load(tarn_registry *registry, const char *path);

/* ---- in a method ---- */

/* Arguments and result. The parcel and what is read from it end with the method. */
TARN_EXPORT const tarn_parcel *tarn_context_args(const tarn_context *ctx);
/* tarn_parcel_get() on the arguments. */
TARN_EXPORT int tarn_context_get(tarn_context *ctx, const char *format, ...);
TARN_EXPORT tarn_builder *tarn_context_result(tarn_context *ctx);

/* The object itself; borrowed. Take a reference (tarn_object_ref) to keep it, but not in an
 * inline method or destructor, where it ends with the method. */
TARN_EXPORT tarn_object *tarn_context_self(tarn_context *ctx);

/* The server's client for its own use: to make blocks and to call. NULL in an inline method. */
TARN_EXPORT tarn_client *tarn_context_client(tarn_context *ctx);

/* Whose call it is: the client's number and process. 0: a method of the server, or unknown. */
typedef struct tarn_caller {
	uint32_t client;
	uint32_t pid;
} tarn_caller;
TARN_EXPORT tarn_caller tarn_context_caller(const tarn_context *ctx);

/* The caller does not wait any more: it canceled the call, or its time is over, or it is dead.
 * Long methods look now and then. */
TARN_EXPORT bool tarn_context_canceled(const tarn_context *ctx);

/* Name of the method that runs: "create", "destroy" and "departed" for those. */
TARN_EXPORT const char *tarn_context_method(const tarn_context *ctx);

/* Where tarn_throw() puts the fault. */
TARN_EXPORT tarn_fault **tarn_context_fault(tarn_context *ctx);

/* return tarn_throw(ctx, "ValueError", "not %d", n); */
#define tarn_throw(ctx, ...) \
	tarn_fault_throw(tarn_context_fault(ctx), __FILE__, __LINE__, __func__, __VA_ARGS__)
/* Passes the failure of a call of this method on, with this place: return tarn_rethrow(ctx); */
#define tarn_rethrow(ctx) \
	tarn_fault_rethrow(tarn_context_fault(ctx), __FILE__, __LINE__, __func__)

/* ---- references that an object keeps ---- */

/*
 * The object keeps @ref alive until it drops it or ends itself. Held twice must be dropped twice. Takes effect when the method
 * has succeeded. -TARN_ESTATE in a destructor, -ENOMEM, -ENOSPC.
 */
TARN_EXPORT int tarn_self_hold_block(tarn_context *ctx, tarn_block *block);
TARN_EXPORT int tarn_self_hold_object(tarn_context *ctx, tarn_object *object);
TARN_EXPORT int tarn_self_hold_channel(tarn_context *ctx, tarn_channel *channel);
/* Any of the three, by what @ref is. */
#ifdef __cplusplus
extern "C++" {
static inline int tarn_self_hold(tarn_context *ctx, tarn_block *ref)
{
	return tarn_self_hold_block(ctx, ref);
}
static inline int tarn_self_hold(tarn_context *ctx, tarn_object *ref)
{
	return tarn_self_hold_object(ctx, ref);
}
static inline int tarn_self_hold(tarn_context *ctx, tarn_channel *ref)
{
	return tarn_self_hold_channel(ctx, ref);
}
}
#else
#define tarn_self_hold(ctx, ref)                            \
	_Generic((ref), tarn_block * : tarn_self_hold_block,    \
		 tarn_object * : tarn_self_hold_object,         \
		 tarn_channel * : tarn_self_hold_channel)((ctx), (ref))
#endif

/* The reverse; by id, which is what an instance remembers. -ENOENT: it does not hold it. An
 * executor's method hears of that only in the server's log. */
TARN_EXPORT int tarn_self_drop(tarn_context *ctx, uint64_t id);

/*
 * A handle on something that this object holds, by its id. Borrowed until the method ends.
 * -TARN_ESTALE it is no more, -TARN_EKIND it is something else.
 */
TARN_EXPORT int tarn_self_block(tarn_context *ctx, uint64_t id, tarn_block **ret_block);
TARN_EXPORT int tarn_self_object(tarn_context *ctx, uint64_t id, tarn_object **ret_object);
/* Appends it, of whatever kind it is, to the result. -TARN_ESTALE. */
TARN_EXPORT int tarn_self_put(tarn_context *ctx, uint64_t id);

/* ---- making objects ---- */

/*
 * Makes an object of type @type in this server; @args (NULL: none) are its creator's. The
 * handle belongs to the method, which puts it into its result, holds it, or both; it ends
 * with the method (in an executor one may take a reference). In an inline method @type must
 * be TARN_TYPE_INLINE.
 * -TARN_ENOTYPE, -TARN_EREMOTE its creator failed (pass it on with tarn_rethrow), -ENOMEM.
 */
TARN_EXPORT int tarn_managed(tarn_context *ctx, const char *type, const tarn_builder *args,
			     tarn_object **ret_object);
/* The same without its creator: the bytes at @instance are the instance from now on. */
TARN_EXPORT int tarn_managed_move(tarn_context *ctx, const char *type, const void *instance,
				  tarn_object **ret_object);
/*
 * The object whose instance @self is (of this server, of any type): the same one however often
 * it is asked for. -ENOENT it is no instance.
 */
TARN_EXPORT int tarn_managed_of(tarn_context *ctx, const void *self, tarn_object **ret_object);

/* In a creator: give the caller @existing instead of a new object; self goes unused. */
TARN_EXPORT int tarn_context_return_object(tarn_context *ctx, tarn_object *existing);

TARN_END

#endif
