/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls in the background, of one lane. Each that is posted has a reply slot and an index, which
 * is part of its cookie; those beyond wait in a queue here, in order, and hold what they
 * name until they are posted. Whatever answers is taken in when the thread looks for any reply.
 */
#ifndef TARN_CLIENT_PENDING_H
#define TARN_CLIENT_PENDING_H

#include "lane.h"

struct tarn_object;
struct tarn_pending;
struct tarn__payload;

/* Most reply slots of those that are posted and not answered. The rest of the reply ring is for those who wait and
 * for ALLOCs, so that calls that take long stop nobody. */
#define TARN__BACKGROUND_REPLY 4u /* slots of a reply whose size is not known beforehand */
#define TARN__PENDING_MOST (TARN__REPLIES - 7u * 11u - TARN__REPLY_SLOTS - 4u)
static_assert(TARN__PENDING_MOST >= 32 && TARN__PENDING_MOST <= 256, "an index has 8 bits");

struct tarn__queued;
struct tarn__calls {
	struct tarn_pending *at[256];   /* by index */
	uint8_t free[256];              /* indices */
	unsigned n_free;
	unsigned reserved;              /* reply slots of those in flight */
	unsigned watches;               /* of those in flight, notices */
	struct tarn__queued *first, **end; /* not posted yet */
	struct tarn__queued *spare_queued;
	unsigned put_off;               /* calls that were queued since somebody looked for answers */
	struct tarn_pending *all;       /* live ones of this lane */
	struct tarn_pending *spare;
	uint32_t polls;                 /* that found nothing, for a look at the server */
	int event;                      /* a descriptor, or -1: see tarn_client_event_fd() */
};

/* Somebody waits for a place: what is posted now would overtake it. */
static inline bool tarn__pending_queued(const struct tarn__lane *l)
{
	return tarn__unlikely(l->calls != NULL) && l->calls->first != NULL;
}
/* Waits until the queue is empty. */
int tarn__pending_flush(struct tarn__lane *l, uint64_t deadline);

/* Posts a call, now or when there is a place for its reply. @pending NULL: one way. */
int tarn__pending_post(struct tarn__lane *l, struct tarn_object *o, unsigned method, unsigned flags,
		       const struct tarn__payload *p, struct tarn_pending *pending);

/* A notice of the end of an object (TARN__WATCH_ID) or client. */
int tarn__pending_watch(struct tarn__lane *l, uint64_t whom, unsigned what,
			struct tarn_pending **ret);
/* Of a call that was answered: with a failure? */
bool tarn__pending_failed(const struct tarn_pending *p);
struct tarn_client *tarn__pending_client(const struct tarn_pending *p);
/* Makes l->calls. -ENOMEM. */
int tarn__calls_init(struct tarn__lane *l);

/* A reply that nobody waits for just now: a call in the background is answered, or what a call
 * that was given up returned goes back. */
void tarn__pending_answered(struct tarn__lane *l, uint32_t cookie, const uint64_t *word,
			    unsigned n);

/* The thread ends: its calls are cancelled and belong to nobody. */
void tarn__pending_abandon(struct tarn__lane *l);
/* The lane is closed: its descriptors too. */
void tarn__pending_lane_closed(struct tarn__lane *l);
/* The client is closed. */
void tarn__pending_free_all(struct tarn__lane *l);

#endif
