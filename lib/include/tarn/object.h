/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects: instances of registered types that live in the server, their proxies, and calls.
 *
 * A proxy (tarn_object *) belongs to the process and counts its local references; the
 * server counts the processes, as with blocks. An object lives as long as anybody holds a
 * proxy, or another object, a channel, an export or a name refers to it; the death of a
 * process drops what it held. Proxies travel in arguments and results of calls, at any depth
 * of a value, through channels, and as tokens; every process that gets one can do with it
 * all that its maker can.
 *
 *	tarn_object *m;
 *	double y;
 *
 *	tarn_object_newf(client, "Magnifier", &m, "d", 2.0);
 *	tarn_callf(m, "scale", TARN_FOREVER, "d", "d", 3.0, &y);
 *	tarn_object_unref(m);
 *
 * A call fails with -TARN_EREMOTE when the method did: tarn_error_fault() is then its error,
 * with the server's stack. All other codes are those of the machinery: nothing was run, if not
 * said otherwise.
 *
 * Timeouts are nanoseconds, TARN_FOREVER without limit; 0 posts the call and only looks. A call
 * that is not answered in time is cancelled: it may have run, and what it returns is given
 * back. Calls of one thread reach one object in order.
 *
 * Threads: functions on proxies from any thread that holds a reference. A call in the
 * background (tarn_pending) belongs to the thread that started it.
 */
#ifndef TARN_OBJECT_H
#define TARN_OBJECT_H

#include "block.h"
#include "channel.h"
#include "token.h"
#include "value.h"

TARN_BEGIN

/* ---- making and holding ---- */

/*
 * Makes an object of type @type from @args (NULL: none) and waits for it. The caller owns the
 * reference in @ret_object. The creator decides whether it is a new one.
 * -TARN_ENOTYPE the server has no such type, -EPERM only results have it, -TARN_EARGS,
 * -TARN_EREMOTE the creator failed: nothing remains; -ENOMEM, -TARN_ESRVDOWN ...
 */
TARN_EXPORT int tarn_object_new(tarn_client *client, const char *type, const tarn_builder *args,
				tarn_object **ret_object);
/* The same with the arguments as tarn_put() takes them. */
TARN_EXPORT int tarn_object_newf(tarn_client *client, const char *type, tarn_object **ret_object,
				 const char *args, ...);

TARN_EXPORT tarn_object *tarn_object_ref(tarn_object *object);
/* Drops a reference; NULL is allowed. Returns NULL. Never waits; the destructor runs later. */
TARN_EXPORT tarn_object *tarn_object_unref(tarn_object *object);

TARN_EXPORT uint64_t tarn_object_id(const tarn_object *object);
TARN_EXPORT tarn_client *tarn_object_client(const tarn_object *object);
/* Two proxies of one object? */
TARN_EXPORT bool tarn_object_same(const tarn_object *a, const tarn_object *b);
/* The name of its type. Asks the server once for a type that this process did not know; then
 * NULL if that fails. Belongs to the client. */
TARN_EXPORT const char *tarn_object_type_name(tarn_object *object);
/* "<Magnifier 5:3>" into @text, without a message; returns what snprintf would. */
TARN_EXPORT int tarn_object_format(const tarn_object *object, char *text, size_t bytes);
/*
 * What the type's describe says of the object now, or tarn_object_format() if it says nothing or
 * the server does not answer. Returns what snprintf would.
 */
TARN_EXPORT int tarn_object_describe(tarn_object *object, char *text, size_t bytes,
				     int64_t timeout_ns);

/* ---- methods ---- */

typedef struct tarn_method_facts {
	const char *name;
	unsigned flags;          /* enum tarn_method_flags */
	const char *args;        /* as tarn_put() takes them; NULL: anything */
	const char *result;      /* likewise */
	const char *result_type; /* NULL: a plain value */
} tarn_method_facts;

/* How many methods its type has; negative as tarn_object_type_name() fails. */
TARN_EXPORT int tarn_object_method_count(tarn_object *object);
/* Facts of method @number, from 0; they belong to the client. -TARN_ENOMETHOD beyond. */
TARN_EXPORT int tarn_object_method_at(tarn_object *object, unsigned number,
				      tarn_method_facts *ret_facts);
/* The number of a method, for calls in inner loops. -TARN_ENOMETHOD with the names there are. */
TARN_EXPORT int tarn_method_find(tarn_object *object, const char *method, unsigned *ret_number);

/* ---- calling and waiting ---- */

/*
 * Calls @method with @args (NULL: none). @ret_result (NULL: not wanted) is set on success and
 * ended with tarn_parcel_fini(). Small arguments and results allocate nothing.
 * -TARN_EREMOTE the method failed, -TARN_ENOMETHOD, -TARN_EARGS, -TARN_ERESULT, -ETIMEDOUT,
 * -TARN_ESTALE the object is gone, -TARN_EINTERRUPTED, -TARN_ESRVDOWN, -EDEADLK ...
 */
TARN_EXPORT int tarn_call(tarn_object *object, const char *method, const tarn_builder *args,
			  tarn_parcel *ret_result, int64_t timeout_ns);
/* The same by number. */
TARN_EXPORT int tarn_call_n(tarn_object *object, unsigned number, const tarn_builder *args,
			    tarn_parcel *ret_result, int64_t timeout_ns);
/*
 * The same in one line: arguments as tarn_put() takes them by @args, then, for tarn_parcel_get()
 * by @results, where results go. NULL or "": none. Results that point into the parcel (text,
 * bytes) cannot be had this way: -EINVAL.
 */
TARN_EXPORT int tarn_callf(tarn_object *object, const char *method, int64_t timeout_ns,
			   const char *args, const char *results, ...);

/* One way: 0 when it is on its way; whatever comes of it nobody is told. In order with calls. */
TARN_EXPORT int tarn_cast(tarn_object *object, const char *method, const tarn_builder *args);
TARN_EXPORT int tarn_cast_n(tarn_object *object, unsigned number, const tarn_builder *args);

/* ---- calling in the background ---- */

/* A call whose answer is waited for later, or a notice. */
typedef struct tarn_pending tarn_pending;

/*
 * Posts a call and returns. Any number may be in flight; the server sees up to some 150 of a
 * thread at a time, or 40 where the type does not say that results are small. What is beyond that
 * is posted, in order, while the thread waits for its calls, looks at them or frees them: it must not wait
 * for something else that such a call brings about. @object and the references in @args may be
 * dropped at once.
 * The caller ends @ret_pending with tarn_call_free().
 */
TARN_EXPORT int tarn_call_start(tarn_object *object, const char *method, const tarn_builder *args,
				tarn_pending **ret_pending);
TARN_EXPORT int tarn_call_start_n(tarn_object *object, unsigned number, const tarn_builder *args,
				  tarn_pending **ret_pending);

/* 1: answered, 0: not yet. Never waits. -EPERM another thread's. */
TARN_EXPORT int tarn_call_poll(tarn_pending *pending);
/*
 * Waits for the answer, and gives it as tarn_call() does; the result can be had once.
 * -ETIMEDOUT: not yet (the call goes on: wait again, or cancel), -ECANCELED.
 */
TARN_EXPORT int tarn_call_wait(tarn_pending *pending, tarn_parcel *ret_result, int64_t timeout_ns);
/* Waits until one of @n is answered (entries may be NULL: passed over), and says which. 0, or
 * -ETIMEDOUT, -EINVAL none there, -TARN_ESRVDOWN. */
TARN_EXPORT int tarn_call_wait_any(tarn_pending *const *pending, size_t n, int64_t timeout_ns,
				   size_t *ret_index);
/* Asks that it be given up: it is answered soon, with -ECANCELED unless it was done before. The
 * method may be running on; it is told. */
TARN_EXPORT int tarn_call_cancel(tarn_pending *pending);
/* Ends it, cancelled if it was not answered; its result, if not taken, is given back. NULL is
 * allowed. Returns NULL. Also from another thread once its own has ended. Freed twice, while no later call of the thread
 * has its place: changes nothing, and leaves -TARN_ESTATE in tarn_error_last(); poll, wait and cancel return that. */
TARN_EXPORT tarn_pending *tarn_call_free(tarn_pending *pending);

/*
 * A descriptor for event loops, of the calling thread: readable when an answer has come for one
 * of its calls since the last tarn_client_event_clear(), or the server is gone. When it is,
 * clear it and then look at all calls. It belongs to the client; do not read or close it.
 */
TARN_EXPORT int tarn_client_event_fd(tarn_client *client, int *ret_fd);
/* 0, or -TARN_ESRVDOWN: then nothing more will come. */
TARN_EXPORT int tarn_client_event_clear(tarn_client *client);

/* ---- on their way: channels, tokens, names ---- */

enum tarn_item {
	TARN_ITEM_BLOCK = 1,
	TARN_ITEM_CHANNEL = 2,
	TARN_ITEM_OBJECT = 3,
};

/* As for blocks in channel.h and token.h. */
TARN_EXPORT int tarn_channel_send_object(tarn_channel *channel, tarn_object *object, uint64_t tag,
					 int64_t timeout_ns);
TARN_EXPORT int tarn_channel_recv_object(tarn_channel *channel, tarn_object **ret_object,
					 uint64_t *ret_tag, int64_t timeout_ns);
/* Waits for the next item and says what it is, without taking it. */
TARN_EXPORT int tarn_channel_peek(tarn_channel *channel, enum tarn_item *ret_item,
				  int64_t timeout_ns);
TARN_EXPORT int tarn_object_export(tarn_object *object, const tarn_export_options *options,
				   tarn_token *ret_token);
TARN_EXPORT int tarn_object_import(tarn_client *client, const tarn_token *token,
				   tarn_object **ret_object);

enum tarn_publish_flags {
	TARN_PUBLISH_PINNED = 1,  /* the name stays when this client ends */
	TARN_PUBLISH_REPLACE = 2, /* takes the name over if it is in use */
};

/*
 * Gives @object a name (1 to 63 bytes) by which others find it. The name holds the object until
 * it is unpublished, by whomever, or this client ends. -EEXIST the name is in use.
 */
TARN_EXPORT int tarn_object_publish(tarn_object *object, const char *name, unsigned flags);
TARN_EXPORT int tarn_object_unpublish(tarn_client *client, const char *name); /* -ENOENT */
/* Finds one, waiting up to @timeout_ns for the name to appear. -ENOENT or -ETIMEDOUT if it does
 * not, -TARN_EKIND it is the name of something else. */
TARN_EXPORT int tarn_object_lookup(tarn_client *client, const char *name, int64_t timeout_ns,
				   tarn_object **ret_object);

/* ---- not holding ---- */

/* Names an object without keeping it alive. A plain value; needs no end. */
typedef struct tarn_weak {
	tarn_client *client;
	uint64_t id;
} tarn_weak;

TARN_EXPORT tarn_weak tarn_weak_from(const tarn_object *object);
/* A proxy again, if the object still lives: -TARN_ESTALE. */
TARN_EXPORT int tarn_weak_lock(const tarn_weak *weak, tarn_object **ret_object);

/* Notices: answered (with 0 and an empty result) when the object or the client is gone. They
 * hold nothing. @number as tarn_client_id() tells it. */
TARN_EXPORT int tarn_weak_watch(const tarn_weak *weak, tarn_pending **ret_notice);
TARN_EXPORT int tarn_object_watch(const tarn_object *object, tarn_pending **ret_notice);
TARN_EXPORT int tarn_client_watch(tarn_client *client, uint32_t number, tarn_pending **ret_notice);

TARN_END

#endif
