/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topics: one or several publishers to many subscribers, each of which gets every item, or what it
 * can keep up with.
 *
 * Items are as those of queues (tarn/queue.h). They lie once in the arena, however many subscribe, and
 * so do the blocks in them. A topic is an object (type "tarn.Topic").
 *
 *	tarn_topic_new(client, &(tarn_topic_options){ .slots = 64, .keep = 8 }, &t);
 *	tarn_topic_publishf(t, TARN_FOREVER, "IB", number, frame);
 *
 *	tarn_topic_subscribe(t, &(tarn_subscription_options){ .policy = TARN_TOPIC_LATEST }, &s);
 *	while (tarn_subscription_recv(s, &item, TARN_FOREVER) == 0) ...
 *	tarn_subscription_free(s);
 *
 * Nobody waits for a dead subscriber; one that blocks publishers is gone with its process. What
 * a publisher had published before it died can be received; then subscribers are told. A publisher that
 * is stopped in the middle of an item holds up what comes behind it, until it goes on or is killed.
 *
 * What the last items refer to stays until they are overwritten, or the topic ends.
 *
 * Timeouts and common failures: tarn/queue.h. A subscription belongs to one thread at a time, all else
 * to any.
 */
#ifndef TARN_TOPIC_H
#define TARN_TOPIC_H

#include "object.h"

TARN_BEGIN

typedef struct tarn_topic_options {
	unsigned slots;      /* items that it has at a time, 2 to 65536; 0: 64, or twice what it keeps */
	unsigned keep;       /* of these, the last ones that late subscribers may ask for; less than slots */
	unsigned slot_bytes; /* an item with larger values takes a block of its own; 0: 384 */
} tarn_topic_options;

/* Makes a topic; @options NULL: all by default. The caller owns @ret_topic. As tarn_object_new(). */
TARN_EXPORT int tarn_topic_new(tarn_client *client, const tarn_topic_options *options,
			       tarn_object **ret_topic);

/*
 * Publishes the values of @item. Waits while a subscriber with TARN_TOPIC_BLOCK is all slots behind, or
 * the publisher of the item that many slots ago has not finished it (it is stopped, in a debugger).
 * -EAGAIN, -ETIMEDOUT that is still so, -TARN_ECLOSED, -E2BIG more than 11 references, or than a small
 * slot has room for, -ENOMEM, the builder's failure, -TARN_EREMOTE 64 other clients publish here, or
 * did and still live. The first time a client publishes, the server is told, whatever the timeout.
 */
TARN_EXPORT int tarn_topic_publish(tarn_object *topic, const tarn_builder *item,
				   int64_t timeout_ns);
TARN_EXPORT int tarn_topic_publishf(tarn_object *topic, int64_t timeout_ns, const char *format, ...);
/* This client publishes no more (until it does): when it ends, subscribers are not told of a
 * publisher that is gone. */
TARN_EXPORT int tarn_topic_leave(tarn_object *topic);
/* Nothing more can be published. Idempotent. */
TARN_EXPORT int tarn_topic_close(tarn_object *topic);
/* How many subscribe; or negative. */
TARN_EXPORT int tarn_topic_subscribers(tarn_object *topic);

enum tarn_topic_policy {
	TARN_TOPIC_DROP_OLDEST = 0, /* who is too slow misses the oldest items */
	TARN_TOPIC_LATEST,          /* gets the newest item only */
	TARN_TOPIC_BLOCK,           /* misses nothing: publishers wait for it */
};

typedef struct tarn_subscription_options {
	enum tarn_topic_policy policy;
	unsigned old; /* begin with as many of the last items, if the topic keeps so many */
} tarn_subscription_options;

typedef struct tarn_subscription tarn_subscription;

/* Subscribes; holds the topic. @options NULL: all by default. -TARN_EREMOTE there are 64 already. */
TARN_EXPORT int tarn_topic_subscribe(tarn_object *topic, const tarn_subscription_options *options,
				     tarn_subscription **ret_subscription);
/* NULL is allowed. Returns NULL. */
TARN_EXPORT tarn_subscription *tarn_subscription_free(tarn_subscription *subscription);

/*
 * Receives the next item by the subscription's policy; the caller ends @ret_item with
 * tarn_parcel_fini(). -EAGAIN, -ETIMEDOUT there is none; -TARN_ECLOSED none, and none will come;
 * -EOWNERDEAD none, and a publisher is gone that did not leave: told once for each. Any other
 * failure passes over the item, as if it had been received.
 */
TARN_EXPORT int tarn_subscription_recv(tarn_subscription *subscription, tarn_parcel *ret_item,
				       int64_t timeout_ns);
/* Items that were overwritten, or passed over for the latest, before this subscriber got them. */
TARN_EXPORT uint64_t tarn_subscription_dropped(const tarn_subscription *subscription);

TARN_END

#endif
