/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues: items from any number of producers to any number of consumers, in any processes.
 *
 * An item is one or more values, references to blocks, objects, channels and queues among them:
 * what they refer to is moved, not copied. A queue is an object (type "tarn.Queue"), so it is
 * passed on, named, nested and counted like any other. Items go from process to process in shared
 * memory; the server is asked only for what items refer to, and by unbounded queues once for
 * hundreds of items.
 *
 *	tarn_queue_new(client, &(tarn_queue_options){ .maxsize = 100 }, &q);
 *	tarn_queue_putf(q, TARN_FOREVER, "sB", "frame", block);
 *
 *	tarn_parcel item;
 *	tarn_queue_get(q, &item, TARN_FOREVER);
 *	tarn_parcel_get(&item, "sB", &what, &image);
 *	...
 *	tarn_parcel_fini(&item);
 *
 * Order: the items of one producing thread are got in the order in which it put them.
 *
 * Deaths: an item is in the queue when put has returned 0, and no process's death takes it out
 * again, or doubles it. What a process was putting when it was killed is there whole or not at all.
 * What a process had got is its own, at most once; with TARN_QUEUE_REDELIVER a consumer
 * acknowledges items, and what a dead one had not acknowledged is delivered to another. Nobody waits
 * for the dead; a process that is stopped (SIGSTOP) in the middle of a put holds the queue up until
 * it goes on or is killed.
 *
 * When a queue ends (with the last reference to it), what its items refer to is dropped.
 *
 * Timeouts are nanoseconds, TARN_FOREVER without limit. 0 only tries: -EAGAIN if it would have to
 * wait; more: -ETIMEDOUT. All functions: -TARN_EKIND the object is no queue, -TARN_EFORKED,
 * -TARN_ESRVDOWN. Any thread.
 */
#ifndef TARN_QUEUE_H
#define TARN_QUEUE_H

#include "object.h"

TARN_BEGIN

enum tarn_queue_flags {
	/* Each item is to be followed by a tarn_queue_task_done(), for which tarn_queue_join()
	 * waits. What a dead consumer had open counts as lost; with REDELIVER it is open again. */
	TARN_QUEUE_JOINABLE = 1,
	/* An item is its consumer's until it is acknowledged; if that dies before, another gets it. */
	TARN_QUEUE_REDELIVER = 2,
	/* The next get of a thread acknowledges what it got before (with one of the others). */
	TARN_QUEUE_ACK_NEXT = 4,
};

typedef struct tarn_queue_options {
	size_t maxsize;      /* items, at most 2^22; 0: as many as there is memory for, up to 2^21 */
	unsigned flags;      /* enum tarn_queue_flags */
	unsigned slot_bytes; /* an item with larger values takes a block of its own; 0: 256. Up to
			      * 8192, rounded up to 64 */
} tarn_queue_options;

/* Makes a queue. @options NULL: unbounded, all else by default. The caller owns @ret_queue.
 * As tarn_object_new(). */
TARN_EXPORT int tarn_queue_new(tarn_client *client, const tarn_queue_options *options,
			       tarn_object **ret_queue);

/*
 * Puts one item, the values of @item, waiting for a place. The builder stays as it is.
 * -EAGAIN, -ETIMEDOUT the queue is full, -TARN_ECLOSED it is closed, -E2BIG more than 13 references
 * (14 if the values fit into the slot beside them), -ENOSPC an unbounded one has 2^21 items,
 * -ENOMEM, the builder's failure. On failure nothing was put. An item that is open (JOINABLE, REDELIVER) is there
 * until it is done, and all that were put behind it: so many can be 2^21, or 2^14 where maxsize is below 512.
 * Where the server has to be asked (an unbounded queue grows, an item needs a block of its own) one that hangs is
 * waited for as long as for a place, but ten seconds at least: -ETIMEDOUT.
 */
TARN_EXPORT int tarn_queue_put(tarn_object *queue, const tarn_builder *item, int64_t timeout_ns);
/* The same with the values as tarn_put() takes them. */
TARN_EXPORT int tarn_queue_putf(tarn_object *queue, int64_t timeout_ns, const char *format, ...);

/*
 * Gets the next item; the caller ends @ret_item with tarn_parcel_fini().
 * -EAGAIN, -ETIMEDOUT there is none, -TARN_ECLOSED there is none and the queue is closed; -ENOMEM
 * what it refers to could not be had: the item is lost.
 * With REDELIVER a closed queue is over when nothing can come back to it: while another process has
 * an item open, this waits. -EDEADLK it would, but the calling thread itself has items open, and the
 * others might wait for those: acknowledge them, then ask again.
 */
TARN_EXPORT int tarn_queue_get(tarn_object *queue, tarn_parcel *ret_item, int64_t timeout_ns);
/* The same, with the item's number for tarn_queue_ack(). */
TARN_EXPORT int tarn_queue_get_item(tarn_object *queue, tarn_parcel *ret_item, uint64_t *ret_number,
				    int64_t timeout_ns);
/* Gets an item and takes it apart as tarn_parcel_get() does; -TARN_EARGS it is not like that, and is
 * gone. Text, bytes and references live in a parcel: such letters are -EINVAL. */
TARN_EXPORT int tarn_queue_getf(tarn_object *queue, int64_t timeout_ns, const char *format, ...);
/* Gets an item from whichever of @n queues (up to 64) has one first, and says which. Earlier ones
 * are looked at first. -EINVAL n. -TARN_ECLOSED all are closed and empty. */
TARN_EXPORT int tarn_queue_get_any(tarn_object *const *queues, size_t n, tarn_parcel *ret_item,
				   size_t *ret_index, int64_t timeout_ns);

/*
 * Acknowledges: the item that this process got under @number is done. -TARN_ESTATE this process has
 * no such item, or the queue has neither JOINABLE nor REDELIVER.
 */
TARN_EXPORT int tarn_queue_ack(tarn_object *queue, uint64_t number);
/* How often the item that this process has open under @number was delivered, this time included: more
 * than 1 if consumers died with it (at most 256 is said). -TARN_ESTATE as above. */
TARN_EXPORT int tarn_queue_attempts(tarn_object *queue, uint64_t number);
/* Acknowledges the oldest item that this thread got and has not acknowledged; if it has none, of
 * any thread of this process. -TARN_ESTATE none is open: called too many times. */
TARN_EXPORT int tarn_queue_task_done(tarn_object *queue);
/*
 * Waits until every item that was put is done. -EOWNERDEAD all are, but some were open when their
 * consumers died and are lost; told once. -TARN_ESTATE the queue is not JOINABLE.
 */
TARN_EXPORT int tarn_queue_join(tarn_object *queue, int64_t timeout_ns);

/* Nothing more can be put; what is there can be got, also what comes back (REDELIVER). Whoever waits is
 * told. Idempotent. */
TARN_EXPORT int tarn_queue_close(tarn_object *queue);
TARN_EXPORT int tarn_queue_closed(tarn_object *queue); /* 1, 0, or negative */

/* Items that are there, about: others put and get. Those being put or delivered again count. */
TARN_EXPORT int64_t tarn_queue_size(tarn_object *queue);
TARN_EXPORT int tarn_queue_empty(tarn_object *queue); /* 1, 0, or negative */
TARN_EXPORT int tarn_queue_full(tarn_object *queue);  /* 1, 0, or negative */
TARN_EXPORT int64_t tarn_queue_maxsize(tarn_object *queue); /* 0: no limit */
/* With REDELIVER: how many items of dead consumers went back for others so far, counted at each death. */
TARN_EXPORT int64_t tarn_queue_redelivered(tarn_object *queue);

/*
 * TARN_QUEUE_OF(name, T): a queue of plain structs (no pointers: other processes read it), whose
 * type the compiler checks. At file scope:
 *
 *	TARN_QUEUE_OF(point_queue, struct point)
 *
 *	point_queue *q;
 *	point_queue_new(client, NULL, &q);
 *	point_queue_put(q, &p, TARN_FOREVER);     p is a struct point
 *	point_queue_get(q, &p, TARN_FOREVER);     -TARN_EKIND: an item of another size
 *	point_queue_object(q);                    the tarn_object; borrowed
 *	point_queue_from(object);                 the other way; the same reference
 *	point_queue_unref(q);
 */
#define TARN_QUEUE_OF(name, T)                                                                  \
	typedef struct name name; /* never completed: a proxy */                                \
	__attribute__((unused)) static inline tarn_object *name##_object(name *q)               \
	{                                                                                       \
		return (tarn_object *)(void *)q;                                                \
	}                                                                                       \
	__attribute__((unused)) static inline name *name##_from(tarn_object *object)            \
	{                                                                                       \
		return (name *)(void *)object;                                                  \
	}                                                                                       \
	__attribute__((unused)) static inline name *name##_unref(name *q)                       \
	{                                                                                       \
		tarn_object_unref(name##_object(q));                                            \
		return NULL;                                                                    \
	}                                                                                       \
	__attribute__((unused)) static inline int name##_new(                                   \
		tarn_client *client, const tarn_queue_options *options, name **ret)             \
	{                                                                                       \
		tarn_object *object;                                                            \
		int r = tarn_queue_new(client, options, &object);                               \
		if (r == 0)                                                                     \
			*ret = name##_from(object);                                             \
		return r;                                                                       \
	}                                                                                       \
	__attribute__((unused)) static inline int name##_put(name *q, const T *item,            \
							     int64_t timeout_ns)                \
	{                                                                                       \
		tarn_builder b;                                                                 \
		int r;                                                                          \
		tarn_builder_init(&b);                                                          \
		tarn_put_bytes(&b, item, sizeof *item);                                         \
		r = tarn_queue_put(name##_object(q), &b, timeout_ns);                           \
		tarn_builder_fini(&b);                                                          \
		return r;                                                                       \
	}                                                                                       \
	__attribute__((unused)) static inline int name##_get(name *q, T *ret,                   \
							     int64_t timeout_ns)                \
	{                                                                                       \
		return tarn_queue_get_bytes(name##_object(q), ret, sizeof *ret, timeout_ns);    \
	}

/* Gets an item that is @bytes bytes, into @ret_data. -TARN_EKIND it is something else, and is gone. */
TARN_EXPORT int tarn_queue_get_bytes(tarn_object *queue, void *ret_data, size_t bytes,
				     int64_t timeout_ns);

TARN_END

#endif
