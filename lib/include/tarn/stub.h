/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stubs: a type's table, written once, becomes the server's methods and plain C functions for
 * callers, with types that the compiler checks.
 *
 *	#define MAGNIFIER(NEW, METHOD, x)                       \
 *		NEW(x, real)                                    \
 *		METHOD(x, scale, TARN_METHOD_READ, real, real)  \
 *		METHOD(x, factor_set, 0, none, real)
 *
 * Of METHOD: the name, flags, kind of the result, kinds of the arguments (up to six; none).
 *
 * A caller writes TARN_STUB_CLIENT("Magnifier", magnifier, MAGNIFIER) and has
 *
 *	magnifier *m;                                the proxy; a tarn_object is no magnifier
 *	magnifier_new(client, 2.0, &m);
 *	magnifier_scale(m, 3.0, &y);                 waits for ever; or
 *	magnifier_scale_within(m, 3.0, &y, timeout_ns);
 *	magnifier_unref(m);
 *	magnifier_from(object, &m);                  takes the reference over, if it is one
 *	magnifier_object(m);                         the other way; borrowed
 *
 * A server writes TARN_STUB_SERVER(magnifier, MAGNIFIER), behind its functions
 *
 *	static int magnifier_create(tarn_context *ctx, struct magnifier_self *self, double factor);
 *	static int magnifier_do_scale(tarn_context *ctx, struct magnifier_self *self, double x,
 *				      double *ret);
 *
 * and has magnifier_methods[] and magnifier_create_stub for its tarn_type, and
 * magnifier_create_args, the signature.
 *
 * The first call on a type compares this table with the server's: -TARN_EVERSION if they
 * differ, and the text says where.
 *
 * kind      in C           kind      in C
 * flag      bool           text      const char * (not as a result)
 * integer   int64_t        block     tarn_block *
 * natural   uint64_t       object    tarn_object *
 * real      double         channel   tarn_channel *
 * none      nothing        values    as a result only: tarn_parcel *, anything
 *
 * The caller of a stub owns the references that it gets as results. In a server's function
 * arguments are borrowed, and a handle put into *ret is borrowed from it.
 */
#ifndef TARN_STUB_H
#define TARN_STUB_H

#include "object.h"

/* A wrong pointer is an error, not a warning, whatever the compiler's age. */
#ifndef __cplusplus
#pragma GCC diagnostic error "-Wincompatible-pointer-types"
#pragma GCC diagnostic error "-Wint-conversion"
#pragma GCC diagnostic error "-Wimplicit-function-declaration"
#endif

TARN_BEGIN

/* What a caller knows of a type. */
typedef struct tarn_stub {
	const char *type;
	const tarn_method_facts *methods; /* ends with name NULL */
} tarn_stub;

/* Makes an object of the stub's type. As tarn_object_new(); -TARN_EVERSION. */
TARN_EXPORT int tarn_stub_new(tarn_client *client, const tarn_stub *stub, const tarn_builder *args,
			      tarn_object **ret_object);
/* Calls method @number of the stub's table. As tarn_call_n(); -TARN_EVERSION the server's table
 * is another one, -TARN_EKIND the object is of another type. */
TARN_EXPORT int tarn_stub_call(tarn_object *object, const tarn_stub *stub, unsigned number,
			       const tarn_builder *args, tarn_parcel *ret_result,
			       int64_t timeout_ns);
/* Whether @object is of the stub's type, and the tables agree: 0, -TARN_EKIND, -TARN_EVERSION. */
TARN_EXPORT int tarn_stub_check(tarn_object *object, const tarn_stub *stub);

TARN_END

/* ---- for each of up to six kinds: m##kind(place) ---- */

#define TARN__COUNT(...) TARN__COUNT_(__VA_ARGS__, 6, 5, 4, 3, 2, 1, 0)
#define TARN__COUNT_(a, b, c, d, e, f, n, ...) n
#define TARN__PASTE(a, b) TARN__PASTE_(a, b)
#define TARN__PASTE_(a, b) a##b
#define TARN__EACH(m, ...) TARN__PASTE(TARN__EACH_, TARN__COUNT(__VA_ARGS__))(m, __VA_ARGS__)
#define TARN__EACH_1(m, a) m##a(1)
#define TARN__EACH_2(m, a, b) m##a(1) m##b(2)
#define TARN__EACH_3(m, a, b, c) m##a(1) m##b(2) m##c(3)
#define TARN__EACH_4(m, a, b, c, d) m##a(1) m##b(2) m##c(3) m##d(4)
#define TARN__EACH_5(m, a, b, c, d, e) m##a(1) m##b(2) m##c(3) m##d(4) m##e(5)
#define TARN__EACH_6(m, a, b, c, d, e, f) m##a(1) m##b(2) m##c(3) m##d(4) m##e(5) m##f(6)

/* Its letter. */
#define TARN__LETTER_none(i)
#define TARN__LETTER_flag(i) "b"
#define TARN__LETTER_integer(i) "q"
#define TARN__LETTER_natural(i) "Q"
#define TARN__LETTER_real(i) "d"
#define TARN__LETTER_text(i) "s"
#define TARN__LETTER_block(i) "B"
#define TARN__LETTER_object(i) "O"
#define TARN__LETTER_channel(i) "C"

/* The signature of a result: "" none, NULL anything. */
#define TARN__RESULT_none ""
#define TARN__RESULT_flag "b"
#define TARN__RESULT_integer "q"
#define TARN__RESULT_natural "Q"
#define TARN__RESULT_real "d"
#define TARN__RESULT_block "B"
#define TARN__RESULT_object "O"
#define TARN__RESULT_channel "C"
#define TARN__RESULT_values NULL

/* A parameter. */
#define TARN__PARAM_none(i)
#define TARN__PARAM_flag(i) , bool a##i
#define TARN__PARAM_integer(i) , int64_t a##i
#define TARN__PARAM_natural(i) , uint64_t a##i
#define TARN__PARAM_real(i) , double a##i
#define TARN__PARAM_text(i) , const char *a##i
#define TARN__PARAM_block(i) , tarn_block *a##i
#define TARN__PARAM_object(i) , tarn_object *a##i
#define TARN__PARAM_channel(i) , tarn_channel *a##i

#define TARN__PASS_none(i)
#define TARN__PASS_flag(i) , a##i
#define TARN__PASS_integer(i) , a##i
#define TARN__PASS_natural(i) , a##i
#define TARN__PASS_real(i) , a##i
#define TARN__PASS_text(i) , a##i
#define TARN__PASS_block(i) , a##i
#define TARN__PASS_object(i) , a##i
#define TARN__PASS_channel(i) , a##i

/* Into a builder b. */
#define TARN__PUT_none(i)
#define TARN__PUT_flag(i) tarn_put_bool(&b, a##i);
#define TARN__PUT_integer(i) tarn_put_int(&b, a##i);
#define TARN__PUT_natural(i) tarn_put_uint(&b, a##i);
#define TARN__PUT_real(i) tarn_put_double(&b, a##i);
#define TARN__PUT_text(i) tarn_put_string(&b, a##i);
#define TARN__PUT_block(i) tarn_put_block(&b, a##i);
#define TARN__PUT_object(i) tarn_put_object(&b, a##i);
#define TARN__PUT_channel(i) tarn_put_channel(&b, a##i);

/* A variable, read from argument i of a method. */
#define TARN__TAKE_none(i)
#define TARN__TAKE(type, i, get)                                                        \
	type a##i = 0;                                                                  \
	if (r == 0)                                                                     \
		r = get(tarn_parcel_at(tarn_context_args(ctx), (i) - 1), &a##i);
#define TARN__TAKE_flag(i) TARN__TAKE(bool, i, tarn_value_bool)
#define TARN__TAKE_integer(i) TARN__TAKE(int64_t, i, tarn_value_int)
#define TARN__TAKE_natural(i) TARN__TAKE(uint64_t, i, tarn_value_uint)
#define TARN__TAKE_real(i) TARN__TAKE(double, i, tarn_value_double)
#define TARN__TAKE_text(i) TARN__TAKE(const char *, i, tarn_stub_text)
#define TARN__TAKE_block(i) TARN__TAKE(tarn_block *, i, tarn_value_block)
#define TARN__TAKE_object(i) TARN__TAKE(tarn_object *, i, tarn_value_object)
#define TARN__TAKE_channel(i) TARN__TAKE(tarn_channel *, i, tarn_value_channel)

/* A result: as a parameter, what a caller has room for, and how it gets there. */
#define TARN__OUT_none
#define TARN__OUT_flag , bool *ret
#define TARN__OUT_integer , int64_t *ret
#define TARN__OUT_natural , uint64_t *ret
#define TARN__OUT_real , double *ret
#define TARN__OUT_block , tarn_block **ret
#define TARN__OUT_object , tarn_object **ret
#define TARN__OUT_channel , tarn_channel **ret
#define TARN__OUT_values , tarn_parcel *ret

#define TARN__PASSRET_none
#define TARN__PASSRET_flag , ret
#define TARN__PASSRET_integer , ret
#define TARN__PASSRET_natural , ret
#define TARN__PASSRET_real , ret
#define TARN__PASSRET_block , ret
#define TARN__PASSRET_object , ret
#define TARN__PASSRET_channel , ret
#define TARN__PASSRET_values , ret

#define TARN__ROOM_none NULL
#define TARN__ROOM_flag &p
#define TARN__ROOM_integer &p
#define TARN__ROOM_natural &p
#define TARN__ROOM_real &p
#define TARN__ROOM_block &p
#define TARN__ROOM_object &p
#define TARN__ROOM_channel &p
#define TARN__ROOM_values ret

#define TARN__HAVE(get, keep)                                \
	if (r == 0) {                                        \
		r = get(tarn_parcel_at(&p, 0), ret);         \
		if (r == 0)                                  \
			keep;                                \
		tarn_parcel_fini(&p);                        \
	}
#define TARN__HAVE_none (void)p;
#define TARN__HAVE_flag TARN__HAVE(tarn_value_bool, (void)0)
#define TARN__HAVE_integer TARN__HAVE(tarn_value_int, (void)0)
#define TARN__HAVE_natural TARN__HAVE(tarn_value_uint, (void)0)
#define TARN__HAVE_real TARN__HAVE(tarn_value_double, (void)0)
#define TARN__HAVE_block TARN__HAVE(tarn_value_block, tarn_block_ref(*ret))
#define TARN__HAVE_object TARN__HAVE(tarn_value_object, tarn_object_ref(*ret))
#define TARN__HAVE_channel TARN__HAVE(tarn_value_channel, tarn_channel_ref(*ret))
#define TARN__HAVE_values (void)p;

/* A server's result: a variable, its place as an argument, and putting it. */
#define TARN__VAR_none
#define TARN__VAR_flag bool ret = false;
#define TARN__VAR_integer int64_t ret = 0;
#define TARN__VAR_natural uint64_t ret = 0;
#define TARN__VAR_real double ret = 0;
#define TARN__VAR_block tarn_block *ret = NULL;
#define TARN__VAR_object tarn_object *ret = NULL;
#define TARN__VAR_channel tarn_channel *ret = NULL;
#define TARN__VAR_values

#define TARN__AT_none
#define TARN__AT_flag , &ret
#define TARN__AT_integer , &ret
#define TARN__AT_natural , &ret
#define TARN__AT_real , &ret
#define TARN__AT_block , &ret
#define TARN__AT_object , &ret
#define TARN__AT_channel , &ret
#define TARN__AT_values , tarn_context_result(ctx)

#define TARN__GIVE_none
#define TARN__GIVE(put)                                             \
	if (r == 0)                                                 \
		r = put(tarn_context_result(ctx), ret);
#define TARN__GIVE_flag TARN__GIVE(tarn_put_bool)
#define TARN__GIVE_integer TARN__GIVE(tarn_put_int)
#define TARN__GIVE_natural TARN__GIVE(tarn_put_uint)
#define TARN__GIVE_real TARN__GIVE(tarn_put_double)
#define TARN__GIVE_block TARN__GIVE(tarn_put_block)
#define TARN__GIVE_object TARN__GIVE(tarn_put_object)
#define TARN__GIVE_channel TARN__GIVE(tarn_put_channel)
#define TARN__GIVE_values

static inline int tarn_stub_text(tarn_value value, const char **ret)
{
	return tarn_value_string(value, ret, NULL);
}

/* ---- callers ---- */

#define TARN__IGNORE_NEW(x, ...)
#define TARN__IGNORE_METHOD(x, name, flags, result, ...)

#define TARN__STUB_NUMBER(x, name, flags, result, ...) x##_number_##name,
#define TARN__STUB_FACTS(x, name, flags, result, ...)                                    \
	{ #name, (flags), "" TARN__EACH(TARN__LETTER_, __VA_ARGS__), TARN__RESULT_##result, NULL },

#define TARN__STUB_NEW(x, ...)                                                           \
	__attribute__((unused)) static inline int x##_new(                               \
		tarn_client *client TARN__EACH(TARN__PARAM_, __VA_ARGS__), x **ret)      \
	{                                                                                \
		tarn_object *object;                                                     \
		tarn_builder b;                                                          \
		int r;                                                                   \
		tarn_builder_init(&b);                                                   \
		TARN__EACH(TARN__PUT_, __VA_ARGS__)                                      \
		r = tarn_stub_new(client, &x##_stub, &b, &object);                       \
		tarn_builder_fini(&b);                                                   \
		if (r == 0)                                                              \
			*ret = (x *)(void *)object;                                      \
		return r;                                                                \
	}

#define TARN__STUB_CALL(x, name, flags, result, ...)                                     \
	__attribute__((unused)) static inline int x##_##name##_within(                   \
		x *self TARN__EACH(TARN__PARAM_, __VA_ARGS__) TARN__OUT_##result,        \
		int64_t timeout_ns)                                                      \
	{                                                                                \
		tarn_builder b;                                                          \
		tarn_parcel p;                                                           \
		int r;                                                                   \
		tarn_builder_init(&b);                                                   \
		TARN__EACH(TARN__PUT_, __VA_ARGS__)                                      \
		r = tarn_stub_call(x##_object(self), &x##_stub, x##_number_##name, &b,   \
				   TARN__ROOM_##result, timeout_ns);                     \
		tarn_builder_fini(&b);                                                   \
		TARN__HAVE_##result                                                      \
		return r;                                                                \
	}                                                                                \
	__attribute__((unused)) static inline int x##_##name(                            \
		x *self TARN__EACH(TARN__PARAM_, __VA_ARGS__) TARN__OUT_##result)        \
	{                                                                                \
		return x##_##name##_within(self TARN__EACH(TARN__PASS_, __VA_ARGS__)     \
					   TARN__PASSRET_##result, TARN_FOREVER);        \
	}

#define TARN_STUB_CLIENT(type, x, TABLE)                                                 \
	typedef struct x x; /* never completed: a proxy */                               \
	enum { TABLE(TARN__IGNORE_NEW, TARN__STUB_NUMBER, x) x##_numbers };              \
	static const tarn_method_facts x##_facts[] = {                                   \
		TABLE(TARN__IGNORE_NEW, TARN__STUB_FACTS, x) { NULL, 0, NULL, NULL, NULL } }; \
	static const tarn_stub x##_stub = { type, x##_facts };                           \
	__attribute__((unused)) static inline tarn_object *x##_object(x *self)           \
	{                                                                                \
		return (tarn_object *)(void *)self;                                      \
	}                                                                                \
	__attribute__((unused)) static inline int x##_from(tarn_object *object, x **ret) \
	{                                                                                \
		int r = tarn_stub_check(object, &x##_stub);                              \
		if (r == 0)                                                              \
			*ret = (x *)(void *)object;                                      \
		return r;                                                                \
	}                                                                                \
	__attribute__((unused)) static inline x *x##_ref(x *self)                        \
	{                                                                                \
		tarn_object_ref(x##_object(self));                                       \
		return self;                                                             \
	}                                                                                \
	__attribute__((unused)) static inline x *x##_unref(x *self)                      \
	{                                                                                \
		tarn_object_unref(x##_object(self));                                     \
		return NULL;                                                             \
	}                                                                                \
	TABLE(TARN__STUB_NEW, TARN__STUB_CALL, x)                                        \
	struct x /* wants a semicolon */

/* ---- servers: with <tarn/type.h> ---- */

#define TARN__STUB_CREATE(x, ...)                                                        \
	__attribute__((unused)) static const char x##_create_args[] =                    \
		"" TARN__EACH(TARN__LETTER_, __VA_ARGS__);                               \
	__attribute__((unused)) static int x##_create_stub(tarn_context *ctx, void *self) \
	{                                                                                \
		int r = 0;                                                               \
		TARN__EACH(TARN__TAKE_, __VA_ARGS__)                                     \
		return r < 0 ? r : x##_create(ctx, (struct x##_self *)self TARN__EACH(TARN__PASS_, __VA_ARGS__)); \
	}

#define TARN__STUB_RUN(x, name, flags, result, ...)                                      \
	static int x##_run_##name(tarn_context *ctx, void *self)                         \
	{                                                                                \
		int r = 0;                                                               \
		TARN__VAR_##result                                                       \
		TARN__EACH(TARN__TAKE_, __VA_ARGS__)                                     \
		if (r == 0)                                                              \
			r = x##_do_##name(ctx, (struct x##_self *)self             \
					  TARN__EACH(TARN__PASS_, __VA_ARGS__)           \
					  TARN__AT_##result);                            \
		TARN__GIVE_##result                                                      \
		return r;                                                                \
	}

#define TARN__STUB_METHOD(x, name, flags, result, ...)                                   \
	{ #name, x##_run_##name, (flags), "" TARN__EACH(TARN__LETTER_, __VA_ARGS__),     \
	  TARN__RESULT_##result, NULL },

#define TARN_STUB_SERVER(x, TABLE)                                                       \
	TABLE(TARN__STUB_CREATE, TARN__STUB_RUN, x)                                      \
	static const tarn_method x##_methods[] = {                                       \
		TABLE(TARN__IGNORE_NEW, TARN__STUB_METHOD, x)                            \
		{ NULL, NULL, 0, NULL, NULL, NULL } }

#endif
